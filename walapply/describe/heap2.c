/* Descriptions of Heap2's records.
 *
 *   xl_heap_clean          13: xid horizon 0, redirected 4, dead 6
 *   xl_heap_cleanup_info   13: relation 0, xid horizon 12
 *   xl_heap_prune          14, 15: horizon 0, redirected 4, dead 6; 16: and catalog 8
 *                          17+: reason 0, flags 1, then, if the flags say so, the horizon at 2
 *   xl_heap_vacuum         unused 0
 *   xl_heap_freeze_page    13-15: cutoff xid 0, tuples 4; 16: horizon 0, plans 4, catalog 6
 *   xl_heap_visible        xid 0, flags 4
 *   xl_heap_multi_insert   flags 0, tuples 2, offset numbers from 4 (unless the page is made anew)
 *   xl_heap_lock_updated   xmax 0, offset number 4, infobits 6, flags 7
 *   xl_heap_new_cid        top xid 0, cmin 4, cmax 8, combo 12, relation 16, item 28
 *
 * Block 0's data, which 16 and later print:
 *   PRUNE of 16            redirections (pairs), dead, and unused for the rest
 *   VACUUM of 16           unused
 *   FREEZE_PAGE of 16      plans of 12 bytes, then the offset numbers of all plans
 *   PRUNE_* of 17+         each part only if its flag is set: count of plans, 2 bytes of padding, plans; count and redirections;
 *                          count and dead; count and unused; then the offset numbers of all plans
 *   a plan                 xmax 0, infomask2 4, infomask 6, flags 8, tuples 10
 *
 * Source: src/backend/access/rmgrdesc/heapdesc.c, src/include/access/heapam_xlog.h. */
#include "heap_impl.h"

#define PLAN_SIZE 12
#define INIT_PAGE 0x80 /* XLOG_HEAP_INIT_PAGE, in xl_info */

enum { /* flags of a prune record, 17+ (XLHP_*) */
       PRUNE_CATALOG = 1 << 1,
       PRUNE_HORIZON = 1 << 3,
       PRUNE_PLANS = 1 << 4,
       PRUNE_REDIRECTED = 1 << 5,
       PRUNE_DEAD = 1 << 6,
       PRUNE_UNUSED = 1 << 7,
};

static void redirections(struct wa_describe *d, struct nf_reader *from, uint16_t count)
{
	if (!wa_describe_has(d, from, count, 4))
		return;
	wa_text_put(d->out, " [");
	for (uint16_t i = 0; i < count; i++) {
		uint16_t source = nf_read_u16(from);
		wa_text_put(d->out, "%s%u->%u", i > 0 ? ", " : "", source, nf_read_u16(from));
	}
	wa_text_put(d->out, "]");
}

static void plans(struct wa_describe *d, struct nf_reader *from, uint16_t count, struct nf_reader *offsets)
{
	if (!wa_describe_has(d, from, count, PLAN_SIZE))
		return;
	wa_text_put(d->out, ", plans: [");
	for (uint16_t i = 0; i < count && !d->failed; i++) {
		struct nf_reader plan = nf_reader_init(nf_read_bytes(from, PLAN_SIZE), PLAN_SIZE);
		wa_text_put(d->out, "%s{ ", i > 0 ? ", " : "");
		wa_describe_fields(d, &plan, "xmax: {0:u32}, infomask: {6:u16}, infomask2: {4:u16}, ntuples: {10:u16}");
		nf_read_bytes(&plan, 10);
		wa_text_put(d->out, ", offsets:");
		wa_describe_offsets(d, offsets, nf_read_u16(&plan));
		wa_text_put(d->out, " }");
	}
	wa_text_put(d->out, "]");
}

static void prune_16(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 4), data = wa_describe_block(d, 0);
	uint16_t redirected = nf_read_u16(&main), dead = nf_read_u16(&main);
	if (data.failed)
		return; /* an image stands for them */
	size_t before = (size_t)redirected * 4 + (size_t)dead * 2;
	if (!wa_describe_has(d, &data, before, 1))
		return;
	uint32_t unused = (uint32_t)((nf_reader_left(&data) - before) / 2);
	wa_text_put(d->out, ", nunused: %u, redirected:", unused);
	redirections(d, &data, redirected);
	wa_text_put(d->out, ", dead:");
	wa_describe_offsets(d, &data, dead);
	wa_text_put(d->out, ", unused:");
	wa_describe_offsets(d, &data, unused);
}

static void vacuum_16(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0), data = wa_describe_block(d, 0);
	if (data.failed)
		return;
	wa_text_put(d->out, ", unused:");
	wa_describe_offsets(d, &data, nf_read_u16(&main));
}

static void freeze_16(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 4), data = wa_describe_block(d, 0);
	uint16_t count = nf_read_u16(&main);
	if (data.failed || !wa_describe_has(d, &data, count, PLAN_SIZE))
		return;
	struct nf_reader offsets = data;
	nf_read_bytes(&offsets, (size_t)count * PLAN_SIZE);
	plans(d, &data, count, &offsets);
}

/* A part of block 0's data of 17: its count, `pad` bytes, and its elements of `size` bytes; nothing where the flag is not set. */
static struct nf_reader part(struct wa_describe *d, struct nf_reader *data, bool there, size_t pad, size_t size,
			     uint16_t *ret_count)
{
	*ret_count = 0;
	if (!there)
		return (struct nf_reader){0};
	uint16_t count = nf_read_u16(data);
	nf_read_bytes(data, pad);
	struct nf_reader elements = *data;
	nf_read_bytes(data, count * size);
	wa_describe_check(d, data);
	if (!d->failed)
		*ret_count = count;
	return elements;
}

static void prune_lists(struct wa_describe *d, uint8_t flags, struct nf_reader *data)
{
	uint16_t plan_count, redirected_count, dead_count, unused_count;
	struct nf_reader plan = part(d, data, flags & PRUNE_PLANS, 2, PLAN_SIZE, &plan_count);
	struct nf_reader redirected = part(d, data, flags & PRUNE_REDIRECTED, 0, 4, &redirected_count);
	struct nf_reader dead = part(d, data, flags & PRUNE_DEAD, 0, 2, &dead_count);
	struct nf_reader unused = part(d, data, flags & PRUNE_UNUSED, 0, 2, &unused_count);
	wa_text_put(d->out, ", nplans: %u, nredirected: %u, ndead: %u, nunused: %u", plan_count, redirected_count, dead_count,
		    unused_count);
	if (plan_count > 0)
		plans(d, &plan, plan_count, data);
	if (redirected_count > 0) {
		wa_text_put(d->out, ", redirected:");
		redirections(d, &redirected, redirected_count);
	}
	if (dead_count > 0) {
		wa_text_put(d->out, ", dead:");
		wa_describe_offsets(d, &dead, dead_count);
	}
	if (unused_count > 0) {
		wa_text_put(d->out, ", unused:");
		wa_describe_offsets(d, &unused, unused_count);
	}
}

static void prune_17(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0), data = wa_describe_block(d, 0);
	uint8_t flags = wa_describe_u8(d, 1);
	if (flags & PRUNE_HORIZON)
		wa_describe_fields(d, &main, "snapshotConflictHorizon: {2:u32}");
	wa_text_put(d->out, ", isCatalogRel: %c", flags & PRUNE_CATALOG ? 'T' : 'F');
	if (!data.failed && !d->failed)
		prune_lists(d, flags, &data);
}

static void multi_insert_16(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 2), data = wa_describe_block(d, 0);
	if (data.failed || d->record->info & INIT_PAGE)
		return;
	wa_text_put(d->out, ", offsets:");
	wa_describe_offsets(d, &main, nf_read_u16(&main));
}

static const struct wa_describe_row heap2_rows[] = {
	{0x10, 13, 13, "remxid {0:u32}", NULL}, /* CLEAN */
	{0x10, 14, 15, "latestRemovedXid {0:u32} nredirected {4:u16} ndead {6:u16}", NULL}, /* PRUNE */
	{0x10, 16, 16, "snapshotConflictHorizon: {0:u32}, nredirected: {4:u16}, ndead: {6:u16}, isCatalogRel: {8:tf}", prune_16},
	{0x10, 17, 18, NULL, prune_17}, /* PRUNE_ON_ACCESS */
	{0x20, 13, 13, "cutoff xid {0:u32} ntuples {4:u16}", NULL}, /* FREEZE_PAGE */
	{0x20, 14, 15, "nunused {0:u16}", NULL}, /* VACUUM */
	{0x20, 16, 16, "nunused: {0:u16}", vacuum_16},
	{0x20, 17, 18, NULL, prune_17}, /* PRUNE_VACUUM_SCAN */
	{0x30, 13, 13, "remxid {12:u32}", NULL}, /* CLEANUP_INFO */
	{0x30, 14, 15, "cutoff xid {0:u32} ntuples {4:u16}", NULL}, /* FREEZE_PAGE */
	{0x30, 16, 16, "snapshotConflictHorizon: {0:u32}, nplans: {4:u16}, isCatalogRel: {6:tf}", freeze_16},
	{0x30, 17, 18, NULL, prune_17}, /* PRUNE_VACUUM_CLEANUP */
	{0x40, 13, 15, "cutoff xid {0:u32} flags 0x{4:x8}", NULL}, /* VISIBLE */
	{0x40, 16, 18, "snapshotConflictHorizon: {0:u32}, flags: 0x{4:x8}", NULL},
	{0x50, 13, 15, "{2:u16} tuples flags 0x{0:x8}", NULL}, /* MULTI_INSERT */
	{0x50, 16, 18, "ntuples: {2:u16}, flags: 0x{0:x8}", multi_insert_16},
	{0x60, 13, 15, "off {4:u16}: xmax {0:u32}: flags 0x{7:x8} ", wa_describe_infobits}, /* LOCK_UPDATED */
	{0x60, 16, 18, "xmax: {0:u32}, off: {4:u16}, infobits: ", wa_describe_infobits_flags},
	{0x70, 13, 15, "rel {16:rel}; tid {28:tid}; cmin: {4:u32}, cmax: {8:u32}, combo: {12:u32}", NULL}, /* NEW_CID */
	{0x70, 16, 18, "rel: {16:rel}, tid: {28:tid}, cmin: {4:u32}, cmax: {8:u32}, combo: {12:u32}", NULL},
};
WA_DESCRIBE_ROWS(heap2);
