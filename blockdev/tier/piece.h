/* A piece of the log as an object: records [from, to) as they are in the ring, and blocks that they name in extents.
 *
 * magic "NFP1" u32, version u32, store id u64, from u64, to u64, read_ns i64 (everything acknowledged before is in this piece or earlier ones), body size u64, frame size u64, XXH3 of the
 * frame u64, XXH3 of the bytes before u64; then one zstd frame. Body: number of runs u32, for each run of blocks extent u32, slot u32, count u32; then the
 * bytes of the records, then the blocks'.
 *
 * What would be too much for one piece becomes several: those but the last have read_ns 0, may end in the middle of a record, and may lack blocks that a later one of
 * them carries. So a chain of pieces ends behind its last one with a read_ns that is not 0; what follows counts for nothing. */
#ifndef BD_TIER_PIECE_H
#define BD_TIER_PIECE_H

#include "common/nf_base.h"

struct bd_piece_run {
	uint32_t extent, slot, count;
};
struct bd_piece {
	uint64_t store_id, from, to;
	int64_t read_ns; /* 0: no end, see above */
	struct bd_piece_run *runs;
	uint32_t run_count;
	const uint8_t *records; /* [to - from] */
	const uint8_t *blocks;	/* of the runs in order */
	void *memory;		/* of a decoded one */
};

/* malloc'd. The range is not empty and of whole pages, runs are of slots that there are (asserted). -ENOMEM; -E2BIG: half a GiB is the most. */
NF_MUST_CHECK int bd_piece_encode(const struct bd_piece *piece, void **ret_bytes, size_t *ret_size);
/* Free with bd_piece_free. -EUCLEAN damaged; -EPROTONOSUPPORT newer; -ENOMEM. */
NF_MUST_CHECK int bd_piece_decode(const void *bytes, size_t size, struct bd_piece *ret_piece);
void bd_piece_free(struct bd_piece *piece);
/* The same of its first BD_PIECE_HEAD_SIZE bytes alone: what it is of, without records and blocks. Nothing to free. */
#define BD_PIECE_HEAD_SIZE 72u
NF_MUST_CHECK int bd_piece_read_head(const void *bytes, size_t size, struct bd_piece *ret_piece);

#define BD_PIECE_KEY_SIZE 96
void bd_piece_key(uint32_t generation, uint64_t from, uint64_t to, char key[BD_PIECE_KEY_SIZE]);
/* False when the key is none. */
bool bd_piece_key_parse(const char *key, uint32_t *ret_generation, uint64_t *ret_from, uint64_t *ret_to);

#endif
