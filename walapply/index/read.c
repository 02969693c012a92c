/* Reading an index: its tables by row, its entries by block.
 * The bytes may be anything that passes the checksums: places, counts and rows are checked before they are used. */
#include "index_impl.h"

#include <xxhash.h>

/* ---------------------------------------------------------------- rows */

static size_t row_count(struct wa_index_section table, size_t row)
{
	return table.size / row;
}

static struct ix_rel rel_row(const struct wa_index *index, size_t i)
{
	const uint8_t *row = index->rels.at + i * IX_ROW;
	return (struct ix_rel){ix_u32(row), ix_u32(row + 4), ix_u32(row + 8), ix_u32(row + 12)};
}

size_t wa_index_rel_count(const struct wa_index *index)
{
	return row_count(index->rels, IX_ROW);
}

struct wa_index_rel wa_index_rel_at(const struct wa_index *index, size_t i)
{
	assert(i < wa_index_rel_count(index));
	const uint8_t *row = index->rels.at + i * IX_ROW;
	return (struct wa_index_rel){.rel = {ix_u32(row), ix_u32(row + 4), ix_u32(row + 8)},
				     .fork = ix_u32(row + 12),
				     .blocks = ix_u32(row + 16),
				     .entries = ix_u32(row + 20)};
}

size_t wa_index_event_count(const struct wa_index *index)
{
	return row_count(index->events, IX_ROW);
}

struct wa_index_event wa_index_event_at(const struct wa_index *index, size_t i)
{
	assert(i < wa_index_event_count(index));
	const uint8_t *row = index->events.at + i * IX_ROW;
	return (struct wa_index_event){.lsn = ix_lsn(index, ix_u32(row)),
				       .kind = row[4],
				       .fork = row[5],
				       .rel = {ix_u32(row + 8), ix_u32(row + 12), ix_u32(row + 16)},
				       .blocks = ix_u32(row + 20),
				       .from_spc = ix_u32(row + 24),
				       .from_db = ix_u32(row + 28)};
}

size_t wa_index_event_find(const struct wa_index *index, struct wa_locator rel)
{
	size_t low = 0, high = wa_index_event_count(index);
	const struct ix_rel wanted = {rel.spc, rel.db, rel.rel, 0};
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const uint8_t *row = index->events.at + middle * IX_ROW;
		struct ix_rel at = {ix_u32(row + 8), ix_u32(row + 12), ix_u32(row + 16), 0};
		if (ix_rel_compare(at, wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t wa_index_type_count(const struct wa_index *index)
{
	return row_count(index->types, IX_TYPE_ROW);
}

struct wa_index_type wa_index_type_at(const struct wa_index *index, size_t i)
{
	assert(i < wa_index_type_count(index));
	const uint8_t *row = index->types.at + i * IX_TYPE_ROW;
	return (struct wa_index_type){.rmid = row[1], .op = row[0], .count = ix_u32(row + 4), .bytes = ix_u64(row + 8)};
}

/* -------------------------------------------------------------- entries */

/* LSN `lsn` in units from the base, rounded up, kept inside the range. */
static uint32_t units(const struct wa_index *index, struct nf_lsn lsn)
{
	if (lsn.v <= index->info.base.v)
		return 0;
	uint64_t distance = NF_MIN(lsn.v, index->info.limit.v) - index->info.base.v;
	return (uint32_t)((distance + IX_UNIT - 1) / IX_UNIT);
}

/* The row of a fork, or that of the next one; *ret_found: it is there. */
static uint32_t find_rel(const struct wa_index *index, struct ix_rel wanted, bool *ret_found)
{
	size_t low = 0, high = wa_index_rel_count(index);
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ix_rel_compare(rel_row(index, middle), wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = low < wa_index_rel_count(index) && ix_rel_compare(rel_row(index, low), wanted) == 0;
	return (uint32_t)low;
}

/* -1, 0, 1 as the entry (rel, blkno, lsn) comes before, at or after the other. */
static int entry_compare(uint32_t rel_a, uint32_t blkno_a, uint32_t lsn_a, uint32_t rel_b, uint32_t blkno_b, uint32_t lsn_b)
{
	if (rel_a != rel_b)
		return rel_a < rel_b ? -1 : 1;
	if (blkno_a != blkno_b)
		return blkno_a < blkno_b ? -1 : 1;
	return lsn_a == lsn_b ? 0 : lsn_a < lsn_b ? -1 : 1;
}

static uint32_t chunk_count(const struct wa_index *index)
{
	return (uint32_t)row_count(index->chunks, IX_ROW);
}

/* The last chunk that begins at or before (rel, blkno, lsn): the first that may hold it or what follows it. */
static uint32_t find_chunk(const struct wa_index *index, uint32_t rel, uint32_t blkno, uint32_t lsn)
{
	uint32_t low = 0, high = chunk_count(index);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const uint8_t *row = index->chunks.at + (size_t)middle * IX_ROW;
		if (entry_compare(ix_u32(row), ix_u32(row + 4), ix_u32(row + 8), rel, blkno, lsn) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? low - 1 : 0;
}

/* Begin with chunk number cursor->chunk. Returns 0; -EBADMSG (error); or what index->fetch returned. */
static int load_chunk(struct wa_index_cursor *cursor, struct wa_error *error)
{
	const struct wa_index *index = cursor->index;
	const uint8_t *row = index->chunks.at + (size_t)cursor->chunk++ * IX_ROW;
	size_t at = ix_u32(row + 12), size = ix_u16(row + 16);
	if (at > index->chunk_data.size || size > index->chunk_data.size - at || size == 0)
		return ix_damaged(index, error, "a piece of its entries");
	if (index->fetch == NULL) {
		cursor->data = (struct wa_index_section){index->chunk_data.at + at, size};
	} else if (size > sizeof(cursor->fetched)) {
		return ix_damaged(index, error, "a piece of its entries");
	} else {
		int status = index->fetch(index->arg, index->chunks_at + (uint32_t)at, size, cursor->fetched);
		if (status < 0)
			return status;
		cursor->data = (struct wa_index_section){cursor->fetched, size};
	}
	cursor->at_rel = ix_u32(row);
	cursor->at_blkno = ix_u32(row + 4);
	cursor->group_left = 0;
	return XXH3_64bits(cursor->data.at, size) == ix_u64(row + 24) ? 0 : ix_damaged(index, error, "a piece of its entries");
}

static bool get32(struct wa_index_section *data, uint32_t *ret_value)
{
	uint64_t value;
	if (!ix_get_varint(data, &value) || value > UINT32_MAX)
		return false;
	*ret_value = (uint32_t)value;
	return true;
}

/* The head of a group, up to its first entry. *ret_flags: of a single one, whose LSN is read too. */
static bool read_group(struct wa_index_cursor *cursor, bool *ret_single, uint8_t *ret_flags)
{
	uint64_t tag;
	if (!ix_get_varint(&cursor->data, &tag))
		return false;
	if ((tag & 3) == IX_NEXT_REL) {
		if (tag >> 2 > UINT32_MAX - cursor->at_rel)
			return false;
		cursor->at_rel += (uint32_t)(tag >> 2);
		if (!get32(&cursor->data, &cursor->at_blkno) || !ix_get_varint(&cursor->data, &tag) || tag >> 2 != 0)
			return false;
	}
	if (cursor->at_rel >= wa_index_rel_count(cursor->index) || tag >> 2 > UINT32_MAX - cursor->at_blkno)
		return false;
	cursor->at_blkno += (uint32_t)(tag >> 2);
	cursor->at_lsn = 0;
	*ret_single = (tag & 3) != IX_GROUP;
	*ret_flags = (tag & 3) == IX_SINGLE_WHOLE ? WA_INDEX_WHOLE : 0;
	if ((tag & 3) == IX_NEXT_REL)
		return false;
	if (*ret_single)
		return get32(&cursor->data, &cursor->at_lsn);
	return get32(&cursor->data, &cursor->group_left) && cursor->group_left > 0;
}

/* The next entry of the chunk: at_rel, at_blkno, at_lsn and its flags. */
static bool read_entry(struct wa_index_cursor *cursor, uint8_t *ret_flags)
{
	bool single;
	uint64_t value;
	if (cursor->group_left == 0) {
		if (!read_group(cursor, &single, ret_flags))
			return false;
		if (single)
			return true;
	}
	if (!ix_get_varint(&cursor->data, &value) || value >> 2 > UINT32_MAX - cursor->at_lsn)
		return false;
	cursor->group_left--;
	cursor->at_lsn += (uint32_t)(value >> 2);
	*ret_flags = value & 3;
	return true;
}

void wa_index_seek(const struct wa_index *index, const struct wa_block *block, struct nf_lsn from, struct nf_lsn to,
		   struct wa_index_cursor *ret_cursor)
{
	bool found;
	uint32_t rel = find_rel(index, (struct ix_rel){block->rel.spc, block->rel.db, block->rel.rel, block->fork}, &found);
	*ret_cursor = (struct wa_index_cursor){.index = index, .rel = rel, .blkno = block->blkno, .from = units(index, from),
					       .to = units(index, to)};
	ret_cursor->done = !found || chunk_count(index) == 0 || ret_cursor->from >= ret_cursor->to;
	if (!ret_cursor->done)
		ret_cursor->chunk = find_chunk(index, rel, block->blkno, ret_cursor->from);
}

bool wa_index_seek_place(const struct wa_index *index, const struct wa_block *block, struct nf_lsn from, struct nf_lsn to,
			 uint32_t *ret_offset, size_t *ret_size)
{
	bool found;
	uint32_t rel = find_rel(index, (struct ix_rel){block->rel.spc, block->rel.db, block->rel.rel, block->fork}, &found);
	if (!found || chunk_count(index) == 0 || units(index, from) >= units(index, to))
		return false;
	const uint8_t *row = index->chunks.at + (size_t)find_chunk(index, rel, block->blkno, units(index, from)) * IX_ROW;
	*ret_offset = index->chunks_at + ix_u32(row + 12);
	*ret_size = ix_u16(row + 16);
	return true;
}

void wa_index_seek_all(const struct wa_index *index, struct wa_index_cursor *ret_cursor)
{
	*ret_cursor = (struct wa_index_cursor){.index = index, .all = true, .to = UINT32_MAX};
}

void wa_index_seek_behind(const struct wa_index *index, const struct wa_block *first, struct wa_index_cursor *ret_cursor)
{
	bool found;
	uint32_t rel = find_rel(index, (struct ix_rel){first->rel.spc, first->rel.db, first->rel.rel, first->fork}, &found);
	wa_index_seek_all(index, ret_cursor);
	ret_cursor->chunk = find_chunk(index, rel, found ? first->blkno : 0, 0);
}

static void give(const struct wa_index_cursor *cursor, uint8_t flags, struct wa_index_entry *ret_entry)
{
	struct ix_rel rel = rel_row(cursor->index, cursor->at_rel);
	*ret_entry = (struct wa_index_entry){.block = {.rel = {rel.spc, rel.db, rel.rel}, .fork = rel.fork, .blkno = cursor->at_blkno},
					     .lsn = ix_lsn(cursor->index, cursor->at_lsn),
					     .flags = flags};
}

int wa_index_next(struct wa_index_cursor *cursor, struct wa_index_entry *ret_entry, struct wa_error *error)
{
	uint8_t flags = 0;
	while (!cursor->done) {
		if (cursor->data.size == 0 && cursor->group_left == 0) {
			if (cursor->chunk == chunk_count(cursor->index))
				break;
			int status = load_chunk(cursor, error);
			if (status < 0) {
				cursor->done = true;
				return status;
			}
		}
		if (!read_entry(cursor, &flags)) {
			cursor->done = true;
			return ix_damaged(cursor->index, error, "an entry that makes no sense");
		}
		if (!cursor->all) {
			if (entry_compare(cursor->at_rel, cursor->at_blkno, cursor->at_lsn, cursor->rel, cursor->blkno, cursor->to) >= 0)
				break;
			if (entry_compare(cursor->at_rel, cursor->at_blkno, cursor->at_lsn, cursor->rel, cursor->blkno, cursor->from) < 0)
				continue;
		}
		give(cursor, flags, ret_entry);
		return 1;
	}
	cursor->done = true;
	return 0;
}

/* A cursor on chunk `chunk` alone, given entry by entry. */
static struct wa_index_cursor on_chunk(const struct wa_index *index, uint32_t chunk)
{
	return (struct wa_index_cursor){.index = index, .all = true, .chunk = chunk};
}

int wa_index_last_whole(const struct wa_index *index, const struct wa_block *block, struct nf_lsn from, struct nf_lsn to,
			struct nf_lsn *ret_lsn, struct wa_error *error)
{
	struct wa_index_cursor range;
	wa_index_seek(index, block, from, to, &range);
	if (range.done)
		return 0;
	for (uint32_t chunk = find_chunk(index, range.rel, range.blkno, range.to) + 1; chunk-- > range.chunk;) {
		if (!(ix_u32(index->chunks.at + (size_t)chunk * IX_ROW + 20) & IX_HAS_WHOLE))
			continue;
		struct wa_index_cursor cursor = on_chunk(index, chunk);
		uint8_t flags;
		bool found = false;
		int status = load_chunk(&cursor, error);
		if (status < 0)
			return status;
		while (cursor.data.size > 0 || cursor.group_left > 0) {
			if (!read_entry(&cursor, &flags))
				return ix_damaged(index, error, "an entry that makes no sense");
			if (cursor.at_rel != range.rel || cursor.at_blkno != range.blkno || cursor.at_lsn < range.from ||
			    cursor.at_lsn >= range.to || !(flags & WA_INDEX_WHOLE))
				continue;
			*ret_lsn = ix_lsn(index, cursor.at_lsn);
			found = true;
		}
		if (found)
			return 1;
	}
	return 0;
}

/* One more than the highest block of row `row` in this chunk with an LSN in [from, to); 0 = none. */
static int chunk_reach(const struct wa_index *index, uint32_t chunk, uint32_t row, uint32_t from, uint32_t to, uint32_t *ret_reach,
		       struct wa_error *error)
{
	struct wa_index_cursor cursor = on_chunk(index, chunk);
	uint8_t flags;
	*ret_reach = 0;
	int status = load_chunk(&cursor, error);
	if (status < 0)
		return status;
	while (cursor.data.size > 0 || cursor.group_left > 0) {
		if (!read_entry(&cursor, &flags))
			return ix_damaged(index, error, "a piece of its entries");
		if (cursor.at_rel == row && cursor.at_lsn >= from && cursor.at_lsn < to)
			*ret_reach = cursor.at_blkno + 1;
	}
	return 0;
}

int wa_index_reach(const struct wa_index *index, struct wa_locator rel, uint32_t fork, struct nf_lsn from, struct nf_lsn to,
		   uint32_t *ret_blocks, struct wa_error *error)
{
	bool found;
	uint32_t row = find_rel(index, (struct ix_rel){rel.spc, rel.db, rel.rel, fork}, &found), reach = 0;
	if (found && chunk_count(index) > 0)
		for (uint32_t chunk = find_chunk(index, row, UINT32_MAX, UINT32_MAX) + 1; chunk-- > 0 && reach == 0;) {
			int status = chunk_reach(index, chunk, row, units(index, from), units(index, to), &reach, error);
			if (status < 0)
				return status;
			if (ix_u32(index->chunks.at + (size_t)chunk * IX_ROW) < row)
				break; /* the fork's first entries */
		}
	*ret_blocks = reach;
	return 0;
}

/* ---------------------------------------------------------------- state */

static uint32_t span_count(const struct wa_index *index)
{
	return (uint32_t)row_count(index->spans, IX_ROW);
}

void wa_index_seek_state(const struct wa_index *index, struct nf_lsn from, struct nf_lsn to, struct wa_index_state_cursor *ret_cursor)
{
	uint32_t low = 0, high = span_count(index), first = units(index, from);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		/* Items of one record may lie in two spans: the one before the first that begins at `first`. */
		if (ix_u32(index->spans.at + (size_t)middle * IX_ROW) < first)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_cursor = (struct wa_index_state_cursor){.index = index, .from = first, .to = units(index, to), .span = low > 0 ? low - 1 : 0};
}

static bool load_span(struct wa_index_state_cursor *cursor)
{
	const struct wa_index *index = cursor->index;
	const uint8_t *row = index->spans.at + (size_t)cursor->span++ * IX_ROW;
	size_t at = ix_u32(row + 4), size = ix_u16(row + 8);
	if (index->span_data.at == NULL || at > index->span_data.size || size > index->span_data.size - at || size == 0)
		return false;
	cursor->data = (struct wa_index_section){index->span_data.at + at, size};
	cursor->at_lsn = ix_u32(row);
	cursor->at_xid = ix_u32(row + 12);
	cursor->at_time = (int64_t)ix_u64(row + 16);
	return XXH3_64bits(cursor->data.at, size) == ix_u64(row + 24);
}

static bool read_state(struct wa_index_state_cursor *cursor, struct wa_index_state *state)
{
	uint64_t tag, value;
	struct wa_index_section *data = &cursor->data;
	if (!ix_get_varint(data, &tag) || tag >> 2 > UINT32_MAX - cursor->at_lsn)
		return false;
	cursor->at_lsn += (uint32_t)(tag >> 2);
	*state = (struct wa_index_state){.lsn = ix_lsn(cursor->index, cursor->at_lsn), .kind = tag & 3};
	if (state->kind == WA_INDEX_RECORD) {
		if (data->size < 2)
			return false;
		state->rmid = data->at[0];
		state->op = data->at[1];
		data->at += 2;
		data->size -= 2;
		return true;
	}
	if (!ix_get_varint(data, &value))
		return false;
	state->xid = cursor->at_xid + (uint32_t)(state->kind == WA_INDEX_XID ? value : (uint64_t)ix_unzigzag(value));
	if (state->kind == WA_INDEX_XID)
		cursor->at_xid = state->xid;
	if (state->kind != WA_INDEX_COMMIT)
		return true;
	if (!ix_get_varint(data, &value))
		return false;
	cursor->at_time = (int64_t)((uint64_t)cursor->at_time + (uint64_t)ix_unzigzag(value));
	state->time_us = cursor->at_time;
	return true;
}

int wa_index_next_state(struct wa_index_state_cursor *cursor, struct wa_index_state *ret_state, struct wa_error *error)
{
	struct wa_index_state state;
	if (cursor->index->info.blocks_only)
		return wa_bad(error, cursor->index->info.base, "this index of WAL was merged without what changes outside of pages");
	while (!cursor->done) {
		if (cursor->data.size == 0) {
			if (cursor->span == span_count(cursor->index))
				break;
			if (!load_span(cursor)) {
				cursor->done = true;
				return ix_damaged(cursor->index, error, "a piece of its summary");
			}
		}
		if (!read_state(cursor, &state)) {
			cursor->done = true;
			return ix_damaged(cursor->index, error, "an item of its summary that makes no sense");
		}
		if (cursor->at_lsn >= cursor->to)
			break;
		if (cursor->at_lsn < cursor->from)
			continue;
		*ret_state = state;
		return 1;
	}
	cursor->done = true;
	return 0;
}
