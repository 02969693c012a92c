/* The check of a whole index: what single look-ups take for granted. */
#include "index_impl.h"

static int block_order(const struct wa_index_entry *a, const struct wa_index_entry *b)
{
	int order = ix_rel_compare((struct ix_rel){a->block.rel.spc, a->block.rel.db, a->block.rel.rel, a->block.fork},
				   (struct ix_rel){b->block.rel.spc, b->block.rel.db, b->block.rel.rel, b->block.fork});
	if (order != 0)
		return order;
	if (a->block.blkno != b->block.blkno)
		return a->block.blkno < b->block.blkno ? -1 : 1;
	return a->lsn.v == b->lsn.v ? 0 : a->lsn.v < b->lsn.v ? -1 : 1;
}

static int verify_entries(const struct wa_index *index, struct wa_error *error)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry, last;
	uint64_t count = 0;
	int status;
	wa_index_seek_all(index, &cursor);
	for (; (status = wa_index_next(&cursor, &entry, error)) == 1; last = entry, count++)
		if ((count > 0 && block_order(&last, &entry) >= 0) || entry.lsn.v >= index->info.limit.v)
			return ix_damaged(index, error, "its entries are not sorted");
	if (status == 0 && count != index->info.entries)
		return ix_damaged(index, error, "entries are missing");
	return status;
}

/* Each chunk's row says which entry it begins with, and how many follow. */
static int verify_chunks(const struct wa_index *index, struct wa_error *error)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	size_t rows = index->chunks.size / IX_ROW;
	wa_index_seek_all(index, &cursor);
	for (size_t i = 0; i < rows; i++) {
		const uint8_t *row = index->chunks.at + i * IX_ROW;
		unsigned count = ix_u16(row + 18);
		bool whole = false;
		for (unsigned k = 0; k < count; k++) {
			int status = wa_index_next(&cursor, &entry, error);
			if (status < 0)
				return status;
			bool first_fits = k > 0 || (cursor.at_rel == ix_u32(row) && cursor.at_blkno == ix_u32(row + 4) &&
						    cursor.at_lsn == ix_u32(row + 8));
			if (status == 0 || cursor.chunk != i + 1 || !first_fits)
				return ix_damaged(index, error, "the table of its pieces");
			whole |= (entry.flags & WA_INDEX_WHOLE) != 0;
		}
		if (count == 0 || cursor.data.size > 0 || cursor.group_left > 0 || whole != ((ix_u32(row + 20) & IX_HAS_WHOLE) != 0))
			return ix_damaged(index, error, "the table of its pieces");
	}
	return 0;
}

static int verify_state(const struct wa_index *index, struct wa_error *error)
{
	struct wa_index_state_cursor cursor;
	struct wa_index_state state;
	struct nf_lsn last = index->info.base;
	int status;
	if (index->info.blocks_only)
		return index->spans.size + index->span_data.size == 0 ? 0 : ix_damaged(index, error, "a summary that it says it has not");
	wa_index_seek_state(index, index->info.base, index->info.limit, &cursor);
	for (; (status = wa_index_next_state(&cursor, &state, error)) == 1; last = state.lsn)
		if (state.lsn.v < last.v)
			return ix_damaged(index, error, "its summary is not sorted");
	if (status == 0 && (cursor.data.size > 0 || cursor.span != index->spans.size / IX_ROW))
		return ix_damaged(index, error, "its summary leads outside of its range");
	return status;
}

static int verify_tables(const struct wa_index *index, struct wa_error *error)
{
	for (size_t i = 1; i < wa_index_rel_count(index); i++) {
		struct wa_index_rel a = wa_index_rel_at(index, i - 1), b = wa_index_rel_at(index, i);
		if (ix_rel_compare((struct ix_rel){a.rel.spc, a.rel.db, a.rel.rel, a.fork},
				   (struct ix_rel){b.rel.spc, b.rel.db, b.rel.rel, b.fork}) >= 0)
			return ix_damaged(index, error, "its relations are not sorted");
	}
	for (size_t i = 0; i < wa_index_event_count(index); i++) {
		struct wa_index_event b = wa_index_event_at(index, i);
		if (b.kind < WA_EVENT_CREATE || b.kind > WA_EVENT_RELMAP || b.lsn.v >= index->info.limit.v)
			return ix_damaged(index, error, "an event that there is not");
		struct wa_index_event a = wa_index_event_at(index, i > 0 ? i - 1 : 0);
		int order = ix_rel_compare((struct ix_rel){a.rel.spc, a.rel.db, a.rel.rel, 0},
					   (struct ix_rel){b.rel.spc, b.rel.db, b.rel.rel, 0});
		if (order > 0 || (order == 0 && a.lsn.v > b.lsn.v))
			return ix_damaged(index, error, "its events are not sorted");
	}
	return 0;
}

int wa_index_verify(const struct wa_index *index, struct wa_error *error)
{
	int status = verify_tables(index, error);
	if (status == 0)
		status = verify_entries(index, error);
	if (status == 0)
		status = verify_chunks(index, error);
	if (status == 0)
		status = verify_state(index, error);
	return status;
}
