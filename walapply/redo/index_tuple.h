/* Index tuples, and pages that are written anew from tuples in order: shared by B-tree and hash.
 *
 *   0 t_tid: block u16 high, u16 low   4 offset number u16   6 t_info u16: size 13 bits, one for the access method, var-width, nulls
 *
 * Source: access/itup.h, storage/itemptr.h. */
#ifndef WA_INDEX_TUPLE_H
#define WA_INDEX_TUPLE_H

#include "walapply/redo/redo_impl.h"

#define TUPLE_HEADER 8u
#define TUPLE_SIZE_MASK 0x1FFFu
#define TUPLE_AM_BIT 0x2000u /* INDEX_AM_RESERVED_BIT */
#define TID_SIZE 6u

#define INDEX_SPECIAL 16u /* B-tree and hash pages end in 16 bytes of their own */
#define INDEX_SPECIAL_AT (WA_PAGE_SIZE - INDEX_SPECIAL)

static inline unsigned tuple_size(const uint8_t *tuple)
{
	return wa_get16(tuple + 6) & TUPLE_SIZE_MASK;
}

static inline void tuple_set_size(uint8_t *tuple, unsigned size)
{
	wa_put16(tuple + 6, (uint16_t)((wa_get16(tuple + 6) & ~TUPLE_SIZE_MASK) | size));
}

/* The block number within t_tid: a heap block, a downlink, or where a posting list starts. */
static inline uint32_t tuple_block(const uint8_t *tuple)
{
	return (uint32_t)wa_get16(tuple) << 16 | wa_get16(tuple + 2);
}

static inline void tuple_set_block(uint8_t *tuple, uint32_t block)
{
	wa_put16(tuple, (uint16_t)(block >> 16));
	wa_put16(tuple + 2, (uint16_t)block);
}

/* Whether a page can be worked on as one of B-tree or hash: header in order, and the special space where it belongs. */
static inline bool index_page_ok(const uint8_t *page)
{
	return wa_page_check(page) == 0 && wa_page_special(page) == INDEX_SPECIAL_AT;
}

/* The next tuple of a run of tuples, each padded to 8 bytes, in a record. Returns its padded size, or 0 (and r failed). */
static inline unsigned read_tuple(struct nf_reader *r, const uint8_t **ret_tuple)
{
	if (nf_reader_left(r) < TUPLE_HEADER) {
		r->failed = true;
		return 0;
	}
	unsigned size = tuple_size(r->data + r->offset);
	const uint8_t *tuple = size < TUPLE_HEADER ? NULL : nf_read_bytes(r, WA_ALIGN(size));
	if (tuple == NULL) {
		r->failed = true;
		return 0;
	}
	*ret_tuple = tuple;
	return WA_ALIGN(size);
}

/* A page's line pointers and tuples, appended in order into a scratch page; the page itself is still read meanwhile. */
struct page_builder {
	unsigned lower, upper;
	uint8_t scratch[WA_PAGE_SIZE]; /* only [24, lower) and [upper, INDEX_SPECIAL_AT) hold anything */
};

static inline void builder_start(struct page_builder *b)
{
	b->lower = WA_PAGE_HEADER;
	b->upper = INDEX_SPECIAL_AT;
}

/* Append an item of `size` bytes, the first `given` of them from `item` and the rest zeros. Returns it, or NULL when it does not fit. */
static inline uint8_t *builder_append(struct page_builder *b, const uint8_t *item, unsigned given, unsigned size)
{
	unsigned room = WA_ALIGN(size);
	if (b->lower + 4 + room > b->upper)
		return NULL;
	b->upper -= room;
	uint8_t *at = b->scratch + b->upper;
	memcpy(at, item, given);
	if (room > given)
		memset(at + given, 0, room - given);
	wa_put32(b->scratch + b->lower, b->upper | (uint32_t)WA_LP_NORMAL << 15 | (uint32_t)size << 17);
	b->lower += 4;
	return at;
}

/* Put what was built in place of the page's items. What is left of the page: its size, version and special space (PageRestoreTempPage of a
 * PageGetTempPageCopySpecial). */
static inline void builder_finish(const struct page_builder *b, uint8_t *page)
{
	memcpy(page + WA_PAGE_HEADER, b->scratch + WA_PAGE_HEADER, b->lower - WA_PAGE_HEADER);
	memset(page + b->lower, 0, b->upper - b->lower);
	memcpy(page + b->upper, b->scratch + b->upper, INDEX_SPECIAL_AT - b->upper);
	wa_put16(page + 8, 0);
	wa_page_set_flags(page, 0);
	wa_put16(page + 12, (uint16_t)b->lower);
	wa_put16(page + 14, (uint16_t)b->upper);
	wa_put32(page + 20, 0);
}

/* Delete the items whose `count` offset numbers, rising, come next in `r`. */
static inline int delete_listed(struct wa_redo *redo, struct nf_reader *r, unsigned count)
{
	uint16_t offs[WA_INDEX_TUPLES_MAX];
	if (count > WA_INDEX_TUPLES_MAX)
		return wa_redo_bad(redo, "%u items to delete, more than fit on a page", count);
	if (count == 0)
		return 0;
	const uint8_t *from = nf_read_bytes(r, count * sizeof(offs[0]));
	if (from == NULL)
		return wa_redo_bad(redo, "the list of %u items to delete is cut short", count);
	memcpy(offs, from, count * sizeof(offs[0]));
	if (wa_page_index_multi_delete(redo->page, offs, count, redo->version->major) < 0)
		return wa_redo_bad(redo, "the %u items to delete are not all there", count);
	return 0;
}

/* What masks of B-tree, hash and GiST pages begin with. `what` ends the refusal "the page is not ...". */
static inline int mask_index_page(uint8_t *page, const char *what, struct wa_error *error)
{
	wa_mask_lsn_and_checksum(page);
	wa_mask_hint_bits(page);
	int status = wa_mask_unused_space(page, error);
	if (status < 0)
		return status;
	if (wa_page_special(page) != INDEX_SPECIAL_AT)
		return wa_bad(error, (struct nf_lsn){0}, "the page is not %s: its special space starts at %u", what,
			      wa_page_special(page));
	return 0;
}

#endif
