/* Bucket splits of a hash index: SPLIT_ALLOCATE_PAGE, SPLIT_COMPLETE, SPLIT_CLEANUP. (SPLIT_PAGE consists of images.)
 *
 *   ALLOCATE  main      0 new bucket u32   4 old bucket's flags u16   6 new bucket's flags u16   8 what follows for the meta page u8
 *             block 0   the old bucket's page      1   the new bucket's page, new
 *             block 2   the meta page; data: (bit 1) low mask u32, high mask u32; (bit 2) split point u32, its spare pages u32
 *   COMPLETE  main      0 old bucket's flags u16   2 new bucket's flags u16
 *             block 0   the old bucket's page      1   the new bucket's page
 *   CLEANUP   block 0   the old bucket's page
 *
 * Postgres sets the flags even on a page that an image has just restored; the image holds them already, as it was taken afterwards.
 * Source: access/hash_xlog.h; access/hash/hash_xlog.c; _hash_expandtable and _hash_splitbucket in access/hash/hashpage.c. */
#include "hash_impl.h"

#define UPDATE_MASKS 1u
#define UPDATE_SPLIT_POINT 2u

static int allocate_in_meta(struct wa_redo *redo, uint32_t bucket, unsigned what)
{
	struct nf_reader r = wa_data_reader(redo);
	uint32_t masks[2] = {0}, split_point = 0, spares = 0;

	if (what & UPDATE_MASKS) {
		masks[0] = nf_read_u32(&r);
		masks[1] = nf_read_u32(&r);
	}
	if (what & UPDATE_SPLIT_POINT) {
		split_point = nf_read_u32(&r);
		spares = nf_read_u32(&r);
	}
	if (r.failed || split_point >= HASH_SPARES_MAX)
		return wa_redo_bad(redo, "the meta page's data is cut short, or names a split point that does not exist");
	wa_put32(redo->page + HASHM_MAX_BUCKET, bucket);
	if (what & UPDATE_MASKS) {
		wa_put32(redo->page + HASHM_LOW_MASK, masks[0]);
		wa_put32(redo->page + HASHM_HIGH_MASK, masks[1]);
	}
	if (what & UPDATE_SPLIT_POINT) {
		wa_put32(redo->page + HASHM_SPARES + 4 * split_point, spares);
		wa_put32(redo->page + HASHM_SPLIT_POINT, split_point);
	}
	return 0;
}

int wa_redo_hash_split_allocate(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint32_t bucket = nf_read_u32(&r);
	unsigned old_flags = nf_read_u16(&r), new_flags = nf_read_u16(&r), what = nf_read_u8(&r);

	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id == 1) {
		hash_init(redo->page, bucket, bucket, new_flags);
		return 0;
	}
	int status = hash_check(redo);
	if (status < 0)
		return status;
	switch (redo->ref->id) {
	case 0:
		hash_set_flags(redo->page, old_flags);
		hash_set_prev(redo->page, bucket);
		return 0;
	case 2: return allocate_in_meta(redo, bucket, what);
	default: return hash_bad_ref(redo);
	}
}

int wa_redo_hash_split_complete(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned old_flags = nf_read_u16(&r), new_flags = nf_read_u16(&r);
	int status = hash_check(redo);

	if (status < 0)
		return status;
	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id > 1)
		return hash_bad_ref(redo);
	hash_set_flags(redo->page, redo->ref->id == 0 ? old_flags : new_flags);
	return 0;
}

int wa_redo_hash_split_cleanup(struct wa_redo *redo)
{
	int status = hash_check(redo);

	if (status < 0)
		return status;
	if (redo->ref->id != 0)
		return hash_bad_ref(redo);
	hash_set_flags(redo->page, hash_flags(redo->page) & ~(unsigned)LH_NEEDS_SPLIT_CLEANUP);
	return 0;
}
