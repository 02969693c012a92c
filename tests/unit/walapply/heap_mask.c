/* What the mask of the heap blanks, and what it leaves. */
#include "heap_case.h"

#include <errno.h>
#include <string.h>

static struct index_case *page_of(uint16_t infomask)
{
	struct index_case *c = heap_case(15, &heap_family, 0, wa_redo_heap_insert);
	heap_case_tuple(c, infomask, "row");
	return c;
}

static void same_after_mask(struct index_case *a, struct index_case *b, bool same)
{
	assert_int_equal(case_mask(a, a->page), 0);
	assert_int_equal(case_mask(b, b->page), 0);
	assert_int_equal(memcmp(a->page, b->page, WA_PAGE_SIZE) == 0, same);
	case_free(a);
	case_free(b);
}

static void hint_bits(void **state)
{
	(void)state;
	same_after_mask(page_of(0x0902), page_of(0x0502), true);
	same_after_mask(page_of(0x0902), page_of(0x0903), false);
	same_after_mask(page_of(0x0F02), page_of(0x0302), true); /* frozen: what tells of xmax is blanked */
	same_after_mask(page_of(0x0B02), page_of(0x0342), false); /* and nothing else */
}

static void rest(void **state)
{
	(void)state;
	struct index_case *a = page_of(2), *b = page_of(2);
	wa_page_set_lsn(a->page, (struct nf_lsn){77});
	wa_put16(a->page + 8, 5);
	wa_put32(a->page + 20, 6);
	wa_page_set_flags(a->page, 7);
	a->page[4000] = 1; /* between line pointers and tuples */
	wa_put32(heap_case_find(a, 1, NULL) + HEAP_CID, 8);
	heap_case_find(a, 1, NULL)[27] = 9; /* padding */
	heap_set_ctid(heap_case_find(a, 1, NULL), 12345, HEAP_SPECULATIVE);
	same_after_mask(a, b, true);

	a = page_of(2), b = page_of(2);
	heap_set_ctid(heap_case_find(a, 1, NULL), CASE_BLOCK, 2);
	same_after_mask(a, b, false);
	a = page_of(2), b = page_of(2);
	heap_case_find(a, 1, NULL)[26] = 'x';
	same_after_mask(a, b, false);
}

static void refused(void **state)
{
	(void)state;
	static const struct wa_item bad[] = {{.flags = WA_LP_NORMAL, .offset = 8180, .len = 30},
					     {.flags = WA_LP_NORMAL, .offset = 8000, .len = 10},
					     {.flags = WA_LP_DEAD, .offset = 8189, .len = 3},
					     {.flags = WA_LP_NORMAL, .offset = 10, .len = 30}};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		struct index_case *c = page_of(2);
		assert_int_equal(wa_page_set_item(c->page, 1, bad[i]), 0);
		assert_int_equal(case_mask(c, c->page), -EBADMSG);
		assert_true(c->error.text[0] != '\0');
		case_free(c);
	}
	struct index_case *c = page_of(2);
	wa_put16(c->page + 12, 9000);
	assert_int_equal(case_mask(c, c->page), -EBADMSG);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(hint_bits), cmocka_unit_test(rest), cmocka_unit_test(refused)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
