/* Recovery: the items of the log since the last checkpoint, applied to the index in order.
 *
 * The index may be ahead of the replay position in part (its memtable went to disk with later writes); applying everything again in
 * order ends in the same state. Records before the position only tell which inline blocks the ring still holds. */
#include "blockdev/replay.h"

#include "blockdev/extent/extent.h"
#include "blockdev/journal/journal.h"
#include "blockdev/tier/rows.h"
#include "blockdev/tier/tier.h"

struct replay {
	struct bd_store *store;
	struct bd_index_batch *batch;
};

/* The batch goes in whenever later items may have to read what it holds. */
static int settle(struct replay *replay)
{
	return bd_index_write(replay->store->index, replay->batch);
}

/* A clone row: as new as the place in the log says. */
static int replay_clone(struct replay *replay, const void *key, size_t key_size)
{
	uint8_t value[BD_AGE_VALUE_SIZE];
	size_t size = bd_value_age((struct bd_age){.sequence = bd_extents_tick(replay->store)}, value);
	size = bd_value_seal(key, key_size, value, size);
	struct bd_items items = {0};
	bd_items_put(&items, key, key_size, value, size);
	if (!items.failed)
		bd_journal_note(replay->store, items.data, items.size);
	int error = items.failed ? -ENOMEM : 0;
	bd_items_free(&items);
	bd_index_batch_put(replay->batch, key, key_size, value, size);
	return error;
}

/* A record of the object store, or (value NULL) its deletion. An extent that is there will not change any more. */
static int replay_tier(struct bd_store *store, const void *key, size_t key_size, const void *value, size_t value_size)
{
	if (store->tier == NULL || store->tier->rows == NULL)
		return 0;
	int error = bd_rows_replay(store->tier->rows, key, key_size, value, value_size);
	if (error == 0 && value != NULL)
		bd_extent_replay_packed(store, key, key_size);
	return error;
}

static int replay_put(struct replay *replay, struct nf_reader body)
{
	const void *key, *value;
	size_t key_size, value_size;
	int error = bd_item_put_parse(body, &key, &key_size, &value, &value_size);
	if (error != 0)
		return error;
	if (((const uint8_t *)key)[0] == 'C')
		return replay_clone(replay, key, key_size);
	bd_journal_note_item(replay->store, BD_ITEM_PUT, body.data, body.size);
	if (((const uint8_t *)key)[0] == 'E')
		error = bd_extent_replay_record(replay->store, key, key_size, value, value_size);
	else if (((const uint8_t *)key)[0] == 'T')
		error = replay_tier(replay->store, key, key_size, value, value_size);
	bd_index_batch_put(replay->batch, key, key_size, value, value_size);
	return error;
}

static int replay_delete(struct replay *replay, struct nf_reader body)
{
	bd_journal_note_item(replay->store, BD_ITEM_DELETE, body.data, body.size);
	uint8_t kind = body.size > 0 ? body.data[0] : 0;
	int error = 0;
	if (kind == 'E')
		error = bd_extent_replay_record(replay->store, body.data, body.size, NULL, 0);
	else if (kind == 'T')
		error = replay_tier(replay->store, body.data, body.size, NULL, 0);
	bd_index_batch_delete(replay->batch, body.data, body.size);
	return error;
}

/* Point one version to a place, and count: the old place one fewer, unless it is the same. */
static int put_place(struct replay *replay, const struct bd_block_id *id, uint64_t loc, uint64_t sum)
{
	struct bd_place old;
	int error = bd_index_place(replay->store, id, &old);
	if (error == 0)
		bd_extent_count(replay->store, old.loc, -1);
	else if (error != -ENOENT)
		return error;
	struct bd_key key;
	uint8_t value[BD_PLACE_VALUE_SIZE];
	bd_key_block(&key, id);
	bd_value_place(&key, (struct bd_place){.loc = loc, .sum = sum}, value);
	bd_index_batch_put(replay->batch, key.bytes, key.size, value, sizeof(value));
	return 0;
}

static int replay_run(struct replay *replay, uint64_t lsn, bool apply, struct nf_reader body)
{
	struct bd_run run;
	int error = bd_item_run_parse(body, &run);
	if (error == 0 && bd_loc_is_log(run.loc))
		error = bd_inline_note(replay->store, &run.first, run.count, run.loc, lsn);
	if (error != 0 || !apply)
		return error;
	error = settle(replay);
	if (error == 0 && bd_loc_is_extent(run.loc))
		error = bd_extent_replay_run(replay->store, &run);
	struct bd_block_id id = run.first;
	for (unsigned i = 0; i < run.count && error == 0; i++, id.block++)
		error = put_place(replay, &id, bd_loc_next(run.loc, i), nf_read_u64(&run.sums));
	return error;
}

static int replay_holes(struct replay *replay, struct nf_reader body)
{
	struct bd_block_id id;
	uint32_t count;
	int error = bd_item_holes_parse(body, &id, &count);
	if (error == 0)
		bd_journal_note_item(replay->store, BD_ITEM_HOLES, body.data, body.size);
	if (error == 0)
		error = settle(replay);
	for (uint32_t i = 0; i < count && error == 0; i++, id.block++)
		error = put_place(replay, &id, BD_LOC_HOLE, 0);
	return error;
}

static int replay_move(struct replay *replay, struct nf_reader body)
{
	struct bd_block_id id;
	uint64_t from, to, sum;
	int error = bd_item_move_parse(body, &id, &from, &to, &sum);
	if (error == 0)
		error = settle(replay);
	struct bd_place place;
	if (error == 0)
		error = bd_index_place(replay->store, &id, &place);
	if (error == -ENOENT || (error == 0 && place.loc != from && place.loc != to))
		return 0;
	/* The slot's table entry: moves have no run item of their own. Also when the index knows the move already: it may have become durable with a
	 * checkpoint that had written the tables before. */
	struct bd_items items = {0};
	bd_items_run(&items, &id, 1, to, &sum);
	if (error == 0 && items.failed)
		error = -ENOMEM;
	struct bd_run run;
	if (error == 0)
		error = bd_item_run_parse(nf_reader_init(items.data + 5, items.size - 5), &run);
	if (error == 0)
		error = bd_extent_replay_run(replay->store, &run);
	bd_items_free(&items);
	return error != 0 || place.loc == to ? error : put_place(replay, &id, to, sum);
}

static int replay_item(void *arg, uint64_t lsn, bool apply, uint8_t type, struct nf_reader body)
{
	struct replay *replay = arg;
	/* Sequences of what is replayed are above all that its life gave out. */
	bd_extents_raise(replay->store, (bd_log_generation(replay->store->log) + 1) << 40);
	if (type == BD_ITEM_RUN)
		return replay_run(replay, lsn, apply, body);
	if (!apply)
		return 0;
	int error;
	switch (type) {
	case BD_ITEM_PUT:
		error = replay_put(replay, body);
		break;
	case BD_ITEM_DELETE:
		error = replay_delete(replay, body);
		break;
	case BD_ITEM_HOLES:
		error = replay_holes(replay, body);
		break;
	case BD_ITEM_MOVE:
		error = replay_move(replay, body);
		break;
	default:
		error = -EUCLEAN;
	}
	if (error == 0 && bd_index_batch_count(replay->batch) >= 4096)
		error = settle(replay);
	return error;
}

int bd_replay(struct bd_store *store)
{
	struct replay replay = {.store = store, .batch = bd_index_batch_new()};
	if (replay.batch == NULL)
		return -ENOMEM;
	int error = bd_log_recover(store->log, replay_item, &replay);
	if (error == 0)
		error = settle(&replay);
	bd_index_batch_free(replay.batch);
	return error;
}
