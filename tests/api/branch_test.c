/* Branches and snapshots: names, order, numbers, what may be deleted, what survives. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

static void names_are_checked(void **state)
{
	static const char *const good[] = {"a", "main", "a.b", "A-1_z", "9", "release-15.2"};
	static const char *const bad[] = {"",    ".",   "..",       ".hidden", "-x",  "a/b",  "a@b",
					  "a b", "a\n", "\xc3\xb6", "a..",     "a:b", "a\\b", "*"};
	char name[300];

	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(good); i++)
		assert_ok(bd_name_check(good[i]));
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++)
		if (bd_name_check(bad[i]) != -EINVAL)
			fail_msg("'%s' gives %d", bad[i], bd_name_check(bad[i]));
	memset(name, 'x', sizeof(name));
	name[BD_BRANCH_NAME_MAX] = 0;
	assert_ok(bd_name_check(name));
	name[BD_BRANCH_NAME_MAX] = 'x';
	name[BD_BRANCH_NAME_MAX + 1] = 0;
	assert_int_equal(bd_name_check(name), -ENAMETOOLONG);
	name[BD_BRANCH_NAME_MAX + 1] = 'x';
	name[299] = 0;
	assert_int_equal(bd_name_check(name), -ENAMETOOLONG);
}

/* Whatever makes a name refuses a bad one, and nothing has changed. */
static void bad_names_are_refused_everywhere(void **state)
{
	static const char *const bad[] = {"", "..", "a/b", "a@b", "-x"};
	struct api *api = *state;
	struct bd_branch_info info;
	struct bd_snapshot_info snapshot;
	size_t count;
	struct bd_branch_info *infos;

	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		assert_int_equal(bd_branch_create_empty(api->store, bad[i], 0, 0, &info), -EINVAL);
		assert_int_equal(bd_branch_create(api->store, bad[i], api_head(api->main.id), &info, NULL), -EINVAL);
		assert_int_equal(bd_branch_rename(api->store, api->main.id, bad[i]), -EINVAL);
		assert_int_equal(bd_snapshot_create(api->store, api->main.id, bad[i], &snapshot), -EINVAL);
	}
	assert_ok(bd_branch_list(api->store, &infos, &count));
	assert_int_equal(count, 1);
	assert_int_equal(infos[0].epoch.v, api->main.epoch.v);
	assert_int_equal(infos[0].snapshots, 0);
	free(infos);
}

/* A child `name` of main, with what the counts say of main's children after it. */
static struct bd_branch_info make_child(struct api *api, const char *name, uint32_t children)
{
	struct bd_branch_info child, main;

	assert_ok(bd_branch_create(api->store, name, api_head(api->main.id), &child, NULL));
	assert_ok(bd_branch_get(api->store, api->main.id, &main));
	assert_int_equal(main.children, children);
	return child;
}

static void expect_branches(struct api *api, size_t users, size_t internal)
{
	struct bd_branch_info *infos;
	struct bd_status status;
	size_t count;

	assert_ok(bd_branch_list(api->store, &infos, &count));
	assert_int_equal(count, users);
	for (size_t i = 0; i < count; i++)
		assert_false(bd_name_is_internal(infos[i].name));
	free(infos);
	assert_ok(bd_branch_list_internal(api->store, &infos, &count));
	assert_int_equal(count, internal);
	for (size_t i = 0; i < count; i++)
		assert_true(bd_name_is_internal(infos[i].name));
	free(infos);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.branches, users);
}

static void internal_branches_are_in_no_list_and_no_count(void **state)
{
	struct api *api = *state;
	struct bd_branch_info info, child;

	assert_false(bd_name_is_internal("main"));
	assert_false(bd_name_is_internal("."));
	assert_false(bd_name_is_internal(".."));
	assert_false(bd_name_is_internal("..x"));
	assert_false(bd_name_is_internal(".a/b"));
	assert_ok(bd_branch_create_empty(api->store, ".own", 1, 2, &info));
	assert_int_equal(bd_branch_create_empty(api->store, ".own", 1, 2, &info), -EEXIST);
	child = make_child(api, ".prepare-a", 0);
	expect_branches(api, 1, 2);
	/* Nothing of a parent goes while something is being made of it. */
	assert_int_equal(bd_branch_delete(api->store, api->main.id), -ENOTEMPTY);

	struct bd_inode *root = api_root(api, api_head(child.id));
	assert_true(bd_inode_is_internal(root));
	assert_ok(bd_branch_rename(api->store, child.id, "a"));
	assert_false(bd_inode_is_internal(root));
	bd_inode_unref(root, 1);
	expect_branches(api, 2, 1);
	assert_ok(bd_branch_get(api->store, api->main.id, &info));
	assert_int_equal(info.children, 1);

	assert_ok(bd_branch_rename(api->store, child.id, ".a"));
	expect_branches(api, 1, 2);
	api_reopen(api);
	expect_branches(api, 1, 2);
	assert_ok(bd_branch_find(api->store, ".a", &info));
	assert_int_equal(info.id.v, child.id.v);
	assert_ok(bd_branch_get(api->store, api->main.id, &info));
	assert_int_equal(info.children, 0);

	assert_ok(bd_branch_detach(api->store, child.id));
	make_child(api, "b", 1);
	assert_ok(bd_branch_delete(api->store, child.id));
	expect_branches(api, 2, 1);
	assert_ok(bd_branch_get(api->store, api->main.id, &info));
	assert_int_equal(info.children, 1);
}

struct wakes {
	unsigned count;
	uint32_t branch;
};

static void note_wake(void *arg, struct bd_branch_id branch)
{
	struct wakes *wakes = arg;

	wakes->count++;
	wakes->branch = branch.v;
}

/* In its root directory, a new file or the one that is there. */
static void write_in(struct api *api, struct bd_branch_id branch)
{
	const struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_inode *root, *file;
	assert_ok(bd_root(api->store, (struct bd_view){.branch = branch, .epoch = BD_EPOCH_HEAD}, &root));
	int error = bd_lookup(root, "f", &file);
	if (error == -ENOENT)
		error = bd_create(root, "f", &how, &file);
	assert_ok(error);
	api_put(file, 0, 1, 100);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

static void a_watched_branch_tells_of_one_write(void **state)
{
	struct api *api = *state;
	struct wakes wakes = {0};
	struct bd_branch_info other;
	struct bd_inode *file = api_create(api->root, "f", S_IFREG | 0600);

	/* Nobody is told, and nothing is told later of what was written then. */
	api_put(file, 0, 1, 100);
	bd_store_set_wake(api->store, note_wake, &wakes);
	assert_int_equal(wakes.count, 0);
	/* At first each branch is watched. */
	api_put(file, 0, 1, 100);
	assert_int_equal(wakes.count, 1);
	assert_int_equal(wakes.branch, api->main.id.v);
	api_put(file, 0, 1, 100);
	assert_int_equal(wakes.count, 1);
	/* Internal ones are not, before they get another name. */
	assert_ok(bd_branch_create_empty(api->store, ".other", 0, 0, &other));
	write_in(api, other.id);
	assert_int_equal(wakes.count, 1);
	assert_ok(bd_branch_rename(api->store, other.id, "other"));
	write_in(api, other.id);
	assert_int_equal(wakes.count, 2);
	assert_int_equal(wakes.branch, other.id.v);
	assert_ok(bd_branch_watch(api->store, other.id));
	api_put(file, 0, 1, 100);
	assert_int_equal(wakes.count, 2);
	assert_ok(bd_branch_watch(api->store, api->main.id));
	api_put(file, 0, 1, 100);
	assert_int_equal(wakes.count, 3);
	assert_int_equal(wakes.branch, api->main.id.v);
	assert_ok(bd_branch_watch(api->store, api->main.id));
	bd_store_set_wake(api->store, NULL, NULL);
	api_put(file, 0, 1, 100);
	assert_int_equal(wakes.count, 3);
	assert_int_equal(bd_branch_watch(api->store, (struct bd_branch_id){777}), -ENOENT);
	bd_inode_unref(file, 1);
}

static void an_empty_branch_has_an_empty_private_root(void **state)
{
	struct api *api = *state;
	struct bd_attr attr = api_attr(api->root);
	struct bd_listing *listing;

	assert_int_equal(attr.file.v, BD_FILE_ID_ROOT.v);
	assert_int_equal(attr.mode, S_IFDIR | 0700);
	assert_int_equal(attr.uid, 10);
	assert_int_equal(attr.gid, 20);
	assert_int_equal(attr.nlink, 2);
	assert_ok(bd_readdir(api->root, &listing));
	assert_int_equal(listing->count, 0);
	bd_listing_free(listing);
	assert_int_equal(api->main.parent.v, 0);
	assert_string_equal(api->main.name, "main");
	assert_string_equal(api->main.parent_name, "");
	assert_true(api->main.id.v != 0);
}

static void a_taken_name_is_refused(void **state)
{
	struct api *api = *state;
	struct bd_branch_info info, other;

	assert_int_equal(bd_branch_create_empty(api->store, "main", 0, 0, &info), -EEXIST);
	assert_int_equal(bd_branch_create(api->store, "main", api_head(api->main.id), &info, NULL), -EEXIST);
	assert_ok(bd_branch_create_empty(api->store, "other", 0, 0, &other));
	assert_int_equal(bd_branch_rename(api->store, other.id, "main"), -EEXIST);
	assert_ok(bd_branch_find(api->store, "other", &info));
	assert_int_equal(info.id.v, other.id.v);
	/* The epoch of a parent whose branching was refused has not moved. */
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.epoch.v, api->main.epoch.v);
}

static void what_is_not_there_is_not_found(void **state)
{
	struct api *api = *state;
	struct bd_branch_id nobody = {4000000};
	struct bd_branch_info info;
	struct bd_snapshot_info snapshot, *snapshots;
	struct bd_inode *root;
	size_t count;

	assert_int_equal(bd_branch_find(api->store, "nobody", &info), -ENOENT);
	assert_int_equal(bd_branch_get(api->store, nobody, &info), -ENOENT);
	assert_int_equal(bd_branch_get(api->store, (struct bd_branch_id){0}, &info), -ENOENT);
	assert_int_equal(bd_branch_delete(api->store, nobody), -ENOENT);
	assert_int_equal(bd_branch_rename(api->store, nobody, "x"), -ENOENT);
	assert_int_equal(bd_branch_protect(api->store, nobody, true), -ENOENT);
	assert_int_equal(bd_branch_create(api->store, "x", api_head(nobody), &info, NULL), -ENOENT);
	assert_int_equal(bd_snapshot_create(api->store, nobody, "x", &snapshot), -ENOENT);
	assert_int_equal(bd_snapshot_list(api->store, nobody, &snapshots, &count), -ENOENT);
	assert_int_equal(bd_snapshot_find(api->store, api->main.id, "x", &snapshot), -ENOENT);
	assert_int_equal(bd_snapshot_delete(api->store, api->main.id, "x"), -ENOENT);
	assert_int_equal(bd_root(api->store, api_head(nobody), &root), -ENOENT);
	assert_int_equal(bd_root(api->store, (struct bd_view){api->main.id, {api->main.epoch.v + 1000}}, &root), -ENOENT);
}

static void branches_are_listed_by_name(void **state)
{
	static const char *const names[] = {"zeta", "alpha", "beta.2", "beta-1", "Main"};
	static const char *const sorted[] = {"Main", "alpha", "beta-1", "beta.2", "main", "zeta"};
	struct api *api = *state;
	struct bd_branch_info info, *infos;
	size_t count;

	for (size_t i = 0; i < NF_ARRAY_LEN(names); i++)
		assert_ok(bd_branch_create_empty(api->store, names[i], 0, 0, &info));
	assert_ok(bd_branch_list(api->store, &infos, &count));
	assert_int_equal(count, NF_ARRAY_LEN(sorted));
	for (size_t i = 0; i < count; i++)
		assert_string_equal(infos[i].name, sorted[i]);
	free(infos);
}

static void a_child_knows_its_parent(void **state)
{
	struct api *api = *state;
	struct bd_branch_info child, main_info;
	uint64_t pause_ns = UINT64_MAX;

	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, &pause_ns));
	assert_true(pause_ns < UINT64_C(10000000000));
	assert_int_equal(child.parent.v, api->main.id.v);
	assert_string_equal(child.parent_name, "main");
	assert_true(child.created_ns > INT64_C(1500000000000000000));
	assert_ok(bd_branch_find(api->store, "main", &main_info));
	assert_int_equal(main_info.children, 1);
	assert_true(main_info.epoch.v > api->main.epoch.v);
	assert_true(child.parent_epoch.v < main_info.epoch.v);
	assert_ok(bd_branch_rename(api->store, api->main.id, "trunk"));
	assert_ok(bd_branch_find(api->store, "child", &child));
	assert_string_equal(child.parent_name, "trunk");
	assert_int_equal(bd_branch_find(api->store, "main", &main_info), -ENOENT);
	assert_ok(bd_branch_rename(api->store, api->main.id, "main"));
}

static void renaming_to_the_own_name_is_harmless(void **state)
{
	struct api *api = *state;
	struct bd_branch_info info;
	int err = bd_branch_rename(api->store, api->main.id, "main");

	assert_true(err == 0 || err == -EEXIST);
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.id.v, api->main.id.v);
}

static void deletion_is_refused_for_three_reasons(void **state)
{
	struct api *api = *state;
	struct bd_branch_info child, info;
	struct bd_inode *root;

	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, NULL));
	assert_int_equal(bd_branch_delete(api->store, api->main.id), -ENOTEMPTY);
	assert_ok(bd_branch_protect(api->store, child.id, true));
	assert_ok(bd_branch_get(api->store, child.id, &info));
	assert_true(info.is_protected);
	assert_int_equal(bd_branch_delete(api->store, child.id), -EPERM);
	assert_ok(bd_branch_protect(api->store, child.id, false));
	root = api_root(api, api_head(child.id));
	bd_inode_use(root, 2);
	bd_inode_use(root, -1);
	assert_ok(bd_branch_get(api->store, child.id, &info));
	assert_int_equal(info.in_use, 1);
	assert_int_equal(bd_branch_delete(api->store, child.id), -EBUSY);
	bd_inode_use(root, -1);
	bd_inode_unref(root, 1);
	assert_ok(bd_branch_delete(api->store, child.id));
	assert_int_equal(bd_branch_get(api->store, child.id, &info), -ENOENT);
	assert_int_equal(bd_branch_find(api->store, "child", &info), -ENOENT);
	assert_int_equal(bd_root(api->store, api_head(child.id), &root), -ENOENT);
	assert_ok(bd_branch_get(api->store, api->main.id, &info));
	assert_int_equal(info.children, 0);
}

static void a_deleted_name_can_be_used_again_by_another_branch(void **state)
{
	struct api *api = *state;
	struct bd_branch_info first, second;
	struct bd_inode *root;
	struct bd_listing *listing;

	assert_ok(bd_branch_create_empty(api->store, "again", 0, 0, &first));
	root = api_root(api, api_head(first.id));
	bd_inode_unref(api_create(root, "file", S_IFREG | 0600), 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_branch_delete(api->store, first.id));
	assert_ok(bd_branch_create_empty(api->store, "again", 0, 0, &second));
	assert_int_not_equal(first.id.v, second.id.v);
	root = api_root(api, api_head(second.id));
	assert_ok(bd_readdir(root, &listing));
	assert_int_equal(listing->count, 0);
	bd_listing_free(listing);
	bd_inode_unref(root, 1);
}

/* References to inodes of a deleted branch answer with errors, and can be dropped. */
static void inodes_of_a_deleted_branch_are_dead(void **state)
{
	struct api *api = *state;
	struct bd_branch_info info;
	struct bd_inode *root, *file, *made;
	struct bd_create how = {.mode = S_IFREG | 0600};

	assert_ok(bd_branch_create_empty(api->store, "gone", 0, 0, &info));
	root = api_root(api, api_head(info.id));
	file = api_create(root, "file", S_IFREG | 0600);
	api_put(file, 0, 1, BLOCK);
	assert_ok(bd_branch_delete(api->store, info.id));
	assert_true(bd_write(file, 0, "x", 1, 0) < 0);
	assert_true(bd_create(root, "new", &how, &made) < 0);
	assert_true(bd_lookup(root, "nothing", &made) < 0);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

static void snapshots_have_unique_labels_and_rising_epochs(void **state)
{
	struct api *api = *state;
	struct bd_branch_info other, info;
	struct bd_snapshot_info a, b, found, *list;
	size_t count;

	assert_ok(bd_snapshot_create(api->store, api->main.id, "b", &b));
	assert_int_equal(bd_snapshot_create(api->store, api->main.id, "b", &a), -EEXIST);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "a", &a));
	assert_true(b.epoch.v < a.epoch.v);
	assert_ok(bd_branch_get(api->store, api->main.id, &info));
	assert_true(a.epoch.v < info.epoch.v);
	assert_int_equal(info.snapshots, 2);
	assert_ok(bd_branch_create_empty(api->store, "other", 0, 0, &other));
	assert_ok(bd_snapshot_create(api->store, other.id, "a", &found));
	assert_ok(bd_snapshot_list(api->store, api->main.id, &list, &count));
	assert_int_equal(count, 2);
	assert_string_equal(list[0].label, "b");
	assert_string_equal(list[1].label, "a");
	assert_int_equal(list[1].branch.v, api->main.id.v);
	free(list);
	assert_ok(bd_snapshot_find(api->store, api->main.id, "a", &found));
	assert_int_equal(found.epoch.v, a.epoch.v);
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "b"));
	assert_int_equal(bd_snapshot_delete(api->store, api->main.id, "b"), -ENOENT);
	assert_ok(bd_snapshot_list(api->store, api->main.id, &list, &count));
	assert_int_equal(count, 1);
	free(list);
}

static void creation_is_durable_on_return(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *root;
	struct bd_branch_info child, empty;
	struct bd_snapshot_info snapshot;

	api_put(file, 0, 'a', 3 * BLOCK + 5);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
	api_put(file, BLOCK, 'b', BLOCK);
	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, NULL));
	assert_ok(bd_branch_create_empty(api->store, "empty", 1, 1, &empty));
	bd_inode_unref(file, 1);
	api_crash(api);
	assert_ok(bd_branch_find(api->store, "empty", &empty));
	assert_ok(bd_snapshot_find(api->store, api->main.id, "s", &snapshot));
	root = api_root(api, (struct bd_view){api->main.id, snapshot.epoch});
	file = api_lookup(root, "file");
	api_expect(file, 0, 'a', 3 * BLOCK + 5);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_branch_find(api->store, "child", &child));
	root = api_root(api, api_head(child.id));
	file = api_lookup(root, "file");
	api_expect(file, 0, 'a', BLOCK);
	api_expect(file, BLOCK, 'b', BLOCK);
	api_expect(file, 2 * BLOCK, 'a', BLOCK + 5);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

static void rename_protect_and_deletion_survive_a_crash(void **state)
{
	struct api *api = *state;
	struct bd_branch_info info, gone;
	struct bd_snapshot_info snapshot;

	assert_ok(bd_branch_create_empty(api->store, "old", 0, 0, &info));
	assert_ok(bd_branch_create_empty(api->store, "gone", 0, 0, &gone));
	assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
	assert_ok(bd_branch_rename(api->store, info.id, "new"));
	assert_ok(bd_branch_protect(api->store, info.id, true));
	assert_ok(bd_branch_delete(api->store, gone.id));
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "s"));
	api_crash(api);
	assert_ok(bd_branch_find(api->store, "new", &info));
	assert_true(info.is_protected);
	assert_int_equal(bd_branch_find(api->store, "old", &info), -ENOENT);
	assert_int_equal(bd_branch_find(api->store, "gone", &info), -ENOENT);
	assert_int_equal(bd_snapshot_find(api->store, api->main.id, "s", &snapshot), -ENOENT);
}

static void a_branch_takes_the_place_of_another(void **state)
{
	struct api *api = *state;
	struct bd_branch_info fresh, info;
	struct bd_inode *root;

	assert_ok(bd_branch_create(api->store, ".fresh", api_head(api->main.id), &fresh, NULL));
	assert_ok(bd_branch_create_empty(api->store, "other", 0, 0, &info));
	assert_int_equal(bd_branch_replace(api->store, fresh.id, api->main.id, "other"), -EEXIST);
	assert_int_equal(bd_branch_replace(api->store, fresh.id, api->main.id, "main"), -EEXIST);
	assert_int_equal(bd_branch_replace(api->store, fresh.id, api->main.id, "-x"), -EINVAL);
	assert_int_equal(bd_branch_replace(api->store, fresh.id, fresh.id, "x"), -EINVAL);
	assert_int_equal(bd_branch_replace(api->store, (struct bd_branch_id){999}, api->main.id, "x"), -ENOENT);
	assert_int_equal(bd_branch_replace(api->store, fresh.id, (struct bd_branch_id){999}, "x"), -ENOENT);
	root = api_root(api, api_head(api->main.id));
	bd_inode_use(root, 1);
	assert_int_equal(bd_branch_replace(api->store, fresh.id, api->main.id, "x"), -EBUSY);
	bd_inode_use(root, -1);
	bd_inode_unref(root, 1);
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.id.v, api->main.id.v);

	struct bd_branch_id old = api->main.id; /* a crash looks "main" up again */
	assert_ok(bd_branch_replace(api->store, fresh.id, old, "main_old"));
	api_crash(api);
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.id.v, fresh.id.v);
	assert_string_equal(info.parent_name, "main_old");
	assert_ok(bd_branch_find(api->store, "main_old", &info));
	assert_int_equal(info.id.v, old.v);
	assert_int_equal(info.children, 1);
	assert_int_equal(bd_branch_find(api->store, ".fresh", &info), -ENOENT);

	/* The names change sides. */
	assert_ok(bd_branch_replace(api->store, old, fresh.id, "main_old"));
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.id.v, old.v);
	assert_ok(bd_branch_find(api->store, "main_old", &info));
	assert_int_equal(info.id.v, fresh.id.v);
	assert_ok(bd_branch_rename(api->store, fresh.id, ".fresh"));
	assert_ok(bd_branch_find(api->store, "main", &info));
	assert_int_equal(info.children, 0);
}

static void a_long_chain_of_branches_reads_through(void **state)
{
	enum { DEPTH = 128 };
	struct api *api = *state;
	struct bd_branch_info info = api->main;
	struct bd_inode *root, *file = api_create(api->root, "file", S_IFREG | 0600);
	char name[32];

	api_put(file, 0, 0xff, DEPTH * BLOCK);
	bd_inode_unref(file, 1);
	for (unsigned i = 0; i < DEPTH; i++) {
		snprintf(name, sizeof(name), "level%u", i);
		assert_ok(bd_branch_create(api->store, name, api_head(info.id), &info, NULL));
		root = api_root(api, api_head(info.id));
		file = api_lookup(root, "file");
		api_put(file, i * BLOCK, (int)i, BLOCK);
		bd_inode_unref(file, 1);
		bd_inode_unref(root, 1);
	}
	api_reopen(api);
	assert_ok(bd_branch_find(api->store, "level100", &info));
	root = api_root(api, api_head(info.id));
	file = api_lookup(root, "file");
	for (unsigned i = 0; i < DEPTH; i++)
		api_expect(file, i * BLOCK, i <= 100 ? (int)i : 0xff, BLOCK);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_checked),
		api_test(bad_names_are_refused_everywhere),
		api_test(internal_branches_are_in_no_list_and_no_count),
		api_test(a_watched_branch_tells_of_one_write),
		api_test(an_empty_branch_has_an_empty_private_root),
		api_test(a_taken_name_is_refused),
		api_test(what_is_not_there_is_not_found),
		api_test(branches_are_listed_by_name),
		api_test(a_child_knows_its_parent),
		api_test(renaming_to_the_own_name_is_harmless),
		api_test(deletion_is_refused_for_three_reasons),
		api_test(a_deleted_name_can_be_used_again_by_another_branch),
		api_test(inodes_of_a_deleted_branch_are_dead),
		api_test(snapshots_have_unique_labels_and_rising_epochs),
		api_test(creation_is_durable_on_return),
		api_test(rename_protect_and_deletion_survive_a_crash),
		api_test(a_branch_takes_the_place_of_another),
		api_test(a_long_chain_of_branches_reads_through),
	};

	return cmocka_run_group_tests_name("api_branch", tests, NULL, NULL);
}
