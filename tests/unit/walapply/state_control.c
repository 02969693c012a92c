/* pg_control from and to bytes, and the checkpoint record laid over pages and segments: read back by the reader of the log. */
#include <stdlib.h>

#include "common/nf_crc32c.h"
#include "state_case.h"
#include "walapply/decode/wa_reader.h"
#include "walapply/state/wa_checkpoint.h"
#include "walapply/state/wa_control.h"

static void put32(uint8_t *bytes, size_t at, uint32_t value)
{
	struct nf_writer writer = nf_writer_init(bytes + at, 4);
	nf_write_u32(&writer, value);
}

static size_t crc_place(int major)
{
	return major >= 18 ? 292 : 288;
}

static void seal(int major, uint8_t *bytes)
{
	put32(bytes, crc_place(major), nf_crc32c(bytes, crc_place(major)));
}

static void make_file(int major, uint8_t bytes[WA_CONTROL_FILE_SIZE])
{
	memset(bytes, 0, WA_CONTROL_FILE_SIZE);
	put32(bytes, 0, 77);
	put32(bytes, 8, major >= 17 ? (uint32_t)major * 100 : 1300);
	put32(bytes, 12, 202209061);
	put32(bytes, 216, 8192);
	put32(bytes, 220, 131072);
	put32(bytes, 224, 8192);
	put32(bytes, 228, 16u << 20);
	put32(bytes, 252, 1);
	memset(bytes + 260, 0xAA, 24); /* the nonce, which no field knows */
	seal(major, bytes);
}

static void test_control(void **state)
{
	uint8_t bytes[WA_CONTROL_FILE_SIZE];
	struct wa_control control, again;
	struct wa_error error;
	(void)state;
	for (int major = 13; major <= 18; major++) {
		make_file(major, bytes);
		assert_int_equal(wa_control_load(major, bytes, sizeof(bytes), &control, &error), 0);
		assert_int_equal(control.system_id, 77);
		assert_int_equal(control.catalog, 202209061);
		assert_int_equal(control.wal_segment_size, 16u << 20);
		assert_int_equal(control.checksum_version, 1);
		control.state = WA_SHUT_DOWN;
		control.checkpoint.v = 0x123456789;
		control.copy.next_xid = 0x500000006;
		control.min_recovery.v = 0x77;
		control.backup_end_required = true;
		control.parameters = (struct wa_parameters){.wal_level = 1,
							    .max_connections = 2,
							    .max_worker_processes = 3,
							    .max_wal_senders = 4,
							    .max_prepared_xacts = 5,
							    .max_locks_per_xact = 6,
							    .wal_log_hints = true,
							    .track_commit_timestamp = true};
		wa_control_store(major, &control, bytes);
		assert_int_equal(bytes[260], 0xAA);
		assert_int_equal(bytes[283], 0xAA);
		assert_int_equal(wa_control_load(major, bytes, sizeof(bytes), &again, &error), 0);
		assert_int_equal(again.state, WA_SHUT_DOWN);
		assert_true(again.checkpoint.v == 0x123456789 && again.copy.next_xid == 0x500000006 &&
			    again.min_recovery.v == 0x77);
		assert_true(again.backup_end_required && again.parameters.wal_log_hints &&
			    again.parameters.track_commit_timestamp);
		assert_int_equal(again.parameters.max_prepared_xacts, 5);
		assert_int_equal(again.parameters.max_locks_per_xact, 6);
	}
}

static void test_bad_control(void **state)
{
	uint8_t bytes[WA_CONTROL_FILE_SIZE];
	struct wa_control control;
	struct wa_error error;
	(void)state;
	make_file(15, bytes);
	for (size_t size = 0; size < 292; size++)
		assert_int_equal(wa_control_load(15, bytes, size, &control, &error), -EBADMSG);
	assert_int_equal(wa_control_load(15, bytes, 292, &control, &error), 0);
	assert_int_equal(wa_control_load(17, bytes, sizeof(bytes), &control, &error), -EBADMSG);
	for (size_t at = 0; at < 292; at++) {
		bytes[at] ^= 1;
		assert_int_equal(wa_control_load(15, bytes, sizeof(bytes), &control, &error), -EBADMSG);
		bytes[at] ^= 1;
	}
	put32(bytes, 216, 16384);
	seal(15, bytes);
	assert_int_equal(wa_control_load(15, bytes, sizeof(bytes), &control, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "16384"));
}

/* A log of one record before `end`, then the tail; the reader must find the checkpoint there. */
static void read_back(int major, uint32_t segment_size, uint64_t end)
{
	struct wa_checkpoint_place place = {
		.major = major, .segment_size = segment_size, .system_id = 77, .timeline = 3, .end = {end}, .prev = {end - 64}};
	struct wa_counters counters = {.next_xid = 700, .oldest_active_xid = 5}, seen;
	struct wa_checkpoint_tail tail;
	assert_int_equal(wa_checkpoint_make(&place, 2, &counters, &tail), 0);
	assert_int_equal(counters.oldest_active_xid, 0);
	assert_int_equal(counters.prev_timeline, 2);
	assert_int_equal(counters.redo.v, tail.record.v);

	/* The page that the tail begins on has a header of the parent's where the tail does not write one. */
	uint64_t from = end - end % WA_PAGE_SIZE;
	size_t size = (size_t)(tail.from.v + tail.size - from);
	uint8_t *log = calloc(1, size);
	assert_non_null(log);
	struct nf_writer writer = nf_writer_init(log, size);
	bool is_long = from % segment_size == 0;
	nf_write_u16(&writer, wa_magic_of_major(major));
	nf_write_u16(&writer, is_long ? 2 : 0);
	nf_write_u32(&writer, 2);
	nf_write_u64(&writer, from);
	nf_write_u64(&writer, 0);
	if (is_long) {
		nf_write_u64(&writer, 77);
		nf_write_u32(&writer, segment_size);
		nf_write_u32(&writer, WA_PAGE_SIZE);
	}
	memcpy(log + (tail.from.v - from), tail.bytes, tail.size);

	const struct wa_reader_config config = {
		.segment_size = segment_size, .major = major, .system_id = 77, .start = tail.record, .prev = place.prev};
	struct wa_reader *reader;
	const struct wa_record *record;
	assert_int_equal(wa_reader_new(&config, &reader), 0);
	assert_int_equal(wa_reader_feed(reader, (struct nf_lsn){from}, log, size), 0);
	assert_int_equal(wa_reader_next(reader, &record), 1);
	assert_true(record->lsn.v == tail.record.v && record->end.v == tail.end.v && record->prev.v == place.prev.v);
	assert_int_equal(record->rmid, WA_RMGR_XLOG);
	assert_int_equal(record->info, 0);
	assert_int_equal(record->tot_len, 114);
	const struct wa_version version = {.major = major};
	assert_int_equal(wa_counters_load(&version, record->main, record->main_len, &seen), 0);
	assert_true(seen.redo.v == tail.record.v && seen.next_xid == 700 && seen.timeline == 3 && seen.prev_timeline == 2);
	wa_reader_free(reader);
	free(log);
}

/* Every place on a page, the first page of a segment and its last. */
static void test_checkpoint_places(void **state)
{
	const uint32_t segment = 1u << 20;
	(void)state;
	for (int major = 13; major <= 18; major++)
		for (uint64_t offset = 0; offset < WA_PAGE_SIZE; offset += 8) {
			if (offset == 0 || offset >= 40)
				read_back(major, segment, 5 * (uint64_t)segment + offset);
			if (offset == 0 || offset >= 24) {
				read_back(major, segment, 5 * (uint64_t)segment + 3 * WA_PAGE_SIZE + offset);
				read_back(major, segment, 6 * (uint64_t)segment - WA_PAGE_SIZE + offset);
			}
		}
}

static void test_checkpoint_refused(void **state)
{
	struct wa_counters counters = {0};
	struct wa_checkpoint_tail tail;
	struct wa_checkpoint_place place = {.major = 15, .segment_size = 1u << 20, .end = {0x100000 + 32}};
	(void)state;
	assert_int_equal(wa_checkpoint_make(&place, 1, &counters, &tail), -EINVAL); /* inside a long page header */
	place.end.v = 0x102000 + 16;
	assert_int_equal(wa_checkpoint_make(&place, 1, &counters, &tail), -EINVAL);
	place.end.v = 0x102000 + 44;
	assert_int_equal(wa_checkpoint_make(&place, 1, &counters, &tail), -EINVAL);
	place.end.v = 0x102000 + 48;
	place.major = 12;
	assert_int_equal(wa_checkpoint_make(&place, 1, &counters, &tail), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_bad_control),
		cmocka_unit_test(test_checkpoint_places),
		cmocka_unit_test(test_checkpoint_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
