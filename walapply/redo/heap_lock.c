/* Row locks: LOCK, and LOCK_UPDATED for later versions of a locked row.
 *
 *   both      main      0 xmax u32 (a transaction or a multixact)   4 offset number u16   6 infobits u8   7 flags u8
 *             block 0   the tuple's page
 *             block 1   the page of the visibility map, if the record names it
 *             flags     1 the page was all-frozen and is no more
 *
 * Source: access/heapam_xlog.h; heap_xlog_lock and heap_xlog_lock_updated in heap/heapam.c (heap/heapam_xlog.c in 18). */
#include "heap_impl.h"

#define XLH_ALL_FROZEN_CLEARED 1

struct lock {
	uint32_t xmax;
	unsigned off, infobits, flags;
};

/* HEAP_XMAX_IS_LOCKED_ONLY: the second form is that of versions before 9.3. */
static bool is_locked_only(unsigned infomask)
{
	return infomask & HEAP_XMAX_LOCK_ONLY || (infomask & (HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK)) == HEAP_XMAX_EXCL_LOCK;
}

/* Set xmax, on block 0. *ret_tuple is the tuple, or NULL where the block at hand was not the tuple's page. */
static int lock_tuple(struct wa_redo *redo, uint8_t **ret_tuple, struct lock *ret_lock)
{
	struct nf_reader r = wa_main_reader(redo);
	struct lock lock = {.xmax = nf_read_u32(&r)};
	lock.off = nf_read_u16(&r);
	lock.infobits = nf_read_u8(&r);
	lock.flags = nf_read_u8(&r);
	unsigned len;
	int status;

	*ret_tuple = NULL;
	if (r.failed)
		return heap_cut_short(redo);
	if (redo->ref->id == 1)
		return heap_clear_vm_of_block0(redo, lock.flags & XLH_ALL_FROZEN_CLEARED, VM_ALL_FROZEN);
	if (redo->ref->id != 0)
		return heap_bad_ref(redo);
	if ((status = heap_check(redo)) < 0 || (status = heap_tuple(redo, lock.off, ret_tuple, &len)) < 0)
		return status;
	heap_set_infobits(*ret_tuple, lock.infobits);
	wa_put32(*ret_tuple + HEAP_XMAX, lock.xmax);
	*ret_lock = lock;
	return 0;
}

int wa_redo_heap_lock(struct wa_redo *redo)
{
	uint8_t *tuple;
	struct lock lock;
	int status = lock_tuple(redo, &tuple, &lock);

	if (status < 0 || tuple == NULL)
		return status;
	if (is_locked_only(wa_get16(tuple + HEAP_INFOMASK))) { /* no update that the tuple could lead to */
		heap_set_bits(tuple, HEAP_INFOMASK2, HEAP_HOT_UPDATED, 0);
		heap_set_ctid(tuple, redo->blkno, lock.off);
	}
	heap_clear_cid(tuple);
	return 0;
}

int wa_redo_heap2_lock_updated(struct wa_redo *redo)
{
	uint8_t *tuple;
	struct lock lock;
	return lock_tuple(redo, &tuple, &lock);
}
