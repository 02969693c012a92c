/* Freezing: FREEZE_PAGE of 13 to 16. From 17 on the plans are part of the PRUNE_* records (heap2_prune.c).
 *
 *   13-15   main      0 cutoff xid u32   4 tuples u16
 *           block 0   data: 12 bytes a tuple: 0 xmax u32   4 offset number u16   6 infomask2 u16   8 infomask u16   10 flags u8
 *   16      main      0 conflict xid u32   4 plans u16   6 of a catalogue u8
 *           block 0   data: plans, 12 bytes each: 0 xmax u32   4 infomask2 u16   6 infomask u16   8 flags u8   10 tuples u16;
 *                     then the offset numbers of the plans' tuples, u16 each, in the order of the plans
 *   flags   what becomes of xvac, which shares its place with cid: 2 the frozen xid, 4 none
 *
 * Source: access/heapam_xlog.h; heap_xlog_freeze_page and heap_execute_freeze_tuple in heap/heapam.c. */
#include "heap_impl.h"

#define MAJOR_PLANS 16 /* first that groups tuples which are frozen alike */
#define XID_FROZEN 2u
#define FREEZE_TUPLE_SIZE 12u

enum { XLH_FREEZE_XVAC = 2, XLH_INVALID_XVAC = 4 };

struct freeze {
	uint32_t xmax;
	uint16_t infomask2, infomask;
	uint8_t flags;
};

static int freeze_tuple(struct wa_redo *redo, unsigned off, const struct freeze *how)
{
	uint8_t *tuple;
	unsigned len;
	int status = heap_tuple(redo, off, &tuple, &len);

	if (status < 0)
		return status;
	wa_put32(tuple + HEAP_XMAX, how->xmax);
	if (how->flags & XLH_FREEZE_XVAC)
		wa_put32(tuple + HEAP_CID, XID_FROZEN);
	if (how->flags & XLH_INVALID_XVAC)
		wa_put32(tuple + HEAP_CID, 0);
	wa_put16(tuple + HEAP_INFOMASK2, how->infomask2);
	wa_put16(tuple + HEAP_INFOMASK, how->infomask);
	return 0;
}

int heap_freeze_planned(struct wa_redo *redo, struct nf_reader *plans, struct nf_reader *offs)
{
	while (nf_reader_left(plans) >= FREEZE_PLAN_SIZE) {
		struct freeze how = {.xmax = nf_read_u32(plans)};
		how.infomask2 = nf_read_u16(plans);
		how.infomask = nf_read_u16(plans);
		how.flags = nf_read_u8(plans);
		(void)nf_read_u8(plans);
		unsigned count = nf_read_u16(plans);
		for (unsigned i = 0; i < count; i++) {
			unsigned off = nf_read_u16(offs);
			if (offs->failed)
				return wa_redo_bad(redo, "the list of tuples to freeze is cut short");
			int status = freeze_tuple(redo, off, &how);
			if (status < 0)
				return status;
		}
	}
	if (nf_reader_left(offs) > 0)
		return wa_redo_bad(redo, "%zu bytes are left after the tuples to freeze", nf_reader_left(offs));
	return 0;
}

static int freeze_each(struct wa_redo *redo, unsigned count)
{
	struct nf_reader r = wa_data_reader(redo);
	if ((size_t)count * FREEZE_TUPLE_SIZE > r.size)
		return heap_cut_short(redo);
	for (unsigned i = 0; i < count; i++) {
		struct freeze how = {.xmax = nf_read_u32(&r)};
		unsigned off = nf_read_u16(&r);
		how.infomask2 = nf_read_u16(&r);
		how.infomask = nf_read_u16(&r);
		how.flags = nf_read_u8(&r);
		(void)nf_read_u8(&r);
		int status = freeze_tuple(redo, off, &how);
		if (status < 0)
			return status;
	}
	return 0;
}

int wa_redo_heap2_freeze(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), data = wa_data_reader(redo);
	(void)nf_read_u32(&main);
	unsigned count = nf_read_u16(&main);

	if (main.failed)
		return heap_cut_short(redo);
	if (redo->ref->id != 0)
		return heap_bad_ref(redo);
	int status = heap_check(redo);
	if (status < 0)
		return status;
	if (redo->version->major < MAJOR_PLANS)
		return freeze_each(redo, count);
	size_t size = (size_t)count * FREEZE_PLAN_SIZE;
	const void *bytes = nf_read_bytes(&data, size);
	if (bytes == NULL)
		return heap_cut_short(redo);
	struct nf_reader plans = nf_reader_init(bytes, size), offs = nf_reader_init(data.data + size, data.size - size);
	return heap_freeze_planned(redo, &plans, &offs);
}
