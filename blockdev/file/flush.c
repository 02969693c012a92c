/* From memory to log and index: pending blocks (their bytes are durable in extents by now), logged blocks, attributes. */
#include <stdlib.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"

/* Items of one commit: well below BD_LOG's limit. */
#define COMMIT_BYTES (128u << 10)
#define RUN_MAX 256u

int inode_reserve_pending(struct bd_inode *inode, unsigned count)
{
	if (inode->pending_count + count <= inode->pending_capacity)
		return 0;
	uint32_t capacity = NF_MAX(inode->pending_count + count, inode->pending_capacity * 2 + 32);
	struct bd_pending *pending = realloc(inode->pending, capacity * sizeof(*pending));
	if (pending == NULL)
		return -ENOMEM;
	inode->pending = pending;
	inode->pending_capacity = capacity;
	return 0;
}

void inode_add_pending(struct bd_inode *inode, uint32_t block, unsigned count, uint64_t sequence)
{
	assert(inode->pending_count + count <= inode->pending_capacity);
	for (unsigned i = 0; i < count; i++, block++) {
		const struct bd_leaf *leaf = bd_map_peek(inode, block >> BD_LEAF_SHIFT);
		bool logged = leaf != NULL && leaf->entries[block % BD_LEAF_BLOCKS].state == BD_LOGGED;
		inode->pending[inode->pending_count++] =
			(struct bd_pending){.block = block, .sequence = sequence, .oldest = logged ? 0 : sequence};
	}
}

static int compare_pending(const void *a, const void *b)
{
	const struct bd_pending *x = a, *y = b;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

/* Sort by block and keep the newest write of each. */
static void compact_pending(struct bd_inode *inode)
{
	bool sorted = true;
	for (uint32_t i = 1; i < inode->pending_count && sorted; i++)
		sorted = inode->pending[i - 1].block < inode->pending[i].block;
	if (sorted)
		return;
	qsort(inode->pending, inode->pending_count, sizeof(*inode->pending), compare_pending);
	uint32_t kept = 0;
	uint64_t oldest = UINT64_MAX;
	for (uint32_t i = 0; i < inode->pending_count; i++) {
		bool last = i + 1 == inode->pending_count || inode->pending[i + 1].block != inode->pending[i].block;
		oldest = NF_MIN(oldest, inode->pending[i].oldest);
		if (!last)
			continue;
		inode->pending[kept] = inode->pending[i];
		inode->pending[kept++].oldest = oldest;
		oldest = UINT64_MAX;
	}
	inode->pending_count = kept;
}

/* A run of block versions that lie one behind the other. */
struct run {
	struct bd_block_id first;
	unsigned count;
	uint64_t loc, sums[RUN_MAX];
};

static int run_commit(struct bd_store *store, struct run *run, struct bd_commit *commit, uint64_t *ret_ticket)
{
	if (run->count == 0)
		return 0;
	bd_commit_run(commit, &run->first, run->count, run->loc, run->sums);
	run->count = 0;
	return commit->items.size < COMMIT_BYTES ? 0 : bd_commit_apply(store, commit, ret_ticket);
}

/* Record the pending blocks whose bytes are durable (sequence <= synced); keep the others. *ret_overtaken: one of those had been written up to
 * `synced`, but again since, so neither version is recorded. */
static int flush_pending(struct bd_inode *inode, uint64_t synced, struct bd_commit *commit, uint64_t *ret_ticket,
			 bool *ret_overtaken)
{
	struct run run = {.count = 0};
	uint32_t kept = 0;
	int error = 0;
	*ret_overtaken = false;
	compact_pending(inode);
	for (uint32_t i = 0; i < inode->pending_count; i++) {
		struct bd_pending pending = inode->pending[i];
		struct bd_leaf *leaf = bd_map_peek(inode, pending.block >> BD_LEAF_SHIFT);
		struct bd_entry *entry = leaf != NULL ? &leaf->entries[pending.block % BD_LEAF_BLOCKS] : NULL;
		if (entry == NULL || entry->state != BD_PENDING)
			continue;
		if (pending.sequence > synced || error != 0) {
			*ret_overtaken |= pending.oldest <= synced;
			inode->pending[kept++] = pending;
			continue;
		}
		bool joins = run.count > 0 && run.count < RUN_MAX && run.first.epoch == entry->epoch &&
			     run.first.block + run.count == pending.block &&
			     bd_loc_next(run.loc, run.count) == entry->loc;
		if (!joins)
			error = run_commit(inode->store, &run, commit, ret_ticket);
		if (error != 0) {
			inode->pending[kept++] = pending;
			continue;
		}
		if (run.count == 0) {
			run.first = (struct bd_block_id){.branch = inode->branch->id, .file = inode->file,
							 .block = pending.block, .epoch = entry->epoch};
			run.loc = entry->loc;
		}
		run.sums[run.count++] = entry->sum;
		bd_map_settle(inode, leaf, entry);
	}
	inode->pending_count = kept;
	return error != 0 ? error : run_commit(inode->store, &run, commit, ret_ticket);
}

/* Logged entries into the index. */
static int flush_logged(struct bd_inode *inode, struct bd_index_batch *batch)
{
	for (uint32_t high = 0; inode->dirty_leaves > 0 && high < inode->map_size; high++) {
		for (uint32_t low = 0; inode->map[high] != NULL && low < 512; low++) {
			struct bd_leaf *leaf = inode->map[high][low];
			for (uint32_t i = 0; leaf != NULL && leaf->dirty > 0 && i < BD_LEAF_BLOCKS; i++) {
				struct bd_entry *entry = &leaf->entries[i];
				if (entry->state != BD_LOGGED)
					continue;
				struct bd_key key;
				uint8_t value[BD_PLACE_VALUE_SIZE];
				bd_key_block(&key, &(struct bd_block_id){.branch = entry->branch, .file = inode->file,
									 .block = (leaf->index << BD_LEAF_SHIFT) + i,
									 .epoch = entry->epoch});
				bd_value_place(&key, (struct bd_place){entry->loc, entry->sum}, value);
				bd_index_batch_put(batch, key.bytes, key.size, value, sizeof(value));
				bd_map_settle(inode, leaf, entry);
			}
		}
	}
	if (bd_index_batch_count(batch) == 0)
		return 0;
	pthread_rwlock_rdlock(&inode->store->kv_lock);
	int error = bd_index_write(inode->store->index, batch);
	pthread_rwlock_unlock(&inode->store->kv_lock);
	return error != 0 ? bd_store_fail(inode->store, error, "writing the index") : 0;
}

int bd_inode_flush(struct bd_inode *inode, uint64_t synced, uint64_t *ret_ticket)
{
	if (inode->branch->dead || !inode->on_dirty)
		return 0;
	struct bd_commit commit;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	/* First, so that no record has blocks behind the end of the file. A removed inode's record is its tombstone; its blocks go
	 * to the index all the same, so that none is of an older epoch. */
	if (inode->attr_dirty && !inode->removed)
		bd_inode_commit(inode, &commit);
	bool overtaken;
	error = flush_pending(inode, synced, &commit, ret_ticket, &overtaken);
	/* Nobody writes to the file meanwhile, so this is the last time. A reader that waits for a flush is the price; it is rare. */
	if (error == 0 && overtaken)
		error = bd_extents_sync(inode->store, &synced);
	if (error == 0 && overtaken)
		error = flush_pending(inode, synced, &commit, ret_ticket, &overtaken);
	if (error == 0 && commit.items.size > 0)
		error = bd_commit_apply(inode->store, &commit, ret_ticket);
	if (error == 0)
		error = flush_logged(inode, commit.batch);
	if (error == 0 && inode->pending_count == 0 && inode->dirty_leaves == 0)
		inode_mark_clean(inode);
	bd_commit_free(&commit);
	return error;
}

/* The dirty inodes of a branch, each held; malloc'd. */
static struct bd_inode **hold_dirty(struct bd_branch *branch, size_t *ret_count)
{
	size_t count = 0;
	pthread_mutex_lock(&branch->dirty_lock);
	struct bd_inode **held = malloc((atomic_load(&branch->dirty_count) + 1) * sizeof(*held));
	for (struct bd_inode *inode = branch->dirty_head; held != NULL && inode != NULL; inode = inode->dirty_next) {
		if (inode_hold_dirty(inode))
			held[count++] = inode;
	}
	pthread_mutex_unlock(&branch->dirty_lock);
	*ret_count = count;
	return held;
}

void bd_branch_drop_dirty(struct bd_branch *branch)
{
	size_t count;
	struct bd_inode **held = hold_dirty(branch, &count);
	/* Without memory for the list: the counts of live blocks stay too high until their extents are scrubbed. */
	for (size_t i = 0; held != NULL && i < count; i++) {
		pthread_rwlock_wrlock(&held[i]->lock);
		bd_map_free(held[i]);
		inode_mark_clean(held[i]);
		pthread_rwlock_unlock(&held[i]->lock);
		bd_inode_unref(held[i], 1);
	}
	free(held);
}

int bd_branch_flush(struct bd_store *store, struct bd_branch *branch, bool frozen)
{
	uint64_t synced, ticket;
	int error = bd_extents_sync(store, &synced);
	if (error != 0)
		return error;
	size_t count;
	struct bd_inode **held = hold_dirty(branch, &count);
	if (held == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		if (error == 0) {
			if (!frozen)
				pthread_rwlock_rdlock(&branch->epoch_lock);
			pthread_rwlock_wrlock(&held[i]->lock);
			error = bd_inode_flush(held[i], synced, &ticket);
			pthread_rwlock_unlock(&held[i]->lock);
			if (!frozen)
				pthread_rwlock_unlock(&branch->epoch_lock);
		}
		bd_inode_unref(held[i], 1);
	}
	free(held);
	return error;
}
