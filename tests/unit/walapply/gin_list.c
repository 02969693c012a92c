/* The meta page and the pending list of GIN. */
#include "gin_case.h"

enum { UPDATE_META = 0x60, INSERT_LIST = 0x70, DELETE_LIST = 0x80 };
enum { NONE = 0xFFFFFFFF };

static const uint8_t meta[56] = {1, 2, 3, 4, 5, [52] = 6, [55] = 7}; /* redo does not look into it */

static void expect_meta(struct index_case *c)
{
	assert_int_equal(gin_flags(c->page), GIN_META);
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), NONE);
	assert_int_equal(wa_page_lower(c->page), 24 + 56);
	assert_memory_equal(c->page + 24, meta, 56);
}

static struct index_case *update_meta(uint32_t old_tail, uint32_t right, int32_t tuples)
{
	struct index_case *c = case_new(15, &gin, UPDATE_META, wa_redo_gin_update_meta);
	uint8_t main[88] = {0}, data[2 * CASE_TUPLE];
	memcpy(main + 16, meta, sizeof(meta));
	wa_put32(main + 72, old_tail);
	wa_put32(main + 76, right);
	wa_put32(main + 80, (uint32_t)tuples);
	make_tuple(data, 5, 50);
	make_tuple(data + CASE_TUPLE, 6, 60);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 0, true, NULL, 0);
	case_ref(c, 1, 9, false, data, tuples > 0 ? sizeof(data) : 0);
	return c;
}

static void meta_page(void **state)
{
	(void)state;
	struct index_case *c = update_meta(NONE, NONE, 0);
	memset(c->page, 0xEE, WA_PAGE_SIZE); /* it is made anew whatever was there */
	case_redo(c, 0);
	expect_meta(c);
	wa_page_init(c->page, GIN_SPECIAL);
	case_mutate(c, 0);
	case_refuse(c, 1); /* there was no list */
	case_free(c);
}

static void tail_gets_tuples(void **state)
{
	(void)state;
	struct index_case *c = update_meta(NONE, NONE, 2);
	add_tuple(c, 4, 40);
	gin_set_flags(c->page, GIN_LIST | GIN_LIST_FULLROW);
	gin_set_maxoff(c->page, 1);
	gin_set_right(c->page, NONE);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 1, 4, 40);
	expect_tuple(c, 2, 5, 50);
	expect_tuple(c, 3, 6, 60);
	assert_int_equal(gin_maxoff(c->page), 2);
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), NONE);
	gin_set_flags(c->page, GIN_LEAF);
	case_refuse(c, 1);
	case_free(c);

	c = update_meta(NONE, NONE, 3); /* more than there are */
	gin_set_flags(c->page, GIN_LIST);
	case_refuse(c, 1);
	case_free(c);
	c = update_meta(NONE, NONE, 1); /* fewer */
	gin_set_flags(c->page, GIN_LIST);
	case_refuse(c, 1);
	case_free(c);
}

static void tail_gets_successor(void **state)
{
	(void)state;
	struct index_case *c = update_meta(9, 33, 0);
	add_tuple(c, 4, 40);
	gin_set_flags(c->page, GIN_LIST);
	gin_set_maxoff(c->page, 3);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), 33);
	assert_int_equal(gin_maxoff(c->page), 3);
	assert_int_equal(wa_page_item_count(c->page), 1);
	case_free(c);
}

static struct index_case *insert_list(uint32_t right)
{
	struct index_case *c = case_new(15, &gin, INSERT_LIST, wa_redo_gin_insert_list);
	uint8_t data[2 * CASE_TUPLE];
	make_tuple(data, 5, 50);
	make_tuple(data + CASE_TUPLE, 6, 60);
	case_main(c, (uint32_t[]){right, 2}, 8);
	case_ref(c, 0, 9, true, data, sizeof(data));
	return c;
}

static void list_page(void **state)
{
	(void)state;
	static const uint32_t rights[] = {10, NONE};
	for (unsigned i = 0; i < 2; i++) {
		struct index_case *c = insert_list(rights[i]);
		add_tuple(c, 1, 1);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_page_item_count(c->page), 2);
		expect_tuple(c, 1, 5, 50);
		expect_tuple(c, 2, 6, 60);
		assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), rights[i]);
		assert_int_equal(gin_flags(c->page), rights[i] == NONE ? GIN_LIST | GIN_LIST_FULLROW : GIN_LIST);
		assert_int_equal(gin_maxoff(c->page), rights[i] == NONE ? 1 : 0);
		case_free(c);
	}
}

static void deleted_list(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &gin, DELETE_LIST, wa_redo_gin_delete_list);
	uint8_t main[64] = {0};
	memcpy(main, meta, sizeof(meta));
	wa_put32(main + 56, 2);
	case_main(c, main, sizeof(main));
	for (unsigned id = 0; id <= 3; id++)
		case_ref(c, id, 7 + id, true, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_meta(c);
	case_mutate(c, 2);
	case_redo(c, 2);
	assert_int_equal(gin_flags(c->page), GIN_DELETED);
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), NONE);
	assert_int_equal(wa_page_item_count(c->page), 0);
	case_refuse(c, 3);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meta_page), cmocka_unit_test(tail_gets_tuples), cmocka_unit_test(tail_gets_successor),
		cmocka_unit_test(list_page), cmocka_unit_test(deleted_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
