/* B-tree insertion: plain, into the range of a posting list, and what it does to child and meta page. */
#include "index_case.h"

enum { INSERT_LEAF = 0x00, INSERT_UPPER = 0x10, INSERT_META = 0x20, INSERT_POST = 0x50 };

static const struct case_family btree = {WA_RMGR_BTREE, INDEX_SPECIAL, wa_mask_btree};

static struct index_case *insertion(uint8_t info, uint16_t off, const void *data, size_t size)
{
	struct index_case *c = case_new(15, &btree, info, wa_redo_btree_insert);
	case_main(c, &off, sizeof(off));
	case_ref(c, 0, 7, false, data, size);
	return c;
}

static void leaf(void **state)
{
	(void)state;
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, 3, 30);
	struct index_case *c = insertion(INSERT_LEAF, 2, tuple, sizeof(tuple));
	add_tuple(c, 1, 10);
	add_tuple(c, 5, 50);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 1, 1, 10);
	expect_tuple(c, 2, 3, 30);
	expect_tuple(c, 3, 5, 50);
	assert_int_equal(wa_page_upper(c->page), INDEX_SPECIAL_AT - 3 * CASE_TUPLE);
	case_free(c);
}

static void no_place(void **state)
{
	(void)state;
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, 3, 30);
	struct index_case *c = insertion(INSERT_LEAF, 3, tuple, sizeof(tuple));
	add_tuple(c, 1, 10);
	case_refuse(c, 0); /* item 2 is missing */
	while (wa_page_exact_free(c->page) >= CASE_TUPLE + 4)
		add_tuple(c, 1, 10);
	case_refuse(c, 0); /* full */
	case_free(c);
}

/* A posting list of 1, 2, 5, 6 and a new 3: the list becomes 1, 2, 3, 5 and the new tuple gets 6. */
static struct index_case *into_posting(uint16_t at)
{
	uint8_t data[2 + CASE_TUPLE];
	wa_put16(data, at);
	make_tuple(data + 2, 3, 40);
	struct index_case *c = insertion(INSERT_POST, 3, data, sizeof(data));
	add_tuple(c, 1, 10);
	add_posting(c, 40, 4, (unsigned[]){1, 2, 5, 6});
	add_tuple(c, 9, 90);
	return c;
}

static void posting(void **state)
{
	(void)state;
	struct index_case *c = into_posting(2);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_tuple(c, 1, 1, 10);
	expect_posting(c, 2, 40, 4, (unsigned[]){1, 2, 3, 5});
	expect_tuple(c, 3, 6, 40);
	expect_tuple(c, 4, 9, 90);
	case_free(c);
}

static void posting_refused(void **state)
{
	(void)state;
	static const uint16_t bad[] = {0, 4, 5, 0xFFFF};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		struct index_case *c = into_posting(bad[i]);
		case_refuse(c, 0);
		case_free(c);
	}
	struct index_case *c = into_posting(2);
	uint8_t *tuple;
	unsigned len;
	assert_int_equal(wa_page_tuple(c->page, 2, 8, &tuple, &len), 0);
	wa_put16(tuple + 4, 0x2000 | 5); /* one TID more than there is room for */
	case_refuse(c, 0);
	wa_put16(tuple + 4, 4); /* no posting list */
	case_refuse(c, 0);
	case_free(c);
}

static void child(void **state)
{
	(void)state;
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, 3, 30);
	struct index_case *c = insertion(INSERT_UPPER, 1, tuple, sizeof(tuple));
	case_ref(c, 1, 8, false, NULL, 0);
	case_set_flags(c, 0x81);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(case_flags(c), 1);
	case_free(c);
}

/* Version 4, root 3 on level 1, fast root the same. */
static void meta(int major)
{
	uint8_t tuple[CASE_TUPLE], data[40] = {0};
	size_t size = major == 13 ? 40 : 28;
	static const uint32_t fields[] = {4, 3, 1, 3, 1, 777};
	memcpy(data, fields, sizeof(fields));
	make_tuple(tuple, 3, 30);
	double rows = 1234.0, expected_rows = major == 13 ? rows : -1.0;
	if (major == 13)
		memcpy(data + 24, &rows, sizeof(rows));
	data[major == 13 ? 32 : 24] = 1;

	struct index_case *c = insertion(INSERT_META, 1, tuple, sizeof(tuple));
	c->version.major = major;
	case_ref(c, 1, 8, false, NULL, 0);
	case_ref(c, 2, 0, true, data, size);
	add_tuple(c, 1, 1); /* the page is made anew */
	case_mutate(c, 2);
	case_redo(c, 2);
	assert_int_equal(wa_get32(c->page + 24), 0x053162);
	assert_memory_equal(c->page + 28, fields, sizeof(fields));
	assert_memory_equal(c->page + 56, &expected_rows, sizeof(expected_rows));
	assert_int_equal(c->page[64], 1);
	assert_int_equal(wa_page_lower(c->page), 72);
	assert_int_equal(wa_page_upper(c->page), INDEX_SPECIAL_AT);
	assert_int_equal(case_flags(c), 8);
	case_free(c);
}

static void metas(void **state)
{
	(void)state;
	for (int major = WA_MAJOR_MIN; major <= WA_MAJOR_MAX; major++)
		meta(major);
}

static void foreign_block(void **state)
{
	(void)state;
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, 3, 30);
	struct index_case *c = insertion(INSERT_LEAF, 1, tuple, sizeof(tuple));
	case_ref(c, 5, 8, false, NULL, 0);
	case_refuse(c, 5);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf),          cmocka_unit_test(no_place),
		cmocka_unit_test(posting),       cmocka_unit_test(posting_refused),
		cmocka_unit_test(child),         cmocka_unit_test(metas),
		cmocka_unit_test(foreign_block),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
