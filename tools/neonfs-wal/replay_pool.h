/* Batches of page work, and the threads that do it.
 *
 * The reader of the log fills one batch while the one before is worked on. A batch is a list of items a shard; whoever is free takes the
 * next shard and does its items page by page, so each page sees its records in the order of the log. Batches never overlap.
 *
 * An item holds no decoded record, only where its bytes lie: a batch is many records, and to decode one again costs less than to write it to
 * memory and to fetch it from there. */
#ifndef REPLAY_POOL_H
#define REPLAY_POOL_H

#include "tools/neonfs-wal/replay_cache.h"
#include "walapply/redo/wa_redo.h"

#define RP_THREADS_MAX 64

/* One block to bring over one record. */
struct rp_item {
	struct rp_rel *rel;
	const uint8_t *record; /* its bytes, which have been checked and decoded once */
	uint32_t blkno;
	uint32_t at; /* where the record begins, from the batch's base on in units of RP_LSN_UNIT */
	union {
		uint32_t span; /* how far its end is behind its start, in bytes */
		uint32_t heap_blkno; /* implied: the heap block whose bits are cleared */
	};
	uint8_t ref; /* its place among the record's block references */
	uint8_t bits; /* not 0: an implied block of the visibility map */
	bool blank; /* the record makes the page anew */
};

#define RP_LSN_UNIT 8u /* records begin at multiples of it */

struct rp_items {
	struct rp_item *items;
	uint32_t count, room;
};

/* Bytes that live as long as a batch. */
struct rp_arena {
	struct rp_arena_part *first, *at;
};

struct rp_batch {
	struct nf_lsn base; /* where its first record begins */
	struct rp_arena arena;
	struct rp_items shard[RP_SHARDS_MAX];
	uint64_t items;
};

struct rp_pool;

/* threads: those that work, the caller's counted. Returns 0 or -errno. */
NF_MUST_CHECK int rp_pool_new(const struct wa_version *version, struct rp_cache *cache, unsigned threads,
			      struct rp_pool **ret_pool);
void rp_pool_free(struct rp_pool *pool);

/* Begin with a batch; the one before must have been finished. It is the pool's until rp_pool_finish. */
void rp_pool_start(struct rp_pool *pool, struct rp_batch *batch);
/* Help with the batch that was begun, if any, and wait for its end; it is emptied then. Returns 0, or the first error (error). */
NF_MUST_CHECK int rp_pool_finish(struct rp_pool *pool, struct wa_error *error);
/* Write all changed pages, all threads together. No batch is under way. */
NF_MUST_CHECK int rp_pool_flush(struct rp_pool *pool, struct wa_error *error);

/* From now on records are of this version: its settings may change in the log. No batch is under way. */
void rp_pool_set_version(struct rp_pool *pool, const struct wa_version *version);

/* Blocks changed so far, and records that found their block missing: see rp_pool_absent. */
uint64_t rp_pool_redone(const struct rp_pool *pool);

/* A record may name a block that is not there because the relation was cut or dropped later, and the base has that already. Such blocks are
 * remembered until the cut or drop comes by. Forget those of `rel` from `from` on. No batch is under way. */
void rp_pool_forget_absent(struct rp_pool *pool, const struct rp_rel *rel, uint32_t from);
/* Is a block still missing? Fills error with its name. */
bool rp_pool_absent(struct rp_pool *pool, struct wa_error *error);

void rp_batch_free(struct rp_batch *batch);
/* Room in the batch's arena, aligned to 8; NULL when memory is short. */
void *rp_batch_room(struct rp_batch *batch, size_t size);
/* Append an item of the record at lsn, not before those of earlier items, to its shard; item->at is filled in. Returns 0 or -ENOMEM. */
NF_MUST_CHECK int rp_batch_add(struct rp_batch *batch, unsigned shard, struct rp_item *item, struct nf_lsn lsn);

#endif
