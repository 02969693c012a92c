/* The memory backend where the contract tests do not reach: capacity, corruption, sparseness. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t free_of(struct nf_io *io)
{
	uint64_t free_size, total;

	assert_int_equal(nf_io_free_bytes(io, &free_size, &total), 0);
	return free_size;
}

static int write_block(struct nf_io *io, struct nf_file *file, uint64_t offset)
{
	void *buf = buffer(BLOCK);
	int rc = nf_io_run_one(io, NF_IO_WRITE, file, offset, buf, BLOCK);

	free(buf);
	return rc;
}

static void capacity(void **state)
{
	struct nf_io *io;

	(void)state;
	assert_int_equal(nf_io_mem_create(MIB, &io), 0);
	struct nf_file *file = create_file(io, "a");
	assert_int_equal(free_of(io), MIB);
	assert_int_equal(nf_io_allocate(file, 0, MIB + PAGE), -ENOSPC);
	assert_int_equal(size_of(file), 0);
	assert_int_equal(nf_io_allocate(file, 0, MIB - BLOCK), 0);
	assert_int_equal(free_of(io), BLOCK);
	/* What is allocated can be written whatever is free. */
	assert_int_equal(write_block(io, file, 0), 0);
	assert_int_equal(free_of(io), BLOCK);
	assert_int_equal(write_block(io, file, MIB - BLOCK), 0);
	assert_int_equal(free_of(io), 0);
	assert_int_equal(write_block(io, file, MIB), -ENOSPC);
	assert_int_equal(size_of(file), MIB);

	assert_int_equal(nf_io_punch(file, 0, 2 * BLOCK), 0);
	assert_int_equal(free_of(io), 2 * BLOCK);
	assert_int_equal(nf_io_truncate(file, MIB / 2), 0);
	assert_int_equal(free_of(io), MIB / 2 + 2 * BLOCK);

	nf_io_mem_set_capacity(io, BLOCK);
	assert_int_equal(free_of(io), 0);
	assert_int_equal(write_block(io, file, MIB), -ENOSPC);
	nf_io_mem_set_capacity(io, 0);
	assert_int_equal(write_block(io, file, MIB), 0);
	nf_io_close(file);
	nf_io_destroy(io);
}

static void space_of_unlinked_files(void **state)
{
	struct nf_io *io;

	(void)state;
	assert_int_equal(nf_io_mem_create(MIB, &io), 0);
	struct nf_file *file = create_file(io, "a");
	assert_int_equal(nf_io_allocate(file, 0, MIB), 0);
	assert_int_equal(nf_io_unlink(io, "a"), 0);
	assert_int_equal(free_of(io), 0); /* open still */
	nf_io_close(file);
	assert_int_equal(free_of(io), MIB);

	file = create_file(io, "b");
	assert_int_equal(nf_io_allocate(file, 0, MIB), 0);
	nf_io_close(file);
	nf_io_close(create_file(io, "c"));
	assert_int_equal(nf_io_rename(io, "c", "b"), 0); /* replaced */
	assert_int_equal(free_of(io), MIB);
	nf_io_destroy(io);
}

/* After a power cut the space is that of what is there. */
static void space_after_power_cut(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct nf_io *io;
		(void)state;
		assert_int_equal(nf_io_mem_create(MIB, &io), 0);
		struct nf_file *file = create_file(io, "kept");
		assert_int_equal(nf_io_allocate(file, 0, MIB / 4), 0);
		flush_file(io, file);
		nf_io_close(file);
		assert_int_equal(nf_io_sync_dir(io, "."), 0);
		assert_int_equal(nf_io_unlink(io, "kept"), 0);
		assert_int_equal(free_of(io), MIB);
		file = create_file(io, "new");
		assert_int_equal(nf_io_allocate(file, 0, MIB / 2), 0);
		flush_file(io, file);
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		assert_int_equal(free_of(io), MIB - (exists(io, "kept") ? MIB / 4 : 0) - (exists(io, "new") ? MIB / 2 : 0));
		nf_io_destroy(io);
	}
}

static void corruption(void **state)
{
	struct nf_io *io;

	(void)state;
	assert_int_equal(nf_io_mem_create(0, &io), 0);
	struct nf_file *file = create_file(io, "a");
	put(io, file, 0, BLOCK, 1);
	flush_file(io, file);
	put(io, file, BLOCK, BLOCK, 2); /* not flushed */
	assert_int_equal(nf_io_mem_corrupt(io, "x", 0, 0), -ENOENT);
	assert_int_equal(nf_io_mem_corrupt(io, "a", 2 * BLOCK, 0), -EINVAL);
	assert_int_equal(nf_io_mem_corrupt(io, "a", 100, 3), 0);
	assert_int_equal(nf_io_mem_corrupt(io, "a", BLOCK + PAGE + 5, 7), 0);

	uint8_t *buf = buffer(2 * BLOCK), *good = buffer(2 * BLOCK);
	fill(good, BLOCK, 1);
	fill(good + BLOCK, BLOCK, 2);
	good[100] ^= 1 << 3;
	good[BLOCK + PAGE + 5] ^= 1 << 7;
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, buf, 2 * BLOCK), 0);
	assert_memory_equal(buf, good, 2 * BLOCK);

	/* It is on the medium, not in a cache: there after a flush and a power cut. */
	flush_file(io, file);
	nf_io_close(file);
	assert_int_equal(nf_io_sync_dir(io, "."), 0);
	nf_io_mem_power_cut(io, 1);
	file = open_file(io, "a");
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, buf, 2 * BLOCK), 0);
	assert_memory_equal(buf, good, 2 * BLOCK);
	/* Twice is not at all. */
	assert_int_equal(nf_io_mem_corrupt(io, "a", 100, 3), 0);
	assert_true(holds(io, file, 0, BLOCK, 1));
	nf_io_close(file);
	free(buf);
	free(good);
	nf_io_destroy(io);
}

static void corrupt_hole(void **state)
{
	struct nf_io *io;

	(void)state;
	assert_int_equal(nf_io_mem_create(0, &io), 0);
	struct nf_file *file = create_file(io, "a");
	struct nf_file *other = create_file(io, "b");
	assert_int_equal(nf_io_allocate(file, 0, BLOCK), 0);
	assert_int_equal(nf_io_allocate(other, 0, BLOCK), 0);
	assert_int_equal(nf_io_mem_corrupt(io, "a", 0, 0), 0);
	assert_false(holds_zeros(io, file, 0, PAGE));
	assert_true(holds_zeros(io, file, PAGE, PAGE));
	assert_true(holds_zeros(io, other, 0, PAGE));
	nf_io_close(file);
	nf_io_close(other);
	nf_io_destroy(io);
}

/* A far offset costs a table, not the bytes before it; a million operations are a matter of seconds. */
static void sparse_and_fast(void **state)
{
	struct nf_io *io;
	uint64_t far = (UINT64_C(1) << 36);
	unsigned seed = 1;

	(void)state;
	assert_int_equal(nf_io_mem_create(0, &io), 0);
	struct nf_file *file = create_file(io, "a");
	put(io, file, far, BLOCK, 1);
	assert_true(holds(io, file, far, BLOCK, 1));
	assert_true(holds_zeros(io, file, far / 2, BLOCK));
	assert_int_equal(write_block(io, file, UINT64_C(1) << 40), -EFBIG);
	assert_int_equal(nf_io_truncate(file, (UINT64_C(1) << 40) + 1), -EFBIG);

	void *buf = buffer(BLOCK);
	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t offset = (uint64_t)(rand_r(&seed) % 4096) * BLOCK;
		enum nf_io_kind kind = i % 100 == 0 ? NF_IO_FSYNC : i % 2 == 0 ? NF_IO_READ : NF_IO_WRITE;
		assert_int_equal(nf_io_run_one(io, kind, file, offset, buf, kind == NF_IO_FSYNC ? 0 : BLOCK), 0);
	}
	free(buf);
	nf_io_close(file);
	nf_io_destroy(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capacity),
		cmocka_unit_test(space_of_unlinked_files),
		cmocka_unit_test(space_after_power_cut),
		cmocka_unit_test(corruption),
		cmocka_unit_test(corrupt_hole),
		cmocka_unit_test(sparse_and_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
