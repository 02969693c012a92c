/* B-tree insertion into a page that has room: INSERT_LEAF, INSERT_UPPER, INSERT_META, INSERT_POST.
 *
 *   main      0 offset number u16
 *   block 0   the page; data: INSERT_POST only: u16 at which TID the posting list before it is split; then the new tuple
 *   block 1   UPPER, META: the child whose split is complete with this downlink
 *   block 2   META: the meta page
 *
 * Source: access/nbtxlog.h; btree_xlog_insert in access/nbtree/nbtxlog.c. */
#include "btree_impl.h"

#define OP_INSERT_POST 0x50

/* The tuple before the new one is a posting list, in whose range the new TID falls: the new TID goes into the list, the list's last TID goes
 * into the new tuple. */
static int insert_split_posting(struct wa_redo *redo, unsigned off)
{
	struct nf_reader r = wa_data_reader(redo);
	unsigned at = nf_read_u16(&r);
	unsigned size = (unsigned)nf_reader_left(&r);
	const uint8_t *item = nf_read_bytes(&r, size);
	uint8_t *posting;
	unsigned posting_len;

	if (r.failed || size < TUPLE_HEADER || tuple_size(item) != size)
		return wa_redo_bad(redo, "the new tuple is cut short");
	if (off < 2 || wa_page_tuple(redo->page, off - 1, TUPLE_HEADER, &posting, &posting_len) < 0)
		return wa_redo_bad(redo, "there is no tuple before item %u", off);
	uint8_t tid[TID_SIZE];
	memcpy(tid, item, TID_SIZE);
	if (!bt_swap_posting(posting, posting_len, at, tid))
		return wa_redo_bad(redo, "item %u is no posting list that can be split at %u", off - 1, at);
	uint8_t *added;
	unsigned added_len;
	if (wa_page_add(redo->page, item, size, off, false, false) < 0 ||
	    wa_page_tuple(redo->page, off, TUPLE_HEADER, &added, &added_len) < 0)
		return wa_redo_bad(redo, "no room for item %u of %u bytes", off, size);
	memcpy(added, tid, TID_SIZE);
	return 0;
}

int wa_redo_btree_insert(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo);
	unsigned off = nf_read_u16(&main);

	switch (redo->ref->id) {
	case 0: break;
	case 1: return bt_clear_incomplete_split(redo);
	case 2: return bt_restore_meta(redo);
	default: return bt_bad_ref(redo);
	}
	int status = bt_check(redo);
	if (status < 0)
		return status;
	if (main.failed || off == 0)
		return wa_redo_bad(redo, "the record is cut short");
	if (redo->op == OP_INSERT_POST)
		return insert_split_posting(redo, off);
	unsigned size = redo->ref->data_len;
	if (size < TUPLE_HEADER || wa_page_add(redo->page, redo->ref->data, size, off, false, false) < 0)
		return wa_redo_bad(redo, "no room for item %u of %u bytes", off, size);
	return 0;
}

int bt_clear_incomplete_split(struct wa_redo *redo)
{
	int status = bt_check(redo);
	if (status == 0)
		bt_set_flags(redo->page, bt_flags(redo->page) & ~(unsigned)BTP_INCOMPLETE_SPLIT);
	return status;
}
