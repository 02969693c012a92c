/* Changes to one tuple where it lies: DELETE, HEAP_CONFIRM (an insertion that was only tried has come to stay), INPLACE.
 *
 *   DELETE    main      0 xmax u32   4 offset number u16   6 infobits u8   7 flags u8
 *             block 0   the tuple's page
 *             block 1   the page of the visibility map, if the record names it
 *             flags     1 the page was all-visible and is no more   8 a tried insertion is taken back   16 the row moved to another partition
 *   CONFIRM   main      0 offset number u16
 *   INPLACE   main      0 offset number u16 (18: invalidation messages after it)
 *             block 0   data: the tuple's new data, of the same length as the old
 *
 * Source: access/heapam_xlog.h; heap_xlog_delete, heap_xlog_confirm and heap_xlog_inplace in heap/heapam.c (heap/heapam_xlog.c in 18). */
#include "heap_impl.h"

enum { XLH_ALL_VISIBLE_CLEARED = 1, XLH_IS_SUPER = 8, XLH_PARTITION_MOVE = 16 };

#define NO_BLOCK 0xFFFFFFFFu

struct deletion {
	uint32_t xmax;
	unsigned off, infobits, flags;
};

static int delete_tuple(struct wa_redo *redo, const struct deletion *d)
{
	uint8_t *tuple;
	unsigned len;
	int status = heap_check(redo);

	if (status < 0 || (status = heap_tuple(redo, d->off, &tuple, &len)) < 0)
		return status;
	heap_set_infobits(tuple, d->infobits);
	heap_set_bits(tuple, HEAP_INFOMASK2, HEAP_HOT_UPDATED, 0);
	if (d->flags & XLH_IS_SUPER)
		wa_put32(tuple + HEAP_XMIN, 0);
	else
		wa_put32(tuple + HEAP_XMAX, d->xmax);
	heap_clear_cid(tuple);
	if (d->flags & XLH_PARTITION_MOVE)
		heap_set_ctid(tuple, NO_BLOCK, HEAP_MOVED_PARTITIONS);
	else
		heap_set_ctid(tuple, redo->blkno, d->off);
	heap_set_prunable(redo->page, redo->record->xid);
	if (d->flags & XLH_ALL_VISIBLE_CLEARED)
		heap_set_all_visible(redo->page, false);
	return 0;
}

int wa_redo_heap_delete(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	struct deletion d = {.xmax = nf_read_u32(&r)};
	d.off = nf_read_u16(&r);
	d.infobits = nf_read_u8(&r);
	d.flags = nf_read_u8(&r);

	if (r.failed)
		return heap_cut_short(redo);
	switch (redo->ref->id) {
	case 0: return delete_tuple(redo, &d);
	case 1: return heap_clear_vm_of_block0(redo, d.flags & XLH_ALL_VISIBLE_CLEARED, VM_BITS);
	default: return heap_bad_ref(redo);
	}
}

/* The tuple that CONFIRM or INPLACE is about. */
static int find_tuple(struct wa_redo *redo, uint8_t **ret_tuple, unsigned *ret_len, unsigned *ret_off)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned off = nf_read_u16(&r);
	int status;

	if (r.failed)
		return heap_cut_short(redo);
	if (redo->ref->id != 0)
		return heap_bad_ref(redo);
	if ((status = heap_check(redo)) < 0 || (status = heap_tuple(redo, off, ret_tuple, ret_len)) < 0)
		return status;
	*ret_off = off;
	return 0;
}

int wa_redo_heap_confirm(struct wa_redo *redo)
{
	uint8_t *tuple;
	unsigned len, off;
	int status = find_tuple(redo, &tuple, &len, &off);

	if (status < 0)
		return status;
	heap_set_ctid(tuple, redo->blkno, off);
	return 0;
}

int wa_redo_heap_inplace(struct wa_redo *redo)
{
	uint8_t *tuple;
	unsigned len, off;
	int status = find_tuple(redo, &tuple, &len, &off);

	if (status < 0)
		return status;
	unsigned start = tuple[HEAP_HOFF], size = redo->ref->data_len;
	if (start < HEAP_HEADER || start + size != len)
		return wa_redo_bad(redo, "item %u has %u bytes with data from %u on: %u bytes do not replace it", off, len, start,
				   size);
	if (size > 0)
		memcpy(tuple + start, redo->ref->data, size);
	return 0;
}
