/* Names in control requests: checked, looked up, and answered with the nearest right one when wrong. */
#ifndef NEONFS_CONTROL_NAMES_H
#define NEONFS_CONTROL_NAMES_H

#include "tools/neonfs/control_call.h"

/* "branch" or "branch@label" taken apart. */
struct ctl_point {
	char branch[BD_BRANCH_NAME_MAX + 1];
	char label[BD_BRANCH_NAME_MAX + 1]; /* "" = the head */
};

/* 0 when `name` may name a branch (or, by `what`, a "label"); else -1 after ctl_error. */
NF_MUST_CHECK int ctl_check_name(struct ctl_call *call, const char *what, const char *name);

/* The branch called `name`; `role` is how a message calls it: "branch", "parent". -1 after ctl_error. */
NF_MUST_CHECK int ctl_find_branch(struct ctl_call *call, const char *role, const char *name, struct bd_branch_info *ret_info);
/* The branch that argument `key` names. */
NF_MUST_CHECK int ctl_branch_argument(struct ctl_call *call, const char *key, struct bd_branch_info *ret_info);

/* Take NAME or NAME@LABEL apart and look both up. `ret_info` may be NULL. -1 after ctl_error. */
NF_MUST_CHECK int ctl_find_view(struct ctl_call *call, const char *role, const char *text, struct bd_view *ret_view,
				struct bd_branch_info *ret_info);
NF_MUST_CHECK int ctl_split_point(struct ctl_call *call, const char *text, struct ctl_point *ret_point);
/* The snapshot `label` of a branch. -1 after ctl_error. */
NF_MUST_CHECK int ctl_find_snapshot(struct ctl_call *call, const struct bd_branch_info *branch, const char *label,
				    struct bd_snapshot_info *ret_info);

#define CTL_SUGGESTION_MAX (BD_BRANCH_NAME_MAX + 48)
/* What stands behind "... does not exist": the label that is nearest to `wanted`, or where to look. Fills ret_text (CTL_SUGGESTION_MAX). */
void ctl_suggest_snapshot(struct ctl_call *call, const struct bd_branch_info *branch, const char *wanted, char *ret_text);

/* JSON of a branch and of a snapshot. NULL: out of memory. */
json_t *ctl_branch_json(const struct daemon_config *config, const struct bd_branch_info *info);
json_t *ctl_snapshot_json(const struct daemon_config *config, const char *branch, const struct bd_snapshot_info *info);

#endif
