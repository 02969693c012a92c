/* The visibility map: VISIBLE on the map's page and on the heap page, and what records clear without naming it. */
#include "heap_case.h"

#include <errno.h>
#include <string.h>

#include "walapply/redo/wa_redo.h"

enum { VISIBLE = 0x40, SECOND_MAP_BLOCK = 32672 + 5 };

static struct index_case *visible(uint8_t flags, uint32_t heap_block)
{
	uint8_t main[5] = {1, 2, 3, 4, flags};
	struct index_case *c = heap_case(15, &heap2_family, VISIBLE, wa_redo_heap2_visible);
	case_main(c, main, sizeof(main));
	heap_case_map_ref(c, 0, heap_block / 32672);
	case_ref(c, 1, heap_block, false, NULL, 0);
	return c;
}

static void set_bits(void **state)
{
	(void)state;
	static const struct {
		unsigned before, flags, after;
		bool changed;
	} cases[] = {{0, 1, 1, true},  {0, 3, 3, true}, {1, 3, 3, true}, {3, 3, 3, false},
		     {1, 1, 1, false}, {3, 1, 3, true}, {0, 7, 3, true}, {3, 7, 3, false}};
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct index_case *c = visible((uint8_t)cases[i].flags, SECOND_MAP_BLOCK);
		heap_case_map_page(c, SECOND_MAP_BLOCK, cases[i].before);
		assert_int_equal(case_run(c, 0), WA_REDONE);
		assert_int_equal(wa_page_lsn(c->page).v, cases[i].changed ? CASE_END : 0);
		heap_case_expect_map(c, SECOND_MAP_BLOCK, cases[i].after);
		case_free(c);
	}
}

static void new_map_page(void **state)
{
	(void)state;
	struct index_case *c = visible(1, CASE_BLOCK);
	memset(c->page, 0, WA_PAGE_SIZE);
	case_redo(c, 0);
	assert_int_equal(wa_page_check(c->page), 0);
	assert_int_equal(c->page[24 + 1], 1 << 6);
	c->record.refs[0].block.blkno = 1;
	case_refuse(c, 0);
	c->record.refs[0].block.blkno = 0;
	c->record.main_len = 4;
	case_refuse(c, 0);
	case_free(c);
}

/* The heap page's LSN follows only where hint bits are logged. */
static void heap_page(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct index_case *c = visible(3, CASE_BLOCK);
		c->version.checksums = i & 1;
		c->version.log_hints = i & 2;
		heap_case_tuple(c, 0, "row");
		case_mutate(c, 1);
		assert_int_equal(case_run(c, 1), WA_REDONE);
		assert_int_equal(wa_page_lsn(c->page).v, i == 0 ? 0 : CASE_END);
		assert_int_equal(wa_page_flags(c->page), WA_PD_ALL_VISIBLE);
		memset(c->page, 0, WA_PAGE_SIZE); /* cut off by now */
		assert_int_equal(case_run(c, 1), WA_REDONE);
		assert_int_equal(wa_page_flags(c->page), 0);
		assert_int_equal(wa_page_lsn(c->page).v, 0);
		case_free(c);
	}
}

/* ------------------------------------------------------------ implied */

#define REL                                                                                                                      \
	{                                                                                                                        \
		1663, 5, 16384                                                                                                   \
	}

struct implied_case {
	uint8_t rmid, info;
	uint8_t main[20];
	unsigned main_len, refs; /* refs: bit i = block i is named */
	int count;
	uint32_t heap[2];
	uint8_t bits;
};

enum { BLOCK0 = 1, BLOCK1 = 2, MAP2 = 4, MAP3 = 8 };

static const struct implied_case implied_cases[] = {
	{WA_RMGR_HEAP, 0x00, {1, 0, 1}, 3, BLOCK0, 1, {40000}, 3},
	{WA_RMGR_HEAP, 0x80, {1, 0, 9}, 3, BLOCK0, 1, {40000}, 3},
	{WA_RMGR_HEAP, 0x00, {1, 0, 1}, 3, BLOCK0 | BLOCK1, 0, {0}, 0}, /* the map's page is named */
	{WA_RMGR_HEAP, 0x00, {1, 0, 8}, 3, BLOCK0, 0, {0}, 0},
	{WA_RMGR_HEAP, 0x10, {[7] = 1}, 8, BLOCK0, 1, {40000}, 3},
	{WA_RMGR_HEAP, 0x10, {[7] = 1}, 8, BLOCK0 | BLOCK1, 0, {0}, 0},
	{WA_RMGR_HEAP, 0x20, {[7] = 3}, 14, BLOCK0 | BLOCK1, 2, {70000, 40000}, 3},
	{WA_RMGR_HEAP, 0x20, {[7] = 1}, 14, BLOCK0 | BLOCK1, 1, {70000}, 3},
	{WA_RMGR_HEAP, 0x20, {[7] = 2}, 14, BLOCK0 | BLOCK1, 1, {40000}, 3},
	{WA_RMGR_HEAP, 0x40, {[7] = 1}, 14, BLOCK0, 1, {40000}, 3},
	{WA_RMGR_HEAP, 0x20, {[7] = 3}, 14, BLOCK0 | BLOCK1 | MAP2, 0, {0}, 0},
	{WA_RMGR_HEAP, 0x20, {[7] = 3}, 14, BLOCK0 | BLOCK1 | MAP3, 0, {0}, 0},
	{WA_RMGR_HEAP, 0x60, {[7] = 1}, 8, BLOCK0, 1, {40000}, 2},
	{WA_RMGR_HEAP, 0x60, {[7] = 0}, 8, BLOCK0, 0, {0}, 0},
	{WA_RMGR_HEAP, 0x70, {[7] = 1}, 8, BLOCK0, 0, {0}, 0},
	{WA_RMGR_HEAP2, 0x50, {1, 0, 1, 0}, 4, BLOCK0, 1, {40000}, 3},
	{WA_RMGR_HEAP2, 0xD0, {32, 0, 1, 0}, 4, BLOCK0, 0, {0}, 0},
	{WA_RMGR_HEAP2, 0x60, {[7] = 1}, 8, BLOCK0, 1, {40000}, 2},
	{WA_RMGR_HEAP2, 0x60, {[7] = 1}, 8, BLOCK0 | BLOCK1, 0, {0}, 0},
	{WA_RMGR_HEAP2, 0x40, {[4] = 3}, 5, BLOCK0 | BLOCK1, 0, {0}, 0},
	{WA_RMGR_BTREE, 0x00, {1, 0, 1}, 3, BLOCK0, 0, {0}, 0},
	{WA_RMGR_HEAP, 0x00, {1, 0}, 2, BLOCK0, -EBADMSG, {0}, 0},
	{WA_RMGR_HEAP, 0x10, {1}, 7, BLOCK0, -EBADMSG, {0}, 0},
	{WA_RMGR_HEAP, 0x20, {1}, 7, BLOCK0, -EBADMSG, {0}, 0},
	{WA_RMGR_HEAP, 0x00, {1, 0, 1}, 3, 0, -EBADMSG, {0}, 0},
};

static void implied(void **state)
{
	(void)state;
	const struct wa_version version = {.major = 15};
	for (size_t i = 0; i < NF_ARRAY_LEN(implied_cases); i++) {
		const struct implied_case *from = &implied_cases[i];
		struct wa_record record = {
			.rmid = from->rmid, .info = from->info, .main = from->main, .main_len = from->main_len};
		for (unsigned id = 0; id < 4; id++)
			if (from->refs & 1u << id)
				record.refs[record.ref_count++] = (struct wa_ref){
					.id = (uint8_t)id, .block = {.rel = REL, .blkno = id == 0 ? 40000 : 70000}};
		struct wa_implied got[WA_IMPLIED_MAX];
		struct wa_error error = {0};
		assert_int_equal(wa_implied_blocks(&version, &record, got, &error), from->count);
		for (int k = 0; k < from->count; k++) {
			assert_int_equal(got[k].heap_blkno, from->heap[k]);
			assert_int_equal(got[k].bits, from->bits);
			assert_int_equal(got[k].block.blkno, from->heap[k] / 32672);
			assert_int_equal(got[k].block.fork, WA_FORK_VM);
			assert_int_equal(got[k].block.rel.rel, 16384);
			assert_false(got[k].tail);
		}
	}
}

static void redo_implied(void **state)
{
	(void)state;
	struct index_case *c = visible(0, CASE_BLOCK);
	struct wa_implied one = {.heap_blkno = CASE_BLOCK, .bits = VM_ALL_FROZEN};
	heap_case_map_page(c, CASE_BLOCK, VM_BITS);
	assert_int_equal(wa_redo_implied(&one, c->page), WA_REDONE);
	heap_case_expect_map(c, CASE_BLOCK, VM_ALL_VISIBLE);
	assert_int_equal(wa_page_lsn(c->page).v, 0);
	assert_int_equal(wa_redo_implied(&one, c->page), WA_SKIPPED);
	memset(c->page, 0, WA_PAGE_SIZE);
	assert_int_equal(wa_redo_implied(&one, c->page), WA_SKIPPED);
	case_free(c);
}

/* A truncation to `blocks` heap blocks clears the rest of the map's page. */
static void truncation(void **state)
{
	(void)state;
	static const uint32_t lengths[] = {1, 4, 7, 32671, 32672 + 2};
	const struct wa_version version = {.major = 15};
	for (size_t i = 0; i < NF_ARRAY_LEN(lengths); i++) {
		uint32_t main[] = {lengths[i], 1663, 5, 16384, 7};
		struct wa_record record = {
			.rmid = WA_RMGR_SMGR, .info = 0x20, .main = (const uint8_t *)main, .main_len = sizeof(main)};
		struct wa_implied got[WA_IMPLIED_MAX];
		struct wa_error error = {0};
		assert_int_equal(wa_implied_blocks(&version, &record, got, &error), 1);
		assert_int_equal(got[0].block.blkno, lengths[i] / 32672);
		assert_int_equal(got[0].block.rel.rel, 16384);
		struct index_case *c = visible(0, CASE_BLOCK);
		heap_case_map_page(c, 0, VM_BITS);
		assert_int_equal(wa_redo_implied(&got[0], c->page), WA_REDONE);
		assert_int_equal(wa_redo_implied(&got[0], c->page), WA_SKIPPED);
		for (uint32_t block = 0; block < VM_BLOCKS_PER_PAGE; block++)
			assert_int_equal(vm_clear(c->page, block, VM_BITS), block < lengths[i] % 32672);
		case_free(c);

		main[4] = 5; /* not the map */
		assert_int_equal(wa_implied_blocks(&version, &record, got, &error), 0);
		main[4] = 7;
		main[0] = 2 * 32672; /* at the end of a page of it */
		assert_int_equal(wa_implied_blocks(&version, &record, got, &error), 0);
		record.main_len -= 1;
		assert_int_equal(wa_implied_blocks(&version, &record, got, &error), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_bits), cmocka_unit_test(new_map_page), cmocka_unit_test(heap_page),
		cmocka_unit_test(implied),  cmocka_unit_test(redo_implied), cmocka_unit_test(truncation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
