/* Slot tables and extent records: loading at open, writing at checkpoints, reading for the collector. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/extent/extent_impl.h"
#include "blockdev/tier/cold.h"
#include "blockdev/tier/rows.h"
#include "common/nf_log.h"

/* Names of one kind that a directory scan has found. */
struct name_scan {
	const char *prefix;
	uint32_t *ids;
	size_t count;
};

static int collect_name(void *arg, const char *name)
{
	struct name_scan *scan = arg;
	size_t prefix = strlen(scan->prefix);
	char *end;
	if (strncmp(name, scan->prefix, prefix) != 0 || strlen(name + prefix) != 8)
		return 0;
	unsigned long id = strtoul(name + prefix, &end, 16);
	if (*end != '\0')
		return 0;
	uint32_t *ids = realloc(scan->ids, (scan->count + 1) * sizeof(*ids));
	if (ids == NULL)
		return -ENOMEM;
	scan->ids = ids;
	scan->ids[scan->count++] = (uint32_t)id;
	return 0;
}

int extents_names(struct bd_store *store, const char *prefix, uint32_t **ret_ids, size_t *ret_count)
{
	struct name_scan scan = {.prefix = prefix};
	int error = nf_io_list(store->io, "extents", collect_name, &scan);
	*ret_ids = scan.ids;
	*ret_count = scan.count;
	return error;
}

/* -EUCLEAN: the file is not that extent's. */
static int check_header(struct bd_store *store, uint32_t id, struct nf_file *file)
{
	uint8_t *page = nf_io_buffer(NF_IO_ALIGN);
	int error = page != NULL ? nf_io_run_one(store->io, NF_IO_READ, file, 0, page, NF_IO_ALIGN) : -ENOMEM;
	if (error == -ENODATA)
		error = -EUCLEAN;
	if (error == 0) {
		struct nf_reader r = nf_reader_init(page, NF_IO_ALIGN);
		uint32_t magic = nf_read_u32(&r), version = nf_read_u32(&r), at = nf_read_u32(&r),
			 slots = nf_read_u32(&r);
		uint64_t store_id = nf_read_u64(&r), sum = XXH3_64bits(page, r.offset);
		if (magic != EXTENT_MAGIC || version != EXTENT_FORMAT || at != id || slots != BD_EXTENT_SLOTS ||
		    store_id != store->store_id || nf_read_u64(&r) != sum)
			error = -EUCLEAN;
	}
	free(page);
	return error;
}

/* Open the file of extent `id` and check its header; of one that is in the object store alone, whoever fetches it checks what comes. */
static int open_file(struct bd_store *store, uint32_t id, struct nf_file **ret_file, uint64_t *ret_size)
{
	char path[EXTENT_PATH_SIZE];
	extent_path(id, path);
	struct nf_file *file;
	int error = nf_io_open(store->io, path, store->read_only ? NF_OPEN_READONLY : 0, &file);
	if (error != 0) {
		if (error != -ENOENT)
			nf_error("extent %08x: cannot be opened: %s", id, strerror(-error));
		return error;
	}
	if (!bd_cold_is_away(store, file))
		error = check_header(store, id, file);
	if (error == 0)
		error = nf_io_size(file, ret_size);
	if (error != 0) {
		if (error == -EUCLEAN)
			nf_error("extent %08x: header is damaged", id);
		nf_io_close(file);
		return error;
	}
	*ret_file = file;
	return 0;
}

static int load_one(struct bd_store *store, uint32_t id, const uint8_t *value, size_t size)
{
	struct nf_reader r = nf_reader_init(value, size);
	bool sealed = nf_read_u8(&r) != 0;
	uint32_t used = nf_read_u32(&r), live = nf_read_u32(&r);
	if (r.failed || used > BD_EXTENT_SLOTS || live > INT32_MAX)
		return -EUCLEAN;
	struct bd_extent *extent = extent_make(id);
	if (extent == NULL)
		return -ENOMEM;
	uint64_t bytes = 0;
	int error = open_file(store, id, &extent->file, &bytes);
	if (error == 0) {
		uint64_t slots = bytes > BD_EXTENT_DATA_OFFSET ? (bytes - BD_EXTENT_DATA_OFFSET) / NF_BLOCK_SIZE : 0;
		extent->allocated = (uint32_t)NF_MIN(slots, BD_EXTENT_SLOTS);
		extent->used = used;
		extent->live = (int32_t)live;
		extent->sealed = true;
		extent->count_dirty = extent->was_open = !sealed;
		error = extents_adopt(store, extent);
	}
	if (error != 0)
		extent_destroy(extent);
	/* It may have been removed, with the log saying so further on: bd_extents_settle looks again. */
	return error == -ENOENT ? 0 : error;
}

int bd_extent_replay_record(struct bd_store *store, const void *key, size_t key_size, const void *value, size_t size)
{
	struct nf_reader r = nf_reader_init(key, key_size);
	nf_read_u8(&r);
	uint32_t id = nf_read_u32_be(&r);
	if (r.failed)
		return -EUCLEAN;
	/* Also of one that has gone again, and whose file is not there: what refers to it by its id may still be there. */
	bd_extents_set_next_id(store, id + 1);
	if (value == NULL)
		return bd_extent_exists(store, id) ? bd_extent_remove(store, id) : 0;
	size_t plain;
	int error = bd_value_check(key, key_size, value, size, &plain);
	return error != 0 || bd_extent_exists(store, id) ? error : load_one(store, id, value, plain);
}

static int remove_strays(struct bd_store *store)
{
	uint32_t *ids;
	size_t count;
	int error = extents_names(store, "", &ids, &count);
	for (size_t i = 0; i < count && error == 0; i++) {
		char path[EXTENT_PATH_SIZE];
		if (bd_extent_exists(store, ids[i]))
			continue;
		extent_path(ids[i], path);
		nf_info("extent %08x: nothing refers to it; removed", ids[i]);
		error = nf_io_unlink(store->io, path);
		/* Its id may stand in old log records: not to be used again. */
		store->extents->next_id = NF_MAX(store->extents->next_id, ids[i] + 1);
	}
	free(ids);
	return error;
}

int bd_extents_load(struct bd_store *store)
{
	return bd_each_u32(store, 'E', load_one);
}

static int check_present(struct bd_store *store, uint32_t id, const uint8_t *value, size_t size)
{
	(void)value, (void)size;
	if (bd_extent_exists(store, id))
		return 0;
	nf_error("extent %08x: its file is missing; put extents/%08x back, or run neonfs scrub --rebuild to keep the rest",
		 id, id);
	return -EUCLEAN;
}

/* Is it in the object store? Then nothing of it changes any more, table included. */
static bool is_packed(struct bd_store *store, uint32_t id)
{
	return store->tier != NULL && store->tier->rows != NULL && bd_rows_find(store->tier->rows, id, NULL, NULL);
}

void bd_extent_replay_packed(struct bd_store *store, const void *key, size_t key_size)
{
	struct nf_reader r = nf_reader_init(key, key_size);
	nf_read_u8(&r);
	uint32_t id = nf_read_u32_be(&r);
	struct bd_extents *extents = store->extents;
	uint8_t *gone = NULL;
	pthread_mutex_lock(&extents->lock);
	struct bd_extent *extent = !r.failed && id < extents->slots ? extents->by_id[id] : NULL;
	if (extent != NULL) {
		gone = extent->table;
		extent->table = NULL;
		extent->dirty_low = BD_EXTENT_SLOTS;
		extent->dirty_high = 0;
	}
	pthread_mutex_unlock(&extents->lock);
	free(gone);
}

static int clear_torn(struct bd_store *store, struct bd_extent *extent);

int bd_extents_settle(struct bd_store *store)
{
	struct bd_extents *extents = store->extents;
	extents->sequence = NF_MAX(extents->sequence, bd_log_generation(store->log) << 40);
	int error = bd_each_u32(store, 'E', check_present);
	for (uint32_t id = 0; id < extents->slots && error == 0; id++) {
		if (extents->by_id[id] != NULL && extents->by_id[id]->was_open && !is_packed(store, id))
			error = clear_torn(store, extents->by_id[id]);
	}
	if (error != 0 || store->read_only)
		return error;
	error = remove_strays(store);
	extents->settled = error == 0;
	return error;
}

/* The table's pages as they are on disk. Pages beyond the end of a young file are zeros. */
static int read_table(struct bd_store *store, struct bd_extent *extent, uint8_t *table)
{
	int error = nf_io_run_one(store->io, NF_IO_READ, extent->file, NF_IO_ALIGN, table, EXTENT_TABLE_BYTES);
	if (error == -ENODATA) {
		memset(table, 0, EXTENT_TABLE_BYTES);
		return 0;
	}
	return error;
}

enum slot_state { SLOT_FREE, SLOT_USED, SLOT_BAD };

static enum slot_state slot_decode(const uint8_t *at, struct bd_slot *ret_slot)
{
	struct nf_reader r = nf_reader_init(at, BD_EXTENT_SLOT_SIZE);
	struct bd_slot slot;
	slot.id.branch = nf_read_u32(&r);
	slot.id.block = nf_read_u32(&r);
	slot.id.file = nf_read_u64(&r);
	slot.id.epoch = nf_read_u32(&r);
	uint32_t flags = nf_read_u32(&r);
	slot.age.sequence = nf_read_u64(&r);
	slot.sum = nf_read_u64(&r);
	slot.age.moves = flags >> 8;
	uint32_t check = (uint32_t)XXH3_64bits(at, r.offset);
	if (flags == 0)
		return SLOT_FREE;
	if (check != nf_read_u32(&r))
		return SLOT_BAD;
	*ret_slot = slot;
	return SLOT_USED;
}

/* Does the slot belong to another version? */
static bool has_other_owner(const uint8_t *table, uint32_t slot, const struct bd_block_id *id)
{
	struct bd_slot owner;
	return slot_decode(table + (size_t)slot * BD_EXTENT_SLOT_SIZE, &owner) == SLOT_USED &&
	       (owner.id.branch != id->branch || owner.id.file != id->file || owner.id.block != id->block ||
		owner.id.epoch != id->epoch);
}

/* An extent that was open at a crash: entries that the crash tore and the log did not write again belong to blocks that were
 * never recorded. They are cleared, so that a bad entry elsewhere means damage. */
static int clear_torn(struct bd_store *store, struct bd_extent *extent)
{
	int error = 0;
	if (extent->table == NULL) {
		extent->table = nf_io_buffer(EXTENT_TABLE_BYTES);
		error = extent->table != NULL ? read_table(store, extent, extent->table) : -ENOMEM;
	}
	for (uint32_t i = 0; i < BD_EXTENT_SLOTS && error == 0; i++) {
		struct bd_slot slot;
		uint8_t *at = extent->table + (size_t)i * BD_EXTENT_SLOT_SIZE;
		enum slot_state state = slot_decode(at, &slot);
		if (state == SLOT_USED)
			extent->used = NF_MAX(extent->used, i + 1);
		if (state != SLOT_BAD)
			continue;
		memset(at, 0, BD_EXTENT_SLOT_SIZE);
		extent->dirty_low = NF_MIN(extent->dirty_low, i);
		extent->dirty_high = NF_MAX(extent->dirty_high, i + 1);
	}
	return error;
}

int bd_extent_replay_run(struct bd_store *store, const struct bd_run *run)
{
	struct bd_extent *extent;
	uint32_t id = bd_loc_extent_id(run->loc), slot = bd_loc_slot(run->loc);
	if (slot + run->count > BD_EXTENT_SLOTS)
		return -EUCLEAN;
	if (is_packed(store, id)) {
		/* Its table names all its slots: the run is a clone's. */
		for (unsigned i = 0; i < run->count; i++)
			bd_extent_count(store, bd_loc_extent(id, slot + i), 1);
		return 0;
	}
	int error = bd_extent_get(store, id, &extent);
	if (error == -ESTALE)
		return 0; /* collected later in this log */
	if (error != 0)
		return error;
	if (extent->table == NULL) {
		extent->table = nf_io_buffer(EXTENT_TABLE_BYTES);
		error = extent->table != NULL ? read_table(store, extent, extent->table) : -ENOMEM;
	}
	if (error == 0) {
		struct nf_reader sums = run->sums;
		struct bd_block_id block = run->first;
		for (unsigned i = 0; i < run->count; i++, block.block++) {
			uint64_t sum = nf_read_u64(&sums);
			/* A slot keeps its owner: this run is a clone's then. Otherwise it gets a new sequence even when the
			 * table has it already, so that sequences follow the log's order. */
			if (has_other_owner(extent->table, slot + i, &block))
				bd_extent_count(store, bd_loc_extent(id, slot + i), 1);
			else
				extent_replay_fill(store, extent, slot + i, &block, sum);
		}
	}
	bd_extent_put(store, extent);
	return error;
}

static uint64_t entry_sequence(const uint8_t *entry)
{
	struct nf_reader r = nf_reader_init(entry + EXTENT_SLOT_SEQUENCE, sizeof(uint64_t));
	return nf_read_u64(&r);
}

/* Under lock: blank the entries of a table's copy that are too new; they stay dirty. */
static void leave_out(struct bd_extent *extent, uint8_t *copy, uint32_t low, uint32_t high, uint64_t until)
{
	for (uint32_t i = low; i < high; i++) {
		uint8_t *entry = copy + (size_t)i * BD_EXTENT_SLOT_SIZE;
		if (entry_sequence(entry) <= until)
			continue;
		memset(entry, 0, BD_EXTENT_SLOT_SIZE);
		extent->dirty_low = NF_MIN(extent->dirty_low, i);
		extent->dirty_high = NF_MAX(extent->dirty_high, i + 1);
	}
}

/* Under no lock: write the changed part of one table. A sealed extent's table leaves memory afterwards. */
static int write_table(struct bd_store *store, struct bd_extent *extent, uint64_t until)
{
	struct bd_extents *extents = store->extents;
	uint8_t *copy = nf_io_buffer(EXTENT_TABLE_BYTES);
	if (copy == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&extents->lock);
	size_t low = (size_t)extent->dirty_low * BD_EXTENT_SLOT_SIZE / NF_IO_ALIGN * NF_IO_ALIGN;
	size_t high = nf_round_up((size_t)extent->dirty_high * BD_EXTENT_SLOT_SIZE, NF_IO_ALIGN);
	bool any = extent->table != NULL && extent->dirty_low < extent->dirty_high;
	uint32_t dirty_low = extent->dirty_low, dirty_high = extent->dirty_high;
	extent->dirty_low = BD_EXTENT_SLOTS;
	extent->dirty_high = 0;
	if (any) {
		memcpy(copy + low, extent->table + low, high - low);
		leave_out(extent, copy, dirty_low, dirty_high, until);
	}
	pthread_mutex_unlock(&extents->lock);
	int error = 0;
	if (any)
		error = nf_io_run_one(store->io, NF_IO_WRITE, extent->file, NF_IO_ALIGN + low, copy + low, high - low);
	free(copy);
	uint8_t *gone = NULL;
	pthread_mutex_lock(&extents->lock);
	/* After the write: somebody else's sync could take an earlier mark, and be done before the bytes are there. */
	if (any) {
		extent->unsynced = true;
		extents->sequence++; /* so that the sync that follows does not think itself done */
	}
	if (error == 0 && extent->sealed && extent->unfilled == 0 && extent->dirty_high == 0) {
		gone = extent->table;
		extent->table = NULL;
		extent->table_done = atomic_load(&store->checkpoint_begun);
	}
	pthread_mutex_unlock(&extents->lock);
	free(gone);
	return error;
}

int bd_extents_write_tables(struct bd_store *store, uint64_t until, struct bd_index_batch *batch)
{
	struct bd_extents *extents = store->extents;
	int error = 0;
	for (uint32_t id = 0; error == 0; id++) {
		pthread_mutex_lock(&extents->lock);
		bool end = id >= extents->slots;
		struct bd_extent *extent = end ? NULL : extents->by_id[id];
		bool table = false;
		if (extent != NULL) {
			table = extent->table != NULL;
			if (extent->count_dirty) {
				struct bd_key key;
				uint8_t value[EXTENT_VALUE_MAX];
				bd_key_u32(&key, 'E', id);
				size_t size = extent_value(extent, value);
				size = bd_value_seal(key.bytes, key.size, value, size);
				bd_index_batch_put(batch, key.bytes, key.size, value, size);
				extent->count_dirty = false;
			}
			extent->refs += table;
		}
		pthread_mutex_unlock(&extents->lock);
		if (end)
			break;
		if (table) {
			error = write_table(store, extent, until);
			bd_extent_put(store, extent);
		}
	}
	return error;
}

bool bd_extent_is_settled(struct bd_store *store, uint32_t id)
{
	struct bd_extents *extents = store->extents;
	uint64_t done = atomic_load(&store->checkpoint_done);
	pthread_mutex_lock(&extents->lock);
	const struct bd_extent *extent = id < extents->slots ? extents->by_id[id] : NULL;
	bool settled = extent != NULL && extent->sealed && extent->unfilled == 0 && extent->table == NULL && !extent->unsynced &&
		       done > extent->table_done;
	pthread_mutex_unlock(&extents->lock);
	return settled;
}

bool bd_extent_table_is_final(struct bd_store *store, struct bd_extent *extent)
{
	pthread_mutex_lock(&store->extents->lock);
	bool final = extent->sealed && extent->unfilled == 0 && extent->table == NULL;
	pthread_mutex_unlock(&store->extents->lock);
	return final;
}

int bd_extent_read_file(struct bd_store *store, struct bd_extent *extent, uint64_t offset, void *buf, size_t size)
{
	return nf_io_run_one(store->io, NF_IO_READ, extent->file, offset, buf, size);
}

int bd_extents_list(struct bd_store *store, struct bd_extent_stat **ret_stats, size_t *ret_count)
{
	struct bd_extents *extents = store->extents;
	size_t count = 0;
	pthread_mutex_lock(&extents->lock);
	struct bd_extent_stat *stats = malloc((extents->count + 1) * sizeof(*stats));
	for (uint32_t i = 0; stats != NULL && i < extents->slots; i++) {
		const struct bd_extent *extent = extents->by_id[i];
		if (extent == NULL)
			continue;
		stats[count++] = (struct bd_extent_stat){
			.id = i,
			.used = extent->used,
			.allocated = extent->allocated,
			.live = (uint32_t)NF_MAX(extent->live, 0),
			.sealed = extent->sealed,
			.filling = extent->unfilled > 0,
			.damaged = extent->damaged,
			.away = bd_cold_is_away(store, extent->file),
		};
	}
	pthread_mutex_unlock(&extents->lock);
	if (stats == NULL)
		return -ENOMEM;
	*ret_stats = stats;
	*ret_count = count;
	return 0;
}

int bd_extent_slots(struct bd_store *store, struct bd_extent *extent, struct bd_slot **ret_slots, uint32_t *ret_bad)
{
	uint8_t *table = nf_io_buffer(EXTENT_TABLE_BYTES);
	struct bd_slot *slots = calloc(BD_EXTENT_SLOTS, sizeof(*slots));
	int error = table != NULL && slots != NULL ? 0 : -ENOMEM;
	if (error == 0) {
		pthread_mutex_lock(&store->extents->lock);
		bool memory = extent->table != NULL;
		if (memory)
			memcpy(table, extent->table, EXTENT_TABLE_BYTES);
		pthread_mutex_unlock(&store->extents->lock);
		if (!memory)
			error = read_table(store, extent, table);
	}
	uint32_t bad = 0;
	for (uint32_t i = 0; error == 0 && i < BD_EXTENT_SLOTS; i++) {
		enum slot_state state = slot_decode(table + (size_t)i * BD_EXTENT_SLOT_SIZE, &slots[i]);
		bad += state == SLOT_BAD;
	}
	free(table);
	if (error != 0) {
		free(slots);
		return error;
	}
	*ret_slots = slots;
	*ret_bad = bad;
	return 0;
}
