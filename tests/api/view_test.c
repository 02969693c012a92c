/* Views: a frozen epoch never changes, refuses changes, and is shared by branches. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

static struct bd_view freeze(struct api *api, const char *label)
{
	struct bd_snapshot_info info;

	assert_ok(bd_snapshot_create(api->store, api->main.id, label, &info));
	return (struct bd_view){api->main.id, info.epoch};
}

static void a_snapshot_shows_its_moment(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0640), *dir = api_create(api->root, "dir", S_IFDIR | 0755);
	struct bd_inode *inner = api_create(dir, "inner", S_IFREG | 0600), *old_root, *old, *old_dir;
	struct bd_attr attr = {.mode = 0600, .uid = 77}, before, after;
	struct bd_view view;
	struct bd_listing *listing;
	char value[8];

	api_put(file, 0, 'a', 2 * BLOCK + 100);
	assert_ok(bd_xattr_set(file, "user.k", "old", 3, 0));
	before = api_attr(file);
	view = freeze(api, "s");
	api_put(file, 0, 'b', BLOCK);
	api_put(file, 10 * BLOCK, 'b', BLOCK);
	assert_ok(bd_xattr_set(file, "user.k", "newer", 5, 0));
	assert_ok(bd_setattr(file, BD_SET_MODE | BD_SET_UID, &attr, &after));
	assert_ok(bd_unlink(dir, "inner"));
	assert_ok(bd_rmdir(api->root, "dir"));
	assert_ok(bd_rename(api->root, "file", api->root, "renamed", 0));
	bd_inode_unref(api_create(api->root, "later", S_IFREG | 0600), 1);
	for (int round = 0; round < 2; round++) { /* also after reopening */
		old_root = api_root(api, view);
		assert_int_equal(bd_inode_view(old_root).epoch.v, view.epoch.v);
		assert_ok(bd_readdir(old_root, &listing));
		assert_int_equal(listing->count, 2);
		assert_string_equal(listing->entries[0].name, "dir");
		assert_int_equal(listing->entries[0].type, S_IFDIR);
		assert_string_equal(listing->entries[1].name, "file");
		bd_listing_free(listing);
		old_dir = api_lookup(old_root, "dir");
		bd_inode_unref(api_lookup(old_dir, "inner"), 1);
		bd_inode_unref(old_dir, 1);
		old = api_lookup(old_root, "file");
		after = api_attr(old);
		assert_memory_equal(&after, &before, offsetof(struct bd_attr, blocks_512));
		assert_int_equal(after.mtime_ns, before.mtime_ns);
		assert_int_equal(after.ctime_ns, before.ctime_ns);
		api_expect(old, 0, 'a', 2 * BLOCK + 100);
		assert_int_equal(bd_xattr_get(old, "user.k", value, sizeof(value)), 3);
		bd_inode_unref(old, 1);
		bd_inode_unref(old_root, 1);
		if (round == 0) {
			bd_inode_unref(file, 1);
			bd_inode_unref(dir, 1);
			bd_inode_unref(inner, 1);
			api_reopen(api);
		}
	}
}

static void everything_that_changes_is_refused(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *root, *old, *dir, *made;
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_attr attr = {.size_bytes = 1}, after;

	bd_inode_unref(api_create(api->root, "dir", S_IFDIR | 0700), 1);
	api_put(file, 0, 1, BLOCK);
	assert_ok(bd_xattr_set(file, "user.k", "v", 1, 0));
	root = api_root(api, freeze(api, "s"));
	old = api_lookup(root, "file");
	dir = api_lookup(root, "dir");
	assert_int_equal(bd_write(old, 0, "x", 1, 0), -EROFS);
	assert_int_equal(bd_setattr(old, BD_SET_SIZE, &attr, &after), -EROFS);
	assert_int_equal(bd_setattr(old, BD_SET_MODE, &attr, &after), -EROFS);
	assert_int_equal(bd_fallocate(old, 0, 0, 10 * BLOCK), -EROFS);
	assert_int_equal(bd_xattr_set(old, "user.k", "w", 1, 0), -EROFS);
	assert_int_equal(bd_xattr_remove(old, "user.k"), -EROFS);
	assert_int_equal(bd_create(root, "new", &how, &made), -EROFS);
	assert_int_equal(bd_create_unnamed(root, &how, &made), -EROFS);
	assert_true(bd_link(old, root, "new") < 0);
	assert_int_equal(bd_unlink(root, "file"), -EROFS);
	assert_int_equal(bd_rmdir(root, "dir"), -EROFS);
	assert_int_equal(bd_rename(root, "file", root, "new", 0), -EROFS);
	assert_int_equal(bd_clone_range(file, 0, old, 0, BLOCK), -EROFS);
	assert_ok(bd_fsync(old, false));
	api_expect(old, 0, 1, BLOCK);
	bd_inode_unref(dir, 1);
	bd_inode_unref(old, 1);
	bd_inode_unref(root, 1);
	bd_inode_unref(file, 1);
}

/* Names and data go between views by reading and cloning only. */
static void links_and_renames_stay_in_their_branch(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *child_root;
	struct bd_branch_info child;

	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, NULL));
	child_root = api_root(api, api_head(child.id));
	assert_int_equal(bd_link(file, child_root, "new"), -EXDEV);
	assert_int_equal(bd_rename(api->root, "file", child_root, "new", 0), -EXDEV);
	bd_inode_unref(child_root, 1);
	bd_inode_unref(file, 1);
}

static void branches_go_apart(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *child_root, *child_file;
	struct bd_branch_info child;

	api_put(file, 0, 'a', 4 * BLOCK);
	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, NULL));
	child_root = api_root(api, api_head(child.id));
	child_file = api_lookup(child_root, "file");
	assert_int_equal(api_attr(child_file).file.v, api_attr(file).file.v);
	assert_ptr_not_equal(child_file, file);
	api_put(file, 0, 'p', BLOCK);
	api_put(child_file, BLOCK, 'c', BLOCK);
	api_set_size(file, 3 * BLOCK);
	api_expect(file, 0, 'p', BLOCK);
	api_expect(file, BLOCK, 'a', 2 * BLOCK);
	api_expect(child_file, 0, 'a', BLOCK);
	api_expect(child_file, BLOCK, 'c', BLOCK);
	api_expect(child_file, 2 * BLOCK, 'a', 2 * BLOCK);
	assert_ok(bd_unlink(child_root, "file"));
	bd_inode_unref(api_lookup(api->root, "file"), 1);
	bd_inode_unref(api_create(child_root, "only here", S_IFREG | 0600), 1);
	assert_int_equal(bd_lookup(api->root, "only here", &(struct bd_inode *){NULL}), -ENOENT);
	bd_inode_unref(child_file, 1);
	bd_inode_unref(child_root, 1);
	bd_inode_unref(file, 1);
}

static void a_branch_of_a_snapshot_leaves_the_parent_alone(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *root, *old;
	struct bd_branch_info child, before, after;
	struct bd_view view;

	api_put(file, 0, 'a', BLOCK);
	view = freeze(api, "s");
	api_put(file, 0, 'b', BLOCK);
	assert_ok(bd_branch_get(api->store, api->main.id, &before));
	assert_ok(bd_branch_create(api->store, "child", view, &child, NULL));
	assert_ok(bd_branch_get(api->store, api->main.id, &after));
	assert_int_equal(before.epoch.v, after.epoch.v);
	assert_int_equal(child.parent_epoch.v, view.epoch.v);
	/* The snapshot may go: what the child needs stays. */
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "s"));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	root = api_root(api, api_head(child.id));
	old = api_lookup(root, "file");
	api_expect(old, 0, 'a', BLOCK);
	bd_inode_unref(old, 1);
	bd_inode_unref(root, 1);
	bd_inode_unref(file, 1);
}

static void history_survives_collection(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *root, *old;
	struct bd_view views[4];
	char label[8];

	for (int i = 0; i < 4; i++) {
		api_put(file, 0, 'a' + i, 40 * BLOCK);
		snprintf(label, sizeof(label), "s%d", i);
		views[i] = freeze(api, label);
	}
	api_put(file, 0, 'z', 40 * BLOCK);
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "s1"));
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	for (int i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		root = api_root(api, views[i]);
		old = api_lookup(root, "file");
		api_expect(old, 0, 'a' + i, 40 * BLOCK);
		bd_inode_unref(old, 1);
		bd_inode_unref(root, 1);
	}
	api_expect(file, 0, 'z', 40 * BLOCK);
	bd_inode_unref(file, 1);
}

/* Space of what nobody can see comes back. */
static void collection_frees_what_nobody_sees(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_status before, after;
	struct bd_gc_result result;

	for (int i = 0; i < 30; i++)
		api_put(file, 0, i + 1, 8 * MIB);
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_store_status(api->store, &before));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
	assert_ok(bd_store_status(api->store, &after));
	assert_true(after.live_bytes < 16 * MIB);
	assert_true(after.extent_bytes < before.extent_bytes);
	api_expect(file, 0, 30, 8 * MIB);
	bd_inode_unref(file, 1);
}

struct expected_diff {
	const char *path;
	enum bd_diff_kind kind;
	bool seen;
};

static int take_diff(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	struct expected_diff *expected = arg;

	while (*path == '/')
		path++;
	for (; expected->path != NULL; expected++)
		if (strcmp(expected->path, path) == 0) {
			if (expected->kind != kind || expected->seen)
				fail_msg("'%s' is reported as kind %d", path, (int)kind);
			if (kind == BD_DIFF_CHANGED && blocks != 2)
				fail_msg("'%s' differs in %d blocks, not 2", path, (int)blocks);
			expected->seen = true;
		}
	return 0;
}

static int stop_diff(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	(void)kind;
	(void)path;
	(void)blocks;
	(*(unsigned *)arg)++;
	return -EINTR;
}

static void diff_names_what_differs(void **state)
{
	struct api *api = *state;
	struct bd_inode *changed = api_create(api->root, "changed", S_IFREG | 0600);
	struct bd_inode *meta = api_create(api->root, "meta", S_IFREG | 0600), *dir = api_create(api->root, "dir", S_IFDIR | 0700);
	struct expected_diff expected[] = {{"changed", BD_DIFF_CHANGED, false}, {"meta", BD_DIFF_META, false},
					   {"dir/added", BD_DIFF_ADDED, false}, {"removed", BD_DIFF_REMOVED, false}, {0}};
	struct bd_attr attr = {.mode = 0640}, after;
	struct bd_view view;
	unsigned calls = 0;

	bd_inode_unref(api_create(api->root, "removed", S_IFREG | 0600), 1);
	bd_inode_unref(api_create(api->root, "same", S_IFREG | 0600), 1);
	api_put(changed, 0, 1, 10 * BLOCK);
	view = freeze(api, "s");
	assert_ok(bd_diff(api->store, view, api_head(api->main.id), stop_diff, &calls));
	assert_int_equal(calls, 0);
	api_put(changed, 3 * BLOCK, 2, 2 * BLOCK);
	assert_ok(bd_setattr(meta, BD_SET_MODE, &attr, &after));
	bd_inode_unref(api_create(dir, "added", S_IFREG | 0600), 1);
	assert_ok(bd_unlink(api->root, "removed"));
	assert_ok(bd_diff(api->store, view, api_head(api->main.id), take_diff, expected));
	for (size_t i = 0; expected[i].path != NULL; i++)
		if (!expected[i].seen)
			fail_msg("'%s' is not reported", expected[i].path);
	assert_int_equal(bd_diff(api->store, view, api_head(api->main.id), stop_diff, &calls), -EINTR);
	assert_int_equal(calls, 1);
	bd_inode_unref(changed, 1);
	bd_inode_unref(meta, 1);
	bd_inode_unref(dir, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(a_snapshot_shows_its_moment),
		api_test(everything_that_changes_is_refused),
		api_test(links_and_renames_stay_in_their_branch),
		api_test(branches_go_apart),
		api_test(a_branch_of_a_snapshot_leaves_the_parent_alone),
		api_test(history_survives_collection),
		api_test(collection_frees_what_nobody_sees),
		api_test(diff_names_what_differs),
	};

	return cmocka_run_group_tests_name("api_view", tests, NULL, NULL);
}
