/* Inner tuples of SP-GiST: with a node more, in place or elsewhere; split in two; and made from a chain of leaf tuples. */
#include "spgist_case.h"

/* Item 2 of block 0 gets three nodes. parent_block: where item 1 is its parent; moves: to item 3 of block 1. */
static struct index_case *add_node(bool moves, int parent_block, bool new_page, bool building)
{
	struct index_case *c = case_new(15, &spgist, ADD_NODE, wa_redo_spgist_add_node);
	uint8_t main[128];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u16(&w, 2);
	nf_write_u16(&w, moves ? (new_page ? 1 : 3) : 0);
	nf_write_u8(&w, new_page);
	nf_write_u8(&w, (uint8_t)parent_block);
	nf_write_u16(&w, 1);
	nf_write_u16(&w, 1); /* node */
	nf_write_u16(&w, 0);
	write_source(&w, building);
	write_inner(&w, 99, 3);
	set_main(c, &w);
	case_ref(c, 0, 8, false, NULL, 0);
	if (moves)
		case_ref(c, 1, 0x20001, new_page, NULL, 0);
	if (parent_block == 2)
		case_ref(c, 2, 5, false, NULL, 0);
	start_page(c, 0);
	return c;
}

static void node_in_place(void **state)
{
	(void)state;
	struct index_case *c = add_node(false, -1, false, false);
	for (unsigned i = 1; i <= 3; i++)
		put_inner(c, i, 2);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_page(c, 3, 0);
	expect_inner(c, 1, 1, 2, 99, 0, 0);
	expect_inner(c, 2, 99, 3, 99, 0, 0);
	expect_inner(c, 3, 3, 2, 99, 0, 0);
	case_free(c);
}

static void node_elsewhere(void **state)
{
	(void)state;
	for (int parent = 0; parent <= 2; parent++) {
		struct index_case *c = add_node(true, parent, false, false);
		put_inner(c, 1, 2);
		put_inner(c, 2, 2);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_inner(c, 1, 1, 2, parent == 0 ? 1 : 99, 0x20001, 3);
		expect_dead(c, 2, SP_REDIRECT, 0x20001, 3);
		expect_counts(c, 1, 0);

		start_page(c, 0);
		put_inner(c, 1, 2);
		put_inner(c, 2, 2);
		put_dead(c, SP_PLACEHOLDER);
		case_mutate(c, 1);
		case_redo(c, 1);
		expect_inner(c, 1, 1, 2, parent == 1 ? 1 : 99, 0x20001, 3);
		expect_inner(c, 3, 99, 3, 99, 0, 0);
		expect_counts(c, 0, 0);

		if (parent == 2) {
			start_page(c, 0);
			put_inner(c, 1, 2);
			case_mutate(c, 2);
			case_redo(c, 2);
			expect_inner(c, 1, 1, 2, 1, 0x20001, 3);
		}
		case_free(c);
	}
}

static void node_on_new_page(void **state)
{
	(void)state;
	struct index_case *c = add_node(true, 2, true, true);
	put_leaf(c, 1, 0);
	case_redo(c, 1);
	expect_page(c, 1, 0);
	expect_inner(c, 1, 99, 3, 99, 0, 0);
	start_page(c, 0);
	put_inner(c, 1, 2);
	put_inner(c, 2, 2);
	case_redo(c, 0);
	expect_dead(c, 2, SP_PLACEHOLDER, 0, 0); /* being built */
	expect_counts(c, 0, 1);
	case_free(c);
}

static struct index_case *split_tuple(bool same_page, bool new_page)
{
	struct index_case *c = case_new(15, &spgist, SPLIT_TUPLE, wa_redo_spgist_split_tuple);
	uint8_t main[128];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u16(&w, 1);
	nf_write_u16(&w, new_page ? 1 : 2);
	nf_write_u8(&w, new_page);
	nf_write_u8(&w, same_page);
	write_inner(&w, 70, 1);
	write_inner(&w, 71, 3);
	set_main(c, &w);
	case_ref(c, 0, 8, false, NULL, 0);
	if (!same_page)
		case_ref(c, 1, 9, new_page, NULL, 0);
	start_page(c, 0);
	return c;
}

static void split(void **state)
{
	(void)state;
	struct index_case *c = split_tuple(true, false);
	put_inner(c, 1, 3);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_page(c, 2, 0);
	expect_inner(c, 1, 70, 1, 99, 0, 0);
	expect_inner(c, 2, 71, 3, 99, 0, 0);
	case_free(c);

	c = split_tuple(false, false);
	put_inner(c, 1, 3);
	put_dead(c, SP_PLACEHOLDER);
	case_redo(c, 0);
	expect_inner(c, 1, 70, 1, 99, 0, 0);
	expect_dead(c, 2, SP_PLACEHOLDER, 0, 0);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_inner(c, 2, 71, 3, 99, 0, 0);
	expect_counts(c, 0, 0);
	case_free(c);

	c = split_tuple(false, true);
	case_redo(c, 1);
	expect_page(c, 1, 0);
	expect_inner(c, 1, 71, 3, 99, 0, 0);
	case_free(c);
}

struct pick {
	bool root, init_source, init_dest, init_inner, nulls, inner_is_parent, building;
};

/* Items 2 and 1 go; three come: 50 as item 1 and 52 as item 2 of block 1, 51 as item 3 of block 0. */
static struct index_case *picksplit(struct pick pick)
{
	struct index_case *c = case_new(15, &spgist, PICKSPLIT, wa_redo_spgist_picksplit);
	uint8_t main[256];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u16(&w, pick.root);
	nf_write_u16(&w, 2);
	nf_write_u16(&w, 3);
	nf_write_u8(&w, pick.init_source);
	nf_write_u8(&w, pick.init_dest);
	nf_write_u16(&w, pick.init_inner ? 1 : 2);
	nf_write_u8(&w, pick.init_inner);
	nf_write_u8(&w, pick.nulls);
	nf_write_u16(&w, pick.inner_is_parent);
	nf_write_u16(&w, 1); /* parent */
	nf_write_u16(&w, 2); /* node */
	nf_write_u16(&w, 0);
	write_source(&w, pick.building);
	for (unsigned i = 0; i < 5; i++)
		nf_write_u16(&w, (uint16_t[]){2, 1, 1, 3, 2}[i]);
	for (unsigned i = 0; i < 3; i++)
		nf_write_u8(&w, (uint8_t[]){1, 0, 1}[i]);
	write_inner(&w, 80, 2);
	for (unsigned i = 0; i < 3; i++)
		write_leaf(&w, 50 + i, i);
	set_main(c, &w);
	if (!pick.root)
		case_ref(c, 0, 8, pick.init_source, NULL, 0);
	case_ref(c, 1, 9, pick.init_dest, NULL, 0);
	case_ref(c, 2, 0x50006, pick.init_inner, NULL, 0);
	if (!pick.root && !pick.inner_is_parent)
		case_ref(c, 3, 7, false, NULL, 0);
	start_page(c, SP_LEAF);
	return c;
}

static void picked_leaves(void **state)
{
	(void)state;
	struct index_case *c = picksplit((struct pick){.root = false});
	put_leaf(c, 10, 0);
	put_leaf(c, 20, 1);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_page(c, 3, SP_LEAF);
	expect_dead(c, 1, SP_PLACEHOLDER, 0, 0);
	expect_dead(c, 2, SP_REDIRECT, 0x50006, 2);
	expect_leaf(c, 3, 51, 1);
	expect_counts(c, 1, 1);

	start_page(c, SP_LEAF);
	put_dead(c, SP_PLACEHOLDER);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_page(c, 2, SP_LEAF);
	expect_leaf(c, 1, 50, 0);
	expect_leaf(c, 2, 52, 2);
	expect_counts(c, 0, 0);
	case_free(c);

	c = picksplit((struct pick){.init_source = true, .init_dest = true, .nulls = true});
	wa_put16((uint8_t *)c->record.main + 28 + 6, 1); /* 51 is item 1 of the new page */
	case_redo(c, 0);
	expect_page(c, 1, SP_LEAF | SP_NULLS);
	expect_leaf(c, 1, 51, 1);
	case_redo(c, 1);
	expect_page(c, 2, SP_LEAF | SP_NULLS);
	case_free(c);

	c = picksplit((struct pick){.building = true});
	put_leaf(c, 10, 0);
	put_leaf(c, 20, 1);
	case_redo(c, 0);
	expect_dead(c, 2, SP_PLACEHOLDER, 0, 0);
	expect_counts(c, 0, 2);
	case_free(c);
}

static void picked_inner(void **state)
{
	(void)state;
	for (unsigned together = 0; together < 2; together++) {
		struct index_case *c = picksplit((struct pick){.inner_is_parent = together});
		start_page(c, 0);
		put_inner(c, 1, 3);
		case_mutate(c, 2);
		case_redo(c, 2);
		expect_page(c, 2, 0);
		expect_inner(c, 1, 1, 3, together ? 2 : 99, 0x50006, 2);
		expect_inner(c, 2, 80, 2, 99, 0, 0);
		if (!together) {
			start_page(c, 0);
			put_inner(c, 1, 3);
			case_mutate(c, 3);
			case_redo(c, 3);
			expect_inner(c, 1, 1, 3, 2, 0x50006, 2);
		}
		case_free(c);
	}
}

static void picked_root(void **state)
{
	(void)state;
	struct index_case *c = picksplit((struct pick){.root = true, .init_dest = true, .init_inner = true, .nulls = true});
	put_leaf(c, 10, 0);
	case_mutate(c, 2);
	case_redo(c, 2);
	expect_page(c, 1, SP_NULLS);
	expect_inner(c, 1, 80, 2, 99, 0, 0);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(node_in_place), cmocka_unit_test(node_elsewhere), cmocka_unit_test(node_on_new_page),
		cmocka_unit_test(split),         cmocka_unit_test(picked_leaves),  cmocka_unit_test(picked_inner),
		cmocka_unit_test(picked_root),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
