/* bd_store_rebuild: a store whose index is lost shows the same again, whatever had been done to it; what cannot be helped is said. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Leave the store: `crash` as if the power went, else by closing it. Then lose the index and make it again. */
static void lose_index(struct api *api, bool crash)
{
	char index[300], message[512] = "";

	bd_inode_unref(api->root, 1);
	if (crash) {
		bd_store_abandon(api->store);
		nf_io_mem_power_cut(api->io, 4711);
	} else {
		assert_ok(bd_store_close(api->store));
	}
	snprintf(index, sizeof(index), "%s/index", api->path);
	api_remove_dir(index);
	assert_int_equal(api_open(api, message), -EUCLEAN);
	assert_non_null(strstr(message, "--rebuild"));
	if (bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)) != 0)
		fail_msg("rebuild: %s", message);
	if (api_open(api, message) != 0)
		fail_msg("open: %s", message);
	assert_ok(bd_branch_find(api->store, "main", &api->main));
	api->root = api_root(api, api_head(api->main.id));
}

static void say(void *arg, const char *line)
{
	(void)arg;
	print_message("%s\n", line);
}

/* After the sweep of what a rebuild finds too much, a scrub finds nothing. */
static void expect_sound(struct api *api)
{
	struct bd_scrub_result result;

	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_scrub(api->store, NULL, say, NULL, &result));
	assert_int_equal(result.bad_blocks + result.bad_keys + result.orphan_keys, 0);
}

static struct bd_inode *put_file(struct bd_inode *dir, const char *name, int byte, size_t blocks)
{
	struct bd_inode *inode = api_create(dir, name, S_IFREG | 0600);

	api_put(inode, 0, byte, blocks * BLOCK);
	return inode;
}

static void expect_file(struct bd_inode *dir, const char *name, uint64_t offset, int byte, size_t size)
{
	struct bd_inode *inode = api_lookup(dir, name);

	api_expect(inode, offset, byte, size);
	bd_inode_unref(inode, 1);
}

/* One of everything that an index holds. */
static void make_everything(struct api *api)
{
	struct bd_create link = {.mode = S_IFLNK | 0777, .symlink_target = "dir/file"};
	struct bd_inode *dir = api_create(api->root, "dir", S_IFDIR | 0750), *file = put_file(dir, "file", 1, 600), *copy, *other;
	struct bd_snapshot_info snapshot;
	struct bd_branch_info child;
	uint8_t page[BLOCK];

	assert_ok(bd_xattr_set(file, "user.name", "value", 5, 0));
	assert_ok(bd_create(api->root, "link", &link, &other));
	bd_inode_unref(other, 1);
	assert_ok(bd_link(file, api->root, "second"));
	copy = api_create(api->root, "copy", S_IFREG | 0600);
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 300 * BLOCK), 300 * BLOCK);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "then", &snapshot));
	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, NULL));
	api_put(file, 10 * BLOCK, 2, 20 * BLOCK);
	api_set_size(file, 500 * BLOCK);
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 100 * BLOCK, 50 * BLOCK));
	api_put(copy, 0, 4, BLOCK);
	memset(page, 5, sizeof(page));
	for (unsigned i = 0; i < 40; i++)
		assert_ok(bd_write(copy, (200 + i) * BLOCK, page, sizeof(page), BD_WRITE_SYNC));
	bd_inode_unref(put_file(api->root, "gone", 6, 30), 1);
	assert_ok(bd_unlink(api->root, "gone"));
	bd_inode_unref(copy, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(dir, 1);
	assert_ok(bd_store_sync(api->store));
}

static void expect_everything(struct api *api)
{
	struct bd_inode *dir = api_lookup(api->root, "dir"), *file = api_lookup(dir, "file"), *link = api_lookup(api->root, "link"), *none;
	struct bd_snapshot_info then;
	struct bd_branch_info child;
	char target[BD_SYMLINK_MAX + 1], value[16];
	struct bd_attr attr = api_attr(file);

	assert_int_equal(api_attr(dir).mode, S_IFDIR | 0750);
	assert_int_equal(attr.nlink, 2);
	assert_int_equal(attr.size_bytes, 500 * BLOCK);
	assert_int_equal(bd_xattr_get(file, "user.name", value, sizeof(value)), 5);
	assert_ok(bd_readlink(link, target));
	assert_string_equal(target, "dir/file");
	api_expect(file, 0, 1, 10 * BLOCK);
	api_expect(file, 10 * BLOCK, 2, 20 * BLOCK);
	api_expect(file, 30 * BLOCK, 1, 70 * BLOCK);
	api_expect(file, 100 * BLOCK, 0, 50 * BLOCK);
	api_expect(file, 150 * BLOCK, 1, 350 * BLOCK);
	expect_file(api->root, "second", 10 * BLOCK, 2, 20 * BLOCK);
	expect_file(api->root, "copy", 0, 4, BLOCK);
	expect_file(api->root, "copy", BLOCK, 1, 199 * BLOCK);
	expect_file(api->root, "copy", 200 * BLOCK, 5, 40 * BLOCK);
	expect_file(api->root, "copy", 240 * BLOCK, 1, 60 * BLOCK);
	assert_int_equal(bd_lookup(api->root, "gone", &none), -ENOENT);
	assert_ok(bd_snapshot_find(api->store, api->main.id, "then", &then));
	assert_ok(bd_branch_find(api->store, "child", &child));
	const struct bd_view old[] = {{.branch = api->main.id, .epoch = then.epoch}, api_head(child.id)};
	for (size_t i = 0; i < NF_ARRAY_LEN(old); i++) {
		struct bd_inode *root = api_root(api, old[i]);
		expect_file(root, "second", 0, 1, 600 * BLOCK);
		expect_file(root, "copy", 0, 1, 300 * BLOCK);
		bd_inode_unref(root, 1);
	}
	bd_inode_unref(link, 1);
	bd_inode_unref(file, 1);
	bd_inode_unref(dir, 1);
}

static void everything_comes_back_after_a_close(void **state)
{
	struct api *api = *state;

	make_everything(api);
	lose_index(api, false);
	expect_everything(api);
	expect_sound(api);
	expect_everything(api);
	lose_index(api, false);
	expect_everything(api);
}

static void everything_comes_back_after_a_crash(void **state)
{
	struct api *api = *state;

	make_everything(api);
	lose_index(api, true);
	expect_everything(api);
	assert_ok(bd_store_checkpoint(api->store));
	lose_index(api, true);
	expect_everything(api);
	expect_sound(api);
}

/* Old slots of a block lie about: none of them may come back. */
static void the_newest_version_wins(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = put_file(api->root, "file", 1, 64);

	for (int round = 2; round < 30; round++) {
		api_put(file, 0, round, 64 * BLOCK);
		if (round % 3 == 0)
			assert_ok(bd_fsync(file, false));
		if (round % 7 == 0)
			assert_ok(bd_store_checkpoint(api->store));
		if (round % 11 == 0)
			assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	}
	bd_inode_unref(file, 1);
	assert_ok(bd_store_sync(api->store));
	lose_index(api, true);
	expect_file(api->root, "file", 0, 29, 64 * BLOCK);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	lose_index(api, false);
	expect_file(api->root, "file", 0, 29, 64 * BLOCK);
}

/* A log block that was overwritten as data, and the other way around, before and after it left the ring. */
static void the_log_and_the_extents_are_ordered(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = put_file(api->root, "file", 1, 4);
	uint8_t page[BLOCK];

	memset(page, 2, sizeof(page));
	assert_ok(bd_write(file, 0, page, BLOCK, BD_WRITE_SYNC));
	assert_ok(bd_write(file, BLOCK, page, BLOCK, BD_WRITE_SYNC));
	api_put(file, BLOCK, 3, BLOCK);
	assert_ok(bd_fsync(file, false));
	assert_ok(bd_write(file, 2 * BLOCK, page, BLOCK, BD_WRITE_SYNC));
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_fallocate(file, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 2 * BLOCK, BLOCK));
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	for (unsigned i = 0; i < 2; i++) {
		lose_index(api, i == 0);
		expect_file(api->root, "file", 0, 2, BLOCK);
		expect_file(api->root, "file", BLOCK, 3, BLOCK);
		expect_file(api->root, "file", 2 * BLOCK, 0, BLOCK);
		expect_file(api->root, "file", 3 * BLOCK, 1, BLOCK);
	}
}

static void what_was_cut_off_stays_away(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = put_file(api->root, "file", 1, 100);

	assert_ok(bd_fsync(file, false));
	assert_ok(bd_store_checkpoint(api->store));
	api_set_size(file, 10 * BLOCK + 100);
	assert_ok(bd_store_checkpoint(api->store));
	api_set_size(file, 100 * BLOCK);
	bd_inode_unref(file, 1);
	assert_ok(bd_store_checkpoint(api->store));
	lose_index(api, false);
	expect_file(api->root, "file", 0, 1, 10 * BLOCK + 100);
	expect_file(api->root, "file", 10 * BLOCK + 100, 0, 90 * BLOCK - 100);
}

/* The journal's last batch knows the files as nameless; the names are in the log only. */
static void files_that_get_a_name_late_keep_their_blocks(void **state)
{
	struct api *api = *state;
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_inode *never, *once = put_file(api->root, "once", 2, 30), *gone;
	uint8_t page[BLOCK];

	memset(page, 3, sizeof(page));
	assert_ok(bd_create_unnamed(api->root, &how, &never));
	assert_ok(bd_create_unnamed(api->root, &how, &gone));
	api_put(never, 0, 1, 20 * BLOCK);
	api_put(gone, 0, 4, 20 * BLOCK);
	assert_ok(bd_unlink(api->root, "once"));
	for (unsigned i = 0; i < 4; i++) {
		assert_ok(bd_write(never, i * BLOCK, page, sizeof(page), BD_WRITE_SYNC));
		assert_ok(bd_write(once, i * BLOCK, page, sizeof(page), BD_WRITE_SYNC));
	}
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_link(never, api->root, "first"));
	assert_ok(bd_link(once, api->root, "again"));
	bd_inode_unref(never, 1);
	bd_inode_unref(once, 1);
	bd_inode_unref(gone, 1);
	assert_ok(bd_store_sync(api->store));
	for (unsigned i = 0; i < 2; i++) {
		lose_index(api, i == 0);
		expect_file(api->root, "first", 0, 3, 4 * BLOCK);
		expect_file(api->root, "first", 4 * BLOCK, 1, 16 * BLOCK);
		expect_file(api->root, "again", 0, 3, 4 * BLOCK);
		expect_file(api->root, "again", 4 * BLOCK, 2, 26 * BLOCK);
		expect_sound(api);
	}
	/* What never got a name is not kept for it. */
	struct bd_status status;
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.live_bytes, 50 * BLOCK);
}

/* What a branch sees of a deleted parent is found again. */
static void a_deleted_parent_is_kept_for_its_child(void **state)
{
	struct api *api = *state;
	struct bd_branch_info parent, child;

	assert_ok(bd_branch_create_empty(api->store, "parent", 1, 2, &parent));
	struct bd_inode *root = api_root(api, api_head(parent.id));
	bd_inode_unref(put_file(root, "file", 1, 50), 1);
	bd_inode_unref(root, 1);
	assert_ok(bd_branch_create(api->store, "child", api_head(parent.id), &child, NULL));
	assert_ok(bd_branch_detach(api->store, child.id));
	assert_ok(bd_branch_delete(api->store, parent.id));
	for (unsigned i = 0; i < 4; i++) {
		lose_index(api, i % 2 == 0);
		root = api_root(api, api_head(child.id));
		expect_file(root, "file", 0, 1, 50 * BLOCK);
		bd_inode_unref(root, 1);
		if (i == 1)
			expect_sound(api);
	}
}

static int stop_after_one(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	*(bool *)arg |= strcmp(phase, "collect") == 0;
	return *(bool *)arg;
}

/* The power goes when an extent has been emptied and deleted, and no checkpoint knows. */
static void moves_are_followed(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *gone = api_create(api->root, "gone", S_IFREG | 0600);
	struct bd_inode *copy = api_create(api->root, "copy", S_IFREG | 0600);
	struct bd_gc_result result;
	bool collected = false;

	for (unsigned i = 0; i < 20; i++) {
		api_put(file, i * 100 * BLOCK, (int)i + 1, 100 * BLOCK);
		api_put(gone, i * 400 * BLOCK, 99, 400 * BLOCK);
	}
	assert_ok(bd_fsync(file, false));
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 500 * BLOCK), 500 * BLOCK);
	assert_ok(bd_unlink(api->root, "gone"));
	bd_inode_unref(gone, 1);
	bd_inode_unref(copy, 1);
	bd_inode_unref(file, 1);
	assert_int_equal(bd_store_gc(api->store, stop_after_one, &collected, &result), -ECANCELED);
	assert_true(collected);
	lose_index(api, true);
	for (unsigned i = 0; i < 20; i++)
		expect_file(api->root, "file", i * 100 * BLOCK, (int)i + 1, 100 * BLOCK);
	for (unsigned i = 0; i < 5; i++)
		expect_file(api->root, "copy", i * 100 * BLOCK, (int)i + 1, 100 * BLOCK);
	expect_sound(api);
}

static uint64_t size_of_journal(struct api *api)
{
	struct nf_file *file;
	uint64_t size;

	assert_ok(nf_io_open(api->io, "meta", NF_OPEN_READONLY, &file));
	assert_ok(nf_io_size(file, &size));
	nf_io_close(file);
	return size;
}

/* Many changes: the journal is written anew, and holes are carried along. */
static void the_journal_stays_small(void **state)
{
	struct api *api = *state;
	struct bd_inode *hole = put_file(api->root, "hole", 1, 20);
	struct bd_attr attr = {.mode = 0600}, after;
	uint64_t largest = 0;
	static const char filler[30001];
	char name[32];

	assert_ok(bd_fsync(hole, false));
	assert_ok(bd_fallocate(hole, BD_FALLOC_PUNCH_HOLE | BD_FALLOC_KEEP_SIZE, 5 * BLOCK, 5 * BLOCK));
	bd_inode_unref(hole, 1);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		struct bd_inode *inode = api_create(api->root, name, S_IFREG | 0600);
		for (unsigned k = 0; k < 300; k++) {
			attr.mode = 0400 | (k & 077);
			assert_ok(bd_setattr(inode, BD_SET_MODE, &attr, &after));
			if (k % 20 == 0)
				assert_ok(bd_fsync(inode, false));
		}
		assert_ok(bd_xattr_set(inode, "user.large", filler, 20000, 0));
		bd_inode_unref(inode, 1);
		if (i % 10 == 9)
			assert_ok(bd_store_checkpoint(api->store));
		largest = NF_MAX(largest, size_of_journal(api));
		if (i % 2 == 0)
			assert_ok(bd_unlink(api->root, name));
	}
	assert_true(largest < 16 * MIB);
	for (unsigned i = 0; i < 300; i++) {
		attr.mode = i;
		assert_ok(bd_setattr(api->root, BD_SET_MODE, &attr, &after));
		for (unsigned k = 0; k < 2; k++)
			assert_ok(bd_xattr_set(api->root, "user.large", filler + k, 30000, 0));
		if (i % 30 == 0)
			assert_ok(bd_store_checkpoint(api->store));
		largest = NF_MAX(largest, size_of_journal(api));
	}
	assert_true(largest > 4 * MIB && largest < 20 * MIB);
	lose_index(api, false);
	expect_file(api->root, "hole", 0, 1, 5 * BLOCK);
	expect_file(api->root, "hole", 5 * BLOCK, 0, 5 * BLOCK);
	expect_file(api->root, "hole", 10 * BLOCK, 1, 10 * BLOCK);
	for (unsigned i = 0; i < 200; i++) {
		struct bd_inode *inode;
		snprintf(name, sizeof(name), "file%u", i);
		assert_int_equal(bd_lookup(api->root, name, &inode), i % 2 == 0 ? -ENOENT : 0);
		bd_inode_unref(i % 2 == 0 ? NULL : inode, 1);
	}
}

static void a_journal_that_is_lost_is_written_anew(void **state)
{
	struct api *api = *state;
	char message[512] = "";

	make_everything(api);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(nf_io_unlink(api->io, "meta"));
	/* Without it and without an index there is nothing to be done, and nothing is done. */
	assert_int_equal(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)), -EUCLEAN);
	assert_non_null(strstr(message, "meta"));
	assert_ok(api_open(api, message));
	api->root = api_root(api, api_head(api->main.id));
	expect_everything(api);
	lose_index(api, true);
	expect_everything(api);
	/* The same with a damaged one. */
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(nf_io_mem_corrupt(api->io, "meta", 1000, 2));
	assert_int_equal(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)), -EUCLEAN);
	assert_ok(api_open(api, message));
	api->root = api_root(api, api_head(api->main.id));
	expect_everything(api);
	lose_index(api, false);
	expect_everything(api);
}

static void a_lost_extent_costs_only_its_blocks(void **state)
{
	struct api *api = *state;
	char message[512] = "";
	struct bd_inode *file = put_file(api->root, "file", 1, 9000), *none;

	assert_ok(bd_fsync(file, false));
	assert_ok(bd_store_checkpoint(api->store));
	bd_inode_unref(file, 1);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(nf_io_unlink(api->io, "extents/00000000"));
	assert_int_equal(api_open(api, message), -EUCLEAN);
	assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
	if (api_open(api, message) != 0)
		fail_msg("open: %s", message);
	api->root = api_root(api, api_head(api->main.id));
	file = api_lookup(api->root, "file");
	assert_int_equal(api_attr(file).size_bytes, 9000 * BLOCK);
	api_expect(file, 8192 * BLOCK, 1, 808 * BLOCK);
	bd_inode_unref(file, 1);
	assert_int_equal(bd_lookup(api->root, "other", &none), -ENOENT);
}

/* Offset of the record that is `back` records before the last one. The log is young: no record lies over an older one. */
static uint64_t find_record(struct api *api, unsigned back)
{
	uint8_t *page = nf_io_buffer(NF_IO_ALIGN);
	uint64_t found[1024], size;
	unsigned count = 0;
	struct nf_file *log;

	assert_non_null(page);
	assert_ok(nf_io_open(api->io, "log", NF_OPEN_READONLY, &log));
	assert_ok(nf_io_size(log, &size));
	for (uint64_t at = 0; at < size; at += NF_IO_ALIGN) {
		assert_ok(nf_io_run_one(api->io, NF_IO_READ, log, at, page, NF_IO_ALIGN));
		if (memcmp(page, "NFL1", 4) == 0)
			found[count++ % 1024] = at;
	}
	nf_io_close(log);
	free(page);
	assert_true(count > back);
	return found[(count - 1 - back) % 1024];
}

/* Fifty durable writes of one block each in the log, the last `lost` of them behind a damaged record. */
static void damage_the_log(struct api *api, unsigned lost)
{
	struct bd_inode *file = put_file(api->root, "file", 1, 50);
	uint8_t page[BLOCK];
	char message[512] = "";

	assert_ok(bd_fsync(file, false));
	assert_ok(bd_store_checkpoint(api->store));
	memset(page, 2, sizeof(page));
	for (unsigned i = 0; i < 50; i++)
		assert_ok(bd_write(file, i * BLOCK, page, sizeof(page), BD_WRITE_SYNC));
	bd_inode_unref(file, 1);
	bd_inode_unref(api->root, 1);
	bd_store_abandon(api->store);
	assert_ok(nf_io_mem_corrupt(api->io, "log", find_record(api, lost - 1) + 20, 1));
	assert_int_equal(api_open(api, message), -EUCLEAN);
	assert_non_null(strstr(message, "--rebuild"));
	assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
	if (api_open(api, message) != 0)
		fail_msg("open: %s", message);
	api->root = api_root(api, api_head(api->main.id));
}

static void a_damaged_log_is_kept_up_to_the_damage(void **state)
{
	struct api *api = *state;

	damage_the_log(api, 10);
	expect_file(api->root, "file", 0, 2, 40 * BLOCK);
	expect_file(api->root, "file", 40 * BLOCK, 1, 10 * BLOCK);
	/* And it is a log again. */
	struct bd_inode *file = api_lookup(api->root, "file");
	uint8_t page[BLOCK];
	memset(page, 3, sizeof(page));
	for (unsigned i = 0; i < 50; i++)
		assert_ok(bd_write(file, i * BLOCK, page, sizeof(page), BD_WRITE_SYNC));
	bd_inode_unref(file, 1);
	api_crash(api);
	expect_file(api->root, "file", 0, 3, 50 * BLOCK);
	expect_sound(api);
}

/* Without its log a store cannot be made whole: what is lost is said, and nothing is changed. */
static void a_lost_log_is_named(void **state)
{
	struct api *api = *state;
	char index[300], message[512] = "";
	struct nf_file *file;

	make_everything(api);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(nf_io_rename(api->io, "log", "log.away"));
	snprintf(index, sizeof(index), "%s/index", api->path);
	assert_int_equal(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)), -EUCLEAN);
	assert_non_null(strstr(message, "\"log\" of the store is missing"));
	assert_non_null(strstr(message, "since the last checkpoint"));
	assert_null(strchr(message, '\n'));
	assert_ok(access(index, F_OK));
	/* One that is no log. */
	assert_ok(nf_io_open(api->io, "log", NF_OPEN_CREATE, &file));
	assert_ok(nf_io_allocate(file, 0, NF_IO_ALIGN));
	nf_io_close(file);
	assert_int_equal(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)), -EUCLEAN);
	assert_non_null(strstr(message, "\"log\" of the store is damaged"));
	assert_ok(nf_io_unlink(api->io, "log"));
	/* As it was before. */
	assert_ok(nf_io_rename(api->io, "log.away", "log"));
	assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
	assert_ok(api_open(api, message));
	api->root = api_root(api, api_head(api->main.id));
	expect_everything(api);
}

static void a_store_in_use_is_left_alone(void **state)
{
	struct api *api = *state;
	char message[512] = "";

	assert_int_equal(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)), -EBUSY);
	assert_true(strlen(message) > 10);
	assert_int_equal(bd_store_rebuild("/nonexistent/store", NULL, NULL, message, sizeof(message)), -ENOENT);
	assert_true(strlen(message) > 10);
}

static int stop(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)phase;
	(void)done;
	(void)total;
	return --*(int *)arg <= 0;
}

static void it_can_be_stopped_anywhere(void **state)
{
	struct api *api = *state;
	char message[512] = "", made[300];
	int err = -ECANCELED;

	make_everything(api);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	snprintf(made, sizeof(made), "%s/index.new", api->path);
	for (int n = 1; err == -ECANCELED; n++) {
		int left = n;
		err = bd_store_rebuild_io(api->path, api->io, stop, &left, message, sizeof(message));
		struct stat st;
		assert_int_not_equal(stat(made, &st), 0);
		assert_true(n < 100);
	}
	assert_ok(err);
	assert_ok(api_open(api, message));
	api->root = api_root(api, api_head(api->main.id));
	expect_everything(api);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(everything_comes_back_after_a_close),
		api_test(everything_comes_back_after_a_crash),
		api_test(the_newest_version_wins),
		api_test(the_log_and_the_extents_are_ordered),
		api_test(what_was_cut_off_stays_away),
		api_test(files_that_get_a_name_late_keep_their_blocks),
		api_test(a_deleted_parent_is_kept_for_its_child),
		api_test(moves_are_followed),
		api_test(the_journal_stays_small),
		api_test(a_journal_that_is_lost_is_written_anew),
		api_test(a_lost_extent_costs_only_its_blocks),
		api_test(a_damaged_log_is_kept_up_to_the_damage),
		api_test(a_lost_log_is_named),
		api_test(a_store_in_use_is_left_alone),
		api_test(it_can_be_stopped_anywhere),
	};

	return cmocka_run_group_tests_name("api_rebuild", tests, NULL, NULL);
}
