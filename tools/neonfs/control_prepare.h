/* Branches under their internal name: made as a snapshot or a head is, brought to an LSN, and then given the name that was asked for.
 *
 * Nobody sees the branch before it is ready. What a daemon that died left behind is deleted at the next mount. */
#ifndef NEONFS_CONTROL_PREPARE_H
#define NEONFS_CONTROL_PREPARE_H

#include "tools/neonfs/control_point.h"

#define CTL_PREPARE_PREFIX ".prepare-"

enum ctl_recovery {
	CTL_RECOVERY_AUTO, /* instant where that can be, else by Postgres */
	CTL_RECOVERY_INSTANT, /* replayed here: Postgres starts without recovery */
	CTL_RECOVERY_POSTGRES, /* the WAL is put into it: Postgres replays when it is started */
};

/* The argument "recovery" of a request; *ret_how stays when it is absent. -1 after ctl_error. */
NF_MUST_CHECK int ctl_recovery_argument(struct ctl_call *call, enum ctl_recovery *ret_how);

struct ctl_prepared {
	struct bd_branch_info branch; /* by its internal name */
	json_t *facts; /* how it was made, an object; the caller's */
	uint64_t pause_ns; /* for which writers of the parent were held up */
};

/* Make a branch of the place. Its data is not durable before ctl_prepare_finish. -1 after ctl_error: then nothing is left of it. */
NF_MUST_CHECK int ctl_prepare(struct ctl_call *call, const struct ctl_place *place, enum ctl_recovery how,
			      struct ctl_prepared *ret_prepared);

/* Make all of it durable. -1 after ctl_error: then it is gone. */
NF_MUST_CHECK int ctl_prepare_finish(struct ctl_call *call, struct ctl_prepared *prepared);
/* Delete it. The facts are freed. */
void ctl_prepare_drop(struct ctl_call *call, struct ctl_prepared *prepared);
/* Give it its name, in place of nothing. -1 after ctl_error: then it is gone. */
NF_MUST_CHECK int ctl_prepare_publish(struct ctl_call *call, struct ctl_prepared *prepared, const char *name);

/* A branch of a view, durable on return. A copy of a running Postgres would have its postmaster.pid and postmaster.opts, which name the parent's process
 * and directory: the copy could not be started, or pg_ctl would act on the parent. It is made without them; the WAL, with which Postgres recovers, and
 * everything else stay, and so does a tree that is no data directory. As bd_branch_create_without. */
NF_MUST_CHECK int ctl_create_copy(struct bd_store *store, const char *name, struct bd_view view, struct bd_branch_info *ret_child,
				  uint64_t *ret_pause_ns);

/* Refuse because the store answered a creation of `name` with rc. Returns -1. */
int ctl_create_error(struct ctl_call *call, int rc, const char *name);

/* The branch's path below the mount; `below` may be "". */
void ctl_path(const struct ctl_call *call, const char *branch, const char *below, char ret_path[PATH_MAX]);

/* A row in facts.timings_us: microseconds since *began_ns, which becomes now. */
void ctl_note_time(json_t *facts, const char *step, int64_t *began_ns);

/* At mount, before anybody can ask for anything: delete what is left of branches that never got their name, and of trees. */
void ctl_prepare_sweep(struct bd_store *store);

#endif
