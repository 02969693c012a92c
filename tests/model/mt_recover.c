/* What may be there after a crash, and taking over what is.
 *
 * 1. The names of a branch (with types and numbers) must be those of one version at or above the floor.
 * 2. Each file's size, attributes and blocks must be those of some version at or above its floors; a
 *    block is never a mix of two. A rename over an existing name that survived took the content along.
 * 3. Snapshots and the list of branches are exact. */
#include "mt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DENSE_MAX (UINT64_C(8) << 20)
#define VERSIONS_MAX (MT_HISTORY_MAX + 500)

struct file_version { /* one state of a file in the branch's history */
	const struct mm_inode *inode;
	size_t last; /* index of the last version of the branch that has it */
};

struct recovery {
	struct mt *mt;
	unsigned branch;
	struct mm_tree *seen;
	size_t names_at; /* index of the version whose names were found */
	/* of the file under examination: */
	struct file_version versions[VERSIONS_MAX];
	size_t version_count;
	size_t data_floor; /* all floors as indices of versions */
};

/* ---- what the store shows ---- */

static void observe(struct recovery *r, struct bd_inode *real, uint64_t parent)
{
	struct mt *mt = r->mt;
	struct bd_attr attr;
	struct mm_inode *inode;
	struct bd_listing *listing;
	char target[BD_SYMLINK_MAX + 1];

	bd_inode_attr(real, &attr);
	inode = mm_get(r->seen, attr.file.v);
	if (inode != NULL) { /* a further link */
		if (mm_is_dir(inode))
			mt_fail(mt, "directory %" PRIu64 " has two names", attr.file.v);
		inode->nlink++;
		return;
	}
	inode = mm_inode_new(attr.file.v, attr.mode, attr.uid, attr.gid);
	inode->rdev = attr.rdev;
	inode->atime_ns = attr.atime_ns;
	inode->mtime_ns = attr.mtime_ns;
	inode->ctime_ns = attr.ctime_ns;
	inode->btime_ns = attr.btime_ns;
	if (mm_is_file(inode))
		inode->size_bytes = attr.size_bytes;
	mt_load_xattrs(mt, real, inode);
	mm_add(r->seen, inode);
	if (mm_is_symlink(inode)) {
		mt_expect(mt, "bd_readlink", bd_readlink(real, target), 0);
		inode->target = mm_blob_text(target);
	}
	if (!mm_is_dir(inode))
		return;
	inode->parent = parent;
	mt_expect(mt, "bd_readdir", bd_readdir(real, &listing), 0);
	for (size_t i = 0; i < listing->count; i++) {
		struct bd_inode *child;
		int err = bd_lookup(real, listing->entries[i].name, &child);
		if (err != 0)
			mt_fail(mt, "entry '%s' of directory %" PRIu64 " leads nowhere: %s", listing->entries[i].name,
				inode->file, strerror(-err));
		bd_inode_attr(child, &attr);
		if (attr.file.v != listing->entries[i].file.v || (attr.mode & S_IFMT) != listing->entries[i].type)
			mt_fail(mt, "entry '%s' of directory %" PRIu64 " is another file than listed", listing->entries[i].name,
				inode->file);
		mm_entry_set(inode, listing->entries[i].name, attr.file.v);
		inode->nlink += S_ISDIR(attr.mode);
		observe(r, child, inode->file);
		bd_inode_unref(child, 1);
	}
	bd_listing_free(listing);
}

/* ---- 1. names ---- */

/* Index of the version that was the newest at operation `op`. */
static size_t version_at(const struct mt_branch *b, uint64_t op)
{
	size_t i = b->history_count - 1;

	while (i > 0 && b->history[i].op > op)
		i--;
	return i;
}

static void print_names(const struct mm_tree *tree, const struct mm_inode *dir, struct mt *mt, const char *what)
{
	for (size_t i = 0; i < dir->entry_count; i++)
		mt_trace(mt, "%s: dir %" PRIu64 " '%.20s' -> %" PRIu64, what, dir->file, (const char *)dir->entries[i].name->bytes,
			 dir->entries[i].file);
	for (size_t i = 0; i < dir->entry_count; i++)
		if (mm_is_dir(mm_get(tree, dir->entries[i].file)))
			print_names(tree, mm_get(tree, dir->entries[i].file), mt, what);
}

static void match_names(struct recovery *r)
{
	struct mt *mt = r->mt;
	struct mt_branch *b = &mt->branches[r->branch];
	uint64_t hash = mm_names_hash(r->seen);
	size_t floor = version_at(b, b->names_floor);

	for (r->names_at = floor; r->names_at < b->history_count; r->names_at++)
		if (mm_names_hash(b->history[r->names_at].tree) == hash)
			return;
	for (size_t i = 0; i < floor; i++)
		if (mm_names_hash(b->history[i].tree) == hash)
			mt_fail(mt, "branch %s came back with the names of op %" PRIu64 ", but those of op %" PRIu64 " were synced",
				b->name, b->history[i].op, b->names_floor);
	print_names(b->head, mm_get(b->head, MM_ROOT), mt, "before the crash");
	print_names(r->seen, mm_get(r->seen, MM_ROOT), mt, "after the crash");
	mt_fail(mt, "branch %s came back with names it never had (versions from op %" PRIu64 " on)", b->name, b->history[0].op);
}

/* ---- 2. files ---- */

static void collect_versions(struct recovery *r, uint64_t file)
{
	const struct mt_branch *b = &r->mt->branches[r->branch];
	const struct mm_inode *inode;

	r->version_count = 0;
	for (size_t i = 0; i < b->history_count; i++) {
		inode = mm_get(b->history[i].tree, file);
		if (inode == NULL)
			continue;
		if (r->version_count > 0 && r->versions[r->version_count - 1].inode == inode) {
			r->versions[r->version_count - 1].last = i;
		} else {
			assert(r->version_count < VERSIONS_MAX);
			r->versions[r->version_count++] = (struct file_version){.inode = inode, .last = i};
		}
	}
}

/* A time of some version; or, when an operation may stamp more than once, one between those of two versions. */
static bool any_time(const struct recovery *r, size_t floor, size_t member, int64_t value, bool between)
{
	int64_t low = INT64_MAX, high = INT64_MIN;

	for (size_t i = 0; i < r->version_count; i++) {
		int64_t was = *(const int64_t *)((const char *)r->versions[i].inode + member);
		if (r->versions[i].last < floor)
			continue;
		if (was == value)
			return true;
		low = NF_MIN(low, was);
		high = NF_MAX(high, was);
	}
	return between && low <= value && value <= high;
}

static void check_attr(struct recovery *r, const struct mm_inode *seen, size_t floor)
{
	bool owner = false, xattrs = false, target = !mm_is_symlink(seen);

	for (size_t i = 0; i < r->version_count; i++) {
		const struct mm_inode *was = r->versions[i].inode;
		if (r->versions[i].last < floor)
			continue;
		owner |= was->mode == seen->mode && was->uid == seen->uid && was->gid == seen->gid && was->rdev == seen->rdev;
		xattrs |= mm_same_xattrs(was, seen);
		target |= mm_is_symlink(seen) && mm_blob_same(was->target, seen->target);
	}
	if (!owner)
		mt_fail(r->mt, "file %" PRIu64 " came back with mode %o of %u:%u, which it never had since the last sync",
			seen->file, seen->mode, seen->uid, seen->gid);
	if (!xattrs)
		mt_fail(r->mt, "file %" PRIu64 " came back with %zu extended attributes it never had like this since the last sync",
			seen->file, seen->xattr_count);
	if (!target)
		mt_fail(r->mt, "symbolic link %" PRIu64 " came back with another target", seen->file);
#define CHECK_TIME(field, between)                                                                                             \
	if (!any_time(r, floor, offsetof(struct mm_inode, field), seen->field, between))                                       \
	mt_fail(r->mt, "file %" PRIu64 " came back with " #field " %" PRId64 ", which it never had since the last sync", \
		seen->file, seen->field)
	CHECK_TIME(atime_ns, false);
	CHECK_TIME(mtime_ns, true);
	CHECK_TIME(ctime_ns, true);
	CHECK_TIME(btime_ns, false);
#undef CHECK_TIME
}

/* What was written synchronously must lie within the file, unless a later version is shorter. */
static bool covers_synced(const struct recovery *r, const struct file_version *version)
{
	const struct mt_branch *b = &r->mt->branches[r->branch];

	for (size_t i = 0; i < b->block_floor_count; i++) {
		const struct mt_block_floor *floor = &b->block_floors[i];
		if (floor->file == version->inode->file && floor->end > version->inode->size_bytes &&
		    version->last < version_at(b, floor->op))
			return false;
	}
	return true;
}

static void check_size(struct recovery *r, const struct mm_inode *seen, size_t floor)
{
	uint64_t size = seen->size_bytes;

	for (size_t i = 0; i < r->version_count; i++) {
		if (r->versions[i].last < floor || !covers_synced(r, &r->versions[i]))
			continue;
		if (r->versions[i].inode->size_bytes == size)
			return;
		/* What made the file longer may have been cut in the middle. */
		if (i + 1 < r->version_count && r->versions[i].inode->size_bytes < size &&
		    size < r->versions[i + 1].inode->size_bytes && size % MM_BLOCK == 0)
			return;
	}
	mt_fail(r->mt, "file %" PRIu64 " came back with size %" PRIu64 ", which it never had since the last sync", seen->file,
		size);
}

/* The floor of one block, raised by synchronous writes. */
static size_t block_floor(const struct recovery *r, uint64_t file, uint64_t blkno)
{
	const struct mt_branch *b = &r->mt->branches[r->branch];
	size_t floor = r->data_floor;

	for (size_t i = 0; i < b->block_floor_count; i++)
		if (b->block_floors[i].file == file && b->block_floors[i].blkno == blkno)
			floor = NF_MAX(floor, version_at(b, b->block_floors[i].op));
	return floor;
}

/* `bytes` (`valid` of them, up to the end of the file) are block `blkno` as it came back. */
static void take_block(struct recovery *r, struct mm_inode *seen, uint64_t blkno, const uint8_t *bytes, size_t valid)
{
	size_t floor = block_floor(r, seen->file, blkno);
	bool may_be_hole = false, is_zero = mm_is_zero(bytes, valid);
	struct mm_blob *found = NULL, *last = NULL;
	size_t candidates = 0;

	for (size_t i = 0; i < r->version_count; i++) {
		struct mm_blob *block;
		if (r->versions[i].last < floor)
			continue;
		block = mm_block(r->versions[i].inode, blkno);
		may_be_hole |= block == NULL;
		if (block == NULL || block == last || found != NULL)
			continue;
		last = block;
		candidates++;
		if (memcmp(block->bytes, bytes, valid) == 0)
			found = block;
	}
	if (found == NULL && !(is_zero && may_be_hole))
		mt_fail(r->mt, "file %" PRIu64 " (size %" PRIu64 "): block %" PRIu64 " came back as none of its %zu versions since op "
			"%" PRIu64 "%s%s (first bytes %02x %02x %02x %02x)", seen->file, seen->size_bytes, blkno,
			candidates + may_be_hole, r->mt->branches[r->branch].history[floor].op, may_be_hole ? " (a hole is one)" : "",
			is_zero ? "; it is all zeros" : "", bytes[0], bytes[1], bytes[2], bytes[3]);
	if (found == NULL)
		return;
	if (is_zero)
		found = mm_blob_ref(mm_zero_block());
	else if (valid < MM_BLOCK && !mm_is_zero(found->bytes + valid, MM_BLOCK - valid)) {
		found = mm_blob_new(found->bytes, MM_BLOCK);
		memset(found->bytes + valid, 0, MM_BLOCK - valid);
	} else {
		found = mm_blob_ref(found);
	}
	mm_block_set(seen, blkno, found);
}

static void take_range(struct recovery *r, struct mm_inode *seen, struct bd_inode *real, uint64_t offset, size_t size)
{
	struct mt *mt = r->mt;

	if (offset >= seen->size_bytes)
		return;
	size = NF_MIN(size, seen->size_bytes - offset);
	mt_expect(mt, "bd_read after a crash", bd_read(real, offset, mt->buf, size), (int64_t)size);
	for (size_t at = 0; at < size; at += MM_BLOCK)
		take_block(r, seen, (offset + at) / MM_BLOCK, mt->buf + at, NF_MIN(MM_BLOCK, size - at));
}

static void take_content(struct recovery *r, struct mm_inode *seen, struct bd_inode *real)
{
	if (seen->size_bytes <= DENSE_MAX) {
		for (uint64_t offset = 0; offset < seen->size_bytes; offset += MT_BUFFER)
			take_range(r, seen, real, offset, MT_BUFFER);
		return;
	}
	for (size_t i = 0; i < r->version_count; i++) {
		const struct mm_inode *was = r->versions[i].inode;
		for (size_t k = 0; k < was->slot_count; k++)
			if (mm_block(seen, was->slots[k].blkno) == NULL)
				take_range(r, seen, real, was->slots[k].blkno * MM_BLOCK, MM_BLOCK);
	}
}

static void take_file(struct recovery *r, struct mm_inode *seen)
{
	struct mt *mt = r->mt;
	struct mt_branch *b = &mt->branches[r->branch];
	struct mt_floor floor = *mt_floor_of(mt, r->branch, seen->file);
	struct bd_inode *real;

	for (size_t i = 0; i < b->replaced_count; i++)
		if (b->replaced[i].file == seen->file && b->replaced[i].op <= b->history[r->names_at].op) {
			floor.data = NF_MAX(floor.data, b->replaced[i].op);
			floor.size = NF_MAX(floor.size, b->replaced[i].op);
		}
	collect_versions(r, seen->file);
	check_attr(r, seen, version_at(b, floor.attr));
	if (!mm_is_file(seen))
		return;
	check_size(r, seen, version_at(b, floor.size));
	r->data_floor = version_at(b, floor.data);
	real = mt_open(mt, mt_head_view(mt, r->branch), r->seen, seen->file);
	take_content(r, seen, real);
	bd_inode_unref(real, 1);
}

static void check_links(struct recovery *r)
{
	for (size_t i = 0; i < r->seen->count; i++) {
		const struct mm_inode *inode = r->seen->inodes[i];
		struct bd_inode *real = mt_open(r->mt, mt_head_view(r->mt, r->branch), r->seen, inode->file);
		struct bd_attr attr;
		bd_inode_attr(real, &attr);
		mt_check_attr(r->mt, inode, &attr);
		bd_inode_unref(real, 1);
	}
}

static void recover_branch(struct mt *mt, unsigned branch)
{
	struct recovery *r = calloc(1, sizeof(*r));
	struct mt_branch *b = &mt->branches[branch];
	struct bd_inode *root;

	if (r == NULL)
		abort();
	r->mt = mt;
	r->branch = branch;
	r->seen = mm_tree_new();
	mt_expect(mt, "bd_root after a crash", bd_root(mt->store, mt_head_view(mt, branch), &root), 0);
	observe(r, root, MM_ROOT);
	bd_inode_unref(root, 1);
	match_names(r);
	check_links(r);
	for (size_t i = 0; i < r->seen->count; i++)
		take_file(r, r->seen->inodes[i]);
	mt_trace(mt, "branch %s is back: names of op %" PRIu64 " (floor %" PRIu64 ", newest %" PRIu64 ")", b->name,
		 b->history[r->names_at].op, b->names_floor, b->history[b->history_count - 1].op);
	mm_tree_unref(b->head);
	b->head = r->seen;
	mt_durable(mt, branch);
	free(r);
}

void mt_recover(struct mt *mt)
{
	mt_verify_branches(mt);
	for (unsigned i = 0; i < MT_SNAPSHOTS; i++)
		if (mt->snapshots[i].used) {
			mt_trace(mt, "verify snapshot %s after the crash", mt->snapshots[i].label);
			mt_verify_view(mt, mt_snapshot_view(mt, i), mt->snapshots[i].tree);
		}
	for (unsigned i = 0; i < MT_BRANCHES; i++)
		if (mt->branches[i].used)
			recover_branch(mt, i);
}
