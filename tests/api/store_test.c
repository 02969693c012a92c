/* Making, opening and closing a store; what is not one, or not ours, or damaged. */
#include "api.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void format_refuses_a_directory_with_something_in_it(void **state)
{
	char path[256], precious[300];

	(void)state;
	api_make_dir(path);
	write_file(path, "precious", "data");
	assert_int_equal(bd_store_format(path, &(struct bd_format_options){.log_bytes = 16 * MIB}), -ENOTEMPTY);
	snprintf(precious, sizeof(precious), "%s/precious", path);
	assert_ok(access(precious, F_OK));
	api_remove_dir(path);
}

static void format_makes_the_directory_private(void **state)
{
	char path[256], store[300];
	struct stat st;

	(void)state;
	api_make_dir(path);
	snprintf(store, sizeof(store), "%s/new", path);
	assert_ok(bd_store_format(store, &(struct bd_format_options){.log_bytes = 16 * MIB}));
	assert_ok(stat(store, &st));
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(bd_store_format(store, &(struct bd_format_options){.log_bytes = 16 * MIB}), -ENOTEMPTY);
	api_remove_dir(path);
}

static void format_refuses_sizes_that_make_no_sense(void **state)
{
	char path[256], store[300];

	(void)state;
	api_make_dir(path);
	snprintf(store, sizeof(store), "%s/new", path);
	assert_int_equal(bd_store_format(store, &(struct bd_format_options){.log_bytes = 15 * MIB}), -EINVAL);
	assert_int_equal(bd_store_format(store, &(struct bd_format_options){.log_bytes = 16 * MIB + 4096}), -EINVAL);
	assert_int_equal(bd_store_format(store, &(struct bd_format_options){.size_limit_bytes = 1}), -EINVAL);
	api_remove_dir(path);
}

static void format_fails_where_there_is_no_parent(void **state)
{
	(void)state;
	assert_int_equal(bd_store_format("/nonexistent/place/store", &(struct bd_format_options){.log_bytes = 16 * MIB}), -ENOENT);
}

static int open_plain(const char *path, struct bd_store **ret_store, char message[512])
{
	message[0] = 0;
	return bd_store_open(path, &(struct bd_open_options){.memory_limit_bytes = 64 * MIB, .no_background = true}, ret_store,
			     message, 512);
}

static void opening_nothing_says_so(void **state)
{
	char message[512];
	struct bd_store *store;

	(void)state;
	assert_int_equal(open_plain("/nonexistent/store", &store, message), -ENOENT);
	assert_non_null(strstr(message, "/nonexistent/store"));
	assert_null(strchr(message, '\n'));
}

static void opening_a_foreign_directory_says_so(void **state)
{
	char path[256], message[512];
	struct bd_store *store;
	int err;

	(void)state;
	api_make_dir(path);
	err = open_plain(path, &store, message);
	assert_true(err == -ENOENT || err == -EMEDIUMTYPE);
	assert_true(strlen(message) > 10);
	write_file(path, "something", "else");
	err = open_plain(path, &store, message);
	assert_true(err == -ENOENT || err == -EMEDIUMTYPE);
	assert_true(strlen(message) > 10);
	api_remove_dir(path);
}

static void opening_a_file_says_so(void **state)
{
	char path[256], file[300], message[512];
	struct bd_store *store;
	int err;

	(void)state;
	api_make_dir(path);
	write_file(path, "file", "text");
	snprintf(file, sizeof(file), "%s/file", path);
	err = open_plain(file, &store, message);
	assert_true(err == -ENOTDIR || err == -EMEDIUMTYPE || err == -ENOENT);
	assert_true(strlen(message) > 10);
	api_remove_dir(path);
}

/* On real files: made, opened, written, closed, opened again; a second daemon is kept out. */
static void a_store_on_disk_keeps_what_it_got(void **state)
{
	char path[256], message[512];
	struct bd_store *store, *second;
	struct bd_branch_info info;
	struct bd_inode *root, *inode;
	struct bd_create how = {.mode = S_IFREG | 0600};

	(void)state;
	api_make_dir(path);
	assert_ok(bd_store_format(path, &(struct bd_format_options){.log_bytes = 16 * MIB}));
	assert_ok(open_plain(path, &store, message));
	assert_int_equal(open_plain(path, &second, message), -EBUSY);
	assert_true(strlen(message) > 10);
	assert_ok(bd_branch_create_empty(store, "main", 0, 0, &info));
	assert_ok(bd_root(store, api_head(info.id), &root));
	assert_ok(bd_create(root, "file", &how, &inode));
	api_put(inode, 100, 'x', 50000);
	bd_inode_unref(inode, 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_store_close(store));
	assert_ok(open_plain(path, &store, message));
	assert_ok(bd_branch_find(store, "main", &info));
	assert_ok(bd_root(store, api_head(info.id), &root));
	inode = api_lookup(root, "file");
	api_expect(inode, 0, 0, 100);
	api_expect(inode, 100, 'x', 50000);
	bd_inode_unref(inode, 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_store_close(store));
	api_remove_dir(path);
}

static void a_store_whose_log_is_lost_is_refused_with_a_remedy(void **state)
{
	struct api *api = *state;
	struct bd_store *none = NULL;
	struct nf_io *empty;
	char message[512] = "";
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true};

	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(nf_io_mem_create(0, &empty));
	assert_true(bd_store_open_io(api->path, empty, &options, &none, message, sizeof(message)) < 0);
	assert_null(none);
	assert_true(strlen(message) > 10);
	nf_io_destroy(empty);
	assert_ok(api_open(api, message));
	api->root = api_root(api, api_head(api->main.id));
}

static void status_tells_what_is_there(void **state)
{
	struct api *api = *state;
	struct bd_status before, after;
	struct bd_snapshot_info snapshot;
	struct bd_inode *inode;

	assert_ok(bd_store_status(api->store, &before));
	assert_true(before.format_version >= 1);
	assert_int_equal(before.branches, 1);
	assert_int_equal(before.snapshots, 0);
	assert_int_equal(before.error, 0);
	inode = api_create(api->root, "file", S_IFREG | 0600);
	api_put(inode, 0, 1, 3 * MIB);
	assert_ok(bd_fsync(inode, false));
	assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
	assert_ok(bd_store_status(api->store, &after));
	assert_int_equal(after.snapshots, 1);
	assert_true(after.fsyncs > before.fsyncs);
	assert_true(after.written_bytes >= before.written_bytes + 3 * MIB);
	assert_true(after.live_bytes >= before.live_bytes + 3 * MIB);
	assert_true(after.extents >= 1);
	assert_true(after.extent_bytes >= after.live_bytes);
	assert_true(after.memory_bytes <= after.memory_limit_bytes);
	assert_int_equal(after.memory_limit_bytes, 64 * MIB);
	bd_inode_unref(inode, 1);
}

static void a_memory_limit_that_is_too_small_is_refused_or_raised(void **state)
{
	struct api *api = *state;
	const struct bd_open_options options = {.memory_limit_bytes = 1, .no_background = true};
	struct bd_status status;
	char message[512] = "";
	int err;

	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	err = bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message));
	if (err == 0) {
		assert_ok(bd_store_status(api->store, &status));
		assert_true(status.memory_limit_bytes >= 64 * MIB);
	} else {
		assert_int_equal(err, -EINVAL);
		assert_true(strlen(message) > 10);
		assert_ok(api_open(api, message));
	}
	api->root = api_root(api, api_head(api->main.id));
}

static void close_of_nothing_is_legal(void **state)
{
	(void)state;
	assert_ok(bd_store_close(NULL));
	bd_listing_free(NULL);
}

static int stop_at_once(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	assert_non_null(phase);
	(*(unsigned *)arg)++;
	return 1;
}

static void no_line(void *arg, const char *line)
{
	(void)arg;
	fail_msg("scrub reports: %s", line);
}

static void scrub_of_a_sound_store_is_clean_and_can_be_stopped(void **state)
{
	struct api *api = *state;
	struct bd_inode *inode = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_scrub_result result;
	unsigned calls = 0;

	api_put(inode, 0, 5, 10 * BLOCK);
	assert_ok(bd_store_sync(api->store));
	assert_ok(bd_store_scrub(api->store, NULL, no_line, NULL, &result));
	assert_true(result.blocks_checked >= 10);
	assert_true(result.index_keys_checked > 0);
	assert_int_equal(result.bad_blocks + result.bad_keys + result.orphan_keys, 0);
	assert_int_equal(bd_store_scrub(api->store, stop_at_once, no_line, &calls, &result), -ECANCELED);
	assert_int_equal(calls, 1);
	bd_inode_unref(inode, 1);
}

static void a_read_only_store_refuses_changes_and_shows_everything(void **state)
{
	struct api *api = *state;
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true, .read_only = true};
	struct bd_inode *inode = api_create(api->root, "file", S_IFREG | 0600), *made;
	struct bd_branch_info info;
	struct bd_snapshot_info snapshot;
	struct bd_create how = {.mode = S_IFREG | 0600};
	char message[512];

	api_put(inode, 0, 7, BLOCK);
	bd_inode_unref(inode, 1);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message)));
	api->root = api_root(api, api_head(api->main.id));
	inode = api_lookup(api->root, "file");
	api_expect(inode, 0, 7, BLOCK);
	assert_int_equal(bd_write(inode, 0, "x", 1, 0), -EROFS);
	assert_int_equal(bd_create(api->root, "new", &how, &made), -EROFS);
	assert_int_equal(bd_branch_create_empty(api->store, "new", 0, 0, &info), -EROFS);
	assert_int_equal(bd_snapshot_create(api->store, api->main.id, "s", &snapshot), -EROFS);
	assert_int_equal(bd_branch_delete(api->store, api->main.id), -EROFS);
	bd_inode_unref(inode, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format_refuses_a_directory_with_something_in_it),
		cmocka_unit_test(format_makes_the_directory_private),
		cmocka_unit_test(format_refuses_sizes_that_make_no_sense),
		cmocka_unit_test(format_fails_where_there_is_no_parent),
		cmocka_unit_test(opening_nothing_says_so),
		cmocka_unit_test(opening_a_foreign_directory_says_so),
		cmocka_unit_test(opening_a_file_says_so),
		cmocka_unit_test(a_store_on_disk_keeps_what_it_got),
		cmocka_unit_test(close_of_nothing_is_legal),
		api_test(a_store_whose_log_is_lost_is_refused_with_a_remedy),
		api_test(status_tells_what_is_there),
		api_test(a_memory_limit_that_is_too_small_is_refused_or_raised),
		api_test(scrub_of_a_sound_store_is_clean_and_can_be_stopped),
		api_test(a_read_only_store_refuses_changes_and_shows_everything),
	};

	return cmocka_run_group_tests_name("api_store", tests, NULL, NULL);
}
