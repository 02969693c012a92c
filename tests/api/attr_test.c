/* Attributes, times and extended attributes. */
#include "api.h"

#include <stdlib.h>
#include <unistd.h>

static void setattr_changes_what_is_named(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_attr wish = {.mode = S_IFDIR | 04755, .uid = 1, .gid = 2, .atime_ns = -5, .mtime_ns = 123456789012345678, .ctime_ns = 7,
			       .size_bytes = 999};
	struct bd_attr before = api_attr(file), after;

	assert_ok(bd_setattr(file, BD_SET_MODE, &wish, &after));
	assert_int_equal(after.mode, S_IFREG | 04755); /* the type stays */
	assert_int_equal(after.uid, before.uid);
	assert_int_equal(after.size_bytes, 0);
	assert_int_equal(after.mtime_ns, before.mtime_ns);
	assert_true(after.ctime_ns >= before.ctime_ns);
	assert_ok(bd_setattr(file, BD_SET_UID | BD_SET_GID | BD_SET_ATIME | BD_SET_MTIME | BD_SET_CTIME, &wish, &after));
	assert_int_equal(after.uid, 1);
	assert_int_equal(after.gid, 2);
	assert_int_equal(after.atime_ns, -5);
	assert_int_equal(after.mtime_ns, 123456789012345678);
	assert_int_equal(after.ctime_ns, 7);
	assert_int_equal(after.btime_ns, before.btime_ns);
	bd_inode_unref(file, 1);
	api_reopen(api);
	file = api_lookup(api->root, "file");
	before = api_attr(file);
	assert_memory_equal(&before, &after, offsetof(struct bd_attr, blocks_512));
	assert_int_equal(before.atime_ns, -5);
	assert_int_equal(before.ctime_ns, 7);
	bd_inode_unref(file, 1);
}

static void attributes_are_durable_after_fsync(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_attr wish = {.mode = 0604, .mtime_ns = 42}, after;
	char value[8];

	assert_ok(bd_setattr(file, BD_SET_MODE | BD_SET_MTIME, &wish, &after));
	assert_ok(bd_xattr_set(file, "user.k", "value", 5, 0));
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	api_crash(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(api_attr(file).mode, S_IFREG | 0604);
	assert_int_equal(api_attr(file).mtime_ns, 42);
	assert_int_equal(bd_xattr_get(file, "user.k", value, sizeof(value)), 5);
	assert_memory_equal(value, "value", 5);
	bd_inode_unref(file, 1);
}

static void sizes_have_a_limit_and_a_type(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_attr wish = {.size_bytes = BD_FILE_SIZE_MAX}, after;

	assert_ok(bd_setattr(file, BD_SET_SIZE, &wish, &after));
	assert_int_equal(after.size_bytes, BD_FILE_SIZE_MAX);
	wish.size_bytes = BD_FILE_SIZE_MAX + 1;
	assert_int_equal(bd_setattr(file, BD_SET_SIZE, &wish, &after), -EFBIG);
	assert_int_equal(bd_write(file, BD_FILE_SIZE_MAX, "x", 1, 0), -EFBIG);
	assert_int_equal(bd_write(file, BD_FILE_SIZE_MAX - 1, "xy", 2, 0), -EFBIG);
	assert_int_equal(bd_fallocate(file, 0, BD_FILE_SIZE_MAX - 1, 2), -EFBIG);
	assert_ok(bd_write(file, BD_FILE_SIZE_MAX - 1, "x", 1, 0));
	api_expect(file, BD_FILE_SIZE_MAX - 1, 'x', 1);
	assert_int_equal(api_attr(file).size_bytes, BD_FILE_SIZE_MAX);
	wish.size_bytes = 0;
	assert_int_equal(bd_setattr(api->root, BD_SET_SIZE, &wish, &after), -EISDIR);
	bd_inode_unref(file, 1);
}

static void privileges_are_killed_when_asked(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 06755);
	struct bd_attr wish = {0}, after;

	api_put(file, 0, 1, 10);
	assert_int_equal(api_attr(file).mode, S_IFREG | 06755);
	assert_ok(bd_write(file, 0, "x", 1, BD_WRITE_KILL_PRIV));
	assert_int_equal(api_attr(file).mode, S_IFREG | 0755);
	wish.mode = 06745; /* setgid without group execution is mandatory locking, not a privilege */
	assert_ok(bd_setattr(file, BD_SET_MODE, &wish, &after));
	assert_ok(bd_setattr(file, BD_SET_SIZE | BD_KILL_PRIV, &wish, &after));
	assert_int_equal(after.mode, S_IFREG | 02745);
	bd_inode_unref(file, 1);
}

static void times_follow_changes(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_attr old = {.atime_ns = 1000, .mtime_ns = 1000, .ctime_ns = 1000}, after, dir;
	const unsigned all = BD_SET_ATIME | BD_SET_MTIME | BD_SET_CTIME;

	assert_ok(bd_setattr(file, all, &old, &after));
	assert_ok(bd_setattr(api->root, all, &old, &after));
	api_put(file, 0, 1, 100);
	assert_true(api_attr(file).mtime_ns > 1000);
	assert_true(api_attr(file).ctime_ns > 1000);
	assert_int_equal(api_attr(file).atime_ns, 1000);
	assert_int_equal(api_attr(api->root).mtime_ns, 1000);
	assert_ok(bd_setattr(file, all, &old, &after));
	api_set_size(file, 10);
	assert_true(api_attr(file).mtime_ns > 1000);
	assert_ok(bd_setattr(file, all, &old, &after));
	assert_ok(bd_fallocate(file, BD_FALLOC_KEEP_SIZE | BD_FALLOC_PUNCH_HOLE, 0, 10));
	assert_true(api_attr(file).mtime_ns > 1000);
	assert_ok(bd_setattr(file, all, &old, &after));
	assert_ok(bd_xattr_set(file, "user.k", "v", 1, 0));
	assert_int_equal(api_attr(file).mtime_ns, 1000);
	assert_true(api_attr(file).ctime_ns > 1000);
	assert_ok(bd_setattr(file, all, &old, &after));
	assert_ok(bd_link(file, api->root, "second"));
	assert_true(api_attr(file).ctime_ns > 1000);
	dir = api_attr(api->root);
	assert_true(dir.mtime_ns > 1000);
	assert_true(dir.ctime_ns > 1000);
	assert_ok(bd_setattr(api->root, all, &old, &after));
	assert_ok(bd_rename(api->root, "second", api->root, "third", 0));
	assert_true(api_attr(api->root).mtime_ns > 1000);
	assert_ok(bd_setattr(api->root, all, &old, &after));
	assert_ok(bd_unlink(api->root, "third"));
	assert_true(api_attr(api->root).mtime_ns > 1000);
	bd_inode_unref(file, 1);
}

/* ---- extended attributes ---- */

static void xattrs_are_set_read_listed_and_removed(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	char value[64], names[64];

	assert_int_equal(bd_xattr_list(file, NULL, 0), 0);
	assert_int_equal(bd_xattr_get(file, "user.a", NULL, 0), -ENODATA);
	assert_int_equal(bd_xattr_remove(file, "user.a"), -ENODATA);
	assert_int_equal(bd_xattr_set(file, "user.a", "x", 1, BD_XATTR_REPLACE), -ENODATA);
	assert_ok(bd_xattr_set(file, "user.a", "first", 5, BD_XATTR_CREATE));
	assert_int_equal(bd_xattr_set(file, "user.a", "x", 1, BD_XATTR_CREATE), -EEXIST);
	assert_ok(bd_xattr_set(file, "user.a", "second", 6, BD_XATTR_REPLACE));
	assert_ok(bd_xattr_set(file, "user.empty", "", 0, 0));
	assert_int_equal(bd_xattr_get(file, "user.a", NULL, 0), 6);
	assert_int_equal(bd_xattr_get(file, "user.a", value, 5), -ERANGE);
	assert_int_equal(bd_xattr_get(file, "user.a", value, 6), 6);
	assert_memory_equal(value, "second", 6);
	assert_int_equal(bd_xattr_get(file, "user.empty", value, sizeof(value)), 0);
	assert_int_equal(bd_xattr_list(file, NULL, 0), sizeof("user.a") + sizeof("user.empty"));
	assert_int_equal(bd_xattr_list(file, names, 5), -ERANGE);
	assert_int_equal(bd_xattr_list(file, names, sizeof(names)), sizeof("user.a") + sizeof("user.empty"));
	assert_memory_equal(names, "user.a\0user.empty", sizeof("user.a") + sizeof("user.empty"));
	assert_ok(bd_xattr_remove(file, "user.a"));
	assert_int_equal(bd_xattr_get(file, "user.a", NULL, 0), -ENODATA);
	assert_int_equal(bd_xattr_list(file, NULL, 0), sizeof("user.empty"));
	bd_inode_unref(file, 1);
}

static void xattrs_have_limits(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	char *value = calloc(1, BD_XATTR_VALUE_MAX + 1), *back = calloc(1, BD_XATTR_VALUE_MAX), name[300];

	memset(value, 'v', BD_XATTR_VALUE_MAX);
	assert_ok(bd_xattr_set(file, "user.big", value, BD_XATTR_VALUE_MAX, 0));
	assert_int_equal(bd_xattr_get(file, "user.big", back, BD_XATTR_VALUE_MAX), BD_XATTR_VALUE_MAX);
	assert_memory_equal(back, value, BD_XATTR_VALUE_MAX);
	assert_int_equal(bd_xattr_set(file, "user.big", value, BD_XATTR_VALUE_MAX + 1, 0), -E2BIG);
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = 0;
	assert_ok(bd_xattr_set(file, name, "x", 1, 0));
	name[255] = 'n';
	name[299] = 0;
	assert_true(bd_xattr_set(file, name, "x", 1, 0) < 0);
	assert_true(bd_xattr_set(file, "", "x", 1, 0) < 0);
	assert_int_equal(bd_xattr_set(file, "user.a", "x", 1, BD_XATTR_CREATE | BD_XATTR_REPLACE | 8), -EINVAL);
	bd_inode_unref(file, 1);
	api_reopen(api);
	file = api_lookup(api->root, "file");
	assert_int_equal(bd_xattr_get(file, "user.big", back, BD_XATTR_VALUE_MAX), BD_XATTR_VALUE_MAX);
	assert_memory_equal(back, value, BD_XATTR_VALUE_MAX);
	assert_int_equal(bd_xattr_list(file, NULL, 0), sizeof("user.big") + 256);
	bd_inode_unref(file, 1);
	free(value);
	free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(setattr_changes_what_is_named),
		api_test(attributes_are_durable_after_fsync),
		api_test(sizes_have_a_limit_and_a_type),
		api_test(privileges_are_killed_when_asked),
		api_test(times_follow_changes),
		api_test(xattrs_are_set_read_listed_and_removed),
		api_test(xattrs_have_limits),
	};

	return cmocka_run_group_tests_name("api_attr", tests, NULL, NULL);
}
