/* Raw line pointers, for the page functions: offset in bits 0-14, flags in 15-16, length in 17-31 (storage/itemid.h).
 * Nothing here checks; off must be within 1 .. wa_page_item_count(). */
#ifndef WA_PAGE_IMPL_H
#define WA_PAGE_IMPL_H

#include "walapply/redo/page.h"

#define LINE_OFFSET_MASK 0x7FFFu

static inline unsigned line_at(unsigned off)
{
	return WA_PAGE_HEADER + 4 * (off - 1);
}

static inline unsigned line_offset(uint32_t raw)
{
	return raw & LINE_OFFSET_MASK;
}

static inline unsigned line_flags(uint32_t raw)
{
	return raw >> 15 & 3;
}

static inline unsigned line_len(uint32_t raw)
{
	return raw >> 17;
}

static inline uint32_t line_make(unsigned offset, unsigned flags, unsigned len)
{
	return (offset & LINE_OFFSET_MASK) | (uint32_t)(flags & 3) << 15 | (uint32_t)len << 17;
}

static inline uint32_t page_line(const uint8_t *page, unsigned off)
{
	return wa_get32(page + line_at(off));
}

static inline void page_set_line(uint8_t *page, unsigned off, uint32_t raw)
{
	wa_put32(page + line_at(off), raw);
}

#endif
