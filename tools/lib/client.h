/* The client side of the control protocol (proto.h). For the one thread of a command-line program. */
#ifndef TL_CLIENT_H
#define TL_CLIENT_H

#include "tools/lib/proto.h"

#define TL_MESSAGE_MAX 2048

struct tl_client;

/* Connect to the daemon of the store in directory `store`.
 * Returns 0; -ENOENT no such directory; -ENOTCONN no daemon serves it; -EACCES not ours; -errno. `ret_message` (TL_MESSAGE_MAX)
 * then says it in one line. */
NF_MUST_CHECK int tl_client_open(const char *store, struct tl_client **ret_client, char *ret_message);
void tl_client_close(struct tl_client *client); /* NULL is legal */
/* End the connection, from inside a callback: the call in work returns -ENODATA. */
void tl_client_hang_up(struct tl_client *client);
/* The daemon's process, as the kernel knows it. */
NF_MUST_CHECK int tl_client_pid(struct tl_client *client, pid_t *ret_pid);

/* What comes before the answer. Called on the caller's thread; either may be NULL. */
struct tl_events {
	void (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total);
	void (*item)(void *arg, const json_t *item);
	void *arg;
};

struct tl_answer {
	bool ok;
	char code[32]; /* when not ok */
	char message[TL_MESSAGE_MAX];
	json_t *result; /* when ok; never NULL */
	uint64_t daemon_us;
};

/* Ask and wait for the answer. Steals `args` (NULL = none). Returns 0 when there is an answer, also when it is an error;
 * -errno when the connection failed, and then answer->message says so and answer->ok is false. */
NF_MUST_CHECK int tl_client_call(struct tl_client *client, const char *op, json_t *args, const struct tl_events *events,
				 struct tl_answer *ret_answer);
void tl_answer_free(struct tl_answer *answer);

#endif
