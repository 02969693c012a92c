/* Heap updates: on one page with what both tuples share, over two pages, and the pages of the visibility map. */
#include "heap_case.h"

#include <stdlib.h>
#include <string.h>

enum { UPDATE = 0x20, HOT = 0x40, INIT = 0x80 };
enum { OLD_CLEARED = 1, NEW_CLEARED = 2, PREFIX = 32, SUFFIX = 64 };
enum { LOCK_ONLY = 2, KEYSHR = 8 };
enum { NEW_BLOCK = CASE_BLOCK, OLD_BLOCK = 40000 }; /* 40000 is on the map's second page */

/* An update of item 1 that becomes item `off`; the record has `text`, and prefix and suffix where the flags say so. */
static struct index_case *update(uint8_t info, unsigned flags, unsigned off, unsigned prefix, unsigned suffix, const char *text)
{
	uint8_t main[14], data[200];
	unsigned at = 0;
	struct index_case *c = heap_case(15, &heap_family, info, wa_redo_heap_update);
	wa_put32(main, CASE_XID);
	wa_put16(main + 4, 1);
	main[6] = KEYSHR;
	main[7] = (uint8_t)flags;
	wa_put32(main + 8, 555);
	wa_put16(main + 12, (uint16_t)off);
	case_main(c, main, sizeof(main));
	if (flags & PREFIX) {
		wa_put16(data, (uint16_t)prefix);
		at += 2;
	}
	if (flags & SUFFIX) {
		wa_put16(data + at, (uint16_t)suffix);
		at += 2;
	}
	at += heap_case_header(data + at, 0x8002, 0x2020);
	memcpy(data + at, text, strlen(text));
	case_ref(c, 0, NEW_BLOCK, info & INIT, data, at + strlen(text));
	return c;
}

static void expect_old(struct index_case *c, unsigned infomask2, unsigned new_off)
{
	const uint8_t *tuple = heap_case_find(c, 1, NULL);
	heap_case_expect_ctid(c, 1, NEW_BLOCK, new_off);
	assert_int_equal(wa_get32(tuple + HEAP_XMAX), CASE_XID);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK), 0x0110);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK2), infomask2);
	assert_int_equal(wa_get32(c->page + 20), CASE_XID);
}

static void expect_new(struct index_case *c, unsigned off, const char *text)
{
	heap_case_expect(c, off, text);
	heap_case_expect_ctid(c, off, NEW_BLOCK, off);
	const uint8_t *tuple = heap_case_find(c, off, NULL);
	assert_int_equal(wa_get32(tuple + HEAP_XMIN), CASE_XID);
	assert_int_equal(wa_get32(tuple + HEAP_XMAX), 555);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK), 0x2000);
	assert_int_equal(wa_get16(tuple + HEAP_INFOMASK2), 0x8002);
}

/* A first tuple with marks of an earlier lock, and a page that is all-visible. */
static void put_old(struct index_case *c)
{
	heap_case_tuple(c, 0x01C0 | 0x0800, "abcdefgh");
	heap_set_all_visible(c->page, true);
}

static void shared(void **state)
{
	(void)state;
	static const struct {
		unsigned flags, prefix, suffix;
		const char *text, *expected;
	} cases[] = {
		{0, 0, 0, "whole", "whole"},
		{PREFIX, 3, 0, "XY", "abcXY"},
		{SUFFIX, 0, 2, "XY", "XYgh"},
		{PREFIX | SUFFIX, 4, 4, "", "abcdefgh"},
		{PREFIX | SUFFIX, 8, 8, "-", "abcdefgh-abcdefgh"},
		{PREFIX, 0, 0, "none", "none"},
	};
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct index_case *c =
			update(HOT, cases[i].flags | OLD_CLEARED, 2, cases[i].prefix, cases[i].suffix, cases[i].text);
		put_old(c);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_old(c, 0x4002, 2);
		expect_new(c, 2, cases[i].expected);
		assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, 0);
		case_free(c);
	}
}

static void not_to_share(void **state)
{
	(void)state;
	static const struct {
		unsigned flags, prefix, suffix;
	} cases[] = {{PREFIX, 9, 0}, {SUFFIX, 0, 9}, {PREFIX, 0xFFFF, 0}, {PREFIX | SUFFIX, 0xFFFF, 0xFFFF}};
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct index_case *c = update(HOT, cases[i].flags, 2, cases[i].prefix, cases[i].suffix, "");
		put_old(c);
		case_refuse(c, 0);
		case_free(c);
	}
	struct index_case *c = update(UPDATE, PREFIX, 1, 3, 0, ""); /* the old tuple is not on this page */
	case_ref(c, 1, OLD_BLOCK, false, NULL, 0);
	case_refuse(c, 0);
	case_free(c);
	c = update(HOT, PREFIX, 2, 3, 0, "");
	put_old(c);
	((uint8_t *)c->record.refs[0].data)[6] = 22; /* the data starts within the header */
	case_refuse(c, 0);
	((uint8_t *)c->record.refs[0].data)[6] = 26; /* or after all bytes of the record */
	case_refuse(c, 0);
	case_free(c);
}

static void two_pages(void **state)
{
	(void)state;
	struct index_case *c = update(UPDATE | INIT, OLD_CLEARED, 1, 0, 0, "moved");
	case_ref(c, 1, OLD_BLOCK, false, NULL, 0);
	put_old(c);
	case_mutate(c, 1);
	case_redo(c, 1);
	expect_old(c, 2, 1);
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, 0);
	case_redo(c, 0); /* made anew, whatever was on it */
	assert_int_equal(wa_page_item_count(c->page), 1);
	expect_new(c, 1, "moved");
	case_free(c);

	c = update(UPDATE, NEW_CLEARED, 2, 0, 0, "moved");
	case_ref(c, 1, OLD_BLOCK, false, NULL, 0);
	put_old(c);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_get32(heap_case_find(c, 1, NULL) + HEAP_XMAX), 0);
	expect_new(c, 2, "moved");
	assert_int_equal(wa_page_flags(c->page) & WA_PD_ALL_VISIBLE, 0);
	c->record.main_len--;
	case_refuse(c, 1);
	c->record.main_len++;
	free((void *)c->record.refs[0].data);
	c->record.refs[0] = c->record.refs[1]; /* the new tuple's page is not named */
	c->record.ref_count = 1;
	case_refuse(c, 1);
	case_free(c);
}

/* Which bits go from a map page of block 2 or 3. */
static void map(unsigned flags, unsigned id, uint32_t page, uint32_t old_block, bool new_cleared, bool old_cleared)
{
	struct index_case *c = update(UPDATE, flags, 2, 0, 0, "x");
	case_ref(c, 1, old_block, false, NULL, 0);
	heap_case_map_ref(c, id, page);
	heap_case_map_page(c, 0, VM_BITS);
	assert_int_equal(case_run(c, id), WA_REDONE);
	assert_int_equal(wa_page_lsn(c->page).v, new_cleared || old_cleared ? CASE_END : 0);
	assert_int_equal(vm_clear(c->page, old_block, VM_BITS), !old_cleared);
	if (new_cleared)
		assert_false(vm_clear(c->page, NEW_BLOCK, VM_BITS));
	/* Nothing else has gone. */
	unsigned cleared = 0;
	for (uint32_t i = 0; i < VM_BLOCKS_PER_PAGE; i++)
		cleared += !vm_clear(c->page, i, VM_BITS);
	assert_int_equal(cleared, 1u + (new_cleared && NEW_BLOCK != old_block));
	case_free(c);
}

static void maps(void **state)
{
	(void)state;
	map(NEW_CLEARED, 2, 0, OLD_BLOCK, true, false);
	map(NEW_CLEARED | OLD_CLEARED, 2, 0, OLD_BLOCK, true, false);
	map(NEW_CLEARED | OLD_CLEARED, 2, 0, 9, true, true); /* both on one page */
	map(NEW_CLEARED | OLD_CLEARED, 3, 1, OLD_BLOCK, false, true);
	map(OLD_CLEARED, 3, 0, 9, false, true);
	map(0, 2, 0, 9, false, false);

	struct index_case *c = update(UPDATE, NEW_CLEARED, 2, 0, 0, "x");
	heap_case_map_ref(c, 2, 1); /* not the one */
	heap_case_map_ref(c, 3, 1);
	heap_case_map_ref(c, 4, 0);
	heap_case_map_page(c, 0, VM_BITS);
	case_refuse(c, 2);
	case_refuse(c, 3);
	case_refuse(c, 4);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared),
		cmocka_unit_test(not_to_share),
		cmocka_unit_test(two_pages),
		cmocka_unit_test(maps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
