/* Extents that are not here: read from the object store by groups, verified, kept, and dropped again, beside readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/cold.h"
#include "blockdev/tier/rows.h"

#define STORE UINT64_C(4711)
#define USED 1000u /* slots: 64 groups, the last one short */
#define FILE_BYTES (BD_EXTENT_DATA_OFFSET + (uint64_t)USED * NF_BLOCK_SIZE)
#define GENERATION 3u
#define MIB (UINT64_C(1) << 20)

struct place {
	char path[256], store_path[300], objects[300]; /* the last two in the first */
	struct nf_io *lower, *io;
	struct bd_store store;
	struct bd_tier tier;
	struct nf_file *files[8];
};

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	char url[320], message[512] = "";

	assert_non_null(place);
	snprintf(place->path, sizeof(place->path), "%s/neonfs-cold-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(place->path));
	snprintf(place->store_path, sizeof(place->store_path), "%s/store", place->path);
	snprintf(place->objects, sizeof(place->objects), "%s/objects", place->path);
	assert_int_equal(mkdir(place->store_path, 0700), 0);
	assert_int_equal(mkdir(place->objects, 0700), 0);
	snprintf(url, sizeof(url), "file://%s", place->objects);
	assert_int_equal(nf_io_mem_create(0, &place->lower), 0);
	assert_int_equal(nf_io_mkdir(place->lower, "extents"), 0);
	place->store.path = place->store_path;
	place->store.store_id = STORE;
	place->store.tier = &place->tier;
	place->tier.store = &place->store;
	if (ob_client_open(url, NULL, &place->tier.client, message, sizeof(message)) != 0)
		fail_msg("%s", message);
	assert_int_equal(bd_rows_new(&place->tier.rows), 0);
	assert_int_equal(bd_cold_create(&place->tier, place->lower, &place->tier.cold, &place->io), 0);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;

	for (unsigned i = 0; i < NF_ARRAY_LEN(place->files); i++)
		nf_io_close(place->files[i]);
	nf_io_destroy(place->io);
	nf_io_destroy(place->lower);
	bd_rows_free(place->tier.rows);
	ob_client_close(place->tier.client);
	nftw(place->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(place);
	return 0;
}

/* The bytes of an extent's file: half of the blocks are noise. */
static void pattern(uint32_t extent, uint64_t offset, uint8_t *to, uint64_t size)
{
	for (uint64_t i = 0; i < size; i += 8) {
		uint64_t at = offset + i, block = at / NF_BLOCK_SIZE;
		uint64_t value = block % 2 == 0 ? block + extent : (at + extent) * UINT64_C(0x9e3779b97f4a7c15);
		memcpy(to + i, &value, 8);
	}
}

static void path_of(uint32_t extent, char path[32])
{
	snprintf(path, 32, "extents/%08x", extent);
}

static void put_row(struct place *place, uint32_t extent, const struct bd_pack_map *map)
{
	uint8_t value[8192];
	struct nf_writer w = nf_writer_init(value, sizeof(value));
	struct bd_key key;

	nf_write_u32(&w, GENERATION);
	nf_write_u8(&w, 1);
	nf_write_u32(&w, 0);
	nf_write_u32(&w, 0);
	nf_write_u64(&w, map->object_size);
	nf_write_u32(&w, map->used);
	nf_write_u32(&w, map->groups);
	bd_pack_map_write(map, &w);
	bd_key_u32(&key, 'T', extent);
	size_t size = bd_value_seal(key.bytes, key.size, value, w.offset);
	assert_int_equal(bd_rows_replay(place->tier.rows, key.bytes, key.size, value, size), 0);
}

/* A file of its own, and its object with a record. */
static void make_extent(struct place *place, uint32_t extent)
{
	char path[32], key[BD_TIER_KEY_SIZE];
	uint8_t *bytes = nf_io_buffer(FILE_BYTES);
	struct bd_pack *pack;
	struct bd_pack_map *map;
	const void *object;
	uint64_t object_size;

	assert_non_null(bytes);
	pattern(extent, 0, bytes, FILE_BYTES);
	path_of(extent, path);
	assert_int_equal(nf_io_open(place->io, path, NF_OPEN_CREATE, &place->files[extent]), 0);
	assert_int_equal(nf_io_allocate(place->files[extent], 0, FILE_BYTES), 0);
	assert_int_equal(nf_io_run_one(place->io, NF_IO_WRITE, place->files[extent], 0, bytes, FILE_BYTES), 0);
	assert_int_equal(bd_pack_begin(STORE, extent, USED, &pack), 0);
	for (uint32_t i = 0; i < bd_pack_group_count(USED); i++) {
		uint64_t offset, size;
		bd_pack_group_range(USED, i, &offset, &size);
		assert_int_equal(bd_pack_add(pack, bytes + offset, size), 0);
	}
	assert_int_equal(bd_pack_end(pack, &object, &object_size, &map), 0);
	bd_rows_key(GENERATION, extent, key);
	struct ob_op op = {.kind = OB_PUT, .key = key, .data = object, .size = object_size};
	assert_int_equal(ob_run(place->tier.client, &op), 0);
	put_row(place, extent, map);
	free(map);
	bd_pack_free(pack);
	free(bytes);
}

static void make_cold(struct place *place, uint32_t extent)
{
	make_extent(place, extent);
	bd_rows_checkpointed(place->tier.rows, 1);
	assert_int_equal(bd_cold_evict(place->tier.cold, extent), 0);
}

static int read_at(struct place *place, uint32_t extent, uint64_t offset, uint64_t size)
{
	uint8_t *got = nf_io_buffer(size), *expected = malloc(size);
	int error = nf_io_run_one(place->io, NF_IO_READ, place->files[extent], offset, got, size);

	if (error == 0) {
		pattern(extent, offset, expected, size);
		error = memcmp(got, expected, size) == 0 ? 0 : 1;
	}
	free(got);
	free(expected);
	return error;
}

static uint64_t slot_at(uint32_t slot)
{
	return BD_EXTENT_DATA_OFFSET + (uint64_t)slot * NF_BLOCK_SIZE;
}

static struct bd_cold_status status_of(struct place *place)
{
	struct bd_cold_status status;

	bd_cold_status(place->tier.cold, &status);
	return status;
}

static bool is_on_disk(struct place *place, uint32_t extent)
{
	char path[32];
	struct nf_file *file;

	path_of(extent, path);
	int error = nf_io_open(place->lower, path, NF_OPEN_READONLY, &file);
	if (error == 0)
		nf_io_close(file);
	return error == 0;
}

static void a_cold_extent_reads_the_same(void **state)
{
	struct place *place = *state;
	uint64_t size;

	make_extent(place, 1);
	assert_int_equal(read_at(place, 1, 0, FILE_BYTES), 0);
	bd_rows_checkpointed(place->tier.rows, 1);
	assert_int_equal(bd_cold_evict(place->tier.cold, 1), 0);
	assert_false(is_on_disk(place, 1));
	assert_int_equal(status_of(place).extents_cold, 1);
	assert_int_equal(nf_io_size(place->files[1], &size), 0);
	assert_int_equal(size, FILE_BYTES);
	assert_int_equal(read_at(place, 1, 0, FILE_BYTES), 0);
	assert_int_equal(status_of(place).cached_bytes, FILE_BYTES);
	/* And once more, when what was cached is dropped too. */
	assert_int_equal(bd_cold_evict(place->tier.cold, 1), 0);
	assert_int_equal(status_of(place).cached_bytes, 0);
	assert_int_equal(read_at(place, 1, slot_at(USED - 3), 3 * NF_BLOCK_SIZE), 0);
	assert_int_equal(read_at(place, 1, slot_at(USED - 3), 4 * NF_BLOCK_SIZE), -ENODATA);
}

static void it_is_found_when_it_is_opened(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	nf_io_close(place->files[1]);
	assert_int_equal(nf_io_open(place->io, "extents/00000001", 0, &place->files[1]), 0);
	assert_true(bd_cold_is_away(&place->store, place->files[1]));
	assert_int_equal(read_at(place, 1, slot_at(5), NF_BLOCK_SIZE), 0);
	struct nf_file *other;
	assert_int_equal(nf_io_open(place->io, "extents/00000002", 0, &other), -ENOENT);
}

static void a_block_costs_one_small_get(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	assert_int_equal(read_at(place, 1, slot_at(500), NF_BLOCK_SIZE), 0);
	assert_int_equal(status_of(place).fetches, 1);
	assert_true(status_of(place).fetched_bytes <= BD_GROUP_BYTES);
	assert_int_equal(read_at(place, 1, slot_at(501), NF_BLOCK_SIZE), 0); /* the same group */
	assert_int_equal(status_of(place).fetches, 1);
	assert_int_equal(read_at(place, 1, slot_at(100), NF_BLOCK_SIZE), 0);
	assert_int_equal(read_at(place, 1, slot_at(800), NF_BLOCK_SIZE), 0);
	assert_int_equal(status_of(place).fetches, 3);
	assert_true(status_of(place).fetched_bytes <= 3 * BD_GROUP_BYTES);
}

/* Two blocks that lie near each other by chance. */
static void a_short_jump_is_no_order(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	assert_int_equal(read_at(place, 1, slot_at(500), NF_BLOCK_SIZE), 0);
	assert_int_equal(read_at(place, 1, slot_at(500 + 2 * BD_GROUP_SLOTS), NF_BLOCK_SIZE), 0);
	assert_int_equal(read_at(place, 1, slot_at(10), NF_BLOCK_SIZE), 0);
	/* Jobs of read-ahead come in no order to this one: all that were asked for are counted in a moment. */
	usleep(100000);
	assert_int_equal(status_of(place).fetches, 3);
	assert_true(status_of(place).fetched_bytes <= 3 * BD_GROUP_BYTES);
}

static void reading_in_order_is_read_ahead(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	for (uint32_t slot = 0; slot < USED; slot += 8)
		assert_int_equal(read_at(place, 1, slot_at(slot), 8 * NF_BLOCK_SIZE), 0);
	/* 63 groups; the first three alone, then sixteen at a time. */
	assert_in_range(status_of(place).fetches, 4, 12);
}

static void a_batch_over_here_and_there(void **state)
{
	struct place *place = *state;
	struct nf_io_op ops[3];
	uint8_t *buffers[3], *expected = malloc(64 * NF_BLOCK_SIZE);

	make_cold(place, 1);
	make_extent(place, 2); /* stays here */
	for (unsigned i = 0; i < 3; i++) {
		buffers[i] = nf_io_buffer(64 * NF_BLOCK_SIZE);
		ops[i] = (struct nf_io_op){.kind = NF_IO_READ, .file = place->files[i == 2 ? 2 : 1], .buf = buffers[i],
					   .offset = slot_at(i == 0 ? 224 : 160), .size = 64 * NF_BLOCK_SIZE};
	}
	assert_int_equal(nf_io_run(place->io, ops, 3), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(ops[i].file, place->files[i == 2 ? 2 : 1]);
		pattern(i == 2 ? 2 : 1, ops[i].offset, expected, ops[i].size);
		assert_memory_equal(buffers[i], expected, ops[i].size);
		free(buffers[i]);
	}
	free(expected);
	assert_int_equal(status_of(place).fetches, 2);
}

struct reader {
	struct place *place;
	pthread_t thread;
	uint64_t offset;
	int error;
};

static void *read_main(void *arg)
{
	struct reader *reader = arg;

	reader->error = read_at(reader->place, 1, reader->offset, NF_BLOCK_SIZE);
	return NULL;
}

static void readers_of_one_group_make_one_get(void **state)
{
	struct place *place = *state;
	struct reader readers[12];

	make_cold(place, 1);
	for (unsigned i = 0; i < NF_ARRAY_LEN(readers); i++) {
		readers[i] = (struct reader){.place = place, .offset = slot_at(320 + i)};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_main, &readers[i]), 0);
	}
	for (unsigned i = 0; i < NF_ARRAY_LEN(readers); i++) {
		pthread_join(readers[i].thread, NULL);
		assert_int_equal(readers[i].error, 0);
	}
	assert_int_equal(status_of(place).fetches, 1);
}

/* The object's file, opened. */
static FILE *object_of(struct place *place, uint32_t extent)
{
	char key[BD_TIER_KEY_SIZE], path[512];

	bd_rows_key(GENERATION, extent, key);
	snprintf(path, sizeof(path), "%s/%s", place->objects, key);
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	return file;
}

static void flip(struct place *place, uint32_t extent, uint32_t group)
{
	const struct bd_pack_map *map;

	assert_true(bd_rows_find(place->tier.rows, extent, NULL, &map));
	long at = map->group[group].offset + map->group[group].size / 2;
	bd_rows_release(place->tier.rows, map);
	FILE *file = object_of(place, extent);
	fseek(file, at, SEEK_SET);
	int byte = fgetc(file);
	fseek(file, at, SEEK_SET);
	fputc(byte ^ 4, file);
	fclose(file);
}

static void damage_is_found_and_stays_in_its_group(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	flip(place, 1, 10);
	for (uint32_t slot = 0; slot < USED; slot++) {
		int expected = slot / BD_GROUP_SLOTS + 1 == 10 ? -EUCLEAN : 0;
		assert_int_equal(read_at(place, 1, slot_at(slot), NF_BLOCK_SIZE), expected);
	}
	assert_int_equal(read_at(place, 1, slot_at(0), USED * (uint64_t)NF_BLOCK_SIZE), -EUCLEAN);
	/* Mended: it is asked for again. */
	flip(place, 1, 10);
	assert_int_equal(read_at(place, 1, slot_at(0), USED * (uint64_t)NF_BLOCK_SIZE), 0);
}

static void a_missing_object_is_an_error(void **state)
{
	struct place *place = *state;
	char key[BD_TIER_KEY_SIZE];

	make_cold(place, 1);
	bd_rows_key(GENERATION, 1, key);
	struct ob_op op = {.kind = OB_DELETE, .key = key};
	assert_int_equal(ob_run(place->tier.client, &op), 0);
	assert_int_equal(read_at(place, 1, slot_at(3), NF_BLOCK_SIZE), -EIO);
}

/* As if the store had come back: the client of one that is there takes the place of the other. Fetchers look at it at each try. */
__attribute__((no_sanitize("thread"))) static void set_client(struct place *place, struct ob_client *client)
{
	place->tier.client = client;
}

static void readers_wait_for_a_store_that_is_away(void **state)
{
	struct place *place = *state;
	struct ob_client *there = place->tier.client, *away;
	char message[512] = "";
	struct reader reader = {.place = place, .offset = slot_at(77)};

	setenv("AWS_ACCESS_KEY_ID", "nobody", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "nothing", 1);
	setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
	if (ob_client_open("s3://bucket/prefix", NULL, &away, message, sizeof(message)) != 0)
		fail_msg("%s", message);
	make_cold(place, 1);
	make_extent(place, 2);
	set_client(place, away);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_main, &reader), 0);
	while (status_of(place).waiting == 0)
		usleep(1000);
	usleep(300000);
	assert_int_equal(status_of(place).waiting, 1);
	/* Others, of what is here, do not. */
	assert_int_equal(read_at(place, 2, slot_at(77), NF_BLOCK_SIZE), 0);
	set_client(place, there);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.error, 0);
	ob_client_close(away);
}

static void inside_an_operation_nobody_waits(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	bd_cold_forbid_waiting();
	assert_int_equal(read_at(place, 1, slot_at(9), NF_BLOCK_SIZE), BD_LAZY);
	bd_cold_allow_waiting();
	assert_int_equal(status_of(place).fetches, 0);
	assert_int_equal(read_at(place, 1, slot_at(9), NF_BLOCK_SIZE), 0);
	bd_cold_forbid_waiting();
	assert_int_equal(read_at(place, 1, slot_at(9), NF_BLOCK_SIZE), 0);
	bd_cold_allow_waiting();
}

static void what_is_away_is_not_changed(void **state)
{
	struct place *place = *state;
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);

	make_cold(place, 1);
	memset(block, 1, NF_BLOCK_SIZE);
	assert_int_equal(nf_io_run_one(place->io, NF_IO_WRITE, place->files[1], slot_at(1), block, NF_BLOCK_SIZE), -EROFS);
	assert_int_equal(nf_io_allocate(place->files[1], 0, 2 * FILE_BYTES), -EROFS);
	assert_int_equal(nf_io_truncate(place->files[1], 0), -EROFS);
	assert_int_equal(nf_io_run_one(place->io, NF_IO_FSYNC, place->files[1], 0, NULL, 0), 0);
	assert_int_equal(nf_io_rename(place->io, "extents/00000001", "extents/spare.00000001"), -ENOENT);
	assert_int_equal(read_at(place, 1, slot_at(1), NF_BLOCK_SIZE), 0);
	/* Removed: who has it open finds it gone, or what is here already. */
	assert_int_equal(nf_io_unlink(place->io, "extents/00000001"), 0);
	struct bd_key key;
	bd_key_u32(&key, 'T', 1);
	assert_int_equal(bd_rows_replay(place->tier.rows, key.bytes, key.size, NULL, 0), 0);
	assert_int_equal(read_at(place, 1, slot_at(1), NF_BLOCK_SIZE), 0);
	assert_int_equal(read_at(place, 1, slot_at(900), NF_BLOCK_SIZE), -ESTALE);
	free(block);
}

static void what_is_not_durable_stays(void **state)
{
	struct place *place = *state;

	make_extent(place, 1);
	assert_int_equal(bd_cold_evict(place->tier.cold, 1), -EPERM);
	bd_rows_checkpointed(place->tier.rows, 1);
	/* A spare is no extent. */
	assert_int_equal(nf_io_rename(place->io, "extents/00000001", "extents/spare.00000001"), 0);
	assert_int_equal(bd_cold_evict(place->tier.cold, 1), -ENOENT);
	/* And again one, with another's number. */
	assert_int_equal(nf_io_rename(place->io, "extents/spare.00000001", "extents/00000004"), 0);
	assert_int_equal(bd_cold_evict(place->tier.cold, 4), -EPERM);
}

static void the_limit_is_kept(void **state)
{
	struct place *place = *state;
	uint64_t free_bytes, total_bytes;

	/* Of 256 MiB 32 are for writers, 51 kept, 32 the mark: with more than 141 here, something goes. */
	place->tier.config.local_limit_bytes = 256 * MIB;
	for (uint32_t i = 0; i < 6; i++)
		make_extent(place, i);
	bd_rows_checkpointed(place->tier.rows, 1);
	assert_int_equal(status_of(place).extents_cold, 0);
	assert_int_equal(nf_io_free_bytes(place->io, &free_bytes, &total_bytes), 0);
	assert_int_equal(total_bytes, 256 * MIB);
	assert_true(free_bytes <= 256 * MIB - 6 * FILE_BYTES);
	assert_int_equal(read_at(place, 0, slot_at(1), NF_BLOCK_SIZE), 0); /* the youngest now */
	struct nf_file *other;
	assert_int_equal(nf_io_open(place->io, "extents/00000009", NF_OPEN_CREATE, &other), 0);
	assert_int_equal(nf_io_allocate(other, 0, 110 * MIB), 0);
	for (unsigned i = 0; i < 2000 && status_of(place).local_bytes > 142 * MIB; i++)
		usleep(5000);
	struct bd_cold_status status = status_of(place);
	assert_true(status.local_bytes <= 142 * MIB);
	assert_in_range(status.extents_cold, 2, 3);
	assert_true(is_on_disk(place, 0));
	assert_false(is_on_disk(place, 1));
	assert_false(bd_cold_is_tight(&place->store));
	/* More than may go: writers would have to wait. */
	assert_int_equal(nf_io_allocate(other, 0, 200 * MIB), 0);
	for (unsigned i = 0; i < 2000 && status_of(place).extents_cold < 6; i++)
		usleep(5000);
	assert_int_equal(status_of(place).extents_cold, 6);
	assert_true(bd_cold_is_tight(&place->store));
	nf_io_close(other);
	assert_false(bd_cold_is_tight(&place->store));
	assert_int_equal(bd_cold_wait_room(&place->store, MIB), 0);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(read_at(place, i, slot_at(0), USED * (uint64_t)NF_BLOCK_SIZE), 0);
}

static void stopping_lets_readers_go(void **state)
{
	struct place *place = *state;

	make_cold(place, 1);
	bd_cold_stop(place->tier.cold);
	assert_int_equal(read_at(place, 1, slot_at(3), NF_BLOCK_SIZE), -ECANCELED);
	assert_int_equal(bd_cold_wait_room(&place->store, MIB), 0);
}

struct stress {
	struct place *place;
	pthread_t thread;
	_Atomic bool *stop;
	uint32_t random;
	uint64_t reads;
	int error;
};

static uint32_t draw(struct stress *stress, uint32_t limit)
{
	stress->random = stress->random * 1664525 + 1013904223;
	return (stress->random >> 8) % limit;
}

static void *stress_main(void *arg)
{
	struct stress *stress = arg;

	while (!atomic_load(stress->stop) && stress->error == 0) {
		uint32_t slot = draw(stress, USED), count = 1 + draw(stress, NF_MIN(40u, USED - slot));
		stress->error = read_at(stress->place, draw(stress, 4), slot_at(slot), count * (uint64_t)NF_BLOCK_SIZE);
		stress->reads++;
	}
	return NULL;
}

static void evicting_beside_readers(void **state)
{
	struct place *place = *state;
	struct stress readers[4];
	_Atomic bool stop = false;
	uint64_t evicted = 0, reads = 0;

	for (uint32_t i = 0; i < 4; i++)
		make_extent(place, i);
	bd_rows_checkpointed(place->tier.rows, 1);
	for (unsigned i = 0; i < 4; i++) {
		readers[i] = (struct stress){.place = place, .stop = &stop, .random = i * 7919 + 1};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, stress_main, &readers[i]), 0);
	}
	for (unsigned i = 0; i < 1500; i++) {
		int error = bd_cold_evict(place->tier.cold, i % 4);
		assert_true(error == 0 || error == -EBUSY);
		evicted += error == 0;
		usleep(1000);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(readers[i].thread, NULL);
		assert_int_equal(readers[i].error, 0);
		reads += readers[i].reads;
	}
	assert_true(evicted > 20);
	assert_true(reads > 100);
}

#define cold_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cold_test(a_cold_extent_reads_the_same),
		cold_test(it_is_found_when_it_is_opened),
		cold_test(a_block_costs_one_small_get),
		cold_test(a_short_jump_is_no_order),
		cold_test(reading_in_order_is_read_ahead),
		cold_test(a_batch_over_here_and_there),
		cold_test(readers_of_one_group_make_one_get),
		cold_test(damage_is_found_and_stays_in_its_group),
		cold_test(a_missing_object_is_an_error),
		cold_test(readers_wait_for_a_store_that_is_away),
		cold_test(inside_an_operation_nobody_waits),
		cold_test(what_is_away_is_not_changed),
		cold_test(what_is_not_durable_stays),
		cold_test(the_limit_is_kept),
		cold_test(stopping_lets_readers_go),
		cold_test(evicting_beside_readers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
