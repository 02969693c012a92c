/* Where the next slots come from: streams and their current extents, new extents and their disk.
 *
 * An extent is OPEN while a stream fills it, SEALED afterwards. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/extent/extent_impl.h"
#include "blockdev/tier/cold.h"
#include "common/nf_log.h"

void bd_extent_header(uint64_t store_id, uint32_t id, void *page)
{
	memset(page, 0, NF_IO_ALIGN);
	struct nf_writer w = nf_writer_init(page, NF_IO_ALIGN);
	nf_write_u32(&w, EXTENT_MAGIC);
	nf_write_u32(&w, EXTENT_FORMAT);
	nf_write_u32(&w, id);
	nf_write_u32(&w, BD_EXTENT_SLOTS);
	nf_write_u64(&w, store_id);
	nf_write_u64(&w, XXH3_64bits(page, w.offset));
}

/* Write the header, and with `clear_table` an empty slot table too, durably: before the log can name the extent. */
static int write_header(struct bd_store *store, struct bd_extent *extent, bool clear_table)
{
	size_t size = clear_table ? BD_EXTENT_DATA_OFFSET : NF_IO_ALIGN;
	uint8_t *page = nf_io_buffer(size);
	if (page == NULL)
		return -ENOMEM;
	memset(page, 0, size);
	bd_extent_header(store->store_id, extent->id, page);
	struct nf_io_op ops[] = {
		{.kind = NF_IO_WRITE, .then_next = true, .file = extent->file, .buf = page, .size = size},
		{.kind = NF_IO_FSYNC, .file = extent->file},
	};
	int error = nf_io_run(store->io, ops, NF_ARRAY_LEN(ops));
	free(page);
	return error;
}

uint64_t bd_extents_reserve(uint64_t total_bytes)
{
	uint64_t least = NF_MIN(EXTENT_RESERVE_LEAST, total_bytes / 5);
	return NF_MIN(NF_MAX(total_bytes / 16, least), EXTENT_RESERVE_BYTES);
}

/* Slots to reserve at a time: half of what lives, so that a small store stays small. Each step stops the writes to the
 * extent (ext4's fallocate waits for all direct I/O on the file): a large store takes a whole extent at once. Nobody waits for moves, and the
 * collector works where disk is short: it takes what it needs. */
static uint32_t grow_step(struct bd_store *store, enum bd_stream stream)
{
	struct bd_extents *extents = store->extents;
	if (stream == BD_STREAM_MOVED)
		return EXTENT_GROW_SLOTS;
	uint64_t most = BD_EXTENT_SLOTS;
	if (store->tier != NULL && store->tier->config.local_limit_bytes != 0)
		most = NF_MIN(most, NF_MAX(store->tier->config.local_limit_bytes / EXTENT_LIMIT_SHARE / NF_BLOCK_SIZE, EXTENT_GROW_SLOTS));
	pthread_mutex_lock(&extents->lock);
	uint64_t slots = (uint64_t)NF_MAX(extents->live, 0) / EXTENT_GROW_SHARE;
	pthread_mutex_unlock(&extents->lock);
	return (uint32_t)NF_MIN(NF_MAX(nf_round_up(slots, EXTENT_GROW_SLOTS), EXTENT_GROW_SLOTS), most);
}

/* -ENOSPC when `grow` bytes more are not to be had. The front leaves a reserve that the index and the collector need to work. A local limit (of a tier)
 * is the front's: moves make room, and have to find some. */
static int check_room(struct bd_store *store, enum bd_stream stream, uint64_t grow)
{
	uint64_t free_bytes, total_bytes;
	int error = stream != BD_STREAM_MOVED ? nf_io_free_bytes(store->io, &free_bytes, &total_bytes)
					      : bd_cold_disk_bytes(store, &free_bytes, &total_bytes);
	if (error != 0)
		return error;
	if (free_bytes < grow + (stream != BD_STREAM_MOVED ? bd_extents_reserve(total_bytes) : 0))
		return -ENOSPC;
	struct bd_extents *extents = store->extents;
	uint64_t limit = store->size_limit_bytes;
	if (limit != 0 && stream != BD_STREAM_MOVED) {
		pthread_mutex_lock(&extents->lock);
		uint64_t used = extents->bytes + extents->spare_bytes;
		pthread_mutex_unlock(&extents->lock);
		if (used + bd_log_ring_bytes(store->log) + grow > limit)
			return -ENOSPC;
	}
	return 0;
}

static int try_grow(struct bd_store *store, enum bd_stream stream, struct bd_extent *extent, uint32_t target, uint64_t grow)
{
	int error = check_room(store, stream, grow);
	return error != 0 ? error
			  : nf_io_allocate(extent->file, 0, BD_EXTENT_DATA_OFFSET + (uint64_t)target * NF_BLOCK_SIZE);
}

static int grow_to(struct bd_store *store, enum bd_stream stream, struct bd_extent *extent, uint32_t target)
{
	uint64_t grow = (uint64_t)(target - extent->allocated) * NF_BLOCK_SIZE;
	int error = try_grow(store, stream, extent, target, grow);
	/* Once more after the last spare: somebody else may have deleted it meanwhile. */
	for (bool dropped = true; error == -ENOSPC && dropped;) {
		dropped = spare_drop(store);
		error = try_grow(store, stream, extent, target, grow);
	}
	if (error != 0)
		return error;
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	extent->allocated = target;
	extents->bytes += grow;
	pthread_mutex_unlock(&extents->lock);
	return 0;
}

/* Reserve disk for slots up to `slots`, and for some more where there is room. */
static int extent_grow(struct bd_store *store, enum bd_stream stream, struct bd_extent *extent, uint32_t slots)
{
	if (slots <= extent->allocated)
		return 0;
	uint32_t unit = stream == BD_STREAM_MOVED ? EXTENT_MOVED_SLOTS : EXTENT_GROW_SLOTS;
	uint32_t least = (uint32_t)NF_MIN(nf_round_up(slots, unit), BD_EXTENT_SLOTS);
	uint32_t target = NF_MIN(NF_MAX(least, extent->allocated + grow_step(store, stream)), BD_EXTENT_SLOTS);
	int error = grow_to(store, stream, extent, target);
	if (error == -ENOSPC && target > least)
		error = grow_to(store, stream, extent, least);
	return error;
}

/* Give back what is reserved behind the slots that are used: nobody may allocate from the extent any more, or any slots meanwhile. */
static int extent_trim(struct bd_store *store, struct bd_extent *extent)
{
	struct bd_extents *extents = store->extents;
	if (extent->allocated == extent->used)
		return 0;
	int error = nf_io_truncate(extent->file, BD_EXTENT_DATA_OFFSET + (uint64_t)extent->used * NF_BLOCK_SIZE);
	if (error != 0)
		return error;
	pthread_mutex_lock(&extents->lock);
	extents->bytes -= (uint64_t)(extent->allocated - extent->used) * NF_BLOCK_SIZE;
	extent->allocated = extent->used;
	pthread_mutex_unlock(&extents->lock);
	return 0;
}

/* The extent's file, with header and empty table, durable but for its name. When it fails it leaves no file behind, if it can. */
static int create_file(struct bd_store *store, enum bd_stream stream, struct bd_extent *extent, const char *path)
{
	char spare[EXTENT_PATH_SIZE];
	if (check_room(store, stream, 0) == 0 && spare_take(store->extents, extent, spare)) {
		int error = write_header(store, extent, true);
		if (error == 0)
			error = nf_io_rename(store->io, spare, path);
		if (error != 0 && nf_io_unlink(store->io, spare) != 0)
			nf_warn("%s: could not be removed; the next mount does it", spare);
		return error;
	}
	int error = nf_io_open(store->io, path, NF_OPEN_CREATE, &extent->file);
	if (error != 0)
		return error;
	error = extent_grow(store, stream, extent, 1);
	if (error == 0)
		error = write_header(store, extent, false);
	if (error != 0 && nf_io_unlink(store->io, path) != 0)
		nf_warn("%s: could not be removed; the next mount does it", path);
	return error;
}

/* A new extent of the stream, known to the log before any block in it can be. */
static int extent_create(struct bd_store *store, enum bd_stream stream, struct bd_extent **ret_extent)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	uint32_t id = extents->next_id++;
	pthread_mutex_unlock(&extents->lock);
	if (id >= EXTENT_ID_MAX)
		return -ENOSPC;
	struct bd_extent *extent = extent_make(id);
	if (extent == NULL)
		return -ENOMEM;
	extent->is_cached = stream == BD_STREAM_CACHED;
	char path[EXTENT_PATH_SIZE];
	extent_path(id, path);
	extent->table = nf_io_buffer(EXTENT_TABLE_BYTES);
	int error = extent->table != NULL ? 0 : -ENOMEM;
	if (error == 0) {
		memset(extent->table, 0, EXTENT_TABLE_BYTES);
		error = create_file(store, stream, extent, path);
	}
	bool made = error == 0;
	if (error == 0)
		error = nf_io_sync_dir(store->io, "extents");
	struct bd_commit commit = {0};
	if (error == 0)
		error = bd_commit_init(&commit);
	if (error == 0) {
		struct bd_key key;
		uint8_t value[EXTENT_VALUE_MAX];
		uint64_t ticket;
		bd_key_u32(&key, 'E', id);
		bd_commit_put(&commit, &key, value, extent_value(extent, value));
		/* From here on the log may name the file, even when the commit fails: it stays, and the next mount judges. */
		made = false;
		error = bd_commit_apply(store, &commit, &ticket);
		bd_commit_free(&commit);
	}
	if (error == 0) {
		pthread_mutex_lock(&extents->lock);
		error = extents_insert(extents, extent);
		pthread_mutex_unlock(&extents->lock);
	}
	if (error != 0) {
		if (made && nf_io_unlink(store->io, path) != 0)
			nf_warn("%s: could not be removed; the next mount does it", path);
		pthread_mutex_lock(&extents->lock);
		extents->bytes -= (uint64_t)extent->allocated * NF_BLOCK_SIZE;
		pthread_mutex_unlock(&extents->lock);
		extent_destroy(extent);
		return error;
	}
	*ret_extent = extent;
	return 0;
}

static void extent_seal(struct bd_extents *extents, struct bd_extent *extent)
{
	pthread_mutex_lock(&extents->lock);
	extent->sealed = true;
	extent->count_dirty = true;
	pthread_mutex_unlock(&extents->lock);
}

/* Under the stream's lock: `current` is an extent with room. */
static int stream_fill_current(struct bd_store *store, enum bd_stream stream, struct extent_stream *s)
{
	for (;;) {
		if (s->current != NULL && s->current->used == BD_EXTENT_SLOTS) {
			extent_seal(store->extents, s->current);
			s->current = NULL;
		}
		if (s->current != NULL || !s->preparing)
			break;
		pthread_cond_wait(&s->prepared, &s->lock);
	}
	if (s->current == NULL) {
		s->current = s->next;
		s->next = NULL;
	}
	return s->current != NULL ? 0 : extent_create(store, stream, &s->current);
}

/* Make the stream's next extent before it is needed. Making one takes two flushes, which are slow while data is written: all
 * writers would wait. What fails here is tried again, and told, when the extent is needed. */
static void stream_prepare(struct bd_store *store, enum bd_stream stream)
{
	struct extent_stream *s = &store->extents->streams[stream];
	struct bd_extent *next = NULL;
	int error = extent_create(store, stream, &next);
	if (error != 0)
		nf_debug("the next extent could not be made ahead: %s", strerror(-error));
	pthread_mutex_lock(&s->lock);
	s->preparing = false;
	s->next = next;
	pthread_cond_broadcast(&s->prepared);
	pthread_mutex_unlock(&s->lock);
}

/* Under the stream's lock, with `current` set: disk for up to `want` slots of it. Where there is no more, what is reserved is used up first, also that of
 * the extent made ahead. */
static int stream_reserve(struct bd_store *store, enum bd_stream stream, struct extent_stream *s, unsigned want, unsigned *ret_count)
{
	for (;;) {
		struct bd_extent *extent = s->current;
		unsigned count = NF_MIN(want, BD_EXTENT_SLOTS - extent->used);
		int error = extent_grow(store, stream, extent, extent->used + count);
		if (error == -ENOSPC && extent->allocated > extent->used) {
			count = NF_MIN(count, extent->allocated - extent->used);
			error = 0;
		}
		*ret_count = count;
		if (error != -ENOSPC || s->next == NULL)
			return error;
		extent_seal(store->extents, extent);
		s->current = s->next;
		s->next = NULL;
	}
}

int bd_extent_alloc(struct bd_store *store, enum bd_stream stream, unsigned want, struct bd_extent **ret_extent,
		    uint32_t *ret_slot, unsigned *ret_count)
{
	struct bd_extents *extents = store->extents;
	struct extent_stream *s = &extents->streams[stream];
	pthread_mutex_lock(&s->lock);
	int error = stream_fill_current(store, stream, s);
	unsigned count = 0;
	bool prepare = false;
	if (error == 0)
		error = stream_reserve(store, stream, s, want, &count);
	struct bd_extent *extent = s->current;
	if (error == 0) {
		pthread_mutex_lock(&extents->lock);
		*ret_slot = extent->used;
		extent->used += count;
		extent->unfilled += count;
		extent->refs++;
		pthread_mutex_unlock(&extents->lock);
		*ret_extent = extent;
		*ret_count = count;
		/* Nobody waits for moves. And not in a small store: that extent would be a large part of it. */
		prepare = stream != BD_STREAM_MOVED && extent->used >= EXTENT_PREPARE_SLOTS && s->tried != extent->id + 1 &&
			  s->next == NULL && !s->preparing && grow_step(store, stream) >= EXTENT_PREPARE_STEP;
		if (prepare) {
			s->preparing = true;
			s->tried = extent->id + 1;
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (prepare)
		stream_prepare(store, stream);
	return error;
}

int bd_extents_seal(struct bd_store *store, enum bd_stream stream)
{
	struct extent_stream *s = &store->extents->streams[stream];
	int error = 0;
	pthread_mutex_lock(&s->lock);
	if (s->current != NULL) {
		error = extent_trim(store, s->current);
		extent_seal(store->extents, s->current);
		s->current = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	return error;
}

int bd_extents_seal_new(struct bd_store *store)
{
	int error = bd_extents_seal(store, BD_STREAM_FRONT);
	return error != 0 ? error : bd_extents_seal(store, BD_STREAM_CACHED);
}

int bd_extents_trim_open(struct bd_store *store)
{
	int error = 0;
	for (unsigned i = 0; i < BD_STREAMS && error == 0; i++) {
		struct extent_stream *s = &store->extents->streams[i];
		pthread_mutex_lock(&s->lock);
		if (s->current != NULL)
			error = extent_trim(store, s->current);
		if (error == 0 && s->next != NULL)
			error = extent_trim(store, s->next);
		pthread_mutex_unlock(&s->lock);
	}
	return error;
}
