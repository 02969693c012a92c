/* Blocks made from base and log: WAL made by hand, its index, and one page at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wal_build.h"
#include "walapply/decode/wa_reader.h"
#include "walapply/materialise/wa_batch.h"
#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"

#define SEGMENT (1u << 20)
#define BEGIN (7ull * SEGMENT)
#define SEGMENTS 3u
#define NEW_DB 6u

static const struct wa_locator rel_new = {1663, NEW_DB, 16384}; /* REL_A in the database copied from 5 */

struct scene {
	struct wal wal;
	struct wa_range range;
	struct wa_index indexes[SEGMENTS];
	uint8_t *bytes[SEGMENTS];
	uint8_t page[WA_PAGE_SIZE];
	struct wa_error error;
	unsigned reads;
	int read_status;
};

static int read_log(void *arg, struct nf_lsn at, uint8_t *page)
{
	struct scene *scene = arg;
	scene->reads++;
	if (scene->read_status < 0)
		return scene->read_status;
	assert_true(at.v % WA_PAGE_SIZE == 0 && at.v >= BEGIN && at.v < BEGIN + SEGMENTS * SEGMENT);
	memcpy(page, wal_byte(&scene->wal, at.v), WA_PAGE_SIZE);
	return 0;
}

static struct scene *scene_new(void)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	assert_non_null(scene);
	wal_start(&scene->wal, 15, SEGMENT, BEGIN, SEGMENTS * SEGMENT);
	return scene;
}

static void scene_free(struct scene *scene)
{
	for (unsigned i = 0; i < SEGMENTS; i++)
		free(scene->bytes[i]);
	wal_free(&scene->wal);
	free(scene);
}

/* Index what was written, a segment each, and take all of it as the range. */
static void scene_ready(struct scene *scene)
{
	struct wa_reader *reader;
	struct wa_index_builder *builders[SEGMENTS];
	const struct wa_record *record;
	const struct wa_reader_config config = {.segment_size = SEGMENT, .start = {BEGIN}, .find = true};
	assert_int_equal(wa_reader_new(&config, &reader), 0);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		const struct wa_index_config built = {
			.version = {.major = 15}, .base = {BEGIN + i * SEGMENT}, .limit = {BEGIN + (i + 1) * SEGMENT}};
		assert_int_equal(wa_index_builder_new(&built, &builders[i]), 0);
	}
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){BEGIN}, scene->wal.bytes, SEGMENTS * SEGMENT), 0);
	while (wa_reader_next(reader, &record) == 1)
		assert_int_equal(wa_index_add(builders[(record->lsn.v - BEGIN) / SEGMENT], record, &scene->error), 0);
	wa_reader_free(reader);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		size_t size;
		assert_int_equal(wa_index_finish(builders[i], &scene->bytes[i], &size), 0);
		assert_int_equal(wa_index_open(scene->bytes[i], size, &scene->indexes[i], &scene->error), 0);
		wa_index_builder_free(builders[i]);
	}
	scene->range = (struct wa_range){
		.version = {.major = 15},
		.segment_size = SEGMENT,
		.system_id = WAL_SYSTEM_ID,
		.from = {BEGIN},
		.to = {scene->wal.at},
		.indexes = scene->indexes,
		.index_count = SEGMENTS,
		.read_log = read_log,
		.arg = scene,
	};
}

static int read_pages(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes, uint64_t *there)
{
	int status = 0;
	for (size_t i = 0; i < count && status == 0; i++) {
		if (!(wanted[i / 64] >> i % 64 & 1))
			continue;
		status = read_log(arg, (struct nf_lsn){at.v + i * WA_PAGE_SIZE}, bytes + i * WA_PAGE_SIZE);
		there[i / 64] |= UINT64_C(1) << i % 64;
	}
	return status;
}

/* Each page is its base already. What the run returned. */
static int make_batch(struct scene *scene, struct wa_batch_block *blocks, size_t count)
{
	struct wa_batch *batch;
	assert_int_equal(wa_batch_new(&scene->range, blocks, count, &batch, &scene->error), 0);
	for (size_t i = 0; i < count; i++)
		if (!blocks[i].needs_base)
			memset(blocks[i].page, 0, WA_PAGE_SIZE); /* a record before the one that makes it would be refused */
	int status = wa_batch_run(batch, read_pages, scene, &scene->error);
	wa_batch_free(batch);
	return status;
}

/* One by one, and then as a batch, which must come to the same. */
static int make(struct scene *scene, struct wa_locator rel, unsigned fork, uint32_t blkno)
{
	uint8_t page[WA_PAGE_SIZE];
	struct wa_batch_block one = {.block = {.rel = rel, .fork = fork, .blkno = blkno}, .page = page};
	memcpy(page, scene->page, sizeof(page));
	int made = make_batch(scene, &one, 1);
	scene->reads = 0;
	int status = wa_materialise(&scene->range, &one.block, scene->page, NULL, &scene->error);
	assert_int_equal(made < 0 ? made : NF_MIN(one.status, 0), NF_MIN(status, 0));
	if (status >= 0)
		assert_memory_equal(page, scene->page, sizeof(page));
	return status;
}

/* A page of one byte between an empty header and the end. */
static void fill_page(uint8_t *page, uint8_t byte)
{
	memset(page, byte, WA_PAGE_SIZE);
	memset(page, 0, WA_PAGE_HEADER);
	wa_page_init(page, 0);
	wa_put16(page + 12, 1000);
	wa_put16(page + 14, 2000);
	memset(page + WA_PAGE_HEADER, byte, 1000 - WA_PAGE_HEADER);
	memset(page + 2000, byte, WA_PAGE_SIZE - 2000);
}

static uint64_t put_image(struct scene *scene, struct wa_locator rel, uint32_t blkno, uint8_t byte)
{
	uint8_t page[WA_PAGE_SIZE];
	struct rec rec;
	fill_page(page, byte);
	const struct rec_image image = {.bits = 2, .bytes = page, .size = WA_PAGE_SIZE};
	rec_start(&rec, WA_RMGR_XLOG, 0xB0, 0);
	rec_block_image(&rec, 0, &rel, 0, blkno, &image, NULL, 0);
	return wal_put(&scene->wal, &rec);
}

/* One byte at 3000 + at. */
static uint64_t put_byte(struct scene *scene, struct wa_locator rel, uint32_t blkno, unsigned at, uint8_t byte)
{
	uint8_t delta[5] = {0, 0, 1, 0, byte};
	struct rec rec;
	wa_put16(delta, (uint16_t)(3000 + at));
	rec_start(&rec, WA_RMGR_GENERIC, 0, 0);
	rec_block(&rec, 0, &rel, 0, blkno, delta, sizeof(delta));
	return wal_put(&scene->wal, &rec);
}

static uint64_t put_words(struct scene *scene, uint8_t rmid, uint8_t info, const uint32_t *words, unsigned count)
{
	struct rec rec;
	rec_start(&rec, rmid, info, 0);
	rec_main(&rec, words, count * sizeof(*words));
	return wal_put(&scene->wal, &rec);
}

static void put_truncate(struct scene *scene, struct wa_locator rel, uint32_t blocks)
{
	const uint32_t words[] = {blocks, rel.spc, rel.db, rel.rel, 7};
	put_words(scene, WA_RMGR_SMGR, 0x20, words, 5);
}

static void put_database_copy(struct scene *scene)
{
	const uint32_t words[] = {NEW_DB, 1663, 5, 1663};
	put_words(scene, WA_RMGR_DBASE, 0x00, words, 4);
}

/* Enough for the next record to be in the next segment. */
static void next_segment(struct scene *scene)
{
	uint64_t end = scene->wal.at / SEGMENT * SEGMENT + SEGMENT;
	while (scene->wal.at < end)
		wal_put_plain(&scene->wal, 5, 20000);
}

static void image_and_changes(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	put_byte(scene, REL_A, 7, 0, 'x'); /* before the image: does not matter, nor that there is no page for it */
	put_image(scene, REL_A, 7, 'i');
	uint64_t first = put_byte(scene, REL_A, 7, 1, 'a');
	next_segment(scene);
	put_byte(scene, REL_A, 8, 1, 'z'); /* another block */
	uint64_t second = put_byte(scene, REL_A, 7, 2, 'b');
	scene_ready(scene);
	memset(scene->page, 0xEE, WA_PAGE_SIZE); /* a torn base */
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 7), 1);
	assert_memory_equal(scene->page + 3000, "iabi", 4);
	assert_true(wa_page_lsn(scene->page).v == scene->wal.at);

	/* Up to the second change, and up to the first. */
	scene->range.to.v = second;
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 7), 1);
	assert_memory_equal(scene->page + 3000, "iaii", 4);
	scene->range.to.v = first;
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 7), 1);
	assert_memory_equal(scene->page + 3000, "iiii", 4);

	/* A base that is ahead of a range without images: what it has is left alone. */
	scene->range.from.v = first;
	scene->range.to.v = scene->wal.at;
	wa_put32(scene->page + 4, UINT32_MAX);
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 7), 0);
	assert_memory_equal(scene->page + 3000, "iiii", 4);
	scene_free(scene);
}

/* Without an image the base's LSN says what it has: those records are not even fetched, and all others are, wherever it lies. */
static void what_the_base_has(void **state)
{
	enum { COUNT = 10 };
	struct scene *scene = scene_new();
	uint64_t ends[COUNT];
	uint8_t base[WA_PAGE_SIZE], alone[WA_PAGE_SIZE];
	unsigned records;
	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		put_byte(scene, REL_A, 7, i, (uint8_t)('a' + i));
		ends[i] = scene->wal.at;
		if (i == 4)
			next_segment(scene);
		put_byte(scene, REL_A, 8, i, 'z');
	}
	scene_ready(scene);
	for (unsigned has = 0; has < COUNT; has++) {
		for (unsigned before = 0; before < 2; before++) { /* the LSN inside of record `has`: that one is to be applied */
			fill_page(base, 'p');
			for (unsigned i = 0; i < has + 1 - before; i++)
				base[3000 + i] = (uint8_t)('a' + i);
			wa_page_set_lsn(base, (struct nf_lsn){ends[has] - 8 * before});
			memcpy(alone, base, WA_PAGE_SIZE);
			struct wa_block block = {.rel = REL_A, .blkno = 7};
			assert_in_range(wa_materialise(&scene->range, &block, alone, &records, &scene->error), 0, 1);
			assert_int_equal(records, COUNT - has); /* of those that it has, only the last one */
			memcpy(scene->page, base, WA_PAGE_SIZE);
			assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 7), has + 1 < COUNT || before);
			assert_memory_equal(scene->page, alone, WA_PAGE_SIZE);
			assert_memory_equal(scene->page + 3000, "abcdefghijpp", 12);
		}
	}
	scene_free(scene);
}

static void untouched(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	put_image(scene, REL_A, 7, 'i');
	scene_ready(scene);
	fill_page(scene->page, 'b');
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 6), 0);
	assert_int_equal(make(scene, REL_B, WA_FORK_MAIN, 7), 0);
	assert_int_equal(make(scene, REL_A, WA_FORK_VM, 7), 0);
	assert_int_equal(scene->page[3000], 'b');
	assert_int_equal(scene->reads, 0);
	scene_free(scene);
}

static void checksums(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	put_image(scene, REL_A, 7, 'i');
	scene_ready(scene);
	scene->range.version.checksums = true;
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 7), 1);
	assert_int_equal(wa_get16(scene->page + 8), wa_page_checksum(scene->page, 7));
	scene_free(scene);
}

static void cut(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	put_image(scene, REL_A, 2, 'k');
	put_image(scene, REL_A, 5, 'g');
	put_byte(scene, REL_A, 6, 1, 'q'); /* cut off in the base already */
	next_segment(scene);
	put_truncate(scene, REL_A, 3);
	put_byte(scene, REL_A, 2, 1, 'a');
	scene_ready(scene);
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 2), 1);
	assert_memory_equal(scene->page + 3000, "kak", 3);
	/* Not one record of before: the block is as nobody has written it. */
	scene->reads = 0;
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 5), 1);
	assert_int_equal(scene->page[3000], 0);
	assert_int_equal(scene->reads, 0);
	memset(scene->page, 0, WA_PAGE_SIZE);
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 6), 0);
	scene_free(scene);
}

static void cut_of_map(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	put_truncate(scene, REL_A, 9);
	scene_ready(scene);
	wa_page_init(scene->page, 0);
	memset(scene->page + WA_PAGE_HEADER, 0xFF, WA_PAGE_SIZE - WA_PAGE_HEADER);
	assert_int_equal(make(scene, REL_A, WA_FORK_VM, 0), 1);
	assert_int_equal(scene->page[WA_PAGE_HEADER + 1], 0xFF); /* heap blocks 4 to 7 */
	assert_int_equal(scene->page[WA_PAGE_HEADER + 2], 0x03); /* 8 only */
	assert_int_equal(scene->page[WA_PAGE_HEADER + 3], 0);
	/* A page that is not there is not made. */
	memset(scene->page, 0, WA_PAGE_SIZE);
	assert_int_equal(make(scene, REL_A, WA_FORK_VM, 0), 0);
	scene_free(scene);
}

static void dropped_database(void **state)
{
	struct scene *scene = scene_new();
	const uint32_t drop[] = {5, 1, 1663};
	(void)state;
	put_image(scene, REL_A, 1, 'o');
	put_words(scene, WA_RMGR_DBASE, 0x20, drop, 3);
	scene_ready(scene);
	fill_page(scene->page, 'b');
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 1), 1);
	assert_int_equal(scene->page[3000], 0);
	scene_free(scene);
}

static unsigned named_new, named_old;

static int count_names(void *arg, const struct wa_block *block)
{
	(void)arg;
	named_new += block->rel.db == NEW_DB && block->blkno == 1;
	named_old += block->rel.db == 5 && block->blkno == 1;
	return 0;
}

static void copied_database(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	put_image(scene, REL_A, 1, 's');
	put_byte(scene, REL_A, 1, 1, 'a');
	next_segment(scene);
	put_database_copy(scene);
	put_byte(scene, REL_A, 1, 2, 'b'); /* the source goes on alone */
	put_byte(scene, rel_new, 1, 3, 'c');
	scene_ready(scene);
	assert_int_equal(make(scene, rel_new, WA_FORK_MAIN, 1), 1);
	assert_memory_equal(scene->page + 3000, "sasc", 4);
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 1), 1);
	assert_memory_equal(scene->page + 3000, "sabs", 4);
	named_new = named_old = 0;
	assert_int_equal(wa_range_blocks(&scene->range, count_names, NULL, &scene->error), 0);
	assert_int_equal(named_old, 3);
	assert_int_equal(named_new, 3);
	/* Before the copy nobody of the new name is there. */
	scene->range.to.v = BEGIN + SEGMENT;
	named_new = named_old = 0;
	assert_int_equal(wa_range_blocks(&scene->range, count_names, NULL, &scene->error), 0);
	assert_int_equal(named_old, 2);
	assert_int_equal(named_new, 0);
	scene_free(scene);
}

/* A record that begins on one page and ends pages later. */
static void split_record(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	while (scene->wal.at % WA_PAGE_SIZE < WA_PAGE_SIZE - 120)
		wal_put_plain(&scene->wal, 5, 8);
	uint64_t lsn = put_image(scene, REL_A, 3, 'p');
	scene_ready(scene);
	assert_true(lsn / WA_PAGE_SIZE != (scene->wal.at - 1) / WA_PAGE_SIZE);
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 3), 1);
	assert_int_equal(scene->page[8191], 'p');
	assert_int_equal(scene->reads, 2);
	assert_true(wa_page_lsn(scene->page).v == scene->wal.at);
	scene_free(scene);
}

static void what_does_not_fit(void **state)
{
	struct scene *scene = scene_new();
	(void)state;
	uint64_t lsn = put_image(scene, REL_A, 3, 'p');
	put_byte(scene, REL_A, 4, 1, 'a');
	scene_ready(scene);
	/* A change to a page that nobody made. */
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 4), -EBADMSG);
	/* The log has gone, or has other bytes now. */
	scene->read_status = -ENODATA;
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 3), -ENODATA);
	scene->read_status = 0;
	wal_byte(&scene->wal, lsn)[2000] ^= 1;
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 3), -EBADMSG);
	assert_true(scene->error.lsn.v == lsn);
	memset(wal_byte(&scene->wal, lsn), 0, 4);
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 3), -EBADMSG);
	scene_free(scene);
}

static void of_an_extension(void **state)
{
	struct scene *scene = scene_new();
	struct rec rec;
	const struct wa_locator rel = REL_A;
	(void)state;
	rec_start(&rec, 200, 0, 0);
	rec_block(&rec, 0, &rel, 0, 4, "x", 1);
	wal_put(&scene->wal, &rec);
	scene_ready(scene);
	fill_page(scene->page, 'b');
	assert_int_equal(make(scene, REL_A, WA_FORK_MAIN, 4), -ENOTSUP);
	scene_free(scene);
}

/* Blocks of two relations and several segments at once: each as it would be alone, one that fails by itself, and the log read once. */
static void many_at_once(void **state)
{
	enum { COUNT = 40 };
	static uint8_t pages[2 * COUNT][WA_PAGE_SIZE];
	struct wa_batch_block blocks[2 * COUNT];
	struct scene *scene = scene_new();
	const struct wa_locator rels[] = {REL_A, REL_B};
	(void)state;
	for (unsigned segment = 0; segment < 2; segment++) {
		for (unsigned i = 0; i < COUNT; i++) {
			if (segment == 0 && i != 5)
				put_image(scene, rels[i % 2], i, (uint8_t)('a' + segment));
			put_byte(scene, rels[i % 2], i, 1 + segment, (uint8_t)i);
		}
		next_segment(scene);
	}
	put_truncate(scene, rels[0], COUNT - 2);
	scene_ready(scene);
	for (unsigned i = 0; i < 2 * COUNT; i++) {
		memset(pages[i], 0, WA_PAGE_SIZE);
		blocks[i] = (struct wa_batch_block){.block = {.rel = rels[i / COUNT], .blkno = i % COUNT}, .page = pages[i]};
	}
	scene->reads = 0;
	assert_int_equal(make_batch(scene, blocks, 2 * COUNT), 0);
	assert_in_range(scene->reads, 1, scene->wal.at / WA_PAGE_SIZE - BEGIN / WA_PAGE_SIZE + 1);
	assert_non_null(strstr(scene->error.text, "never made"));
	for (unsigned i = 0; i < 2 * COUNT; i++) {
		struct wa_error error;
		memset(scene->page, 0, WA_PAGE_SIZE);
		int status = wa_materialise(&scene->range, &blocks[i].block, scene->page, NULL, &error);
		if (status < 0) {
			assert_int_equal(i, COUNT + 5); /* the one without an image */
			assert_int_equal(blocks[i].status, status);
			continue;
		}
		assert_int_equal(blocks[i].status >= 0, true);
		assert_memory_equal(pages[i], scene->page, WA_PAGE_SIZE);
		bool is_touched = i % 2 == i / COUNT % 2 && !(i / COUNT == 0 && i % COUNT >= COUNT - 2);
		assert_int_equal(pages[i][3002], is_touched ? i % COUNT : 0);
	}
	/* A log that cannot be read is nobody's block. */
	scene->read_status = -EIO;
	assert_int_equal(make_batch(scene, blocks, 2 * COUNT), -EIO);
	scene_free(scene);
}

/* Several batches of one range, whose pieces are read once for all of them, ahead of those that are applied. A page that the WAL has whole is not there before
 * that. A block whose base cannot be had keeps that. */
static void side_by_side(void **state)
{
	enum { COUNT = 40, SHARES = 3, BAD = 7 };
	static uint8_t pages[COUNT][WA_PAGE_SIZE];
	static uint8_t log[WA_BATCH_LOG];
	uint64_t wanted[WA_BATCH_AHEAD][SHARES][WA_BATCH_WORDS], there[WA_BATCH_WORDS];
	struct wa_batch_block blocks[COUNT];
	struct wa_batch *batches[SHARES];
	struct wa_batch_piece pieces[SEGMENTS];
	struct scene *scene = scene_new();
	const struct wa_locator rel = REL_A;
	(void)state;
	for (unsigned segment = 0; segment < SEGMENTS; segment++) {
		for (unsigned i = 0; i < COUNT; i++) {
			if ((i + segment) % 3 == 0 && i % 7 != 3)
				put_image(scene, rel, i, (uint8_t)('a' + segment));
			if (segment < 2 || i % 2 == 0)
				put_byte(scene, rel, i, 1 + segment, (uint8_t)i);
		}
		if (segment + 1 < SEGMENTS)
			next_segment(scene);
	}
	scene_ready(scene);
	for (unsigned i = 0; i < COUNT; i++) {
		fill_page(pages[i], 'z');
		blocks[i] = (struct wa_batch_block){.block = {.rel = rel, .blkno = i}, .page = pages[i]};
	}
	for (unsigned k = 0; k < SHARES; k++) {
		size_t first = COUNT * k / SHARES, end = COUNT * (k + 1) / SHARES;
		assert_int_equal(wa_batch_new(&scene->range, blocks + first, end - first, &batches[k], &scene->error), 0);
	}
	blocks[BAD].status = -EUCLEAN;
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(blocks[i].is_late, i % 7 != 3);
		assert_int_equal(blocks[i].needs_base, i % 7 == 3);
		blocks[i].page = blocks[i].is_late ? NULL : pages[i];
	}
	for (unsigned k = 0; k < SHARES; k++)
		wa_batch_begin(batches[k], read_pages, scene, &scene->error);
	for (unsigned n = 0; n < SEGMENTS; n++) {
		pieces[n] = pieces[n > 0 ? n - 1 : 0];
		assert_true(wa_batch_next_piece(&scene->range, n > 0, &pieces[n]));
	}
	assert_false(wa_batch_next_piece(&scene->range, true, &(struct wa_batch_piece){pieces[SEGMENTS - 1].index, 0, {0}, 0}));
	memset(wanted, 0, sizeof(wanted));
	for (unsigned n = 0; n < WA_BATCH_AHEAD; n++)
		for (unsigned k = 0; k < SHARES; k++)
			assert_int_equal(wa_batch_want(batches[k], &pieces[n], wanted[n][k], &scene->error), 1);
	for (unsigned n = 0; n < SEGMENTS; n++) {
		for (unsigned i = 0; i < COUNT; i++) {
			unsigned first = blocks[i].is_late ? (3 - i % 3) % 3 : 0;
			assert_int_equal((blocks[i].first.v - BEGIN) / SEGMENT, first);
			assert_int_equal((blocks[i].last.v - BEGIN) / SEGMENT, i % 2 == 0 || first == 2 ? 2 : 1);
			if (blocks[i].is_late && first == n)
				blocks[i].page = pages[i];
		}
		memset(there, 0, sizeof(there));
		for (unsigned k = 0; k < SHARES; k++)
			assert_int_equal(read_pages(scene, pieces[n].begin, pieces[n].pages, wanted[n % WA_BATCH_AHEAD][k], log, there), 0);
		for (unsigned k = 0; k < SHARES; k++) {
			assert_int_equal(wa_batch_apply(batches[k], &pieces[n], log, there, &scene->error), 0);
			memset(wanted[n % WA_BATCH_AHEAD][k], 0, sizeof(wanted[0][0]));
			if (n + WA_BATCH_AHEAD < SEGMENTS)
				assert_int_equal(wa_batch_want(batches[k], &pieces[n + WA_BATCH_AHEAD], wanted[n % WA_BATCH_AHEAD][k],
							       &scene->error),
						 1);
		}
	}
	for (unsigned k = 0; k < SHARES; k++)
		for (size_t i = 0; i < COUNT * (k + 1) / SHARES - COUNT * k / SHARES; i++)
			wa_batch_finish(batches[k], i);
	for (unsigned i = 0; i < COUNT; i++) {
		struct wa_error error;
		fill_page(scene->page, 'z');
		assert_true(wa_materialise(&scene->range, &blocks[i].block, scene->page, NULL, &error) >= 0);
		assert_int_equal(blocks[i].status, i == BAD ? -EUCLEAN : 1);
		if (i != BAD)
			assert_memory_equal(pages[i], scene->page, WA_PAGE_SIZE);
	}
	for (unsigned k = 0; k < SHARES; k++)
		wa_batch_free(batches[k]);
	scene_free(scene);
}

/* An image of block 7 that has all records up to the one at `last`, or says that there is none. */
struct one_image {
	uint8_t page[WA_PAGE_SIZE];
	uint64_t origin, last;
	unsigned asked, given;
};

static int give_image(void *arg, const struct wa_block *block, struct nf_lsn origin, struct nf_lsn to, uint8_t *page,
		      struct nf_lsn *ret_last)
{
	struct one_image *image = arg;
	image->asked++;
	if (block->blkno != 7 || image->origin != origin.v || image->last >= to.v)
		return 0;
	image->given++;
	memcpy(page, image->page, WA_PAGE_SIZE);
	ret_last->v = image->last;
	return 1;
}

/* Many records behind the one that makes the page: an image spares those that it has, and nothing is different for it. */
static void from_an_image(void **state)
{
	enum { COUNT = 500, HAS = 300 };
	struct scene *scene = scene_new();
	struct one_image image = {.asked = 0};
	const struct wa_block block = {.rel = REL_A, .blkno = 7};
	uint64_t starts[COUNT];
	uint8_t plain[WA_PAGE_SIZE];
	unsigned records;
	(void)state;
	image.origin = put_image(scene, REL_A, 7, 'i');
	for (unsigned i = 0; i < COUNT; i++) {
		starts[i] = put_byte(scene, REL_A, 7, i, (uint8_t)('a' + i % 26));
		if (i % 200 == 100)
			next_segment(scene);
	}
	scene_ready(scene);
	const uint64_t end = scene->range.to.v;
	image.last = starts[HAS - 1];
	scene->range.to.v = image.last + 8;
	assert_int_equal(wa_materialise(&scene->range, &block, image.page, &records, &scene->error), 1);
	assert_int_equal(records, HAS + 1);
	for (unsigned up_to = HAS - 2; up_to < COUNT; up_to++) {
		scene->range.image = NULL;
		scene->range.to.v = up_to + 1 < COUNT ? starts[up_to + 1] : end;
		memset(plain, 0xEE, WA_PAGE_SIZE);
		memset(scene->page, 0xDD, WA_PAGE_SIZE);
		assert_int_equal(wa_materialise(&scene->range, &block, plain, NULL, &scene->error), 1);
		scene->range.image = give_image;
		scene->range.image_arg = &image;
		image.asked = image.given = 0;
		assert_int_equal(wa_materialise(&scene->range, &block, scene->page, &records, &scene->error), 1);
		assert_memory_equal(scene->page, plain, WA_PAGE_SIZE);
		assert_true(image.asked == 1 && image.given == (up_to >= HAS - 1));
		assert_int_equal(records, up_to + 1 - (image.given ? HAS : 0) + !image.given);
	}
	/* Not of the record that this range begins at: a later one makes the page. */
	image.origin++;
	assert_int_equal(wa_materialise(&scene->range, &block, scene->page, &records, &scene->error), 1);
	assert_int_equal(records, COUNT + 1);
	/* Nobody asks where a base counts, or where there are few records. */
	image.asked = 0;
	scene->range.from.v = starts[0];
	assert_in_range(wa_materialise(&scene->range, &block, plain, NULL, &scene->error), 0, 1);
	scene->range.from.v = BEGIN;
	scene->range.to.v = starts[20];
	assert_int_equal(wa_materialise(&scene->range, &block, scene->page, NULL, &scene->error), 1);
	assert_int_equal(image.asked, 0);
	scene_free(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_and_changes), cmocka_unit_test(untouched),
		cmocka_unit_test(what_the_base_has),
		cmocka_unit_test(checksums),         cmocka_unit_test(cut),
		cmocka_unit_test(cut_of_map),        cmocka_unit_test(dropped_database),
		cmocka_unit_test(copied_database),   cmocka_unit_test(split_record),
		cmocka_unit_test(what_does_not_fit), cmocka_unit_test(of_an_extension),
		cmocka_unit_test(many_at_once),      cmocka_unit_test(side_by_side),
		cmocka_unit_test(from_an_image),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
