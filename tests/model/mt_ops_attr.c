/* Operations on attributes and handles, and writes that a read-only view must refuse. */
#include "mt.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

void mt_op_setattr(struct mt *mt)
{
	struct mt_pick file;
	struct bd_attr attr = {0}, after;
	unsigned which = 0, changed = MT_CTIME;
	struct mm_inode *inode;

	if (!mt_pick(mt, MT_WANT_ANY, &file))
		return;
	inode = mm_change(mt_begin(mt, file.branch), file.inode->file);
	if (mt_chance(mt, 400) && !mm_is_symlink(inode)) {
		which |= BD_SET_MODE;
		attr.mode = (uint32_t)mt_below(mt, 010000);
		inode->mode = (inode->mode & S_IFMT) | attr.mode;
	}
	if (mt_chance(mt, 300)) {
		which |= BD_SET_UID;
		attr.uid = inode->uid = (uint32_t)mt_below(mt, 5);
	}
	if (mt_chance(mt, 300)) {
		which |= BD_SET_GID;
		attr.gid = inode->gid = (uint32_t)mt_below(mt, 5);
	}
	if (mt_chance(mt, 300)) {
		which |= BD_SET_ATIME;
		attr.atime_ns = inode->atime_ns = (int64_t)(mt_random(mt) >> 3);
	}
	if (mt_chance(mt, 300)) {
		which |= BD_SET_MTIME;
		attr.mtime_ns = inode->mtime_ns = -(int64_t)mt_below(mt, 1000000000000);
	}
	if (mt_chance(mt, 100)) {
		which |= BD_SET_CTIME;
		attr.ctime_ns = inode->ctime_ns = (int64_t)mt_below(mt, 1000000000000000000);
		changed = 0;
	}
	if (which == 0) {
		which = BD_SET_GID;
		attr.gid = inode->gid;
	}
	mt_trace(mt, "setattr %s: file %" PRIu64 " which %u mode %o uid %u gid %u", mt->branches[file.branch].name, inode->file,
		 which, attr.mode, attr.uid, attr.gid);
	mt_expect(mt, "bd_setattr", bd_setattr(file.real, which, &attr, &after), 0);
	mt_absorb(mt, inode, file.real, changed);
	mt_check_attr(mt, inode, &after);
	mt_commit(mt, file.branch, false);
	bd_inode_unref(file.real, 1);
}

/* ---- extended attributes ---- */

static const char *random_xattr(struct mt *mt)
{
	static const char *const names[] = {"user.a", "user.b", "user.c", "trusted.x", "security.capability",
					    "system.posix_acl_access"};

	return names[mt_below(mt, NF_ARRAY_LEN(names))];
}

void mt_op_xattr_set(struct mt *mt)
{
	struct mt_pick file;
	const char *name = random_xattr(mt);
	size_t size = mt_chance(mt, 20) ? BD_XATTR_VALUE_MAX : mt_chance(mt, 100) ? mt_below(mt, 5000) : mt_below(mt, 60);
	unsigned flags = mt_chance(mt, 700) ? 0 : mt_chance(mt, 500) ? BD_XATTR_CREATE : BD_XATTR_REPLACE;
	struct mm_inode *inode;
	bool there;
	int want = 0;

	if (!mt_pick(mt, MT_WANT_ANY, &file))
		return;
	there = mm_xattr_get(file.inode, name) != NULL;
	if (flags == BD_XATTR_CREATE && there)
		want = -EEXIST;
	else if (flags == BD_XATTR_REPLACE && !there)
		want = -ENODATA;
	mt_fill(mt, mt->buf, size);
	mt_trace(mt, "xattr_set %s: file %" PRIu64 " %s size %zu flags %u", mt->branches[file.branch].name, file.inode->file,
		 name, size, flags);
	mt_expect(mt, "bd_xattr_set", bd_xattr_set(file.real, name, mt->buf, size, flags), want);
	if (want == 0) {
		inode = mm_change(mt_begin(mt, file.branch), file.inode->file);
		mm_xattr_set(inode, name, mt->buf, size);
		mt_absorb(mt, inode, file.real, MT_CTIME);
		mt_commit(mt, file.branch, false);
	}
	bd_inode_unref(file.real, 1);
}

void mt_op_xattr_remove(struct mt *mt)
{
	struct mt_pick file;
	const char *name = random_xattr(mt);
	struct mm_inode *inode;
	bool there;

	if (!mt_pick(mt, MT_WANT_ANY, &file))
		return;
	if (file.inode->xattr_count > 0 && mt_chance(mt, 600))
		name = (const char *)file.inode->xattrs[mt_below(mt, file.inode->xattr_count)].name->bytes;
	there = mm_xattr_get(file.inode, name) != NULL;
	mt_trace(mt, "xattr_remove %s: file %" PRIu64 " %s", mt->branches[file.branch].name, file.inode->file, name);
	mt_expect(mt, "bd_xattr_remove", bd_xattr_remove(file.real, name), there ? 0 : -ENODATA);
	if (there) {
		inode = mm_change(mt_begin(mt, file.branch), file.inode->file);
		mm_xattr_remove(inode, name);
		mt_absorb(mt, inode, file.real, MT_CTIME);
		mt_commit(mt, file.branch, false);
	}
	bd_inode_unref(file.real, 1);
}

void mt_op_xattr_get(struct mt *mt)
{
	struct mt_pick file;
	const char *name = random_xattr(mt);
	const struct mm_blob *value;
	size_t size = mt_below(mt, 100);
	int64_t want;

	if (!mt_pick(mt, MT_WANT_ANY, &file))
		return;
	value = mm_xattr_get(file.inode, name);
	if (value == NULL)
		want = -ENODATA;
	else
		want = size != 0 && size < value->size ? -ERANGE : (int64_t)value->size;
	mt_expect(mt, "bd_xattr_get", bd_xattr_get(file.real, name, mt->buf, size), want);
	if (want > 0 && size > 0 && memcmp(mt->buf, value->bytes, value->size) != 0)
		mt_fail(mt, "attribute %s of file %" PRIu64 " has another value", name, file.inode->file);
	bd_inode_unref(file.real, 1);
}

/* ---- handles ---- */

void mt_op_close_handle(struct mt *mt)
{
	mt_handle_close(mt, &mt->handles[mt_below(mt, MT_HANDLES)]);
}

/* ---- read-only views ---- */

void mt_op_read_only(struct mt *mt)
{
	unsigned snapshot = (unsigned)mt_below(mt, MT_SNAPSHOTS);
	const struct mm_tree *tree;
	const struct mm_inode *inode;
	struct bd_inode *real, *unused;
	struct bd_view view;
	struct bd_attr attr = {.mode = 0600, .size_bytes = 1}, after;

	if (!mt->snapshots[snapshot].used)
		return;
	tree = mt->snapshots[snapshot].tree;
	view = mt_snapshot_view(mt, snapshot);
	inode = tree->inodes[mt_below(mt, tree->count)];
	real = mt_open(mt, view, tree, inode->file);
	mt_trace(mt, "changes refused in snapshot %s: file %" PRIu64, mt->snapshots[snapshot].label, inode->file);
	mt_expect(mt, "bd_setattr in a snapshot", bd_setattr(real, BD_SET_MODE, &attr, &after), -EROFS);
	mt_expect(mt, "bd_xattr_set in a snapshot", bd_xattr_set(real, "user.a", "x", 1, 0), -EROFS);
	if (mm_is_file(inode)) {
		mt_expect(mt, "bd_write in a snapshot", bd_write(real, 0, "x", 1, 0), -EROFS);
		mt_expect(mt, "bd_setattr of a size in a snapshot", bd_setattr(real, BD_SET_SIZE, &attr, &after), -EROFS);
		mt_expect(mt, "bd_fallocate in a snapshot",
			  bd_fallocate(real, BD_FALLOC_KEEP_SIZE | BD_FALLOC_PUNCH_HOLE, 0, MM_BLOCK), -EROFS);
	} else if (mm_is_dir(inode)) {
		struct bd_create how = {.mode = S_IFREG | 0600};
		mt_expect(mt, "bd_create in a snapshot", bd_create(real, "new name", &how, &unused), -EROFS);
		if (inode->entry_count > 0) {
			const char *name = (const char *)inode->entries[0].name->bytes;
			const struct mm_inode *child = mm_get(tree, inode->entries[0].file);
			mt_expect(mt, "removing a name in a snapshot",
				  mm_is_dir(child) ? bd_rmdir(real, name) : bd_unlink(real, name), -EROFS);
			mt_expect(mt, "bd_rename in a snapshot", bd_rename(real, name, real, "new name", 0), -EROFS);
		}
	}
	bd_inode_unref(real, 1);
}
