/* The table of extents, what slots hold, and durability of it. extent.h has the format; alloc.c gives slots out, spare.c keeps files.
 *
 * An extent is OPEN while a stream fills it, SEALED afterwards, GONE once removed (memory lives until the last reader put it).
 * Extents that were open when the daemon died are sealed by the next open: slots nobody described may have been written. */
#include "blockdev/extent/extent_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/nf_log.h"

static_assert(BD_EXTENT_DATA_OFFSET % NF_IO_ALIGN == 0, "slots are aligned");
static_assert(EXTENT_TABLE_BYTES == 96 * NF_IO_ALIGN, "slot table is 96 pages");

void extent_path(uint32_t id, char path[EXTENT_PATH_SIZE])
{
	snprintf(path, EXTENT_PATH_SIZE, "extents/%08x", id);
}

static void stream_init(struct extent_stream *s)
{
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->prepared, NULL);
}

static void stream_destroy(struct extent_stream *s)
{
	pthread_cond_destroy(&s->prepared);
	pthread_mutex_destroy(&s->lock);
}

int bd_extents_init(struct bd_store *store)
{
	struct bd_extents *extents = calloc(1, sizeof(*extents));
	if (extents == NULL)
		return -ENOMEM;
	pthread_mutex_init(&extents->lock, NULL);
	pthread_mutex_init(&extents->sync_lock, NULL);
	pthread_mutex_init(&extents->drop_lock, NULL);
	for (unsigned i = 0; i < BD_STREAMS; i++)
		stream_init(&extents->streams[i]);
	store->extents = extents;
	return 0;
}

void extent_destroy(struct bd_extent *extent)
{
	if (extent == NULL)
		return;
	nf_io_close(extent->file);
	free(extent->table);
	free(extent);
}

void bd_extents_free(struct bd_store *store)
{
	struct bd_extents *extents = store->extents;
	if (extents == NULL)
		return;
	for (uint32_t i = 0; i < extents->slots; i++)
		extent_destroy(extents->by_id[i]);
	free(extents->by_id);
	spares_free(extents);
	for (unsigned i = 0; i < BD_STREAMS; i++)
		stream_destroy(&extents->streams[i]);
	pthread_mutex_destroy(&extents->drop_lock);
	pthread_mutex_destroy(&extents->sync_lock);
	pthread_mutex_destroy(&extents->lock);
	free(extents);
	store->extents = NULL;
}

/* Under lock. */
int extents_insert(struct bd_extents *extents, struct bd_extent *extent)
{
	if (extent->id >= extents->slots) {
		uint32_t slots = NF_MAX(extent->id + 1, extents->slots * 2 + 64);
		struct bd_extent **by_id = realloc(extents->by_id, slots * sizeof(struct bd_extent *));
		if (by_id == NULL)
			return -ENOMEM;
		memset(by_id + extents->slots, 0, (slots - extents->slots) * sizeof(struct bd_extent *));
		extents->by_id = by_id;
		extents->slots = slots;
	}
	assert(extents->by_id[extent->id] == NULL);
	extents->by_id[extent->id] = extent;
	extents->count++;
	extents->next_id = NF_MAX(extents->next_id, extent->id + 1);
	return 0;
}

struct bd_extent *extent_make(uint32_t id)
{
	struct bd_extent *extent = calloc(1, sizeof(*extent));
	if (extent == NULL)
		return NULL;
	extent->id = id;
	extent->refs = 1;
	extent->dirty_low = BD_EXTENT_SLOTS;
	return extent;
}

size_t extent_value(const struct bd_extent *extent, uint8_t value[EXTENT_VALUE_MAX])
{
	struct nf_writer w = nf_writer_init(value, EXTENT_VALUE_MAX);
	nf_write_u8(&w, extent->sealed);
	nf_write_u32(&w, extent->used);
	nf_write_u32(&w, (uint32_t)NF_MAX(extent->live, 0));
	assert(!w.failed);
	return w.offset;
}

int bd_extent_write(struct bd_store *store, struct bd_extent *extent, uint32_t slot, unsigned count, void *data)
{
	struct nf_io_op op = {.kind = NF_IO_WRITE,
			      .cached = extent->is_cached,
			      .file = extent->file,
			      .offset = BD_EXTENT_DATA_OFFSET + (uint64_t)slot * NF_BLOCK_SIZE,
			      .buf = data,
			      .size = (size_t)count * NF_BLOCK_SIZE};
	return nf_io_run(store->io, &op, 1);
}

static void slot_encode(uint8_t *at, const struct bd_block_id *id, struct bd_age age, uint64_t sum)
{
	struct nf_writer w = nf_writer_init(at, BD_EXTENT_SLOT_SIZE);
	nf_write_u32(&w, id->branch);
	nf_write_u32(&w, id->block);
	nf_write_u64(&w, id->file);
	nf_write_u32(&w, id->epoch);
	nf_write_u32(&w, 1 | NF_MIN(age.moves, 0xffffffu) << 8);
	nf_write_u64(&w, age.sequence);
	nf_write_u64(&w, sum);
	nf_write_u32(&w, (uint32_t)XXH3_64bits(at, w.offset));
	nf_write_u32(&w, 0);
	assert(!w.failed && w.offset == BD_EXTENT_SLOT_SIZE);
}

/* Under lock. */
static void fill_table(struct bd_extent *extent, uint32_t slot, unsigned count, const struct bd_block_id *first,
		       const uint64_t *sums, struct bd_age age)
{
	struct bd_block_id id = *first;
	for (unsigned i = 0; i < count; i++, id.block++)
		slot_encode(extent->table + (size_t)(slot + i) * BD_EXTENT_SLOT_SIZE, &id, age, sums[i]);
	extent->dirty_low = NF_MIN(extent->dirty_low, slot);
	extent->dirty_high = NF_MAX(extent->dirty_high, slot + count);
	extent->live += (int32_t)count;
	extent->count_dirty = true;
}

void bd_extent_fill(struct bd_store *store, struct bd_extent *extent, uint32_t slot, unsigned count,
		    const struct bd_block_id *first, const uint64_t *sums, uint64_t *ret_sequence)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	uint64_t sequence = ++extents->sequence;
	fill_table(extent, slot, count, first, sums, (struct bd_age){.sequence = sequence});
	extent->unfilled -= count;
	extent->unsynced = true;
	extent->last_sequence = sequence;
	extents->live += count;
	pthread_mutex_unlock(&extents->lock);
	*ret_sequence = sequence;
}

void bd_extent_fill_moved(struct bd_store *store, struct bd_extent *extent, uint32_t slot, const struct bd_block_id *id,
			  uint64_t sum, struct bd_age age)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	fill_table(extent, slot, 1, id, &sum, age);
	extent->unfilled--;
	extents->live++;
	pthread_mutex_unlock(&extents->lock);
}

void bd_extent_wrote(struct bd_store *store, struct bd_extent *extent)
{
	pthread_mutex_lock(&store->extents->lock);
	store->extents->sequence++; /* so that the sync that follows does not think itself done */
	extent->unsynced = true;
	pthread_mutex_unlock(&store->extents->lock);
}

void bd_extent_abandon(struct bd_store *store, struct bd_extent *extent, unsigned count)
{
	pthread_mutex_lock(&store->extents->lock);
	extent->unfilled -= count;
	pthread_mutex_unlock(&store->extents->lock);
}

uint64_t bd_extents_tick(struct bd_store *store)
{
	pthread_mutex_lock(&store->extents->lock);
	uint64_t sequence = ++store->extents->sequence;
	pthread_mutex_unlock(&store->extents->lock);
	return sequence;
}

uint64_t bd_extents_sequence(struct bd_store *store)
{
	pthread_mutex_lock(&store->extents->lock);
	uint64_t sequence = store->extents->sequence;
	pthread_mutex_unlock(&store->extents->lock);
	return sequence;
}

void bd_extents_raise(struct bd_store *store, uint64_t least)
{
	pthread_mutex_lock(&store->extents->lock);
	store->extents->sequence = NF_MAX(store->extents->sequence, least);
	pthread_mutex_unlock(&store->extents->lock);
}

uint32_t bd_extent_id(const struct bd_extent *extent)
{
	return extent->id;
}

void bd_extent_put(struct bd_store *store, struct bd_extent *extent)
{
	pthread_mutex_lock(&store->extents->lock);
	bool last = --extent->refs == 0;
	if (last && extent->keep_file)
		spare_add(store->extents, extent);
	pthread_mutex_unlock(&store->extents->lock);
	if (last)
		extent_destroy(extent);
}

int bd_extent_get(struct bd_store *store, uint32_t id, struct bd_extent **ret_extent)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	struct bd_extent *extent = id < extents->slots ? extents->by_id[id] : NULL;
	if (extent != NULL)
		extent->refs++;
	pthread_mutex_unlock(&extents->lock);
	if (extent == NULL)
		return -ESTALE;
	*ret_extent = extent;
	return 0;
}

bool bd_extent_exists(struct bd_store *store, uint32_t id)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	bool exists = id < extents->slots && extents->by_id[id] != NULL;
	pthread_mutex_unlock(&extents->lock);
	return exists;
}

bool bd_extent_may_cache(struct bd_store *store, const struct bd_extent *extent)
{
	pthread_mutex_lock(&store->extents->lock);
	bool may = extent->is_cached || (extent->sealed && extent->unfilled == 0);
	pthread_mutex_unlock(&store->extents->lock);
	return may;
}

struct nf_io_op bd_extent_read_op(struct bd_extent *extent, uint32_t slot, unsigned count, void *buf)
{
	return (struct nf_io_op){.kind = NF_IO_READ,
				 .file = extent->file,
				 .offset = BD_EXTENT_DATA_OFFSET + (uint64_t)slot * NF_BLOCK_SIZE,
				 .buf = buf,
				 .size = (size_t)count * NF_BLOCK_SIZE};
}

/* Under lock: the extents with unsynced data, each held; clears their marks. */
static struct bd_extent **take_unsynced(struct bd_extents *extents, size_t *ret_count)
{
	size_t count = 0, at = 0;
	for (uint32_t i = 0; i < extents->slots; i++)
		count += extents->by_id[i] != NULL && extents->by_id[i]->unsynced;
	struct bd_extent **taken = malloc((count + 1) * sizeof(struct bd_extent *));
	for (uint32_t i = 0; taken != NULL && i < extents->slots; i++) {
		struct bd_extent *extent = extents->by_id[i];
		if (extent != NULL && extent->unsynced) {
			extent->unsynced = false;
			extent->refs++;
			taken[at++] = extent;
		}
	}
	*ret_count = count;
	return taken;
}

int bd_extents_sync(struct bd_store *store, uint64_t *ret_sequence)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	uint64_t wanted = extents->sequence;
	bool done = extents->synced >= wanted;
	pthread_mutex_unlock(&extents->lock);
	if (done) {
		*ret_sequence = wanted;
		return 0;
	}
	pthread_mutex_lock(&extents->sync_lock);
	int error = atomic_load(&store->error) != 0 ? -EIO : 0;
	pthread_mutex_lock(&extents->lock);
	uint64_t sequence = extents->sequence;
	done = extents->synced >= wanted;
	size_t count = 0;
	struct bd_extent **taken = done || error != 0 ? NULL : take_unsynced(extents, &count);
	pthread_mutex_unlock(&extents->lock);
	if (!done && error == 0) {
		if (taken == NULL)
			error = -ENOMEM;
		for (size_t i = 0; error == 0 && i < count; i += NF_IO_MAX_BATCH) {
			struct nf_io_op ops[NF_IO_MAX_BATCH];
			unsigned n = 0;
			for (; n < NF_IO_MAX_BATCH && i + n < count; n++)
				ops[n] = (struct nf_io_op){.kind = NF_IO_FSYNC, .file = taken[i + n]->file};
			error = nf_io_run(store->io, ops, n);
		}
		/* The marks are gone: a failure must be final. */
		if (error != 0)
			bd_store_fail(store, error, "flushing data to disk");
		for (size_t i = 0; taken != NULL && i < count; i++)
			bd_extent_put(store, taken[i]);
		free(taken);
	}
	if (error == 0 && !done) {
		pthread_mutex_lock(&extents->lock);
		extents->synced = NF_MAX(extents->synced, sequence);
		pthread_mutex_unlock(&extents->lock);
	}
	pthread_mutex_unlock(&extents->sync_lock);
	if (error == 0)
		*ret_sequence = done ? wanted : sequence;
	return error;
}

uint64_t bd_extents_synced(struct bd_store *store)
{
	pthread_mutex_lock(&store->extents->lock);
	uint64_t synced = store->extents->synced;
	pthread_mutex_unlock(&store->extents->lock);
	return synced;
}

void bd_extent_count(struct bd_store *store, uint64_t loc, int delta)
{
	if (!bd_loc_is_extent(loc))
		return;
	struct bd_extents *extents = store->extents;
	uint32_t id = bd_loc_extent_id(loc);
	pthread_mutex_lock(&extents->lock);
	struct bd_extent *extent = id < extents->slots ? extents->by_id[id] : NULL;
	if (extent != NULL) {
		extent->live += delta;
		extent->count_dirty = true;
		extents->live += delta;
	}
	pthread_mutex_unlock(&extents->lock);
}

struct bd_extent_totals bd_extents_totals(struct bd_store *store)
{
	struct bd_extents *extents = store->extents;
	struct bd_extent_totals totals = {0};
	uint64_t used = 0;
	pthread_mutex_lock(&extents->lock);
	for (uint32_t i = 0; i < extents->slots; i++)
		used += extents->by_id[i] != NULL ? extents->by_id[i]->used : 0;
	totals.extents = extents->count;
	totals.bytes = extents->bytes + (uint64_t)extents->count * BD_EXTENT_DATA_OFFSET;
	totals.live_bytes = (uint64_t)NF_MAX(extents->live, 0) * NF_BLOCK_SIZE;
	totals.used_bytes = used * NF_BLOCK_SIZE;
	totals.spare_bytes = extents->spare_bytes;
	pthread_mutex_unlock(&extents->lock);
	return totals;
}

/* ---- loading, tables, removal: what open, checkpoints and the collector need */

int extents_adopt(struct bd_store *store, struct bd_extent *extent)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	int error = extents_insert(extents, extent);
	if (error == 0) {
		extents->bytes += (uint64_t)extent->allocated * NF_BLOCK_SIZE;
		extents->live += extent->live;
	}
	pthread_mutex_unlock(&extents->lock);
	return error;
}

void extent_replay_fill(struct bd_store *store, struct bd_extent *extent, uint32_t slot, const struct bd_block_id *id,
			uint64_t sum)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	fill_table(extent, slot, 1, id, &sum, (struct bd_age){.sequence = ++extents->sequence});
	extents->live++;
	extent->used = NF_MAX(extent->used, slot + 1);
	pthread_mutex_unlock(&extents->lock);
}

int bd_extent_remove(struct bd_store *store, uint32_t id)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	struct bd_extent *extent = id < extents->slots ? extents->by_id[id] : NULL;
	if (extent != NULL) {
		extents->by_id[id] = NULL;
		extents->count--;
		extents->bytes -= (uint64_t)extent->allocated * NF_BLOCK_SIZE;
		extents->live -= extent->live;
	}
	pthread_mutex_unlock(&extents->lock);
	if (extent == NULL)
		return -ENOENT;
	bool kept;
	int error = spare_keep(store, extent, &kept);
	bd_extent_put(store, extent);
	char path[EXTENT_PATH_SIZE];
	extent_path(id, path);
	return kept ? error : nf_io_unlink(store->io, path);
}

/* Under lock. */
static struct bd_extent *find(struct bd_extents *extents, uint32_t id)
{
	return id < extents->slots ? extents->by_id[id] : NULL;
}

uint32_t bd_extents_next_id(struct bd_store *store)
{
	pthread_mutex_lock(&store->extents->lock);
	uint32_t id = store->extents->next_id;
	pthread_mutex_unlock(&store->extents->lock);
	return id;
}

void bd_extents_set_next_id(struct bd_store *store, uint32_t least)
{
	pthread_mutex_lock(&store->extents->lock);
	store->extents->next_id = NF_MAX(store->extents->next_id, least);
	pthread_mutex_unlock(&store->extents->lock);
}

void bd_extent_set_collecting(struct bd_store *store, uint32_t id, bool collecting)
{
	pthread_mutex_lock(&store->extents->lock);
	struct bd_extent *extent = find(store->extents, id);
	if (extent != NULL)
		extent->collecting = collecting;
	pthread_mutex_unlock(&store->extents->lock);
}

void bd_extent_set_damaged(struct bd_store *store, uint32_t id)
{
	pthread_mutex_lock(&store->extents->lock);
	struct bd_extent *extent = find(store->extents, id);
	if (extent != NULL)
		extent->damaged = true;
	pthread_mutex_unlock(&store->extents->lock);
}

bool bd_extent_can_share(struct bd_store *store, uint32_t id)
{
	pthread_mutex_lock(&store->extents->lock);
	struct bd_extent *extent = find(store->extents, id);
	bool can = extent != NULL && !extent->collecting;
	pthread_mutex_unlock(&store->extents->lock);
	return can;
}

void bd_extent_set_live(struct bd_store *store, uint32_t id, uint32_t live)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	struct bd_extent *extent = id < extents->slots ? extents->by_id[id] : NULL;
	if (extent != NULL) {
		extents->live += (int64_t)live - extent->live;
		extent->live = (int32_t)live;
		extent->count_dirty = true;
	}
	pthread_mutex_unlock(&extents->lock);
}
