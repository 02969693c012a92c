/* B-tree pages, as redo sees them.
 *
 *   special space, the last 16 bytes: 0 btpo_prev u32   4 btpo_next u32   8 btpo_level u32 (13, deleted: an xid)   12 btpo_flags u16
 *   14 btpo_cycleid u16
 *   A page that is not the rightmost of its level has its high key as item 1; data starts at item 2, else at 1.
 *   A posting list tuple has TUPLE_AM_BIT set and BT_POSTING in its offset number, whose low 12 bits count the TIDs; its block
 *   number is the offset of the first TID within the tuple.
 *
 * Source: access/nbtree.h. */
#ifndef WA_BTREE_IMPL_H
#define WA_BTREE_IMPL_H

#include "walapply/redo/index_tuple.h"

#define BT_NONE 0u /* P_NONE: no sibling */
#define BT_POSTING 0x2000u
#define BT_COUNT_MASK 0x0FFFu

enum {
	BTP_LEAF = 1,
	BTP_ROOT = 2,
	BTP_DELETED = 4,
	BTP_META = 8,
	BTP_HALF_DEAD = 16,
	BTP_SPLIT_END = 32,
	BTP_HAS_GARBAGE = 64,
	BTP_INCOMPLETE_SPLIT = 128,
	BTP_HAS_FULLXID = 256,
};

static inline void bt_set_prev(uint8_t *page, uint32_t blkno)
{
	wa_put32(page + INDEX_SPECIAL_AT, blkno);
}

static inline uint32_t bt_next(const uint8_t *page)
{
	return wa_get32(page + INDEX_SPECIAL_AT + 4);
}

static inline void bt_set_next(uint8_t *page, uint32_t blkno)
{
	wa_put32(page + INDEX_SPECIAL_AT + 4, blkno);
}

static inline void bt_set_level(uint8_t *page, uint32_t level)
{
	wa_put32(page + INDEX_SPECIAL_AT + 8, level);
}

static inline unsigned bt_flags(const uint8_t *page)
{
	return wa_get16(page + INDEX_SPECIAL_AT + 12);
}

static inline void bt_set_flags(uint8_t *page, unsigned flags)
{
	wa_put16(page + INDEX_SPECIAL_AT + 12, (uint16_t)flags);
}

static inline void bt_set_cycleid(uint8_t *page, uint16_t cycleid)
{
	wa_put16(page + INDEX_SPECIAL_AT + 14, cycleid);
}

/* The first item that is not the high key (P_FIRSTDATAKEY). */
static inline unsigned bt_first_data(const uint8_t *page)
{
	return bt_next(page) == BT_NONE ? 1 : 2;
}

/* An empty page with these links; its cycle id is 0. */
static inline void bt_init(uint8_t *page, uint32_t prev, uint32_t next, uint32_t level, unsigned flags)
{
	wa_page_init(page, INDEX_SPECIAL);
	bt_set_prev(page, prev);
	bt_set_next(page, next);
	bt_set_level(page, level);
	bt_set_flags(page, flags);
}

static inline int bt_check(struct wa_redo *redo)
{
	if (!index_page_ok(redo->page))
		return wa_redo_bad(redo, "the page is not one of a B-tree");
	return 0;
}

/* The record names a block that its type does not have. */
static inline int bt_bad_ref(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
}

/* Where the TIDs of a posting list tuple lie. */
struct bt_posting {
	unsigned size; /* of the tuple */
	unsigned keysize; /* bytes before the TIDs */
	unsigned count;
};

/* False when the tuple of `len` bytes is no posting list, or one that leads outside. */
static inline bool bt_posting(const uint8_t *tuple, unsigned len, struct bt_posting *ret)
{
	unsigned number = wa_get16(tuple + 4);
	if (!(wa_get16(tuple + 6) & TUPLE_AM_BIT) || !(number & BT_POSTING))
		return false;
	struct bt_posting p = {.size = tuple_size(tuple), .keysize = tuple_block(tuple), .count = number & BT_COUNT_MASK};
	if (p.size > len || p.keysize < TUPLE_HEADER || p.keysize > p.size || p.count < 2 ||
	    p.count * TID_SIZE > p.size - p.keysize)
		return false;
	*ret = p;
	return true;
}

static inline void bt_set_posting(uint8_t *tuple, unsigned keysize, unsigned count)
{
	tuple_set_block(tuple, keysize);
	wa_put16(tuple + 4, (uint16_t)(count | BT_POSTING));
	wa_put16(tuple + 6, wa_get16(tuple + 6) | TUPLE_AM_BIT);
}

/* Split a posting list at TID number `at` (_bt_swap_posting): the new TID goes there, the later ones move up by one, and the last drops out.
 * tid  in: the new TID; out: the one that dropped out, which the new tuple gets. */
static inline bool bt_swap_posting(uint8_t *tuple, unsigned len, unsigned at, uint8_t tid[TID_SIZE])
{
	struct bt_posting p;
	if (!bt_posting(tuple, len, &p) || at == 0 || at >= p.count)
		return false;
	uint8_t *tids = tuple + p.keysize;
	uint8_t last[TID_SIZE];
	memcpy(last, tids + (p.count - 1) * TID_SIZE, TID_SIZE);
	memmove(tids + (at + 1) * TID_SIZE, tids + at * TID_SIZE, (p.count - 1 - at) * TID_SIZE);
	memcpy(tids + at * TID_SIZE, tid, TID_SIZE);
	memcpy(tid, last, TID_SIZE);
	return true;
}

/* Fill an empty page with the tuples of the block's data (_bt_restore_page). */
int bt_restore_items(struct wa_redo *redo);

/* Make the meta page from the block's data (_bt_restore_meta). */
int bt_restore_meta(struct wa_redo *redo);

/* The page below has its downlink now. */
int bt_clear_incomplete_split(struct wa_redo *redo);

#endif
