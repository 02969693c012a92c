/* Dropping versions that nothing looks at.
 *
 * A version of a thing in a branch is seen by the pins (snapshots, children's forks, the head) between its epoch and the next newer
 * version's. One that no pin sees goes, and its slot counts one fewer. For a removed file the pins at which the file was not there do not count,
 * so all of its blocks go that only the head could have seen.
 * Deletions are not logged: the record that asks for the sweep ('O', 'V') stays until a checkpoint has made them durable, so a
 * crash sweeps again, and a sweep may end anywhere when the caller or the store wants to stop. Runs under collect_lock; takes reclaim_lock a
 * batch. */
#include <stdlib.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"

#define DELETE_BATCH 512u
#define PROGRESS_KEYS 4096u

struct pins {
	uint32_t *epochs; /* rising */
	size_t count;
	uint32_t head_epoch; /* current when the sweep began */
};

struct sweep {
	struct bd_store *store;
	struct bd_branch *branch;
	struct pins pins;
	struct bd_index_batch *batch;
	uint64_t dead_locs[DELETE_BATCH];
	unsigned dead_count;
	uint64_t dropped, seen;
	bd_progress_fn progress;
	void *arg;
};

static int sweep_begin(struct sweep *sweep, struct bd_store *store, struct bd_branch *branch, bd_progress_fn progress, void *arg)
{
	*sweep = (struct sweep){.store = store, .branch = branch, .batch = bd_index_batch_new(), .progress = progress, .arg = arg};
	if (sweep->batch == NULL)
		return -ENOMEM;
	pthread_rwlock_rdlock(&store->table_lock);
	pthread_rwlock_rdlock(&branch->epoch_lock);
	sweep->pins.head_epoch = branch->epoch;
	pthread_rwlock_unlock(&branch->epoch_lock);
	int error = bd_branch_pins(store, branch, &sweep->pins.epochs, &sweep->pins.count);
	pthread_rwlock_unlock(&store->table_lock);
	return error;
}

/* Delete what has been gathered. */
static int sweep_write(struct sweep *sweep)
{
	if (bd_index_batch_count(sweep->batch) == 0)
		return 0;
	/* A move that finds its key puts it again: not between our look and our deletion's effect. */
	pthread_mutex_lock(&sweep->store->reclaim_lock);
	pthread_rwlock_rdlock(&sweep->store->kv_lock);
	int error = bd_index_write(sweep->store->index, sweep->batch);
	pthread_rwlock_unlock(&sweep->store->kv_lock);
	pthread_mutex_unlock(&sweep->store->reclaim_lock);
	for (unsigned i = 0; i < sweep->dead_count && error == 0; i++)
		bd_extent_count(sweep->store, sweep->dead_locs[i], -1);
	sweep->dead_count = 0;
	return error != 0 ? bd_store_fail(sweep->store, error, "dropping old versions") : 0;
}

static void sweep_end(struct sweep *sweep)
{
	bd_index_batch_free(sweep->batch);
	free(sweep->pins.epochs);
}

static int drop(struct sweep *sweep, const uint8_t *key, size_t key_size, uint64_t loc)
{
	bd_index_batch_delete(sweep->batch, key, key_size);
	sweep->dead_locs[sweep->dead_count++] = loc;
	sweep->dropped++;
	return sweep->dead_count < DELETE_BATCH ? 0 : sweep_write(sweep);
}

/* Does memory have this very version at another place already? */
static bool is_superseded(struct bd_store *store, const uint8_t *key, size_t key_size, uint64_t loc)
{
	struct bd_block_id id;
	if (bd_key_block_parse(key, key_size, &id) != 0)
		return false;
	struct bd_inode *inode = bd_inode_find(store, id.branch, UINT32_MAX, id.file);
	bool superseded = inode != NULL && bd_move_is_live(store, &id, loc) == 0;
	bd_inode_unref(inode, inode != NULL);
	return superseded;
}

/* Does a pin see the version of `epoch` when the next newer version is of `newer` (UINT64_MAX: none)? The head (UINT32_MAX) stands for
 * every epoch from the one that was current when the sweep began: a snapshot may freeze any of them while the sweep runs. */
static bool is_seen(const struct pins *pins, uint32_t epoch, uint64_t newer)
{
	for (size_t i = 0; i < pins->count; i++) {
		if (pins->epochs[i] == UINT32_MAX ? newer > pins->head_epoch
						  : pins->epochs[i] >= epoch && pins->epochs[i] < newer)
			return true;
	}
	return false;
}

/* Was the file there where the branch begins? */
static int is_inherited(const struct sweep *sweep, uint64_t file, bool *ret_there)
{
	uint8_t value[8192];
	size_t size = 0;
	struct bd_hops hops = {.branch = sweep->branch, .view_epoch = 0}; /* nothing of its own is that old */
	int error = bd_chain_get(sweep->store, hops, 'I', file, NULL, value, sizeof(value), &size);
	*ret_there = error == 0 && size > 0;
	return error == -ENOENT ? 0 : error;
}

/* The same for each pin: what the newest record up to it says. Records come newest first, so one pass finds all of them. */
static int look_at_pins(const struct sweep *sweep, uint64_t file, struct bd_index_iter *iter, bool *ret_there)
{
	struct bd_key from;
	bool inherited = false, knows_inherited = false;
	int error = 0;
	bd_key_file_prefix(&from, 'I', sweep->branch->id, file);
	size_t prefix_size = from.size;
	bd_key_add_epoch(&from, UINT32_MAX);
	bd_index_iter_seek(iter, &from, prefix_size);
	for (size_t i = sweep->pins.count; i-- > 0 && error == 0;) {
		/* The head as it was when the sweep began: what was removed since may be in a snapshot taken since. */
		uint32_t epoch = NF_MIN(sweep->pins.epochs[i], sweep->pins.head_epoch);
		size_t key_size = 0, raw_size, size = 0;
		const uint8_t *key = NULL;
		for (; bd_index_iter_valid(iter); bd_index_iter_next(iter)) {
			key = bd_index_iter_key(iter, &key_size);
			if (bd_key_epoch(key, key_size) <= epoch)
				break;
			key = NULL;
		}
		if (key != NULL) {
			const uint8_t *value = bd_index_iter_value(iter, &raw_size);
			error = bd_value_check(key, key_size, value, raw_size, &size);
			ret_there[i] = size > 0;
			continue;
		}
		error = bd_index_iter_status(iter);
		if (error == 0 && !knows_inherited)
			error = is_inherited(sweep, file, &inherited);
		knows_inherited = true;
		ret_there[i] = inherited;
	}
	return error;
}

/* In the head, but not by name when the sweep began. */
static int is_in_head_now(const struct sweep *sweep, uint64_t file, bool *ret_there)
{
	uint8_t value[8192];
	size_t size = 0;
	/* Removed, but somebody has it open. */
	struct bd_inode *inode = bd_inode_find(sweep->store, sweep->branch->id, UINT32_MAX, file);
	*ret_there = inode != NULL;
	bd_inode_unref(inode, inode != NULL);
	if (*ret_there)
		return 0;
	/* Or one that had no name has got its first since, and left memory: after that the index has it. */
	struct bd_hops hops = {.branch = sweep->branch, .view_epoch = UINT32_MAX};
	int error = bd_chain_get(sweep->store, hops, 'I', file, NULL, value, sizeof(value), &size);
	*ret_there = error == 0 && size > 0;
	return error == -ENOENT ? 0 : error;
}

/* The pins at which the file was there in this branch (inherited counts). */
static int pins_of_file(struct sweep *sweep, uint64_t file, struct pins *ret_pins)
{
	size_t pins = sweep->pins.count, count = 0;
	uint32_t *epochs = malloc((pins + 1) * sizeof(*epochs));
	bool *there = calloc(pins + 1, sizeof(*there));
	struct bd_index_iter *iter = bd_index_iter_new(sweep->store->index);
	int error = epochs == NULL || there == NULL || iter == NULL ? -ENOMEM : look_at_pins(sweep, file, iter, there);
	bd_index_iter_free(iter);
	for (size_t i = 0; i < pins && error == 0; i++) {
		if (!there[i] && sweep->pins.epochs[i] == UINT32_MAX)
			error = is_in_head_now(sweep, file, &there[i]);
		if (there[i])
			epochs[count++] = sweep->pins.epochs[i];
	}
	free(there);
	if (error != 0) {
		free(epochs);
		return error;
	}
	*ret_pins = (struct pins){.epochs = epochs, .count = count, .head_epoch = sweep->pins.head_epoch};
	return 0;
}

/* One more key was looked at. -ECANCELED when nobody waits for the end any more. */
static int count_seen(struct sweep *sweep)
{
	if (++sweep->seen % PROGRESS_KEYS != 0)
		return 0;
	if (bd_background_is_stopping(sweep->store))
		return -ECANCELED;
	return sweep->progress != NULL && sweep->progress(sweep->arg, "versions", sweep->seen, 0) != 0 ? -ECANCELED : 0;
}

/* Versions under the first `prefix_size` bytes of `from`; `pins` NULL: those of each file (block keys of a whole branch). */
static int sweep_range(struct sweep *sweep, const struct bd_key *from, const struct pins *pins)
{
	struct bd_index_iter *iter = bd_index_iter_new(sweep->store->index);
	if (iter == NULL)
		return -ENOMEM;
	uint8_t last[BD_KEY_MAX];
	size_t last_size = 0;
	uint64_t newer = UINT64_MAX, pins_file = 0;
	struct pins own = {0};
	int error = 0;
	for (bd_index_iter_seek(iter, from, from->size); error == 0 && bd_index_iter_valid(iter);
	     bd_index_iter_next(iter)) {
		size_t key_size, value_size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &value_size);
		if (key_size < 17 || key_size > BD_KEY_MAX) {
			error = -EUCLEAN;
			break;
		}
		if (key_size - 4 != last_size || memcmp(key, last, last_size) != 0) {
			last_size = key_size - 4;
			memcpy(last, key, last_size);
			newer = UINT64_MAX;
		}
		struct nf_reader r = nf_reader_init(key + 5, key_size - 5);
		uint64_t file = nf_read_u64_be(&r);
		if (pins == NULL && (own.epochs == NULL || pins_file != file)) {
			free(own.epochs);
			own.epochs = NULL;
			error = pins_of_file(sweep, file, &own);
			pins_file = file;
			if (error != 0)
				break;
		}
		uint32_t epoch = bd_key_epoch(key, key_size);
		/* Versions younger than the sweep are not its business. */
		if (epoch <= sweep->pins.head_epoch && !is_seen(pins != NULL ? pins : &own, epoch, newer)) {
			struct bd_place place = {.loc = BD_LOC_NONE};
			if (key[0] == 'B')
				error = bd_value_place_parse(key, key_size, value, value_size, &place);
			if (key[0] == 'B' && error == 0 && is_superseded(sweep->store, key, key_size, place.loc))
				place.loc = BD_LOC_NONE; /* counted dead then */
			if (error == 0)
				error = drop(sweep, key, key_size, place.loc);
		}
		newer = epoch;
		if (error == 0)
			error = count_seen(sweep);
	}
	if (error == 0)
		error = bd_index_iter_status(iter);
	bd_index_iter_free(iter);
	free(own.epochs);
	return error != 0 ? error : sweep_write(sweep);
}

/* A removed file's own records: the tombstone goes too when there is nothing left for it to hide. */
static int drop_tombstone(struct sweep *sweep, uint64_t file)
{
	if (sweep->branch->ancestors->count > 0)
		return 0;
	struct bd_index_iter *iter = bd_index_iter_new(sweep->store->index);
	if (iter == NULL)
		return -ENOMEM;
	struct bd_key from;
	bd_key_file_prefix(&from, 'I', sweep->branch->id, file);
	int error = 0;
	bd_index_iter_seek(iter, &from, from.size);
	if (bd_index_iter_valid(iter)) {
		size_t key_size, value_size;
		uint8_t key[BD_KEY_MAX];
		const uint8_t *at = bd_index_iter_key(iter, &key_size);
		bd_index_iter_value(iter, &value_size);
		memcpy(key, at, key_size);
		bd_index_iter_next(iter);
		bool alone = !bd_index_iter_valid(iter);
		error = bd_index_iter_status(iter);
		if (error == 0 && alone && value_size == BD_VALUE_CHECK)
			error = drop(sweep, key, key_size, BD_LOC_NONE);
	}
	bd_index_iter_free(iter);
	return error != 0 ? error : sweep_write(sweep);
}

int bd_sweep_file(struct bd_store *store, struct bd_branch *branch, uint64_t file, bd_progress_fn progress, void *arg,
		  uint64_t *ret_dropped)
{
	struct sweep sweep;
	struct pins pins = {0};
	int error = sweep_begin(&sweep, store, branch, progress, arg);
	if (error == 0)
		error = pins_of_file(&sweep, file, &pins);
	static const char kinds[] = "BXD";
	for (const char *kind = kinds; error == 0 && *kind != '\0'; kind++) {
		struct bd_key from;
		bd_key_file_prefix(&from, *kind, branch->id, file);
		error = sweep_range(&sweep, &from, &pins);
	}
	if (error == 0) {
		struct bd_key from;
		bd_key_file_prefix(&from, 'I', branch->id, file);
		error = sweep_range(&sweep, &from, &sweep.pins);
	}
	if (error == 0)
		error = drop_tombstone(&sweep, file);
	free(pins.epochs);
	*ret_dropped += sweep.dropped;
	sweep_end(&sweep);
	return error;
}

int bd_sweep_branch(struct bd_store *store, struct bd_branch *branch, bd_progress_fn progress, void *arg, uint64_t *ret_dropped)
{
	struct sweep sweep;
	if (branch->dead)
		bd_inodes_forget(store, branch);
	int error = sweep_begin(&sweep, store, branch, progress, arg);
	static const char kinds[] = "BXDI";
	for (const char *kind = kinds; error == 0 && *kind != '\0'; kind++) {
		struct bd_key from;
		bd_key_u32(&from, *kind, branch->id);
		error = sweep_range(&sweep, &from, *kind == 'B' && sweep.pins.count > 0 ? NULL : &sweep.pins);
	}
	*ret_dropped += sweep.dropped;
	sweep_end(&sweep);
	return error;
}
