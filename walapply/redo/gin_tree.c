/* Entry trees and posting trees of a GIN index: INSERT, SPLIT, DELETE_PAGE; and how GIN pages are masked. VACUUM_PAGE is an image.
 *
 * INSERT       main      0 flags u16: 1 posting tree, 2 leaf   not a leaf: 2 left child u16 high, u16 low   6 right child u16 high, u16 low
 *              block 0   the page; data:
 *                          entry tree           0 offset number u16   2 whether it replaces what is there u8   4 the tuple
 *                          posting tree, leaf   actions (gin_leaf.c)
 *                          posting tree, inner  0 offset number u16   2 the posting item
 *              block 1   not a leaf: the child whose split is complete
 * SPLIT        block 0   the left page      1   the right page      2   the root, where that was split: images
 *              block 3   not a leaf: the child whose split is complete
 * DELETE_PAGE  main      0 offset number in the parent u16   4 the left sibling's new right link u32   8 xid from when on none sees it u32
 *              block 0   the page      1   the parent      2   the left sibling
 *
 * Where a child was split, the item that led to it gets to lead to the right half, and the new one before it to the left half.
 *
 * Source: access/ginxlog.h; access/gin/ginxlog.c; GinDataPageAddPostingItem and GinPageDeletePostingItem in access/gin/gindatapage.c. */
#include "gin_impl.h"

#define INSERT_IS_DATA 1u
#define INSERT_IS_LEAF 2u

static uint8_t *posting_item(uint8_t *page, unsigned off)
{
	return page + GIN_CONTENT_AT + (off - 1) * GIN_POSTING_ITEM;
}

static void set_posting_items(uint8_t *page, unsigned count)
{
	gin_set_maxoff(page, count);
	gin_set_content(page, count * GIN_POSTING_ITEM);
}

static int insert_posting_item(struct wa_redo *redo, uint32_t right_child)
{
	struct nf_reader r = wa_data_reader(redo);
	unsigned off = nf_read_u16(&r), count = gin_maxoff(redo->page);
	const uint8_t *item = nf_read_bytes(&r, GIN_POSTING_ITEM);

	if (r.failed)
		return gin_cut_short(redo);
	if (off == 0 || off > count || (count + 1) * GIN_POSTING_ITEM > GIN_CONTENT_MAX)
		return wa_redo_bad(redo, "a posting item cannot go to place %u of %u", off, count);
	uint8_t *at = posting_item(redo->page, off);
	tuple_set_block(at, right_child);
	memmove(at + GIN_POSTING_ITEM, at, (count + 1 - off) * GIN_POSTING_ITEM);
	memcpy(at, item, GIN_POSTING_ITEM);
	set_posting_items(redo->page, count + 1);
	return 0;
}

static int insert_entry(struct wa_redo *redo, bool leaf, uint32_t right_child)
{
	struct nf_reader r = wa_data_reader(redo);
	unsigned off = nf_read_u16(&r), replaces = nf_read_u8(&r);
	(void)nf_read_u8(&r);
	const uint8_t *tuple = nf_read_bytes(&r, TUPLE_HEADER);

	if (tuple == NULL || tuple_size(tuple) < TUPLE_HEADER || tuple_size(tuple) - TUPLE_HEADER > nf_reader_left(&r))
		return gin_cut_short(redo);
	if (!leaf) {
		uint8_t *downlink;
		unsigned len;
		if (wa_page_tuple(redo->page, off, TUPLE_HEADER, &downlink, &len) < 0)
			return wa_redo_bad(redo, "there is no item %u that leads to the child that was split", off);
		tuple_set_block(downlink, right_child);
		wa_put16(downlink + 4, 0);
	}
	if (replaces && (!leaf || wa_page_index_delete(redo->page, off) < 0))
		return wa_redo_bad(redo, "item %u cannot be replaced", off);
	if (off == 0 || wa_page_add(redo->page, tuple, tuple_size(tuple), off, false, false) < 0)
		return wa_redo_bad(redo, "a tuple of %u bytes cannot go to place %u of %u", tuple_size(tuple), off,
				   wa_page_item_count(redo->page));
	return 0;
}

static int clear_incomplete_split(struct wa_redo *redo)
{
	int status = gin_check(redo, 0, 0);
	if (status == 0)
		gin_set_flags(redo->page, gin_flags(redo->page) & ~(unsigned)GIN_INCOMPLETE_SPLIT);
	return status;
}

static int insert(struct wa_redo *redo, bool data, bool leaf, uint32_t right_child)
{
	struct nf_reader r = wa_data_reader(redo);
	int status = gin_check(redo, GIN_DATA | GIN_LEAF | GIN_DELETED | GIN_META | GIN_LIST,
			       (data ? GIN_DATA : 0u) | (leaf ? GIN_LEAF : 0u));

	if (status < 0)
		return status;
	if (!data)
		return insert_entry(redo, leaf, right_child);
	return leaf ? gin_recompress(redo, &r) : insert_posting_item(redo, right_child);
}

int wa_redo_gin_insert(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned flags = nf_read_u16(&r);
	bool leaf = flags & INSERT_IS_LEAF;
	uint32_t right_child = GIN_NONE;

	if (!leaf) {
		(void)nf_read_u32(&r); /* the left child */
		const uint8_t *block = nf_read_bytes(&r, 4);
		if (block != NULL)
			right_child = tuple_block(block);
	}
	if (r.failed)
		return gin_cut_short(redo);
	if (redo->ref->id == 0)
		return insert(redo, flags & INSERT_IS_DATA, leaf, right_child);
	return redo->ref->id == 1 && !leaf ? clear_incomplete_split(redo) : gin_bad_ref(redo);
}

int wa_redo_gin_split(struct wa_redo *redo)
{
	if (redo->ref->id == 3)
		return clear_incomplete_split(redo);
	return wa_redo_bad(redo, "a split without an image of the page");
}

static int delete_posting_item(struct wa_redo *redo, unsigned off)
{
	unsigned count = gin_maxoff(redo->page);

	if (off == 0 || off > count || count * GIN_POSTING_ITEM > GIN_CONTENT_MAX)
		return wa_redo_bad(redo, "there is no posting item %u of %u", off, count);
	uint8_t *at = posting_item(redo->page, off);
	memmove(at, at + GIN_POSTING_ITEM, (count - off) * GIN_POSTING_ITEM);
	set_posting_items(redo->page, count - 1);
	return 0;
}

int wa_redo_gin_delete_page(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned off = nf_read_u16(&r);
	(void)nf_read_u16(&r);
	uint32_t right = nf_read_u32(&r), xid = nf_read_u32(&r);
	bool parent = redo->ref->id == 1;
	int status = gin_check(redo, parent ? GIN_DATA | GIN_LEAF : GIN_DATA, GIN_DATA);

	if (status < 0)
		return status;
	if (r.failed)
		return gin_cut_short(redo);
	switch (redo->ref->id) {
	case 0:
		gin_set_flags(redo->page, gin_flags(redo->page) | GIN_DELETED);
		wa_put32(redo->page + 20, xid);
		return 0;
	case 1: return delete_posting_item(redo, off);
	case 2: gin_set_right(redo->page, right); return 0;
	default: return gin_bad_ref(redo);
	}
}

int wa_mask_gin(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	unsigned special = wa_page_special(page);

	wa_mask_lsn_and_checksum(page);
	if (special > GIN_SPECIAL_AT)
		return wa_bad(error, (struct nf_lsn){0}, "the page is not one of a GIN index: its special space starts at %u",
			      special);
	bool deleted = wa_get16(page + special + 6) & GIN_DELETED;
	wa_mask_hint_bits(page);
	if (deleted)
		wa_mask_content(page);
	else if (wa_page_lower(page) > WA_PAGE_HEADER)
		return wa_mask_unused_space(page, error);
	return 0;
}
