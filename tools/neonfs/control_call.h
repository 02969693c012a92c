/* One control request in work, as its handler sees it. Internal to the control files. */
#ifndef NEONFS_CONTROL_CALL_H
#define NEONFS_CONTROL_CALL_H

#include "tools/lib/proto.h"
#include "tools/neonfs/control.h"

struct ctl_call {
	struct control *control;
	struct bd_store *store;
	struct fs *fs;
	struct wa_history *history;
	struct wa_lazy *lazy;
	struct trees *trees;
	struct volumes *volumes;
	const struct daemon_config *config;
	int fd; /* for progress and items; -1: nobody listens */
	const json_t *args; /* an object */
	json_t *result; /* set by the handler: the answer; NULL = {} */
	bool keeps_fd; /* set by a handler that has taken over the connection */
	const char *error_code; /* set by ctl_error */
	char error_message[1536];
	char note[512]; /* "", or what the peer is to be told besides the answer (ctl_note) */
	int64_t progress_sent_ns;
	char progress_phase[32];
};

/* A handler returns 0, or -1 after ctl_error. */
typedef int (*ctl_handler)(struct ctl_call *call);

/* The handler of `op`, or NULL. */
ctl_handler ctl_find_handler(const char *op);

/* Refuse the request. Returns -1. */
int ctl_error(struct ctl_call *call, const char *code, const char *format, ...) NF_PRINTF(3, 4);
/* Refuse it because the store answered `rc` (-errno); `what` begins the message: "cannot create the branch". Returns -1. */
int ctl_store_error(struct ctl_call *call, int rc, const char *what);

/* Tell the peer something that is no failure, in the answer's "note". Several are put one behind the other. */
void ctl_note(struct ctl_call *call, const char *format, ...) NF_PRINTF(2, 3);

/* A text argument. NULL, after ctl_error, when it is not there or no text. */
const char *ctl_text(struct ctl_call *call, const char *key);
/* The same, but NULL without an error when it is absent. */
const char *ctl_optional_text(struct ctl_call *call, const char *key);
bool ctl_true(struct ctl_call *call, const char *key);

/* Stream one item; steals it. Non-zero when the peer is gone or the daemon is ending: stop. */
NF_MUST_CHECK int ctl_send_item(struct ctl_call *call, json_t *item);
/* A bd_progress_fn with the call as its argument. */
int ctl_progress(void *call, const char *phase, uint64_t done, uint64_t total);

/* Leave the connection to control_finish. -1 after ctl_error when too many wait. */
NF_MUST_CHECK int ctl_wait_for_end(struct ctl_call *call);
/* One long work of a kind at a time: -1 after ctl_error when another one runs. */
NF_MUST_CHECK int ctl_begin_long_work(struct ctl_call *call);
void ctl_end_long_work(struct ctl_call *call);

struct bd_branch_info;
struct fs_hold;
/* -1 after ctl_error when files of the branch are open and stay so. control_delete.c */
NF_MUST_CHECK int ctl_check_unused(struct ctl_call *call, const struct bd_branch_info *branch);
/* The same, and from here to fs_hold_end nobody changes one or opens one to write. control_delete.c */
NF_MUST_CHECK int ctl_hold_unused(struct ctl_call *call, const struct bd_branch_info *branch, struct fs_hold **ret_hold);
/* Refuse because they are. Returns -1. control_delete.c */
int ctl_refuse_busy(struct ctl_call *call, const struct bd_branch_info *branch);
/* -1 after ctl_error when a process that we may look at has its working directory in one of the branches, and stays there. control_delete.c */
NF_MUST_CHECK int ctl_check_nobody_inside(struct ctl_call *call, const struct bd_branch_info *const *branches, size_t count);
/* Take a snapshot labelled with `prefix` and the time. -1 after ctl_error. control_snapshot.c */
NF_MUST_CHECK int ctl_snapshot_stamped(struct ctl_call *call, const struct bd_branch_info *branch, const char *prefix,
				       struct bd_snapshot_info *ret_snapshot);

int64_t ctl_now_ns(void); /* monotonic */

/* Handlers, by file. control_store.c */
int ctl_store_status(struct ctl_call *call);
int ctl_store_gc(struct ctl_call *call);
int ctl_store_scrub(struct ctl_call *call);
int ctl_store_sync(struct ctl_call *call);
int ctl_store_limit(struct ctl_call *call);
int ctl_store_flush(struct ctl_call *call);
int ctl_store_check(struct ctl_call *call);
int ctl_store_torn(struct ctl_call *call);
int ctl_daemon_wait(struct ctl_call *call);
/* control_create.c, control_restore.c, control_recover.c, control_point.c */
int ctl_branch_create(struct ctl_call *call);
int ctl_branch_restore(struct ctl_call *call);
int ctl_branch_reset(struct ctl_call *call);
int ctl_branch_recover(struct ctl_call *call);
int ctl_branch_point(struct ctl_call *call);
/* control_branch.c */
int ctl_branch_list(struct ctl_call *call);
int ctl_branch_show(struct ctl_call *call);
int ctl_branch_rename(struct ctl_call *call);
int ctl_branch_protect(struct ctl_call *call);
int ctl_branch_detach(struct ctl_call *call);
/* control_retain.c */
int ctl_branch_retain(struct ctl_call *call);
/* What history knows of a branch, as JSON; null when it has none. NULL: no memory. */
json_t *ctl_history_json(struct ctl_call *call, const struct bd_branch_info *branch);
/* control_delete.c */
int ctl_branch_delete(struct ctl_call *call);
/* control_snapshot.c */
int ctl_snapshot_create(struct ctl_call *call);
int ctl_snapshot_delete(struct ctl_call *call);
/* control_log.c */
int ctl_branch_log(struct ctl_call *call);
/* control_diff.c */
int ctl_branch_diff(struct ctl_call *call);

#endif
