/* Hash index pages, as redo sees them.
 *
 *   special space, the last 16 bytes: 0 hasho_prevblkno u32 (bucket page: the highest bucket when it was last split)   4 hasho_nextblkno
 *   u32   8 hasho_bucket u32   12 hasho_flag u16   14 hasho_page_id u16
 *   bitmap page, from 24: one bit an overflow page, set = in use
 *   meta page, from 24: 0 magic   4 version   8 tuples f64   16 fill factor u16   18 page bytes u16   20 bitmap bytes u16   22 log2 of bitmap
 *   bits u16   24 highest bucket   28 high mask   32 low mask   36 overflow split point   40 first free bit   44 bitmap count   48 hash
 *   function   52 spare pages of each split point u32 x 98   444 bitmap blocks u32 x 1024   4544 end
 *
 * Source: access/hash.h. */
#ifndef WA_HASH_IMPL_H
#define WA_HASH_IMPL_H

#include "walapply/redo/index_tuple.h"

#define HASH_NO_BLOCK 0xFFFFFFFFu /* also "no bucket" */
#define HASH_PAGE_ID 0xFF80u
#define HASH_SPARES_MAX 98u
#define HASH_BITMAPS_MAX 1024u

enum {
	LH_UNUSED = 0,
	LH_OVERFLOW = 1,
	LH_BUCKET = 2,
	LH_BITMAP = 4,
	LH_META = 8,
	LH_PAGE_TYPE = 15,
	LH_NEEDS_SPLIT_CLEANUP = 64,
	LH_HAS_DEAD = 128,
};

/* Offsets from the start of the page. */
enum {
	HASHM = WA_PAGE_HEADER,
	HASHM_TUPLES = HASHM + 8,
	HASHM_MAX_BUCKET = HASHM + 24,
	HASHM_HIGH_MASK = HASHM + 28,
	HASHM_LOW_MASK = HASHM + 32,
	HASHM_SPLIT_POINT = HASHM + 36,
	HASHM_FIRST_FREE = HASHM + 40,
	HASHM_BITMAPS = HASHM + 44,
	HASHM_SPARES = HASHM + 52,
	HASHM_MAP = HASHM + 444,
	HASHM_END = HASHM + 4544,
};
static_assert(HASHM_MAP == HASHM_SPARES + 4 * HASH_SPARES_MAX, "the map follows the spares");
static_assert(HASHM_END == HASHM_MAP + 4 * HASH_BITMAPS_MAX + 4, "the structure is padded to 8");

static inline void hash_set_prev(uint8_t *page, uint32_t blkno)
{
	wa_put32(page + INDEX_SPECIAL_AT, blkno);
}

static inline void hash_set_next(uint8_t *page, uint32_t blkno)
{
	wa_put32(page + INDEX_SPECIAL_AT + 4, blkno);
}

static inline unsigned hash_flags(const uint8_t *page)
{
	return wa_get16(page + INDEX_SPECIAL_AT + 12);
}

static inline void hash_set_flags(uint8_t *page, unsigned flags)
{
	wa_put16(page + INDEX_SPECIAL_AT + 12, (uint16_t)flags);
}

/* An empty page of that kind, with no next page (_hash_initbuf). */
static inline void hash_init(uint8_t *page, uint32_t prev, uint32_t bucket, unsigned flags)
{
	wa_page_init(page, INDEX_SPECIAL);
	hash_set_prev(page, prev);
	hash_set_next(page, HASH_NO_BLOCK);
	wa_put32(page + INDEX_SPECIAL_AT + 8, bucket);
	hash_set_flags(page, flags);
	wa_put16(page + INDEX_SPECIAL_AT + 14, HASH_PAGE_ID);
}

static inline int hash_check(struct wa_redo *redo)
{
	if (!index_page_ok(redo->page))
		return wa_redo_bad(redo, "the page is not one of a hash index");
	return 0;
}

static inline int hash_cut_short(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record is cut short");
}

static inline int hash_bad_ref(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
}

/* The primary bucket page is named only to be locked: nothing on it changes, its LSN neither. */
static inline int hash_untouched(struct wa_redo *redo)
{
	redo->keep_lsn = true;
	return 0;
}

/* hashm_ntuples += delta. */
static inline int hash_add_tuples(struct wa_redo *redo, double delta)
{
	double count;
	int status = hash_check(redo);

	if (status < 0)
		return status;
	memcpy(&count, redo->page + HASHM_TUPLES, sizeof(count));
	count += delta;
	memcpy(redo->page + HASHM_TUPLES, &count, sizeof(count));
	return 0;
}

/* A bitmap page with all bits set (_hash_initbitmapbuffer). */
int hash_init_bitmap(struct wa_redo *redo, unsigned bytes);

/* Enter a bitmap page into the meta page's list. */
int hash_enter_bitmap(struct wa_redo *redo, uint32_t blkno);

/* The bit that the block's data names: in use or free. */
int hash_set_bit(struct wa_redo *redo, bool used);

#endif
