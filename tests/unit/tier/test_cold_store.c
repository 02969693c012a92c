/* A store whose extents are in the object store and not here: the same bytes, and everything else that a store does. */
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
#include "blockdev/tier/config.h"
#include "blockdev/tier/rows.h"

#define MIB (UINT64_C(1) << 20)
#define BLOCK ((size_t)NF_BLOCK_SIZE)
#define WAIT_MS 60000u

struct place {
	char path[256], store_path[300], objects[300];
	bool background;
	struct bd_store *store;
	struct bd_branch_info main;
	struct bd_inode *root;
};

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void open_store(struct place *place)
{
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = !place->background};
	char message[512] = "";

	if (bd_store_open(place->store_path, &options, &place->store, message, sizeof(message)) != 0)
		fail_msg("open: %s", message);
	assert_non_null(place->store->tier);
}

static void find_main(struct place *place)
{
	assert_int_equal(bd_branch_find(place->store, "main", &place->main), 0);
	assert_int_equal(bd_root(place->store, (struct bd_view){place->main.id, BD_EPOCH_HEAD}, &place->root), 0);
}

static void set_up_limited(struct place *place, uint64_t limit)
{
	struct bd_tier_config config = {.local_limit_bytes = limit, .delay_ms = 50, .close_wait_s = 20, .no_lease = true};
	const struct bd_format_options format = {.log_bytes = 16 * MIB};

	snprintf(place->path, sizeof(place->path), "%s/neonfs-cold-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(place->path));
	snprintf(place->store_path, sizeof(place->store_path), "%s/store", place->path);
	snprintf(place->objects, sizeof(place->objects), "%s/objects", place->path);
	assert_int_equal(mkdir(place->objects, 0700), 0);
	snprintf(config.url, sizeof(config.url), "file://%s", place->objects);
	assert_int_equal(bd_store_format(place->store_path, &format), 0);
	assert_int_equal(bd_tier_config_write(place->store_path, &config), 0);
	open_store(place);
	assert_int_equal(bd_branch_create_empty(place->store, "main", 10, 20, &place->main), 0);
	find_main(place);
}

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	assert_non_null(place);
	set_up_limited(place, 0);
	*state = place;
	return 0;
}

static void end(struct place *place)
{
	bd_inode_unref(place->root, 1);
	assert_int_equal(bd_store_close(place->store), 0);
	place->store = NULL;
}

static int tear_down(void **state)
{
	struct place *place = *state;

	end(place);
	nftw(place->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(place);
	return 0;
}

/* ---- files whose bytes are known */

static void pattern(uint32_t seed, uint64_t offset, uint8_t *to, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t value = (offset + i + seed) * UINT64_C(0x9e3779b97f4a7c15);
		memcpy(to + i, &value, 8);
	}
}

static void put_file(struct bd_inode *dir, const char *name, uint32_t seed, uint64_t size)
{
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_inode *file;
	uint8_t *bytes = nf_io_buffer(MIB);

	assert_int_equal(bd_create(dir, name, &how, &file), 0);
	for (uint64_t at = 0; at < size; at += MIB) {
		pattern(seed, at, bytes, MIB);
		assert_int_equal(bd_write(file, at, bytes, (size_t)NF_MIN(MIB, size - at), 0), 0);
	}
	assert_int_equal(bd_fsync(file, true), 0);
	bd_inode_unref(file, 1);
	free(bytes);
}

static void expect_file(struct bd_inode *dir, const char *name, uint32_t seed, uint64_t size)
{
	struct bd_inode *file;
	uint8_t *bytes = nf_io_buffer(MIB), *expected = malloc(MIB);

	assert_int_equal(bd_lookup(dir, name, &file), 0);
	for (uint64_t at = 0; at < size; at += MIB) {
		size_t n = (size_t)NF_MIN(MIB, size - at);
		assert_int_equal(bd_read(file, at, bytes, n), (ssize_t)n);
		pattern(seed, at, expected, n);
		assert_memory_equal(bytes, expected, n);
	}
	bd_inode_unref(file, 1);
	free(bytes);
	free(expected);
}

static uint64_t away(struct place *place)
{
	struct bd_cold_status status;

	bd_cold_status(place->store->tier->cold, &status);
	return status.extents_cold;
}

/* Extents that live are uploaded, their records durable, their files gone. Returns how many. */
static unsigned evict_all(struct place *place)
{
	struct bd_store *store = place->store;
	unsigned evicted = 0;

	assert_int_equal(bd_extents_seal(store, BD_STREAM_FRONT), 0);
	assert_int_equal(bd_extents_seal(store, BD_STREAM_MOVED), 0);
	for (uint32_t id = 0; id < bd_extents_next_id(store); id++) {
		if (!bd_extent_exists(store, id))
			continue;
		unsigned waited = 0;
		while (bd_cold_evict(store->tier->cold, id) != 0) {
			if (waited++ * 20 >= WAIT_MS)
				fail_msg("extent %u is not uploaded", id);
			assert_int_equal(bd_store_checkpoint(store), 0);
			usleep(20000);
		}
		evicted++;
	}
	assert_int_equal(away(place), evicted);
	return evicted;
}

static void report(void *arg, const char *line)
{
	(void)arg;
	print_message("scrub: %s\n", line);
}

static void expect_sound(struct place *place)
{
	struct bd_scrub_result result;

	assert_int_equal(bd_store_scrub(place->store, NULL, report, NULL, &result), 0);
	assert_int_equal(result.bad_blocks, 0);
	assert_int_equal(result.bad_keys, 0);
	assert_int_equal(result.orphan_keys, 0);
	assert_true(result.blocks_checked > 0);
}

/* ---- tests */

static void the_same_bytes(void **state)
{
	struct place *place = *state;

	put_file(place->root, "a", 1, 20 * MIB);
	put_file(place->root, "b", 2, 70 * MIB);
	assert_true(evict_all(place) >= 2);
	expect_file(place->root, "a", 1, 20 * MIB);
	expect_file(place->root, "b", 2, 70 * MIB);
	expect_sound(place);
	assert_true(away(place) >= 2);
	/* Also after a clean end, and after none. */
	end(place);
	open_store(place);
	find_main(place);
	assert_true(away(place) >= 2);
	assert_int_equal(place->store->format_version, BD_FORMAT_TIER);
	expect_file(place->root, "b", 2, 70 * MIB);
	bd_inode_unref(place->root, 1);
	bd_store_abandon(place->store);
	open_store(place);
	find_main(place);
	expect_file(place->root, "a", 1, 20 * MIB);
	expect_sound(place);
}

static void branches_and_changes(void **state)
{
	struct place *place = *state;
	struct bd_branch_info child;
	struct bd_snapshot_info snapshot;
	struct bd_inode *root, *file, *copy;
	struct bd_create how = {.mode = S_IFREG | 0600};
	uint8_t *bytes = nf_io_buffer(BLOCK), expected[BLOCK];

	put_file(place->root, "a", 1, 10 * MIB);
	evict_all(place);
	assert_int_equal(bd_snapshot_create(place->store, place->main.id, "before", &snapshot), 0);
	assert_int_equal(bd_branch_create(place->store, "child", (struct bd_view){place->main.id, BD_EPOCH_HEAD}, &child, NULL), 0);
	/* Three bytes in the middle of a block that is not here. */
	assert_int_equal(bd_lookup(place->root, "a", &file), 0);
	assert_int_equal(bd_write(file, 5 * MIB + 100, "xyz", 3, BD_WRITE_SYNC), 0);
	assert_int_equal(bd_read(file, 5 * MIB, bytes, BLOCK), (ssize_t)BLOCK);
	pattern(1, 5 * MIB, expected, BLOCK);
	memcpy(expected + 100, "xyz", 3);
	assert_memory_equal(bytes, expected, BLOCK);
	/* A clone refers to slots that are away. */
	assert_int_equal(bd_create(place->root, "copy", &how, &copy), 0);
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 10 * MIB), (ssize_t)(10 * MIB));
	assert_int_equal(bd_fsync(copy, true), 0);
	assert_int_equal(bd_read(copy, 5 * MIB, bytes, BLOCK), (ssize_t)BLOCK);
	assert_memory_equal(bytes, expected, BLOCK);
	/* Cut in the middle of a block. */
	struct bd_attr attr = {.size_bytes = 7 * MIB + 10}, after;
	assert_int_equal(bd_setattr(copy, BD_SET_SIZE, &attr, &after), 0);
	bd_inode_unref(file, 1);
	bd_inode_unref(copy, 1);
	evict_all(place);
	/* Replayed over extents that are in the object store. */
	bd_inode_unref(place->root, 1);
	bd_store_abandon(place->store);
	open_store(place);
	find_main(place);
	assert_int_equal(bd_root(place->store, (struct bd_view){child.id, BD_EPOCH_HEAD}, &root), 0);
	expect_file(root, "a", 1, 10 * MIB);
	bd_inode_unref(root, 1);
	assert_int_equal(bd_root(place->store, (struct bd_view){place->main.id, snapshot.epoch}, &root), 0);
	expect_file(root, "a", 1, 10 * MIB);
	bd_inode_unref(root, 1);
	assert_int_equal(bd_lookup(place->root, "copy", &copy), 0);
	assert_int_equal(bd_read(copy, 7 * MIB, bytes, BLOCK), 10);
	pattern(1, 7 * MIB, expected, BLOCK);
	assert_memory_equal(bytes, expected, 10);
	bd_inode_unref(copy, 1);
	expect_sound(place);
	free(bytes);
}

static void clones_in_the_log_behind_the_object(void **state)
{
	struct place *place = *state;
	struct bd_inode *file, *copy;
	struct bd_create how = {.mode = S_IFREG | 0600};

	put_file(place->root, "a", 1, 4 * MIB);
	evict_all(place);
	assert_int_equal(bd_lookup(place->root, "a", &file), 0);
	assert_int_equal(bd_create(place->root, "copy", &how, &copy), 0);
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 4 * MIB), (ssize_t)(4 * MIB));
	assert_int_equal(bd_fsync(copy, true), 0);
	bd_inode_unref(file, 1);
	bd_inode_unref(copy, 1);
	/* No checkpoint since: the runs are replayed, and the extents stay away. */
	uint64_t before = away(place);
	bd_inode_unref(place->root, 1);
	bd_store_abandon(place->store);
	open_store(place);
	find_main(place);
	assert_true(before > 0);
	assert_int_equal(away(place), before);
	expect_file(place->root, "copy", 1, 4 * MIB);
	expect_sound(place);
}

static void what_is_away_is_collected(void **state)
{
	struct place *place = *state;
	struct bd_gc_result result;
	struct bd_rows_doomed doomed[8];

	for (uint32_t i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		put_file(place->root, name, i, 4 * MIB);
	}
	assert_true(evict_all(place) >= 2);
	for (uint32_t i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		if (i % 4 != 0)
			assert_int_equal(bd_unlink(place->root, name), 0);
	}
	assert_int_equal(bd_store_gc(place->store, NULL, NULL, &result), 0);
	assert_int_equal(bd_store_gc(place->store, NULL, NULL, &result), 0);
	/* What lived was read from there, and lies here now; the objects are to go. */
	assert_int_equal(away(place), 0);
	assert_true(bd_rows_doomed(place->store->tier->rows, 0, doomed, 8) >= 1);
	for (uint32_t i = 0; i < 20; i += 4) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		expect_file(place->root, name, i, 4 * MIB);
	}
	expect_sound(place);
	bd_inode_unref(place->root, 1);
	bd_store_abandon(place->store);
	open_store(place);
	find_main(place);
	for (uint32_t i = 0; i < 20; i += 4) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		expect_file(place->root, name, i, 4 * MIB);
	}
	expect_sound(place);
}

static int flip_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)ftw;
	if (kind != FTW_F || strstr(path, "/extent/") == NULL)
		return 0;
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	/* The packed blocks are noise: the middle is one. */
	fseek(file, st->st_size / 2, SEEK_SET);
	int byte = fgetc(file);
	fseek(file, st->st_size / 2, SEEK_SET);
	fputc(byte ^ 1, file);
	fclose(file);
	return 0;
}

static void damage_is_an_error(void **state)
{
	struct place *place = *state;
	struct bd_inode *file;
	uint8_t *bytes = nf_io_buffer(BLOCK), expected[BLOCK];
	unsigned bad = 0;

	put_file(place->root, "a", 1, 8 * MIB);
	evict_all(place);
	nftw(place->objects, flip_one, 16, FTW_PHYS);
	assert_int_equal(bd_lookup(place->root, "a", &file), 0);
	for (uint64_t at = 0; at < 8 * MIB; at += BLOCK) {
		ssize_t n = bd_read(file, at, bytes, BLOCK);
		pattern(1, at, expected, BLOCK);
		if (n == (ssize_t)BLOCK)
			assert_memory_equal(bytes, expected, BLOCK);
		else
			assert_int_equal(n, -EUCLEAN);
		bad += n != (ssize_t)BLOCK;
	}
	assert_in_range(bad, 1, BD_GROUP_SLOTS * 2);
	bd_inode_unref(file, 1);
	free(bytes);
}

static void fetched_back_it_is_like_any_other(void **state)
{
	struct place *place = *state;
	struct bd_cold_status status;

	put_file(place->root, "a", 1, 30 * MIB);
	put_file(place->root, "b", 2, 50 * MIB);
	assert_true(evict_all(place) >= 2);
	assert_int_equal(bd_cold_prefetch(place->store, NULL, NULL), 0);
	assert_int_equal(away(place), 0);
	bd_cold_status(place->store->tier->cold, &status);
	assert_int_equal(status.cached_bytes, 0);
	uint64_t fetches = status.fetches;
	end(place);
	open_store(place);
	find_main(place);
	assert_int_equal(away(place), 0);
	expect_file(place->root, "a", 1, 30 * MIB);
	expect_file(place->root, "b", 2, 50 * MIB);
	bd_cold_status(place->store->tier->cold, &status);
	assert_int_equal(status.fetches, 0);
	assert_true(fetches > 0);
	assert_true(evict_all(place) >= 2);
	expect_file(place->root, "b", 2, 50 * MIB);
}

/* ---- the local limit */

struct watch {
	const char *path;
	pthread_t thread;
	_Atomic bool stop;
	uint64_t most;
};

static __thread uint64_t watched;

static int add_size(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)path, (void)ftw;
	if (kind == FTW_F)
		watched += (uint64_t)st->st_blocks * 512 / NF_MAX((uint64_t)st->st_nlink, 1);
	return 0;
}

static void *watch_main(void *arg)
{
	struct watch *watch = arg;

	while (!atomic_load(&watch->stop)) {
		watched = 0;
		nftw(watch->path, add_size, 16, FTW_PHYS);
		watch->most = NF_MAX(watch->most, watched);
		usleep(20000);
	}
	return NULL;
}

static void more_is_written_than_fits(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	struct watch watch = {0};
	struct bd_statfs room;

	*state = place;
	place->background = true;
	set_up_limited(place, bd_cold_least_limit());
	watch.path = place->store_path;
	assert_int_equal(pthread_create(&watch.thread, NULL, watch_main, &watch), 0);
	for (uint32_t i = 0; i < 14; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		put_file(place->root, name, i, 64 * MIB);
	}
	assert_int_equal(bd_statfs(place->store, &room), 0);
	assert_true(room.free_bytes > 1024 * 1024 * MIB);
	for (uint32_t i = 0; i < 14; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		expect_file(place->root, name, i, 64 * MIB);
	}
	expect_sound(place);
	atomic_store(&watch.stop, true);
	pthread_join(watch.thread, NULL);
	print_message("at most %u MiB were here\n", (unsigned)(watch.most >> 20));
	assert_true(watch.most <= bd_cold_least_limit());
}

#define cold_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cold_test(the_same_bytes),
		cold_test(branches_and_changes),
		cold_test(clones_in_the_log_behind_the_object),
		cold_test(what_is_away_is_collected),
		cold_test(damage_is_an_error),
		cold_test(fetched_back_it_is_like_any_other),
		cmocka_unit_test_teardown(more_is_written_than_fits, tear_down),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
