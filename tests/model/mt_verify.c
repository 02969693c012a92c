/* The whole truth about a view: every name, attribute, extended attribute and byte. */
#include "mt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DENSE_MAX (UINT64_C(8) << 20) /* files up to this size are read whole; of larger ones, what is near data */

void mt_compare(struct mt *mt, const struct mm_inode *inode, uint64_t offset, size_t size)
{
	size_t at = 0;

	if (memcmp(mt->buf, mt->expect, size) == 0)
		return;
	while (mt->buf[at] == mt->expect[at])
		at++;
	mt_fail(mt, "file %" PRIu64 " (size %" PRIu64 "): byte %" PRIu64 " (block %" PRIu64 " + %" PRIu64
		") is %02x%s, the model says %02x%s; read %zu bytes at %" PRIu64, inode->file, inode->size_bytes, offset + at,
		(offset + at) / MM_BLOCK, (offset + at) % MM_BLOCK, mt->buf[at],
		mm_is_zero(mt->buf + at, size - at) ? " and zeros to the end" : "", mt->expect[at],
		mm_is_zero(mt->expect + at, size - at) ? " and zeros to the end" : "", size, offset);
}

static void verify_range(struct mt *mt, const struct mm_inode *inode, struct bd_inode *real, uint64_t offset, size_t size)
{
	size_t want = mm_read(inode, offset, mt->expect, size);

	mt_expect(mt, "bd_read", bd_read(real, offset, mt->buf, size), (int64_t)want);
	mt_compare(mt, inode, offset, want);
}

void mt_verify_content(struct mt *mt, const struct mm_inode *inode, struct bd_inode *real)
{
	if (inode->size_bytes <= DENSE_MAX) {
		/* From a random place on with a random length too, so that reads are cut in different ways. */
		size_t step = mt_chance(mt, 700) ? MT_BUFFER : (1 + mt_below(mt, 64)) * MM_BLOCK;
		for (uint64_t offset = 0; offset < inode->size_bytes; offset += step)
			verify_range(mt, inode, real, offset, step);
		return;
	}
	for (size_t i = 0; i < inode->slot_count; i++) {
		uint64_t blkno = inode->slots[i].blkno;
		verify_range(mt, inode, real, (blkno > 0 ? blkno - 1 : 0) * MM_BLOCK, 3 * MM_BLOCK);
	}
	verify_range(mt, inode, real, inode->size_bytes - MM_BLOCK, 2 * MM_BLOCK);
}

void mt_check_listing(struct mt *mt, const struct mm_tree *tree, const struct mm_inode *dir, const struct bd_listing *listing)
{
	if (listing->count != dir->entry_count)
		mt_fail(mt, "directory %" PRIu64 " has %zu entries, the model says %zu", dir->file, listing->count,
			dir->entry_count);
	for (size_t i = 0; i < listing->count; i++) {
		const struct bd_dirent *got = &listing->entries[i];
		const struct mm_entry *want = &dir->entries[i];
		if (strcmp(got->name, (const char *)want->name->bytes) != 0 || got->file.v != want->file)
			mt_fail(mt, "directory %" PRIu64 ": entry %zu is '%s' -> %" PRIu64 ", the model says '%s' -> %" PRIu64,
				dir->file, i, got->name, got->file.v, (const char *)want->name->bytes, want->file);
		if (got->type != (mm_get(tree, want->file)->mode & S_IFMT))
			mt_fail(mt, "directory %" PRIu64 ": '%s' is listed with type %o", dir->file, got->name, got->type);
	}
}

void mt_load_xattrs(struct mt *mt, struct bd_inode *real, struct mm_inode *ret_inode)
{
	ssize_t size = bd_xattr_list(real, NULL, 0);
	char *names;

	if (size == 0)
		return;
	if (size < 0)
		mt_fail(mt, "bd_xattr_list of file %" PRIu64 ": %s", ret_inode->file, strerror((int)-size));
	names = malloc((size_t)size);
	if (names == NULL)
		abort();
	mt_expect(mt, "bd_xattr_list", bd_xattr_list(real, names, (size_t)size), size);
	for (const char *name = names; name < names + size; name += strlen(name) + 1) {
		ssize_t value_size = bd_xattr_get(real, name, mt->buf, MT_BUFFER);
		if (value_size < 0)
			mt_fail(mt, "listed attribute %s of file %" PRIu64 ": %s", name, ret_inode->file,
				strerror((int)-value_size));
		mm_xattr_set(ret_inode, name, mt->buf, (size_t)value_size);
	}
	free(names);
}

static void verify_xattrs(struct mt *mt, const struct mm_inode *inode, struct bd_inode *real)
{
	struct mm_inode *seen = mm_inode_new(inode->file, S_IFREG, 0, 0);

	mt_load_xattrs(mt, real, seen);
	if (!mm_same_xattrs(seen, inode))
		mt_fail(mt, "file %" PRIu64 " has %zu extended attributes that are not the model's %zu", inode->file,
			seen->xattr_count, inode->xattr_count);
	mm_inode_unref(seen);
}

static void verify_inode(struct mt *mt, const struct mm_tree *tree, const struct mm_inode *inode, struct bd_inode *real)
{
	struct bd_attr attr;
	struct bd_listing *listing;
	struct bd_inode *child;
	char target[BD_SYMLINK_MAX + 1];

	bd_inode_attr(real, &attr);
	mt_check_attr(mt, inode, &attr);
	verify_xattrs(mt, inode, real);
	if (mm_is_file(inode)) {
		mt_verify_content(mt, inode, real);
	} else if (mm_is_symlink(inode)) {
		mt_expect(mt, "bd_readlink", bd_readlink(real, target), 0);
		if (strcmp(target, (const char *)inode->target->bytes) != 0)
			mt_fail(mt, "link target of file %" PRIu64 " differs", inode->file);
	} else if (mm_is_dir(inode)) {
		mt_expect(mt, "bd_readdir", bd_readdir(real, &listing), 0);
		mt_check_listing(mt, tree, inode, listing);
		bd_listing_free(listing);
		for (size_t i = 0; i < inode->entry_count; i++) {
			mt_expect(mt, "bd_lookup of a listed name",
				  bd_lookup(real, (const char *)inode->entries[i].name->bytes, &child), 0);
			verify_inode(mt, tree, mm_get(tree, inode->entries[i].file), child);
			bd_inode_unref(child, 1);
		}
	}
}

void mt_verify_view(struct mt *mt, struct bd_view view, const struct mm_tree *tree)
{
	struct bd_inode *root;

	mt_expect(mt, "bd_root", bd_root(mt->store, view, &root), 0);
	verify_inode(mt, tree, mm_get(tree, MM_ROOT), root);
	bd_inode_unref(root, 1);
}

/* ---- branches and snapshots ---- */

static void verify_branch(struct mt *mt, unsigned branch)
{
	const struct mt_branch *b = &mt->branches[branch];
	struct bd_branch_info info;
	struct bd_snapshot_info *snapshots, found;
	uint32_t children = 0, count = 0;
	size_t listed;

	for (unsigned i = 0; i < MT_BRANCHES; i++)
		children += mt->branches[i].used && mt->branches[i].parent.v == b->id.v;
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++)
		count += mt->snapshots[i].used && mt->snapshots[i].branch == branch;
	mt_expect(mt, "bd_branch_find", bd_branch_find(mt->store, b->name, &info), 0);
	if (info.id.v != b->id.v || info.parent.v != b->parent.v || info.epoch.v != b->epoch.v ||
	    info.parent_epoch.v != b->parent_epoch.v || info.is_protected != b->is_protected || info.children != children ||
	    info.snapshots != count)
		mt_fail(mt, "branch %s: id %u parent %u@%u epoch %u protected %d children %u snapshots %u; the model says id %u "
			"parent %u@%u epoch %u protected %d children %u snapshots %u", b->name, info.id.v, info.parent.v,
			info.parent_epoch.v, info.epoch.v, info.is_protected, info.children, info.snapshots, b->id.v, b->parent.v,
			b->parent_epoch.v, b->epoch.v, b->is_protected, children, count);
	mt_expect(mt, "bd_snapshot_list", bd_snapshot_list(mt->store, b->id, &snapshots, &listed), 0);
	mt_expect(mt, "the number of snapshots listed", (int64_t)listed, count);
	for (size_t i = 1; i < listed; i++)
		if (snapshots[i - 1].epoch.v >= snapshots[i].epoch.v)
			mt_fail(mt, "snapshots of %s are not sorted by epoch", b->name);
	free(snapshots);
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++) {
		const struct mt_snapshot *s = &mt->snapshots[i];
		if (!s->used || s->branch != branch)
			continue;
		mt_expect(mt, "bd_snapshot_find", bd_snapshot_find(mt->store, b->id, s->label, &found), 0);
		mt_expect(mt, "the epoch of a snapshot", found.epoch.v, s->epoch.v);
	}
}

void mt_verify_branches(struct mt *mt)
{
	struct bd_branch_info *infos;
	size_t listed, count = 0;

	mt_expect(mt, "bd_branch_list", bd_branch_list(mt->store, &infos, &listed), 0);
	for (size_t i = 1; i < listed; i++)
		if (strcmp(infos[i - 1].name, infos[i].name) >= 0)
			mt_fail(mt, "branches are not sorted by name");
	free(infos);
	for (unsigned i = 0; i < MT_BRANCHES; i++) {
		if (!mt->branches[i].used)
			continue;
		count++;
		verify_branch(mt, i);
	}
	mt_expect(mt, "the number of branches", (int64_t)listed, (int64_t)count);
}

void mt_verify_all(struct mt *mt)
{
	mt_verify_branches(mt);
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++)
		if (mt->snapshots[i].used) {
			mt_trace(mt, "verify snapshot %s", mt->snapshots[i].label);
			mt_verify_view(mt, mt_snapshot_view(mt, i), mt->snapshots[i].tree);
		}
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used) {
			mt_trace(mt, "verify branch %s", mt->branches[i].name);
			mt_verify_view(mt, mt_head_view(mt, i), mt->branches[i].head);
		}
}

/* ---- scrub ---- */

static void scrub_report(void *arg, const char *line)
{
	mt_trace(arg, "scrub: %s", line);
}

/* The extents' counters are a hint of the collector's and no damage, but only a crash may put them off. */
void mt_scrub(struct mt *mt)
{
	struct bd_scrub_result result;

	mt_expect(mt, "bd_store_scrub", bd_store_scrub(mt->store, NULL, scrub_report, mt, &result), 0);
	if (result.bad_blocks + result.bad_keys + result.orphan_keys > 0)
		mt_fail(mt, "scrub found %" PRIu64 " bad blocks, %" PRIu64 " bad keys, %" PRIu64 " orphan keys",
			result.bad_blocks, result.bad_keys, result.orphan_keys);
	if (result.counters_corrected > 0 && mt->crashes == 0)
		mt_fail(mt, "scrub corrected the counters of %" PRIu64 " extents though nothing crashed", result.counters_corrected);
}
