/* What the redo functions of the heap share: finding and making tuples, who locked or deleted them.
 * Sources: heap/heapam.c (heap/heapam_xlog.c in 18), access/htup_details.h, storage/bufpage.h. */
#include "heap_impl.h"

/* infobits_set of a record (XLHL_*). */
enum { XLHL_IS_MULTI = 1, XLHL_LOCK_ONLY = 2, XLHL_EXCL_LOCK = 4, XLHL_KEYSHR_LOCK = 8, XLHL_KEYS_UPDATED = 16 };

#define XID_FIRST_NORMAL 3u

int heap_check(struct wa_redo *redo)
{
	if (wa_page_check(redo->page) < 0)
		return wa_redo_bad(redo, "the page is not one of a table");
	return 0;
}

int heap_start(struct wa_redo *redo)
{
	if (redo->record->info & HEAP_INIT_PAGE)
		wa_page_init(redo->page, 0);
	return heap_check(redo);
}

int heap_tuple(struct wa_redo *redo, unsigned off, uint8_t **ret_tuple, unsigned *ret_len)
{
	struct wa_item item;
	if (wa_page_item(redo->page, off, &item) < 0 || item.flags != WA_LP_NORMAL ||
	    wa_page_tuple(redo->page, off, HEAP_HEADER, ret_tuple, ret_len) < 0)
		return wa_redo_bad(redo, "item %u is no tuple", off);
	return 0;
}

struct heap_header heap_read_header(struct nf_reader *r)
{
	struct heap_header header = {.infomask2 = nf_read_u16(r)};
	header.infomask = nf_read_u16(r);
	header.hoff = nf_read_u8(r);
	return header;
}

int heap_add(struct wa_redo *redo, unsigned off, const struct heap_header *header, unsigned size, uint8_t **ret_data)
{
	if (off == 0 || wa_page_add(redo->page, NULL, HEAP_HEADER + size, off, true, true) < 0)
		return wa_redo_bad(redo, "no room for a tuple of %u bytes as item %u", HEAP_HEADER + size, off);
	uint8_t *tuple = redo->page + wa_page_upper(redo->page);
	wa_put32(tuple + HEAP_XMIN, redo->record->xid);
	wa_put32(tuple + HEAP_XMAX, 0);
	wa_put16(tuple + HEAP_INFOMASK2, header->infomask2);
	wa_put16(tuple + HEAP_INFOMASK, header->infomask);
	tuple[HEAP_HOFF] = header->hoff;
	heap_clear_cid(tuple);
	heap_set_ctid(tuple, redo->blkno, off);
	*ret_data = tuple + HEAP_HEADER;
	return 0;
}

void heap_set_infobits(uint8_t *tuple, unsigned infobits)
{
	unsigned mask =
		(infobits & XLHL_IS_MULTI ? HEAP_XMAX_IS_MULTI : 0) | (infobits & XLHL_LOCK_ONLY ? HEAP_XMAX_LOCK_ONLY : 0) |
		(infobits & XLHL_EXCL_LOCK ? HEAP_XMAX_EXCL_LOCK : 0) | (infobits & XLHL_KEYSHR_LOCK ? HEAP_XMAX_KEYSHR_LOCK : 0);
	heap_set_bits(tuple, HEAP_INFOMASK, HEAP_XMAX_BITS | HEAP_MOVED, mask);
	heap_set_bits(tuple, HEAP_INFOMASK2, HEAP_KEYS_UPDATED, infobits & XLHL_KEYS_UPDATED ? HEAP_KEYS_UPDATED : 0);
}

/* TransactionIdPrecedes: normal ids run in a circle, the special ones come before all. */
static bool xid_precedes(uint32_t a, uint32_t b)
{
	if (a < XID_FIRST_NORMAL || b < XID_FIRST_NORMAL)
		return a < b;
	return (int32_t)(a - b) < 0;
}

void heap_set_prunable(uint8_t *page, uint32_t xid)
{
	uint32_t prune_xid = wa_get32(page + 20);
	if (prune_xid == 0 || xid_precedes(xid, prune_xid))
		wa_put32(page + 20, xid);
}
