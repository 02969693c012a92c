/* Redo layers: what is seen through them, what is stored, and what wins when something else changes the same block. */
#include "layers.h"

#include <stdlib.h>
#include <unistd.h>

static struct layers hook;

static int set_up(void **state)
{
	hook = (struct layers)LAYERS_INIT;
	if (api_set_up(state) != 0)
		return -1;
	struct api *api = *state;
	layers_install(&hook, api->store);
	return 0;
}

static int tear_down(void **state)
{
	int result = api_tear_down(state);
	assert_int_equal(hook.opened, hook.closed);
	return result;
}

#define layer_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static void reopen(struct api *api)
{
	api_reopen(api);
	layers_install(&hook, api->store);
}

static void crash(struct api *api)
{
	api_crash(api);
	layers_install(&hook, api->store);
}

static void collect(struct api *api)
{
	struct bd_gc_result result;
	for (unsigned i = 0; i < 2; i++) {
		assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
		assert_ok(bd_store_checkpoint(api->store));
	}
}

/* A file of `blocks` blocks, all bytes `byte`. */
static struct bd_inode *make_file(struct bd_inode *dir, const char *name, int byte, unsigned blocks)
{
	struct bd_inode *file = api_create(dir, name, S_IFREG | 0600);
	api_put(file, 0, byte, blocks * BLOCK);
	return file;
}

static void expect_block(struct bd_inode *file, uint32_t block, int byte)
{
	api_expect(file, block * BLOCK, byte, BLOCK);
}

/* Blocks [0, count): every second one through a layer that adds `add`. */
static void expect_through(struct bd_inode *file, unsigned count, int byte, int add)
{
	for (uint32_t i = 0; i < count; i++)
		expect_block(file, i, i % 2 == 0 ? through(byte, add) : byte);
}

static struct bd_inode *file_of(struct api *api, struct bd_view view, const char *name)
{
	struct bd_inode *root = api_root(api, view), *file = api_lookup(root, name);
	bd_inode_unref(root, 1);
	return file;
}

static struct bd_branch_info child_of(struct api *api, struct bd_branch_id parent, const char *name)
{
	struct bd_branch_info info;
	assert_ok(bd_branch_create(api->store, name, api_head(parent), &info, NULL));
	return info;
}

/* What a view shows of a file, read twice and by single blocks and at once. */
static void check_view(struct api *api, struct bd_view view, const char *name, unsigned count, int byte, int add)
{
	struct bd_inode *file = file_of(api, view, name);
	uint8_t *all = nf_io_buffer(count * BLOCK);
	assert_int_equal(bd_read(file, 0, all, count * BLOCK), count * BLOCK);
	for (size_t i = 0; i < count * BLOCK; i++)
		assert_int_equal(all[i], i / BLOCK % 2 == 0 ? through(byte, add) : byte);
	free(all);
	expect_through(file, count, byte, add);
	bd_inode_unref(file, 1);
}

static void check_plain(struct api *api, struct bd_view view, const char *name, unsigned count, int byte)
{
	struct bd_inode *file = file_of(api, view, name);
	api_expect(file, 0, byte, count * BLOCK);
	bd_inode_unref(file, 1);
}

/* ---- seeing */

static void the_head_shows_what_the_layer_makes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 600);

	api_expect(file, 0, 1, 600 * BLOCK); /* its map is in memory when the layer comes */
	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	assert_int_equal(hook.applied, 0);
	expect_through(file, 600, 1, 5);
	assert_int_equal(hook.applied, 300);
	expect_through(file, 600, 1, 5); /* they are stored */
	assert_int_equal(hook.applied, 300);
	check_plain(api, (struct bd_view){api->main.id, {epoch}}, "file", 600, 1);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	crash(api);
	check_view(api, api_head(api->main.id), "file", 600, 1, 5);
	check_plain(api, (struct bd_view){api->main.id, {epoch}}, "file", 600, 1);
	assert_int_equal(hook.applied, 300);
	assert_int_equal(hook.opened, 2);
}

static void a_layer_is_durable_when_it_is_there(void **state)
{
	struct api *api = *state;

	bd_inode_unref(make_file(api->root, "file", 1, 300), 1);
	layers_lay(api, api->main.id, 5, 2);
	crash(api); /* nothing was read yet */
	check_view(api, api_head(api->main.id), "file", 300, 1, 5);
	crash(api); /* what was made was not synced */
	check_view(api, api_head(api->main.id), "file", 300, 1, 5);
	reopen(api);
	hook.applied = 0;
	check_view(api, api_head(api->main.id), "file", 300, 1, 5);
	assert_int_equal(hook.applied, 0);
}

static void many_blocks_are_stored_with_few_writes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 128);
	uint8_t *all = nf_io_buffer(128 * BLOCK);

	layers_lay(api, api->main.id, 5, 2);
	bd_inode_unref(file, 1);
	api_wrap(api);
	layers_install(&hook, api->store);
	file = api_lookup(api->root, "file");
	uint64_t before = nf_io_fault_calls(api->io, NF_FAULT_WRITE);
	assert_int_equal(bd_read(file, 0, all, 128 * BLOCK), 128 * BLOCK);
	uint64_t writes = nf_io_fault_calls(api->io, NF_FAULT_WRITE) - before;
	assert_int_equal(hook.applied, 64);
	assert_in_range(writes, 1, 8);
	free(all);
	expect_through(file, 128, 1, 5);
	assert_int_equal(hook.applied, 64);
	bd_inode_unref(file, 1);
}

static void snapshots_and_children_look_through(void **state)
{
	struct api *api = *state;
	struct bd_snapshot_info before, after;
	struct bd_branch_info child, of_head, of_after;

	bd_inode_unref(make_file(api->root, "file", 1, 20), 1);
	child = child_of(api, api->main.id, "child");
	assert_ok(bd_snapshot_create(api->store, child.id, "before", &before));
	uint32_t epoch = layers_lay(api, child.id, 7, 2);
	assert_ok(bd_snapshot_create(api->store, child.id, "after", &after));
	assert_true(before.epoch.v < epoch && epoch < after.epoch.v);
	of_head = child_of(api, child.id, "of_head");
	assert_ok(bd_branch_create(api->store, "of_after", (struct bd_view){child.id, after.epoch}, &of_after, NULL));
	for (unsigned round = 0; round < 2; round++) {
		check_plain(api, api_head(api->main.id), "file", 20, 1);
		check_plain(api, (struct bd_view){child.id, before.epoch}, "file", 20, 1);
		check_view(api, (struct bd_view){child.id, after.epoch}, "file", 20, 1, 7);
		check_view(api, api_head(of_head.id), "file", 20, 1, 7);
		check_view(api, api_head(of_after.id), "file", 20, 1, 7);
		check_view(api, api_head(child.id), "file", 20, 1, 7);
		check_view(api, (struct bd_view){child.id, after.epoch}, "file", 20, 1, 7);
		collect(api);
		if (round == 0)
			crash(api);
	}
	/* The snapshot's blocks are not stored: 4 reads of 10 blocks in each round. The heads' are, in the first round and after the crash. */
	assert_in_range(hook.applied, 80 + 30, 80 + 60);
}

static void layers_lie_on_each_other(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 12);
	struct bd_snapshot_info between;

	uint32_t first = layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "between", &between));
	uint32_t second = layers_lay(api, api->main.id, 9, 3);
	struct bd_branch_info child = child_of(api, api->main.id, "child");
	uint32_t third = layers_lay(api, child.id, 2, 4);
	assert_true(first < between.epoch.v && between.epoch.v < second);
	struct bd_inode *in_child = file_of(api, api_head(child.id), "file");
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 12; i++) {
			int byte = i % 2 == 0 ? through(1, 5) : 1;
			struct bd_inode *in_between = file_of(api, (struct bd_view){api->main.id, between.epoch}, "file");
			expect_block(in_between, i, byte);
			bd_inode_unref(in_between, 1);
			byte = i % 3 == 0 ? through(byte, 9) : byte;
			int in_third = i % 4 == 0 ? through(byte, 2) : byte;
			expect_block(in_child, i, in_third);
			expect_block(file, i, byte);
		}
	bd_inode_unref(file, 1);
	bd_inode_unref(in_child, 1);
	struct bd_layer_info *infos;
	size_t count;
	assert_ok(bd_layer_list(api->store, api->main.id, &infos, &count));
	assert_int_equal(count, 2);
	assert_int_equal(infos[0].epoch.v, first);
	assert_int_equal(infos[1].epoch.v, second);
	assert_int_equal(infos[1].size, 2);
	assert_memory_equal(infos[1].facts, "\x09\x03", 2);
	free(infos);
	reopen(api);
	assert_ok(bd_layer_list(api->store, (struct bd_branch_id){0}, &infos, &count));
	assert_int_equal(count, 3);
	assert_int_equal(infos[2].branch.v, child.id.v);
	assert_int_equal(infos[2].epoch.v, third);
	free(infos);
	struct bd_branch_info info;
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.layers, 2);
}

static void only_what_was_there_below_is_changed(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 4), *removed = make_file(api->root, "removed", 2, 4);
	struct bd_inode *sparse = api_create(api->root, "sparse", S_IFREG | 0600);

	api_set_size(sparse, 6 * BLOCK);
	api_put(file, 4 * BLOCK, 1, 100); /* a last block that is not whole */
	assert_ok(bd_unlink(api->root, "removed"));
	layers_lay(api, api->main.id, 5, 2);
	/* Not there below: it had no name. */
	api_expect(removed, 0, 2, 4 * BLOCK);
	assert_ok(bd_link(removed, api->root, "again"));
	api_expect(removed, 0, 2, 4 * BLOCK);
	struct bd_inode *later = make_file(api->root, "later", 3, 4);
	api_expect(later, 0, 3, 4 * BLOCK);
	/* Behind the end that it had below, zeros come, in the last block and in others. */
	api_set_size(file, 9 * BLOCK);
	expect_through(file, 4, 1, 5);
	api_expect(file, 4 * BLOCK, through(1, 5), 100);
	api_expect(file, 4 * BLOCK + 100, 0, 5 * BLOCK - 100);
	/* A hole is a block of zeros below. */
	expect_through(sparse, 6, 0, 5);
	bd_inode_unref(file, 1);
	bd_inode_unref(removed, 1);
	bd_inode_unref(later, 1);
	bd_inode_unref(sparse, 1);
	assert_ok(bd_store_sync(api->store));
	crash(api);
	check_plain(api, api_head(api->main.id), "again", 4, 2);
}

/* ---- changing */

static void who_writes_first_wins(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 20);

	layers_lay(api, api->main.id, 5, 2);
	api_put(file, 2 * BLOCK, 9, BLOCK);
	assert_int_equal(hook.applied, 0);
	expect_block(file, 2, 9);
	assert_int_equal(hook.applied, 0);
	/* In part: it is made, and then written. */
	api_put(file, 4 * BLOCK + 10, 8, 20);
	assert_int_equal(hook.applied, 1);
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
	crash(api);
	file = api_lookup(api->root, "file");
	expect_block(file, 2, 9);
	api_expect(file, 4 * BLOCK + 30, through(1, 5), BLOCK - 30);
	api_expect(file, 10 * BLOCK, through(1, 5), 5);
	expect_block(file, 12, through(1, 5));
	bd_inode_unref(file, 1);
}

static void what_is_cut_off_does_not_come_back(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 20);

	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 2 * BLOCK, 2 * BLOCK));
	api_expect(file, 2 * BLOCK, 0, 2 * BLOCK);
	assert_int_equal(hook.applied, 0);
	/* A hole with edges inside blocks that are to be made. */
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 6 * BLOCK + 100, 2 * BLOCK));
	assert_int_equal(hook.applied, 2);
	api_expect(file, 6 * BLOCK, through(1, 5), 100);
	api_expect(file, 6 * BLOCK + 100, 0, 2 * BLOCK);
	api_expect(file, 8 * BLOCK + 100, through(1, 5), BLOCK - 100);
	api_set_size(file, 12 * BLOCK);
	api_set_size(file, 20 * BLOCK);
	assert_int_equal(hook.applied, 2);
	api_expect(file, 12 * BLOCK, 0, 8 * BLOCK);
	api_set_size(file, 10 * BLOCK + 7);
	assert_int_equal(hook.applied, 3);
	api_set_size(file, 11 * BLOCK);
	api_expect(file, 10 * BLOCK, through(1, 5), 7);
	api_expect(file, 10 * BLOCK + 7, 0, BLOCK - 7);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	crash(api);
	file = api_lookup(api->root, "file");
	api_set_size(file, 20 * BLOCK);
	expect_block(file, 0, through(1, 5));
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
		reopen(api);
		file = api_lookup(api->root, "file");
	}
	assert_int_equal(hook.applied, 0);
	assert_int_equal(api_attr(file).blocks_512, 0);
	api_expect(file, 0, through(0, 5), BLOCK);
	assert_int_equal(api_attr(file).blocks_512, BLOCK / 512);
	bd_inode_unref(file, 1);
	reopen(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(api_attr(file).blocks_512, BLOCK / 512);
	bd_inode_unref(file, 1);
}

static void clones_are_made_first(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 200), *to = api_create(api->root, "to", S_IFREG | 0600);
	struct bd_snapshot_info snapshot;
	struct bd_status before, after;

	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &snapshot));
	assert_ok(bd_store_status(api->store, &before));
	assert_int_equal(bd_clone_range(file, 0, to, 0, 200 * BLOCK), 200 * BLOCK);
	assert_int_equal(hook.applied, 100);
	assert_ok(bd_store_status(api->store, &after));
	assert_int_equal(after.written_bytes, before.written_bytes); /* shared, not copied */
	expect_through(to, 200, 1, 5);
	expect_through(file, 200, 1, 5);
	assert_int_equal(hook.applied, 100);
	/* From a view in which nothing is stored; onto blocks that are to be made. */
	layers_lay(api, api->main.id, 9, 1);
	struct bd_inode *old = file_of(api, (struct bd_view){api->main.id, snapshot.epoch}, "file");
	assert_int_equal(bd_clone_range(old, 0, to, 10 * BLOCK, 20 * BLOCK), 20 * BLOCK);
	for (uint32_t i = 0; i < 20; i++)
		expect_block(to, 10 + i, i % 2 == 0 ? through(1, 5) : 1);
	expect_block(to, 9, through(1, 9));
	expect_block(to, 30, through(through(1, 5), 9));
	bd_inode_unref(old, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(to, 1);
}

/* A frozen view stores nothing that is made, so that much is copied; what has bytes is shared all the same, and holes stay holes. */
static void a_clone_of_a_frozen_view_copies_what_is_made_and_nothing_else(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 200), *to = api_create(api->root, "to", S_IFREG | 0600);
	struct bd_snapshot_info snapshot;
	struct bd_status before, after;
	uint64_t found;

	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 3 * BLOCK, BLOCK));
	layers_lay(api, api->main.id, 5, 8);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &snapshot));
	struct bd_inode *old = file_of(api, (struct bd_view){api->main.id, snapshot.epoch}, "file");
	assert_ok(bd_store_status(api->store, &before));
	assert_int_equal(bd_clone_range(old, 0, to, 0, 200 * BLOCK), 200 * BLOCK);
	assert_ok(bd_store_status(api->store, &after));
	assert_int_equal(after.written_bytes - before.written_bytes, 200 / 8 * BLOCK);
	for (uint32_t i = 0; i < 200; i++)
		expect_block(to, i, i % 8 == 0 ? through(1, 5) : i == 3 ? 0 : 1);
	assert_ok(bd_seek(to, 0, false, &found));
	assert_int_equal(found, 3 * BLOCK);
	bd_inode_unref(old, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(to, 1);
}

/* ---- at the same time */

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
	struct bd_inode *file = make_file(api->root, "file", 1, 20);
	struct meanwhile meanwhile = {.api = api, .file = file, .left = 1, .what = OVERWRITE};
	uint8_t *bytes = nf_io_buffer(4 * BLOCK);

	layers_lay(api, api->main.id, 5, 2);
	hook.in_apply = change_in_apply;
	hook.arg = &meanwhile;
	assert_int_equal(bd_read(file, 0, bytes, 4 * BLOCK), 4 * BLOCK);
	expect_block(file, 0, 9);
	expect_block(file, 1, 1);
	expect_block(file, 2, through(1, 5));
	meanwhile.left = 1;
	meanwhile.what = PUNCH;
	assert_int_equal(bd_read(file, 4 * BLOCK, bytes, 4 * BLOCK), 4 * BLOCK);
	expect_block(file, 4, 0);
	expect_block(file, 6, through(1, 5));
	meanwhile.left = 1;
	meanwhile.what = LAY;
	assert_int_equal(bd_read(file, 8 * BLOCK, bytes, 4 * BLOCK), 4 * BLOCK);
	expect_block(file, 8, through(through(1, 5), 9));
	expect_block(file, 9, through(1, 9));
	expect_block(file, 0, through(9, 9));
	expect_block(file, 4, through(0, 9));
	bd_inode_unref(file, 1);
	free(bytes);
	hook.in_apply = NULL;
	crash(api);
	file = api_lookup(api->root, "file");
	expect_block(file, 8, through(through(1, 5), 9));
	bd_inode_unref(file, 1);
}

/* The last block that the layer is to make is overwritten, and the layer taken away, while somebody makes that block: what lay below may be gone in the middle
 * of it, which is no error of his. */
static void take_away_in_apply(void *arg, uint64_t file, uint32_t block)
{
	struct meanwhile *meanwhile = arg;

	(void)file;
	hook.in_apply = NULL;
	api_put(meanwhile->file, block * BLOCK, 9, BLOCK);
	assert_ok(bd_layer_delete(meanwhile->api->store, meanwhile->api->main.id, (struct bd_epoch){meanwhile->left}));
	collect(meanwhile->api);
}

static void a_layer_may_go_while_a_block_is_made(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 2);
	struct meanwhile meanwhile = {.api = api, .file = file};

	for (unsigned round = 0; round < 2; round++) {
		api_put(file, 0, 1, BLOCK);
		meanwhile.left = layers_lay(api, api->main.id, 5, 2);
		hook.in_apply = take_away_in_apply;
		hook.arg = &meanwhile;
		hook.apply_error = round == 0 ? 0 : -ENODATA;
		expect_block(file, 0, 9);
		hook.apply_error = 0;
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
	struct bd_inode *file = make_file(api->root, "file", 1, 2);
	pthread_t threads[8];

	layers_lay(api, api->main.id, 5, 2);
	hook.in_apply = sleep_in_apply;
	for (unsigned i = 0; i < 8; i++)
		assert_ok(pthread_create(&threads[i], NULL, read_first, file));
	for (unsigned i = 0; i < 8; i++) {
		void *result;
		assert_ok(pthread_join(threads[i], &result));
		assert_non_null(result);
	}
	assert_int_equal(hook.applied, 1);
	bd_inode_unref(file, 1);
}

/* ---- failing */

static void a_full_disk_serves_all_the_same(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 64), *filler = api_create(api->root, "filler", S_IFREG | 0600);
	uint8_t *bytes = malloc(MIB);
	int error = 0;

	layers_lay(api, api->main.id, 5, 2);
	nf_io_mem_set_capacity(api->io, 192 * MIB);
	memset(bytes, 3, MIB);
	for (unsigned i = 0; error == 0; i++) {
		error = bd_write(filler, i * MIB, bytes, MIB, 0);
		if (error == 0)
			error = bd_fsync(filler, true);
	}
	assert_int_equal(error, -ENOSPC);
	error = 0;
	for (unsigned i = 0; error == 0; i++) /* and what is left in small pieces */
		error = bd_write(filler, 2048 * MIB + i * BLOCK, bytes, BLOCK, 0);
	assert_int_equal(error, -ENOSPC);
	free(bytes);
	expect_through(file, 64, 1, 5);
	unsigned first = hook.applied;
	expect_through(file, 64, 1, 5);
	assert_true(hook.applied > first); /* not all were stored */
	/* With room again they are. */
	nf_io_mem_set_capacity(api->io, UINT64_C(4) << 30);
	expect_through(file, 64, 1, 5);
	first = hook.applied;
	expect_through(file, 64, 1, 5);
	assert_int_equal(hook.applied, first);
	struct bd_status status;
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.error, 0);
	bd_inode_unref(file, 1);
	bd_inode_unref(filler, 1);
}

static void a_hook_that_fails_is_an_error(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 4);
	uint8_t bytes[16];
	uint64_t found;
	struct bd_epoch epoch;

	layers_lay(api, api->main.id, 5, 2);
	hook.apply_error = -ENODATA;
	assert_int_equal(bd_read(file, 0, bytes, sizeof(bytes)), -EIO);
	api_expect(file, BLOCK, 1, BLOCK);
	assert_int_equal(bd_write(file, 10, "x", 1, 0), -EIO);
	api_put(file, 2 * BLOCK, 4, BLOCK);
	hook.apply_error = 0;
	expect_block(file, 0, through(1, 5));
	expect_block(file, 2, 4);
	hook.open_error = -ENODATA;
	assert_int_equal(bd_layer_create(api->store, api->main.id, "ab", 2, &epoch), -ENODATA);
	assert_int_equal(bd_read(file, 0, bytes, 2), 2); /* nothing changed */
	bd_inode_unref(file, 1);
	reopen(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(bd_read(file, 0, bytes, 2), -EIO);
	assert_int_equal(bd_seek(file, 0, true, &found), -EIO);
	hook.open_error = 0;
	expect_block(file, 0, through(1, 5));
	bd_inode_unref(file, 1);
}

static void bad_arguments(void **state)
{
	struct api *api = *state;
	uint8_t facts[BD_LAYER_FACTS_MAX + 1] = {0}, bytes[2];
	struct bd_epoch epoch;
	struct bd_layer_info *infos;
	struct bd_status status;
	size_t count;

	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.format_version, 1);
	assert_int_equal(bd_layer_create(api->store, api->main.id, facts, sizeof(facts), &epoch), -EINVAL);
	assert_int_equal(bd_layer_create(api->store, (struct bd_branch_id){77}, facts, 2, &epoch), -ENOENT);
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){1}), -ENOENT);
	assert_int_equal(bd_layer_delete(api->store, (struct bd_branch_id){77}, (struct bd_epoch){1}), -ENOENT);
	assert_int_equal(bd_layer_list(api->store, (struct bd_branch_id){77}, &infos, &count), -ENOENT);
	assert_ok(bd_layer_list(api->store, api->main.id, &infos, &count));
	assert_int_equal(count, 0);
	free(infos);
	api_reopen(api); /* without hooks */
	assert_int_equal(bd_layer_create(api->store, api->main.id, facts, 2, &epoch), -ENOTSUP);
	layers_install(&hook, api->store);
	struct bd_inode *file = make_file(api->root, "file", 1, 2);
	for (unsigned i = 0; i < BD_LAYERS_MAX; i++)
		layers_lay(api, api->main.id, 1, 2);
	facts[1] = 2;
	assert_int_equal(bd_layer_create(api->store, api->main.id, facts, 2, &epoch), -EMLINK);
	int byte = 1;
	for (unsigned i = 0; i < BD_LAYERS_MAX; i++)
		byte = through(byte, 1);
	expect_block(file, 0, byte);
	expect_block(file, 1, 1);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.format_version, 2);
	assert_int_equal(status.layers, BD_LAYERS_MAX);
	bd_inode_unref(file, 1);
	api_reopen(api); /* without hooks: it opens, and says that it cannot look through */
	file = api_lookup(api->root, "file");
	assert_int_equal(bd_read(file, BLOCK, bytes, 2), -EIO);
	bd_inode_unref(file, 1);
}

/* ---- ends */

static void check_clean(struct api *api)
{
	struct bd_scrub_result result;
	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &result));
	assert_int_equal(result.bad_keys + result.bad_blocks + result.orphan_keys, 0);
}

static void a_layer_that_is_needed_stays(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 300);
	struct bd_snapshot_info snapshot;

	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &snapshot));
	expect_through(file, 299, 1, 5);
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY); /* the snapshot */
	struct bd_inode *open = file_of(api, (struct bd_view){api->main.id, snapshot.epoch}, "file");
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "after"));
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY); /* who has it open */
	collect(api);
	expect_through(open, 300, 1, 5);
	bd_inode_unref(open, 1);
	/* A snapshot of what is all made does not need it. */
	assert_ok(bd_snapshot_create(api->store, api->main.id, "late", &snapshot));
	struct bd_branch_info child = child_of(api, api->main.id, "child");
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -ENOENT);
	struct bd_inode *root;
	hook.applied = 0;
	for (unsigned round = 0; round < 2; round++) {
		expect_through(file, 300, 1, 5);
		check_view(api, api_head(child.id), "file", 300, 1, 5);
		check_view(api, (struct bd_view){api->main.id, snapshot.epoch}, "file", 300, 1, 5);
		bd_inode_unref(file, 1);
		collect(api);
		/* What lay below is nobody's. */
		assert_int_equal(bd_root(api->store, (struct bd_view){api->main.id, {epoch}}, &root), -ENOENT);
		check_clean(api);
		crash(api);
		file = api_lookup(api->root, "file");
	}
	assert_int_equal(hook.applied, 0);
	bd_inode_unref(file, 1);
}

/* Nobody has synced what was read, nor what was written over blocks that were to be made: without the layer it cannot be made again. */
static void what_was_made_is_durable_before_its_layer_goes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 300);

	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	api_put(file, 298 * BLOCK, 9, BLOCK);
	expect_through(file, 298, 1, 5);
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	bd_inode_unref(file, 1);
	crash(api);
	check_view(api, api_head(api->main.id), "file", 298, 1, 5);
	file = api_lookup(api->root, "file");
	expect_block(file, 298, 9);
	bd_inode_unref(file, 1);
}

/* When a layer is gone, what lay below it goes; what the layer would make of that must not show in a child that was made before. */
static void a_layer_that_is_gone_is_gone_for_children_too(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 20);
	struct bd_snapshot_info long_file;

	assert_ok(bd_snapshot_create(api->store, api->main.id, "long", &long_file));
	api_set_size(file, 2 * BLOCK);
	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	api_set_size(file, 20 * BLOCK);
	expect_through(file, 2, 1, 5);
	struct bd_branch_info child = child_of(api, api->main.id, "child"), grandchild = child_of(api, child.id, "grandchild");
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	collect(api); /* of the inode's records the one of 2 blocks goes, the one of 20 stays */
	hook.applied = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct bd_inode *other = file_of(api, api_head(i == 0 ? child.id : grandchild.id), "file");
		expect_through(other, 2, 1, 5);
		for (uint32_t block = 2; block < 20; block++)
			expect_block(other, block, 0);
		bd_inode_unref(other, 1);
	}
	assert_int_equal(hook.applied, 0);
	check_clean(api);
	bd_inode_unref(file, 1);
}

static void an_unlinked_file_that_is_open_needs_its_layer(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 4);

	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_unlink(api->root, "file"));
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY);
	collect(api);
	expect_through(file, 4, 1, 5);
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	expect_through(file, 4, 1, 5);
	bd_inode_unref(file, 1);
}

static void what_children_need_outlives_the_branch(void **state)
{
	struct api *api = *state;
	struct bd_layer_info *infos;
	size_t count;

	bd_inode_unref(make_file(api->root, "file", 1, 20), 1);
	struct bd_branch_info parent = child_of(api, api->main.id, "parent");
	struct bd_inode *file = file_of(api, api_head(parent.id), "file");
	api_put(file, 20 * BLOCK, 1, 4 * BLOCK); /* so that the parent has a record of its own below the layer, and one above */
	uint32_t epoch = layers_lay(api, parent.id, 5, 2);
	api_put(file, 24 * BLOCK, 3, BLOCK);
	bd_inode_unref(file, 1);
	struct bd_branch_info child = child_of(api, parent.id, "child");
	struct bd_snapshot_info snapshot;
	assert_ok(bd_snapshot_create(api->store, child.id, "snapshot", &snapshot));
	assert_int_equal(bd_branch_delete(api->store, parent.id), -ENOTEMPTY);
	assert_ok(bd_branch_detach(api->store, child.id));
	assert_ok(bd_branch_delete(api->store, parent.id));
	for (unsigned round = 0; round < 3; round++) {
		collect(api);
		check_view(api, (struct bd_view){child.id, snapshot.epoch}, "file", 24, 1, 5);
		assert_ok(bd_layer_list(api->store, (struct bd_branch_id){0}, &infos, &count));
		assert_int_equal(count, 1);
		assert_int_equal(infos[0].branch.v, parent.id.v);
		assert_int_equal(infos[0].epoch.v, epoch);
		free(infos);
		check_clean(api);
		if (round == 1)
			check_view(api, api_head(child.id), "file", 24, 1, 5);
		crash(api);
	}
	check_view(api, api_head(child.id), "file", 24, 1, 5);
	assert_ok(bd_branch_delete(api->store, child.id));
	assert_ok(bd_layer_list(api->store, (struct bd_branch_id){0}, &infos, &count));
	assert_int_equal(count, 0);
	free(infos);
	for (unsigned round = 0; round < 2; round++) {
		struct bd_status status;
		collect(api);
		collect(api);
		assert_ok(bd_store_status(api->store, &status));
		assert_int_equal(status.layers, 0);
		check_clean(api);
		crash(api);
	}
	check_plain(api, api_head(api->main.id), "file", 20, 1);
}

/* A sweep takes versions that nobody sees; what lies below a layer is seen. */
static void what_lies_below_stays(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 20);
	struct bd_snapshot_info old, after;

	assert_ok(bd_snapshot_create(api->store, api->main.id, "old", &old));
	api_put(file, 0, 2, 20 * BLOCK);
	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &after));
	api_put(file, 0, 3, 20 * BLOCK);
	assert_ok(bd_unlink(api->root, "file"));
	bd_inode_unref(file, 1);
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "old"));
	collect(api);
	collect(api);
	check_view(api, (struct bd_view){api->main.id, after.epoch}, "file", 20, 2, 5);
	crash(api);
	collect(api);
	check_view(api, (struct bd_view){api->main.id, after.epoch}, "file", 20, 2, 5);
	check_clean(api);
}

/* The size that a file had below is known only from its record there, although the head has a newer one. */
static void the_records_below_stay(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api->root, "file", 1, 20);
	struct bd_snapshot_info other;

	layers_lay(api, api->main.id, 5, 2);
	api_put(file, 20 * BLOCK, 3, 2 * BLOCK);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "other", &other));
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "other"));
	bd_inode_unref(file, 1);
	collect(api);
	crash(api);
	check_view(api, api_head(api->main.id), "file", 20, 1, 5);
	file = api_lookup(api->root, "file");
	api_expect(file, 20 * BLOCK, 3, 2 * BLOCK);
	bd_inode_unref(file, 1);
	check_clean(api);
}

/* The collector moves versions that the head's map hides behind blocks that are to be made. */
static void the_collector_moves_what_lies_below(void **state)
{
	struct api *api = *state;
	struct bd_inode *garbage = make_file(api->root, "garbage", 2, 200), *file = make_file(api->root, "file", 1, 200);
	struct bd_gc_result result;
	uint64_t found;

	assert_ok(bd_store_sync(api->store));
	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_seek(file, 0, false, &found)); /* its map is in memory */
	bd_inode_unref(garbage, 1);
	assert_ok(bd_unlink(api->root, "garbage"));
	/* What the unlinked file has below stays with the layer: what is garbage was overwritten in one epoch. */
	api_put(file, 100 * BLOCK, 4, 100 * BLOCK);
	api_put(file, 100 * BLOCK, 4, 100 * BLOCK);
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
	assert_true(result.bytes_copied > 0);
	for (uint32_t i = 0; i < 100; i++)
		expect_block(file, i, i % 2 == 0 ? through(1, 5) : 1);
	api_expect(file, 100 * BLOCK, 4, 100 * BLOCK);
	bd_inode_unref(file, 1);
	check_clean(api);
}

static void a_rebuilt_index_has_its_layers(void **state)
{
	struct api *api = *state;
	char message[512] = "";

	bd_inode_unref(make_file(api->root, "file", 1, 20), 1);
	layers_lay(api, api->main.id, 5, 2);
	for (unsigned round = 0; round < 2; round++) {
		struct bd_inode *file = api_lookup(api->root, "file");
		expect_block(file, round * 2, through(1, 5));
		bd_inode_unref(file, 1);
		bd_inode_unref(api->root, 1);
		assert_ok(bd_store_close(api->store));
		/* Once from the journal's changes, once from a dump. */
		if (round == 1)
			assert_ok(nf_io_unlink(api->io, "meta"));
		if (round == 0)
			assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
		assert_ok(api_open(api, message));
		layers_install(&hook, api->store);
		api->root = api_root(api, api_head(api->main.id));
	}
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
	assert_ok(api_open(api, message));
	layers_install(&hook, api->store);
	api->root = api_root(api, api_head(api->main.id));
	check_view(api, api_head(api->main.id), "file", 20, 1, 5);
	check_clean(api);
}

static void a_read_only_store_shows_it_too(void **state)
{
	struct api *api = *state;
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true, .read_only = true};
	char message[512] = "";
	struct bd_epoch epoch;

	bd_inode_unref(make_file(api->root, "file", 1, 20), 1);
	layers_lay(api, api->main.id, 5, 2);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message)));
	layers_install(&hook, api->store);
	check_view(api, api_head(api->main.id), "file", 20, 1, 5);
	assert_int_equal(hook.applied, 20); /* twice each */
	assert_int_equal(bd_layer_create(api->store, api->main.id, "ab", 2, &epoch), -EROFS);
	assert_ok(bd_store_close(api->store));
	assert_ok(api_open(api, message));
	layers_install(&hook, api->store);
	api->root = api_root(api, api_head(api->main.id));
}

struct differences {
	unsigned files;
	uint64_t blocks;
};

static int count_difference(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	struct differences *differences = arg;

	(void)path;
	assert_int_equal(kind, BD_DIFF_CHANGED);
	differences->files++;
	differences->blocks += blocks;
	return 0;
}

static void a_layer_is_a_difference(void **state)
{
	struct api *api = *state;
	struct differences differences = {0};

	bd_inode_unref(make_file(api->root, "file", 1, 301), 1);
	struct bd_branch_info child = child_of(api, api->main.id, "child");
	layers_lay(api, child.id, 5, 3);
	struct bd_branch_info grandchild = child_of(api, child.id, "grandchild");
	assert_ok(bd_diff(api->store, api_head(api->main.id), api_head(child.id), count_difference, &differences));
	assert_int_equal(differences.files, 1);
	assert_int_equal(differences.blocks, 101);
	assert_ok(bd_diff(api->store, api_head(child.id), api_head(grandchild.id), count_difference, &differences));
	assert_int_equal(differences.files, 1);
	assert_int_equal(hook.applied, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		layer_test(the_head_shows_what_the_layer_makes),
		layer_test(a_layer_is_durable_when_it_is_there),
		layer_test(many_blocks_are_stored_with_few_writes),
		layer_test(snapshots_and_children_look_through),
		layer_test(layers_lie_on_each_other),
		layer_test(only_what_was_there_below_is_changed),
		layer_test(who_writes_first_wins),
		layer_test(what_is_cut_off_does_not_come_back),
		layer_test(seek_finds_what_is_to_be_made),
		layer_test(clones_are_made_first),
		layer_test(a_clone_of_a_frozen_view_copies_what_is_made_and_nothing_else),
		layer_test(a_change_while_a_block_is_made_wins),
		layer_test(a_layer_may_go_while_a_block_is_made),
		layer_test(readers_of_one_block_make_it_once),
		layer_test(a_full_disk_serves_all_the_same),
		layer_test(a_hook_that_fails_is_an_error),
		layer_test(bad_arguments),
		layer_test(a_layer_that_is_needed_stays),
		layer_test(what_was_made_is_durable_before_its_layer_goes),
		layer_test(a_layer_that_is_gone_is_gone_for_children_too),
		layer_test(an_unlinked_file_that_is_open_needs_its_layer),
		layer_test(what_children_need_outlives_the_branch),
		layer_test(what_lies_below_stays),
		layer_test(the_records_below_stay),
		layer_test(the_collector_moves_what_lies_below),
		layer_test(a_rebuilt_index_has_its_layers),
		layer_test(a_read_only_store_shows_it_too),
		layer_test(a_layer_is_a_difference),
	};

	return cmocka_run_group_tests_name("api_layer", tests, NULL, NULL);
}
