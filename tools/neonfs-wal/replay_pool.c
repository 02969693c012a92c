/* The threads. One lock guards `batch`, `job`, `done`, `status`; shards are handed out by an atomic counter, whose upper half is the job, so
 * that a thread that wakes late takes nothing of the next one. */
#include "tools/neonfs-wal/replay_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "tools/neonfs-wal/replay_order.h"
#include "walapply/decode/wa_decode.h"
#include "walapply/redo/page.h"

/* A block that was not there when a record wanted it. */
struct absent {
	struct {
		uint32_t rel_id, blkno;
	} key;
	struct wa_block block;
	struct nf_lsn lsn;
	UT_hash_handle hh;
};

struct rp_pool {
	struct wa_version version;
	struct rp_cache *cache;
	unsigned shards;
	pthread_t threads[RP_THREADS_MAX];
	unsigned thread_count;
	struct rp_order orders[RP_THREADS_MAX]; /* of each thread; the caller's is the last one */

	pthread_mutex_t lock;
	pthread_cond_t work, finished;
	struct rp_batch *batch; /* under way; NULL also while flushing */
	uint32_t job; /* counts batches and flushes that were begun, around the end if need be */
	bool busy;
	bool stop;
	unsigned begun; /* threads that have taken a place in orders */
	unsigned done; /* shards of it that are done */
	int status;
	struct wa_error error;
	struct absent *absent; /* guarded by lock */

	_Atomic uint64_t next; /* job and shard */
	_Atomic uint64_t redone;
};

/* -------------------------------------------------------- missing blocks */

static int remember_absent(struct rp_pool *pool, const struct rp_item *item, struct nf_lsn lsn)
{
	struct absent *absent, *found = NULL;
	absent = calloc(1, sizeof(*absent));
	if (absent == NULL)
		return -ENOMEM;
	absent->key.rel_id = item->rel->id;
	absent->key.blkno = item->blkno;
	absent->block = item->rel->block;
	absent->block.blkno = item->blkno;
	absent->lsn = lsn;
	pthread_mutex_lock(&pool->lock);
	HASH_FIND(hh, pool->absent, &absent->key, sizeof(absent->key), found);
	if (found == NULL)
		HASH_ADD(hh, pool->absent, key, sizeof(absent->key), absent);
	pthread_mutex_unlock(&pool->lock);
	if (found != NULL)
		free(absent);
	return 0;
}

void rp_pool_forget_absent(struct rp_pool *pool, const struct rp_rel *rel, uint32_t from)
{
	struct absent *at, *next;
	HASH_ITER(hh, pool->absent, at, next)
	{
		if (at->key.rel_id != rel->id || at->key.blkno < from)
			continue;
		HASH_DEL(pool->absent, at);
		free(at);
	}
}

bool rp_pool_absent(struct rp_pool *pool, struct wa_error *error)
{
	const struct absent *at = pool->absent;
	if (at == NULL)
		return false;
	wa_bad(error, at->lsn,
	       "block %u of relation %u/%u/%u (fork %u) is missing in this directory, and was neither cut off nor dropped later",
	       at->block.blkno, at->block.rel.spc, at->block.rel.db, at->block.rel.rel, at->block.fork);
	return true;
}

/* ---------------------------------------------------------------- items */

/* Bits of the visibility map are cleared whatever the page's LSN: visibilitymap_clear (visibilitymap.c) does so in recovery, and makes the page
 * where it is missing. */
static bool clear_bits(const struct rp_item *item, uint8_t *page)
{
	const struct wa_implied implied = {.heap_blkno = item->heap_blkno,
					   .bits = item->bits,
					   .block = {.rel = item->rel->block.rel, .fork = WA_FORK_VM, .blkno = item->blkno}};
	bool is_new = wa_page_is_new(page);
	if (is_new)
		wa_page_init(page, 0);
	return wa_redo_implied(&implied, page) == WA_REDONE || is_new;
}

/* Pages of the visibility map are made when they are missing (RBM_ZERO_ON_ERROR in heap_xlog_visible); other records want their page to be
 * there, or make it anew. */
static int do_item(struct rp_pool *pool, const struct rp_batch *batch, const struct rp_item *item, uint8_t *page,
		   bool *ret_changed, struct wa_error *error)
{
	if (item->bits != 0) {
		*ret_changed = clear_bits(item, page);
		return 0;
	}
	struct nf_lsn lsn = {batch->base.v + (uint64_t)item->at * RP_LSN_UNIT};
	if (!item->blank && item->rel->block.fork != WA_FORK_VM && wa_page_is_new(page))
		return remember_absent(pool, item, lsn);
	struct wa_record record;
	int outcome = wa_decode_record(pool->version.major, item->record, wa_get32(item->record), lsn, &record, error);
	record.end.v = lsn.v + item->span;
	if (outcome == 0)
		outcome = wa_redo_block(&pool->version, &record, &record.refs[item->ref], page, error);
	if (outcome < 0)
		return outcome;
	*ret_changed = outcome != WA_SKIPPED;
	return 0;
}

#define ITEMS_AHEAD 16u
#define RECORDS_AHEAD 8u
#define PAGES_AHEAD 2u
#define LINE_SIZE 64u /* of the processor's cache */

/* Have the processor fetch what will be looked at: pages and records are many, and lie far apart, so each would be waited for otherwise. Of a
 * page its newest line pointers and tuples, where the header says they are. */
static void fetch_page(const uint8_t *page)
{
	unsigned lower = wa_page_lower(page) % WA_PAGE_SIZE, upper = wa_page_upper(page) % WA_PAGE_SIZE;
	__builtin_prefetch(page + lower, 1);
	__builtin_prefetch(page + upper, 1);
	__builtin_prefetch(page + (upper >= 64 ? upper - 64 : 0), 1);
}

/* Part of a shard's work: the items of up to RP_CHUNK pages. */
struct chunk {
	struct rp_pool *pool;
	const struct rp_batch *batch;
	const struct rp_items *list;
	const struct rp_place *places; /* all that are left of the shard, in order */
	uint32_t left;
	unsigned shard, pages;
	struct rp_want wants[RP_CHUNK];
	uint32_t ends[RP_CHUNK]; /* of each page's places */
};

static void gather_pages(struct chunk *chunk)
{
	uint32_t at = 0;
	for (chunk->pages = 0; chunk->pages < RP_CHUNK && at < chunk->left; chunk->pages++) {
		const struct rp_item *first = &chunk->list->items[chunk->places[at].item];
		uint64_t key = chunk->places[at].key;
		chunk->wants[chunk->pages] = (struct rp_want){.rel = first->rel, .blkno = first->blkno, .blank = first->blank};
		while (at < chunk->left && chunk->places[at].key == key)
			at++;
		chunk->ends[chunk->pages] = at;
	}
}

static const struct rp_item *item_at(const struct chunk *chunk, uint32_t at)
{
	return &chunk->list->items[chunk->places[at].item];
}

static void fetch_record(const struct chunk *chunk, uint32_t at)
{
	if (at + ITEMS_AHEAD < chunk->left)
		__builtin_prefetch(item_at(chunk, at + ITEMS_AHEAD));
	if (at + RECORDS_AHEAD < chunk->left) {
		const uint8_t *record = item_at(chunk, at + RECORDS_AHEAD)->record;
		__builtin_prefetch(record);
		__builtin_prefetch(record + LINE_SIZE);
	}
}

/* All records of the places [at, end), which are of one page. */
static int do_page(const struct chunk *chunk, const struct rp_want *want, uint32_t at, uint32_t end, uint64_t *redone,
		   struct wa_error *error)
{
	uint8_t *page = rp_cache_page(chunk->pool->cache, chunk->shard, want->frame);
	uint64_t changes = 0;
	int status = 0;
	for (; at < end && status == 0; at++) {
		bool changed = false;
		fetch_record(chunk, at);
		status = do_item(chunk->pool, chunk->batch, item_at(chunk, at), page, &changed, error);
		changes += changed;
	}
	if (changes == 0)
		return status;
	*redone += changes;
	rp_cache_changed(chunk->pool->cache, chunk->shard, want->frame);
	rp_rel_grow(want->rel, want->blkno + 1);
	return status;
}

/* All pages first, so that what must be read is read together. */
static int do_chunk(struct chunk *chunk, uint64_t *redone, struct wa_error *error)
{
	gather_pages(chunk);
	struct rp_cache *cache = chunk->pool->cache;
	int status = rp_cache_load(cache, chunk->shard, chunk->wants, chunk->pages, error);
	for (unsigned i = 0; i < chunk->pages && status == 0; i++) {
		if (i + PAGES_AHEAD < chunk->pages)
			fetch_page(rp_cache_page(cache, chunk->shard, chunk->wants[i + PAGES_AHEAD].frame));
		status = do_page(chunk, &chunk->wants[i], i > 0 ? chunk->ends[i - 1] : 0, chunk->ends[i], redone, error);
	}
	uint32_t done = chunk->ends[chunk->pages - 1];
	chunk->places += done;
	chunk->left -= done;
	return status;
}

static int sort_items(struct rp_order *order, const struct rp_items *list)
{
	int status = rp_order_room(order, list->count);
	if (status < 0)
		return status;
	for (uint32_t i = 0; i < list->count; i++)
		order->places[i] =
			(struct rp_place){.key = (uint64_t)list->items[i].rel->id << 32 | list->items[i].blkno, .item = i};
	rp_order_sort(order, list->count);
	return 0;
}

static int do_shard(struct rp_pool *pool, struct rp_order *order, const struct rp_batch *batch, unsigned shard,
		    struct wa_error *error)
{
	const struct rp_items *list = &batch->shard[shard];
	uint64_t redone = 0;
	int status = sort_items(order, list);
	if (status < 0)
		wa_bad(error, batch->base, "memory is short");
	struct chunk chunk = {
		.pool = pool, .batch = batch, .list = list, .places = order->places, .left = list->count, .shard = shard};
	while (chunk.left > 0 && status == 0)
		status = do_chunk(&chunk, &redone, error);
	atomic_fetch_add_explicit(&pool->redone, redone, memory_order_relaxed);
	return status;
}

/* --------------------------------------------------------------- threads */

static bool next_shard(struct rp_pool *pool, uint32_t job, unsigned *ret_shard)
{
	uint64_t next = atomic_load(&pool->next);
	do {
		if (next >> 32 != job || (uint32_t)next >= pool->shards)
			return false;
	} while (!atomic_compare_exchange_weak(&pool->next, &next, next + 1));
	*ret_shard = (uint32_t)next;
	return true;
}

/* Take shards until none is left; batch NULL: write their changed pages. */
static void take_shards(struct rp_pool *pool, struct rp_order *order, uint32_t job, struct rp_batch *batch)
{
	unsigned done = 0, shard;
	int status = 0;
	struct wa_error error = {0};
	for (; next_shard(pool, job, &shard); done++)
		if (status == 0)
			status = batch != NULL ? do_shard(pool, order, batch, shard, &error)
					       : rp_cache_flush(pool->cache, shard, &error);
	if (done == 0)
		return;
	pthread_mutex_lock(&pool->lock);
	if (status < 0 && (pool->status == 0 || error.lsn.v < pool->error.lsn.v)) {
		pool->status = status;
		pool->error = error;
	}
	pool->done += done;
	if (pool->done == pool->shards)
		pthread_cond_signal(&pool->finished);
	pthread_mutex_unlock(&pool->lock);
}

static void *work(void *arg)
{
	struct rp_pool *pool = arg;
	uint32_t seen = 0;
	pthread_mutex_lock(&pool->lock);
	struct rp_order *order = &pool->orders[pool->begun++];
	while (!pool->stop) {
		if (pool->job == seen || !pool->busy) {
			pthread_cond_wait(&pool->work, &pool->lock);
			continue;
		}
		seen = pool->job;
		struct rp_batch *batch = pool->batch;
		pthread_mutex_unlock(&pool->lock);
		take_shards(pool, order, seen, batch);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void begin(struct rp_pool *pool, struct rp_batch *batch)
{
	pthread_mutex_lock(&pool->lock);
	pool->batch = batch;
	pool->done = 0;
	pool->busy = true;
	pool->job++;
	atomic_store(&pool->next, (uint64_t)pool->job << 32);
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

static int end(struct rp_pool *pool, struct wa_error *error)
{
	if (!pool->busy)
		return pool->status;
	take_shards(pool, &pool->orders[RP_THREADS_MAX - 1], pool->job, pool->batch);
	pthread_mutex_lock(&pool->lock);
	while (pool->done < pool->shards)
		pthread_cond_wait(&pool->finished, &pool->lock);
	pool->busy = false;
	int status = pool->status;
	if (status < 0)
		*error = pool->error;
	pthread_mutex_unlock(&pool->lock);
	return status;
}

void rp_pool_start(struct rp_pool *pool, struct rp_batch *batch)
{
	if (batch->items > 0)
		begin(pool, batch);
	else
		batch->arena.at = NULL; /* nothing refers to what may have been put there */
}

int rp_pool_finish(struct rp_pool *pool, struct wa_error *error)
{
	struct rp_batch *batch = pool->busy ? pool->batch : NULL;
	int status = end(pool, error);
	if (batch == NULL)
		return status;
	for (unsigned i = 0; i < pool->shards; i++)
		batch->shard[i].count = 0;
	batch->items = 0;
	batch->arena.at = NULL;
	return status;
}

int rp_pool_flush(struct rp_pool *pool, struct wa_error *error)
{
	begin(pool, NULL);
	return end(pool, error);
}

uint64_t rp_pool_redone(const struct rp_pool *pool)
{
	return atomic_load(&pool->redone);
}

int rp_pool_new(const struct wa_version *version, struct rp_cache *cache, unsigned threads, struct rp_pool **ret_pool)
{
	struct rp_pool *pool = calloc(1, sizeof(*pool));
	if (pool == NULL)
		return -ENOMEM;
	pool->version = *version;
	pool->cache = cache;
	pool->shards = rp_cache_shards(cache);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->finished, NULL);
	int status = 0;
	while (pool->thread_count + 1 < NF_MIN(threads, (unsigned)RP_THREADS_MAX) && status == 0) {
		status = -pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);
		pool->thread_count += status == 0;
	}
	if (status < 0) {
		rp_pool_free(pool);
		return status;
	}
	*ret_pool = pool;
	return 0;
}

void rp_pool_free(struct rp_pool *pool)
{
	struct absent *at, *next;
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	HASH_ITER(hh, pool->absent, at, next)
	{
		HASH_DEL(pool->absent, at);
		free(at);
	}
	for (unsigned i = 0; i < RP_THREADS_MAX; i++)
		rp_order_free(&pool->orders[i]);
	pthread_cond_destroy(&pool->finished);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void rp_pool_set_version(struct rp_pool *pool, const struct wa_version *version)
{
	pool->version = *version;
}
