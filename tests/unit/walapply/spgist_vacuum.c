/* Vacuum of SP-GiST: what goes leaves dead tuples and placeholders behind, chains get new heads, redirects end; and masking. */
#include "spgist_case.h"

/* 1 -> 2 -> 3, of which 1 goes and 2 moves to its place; 4, alone, becomes a dead head; 5 becomes a placeholder. */
static struct index_case *vacuum_leaf(int major)
{
	struct index_case *c = case_new(major, &spgist, VACUUM_LEAF, wa_redo_spgist_vacuum_leaf);
	uint8_t main[64];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	for (unsigned i = 0; i < 4; i++)
		nf_write_u16(&w, (uint16_t[]){1, 1, 1, 1}[i]);
	write_source(&w, false);
	for (unsigned i = 0; i < 6; i++)
		nf_write_u16(&w, (uint16_t[]){4, 5, 2, 1, 6, 3}[i]);
	set_main(c, &w);
	case_ref(c, 0, 8, false, NULL, 0);
	start_page(c, SP_LEAF);
	put_leaf(c, 10, 2);
	put_leaf(c, 20, 3);
	for (unsigned i = 3; i <= 6; i++)
		put_leaf(c, 10 * i, 0);
	return c;
}

static void leaf(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct index_case *c = vacuum_leaf(major);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_page(c, 6, SP_LEAF);
		expect_leaf(c, 1, 20, 3);
		expect_dead(c, 2, SP_PLACEHOLDER, 0, 0);
		expect_leaf(c, 3, 30, 0);
		expect_dead(c, 4, SP_DEAD, 0, 0);
		expect_dead(c, 5, SP_PLACEHOLDER, 0, 0);
		expect_leaf(c, 6, 60, 3);
		expect_counts(c, 0, 2);
		case_free(c);
	}
}

static void leaf_refused(void **state)
{
	(void)state;
	struct index_case *c = vacuum_leaf(15);
	wa_put16((uint8_t *)c->record.main + 24, 7); /* there is no item 7 to link */
	case_refuse(c, 0);
	wa_put16((uint8_t *)c->record.main + 24, 6);
	wa_put16((uint8_t *)c->record.main, WA_INDEX_TUPLES_MAX + 1);
	case_refuse(c, 0);
	case_free(c);
}

static void root(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct index_case *c = case_new(major, &spgist, VACUUM_ROOT, wa_redo_spgist_vacuum_root);
		uint8_t main[64];
		struct nf_writer w = nf_writer_init(main, sizeof(main));
		nf_write_u16(&w, 3);
		nf_write_u16(&w, 0);
		write_source(&w, false);
		for (unsigned i = 0; i < 3; i++)
			nf_write_u16(&w, (uint16_t[]){1, 3, 4}[i]);
		set_main(c, &w);
		case_ref(c, 0, 1, false, NULL, 0);
		start_page(c, SP_LEAF);
		for (unsigned i = 1; i <= 5; i++)
			put_leaf(c, 10 * i, 0);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_page(c, 2, SP_LEAF);
		expect_leaf(c, 1, 20, 0);
		expect_leaf(c, 2, 50, 0);
		expect_counts(c, 0, 0);
		case_free(c);
	}
}

/* Items: a redirect, a leaf, a redirect, two placeholders. */
static struct index_case *vacuum_redirect(int major, unsigned first)
{
	struct index_case *c = case_new(major, &spgist, VACUUM_REDIRECT, wa_redo_spgist_vacuum_redirect);
	uint8_t main[64];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u16(&w, 2);
	nf_write_u16(&w, (uint16_t)first);
	nf_write_u32(&w, XID);
	if (major >= 16)
		nf_write_u16(&w, 0);
	nf_write_u16(&w, 3);
	nf_write_u16(&w, 1);
	set_main(c, &w);
	case_ref(c, 0, 1, false, NULL, 0);
	start_page(c, SP_LEAF);
	put_dead(c, SP_REDIRECT);
	put_leaf(c, 20, 0);
	put_dead(c, SP_REDIRECT);
	put_dead(c, SP_PLACEHOLDER);
	put_dead(c, SP_PLACEHOLDER);
	return c;
}

static void redirects(void **state)
{
	(void)state;
	uint8_t was_redirect[SP_DEAD_SIZE];
	dead_tuple(was_redirect, SP_PLACEHOLDER, 0, 0);
	wa_put32(was_redirect + 12, XID); /* it stays */
	for (int major = 13; major <= 18; major++) {
		struct index_case *c = vacuum_redirect(major, 0);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_page(c, 5, SP_LEAF);
		expect_item(c, 1, was_redirect, sizeof(was_redirect));
		expect_item(c, 3, was_redirect, sizeof(was_redirect));
		expect_counts(c, 0, 4);
		case_free(c);

		c = vacuum_redirect(major, 3);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_page(c, 2, SP_LEAF);
		expect_item(c, 1, was_redirect, sizeof(was_redirect));
		expect_leaf(c, 2, 20, 0);
		expect_counts(c, 0, 1);
		case_free(c);
	}
	struct index_case *c = vacuum_redirect(15, 6); /* behind the last item */
	case_refuse(c, 0);
	case_free(c);
}

static void masks(void **state)
{
	(void)state;
	struct index_case *c = vacuum_leaf(15);
	uint8_t clean[WA_PAGE_SIZE];
	memcpy(clean, c->page, sizeof(clean));
	assert_int_equal(case_mask(c, clean), 0);
	wa_page_set_lsn(c->page, (struct nf_lsn){0x123456789});
	wa_page_set_flags(c->page, WA_PD_HAS_FREE_LINES);
	c->page[2000] = 7; /* between line pointers and tuples */
	assert_int_equal(case_mask(c, c->page), 0);
	assert_memory_equal(c->page, clean, sizeof(clean));
	sp_count(c->page, SP_PLACEHOLDERS, 1);
	assert_memory_not_equal(c->page, clean, sizeof(clean));
	wa_put16(c->page + 14, 9000); /* pd_upper */
	assert_int_equal(case_mask(c, c->page), -EBADMSG);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf),      cmocka_unit_test(leaf_refused), cmocka_unit_test(root),
		cmocka_unit_test(redirects), cmocka_unit_test(masks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
