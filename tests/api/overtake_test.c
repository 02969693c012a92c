/* A block is written again while its last version is being made durable: what had been durable, or was about to be, must not be lost by it. */
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Above what goes through the log. */
#define PIECE (32 * BLOCK)

/* Before the first call of the kind that this thread makes, `act` runs in another; no inode is locked then. */
struct overtaking {
	struct api *api;
	struct bd_inode *file;
	void (*act)(struct overtaking *overtaking);
	enum nf_fault_kind kind;
	bool done;
};

static __thread struct overtaking *overtaken;

static void *act_main(void *arg)
{
	struct overtaking *overtaking = arg;

	overtaking->act(overtaking);
	return NULL;
}

static void overtake(void *arg, enum nf_fault_kind kind)
{
	struct overtaking *overtaking = overtaken;
	pthread_t thread;

	(void)arg;
	if (overtaking == NULL || kind != overtaking->kind || overtaking->done)
		return;
	overtaking->done = true;
	assert_int_equal(pthread_create(&thread, NULL, act_main, overtaking), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void arm(struct overtaking *overtaking)
{
	nf_io_fault_hook(overtaking->api->io, overtake, NULL);
	overtaken = overtaking;
}

static void disarm(struct overtaking *overtaking)
{
	nf_io_fault_hook(overtaking->api->io, NULL, NULL);
	overtaken = NULL;
	assert_true(overtaking->done);
}

/* Every byte is one of the versions from `first` on. */
static void expect_since(struct bd_inode *file, size_t size, uint8_t first)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	assert_int_equal(bd_read(file, 0, bytes, size), size);
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] < first || bytes[i] > 3)
			fail_msg("byte %zu is %02x, older than %02x", i, bytes[i], first);
	}
	free(bytes);
}

static void write_third(struct overtaking *overtaking)
{
	api_put(overtaking->file, 0, 3, PIECE);
}

static void a_block_written_again_during_its_fsync_is_durable(void **state)
{
	struct overtaking overtaking = {.api = *state, .act = write_third, .kind = NF_FAULT_FSYNC};
	struct api *api = overtaking.api;

	api_wrap(api);
	overtaking.file = api_create(api->root, "file", S_IFREG | 0600);
	api_put(overtaking.file, 0, 1, PIECE);
	assert_ok(bd_fsync(overtaking.file, true));
	api_put(overtaking.file, 0, 2, PIECE);
	arm(&overtaking);
	assert_ok(bd_fsync(overtaking.file, true));
	disarm(&overtaking);
	bd_inode_unref(overtaking.file, 1);
	api_crash(api);
	overtaking.file = api_lookup(api->root, "file");
	expect_since(overtaking.file, PIECE, 2);
	bd_inode_unref(overtaking.file, 1);
}

/* The same for everything. */
static void a_block_written_again_during_a_sync_of_all_is_durable(void **state)
{
	struct overtaking overtaking = {.api = *state, .act = write_third, .kind = NF_FAULT_FSYNC};
	struct api *api = overtaking.api;

	api_wrap(api);
	overtaking.file = api_create(api->root, "file", S_IFREG | 0600);
	api_put(overtaking.file, 0, 1, PIECE);
	assert_ok(bd_store_sync(api->store));
	api_put(overtaking.file, 0, 2, PIECE);
	arm(&overtaking);
	assert_ok(bd_store_sync(api->store));
	disarm(&overtaking);
	bd_inode_unref(overtaking.file, 1);
	api_crash(api);
	overtaking.file = api_lookup(api->root, "file");
	expect_since(overtaking.file, PIECE, 2);
	bd_inode_unref(overtaking.file, 1);
}

static void write_on(struct overtaking *overtaking)
{
	api_put(overtaking->file, PIECE + BLOCK / 2, 3, BLOCK / 2);
}

static void a_file_written_on_while_it_is_cloned_leaves_nothing_behind_the_end(void **state)
{
	struct overtaking overtaking = {.api = *state, .act = write_on, .kind = NF_FAULT_FSYNC};
	struct api *api = overtaking.api;

	api_wrap(api);
	overtaking.file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_inode *clone = api_create(api->root, "clone", S_IFREG | 0600);
	api_put(overtaking.file, 0, 2, PIECE + BLOCK / 2);
	arm(&overtaking);
	assert_int_equal(bd_clone_range(overtaking.file, 0, clone, 0, 2 * PIECE), PIECE + BLOCK / 2);
	disarm(&overtaking);
	assert_int_equal(api_attr(clone).size_bytes, PIECE + BLOCK / 2);
	api_set_size(clone, PIECE + BLOCK);
	api_expect(clone, 0, 2, PIECE + BLOCK / 2);
	api_expect(clone, PIECE + BLOCK / 2, 0, BLOCK / 2);
	bd_inode_unref(clone, 1);
	bd_inode_unref(overtaking.file, 1);
}

/* The log alone had the version: a checkpoint gives that part of it up. */
static void a_logged_block_written_again_during_a_checkpoint_is_kept(void **state)
{
	struct overtaking overtaking = {.api = *state, .act = write_third, .kind = NF_FAULT_FSYNC};
	struct api *api = overtaking.api;
	uint8_t bytes[2 * BLOCK];

	api_wrap(api);
	overtaking.file = api_create(api->root, "file", S_IFREG | 0600);
	struct bd_inode *other = api_create(api->root, "other", S_IFREG | 0600);
	memset(bytes, 2, sizeof(bytes));
	assert_ok(bd_write(overtaking.file, 0, bytes, sizeof(bytes), BD_WRITE_SYNC));
	api_put(other, 0, 1, PIECE);
	arm(&overtaking);
	assert_ok(bd_store_checkpoint(api->store));
	disarm(&overtaking);
	bd_inode_unref(other, 1);
	bd_inode_unref(overtaking.file, 1);
	api_crash(api);
	overtaking.file = api_lookup(api->root, "file");
	expect_since(overtaking.file, sizeof(bytes), 2);
	bd_inode_unref(overtaking.file, 1);
}

/* An extent whose last block was overwritten, and is again when that is made durable, goes. */
static int arm_at_the_second(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct overtaking *overtaking = arg;

	(void)total;
	if (strcmp(phase, "collect") != 0)
		return 0;
	if (done > 1)
		return 1;
	api_put(overtaking->file, 0, 2, PIECE);
	arm(overtaking);
	return 0;
}

static void an_extent_whose_block_is_written_twice_meanwhile_is_not_missed(void **state)
{
	struct overtaking overtaking = {.api = *state, .act = write_third, .kind = NF_FAULT_FSYNC};
	struct api *api = overtaking.api;
	struct bd_gc_result result;

	api_wrap(api);
	struct bd_inode *other = api_create(api->root, "other", S_IFREG | 0600);
	api_put(other, 0, 1, 8192 * BLOCK);
	overtaking.file = api_create(api->root, "file", S_IFREG | 0600);
	api_put(overtaking.file, 0, 1, PIECE);
	assert_ok(bd_store_sync(api->store));
	api_put(other, 0, 1, 8192 * BLOCK);
	assert_ok(bd_store_sync(api->store));
	/* The first extent has nothing that lives, the second little besides the file. */
	api_put(other, 0, 1, 8192 * BLOCK);
	assert_ok(bd_store_sync(api->store));
	assert_int_equal(bd_store_gc(api->store, arm_at_the_second, &overtaking, &result), -ECANCELED);
	disarm(&overtaking);
	bd_inode_unref(other, 1);
	bd_inode_unref(overtaking.file, 1);
	api_crash(api);
	overtaking.file = api_lookup(api->root, "file");
	expect_since(overtaking.file, PIECE, 1);
	bd_inode_unref(overtaking.file, 1);
}

/* Data is synced beside a checkpoint that is about to write the slot table of the same extent. */
static void sync_other(struct overtaking *overtaking)
{
	struct bd_inode *other = api_create(overtaking->api->root, "other", S_IFREG | 0600);

	api_put(other, 0, 1, PIECE);
	assert_ok(bd_fsync(other, true));
	bd_inode_unref(other, 1);
}

static void a_slot_table_written_beside_a_sync_is_durable(void **state)
{
	struct api *api = *state;
	struct bd_scrub_result result;

	api_wrap(api);
	for (unsigned round = 0; round < 8; round++) {
		struct overtaking overtaking = {.api = api, .act = sync_other, .kind = NF_FAULT_WRITE};
		overtaking.file = api_create(api->root, "file", S_IFREG | 0600);
		api_put(overtaking.file, 0, 2, 40 * PIECE);
		assert_ok(bd_store_sync(api->store));
		arm(&overtaking);
		assert_ok(bd_store_checkpoint(api->store));
		disarm(&overtaking);
		bd_inode_unref(overtaking.file, 1);
		api_crash_as(api, round);
		assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &result));
		assert_int_equal(result.bad_keys + result.bad_blocks, 0);
		assert_ok(bd_unlink(api->root, "file"));
		assert_ok(bd_unlink(api->root, "other"));
	}
}

/* ---- a block of the ring is overwritten, and retired, while a checkpoint is under way that has passed its file */

struct retiring {
	struct overtaking overtaking; /* first */
	struct bd_inode *log;
	pthread_t thread;
	atomic_bool resumed, done;
};

static __thread struct retiring *retirer;

/* Once the checkpoint has ended, the one that the retirement waits to make fails: the crash finds the first one's state. */
static void fail_second(void *arg, enum nf_fault_kind kind)
{
	struct retiring *retiring = retirer;
	const struct nf_fault fault = {.kinds_mask = 1u << NF_FAULT_WRITE | 1u << NF_FAULT_FSYNC, .countdown = 1, .sticky = true, .error = -EIO};

	overtake(arg, kind);
	if (retiring == NULL || !retiring->resumed)
		return;
	while (!retiring->done)
		usleep(1000);
	nf_io_fault_set(retiring->overtaking.api->io, &fault);
}

static void *retire_main(void *arg)
{
	struct retiring *retiring = arg;
	const size_t size = 256 * KIB;
	uint8_t *bytes = calloc(1, size);
	int error = bytes != NULL ? 0 : -ENOMEM;

	retirer = retiring;
	if (error == 0)
		memset(bytes, 3, size);
	if (error == 0)
		error = bd_write(retiring->overtaking.file, 0, bytes, size, 0);
	/* At half the ring the writer tidies up; nothing is to be moved, for that would have to wait. */
	for (unsigned i = 0; i < 60 && error == 0; i++)
		error = bd_write(retiring->log, 0, bytes, size, BD_WRITE_SYNC);
	free(bytes);
	return (void *)(intptr_t)error;
}

static void retire_beside(struct overtaking *overtaking)
{
	struct retiring *retiring = (struct retiring *)overtaking;

	assert_int_equal(pthread_create(&retiring->thread, NULL, retire_main, retiring), 0);
	usleep(500000);
	retiring->resumed = true;
}

static void a_logged_block_retired_during_a_checkpoint_is_kept(void **state)
{
	struct retiring retiring = {.overtaking = {.api = *state, .act = retire_beside, .kind = NF_FAULT_FSYNC}};
	struct overtaking *overtaking = &retiring.overtaking;
	struct api *api = overtaking->api;
	uint8_t bytes[2 * BLOCK];
	void *error;

	api_wrap(api);
	overtaking->file = api_create(api->root, "file", S_IFREG | 0600);
	retiring.log = api_create(api->root, "log", S_IFREG | 0600);
	struct bd_inode *other = api_create(api->root, "other", S_IFREG | 0600);
	memset(bytes, 2, sizeof(bytes));
	assert_ok(bd_write(overtaking->file, 0, bytes, sizeof(bytes), BD_WRITE_SYNC));
	assert_ok(bd_store_checkpoint(api->store));
	api_put(other, 0, 1, PIECE);
	arm(overtaking);
	nf_io_fault_hook(api->io, fail_second, NULL);
	assert_ok(bd_store_checkpoint(api->store));
	retiring.done = true;
	assert_int_equal(pthread_join(retiring.thread, &error), 0);
	assert_int_not_equal((intptr_t)error, 0);
	disarm(overtaking);
	nf_io_fault_set(api->io, &(struct nf_fault){0});
	bd_inode_unref(other, 1);
	bd_inode_unref(retiring.log, 1);
	bd_inode_unref(overtaking->file, 1);
	api_crash(api);
	overtaking->file = api_lookup(api->root, "file");
	expect_since(overtaking->file, sizeof(bytes), 2);
	bd_inode_unref(overtaking->file, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(a_block_written_again_during_its_fsync_is_durable),
		api_test(a_block_written_again_during_a_sync_of_all_is_durable),
		api_test(a_file_written_on_while_it_is_cloned_leaves_nothing_behind_the_end),
		api_test(a_logged_block_written_again_during_a_checkpoint_is_kept),
		api_test(an_extent_whose_block_is_written_twice_meanwhile_is_not_missed),
		api_test(a_slot_table_written_beside_a_sync_is_durable),
		api_test(a_logged_block_retired_during_a_checkpoint_is_kept),
	};

	return cmocka_run_group_tests_name("api_overtake", tests, NULL, NULL);
}
