/* GIN entry trees and the inner pages of posting trees: inserts, splits, deleted pages, and masking. */
#include "gin_case.h"

enum { INSERT = 0x20, SPLIT = 0x30, DELETE_PAGE = 0x50 };
enum { IS_DATA = 1, IS_LEAF = 2 };

/* INSERT into a page of that kind; of an inner one the child that was split into 5 and 0x00070009. */
static struct index_case *insert(unsigned kind, const void *data, size_t size)
{
	struct index_case *c = case_new(15, &gin, INSERT, wa_redo_gin_insert);
	uint8_t main[10];
	wa_put16(main, (uint16_t)kind);
	wa_put16(main + 2, 0);
	wa_put16(main + 4, 5);
	wa_put16(main + 6, 7);
	wa_put16(main + 8, 9);
	case_main(c, main, kind & IS_LEAF ? 2 : sizeof(main));
	case_ref(c, 0, 7, false, data, size);
	case_ref(c, 1, 5, false, NULL, 0);
	return c;
}

struct entry {
	uint8_t data[4 + CASE_TUPLE];
};

static struct entry entry(unsigned off, bool replaces, unsigned number, uint64_t key)
{
	struct entry e;
	wa_put16(e.data, (uint16_t)off);
	e.data[2] = replaces;
	e.data[3] = 0xAA; /* padding */
	make_tuple(e.data + 4, number, key);
	return e;
}

static void fill(struct index_case *c, unsigned flags)
{
	for (unsigned i = 1; i <= 3; i++)
		add_tuple(c, i, 10 * i);
	gin_set_flags(c->page, flags);
}

static void entry_leaf(void **state)
{
	(void)state;
	for (unsigned off = 1; off <= 4; off++) {
		struct entry e = entry(off, false, 9, 15);
		struct index_case *c = insert(IS_LEAF, e.data, sizeof(e.data));
		fill(c, GIN_LEAF);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_page_item_count(c->page), 4);
		for (unsigned i = 1; i <= 3; i++)
			expect_tuple(c, i < off ? i : i + 1, i, 10 * i);
		expect_tuple(c, off, 9, 15);
		case_free(c);
	}
}

static void entry_replaced(void **state)
{
	(void)state;
	struct entry e = entry(2, true, 9, 25);
	struct index_case *c = insert(IS_LEAF, e.data, sizeof(e.data));
	fill(c, GIN_LEAF);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 1, 1, 10);
	expect_tuple(c, 2, 9, 25);
	expect_tuple(c, 3, 3, 30);
	assert_int_equal(wa_page_upper(c->page), WA_PAGE_SIZE - 8 - 3 * CASE_TUPLE);
	case_free(c);
}

/* The downlink that was there goes to the right half, the new one before it to the left half. */
static void entry_inner(void **state)
{
	(void)state;
	struct entry e = entry(2, false, 9, 15);
	struct index_case *c = insert(0, e.data, sizeof(e.data));
	uint8_t *tuple;
	unsigned len;
	fill(c, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_tuple(c, 2, 9, 15);
	assert_int_equal(wa_page_tuple(c->page, 3, 8, &tuple, &len), 0);
	assert_int_equal(tuple_block(tuple), 0x00070009);
	assert_int_equal(wa_get16(tuple + 4), 0);
	assert_int_equal(wa_get64(tuple + 8), 20);
	expect_tuple(c, 4, 3, 30);
	case_free(c);
}

static void entry_refused(void **state)
{
	(void)state;
	struct entry behind = entry(4, false, 9, 15), replaced = entry(2, true, 9, 15);
	struct index_case *c = insert(0, behind.data, sizeof(behind.data)); /* no downlink there */
	fill(c, 0);
	case_refuse(c, 0);
	gin_set_flags(c->page, GIN_LEAF); /* another kind of page */
	case_refuse(c, 0);
	case_free(c);
	c = insert(0, replaced.data, sizeof(replaced.data)); /* only leaves' tuples are replaced */
	fill(c, 0);
	case_refuse(c, 0);
	case_free(c);
	c = insert(IS_LEAF, behind.data, sizeof(behind.data) - 1);
	fill(c, GIN_LEAF);
	case_refuse(c, 0);
	case_free(c);
}

static struct index_case *insert_item(unsigned off)
{
	uint8_t data[12];
	wa_put16(data, (uint16_t)off);
	make_posting_item(data + 2, 5, 15);
	return insert(IS_DATA, data, sizeof(data));
}

static void posting_item(void **state)
{
	(void)state;
	for (unsigned off = 1; off <= 3; off++) {
		struct index_case *c = insert_item(off);
		set_posting_items(c, 3);
		case_mutate(c, 0);
		case_redo(c, 0);
		for (unsigned i = 1; i <= 3; i++)
			expect_posting_item(c, i < off ? i : i + 1, i == off ? 0x00070009 : 100 + i, 10 * i);
		expect_posting_item(c, off, 5, 15);
		assert_int_equal(gin_maxoff(c->page), 4);
		assert_int_equal(wa_page_lower(c->page), 32 + 4 * 10);
		case_free(c);
	}
	struct index_case *c = insert_item(4);
	set_posting_items(c, 3);
	case_refuse(c, 0);
	case_free(c);
	c = insert_item(0);
	set_posting_items(c, 3);
	case_refuse(c, 0);
	case_free(c);
	c = insert_item(1);
	set_posting_items(c, 814);
	case_redo(c, 0);
	case_refuse(c, 0); /* 815 fill the page */
	case_free(c);
}

/* The child that INSERT and SPLIT name has its downlink now. */
static void child(void **state)
{
	(void)state;
	struct index_case *c = insert_item(1);
	gin_set_flags(c->page, GIN_LEAF | GIN_INCOMPLETE_SPLIT);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(gin_flags(c->page), GIN_LEAF);
	case_free(c);

	c = case_new(15, &gin, SPLIT, wa_redo_gin_split);
	case_ref(c, 0, 7, false, NULL, 0);
	case_ref(c, 3, 5, false, NULL, 0);
	gin_set_flags(c->page, GIN_DATA | GIN_INCOMPLETE_SPLIT);
	case_mutate(c, 3);
	case_redo(c, 3);
	assert_int_equal(gin_flags(c->page), GIN_DATA);
	case_refuse(c, 0); /* the halves are images */
	case_free(c);

	c = insert(IS_LEAF, NULL, 0); /* a leaf has no child */
	case_refuse(c, 1);
	case_free(c);
}

static struct index_case *delete_page(unsigned off)
{
	struct index_case *c = case_new(15, &gin, DELETE_PAGE, wa_redo_gin_delete_page);
	uint8_t main[12];
	wa_put16(main, (uint16_t)off);
	wa_put16(main + 2, 0xAAAA); /* padding */
	wa_put32(main + 4, 44);
	wa_put32(main + 8, 1234);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 7, false, NULL, 0);
	case_ref(c, 1, 3, false, NULL, 0);
	case_ref(c, 2, 6, false, NULL, 0);
	return c;
}

static void deleted_page(void **state)
{
	(void)state;
	struct index_case *c = delete_page(2);
	uint8_t segment[16];
	unsigned size = make_segment(segment, (uint64_t[]){2049, 2050}, 2);
	set_leaf(c, segment, size);
	gin_set_right(c->page, 7);
	case_mutate(c, 0);
	case_mutate(c, 2);
	case_redo(c, 2); /* the left sibling */
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), 44);
	expect_leaf(c, segment, size);
	case_redo(c, 0);
	assert_int_equal(gin_flags(c->page), GIN_DATA | GIN_LEAF | GIN_COMPRESSED | GIN_DELETED);
	assert_int_equal(wa_get32(c->page + 20), 1234);

	set_posting_items(c, 3);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_posting_item(c, 1, 101, 10);
	expect_posting_item(c, 2, 103, 30);
	assert_int_equal(gin_maxoff(c->page), 2);
	assert_int_equal(wa_page_lower(c->page), 32 + 2 * 10);
	set_posting_items(c, 1);
	case_refuse(c, 1);
	case_free(c);
}

/* A deleted page counts only as such; of others the free space does not count, unless pd_lower was never set. */
static void masking(void **state)
{
	(void)state;
	struct index_case *c = delete_page(1);
	set_posting_items(c, 2);
	memset(c->page, 0xAB, 10); /* LSN and checksum */
	memset(c->page + 60, 0xCD, 100);
	assert_int_equal(case_mask(c, c->page), 0);
	assert_int_equal(wa_page_lsn(c->page).v, 0);
	assert_int_equal(wa_get16(c->page + 8), 0);
	assert_int_equal(c->page[60], 0);
	expect_posting_item(c, 2, 102, 20);

	set_posting_items(c, 2);
	wa_put16(c->page + 12, WA_PAGE_HEADER);
	assert_int_equal(case_mask(c, c->page), 0);
	expect_posting_item(c, 2, 102, 20);

	gin_set_flags(c->page, GIN_DATA | GIN_DELETED);
	wa_put32(c->page + 20, 1234);
	assert_int_equal(case_mask(c, c->page), 0);
	for (unsigned i = 0; i < WA_PAGE_SIZE; i++)
		assert_true(c->page[i] == 0 || i == 10 || (i >= 16 && i < 20));

	wa_page_init(c->page, 0);
	assert_int_equal(case_mask(c, c->page), -EBADMSG);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entry_leaf),    cmocka_unit_test(entry_replaced), cmocka_unit_test(entry_inner),
		cmocka_unit_test(entry_refused), cmocka_unit_test(posting_item),   cmocka_unit_test(child),
		cmocka_unit_test(deleted_page),  cmocka_unit_test(masking),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
