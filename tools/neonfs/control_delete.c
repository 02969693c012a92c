/* The control request that deletes a branch, alone or with everything branched from it.
 *
 * Nothing is deleted when any of them may not be: all are looked at first, then deleted children before parents. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/neonfs/control_call.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/trees.h"
#include "tools/neonfs/users.h"

/* A process that has just ended still has its files open for the moment the kernel takes to tell us. */
#define BUSY_RETRIES 25
#define BUSY_PAUSE_NS 20000000

#define NAMES_SHOWN 3

/* All branches of the store ordered by parent, so that a branch's children are a range. */
struct family {
	struct bd_branch_info *all;
	size_t count;
	size_t *chosen; /* indexes into all: parents before children */
	size_t chosen_count;
};

static int by_parent(const void *a, const void *b)
{
	const struct bd_branch_info *x = a, *y = b;
	if (x->parent.v != y->parent.v)
		return x->parent.v < y->parent.v ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Index of the first branch whose parent is at least `parent`. */
static size_t first_child(const struct family *family, uint32_t parent)
{
	size_t low = 0, high = family->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (family->all[middle].parent.v < parent)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Fill `chosen` with the branch `id` and all its descendants. */
static void choose(struct family *family, uint32_t id)
{
	for (size_t i = 0; i < family->count; i++)
		if (family->all[i].id.v == id)
			family->chosen[family->chosen_count++] = i;
	for (size_t next = 0; next < family->chosen_count; next++) {
		uint32_t parent = family->all[family->chosen[next]].id.v;
		for (size_t i = first_child(family, parent); i < family->count && family->all[i].parent.v == parent; i++)
			family->chosen[family->chosen_count++] = i;
	}
}

static void free_family(struct family *family)
{
	free(family->all);
	free(family->chosen);
}

static int load_family(struct ctl_call *call, uint32_t id, struct family *ret_family)
{
	struct family family = {0};
	int rc = bd_branch_list(call->store, &family.all, &family.count);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot list the branches");
	family.chosen = calloc(family.count + 1, sizeof(*family.chosen));
	if (family.chosen == NULL) {
		free_family(&family);
		return ctl_store_error(call, -ENOMEM, "cannot list the branches");
	}
	qsort(family.all, family.count, sizeof(*family.all), by_parent);
	choose(&family, id);
	*ret_family = family;
	return 0;
}

/* -------------------------------------------------------------- refusals */

static int refuse_protected(struct ctl_call *call, const char *name)
{
	return ctl_error(call, "protected", "branch \"%s\" is protected; run \"neonfs-branch unprotect %s\" first", name, name);
}

static int refuse_busy(struct ctl_call *call, const char *name, uint32_t in_use)
{
	return ctl_error(
		call, "busy",
		"branch \"%s\" is in use (%u open file%s); stop what runs on it (Postgres: pg_ctl stop -D %s/%s) and try again",
		name, in_use, in_use == 1 ? "" : "s", call->config->mountpoint, name);
}

int ctl_refuse_busy(struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct bd_branch_info now;
	return refuse_busy(call, branch->name, bd_branch_get(call->store, branch->id, &now) == 0 ? now.in_use : 1);
}

static int refuse_children(struct ctl_call *call, const struct family *family)
{
	char names[NAMES_SHOWN * (BD_BRANCH_NAME_MAX + 8) + 16] = "";
	size_t used = 0, children = 0;
	const struct bd_branch_info *parent = &family->all[family->chosen[0]];
	for (size_t i = first_child(family, parent->id.v); i < family->count && family->all[i].parent.v == parent->id.v; i++) {
		if (children < NAMES_SHOWN)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", children > 0 ? ", " : "",
						 family->all[i].name);
		else if (children == NAMES_SHOWN)
			used += (size_t)snprintf(names + used, sizeof(names) - used, ", ...");
		children++;
	}
	return ctl_error(call, "has-children",
			 "branch \"%s\" has %zu child%s (%s); delete or detach %s first, or delete all with --recursive",
			 parent->name, children, children == 1 ? "" : "ren", names, children == 1 ? "it" : "them");
}

int ctl_check_unused(struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct bd_branch_info now = *branch;
	for (unsigned tries = 0; now.in_use > 0 && tries < BUSY_RETRIES; tries++) {
		nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
		int rc = bd_branch_get(call->store, branch->id, &now);
		if (rc != 0)
			return ctl_store_error(call, rc, "cannot look the branch up");
	}
	return now.in_use > 0 ? refuse_busy(call, now.name, now.in_use) : 0;
}

int ctl_hold_unused(struct ctl_call *call, const struct bd_branch_info *branch, struct fs_hold **ret_hold)
{
	if (ctl_check_unused(call, branch) != 0)
		return -1;
	int rc = fs_hold(call->fs, branch->id, ret_hold);
	if (rc == -EBUSY)
		return ctl_refuse_busy(call, branch);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot hold the branch");
}

/* Somebody's working directory is no open file: the kernel tells nobody of it, and what is in a deleted branch is gone under it. */
struct standing {
	const struct bd_branch_info *const *branches;
	size_t count;
	const struct bd_branch_info *found; /* the branch, and who is in it */
	char who[64];
};

/* Is the path in the branch's directory, or in that of one of its points? */
static bool is_in(const char *below, const char *branch)
{
	size_t length = strlen(branch);
	return strncmp(below, branch, length) == 0 && (below[length] == '\0' || below[length] == '/' || below[length] == '@');
}

static bool look_at_directory(void *arg, const struct users_place *place)
{
	struct standing *standing = arg;
	for (size_t i = 0; i < standing->count && standing->found == NULL; i++)
		if (is_in(place->below, standing->branches[i]->name))
			standing->found = standing->branches[i];
	if (standing->found != NULL)
		snprintf(standing->who, sizeof(standing->who), "%s (process %s)", place->name, place->pid);
	return standing->found == NULL;
}

int ctl_check_nobody_inside(struct ctl_call *call, const struct bd_branch_info *const *branches, size_t count)
{
	struct standing standing = {.branches = branches, .count = count};
	users_inside(call->config->mountpoint, look_at_directory, &standing);
	for (unsigned tries = 0; standing.found != NULL && tries < BUSY_RETRIES; tries++) {
		nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
		standing.found = NULL;
		users_inside(call->config->mountpoint, look_at_directory, &standing);
	}
	if (standing.found == NULL)
		return 0;
	return ctl_error(call, "busy", "branch \"%s\" is in use: %s has its working directory there; leave it (cd /) and try again",
			 standing.found->name, standing.who);
}

static int check_one(struct ctl_call *call, const struct bd_branch_info *listed)
{
	return listed->is_protected ? refuse_protected(call, listed->name) : ctl_check_unused(call, listed);
}

static int check_directories(struct ctl_call *call, const struct family *family)
{
	const struct bd_branch_info **branches = calloc(family->chosen_count + 1, sizeof(*branches));
	if (branches == NULL)
		return ctl_store_error(call, -ENOMEM, "cannot delete the branch");
	for (size_t i = 0; i < family->chosen_count; i++)
		branches[i] = &family->all[family->chosen[i]];
	int rc = ctl_check_nobody_inside(call, branches, family->chosen_count);
	free(branches);
	return rc;
}

/* -------------------------------------------------------------- deletion */

static int delete_one(struct ctl_call *call, const struct bd_branch_info *branch)
{
	int rc = trees_forget(call->trees, call, branch);
	if (rc != 0)
		return rc;
	rc = bd_branch_delete(call->store, branch->id);
	switch (rc) {
	case 0:
		wa_history_branch_deleted(call->history, branch->id);
		wa_lazy_branch_deleted(call->lazy);
		fs_branch_changed(call->fs, branch->name);
		return 0;
	case -EBUSY: /* opened since it was looked at */ return ctl_refuse_busy(call, branch);
	case -EPERM: return refuse_protected(call, branch->name);
	case -ENOTEMPTY:
		return ctl_error(call, "has-children", "branch \"%s\" got a new child meanwhile; try again", branch->name);
	default: return ctl_store_error(call, rc, "cannot delete the branch");
	}
}

/* A failure half-way tells that it is one. */
static int add_what_was_done(struct ctl_call *call, size_t deleted)
{
	size_t used = strlen(call->error_message);
	if (deleted > 0)
		snprintf(call->error_message + used, sizeof(call->error_message) - used,
			 " (%zu of its children are deleted already)", deleted);
	return -1;
}

static int delete_chosen(struct ctl_call *call, const struct family *family)
{
	json_t *deleted = json_array();
	call->result = json_pack("{s:o}", "deleted", deleted);
	for (size_t i = family->chosen_count; i > 0; i--) {
		const struct bd_branch_info *branch = &family->all[family->chosen[i - 1]];
		if (delete_one(call, branch) != 0)
			return add_what_was_done(call, json_array_size(deleted));
		json_array_append_new(deleted, json_string(branch->name));
	}
	return 0;
}

int ctl_branch_delete(struct ctl_call *call)
{
	struct bd_branch_info branch;
	struct family family = {0};
	if (ctl_branch_argument(call, "name", &branch) != 0 || load_family(call, branch.id.v, &family) != 0)
		return -1;
	int rc = 0;
	if (family.chosen_count == 0)
		rc = ctl_error(call, TL_CODE_NOT_FOUND, "branch \"%s\" was deleted meanwhile", branch.name);
	else if (family.chosen_count > 1 && !ctl_true(call, "recursive"))
		rc = refuse_children(call, &family);
	for (size_t i = 0; i < family.chosen_count && rc == 0; i++)
		rc = check_one(call, &family.all[family.chosen[i]]);
	if (rc == 0)
		rc = check_directories(call, &family);
	if (rc == 0)
		rc = delete_chosen(call, &family);
	free_family(&family);
	return rc;
}
