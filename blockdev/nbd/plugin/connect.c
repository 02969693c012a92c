/* Connecting to the daemon. See connect.h. */
#include "blockdev/nbd/plugin/connect.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_S 120 /* a tree at an LSN has to be made first */

static int fail(int error, char *ret_message, const char *what, const char *path)
{
	snprintf(ret_message, CHANNEL_MESSAGE_MAX, "%s %.500s: %s", what, path, strerror(-error));
	return error;
}

/* However long the path is: through the directory's descriptor, which is kept until the connection stands. */
static int address_of(const struct channel_options *options, int *ret_directory, struct sockaddr_un *ret_address, char *ret_message)
{
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (options->store == NULL) {
		if (strlen(options->socket) >= sizeof(ret_address->sun_path))
			return fail(-ENAMETOOLONG, ret_message, "socket", options->socket);
		strcpy(ret_address->sun_path, options->socket);
		return 0;
	}
	*ret_directory = open(options->store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_directory < 0)
		return fail(-errno, ret_message, "cannot reach the store", options->store);
	snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/" NBD_SOCKET, *ret_directory);
	return 0;
}

static int open_socket(const struct channel_options *options, int *ret_socket, char *ret_message)
{
	const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	struct sockaddr_un address;
	int directory = -1;
	int rc = address_of(options, &directory, &address, ret_message);
	if (rc != 0)
		return rc;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		rc = -errno;
	if (directory >= 0)
		close(directory);
	if (rc == 0) {
		*ret_socket = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (rc == -ENOENT || rc == -ECONNREFUSED) {
		snprintf(ret_message, CHANNEL_MESSAGE_MAX, "no daemon serves %.500s; mount the store with \"neonfs mount\"",
			 options->store != NULL ? options->store : options->socket);
		return -ENOTCONN;
	}
	return fail(rc, ret_message, "cannot connect to the daemon of", options->store != NULL ? options->store : options->socket);
}

static int send_hello(int fd, const struct channel_options *options, bool is_probe, char *ret_message)
{
	uint8_t packet[NBD_PACKET_MAX];
	struct nbd_hello hello = {.flags = (options->read_only ? NBD_HELLO_READ_ONLY : 0u) | (is_probe ? NBD_HELLO_PROBE : 0u)};
	if (strlen(options->name) > NBD_NAME_MAX)
		return fail(-ENAMETOOLONG, ret_message, "volume", options->name);
	strcpy(hello.name, options->name);
	size_t size = nbd_hello_encode(&hello, packet);
	if (send(fd, packet, size, MSG_NOSIGNAL) != (ssize_t)size)
		return fail(-errno, ret_message, "cannot ask for", options->name);
	return 0;
}

/* The packet, and the descriptor that came with it or -1. */
static ssize_t receive_packet(int fd, void *packet, int *ret_memory_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = packet, .iov_len = NBD_PACKET_MAX};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	ssize_t got;
	do
		got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	*ret_memory_fd = -1;
	if (got < 0)
		return -errno;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_memory_fd, CMSG_DATA(header), sizeof(int));
	return got;
}

static int map_memory(int fd, void **ret_memory)
{
	struct stat status;
	if (fd < 0 || fstat(fd, &status) != 0 || status.st_size != (off_t)NBD_MEMORY_BYTES ||
	    (fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) == 0)
		return -EPROTO;
	void *memory = mmap(NULL, NBD_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*ret_memory = memory;
	return 0;
}

static int receive_answer(int fd, struct nbd_answer *ret_answer, void **ret_memory, char *ret_message)
{
	uint8_t packet[NBD_PACKET_MAX];
	int memory_fd;
	ssize_t got = receive_packet(fd, packet, &memory_fd);
	int rc = got > 0 ? nbd_answer_decode(packet, (size_t)got, ret_answer) : got < 0 ? (int)got : -ESHUTDOWN;
	if (rc != 0)
		snprintf(ret_message, CHANNEL_MESSAGE_MAX, "the daemon's answer cannot be understood: %s", strerror(-rc));
	else if (ret_answer->status != 0)
		snprintf(ret_message, CHANNEL_MESSAGE_MAX, "%s", ret_answer->message);
	if (rc == 0)
		rc = ret_answer->status;
	if (rc == 0 && ret_memory != NULL) {
		rc = map_memory(memory_fd, ret_memory);
		if (rc != 0)
			snprintf(ret_message, CHANNEL_MESSAGE_MAX, "the daemon's shared memory cannot be used: %s", strerror(-rc));
	}
	if (memory_fd >= 0)
		close(memory_fd);
	return rc;
}

int connect_daemon(const struct channel_options *options, struct nbd_answer *ret_answer, int *ret_socket, void **ret_memory,
		   char *ret_message)
{
	const struct timeval forever = {0};
	int fd = -1;
	int rc = open_socket(options, &fd, ret_message);
	if (rc != 0)
		return rc;
	rc = send_hello(fd, options, ret_memory == NULL, ret_message);
	if (rc == 0)
		rc = receive_answer(fd, ret_answer, ret_memory, ret_message);
	if (rc == 0 && ret_memory != NULL) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
		*ret_socket = fd;
		return 0;
	}
	close(fd);
	return rc;
}
