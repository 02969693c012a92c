/* The slotted page of Postgres (storage/bufpage.h, page/bufpage.c): header, line pointers, tuples, special space.
 *
 *   0 pd_lsn u32 high, u32 low   8 pd_checksum u16   10 pd_flags u16   12 pd_lower u16   14 pd_upper u16   16 pd_special u16
 *   18 pd_pagesize_version u16   20 pd_prune_xid u32   24 line pointers, 4 bytes each: offset 15 bits, flags 2, length 15
 *
 * Every function bears any bytes: a page whose header or line pointer leads outside is refused with -EBADMSG and no word (the caller
 * knows the record). Offset numbers count from 1. Layout follows Postgres exactly, since replay must make the same bytes: which
 * slot is reused, in which order tuples are moved. Where majors differ the major is a parameter. Pure, no allocation. */
#ifndef WA_PAGE_H
#define WA_PAGE_H

#include <string.h>

#include "walapply/decode/wa_record.h"

#define WA_PAGE_HEADER 24u /* SizeOfPageHeaderData */
#define WA_ITEM_MAX 2042u  /* line pointers between the header and the end of the page */
#define WA_HEAP_TUPLES_MAX 291u /* MaxHeapTuplesPerPage */
#define WA_INDEX_TUPLES_MAX 408u /* MaxIndexTuplesPerPage */
#define WA_ALIGN(n) (((n) + 7u) & ~7u) /* MAXALIGN */

enum { WA_LP_UNUSED, WA_LP_NORMAL, WA_LP_REDIRECT, WA_LP_DEAD };
enum { WA_PD_HAS_FREE_LINES = 1, WA_PD_PAGE_FULL = 2, WA_PD_ALL_VISIBLE = 4 };

static inline uint16_t wa_get16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, 2);
	return v;
}

static inline uint32_t wa_get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return v;
}

static inline uint64_t wa_get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

static inline void wa_put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, 2);
}

static inline void wa_put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

static inline void wa_put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, 8);
}

static inline struct nf_lsn wa_page_lsn(const uint8_t *page)
{
	return (struct nf_lsn){(uint64_t)wa_get32(page) << 32 | wa_get32(page + 4)};
}

static inline void wa_page_set_lsn(uint8_t *page, struct nf_lsn lsn)
{
	wa_put32(page, (uint32_t)(lsn.v >> 32));
	wa_put32(page + 4, (uint32_t)lsn.v);
}

static inline uint16_t wa_page_flags(const uint8_t *page)
{
	return wa_get16(page + 10);
}

static inline void wa_page_set_flags(uint8_t *page, uint16_t flags)
{
	wa_put16(page + 10, flags);
}

static inline uint16_t wa_page_lower(const uint8_t *page)
{
	return wa_get16(page + 12);
}

static inline uint16_t wa_page_upper(const uint8_t *page)
{
	return wa_get16(page + 14);
}

static inline uint16_t wa_page_special(const uint8_t *page)
{
	return wa_get16(page + 16);
}

/* PageIsNew: pd_upper is 0. */
static inline bool wa_page_is_new(const uint8_t *page)
{
	return wa_page_upper(page) == 0;
}

/* A line pointer, unpacked. */
struct wa_item {
	uint16_t offset, len;
	uint8_t flags; /* WA_LP_* */
};

/* PageInit: zeros, header, `special_size` bytes of special space (rounded up to 8). */
void wa_page_init(uint8_t *page, unsigned special_size);

/* 0 when lower, upper and special are in order and inside the page, else -EBADMSG. Call it once, before working on a page. */
NF_MUST_CHECK int wa_page_check(const uint8_t *page);

/* PageGetMaxOffsetNumber: 0 for a page with no line pointers or whose pd_lower is below the header. Never above WA_ITEM_MAX. */
unsigned wa_page_item_count(const uint8_t *page);

/* Line pointer `off` (1 .. count). -EBADMSG: no such line pointer. Its offset and length are not checked. */
NF_MUST_CHECK int wa_page_item(const uint8_t *page, unsigned off, struct wa_item *ret_item);
NF_MUST_CHECK int wa_page_set_item(uint8_t *page, unsigned off, struct wa_item item);

/* The bytes of item `off`, which has storage (len > 0) and lies between the line pointers and the end of the page: at least
 * `min_len` bytes. -EBADMSG else. */
NF_MUST_CHECK int wa_page_tuple(uint8_t *page, unsigned off, unsigned min_len, uint8_t **ret_tuple, unsigned *ret_len);

/* PageAddItemExtended. `off` 0 = the first free line pointer (heap: reuse as Postgres does), else at that place: overwrite = put
 * there where it is unused or the next one (PAI_OVERWRITE), else shift the following ones up. `heap` = PAI_IS_HEAP.
 * size bytes of item; with item NULL the space is only reserved. Returns the offset number, or -EBADMSG when it does not fit or the place is wrong. */
NF_MUST_CHECK int wa_page_add(uint8_t *page, const void *item, unsigned size, unsigned off, bool overwrite, bool heap);

/* PageRepairFragmentation: move the tuples together, set or clear PD_HAS_FREE_LINES; 15+: cut unused line pointers off the end. */
NF_MUST_CHECK int wa_page_repair(uint8_t *page, int major);

/* PageTruncateLinePointerArray (14+). */
NF_MUST_CHECK int wa_page_truncate_items(uint8_t *page);

/* PageIndexTupleDelete: remove item `off`, closing both gaps. */
NF_MUST_CHECK int wa_page_index_delete(uint8_t *page, unsigned off);

/* PageIndexMultiDelete: remove `count` items, offs rising. */
NF_MUST_CHECK int wa_page_index_multi_delete(uint8_t *page, const uint16_t *offs, unsigned count, int major);

/* PageIndexTupleDeleteNoCompact: item `off` becomes unused (or the last ones are cut off), tuples close the gap. */
NF_MUST_CHECK int wa_page_index_delete_no_compact(uint8_t *page, unsigned off);

/* PageIndexTupleOverwrite: put other bytes at item `off`, moving other tuples if the size differs. */
NF_MUST_CHECK int wa_page_index_overwrite(uint8_t *page, unsigned off, const void *item, unsigned size);

/* PageGetExactFreeSpace: the bytes between line pointers and tuples; 0 for a bad header. */
unsigned wa_page_exact_free(const uint8_t *page);

#endif
