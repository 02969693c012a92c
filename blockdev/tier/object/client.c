/* The client as its callers meet it: opening, submitting, polling, stopping. What its thread does: work.c. See object.h, impl.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "blockdev/tier/object/impl.h"

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
	ob_tasks_append(&client->waiting, task);
	pthread_mutex_unlock(&client->lock);
	client->backend->class->wake(client->backend);
	return 0;
}

/* The MD5 costs twice what the SHA-256 does. It is what OB_STEP_LOOK compares, and what parts of an upload have for an etag. */
static int hash_data(struct ob_client *client, struct ob_task *task)
{
	const struct ob_op *op = task->op;
	int rc = ob_task_hash(task);
	bool conditional = op->if_none_match || op->if_match != NULL;
	if (rc == 0 && (conditional || op->kind == OB_MULTI_PUT || atomic_load(&client->backend->wants_md5)))
		rc = ob_task_hash_md5(task);
	return rc;
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
	if (client->backend->hashes && (op->kind == OB_PUT || op->kind == OB_MULTI_PUT) && hash_data(client, task) != 0) {
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
	/* Bytes are counted without the lock. */
	*ret_stats = (struct ob_stats){
		.tries = client->stats.tries,
		.retries = client->stats.retries,
		.failed = client->stats.failed,
		.sent = __atomic_load_n(&client->stats.sent, __ATOMIC_RELAXED),
		.received = __atomic_load_n(&client->stats.received, __ATOMIC_RELAXED),
		.waiting = client->waiting.count,
		.running = client->running.count,
		.troubled = client->stats.troubled,
	};
	memcpy(ret_stats->trouble, client->stats.trouble, sizeof(ret_stats->trouble));
	pthread_mutex_unlock(&client->lock);
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
	int rc = pthread_create(&client->thread, NULL, ob_work, client);
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
