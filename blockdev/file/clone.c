/* Copying a range between files by sharing blocks.
 *
 * A shared slot has one owner (its entry in the slot table) and a clone row in the index for every other version that refers to it, so
 * that the collector finds them all. Blocks that cannot be shared (in the log's ring, or in an extent that is being
 * collected) and the unaligned edges are copied. */
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"
#include "blockdev/layer/layer.h"

#define BATCH 128u
#define COPY_BLOCKS                                                                                                              \
	16u /* copied at once where the first of them cannot be shared: its neighbours were written with it, as a rule */

/* Entries of [block, block + count) as they are, and the file's size then. BD_LAZY: some are to be made by a redo layer, their places say so. Else
 * -EAGAIN: some are pending: they are to be recorded first, so that every place is in the index. */
static int source_entries(struct bd_inode *from, uint32_t block, uint32_t count, struct bd_place *places, uint64_t *ret_size)
{
	int error = 0;
	pthread_rwlock_wrlock(&from->lock);
	*ret_size = from->attr.size_bytes;
	bool lazy = false, pending = false;
	for (uint32_t i = 0; i < count && error == 0; i++) {
		struct bd_leaf *leaf;
		error = bd_map_leaf(from, (block + i) >> BD_LEAF_SHIFT, &leaf);
		if (error != 0)
			break;
		const struct bd_entry *entry = &leaf->entries[(block + i) % BD_LEAF_BLOCKS];
		places[i] = (struct bd_place){.loc = entry->loc, .sum = entry->sum};
		lazy |= entry->loc == BD_LOC_REDO;
		pending |= entry->state == BD_PENDING;
	}
	pthread_rwlock_unlock(&from->lock);
	if (error != 0)
		return error;
	return lazy ? BD_LAZY : pending ? -EAGAIN : 0;
}

/* The same, with everything made and recorded that can be. BD_LAZY: of a frozen view, which stores nothing that is made. -EAGAIN: written to meanwhile. */
static int ready_entries(struct bd_inode *from, uint32_t block, uint32_t count, struct bd_place *places, uint64_t *ret_size)
{
	int error = source_entries(from, block, count, places, ret_size);
	if (error == BD_LAZY && bd_inode_is_head(from)) {
		uint8_t *bytes = nf_io_buffer((size_t)count * NF_BLOCK_SIZE);
		error = bytes != NULL ? bd_blocks_read(from, block, count, bytes, BD_MAKE_SERVE) : -ENOMEM;
		free(bytes);
		if (error == 0)
			error = source_entries(from, block, count, places, ret_size);
	}
	if (error == -EAGAIN) {
		error = bd_fsync(from, true);
		if (error == 0)
			error = source_entries(from, block, count, places, ret_size);
	}
	return error;
}

static bool is_hole(uint64_t loc)
{
	return loc == BD_LOC_NONE || loc == BD_LOC_HOLE;
}

/* Inside an operation on `to`: the holes that the range begins with. Returns their number. */
static int share_holes(struct bd_inode *to, uint32_t block, uint32_t count, const struct bd_place *places)
{
	uint32_t holes = 0;
	while (holes < count && is_hole(places[holes].loc))
		holes++;
	if (holes == 0)
		return 0;
	struct bd_commit commit;
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&to->lock);
	error = bd_map_punch(to, block, block + holes, &commit.items);
	if (error == 0)
		error = bd_commit_apply(to->store, &commit, &ticket);
	pthread_rwlock_unlock(&to->lock);
	bd_commit_free(&commit);
	return error != 0 ? error : (int)holes;
}

/* Under clone_lock shared, inside an operation on `to`: point blocks at the places, as far as they can be shared; the file then
 * reaches at least to their end, or to `target_end`. Returns the number of blocks done. */
static int share(struct bd_inode *to, uint32_t block, uint32_t count, const struct bd_place *places, uint64_t target_end)
{
	struct bd_commit commit;
	uint64_t ticket;
	uint32_t done = 0;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&to->lock);
	for (; done < count && error == 0; done++) {
		uint64_t loc = places[done].loc;
		if (!bd_loc_is_extent(loc) || !bd_extent_can_share(to->store, bd_loc_extent_id(loc)))
			break;
		struct bd_leaf *leaf;
		error = bd_map_leaf(to, (block + done) >> BD_LEAF_SHIFT, &leaf);
		if (error != 0)
			break;
		struct bd_block_id id = {
			.branch = to->branch->id, .file = to->file, .block = block + done, .epoch = to->branch->epoch};
		bd_commit_clone(&commit, loc, &id, (struct bd_age){.sequence = bd_extents_tick(to->store)});
		bd_commit_run(&commit, &id, 1, loc, &places[done].sum);
	}
	if (error == 0 && done > 0) {
		uint64_t end = NF_MIN((uint64_t)(block + done) << NF_BLOCK_SHIFT, target_end);
		to->attr.size_bytes = NF_MAX(to->attr.size_bytes, end);
		/* The log must not have blocks behind the end that it knows. */
		if (to->attr.size_bytes != to->committed_size && !to->removed)
			bd_inode_commit(to, &commit);
		error = bd_commit_apply(to->store, &commit, &ticket);
	}
	for (uint32_t i = 0; i < done && error == 0; i++) {
		bd_extent_count(to->store, places[i].loc, 1);
		error = bd_map_set(to, block + i, places[i].loc, places[i].sum, BD_CLEAN);
	}
	if (error == 0 && done > 0)
		bd_inode_mark_dirty(to);
	pthread_rwlock_unlock(&to->lock);
	bd_commit_free(&commit);
	return error != 0 ? error : (int)done;
}

/* How many blocks the range begins with that have bytes and cannot be shared; at least 1. */
static uint32_t copied_run(struct bd_store *store, const struct bd_place *places, uint32_t count)
{
	uint32_t n = 0;
	while (n < count && !is_hole(places[n].loc) &&
	       !(bd_loc_is_extent(places[n].loc) && bd_extent_can_share(store, bd_loc_extent_id(places[n].loc))))
		n++;
	return NF_MAX(n, 1u);
}

/* Whole blocks, up to the end that the source had, `from_end`; returns how many were shared from the start of the range on. When none could be,
 * *ret_copy is how many are best copied together. */
static int share_batch(struct bd_inode *from, uint32_t from_block, struct bd_inode *to, uint32_t to_block, uint32_t count,
		       uint64_t from_end, uint64_t target_end, uint32_t *ret_copy)
{
	struct bd_place places[BATCH];
	uint64_t from_size;
	int error = ready_entries(from, from_block, count, places, &from_size);
	*ret_copy = 1;
	if (error == -EAGAIN || (error == BD_LAZY && bd_inode_is_head(from)))
		return 0; /* copy */
	if (error == 0 || error == BD_LAZY)
		error = bd_op_begin(to);
	if (error != 0)
		return error;
	pthread_rwlock_rdlock(&to->store->clone_lock);
	/* Under the barrier, look again: a place seen before may have been collected since. */
	error = source_entries(from, from_block, count, places, &from_size);
	/* Written on meanwhile: its last block has more than zeros behind the end that is copied. */
	if (from_size > from_end && (uint64_t)(from_block + count) << NF_BLOCK_SHIFT > from_end)
		count--;
	if (error == BD_LAZY)
		error = bd_inode_is_head(from) ? -EAGAIN : 0; /* what cannot be stored is copied, and nothing else */
	int done = error == -EAGAIN ? 0 : error;
	if (error == 0 && count > 0)
		done = share_holes(to, to_block, count, places);
	if (error == 0 && count > 0 && done == 0)
		done = share(to, to_block, count, places, target_end);
	if (error == 0 && count > 0 && done == 0)
		*ret_copy = copied_run(to->store, places, count);
	pthread_rwlock_unlock(&to->store->clone_lock);
	bd_op_end(to);
	return done;
}

static int copy_bytes(struct bd_inode *from, uint64_t from_offset, struct bd_inode *to, uint64_t to_offset, uint64_t size,
		      uint8_t *buf, size_t buf_size)
{
	while (size > 0) {
		ssize_t n = bd_read(from, from_offset, buf, (size_t)NF_MIN(size, buf_size));
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		int error = bd_write(to, to_offset, buf, (size_t)n, 0);
		if (error != 0)
			return error;
		from_offset += (uint64_t)n;
		to_offset += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return 0;
}

static uint64_t size_of(struct bd_inode *inode)
{
	struct bd_attr attr;
	bd_inode_attr(inode, &attr);
	return attr.size_bytes;
}

/* Set the size when sharing whole blocks went beyond it; the times in any case. */
static int touch_target(struct bd_inode *to, uint64_t end)
{
	int error = bd_op_begin(to);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&to->lock);
	to->attr.size_bytes = NF_MAX(to->attr.size_bytes, end);
	to->attr.mtime_ns = to->attr.ctime_ns = bd_now_ns();
	to->attr_dirty = true;
	bd_inode_mark_dirty(to);
	pthread_rwlock_unlock(&to->lock);
	bd_op_end(to);
	return 0;
}

static bool overlaps(uint64_t a, uint64_t b, uint64_t size)
{
	return a < b + size && b < a + size;
}

ssize_t bd_clone_range(struct bd_inode *from, uint64_t from_offset, struct bd_inode *to, uint64_t to_offset, uint64_t size)
{
	struct bd_attr from_attr, to_attr;
	bd_inode_attr(from, &from_attr);
	bd_inode_attr(to, &to_attr);
	if (!S_ISREG(from_attr.mode) || !S_ISREG(to_attr.mode))
		return S_ISDIR(from_attr.mode) || S_ISDIR(to_attr.mode) ? -EISDIR : -EINVAL;
	if (from->store != to->store)
		return -EXDEV;
	if (from_offset >= from_attr.size_bytes)
		return 0;
	size = NF_MIN(size, from_attr.size_bytes - from_offset);
	if (size > BD_FILE_SIZE_MAX || to_offset > BD_FILE_SIZE_MAX - size)
		return -EFBIG;
	if (from == to && overlaps(from_offset, to_offset, size))
		return -EINVAL;
	if (size > SSIZE_MAX)
		size = SSIZE_MAX;
	int layers = bd_inode_open_layers(from);
	if (layers == 0)
		layers = bd_inode_open_layers(to);
	if (layers != 0)
		return layers;
	const size_t buf_size = 1 << 20;
	uint8_t *buf = nf_io_buffer(buf_size);
	if (buf == NULL)
		return -ENOMEM;
	uint64_t done = 0;
	bool aligned = from_offset % NF_BLOCK_SIZE == to_offset % NF_BLOCK_SIZE;
	int error = 0;
	while (done < size && error == 0) {
		uint64_t at = from_offset + done, left = size - done;
		/* An unaligned start goes alone, so that what follows can be shared. */
		uint64_t n = NF_MIN(left, NF_BLOCK_SIZE - at % NF_BLOCK_SIZE);
		/* The last block of a file may be shared as a whole: behind its end there are zeros. */
		bool whole =
			at % NF_BLOCK_SIZE == 0 &&
			(left >= NF_BLOCK_SIZE || (at + left == from_attr.size_bytes && to_offset + done + left >= size_of(to)));
		if (aligned && whole) {
			uint64_t blocks = NF_MIN(BATCH, nf_round_up(left, NF_BLOCK_SIZE) / NF_BLOCK_SIZE);
			if (left < blocks * NF_BLOCK_SIZE &&
			    !(at + left == from_attr.size_bytes && to_offset + done + left >= size_of(to)))
				blocks--;
			uint32_t copy;
			int shared = share_batch(from, (uint32_t)(at >> NF_BLOCK_SHIFT), to,
						 (uint32_t)((to_offset + done) >> NF_BLOCK_SHIFT), (uint32_t)blocks,
						 from_attr.size_bytes, to_offset + size, &copy);
			if (shared > 0) {
				done += NF_MIN(left, (uint64_t)shared * NF_BLOCK_SIZE);
				error = touch_target(to, to_offset + done);
				continue;
			}
			error = shared;
			n = NF_MIN(left, (uint64_t)copy * NF_BLOCK_SIZE);
		}
		if (error == 0)
			error = copy_bytes(from, at, to, to_offset + done, n, buf, buf_size);
		if (error == 0)
			done += n;
	}
	free(buf);
	return done > 0 ? (ssize_t)done : error;
}
