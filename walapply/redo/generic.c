/* Generic WAL: what extensions write that have no resource manager of their own (bloom is one).
 *
 *   Generic   each block   data: pieces of the page that have changed: 0 offset u16   2 size u16   4 the new bytes
 *
 * The pieces know nothing of the space between pd_lower and pd_upper: it is zeros afterwards.
 * Source: transam/generic_xlog.c (applyPageRedo, generic_redo, generic_mask). */
#include "redo_impl.h"

int wa_redo_generic(struct wa_redo *redo)
{
	struct nf_reader r = wa_data_reader(redo);
	while (nf_reader_left(&r) > 0) {
		unsigned offset = nf_read_u16(&r), size = nf_read_u16(&r);
		const void *bytes = nf_read_bytes(&r, size);
		if (bytes == NULL)
			return wa_redo_bad(redo, "a piece of the page is cut short");
		if (offset + size > WA_PAGE_SIZE)
			return wa_redo_bad(redo, "%u bytes at %u lead out of the page", size, offset);
		memcpy(redo->page + offset, bytes, size);
	}
	if (wa_page_check(redo->page) < 0)
		return wa_redo_bad(redo, "the page's header is out of order afterwards");
	unsigned lower = wa_page_lower(redo->page);
	memset(redo->page + lower, 0, (unsigned)wa_page_upper(redo->page) - lower);
	return 0;
}

int wa_mask_generic(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	wa_mask_lsn_and_checksum(page);
	return wa_mask_unused_space(page, error);
}
