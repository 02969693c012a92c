/* Collecting an extent: move the versions that still live, then remove it.
 *
 *   1. no new references to its slots (clones copy instead); a barrier waits for those under way
 *   2. candidates: the owner that the slot table names, and clone rows
 *   3. move the live ones (move.c)
 *   4. everything in memory that may supersede what the index would go back to after a crash is made durable
 *   5. the extent's record and clone rows are deleted through the log, durably; then the extent goes, and its file is deleted or used again */
#include <stdlib.h>

#include "blockdev/extent/extent.h"
#include "blockdev/gc/background.h"
#include "blockdev/tier/rows.h"

struct candidates {
	struct bd_move *moves;
	size_t count, capacity;
};

static int add(struct candidates *list, const struct bd_block_id *id, uint64_t loc, struct bd_age age)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity * 2 + 1024;
		struct bd_move *moves = realloc(list->moves, capacity * sizeof(*moves));
		if (moves == NULL)
			return -ENOMEM;
		list->moves = moves;
		list->capacity = capacity;
	}
	list->moves[list->count++] = (struct bd_move){.id = *id, .place = {.loc = loc}, .age = age};
	return 0;
}

/* Add the version when it lives in this slot. */
static int consider(struct bd_store *store, struct candidates *list, const struct bd_block_id *id, uint64_t loc,
		    struct bd_age age)
{
	int live = bd_move_is_live(store, id, loc);
	return live < 0 ? live : live == 0 ? 0 : add(list, id, loc, age);
}

struct clone_walk {
	struct bd_store *store;
	struct candidates *list;
	uint32_t extent;
};

static int consider_clone(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size)
{
	const struct clone_walk *walk = arg;
	struct bd_block_id id;
	struct bd_age age;
	size_t plain;
	struct nf_reader r = nf_reader_init(key + 5, key_size - 5);
	uint32_t slot = nf_read_u32_be(&r);
	int error = r.failed ? -EUCLEAN : bd_key_block_parse(key + 9, key_size - 9, &id);
	if (error == 0)
		error = bd_value_check(key, key_size, value, value_size, &plain);
	if (error == 0)
		error = bd_value_age_parse(value, plain, &age);
	return error != 0 ? error : consider(walk->store, walk->list, &id, bd_loc_extent(walk->extent, slot), age);
}

static int each_clone(struct bd_store *store, uint32_t extent, struct candidates *list)
{
	struct clone_walk walk = {.store = store, .list = list, .extent = extent};
	struct bd_key prefix;
	bd_key_u32(&prefix, 'C', extent);
	return bd_index_each(store->index, &prefix, consider_clone, &walk);
}

static int compare_moves(const void *a, const void *b)
{
	const struct bd_move *x = a, *y = b;
	if (x->place.loc != y->place.loc)
		return x->place.loc < y->place.loc ? -1 : 1;
	return 0;
}

static int gather(struct bd_store *store, uint32_t id, struct candidates *list)
{
	struct bd_extent *extent;
	struct bd_slot *slots;
	uint32_t bad;
	int error = bd_extent_get(store, id, &extent);
	if (error != 0)
		return error;
	error = bd_extent_slots(store, extent, &slots, &bad);
	bd_extent_put(store, extent);
	if (error == 0 && bad > 0)
		error = -EUCLEAN;
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < BD_EXTENT_SLOTS && error == 0; i++) {
		if (slots[i].id.file != 0)
			error = consider(store, list, &slots[i].id, bd_loc_extent(id, i), slots[i].age);
	}
	free(slots);
	if (error == 0)
		error = each_clone(store, id, list);
	if (error != 0)
		return error;
	if (list->count == 0)
		return 0;
	qsort(list->moves, list->count, sizeof(*list->moves), compare_moves);
	uint32_t group = 0;
	for (size_t i = 0; i < list->count && error == 0; i++) {
		if (i > 0 && list->moves[i].place.loc != list->moves[i - 1].place.loc)
			group++;
		list->moves[i].group = group;
		int live = bd_move_sum(store, &list->moves[i].id, list->moves[i].place.loc, &list->moves[i].place.sum);
		if (live < 0)
			error = live;
	}
	return error;
}

/* Nothing refers to the extent any more, in memory or index: make that durable and delete it. */
static int remove_extent(struct bd_store *store, uint32_t id)
{
	struct bd_commit commit;
	struct bd_key key, end;
	uint64_t ticket;
	int error = bd_flush_all(store);
	if (error == 0)
		error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	/* A checkpoint under way has the extent's record in its batch: it must not write it behind our deletion. */
	pthread_mutex_lock(&store->checkpoint_lock);
	bd_key_u32(&key, 'E', id);
	bd_commit_delete(&commit, &key);
	bd_key_u32(&key, 'C', id);
	bd_key_u32(&end, 'C', id + 1);
	bd_index_batch_delete_range(commit.batch, &key, &end);
	if (store->tier != NULL)
		bd_rows_doom(store, id, &commit);
	error = bd_commit_apply(store, &commit, &ticket);
	bd_commit_free(&commit);
	if (error == 0)
		error = bd_flush_log(store, ticket);
	if (error == 0)
		error = bd_extent_remove(store, id);
	pthread_mutex_unlock(&store->checkpoint_lock);
	return error;
}

int bd_collect_extent(struct bd_store *store, uint32_t id, struct bd_gc_result *result)
{
	struct candidates list = {0};
	uint64_t bad = 0;
	bd_extent_set_collecting(store, id, true);
	pthread_rwlock_wrlock(&store->clone_lock);
	pthread_rwlock_unlock(&store->clone_lock);
	int error = gather(store, id, &list);
	if (error == 0 && list.count > 0)
		error = bd_move_blocks(store, list.moves, list.count, &bad);
	if (error == 0 && bad > 0)
		error = -EUCLEAN;
	uint64_t copied = (uint64_t)list.count * NF_BLOCK_SIZE;
	free(list.moves);
	/* Look again: what was not moved because it had changed meanwhile must be gone by now. */
	list = (struct candidates){0};
	if (error == 0)
		error = gather(store, id, &list);
	if (error == 0 && list.count > 0)
		error = -EAGAIN;
	free(list.moves);
	if (error == 0)
		error = remove_extent(store, id);
	if (error != 0) {
		bd_extent_set_collecting(store, id, false);
		if (error == -EUCLEAN)
			bd_extent_set_damaged(store, id);
		return error;
	}
	result->extents_freed++;
	result->bytes_copied += copied;
	result->bytes_freed += BD_EXTENT_BYTES > copied ? BD_EXTENT_BYTES - copied : 0;
	atomic_fetch_add(&store->collected_extents, 1);
	return 0;
}
