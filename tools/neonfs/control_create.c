/* Control requests that make branches: empty, of a branch or snapshot as it is, or of any point in a branch's history. */
#include <stdio.h>
#include <string.h>

#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_prepare.h"

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

static int create_from(struct ctl_call *call, const char *name, const char *from, struct ctl_prepared *made)
{
	struct ctl_place place;
	enum ctl_recovery how = CTL_RECOVERY_AUTO;
	if (ctl_recovery_argument(call, &how) != 0 || ctl_find_place(call, "parent", from, ctl_true(call, "round"), &place) != 0)
		return -1;
	if (place.kind == CTL_PLACE_LSN || how == CTL_RECOVERY_INSTANT)
		return create_prepared(call, name, &place, how, made);
	/* The common case, and the fast one: nothing has to be prepared, and it has its name from the first. */
	int rc = ctl_create_copy(call->store, name, place.view, &made->branch, &made->pause_ns);
	return rc == 0 ? 0 : ctl_create_error(call, rc, name);
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
