/* Inside redo: how a redo function sees the page and the record, and the helpers they share. Nobody outside redo/ includes this. */
#ifndef WA_REDO_IMPL_H
#define WA_REDO_IMPL_H

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"
#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"

/* One call of a redo function.
 * It has been settled that the record is to be applied: no image replaces the page, and pd_lsn < record->end (or will_init: the page is
 * all zeros then). Or `restored` is set. Afterwards the caller writes record->end into pd_lsn, unless keep_lsn was set. */
struct wa_redo {
	const struct wa_version *version;
	const struct wa_record *record;
	const struct wa_ref *ref;
	uint8_t *page;	/* WA_PAGE_SIZE bytes */
	uint32_t blkno; /* ref->block.blkno */
	uint8_t op;	/* record->info & op_mask of the resource manager */
	bool keep_lsn;
	bool restored; /* an image has just replaced the page: only for types of class WA_AFTER_IMAGE */
	struct wa_error *error;
};

typedef int (*wa_redo_fn)(struct wa_redo *redo);
typedef int (*wa_mask_fn)(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error);

/* Every redo and mask function of the table, declared once. */
#define WA_REDO_DECLARE(rmgr, op, name, first, last, class, redo) int wa_redo_##redo(struct wa_redo *redo_call);
WA_RECORDS(WA_REDO_DECLARE)
#undef WA_REDO_DECLARE
#define WA_MASK_DECLARE(id, symbol, name, op_mask, describe, mask)                                                                 \
	int wa_mask_##mask(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error);
WA_RMGRS(WA_MASK_DECLARE)
#undef WA_MASK_DECLARE

/* Redo one block with `function`, unless its LSN says that it has been done; no image is there to replace the page. Returns as
 * wa_redo_block does. */
int wa_redo_call(wa_redo_fn function, struct wa_redo *redo);

/* Refuse: fills redo->error with the record's LSN. Returns -EBADMSG. */
int wa_redo_bad(struct wa_redo *redo, const char *format, ...) NF_PRINTF(2, 3);

/* Cursors over the record's main data and over the block's data. */
static inline struct nf_reader wa_main_reader(const struct wa_redo *redo)
{
	return nf_reader_init(redo->record->main, redo->record->main_len);
}

static inline struct nf_reader wa_data_reader(const struct wa_redo *redo)
{
	return nf_reader_init(redo->ref->data, redo->ref->data_len);
}

/* Parts of masks that all managers share. */
void wa_mask_lsn_and_checksum(uint8_t *page);
void wa_mask_hint_bits(uint8_t *page);			       /* pd_prune_xid, PD_PAGE_FULL, PD_HAS_FREE_LINES, PD_ALL_VISIBLE */
int wa_mask_unused_space(uint8_t *page, struct wa_error *error); /* pd_lower .. pd_upper; -EBADMSG for a bad header */
void wa_mask_line_pointer_flags(uint8_t *page);		       /* lp_flags of all used items */

/* Everything but the first half of the header, of a page whose contents do not matter any more (mask_page_content). */
static inline void wa_mask_content(uint8_t *page)
{
	memset(page + WA_PAGE_HEADER, 0, WA_PAGE_SIZE - WA_PAGE_HEADER);
	memset(page + 12, 0, 4); /* pd_lower, pd_upper */
}

#endif
