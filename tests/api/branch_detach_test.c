/* Branches without the one that they were made of: what they show, and what of it stays for them. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

static struct bd_branch_info child_of(struct api *api, const char *name, struct bd_branch_id parent)
{
	struct bd_branch_info child;

	assert_ok(bd_branch_create(api->store, name, api_head(parent), &child, NULL));
	return child;
}

static void put_in(struct api *api, struct bd_branch_id branch, const char *name, int byte, size_t blocks)
{
	struct bd_inode *root = api_root(api, api_head(branch)), *file;
	int err = bd_lookup(root, name, &file);

	if (err != 0)
		file = api_create(root, name, S_IFREG | 0600);
	api_put(file, 0, byte, blocks * BLOCK);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

static void expect_in(struct api *api, const char *branch, const char *name, int byte, size_t blocks)
{
	struct bd_branch_info info;

	assert_ok(bd_branch_find(api->store, branch, &info));
	struct bd_inode *root = api_root(api, api_head(info.id)), *file = api_lookup(root, name);
	api_expect(file, 0, byte, blocks * BLOCK);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

static void expect_live(struct api *api, size_t blocks)
{
	struct bd_scrub_result scrub;
	struct bd_status status;

	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &scrub));
	assert_int_equal(scrub.bad_blocks + scrub.bad_keys + scrub.orphan_keys, 0);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.live_bytes, blocks * BLOCK);
}

static void only_a_child_can_be_detached(void **state)
{
	struct api *api = *state;
	struct bd_branch_info child = child_of(api, "child", api->main.id), info;

	assert_int_equal(bd_branch_detach(api->store, (struct bd_branch_id){4000000}), -ENOENT);
	assert_int_equal(bd_branch_detach(api->store, api->main.id), -EINVAL);
	assert_ok(bd_branch_protect(api->store, child.id, true));
	assert_ok(bd_branch_detach(api->store, child.id));
	assert_int_equal(bd_branch_detach(api->store, child.id), -EINVAL);
	for (int round = 0; round < 2; round++) {
		assert_ok(bd_branch_find(api->store, "child", &info));
		assert_int_equal(info.parent.v, 0);
		assert_string_equal(info.parent_name, "");
		assert_true(info.is_protected);
		assert_ok(bd_branch_find(api->store, "main", &info));
		assert_int_equal(info.children, 0);
		api_crash(api);
	}
	/* What is done to it later leaves it detached. */
	assert_ok(bd_branch_protect(api->store, child.id, false));
	assert_ok(bd_branch_rename(api->store, child.id, "other"));
	assert_ok(bd_snapshot_create(api->store, child.id, "s", &(struct bd_snapshot_info){0}));
	api_crash(api);
	assert_ok(bd_branch_find(api->store, "other", &info));
	assert_int_equal(info.parent.v, 0);
}

/* Of a deleted parent stays what its detached children see, no more, and nothing in the end. */
static void a_detached_child_outlives_its_parent(void **state)
{
	struct api *api = *state;
	struct bd_branch_info parent, child, info, *infos;
	struct bd_snapshot_info snapshot;
	size_t count;

	assert_ok(bd_branch_create_empty(api->store, "parent", 1, 2, &parent));
	put_in(api, parent.id, "early", 1, 100);
	assert_ok(bd_snapshot_create(api->store, parent.id, "s", &snapshot));
	put_in(api, parent.id, "early", 2, 50);
	put_in(api, parent.id, "kept", 3, 30);
	child = child_of(api, "child", parent.id);
	put_in(api, parent.id, "late", 4, 200);
	put_in(api, parent.id, "kept", 5, 30);
	put_in(api, child.id, "own", 6, 10);
	assert_int_equal(bd_branch_delete(api->store, parent.id), -ENOTEMPTY);
	assert_ok(bd_branch_detach(api->store, child.id));
	assert_ok(bd_branch_delete(api->store, parent.id));
	assert_int_equal(bd_branch_get(api->store, parent.id, &info), -ENOENT);
	assert_int_equal(bd_branch_find(api->store, "parent", &info), -ENOENT);
	assert_int_equal(bd_snapshot_find(api->store, parent.id, "s", &snapshot), -ENOENT);
	for (int round = 0; round < 4; round++) {
		expect_in(api, "child", "early", 2, 50);
		expect_in(api, "child", "kept", 3, 30);
		expect_in(api, "child", "own", 6, 10);
		if (round > 0)
			expect_live(api, 100 + 30 + 10);
		if (round < 3 && round % 2 == 0)
			api_crash(api);
		else
			api_reopen(api);
	}
	/* The name is free; nothing is listed of the old one. */
	assert_ok(bd_branch_create_empty(api->store, "parent", 1, 2, &info));
	assert_int_not_equal(info.id.v, parent.id.v);
	assert_ok(bd_branch_list(api->store, &infos, &count));
	assert_int_equal(count, 3);
	free(infos);
	assert_ok(bd_branch_delete(api->store, child.id));
	expect_live(api, 0);
	api_reopen(api);
	expect_live(api, 0);
}

/* A line of deleted branches stands until nothing below needs it, then it goes as a whole. */
static void a_line_of_deleted_branches_goes_with_its_last_heir(void **state)
{
	struct api *api = *state;
	struct bd_branch_info top, middle, low, second;

	assert_ok(bd_branch_create_empty(api->store, "top", 1, 2, &top));
	put_in(api, top.id, "a", 1, 40);
	middle = child_of(api, "middle", top.id);
	put_in(api, top.id, "a", 9, 40);
	put_in(api, middle.id, "b", 2, 30);
	low = child_of(api, "low", middle.id);
	put_in(api, middle.id, "b", 8, 30);
	put_in(api, low.id, "c", 3, 20);
	second = child_of(api, "second", middle.id);
	assert_ok(bd_branch_detach(api->store, low.id));
	assert_ok(bd_branch_detach(api->store, second.id));
	assert_ok(bd_branch_delete(api->store, middle.id));
	assert_ok(bd_branch_delete(api->store, top.id));
	expect_live(api, 40 + 30 + 30 + 20);
	api_crash(api);
	expect_in(api, "low", "a", 1, 40);
	expect_in(api, "low", "b", 2, 30);
	expect_in(api, "low", "c", 3, 20);
	expect_in(api, "second", "b", 8, 30);
	assert_ok(bd_branch_delete(api->store, second.id));
	api_crash(api);
	expect_live(api, 40 + 30 + 20);
	expect_in(api, "low", "b", 2, 30);
	assert_ok(bd_branch_delete(api->store, low.id));
	api_crash(api);
	expect_live(api, 0);
}

/* The kernel lets go of what it knows of a deleted branch when it likes: until then its inodes, with their maps, stay in memory. */
static void a_deleted_branch_is_dropped_although_its_inodes_are_held(void **state)
{
	struct api *api = *state;
	struct bd_branch_info gone;

	assert_ok(bd_branch_create_empty(api->store, "gone", 1, 2, &gone));
	put_in(api, gone.id, "file", 1, 100);
	put_in(api, api->main.id, "file", 2, 100);
	struct bd_inode *root = api_root(api, api_head(gone.id)), *file = api_lookup(root, "file");
	api_expect(file, 0, 1, 100 * BLOCK);
	assert_ok(bd_branch_delete(api->store, gone.id));
	expect_live(api, 100);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
	expect_live(api, 100);
	expect_in(api, "main", "file", 2, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(only_a_child_can_be_detached),
		api_test(a_detached_child_outlives_its_parent),
		api_test(a_line_of_deleted_branches_goes_with_its_last_heir),
		api_test(a_deleted_branch_is_dropped_although_its_inodes_are_held),
	};

	return cmocka_run_group_tests_name("api_branch_detach", tests, NULL, NULL);
}
