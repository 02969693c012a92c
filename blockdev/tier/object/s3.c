/* s3:// over libcurl's multi interface: transfers side by side on the client's thread. See s3.h.
 *
 * libcurl's own retry of a request on a kept connection that the server had closed is hidden from us, and would make a conditional put's
 * second try fail on its first one's success. So conditional puts take a new connection, and a rewound body counts as a try that broke off. */
#include "blockdev/tier/object/s3.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/tier/object/secret.h"

#define BUFFER_MAX 524288L
#define BUFFER_MIN 16384L
#define END_STALL_FACTOR 10 /* putting parts together takes the store longer than an answer */
#define ANSWER_FIRST 4096

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void start_curl(void)
{
	curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ------------------------------------------------------ libcurl calls back */

static void moved(struct s3_transfer *t, uint64_t bytes)
{
	t->window_bytes += bytes;
}

static size_t send_body(char *to, size_t size, size_t count, void *arg)
{
	struct s3_transfer *t = arg;
	struct ob_client *client = t->s3->base.client;
	uint64_t want = NF_MIN((uint64_t)size * count, t->body_size - t->body_sent);
	if (want == 0)
		return 0;
	uint64_t taken = ob_bucket_take(&client->send, want, ob_now_ns());
	if (taken == 0) {
		t->paused_send = t->slowed = true;
		return CURL_READFUNC_PAUSE;
	}
	memcpy(to, t->body + t->body_sent, taken);
	t->body_sent += taken;
	t->task->reached = true;
	moved(t, taken);
	ob_count_sent(client, taken);
	return taken;
}

static int rewind_body(void *arg, curl_off_t offset, int origin)
{
	struct s3_transfer *t = arg;
	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->body_size)
		return CURL_SEEKFUNC_FAIL;
	t->body_sent = (uint64_t)offset;
	t->task->maybe_done = true;
	return CURL_SEEKFUNC_OK;
}

static bool keep_answer(struct s3_transfer *t, const char *bytes, size_t size)
{
	size_t room = t->answer_size < ANSWER_FIRST ? ANSWER_FIRST : t->answer_size;
	/* Full at each power of two from the first size on. */
	while (room < t->answer_size + size)
		room *= 2;
	if (t->answer_size + size > S3_ANSWER_MAX) {
		t->too_long = true;
		return false;
	}
	char *more = realloc(t->answer, room);
	if (more == NULL)
		return false;
	t->answer = more;
	memcpy(t->answer + t->answer_size, bytes, size);
	t->answer_size += size;
	return true;
}

static size_t receive_body(char *bytes, size_t unit, size_t count, void *arg)
{
	struct s3_transfer *t = arg;
	struct ob_client *client = t->s3->base.client;
	struct ob_op *op = t->task->op;
	size_t size = unit * count;
	if (!ob_bucket_is_open(&client->receive, ob_now_ns())) {
		t->paused_receive = t->slowed = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	ob_bucket_charge(&client->receive, size, ob_now_ns());
	moved(t, size);
	ob_count_received(client, size);
	if (!t->is_get || (t->status != 200 && t->status != 206))
		return keep_answer(t, bytes, size) ? size : 0;
	if (size > op->size - op->got) {
		t->too_long = true;
		return 0;
	}
	memcpy((uint8_t *)op->buf + op->got, bytes, size);
	op->got += size;
	return size;
}

static size_t receive_header(char *line, size_t unit, size_t count, void *arg)
{
	struct s3_transfer *t = arg;
	size_t size = unit * count;
	moved(t, size);
	/* A status line begins an answer; what came with "100 Continue" is forgotten. */
	if (size > 5 && memcmp(line, "HTTP/", 5) == 0) {
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
		t->head = (struct s3_head){0};
	} else {
		s3_answer_header(&t->head, line, size);
	}
	return size;
}

/* --------------------------------------------------------------- transfers */

static void free_transfer(struct s3_transfer *t)
{
	struct s3_transfer **at = &t->s3->transfers;
	while (*at != NULL && *at != t)
		at = &(*at)->next;
	if (*at != NULL)
		*at = t->next;
	if (t->easy != NULL)
		curl_multi_remove_handle(t->s3->multi, t->easy);
	curl_easy_cleanup(t->easy);
	for (struct curl_slist *line = t->headers; line != NULL; line = line->next)
		ob_secret_wipe(line->data, strlen(line->data));
	curl_slist_free_all(t->headers);
	free(t->document);
	free(t->answer);
	if (t->task != NULL)
		t->task->transfer = NULL;
	free(t);
}

#define SET(option, value) (good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)

static bool set_options(struct s3_transfer *t)
{
	const struct ob_client *client = t->s3->base.client;
	const struct ob_s3_settings *s = &t->s3->settings;
	const struct ob_op *op = t->task->op;
	uint64_t slowest = NF_MIN(client->send.rate > 0 ? client->send.rate : UINT64_MAX,
				  client->receive.rate > 0 ? client->receive.rate : UINT64_MAX);
	long buffer = slowest / 20 > (uint64_t)BUFFER_MAX ? BUFFER_MAX : NF_MAX((long)(slowest / 20), BUFFER_MIN);
	CURL *easy = t->easy;
	bool good = true;
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_ERRORBUFFER, t->curl_error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)client->options.connect_ms);
	SET(CURLOPT_BUFFERSIZE, buffer);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, buffer);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_USERAGENT, "neonfs/" NEONFS_VERSION);
	SET(CURLOPT_READFUNCTION, send_body);
	SET(CURLOPT_READDATA, t);
	SET(CURLOPT_SEEKFUNCTION, rewind_body);
	SET(CURLOPT_SEEKDATA, t);
	SET(CURLOPT_WRITEFUNCTION, receive_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_HEADERFUNCTION, receive_header);
	SET(CURLOPT_HEADERDATA, t);
	if (s->ca_bundle[0] != '\0')
		SET(CURLOPT_CAINFO, s->ca_bundle);
	if (op->if_none_match || op->if_match != NULL)
		SET(CURLOPT_FRESH_CONNECT, 1L);
	return good;
}

static struct s3_transfer *make_transfer(struct s3_backend *s3, struct ob_task *task)
{
	struct s3_transfer *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return NULL;
	*t = (struct s3_transfer){.s3 = s3, .task = task, .easy = curl_easy_init(), .window_ns = ob_now_ns()};
	task->transfer = t;
	if (t->easy != NULL && set_options(t) && s3_request_make(t) == 0 &&
	    curl_multi_add_handle(s3->multi, t->easy) == CURLM_OK) {
		t->next = s3->transfers;
		s3->transfers = t;
		return t;
	}
	free_transfer(t);
	return NULL;
}

static void s3_start(struct ob_backend *backend, struct ob_task *task)
{
	task->op->got = 0;
	task->op->etag[0] = '\0';
	if (make_transfer((struct s3_backend *)backend, task) == NULL)
		ob_tried(backend->client, task, OB_LOCAL, "%s: the request cannot be made: out of memory", task->op->key);
}

static void note_reached(struct s3_transfer *t)
{
	long sent = 0;
	if (curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent > 0)
		t->task->reached = true;
}

static void s3_abort(struct ob_backend *backend NF_UNUSED, struct ob_task *task)
{
	struct s3_transfer *t = task->transfer;
	note_reached(t);
	free_transfer(t);
}

static void finish(struct s3_transfer *t, CURLcode code, bool stalled)
{
	note_reached(t);
	s3_answer_settle(t, code, stalled);
	free_transfer(t);
}

/* ------------------------------------------------------------------- loop */

static bool reap(struct s3_backend *s3)
{
	bool any = false;
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(s3->multi, &left)) != NULL) {
		struct s3_transfer *t;
		if (message->msg != CURLMSG_DONE || curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t) != CURLE_OK)
			continue;
		finish(t, message->data.result, false);
		any = true;
	}
	return any;
}

static int64_t window_end_ns(const struct s3_transfer *t)
{
	int64_t stall_ns = (int64_t)t->s3->base.client->options.stall_ms * 1000000;
	return t->window_ns + stall_ns * (t->task->op->kind == OB_MULTI_END ? END_STALL_FACTOR : 1);
}

/* When a transfer that our rate limits hold up may go on; OB_NEVER when it is not held up. */
static int64_t resumes_ns(const struct s3_transfer *t, int64_t now_ns)
{
	const struct ob_client *client = t->s3->base.client;
	int64_t ready_ns = t->paused_send || t->paused_receive ? INT64_MIN : OB_NEVER;
	if (t->paused_send)
		ready_ns = ob_bucket_ready_ns(&client->send, now_ns);
	if (t->paused_receive)
		ready_ns = NF_MAX(ready_ns, ob_bucket_ready_ns(&client->receive, now_ns));
	return ready_ns;
}

/* Give up what makes no progress. *ret_next is when to look again, or a transfer may go on. */
static bool watch(struct s3_backend *s3, int64_t now_ns, int64_t *ret_next)
{
	uint64_t least = NF_MAX((uint64_t)s3->base.client->options.stall_ms * S3_SLOW_BYTES_PER_S / 1000, 1);
	bool any = false;
	struct s3_transfer *next;
	for (struct s3_transfer *t = s3->transfers; t != NULL; t = next) {
		next = t->next;
		*ret_next = NF_MIN(*ret_next, resumes_ns(t, now_ns));
		if (window_end_ns(t) > now_ns) {
			*ret_next = NF_MIN(*ret_next, window_end_ns(t));
		} else if (t->window_bytes < least && !t->slowed) {
			finish(t, CURLE_OK, true);
			any = true;
		} else {
			t->window_ns = now_ns;
			t->window_bytes = 0;
			t->slowed = t->paused_send || t->paused_receive;
			*ret_next = NF_MIN(*ret_next, window_end_ns(t));
		}
	}
	return any;
}

static void resume(struct s3_backend *s3)
{
	int64_t now_ns = ob_now_ns();
	for (struct s3_transfer *t = s3->transfers; t != NULL; t = t->next) {
		if (resumes_ns(t, now_ns) > now_ns)
			continue;
		t->paused_send = t->paused_receive = false;
		/* What goes wrong in there ends the transfer, which curl_multi_info_read says. */
		(void)curl_easy_pause(t->easy, CURLPAUSE_CONT);
	}
}

static int timeout_ms(int64_t until_ns, int64_t now_ns)
{
	if (until_ns <= now_ns)
		return 0;
	int64_t left_ms = (until_ns - now_ns + 999999) / 1000000;
	return left_ms > 3600000 ? 3600000 : (int)left_ms;
}

static void s3_wait(struct ob_backend *backend, int64_t until_ns)
{
	struct s3_backend *s3 = (struct s3_backend *)backend;
	for (;;) {
		int running, changed;
		int64_t next_ns = until_ns;
		resume(s3);
		if (curl_multi_perform(s3->multi, &running) != CURLM_OK) {
			/* Out of memory is all that it can be: everything under way is tried again. */
			while (s3->transfers != NULL)
				finish(s3->transfers, CURLE_OUT_OF_MEMORY, false);
			return;
		}
		bool any = reap(s3);
		any = watch(s3, ob_now_ns(), &next_ns) || any;
		if (any || __atomic_exchange_n(&s3->woken, false, __ATOMIC_ACQ_REL) || ob_now_ns() >= until_ns)
			return;
		(void)curl_multi_poll(s3->multi, NULL, 0, timeout_ms(next_ns, ob_now_ns()), &changed);
	}
}

static void s3_wake(struct ob_backend *backend)
{
	struct s3_backend *s3 = (struct s3_backend *)backend;
	__atomic_store_n(&s3->woken, true, __ATOMIC_RELEASE);
	(void)curl_multi_wakeup(s3->multi); /* its pipe is full only when it is awake already */
}

static void s3_destroy(struct ob_backend *backend)
{
	struct s3_backend *s3 = (struct s3_backend *)backend;
	assert(s3->transfers == NULL);
	if (s3->multi != NULL)
		curl_multi_cleanup(s3->multi);
	ob_s3_settings_free(&s3->settings);
	free(s3);
}

static const struct ob_backend_class s3_class = {
	.start = s3_start, .abort = s3_abort, .wait = s3_wait, .wake = s3_wake, .destroy = s3_destroy};

int ob_s3_open(struct ob_client *client, const char *url, struct ob_backend **ret_backend, char *message, size_t message_size)
{
	struct s3_backend *s3 = calloc(1, sizeof(*s3));
	if (s3 == NULL) {
		snprintf(message, message_size, "out of memory");
		return -ENOMEM;
	}
	s3->base = (struct ob_backend){.class = &s3_class, .client = client, .parallel_max = OB_PARALLEL_MAX, .hashes = true};
	int rc = ob_s3_settings_load(url, "s3", ob_env_process, NULL, &s3->settings, message, message_size);
	if (rc == 0) {
		const struct ob_s3_settings *s = &s3->settings;
		pthread_once(&curl_once, start_curl);
		snprintf(s3->base.place, sizeof(s3->base.place), "s3://%s/%s at %s://%s%s in %s", s->bucket, s->prefix,
			 s->https ? "https" : "http", s->host, s->base_path, s->region);
		s3->multi = curl_ready == CURLE_OK ? curl_multi_init() : NULL;
		rc = s3->multi != NULL ? 0 : -ENOMEM;
		if (rc != 0)
			snprintf(message, message_size, "libcurl cannot be started");
	}
	if (rc != 0) {
		s3_destroy(&s3->base);
		return rc;
	}
	curl_multi_setopt(s3->multi, CURLMOPT_MAXCONNECTS, (long)OB_PARALLEL_MAX);
	*ret_backend = &s3->base;
	return 0;
}
