/* The slotted page: header, line pointers, and putting an item on it. page.h has the layout; moving tuples is in page_compact.c and
 * page_index.c. Source: src/backend/storage/page/bufpage.c, the same in all majors here. */
#include "page_impl.h"

#include <errno.h>

#define PAGE_VERSION 4u /* PG_PAGE_LAYOUT_VERSION */

void wa_page_init(uint8_t *page, unsigned special_size)
{
	unsigned special = WA_PAGE_SIZE - WA_ALIGN(special_size);
	memset(page, 0, WA_PAGE_SIZE);
	wa_put16(page + 12, WA_PAGE_HEADER);
	wa_put16(page + 14, (uint16_t)special);
	wa_put16(page + 16, (uint16_t)special);
	wa_put16(page + 18, WA_PAGE_SIZE | PAGE_VERSION);
}

int wa_page_check(const uint8_t *page)
{
	unsigned lower = wa_page_lower(page), upper = wa_page_upper(page), special = wa_page_special(page);
	if (lower < WA_PAGE_HEADER || lower > upper || upper > special || special > WA_PAGE_SIZE || special % 8 != 0)
		return -EBADMSG;
	return 0;
}

unsigned wa_page_item_count(const uint8_t *page)
{
	unsigned lower = wa_page_lower(page);
	if (lower <= WA_PAGE_HEADER)
		return 0;
	unsigned count = (lower - WA_PAGE_HEADER) / 4;
	return count < WA_ITEM_MAX ? count : WA_ITEM_MAX;
}

int wa_page_item(const uint8_t *page, unsigned off, struct wa_item *ret_item)
{
	if (off == 0 || off > wa_page_item_count(page))
		return -EBADMSG;
	uint32_t raw = page_line(page, off);
	*ret_item = (struct wa_item){.offset = line_offset(raw), .len = line_len(raw), .flags = line_flags(raw)};
	return 0;
}

int wa_page_set_item(uint8_t *page, unsigned off, struct wa_item item)
{
	if (off == 0 || off > wa_page_item_count(page))
		return -EBADMSG;
	page_set_line(page, off, line_make(item.offset, item.flags, item.len));
	return 0;
}

int wa_page_tuple(uint8_t *page, unsigned off, unsigned min_len, uint8_t **ret_tuple, unsigned *ret_len)
{
	if (off == 0 || off > wa_page_item_count(page))
		return -EBADMSG;
	uint32_t raw = page_line(page, off);
	unsigned at = line_offset(raw), len = line_len(raw);
	if (len == 0 || len < min_len || at < wa_page_lower(page) || at + len > WA_PAGE_SIZE)
		return -EBADMSG;
	*ret_tuple = page + at;
	*ret_len = len;
	return 0;
}

/* The first unused line pointer, if the page's hint says that there is one; else the next new one. Clears a hint that is wrong. */
static unsigned free_line(uint8_t *page, unsigned count)
{
	unsigned flags = wa_page_flags(page);
	if (!(flags & WA_PD_HAS_FREE_LINES))
		return count + 1;
	for (unsigned off = 1; off <= count; off++) {
		uint32_t raw = page_line(page, off);
		if (line_flags(raw) == WA_LP_UNUSED && line_len(raw) == 0)
			return off;
	}
	wa_page_set_flags(page, (uint16_t)(flags & ~WA_PD_HAS_FREE_LINES));
	return count + 1;
}

int wa_page_add(uint8_t *page, const void *item, unsigned size, unsigned off, bool overwrite, bool heap)
{
	unsigned count = wa_page_item_count(page);
	if (wa_page_check(page) < 0 || size > WA_PAGE_SIZE)
		return -EBADMSG;
	bool shift = off != 0 && !overwrite && off <= count;
	if (off == 0) {
		off = free_line(page, count);
	} else if (overwrite && off <= count) {
		uint32_t raw = page_line(page, off);
		if (line_flags(raw) != WA_LP_UNUSED || line_len(raw) != 0)
			return -EBADMSG;
	}
	if (off > count + 1 || (heap && off > WA_HEAP_TUPLES_MAX))
		return -EBADMSG;

	unsigned lower = wa_page_lower(page) + (off > count || shift ? 4 : 0);
	unsigned upper = wa_page_upper(page), room = WA_ALIGN(size);
	if (lower + room > upper)
		return -EBADMSG;
	upper -= room;
	if (shift)
		memmove(page + line_at(off + 1), page + line_at(off), (count + 1 - off) * 4);
	page_set_line(page, off, line_make(upper, WA_LP_NORMAL, size));
	if (item != NULL && size > 0)
		memcpy(page + upper, item, size);
	wa_put16(page + 12, (uint16_t)lower);
	wa_put16(page + 14, (uint16_t)upper);
	return (int)off;
}

unsigned wa_page_exact_free(const uint8_t *page)
{
	unsigned lower = wa_page_lower(page), upper = wa_page_upper(page);
	return lower < upper && upper <= WA_PAGE_SIZE ? upper - lower : 0;
}
