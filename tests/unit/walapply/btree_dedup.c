/* B-tree deduplication: which items become posting lists, and what the rebuilt page looks like. */
#include "index_case.h"

#define DEDUP 0x60
enum { LEAF = 1, GARBAGE = 64 };

static const struct case_family btree = {WA_RMGR_BTREE, INDEX_SPECIAL, wa_mask_btree};

static struct index_case *dedup(unsigned count, const uint16_t (*intervals)[2])
{
	struct index_case *c = case_new(15, &btree, DEDUP, wa_redo_btree_dedup);
	uint16_t main = (uint16_t)count;
	case_main(c, &main, sizeof(main));
	case_ref(c, 0, 7, false, intervals, count * sizeof(intervals[0]));
	case_set_flags(c, LEAF | GARBAGE);
	return c;
}

/* High key; 10, 20, 20 (a list already), 20, 30, 40, 40. */
static void fill_page(struct index_case *c)
{
	case_set_special32(c, 4, 9);
	add_tuple(c, 0, 100);
	add_tuple(c, 1, 10);
	add_tuple(c, 2, 20);
	add_posting(c, 20, 3, (unsigned[]){3, 4, 5});
	add_tuple(c, 6, 20);
	add_tuple(c, 7, 30);
	add_tuple(c, 8, 40);
	add_tuple(c, 9, 40);
}

static void merges(void **state)
{
	(void)state;
	struct index_case *c = dedup(2, (const uint16_t[][2]){{3, 3}, {7, 2}});
	fill_page(c);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 5);
	expect_tuple(c, 1, 0, 100);
	expect_tuple(c, 2, 1, 10);
	expect_posting(c, 3, 20, 5, (unsigned[]){2, 3, 4, 5, 6});
	expect_tuple(c, 4, 7, 30);
	expect_posting(c, 5, 40, 2, (unsigned[]){8, 9});
	assert_int_equal(case_flags(c), LEAF);
	assert_int_equal(case_special32(c, 4), 9);
	/* In item order from the end, no gaps. */
	assert_int_equal(wa_page_upper(c->page), INDEX_SPECIAL_AT - 3 * CASE_TUPLE - 48 - 32);
	case_free(c);
}

/* A list as the first of a run: it gives the key without its own TIDs. */
static void list_first(void **state)
{
	(void)state;
	struct index_case *c = dedup(1, (const uint16_t[][2]){{4, 2}});
	fill_page(c);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 7);
	expect_posting(c, 4, 20, 4, (unsigned[]){3, 4, 5, 6});
	case_free(c);
}

static void rightmost(void **state)
{
	(void)state;
	struct index_case *c = dedup(1, (const uint16_t[][2]){{1, 2}});
	add_tuple(c, 1, 10);
	add_tuple(c, 2, 10);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 1);
	expect_posting(c, 1, 10, 2, (unsigned[]){1, 2});
	case_free(c);
}

static void refused(void **state)
{
	(void)state;
	static const uint16_t bad[][2] = {{3, 7}, {3, 1}, {3, 0}, {1, 2}, {9, 2}, {0, 2}, {3, 0xFFFF}};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		struct index_case *c = dedup(1, &bad[i]);
		fill_page(c);
		case_refuse(c, 0);
		case_free(c);
	}
	struct index_case *c = dedup(2, (const uint16_t[][2]){{7, 2}, {3, 3}}); /* not in order */
	fill_page(c);
	case_refuse(c, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges),
		cmocka_unit_test(list_first),
		cmocka_unit_test(rightmost),
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
