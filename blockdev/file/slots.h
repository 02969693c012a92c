/* New slots for blocks of data: written first, owned afterwards. */
#ifndef BD_SLOTS_H
#define BD_SLOTS_H

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"

/* Slots one behind the other that hold blocks [at, at + count) of what was written; the extent is held. */
struct slots_piece {
	struct bd_extent *extent;
	uint32_t slot, at, count;
};
#define SLOTS_PIECES_MAX 8 /* extents are far larger than what is written at once: two suffice but for very full ones */

/* Under no inode's lock: write `count` aligned blocks to new slots, of the stream that the file's new blocks go to. On an error nothing is left. -ENOSPC. */
NF_MUST_CHECK int slots_write(struct bd_inode *inode, uint8_t *data, uint32_t count, struct slots_piece pieces[SLOTS_PIECES_MAX],
			      unsigned *ret_count);
/* Give pieces back that were written, when they are not to be owned. */
void slots_abandon(struct bd_store *store, const struct slots_piece *pieces, unsigned count);
/* Under inode->lock exclusive, inside an operation, the leaves in memory and room for pending blocks reserved, the inode dirty: slots [from, from +
 * count) of a piece belong to the file's blocks from `block` on now, and the map says so. */
NF_MUST_CHECK int slots_take(struct bd_inode *inode, const struct slots_piece *piece, uint32_t from, uint32_t count,
			     uint32_t block, const uint64_t *sums);

#endif
