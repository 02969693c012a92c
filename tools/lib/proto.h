/* The control protocol between the command-line programs and the daemon of a store.
 *
 * A stream socket, STORE/control.sock, mode 0600 in a directory of mode 0700; the daemon also checks the
 * peer's user: the daemon's own, or root. Both sides send JSON objects, one a line ("\n" ends it).
 *
 * Request     {"v": 1, "op": "branch.create", "args": {...}}
 * Answers     {"v": 1, "progress": {"phase": "copy", "done": 10, "total": 90}}   any number, long work only
 *             {"v": 1, "item": ...}                                      any number: a line of a report, a row
 *             {"v": 1, "ok": true, "result": {...}, "daemon_us": 812}            the last one
 *             {"v": 1, "ok": false, "error": {"code": "not-found", "message": "..."}, "daemon_us": 40}
 *
 * daemon_us is the time from having read the request to having made the answer. A connection carries any number of
 * requests, one after the other. Closing it stops the long work it asked for. */
#ifndef TL_PROTO_H
#define TL_PROTO_H

#include <jansson.h>

#include "common/nf_base.h"

#define TL_PROTO_VERSION 1
#define TL_PROTO_SOCKET "control.sock"
#define TL_PROTO_REQUEST_MAX 65536
#define TL_PROTO_ANSWER_MAX (256u << 20)

/* Error codes. All but these two mean "failed". */
#define TL_CODE_USAGE "usage" /* the request makes no sense as typed: exit code 2 */
#define TL_CODE_NOT_FOUND "not-found"

/* Lines from a socket. */
struct tl_lines {
	int fd;
	size_t limit; /* longest line */
	char *data;
	size_t size, used, scanned; /* room, bytes held, bytes known to hold no newline */
};

void tl_lines_init(struct tl_lines *lines, int fd, size_t limit);
void tl_lines_free(struct tl_lines *lines); /* the descriptor stays open */
/* The next line, without its newline and NUL-terminated; valid until the next call. Returns 0; -ENODATA the peer closed
 * between lines; -EPIPE it closed inside one; -EMSGSIZE longer than the limit; -EAGAIN timed out; -errno. */
NF_MUST_CHECK int tl_lines_next(struct tl_lines *lines, char **ret_line, size_t *ret_size);

/* Send one value and a newline. Steals `value`, which may be NULL (out of memory). 0; -ENOMEM; -errno. */
NF_MUST_CHECK int tl_send(int fd, json_t *value);

/* An address for the socket in the directory open as `directory_fd`, however long its path is. */
struct sockaddr_un;
void tl_socket_address(int directory_fd, struct sockaddr_un *ret_address);

/* A JSON string of a file name: as it is when UTF-8, else with \xNN for the bytes that are not. NULL: out of memory. */
json_t *tl_json_text(const char *text);

#endif
