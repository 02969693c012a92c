/* New tuples: INSERT and MULTI_INSERT, each with +INIT (the first tuples of a page).
 *
 *   INSERT        main      0 offset number u16   2 flags u8
 *                 block 0   data: tuple header (heap_impl.h), then bitmap and data
 *   MULTI_INSERT  main      0 flags u8   2 number of tuples u16   4 offset number of each u16 (not with +INIT: they are 1, 2, 3 ...)
 *                 block 0   data: for each tuple, at even places: 0 size u16   2 tuple header   7 `size` bytes of bitmap and data
 *   both          block 1   the page of the visibility map, if the record names it
 *   flags         1 the page was all-visible and is no more   32 (MULTI_INSERT, 14+) the page is all-visible and frozen now
 *
 * Source: access/heapam_xlog.h; heap_xlog_insert and heap_xlog_multi_insert in heap/heapam.c (heap/heapam_xlog.c in 18). */
#include "heap_impl.h"

enum { XLH_ALL_VISIBLE_CLEARED = 1, XLH_ALL_FROZEN_SET = 32 };

static int insert_tuple(struct wa_redo *redo, unsigned off)
{
	struct nf_reader r = wa_data_reader(redo);
	struct heap_header header = heap_read_header(&r);
	unsigned size = (unsigned)nf_reader_left(&r);
	uint8_t *data;

	if (r.failed)
		return heap_cut_short(redo);
	int status = heap_add(redo, off, &header, size, &data);
	if (status < 0)
		return status;
	nf_read_copy(&r, data, size);
	return 0;
}

int wa_redo_heap_insert(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned off = nf_read_u16(&r), flags = nf_read_u8(&r);

	if (r.failed)
		return heap_cut_short(redo);
	if (redo->ref->id == 1)
		return heap_clear_vm_of_block0(redo, flags & XLH_ALL_VISIBLE_CLEARED, VM_BITS);
	if (redo->ref->id != 0)
		return heap_bad_ref(redo);
	int status = heap_start(redo);
	if (status < 0 || (status = insert_tuple(redo, off)) < 0)
		return status;
	if (flags & XLH_ALL_VISIBLE_CLEARED)
		heap_set_all_visible(redo->page, false);
	return 0;
}

/* The next tuple of the block's data as item `off`. */
static int insert_next(struct wa_redo *redo, struct nf_reader *r, unsigned off)
{
	if (r->offset % 2 != 0)
		(void)nf_read_u8(r);
	unsigned size = nf_read_u16(r);
	struct heap_header header = heap_read_header(r);
	const uint8_t *from = nf_read_bytes(r, size);
	uint8_t *data;

	if (from == NULL)
		return wa_redo_bad(redo, "the tuple of item %u is cut short", off);
	int status = heap_add(redo, off, &header, size, &data);
	if (status < 0)
		return status;
	memcpy(data, from, size);
	return 0;
}

static int insert_all(struct wa_redo *redo, unsigned count, struct nf_reader *offs)
{
	struct nf_reader tuples = wa_data_reader(redo);
	bool numbered = !(redo->record->info & HEAP_INIT_PAGE);
	for (unsigned i = 0; i < count; i++) {
		unsigned off = numbered ? nf_read_u16(offs) : i + 1;
		if (offs->failed)
			return heap_cut_short(redo);
		int status = insert_next(redo, &tuples, off);
		if (status < 0)
			return status;
	}
	if (nf_reader_left(&tuples) > 0)
		return wa_redo_bad(redo, "%zu bytes are left after its %u tuples", nf_reader_left(&tuples), count);
	return 0;
}

int wa_redo_heap2_multi_insert(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned flags = nf_read_u8(&r);
	(void)nf_read_u8(&r);
	unsigned count = nf_read_u16(&r);

	if (r.failed)
		return heap_cut_short(redo);
	if (redo->ref->id == 1)
		return heap_clear_vm_of_block0(redo, flags & XLH_ALL_VISIBLE_CLEARED, VM_BITS);
	if (redo->ref->id != 0)
		return heap_bad_ref(redo);
	int status = heap_start(redo);
	if (status < 0 || (status = insert_all(redo, count, &r)) < 0)
		return status;
	if (flags & XLH_ALL_VISIBLE_CLEARED)
		heap_set_all_visible(redo->page, false);
	if (flags & XLH_ALL_FROZEN_SET)
		heap_set_all_visible(redo->page, true);
	return 0;
}
