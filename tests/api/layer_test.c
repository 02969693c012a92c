/* Redo layers: what is seen through them, and what is an error. */
#include "layer_case.h"

#include <stdlib.h>
#include <unistd.h>

static void the_head_shows_what_the_layer_makes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 600);

	api_expect(file, 0, 1, 600 * BLOCK); /* its map is in memory when the layer comes */
	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	assert_int_equal(layer_hook.applied, 0);
	layer_expect_through(file, 600, 1, 5);
	assert_int_equal(layer_hook.applied, 300);
	layer_expect_through(file, 600, 1, 5); /* they are stored */
	assert_int_equal(layer_hook.applied, 300);
	layer_check_plain(api, (struct bd_view){api->main.id, {epoch}}, "file", 600, 1);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	layer_crash(api);
	layer_check_view(api, api_head(api->main.id), "file", 600, 1, 5);
	layer_check_plain(api, (struct bd_view){api->main.id, {epoch}}, "file", 600, 1);
	assert_int_equal(layer_hook.applied, 300);
	assert_int_equal(layer_hook.opened, 2);
}

static void a_layer_is_durable_when_it_is_there(void **state)
{
	struct api *api = *state;

	bd_inode_unref(layer_make_file(api->root, "file", 1, 300), 1);
	layers_lay(api, api->main.id, 5, 2);
	layer_crash(api); /* nothing was read yet */
	layer_check_view(api, api_head(api->main.id), "file", 300, 1, 5);
	layer_crash(api); /* what was made was not synced */
	layer_check_view(api, api_head(api->main.id), "file", 300, 1, 5);
	layer_reopen(api);
	layer_hook.applied = 0;
	layer_check_view(api, api_head(api->main.id), "file", 300, 1, 5);
	assert_int_equal(layer_hook.applied, 0);
}

static void many_blocks_are_stored_with_few_writes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 128);
	uint8_t *all = nf_io_buffer(128 * BLOCK);

	layers_lay(api, api->main.id, 5, 2);
	bd_inode_unref(file, 1);
	api_wrap(api);
	layers_install(&layer_hook, api->store);
	file = api_lookup(api->root, "file");
	uint64_t before = nf_io_fault_calls(api->io, NF_FAULT_WRITE);
	assert_int_equal(bd_read(file, 0, all, 128 * BLOCK), 128 * BLOCK);
	uint64_t writes = nf_io_fault_calls(api->io, NF_FAULT_WRITE) - before;
	assert_int_equal(layer_hook.applied, 64);
	assert_in_range(writes, 1, 8);
	free(all);
	layer_expect_through(file, 128, 1, 5);
	assert_int_equal(layer_hook.applied, 64);
	bd_inode_unref(file, 1);
}

static void snapshots_and_children_look_through(void **state)
{
	struct api *api = *state;
	struct bd_snapshot_info before, after;
	struct bd_branch_info child, of_head, of_after;

	bd_inode_unref(layer_make_file(api->root, "file", 1, 20), 1);
	child = layer_child_of(api, api->main.id, "child");
	assert_ok(bd_snapshot_create(api->store, child.id, "before", &before));
	uint32_t epoch = layers_lay(api, child.id, 7, 2);
	assert_ok(bd_snapshot_create(api->store, child.id, "after", &after));
	assert_true(before.epoch.v < epoch && epoch < after.epoch.v);
	of_head = layer_child_of(api, child.id, "of_head");
	assert_ok(bd_branch_create(api->store, "of_after", (struct bd_view){child.id, after.epoch}, &of_after, NULL));
	for (unsigned round = 0; round < 2; round++) {
		layer_check_plain(api, api_head(api->main.id), "file", 20, 1);
		layer_check_plain(api, (struct bd_view){child.id, before.epoch}, "file", 20, 1);
		layer_check_view(api, (struct bd_view){child.id, after.epoch}, "file", 20, 1, 7);
		layer_check_view(api, api_head(of_head.id), "file", 20, 1, 7);
		layer_check_view(api, api_head(of_after.id), "file", 20, 1, 7);
		layer_check_view(api, api_head(child.id), "file", 20, 1, 7);
		layer_check_view(api, (struct bd_view){child.id, after.epoch}, "file", 20, 1, 7);
		layer_collect(api);
		if (round == 0)
			layer_crash(api);
	}
	/* The snapshot's blocks are not stored: 4 reads of 10 blocks in each round. The heads' are, in the first round and after the crash. */
	assert_in_range(layer_hook.applied, 80 + 30, 80 + 60);
}

static void layers_lie_on_each_other(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 12);
	struct bd_snapshot_info between;

	uint32_t first = layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "between", &between));
	uint32_t second = layers_lay(api, api->main.id, 9, 3);
	struct bd_branch_info child = layer_child_of(api, api->main.id, "child");
	uint32_t third = layers_lay(api, child.id, 2, 4);
	assert_true(first < between.epoch.v && between.epoch.v < second);
	struct bd_inode *in_child = layer_file_of(api, api_head(child.id), "file");
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 12; i++) {
			int byte = i % 2 == 0 ? through(1, 5) : 1;
			struct bd_inode *in_between = layer_file_of(api, (struct bd_view){api->main.id, between.epoch}, "file");
			layer_expect_block(in_between, i, byte);
			bd_inode_unref(in_between, 1);
			byte = i % 3 == 0 ? through(byte, 9) : byte;
			int in_third = i % 4 == 0 ? through(byte, 2) : byte;
			layer_expect_block(in_child, i, in_third);
			layer_expect_block(file, i, byte);
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
	layer_reopen(api);
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
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 4), *removed = layer_make_file(api->root, "removed", 2, 4);
	struct bd_inode *sparse = api_create(api->root, "sparse", S_IFREG | 0600);

	api_set_size(sparse, 6 * BLOCK);
	api_put(file, 4 * BLOCK, 1, 100); /* a last block that is not whole */
	assert_ok(bd_unlink(api->root, "removed"));
	layers_lay(api, api->main.id, 5, 2);
	/* Not there below: it had no name. */
	api_expect(removed, 0, 2, 4 * BLOCK);
	assert_ok(bd_link(removed, api->root, "again"));
	api_expect(removed, 0, 2, 4 * BLOCK);
	struct bd_inode *later = layer_make_file(api->root, "later", 3, 4);
	api_expect(later, 0, 3, 4 * BLOCK);
	/* Behind the end that it had below, zeros come, in the last block and in others. */
	api_set_size(file, 9 * BLOCK);
	layer_expect_through(file, 4, 1, 5);
	api_expect(file, 4 * BLOCK, through(1, 5), 100);
	api_expect(file, 4 * BLOCK + 100, 0, 5 * BLOCK - 100);
	/* A hole is a block of zeros below. */
	layer_expect_through(sparse, 6, 0, 5);
	bd_inode_unref(file, 1);
	bd_inode_unref(removed, 1);
	bd_inode_unref(later, 1);
	bd_inode_unref(sparse, 1);
	assert_ok(bd_store_sync(api->store));
	layer_crash(api);
	layer_check_plain(api, api_head(api->main.id), "again", 4, 2);
}

static void a_full_disk_serves_all_the_same(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 64), *filler = api_create(api->root, "filler", S_IFREG | 0600);
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
	layer_expect_through(file, 64, 1, 5);
	unsigned first = layer_hook.applied;
	layer_expect_through(file, 64, 1, 5);
	assert_true(layer_hook.applied > first); /* not all were stored */
	/* With room again they are. */
	nf_io_mem_set_capacity(api->io, UINT64_C(4) << 30);
	layer_expect_through(file, 64, 1, 5);
	first = layer_hook.applied;
	layer_expect_through(file, 64, 1, 5);
	assert_int_equal(layer_hook.applied, first);
	struct bd_status status;
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.error, 0);
	bd_inode_unref(file, 1);
	bd_inode_unref(filler, 1);
}

static void a_hook_that_fails_is_an_error(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 4);
	uint8_t bytes[16];
	uint64_t found;
	struct bd_epoch epoch;

	layers_lay(api, api->main.id, 5, 2);
	layer_hook.apply_error = -ENODATA;
	assert_int_equal(bd_read(file, 0, bytes, sizeof(bytes)), -EIO);
	api_expect(file, BLOCK, 1, BLOCK);
	assert_int_equal(bd_write(file, 10, "x", 1, 0), -EIO);
	api_put(file, 2 * BLOCK, 4, BLOCK);
	layer_hook.apply_error = 0;
	layer_expect_block(file, 0, through(1, 5));
	layer_expect_block(file, 2, 4);
	layer_hook.open_error = -ENODATA;
	assert_int_equal(bd_layer_create(api->store, api->main.id, "ab", 2, &epoch), -ENODATA);
	assert_int_equal(bd_read(file, 0, bytes, 2), 2); /* nothing changed */
	bd_inode_unref(file, 1);
	layer_reopen(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(bd_read(file, 0, bytes, 2), -EIO);
	assert_int_equal(bd_seek(file, 0, true, &found), -EIO);
	layer_hook.open_error = 0;
	layer_expect_block(file, 0, through(1, 5));
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
	layers_install(&layer_hook, api->store);
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 2);
	for (unsigned i = 0; i < BD_LAYERS_MAX; i++)
		layers_lay(api, api->main.id, 1, 2);
	facts[1] = 2;
	assert_int_equal(bd_layer_create(api->store, api->main.id, facts, 2, &epoch), -EMLINK);
	int byte = 1;
	for (unsigned i = 0; i < BD_LAYERS_MAX; i++)
		byte = through(byte, 1);
	layer_expect_block(file, 0, byte);
	layer_expect_block(file, 1, 1);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.format_version, 2);
	assert_int_equal(status.layers, BD_LAYERS_MAX);
	bd_inode_unref(file, 1);
	api_reopen(api); /* without hooks: it opens, and says that it cannot look through */
	file = api_lookup(api->root, "file");
	assert_int_equal(bd_read(file, BLOCK, bytes, 2), -EIO);
	bd_inode_unref(file, 1);
}

static void a_read_only_store_shows_it_too(void **state)
{
	struct api *api = *state;
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true, .read_only = true};
	char message[512] = "";
	struct bd_epoch epoch;

	bd_inode_unref(layer_make_file(api->root, "file", 1, 20), 1);
	layers_lay(api, api->main.id, 5, 2);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message)));
	layers_install(&layer_hook, api->store);
	layer_check_view(api, api_head(api->main.id), "file", 20, 1, 5);
	assert_int_equal(layer_hook.applied, 20); /* twice each */
	assert_int_equal(bd_layer_create(api->store, api->main.id, "ab", 2, &epoch), -EROFS);
	assert_ok(bd_store_close(api->store));
	assert_ok(api_open(api, message));
	layers_install(&layer_hook, api->store);
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

	bd_inode_unref(layer_make_file(api->root, "file", 1, 301), 1);
	struct bd_branch_info child = layer_child_of(api, api->main.id, "child");
	layers_lay(api, child.id, 5, 3);
	struct bd_branch_info grandchild = layer_child_of(api, child.id, "grandchild");
	assert_ok(bd_diff(api->store, api_head(api->main.id), api_head(child.id), count_difference, &differences));
	assert_int_equal(differences.files, 1);
	assert_int_equal(differences.blocks, 101);
	assert_ok(bd_diff(api->store, api_head(child.id), api_head(grandchild.id), count_difference, &differences));
	assert_int_equal(differences.files, 1);
	assert_int_equal(layer_hook.applied, 0);
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
		layer_test(a_full_disk_serves_all_the_same),
		layer_test(a_hook_that_fails_is_an_error),
		layer_test(bad_arguments),
		layer_test(a_read_only_store_shows_it_too),
		layer_test(a_layer_is_a_difference),
	};

	return cmocka_run_group_tests_name("api_layer", tests, NULL, NULL);
}
