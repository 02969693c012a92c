/* Files of removed extents are used again: nothing of what they held is ever seen, whatever fails and whenever the power goes. */
#include "api.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define EXTENT (64 * MIB)
#define SMALL (4 * MIB)

struct names {
	unsigned spares, extents;
};

static int count_name(void *arg, const char *name)
{
	struct names *names = arg;

	if (strncmp(name, "spare.", 6) == 0)
		names->spares++;
	else
		names->extents++;
	return 0;
}

static struct names names_of(struct api *api)
{
	struct names names = {0};

	assert_ok(nf_io_list(api->io, "extents", count_name, &names));
	return names;
}

static struct bd_status status_of(struct api *api)
{
	struct bd_status status;

	assert_ok(bd_store_status(api->store, &status));
	return status;
}

static void put_file(struct api *api, const char *name, int byte, size_t size)
{
	struct bd_inode *file = api_create(api->root, name, S_IFREG | 0600);

	api_put(file, 0, byte, size);
	assert_ok(bd_fsync(file, true));
	bd_inode_unref(file, 1);
}

static void expect_file(struct api *api, const char *name, int byte, size_t size)
{
	struct bd_inode *file = api_lookup(api->root, name);

	api_expect(file, 0, byte, size);
	bd_inode_unref(file, 1);
}

static void collect(struct api *api)
{
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
	assert_ok(bd_store_gc(api->store, NULL, NULL, &(struct bd_gc_result){0}));
}

/* Others fill the disk: front writes have `bytes` left, beside the spares. */
static void leave_free(struct api *api, struct nf_io *memory, uint64_t bytes)
{
	uint64_t free_bytes, total_bytes, spare = status_of(api).spare_bytes;
	struct bd_statfs room = {0};

	assert_ok(nf_io_free_bytes(memory, &free_bytes, &total_bytes));
	for (uint64_t capacity = total_bytes - free_bytes + bytes; room.free_bytes < bytes + spare; capacity += MIB) {
		nf_io_mem_set_capacity(memory, capacity);
		assert_ok(bd_statfs(api->store, &room));
	}
}

static void expect_sound(struct api *api)
{
	struct bd_scrub_result result;

	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &result));
	assert_int_equal(result.bad_blocks, 0);
	assert_int_equal(result.bad_keys, 0);
}

/* A store with much that lives, whose garbage was an extent of its own and is a spare now. */
static void lay_out_large(struct api *api)
{
	put_file(api, "stays", 1, 5 * EXTENT);
	put_file(api, "goes", 2, EXTENT);
	assert_ok(bd_unlink(api->root, "goes"));
	collect(api);
	assert_true(status_of(api).spare_bytes > 0);
}

static void removed_extents_are_used_again(void **state)
{
	struct api *api = *state;

	lay_out_large(api);
	uint64_t spare = status_of(api).spare_bytes;
	assert_true(spare > 0 && spare <= 5 * EXTENT / 4);
	assert_true(names_of(api).spares > 0);
	struct bd_statfs before, after;
	assert_ok(bd_statfs(api->store, &before));

	put_file(api, "new", 3, 2 * EXTENT);
	assert_true(status_of(api).spare_bytes < spare);
	expect_file(api, "stays", 1, 5 * EXTENT);
	expect_file(api, "new", 3, 2 * EXTENT);
	expect_sound(api);
	api_crash(api);
	assert_int_equal(names_of(api).spares, 0);
	expect_file(api, "stays", 1, 5 * EXTENT);
	expect_file(api, "new", 3, 2 * EXTENT);
	expect_sound(api);

	/* Spares are as good as free; a clean close leaves none. */
	assert_ok(bd_unlink(api->root, "new"));
	collect(api);
	assert_true(status_of(api).spare_bytes > 0);
	assert_ok(bd_statfs(api->store, &before));
	bd_store_drop_spares(api->store);
	assert_int_equal(status_of(api).spare_bytes, 0);
	assert_int_equal(names_of(api).spares, 0);
	assert_ok(bd_statfs(api->store, &after));
	assert_true(after.free_bytes <= before.free_bytes + MIB && before.free_bytes <= after.free_bytes + MIB);
	put_file(api, "more", 4, EXTENT);
	assert_ok(bd_unlink(api->root, "more"));
	collect(api);
	assert_true(names_of(api).spares > 0);
	api_reopen(api);
	assert_int_equal(names_of(api).spares, 0);
	assert_int_equal(names_of(api).extents, status_of(api).extents);
}

/* A full disk takes the spares back before anybody is refused. */
static void a_full_disk_takes_them(void **state)
{
	struct api *api = *state;

	lay_out_large(api);
	uint64_t spare = status_of(api).spare_bytes;
	assert_true(spare >= EXTENT / 2);
	leave_free(api, api->io, 4 * MIB);
	put_file(api, "fills", 3, spare - 8 * MIB);
	expect_file(api, "fills", 3, spare - 8 * MIB);
	expect_file(api, "stays", 1, 5 * EXTENT);
	assert_true(status_of(api).spare_bytes < spare);
	expect_sound(api);
}

static int stop_after_one(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)arg, (void)total;
	return strcmp(phase, "collect") == 0 && done >= 1;
}

/* Collect as the background does: an extent goes, and the index that is durable still has its record. */
static int collect_one(struct api *api)
{
	int error = bd_store_gc(api->store, stop_after_one, NULL, &(struct bd_gc_result){0});

	return error == -ECANCELED ? 0 : error;
}

/* On a disk that gets full what goes is disk for the index at once: nothing is kept. */
static void a_full_disk_keeps_none(void **state)
{
	struct api *api = *state;
	uint64_t free_bytes, total_bytes;

	put_file(api, "stays", 1, 5 * EXTENT);
	put_file(api, "goes", 2, EXTENT);
	put_file(api, "too", 3, EXTENT);
	assert_ok(bd_unlink(api->root, "goes"));
	assert_ok(bd_store_checkpoint(api->store));
	assert_ok(bd_unlink(api->root, "too"));
	assert_ok(nf_io_free_bytes(api->io, &free_bytes, &total_bytes));
	nf_io_mem_set_capacity(api->io, total_bytes - free_bytes + 2 * MIB);
	collect(api);
	assert_int_equal(status_of(api).spare_bytes, 0);
	assert_int_equal(names_of(api).spares, 0);
	assert_ok(nf_io_free_bytes(api->io, &free_bytes, &total_bytes));
	assert_true(free_bytes > EXTENT);
}

/* And what was kept before others filled it goes with the next checkpoint. */
static void a_disk_that_others_fill_gets_them_back(void **state)
{
	struct api *api = *state;

	lay_out_large(api);
	assert_true(status_of(api).spare_bytes > 0);
	leave_free(api, api->io, 6 * MIB);
	put_file(api, "little", 3, BLOCK);
	assert_ok(bd_store_checkpoint(api->store));
	assert_int_equal(status_of(api).spare_bytes, 0);
	assert_int_equal(names_of(api).spares, 0);
}

static struct {
	struct api *api;
	struct bd_inode *file;
	pthread_t thread;
	bool armed;
	int error;
	uint8_t bytes[32 * MIB];
} beside;

static void *write_beside(void *arg)
{
	(void)arg;
	beside.error = bd_write(beside.file, 0, beside.bytes, sizeof(beside.bytes), 0);
	return NULL;
}

static void before_unlink(void *arg, enum nf_fault_kind kind)
{
	(void)arg;
	if (kind != NF_FAULT_NAMESPACE || !beside.armed)
		return;
	beside.armed = false;
	assert_int_equal(pthread_create(&beside.thread, NULL, write_beside, NULL), 0);
	usleep(200000); /* the writer finds no room, and must wait for this unlink */
}

/* A writer that needs the disk of a spare which somebody else is deleting is not refused. */
static void who_needs_disk_waits_for_who_deletes(void **state)
{
	struct api *api = *state;

	put_file(api, "stays", 1, 5 * EXTENT);
	put_file(api, "goes", 2, EXTENT);
	assert_ok(bd_unlink(api->root, "goes"));
	api_wrap(api);
	collect(api);
	memset(beside.bytes, 7, sizeof(beside.bytes));
	beside.file = api_create(api->root, "beside", S_IFREG | 0600);
	assert_ok(bd_store_sync(api->store));
	assert_true(status_of(api).spare_bytes > 32 * MIB);
	leave_free(api, api->lower, 4 * MIB);
	beside.armed = true;
	nf_io_fault_hook(api->io, before_unlink, NULL);
	bd_store_drop_spares(api->store);
	nf_io_fault_hook(api->io, NULL, NULL);
	assert_false(beside.armed);
	assert_int_equal(pthread_join(beside.thread, NULL), 0);
	assert_int_equal(beside.error, 0);
	api_expect(beside.file, 0, 7, sizeof(beside.bytes));
	bd_inode_unref(beside.file, 1);
}

/* Open and rebuild delete what a crash has left before they write. */
static void a_rebuild_has_their_disk(void **state)
{
	struct api *api = *state;
	char message[512] = "";

	lay_out_large(api);
	assert_true(names_of(api).spares > 0);
	bd_inode_unref(api->root, 1);
	bd_store_abandon(api->store);
	nf_io_mem_power_cut(api->io, 4711);
	assert_true(names_of(api).spares > 0);
	assert_ok(bd_store_rebuild_io(api->path, api->io, NULL, NULL, message, sizeof(message)));
	assert_int_equal(names_of(api).spares, 0);
	assert_ok(api_open(api, message));
	assert_ok(bd_branch_find(api->store, "main", &api->main));
	api->root = api_root(api, api_head(api->main.id));
	expect_file(api, "stays", 1, 5 * EXTENT);
	expect_sound(api);
}

/* With a size limit spares count, and go before a writer is refused. */
static void a_size_limit_counts_them(void **state)
{
	struct api api = {0};
	char message[512];
	uint64_t limit = 192 * MIB;

	(void)state;
	api_make_dir(api.path);
	assert_ok(nf_io_mem_create(0, &api.io));
	assert_ok(bd_store_format_io(api.path, api.io, &(struct bd_format_options){.size_limit_bytes = limit, .log_bytes = 16 * MIB}));
	assert_ok(api_open(&api, message));
	assert_ok(bd_branch_create_empty(api.store, "main", 0, 0, &api.main));
	api.root = api_root(&api, api_head(api.main.id));
	put_file(&api, "stays", 1, SMALL);
	assert_ok(bd_store_gc(api.store, NULL, NULL, &(struct bd_gc_result){0})); /* seals */
	put_file(&api, "goes", 2, 3 * SMALL);
	assert_ok(bd_unlink(api.root, "goes"));
	collect(&api);
	struct bd_status status = status_of(&api);
	assert_true(status.spare_bytes >= 2 * SMALL);
	/* All that the limit leaves, with the spares' disk; never more than the limit. */
	struct bd_inode *file = api_create(api.root, "fills", S_IFREG | 0600);
	static uint8_t piece[1 << 20];
	uint64_t filled = 0;
	while (bd_write(file, filled, piece, sizeof(piece), 0) == 0) {
		filled += sizeof(piece);
		status = status_of(&api);
		assert_true(status.extent_bytes + status.spare_bytes + status.log_bytes <= limit + 4 * MIB);
	}
	status = status_of(&api);
	print_message("filled %d MiB; extents %d, live %d\n", (int)(filled >> 20), (int)(status.extent_bytes >> 20), (int)(status.live_bytes >> 20));
	assert_true(filled > limit - 16 * MIB - SMALL - 6 * MIB);
	assert_int_equal(status_of(&api).spare_bytes, 0);
	bd_inode_unref(file, 1);
	bd_inode_unref(api.root, 1);
	assert_ok(bd_store_close(api.store));
	nf_io_destroy(api.io);
	api_remove_dir(api.path);
}

/* Nobody wants them: they go, one after the other. */
static void they_go_when_nobody_wants_them(void **state)
{
	struct api *api = *state;
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .spare_idle_s = 1};
	char message[512] = "";

	put_file(api, "stays", 1, 9 * EXTENT);
	put_file(api, "goes", 2, 2 * EXTENT);
	assert_ok(bd_unlink(api->root, "goes"));
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	assert_ok(bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message)));
	assert_ok(bd_branch_find(api->store, "main", &api->main));
	api->root = api_root(api, api_head(api->main.id));
	uint64_t most = 0, now = 0;
	for (int i = 0; i < 600 && (most == 0 || now > 0); i++) {
		usleep(50000);
		now = status_of(api).spare_bytes;
		most = NF_MAX(most, now);
	}
	assert_true(most > 0);
	assert_int_equal(now, 0);
	assert_int_equal(names_of(api).spares, 0);
	expect_file(api, "stays", 1, 9 * EXTENT);
}

/* One round of use: what lives, what goes, collection, what takes the place of it. Stops at the first failure, as a fault makes it. */
static int round_of_use(struct api *api)
{
	struct bd_create how = {.mode = S_IFREG | 0600};
	static uint8_t bytes[SMALL];

	int error = collect_one(api);
	for (int i = 0; i < 3 && error == 0; i++) {
		char name[16];
		struct bd_inode *file;
		snprintf(name, sizeof(name), "new%d", i);
		memset(bytes, 10 + i, sizeof(bytes));
		error = bd_create(api->root, name, &how, &file);
		if (error != 0)
			break;
		error = bd_write(file, 0, bytes, sizeof(bytes), 0);
		if (error == 0)
			error = bd_fsync(file, true);
		if (error == 0 && i == 0)
			error = bd_unlink(api->root, name);
		bd_inode_unref(file, 1);
		if (error == 0)
			error = collect_one(api);
	}
	return error == 0 ? bd_store_sync(api->store) : error;
}

static void lay_out(struct api *api)
{
	put_file(api, "stays", 1, SMALL);
	put_file(api, "goes", 2, SMALL);
	collect(api);
	assert_ok(bd_unlink(api->root, "goes"));
	assert_ok(bd_store_sync(api->store));
}

/* What was acknowledged is there, and nothing else. `error`: of the round. */
static void check_round(struct api *api, int error)
{
	expect_file(api, "stays", 1, SMALL);
	for (int i = 0; i < 3; i++) {
		char name[16];
		struct bd_inode *file;
		snprintf(name, sizeof(name), "new%d", i);
		int found = bd_lookup(api->root, name, &file);
		if (error == 0)
			assert_int_equal(found, i == 0 ? -ENOENT : 0);
		if (found != 0)
			continue;
		/* Whatever has a size has its bytes: zeros where they were not written, never another file's. */
		uint64_t size = api_attr(file).size_bytes;
		static uint8_t bytes[SMALL];
		assert_true(size <= SMALL);
		if (error == 0)
			assert_int_equal(size, SMALL);
		ssize_t got = bd_read(file, 0, bytes, size);
		assert_int_equal(got, size);
		for (ssize_t at = 0; at < got; at++) {
			if (bytes[at] != 10 + i && (bytes[at] != 0 || error == 0))
				fail_msg("%s: byte %zd is %d", name, at, bytes[at]);
		}
		bd_inode_unref(file, 1);
	}
	expect_sound(api);
}

/* Each call of each kind fails in turn and for good; then the power goes. */
static void every_call_fails_in_turn(void **state)
{
	static const enum nf_fault_kind kinds[] = {NF_FAULT_WRITE, NF_FAULT_FSYNC, NF_FAULT_ALLOCATE, NF_FAULT_NAMESPACE};
	unsigned struck = 0;

	(void)state;
	for (unsigned k = 0; k < NF_ARRAY_LEN(kinds); k++) {
		for (uint64_t n = 1, last = 0; !last; n++) {
			void *inner;
			assert_ok(api_set_up(&inner));
			struct api *api = inner;
			lay_out(api);
			api_wrap(api);
			struct nf_fault fault = {
				.kinds_mask = 1u << kinds[k], .countdown = n, .sticky = n % 2 == 0, .error = -EIO, .torn = true};
			nf_io_fault_set(api->io, &fault);
			int error = round_of_use(api);
			last = !nf_io_fault_struck(api->io);
			struck += !last;
			nf_io_fault_set(api->io, &(struct nf_fault){0});
			bd_store_drop_spares(api->store);
			assert_int_equal(status_of(api).spare_bytes, 0);
			api_crash_as(api, n * 7 + k);
			check_round(api, error);
			assert_int_equal(names_of(api).spares, 0);
			assert_ok(api_tear_down(&inner));
		}
	}
	print_message("%u calls failed in turn\n", struck);
	assert_true(struck > 60);
}

/* The log may name an extent before its first data is flushed: its header must be durable by then. */
static void the_header_is_durable_before_the_log_names_it(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		void *inner;
		assert_ok(api_set_up(&inner));
		struct api *api = inner;
		lay_out(api);
		put_file(api, "small", 3, BLOCK);
		assert_ok(collect_one(api));
		assert_true(status_of(api).spare_bytes > 0);
		struct bd_inode *large = api_create(api->root, "large", S_IFREG | 0600), *small = api_lookup(api->root, "small");
		api_put(large, 0, 4, MIB); /* into an extent that was a spare; nobody waits for it */
		assert_int_equal(status_of(api).spare_bytes, 0);
		api_put(small, 0, 5, BLOCK); /* through the log */
		assert_ok(bd_fsync(small, true));
		bd_inode_unref(large, 1);
		bd_inode_unref(small, 1);
		api_crash_as(api, seed);
		expect_file(api, "small", 5, BLOCK);
		expect_file(api, "stays", 1, SMALL);
		expect_sound(api);
		assert_ok(api_tear_down(&inner));
	}
}

/* A file whose new name is not known to be durable is no spare. */
static void a_failed_rename_or_flush_keeps_none(void **state)
{
	static const enum nf_fault_kind kinds[] = {NF_FAULT_NAMESPACE, NF_FAULT_FSYNC};
	unsigned struck = 0;

	(void)state;
	for (unsigned k = 0; k < NF_ARRAY_LEN(kinds); k++) {
		for (uint64_t n = 1, last = 0; !last; n++) {
			void *inner;
			assert_ok(api_set_up(&inner));
			struct api *api = inner;
			lay_out(api);
			api_wrap(api);
			nf_io_fault_set(api->io, &(struct nf_fault){.kinds_mask = 1u << kinds[k], .countdown = n, .error = -EIO});
			int error = collect_one(api);
			last = !nf_io_fault_struck(api->io);
			struck += !last;
			if (!last && error != 0) {
				assert_int_equal(status_of(api).spare_bytes, 0);
				assert_int_equal(names_of(api).spares, 0);
			}
			nf_io_fault_set(api->io, &(struct nf_fault){0});
			api_crash_as(api, n);
			expect_file(api, "stays", 1, SMALL);
			expect_sound(api);
			assert_ok(api_tear_down(&inner));
		}
	}
	assert_true(struck >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(removed_extents_are_used_again),
		api_test(a_full_disk_takes_them),
		api_test(a_full_disk_keeps_none),
		api_test(a_disk_that_others_fill_gets_them_back),
		api_test(who_needs_disk_waits_for_who_deletes),
		api_test(a_rebuild_has_their_disk),
		cmocka_unit_test(a_size_limit_counts_them),
		api_test(they_go_when_nobody_wants_them),
		cmocka_unit_test(every_call_fails_in_turn),
		cmocka_unit_test(the_header_is_durable_before_the_log_names_it),
		cmocka_unit_test(a_failed_rename_or_flush_keeps_none),
	};

	return cmocka_run_group_tests_name("spare", tests, NULL, NULL);
}
