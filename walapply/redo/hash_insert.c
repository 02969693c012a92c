/* Hash index growth by single tuples: INSERT, ADD_OVFL_PAGE.
 *
 *   INSERT    main      0 offset number u16
 *             block 0   the page; data: the tuple      1   the meta page
 *   ADD_OVFL  main      0 bytes of a bitmap u16   2 whether a free page was found in a bitmap u8
 *             block 0   the overflow page, new; data: bucket u32      1   the page before it in the bucket
 *             block 2   the bitmap page, if one has a bit for it; data: bit u32
 *             block 3   a new bitmap page, if one is needed
 *             block 4   the meta page; data: first free bit u32
 *
 * Source: access/hash_xlog.h; hash_xlog_insert and hash_xlog_add_ovfl_page in access/hash/hash_xlog.c. */
#include "hash_impl.h"

int wa_redo_hash_insert(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned off = nf_read_u16(&r), size = redo->ref->data_len;

	if (redo->ref->id == 1)
		return hash_add_tuples(redo, 1);
	if (redo->ref->id != 0)
		return hash_bad_ref(redo);
	int status = hash_check(redo);
	if (status < 0)
		return status;
	if (r.failed || off == 0)
		return hash_cut_short(redo);
	if (size < TUPLE_HEADER || wa_page_add(redo->page, redo->ref->data, size, off, false, false) < 0)
		return wa_redo_bad(redo, "no room for item %u of %u bytes", off, size);
	return 0;
}

static int add_to_meta(struct wa_redo *redo, bool found, const struct wa_ref *new_bitmap)
{
	struct nf_reader r = wa_data_reader(redo);
	uint32_t first_free = nf_read_u32(&r);
	uint32_t split_point = wa_get32(redo->page + HASHM_SPLIT_POINT);

	if (r.failed)
		return hash_cut_short(redo);
	wa_put32(redo->page + HASHM_FIRST_FREE, first_free);
	if (found)
		return 0;
	if (split_point >= HASH_SPARES_MAX)
		return wa_redo_bad(redo, "the meta page is at split point %u, more than there are", split_point);
	uint8_t *spares = redo->page + HASHM_SPARES + 4 * split_point;
	wa_put32(spares, wa_get32(spares) + (new_bitmap != NULL ? 2 : 1));
	return new_bitmap != NULL ? hash_enter_bitmap(redo, new_bitmap->block.blkno) : 0;
}

int wa_redo_hash_add_overflow(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), data = wa_data_reader(redo);
	unsigned bitmap_bytes = nf_read_u16(&main);
	bool found = nf_read_u8(&main) != 0;
	const struct wa_ref *added = wa_record_ref(redo->record, 0), *before = wa_record_ref(redo->record, 1);

	if (main.failed || added == NULL || before == NULL)
		return hash_cut_short(redo);
	if (redo->ref->id == 0) {
		uint32_t bucket = nf_read_u32(&data);
		hash_init(redo->page, before->block.blkno, bucket, LH_OVERFLOW);
		return data.failed ? hash_cut_short(redo) : 0;
	}
	if (redo->ref->id == 3)
		return hash_init_bitmap(redo, bitmap_bytes);
	int status = hash_check(redo);
	if (status < 0)
		return status;
	switch (redo->ref->id) {
	case 1: hash_set_next(redo->page, added->block.blkno); return 0;
	case 2: return hash_set_bit(redo, true);
	case 4: return add_to_meta(redo, found, wa_record_ref(redo->record, 3));
	default: return hash_bad_ref(redo);
	}
}
