/* Reading the ring at open: find the end of the log, hand out its items.
 *
 * The scan starts at `retain` and follows records by their sizes. It ends at the first record that is not whole: wrong magic, store,
 * position, generation (must not fall), header or item checksum, or a payload block that does not match its run item.
 * What ends it is a torn tail, unless a later record proves that this place had been durable: then it is damage (-EUCLEAN). */
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/log/log_impl.h"
#include "blockdev/log/record.h"
#include "common/nf_log.h"

/* How far beyond the end a proof of durability is looked for. */
#define LOOK_AHEAD (UINT64_C(4) << 20)

struct record {
	uint32_t flags, size, blocks, items_size, behind;
	uint64_t durable, generation, items_sum;
};

/* 0; -ENODATA when no whole header for this position is there. */
static int header_parse(const struct bd_log *log, const uint8_t *page, uint64_t lsn, struct record *ret_record)
{
	struct nf_reader r = nf_reader_init(page, NF_IO_ALIGN);
	uint32_t magic = nf_read_u32(&r);
	struct record record = {.flags = nf_read_u32(&r)};
	uint64_t at = nf_read_u64(&r);
	record.size = nf_read_u32(&r);
	record.blocks = nf_read_u32(&r);
	record.items_size = nf_read_u32(&r);
	record.behind = nf_read_u32(&r);
	record.durable = nf_read_u64(&r);
	uint64_t store_id = nf_read_u64(&r);
	record.generation = nf_read_u64(&r);
	record.items_sum = nf_read_u64(&r);
	nf_read_u64(&r);
	uint64_t sum = XXH3_64bits(page, r.offset);
	if (magic != BD_LOG_MAGIC || sum != nf_read_u64(&r) || at != lsn || store_id != log->store_id)
		return -ENODATA;
	uint64_t left = log->ring_bytes - lsn % log->ring_bytes;
	if (record.size < NF_IO_ALIGN || record.size % NF_IO_ALIGN != 0 || record.size > left)
		return -ENODATA;
	/* Mostly to the end of the ring; in one that was made longer (tier/attach.c) to where that was. */
	if (record.flags == BD_LOG_FLAG_PAD) {
		*ret_record = record;
		return 0;
	}
	size_t payload_end = NF_IO_ALIGN + (size_t)record.blocks * NF_BLOCK_SIZE;
	size_t need = record.behind ? payload_end + nf_round_up(record.items_size, NF_IO_ALIGN) : payload_end;
	if (record.flags != 0 || record.blocks > BD_LOG_RECORD_BLOCKS || record.items_size > BD_LOG_ITEMS_MAX ||
	    need != record.size || (!record.behind && record.items_size > NF_IO_ALIGN - BD_LOG_ITEMS_OFFSET))
		return -ENODATA;
	*ret_record = record;
	return 0;
}

static struct nf_reader record_items(const uint8_t *buffer, const struct record *record)
{
	size_t at = record->behind ? NF_IO_ALIGN + (size_t)record->blocks * NF_BLOCK_SIZE : BD_LOG_ITEMS_OFFSET;
	return nf_reader_init(buffer + at, record->items_size);
}

bool bd_log_next_item(struct nf_reader *items, uint8_t *ret_type, struct nf_reader *ret_body)
{
	if (nf_reader_left(items) == 0)
		return false;
	*ret_type = nf_read_u8(items);
	uint32_t size = nf_read_u32(items);
	const void *bytes = nf_read_bytes(items, size);
	if (items->failed)
		return false;
	*ret_body = nf_reader_init(bytes, size);
	return true;
}

/* True when every block that the record carries matches the checksum in its run item. */
static bool payload_is_whole(const uint8_t *buffer, const struct record *record, uint64_t lsn)
{
	struct nf_reader items = record_items(buffer, record), body;
	uint8_t type;
	while (bd_log_next_item(&items, &type, &body)) {
		struct bd_run run;
		if (type != BD_ITEM_RUN || bd_item_run_parse(body, &run) != 0 || !bd_loc_is_log(run.loc))
			continue;
		uint64_t at = bd_loc_lsn(run.loc) - lsn;
		if (bd_loc_lsn(run.loc) < lsn || at + (uint64_t)run.count * NF_BLOCK_SIZE > record->size)
			return false;
		for (unsigned i = 0; i < run.count; i++) {
			if (XXH3_64bits(buffer + at + (size_t)i * NF_BLOCK_SIZE, NF_BLOCK_SIZE) !=
			    nf_read_u64(&run.sums))
				return false;
		}
	}
	return !items.failed;
}

/* Read and check the record at `lsn`. -ENODATA: none that is whole. */
static int record_read(struct bd_log *log, uint64_t lsn, uint64_t least_generation, uint8_t *buffer,
		       struct record *ret_record)
{
	uint64_t at = lsn % log->ring_bytes;
	int error = nf_io_run_one(log->io, NF_IO_READ, log->file, at, buffer, NF_IO_ALIGN);
	if (error != 0)
		return error;
	struct record record;
	error = header_parse(log, buffer, lsn, &record);
	if (error != 0 || record.generation < least_generation)
		return -ENODATA;
	if (record.flags == BD_LOG_FLAG_PAD) {
		*ret_record = record;
		return 0;
	}
	if (record.size > NF_IO_ALIGN) {
		error = nf_io_run_one(log->io, NF_IO_READ, log->file, at + NF_IO_ALIGN, buffer + NF_IO_ALIGN,
				      record.size - NF_IO_ALIGN);
		if (error != 0)
			return error;
	}
	struct nf_reader items = record_items(buffer, &record);
	if (XXH3_64bits(items.data, items.size) != record.items_sum || !payload_is_whole(buffer, &record, lsn))
		return -ENODATA;
	*ret_record = record;
	return 0;
}

int bd_log_read_record(struct bd_log *log, uint64_t lsn, void *buf, uint32_t *ret_size, struct nf_reader *ret_items)
{
	struct record record;
	int error = bd_log_is_there(log, lsn) ? record_read(log, lsn, 0, buf, &record) : -ESTALE;
	/* What was read may have been written over meanwhile. */
	if (error != -ESTALE && !bd_log_is_there(log, lsn))
		error = -ESTALE;
	if (error != 0)
		return error == -ENODATA ? -EUCLEAN : error;
	bool pad = record.flags == BD_LOG_FLAG_PAD;
	if (record.size > BD_LOG_RECORD_MAX)
		return -EUCLEAN;
	if (pad)
		memset((uint8_t *)buf + NF_IO_ALIGN, 0, record.size - NF_IO_ALIGN);
	*ret_size = record.size;
	*ret_items = pad ? nf_reader_init(buf, 0) : record_items(buf, &record);
	return 0;
}

static int hand_out(struct bd_log *log, const uint8_t *buffer, const struct record *record, uint64_t lsn,
		    bd_log_item_fn item, void *arg)
{
	struct nf_reader items = record_items(buffer, record), body;
	uint8_t type;
	while (bd_log_next_item(&items, &type, &body)) {
		int error = item(arg, lsn, lsn >= log->replay, type, body);
		if (error != 0)
			return error;
	}
	return items.failed ? -EUCLEAN : 0;
}

/* Is there a record beyond `end` which says that `end` had already been durable? */
static int check_end(struct bd_log *log, uint64_t end, uint64_t generation, uint8_t *buffer)
{
	uint64_t limit = NF_MIN(end + LOOK_AHEAD, log->retain + log->ring_bytes);
	for (uint64_t lsn = end + NF_IO_ALIGN; lsn + NF_IO_ALIGN <= limit; lsn += NF_IO_ALIGN) {
		struct record record;
		int error = nf_io_run_one(log->io, NF_IO_READ, log->file, lsn % log->ring_bytes, buffer, NF_IO_ALIGN);
		if (error != 0)
			return error;
		if (header_parse(log, buffer, lsn, &record) == 0 && record.generation >= generation &&
		    record.durable > end) {
			nf_error("log: damaged at position %llu: a later record shows that it had been durable; "
				 "restore the store from a copy, or run neonfs scrub --rebuild to keep what is whole",
				 (unsigned long long)end);
			return -EUCLEAN;
		}
	}
	return 0;
}

int bd_log_recover(struct bd_log *log, bd_log_item_fn item, void *arg)
{
	uint8_t *buffer = log->open->buffer;
	uint64_t lsn = log->retain, generation = 0;
	int error = 0;
	while (lsn < log->retain + log->ring_bytes) {
		struct record record;
		error = record_read(log, lsn, generation, buffer, &record);
		if (error == -ENODATA) {
			error = lsn < log->replay ? -EUCLEAN : check_end(log, lsn, generation, buffer);
			break;
		}
		if (error == 0)
			log->generation = NF_MAX(log->generation, record.generation);
		if (error == 0 && record.flags != BD_LOG_FLAG_PAD)
			error = hand_out(log, buffer, &record, lsn, item, arg);
		if (error != 0)
			break;
		generation = record.generation;
		lsn += record.size;
	}
	if (error == -EUCLEAN && lsn < log->replay)
		nf_error("log: damaged at position %llu, before the last checkpoint; run neonfs scrub --rebuild",
			 (unsigned long long)lsn);
	log->tail = lsn;
	if (error != 0)
		return error;
	/* After the death of the process alone, what was read may be in the page cache only. */
	error = nf_io_run_one(log->io, NF_IO_FSYNC, log->file, 0, NULL, 0);
	if (error != 0)
		return error;
	log->written = log->durable = lsn;
	log->generation = NF_MAX(log->generation, generation) + 1;
	log_batch_begin(log);
	return 0;
}

int bd_log_cut(struct bd_log *log, uint64_t from)
{
	memset(log->open->buffer, 0, NF_IO_ALIGN);
	int error = 0;
	for (uint64_t lsn = from; lsn < log->retain + log->ring_bytes && lsn < from + LOOK_AHEAD && error == 0; lsn += NF_IO_ALIGN)
		error = nf_io_run_one(log->io, NF_IO_WRITE, log->file, lsn % log->ring_bytes, log->open->buffer, NF_IO_ALIGN);
	return error != 0 ? error : nf_io_run_one(log->io, NF_IO_FSYNC, log->file, 0, NULL, 0);
}
