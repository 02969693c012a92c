/* Operations of every manager but transactions: what each record becomes, and that every shorter one is refused. */
#include <stdlib.h>

#include "state_case.h"

static const struct wa_state_op *only(struct state_case *c, enum wa_state_kind kind)
{
	case_run(c);
	assert_int_equal(c->count, 1);
	assert_int_equal(c->ops[0].kind, kind);
	return &c->ops[0];
}

static void write_locator(struct state_case *c)
{
	case_u32(c, 1663);
	case_u32(c, 5);
	case_u32(c, 16384);
}

static void assert_locator(struct wa_locator rel)
{
	assert_int_equal(rel.spc, 1663);
	assert_int_equal(rel.db, 5);
	assert_int_equal(rel.rel, 16384);
}

static void test_relation_create(void **state)
{
	struct state_case c;
	(void)state;
	for (uint32_t fork = 0; fork <= WA_FORKS; fork++) {
		case_begin(&c, 15, WA_RMGR_SMGR, 0x10);
		write_locator(&c);
		case_u32(&c, fork);
		if (fork == WA_FORKS) {
			assert_int_equal(case_run_cut(&c, 16), -EBADMSG);
			continue;
		}
		const struct wa_state_op *op = only(&c, WA_OP_REL_CREATE);
		assert_locator(op->rel.rel);
		assert_int_equal(op->rel.fork, fork);
		case_refuse_cuts(&c, 16);
	}
}

static void test_relation_truncate(void **state)
{
	struct state_case c;
	(void)state;
	for (uint32_t flags = 1; flags <= 7; flags++) {
		case_begin(&c, 15, WA_RMGR_SMGR, 0x20);
		case_u32(&c, 33);
		write_locator(&c);
		case_u32(&c, flags);
		const struct wa_state_op *op = only(&c, WA_OP_REL_TRUNCATE);
		assert_locator(op->rel.rel);
		assert_int_equal(op->rel.blocks, 33);
		assert_int_equal(op->rel.forks, flags);
	}
	case_refuse_cuts(&c, 20);
}

static void test_status_log_pages(void **state)
{
	static const struct {
		enum wa_rmgr rmid;
		uint8_t info;
		enum wa_state_kind kind;
		enum wa_slru slru;
	} cases[] = {
		{WA_RMGR_CLOG, 0x00, WA_OP_SLRU_ZERO, WA_SLRU_XACT},
		{WA_RMGR_CLOG, 0x10, WA_OP_SLRU_TRUNCATE, WA_SLRU_XACT},
		{WA_RMGR_COMMIT_TS, 0x00, WA_OP_SLRU_ZERO, WA_SLRU_COMMIT_TS},
		{WA_RMGR_COMMIT_TS, 0x10, WA_OP_SLRU_TRUNCATE, WA_SLRU_COMMIT_TS},
		{WA_RMGR_MULTIXACT, 0x00, WA_OP_SLRU_ZERO, WA_SLRU_OFFSETS},
		{WA_RMGR_MULTIXACT, 0x10, WA_OP_SLRU_ZERO, WA_SLRU_MEMBERS},
	};
	struct state_case c;
	(void)state;
	for (int major = 13; major <= 18; major++)
		for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
			case_begin(&c, major, cases[i].rmid, cases[i].info);
			if (major >= 17)
				case_u64(&c, 131071);
			else
				case_u32(&c, 131071);
			size_t size = c.writer.offset;
			case_u64(&c, 0); /* oldest xid and its database */
			const struct wa_state_op *op = only(&c, cases[i].kind);
			assert_int_equal(op->slru.slru, cases[i].slru);
			assert_int_equal(op->slru.page, 131071);
			case_refuse_cuts(&c, size);
		}
}

static void test_multixact_create(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_MULTIXACT, 0x20);
	case_u32(&c, 12);
	case_u32(&c, 34);
	case_u32(&c, 2);
	case_u32(&c, 701);
	case_u32(&c, 1);
	case_u32(&c, 702);
	case_u32(&c, 5);
	const struct wa_state_op *op = only(&c, WA_OP_MULTI);
	assert_int_equal(op->multi.mid, 12);
	assert_int_equal(op->multi.offset, 34);
	assert_int_equal(op->multi.count, 2);
	assert_int_equal(op->multi.members[12], 5);
	case_refuse_cuts(&c, 28);

	case_begin(&c, 15, WA_RMGR_MULTIXACT, 0x20);
	case_u32(&c, 12);
	case_u32(&c, 34);
	case_u32(&c, 0x20000001); /* times 8 it is 8 again in 32 bits */
	case_u64(&c, 0);
	assert_int_equal(case_run_cut(&c, c.writer.offset), -EBADMSG);
}

static void test_multixact_truncate(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_MULTIXACT, 0x30);
	for (uint32_t i = 1; i <= 5; i++)
		case_u32(&c, i * 1000);
	case_run(&c);
	assert_int_equal(c.count, 2);
	assert_int_equal(c.ops[0].slru.slru, WA_SLRU_MEMBERS);
	assert_int_equal(c.ops[0].slru.start, 4000);
	assert_int_equal(c.ops[0].slru.limit, 5000);
	assert_int_equal(c.ops[1].slru.slru, WA_SLRU_OFFSETS);
	assert_int_equal(c.ops[1].slru.start, 2000);
	assert_int_equal(c.ops[1].slru.limit, 3000);
	case_refuse_cuts(&c, 20);
}

static void test_commit_ts_of_13(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 13, WA_RMGR_COMMIT_TS, 0x20);
	case_u64(&c, 77);
	case_u16(&c, 3);
	case_u16(&c, 0);
	case_u32(&c, 700);
	case_u32(&c, 701);
	const struct wa_state_op *op = only(&c, WA_OP_COMMIT_TS);
	assert_int_equal(op->commit_ts.xid, 700);
	assert_int_equal(op->commit_ts.origin, 3);
	assert_int_equal(op->commit_ts.time_us, 77);
	assert_int_equal(op->commit_ts.sub.count, 1);
	case_refuse_cuts(&c, 16);
}

/* The same type bits mean a drop in 13 and 14, a creation from 15 on. */
static void test_databases(void **state)
{
	struct state_case c;
	(void)state;
	for (int major = 13; major <= 18; major++) {
		case_begin(&c, major, WA_RMGR_DBASE, 0x00);
		case_u32(&c, 16385);
		case_u32(&c, 1663);
		case_u32(&c, 1);
		case_u32(&c, 1664);
		const struct wa_state_op *op = only(&c, WA_OP_DB_COPY);
		assert_int_equal(op->db.db, 16385);
		assert_int_equal(op->db.spc, 1663);
		assert_int_equal(op->db.from_db, 1);
		assert_int_equal(op->db.from_spc, 1664);
		case_refuse_cuts(&c, 16);

		case_begin(&c, major, WA_RMGR_DBASE, major >= 15 ? 0x20 : 0x10);
		case_u32(&c, 16385);
		case_u32(&c, 2);
		case_u32(&c, 1663);
		case_u32(&c, 16386);
		op = only(&c, WA_OP_DB_DROP);
		assert_int_equal(op->db.db, 16385);
		assert_int_equal(op->db.count, 2);
		assert_int_equal(op->db.spaces[4] | op->db.spaces[5] << 8, 16386);
		case_refuse_cuts(&c, 16);
	}
	case_begin(&c, 15, WA_RMGR_DBASE, 0x10);
	case_u32(&c, 16385);
	case_u32(&c, 1663);
	const struct wa_state_op *op = only(&c, WA_OP_DB_CREATE);
	assert_int_equal(op->db.db, 16385);
	assert_int_equal(op->db.spc, 1663);
	case_refuse_cuts(&c, 8);
}

static void test_tablespaces(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_TBLSPC, 0x00);
	case_u32(&c, 16390);
	nf_write_bytes(&c.writer, "/srv/ts", 8);
	const struct wa_state_op *op = only(&c, WA_OP_SPACE_CREATE);
	assert_int_equal(op->space.spc, 16390);
	assert_int_equal(op->space.path_size, 7);
	assert_memory_equal(op->space.path, "/srv/ts", 7);
	case_refuse_cuts(&c, 12);

	case_begin(&c, 15, WA_RMGR_TBLSPC, 0x00);
	case_u32(&c, 16390);
	nf_write_bytes(&c.writer, "", 1);
	assert_int_equal(only(&c, WA_OP_SPACE_CREATE)->space.path_size, 0);

	case_begin(&c, 15, WA_RMGR_TBLSPC, 0x10);
	case_u32(&c, 16390);
	assert_int_equal(only(&c, WA_OP_SPACE_DROP)->space.spc, 16390);
	case_refuse_cuts(&c, 4);
}

static void test_relation_map(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_RELMAP, 0x00);
	case_u32(&c, 5);
	case_u32(&c, 1663);
	case_u32(&c, 512);
	for (unsigned i = 0; i < 128; i++)
		case_u32(&c, i);
	const struct wa_state_op *op = only(&c, WA_OP_RELMAP);
	assert_int_equal(op->relmap.db, 5);
	assert_int_equal(op->relmap.spc, 1663);
	assert_int_equal(op->relmap.size, 512);
	assert_memory_equal(op->relmap.data, c.main + 12, 512);
	case_refuse_cuts(&c, 524);
}

static void test_origins(void **state)
{
	struct state_case c;
	(void)state;
	for (int force = 0; force <= 1; force++) {
		case_begin(&c, 15, WA_RMGR_REPLORIGIN, 0x00);
		case_u64(&c, 0xABCD);
		case_u16(&c, 7);
		nf_write_u8(&c.writer, (uint8_t)force);
		const struct wa_state_op *op = only(&c, WA_OP_ORIGIN);
		assert_int_equal(op->origin.id, 7);
		assert_int_equal(op->origin.remote.v, 0xABCD);
		assert_int_equal(op->origin.backward, force);
		case_refuse_cuts(&c, 11);
	}
	case_begin(&c, 15, WA_RMGR_REPLORIGIN, 0x10);
	case_u16(&c, 7);
	assert_int_equal(only(&c, WA_OP_ORIGIN_DROP)->origin.id, 7);
	case_refuse_cuts(&c, 2);
}

static void test_mapping(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_HEAP2, 0x00);
	case_u32(&c, 650);
	case_u32(&c, 5);
	case_u32(&c, 16384);
	case_u32(&c, 0);
	case_u64(&c, 72);
	case_u64(&c, 1);
	case_u64(&c, 0xABCD);
	for (unsigned i = 0; i < 9; i++)
		case_u32(&c, i);
	const struct wa_state_op *op = only(&c, WA_OP_MAPPING);
	assert_int_equal(op->mapping.xid, 650);
	assert_int_equal(op->mapping.db, 5);
	assert_int_equal(op->mapping.rel, 16384);
	assert_int_equal(op->mapping.offset, 72);
	assert_int_equal(op->mapping.start.v, 0xABCD);
	assert_int_equal(op->mapping.record_xid, 700);
	assert_int_equal(op->mapping.size, 36);
	case_refuse_cuts(&c, 40);
}

static void test_parameters(void **state)
{
	struct state_case c;
	(void)state;
	case_begin(&c, 15, WA_RMGR_XLOG, 0x60);
	for (uint32_t i = 1; i <= 6; i++)
		case_u32(&c, i * 10);
	nf_write_u8(&c.writer, 1);
	nf_write_u8(&c.writer, 1);
	const struct wa_state_op *op = only(&c, WA_OP_PARAMETERS);
	assert_int_equal(op->parameters.max_connections, 10);
	assert_int_equal(op->parameters.max_worker_processes, 20);
	assert_int_equal(op->parameters.max_wal_senders, 30);
	assert_int_equal(op->parameters.max_prepared_xacts, 40);
	assert_int_equal(op->parameters.max_locks_per_xact, 50);
	assert_int_equal(op->parameters.wal_level, 60);
	assert_true(op->parameters.wal_log_hints && op->parameters.track_commit_timestamp);
	case_refuse_cuts(&c, 26);
}

/* Page records, unknown types and extensions' managers have no operations. */
static void test_no_operations(void **state)
{
	static const struct {
		int rmid;
		uint8_t info;
	} cases[] = {{WA_RMGR_HEAP, 0x00},    {WA_RMGR_XLOG, 0x00}, {WA_RMGR_XLOG, 0x30},
		     {WA_RMGR_STANDBY, 0x10}, {WA_RMGR_SMGR, 0xF0}, {200, 0}};
	struct state_case c;
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		case_begin(&c, 15, (enum wa_rmgr)cases[i].rmid, cases[i].info);
		case_run(&c);
		assert_int_equal(c.count, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relation_create),
		cmocka_unit_test(test_relation_truncate),
		cmocka_unit_test(test_status_log_pages),
		cmocka_unit_test(test_multixact_create),
		cmocka_unit_test(test_multixact_truncate),
		cmocka_unit_test(test_commit_ts_of_13),
		cmocka_unit_test(test_databases),
		cmocka_unit_test(test_tablespaces),
		cmocka_unit_test(test_relation_map),
		cmocka_unit_test(test_origins),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_no_operations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
