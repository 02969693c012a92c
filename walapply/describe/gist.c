/* Descriptions of Gist's records.
 *
 *   gistxlogPageReuse    relation 0, block 12, full xid horizon 16, catalog 24 (16+)
 *   gistxlogDelete       xid horizon 0, items 4, catalog 6 (16+)
 *   gistxlogPageSplit    right link 0, NSN 8, leaf 16, pages 18, follow-right 20
 *   gistxlogPageDelete   full xid 0, downlink's offset number 8
 *
 * PAGE_UPDATE and ASSIGN_LSN have nothing to tell.
 * Source: src/backend/access/rmgrdesc/gistdesc.c, src/include/access/gistxlog.h. */
#include "describe_impl.h"

static const struct wa_describe_row gist_rows[] = {
	{0x10, 13, 15, "delete: latestRemovedXid {0:u32}, nitems: {4:u16}", NULL}, /* DELETE */
	{0x10, 16, 18, "delete: snapshotConflictHorizon {0:u32}, nitems: {4:u16}, isCatalogRel {6:tf}", NULL},
	{0x20, 13, 15, "rel {0:rel}; blk {12:u32}; latestRemovedXid {16:fxid}", NULL}, /* PAGE_REUSE */
	{0x20, 16, 18, "rel {0:rel}; blk {12:u32}; snapshotConflictHorizon {16:fxid}, isCatalogRel {24:tf}", NULL},
	{0x30, 13, 18, "page_split: splits to {18:u16} pages", NULL}, /* PAGE_SPLIT */
	{0x60, 13, 18, "deleteXid {0:fxid}; downlink {8:u16}", NULL}, /* PAGE_DELETE */
};
WA_DESCRIBE_ROWS(gist);
