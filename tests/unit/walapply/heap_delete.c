/* A heap tuple is deleted, confirmed, or written over where it lies. */
#include "heap_case.h"

#include <string.h>

enum { DELETE = 0x10, CONFIRM = 0x50, INPLACE = 0x70 };
enum { CLEARED = 1, SUPER = 8, MOVED = 16 };
enum { IS_MULTI = 1, KEYS = 16 };
enum { OLD_XMAX_BITS = 0x0800 | 0x0080 | 0x0020 };

static struct index_case *deletion(unsigned flags)
{
	uint8_t main[8];
	struct index_case *c = heap_case(15, &heap_family, DELETE, wa_redo_heap_delete);
	wa_put32(main, 777);
	wa_put16(main + 4, 2);
	main[6] = IS_MULTI | KEYS;
	main[7] = (uint8_t)flags;
	case_main(c, main, sizeof(main));
	case_ref(c, 0, CASE_BLOCK, false, NULL, 0);
	heap_case_tuple(c, 0, "other");
	heap_case_tuple(c, OLD_XMAX_BITS | 0x0102, "gone");
	wa_put32(heap_case_find(c, 2, NULL) + HEAP_CID, 5);
	heap_set_bits(heap_case_find(c, 2, NULL), HEAP_INFOMASK2, 0, HEAP_HOT_UPDATED);
	heap_set_ctid(heap_case_find(c, 2, NULL), CASE_BLOCK, 1);
	heap_set_all_visible(c->page, true);
	return c;
}

static void plain(void **state)
{
	(void)state;
	struct index_case *c = deletion(CLEARED);
	case_mutate(c, 0);
	case_redo(c, 0);
	const uint8_t *tuple = heap_case_find(c, 2, NULL);
	assert_int_equal(wa_get32(tuple + HEAP_XMAX), 777);
	assert_int_equal(wa_get32(tuple + HEAP_XMIN), 900);
	assert_int_equal(wa_get32(tuple + HEAP_CID), 0);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK), 0x1102);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK2), 0x2002);
	heap_case_expect_ctid(c, 2, CASE_BLOCK, 2);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, 0);
	assert_int_equal(wa_get32(c->page + 20), CASE_XID);
	assert_int_equal(wa_get32(heap_case_find(c, 1, NULL) + HEAP_XMAX), 0);
	case_free(c);
}

static void kinds(void **state)
{
	(void)state;
	struct index_case *c = deletion(SUPER);
	case_redo(c, 0);
	assert_int_equal(wa_get32(heap_case_find(c, 2, NULL) + HEAP_XMIN), 0);
	assert_int_equal(wa_get32(heap_case_find(c, 2, NULL) + HEAP_XMAX), 0);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, WA_PD_ALL_VISIBLE);
	case_free(c);
	c = deletion(MOVED);
	case_redo(c, 0);
	heap_case_expect_ctid(c, 2, 0xFFFFFFFF, 0xFFFD);
	case_free(c);
	c = deletion(CLEARED);
	heap_case_map_ref(c, 1, 0);
	heap_case_map_page(c, CASE_BLOCK, 1);
	case_redo(c, 1);
	heap_case_expect_map(c, CASE_BLOCK, 0);
	case_free(c);
}

/* Of two transactions the earlier one stays; ids run in a circle. */
static void prunable(void **state)
{
	(void)state;
	static const struct {
		uint32_t before, after;
	} cases[] = {{0, CASE_XID}, {999, 999}, {1001, CASE_XID}, {0xFFFFFF00, 0xFFFFFF00}, {2, 2}, {CASE_XID, CASE_XID}};
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct index_case *c = deletion(0);
		wa_put32(c->page + 20, cases[i].before);
		case_redo(c, 0);
		assert_int_equal(wa_get32(c->page + 20), cases[i].after);
		case_free(c);
	}
	struct index_case *c = deletion(0); /* a special id is before all others, also before those half a circle away */
	c->record.xid = 0x80000005;
	wa_put32(c->page + 20, 1);
	case_redo(c, 0);
	assert_int_equal(wa_get32(c->page + 20), 1);
	c->record.main_len--;
	case_refuse(c, 0);
	case_free(c);
}

static void no_tuple(void **state)
{
	(void)state;
	static const struct wa_item bad[] = {{.flags = WA_LP_DEAD},
					     {.flags = WA_LP_REDIRECT, .offset = 1},
					     {0},
					     {.flags = WA_LP_NORMAL, .offset = 8184, .len = 8},
					     {.flags = WA_LP_NORMAL, .offset = 8180, .len = 24}};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		struct index_case *c = deletion(0);
		assert_int_equal(wa_page_set_item(c->page, 2, bad[i]), 0);
		case_refuse(c, 0);
		case_free(c);
	}
	struct index_case *c = deletion(0);
	case_ref(c, 2, 8, false, NULL, 0);
	case_refuse(c, 2);
	case_free(c);
}

static struct index_case *in_place(uint8_t info, wa_redo_fn redo, const char *data)
{
	static const uint16_t off = 1;
	struct index_case *c = heap_case(15, &heap_family, info, redo);
	case_main(c, &off, sizeof(off));
	case_ref(c, 0, CASE_BLOCK, false, data, strlen(data));
	heap_case_tuple(c, 0, "before");
	heap_set_ctid(heap_case_find(c, 1, NULL), 99, 0xFFFE);
	return c;
}

static void confirm(void **state)
{
	(void)state;
	struct index_case *c = in_place(CONFIRM, wa_redo_heap_confirm, "");
	case_mutate(c, 0);
	case_redo(c, 0);
	heap_case_expect_ctid(c, 1, CASE_BLOCK, 1);
	case_free(c);
}

static void inplace(void **state)
{
	(void)state;
	struct index_case *c = in_place(INPLACE, wa_redo_heap_inplace, "behind");
	case_mutate(c, 0);
	case_redo(c, 0);
	heap_case_expect(c, 1, "behind");
	heap_case_expect_ctid(c, 1, 99, 0xFFFE);
	case_free(c);
	c = in_place(INPLACE, wa_redo_heap_inplace, "longer!");
	case_refuse(c, 0);
	case_free(c);
	c = in_place(INPLACE, wa_redo_heap_inplace, "behind");
	heap_case_find(c, 1, NULL)[HEAP_HOFF] = 255;
	case_refuse(c, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),    cmocka_unit_test(kinds),   cmocka_unit_test(prunable),
		cmocka_unit_test(no_tuple), cmocka_unit_test(confirm), cmocka_unit_test(inplace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
