/* The control socket: accept, read requests, dispatch, answer. See control.h.
 *
 * Threads: the acceptor; one for each connection. */
#include "tools/neonfs/control.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "blockdev/nbd/volume.h"
#include "common/nf_log.h"
#include "tools/neonfs/control_impl.h"
#include "tools/neonfs/trees.h"
#include "tools/neonfs/volumes.h"

#define LISTEN_BACKLOG 128

/* ------------------------------------------------------------ connections */

/* The handler a request asks for. NULL after ctl_error. */
static ctl_handler parse_request(struct ctl_call *call, const json_t *request)
{
	const json_t *version = json_object_get(request, "v");
	const char *op = json_string_value(json_object_get(request, "op"));
	call->args = json_object_get(request, "args");
	if (!json_is_object(request) || op == NULL || !json_is_object(call->args)) {
		(void)ctl_error(call, TL_CODE_USAGE, "the request cannot be read: it must be an object with v, op and args");
		return NULL;
	}
	if (json_integer_value(version) != TL_PROTO_VERSION) {
		(void)ctl_error(call, TL_CODE_USAGE,
				"the daemon (version %s) speaks protocol %d; use a program of the same version", NEONFS_VERSION,
				TL_PROTO_VERSION);
		return NULL;
	}
	ctl_handler handler = ctl_find_handler(op);
	if (handler == NULL)
		(void)ctl_error(call, TL_CODE_USAGE,
				"the daemon (version %s) knows no such request; use a program of the same version",
				NEONFS_VERSION);
	return handler;
}

/* What a request is answered with. fd: who sent it; -1 for those that nobody sends: trees and volumes look names up as requests do. */
static struct ctl_call call_of(struct control *control, int fd)
{
	return (struct ctl_call){.control = control,
				 .store = control->store,
				 .fs = control->fs,
				 .history = control->history,
				 .lazy = control->lazy,
				 .trees = control->trees,
				 .volumes = control->volumes,
				 .config = control->config,
				 .fd = fd};
}

/* One request. Non-zero: the connection is over; `ret_keeps_fd` then tells whether the descriptor has a new owner. */
static int serve_request(struct control *control, int fd, const char *text, size_t size, bool *ret_keeps_fd)
{
	int64_t began_ns = ctl_now_ns();
	struct ctl_call call = call_of(control, fd);
	json_t *request = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	ctl_handler handler = parse_request(&call, request);
	int rc = handler != NULL ? handler(&call) : -1;
	json_decref(request);
	*ret_keeps_fd = call.keeps_fd;
	if (call.keeps_fd)
		return 1;
	return ctl_send_answer(&call, rc, began_ns);
}

static void refuse(struct control *control, int fd, const char *code, const char *message)
{
	struct ctl_call call = {.control = control, .fd = fd};
	int rc = ctl_error(&call, code, "%s", message);
	/* The peer learns it or is gone: either way the connection ends. */
	rc = ctl_send_answer(&call, rc, ctl_now_ns());
	if (rc != 0)
		nf_debug("control: could not refuse a connection: %s", strerror(-rc));
}

static void serve_connection(struct slot *slot)
{
	struct control *control = slot->control;
	struct tl_lines lines;
	bool keeps_fd = false;
	int rc = 0;
	tl_lines_init(&lines, slot->fd, TL_PROTO_REQUEST_MAX);
	while (rc == 0 && !atomic_load(&control->is_stopping)) {
		char *text;
		size_t size;
		rc = tl_lines_next(&lines, &text, &size);
		if (rc == -EMSGSIZE)
			refuse(control, slot->fd, TL_CODE_USAGE, "the request is too long");
		if (rc == 0)
			rc = serve_request(control, slot->fd, text, size, &keeps_fd);
	}
	tl_lines_free(&lines);
	pthread_mutex_lock(&control->lock);
	if (!keeps_fd)
		close(slot->fd);
	slot->fd = -1;
	slot->state = SLOT_DONE;
	pthread_mutex_unlock(&control->lock);
}

static void *connection_thread(void *arg)
{
	serve_connection(arg);
	return NULL;
}

static bool is_allowed(const struct control *control, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return false;
	return peer.uid == 0 || peer.uid == control->owner;
}

/* A free slot, after joining threads that are done; NULL when all run. Called with the lock held. */
static struct slot *take_slot(struct control *control)
{
	struct slot *found = NULL;
	for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		struct slot *slot = &control->slots[i];
		if (slot->state == SLOT_DONE) {
			pthread_join(slot->thread, NULL);
			slot->state = SLOT_FREE;
		}
		if (slot->state == SLOT_FREE)
			found = slot;
	}
	return found;
}

static int start_connection(struct control *control, int fd)
{
	pthread_mutex_lock(&control->lock);
	struct slot *slot = take_slot(control);
	int rc = slot != NULL ? 0 : -EAGAIN;
	if (slot != NULL) {
		slot->control = control;
		slot->fd = fd;
		slot->state = SLOT_RUNNING;
		rc = -pthread_create(&slot->thread, NULL, connection_thread, slot);
		if (rc != 0)
			slot->state = SLOT_FREE;
	}
	pthread_mutex_unlock(&control->lock);
	return rc;
}

static void accept_one(struct control *control)
{
	const struct timeval idle = {.tv_sec = CONTROL_IDLE_TIMEOUT_S}, sending = {.tv_sec = CONTROL_SEND_TIMEOUT_S};
	int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &sending, sizeof(sending));
	if (!is_allowed(control, fd)) {
		refuse(control, fd, "not-allowed", "the store belongs to another user; run this as its owner or as root");
		close(fd);
		return;
	}
	if (start_connection(control, fd) != 0) {
		refuse(control, fd, "busy", "the daemon serves too many commands at once; try again in a moment");
		close(fd);
	}
}

static void *acceptor_thread(void *arg)
{
	struct control *control = arg;
	while (!atomic_load(&control->is_stopping)) {
		struct pollfd fds[] = {{.fd = control->listen_fd, .events = POLLIN}, {.fd = control->stop_fd, .events = POLLIN}};
		if (poll(fds, NF_ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			accept_one(control);
	}
	return NULL;
}

/* -------------------------------------------------------------- life cycle */

static int open_socket(struct control *control)
{
	struct sockaddr_un address;
	control->directory_fd = open(control->config->store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (control->directory_fd < 0)
		return -errno;
	if (unlinkat(control->directory_fd, TL_PROTO_SOCKET, 0) != 0 && errno != ENOENT)
		return -errno;
	control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->listen_fd < 0)
		return -errno;
	tl_socket_address(control->directory_fd, &address);
	/* The mode set before bind is the mode the socket file is made with: no moment with a wider one. */
	if (fchmod(control->listen_fd, 0600) != 0 ||
	    bind(control->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(control->listen_fd, LISTEN_BACKLOG) != 0)
		return -errno;
	control->stop_fd = eventfd(0, EFD_CLOEXEC);
	control->cancel_fd = eventfd(0, EFD_CLOEXEC);
	return control->stop_fd >= 0 && control->cancel_fd >= 0 ? 0 : -errno;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void free_control(struct control *control)
{
	close_if_open(control->listen_fd);
	close_if_open(control->stop_fd);
	close_if_open(control->cancel_fd);
	close_if_open(control->directory_fd);
	pthread_mutex_destroy(&control->lock);
	pthread_mutex_destroy(&control->long_work);
	free(control);
}

static int prepare(struct control *control)
{
	struct stat status;
	const struct ctl_call own = call_of(control, -1);
	if (stat(control->config->store, &status) != 0)
		return -errno;
	control->owner = status.st_uid;
	trees_start(control->trees, &own);
	int rc = open_socket(control);
	if (rc == 0)
		rc = volumes_start(control->volumes, &own);
	if (rc != 0)
		return rc;
	rc = -pthread_create(&control->acceptor, NULL, acceptor_thread, control);
	if (rc != 0)
		volumes_stop(control->volumes);
	return rc;
}

int control_start(struct bd_store *store, struct fs *fs, struct wa_history *history, struct wa_lazy *lazy, struct trees *trees,
		  struct volumes *volumes, const struct daemon_config *config, struct control **ret_control, char *ret_message)
{
	struct control *control = calloc(1, sizeof(*control));
	int rc = -ENOMEM;
	if (control != NULL) {
		*control = (struct control){.store = store,
					    .fs = fs,
					    .history = history,
					    .lazy = lazy,
					    .trees = trees,
					    .volumes = volumes,
					    .config = config,
					    .directory_fd = -1,
					    .listen_fd = -1,
					    .stop_fd = -1,
					    .cancel_fd = -1};
		pthread_mutex_init(&control->lock, NULL);
		pthread_mutex_init(&control->long_work, NULL);
		for (unsigned i = 0; i < CONTROL_WAITERS_MAX; i++)
			control->waiters[i] = -1;
		rc = prepare(control);
	}
	if (rc == 0) {
		*ret_control = control;
		return 0;
	}
	snprintf(ret_message, DAEMON_MESSAGE_MAX, "cannot listen on the sockets in the store (%s, %s): %s", TL_PROTO_SOCKET,
		 BD_VOLUME_SOCKET, strerror(-rc));
	if (control != NULL)
		free_control(control);
	return rc;
}

void control_cancel(struct control *control)
{
	const uint64_t one = 1;
	if (write(control->cancel_fd, &one, sizeof(one)) < 0)
		nf_warn("control: cannot stop work that lasts: %s", strerror(errno));
}

void control_stop(struct control *control)
{
	const uint64_t one = 1;
	if (control == NULL)
		return;
	atomic_store(&control->is_stopping, true);
	control_cancel(control);
	if (unlinkat(control->directory_fd, TL_PROTO_SOCKET, 0) != 0)
		nf_warn("control: cannot remove %s: %s", TL_PROTO_SOCKET, strerror(errno));
	if (write(control->stop_fd, &one, sizeof(one)) < 0)
		nf_warn("control: cannot wake the acceptor: %s", strerror(errno));
	pthread_join(control->acceptor, NULL);
	pthread_mutex_lock(&control->lock);
	/* Wake those that read; an answer in the making still goes out. */
	for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
		if (control->slots[i].state == SLOT_RUNNING && control->slots[i].fd >= 0)
			shutdown(control->slots[i].fd, SHUT_RD);
	pthread_mutex_unlock(&control->lock);
	for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
		if (control->slots[i].state != SLOT_FREE)
			pthread_join(control->slots[i].thread, NULL);
	volumes_stop(control->volumes);
}

void control_finish(struct control *control, int rc)
{
	if (control == NULL)
		return;
	for (unsigned i = 0; i < CONTROL_WAITERS_MAX; i++) {
		struct ctl_call call = {.control = control, .fd = control->waiters[i]};
		if (call.fd < 0)
			continue;
		int answer = rc == 0 ? 0
				     : ctl_error(&call, "failed",
						 "unmounted, but the last state could not be written (%s); the next mount "
						 "recovers it; see %s",
						 strerror(-rc), DAEMON_LOG);
		if (ctl_send_answer(&call, answer, ctl_now_ns()) != 0)
			nf_debug("control: nobody waited for the end after all");
		close(call.fd);
	}
	free_control(control);
}
