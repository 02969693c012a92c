/* Writing an index: entries, items and rows come in their final order, chunks and spans are cut as they fill up. */
#include "index_impl.h"

#include <stdlib.h>
#include <xxhash.h>

#define BUFFER_MIN 4096u

static void put32(uint8_t *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, 4);
}

static void put16(uint8_t *to, uint16_t value)
{
	value = htole16(value);
	memcpy(to, &value, 2);
}

static void put64(uint8_t *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, 8);
}

uint8_t *ix_extend(struct ix_buffer *buffer, size_t count)
{
	if (buffer->failed)
		return NULL;
	if (count > buffer->capacity - buffer->size) {
		size_t capacity = NF_MAX(buffer->capacity, (size_t)BUFFER_MIN);
		while (capacity < buffer->size + count)
			capacity *= 2;
		uint8_t *bytes = realloc(buffer->bytes, capacity);
		if (bytes == NULL) {
			buffer->failed = true;
			return NULL;
		}
		buffer->bytes = bytes;
		buffer->capacity = capacity;
	}
	uint8_t *at = buffer->bytes + buffer->size;
	buffer->size += count;
	return at;
}

void ix_free(struct ix_buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct ix_buffer){.bytes = NULL};
}

static void append(struct ix_buffer *buffer, const uint8_t *bytes, size_t size)
{
	uint8_t *at = ix_extend(buffer, size);
	if (at != NULL && size > 0)
		memcpy(at, bytes, size);
}

/* A row of zeros; NULL when there is no room. */
static uint8_t *add_row(struct ix_buffer *buffer, size_t size)
{
	uint8_t *row = ix_extend(buffer, size);
	if (row != NULL)
		memset(row, 0, size);
	return row;
}

/* --------------------------------------------------------------- chunks */

static void close_chunk(struct ix_writer *writer)
{
	if (writer->chunk_count == 0)
		return;
	uint8_t *row = add_row(&writer->chunks, IX_ROW);
	if (row != NULL && !writer->chunk_data.failed) {
		size_t size = writer->chunk_data.size - writer->chunk_at;
		put32(row, writer->chunk_rel);
		put32(row + 4, writer->chunk_blkno);
		put32(row + 8, writer->chunk_lsn);
		put32(row + 12, (uint32_t)writer->chunk_at);
		put16(row + 16, (uint16_t)size);
		put16(row + 18, (uint16_t)writer->chunk_count);
		put32(row + 20, writer->chunk_flags);
		put64(row + 24, XXH3_64bits(writer->chunk_data.bytes + writer->chunk_at, size));
	}
	writer->chunk_count = 0;
	writer->chunk_flags = 0;
}

static size_t encode_group(const struct ix_writer *writer, uint8_t *to)
{
	size_t size = 0;
	uint32_t difference = writer->chunk_count > 0 ? writer->blkno - writer->last_blkno : 0;
	if (writer->chunk_count > 0 && writer->rel != writer->last_rel) {
		size = ix_put_varint(to, (uint64_t)(writer->rel - writer->last_rel) << 2 | IX_NEXT_REL);
		size += ix_put_varint(to + size, writer->blkno);
		difference = 0;
	}
	if (writer->group_count == 1 && !(writer->group_flags[0] & WA_INDEX_IMPLIED)) {
		unsigned kind = writer->group_flags[0] ? IX_SINGLE_WHOLE : IX_SINGLE;
		size += ix_put_varint(to + size, (uint64_t)difference << 2 | kind);
		return size + ix_put_varint(to + size, writer->group_lsn[0]);
	}
	size += ix_put_varint(to + size, (uint64_t)difference << 2 | IX_GROUP);
	size += ix_put_varint(to + size, writer->group_count);
	uint32_t last = 0;
	for (unsigned i = 0; i < writer->group_count; i++) {
		size += ix_put_varint(to + size, (uint64_t)(writer->group_lsn[i] - last) << 2 | writer->group_flags[i]);
		last = writer->group_lsn[i];
	}
	return size;
}

static void flush_group(struct ix_writer *writer)
{
	uint8_t bytes[IX_CHUNK_MAX];
	static_assert(IX_GROUP_MAX * 5 + 3 * IX_VARINT_MAX <= IX_CHUNK_MAX, "a group fits into a chunk");
	if (writer->group_count == 0)
		return;
	size_t size = encode_group(writer, bytes);
	if (writer->chunk_count > 0 && writer->chunk_data.size - writer->chunk_at + size > IX_CHUNK_MAX) {
		close_chunk(writer);
		size = encode_group(writer, bytes);
	}
	if (writer->chunk_count == 0) {
		writer->chunk_at = writer->chunk_data.size;
		writer->chunk_rel = writer->rel;
		writer->chunk_blkno = writer->blkno;
		writer->chunk_lsn = writer->group_lsn[0];
	}
	append(&writer->chunk_data, bytes, size);
	writer->chunk_count += writer->group_count;
	for (unsigned i = 0; i < writer->group_count; i++)
		if (writer->group_flags[i] & WA_INDEX_WHOLE)
			writer->chunk_flags |= IX_HAS_WHOLE;
	writer->last_rel = writer->rel;
	writer->last_blkno = writer->blkno;
	writer->group_count = 0;
}

void ix_put_entry(struct ix_writer *writer, uint32_t blkno, uint32_t lsn, uint8_t flags)
{
	if (writer->group_count > 0 && (blkno != writer->blkno || writer->group_count == IX_GROUP_MAX))
		flush_group(writer);
	writer->blkno = blkno;
	writer->group_lsn[writer->group_count] = lsn;
	writer->group_flags[writer->group_count++] = flags;
	writer->info.entries++;
	if (writer->rels.failed)
		return;
	uint8_t *row = writer->rels.bytes + writer->rel_row;
	put32(row + 16, blkno + 1);
	put32(row + 20, ix_u32(row + 20) + 1);
}

void ix_put_rel(struct ix_writer *writer, struct ix_rel rel)
{
	flush_group(writer);
	writer->rel_row = writer->rels.size;
	writer->rel = (uint32_t)(writer->rels.size / IX_ROW);
	uint8_t *row = add_row(&writer->rels, IX_ROW);
	if (row == NULL)
		return;
	put32(row, rel.spc);
	put32(row + 4, rel.db);
	put32(row + 8, rel.rel);
	put32(row + 12, rel.fork);
}

/* ---------------------------------------------------------------- spans */

static void close_span(struct ix_writer *writer)
{
	if (writer->span_count == 0)
		return;
	uint8_t *row = add_row(&writer->spans, IX_ROW);
	if (row != NULL && !writer->span_data.failed) {
		size_t size = writer->span_data.size - writer->span_at;
		put32(row, writer->span_first);
		put32(row + 4, (uint32_t)writer->span_at);
		put16(row + 8, (uint16_t)size);
		put16(row + 10, (uint16_t)writer->span_count);
		put32(row + 12, writer->span_xid);
		put64(row + 16, (uint64_t)writer->span_time);
		put64(row + 24, XXH3_64bits(writer->span_data.bytes + writer->span_at, size));
	}
	writer->span_count = 0;
}

void ix_put_state(struct ix_writer *writer, uint32_t lsn, const struct wa_index_state *state)
{
	uint8_t bytes[3 * IX_VARINT_MAX];
	if (writer->span_data.size - writer->span_at > IX_CHUNK_MAX - sizeof(bytes))
		close_span(writer);
	if (writer->span_count == 0) {
		writer->span_at = writer->span_data.size;
		writer->span_first = writer->span_last = lsn;
		writer->span_xid = writer->newest_xid;
		writer->span_time = writer->last_time;
	}
	size_t size = ix_put_varint(bytes, (uint64_t)(lsn - writer->span_last) << 2 | state->kind);
	switch (state->kind) {
	case WA_INDEX_XID:
		size += ix_put_varint(bytes + size, state->xid - writer->newest_xid);
		writer->newest_xid = state->xid;
		break;
	case WA_INDEX_COMMIT:
	case WA_INDEX_ABORT:
		size += ix_put_varint(bytes + size, ix_zigzag((int32_t)(state->xid - writer->newest_xid)));
		if (state->kind == WA_INDEX_ABORT)
			break;
		size += ix_put_varint(bytes + size, ix_zigzag((int64_t)((uint64_t)state->time_us - (uint64_t)writer->last_time)));
		writer->last_time = state->time_us;
		break;
	case WA_INDEX_RECORD:
		bytes[size++] = state->rmid;
		bytes[size++] = state->op;
		break;
	}
	append(&writer->span_data, bytes, size);
	writer->span_last = lsn;
	writer->span_count++;
}

/* ----------------------------------------------------------- other rows */

void ix_put_event(struct ix_writer *writer, uint32_t lsn, const struct wa_index_event *event)
{
	uint8_t *row = add_row(&writer->events, IX_ROW);
	if (row == NULL)
		return;
	put32(row, lsn);
	row[4] = event->kind;
	row[5] = event->fork;
	put32(row + 8, event->rel.spc);
	put32(row + 12, event->rel.db);
	put32(row + 16, event->rel.rel);
	put32(row + 20, event->blocks);
	put32(row + 24, event->from_spc);
	put32(row + 28, event->from_db);
}

void ix_put_type(struct ix_writer *writer, const struct wa_index_type *type)
{
	uint8_t *row = add_row(&writer->types, IX_TYPE_ROW);
	if (row == NULL)
		return;
	row[0] = type->op;
	row[1] = type->rmid;
	put32(row + 4, type->count);
	put64(row + 8, type->bytes);
}

/* ------------------------------------------------------ putting together */

static void each_buffer(struct ix_writer *writer, struct ix_buffer *ret_buffers[IX_SECTIONS])
{
	struct ix_buffer *buffers[IX_SECTIONS] = {&writer->rels,  &writer->chunks,     &writer->spans,	  &writer->events,
						  &writer->types, &writer->chunk_data, &writer->span_data};
	memcpy(ret_buffers, buffers, sizeof(buffers));
}

void ix_writer_start(struct ix_writer *writer, const struct wa_index_info *info)
{
	struct ix_buffer *buffers[IX_SECTIONS];
	each_buffer(writer, buffers);
	for (unsigned i = 0; i < IX_SECTIONS; i++) {
		buffers[i]->size = 0;
		buffers[i]->failed = false;
	}
	writer->info = *info;
	writer->chunk_count = writer->chunk_flags = 0;
	writer->rel = writer->blkno = writer->last_rel = writer->last_blkno = 0;
	writer->group_count = 0;
	writer->span_count = writer->newest_xid = 0;
	writer->last_time = 0;
}

void ix_writer_free(struct ix_writer *writer)
{
	struct ix_buffer *buffers[IX_SECTIONS];
	each_buffer(writer, buffers);
	for (unsigned i = 0; i < IX_SECTIONS; i++)
		ix_free(buffers[i]);
}

static void put_header(uint8_t *header, const struct wa_index_info *info)
{
	const uint64_t words[] = {info->base.v,	  info->limit.v,      info->first.v, info->last.v,	 info->end.v,		  info->system_id,
				  info->records, info->record_bytes, info->entries, info->checkpoint.v, info->checkpoint_redo.v,
				  (uint64_t)info->first_commit_us, (uint64_t)info->last_commit_us};
	put64(header, IX_MAGIC);
	put32(header + 8, WA_INDEX_VERSION);
	put32(header + 12, (uint32_t)info->major);
	for (size_t i = 0; i < NF_ARRAY_LEN(words); i++)
		put64(header + 16 + 8 * i, words[i]);
	put32(header + 120, info->newest_xid);
	put32(header + 124, info->first_timeline);
	put32(header + 128, info->last_timeline);
	put32(header + 132, (info->foreign ? IX_FOREIGN : 0) | (info->blocks_only ? IX_BLOCKS_ONLY : 0));
}

int ix_writer_finish(struct ix_writer *writer, uint8_t **ret_bytes, size_t *ret_size)
{
	flush_group(writer);
	close_chunk(writer);
	close_span(writer);
	struct ix_buffer *buffers[IX_SECTIONS];
	each_buffer(writer, buffers);
	size_t size = IX_HEADER;
	int status = 0;
	for (unsigned i = 0; i < IX_SECTIONS; i++) {
		size += buffers[i]->size;
		if (buffers[i]->failed)
			status = -ENOMEM;
	}
	if (status == 0 && size > UINT32_MAX)
		status = -EOVERFLOW;
	uint8_t *bytes = status == 0 ? malloc(size) : NULL;
	if (bytes == NULL)
		return status == 0 ? -ENOMEM : status;
	memset(bytes, 0, IX_HEADER);
	put_header(bytes, &writer->info);
	size_t at = IX_HEADER;
	for (unsigned i = 0; i < IX_SECTIONS; i++) {
		uint8_t *place = bytes + IX_SECTIONS_AT + 16 * (size_t)i;
		bool is_table = i < IX_SECTIONS - 2;
		if (buffers[i]->size > 0)
			memcpy(bytes + at, buffers[i]->bytes, buffers[i]->size);
		put32(place, (uint32_t)at);
		put32(place + 4, (uint32_t)buffers[i]->size);
		put64(place + 8, is_table ? XXH3_64bits(bytes + at, buffers[i]->size) : 0);
		at += buffers[i]->size;
	}
	put64(bytes + IX_HEADER_HASH, XXH3_64bits(bytes, IX_HEADER_HASH));
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}
