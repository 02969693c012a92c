/* Two things at once, one of them held up at the place where the other used to break it. */
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* How long a thread is held up for another that may not get on meanwhile. */
#define HOLD_MS 300

static bool wait_for(const atomic_bool *flag, unsigned timeout_ms)
{
	for (unsigned ms = 0; ms < timeout_ms && !*flag; ms++)
		usleep(1000);
	return *flag;
}

static void collect(struct api *api)
{
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
}

static struct bd_snapshot_info take_snapshot(struct api *api, const char *label)
{
	struct bd_snapshot_info info;

	assert_ok(bd_snapshot_create(api->store, api->main.id, label, &info));
	return info;
}

/* ---- a snapshot is taken, and its files change and go, while the collector is in the middle of the branch */

enum { FILES = 6000 };

static void file_name(char name[16], unsigned i)
{
	snprintf(name, 16, "file%u", i);
}

struct sweeping {
	struct api *api;
	struct bd_snapshot_info taken;
	unsigned calls;
};

static int snapshot_in_the_middle(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct sweeping *sweeping = arg;
	struct api *api = sweeping->api;
	char name[16];

	(void)done;
	(void)total;
	if (strcmp(phase, "versions") != 0 || sweeping->calls++ > 0)
		return 0;
	sweeping->taken = take_snapshot(api, "meanwhile");
	for (unsigned i = 0; i < FILES; i++) {
		file_name(name, i);
		if (i % 2 == 0) {
			assert_ok(bd_unlink(api->root, name));
			continue;
		}
		struct bd_inode *file = api_lookup(api->root, name);
		api_put(file, 0, 2, BLOCK);
		assert_ok(bd_xattr_set(file, "user.x", "new", 3, 0));
		bd_inode_unref(file, 1);
	}
	assert_ok(bd_store_sync(api->store));
	return 0;
}

static void a_snapshot_taken_during_a_sweep_keeps_its_files(void **state)
{
	struct sweeping sweeping = {.api = *state};
	struct api *api = sweeping.api;
	struct bd_gc_result result;
	char name[16], value[8];

	for (unsigned i = 0; i < FILES; i++) {
		file_name(name, i);
		struct bd_inode *file = api_create(api->root, name, S_IFREG | 0600);
		api_put(file, 0, 1, BLOCK);
		assert_ok(bd_xattr_set(file, "user.x", "old", 3, 0));
		bd_inode_unref(file, 1);
	}
	take_snapshot(api, "before");
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "before"));
	assert_ok(bd_store_gc(api->store, snapshot_in_the_middle, &sweeping, &result));
	assert_true(sweeping.calls > 2);
	collect(api);
	struct bd_inode *root = api_root(api, (struct bd_view){api->main.id, sweeping.taken.epoch});
	for (unsigned i = 0; i < FILES; i++) {
		file_name(name, i);
		struct bd_inode *file = api_lookup(root, name);
		api_expect(file, 0, 1, BLOCK);
		assert_int_equal(bd_xattr_get(file, "user.x", value, sizeof(value)), 3);
		assert_memory_equal(value, "old", 3);
		bd_inode_unref(file, 1);
	}
	bd_inode_unref(root, 1);
}

static int stop_at_versions(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	*(unsigned *)arg += strcmp(phase, "versions") == 0;
	return strcmp(phase, "versions") == 0;
}

static void a_sweep_that_was_stopped_is_done_again(void **state)
{
	struct api *api = *state;
	struct bd_gc_result result;
	struct bd_status status;
	unsigned stops = 0;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);

	api_put(file, 0, 1, 6000 * BLOCK);
	take_snapshot(api, "s");
	api_put(file, 0, 2, 6000 * BLOCK);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "s"));
	assert_int_equal(bd_store_gc(api->store, stop_at_versions, &stops, &result), -ECANCELED);
	assert_int_equal(stops, 1);
	api_crash(api);
	collect(api);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.live_bytes, 6000 * BLOCK);
}

/* ---- a checkpoint stands still, the extents' records in its hand, while the collector removes one of them */

struct removing {
	struct api *api;
	struct bd_inode *file;
	pthread_t thread;
	atomic_bool begun, removed;
	unsigned collected;
};

static __thread struct removing *held_checkpoint;

/* From its first flush on, which is after the records were made, at every step: some hold locks that the collector needs. */
static void hold_checkpoint(void *arg, enum nf_fault_kind kind)
{
	struct removing *removing = held_checkpoint;

	(void)arg;
	if (removing == NULL || (kind != NF_FAULT_FSYNC && !removing->begun))
		return;
	removing->begun = true;
	wait_for(&removing->removed, HOLD_MS);
}

static void *checkpoint_main(void *arg)
{
	struct removing *removing = arg;

	held_checkpoint = removing;
	int error = bd_store_checkpoint(removing->api->store);
	held_checkpoint = NULL;
	return (void *)(intptr_t)error;
}

static int checkpoint_after_the_first(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct removing *removing = arg;

	(void)done;
	(void)total;
	if (strcmp(phase, "collect") != 0)
		return 0;
	if (removing->collected++ > 0) {
		removing->removed = true;
		return 0;
	}
	/* A block less in each extent, so that the checkpoint writes each one's count. */
	for (unsigned i = 0; i < 6; i++)
		api_put(removing->file, (i * 8000 + 7999) * BLOCK, 3, BLOCK);
	assert_ok(bd_store_sync(removing->api->store));
	assert_int_equal(pthread_create(&removing->thread, NULL, checkpoint_main, removing), 0);
	assert_true(wait_for(&removing->begun, 10000));
	return 0;
}

static void an_extent_removed_beside_a_checkpoint_stays_removed(void **state)
{
	struct removing removing = {.api = *state};
	struct api *api = removing.api;
	struct bd_gc_result result;
	void *error;

	api_wrap(api);
	removing.file = api_create(api->root, "file", S_IFREG | 0600);
	api_put(removing.file, 0, 1, 48000 * BLOCK);
	/* Each extent keeps a quarter. */
	for (unsigned i = 0; i < 48; i++)
		api_put(removing.file, i * 1000 * BLOCK, 2, 750 * BLOCK);
	assert_ok(bd_store_sync(api->store));
	nf_io_fault_hook(api->io, hold_checkpoint, NULL);
	assert_ok(bd_store_gc(api->store, checkpoint_after_the_first, &removing, &result));
	nf_io_fault_hook(api->io, NULL, NULL);
	assert_true(removing.collected > 2 && removing.begun);
	assert_int_equal(pthread_join(removing.thread, &error), 0);
	assert_int_equal((intptr_t)error, 0);
	bd_inode_unref(removing.file, 1);
	api_reopen(api);
	removing.file = api_lookup(api->root, "file");
	api_expect(removing.file, 750 * BLOCK, 1, 250 * BLOCK);
	api_expect(removing.file, 1000 * BLOCK, 2, 750 * BLOCK);
	api_expect(removing.file, 7999 * BLOCK, 3, BLOCK);
	bd_inode_unref(removing.file, 1);
}

/* ---- the collector moves blocks while a checkpoint stands between its slot tables and its index: the index gets the moves, the tables do not */

enum { MOVED_STEPS = 6, EXTENT_BLOCKS = 8192, LEFT = EXTENT_BLOCKS / 8 };

struct moving {
	struct api *api;
	pthread_t thread;
	atomic_bool begun;
	unsigned steps; /* of the checkpoint, before it is held up */
	unsigned collected;
};

static __thread struct moving *held_at_step;

static void hold_at_step(void *arg, enum nf_fault_kind kind)
{
	struct moving *moving = held_at_step;

	(void)arg;
	(void)kind;
	if (moving == NULL || moving->begun || moving->steps-- > 0)
		return;
	moving->begun = true;
	usleep(HOLD_MS * 1000);
}

static void *stepping_main(void *arg)
{
	struct moving *moving = arg;

	held_at_step = moving;
	int error = bd_store_checkpoint(moving->api->store);
	held_at_step = NULL;
	moving->begun = true;
	return (void *)(intptr_t)error;
}

static int checkpoint_beside_the_second(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct moving *moving = arg;

	(void)done;
	(void)total;
	if (strcmp(phase, "collect") != 0)
		return 0;
	if (moving->collected++ > 0)
		return 1;
	assert_int_equal(pthread_create(&moving->thread, NULL, stepping_main, moving), 0);
	assert_true(wait_for(&moving->begun, 10000));
	return 0;
}

static void blocks_moved_beside_a_checkpoint_keep_their_slots(void **state)
{
	struct api *api = *state;
	struct bd_gc_result result;
	void *error;

	api_wrap(api);
	for (unsigned step = 0; step < MOVED_STEPS; step++) {
		struct moving moving = {.api = api, .steps = step};
		struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
		/* Two extents, an eighth of each left. */
		api_put(file, 0, 1, 2 * EXTENT_BLOCKS * BLOCK);
		for (unsigned i = 0; i < 2; i++)
			api_put(file, (i * EXTENT_BLOCKS + LEFT) * BLOCK, 2, (EXTENT_BLOCKS - LEFT) * BLOCK);
		assert_ok(bd_store_sync(api->store));
		nf_io_fault_hook(api->io, hold_at_step, NULL);
		assert_int_equal(bd_store_gc(api->store, checkpoint_beside_the_second, &moving, &result), -ECANCELED);
		assert_int_equal(moving.collected, 2);
		assert_int_equal(pthread_join(moving.thread, &error), 0);
		assert_int_equal((intptr_t)error, 0);
		nf_io_fault_hook(api->io, NULL, NULL);
		bd_inode_unref(file, 1);
		api_crash(api);
		file = api_lookup(api->root, "file");
		/* Enough of what was moved dies, so that its extent is collected too. */
		api_put(file, 0, 3, LEFT / 2 * BLOCK);
		assert_ok(bd_store_sync(api->store));
		collect(api);
		api_expect(file, 0, 3, LEFT / 2 * BLOCK);
		api_expect(file, LEFT / 2 * BLOCK, 1, LEFT / 2 * BLOCK);
		api_expect(file, EXTENT_BLOCKS * BLOCK, 1, LEFT * BLOCK);
		bd_inode_unref(file, 1);
		assert_ok(bd_unlink(api->root, "file"));
		collect(api);
	}
}

/* ---- a create in a directory waits for the log's disk, its record of the directory made, while somebody changes the directory's mode */

struct changing {
	struct api *api;
	struct bd_inode *dir;
	pthread_t thread;
	atomic_bool begun, changed;
};

static __thread struct changing *held_at_write;

static void *chmod_main(void *arg)
{
	struct changing *changing = arg;
	struct bd_attr attr = {.mode = 0755};
	int error = bd_setattr(changing->dir, BD_SET_MODE, &attr, NULL);

	changing->changed = true;
	return (void *)(intptr_t)error;
}

static void hold_at_write(void *arg, enum nf_fault_kind kind)
{
	struct changing *changing = held_at_write;

	(void)arg;
	if (changing == NULL || kind != NF_FAULT_WRITE || changing->begun)
		return;
	changing->begun = true;
	assert_int_equal(pthread_create(&changing->thread, NULL, chmod_main, changing), 0);
	wait_for(&changing->changed, HOLD_MS);
}

static void a_mode_set_beside_a_create_is_kept(void **state)
{
	struct changing changing = {.api = *state};
	struct api *api = changing.api;
	char name[200];
	void *error;

	api_wrap(api);
	changing.dir = api_create(api->root, "dir", S_IFDIR | 0700);
	assert_ok(bd_store_sync(api->store));
	nf_io_fault_hook(api->io, hold_at_write, NULL);
	held_at_write = &changing;
	/* Nobody asks for durability, so the log is written when a record is full: then the create at hand waits. */
	for (unsigned i = 0; !changing.begun; i++) {
		assert_true(i < 10000);
		snprintf(name, sizeof(name), "%0150u", i);
		bd_inode_unref(api_create(changing.dir, name, S_IFREG | 0600), 1);
	}
	held_at_write = NULL;
	nf_io_fault_hook(api->io, NULL, NULL);
	assert_int_equal(pthread_join(changing.thread, &error), 0);
	assert_int_equal((intptr_t)error, 0);
	assert_int_equal(api_attr(changing.dir).mode, S_IFDIR | 0755);
	assert_ok(bd_fsync(changing.dir, false));
	bd_inode_unref(changing.dir, 1);
	api_crash(api);
	changing.dir = api_lookup(api->root, "dir");
	assert_int_equal(api_attr(changing.dir).mode, S_IFDIR | 0755);
	bd_inode_unref(changing.dir, 1);
}

/* ---- a snapshot is deleted while somebody has one of its files open */

static void an_open_view_of_a_deleted_snapshot_stays_as_it_was(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *root, *old;
	struct bd_snapshot_info middle;
	struct bd_status status;

	api_put(file, 0, 1, 600 * BLOCK);
	take_snapshot(api, "first");
	api_put(file, 0, 2, 600 * BLOCK);
	middle = take_snapshot(api, "middle");
	api_put(file, 0, 3, 600 * BLOCK);
	assert_ok(bd_fsync(file, true));
	root = api_root(api, (struct bd_view){api->main.id, middle.epoch});
	old = api_lookup(root, "file");
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "middle"));
	collect(api);
	api_expect(old, 0, 2, 600 * BLOCK);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.live_bytes, 1800 * BLOCK);
	/* With the last user gone the next collection drops what only the view kept. */
	bd_inode_unref(root, 1);
	collect(api);
	api_expect(old, 0, 2, 600 * BLOCK);
	bd_inode_unref(old, 1);
	collect(api);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.live_bytes, 1200 * BLOCK);
	api_expect(file, 0, 3, 600 * BLOCK);
	bd_inode_unref(file, 1);
}

/* The same through a crash: nobody has it open afterwards. */
static void a_view_that_a_crash_closed_is_dropped(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600), *root;
	struct bd_snapshot_info middle;
	struct bd_status status;

	api_put(file, 0, 1, 100 * BLOCK);
	middle = take_snapshot(api, "middle");
	api_put(file, 0, 2, 100 * BLOCK);
	assert_ok(bd_fsync(file, true));
	root = api_root(api, (struct bd_view){api->main.id, middle.epoch});
	assert_ok(bd_snapshot_delete(api->store, api->main.id, "middle"));
	collect(api);
	collect(api);
	bd_inode_unref(file, 1);
	bd_inode_unref(root, 1);
	api_crash(api);
	collect(api);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.live_bytes, 100 * BLOCK);
}

/* ---- more writers than the ring has room for, and slow work behind them */

enum { WRITERS = 64, ROUNDS = 6 };
#define PIECE (256 * KIB)

struct writing {
	struct api *api;
	unsigned number;
	pthread_t thread;
};

static __thread bool is_writer;

static void slow_background(void *arg, enum nf_fault_kind kind)
{
	(void)arg;
	/* Its reads are many, a block each: they would take minutes. */
	if (!is_writer && kind != NF_FAULT_READ)
		usleep(20000);
}

static void *writer_main(void *arg)
{
	struct writing *writing = arg;
	struct bd_create how = {.mode = S_IFREG | 0600};
	struct bd_inode *file;
	uint8_t *bytes = malloc(PIECE);
	char name[16];
	int error = bytes != NULL ? 0 : -ENOMEM;

	is_writer = true;
	file_name(name, writing->number);
	if (error == 0)
		error = bd_create(writing->api->root, name, &how, &file);
	for (int round = 1; round <= ROUNDS && error == 0; round++) {
		memset(bytes, round, PIECE);
		error = bd_write(file, 0, bytes, PIECE, BD_WRITE_SYNC);
	}
	if (error == 0)
		bd_inode_unref(file, 1);
	free(bytes);
	return (void *)(intptr_t)error;
}

static void many_writers_do_not_overrun_the_ring(void **state)
{
	struct api *api = *state;
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB};
	struct writing writers[WRITERS];
	struct bd_status status;
	char message[512] = "", name[16];

	api_wrap(api);
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message)));
	api->root = api_root(api, api_head(api->main.id));
	nf_io_fault_hook(api->io, slow_background, NULL);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writing){.api = api, .number = i};
		assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		void *error;
		assert_int_equal(pthread_join(writers[i].thread, &error), 0);
		assert_int_equal((intptr_t)error, 0);
	}
	nf_io_fault_hook(api->io, NULL, NULL);
	assert_ok(bd_store_status(api->store, &status));
	assert_int_equal(status.error, 0);
	api_crash(api);
	for (unsigned i = 0; i < WRITERS; i++) {
		file_name(name, i);
		struct bd_inode *file = api_lookup(api->root, name);
		api_expect(file, 0, ROUNDS, PIECE);
		bd_inode_unref(file, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(a_snapshot_taken_during_a_sweep_keeps_its_files),
		api_test(a_sweep_that_was_stopped_is_done_again),
		api_test(an_extent_removed_beside_a_checkpoint_stays_removed),
		api_test(blocks_moved_beside_a_checkpoint_keep_their_slots),
		api_test(a_mode_set_beside_a_create_is_kept),
		api_test(an_open_view_of_a_deleted_snapshot_stays_as_it_was),
		api_test(a_view_that_a_crash_closed_is_dropped),
		api_test(many_writers_do_not_overrun_the_ring),
	};

	return cmocka_run_group_tests_name("api_race", tests, NULL, NULL);
}
