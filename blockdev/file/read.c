/* Reading: map entries under the inode's lock, bytes without it.
 *
 * Between the two a block may be overwritten and its old place collected. Extents are held while they are read; a place that was
 * given up says -ESTALE, a ring position that was reused fails its checksum: both look the entry up again. Only a place that is still the
 * current one and does not match its checksum is damage. Blocks that a redo layer has still to make come after the others (make.c). */
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"
#include "blockdev/file/make.h"
#include "common/nf_log.h"

#define READ_ATTEMPTS 16u

#define MAKE_WAITS 16u /* for others who make the same blocks; then it is done twice */
static_assert(BD_READ_BLOCKS <= MAKE_BLOCKS_MAX, "a batch is made at once");

struct read_batch {
	uint32_t first, count;
	struct bd_place places[BD_READ_BLOCKS];
};

/* The layers that blocks of a batch are to be made by, each held; NULL: it has bytes, or is a hole. */
struct lazy {
	uint32_t first, end; /* none outside; first == end: none at all */
	struct bd_layer *layers[BD_READ_BLOCKS];
};

static void lazy_add(struct lazy *lazy, uint32_t i, struct bd_layer *layer)
{
	if (lazy->first == lazy->end) {
		memset(lazy->layers, 0, sizeof(lazy->layers));
		lazy->first = i;
	}
	lazy->layers[i] = layer;
	lazy->end = i + 1;
}

static void lazy_clear(struct lazy *lazy)
{
	for (uint32_t i = lazy->first; i < lazy->end; i++)
		bd_layer_unref(lazy->layers[i]);
	lazy->first = lazy->end = 0;
}

/* Fill `batch->places` and `lazy` from the map. */
static int look_up(struct bd_inode *inode, struct read_batch *batch, struct lazy *lazy)
{
	int error = 0;
	bool exclusive = false;
	pthread_rwlock_rdlock(&inode->lock);
	for (uint32_t i = 0; i < batch->count && error == 0;) {
		uint32_t block = batch->first + i;
		struct bd_leaf *leaf = bd_map_peek(inode, block >> BD_LEAF_SHIFT);
		if (leaf == NULL && !exclusive) {
			pthread_rwlock_unlock(&inode->lock);
			pthread_rwlock_wrlock(&inode->lock);
			exclusive = true;
			i = 0;
			lazy_clear(lazy);
			continue;
		}
		if (leaf == NULL)
			error = bd_map_leaf(inode, block >> BD_LEAF_SHIFT, &leaf);
		for (; error == 0 && i < batch->count && (batch->first + i) >> BD_LEAF_SHIFT == leaf->index; i++) {
			const struct bd_entry *entry = &leaf->entries[(batch->first + i) % BD_LEAF_BLOCKS];
			batch->places[i] = (struct bd_place){.loc = entry->loc, .sum = entry->sum};
			if (entry->loc == BD_LOC_REDO)
				lazy_add(lazy, i, bd_passes_layer(inode, entry));
		}
	}
	pthread_rwlock_unlock(&inode->lock);
	return error;
}

static bool has_bytes(uint64_t loc)
{
	return bd_loc_is_extent(loc) || bd_loc_is_log(loc);
}

/* Index of the first block that does not match, or count. */
static unsigned first_bad(const struct read_batch *batch, const uint8_t *buf)
{
	for (unsigned i = 0; i < batch->count; i++) {
		if (has_bytes(batch->places[i].loc) &&
		    XXH3_64bits(buf + (size_t)i * NF_BLOCK_SIZE, NF_BLOCK_SIZE) != batch->places[i].sum)
			return i;
	}
	return batch->count;
}

static int refresh(struct bd_inode *inode, const struct read_batch *batch)
{
	int error = 0;
	pthread_rwlock_wrlock(&inode->lock);
	for (uint32_t leaf = batch->first >> BD_LEAF_SHIFT;
	     error == 0 && leaf <= (batch->first + batch->count - 1) >> BD_LEAF_SHIFT; leaf++)
		error = bd_map_refresh(inode, leaf);
	pthread_rwlock_unlock(&inode->lock);
	return error;
}

static int report_bad(struct bd_inode *inode, uint32_t block, uint64_t loc)
{
	if (bd_loc_is_extent(loc))
		nf_error("branch %s file %llu block %u: checksum mismatch in extent %08x slot %u; run neonfs scrub",
			 inode->branch->name, (unsigned long long)inode->file, block, bd_loc_extent_id(loc), bd_loc_slot(loc));
	else
		nf_error("branch %s file %llu block %u: checksum mismatch in the log at %llu; run neonfs scrub",
			 inode->branch->name, (unsigned long long)inode->file, block, (unsigned long long)bd_loc_lsn(loc));
	return -EUCLEAN;
}

static bool is_lazy(const struct lazy *lazy)
{
	return lazy->first < lazy->end;
}

/* Was a layer taken away meanwhile? Then what was read below it may have been half gone: the block is there by now, by somebody else. */
static bool is_overtaken(const struct lazy *lazy)
{
	for (uint32_t i = lazy->first; i < lazy->end; i++) {
		if (lazy->layers[i] != NULL && atomic_load(&lazy->layers[i]->is_gone))
			return true;
	}
	return false;
}

/* The blocks of the batch that are to be made. False: others were making them, or have done so; look again. */
static bool make_lazy(struct bd_inode *inode, const struct read_batch *batch, const struct lazy *lazy, uint8_t *buf,
		      enum bd_make make, bool alone, int *ret_error)
{
	struct maker *maker = NULL;
	if (!alone && !make_enter(inode, batch->first + lazy->first, batch->first + lazy->end, &maker))
		return false;
	int error = make_blocks(inode, batch->first, batch->count, lazy->layers, buf);
	bool overtaken = is_overtaken(lazy);
	int stored = 0;
	if (error == 0 && !overtaken && make == BD_MAKE_STORE)
		stored = make_store(inode, batch->first, batch->count, lazy->layers, buf);
	else if (error == 0 && !overtaken)
		make_store_later(inode, batch->first, batch->count, lazy->layers, buf);
	make_leave(inode->store, maker);
	if (overtaken)
		return false;
	*ret_error = error == 0 ? stored : error;
	return true;
}

static int read_attempts(struct bd_inode *inode, struct read_batch *batch, uint8_t *buf, enum bd_make make, struct lazy *lazy)
{
	struct bd_place suspect = {0};
	unsigned waits = 0;
	/* What does not match is read from the disk itself: the second look is what counts. */
	bool is_cached = atomic_load_explicit(&inode->cache_users, memory_order_relaxed) > 0;
	for (unsigned attempt = 0; attempt < READ_ATTEMPTS + waits; attempt++) {
		lazy_clear(lazy);
		int error = look_up(inode, batch, lazy);
		if (error == 0 && is_lazy(lazy) && make == BD_MAKE_NOT)
			return BD_LAZY;
		if (error == 0)
			error = places_fetch(inode->store, batch->places, batch->count, buf, attempt == 0 && is_cached);
		if (error == -ENODATA)
			error = -EUCLEAN; /* shorter than the index says */
		unsigned bad = error == 0 ? first_bad(batch, buf) : 0;
		if (error == 0 && bad == batch->count) {
			if (!is_lazy(lazy) || make_lazy(inode, batch, lazy, buf, make, waits >= MAKE_WAITS, &error))
				return error;
			waits += waits < MAKE_WAITS + BD_LAYERS_MAX;
			continue;
		}
		if (error != 0 && error != -ESTALE && error != -EUCLEAN)
			return error;
		if (error != -ESTALE) {
			/* The same place bad twice, with a fresh look between: damage. */
			struct bd_place place = batch->places[bad];
			if (suspect.loc == place.loc && suspect.sum == place.sum && suspect.loc != 0)
				return report_bad(inode, batch->first + bad, place.loc);
			suspect = place;
		}
		error = refresh(inode, batch);
		if (error != 0)
			return error;
	}
	nf_error("branch %s file %llu block %u: could not be read in %u attempts", inode->branch->name,
		 (unsigned long long)inode->file, batch->first, READ_ATTEMPTS);
	return -EIO;
}

int bd_blocks_read(struct bd_inode *inode, uint32_t block, uint32_t count, void *buf, enum bd_make make)
{
	int error = 0;
	for (uint32_t done = 0; done < count && error == 0;) {
		uint32_t n = NF_MIN(count - done, BD_READ_BLOCKS);
		struct read_batch batch = {.first = block + done, .count = n};
		struct lazy lazy;
		lazy.first = lazy.end = 0;
		error = read_attempts(inode, &batch, (uint8_t *)buf + (size_t)done * NF_BLOCK_SIZE, make, &lazy);
		lazy_clear(&lazy);
		done += n;
	}
	return error;
}

int bd_place_read(struct bd_store *store, struct bd_place place, void *buf)
{
	struct read_batch batch = {.count = 1, .places = {place}};
	int error = places_fetch(store, batch.places, batch.count, buf, false);
	if (error != 0)
		return error == -ENODATA ? -EUCLEAN : error;
	return first_bad(&batch, buf) == 1 ? 0 : -EUCLEAN;
}

bool bd_places_read(struct bd_store *store, const struct bd_place *places, unsigned count, void *buf)
{
	struct read_batch batch = {.count = count};
	assert(count <= BD_READ_BLOCKS);
	memcpy(batch.places, places, count * sizeof(*places));
	return places_fetch(store, batch.places, batch.count, buf, false) == 0 && first_bad(&batch, buf) == count;
}

/* Unaligned in memory or in the file: through a block-wise buffer. */
static int read_bounced(struct bd_inode *inode, uint64_t offset, uint8_t *buf, size_t size)
{
	uint64_t blocks = (offset % NF_BLOCK_SIZE + size + NF_BLOCK_SIZE - 1) / NF_BLOCK_SIZE;
	uint8_t *bounce = nf_io_buffer((size_t)NF_MIN(blocks, BD_READ_BLOCKS) * NF_BLOCK_SIZE);
	int error = bounce != NULL ? 0 : -ENOMEM;
	while (size > 0 && error == 0) {
		uint32_t block = (uint32_t)(offset >> NF_BLOCK_SHIFT);
		size_t skip = offset % NF_BLOCK_SIZE;
		uint32_t count = (uint32_t)NF_MIN(BD_READ_BLOCKS, (skip + size + NF_BLOCK_SIZE - 1) / NF_BLOCK_SIZE);
		error = bd_blocks_read(inode, block, count, bounce, BD_MAKE_SERVE);
		if (error == 0) {
			size_t n = NF_MIN(size, (size_t)count * NF_BLOCK_SIZE - skip);
			memcpy(buf, bounce + skip, n);
			buf += n;
			offset += n;
			size -= n;
		}
	}
	free(bounce);
	return error;
}

ssize_t bd_read(struct bd_inode *inode, uint64_t offset, void *buf, size_t size)
{
	pthread_rwlock_rdlock(&inode->lock);
	uint64_t end = inode->attr.size_bytes;
	uint32_t mode = inode->attr.mode;
	pthread_rwlock_unlock(&inode->lock);
	if (!S_ISREG(mode))
		return S_ISDIR(mode) ? -EISDIR : -EINVAL;
	if (inode->branch->dead)
		return -ESTALE;
	if (offset >= end || size == 0)
		return 0;
	size = (size_t)NF_MIN(size, end - offset);
	int error = bd_inode_open_layers(inode);
	size_t whole = 0;
	/* The part that can go straight to the caller's memory. */
	if (error == 0 && offset % NF_BLOCK_SIZE == 0 && (uintptr_t)buf % NF_IO_ALIGN == 0) {
		whole = size / NF_BLOCK_SIZE * NF_BLOCK_SIZE;
		if (whole > 0)
			error = bd_blocks_read(inode, (uint32_t)(offset >> NF_BLOCK_SHIFT),
					       (uint32_t)(whole / NF_BLOCK_SIZE), buf, BD_MAKE_SERVE);
	}
	if (error == 0 && whole < size)
		error = read_bounced(inode, offset + whole, (uint8_t *)buf + whole, size - whole);
	atomic_fetch_add_explicit(&inode->store->reads, 1, memory_order_relaxed);
	/* Deleted meanwhile: its versions may have gone while they were looked up. */
	if (inode->branch->dead)
		return -ESTALE;
	if (error != 0)
		return error;
	atomic_fetch_add_explicit(&inode->store->read_bytes, size, memory_order_relaxed);
	return (ssize_t)size;
}
