/* Indexes made from the WAL where history has none yet (the segment that holds the point) or one that lacks records, and single records of it. */
#include <stdlib.h>

#include "common/nf_log.h"
#include "walapply/decode/wa_reader.h"
#include "walapply/pitr/lazy_impl.h"
#include "walapply/state/wa_state.h"

int lz_index_info(struct bd_inode *file, struct wa_index_info *ret_info)
{
	struct wa_error why;
	uint8_t *bytes = nf_io_buffer(NF_BLOCK_SIZE);
	ssize_t got = bytes != NULL ? bd_read(file, 0, bytes, NF_BLOCK_SIZE) : -ENOMEM;
	int status = got < 0 ? (int)got : wa_index_read_info(bytes, (size_t)got, ret_info, &why);
	free(bytes);
	return status;
}

bool lz_index_fits(const struct lz_plan *plan, uint32_t i, struct nf_lsn behind, const struct wa_index_info *info)
{
	uint64_t base = (plan->first_segment + i) * plan->segment_size;
	if (info->base.v != base || info->limit.v != base + plan->segment_size || info->major != plan->version.major ||
	    info->system_id != plan->system_id)
		return false;
	/* A record begins at `from`. */
	if (i == 0)
		return info->records > 0 && info->first.v <= plan->from.v;
	return wh_index_continues(info, behind);
}

/* Feed pages until there is a record. 1; 0 the log ends; an error. */
static int next_record(struct wa_reader *reader, struct lz_log *log, uint8_t *page, const struct wa_record **ret_record)
{
	int status;
	while ((status = wa_reader_next(reader, ret_record)) == 0) {
		struct nf_lsn at = wa_reader_wanted(reader);
		at.v -= at.v % WA_PAGE_SIZE;
		status = lz_log_page(log, at, page);
		if (status == -ENODATA)
			return 0;
		if (status == 0)
			status = wa_reader_feed(reader, at, page, WA_PAGE_SIZE);
		if (status < 0)
			return status;
	}
	return status == -ENODATA ? 0 : status;
}

/* Records that start in the segment, before plan->to. */
static int add_records(const struct lz_plan *plan, struct lz_log *log, struct wa_reader *reader, struct wa_index_builder *builder,
		       uint64_t limit, struct wa_error *error)
{
	uint8_t page[WA_PAGE_SIZE];
	const struct wa_record *record;
	struct nf_lsn end = {NF_MIN(limit, plan->to.v)};
	int status;
	while ((status = next_record(reader, log, page, &record)) == 1) {
		if (record->lsn.v >= end.v)
			return 0;
		status = wa_index_add(builder, record, error);
		if (status < 0)
			return status;
		if (record->end.v >= plan->to.v)
			return 0;
	}
	if (status == 0)
		*error = *wa_reader_error(reader);
	return status == 0 ? -ENODATA : status;
}

int lz_index_make(const struct lz_plan *plan, struct lz_log *log, uint64_t number, uint8_t **ret_bytes, size_t *ret_size,
		  char *ret_message, size_t size)
{
	uint64_t start = number * plan->segment_size, limit = start + plan->segment_size;
	struct wa_reader *reader = NULL;
	struct wa_index_builder *builder = NULL;
	struct wa_error why = {0};
	char name[WA_SEGMENT_NAME + 1];
	bool is_first = plan->from.v > start;
	const struct wa_reader_config config = {.segment_size = plan->segment_size,
						.major = plan->version.major,
						.system_id = plan->system_id,
						.start = {is_first ? plan->from.v : start},
						.find = !is_first};
	const struct wa_index_config built = {
		.version = plan->version, .system_id = plan->system_id, .base = {start}, .limit = {limit}};
	int error = wa_reader_new(&config, &reader);
	if (error == 0)
		error = wa_index_builder_new(&built, &builder);
	if (error == 0)
		error = add_records(plan, log, reader, builder, limit, &why);
	if (error == 0)
		error = wa_index_finish(builder, ret_bytes, ret_size);
	lz_segment_name(plan, number, name);
	if (error != 0)
		wh_say(ret_message, size, error, "the WAL of segment %s cannot be indexed: %s", name,
		       why.text[0] != 0 ? why.text : strerror(-error));
	wa_index_builder_free(builder);
	wa_reader_free(reader);
	return error;
}

int lz_index_build(const struct lz_plan *plan, struct lz_log *log, uint64_t number, struct bd_inode *dir, char *ret_message,
		   size_t size)
{
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *bytes = NULL;
	size_t bytes_size = 0;
	int error = lz_index_make(plan, log, number, &bytes, &bytes_size, ret_message, size);
	if (error != 0)
		return error;
	lz_segment_name(plan, number, name);
	error = wh_write(dir, name, 0600, bytes, bytes_size);
	if (error != 0)
		wh_say(ret_message, size, error, "the WAL index of segment %s cannot be kept: %s", name, strerror(-error));
	free(bytes);
	return error;
}

static int compare_hints(void *arg, const struct wa_state_op *op)
{
	const struct lz_plan *plan = arg;
	if (op->kind == WA_OP_PARAMETERS && op->parameters.wal_log_hints != plan->version.log_hints)
		return 1;
	return 0;
}

int lz_keeps_hints(const struct lz_plan *plan, struct lz_log *log, struct nf_lsn lsn)
{
	uint8_t page[WA_PAGE_SIZE];
	const struct wa_record *record;
	struct wa_reader *reader;
	struct wa_error why = {0};
	struct lz_plan wanted = *plan;
	const struct wa_reader_config config = {
		.segment_size = plan->segment_size, .major = plan->version.major, .system_id = plan->system_id, .start = lsn};
	int status = wa_reader_new(&config, &reader);
	if (status < 0)
		return status == -EINVAL ? -EBADMSG : status;
	status = next_record(reader, log, page, &record);
	if (status == 1)
		status = wa_state_ops(&plan->version, record, compare_hints, &wanted, &why);
	else if (status == 0)
		status = -EBADMSG;
	wa_reader_free(reader);
	return status < 0 ? status : status == 0;
}
