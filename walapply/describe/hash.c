/* Descriptions of Hash's records.
 *
 *   xl_hash_init_meta_page      tuples 0 (a double), hash function 8, fill factor 12
 *   xl_hash_init_bitmap_page    bitmap size 0
 *   xl_hash_insert              offset number 0
 *   xl_hash_add_ovfl_page       bitmap size 0, bitmap page found 2
 *   xl_hash_split_allocate_page new bucket 0, old flags 4, new flags 6, flags 8 (1 masks, 2 split point)
 *   xl_hash_split_complete      old flags 0, new flags 2
 *   xl_hash_move_page_contents  tuples 0, primary 2
 *   xl_hash_squeeze_page        previous 0, next 4, tuples 8, primary 10
 *   xl_hash_delete              clears the dead mark 0, primary 1
 *   xl_hash_update_meta_page    tuples 0 (a double)
 *   xl_hash_vacuum_one_page     xid horizon 0, tuples 4 (13-15: 4 bytes, 16+: 2), catalog 6 (16+)
 *
 * Source: src/backend/access/rmgrdesc/hashdesc.c, src/include/access/hash_xlog.h. */
#include "describe_impl.h"

static void split_allocate(struct wa_describe *d)
{
	uint8_t flags = wa_describe_u8(d, 8);
	wa_text_put(d->out, ", meta_page_masks_updated %c, issplitpoint_changed %c", flags & 1 ? 'T' : 'F',
		    flags & 2 ? 'T' : 'F');
}

static const struct wa_describe_row hash_rows[] = {
	{0x00, 13, 18, "num_tuples {0:g}, fillfactor {12:u16}", NULL}, /* INIT_META_PAGE */
	{0x10, 13, 18, "bmsize {0:u16}", NULL}, /* INIT_BITMAP_PAGE */
	{0x20, 13, 18, "off {0:u16}", NULL}, /* INSERT */
	{0x30, 13, 18, "bmsize {0:u16}, bmpage_found {2:tf}", NULL}, /* ADD_OVFL_PAGE */
	{0x40, 13, 18, "new_bucket {0:u32}", split_allocate}, /* SPLIT_ALLOCATE_PAGE */
	{0x60, 13, 18, "old_bucket_flag {0:u16}, new_bucket_flag {2:u16}", NULL}, /* SPLIT_COMPLETE */
	{0x70, 13, 18, "ntups {0:u16}, is_primary {2:tf}", NULL}, /* MOVE_PAGE_CONTENTS */
	{0x80, 13, 18, "prevblkno {0:u32}, nextblkno {4:u32}, ntups {8:u16}, is_primary {10:tf}", NULL}, /* SQUEEZE_PAGE */
	{0x90, 13, 18, "clear_dead_marking {0:tf}, is_primary {1:tf}", NULL}, /* DELETE */
	{0xB0, 13, 18, "ntuples {0:g}", NULL}, /* UPDATE_META_PAGE */
	{0xC0, 13, 14, "ntuples {4:i32}, latest removed xid {0:u32}", NULL}, /* VACUUM_ONE_PAGE */
	{0xC0, 15, 15, "ntuples {4:i32}, latestRemovedXid {0:u32}", NULL},
	{0xC0, 16, 18, "ntuples {4:u16}, snapshotConflictHorizon {0:u32}, isCatalogRel {6:tf}", NULL},
};
WA_DESCRIBE_ROWS(hash);
