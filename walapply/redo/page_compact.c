/* Closing the gaps between a page's tuples, many at once: PageRepairFragmentation, PageTruncateLinePointerArray, PageIndexMultiDelete.
 *
 * Where the tuples end up depends on the major. All pack them against the special space. 13 keeps the order in which they lie. 14 and
 * later put them in the order of the line pointers, the first one highest. For tuples that already lie in that order both are the
 * same, and that is the usual case: they are then moved in place, in runs without a gap.
 *
 * Source: src/backend/storage/page/bufpage.c, compactify_tuples and its callers, of each major. */
#include "page_impl.h"

#include <errno.h>

#define MAJOR_ITEM_ORDER 14 /* first that packs in the order of the line pointers */
#define MAJOR_REPAIR_CUTS 15 /* first whose PageRepairFragmentation cuts unused line pointers off the end */
#define PACKED_MAX WA_INDEX_TUPLES_MAX
#define TUPLE_PLACES (WA_PAGE_SIZE / 8)

static_assert(WA_HEAP_TUPLES_MAX <= PACKED_MAX, "one list serves heap and index pages");

/* The tuples that stay. */
struct pack {
	unsigned count;
	unsigned total; /* of their sizes, each rounded up to 8 */
	unsigned lowest; /* offset of the last one added */
	bool sorted; /* by falling offset */
	unsigned upper, special; /* of the page as it was: tuples lie between */
	unsigned in_place; /* the first ones of the list that need not move, and where the last of them begins */
	unsigned in_place_at;
	struct packed {
		uint16_t off; /* line pointer that is to lead to it */
		uint16_t at, size;
	} list[PACKED_MAX];
};

static void pack_start(struct pack *pack, const uint8_t *page)
{
	pack->count = 0;
	pack->total = 0;
	pack->lowest = WA_PAGE_SIZE + 1;
	pack->sorted = true;
	pack->upper = wa_page_upper(page);
	pack->special = wa_page_special(page);
	pack->in_place = 0;
	pack->in_place_at = pack->special;
}

/* Note the tuple of line pointer `raw`, which from now on is number `off`. False when it lies where no tuple may, or is one too many. */
static inline bool pack_add(struct pack *pack, unsigned off, uint32_t raw)
{
	unsigned at = line_offset(raw), size = WA_ALIGN(line_len(raw));
	if (pack->count == PACKED_MAX || size == 0 || at % 8 != 0 || at < pack->upper || at + size > pack->special)
		return false;
	pack->sorted &= at < pack->lowest;
	pack->lowest = at;
	pack->total += size;
	if (at + size == pack->in_place_at && pack->in_place == pack->count) {
		pack->in_place_at = at;
		pack->in_place++;
	}
	pack->list[pack->count++] = (struct packed){.off = (uint16_t)off, .at = (uint16_t)at, .size = (uint16_t)size};
	return true;
}

/* Sort by falling offset. Tuples lie at multiples of 8, so each has a place of its own. False when two begin at the same place. */
static bool pack_sort(struct pack *pack)
{
	uint16_t place[TUPLE_PLACES] = {0}; /* 1 + number in the list */
	struct packed sorted[PACKED_MAX];
	for (unsigned i = 0; i < pack->count; i++) {
		uint16_t *slot = &place[pack->list[i].at / 8];
		if (*slot != 0)
			return false;
		*slot = (uint16_t)(i + 1);
	}
	unsigned count = 0;
	for (unsigned i = TUPLE_PLACES; i-- > 0;) {
		if (place[i] != 0)
			sorted[count++] = pack->list[place[i] - 1];
	}
	memcpy(pack->list, sorted, count * sizeof(sorted[0]));
	pack->sorted = true;
	pack->in_place = 0;
	pack->in_place_at = pack->special;
	return true;
}

/* Write the tuples that move, in the order of the list, from `source`: the page itself for a sorted list, else a copy of it.
 * Neighbours in source that are neighbours in the list go in one move. Returns the new pd_upper. */
static unsigned pack_write(const struct pack *pack, uint8_t *page, const uint8_t *source)
{
	unsigned upper = pack->in_place_at;
	for (unsigned i = pack->in_place; i < pack->count;) {
		const struct packed *first = &pack->list[i];
		unsigned end = first->at + first->size, begin = end, top = upper;
		for (; i < pack->count && pack->list[i].at + pack->list[i].size == begin; i++) {
			begin = pack->list[i].at;
			upper -= pack->list[i].size;
			if (upper != begin) {
				uint32_t raw = page_line(page, pack->list[i].off);
				page_set_line(page, pack->list[i].off, (raw & ~LINE_OFFSET_MASK) | upper);
			}
		}
		if (top != end)
			memmove(page + upper, source + begin, end - begin);
	}
	return upper;
}

static int pack_finish(struct pack *pack, uint8_t *page, int major)
{
	uint8_t copy[WA_PAGE_SIZE];
	const uint8_t *source = page;
	if (!pack->sorted) {
		if (major < MAJOR_ITEM_ORDER) {
			if (!pack_sort(pack))
				return -EBADMSG;
		} else {
			memcpy(copy + pack->upper, page + pack->upper, pack->special - pack->upper);
			source = copy;
		}
	}
	wa_put16(page + 14, (uint16_t)pack_write(pack, page, source));
	return 0;
}

static unsigned room_for_tuples(const uint8_t *page)
{
	return (unsigned)wa_page_special(page) - wa_page_lower(page);
}

static void set_free_lines(uint8_t *page, bool any)
{
	unsigned flags = wa_page_flags(page);
	flags = any ? flags | WA_PD_HAS_FREE_LINES : flags & ~WA_PD_HAS_FREE_LINES;
	wa_page_set_flags(page, (uint16_t)flags);
}

int wa_page_repair(uint8_t *page, int major)
{
	if (wa_page_check(page) < 0)
		return -EBADMSG;
	unsigned count = wa_page_item_count(page), last_used = 0, unused = 0;
	struct pack pack;
	pack_start(&pack, page);
	for (unsigned off = 1; off <= count; off++) {
		uint32_t raw = page_line(page, off);
		if (line_flags(raw) == WA_LP_UNUSED) {
			page_set_line(page, off, 0);
			unused++;
			continue;
		}
		last_used = off;
		if (line_len(raw) != 0 && (pack.count == WA_HEAP_TUPLES_MAX || !pack_add(&pack, off, raw)))
			return -EBADMSG;
	}
	if (pack.total > room_for_tuples(page) || pack_finish(&pack, page, major) < 0)
		return -EBADMSG;
	if (major >= MAJOR_REPAIR_CUTS) {
		unused -= count - last_used;
		wa_put16(page + 12, (uint16_t)(wa_page_lower(page) - 4 * (count - last_used)));
	}
	set_free_lines(page, unused > 0);
	return 0;
}

int wa_page_truncate_items(uint8_t *page)
{
	if (wa_page_check(page) < 0)
		return -EBADMSG;
	unsigned count = wa_page_item_count(page), keep = count;
	while (keep > 1 && line_flags(page_line(page, keep)) == WA_LP_UNUSED)
		keep--; /* never the first: a page does not become empty this way */
	bool any = false;
	for (unsigned off = 1; off <= keep && !any; off++)
		any = line_flags(page_line(page, off)) == WA_LP_UNUSED;
	wa_put16(page + 12, (uint16_t)(wa_page_lower(page) - 4 * (count - keep)));
	set_free_lines(page, any);
	return 0;
}

int wa_page_index_multi_delete(uint8_t *page, const uint16_t *offs, unsigned count, int major)
{
	if (count <= 2) { /* Postgres takes the same way, which keeps the order of the tuples in all majors */
		while (count-- > 0) {
			if (wa_page_index_delete(page, offs[count]) < 0)
				return -EBADMSG;
		}
		return 0;
	}
	if (wa_page_check(page) < 0)
		return -EBADMSG;
	unsigned lines = wa_page_item_count(page), next = 0, kept = 0;
	uint32_t line[PACKED_MAX];
	struct pack pack;
	pack_start(&pack, page);
	for (unsigned off = 1; off <= lines; off++) {
		if (next < count && offs[next] == off) {
			next++;
			continue;
		}
		uint32_t raw = page_line(page, off);
		if (!pack_add(&pack, kept + 1, raw))
			return -EBADMSG;
		line[kept++] = raw;
	}
	if (next != count || pack.total > room_for_tuples(page))
		return -EBADMSG;
	memcpy(page + WA_PAGE_HEADER, line, kept * sizeof(line[0]));
	wa_put16(page + 12, (uint16_t)(WA_PAGE_HEADER + 4 * kept));
	return pack_finish(&pack, page, major);
}
