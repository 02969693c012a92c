/* What an inode is seen through: the layers of its view, of those the ones that the file was there below, and which blocks they make.
 *
 * Found out once, when the first leaf of the inode's map is loaded; guarded by the inode's lock like the map. A new layer on the branch makes the
 * head's inodes forget it together with their maps (create.c); for a frozen view it never changes. */
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/file/inode.h"
#include "blockdev/layer/layer.h"
#include "common/nf_log.h"

static_assert(BD_LEAF_BLOCKS % 64 == 0, "a leaf is whole words of bits");

static void layers_release(struct bd_layer **layers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		bd_layer_unref(layers[i]);
	free(layers);
}

int bd_inode_open_layers(struct bd_inode *inode)
{
	if (!bd_inode_may_pass(inode) || atomic_load_explicit(&inode->layers_open, memory_order_acquire))
		return 0;
	struct bd_layer **layers;
	uint32_t count;
	int error = bd_branch_layers_of_view(inode->store, inode->branch, inode->view_epoch, &layers, &count);
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < count && error == 0; i++)
		error = bd_layer_open(layers[i]) != 0 ? -EIO : 0;
	layers_release(layers, count);
	if (error == 0)
		atomic_store_explicit(&inode->layers_open, true, memory_order_release);
	return error;
}

void bd_passes_free(struct bd_passes *passes)
{
	if (passes == NULL)
		return;
	for (uint32_t i = 0; i < passes->count; i++)
		bd_layer_unref(passes->passes[i].layer);
	free(passes);
}

/* May the file have been there when the layer was laid? Ids fall along a chain. */
static bool is_older(const struct bd_inode *inode, const struct bd_layer *layer)
{
	return inode->base_branch < layer->branch->id ||
	       (inode->base_branch == layer->branch->id && inode->base_epoch <= layer->epoch);
}

/* Under inode->lock exclusive: inode->passes, if its view looks through anything. */
static int passes_make(struct bd_inode *inode)
{
	if (inode->passes != NULL || !bd_inode_may_pass(inode))
		return 0;
	struct bd_layer **layers;
	uint32_t count;
	int error = bd_branch_layers_of_view(inode->store, inode->branch, inode->view_epoch, &layers, &count);
	if (error != 0)
		return error;
	struct bd_passes *passes = malloc(sizeof(*passes) + count * sizeof(struct bd_pass));
	if (passes == NULL)
		error = -ENOMEM;
	else
		passes->count = 0;
	for (uint32_t i = 0; i < count && error == 0; i++) {
		uint64_t size = 0;
		if (!atomic_load(&layers[i]->is_open)) {
			nf_error("branch %s: a redo layer (epoch %u) was not opened before it was needed",
				 layers[i]->branch->name, layers[i]->epoch);
			error = -EIO;
		} else if (is_older(inode, layers[i])) {
			error = inode_size_at(inode->store, layers[i]->branch, layers[i]->epoch, inode->file, &size);
		}
		if (error == 0 && size > 0) {
			bd_layer_ref(layers[i]);
			passes->passes[passes->count++] = (struct bd_pass){.layer = layers[i], .size_bytes = size};
		}
	}
	layers_release(layers, count);
	if (error != 0) {
		bd_passes_free(passes);
		return error;
	}
	inode->passes = passes;
	return 0;
}

/* Is what the entry shows below the layer? */
static bool is_behind(const struct bd_entry *entry, const struct bd_layer *layer)
{
	if (entry->loc == BD_LOC_NONE)
		return true;
	return entry->loc != BD_LOC_REDO &&
	       (entry->branch < layer->branch->id || (entry->branch == layer->branch->id && entry->epoch <= layer->epoch));
}

static void mark(struct bd_inode *inode, const struct bd_pass *pass, uint32_t leaf, struct bd_entry *entries)
{
	const struct bd_layer_hooks *hooks = &inode->store->layer_hooks;
	uint64_t bits[BD_LEAF_BLOCKS / 64] = {0};
	uint32_t first = leaf << BD_LEAF_SHIFT, end = blocks_of(pass->size_bytes);
	if (first >= end)
		return;
	hooks->touched(hooks->arg, pass->layer->hook, inode->file, first, bits, NF_ARRAY_LEN(bits));
	for (uint32_t i = 0; i < BD_LEAF_BLOCKS && first + i < end; i++) {
		struct bd_entry *entry = &entries[i];
		if ((bits[i / 64] >> i % 64 & 1) == 0 || !is_behind(entry, pass->layer))
			continue;
		*entry = (struct bd_entry){.loc = BD_LOC_REDO,
					   .sum = bd_layer_key(pass->layer),
					   .state = BD_CLEAN,
					   .epoch = bd_entry_has_bytes(entry) ? 1 : 0};
	}
}

int bd_passes_mark(struct bd_inode *inode, uint32_t leaf, struct bd_entry *entries)
{
	int error = passes_make(inode);
	for (uint32_t i = 0; error == 0 && inode->passes != NULL && i < inode->passes->count; i++)
		mark(inode, &inode->passes->passes[i], leaf, entries);
	return error;
}

int bd_passes_next(struct bd_inode *inode, const struct bd_layer *only, uint32_t from, uint32_t *ret_block)
{
	const struct bd_layer_hooks *hooks = &inode->store->layer_hooks;
	uint32_t best = UINT32_MAX;
	int error = passes_make(inode);
	for (uint32_t i = 0; error == 0 && inode->passes != NULL && i < inode->passes->count; i++) {
		const struct bd_pass *pass = &inode->passes->passes[i];
		uint32_t end = blocks_of(pass->size_bytes);
		if (only != NULL && only != pass->layer)
			continue;
		uint32_t next = from < end ? hooks->next(hooks->arg, pass->layer->hook, inode->file, from) : UINT32_MAX;
		if (next < end)
			best = NF_MIN(best, next);
	}
	if (error == 0)
		*ret_block = best;
	return error;
}

int bd_passes_unmade(struct bd_inode *inode, const struct bd_layer *layer, uint32_t *at, uint32_t *blocks, size_t room, size_t *count)
{
	struct bd_leaf *leaf;
	int error = bd_passes_next(inode, layer, *at, at);
	if (error != 0 || *at == UINT32_MAX)
		return error;
	uint32_t index = *at >> BD_LEAF_SHIFT;
	error = bd_map_leaf(inode, index, &leaf);
	for (uint32_t i = *at % BD_LEAF_BLOCKS; error == 0 && i < BD_LEAF_BLOCKS; i++) {
		const struct bd_entry *entry = &leaf->entries[i];
		if (entry->loc != BD_LOC_REDO || entry->sum != bd_layer_key(layer))
			continue;
		*at = (index << BD_LEAF_SHIFT) + i;
		if (*count == room)
			return 0;
		blocks[(*count)++] = *at;
	}
	*at = index < UINT32_MAX >> BD_LEAF_SHIFT ? (index + 1) << BD_LEAF_SHIFT : UINT32_MAX;
	return error;
}

struct bd_layer *bd_passes_layer(struct bd_inode *inode, const struct bd_entry *entry)
{
	assert(entry->loc == BD_LOC_REDO && inode->passes != NULL);
	for (uint32_t i = 0; i < inode->passes->count; i++) {
		struct bd_layer *layer = inode->passes->passes[i].layer;
		if (bd_layer_key(layer) == entry->sum) {
			bd_layer_ref(layer);
			return layer;
		}
	}
	assert(false);
	return NULL;
}
