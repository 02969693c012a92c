/* Control requests that make branches: empty, of a branch or snapshot as it is, or of any point in a branch's history. */
#include <stdio.h>
#include <string.h>

#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_prepare.h"
#include "tools/neonfs/control_tablespace.h"

static int create_empty(struct ctl_call *call, const char *name, struct bd_branch_info *ret_child)
{
	const json_t *uid = json_object_get(call->args, "uid"), *gid = json_object_get(call->args, "gid");
	if (!json_is_integer(uid) || !json_is_integer(gid))
		return ctl_error(call, TL_CODE_USAGE, "the request has no uid and gid for the new branch");
	int rc = bd_branch_create_empty(call->store, name, (uid_t)json_integer_value(uid), (gid_t)json_integer_value(gid),
					ret_child);
	return rc == 0 ? 0 : ctl_create_error(call, rc, name);
}

static int create_prepared(struct ctl_call *call, const char *name, const struct ctl_place *place, enum ctl_recovery how,
			   struct ctl_prepared *prepared)
{
	struct bd_branch_info there;
	int64_t began_ns = ctl_now_ns();
	/* Known before the work is done for nothing. */
	if (bd_branch_find(call->store, name, &there) == 0)
		return ctl_create_error(call, -EEXIST, name);
	if (ctl_prepare(call, place, how, prepared) != 0 || ctl_prepare_finish(call, prepared) != 0 ||
	    ctl_prepare_publish(call, prepared, name) != 0)
		return -1;
	ctl_note_time(prepared->facts, "total", &began_ns);
	return 0;
}

/* It has its name, but nobody was told so. Returns -1. */
static int take_back(struct ctl_call *call, const struct bd_branch_info *branch)
{
	int rc = bd_branch_delete(call->store, branch->id);
	size_t used = strlen(call->error_message);
	if (rc != 0)
		snprintf(call->error_message + used, sizeof(call->error_message) - used,
			 " (\"%s\" was made, and cannot be deleted: %s)", branch->name, strerror(-rc));
	fs_branch_changed(call->fs, branch->name);
	return -1;
}

/* The common case, and the fast one: nothing has to be prepared, and it has its name from the first. */
static int create_copy(struct ctl_call *call, const char *name, struct bd_view view, struct ctl_prepared *made)
{
	bool shares = ctl_true(call, "share_tablespaces");
	if (!shares && ctl_check_tablespaces(call, view, CTL_TABLESPACE_COPY) != 0)
		return -1;
	int rc = ctl_create_copy(call->store, name, view, &made->branch, &made->pause_ns);
	if (rc != 0)
		return ctl_create_error(call, rc, name);
	/* The server may have made one between the two. */
	const struct bd_view copy = {.branch = made->branch.id, .epoch = BD_EPOCH_HEAD};
	return shares || ctl_check_tablespaces(call, copy, CTL_TABLESPACE_COPY) == 0 ? 0 : take_back(call, &made->branch);
}

static int create_from(struct ctl_call *call, const char *name, const char *from, struct ctl_prepared *made)
{
	struct ctl_place place;
	enum ctl_recovery how = CTL_RECOVERY_AUTO;
	if (ctl_recovery_argument(call, &how) != 0 || ctl_find_place(call, "parent", from, ctl_true(call, "round"), &place) != 0)
		return -1;
	bool is_prepared = place.kind == CTL_PLACE_LSN || how == CTL_RECOVERY_INSTANT;
	if (is_prepared && ctl_true(call, "share_tablespaces"))
		return ctl_error(call, TL_CODE_USAGE,
				 "--share-tablespaces is for a copy of now or of a snapshot, without --recovery=instant");
	return is_prepared ? create_prepared(call, name, &place, how, made) : create_copy(call, name, place.view, made);
}

int ctl_branch_create(struct ctl_call *call)
{
	struct ctl_prepared made = {0};
	const char *name = ctl_text(call, "name"), *from = ctl_optional_text(call, "from");
	if (name == NULL || ctl_check_name(call, "branch", name) != 0)
		return -1;
	int rc = from != NULL ? create_from(call, name, from, &made) : create_empty(call, name, &made.branch);
	if (rc != 0)
		return rc;
	fs_branch_changed(call->fs, made.branch.name);
	call->result = ctl_branch_json(call->config, &made.branch);
	/* The branch is there whatever becomes of the answer. */
	if (call->result != NULL) {
		json_object_set_new(call->result, "pause_us", json_integer((json_int_t)(made.pause_ns / 1000)));
		json_object_update(call->result, made.facts);
	}
	json_decref(made.facts);
	return 0;
}
