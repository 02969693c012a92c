/* A full disk: -ENOSPC, nothing changed, everything readable, and room again after deletion. */
#include "api.h"

#include <stdlib.h>

#define DISK (192 * MIB)
#define PIECE MIB

/* Fill `file` with pieces until there is no room; returns the pieces written. */
static unsigned fill(struct bd_inode *file, int byte)
{
	uint8_t *bytes = malloc(PIECE);
	unsigned count = 0;
	int err;

	assert_non_null(bytes);
	memset(bytes, byte, PIECE);
	do {
		err = bd_write(file, count * PIECE, bytes, PIECE, 0);
		if (err == 0)
			err = bd_fsync(file, true);
		count += err == 0;
	} while (err == 0 && count < 4096);
	free(bytes);
	assert_int_equal(err, -ENOSPC);
	return count;
}

static void a_full_disk_keeps_what_it_has(void **state)
{
	struct api *api = *state;
	struct bd_inode *first = api_create(api->root, "first", S_IFREG | 0600),
			*file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_status status;
	unsigned count;

	api_put(first, 0, 1, PIECE);
	assert_ok(bd_store_sync(api->store));
	nf_io_mem_set_capacity(api->io, DISK);
	count = fill(file, 2);
	assert_true(count > 8);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.error, 0); /* a full disk is not a broken store */
	api_expect(first, 0, 1, PIECE);
	api_expect(file, 0, 2, (count - 1) * PIECE);
	/* Names can still go, and with them the space comes back. */
	assert_ok(bd_unlink(api->root, "file"));
	bd_inode_unref(file, 1);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	file = api_create(api->root, "again", S_IFREG | 0600);
	api_put(file, 0, 3, 8 * PIECE);
	assert_ok(bd_fsync(file, false));
	api_expect(file, 0, 3, 8 * PIECE);
	bd_inode_unref(file, 1);
	bd_inode_unref(first, 1);
	api_crash(api);
	first = api_lookup(api->root, "first");
	api_expect(first, 0, 1, PIECE);
	bd_inode_unref(first, 1);
}

static void a_size_limit_is_a_full_disk(void **state)
{
	struct api api = {0};
	struct bd_inode *file;
	struct bd_statfs statfs;
	struct bd_status status;
	char message[512];

	(void)state;
	api_make_dir(api.path);
	assert_ok(nf_io_mem_create(0, &api.io));
	assert_ok(bd_store_format_io(api.path, api.io,
				     &(struct bd_format_options){.size_limit_bytes = DISK, .log_bytes = 16 * MIB}));
	assert_ok(api_open(&api, message));
	assert_ok(bd_store_status(api.store, &status));
	assert_int_equal(status.size_limit_bytes, DISK);
	assert_ok(bd_branch_create_empty(api.store, "main", 0, 0, &api.main));
	api.root = api_root(&api, api_head(api.main.id));
	assert_ok(bd_statfs(api.store, &statfs));
	assert_true(statfs.total_bytes <= DISK);
	assert_true(statfs.free_bytes <= statfs.total_bytes);
	file = api_create(api.root, "file", S_IFREG | 0600);
	assert_true(fill(file, 1) * PIECE <= DISK);
	bd_inode_unref(file, 1);
	bd_inode_unref(api.root, 1);
	assert_ok(bd_store_close(api.store));
	nf_io_destroy(api.io);
	api_remove_dir(api.path);
}

static uint64_t limit_of(struct api *api)
{
	struct bd_status status;

	assert_ok(bd_store_status(api->store, &status));
	return status.size_limit_bytes;
}

static uint64_t taken_by(struct api *api)
{
	struct bd_status status;

	assert_ok(bd_store_status(api->store, &status));
	return status.extent_bytes + status.log_bytes;
}

static void a_size_limit_rises_and_falls(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_statfs statfs;
	unsigned count;

	assert_int_equal(limit_of(api), 0);
	assert_int_equal(bd_store_set_size_limit(api->store, 16 * MIB + 128 * MIB - 1), -EINVAL);
	assert_ok(bd_store_set_size_limit(api->store, DISK));
	count = fill(file, 1);
	assert_true(count * PIECE <= DISK);
	/* Below what is there: refused, and nothing is changed. */
	assert_int_equal(bd_store_set_size_limit(api->store, 16 * MIB + 128 * MIB), -ENOSPC);
	assert_int_equal(limit_of(api), DISK);
	/* Room at once, with the same store open. */
	assert_ok(bd_store_set_size_limit(api->store, 2 * DISK));
	assert_ok(bd_statfs(api->store, &statfs));
	assert_true(statfs.free_bytes > DISK / 2);
	api_put(file, count * PIECE, 1, 64 * MIB);
	assert_ok(bd_fsync(file, true));
	assert_int_equal(bd_store_set_size_limit(api->store, DISK), -ENOSPC);
	bd_inode_unref(file, 1);
	/* It lasts, also through a power cut right after. */
	api_reopen(api);
	assert_int_equal(limit_of(api), 2 * DISK);
	file = api_lookup(api->root, "file");
	api_expect(file, 0, 1, count * PIECE + 64 * MIB);
	bd_inode_unref(file, 1);
	assert_ok(bd_store_set_size_limit(api->store, 3 * DISK));
	api_crash(api);
	assert_int_equal(limit_of(api), 3 * DISK);
	/* What was freed can be taken away, files that are kept for reuse too. */
	assert_ok(bd_unlink(api->root, "file"));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_true(taken_by(api) < DISK);
	assert_ok(bd_store_set_size_limit(api->store, DISK));
	struct bd_status status;
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.spare_bytes, 0);
	assert_ok(bd_store_set_size_limit(api->store, 0));
	file = api_create(api->root, "large", S_IFREG | 0600);
	api_put(file, 0, 2, DISK + 16 * MIB);
	assert_ok(bd_fsync(file, true));
	bd_inode_unref(file, 1);
}

/* Call number 1, 2, 3 ... of writing the limit down fails: the store opens again, with the old one or the new one. */
static void a_size_limit_that_cannot_be_written(void **state)
{
	struct api *api = *state;
	const unsigned kinds = 1u << NF_FAULT_WRITE | 1u << NF_FAULT_FSYNC | 1u << NF_FAULT_ALLOCATE | 1u << NF_FAULT_NAMESPACE;
	bool struck = true;
	unsigned refused = 0;

	api_wrap(api);
	for (uint64_t call = 1; struck; call++) {
		uint64_t before = limit_of(api), wanted = DISK + call * MIB;
		const struct nf_fault fault = {.kinds_mask = kinds, .countdown = call, .error = -EIO};
		nf_io_fault_set(api->io, &fault);
		int err = bd_store_set_size_limit(api->store, wanted);
		struck = nf_io_fault_struck(api->io);
		nf_io_fault_set(api->io, &(struct nf_fault){0});
		assert_int_equal(err, struck ? -EIO : 0);
		assert_int_equal(limit_of(api), struck ? before : wanted);
		api_crash_as(api, call);
		assert_true(limit_of(api) == wanted || (struck && limit_of(api) == before));
		refused += struck;
	}
	assert_true(refused >= 4);
}

static void free_space_follows_use(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_statfs before, after;

	nf_io_mem_set_capacity(api->io, UINT64_C(4) << 30);
	assert_ok(bd_statfs(api->store, &before));
	api_put(file, 0, 1, 64 * MIB);
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_statfs(api->store, &after));
	assert_true(after.free_bytes + 60 * MIB <= before.free_bytes);
	assert_true(after.files > before.files || after.files >= 2);
	assert_int_equal(bd_fallocate(file, 0, 0, UINT64_C(16) << 30), -ENOSPC);
	assert_int_equal(api_attr(file).size_bytes, 64 * MIB);
	bd_inode_unref(file, 1);
}

/* Where blocks cannot be moved for lack of disk, collecting says so and takes nothing. */
static void a_collection_that_has_no_room_takes_nothing(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_status before, after;
	uint64_t free_bytes, total_bytes;

	/* Extents of which three quarters live. */
	api_put(file, 0, 1, 256 * MIB);
	assert_ok(bd_fsync(file, true));
	for (unsigned i = 0; i < 256; i += 4)
		api_put(file, i * MIB, 2, MIB);
	assert_ok(bd_fsync(file, true));
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(nf_io_free_bytes(api->io, &free_bytes, &total_bytes));
	/* Others have filled the disk, but for what the index may need. */
	nf_io_mem_set_capacity(api->io, total_bytes - free_bytes + 30 * MIB);
	assert_ok(bd_store_status(api->store, &before));
	assert_int_equal(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}), -ENOSPC);
	assert_ok(bd_store_status(api->store, &after));
	assert_true(after.extent_bytes <= before.extent_bytes);
	/* With room it does its work, and gives back what it reserved. */
	nf_io_mem_set_capacity(api->io, 0);
	api_put(file, 0, 3, BLOCK);
	assert_ok(bd_fsync(file, true));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_status(api->store, &after));
	assert_true(after.extent_bytes < before.live_bytes + 8 * MIB);
	api_expect(file, 0, 3, BLOCK);
	api_expect(file, 4 * MIB, 2, MIB);
	api_expect(file, MIB, 1, 3 * MIB);
	bd_inode_unref(file, 1);
}

/* What front writes leave is enough to get at garbage that is spread thinly. */
static void a_full_store_can_be_collected(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_inode *fills = api_create(api->root, "fills", S_IFREG | 0600);
	struct bd_statfs full, after;
	uint64_t filled;

	nf_io_mem_set_capacity(api->io, 500 * MIB);
	api_put(file, 0, 1, 192 * MIB);
	assert_ok(bd_fsync(file, true));
	for (unsigned i = 0; i < 192; i += 7)
		api_put(file, i * MIB, 2, MIB);
	assert_ok(bd_fsync(file, true));
	filled = fill(fills, 3);
	assert_true(filled > 0);
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_statfs(api->store, &full));
	assert_true(full.free_bytes < 5 * MIB);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_statfs(api->store, &after));
	assert_true(after.free_bytes >= full.free_bytes + 20 * MIB);
	api_put(file, 192 * MIB, 4, 16 * MIB);
	assert_ok(bd_fsync(file, true));
	api_expect(file, 0, 2, MIB);
	api_expect(file, MIB, 1, 6 * MIB);
	bd_inode_unref(fills, 1);
	bd_inode_unref(file, 1);
}

/* Disk reserved ahead comes back when an extent is closed before it is full. */
static void sealing_gives_back_what_was_reserved(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_status status;

	api_put(file, 0, 1, PIECE);
	assert_ok(bd_fsync(file, true));
	assert_ok(bd_store_status(api->store, &status));
	assert_true(status.extent_bytes >= 4 * MIB);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_status(api->store, &status));
	assert_true(status.extent_bytes < 2 * MIB);
	api_expect(file, 0, 1, PIECE);
	bd_inode_unref(file, 1);
}

/* An extent that was being filled at a crash is never filled up: what it has too much is garbage like any other. */
static void what_a_crash_left_reserved_is_collected(void **state)
{
	struct api *api = *state;
	struct bd_status status;

	for (unsigned round = 0; round < 8; round++) {
		struct bd_inode *file =
			round == 0 ? api_create(api->root, "file", S_IFREG | 0600) : api_lookup(api->root, "file");
		api_put(file, round * PIECE, 1 + (int)round, PIECE);
		assert_ok(bd_fsync(file, true));
		bd_inode_unref(file, 1);
		api_crash(api);
	}
	assert_ok(bd_store_status(api->store, &status));
	assert_true(status.extent_bytes >= 32 * MIB);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_status(api->store, &status));
	assert_true(status.extent_bytes <= 24 * MIB);
}

/* In a store that is large enough the next extent is made ahead; a clean close keeps nothing of it, a crash does no harm. */
static void the_extent_made_ahead_is_used_or_goes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_status before, after;

	api_put(file, 0, 1, 300 * MIB);
	assert_ok(bd_fsync(file, true));
	assert_ok(bd_store_status(api->store, &before));
	assert_true(before.extent_bytes > 300 * MIB + 64 * MIB); /* five extents, and the sixth */
	bd_inode_unref(file, 1);
	api_crash(api);
	file = api_lookup(api->root, "file");
	api_expect(file, 0, 1, 300 * MIB);
	api_put(file, 300 * MIB, 2, 60 * MIB);
	assert_ok(bd_fsync(file, true));
	bd_inode_unref(file, 1);
	api_reopen(api);
	file = api_lookup(api->root, "file");
	api_expect(file, 0, 1, 300 * MIB);
	api_expect(file, 300 * MIB, 2, 60 * MIB);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_status(api->store, &after));
	assert_true(after.extent_bytes < 360 * MIB + 32 * MIB);
	bd_inode_unref(file, 1);
}

static uint64_t dropped(struct api *api)
{
	struct bd_gc_result result = {0};
	assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
	return result.versions_dropped;
}

static void expect_in(struct api *api, struct bd_view view, const char *name, int byte)
{
	struct bd_inode *root = api_root(api, view), *file = api_lookup(root, name);
	api_expect(file, 0, byte, PIECE);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

/* A snapshot and two children begin at one epoch. What only that epoch shows stays until the last of them is gone, in whatever order they go, and goes
 * then. */
static void old_versions_go_with_the_last_who_shows_them(void **state)
{
	struct api *api = *state;
	struct bd_inode *kept = api_create(api->root, "kept", S_IFREG | 0600), *gone = api_create(api->root, "gone", S_IFREG | 0600);
	for (unsigned order = 0; order < 3; order++) {
		struct bd_snapshot_info snapshot, later;
		struct bd_branch_info children[2];
		api_put(kept, 0, 1, PIECE);
		api_put(gone, 0, 2, PIECE);
		assert_ok(bd_snapshot_create(api->store, api->main.id, "point", &snapshot));
		const struct bd_view point = {api->main.id, snapshot.epoch};
		assert_ok(bd_branch_create(api->store, "first", point, &children[0], NULL));
		assert_ok(bd_branch_create(api->store, "second", point, &children[1], NULL));
		api_put(kept, 0, 3, PIECE);
		bd_inode_unref(gone, 1);
		assert_ok(bd_unlink(api->root, "gone"));
		/* A snapshot that has neither: other pins before and behind do not count. */
		assert_ok(bd_snapshot_create(api->store, api->main.id, "later", &later));
		dropped(api);
		for (unsigned i = 0; i < 3; i++) {
			unsigned who = (i + order) % 3;
			if (who == 2)
				assert_ok(bd_snapshot_delete(api->store, api->main.id, "point"));
			else
				assert_ok(bd_branch_delete(api->store, children[who].id));
			uint64_t count = dropped(api);
			if (i < 2)
				assert_int_equal(count, 0);
			else
				assert_true(count >= 2 * PIECE / BLOCK);
			for (unsigned left = i + 1; left < 3; left++) {
				unsigned still = (left + order) % 3;
				struct bd_view view = still == 2 ? point : api_head(children[still].id);
				expect_in(api, view, "kept", 1);
				expect_in(api, view, "gone", 2);
			}
			expect_in(api, api_head(api->main.id), "kept", 3);
		}
		assert_ok(bd_snapshot_delete(api->store, api->main.id, "later"));
		gone = api_create(api->root, "gone", S_IFREG | 0600);
	}
	struct bd_scrub_result result;
	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &result));
	assert_int_equal(result.bad_blocks + result.bad_keys + result.orphan_keys, 0);
	bd_inode_unref(kept, 1);
	bd_inode_unref(gone, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(a_full_disk_keeps_what_it_has),
		cmocka_unit_test(a_size_limit_is_a_full_disk),
		api_test(a_size_limit_rises_and_falls),
		api_test(a_size_limit_that_cannot_be_written),
		api_test(old_versions_go_with_the_last_who_shows_them),
		api_test(free_space_follows_use),
		api_test(a_collection_that_has_no_room_takes_nothing),
		api_test(a_full_store_can_be_collected),
		api_test(sealing_gives_back_what_was_reserved),
		api_test(what_a_crash_left_reserved_is_collected),
		api_test(the_extent_made_ahead_is_used_or_goes),
	};

	return cmocka_run_group_tests_name("api_space", tests, NULL, NULL);
}
