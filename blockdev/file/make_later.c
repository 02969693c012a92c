/* Storing made blocks after whoever wanted to read them has his answer.
 *
 * A reader of a few blocks that a redo layer has made would wait for a write of the disk, which takes as long as everything else together, and at times
 * much longer. The blocks wait in memory instead, in the order that they were made, and a thread stores those of one file together, with one write. Nothing
 * depends on it: the map says that a block is to be made until it is stored, and whoever reads it meanwhile makes it again; what is stored late is put only
 * where the entry still says the same layer (make.c).
 * Bounded by LATER_MAX blocks; readers for whom there is no room store what they made themselves, so they are no faster than the disk in the long run.
 * Threading: one thread, from bd_later_start to bd_later_stop; the ring is guarded by its lock, which is held over copies of pages only. */
#include <stdlib.h>
#include <string.h>

#include "blockdev/file/inode.h"
#include "blockdev/file/make.h"
#include "common/nf_log.h"

#define LATER_MAX 512u /* blocks: 4 MiB */
#define LATER_FEW 16u /* more at once are stored at once */

struct waiting {
	struct bd_inode *inode; /* a reference, as of the layer */
	struct bd_layer *layer;
	uint32_t block;
};

struct bd_later {
	struct bd_store *store;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* guarded by lock */
	bool is_stopping;
	uint32_t first, count; /* of the ring that are in use */
	struct waiting ring[LATER_MAX];
	uint8_t *pages; /* page i is of ring[i] */
	/* the thread's own */
	struct waiting taken[MAKE_BLOCKS_MAX];
	uint8_t *taken_pages;
};

static void let_go(const struct waiting *waiting)
{
	bd_layer_unref(waiting->layer);
	bd_inode_unref(waiting->inode, 1);
}

/* Under the lock: the first ones that are of one file. */
static uint32_t take(struct bd_later *later)
{
	uint32_t n = 0;
	while (n < MAKE_BLOCKS_MAX && later->count > 0 && (n == 0 || later->ring[later->first].inode == later->taken[0].inode)) {
		later->taken[n] = later->ring[later->first];
		memcpy(later->taken_pages + (size_t)n * NF_BLOCK_SIZE, later->pages + (size_t)later->first * NF_BLOCK_SIZE,
		       NF_BLOCK_SIZE);
		later->first = (later->first + 1) % LATER_MAX;
		later->count--;
		n++;
	}
	return n;
}

/* A failure is the store's, which says so to those who ask it for something; the blocks are made again. */
static void store_taken(struct bd_later *later, uint32_t n)
{
	struct bd_layer *layers[MAKE_BLOCKS_MAX] = {NULL};
	uint32_t blocks[MAKE_BLOCKS_MAX] = {0};
	const uint8_t *pages[MAKE_BLOCKS_MAX] = {NULL};
	for (uint32_t i = 0; i < n; i++) {
		layers[i] = later->taken[i].layer;
		blocks[i] = later->taken[i].block;
		pages[i] = later->taken_pages + (size_t)i * NF_BLOCK_SIZE;
	}
	int error = make_store_at(later->taken[0].inode, blocks, n, layers, pages);
	if (error != 0)
		nf_debug("%u blocks that were made are not stored: %s", n, strerror(-error));
	for (uint32_t i = 0; i < n; i++)
		let_go(&later->taken[i]);
	bd_layers_reap(later->store);
}

static void *later_main(void *arg)
{
	struct bd_later *later = arg;
	pthread_mutex_lock(&later->lock);
	while (!later->is_stopping) {
		uint32_t n = take(later);
		if (n == 0) {
			pthread_cond_wait(&later->wake, &later->lock);
			continue;
		}
		pthread_mutex_unlock(&later->lock);
		store_taken(later, n);
		pthread_mutex_lock(&later->lock);
	}
	pthread_mutex_unlock(&later->lock);
	return NULL;
}

static void later_free(struct bd_later *later)
{
	for (uint32_t i = 0; i < later->count; i++)
		let_go(&later->ring[(later->first + i) % LATER_MAX]);
	pthread_cond_destroy(&later->wake);
	pthread_mutex_destroy(&later->lock);
	free(later->pages);
	free(later->taken_pages);
	free(later);
}

int bd_later_start(struct bd_store *store)
{
	struct bd_later *later = calloc(1, sizeof(*later));
	if (later == NULL)
		return -ENOMEM;
	later->store = store;
	pthread_mutex_init(&later->lock, NULL);
	pthread_cond_init(&later->wake, NULL);
	later->pages = nf_io_buffer((size_t)LATER_MAX * NF_BLOCK_SIZE);
	later->taken_pages = nf_io_buffer((size_t)MAKE_BLOCKS_MAX * NF_BLOCK_SIZE);
	int error = later->pages != NULL && later->taken_pages != NULL ? 0 : -ENOMEM;
	if (error == 0)
		error = -pthread_create(&later->thread, NULL, later_main, later);
	if (error != 0) {
		later_free(later);
		return error;
	}
	store->later = later;
	return 0;
}

void bd_later_stop(struct bd_store *store)
{
	struct bd_later *later = store->later;
	if (later == NULL)
		return;
	store->later = NULL;
	pthread_mutex_lock(&later->lock);
	later->is_stopping = true;
	pthread_cond_signal(&later->wake);
	pthread_mutex_unlock(&later->lock);
	pthread_join(later->thread, NULL);
	later_free(later);
	bd_layers_reap(store);
}

/* Under the lock, with room. */
static void add(struct bd_later *later, struct bd_inode *inode, struct bd_layer *layer, uint32_t block, const uint8_t *page)
{
	uint32_t at = (later->first + later->count++) % LATER_MAX;
	bd_inode_ref(inode, 1);
	bd_layer_ref(layer);
	later->ring[at] = (struct waiting){.inode = inode, .layer = layer, .block = block};
	memcpy(later->pages + (size_t)at * NF_BLOCK_SIZE, page, NF_BLOCK_SIZE);
}

void make_store_later(struct bd_inode *inode, uint32_t first, uint32_t count, struct bd_layer *const *layers, const uint8_t *buf)
{
	struct bd_later *later = inode->store->later;
	bool has_room = false;
	if (!bd_inode_is_head(inode))
		return;
	if (later != NULL && count <= LATER_FEW) {
		pthread_mutex_lock(&later->lock);
		has_room = later->count + count <= LATER_MAX;
		for (uint32_t i = 0; has_room && i < count; i++)
			if (layers[i] != NULL)
				add(later, inode, layers[i], first + i, buf + (size_t)i * NF_BLOCK_SIZE);
		pthread_cond_signal(&later->wake);
		pthread_mutex_unlock(&later->lock);
	}
	/* Whoever reads does not care whether it could be stored. */
	int error = has_room ? 0 : make_store(inode, first, count, layers, buf);
	if (error != 0)
		nf_debug("blocks that were made are not stored: %s", strerror(-error));
}
