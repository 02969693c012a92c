/* B-tree splits: both variants, posting lists split at the same time, the neighbours, and new roots. */
#include "index_case.h"

enum { SPLIT_L = 0x30, SPLIT_R = 0x40, NEWROOT = 0xA0 };
enum { LEAF = 1, ROOT = 2, GARBAGE = 64, INCOMPLETE = 128 };

static const struct case_family btree = {WA_RMGR_BTREE, INDEX_SPECIAL, wa_mask_btree};

/* The record's data of the left page: maybe a new tuple, then the high key. */
struct left {
	uint8_t data[2 * CASE_TUPLE];
	size_t size;
};

static struct left left_of(unsigned new_number, uint64_t new_key, uint64_t high_key)
{
	struct left left = {.size = 0};
	if (new_number != 0) {
		make_tuple(left.data, new_number, new_key);
		left.size = CASE_TUPLE;
	}
	make_tuple(left.data + left.size, 0, high_key);
	left.size += CASE_TUPLE;
	return left;
}

static struct index_case *split(uint8_t info, uint32_t level, uint16_t first_right, uint16_t new_off, uint16_t posting_at,
				struct left left)
{
	struct index_case *c = case_new(15, &btree, info, wa_redo_btree_split);
	uint8_t main[10], right[3 * CASE_TUPLE];
	wa_put32(main, level);
	wa_put16(main + 4, first_right);
	wa_put16(main + 6, new_off);
	wa_put16(main + 8, posting_at);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 7, false, left.data, left.size);
	/* The right page's tuples as they lie on a page: the last item first. */
	make_tuple(right, 9, 90);
	make_tuple(right + CASE_TUPLE, 8, 80);
	make_tuple(right + 2 * CASE_TUPLE, 0, 99);
	case_ref(c, 1, 20, true, right, sizeof(right));
	case_ref(c, 2, 12, false, NULL, 0);
	case_ref(c, 3, 5, false, NULL, 0);
	return c;
}

/* A leaf with a high key and data items 2 .. 5. */
static void fill_leaf(struct index_case *c)
{
	add_tuple(c, 0, 100);
	for (unsigned i = 1; i <= 4; i++)
		add_tuple(c, i, 10 * i);
	case_set_special32(c, 0, 6);
	case_set_special32(c, 4, 12);
	case_set_flags(c, LEAF | GARBAGE);
	wa_put16(c->page + WA_PAGE_SIZE - 2, 33); /* cycle id */
}

static void expect_left(struct index_case *c)
{
	assert_int_equal(case_special32(c, 0), 6);
	assert_int_equal(case_special32(c, 4), 20);
	assert_int_equal(case_flags(c), LEAF | INCOMPLETE);
	assert_int_equal(wa_get16(c->page + WA_PAGE_SIZE - 2), 0);
}

static void new_item_right(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_R, 0, 4, 5, 0, left_of(0, 0, 30));
	fill_leaf(c);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 1, 0, 30);
	expect_tuple(c, 2, 1, 10);
	expect_tuple(c, 3, 2, 20);
	expect_left(c);
	case_free(c);
}

static void new_item_left(void **state)
{
	(void)state;
	for (uint16_t off = 2; off <= 4; off++) { /* 4: behind all that stay */
		struct index_case *c = split(SPLIT_L, 0, 4, off, 0, left_of(77, 15, 30));
		fill_leaf(c);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_page_item_count(c->page), 4);
		expect_tuple(c, 1, 0, 30);
		expect_tuple(c, off, 77, 15);
		expect_tuple(c, off == 2 ? 3 : 2, 1, 10);
		expect_tuple(c, off == 4 ? 3 : 4, 2, 20);
		expect_left(c);
		case_free(c);
	}
}

/* The rightmost page has no high key: item 1 is data. */
static void rightmost(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_R, 0, 3, 5, 0, left_of(0, 0, 30));
	for (unsigned i = 1; i <= 4; i++)
		add_tuple(c, i, 10 * i);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 1, 0, 30);
	expect_tuple(c, 2, 1, 10);
	expect_tuple(c, 3, 2, 20);
	case_free(c);
}

static void fill_posting(struct index_case *c)
{
	add_tuple(c, 0, 100);
	add_tuple(c, 1, 10);
	add_posting(c, 20, 3, (unsigned[]){2, 4, 6});
	add_tuple(c, 7, 30);
	case_set_special32(c, 0, 6);
	case_set_special32(c, 4, 12);
}

static void posting_left(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_L, 0, 4, 4, 1, left_of(3, 20, 30));
	fill_posting(c);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 4);
	expect_tuple(c, 2, 1, 10);
	expect_posting(c, 3, 20, 3, (unsigned[]){2, 3, 4});
	expect_tuple(c, 4, 6, 20);
	expect_left(c);
	case_free(c);
}

/* The posting list is the last to stay; the new tuple goes right, where the record has it ready made. */
static void posting_last_left(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_R, 0, 4, 4, 2, left_of(5, 20, 30));
	fill_posting(c);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_posting(c, 3, 20, 3, (unsigned[]){2, 4, 5});
	case_free(c);
}

static void right_page(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_R, 0, 4, 5, 0, left_of(0, 0, 30));
	fill_leaf(c); /* whatever was there */
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 1, 0, 99);
	expect_tuple(c, 2, 8, 80);
	expect_tuple(c, 3, 9, 90);
	assert_int_equal(case_special32(c, 0), 7);
	assert_int_equal(case_special32(c, 4), 12);
	assert_int_equal(case_flags(c), LEAF);
	case_free(c);
}

static void neighbours(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_R, 1, 4, 5, 0, left_of(0, 0, 30));
	fill_leaf(c);
	case_set_flags(c, INCOMPLETE);
	case_mutate(c, 2);
	case_mutate(c, 3);
	case_redo(c, 2);
	assert_int_equal(case_special32(c, 0), 20);
	assert_int_equal(case_special32(c, 4), 12);
	case_redo(c, 3);
	assert_int_equal(case_flags(c), 0);
	case_free(c);
}

static void items_missing(void **state)
{
	(void)state;
	struct index_case *c = split(SPLIT_R, 0, 7, 5, 0, left_of(0, 0, 30));
	fill_leaf(c); /* items 6 and 7 should stay left, and there are five */
	case_refuse(c, 0);
	case_free(c);
	c = split(SPLIT_L, 0, 4, 3, 0, left_of(0, 0, 30)); /* a new tuple on the left, and none in the record */
	fill_leaf(c);
	case_refuse(c, 0);
	case_free(c);
}

static struct index_case *newroot(uint32_t level)
{
	struct index_case *c = case_new(15, &btree, NEWROOT, wa_redo_btree_newroot);
	uint32_t main[2] = {3, level};
	uint8_t items[2 * CASE_TUPLE];
	case_main(c, main, sizeof(main));
	make_tuple(items, 2, 50);
	make_tuple(items + CASE_TUPLE, 1, 0);
	case_ref(c, 0, 3, true, items, level > 0 ? sizeof(items) : 0);
	case_ref(c, 1, 1, false, NULL, 0);
	return c;
}

static void new_root(void **state)
{
	(void)state;
	struct index_case *c = newroot(2);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_tuple(c, 1, 1, 0);
	expect_tuple(c, 2, 2, 50);
	assert_int_equal(case_flags(c), ROOT);
	assert_int_equal(case_special32(c, 8), 2);
	case_set_flags(c, LEAF | INCOMPLETE);
	case_redo(c, 1);
	assert_int_equal(case_flags(c), LEAF);
	case_free(c);

	c = newroot(0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 0);
	assert_int_equal(case_flags(c), ROOT | LEAF);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_item_right), cmocka_unit_test(new_item_left),     cmocka_unit_test(rightmost),
		cmocka_unit_test(posting_left),   cmocka_unit_test(posting_last_left), cmocka_unit_test(right_page),
		cmocka_unit_test(neighbours),     cmocka_unit_test(items_missing),     cmocka_unit_test(new_root),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
