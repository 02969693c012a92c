/* How heap pages are masked: hint bits, command ids, the place of a tuple whose insertion was only tried, and padding.
 * A page of the visibility map has nothing but "unused space" to this mask, as in Postgres; who wants its bits compared compares them unmasked.
 * Source: heap_mask in heap/heapam.c (heap/heapam_xlog.c in 18), the same in all majors here. */
#include "heap_impl.h"

static void mask_tuple(uint8_t *tuple, uint32_t blkno, unsigned off)
{
	bool frozen = (wa_get16(tuple + HEAP_INFOMASK) & HEAP_XMIN_FROZEN) == HEAP_XMIN_FROZEN;
	heap_set_bits(tuple, HEAP_INFOMASK, frozen ? HEAP_XMAX_INVALID | HEAP_XMAX_COMMITTED : HEAP_XACT_MASK, 0);
	wa_put32(tuple + HEAP_CID, 0);
	if (wa_get16(tuple + HEAP_CTID + 4) == HEAP_SPECULATIVE)
		heap_set_ctid(tuple, blkno, off);
}

int wa_mask_heap(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	wa_mask_lsn_and_checksum(page);
	wa_mask_hint_bits(page);
	int status = wa_mask_unused_space(page, error);
	if (status < 0)
		return status;
	unsigned count = wa_page_item_count(page);
	for (unsigned off = 1; off <= count; off++) {
		struct wa_item item;
		uint8_t *tuple;
		unsigned len;
		if (wa_page_item(page, off, &item) < 0 || item.len == 0)
			continue;
		if (wa_page_tuple(page, off, item.flags == WA_LP_NORMAL ? HEAP_HEADER : 1, &tuple, &len) < 0 ||
		    item.offset + WA_ALIGN(len) > WA_PAGE_SIZE)
			return wa_bad(error, (struct nf_lsn){0}, "item %u is %u bytes at %u: no tuple lies there", off, item.len,
				      item.offset);
		if (item.flags == WA_LP_NORMAL)
			mask_tuple(tuple, blkno, off);
		memset(tuple + len, 0, WA_ALIGN(len) - len);
	}
	return 0;
}
