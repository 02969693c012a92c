/* Names in control requests. See control_names.h. */
#include "tools/neonfs/control_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/lib/suggest.h"

int ctl_check_name(struct ctl_call *call, const char *what, const char *name)
{
	char quoted[TL_QUOTE_MAX];
	int rc = bd_name_check(name);
	if (rc == 0)
		return 0;
	tl_quote(quoted, sizeof(quoted), name);
	if (name[0] == '\0')
		return ctl_error(call, TL_CODE_USAGE, "the %s name is empty; use 1 to %d letters, digits, \".\", \"_\" or \"-\"",
				 what, BD_BRANCH_NAME_MAX);
	if (rc == -ENAMETOOLONG)
		return ctl_error(call, TL_CODE_USAGE, "%s is too long for a %s name: %zu bytes, at most %d are possible", quoted,
				 what, strlen(name), BD_BRANCH_NAME_MAX);
	return ctl_error(call, TL_CODE_USAGE,
			 "%s is no valid %s name; use letters, digits, \".\", \"_\" and \"-\", with no \".\" or \"-\" in front",
			 quoted, what);
}

/* " (did you mean ...?)" or "", from candidates offered one by one. */
struct nearest {
	const char *wanted;
	size_t distance;
	char name[BD_BRANCH_NAME_MAX + 1];
};

static void offer(struct nearest *nearest, const char *name)
{
	size_t distance = tl_distance(nearest->wanted, name);
	if (distance < nearest->distance && distance < 2 * strlen(nearest->wanted) &&
	    tl_distance_is_near(nearest->wanted, distance)) {
		nearest->distance = distance;
		snprintf(nearest->name, sizeof(nearest->name), "%s", name);
	}
}

static void suggest(const struct nearest *nearest, const char *otherwise, char *ret_text)
{
	if (nearest->name[0] != '\0')
		snprintf(ret_text, CTL_SUGGESTION_MAX, " (did you mean \"%s\"?)", nearest->name);
	else
		snprintf(ret_text, CTL_SUGGESTION_MAX, "%s", otherwise);
}

static void suggest_branch(struct ctl_call *call, const char *wanted, char *ret_text)
{
	struct nearest nearest = {.wanted = wanted, .distance = SIZE_MAX};
	struct bd_branch_info *infos;
	size_t count;
	if (bd_branch_list(call->store, &infos, &count) == 0) {
		for (size_t i = 0; i < count; i++)
			offer(&nearest, infos[i].name);
		free(infos);
	}
	suggest(&nearest, "; \"neonfs-branch list\" shows what there is", ret_text);
}

int ctl_find_branch(struct ctl_call *call, const char *role, const char *name, struct bd_branch_info *ret_info)
{
	char suggestion[CTL_SUGGESTION_MAX];
	if (ctl_check_name(call, "branch", name) != 0)
		return -1;
	int rc = bd_branch_find(call->store, name, ret_info);
	if (rc == 0)
		return 0;
	if (rc != -ENOENT)
		return ctl_store_error(call, rc, "cannot look the branch up");
	suggest_branch(call, name, suggestion);
	return ctl_error(call, TL_CODE_NOT_FOUND, "%s \"%s\" does not exist%s", role, name, suggestion);
}

int ctl_branch_argument(struct ctl_call *call, const char *key, struct bd_branch_info *ret_info)
{
	const char *name = ctl_text(call, key);
	return name != NULL ? ctl_find_branch(call, "branch", name, ret_info) : -1;
}

/* An LSN (16/B374D848, 16-B374D848) or a time (2026-11-24T01:34:00Z). */
static bool looks_like_lsn_or_time(const char *text)
{
	size_t hex = strspn(text, "0123456789abcdefABCDEF");
	bool is_lsn = hex > 0 && hex <= 8 && (text[hex] == '/' || text[hex] == '-') && text[hex + 1] != '\0' &&
		      text[hex + 1 + strspn(text + hex + 1, "0123456789abcdefABCDEF")] == '\0';
	return is_lsn || strchr(text, ':') != NULL;
}

int ctl_split_point(struct ctl_call *call, const char *text, struct ctl_point *ret_point)
{
	char name[BD_BRANCH_NAME_MAX + 1];
	const char *at = strchr(text, '@');
	size_t length = at != NULL ? (size_t)(at - text) : strlen(text);
	*ret_point = (struct ctl_point){0};
	if (at == NULL)
		return ctl_check_name(call, "branch", text) == 0
			       ? (snprintf(ret_point->branch, sizeof(ret_point->branch), "%s", text), 0)
			       : -1;
	if (length > BD_BRANCH_NAME_MAX)
		return ctl_error(call, TL_CODE_USAGE, "the branch name before \"@\" is too long: at most %d bytes are possible",
				 BD_BRANCH_NAME_MAX);
	snprintf(name, sizeof(name), "%.*s", (int)length, text);
	if (ctl_check_name(call, "branch", name) != 0)
		return -1;
	if (bd_name_check(at + 1) != 0 && looks_like_lsn_or_time(at + 1))
		return ctl_error(call, TL_CODE_USAGE, "\"%.60s\" is an LSN or a time, and a snapshot's label is wanted here",
				 at + 1);
	if (ctl_check_name(call, "snapshot", at + 1) != 0)
		return -1;
	snprintf(ret_point->branch, sizeof(ret_point->branch), "%s", name);
	snprintf(ret_point->label, sizeof(ret_point->label), "%s", at + 1);
	return 0;
}

void ctl_suggest_snapshot(struct ctl_call *call, const struct bd_branch_info *branch, const char *wanted, char *ret_text)
{
	struct nearest nearest = {.wanted = wanted, .distance = SIZE_MAX};
	struct bd_snapshot_info *infos;
	size_t count;
	if (bd_snapshot_list(call->store, branch->id, &infos, &count) == 0) {
		for (size_t i = 0; i < count; i++)
			offer(&nearest, infos[i].label);
		free(infos);
	}
	suggest(&nearest, "; \"neonfs-branch log\" shows the snapshots", ret_text);
}

int ctl_find_snapshot(struct ctl_call *call, const struct bd_branch_info *branch, const char *label,
		      struct bd_snapshot_info *ret_info)
{
	char suggestion[CTL_SUGGESTION_MAX];
	int rc = bd_snapshot_find(call->store, branch->id, label, ret_info);
	if (rc == 0)
		return 0;
	if (rc != -ENOENT)
		return ctl_store_error(call, rc, "cannot look the snapshot up");
	ctl_suggest_snapshot(call, branch, label, suggestion);
	return ctl_error(call, TL_CODE_NOT_FOUND, "branch \"%s\" has no snapshot \"%s\"%s", branch->name, label, suggestion);
}

int ctl_find_view(struct ctl_call *call, const char *role, const char *text, struct bd_view *ret_view,
		  struct bd_branch_info *ret_info)
{
	struct ctl_point point;
	struct bd_branch_info branch;
	struct bd_snapshot_info snapshot;
	if (ctl_split_point(call, text, &point) != 0 || ctl_find_branch(call, role, point.branch, &branch) != 0)
		return -1;
	if (point.label[0] != '\0' && ctl_find_snapshot(call, &branch, point.label, &snapshot) != 0)
		return -1;
	*ret_view = (struct bd_view){.branch = branch.id, .epoch = point.label[0] != '\0' ? snapshot.epoch : BD_EPOCH_HEAD};
	if (ret_info != NULL)
		*ret_info = branch;
	return 0;
}

json_t *ctl_branch_json(const struct daemon_config *config, const struct bd_branch_info *info)
{
	char created[TL_NUMBER_MAX], path[PATH_MAX + BD_BRANCH_NAME_MAX + 2];
	snprintf(path, sizeof(path), "%s/%s", config->mountpoint, info->name);
	json_t *parent = info->parent.v != 0 ? json_string(info->parent_name) : json_null();
	return json_pack("{s:s, s:I, s:o, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:b, s:I, s:o}", "name", info->name, "id",
			 (json_int_t)info->id.v, "parent", parent, "parent_epoch", (json_int_t)info->parent_epoch.v, "epoch",
			 (json_int_t)info->epoch.v, "created", tl_time(created, info->created_ns), "created_ns",
			 (json_int_t)info->created_ns, "children", (json_int_t)info->children, "snapshots",
			 (json_int_t)info->snapshots, "layers", (json_int_t)info->layers, "protected", (int)info->is_protected, "in_use", (json_int_t)info->in_use,
			 "path", tl_json_text(path));
}

json_t *ctl_snapshot_json(const struct daemon_config *config, const char *branch, const struct bd_snapshot_info *info)
{
	char created[TL_NUMBER_MAX], path[PATH_MAX + 2 * BD_BRANCH_NAME_MAX + 3];
	snprintf(path, sizeof(path), "%s/%s@%s", config->mountpoint, branch, info->label);
	return json_pack("{s:s, s:s, s:I, s:s, s:I, s:o}", "branch", branch, "label", info->label, "epoch",
			 (json_int_t)info->epoch.v, "created", tl_time(created, info->created_ns), "created_ns",
			 (json_int_t)info->created_ns, "path", tl_json_text(path));
}
