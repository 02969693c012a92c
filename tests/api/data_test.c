/* Reading, writing, holes, clones and what fsync promises. */
#include "api.h"

#include <stdlib.h>

static void reads_end_at_the_end(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	char buf[64];

	assert_int_equal(bd_read(file, 0, buf, sizeof(buf)), 0);
	api_put(file, 0, 'a', 100);
	assert_int_equal(bd_read(file, 90, buf, sizeof(buf)), 10);
	assert_int_equal(bd_read(file, 100, buf, sizeof(buf)), 0);
	assert_int_equal(bd_read(file, UINT64_C(1) << 50, buf, sizeof(buf)), 0);
	assert_int_equal(bd_read(file, 0, buf, 0), 0);
	assert_int_equal(bd_read(api->root, 0, buf, sizeof(buf)), -EISDIR);
	assert_int_equal(bd_write(api->root, 0, "x", 1, 0), -EISDIR);
	bd_inode_unref(file, 1);
}

static void writes_meet_at_every_edge(void **state)
{
	static const uint64_t edges[] = {0, 1, 511, 512, 4095, 4096, 8191, 8192, 8193, 12288, 16384, 20000, 24576};
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	uint8_t *model = calloc(1, 64 * KIB), *buf = malloc(64 * KIB);
	uint64_t size = 0;
	int byte = 0;

	for (size_t i = 0; i < NF_ARRAY_LEN(edges); i++)
		for (size_t k = i + 1; k < NF_ARRAY_LEN(edges); k++) {
			byte = byte % 255 + 1;
			memset(model + edges[i], byte, edges[k] - edges[i]);
			size = NF_MAX(size, edges[k]);
			api_put(file, edges[i], byte, edges[k] - edges[i]);
			assert_int_equal(bd_read(file, 0, buf, 64 * KIB), size);
			assert_memory_equal(buf, model, size);
		}
	bd_inode_unref(file, 1);
	api_reopen(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(bd_read(file, 0, buf, 64 * KIB), size);
	assert_memory_equal(buf, model, size);
	bd_inode_unref(file, 1);
	free(model);
	free(buf);
}

static void truncation_leaves_nothing_behind(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);

	api_put(file, 0, 'a', 5 * BLOCK);
	api_set_size(file, BLOCK + 100);
	api_set_size(file, 5 * BLOCK);
	api_expect(file, 0, 'a', BLOCK + 100);
	api_expect(file, BLOCK + 100, 0, 4 * BLOCK - 100);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	api_crash(api);
	file = api_lookup(api->root, "file");
	api_expect(file, 0, 'a', BLOCK + 100);
	api_expect(file, BLOCK + 100, 0, 4 * BLOCK - 100);
	bd_inode_unref(file, 1);
}

static void fallocate_knows_its_modes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	const unsigned punch = BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE;

	assert_ok(bd_fallocate(file, BD_FALLOC_KEEP_SIZE, 0, 10 * BLOCK));
	assert_int_equal(api_attr(file).size_bytes, 0);
	assert_ok(bd_fallocate(file, 0, 0, 10 * BLOCK));
	assert_int_equal(api_attr(file).size_bytes, 10 * BLOCK);
	api_expect(file, 0, 0, 10 * BLOCK);
	api_put(file, 0, 'a', 10 * BLOCK);
	assert_ok(bd_fallocate(file, 0, 0, 5 * BLOCK)); /* what is there stays */
	api_expect(file, 0, 'a', 10 * BLOCK);
	assert_ok(bd_fallocate(file, punch, BLOCK + 10, 2 * BLOCK));
	api_expect(file, 0, 'a', BLOCK + 10);
	api_expect(file, BLOCK + 10, 0, 2 * BLOCK);
	api_expect(file, 3 * BLOCK + 10, 'a', 7 * BLOCK - 10);
	assert_ok(bd_fallocate(file, punch, 9 * BLOCK, 100 * BLOCK));
	assert_int_equal(api_attr(file).size_bytes, 10 * BLOCK);
	assert_ok(bd_fallocate(file, BD_FALLOC_ZERO_RANGE, 8 * BLOCK - 1, 4 * BLOCK));
	assert_int_equal(api_attr(file).size_bytes, 12 * BLOCK - 1);
	api_expect(file, 8 * BLOCK - 2, 'a', 1);
	api_expect(file, 8 * BLOCK - 1, 0, 4 * BLOCK);
	assert_int_equal(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE, 0, BLOCK), -EINVAL);
	assert_int_equal(bd_fallocate(file, punch | BD_FALLOC_ZERO_RANGE, 0, BLOCK), -EINVAL);
	assert_true(bd_fallocate(file, 64, 0, BLOCK) < 0);
	assert_int_equal(bd_fallocate(file, 0, 0, 0), -EINVAL);
	bd_inode_unref(file, 1);
}

static void expect_seek(struct bd_inode *file, uint64_t from, bool data, uint64_t want)
{
	uint64_t found = 12345;

	assert_ok(bd_seek(file, from, data, &found));
	assert_int_equal(found, want);
}

static void seek_finds_data_and_holes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	uint64_t found;

	assert_int_equal(bd_seek(file, 0, true, &found), -ENXIO);
	assert_int_equal(bd_seek(file, 0, false, &found), -ENXIO);
	api_put(file, 3 * BLOCK, 'a', 2 * BLOCK);
	api_put(file, 1000 * BLOCK + 5, 'b', 10);
	api_set_size(file, 2000 * BLOCK);
	for (int round = 0; round < 2; round++) {
		expect_seek(file, 0, true, 3 * BLOCK);
		expect_seek(file, 0, false, 0);
		expect_seek(file, 3 * BLOCK + 7, true, 3 * BLOCK + 7);
		expect_seek(file, 3 * BLOCK, false, 5 * BLOCK);
		expect_seek(file, 5 * BLOCK, true, 1000 * BLOCK);
		expect_seek(file, 1000 * BLOCK, false, 1001 * BLOCK);
		assert_int_equal(bd_seek(file, 1001 * BLOCK, true, &found), -ENXIO);
		expect_seek(file, 1500 * BLOCK, false, 1500 * BLOCK);
		assert_int_equal(bd_seek(file, 2000 * BLOCK, false, &found), -ENXIO);
		bd_inode_unref(file, 1);
		api_reopen(api);
		file = api_lookup(api->root, "file");
	}
	api_set_size(file, 1000 * BLOCK + 15);
	expect_seek(file, 1000 * BLOCK, false, 1000 * BLOCK + 15);
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 3 * BLOCK, BLOCK));
	expect_seek(file, 0, true, 4 * BLOCK);
	bd_inode_unref(file, 1);
}

static void allocation_is_counted(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);

	assert_int_equal(api_attr(file).blocks_512, 0);
	api_put(file, 0, 'a', 10 * BLOCK);
	assert_in_range(api_attr(file).blocks_512, 10 * BLOCK / 512, 11 * BLOCK / 512);
	api_set_size(file, 0);
	assert_int_equal(api_attr(file).blocks_512, 0);
	bd_inode_unref(file, 1);
}

static void clones_share_and_then_differ(void **state)
{
	struct api *api = *state;
	struct bd_inode *from = api_create(api->root, "from", S_IFREG | 0600), *to = api_create(api->root, "to", S_IFREG | 0600);
	struct bd_status before, after;

	api_put(from, 0, 'a', MIB);
	assert_ok(bd_fsync(from, false));
	assert_ok(bd_store_status(api->store, &before));
	assert_int_equal(bd_clone_range(from, 0, to, 0, 2 * MIB), MIB); /* short at the end of the source */
	assert_ok(bd_fsync(to, false));
	assert_ok(bd_store_status(api->store, &after));
	assert_true(after.written_bytes < before.written_bytes + 64 * KIB);
	assert_int_equal(api_attr(to).size_bytes, MIB);
	api_expect(to, 0, 'a', MIB);
	api_put(from, 0, 'b', BLOCK);
	api_put(to, BLOCK, 'c', BLOCK);
	api_expect(from, 0, 'b', BLOCK);
	api_expect(from, BLOCK, 'a', MIB - BLOCK);
	api_expect(to, 0, 'a', BLOCK);
	api_expect(to, BLOCK, 'c', BLOCK);
	assert_int_equal(bd_clone_range(from, 2 * MIB, to, 0, BLOCK), 0);
	/* The source may go; its shared blocks stay, also through a collection. */
	assert_ok(bd_unlink(api->root, "from"));
	bd_inode_unref(from, 1);
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	api_expect(to, 2 * BLOCK, 'a', MIB - 2 * BLOCK);
	bd_inode_unref(to, 1);
	api_crash(api);
	to = api_lookup(api->root, "to");
	api_expect(to, 2 * BLOCK, 'a', MIB - 2 * BLOCK);
	bd_inode_unref(to, 1);
}

static void clones_at_odd_places_copy(void **state)
{
	struct api *api = *state;
	struct bd_inode *from = api_create(api->root, "from", S_IFREG | 0600), *to = api_create(api->root, "to", S_IFREG | 0600);

	api_put(from, 0, 'a', 10 * BLOCK);
	api_put(to, 0, 'z', 10 * BLOCK);
	assert_int_equal(bd_clone_range(from, 3, to, 1000, 3 * BLOCK), 3 * BLOCK);
	api_expect(to, 0, 'z', 1000);
	api_expect(to, 1000, 'a', 3 * BLOCK);
	api_expect(to, 1000 + 3 * BLOCK, 'z', 7 * BLOCK - 1000);
	assert_int_equal(bd_clone_range(from, BLOCK + 5, to, 5 * BLOCK + 5, 2 * BLOCK), 2 * BLOCK);
	api_expect(to, 5 * BLOCK, 'z', 5);
	api_expect(to, 5 * BLOCK + 5, 'a', 2 * BLOCK);
	assert_int_equal(api_attr(to).size_bytes, 10 * BLOCK);
	/* Within one file, apart; and on top of itself is refused. */
	assert_int_equal(bd_clone_range(to, 5 * BLOCK + 5, to, 8 * BLOCK + 5, BLOCK), BLOCK);
	api_expect(to, 8 * BLOCK + 5, 'a', BLOCK);
	assert_int_equal(bd_clone_range(to, 0, to, BLOCK, 2 * BLOCK), -EINVAL);
	assert_int_equal(bd_clone_range(api->root, 0, to, 0, BLOCK), -EISDIR);
	bd_inode_unref(from, 1);
	bd_inode_unref(to, 1);
}

static void clones_cross_branches_and_epochs(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *old_root, *old, *root, *to;
	struct bd_branch_info other;
	struct bd_snapshot_info snapshot;

	api_put(file, 0, 'a', 10 * BLOCK);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
	api_put(file, 0, 'b', 10 * BLOCK);
	assert_ok(bd_branch_create_empty(api->store, "other", 0, 0, &other));
	root = api_root(api, api_head(other.id));
	to = api_create(root, "copy", S_IFREG | 0600);
	old_root = api_root(api, (struct bd_view){api->main.id, snapshot.epoch});
	old = api_lookup(old_root, "file");
	assert_int_equal(bd_clone_range(old, 0, to, 0, 5 * BLOCK), 5 * BLOCK);
	assert_int_equal(bd_clone_range(file, 5 * BLOCK, to, 5 * BLOCK, 5 * BLOCK), 5 * BLOCK);
	assert_int_equal(bd_clone_range(old, 0, file, 9 * BLOCK, BLOCK), BLOCK);
	bd_inode_unref(old, 1);
	bd_inode_unref(old_root, 1);
	bd_inode_unref(file, 1);
	assert_ok(bd_store_sync(api->store));
	bd_inode_unref(to, 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "s"));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	api_crash(api);
	root = api_root(api, api_head(other.id));
	to = api_lookup(root, "copy");
	api_expect(to, 0, 'a', 5 * BLOCK);
	api_expect(to, 5 * BLOCK, 'b', 5 * BLOCK);
	bd_inode_unref(to, 1);
	bd_inode_unref(root, 1);
}

/* ---- durability ---- */

static void what_was_synced_survives(void **state)
{
	struct api *api = *state;
	struct bd_inode *dir = api_create(api->root, "dir", S_IFDIR | 0700), *file = api_create(dir, "file", S_IFREG | 0600);
	struct bd_inode *direct = api_create(dir, "direct", S_IFREG | 0600);
	uint8_t *block = calloc(1, BLOCK);

	api_put(file, 5, 'a', 20 * BLOCK);
	assert_ok(bd_fsync(file, true));
	memset(block, 'd', BLOCK);
	assert_ok(bd_write(direct, BLOCK, block, BLOCK, BD_WRITE_SYNC));
	bd_inode_unref(file, 1);
	bd_inode_unref(direct, 1);
	bd_inode_unref(dir, 1);
	for (int round = 0; round < 3; round++) {
		api_crash(api);
		dir = api_lookup(api->root, "dir");
		file = api_lookup(dir, "file");
		api_expect(file, 0, 0, 5);
		api_expect(file, 5, 'a', 20 * BLOCK);
		direct = api_lookup(dir, "direct");
		api_expect(direct, 0, 0, BLOCK);
		api_expect(direct, BLOCK, 'd', BLOCK);
		bd_inode_unref(file, 1);
		bd_inode_unref(direct, 1);
		bd_inode_unref(dir, 1);
	}
	free(block);
}

static void sync_of_the_store_covers_everything(void **state)
{
	struct api *api = *state;
	struct bd_inode *a = api_create(api->root, "a", S_IFREG | 0600), *b = api_create(api->root, "b", S_IFREG | 0600);

	api_put(a, 0, 1, 100 * BLOCK);
	api_put(b, 0, 2, 10);
	assert_ok(bd_rename(api->root, "b", api->root, "c", 0));
	assert_ok(bd_store_sync(api->store));
	bd_inode_unref(a, 1);
	bd_inode_unref(b, 1);
	api_crash(api);
	a = api_lookup(api->root, "a");
	b = api_lookup(api->root, "c");
	api_expect(a, 0, 1, 100 * BLOCK);
	api_expect(b, 0, 2, 10);
	bd_inode_unref(a, 1);
	bd_inode_unref(b, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(reads_end_at_the_end),
		api_test(writes_meet_at_every_edge),
		api_test(truncation_leaves_nothing_behind),
		api_test(fallocate_knows_its_modes),
		api_test(seek_finds_data_and_holes),
		api_test(allocation_is_counted),
		api_test(clones_share_and_then_differ),
		api_test(clones_at_odd_places_copy),
		api_test(clones_cross_branches_and_epochs),
		api_test(what_was_synced_survives),
		api_test(sync_of_the_store_covers_everything),
	};

	return cmocka_run_group_tests_name("api_data", tests, NULL, NULL);
}
