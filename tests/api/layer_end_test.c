/* Redo layers: how long one stays, what stays for it, and what is there when it is gone. */
#include "layer_case.h"

#include <stdlib.h>
#include <unistd.h>

static void check_clean(struct api *api)
{
	struct bd_scrub_result result;
	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &result));
	assert_int_equal(result.bad_keys + result.bad_blocks + result.orphan_keys, 0);
}

static void a_layer_that_is_needed_stays(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 300);
	struct bd_snapshot_info snapshot;

	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &snapshot));
	layer_expect_through(file, 299, 1, 5);
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY); /* the snapshot */
	struct bd_inode *open = layer_file_of(api, (struct bd_view){api->main.id, snapshot.epoch}, "file");
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "after"));
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY); /* who has it open */
	layer_collect(api);
	layer_expect_through(open, 300, 1, 5);
	bd_inode_unref(open, 1);
	/* A snapshot of what is all made does not need it. */
	assert_ok(bd_snapshot_create(api->store, api->main.id, "late", &snapshot));
	struct bd_branch_info child = layer_child_of(api, api->main.id, "child");
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -ENOENT);
	struct bd_inode *root;
	layer_hook.applied = 0;
	for (unsigned round = 0; round < 2; round++) {
		layer_expect_through(file, 300, 1, 5);
		layer_check_view(api, api_head(child.id), "file", 300, 1, 5);
		layer_check_view(api, (struct bd_view){api->main.id, snapshot.epoch}, "file", 300, 1, 5);
		bd_inode_unref(file, 1);
		layer_collect(api);
		/* What lay below is nobody's. */
		assert_int_equal(bd_root(api->store, (struct bd_view){api->main.id, {epoch}}, &root), -ENOENT);
		check_clean(api);
		layer_crash(api);
		file = api_lookup(api->root, "file");
	}
	assert_int_equal(layer_hook.applied, 0);
	bd_inode_unref(file, 1);
}

/* Nobody has synced what was read, nor what was written over blocks that were to be made: without the layer it cannot be made again. */
static void what_was_made_is_durable_before_its_layer_goes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 300);

	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	api_put(file, 298 * BLOCK, 9, BLOCK);
	layer_expect_through(file, 298, 1, 5);
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	bd_inode_unref(file, 1);
	layer_crash(api);
	layer_check_view(api, api_head(api->main.id), "file", 298, 1, 5);
	file = api_lookup(api->root, "file");
	layer_expect_block(file, 298, 9);
	bd_inode_unref(file, 1);
}

/* When a layer is gone, what lay below it goes; what the layer would make of that must not show in a child that was made before. */
static void a_layer_that_is_gone_is_gone_for_children_too(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 20);
	struct bd_snapshot_info long_file;

	assert_ok(bd_snapshot_create(api->store, api->main.id, "long", &long_file));
	api_set_size(file, 2 * BLOCK);
	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	api_set_size(file, 20 * BLOCK);
	layer_expect_through(file, 2, 1, 5);
	struct bd_branch_info child = layer_child_of(api, api->main.id, "child"), grandchild = layer_child_of(api, child.id, "grandchild");
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	layer_collect(api); /* of the inode's records the one of 2 blocks goes, the one of 20 stays */
	layer_hook.applied = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct bd_inode *other = layer_file_of(api, api_head(i == 0 ? child.id : grandchild.id), "file");
		layer_expect_through(other, 2, 1, 5);
		for (uint32_t block = 2; block < 20; block++)
			layer_expect_block(other, block, 0);
		bd_inode_unref(other, 1);
	}
	assert_int_equal(layer_hook.applied, 0);
	check_clean(api);
	bd_inode_unref(file, 1);
}

static void an_unlinked_file_that_is_open_needs_its_layer(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 4);

	uint32_t epoch = layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_unlink(api->root, "file"));
	assert_int_equal(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}), -EBUSY);
	layer_collect(api);
	layer_expect_through(file, 4, 1, 5);
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
	layer_expect_through(file, 4, 1, 5);
	bd_inode_unref(file, 1);
}

static void what_children_need_outlives_the_branch(void **state)
{
	struct api *api = *state;
	struct bd_layer_info *infos;
	size_t count;

	bd_inode_unref(layer_make_file(api->root, "file", 1, 20), 1);
	struct bd_branch_info parent = layer_child_of(api, api->main.id, "parent");
	struct bd_inode *file = layer_file_of(api, api_head(parent.id), "file");
	api_put(file, 20 * BLOCK, 1, 4 * BLOCK); /* so that the parent has a record of its own below the layer, and one above */
	uint32_t epoch = layers_lay(api, parent.id, 5, 2);
	api_put(file, 24 * BLOCK, 3, BLOCK);
	bd_inode_unref(file, 1);
	struct bd_branch_info child = layer_child_of(api, parent.id, "child");
	struct bd_snapshot_info snapshot;
	assert_ok(bd_snapshot_create(api->store, child.id, "snapshot", &snapshot));
	assert_int_equal(bd_branch_delete(api->store, parent.id), -ENOTEMPTY);
	assert_ok(bd_branch_detach(api->store, child.id));
	assert_ok(bd_branch_delete(api->store, parent.id));
	for (unsigned round = 0; round < 3; round++) {
		layer_collect(api);
		layer_check_view(api, (struct bd_view){child.id, snapshot.epoch}, "file", 24, 1, 5);
		assert_ok(bd_layer_list(api->store, (struct bd_branch_id){0}, &infos, &count));
		assert_int_equal(count, 1);
		assert_int_equal(infos[0].branch.v, parent.id.v);
		assert_int_equal(infos[0].epoch.v, epoch);
		free(infos);
		check_clean(api);
		if (round == 1)
			layer_check_view(api, api_head(child.id), "file", 24, 1, 5);
		layer_crash(api);
	}
	layer_check_view(api, api_head(child.id), "file", 24, 1, 5);
	assert_ok(bd_branch_delete(api->store, child.id));
	assert_ok(bd_layer_list(api->store, (struct bd_branch_id){0}, &infos, &count));
	assert_int_equal(count, 0);
	free(infos);
	for (unsigned round = 0; round < 2; round++) {
		struct bd_status status;
		layer_collect(api);
		layer_collect(api);
		assert_ok(bd_store_status(api->store, &status));
		assert_int_equal(status.layers, 0);
		check_clean(api);
		layer_crash(api);
	}
	layer_check_plain(api, api_head(api->main.id), "file", 20, 1);
}

/* A sweep takes versions that nobody sees; what lies below a layer is seen. */
static void what_lies_below_stays(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 20);
	struct bd_snapshot_info old, after;

	assert_ok(bd_snapshot_create(api->store, api->main.id, "old", &old));
	api_put(file, 0, 2, 20 * BLOCK);
	layers_lay(api, api->main.id, 5, 2);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "after", &after));
	api_put(file, 0, 3, 20 * BLOCK);
	assert_ok(bd_unlink(api->root, "file"));
	bd_inode_unref(file, 1);
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "old"));
	layer_collect(api);
	layer_collect(api);
	layer_check_view(api, (struct bd_view){api->main.id, after.epoch}, "file", 20, 2, 5);
	layer_crash(api);
	layer_collect(api);
	layer_check_view(api, (struct bd_view){api->main.id, after.epoch}, "file", 20, 2, 5);
	check_clean(api);
}

/* The size that a file had below is known only from its record there, although the head has a newer one. */
static void the_records_below_stay(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = layer_make_file(api->root, "file", 1, 20);
	struct bd_snapshot_info other;

	layers_lay(api, api->main.id, 5, 2);
	api_put(file, 20 * BLOCK, 3, 2 * BLOCK);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "other", &other));
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "other"));
	bd_inode_unref(file, 1);
	layer_collect(api);
	layer_crash(api);
	layer_check_view(api, api_head(api->main.id), "file", 20, 1, 5);
	file = api_lookup(api->root, "file");
	api_expect(file, 20 * BLOCK, 3, 2 * BLOCK);
	bd_inode_unref(file, 1);
	check_clean(api);
}

/* The collector moves versions that the head's map hides behind blocks that are to be made. */
static void the_collector_moves_what_lies_below(void **state)
{
	struct api *api = *state;
	struct bd_inode *garbage = layer_make_file(api->root, "garbage", 2, 200), *file = layer_make_file(api->root, "file", 1, 200);
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
		layer_expect_block(file, i, i % 2 == 0 ? through(1, 5) : 1);
	api_expect(file, 100 * BLOCK, 4, 100 * BLOCK);
	bd_inode_unref(file, 1);
	check_clean(api);
}

static void a_rebuilt_index_has_its_layers(void **state)
{
	struct api *api = *state;
	char message[512] = "";

	bd_inode_unref(layer_make_file(api->root, "file", 1, 20), 1);
	layers_lay(api, api->main.id, 5, 2);
	for (unsigned round = 0; round < 2; round++) {
		struct bd_inode *file = api_lookup(api->root, "file");
		layer_expect_block(file, round * 2, through(1, 5));
		bd_inode_unref(file, 1);
		bd_inode_unref(api->root, 1);
		assert_ok(bd_store_close(api->store));
		/* Once from the journal's changes, once from a dump. */
		if (round == 1)
			assert_ok(nf_io_unlink(api->io, "meta"));
		if (round == 0)
			assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
		assert_ok(api_open(api, message));
		layers_install(&layer_hook, api->store);
		api->root = api_root(api, api_head(api->main.id));
	}
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
	assert_ok(api_open(api, message));
	layers_install(&layer_hook, api->store);
	api->root = api_root(api, api_head(api->main.id));
	layer_check_view(api, api_head(api->main.id), "file", 20, 1, 5);
	check_clean(api);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		layer_test(a_layer_that_is_needed_stays),
		layer_test(what_was_made_is_durable_before_its_layer_goes),
		layer_test(a_layer_that_is_gone_is_gone_for_children_too),
		layer_test(an_unlinked_file_that_is_open_needs_its_layer),
		layer_test(what_children_need_outlives_the_branch),
		layer_test(what_lies_below_stays),
		layer_test(the_records_below_stay),
		layer_test(the_collector_moves_what_lies_below),
		layer_test(a_rebuilt_index_has_its_layers),
	};

	return cmocka_run_group_tests_name("api_layer_end", tests, NULL, NULL);
}
