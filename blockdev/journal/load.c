/* Reading the journal. */
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/journal/journal.h"

struct record {
	uint32_t flags, size, items_size;
	uint64_t number, generation, items_sum;
};

/* 0; -ENODATA when this is no whole header. */
static int header_parse(const uint8_t *page, uint64_t store_id, struct record *ret_record)
{
	struct nf_reader r = nf_reader_init(page, BD_JOURNAL_HEADER);
	struct record record;
	uint32_t magic = nf_read_u32(&r);
	record.flags = nf_read_u32(&r);
	record.size = nf_read_u32(&r);
	record.items_size = nf_read_u32(&r);
	uint64_t store = nf_read_u64(&r);
	record.number = nf_read_u64(&r);
	record.generation = nf_read_u64(&r);
	record.items_sum = nf_read_u64(&r);
	nf_read_u64(&r);
	uint64_t sum = XXH3_64bits(page, r.offset);
	if (magic != BD_JOURNAL_MAGIC || store != store_id || sum != nf_read_u64(&r))
		return -ENODATA;
	if (record.size > BD_JOURNAL_RECORD_MAX || record.size != nf_round_up(BD_JOURNAL_HEADER + record.items_size, NF_IO_ALIGN))
		return -ENODATA;
	*ret_record = record;
	return 0;
}

/* The record at `at`, whole, into `buffer`; -ENODATA when there is none. */
static int record_read(struct nf_io *io, struct nf_file *file, uint64_t store_id, uint64_t at, uint64_t file_size,
		       uint8_t *buffer, struct record *ret_record)
{
	struct record record;
	if (at + NF_IO_ALIGN > file_size)
		return -ENODATA;
	int error = nf_io_run_one(io, NF_IO_READ, file, at, buffer, NF_IO_ALIGN);
	if (error == 0)
		error = header_parse(buffer, store_id, &record);
	if (error == 0 && record.size > NF_IO_ALIGN) {
		if (at + record.size > file_size)
			return -ENODATA;
		error = nf_io_run_one(io, NF_IO_READ, file, at + NF_IO_ALIGN, buffer + NF_IO_ALIGN,
				      record.size - NF_IO_ALIGN);
	}
	if (error == 0 && XXH3_64bits(buffer + BD_JOURNAL_HEADER, record.items_size) != record.items_sum)
		error = -ENODATA;
	if (error == 0)
		*ret_record = record;
	return error;
}

static int hand_out(const uint8_t *buffer, const struct record *record, bd_journal_item_fn item, void *arg)
{
	struct nf_reader r = nf_reader_init(buffer + BD_JOURNAL_HEADER, record->items_size);
	int error = 0;
	while (error == 0 && nf_reader_left(&r) > 0) {
		uint8_t type = nf_read_u8(&r);
		uint32_t size = nf_read_u32(&r);
		const void *body = nf_read_bytes(&r, size);
		error = r.failed ? -EUCLEAN : item(arg, type, nf_reader_init(body, size));
	}
	return error;
}

static int take_position(void *arg, uint8_t type, struct nf_reader body)
{
	if (type != BD_JOURNAL_POSITION)
		return 0;
	struct bd_journal_position position;
	position.log.replay = nf_read_u64(&body);
	position.log.retain = nf_read_u64(&body);
	position.log.generation = nf_read_u64(&body);
	position.next_branch = nf_read_u32(&body);
	position.next_extent = nf_read_u32(&body);
	if (body.failed)
		return -EUCLEAN;
	*(struct bd_journal_position *)arg = position;
	return 0;
}

int bd_journal_find_end(struct nf_io *io, struct nf_file *file, uint64_t store_id, struct bd_journal_end *ret_end)
{
	struct bd_journal_end end = {0};
	uint64_t at = 0, file_size, number = 0, generation = 0;
	uint8_t *buffer = nf_io_buffer(BD_JOURNAL_RECORD_MAX);
	int error = buffer != NULL ? nf_io_size(file, &file_size) : -ENOMEM;
	while (error == 0) {
		struct record record;
		error = record_read(io, file, store_id, at, file_size, buffer, &record);
		if (error == 0 && at > 0 && (record.number != number + 1 || record.generation < generation))
			error = -ENODATA;
		if (error != 0)
			break;
		at += record.size;
		number = record.number;
		generation = record.generation;
		if (!(record.flags & BD_JOURNAL_LAST))
			continue;
		error = hand_out(buffer, &record, take_position, &end.position);
		if (!end.whole)
			end.first_end = at;
		end.whole = true;
		end.end = at;
		end.number = number;
		end.generation = generation;
	}
	free(buffer);
	if (error != -ENODATA)
		return error;
	*ret_end = end;
	return 0;
}

int bd_journal_read(struct nf_io *io, struct nf_file *file, uint64_t store_id, uint64_t end, bd_journal_item_fn item,
		    void *arg)
{
	uint8_t *buffer = nf_io_buffer(BD_JOURNAL_RECORD_MAX);
	int error = buffer != NULL ? 0 : -ENOMEM;
	for (uint64_t at = 0; error == 0 && at < end;) {
		struct record record;
		error = record_read(io, file, store_id, at, end, buffer, &record);
		if (error == -ENODATA)
			error = -EUCLEAN;
		if (error == 0)
			error = hand_out(buffer, &record, item, arg);
		if (error == 0)
			at += record.size;
	}
	free(buffer);
	return error;
}

int bd_journal_holes_parse(struct nf_reader body, struct bd_block_id *ret_first, uint32_t *ret_count,
			   uint64_t *ret_sequence)
{
	struct nf_reader holes = nf_reader_init(body.data, body.size >= 8 ? body.size - 8 : 0);
	struct nf_reader tail = nf_reader_init(body.data + holes.size, body.size - holes.size);
	int error = bd_item_holes_parse(holes, ret_first, ret_count);
	if (error == 0)
		*ret_sequence = nf_read_u64(&tail);
	return error == 0 && tail.failed ? -EUCLEAN : error;
}
