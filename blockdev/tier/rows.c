/* 'T' records: in memory, and through commits to log and index. rows.h has the format.
 *
 * A row lives from the commit that put it to the one that forgets it. A reader may hold its map longer than that: then the row waits among the `gone` ones for the
 * last release. rows->lock guards everything here but the maps, which never change.
 *
 * Puts and removals of extents exclude each other by checkpoint_lock: no record is made for an extent that has just gone, and whether a record is in a
 * checkpoint is told by its number alone. */
#include "blockdev/tier/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "blockdev/tier/tier.h"
#include "common/nf_log.h"

#define STATE_THERE 1u
#define STATE_DOOMED 2u
#define VALUE_FIXED 29u
#define VALUE_MAX (VALUE_FIXED + BD_GROUPS_MAX * BD_PACK_ENTRY_SIZE + BD_VALUE_CHECK)

struct row {
	uint32_t extent, generation;
	uint32_t number, generation2; /* doomed: the first manifest without it */
	uint64_t object_size;
	bool doomed;
	bool settled;		 /* in the index durably */
	uint64_t put_at;	 /* the last checkpoint that had begun by then */
	unsigned holds;		 /* of the map */
	struct bd_pack_map *map; /* NULL: doomed when it was loaded */
	struct row *next_gone;
};

struct bd_rows {
	pthread_mutex_t lock;
	struct row **by_id;
	uint32_t slots;
	struct row *gone;	 /* out of the table, their maps still held */
	_Atomic uint64_t checkpoint; /* the last that has ended */
};

int bd_rows_new(struct bd_rows **ret_rows)
{
	struct bd_rows *rows = calloc(1, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	pthread_mutex_init(&rows->lock, NULL);
	*ret_rows = rows;
	return 0;
}

static void row_free(struct row *row)
{
	if (row != NULL)
		free(row->map);
	free(row);
}

void bd_rows_free(struct bd_rows *rows)
{
	if (rows == NULL)
		return;
	assert(rows->gone == NULL);
	for (uint32_t i = 0; i < rows->slots; i++)
		row_free(rows->by_id[i]);
	free(rows->by_id);
	pthread_mutex_destroy(&rows->lock);
	free(rows);
}

void bd_rows_key(uint32_t generation, uint32_t extent, char key[BD_TIER_KEY_SIZE])
{
	snprintf(key, BD_TIER_KEY_SIZE, "extent/%08x-%08x", generation, extent);
}

/* ---- values */

static size_t row_value(const struct row *row, uint8_t value[VALUE_MAX])
{
	struct nf_writer w = nf_writer_init(value, VALUE_MAX - BD_VALUE_CHECK);
	bool groups = !row->doomed; /* nobody reads what is doomed */
	nf_write_u32(&w, row->generation);
	nf_write_u8(&w, row->doomed ? STATE_DOOMED : STATE_THERE);
	nf_write_u32(&w, row->number);
	nf_write_u32(&w, row->generation2);
	nf_write_u64(&w, row->object_size);
	nf_write_u32(&w, row->map != NULL ? row->map->used : 0);
	nf_write_u32(&w, groups ? row->map->groups : 0);
	if (groups)
		bd_pack_map_write(row->map, &w);
	assert(!w.failed);
	return w.offset;
}

static int row_parse(uint32_t extent, const void *value, size_t size, struct row **ret_row)
{
	struct nf_reader r = nf_reader_init(value, size);
	struct row row = {.extent = extent};
	row.generation = nf_read_u32(&r);
	uint8_t state = nf_read_u8(&r);
	row.number = nf_read_u32(&r);
	row.generation2 = nf_read_u32(&r);
	row.object_size = nf_read_u64(&r);
	uint32_t used = nf_read_u32(&r), groups = nf_read_u32(&r);
	row.doomed = state == STATE_DOOMED;
	if (r.failed || (state != STATE_THERE && state != STATE_DOOMED) || (row.doomed && groups != 0))
		return -EUCLEAN;
	int error = row.doomed ? 0 : bd_pack_map_parse(&r, extent, used, groups, row.object_size, &row.map);
	if (error != 0)
		return error;
	struct row *made = nf_reader_left(&r) == 0 ? malloc(sizeof(*made)) : NULL;
	if (made == NULL) {
		free(row.map);
		return nf_reader_left(&r) == 0 ? -ENOMEM : -EUCLEAN;
	}
	*made = row;
	*ret_row = made;
	return 0;
}

int bd_rows_check(uint32_t extent, const void *value, size_t size, bool *ret_doomed)
{
	struct row *row;
	int error = row_parse(extent, value, size, &row);
	if (error == 0)
		*ret_doomed = row->doomed;
	if (error == 0)
		row_free(row);
	return error;
}

/* ---- the table */

/* Under lock. */
static struct row *find(struct bd_rows *rows, uint32_t extent)
{
	return extent < rows->slots ? rows->by_id[extent] : NULL;
}

/* Under lock: out of the table. */
static void take_out(struct bd_rows *rows, uint32_t extent)
{
	struct row *row = find(rows, extent);
	if (row == NULL)
		return;
	rows->by_id[extent] = NULL;
	if (row->holds == 0) {
		row_free(row);
		return;
	}
	row->next_gone = rows->gone;
	rows->gone = row;
}

/* Room in the table for `extent`. */
static int reserve(struct bd_rows *rows, uint32_t extent)
{
	int error = 0;
	pthread_mutex_lock(&rows->lock);
	if (extent >= rows->slots) {
		uint32_t slots = NF_MAX(extent + 1, rows->slots * 2 + 64);
		struct row **by_id = realloc(rows->by_id, slots * sizeof(struct row *));
		if (by_id != NULL) {
			memset(by_id + rows->slots, 0, (slots - rows->slots) * sizeof(struct row *));
			rows->by_id = by_id;
			rows->slots = slots;
		} else {
			error = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&rows->lock);
	return error;
}

/* Into the table, in the place of what is there. The row is the table's, also after an error. */
static int insert(struct bd_rows *rows, struct row *row)
{
	int error = reserve(rows, row->extent);
	if (error != 0) {
		row_free(row);
		return error;
	}
	pthread_mutex_lock(&rows->lock);
	take_out(rows, row->extent);
	rows->by_id[row->extent] = row;
	pthread_mutex_unlock(&rows->lock);
	return 0;
}

static int load_row(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct bd_rows *rows = arg;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t extent = nf_read_u32_be(&r);
	size_t plain;
	struct row *row;
	int error = r.failed || nf_reader_left(&r) != 0 ? -EUCLEAN : bd_value_check(key, key_size, value, size, &plain);
	if (error == 0)
		error = row_parse(extent, value, plain, &row);
	if (error == -EUCLEAN)
		nf_error("extent %08x: its record of the object store is damaged", extent);
	if (error != 0)
		return error;
	/* What the index has at open it has durably. */
	row->settled = true;
	return insert(rows, row);
}

int bd_rows_load(struct bd_store *store, struct bd_rows *rows)
{
	return bd_index_each_kind(store->index, 'T', load_row, rows);
}

int bd_rows_replay(struct bd_rows *rows, const void *key, size_t key_size, const void *value, size_t size)
{
	struct nf_reader r = nf_reader_init(key, key_size);
	nf_read_u8(&r);
	uint32_t extent = nf_read_u32_be(&r);
	if (r.failed || nf_reader_left(&r) != 0)
		return -EUCLEAN;
	if (value == NULL) {
		pthread_mutex_lock(&rows->lock);
		take_out(rows, extent);
		pthread_mutex_unlock(&rows->lock);
		return 0;
	}
	size_t plain;
	struct row *row;
	int error = bd_value_check(key, key_size, value, size, &plain);
	if (error == 0)
		error = row_parse(extent, value, plain, &row);
	return error != 0 ? error : insert(rows, row);
}

bool bd_rows_find(struct bd_rows *rows, uint32_t extent, uint32_t *ret_generation, const struct bd_pack_map **ret_map)
{
	pthread_mutex_lock(&rows->lock);
	struct row *row = find(rows, extent);
	bool there = row != NULL && !row->doomed;
	if (there && ret_generation != NULL)
		*ret_generation = row->generation;
	if (there && ret_map != NULL) {
		*ret_map = row->map;
		row->holds++;
	}
	pthread_mutex_unlock(&rows->lock);
	return there;
}

void bd_rows_release(struct bd_rows *rows, const struct bd_pack_map *map)
{
	pthread_mutex_lock(&rows->lock);
	struct row *row = find(rows, map->extent);
	if (row != NULL && row->map == map) {
		row->holds--;
	} else {
		struct row **link = &rows->gone;
		while ((*link)->map != map)
			link = &(*link)->next_gone;
		row = *link;
		if (--row->holds == 0) {
			*link = row->next_gone;
			row_free(row);
		}
	}
	pthread_mutex_unlock(&rows->lock);
}

/* ---- commits */

/* The first record of its kind: older programs must refuse the store from now on. */
static int raise_format(struct bd_store *store)
{
	pthread_rwlock_wrlock(&store->table_lock);
	int error = bd_store_raise_format(store, BD_FORMAT_TIER);
	pthread_rwlock_unlock(&store->table_lock);
	return error;
}

/* It may take the last of the ring: others may wait for what the upload lets go. */
static int apply(struct bd_store *store, struct bd_commit *commit, uint64_t *ret_ticket)
{
	bd_log_make_room(store->log, true);
	int error = bd_commit_apply(store, commit, ret_ticket);
	bd_log_make_room(store->log, false);
	return error;
}

static void commit_row(struct bd_commit *commit, const struct row *row)
{
	struct bd_key key;
	uint8_t value[VALUE_MAX];
	bd_key_u32(&key, 'T', row->extent);
	bd_commit_put(commit, &key, value, row_value(row, value));
}

static struct row *row_make(uint32_t extent, uint32_t generation, const struct bd_pack_map *map)
{
	size_t size = sizeof(*map) + map->groups * sizeof(map->group[0]);
	struct row *row = calloc(1, sizeof(*row));
	struct bd_pack_map *copy = row != NULL ? malloc(size) : NULL;
	if (copy == NULL) {
		free(row);
		return NULL;
	}
	memcpy(copy, map, size);
	*row = (struct row){.extent = extent, .generation = generation, .object_size = map->object_size, .map = copy};
	return row;
}

/* Under checkpoint_lock. */
static int put(struct bd_store *store, struct row *row, uint64_t *ret_ticket)
{
	struct bd_rows *rows = store->tier->rows;
	struct bd_commit commit;
	if (!bd_extent_exists(store, row->extent))
		return -ESTALE;
	int error = store->format_version < BD_FORMAT_TIER ? raise_format(store) : 0;
	/* Nothing may fail once the log has it. */
	if (error == 0)
		error = reserve(rows, row->extent);
	if (error == 0)
		error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	commit_row(&commit, row);
	error = apply(store, &commit, ret_ticket);
	bd_commit_free(&commit);
	if (error == 0) {
		row->put_at = atomic_load(&store->checkpoint_begun);
		pthread_mutex_lock(&rows->lock);
		take_out(rows, row->extent);
		rows->by_id[row->extent] = row;
		pthread_mutex_unlock(&rows->lock);
	}
	return error;
}

int bd_rows_put(struct bd_store *store, uint32_t extent, uint32_t generation, const struct bd_pack_map *map, uint64_t *ret_ticket)
{
	struct row *row = row_make(extent, generation, map);
	if (row == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&store->checkpoint_lock);
	int error = put(store, row, ret_ticket);
	pthread_mutex_unlock(&store->checkpoint_lock);
	if (error != 0)
		row_free(row);
	return error;
}

void bd_rows_doom(struct bd_store *store, uint32_t extent, struct bd_commit *commit)
{
	struct bd_rows *rows = store->tier->rows;
	pthread_mutex_lock(&rows->lock);
	struct row *row = find(rows, extent);
	if (row != NULL && !row->doomed) {
		row->doomed = true;
		row->number = atomic_load(&store->tier->next_manifest);
		row->generation2 = store->tier->generation;
		commit_row(commit, row);
	}
	pthread_mutex_unlock(&rows->lock);
}

int bd_rows_forget(struct bd_store *store, uint32_t extent)
{
	struct bd_rows *rows = store->tier->rows;
	struct bd_commit commit;
	struct bd_key key;
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	bd_key_u32(&key, 'T', extent);
	bd_commit_delete(&commit, &key);
	error = apply(store, &commit, &ticket);
	bd_commit_free(&commit);
	if (error == 0) {
		pthread_mutex_lock(&rows->lock);
		take_out(rows, extent);
		pthread_mutex_unlock(&rows->lock);
	}
	return error;
}

size_t bd_rows_doomed(struct bd_rows *rows, uint32_t from, struct bd_rows_doomed *ret_doomed, size_t max)
{
	size_t count = 0;
	pthread_mutex_lock(&rows->lock);
	for (uint32_t id = from; id < rows->slots && count < max; id++) {
		const struct row *row = rows->by_id[id];
		if (row != NULL && row->doomed)
			ret_doomed[count++] = (struct bd_rows_doomed){.extent = id,
								      .generation = row->generation,
								      .without_generation = row->generation2,
								      .without_number = row->number};
	}
	pthread_mutex_unlock(&rows->lock);
	return count;
}

/* ---- what is durable */

bool bd_rows_is_settled(struct bd_rows *rows, uint32_t extent)
{
	pthread_mutex_lock(&rows->lock);
	struct row *row = find(rows, extent);
	bool settled = row != NULL && !row->doomed && (row->settled || atomic_load(&rows->checkpoint) > row->put_at);
	pthread_mutex_unlock(&rows->lock);
	return settled;
}

void bd_rows_checkpointed(struct bd_rows *rows, uint64_t checkpoint)
{
	atomic_store(&rows->checkpoint, checkpoint);
}
