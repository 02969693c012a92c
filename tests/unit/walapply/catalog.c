/* Rows of catalogue pages: which are visible, what is in them, and bytes that are none. And the map of file numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"
#include "walapply/catalog/wa_catalog.h"

#define ROW_SIZE 96u
#define HOFF 32u
#define TUPLE_SIZE (HOFF + ROW_SIZE)
#define PAGE_HEADER 24u

/* Transactions as the tests have them. */
enum { COMMITTED_XID = 700, ABORTED_XID = 701, RUNNING_XID = 702, FORGOTTEN_XID = 703, FAILING_XID = 704 };

enum {
	EXCL_LOCK = 0x40,
	LOCK_ONLY = 0x80,
	MIN_COMMITTED = 0x100,
	MIN_INVALID = 0x200,
	MAX_COMMITTED = 0x400,
	MAX_INVALID = 0x800,
	MULTI = 0x1000
};

struct page {
	uint8_t bytes[WA_PAGE_SIZE];
	unsigned count;
};

struct seen {
	char text[512]; /* a word a row; "?" in front of one in doubt */
	struct wa_catalog_row last;
	int stop;
};

static void put(uint8_t *at, size_t size, uint64_t value)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* Returns where the tuple is. */
static uint8_t *add_row(struct page *page, const char *name, uint32_t xmin, uint32_t xmax, uint16_t infomask)
{
	unsigned at = WA_PAGE_SIZE - (page->count + 1) * TUPLE_SIZE;
	uint8_t *tuple = page->bytes + at, *row = tuple + HOFF;
	put(page->bytes + PAGE_HEADER + 4 * page->count++, 4, at | 1u << 15 | TUPLE_SIZE << 17);
	put(page->bytes + 12, 2, PAGE_HEADER + 4 * page->count);
	put(page->bytes + 14, 2, at);
	put(page->bytes + 16, 2, WA_PAGE_SIZE);
	put(tuple, 4, xmin);
	put(tuple + 4, 4, xmax);
	put(tuple + 20, 2, infomask);
	tuple[22] = HOFF;
	put(row, 4, 16384 + page->count);
	memcpy(row + 4, name, strlen(name));
	put(row + 68, 4, 2200);
	put(row + 88, 4, 5000 + page->count);
	put(row + 92, 4, 1664);
	return tuple;
}

static int status(void *arg, uint32_t xid)
{
	(void)arg;
	switch (xid) {
	case COMMITTED_XID: return WA_CATALOG_COMMITTED;
	case ABORTED_XID: return WA_CATALOG_ABORTED;
	case RUNNING_XID: return WA_CATALOG_RUNNING;
	case FORGOTTEN_XID: return WA_CATALOG_UNKNOWN;
	default: return -EIO;
	}
}

static int note(void *arg, const struct wa_catalog_row *row)
{
	struct seen *seen = arg;
	size_t size = strlen(seen->text);
	snprintf(seen->text + size, sizeof(seen->text) - size, "%s%s ", row->is_doubtful ? "?" : "", row->name);
	seen->last = *row;
	return seen->stop;
}

static int read_page(const struct page *page, struct seen *seen)
{
	const struct wa_catalog_hooks hooks = {.arg = seen, .status = status, .row = note};
	return wa_catalog_page(WA_CATALOG_CLASS, page->bytes, &hooks);
}

static void expect(const struct page *page, const char *text)
{
	struct seen seen = {.stop = 0};
	assert_int_equal(read_page(page, &seen), 0);
	assert_string_equal(seen.text, text);
}

static void columns_are_where_they_are(void **state)
{
	struct page page = {.count = 0};
	struct seen seen = {.stop = 0};
	(void)state;
	add_row(&page, "orders", 1, 0, MAX_INVALID);
	assert_int_equal(read_page(&page, &seen), 0);
	assert_string_equal(seen.last.name, "orders");
	assert_int_equal(seen.last.oid, 16385);
	assert_int_equal(seen.last.schema, 2200);
	assert_int_equal(seen.last.filenode, 5001);
	assert_int_equal(seen.last.tablespace, 1664);
	assert_false(seen.last.is_doubtful);
}

static void the_maker_decides(void **state)
{
	struct page page = {.count = 0};
	(void)state;
	add_row(&page, "hinted", FAILING_XID, 0, MIN_COMMITTED | MAX_INVALID);
	add_row(&page, "frozen", FAILING_XID, 0, MIN_COMMITTED | MIN_INVALID | MAX_INVALID);
	add_row(&page, "bootstrap", 1, 0, MAX_INVALID);
	add_row(&page, "committed", COMMITTED_XID, 0, MAX_INVALID);
	add_row(&page, "aborted", ABORTED_XID, 0, MAX_INVALID);
	add_row(&page, "dead", FAILING_XID, 0, MIN_INVALID | MAX_INVALID);
	add_row(&page, "running", RUNNING_XID, 0, MAX_INVALID);
	add_row(&page, "forgotten", FORGOTTEN_XID, 0, MAX_INVALID);
	expect(&page, "hinted frozen bootstrap committed ?forgotten ");
}

static void the_remover_decides(void **state)
{
	struct page page = {.count = 0};
	(void)state;
	add_row(&page, "none", 1, 0, 0);
	add_row(&page, "removed", 1, COMMITTED_XID, 0);
	add_row(&page, "hinted", 1, FAILING_XID, MAX_COMMITTED);
	add_row(&page, "undone", 1, ABORTED_XID, 0);
	add_row(&page, "running", 1, RUNNING_XID, 0);
	add_row(&page, "locked", 1, FAILING_XID, LOCK_ONLY);
	add_row(&page, "old-lock", 1, FAILING_XID, EXCL_LOCK);
	add_row(&page, "multi", 1, FAILING_XID, MULTI | EXCL_LOCK);
	add_row(&page, "multi-lock", 1, FAILING_XID, MULTI | LOCK_ONLY);
	add_row(&page, "forgotten", 1, FORGOTTEN_XID, 0);
	add_row(&page, "moved", 1, 0, 0x4000);
	add_row(&page, "neither", FORGOTTEN_XID, COMMITTED_XID, 0);
	expect(&page, "none undone running locked old-lock ?multi multi-lock ?forgotten ?moved ");
}

static void hooks_end_it(void **state)
{
	struct page page = {.count = 0};
	struct seen seen = {.stop = -EINTR};
	(void)state;
	add_row(&page, "one", 1, 0, 0);
	add_row(&page, "two", FAILING_XID, 0, 0);
	assert_int_equal(read_page(&page, &seen), -EINTR);
	assert_string_equal(seen.text, "one ");
	seen = (struct seen){.stop = 0};
	assert_int_equal(read_page(&page, &seen), -EIO);
}

static void empty_pages_have_no_rows(void **state)
{
	struct page page = {.count = 0};
	(void)state;
	expect(&page, "");
	put(page.bytes + 12, 2, PAGE_HEADER);
	put(page.bytes + 14, 2, WA_PAGE_SIZE);
	expect(&page, "");
}

static void unused_pointers_are_passed_over(void **state)
{
	struct page page = {.count = 0};
	(void)state;
	add_row(&page, "gone", 1, 0, 0);
	add_row(&page, "there", 1, 0, 0);
	put(page.bytes + PAGE_HEADER, 4, 0);
	expect(&page, "there ");
	put(page.bytes + PAGE_HEADER, 4, 2u << 15 | 2); /* a redirection */
	expect(&page, "there ");
}

/* Whatever single thing is wrong, nothing is read outside of the page (the sanitizer looks on), and it is said. */
static void damage_is_said(void **state)
{
	static const struct {
		unsigned at, size;
		uint32_t value;
	} damages[] = {
		{12, 2, 20},
		{12, 2, PAGE_HEADER + 2},
		{12, 2, WA_PAGE_SIZE},
		{14, 2, 0xFFFF},
		{14, 2, PAGE_HEADER},
		{14, 2, 0},
		{PAGE_HEADER, 4, 8000u | 1u << 15 | 200u << 17}, /* leads outside */
		{PAGE_HEADER, 4, 30u | 1u << 15 | 100u << 17}, /* leads into the pointers */
		{PAGE_HEADER, 4, 8100u | 1u << 15 | 10u << 17}, /* no header in it */
		{WA_PAGE_SIZE - TUPLE_SIZE + 22, 1, 10},
		{WA_PAGE_SIZE - TUPLE_SIZE + 22, 1, 255}, /* t_hoff */
		{WA_PAGE_SIZE - TUPLE_SIZE + 22, 1, 80}, /* not all columns are there */
		{WA_PAGE_SIZE - ROW_SIZE, 4, 0}, /* oid */
		{WA_PAGE_SIZE - ROW_SIZE + 4, 1, 0}, /* an empty name */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
		struct page *page = calloc(1, sizeof(*page));
		struct seen seen = {.stop = 0};
		add_row(page, "victim", 1, 0, 0);
		put(page->bytes + damages[i].at, damages[i].size, damages[i].value);
		assert_int_equal(read_page(page, &seen), -EBADMSG);
		assert_string_equal(seen.text, "");
		free(page);
	}
	struct page page = {.count = 0};
	struct seen seen = {.stop = 0};
	uint8_t *tuple = add_row(&page, "", 1, 0, 0);
	memset(tuple + HOFF + 4, 'x', WA_CATALOG_NAME); /* a name without an end */
	assert_int_equal(read_page(&page, &seen), -EBADMSG);
}

/* ------------------------------------------------------------------ map */

static void make_map(uint8_t *bytes, uint32_t room)
{
	memset(bytes, 0, 8 + room * 8 + 8);
	put(bytes, 4, 0x592717);
	put(bytes + 4, 4, 2);
	put(bytes + 8, 4, WA_OID_CLASS);
	put(bytes + 12, 4, 16700);
	put(bytes + 16, 4, 1249);
	put(bytes + 20, 4, 16701);
	put(bytes + 8 + room * 8, 4, nf_crc32c(bytes, 8 + room * 8));
}

static void a_map_is_read_both_ways(void **state)
{
	static const struct {
		uint32_t room;
		size_t size;
	} forms[] = {{62, 512}, {64, 524}};
	uint8_t bytes[528];
	uint32_t found = 0;
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		make_map(bytes, forms[i].room);
		assert_int_equal(wa_catalog_map(bytes, forms[i].size, WA_OID_CLASS, &found), 1);
		assert_int_equal(found, 16700);
		assert_int_equal(wa_catalog_map_oid(bytes, forms[i].size, 16701, &found), 1);
		assert_int_equal(found, 1249);
		assert_int_equal(wa_catalog_map(bytes, forms[i].size, 16700, &found), 0);
		assert_int_equal(wa_catalog_map_oid(bytes, forms[i].size, 0, &found), 0);
		for (size_t at = 0; at < 8 + forms[i].room * 8 + 4; at++) {
			bytes[at] ^= 0x10;
			assert_int_equal(wa_catalog_map(bytes, forms[i].size, WA_OID_CLASS, &found), -EBADMSG);
			bytes[at] ^= 0x10;
		}
		for (size_t size = 0; size < forms[i].size; size++)
			assert_int_equal(wa_catalog_map(bytes, size, WA_OID_CLASS, &found), -EBADMSG);
	}
	make_map(bytes, 62);
	put(bytes + 4, 4, 63);
	put(bytes + 504, 4, nf_crc32c(bytes, 504));
	assert_int_equal(wa_catalog_map(bytes, 512, WA_OID_CLASS, &found), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_where_they_are),
		cmocka_unit_test(the_maker_decides),
		cmocka_unit_test(the_remover_decides),
		cmocka_unit_test(hooks_end_it),
		cmocka_unit_test(empty_pages_have_no_rows),
		cmocka_unit_test(unused_pointers_are_passed_over),
		cmocka_unit_test(damage_is_said),
		cmocka_unit_test(a_map_is_read_both_ways),
	};
	return cmocka_run_group_tests_name("walapply_catalog", tests, NULL, NULL);
}
