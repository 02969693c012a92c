/* An object store made by hand. See objects.h. It looks into blockdev, as an uploader does. */
#include "objects.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "api.h"
#include "blockdev/bd_impl.h"
#include "blockdev/extent/extent.h"
#include "blockdev/log/log_impl.h"
#include "blockdev/tier/mark.h"
#include "blockdev/tier/pack.h"
#include "blockdev/tier/piece.h"
#include "blockdev/tier/rows.h"

#define GENERATION 3u
#define NUMBER 17u
#define RUNS_MAX 100000u
#define PIECES_MAX 10000u

static void put(struct objects *objects, const char *key, const void *bytes, uint64_t size)
{
	struct ob_op op = {.kind = OB_PUT, .key = key, .data = bytes, .size = size};

	assert_ok(ob_run(objects->client, &op));
}

static uint8_t *read_file(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rb");

	assert_non_null(file);
	assert_ok(fseek(file, 0, SEEK_END));
	*ret_size = (size_t)ftell(file);
	rewind(file);
	uint8_t *bytes = malloc(*ret_size + 1);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *ret_size, file), *ret_size);
	fclose(file);
	return bytes;
}

void objects_path(const struct objects *objects, const char *key, char path[512])
{
	snprintf(path, 512, "%s/%s", objects->dir, key);
}

void objects_capture(struct objects *objects, struct bd_store *store, const char *path)
{
	char command[1024];

	*objects = (struct objects){0};
	api_make_dir(objects->dir);
	api_make_dir(objects->base);
	snprintf(objects->url, sizeof(objects->url), "file://%s", objects->dir);
	assert_ok(ob_client_open(objects->url, &(struct ob_options){0}, &objects->client, command, sizeof(command)));
	assert_ok(bd_store_checkpoint(store));
	snprintf(command, sizeof(command), "cp -r --sparse=always %s/. %s", path, objects->base);
	assert_ok(system(command));
}

void objects_free(struct objects *objects)
{
	ob_client_close(objects->client);
	bd_manifest_free(&objects->manifest);
	api_remove_dir(objects->dir);
	api_remove_dir(objects->base);
}

/* ---- extents */

struct extents {
	uint32_t ids[1000];
	unsigned count;
};

static int collect_extent(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct extents *extents = arg;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);

	(void)value, (void)size;
	assert_true(extents->count < 1000);
	extents->ids[extents->count++] = nf_read_u32_be(&r);
	return 0;
}

/* Pack the file of an extent, as it is in directory `path`, and put it as `key`. *ret_map is malloc'd. */
static uint64_t put_extent(struct objects *objects, const char *path, uint32_t id, const char *key, struct bd_pack_map **ret_map)
{
	char name[512];
	size_t size;
	struct bd_pack *pack;
	const void *object;
	uint64_t object_size;

	snprintf(name, sizeof(name), "%s/extents/%08x", path, id);
	uint8_t *bytes = read_file(name, &size);
	uint32_t used = (uint32_t)((size - BD_EXTENT_DATA_OFFSET) / NF_BLOCK_SIZE);
	assert_ok(bd_pack_begin(objects->manifest.store_id, id, used, &pack));
	for (uint32_t i = 0; i < bd_pack_group_count(used); i++) {
		uint64_t at, group;
		bd_pack_group_range(used, i, &at, &group);
		assert_ok(bd_pack_add(pack, bytes + at, group));
	}
	assert_ok(bd_pack_end(pack, &object, &object_size, ret_map));
	put(objects, key, object, object_size);
	bd_pack_free(pack);
	free(bytes);
	return object_size;
}

static size_t row_value(const struct bd_pack_map *map, const struct bd_key *key, uint8_t *value, size_t room)
{
	struct nf_writer w = nf_writer_init(value, room);

	nf_write_u32(&w, GENERATION);
	nf_write_u8(&w, 1);
	nf_write_u32(&w, 0);
	nf_write_u32(&w, 0);
	nf_write_u64(&w, map->object_size);
	nf_write_u32(&w, map->used);
	nf_write_u32(&w, map->groups);
	bd_pack_map_write(map, &w);
	assert_false(w.failed);
	return bd_value_seal(key->bytes, key->size, value, w.offset);
}

/* ---- the index */

static struct bd_index *open_index(const char *path, bool read_only)
{
	struct bd_index *index;
	char name[512], message[512];

	snprintf(name, sizeof(name), "%s/index", path);
	assert_ok(bd_index_open(name, &(struct bd_index_options){.read_only = read_only, .cache_bytes = MIB}, &index, message,
				sizeof(message)));
	return index;
}

static void put_rows(struct objects *objects, struct extents *extents, unsigned there)
{
	struct bd_index *index = open_index(objects->base, false);
	struct bd_index_batch *batch = bd_index_batch_new();

	for (unsigned i = 0; i < there; i++) {
		char key[BD_TIER_KEY_SIZE];
		struct bd_pack_map *map;
		struct bd_key row;
		uint8_t value[16384];

		bd_rows_key(GENERATION, extents->ids[i], key);
		put_extent(objects, objects->base, extents->ids[i], key, &map);
		bd_key_u32(&row, 'T', extents->ids[i]);
		bd_index_batch_put(batch, row.bytes, row.size, value, row_value(map, &row, value, sizeof(value)));
		free(map);
		objects->extents_there++;
	}
	assert_ok(bd_index_write(index, batch));
	assert_ok(bd_index_flush_begin(index));
	assert_ok(bd_index_flush_wait(index));
	bd_index_batch_free(batch);
	bd_index_close(index);
}

static void read_positions(struct objects *objects)
{
	struct bd_index *index = open_index(objects->base, true);
	struct bd_key key;
	uint8_t raw[64];
	size_t size;

	bd_key_meta(&key, "replay");
	assert_ok(bd_index_get(index, &key, raw, sizeof(raw), &size));
	struct nf_reader r = nf_reader_init(raw, size);
	objects->manifest.replay = nf_read_u64(&r);
	objects->manifest.retain = nf_read_u64(&r);
	objects->manifest.log_generation = nf_read_u64(&r);
	bd_index_close(index);
}

static void put_index(struct objects *objects)
{
	char path[512], name[1024], key[BD_MANIFEST_KEY_SIZE];
	struct dirent *entry;

	snprintf(path, sizeof(path), "%s/index", objects->base);
	DIR *directory = opendir(path);
	assert_non_null(directory);
	objects->manifest.files = calloc(100, sizeof(*objects->manifest.files));
	while ((entry = readdir(directory)) != NULL) {
		struct bd_manifest_file *file = &objects->manifest.files[objects->manifest.file_count];
		bool table = strstr(entry->d_name, ".sst") != NULL;
		size_t size;

		if (!table && strcmp(entry->d_name, "CURRENT") != 0 && strncmp(entry->d_name, "MANIFEST", 8) != 0 &&
		    strncmp(entry->d_name, "OPTIONS", 7) != 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		file->bytes = read_file(name, &size);
		file->size = size;
		file->sum = XXH3_64bits(file->bytes, size);
		snprintf(file->name, sizeof(file->name), "%.60s", entry->d_name);
		if (table) {
			file->generation = GENERATION;
			file->number = NUMBER;
			bd_manifest_file_key(GENERATION, NUMBER, file->name, key);
			put(objects, key, file->bytes, size);
		}
		assert_true(++objects->manifest.file_count < 100);
	}
	closedir(directory);
}

/* ---- the log */

struct log_scan {
	struct objects *objects;
	const struct extents *skipped; /* extents whose blocks are there */
	unsigned skipped_count;
	uint64_t boundaries[100000];
	struct scan_run {
		uint64_t lsn;
		struct bd_piece_run run;
	} *runs;
	unsigned boundary_count, run_count;
	bool listed;
};

static bool is_skipped(const struct log_scan *scan, uint32_t extent)
{
	for (unsigned i = 0; i < scan->skipped_count; i++)
		if (scan->skipped->ids[i] == extent)
			return true;
	return false;
}

static int scan_item(void *arg, uint64_t lsn, bool replay, uint8_t type, struct nf_reader body)
{
	struct log_scan *scan = arg;
	struct bd_run run;
	struct bd_block_id id;
	uint64_t from, to = 0, sum;
	unsigned count = 0;

	(void)replay;
	if (scan->boundary_count == 0 || scan->boundaries[scan->boundary_count - 1] != lsn) {
		assert_true(scan->boundary_count < 100000);
		scan->boundaries[scan->boundary_count++] = lsn;
	}
	if (type == BD_ITEM_RUN && bd_item_run_parse(body, &run) == 0) {
		to = run.loc;
		count = run.count;
	} else if (type == BD_ITEM_MOVE && bd_item_move_parse(body, &id, &from, &to, &sum) == 0) {
		count = 1;
	}
	if (count == 0 || !bd_loc_is_extent(to) || is_skipped(scan, bd_loc_extent_id(to)))
		return 0;
	assert_true(scan->run_count < RUNS_MAX);
	scan->runs[scan->run_count++] =
		(struct scan_run){lsn, {.extent = bd_loc_extent_id(to), .slot = bd_loc_slot(to), .count = count}};
	return 0;
}

static void read_range(const char *path, uint64_t offset, void *buf, size_t size)
{
	FILE *file = fopen(path, "rb");

	if (file == NULL) { /* collected since: then nothing refers to it at the log's end */
		memset(buf, 0, size);
		return;
	}
	assert_ok(fseek(file, (long)offset, SEEK_SET));
	assert_int_equal(fread(buf, 1, size, file), size);
	fclose(file);
}

/* A piece [from, to) with the blocks of records in [blocks_from, blocks_to). */
static void put_piece(struct log_scan *scan, const char *path, uint64_t from, uint64_t to, uint64_t blocks_from, uint64_t blocks_to,
		      bool is_end)
{
	struct objects *objects = scan->objects;
	struct bd_piece_run *runs = calloc(scan->run_count + 1, sizeof(*runs));
	uint8_t *records = malloc(to - from), *blocks = malloc(1);
	char name[512], key[BD_PIECE_KEY_SIZE];
	uint64_t ring = objects->manifest.log_bytes;
	uint32_t count = 0, block_count = 0;
	void *bytes;
	size_t size;

	assert_true(runs != NULL && records != NULL && blocks != NULL);
	snprintf(name, sizeof(name), "%s/log", path);
	for (uint64_t lsn = from; lsn < to; lsn += NF_IO_ALIGN)
		read_range(name, lsn % ring, records + (lsn - from), NF_IO_ALIGN);
	for (unsigned i = 0; i < scan->run_count; i++) {
		const struct scan_run *at = &scan->runs[i];
		if (at->lsn < blocks_from || at->lsn >= blocks_to)
			continue;
		runs[count++] = at->run;
		blocks = realloc(blocks, (size_t)(block_count + at->run.count) * NF_BLOCK_SIZE);
		assert_non_null(blocks);
		snprintf(name, sizeof(name), "%s/extents/%08x", path, at->run.extent);
		read_range(name, BD_EXTENT_DATA_OFFSET + (uint64_t)at->run.slot * NF_BLOCK_SIZE, blocks + (size_t)block_count * NF_BLOCK_SIZE,
			   (size_t)at->run.count * NF_BLOCK_SIZE);
		block_count += at->run.count;
	}
	const struct bd_piece piece = {.store_id = objects->manifest.store_id,
				       .from = from,
				       .to = to,
				       .read_ns = is_end ? (int64_t)to : 0,
				       .runs = runs,
				       .run_count = count,
				       .records = records,
				       .blocks = blocks};
	assert_ok(bd_piece_encode(&piece, &bytes, &size));
	bd_piece_key(GENERATION, from, to, key);
	put(objects, key, bytes, size);
	free(bytes);
	free(runs);
	free(records);
	free(blocks);
	objects->pieces++;
	objects->blocks += block_count;
	if (scan->listed) {
		struct bd_manifest *manifest = &objects->manifest;
		assert_true(manifest->piece_count < PIECES_MAX);
		manifest->pieces[manifest->piece_count++] =
			(struct bd_manifest_piece){.generation = GENERATION, .from = from, .to = to, .size = size};
	}
}

/* One shipment: whole, or cut in two inside of its first record; then the second has all blocks. */
static void put_shipment(struct log_scan *scan, const char *path, uint64_t from, uint64_t to, bool split)
{
	if (!split || to - from <= NF_IO_ALIGN) {
		put_piece(scan, path, from, to, from, to, true);
		return;
	}
	put_piece(scan, path, from, from + NF_IO_ALIGN, 0, 0, false);
	put_piece(scan, path, from + NF_IO_ALIGN, to, from, to, true);
}

static void put_log(struct objects *objects, const char *path, const struct extents *extents, const struct objects_how *how)
{
	const struct bd_log_position position = {objects->manifest.replay, objects->manifest.retain, objects->manifest.log_generation};
	struct log_scan *scan = calloc(1, sizeof(*scan));
	struct nf_io *io;
	struct bd_log *log;

	assert_non_null(scan);
	scan->objects = objects;
	scan->listed = how->listed;
	objects->manifest.pieces = calloc(PIECES_MAX, sizeof(*objects->manifest.pieces));
	assert_non_null(objects->manifest.pieces);
	scan->runs = calloc(RUNS_MAX, sizeof(*scan->runs));
	assert_non_null(scan->runs);
	scan->skipped = extents;
	scan->skipped_count = how->there_index;
	assert_ok(nf_io_uring_create(path, &io));
	assert_ok(bd_log_open(io, objects->manifest.store_id, &position, &log));
	assert_ok(bd_log_recover(log, scan_item, scan));
	/* What an uploader appends: records of extents that went there since. */
	for (unsigned i = how->there_index; i < how->there_index + how->there_log; i++) {
		char key[BD_TIER_KEY_SIZE];
		struct bd_pack_map *map;
		struct bd_key row;
		uint8_t value[16384];
		struct bd_items items = {0};
		uint64_t ticket;

		bd_rows_key(GENERATION, extents->ids[i], key);
		put_extent(objects, path, extents->ids[i], key, &map);
		bd_key_u32(&row, 'T', extents->ids[i]);
		bd_items_put(&items, row.bytes, row.size, value, row_value(map, &row, value, sizeof(value)));
		scan->boundaries[scan->boundary_count++] = bd_log_tail(log);
		assert_ok(bd_log_append(log, items.data, items.size, &ticket));
		assert_ok(bd_log_sync(log, ticket));
		bd_items_free(&items);
		free(map);
		objects->extents_there++;
	}
	uint64_t from = objects->manifest.retain, end = bd_log_tail(log);
	bd_log_close(log);
	nf_io_destroy(io);
	for (unsigned i = 1; i < scan->boundary_count && how->piece_bytes != 0; i++) {
		if (scan->boundaries[i] - from < how->piece_bytes)
			continue;
		put_shipment(scan, path, from, scan->boundaries[i], how->split_records);
		from = scan->boundaries[i];
	}
	if (from < end)
		put_shipment(scan, path, from, end, how->split_records);
	free(scan->runs);
	free(scan);
}

void objects_put(struct objects *objects, const char *path, const struct objects_how *how)
{
	struct bd_manifest *manifest = &objects->manifest;
	struct extents *extents = calloc(1, sizeof(*extents));
	struct bd_superblock superblock;
	struct nf_io *io;
	char message[512], key[BD_MANIFEST_KEY_SIZE];
	void *bytes;
	size_t size;

	assert_non_null(extents);
	assert_ok(nf_io_uring_create(objects->base, &io));
	assert_ok(bd_superblock_read(io, &superblock, message, sizeof(message)));
	nf_io_destroy(io);
	*manifest = (struct bd_manifest){.generation = GENERATION,
					 .number = NUMBER,
					 .store_id = superblock.store_id,
					 .created_ns = 1,
					 .safe_ns = 1,
					 .format_version = superblock.version,
					 .log_bytes = superblock.log_bytes,
					 .store_created_ns = superblock.created_ns};
	assert_ok(bd_mark_put(objects->client, &(struct bd_mark){.store_id = superblock.store_id}, true, message, sizeof(message)));
	struct bd_index *index = open_index(objects->base, true);
	assert_ok(bd_index_each_kind(index, 'E', collect_extent, extents));
	bd_index_close(index);
	assert_true(how->there_index + how->there_log <= extents->count);
	put_rows(objects, extents, how->there_index);
	read_positions(objects);
	put_index(objects);
	manifest->parts = calloc(extents->count + 1, sizeof(*manifest->parts));
	for (unsigned i = how->there_index; i < extents->count; i++) {
		struct bd_pack_map *map;
		bd_manifest_part_key(GENERATION, NUMBER, extents->ids[i], key);
		uint64_t part_size = put_extent(objects, objects->base, extents->ids[i], key, &map);
		manifest->parts[manifest->part_count++] =
			(struct bd_manifest_part){.extent = extents->ids[i], .used = map->used, .size = part_size};
		free(map);
		objects->parts++;
	}
	put_log(objects, path, extents, how);
	assert_ok(bd_manifest_encode(manifest, &bytes, &size));
	bd_manifest_key(GENERATION, NUMBER, key);
	put(objects, key, bytes, size);
	free(bytes);
	free(extents);
}
