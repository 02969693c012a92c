/* Deletion of B-tree pages: half dead, unlinked, their neighbours, and masking of what is left. */
#include "index_case.h"

#include "common/nf_cursor.h"
#include "walapply/redo/wa_redo.h"

enum { UNLINK = 0x80, UNLINK_META = 0x90, HALFDEAD = 0xB0 };
enum { LEAF = 1, DELETED = 4, HALF_DEAD = 16, SPLIT_END = 32, GARBAGE = 64, FULLXID = 256 };

static const struct case_family btree = {WA_RMGR_BTREE, INDEX_SPECIAL, wa_mask_btree};

/* One item: a high key of 8 bytes that names `top`. */
static void expect_half_dead(struct index_case *c, uint32_t left, uint32_t right, uint32_t top)
{
	uint8_t *tuple;
	unsigned len;
	assert_int_equal(case_special32(c, 0), left);
	assert_int_equal(case_special32(c, 4), right);
	assert_int_equal(case_flags(c), HALF_DEAD | LEAF);
	assert_int_equal(wa_page_item_count(c->page), 1);
	assert_int_equal(wa_page_tuple(c->page, 1, 8, &tuple, &len), 0);
	assert_int_equal(len, 8);
	assert_int_equal(tuple_block(tuple), top);
	assert_int_equal(wa_get16(tuple + 4), 0);
	assert_int_equal(wa_get16(tuple + 6), 8 | TUPLE_AM_BIT);
}

static void half_dead(void **state)
{
	(void)state;
	static const uint32_t main[] = {2, 40, 30, 50, 0x12345678};
	struct index_case *c = case_new(15, &btree, HALFDEAD, wa_redo_btree_halfdead);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 40, true, NULL, 0);
	case_ref(c, 1, 3, false, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_half_dead(c, 30, 50, 0x12345678);
	case_free(c);
}

/* The parent: item 2 keeps its key and takes over the downlink of item 3, which goes. */
static void parent(void **state)
{
	(void)state;
	uint32_t main[] = {2, 40, 30, 50, 0xFFFFFFFF};
	for (uint32_t off = 0; off <= 5; off++) {
		main[0] = off;
		struct index_case *c = case_new(15, &btree, HALFDEAD, wa_redo_btree_halfdead);
		case_main(c, main, sizeof(main));
		case_ref(c, 0, 40, true, NULL, 0);
		case_ref(c, 1, 3, false, NULL, 0);
		for (unsigned i = 1; i <= 4; i++) {
			uint8_t *tuple;
			unsigned len;
			add_tuple(c, i, 10 * i);
			assert_int_equal(wa_page_tuple(c->page, i, 8, &tuple, &len), 0);
			tuple_set_block(tuple, 0x10000 + i);
		}
		if (off == 0 || off >= 4) {
			case_refuse(c, 1);
		} else {
			uint8_t *tuple;
			unsigned len;
			case_mutate(c, 1);
			case_redo(c, 1);
			assert_int_equal(wa_page_item_count(c->page), 3);
			assert_int_equal(wa_page_tuple(c->page, off, 16, &tuple, &len), 0);
			assert_int_equal(tuple_block(tuple), 0x10000 + off + 1);
			assert_int_equal(wa_get64(tuple + 8), 10 * off);
		}
		case_free(c);
	}
}

static struct index_case *unlink_record(int major, uint8_t info, uint32_t level)
{
	struct index_case *c = case_new(major, &btree, info, wa_redo_btree_unlink);
	uint8_t main[36];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u32(&w, 30); /* left */
	nf_write_u32(&w, 50); /* right */
	if (major > 13) {
		nf_write_u32(&w, level);
		nf_write_u32(&w, 0);
		nf_write_u64(&w, 0x500000007ull);
	}
	nf_write_u32(&w, 60); /* of the leaf: left, right, top parent */
	nf_write_u32(&w, 61);
	nf_write_u32(&w, 62);
	if (major == 13)
		nf_write_u32(&w, 7);
	assert_false(w.failed);
	case_main(c, main, w.offset);
	case_ref(c, 0, 40, true, NULL, 0);
	case_ref(c, 1, 30, false, NULL, 0);
	case_ref(c, 2, 50, false, NULL, 0);
	case_ref(c, 3, 41, true, NULL, 0);
	return c;
}

static void target(int major, uint32_t level)
{
	struct index_case *c = unlink_record(major, UNLINK, level);
	add_tuple(c, 1, 10);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(case_special32(c, 0), 30);
	assert_int_equal(case_special32(c, 4), 50);
	if (major == 13) {
		assert_int_equal(case_special32(c, 8), 7);
		assert_int_equal(case_flags(c), DELETED);
		assert_int_equal(wa_page_lower(c->page), WA_PAGE_HEADER);
	} else {
		assert_int_equal(case_special32(c, 8), level);
		assert_int_equal(case_flags(c), DELETED | FULLXID | (level == 0 ? LEAF : 0));
		assert_int_equal(wa_page_lower(c->page), WA_PAGE_HEADER + 8);
		assert_int_equal(wa_get64(c->page + WA_PAGE_HEADER), 0x500000007ull);
	}
	case_free(c);
}

static void neighbours(int major)
{
	struct index_case *c = unlink_record(major, UNLINK, 1);
	case_set_special32(c, 0, 1);
	case_set_special32(c, 4, 2);
	case_mutate(c, 1);
	case_mutate(c, 2);
	case_mutate(c, 3);
	case_redo(c, 1);
	assert_int_equal(case_special32(c, 0), 1);
	assert_int_equal(case_special32(c, 4), 50);
	case_redo(c, 2);
	assert_int_equal(case_special32(c, 0), 30);
	assert_int_equal(case_special32(c, 4), 50);
	case_redo(c, 3);
	expect_half_dead(c, 60, 61, 62);
	case_free(c);
}

static void unlinks(void **state)
{
	(void)state;
	for (int major = WA_MAJOR_MIN; major <= WA_MAJOR_MAX; major++) {
		target(major, 0);
		target(major, 2);
		neighbours(major);
	}
}

static void masks(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &btree, UNLINK, wa_redo_btree_unlink);
	add_tuple(c, 1, 10);
	struct wa_item item;
	assert_int_equal(wa_page_item(c->page, 1, &item), 0);
	uint8_t clean[WA_PAGE_SIZE];
	case_set_flags(c, LEAF);
	memcpy(clean, c->page, sizeof(clean));
	assert_int_equal(case_mask(c, clean), 0);

	/* What hints may change. */
	case_set_flags(c, LEAF | GARBAGE | SPLIT_END);
	wa_put16(c->page + WA_PAGE_SIZE - 2, 33);
	item.flags = WA_LP_DEAD;
	assert_int_equal(wa_page_set_item(c->page, 1, item), 0);
	wa_page_set_lsn(c->page, (struct nf_lsn){12345});
	c->page[100] = 7; /* between the line pointers and the tuples */
	assert_int_equal(case_mask(c, c->page), 0);
	assert_memory_equal(c->page, clean, sizeof(clean));

	/* What is not masked. */
	c->page[WA_PAGE_SIZE - INDEX_SPECIAL - 1] ^= 1;
	assert_memory_not_equal(c->page, clean, sizeof(clean));
	wa_put16(c->page + 14, 9000);
	assert_int_equal(case_mask(c, c->page), -EBADMSG);
	case_free(c);
}

/* In 13 a deleted page keeps its tuples on the primary. */
static void masks_deleted_of_13(void **state)
{
	(void)state;
	for (int major = 13; major <= 14; major++) {
		struct index_case *c = case_new(major, &btree, UNLINK, wa_redo_btree_unlink);
		uint8_t other[WA_PAGE_SIZE];
		case_set_flags(c, DELETED);
		memcpy(other, c->page, sizeof(other));
		add_tuple(c, 1, 10);
		assert_int_equal(case_mask(c, c->page), 0);
		assert_int_equal(case_mask(c, other), 0);
		assert_int_equal(memcmp(c->page, other, sizeof(other)) == 0, major == 13);
		case_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_dead),
		cmocka_unit_test(parent),
		cmocka_unit_test(unlinks),
		cmocka_unit_test(masks),
		cmocka_unit_test(masks_deleted_of_13),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
