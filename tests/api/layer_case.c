#include "layer_case.h"

#include <stdlib.h>

struct layers layer_hook;

int layer_set_up(void **state)
{
	layer_hook = (struct layers)LAYERS_INIT;
	if (api_set_up(state) != 0)
		return -1;
	struct api *api = *state;
	layers_install(&layer_hook, api->store);
	return 0;
}

int layer_tear_down(void **state)
{
	int result = api_tear_down(state);
	assert_int_equal(layer_hook.opened, layer_hook.closed);
	return result;
}

void layer_reopen(struct api *api)
{
	api_reopen(api);
	layers_install(&layer_hook, api->store);
}

void layer_crash(struct api *api)
{
	api_crash(api);
	layers_install(&layer_hook, api->store);
}

void layer_collect(struct api *api)
{
	struct bd_gc_result result;
	for (unsigned i = 0; i < 2; i++) {
		assert_ok(bd_store_gc(api->store, NULL, NULL, &result));
		assert_ok(bd_store_checkpoint(api->store));
	}
}

/* A file of `blocks` blocks, all bytes `byte`. */
struct bd_inode *layer_make_file(struct bd_inode *dir, const char *name, int byte, unsigned blocks)
{
	struct bd_inode *file = api_create(dir, name, S_IFREG | 0600);
	api_put(file, 0, byte, blocks * BLOCK);
	return file;
}

void layer_expect_block(struct bd_inode *file, uint32_t block, int byte)
{
	api_expect(file, block * BLOCK, byte, BLOCK);
}

/* Blocks [0, count): every second one through a layer that adds `add`. */
void layer_expect_through(struct bd_inode *file, unsigned count, int byte, int add)
{
	for (uint32_t i = 0; i < count; i++)
		layer_expect_block(file, i, i % 2 == 0 ? through(byte, add) : byte);
}

struct bd_inode *layer_file_of(struct api *api, struct bd_view view, const char *name)
{
	struct bd_inode *root = api_root(api, view), *file = api_lookup(root, name);
	bd_inode_unref(root, 1);
	return file;
}

struct bd_branch_info layer_child_of(struct api *api, struct bd_branch_id parent, const char *name)
{
	struct bd_branch_info info;
	assert_ok(bd_branch_create(api->store, name, api_head(parent), &info, NULL));
	return info;
}

/* What a view shows of a file, read twice and by single blocks and at once. */
void layer_check_view(struct api *api, struct bd_view view, const char *name, unsigned count, int byte, int add)
{
	struct bd_inode *file = layer_file_of(api, view, name);
	uint8_t *all = nf_io_buffer(count * BLOCK);
	assert_int_equal(bd_read(file, 0, all, count * BLOCK), count * BLOCK);
	for (size_t i = 0; i < count * BLOCK; i++)
		assert_int_equal(all[i], i / BLOCK % 2 == 0 ? through(byte, add) : byte);
	free(all);
	layer_expect_through(file, count, byte, add);
	bd_inode_unref(file, 1);
}

void layer_check_plain(struct api *api, struct bd_view view, const char *name, unsigned count, int byte)
{
	struct bd_inode *file = layer_file_of(api, view, name);
	api_expect(file, 0, byte, count * BLOCK);
	bd_inode_unref(file, 1);
}
