/* Tuples of a hash index: inserted, moved, squeezed together, deleted. */
#include "index_case.h"

#include "common/nf_cursor.h"

enum { INSERT = 0x20, MOVE = 0x70, SQUEEZE = 0x80, DELETE = 0x90, VACUUM_ONE = 0xC0 };
enum { BUCKET = 2, HAS_DEAD = 128 };
enum { TUPLES = 32, FIRST_FREE = 64 };

static const struct case_family hash = {WA_RMGR_HASH, INDEX_SPECIAL, wa_mask_hash};

static double tuple_count(struct index_case *c)
{
	double count;
	memcpy(&count, c->page + TUPLES, sizeof(count));
	return count;
}

static void insert(void **state)
{
	(void)state;
	static const uint16_t off = 2;
	uint8_t tuple[CASE_TUPLE];
	double ten = 10;
	make_tuple(tuple, 3, 30);
	struct index_case *c = case_new(15, &hash, INSERT, wa_redo_hash_insert);
	case_main(c, &off, sizeof(off));
	case_ref(c, 0, 7, false, tuple, sizeof(tuple));
	case_ref(c, 1, 0, false, NULL, 0);
	add_tuple(c, 1, 10);
	add_tuple(c, 5, 50);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_tuple(c, 1, 1, 10);
	expect_tuple(c, 2, 3, 30);
	expect_tuple(c, 3, 5, 50);

	memcpy(c->page + TUPLES, &ten, sizeof(ten)); /* now as if it were the meta page */
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_true(tuple_count(c) == 11);
	case_free(c);
}

/* Two tuples with their places: 20 becomes item 2, 5 becomes item 1. */
static size_t moved(uint8_t data[4 + 2 * CASE_TUPLE])
{
	wa_put16(data, 2);
	wa_put16(data + 2, 1);
	make_tuple(data + 4, 2, 20);
	make_tuple(data + 4 + CASE_TUPLE, 9, 5);
	return 4 + 2 * CASE_TUPLE;
}

static void expect_moved(struct index_case *c)
{
	assert_int_equal(wa_page_item_count(c->page), 4);
	expect_tuple(c, 1, 9, 5);
	expect_tuple(c, 2, 1, 10);
	expect_tuple(c, 3, 2, 20);
	expect_tuple(c, 4, 3, 30);
}

/* The primary bucket page is named to be locked: it stays as it is, its LSN too. */
static void expect_untouched(struct index_case *c, unsigned id)
{
	uint8_t before[WA_PAGE_SIZE];
	wa_page_set_lsn(c->page, (struct nf_lsn){0});
	memcpy(before, c->page, sizeof(before));
	assert_int_equal(case_run(c, id), WA_REDONE);
	assert_memory_equal(c->page, before, sizeof(before));
}

static void move(void **state)
{
	(void)state;
	uint8_t main[3] = {2, 0, 0}, data[4 + 2 * CASE_TUPLE];
	static const uint16_t gone[] = {1, 3};
	struct index_case *c = case_new(15, &hash, MOVE, wa_redo_hash_move_contents);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 6, false, NULL, 0);
	case_ref(c, 1, 7, false, data, moved(data));
	case_ref(c, 2, 8, false, gone, sizeof(gone));
	add_tuple(c, 1, 10);
	add_tuple(c, 3, 30);
	expect_untouched(c, 0);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_moved(c);
	case_mutate(c, 2);
	case_redo(c, 2);
	assert_int_equal(wa_page_item_count(c->page), 2);
	expect_tuple(c, 1, 1, 10);
	expect_tuple(c, 2, 3, 30);
	case_refuse(c, 2); /* item 3 is gone */
	case_free(c);
}

static void move_refused(void **state)
{
	(void)state;
	uint8_t data[4 + 2 * CASE_TUPLE];
	size_t size = moved(data);
	for (uint8_t count = 1; count <= 3; count++) {
		uint8_t main[3] = {count, 0, 0};
		struct index_case *c = case_new(15, &hash, MOVE, wa_redo_hash_move_contents);
		case_main(c, main, sizeof(main));
		case_ref(c, 1, 7, false, data, count == 2 ? size - 1 : size);
		add_tuple(c, 1, 10);
		add_tuple(c, 3, 30);
		case_refuse(c, 1);
		case_free(c);
	}
}

static struct index_case *squeeze(int major, uint16_t count, bool writes_prev)
{
	struct index_case *c = case_new(major, &hash, SQUEEZE, wa_redo_hash_squeeze);
	uint8_t main[12], data[4 + 2 * CASE_TUPLE];
	uint32_t bit = 11, first_free = 4;
	wa_put32(main, 80);
	wa_put32(main + 4, 81);
	wa_put16(main + 8, count);
	main[10] = 0;
	main[11] = writes_prev;
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 6, false, NULL, 0);
	case_ref(c, 1, 7, false, data, count > 0 ? moved(data) : 0);
	case_ref(c, 2, 8, false, NULL, 0);
	case_ref(c, 3, 80, false, NULL, 0);
	case_ref(c, 4, 81, false, NULL, 0);
	case_ref(c, 5, 9, false, &bit, sizeof(bit));
	case_ref(c, 6, 0, false, &first_free, sizeof(first_free));
	add_tuple(c, 1, 10);
	add_tuple(c, 3, 30);
	case_set_special32(c, 0, 1);
	case_set_special32(c, 4, 2);
	return c;
}

static void squeeze_into(void **state)
{
	(void)state;
	for (int major = WA_MAJOR_MIN; major <= WA_MAJOR_MAX; major++) {
		struct index_case *c = squeeze(major, 2, false);
		expect_untouched(c, 0);
		case_mutate(c, 1);
		case_redo(c, 1);
		expect_moved(c);
		assert_int_equal(case_special32(c, 4), 2);
		case_free(c);
		c = squeeze(major, 2, true);
		case_redo(c, 1);
		expect_moved(c);
		assert_int_equal(case_special32(c, 4), 81);
		case_free(c);
		c = squeeze(major, 0, true);
		case_redo(c, 1);
		assert_int_equal(case_special32(c, 4), 81);
		case_free(c);
		/* Nothing to do: up to 16 the page gets the LSN all the same. */
		c = squeeze(major, 0, false);
		if (major >= 17)
			expect_untouched(c, 1);
		else
			case_redo(c, 1);
		case_free(c);
	}
}

static void squeeze_others(void **state)
{
	(void)state;
	struct index_case *c = squeeze(15, 2, false);
	for (unsigned id = 2; id <= 6; id++)
		case_mutate(c, id);
	case_redo(c, 3);
	assert_int_equal(case_special32(c, 0), 1);
	assert_int_equal(case_special32(c, 4), 81);
	case_redo(c, 4);
	assert_int_equal(case_special32(c, 0), 80);
	c->page[24 + 1] = 0xFF;
	case_redo(c, 5);
	assert_int_equal(c->page[24 + 1], 0xF7);
	case_redo(c, 6);
	assert_int_equal(wa_get32(c->page + FIRST_FREE), 4);
	case_redo(c, 2);
	assert_int_equal(case_special32(c, 0), 0xFFFFFFFF);
	assert_int_equal(case_special32(c, 4), 0xFFFFFFFF);
	assert_int_equal(case_special32(c, 8), 0xFFFFFFFF);
	assert_int_equal(case_flags(c), 0);
	assert_int_equal(wa_page_item_count(c->page), 0);
	case_free(c);
}

static void delete (void **state)
{
	(void)state;
	static const uint16_t gone[] = {2};
	for (uint8_t none_dead = 0; none_dead < 2; none_dead++) {
		uint8_t main[2] = {none_dead, 1};
		struct index_case *c = case_new(15, &hash, DELETE, wa_redo_hash_delete);
		case_main(c, main, sizeof(main));
		case_ref(c, 0, 6, false, NULL, 0);
		case_ref(c, 1, 7, false, gone, sizeof(gone));
		for (unsigned i = 1; i <= 3; i++)
			add_tuple(c, i, 10 * i);
		case_set_flags(c, BUCKET | HAS_DEAD);
		expect_untouched(c, 0);
		case_mutate(c, 1);
		case_redo(c, 1);
		assert_int_equal(wa_page_item_count(c->page), 2);
		expect_tuple(c, 2, 3, 30);
		assert_int_equal(case_flags(c), none_dead ? BUCKET : BUCKET | HAS_DEAD);
		case_free(c);
	}
}

/* The offsets start at 8 in all majors; 16 has two fields where the count's upper half was. */
static void vacuum_one(void **state)
{
	(void)state;
	for (int major = WA_MAJOR_MIN; major <= WA_MAJOR_MAX; major++) {
		uint8_t main[12];
		double ten = 10;
		struct nf_writer w = nf_writer_init(main, sizeof(main));
		nf_write_u32(&w, 500);
		nf_write_u16(&w, 2);
		nf_write_u8(&w, major >= 16);
		nf_write_u8(&w, 0);
		nf_write_u16(&w, 1);
		nf_write_u16(&w, 3);
		struct index_case *c = case_new(major, &hash, VACUUM_ONE, wa_redo_hash_vacuum_one);
		case_main(c, main, sizeof(main));
		case_ref(c, 0, 7, false, NULL, 0);
		case_ref(c, 1, 0, false, NULL, 0);
		for (unsigned i = 1; i <= 3; i++)
			add_tuple(c, i, 10 * i);
		case_set_flags(c, BUCKET | HAS_DEAD);
		case_mutate(c, 0);
		case_redo(c, 0);
		assert_int_equal(wa_page_item_count(c->page), 1);
		expect_tuple(c, 1, 2, 20);
		assert_int_equal(case_flags(c), BUCKET);
		memcpy(c->page + TUPLES, &ten, sizeof(ten));
		case_mutate(c, 1);
		case_redo(c, 1);
		assert_true(tuple_count(c) == 8);
		case_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(insert),       cmocka_unit_test(move),           cmocka_unit_test(move_refused),
		cmocka_unit_test(squeeze_into), cmocka_unit_test(squeeze_others), cmocka_unit_test(delete),
		cmocka_unit_test(vacuum_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
