/* Descriptions of SPGist's records.
 *
 *   spgxlogAddLeaf         new page 0, nulls 1, leaf's offset 2, head's offset 4, parent's offset 6, node 8
 *   spgxlogMoveLeafs       moves 0, new page 2, replaces a dead one 3, nulls 4, parent's offset 6, node 8
 *   spgxlogAddNode         offset 0, new offset 2, new page 4, parent's block 5 (signed), parent's offset 6, node 8
 *   spgxlogSplitTuple      prefix's offset 0, postfix's offset 2, new page 4, same block 5
 *   spgxlogPickSplit       root split 0, deleted 2, inserted 4, inner's offset 8, nulls 11, inner is the parent 12, parent's offset 14,
 *                          node 16
 *   spgxlogVacuumLeaf      dead 0, placeholders 2, moved 4, chained 6
 *   spgxlogVacuumRoot      deleted 0
 *   spgxlogVacuumRedirect  placeholders 0, first of them 2, xid horizon 4, catalog 8 (16+)
 *
 * Source: src/backend/access/rmgrdesc/spgdesc.c, src/include/access/spgxlog.h. */
#include "describe_impl.h"

#define ANY 0xFF

static void add_leaf(struct wa_describe *d)
{
	wa_describe_flag(d, 0, ANY, " (newpage)");
	wa_describe_flag(d, 1, ANY, " (nulls)");
}

static void move_leafs(struct wa_describe *d)
{
	wa_describe_flag(d, 2, ANY, " (newpage)");
	wa_describe_flag(d, 3, ANY, " (replacedead)");
	wa_describe_flag(d, 4, ANY, " (nulls)");
}

static void add_node(struct wa_describe *d)
{
	wa_describe_flag(d, 4, ANY, " (newpage)");
}

static void split_tuple(struct wa_describe *d)
{
	wa_describe_flag(d, 4, ANY, " (newpage)");
	wa_describe_flag(d, 5, ANY, " (same)");
}

static void pick_split(struct wa_describe *d)
{
	wa_describe_flag(d, 12, ANY, " (innerIsParent)");
	if (d->major >= 15)
		wa_describe_flag(d, 11, ANY, " (nulls)");
	wa_describe_flag(d, 0, ANY, " (isRootSplit)");
}

static const struct wa_describe_row spgist_rows[] = {
	{0x10, 13, 14, "add leaf to page; off {2:u16}; headoff {4:u16}; parentoff {6:u16}", add_leaf}, /* ADD_LEAF */
	{0x10, 15, 18, "off: {2:u16}, headoff: {4:u16}, parentoff: {6:u16}, nodeI: {8:u16}", add_leaf},
	{0x20, 13, 14, "{0:u16} leafs", NULL}, /* MOVE_LEAFS */
	{0x20, 15, 18, "nmoves: {0:u16}, parentoff: {6:u16}, nodeI: {8:u16}", move_leafs},
	{0x30, 13, 14, "off {0:u16}", NULL}, /* ADD_NODE */
	{0x30, 15, 18, "off: {0:u16}, newoff: {2:u16}, parentBlk: {5:i8}, parentoff: {6:u16}, nodeI: {8:u16}", add_node},
	{0x40, 13, 14, "prefix off: {0:u16}, postfix off: {2:u16} (same {5:u8}, new {4:u8})", NULL}, /* SPLIT_TUPLE */
	{0x40, 15, 18, "prefixoff: {0:u16}, postfixoff: {2:u16}", split_tuple},
	{0x50, 13, 14, "ndel {2:u16}; nins {4:u16}", pick_split}, /* PICKSPLIT */
	{0x50, 15, 18, "ndelete: {2:u16}, ninsert: {4:u16}, inneroff: {8:u16}, parentoff: {14:u16}, nodeI: {16:u16}", pick_split},
	{0x60, 15, 18, "ndead: {0:u16}, nplaceholder: {2:u16}, nmove: {4:u16}, nchain: {6:u16}", NULL}, /* VACUUM_LEAF */
	{0x70, 15, 18, "ndelete: {0:u16}", NULL}, /* VACUUM_ROOT */
	{0x80, 13, 14, "newest XID {4:u32}", NULL}, /* VACUUM_REDIRECT */
	{0x80, 15, 15, "ntoplaceholder: {0:u16}, firstplaceholder: {2:u16}, newestredirectxid: {4:u32}", NULL},
	{0x80, 16, 18,
	 "ntoplaceholder: {0:u16}, firstplaceholder: {2:u16}, snapshotConflictHorizon: {4:u32}, isCatalogRel: {8:tf}", NULL},
};
WA_DESCRIBE_ROWS(spgist);
