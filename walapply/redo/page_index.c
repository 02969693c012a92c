/* Taking one item off an index page or putting another in its place. The tuples below it in the page (at lower offsets) move as one
 * block by the difference in size. Source: src/backend/storage/page/bufpage.c, the same in all majors here. */
#include "page_impl.h"

#include <errno.h>

/* Where item `off` lies. size is rounded up to 8. */
struct place {
	unsigned lines; /* line pointers of the page */
	unsigned at, size;
};

static int find(const uint8_t *page, unsigned off, struct place *ret)
{
	unsigned lines = wa_page_item_count(page);
	if (wa_page_check(page) < 0 || off == 0 || off > lines)
		return -EBADMSG;
	uint32_t raw = page_line(page, off);
	unsigned at = line_offset(raw), size = WA_ALIGN(line_len(raw));
	if (at % 8 != 0 || at < wa_page_upper(page) || at + size > wa_page_special(page))
		return -EBADMSG;
	*ret = (struct place){.lines = lines, .at = at, .size = size};
	return 0;
}

/* Move everything below `at` by `up` bytes (or down, when it is negative): the tuples, pd_upper, and the line pointers to them.
 * all: also those without storage, as Postgres does where there should be none. */
static void slide(uint8_t *page, unsigned lines, unsigned at, int up, bool all)
{
	unsigned upper = wa_page_upper(page), moved = (unsigned)((int)upper + up);
	if (at > upper)
		memmove(page + moved, page + upper, at - upper);
	wa_put16(page + 14, (uint16_t)moved);
	for (unsigned off = 1; off <= lines; off++) {
		uint32_t raw = page_line(page, off);
		if (line_offset(raw) <= at && (all || line_len(raw) != 0))
			page_set_line(page, off, (raw & ~LINE_OFFSET_MASK) | ((uint32_t)((int)line_offset(raw) + up) & LINE_OFFSET_MASK));
	}
}

int wa_page_index_delete(uint8_t *page, unsigned off)
{
	struct place p;
	if (find(page, off, &p) < 0)
		return -EBADMSG;
	memmove(page + line_at(off), page + line_at(off + 1), (p.lines - off) * 4);
	wa_put16(page + 12, (uint16_t)(wa_page_lower(page) - 4));
	slide(page, p.lines - 1, p.at, (int)p.size, true);
	return 0;
}

int wa_page_index_delete_no_compact(uint8_t *page, unsigned off)
{
	struct place p;
	if (find(page, off, &p) < 0)
		return -EBADMSG;
	if (off < p.lines) {
		page_set_line(page, off, 0);
	} else {
		wa_put16(page + 12, (uint16_t)(wa_page_lower(page) - 4));
		p.lines--; /* earlier ones that are unused stay, also when they are the last ones now */
	}
	slide(page, p.lines, p.at, (int)p.size, false);
	return 0;
}

int wa_page_index_overwrite(uint8_t *page, unsigned off, const void *item, unsigned size)
{
	struct place p;
	if (size == 0 || size > WA_PAGE_SIZE || find(page, off, &p) < 0)
		return -EBADMSG;
	if (WA_ALIGN(size) > p.size + wa_page_exact_free(page))
		return -EBADMSG;
	int shrunk = (int)p.size - (int)WA_ALIGN(size);
	uint32_t flags = line_flags(page_line(page, off));
	if (shrunk != 0)
		slide(page, p.lines, p.at, shrunk, false);
	unsigned at = (unsigned)((int)p.at + shrunk);
	page_set_line(page, off, line_make(at, flags, size));
	memcpy(page + at, item, size);
	return 0;
}
