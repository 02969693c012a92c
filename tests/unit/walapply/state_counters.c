/* The counters of the next checkpoint: what pushes them, around the end of 32 bits, and what checkpoints say. */
#include <stdlib.h>

#include "state_case.h"
#include "walapply/state/wa_counters.h"

static struct wa_counters counters;

static int begin(void **state)
{
	(void)state;
	counters = (struct wa_counters){.next_xid = 700,
					.next_oid = 16384,
					.next_multi = 10,
					.next_multi_offset = 20,
					.oldest_multi = 1,
					.oldest_xid = 3,
					.timeline = 1};
	return 0;
}

static int take_cut(struct state_case *c, size_t size)
{
	static uint8_t *exact;
	free(exact);
	exact = malloc(size > 0 ? size : 1);
	assert_non_null(exact);
	memcpy(exact, c->main, size);
	c->record.main = exact;
	c->record.main_len = (uint32_t)size;
	return wa_counters_advance(&counters, &c->version, &c->record, &c->error);
}

static void take(struct state_case *c)
{
	assert_int_equal(take_cut(c, c->writer.offset), 0);
}

static void refuse_cuts(struct state_case *c, size_t least)
{
	for (size_t size = 0; size < least; size++)
		assert_int_equal(take_cut(c, size), -EBADMSG);
}

/* Every record's own xid counts, whatever it is. */
static void test_record_xid(void **state)
{
	static const struct {
		uint64_t next;
		uint32_t xid;
		uint64_t after;
	} cases[] = {
		{700, 0, 700},
		{700, 2, 700}, /* bootstrap and frozen ids do not */
		{700, 699, 700},
		{700, 700, 701},
		{700, 5000, 5001},
		{0x1FFFFFFF0, 0xFFFFFFFF, 0x200000003}, /* the first ids of an epoch are not given out */
		{0x1FFFFFFF0, 5, 0x200000006},
		{0x200000005, 0xFFFFFFF0, 0x200000005}, /* of the epoch before */
		{5, 0xFFFFFFF0, 5},
	};
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct state_case c;
		case_begin(&c, 15, WA_RMGR_HEAP, 0x00);
		c.record.xid = cases[i].xid;
		counters.next_xid = cases[i].next;
		take(&c);
		assert_true(counters.next_xid == cases[i].after);
	}
}

static void test_full_xid(void **state)
{
	(void)state;
	counters.next_xid = 0x300000010;
	assert_true(wa_counters_full_xid(&counters, 0x0F) == 0x30000000F);
	assert_true(wa_counters_full_xid(&counters, 0x20) == 0x300000020);
	assert_true(wa_counters_full_xid(&counters, 0xFFFFFFF0) == 0x2FFFFFFF0);
	counters.next_xid = 0x3FFFFFFF0;
	assert_true(wa_counters_full_xid(&counters, 0x10) == 0x400000010);
	counters.next_xid = 0x10;
	assert_true(wa_counters_full_xid(&counters, 0xFFFFFFF0) == 0xFFFFFFF0);
	assert_true(wa_counters_full_xid(&counters, 1) == 1);
}

/* Subtransactions of an end, members of a multixact, subtransactions of an assignment, the next id of a list of running ones. */
static void test_mentioned_xids(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XACT, 0x20 | 0x80);
	case_u64(&c, 0);
	case_u32(&c, 0x02);
	case_u32(&c, 2);
	case_u32(&c, 800);
	case_u32(&c, 790);
	take(&c);
	assert_true(counters.next_xid == 801);

	case_begin(&c, 15, WA_RMGR_MULTIXACT, 0x20);
	case_u32(&c, 30);
	case_u32(&c, 50);
	case_u32(&c, 1);
	case_u32(&c, 900);
	case_u32(&c, 0);
	take(&c);
	assert_true(counters.next_xid == 901);
	assert_int_equal(counters.next_multi, 31);
	assert_int_equal(counters.next_multi_offset, 51);

	case_begin(&c, 15, WA_RMGR_XACT, 0x50);
	case_u32(&c, 700);
	case_u32(&c, 2);
	case_u32(&c, 950);
	case_u32(&c, 940);
	take(&c);
	assert_true(counters.next_xid == 951);
	refuse_cuts(&c, 16);

	case_begin(&c, 15, WA_RMGR_STANDBY, 0x10);
	case_u32(&c, 0);
	case_u32(&c, 0);
	case_u32(&c, 0);
	case_u32(&c, 1000);
	case_u32(&c, 690);
	case_u32(&c, 999);
	take(&c);
	assert_true(counters.next_xid == 1000);
	assert_int_equal(counters.oldest_active_xid, 690);
	refuse_cuts(&c, 20);
}

static void test_prepared(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XACT, 0x10);
	c.record.xid = 0;
	case_u64(&c, 0);
	case_u32(&c, 1200);
	for (unsigned i = 0; i < 14; i++)
		case_u32(&c, 0);
	take(&c);
	assert_true(counters.next_xid == 1201);
}

/* Ids around their end: 0 is no multixact. */
static void test_multixact_wrap(void **state)
{
	struct state_case c;
	(void)state;
	counters.next_multi = UINT32_MAX;
	counters.next_multi_offset = UINT32_MAX - 1;
	case_begin(&c, 15, WA_RMGR_MULTIXACT, 0x20);
	case_u32(&c, UINT32_MAX);
	case_u32(&c, UINT32_MAX - 1);
	case_u32(&c, 3);
	for (unsigned i = 0; i < 6; i++)
		case_u32(&c, 0);
	take(&c);
	assert_int_equal(counters.next_multi, 1);
	assert_int_equal(counters.next_multi_offset, 1);
}

static void test_oids(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XLOG, 0x30);
	case_u32(&c, 24576);
	take(&c);
	assert_int_equal(counters.next_oid, 24576);
	refuse_cuts(&c, 4);
	case_begin(&c, 15, WA_RMGR_XLOG, 0x30); /* believed although lower: the counter wraps around */
	case_u32(&c, 16390);
	take(&c);
	assert_int_equal(counters.next_oid, 16390);
}

static void test_truncations(void **state)
{
	struct state_case c;
	(void)state;
	for (int major = 13; major <= 18; major++) {
		begin(NULL);
		counters.oldest_commit_ts = 10;
		case_begin(&c, major, WA_RMGR_COMMIT_TS, 0x10);
		if (major >= 17)
			case_u64(&c, 1);
		else
			case_u32(&c, 1);
		case_u32(&c, 600);
		take(&c);
		assert_int_equal(counters.oldest_commit_ts, 600);
		refuse_cuts(&c, major >= 17 ? 12 : 8);

		case_begin(&c, major, WA_RMGR_MULTIXACT, 0x30);
		case_u32(&c, 5);
		case_u32(&c, 1);
		case_u32(&c, 8);
		case_u32(&c, 1);
		case_u32(&c, 15);
		take(&c);
		assert_int_equal(counters.oldest_multi, 8);
		assert_int_equal(counters.oldest_multi_db, 5);
		refuse_cuts(&c, 20);
	}
}

static void write_checkpoint(struct state_case *c, uint8_t info, const struct wa_counters *seen)
{
	case_begin(c, 15, WA_RMGR_XLOG, info);
	c->record.xid = 0;
	wa_counters_store(&c->version, seen, c->main);
	c->writer.offset = WA_CHECKPOINT_SIZE;
}

/* A shutdown checkpoint is believed, an online one was begun before: it only raises. */
static void test_checkpoints(void **state)
{
	struct state_case c;
	(void)state;
	const struct wa_counters low = {.next_xid = 500,
					.next_oid = 15000,
					.next_multi = 5,
					.next_multi_offset = 6,
					.oldest_xid = 3,
					.oldest_multi = 1,
					.timeline = 2,
					.redo = {0x900}};
	write_checkpoint(&c, 0x10, &low);
	counters.oldest_xid = 100;
	counters.oldest_multi = 7;
	take(&c);
	assert_true(counters.next_xid == 700);
	assert_int_equal(counters.next_oid, 16384);
	assert_int_equal(counters.next_multi, 10);
	assert_int_equal(counters.next_multi_offset, 20);
	assert_int_equal(counters.oldest_xid, 100);
	assert_int_equal(counters.oldest_multi, 7);
	assert_int_equal(counters.redo.v, 0x900);

	const struct wa_counters high = {.next_xid = 0x100000500,
					 .next_oid = 30000,
					 .next_multi = 50,
					 .next_multi_offset = 60,
					 .oldest_xid = 300,
					 .oldest_xid_db = 9,
					 .oldest_multi = 40,
					 .oldest_multi_db = 8,
					 .timeline = 2};
	write_checkpoint(&c, 0x10, &high);
	take(&c);
	assert_true(counters.next_xid == 0x100000500);
	assert_int_equal(counters.next_oid, 16384);
	assert_int_equal(counters.next_multi, 50);
	assert_int_equal(counters.oldest_xid, 300);
	assert_int_equal(counters.oldest_xid_db, 9);
	assert_int_equal(counters.oldest_multi, 40);
	refuse_cuts(&c, WA_CHECKPOINT_SIZE - 4);

	write_checkpoint(&c, 0x00, &low);
	take(&c);
	assert_true(counters.next_xid == 500);
	assert_int_equal(counters.next_oid, 15000);
	assert_int_equal(counters.next_multi, 5);
}

static void test_end_of_recovery(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XLOG, 0x90);
	case_u64(&c, 77);
	case_u32(&c, 4);
	case_u32(&c, 3);
	take(&c);
	assert_int_equal(counters.timeline, 4);
	assert_int_equal(counters.prev_timeline, 3);
	refuse_cuts(&c, 16);
	case_begin(&c, 15, WA_RMGR_XLOG, 0x80); /* FPW_CHANGE */
	nf_write_u8(&c.writer, 1);
	take(&c);
	assert_true(counters.full_page_writes);
	refuse_cuts(&c, 1);
}

static void test_there_and_back(void **state)
{
	uint8_t bytes[WA_CHECKPOINT_SIZE];
	(void)state;
	for (int major = 13; major <= 18; major++) {
		const struct wa_version version = {.major = major};
		const struct wa_counters in = {
			.redo = {1},
			.timeline = 2,
			.prev_timeline = 3,
			.full_page_writes = true,
			.wal_level = major >= 17 ? 2 : 0,
			.next_xid = 0x500000006,
			.next_oid = 7,
			.next_multi = 8,
			.next_multi_offset = 9,
			.oldest_xid = 10,
			.oldest_xid_db = 11,
			.oldest_multi = 12,
			.oldest_multi_db = 13,
			.time_s = 14,
			.oldest_commit_ts = 15,
			.newest_commit_ts = 16,
			.oldest_active_xid = 17,
		};
		struct wa_counters out;
		memset(&out, 0, sizeof(out));
		wa_counters_store(&version, &in, bytes);
		assert_int_equal(bytes[24], 6);
		assert_int_equal(bytes[28], 5);
		assert_int_equal(bytes[80], 17);
		assert_int_equal(wa_counters_load(&version, bytes, sizeof(bytes), &out), 0);
		assert_true(in.redo.v == out.redo.v && in.timeline == out.timeline && in.prev_timeline == out.prev_timeline);
		assert_true(in.full_page_writes == out.full_page_writes && in.wal_level == out.wal_level &&
			    in.next_xid == out.next_xid);
		assert_true(in.next_oid == out.next_oid && in.next_multi == out.next_multi &&
			    in.next_multi_offset == out.next_multi_offset);
		assert_true(in.oldest_xid == out.oldest_xid && in.oldest_xid_db == out.oldest_xid_db &&
			    in.oldest_multi == out.oldest_multi);
		assert_true(in.oldest_multi_db == out.oldest_multi_db && in.time_s == out.time_s);
		assert_true(in.oldest_commit_ts == out.oldest_commit_ts && in.newest_commit_ts == out.newest_commit_ts);
		assert_true(in.oldest_active_xid == out.oldest_active_xid);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_record_xid, begin),      cmocka_unit_test_setup(test_full_xid, begin),
		cmocka_unit_test_setup(test_mentioned_xids, begin),  cmocka_unit_test_setup(test_prepared, begin),
		cmocka_unit_test_setup(test_multixact_wrap, begin),  cmocka_unit_test_setup(test_oids, begin),
		cmocka_unit_test_setup(test_truncations, begin),     cmocka_unit_test_setup(test_checkpoints, begin),
		cmocka_unit_test_setup(test_end_of_recovery, begin), cmocka_unit_test(test_there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
