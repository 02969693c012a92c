/* The contract of nf_io.h, checked on every backend: disk with O_DIRECT, disk without, memory, and
 * the fault wrapper with no fault set. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TMPFS "/dev/shm"

struct fixture {
	struct nf_io *io;
	struct nf_io *lower; /* under the fault wrapper */
	char *dir;
};

static int setup_memory(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(nf_io_mem_create(0, &f->io), 0);
	*state = f;
	return 0;
}

static int setup_fault(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(nf_io_mem_create(0, &f->lower), 0);
	assert_int_equal(nf_io_fault_create(f->lower, &f->io), 0);
	*state = f;
	return 0;
}

static int setup_disk_in(void **state, const char *base)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->dir = make_tmpdir_in(base);
	assert_int_equal(nf_io_uring_create(f->dir, &f->io), 0);
	*state = f;
	return 0;
}

static int setup_disk(void **state)
{
	return setup_disk_in(state, NULL);
}

static int setup_tmpfs(void **state)
{
	return setup_disk_in(state, TMPFS);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nf_io_destroy(f->io);
	nf_io_destroy(f->lower);
	if (f->dir != NULL)
		remove_tree(f->dir);
	free(f->dir);
	free(f);
	return 0;
}

static struct nf_io *io_of(void **state)
{
	return ((struct fixture *)*state)->io;
}

/* ---- files ---- */

static void create_and_open(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file;

	assert_int_equal(nf_io_open(io, "a", 0, &file), -ENOENT);
	assert_int_equal(nf_io_open(io, "d/a", NF_OPEN_CREATE, &file), -ENOENT);
	nf_io_close(create_file(io, "a"));
	assert_int_equal(nf_io_open(io, "a", NF_OPEN_CREATE, &file), -EEXIST);
	assert_int_equal(nf_io_mkdir(io, "d"), 0);
	assert_int_equal(nf_io_open(io, "d", 0, &file), -EISDIR);
	assert_int_equal(nf_io_open(io, "d", NF_OPEN_READONLY, &file), -EISDIR);
	nf_io_close(create_file(io, "d/a"));
	file = open_file(io, "d/a");
	assert_int_equal(size_of(file), 0);
	nf_io_close(file);
	nf_io_close(NULL);
}

static void write_and_read(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	put(io, file, 0, BLOCK, 1);
	put(io, file, 5 * BLOCK, 3 * BLOCK, 2);
	assert_int_equal(size_of(file), 8 * BLOCK);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_true(holds_zeros(io, file, BLOCK, 4 * BLOCK));
	assert_true(holds(io, file, 5 * BLOCK, 3 * BLOCK, 2));
	put(io, file, 6 * BLOCK, PAGE, 3);
	flush_file(io, file);
	nf_io_close(file);

	file = open_file(io, "a");
	assert_true(holds(io, file, 5 * BLOCK, BLOCK, 2));
	assert_true(holds(io, file, 6 * BLOCK, PAGE, 3));
	nf_io_close(file);
}

static int read_at(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size)
{
	void *buf = buffer(size);
	int rc = nf_io_run_one(io, NF_IO_READ, file, offset, buf, size);

	free(buf);
	return rc;
}

static void read_past_end(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	assert_int_equal(read_at(io, file, 0, PAGE), -ENODATA);
	put(io, file, 0, BLOCK, 1);
	assert_int_equal(read_at(io, file, 0, BLOCK), 0);
	assert_int_equal(read_at(io, file, PAGE, BLOCK), -ENODATA);
	assert_int_equal(read_at(io, file, BLOCK, PAGE), -ENODATA);
	assert_int_equal(read_at(io, file, 100 * BLOCK, PAGE), -ENODATA);
	/* An end that is not aligned. */
	assert_int_equal(nf_io_truncate(file, PAGE + 100), 0);
	assert_int_equal(read_at(io, file, 0, PAGE), 0);
	assert_int_equal(read_at(io, file, 0, BLOCK), -ENODATA);
	assert_int_equal(read_at(io, file, PAGE, PAGE), -ENODATA);
	nf_io_close(file);
}

static void allocate(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	assert_int_equal(nf_io_allocate(file, 0, 0), 0);
	assert_int_equal(size_of(file), 0);
	assert_int_equal(nf_io_allocate(file, 0, 1 << 20), 0);
	assert_int_equal(size_of(file), 1 << 20);
	assert_true(holds_zeros(io, file, 0, 1 << 20));
	put(io, file, BLOCK, BLOCK, 7);
	assert_int_equal(nf_io_allocate(file, 0, 1 << 19), 0);
	assert_int_equal(size_of(file), 1 << 20);
	assert_true(holds(io, file, BLOCK, BLOCK, 7));
	assert_int_equal(nf_io_allocate(file, UINT64_MAX - 10, 100), -EFBIG);
	nf_io_close(file);
}

static void truncate_file(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	put(io, file, 0, 4 * BLOCK, 1);
	assert_int_equal(nf_io_truncate(file, BLOCK + 512), 0);
	assert_int_equal(size_of(file), BLOCK + 512);
	assert_int_equal(nf_io_truncate(file, 4 * BLOCK), 0);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_true(holds_zeros(io, file, 2 * BLOCK, 2 * BLOCK));
	uint8_t *buf = buffer(PAGE);
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, BLOCK, buf, PAGE), 0);
	assert_false(is_zero(buf, 512));
	assert_true(is_zero(buf + 512, PAGE - 512));
	free(buf);
	assert_int_equal(nf_io_truncate(file, 0), 0);
	assert_int_equal(size_of(file), 0);
	nf_io_close(file);
}

static void punch(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	put(io, file, 0, BLOCK, 1);
	put(io, file, BLOCK, 2 * BLOCK, 2);
	put(io, file, 3 * BLOCK, BLOCK, 3);
	assert_int_equal(nf_io_punch(file, BLOCK, 2 * BLOCK), 0);
	assert_int_equal(size_of(file), 4 * BLOCK);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_true(holds_zeros(io, file, BLOCK, 2 * BLOCK));
	assert_true(holds(io, file, 3 * BLOCK, BLOCK, 3));
	/* Not aligned, and past the end. */
	assert_int_equal(nf_io_punch(file, 3 * BLOCK + 100, 10 * BLOCK), 0);
	assert_int_equal(size_of(file), 4 * BLOCK);
	uint8_t *buf = buffer(BLOCK);
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 3 * BLOCK, buf, BLOCK), 0);
	assert_true(is_filled(buf, 100, 3));
	assert_true(is_zero(buf + 100, BLOCK - 100));
	free(buf);
	nf_io_close(file);
}

static void read_only(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	put(io, file, 0, BLOCK, 1);
	nf_io_close(file);
	assert_int_equal(nf_io_open(io, "a", NF_OPEN_READONLY, &file), 0);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_int_equal(nf_io_allocate(file, 0, BLOCK), -EBADF);
	assert_int_equal(nf_io_truncate(file, 0), -EBADF);
	assert_int_equal(nf_io_punch(file, 0, BLOCK), -EBADF);
	nf_io_close(file);
}

/* ---- batches ---- */

#define WIDE NF_IO_MAX_BATCH

static void empty_batch(void **state)
{
	assert_int_equal(nf_io_run(io_of(state), NULL, 0), 0);
}

static void wide_batch(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	struct nf_io_op ops[WIDE];
	uint8_t *buf = buffer(WIDE * BLOCK);

	memset(ops, 0, sizeof(ops));
	for (unsigned i = 0; i < WIDE; i++) {
		fill(buf + i * BLOCK, BLOCK, i);
		ops[i] = (struct nf_io_op){.kind = NF_IO_WRITE,
					   .file = file,
					   .offset = (WIDE - 1 - i) * BLOCK,
					   .buf = buf + i * BLOCK,
					   .size = BLOCK,
					   .result = -1};
	}
	assert_int_equal(nf_io_run(io, ops, WIDE), 0);
	memset(buf, 0, WIDE * BLOCK);
	for (unsigned i = 0; i < WIDE; i++) {
		assert_int_equal(ops[i].result, 0);
		ops[i].kind = NF_IO_READ;
		ops[i].result = -1;
	}
	assert_int_equal(nf_io_run(io, ops, WIDE), 0);
	for (unsigned i = 0; i < WIDE; i++)
		assert_true(is_filled(buf + i * BLOCK, BLOCK, i));
	free(buf);
	nf_io_close(file);
}

/* Every op of the chain writes the same place, so its order shows in what is left; a second chain makes it a wide batch. */
static void chains_are_in_order(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	struct nf_io_op ops[WIDE];
	uint8_t *buf = buffer(WIDE * PAGE);

	for (unsigned i = 0; i < WIDE; i++) {
		bool second = i >= WIDE / 2;
		fill(buf + i * PAGE, PAGE, i);
		ops[i] = (struct nf_io_op){.kind = NF_IO_WRITE,
					   .then_next = i != WIDE / 2 - 1,
					   .file = file,
					   .offset = second ? BLOCK : 0,
					   .buf = buf + i * PAGE,
					   .size = PAGE};
	}
	ops[WIDE - 1].kind = NF_IO_FSYNC;
	assert_int_equal(nf_io_run(io, ops, WIDE), 0);
	assert_true(holds(io, file, 0, PAGE, WIDE / 2 - 1));
	assert_true(holds(io, file, BLOCK, PAGE, WIDE - 2));
	free(buf);
	nf_io_close(file);
}

static struct nf_io_op op(enum nf_io_kind kind, struct nf_file *file, uint64_t offset, void *buf, size_t size, bool then_next)
{
	return (struct nf_io_op){
		.kind = kind, .then_next = then_next, .file = file, .offset = offset, .buf = buf, .size = size, .result = -1};
}

static void failed_chain_is_cancelled(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	uint8_t *in = buffer(BLOCK), *out = buffer(BLOCK);

	put(io, file, 0, BLOCK, 1);
	fill(out, BLOCK, 2);
	struct nf_io_op ops[] = {
		/* good, past the end, cancelled, cancelled */
		op(NF_IO_WRITE, file, BLOCK, out, BLOCK, true),
		op(NF_IO_READ, file, 9 * BLOCK, in, BLOCK, true),
		op(NF_IO_WRITE, file, 0, out, BLOCK, true),
		op(NF_IO_FSYNC, file, 0, NULL, 0, false),
		/* another chain */
		op(NF_IO_WRITE, file, 2 * BLOCK, out, BLOCK, true),
		op(NF_IO_FSYNC, file, 0, NULL, 0, false),
		/* partly past the end, and the chain stops there */
		op(NF_IO_READ, file, 8 * BLOCK, in, BLOCK, true),
		op(NF_IO_WRITE, file, 0, out, BLOCK, true),
	};
	static const int wanted[] = {0, -ENODATA, -ECANCELED, -ECANCELED, 0, 0, -ENODATA, -ECANCELED};
	assert_int_equal(nf_io_run(io, ops, NF_ARRAY_LEN(ops)), -ENODATA);
	for (size_t i = 0; i < NF_ARRAY_LEN(ops); i++)
		assert_int_equal(ops[i].result, wanted[i]);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_true(holds(io, file, BLOCK, BLOCK, 2));
	assert_true(holds(io, file, 2 * BLOCK, BLOCK, 2));

	/* The same as a single chain. */
	for (size_t i = 0; i < 4; i++)
		ops[i].result = -1;
	assert_int_equal(nf_io_run(io, ops, 4), -ENODATA);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ops[i].result, wanted[i]);
	assert_true(holds(io, file, 0, BLOCK, 1));
	free(in);
	free(out);
	nf_io_close(file);
}

static void large_transfers(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	size_t size = 4 << 20;
	uint8_t *buf = buffer(2 * size);

	fill(buf, size, 1);
	fill(buf + size, size, 2);
	struct nf_io_op ops[] = {
		op(NF_IO_WRITE, file, 0, buf, size, false),
		op(NF_IO_WRITE, file, size, buf + size, size, false),
	};
	assert_int_equal(nf_io_run(io, ops, 2), 0);
	memset(buf, 0, 2 * size);
	ops[0].kind = ops[1].kind = NF_IO_READ;
	assert_int_equal(nf_io_run(io, ops, 2), 0);
	assert_true(is_filled(buf, size, 1));
	assert_true(is_filled(buf + size, size, 2));
	free(buf);
	nf_io_close(file);
}

static void run_cached(struct nf_io *io, enum nf_io_kind kind, struct nf_file *file, uint64_t offset, void *buf, size_t size)
{
	struct nf_io_op one = {.kind = kind, .cached = true, .file = file, .offset = offset, .buf = buf, .size = size};

	assert_int_equal(nf_io_run(io, &one, 1), 0);
}

static void put_cached(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size, uint32_t tag)
{
	uint8_t *buf = buffer(size);

	fill(buf, size, tag);
	run_cached(io, NF_IO_WRITE, file, offset, buf, size);
	free(buf);
}

static bool holds_cached(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size, uint32_t tag)
{
	uint8_t *buf = buffer(size);

	run_cached(io, NF_IO_READ, file, offset, buf, size);
	bool good = is_filled(buf, size, tag);
	free(buf);
	return good;
}

/* Whichever way something was written, both ways of reading see it, and so it stays. */
static void cached_and_not_cached_agree(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	assert_int_equal(nf_io_allocate(file, 0, 16 * BLOCK), 0);
	put_cached(io, file, 0, BLOCK, 1);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_true(holds_cached(io, file, 0, BLOCK, 1));
	/* The neighbour is in the cache by now, as zeros. */
	uint8_t *buf = buffer(4 * BLOCK);
	run_cached(io, NF_IO_READ, file, 0, buf, 4 * BLOCK);
	assert_true(is_zero(buf + BLOCK, 3 * BLOCK));
	free(buf);
	put(io, file, BLOCK, BLOCK, 2);
	assert_true(holds_cached(io, file, BLOCK, BLOCK, 2));
	put(io, file, 0, BLOCK, 3);
	assert_true(holds_cached(io, file, 0, BLOCK, 3));
	put_cached(io, file, BLOCK, BLOCK, 4);
	flush_file(io, file);
	assert_int_equal(nf_io_punch(file, 2 * BLOCK, BLOCK), 0);
	nf_io_close(file);
	assert_int_equal(nf_io_open(io, "a", NF_OPEN_READONLY, &file), 0);
	assert_true(holds_cached(io, file, 0, BLOCK, 3));
	assert_true(holds(io, file, BLOCK, BLOCK, 4));
	assert_true(holds_cached(io, file, BLOCK, BLOCK, 4));
	nf_io_close(file);
}

static void a_wide_batch_may_be_cached_in_part(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	struct nf_io_op ops[WIDE];
	uint8_t *buf = buffer(WIDE * BLOCK);

	for (unsigned i = 0; i < WIDE; i++) {
		fill(buf + i * BLOCK, BLOCK, i);
		ops[i] = op(NF_IO_WRITE, file, i * BLOCK, buf + i * BLOCK, BLOCK, false);
		ops[i].cached = i % 3 == 0;
	}
	assert_int_equal(nf_io_run(io, ops, WIDE), 0);
	memset(buf, 0, WIDE * BLOCK);
	for (unsigned i = 0; i < WIDE; i++) {
		ops[i].kind = NF_IO_READ;
		ops[i].cached = i % 2 == 0;
	}
	assert_int_equal(nf_io_run(io, ops, WIDE), 0);
	for (unsigned i = 0; i < WIDE; i++)
		assert_true(is_filled(buf + i * BLOCK, BLOCK, i));
	struct nf_io_op beyond = op(NF_IO_READ, file, WIDE * BLOCK, buf, BLOCK, false);
	beyond.cached = true;
	assert_int_equal(nf_io_run(io, &beyond, 1), -ENODATA);
	free(buf);
	nf_io_close(file);
}

/* ---- names ---- */

static void unlink_keeps_open_files(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");

	put(io, file, 0, BLOCK, 1);
	assert_int_equal(nf_io_unlink(io, "a"), 0);
	assert_false(exists(io, "a"));
	assert_int_equal(nf_io_unlink(io, "a"), -ENOENT);
	nf_io_close(create_file(io, "a"));
	put(io, file, BLOCK, BLOCK, 2);
	assert_true(holds(io, file, 0, BLOCK, 1));
	assert_true(holds(io, file, BLOCK, BLOCK, 2));
	nf_io_close(file);
	assert_int_equal(nf_io_mkdir(io, "d"), 0);
	assert_int_equal(nf_io_unlink(io, "d"), -EISDIR);
}

static void rename_file(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *a = create_file(io, "a");
	struct nf_file *b = create_file(io, "b");

	put(io, a, 0, BLOCK, 1);
	put(io, b, 0, BLOCK, 2);
	assert_int_equal(nf_io_rename(io, "x", "y"), -ENOENT);
	assert_int_equal(nf_io_rename(io, "a", "no/y"), -ENOENT);
	assert_int_equal(nf_io_rename(io, "a", "a"), 0);
	assert_int_equal(nf_io_rename(io, "a", "b"), 0);
	assert_false(exists(io, "a"));
	assert_true(holds(io, a, 0, BLOCK, 1));
	assert_true(holds(io, b, 0, BLOCK, 2)); /* replaced, and open still */
	nf_io_close(a);
	nf_io_close(b);
	b = open_file(io, "b");
	assert_true(holds(io, b, 0, BLOCK, 1));
	nf_io_close(b);

	assert_int_equal(nf_io_mkdir(io, "d"), 0);
	assert_int_equal(nf_io_rename(io, "b", "d"), -EISDIR);
	assert_int_equal(nf_io_rename(io, "d", "b"), -ENOTDIR);
	assert_int_equal(nf_io_rename(io, "b", "d/c"), 0);
	assert_true(exists(io, "d/c"));
	assert_false(exists(io, "b"));
	assert_int_equal(nf_io_rename(io, "d", "e"), 0);
	assert_true(exists(io, "e/c"));
	assert_int_equal(nf_io_mkdir(io, "f"), 0);
	assert_int_equal(nf_io_rename(io, "f", "e"), -ENOTEMPTY);
	assert_int_equal(nf_io_rename(io, "e", "f"), 0);
	assert_true(exists(io, "f/c"));
}

static int stop_at_first(void *arg, const char *name)
{
	assert_non_null(name);
	(*(int *)arg)++;
	return -EINTR;
}

static int unlink_each(void *arg, const char *name)
{
	return nf_io_unlink(arg, name);
}

static void directories(void **state)
{
	struct nf_io *io = io_of(state);
	char names[100];
	int calls = 0;

	list_names(io, ".", names, sizeof(names));
	assert_string_equal(names, "");
	assert_int_equal(nf_io_mkdir(io, "d"), 0);
	assert_int_equal(nf_io_mkdir(io, "d"), -EEXIST);
	assert_int_equal(nf_io_mkdir(io, "d/e"), 0);
	assert_int_equal(nf_io_mkdir(io, "x/e"), -ENOENT);
	nf_io_close(create_file(io, "b"));
	nf_io_close(create_file(io, "d/a"));
	nf_io_close(create_file(io, "d/e/f"));
	list_names(io, ".", names, sizeof(names));
	assert_string_equal(names, "b d");
	list_names(io, "d", names, sizeof(names));
	assert_string_equal(names, "a e");
	list_names(io, "d/e", names, sizeof(names));
	assert_string_equal(names, "f");
	assert_int_equal(nf_io_list(io, "d", stop_at_first, &calls), -EINTR);
	assert_int_equal(calls, 1);
	assert_int_equal(nf_io_list(io, "x", stop_at_first, &calls), -ENOENT);
	assert_int_equal(nf_io_list(io, "b", stop_at_first, &calls), -ENOTDIR);
	assert_int_equal(nf_io_sync_dir(io, "."), 0);
	assert_int_equal(nf_io_sync_dir(io, "d/e"), 0);
	assert_int_equal(nf_io_sync_dir(io, "x"), -ENOENT);
	assert_int_equal(nf_io_sync_dir(io, "b"), -ENOTDIR);
}

/* A callback may use the backend, also on what it is given. */
static void unlink_while_listing(void **state)
{
	struct nf_io *io = io_of(state);
	char names[10];

	nf_io_close(create_file(io, "a"));
	nf_io_close(create_file(io, "b"));
	assert_int_equal(nf_io_list(io, ".", unlink_each, io), 0);
	list_names(io, ".", names, sizeof(names));
	assert_string_equal(names, "");
}

static void free_bytes(void **state)
{
	uint64_t free_size, total;

	assert_int_equal(nf_io_free_bytes(io_of(state), &free_size, &total), 0);
	assert_true(free_size > 0);
	assert_true(free_size <= total);
}

/* ---- against a plain array ---- */

#define MODEL_PAGES 64
#define MODEL_STEPS 2000

struct model {
	uint8_t bytes[MODEL_PAGES * PAGE];
	uint64_t size;
};

static void model_check(struct nf_io *io, struct nf_file *file, const struct model *model, uint8_t *buf)
{
	size_t whole = model->size / PAGE * PAGE;

	assert_int_equal(size_of(file), model->size);
	assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, buf, whole), 0);
	assert_memory_equal(buf, model->bytes, whole);
}

static void random_operations(void **state)
{
	struct nf_io *io = io_of(state);
	struct nf_file *file = create_file(io, "a");
	struct model *model = calloc(1, sizeof(*model));
	uint8_t *buf = buffer(sizeof(model->bytes));
	unsigned seed = 12345;

	for (unsigned step = 0; step < MODEL_STEPS; step++) {
		uint64_t offset = (uint64_t)(rand_r(&seed) % MODEL_PAGES) * PAGE;
		uint64_t room = sizeof(model->bytes) - offset;
		uint64_t pages = 1 + (uint64_t)rand_r(&seed) % 6;
		uint64_t size = NF_MIN(pages * PAGE, room);
		uint64_t odd = 1 + (uint64_t)rand_r(&seed) % size;
		switch (rand_r(&seed) % 8) {
		case 0:
			assert_int_equal(nf_io_truncate(file, offset + odd), 0);
			if (offset + odd < model->size)
				memset(model->bytes + offset + odd, 0, sizeof(model->bytes) - offset - odd);
			model->size = offset + odd;
			break;
		case 1:
			assert_int_equal(nf_io_punch(file, offset + odd / 2, odd / 2), 0);
			memset(model->bytes + offset + odd / 2, 0, odd / 2);
			break;
		case 2:
			assert_int_equal(nf_io_allocate(file, offset, odd), 0);
			model->size = NF_MAX(model->size, offset + odd);
			break;
		case 3: flush_file(io, file); break;
		default:
			fill(model->bytes + offset, size, step);
			memcpy(buf, model->bytes + offset, size);
			assert_int_equal(nf_io_run_one(io, NF_IO_WRITE, file, offset, buf, size), 0);
			model->size = NF_MAX(model->size, offset + size);
			break;
		}
		if (step % 8 == 0)
			model_check(io, file, model, buf);
	}
	free(buf);
	free(model);
	nf_io_close(file);
}

#define ON(setup, test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ALL(setup)                                                                                                               \
	{                                                                                                                        \
		ON(setup, create_and_open), ON(setup, write_and_read), ON(setup, read_past_end), ON(setup, allocate),            \
			ON(setup, truncate_file), ON(setup, punch), ON(setup, read_only), ON(setup, empty_batch),                \
			ON(setup, wide_batch), ON(setup, chains_are_in_order), ON(setup, failed_chain_is_cancelled),             \
			ON(setup, large_transfers), ON(setup, cached_and_not_cached_agree),                                      \
			ON(setup, a_wide_batch_may_be_cached_in_part), ON(setup, unlink_keeps_open_files),                       \
			ON(setup, rename_file),                                                                                  \
			ON(setup, directories), ON(setup, unlink_while_listing), ON(setup, free_bytes),                          \
			ON(setup, random_operations),                                                                            \
	}

int main(void)
{
	const struct CMUnitTest memory[] = ALL(setup_memory);
	const struct CMUnitTest fault[] = ALL(setup_fault);
	const struct CMUnitTest disk[] = ALL(setup_disk);
	const struct CMUnitTest tmpfs[] = ALL(setup_tmpfs);
	int failed = cmocka_run_group_tests_name("memory", memory, NULL, NULL) +
		     cmocka_run_group_tests_name("fault wrapper", fault, NULL, NULL) +
		     cmocka_run_group_tests_name("disk", disk, NULL, NULL);

	if (access(TMPFS, W_OK) == 0)
		failed += cmocka_run_group_tests_name("tmpfs", tmpfs, NULL, NULL);
	else
		print_message("%s is not writable here: not tested on tmpfs\n", TMPFS);
	return failed;
}
