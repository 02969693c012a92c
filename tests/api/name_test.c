/* Directories: create, link, unlink, rename, look-up, listing. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

static int try_create(struct bd_inode *dir, const char *name, uint32_t mode)
{
	struct bd_create how = {.mode = mode, .symlink_target = S_ISLNK(mode) ? "target" : NULL};
	struct bd_inode *inode;
	int err = bd_create(dir, name, &how, &inode);

	if (err == 0)
		bd_inode_unref(inode, 1);
	return err;
}

static int try_lookup(struct bd_inode *dir, const char *name)
{
	struct bd_inode *inode;
	int err = bd_lookup(dir, name, &inode);

	if (err == 0)
		bd_inode_unref(inode, 1);
	return err;
}

static void bad_names_change_nothing(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "/"};
	struct api *api = *state;
	struct bd_listing *listing;
	char name[BD_NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[BD_NAME_MAX] = 0;
	assert_ok(try_create(api->root, name, S_IFREG | 0600));
	assert_ok(try_lookup(api->root, name));
	assert_ok(bd_unlink(api->root, name));
	name[BD_NAME_MAX] = 'n';
	name[BD_NAME_MAX + 1] = 0;
	assert_int_equal(try_create(api->root, name, S_IFREG | 0600), -ENAMETOOLONG);
	assert_int_equal(try_lookup(api->root, name), -ENAMETOOLONG);
	assert_ok(try_create(api->root, "file", S_IFREG | 0600));
	assert_int_equal(bd_rename(api->root, "file", api->root, name, 0), -ENAMETOOLONG);
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		assert_true(try_create(api->root, bad[i], S_IFREG | 0600) < 0);
		assert_true(try_create(api->root, bad[i], S_IFDIR | 0700) < 0);
		assert_true(try_lookup(api->root, bad[i]) < 0);
		assert_true(bd_unlink(api->root, bad[i]) < 0);
		assert_true(bd_rmdir(api->root, bad[i]) < 0);
		assert_true(bd_rename(api->root, "file", api->root, bad[i], 0) < 0);
	}
	assert_ok(bd_readdir(api->root, &listing));
	assert_int_equal(listing->count, 1);
	bd_listing_free(listing);
}

static void create_sets_what_was_asked(void **state)
{
	static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	struct api *api = *state;
	struct bd_create how = {.uid = 5, .gid = 6, .symlink_target = "somewhere/else"};
	struct bd_attr attr;
	struct bd_inode *inode;
	char name[8], target[BD_SYMLINK_MAX + 1];

	for (size_t i = 0; i < NF_ARRAY_LEN(types); i++) {
		how.mode = types[i] | 0751;
		how.rdev = types[i] == S_IFCHR || types[i] == S_IFBLK ? 0x812 : 0;
		snprintf(name, sizeof(name), "n%zu", i);
		assert_ok(bd_create(api->root, name, &how, &inode));
		bd_inode_unref(inode, 1);
	}
	api_reopen(api);
	for (size_t i = 0; i < NF_ARRAY_LEN(types); i++) {
		snprintf(name, sizeof(name), "n%zu", i);
		inode = api_lookup(api->root, name);
		attr = api_attr(inode);
		assert_int_equal(attr.mode, types[i] | 0751);
		assert_int_equal(attr.uid, 5);
		assert_int_equal(attr.gid, 6);
		assert_int_equal(attr.nlink, types[i] == S_IFDIR ? 2 : 1);
		assert_int_equal(attr.rdev, types[i] == S_IFCHR || types[i] == S_IFBLK ? 0x812 : 0);
		assert_int_equal(attr.size_bytes, types[i] == S_IFDIR ? 4096 : types[i] == S_IFLNK ? strlen("somewhere/else") : 0);
		assert_int_equal(attr.mtime_ns, attr.ctime_ns);
		assert_true(attr.btime_ns > INT64_C(1500000000000000000));
		if (types[i] == S_IFLNK) {
			assert_ok(bd_readlink(inode, target));
			assert_string_equal(target, "somewhere/else");
		} else {
			assert_int_equal(bd_readlink(inode, target), -EINVAL);
		}
		bd_inode_unref(inode, 1);
	}
	assert_int_equal(api_attr(api->root).nlink, 3);
}

static void names_are_taken_once(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);

	assert_int_equal(try_create(api->root, "file", S_IFREG | 0600), -EEXIST);
	assert_int_equal(try_create(api->root, "file", S_IFDIR | 0700), -EEXIST);
	assert_int_equal(bd_link(file, api->root, "file"), -EEXIST);
	assert_int_equal(try_create(file, "below", S_IFREG | 0600), -ENOTDIR);
	assert_int_equal(try_lookup(file, "below"), -ENOTDIR);
	assert_int_equal(bd_unlink(file, "below"), -ENOTDIR);
	bd_inode_unref(file, 1);
}

static void setgid_directories_hand_down_their_group(void **state)
{
	struct api *api = *state;
	struct bd_create how = {.mode = S_IFDIR | 02775, .uid = 1, .gid = 900};
	struct bd_inode *dir, *inode;

	assert_ok(bd_create(api->root, "shared", &how, &dir));
	how = (struct bd_create){.mode = S_IFREG | 0644, .uid = 2, .gid = 7};
	assert_ok(bd_create(dir, "file", &how, &inode));
	assert_int_equal(api_attr(inode).gid, 900);
	assert_int_equal(api_attr(inode).mode, S_IFREG | 0644);
	bd_inode_unref(inode, 1);
	how.mode = S_IFDIR | 0755;
	assert_ok(bd_create(dir, "sub", &how, &inode));
	assert_int_equal(api_attr(inode).gid, 900);
	assert_int_equal(api_attr(inode).mode, S_IFDIR | 02755);
	bd_inode_unref(inode, 1);
	bd_inode_unref(dir, 1);
}

static void links_share_one_inode(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "a", S_IFREG | 0600), *other, *dir = api_create(api->root, "d", S_IFDIR | 0700);

	assert_ok(bd_link(file, dir, "b"));
	assert_int_equal(api_attr(file).nlink, 2);
	assert_int_equal(bd_link(dir, api->root, "hard"), -EPERM);
	api_put(file, 0, 9, 100);
	assert_ok(bd_unlink(api->root, "a"));
	other = api_lookup(dir, "b");
	assert_ptr_equal(other, file);
	assert_int_equal(api_attr(other).nlink, 1);
	api_expect(other, 0, 9, 100);
	bd_inode_unref(other, 1);
	bd_inode_unref(dir, 1);
	bd_inode_unref(file, 1);
}

static void an_unlinked_file_lives_until_it_is_let_go(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *found;
	struct bd_file_id number = api_attr(file).file;

	api_put(file, 0, 1, 5 * BLOCK);
	assert_ok(bd_unlink(api->root, "file"));
	assert_int_equal(api_attr(file).nlink, 0);
	api_put(file, 5 * BLOCK, 2, BLOCK);
	assert_ok(bd_fsync(file, false));
	api_expect(file, 0, 1, 5 * BLOCK);
	api_expect(file, 5 * BLOCK, 2, BLOCK);
	assert_int_equal(try_lookup(api->root, "file"), -ENOENT);
	bd_inode_unref(file, 1);
	assert_int_equal(bd_inode_by_id(api->store, api_head(api->main.id), number, &found), -ENOENT);
}

static void an_unnamed_file_can_get_a_name(void **state)
{
	struct api *api = *state;
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_inode *file, *lost;

	assert_ok(bd_create_unnamed(api->root, &how, &file));
	assert_ok(bd_create_unnamed(api->root, &how, &lost));
	assert_int_equal(api_attr(file).nlink, 0);
	api_put(file, 0, 3, BLOCK);
	assert_ok(bd_link(file, api->root, "named"));
	assert_int_equal(api_attr(file).nlink, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(lost, 1);
	api_reopen(api);
	file = api_lookup(api->root, "named");
	api_expect(file, 0, 3, BLOCK);
	bd_inode_unref(file, 1);
}

static void directories_go_only_empty(void **state)
{
	struct api *api = *state;
	struct bd_inode *dir = api_create(api->root, "d", S_IFDIR | 0700), *parent;

	bd_inode_unref(api_create(dir, "f", S_IFREG | 0600), 1);
	assert_int_equal(bd_rmdir(api->root, "d"), -ENOTEMPTY);
	assert_int_equal(bd_unlink(api->root, "d"), -EISDIR);
	assert_int_equal(bd_rmdir(dir, "f"), -ENOTDIR);
	assert_int_equal(bd_rmdir(api->root, "nothing"), -ENOENT);
	assert_int_equal(bd_unlink(api->root, "nothing"), -ENOENT);
	assert_ok(bd_unlink(dir, "f"));
	assert_ok(bd_lookup_parent(dir, &parent));
	assert_ptr_equal(parent, api->root);
	bd_inode_unref(parent, 1);
	assert_ok(bd_rmdir(api->root, "d"));
	assert_int_equal(try_create(dir, "in a removed directory", S_IFREG | 0600), -ENOENT);
	assert_int_equal(api_attr(dir).nlink, 0);
	assert_int_equal(api_attr(api->root).nlink, 2);
	bd_inode_unref(dir, 1);
	assert_ok(bd_lookup_parent(api->root, &parent));
	assert_ptr_equal(parent, api->root);
	bd_inode_unref(parent, 1);
}

static void rename_follows_posix(void **state)
{
	struct api *api = *state;
	struct bd_inode *a = api_create(api->root, "a", S_IFREG | 0600), *d1 = api_create(api->root, "d1", S_IFDIR | 0700);
	struct bd_inode *d2 = api_create(api->root, "d2", S_IFDIR | 0700), *sub = api_create(d1, "sub", S_IFDIR | 0700), *found;

	bd_inode_unref(api_create(api->root, "b", S_IFREG | 0600), 1);
	assert_int_equal(bd_rename(api->root, "none", api->root, "x", 0), -ENOENT);
	assert_int_equal(bd_rename(api->root, "a", api->root, "b", BD_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(bd_rename(api->root, "a", api->root, "x", BD_RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(bd_rename(api->root, "a", api->root, "b", BD_RENAME_EXCHANGE | BD_RENAME_NOREPLACE), -EINVAL);
	assert_int_equal(bd_rename(api->root, "a", api->root, "b", 64), -EINVAL);
	assert_int_equal(bd_rename(api->root, "a", api->root, "d1", 0), -EISDIR);
	assert_int_equal(bd_rename(api->root, "d1", api->root, "a", 0), -ENOTDIR);
	assert_int_equal(bd_rename(api->root, "d2", api->root, "d1", 0), -ENOTEMPTY);
	assert_int_equal(bd_rename(api->root, "d1", sub, "x", 0), -EINVAL);
	assert_int_equal(bd_rename(api->root, "d1", d1, "x", 0), -EINVAL);
	assert_int_equal(bd_rename(api->root, "d1", d1, "sub", BD_RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(bd_rename(d1, "sub", api->root, "d1", BD_RENAME_EXCHANGE), -EINVAL);
	assert_ok(bd_rename(api->root, "a", api->root, "a", 0));
	assert_ok(bd_link(a, api->root, "same"));
	assert_ok(bd_rename(api->root, "a", api->root, "same", 0)); /* two names of one file: nothing happens */
	assert_ok(try_lookup(api->root, "a"));
	assert_ok(bd_rename(api->root, "a", api->root, "b", 0));
	assert_int_equal(try_lookup(api->root, "a"), -ENOENT);
	found = api_lookup(api->root, "b");
	assert_ptr_equal(found, a);
	bd_inode_unref(found, 1);
	assert_ok(bd_rename(d1, "sub", d2, "moved", 0));
	assert_ok(bd_lookup_parent(sub, &found));
	assert_ptr_equal(found, d2);
	bd_inode_unref(found, 1);
	assert_int_equal(api_attr(d1).nlink, 2);
	assert_int_equal(api_attr(d2).nlink, 3);
	assert_ok(bd_rename(api->root, "d1", d2, "moved", 0)); /* over an empty directory */
	assert_int_equal(api_attr(sub).nlink, 0);
	bd_inode_unref(sub, 1);
	bd_inode_unref(d1, 1);
	bd_inode_unref(d2, 1);
	bd_inode_unref(a, 1);
}

static void exchange_swaps_a_file_and_a_directory(void **state)
{
	struct api *api = *state;
	struct bd_inode *d = api_create(api->root, "d", S_IFDIR | 0700), *f = api_create(d, "f", S_IFREG | 0600);
	struct bd_inode *e = api_create(api->root, "e", S_IFDIR | 0700), *found;

	assert_ok(bd_rename(d, "f", api->root, "e", BD_RENAME_EXCHANGE));
	found = api_lookup(d, "f");
	assert_ptr_equal(found, e);
	bd_inode_unref(found, 1);
	found = api_lookup(api->root, "e");
	assert_ptr_equal(found, f);
	bd_inode_unref(found, 1);
	assert_ok(bd_lookup_parent(e, &found));
	assert_ptr_equal(found, d);
	bd_inode_unref(found, 1);
	assert_int_equal(api_attr(api->root).nlink, 3);
	assert_int_equal(api_attr(d).nlink, 3);
	bd_inode_unref(d, 1);
	bd_inode_unref(e, 1);
	bd_inode_unref(f, 1);
}

/* The Postgres way of replacing a file: after the directory's fsync the new content is there, whatever the power does. */
static void replacing_by_rename_is_durable(void **state)
{
	struct api *api = *state;
	struct bd_inode *old = api_create(api->root, "conf", S_IFREG | 0600), *new = api_create(api->root, "conf.tmp", S_IFREG | 0600);

	api_put(old, 0, 'o', 100);
	assert_ok(bd_fsync(old, false));
	api_put(new, 0, 'n', 200);
	assert_ok(bd_fsync(new, false));
	assert_ok(bd_rename(api->root, "conf.tmp", api->root, "conf", 0));
	assert_ok(bd_fsync(new, false));
	assert_ok(bd_fsync(api->root, false));
	bd_inode_unref(old, 1);
	bd_inode_unref(new, 1);
	api_crash(api);
	new = api_lookup(api->root, "conf");
	assert_int_equal(api_attr(new).size_bytes, 200);
	api_expect(new, 0, 'n', 200);
	assert_int_equal(try_lookup(api->root, "conf.tmp"), -ENOENT);
	bd_inode_unref(new, 1);
}

static void listings_are_whole_and_sorted(void **state)
{
	enum { COUNT = 3000 };
	struct api *api = *state;
	struct bd_listing *before, *after;
	char name[32];

	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "%u", i * 7919 % COUNT);
		assert_ok(try_create(api->root, name, i % 3 ? S_IFREG | 0600 : S_IFDIR | 0700));
	}
	assert_ok(bd_readdir(api->root, &before));
	assert_int_equal(before->count, COUNT);
	for (size_t i = 1; i < COUNT; i++)
		assert_true(strcmp(before->entries[i - 1].name, before->entries[i].name) < 0);
	if (bd_unlink(api->root, "1234") != 0)
		assert_ok(bd_rmdir(api->root, "1234"));
	api_reopen(api);
	assert_ok(bd_readdir(api->root, &after));
	assert_int_equal(after->count, COUNT - 1);
	assert_int_equal(before->count, COUNT); /* a listing is a copy */
	bd_listing_free(before);
	bd_listing_free(after);
}

static void numbers_find_inodes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *found;
	struct bd_file_id number = api_attr(file).file;
	struct bd_snapshot_info snapshot;

	assert_ok(bd_inode_by_id(api->store, api_head(api->main.id), number, &found));
	assert_ptr_equal(found, file);
	bd_inode_unref(found, 2);
	assert_int_equal(bd_inode_by_id(api->store, api_head(api->main.id), (struct bd_file_id){number.v + 1000000}, &found), -ENOENT);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
	assert_ok(bd_unlink(api->root, "file"));
	assert_int_equal(bd_inode_by_id(api->store, api_head(api->main.id), number, &found), -ENOENT);
	assert_ok(bd_inode_by_id(api->store, (struct bd_view){api->main.id, snapshot.epoch}, number, &found));
	assert_int_equal(api_attr(found).nlink, 1);
	bd_inode_unref(found, 1);
}

static void the_front_end_has_a_place_of_its_own(void **state)
{
	struct api *api = *state;
	struct bd_inode *found;

	assert_null(*bd_inode_user(api->root));
	*bd_inode_user(api->root) = api;
	bd_inode_ref(api->root, 3);
	bd_inode_unref(api->root, 3);
	found = api_root(api, api_head(api->main.id));
	assert_ptr_equal(*bd_inode_user(found), api);
	*bd_inode_user(found) = NULL;
	bd_inode_unref(found, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(bad_names_change_nothing),
		api_test(create_sets_what_was_asked),
		api_test(names_are_taken_once),
		api_test(setgid_directories_hand_down_their_group),
		api_test(links_share_one_inode),
		api_test(an_unlinked_file_lives_until_it_is_let_go),
		api_test(an_unnamed_file_can_get_a_name),
		api_test(directories_go_only_empty),
		api_test(rename_follows_posix),
		api_test(exchange_swaps_a_file_and_a_directory),
		api_test(replacing_by_rename_is_durable),
		api_test(listings_are_whole_and_sorted),
		api_test(numbers_find_inodes),
		api_test(the_front_end_has_a_place_of_its_own),
	};

	return cmocka_run_group_tests_name("api_name", tests, NULL, NULL);
}
