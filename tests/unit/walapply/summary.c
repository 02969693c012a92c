/* The summary of a segment: what it says is what its records say, in an order that leads to the same; damage is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "wal_build.h"
#include "walapply/decode/wa_decode.h"
#include "walapply/state/wa_counters.h"
#include "walapply/state/wa_slru.h"
#include "walapply/summary/wa_summary.h"

#define BASE 0x3000000ull
#define SEGMENT 0x1000000ull
#define PAGES 4 /* of pg_xact */
#define XACT_COMMIT 0x00
#define XACT_ABORT 0x20

static const struct wa_version version = {.major = 15};

/* Everything that is done to the state, from records or from a summary. */
struct state {
	struct wa_counters counters;
	uint8_t pages[PAGES][WA_PAGE_SIZE];
	uint8_t members[WA_PAGE_SIZE];
};

static int get_page(void *arg, enum wa_slru slru, int64_t page, bool zero, uint8_t **ret_page)
{
	struct state *state = arg;
	*ret_page = slru == WA_SLRU_XACT ? state->pages[page % PAGES] : state->members;
	if (zero)
		memset(*ret_page, 0, WA_PAGE_SIZE);
	return 0;
}

/* A cluster that tracks no times of commits. */
static int apply_op(void *arg, const struct wa_state_op *op)
{
	if (op->kind == WA_OP_COMMIT_TS)
		return 0;
	const struct wa_slru_pages pages = {.get = get_page, .arg = arg};
	return wa_slru_apply(op, &pages);
}

static void apply_record(struct state *state, const struct wa_record *record)
{
	struct wa_error error;
	assert_int_equal(wa_counters_advance(&state->counters, &version, record, &error), 0);
	assert_int_equal(wa_state_ops(&version, record, apply_op, state, &error), 0);
}

static void apply_summary(struct state *state, const struct wa_summary *summary)
{
	const struct wa_slru_pages pages = {.get = get_page, .arg = state};
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	struct wa_error error;
	int status;
	wa_summary_start(summary, &cursor);
	while ((status = wa_summary_next(&cursor, &item, &error)) == 1) {
		if (item.kind == WA_SUMMARY_XID)
			wa_counters_pass_xid(&state->counters, item.xid);
		else if (item.kind == WA_SUMMARY_ENDED)
			assert_int_equal(wa_slru_ended(item.status, item.xid, item.count, &pages), 0);
		else if (item.kind == WA_SUMMARY_RECORD)
			apply_record(state, &item.record);
	}
	assert_int_equal(status, 0);
}

/* --------------------------------------------------------------- records */

struct log {
	struct wa_summary_builder *builder;
	struct state *state; /* gets every record by itself; may be NULL */
	uint64_t at, last;
};

static void log_start_within(struct log *log, bool times, struct state *state, size_t memory_max)
{
	const struct wa_summary_config config = {.version = version,
						 .system_id = 7,
						 .base = {BASE},
						 .limit = {BASE + SEGMENT},
						 .commit_times = times,
						 .memory_max = memory_max};
	*log = (struct log){.at = BASE + 40, .last = BASE - 100, .state = state};
	assert_int_equal(wa_summary_builder_new(&config, &log->builder), 0);
}

static void log_start(struct log *log, bool times, struct state *state)
{
	log_start_within(log, times, state, 0);
}

static int log_try(struct log *log, struct rec *rec)
{
	struct wa_record record;
	struct wa_error error;
	rec_finish(rec, log->last);
	assert_int_equal(wa_decode_record(version.major, rec->bytes, rec->size, (struct nf_lsn){log->at}, &record, &error), 0);
	record.end.v = log->at + (rec->size + 7) / 8 * 8;
	record.timeline = 3;
	int status = wa_summary_add(log->builder, &record, &error);
	if (status == 0 && log->state != NULL)
		apply_record(log->state, &record);
	log->last = log->at;
	log->at = record.end.v;
	rec_free(rec);
	return status;
}

static void log_put(struct log *log, struct rec *rec)
{
	assert_int_equal(log_try(log, rec), 0);
}

static void put_plain(struct log *log, uint8_t rmid, uint8_t info, uint32_t xid, const void *main, size_t size)
{
	struct rec rec;
	rec_start(&rec, rmid, info, xid);
	rec_main(&rec, main, size);
	log_put(log, &rec);
}

static void put_end(struct log *log, uint32_t xid, uint8_t info)
{
	int64_t time_us = 1000 + (int64_t)xid;
	put_plain(log, WA_RMGR_XACT, info, xid, &time_us, sizeof(time_us));
}

static int try_touch(struct log *log, struct wa_locator rel, unsigned fork, uint32_t blkno)
{
	struct rec rec;
	uint8_t main[14] = {0};
	rec_start(&rec, WA_RMGR_BTREE, 0xC0, 0); /* VACUUM */
	rec_block(&rec, 0, &rel, fork | HAS_DATA, blkno, main, sizeof(main));
	rec_main(&rec, main, 4);
	return log_try(log, &rec);
}

static void put_touch(struct log *log, struct wa_locator rel, unsigned fork, uint32_t blkno)
{
	assert_int_equal(try_touch(log, rel, fork, blkno), 0);
}

static void put_truncate(struct log *log, struct wa_locator rel, uint32_t blocks)
{
	const uint32_t main[] = {blocks, rel.spc, rel.db, rel.rel, 7};
	put_plain(log, WA_RMGR_SMGR, 0x20, 9, main, sizeof(main));
}

static uint8_t *log_finish(struct log *log, size_t *ret_size, struct wa_summary *ret_summary)
{
	uint8_t *bytes;
	struct wa_error error;
	assert_int_equal(wa_summary_finish(log->builder, &bytes, ret_size), 0);
	wa_summary_builder_free(log->builder);
	assert_int_equal(wa_summary_open(bytes, *ret_size, ret_summary, &error), 0);
	return bytes;
}

/* ----------------------------------------------------------------- tests */

static void the_state_is_that_of_the_records(void **unused)
{
	struct state *one = calloc(1, sizeof(*one)), *other = calloc(1, sizeof(*other));
	struct log log;
	struct wa_summary summary;
	size_t size;
	(void)unused;
	one->counters.next_xid = other->counters.next_xid = 32000;
	log_start(&log, false, one);
	srand(4);
	/* Ends of transactions in no order, a page that begins under way, multixacts between. */
	for (uint32_t xid = 32000; xid < 33500; xid += 4) {
		uint32_t page = 1, multi[] = {xid, xid * 2, 1, xid + 1, 4};
		if (xid == 32768)
			put_plain(&log, WA_RMGR_CLOG, 0x00, 0, &page, sizeof(page));
		for (uint32_t i = 0; i < 4; i++)
			put_end(&log, xid + (i ^ 1), rand() % 5 == 0 ? XACT_ABORT : XACT_COMMIT);
		if (xid % 64 == 0)
			put_plain(&log, WA_RMGR_MULTIXACT, 0x20, xid, multi, sizeof(multi));
	}
	uint8_t *bytes = log_finish(&log, &size, &summary);
	apply_summary(other, &summary);
	one->counters.newest_commit_ts = 0; /* which nobody looks at there */
	assert_memory_equal(one, other, sizeof(*one));
	assert_int_equal(summary.info.records, 1500 + 1 + 24);
	assert_int_equal(summary.info.prev.v, BASE - 100);
	assert_int_equal(summary.info.last.v, log.last);
	assert_int_equal(summary.info.end.v, log.at);
	assert_false(summary.info.is_partial);
	free(bytes);
	free(one);
	free(other);
}

/* Without the page's beginning in its place, ends before it would come after it. */
static void ends_stay_on_their_side_of_a_page_that_begins(void **unused)
{
	struct wa_summary summary;
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	struct wa_error error;
	struct log log;
	size_t size;
	uint32_t page = 0;
	(void)unused;
	log_start(&log, false, NULL);
	put_end(&log, 100, XACT_COMMIT);
	put_plain(&log, WA_RMGR_CLOG, 0x00, 0, &page, sizeof(page));
	put_end(&log, 101, XACT_COMMIT);
	uint8_t *bytes = log_finish(&log, &size, &summary);
	static const enum wa_summary_kind kinds[] = {WA_SUMMARY_ENDED, WA_SUMMARY_XID, WA_SUMMARY_RECORD, WA_SUMMARY_ENDED,
						     WA_SUMMARY_XID};
	wa_summary_start(&summary, &cursor);
	for (size_t i = 0; i < NF_ARRAY_LEN(kinds); i++) {
		assert_int_equal(wa_summary_next(&cursor, &item, &error), 1);
		assert_int_equal(item.kind, kinds[i]);
	}
	assert_int_equal(wa_summary_next(&cursor, &item, &error), 0);
	free(bytes);
}

static void times_are_kept_where_they_count(void **unused)
{
	struct wa_summary summary;
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	struct wa_error error;
	struct log log;
	size_t size;
	(void)unused;
	log_start(&log, true, NULL);
	for (uint32_t xid = 50; xid < 60; xid++)
		put_end(&log, xid, XACT_COMMIT);
	uint8_t *bytes = log_finish(&log, &size, &summary);
	assert_true(summary.info.commit_times);
	wa_summary_start(&summary, &cursor);
	for (uint32_t xid = 50; xid < 60; xid++) {
		assert_int_equal(wa_summary_next(&cursor, &item, &error), 1);
		assert_int_equal(item.kind, WA_SUMMARY_COMMIT);
		assert_int_equal(item.xid, xid);
		assert_int_equal(item.time_us, 1000 + xid);
	}
	free(bytes);
}

/* GROW, the cut, GROW: a fork that is cut is not as long as it was before. */
static void lengths_stay_on_their_side_of_a_cut(void **unused)
{
	static const struct wa_locator rel = {1663, 5, 16384};
	struct wa_summary summary;
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	struct wa_error error;
	struct log log;
	size_t size;
	uint32_t grown[2] = {0};
	unsigned grows = 0, cuts = 0;
	(void)unused;
	log_start(&log, false, NULL);
	put_touch(&log, rel, WA_FORK_MAIN, 70000);
	put_truncate(&log, rel, 10);
	put_touch(&log, rel, WA_FORK_MAIN, 12);
	uint8_t *bytes = log_finish(&log, &size, &summary);
	wa_summary_start(&summary, &cursor);
	while (wa_summary_next(&cursor, &item, &error) == 1) {
		if (item.kind == WA_SUMMARY_RECORD && item.record.rmid == WA_RMGR_SMGR)
			cuts += grows == 1;
		if (item.kind == WA_SUMMARY_GROW && item.fork == WA_FORK_MAIN && grows < 2)
			grown[grows++] = item.blocks;
	}
	assert_int_equal(cuts, 1);
	assert_int_equal(grows, 2);
	assert_int_equal(grown[0], 70001);
	assert_int_equal(grown[1], 13);
	free(bytes);
}

struct expected {
	const uint32_t *blocks;
	unsigned count, seen;
};

static int see(void *arg, const struct wa_block *first, const uint64_t words[WA_SUMMARY_WORDS])
{
	struct expected *expected = arg;
	if (first->fork != WA_FORK_MAIN)
		return 0;
	for (uint32_t i = 0; i < WA_SUMMARY_CHUNK; i++)
		if (words[i / 64] >> i % 64 & 1) {
			assert_true(expected->seen < expected->count);
			assert_int_equal(first->blkno + i, expected->blocks[expected->seen++]);
		}
	return 0;
}

static void blocks_are_those_touched(void **unused)
{
	static const struct wa_locator rel = {1663, 5, 16384};
	uint32_t blocks[3000], at = 0;
	struct wa_summary summary;
	struct wa_error error;
	struct log log;
	size_t size;
	(void)unused;
	/* Runs, lone blocks, and a chunk of every other block, which is kept as bits. */
	for (unsigned i = 0; i < NF_ARRAY_LEN(blocks); i++)
		blocks[i] = at += i < 100 ? 1 : i < 200 ? 5000 : 2;
	log_start(&log, false, NULL);
	for (unsigned i = NF_ARRAY_LEN(blocks); i-- > 0;)
		put_touch(&log, rel, WA_FORK_MAIN, blocks[i]);
	uint8_t *bytes = log_finish(&log, &size, &summary);
	struct expected expected = {.blocks = blocks, .count = NF_ARRAY_LEN(blocks)};
	assert_int_equal(wa_summary_blocks(&summary, see, &expected, &error), 0);
	assert_int_equal(expected.seen, expected.count);
	free(bytes);
}

/* A region's blocks are a list at first: each length of it, and beyond, each block twice. */
static void a_handful_is_as_good_as_many(void **unused)
{
	static const struct wa_locator rel = {1663, 5, 16384};
	uint32_t blocks[40 * 41 / 2], count = 0;
	struct wa_summary summary;
	struct wa_error error;
	struct log log;
	size_t size;
	(void)unused;
	log_start(&log, false, NULL);
	for (uint32_t length = 1; length <= 40; length++)
		for (uint32_t i = 0; i < length; i++)
			blocks[count++] = length * WA_SUMMARY_CHUNK + i * (WA_SUMMARY_CHUNK - 1) / length;
	for (unsigned i = count; i-- > 0;)
		put_touch(&log, rel, WA_FORK_MAIN, blocks[i]);
	for (unsigned i = 0; i < count; i++)
		put_touch(&log, rel, WA_FORK_MAIN, blocks[i]);
	uint8_t *bytes = log_finish(&log, &size, &summary);
	struct expected expected = {.blocks = blocks, .count = count};
	assert_int_equal(wa_summary_blocks(&summary, see, &expected, &error), 0);
	assert_int_equal(expected.seen, expected.count);
	free(bytes);
}

#define RELATIONS 3000u

/* Records that touch a block each of very many relations, as no server writes them. */
static void memory_has_a_bound(void **unused)
{
	struct wa_summary summary;
	struct log log;
	size_t size;
	int status = 0;
	uint32_t touched = 0;
	(void)unused;
	/* Some hundred bytes each, not a region's bits. */
	log_start_within(&log, false, NULL, RELATIONS * (size_t)512);
	for (uint32_t i = 0; i < RELATIONS; i++)
		put_touch(&log, (struct wa_locator){1663, 5, 16384 + i}, WA_FORK_MAIN, i);
	free(log_finish(&log, &size, &summary));
	log_start_within(&log, false, NULL, RELATIONS * (size_t)32);
	for (; status == 0 && touched < RELATIONS; touched++)
		status = try_touch(&log, (struct wa_locator){1663, 5, 16384 + touched}, WA_FORK_MAIN, touched);
	assert_int_equal(status, -EFBIG);
	assert_in_range(touched, 100, RELATIONS / 2);
	wa_summary_builder_free(log.builder);
}

static int pass(void *arg, const struct wa_block *first, const uint64_t words[WA_SUMMARY_WORDS])
{
	*(uint64_t *)arg += first->blkno + words[0];
	return 0;
}

/* Every byte of it. And, with a checksum that fits, anything else that it says: refused, or read to its end. */
static void damage_is_refused(void **unused)
{
	static const struct wa_locator rel = {1663, 5, 16384};
	struct wa_summary summary, damaged;
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	struct wa_error error;
	uint64_t passed = 0;
	struct log log;
	size_t size;
	uint32_t page = 0;
	(void)unused;
	log_start(&log, false, NULL);
	put_touch(&log, rel, WA_FORK_VM, 70000);
	put_end(&log, 100, XACT_COMMIT);
	put_plain(&log, WA_RMGR_CLOG, 0x00, 0, &page, sizeof(page));
	uint8_t *bytes = log_finish(&log, &size, &summary);
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 0x10;
		assert_true(wa_summary_open(bytes, size, &damaged, &error) < 0);
		for (unsigned value = 0; value < 256; value += 5) {
			uint8_t *copy = malloc(size); /* exactly as large, for sanitizers */
			memcpy(copy, bytes, size);
			copy[i] = (uint8_t)value;
			uint64_t hash = htole64(XXH3_64bits(copy, size - 8));
			memcpy(copy + size - 8, &hash, 8);
			if (wa_summary_open(copy, size, &damaged, &error) == 0) {
				wa_summary_start(&damaged, &cursor);
				while (wa_summary_next(&cursor, &item, &error) == 1)
					;
				(void)!wa_summary_blocks(&damaged, pass, &passed, &error);
			}
			free(copy);
		}
		bytes[i] ^= 0x10;
	}
	for (size_t i = 0; i < size; i++)
		assert_true(wa_summary_open(bytes, i, &damaged, &error) < 0);
	assert_int_equal(wa_summary_open(bytes, size, &damaged, &error), 0);
	free(bytes);
}

static void what_is_too_much_is_said_to_be_missing(void **unused)
{
	struct wa_summary summary;
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	struct wa_error error;
	struct log log;
	size_t size;
	uint8_t *large = calloc(1, 70000);
	(void)unused;
	log_start(&log, false, NULL);
	put_end(&log, 100, XACT_COMMIT);
	put_plain(&log, WA_RMGR_COMMIT_TS, 0x00, 0, large, 70000);
	uint8_t *bytes = log_finish(&log, &size, &summary);
	assert_true(summary.info.is_partial);
	wa_summary_start(&summary, &cursor);
	assert_int_equal(wa_summary_next(&cursor, &item, &error), 0);
	free(bytes);
	free(large);
}

static void several_lie_behind_each_other(void **unused)
{
	static const uint8_t bytes[] = {2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 1, 0, 0, 0, 'c'};
	const uint8_t *one;
	size_t at = 0, size;
	(void)unused;
	assert_true(wa_summary_packed_next(bytes, sizeof(bytes), &at, &one, &size));
	assert_int_equal(size, 2);
	assert_ptr_equal(one, bytes + 4);
	assert_true(wa_summary_packed_next(bytes, sizeof(bytes), &at, &one, &size));
	assert_int_equal(size, 0);
	assert_true(wa_summary_packed_next(bytes, sizeof(bytes), &at, &one, &size));
	assert_int_equal(size, 1);
	assert_ptr_equal(one, bytes + 14);
	assert_false(wa_summary_packed_next(bytes, sizeof(bytes), &at, &one, &size));
	/* Cut anywhere, what is whole is there, and nothing behind the cut is looked at. */
	for (size_t cut = 0; cut < sizeof(bytes); cut++) {
		uint8_t *copy = malloc(cut + 1); /* exactly as large, but for none */
		unsigned whole = 0;
		memcpy(copy, bytes, cut);
		for (at = 0; wa_summary_packed_next(copy, cut, &at, &one, &size); whole++)
			;
		assert_int_equal(whole, (cut >= 6) + (cut >= 10));
		free(copy);
	}
	at = SIZE_MAX;
	assert_false(wa_summary_packed_next(bytes, sizeof(bytes), &at, &one, &size));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_state_is_that_of_the_records),
		cmocka_unit_test(ends_stay_on_their_side_of_a_page_that_begins),
		cmocka_unit_test(times_are_kept_where_they_count),
		cmocka_unit_test(lengths_stay_on_their_side_of_a_cut),
		cmocka_unit_test(blocks_are_those_touched),
		cmocka_unit_test(a_handful_is_as_good_as_many),
		cmocka_unit_test(memory_has_a_bound),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(what_is_too_much_is_said_to_be_missing),
		cmocka_unit_test(several_lie_behind_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
