/* Bucket splits of a hash index: flags of both buckets, and what the meta page learns. */
#include "index_case.h"

#include "common/nf_cursor.h"

enum { ALLOCATE = 0x40, COMPLETE = 0x60, CLEANUP = 0xA0 };
enum { BUCKET = 2, BEING_POPULATED = 16, BEING_SPLIT = 32, NEEDS_CLEANUP = 64 };
enum { MAX_BUCKET = 48, HIGH_MASK = 52, LOW_MASK = 56, SPLIT_POINT = 60, SPARES = 76 };

static const struct case_family hash = {WA_RMGR_HASH, INDEX_SPECIAL, wa_mask_hash};

static struct index_case *allocate(uint8_t what, uint32_t split_point)
{
	struct index_case *c = case_new(15, &hash, ALLOCATE, wa_redo_hash_split_allocate);
	uint8_t main[9], data[16];
	struct nf_writer w = nf_writer_init(data, sizeof(data));
	wa_put32(main, 8);
	wa_put16(main + 4, BUCKET | BEING_SPLIT);
	wa_put16(main + 6, BUCKET | BEING_POPULATED);
	main[8] = what;
	if (what & 1) {
		nf_write_u32(&w, 7);
		nf_write_u32(&w, 15);
	}
	if (what & 2) {
		nf_write_u32(&w, split_point);
		nf_write_u32(&w, 21);
	}
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 1, false, NULL, 0);
	case_ref(c, 1, 10, true, NULL, 0);
	case_ref(c, 2, 0, false, data, w.offset);
	return c;
}

static void buckets(void **state)
{
	(void)state;
	struct index_case *c = allocate(0, 0);
	add_tuple(c, 1, 10);
	case_set_special32(c, 4, 33);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(case_flags(c), BUCKET | BEING_SPLIT);
	assert_int_equal(case_special32(c, 0), 8);
	assert_int_equal(case_special32(c, 4), 33);
	expect_tuple(c, 1, 1, 10);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(case_flags(c), BUCKET | BEING_POPULATED);
	assert_int_equal(case_special32(c, 0), 8);
	assert_int_equal(case_special32(c, 4), 0xFFFFFFFF);
	assert_int_equal(case_special32(c, 8), 8);
	assert_int_equal(wa_page_item_count(c->page), 0);
	case_free(c);
}

static void meta(void **state)
{
	(void)state;
	for (uint8_t what = 0; what < 4; what++) {
		struct index_case *c = allocate(what, 4);
		case_mutate(c, 2);
		case_redo(c, 2);
		assert_int_equal(wa_get32(c->page + MAX_BUCKET), 8);
		assert_int_equal(wa_get32(c->page + LOW_MASK), what & 1 ? 7 : 0);
		assert_int_equal(wa_get32(c->page + HIGH_MASK), what & 1 ? 15 : 0);
		assert_int_equal(wa_get32(c->page + SPLIT_POINT), what & 2 ? 4 : 0);
		assert_int_equal(wa_get32(c->page + SPARES + 16), what & 2 ? 21 : 0);
		case_free(c);
	}
	struct index_case *c = allocate(2, 98); /* there are 98, from 0 */
	case_refuse(c, 2);
	case_free(c);
}

static void complete(void **state)
{
	(void)state;
	static const uint16_t main[] = {BUCKET | NEEDS_CLEANUP, BUCKET};
	struct index_case *c = case_new(15, &hash, COMPLETE, wa_redo_hash_split_complete);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 1, false, NULL, 0);
	case_ref(c, 1, 10, false, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(case_flags(c), BUCKET | NEEDS_CLEANUP);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(case_flags(c), BUCKET);
	case_free(c);
}

static void cleanup(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &hash, CLEANUP, wa_redo_hash_split_cleanup);
	case_ref(c, 0, 1, false, NULL, 0);
	case_set_flags(c, BUCKET | NEEDS_CLEANUP);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(case_flags(c), BUCKET);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets),
		cmocka_unit_test(meta),
		cmocka_unit_test(complete),
		cmocka_unit_test(cleanup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
