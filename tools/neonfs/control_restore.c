/* Control requests that put something else in a branch's place: a point of its own history (restore), or its parent as it is now (reset).
 *
 * What comes is made under an internal name; then both names change in one step, so that after a crash the old branch or the new one has the name,
 * whole. Nothing may be at work on the branch: a server would go on in the tree that has lost the name. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_prepare.h"
#include "tools/neonfs/control_source.h"
#include "tools/neonfs/trees.h"
#include "walapply/pitr/wa_history.h"

#define STAMP_MAX 24

/* The name that the old head keeps. */
static int old_name(struct ctl_call *call, const char *name, char ret_old[BD_BRANCH_NAME_MAX + 1])
{
	char stamp[STAMP_MAX];
	time_t now = time(NULL);
	struct tm parts;
	gmtime_r(&now, &parts);
	strftime(stamp, sizeof(stamp), CTL_OLD_STAMP, &parts);
	if (snprintf(ret_old, BD_BRANCH_NAME_MAX + 1, "%s" CTL_OLD_HEAD "%s", name, stamp) > BD_BRANCH_NAME_MAX)
		return ctl_error(
			call, "failed",
			"the old head could not keep a name: \"%s_old_%s\" is longer than %d bytes; rename the branch first",
			name, stamp, BD_BRANCH_NAME_MAX);
	return 0;
}

/* The new branch keeps what was asked for the old one: protection, and history. */
static void inherit(struct ctl_call *call, const struct bd_branch_info *old, const struct ctl_prepared *prepared)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	struct wa_history_status status;
	if (old->is_protected && bd_branch_protect(call->store, prepared->branch.id, true) != 0)
		nf_warn("branch %s: the protection could not be taken over", old->name);
	if (wa_history_status(call->history, old->id, &status) != 0 ||
	    (status.retention.seconds == 0 && status.retention.bytes == 0))
		return;
	int rc = wa_history_retain(call->history, prepared->branch.id, status.retention, message, sizeof(message));
	if (rc != 0) {
		nf_warn("branch %s: history is not kept for the new head: %s", old->name, message);
		json_object_set_new(prepared->facts, "warning",
				    json_string("history is not kept any more; turn it on with \"neonfs-branch retain\""));
	}
}

/* Both names change. -1 after ctl_error: then what was prepared is gone. */
static int replace(struct ctl_call *call, const struct bd_branch_info *old, const char *kept_name, struct ctl_prepared *prepared)
{
	char internal[BD_BRANCH_NAME_MAX + 1];
	struct ctl_claim claim;
	memcpy(internal, prepared->branch.name, sizeof(internal));
	if (ctl_claim_name(call, old, &claim) != 0) {
		ctl_prepare_drop(call, prepared);
		return -1;
	}
	int rc = bd_branch_replace(call->store, prepared->branch.id, old->id, kept_name);
	ctl_claim_end(&claim);
	if (rc != 0) {
		ctl_prepare_drop(call, prepared);
		if (rc == -EBUSY)
			return ctl_refuse_busy(call, old);
		return ctl_store_error(call, rc, "cannot put the new head in the branch's place");
	}
	snprintf(prepared->branch.name, sizeof(prepared->branch.name), "%s", old->name);
	fs_branch_changed(call->fs, internal);
	fs_branch_changed(call->fs, old->name);
	fs_branch_changed(call->fs, kept_name);
	return 0;
}

static int answer(struct ctl_call *call, struct ctl_prepared *prepared)
{
	struct bd_branch_info now = prepared->branch;
	/* The branch as it is now, protection and all; what was known when it was made will do. */
	if (bd_branch_get(call->store, prepared->branch.id, &now) != 0)
		nf_debug("branch %s is gone again already", now.name);
	call->result = ctl_branch_json(call->config, &now);
	if (call->result != NULL)
		json_object_update(call->result, prepared->facts);
	json_decref(prepared->facts);
	return 0;
}

int ctl_branch_restore(struct ctl_call *call)
{
	struct bd_branch_info branch;
	struct ctl_place place;
	struct ctl_prepared prepared;
	char kept[BD_BRANCH_NAME_MAX + 1];
	enum ctl_recovery how = CTL_RECOVERY_AUTO;
	int64_t began_ns = ctl_now_ns();
	const char *point = ctl_text(call, "point");
	if (point == NULL || ctl_branch_argument(call, "name", &branch) != 0 || ctl_recovery_argument(call, &how) != 0 ||
	    old_name(call, branch.name, kept) != 0 ||
	    ctl_find_point(call, &branch, point, ctl_true(call, "round"), &place) != 0 || ctl_check_unused(call, &branch) != 0 ||
	    ctl_prepare(call, &place, how, &prepared) != 0)
		return -1;
	if (ctl_prepare_finish(call, &prepared) != 0)
		return -1;
	inherit(call, &branch, &prepared);
	if (replace(call, &branch, kept, &prepared) != 0)
		return -1;
	json_object_set_new(prepared.facts, "old", json_string(kept));
	ctl_note_time(prepared.facts, "total", &began_ns);
	return answer(call, &prepared);
}

/* What it had is given up, so it must be one that may be deleted. */
static int check_reset(struct ctl_call *call, const struct bd_branch_info *branch)
{
	if (branch->parent.v == 0)
		return ctl_error(call, "no-parent", "branch \"%s\" has no parent to be reset to", branch->name);
	if (branch->is_protected)
		return ctl_error(call, "protected", "branch \"%s\" is protected; run \"neonfs-branch unprotect %s\" first",
				 branch->name, branch->name);
	if (branch->children > 0)
		return ctl_error(call, "has-children",
				 "branch \"%s\" has %u child%s, made from what would be given up; delete or detach %s first",
				 branch->name, branch->children, branch->children == 1 ? "" : "ren",
				 branch->children == 1 ? "it" : "them");
	return ctl_check_unused(call, branch) != 0 ? -1 : ctl_check_nobody_inside(call, &branch, 1);
}

int ctl_branch_reset(struct ctl_call *call)
{
	struct bd_branch_info branch;
	struct ctl_prepared prepared;
	char internal[BD_BRANCH_NAME_MAX + 1];
	int64_t began_ns = ctl_now_ns();
	if (ctl_branch_argument(call, "name", &branch) != 0 || check_reset(call, &branch) != 0)
		return -1;
	if (trees_forget(call->trees, call, &branch) != 0)
		return -1;
	const struct ctl_place place = {.kind = CTL_PLACE_HEAD, .view = {.branch = branch.parent, .epoch = BD_EPOCH_HEAD}};
	if (ctl_prepare(call, &place, CTL_RECOVERY_AUTO, &prepared) != 0)
		return -1;
	memcpy(internal, prepared.branch.name, sizeof(internal));
	if (ctl_prepare_finish(call, &prepared) != 0)
		return -1;
	inherit(call, &branch, &prepared);
	if (replace(call, &branch, internal, &prepared) != 0)
		return -1;
	/* The old head has the internal name now: if it cannot be deleted here, the next mount does it. */
	wa_history_branch_deleted(call->history, branch.id);
	int rc = bd_branch_delete(call->store, branch.id);
	if (rc != 0)
		nf_warn("what branch %s was before its reset could not be deleted: %s; the next mount does it", branch.name,
			strerror(-rc));
	ctl_note_time(prepared.facts, "total", &began_ns);
	return answer(call, &prepared);
}
