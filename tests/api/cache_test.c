/* Files whose blocks go through the kernel's page cache (bd_inode_use_cache): the promises are those of all files. What a crash may do to blocks in
 * that cache, the memory below the store does to every block that was not flushed. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

/* Above what goes through the log. */
#define PIECE (32 * BLOCK)
#define SEEDS 20

/* Every block is one of two, and whole. Returns how many are `fresh`. */
static unsigned count_fresh(struct bd_inode *file, uint8_t old, uint8_t fresh)
{
	uint8_t *bytes = malloc(PIECE);
	unsigned count = 0;

	assert_non_null(bytes);
	assert_int_equal(bd_read(file, 0, bytes, PIECE), PIECE);
	for (size_t at = 0; at < PIECE; at += BLOCK) {
		assert_true(bytes[at] == old || bytes[at] == fresh);
		for (size_t i = 1; i < BLOCK; i++)
			assert_int_equal(bytes[at + i], bytes[at]);
		count += bytes[at] == fresh;
	}
	free(bytes);
	return count;
}

/* The third version is written and not flushed: when the power fails, each block is of the second or the third. */
static void what_was_flushed_survives_and_the_rest_is_old_or_new(void **state)
{
	struct api *api = *state;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		char name[32];
		snprintf(name, sizeof(name), "file%u", (unsigned)seed);
		struct bd_inode *file = api_create(api->root, name, S_IFREG | 0600);
		bd_inode_use_cache(file, 1);
		api_put(file, 0, 1, PIECE);
		api_put(file, 0, 2, PIECE);
		assert_ok(bd_fsync(file, true));
		api_put(file, 0, 3, PIECE);
		api_expect(file, 0, 3, PIECE);
		bd_inode_use_cache(file, -1);
		bd_inode_unref(file, 1);
		api_crash_as(api, seed);
		file = api_lookup(api->root, name);
		(void)count_fresh(file, 2, 3);
		bd_inode_unref(file, 1);
	}
}

/* A branch shows what was written before it was made, flushed or not, also after the power has failed. */
static void a_child_has_what_was_written_before(void **state)
{
	struct api *api = *state;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct bd_branch_info child;
		char name[32];
		snprintf(name, sizeof(name), "n%u", (unsigned)seed);
		struct bd_inode *file = api_create(api->root, name, S_IFREG | 0600);
		bd_inode_use_cache(file, 1);
		api_put(file, 0, 1, PIECE);
		assert_ok(bd_branch_create(api->store, name, api_head(api->main.id), &child, NULL));
		api_put(file, 0, 2, PIECE);
		bd_inode_use_cache(file, -1);
		bd_inode_unref(file, 1);
		api_crash_as(api, seed);
		struct bd_inode *root = api_root(api, api_head(child.id));
		file = api_lookup(root, name);
		api_expect(file, 0, 1, PIECE);
		bd_inode_unref(file, 1);
		bd_inode_unref(root, 1);
	}
}

/* The kernel could not write something back: the flush says so, and nothing is written any more. */
static void a_failed_flush_is_told_and_is_final(void **state)
{
	struct api *api = *state;

	api_wrap(api);
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	bd_inode_use_cache(file, 1);
	api_put(file, 0, 1, PIECE);
	assert_ok(bd_fsync(file, true));
	api_put(file, 0, 2, PIECE);
	nf_io_fault_set(api->io, &(struct nf_fault){.kinds_mask = 1 << NF_FAULT_FSYNC, .countdown = 1, .error = -EIO});
	assert_int_equal(bd_fsync(file, true), -EIO);
	nf_io_fault_set(api->io, &(struct nf_fault){0});
	assert_int_equal(bd_fsync(file, true), -EIO);
	uint8_t block[BLOCK] = {0};
	assert_int_equal(bd_write(file, 0, block, sizeof(block), 0), -EROFS);
	bd_inode_use_cache(file, -1);
	bd_inode_unref(file, 1);
	api_crash(api);
	file = api_lookup(api->root, "file");
	(void)count_fresh(file, 1, 2);
	bd_inode_unref(file, 1);
}

/* Its blocks are collected like others, and those of a file beside it lie elsewhere. */
static void room_comes_back(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_inode *plain = api_create(api->root, "plain", S_IFREG | 0600);
	struct bd_gc_result result;
	struct bd_status before, after;

	bd_inode_use_cache(file, 1);
	for (int round = 1; round <= 8; round++) {
		for (uint64_t at = 0; at < 4 * MIB; at += PIECE) {
			api_put(file, at, round, PIECE);
			if (round == 1)
				api_put(plain, at, 9, PIECE);
		}
		assert_ok(bd_fsync(file, true));
	}
	assert_ok(bd_store_status(api->store, &before));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
	assert_ok(bd_store_status(api->store, &after));
	assert_true(after.extent_bytes + 16 * MIB < before.extent_bytes);
	for (uint64_t at = 0; at < 4 * MIB; at += PIECE) {
		api_expect(file, at, 8, PIECE);
		api_expect(plain, at, 9, PIECE);
	}
	bd_inode_use_cache(file, -1);
	bd_inode_unref(plain, 1);
	bd_inode_unref(file, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(what_was_flushed_survives_and_the_rest_is_old_or_new),
		api_test(a_child_has_what_was_written_before),
		api_test(a_failed_flush_is_told_and_is_final),
		api_test(room_comes_back),
	};
	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
