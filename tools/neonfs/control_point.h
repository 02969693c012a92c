/* Points in control requests: PARENT@POINT, found. How a point is written: point_text.h. */
#ifndef NEONFS_CONTROL_POINT_H
#define NEONFS_CONTROL_POINT_H

#include "common/nf_lsn.h"
#include "tools/neonfs/control_call.h"

/* The name that restore gives the old head: NAME, this, and the time as strftime writes it. */
#define CTL_OLD_HEAD "_old_"
#define CTL_OLD_STAMP "%Y%m%d-%H%M%S"

enum ctl_place_kind { CTL_PLACE_HEAD, CTL_PLACE_SNAPSHOT, CTL_PLACE_LSN };

struct ctl_place {
	enum ctl_place_kind kind;
	struct bd_branch_info branch;
	struct bd_view view; /* of a head or a snapshot */
	struct nf_lsn lsn; /* else: the end of a record */
	struct nf_lsn asked; /* else: the LSN that was asked for; 0 = it was a time or a restore point */
	const char *text; /* the point as it was written, the request's; NULL = none was */
};

/* Find "NAME" or "NAME@POINT". `role` is how a message calls the branch: "branch", "parent". `round`: an LSN inside a record becomes the end of the
 * record before it. -1 after ctl_error. */
NF_MUST_CHECK int ctl_find_place(struct ctl_call *call, const char *role, const char *text, bool round,
				 struct ctl_place *ret_place);
/* Find POINT in the history of a branch. */
NF_MUST_CHECK int ctl_find_point(struct ctl_call *call, const struct bd_branch_info *branch, const char *point, bool round,
				 struct ctl_place *ret_place);

/* -1 after ctl_error when the branch keeps no history. */
NF_MUST_CHECK int ctl_need_history(struct ctl_call *call, const struct bd_branch_info *branch);
/* Refuse because a question to the history of a branch was answered with `rc` and `message`. Returns -1. */
int ctl_history_error(struct ctl_call *call, int rc, const char *message);

/* The request that asks for the LSN of a point. */
int ctl_branch_point(struct ctl_call *call);

#endif
