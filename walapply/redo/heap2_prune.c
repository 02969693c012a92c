/* Removal of dead tuples, and from 17 on freezing in the same record: CLEAN (13), PRUNE and VACUUM (14 to 16), PRUNE_ON_ACCESS,
 * PRUNE_VACUUM_SCAN and PRUNE_VACUUM_CLEANUP (17+).
 *
 *   CLEAN, PRUNE   main      0 conflict xid u32   4 redirected u16   6 dead u16
 *                  block 0   data: from and to of each redirected one, u16 each; the dead ones; the unused ones up to the end
 *   VACUUM         main      0 unused u16
 *                  block 0   data: the ones that are unused now
 *   PRUNE_*        main      0 reason u8   1 flags u8   [2 conflict xid u32]
 *                  block 0   data, each part if its flag is set:
 *                     16     0 count u16   4 freeze plans (heap2_freeze.c)
 *                     32     redirected: count u16, from and to of each
 *                     64     dead: count u16, each
 *                     128    unused: count u16, each
 *                            then the offset numbers of the plans' tuples, in their order
 *                  flags     4 tuples may have moved; else line pointers alone have changed
 *
 * Source: access/heapam_xlog.h; heap_xlog_prune and heap_xlog_vacuum in heap/heapam.c, heap_xlog_prune_freeze (18: heap/heapam_xlog.c),
 * heap_page_prune_execute in heap/pruneheap.c, heap_xlog_deserialize_prune_and_freeze in rmgrdesc/heapdesc.c. */
#include "heap_impl.h"

enum { XLHP_CLEANUP_LOCK = 4, XLHP_PLANS = 16, XLHP_REDIRECTED = 32, XLHP_DEAD = 64, XLHP_UNUSED = 128 };

/* Set `count` line pointers to one state; those to redirect are given as pairs. */
static int set_lines(struct wa_redo *redo, struct nf_reader *offs, unsigned count, unsigned flags)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned off = nf_read_u16(offs);
		struct wa_item item = {.offset = flags == WA_LP_REDIRECT ? nf_read_u16(offs) : 0, .flags = (uint8_t)flags};
		if (offs->failed)
			return wa_redo_bad(redo, "the list of items is cut short");
		if (wa_page_set_item(redo->page, off, item) < 0)
			return wa_redo_bad(redo, "there is no item %u", off);
	}
	return 0;
}

static int close_gaps(struct wa_redo *redo, bool tuples_move)
{
	int status = tuples_move ? wa_page_repair(redo->page, redo->version->major) : wa_page_truncate_items(redo->page);
	return status < 0 ? wa_redo_bad(redo, "the tuples do not lie as they should") : 0;
}

static int prune_check(struct wa_redo *redo)
{
	return redo->ref->id == 0 ? heap_check(redo) : heap_bad_ref(redo);
}

int wa_redo_heap2_prune_old(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), data = wa_data_reader(redo);
	(void)nf_read_u32(&main);
	unsigned redirected = nf_read_u16(&main), dead = nf_read_u16(&main);

	if (main.failed || 4 * redirected + 2 * dead > data.size || data.size % 2 != 0)
		return heap_cut_short(redo);
	unsigned unused = (unsigned)data.size / 2 - 2 * redirected - dead;
	int status = prune_check(redo);
	if (status < 0 || (status = set_lines(redo, &data, redirected, WA_LP_REDIRECT)) < 0 ||
	    (status = set_lines(redo, &data, dead, WA_LP_DEAD)) < 0 ||
	    (status = set_lines(redo, &data, unused, WA_LP_UNUSED)) < 0)
		return status;
	return close_gaps(redo, true);
}

int wa_redo_heap2_vacuum(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), data = wa_data_reader(redo);
	unsigned unused = nf_read_u16(&main);

	if (main.failed)
		return heap_cut_short(redo);
	int status = prune_check(redo);
	if (status < 0 || (status = set_lines(redo, &data, unused, WA_LP_UNUSED)) < 0)
		return status;
	return close_gaps(redo, false);
}

static struct nf_reader read_plans(struct nf_reader *data)
{
	unsigned count = nf_read_u16(data);
	(void)nf_read_u16(data);
	const void *plans = nf_read_bytes(data, (size_t)count * FREEZE_PLAN_SIZE);
	return nf_reader_init(plans, plans != NULL ? (size_t)count * FREEZE_PLAN_SIZE : 0);
}

static int set_part(struct wa_redo *redo, struct nf_reader *data, unsigned flags)
{
	unsigned count = nf_read_u16(data);
	return data->failed ? heap_cut_short(redo) : set_lines(redo, data, count, flags);
}

int wa_redo_heap2_prune(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), data = wa_data_reader(redo), plans = nf_reader_init(NULL, 0);
	(void)nf_read_u8(&main);
	unsigned flags = nf_read_u8(&main);
	int status = prune_check(redo);

	if (status < 0)
		return status;
	if (flags & XLHP_PLANS)
		plans = read_plans(&data);
	if (main.failed || data.failed)
		return heap_cut_short(redo);
	if (flags & XLHP_REDIRECTED && (status = set_part(redo, &data, WA_LP_REDIRECT)) < 0)
		return status;
	if (flags & XLHP_DEAD && (status = set_part(redo, &data, WA_LP_DEAD)) < 0)
		return status;
	if (flags & XLHP_UNUSED && (status = set_part(redo, &data, WA_LP_UNUSED)) < 0)
		return status;
	if (flags & (XLHP_REDIRECTED | XLHP_DEAD | XLHP_UNUSED) && (status = close_gaps(redo, flags & XLHP_CLEANUP_LOCK)) < 0)
		return status;
	return heap_freeze_planned(redo, &plans, &data);
}
