/* Blocks of a file that lie scattered are read with few reads of the disk, and right. */
#include "api.h"

#include <stdlib.h>

#define BLOCKS 128u /* of the file */

/* One block whose every byte says which block it is and which version. */
static void fill(uint8_t *at, unsigned block, unsigned version)
{
	memset(at, (int)(block * 2 + version), BLOCK);
}

static void put_version(struct bd_inode *file, unsigned block, unsigned version)
{
	uint8_t *bytes = nf_io_buffer(BLOCK);

	assert_non_null(bytes);
	fill(bytes, block, version);
	assert_ok(bd_write(file, block * BLOCK, bytes, BLOCK, 0));
	free(bytes);
}

/* A file written once in order, then every `step`-th block again, in order. */
static struct bd_inode *make_scattered(struct api *api, unsigned step)
{
	struct bd_inode *file = api_create(api->root, "file", S_IFREG | 0600);
	uint8_t *bytes = nf_io_buffer(BLOCKS * BLOCK);

	assert_non_null(bytes);
	for (unsigned i = 0; i < BLOCKS; i++)
		fill(bytes + i * BLOCK, i, 0);
	assert_ok(bd_write(file, 0, bytes, BLOCKS * BLOCK, 0));
	free(bytes);
	assert_ok(bd_fsync(file, true));
	for (unsigned i = 0; i < BLOCKS; i += step)
		put_version(file, i, 1);
	assert_ok(bd_fsync(file, true));
	return file;
}

/* Read all of it at once; the disk's reads that it took. */
static uint64_t read_scattered(struct api *api, struct bd_inode *file, unsigned step)
{
	uint8_t *bytes = nf_io_buffer(BLOCKS * BLOCK), *want = malloc(BLOCK);
	uint64_t before = nf_io_fault_calls(api->io, NF_FAULT_READ);

	assert_non_null(bytes);
	assert_non_null(want);
	assert_int_equal(bd_read(file, 0, bytes, BLOCKS * BLOCK), BLOCKS * BLOCK);
	uint64_t reads = nf_io_fault_calls(api->io, NF_FAULT_READ) - before;
	for (unsigned i = 0; i < BLOCKS; i++) {
		fill(want, i, i % step == 0);
		assert_memory_equal(bytes + i * BLOCK, want, BLOCK);
	}
	free(bytes);
	free(want);
	return reads;
}

static void scattered_blocks_are_read_together(void **state)
{
	struct api *api = *state;

	api_wrap(api);
	for (unsigned step = 2; step <= 7; step++) {
		struct bd_inode *file = make_scattered(api, step);
		/* What was written first has holes, what was written again lies together behind it. */
		assert_in_range(read_scattered(api, file, step), 1, 3);
		assert_ok(bd_unlink(api->root, "file"));
		bd_inode_unref(file, 1);
	}
}

static void what_lies_far_apart_is_not_read_together(void **state)
{
	struct api *api = *state;

	api_wrap(api);
	struct bd_inode *other = api_create(api->root, "other", S_IFREG | 0600);
	struct bd_inode *file = make_scattered(api, 2);
	/* Two blocks once more, each behind much of another file: two reads more. */
	for (unsigned block = 10; block <= 20; block += 10) {
		api_put(other, 0, 7, 32 * BLOCK);
		put_version(file, block, 1);
	}
	assert_in_range(read_scattered(api, file, 2), 3, 5);
	bd_inode_unref(file, 1);
	bd_inode_unref(other, 1);
}

/* Reading together asks for slots that nobody needs: when that fails, what is needed is read alone. */
static void a_failed_joined_read_is_done_in_parts(void **state)
{
	struct api *api = *state;
	const struct nf_fault fault = {.kinds_mask = 1u << NF_FAULT_READ, .countdown = 1, .error = -EIO};

	api_wrap(api);
	struct bd_inode *file = make_scattered(api, 2);
	nf_io_fault_set(api->io, &fault);
	assert_true(read_scattered(api, file, 2) > BLOCKS / 2);
	assert_true(nf_io_fault_struck(api->io));
	bd_inode_unref(file, 1);
}

/* Blocks of two files in no order, with a hole and a block twice: few reads, and each is right. One behind the end is refused. */
static void from_several_files(void **state)
{
	struct api *api = *state;
	struct bd_inode *files[] = {make_scattered(api, 3), api_create(api->root, "other", S_IFREG | 0600)};
	struct bd_scattered wanted[40];
	uint8_t *bytes = nf_io_buffer(BD_SCATTERED_MAX * BLOCK), *want = malloc(BLOCK);

	assert_non_null(bytes);
	assert_non_null(want);
	api_put(files[1], 0, 200, 10 * BLOCK);
	api_set_size(files[1], 20 * BLOCK);
	assert_ok(bd_fsync(files[1], false));
	for (unsigned i = 0; i < 40; i++)
		wanted[i] = (struct bd_scattered){files[i % 2], i % 2 == 0 ? i * 77 % BLOCKS : i % 20};
	for (unsigned round = 0; round < 2; round++) {
		memset(bytes, 0xEE, 40 * BLOCK);
		assert_ok(bd_read_scattered(wanted, 40, bytes));
		for (unsigned i = 0; i < 40; i++) {
			fill(want, wanted[i].block, wanted[i].block % 3 == 0);
			if (i % 2 == 1)
				memset(want, i % 20 < 10 ? 200 : 0, BLOCK);
			assert_memory_equal(bytes + i * BLOCK, want, BLOCK);
		}
	}
	wanted[39].block = 20;
	assert_int_equal(bd_read_scattered(wanted, 40, bytes), -ENODATA);
	for (unsigned i = 0; i < 2; i++)
		bd_inode_unref(files[i], 1);
	free(bytes);
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(scattered_blocks_are_read_together),
		api_test(what_lies_far_apart_is_not_read_together),
		api_test(a_failed_joined_read_is_done_in_parts),
		api_test(from_several_files),
	};

	return cmocka_run_group_tests_name("api_scatter", tests, NULL, NULL);
}
