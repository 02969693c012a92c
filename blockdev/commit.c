/* Commits: changes that go to the log and to the index, in one order.
 *
 * Invariant: whatever the index makes durable is durable in the log before. The kv_lock keeps it: a commit holds it shared
 * from the append to the index write; a checkpoint takes it exclusive, syncs the log, and only then switches the memtable. */
#include "blockdev/journal/journal.h"
#include "blockdev/tier/lease.h"
#include "blockdev/tier/tier.h"

int bd_flush_log(struct bd_store *store, uint64_t ticket)
{
	int error = bd_log_sync(store->log, ticket);
	return error != 0 ? bd_store_fail(store, error, "flushing the log to disk") : 0;
}

int bd_may_tell(struct bd_store *store)
{
	if (store->tier == NULL || store->tier->lease == NULL)
		return 0;
	int error = bd_lease_confirm(store->tier->lease);
	return error == -ESTALE ? bd_store_fail(store, error, "another machine has taken this store over") : error;
}

int bd_sync_log(struct bd_store *store, uint64_t ticket)
{
	int error = bd_flush_log(store, ticket);
	return error != 0 ? error : bd_may_tell(store);
}

int bd_commit_init(struct bd_commit *commit)
{
	*commit = (struct bd_commit){.batch = bd_index_batch_new()};
	return commit->batch != NULL ? 0 : -ENOMEM;
}

void bd_commit_free(struct bd_commit *commit)
{
	bd_items_free(&commit->items);
	bd_index_batch_free(commit->batch);
	commit->batch = NULL;
}

void bd_commit_put(struct bd_commit *commit, const struct bd_key *key, uint8_t *value, size_t size)
{
	size = bd_value_seal(key->bytes, key->size, value, size);
	bd_items_put(&commit->items, key->bytes, key->size, value, size);
	bd_index_batch_put(commit->batch, key->bytes, key->size, value, size);
}

void bd_commit_delete(struct bd_commit *commit, const struct bd_key *key)
{
	bd_items_delete(&commit->items, key->bytes, key->size);
	bd_index_batch_delete(commit->batch, key->bytes, key->size);
}

static void batch_place(struct bd_index_batch *batch, const struct bd_block_id *id, uint64_t loc, uint64_t sum)
{
	struct bd_key key;
	uint8_t value[BD_PLACE_VALUE_SIZE];
	bd_key_block(&key, id);
	bd_value_place(&key, (struct bd_place){.loc = loc, .sum = sum}, value);
	bd_index_batch_put(batch, key.bytes, key.size, value, sizeof(value));
}

void bd_commit_clone(struct bd_commit *commit, uint64_t loc, const struct bd_block_id *id, struct bd_age age)
{
	struct bd_key key;
	uint8_t value[BD_AGE_VALUE_SIZE];
	bd_key_clone(&key, bd_loc_extent_id(loc), bd_loc_slot(loc), id);
	bd_commit_put(commit, &key, value, bd_value_age(age, value));
}

void bd_commit_run(struct bd_commit *commit, const struct bd_block_id *first, unsigned count, uint64_t loc,
		   const uint64_t *sums)
{
	bd_items_run(&commit->items, first, count, loc, sums);
	struct bd_block_id id = *first;
	for (unsigned i = 0; i < count; i++, id.block++)
		batch_place(commit->batch, &id, bd_loc_next(loc, i), sums[i]);
}

void bd_commit_move(struct bd_commit *commit, const struct bd_block_id *id, uint64_t from, uint64_t to, uint64_t sum,
		    bool to_index)
{
	bd_items_move(&commit->items, id, from, to, sum);
	if (to_index)
		batch_place(commit->batch, id, to, sum);
}

int bd_commit_apply_blocks(struct bd_store *store, struct bd_commit *commit, struct bd_payload *payload,
			   uint64_t *ret_ticket)
{
	if (commit->items.failed)
		return bd_store_fail(store, -ENOMEM, "recording a change");
	pthread_rwlock_rdlock(&store->kv_lock);
	int error = bd_store_writable(store);
	if (error == 0)
		bd_journal_note(store, commit->items.data, commit->items.size);
	if (error == 0 && payload != NULL)
		error = bd_log_append_blocks(store->log, &payload->first, payload->count, payload->data, payload->sums,
					     commit->items.data, commit->items.size, &payload->loc, ret_ticket);
	else if (error == 0)
		error = bd_log_append(store->log, commit->items.data, commit->items.size, ret_ticket);
	if (error == 0 && bd_index_batch_count(commit->batch) > 0)
		error = bd_index_write(store->index, commit->batch);
	pthread_rwlock_unlock(&store->kv_lock);
	commit->items.size = 0;
	bd_index_batch_clear(commit->batch);
	if (error != 0 && error != -EROFS)
		bd_store_fail(store, error, "recording a change");
	return error;
}

int bd_commit_log(struct bd_store *store, const void *items, size_t size, uint64_t *ret_ticket)
{
	pthread_rwlock_rdlock(&store->kv_lock);
	bd_journal_note(store, items, size);
	int error = bd_log_append(store->log, items, size, ret_ticket);
	pthread_rwlock_unlock(&store->kv_lock);
	return error;
}

int bd_commit_apply(struct bd_store *store, struct bd_commit *commit, uint64_t *ret_ticket)
{
	return bd_commit_apply_blocks(store, commit, NULL, ret_ticket);
}
