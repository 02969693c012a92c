/* GIN pages, as redo sees them.
 *
 *   special space, the last 8 bytes: 0 rightlink u32   4 maxoff u16 (posting items, or heap tuples of a list page)   6 flags u16
 *   entry tree and pending list: index tuples under line pointers
 *   posting tree ("data"), from 24: 0 right bound TID, padded to 8   8 the content, up to pd_lower:
 *     inner page       maxoff posting items of 10 bytes: 0 child block u16 high, u16 low   4 key TID
 *     leaf             segments, one after the other
 *     leaf before 9.4  maxoff plain TIDs, GIN_COMPRESSED not set, pd_lower not kept
 *   segment            0 first TID   6 bytes that follow u16   8 differences to the TID before, 7 bits a byte, low ones first, top bit =
 *                      more follow; an odd number of bytes is padded with one 0
 *   meta page, from 24: 56 bytes that records have whole
 *
 * Source: access/ginblock.h; access/gin/ginpostinglist.c. */
#ifndef WA_GIN_IMPL_H
#define WA_GIN_IMPL_H

#include "walapply/redo/index_tuple.h"

#define GIN_NONE 0xFFFFFFFFu /* no block */
#define GIN_SPECIAL 8u
#define GIN_SPECIAL_AT (WA_PAGE_SIZE - GIN_SPECIAL)
#define GIN_CONTENT_AT (WA_PAGE_HEADER + 8u) /* of a posting tree page */
#define GIN_CONTENT_MAX (GIN_SPECIAL_AT - GIN_CONTENT_AT)
#define GIN_META_SIZE 56u
#define GIN_POSTING_ITEM 10u
#define GIN_SEGMENT_HEADER 8u

enum {
	GIN_DATA = 1,
	GIN_LEAF = 2,
	GIN_DELETED = 4,
	GIN_META = 8,
	GIN_LIST = 16,
	GIN_LIST_FULLROW = 32,
	GIN_INCOMPLETE_SPLIT = 64,
	GIN_COMPRESSED = 128,
};

static inline void gin_set_right(uint8_t *page, uint32_t blkno)
{
	wa_put32(page + GIN_SPECIAL_AT, blkno);
}

static inline unsigned gin_maxoff(const uint8_t *page)
{
	return wa_get16(page + GIN_SPECIAL_AT + 4);
}

static inline void gin_set_maxoff(uint8_t *page, unsigned maxoff)
{
	wa_put16(page + GIN_SPECIAL_AT + 4, (uint16_t)maxoff);
}

static inline unsigned gin_flags(const uint8_t *page)
{
	return wa_get16(page + GIN_SPECIAL_AT + 6);
}

static inline void gin_set_flags(uint8_t *page, unsigned flags)
{
	wa_put16(page + GIN_SPECIAL_AT + 6, (uint16_t)flags);
}

/* An empty page with no page to its right (GinInitPage). */
static inline void gin_init(uint8_t *page, unsigned flags)
{
	wa_page_init(page, GIN_SPECIAL);
	gin_set_right(page, GIN_NONE);
	gin_set_flags(page, flags);
}

/* How many bytes of content a posting tree page has (GinDataPageSetDataSize). */
static inline void gin_set_content(uint8_t *page, unsigned size)
{
	wa_put16(page + 12, (uint16_t)(GIN_CONTENT_AT + size));
}

/* The page is one of GIN, and of the kind that the record is about: of its flags those in `mask` are `expected`. */
static inline int gin_check(struct wa_redo *redo, unsigned mask, unsigned expected)
{
	if (wa_page_check(redo->page) < 0 || wa_page_special(redo->page) != GIN_SPECIAL_AT)
		return wa_redo_bad(redo, "the page is not one of a GIN index");
	if ((expected & GIN_DATA) && wa_page_upper(redo->page) != GIN_SPECIAL_AT)
		return wa_redo_bad(redo, "a page of a posting tree has no tuples, and this one ends at %u",
				   wa_page_upper(redo->page));
	if ((gin_flags(redo->page) & mask) != expected)
		return wa_redo_bad(redo, "the page is of another kind (flags %02X) than the record is about",
				   gin_flags(redo->page));
	return 0;
}

static inline int gin_cut_short(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record is cut short");
}

static inline int gin_bad_ref(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
}

/* The size of the segment at `at`, its padding counted; 0 when it does not end by `end`. */
static inline unsigned gin_segment_size(const uint8_t *at, const uint8_t *end)
{
	if ((size_t)(end - at) < GIN_SEGMENT_HEADER)
		return 0;
	unsigned size = GIN_SEGMENT_HEADER + ((wa_get16(at + 6) + 1u) & ~1u);
	return size <= (size_t)(end - at) ? size : 0;
}

/* Write one segment of the TIDs of `segment` (NULL: none; else checked with gin_segment_size) and of the `count` TIDs at `tids`, those
 * in both once. At least one of them has to have any.
 * to  `room` bytes, which overlap with neither.
 * Returns the size of the segment, its padding counted; 0 when it does not fit, or when TIDs are not in order. */
unsigned gin_merge(const uint8_t *segment, const uint8_t *tids, unsigned count, uint8_t *to, unsigned room);

/* Change the segments of a leaf as the actions that come next in `r` say (ginRedoRecompress). The page has been checked. */
int gin_recompress(struct wa_redo *redo, struct nf_reader *r);

#endif
