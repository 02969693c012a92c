/* Heap pages, heap tuples and visibility-map pages, as redo sees them.
 *
 *   tuple   0 xmin u32   4 xmax u32   8 cid u32 (or xvac)   12 ctid: block u16 high, u16 low, offset number u16   18 infomask2 u16
 *           20 infomask u16   22 where the data starts u8   23 null bitmap, padding, data
 *   map     from 24: two bits a heap block, 1 all-visible, 2 all-frozen; four blocks a byte, the lowest bits first
 *
 * A tuple in a record has the end of the header alone: 0 infomask2 u16   2 infomask u16   4 where the data starts u8, then what follows at 23.
 * Sources: access/htup_details.h, storage/itemptr.h, access/visibilitymapdefs.h; heap/visibilitymap.c. */
#ifndef WA_HEAP_IMPL_H
#define WA_HEAP_IMPL_H

#include "walapply/redo/redo_impl.h"

#define HEAP_HEADER 23u /* SizeofHeapTupleHeader */
#define HEAP_INIT_PAGE 0x80 /* bit of xl_info: redo starts from an empty page */
#define HEAP_SPECULATIVE 0xFFFEu /* offset number in ctid: a token is there instead of a place */
#define HEAP_MOVED_PARTITIONS 0xFFFDu

enum { HEAP_XMIN = 0, HEAP_XMAX = 4, HEAP_CID = 8, HEAP_CTID = 12, HEAP_INFOMASK2 = 18, HEAP_INFOMASK = 20, HEAP_HOFF = 22 };

/* infomask */
enum {
	HEAP_XMAX_KEYSHR_LOCK = 0x0010,
	HEAP_COMBOCID = 0x0020,
	HEAP_XMAX_EXCL_LOCK = 0x0040,
	HEAP_XMAX_LOCK_ONLY = 0x0080,
	HEAP_XMIN_FROZEN = 0x0300,
	HEAP_XMAX_COMMITTED = 0x0400,
	HEAP_XMAX_INVALID = 0x0800,
	HEAP_XMAX_IS_MULTI = 0x1000,
	HEAP_MOVED = 0xC000,
	HEAP_XACT_MASK = 0xFFF0,
	HEAP_LOCK_MASK = HEAP_XMAX_EXCL_LOCK | HEAP_XMAX_KEYSHR_LOCK,
	HEAP_XMAX_BITS = HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK | HEAP_XMAX_LOCK_ONLY,
};

/* infomask2 */
enum { HEAP_KEYS_UPDATED = 0x2000, HEAP_HOT_UPDATED = 0x4000 };

/* The part of a tuple's header that records carry. */
struct heap_header {
	uint16_t infomask2, infomask;
	uint8_t hoff;
};

static inline void heap_set_bits(uint8_t *tuple, unsigned at, unsigned clear, unsigned set)
{
	wa_put16(tuple + at, (uint16_t)((wa_get16(tuple + at) & ~clear) | set));
}

static inline void heap_set_ctid(uint8_t *tuple, uint32_t blkno, unsigned off)
{
	wa_put16(tuple + HEAP_CTID, (uint16_t)(blkno >> 16));
	wa_put16(tuple + HEAP_CTID + 2, (uint16_t)blkno);
	wa_put16(tuple + HEAP_CTID + 4, (uint16_t)off);
}

/* Replay has no command ids: FirstCommandId, and not a combined one. */
static inline void heap_clear_cid(uint8_t *tuple)
{
	wa_put32(tuple + HEAP_CID, 0);
	heap_set_bits(tuple, HEAP_INFOMASK, HEAP_COMBOCID, 0);
}

static inline void heap_set_all_visible(uint8_t *page, bool visible)
{
	unsigned flags = wa_page_flags(page);
	wa_page_set_flags(page, (uint16_t)(visible ? flags | WA_PD_ALL_VISIBLE : flags & ~WA_PD_ALL_VISIBLE));
}

static inline int heap_cut_short(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record is cut short");
}

/* The record names a block that its type does not have. */
static inline int heap_bad_ref(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
}

/* Whether the page can be worked on: its header in order. */
int heap_check(struct wa_redo *redo);

/* The page of a new tuple: with the record's +INIT an empty one is made first. */
int heap_start(struct wa_redo *redo);

/* The tuple of line pointer `off`, which must be a normal one. */
int heap_tuple(struct wa_redo *redo, unsigned off, uint8_t **ret_tuple, unsigned *ret_len);

/* The header of a tuple in a record (xl_heap_header). */
struct heap_header heap_read_header(struct nf_reader *r);

/* Make room for a tuple at `off`, with this header, inserted by the record's transaction, its ctid leading to itself, and `size` bytes of
 * bitmap and data, which the caller fills in at *ret_data. */
int heap_add(struct wa_redo *redo, unsigned off, const struct heap_header *header, unsigned size, uint8_t **ret_data);

/* A new xmax begins: forget all about the old one and take over the bits of the record (fix_infomask_from_infobits). xmax itself is not set. */
void heap_set_infobits(uint8_t *tuple, unsigned infobits);

/* The page has something to prune once `xid` is gone (PageSetPrunable). */
void heap_set_prunable(uint8_t *page, uint32_t xid);

/* Carry out freeze plans (heap2_freeze.c has their layout), with the offset numbers of all their tuples in order and nothing after them. */
int heap_freeze_planned(struct wa_redo *redo, struct nf_reader *plans, struct nf_reader *offs);

#define FREEZE_PLAN_SIZE 12u

/* ------------------------------------------------------------ visibility map */

#define VM_BLOCKS_PER_PAGE ((WA_PAGE_SIZE - WA_PAGE_HEADER) * 4)

enum { VM_ALL_VISIBLE = 1, VM_ALL_FROZEN = 2, VM_BITS = 3 };

/* The page of the map that has the bits of heap block `blkno`; where on it; and by how much they are shifted there. */
static inline uint32_t vm_page_of(uint32_t blkno)
{
	return blkno / VM_BLOCKS_PER_PAGE;
}

static inline uint8_t *vm_byte(uint8_t *page, uint32_t blkno)
{
	return page + WA_PAGE_HEADER + blkno % VM_BLOCKS_PER_PAGE / 4;
}

static inline unsigned vm_shift(uint32_t blkno)
{
	return 2 * (blkno % 4);
}

/* Clear those bits of a heap block. Returns whether one was set. */
static inline bool vm_clear(uint8_t *page, uint32_t blkno, unsigned bits)
{
	uint8_t *byte = vm_byte(page, blkno);
	uint8_t mask = (uint8_t)(bits << vm_shift(blkno));
	bool any = *byte & mask;
	*byte &= (uint8_t)~mask;
	return any;
}

/* The page at hand is the map's, named by the record (newer minor releases do that): clear bits of heap block `blkno`. The map's LSN
 * follows only when there was one to clear. */
int heap_clear_named_vm(struct wa_redo *redo, uint32_t blkno, unsigned bits);

/* The same for a record that changes one heap block: `cleared` is its flag that the page was all-visible (or all-frozen) before. */
int heap_clear_vm_of_block0(struct wa_redo *redo, bool cleared, unsigned bits);

#endif
