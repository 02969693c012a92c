/* Deletion of whole B-tree pages: MARK_PAGE_HALFDEAD, then UNLINK_PAGE or UNLINK_PAGE_META.
 *
 * HALFDEAD  main      0 deleted item of the parent u16   4 leaf u32   8 left u32   12 right u32   16 top parent u32
 *           block 0   the leaf, made anew: empty but for a high key that names the top parent
 *           block 1   the parent: the item takes over the next one's downlink, the next one goes
 * UNLINK    main 14+  0 left u32   4 right u32   8 level u32   16 safe xid u64   24 leaf's left u32   28 leaf's right u32   32 leaf's
 *                     top parent u32
 *           main 13   0 left u32   4 right u32   8 leaf's left u32   12 leaf's right u32   16 leaf's top parent u32   20 xid u32
 *           block 0   the page that goes, made anew   1 its left sibling, if any   2 its right sibling
 *           block 3   the half-dead leaf below, if it is another page, made anew   4 META: the meta page
 *
 * A deleted page of 14+ keeps its level and has a full xid as contents; one of 13 has an xid instead of its level.
 * Source: access/nbtxlog.h; btree_xlog_mark_page_halfdead and btree_xlog_unlink_page in access/nbtree/nbtxlog.c; BTPageSetDeleted and
 * BTreeTupleSetTopParent in access/nbtree.h. */
#include "btree_impl.h"

static int make_half_dead(struct wa_redo *redo, uint32_t left, uint32_t right, uint32_t top_parent)
{
	uint8_t high_key[TUPLE_HEADER] = {0};

	bt_init(redo->page, left, right, 0, BTP_HALF_DEAD | BTP_LEAF);
	tuple_set_block(high_key, top_parent);
	wa_put16(high_key + 6, TUPLE_HEADER | TUPLE_AM_BIT);
	if (wa_page_add(redo->page, high_key, sizeof(high_key), 1, false, false) < 0)
		return wa_redo_bad(redo, "no room for a high key on an empty page");
	return 0;
}

static int remove_downlink(struct wa_redo *redo, unsigned off)
{
	uint8_t *tuple, *next;
	unsigned len;
	int status = bt_check(redo);

	if (status < 0)
		return status;
	if (off == 0 || wa_page_tuple(redo->page, off, TUPLE_HEADER, &tuple, &len) < 0 ||
	    wa_page_tuple(redo->page, off + 1, TUPLE_HEADER, &next, &len) < 0)
		return wa_redo_bad(redo, "there are no items %u and %u", off, off + 1);
	tuple_set_block(tuple, tuple_block(next));
	if (wa_page_index_delete(redo->page, off + 1) < 0)
		return wa_redo_bad(redo, "item %u cannot be deleted", off + 1);
	return 0;
}

int wa_redo_btree_halfdead(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned off = nf_read_u16(&r);
	(void)nf_read_bytes(&r, 6);
	uint32_t left = nf_read_u32(&r), right = nf_read_u32(&r), top_parent = nf_read_u32(&r);

	if (r.failed)
		return wa_redo_bad(redo, "the record is cut short");
	switch (redo->ref->id) {
	case 0: return make_half_dead(redo, left, right, top_parent);
	case 1: return remove_downlink(redo, off);
	default: return bt_bad_ref(redo);
	}
}

struct unlink {
	uint32_t left, right, level;
	uint32_t leaf_left, leaf_right, leaf_top_parent;
	uint64_t xid;
};

static bool read_unlink(struct wa_redo *redo, struct unlink *ret)
{
	struct nf_reader r = wa_main_reader(redo);
	bool old = redo->version->major == 13;
	struct unlink u = {.left = nf_read_u32(&r)};

	u.right = nf_read_u32(&r);
	if (!old) {
		u.level = nf_read_u32(&r);
		(void)nf_read_u32(&r);
		u.xid = nf_read_u64(&r);
	}
	u.leaf_left = nf_read_u32(&r);
	u.leaf_right = nf_read_u32(&r);
	u.leaf_top_parent = nf_read_u32(&r);
	if (old)
		u.xid = nf_read_u32(&r);
	*ret = u;
	return !r.failed;
}

static void make_deleted(struct wa_redo *redo, const struct unlink *u)
{
	if (redo->version->major == 13) {
		bt_init(redo->page, u->left, u->right, (uint32_t)u->xid, BTP_DELETED);
		return;
	}
	bt_init(redo->page, u->left, u->right, u->level, BTP_DELETED | BTP_HAS_FULLXID | (u->level == 0 ? BTP_LEAF : 0));
	wa_put64(redo->page + WA_PAGE_HEADER, u->xid);
	wa_put16(redo->page + 12, WA_PAGE_HEADER + 8);
}

int wa_redo_btree_unlink(struct wa_redo *redo)
{
	struct unlink u;
	int status = 0;

	if (!read_unlink(redo, &u))
		return wa_redo_bad(redo, "the record is cut short");
	switch (redo->ref->id) {
	case 0: make_deleted(redo, &u); return 0;
	case 1:
		status = bt_check(redo);
		if (status == 0)
			bt_set_next(redo->page, u.right);
		return status;
	case 2:
		status = bt_check(redo);
		if (status == 0)
			bt_set_prev(redo->page, u.left);
		return status;
	case 3: return make_half_dead(redo, u.leaf_left, u.leaf_right, u.leaf_top_parent);
	case 4: return bt_restore_meta(redo);
	default: return bt_bad_ref(redo);
	}
}
