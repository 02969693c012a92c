/* The format of an index, and what its writer and its readers share. Integers are little-endian, LSNs in units of 8 bytes from the base.
 *
 *   header, 304 bytes
 *     0 magic u64      8 version u32    12 major u32     16 base u64       24 limit u64     32 first u64      40 last u64
 *    48 end u64       56 system id u64  64 records u64   72 record bytes u64                80 entries u64    88 checkpoint u64
 *    96 its redo u64 104 first commit i64                112 last commit i64               120 newest xid u32
 *   124 first timeline u32             128 last timeline u32                               132 flags u32 (1 foreign, 2 no spans)
 *   136 seven sections: offset u32, size u32, XXH3 u64 (of chunk and span data 0: they are checked piece by piece)
 *   248 zeros         296 XXH3 of bytes 0 .. 296
 *
 *   rels, 32 bytes    0 spc u32   4 db u32   8 rel u32   12 fork u32   16 blocks u32   20 entries u32   24 zeros
 *   chunks, 32 bytes  the first entry: 0 rel u32 (row in rels)   4 blkno u32   8 lsn u32   then 12 offset u32 (in chunk data)   16 size u16
 *                     18 count u16   20 flags u32 (1: holds a WHOLE entry)   24 XXH3 u64
 *   spans, 32 bytes   0 lsn u32 of the first item   4 offset u32 (in span data)   8 size u16   10 count u16   12 newest xid before u32
 *                     16 commit time before i64   24 XXH3 u64
 *   events, 32 bytes  0 lsn u32   4 kind u8   5 fork u8   6 zero u16   8 spc u32   12 db u32   16 rel u32   20 blocks u32
 *                     24 from_spc u32   28 from_db u32
 *   types, 16 bytes   0 op u8   1 rmid u8   2 zero u16   4 count u32   8 bytes u64
 *
 *   A chunk holds entries sorted by (rel, blkno, lsn) as varints (seven bits a byte, low ones first), in groups of one block.
 *   A group begins with a tag, difference << 2 | kind; the difference is blkno - the one before.
 *     GROUP          count; for each entry (lsn - the one before) << 2 | flags, the first from 0
 *     SINGLE         lsn: one entry without flags
 *     SINGLE_WHOLE   lsn: one entry with WA_INDEX_WHOLE
 *     NEXT_REL       difference: of the row in rels; then blkno, then the group's own tag
 *   The first group's block is in the chunk's row: its tag has the difference 0, as that after NEXT_REL. A block with many entries has several groups.
 *
 *   A span holds items of the summary:
 *     (lsn - the one before) << 2 | kind; the first from the span's lsn
 *       XID      xid - newest before
 *       COMMIT   zigzag of (xid - newest), zigzag of (time - the one before)
 *       ABORT    zigzag of (xid - newest)
 *       RECORD   rmid u8, op u8
 */
#ifndef WA_INDEX_IMPL_H
#define WA_INDEX_IMPL_H

#include <endian.h>
#include <string.h>

#include "walapply/index/wa_index.h"

#define IX_MAGIC 0x3158494C41574E46ull /* "FNWALIX1" */
#define IX_HEADER WA_INDEX_HEADER
#define IX_SECTIONS 7u
#define IX_SECTIONS_AT 136u
#define IX_HEADER_HASH 296u
#define IX_ROW 32u /* of all tables but types */
#define IX_TYPE_ROW 16u
#define IX_CHUNK_MAX WA_INDEX_CHUNK_MAX /* bytes of a chunk or span; what is written at once is less */
#define IX_GROUP_MAX 256u /* entries of a group: five bytes each fit into a chunk */
#define IX_UNIT 8u
#define IX_FOREIGN 1u
#define IX_BLOCKS_ONLY 2u
#define IX_HAS_WHOLE 1u
#define IX_VARINT_MAX 10u

enum { IX_GROUP, IX_SINGLE, IX_SINGLE_WHOLE, IX_NEXT_REL }; /* of a tag */

static_assert(IX_SECTIONS_AT + 16 * IX_SECTIONS <= IX_HEADER_HASH && IX_HEADER_HASH + 8 == IX_HEADER, "the header's layout");
static_assert(WA_INDEX_SPAN_MAX / IX_UNIT <= UINT32_MAX, "LSNs in units fit into 32 bits");

/* Bytes that grow. A failed growth is kept in `failed`, and everything after it is dropped. */
struct ix_buffer {
	uint8_t *bytes;
	size_t size, capacity;
	bool failed;
};

/* Room for `count` more bytes; NULL when there is none. They count as written. */
uint8_t *ix_extend(struct ix_buffer *buffer, size_t count);
void ix_free(struct ix_buffer *buffer);

static inline size_t ix_put_varint(uint8_t *to, uint64_t value)
{
	size_t size = 0;
	for (; value >= 0x80; value >>= 7)
		to[size++] = (uint8_t)(value | 0x80);
	to[size++] = (uint8_t)value;
	return size;
}

/* Returns false when the bytes end inside it, or it is no 64-bit number. */
static inline bool ix_get_varint(struct wa_index_section *data, uint64_t *ret_value)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (data->size == 0)
			return false;
		uint8_t byte = *data->at++;
		data->size--;
		value |= (uint64_t)(byte & 0x7F) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return shift < 63 || byte <= 1;
		}
	}
	return false;
}

static inline uint64_t ix_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t ix_unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static inline uint32_t ix_u32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, 4);
	return le32toh(value);
}

static inline uint16_t ix_u16(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, 2);
	return le16toh(value);
}

static inline uint64_t ix_u64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, 8);
	return le64toh(value);
}

/* A fork by its place in the order of all: 16 bytes that compare like numbers. */
struct ix_rel {
	uint32_t spc, db, rel, fork;
};

static inline int ix_rel_compare(struct ix_rel a, struct ix_rel b)
{
	const uint64_t ka[2] = {(uint64_t)a.spc << 32 | a.db, (uint64_t)a.rel << 32 | a.fork};
	const uint64_t kb[2] = {(uint64_t)b.spc << 32 | b.db, (uint64_t)b.rel << 32 | b.fork};
	if (ka[0] != kb[0])
		return ka[0] < kb[0] ? -1 : 1;
	return ka[1] == kb[1] ? 0 : ka[1] < kb[1] ? -1 : 1;
}

/* The writer: everything comes in its final order. */
struct ix_writer {
	struct wa_index_info info;
	struct ix_buffer rels, chunks, spans, events, types, chunk_data, span_data;

	/* the chunk under way */
	uint32_t chunk_rel, chunk_blkno, chunk_lsn, chunk_count, chunk_flags;
	size_t chunk_at; /* where it begins in chunk_data; chunk_count 0 = there is none */

	/* the group under way: entries not written yet */
	uint32_t rel, blkno;
	uint32_t group_lsn[IX_GROUP_MAX];
	uint8_t group_flags[IX_GROUP_MAX];
	unsigned group_count;
	uint32_t last_rel, last_blkno; /* of the group before, in the chunk */
	size_t rel_row;		       /* of `rel` in rels */

	/* the span under way */
	size_t span_at;
	uint32_t span_first, span_count, span_xid, newest_xid, span_last;
	int64_t span_time, last_time;
};

/* Begin a new index; *writer is all zeros, or was started before: then its memory is used again. */
void ix_writer_start(struct ix_writer *writer, const struct wa_index_info *info);
void ix_writer_free(struct ix_writer *writer);

/* Begin the next row of rels, its entries follow. */
void ix_put_rel(struct ix_writer *writer, struct ix_rel rel);
void ix_put_entry(struct ix_writer *writer, uint32_t blkno, uint32_t lsn, uint8_t flags);
void ix_put_state(struct ix_writer *writer, uint32_t lsn, const struct wa_index_state *state);
void ix_put_event(struct ix_writer *writer, uint32_t lsn, const struct wa_index_event *event);
void ix_put_type(struct ix_writer *writer, const struct wa_index_type *type);

/* Put it all together: as wa_index_finish. Then the writer must be started again, or freed. */
NF_MUST_CHECK int ix_writer_finish(struct ix_writer *writer, uint8_t **ret_bytes, size_t *ret_size);

/* Refuse an index because of `what`. Returns -EBADMSG. */
int ix_damaged(const struct wa_index *index, struct wa_error *error, const char *what);

/* Take a commit's time into account. */
static inline void ix_note_commit(struct wa_index_info *info, int64_t time_us)
{
	bool none = info->first_commit_us == 0 && info->last_commit_us == 0;
	if (none || time_us < info->first_commit_us)
		info->first_commit_us = time_us;
	if (none || time_us > info->last_commit_us)
		info->last_commit_us = time_us;
}

/* Is xid newer than `newest` (0: there is none yet)? */
static inline bool ix_newer(uint32_t xid, uint32_t newest)
{
	return xid >= 3 && (newest == 0 || (int32_t)(xid - newest) > 0);
}

/* The LSN of a record that starts `units` behind the base. */
static inline struct nf_lsn ix_lsn(const struct wa_index *index, uint32_t units)
{
	return (struct nf_lsn){index->info.base.v + (uint64_t)units * IX_UNIT};
}

#endif
