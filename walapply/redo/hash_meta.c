/* The meta page and the bitmap pages of a hash index: INIT_META_PAGE, INIT_BITMAP_PAGE, UPDATE_META_PAGE; and how hash pages are masked.
 *
 *   INIT_META    main   0 tuples expected f64   8 hash function u32   12 fill factor u16      block 0   the meta page, new
 *   INIT_BITMAP  main   0 bytes of the bitmap u16      block 0   the bitmap page, new   1 the meta page
 *   UPDATE_META  main   0 tuples f64                   block 0   the meta page
 *
 * Source: access/hash_xlog.h; access/hash/hash_xlog.c; _hash_init_metabuffer in access/hash/hashpage.c; _hash_initbitmapbuffer in
 * access/hash/hashovfl.c; _hash_spareindex and _hash_get_totalbuckets in access/hash/hashutil.c. */
#include "hash_impl.h"

#define HASH_MAGIC 0x6440640u
#define HASH_VERSION 4u
#define BUCKETS_MAX 0x40000000u
#define GROUPS_OF_ONE_PHASE 10u /* split points below this double the table at once, later ones in four phases */

static unsigned ceil_log2(uint32_t n)
{
	return n < 2 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

static unsigned spare_index(uint32_t buckets)
{
	unsigned group = ceil_log2(buckets);
	if (group < GROUPS_OF_ONE_PHASE)
		return group;
	unsigned phase = (buckets - 1) >> (group - 3) & 3;
	return GROUPS_OF_ONE_PHASE + 4 * (group - GROUPS_OF_ONE_PHASE) + phase;
}

static uint32_t buckets_through(unsigned split_point)
{
	if (split_point < GROUPS_OF_ONE_PHASE)
		return 1u << split_point;
	unsigned past = split_point - GROUPS_OF_ONE_PHASE;
	uint32_t before = 1u << (GROUPS_OF_ONE_PHASE + past / 4 - 1);
	return before + before / 4 * (past % 4 + 1);
}

static uint32_t bucket_count(double tuples, unsigned fill_factor)
{
	double wanted = tuples / fill_factor;
	if (!(wanted > 2.0))
		return 2;
	if (wanted >= BUCKETS_MAX)
		return BUCKETS_MAX;
	return buckets_through(spare_index((uint32_t)wanted));
}

static void init_meta(uint8_t *page, double tuples, uint32_t function, unsigned fill_factor)
{
	uint32_t buckets = bucket_count(tuples, fill_factor);
	uint32_t high_mask = (1u << ceil_log2(buckets + 1)) - 1;
	unsigned spare = spare_index(buckets);

	hash_init(page, HASH_NO_BLOCK, HASH_NO_BLOCK, LH_META);
	wa_put32(page + HASHM, HASH_MAGIC);
	wa_put32(page + HASHM + 4, HASH_VERSION);
	wa_put16(page + HASHM + 16, (uint16_t)fill_factor);
	wa_put16(page + HASHM + 18, INDEX_SPECIAL_AT - WA_PAGE_HEADER);
	wa_put16(page + HASHM + 20, 4096); /* the largest power of two below that */
	wa_put16(page + HASHM + 22, 15);
	wa_put32(page + HASHM_MAX_BUCKET, buckets - 1);
	wa_put32(page + HASHM_HIGH_MASK, high_mask);
	wa_put32(page + HASHM_LOW_MASK, high_mask >> 1);
	wa_put32(page + HASHM_SPLIT_POINT, spare);
	wa_put32(page + HASHM + 48, function);
	wa_put32(page + HASHM_SPARES + 4 * spare, 1);
	wa_put16(page + 12, HASHM_END);
}

int wa_redo_hash_init_meta(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	double tuples;
	nf_read_copy(&r, &tuples, sizeof(tuples));
	uint32_t function = nf_read_u32(&r);
	unsigned fill_factor = nf_read_u16(&r);

	if (r.failed || fill_factor == 0)
		return hash_cut_short(redo);
	if (redo->ref->id != 0)
		return hash_bad_ref(redo);
	init_meta(redo->page, tuples, function, fill_factor);
	return 0;
}

int hash_init_bitmap(struct wa_redo *redo, unsigned bytes)
{
	if (bytes > INDEX_SPECIAL_AT - WA_PAGE_HEADER)
		return wa_redo_bad(redo, "a bitmap of %u bytes does not fit on a page", bytes);
	hash_init(redo->page, HASH_NO_BLOCK, HASH_NO_BLOCK, LH_BITMAP);
	memset(redo->page + WA_PAGE_HEADER, 0xFF, bytes);
	wa_put16(redo->page + 12, (uint16_t)(WA_PAGE_HEADER + bytes));
	return 0;
}

int hash_enter_bitmap(struct wa_redo *redo, uint32_t blkno)
{
	uint32_t count = wa_get32(redo->page + HASHM_BITMAPS);
	if (count >= HASH_BITMAPS_MAX)
		return wa_redo_bad(redo, "the meta page has %u bitmap pages, more than fit", count);
	wa_put32(redo->page + HASHM_MAP + 4 * count, blkno);
	wa_put32(redo->page + HASHM_BITMAPS, count + 1);
	return 0;
}

int wa_redo_hash_init_bitmap(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned bytes = nf_read_u16(&r);

	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id == 0)
		return hash_init_bitmap(redo, bytes);
	if (redo->ref->id != 1)
		return hash_bad_ref(redo);
	int status = hash_check(redo);
	/* The first bitmap page lies behind the buckets, which start at block 1. */
	return status < 0 ? status : hash_enter_bitmap(redo, wa_get32(redo->page + HASHM_MAX_BUCKET) + 2);
}

int hash_set_bit(struct wa_redo *redo, bool used)
{
	struct nf_reader r = wa_data_reader(redo);
	uint32_t bit = nf_read_u32(&r);
	int status = hash_check(redo);

	if (status < 0)
		return status;
	if (r.failed || bit / 8 >= INDEX_SPECIAL_AT - WA_PAGE_HEADER)
		return wa_redo_bad(redo, "bit %u is not on the bitmap page", bit);
	uint8_t *at = redo->page + WA_PAGE_HEADER + bit / 8;
	unsigned mask = 1u << bit % 8;
	*at = (uint8_t)(used ? *at | mask : *at & ~mask);
	return 0;
}

int wa_redo_hash_update_meta(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint64_t tuples = nf_read_u64(&r); /* a double, not looked at */
	int status = hash_check(redo);

	if (status < 0)
		return status;
	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id != 0)
		return hash_bad_ref(redo);
	wa_put64(redo->page + HASHM_TUPLES, tuples);
	return 0;
}

int wa_mask_hash(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	int status = mask_index_page(page, "one of a hash index", error);
	if (status < 0)
		return status;
	unsigned flags = hash_flags(page), type = flags & LH_PAGE_TYPE;
	if (type == LH_UNUSED) {
		wa_mask_content(page);
		return 0;
	}
	if (type == LH_BUCKET || type == LH_OVERFLOW)
		wa_mask_line_pointer_flags(page);
	hash_set_flags(page, flags & ~(unsigned)LH_HAS_DEAD);
	return 0;
}
