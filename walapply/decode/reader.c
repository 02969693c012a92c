/* How the reader steps through the bytes.
 *
 *   header    at each page's address: the page header is gathered and checked (page.c), and settles what follows
 *   pass      bytes up to `pass_to` are no concern of ours: padding behind a record, a segment's rest after a switch, what lies before
 *             the start, the rest of a record that began before the start
 *   record    bytes of a record. A record in one piece is taken where it lies; else it is gathered in `buffer`
 *
 * `at` is the address of the next byte, `in` where it lies. Every round of the loop in wa_reader_next uses bytes or returns.
 * Source: XLogDecodeNextRecord, ReadPageInternal, ValidXLogRecordHeader, XLogFindNextRecord in
 * src/backend/access/transam/xlogreader.c; VerifyOverwriteContrecord in xlogrecovery.c (xlog.c in 13 and 14). */
#include "reader_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_cursor.h"
#include "walapply/decode/wa_decode.h"
#include "walapply/decode/wa_records.h"

#define BUFFER_MIN 65536u
#define LENGTH_BYTES 4u /* of a record's header: always on one page, since records begin at multiples of 8 */

#define OP_MASK 0xF0
#define XLOG_SWITCH 0x40
#define XLOG_OVERWRITE_CONTRECORD 0xD0

int wa_reader_new(const struct wa_reader_config *config, struct wa_reader **ret_reader)
{
	uint32_t size = config->segment_size;
	if (size < WA_SEGMENT_MIN || size > WA_SEGMENT_MAX || (size & (size - 1)) != 0)
		return -EINVAL;
	if (config->major != 0 && (config->major < WA_MAJOR_MIN || config->major > WA_MAJOR_MAX))
		return -EINVAL;
	if ((!config->find && config->start.v % 8 != 0) || config->start.v > UINT64_MAX - 2ull * WA_SEGMENT_MAX)
		return -EINVAL;
	struct wa_reader *reader = calloc(1, sizeof(*reader));
	if (reader == NULL)
		return -ENOMEM;
	reader->segment_size = size;
	reader->major = config->major;
	reader->system_id = config->system_id;
	reader->start = config->start.v;
	reader->find = config->find;
	reader->at = config->start.v - config->start.v % WA_PAGE_SIZE;
	reader->entering = true;
	reader->end = config->start.v;
	if (!config->find)
		reader->last = config->prev.v;
	*ret_reader = reader;
	return 0;
}

void wa_reader_free(struct wa_reader *reader)
{
	if (reader == NULL)
		return;
	free(reader->buffer);
	free(reader);
}

struct nf_lsn wa_reader_wanted(const struct wa_reader *reader)
{
	return (struct nf_lsn){NF_MAX(reader->at, reader->pass_to)};
}

int wa_reader_feed(struct wa_reader *reader, struct nf_lsn lsn, const uint8_t *bytes, size_t size)
{
	uint64_t wanted = wa_reader_wanted(reader).v;
	if (reader->in_len > 0 || lsn.v > wanted)
		return -EINVAL;
	size_t before = (size_t)NF_MIN(wanted - lsn.v, (uint64_t)size);
	if (size > before)
		reader->at = wanted;
	reader->in = bytes + before;
	reader->in_len = size - before;
	return 0;
}

const struct wa_error *wa_reader_error(const struct wa_reader *reader)
{
	return &reader->error;
}

static uint64_t page_of(uint64_t lsn)
{
	return lsn - lsn % WA_PAGE_SIZE;
}

struct wa_end_info wa_reader_end(const struct wa_reader *reader)
{
	struct wa_end_info info = {.why = reader->why, .end = {reader->end}, .last = {reader->last}};
	if (!reader->in_record)
		return info;
	/* The page where reading stands: that of the header under way, or of the last byte used, or of the next one. */
	uint64_t page = reader->header_len > 0 ? reader->page : page_of(reader->why != WA_END_NONE ? reader->at - 1 : reader->at);
	if (page > page_of(reader->record_start)) {
		info.aborted.v = reader->record_start;
		info.missing.v = page;
	}
	return info;
}

int wa_reader_major(const struct wa_reader *reader)
{
	return reader->major;
}

uint64_t wa_reader_system_id(const struct wa_reader *reader)
{
	return reader->system_id;
}

/* ------------------------------------------------- how it comes to an end */

int wa_reader_stop(struct wa_reader *reader, enum wa_end why, uint64_t lsn, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(reader->error.text, sizeof(reader->error.text), format, args);
	va_end(args);
	reader->error.lsn.v = lsn;
	reader->why = why;
	reader->failed = why == WA_END_NONE ? -EBADMSG : -ENODATA;
	return reader->failed;
}

/* ------------------------------------------------------------- records */

static void use_bytes(struct wa_reader *reader, size_t count)
{
	reader->in += count;
	reader->in_len -= count;
	reader->at += count;
}

static bool rmgr_may_be(int major, uint8_t rmid)
{
	return rmid < WA_RMGR_BUILTIN || (major >= 15 && rmid >= WA_RMGR_CUSTOM_MIN);
}

static int check_length(struct wa_reader *reader, uint64_t lsn, uint32_t tot_len)
{
	if (tot_len == 0)
		return wa_reader_stop(reader, WA_END_ZERO, lsn, "no record was written here (length 0)");
	if (tot_len < WA_RECORD_HEADER || tot_len > WA_RECORD_MAX)
		return wa_reader_stop(reader, WA_END_LENGTH, lsn, "a record cannot be %u bytes long", tot_len);
	return 0;
}

/* header: WA_RECORD_HEADER bytes of the record at lsn. */
static int check_header(struct wa_reader *reader, uint64_t lsn, const uint8_t *header)
{
	uint64_t prev;
	memcpy(&prev, header + 8, sizeof(prev));
	prev = le64toh(prev);
	uint8_t rmid = header[17];
	if (!rmgr_may_be(reader->major, rmid))
		return wa_reader_stop(reader, WA_END_RMGR, lsn, "there is no resource manager %u", rmid);
	if (reader->last != 0 ? prev != reader->last : prev >= lsn)
		return wa_reader_stop(reader, WA_END_PREV, lsn, "its back link leads to " NF_LSN_FMT ", not to the record before",
				      NF_LSN_ARG((struct nf_lsn){prev}));
	return 0;
}

/* A record that says that it stands in the place of another's continuation must name the one that we met there. */
static int check_overwrite(struct wa_reader *reader, const struct wa_record *record)
{
	struct nf_reader main = nf_reader_init(record->main, record->main_len);
	uint64_t overwritten = nf_read_u64(&main);
	if (main.failed || (reader->overwritten != 0 && overwritten != reader->overwritten))
		return wa_reader_stop(reader, WA_END_NONE, record->lsn.v,
				      "it overwrites the record at " NF_LSN_FMT ", but the one that broke off is at " NF_LSN_FMT,
				      NF_LSN_ARG((struct nf_lsn){overwritten}), NF_LSN_ARG((struct nf_lsn){reader->overwritten}));
	return 0;
}

/* The record at record_start is complete, its header checked, and all its bytes used. Returns 1 when it is the caller's, 0 when it lies before the start. */
static int finish_record(struct wa_reader *reader, const uint8_t *bytes)
{
	struct wa_record *record = &reader->record;
	struct nf_lsn lsn = {reader->record_start};
	if (!wa_record_crc_ok(bytes, reader->tot_len))
		return wa_reader_stop(reader, WA_END_CRC, lsn.v, "its checksum does not fit its bytes");
	int status = wa_decode_record(reader->major, bytes, reader->tot_len, lsn, record, &reader->error);
	if (status < 0)
		return reader->failed = status;
	reader->in_record = false;
	reader->pass_to = nf_round_up(reader->at, 8);
	if (record->rmid == WA_RMGR_XLOG && (record->info & OP_MASK) == XLOG_SWITCH)
		reader->pass_to = nf_round_up(reader->pass_to, reader->segment_size);
	if (record->rmid == WA_RMGR_XLOG && (record->info & OP_MASK) == XLOG_OVERWRITE_CONTRECORD) {
		status = check_overwrite(reader, record);
		if (status < 0)
			return status;
	}
	reader->overwritten = 0;
	record->end.v = reader->pass_to;
	record->timeline = reader->record_timeline;
	reader->last = lsn.v;
	reader->end = reader->pass_to;
	return lsn.v >= reader->start;
}

static int make_room(struct wa_reader *reader, size_t size)
{
	if (size <= reader->capacity)
		return 0;
	size_t capacity = NF_MAX(reader->capacity, (size_t)BUFFER_MIN);
	while (capacity < size)
		capacity *= 2;
	uint8_t *buffer = realloc(reader->buffer, capacity);
	if (buffer == NULL)
		return -ENOMEM;
	reader->buffer = buffer;
	reader->capacity = capacity;
	return 0;
}

/* Gather bytes of a split record up to its next mark: its length, its header, its end. Returns as finish_record. */
static int gather(struct wa_reader *reader, size_t room)
{
	size_t mark = reader->got < LENGTH_BYTES	  ? LENGTH_BYTES
		      : reader->got < WA_RECORD_HEADER ? WA_RECORD_HEADER
						       : reader->tot_len;
	size_t count = NF_MIN(mark - reader->got, room);
	int status = make_room(reader, reader->got + count);
	if (status < 0)
		return status;
	memcpy(reader->buffer + reader->got, reader->in, count);
	use_bytes(reader, count);
	reader->got += count;
	if (reader->got < mark)
		return 0;
	if (mark == LENGTH_BYTES) {
		uint32_t tot_len;
		memcpy(&tot_len, reader->buffer, LENGTH_BYTES);
		reader->tot_len = le32toh(tot_len);
		return check_length(reader, reader->record_start, reader->tot_len);
	}
	if (mark == WA_RECORD_HEADER) {
		status = check_header(reader, reader->record_start, reader->buffer);
		if (status < 0 || reader->tot_len > WA_RECORD_HEADER)
			return status;
	}
	return finish_record(reader, reader->buffer);
}

/* Bytes of a record, `room` of them on this page and in this piece. Returns as finish_record. */
static int take_record(struct wa_reader *reader, size_t room)
{
	if (reader->in_record)
		return gather(reader, room);
	reader->in_record = true;
	reader->record_start = reader->at;
	reader->record_timeline = reader->timeline;
	reader->tot_len = 0;
	reader->got = 0;
	if (room < WA_RECORD_HEADER)
		return gather(reader, room);
	const uint8_t *bytes = reader->in;
	uint32_t tot_len;
	memcpy(&tot_len, bytes, LENGTH_BYTES);
	tot_len = le32toh(tot_len);
	if (tot_len > room)
		return gather(reader, room);
	int status = check_length(reader, reader->record_start, tot_len);
	if (status < 0)
		return status;
	reader->tot_len = tot_len;
	status = check_header(reader, reader->record_start, bytes);
	if (status < 0)
		return status;
	use_bytes(reader, tot_len);
	return finish_record(reader, bytes);
}

/* -------------------------------------------------------- page headers */

/* Gather a page header and act on it once it is whole. */
static int take_header(struct wa_reader *reader)
{
	if (reader->header_len == 0)
		reader->page = reader->at;
	size_t want = reader->header_len < WA_WAL_PAGE_HEADER ? WA_WAL_PAGE_HEADER : wa_wal_header_len(reader->header);
	size_t count = NF_MIN(want - reader->header_len, reader->in_len);
	memcpy(reader->header + reader->header_len, reader->in, count);
	use_bytes(reader, count);
	reader->header_len += count;
	if (reader->header_len < want || reader->header_len < wa_wal_header_len(reader->header))
		return 0;
	int status = wa_reader_page(reader);
	if (status == 0)
		reader->header_len = 0;
	return status;
}

int wa_reader_next(struct wa_reader *reader, const struct wa_record **ret_record)
{
	while (reader->failed == 0 && reader->in_len > 0) {
		if (reader->at < reader->pass_to) {
			use_bytes(reader, (size_t)NF_MIN(reader->pass_to - reader->at, (uint64_t)reader->in_len));
			continue;
		}
		size_t offset = (size_t)(reader->at % WA_PAGE_SIZE);
		int status = offset == 0 || reader->header_len > 0
				     ? take_header(reader)
				     : take_record(reader, NF_MIN(WA_PAGE_SIZE - offset, reader->in_len));
		if (status < 0)
			return status;
		if (status > 0) {
			*ret_record = &reader->record;
			return 1;
		}
	}
	return reader->failed;
}
