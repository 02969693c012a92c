/* Blocks that records change without naming them: bits of the visibility map.
 *
 * What changes a row clears the bits of its heap block. Older minor releases do so without naming the map's page; newer ones name it in the
 * record whenever there was a bit to clear, and redo then works on it like on any block (heap_map.c). So a flag without its reference means: clear,
 * whichever release wrote it. A truncation clears the bits of all heap blocks from the new end on.
 * Postgres clears without a look at the map page's LSN and leaves it as it is.
 *
 * Source: heap_xlog_* in heap/heapam.c (heap/heapam_xlog.c in 18), visibilitymap_clear and visibilitymap_prepare_truncate in
 * heap/visibilitymap.c, smgr_redo in catalog/storage.c. */
#include "heap_impl.h"

enum { HEAP_INSERT = 0x00, HEAP_DELETE = 0x10, HEAP_UPDATE = 0x20, HEAP_HOT_UPDATE = 0x40, HEAP_LOCK = 0x60 };
enum { HEAP2_MULTI_INSERT = 0x50, HEAP2_LOCK_UPDATED = 0x60 };

#define HEAP_OP_MASK 0x70
#define SMGR_TRUNCATE 0x20
#define SMGR_TRUNCATE_VM 2u

enum { CLEARED = 1, CLEARED_NEW = 2 }; /* flags of the records: the only one, the old page's, the frozen bit's; the new page's */

static struct wa_implied of_block(const struct wa_ref *heap, uint8_t bits)
{
	struct wa_block map = heap->block;
	map.fork = WA_FORK_VM;
	map.blkno = vm_page_of(heap->block.blkno);
	return (struct wa_implied){.block = map, .heap_blkno = heap->block.blkno, .bits = bits};
}

static int cut_short(const struct wa_record *record, struct wa_error *error)
{
	return wa_bad(error, record->lsn, "%s: the record is cut short", wa_rmgr_name(record->rmid));
}

/* A record on one heap block, whose flags are at main[flags_at]. */
static int one_block(const struct wa_record *record, unsigned flags_at, uint8_t bits, struct wa_implied *ret,
		     struct wa_error *error)
{
	const struct wa_ref *heap = wa_record_ref(record, 0);
	if (record->main_len <= flags_at || heap == NULL)
		return cut_short(record, error);
	if (!(record->main[flags_at] & CLEARED) || wa_record_ref(record, 1) != NULL)
		return 0;
	ret[0] = of_block(heap, bits);
	return 1;
}

/* One map page named is enough to know that the release names them: what it does not name then had nothing to clear. */
static int update(const struct wa_record *record, struct wa_implied *ret, struct wa_error *error)
{
	const struct wa_ref *new = wa_record_ref(record, 0), *old = wa_record_ref(record, 1);
	int count = 0;
	if (record->main_len <= 7 || new == NULL)
		return cut_short(record, error);
	if (wa_record_ref(record, 2) != NULL || wa_record_ref(record, 3) != NULL)
		return 0;
	if (record->main[7] & CLEARED)
		ret[count++] = of_block(old != NULL ? old : new, VM_BITS);
	if (record->main[7] & CLEARED_NEW)
		ret[count++] = of_block(new, VM_BITS);
	return count;
}

/* 0 blocks u32   4 locator   16 flags u32: 1 heap, 2 visibility map, 4 free space map */
static int truncation(const struct wa_record *record, struct wa_implied *ret, struct wa_error *error)
{
	struct nf_reader r = nf_reader_init(record->main, record->main_len);
	struct wa_implied implied = {.heap_blkno = nf_read_u32(&r), .bits = VM_BITS, .tail = true};
	implied.block.rel.spc = nf_read_u32(&r);
	implied.block.rel.db = nf_read_u32(&r);
	implied.block.rel.rel = nf_read_u32(&r);
	uint32_t flags = nf_read_u32(&r);

	if (r.failed)
		return cut_short(record, error);
	if (!(flags & SMGR_TRUNCATE_VM) || implied.heap_blkno % VM_BLOCKS_PER_PAGE == 0)
		return 0;
	implied.block.fork = WA_FORK_VM;
	implied.block.blkno = vm_page_of(implied.heap_blkno);
	ret[0] = implied;
	return 1;
}

int wa_implied_blocks(const struct wa_version *version, const struct wa_record *record, struct wa_implied *ret_implied,
		      struct wa_error *error)
{
	(void)version;
	switch (record->rmid) {
	case WA_RMGR_HEAP:
		switch (record->info & HEAP_OP_MASK) {
		case HEAP_INSERT: return one_block(record, 2, VM_BITS, ret_implied, error);
		case HEAP_DELETE: return one_block(record, 7, VM_BITS, ret_implied, error);
		case HEAP_LOCK: return one_block(record, 7, VM_ALL_FROZEN, ret_implied, error);
		case HEAP_UPDATE:
		case HEAP_HOT_UPDATE: return update(record, ret_implied, error);
		default: return 0;
		}
	case WA_RMGR_HEAP2:
		switch (record->info & HEAP_OP_MASK) {
		case HEAP2_MULTI_INSERT: return one_block(record, 0, VM_BITS, ret_implied, error);
		case HEAP2_LOCK_UPDATED: return one_block(record, 7, VM_ALL_FROZEN, ret_implied, error);
		default: return 0;
		}
	case WA_RMGR_SMGR: return (record->info & 0xF0) == SMGR_TRUNCATE ? truncation(record, ret_implied, error) : 0;
	default: return 0;
	}
}

/* Clear the bits of heap block `blkno` and of all later ones of the map page. */
static bool clear_tail(uint8_t *page, uint32_t blkno)
{
	uint8_t *byte = vm_byte(page, blkno), *end = page + WA_PAGE_SIZE;
	uint8_t kept = (uint8_t)(*byte & ((1u << vm_shift(blkno)) - 1));
	bool any = *byte != kept;
	*byte = kept;
	for (uint8_t *at = byte + 1; at < end; at++) {
		any |= *at != 0;
		*at = 0;
	}
	return any;
}

int wa_redo_implied(const struct wa_implied *implied, uint8_t *page)
{
	if (wa_page_is_new(page))
		return WA_SKIPPED;
	bool any = implied->tail ? clear_tail(page, implied->heap_blkno) : vm_clear(page, implied->heap_blkno, implied->bits);
	return any ? WA_REDONE : WA_SKIPPED;
}
