/* Lines of JSON over a socket. See proto.h. */
#include "tools/lib/proto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tools/lib/format.h"

#define LINES_CHUNK 16384

void tl_lines_init(struct tl_lines *lines, int fd, size_t limit)
{
	*lines = (struct tl_lines){.fd = fd, .limit = limit};
}

void tl_lines_free(struct tl_lines *lines)
{
	free(lines->data);
	lines->data = NULL;
}

/* Make room for another chunk. The line handed out before is gone already. */
static int grow(struct tl_lines *lines)
{
	if (lines->size - lines->used >= LINES_CHUNK)
		return 0;
	size_t size = NF_MAX(2 * lines->size, lines->used + LINES_CHUNK);
	char *data = realloc(lines->data, size);
	if (data == NULL)
		return -ENOMEM;
	lines->data = data;
	lines->size = size;
	return 0;
}

static int receive(struct tl_lines *lines)
{
	int rc = grow(lines);
	if (rc != 0)
		return rc;
	ssize_t got;
	do
		got = recv(lines->fd, lines->data + lines->used, LINES_CHUNK, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (got == 0)
		return lines->used == 0 ? -ENODATA : -EPIPE;
	lines->used += (size_t)got;
	return 0;
}

/* Drop the line handed out last: everything up to `scanned`, whose last byte was its newline. */
static void drop_last(struct tl_lines *lines)
{
	memmove(lines->data, lines->data + lines->scanned, lines->used - lines->scanned);
	lines->used -= lines->scanned;
	lines->scanned = 0;
}

int tl_lines_next(struct tl_lines *lines, char **ret_line, size_t *ret_size)
{
	size_t clean = 0;
	if (lines->scanned > 0)
		drop_last(lines);
	for (;;) {
		char *end = lines->used > clean ? memchr(lines->data + clean, '\n', lines->used - clean) : NULL;
		size_t length = end != NULL ? (size_t)(end - lines->data) : lines->used;
		if (length > lines->limit)
			return -EMSGSIZE;
		if (end != NULL) {
			*end = '\0';
			lines->scanned = length + 1;
			*ret_line = lines->data;
			*ret_size = length;
			return 0;
		}
		clean = lines->used;
		int rc = receive(lines);
		if (rc != 0)
			return rc;
	}
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		data += sent;
		size -= (size_t)sent;
	}
	return 0;
}

int tl_send(int fd, json_t *value)
{
	char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (text == NULL)
		return -ENOMEM;
	size_t size = strlen(text);
	text[size] = '\n'; /* in place of the terminator: one send, one packet */
	int rc = send_all(fd, text, size + 1);
	free(text);
	return rc;
}

void tl_socket_address(int directory_fd, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/%s", directory_fd, TL_PROTO_SOCKET);
}

json_t *tl_json_text(const char *text)
{
	json_t *as_is = json_string(text);
	if (as_is != NULL)
		return as_is;
	size_t size = 4 * strlen(text) + 8;
	char *escaped = malloc(size);
	if (escaped == NULL)
		return NULL;
	tl_escape(escaped, size, text);
	json_t *value = json_string(escaped);
	free(escaped);
	return value;
}
