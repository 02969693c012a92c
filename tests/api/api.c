/* Fixture of the API tests. */
#include "api.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void api_make_dir(char path[256])
{
	const char *base = getenv("TMPDIR");

	if (base == NULL)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(path, 256, "%s/neonfs-api-XXXXXX", base);
	assert_non_null(mkdtemp(path));
}

void api_remove_dir(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int api_open(struct api *api, char *ret_message)
{
	const struct bd_open_options options = {.memory_limit_bytes = 64 * MIB, .no_background = true};

	return bd_store_open_io(api->path, api->io, &options, &api->store, ret_message, 512);
}

int api_set_up(void **state)
{
	struct api *api = calloc(1, sizeof(*api));
	char message[512] = "";

	assert_non_null(api);
	api_make_dir(api->path);
	assert_ok(nf_io_mem_create(0, &api->io));
	assert_ok(bd_store_format_io(api->path, api->io, &(struct bd_format_options){.log_bytes = 16 * MIB}));
	if (api_open(api, message) != 0)
		fail_msg("open: %s", message);
	assert_ok(bd_branch_create_empty(api->store, "main", 10, 20, &api->main));
	api->root = api_root(api, api_head(api->main.id));
	*state = api;
	return 0;
}

int api_tear_down(void **state)
{
	struct api *api = *state;

	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	nf_io_destroy(api->io);
	if (api->lower != NULL)
		nf_io_destroy(api->lower);
	api_remove_dir(api->path);
	free(api);
	return 0;
}

static void find_main(struct api *api)
{
	char message[512] = "";

	if (api_open(api, message) != 0)
		fail_msg("open: %s", message);
	assert_ok(bd_branch_find(api->store, "main", &api->main));
	api->root = api_root(api, api_head(api->main.id));
}

void api_reopen(struct api *api)
{
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	find_main(api);
}

void api_crash_as(struct api *api, uint64_t seed)
{
	bd_inode_unref(api->root, 1);
	bd_store_abandon(api->store);
	nf_io_mem_power_cut(api->lower != NULL ? api->lower : api->io, seed);
	find_main(api);
}

void api_crash(struct api *api)
{
	api_crash_as(api, 4711);
}

void api_wrap(struct api *api)
{
	bd_inode_unref(api->root, 1);
	assert_ok(bd_store_close(api->store));
	api->lower = api->io;
	assert_ok(nf_io_fault_create(api->lower, &api->io));
	find_main(api);
}

struct bd_view api_head(struct bd_branch_id branch)
{
	return (struct bd_view){.branch = branch, .epoch = BD_EPOCH_HEAD};
}

struct bd_inode *api_create(struct bd_inode *dir, const char *name, uint32_t mode)
{
	struct bd_create how = {.mode = mode, .uid = 10, .gid = 20};
	struct bd_inode *inode;

	assert_ok(bd_create(dir, name, &how, &inode));
	return inode;
}

struct bd_inode *api_lookup(struct bd_inode *dir, const char *name)
{
	struct bd_inode *inode;

	assert_ok(bd_lookup(dir, name, &inode));
	return inode;
}

struct bd_inode *api_root(struct api *api, struct bd_view view)
{
	struct bd_inode *inode;

	assert_ok(bd_root(api->store, view, &inode));
	return inode;
}

struct bd_attr api_attr(struct bd_inode *inode)
{
	struct bd_attr attr;

	bd_inode_attr(inode, &attr);
	return attr;
}

void api_set_size(struct bd_inode *inode, uint64_t size)
{
	struct bd_attr attr = {.size_bytes = size}, after;

	assert_ok(bd_setattr(inode, BD_SET_SIZE, &attr, &after));
	assert_int_equal(after.size_bytes, size);
}

void api_put(struct bd_inode *inode, uint64_t offset, int byte, size_t size)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	memset(bytes, byte, size);
	assert_ok(bd_write(inode, offset, bytes, size, 0));
	free(bytes);
}

void api_expect(struct bd_inode *inode, uint64_t offset, int byte, size_t size)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	assert_int_equal(bd_read(inode, offset, bytes, size), size);
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != (uint8_t)byte)
			fail_msg("byte %zu is %02x, not %02x", (size_t)offset + i, bytes[i], byte);
	free(bytes);
}
