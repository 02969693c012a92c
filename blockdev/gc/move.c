/* Moving block versions to new slots: the collector's and the log's way to give space back.
 *
 * A move is decided on what memory and index say now, copied without locks, and then made for each version under its inode's lock,
 * only if the version is still where it was. The log has it as one item (MOVE), so replay follows.
 * Cached entries of other branches that still name the old place find it gone and look again (read.c). */
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"
#include "common/nf_log.h"

/* Blocks written at once and flushed. A flush of the disk takes as long as what was written before it, whoever wrote it, so the commits of everybody
 * wait for this much: measured 2 to 3 ms for 32 blocks, 7 to 10 for 128. */
#define BATCH 32u

/* Under inode->lock: the head's entry when it is this very version, else NULL. Of a dead branch only the index counts: what it had in memory alone
 * is forgotten, and the sweep deletes under maps that somebody still holds. */
static struct bd_entry *own_entry(struct bd_inode *inode, const struct bd_block_id *id, struct bd_leaf **ret_leaf)
{
	*ret_leaf = NULL;
	if (inode->branch->dead)
		return NULL;
	struct bd_leaf *leaf = bd_map_peek(inode, id->block >> BD_LEAF_SHIFT);
	struct bd_entry *entry = leaf != NULL ? &leaf->entries[id->block % BD_LEAF_BLOCKS] : NULL;
	*ret_leaf = leaf;
	return entry != NULL && entry->branch == id->branch && entry->epoch == id->epoch ? entry : NULL;
}

static int index_is_at(struct bd_store *store, const struct bd_block_id *id, uint64_t loc)
{
	struct bd_place place;
	int error = bd_index_place(store, id, &place);
	return error == -ENOENT ? 0 : error != 0 ? error : place.loc == loc;
}

int bd_move_is_live(struct bd_store *store, const struct bd_block_id *id, uint64_t loc)
{
	struct bd_inode *inode = bd_inode_find(store, id->branch, UINT32_MAX, id->file);
	int result = -ENOENT;
	if (inode != NULL) {
		struct bd_leaf *leaf;
		pthread_rwlock_rdlock(&inode->lock);
		const struct bd_entry *entry = own_entry(inode, id, &leaf);
		if (entry != NULL)
			result = entry->loc != loc ? 0 : entry->state == BD_PENDING ? -EAGAIN : 1;
		pthread_rwlock_unlock(&inode->lock);
		bd_inode_unref(inode, 1);
	}
	return result != -ENOENT ? result : index_is_at(store, id, loc);
}

int bd_move_sum(struct bd_store *store, const struct bd_block_id *id, uint64_t loc, uint64_t *ret_sum)
{
	struct bd_inode *inode = bd_inode_find(store, id->branch, UINT32_MAX, id->file);
	int result = -ENOENT;
	if (inode != NULL) {
		struct bd_leaf *leaf;
		pthread_rwlock_rdlock(&inode->lock);
		const struct bd_entry *entry = own_entry(inode, id, &leaf);
		if (entry != NULL) {
			result = entry->loc == loc;
			*ret_sum = entry->sum;
		}
		pthread_rwlock_unlock(&inode->lock);
		bd_inode_unref(inode, 1);
	}
	if (result != -ENOENT)
		return result;
	struct bd_place place;
	int error = bd_index_place(store, id, &place);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	*ret_sum = place.sum;
	return place.loc == loc;
}

/* The head's inode, loaded when the version could still be replaced in its epoch; else what is in memory, or NULL. */
static int hold_inode(struct bd_store *store, const struct bd_block_id *id, struct bd_inode **ret_inode)
{
	*ret_inode = bd_inode_find(store, id->branch, UINT32_MAX, id->file);
	struct bd_branch *branch = *ret_inode == NULL ? bd_branch_acquire(store, id->branch) : NULL;
	if (branch == NULL)
		return 0;
	pthread_rwlock_rdlock(&branch->epoch_lock);
	bool current = id->epoch >= branch->epoch;
	pthread_rwlock_unlock(&branch->epoch_lock);
	int error = current ? bd_inode_get(store, branch, UINT32_MAX, id->file, ret_inode) : 0;
	bd_branch_release(branch);
	return error == -ENOENT ? 0 : error;
}

/* Point one version to its new place. 1 when done, 0 when it had moved on. */
static int apply_one(struct bd_store *store, const struct bd_move *move, uint64_t to, struct bd_commit *commit)
{
	uint64_t ticket;
	struct bd_inode *inode;
	int result = hold_inode(store, &move->id, &inode);
	if (result != 0)
		return result;
	if (inode == NULL) {
		/* An old version, or a file that is gone: nobody changes it, and purging waits for reclaim_lock. */
		result = index_is_at(store, &move->id, move->place.loc);
		if (result == 1)
			bd_commit_move(commit, &move->id, move->place.loc, to, move->place.sum, true);
	} else {
		struct bd_leaf *leaf;
		pthread_rwlock_wrlock(&inode->lock);
		struct bd_entry *entry = own_entry(inode, &move->id, &leaf);
		if (entry != NULL)
			result = entry->loc == move->place.loc && entry->state != BD_PENDING;
		else
			result = index_is_at(store, &move->id, move->place.loc);
		if (result == 1) {
			bd_commit_move(commit, &move->id, move->place.loc, to, move->place.sum,
				       entry == NULL || entry->state == BD_CLEAN);
			if (entry != NULL)
				entry->loc = to;
		}
	}
	if (result == 1) {
		int error = bd_commit_apply(store, commit, &ticket);
		if (error != 0)
			result = error;
	}
	if (inode != NULL) {
		pthread_rwlock_unlock(&inode->lock);
		bd_inode_unref(inode, 1);
	}
	return result;
}

static struct bd_age moved_age(struct bd_age age)
{
	return (struct bd_age){.sequence = age.sequence, .moves = age.moves + 1};
}

/* Apply all moves of a copied batch; `loc[g]` is where group g's bytes are now. */
static int apply_batch(struct bd_store *store, struct bd_move *moves, size_t count, const uint64_t *locs,
		       uint32_t first_group)
{
	struct bd_commit commit;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	uint32_t taken_group = UINT32_MAX;
	pthread_mutex_lock(&store->reclaim_lock);
	for (size_t i = 0; i < count && error == 0; i++) {
		uint64_t to = locs[moves[i].group - first_group];
		if (to == BD_LOC_NONE)
			continue;
		bool is_first = taken_group != moves[i].group;
		/* The slot table names the first of the group, whether it is moved or not. */
		if (i > 0 && moves[i - 1].group == moves[i].group)
			bd_commit_clone(&commit, to, &moves[i].id, moved_age(moves[i].age));
		int result = apply_one(store, &moves[i], to, &commit);
		if (result < 0) {
			error = result;
		} else if (result == 1) {
			bd_extent_count(store, moves[i].place.loc, -1);
			/* The slot was counted once when it was filled. */
			if (!is_first)
				bd_extent_count(store, to, 1);
			taken_group = moves[i].group;
			atomic_fetch_add_explicit(&store->collected_bytes, NF_BLOCK_SIZE, memory_order_relaxed);
		} else {
			bd_index_batch_clear(commit.batch);
			commit.items.size = 0;
		}
		bool last = i + 1 == count || moves[i + 1].group != moves[i].group;
		if (last && taken_group != moves[i].group)
			bd_extent_count(store, to, -1);
	}
	pthread_mutex_unlock(&store->reclaim_lock);
	bd_commit_free(&commit);
	return error;
}

/* Slots that blocks of a batch were written to; the extent is held. */
struct placed {
	struct bd_extent *extent;
	uint32_t slot;
	unsigned at, count;
};

static void place_end(struct bd_store *store, const struct placed *placed, unsigned count, const struct bd_move *const *heads,
		      uint64_t *locs, bool good)
{
	for (unsigned p = 0; p < count; p++) {
		const struct placed *piece = &placed[p];
		for (unsigned i = 0; good && i < piece->count; i++) {
			const struct bd_move *head = heads[piece->at + i];
			bd_extent_fill_moved(store, piece->extent, piece->slot + i, &head->id, head->place.sum,
					     moved_age(head->age));
			locs[piece->at + i] = bd_loc_extent(bd_extent_id(piece->extent), piece->slot + i);
		}
		if (!good)
			bd_extent_abandon(store, piece->extent, piece->count);
		bd_extent_put(store, piece->extent);
	}
}

/* Write `n` groups' blocks (in `data`) to the moved stream, durably; only then do the slot tables name them. */
static int place_batch(struct bd_store *store, const struct bd_move *const *heads, unsigned n, uint8_t *data, uint64_t *locs)
{
	struct placed placed[BATCH];
	unsigned pieces = 0;
	uint64_t synced;
	int error = 0;
	for (unsigned at = 0; at < n && error == 0;) {
		struct placed *piece = &placed[pieces];
		error = bd_extent_alloc(store, BD_STREAM_MOVED, n - at, &piece->extent, &piece->slot, &piece->count);
		if (error != 0)
			break;
		piece->at = at;
		pieces++;
		error = bd_extent_write(store, piece->extent, piece->slot, piece->count, data + (size_t)at * NF_BLOCK_SIZE);
		if (error == 0)
			bd_extent_wrote(store, piece->extent);
		at += piece->count;
	}
	if (error == 0)
		error = bd_extents_sync(store, &synced);
	place_end(store, placed, pieces, heads, locs, error == 0);
	return error;
}

/* The blocks of the groups that `heads` lead, one after the other into `data`. Heads that cannot be moved are taken out of the list. */
static int read_groups(struct bd_store *store, const struct bd_move **heads, unsigned *count, uint8_t *data,
		       uint64_t *ret_bad)
{
	struct bd_place places[BATCH] = {{0}};
	for (unsigned i = 0; i < *count; i++)
		places[i] = heads[i]->place;
	if (bd_places_read(store, places, *count, data))
		return 0;
	unsigned n = 0;
	for (unsigned i = 0; i < *count; i++) {
		int error = bd_place_read(store, places[i], data + (size_t)n * NF_BLOCK_SIZE);
		if (error == -EUCLEAN && bd_move_is_live(store, &heads[i]->id, places[i].loc) != 0) {
			nf_error("file %llu block %u: bytes at their place do not match the checksum; left there",
				 (unsigned long long)heads[i]->id.file, heads[i]->id.block);
			(*ret_bad)++;
		} else if (error != 0 && error != -EUCLEAN && error != -ESTALE) {
			return error;
		}
		if (error == 0)
			heads[n++] = heads[i];
	}
	*count = n;
	return 0;
}

/* One batch: whole groups, at most BATCH of them. */
static int move_batch(struct bd_store *store, struct bd_move *moves, size_t count, uint8_t *data, uint64_t *ret_bad)
{
	const struct bd_move *heads[BATCH];
	uint64_t locs[BATCH] = {0}, placed[BATCH] = {0};
	uint32_t first_group = moves[0].group;
	unsigned n = 0;
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || moves[i].group != moves[i - 1].group)
			heads[n++] = &moves[i];
	}
	int error = read_groups(store, heads, &n, data, ret_bad);
	if (error == 0)
		error = place_batch(store, heads, n, data, placed);
	for (unsigned i = 0; i < n; i++)
		locs[heads[i]->group - first_group] = placed[i];
	if (error != 0)
		return error;
	return apply_batch(store, moves, count, locs, first_group);
}

int bd_move_blocks(struct bd_store *store, struct bd_move *moves, size_t count, uint64_t *ret_bad)
{
	uint8_t *data = nf_io_buffer((size_t)BATCH * NF_BLOCK_SIZE);
	if (data == NULL)
		return -ENOMEM;
	int error = 0;
	*ret_bad = 0;
	for (size_t at = 0; at < count && error == 0;) {
		/* Group numbers rise by one, so a batch is a range of them. */
		size_t end = at;
		while (end < count && moves[end].group - moves[at].group < BATCH)
			end++;
		error = move_batch(store, moves + at, end - at, data, ret_bad);
		at = end;
	}
	free(data);
	return error != 0 ? error : bd_flush_log(store, UINT64_MAX);
}
