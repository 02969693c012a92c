/* Descriptions of BRIN's records.
 *
 *   xl_brin_createidx        pages a range 0, version 4
 *   xl_brin_insert           heap block 0, pages a range 4, offset number 8
 *   xl_brin_update           old offset number 0, then an xl_brin_insert at 4
 *   xl_brin_samepage_update  offset number 0
 *   xl_brin_revmap_extend    target block 0
 *   xl_brin_desummarize      pages a range 0, heap block 4, offset number 8
 *
 * Source: src/backend/access/rmgrdesc/brindesc.c, src/include/access/brin_xlog.h. */
#include "describe_impl.h"

static const struct wa_describe_row brin_rows[] = {
	{0x00, 13, 18, "v{4:u16} pagesPerRange {0:u32}", NULL}, /* CREATE_INDEX */
	{0x10, 13, 18, "heapBlk {0:u32} pagesPerRange {4:u32} offnum {8:u16}", NULL}, /* INSERT */
	{0x20, 13, 18, "heapBlk {4:u32} pagesPerRange {8:u32} old offnum {0:u16}, new offnum {12:u16}", NULL}, /* UPDATE */
	{0x30, 13, 18, "offnum {0:u16}", NULL}, /* SAMEPAGE_UPDATE */
	{0x40, 13, 18, "targetBlk {0:u32}", NULL}, /* REVMAP_EXTEND */
	{0x50, 13, 18, "pagesPerRange {0:u32}, heapBlk {4:u32}, page offset {8:u16}", NULL}, /* DESUMMARIZE */
};
WA_DESCRIBE_ROWS(brin);
