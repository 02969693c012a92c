/* Page headers of WAL.
 *
 *   0 xlp_magic u16   2 xlp_info u16   4 xlp_tli u32   8 xlp_pageaddr u64   16 xlp_rem_len u32   20 zero u32
 *   in the first page of a segment (LONG_HEADER):   24 xlp_sysid u64   32 xlp_seg_size u32   36 xlp_xlog_blcksz u32
 *
 * Source: src/include/access/xlog_internal.h; XLogReaderValidatePageHeader, and the continuation part of XLogDecodeNextRecord, in
 * src/backend/access/transam/xlogreader.c. */
#include "reader_impl.h"

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"

#define FIRST_IS_CONTRECORD 1
#define LONG_HEADER 2
#define BKP_REMOVABLE 4
#define FIRST_IS_OVERWRITE_CONTRECORD 8
#define ALL_FLAGS 15

struct page_header {
	uint16_t magic, flags;
	uint32_t timeline;
	uint64_t address;
	uint32_t rem_len;
	uint64_t system_id;
	uint32_t segment_size, page_size;
};

static const uint16_t magics[WA_MAJOR_MAX - WA_MAJOR_MIN + 1] = {0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118};

int wa_major_of_magic(uint16_t magic)
{
	for (int major = WA_MAJOR_MIN; major <= WA_MAJOR_MAX; major++)
		if (magics[major - WA_MAJOR_MIN] == magic)
			return major;
	return 0;
}

uint16_t wa_magic_of_major(int major)
{
	return major < WA_MAJOR_MIN || major > WA_MAJOR_MAX ? 0 : magics[major - WA_MAJOR_MIN];
}

size_t wa_wal_header_len(const uint8_t *header)
{
	return header[2] & LONG_HEADER ? WA_WAL_LONG_HEADER : WA_WAL_PAGE_HEADER;
}

static struct page_header parse_header(const struct wa_reader *reader)
{
	struct nf_reader bytes = nf_reader_init(reader->header, reader->header_len);
	struct page_header page = {.magic = nf_read_u16(&bytes), .flags = nf_read_u16(&bytes)};
	page.timeline = nf_read_u32(&bytes);
	page.address = nf_read_u64(&bytes);
	page.rem_len = nf_read_u32(&bytes);
	nf_read_u32(&bytes);
	if (page.flags & LONG_HEADER) {
		page.system_id = nf_read_u64(&bytes);
		page.segment_size = nf_read_u32(&bytes);
		page.page_size = nf_read_u32(&bytes);
	}
	return page;
}

/* Zeros, or no header of ours. */
static int no_page(struct wa_reader *reader, const struct page_header *page)
{
	if (page->magic == 0)
		return wa_reader_stop(reader, WA_END_PAGE, reader->page, "no page was written here (zeros)");
	return wa_reader_stop(reader, WA_END_PAGE, reader->page, "no WAL page of %s begins here (magic %04X, flags %04X)",
			      reader->major == 0 ? "Postgres 13 to 18" : "this Postgres version", page->magic, page->flags);
}

static int check_long_header(struct wa_reader *reader, const struct page_header *page)
{
	if (reader->system_id != 0 && page->system_id != reader->system_id)
		return wa_reader_stop(reader, WA_END_NONE, reader->page,
				      "this WAL is of another cluster: its system identifier is %llu, not %llu",
				      (unsigned long long)page->system_id, (unsigned long long)reader->system_id);
	if (page->segment_size != reader->segment_size)
		return wa_reader_stop(reader, WA_END_NONE, reader->page, "this WAL has segments of %u bytes, not of %u", page->segment_size,
				      reader->segment_size);
	if (page->page_size != WA_PAGE_SIZE)
		return wa_reader_stop(reader, WA_END_NONE, reader->page,
				      "this WAL has pages of %u bytes (wal_blocksize); only %u is supported", page->page_size,
				      WA_PAGE_SIZE);
	return 0;
}

static int check_header(struct wa_reader *reader, const struct page_header *page)
{
	int major = wa_major_of_magic(page->magic);
	bool first_of_segment = reader->page % reader->segment_size == 0;
	if (major == 0 || (reader->major != 0 && major != reader->major) || (page->flags & ~ALL_FLAGS) != 0 ||
	    (first_of_segment && !(page->flags & LONG_HEADER)))
		return no_page(reader, page);
	/* The address first: a stale page may well have been another size's or cluster's. */
	if (page->address != reader->page)
		return wa_reader_stop(reader, WA_END_STALE, reader->page, "the page here is an older one, of " NF_LSN_FMT,
				      NF_LSN_ARG((struct nf_lsn){page->address}));
	if (page->flags & LONG_HEADER) {
		int status = check_long_header(reader, page);
		if (status < 0)
			return status;
		reader->system_id = page->system_id;
	}
	if (page->timeline < reader->timeline)
		return wa_reader_stop(reader, WA_END_TIMELINE, reader->page, "the page here is of timeline %u, those before are of %u",
				      page->timeline, reader->timeline);
	reader->major = major;
	reader->timeline = page->timeline;
	return 0;
}

/* The page must go on with the record that is under way. */
static int continue_record(struct wa_reader *reader, const struct page_header *page)
{
	if (page->flags & FIRST_IS_OVERWRITE_CONTRECORD) {
		reader->overwritten = reader->record_start;
		reader->in_record = false;
		return 0;
	}
	if (!(page->flags & FIRST_IS_CONTRECORD))
		return wa_reader_stop(reader, WA_END_CONTRECORD, reader->page,
				      "the page here does not continue the record at " NF_LSN_FMT,
				      NF_LSN_ARG((struct nf_lsn){reader->record_start}));
	if (page->rem_len == 0 || reader->got + page->rem_len != reader->tot_len)
		return wa_reader_stop(reader, WA_END_CONTRECORD, reader->page,
				      "the page here continues a record by %u bytes, but of that at " NF_LSN_FMT " %zu are missing",
				      page->rem_len, NF_LSN_ARG((struct nf_lsn){reader->record_start}), reader->tot_len - reader->got);
	return 0;
}

/* The page that holds the start: where do we begin to look at records? */
static int enter(struct wa_reader *reader, const struct page_header *page)
{
	uint64_t body = reader->at;
	uint64_t page_end = reader->page + WA_PAGE_SIZE;
	if (reader->find && page->flags & FIRST_IS_CONTRECORD) {
		/* A rest that fills the page may go on in the next: its header tells. */
		uint64_t rest = nf_round_up(page->rem_len, 8);
		reader->pass_to = NF_MIN(body + rest, page_end);
		reader->entering = reader->pass_to == page_end;
		return 0;
	}
	reader->entering = false;
	if (reader->find || reader->start == reader->page)
		return 0;
	if (reader->start < body)
		return wa_reader_stop(reader, WA_END_LENGTH, reader->start, "a record cannot begin inside a page header");
	reader->pass_to = reader->start;
	return 0;
}

int wa_reader_page(struct wa_reader *reader)
{
	struct page_header page = parse_header(reader);
	int status = check_header(reader, &page);
	if (status < 0)
		return status;
	if (reader->in_record) {
		status = continue_record(reader, &page);
		if (status < 0 || reader->in_record)
			return status;
	}
	bool at_first = true;
	if (reader->entering) {
		status = enter(reader, &page);
		if (status < 0)
			return status;
		at_first = reader->pass_to <= reader->at;
	}
	if (at_first && page.flags & FIRST_IS_CONTRECORD)
		return wa_reader_stop(reader, WA_END_CONTRECORD, reader->page, "the page here continues a record that did not begin before it");
	return 0;
}
