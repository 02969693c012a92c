/* Row locks, of a row and of its later versions. */
#include "heap_case.h"

enum { LOCK = 0x60, LOCK_UPDATED = 0x60 };
enum { IS_MULTI = 1, LOCK_ONLY = 2, EXCL = 4, KEYSHR = 8, KEYS = 16 };
enum { FROZEN_CLEARED = 1 };

/* A tuple that was HOT-updated to item 5, and a lock on it. */
static struct index_case *lock(const struct case_family *family, wa_redo_fn redo, unsigned infobits)
{
	uint8_t main[8];
	struct index_case *c = heap_case(15, family, LOCK, redo);
	wa_put32(main, 321);
	wa_put16(main + 4, 1);
	main[6] = (uint8_t)infobits;
	main[7] = FROZEN_CLEARED;
	case_main(c, main, sizeof(main));
	case_ref(c, 0, CASE_BLOCK, false, NULL, 0);
	heap_case_tuple(c, 0xC000 | 0x0C20 | 0x0102, "row");
	uint8_t *tuple = heap_case_find(c, 1, NULL);
	wa_put32(tuple + HEAP_CID, 3);
	heap_set_bits(tuple, HEAP_INFOMASK2, 0, HEAP_HOT_UPDATED | HEAP_KEYS_UPDATED);
	heap_set_ctid(tuple, CASE_BLOCK, 5);
	heap_set_all_visible(c->page, true);
	return c;
}

static void expect(struct index_case *c, unsigned infomask, unsigned infomask2, unsigned cid, unsigned ctid_off)
{
	const uint8_t *tuple = heap_case_find(c, 1, NULL);
	assert_int_equal(wa_get32(tuple + HEAP_XMAX), 321);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK), infomask);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK2), infomask2);
	assert_int_equal(wa_get32(tuple + HEAP_CID), cid);
	heap_case_expect_ctid(c, 1, CASE_BLOCK, ctid_off);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, WA_PD_ALL_VISIBLE);
}

static void row(void **state)
{
	(void)state;
	static const struct {
		unsigned infobits, infomask, infomask2, ctid;
	} cases[] = {
		{LOCK_ONLY | EXCL, 0x01C2, 0x0002, 1},
		{LOCK_ONLY | KEYSHR | IS_MULTI, 0x1192, 0x0002, 1},
		{LOCK_ONLY | EXCL | KEYSHR, 0x01D2, 0x0002, 1},
		{EXCL, 0x0142, 0x0002, 1}, /* a lock as before 9.3 */
		{IS_MULTI | EXCL | KEYS, 0x1142, 0x6002, 5}, /* an update is among the members */
		{KEYS, 0x0102, 0x6002, 5},
	};
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct index_case *c = lock(&heap_family, wa_redo_heap_lock, cases[i].infobits);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect(c, cases[i].infomask, cases[i].infomask2, 0, cases[i].ctid);
		case_free(c);
	}
}

/* A later version keeps its place in the chain and its command id. */
static void later_version(void **state)
{
	(void)state;
	struct index_case *c = lock(&heap2_family, wa_redo_heap2_lock_updated, LOCK_ONLY | KEYSHR);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect(c, 0x01B2, 0x4002, 3, 5);
	case_ref(c, 3, 0, false, NULL, 0);
	case_refuse(c, 3);
	c->record.main_len--;
	case_refuse(c, 0);
	case_free(c);
}

static void map(void **state)
{
	(void)state;
	struct index_case *c = lock(&heap_family, wa_redo_heap_lock, EXCL);
	heap_case_map_ref(c, 1, 0);
	heap_case_map_page(c, CASE_BLOCK, VM_BITS);
	case_redo(c, 1);
	heap_case_expect_map(c, CASE_BLOCK, VM_ALL_VISIBLE);
	case_free(c);
	c = lock(&heap2_family, wa_redo_heap2_lock_updated, EXCL);
	heap_case_map_ref(c, 1, 0);
	heap_case_map_page(c, CASE_BLOCK, VM_BITS);
	case_redo(c, 1);
	heap_case_expect_map(c, CASE_BLOCK, VM_ALL_VISIBLE);
	wa_put16(c->page + 14, 0); /* a page that is not there stays so */
	assert_int_equal(case_run(c, 1), WA_REDONE);
	assert_int_equal(wa_page_lsn(c->page).v, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(row), cmocka_unit_test(later_version), cmocka_unit_test(map)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
