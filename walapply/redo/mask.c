/* Parts that the masks of all resource managers share. Source: src/backend/access/common/bufmask.c. */
#include "redo_impl.h"

#include "page_impl.h"

void wa_mask_lsn_and_checksum(uint8_t *page)
{
	memset(page, 0, 10);
}

void wa_mask_hint_bits(uint8_t *page)
{
	wa_put32(page + 20, 0);
	wa_page_set_flags(page, wa_page_flags(page) & (uint16_t)~(WA_PD_PAGE_FULL | WA_PD_HAS_FREE_LINES | WA_PD_ALL_VISIBLE));
}

int wa_mask_unused_space(uint8_t *page, struct wa_error *error)
{
	unsigned lower = wa_page_lower(page), upper = wa_page_upper(page), special = wa_page_special(page);
	if (lower < WA_PAGE_HEADER || lower > upper || upper > special || special > WA_PAGE_SIZE)
		return wa_bad(error, wa_page_lsn(page), "page header out of order: lower %u, upper %u, special %u", lower, upper, special);
	memset(page + lower, 0, upper - lower);
	return 0;
}

void wa_mask_line_pointer_flags(uint8_t *page)
{
	unsigned count = wa_page_item_count(page);
	for (unsigned off = 1; off <= count; off++) {
		uint32_t raw = page_line(page, off);
		page_set_line(page, off, line_make(line_offset(raw), WA_LP_UNUSED, line_len(raw)));
	}
}

int wa_mask_none(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	(void)error;
	wa_mask_lsn_and_checksum(page);
	return 0;
}
