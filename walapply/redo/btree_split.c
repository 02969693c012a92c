/* B-tree splits and new roots: SPLIT_L, SPLIT_R, NEWROOT.
 *
 * SPLIT    main      0 level u32   4 first item that goes right u16   6 new item's offset number u16   8 posting split u16, 0 = none
 *          block 0   the page, which becomes the left half; data: the new tuple (SPLIT_L, or with a posting split), then the new high key
 *          block 1   the right half, new; data: its tuples
 *          block 2   the next page to the right, if any
 *          block 3   level > 0: the child whose split is complete
 * NEWROOT  main      0 root's block u32   4 level u32
 *          block 0   the root, new; data: its tuples if level > 0
 *          block 1   level > 0: the left child
 *          block 2   the meta page
 *
 * Source: access/nbtxlog.h; btree_xlog_split, btree_xlog_newroot and _bt_restore_page in access/nbtree/nbtxlog.c. */
#include "btree_impl.h"

#define OP_SPLIT_L 0x30

struct split {
	uint32_t level;
	unsigned first_right, new_off, posting_at;
	bool new_on_left;
};

/* The data is a copy of a page's tuple area, so the last item comes first: it can be put back as one piece, the line pointers made along
 * the way. */
int bt_restore_items(struct wa_redo *redo)
{
	struct nf_reader r = wa_data_reader(redo);
	unsigned count = 0;
	const uint8_t *tuple;

	while (nf_reader_left(&r) > 0 && read_tuple(&r, &tuple) > 0)
		count++;
	unsigned lower = WA_PAGE_HEADER + 4 * count, upper = INDEX_SPECIAL_AT - redo->ref->data_len;
	if (r.failed || redo->ref->data_len > INDEX_SPECIAL_AT || lower > upper)
		return wa_redo_bad(redo, "its tuples are cut short or do not fit on a page");
	if (count == 0)
		return 0;
	memcpy(redo->page + upper, redo->ref->data, redo->ref->data_len);
	for (unsigned at = upper, i = count; i > 0; i--) {
		unsigned size = WA_ALIGN(tuple_size(redo->page + at));
		wa_put32(redo->page + WA_PAGE_HEADER + 4 * (i - 1), at | (uint32_t)WA_LP_NORMAL << 15 | size << 17);
		at += size;
	}
	wa_put16(redo->page + 12, (uint16_t)lower);
	wa_put16(redo->page + 14, (uint16_t)upper);
	return 0;
}

/* What the left half gets beside its own items. */
struct left_data {
	const uint8_t *new_item, *high_key;
	unsigned new_size, high_key_size;
	uint8_t new_tid[TID_SIZE]; /* that the new item ends up with */
};

static int read_left(struct wa_redo *redo, const struct split *split, struct left_data *ret_left)
{
	struct nf_reader r = wa_data_reader(redo);
	struct left_data left = {.new_size = 0};

	if (split->new_on_left || split->posting_at != 0) {
		left.new_size = read_tuple(&r, &left.new_item);
		if (r.failed)
			return wa_redo_bad(redo, "the new tuple is cut short");
		memcpy(left.new_tid, left.new_item, TID_SIZE);
	}
	left.high_key_size = read_tuple(&r, &left.high_key);
	if (r.failed || nf_reader_left(&r) > 0)
		return wa_redo_bad(redo, "the high key is cut short");
	*ret_left = left;
	return 0;
}

static bool append_new(struct page_builder *b, const struct left_data *left)
{
	uint8_t *at = builder_append(b, left->new_item, left->new_size, left->new_size);
	if (at != NULL)
		memcpy(at, left->new_tid, TID_SIZE);
	return at != NULL;
}

/* The left half, its tuples laid out in the order of their offset numbers as the primary does. */
static int split_left(struct wa_redo *redo, const struct split *split)
{
	struct page_builder b;
	struct left_data left = {.new_size = 0};
	const struct wa_ref *right = wa_record_ref(redo->record, 1);
	unsigned posting_off = split->posting_at != 0 ? split->new_off - 1 : 0;
	int status = read_left(redo, split, &left);

	if (status < 0)
		return status;
	if (right == NULL || (split->posting_at != 0 && split->new_off < 2))
		return wa_redo_bad(redo, "the record is cut short");
	builder_start(&b);
	if (builder_append(&b, left.high_key, left.high_key_size, left.high_key_size) == NULL)
		return wa_redo_bad(redo, "no room for the high key");
	unsigned off = bt_first_data(redo->page);
	for (; off < split->first_right; off++) {
		uint8_t *tuple;
		unsigned len;
		if (split->new_on_left && off == split->new_off && !append_new(&b, &left))
			return wa_redo_bad(redo, "no room for the new tuple");
		if (wa_page_tuple(redo->page, off, TUPLE_HEADER, &tuple, &len) < 0)
			return wa_redo_bad(redo, "there is no item %u of those that stay left", off);
		uint8_t *copy = builder_append(&b, tuple, len, len);
		if (copy == NULL)
			return wa_redo_bad(redo, "no room for item %u", off);
		if (off == posting_off && !bt_swap_posting(copy, len, split->posting_at, left.new_tid))
			return wa_redo_bad(redo, "item %u is no posting list that can be split at %u", off, split->posting_at);
	}
	if (split->new_on_left && off == split->new_off && !append_new(&b, &left))
		return wa_redo_bad(redo, "no room for the new tuple");

	builder_finish(&b, redo->page);
	bt_set_flags(redo->page, split->level == 0 ? BTP_INCOMPLETE_SPLIT | BTP_LEAF : BTP_INCOMPLETE_SPLIT);
	bt_set_next(redo->page, right->block.blkno);
	bt_set_cycleid(redo->page, 0);
	return 0;
}

int wa_redo_btree_split(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	struct split split = {.level = nf_read_u32(&r), .new_on_left = redo->op == OP_SPLIT_L};
	split.first_right = nf_read_u16(&r);
	split.new_off = nf_read_u16(&r);
	split.posting_at = nf_read_u16(&r);
	const struct wa_ref *orig = wa_record_ref(redo->record, 0), *right = wa_record_ref(redo->record, 1),
			    *next = wa_record_ref(redo->record, 2);
	if (r.failed || orig == NULL || right == NULL)
		return wa_redo_bad(redo, "the record is cut short");

	if (redo->ref->id == 1) {
		bt_init(redo->page, orig->block.blkno, next != NULL ? next->block.blkno : BT_NONE, split.level,
			split.level == 0 ? BTP_LEAF : 0);
		return bt_restore_items(redo);
	}
	int status = bt_check(redo);
	if (status < 0)
		return status;
	switch (redo->ref->id) {
	case 0: return split_left(redo, &split);
	case 2: bt_set_prev(redo->page, right->block.blkno); return 0;
	case 3: return bt_clear_incomplete_split(redo);
	default: return bt_bad_ref(redo);
	}
}

int wa_redo_btree_newroot(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	(void)nf_read_u32(&r);
	uint32_t level = nf_read_u32(&r);

	if (r.failed)
		return wa_redo_bad(redo, "the record is cut short");
	switch (redo->ref->id) {
	case 0:
		bt_init(redo->page, BT_NONE, BT_NONE, level, level == 0 ? BTP_ROOT | BTP_LEAF : BTP_ROOT);
		return level == 0 ? 0 : bt_restore_items(redo);
	case 1: return bt_clear_incomplete_split(redo);
	case 2: return bt_restore_meta(redo);
	default: return bt_bad_ref(redo);
	}
}
