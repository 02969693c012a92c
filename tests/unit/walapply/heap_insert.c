/* New heap tuples: one, many, on a page of their own, and the visibility map's page where the record names it. */
#include "heap_case.h"

#include <string.h>

enum { INSERT = 0x00, MULTI_INSERT = 0x50, INIT = 0x80 };
enum { CLEARED = 1, FROZEN = 32, COMBO = 0x20, NO_XMAX = 0x0800 };

static struct index_case *insertion(unsigned off, unsigned flags, uint8_t info, const char *text)
{
	uint8_t main[3], data[200];
	struct index_case *c = heap_case(15, &heap_family, info, wa_redo_heap_insert);
	wa_put16(main, (uint16_t)off);
	main[2] = (uint8_t)flags;
	case_main(c, main, sizeof(main));
	unsigned size = heap_case_header(data, 3, NO_XMAX | COMBO);
	memcpy(data + size, text, strlen(text));
	case_ref(c, 0, CASE_BLOCK, info & INIT, data, size + strlen(text));
	return c;
}

static void one(void **state)
{
	(void)state;
	struct index_case *c = insertion(2, CLEARED, INSERT, "new");
	heap_case_tuple(c, 0, "old");
	heap_set_all_visible(c->page, true);
	case_mutate(c, 0);
	case_redo(c, 0);
	heap_case_expect(c, 1, "old");
	heap_case_expect(c, 2, "new");
	heap_case_expect_ctid(c, 2, CASE_BLOCK, 2);
	const uint8_t *tuple = heap_case_find(c, 2, NULL);
	assert_int_equal(wa_get32(tuple + HEAP_XMIN), CASE_XID);
	assert_int_equal(wa_get32(tuple + HEAP_XMAX), 0);
	assert_int_equal(wa_get32(tuple + HEAP_CID), 0);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK), NO_XMAX);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK2), 3);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, 0);
	case_free(c);
}

/* An unused line pointer is taken again; a used one, none and one beyond the next are not. */
static void places(void **state)
{
	(void)state;
	struct index_case *c = insertion(1, 0, INSERT, "new");
	heap_case_tuple(c, 0, "a");
	heap_case_tuple(c, 0, "b");
	case_refuse(c, 0);
	assert_int_equal(wa_page_set_item(c->page, 1, (struct wa_item){0}), 0);
	case_redo(c, 0);
	heap_case_expect(c, 1, "new");
	case_free(c);
	static const unsigned bad[] = {0, 3, 292, 0xFFFF};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		c = insertion(bad[i], 0, INSERT, "new");
		heap_case_tuple(c, 0, "a");
		case_refuse(c, 0);
		case_free(c);
	}
	c = insertion(1, 0, INSERT, "new");
	memset(c->page, 0, WA_PAGE_SIZE); /* a page that is not there */
	case_refuse(c, 0);
	case_free(c);
}

/* A heap page has no more line pointers than it could have tuples. */
static void most_lines(void **state)
{
	(void)state;
	struct index_case *c = insertion(292, 0, INSERT, "new");
	wa_put16(c->page + 12, WA_PAGE_HEADER + 4 * 291);
	case_refuse(c, 0);
	case_free(c);
	c = insertion(291, 0, INSERT, "new");
	wa_put16(c->page + 12, WA_PAGE_HEADER + 4 * 291);
	case_redo(c, 0);
	heap_case_expect(c, 291, "new");
	c->record.main_len--;
	case_refuse(c, 0);
	case_free(c);
}

static void first_of_page(void **state)
{
	(void)state;
	struct index_case *c = insertion(1, 0, INSERT | INIT, "first");
	for (unsigned i = 0; i < 5; i++)
		heap_case_tuple(c, 0, "left over");
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 1);
	assert_int_equal(wa_page_special(c->page), WA_PAGE_SIZE);
	heap_case_expect(c, 1, "first");
	case_free(c);
}

static void named_map(void **state)
{
	(void)state;
	struct index_case *c = insertion(2, CLEARED, INSERT, "new");
	heap_case_map_ref(c, 1, 0);
	heap_case_map_page(c, CASE_BLOCK, VM_BITS);
	case_redo(c, 1);
	heap_case_expect_map(c, CASE_BLOCK, 0);
	/* Nothing to clear: the LSN stays. */
	assert_int_equal(case_run(c, 1), WA_REDONE);
	assert_int_equal(wa_page_lsn(c->page).v, 0);
	c->record.refs[1].block.blkno = 1;
	case_refuse(c, 1);
	c->record.refs[1].block.blkno = 0;
	c->record.refs[1].block.fork = WA_FORK_MAIN;
	case_refuse(c, 1);
	case_free(c);

	c = insertion(2, 0, INSERT, "new"); /* without the flag the map is left alone */
	heap_case_map_ref(c, 1, 0);
	heap_case_map_page(c, CASE_BLOCK, VM_BITS);
	assert_int_equal(case_run(c, 1), WA_REDONE);
	assert_int_equal(wa_page_lsn(c->page).v, 0);
	heap_case_expect_map(c, CASE_BLOCK, VM_BITS);
	case_free(c);
}

/* "odd", "even" and "x", with the padding between them that the record has. */
static struct index_case *multi(uint8_t info, unsigned flags, const uint16_t offs[3])
{
	static const char *const texts[] = {"odd", "even", "x"};
	uint8_t main[10] = {(uint8_t)flags, 0, 3, 0}, data[200];
	unsigned at = 0, main_size = 4;
	struct index_case *c = heap_case(15, &heap2_family, MULTI_INSERT | info, wa_redo_heap2_multi_insert);
	for (unsigned i = 0; i < 3; i++) {
		if (offs != NULL)
			wa_put16(main + 4 + 2 * i, offs[i]);
		at += at % 2;
		wa_put16(data + at, (uint16_t)(1 + strlen(texts[i])));
		heap_case_header(data + at + 2, 3, NO_XMAX);
		memcpy(data + at + 8, texts[i], strlen(texts[i]));
		at += 8 + (unsigned)strlen(texts[i]);
	}
	case_main(c, main, offs != NULL ? main_size + 6 : main_size);
	case_ref(c, 0, CASE_BLOCK, info & INIT, data, at);
	return c;
}

static void many(void **state)
{
	(void)state;
	static const uint16_t offs[] = {3, 1, 4};
	struct index_case *c = multi(0, CLEARED, offs);
	heap_case_tuple(c, 0, "a");
	heap_case_tuple(c, 0, "b");
	assert_int_equal(wa_page_set_item(c->page, 1, (struct wa_item){0}), 0);
	heap_set_all_visible(c->page, true);
	case_mutate(c, 0);
	case_redo(c, 0);
	heap_case_expect(c, 1, "even");
	heap_case_expect(c, 2, "b");
	heap_case_expect(c, 3, "odd");
	heap_case_expect(c, 4, "x");
	heap_case_expect_ctid(c, 4, CASE_BLOCK, 4);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, 0);
	case_free(c);
}

static void many_of_page(void **state)
{
	(void)state;
	struct index_case *c = multi(INIT, FROZEN, NULL);
	heap_case_tuple(c, 0, "left over");
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	heap_case_expect(c, 1, "odd");
	heap_case_expect(c, 2, "even");
	heap_case_expect(c, 3, "x");
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, WA_PD_ALL_VISIBLE);
	c->record.refs[0].data_len--;
	case_refuse(c, 0);
	c->record.refs[0].data_len++;
	((uint8_t *)c->record.main)[2] = 2; /* one tuple too many in the data */
	case_refuse(c, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one),           cmocka_unit_test(places),    cmocka_unit_test(most_lines),
		cmocka_unit_test(first_of_page), cmocka_unit_test(named_map), cmocka_unit_test(many),
		cmocka_unit_test(many_of_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
