/* Blocks that are made ahead (bd_layer_unmade, bd_layer_store): as if they had been read. */
#include "layers.h"

#include <stdlib.h>
#include <unistd.h>

static struct layers hook;

static int set_up(void **state)
{
	hook = (struct layers)LAYERS_INIT;
	if (api_set_up(state) != 0)
		return -1;
	layers_install(&hook, ((struct api *)*state)->store);
	return 0;
}

#define ahead_test(function) cmocka_unit_test_setup_teardown(function, set_up, api_tear_down)

#define BLOCKS 600u

static struct bd_inode *make_file(struct api *api)
{
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	api_put(file, 0, 1, BLOCKS * BLOCK);
	return file;
}

static void expect(struct bd_inode *file, uint32_t block, int byte)
{
	api_expect(file, block * BLOCK, byte, BLOCK);
}

static size_t unmade(struct bd_inode *file, uint32_t epoch, uint32_t from, uint32_t *blocks, size_t room)
{
	size_t count = 0;
	assert_ok(bd_layer_unmade(file, (struct bd_epoch){epoch}, from, blocks, room, &count));
	return count;
}

/* `count` pages of one byte. */
static uint8_t *pages_of(int byte, size_t count)
{
	uint8_t *pages = nf_io_buffer(count * BLOCK);
	memset(pages, byte, count * BLOCK);
	return pages;
}

/* Blocks [first, first + count). */
static int store(struct bd_inode *file, uint32_t epoch, uint32_t first, uint32_t count, const uint8_t *pages)
{
	uint32_t blocks[BD_LAYER_STORE_MAX];
	const uint8_t *each[BD_LAYER_STORE_MAX];
	for (uint32_t i = 0; i < count; i++) {
		blocks[i] = first + i;
		each[i] = pages + (size_t)i * BLOCK;
	}
	return bd_layer_store(file, (struct bd_epoch){epoch}, blocks, each, count);
}

static void what_is_stored_ahead_is_not_made_again(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api);
	uint32_t blocks[BLOCKS], epoch = layers_lay(api, api->main.id, 5, 1);
	uint8_t *pages = pages_of(through(1, 5), 100);

	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), BLOCKS);
	expect(file, 3, through(1, 5)); /* a reader's */
	assert_ok(store(file, epoch, 0, 100, pages));
	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), BLOCKS - 100);
	assert_int_equal(blocks[0], 100);
	assert_int_equal(blocks[BLOCKS - 101], BLOCKS - 1);
	/* From the middle, and no more than there is room for. */
	assert_int_equal(unmade(file, epoch, 550, blocks, 7), 7);
	assert_int_equal(blocks[0], 550);
	assert_int_equal(blocks[6], 556);
	assert_int_equal(hook.applied, 1);
	api_expect(file, 0, through(1, 5), 100 * BLOCK);
	assert_int_equal(hook.applied, 1);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	free(pages);
	api_crash(api);
	layers_install(&hook, api->store);
	hook.applied = 0;
	file = api_lookup(api->root, "file");
	api_expect(file, 0, through(1, 5), BLOCKS * BLOCK);
	assert_int_equal(hook.applied, BLOCKS - 100);
	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), 0);
	bd_inode_unref(file, 1);
	assert_ok(bd_layer_delete(api->store, api->main.id, (struct bd_epoch){epoch}));
}

/* From anywhere in the file and in memory, in any order. */
static void from_all_over(void **state)
{
	enum { COUNT = 90 };
	struct api *api = *state;
	struct bd_inode *file = make_file(api);
	uint32_t blocks[BLOCKS], at[COUNT], epoch = layers_lay(api, api->main.id, 5, 1);
	const uint8_t *each[COUNT];
	uint8_t *pages = pages_of(0, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		at[i] = (i * 37 + 5) % BLOCKS;
		memset(pages + (size_t)(COUNT - 1 - i) * BLOCK, (int)(100 + i), BLOCK);
		each[i] = pages + (size_t)(COUNT - 1 - i) * BLOCK;
	}
	api_put(file, at[11] * (uint64_t)BLOCK, 42, BLOCK);
	assert_ok(bd_layer_store(file, (struct bd_epoch){epoch}, at, each, COUNT));
	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), BLOCKS - COUNT);
	assert_ok(bd_fsync(file, false));
	bd_inode_unref(file, 1);
	free(pages);
	api_crash(api);
	layers_install(&hook, api->store);
	hook.applied = 0;
	file = api_lookup(api->root, "file");
	for (uint32_t i = 0; i < COUNT; i++)
		expect(file, at[i], i == 11 ? 42 : (int)(100 + i));
	assert_int_equal(hook.applied, 0);
	bd_inode_unref(file, 1);
}

static void who_wrote_has_won(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api);
	uint32_t blocks[BLOCKS], epoch = layers_lay(api, api->main.id, 5, 2);
	uint8_t *pages = pages_of(99, 20);

	api_put(file, 4 * BLOCK, 42, BLOCK);
	api_set_size(file, 12 * BLOCK);
	api_set_size(file, 20 * BLOCK);
	assert_ok(store(file, epoch, 0, 20, pages));
	for (uint32_t i = 0; i < 20; i++)
		expect(file, i, i >= 12 ? 0 : i == 4 ? 42 : i % 2 == 0 ? 99 : 1);
	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), 0);
	/* A layer above: its blocks are not of the one below any more. */
	uint32_t above = layers_lay(api, api->main.id, 7, 2);
	memset(pages, 77, 20 * BLOCK);
	assert_ok(store(file, epoch, 0, 20, pages));
	expect(file, 0, through(99, 7));
	assert_ok(store(file, above, 0, 8, pages));
	expect(file, 2, 77);
	free(pages);
	bd_inode_unref(file, 1);
}

/* The store again, with its background threads or without. */
static struct bd_inode *open_again(struct api *api, bool background)
{
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = !background};
	char message[512] = "";
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	if (bd_store_open_io(api->path, api->io, &options, &api->store, message, sizeof(message)) != 0)
		fail_msg("open: %s", message);
	layers_install(&hook, api->store);
	api->root = api_root(api, api_head(api->main.id));
	return api_lookup(api->root, "file");
}

/* Where there is a thread for it, what was made for a reader is stored later: it is not made again then, and who writes meanwhile has won. */
static void readers_do_not_wait(void **state)
{
	enum { READ = 200, WRITTEN = 50 };
	struct api *api = *state;
	struct bd_inode *file = make_file(api);
	uint32_t blocks[BLOCKS], epoch = layers_lay(api, api->main.id, 5, 1);
	bd_inode_unref(file, 1);
	file = open_again(api, true);
	for (uint32_t i = 0; i < READ; i++) {
		uint32_t block = i * 7 % BLOCKS;
		expect(file, block, through(1, 5));
		if (i < WRITTEN)
			api_put(file, block * BLOCK, 42, BLOCK);
	}
	for (unsigned tries = 0; tries < 5000 && unmade(file, epoch, 0, blocks, BLOCKS) > BLOCKS - READ; tries++)
		usleep(1000);
	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), BLOCKS - READ);
	hook.applied = 0;
	for (uint32_t i = 0; i < READ; i++)
		expect(file, i * 7 % BLOCKS, i < WRITTEN ? 42 : through(1, 5));
	assert_int_equal(hook.applied, 0);
	/* What still waits when the store is closed is made again, or was stored: both are right. */
	for (uint32_t i = READ; i < BLOCKS; i++)
		expect(file, i * 7 % BLOCKS, through(1, 5));
	bd_inode_unref(file, 1);
	file = open_again(api, false);
	for (uint32_t i = 0; i < BLOCKS; i++)
		expect(file, i * 7 % BLOCKS, i < WRITTEN ? 42 : through(1, 5));
	assert_int_equal(unmade(file, epoch, 0, blocks, BLOCKS), 0);
	bd_inode_unref(file, 1);
}

static void not_of_what_is_frozen(void **state)
{
	struct api *api = *state;
	struct bd_inode *file = make_file(api), *frozen;
	uint32_t blocks[4], epoch = layers_lay(api, api->main.id, 5, 2);
	uint8_t *pages = pages_of(99, 1);
	size_t count;

	assert_ok(bd_inode_by_id(api->store, (struct bd_view){api->main.id, {epoch}}, api_attr(file).file, &frozen));
	assert_int_equal(bd_layer_unmade(frozen, (struct bd_epoch){epoch}, 0, blocks, 4, &count), -EINVAL);
	assert_int_equal(store(frozen, epoch, 0, 1, pages), -EINVAL);
	assert_int_equal(store(file, epoch + 1, 0, 1, pages), -ENOENT);
	bd_inode_unref(frozen, 1);
	expect(file, 0, through(1, 5));
	free(pages);
	bd_inode_unref(file, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ahead_test(what_is_stored_ahead_is_not_made_again),
		ahead_test(readers_do_not_wait),
		ahead_test(from_all_over),
		ahead_test(who_wrote_has_won),
		ahead_test(not_of_what_is_frozen),
	};

	return cmocka_run_group_tests_name("api_ahead", tests, NULL, NULL);
}
