/* Sequences: a page with one tuple, written anew each time.
 *
 *   LOG   main      0 locator   12 the tuple
 *         block 0   the page; its special space is 8 bytes that begin with a magic number
 *
 * Source: commands/sequence.h, seq_redo and seq_mask in commands/sequence.c. */
#include "redo_impl.h"

#define SEQ_MAGIC 0x1717u
#define LOCATOR_SIZE 12u

int wa_redo_seq_log(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	(void)nf_read_bytes(&r, LOCATOR_SIZE);
	size_t size = nf_reader_left(&r);

	if (r.failed || size > WA_PAGE_SIZE)
		return wa_redo_bad(redo, "a sequence's tuple cannot have %zu bytes", size);
	if (redo->ref->id != 0)
		return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
	wa_page_init(redo->page, sizeof(uint32_t));
	wa_put32(redo->page + wa_page_special(redo->page), SEQ_MAGIC);
	if (wa_page_add(redo->page, r.data + r.offset, (unsigned)size, 1, false, false) < 0)
		return wa_redo_bad(redo, "a sequence's tuple of %zu bytes does not fit", size);
	return 0;
}

int wa_mask_seq(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	wa_mask_lsn_and_checksum(page);
	return wa_mask_unused_space(page, error);
}
