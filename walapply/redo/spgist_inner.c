/* Inner tuples of an SP-GiST index that grow or split: ADD_NODE, SPLIT_TUPLE.
 *
 *   ADD_NODE     main     0 offset number of the tuple u16   2 that of its new place u16   4 whether block 1 is new u8   5 block that
 *                         the parent is on i8, -1 = its downlink stays   6 parent's offset number u16   8 node of the parent u16
 *                         12 source   20 the larger tuple
 *                block 0  the tuple's page      1  the page that it moves to, if any      2  the parent's page, if another one
 *   SPLIT_TUPLE  main     0 offset number of the upper half u16   2 of the lower half u16   4 whether block 1 is new u8   5 whether the
 *                         lower half is on block 0 u8   6 the upper half (prefix); the lower half (postfix)
 *                block 0  the tuple's page, where the upper half takes its place      1  the page of the lower half, if another one
 *
 * Neither happens in the nulls tree.
 * Source: access/spgxlog.h; spgRedoAddNode and spgRedoSplitTuple in access/spgist/spgxlog.c. */
#include "spgist_impl.h"

struct add_node {
	uint16_t off, parent, node;
	struct sp_place place; /* its new one */
	bool new_page;
	unsigned parent_block;
	struct sp_source source;
	struct sp_tuple tuple;
};

static bool read_add_node(struct wa_redo *redo, struct add_node *add)
{
	struct nf_reader r = wa_main_reader(redo);
	const struct wa_ref *moved = wa_record_ref(redo->record, 1);

	add->off = nf_read_u16(&r);
	add->place = (struct sp_place){.blkno = moved != NULL ? moved->block.blkno : 0, .off = nf_read_u16(&r)};
	add->new_page = nf_read_u8(&r) != 0;
	add->parent_block = nf_read_u8(&r);
	add->parent = nf_read_u16(&r);
	add->node = nf_read_u16(&r);
	(void)nf_read_u16(&r);
	add->source = sp_read_source(&r);
	add->tuple = sp_read_inner(&r);
	return !r.failed;
}

int wa_redo_spgist_add_node(struct wa_redo *redo)
{
	struct add_node add;
	unsigned id = redo->ref->id;

	if (!read_add_node(redo, &add))
		return sp_cut_short(redo);
	int status = sp_start(redo, id == 1 && add.new_page, 0);
	if (status < 0)
		return status;
	if (wa_record_ref(redo->record, 1) == NULL)
		return id == 0 ? sp_replace(redo, add.tuple, add.off) : sp_bad_ref(redo);
	if (id == 0)
		status = sp_bury_one(redo, add.off, add.source.building ? SP_PLACEHOLDER : SP_REDIRECT, add.source, add.place);
	else if (id == 1)
		status = sp_add(redo, add.tuple, add.place.off);
	else if (add.parent_block != id)
		return sp_bad_ref(redo);
	if (status == 0 && add.parent_block == id)
		status = sp_link(redo, add.parent, add.node, add.place);
	return status;
}

int wa_redo_spgist_split_tuple(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned prefix_off = nf_read_u16(&r), postfix_off = nf_read_u16(&r);
	bool new_page = nf_read_u8(&r) != 0, same_page = nf_read_u8(&r) != 0;
	struct sp_tuple prefix = sp_read_inner(&r), postfix = sp_read_inner(&r);

	if (r.failed)
		return sp_cut_short(redo);
	if (redo->ref->id > 1 || (redo->ref->id == 1 && same_page))
		return sp_bad_ref(redo);
	int status = sp_start(redo, redo->ref->id == 1 && new_page, 0);
	if (status < 0)
		return status;
	if (redo->ref->id == 1)
		return sp_add(redo, postfix, postfix_off);
	status = sp_replace(redo, prefix, prefix_off);
	if (status == 0 && same_page)
		status = sp_add(redo, postfix, postfix_off);
	return status;
}
