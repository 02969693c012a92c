/* Control requests that make, show, rename and protect branches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_call.h"
#include "tools/neonfs/control_names.h"

int ctl_branch_list(struct ctl_call *call)
{
	struct bd_branch_info *infos;
	size_t count;
	int rc = bd_branch_list(call->store, &infos, &count);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot list the branches");
	json_t *list = json_array();
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = json_array_append_new(list, ctl_branch_json(call->config, &infos[i])) != 0 ? -ENOMEM : 0;
	free(infos);
	call->result = json_pack("{s:o}", "branches", list);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot list the branches");
}

/* The labels of a branch's snapshots, and the names of its children, oldest first. */
static int add_relatives(struct ctl_call *call, const struct bd_branch_info *branch, json_t *object)
{
	struct bd_snapshot_info *snapshots;
	struct bd_branch_info *all;
	size_t count;
	json_t *labels = json_array(), *children = json_array();
	int rc = json_object_set_new(object, "snapshot_list", labels) | json_object_set_new(object, "child_list", children);
	if (rc != 0)
		return -ENOMEM;
	rc = bd_snapshot_list(call->store, branch->id, &snapshots, &count);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		rc |= json_array_append_new(labels, ctl_snapshot_json(call->config, branch->name, &snapshots[i]));
	free(snapshots);
	if (rc != 0 || branch->children == 0)
		return rc != 0 ? -ENOMEM : 0;
	rc = bd_branch_list(call->store, &all, &count);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		if (all[i].parent.v == branch->id.v)
			rc |= json_array_append_new(children, json_string(all[i].name));
	free(all);
	return rc != 0 ? -ENOMEM : 0;
}

int ctl_branch_show(struct ctl_call *call)
{
	struct bd_branch_info branch;
	if (ctl_branch_argument(call, "name", &branch) != 0)
		return -1;
	call->result = ctl_branch_json(call->config, &branch);
	int rc = call->result != NULL ? add_relatives(call, &branch, call->result) : -ENOMEM;
	if (rc == 0 && json_object_set_new(call->result, "history", ctl_history_json(call, &branch)) != 0)
		rc = -ENOMEM;
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot show the branch");
}

/* ---------------------------------------------------------------- create */

/* A copy of a running Postgres has its postmaster.pid and postmaster.opts, which name the parent's process and
 * directory: the copy could not be started, or pg_ctl would act on the parent. The WAL, with which Postgres recovers,
 * and everything else stay. A tree that is no data directory is left alone. */
static const char *const pid_files[] = {"postmaster.pid", "postmaster.opts"};

static int is_data_directory(struct bd_store *store, struct bd_view view, bool *ret_is)
{
	struct bd_inode *root, *mark;
	int rc = bd_root(store, view, &root);
	if (rc != 0)
		return rc;
	rc = bd_lookup(root, "PG_VERSION", &mark);
	bd_inode_unref(root, 1);
	*ret_is = rc == 0;
	if (rc == 0)
		bd_inode_unref(mark, 1);
	return rc == -ENOENT ? 0 : rc;
}

static int fail_create(struct ctl_call *call, int rc, const char *name)
{
	if (rc == -EEXIST)
		return ctl_error(call, "exists", "branch \"%s\" exists already; choose another name", name);
	if (rc == -EMLINK || rc == -E2BIG)
		return ctl_error(call, "failed", "the store is full of branches (%d); delete some first", BD_BRANCHES_MAX);
	return ctl_store_error(call, rc, "cannot create the branch");
}

static int create_empty(struct ctl_call *call, const char *name, struct bd_branch_info *ret_child)
{
	const json_t *uid = json_object_get(call->args, "uid"), *gid = json_object_get(call->args, "gid");
	if (!json_is_integer(uid) || !json_is_integer(gid))
		return ctl_error(call, TL_CODE_USAGE, "the request has no uid and gid for the new branch");
	int rc = bd_branch_create_empty(call->store, name, (uid_t)json_integer_value(uid), (gid_t)json_integer_value(gid),
					ret_child);
	return rc == 0 ? 0 : fail_create(call, rc, name);
}

static int create_from(struct ctl_call *call, const char *name, const char *from, struct bd_branch_info *ret_child,
		       uint64_t *ret_pause_ns)
{
	struct bd_view view;
	if (ctl_find_view(call, "parent", from, &view, NULL) != 0)
		return -1;
	bool leaves_out;
	int rc = is_data_directory(call->store, view, &leaves_out);
	if (rc == 0)
		rc = bd_branch_create_without(call->store, name, view, pid_files, leaves_out ? NF_ARRAY_LEN(pid_files) : 0,
					      ret_child, ret_pause_ns);
	return rc == 0 ? 0 : fail_create(call, rc, name);
}

int ctl_branch_create(struct ctl_call *call)
{
	struct bd_branch_info child;
	uint64_t pause_ns = 0;
	const char *name = ctl_text(call, "name"), *from = ctl_optional_text(call, "from");
	if (name == NULL || ctl_check_name(call, "branch", name) != 0)
		return -1;
	int rc = from != NULL ? create_from(call, name, from, &child, &pause_ns) : create_empty(call, name, &child);
	if (rc != 0)
		return rc;
	fs_branch_changed(call->fs, child.name);
	call->result = ctl_branch_json(call->config, &child);
	/* The branch is there whatever becomes of the answer. */
	if (call->result != NULL)
		json_object_set_new(call->result, "pause_us", json_integer((json_int_t)(pause_ns / 1000)));
	return 0;
}

/* ---------------------------------------------------------- small changes */

int ctl_branch_rename(struct ctl_call *call)
{
	struct bd_branch_info branch;
	const char *new_name = ctl_text(call, "new_name");
	if (new_name == NULL || ctl_branch_argument(call, "name", &branch) != 0 || ctl_check_name(call, "branch", new_name) != 0)
		return -1;
	int rc = bd_branch_rename(call->store, branch.id, new_name);
	if (rc == -EEXIST)
		return ctl_error(call, "exists", "branch \"%s\" exists already; choose another name", new_name);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot rename the branch");
	fs_branch_changed(call->fs, branch.name);
	fs_branch_changed(call->fs, new_name);
	return 0;
}

int ctl_branch_detach(struct ctl_call *call)
{
	struct bd_branch_info branch;
	if (ctl_branch_argument(call, "name", &branch) != 0)
		return -1;
	int rc = bd_branch_detach(call->store, branch.id);
	if (rc == -EINVAL)
		return ctl_error(call, "no-parent", "branch \"%s\" has no parent to be detached from", branch.name);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot detach the branch");
}

int ctl_branch_protect(struct ctl_call *call)
{
	struct bd_branch_info branch;
	if (ctl_branch_argument(call, "name", &branch) != 0)
		return -1;
	int rc = bd_branch_protect(call->store, branch.id, ctl_true(call, "protected"));
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot change the protection of the branch");
}
