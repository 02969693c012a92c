/* The power-loss model of the memory backend: what was synced is there after every cut; what was not
 * is kept after some cuts, lost after others, and torn at sectors after others again.
 *
 * Each test runs one story under many seeds and counts what it sees. A count that must not be zero is as much a test as
 * one that must: a model that never loses anything would pass all the others. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#define SEEDS 400
#define SECTOR 512

static struct nf_io *new_io(void)
{
	struct nf_io *io;

	assert_int_equal(nf_io_mem_create(0, &io), 0);
	return io;
}

/* A file that is wholly durable, `pages` pages of fill(tag). */
static void make_durable(struct nf_io *io, const char *path, unsigned pages, uint32_t tag)
{
	struct nf_file *file = create_file(io, path);

	put(io, file, 0, pages * PAGE, tag);
	flush_file(io, file);
	nf_io_close(file);
	assert_int_equal(nf_io_sync_dir(io, "."), 0);
}

static bool file_holds(struct nf_io *io, const char *path, uint64_t offset, size_t size, uint32_t tag)
{
	struct nf_file *file = open_file(io, path);
	bool yes = holds(io, file, offset, size, tag);

	nf_io_close(file);
	return yes;
}

static uint64_t file_size(struct nf_io *io, const char *path)
{
	struct nf_file *file = open_file(io, path);
	uint64_t size = size_of(file);

	nf_io_close(file);
	return size;
}

/* ---- content ---- */

static void synced_survives(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 8, 1);
		struct nf_file *file = open_file(io, "a");
		put(io, file, 2 * PAGE, 2 * PAGE, 2);
		put(io, file, 8 * PAGE, 2 * PAGE, 3);
		flush_file(io, file);
		put(io, file, 0, PAGE, 4); /* this one not */
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		assert_int_equal(file_size(io, "a"), 10 * PAGE);
		assert_true(file_holds(io, "a", 2 * PAGE, 2 * PAGE, 2));
		assert_true(file_holds(io, "a", 8 * PAGE, 2 * PAGE, 3));
		/* And it stays so through a second cut. */
		nf_io_mem_power_cut(io, seed + 1);
		assert_true(file_holds(io, "a", 2 * PAGE, 2 * PAGE, 2));
		nf_io_destroy(io);
	}
}

/* Of an overwritten range: each sector is old or new. Returns how many are new. */
static unsigned count_new_sectors(const uint8_t *bytes, const uint8_t *old, const uint8_t *new, size_t size)
{
	unsigned count = 0;

	for (size_t at = 0; at < size; at += SECTOR) {
		bool is_new = memcmp(bytes + at, new + at, SECTOR) == 0;
		assert_true(is_new || memcmp(bytes + at, old + at, SECTOR) == 0);
		count += is_new;
	}
	return count;
}

static void unsynced_write_is_kept_lost_or_torn(void **state)
{
	unsigned kept = 0, lost = 0, torn = 0;
	uint8_t *old = buffer(BLOCK), *new = buffer(BLOCK), *now = buffer(BLOCK);

	(void)state;
	fill(old, BLOCK, 1);
	fill(new, BLOCK, 2);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 2, 1);
		struct nf_file *file = open_file(io, "a");
		put(io, file, 0, BLOCK, 2);
		assert_true(holds(io, file, 0, BLOCK, 2));
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		file = open_file(io, "a");
		assert_int_equal(size_of(file), BLOCK);
		assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, now, BLOCK), 0);
		nf_io_close(file);
		unsigned count = count_new_sectors(now, old, new, BLOCK);
		kept += count == BLOCK / SECTOR;
		lost += count == 0;
		torn += count > 0 && count < BLOCK / SECTOR;
		nf_io_destroy(io);
	}
	assert_true(kept > SEEDS / 10);
	assert_true(lost > SEEDS / 10);
	assert_true(torn > SEEDS / 20);
	free(old);
	free(new);
	free(now);
}

/* Writes are not kept in order: the second may be there without the first. */
static void writes_are_reordered(void **state)
{
	unsigned only_first = 0, only_second = 0, both = 0, none = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 2, 1);
		struct nf_file *file = open_file(io, "a");
		put(io, file, 0, PAGE, 2);
		put(io, file, PAGE, PAGE, 3);
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		bool first = file_holds(io, "a", 0, PAGE, 2);
		bool second = file_holds(io, "a", PAGE, PAGE, 3);
		only_first += first && !second;
		only_second += second && !first;
		both += first && second;
		none += !first && !second;
		nf_io_destroy(io);
	}
	assert_true(only_first > 0 && only_second > 0 && both > 0 && none > 0);
}

/* Two writes of the same place: any of old, first, second; never something else. */
static void overwrites(void **state)
{
	unsigned seen[4] = {0};

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 1, 1);
		struct nf_file *file = open_file(io, "a");
		put(io, file, 0, PAGE, 2);
		put(io, file, 0, PAGE, 3);
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		for (uint32_t tag = 1; tag <= 3; tag++)
			seen[tag] += file_holds(io, "a", 0, PAGE, tag);
		nf_io_destroy(io);
	}
	assert_true(seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

static void unsynced_size_changes(void **state)
{
	unsigned grown = 0, short_of = 0, cut = 0, uncut = 0, punched = 0, whole = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "grow", 1, 1);
		make_durable(io, "cut", 4, 1);
		make_durable(io, "punch", 4, 1);
		struct nf_file *file = open_file(io, "grow");
		assert_int_equal(nf_io_allocate(file, PAGE, 7 * PAGE), 0);
		nf_io_close(file);
		file = open_file(io, "cut");
		assert_int_equal(nf_io_truncate(file, PAGE), 0);
		nf_io_close(file);
		file = open_file(io, "punch");
		assert_int_equal(nf_io_punch(file, PAGE, 2 * PAGE), 0);
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		assert_true(file_holds(io, "grow", 0, PAGE, 1));
		grown += file_size(io, "grow") == 8 * PAGE;
		short_of += file_size(io, "grow") == PAGE;
		assert_true(file_holds(io, "cut", 0, PAGE, 1));
		cut += file_size(io, "cut") == PAGE;
		uncut += file_holds(io, "cut", 0, 4 * PAGE, 1);
		assert_int_equal(file_size(io, "punch"), 4 * PAGE);
		file = open_file(io, "punch");
		punched += holds_zeros(io, file, PAGE, 2 * PAGE);
		whole += holds(io, file, 0, 4 * PAGE, 1);
		nf_io_close(file);
		nf_io_destroy(io);
	}
	assert_true(grown > 0 && short_of > 0 && cut > 0 && uncut > 0 && punched > 0 && whole > 0);
	assert_int_equal(cut + uncut, SEEDS);
}

/* Only a flush that is chained behind a write covers it. */
static void only_chained_flush_covers(void **state)
{
	unsigned lost = 0;
	void *buf = buffer(PAGE);

	(void)state;
	fill(buf, PAGE, 2);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "chained", 1, 1);
		make_durable(io, "loose", 1, 1);
		struct nf_file *chained = open_file(io, "chained");
		struct nf_file *loose = open_file(io, "loose");
		struct nf_io_op ops[] = {
			{.kind = NF_IO_WRITE, .then_next = true, .file = chained, .buf = buf, .size = PAGE},
			{.kind = NF_IO_FSYNC, .file = chained},
			{.kind = NF_IO_WRITE, .file = loose, .buf = buf, .size = PAGE},
			{.kind = NF_IO_FSYNC, .file = loose},
		};
		assert_int_equal(nf_io_run(io, ops, NF_ARRAY_LEN(ops)), 0);
		nf_io_close(chained);
		nf_io_close(loose);
		nf_io_mem_power_cut(io, seed);
		assert_true(file_holds(io, "chained", 0, PAGE, 2));
		lost += !file_holds(io, "loose", 0, PAGE, 2);
		nf_io_destroy(io);
	}
	assert_true(lost > 0);
	free(buf);
}

/* What waits is bounded: the oldest is written back as a kernel would, and what is new can still be lost. */
static void much_unsynced(void **state)
{
	const unsigned blocks = 16384; /* 128 MiB */
	unsigned newest_lost = 0;
	void *buf = buffer(BLOCK);

	(void)state;
	fill(buf, BLOCK, 2);
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct nf_io *io = new_io();
		nf_io_close(create_file(io, "a"));
		assert_int_equal(nf_io_sync_dir(io, "."), 0);
		struct nf_file *file = open_file(io, "a");
		for (unsigned i = 0; i < blocks; i++)
			assert_int_equal(nf_io_run_one(io, NF_IO_WRITE, file, i * (uint64_t)BLOCK, buf, BLOCK), 0);
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		assert_true(file_holds(io, "a", 0, BLOCK, 2));
		newest_lost += !file_holds(io, "a", (blocks - 1) * (uint64_t)BLOCK, BLOCK, 2);
		nf_io_destroy(io);
	}
	assert_true(newest_lost > 0);
	free(buf);
}

static void same_seed_same_end(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		uint8_t *ends[2];
		for (unsigned run = 0; run < 2; run++) {
			struct nf_io *io = new_io();
			make_durable(io, "a", 8, 1);
			struct nf_file *file = open_file(io, "a");
			for (uint32_t i = 0; i < 8; i++)
				put(io, file, i * PAGE, PAGE, i + 2);
			nf_io_close(file);
			nf_io_mem_power_cut(io, seed);
			ends[run] = buffer(8 * PAGE);
			file = open_file(io, "a");
			assert_int_equal(nf_io_run_one(io, NF_IO_READ, file, 0, ends[run], 8 * PAGE), 0);
			nf_io_close(file);
			nf_io_destroy(io);
		}
		assert_memory_equal(ends[0], ends[1], 8 * PAGE);
		free(ends[0]);
		free(ends[1]);
	}
}

/* ---- names ---- */

static void new_file_needs_its_directory(void **state)
{
	unsigned there = 0, gone = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		struct nf_file *file = create_file(io, "a");
		put(io, file, 0, BLOCK, 1);
		flush_file(io, file);
		nf_io_close(file);
		nf_io_mem_power_cut(io, seed);
		if (exists(io, "a")) {
			there++;
			assert_true(file_holds(io, "a", 0, BLOCK, 1));
		} else {
			gone++;
		}
		nf_io_destroy(io);
	}
	assert_true(there > 0 && gone > 0);
}

static void synced_name_is_not_content(void **state)
{
	unsigned empty = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		struct nf_file *file = create_file(io, "a");
		put(io, file, 0, BLOCK, 1);
		nf_io_close(file);
		assert_int_equal(nf_io_sync_dir(io, "."), 0);
		nf_io_mem_power_cut(io, seed);
		assert_true(exists(io, "a"));
		empty += file_size(io, "a") == 0;
		nf_io_destroy(io);
	}
	assert_true(empty > 0);
}

static void rename_may_revert(void **state)
{
	unsigned old = 0, renamed = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 1, 1);
		make_durable(io, "b", 1, 2);
		assert_int_equal(nf_io_rename(io, "a", "b"), 0);
		nf_io_mem_power_cut(io, seed);
		/* One or the other, whole. */
		assert_true(exists(io, "b"));
		if (exists(io, "a")) {
			old++;
			assert_true(file_holds(io, "a", 0, PAGE, 1));
			assert_true(file_holds(io, "b", 0, PAGE, 2));
		} else {
			renamed++;
			assert_true(file_holds(io, "b", 0, PAGE, 1));
		}
		/* A sync makes it final. */
		if (exists(io, "a"))
			assert_int_equal(nf_io_rename(io, "a", "b"), 0);
		assert_int_equal(nf_io_sync_dir(io, "."), 0);
		nf_io_mem_power_cut(io, seed + 1);
		assert_false(exists(io, "a"));
		assert_true(file_holds(io, "b", 0, PAGE, 1));
		nf_io_destroy(io);
	}
	assert_true(old > 0 && renamed > 0);
}

static void unlink_may_revert(void **state)
{
	unsigned back = 0, gone = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 1, 1);
		assert_int_equal(nf_io_unlink(io, "a"), 0);
		nf_io_mem_power_cut(io, seed);
		if (exists(io, "a")) {
			back++;
			assert_true(file_holds(io, "a", 0, PAGE, 1));
			assert_int_equal(nf_io_unlink(io, "a"), 0);
		} else {
			gone++;
		}
		assert_int_equal(nf_io_sync_dir(io, "."), 0);
		nf_io_mem_power_cut(io, seed + 1);
		assert_false(exists(io, "a"));
		nf_io_destroy(io);
	}
	assert_true(back > 0 && gone > 0);
}

/* Whatever is lost between, a file never has two names, and one that had a durable name has one still. */
static void many_renames(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	unsigned seen[NF_ARRAY_LEN(names)] = {0};

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		make_durable(io, "a", 1, 1);
		for (size_t i = 0; i + 1 < NF_ARRAY_LEN(names); i++)
			assert_int_equal(nf_io_rename(io, names[i], names[i + 1]), 0);
		nf_io_mem_power_cut(io, seed);
		unsigned count = 0;
		for (size_t i = 0; i < NF_ARRAY_LEN(names); i++) {
			bool here = exists(io, names[i]);
			count += here;
			seen[i] += here;
		}
		assert_int_equal(count, 1);
		nf_io_destroy(io);
	}
	assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

static void rename_between_directories(void **state)
{
	unsigned old = 0, renamed = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		assert_int_equal(nf_io_mkdir(io, "d"), 0);
		assert_int_equal(nf_io_mkdir(io, "e"), 0);
		make_durable(io, "d/a", 1, 1);
		assert_int_equal(nf_io_sync_dir(io, "d"), 0);
		assert_int_equal(nf_io_rename(io, "d/a", "e/b"), 0);
		nf_io_mem_power_cut(io, seed);
		bool reverted = exists(io, "d/a");
		assert_true(reverted != exists(io, "e/b"));
		old += reverted;
		renamed += !reverted;
		if (reverted)
			assert_int_equal(nf_io_rename(io, "d/a", "e/b"), 0);
		assert_int_equal(nf_io_sync_dir(io, seed % 2 == 0 ? "d" : "e"), 0);
		nf_io_mem_power_cut(io, seed + 1);
		assert_false(exists(io, "d/a"));
		assert_true(file_holds(io, "e/b", 0, PAGE, 1));
		nf_io_destroy(io);
	}
	assert_true(old > 0 && renamed > 0);
}

/* Syncing a directory keeps its names, not its own name in the directory above. */
static void directory_needs_its_parent(void **state)
{
	unsigned gone = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		assert_int_equal(nf_io_mkdir(io, "d"), 0);
		nf_io_close(create_file(io, "d/a"));
		assert_int_equal(nf_io_sync_dir(io, "d"), 0);
		nf_io_mem_power_cut(io, seed);
		char names[10];
		list_names(io, ".", names, sizeof(names));
		if (strcmp(names, "d") == 0)
			assert_true(exists(io, "d/a"));
		else
			gone++;
		nf_io_destroy(io);
	}
	assert_true(gone > 0);
}

/* A sync of one directory says nothing of another. */
static void sync_is_of_one_directory(void **state)
{
	unsigned gone = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct nf_io *io = new_io();
		assert_int_equal(nf_io_mkdir(io, "d"), 0);
		assert_int_equal(nf_io_mkdir(io, "e"), 0);
		assert_int_equal(nf_io_sync_dir(io, "."), 0);
		nf_io_close(create_file(io, "d/a"));
		nf_io_close(create_file(io, "e/a"));
		assert_int_equal(nf_io_sync_dir(io, "d"), 0);
		nf_io_mem_power_cut(io, seed);
		assert_true(exists(io, "d/a"));
		gone += !exists(io, "e/a");
		nf_io_destroy(io);
	}
	assert_true(gone > 0);
}

/* A random life of a few files, cut again and again: nothing leaks, nothing crashes, what was synced as a whole is there. */
static void long_life(void **state)
{
	struct nf_io *io = new_io();
	unsigned random = 7;

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		char a[] = "fa", b[] = "fa";
		a[1] = (char)('a' + rand_r(&random) % 6);
		b[1] = (char)('a' + rand_r(&random) % 6);
		struct nf_file *file;
		int rc = nf_io_open(io, a, 0, &file);
		if (rc == -ENOENT) {
			nf_io_close(create_file(io, a));
			continue;
		}
		assert_int_equal(rc, 0);
		switch (rand_r(&random) % 10) {
		case 0:
			assert_int_equal(nf_io_unlink(io, a), 0);
			put(io, file, 0, BLOCK, step);
			break;
		case 1: assert_int_equal(nf_io_rename(io, a, b), 0); break;
		case 2: flush_file(io, file); break;
		case 3: assert_int_equal(nf_io_sync_dir(io, "."), 0); break;
		case 4: assert_int_equal(nf_io_truncate(file, (uint64_t)(rand_r(&random) % 100000)), 0); break;
		case 5: assert_int_equal(nf_io_punch(file, (uint64_t)(rand_r(&random) % 100000), 10000), 0); break;
		default: put(io, file, (uint64_t)(rand_r(&random) % 16) * PAGE, BLOCK, step);
		}
		nf_io_close(file);
		if (step % 100 == 99) {
			struct nf_file *sure = create_file(io, "sure");
			put(io, sure, 0, BLOCK, step);
			flush_file(io, sure);
			nf_io_close(sure);
			assert_int_equal(nf_io_sync_dir(io, "."), 0);
			nf_io_mem_power_cut(io, step);
			assert_true(file_holds(io, "sure", 0, BLOCK, step));
			assert_int_equal(nf_io_unlink(io, "sure"), 0);
			assert_int_equal(nf_io_sync_dir(io, "."), 0);
		}
	}
	nf_io_destroy(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(synced_survives),
		cmocka_unit_test(unsynced_write_is_kept_lost_or_torn),
		cmocka_unit_test(writes_are_reordered),
		cmocka_unit_test(overwrites),
		cmocka_unit_test(unsynced_size_changes),
		cmocka_unit_test(only_chained_flush_covers),
		cmocka_unit_test(much_unsynced),
		cmocka_unit_test(same_seed_same_end),
		cmocka_unit_test(new_file_needs_its_directory),
		cmocka_unit_test(synced_name_is_not_content),
		cmocka_unit_test(rename_may_revert),
		cmocka_unit_test(unlink_may_revert),
		cmocka_unit_test(many_renames),
		cmocka_unit_test(rename_between_directories),
		cmocka_unit_test(directory_needs_its_parent),
		cmocka_unit_test(sync_is_of_one_directory),
		cmocka_unit_test(long_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
