/* The meta page of a B-tree, and how B-tree pages are masked.
 *
 *   block data 14+   0 version   4 root   8 level   12 fast root   16 fast level   20 deleted pages   24 whether all are equal images u8
 *   block data 13    ... 20 oldest xid of a deleted page   24 heap tuples f64   32 whether all are equal images u8
 *   page, from 24    0 magic   4 version   8 root   12 level   16 fast root   20 fast level   24 deleted pages, or the xid   32 heap tuples
 *                    f64 (14+: always -1)   40 whether all are equal images u8   48 end
 *
 * Source: xl_btree_metadata in access/nbtxlog.h, BTMetaPageData in access/nbtree.h; _bt_restore_meta and btree_mask in
 * access/nbtree/nbtxlog.c. */
#include "btree_impl.h"

#define BT_MAGIC 0x053162u
#define META_SIZE 48u
#define MINUS_ONE 0xBFF0000000000000u /* -1.0 */

int bt_restore_meta(struct wa_redo *redo)
{
	struct nf_reader r = wa_data_reader(redo);
	const uint8_t *fields = nf_read_bytes(&r, 24); /* version to the deleted pages: the same on the page */
	uint64_t heap_tuples = redo->version->major == 13 ? nf_read_u64(&r) : MINUS_ONE;
	uint8_t equal_image = nf_read_u8(&r);

	if (r.failed)
		return wa_redo_bad(redo, "the meta page's data is cut short");
	bt_init(redo->page, BT_NONE, BT_NONE, 0, BTP_META);
	uint8_t *meta = redo->page + WA_PAGE_HEADER;
	wa_put32(meta, BT_MAGIC);
	memcpy(meta + 4, fields, 24);
	wa_put64(meta + 32, heap_tuples);
	meta[40] = equal_image;
	wa_put16(redo->page + 12, WA_PAGE_HEADER + META_SIZE);
	return 0;
}

int wa_redo_btree_meta(struct wa_redo *redo)
{
	return redo->ref->id == 0 ? bt_restore_meta(redo) : bt_bad_ref(redo);
}

int wa_mask_btree(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)blkno;
	int status = mask_index_page(page, "one of a B-tree", error);
	if (status < 0)
		return status;
	unsigned flags = bt_flags(page);
	if (version->major == 13 && (flags & BTP_DELETED)) {
		wa_mask_content(page);
		return 0;
	}
	if (flags & BTP_LEAF)
		wa_mask_line_pointer_flags(page);
	bt_set_flags(page, flags & ~(unsigned)(BTP_HAS_GARBAGE | BTP_SPLIT_END));
	bt_set_cycleid(page, 0);
	return 0;
}
