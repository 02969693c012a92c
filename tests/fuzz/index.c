/* Fuzz target: an index of WAL as it comes from disk. Its checksums are made right first, since nearly every mutation would end there; an odd last byte
 * leaves them as they are. */
#include "fuzz.h"

#include <xxhash.h>

#include "walapply/index/wa_index.h"

/* Offsets of walapply/index/index_impl.h. */
#define HEADER 304u
#define SECTIONS 136u
#define HEADER_HASH 296u
#define ROW 32u

static void put_hash(uint8_t *at, const uint8_t *bytes, size_t size)
{
	uint64_t hash = XXH3_64bits(bytes, size);
	memcpy(at, &hash, sizeof(hash));
}

struct place {
	uint32_t at, size;
};

static bool section(const uint8_t *bytes, size_t size, unsigned number, struct place *ret_place)
{
	memcpy(ret_place, bytes + SECTIONS + 16 * (size_t)number, sizeof(*ret_place));
	return ret_place->at <= size && ret_place->size <= size - ret_place->at;
}

/* The rows of `table` each lead to a piece of `data`: offset and size at these offsets in the row. */
static void seal_pieces(uint8_t *bytes, size_t size, unsigned table, unsigned data, unsigned offset_at, unsigned size_at)
{
	struct place rows, pieces;
	if (!section(bytes, size, table, &rows) || !section(bytes, size, data, &pieces))
		return;
	for (size_t at = rows.at; at + ROW <= (size_t)rows.at + rows.size; at += ROW) {
		uint32_t piece;
		uint16_t piece_size;
		memcpy(&piece, bytes + at + offset_at, 4);
		memcpy(&piece_size, bytes + at + size_at, 2);
		if (piece <= pieces.size && piece_size <= pieces.size - piece)
			put_hash(bytes + at + 24, bytes + pieces.at + piece, piece_size);
	}
}

static void seal(uint8_t *bytes, size_t size)
{
	struct place place;
	if (size < HEADER)
		return;
	seal_pieces(bytes, size, 1, 5, 12, 16);
	seal_pieces(bytes, size, 2, 6, 4, 8);
	for (unsigned i = 0; i < 5; i++)
		if (section(bytes, size, i, &place))
			put_hash(bytes + SECTIONS + 16 * (size_t)i + 8, bytes + place.at, place.size);
	put_hash(bytes + HEADER_HASH, bytes, HEADER_HASH);
}

static void look_up(const struct wa_index *index, const struct wa_index_entry *entry)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry other;
	struct wa_error error;
	struct nf_lsn whole;
	uint32_t reach;
	wa_index_seek(index, &entry->block, index->info.base, (struct nf_lsn){entry->lsn.v + 1}, &cursor);
	while (wa_index_next(&cursor, &other, &error) == 1)
		fuzz_expect(other.lsn.v <= entry->lsn.v);
	(void)!wa_index_last_whole(index, &entry->block, index->info.base, index->info.limit, &whole, &error);
	(void)!wa_index_reach(index, entry->block.rel, entry->block.fork, index->info.base, index->info.limit, &reach, &error);
}

static void use(const struct wa_index *index)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	struct wa_index_state_cursor state_cursor;
	struct wa_index_state state;
	struct wa_error error;
	unsigned count = 0;
	wa_index_seek_all(index, &cursor);
	while (wa_index_next(&cursor, &entry, &error) == 1)
		if (count++ % 16 == 0 && count < 1000)
			look_up(index, &entry);
	wa_index_seek_state(index, (struct nf_lsn){index->info.base.v + 8192}, index->info.limit, &state_cursor);
	while (wa_index_next_state(&state_cursor, &state, &error) == 1)
		fuzz_expect(state.lsn.v < index->info.limit.v);
	for (size_t i = 0; i < wa_index_event_count(index); i++)
		fuzz_expect(wa_index_event_find(index, wa_index_event_at(index, i).rel) <= wa_index_event_count(index));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wa_index index;
	struct wa_error error = {0};
	uint8_t *bytes = fuzz_copy(data, size), *merged;
	size_t merged_size;
	if (size > 0 && !(data[size - 1] & 1))
		seal(bytes, size);
	if (wa_index_open(bytes, size, &index, &error) == 0) {
		use(&index);
		int sound = wa_index_verify(&index, &error);
		int status = wa_index_merge(&index, 1, index.info.blocks_only ? WA_MERGE_BLOCKS : WA_MERGE_ALL, &merged, &merged_size, &error);
		fuzz_expect(status == 0 || sound != 0);
		if (status == 0)
			free(merged);
	} else {
		fuzz_expect(error.text[0] != '\0');
	}
	free(bytes);
	return 0;
}
