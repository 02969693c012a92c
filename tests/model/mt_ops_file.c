/* Operations on content: write, read, truncate, fallocate, clone, seek, fsync. */
#include "mt.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define FAR_OFFSET (UINT64_C(1) << 35)
#define USUAL_BLOCKS 48 /* where most writes go */

/* An offset and a size that hit block edges, ends of files, and sometimes a place far away. */
static void random_range(struct mt *mt, const struct mm_inode *inode, size_t size_max, uint64_t *ret_offset, size_t *ret_size)
{
	uint64_t offset = mt_below(mt, USUAL_BLOCKS) * MM_BLOCK;
	size_t size = MM_BLOCK;

	switch (mt_below(mt, 10)) {
	case 0: /* anything small */
		offset += mt_below(mt, MM_BLOCK);
		size = 1 + mt_below(mt, 300);
		break;
	case 1: /* anything */
		offset += mt_below(mt, MM_BLOCK);
		size = 1 + mt_below(mt, 4 * MM_BLOCK);
		break;
	case 2: /* whole blocks */
		size = (1 + mt_below(mt, 8)) * MM_BLOCK;
		break;
	case 3: /* pages */
		offset += 4096 * mt_below(mt, 2);
		size = 4096 * (1 + mt_below(mt, 6));
		break;
	case 4: /* append */
		offset = inode->size_bytes;
		size = 1 + mt_below(mt, 2 * MM_BLOCK);
		break;
	default:
		break;
	}
	if (mt_chance(mt, 10))
		size = 1 + mt_below(mt, MT_BUFFER);
	if (mt_chance(mt, 8))
		offset += FAR_OFFSET * (1 + mt_below(mt, 3));
	*ret_offset = offset;
	*ret_size = NF_MIN(size, size_max);
}

/* What a write does to the mode when asked to clear privileges. */
static uint32_t without_privileges(uint32_t mode)
{
	mode &= ~(uint32_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

static void sync_written(struct mt *mt, unsigned branch, const struct mm_inode *inode, uint64_t offset, size_t size)
{
	struct mt_branch *b = &mt->branches[branch];
	uint64_t last = (offset + size - 1) / MM_BLOCK;

	b->names_floor = NF_MAX(b->names_floor, mm_path_version(b->head, inode->file));
	for (uint64_t blkno = offset / MM_BLOCK; blkno <= last; blkno++)
		mt_add_block_floor(mt, branch, inode->file, blkno, offset + size);
}

void mt_op_write(struct mt *mt)
{
	struct mt_pick file;
	uint64_t offset;
	size_t size;
	unsigned flags = 0;
	struct mm_tree *tree;
	struct mm_inode *inode;

	if (!mt_pick(mt, MT_WANT_FILE, &file))
		return;
	random_range(mt, file.inode, MT_BUFFER, &offset, &size);
	if (mt_chance(mt, 80))
		flags |= BD_WRITE_SYNC;
	if (mt_chance(mt, 100))
		flags |= BD_WRITE_KILL_PRIV;
	mt_fill(mt, mt->buf, size);
	if (mt_chance(mt, 30))
		memset(mt->buf, 0, size);
	mt_trace(mt, "write %s: file %" PRIu64 " at %" PRIu64 " size %zu flags %u (size was %" PRIu64 ")",
		 mt->branches[file.branch].name, file.inode->file, offset, size, flags, file.inode->size_bytes);
	mt_expect(mt, "bd_write", bd_write(file.real, offset, mt->buf, size, flags), 0);
	tree = mt_begin(mt, file.branch);
	inode = mm_change(tree, file.inode->file);
	mm_write(inode, offset, mt->buf, size);
	if (flags & BD_WRITE_KILL_PRIV)
		inode->mode = without_privileges(inode->mode);
	mt_absorb(mt, inode, file.real, MT_MTIME | MT_CTIME);
	mt_commit(mt, file.branch, false);
	if (flags & BD_WRITE_SYNC)
		sync_written(mt, file.branch, inode, offset, size);
	bd_inode_unref(file.real, 1);
}

/* Read from a head or a snapshot. */
void mt_op_read(struct mt *mt)
{
	struct mt_pick file = {0};
	const struct mm_tree *tree;
	unsigned snapshot = (unsigned)mt_below(mt, MT_SNAPSHOTS);
	uint64_t offset;
	size_t size, want;

	if (mt_chance(mt, 200) && mt->snapshots[snapshot].used) {
		tree = mt->snapshots[snapshot].tree;
		file.inode = tree->inodes[mt_below(mt, tree->count)];
		if (!mm_is_file(file.inode))
			return;
		file.real = mt_open(mt, mt_snapshot_view(mt, snapshot), tree, file.inode->file);
	} else if (!mt_pick(mt, MT_WANT_FILE, &file)) {
		return;
	}
	random_range(mt, file.inode, MT_BUFFER, &offset, &size);
	want = mm_read(file.inode, offset, mt->expect, size);
	mt_trace(mt, "read file %" PRIu64 " at %" PRIu64 " size %zu", file.inode->file, offset, size);
	mt_expect(mt, "bd_read", bd_read(file.real, offset, mt->buf, size), (int64_t)want);
	mt_compare(mt, file.inode, offset, want);
	bd_inode_unref(file.real, 1);
}

void mt_op_truncate(struct mt *mt)
{
	struct mt_pick file;
	struct bd_attr attr = {0}, after;
	uint64_t size, old;
	size_t unused;
	struct mm_inode *inode;

	if (!mt_pick(mt, MT_WANT_FILE, &file))
		return;
	old = file.inode->size_bytes;
	random_range(mt, file.inode, MT_BUFFER, &size, &unused);
	if (mt_chance(mt, 100))
		size = 0;
	else if (mt_chance(mt, 300))
		size = old / 2 + mt_below(mt, old / 2 + 1);
	attr.size_bytes = size;
	mt_trace(mt, "truncate %s: file %" PRIu64 " from %" PRIu64 " to %" PRIu64, mt->branches[file.branch].name,
		 file.inode->file, old, size);
	mt_expect(mt, "bd_setattr of the size", bd_setattr(file.real, BD_SET_SIZE, &attr, &after), 0);
	inode = mm_change(mt_begin(mt, file.branch), file.inode->file);
	mm_truncate(inode, size);
	mt_absorb(mt, inode, file.real, size == old ? MT_MAY_MTIME | MT_MAY_CTIME : MT_MTIME | MT_CTIME);
	mt_check_attr(mt, inode, &after);
	mt_commit(mt, file.branch, false);
	bd_inode_unref(file.real, 1);
}

void mt_op_fallocate(struct mt *mt)
{
	static const unsigned modes[] = {BD_FALLOC_KEEP_SIZE | BD_FALLOC_PUNCH_HOLE,
					 BD_FALLOC_KEEP_SIZE | BD_FALLOC_PUNCH_HOLE,
					 BD_FALLOC_ZERO_RANGE,
					 BD_FALLOC_ZERO_RANGE | BD_FALLOC_KEEP_SIZE,
					 BD_FALLOC_KEEP_SIZE,
					 0,
					 BD_FALLOC_PUNCH_HOLE};
	unsigned flags = modes[mt_below(mt, NF_ARRAY_LEN(modes))];
	struct mt_pick file;
	uint64_t offset;
	size_t size;
	struct mm_inode *inode;
	int want = flags == BD_FALLOC_PUNCH_HOLE ? -EINVAL : 0;

	if (!mt_pick(mt, MT_WANT_FILE, &file))
		return;
	random_range(mt, file.inode, MT_BUFFER, &offset, &size);
	if (mt_chance(mt, 300) && offset < FAR_OFFSET)
		size = MM_BLOCK * (1 + mt_below(mt, USUAL_BLOCKS));
	mt_trace(mt, "fallocate %s: file %" PRIu64 " flags %u at %" PRIu64 " size %zu (size was %" PRIu64 ")",
		 mt->branches[file.branch].name, file.inode->file, flags, offset, size, file.inode->size_bytes);
	mt_expect(mt, "bd_fallocate", bd_fallocate(file.real, flags, offset, size), want);
	if (want == 0) {
		inode = mm_change(mt_begin(mt, file.branch), file.inode->file);
		if (!(flags & BD_FALLOC_KEEP_SIZE) && offset + size > inode->size_bytes)
			inode->size_bytes = offset + size;
		if (flags & (BD_FALLOC_PUNCH_HOLE | BD_FALLOC_ZERO_RANGE))
			mm_zero(inode, offset, size, flags & BD_FALLOC_PUNCH_HOLE);
		mt_absorb(mt, inode, file.real, MT_MAY_MTIME | MT_MAY_CTIME);
		mt_commit(mt, file.branch, false);
	}
	bd_inode_unref(file.real, 1);
}

/* The model's copy: whole blocks keep their identity (a hole stays one), edges are written. */
static void clone_apply(struct mm_inode *to, uint64_t to_offset, const struct mm_inode *from, uint64_t offset, uint64_t size,
			uint8_t *block)
{
	if (to_offset + size > to->size_bytes)
		to->size_bytes = to_offset + size;
	while (size > 0) {
		size_t part = NF_MIN(size, MM_BLOCK - to_offset % MM_BLOCK);
		if (part == MM_BLOCK && offset % MM_BLOCK == 0) {
			struct mm_blob *shared = mm_block(from, offset / MM_BLOCK);
			mm_block_set(to, to_offset / MM_BLOCK, shared != NULL ? mm_blob_ref(shared) : NULL);
		} else {
			size_t got = mm_read(from, offset, block, part);
			assert(got == part);
			mm_write(to, to_offset, block, part);
		}
		offset += part;
		to_offset += part;
		size -= part;
	}
}

/* Clone from a file of any branch or snapshot. Overlapping ranges of one file are refused or not asked for. */
void mt_op_clone(struct mt *mt)
{
	struct mt_pick from = {0}, to;
	const struct mm_tree *tree;
	unsigned snapshot = (unsigned)mt_below(mt, MT_SNAPSHOTS);
	uint64_t from_offset, to_offset;
	size_t size, unused;
	struct mm_inode *inode;
	uint64_t want;

	if (!mt_pick(mt, MT_WANT_FILE, &to))
		return;
	if (mt_chance(mt, 300) && mt->snapshots[snapshot].used) {
		tree = mt->snapshots[snapshot].tree;
		from.inode = tree->inodes[mt_below(mt, tree->count)];
		if (!mm_is_file(from.inode))
			goto out;
		from.real = mt_open(mt, mt_snapshot_view(mt, snapshot), tree, from.inode->file);
	} else if (!mt_pick_in(mt, mt_chance(mt, 500) ? to.branch : mt_any_branch(mt), MT_WANT_FILE, &from)) {
		goto out;
	}
	random_range(mt, from.inode, MT_BUFFER, &from_offset, &size);
	random_range(mt, to.inode, MT_BUFFER, &to_offset, &unused);
	if (mt_chance(mt, 600)) {
		from_offset -= from_offset % MM_BLOCK;
		to_offset -= to_offset % MM_BLOCK;
		size = MM_BLOCK * (1 + mt_below(mt, 16));
	}
	if (from.real == to.real && from_offset < to_offset + size && to_offset < from_offset + size)
		goto out;
	want = from_offset < from.inode->size_bytes ? NF_MIN(size, from.inode->size_bytes - from_offset) : 0;
	mt_trace(mt, "clone %u.%u file %" PRIu64 " at %" PRIu64 " to %s file %" PRIu64 " at %" PRIu64 " size %zu (will be %" PRIu64
		     ", sizes %" PRIu64 " %" PRIu64 ")", bd_inode_view(from.real).branch.v, bd_inode_view(from.real).epoch.v,
		 from.inode->file, from_offset, mt->branches[to.branch].name, to.inode->file, to_offset, size, want,
		 from.inode->size_bytes, to.inode->size_bytes);
	mt_expect(mt, "bd_clone_range", bd_clone_range(from.real, from_offset, to.real, to_offset, size), (int64_t)want);
	if (want > 0) {
		inode = mm_change(mt_begin(mt, to.branch), to.inode->file);
		clone_apply(inode, to_offset, from.inode, from_offset, want, mt->buf);
		mt_absorb(mt, inode, to.real, MT_MTIME | MT_CTIME);
		mt_commit(mt, to.branch, false);
	}
out:
	if (from.real != NULL)
		bd_inode_unref(from.real, 1);
	bd_inode_unref(to.real, 1);
}

/* Could this block be what SEEK_DATA (or SEEK_HOLE) stops at, and must it be? */
static bool may_be(const struct mm_inode *inode, uint64_t blkno, bool data)
{
	const struct mm_blob *block = mm_block(inode, blkno);

	return data ? block != NULL : block == NULL || mm_is_zero(block->bytes, MM_BLOCK);
}

static bool must_be(const struct mm_inode *inode, uint64_t blkno, bool data)
{
	return !may_be(inode, blkno, !data);
}

static void check_seek(struct mt *mt, const struct mt_pick *file, uint64_t offset, bool data)
{
	const struct mm_inode *inode = file->inode;
	uint64_t found = 0, blkno, last;
	int err = bd_seek(file->real, offset, data, &found);

	mt_trace(mt, "seek %s: file %" PRIu64 " %s from %" PRIu64 " (size %" PRIu64 "): %d, %" PRIu64, mt->branches[file->branch].name,
		 inode->file, data ? "data" : "hole", offset, inode->size_bytes, err, found);
	if (offset >= inode->size_bytes) {
		mt_expect(mt, "bd_seek behind the end", err, -ENXIO);
		return;
	}
	if (err != (data ? -ENXIO : 0) && err != 0)
		mt_fail(mt, "bd_seek gave %s", strerror(-err));
	if (err == 0 && !data && found == inode->size_bytes)
		err = -ENXIO; /* the hole behind the end: nothing found before it */
	if (err == 0 && (found < offset || found >= inode->size_bytes || (found != offset && found % MM_BLOCK != 0)))
		mt_fail(mt, "bd_seek from %" PRIu64 " gave %" PRIu64, offset, found);
	if (err == 0 && !may_be(inode, found / MM_BLOCK, data))
		mt_fail(mt, "bd_seek from %" PRIu64 " found %s at %" PRIu64, offset, data ? "data" : "a hole", found);
	last = err == 0 ? found / MM_BLOCK : (inode->size_bytes + MM_BLOCK - 1) / MM_BLOCK;
	for (blkno = offset / MM_BLOCK; blkno < last; blkno++) {
		if (must_be(inode, blkno, data))
			mt_fail(mt, "bd_seek from %" PRIu64 " skipped the %s at %" PRIu64, offset, data ? "data" : "hole",
				blkno * MM_BLOCK);
		if (blkno > offset / MM_BLOCK + 100000) /* far sparse files: the first stretch is enough */
			break;
	}
}

void mt_op_seek(struct mt *mt)
{
	struct mt_pick file;
	uint64_t offset;
	size_t unused;

	if (!mt_pick(mt, MT_WANT_FILE, &file))
		return;
	random_range(mt, file.inode, MT_BUFFER, &offset, &unused);
	check_seek(mt, &file, offset, true);
	check_seek(mt, &file, offset, false);
	bd_inode_unref(file.real, 1);
}

void mt_op_fsync(struct mt *mt)
{
	struct mt_pick file;
	bool data_only = mt_chance(mt, 500);

	if (!mt_pick(mt, MT_WANT_ANY, &file))
		return;
	mt_trace(mt, "fsync %s: file %" PRIu64 "%s", mt->branches[file.branch].name, file.inode->file,
		 data_only ? " data only" : "");
	mt_expect(mt, "bd_fsync", bd_fsync(file.real, data_only), 0);
	mt_raise_floor(mt, file.branch, file.inode->file, !data_only);
	bd_inode_unref(file.real, 1);
}
