/* GiST: updates, deletions, splits with the NSN of the pages and of the child, deleted pages, masking. */
#include "index_case.h"

#include "common/nf_cursor.h"

enum { UPDATE = 0x00, DELETE = 0x10, SPLIT = 0x30, PAGE_DELETE = 0x60 };
enum { LEAF = 1, DELETED = 2, TUPLES_DELETED = 4, FOLLOW_RIGHT = 8, GARBAGE = 16 };
enum { NONE = 0xFFFFFFFF };

static const struct case_family gist = {WA_RMGR_GIST, INDEX_SPECIAL, wa_mask_gist};

static uint64_t nsn(const struct index_case *c)
{
	return (uint64_t)case_special32(c, 0) << 32 | case_special32(c, 4);
}

/* Of a leaf of which tuples were deleted: not all majors mark it. */
static unsigned leaf_flags(int major)
{
	return major == 15 || major == 17 ? LEAF : LEAF | TUPLES_DELETED;
}

static void fill(struct index_case *c, unsigned flags)
{
	for (unsigned i = 1; i <= 4; i++)
		add_tuple(c, i, 10 * i);
	case_set_special32(c, 4, 77);
	case_set_flags(c, flags);
}

/* The items numbered in `deletes` go, `inserts` tuples 8, 9, ... come. */
static struct index_case *update(int major, unsigned deletes, const uint16_t *offs, unsigned inserts)
{
	struct index_case *c = case_new(major, &gist, UPDATE, wa_redo_gist_update);
	uint8_t data[128];
	unsigned size = 2 * deletes;
	case_main(c, (uint16_t[]){(uint16_t)deletes, (uint16_t)inserts}, 4);
	memcpy(data, offs, size);
	for (unsigned i = 0; i < inserts; i++, size += CASE_TUPLE)
		make_tuple(data + size, 8 + i, 80 + i);
	case_ref(c, 0, 7, false, data, size);
	case_ref(c, 1, 8, false, NULL, 0);
	return c;
}

static void inserts(void **state)
{
	(void)state;
	struct index_case *c = update(15, 0, (uint16_t[]){0}, 2);
	fill(c, LEAF | GARBAGE);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 6);
	expect_tuple(c, 4, 4, 40);
	expect_tuple(c, 5, 8, 80);
	expect_tuple(c, 6, 9, 81);
	assert_int_equal(case_flags(c), LEAF | GARBAGE);
	assert_int_equal(nsn(c), 77);
	case_free(c);
}

/* One for one: the new tuple takes the item's number, and its place. */
static void replaces(void **state)
{
	(void)state;
	struct index_case *c = update(15, 1, (uint16_t[]){2}, 1);
	fill(c, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 4);
	expect_tuple(c, 1, 1, 10);
	expect_tuple(c, 2, 8, 80);
	expect_tuple(c, 3, 3, 30);
	case_free(c);
	c = update(15, 1, (uint16_t[]){5}, 1);
	fill(c, 0);
	case_refuse(c, 0);
	case_free(c);
}

/* One for several: they are appended. */
static void replaces_by_two(void **state)
{
	(void)state;
	struct index_case *c = update(15, 1, (uint16_t[]){2}, 2);
	fill(c, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 5);
	expect_tuple(c, 2, 3, 30);
	expect_tuple(c, 4, 8, 80);
	expect_tuple(c, 5, 9, 81);
	assert_int_equal(case_flags(c), 0);
	case_free(c);
}

static void vacuum(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct index_case *c = update(major, 3, (uint16_t[]){1, 2, 4}, 0);
		fill(c, LEAF);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_page_item_count(c->page), 1);
		expect_tuple(c, 1, 3, 30);
		assert_int_equal(case_flags(c), leaf_flags(major));
		case_free(c);
	}
}

static void wrong_number(void **state)
{
	(void)state;
	struct index_case *c = update(15, 0, (uint16_t[]){0}, 2);
	wa_put16((uint8_t *)(uintptr_t)c->record.main + 2, 3); /* of the tuples */
	fill(c, LEAF);
	case_refuse(c, 0);
	case_free(c);
}

/* From 16 on there is a flag before the offset numbers. */
static void deletes(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct index_case *c = case_new(major, &gist, DELETE, wa_redo_gist_delete);
		uint8_t main[12];
		struct nf_writer w = nf_writer_init(main, sizeof(main));
		nf_write_u32(&w, 999);
		nf_write_u16(&w, 2);
		if (major >= 16)
			nf_write_u16(&w, 1);
		nf_write_u16(&w, 1);
		nf_write_u16(&w, 3);
		case_main(c, main, w.offset);
		case_ref(c, 0, 7, false, NULL, 0);
		fill(c, LEAF | GARBAGE);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_page_item_count(c->page), 2);
		expect_tuple(c, 1, 2, 20);
		expect_tuple(c, 2, 4, 40);
		assert_int_equal(case_flags(c), leaf_flags(major));
		case_free(c);
	}
}

static void expect_complete(struct index_case *c)
{
	assert_int_equal(nsn(c), CASE_END);
	assert_int_equal(case_flags(c), LEAF);
	assert_int_equal(wa_page_item_count(c->page), 4);
}

/* A split of block 20 into 20, 30 and 31. With `root` the first is the root, which gets links to the others. */
static struct index_case *split(bool root, bool leaves)
{
	struct index_case *c = case_new(15, &gist, SPLIT, wa_redo_gist_split);
	uint8_t main[24], data[4 + 2 * CASE_TUPLE];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	nf_write_u32(&w, 55);
	nf_write_u32(&w, 0xAAAAAAAA); /* padding */
	nf_write_u64(&w, 0x1000000020ull);
	nf_write_u8(&w, leaves);
	nf_write_u8(&w, 0xAA);
	nf_write_u16(&w, 3);
	nf_write_u8(&w, true);
	nf_write_bytes(&w, "\xAA\xAA\xAA", 3);
	case_main(c, main, sizeof(main));
	wa_put32(data, 2);
	make_tuple(data + 4, 5, 50);
	make_tuple(data + 4 + CASE_TUPLE, 6, 60);
	case_ref(c, 0, 12, false, NULL, 0);
	case_ref(c, 1, root ? 0 : 20, true, data, sizeof(data));
	case_ref(c, 2, 30, true, data, sizeof(data));
	case_ref(c, 3, 31, true, data, sizeof(data));
	return c;
}

static void expect_split(struct index_case *c, unsigned id, uint32_t right, unsigned flags)
{
	add_tuple(c, 1, 1); /* whatever was there */
	case_mutate(c, id);
	case_redo(c, id);
	assert_int_equal(wa_page_item_count(c->page), 2);
	expect_tuple(c, 1, 5, 50);
	expect_tuple(c, 2, 6, 60);
	assert_int_equal(nsn(c), 0x1000000020ull);
	assert_int_equal(case_special32(c, 8), right);
	assert_int_equal(case_flags(c), flags);
	assert_int_equal(wa_get16(c->page + WA_PAGE_SIZE - 2), 0xFF81);
}

static void splits(void **state)
{
	(void)state;
	for (unsigned leaf = 0; leaf <= LEAF; leaf++) {
		struct index_case *c = split(false, leaf);
		expect_split(c, 1, 30, FOLLOW_RIGHT | leaf);
		expect_split(c, 2, 31, FOLLOW_RIGHT | leaf);
		expect_split(c, 3, 55, leaf);
		case_free(c);
		c = split(true, leaf);
		expect_split(c, 1, NONE, 0);
		expect_split(c, 2, 31, leaf);
		expect_split(c, 3, 55, leaf);
		case_free(c);
	}
}

static void splits_refused(void **state)
{
	(void)state;
	struct index_case *c = split(false, true);
	uint8_t *main = (uint8_t *)(uintptr_t)c->record.main, *data = (uint8_t *)(uintptr_t)c->record.refs[1].data;
	wa_put16(main + 18, 2);
	case_refuse(c, 3); /* there are two pages only */
	wa_put16(main + 18, 4);
	case_refuse(c, 3); /* the fourth is missing */
	wa_put16(main + 18, 3);
	wa_put32(data, 3);
	case_refuse(c, 1); /* three tuples, it says */
	case_free(c);
}

/* The left child that is named beside: done by redo, and on top of an image. */
static void child(void **state)
{
	(void)state;
	struct index_case *c = split(false, false);
	fill(c, LEAF | FOLLOW_RIGHT);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_complete(c);
	case_free(c);
	c = update(15, 0, (uint16_t[]){0}, 1);
	fill(c, LEAF | FOLLOW_RIGHT);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_complete(c);
	case_free(c);
}

static int run_restored(struct index_case *c, const struct wa_ref *ref)
{
	struct wa_redo redo = {.version = &c->version,
			       .record = &c->record,
			       .ref = ref,
			       .page = c->page,
			       .blkno = ref->block.blkno,
			       .restored = true,
			       .error = &c->error};
	return c->redo(&redo);
}

static void after_image(void **state)
{
	(void)state;
	struct index_case *cases[] = {split(false, false), update(15, 1, (uint16_t[]){1}, 1)};
	for (unsigned i = 0; i < 2; i++) {
		struct index_case *c = cases[i];
		fill(c, LEAF | FOLLOW_RIGHT);
		assert_int_equal(run_restored(c, wa_record_ref(&c->record, i)), 0);
		expect_complete(c);
		/* The other page is in the image as it has to be. */
		uint8_t before[WA_PAGE_SIZE];
		memcpy(before, c->page, WA_PAGE_SIZE);
		assert_int_equal(run_restored(c, wa_record_ref(&c->record, 1 - i)), 0);
		assert_memory_equal(c->page, before, WA_PAGE_SIZE);
		case_free(c);
	}
}

static void deleted_page(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &gist, PAGE_DELETE, wa_redo_gist_page_delete);
	uint8_t main[10];
	wa_put64(main, 0x500000009ull);
	wa_put16(main + 8, 3);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 7, false, NULL, 0);
	case_ref(c, 1, 3, false, NULL, 0);
	case_set_flags(c, LEAF);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(case_flags(c), LEAF | DELETED);
	assert_int_equal(wa_page_lower(c->page), 32);
	assert_int_equal(wa_get64(c->page + 24), 0x500000009ull);

	wa_page_init(c->page, INDEX_SPECIAL);
	fill(c, 0);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_tuple(c, 2, 2, 20);
	expect_tuple(c, 3, 4, 40);
	wa_page_init(c->page, INDEX_SPECIAL);
	case_refuse(c, 1);
	case_free(c);
}

static void masking(void **state)
{
	(void)state;
	struct index_case *c = update(15, 0, (uint16_t[]){0}, 0);
	uint8_t other[WA_PAGE_SIZE];
	struct wa_item item;
	fill(c, LEAF);
	memcpy(other, c->page, WA_PAGE_SIZE);
	/* All that may differ. */
	wa_page_set_lsn(c->page, (struct nf_lsn){0x123456});
	wa_put16(c->page + 8, 0xBEEF);
	wa_put32(c->page + 20, 5);
	case_set_special32(c, 0, 1);
	case_set_flags(c, LEAF | FOLLOW_RIGHT | GARBAGE | TUPLES_DELETED);
	assert_int_equal(wa_page_item(c->page, 2, &item), 0);
	item.flags = WA_LP_DEAD;
	assert_int_equal(wa_page_set_item(c->page, 2, item), 0);
	memset(c->page + 4000, 1, 9);
	assert_int_equal(case_mask(c, c->page), 0);
	assert_int_equal(case_mask(c, other), 0);
	assert_memory_equal(c->page, other, WA_PAGE_SIZE);
	/* And what may not: the line pointers of an inner page, other flags. */
	wa_page_init(c->page, INDEX_SPECIAL);
	fill(c, DELETED);
	assert_int_equal(wa_page_set_item(c->page, 2, item), 0);
	assert_int_equal(case_mask(c, c->page), 0);
	assert_int_equal(case_flags(c), DELETED | FOLLOW_RIGHT);
	assert_int_equal(wa_page_item(c->page, 2, &item), 0);
	assert_int_equal(item.flags, WA_LP_DEAD);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inserts),     cmocka_unit_test(replaces),       cmocka_unit_test(replaces_by_two),
		cmocka_unit_test(vacuum),      cmocka_unit_test(wrong_number),   cmocka_unit_test(deletes),
		cmocka_unit_test(splits),      cmocka_unit_test(splits_refused), cmocka_unit_test(child),
		cmocka_unit_test(after_image), cmocka_unit_test(deleted_page),   cmocka_unit_test(masking),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
