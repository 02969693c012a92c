/* Pieces of the log: piece.h has the format. The header, 72 bytes:
 *
 *   0 magic "NFP1" u32, 4 version u32, 8 store id u64, 16 from u64, 24 to u64, 32 read i64, 40 size of the body u64,
 *   48 size of the frame u64, 56 XXH3 of the frame u64, 64 XXH3 of bytes 0-63 u64 */
#include "blockdev/tier/piece.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/frame.h"

#define PIECE_MAGIC 0x3150464eu /* "NFP1" */
#define PIECE_VERSION 1u
#define PIECE_BODY_MAX (UINT64_C(512) << 20)
#define EXTENT_ID_END (1u << 30)
#define RUN_BYTES 12u

static_assert(2 * sizeof(uint32_t) + 8 * sizeof(uint64_t) == BD_PIECE_HEAD_SIZE, "piece header layout");

void bd_piece_free(struct bd_piece *piece)
{
	free(piece->runs);
	free(piece->memory);
	*piece = (struct bd_piece){0};
}

static bool range_is_possible(uint64_t from, uint64_t to)
{
	return from < to && from % NF_IO_ALIGN == 0 && to % NF_IO_ALIGN == 0 && to - from <= PIECE_BODY_MAX;
}

static bool run_is_possible(const struct bd_piece_run *run)
{
	return run->extent < EXTENT_ID_END && run->count > 0 && run->count <= BD_EXTENT_SLOTS && run->slot <= BD_EXTENT_SLOTS - run->count;
}

/* Bytes of blocks in all runs; UINT64_MAX when one of them is none. */
static uint64_t block_bytes(const struct bd_piece *piece)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < piece->run_count; i++) {
		if (!run_is_possible(&piece->runs[i]))
			return UINT64_MAX;
		bytes += (uint64_t)piece->runs[i].count * NF_BLOCK_SIZE;
	}
	return bytes;
}

static void write_header(const struct bd_piece *piece, uint64_t body_size, uint64_t frame_size, uint8_t *object)
{
	struct nf_writer w = nf_writer_init(object, BD_PIECE_HEAD_SIZE);
	nf_write_u32(&w, PIECE_MAGIC);
	nf_write_u32(&w, PIECE_VERSION);
	nf_write_u64(&w, piece->store_id);
	nf_write_u64(&w, piece->from);
	nf_write_u64(&w, piece->to);
	nf_write_u64(&w, (uint64_t)piece->read_ns);
	nf_write_u64(&w, body_size);
	nf_write_u64(&w, frame_size);
	nf_write_u64(&w, XXH3_64bits(object + BD_PIECE_HEAD_SIZE, frame_size));
	nf_write_u64(&w, XXH3_64bits(object, w.offset));
	assert(!w.failed && w.offset == BD_PIECE_HEAD_SIZE);
}

int bd_piece_encode(const struct bd_piece *piece, void **ret_bytes, size_t *ret_size)
{
	struct bd_body body = {0};
	uint8_t *object;
	size_t frame_size;
	assert(range_is_possible(piece->from, piece->to));
	uint64_t blocks = block_bytes(piece);
	assert(blocks != UINT64_MAX);
	uint64_t size = sizeof(uint32_t) + (uint64_t)piece->run_count * RUN_BYTES + (piece->to - piece->from) + blocks;
	if (size > PIECE_BODY_MAX)
		return -E2BIG;
	bd_body_reserve(&body, size);
	bd_body_u32(&body, piece->run_count);
	for (uint32_t i = 0; i < piece->run_count; i++) {
		bd_body_u32(&body, piece->runs[i].extent);
		bd_body_u32(&body, piece->runs[i].slot);
		bd_body_u32(&body, piece->runs[i].count);
	}
	bd_body_add(&body, piece->records, piece->to - piece->from);
	bd_body_add(&body, piece->blocks, blocks);
	int error = bd_frame_make(&body, BD_PIECE_HEAD_SIZE, &object, &frame_size);
	bd_body_free(&body);
	if (error != 0)
		return error;
	write_header(piece, size, frame_size, object);
	*ret_bytes = object;
	*ret_size = BD_PIECE_HEAD_SIZE + frame_size;
	return 0;
}

/* The body is the piece's; it points into it. */
static int read_body(struct nf_reader r, struct bd_piece *piece)
{
	uint32_t count = nf_read_u32(&r);
	if (r.failed || count > nf_reader_left(&r) / RUN_BYTES)
		return -EUCLEAN;
	piece->runs = calloc(NF_MAX(count, 1u), sizeof(*piece->runs));
	if (piece->runs == NULL)
		return -ENOMEM;
	piece->run_count = count;
	for (uint32_t i = 0; i < count; i++) {
		piece->runs[i].extent = nf_read_u32(&r);
		piece->runs[i].slot = nf_read_u32(&r);
		piece->runs[i].count = nf_read_u32(&r);
	}
	uint64_t blocks = block_bytes(piece);
	if (blocks == UINT64_MAX || nf_reader_left(&r) != piece->to - piece->from + blocks)
		return -EUCLEAN;
	piece->records = nf_read_bytes(&r, piece->to - piece->from);
	piece->blocks = nf_read_bytes(&r, blocks);
	return 0;
}

struct frame {
	uint64_t body_size, size, sum;
};

static int read_head(struct nf_reader *r, struct bd_piece *ret_piece, struct frame *ret_frame)
{
	uint32_t magic = nf_read_u32(r), version = nf_read_u32(r);
	struct bd_piece piece = {.store_id = nf_read_u64(r)};
	piece.from = nf_read_u64(r);
	piece.to = nf_read_u64(r);
	piece.read_ns = (int64_t)nf_read_u64(r);
	struct frame frame = {.body_size = nf_read_u64(r)};
	frame.size = nf_read_u64(r);
	frame.sum = nf_read_u64(r);
	uint64_t sum = r->failed ? 0 : XXH3_64bits(r->data, r->offset);
	if (magic != PIECE_MAGIC || sum != nf_read_u64(r) || r->failed)
		return -EUCLEAN;
	if (version > PIECE_VERSION)
		return -EPROTONOSUPPORT;
	if (version == 0 || !range_is_possible(piece.from, piece.to) || frame.body_size > PIECE_BODY_MAX)
		return -EUCLEAN;
	*ret_piece = piece;
	*ret_frame = frame;
	return 0;
}

int bd_piece_read_head(const void *bytes, size_t size, struct bd_piece *ret_piece)
{
	struct nf_reader r = nf_reader_init(bytes, NF_MIN(size, (size_t)BD_PIECE_HEAD_SIZE));
	struct frame frame;
	return read_head(&r, ret_piece, &frame);
}

int bd_piece_decode(const void *bytes, size_t size, struct bd_piece *ret_piece)
{
	struct nf_reader r = nf_reader_init(bytes, size);
	struct bd_piece piece;
	struct frame frame;
	int error = read_head(&r, &piece, &frame);
	if (error != 0)
		return error;
	if (frame.size != nf_reader_left(&r))
		return -EUCLEAN;
	const void *stored = nf_read_bytes(&r, frame.size);
	if (XXH3_64bits(stored, frame.size) != frame.sum)
		return -EUCLEAN;
	uint8_t *body;
	error = bd_frame_open(stored, frame.size, frame.body_size, &body);
	if (error != 0)
		return error;
	piece.memory = body;
	error = read_body(nf_reader_init(body, frame.body_size), &piece);
	if (error != 0)
		bd_piece_free(&piece);
	else
		*ret_piece = piece;
	return error;
}

void bd_piece_key(uint32_t generation, uint64_t from, uint64_t to, char key[BD_PIECE_KEY_SIZE])
{
	snprintf(key, BD_PIECE_KEY_SIZE, "log/%08" PRIx32 "-%016" PRIx64 "-%016" PRIx64, generation, from, to);
}

bool bd_piece_key_parse(const char *key, uint32_t *ret_generation, uint64_t *ret_from, uint64_t *ret_to)
{
	uint32_t generation;
	uint64_t from, to;
	char again[BD_PIECE_KEY_SIZE];
	if (sscanf(key, "log/%8" SCNx32 "-%16" SCNx64 "-%16" SCNx64, &generation, &from, &to) != 3)
		return false;
	bd_piece_key(generation, from, to, again);
	if (strcmp(key, again) != 0 || !range_is_possible(from, to))
		return false;
	*ret_generation = generation;
	*ret_from = from;
	*ret_to = to;
	return true;
}
