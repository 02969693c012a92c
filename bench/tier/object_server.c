/* An object server for measuring clients: objects in memory, as fast as loopback goes. It verifies nothing and hashes nothing.
 *
 * usage: object_server      prints its port on 127.0.0.1, and ends with its standard input
 *
 * PUT, GET (whole or one range), HEAD and DELETE of any path; a thread a connection. Not for anything but benchmarks. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/nf_base.h"

#define OBJECTS_MAX 4096
#define PATH_ROOM 1024
#define HEAD_ROOM 16384

struct object {
	char path[PATH_ROOM];
	uint8_t *bytes;
	size_t size;
};

static struct object objects[OBJECTS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Under the lock. */
static struct object *find(const char *path, bool make)
{
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		if (objects[i].path[0] == '\0' && make)
			snprintf(objects[i].path, sizeof(objects[i].path), "%s", path);
		if (objects[i].path[0] == '\0')
			return NULL;
		if (strcmp(objects[i].path, path) == 0)
			return &objects[i];
	}
	return NULL;
}

struct connection {
	int fd;
	char head[HEAD_ROOM];
	size_t have; /* bytes in head, of the request's head and what came with it */
	size_t head_size;
};

static bool send_all(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;
	while (size > 0) {
		ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		at += sent;
		size -= (size_t)sent;
	}
	return true;
}

static bool read_head(struct connection *c)
{
	for (;;) {
		char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
		if (end != NULL) {
			c->head_size = (size_t)(end - c->head) + 4;
			end[2] = '\0';
			return true;
		}
		ssize_t got = c->have < HEAD_ROOM - 1 ? read(c->fd, c->head + c->have, HEAD_ROOM - 1 - c->have) : 0;
		if (got <= 0)
			return false;
		c->have += (size_t)got;
	}
}

static const char *header(const struct connection *c, const char *name)
{
	const char *found = strcasestr(c->head, name);
	return found != NULL ? found + strlen(name) : NULL;
}

static bool answer(int fd, const char *status, const char *more, size_t length)
{
	char text[512];
	int size = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: %zu\r\nETag: \"opaque\"\r\n%s\r\n", status,
			    length, more);
	return send_all(fd, text, (size_t)size);
}

static bool take(struct connection *c, const char *path, size_t size)
{
	size_t got = NF_MIN(c->have - c->head_size, size);
	const char *expects = header(c, "\r\nexpect:");
	uint8_t *bytes = malloc(size > 0 ? size : 1);
	if (bytes == NULL)
		return false;
	if (expects != NULL && !send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) {
		free(bytes);
		return false;
	}
	memcpy(bytes, c->head + c->head_size, got);
	while (got < size) {
		ssize_t more = read(c->fd, bytes + got, size - got);
		if (more <= 0) {
			free(bytes);
			return false;
		}
		got += (size_t)more;
	}
	pthread_mutex_lock(&lock);
	struct object *object = find(path, true);
	/* What a reader may be sending stays: nothing here is put twice while it is read. */
	if (object != NULL) {
		free(object->bytes);
		object->bytes = bytes;
		object->size = size;
	}
	pthread_mutex_unlock(&lock);
	return object != NULL && answer(c->fd, "200 OK", "", 0);
}

static bool give(struct connection *c, const char *path, bool with_body)
{
	const char *range = header(c, "\r\nrange: bytes=");
	char more[128] = "";
	pthread_mutex_lock(&lock);
	const struct object *object = find(path, false);
	const struct object copy = object != NULL ? *object : (struct object){.bytes = NULL};
	pthread_mutex_unlock(&lock);
	if (copy.bytes == NULL)
		return answer(c->fd, "404 Not Found", "", 0);
	size_t first = 0, last = copy.size > 0 ? copy.size - 1 : 0;
	if (range != NULL && sscanf(range, "%zu-%zu", &first, &last) == 2) {
		last = NF_MIN(last, copy.size - 1);
		if (first > last)
			return answer(c->fd, "416 Range Not Satisfiable", "", 0);
		snprintf(more, sizeof(more), "Content-Range: bytes %zu-%zu/%zu\r\n", first, last, copy.size);
	}
	size_t size = copy.size > 0 ? last - first + 1 : 0;
	return answer(c->fd, range != NULL ? "206 Partial Content" : "200 OK", more, size) &&
	       (!with_body || send_all(c->fd, copy.bytes + first, size));
}

static bool drop(struct connection *c, const char *path)
{
	pthread_mutex_lock(&lock);
	struct object *object = find(path, false);
	if (object != NULL) {
		free(object->bytes);
		object->bytes = NULL;
		object->size = 0;
	}
	pthread_mutex_unlock(&lock);
	return answer(c->fd, "204 No Content", "", 0);
}

static bool serve_one(struct connection *c)
{
	char method[8], path[PATH_ROOM];
	if (!read_head(c) || sscanf(c->head, "%7s %1023s", method, path) != 2)
		return false;
	const char *length = header(c, "\r\ncontent-length:");
	size_t size = length != NULL ? strtoull(length, NULL, 10) : 0;
	bool good = strcmp(method, "PUT") == 0      ? take(c, path, size)
		    : strcmp(method, "DELETE") == 0 ? drop(c, path)
						    : give(c, path, strcmp(method, "GET") == 0);
	/* What came behind this request begins the next one. */
	size_t used = NF_MIN(c->head_size + size, c->have);
	memmove(c->head, c->head + used, c->have - used);
	c->have -= used;
	return good;
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	while (serve_one(c)) {
	}
	close(c->fd);
	free(c);
	return NULL;
}

static void *accept_all(void *arg)
{
	int listener = *(int *)arg;
	for (;;) {
		const int one = 1;
		pthread_t thread;
		struct connection *c = calloc(1, sizeof(*c));
		if (c == NULL || (c->fd = accept(listener, NULL, NULL)) < 0)
			exit(1);
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&thread, NULL, serve, c) != 0)
			exit(1);
		pthread_detach(thread);
	}
	return NULL;
}

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	pthread_t thread;
	char byte;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 128) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
	    pthread_create(&thread, NULL, accept_all, &listener) != 0) {
		perror("object_server");
		return 1;
	}
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0) {
	}
	return 0;
}
