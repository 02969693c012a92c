/* Files of removed extents are used again: nothing of what they held is ever seen, whatever fails and whenever the power goes. */
#include "api.h"

#include <stdio.h>

#define EXTENT (64 * MIB)
#define SMALL (2 * MIB)

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

static void expect_sound(struct api *api)
{
	struct bd_scrub_result result;

	assert_ok(bd_store_scrub(api->store, NULL, NULL, NULL, &result));
	assert_int_equal(result.bad_blocks, 0);
	assert_int_equal(result.bad_keys, 0);
}

/* A store with much that lives, and garbage that was an extent of its own. */
static void removed_extents_are_used_again(void **state)
{
	struct api *api = *state;

	put_file(api, "stays", 1, 5 * EXTENT);
	put_file(api, "goes", 2, EXTENT);
	assert_ok(bd_unlink(api->root, "goes"));
	collect(api);
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
	uint64_t free_bytes, total_bytes;

	put_file(api, "stays", 1, 5 * EXTENT);
	put_file(api, "goes", 2, EXTENT);
	assert_ok(bd_unlink(api->root, "goes"));
	collect(api);
	uint64_t spare = status_of(api).spare_bytes;
	assert_true(spare >= EXTENT / 2);
	/* So much is left that what is spare is needed too: the reserve is a sixteenth of the disk. */
	assert_ok(nf_io_free_bytes(api->io, &free_bytes, &total_bytes));
	uint64_t used = total_bytes - free_bytes;
	nf_io_mem_set_capacity(api->io, (used + 4 * MIB) * 16 / 15);
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
			api_crash_as(api, n * 7 + k);
			check_round(api, error);
			assert_int_equal(names_of(api).spares, 0);
			assert_ok(api_tear_down(&inner));
		}
	}
	print_message("%u calls failed in turn\n", struck);
	assert_true(struck > 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(removed_extents_are_used_again),
		api_test(a_full_disk_takes_them),
		cmocka_unit_test(every_call_fails_in_turn),
	};

	return cmocka_run_group_tests_name("spare", tests, NULL, NULL);
}
