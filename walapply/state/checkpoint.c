/* A shutdown checkpoint record, laid over the pages of the log. See wa_checkpoint.h. */
#include "walapply/state/wa_checkpoint.h"

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"
#include "walapply/decode/wa_reader.h"

#define PAGE_HEADER 24u
#define LONG_PAGE_HEADER 40u
#define IS_CONTRECORD 1u
#define IS_LONG 2u

#define DATA_SHORT 255u /* block id of main data with a one-byte length */
#define RECORD_SIZE (WA_RECORD_HEADER + 2 + WA_CHECKPOINT_SIZE)
#define CRC_AT 20u
static_assert(RECORD_SIZE == 114, "as Postgres writes it");
static_assert(LONG_PAGE_HEADER + RECORD_SIZE + LONG_PAGE_HEADER <= WA_TAIL_MAX, "two page headers at most");

static void write_record(const struct wa_checkpoint_place *place, const struct wa_counters *counters, uint8_t record[RECORD_SIZE])
{
	const struct wa_version version = {.major = place->major};
	struct nf_writer writer = nf_writer_init(record, RECORD_SIZE);
	nf_write_u32(&writer, RECORD_SIZE);
	nf_write_u32(&writer, 0); /* xid */
	nf_write_u64(&writer, place->prev.v);
	nf_write_u32(&writer, 0); /* CHECKPOINT_SHUTDOWN of manager XLOG, padding */
	nf_write_u32(&writer, 0); /* the CRC's place */
	nf_write_u8(&writer, DATA_SHORT);
	nf_write_u8(&writer, WA_CHECKPOINT_SIZE);
	wa_counters_store(&version, counters, record + WA_RECORD_HEADER + 2);
	uint32_t crc = nf_crc32c(record + WA_RECORD_HEADER, RECORD_SIZE - WA_RECORD_HEADER);
	crc = nf_crc32c_extend(crc, record, CRC_AT);
	struct nf_writer crc_writer = nf_writer_init(record + CRC_AT, 4);
	nf_write_u32(&crc_writer, crc);
}

static uint32_t header_size(const struct wa_checkpoint_place *place, uint64_t page)
{
	return page % place->segment_size == 0 ? LONG_PAGE_HEADER : PAGE_HEADER;
}

/* rest: bytes of a record that go on on this page. */
static void write_page_header(struct nf_writer *writer, const struct wa_checkpoint_place *place, uint64_t page, uint32_t rest)
{
	bool is_long = page % place->segment_size == 0;
	nf_write_u16(writer, wa_magic_of_major(place->major));
	nf_write_u16(writer, (uint16_t)((is_long ? IS_LONG : 0) | (rest > 0 ? IS_CONTRECORD : 0)));
	nf_write_u32(writer, place->timeline);
	nf_write_u64(writer, page);
	nf_write_u32(writer, rest);
	nf_write_u32(writer, 0);
	if (is_long) {
		nf_write_u64(writer, place->system_id);
		nf_write_u32(writer, place->segment_size);
		nf_write_u32(writer, WA_PAGE_SIZE);
	}
}

int wa_checkpoint_make(const struct wa_checkpoint_place *place, uint32_t parent_timeline, struct wa_counters *counters,
		       struct wa_checkpoint_tail *ret_tail)
{
	uint64_t offset = place->end.v % WA_PAGE_SIZE;
	if (wa_magic_of_major(place->major) == 0 || place->end.v % 8 != 0 ||
	    (offset != 0 && offset < header_size(place, place->end.v - offset)))
		return -EINVAL;

	struct wa_checkpoint_tail tail = {.from = place->end, .record = place->end};
	struct nf_writer writer = nf_writer_init(tail.bytes, sizeof(tail.bytes));
	if (offset == 0) {
		write_page_header(&writer, place, place->end.v, 0);
		tail.record.v += writer.offset;
	}
	counters->redo = tail.record;
	counters->timeline = place->timeline;
	counters->prev_timeline = parent_timeline == 0 ? place->timeline : parent_timeline;
	counters->oldest_active_xid = 0;

	uint8_t record[RECORD_SIZE];
	write_record(place, counters, record);
	uint32_t room = WA_PAGE_SIZE - (uint32_t)(tail.record.v % WA_PAGE_SIZE), first = NF_MIN(room, RECORD_SIZE);
	nf_write_bytes(&writer, record, first);
	if (first < RECORD_SIZE) {
		write_page_header(&writer, place, tail.record.v + room, RECORD_SIZE - first);
		nf_write_bytes(&writer, record + first, RECORD_SIZE - first);
	}
	tail.size = writer.offset;
	tail.end.v = nf_round_up(tail.from.v + tail.size, 8);
	*ret_tail = tail;
	return 0;
}
