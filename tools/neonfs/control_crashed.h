/* A branch that is what a crash left, brought to its last valid record so that Postgres starts on it without recovery. */
#ifndef NEONFS_CONTROL_CRASHED_H
#define NEONFS_CONTROL_CRASHED_H

#include "tools/neonfs/control_call.h"

struct ctl_cluster;

struct ctl_crashed {
	struct bd_branch_info branch; /* by its name now, internal or not */
	const struct ctl_cluster *cluster; /* what it is */
	struct bd_branch_id history; /* the branch whose history may have the index of its WAL: itself, or its parent */
	struct fs_hold *hold; /* on the branch, which is recovered in place; NULL: it is a copy that nobody knows the name of */
};

/* Everything but pages is brought to the end of the branch's own valid WAL, a redo layer is laid for these, and then pg_control is changed; all at once
 * where the WAL is not of that kind (a row "eager" of the facts says why). Rows "lsn", "replayed" and "lazy_blocks" are added to the facts. Not durable
 * before the store is synced. -1 after ctl_error: then the branch is still a crashed one, further on, which Postgres recovers, and so does another try. */
NF_MUST_CHECK int ctl_recover_crashed(struct ctl_call *call, const struct ctl_crashed *crashed, json_t *facts);

#endif
