/* Steps of the fault test, and what each enters into the ledger. */
#include "fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void may_add(struct may *may, uint32_t tag)
{
	for (unsigned i = 0; i < may->count; i++)
		if (may->tags[i] == tag)
			return;
	if (may->count == TAGS) {
		fprintf(stderr, "fault_test: more than %d states of one block\n", TAGS);
		abort();
	}
	may->tags[may->count++] = tag;
}

bool may_be(const struct may *may, uint32_t tag)
{
	for (unsigned i = 0; i < may->count; i++)
		if (may->tags[i] == tag)
			return true;
	return false;
}

/* A step that changes `live` and `disk` to `tag` was tried. */
static void tried(struct may *live, struct may *disk, uint32_t tag, int err)
{
	if (err == 0)
		*live = (struct may){.tags = {tag}, .count = 1};
	else
		may_add(live, tag);
	may_add(disk, tag);
}

static void merge(struct may *to, const struct may *from)
{
	for (unsigned i = 0; i < from->count; i++)
		may_add(to, from->tags[i]);
}

static struct view_state *view_of(struct run *r, const char *branch, const char *label)
{
	for (unsigned i = 0; i < VIEWS; i++)
		if (r->views[i].used && strcmp(r->views[i].branch, branch) == 0 && strcmp(r->views[i].label, label) == 0)
			return &r->views[i];
	return NULL;
}

struct view_state *view_add(struct run *r, const char *branch, const char *label, const struct file_state *files, bool certain)
{
	for (unsigned i = 0; i < VIEWS; i++) {
		struct view_state *v = &r->views[i];
		if (v->used)
			continue;
		*v = (struct view_state){.used = true, .certain = certain};
		snprintf(v->branch, sizeof(v->branch), "%s", branch);
		snprintf(v->label, sizeof(v->label), "%s", label);
		memcpy(v->live, files, sizeof(v->live));
		memcpy(v->disk, files, sizeof(v->disk));
		return v;
	}
	abort();
}

/* ---- steps ---- */

static void file_name(unsigned file, char name[8])
{
	snprintf(name, 8, "f%u", file);
}

int open_root(struct run *r, const char *branch, const char *label, struct bd_inode **ret_root)
{
	struct bd_branch_info info;
	struct bd_snapshot_info snapshot;
	struct bd_view view = {.epoch = BD_EPOCH_HEAD};
	int err = bd_branch_find(r->store, branch, &info);

	if (err != 0)
		return err;
	view.branch = info.id;
	if (*label != 0) {
		err = bd_snapshot_find(r->store, info.id, label, &snapshot);
		if (err != 0)
			return err;
		view.epoch = snapshot.epoch;
	}
	return bd_root(r->store, view, ret_root);
}

int open_file(struct run *r, const char *branch, const char *label, unsigned file, struct bd_inode **ret_inode)
{
	struct bd_inode *root;
	char name[8];
	int err = open_root(r, branch, label, &root);

	if (err != 0)
		return err;
	file_name(file, name);
	err = bd_lookup(root, name, ret_inode);
	bd_inode_unref(root, 1);
	return err;
}

void note(struct run *r, const char *step, int err)
{
	r->step = step;
	r->failures += err != 0;
	if (fault_verbose)
		printf("  %s: %s\n", step, err == 0 ? "ok" : strerror(-err));
}

static void synced(struct view_state *v, unsigned file)
{
	v->disk[file] = v->live[file];
}

void step_create(struct run *r, const char *step, const char *branch, unsigned file)
{
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct view_state *v = view_of(r, branch, "");
	struct bd_inode *root, *inode;
	char name[8];
	int err = open_root(r, branch, "", &root);

	if (err == 0) {
		file_name(file, name);
		err = bd_create(root, name, &how, &inode);
		if (err == 0)
			bd_inode_unref(inode, 1);
		bd_inode_unref(root, 1);
	}
	tried(&v->live[file].exists, &v->disk[file].exists, 1, err);
	note(r, step, err);
}

void step_write(struct run *r, const char *step, const char *branch, unsigned file, unsigned block, unsigned count,
		       unsigned flags)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_inode *inode;
	uint32_t tag = ++r->tag;
	int err = open_file(r, branch, "", file, &inode);
	bool reached = err == 0;

	for (unsigned i = 0; i < count; i++)
		tagged_fill(fault_buffer + (size_t)i * NF_BLOCK_SIZE, tag, block + i);
	if (err == 0) {
		err = bd_write(inode, (uint64_t)block * NF_BLOCK_SIZE, fault_buffer, (size_t)count * NF_BLOCK_SIZE, flags);
		bd_inode_unref(inode, 1);
	}
	if (err == -ENOSPC && !(flags & BD_WRITE_SYNC)) /* promised: nothing changed */
		reached = false;
	for (unsigned i = block; reached && i < block + count; i++) {
		tried(&v->live[file].blocks[i], &v->disk[file].blocks[i], tag, err);
		if (err == 0 && (flags & BD_WRITE_SYNC))
			v->disk[file].blocks[i] = v->live[file].blocks[i];
	}
	note(r, step, err);
}

void step_truncate(struct run *r, const char *step, const char *branch, unsigned file, unsigned blocks)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_attr attr = {.size_bytes = (uint64_t)blocks * NF_BLOCK_SIZE}, after;
	struct bd_inode *inode;
	int err = open_file(r, branch, "", file, &inode);

	if (err == 0) {
		err = bd_setattr(inode, BD_SET_SIZE, &attr, &after);
		bd_inode_unref(inode, 1);
	}
	for (unsigned i = blocks; i < BLOCKS; i++)
		tried(&v->live[file].blocks[i], &v->disk[file].blocks[i], 0, err);
	note(r, step, err);
}

void step_fsync(struct run *r, const char *step, const char *branch, unsigned file)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_inode *inode;
	int err = open_file(r, branch, "", file, &inode);

	if (err == 0) {
		err = bd_fsync(inode, false);
		bd_inode_unref(inode, 1);
	}
	if (err == 0)
		synced(v, file);
	note(r, step, err);
}

/* `from` takes the place of `to`; what it holds has been synced before. */
void step_rename(struct run *r, const char *step, const char *branch, unsigned from, unsigned to)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_inode *root;
	char from_name[8], to_name[8];
	int err = open_root(r, branch, "", &root);

	file_name(from, from_name);
	file_name(to, to_name);
	if (err == 0) {
		err = bd_rename(root, from_name, root, to_name, 0);
		bd_inode_unref(root, 1);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct may *live = &v->live[to].blocks[i];
		if (err == 0)
			*live = v->live[from].blocks[i];
		else
			merge(live, &v->live[from].blocks[i]);
		merge(&v->disk[to].blocks[i], &v->live[from].blocks[i]);
	}
	/* Content of `from` before it existed is of no interest; where it is gone, blocks read as nothing. */
	tried(&v->live[from].exists, &v->disk[from].exists, 0, err);
	note(r, step, err);
}

void step_unlink(struct run *r, const char *step, const char *branch, unsigned file)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_inode *root;
	char name[8];
	int err = open_root(r, branch, "", &root);

	file_name(file, name);
	if (err == 0) {
		err = bd_unlink(root, name);
		bd_inode_unref(root, 1);
	}
	tried(&v->live[file].exists, &v->disk[file].exists, 0, err);
	note(r, step, err);
}

void step_fsync_root(struct run *r, const char *step, const char *branch)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_inode *root;
	int err = open_root(r, branch, "", &root);

	if (err == 0) {
		err = bd_fsync(root, false);
		bd_inode_unref(root, 1);
	}
	for (unsigned i = 0; err == 0 && i < FILES; i++)
		v->disk[i].exists = v->live[i].exists;
	note(r, step, err);
}

void step_snapshot(struct run *r, const char *step, const char *branch, const char *label)
{
	struct view_state *v = view_of(r, branch, "");
	struct bd_branch_info info;
	struct bd_snapshot_info snapshot;
	int err = bd_branch_find(r->store, branch, &info);

	if (err == 0)
		err = bd_snapshot_create(r->store, info.id, label, &snapshot);
	view_add(r, branch, label, v->live, err == 0);
	for (unsigned i = 0; err == 0 && i < FILES; i++)
		synced(v, i);
	note(r, step, err);
}

void step_snapshot_delete(struct run *r, const char *step, const char *branch, const char *label)
{
	struct bd_branch_info info;
	struct view_state *v = view_of(r, branch, label);
	int err = bd_branch_find(r->store, branch, &info);

	if (err == 0)
		err = bd_snapshot_delete(r->store, info.id, label);
	v->maybe_gone = true;
	note(r, step, err);
}

void step_branch(struct run *r, const char *step, const char *parent, const char *name)
{
	struct view_state *v = view_of(r, parent, "");
	struct bd_branch_info info, created;
	int err = bd_branch_find(r->store, parent, &info);

	if (err == 0)
		err = bd_branch_create(r->store, name, (struct bd_view){info.id, BD_EPOCH_HEAD}, &created, NULL);
	view_add(r, name, "", v->live, err == 0);
	for (unsigned i = 0; err == 0 && i < FILES; i++)
		synced(v, i);
	note(r, step, err);
}

void step_sync(struct run *r)
{
	int err = bd_store_sync(r->store);

	for (unsigned i = 0; err == 0 && i < VIEWS; i++)
		memcpy(r->views[i].disk, r->views[i].live, sizeof(r->views[i].disk));
	note(r, "sync", err);
}

