/* The client side of the control protocol. See client.h. */
#include "tools/lib/client.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/lib/format.h"

struct tl_client {
	int fd;
	struct tl_lines lines;
};

static int connect_error(const char *store, int error, char *ret_message)
{
	char quoted[TL_QUOTE_MAX];
	tl_quote(quoted, sizeof(quoted), store);
	switch (error) {
	case ENOENT: /* a store without a socket, or one whose daemon died */
	case ECONNREFUSED:
		snprintf(ret_message, TL_MESSAGE_MAX, "store %s is not mounted; mount it with \"neonfs mount STORE MOUNTPOINT\"",
			 quoted);
		return -ENOTCONN;
	case EACCES:
	case EPERM:
		snprintf(ret_message, TL_MESSAGE_MAX, "store %s belongs to another user; run this as its owner or as root",
			 quoted);
		return -EACCES;
	default:
		snprintf(ret_message, TL_MESSAGE_MAX, "cannot talk to the daemon of store %s: %s", quoted, strerror(error));
		return -error;
	}
}

static int open_store(const char *store, int *ret_fd, char *ret_message)
{
	char quoted[TL_QUOTE_MAX];
	tl_quote(quoted, sizeof(quoted), store);
	int fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (errno == ENOENT)
		snprintf(ret_message, TL_MESSAGE_MAX, "there is no store %s; make one with \"neonfs init\"", quoted);
	else
		snprintf(ret_message, TL_MESSAGE_MAX, "cannot open store %s: %s", quoted, strerror(errno));
	return -errno;
}

static int connect_in(int directory_fd, int *ret_fd)
{
	struct sockaddr_un address;
	tl_socket_address(directory_fd, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int tl_client_open(const char *store, struct tl_client **ret_client, char *ret_message)
{
	int directory_fd = -1, fd = -1;
	int rc = open_store(store, &directory_fd, ret_message);
	if (rc != 0)
		return rc;
	rc = connect_in(directory_fd, &fd);
	close(directory_fd);
	if (rc != 0)
		return connect_error(store, -rc, ret_message);
	struct tl_client *client = calloc(1, sizeof(*client));
	if (client == NULL) {
		close(fd);
		return connect_error(store, ENOMEM, ret_message);
	}
	client->fd = fd;
	tl_lines_init(&client->lines, fd, TL_PROTO_ANSWER_MAX);
	*ret_client = client;
	return 0;
}

void tl_client_close(struct tl_client *client)
{
	if (client == NULL)
		return;
	tl_lines_free(&client->lines);
	close(client->fd);
	free(client);
}

void tl_client_hang_up(struct tl_client *client)
{
	shutdown(client->fd, SHUT_RDWR);
}

int tl_client_pid(struct tl_client *client, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return -errno;
	*ret_pid = peer.pid;
	return 0;
}

static void copy_text(char *to, size_t size, const json_t *from, const char *otherwise)
{
	const char *text = json_string_value(from);
	snprintf(to, size, "%s", text != NULL ? text : otherwise);
}

/* The last line of an answer. -EBADMSG when it is none. */
static int take_answer(const json_t *line, struct tl_answer *ret_answer)
{
	const json_t *ok = json_object_get(line, "ok");
	if (!json_is_boolean(ok))
		return -EBADMSG;
	ret_answer->ok = json_is_true(ok);
	ret_answer->daemon_us = (uint64_t)json_integer_value(json_object_get(line, "daemon_us"));
	const json_t *error = json_object_get(line, "error");
	if (ret_answer->ok) {
		json_t *result = json_object_get(line, "result");
		ret_answer->result = result != NULL ? json_incref(result) : json_object();
		return ret_answer->result != NULL ? 0 : -ENOMEM;
	}
	copy_text(ret_answer->code, sizeof(ret_answer->code), json_object_get(error, "code"), "failed");
	copy_text(ret_answer->message, sizeof(ret_answer->message), json_object_get(error, "message"), "failed");
	return 0;
}

static void take_event(const json_t *line, const struct tl_events *events)
{
	const json_t *progress = json_object_get(line, "progress");
	const json_t *item = json_object_get(line, "item");
	if (events == NULL)
		return;
	if (progress != NULL && events->progress != NULL) {
		const char *phase = json_string_value(json_object_get(progress, "phase"));
		events->progress(events->arg, phase != NULL ? phase : "",
				 (uint64_t)json_integer_value(json_object_get(progress, "done")),
				 (uint64_t)json_integer_value(json_object_get(progress, "total")));
	}
	if (item != NULL && events->item != NULL)
		events->item(events->arg, item);
}

/* Read lines until the answer is there. */
static int await_answer(struct tl_client *client, const struct tl_events *events, struct tl_answer *ret_answer)
{
	for (;;) {
		char *text;
		size_t size;
		int rc = tl_lines_next(&client->lines, &text, &size);
		if (rc != 0)
			return rc;
		json_t *line = json_loadb(text, size, 0, NULL);
		if (!json_is_object(line)) {
			json_decref(line);
			return -EBADMSG;
		}
		bool is_last = json_object_get(line, "ok") != NULL;
		if (is_last)
			rc = take_answer(line, ret_answer);
		else
			take_event(line, events);
		json_decref(line);
		if (is_last)
			return rc;
	}
}

int tl_client_call(struct tl_client *client, const char *op, json_t *args, const struct tl_events *events,
		   struct tl_answer *ret_answer)
{
	*ret_answer = (struct tl_answer){.code = "connection"};
	if (args == NULL)
		args = json_object();
	int rc = tl_send(client->fd, json_pack("{s:i, s:s, s:o}", "v", TL_PROTO_VERSION, "op", op, "args", args));
	/* When sending failed the daemon may have said why before it closed. */
	int answer_rc = await_answer(client, events, ret_answer);
	if (answer_rc == 0)
		return 0;
	rc = rc != 0 ? rc : answer_rc;
	snprintf(ret_answer->message, sizeof(ret_answer->message), "%s",
		 rc == -ENODATA || rc == -EPIPE || rc == -ECONNRESET
			 ? "the daemon ended before it answered; its log (neonfs.log in the store) says why"
			 : "the daemon's answer cannot be read; are both of the same version?");
	return rc;
}

void tl_answer_free(struct tl_answer *answer)
{
	json_decref(answer->result);
	answer->result = NULL;
}
