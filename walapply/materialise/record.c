/* One record out of the middle of the log. */
#include "materialise_impl.h"

#include "walapply/decode/wa_reader.h"

/* A record spans no more pages than this: WA_RECORD_MAX bytes, and the headers of as many pages. */
#define PAGES_MAX (WA_RECORD_MAX / (WA_PAGE_SIZE - 64) + 2)

static int not_there(const struct wa_reader *reader, struct nf_lsn lsn, struct wa_error *error)
{
	return wa_bad(error, lsn, "the index names a record that the log does not have: %.120s", wa_reader_error(reader)->text);
}

static int read_record(const struct wa_range *range, struct wa_reader *reader, struct nf_lsn lsn, uint8_t *page,
		       const struct wa_record **ret_record, struct wa_error *error)
{
	for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
		int status = wa_reader_next(reader, ret_record);
		if (status == 1 && (*ret_record)->lsn.v != lsn.v)
			return wa_bad(error, lsn, "the index names a record that begins elsewhere");
		if (status == -ENODATA || status == -EBADMSG)
			return not_there(reader, lsn, error);
		if (status != 0)
			return status == 1 ? 0 : status;
		struct nf_lsn at = wa_reader_wanted(reader);
		at.v -= at.v % WA_PAGE_SIZE;
		status = range->read_log(range->arg, at, page);
		if (status == 0)
			status = wa_reader_feed(reader, at, page, WA_PAGE_SIZE);
		if (status < 0)
			return status;
	}
	return wa_bad(error, lsn, "a record has no end");
}

int wa_range_record(const struct wa_range *range, struct nf_lsn lsn,
	      int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg, struct wa_error *error)
{
	uint8_t page[WA_PAGE_SIZE];
	const struct wa_record *record;
	struct wa_reader *reader;
	const struct wa_reader_config config = {
		.segment_size = range->segment_size,
		.major = range->version.major,
		.system_id = range->system_id,
		.start = lsn,
	};
	int status = wa_reader_new(&config, &reader);
	if (status == -EINVAL)
		return wa_bad(error, lsn, "the index names a place where no record can begin");
	if (status < 0)
		return status;
	status = read_record(range, reader, lsn, page, &record, error);
	if (status == 0)
		status = use(arg, record, error);
	wa_reader_free(reader);
	return status;
}
