/* A branch of which a child is being made at an LSN keeps its name until the child is there: the preparer reads its WAL by a path. */
#ifndef NEONFS_CONTROL_SOURCE_H
#define NEONFS_CONTROL_SOURCE_H

#include "tools/neonfs/control_call.h"

/* One work on a branch; on the stack of who does it, and linked from there until its end. */
struct ctl_claim {
	struct bd_branch_id branch;
	bool changes_name;
	struct ctl_claim *next; /* guarded by the module's lock */
};

/* A child is being made of the branch: from here to ctl_claim_end its name stays. *branch is brought up to date: it may have got another name since it was
 * looked up. Waits for a change of the name that is under way. -1 after ctl_error. */
NF_MUST_CHECK int ctl_claim_source(struct ctl_call *call, struct bd_branch_info *branch, struct ctl_claim *claim);

/* The branch's name is about to change, or go to another branch. Waits until no child is in the making, some seconds at most. -1 after ctl_error. */
NF_MUST_CHECK int ctl_claim_name(struct ctl_call *call, const struct bd_branch_info *branch, struct ctl_claim *claim);

void ctl_claim_end(struct ctl_claim *claim);

#endif
