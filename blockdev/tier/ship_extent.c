/* Extents as objects: those that are settled, oldest first.
 *
 *   read, pack, put, and then commit its `T` record if it is still there; else delete the object again, which nothing has ever referred to.
 * Several at a time: each is read, packed and put by one thread. Nothing of what they do depends on another extent.
 * From the moment before the commit until the record's place has been shipped the extent is among the `recents`, so that a shipment that ends before carries its blocks. */
#include "blockdev/tier/ship_impl.h"

#include <stdlib.h>

#include "common/nf_log.h"

static_assert(SHIP_READ_SLOTS % BD_GROUP_SLOTS == 0, "whole groups are read");

/* One group's bytes that come from the header and the table. */
static int add_head(struct bd_ship *ship, struct bd_extent *extent, const void *head, struct bd_pack *pack)
{
	if (head != NULL)
		return bd_pack_add(pack, head, BD_EXTENT_DATA_OFFSET);
	void *buf = nf_io_buffer(BD_EXTENT_DATA_OFFSET);
	int error = buf != NULL ? bd_extent_read_file(ship->store, extent, 0, buf, BD_EXTENT_DATA_OFFSET) : -ENOMEM;
	if (error == 0)
		error = bd_pack_add(pack, buf, BD_EXTENT_DATA_OFFSET);
	free(buf);
	return error;
}

static int add_slots(struct bd_ship *ship, struct bd_extent *extent, uint32_t used, bool strict, struct bd_pack *pack)
{
	uint8_t *buf = nf_io_buffer((size_t)SHIP_READ_SLOTS * NF_BLOCK_SIZE);
	int error = buf != NULL ? 0 : -ENOMEM;
	for (uint32_t slot = 0; slot < used && error == 0; slot += SHIP_READ_SLOTS) {
		uint32_t count = NF_MIN(SHIP_READ_SLOTS, used - slot);
		if (ship_is_over(ship))
			error = -ECANCELED;
		else if (strict)
			error = bd_extent_read_file(ship->store, extent, BD_EXTENT_DATA_OFFSET + (uint64_t)slot * NF_BLOCK_SIZE, buf,
						    (size_t)count * NF_BLOCK_SIZE);
		else
			error = ship_read_slots(ship, extent, slot, count, buf);
		for (uint32_t i = 0; i < count && error == 0; i += BD_GROUP_SLOTS)
			error = bd_pack_add(pack, buf + (size_t)i * NF_BLOCK_SIZE, (size_t)NF_MIN(BD_GROUP_SLOTS, count - i) * NF_BLOCK_SIZE);
	}
	free(buf);
	return error;
}

int ship_pack(struct bd_ship *ship, struct bd_extent *extent, uint32_t used, const void *head, bool strict, struct bd_pack **ret_pack,
	      const void **ret_object, uint64_t *ret_size, struct bd_pack_map **ret_map)
{
	struct bd_pack *pack;
	int error = bd_pack_begin(ship->store->store_id, bd_extent_id(extent), used, &pack);
	if (error != 0)
		return error;
	error = add_head(ship, extent, head, pack);
	if (error == 0)
		error = add_slots(ship, extent, used, strict, pack);
	if (error == 0)
		error = bd_pack_end(pack, ret_object, ret_size, ret_map);
	if (error != 0) {
		bd_pack_free(pack);
		return error;
	}
	*ret_pack = pack;
	return 0;
}

static bool is_skipped(struct bd_ship *ship, uint32_t id)
{
	bool skipped = false;
	pthread_mutex_lock(&ship->lock);
	for (size_t i = 0; i < ship->skipped_count; i++)
		skipped |= ship->skipped[i] == id;
	pthread_mutex_unlock(&ship->lock);
	return skipped;
}

/* The disk does not give it: it stays where it is, and is tried again after the next start. */
static int skip(struct bd_ship *ship, uint32_t id, int error)
{
	pthread_mutex_lock(&ship->lock);
	uint32_t *skipped = realloc(ship->skipped, (ship->skipped_count + 1) * sizeof(*skipped));
	if (skipped != NULL) {
		ship->skipped = skipped;
		ship->skipped[ship->skipped_count++] = id;
	}
	pthread_mutex_unlock(&ship->lock);
	if (skipped == NULL)
		return -ENOMEM;
	nf_error("extent %08x: cannot be read to upload it (%s); it stays local, and its blocks are uploaded with each manifest", id,
		 strerror(-error));
	return 0;
}

/* Not in the object store, and not about to be removed. */
static bool is_waiting(struct bd_ship *ship, const struct bd_extent_stat *stat)
{
	uint32_t generation;
	return stat->sealed && stat->live > 0 && !is_skipped(ship, stat->id) && !bd_rows_find(ship->tier->rows, stat->id, &generation, NULL);
}

static int recent_add(struct bd_ship *ship, uint32_t extent)
{
	int error = 0;
	pthread_mutex_lock(&ship->lock);
	if (ship->recent_count == ship->recent_capacity) {
		size_t capacity = ship->recent_capacity * 2 + 64;
		struct ship_recent *recents = realloc(ship->recents, capacity * sizeof(*recents));
		if (recents != NULL) {
			ship->recents = recents;
			ship->recent_capacity = capacity;
		} else {
			error = -ENOMEM;
		}
	}
	if (error == 0)
		ship->recents[ship->recent_count++] = (struct ship_recent){.extent = extent, .ticket = UINT64_MAX};
	pthread_mutex_unlock(&ship->lock);
	return error;
}

static void recent_set(struct bd_ship *ship, uint32_t extent, uint64_t ticket)
{
	pthread_mutex_lock(&ship->lock);
	for (size_t i = 0; i < ship->recent_count; i++) {
		if (ship->recents[i].extent == extent)
			ship->recents[i].ticket = ticket;
	}
	pthread_mutex_unlock(&ship->lock);
}

/* The object is there. -ESTALE: the extent is not any more. */
static int record(struct bd_ship *ship, uint32_t id, const struct bd_pack_map *map)
{
	uint64_t ticket;
	int error = recent_add(ship, id);
	if (error != 0)
		return error;
	error = bd_rows_put(ship->store, id, ship->generation, map, &ticket);
	/* After another error the record may be in the log all the same: the store has failed then, and the mark stays. */
	if (error == 0)
		recent_set(ship, id, ticket);
	else if (error == -ESTALE)
		recent_set(ship, id, 0);
	return error == 0 ? bd_flush_log(ship->store, ticket) : error;
}

static int upload(struct bd_ship *ship, struct bd_extent *extent, uint32_t used)
{
	uint32_t id = bd_extent_id(extent);
	struct bd_pack *pack;
	struct bd_pack_map *map;
	const void *object;
	uint64_t size;
	char key[BD_TIER_KEY_SIZE];
	int error = ship_pack(ship, extent, used, NULL, true, &pack, &object, &size, &map);
	if (error != 0)
		return error == -ENOMEM || error == -ECANCELED ? error : skip(ship, id, error);
	bd_rows_key(ship->generation, id, key);
	error = ship_put(ship, key, object, size);
	bd_pack_free(pack);
	if (error == 0)
		error = record(ship, id, map);
	free(map);
	return error == -ESTALE ? ship_delete(ship, key) : error;
}

static int upload_settled(struct bd_ship *ship, const struct bd_extent_stat *stat)
{
	struct bd_extent *extent;
	if (!is_waiting(ship, stat) || !bd_extent_is_settled(ship->store, stat->id))
		return 0;
	if (bd_extent_get(ship->store, stat->id, &extent) != 0)
		return 0; /* collected meanwhile */
	int error = upload(ship, extent, stat->used);
	bd_extent_put(ship->store, extent);
	return error;
}

/* What the threads of one round share. */
struct round {
	struct bd_ship *ship;
	const struct bd_extent_stat *stats;
	size_t count;
	pthread_mutex_t lock;
	size_t next;
	int error; /* the first one: nothing more is begun */
};

static bool take_next(struct round *round, const struct bd_extent_stat **ret_stat)
{
	pthread_mutex_lock(&round->lock);
	bool any = round->error == 0 && round->next < round->count;
	if (any)
		*ret_stat = &round->stats[round->next++];
	pthread_mutex_unlock(&round->lock);
	return any;
}

static void *upload_main(void *arg)
{
	struct round *round = arg;
	const struct bd_extent_stat *stat;
	while (take_next(round, &stat)) {
		int error = ship_is_over(round->ship) ? -ECANCELED : upload_settled(round->ship, stat);
		if (error == 0)
			continue;
		pthread_mutex_lock(&round->lock);
		round->error = round->error != 0 ? round->error : error;
		pthread_mutex_unlock(&round->lock);
	}
	return NULL;
}

/* How many of them are to be uploaded; moved to the front, in order. */
static size_t keep_waiting(struct bd_ship *ship, struct bd_extent_stat *stats, size_t count)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (is_waiting(ship, &stats[i]) && bd_extent_is_settled(ship->store, stats[i].id))
			stats[kept++] = stats[i];
	}
	return kept;
}

int ship_extents(struct bd_ship *ship)
{
	struct bd_extent_stat *stats;
	pthread_t helpers[SHIP_UPLOADS - 1];
	unsigned helping = 0;
	size_t count;
	int error = bd_extents_list(ship->store, &stats, &count);
	if (error != 0)
		return error;
	struct round round = {.ship = ship, .stats = stats, .lock = PTHREAD_MUTEX_INITIALIZER};
	round.count = keep_waiting(ship, stats, count);
	/* One is this thread's; without more of them it does them all. */
	while (helping < SHIP_UPLOADS - 1 && helping + 1 < round.count &&
	       pthread_create(&helpers[helping], NULL, upload_main, &round) == 0)
		helping++;
	upload_main(&round);
	for (unsigned i = 0; i < helping; i++)
		pthread_join(helpers[i], NULL);
	free(stats);
	return round.error;
}

int ship_count_waiting(struct bd_ship *ship, uint64_t *ret_extents, uint64_t *ret_bytes, uint64_t *ret_unsettled)
{
	struct bd_extent_stat *stats;
	size_t count;
	int error = bd_extents_list(ship->store, &stats, &count);
	if (error != 0)
		return error;
	*ret_extents = *ret_bytes = *ret_unsettled = 0;
	for (size_t i = 0; i < count; i++) {
		uint32_t generation;
		if (!stats[i].sealed || stats[i].live == 0)
			continue;
		if (bd_rows_find(ship->tier->rows, stats[i].id, &generation, NULL)) {
			*ret_unsettled += !bd_rows_is_settled(ship->tier->rows, stats[i].id);
			continue;
		}
		(*ret_extents)++;
		*ret_bytes += (uint64_t)stats[i].used * NF_BLOCK_SIZE;
		*ret_unsettled += !bd_extent_is_settled(ship->store, stats[i].id);
	}
	free(stats);
	return 0;
}
