/* Control requests that show, rename, detach and protect branches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/neonfs/control_call.h"
#include "tools/neonfs/control_made.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_source.h"

/* What the branch was made of, under "made_of". One that was deleted since it was listed has nothing more to say. */
static int add_made(struct ctl_call *call, const struct bd_branch_info *branch, struct ctl_made_cache *cache, json_t *object)
{
	struct ctl_made made;
	int rc = ctl_made_of(call->store, branch, cache, &made);
	if (rc == -ENOENT)
		return 0;
	return rc != 0 ? rc : json_object_set_new(object, "made_of", ctl_made_json(&made)) != 0 ? -ENOMEM : 0;
}

/* "points": with what each was made of, which takes a look at each. */
int ctl_branch_list(struct ctl_call *call)
{
	struct bd_branch_info *infos;
	struct ctl_made_cache cache = {0};
	size_t count;
	bool has_points = ctl_true(call, "points");
	int rc = bd_branch_list(call->store, &infos, &count);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot list the branches");
	json_t *list = json_array();
	for (size_t i = 0; i < count && rc == 0; i++) {
		json_t *branch = ctl_branch_json(call->config, &infos[i]);
		if (has_points && branch != NULL)
			rc = add_made(call, &infos[i], &cache, branch);
		if (json_array_append_new(list, branch) != 0)
			rc = -ENOMEM;
	}
	ctl_made_cache_free(&cache);
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
	if (rc == 0)
		rc = add_made(call, &branch, NULL, call->result);
	if (rc == 0 && json_object_set_new(call->result, "history", ctl_history_json(call, &branch)) != 0)
		rc = -ENOMEM;
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot show the branch");
}

/* ---------------------------------------------------------- small changes */

/* Postgres names some files by their whole path (pg_control): with the branch renamed below it, a server would find them gone, or write to those of the
 * branch that has the name then. */
int ctl_branch_rename(struct ctl_call *call)
{
	struct bd_branch_info branch;
	struct fs_hold *hold;
	struct ctl_claim claim;
	const char *new_name = ctl_text(call, "new_name");
	if (new_name == NULL || ctl_branch_argument(call, "name", &branch) != 0 ||
	    ctl_check_name(call, "branch", new_name) != 0 || ctl_claim_name(call, &branch, &claim) != 0)
		return -1;
	if (ctl_hold_unused(call, &branch, &hold) != 0) {
		ctl_claim_end(&claim);
		return -1;
	}
	int rc = bd_branch_rename(call->store, branch.id, new_name);
	if (rc == 0) {
		fs_branch_changed(call->fs, branch.name);
		fs_branch_changed(call->fs, new_name);
	}
	fs_hold_end(hold);
	ctl_claim_end(&claim);
	if (rc == -EEXIST)
		return ctl_error(call, "exists", "branch \"%s\" exists already; choose another name", new_name);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot rename the branch");
}

/* Has the branch a layer below the epoch at which somebody left it? Those that were laid later are not looked through. 1, 0, -errno. */
static int has_layer_below(struct ctl_call *call, struct bd_branch_id branch, struct bd_epoch left_at)
{
	struct bd_layer_info *layers;
	size_t count;
	bool has = false;
	int rc = bd_layer_list(call->store, branch, &layers, &count);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		has = has || layers[i].epoch.v < left_at.v;
	free(layers);
	return has;
}

/* Blocks that a branch sees through an ancestor's redo layer are made from what that ancestor keeps: it must not go. The drain does not help: it makes
 * blocks of the ancestor's head, and the branch began before that. */
static int check_layers_above(struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct bd_branch_info above = *branch;
	while (above.parent.v != 0) {
		struct bd_epoch left_at = above.parent_epoch;
		int rc = bd_branch_get(call->store, above.parent, &above);
		if (rc == 0)
			rc = has_layer_below(call, above.id, left_at);
		if (rc == -ENOENT)
			return 0;
		if (rc < 0)
			return ctl_store_error(call, rc, "cannot look at the branch's parents");
		if (rc == 1)
			return ctl_error(
				call, "busy",
				"branch \"%s\" was made while pages of \"%s\" were still to be made, and makes its own of what \"%s\" "
				"keeps: it cannot be without it. A branch made of \"%s\" later can be detached: once \"neonfs-branch "
				"show %s\" has no line \"layers\" any more, a minute or so after \"%s\" and others like it are deleted",
				branch->name, above.name, above.name, above.name, above.name, branch->name);
	}
	return 0;
}

int ctl_branch_detach(struct ctl_call *call)
{
	struct bd_branch_info branch;
	if (ctl_branch_argument(call, "name", &branch) != 0 || check_layers_above(call, &branch) != 0)
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
