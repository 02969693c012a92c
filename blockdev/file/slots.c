/* New slots for blocks of data. */
#include "blockdev/file/slots.h"

void slots_abandon(struct bd_store *store, const struct slots_piece *pieces, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		bd_extent_abandon(store, pieces[i].extent, pieces[i].count);
		bd_extent_put(store, pieces[i].extent);
	}
}

int slots_write(struct bd_inode *inode, uint8_t *data, uint32_t count, struct slots_piece pieces[SLOTS_PIECES_MAX],
		unsigned *ret_count)
{
	struct bd_store *store = inode->store;
	enum bd_stream stream = atomic_load(&inode->cache_users) > 0 ? BD_STREAM_CACHED : BD_STREAM_FRONT;
	unsigned n = 0;
	int error = 0;
	for (uint32_t at = 0; at < count && error == 0;) {
		struct slots_piece piece = {.at = at};
		if (n == SLOTS_PIECES_MAX) {
			error = -EIO;
			break;
		}
		error = bd_extent_alloc(store, stream, count - at, &piece.extent, &piece.slot, &piece.count);
		if (error != 0)
			break;
		pieces[n++] = piece;
		error = bd_extent_write(store, piece.extent, piece.slot, piece.count, data + (size_t)at * NF_BLOCK_SIZE);
		at += piece.count;
	}
	if (error != 0)
		slots_abandon(store, pieces, n);
	*ret_count = n;
	return error;
}

int slots_take(struct bd_inode *inode, const struct slots_piece *piece, uint32_t from, uint32_t count, uint32_t block,
	       const uint64_t *sums)
{
	struct bd_block_id first = {
		.branch = inode->branch->id, .file = inode->file, .block = block, .epoch = inode->branch->epoch};
	uint64_t loc = bd_loc_extent(bd_extent_id(piece->extent), piece->slot + from), sequence;
	int error = 0;
	bd_extent_fill(inode->store, piece->extent, piece->slot + from, count, &first, sums, &sequence);
	inode_add_pending(inode, block, count, sequence);
	for (uint32_t i = 0; i < count && error == 0; i++)
		error = bd_map_set(inode, block + i, bd_loc_next(loc, i), sums[i], BD_PENDING);
	return error;
}
