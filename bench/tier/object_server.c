/* An S3 server for measuring clients and stores: as fast as loopback goes. It verifies nothing and hashes nothing.
 *
 * usage: object_server [DIR [MS]]
 *
 * Prints its port on 127.0.0.1. A line on its standard input is answered with a line of JSON, counts and bytes since the start by method and kind of key
 * ({"PUT log": [requests, bytes], ..., "stored log": [objects, bytes]}), and the end of standard input ends it. Bodies are in memory, or in nameless files in DIR, which
 * go with the process. Each answer waits MS milliseconds first: what a store elsewhere would take.
 *
 * PUT (with If-Match and If-None-Match), GET (whole or one range), HEAD, DELETE, and lists of one bucket, version 2; a thread a connection. The kind of a key is what stands
 * between its last two slashes. Not for anything but benchmarks. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_base.h"

#define PATH_ROOM 1024
#define HEAD_ROOM 16384
#define LIST_MOST 1000
#define ENTRY_ROOM (PATH_ROOM + 256)
#define KINDS 48

/* The bytes of an object. Whoever sends them has counted himself in. */
struct body {
	int fd;
	unsigned users;
	size_t size;
};

struct object {
	char *path; /* "/bucket/key" */
	struct body *body;
	unsigned version;
	time_t modified;
};

struct count {
	char name[32];
	uint64_t requests, bytes;
};

/* Under lock: objects by path, counts. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *objects;
static size_t object_count, object_room;
static unsigned versions;
static struct count counts[KINDS];
static const char *directory;
static unsigned latency_ms;

struct connection {
	int fd;
	char head[HEAD_ROOM];
	size_t have; /* bytes in head, of the request's head and what came with it */
	size_t head_size;
};

/* ---- objects; all under the lock */

/* Where `path` is, or would be. */
static size_t place_of(const char *path, bool *ret_found)
{
	size_t low = 0, high = object_count;
	*ret_found = false;
	while (low < high && !*ret_found) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(objects[middle].path, path);
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
		*ret_found = order == 0;
	}
	return high;
}

static struct object *find(const char *path)
{
	bool found;
	size_t at = place_of(path, &found);
	return found ? &objects[at] : NULL;
}

static struct object *make(const char *path)
{
	bool found;
	size_t at = place_of(path, &found);
	if (found)
		return &objects[at];
	if (object_count == object_room) {
		size_t room = object_room * 2 + 64;
		struct object *more = realloc(objects, room * sizeof(*more));
		if (more == NULL)
			return NULL;
		objects = more;
		object_room = room;
	}
	char *name = strdup(path);
	if (name == NULL)
		return NULL;
	memmove(&objects[at + 1], &objects[at], (object_count - at) * sizeof(*objects));
	objects[at] = (struct object){.path = name};
	object_count++;
	return &objects[at];
}

static void body_drop(struct body *body)
{
	if (body == NULL || --body->users > 0)
		return;
	close(body->fd);
	free(body);
}

static void take_away(struct object *object)
{
	size_t at = (size_t)(object - objects);
	body_drop(object->body);
	free(object->path);
	object_count--;
	memmove(object, object + 1, (object_count - at) * sizeof(*objects));
}

/* "log" of "/bucket/store/log/00000001-..." */
static void kind_of(const char *path, char kind[16])
{
	const char *end = strrchr(path, '/'), *begin = end;
	while (begin != NULL && begin > path && begin[-1] != '/')
		begin--;
	snprintf(kind, 16, "%.*s", begin != NULL ? (int)NF_MIN(end - begin, 15) : 0, begin != NULL ? begin : "");
}

static void note(struct count *to, const char *what, const char *path, size_t bytes)
{
	char kind[16], name[32];
	unsigned i = 0;
	kind_of(path, kind);
	snprintf(name, sizeof(name), "%s %s", what, kind);
	while (i < KINDS - 1 && to[i].name[0] != '\0' && strcmp(to[i].name, name) != 0)
		i++;
	snprintf(to[i].name, sizeof(to[i].name), "%s", name);
	to[i].requests++;
	to[i].bytes += bytes;
}

static void count_request(const char *method, const char *path, size_t bytes)
{
	pthread_mutex_lock(&lock);
	note(counts, method, path, bytes);
	pthread_mutex_unlock(&lock);
}

static void print_counts(void)
{
	struct count stored[KINDS] = {0};
	const char *comma = "";
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < object_count; i++)
		note(stored, "stored", objects[i].path, objects[i].body->size);
	printf("{");
	for (unsigned i = 0; i < 2 * KINDS; i++) {
		const struct count *c = i < KINDS ? &counts[i] : &stored[i - KINDS];
		if (c->name[0] == '\0')
			continue;
		printf("%s\"%s\": [%llu, %llu]", comma, c->name, (unsigned long long)c->requests, (unsigned long long)c->bytes);
		comma = ", ";
	}
	pthread_mutex_unlock(&lock);
	printf("}\n");
	fflush(stdout);
}

/* ---- answers */

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
	int size = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, length, more);
	return send_all(fd, text, (size_t)size);
}

static bool refuse(int fd, const char *status, const char *code)
{
	char text[128];
	int size = snprintf(text, sizeof(text), "<Error><Code>%s</Code></Error>", code);
	return answer(fd, status, "", (size_t)size) && send_all(fd, text, (size_t)size);
}

/* ---- requests */

/* A body of so many bytes, in shared memory at *ret_bytes while they come. */
static struct body *body_new(size_t size, uint8_t **ret_bytes)
{
	struct body *body = calloc(1, sizeof(*body));
	if (body == NULL)
		return NULL;
	body->fd = directory != NULL ? open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : memfd_create("object", MFD_CLOEXEC);
	body->size = size;
	body->users = 1;
	*ret_bytes = NULL;
	if (body->fd >= 0 && (size == 0 || (ftruncate(body->fd, (off_t)size) == 0 &&
					    (*ret_bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, body->fd, 0)) != MAP_FAILED)))
		return body;
	perror("object_server");
	if (body->fd >= 0)
		close(body->fd);
	free(body);
	return NULL;
}

static struct body *receive(struct connection *c, size_t size)
{
	size_t got = NF_MIN(c->have - c->head_size, size);
	uint8_t *bytes;
	if (header(c, "\r\nexpect:") != NULL && !send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25))
		return NULL;
	struct body *body = body_new(size, &bytes);
	if (body == NULL)
		return NULL;
	if (got > 0)
		memcpy(bytes, c->head + c->head_size, got);
	while (got < size) {
		ssize_t more = read(c->fd, bytes + got, size - got);
		if (more <= 0)
			break;
		got += (size_t)more;
	}
	if (size > 0)
		munmap(bytes, size);
	if (got == size)
		return body;
	body_drop(body);
	return NULL;
}

/* Under the lock: NULL, or the status that the request's conditions have. */
static const char *conditions_fail(const struct connection *c, const struct object *object)
{
	const char *match = header(c, "\r\nif-match: \"v");
	if (header(c, "\r\nif-none-match:") != NULL && object != NULL)
		return "412 Precondition Failed";
	if (match != NULL && object == NULL)
		return "404 Not Found";
	return match != NULL && strtoul(match, NULL, 10) != object->version ? "412 Precondition Failed" : NULL;
}

static bool take(struct connection *c, const char *path, size_t size)
{
	char more[64];
	struct body *body = receive(c, size);
	if (body == NULL)
		return false;
	count_request("PUT", path, size);
	pthread_mutex_lock(&lock);
	const char *status = conditions_fail(c, find(path));
	struct object *object = status == NULL ? make(path) : NULL;
	if (object != NULL) {
		body_drop(object->body);
		*object = (struct object){.path = object->path, .body = body, .version = ++versions, .modified = time(NULL)};
		snprintf(more, sizeof(more), "ETag: \"v%u\"\r\n", object->version);
	} else {
		body_drop(body);
	}
	pthread_mutex_unlock(&lock);
	if (status != NULL)
		return refuse(c->fd, status, status[2] == '2' ? "PreconditionFailed" : "NoSuchKey");
	return object != NULL && answer(c->fd, "200 OK", more, 0);
}

static bool send_body(int fd, const struct body *body, off_t from, size_t size)
{
	while (size > 0) {
		ssize_t sent = sendfile(fd, body->fd, &from, size);
		if (sent <= 0)
			return false;
		size -= (size_t)sent;
	}
	return true;
}

static bool give(struct connection *c, const char *path, bool with_body)
{
	const char *range = header(c, "\r\nrange: bytes=");
	char more[256], date[64] = "";
	size_t first = 0, last = 0, used;
	pthread_mutex_lock(&lock);
	const struct object *found = find(path);
	const struct object object = found != NULL ? *found : (struct object){.path = NULL};
	if (found != NULL)
		object.body->users++;
	pthread_mutex_unlock(&lock);
	if (found == NULL)
		return with_body ? refuse(c->fd, "404 Not Found", "NoSuchKey") : answer(c->fd, "404 Not Found", "", 0);
	struct tm when;
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&object.modified, &when));
	used = (size_t)snprintf(more, sizeof(more), "ETag: \"v%u\"\r\nLast-Modified: %s\r\n", object.version, date);
	size_t whole = object.body->size;
	last = whole > 0 ? whole - 1 : 0;
	bool good = range == NULL || sscanf(range, "%zu-%zu", &first, &last) == 2, sent = false;
	last = NF_MIN(last, whole > 0 ? whole - 1 : 0);
	if (!good || first > last) {
		sent = answer(c->fd, "416 Range Not Satisfiable", "", 0);
	} else {
		size_t size = whole > 0 ? last - first + 1 : 0;
		if (range != NULL)
			snprintf(more + used, sizeof(more) - used, "Content-Range: bytes %zu-%zu/%zu\r\n", first, last, whole);
		count_request(with_body ? "GET" : "HEAD", path, with_body ? size : 0);
		sent = answer(c->fd, range != NULL ? "206 Partial Content" : "200 OK", more, size) &&
		       (!with_body || send_body(c->fd, object.body, (off_t)first, size));
	}
	pthread_mutex_lock(&lock);
	body_drop(object.body);
	pthread_mutex_unlock(&lock);
	return sent;
}

static bool drop(struct connection *c, const char *path)
{
	count_request("DELETE", path, 0);
	pthread_mutex_lock(&lock);
	struct object *object = find(path);
	if (object != NULL)
		take_away(object);
	pthread_mutex_unlock(&lock);
	return answer(c->fd, "204 No Content", "", 0);
}

/* "/bucket/" and the value of a parameter of the query, which may be missing. */
static void parameter(const char *bucket, const char *query, const char *name, char *text, size_t size)
{
	const char *at = strstr(query, name);
	size_t used = (size_t)snprintf(text, size, "%s/", bucket);
	for (at = at != NULL ? at + strlen(name) : ""; *at != '\0' && *at != '&' && used + 1 < size; at++) {
		unsigned byte;
		if (*at == '%' && sscanf(at + 1, "%2x", &byte) == 1) {
			text[used++] = (char)byte;
			at += 2;
		} else {
			text[used++] = *at;
		}
	}
	text[used] = '\0';
}

static size_t list_entry(char *text, const struct object *object, const char *bucket)
{
	char date[64];
	struct tm when;
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&object->modified, &when));
	return (size_t)snprintf(text, ENTRY_ROOM,
				"<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>\"v%u\"</ETag><Size>%zu</Size></Contents>",
				object->path + strlen(bucket) + 1, date, object->version, object->body->size);
}

static bool list(struct connection *c, const char *bucket, const char *query)
{
	char prefix[PATH_ROOM], after[PATH_ROOM];
	const char *most = strstr(query, "max-keys=");
	unsigned long left = most != NULL ? NF_MIN(strtoul(most + 9, NULL, 10), LIST_MOST) : LIST_MOST;
	parameter(bucket, query, "prefix=", prefix, sizeof(prefix));
	parameter(bucket, query, "start-after=", after, sizeof(after));
	char *text = malloc(left * ENTRY_ROOM + 256);
	if (text == NULL)
		return false;
	size_t used = (size_t)sprintf(text, "<ListBucketResult>");
	bool found, more = false;
	count_request("LIST", prefix, 0);
	pthread_mutex_lock(&lock);
	size_t at = place_of(strcmp(after, prefix) > 0 ? after : prefix, &found);
	if (found)
		at++;
	for (; at < object_count && strncmp(objects[at].path, prefix, strlen(prefix)) == 0 && !more; at++) {
		more = left == 0;
		if (!more) {
			used += list_entry(text + used, &objects[at], bucket);
			left--;
		}
	}
	pthread_mutex_unlock(&lock);
	used += (size_t)sprintf(text + used, "<IsTruncated>%s</IsTruncated></ListBucketResult>", more ? "true" : "false");
	bool sent = answer(c->fd, "200 OK", "Content-Type: application/xml\r\n", used) && send_all(c->fd, text, used);
	free(text);
	return sent;
}

static void wait_latency(void)
{
	const struct timespec pause = {.tv_sec = latency_ms / 1000, .tv_nsec = (long)(latency_ms % 1000) * 1000000};
	if (latency_ms > 0)
		nanosleep(&pause, NULL);
}

static bool serve_one(struct connection *c)
{
	char method[8], path[PATH_ROOM];
	if (!read_head(c) || sscanf(c->head, "%7s %1023s", method, path) != 2)
		return false;
	wait_latency();
	const char *length = header(c, "\r\ncontent-length:");
	size_t size = length != NULL ? strtoull(length, NULL, 10) : 0;
	char *query = strchr(path, '?');
	if (query != NULL)
		*query++ = '\0';
	bool lists = query != NULL && strstr(query, "list-type=2") != NULL;
	bool good = lists                           ? list(c, path, query)
		    : strcmp(method, "PUT") == 0    ? take(c, path, size)
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

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	struct rlimit files;
	pthread_t thread;
	char line[64];
	directory = argc > 1 && argv[1][0] != '\0' ? argv[1] : NULL;
	latency_ms = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	/* A file an object. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)!setrlimit(RLIMIT_NOFILE, &files);
	}
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 128) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
	    pthread_create(&thread, NULL, accept_all, &listener) != 0) {
		perror("object_server");
		return 1;
	}
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL)
		print_counts();
	return 0;
}
