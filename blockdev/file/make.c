/* Making blocks that a redo layer has changed (layer/README.md): the block below the layer, the hook, and the result stored.
 *
 *   1. read the blocks as the view below the layer has them, many at once; that view may itself look through a layer further below
 *   2. the hook makes of each what it is above
 *   3. in a head: all of them into new slots with one write, like any write of data, and the map points there, where it still says that the block
 *      is to be made by this layer. Who overwrites or punches a block meanwhile wins; a new layer above wins too.
 *      for a reader who waits for a few blocks only, 3 comes after the answer (make_later.c)
 * No lock is held over 1 and 2. What is stored is an ordinary version of the current epoch; after a crash that loses it the block is made again.
 * Two readers of one block in a head: the second waits for the first and then looks again, so hooks, which may be slow, run once. */
#include "blockdev/file/make.h"

#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/file/slots.h"
#include "common/nf_log.h"

/* Readers that make blocks in heads at a time; more of them go unnoticed, and may do one's work twice. */
#define MAKERS_MAX 64u

struct maker {
	const struct bd_inode *inode; /* NULL: free */
	uint32_t first, end;
};

struct bd_makers {
	pthread_mutex_t lock;
	pthread_cond_t gone;
	struct maker makers[MAKERS_MAX];
};

int bd_makers_init(struct bd_store *store)
{
	struct bd_makers *makers = calloc(1, sizeof(*makers));
	if (makers == NULL)
		return -ENOMEM;
	pthread_mutex_init(&makers->lock, NULL);
	pthread_cond_init(&makers->gone, NULL);
	store->makers = makers;
	return 0;
}

void bd_makers_free(struct bd_store *store)
{
	if (store->makers == NULL)
		return;
	pthread_mutex_destroy(&store->makers->lock);
	pthread_cond_destroy(&store->makers->gone);
	free(store->makers);
	store->makers = NULL;
}

/* Under the makers' lock. */
static bool is_made(const struct bd_makers *makers, const struct bd_inode *inode, uint32_t first, uint32_t end)
{
	for (unsigned i = 0; i < MAKERS_MAX; i++) {
		const struct maker *maker = &makers->makers[i];
		if (maker->inode == inode && maker->first < end && first < maker->end)
			return true;
	}
	return false;
}

bool make_enter(struct bd_inode *inode, uint32_t first, uint32_t end, struct maker **ret_maker)
{
	struct bd_makers *makers = inode->store->makers;
	bool entered = true;
	*ret_maker = NULL;
	if (!bd_inode_is_head(inode))
		return true;
	pthread_mutex_lock(&makers->lock);
	if (is_made(makers, inode, first, end)) {
		pthread_cond_wait(&makers->gone, &makers->lock);
		entered = false;
	}
	for (unsigned i = 0; entered && *ret_maker == NULL && i < MAKERS_MAX; i++) {
		if (makers->makers[i].inode == NULL)
			*ret_maker = &makers->makers[i];
	}
	if (*ret_maker != NULL)
		**ret_maker = (struct maker){.inode = inode, .first = first, .end = end};
	pthread_mutex_unlock(&makers->lock);
	return entered;
}

void make_leave(struct bd_store *store, struct maker *maker)
{
	if (maker == NULL)
		return;
	pthread_mutex_lock(&store->makers->lock);
	maker->inode = NULL;
	pthread_cond_broadcast(&store->makers->gone);
	pthread_mutex_unlock(&store->makers->lock);
}

/* Blocks [block, block + count) through one layer. */
static int make_run(struct bd_inode *inode, struct bd_layer *layer, uint32_t block, uint32_t count, uint8_t *buf)
{
	const struct bd_layer_hooks *hooks = &inode->store->layer_hooks;
	struct bd_inode *below;
	int error = bd_inode_get(inode->store, layer->branch, layer->epoch, inode->file, &below);
	if (error != 0)
		return error == -ENOENT ? -EUCLEAN : error; /* it was there when the entry was marked */
	uint64_t size = below->attr.size_bytes; /* of a frozen view: constant */
	error = block + count <= blocks_of(size) ? bd_inode_open_layers(below) : -EUCLEAN; /* nothing behind the end is marked */
	if (error == 0)
		error = bd_blocks_read(below, block, count, buf, BD_MAKE_SERVE);
	for (uint32_t i = 0; error == 0 && i < count; i++) {
		uint8_t *page = buf + (size_t)i * NF_BLOCK_SIZE;
		uint64_t end = (uint64_t)(block + i + 1) << NF_BLOCK_SHIFT;
		error = hooks->apply(hooks->arg, layer->hook, inode->file, block + i, page);
		if (error != 0 && atomic_load(&layer->is_gone)) {
			error = -EIO; /* the caller looks again */
		} else if (error != 0) {
			nf_error("branch %s file %llu block %u: cannot be made through the redo layer of branch %s, epoch %u: %s",
				 inode->branch->name, (unsigned long long)inode->file, block + i, layer->branch->name,
				 layer->epoch, strerror(-error));
			error = -EIO;
		} else if (end > size) {
			memset(page + NF_BLOCK_SIZE - (end - size), 0, end - size);
		}
	}
	bd_inode_unref(below, 1);
	return error;
}

int make_blocks(struct bd_inode *inode, uint32_t first, uint32_t count, struct bd_layer *const *layers, uint8_t *buf)
{
	int error = 0;
	for (uint32_t i = 0; error == 0 && i < count;) {
		uint32_t n = 1;
		while (i + n < count && layers[i + n] == layers[i])
			n++;
		if (layers[i] != NULL) {
			error = make_run(inode, layers[i], first + i, n, buf + (size_t)i * NF_BLOCK_SIZE);
			if (error == 0)
				atomic_fetch_add_explicit(&inode->store->made_blocks, n, memory_order_relaxed);
		}
		i += n;
	}
	return error;
}

/* ---- storing */

/* Made blocks on their way into slots. */
struct made {
	uint8_t *data; /* one behind the other */
	uint32_t n;
	uint32_t blocks[MAKE_BLOCKS_MAX]; /* which ones of the file they are */
	struct bd_layer *layers[MAKE_BLOCKS_MAX]; /* by which each was made */
	uint64_t sums[MAKE_BLOCKS_MAX];
};

static void gather(struct made *made, uint32_t block, struct bd_layer *layer, const uint8_t *page)
{
	uint8_t *to = made->data + (size_t)made->n * NF_BLOCK_SIZE;
	memcpy(to, page, NF_BLOCK_SIZE);
	made->sums[made->n] = XXH3_64bits(to, NF_BLOCK_SIZE);
	made->layers[made->n] = layer;
	made->blocks[made->n++] = block;
}

/* Under inode->lock: is made block `k` still to be made, by the same layer? */
static bool is_wanted(struct bd_inode *inode, const struct made *made, uint32_t k)
{
	const struct bd_leaf *leaf = bd_map_peek(inode, made->blocks[k] >> BD_LEAF_SHIFT);
	const struct bd_entry *entry = &leaf->entries[made->blocks[k] % BD_LEAF_BLOCKS];
	return entry->loc == BD_LOC_REDO && entry->sum == bd_layer_key(made->layers[k]);
}

/* Under inode->lock exclusive: what can fail. */
static int prepare(struct bd_inode *inode, const struct made *made)
{
	int error = inode_reserve_pending(inode, made->n);
	for (uint32_t k = 0; error == 0 && k < made->n; k++) {
		struct bd_leaf *leaf;
		error = bd_map_leaf(inode, made->blocks[k] >> BD_LEAF_SHIFT, &leaf);
	}
	return error;
}

/* Under inode->lock exclusive: the slots of a piece to the blocks that are still wanted, neighbours together. */
static int take_piece(struct bd_inode *inode, const struct made *made, const struct slots_piece *piece)
{
	int error = 0;
	for (uint32_t k = 0; error == 0 && k < piece->count;) {
		uint32_t from = piece->at + k, n = 0;
		while (k + n < piece->count && made->blocks[from + n] == made->blocks[from] + n &&
		       is_wanted(inode, made, from + n))
			n++;
		if (n > 0)
			error = slots_take(inode, piece, k, n, made->blocks[from], made->sums + from);
		else
			bd_extent_abandon(inode->store, piece->extent, 1);
		k += NF_MAX(n, 1);
	}
	return error;
}

/* Inside an operation. */
static int store_made(struct bd_inode *inode, struct made *made)
{
	struct bd_store *store = inode->store;
	struct slots_piece pieces[SLOTS_PIECES_MAX];
	unsigned count = 0;
	int error = slots_write(inode, made->data, made->n, pieces, &count);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->lock);
	error = prepare(inode, made);
	if (error != 0) {
		pthread_rwlock_unlock(&inode->lock);
		slots_abandon(store, pieces, count);
		return error;
	}
	uint32_t allocated = inode->allocated_blocks;
	bd_inode_mark_dirty(inode);
	for (unsigned i = 0; error == 0 && i < count; i++)
		error = take_piece(inode, made, &pieces[i]);
	inode->attr_dirty |= inode->allocated_blocks != allocated;
	pthread_rwlock_unlock(&inode->lock);
	for (unsigned i = 0; i < count; i++)
		bd_extent_put(store, pieces[i].extent);
	return error;
}

/* Room for `count` blocks; NULL: no memory. */
static struct made *made_new(uint32_t count)
{
	struct made *made = malloc(sizeof(*made));
	assert(count <= MAKE_BLOCKS_MAX);
	if (made == NULL)
		return NULL;
	made->n = 0;
	made->data = nf_io_buffer((size_t)count * NF_BLOCK_SIZE);
	if (made->data == NULL) {
		free(made);
		return NULL;
	}
	return made;
}

/* In an operation of its own; the made blocks are freed. */
static int store_all(struct bd_inode *inode, struct made *made)
{
	int error = made->n > 0 ? bd_op_begin(inode) : 0;
	if (error == 0 && made->n > 0) {
		error = store_made(inode, made);
		bd_op_end(inode);
	}
	free(made->data);
	free(made);
	return error;
}

int make_store(struct bd_inode *inode, uint32_t first, uint32_t count, struct bd_layer *const *layers, const uint8_t *buf)
{
	if (!bd_inode_is_head(inode))
		return 0;
	struct made *made = made_new(count);
	if (made == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		if (layers[i] != NULL)
			gather(made, first + i, layers[i], buf + (size_t)i * NF_BLOCK_SIZE);
	return store_all(inode, made);
}

int make_store_at(struct bd_inode *inode, const uint32_t *blocks, uint32_t count, struct bd_layer *const *layers,
		  const uint8_t *const *pages)
{
	struct made *made = made_new(count);
	if (made == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		gather(made, blocks[i], layers[i], pages[i]);
	return store_all(inode, made);
}
