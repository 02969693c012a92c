/* The reader: records over pages and segments in feeds of any size, where to begin, and every way to end. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wal_build.h"
#include "walapply/decode/wa_reader.h"

#define MEG (1u << 20)
#define SEGMENT (16u * MEG)
#define BEGIN (5ull * SEGMENT + 3 * WA_PAGE_SIZE)
#define RECORDS_MAX 20000

/* What reading gave, to compare two ways of reading. */
struct outcome {
	struct nf_lsn starts[RECORDS_MAX], ends[RECORDS_MAX];
	uint32_t xids[RECORDS_MAX];
	size_t count;
	int status;
	struct wa_end_info end;
	struct wa_error error;
};

static struct wa_reader_config config_of(const struct wal *wal)
{
	return (struct wa_reader_config){.segment_size = wal->segment_size, .start = {wal->begin}, .find = true};
}

static void take(struct outcome *outcome, const struct wa_record *record)
{
	assert_true(outcome->count < RECORDS_MAX);
	outcome->starts[outcome->count] = record->lsn;
	outcome->ends[outcome->count] = record->end;
	outcome->xids[outcome->count++] = record->xid;
	if (record->rmid == WA_RMGR_XLOG && record->info == 0x20)
		for (uint32_t i = 0; i < record->main_len; i++)
			if (record->main[i] != wal_plain_byte(record->xid, i))
				fail_msg("byte %u of record %u is wrong", i, record->xid);
}

/* Read bytes[0 .. size) in pieces of `piece` bytes, each in an allocation of its own (so that an overrun is seen). */
static void read_pieces(const struct wa_reader_config *config, uint64_t begin, const uint8_t *bytes, size_t size, size_t piece,
			struct outcome *outcome)
{
	struct wa_reader *reader;
	const struct wa_record *record;
	uint8_t *fed = NULL;
	outcome->count = 0;
	memset(&outcome->error, 0, sizeof(outcome->error));
	assert_int_equal(wa_reader_new(config, &reader), 0);
	for (;;) {
		outcome->status = wa_reader_next(reader, &record);
		if (outcome->status == 1) {
			take(outcome, record);
			continue;
		}
		uint64_t wanted = wa_reader_wanted(reader).v;
		if (outcome->status < 0 || wanted >= begin + size)
			break;
		size_t count = NF_MIN(piece, (size_t)(begin + size - wanted));
		free(fed);
		fed = malloc(count);
		assert_non_null(fed);
		memcpy(fed, bytes + (wanted - begin), count);
		assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){wanted}, fed, count), 0);
	}
	outcome->end = wa_reader_end(reader);
	if (outcome->status < 0) {
		outcome->error = *wa_reader_error(reader);
		assert_true(outcome->error.text[0] != '\0');
		assert_int_equal(wa_reader_next(reader, &record), outcome->status); /* it is final */
	}
	wa_reader_free(reader);
	free(fed);
}

static void read_wal(struct wal *wal, struct outcome *outcome)
{
	struct wa_reader_config config = config_of(wal);
	read_pieces(&config, wal->begin, wal->bytes, (size_t)(wal->at - wal->begin), SIZE_MAX, outcome);
}

static void expect_same(const struct outcome *a, const struct outcome *b)
{
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->starts, b->starts, a->count * sizeof(a->starts[0]));
	assert_memory_equal(a->ends, b->ends, a->count * sizeof(a->ends[0]));
	assert_memory_equal(a->xids, b->xids, a->count * sizeof(a->xids[0]));
	assert_int_equal(a->end.why, b->end.why);
	assert_int_equal(a->end.end.v, b->end.end.v);
	assert_int_equal(a->end.last.v, b->end.last.v);
	assert_int_equal(a->end.aborted.v, b->end.aborted.v);
	assert_int_equal(a->end.missing.v, b->end.missing.v);
	assert_int_equal(a->error.lsn.v, b->error.lsn.v);
	assert_string_equal(a->error.text, b->error.text);
}

/* The end that the WAL up to wal->at and `more` zero bytes must come to. */
static void expect_end(struct wal *wal, size_t more, enum wa_end why, uint64_t lsn, size_t records)
{
	static struct outcome whole, single;
	struct wa_reader_config config = config_of(wal);
	size_t size = (size_t)(wal->at - wal->begin) + more;
	read_pieces(&config, wal->begin, wal->bytes, size, SIZE_MAX, &whole);
	assert_int_equal(whole.status, why == WA_END_NONE ? -EBADMSG : -ENODATA);
	assert_int_equal(whole.end.why, why);
	assert_int_equal(whole.error.lsn.v, lsn);
	assert_int_equal(whole.count, records);
	if (records > 0) {
		assert_int_equal(whole.end.end.v, whole.ends[records - 1].v);
		assert_int_equal(whole.end.last.v, whole.starts[records - 1].v);
	}
	read_pieces(&config, wal->begin, wal->bytes, size, 1, &single);
	expect_same(&whole, &single);
}

/* Records of lengths that meet page and segment ends in every way. */
static size_t fill(struct wal *wal, uint64_t until, uint64_t *starts, uint64_t *ends)
{
	static const size_t sizes[] = {0, 1, 5, 6, 7, 30, 100, 229, 230, 255, 256, 2000, 8100, 8192, 40000, 3, 70000};
	size_t count = 0;
	for (; wal->at < until; count++) {
		assert_true(count < RECORDS_MAX);
		starts[count] = wal_put_plain(wal, (uint32_t)count + 1, sizes[count % NF_ARRAY_LEN(sizes)] + count / 40);
		ends[count] = wal->at;
	}
	return count;
}

/* ----------------------------------------------------------- reading on */

static void pages_and_segments(void **state)
{
	(void)state;
	static uint64_t starts[RECORDS_MAX], ends[RECORDS_MAX];
	static struct outcome outcome;
	const size_t pieces[] = {SIZE_MAX, 1, 3, 8, 100, 4096, 8191, 8192, 8193, 65536, 131072};
	for (uint32_t segment_size = WA_SEGMENT_MIN; segment_size <= WA_SEGMENT_MAX && segment_size != 0; segment_size *= 32) {
		struct wal wal;
		uint64_t edge = 9ull * segment_size;
		wal_start(&wal, 15, segment_size, edge - 40 * WA_PAGE_SIZE, 2 * MEG + 100 * WA_PAGE_SIZE);
		size_t count = fill(&wal, edge + (segment_size == MEG ? MEG : 0) + 50 * WA_PAGE_SIZE, starts, ends);
		struct wa_reader_config config = config_of(&wal);
		for (size_t p = 0; p < NF_ARRAY_LEN(pieces); p++) {
			read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), pieces[p], &outcome);
			assert_int_equal(outcome.status, 0);
			assert_int_equal(outcome.count, count);
			for (size_t i = 0; i < count; i++) {
				assert_int_equal(outcome.starts[i].v, starts[i]);
				assert_int_equal(outcome.ends[i].v, ends[i]);
				assert_int_equal(outcome.xids[i], i + 1);
			}
			assert_int_equal(outcome.end.why, WA_END_NONE);
			assert_int_equal(outcome.end.end.v, wal.at);
			assert_int_equal(outcome.end.last.v, starts[count - 1]);
		}
		wal_free(&wal);
	}
}

static void every_major(void **state)
{
	(void)state;
	static struct outcome outcome;
	for (int major = 13; major <= 18; major++) {
		struct wal wal;
		struct wa_reader *reader;
		const struct wa_record *record;
		wal_start(&wal, major, SEGMENT, 5ull * SEGMENT, MEG);
		wal_put_plain(&wal, 8, 100);
		read_wal(&wal, &outcome);
		assert_int_equal(outcome.count, 1);
		struct wa_reader_config config = config_of(&wal);
		assert_int_equal(wa_reader_new(&config, &reader), 0);
		assert_int_equal(wa_reader_major(reader), 0);
		assert_int_equal(wa_reader_system_id(reader), 0);
		assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){wal.begin}, wal.bytes, (size_t)(wal.at - wal.begin)), 0);
		assert_int_equal(wa_reader_next(reader, &record), 1);
		assert_int_equal(record->timeline, WAL_TIMELINE);
		assert_int_equal(wa_reader_major(reader), major);
		assert_true(wa_reader_system_id(reader) == WAL_SYSTEM_ID);
		wa_reader_free(reader);
		/* Told another version, it is no page of ours. */
		config.major = major == 13 ? 14 : 13;
		read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), SIZE_MAX, &outcome);
		assert_int_equal(outcome.end.why, WA_END_PAGE);
		wal_free(&wal);
	}
	assert_int_equal(wa_major_of_magic(0xD107), 0);
	assert_int_equal(wa_major_of_magic(0), 0);
}

static void segment_switch(void **state)
{
	(void)state;
	static struct outcome outcome;
	struct wal wal;
	wal_start(&wal, 15, MEG, 7ull * MEG - 3 * WA_PAGE_SIZE, 3 * MEG);
	wal_put_plain(&wal, 1, 10);
	uint64_t at = wal_put_switch(&wal);
	assert_int_equal(wal.at, 7ull * MEG);
	wal_put_plain(&wal, 3, 10);
	wal_put_switch(&wal);
	wal_put_plain(&wal, 5, 10);
	memset(wal_byte(&wal, 7ull * MEG + WA_PAGE_SIZE), 0xEE, MEG - WA_PAGE_SIZE); /* nobody looks there */
	read_wal(&wal, &outcome);
	assert_int_equal(outcome.count, 5);
	assert_int_equal(outcome.starts[1].v, at);
	assert_int_equal(outcome.ends[1].v, 7ull * MEG);
	assert_int_equal(outcome.starts[2].v, 7ull * MEG + 40);
	assert_int_equal(outcome.ends[3].v, 8ull * MEG);
	wal_free(&wal);
	/* A switch record that ends just where the segment does skips nothing. */
	wal_start(&wal, 15, MEG, 7ull * MEG - 2 * WA_PAGE_SIZE, 3 * MEG);
	wal_put_plain(&wal, 1, 2 * WA_PAGE_SIZE - 24 - 24 - WA_RECORD_HEADER - 5 - WA_RECORD_HEADER);
	wal_put_switch(&wal);
	assert_int_equal(wal.at, 7ull * MEG);
	wal_put_plain(&wal, 3, 10);
	read_wal(&wal, &outcome);
	assert_int_equal(outcome.count, 3);
	wal_free(&wal);
}

static void feeding(void **state)
{
	(void)state;
	struct wal wal;
	struct wa_reader *reader;
	const struct wa_record *record;
	wal_start(&wal, 15, SEGMENT, BEGIN, MEG);
	wal_put_plain(&wal, 1, 100);
	struct wa_reader_config config = config_of(&wal);
	assert_int_equal(wa_reader_new(&config, &reader), 0);
	assert_int_equal(wa_reader_wanted(reader).v, BEGIN);
	assert_int_equal(wa_reader_next(reader, &record), 0);
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){BEGIN + 1}, wal.bytes, 10), -EINVAL); /* a gap */
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){BEGIN - 5}, wal.bytes, 5), 0);	    /* all of it passed over */
	assert_int_equal(wa_reader_wanted(reader).v, BEGIN);
	uint8_t before[5 + 24];
	memcpy(before + 5, wal.bytes, 24);
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){BEGIN - 5}, before, sizeof(before)), 0);
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){BEGIN}, wal.bytes, 24), -EINVAL); /* not used up */
	assert_int_equal(wa_reader_next(reader, &record), 0);
	assert_int_equal(wa_reader_wanted(reader).v, BEGIN + 24);
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){BEGIN}, wal.bytes, (size_t)(wal.at - BEGIN)), 0); /* again from the start */
	assert_int_equal(wa_reader_next(reader, &record), 1);
	assert_int_equal(record->lsn.v, BEGIN + 24);
	assert_ptr_equal(record->main, wal_byte(&wal, BEGIN + 24 + WA_RECORD_HEADER + 2)); /* a view, no copy */
	wa_reader_free(reader);
	wa_reader_free(NULL);
	wal_free(&wal);
}

static void bad_config(void **state)
{
	(void)state;
	const struct wa_reader_config bad[] = {
		{.segment_size = 0},
		{.segment_size = MEG / 2},
		{.segment_size = 3 * MEG},
		{.segment_size = 2u << 30},
		{.segment_size = MEG, .major = 12},
		{.segment_size = MEG, .major = 19},
		{.segment_size = MEG, .start = {BEGIN + 28}},
		{.segment_size = MEG, .start = {UINT64_MAX - 7}},
	};
	struct wa_reader *reader;
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_int_equal(wa_reader_new(&bad[i], &reader), -EINVAL);
}

/* -------------------------------------------------------- where to begin */

static void find_anywhere(void **state)
{
	(void)state;
	static uint64_t starts[RECORDS_MAX], ends[RECORDS_MAX];
	static struct outcome outcome;
	struct wal wal;
	wal_start(&wal, 15, SEGMENT, 6ull * SEGMENT - 2 * WA_PAGE_SIZE, 2 * MEG);
	size_t count = fill(&wal, wal.begin + 8 * WA_PAGE_SIZE, starts, ends);
	struct wa_reader_config config = config_of(&wal);
	for (uint64_t start = wal.begin, next = 0; start < wal.at; start += start % WA_PAGE_SIZE < 300 ? 1 : 31) {
		while (next < count && starts[next] < start)
			next++;
		config.start.v = start;
		read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), start % 5 == 0 ? 1000 : SIZE_MAX, &outcome);
		assert_int_equal(outcome.status, 0);
		assert_int_equal(outcome.count, count - next);
		if (outcome.count > 0)
			assert_int_equal(outcome.starts[0].v, starts[next]);
	}
	wal_free(&wal);
}

static void start_at_record(void **state)
{
	(void)state;
	static uint64_t starts[RECORDS_MAX], ends[RECORDS_MAX];
	static struct outcome outcome;
	struct wal wal;
	wal_start(&wal, 15, SEGMENT, 6ull * SEGMENT - 2 * WA_PAGE_SIZE, 2 * MEG);
	size_t count = fill(&wal, wal.begin + 30 * WA_PAGE_SIZE, starts, ends);
	struct wa_reader_config config = config_of(&wal);
	config.find = false;
	for (size_t i = 1; i < count; i++) {
		config.start.v = i % 2 == 0 ? starts[i] : ends[i - 1]; /* the end before may be a page's address: the same */
		config.prev.v = i % 3 == 0 ? 0 : starts[i - 1];
		read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), SIZE_MAX, &outcome);
		assert_int_equal(outcome.status, 0);
		assert_int_equal(outcome.count, count - i);
		assert_int_equal(outcome.starts[0].v, starts[i]);
		config.prev.v = starts[i - 1] - 8;
		read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), SIZE_MAX, &outcome);
		assert_int_equal(outcome.end.why, WA_END_PREV);
		assert_int_equal(outcome.end.end.v, config.start.v);
		assert_int_equal(outcome.end.last.v, config.prev.v);
	}
	config.prev.v = 0;
	config.start.v = wal.begin + 16; /* inside a page header */
	read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), SIZE_MAX, &outcome);
	assert_int_equal(outcome.end.why, WA_END_LENGTH);
	wal_free(&wal);
	/* A page that begins with another record's rest is no start. */
	wal_start(&wal, 15, SEGMENT, BEGIN, MEG);
	wal_put_plain(&wal, 1, WA_PAGE_SIZE);
	config.start.v = BEGIN + WA_PAGE_SIZE;
	read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), SIZE_MAX, &outcome);
	assert_int_equal(outcome.end.why, WA_END_CONTRECORD);
	wal_free(&wal);
}

/* ---------------------------------------------------------- how it ends */

static struct wal two_records(void)
{
	struct wal wal;
	wal_start(&wal, 15, SEGMENT, BEGIN, MEG);
	wal_put_plain(&wal, 1, 100);
	wal_put_plain(&wal, 2, 100);
	return wal;
}

static void ends_on_a_page(void **state)
{
	(void)state;
	struct wal wal = two_records();
	uint64_t end = wal.at;
	expect_end(&wal, 8, WA_END_ZERO, end, 2);
	/* An older record of the same page, as a crash leaves it behind the last complete one. */
	uint64_t real_last = wal.last;
	wal.last = BEGIN - 400;
	wal_put_plain(&wal, 9, 50);
	expect_end(&wal, 0, WA_END_PREV, end, 2);
	wal.at = end;
	wal.last = real_last;
	wal_put_plain(&wal, 9, 50);
	wal_byte(&wal, end)[WA_RECORD_HEADER + 9] ^= 1;
	expect_end(&wal, 0, WA_END_CRC, end, 2);
	wal_byte(&wal, end)[17] = 22; /* the first manager that is not there */
	expect_end(&wal, 0, WA_END_RMGR, end, 2);
	memcpy(wal_byte(&wal, end), &(uint32_t){23}, 4);
	expect_end(&wal, 0, WA_END_LENGTH, end, 2);
	memcpy(wal_byte(&wal, end), &(uint32_t){WA_RECORD_MAX + 1}, 4);
	expect_end(&wal, 0, WA_END_LENGTH, end, 2);
	wal_free(&wal);
}

static void custom_managers(void **state)
{
	(void)state;
	for (int major = 13; major <= 18; major++) {
		struct wal wal;
		struct rec rec;
		static struct outcome outcome;
		wal_start(&wal, major, SEGMENT, BEGIN, MEG);
		rec_start(&rec, 135, 0x10, 7);
		rec_main(&rec, "x", 1);
		wal_put(&wal, &rec);
		if (major < 15) {
			expect_end(&wal, 0, WA_END_RMGR, BEGIN + 24, 0);
		} else {
			read_wal(&wal, &outcome);
			assert_int_equal(outcome.count, 1);
		}
		wal_free(&wal);
	}
}

/* Fill the page up, so that the next record begins on the next one. */
static void fill_page(struct wal *wal)
{
	size_t left = WA_PAGE_SIZE - wal->at % WA_PAGE_SIZE;
	assert_true(left > 300);
	wal_put_plain(wal, 99, left - WA_RECORD_HEADER - 5);
	assert_int_equal(wal->at % WA_PAGE_SIZE, 0);
}

static void ends_at_a_page(void **state)
{
	(void)state;
	struct wal wal = two_records();
	fill_page(&wal);
	uint64_t page = wal.at;
	expect_end(&wal, 24, WA_END_PAGE, page, 3); /* zeros */
	wal_page_header(&wal, page, 0, 0);
	uint8_t *header = wal_byte(&wal, page);
	struct wal saved = wal;
	wal.at += 24;
	memcpy(header + 8, &(uint64_t){page - 3ull * SEGMENT}, 8);
	expect_end(&wal, 0, WA_END_STALE, page, 3);
	wal_page_header(&wal, page, 0, 0);
	header[4] = WAL_TIMELINE - 1;
	expect_end(&wal, 0, WA_END_TIMELINE, page, 3);
	wal_page_header(&wal, page, 16, 0); /* a flag that is none */
	expect_end(&wal, 0, WA_END_PAGE, page, 3);
	wal_page_header(&wal, page, PAGE_CONTINUES, 80);
	expect_end(&wal, 0, WA_END_CONTRECORD, page, 3);
	/* A newer timeline goes on. */
	wal = saved;
	wal.timeline++;
	wal_put_plain(&wal, 5, 10);
	static struct outcome outcome;
	read_wal(&wal, &outcome);
	assert_int_equal(outcome.count, 4);
	wal_free(&wal);
}

static void ends_at_a_segment(void **state)
{
	(void)state;
	struct wal wal;
	wal_start(&wal, 15, MEG, 7ull * MEG - WA_PAGE_SIZE, MEG);
	wal_put_plain(&wal, 1, 10);
	fill_page(&wal);
	uint64_t page = wal.at;
	wal.at += 40;
	wal_page_header(&wal, page, 0, 0); /* short, where a long one has to be */
	expect_end(&wal, 0, WA_END_PAGE, page, 2);
	wal_page_header(&wal, page, PAGE_LONG, 0);
	memcpy(wal_byte(&wal, page) + 8, &(uint64_t){page - 5ull * MEG}, 8);
	memset(wal_byte(&wal, page) + 24, 7, 8); /* whatever else an older one says */
	expect_end(&wal, 0, WA_END_STALE, page, 2);
	wal_free(&wal);
}

static void not_ours(void **state)
{
	(void)state;
	const struct {
		unsigned offset;
		uint8_t change;
	} cases[] = {{24, 1}, {31, 1}, {34, 0x30}, {37, 0x60}};
	static struct outcome outcome;
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		struct wal wal;
		wal_start(&wal, 15, SEGMENT, 5ull * SEGMENT, MEG);
		wal_put_plain(&wal, 1, 10);
		wal.bytes[cases[i].offset] ^= cases[i].change;
		struct wa_reader_config config = config_of(&wal);
		config.system_id = WAL_SYSTEM_ID;
		read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin), SIZE_MAX, &outcome);
		assert_int_equal(outcome.status, -EBADMSG);
		assert_int_equal(outcome.end.why, WA_END_NONE);
		assert_int_equal(outcome.count, 0);
		wal_free(&wal);
	}
	/* The checksum fits, but it cannot be taken apart: corrupt, no end. */
	struct wal wal = two_records();
	uint64_t at = wal_put_plain(&wal, 3, 10);
	wal_byte(&wal, at)[WA_RECORD_HEADER] = 77;
	wal_seal(wal_byte(&wal, at), WA_RECORD_HEADER + 12);
	expect_end(&wal, 0, WA_END_NONE, at, 2);
	wal_free(&wal);
}

/* ------------------------------------------------- records that break off */

/* Two records, then one of five pages that has come `whole` pages far. */
static struct wal broken_off(uint64_t *ret_start, uint64_t *ret_missing)
{
	struct wal wal = two_records();
	*ret_start = wal_put_plain(&wal, 3, 40000);
	*ret_missing = BEGIN + 3 * WA_PAGE_SIZE;
	wal.at = *ret_missing;
	memset(wal_byte(&wal, wal.at), 0, 10 * WA_PAGE_SIZE);
	return wal;
}

static void broken_record(void **state)
{
	(void)state;
	static struct outcome outcome;
	uint64_t start, missing;
	struct wal wal = broken_off(&start, &missing);
	read_wal(&wal, &outcome); /* no more bytes: it may still come */
	assert_int_equal(outcome.status, 0);
	assert_int_equal(outcome.end.aborted.v, start);
	assert_int_equal(outcome.end.missing.v, missing);
	expect_end(&wal, 24, WA_END_PAGE, missing, 2);
	struct wa_reader_config config = config_of(&wal);
	read_pieces(&config, wal.begin, wal.bytes, (size_t)(wal.at - wal.begin) + 24, SIZE_MAX, &outcome);
	assert_int_equal(outcome.end.aborted.v, start);
	assert_int_equal(outcome.end.missing.v, missing);
	wal_page_header(&wal, missing, 0, 0);
	wal.at += 24;
	expect_end(&wal, 0, WA_END_CONTRECORD, missing, 2);
	wal_page_header(&wal, missing, PAGE_CONTINUES, 1234);
	expect_end(&wal, 0, WA_END_CONTRECORD, missing, 2);
	wal_page_header(&wal, missing, PAGE_CONTINUES, 0);
	expect_end(&wal, 0, WA_END_CONTRECORD, missing, 2);
	wal_free(&wal);
	/* A torn record that is complete by length: its last page is the missing one, as in Postgres. */
	wal = two_records();
	start = wal_put_plain(&wal, 3, 20000);
	wal_byte(&wal, start)[60] ^= 4;
	expect_end(&wal, 0, WA_END_CRC, start, 2);
	read_wal(&wal, &outcome);
	assert_int_equal(outcome.end.aborted.v, start);
	assert_int_equal(outcome.end.missing.v, BEGIN + 2 * WA_PAGE_SIZE);
	wal_free(&wal);
	/* The same where it ends with its page. */
	wal = two_records();
	start = wal_put_plain(&wal, 3, 2 * WA_PAGE_SIZE - wal.at % WA_PAGE_SIZE - 24 - WA_RECORD_HEADER - 5);
	assert_int_equal(wal.at, BEGIN + 2 * WA_PAGE_SIZE);
	wal_byte(&wal, start)[60] ^= 4;
	expect_end(&wal, 0, WA_END_CRC, start, 2);
	read_wal(&wal, &outcome);
	assert_int_equal(outcome.end.missing.v, BEGIN + WA_PAGE_SIZE);
	wal_free(&wal);
	/* One that is not split names no page. */
	wal = two_records();
	start = wal_put_plain(&wal, 3, 200);
	wal_byte(&wal, start)[60] ^= 4;
	read_wal(&wal, &outcome);
	assert_int_equal(outcome.end.missing.v, 0);
	assert_int_equal(outcome.end.aborted.v, 0);
	wal_free(&wal);
}

/* What Postgres writes after a crash inside a split record: the next page says so, and its first record names the one that broke off. */
static void put_overwrite(struct wal *wal, uint64_t aborted)
{
	struct rec rec;
	uint64_t main[2] = {aborted, 123};
	wal_page_header(wal, wal->at, PAGE_OVERWRITES, 0);
	wal->at += 24;
	rec_start(&rec, WA_RMGR_XLOG, 0xD0, 0);
	rec_main(&rec, main, sizeof(main));
	wal_put(wal, &rec);
}

static void overwritten_record(void **state)
{
	(void)state;
	static struct outcome whole, single;
	uint64_t start, missing;
	struct wal wal = broken_off(&start, &missing);
	wal.last = start - 128; /* the last complete one */
	put_overwrite(&wal, start);
	wal_put_plain(&wal, 5, 10);
	struct wa_reader_config config = config_of(&wal);
	size_t size = (size_t)(wal.at - wal.begin);
	read_pieces(&config, wal.begin, wal.bytes, size, SIZE_MAX, &whole);
	read_pieces(&config, wal.begin, wal.bytes, size, 1, &single);
	expect_same(&whole, &single);
	assert_int_equal(whole.status, 0);
	assert_int_equal(whole.count, 4);
	assert_int_equal(whole.starts[2].v, missing + 24);
	assert_int_equal(whole.end.aborted.v, 0);
	/* Beginning in the middle of what was overwritten, too. */
	for (uint64_t at = start + 8; at <= missing; at += 1234) {
		config.start.v = at;
		read_pieces(&config, wal.begin, wal.bytes, size, SIZE_MAX, &whole);
		assert_int_equal(whole.status, 0);
		assert_int_equal(whole.count, 2);
	}
	wal_free(&wal);
	wal = broken_off(&start, &missing);
	wal.last = start - 128;
	put_overwrite(&wal, start - 128); /* names another record */
	expect_end(&wal, 0, WA_END_NONE, missing + 24, 2);
	wal_free(&wal);
}

/* ------------------------------------------------ damage of every kind */

static void truncated_anywhere(void **state)
{
	(void)state;
	static uint64_t starts[RECORDS_MAX], ends[RECORDS_MAX];
	static struct outcome outcome;
	struct wal wal;
	wal_start(&wal, 15, SEGMENT, 6ull * SEGMENT - WA_PAGE_SIZE, MEG);
	for (unsigned i = 0; i < 40; i++) {
		starts[i] = wal_put_plain(&wal, i + 1, i * 37);
		size_t tot_len = WA_RECORD_HEADER + (i * 37 < 256 ? 2 : 5) + i * 37;
		ends[i] = wal.at - (nf_round_up(tot_len, 8) - tot_len); /* the padding behind a record is not waited for */
	}
	struct wa_reader_config config = config_of(&wal);
	size_t size = (size_t)(wal.at - wal.begin), complete = 0;
	for (size_t cut = 0; cut <= size; cut++) {
		while (complete < 40 && wal.begin + cut >= ends[complete])
			complete++;
		read_pieces(&config, wal.begin, wal.bytes, cut, SIZE_MAX, &outcome);
		assert_int_equal(outcome.status, 0);
		assert_int_equal(outcome.count, complete);
		for (size_t i = 0; i < outcome.count; i++)
			assert_int_equal(outcome.starts[i].v, starts[i]);
	}
	assert_int_equal(outcome.count, 40);
	wal_free(&wal);
}

/* Bits of every byte: what comes out is the same records up to some point, the same in one piece and byte by byte. */
static void flipped_anywhere(void **state)
{
	(void)state;
	static struct outcome sound, whole, single;
	struct wal wal;
	wal_start(&wal, 15, SEGMENT, 6ull * SEGMENT - WA_PAGE_SIZE, MEG);
	for (unsigned i = 0; i < 16; i++)
		wal_put_plain(&wal, i + 1, i % 5 * 230);
	wal_put_plain(&wal, 17, 9000);
	wal_put_plain(&wal, 18, 300);
	read_wal(&wal, &sound);
	assert_int_equal(sound.count, 18);
	struct wa_reader_config config = config_of(&wal);
	size_t size = (size_t)(wal.at - wal.begin), ended = 0, refused = 0;
	for (size_t bit = 0; bit < 8 * size; bit += bit / 8 % WA_PAGE_SIZE < 300 ? 1 : 11) {
		wal.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		read_pieces(&config, wal.begin, wal.bytes, size, SIZE_MAX, &whole);
		if (bit % 97 == 0) {
			read_pieces(&config, wal.begin, wal.bytes, size, 1, &single);
			expect_same(&whole, &single);
		}
		assert_true(whole.status == 0 || whole.status == -ENODATA || whole.status == -EBADMSG);
		assert_true(whole.count <= sound.count);
		for (size_t i = 0; i < whole.count; i++)
			assert_int_equal(whole.ends[i].v, sound.ends[i].v);
		ended += whole.status == -ENODATA;
		refused += whole.status == -EBADMSG;
		wal.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(ended > size / 2);
	assert_true(refused > 10); /* the long header */
	wal_free(&wal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_and_segments), cmocka_unit_test(every_major),	    cmocka_unit_test(segment_switch),
		cmocka_unit_test(feeding),	      cmocka_unit_test(bad_config),	    cmocka_unit_test(find_anywhere),
		cmocka_unit_test(start_at_record),    cmocka_unit_test(ends_on_a_page),	    cmocka_unit_test(custom_managers),
		cmocka_unit_test(ends_at_a_page),     cmocka_unit_test(ends_at_a_segment),  cmocka_unit_test(not_ours),
		cmocka_unit_test(broken_record),      cmocka_unit_test(overwritten_record), cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(flipped_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
