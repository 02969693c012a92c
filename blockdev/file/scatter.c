/* Blocks from all over one file or several with one batch of reads. */
#include <sys/stat.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"
#include "blockdev/layer/layer.h"

static_assert(BD_SCATTERED_MAX == BD_READ_BLOCKS, "one batch");

/* Under the inode's lock: the block's place, where its leaf is in memory. */
static bool place_of(struct bd_inode *inode, uint32_t block, struct bd_place *place)
{
	const struct bd_leaf *leaf = bd_map_peek(inode, block >> BD_LEAF_SHIFT);
	if (leaf != NULL)
		*place = (struct bd_place){.loc = leaf->entries[block % BD_LEAF_BLOCKS].loc,
					   .sum = leaf->entries[block % BD_LEAF_BLOCKS].sum};
	return leaf != NULL;
}

/* Where the block is. False: that takes more than a look at the map (the block is to be made, or lies behind the end). */
static bool look_up(struct bd_inode *inode, uint32_t block, struct bd_place *place)
{
	struct bd_leaf *leaf;
	pthread_rwlock_rdlock(&inode->lock);
	bool inside = block < inode->attr.size_bytes >> NF_BLOCK_SHIFT && S_ISREG(inode->attr.mode);
	bool found = inside && place_of(inode, block, place);
	pthread_rwlock_unlock(&inode->lock);
	if (inside && !found && bd_inode_open_layers(inode) == 0) {
		pthread_rwlock_wrlock(&inode->lock);
		inside = block < inode->attr.size_bytes >> NF_BLOCK_SHIFT;
		found = inside && bd_map_leaf(inode, block >> BD_LEAF_SHIFT, &leaf) == 0 && place_of(inode, block, place);
		pthread_rwlock_unlock(&inode->lock);
	}
	return found && place->loc != BD_LOC_REDO;
}

static int read_one(struct bd_inode *inode, uint32_t block, void *to)
{
	ssize_t got = bd_read(inode, (uint64_t)block << NF_BLOCK_SHIFT, to, NF_BLOCK_SIZE);
	return got == NF_BLOCK_SIZE ? 0 : got < 0 ? (int)got : -ENODATA;
}

/* All with one batch; false: they are not to be had so. */
static bool read_at_once(const struct bd_scattered *blocks, unsigned count, void *buf)
{
	struct bd_place places[BD_SCATTERED_MAX] = {0};
	for (unsigned i = 0; i < count; i++)
		if (!look_up(blocks[i].inode, blocks[i].block, &places[i]))
			return false;
	struct bd_store *store = blocks[0].inode->store;
	if (!bd_places_read(store, places, count, buf))
		return false;
	/* Of a deleted branch the versions may have gone while they were looked up. */
	for (unsigned i = 0; i < count; i++)
		if (blocks[i].inode->branch->dead)
			return false;
	atomic_fetch_add_explicit(&store->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&store->read_bytes, (uint64_t)count * NF_BLOCK_SIZE, memory_order_relaxed);
	return true;
}

int bd_read_scattered(const struct bd_scattered *blocks, unsigned count, void *buf)
{
	int error = 0;
	assert(count > 0 && count <= BD_SCATTERED_MAX && (uintptr_t)buf % NF_IO_ALIGN == 0);
	bool done = read_at_once(blocks, count, buf);
	bd_leaf_cache_trim(blocks[0].inode->store);
	if (done)
		return 0;
	/* Overwritten or moved between the look and the read, or damaged: each by itself finds out. */
	for (unsigned i = 0; i < count && error == 0; i++)
		error = read_one(blocks[i].inode, blocks[i].block, (uint8_t *)buf + (size_t)i * NF_BLOCK_SIZE);
	return error;
}
