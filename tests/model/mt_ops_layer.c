/* Redo layers: the test's own hook, the same in the model, and operations that lay layers and take them away.
 *
 * A layer's facts are a number. From it, the file and the block follow whether the block is changed and to what; every byte depends on the one below, so
 * that layers made in the wrong order, twice or not at all show. The model changes its blocks at once, the store when they are read. */
#include "mt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OWN_LAYERS_MAX 2
#define FAR_BLOCKS (UINT64_C(1) << 22) /* where files go on behind their far offsets */
#define NEAR_BLOCKS 64

static uint64_t mix(uint64_t seed, uint64_t file, uint64_t blkno)
{
	uint64_t x = seed ^ file * UINT64_C(0x9e3779b97f4a7c15) ^ blkno * UINT64_C(0xc2b2ae3d27d4eb4f);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return x ^ x >> 31;
}

static bool touches(uint64_t seed, uint64_t file, uint64_t blkno)
{
	return blkno % FAR_BLOCKS < NEAR_BLOCKS && mix(seed, file, blkno) % 3 == 0;
}

static void make(uint64_t seed, uint64_t file, uint64_t blkno, uint8_t *bytes)
{
	uint64_t x = mix(seed + 1, file, blkno) | 1;

	for (size_t i = 0; i < MM_BLOCK; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
		bytes[i] = (uint8_t)(bytes[i] * 5 + (x >> 56));
	}
}

/* ---- the hook */

static int hook_open(void *arg, struct bd_view base, const void *facts, size_t size, void **ret_layer)
{
	uint64_t *seed = malloc(sizeof(*seed));

	(void)arg;
	(void)base;
	if (seed == NULL || size != sizeof(*seed))
		abort();
	memcpy(seed, facts, size);
	*ret_layer = seed;
	return 0;
}

static void hook_close(void *arg, void *layer)
{
	(void)arg;
	free(layer);
}

static void hook_touched(void *arg, void *layer, uint64_t file, uint32_t first, uint64_t *bits, unsigned words)
{
	(void)arg;
	for (uint32_t i = 0; i < words * 64; i++)
		if (touches(*(uint64_t *)layer, file, first + i))
			bits[i / 64] |= UINT64_C(1) << i % 64;
}

static uint32_t hook_next(void *arg, void *layer, uint64_t file, uint32_t from)
{
	uint64_t blkno = from;

	(void)arg;
	while (blkno < UINT32_MAX && !touches(*(uint64_t *)layer, file, blkno))
		blkno += blkno % FAR_BLOCKS < NEAR_BLOCKS ? 1 : FAR_BLOCKS - blkno % FAR_BLOCKS;
	return (uint32_t)NF_MIN(blkno, UINT32_MAX);
}

static int hook_apply(void *arg, void *layer, uint64_t file, uint32_t block, void *page)
{
	(void)arg;
	make(*(uint64_t *)layer, file, block, page);
	return 0;
}

void mt_install_layers(struct mt *mt)
{
	static const struct bd_layer_hooks hooks = {
		.open = hook_open, .close = hook_close, .touched = hook_touched, .next = hook_next, .apply = hook_apply};

	bd_store_set_layer_hooks(mt->store, &hooks);
}

/* ---- the model */

static void apply_block(struct mm_inode *inode, uint64_t seed, uint64_t blkno)
{
	const struct mm_blob *below = mm_block(inode, blkno);
	struct mm_blob *block = mm_blob_new(below != NULL ? below->bytes : NULL, MM_BLOCK);
	uint64_t end = (blkno + 1) * MM_BLOCK;

	make(seed, inode->file, blkno, block->bytes);
	if (end > inode->size_bytes)
		memset(block->bytes + MM_BLOCK - (end - inode->size_bytes), 0, end - inode->size_bytes);
	mm_block_set(inode, blkno, block);
}

/* To every file that has a name. */
static void apply(struct mm_tree *tree, uint64_t seed)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct mm_inode *inode = tree->inodes[i];
		if (!mm_is_file(inode) || inode->nlink == 0)
			continue;
		uint64_t file = inode->file, end = (inode->size_bytes + MM_BLOCK - 1) / MM_BLOCK;
		for (uint64_t far = 0; far < end; far += FAR_BLOCKS)
			for (uint64_t blkno = far; blkno < NF_MIN(end, far + NEAR_BLOCKS); blkno++)
				if (touches(seed, file, blkno))
					apply_block(mm_change(tree, file), seed, blkno);
	}
}

/* ---- operations */

static size_t list(struct mt *mt, unsigned branch, struct bd_layer_info **ret_infos)
{
	struct bd_branch_info info;
	size_t count;

	mt_expect(mt, "bd_layer_list", bd_layer_list(mt->store, mt->branches[branch].id, ret_infos, &count), 0);
	mt_expect(mt, "bd_branch_get", bd_branch_get(mt->store, mt->branches[branch].id, &info), 0);
	mt_expect(mt, "the number of layers", info.layers, (int64_t)count);
	return count;
}

void mt_op_layer(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt);
	struct bd_layer_info *infos;
	struct bd_branch_info info;
	struct bd_epoch epoch;
	uint64_t seed = mt_random(mt);
	struct mt_branch *b;

	if (branch == MT_BRANCHES)
		return;
	b = &mt->branches[branch];
	size_t count = list(mt, branch, &infos);
	free(infos);
	if (count >= OWN_LAYERS_MAX)
		return;
	mt_trace(mt, "lay a layer on %s at %u or later", b->name, b->epoch.v);
	int error = bd_layer_create(mt->store, b->id, &seed, sizeof(seed), &epoch);
	if (error == -EMLINK)
		return;
	mt_expect(mt, "bd_layer_create", error, 0);
	mt_expect(mt, "bd_branch_get", bd_branch_get(mt->store, b->id, &info), 0);
	if (info.epoch.v <= b->epoch.v || epoch.v < b->epoch.v || epoch.v >= info.epoch.v)
		mt_fail(mt, "layer at %u of a branch that went from %u to %u", epoch.v, b->epoch.v, info.epoch.v);
	b->epoch = info.epoch;
	apply(mt_begin(mt, branch), seed);
	mt_commit(mt, branch, false);
	mt_durable(mt, branch);
}

/* With everything in the head made, or not. Whether something still needs the layer is the store's to say; what it shows must be the same. */
void mt_op_layer_delete(struct mt *mt)
{
	unsigned branch = mt_any_branch(mt);
	struct bd_layer_info *infos;

	if (branch == MT_BRANCHES)
		return;
	size_t count = list(mt, branch, &infos);
	if (count > 0) {
		size_t at = mt_below(mt, count);
		bool made = mt_chance(mt, 700);
		if (made)
			mt_verify_view(mt, mt_head_view(mt, branch), mt->branches[branch].head);
		int error = bd_layer_delete(mt->store, mt->branches[branch].id, infos[at].epoch);
		mt_trace(mt, "take the layer of %s at %u away%s: %d", mt->branches[branch].name, infos[at].epoch.v,
			 made ? ", everything made" : "", error);
		if (error != -EBUSY)
			mt_expect(mt, "bd_layer_delete", error, 0);
	}
	free(infos);
}
