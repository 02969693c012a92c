/* Items of log records: their encoding, and places of blocks.
 *
 *   type          body
 *   1 PUT         key size u16, key, sealed value
 *   2 DELETE      key
 *   3 RUN         branch u32, file u64, block u32, epoch u32, count u16, place of the first u64, count x checksum u64
 *   4 HOLES       branch u32, file u64, block u32, epoch u32, count u32
 *   5 MOVE        branch u32, file u64, block u32, epoch u32, old place u64, new place u64, checksum u64
 *
 * A place (`loc`) says where a block version's bytes are:
 *   bits 63-62 = 1: extent; bits 61-32 extent id, bits 31-0 slot
 *   bits 63-62 = 2: log; bits 61-0 position / 4096
 *   3 << 62: a hole (reads as zeros, hides older versions)
 *   0: no version */
#ifndef BD_RECORD_H
#define BD_RECORD_H

#include "blockdev/index/key.h"

enum bd_item { BD_ITEM_PUT = 1, BD_ITEM_DELETE, BD_ITEM_RUN, BD_ITEM_HOLES, BD_ITEM_MOVE };

#define BD_LOC_NONE UINT64_C(0)
#define BD_LOC_HOLE (UINT64_C(3) << 62)

static inline bool bd_loc_is_extent(uint64_t loc)
{
	return loc >> 62 == 1;
}
static inline bool bd_loc_is_log(uint64_t loc)
{
	return loc >> 62 == 2;
}
static inline uint64_t bd_loc_extent(uint32_t extent, uint32_t slot)
{
	return UINT64_C(1) << 62 | (uint64_t)extent << 32 | slot;
}
static inline uint32_t bd_loc_extent_id(uint64_t loc)
{
	return (uint32_t)(loc >> 32 & 0x3fffffff);
}
static inline uint32_t bd_loc_slot(uint64_t loc)
{
	return (uint32_t)loc;
}
static inline uint64_t bd_loc_log(uint64_t lsn)
{
	return UINT64_C(2) << 62 | lsn / NF_IO_ALIGN;
}
static inline uint64_t bd_loc_lsn(uint64_t loc)
{
	return (loc & ((UINT64_C(1) << 62) - 1)) * NF_IO_ALIGN;
}
/* The place `n` blocks behind `loc` in the same run. */
static inline uint64_t bd_loc_next(uint64_t loc, uint64_t n)
{
	return bd_loc_is_log(loc) ? loc + n * (NF_BLOCK_SIZE / NF_IO_ALIGN) : bd_loc_is_extent(loc) ? loc + n : loc;
}

/* A growing buffer of items. Zero-initialised is empty; bd_items_free when done. A failed allocation is kept in `failed`. */
struct bd_items {
	uint8_t *data;
	size_t size, capacity;
	bool failed;
};
void bd_items_free(struct bd_items *items);
void bd_items_put(struct bd_items *items, const void *key, size_t key_size, const void *value, size_t value_size);
void bd_items_delete(struct bd_items *items, const void *key, size_t key_size);
void bd_items_run(struct bd_items *items, const struct bd_block_id *first, unsigned count, uint64_t loc,
		  const uint64_t *sums);
void bd_items_holes(struct bd_items *items, const struct bd_block_id *first, uint32_t count);
void bd_items_move(struct bd_items *items, const struct bd_block_id *id, uint64_t from, uint64_t to, uint64_t sum);

/* Readers of bodies: 0 or -EUCLEAN. */
struct bd_run {
	struct bd_block_id first;
	unsigned count;
	uint64_t loc;
	struct nf_reader sums; /* count x u64 */
};
NF_MUST_CHECK int bd_item_put_parse(struct nf_reader body, const void **ret_key, size_t *ret_key_size,
				    const void **ret_value, size_t *ret_value_size);
NF_MUST_CHECK int bd_item_run_parse(struct nf_reader body, struct bd_run *ret_run);
NF_MUST_CHECK int bd_item_holes_parse(struct nf_reader body, struct bd_block_id *ret_first, uint32_t *ret_count);
NF_MUST_CHECK int bd_item_move_parse(struct nf_reader body, struct bd_block_id *ret_id, uint64_t *ret_from, uint64_t *ret_to,
				     uint64_t *ret_sum);

#endif
