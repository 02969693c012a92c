/* The fault wrapper: the n-th call of a kind fails, and only it; chains behind it are cancelled. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

struct fixture {
	struct nf_io *lower;
	struct nf_io *io;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(nf_io_mem_create(0, &f->lower), 0);
	assert_int_equal(nf_io_fault_create(f->lower, &f->io), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nf_io_destroy(f->io);
	nf_io_destroy(f->lower);
	free(f);
	return 0;
}

static struct nf_io *io_of(void **state)
{
	return ((struct fixture *)*state)->io;
}

static void set(struct nf_io *io, unsigned kinds_mask, uint64_t countdown, int error)
{
	struct nf_fault fault = {.kinds_mask = kinds_mask, .countdown = countdown, .error = error};

	nf_io_fault_set(io, &fault);
}

static int run_one(struct nf_io *io, enum nf_io_kind kind, struct nf_file *file, uint64_t offset)
{
	void *buf = buffer(BLOCK);
	int rc = nf_io_run_one(io, kind, file, offset, buf, BLOCK);

	free(buf);
	return rc;
}

static void nth_write(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	for (uint64_t n = 1; n <= 5; n++) {
		set(io, 1 << NF_FAULT_WRITE, n, -ENOSPC);
		for (uint64_t i = 1; i <= 8; i++) {
			assert_int_equal(nf_io_fault_struck(io), i > n);
			/* Other kinds do not count. */
			assert_int_equal(run_one(io, NF_IO_FSYNC, file, 0), 0);
			assert_int_equal(run_one(io, NF_IO_WRITE, file, 0), i == n ? -ENOSPC : 0);
			assert_int_equal(run_one(io, NF_IO_READ, file, 0), i == 1 && n == 1 && size_of(file) == 0 ? -ENODATA : 0);
		}
	}
	nf_io_close(file);
}

static void sticky(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	struct nf_fault fault = {.kinds_mask = 1 << NF_FAULT_FSYNC, .countdown = 3, .sticky = true, .error = -EIO};

	nf_io_fault_set(io, &fault);
	for (int i = 1; i <= 10; i++)
		assert_int_equal(run_one(io, NF_IO_FSYNC, file, 0), i >= 3 ? -EIO : 0);
	assert_true(nf_io_fault_struck(io));
	assert_int_equal(nf_io_sync_dir(io, "."), -EIO);
	fault.countdown = 0;
	nf_io_fault_set(io, &fault);
	assert_false(nf_io_fault_struck(io));
	assert_int_equal(run_one(io, NF_IO_FSYNC, file, 0), 0);
	nf_io_close(file);
}

/* A struck call is not made. */
static void nothing_happens(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a"), *other;

	put(io, file, 0, BLOCK, 1);
	set(io, 1 << NF_FAULT_WRITE, 1, -EIO);
	assert_int_equal(run_one(io, NF_IO_WRITE, file, 0), -EIO);
	assert_true(holds(io, file, 0, BLOCK, 1));
	for (uint64_t n = 1; n <= 3; n++) {
		set(io, 1 << NF_FAULT_ALLOCATE, n, -ENOSPC);
		assert_int_equal(nf_io_allocate(file, BLOCK, BLOCK), n == 1 ? -ENOSPC : 0);
		assert_int_equal(size_of(file), n == 1 ? BLOCK : 2 * BLOCK);
		assert_int_equal(nf_io_truncate(file, BLOCK), n == 2 ? -ENOSPC : 0);
		assert_int_equal(size_of(file), n == 2 ? 2 * BLOCK : BLOCK);
		assert_int_equal(nf_io_punch(file, 0, BLOCK), n == 3 ? -ENOSPC : 0);
		assert_int_equal(holds(io, file, 0, BLOCK, 1), n == 3);
		assert_int_equal(nf_io_truncate(file, BLOCK), 0);
		put(io, file, 0, BLOCK, 1);
	}
	for (uint64_t n = 1; n <= 5; n++) {
		set(io, 1 << NF_FAULT_NAMESPACE, n, -EIO);
		int rc = nf_io_open(io, "b", NF_OPEN_CREATE, &other);
		assert_int_equal(rc, n == 1 ? -EIO : 0);
		if (rc == 0)
			nf_io_close(other);
		else
			nf_io_close(create_file(io, "b"));
		assert_int_equal(nf_io_rename(io, "b", "c"), n == 2 ? -EIO : n == 1 ? 0 : 0);
		if (n == 2)
			assert_int_equal(nf_io_rename(io, "b", "c"), 0);
		assert_int_equal(nf_io_unlink(io, "c"), n == 3 ? -EIO : 0);
		if (n == 3)
			assert_int_equal(nf_io_unlink(io, "c"), 0);
	}
	set(io, 1 << NF_FAULT_NAMESPACE, 1, -EIO);
	assert_int_equal(nf_io_mkdir(io, "d"), -EIO);
	assert_false(exists(io, "d"));
	nf_io_close(file);
}

static void read_is_poisoned(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	uint8_t *buf = buffer(BLOCK);

	put(io, file, 0, BLOCK, 1);
	set(io, 1 << NF_FAULT_READ, 1, -EIO);
	fill(buf, BLOCK, 1);
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, buf, BLOCK), -EIO);
	assert_false(is_filled(buf, BLOCK, 1));
	assert_true(holds(io, file, 0, BLOCK, 1));
	free(buf);
	nf_io_close(file);
}

static void torn_write(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	struct nf_fault fault = {.kinds_mask = 1 << NF_FAULT_WRITE, .countdown = 1, .error = -EIO, .torn = true};
	uint8_t *old = buffer(BLOCK), *new = buffer(BLOCK), *now = buffer(BLOCK);

	put(io, file, 0, BLOCK, 1);
	fill(old, BLOCK, 1);
	fill(new, BLOCK, 2);
	nf_io_fault_set(io, &fault);
	assert_int_equal(nf_io_run_one(io, NF_IO_WRITE, file, 0, new, BLOCK), -EIO);
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, now, BLOCK), 0);
	assert_memory_equal(now, new, BLOCK / 2);
	assert_memory_equal(now + BLOCK / 2, old + BLOCK / 2, BLOCK / 2);
	free(old);
	free(new);
	free(now);
	nf_io_close(file);
}

/* Every op of a batch in turn; what is behind it in its chain is cancelled, all else is done. */
static void in_batches(void **state)
{
	static const bool then_next[] = {true, true, false, false, true, false};
	enum { COUNT = 6 };
	struct nf_io *io = io_of(state);
	uint8_t *buf = buffer(COUNT * BLOCK);

	for (unsigned i = 0; i < COUNT; i++)
		fill(buf + i * BLOCK, BLOCK, 100 + i);
	for (unsigned n = 1; n <= COUNT + 1; n++) {
		for (unsigned torn = 0; torn < 2; torn++) {
			struct nf_file *file = create_file(io, "a");
			assert_int_equal(nf_io_allocate(file, 0, COUNT * BLOCK), 0);
			struct nf_io_op ops[COUNT];
			for (unsigned i = 0; i < COUNT; i++)
				ops[i] = (struct nf_io_op){.kind = NF_IO_WRITE,
							   .then_next = then_next[i],
							   .file = file,
							   .offset = i * BLOCK,
							   .buf = buf + i * BLOCK,
							   .size = BLOCK};
			struct nf_fault fault = {
				.kinds_mask = 1 << NF_FAULT_WRITE, .countdown = n, .error = -EIO, .torn = torn == 1};
			nf_io_fault_set(io, &fault);
			assert_int_equal(nf_io_run(io, ops, COUNT), n <= COUNT ? -EIO : 0);
			assert_int_equal(nf_io_fault_struck(io), n <= COUNT);
			bool cancelled = false;
			for (unsigned i = 0; i < COUNT; i++) {
				assert_int_equal(ops[i].result, i + 1 == n ? -EIO : cancelled ? -ECANCELED : 0);
				assert_int_equal(holds(io, file, i * BLOCK, BLOCK, 100 + i), ops[i].result == 0);
				assert_int_equal(holds_zeros(io, file, i * BLOCK, BLOCK),
						 ops[i].result != 0 && !(torn == 1 && i + 1 == n));
				cancelled = (cancelled || i + 1 == n) && then_next[i];
			}
			nf_io_close(file);
			assert_int_equal(nf_io_unlink(io, "a"), 0);
		}
	}
	free(buf);
}

/* An error of the lower backend comes through, and beats a fault that would have struck behind it. */
static void lower_errors(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	uint8_t *buf = buffer(BLOCK);
	struct nf_io_op ops[] = {
		{.kind = NF_IO_READ, .then_next = true, .file = file, .offset = 9 * BLOCK, .buf = buf, .size = BLOCK},
		{.kind = NF_IO_WRITE, .then_next = true, .file = file, .buf = buf, .size = BLOCK},
		{.kind = NF_IO_FSYNC, .file = file},
		{.kind = NF_IO_FSYNC, .file = file},
	};

	set(io, 1 << NF_FAULT_WRITE, 1, -EIO);
	assert_int_equal(nf_io_run(io, ops, NF_ARRAY_LEN(ops)), -ENODATA);
	assert_int_equal(ops[0].result, -ENODATA);
	assert_int_equal(ops[1].result, -ECANCELED);
	assert_int_equal(ops[2].result, -ECANCELED);
	assert_int_equal(ops[3].result, 0);
	free(buf);
	nf_io_close(file);
}

static void counts(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	put(io, file, 0, BLOCK, 1);
	put(io, file, 0, BLOCK, 1);
	assert_true(holds(io, file, 0, BLOCK, 1));
	flush_file(io, file);
	assert_int_equal(nf_io_allocate(file, 0, BLOCK), 0);
	assert_int_equal(nf_io_sync_dir(io, "."), 0);
	nf_io_close(file);
	assert_int_equal(nf_io_fault_calls(io, NF_FAULT_READ), 1);
	assert_int_equal(nf_io_fault_calls(io, NF_FAULT_WRITE), 2);
	assert_int_equal(nf_io_fault_calls(io, NF_FAULT_FSYNC), 2);
	assert_int_equal(nf_io_fault_calls(io, NF_FAULT_ALLOCATE), 1);
	assert_int_equal(nf_io_fault_calls(io, NF_FAULT_NAMESPACE), 1);
}

/* A story that must end well or in an error, and leave "a" as it was or as it is to be. */
static int replace_file(struct nf_io *io, uint32_t tag)
{
	struct nf_file *file;
	void *buf = buffer(BLOCK);

	fill(buf, BLOCK, tag);
	int rc = nf_io_open(io, "tmp", NF_OPEN_CREATE, &file);
	if (rc == 0) {
		rc = nf_io_run_one(io, NF_IO_WRITE, file, 0, buf, BLOCK);
		if (rc == 0)
			rc = nf_io_run_one(io, NF_IO_FSYNC, file, 0, NULL, 0);
		nf_io_close(file);
		if (rc == 0)
			rc = nf_io_rename(io, "tmp", "a");
		if (rc == 0)
			rc = nf_io_sync_dir(io, ".");
	}
	free(buf);
	return rc;
}

/* Call 1, 2, 3 ... fails until nothing fails any more; then the power goes. */
static void every_call_fails_once(void **state)
{
	struct fixture *f = *state;
	const unsigned all = (1 << NF_FAULT_READ) | (1 << NF_FAULT_WRITE) | (1 << NF_FAULT_FSYNC) | (1 << NF_FAULT_ALLOCATE) |
			     (1 << NF_FAULT_NAMESPACE);
	uint64_t n = 1;

	for (bool failed = true; failed; n++) {
		assert_true(n < 100);
		set(f->io, 0, 0, 0);
		if (exists(f->lower, "tmp"))
			assert_int_equal(nf_io_unlink(f->lower, "tmp"), 0);
		if (exists(f->lower, "a"))
			assert_int_equal(nf_io_unlink(f->lower, "a"), 0);
		assert_int_equal(replace_file(f->io, 1), 0);
		set(f->io, all, n, -EIO);
		int rc = replace_file(f->io, 2);
		failed = nf_io_fault_struck(f->io);
		assert_int_equal(rc, failed ? -EIO : 0);
		nf_io_mem_power_cut(f->lower, n);
		struct nf_file *file = open_file(f->lower, "a");
		bool is_new = holds(f->lower, file, 0, BLOCK, 2);
		assert_true(is_new || (failed && holds(f->lower, file, 0, BLOCK, 1)));
		nf_io_close(file);
	}
	assert_int_equal(n, 7); /* five calls, then a run without a fault */
}

struct heard {
	unsigned calls;
	enum nf_fault_kind last;
};

static void hear(void *arg, enum nf_fault_kind kind)
{
	struct heard *heard = arg;

	heard->calls++;
	heard->last = kind;
}

static void the_hook_hears_every_call(void **state)
{
	struct nf_io *io = io_of(state);
	struct heard heard = {0};
	struct nf_file *file = create_file(io, "a");

	nf_io_fault_hook(io, hear, &heard);
	assert_int_equal(run_one(io, NF_IO_WRITE, file, 0), 0);
	assert_int_equal(heard.calls, 1);
	assert_int_equal(heard.last, NF_FAULT_WRITE);
	set(io, 1 << NF_FAULT_FSYNC, 1, -EIO); /* also those that are struck */
	assert_int_equal(nf_io_run_one(io, NF_IO_FSYNC, file, 0, NULL, 0), -EIO);
	assert_int_equal(heard.calls, 2);
	assert_int_equal(heard.last, NF_FAULT_FSYNC);
	nf_io_fault_hook(io, NULL, NULL);
	assert_int_equal(run_one(io, NF_IO_READ, file, 0), 0);
	assert_int_equal(heard.calls, 2);
	nf_io_close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nth_write, setup, teardown),
		cmocka_unit_test_setup_teardown(sticky, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_happens, setup, teardown),
		cmocka_unit_test_setup_teardown(read_is_poisoned, setup, teardown),
		cmocka_unit_test_setup_teardown(torn_write, setup, teardown),
		cmocka_unit_test_setup_teardown(in_batches, setup, teardown),
		cmocka_unit_test_setup_teardown(lower_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(counts, setup, teardown),
		cmocka_unit_test_setup_teardown(every_call_fails_once, setup, teardown),
		cmocka_unit_test_setup_teardown(the_hook_hears_every_call, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
