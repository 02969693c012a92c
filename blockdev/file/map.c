/* The block map: where each block of a view is, resolved once through the chain and kept in leaves of 256 blocks (2 MiB of file).
 *
 * A leaf is loaded as a whole: for each hop of the chain, nearest first, the newest version <= the hop's epoch fills what is still
 * empty. Depth costs only here; a read from a loaded leaf is the same for the first branch and the hundredth.
 * Invariants:
 *   1. An entry that is not BD_CLEAN belongs to the branch's current epoch (freezing flushes first).
 *   2. A BD_CLEAN entry equals what the index would give, except that its place may have moved: then reading it says -ESTALE and
 *      bd_map_refresh looks it up again.
 *   3. Blocks that a redo layer has still to make (layer/) have BD_LOC_REDO, are BD_CLEAN and of no branch. Whoever asks whether an entry has
 *      bytes counts them in.
 * Memory: leaves are on one clock list; clean ones are evicted beyond the limit. */
#include <stdlib.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"
#include "blockdev/layer/layer.h"

#define MAP_FANOUT 512u
#define PUNCH_ITEMS_MAX (256u << 10)

struct bd_leaf_cache {
	pthread_mutex_t lock;
	struct bd_leaf *hand; /* ring through newer/older */
	uint64_t count, limit;
};

int bd_leaf_cache_init(struct bd_store *store, uint64_t limit_bytes)
{
	struct bd_leaf_cache *cache = calloc(1, sizeof(*cache));
	if (cache == NULL)
		return -ENOMEM;
	pthread_mutex_init(&cache->lock, NULL);
	cache->limit = NF_MAX(limit_bytes / sizeof(struct bd_leaf), 64);
	store->leaves = cache;
	return 0;
}

void bd_leaf_cache_free(struct bd_store *store)
{
	if (store->leaves == NULL)
		return;
	pthread_mutex_destroy(&store->leaves->lock);
	free(store->leaves);
	store->leaves = NULL;
}

uint64_t bd_leaf_cache_bytes(struct bd_store *store)
{
	pthread_mutex_lock(&store->leaves->lock);
	uint64_t bytes = store->leaves->count * sizeof(struct bd_leaf);
	pthread_mutex_unlock(&store->leaves->lock);
	return bytes;
}

/* Under the cache's lock. New leaves go behind the hand: they are looked at last. */
static void ring_add(struct bd_leaf_cache *cache, struct bd_leaf *leaf)
{
	if (cache->hand == NULL) {
		cache->hand = leaf->newer = leaf->older = leaf;
	} else {
		leaf->newer = cache->hand;
		leaf->older = cache->hand->older;
		leaf->older->newer = leaf;
		leaf->newer->older = leaf;
	}
	cache->count++;
}

static void ring_remove(struct bd_leaf_cache *cache, struct bd_leaf *leaf)
{
	if (cache->hand == leaf)
		cache->hand = leaf->newer != leaf ? leaf->newer : NULL;
	leaf->newer->older = leaf->older;
	leaf->older->newer = leaf->newer;
	cache->count--;
}

struct bd_leaf *bd_map_peek(struct bd_inode *inode, uint32_t leaf)
{
	uint32_t high = leaf / MAP_FANOUT;
	if (high >= inode->map_size || inode->map[high] == NULL)
		return NULL;
	struct bd_leaf *found = inode->map[high][leaf % MAP_FANOUT];
	if (found != NULL)
		atomic_store_explicit(&found->used, true, memory_order_relaxed);
	return found;
}

/* The slot for a leaf pointer, made when missing. */
static struct bd_leaf **map_slot(struct bd_inode *inode, uint32_t leaf)
{
	uint32_t high = leaf / MAP_FANOUT;
	if (high >= inode->map_size) {
		uint32_t size = NF_MAX(high + 1, inode->map_size * 2);
		struct bd_leaf ***map = realloc(inode->map, size * sizeof(*map));
		if (map == NULL)
			return NULL;
		memset(map + inode->map_size, 0, (size - inode->map_size) * sizeof(*map));
		inode->map = map;
		inode->map_size = size;
	}
	if (inode->map[high] == NULL)
		inode->map[high] = calloc(MAP_FANOUT, sizeof(struct bd_leaf *));
	return inode->map[high] != NULL ? &inode->map[high][leaf % MAP_FANOUT] : NULL;
}

/* What one hop knows of a leaf, into entries that are still empty. Returns the number filled or an error. */
static int fill_from_hop(struct bd_inode *inode, struct bd_index_iter *iter, const struct bd_hop *hop, uint32_t leaf,
			 struct bd_entry *entries)
{
	struct bd_key from;
	bd_key_block(&from, &(struct bd_block_id){.branch = hop->branch, .file = inode->file,
						  .block = leaf << BD_LEAF_SHIFT, .epoch = UINT32_MAX});
	int filled = 0;
	for (bd_index_iter_seek(iter, &from, 16); bd_index_iter_valid(iter); bd_index_iter_next(iter)) {
		size_t key_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &size);
		struct bd_block_id id;
		int error = bd_key_block_parse(key, key_size, &id);
		if (error != 0)
			return error;
		struct bd_entry *entry = &entries[id.block % BD_LEAF_BLOCKS];
		if (id.epoch > hop->epoch || entry->loc != BD_LOC_NONE)
			continue;
		struct bd_place place;
		error = bd_value_place_parse(key, key_size, value, size, &place);
		if (error != 0)
			return error;
		*entry = (struct bd_entry){.loc = place.loc, .sum = place.sum, .branch = hop->branch,
					   .epoch = id.epoch & 0x3fffffff, .state = BD_CLEAN};
		filled++;
	}
	int error = bd_index_iter_status(iter);
	return error != 0 ? error : filled;
}

static int resolve(struct bd_inode *inode, uint32_t leaf, struct bd_entry *entries)
{
	struct bd_index_iter *iter = bd_index_iter_new(inode->store->index);
	if (iter == NULL)
		return -ENOMEM;
	memset(entries, 0, BD_LEAF_BLOCKS * sizeof(*entries));
	struct bd_hops hops = inode_hops(inode);
	struct bd_hop hop;
	unsigned filled = 0;
	int error = 0;
	for (unsigned i = 0; filled < BD_LEAF_BLOCKS && bd_hop_at(&hops, i, &hop); i++) {
		int result = fill_from_hop(inode, iter, &hop, leaf, entries);
		if (result < 0) {
			error = result;
			break;
		}
		filled += (unsigned)result;
	}
	bd_index_iter_free(iter);
	if (error == 0 && bd_inode_may_pass(inode))
		error = bd_passes_mark(inode, leaf, entries);
	return error;
}

int bd_map_leaf(struct bd_inode *inode, uint32_t index, struct bd_leaf **ret_leaf)
{
	struct bd_leaf *leaf = bd_map_peek(inode, index);
	if (leaf == NULL) {
		struct bd_leaf **slot = map_slot(inode, index);
		leaf = slot != NULL ? malloc(sizeof(*leaf)) : NULL;
		if (leaf == NULL)
			return -ENOMEM;
		leaf->inode = inode;
		leaf->index = index;
		leaf->dirty = 0;
		atomic_init(&leaf->used, true);
		int error = resolve(inode, index, leaf->entries);
		if (error != 0) {
			free(leaf);
			return error;
		}
		*slot = leaf;
		inode->leaf_count++;
		struct bd_leaf_cache *cache = inode->store->leaves;
		pthread_mutex_lock(&cache->lock);
		ring_add(cache, leaf);
		pthread_mutex_unlock(&cache->lock);
	}
	*ret_leaf = leaf;
	return 0;
}

int bd_map_refresh(struct bd_inode *inode, uint32_t index)
{
	struct bd_leaf *leaf = bd_map_peek(inode, index);
	if (leaf == NULL)
		return 0;
	struct bd_entry *entries = malloc(sizeof(leaf->entries));
	if (entries == NULL)
		return -ENOMEM;
	int error = resolve(inode, index, entries);
	for (unsigned i = 0; error == 0 && i < BD_LEAF_BLOCKS; i++) {
		if (leaf->entries[i].state == BD_CLEAN)
			leaf->entries[i] = entries[i];
	}
	free(entries);
	return error;
}

int bd_map_set(struct bd_inode *inode, uint32_t block, uint64_t loc, uint64_t sum, enum bd_entry_state state)
{
	struct bd_leaf *leaf;
	int error = bd_map_leaf(inode, block >> BD_LEAF_SHIFT, &leaf);
	if (error != 0)
		return error;
	struct bd_entry *entry = &leaf->entries[block % BD_LEAF_BLOCKS];
	uint32_t epoch = inode->branch->epoch;
	bool same_version = entry->branch == inode->branch->id && entry->epoch == epoch && entry->loc != BD_LOC_NONE;
	assert(entry->state == BD_CLEAN || same_version);
	if (same_version)
		bd_extent_count(inode->store, entry->loc, -1);
	bool had_bytes = bd_entry_has_bytes(entry), has_bytes = loc != BD_LOC_HOLE;
	if (has_bytes && !had_bytes)
		inode->allocated_blocks++;
	else if (had_bytes && !has_bytes && inode->allocated_blocks > 0)
		inode->allocated_blocks--;
	bool was_dirty = entry->state != BD_CLEAN, is_dirty = state != BD_CLEAN;
	if (is_dirty && !was_dirty && leaf->dirty++ == 0)
		inode->dirty_leaves++;
	if (!is_dirty && was_dirty && --leaf->dirty == 0)
		inode->dirty_leaves--;
	*entry = (struct bd_entry){.loc = loc, .sum = sum, .branch = inode->branch->id, .epoch = epoch & 0x3fffffff,
				   .state = state};
	return 0;
}

void bd_map_settle(struct bd_inode *inode, struct bd_leaf *leaf, struct bd_entry *entry)
{
	if (entry->state == BD_CLEAN)
		return;
	entry->state = BD_CLEAN;
	if (--leaf->dirty == 0)
		inode->dirty_leaves--;
}

/* Under the inode's lock exclusive and the cache's. */
static void leaf_free(struct bd_leaf_cache *cache, struct bd_leaf *leaf)
{
	struct bd_inode *inode = leaf->inode;
	ring_remove(cache, leaf);
	inode->map[leaf->index / MAP_FANOUT][leaf->index % MAP_FANOUT] = NULL;
	inode->leaf_count--;
	free(leaf);
}

/* A version that only memory knows goes. The one that it replaced, and that was counted dead then, is what the index still has: the
 * sweep will count it dead once more. */
static void drop_dirty(struct bd_inode *inode, const struct bd_leaf *leaf, unsigned i)
{
	const struct bd_entry *entry = &leaf->entries[i];
	struct bd_block_id id = {.branch = entry->branch, .file = inode->file, .block = (leaf->index << BD_LEAF_SHIFT) + i,
				 .epoch = entry->epoch};
	struct bd_place old;
	bd_extent_count(inode->store, entry->loc, -1);
	if ((inode->removed || inode->branch->dead) && bd_index_place(inode->store, &id, &old) == 0)
		bd_extent_count(inode->store, old.loc, 1);
}

void bd_map_free(struct bd_inode *inode)
{
	struct bd_leaf_cache *cache = inode->store->leaves;
	for (uint32_t high = 0; high < inode->map_size; high++) {
		for (uint32_t low = 0; inode->map[high] != NULL && low < MAP_FANOUT; low++) {
			struct bd_leaf *leaf = inode->map[high][low];
			if (leaf == NULL)
				continue;
			for (unsigned i = 0; leaf->dirty > 0 && i < BD_LEAF_BLOCKS; i++) {
				if (leaf->entries[i].state != BD_CLEAN)
					drop_dirty(inode, leaf, i);
			}
			pthread_mutex_lock(&cache->lock);
			leaf_free(cache, leaf);
			pthread_mutex_unlock(&cache->lock);
		}
		free(inode->map[high]);
	}
	free(inode->map);
	inode->map = NULL;
	inode->map_size = 0;
	inode->dirty_leaves = 0;
	inode->pending_count = 0;
}

void bd_leaf_cache_trim(struct bd_store *store)
{
	struct bd_leaf_cache *cache = store->leaves;
	pthread_mutex_lock(&cache->lock);
	/* At most twice around: once to clear the marks, once to take. */
	uint64_t steps = cache->count * 2;
	while (cache->count > cache->limit && steps-- > 0 && cache->hand != NULL) {
		struct bd_leaf *leaf = cache->hand;
		struct bd_inode *inode = leaf->inode;
		cache->hand = leaf->newer;
		if (atomic_exchange(&leaf->used, false))
			continue;
		/* Try only: holders of an inode's lock wait for the cache's lock. The inode is alive while its leaf is on the ring. */
		if (pthread_rwlock_trywrlock(&inode->lock) != 0)
			continue;
		if (leaf->dirty == 0)
			leaf_free(cache, leaf);
		pthread_rwlock_unlock(&inode->lock);
	}
	pthread_mutex_unlock(&cache->lock);
}

/* The first leaf >= `leaf` with a version in the index, or UINT32_MAX. */
static int next_in_index(struct bd_inode *inode, uint32_t leaf, uint32_t *ret_leaf)
{
	struct bd_index_iter *iter = bd_index_iter_new(inode->store->index);
	if (iter == NULL)
		return -ENOMEM;
	uint32_t best = UINT32_MAX;
	struct bd_hops hops = inode_hops(inode);
	struct bd_hop hop;
	int error = 0;
	for (unsigned i = 0; error == 0 && bd_hop_at(&hops, i, &hop); i++) {
		struct bd_key from;
		struct bd_block_id id = {.branch = hop.branch, .file = inode->file, .block = leaf << BD_LEAF_SHIFT,
					 .epoch = UINT32_MAX};
		bd_key_block(&from, &id);
		bd_index_iter_seek(iter, &from, 13);
		if (bd_index_iter_valid(iter)) {
			size_t size;
			const uint8_t *key = bd_index_iter_key(iter, &size);
			error = bd_key_block_parse(key, size, &id);
			if (error == 0)
				best = NF_MIN(best, id.block >> BD_LEAF_SHIFT);
		} else {
			error = bd_index_iter_status(iter);
		}
	}
	bd_index_iter_free(iter);
	if (error == 0)
		*ret_leaf = best;
	return error;
}

int bd_map_next(struct bd_inode *inode, uint32_t leaf, uint32_t *ret_leaf)
{
	if (leaf > UINT32_MAX >> BD_LEAF_SHIFT) {
		*ret_leaf = UINT32_MAX;
		return 0;
	}
	uint32_t best;
	int error = next_in_index(inode, leaf, &best);
	if (error == 0 && bd_inode_may_pass(inode)) {
		uint32_t block;
		error = bd_passes_next(inode, NULL, leaf << BD_LEAF_SHIFT, &block);
		if (error == 0 && block != UINT32_MAX)
			best = NF_MIN(best, block >> BD_LEAF_SHIFT);
	}
	if (error != 0)
		return error;
	/* Memory may know younger ones. */
	for (uint32_t high = leaf / MAP_FANOUT; high < inode->map_size && high * MAP_FANOUT < best; high++) {
		for (uint32_t low = 0; inode->map[high] != NULL && low < MAP_FANOUT; low++) {
			uint32_t at = high * MAP_FANOUT + low;
			if (at >= leaf && at < best && inode->map[high][low] != NULL)
				best = at;
		}
	}
	*ret_leaf = best;
	return 0;
}

/* Holes for the mapped blocks of one leaf in [from, to), a run at a time; recorded in the log. */
static int punch_leaf(struct bd_inode *inode, struct bd_leaf *leaf, uint32_t from, uint32_t to, struct bd_items *items)
{
	uint32_t run = 0;
	int error = 0;
	for (uint32_t block = from; block <= to && error == 0; block++) {
		uint64_t loc = block < to ? leaf->entries[block % BD_LEAF_BLOCKS].loc : BD_LOC_NONE;
		if (loc != BD_LOC_NONE && loc != BD_LOC_HOLE) {
			run++;
			continue;
		}
		if (run == 0)
			continue;
		struct bd_block_id first = {.branch = inode->branch->id, .file = inode->file, .block = block - run,
					    .epoch = inode->branch->epoch};
		bd_items_holes(items, &first, run);
		for (; run > 0 && error == 0; run--)
			error = bd_map_set(inode, block - run, BD_LOC_HOLE, 0, BD_LOGGED);
	}
	return error;
}

int bd_map_punch(struct bd_inode *inode, uint32_t from, uint32_t to, struct bd_items *items)
{
	int error = 0;
	bd_inode_mark_dirty(inode);
	uint32_t at = from >> BD_LEAF_SHIFT;
	while (error == 0 && from < to) {
		error = bd_map_next(inode, at, &at);
		if (error != 0 || at == UINT32_MAX || at << BD_LEAF_SHIFT >= to)
			break;
		struct bd_leaf *leaf;
		error = bd_map_leaf(inode, at, &leaf);
		uint32_t first = NF_MAX(from, at << BD_LEAF_SHIFT);
		uint32_t end = (uint32_t)NF_MIN((uint64_t)to, ((uint64_t)at + 1) << BD_LEAF_SHIFT);
		if (error == 0)
			error = punch_leaf(inode, leaf, first, end, items);
		/* More holes than one record takes (tens of GiB): the first ones go ahead. */
		uint64_t ticket;
		if (error == 0 && items->size > PUNCH_ITEMS_MAX) {
			error = bd_commit_log(inode->store, items->data, items->size, &ticket);
			items->size = 0;
		}
		at++;
	}
	if (error == 0 && items->failed)
		error = -ENOMEM;
	/* The map is ahead of the log: no way back. */
	return error != 0 ? bd_store_fail(inode->store, error, "recording holes") : 0;
}

int bd_index_place(struct bd_store *store, const struct bd_block_id *id, struct bd_place *ret_place)
{
	struct bd_key key;
	uint8_t value[BD_PLACE_VALUE_SIZE];
	size_t size;
	bd_key_block(&key, id);
	int error = bd_index_get(store->index, &key, value, sizeof(value), &size);
	if (error != 0)
		return error;
	struct nf_reader r = nf_reader_init(value, size);
	struct bd_place place = {.loc = nf_read_u64(&r), .sum = nf_read_u64(&r)};
	if (r.failed)
		return -EUCLEAN;
	*ret_place = place;
	return 0;
}
