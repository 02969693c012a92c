/* Leaf tuples of SP-GiST: added alone, in place of placeholders and of dead ones, and moved to another page with their chain. */
#include "spgist_case.h"

static struct index_case *add_leaf(bool new_page, bool nulls, unsigned off, unsigned head, unsigned parent)
{
	struct index_case *c = case_new(15, &spgist, ADD_LEAF, wa_redo_spgist_add_leaf);
	uint8_t main[64];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u8(&w, new_page);
	nf_write_u8(&w, nulls);
	nf_write_u16(&w, (uint16_t)off);
	nf_write_u16(&w, (uint16_t)head);
	nf_write_u16(&w, (uint16_t)parent);
	nf_write_u16(&w, 2); /* node */
	write_leaf(&w, 50, 3);
	set_main(c, &w);
	case_ref(c, 0, 0x10009, new_page, NULL, 0);
	if (parent != 0)
		case_ref(c, 1, 4, false, NULL, 0);
	start_page(c, SP_LEAF);
	return c;
}

static void added_last(void **state)
{
	(void)state;
	struct index_case *c = add_leaf(false, false, 3, 1, 0);
	put_leaf(c, 10, 3);
	put_dead(c, SP_REDIRECT);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_page(c, 3, SP_LEAF);
	expect_leaf(c, 1, 10, 3); /* the head leads to the new one */
	expect_leaf(c, 3, 50, 3);
	expect_counts(c, 1, 0);
	case_free(c);
}

static void in_place_of_placeholder(void **state)
{
	(void)state;
	struct index_case *c = add_leaf(false, false, 2, 1, 0);
	put_leaf(c, 10, 0);
	put_dead(c, SP_PLACEHOLDER);
	put_leaf(c, 30, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_page(c, 3, SP_LEAF);
	expect_leaf(c, 1, 10, 2);
	expect_leaf(c, 2, 50, 3);
	expect_leaf(c, 3, 30, 0);
	expect_counts(c, 0, 0);
	case_free(c);
	c = add_leaf(false, false, 2, 1, 0);
	put_leaf(c, 10, 0);
	put_leaf(c, 20, 0); /* no placeholder */
	case_refuse(c, 0);
	case_free(c);
}

static void in_place_of_dead(void **state)
{
	(void)state;
	struct index_case *c = add_leaf(false, false, 1, 1, 0);
	put_dead(c, SP_DEAD);
	put_leaf(c, 20, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_page(c, 2, SP_LEAF);
	expect_leaf(c, 1, 50, 3);
	expect_leaf(c, 2, 20, 0);
	case_free(c);
}

static void on_new_page(void **state)
{
	(void)state;
	for (unsigned nulls = 0; nulls < 2; nulls++) {
		struct index_case *c = add_leaf(true, nulls, 1, 0, 7);
		put_leaf(c, 10, 0); /* whatever was there */
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_page(c, 1, nulls ? SP_LEAF | SP_NULLS : SP_LEAF);
		expect_leaf(c, 1, 50, 3);
		case_free(c);
	}
}

static void parent_of_added(void **state)
{
	(void)state;
	struct index_case *c = add_leaf(true, false, 1, 0, 1);
	start_page(c, 0);
	put_inner(c, 11, 4);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_page(c, 1, 0);
	expect_inner(c, 1, 11, 4, 2, 0x10009, 1);
	start_page(c, 0);
	put_inner(c, 11, 2); /* has no node 2 */
	case_refuse(c, 1);
	case_free(c);
}

/* Items 3 and 1 go, in this order; they come as items 1, 4 with the new one as 2. */
static struct index_case *move(int major, bool new_page, bool replace_dead, bool building)
{
	struct index_case *c = case_new(major, &spgist, MOVE_LEAFS, wa_redo_spgist_move_leafs);
	uint8_t main[128];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u16(&w, 2);
	nf_write_u8(&w, new_page);
	nf_write_u8(&w, replace_dead);
	nf_write_u16(&w, 0); /* not of the nulls tree; padding */
	nf_write_u16(&w, 2); /* parent */
	nf_write_u16(&w, 1); /* node */
	nf_write_u16(&w, 0);
	write_source(&w, building);
	nf_write_u16(&w, 3);
	nf_write_u16(&w, 1);
	for (unsigned i = 0; i < (replace_dead ? 1 : 3); i++)
		nf_write_u16(&w, replace_dead ? 2 : (uint16_t[]){1, 4, 2}[i]);
	for (unsigned i = 0; i < (replace_dead ? 1 : 3); i++)
		write_leaf(&w, 50 + i, i);
	set_main(c, &w);
	case_ref(c, 0, 8, false, NULL, 0);
	case_ref(c, 1, 0x30009, new_page, NULL, 0);
	case_ref(c, 2, 4, false, NULL, 0);
	start_page(c, SP_LEAF);
	return c;
}

static void moved_away(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct index_case *c = move(major, false, false, false);
		for (unsigned i = 1; i <= 4; i++)
			put_leaf(c, 10 * i, 0);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_page(c, 4, SP_LEAF);
		expect_dead(c, 1, SP_PLACEHOLDER, 0, 0);
		expect_leaf(c, 2, 20, 0);
		expect_dead(c, 3, SP_REDIRECT, 0x30009, 2); /* the first of the list is the chain's head */
		expect_leaf(c, 4, 40, 0);
		expect_counts(c, 1, 1);
		case_free(c);
	}
	struct index_case *c = move(15, false, false, true); /* nobody looks at an index that is being built */
	for (unsigned i = 1; i <= 4; i++)
		put_leaf(c, 10 * i, 0);
	case_redo(c, 0);
	expect_dead(c, 3, SP_PLACEHOLDER, 0, 0);
	expect_counts(c, 0, 2);
	case_free(c);
}

static void moved_in(void **state)
{
	(void)state;
	struct index_case *c = move(15, false, false, false);
	put_dead(c, SP_PLACEHOLDER);
	put_dead(c, SP_PLACEHOLDER);
	put_leaf(c, 30, 0);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_page(c, 4, SP_LEAF);
	expect_leaf(c, 1, 50, 0);
	expect_leaf(c, 2, 52, 2);
	expect_leaf(c, 3, 30, 0);
	expect_leaf(c, 4, 51, 1);
	expect_counts(c, 0, 0);
	case_free(c);

	c = move(15, false, true, false); /* the one in place of a dead tuple */
	put_leaf(c, 10, 0);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_page(c, 2, SP_LEAF);
	expect_leaf(c, 2, 50, 0);
	case_free(c);
}

static void parent_of_moved(void **state)
{
	(void)state;
	struct index_case *c = move(15, false, false, false);
	start_page(c, 0);
	put_inner(c, 11, 1);
	put_inner(c, 12, 3);
	case_mutate(c, 2);
	case_redo(c, 2);
	expect_inner(c, 1, 11, 1, 99, 0, 0);
	expect_inner(c, 2, 12, 3, 1, 0x30009, 2);
	case_free(c);
}

static void same_item_twice(void **state)
{
	(void)state;
	struct index_case *c = move(15, false, false, false);
	for (unsigned i = 1; i <= 4; i++)
		put_leaf(c, 10 * i, 0);
	wa_put16((uint8_t *)c->record.main + 20, 1); /* items 1 and 1 go */
	case_refuse(c, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(added_last),  cmocka_unit_test(in_place_of_placeholder), cmocka_unit_test(in_place_of_dead),
		cmocka_unit_test(on_new_page), cmocka_unit_test(parent_of_added),         cmocka_unit_test(moved_away),
		cmocka_unit_test(moved_in),    cmocka_unit_test(parent_of_moved),         cmocka_unit_test(same_item_twice),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
