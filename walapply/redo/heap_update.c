/* UPDATE and HOT_UPDATE, with +INIT when the new tuple is the first of its page.
 *
 *   main      0 old xmax u32   4 old offset number u16   6 old infobits u8   7 flags u8   8 new xmax u32   12 new offset number u16
 *   block 0   the new tuple's page; data: [bytes of prefix u16] [bytes of suffix u16] tuple header (heap_impl.h), bitmap, and what lies between
 *             prefix and suffix
 *   block 1   the old tuple's page, when it is another
 *   block 2   the page of the visibility map for the new tuple's page, and block 3 for the old one's, if the record names them; where
 *             both are one page it is block 2
 *   flags     1 the old page was all-visible and is no more   2 so was the new page   32 the data begins as the old tuple's does (prefix)
 *             64 it ends as that does (suffix)
 *
 * Prefix and suffix are there only when both tuples are on one page, so redo never needs another page than the one at hand.
 * Source: access/heapam_xlog.h; heap_xlog_update in heap/heapam.c (heap/heapam_xlog.c in 18); log_heap_update there. */
#include "heap_impl.h"

#define OP_HOT_UPDATE 0x40

enum { XLH_OLD_VISIBLE_CLEARED = 1, XLH_NEW_VISIBLE_CLEARED = 2, XLH_PREFIX = 32, XLH_SUFFIX = 64 };

struct update {
	uint32_t old_xmax, new_xmax;
	unsigned old_off, old_infobits, new_off, flags;
	uint32_t old_blkno, new_blkno;
	bool one_page;
};

/* The data of the old tuple, for a new one on the same page. */
struct old_data {
	const uint8_t *bytes;
	unsigned size;
};

static int read_update(struct wa_redo *redo, struct update *ret_update)
{
	struct nf_reader r = wa_main_reader(redo);
	struct update u = {.old_xmax = nf_read_u32(&r)};
	u.old_off = nf_read_u16(&r);
	u.old_infobits = nf_read_u8(&r);
	u.flags = nf_read_u8(&r);
	u.new_xmax = nf_read_u32(&r);
	u.new_off = nf_read_u16(&r);
	const struct wa_ref *new = wa_record_ref(redo->record, 0), *old = wa_record_ref(redo->record, 1);

	if (r.failed || new == NULL)
		return heap_cut_short(redo);
	u.one_page = old == NULL;
	u.new_blkno = new->block.blkno;
	u.old_blkno = u.one_page ? u.new_blkno : old->block.blkno;
	*ret_update = u;
	return 0;
}

/* The old tuple gets its xmax and leads to the new one. */
static int update_old(struct wa_redo *redo, const struct update *u, struct old_data *ret_old)
{
	uint8_t *tuple;
	unsigned len;
	int status = heap_tuple(redo, u->old_off, &tuple, &len);

	if (status < 0)
		return status;
	heap_set_infobits(tuple, u->old_infobits);
	heap_set_bits(tuple, HEAP_INFOMASK2, HEAP_HOT_UPDATED, redo->op == OP_HOT_UPDATE ? HEAP_HOT_UPDATED : 0);
	wa_put32(tuple + HEAP_XMAX, u->old_xmax);
	heap_clear_cid(tuple);
	heap_set_ctid(tuple, u->new_blkno, u->new_off);
	heap_set_prunable(redo->page, redo->record->xid);
	if (u->flags & XLH_OLD_VISIBLE_CLEARED)
		heap_set_all_visible(redo->page, false);
	unsigned start = NF_MIN(tuple[HEAP_HOFF], len);
	*ret_old = (struct old_data){.bytes = tuple + start, .size = len - start};
	return 0;
}

/* The new tuple, made from the record and what it shares with the old one. */
static int update_new(struct wa_redo *redo, const struct update *u, const struct old_data *old)
{
	struct nf_reader r = wa_data_reader(redo);
	unsigned prefix = u->flags & XLH_PREFIX ? nf_read_u16(&r) : 0;
	unsigned suffix = u->flags & XLH_SUFFIX ? nf_read_u16(&r) : 0;
	struct heap_header header = heap_read_header(&r);
	unsigned size = (unsigned)nf_reader_left(&r), bitmap = 0;

	if (prefix > 0)
		bitmap = (unsigned)header.hoff - HEAP_HEADER; /* a header that starts too early wraps round and is caught below */
	if (r.failed || bitmap > size)
		return heap_cut_short(redo);
	if (prefix > old->size || suffix > old->size)
		return wa_redo_bad(redo, "item %u has no %u bytes of prefix and %u of suffix to share", u->old_off, prefix,
				   suffix);
	uint8_t *to;
	int status = heap_add(redo, u->new_off, &header, size + prefix + suffix, &to);
	if (status < 0)
		return status;
	wa_put32(to - HEAP_HEADER + HEAP_XMAX, u->new_xmax);
	nf_read_copy(&r, to, bitmap);
	memmove(to + bitmap, old->bytes, prefix); /* on a broken page they may overlap */
	nf_read_copy(&r, to + bitmap + prefix, size - bitmap);
	memmove(to + size + prefix, old->bytes + old->size - suffix, suffix);
	if (u->flags & XLH_NEW_VISIBLE_CLEARED)
		heap_set_all_visible(redo->page, false);
	return 0;
}

static int redo_new_page(struct wa_redo *redo, const struct update *u)
{
	struct old_data old = {.bytes = redo->page};
	int status = heap_start(redo);

	if (status == 0 && u->one_page)
		status = update_old(redo, u, &old);
	return status < 0 ? status : update_new(redo, u, &old);
}

static int redo_old_page(struct wa_redo *redo, const struct update *u)
{
	struct old_data old;
	int status = heap_check(redo);
	return status < 0 ? status : update_old(redo, u, &old);
}

/* Map pages are touched only when a bit has gone. Block 2 may have the bits of both heap pages; block 3 is the old one's alone. */
static int redo_map_page(struct wa_redo *redo, const struct update *u)
{
	bool changed = false;
	int status = 0;

	if (u->flags & (XLH_OLD_VISIBLE_CLEARED | XLH_NEW_VISIBLE_CLEARED)) {
		if (redo->ref->id == 3)
			return heap_clear_named_vm(redo, u->old_blkno, VM_BITS);
		if (u->flags & XLH_OLD_VISIBLE_CLEARED && vm_page_of(u->old_blkno) == redo->blkno) {
			status = heap_clear_named_vm(redo, u->old_blkno, VM_BITS);
			changed = !redo->keep_lsn;
		}
		if (status == 0)
			status = heap_clear_named_vm(redo, u->new_blkno, VM_BITS);
		changed |= !redo->keep_lsn;
	}
	redo->keep_lsn = !changed;
	return status;
}

int wa_redo_heap_update(struct wa_redo *redo)
{
	struct update u;
	int status = read_update(redo, &u);

	if (status < 0)
		return status;
	switch (redo->ref->id) {
	case 0: return redo_new_page(redo, &u);
	case 1: return redo_old_page(redo, &u);
	case 2:
	case 3: return redo_map_page(redo, &u);
	default: return heap_bad_ref(redo);
	}
}
