/* A session: one process that serves one volume. See volume.h, proto.h.
 *
 * Its own thread takes the first packet, opens the file, answers, and then waits for the peer to go. Workers take requests out of the shared memory. A
 * peer that goes, or the daemon that stops, ends them: what is in work is done to its end, what was not begun is not done; nobody was told that it was. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include "blockdev/nbd/impl.h"
#include "common/nf_log.h"

#define WORKER_SLEEP_MS 1000 /* a peer that does not ring its bell only harms itself */

/* -------------------------------------------------------------- workers */

/* A request nobody has begun, beginning to look behind the last one taken, so that none waits for ever. -1: there is none. */
static int take_submitted(struct nbd_session *session, struct nbd_head *head)
{
	uint64_t submitted = le64toh(atomic_load(&head->submitted));
	while (submitted != 0) {
		unsigned turn = atomic_load_explicit(&session->turn, memory_order_relaxed) % NBD_SLOTS;
		uint64_t later = submitted >> turn << turn;
		unsigned slot = (unsigned)__builtin_ctzll(later != 0 ? later : submitted);
		uint64_t bit = UINT64_C(1) << slot;
		if (le64toh(atomic_fetch_and(&head->submitted, htole64(~bit))) & bit) {
			atomic_store_explicit(&session->turn, slot + 1, memory_order_relaxed);
			return (int)slot;
		}
		submitted = le64toh(atomic_load(&head->submitted));
	}
	return -1;
}

/* The peer sets its bit first and looks for sleepers then; a sleeper says that it is one first and looks for bits then. */
static void sleep_until_rung(struct nbd_session *session, struct nbd_head *head)
{
	atomic_fetch_add(&head->sleepers, 1);
	uint32_t bell = atomic_load(&head->bell);
	if (atomic_load(&head->submitted) == 0 && !atomic_load(&session->is_ending))
		nbd_futex_wait(&head->bell, bell, WORKER_SLEEP_MS);
	atomic_fetch_sub(&head->sleepers, 1);
}

/* When all others sleep, so that the one request after the other of a client that waits for each is served by one thread, which looks for the next one for
 * a moment before it sleeps. True: there is one. Meanwhile the peer rings for nobody. What came besides while nobody was rung for, others are woken
 * for: the peer sets its bit first and looks for a watcher then; we say that we are none any more first and look for bits then. */
static bool watch_for_requests(struct nbd_session *session, struct nbd_head *head)
{
	if (atomic_load(&head->sleepers) != BD_VOLUME_THREADS - 1 || !nbd_watch_begin(&session->watch))
		return false;
	struct nbd_watch_time time = {0};
	atomic_store(&head->watching, 1);
	while (atomic_load_explicit(&head->submitted, memory_order_relaxed) == 0 && !atomic_load_explicit(&session->is_ending, memory_order_relaxed) &&
	       nbd_watch_on(&time))
		continue;
	atomic_store(&head->watching, 0);
	int count = __builtin_popcountll(atomic_load(&head->submitted));
	nbd_watch_end(&session->watch, count > 0);
	if (count > 1 && atomic_load(&head->sleepers) > 0) {
		atomic_fetch_add(&head->bell, 1);
		nbd_futex_wake(&head->bell, count - 1);
	}
	return count > 0;
}

/* A client on this machine may be its kernel, which gives up memory by writing through us. Without the right to say so things are slower under pressure. */
static void declare_io_flusher(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
		nf_debug("not an I/O flusher: %s", strerror(errno));
}

static void *worker_thread(void *arg)
{
	struct nbd_session *session = arg;
	declare_io_flusher();
	struct nbd_head *head = session->memory;
	while (!atomic_load(&session->is_ending)) {
		int slot = take_submitted(session, head);
		if (slot >= 0)
			nbd_op_serve(session, (unsigned)slot);
		else if (!watch_for_requests(session, head))
			sleep_until_rung(session, head);
	}
	return NULL;
}

static void stop_workers(struct nbd_session *session, const pthread_t *threads, unsigned count)
{
	struct nbd_head *head = session->memory;
	atomic_store(&session->is_ending, true);
	atomic_fetch_add(&head->bell, 1);
	nbd_futex_wake(&head->bell, INT32_MAX);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static int start_workers(struct nbd_session *session, pthread_t *threads)
{
	for (unsigned i = 0; i < BD_VOLUME_THREADS; i++) {
		int rc = pthread_create(&threads[i], NULL, worker_thread, session);
		if (rc != 0) {
			stop_workers(session, threads, i);
			return -rc;
		}
	}
	return 0;
}

/* ------------------------------------------------------------ handshake */

/* Zeroed memory of a size that neither side can change any more: a file that shrinks would kill who reads it. */
static int make_memory(struct nbd_session *session, int *ret_fd)
{
	int fd = memfd_create("neonfs-volume", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	void *memory = MAP_FAILED;
	if (ftruncate(fd, (off_t)NBD_MEMORY_BYTES) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		memory = mmap(NULL, NBD_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		int error = -errno;
		close(fd);
		return error;
	}
	session->memory = memory;
	*ret_fd = fd;
	return 0;
}

static int send_answer(int socket_fd, const struct nbd_answer *answer, int memory_fd)
{
	uint8_t packet[NBD_PACKET_MAX];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = packet, .iov_len = nbd_answer_encode(answer, packet)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (memory_fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		*header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(header), &memory_fd, sizeof(int));
	}
	return sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void refuse(struct nbd_session *session, int status, const char *text)
{
	struct nbd_answer answer = {.status = status};
	snprintf(answer.message, sizeof(answer.message), "%s", text);
	if (send_answer(session->fd, &answer, -1) != 0)
		nf_debug("volumes: could not refuse a connection");
}

static int receive_hello(struct nbd_session *session, struct nbd_hello *ret_hello)
{
	uint8_t packet[NBD_PACKET_MAX];
	ssize_t got = recv(session->fd, packet, sizeof(packet), 0);
	if (got <= 0)
		return -EPROTO;
	int rc = nbd_hello_decode(packet, (size_t)got, ret_hello);
	if (rc == -EPROTONOSUPPORT)
		refuse(session, -EPROTONOSUPPORT, "the daemon is of another version than this program; use programs of one version");
	else if (rc != 0)
		refuse(session, -EPROTO, "what came is no request for a volume");
	return rc;
}

static int open_file(struct nbd_session *session, const struct nbd_hello *hello)
{
	const struct bd_volume_hooks *hooks = &session->volumes->hooks;
	char message[BD_VOLUME_MESSAGE_MAX] = "";
	struct bd_inode *inode;
	bool writes = (hello->flags & NBD_HELLO_READ_ONLY) == 0;
	int rc = hooks->open(hooks->arg, hello->name, &writes, &inode, message);
	if (rc != 0) {
		refuse(session, rc, message[0] != '\0' ? message : strerror(-rc));
		return rc;
	}
	struct bd_attr attr;
	bd_inode_attr(inode, &attr);
	session->inode = inode;
	session->size_bytes = attr.size_bytes;
	session->writes = writes;
	memcpy(session->name, hello->name, sizeof(session->name));
	return 0;
}

static struct nbd_answer describe(const struct nbd_session *session)
{
	struct bd_attr attr;
	bd_inode_attr(session->inode, &attr);
	return (struct nbd_answer){
		.flags = session->writes ? 0 : NBD_ANSWER_READ_ONLY,
		.slots = NBD_SLOTS,
		.slot_bytes = NBD_SLOT_BYTES,
		.branch = bd_inode_view(session->inode).branch.v,
		.file = attr.file.v,
		.size_bytes = session->size_bytes,
		.changed_ns = attr.mtime_ns,
	};
}

/* ------------------------------------------------------------------ life */

/* Until the peer is gone, or sends what it has no reason to, or the daemon shuts the socket. */
static void await_end(struct nbd_session *session)
{
	const struct timeval forever = {0};
	char byte;
	setsockopt(session->fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	while (recv(session->fd, &byte, 1, 0) < 0 && errno == EINTR)
		continue;
}

static void set_state(struct nbd_session *session, enum nbd_session_state state)
{
	pthread_mutex_lock(&session->volumes->lock);
	session->state = state;
	pthread_mutex_unlock(&session->volumes->lock);
}

static void serve(struct nbd_session *session)
{
	pthread_t threads[BD_VOLUME_THREADS];
	int memory_fd = -1;
	int rc = make_memory(session, &memory_fd);
	bd_inode_use_cache(session->inode, 1);
	if (rc == 0)
		rc = start_workers(session, threads);
	if (rc != 0) {
		refuse(session, rc, "the daemon has no memory for another volume now");
	} else {
		set_state(session, NBD_SESSION_SERVING);
		const struct nbd_answer answer = describe(session);
		if (send_answer(session->fd, &answer, memory_fd) == 0) {
			nf_info("volume %s is served by process %d%s", session->name, session->pid, session->writes ? "" : ", read-only");
			await_end(session);
			nf_info("volume %s is no longer served by process %d", session->name, session->pid);
		}
		stop_workers(session, threads, BD_VOLUME_THREADS);
	}
	bd_inode_use_cache(session->inode, -1);
	if (memory_fd >= 0)
		close(memory_fd);
}

static void close_file(struct nbd_session *session)
{
	const struct bd_volume_hooks *hooks = &session->volumes->hooks;
	hooks->close(hooks->arg, session->inode, session->writes);
	session->inode = NULL;
}

/* Answered when the file is let go: who asks again at once finds it free. */
static void answer_probe(struct nbd_session *session)
{
	struct nbd_answer answer = describe(session);
	close_file(session);
	if (send_answer(session->fd, &answer, -1) != 0)
		nf_debug("volumes: who asked is gone");
}

void nbd_session_run(struct nbd_session *session)
{
	struct nbd_hello hello;
	if (receive_hello(session, &hello) == 0 && open_file(session, &hello) == 0) {
		if (hello.flags & NBD_HELLO_PROBE) {
			answer_probe(session);
			return;
		}
		serve(session);
		set_state(session, NBD_SESSION_OPENING); /* in no list any more: the file is let go */
		close_file(session);
	}
	if (session->memory != NULL)
		munmap(session->memory, NBD_MEMORY_BYTES);
	session->memory = NULL;
}
