/* The client's thread: what is started, what came of it, and what is given back. See impl.h.
 *
 * It sleeps in the backend's `wait` until there is something to do: an answer, a submission, the end of a pause or a deadline.
 * client->lock is never held over a backend's call or a completion. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/object/impl.h"

int64_t ob_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void ob_tasks_append(struct ob_tasks *list, struct ob_task *task)
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
	ob_tasks_append(&client->tried, task);
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
		ob_tasks_append(&client->waiting, task);
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
		ob_tasks_append(&client->running, task);
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

void *ob_work(void *arg)
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
