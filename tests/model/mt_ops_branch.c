/* Operations on branches and snapshots, and on the store as a whole. */
#include "mt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned free_branch(const struct mt *mt)
{
	unsigned i = 0;

	while (i < MT_BRANCHES && mt->branches[i].used)
		i++;
	return i;
}

static unsigned free_snapshot(const struct mt *mt)
{
	unsigned i = 0;

	while (i < MT_SNAPSHOTS && mt->snapshots[i].used)
		i++;
	return i;
}

/* A branch point shows what has a name; unlinked files that are open live on in the head only. */
static struct mm_tree *frozen(struct mm_tree *tree)
{
	struct mm_tree *copy = mm_tree_own(mm_tree_ref(tree));

	for (size_t i = copy->count; i-- > 0;)
		if (copy->inodes[i]->nlink == 0)
			mm_drop(copy, copy->inodes[i]->file);
	return copy;
}

static void add_branch(struct mt *mt, unsigned at, const struct bd_branch_info *info, struct mm_tree *tree)
{
	struct mt_branch *b = &mt->branches[at];

	*b = (struct mt_branch){.used = true, .id = info->id, .parent = info->parent, .parent_epoch = info->parent_epoch,
				.epoch = info->epoch, .head = tree};
	strcpy(b->name, info->name);
	mt_durable(mt, at);
}

static void new_name(struct mt *mt, const char *stem, char name[BD_BRANCH_NAME_MAX + 1])
{
	snprintf(name, BD_BRANCH_NAME_MAX + 1, "%s%u", stem, mt->next_name++);
}

void mt_op_branch_new(struct mt *mt)
{
	unsigned at = free_branch(mt), other = mt_any_branch(mt);
	char name[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info info;
	struct bd_inode *root;
	struct bd_attr attr;
	struct mm_tree *tree;
	struct mm_inode *inode;

	if (at == MT_BRANCHES)
		return;
	if (other < MT_BRANCHES)
		mt_expect(mt, "bd_branch_create_empty of a taken name",
			  bd_branch_create_empty(mt->store, mt->branches[other].name, 1, 2, &info), -EEXIST);
	new_name(mt, "empty", name);
	mt_trace(mt, "create empty branch %s", name);
	mt_expect(mt, "bd_branch_create_empty", bd_branch_create_empty(mt->store, name, 1, 2, &info), 0);
	tree = mm_tree_new();
	inode = mm_inode_new(MM_ROOT, 040700, 1, 2);
	inode->parent = MM_ROOT;
	inode->named_at = inode->entries_at = mt->op;
	mm_add(tree, inode);
	add_branch(mt, at, &info, tree);
	mt_expect(mt, "bd_root of a new branch", bd_root(mt->store, mt_head_view(mt, at), &root), 0);
	bd_inode_attr(root, &attr);
	inode->atime_ns = attr.atime_ns;
	mt_absorb(mt, inode, root, MT_NEW);
	bd_inode_unref(root, 1);
	if (strcmp(info.name, name) != 0 || info.parent.v != 0)
		mt_fail(mt, "new branch %s: wrong information", name);
}

/* From a head (whose epoch is frozen) or from a snapshot. */
void mt_op_branch_create(struct mt *mt)
{
	unsigned at = free_branch(mt), parent = mt_any_branch(mt), snapshot = (unsigned)mt_below(mt, MT_SNAPSHOTS);
	struct bd_branch_info info, parent_info;
	char name[BD_BRANCH_NAME_MAX + 1];
	struct bd_view from;
	struct mm_tree *tree;
	bool of_snapshot = mt->snapshots[snapshot].used && mt_chance(mt, 500);

	if (at == MT_BRANCHES || parent == MT_BRANCHES)
		return;
	if (of_snapshot)
		parent = mt->snapshots[snapshot].branch;
	from = of_snapshot ? mt_snapshot_view(mt, snapshot) : mt_head_view(mt, parent);
	tree = of_snapshot ? mm_tree_ref(mt->snapshots[snapshot].tree) : frozen(mt->branches[parent].head);
	mt_expect(mt, "bd_branch_create of a taken name",
		  bd_branch_create(mt->store, mt->branches[parent].name, from, &info, NULL), -EEXIST);
	new_name(mt, "branch", name);
	mt_trace(mt, "create branch %s from %s at %u", name, mt->branches[parent].name, from.epoch.v);
	mt_expect(mt, "bd_branch_create", bd_branch_create(mt->store, name, from, &info, NULL), 0);
	mt_expect(mt, "bd_branch_get", bd_branch_get(mt->store, mt->branches[parent].id, &parent_info), 0);
	if (strcmp(info.name, name) != 0 || info.parent.v != mt->branches[parent].id.v)
		mt_fail(mt, "new branch %s: wrong information", name);
	if (of_snapshot) {
		mt_expect(mt, "the epoch of the parent", parent_info.epoch.v, mt->branches[parent].epoch.v);
		mt_expect(mt, "the epoch of the branch point", info.parent_epoch.v, from.epoch.v);
	} else {
		if (parent_info.epoch.v <= mt->branches[parent].epoch.v)
			mt_fail(mt, "the parent's epoch did not rise: %u", parent_info.epoch.v);
		if (info.parent_epoch.v < mt->branches[parent].epoch.v || info.parent_epoch.v >= parent_info.epoch.v)
			mt_fail(mt, "branch point %u of a parent that went from %u to %u", info.parent_epoch.v,
				mt->branches[parent].epoch.v, parent_info.epoch.v);
		mt->branches[parent].epoch = parent_info.epoch;
		mt_durable(mt, parent);
	}
	add_branch(mt, at, &info, tree);
}

static bool has_children(const struct mt *mt, unsigned branch)
{
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used && mt->branches[i].parent.v == mt->branches[branch].id.v)
			return true;
	return false;
}

void mt_op_branch_detach(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt);

	if (branch == MT_BRANCHES)
		return;
	struct mt_branch *b = &mt->branches[branch];
	mt_trace(mt, "detach branch %s", b->name);
	mt_expect(mt, "bd_branch_detach", bd_branch_detach(mt->store, b->id), b->parent.v == 0 ? -EINVAL : 0);
	b->parent.v = b->parent_epoch.v = 0;
}

void mt_op_branch_delete(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt);
	struct bd_branch_info info;
	struct bd_inode *root;
	struct bd_view view;
	int want = 0, err;

	if (branch == MT_BRANCHES)
		return;
	if (mt->branches[branch].is_protected)
		want = -EPERM;
	else if (has_children(mt, branch))
		want = -ENOTEMPTY;
	view = mt_head_view(mt, branch);
	mt_trace(mt, "delete branch %s", mt->branches[branch].name);
	if (want == 0 && mt_chance(mt, 200)) {
		struct bd_inode *top;
		mt_expect(mt, "bd_root", bd_root(mt->store, view, &top), 0);
		bd_inode_use(top, 1);
		mt_expect(mt, "bd_branch_delete in use", bd_branch_delete(mt->store, view.branch), -EBUSY);
		bd_inode_use(top, -1);
		bd_inode_unref(top, 1);
	}
	if (want == 0)
		mt_handles_close(mt, branch);
	err = bd_branch_delete(mt->store, view.branch);
	if (want == -EPERM && has_children(mt, branch) && err == -ENOTEMPTY)
		err = want;
	mt_expect(mt, "bd_branch_delete", err, want);
	if (err != 0)
		return;
	mt_expect(mt, "bd_branch_get of a deleted branch", bd_branch_get(mt->store, view.branch, &info), -ENOENT);
	mt_expect(mt, "bd_branch_find of a deleted branch", bd_branch_find(mt->store, mt->branches[branch].name, &info), -ENOENT);
	mt_expect(mt, "bd_root of a deleted branch", bd_root(mt->store, view, &root), -ENOENT);
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++)
		if (mt->snapshots[i].used && mt->snapshots[i].branch == branch) {
			mm_tree_unref(mt->snapshots[i].tree);
			mt->snapshots[i].used = false;
		}
	mt_branch_clear(&mt->branches[branch]);
}

void mt_op_branch_rename(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt), other = mt_any_branch(mt);
	char name[BD_BRANCH_NAME_MAX + 1];

	if (branch == MT_BRANCHES)
		return;
	if (other != branch)
		mt_expect(mt, "bd_branch_rename to a taken name",
			  bd_branch_rename(mt->store, mt->branches[branch].id, mt->branches[other].name), -EEXIST);
	new_name(mt, "renamed", name);
	mt_trace(mt, "rename branch %s to %s", mt->branches[branch].name, name);
	mt_expect(mt, "bd_branch_rename", bd_branch_rename(mt->store, mt->branches[branch].id, name), 0);
	strcpy(mt->branches[branch].name, name);
}

void mt_op_branch_protect(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt);
	bool is_protected = mt_chance(mt, 200);

	if (branch == MT_BRANCHES)
		return;
	mt_trace(mt, "protect branch %s: %d", mt->branches[branch].name, is_protected);
	mt_expect(mt, "bd_branch_protect", bd_branch_protect(mt->store, mt->branches[branch].id, is_protected), 0);
	mt->branches[branch].is_protected = is_protected;
}

void mt_op_snapshot(struct mt *mt)
{
	unsigned at = free_snapshot(mt), branch = mt_any_branch(mt);
	struct bd_snapshot_info info;
	struct bd_branch_info branch_info;
	struct mt_snapshot *s;

	if (at == MT_SNAPSHOTS || branch == MT_BRANCHES)
		return;
	s = &mt->snapshots[at];
	new_name(mt, "snap", s->label);
	mt_trace(mt, "snapshot %s of %s", s->label, mt->branches[branch].name);
	mt_expect(mt, "bd_snapshot_create", bd_snapshot_create(mt->store, mt->branches[branch].id, s->label, &info), 0);
	mt_expect(mt, "bd_snapshot_create again", bd_snapshot_create(mt->store, mt->branches[branch].id, s->label, &info),
		  -EEXIST);
	mt_expect(mt, "bd_branch_get", bd_branch_get(mt->store, mt->branches[branch].id, &branch_info), 0);
	if (branch_info.epoch.v <= mt->branches[branch].epoch.v || info.epoch.v < mt->branches[branch].epoch.v ||
	    info.epoch.v >= branch_info.epoch.v)
		mt_fail(mt, "snapshot at %u of a branch that went from %u to %u", info.epoch.v, mt->branches[branch].epoch.v,
			branch_info.epoch.v);
	mt->branches[branch].epoch = branch_info.epoch;
	s->used = true;
	s->branch = branch;
	s->epoch = info.epoch;
	s->tree = frozen(mt->branches[branch].head);
	mt_durable(mt, branch);
}

void mt_op_snapshot_delete(struct mt *mt)
{
	struct mt_snapshot *s = &mt->snapshots[mt_below(mt, MT_SNAPSHOTS)];
	struct bd_branch_id branch;

	if (!s->used)
		return;
	branch = mt->branches[s->branch].id;
	mt_trace(mt, "delete snapshot %s of %s", s->label, mt->branches[s->branch].name);
	mt_expect(mt, "bd_snapshot_delete", bd_snapshot_delete(mt->store, branch, s->label), 0);
	mt_expect(mt, "bd_snapshot_delete again", bd_snapshot_delete(mt->store, branch, s->label), -ENOENT);
	mm_tree_unref(s->tree);
	s->used = false;
}

/* ---- diff ---- */

struct diff {
	struct mt *mt;
	const struct mm_tree *a, *b;
	char *paths; /* reported, each with its NUL */
	size_t size;
};

/* The file at `path`, or NULL. */
static const struct mm_inode *resolve(const struct mm_tree *tree, const char *path)
{
	const struct mm_inode *inode = mm_get(tree, MM_ROOT);
	char name[BD_NAME_MAX + 1];

	while (inode != NULL && *path != 0) {
		size_t size = strcspn(path, "/");
		if (size > BD_NAME_MAX)
			return NULL;
		if (size > 0) {
			memcpy(name, path, size);
			name[size] = 0;
			uint64_t file = mm_entry_find(inode, name);
			inode = file != 0 ? mm_get(tree, file) : NULL;
		}
		path += size + (path[size] == '/');
	}
	return inode;
}

static int diff_each(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	struct diff *diff = arg;
	const struct mm_inode *a = resolve(diff->a, path), *b = resolve(diff->b, path);
	size_t size;

	(void)blocks;
	if (kind == BD_DIFF_ADDED ? b == NULL : kind == BD_DIFF_REMOVED ? a == NULL : a == NULL || b == NULL)
		mt_fail(diff->mt, "bd_diff reports '%s' as kind %d, but it is %s and %s", path, (int)kind, a ? "in a" : "not in a",
			b ? "in b" : "not in b");
	while (*path == '/')
		path++;
	size = strlen(path) + 1;
	diff->paths = realloc(diff->paths, diff->size + size);
	if (diff->paths == NULL)
		abort();
	memcpy(diff->paths + diff->size, path, size);
	diff->size += size;
	return 0;
}

static bool reported(const struct diff *diff, const char *path)
{
	for (size_t at = 0; at < diff->size; at += strlen(diff->paths + at) + 1)
		if (strcmp(diff->paths + at, path) == 0)
			return true;
	return false;
}

/* Everything below `dir` of one side that differs on the other must have been reported. */
static void diff_expect(struct diff *diff, const struct mm_tree *side, const struct mm_tree *other, const struct mm_inode *dir,
			const char *path)
{
	char child[4096];

	for (size_t i = 0; i < dir->entry_count; i++) {
		const struct mm_inode *mine = mm_get(side, dir->entries[i].file), *theirs;
		if ((size_t)snprintf(child, sizeof(child), "%s%s%s", path, *path ? "/" : "",
				     (const char *)dir->entries[i].name->bytes) >= sizeof(child))
			continue;
		theirs = resolve(other, child);
		if ((theirs == NULL || (mm_is_file(mine) && mm_is_file(theirs) && !mm_same_content(mine, theirs)) ||
		     mine->mode != theirs->mode || mine->uid != theirs->uid || !mm_same_xattrs(mine, theirs)) &&
		    !reported(diff, child))
			mt_fail(diff->mt, "bd_diff does not report '%s'", child);
		if (mm_is_dir(mine))
			diff_expect(diff, side, other, mine, child);
	}
}

void mt_op_diff(struct mt *mt)
{
	unsigned a = mt_any_branch(mt), b = mt_any_branch(mt), snapshot = (unsigned)mt_below(mt, MT_SNAPSHOTS);
	bool of_snapshot = mt->snapshots[snapshot].used;
	struct diff diff = {.mt = mt};

	if (a == MT_BRANCHES)
		return;
	diff.a = of_snapshot ? mt->snapshots[snapshot].tree : mt->branches[a].head;
	diff.b = mt->branches[b].head;
	mt_trace(mt, "diff %s to %s", of_snapshot ? mt->snapshots[snapshot].label : mt->branches[a].name, mt->branches[b].name);
	mt_expect(mt, "bd_diff",
		  bd_diff(mt->store, of_snapshot ? mt_snapshot_view(mt, snapshot) : mt_head_view(mt, a), mt_head_view(mt, b),
			  diff_each, &diff), 0);
	diff_expect(&diff, diff.a, diff.b, mm_get(diff.a, MM_ROOT), "");
	diff_expect(&diff, diff.b, diff.a, mm_get(diff.b, MM_ROOT), "");
	free(diff.paths);
}

/* ---- the store ---- */

void mt_op_gc(struct mt *mt)
{
	struct bd_gc_result result;

	mt_trace(mt, "collect");
	mt_expect(mt, "bd_store_gc", bd_store_gc(mt->store, NULL, NULL, &result), 0);
}

void mt_op_checkpoint(struct mt *mt)
{
	mt_trace(mt, "checkpoint");
	mt_expect(mt, "bd_store_checkpoint", bd_store_checkpoint(mt->store), 0);
}

void mt_op_sync(struct mt *mt)
{
	mt_trace(mt, "sync");
	mt_expect(mt, "bd_store_sync", bd_store_sync(mt->store), 0);
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used)
			mt_durable(mt, i);
}

void mt_op_verify(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt), snapshot = (unsigned)mt_below(mt, MT_SNAPSHOTS);

	if (mt->snapshots[snapshot].used) {
		mt_trace(mt, "verify snapshot %s", mt->snapshots[snapshot].label);
		mt_verify_view(mt, mt_snapshot_view(mt, snapshot), mt->snapshots[snapshot].tree);
	}
	if (branch < MT_BRANCHES) {
		mt_trace(mt, "verify branch %s", mt->branches[branch].name);
		mt_verify_view(mt, mt_head_view(mt, branch), mt->branches[branch].head);
	}
	mt_verify_branches(mt);
}

void mt_op_scrub(struct mt *mt)
{
	mt_trace(mt, "scrub");
	mt_scrub(mt);
}
