/* bd_store_scrub: silent on a sound store, also a busy one; precise on a damaged one. */
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct findings {
	char text[8192];
	unsigned count;
};

static void note(void *arg, const char *line)
{
	struct findings *findings = arg;
	size_t at = strlen(findings->text);

	assert_null(strchr(line, '\n'));
	snprintf(findings->text + at, sizeof(findings->text) - at, "%s\n", line);
	findings->count++;
}

static struct bd_scrub_result scrub(struct api *api, struct findings *findings)
{
	struct bd_scrub_result result;

	*findings = (struct findings){.count = 0};
	assert_ok(bd_store_scrub(api->store, NULL, note, findings, &result));
	return result;
}

static void expect_sound(struct api *api, uint64_t least_blocks)
{
	struct findings findings;
	struct bd_scrub_result result = scrub(api, &findings);

	assert_string_equal(findings.text, "");
	assert_int_equal(result.bad_blocks + result.bad_keys + result.orphan_keys, 0);
	assert_true(result.blocks_checked >= least_blocks);
	assert_int_equal(result.bytes_checked, result.blocks_checked * BLOCK);
	assert_true(result.index_keys_checked >= least_blocks);
}

static int first_extent(void *arg, const char *name)
{
	snprintf(arg, 64, "extents/%s", name);
	return 1;
}

/* Flip a bit of the first extent file. */
static void damage(struct api *api, uint64_t offset)
{
	char path[64];

	assert_int_equal(nf_io_list(api->io, "extents", first_extent, path), 1);
	assert_ok(nf_io_mem_corrupt(api->io, path, offset, 3));
}

#define TABLE_OFFSET NF_IO_ALIGN
#define DATA_OFFSET (97 * (uint64_t)NF_IO_ALIGN)

static struct bd_inode *put_file(struct api *api, const char *name, int byte, size_t blocks)
{
	struct bd_inode *inode = api_create(api->root, name, S_IFREG | 0600);

	api_put(inode, 0, byte, blocks * BLOCK);
	assert_ok(bd_fsync(inode, false));
	return inode;
}

static void a_sound_store_is_silent(void **state)
{
	struct api *api = *state;
	struct bd_snapshot_info snapshot;
	struct bd_branch_info child;
	uint64_t pause;
	struct bd_inode *file = put_file(api, "file", 1, 600), *copy = api_create(api->root, "copy", S_IFREG | 0600);
	uint8_t page[512];

	expect_sound(api, 600);
	assert_ok(bd_snapshot_create(api->store, api->main.id, "then", &snapshot));
	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, &pause));
	api_put(file, 100 * BLOCK, 2, 50 * BLOCK);
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 300 * BLOCK), 300 * BLOCK);
	api_set_size(file, 20 * BLOCK);
	memset(page, 5, sizeof(page));
	assert_ok(bd_write(copy, 7, page, sizeof(page), BD_WRITE_SYNC));
	/* Removed, but open: its blocks are nobody's orphans. */
	assert_ok(bd_unlink(api->root, "file"));
	expect_sound(api, 600);
	bd_inode_unref(copy, 1);
	api_crash(api); /* with the file still open */
	expect_sound(api, 600);
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	expect_sound(api, 600);
}

static void a_bad_block_is_named(void **state)
{
	struct api *api = *state;
	struct findings findings;
	struct bd_inode *file = put_file(api, "file", 1, 8);

	damage(api, DATA_OFFSET + 5 * BLOCK + 77);
	struct bd_scrub_result result = scrub(api, &findings);
	assert_int_equal(result.bad_blocks, 1);
	assert_int_equal(result.bad_keys + result.orphan_keys, 0);
	assert_int_equal(findings.count, 1);
	assert_non_null(strstr(findings.text, "branch main"));
	assert_non_null(strstr(findings.text, "block 5"));
	assert_non_null(strstr(findings.text, "slot 5"));
	assert_non_null(strstr(findings.text, "checksum"));
	/* Overwritten, it is nobody's block any more. */
	api_put(file, 5 * BLOCK, 2, BLOCK);
	expect_sound(api, 8);
	bd_inode_unref(file, 1);
}

static void every_version_that_shares_a_bad_block_is_named(void **state)
{
	struct api *api = *state;
	struct findings findings;
	struct bd_branch_info child;
	uint64_t pause;
	struct bd_inode *file = put_file(api, "file", 1, 4), *copy = api_create(api->root, "copy", S_IFREG | 0600);

	assert_ok(bd_branch_create(api->store, "child", api_head(api->main.id), &child, &pause));
	assert_int_equal(bd_clone_range(file, 0, copy, 0, 4 * BLOCK), 4 * BLOCK);
	damage(api, DATA_OFFSET + 2 * BLOCK);
	/* The child inherits main's version: one key; the clone has its own. */
	struct bd_scrub_result result = scrub(api, &findings);
	assert_int_equal(result.bad_blocks, 2);
	assert_int_equal(findings.count, 2);
	api_put(file, 2 * BLOCK, 3, BLOCK);
	api_put(copy, 2 * BLOCK, 3, BLOCK);
	/* Now only the child looks at it. */
	assert_int_equal(scrub(api, &findings).bad_blocks, 1);
	assert_ok(bd_branch_delete(api->store, child.id));
	/* The collector drops what nobody sees, damaged or not. */
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	expect_sound(api, 1);
	bd_inode_unref(copy, 1);
	bd_inode_unref(file, 1);
}

static void a_damaged_slot_table_is_told(void **state)
{
	struct api *api = *state;
	struct findings findings;
	struct bd_inode *file = put_file(api, "file", 1, 8);

	bd_inode_unref(file, 1);
	api_reopen(api); /* so that the table is read from disk */
	damage(api, TABLE_OFFSET + 3 * 48 + 9);
	struct bd_scrub_result result = scrub(api, &findings);
	assert_true(result.bad_keys >= 2); /* the entry, and the key whose slot nobody names */
	assert_int_equal(result.bad_blocks, 0);
	assert_true(result.blocks_checked >= 8);
	assert_non_null(strstr(findings.text, "slot table"));
	assert_non_null(strstr(findings.text, "slot 3"));
	damage(api, TABLE_OFFSET + 3 * 48 + 9);
	expect_sound(api, 8);
}

static void a_file_cut_off_is_told(void **state)
{
	struct api *api = *state;
	struct findings findings;
	char path[64];
	struct nf_file *extent;
	struct bd_inode *file = put_file(api, "file", 1, 8);

	bd_inode_unref(file, 1);
	assert_int_equal(nf_io_list(api->io, "extents", first_extent, path), 1);
	assert_ok(nf_io_open(api->io, path, 0, &extent));
	assert_ok(nf_io_truncate(extent, DATA_OFFSET + 6 * BLOCK));
	nf_io_close(extent);
	assert_int_equal(scrub(api, &findings).bad_blocks, 2);
	assert_ok(bd_unlink(api->root, "file"));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	expect_sound(api, 0);
}

static int stop_at_once(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)phase;
	(void)done;
	(void)total;
	(*(unsigned *)arg)++;
	return 1;
}

static void it_can_be_stopped(void **state)
{
	struct api *api = *state;
	struct bd_scrub_result result;
	unsigned calls = 0;

	bd_inode_unref(put_file(api, "file", 1, 8), 1);
	assert_int_equal(bd_store_scrub(api->store, stop_at_once, NULL, &calls, &result), -ECANCELED);
	assert_int_equal(calls, 1);
	expect_sound(api, 8);
}

struct busy {
	struct api *api;
	atomic_bool stop;
	atomic_uint rounds;
};

/* Overwrite, snapshot, truncate, collect, until told to stop. */
static void *be_busy(void *arg)
{
	struct busy *busy = arg;
	struct api *api = busy->api;
	struct bd_inode *file = api_create(api->root, "busy", S_IFREG | 0600);
	struct bd_snapshot_info snapshot;
	struct bd_gc_result result;

	for (unsigned round = 0; !busy->stop; round++) {
		api_put(file, (round * 37 % 300) * BLOCK, (int)round, 64 * BLOCK);
		assert_ok(bd_fsync(file, false));
		if (round % 8 == 0)
			api_set_size(file, 50 * BLOCK);
		if (round % 16 == 0 && round > 0) {
			assert_ok(bd_snapshot_create(api->store, api->main.id, "s", &snapshot));
			api_put(file, 0, 7, 20 * BLOCK);
			assert_ok(bd_snapshot_delete(api->store, api->main.id, "s"));
		}
		if (round % 32 == 31)
			assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
		busy->rounds++;
	}
	bd_inode_unref(file, 1);
	return NULL;
}

static void a_busy_store_is_not_taken_for_a_damaged_one(void **state)
{
	struct api *api = *state;
	struct busy busy = {.api = api};
	pthread_t thread;

	bd_inode_unref(put_file(api, "file", 1, 2000), 1);
	assert_ok(pthread_create(&thread, NULL, be_busy, &busy));
	for (unsigned i = 0; i < 30 || busy.rounds < 40; i++)
		expect_sound(api, 2000);
	busy.stop = true;
	assert_ok(pthread_join(thread, NULL));
	expect_sound(api, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(a_sound_store_is_silent),
		api_test(a_bad_block_is_named),
		api_test(every_version_that_shares_a_bad_block_is_named),
		api_test(a_damaged_slot_table_is_told),
		api_test(a_file_cut_off_is_told),
		api_test(it_can_be_stopped),
		api_test(a_busy_store_is_not_taken_for_a_damaged_one),
	};

	return cmocka_run_group_tests_name("api_scrub", tests, NULL, NULL);
}
