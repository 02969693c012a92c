/* What handlers of control requests use: refusing, streaming, waiting. See control_call.h. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/neonfs/control_impl.h"

#define PROGRESS_INTERVAL_NS 100000000

int64_t ctl_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int ctl_error(struct ctl_call *call, const char *code, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(call->error_message, sizeof(call->error_message), format, arguments);
	va_end(arguments);
	call->error_code = code;
	return -1;
}

int ctl_store_error(struct ctl_call *call, int rc, const char *what)
{
	struct bd_status *status;
	switch (rc) {
	case -ENOSPC:
		return ctl_error(call, "no-space",
				 "%s: the disk is full or the store's size limit is reached; delete branches or snapshots and "
				 "run \"neonfs gc\", or make room; nothing was changed",
				 what);
	case -EUCLEAN:
	case -EIO:
		return ctl_error(call, "damaged", "%s: the store cannot be read or written (%s); see %s and run \"neonfs scrub\"",
				 what, strerror(-rc), DAEMON_LOG);
	case -ECANCELED: return ctl_error(call, "stopped", "%s: stopped, because the store is being unmounted", what);
	case -EROFS:
		status = calloc(1, sizeof(*status));
		if (status != NULL && bd_store_status(call->store, status) == 0 && status->error != 0)
			(void)ctl_error(call, "read-only",
					"%s: the store is read-only since a write failed (%s); mend the disk, then "
					"unmount and mount again",
					what, status->error_message);
		else
			(void)ctl_error(call, "read-only", "%s: the store is read-only; see %s", what, DAEMON_LOG);
		free(status);
		return -1;
	default: return ctl_error(call, "failed", "%s: %s", what, strerror(-rc));
	}
}

void ctl_note(struct ctl_call *call, const char *format, ...)
{
	size_t used = strlen(call->note);
	va_list arguments;
	if (used > 0)
		used += (size_t)snprintf(call->note + used, sizeof(call->note) - used, "; ");
	if (used >= sizeof(call->note))
		return;
	va_start(arguments, format);
	vsnprintf(call->note + used, sizeof(call->note) - used, format, arguments);
	va_end(arguments);
}

const char *ctl_optional_text(struct ctl_call *call, const char *key)
{
	return json_string_value(json_object_get(call->args, key));
}

const char *ctl_text(struct ctl_call *call, const char *key)
{
	const char *text = ctl_optional_text(call, key);
	if (text == NULL)
		(void)ctl_error(call, TL_CODE_USAGE, "the request has no text \"%s\"", key);
	return text;
}

bool ctl_true(struct ctl_call *call, const char *key)
{
	return json_is_true(json_object_get(call->args, key));
}

int ctl_send_item(struct ctl_call *call, json_t *item)
{
	if (item == NULL)
		return -ENOMEM;
	json_t *line = json_pack("{s:i, s:o}", "v", TL_PROTO_VERSION, "item", item);
	int rc = tl_send(call->fd, line);
	if (rc != 0)
		return rc;
	return atomic_load(&call->control->is_stopping) ? -ECANCELED : 0;
}

int ctl_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct ctl_call *call = arg;
	int64_t now_ns = ctl_now_ns();
	if (atomic_load(&call->control->is_stopping))
		return -ECANCELED;
	if (call->fd < 0 || now_ns - call->progress_sent_ns < PROGRESS_INTERVAL_NS)
		return 0;
	call->progress_sent_ns = now_ns;
	return tl_send(call->fd, json_pack("{s:i, s:{s:s, s:I, s:I}}", "v", TL_PROTO_VERSION, "progress", "phase", phase, "done",
					   (json_int_t)done, "total", (json_int_t)total));
}

/* A waiter that hung up leaves its place. Called with the lock held. */
static void drop_lost_waiters(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_WAITERS_MAX; i++) {
		struct pollfd poll_fd = {.fd = control->waiters[i], .events = POLLRDHUP};
		if (poll_fd.fd >= 0 && poll(&poll_fd, 1, 0) > 0) {
			close(poll_fd.fd);
			control->waiters[i] = -1;
		}
	}
}

int ctl_wait_for_end(struct ctl_call *call)
{
	struct control *control = call->control;
	pthread_mutex_lock(&control->lock);
	drop_lost_waiters(control);
	for (unsigned i = 0; i < CONTROL_WAITERS_MAX && !call->keeps_fd; i++) {
		if (control->waiters[i] < 0) {
			control->waiters[i] = call->fd;
			call->keeps_fd = true;
		}
	}
	pthread_mutex_unlock(&control->lock);
	return call->keeps_fd ? 0 : ctl_error(call, "busy", "too many others wait for the unmount already");
}

int ctl_begin_long_work(struct ctl_call *call)
{
	if (pthread_mutex_trylock(&call->control->long_work) == 0)
		return 0;
	return ctl_error(call, "busy", "another gc or scrub of this store is running; try again when it has ended");
}

void ctl_end_long_work(struct ctl_call *call)
{
	pthread_mutex_unlock(&call->control->long_work);
}

int ctl_send_answer(struct ctl_call *call, int rc, int64_t began_ns)
{
	json_int_t daemon_us = (ctl_now_ns() - began_ns) / 1000;
	if (rc == 0) {
		json_t *result = call->result != NULL ? call->result : json_object();
		if (call->note[0] != '\0')
			json_object_set_new(result, "note", tl_json_text(call->note));
		return tl_send(call->fd, json_pack("{s:i, s:b, s:o, s:I}", "v", TL_PROTO_VERSION, "ok", 1, "result", result,
						   "daemon_us", daemon_us));
	}
	json_decref(call->result);
	/* A message quotes what the peer sent; it may be cut inside a character. */
	json_t *message = tl_json_text(call->error_message);
	return tl_send(call->fd, json_pack("{s:i, s:b, s:{s:s, s:o}, s:I}", "v", TL_PROTO_VERSION, "ok", 0, "error", "code",
					   call->error_code, "message", message, "daemon_us", daemon_us));
}
