/* Making blocks ahead: somebody who knows how makes many blocks of a head at once, instead of each when it is read.
 *
 * What is stored is what a reader's making would have stored, and in the same way (file/make.c): where the entry still says that the block is to be made
 * by this layer. So readers, writers and layers above may be at work on the same blocks. */
#include <stdlib.h>

#include "blockdev/file/inode.h"
#include "blockdev/file/make.h"
#include "blockdev/layer/layer.h"

static_assert(BD_LAYER_STORE_MAX == MAKE_BLOCKS_MAX, "one call of make_store_at");

/* The layer of a head's own branch; one reference. */
static int find_layer(struct bd_inode *inode, struct bd_epoch epoch, struct bd_layer **ret_layer)
{
	if (!bd_inode_is_head(inode))
		return -EINVAL;
	int error = bd_inode_open_layers(inode);
	if (error != 0)
		return error;
	*ret_layer = bd_branch_find_layer(inode->store, inode->branch, epoch.v);
	return *ret_layer != NULL ? 0 : -ENOENT;
}

int bd_layer_unmade(struct bd_inode *inode, struct bd_epoch epoch, uint32_t from, uint32_t *blocks, size_t room,
		    size_t *ret_count)
{
	struct bd_layer *layer;
	size_t count = 0;
	int error = find_layer(inode, epoch, &layer);
	if (error != 0)
		return error;
	for (uint32_t at = from; error == 0 && at != UINT32_MAX && count < room;) {
		pthread_rwlock_wrlock(&inode->lock);
		error = bd_passes_unmade(inode, layer, &at, blocks, room, &count);
		pthread_rwlock_unlock(&inode->lock);
	}
	bd_layer_unref(layer);
	bd_leaf_cache_trim(inode->store);
	if (error == 0)
		*ret_count = count;
	return error;
}

int bd_layer_store(struct bd_inode *inode, struct bd_epoch epoch, const uint32_t *blocks, const uint8_t *const *pages,
		   uint32_t count)
{
	struct bd_layer *layer, *layers[MAKE_BLOCKS_MAX];
	assert(count > 0 && count <= BD_LAYER_STORE_MAX);
	int error = find_layer(inode, epoch, &layer);
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < count; i++)
		layers[i] = layer;
	error = make_store_at(inode, blocks, count, layers, pages);
	if (error == 0)
		atomic_fetch_add_explicit(&inode->store->made_blocks, count, memory_order_relaxed);
	bd_layer_unref(layer);
	return error;
}
