/* Pages of the visibility map that records change: VISIBLE sets bits, and what makes a row change clears them where the record names the page.
 * implied.c has the clearing that records do without naming it.
 *
 *   VISIBLE   main      0 conflict xid u32   4 flags u8: 1 all-visible, 2 all-frozen, 4 (16+) of a catalogue
 *             block 0   the page of the map, made when it is not there
 *             block 1   the heap page. Its LSN moves only where hint bits are logged: without checksums and wal_log_hints the record has no
 *                       image of it, and a torn page must not look as new as this.
 *
 * Source: heap_xlog_visible and heap_xlog_vm_clear in heap/heapam.c (heap/heapam_xlog.c in 18), heap/visibilitymap.c. */
#include "heap_impl.h"

int heap_clear_named_vm(struct wa_redo *redo, uint32_t blkno, unsigned bits)
{
	if (redo->ref->block.fork != WA_FORK_VM || vm_page_of(blkno) != redo->blkno)
		return wa_redo_bad(redo, "it is not the page of the visibility map for block %u", blkno);
	bool changed = !wa_page_is_new(redo->page) && vm_clear(redo->page, blkno, bits);
	redo->keep_lsn = !changed;
	return 0;
}

int heap_clear_vm_of_block0(struct wa_redo *redo, bool cleared, unsigned bits)
{
	const struct wa_ref *heap = wa_record_ref(redo->record, 0);
	if (heap == NULL)
		return heap_cut_short(redo);
	redo->keep_lsn = true;
	return cleared ? heap_clear_named_vm(redo, heap->block.blkno, bits) : 0;
}

/* The map page: bits come in. Its LSN stays where nothing changes. */
static int set_map_bits(struct wa_redo *redo, unsigned bits)
{
	const struct wa_ref *heap = wa_record_ref(redo->record, 1);
	if (heap == NULL || redo->ref->block.fork != WA_FORK_VM || vm_page_of(heap->block.blkno) != redo->blkno)
		return wa_redo_bad(redo, "it is not the page of the visibility map for the block that it names");
	if (wa_page_is_new(redo->page))
		wa_page_init(redo->page, 0);
	uint8_t *byte = vm_byte(redo->page, heap->block.blkno);
	unsigned shift = vm_shift(heap->block.blkno);
	redo->keep_lsn = (*byte >> shift & VM_BITS) == bits;
	*byte |= (uint8_t)(bits << shift);
	return 0;
}

static int set_heap_flag(struct wa_redo *redo)
{
	if (wa_page_is_new(redo->page)) { /* cut off later in the log: only the map's bit counts */
		redo->keep_lsn = true;
		return 0;
	}
	int status = heap_check(redo);
	if (status < 0)
		return status;
	heap_set_all_visible(redo->page, true);
	redo->keep_lsn = !redo->version->checksums && !redo->version->log_hints;
	return 0;
}

int wa_redo_heap2_visible(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	(void)nf_read_u32(&r);
	unsigned bits = nf_read_u8(&r) & VM_BITS;

	if (r.failed)
		return heap_cut_short(redo);
	switch (redo->ref->id) {
	case 0: return set_map_bits(redo, bits);
	case 1: return set_heap_flag(redo);
	default: return heap_bad_ref(redo);
	}
}
