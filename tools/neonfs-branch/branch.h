/* What the commands of neonfs-branch share: which store is meant, and one request to its daemon. */
#ifndef NEONFS_BRANCH_H
#define NEONFS_BRANCH_H

#include "tools/lib/cli.h"
#include "tools/lib/client.h"

/* Commands, one source each or a few that belong together. */
int run_list(const struct tl_call *call);
int run_tree(const struct tl_call *call);
int run_show(const struct tl_call *call);
int run_log(const struct tl_call *call);
int run_init(const struct tl_call *call);
int run_create(const struct tl_call *call);
int run_snapshot(const struct tl_call *call);
int run_delete(const struct tl_call *call);
int run_rename(const struct tl_call *call);
int run_protect(const struct tl_call *call);
int run_detach(const struct tl_call *call);
int run_unprotect(const struct tl_call *call);
int run_diff(const struct tl_call *call);
int run_diff_pages(const struct tl_call *call); /* of run_diff: with --pages */
int run_restore(const struct tl_call *call);
int run_reset(const struct tl_call *call);
int run_recover(const struct tl_call *call);
int run_point(const struct tl_call *call);
int run_retain(const struct tl_call *call);

/* What "show" says of a branch's history (the JSON of branch.show). */
void print_history(const json_t *history);

/* Connect to the daemon of the store the user means: --store, NEONFS_STORE, or the mount that the current directory is in.
 * TL_OK, or an exit code after the error was printed. */
NF_MUST_CHECK int branch_connect(const struct tl_call *call, struct tl_client **ret_client);

/* One request on an open connection; steals `args`. `ret_result` (may be NULL) is the caller's to json_decref, and carries
 * daemon_us. TL_OK, or an exit code after the error was printed. */
NF_MUST_CHECK int branch_ask(struct tl_client *client, const char *op, json_t *args, const struct tl_events *events,
			     json_t **ret_result);
/* Both. */
NF_MUST_CHECK int branch_request(const struct tl_call *call, const char *op, json_t *args, json_t **ret_result);

/* A JSON string of a word typed by the user. A word that is no UTF-8 is no name either: it is escaped, and the daemon
 * refuses it with the reason. */
json_t *branch_word(const char *word);

/* The same, drawing progress on a terminal meanwhile. */
NF_MUST_CHECK int branch_request_long(const struct tl_call *call, const char *op, json_t *args, json_t **ret_result);
/* What a request that went to a point says besides: on stderr where Postgres was left to do it; on a terminal how it was done. */
void branch_say_replay(const json_t *result);

/* Values of answers: "" and 0 when absent. */
const char *branch_text(const json_t *object, const char *key);
int64_t branch_number(const json_t *object, const char *key);
/* Print with an indent, and a newline. */
void branch_print_json(const json_t *value);

#endif
