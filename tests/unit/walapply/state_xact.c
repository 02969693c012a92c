/* Ends of transactions, two-phase and subtransactions included, in the layouts of 13, 15 and 18. */
#include <stdlib.h>

#include "state_case.h"

enum { COMMIT = 0x00, PREPARE = 0x10, ABORT = 0x20, COMMIT_PREPARED = 0x30, ABORT_PREPARED = 0x40, HAS_INFO = 0x80 };

static void test_plain_commit(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XACT, COMMIT);
	case_u64(&c, 77);
	case_run(&c);
	assert_int_equal(c.count, 2);
	assert_int_equal(c.ops[0].kind, WA_OP_COMMIT_TS);
	assert_int_equal(c.ops[0].commit_ts.xid, 700);
	assert_int_equal(c.ops[0].commit_ts.time_us, 77);
	assert_int_equal(c.ops[0].commit_ts.sub.count, 0);
	assert_int_equal(c.ops[1].kind, WA_OP_XACT);
	assert_int_equal(c.ops[1].xact.status, WA_XACT_COMMITTED);
	assert_int_equal(c.ops[1].xact.xid, 700);
	case_refuse_cuts(&c, 8);
}

static void test_plain_abort(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XACT, ABORT);
	case_u64(&c, 77);
	case_run(&c);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.ops[0].kind, WA_OP_XACT);
	assert_int_equal(c.ops[0].xact.status, WA_XACT_ABORTED);
	case_refuse_cuts(&c, 8);
}

/* Everything that a commit can carry: database, subtransactions, dropped relations and statistics, invalidations, two-phase, origin. */
static size_t write_full(struct state_case *c, int major, uint8_t op, bool gid)
{
	bool stats = major >= 15, invals = op == COMMIT || op == COMMIT_PREPARED;
	bool prepared = op == COMMIT_PREPARED || op == ABORT_PREPARED;
	case_begin(c, major, WA_RMGR_XACT, op | HAS_INFO);
	c->record.origin = 3;
	case_u64(c, 77);
	case_u32(c, 0x01 | 0x02 | 0x04 | 0x20 | (invals ? 0x08u : 0) | (prepared ? 0x10u : 0) | (gid ? 0x80u : 0) |
			    (stats ? 0x100u : 0));
	case_u32(c, 5);
	case_u32(c, 1663);
	case_u32(c, 2);
	case_u32(c, 701);
	case_u32(c, 703);
	case_u32(c, 2);
	for (unsigned i = 0; i < 6; i++)
		case_u32(c, 1000 + i);
	if (stats) {
		case_u32(c, 2);
		for (unsigned i = 0; i < 2 * (major >= 18 ? 4 : 3); i++)
			case_u32(c, 0xEE000000 + i);
	}
	if (invals) {
		case_u32(c, 1);
		for (unsigned i = 0; i < 4; i++)
			case_u32(c, 0xDD000000 + i);
	}
	if (prepared) {
		case_u32(c, 650);
		if (gid)
			nf_write_bytes(&c->writer, "gid", 4);
	}
	case_u64(c, 0xABCD);
	case_u64(c, 99);
	return c->writer.offset;
}

static void check_full(const struct state_case *c, bool committed, bool prepared)
{
	const struct wa_state_op *op = c->ops;
	uint32_t xid = prepared ? 650 : 700;
	assert_int_equal(c->count, 3 + committed + prepared);
	if (committed) {
		assert_int_equal(op->kind, WA_OP_COMMIT_TS);
		assert_int_equal(op->commit_ts.xid, xid);
		assert_int_equal(op->commit_ts.time_us, 99); /* the origin's */
		assert_int_equal(op->commit_ts.origin, 3);
		assert_int_equal(op->commit_ts.sub.count, 2);
		op++;
	}
	assert_int_equal(op->kind, WA_OP_XACT);
	assert_int_equal(op->xact.status, committed ? WA_XACT_COMMITTED : WA_XACT_ABORTED);
	assert_int_equal(op->xact.xid, xid);
	assert_int_equal(op->xact.sub.count, 2);
	assert_int_equal(op->xact.sub.xids[0] | op->xact.sub.xids[1] << 8, 701);
	assert_int_equal(op->xact.sub.xids[4] | op->xact.sub.xids[5] << 8, 703);
	op++;
	assert_int_equal(op->kind, WA_OP_ORIGIN);
	assert_int_equal(op->origin.id, 3);
	assert_int_equal(op->origin.remote.v, 0xABCD);
	assert_false(op->origin.backward);
	op++;
	assert_int_equal(op->kind, WA_OP_REL_DROP);
	assert_int_equal(op->drop.count, 2);
	assert_int_equal(op->drop.locators[0] | op->drop.locators[1] << 8, 1000);
	op++;
	if (prepared) {
		assert_int_equal(op->kind, WA_OP_PREPARED_END);
		assert_int_equal(op->prepare.xid, 650);
	}
}

static void test_full_ends(void **state)
{
	static const int majors[] = {13, 14, 15, 16, 17, 18};
	static const uint8_t ops[] = {COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED};
	struct state_case c;
	(void)state;
	for (size_t m = 0; m < NF_ARRAY_LEN(majors); m++)
		for (size_t i = 0; i < NF_ARRAY_LEN(ops); i++)
			for (int gid = 0; gid <= (ops[i] >= COMMIT_PREPARED); gid++) {
				size_t size = write_full(&c, majors[m], ops[i], gid);
				case_run(&c);
				check_full(&c, ops[i] == COMMIT || ops[i] == COMMIT_PREPARED, ops[i] >= COMMIT_PREPARED);
				case_refuse_cuts(&c, size);
			}
}

/* Counts that lie lead nowhere. */
static void test_lying_counts(void **state)
{
	static const uint32_t flags[] = {0x02, 0x04, 0x08, 0x100};
	struct state_case c;
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(flags); i++) {
		case_begin(&c, 15, WA_RMGR_XACT, COMMIT | HAS_INFO);
		case_u64(&c, 77);
		case_u32(&c, flags[i]);
		case_u32(&c, 0xFFFFFFFF);
		case_u64(&c, 0);
		assert_int_equal(case_run_cut(&c, c.writer.offset), -EBADMSG);
		assert_int_equal(c.count, 0);
	}
}

/* A global id that never ends. */
static void test_endless_gid(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XACT, COMMIT_PREPARED | HAS_INFO);
	case_u64(&c, 77);
	case_u32(&c, 0x10 | 0x80);
	case_u32(&c, 650);
	nf_write_bytes(&c.writer, "xxxx", 4);
	assert_int_equal(case_run_cut(&c, c.writer.offset), -EBADMSG);
}

static void write_prepare(struct state_case *c, int major, uint16_t origin)
{
	case_begin(c, major, WA_RMGR_XACT, PREPARE);
	c->record.origin = origin;
	case_u32(c, 0x57F94534);
	case_u32(c, 0); /* total length */
	case_u32(c, 650);
	case_u32(c, 5);
	case_u64(c, 77);
	case_u32(c, 10); /* owner */
	for (unsigned i = 0; i < (major >= 15 ? 6 : 4); i++) /* counts */
		case_u32(c, 0);
	case_u16(c, 0);
	case_u16(c, 4); /* length of the global id */
	case_u64(c, 0xABCD);
	case_u64(c, 99);
	nf_write_bytes(&c->writer, "gid", 4);
}

static void test_prepare(void **state)
{
	struct state_case c;
	(void)state;
	for (int major = 13; major <= 18; major++) {
		write_prepare(&c, major, 0);
		case_run(&c);
		assert_int_equal(c.count, 1);
		assert_int_equal(c.ops[0].kind, WA_OP_PREPARE);
		assert_int_equal(c.ops[0].prepare.xid, 650);
		assert_int_equal(c.ops[0].prepare.size, c.writer.offset);
		assert_memory_equal(c.ops[0].prepare.data, c.main, c.writer.offset);
		write_prepare(&c, major, 3);
		case_run(&c);
		assert_int_equal(c.count, 2);
		assert_int_equal(c.ops[1].kind, WA_OP_ORIGIN);
		assert_int_equal(c.ops[1].origin.remote.v, 0xABCD);
		case_refuse_cuts(&c, major >= 15 ? 64 : 56);
	}
}

static void test_others_change_nothing(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XACT, 0x50); /* ASSIGNMENT */
	case_u32(&c, 700);
	case_u32(&c, 0);
	case_run(&c);
	assert_int_equal(c.count, 0);
	case_begin(&c, 15, WA_RMGR_XACT, 0x60); /* INVALIDATION */
	case_run(&c);
	assert_int_equal(c.count, 0);
}

static int refuse(void *arg, const struct wa_state_op *op)
{
	(void)op;
	return --*(int *)arg == 0 ? -EIO : 0;
}

/* What the caller's function returns stops the rest and is passed on, whichever operation it is. */
static void test_callers_error(void **state)
{
	struct state_case c;
	(void)state;
	for (int n = 1; n <= 5; n++) {
		int left = n;
		size_t size = write_full(&c, 15, COMMIT_PREPARED, true);
		c.record.main = c.main;
		c.record.main_len = (uint32_t)size;
		assert_int_equal(wa_state_ops(&c.version, &c.record, refuse, &left, &c.error), -EIO);
		assert_int_equal(left, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_commit),
		cmocka_unit_test(test_plain_abort),
		cmocka_unit_test(test_full_ends),
		cmocka_unit_test(test_lying_counts),
		cmocka_unit_test(test_endless_gid),
		cmocka_unit_test(test_prepare),
		cmocka_unit_test(test_others_change_nothing),
		cmocka_unit_test(test_callers_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
