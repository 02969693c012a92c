/* Deletion from B-tree leaves: whole tuples, some TIDs of a posting list, and how the majors differ. */
#include "index_case.h"

#include "common/nf_cursor.h"

enum { DELETE = 0x70, VACUUM = 0xC0 };
enum { LEAF = 1, GARBAGE = 64 };

static const struct case_family btree = {WA_RMGR_BTREE, INDEX_SPECIAL, wa_mask_btree};

/* Items: 10; 20 x 4 (TIDs 2 4 6 8); 30; 40 x 3 (TIDs 1 3 5). */
static struct index_case *leaf(int major, uint8_t info)
{
	struct index_case *c = case_new(major, &btree, info, info == DELETE ? wa_redo_btree_delete : wa_redo_btree_vacuum);
	add_tuple(c, 1, 10);
	add_posting(c, 20, 4, (unsigned[]){2, 4, 6, 8});
	add_tuple(c, 7, 30);
	add_posting(c, 40, 3, (unsigned[]){1, 3, 5});
	case_set_flags(c, LEAF | GARBAGE);
	wa_put16(c->page + WA_PAGE_SIZE - 2, 33); /* cycle id */
	return c;
}

static void main_data(struct index_case *c, unsigned deleted, unsigned updated)
{
	uint8_t main[9];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	if (c->record.info == DELETE)
		nf_write_u32(&w, 500); /* xid */
	nf_write_u16(&w, (uint16_t)deleted);
	nf_write_u16(&w, (uint16_t)updated);
	if (c->record.info == DELETE && c->version.major >= 16)
		nf_write_u8(&w, 0);
	assert_false(w.failed);
	case_main(c, main, w.offset);
}

static void updates_and_deletes(int major, uint8_t info)
{
	/* Items 1 and 3 go; of item 2, TIDs number 0 and 2; of item 4, all but the last. */
	static const uint16_t data[] = {1, 3, /* updated: */ 2, 4, /* of 2: */ 2, 0, 2, /* of 4: */ 2, 0, 1};
	struct index_case *c = leaf(major, info);
	main_data(c, 2, 2);
	case_ref(c, 0, 7, false, data, sizeof(data));
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 2);
	expect_posting(c, 1, 20, 2, (unsigned[]){4, 8});
	expect_tuple(c, 2, 5, 40);
	assert_int_equal(case_flags(c), LEAF);
	assert_int_equal(wa_get16(c->page + WA_PAGE_SIZE - 2), info == VACUUM && major >= 18 ? 0 : 33);
	case_free(c);
}

static void all_majors(void **state)
{
	(void)state;
	for (int major = WA_MAJOR_MIN; major <= WA_MAJOR_MAX; major++) {
		updates_and_deletes(major, VACUUM);
		if (major > 13)
			updates_and_deletes(major, DELETE);
	}
}

/* 13 counts in 32 bits and knows no updates. */
static void delete_of_13(void **state)
{
	(void)state;
	static const uint32_t main[] = {500, 2};
	static const uint16_t data[] = {1, 2};
	struct index_case *c = leaf(13, DELETE);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 7, false, data, sizeof(data));
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 2);
	expect_tuple(c, 1, 7, 30);
	expect_posting(c, 2, 40, 3, (unsigned[]){1, 3, 5});
	case_free(c);
}

static void refused(void **state)
{
	(void)state;
	static const uint16_t bad[][6] = {
		{2, 4, 0, 1, 2, 3}, /* all TIDs go */
		{2, 2, 2, 1, 0, 0}, /* not rising */
		{2, 2, 1, 1, 0, 0}, /* one TID twice */
		{2, 1, 4, 0, 0, 0}, /* there is no TID number 4 */
		{1, 1, 0, 0, 0, 0}, /* item 1 is no posting list */
		{5, 1, 0, 0, 0, 0}, /* there is no item 5 */
		{2, 9, 0, 1, 2, 3}, /* cut short */
	};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++) {
		struct index_case *c = leaf(15, VACUUM);
		main_data(c, 0, 1);
		case_ref(c, 0, 7, false, bad[i], sizeof(bad[i]));
		case_refuse(c, 0);
		case_free(c);
	}
	static const uint16_t missing[] = {2, 6};
	struct index_case *c = leaf(15, VACUUM);
	main_data(c, 2, 0);
	case_ref(c, 0, 7, false, missing, sizeof(missing));
	case_refuse(c, 0);
	case_free(c);
	c = leaf(15, VACUUM);
	main_data(c, 0xFFFF, 0xFFFF);
	case_ref(c, 0, 7, false, missing, sizeof(missing));
	case_refuse(c, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_majors),
		cmocka_unit_test(delete_of_13),
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
