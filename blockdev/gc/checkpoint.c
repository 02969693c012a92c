/* Checkpoints: the index catches up with the log, durably, so that the log's beginning can be given up.
 *
 *   1. position := the log's tail. Everything before it has been appended; what of it is only in memory is on a dirty list.
 *   2. flush every dirty inode: pending and logged blocks into the index
 *   3. slot tables of extents, once the log that describes the slots is durable; their counts and the positions into the index's batch
 *      the journal: all that the index alone knows
 *   4. kv_lock exclusive: no commit is between its log append and its index write. Sync the log: all that the index holds is
 *      durable in the log. Write the batch, switch the memtable.
 *   5. wait for the memtable to be on disk. Now replay may begin at the position of step 1.
 * A crash between any two steps finds the old positions, and replays what it would have replayed before. */
#include "blockdev/extent/extent.h"
#include "blockdev/gc/background.h"
#include "blockdev/journal/journal.h"
#include "blockdev/tier/tier.h"

static int flush_branches(struct bd_store *store)
{
	int error = 0;
	for (uint32_t id = 0; error == 0; id++) {
		pthread_rwlock_rdlock(&store->table_lock);
		bool end = id >= store->branch_slots;
		struct bd_branch *branch = end ? NULL : store->branches[id];
		if (branch != NULL && !branch->dead && atomic_load(&branch->dirty_count) > 0)
			atomic_fetch_add(&branch->refs, 1);
		else
			branch = NULL;
		pthread_rwlock_unlock(&store->table_lock);
		if (end)
			break;
		if (branch != NULL)
			error = bd_branch_flush(store, branch, false);
		bd_branch_release(branch);
	}
	return error;
}

static void batch_positions(struct bd_index_batch *batch, uint64_t replay, uint64_t retain, uint64_t generation)
{
	struct bd_key key;
	uint8_t value[24 + BD_VALUE_CHECK];
	struct nf_writer w = nf_writer_init(value, sizeof(value));
	nf_write_u64(&w, replay);
	nf_write_u64(&w, retain);
	nf_write_u64(&w, generation);
	bd_key_meta(&key, "replay");
	size_t size = bd_value_seal(key.bytes, key.size, value, w.offset);
	bd_index_batch_put(batch, key.bytes, key.size, value, size);
}

static uint32_t next_branch_id(struct bd_store *store)
{
	pthread_rwlock_rdlock(&store->table_lock);
	uint32_t id = store->next_branch;
	pthread_rwlock_unlock(&store->table_lock);
	return id;
}

/* Ids that were ever given out are not given out again. */
static void batch_ids(struct bd_store *store, struct bd_index_batch *batch)
{
	struct bd_key key;
	uint8_t value[16 + BD_VALUE_CHECK];
	struct nf_writer w = nf_writer_init(value, sizeof(value));
	nf_write_u64(&w, next_branch_id(store));
	nf_write_u64(&w, bd_extents_next_id(store));
	bd_key_meta(&key, "ids");
	size_t size = bd_value_seal(key.bytes, key.size, value, w.offset);
	bd_index_batch_put(batch, key.bytes, key.size, value, size);
}

static int checkpoint(struct bd_store *store)
{
	struct bd_index_batch *batch = bd_index_batch_new();
	if (batch == NULL)
		return -ENOMEM;
	/* The index is about to need disk. */
	bd_extents_age_spares(store);
	uint64_t number = atomic_fetch_add(&store->checkpoint_begun, 1) + 1;
	uint64_t replay = bd_log_tail(store->log), retain = replay, synced;
	/* After the tail: what was logged before it has a sequence up to here, and what has one up to here will be logged in step 2. */
	uint64_t filled = bd_extents_sequence(store);
	/* Now: a retirement beside this forgets a block of the ring that memory has a newer version of, and the index may not have that yet when it
	 * was written after its file was flushed. */
	uint64_t noted = bd_inline_oldest(store);
	batch_ids(store, batch);
	int error = flush_branches(store);
	/* And once more: a write that appended its blocks before `replay` holds its inode's lock until it has noted them. */
	retain = NF_MIN(replay, NF_MIN(noted, bd_inline_oldest(store)));
	if (error == 0)
		error = bd_flush_log(store, UINT64_MAX);
	if (error == 0)
		error = bd_extents_write_tables(store, filled, batch);
	if (error == 0)
		error = bd_extents_sync(store, &synced);
	struct bd_journal_position position = {
		.log = {.replay = replay, .retain = retain, .generation = bd_log_generation(store->log)},
		.next_branch = next_branch_id(store),
		.next_extent = bd_extents_next_id(store),
	};
	if (error == 0)
		error = bd_journal_checkpoint(store, &position, filled);
	if (error == 0) {
		pthread_rwlock_wrlock(&store->kv_lock);
		error = bd_flush_log(store, UINT64_MAX);
		if (error == 0) {
			batch_positions(batch, replay, retain, bd_log_generation(store->log));
			error = bd_index_write(store->index, batch);
		}
		if (error == 0)
			error = bd_index_flush_begin(store->index);
		pthread_rwlock_unlock(&store->kv_lock);
	}
	if (error == 0)
		error = bd_index_flush_wait(store->index);
	bd_index_batch_free(batch);
	if (error != 0)
		return bd_store_fail(store, error, "checkpoint");
	bd_log_release(store->log, replay, retain);
	atomic_store(&store->checkpoint_done, number);
	bd_tier_checkpointed(store, number);
	return 0;
}

int bd_checkpoint_then(struct bd_store *store, int (*then)(void *arg), void *arg)
{
	int error = bd_store_writable(store);
	if (error != 0)
		return error;
	pthread_mutex_lock(&store->checkpoint_lock);
	error = checkpoint(store);
	if (error == 0)
		error = then(arg);
	pthread_mutex_unlock(&store->checkpoint_lock);
	return error;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

int bd_checkpoint(struct bd_store *store)
{
	return bd_checkpoint_then(store, nothing, NULL);
}

int bd_store_checkpoint(struct bd_store *store)
{
	return bd_checkpoint(store);
}

int bd_flush_all(struct bd_store *store)
{
	if (atomic_load(&store->error) != 0)
		return -EIO;
	if (store->read_only)
		return 0;
	int error = flush_branches(store);
	return error != 0 ? error : bd_flush_log(store, UINT64_MAX);
}

int bd_store_sync(struct bd_store *store)
{
	int error = bd_flush_all(store);
	return error != 0 || store->read_only ? error : bd_may_tell(store);
}
