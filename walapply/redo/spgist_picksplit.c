/* A leaf page of an SP-GiST index that gets too full: PICKSPLIT. A chain of leaf tuples becomes an inner tuple with shorter chains below it.
 *
 *   main     0 whether the root splits u8   2 tuples that go u16   4 tuples that come u16   6 whether block 0 is made anew u8   7 the same of
 *            block 1 u8   8 inner tuple's offset number u16   10 whether block 2 is made anew u8   11 whether of the nulls tree u8   12 whether
 *            the parent is on block 2 u8   14 parent's offset number u16   16 node of the parent u16   20 source   28 offset numbers that go
 *            u16 each; offset numbers that come u16 each; for each that comes: to block 0 or 1 u8; the inner tuple; leaf tuples that come
 *   block 0  the chain's page, unless it is the root      1  another leaf page, if one is needed
 *   block 2  the page of the inner tuple                  3  the parent's page, if another one
 *
 * Source: access/spgxlog.h; spgRedoPickSplit in access/spgist/spgxlog.c. */
#include "spgist_impl.h"

struct picksplit {
	bool root, init_source, init_dest, init_inner, nulls, inner_is_parent;
	unsigned going, coming;
	uint16_t parent, node;
	struct sp_place inner;
	struct sp_source source;
	uint16_t go[WA_INDEX_TUPLES_MAX], come[WA_INDEX_TUPLES_MAX];
	const uint8_t *block_of; /* for each that comes */
	struct sp_tuple tuple;
};

static void read_fixed(struct nf_reader *r, struct picksplit *split)
{
	split->root = nf_read_u8(r) != 0;
	(void)nf_read_u8(r);
	split->going = nf_read_u16(r);
	split->coming = nf_read_u16(r);
	split->init_source = nf_read_u8(r) != 0;
	split->init_dest = nf_read_u8(r) != 0;
	split->inner.off = nf_read_u16(r);
	split->init_inner = nf_read_u8(r) != 0;
	split->nulls = nf_read_u8(r) != 0;
	split->inner_is_parent = nf_read_u8(r) != 0;
	(void)nf_read_u8(r);
	split->parent = nf_read_u16(r);
	split->node = nf_read_u16(r);
	(void)nf_read_u16(r);
	split->source = sp_read_source(r);
}

/* Returns where the leaf tuples begin in the record. */
static struct nf_reader read_split(struct wa_redo *redo, struct picksplit *split)
{
	struct nf_reader r = wa_main_reader(redo);
	const struct wa_ref *inner = wa_record_ref(redo->record, 2);

	read_fixed(&r, split);
	sp_read_offsets(&r, split->going, split->go);
	sp_read_offsets(&r, split->coming, split->come);
	split->block_of = nf_read_bytes(&r, split->coming);
	split->tuple = sp_read_inner(&r);
	if (inner == NULL)
		r.failed = true;
	else
		split->inner.blkno = inner->block.blkno;
	return r;
}

/* The tuples that come to this leaf page, of the two that there may be. */
static int add_leafs(struct wa_redo *redo, const struct picksplit *split, struct nf_reader *tuples)
{
	bool other = redo->ref->id == 1;
	int status = 0;

	for (unsigned i = 0; i < split->coming && status == 0; i++) {
		struct sp_tuple tuple = sp_read_leaf(tuples);
		if (tuples->failed)
			return sp_cut_short(redo);
		if ((split->block_of[i] != 0) == other)
			status = sp_add(redo, tuple, split->come[i]);
	}
	return status;
}

static int redo_source(struct wa_redo *redo, const struct picksplit *split, struct nf_reader *tuples)
{
	int status = sp_start(redo, split->init_source, SP_LEAF | (split->nulls ? SP_NULLS : 0));

	if (status == 0 && !split->init_source)
		status = sp_bury(redo, split->go, split->going, split->source.building ? SP_PLACEHOLDER : SP_REDIRECT,
				 SP_PLACEHOLDER, split->source, split->inner);
	return status < 0 ? status : add_leafs(redo, split, tuples);
}

static int redo_dest(struct wa_redo *redo, const struct picksplit *split, struct nf_reader *tuples)
{
	int status = sp_start(redo, split->init_dest, SP_LEAF | (split->nulls ? SP_NULLS : 0));
	return status < 0 ? status : add_leafs(redo, split, tuples);
}

static int redo_inner(struct wa_redo *redo, const struct picksplit *split)
{
	int status = sp_start(redo, split->init_inner, split->nulls ? SP_NULLS : 0);

	if (status == 0)
		status = sp_add(redo, split->tuple, split->inner.off);
	if (status == 0 && split->inner_is_parent)
		status = sp_link(redo, split->parent, split->node, split->inner);
	return status;
}

int wa_redo_spgist_picksplit(struct wa_redo *redo)
{
	struct picksplit split;
	struct nf_reader tuples = read_split(redo, &split);

	if (tuples.failed)
		return sp_cut_short(redo);
	switch (redo->ref->id) {
	case 0: return split.root ? sp_bad_ref(redo) : redo_source(redo, &split, &tuples);
	case 1: return redo_dest(redo, &split, &tuples);
	case 2: return redo_inner(redo, &split);
	case 3: break;
	default: return sp_bad_ref(redo);
	}
	int status = sp_start(redo, false, 0);
	return status < 0 ? status : sp_link(redo, split.parent, split.node, split.inner);
}
