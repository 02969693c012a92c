/* The client's life and its thread. See object.h, impl.h.
 *
 * The thread sleeps in the backend's `wait` until there is something to do: an answer, a submission, the end of a pause or a
 * deadline. client->lock is never held over a backend's call or a completion. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/object/impl.h"

int64_t ob_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void append(struct ob_tasks *list, struct ob_task *task)
{
	task->next = NULL;
	task->previous = list->last;
	if (list->last != NULL)
		list->last->next = task;
	else
		list->first = task;
	list->last = task;
	list->count++;
}

static void take_out(struct ob_tasks *list, struct ob_task *task)
{
	if (task->previous != NULL)
		task->previous->next = task->next;
	else
		list->first = task->next;
	if (task->next != NULL)
		task->next->previous = task->previous;
	else
		list->last = task->previous;
	list->count--;
}

/* ------------------------------------------------------- for backends */

void ob_tried(struct ob_client *client, struct ob_task *task, enum ob_error error, const char *format, ...)
{
	va_list arguments;
	assert(task->place == OB_RUNNING);
	task->op->error = error;
	va_start(arguments, format);
	vsnprintf(task->op->message, sizeof(task->op->message), format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&client->lock);
	take_out(&client->running, task);
	pthread_mutex_unlock(&client->lock);
	task->place = OB_TRIED;
	append(&client->tried, task);
}

void ob_count_sent(struct ob_client *client, uint64_t bytes)
{
	__atomic_fetch_add(&client->stats.sent, bytes, __ATOMIC_RELAXED);
}

void ob_count_received(struct ob_client *client, uint64_t bytes)
{
	__atomic_fetch_add(&client->stats.received, bytes, __ATOMIC_RELAXED);
}

bool ob_is_cancelled(struct ob_client *client, struct ob_task *task)
{
	pthread_mutex_lock(&client->lock);
	bool ended = client->stopping || task->cancelled || task->deadline_ns <= ob_now_ns();
	pthread_mutex_unlock(&client->lock);
	return ended;
}

/* ---------------------------------------------------------- the thread */

static void give_back(struct ob_client *client, struct ob_task *task)
{
	struct ob_op *op = task->op;
	void (*on_done)(struct ob_op * op) = op->on_done;
	pthread_mutex_lock(&client->lock);
	op->task = NULL;
	if (task->troubled)
		client->stats.troubled--;
	if (op->result != 0 && op->error != OB_NOT_FOUND && op->error != OB_PRECONDITION)
		client->stats.failed++;
	client->outstanding--;
	if (on_done == NULL) {
		const uint64_t one = 1;
		op->next = NULL;
		if (client->done_last != NULL)
			client->done_last->next = op;
		else
			client->done_first = op;
		client->done_last = op;
		/* An eventfd takes the addition unless its counter is full, and ob_poll empties it. */
		(void)!write(client->event_fd, &one, sizeof(one));
		pthread_cond_broadcast(&client->done_cond);
	}
	pthread_mutex_unlock(&client->lock);
	free(task);
	if (on_done != NULL)
		on_done(op);
}

static void end_early(struct ob_client *client, struct ob_task *task, bool cancelled)
{
	struct ob_op *op = task->op;
	if (cancelled)
		ob_say(op, OB_CANCELLED, "cancelled");
	else if (!ob_is_transient(op->error))
		ob_say(op, OB_SLOW, "%s: no answer before the deadline", op->key);
	op->result = ob_error_result(op->error);
	op->maybe_done = task->maybe_done || (task->reached && op->kind != OB_GET && op->kind != OB_HEAD && op->kind != OB_LIST);
	give_back(client, task);
}

/* Called with client->lock. */
static bool has_ended(const struct ob_client *client, const struct ob_task *task, int64_t now_ns)
{
	return client->stopping || task->cancelled || task->deadline_ns <= now_ns;
}

static struct ob_task *find_ended(const struct ob_client *client, const struct ob_tasks *list, int64_t now_ns)
{
	struct ob_task *task = list->first;
	while (task != NULL && !has_ended(client, task, now_ns))
		task = task->next;
	return task;
}

/* Called with client->lock, which is dropped and taken again. */
static void drop_ended(struct ob_client *client)
{
	struct ob_tasks *const lists[] = {&client->waiting, &client->running};
	for (unsigned i = 0; i < NF_ARRAY_LEN(lists); i++) {
		struct ob_task *task;
		while ((task = find_ended(client, lists[i], ob_now_ns())) != NULL) {
			bool cancelled = task->cancelled || client->stopping;
			take_out(lists[i], task);
			pthread_mutex_unlock(&client->lock);
			if (task->place == OB_RUNNING)
				client->backend->class->abort(client->backend, task);
			end_early(client, task, cancelled);
			pthread_mutex_lock(&client->lock);
		}
	}
}

static void note_trouble(struct ob_client *client, struct ob_task *task)
{
	bool transient = ob_is_transient(task->op->error);
	pthread_mutex_lock(&client->lock);
	if (transient && !task->troubled) {
		task->troubled = true;
		client->stats.troubled++;
	}
	if (transient)
		memcpy(client->stats.trouble, task->op->message, sizeof(client->stats.trouble));
	else
		client->stats.trouble[0] = '\0';
	pthread_mutex_unlock(&client->lock);
}

static void settle_tried(struct ob_client *client)
{
	struct ob_task *task;
	while ((task = client->tried.first) != NULL) {
		take_out(&client->tried, task);
		note_trouble(client, task);
		if (ob_settle(client, task, ob_now_ns())) {
			give_back(client, task);
			continue;
		}
		task->place = OB_WAITING;
		pthread_mutex_lock(&client->lock);
		append(&client->waiting, task);
		pthread_mutex_unlock(&client->lock);
	}
}

static struct ob_task *find_ready(const struct ob_client *client, int64_t now_ns)
{
	struct ob_task *task = client->waiting.first;
	while (task != NULL && (task->not_before_ns > now_ns || has_ended(client, task, now_ns)))
		task = task->next;
	return task;
}

/* Called with client->lock, which is dropped and taken again. */
static void start_ready(struct ob_client *client)
{
	struct ob_task *task;
	while (client->running.count < client->options.parallel && (task = find_ready(client, ob_now_ns())) != NULL) {
		take_out(&client->waiting, task);
		append(&client->running, task);
		task->place = OB_RUNNING;
		client->stats.tries++;
		if (task->failures > 0)
			client->stats.retries++;
		pthread_mutex_unlock(&client->lock);
		task->op->tries++;
		task->reached = false;
		task->retry_after_ms = 0;
		client->backend->class->start(client->backend, task);
		settle_tried(client);
		pthread_mutex_lock(&client->lock);
	}
}

/* When there is something to do without being told. Called with client->lock. */
static int64_t next_ns(const struct ob_client *client)
{
	int64_t next = OB_NEVER;
	bool may_start = client->running.count < client->options.parallel;
	for (const struct ob_task *task = client->running.first; task != NULL; task = task->next)
		next = NF_MIN(next, task->deadline_ns);
	for (const struct ob_task *task = client->waiting.first; task != NULL; task = task->next) {
		next = NF_MIN(next, task->deadline_ns);
		if (may_start)
			next = NF_MIN(next, task->not_before_ns);
	}
	return next;
}

static void *work(void *arg)
{
	struct ob_client *client = arg;
	pthread_mutex_lock(&client->lock);
	for (;;) {
		drop_ended(client);
		start_ready(client);
		if (client->stopping && client->waiting.count + client->running.count == 0)
			break;
		int64_t until_ns = next_ns(client);
		pthread_mutex_unlock(&client->lock);
		client->backend->class->wait(client->backend, until_ns);
		settle_tried(client);
		pthread_mutex_lock(&client->lock);
	}
	pthread_mutex_unlock(&client->lock);
	return NULL;
}

/* -------------------------------------------------------------- callers */

static int refuse(struct ob_op *op, enum ob_error error, int result, const char *message)
{
	ob_say(op, error, "%s", message);
	return op->result = result;
}

static int enqueue(struct ob_client *client, struct ob_task *task)
{
	struct ob_op *op = task->op;
	pthread_mutex_lock(&client->lock);
	if (client->stopping || client->outstanding == OB_QUEUE_MAX) {
		bool stopping = client->stopping;
		pthread_mutex_unlock(&client->lock);
		free(task);
		return stopping ? refuse(op, OB_CANCELLED, -ESHUTDOWN, "the client was stopped")
				: refuse(op, OB_LOCAL, -EAGAIN, "too many operations are under way");
	}
	op->task = task;
	client->outstanding++;
	if (op->on_done == NULL)
		client->to_poll++;
	append(&client->waiting, task);
	pthread_mutex_unlock(&client->lock);
	client->backend->class->wake(client->backend);
	return 0;
}

int ob_submit(struct ob_client *client, struct ob_op *op)
{
	op->result = 0;
	op->error = OB_OK;
	op->maybe_done = false;
	op->tries = 0;
	op->got = op->object_size = 0;
	op->modified_s = 0;
	op->etag[0] = op->upload_id[0] = op->message[0] = '\0';
	op->list = (struct ob_list){0};
	int rc = ob_op_check(op);
	if (rc != 0)
		return rc;
	struct ob_task *task = calloc(1, sizeof(*task));
	if (task == NULL)
		return refuse(op, OB_LOCAL, -ENOMEM, "out of memory");
	task->op = op;
	task->deadline_ns = op->deadline_ms > 0 ? ob_now_ns() + (int64_t)op->deadline_ms * 1000000 : OB_NEVER;
	if (client->backend->names_md5 && (op->kind == OB_PUT || op->kind == OB_MULTI_PUT) && ob_task_hash(task) != 0) {
		free(task);
		return refuse(op, OB_LOCAL, -ENOMEM, "out of memory");
	}
	return enqueue(client, task);
}

static struct ob_op *take_done(struct ob_client *client)
{
	struct ob_op *op = client->done_first;
	client->done_first = op->next;
	if (client->done_first == NULL)
		client->done_last = NULL;
	op->next = NULL;
	client->to_poll--;
	return op;
}

unsigned ob_poll(struct ob_client *client, struct ob_op **ret_ops, unsigned max, int timeout_ms)
{
	unsigned count = 0;
	uint64_t drained;
	int64_t until_ns = ob_now_ns() + (int64_t)timeout_ms * 1000000;
	const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
	pthread_mutex_lock(&client->lock);
	while (client->done_first == NULL && client->to_poll > 0 && timeout_ms != 0) {
		if (timeout_ms < 0)
			pthread_cond_wait(&client->done_cond, &client->lock);
		else if (pthread_cond_timedwait(&client->done_cond, &client->lock, &until) == ETIMEDOUT)
			break;
	}
	while (count < max && client->done_first != NULL)
		ret_ops[count++] = take_done(client);
	if (client->done_first == NULL)
		(void)!read(client->event_fd, &drained, sizeof(drained)); /* non-blocking: nothing to read is fine */
	if (client->to_poll == 0)
		pthread_cond_broadcast(&client->done_cond);
	pthread_mutex_unlock(&client->lock);
	return count;
}

int ob_client_fd(const struct ob_client *client)
{
	return client->event_fd;
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void wake_waiter(struct ob_op *op)
{
	struct waiter *waiter = op->arg;
	pthread_mutex_lock(&waiter->lock);
	waiter->done = true;
	pthread_cond_signal(&waiter->cond);
	pthread_mutex_unlock(&waiter->lock);
}

int ob_run(struct ob_client *client, struct ob_op *op)
{
	struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	void (*on_done)(struct ob_op * op) = op->on_done;
	void *arg = op->arg;
	op->on_done = wake_waiter;
	op->arg = &waiter;
	int rc = ob_submit(client, op);
	if (rc == 0) {
		pthread_mutex_lock(&waiter.lock);
		while (!waiter.done)
			pthread_cond_wait(&waiter.cond, &waiter.lock);
		pthread_mutex_unlock(&waiter.lock);
		rc = op->result;
	}
	op->on_done = on_done;
	op->arg = arg;
	return rc;
}

void ob_cancel(struct ob_client *client, struct ob_op *op)
{
	pthread_mutex_lock(&client->lock);
	if (op->task != NULL)
		op->task->cancelled = true;
	pthread_mutex_unlock(&client->lock);
	client->backend->class->wake(client->backend);
}

void ob_client_stats(struct ob_client *client, struct ob_stats *ret_stats)
{
	pthread_mutex_lock(&client->lock);
	*ret_stats = client->stats;
	ret_stats->waiting = client->waiting.count;
	ret_stats->running = client->running.count;
	pthread_mutex_unlock(&client->lock);
	ret_stats->sent = __atomic_load_n(&client->stats.sent, __ATOMIC_RELAXED);
	ret_stats->received = __atomic_load_n(&client->stats.received, __ATOMIC_RELAXED);
}

const char *ob_client_place(const struct ob_client *client)
{
	return client->backend->place;
}

/* ---------------------------------------------------------- open, close */

void ob_client_stop(struct ob_client *client)
{
	if (client->stopped)
		return;
	pthread_mutex_lock(&client->lock);
	client->stopping = true;
	pthread_mutex_unlock(&client->lock);
	client->backend->class->wake(client->backend);
	pthread_join(client->thread, NULL);
	client->stopped = true;
}

static void free_client(struct ob_client *client)
{
	if (client->backend != NULL)
		client->backend->class->destroy(client->backend);
	if (client->event_fd >= 0)
		close(client->event_fd);
	pthread_cond_destroy(&client->done_cond);
	pthread_mutex_destroy(&client->lock);
	free(client);
}

void ob_client_close(struct ob_client *client)
{
	if (client == NULL)
		return;
	ob_client_stop(client);
	free_client(client);
}

static int set_options(struct ob_client *client, const struct ob_options *options, char *message, size_t message_size)
{
	if (options != NULL)
		client->options = *options;
	struct ob_options *o = &client->options;
	o->parallel = o->parallel > 0 ? o->parallel : OB_DEFAULT_PARALLEL;
	o->connect_ms = o->connect_ms > 0 ? o->connect_ms : OB_DEFAULT_CONNECT_MS;
	o->stall_ms = o->stall_ms > 0 ? o->stall_ms : OB_DEFAULT_STALL_MS;
	o->retry_first_ms = o->retry_first_ms > 0 ? o->retry_first_ms : OB_DEFAULT_RETRY_FIRST_MS;
	o->retry_max_ms = o->retry_max_ms > 0 ? o->retry_max_ms : OB_DEFAULT_RETRY_MAX_MS;
	client->send.rate = o->send_rate;
	client->receive.rate = o->receive_rate;
	if (o->parallel <= OB_PARALLEL_MAX)
		return 0;
	snprintf(message, message_size, "at most %u requests at a time", OB_PARALLEL_MAX);
	return -EINVAL;
}

static int open_backend(struct ob_client *client, const char *url, char *message, size_t message_size)
{
	if (strnlen(url, OB_URL_MAX) >= OB_URL_MAX) {
		snprintf(message, message_size, "the URL is too long");
		return -EINVAL;
	}
	if (strncmp(url, "file://", 7) == 0)
		return ob_dir_open(client, url + 7, &client->backend, message, message_size);
	if (strncmp(url, "s3://", 5) == 0)
		return ob_s3_open(client, url, &client->backend, message, message_size);
	if (strncmp(url, "s3v2://", 7) == 0)
		return ob_s3v2_open(client, url, &client->backend, message, message_size);
	snprintf(message, message_size, "an object store's URL begins with s3://, s3v2:// or file://");
	return -EINVAL;
}

static int start_thread(struct ob_client *client, char *message, size_t message_size)
{
	client->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (client->event_fd < 0) {
		int rc = -errno;
		snprintf(message, message_size, "no event descriptor: %s", strerror(-rc));
		return rc;
	}
	int rc = pthread_create(&client->thread, NULL, work, client);
	if (rc != 0)
		snprintf(message, message_size, "no thread: %s", strerror(rc));
	return -rc;
}

int ob_client_open(const char *url, const struct ob_options *options, struct ob_client **ret_client, char *message,
		   size_t message_size)
{
	pthread_condattr_t monotonic;
	struct ob_client *client = calloc(1, sizeof(*client));
	if (client == NULL) {
		snprintf(message, message_size, "out of memory");
		return -ENOMEM;
	}
	client->event_fd = -1;
	client->random = (uint64_t)ob_now_ns() ^ (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)client;
	client->random |= 1;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&client->done_cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&client->lock, NULL);
	int rc = set_options(client, options, message, message_size);
	if (rc == 0)
		rc = open_backend(client, url, message, message_size);
	if (rc == 0) {
		client->options.parallel = NF_MIN(client->options.parallel, client->backend->parallel_max);
		rc = start_thread(client, message, message_size);
	}
	if (rc != 0) {
		free_client(client);
		return rc;
	}
	*ret_client = client;
	return 0;
}
