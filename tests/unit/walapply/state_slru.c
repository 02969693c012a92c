/* Status logs in memory: where each bit goes, trees of subtransactions over pages, wrap-arounds, which files a truncation takes. */
#include <stdlib.h>

#include "state_case.h"
#include "walapply/state/wa_slru.h"

#define PAGES_MAX 8

/* A few pages; `left` counts down to a failing get. */
static struct {
	struct {
		enum wa_slru slru;
		int64_t page;
		uint8_t bytes[WA_PAGE_SIZE];
	} pages[PAGES_MAX];
	unsigned count;
	int left;
} memory;

static int get(void *arg, enum wa_slru slru, int64_t page, bool zero, uint8_t **ret_page)
{
	(void)arg;
	if (memory.left > 0 && --memory.left == 0)
		return -EIO;
	unsigned i = 0;
	while (i < memory.count && (memory.pages[i].slru != slru || memory.pages[i].page != page))
		i++;
	if (i == memory.count) {
		assert_true(i < PAGES_MAX);
		memory.pages[memory.count].slru = slru;
		memory.pages[memory.count++].page = page;
	}
	if (zero)
		memset(memory.pages[i].bytes, 0, WA_PAGE_SIZE);
	*ret_page = memory.pages[i].bytes;
	return 0;
}

static const struct wa_slru_pages pages = {.get = get};

static int forget(void **state)
{
	(void)state;
	memset(&memory, 0, sizeof(memory));
	return 0;
}

static const uint8_t *page_of(enum wa_slru slru, int64_t page)
{
	uint8_t *bytes;
	assert_int_equal(get(NULL, slru, page, false, &bytes), 0);
	return bytes;
}

static unsigned status_of(uint32_t xid)
{
	return page_of(WA_SLRU_XACT, xid / WA_XACTS_PER_PAGE)[xid % WA_XACTS_PER_PAGE / 4] >> xid % 4 * 2 & 3;
}

static uint32_t word_of(const uint8_t *bytes)
{
	struct nf_reader reader = nf_reader_init(bytes, 4);
	return nf_read_u32(&reader);
}

static struct wa_xid_list list_of(uint8_t *bytes, const uint32_t *xids, uint32_t count)
{
	struct nf_writer writer = nf_writer_init(bytes, 4 * (size_t)count);
	for (uint32_t i = 0; i < count; i++)
		nf_write_u32(&writer, xids[i]);
	return (struct wa_xid_list){.xids = bytes, .count = count};
}

/* The tree lies on both sides of a page's end, and of the end of all xids; bytes at odd addresses. */
static void test_transaction_trees(void **state)
{
	static const uint32_t trees[][4] = {
		{3, 4, 5, 6},
		{WA_XACTS_PER_PAGE - 2, WA_XACTS_PER_PAGE - 1, WA_XACTS_PER_PAGE, WA_XACTS_PER_PAGE + 1},
		{UINT32_MAX - 1, UINT32_MAX, 3, 5},
	};
	uint8_t bytes[13];
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(trees); i++)
		for (unsigned status = WA_XACT_COMMITTED; status <= WA_XACT_ABORTED; status++) {
			const struct wa_state_op op = {
				.kind = WA_OP_XACT,
				.xact = {.status = status, .xid = trees[i][0], .sub = list_of(bytes + 1, trees[i] + 1, 3)}};
			forget(NULL);
			for (int twice = 0; twice < 2; twice++)
				assert_int_equal(wa_slru_apply(&op, &pages), 0);
			for (unsigned k = 0; k < 4; k++)
				assert_int_equal(status_of(trees[i][k]), status);
			assert_int_equal(status_of(trees[i][0] - 1), WA_XACT_RUNNING);
			assert_int_equal(status_of(trees[i][3] + 1), WA_XACT_RUNNING);
		}
}

/* A status is replaced, not or-ed in. */
static void test_status_is_replaced(void **state)
{
	(void)state;
	struct wa_state_op op = {.kind = WA_OP_XACT, .xact = {.status = WA_XACT_COMMITTED, .xid = 9}};
	assert_int_equal(wa_slru_apply(&op, &pages), 0);
	op.xact.status = WA_XACT_ABORTED;
	assert_int_equal(wa_slru_apply(&op, &pages), 0);
	assert_int_equal(status_of(9), WA_XACT_ABORTED);
}

static void test_commit_times(void **state)
{
	static const uint32_t sub[] = {WA_COMMIT_TS_PER_PAGE};
	uint8_t bytes[4];
	(void)state;
	const struct wa_state_op op = {.kind = WA_OP_COMMIT_TS,
				       .commit_ts = {.xid = WA_COMMIT_TS_PER_PAGE - 1,
						     .time_us = 0x1122334455667788,
						     .origin = 0xABCD,
						     .sub = list_of(bytes, sub, 1)}};
	static const uint8_t entry[10] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xCD, 0xAB};
	assert_int_equal(wa_slru_apply(&op, &pages), 0);
	assert_memory_equal(page_of(WA_SLRU_COMMIT_TS, 0) + 8180, entry, 10);
	assert_memory_equal(page_of(WA_SLRU_COMMIT_TS, 1), entry, 10);
}

static struct wa_state_op multi(uint32_t mid, uint32_t offset, const uint8_t *members, uint32_t count)
{
	return (struct wa_state_op){.kind = WA_OP_MULTI,
				    .multi = {.mid = mid, .offset = offset, .count = count, .members = members}};
}

static void assert_member(uint32_t offset, uint32_t xid, uint8_t status)
{
	uint32_t at = offset % WA_MEMBERS_PER_PAGE;
	const uint8_t *group = page_of(WA_SLRU_MEMBERS, offset / WA_MEMBERS_PER_PAGE) + at / 4 * 20;
	assert_int_equal(group[at % 4], status);
	assert_int_equal(word_of(group + 4 + at % 4 * 4), xid);
}

static void assert_offset(uint32_t mid, uint32_t offset)
{
	assert_int_equal(word_of(page_of(WA_SLRU_OFFSETS, mid / WA_OFFSETS_PER_PAGE) + mid % WA_OFFSETS_PER_PAGE * 4), offset);
}

/* Ids and offsets at a page's end, and at the end of all numbers: id 0 is not given out, offset 0 means "not set". */
static void test_multixacts(void **state)
{
	static const struct {
		uint32_t mid, offset, next, next_offset;
	} cases[] = {
		{1, 1, 2, 4},
		{7, 1634, 8, 1637},
		{WA_OFFSETS_PER_PAGE - 1, 50, WA_OFFSETS_PER_PAGE, 53},
		{UINT32_MAX, 60, 1, 63},
		{9, UINT32_MAX - 2, 10, 1},
		{9, UINT32_MAX - 1, 10, 1},
	};
	uint8_t members[24];
	struct nf_writer writer = nf_writer_init(members, sizeof(members));
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		nf_write_u32(&writer, 700 + i);
		nf_write_u32(&writer, i + 1);
	}
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		const struct wa_state_op op = multi(cases[i].mid, cases[i].offset, members, 3);
		forget(NULL);
		for (int twice = 0; twice < 2; twice++)
			assert_int_equal(wa_slru_apply(&op, &pages), 0);
		assert_offset(cases[i].mid, cases[i].offset);
		assert_offset(cases[i].next, cases[i].next_offset);
		for (uint32_t k = 0; k < 3; k++)
			assert_member(cases[i].offset + k, 700 + k, (uint8_t)(k + 1));
	}
}

static void test_zero(void **state)
{
	(void)state;
	const struct wa_state_op op = {.kind = WA_OP_XACT, .xact = {.status = WA_XACT_COMMITTED, .xid = 9}};
	assert_int_equal(wa_slru_apply(&op, &pages), 0);
	const struct wa_state_op zero = {.kind = WA_OP_SLRU_ZERO, .slru = {.slru = WA_SLRU_XACT, .page = 0}};
	assert_int_equal(wa_slru_apply(&zero, &pages), 0);
	assert_int_equal(status_of(9), WA_XACT_RUNNING);
}

/* A page that cannot be had ends the operation, whichever it is. */
static void test_get_fails(void **state)
{
	static const uint32_t sub[] = {WA_XACTS_PER_PAGE, 2 * WA_XACTS_PER_PAGE};
	uint8_t bytes[8], members[24] = {0};
	(void)state;
	const struct wa_state_op ops[] = {
		{.kind = WA_OP_XACT, .xact = {.status = WA_XACT_COMMITTED, .xid = 9, .sub = list_of(bytes, sub, 2)}},
		{.kind = WA_OP_COMMIT_TS, .commit_ts = {.xid = 9, .sub = list_of(bytes, sub, 2)}},
		multi(WA_OFFSETS_PER_PAGE - 1, WA_MEMBERS_PER_PAGE - 1, members, 3),
		{.kind = WA_OP_SLRU_ZERO, .slru = {.slru = WA_SLRU_XACT}},
	};
	static const int calls[] = {3, 3, 4, 1};
	for (size_t i = 0; i < NF_ARRAY_LEN(ops); i++)
		for (int n = 1; n <= calls[i] + 1; n++) {
			forget(NULL);
			memory.left = n;
			assert_int_equal(wa_slru_apply(&ops[i], &pages), n <= calls[i] ? -EIO : 0);
		}
}

static bool goes(enum wa_slru slru, int64_t page, uint32_t start, uint32_t limit, int64_t file)
{
	const struct wa_state_op op = {.kind = WA_OP_SLRU_TRUNCATE,
				       .slru = {.slru = slru, .page = page, .start = start, .limit = limit}};
	return wa_slru_file_goes(&op, file);
}

static void test_truncation(void **state)
{
	const int64_t last_file = UINT32_MAX / WA_XACTS_PER_PAGE / WA_SLRU_PAGES_PER_FILE;
	(void)state;
	/* A file goes when all its pages lie before. */
	assert_true(goes(WA_SLRU_XACT, 64, 0, 0, 0));
	assert_true(goes(WA_SLRU_XACT, 64, 0, 0, 1));
	assert_false(goes(WA_SLRU_XACT, 64, 0, 0, 2));
	assert_false(goes(WA_SLRU_XACT, 63, 0, 0, 1));
	assert_false(goes(WA_SLRU_XACT, 0, 0, 0, 0));
	/* Around the wrap: the numbers behind us are those that were there before. */
	assert_true(goes(WA_SLRU_XACT, 0, 0, 0, last_file));
	assert_false(goes(WA_SLRU_XACT, 131071, 0, 0, 0));
	assert_true(goes(WA_SLRU_COMMIT_TS, 64, 0, 0, 1));
	assert_false(goes(WA_SLRU_COMMIT_TS, 64, 0, 0, 2));

	/* Multixacts up to a limit: the page of the last one that goes decides, as PerformOffsetsTruncation. */
	uint32_t per_file = WA_OFFSETS_PER_PAGE * WA_SLRU_PAGES_PER_FILE;
	assert_true(goes(WA_SLRU_OFFSETS, 0, 1, 2 * per_file + 1, 0));
	assert_true(goes(WA_SLRU_OFFSETS, 0, 1, 2 * per_file + 1, 1));
	assert_false(goes(WA_SLRU_OFFSETS, 0, 1, 2 * per_file, 1));
	assert_false(goes(WA_SLRU_OFFSETS, 0, 1, 1, 0));

	/* Members: whole files from the first up to that of the limit, around the end. */
	per_file = WA_MEMBERS_PER_PAGE * WA_SLRU_PAGES_PER_FILE;
	int64_t last = UINT32_MAX / per_file;
	assert_true(goes(WA_SLRU_MEMBERS, 0, 0, per_file, 0));
	assert_false(goes(WA_SLRU_MEMBERS, 0, 0, per_file, 1));
	assert_false(goes(WA_SLRU_MEMBERS, 0, 0, per_file - 1, 0));
	assert_true(goes(WA_SLRU_MEMBERS, 0, UINT32_MAX, 2 * per_file, last));
	assert_true(goes(WA_SLRU_MEMBERS, 0, UINT32_MAX, 2 * per_file, 1));
	assert_false(goes(WA_SLRU_MEMBERS, 0, UINT32_MAX, 2 * per_file, 2));
	assert_false(goes(WA_SLRU_MEMBERS, 0, UINT32_MAX, 2 * per_file, last - 1));

	const struct wa_state_op other = {.kind = WA_OP_SLRU_ZERO};
	assert_false(wa_slru_file_goes(&other, 0));
}

static void test_directories(void **state)
{
	(void)state;
	assert_string_equal(wa_slru_directory(WA_SLRU_XACT), "pg_xact");
	assert_string_equal(wa_slru_directory(WA_SLRU_OFFSETS), "pg_multixact/offsets");
	assert_string_equal(wa_slru_directory(WA_SLRU_MEMBERS), "pg_multixact/members");
	assert_string_equal(wa_slru_directory(WA_SLRU_COMMIT_TS), "pg_commit_ts");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_transaction_trees, forget),
		cmocka_unit_test_setup(test_status_is_replaced, forget),
		cmocka_unit_test_setup(test_commit_times, forget),
		cmocka_unit_test_setup(test_multixacts, forget),
		cmocka_unit_test_setup(test_zero, forget),
		cmocka_unit_test_setup(test_get_fails, forget),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_directories),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
