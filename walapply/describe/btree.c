/* Descriptions of Btree's records.
 *
 *   xl_btree_insert        offset number 0
 *   xl_btree_split         level 0, first right offset 4, new item's offset 6, posting offset 8
 *   xl_btree_dedup         intervals 0
 *   xl_btree_vacuum        deleted 0, updated 2
 *   xl_btree_delete        xid horizon 0, deleted 4 (13: 4 bytes), updated 6 (14+), catalog 8 (16+)
 *   xl_btree_mark_page_halfdead   parent's offset 0, leaf 4, left 8, right 12, top parent 16
 *   xl_btree_unlink_page   13: left 0, right 4, leaf's left 8, leaf's right 12, top parent 16, xid 20
 *                          14+: left 0, right 4, level 8, safe xid 16 (8 bytes), leaf's left 24, leaf's right 28, leaf's top parent 32
 *   xl_btree_newroot       root 0, level 4
 *   xl_btree_reuse_page    relation 0, block 12, horizon 16 (13: 4 bytes, 14+: 8), catalog 24 (16+)
 *   xl_btree_metadata      in block 0's data: version 0, root 4, level 8, fast root 12, fast level 16, then 13: oldest xid 20, heap tuples
 *                          (a double) 24; 14+: deleted pages 20
 *
 * Block 0's data of VACUUM and DELETE: the deleted items' offset numbers, the updated ones', then for each updated one a count and as
 * many places in its posting list; 16 and later print them.
 * Source: src/backend/access/rmgrdesc/nbtdesc.c, src/include/access/nbtxlog.h. */
#include "describe_impl.h"

static void updated_item(struct wa_describe *d, uint16_t offset, struct nf_reader *updates)
{
	uint16_t count = nf_read_u16(updates);
	if (!wa_describe_has(d, updates, count, 2))
		return;
	wa_text_put(d->out, "{ off: %u, nptids: %u, ptids:", offset, count);
	wa_describe_offsets(d, updates, count);
	wa_text_put(d->out, " }");
}

static void deleted_and_updated(struct wa_describe *d, uint16_t deleted, uint16_t updated)
{
	struct nf_reader data = wa_describe_block(d, 0);
	if (data.failed)
		return; /* an image stands for them */
	wa_text_put(d->out, ", deleted:");
	wa_describe_offsets(d, &data, deleted);

	struct nf_reader updates = data;
	nf_read_bytes(&updates, updated * (size_t)2);
	wa_describe_check(d, &updates);
	wa_text_put(d->out, ", updated: [");
	for (uint16_t i = 0; i < updated && !d->failed; i++) {
		wa_text_put(d->out, "%s", i > 0 ? ", " : "");
		updated_item(d, nf_read_u16(&data), &updates);
	}
	wa_text_put(d->out, "]");
}

static void vacuum(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	uint16_t deleted = nf_read_u16(&main);
	deleted_and_updated(d, deleted, nf_read_u16(&main));
}

static void delete (struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 4);
	uint16_t deleted = nf_read_u16(&main);
	deleted_and_updated(d, deleted, nf_read_u16(&main));
}

static void meta(struct wa_describe *d, const char *fields)
{
	struct nf_reader data = wa_describe_block(d, 0);
	wa_describe_check(d, &data);
	wa_describe_fields(d, &data, fields);
}

static void meta_13(struct wa_describe *d)
{
	meta(d, "oldest_btpo_xact {20:u32}; last_cleanup_num_heap_tuples: {24:f}");
}

static void meta_14(struct wa_describe *d)
{
	meta(d, "last_cleanup_num_delpages {20:u32}");
}

static void meta_16(struct wa_describe *d)
{
	meta(d, "last_cleanup_num_delpages: {20:u32}");
}

#define SPLIT_13 "level {0:u32}, firstrightoff {4:u16}, newitemoff {6:u16}, postingoff {8:u16}"
#define SPLIT_16 "level: {0:u32}, firstrightoff: {4:u16}, newitemoff: {6:u16}, postingoff: {8:u16}"
#define UNLINK_13 "left {0:u32}; right {4:u32}; btpo_xact {20:u32}; leafleft {8:u32}; leafright {12:u32}; topparent {16:u32}"
#define UNLINK_14                                                                                                                \
	"left {0:u32}; right {4:u32}; level {8:u32}; safexid {16:fxid}; leafleft {24:u32}; leafright {28:u32}; leaftopparent "   \
	"{32:u32}"
#define UNLINK_16                                                                                                                \
	"left: {0:u32}, right: {4:u32}, level: {8:u32}, safexid: {16:fxid}, "                                                    \
	"leafleft: {24:u32}, leafright: {28:u32}, leaftopparent: {32:u32}"

static const struct wa_describe_row btree_rows[] = {
	{0x00, 13, 15, "off {0:u16}", NULL}, /* INSERT_LEAF */
	{0x00, 16, 18, "off: {0:u16}", NULL},
	{0x10, 13, 15, "off {0:u16}", NULL}, /* INSERT_UPPER */
	{0x10, 16, 18, "off: {0:u16}", NULL},
	{0x20, 13, 15, "off {0:u16}", NULL}, /* INSERT_META */
	{0x20, 16, 18, "off: {0:u16}", NULL},
	{0x30, 13, 15, SPLIT_13, NULL}, /* SPLIT_L */
	{0x30, 16, 18, SPLIT_16, NULL},
	{0x40, 13, 15, SPLIT_13, NULL}, /* SPLIT_R */
	{0x40, 16, 18, SPLIT_16, NULL},
	{0x50, 13, 15, "off {0:u16}", NULL}, /* INSERT_POST */
	{0x50, 16, 18, "off: {0:u16}", NULL},
	{0x60, 13, 15, "nintervals {0:u16}", NULL}, /* DEDUP */
	{0x60, 16, 18, "nintervals: {0:u16}", NULL},
	{0x70, 13, 13, "latestRemovedXid {0:u32}; ndeleted {4:u32}", NULL}, /* DELETE */
	{0x70, 14, 15, "latestRemovedXid {0:u32}; ndeleted {4:u16}; nupdated {6:u16}", NULL},
	{0x70, 16, 18, "snapshotConflictHorizon: {0:u32}, ndeleted: {4:u16}, nupdated: {6:u16}, isCatalogRel: {8:tf}", delete},
	{0x80, 13, 13, UNLINK_13, NULL}, /* UNLINK_PAGE */
	{0x80, 14, 15, UNLINK_14, NULL},
	{0x80, 16, 18, UNLINK_16, NULL},
	{0x90, 13, 13, UNLINK_13, NULL}, /* UNLINK_PAGE_META */
	{0x90, 14, 15, UNLINK_14, NULL},
	{0x90, 16, 18, UNLINK_16, NULL},
	{0xA0, 13, 15, "lev {4:u32}", NULL}, /* NEWROOT */
	{0xA0, 16, 18, "level: {4:u32}", NULL},
	{0xB0, 13, 15, "topparent {16:u32}; leaf {4:u32}; left {8:u32}; right {12:u32}", NULL}, /* MARK_PAGE_HALFDEAD */
	{0xB0, 16, 18, "topparent: {16:u32}, leaf: {4:u32}, left: {8:u32}, right: {12:u32}", NULL},
	{0xC0, 13, 15, "ndeleted {0:u16}; nupdated {2:u16}", NULL}, /* VACUUM */
	{0xC0, 16, 18, "ndeleted: {0:u16}, nupdated: {2:u16}", vacuum},
	{0xD0, 13, 13, "rel {0:rel}; latestRemovedXid {16:u32}", NULL}, /* REUSE_PAGE */
	{0xD0, 14, 15, "rel {0:rel}; latestRemovedXid {16:fxid}", NULL},
	{0xD0, 16, 18, "rel: {0:rel}, snapshotConflictHorizon: {16:fxid}, isCatalogRel: {24:tf}", NULL},
	{0xE0, 13, 13, NULL, meta_13}, /* META_CLEANUP */
	{0xE0, 14, 15, NULL, meta_14},
	{0xE0, 16, 18, NULL, meta_16},
};
WA_DESCRIBE_ROWS(btree);
