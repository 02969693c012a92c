/* Sequences and generic WAL. */
#include "index_case.h"

#include <string.h>

static const struct case_family seq = {WA_RMGR_SEQ, 4, wa_mask_seq}, generic = {WA_RMGR_GENERIC, 8, wa_mask_generic};

static void sequence(void **state)
{
	(void)state;
	uint8_t main[12 + 41];
	memset(main, 0x5A, sizeof(main));
	struct index_case *c = case_new(15, &seq, 0, wa_redo_seq_log);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 0, true, NULL, 0);
	case_mutate(c, 0);
	memset(c->page, 0xFF, WA_PAGE_SIZE); /* whatever was there */
	case_redo(c, 0);
	assert_int_equal(wa_page_special(c->page), WA_PAGE_SIZE - 8);
	assert_int_equal(wa_get32(c->page + WA_PAGE_SIZE - 8), 0x1717);
	uint8_t *tuple;
	unsigned len;
	assert_int_equal(wa_page_item_count(c->page), 1);
	assert_int_equal(wa_page_tuple(c->page, 1, 1, &tuple, &len), 0);
	assert_int_equal(len, 41);
	assert_memory_equal(tuple, main + 12, 41);
	c->record.main_len = 11;
	case_refuse(c, 0);
	c->record.main_len = 53;
	case_ref(c, 1, 0, false, NULL, 0);
	case_refuse(c, 1);
	case_free(c);
}

static void large_sequence(void **state)
{
	(void)state;
	static uint8_t main[9000];
	struct index_case *c = case_new(15, &seq, 0, wa_redo_seq_log);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 0, true, NULL, 0);
	case_refuse(c, 0);
	c->record.main_len = 12 + 8170; /* a page would hold it, but not with its line pointer and special space */
	case_refuse(c, 0);
	case_free(c);
}

/* "AB" at 8000 and a pd_lower of 32; the space up to pd_upper was dirty. */
static struct index_case *pieces(unsigned offset, unsigned size)
{
	uint8_t data[] = {12, 0, 2, 0, 32, 0, 0, 0, 2, 0, 'A', 'B'};
	wa_put16(data + 6, (uint16_t)offset);
	wa_put16(data + 8, (uint16_t)size);
	struct index_case *c = case_new(15, &generic, 0, wa_redo_generic);
	case_ref(c, 0, 3, false, data, sizeof(data));
	wa_put16(c->page + 14, 8000);
	memset(c->page + 24, 0xEE, 8184 - 24);
	return c;
}

static void delta(void **state)
{
	(void)state;
	struct index_case *c = pieces(8000, 2);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_memory_equal(c->page + 8000, "AB", 2);
	assert_int_equal(c->page[8002], 0xEE);
	assert_int_equal(wa_page_lower(c->page), 32);
	assert_int_equal(c->page[31], 0xEE);
	for (unsigned i = 32; i < 8000; i++)
		assert_int_equal(c->page[i], 0);
	case_free(c);
}

static void delta_refused(void **state)
{
	(void)state;
	struct index_case *c = pieces(8191, 2); /* the last byte is beyond the page */
	case_refuse(c, 0);
	case_free(c);
	c = pieces(8000, 3); /* one byte is missing */
	case_refuse(c, 0);
	case_free(c);
	c = pieces(12, 2); /* pd_lower becomes "AB" */
	case_refuse(c, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequence),
		cmocka_unit_test(large_sequence),
		cmocka_unit_test(delta),
		cmocka_unit_test(delta_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
