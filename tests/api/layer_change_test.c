/* Redo layers: what wins when something else changes the same block, before it is made or meanwhile. */
#include "layer_case.h"

#include <stdlib.h>
#include <unistd.h>

static void who_writes_first_wins(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 20);

	layers_lay(api, api->main.id, 5, 2);
	api_put(file, 2 * BLOCK, 9, BLOCK);
	assert_int_equal(layer_hook.applied, 0);
	layer_expect_block(file, 2, 9);
	assert_int_equal(layer_hook.applied, 0);
	/* In part: it is made, and then written. */
	api_put(file, 4 * BLOCK + 10, 8, 20);
	assert_int_equal(layer_hook.applied, 1);
	api_expect(file, 4 * BLOCK, through(1, 5), 10);
	api_expect(file, 4 * BLOCK + 10, 8, 20);
	api_expect(file, 4 * BLOCK + 30, through(1, 5), BLOCK - 30);
	/* From the middle of one to the middle of another. */
	api_put(file, 6 * BLOCK + 1, 7, 2 * BLOCK);
	api_expect(file, 6 * BLOCK, through(1, 5), 1);
	api_expect(file, 6 * BLOCK + 1, 7, 2 * BLOCK);
	api_expect(file, 8 * BLOCK + 1, through(1, 5), BLOCK - 1);
	/* Synchronously, into the log. */
	assert_ok(bd_write(file, 10 * BLOCK + 5, "abc", 3, BD_WRITE_SYNC));
	api_expect(file, 10 * BLOCK, through(1, 5), 5);
	api_expect(file, 10 * BLOCK + 8, through(1, 5), BLOCK - 8);
	bd_inode_unref(file, 1);
	assert_ok(bd_store_sync(api->store));
	layer_crash(api);
	file = api_lookup(api->root, "file");
	layer_expect_block(file, 2, 9);
	api_expect(file, 4 * BLOCK + 30, through(1, 5), BLOCK - 30);
	api_expect(file, 10 * BLOCK, through(1, 5), 5);
	layer_expect_block(file, 12, through(1, 5));
	bd_inode_unref(file, 1);
}

static void what_is_cut_off_does_not_come_back(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 20);

	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 2 * BLOCK, 2 * BLOCK));
	api_expect(file, 2 * BLOCK, 0, 2 * BLOCK);
	assert_int_equal(layer_hook.applied, 0);
	/* A hole with edges inside blocks that are to be made. */
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 6 * BLOCK + 100, 2 * BLOCK));
	assert_int_equal(layer_hook.applied, 2);
	api_expect(file, 6 * BLOCK, through(1, 5), 100);
	api_expect(file, 6 * BLOCK + 100, 0, 2 * BLOCK);
	api_expect(file, 8 * BLOCK + 100, through(1, 5), BLOCK - 100);
	api_set_size(file, 12 * BLOCK);
	api_set_size(file, 20 * BLOCK);
	assert_int_equal(layer_hook.applied, 2);
	api_expect(file, 12 * BLOCK, 0, 8 * BLOCK);
	api_set_size(file, 10 * BLOCK + 7);
	assert_int_equal(layer_hook.applied, 3);
	api_set_size(file, 11 * BLOCK);
	api_expect(file, 10 * BLOCK, through(1, 5), 7);
	api_expect(file, 10 * BLOCK + 7, 0, BLOCK - 7);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	layer_crash(api);
	file = api_lookup(api->root, "file");
	api_set_size(file, 20 * BLOCK);
	layer_expect_block(file, 0, through(1, 5));
	api_expect(file, 2 * BLOCK, 0, 2 * BLOCK);
	api_expect(file, 10 * BLOCK + 7, 0, 10 * BLOCK - 7);
	bd_inode_unref(file, 1);
}

static void seek_finds_what_is_to_be_made(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	uint64_t found;

	api_set_size(file, 1200 * BLOCK);
	layers_lay(api, api->main.id, 5, 200);
	for (unsigned round = 0; round < 2; round++) {
		assert_ok(bd_seek(file, 1 * BLOCK, true, &found));
		assert_int_equal(found, 200 * BLOCK);
		assert_ok(bd_seek(file, 400 * BLOCK, false, &found));
		assert_int_equal(found, 401 * BLOCK);
		assert_int_equal(bd_seek(file, 1001 * BLOCK, true, &found), -ENXIO);
		bd_inode_unref(file, 1);
		layer_reopen(api);
		file = api_lookup(api->root, "file");
	}
	assert_int_equal(layer_hook.applied, 0);
	assert_int_equal(api_attr(file).blocks_512, 0);
	api_expect(file, 0, through(0, 5), BLOCK);
	assert_int_equal(api_attr(file).blocks_512, BLOCK / 512);
	bd_inode_unref(file, 1);
	layer_reopen(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(api_attr(file).blocks_512, BLOCK / 512);
	bd_inode_unref(file, 1);
}

static void clones_are_made_first(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 200), *to = api_create(api->root, "to", S_IFREG | 0600);
	struct bd_snapshot_info snapshot;
	struct bd_status before, after;

	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &snapshot));
	assert_ok(bd_store_status(api->store, &before));
	assert_int_equal(bd_clone_range(file, 0, to, 0, 200 * BLOCK), 200 * BLOCK);
	assert_int_equal(layer_hook.applied, 100);
	assert_ok(bd_store_status(api->store, &after));
	assert_int_equal(after.written_bytes, before.written_bytes); /* shared, not copied */
	layer_expect_through(to, 200, 1, 5);
	layer_expect_through(file, 200, 1, 5);
	assert_int_equal(layer_hook.applied, 100);
	/* From a view in which nothing is stored; onto blocks that are to be made. */
	layers_lay(api, api->main.id, 9, 1);
	struct bd_inode *old = layer_file_of(api, (struct bd_view){api->main.id, snapshot.epoch}, "file");
	assert_int_equal(bd_clone_range(old, 0, to, 10 * BLOCK, 20 * BLOCK), 20 * BLOCK);
	for (uint32_t i = 0; i < 20; i++)
		layer_expect_block(to, 10 + i, i % 2 == 0 ? through(1, 5) : 1);
	layer_expect_block(to, 9, through(1, 9));
	layer_expect_block(to, 30, through(through(1, 5), 9));
	bd_inode_unref(old, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(to, 1);
}

/* A frozen view stores nothing that is made, so that much is copied; what has bytes is shared all the same, and holes stay holes. */
static void a_clone_of_a_frozen_view_copies_what_is_made_and_nothing_else(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 200), *to = api_create(api->root, "to", S_IFREG | 0600);
	struct bd_snapshot_info snapshot;
	struct bd_status before, after;
	uint64_t found;

	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 3 * BLOCK, BLOCK));
	layers_lay(api, api->main.id, 5, 8);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &snapshot));
	struct bd_inode *old = layer_file_of(api, (struct bd_view){api->main.id, snapshot.epoch}, "file");
	assert_ok(bd_store_status(api->store, &before));
	assert_int_equal(bd_clone_range(old, 0, to, 0, 200 * BLOCK), 200 * BLOCK);
	assert_ok(bd_store_status(api->store, &after));
	assert_int_equal(after.written_bytes - before.written_bytes, 200 / 8 * BLOCK);
	for (uint32_t i = 0; i < 200; i++)
		layer_expect_block(to, i, i % 8 == 0 ? through(1, 5) : i == 3 ? 0 : 1);
	assert_ok(bd_seek(to, 0, false, &found));
	assert_int_equal(found, 3 * BLOCK);
	bd_inode_unref(old, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(to, 1);
}

struct meanwhile {
	struct api *api;
	struct bd_inode *file;
	unsigned left;
	enum { OVERWRITE, PUNCH, LAY } what;
};

static void change_in_apply(void *arg, uint64_t file, uint32_t block)
{
	struct meanwhile *meanwhile = arg;

	(void)file;
	if (meanwhile->left == 0)
		return;
	meanwhile->left--;
	if (meanwhile->what == OVERWRITE)
		api_put(meanwhile->file, block * BLOCK, 9, BLOCK);
	else if (meanwhile->what == PUNCH)
		assert_ok(bd_fallocate(meanwhile->file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, block * BLOCK, BLOCK));
	else
		layers_lay(meanwhile->api, meanwhile->api->main.id, 9, 1);
}

static void a_change_while_a_block_is_made_wins(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 20);
	struct meanwhile meanwhile = {.api = api, .file = file, .left = 1, .what = OVERWRITE};
	uint8_t *bytes = nf_io_buffer(4 * BLOCK);

	layers_lay(api, api->main.id, 5, 2);
	layer_hook.in_apply = change_in_apply;
	layer_hook.arg = &meanwhile;
	assert_int_equal(bd_read(file, 0, bytes, 4 * BLOCK), 4 * BLOCK);
	layer_expect_block(file, 0, 9);
	layer_expect_block(file, 1, 1);
	layer_expect_block(file, 2, through(1, 5));
	meanwhile.left = 1;
	meanwhile.what = PUNCH;
	assert_int_equal(bd_read(file, 4 * BLOCK, bytes, 4 * BLOCK), 4 * BLOCK);
	layer_expect_block(file, 4, 0);
	layer_expect_block(file, 6, through(1, 5));
	meanwhile.left = 1;
	meanwhile.what = LAY;
	assert_int_equal(bd_read(file, 8 * BLOCK, bytes, 4 * BLOCK), 4 * BLOCK);
	layer_expect_block(file, 8, through(through(1, 5), 9));
	layer_expect_block(file, 9, through(1, 9));
	layer_expect_block(file, 0, through(9, 9));
	layer_expect_block(file, 4, through(0, 9));
	bd_inode_unref(file, 1);
	free(bytes);
	layer_hook.in_apply = NULL;
	layer_crash(api);
	file = api_lookup(api->root, "file");
	layer_expect_block(file, 8, through(through(1, 5), 9));
	bd_inode_unref(file, 1);
}

/* The last block that the layer is to make is overwritten, and the layer taken away, while somebody makes that block: what lay below may be gone in the middle
 * of it, which is no error of his. */
static void take_away_in_apply(void *arg, uint64_t file, uint32_t block)
{
	struct meanwhile *meanwhile = arg;

	(void)file;
	layer_hook.in_apply = NULL;
	api_put(meanwhile->file, block * BLOCK, 9, BLOCK);
	assert_ok(bd_layer_delete(meanwhile->api->store, meanwhile->api->main.id, (struct bd_epoch){meanwhile->left}));
	layer_collect(meanwhile->api);
}

static void a_layer_may_go_while_a_block_is_made(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 2);
	struct meanwhile meanwhile = {.api = api, .file = file};

	for (unsigned round = 0; round < 2; round++) {
		api_put(file, 0, 1, BLOCK);
		meanwhile.left = layers_lay(api, api->main.id, 5, 2);
		layer_hook.in_apply = take_away_in_apply;
		layer_hook.arg = &meanwhile;
		layer_hook.apply_error = round == 0 ? 0 : -ENODATA;
		layer_expect_block(file, 0, 9);
		layer_hook.apply_error = 0;
	}
	bd_inode_unref(file, 1);
}

static void sleep_in_apply(void *arg, uint64_t file, uint32_t block)
{
	(void)arg;
	(void)file;
	(void)block;
	usleep(100000);
}

static void *read_first(void *arg)
{
	uint8_t *bytes = nf_io_buffer(BLOCK);
	ssize_t got = bd_read(arg, 0, bytes, BLOCK);
	bool right = got == (ssize_t)BLOCK && bytes[0] == through(1, 5) && bytes[BLOCK - 1] == through(1, 5);
	free(bytes);
	return right ? arg : NULL;
}

static void readers_of_one_block_make_it_once(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 2);
	pthread_t threads[8];

	layers_lay(api, api->main.id, 5, 2);
	layer_hook.in_apply = sleep_in_apply;
	for (unsigned i = 0; i < 8; i++)
		assert_ok(pthread_create(&threads[i], NULL, read_first, file));
	for (unsigned i = 0; i < 8; i++) {
		void *result;
		assert_ok(pthread_join(threads[i], &result));
		assert_non_null(result);
	}
	assert_int_equal(layer_hook.applied, 1);
	bd_inode_unref(file, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		layer_test(who_writes_first_wins),
		layer_test(what_is_cut_off_does_not_come_back),
		layer_test(seek_finds_what_is_to_be_made),
		layer_test(clones_are_made_first),
		layer_test(a_clone_of_a_frozen_view_copies_what_is_made_and_nothing_else),
		layer_test(a_change_while_a_block_is_made_wins),
		layer_test(a_layer_may_go_while_a_block_is_made),
		layer_test(readers_of_one_block_make_it_once),
	};

	return cmocka_run_group_tests_name("api_layer_change", tests, NULL, NULL);
}
