/* The socket of volumes: who connects, and the sessions' life. See volume.h.
 *
 * Threads: the acceptor; one a session, and its workers (session.c). */
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

#include "blockdev/nbd/impl.h"
#include "common/nf_log.h"

#define LISTEN_BACKLOG 64
#define HELLO_TIMEOUT_S 10 /* a peer that says nothing for so long is left */

static_assert(BD_VOLUME_NAME_MAX == NBD_NAME_MAX && BD_VOLUME_MESSAGE_MAX <= NBD_MESSAGE_MAX, "a packet has room for them");

/* ----------------------------------------------------------- connections */

static void *session_thread(void *arg)
{
	struct nbd_session *session = arg;
	nbd_session_run(session);
	pthread_mutex_lock(&session->volumes->lock);
	/* The peer learns from this that it is over. */
	shutdown(session->fd, SHUT_RDWR);
	session->state = NBD_SESSION_DONE;
	pthread_mutex_unlock(&session->volumes->lock);
	return NULL;
}

static void reap(struct nbd_session *session)
{
	pthread_join(session->thread, NULL);
	close(session->fd);
	session->fd = -1;
	session->state = NBD_SESSION_FREE;
}

/* Under the lock: a free session, after joining those that are done; NULL when all are in use. */
static struct nbd_session *take_session(struct bd_volumes *volumes)
{
	struct nbd_session *found = NULL;
	for (unsigned i = 0; i < BD_VOLUME_SESSIONS_MAX; i++) {
		struct nbd_session *session = &volumes->sessions[i];
		if (session->state == NBD_SESSION_DONE)
			reap(session);
		if (session->state == NBD_SESSION_FREE)
			found = session;
	}
	return found;
}

static int start_session(struct bd_volumes *volumes, int fd, pid_t pid)
{
	pthread_mutex_lock(&volumes->lock);
	struct nbd_session *session = take_session(volumes);
	int rc = session != NULL ? 0 : -EAGAIN;
	if (session != NULL) {
		*session = (struct nbd_session){.volumes = volumes, .fd = fd, .pid = pid, .state = NBD_SESSION_OPENING};
		rc = -pthread_create(&session->thread, NULL, session_thread, session);
		if (rc != 0)
			*session = (struct nbd_session){.fd = -1};
	}
	pthread_mutex_unlock(&volumes->lock);
	return rc;
}

static void refuse(int fd, int status, const char *text)
{
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_answer answer = {.status = status};
	snprintf(answer.message, sizeof(answer.message), "%s", text);
	if (send(fd, packet, nbd_answer_encode(&answer, packet), MSG_NOSIGNAL) < 0)
		nf_debug("volumes: could not refuse a connection: %s", strerror(errno));
	close(fd);
}

static void accept_one(struct bd_volumes *volumes)
{
	const struct timeval timeout = {.tv_sec = HELLO_TIMEOUT_S};
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int fd = accept4(volumes->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (peer.uid != 0 && peer.uid != volumes->owner))
		refuse(fd, -EACCES, "the store belongs to another user; run this as its owner or as root");
	else if (start_session(volumes, fd, peer.pid) != 0)
		refuse(fd, -EAGAIN, "the daemon serves as many volumes as it can at once");
}

static void *acceptor_thread(void *arg)
{
	struct bd_volumes *volumes = arg;
	while (!atomic_load(&volumes->is_stopping)) {
		struct pollfd fds[] = {{.fd = volumes->listen_fd, .events = POLLIN}, {.fd = volumes->stop_fd, .events = POLLIN}};
		if (poll(fds, NF_ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			accept_one(volumes);
	}
	return NULL;
}

/* ------------------------------------------------------------ life cycle */

static int open_socket(struct bd_volumes *volumes, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	volumes->directory_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (volumes->directory_fd < 0 || fstat(volumes->directory_fd, &status) != 0)
		return -errno;
	volumes->owner = status.st_uid;
	if (unlinkat(volumes->directory_fd, BD_VOLUME_SOCKET, 0) != 0 && errno != ENOENT)
		return -errno;
	volumes->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (volumes->listen_fd < 0)
		return -errno;
	/* However long the directory's path is. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" BD_VOLUME_SOCKET, volumes->directory_fd);
	/* The mode set before bind is the mode the socket file is made with: no moment with a wider one. */
	if (fchmod(volumes->listen_fd, 0600) != 0 || bind(volumes->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(volumes->listen_fd, LISTEN_BACKLOG) != 0)
		return -errno;
	volumes->stop_fd = eventfd(0, EFD_CLOEXEC);
	return volumes->stop_fd >= 0 ? 0 : -errno;
}

static void free_volumes(struct bd_volumes *volumes)
{
	if (volumes->listen_fd >= 0)
		close(volumes->listen_fd);
	if (volumes->stop_fd >= 0)
		close(volumes->stop_fd);
	if (volumes->directory_fd >= 0)
		close(volumes->directory_fd);
	pthread_mutex_destroy(&volumes->lock);
	free(volumes);
}

int bd_volumes_start(struct bd_store *store, const char *path, const struct bd_volume_hooks *hooks, struct bd_volumes **ret_volumes)
{
	struct bd_volumes *volumes = calloc(1, sizeof(*volumes));
	if (volumes == NULL)
		return -ENOMEM;
	volumes->store = store;
	volumes->hooks = *hooks;
	volumes->directory_fd = volumes->listen_fd = volumes->stop_fd = -1;
	pthread_mutex_init(&volumes->lock, NULL);
	int rc = open_socket(volumes, path);
	if (rc == 0)
		rc = -pthread_create(&volumes->acceptor, NULL, acceptor_thread, volumes);
	if (rc != 0) {
		free_volumes(volumes);
		return rc;
	}
	*ret_volumes = volumes;
	return 0;
}

void bd_volumes_stop(struct bd_volumes *volumes)
{
	const uint64_t one = 1;
	if (volumes == NULL)
		return;
	atomic_store(&volumes->is_stopping, true);
	if (unlinkat(volumes->directory_fd, BD_VOLUME_SOCKET, 0) != 0)
		nf_warn("volumes: cannot remove %s: %s", BD_VOLUME_SOCKET, strerror(errno));
	if (write(volumes->stop_fd, &one, sizeof(one)) < 0)
		nf_warn("volumes: cannot wake the acceptor: %s", strerror(errno));
	pthread_join(volumes->acceptor, NULL);
	/* Nobody starts a session any more. */
	bool runs[BD_VOLUME_SESSIONS_MAX];
	pthread_mutex_lock(&volumes->lock);
	for (unsigned i = 0; i < BD_VOLUME_SESSIONS_MAX; i++) {
		runs[i] = volumes->sessions[i].state != NBD_SESSION_FREE;
		/* On this side only: the peer must not see the end before no worker touches the memory any more, or it would use slots again that are in work. */
		if (runs[i])
			shutdown(volumes->sessions[i].fd, SHUT_RD);
	}
	pthread_mutex_unlock(&volumes->lock);
	for (unsigned i = 0; i < BD_VOLUME_SESSIONS_MAX; i++)
		if (runs[i])
			reap(&volumes->sessions[i]);
	free_volumes(volumes);
}

/* -------------------------------------------------------------- the list */

static void describe(const struct nbd_session *session, struct bd_volume_info *ret_info)
{
	struct bd_attr attr;
	bd_inode_attr(session->inode, &attr);
	*ret_info = (struct bd_volume_info){
		.view = bd_inode_view(session->inode),
		.file = attr.file,
		.size_bytes = session->size_bytes,
		.pid = session->pid,
		.writes = session->writes,
		.reads = atomic_load(&session->reads),
		.read_bytes = atomic_load(&session->read_bytes),
		.writes_done = atomic_load(&session->writes_done),
		.written_bytes = atomic_load(&session->written_bytes),
		.flushes = atomic_load(&session->flushes),
	};
	memcpy(ret_info->name, session->name, sizeof(ret_info->name));
}

int bd_volumes_list(struct bd_volumes *volumes, struct bd_volume_info **ret_infos, size_t *ret_count)
{
	struct bd_volume_info *infos = calloc(BD_VOLUME_SESSIONS_MAX, sizeof(*infos));
	size_t count = 0;
	if (infos == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&volumes->lock);
	for (unsigned i = 0; i < BD_VOLUME_SESSIONS_MAX; i++)
		if (volumes->sessions[i].state == NBD_SESSION_SERVING)
			describe(&volumes->sessions[i], &infos[count++]);
	pthread_mutex_unlock(&volumes->lock);
	*ret_infos = infos;
	*ret_count = count;
	return 0;
}
