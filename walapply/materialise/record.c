/* One record out of the middle of the log.
 *
 * Most records lie in one piece inside of a page and are decoded where they lie. Those that are split over pages are put together here, when they are not
 * very long and all is as it should be; the reader does the rest, and says what is wrong when something is. */
#include "materialise_impl.h"

#include <string.h>

#include "walapply/decode/wa_decode.h"
#include "walapply/decode/wa_reader.h"

/* A record spans no more pages than this: WA_RECORD_MAX bytes, and the headers of as many pages. */
#define PAGES_MAX (WA_RECORD_MAX / (WA_PAGE_SIZE - 64) + 2)
#define PAGE_HEADER 24u /* the shorter one; no record begins inside of the longer one, and its checksum would tell */
#define LONG_PAGE_HEADER 40u /* of a segment's first page */
#define CONTINUES 1u /* xlp_info: the page begins with the rest of a record */
#define JOINED_MAX (32u << 10) /* bytes of a record that is put together here */

static int not_there(const struct wa_reader *reader, struct nf_lsn lsn, struct wa_error *error)
{
	return wa_bad(error, lsn, "the index names a record that the log does not have: %.120s", wa_reader_error(reader)->text);
}

static int read_record(const struct mt_source *source, struct wa_reader *reader, struct nf_lsn lsn,
		       const struct wa_record **ret_record, struct wa_error *error)
{
	for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
		const uint8_t *page;
		int status = wa_reader_next(reader, ret_record);
		if (status == 1 && (*ret_record)->lsn.v != lsn.v)
			return wa_bad(error, lsn, "the index names a record that begins elsewhere");
		if (status == -ENODATA || status == -EBADMSG)
			return not_there(reader, lsn, error);
		if (status != 0)
			return status == 1 ? 0 : status;
		struct nf_lsn at = wa_reader_wanted(reader);
		at.v -= at.v % WA_PAGE_SIZE;
		status = source->page(source->arg, at, &page);
		if (status == 0)
			status = wa_reader_feed(reader, at, page, WA_PAGE_SIZE);
		if (status < 0)
			return status;
	}
	return wa_bad(error, lsn, "a record has no end");
}

static int split_record(const struct mt_source *source, struct nf_lsn lsn,
			int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg,
			struct wa_error *error)
{
	const struct wa_record *record;
	struct wa_reader *reader;
	const struct wa_reader_config config = {
		.segment_size = source->range->segment_size,
		.major = source->range->version.major,
		.system_id = source->range->system_id,
		.start = lsn,
	};
	int status = wa_reader_new(&config, &reader);
	if (status == -EINVAL)
		return wa_bad(error, lsn, "the index names a place where no record can begin");
	if (status < 0)
		return status;
	status = read_record(source, reader, lsn, &record, error);
	if (status == 0)
		status = use(arg, record, error);
	wa_reader_free(reader);
	return status;
}

static uint64_t get(const uint8_t *at, unsigned size)
{
	uint64_t value = 0;
	memcpy(&value, at, size);
	return le64toh(value);
}

static bool is_page(const struct mt_source *source, const uint8_t *page, uint64_t at)
{
	return get(page, 2) == wa_magic_of_major(source->range->version.major) && get(page + 8, 8) == at;
}

/* The record's length, when it is whole inside of the page, and page and record are what they should be; else 0. */
static uint32_t whole_length(const struct mt_source *source, struct nf_lsn lsn, const uint8_t *page)
{
	uint32_t offset = (uint32_t)(lsn.v % WA_PAGE_SIZE);
	if (offset % 8 != 0 || offset < PAGE_HEADER || offset + WA_RECORD_HEADER > WA_PAGE_SIZE)
		return 0;
	if (!is_page(source, page, lsn.v - offset))
		return 0;
	uint32_t length = (uint32_t)get(page + offset, 4);
	if (length < WA_RECORD_HEADER || length > WA_PAGE_SIZE - offset || !wa_record_crc_ok(page + offset, length))
		return 0;
	return length;
}

/* The record put together from its page, the first one, and those behind it. Its length and where it ends; 0 when it is not to be had so. */
static uint32_t join(const struct mt_source *source, struct nf_lsn lsn, const uint8_t *page, uint8_t bytes[JOINED_MAX],
		     struct nf_lsn *ret_end)
{
	uint32_t offset = (uint32_t)(lsn.v % WA_PAGE_SIZE), done = WA_PAGE_SIZE - offset;
	uint64_t at = lsn.v - offset;
	if (offset % 8 != 0 || offset < PAGE_HEADER || !is_page(source, page, at))
		return 0;
	uint32_t length = (uint32_t)get(page + offset, 4);
	if (length <= done || length > JOINED_MAX)
		return 0;
	memcpy(bytes, page + offset, done);
	while (done < length) {
		at += WA_PAGE_SIZE;
		if (source->page(source->arg, (struct nf_lsn){at}, &page) < 0 || !is_page(source, page, at))
			return 0;
		uint32_t header = at % source->range->segment_size == 0 ? LONG_PAGE_HEADER : PAGE_HEADER;
		uint32_t n = NF_MIN(length - done, WA_PAGE_SIZE - header);
		if (!(get(page + 2, 2) & CONTINUES) || get(page + 16, 4) != length - done)
			return 0;
		memcpy(bytes + done, page + header, n);
		done += n;
		ret_end->v = at + nf_round_up(header + n, 8);
	}
	return wa_record_crc_ok(bytes, length) ? length : 0;
}

/* A record that is not whole in `page`, the one that it begins on. */
static int joined_record(const struct mt_source *source, struct nf_lsn lsn, const uint8_t *page,
			 int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg,
			 struct wa_error *error)
{
	uint8_t bytes[JOINED_MAX];
	struct wa_record record;
	struct nf_lsn end = lsn;
	uint32_t length = join(source, lsn, page, bytes, &end);
	if (length == 0)
		return split_record(source, lsn, use, arg, error);
	int status = wa_decode_record(source->range->version.major, bytes, length, lsn, &record, error);
	if (status < 0)
		return status;
	record.end = end;
	return use(arg, &record, error);
}

int mt_record(const struct mt_source *source, struct nf_lsn lsn,
	      int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg, struct wa_error *error)
{
	const uint8_t *page;
	struct wa_record record;
	int status = source->page(source->arg, (struct nf_lsn){lsn.v - lsn.v % WA_PAGE_SIZE}, &page);
	if (status < 0)
		return status;
	uint32_t length = whole_length(source, lsn, page);
	if (length == 0)
		return joined_record(source, lsn, page, use, arg, error);
	status = wa_decode_record(source->range->version.major, page + lsn.v % WA_PAGE_SIZE, length, lsn, &record, error);
	return status < 0 ? status : use(arg, &record, error);
}
