/* Records in words: each major's own words for the types that changed, and no way to read outside a record, whatever it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "walapply/decode/wa_records.h"
#include "walapply/describe/wa_describe.h"

#define TEXT_MAX 4096
#define BYTES_MAX 256
#define RANDOM_RUNS 60 /* of each type and major */

/* A record and its text. Bytes are written in hexadecimal, a field a word. */
struct example {
	int major;
	uint8_t rmid, info;
	const char *main, *block; /* block: the data of block 0; NULL for none */
	const char *text;
};

#define SHUTDOWN_HEAD "2800000100000000 01000000 01000000 01000000 "
#define SHUTDOWN_TAIL                                                                                                            \
	"0500000002000000 07000000 08000000 09000000 0A000000 01000000 0B000000 01000000 00000000 0000000000000000 0C000000 "    \
	"0D000000 "                                                                                                              \
	"0E000000"
#define SHUTDOWN_TEXT                                                                                                            \
	"xid 2:5; oid 7; multi 8; offset 9; oldest xid 10 in DB 1; oldest multi 11 in DB 1; oldest/newest commit timestamp "     \
	"xid: 12/13; "                                                                                                           \
	"oldest running xid 14; shutdown"

/* Two plans: xmax 0, infomask2 3, infomask 2817, one tuple; xmax 9, infomask2 4, infomask 2819, two. */
#define PLANS "00000000 0300 010B 00 00 0100 09000000 0400 030B 00 00 0200 "
#define PLANS_TEXT                                                                                                               \
	"plans: [{ xmax: 0, infomask: 2817, infomask2: 3, ntuples: 1, offsets: [21] }, "                                         \
	"{ xmax: 9, infomask: 2819, infomask2: 4, ntuples: 2, offsets: [22, 23] }]"

/* Two deleted items, and two updated ones that lose one and two places of their posting lists. */
#define DELVACUUM "0100 0200 0500 0600 0100 0700 0200 0800 0900"
#define DELVACUUM_TEXT ", deleted: [1, 2], updated: [{ off: 5, nptids: 1, ptids: [7] }, { off: 6, nptids: 2, ptids: [8, 9] }]"

#define COMMIT_TIME "40420F0000000000" /* a second after 2000-01-01 */
#define COMMIT_TEXT "2000-01-01 00:00:01.000000 UTC"

#define ZEROS_8 "0000000000000000 "

static const struct example examples[] = {
	{15, WA_RMGR_XLOG, 0x00, SHUTDOWN_HEAD "00000000 " SHUTDOWN_TAIL, NULL,
	 "redo 0/1000028; tli 1; prev tli 1; fpw true; " SHUTDOWN_TEXT},
	{17, WA_RMGR_XLOG, 0x00, SHUTDOWN_HEAD "02000000 " SHUTDOWN_TAIL, NULL,
	 "redo 0/1000028; tli 1; prev tli 1; fpw true; wal_level logical; " SHUTDOWN_TEXT},
	{15, WA_RMGR_XLOG, 0x20, "", NULL, ""},
	{15, WA_RMGR_XLOG, 0x70, COMMIT_TIME "6120706C61636500 " ZEROS_8 ZEROS_8 ZEROS_8 ZEROS_8 ZEROS_8 ZEROS_8 ZEROS_8, NULL,
	 "a place"},
	{13, WA_RMGR_XLOG, 0x90, COMMIT_TIME "02000000 01000000", NULL, "tli 2; prev tli 1; time " COMMIT_TEXT},
	{18, WA_RMGR_XLOG, 0x90, COMMIT_TIME "02000000 01000000 07000000", NULL,
	 "tli 2; prev tli 1; time " COMMIT_TEXT "; wal_level ?"},
	{17, WA_RMGR_XLOG, 0xE0, "01000000", NULL, "wal_level replica"},
	{15, WA_RMGR_HEAP, 0x10, "64000000 0300 11 02", NULL, "off 3 flags 0x02 IS_MULTI KEYS_UPDATED "},
	{16, WA_RMGR_HEAP, 0x10, "64000000 0300 11 02", NULL,
	 "xmax: 100, off: 3, infobits: [IS_MULTI, KEYS_UPDATED], flags: 0x02"},
	{14, WA_RMGR_HEAP, 0x20, "64000000 0300 00 02 65000000 0400", NULL, "off 3 xmax 100 flags 0x02 ; new off 4 xmax 101"},
	{16, WA_RMGR_HEAP, 0x20, "64000000 0300 00 02 65000000 0400", NULL,
	 "old_xmax: 100, old_off: 3, old_infobits: [], flags: 0x02, new_xmax: 101, new_off: 4"},
	{14, WA_RMGR_HEAP, 0x30, "05000000 02000000 03 000000 64000000 65000000", NULL,
	 "cascade restart_seqs nrelids 2 relids 100 101"},
	{16, WA_RMGR_HEAP, 0x30, "05000000 02000000 03 000000 64000000 65000000", NULL,
	 "flags: [CASCADE, RESTART_SEQS], nrelids: 2, relids: [100, 101]"},
	{17, WA_RMGR_HEAP, 0x70, "0300", NULL, "off: 3"},
	{18, WA_RMGR_HEAP, 0x70, "0300 0000 05000000 7F060000 01 000000 01000000 FE000000 05000000 64000000 00000000", NULL,
	 "off: 3; relcache init file inval dbid 5 tsid 1663; inval msgs: relcache 100"},
	{13, WA_RMGR_HEAP2, 0x10, "64000000 0100 0200", NULL, "remxid 100"},
	{14, WA_RMGR_HEAP2, 0x10, "64000000 0100 0200", NULL, "latestRemovedXid 100 nredirected 1 ndead 2"},
	{16, WA_RMGR_HEAP2, 0x10, "64000000 0100 0200 01", "0500 0600 0700 0800 0900",
	 "snapshotConflictHorizon: 100, nredirected: 1, ndead: 2, isCatalogRel: T, nunused: 1, redirected: [5->6], dead: [7, 8], "
	 "unused: [9]"},
	{16, WA_RMGR_HEAP2, 0x10, "64000000 0100 0200 00", NULL,
	 "snapshotConflictHorizon: 100, nredirected: 1, ndead: 2, isCatalogRel: F"},
	{17, WA_RMGR_HEAP2, 0x20, "00 F8 64000000", "0200 0000 " PLANS "0100 0500 0600 0200 0700 0800 0100 0900 1500 1600 1700",
	 "snapshotConflictHorizon: 100, isCatalogRel: F, nplans: 2, nredirected: 1, ndead: 2, nunused: 1, " PLANS_TEXT
	 ", redirected: [5->6], dead: [7, 8], unused: [9]"},
	{18, WA_RMGR_HEAP2, 0x30, "02 82", "0100 0900",
	 ", isCatalogRel: T, nplans: 0, nredirected: 0, ndead: 0, nunused: 1, unused: [9]"},
	{16, WA_RMGR_HEAP2, 0x20, "0200", "0300 0400", "nunused: 2, unused: [3, 4]"},
	{16, WA_RMGR_HEAP2, 0x30, "64000000 0200 00", PLANS "1500 1600 1700",
	 "snapshotConflictHorizon: 100, nplans: 2, isCatalogRel: F, " PLANS_TEXT},
	{14, WA_RMGR_HEAP2, 0x50, "08 00 0200 0300 0400", "00", "2 tuples flags 0x08"},
	{16, WA_RMGR_HEAP2, 0x50, "08 00 0200 0300 0400", "00", "ntuples: 2, flags: 0x08, offsets: [3, 4]"},
	{16, WA_RMGR_HEAP2, 0xD0, "08 00 0200", "00", "ntuples: 2, flags: 0x08"},
	{16, WA_RMGR_HEAP2, 0x70, "01000000 02000000 03000000 04000000 7F060000 05000000 64000000 0100 0200 0300", NULL,
	 "rel: 1663/5/100, tid: 65538/3, cmin: 2, cmax: 3, combo: 4"},
	{13, WA_RMGR_BTREE, 0x70, "64000000 01000000", NULL, "latestRemovedXid 100; ndeleted 1"},
	{14, WA_RMGR_BTREE, 0x70, "64000000 0100 0200", NULL, "latestRemovedXid 100; ndeleted 1; nupdated 2"},
	{16, WA_RMGR_BTREE, 0x70, "64000000 0200 0200 01", DELVACUUM,
	 "snapshotConflictHorizon: 100, ndeleted: 2, nupdated: 2, isCatalogRel: T" DELVACUUM_TEXT},
	{16, WA_RMGR_BTREE, 0xC0, "0200 0200", DELVACUUM, "ndeleted: 2, nupdated: 2" DELVACUUM_TEXT},
	{13, WA_RMGR_BTREE, 0xE0, "", "00000000 00000000 00000000 00000000 00000000 64000000 000000000000F03F 00",
	 "oldest_btpo_xact 100; last_cleanup_num_heap_tuples: 1.000000"},
	{14, WA_RMGR_BTREE, 0xE0, "", "00000000 00000000 00000000 00000000 00000000 64000000", "last_cleanup_num_delpages 100"},
	{13, WA_RMGR_HASH, 0xC0, "64000000 02000000", NULL, "ntuples 2, latest removed xid 100"},
	{16, WA_RMGR_HASH, 0xC0, "64000000 0200 01", NULL, "ntuples 2, snapshotConflictHorizon 100, isCatalogRel T"},
	{16, WA_RMGR_GIST, 0x10, "64000000 0200 00", NULL, "delete: snapshotConflictHorizon 100, nitems: 2, isCatalogRel F"},
	{13, WA_RMGR_SPGIST, 0x10, "01 01 0200 0300 0400 0500", NULL,
	 "add leaf to page; off 2; headoff 3; parentoff 4 (newpage) (nulls)"},
	{16, WA_RMGR_SPGIST, 0x80, "0100 0200 64000000 01", NULL,
	 "ntoplaceholder: 1, firstplaceholder: 2, snapshotConflictHorizon: 100, isCatalogRel: T"},
	{15, WA_RMGR_GIN, 0x20, "0300", "0400 01 01 02 02 010000000000 0300 AABBCC00 03 04 0200 010000000000 020000000000 04 09",
	 "isdata: T isleaf: T 4 segments: 1 (delete) 2 (insert) 3 (add 2 items) 4 unknown action 9 ???"},
	{15, WA_RMGR_GIN, 0x20, "0100 0100 0200 0000 0300", "0100 0000 0700 0000 0800 0900",
	 "isdata: T isleaf: F children: 65538/3 pitem: 7-8/9"},
	{16, WA_RMGR_CLOG, 0x10, "05000000 64000000 01000000", NULL, "page 5; oldestXact 100"},
	{17, WA_RMGR_CLOG, 0x10, "0500000001000000 64000000 01000000", NULL, "page 4294967301; oldestXact 100"},
	{13, WA_RMGR_COMMIT_TS, 0x20, COMMIT_TIME "0100 0000 64000000 65000000 66000000", NULL,
	 "set " COMMIT_TEXT "/1 for: 100, 101, 102"},
	{15, WA_RMGR_MULTIXACT, 0x20, "01000000 02000000 02000000 64000000 00000000 65000000 09000000", NULL,
	 "1 offset 2 nmembers 2: 100 (keysh) 101 (unk) "},
	{15, WA_RMGR_STANDBY, 0x10, "01000000 01000000 01 000000 68000000 64000000 65000000 64000000 66000000", NULL,
	 "nextXid 104 latestCompletedXid 101 oldestRunningXid 100; 1 xacts: 100; subxid ovf"},
	{16, WA_RMGR_STANDBY, 0x10, "01000000 01000000 01 000000 68000000 64000000 65000000 64000000 66000000", NULL,
	 "nextXid 104 latestCompletedXid 101 oldestRunningXid 100; 1 xacts: 100; subxid overflowed; 1 subxacts: 102"},
	{14, WA_RMGR_XACT, 0x80, COMMIT_TIME "06000000 01000000 65000000 01000000 80060000 00000000 64000000", NULL,
	 COMMIT_TEXT "; rels: global/100; subxacts: 101"},
	{15, WA_RMGR_XACT, 0x80, COMMIT_TIME "00010000 01000000 02000000 05000000 64000000", NULL,
	 COMMIT_TEXT "; dropped stats: 2/5/100"},
	{18, WA_RMGR_XACT, 0x80, COMMIT_TIME "20010000 01000000 02000000 05000000 0100000001000000 0100000002000000 " COMMIT_TIME,
	 NULL, COMMIT_TEXT "; dropped stats: 2/5/4294967297; origin: node 3, lsn 2/1, at " COMMIT_TEXT},
	{14, WA_RMGR_XACT, 0x80, COMMIT_TIME "000000A0", NULL, COMMIT_TEXT "; apply_feedback; sync"},
	{14, WA_RMGR_XACT, 0xC0, COMMIT_TIME "B0000000 64000000 67696400 0100000002000000 " COMMIT_TIME, NULL,
	 "100: " COMMIT_TEXT "; origin: node 3, lsn 2/1, at " COMMIT_TEXT},
	{13, WA_RMGR_SMGR, 0x10, "6A180000 05000000 64000000 01000000", NULL, "pg_tblspc/6250/PG_13_202007201/5/100_fsm"},
	{18, WA_RMGR_SMGR, 0x20, "07000000 7F060000 05000000 64000000 03000000", NULL, "base/5/100 to 7 blocks flags 3"},
	{14, WA_RMGR_DBASE, 0x10, "64000000 02000000 7F060000 80060000", NULL, "dir 1663/100 1664/100"},
	{15, WA_RMGR_DBASE, 0x10, "64000000 7F060000", NULL, "create dir 1663/100"},
	{15, WA_RMGR_TBLSPC, 0x00, "64000000 2F6100", NULL, "100 \"/a\""},
	{13, WA_RMGR_LOGICALMSG, 0x00, "05000000 00 000000 0200000000000000 0200000000000000 7000 00FF", NULL,
	 "nontransactional message size 2 bytes"},
	{14, WA_RMGR_LOGICALMSG, 0x00, "05000000 00 000000 0200000000000000 0200000000000000 7000 00FF", NULL,
	 "non-transactional, prefix \"p\"; payload (2 bytes): 00 FF"},
	{15, WA_RMGR_GENERIC, 0x00, "0100 0200 AABB 0900 0000", NULL, "offset 1, length 2; offset 9, length 0"},
	{15, 135, 0x00, "", NULL, "rmid: 135"},
	{15, WA_RMGR_HEAP, 0x80 | 0x70, "0300", NULL, "off 3"},
};

/* An allocation of exactly the bytes, so that a sanitizer sees a read outside of them. */
struct bytes {
	uint8_t *data;
	size_t size;
};

static struct bytes bytes_of(const uint8_t *from, size_t size)
{
	struct bytes bytes = {.data = malloc(size), .size = size};
	assert_true(size == 0 || bytes.data != NULL);
	if (size > 0)
		memcpy(bytes.data, from, size);
	return bytes;
}

static struct bytes parse(const char *hex)
{
	uint8_t data[BYTES_MAX];
	size_t size = 0;
	while (*hex != '\0') {
		if (*hex == ' ') {
			hex++;
			continue;
		}
		char digits[3] = {hex[0], hex[1], '\0'};
		assert_true(size < sizeof(data));
		data[size++] = (uint8_t)strtoul(digits, NULL, 16);
		hex += 2;
	}
	return bytes_of(data, size);
}

static struct wa_record record_of(uint8_t rmid, uint8_t info, struct bytes main, const struct bytes *block)
{
	struct wa_record record = {
		.rmid = rmid, .info = info, .main = main.data, .main_len = (uint32_t)main.size, .origin = 3, .tot_len = 24};
	record.lsn.v = 0x1000028;
	if (block != NULL) {
		record.ref_count = 1;
		record.refs[0] = (struct wa_ref){.data = block->size > 0 ? block->data : NULL, .data_len = (uint16_t)block->size};
	}
	return record;
}

static int describe(int major, const struct wa_record *record, char text[TEXT_MAX], struct wa_error *error)
{
	struct wa_version version = {.major = major};
	struct wa_text out = wa_text_init(text, TEXT_MAX);
	return wa_describe(&version, record, &out, error);
}

static void each_major_in_its_own_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct bytes main = parse(e->main), block = e->block != NULL ? parse(e->block) : (struct bytes){0};
		struct wa_record record = record_of(e->rmid, e->info, main, e->block != NULL ? &block : NULL);
		char text[TEXT_MAX];
		struct wa_error error = {.text = ""};
		if (describe(e->major, &record, text, &error) < 0)
			fail_msg("\"%s\": %s", e->text, error.text);
		assert_string_equal(text, e->text);
		free(main.data);
		free(block.data);
	}
}

/* A record that is cut short anywhere is either refused, with its place, or told of in fewer words. */
static void cut_short(void **state)
{
	(void)state;
	size_t refused = 0;
	for (size_t i = 0; i < NF_ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct bytes whole = parse(e->main), whole_block = e->block != NULL ? parse(e->block) : (struct bytes){0};
		for (size_t cut = 1; cut <= whole.size + whole_block.size; cut++) {
			size_t from_block = NF_MIN(cut, whole_block.size);
			struct bytes main = bytes_of(whole.data, whole.size - (cut - from_block));
			struct bytes block = bytes_of(whole_block.data, whole_block.size - from_block);
			struct wa_record record = record_of(e->rmid, e->info, main, e->block != NULL ? &block : NULL);
			char text[TEXT_MAX];
			struct wa_error error = {.text = ""};
			int status = describe(e->major, &record, text, &error);
			assert_true(status == 0 || status == -EBADMSG);
			if (status < 0) {
				assert_true(error.lsn.v == record.lsn.v);
				assert_non_null(strstr(error.text, wa_rmgr_name(e->rmid)));
				refused++;
			}
			free(main.data);
			free(block.data);
		}
		free(whole.data);
		free(whole_block.data);
	}
	assert_true(refused > 500);
}

static void fill(uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(rand() % 3 == 0 ? rand() : rand() % 3); /* small numbers lead further in */
}

static void any_bytes(void **state)
{
	(void)state;
	size_t count, told = 0;
	const struct wa_record_type *types = wa_record_types(&count);
	srand(1);
	for (size_t i = 0; i < count * (WA_MAJOR_MAX - WA_MAJOR_MIN + 1) * RANDOM_RUNS; i++) {
		const struct wa_record_type *type = &types[i % count];
		uint8_t data[BYTES_MAX];
		fill(data, sizeof(data));
		struct bytes main = bytes_of(data, (size_t)rand() % BYTES_MAX);
		fill(data, sizeof(data));
		struct bytes block = bytes_of(data, (size_t)rand() % BYTES_MAX);
		struct wa_record record =
			record_of(type->rmid, type->op | (rand() % 2 ? 0x80 : 0), main, rand() % 4 ? &block : NULL);
		record.refs[0].has_image = rand() % 4 == 0;
		char text[TEXT_MAX];
		struct wa_error error;
		int major = WA_MAJOR_MIN + (int)(i / count) % (WA_MAJOR_MAX - WA_MAJOR_MIN + 1);
		int status = describe(major, &record, text, &error);
		assert_true(status == 0 || status == -EBADMSG);
		told += status == 0;
		free(main.data);
		free(block.data);
	}
	assert_true(told > count * RANDOM_RUNS);
}

int main(void)
{
	setenv("TZ", "UTC", 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_major_in_its_own_words),
		cmocka_unit_test(cut_short),
		cmocka_unit_test(any_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
