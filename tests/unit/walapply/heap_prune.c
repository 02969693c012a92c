/* Pruning, vacuum and freezing in the forms of 13, 14 to 16, and 17+. */
#include "heap_case.h"

#include "common/nf_cursor.h"

enum { CLEAN_13 = 0x10, PRUNE = 0x10, VACUUM = 0x20, FREEZE_13 = 0x20, FREEZE = 0x30, SCAN_17 = 0x20, CLEANUP_17 = 0x30 };
enum { LOCK = 4, HORIZON = 8, PLANS = 16, REDIRECTED = 32, DEAD = 64, UNUSED = 128 };

/* A record whose main data and block data are lists of u16. */
static struct index_case *with_lists(int major, uint8_t info, wa_redo_fn redo, size_t main_count, const uint16_t *main,
				     size_t count, const uint16_t *data)
{
	struct index_case *c = heap_case(major, &heap2_family, info, redo);
	case_main(c, main, 2 * main_count);
	case_ref(c, 0, CASE_BLOCK, false, data, 2 * count);
	return c;
}

/* Items "a" to "f". */
static void put_six(struct index_case *c)
{
	static const char *const texts[] = {"a", "b", "c", "d", "e", "f"};
	for (unsigned i = 0; i < 6; i++)
		heap_case_tuple(c, 0, texts[i]);
}

static void expect_line(struct index_case *c, unsigned off, unsigned flags, unsigned offset)
{
	struct wa_item item;
	assert_int_equal(wa_page_item(c->page, off, &item), 0);
	assert_int_equal(item.flags, flags);
	assert_int_equal(item.offset, offset);
	assert_int_equal(item.len, 0);
}

/* 1 leads to 2, 3 is dead, 5 and 6 are unused: "b" and "d" stay. */
static void expect_pruned(struct index_case *c, int major)
{
	expect_line(c, 1, WA_LP_REDIRECT, 2);
	heap_case_expect(c, 2, "b");
	expect_line(c, 3, WA_LP_DEAD, 0);
	heap_case_expect(c, 4, "d");
	assert_int_equal(wa_page_upper(c->page), WA_PAGE_SIZE - 2 * 32);
	assert_int_equal(wa_page_item_count(c->page), major >= 15 ? 4 : 6);
	if (major < 15) {
		expect_line(c, 5, WA_LP_UNUSED, 0);
		expect_line(c, 6, WA_LP_UNUSED, 0);
	}
}

static void old_forms(void **state)
{
	(void)state;
	static const uint16_t main[] = {0, 0, 1, 1}, data[] = {1, 2, 3, 5, 6};
	for (int major = 13; major <= 16; major++) {
		struct index_case *c =
			with_lists(major, major == 13 ? CLEAN_13 : PRUNE, wa_redo_heap2_prune_old, 4, main, 5, data);
		put_six(c);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_pruned(c, major);
		case_free(c);
	}
}

static void old_form_refused(void **state)
{
	(void)state;
	static const uint16_t main[] = {0, 0, 1, 1}, zero[] = {1, 2, 3, 0}, beyond[] = {1, 2, 7}, odd[] = {1, 2, 3, 4};
	struct index_case *c = with_lists(15, PRUNE, wa_redo_heap2_prune_old, 4, main, 4, zero);
	put_six(c);
	case_refuse(c, 0);
	case_free(c);
	c = with_lists(15, PRUNE, wa_redo_heap2_prune_old, 4, main, 3, beyond);
	put_six(c);
	case_refuse(c, 0);
	case_free(c);
	c = with_lists(15, PRUNE, wa_redo_heap2_prune_old, 4, main, 4, odd);
	put_six(c);
	c->record.refs[0].data_len = 7;
	case_refuse(c, 0);
	c->record.refs[0].data_len = 4; /* the dead one is missing */
	case_refuse(c, 0);
	case_free(c);
}

/* Dead line pointers become unused; those at the end go. Tuples do not move. */
static void vacuum(void **state)
{
	(void)state;
	static const uint16_t main[] = {3}, data[] = {1, 5, 6};
	struct index_case *c = with_lists(15, VACUUM, wa_redo_heap2_vacuum, 1, main, 3, data);
	put_six(c);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(wa_page_set_item(c->page, data[i], (struct wa_item){.flags = WA_LP_DEAD}), 0);
	unsigned upper = wa_page_upper(c->page);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_line(c, 1, WA_LP_UNUSED, 0);
	heap_case_expect(c, 4, "d");
	assert_int_equal(wa_page_item_count(c->page), 4);
	assert_int_equal(wa_page_upper(c->page), upper);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_HAS_FREE_LINES, WA_PD_HAS_FREE_LINES);
	c->record.refs[0].data_len -= 2;
	case_refuse(c, 0);
	case_free(c);
}

static void put_plan(struct nf_writer *w, uint32_t xmax, uint16_t infomask, uint8_t flags, uint16_t tuples)
{
	nf_write_u32(w, xmax);
	nf_write_u16(w, 2);
	nf_write_u16(w, infomask);
	nf_write_u8(w, flags);
	nf_write_u8(w, 0);
	nf_write_u16(w, tuples);
}

static void put_list(struct nf_writer *w, unsigned count, const uint16_t *list)
{
	for (unsigned i = 0; i < count; i++)
		nf_write_u16(w, list[i]);
}

static void expect_frozen(struct index_case *c, unsigned off, uint32_t xmax, unsigned infomask, uint32_t cid)
{
	const uint8_t *tuple = heap_case_find(c, off, NULL);
	assert_int_equal(wa_get32(tuple + HEAP_XMAX), xmax);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK), infomask);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK2), 2);
	assert_int_equal(wa_get32(tuple + HEAP_CID), cid);
	assert_int_equal(wa_get32(tuple + HEAP_XMIN), 900);
}

/* 17+: everything in one record; 2 and 4 are frozen, each in its way. */
static void new_form(void **state)
{
	(void)state;
	static const uint8_t main[] = {0, LOCK | HORIZON | PLANS | REDIRECTED | DEAD | UNUSED, 1, 2, 3, 4};
	uint8_t data[200];
	struct nf_writer w = nf_writer_init(data, sizeof(data));
	nf_write_u32(&w, 2); /* the count, and padding */
	put_plan(&w, 0, 0x0B00, 0, 1);
	put_plan(&w, 66, 0x0300, 2, 1);
	put_list(&w, 3, (uint16_t[]){1, 1, 2});
	put_list(&w, 2, (uint16_t[]){1, 3});
	put_list(&w, 3, (uint16_t[]){2, 5, 6});
	put_list(&w, 2, (uint16_t[]){4, 2});
	struct index_case *c = heap_case(17, &heap2_family, SCAN_17, wa_redo_heap2_prune);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, CASE_BLOCK, false, data, w.offset);
	put_six(c);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_pruned(c, 17);
	expect_frozen(c, 4, 0, 0x0B00, 0);
	expect_frozen(c, 2, 66, 0x0300, 2);
	c->record.refs[0].data_len -= 2;
	case_refuse(c, 0);
	case_free(c);

	c = heap_case(17, &heap2_family, SCAN_17, wa_redo_heap2_prune);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, CASE_BLOCK, false, data, w.offset + 2); /* something after the last offset number */
	put_six(c);
	case_refuse(c, 0);
	case_free(c);
}

/* Without the flag for moving, line pointers alone are cut off. */
static void new_vacuum(void **state)
{
	(void)state;
	static const uint8_t main[] = {2, UNUSED};
	static const uint16_t data[] = {2, 1, 6};
	struct index_case *c = heap_case(18, &heap2_family, CLEANUP_17, wa_redo_heap2_prune);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, CASE_BLOCK, false, data, sizeof(data));
	put_six(c);
	assert_int_equal(wa_page_set_item(c->page, 1, (struct wa_item){.flags = WA_LP_DEAD}), 0);
	assert_int_equal(wa_page_set_item(c->page, 6, (struct wa_item){.flags = WA_LP_DEAD}), 0);
	unsigned upper = wa_page_upper(c->page);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_line(c, 1, WA_LP_UNUSED, 0);
	assert_int_equal(wa_page_item_count(c->page), 5);
	assert_int_equal(wa_page_upper(c->page), upper);
	case_free(c);
}

/* 13 to 15: each tuple by itself. 16: plans. Items 2 and 3 are frozen, with xvac none and frozen. */
static void freeze(void **state)
{
	(void)state;
	static const uint16_t main[] = {0, 0, 2, 0};
	for (int major = 13; major <= 16; major++) {
		uint8_t data[100] = {0};
		struct nf_writer w = nf_writer_init(data, sizeof(data));
		for (unsigned i = 0; i < 2 && major < 16; i++) {
			nf_write_u32(&w, 70 + i);
			put_list(&w, 3, (uint16_t[]){(uint16_t)(2 + i), 2, 0x0B00});
			nf_write_u16(&w, i == 0 ? 4 : 2);
		}
		if (major == 16) {
			put_plan(&w, 70, 0x0B00, 4, 1);
			put_plan(&w, 71, 0x0B00, 2, 1);
			put_list(&w, 2, (uint16_t[]){2, 3});
		}
		struct index_case *c = heap_case(major, &heap2_family, major == 13 ? FREEZE_13 : FREEZE, wa_redo_heap2_freeze);
		case_main(c, main, major == 16 ? 7 : 6);
		case_ref(c, 0, CASE_BLOCK, false, data, w.offset);
		put_six(c);
		wa_put32(heap_case_find(c, 2, NULL) + HEAP_CID, 9);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_frozen(c, 2, 70, 0x0B00, 0);
		expect_frozen(c, 3, 71, 0x0B00, 2);
		c->record.refs[0].data_len--;
		case_refuse(c, 0);
		case_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_forms), cmocka_unit_test(old_form_refused), cmocka_unit_test(vacuum),
		cmocka_unit_test(new_form),  cmocka_unit_test(new_vacuum),       cmocka_unit_test(freeze),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
