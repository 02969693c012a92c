/* Leaf tuples of an SP-GiST index: ADD_LEAF, MOVE_LEAFS.
 *
 *   ADD_LEAF    main     0 whether block 0 is new u8   1 whether of the nulls tree u8   2 leaf's offset number u16   4 that of the chain's
 *                        head u16, 0 = none   6 parent's offset number u16, 0 = unchanged   8 node of the parent u16   10 the leaf tuple
 *               block 0  the leaf page      1  the parent's page, if its downlink changes
 *   MOVE_LEAFS  main     0 tuples that move u16   2 whether block 1 is new u8   3 whether a dead tuple is replaced u8   4 whether of the
 *                        nulls tree u8   6 parent's offset number u16   8 node of the parent u16   12 source   20 offset numbers that go
 *                        u16 each; offset numbers that come u16 each; leaf tuples that come
 *               block 0  the page that they leave      1  the page that they go to      2  the parent's page
 *
 * One tuple more comes than goes: the new one. In place of a dead tuple it comes alone.
 * Source: access/spgxlog.h; spgRedoAddLeaf and spgRedoMoveLeafs in access/spgist/spgxlog.c. */
#include "spgist_impl.h"

static unsigned leaf_flags(bool nulls)
{
	return SP_LEAF | (nulls ? SP_NULLS : 0);
}

struct add_leaf {
	bool new_page, nulls;
	uint16_t off, head, parent, node;
};

static int add_leaf(struct wa_redo *redo, const struct add_leaf *add, struct sp_tuple tuple)
{
	int status = sp_start(redo, add->new_page, leaf_flags(add->nulls));

	if (status < 0)
		return status;
	if (add->off == add->head)
		return sp_replace(redo, tuple, add->off); /* a dead tuple, the head of an empty chain */
	status = sp_add(redo, tuple, add->off);
	if (status == 0 && add->head != 0)
		status = sp_chain(redo, add->head, add->off);
	return status;
}

int wa_redo_spgist_add_leaf(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	struct add_leaf add = {.new_page = nf_read_u8(&r) != 0};
	add.nulls = nf_read_u8(&r) != 0;
	add.off = nf_read_u16(&r);
	add.head = nf_read_u16(&r);
	add.parent = nf_read_u16(&r);
	add.node = nf_read_u16(&r);
	struct sp_tuple tuple = sp_read_leaf(&r);
	const struct wa_ref *leaf = wa_record_ref(redo->record, 0);

	if (r.failed || leaf == NULL)
		return sp_cut_short(redo);
	if (redo->ref->id == 0)
		return add_leaf(redo, &add, tuple);
	if (redo->ref->id != 1 || add.parent == 0)
		return sp_bad_ref(redo);
	int status = sp_start(redo, false, 0);
	return status < 0 ? status : sp_link(redo, add.parent, add.node, (struct sp_place){leaf->block.blkno, add.off});
}

struct move_leafs {
	unsigned going, coming;
	bool new_page, nulls;
	uint16_t parent, node;
	struct sp_source source;
	uint16_t go[WA_INDEX_TUPLES_MAX], come[WA_INDEX_TUPLES_MAX];
};

/* Returns where the tuples begin in the record. */
static struct nf_reader read_move(struct wa_redo *redo, struct move_leafs *move)
{
	struct nf_reader r = wa_main_reader(redo);
	move->going = nf_read_u16(&r);
	move->new_page = nf_read_u8(&r) != 0;
	move->coming = nf_read_u8(&r) != 0 ? 1 : move->going + 1;
	move->nulls = nf_read_u8(&r) != 0;
	(void)nf_read_u8(&r);
	move->parent = nf_read_u16(&r);
	move->node = nf_read_u16(&r);
	(void)nf_read_u16(&r);
	move->source = sp_read_source(&r);
	sp_read_offsets(&r, move->going, move->go);
	sp_read_offsets(&r, move->coming, move->come);
	return r;
}

static int move_in(struct wa_redo *redo, const struct move_leafs *move, struct nf_reader *tuples)
{
	int status = sp_start(redo, move->new_page, leaf_flags(move->nulls));

	for (unsigned i = 0; i < move->coming && status == 0; i++) {
		struct sp_tuple tuple = sp_read_leaf(tuples);
		status = tuples->failed ? sp_cut_short(redo) : sp_add(redo, tuple, move->come[i]);
	}
	return status;
}

int wa_redo_spgist_move_leafs(struct wa_redo *redo)
{
	struct move_leafs move;
	struct nf_reader tuples = read_move(redo, &move);
	const struct wa_ref *to = wa_record_ref(redo->record, 1);

	if (tuples.failed || to == NULL)
		return sp_cut_short(redo);
	if (redo->ref->id == 1)
		return move_in(redo, &move, &tuples);
	int status = sp_start(redo, false, 0);
	if (status < 0)
		return status;
	struct sp_place place = {to->block.blkno, move.come[move.coming - 1]};
	switch (redo->ref->id) {
	case 0:
		return sp_bury(redo, move.go, move.going, move.source.building ? SP_PLACEHOLDER : SP_REDIRECT, SP_PLACEHOLDER,
			       move.source, place);
	case 2: return sp_link(redo, move.parent, move.node, place);
	default: return sp_bad_ref(redo);
	}
}
