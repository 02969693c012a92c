/* The meta page and the bitmap pages of a hash index, and masking. */
#include "index_case.h"

#include "common/nf_cursor.h"
#include "walapply/redo/wa_redo.h"

enum { INIT_META = 0x00, INIT_BITMAP = 0x10, ADD_OVERFLOW = 0x30, UPDATE_META = 0xB0 };
enum { UNUSED_PAGE = 0, OVERFLOW_PAGE = 1, BUCKET = 2, BITMAP = 4, META = 8, HAS_DEAD = 128 };

/* Offsets on the page. */
enum {
	TUPLES = 32,
	MAX_BUCKET = 48,
	HIGH_MASK = 52,
	LOW_MASK = 56,
	SPLIT_POINT = 60,
	FIRST_FREE = 64,
	BITMAPS = 68,
	SPARES = 76,
	MAP = 468
};

static const struct case_family hash = {WA_RMGR_HASH, INDEX_SPECIAL, wa_mask_hash};

static struct index_case *init_meta(double tuples, uint16_t fill_factor)
{
	struct index_case *c = case_new(15, &hash, INIT_META, wa_redo_hash_init_meta);
	uint8_t main[14];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_bytes(&w, &tuples, sizeof(tuples));
	nf_write_u32(&w, 400);
	nf_write_u16(&w, fill_factor);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 0, true, NULL, 0);
	return c;
}

/* Bucket counts double up to 512, from there in quarters of the next doubling (access/hash/README). */
static void sizes(void **state)
{
	(void)state;
	static const struct {
		double tuples;
		uint32_t buckets, high_mask, split_point;
	} expected[] = {
		{0, 2, 3, 1},
		{-5, 2, 3, 1},
		{2 * 307, 2, 3, 1},
		{3 * 307, 4, 7, 2},
		{5 * 307, 8, 15, 3},
		{512 * 307, 512, 1023, 9},
		{513 * 307, 640, 1023, 10},
		{641 * 307, 768, 1023, 11},
		{1000 * 307, 1024, 2047, 13},
		{1025 * 307, 1280, 2047, 14},
		{1e18, 0x40000000, 0x7FFFFFFF, 93},
	};
	for (size_t i = 0; i < NF_ARRAY_LEN(expected); i++) {
		struct index_case *c = init_meta(expected[i].tuples, 307);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_get32(c->page + MAX_BUCKET), expected[i].buckets - 1);
		assert_int_equal(wa_get32(c->page + HIGH_MASK), expected[i].high_mask);
		assert_int_equal(wa_get32(c->page + LOW_MASK), expected[i].high_mask >> 1);
		assert_int_equal(wa_get32(c->page + SPLIT_POINT), expected[i].split_point);
		assert_int_equal(wa_get32(c->page + SPARES + 4 * expected[i].split_point), 1);
		assert_int_equal(wa_page_lower(c->page), 24 + 4544);
		assert_int_equal(case_flags(c), META);
		case_free(c);
	}
	struct index_case *c = init_meta(100, 0);
	case_refuse(c, 0);
	case_free(c);
}

static void bitmap(void **state)
{
	(void)state;
	static const uint16_t bytes = 4096;
	struct index_case *c = case_new(15, &hash, INIT_BITMAP, wa_redo_hash_init_bitmap);
	case_main(c, &bytes, sizeof(bytes));
	case_ref(c, 0, 9, true, NULL, 0);
	case_ref(c, 1, 0, false, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(c->page[24], 0xFF);
	assert_int_equal(c->page[24 + 4095], 0xFF);
	assert_int_equal(c->page[24 + 4096], 0);
	assert_int_equal(wa_page_lower(c->page), 24 + 4096);
	assert_int_equal(case_flags(c), BITMAP);

	wa_page_init(c->page, INDEX_SPECIAL); /* now the meta page: buckets 0 .. 7 in blocks 1 .. 8 */
	wa_put32(c->page + MAX_BUCKET, 7);
	wa_put32(c->page + BITMAPS, 2);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_get32(c->page + MAP + 8), 9);
	assert_int_equal(wa_get32(c->page + BITMAPS), 3);
	wa_put32(c->page + BITMAPS, 1024);
	case_refuse(c, 1);
	case_free(c);
}

static void update(void **state)
{
	(void)state;
	static const double tuples = 12345;
	struct index_case *c = case_new(15, &hash, UPDATE_META, wa_redo_hash_update_meta);
	case_main(c, &tuples, sizeof(tuples));
	case_ref(c, 0, 0, false, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_memory_equal(c->page + TUPLES, &tuples, sizeof(tuples));
	case_free(c);
}

/* Block 3 only when a bitmap page is new. */
static struct index_case *add_overflow(bool found, bool new_bitmap)
{
	struct index_case *c = case_new(15, &hash, ADD_OVERFLOW, wa_redo_hash_add_overflow);
	uint8_t main[3] = {0x00, 0x10, found}; /* 4096 */
	uint32_t bucket = 5, bit = 35, first_free = 36;
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 70, true, &bucket, sizeof(bucket));
	case_ref(c, 1, 6, false, NULL, 0);
	case_ref(c, 2, 9, false, &bit, sizeof(bit));
	if (new_bitmap)
		case_ref(c, 3, 71, true, NULL, 0);
	case_ref(c, 4, 0, false, &first_free, sizeof(first_free));
	return c;
}

static void overflow_pages(void **state)
{
	(void)state;
	struct index_case *c = add_overflow(false, true);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(case_special32(c, 0), 6);
	assert_int_equal(case_special32(c, 4), 0xFFFFFFFF);
	assert_int_equal(case_special32(c, 8), 5);
	assert_int_equal(case_flags(c), OVERFLOW_PAGE);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(case_special32(c, 4), 70);
	wa_page_init(c->page, INDEX_SPECIAL);
	case_mutate(c, 2);
	case_redo(c, 2);
	assert_int_equal(c->page[24 + 4], 1 << 3);
	case_mutate(c, 3);
	case_redo(c, 3);
	assert_int_equal(c->page[24 + 4095], 0xFF);
	case_free(c);
}

static void overflow_meta(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		bool found = i & 1, new_bitmap = i & 2;
		struct index_case *c = add_overflow(found, new_bitmap);
		wa_put32(c->page + SPLIT_POINT, 3);
		wa_put32(c->page + SPARES + 12, 10);
		case_mutate(c, 4);
		case_redo(c, 4);
		assert_int_equal(wa_get32(c->page + FIRST_FREE), 36);
		assert_int_equal(wa_get32(c->page + SPARES + 12), found ? 10 : new_bitmap ? 12 : 11);
		assert_int_equal(wa_get32(c->page + BITMAPS), !found && new_bitmap);
		assert_int_equal(wa_get32(c->page + MAP), !found && new_bitmap ? 71 : 0);
		wa_put32(c->page + SPLIT_POINT, 98);
		if (!found)
			case_refuse(c, 4);
		case_free(c);
	}
}

static void masks(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &hash, UPDATE_META, wa_redo_hash_update_meta);
	uint8_t clean[WA_PAGE_SIZE];
	struct wa_item item;
	add_tuple(c, 1, 10);
	assert_int_equal(wa_page_item(c->page, 1, &item), 0);
	case_set_flags(c, BUCKET);
	memcpy(clean, c->page, sizeof(clean));
	assert_int_equal(case_mask(c, clean), 0);

	case_set_flags(c, BUCKET | HAS_DEAD);
	item.flags = WA_LP_DEAD;
	assert_int_equal(wa_page_set_item(c->page, 1, item), 0);
	assert_int_equal(case_mask(c, c->page), 0);
	assert_memory_equal(c->page, clean, sizeof(clean));
	c->page[WA_PAGE_SIZE - INDEX_SPECIAL - 1] ^= 1;
	assert_memory_not_equal(c->page, clean, sizeof(clean));

	/* Nothing counts on a page that is not in use. */
	case_set_flags(c, UNUSED_PAGE);
	memcpy(clean, c->page, sizeof(clean));
	c->page[WA_PAGE_SIZE - INDEX_SPECIAL - 1] ^= 1;
	assert_int_equal(case_mask(c, c->page), 0);
	assert_int_equal(case_mask(c, clean), 0);
	assert_memory_equal(c->page, clean, sizeof(clean));
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),          cmocka_unit_test(bitmap),        cmocka_unit_test(update),
		cmocka_unit_test(overflow_pages), cmocka_unit_test(overflow_meta), cmocka_unit_test(masks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
