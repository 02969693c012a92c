/* Opening an index, all of it or its tables alone: header and tables are checked here, pieces of entries when they are read. */
#include "index_impl.h"

#include <xxhash.h>

int ix_damaged(const struct wa_index *index, struct wa_error *error, const char *what)
{
	return wa_bad(error, index->info.base, "the index of this WAL is damaged: %s", what);
}

static void read_info(const uint8_t *header, struct wa_index_info *ret_info)
{
	uint64_t words[13];
	for (size_t i = 0; i < NF_ARRAY_LEN(words); i++)
		words[i] = ix_u64(header + 16 + 8 * i);
	*ret_info = (struct wa_index_info){
		.major = (int)ix_u32(header + 12),
		.base = {words[0]},
		.limit = {words[1]},
		.first = {words[2]},
		.last = {words[3]},
		.end = {words[4]},
		.system_id = words[5],
		.records = words[6],
		.record_bytes = words[7],
		.entries = words[8],
		.checkpoint = {words[9]},
		.checkpoint_redo = {words[10]},
		.first_commit_us = (int64_t)words[11],
		.last_commit_us = (int64_t)words[12],
		.newest_xid = ix_u32(header + 120),
		.first_timeline = ix_u32(header + 124),
		.last_timeline = ix_u32(header + 128),
		.foreign = (ix_u32(header + 132) & IX_FOREIGN) != 0,
		.blocks_only = (ix_u32(header + 132) & IX_BLOCKS_ONLY) != 0,
	};
}

/* Place a section and check what can be checked of it at once. Of `size` bytes of the file, `present` are in memory. */
static bool read_section(const uint8_t *bytes, size_t present, size_t size, unsigned number, size_t row,
			 struct wa_index_section *ret_section)
{
	const uint8_t *place = bytes + IX_SECTIONS_AT + 16 * (size_t)number;
	size_t at = ix_u32(place), length = ix_u32(place + 4);
	bool is_table = row > 1;
	if (at < IX_HEADER || at > size || length > size - at || length % row != 0)
		return false;
	if (is_table && (at + length > present || XXH3_64bits(bytes + at, length) != ix_u64(place + 8)))
		return false;
	*ret_section = (struct wa_index_section){at + length <= present ? bytes + at : NULL, length};
	return true;
}

int wa_index_read_info(const uint8_t *bytes, size_t size, struct wa_index_info *ret_info, struct wa_error *error)
{
	struct wa_index index = {.info = {.major = 0}};
	if (size < IX_HEADER || ix_u64(bytes) != IX_MAGIC)
		return wa_bad(error, (struct nf_lsn){0}, "this is no index of WAL");
	if (ix_u32(bytes + 8) != WA_INDEX_VERSION) {
		wa_bad(error, (struct nf_lsn){0}, "this index of WAL has version %u; only %u is known", ix_u32(bytes + 8), WA_INDEX_VERSION);
		return -ENOTSUP;
	}
	if (XXH3_64bits(bytes, IX_HEADER_HASH) != ix_u64(bytes + IX_HEADER_HASH))
		return ix_damaged(&index, error, "its header");
	read_info(bytes, &index.info);
	if (index.info.limit.v <= index.info.base.v || index.info.limit.v - index.info.base.v > WA_INDEX_SPAN_MAX)
		return ix_damaged(&index, error, "its range");
	*ret_info = index.info;
	return 0;
}

#define TABLES 5u /* of the sections, the first */

int wa_index_tables_size(const uint8_t *bytes, size_t size, size_t *ret_size, struct wa_error *error)
{
	struct wa_index_info info;
	int status = wa_index_read_info(bytes, size, &info, error);
	size_t end = IX_HEADER;
	for (unsigned i = 0; i < TABLES && status == 0; i++) {
		const uint8_t *place = bytes + IX_SECTIONS_AT + 16 * (size_t)i;
		end = NF_MAX(end, (size_t)ix_u32(place) + ix_u32(place + 4));
	}
	if (status == 0)
		*ret_size = end;
	return status;
}

static int open_sections(const uint8_t *bytes, size_t present, size_t size, struct wa_index *ret_index, struct wa_error *error)
{
	struct wa_index index = {.info = {.major = 0}};
	int status = wa_index_read_info(bytes, present, &index.info, error);
	if (status < 0)
		return status;
	struct wa_index_section *sections[IX_SECTIONS] = {&index.rels,	&index.chunks,	   &index.spans,    &index.events,
							  &index.types, &index.chunk_data, &index.span_data};
	static const size_t rows[IX_SECTIONS] = {IX_ROW, IX_ROW, IX_ROW, IX_ROW, IX_TYPE_ROW, 1, 1};
	for (unsigned i = 0; i < IX_SECTIONS; i++)
		if (!read_section(bytes, present, size, i, rows[i], sections[i]))
			return ix_damaged(&index, error, "one of its tables");
	*ret_index = index;
	return 0;
}

int wa_index_open(const uint8_t *bytes, size_t size, struct wa_index *ret_index, struct wa_error *error)
{
	return open_sections(bytes, size, size, ret_index, error);
}

int wa_index_open_tables(const uint8_t *bytes, size_t size, size_t file_size,
			 int (*fetch)(void *arg, uint32_t offset, size_t size, uint8_t *to), void *arg, struct wa_index *ret_index,
			 struct wa_error *error)
{
	int status = open_sections(bytes, size, file_size, ret_index, error);
	if (status < 0)
		return status;
	ret_index->fetch = fetch;
	ret_index->arg = arg;
	ret_index->chunks_at = ix_u32(bytes + IX_SECTIONS_AT + 16 * TABLES);
	return 0;
}
