/* Pages in memory while WAL is replayed: bounded, in shards.
 *
 * A block belongs to a shard by its relation and its number; RP_GROUP neighbours are in the same one, so that they are read and written
 * together. One thread works on a shard at a time; different shards need no lock. A shard that is full writes its changed pages among those
 * not used lately and gives their frames up. Checksums are written where the cluster has them, and checked when a page is read. */
#ifndef REPLAY_CACHE_H
#define REPLAY_CACHE_H

#include "tools/neonfs-wal/replay_rels.h"

#define RP_SHARDS_MIN 8u
#define RP_SHARDS_MAX 64u
#define RP_GROUP 32u
#define RP_CHUNK 128u /* pages that are asked for together */

struct rp_cache;

/* One page that is wanted. */
struct rp_want {
	struct rp_rel *rel;
	uint32_t blkno;
	bool blank; /* the first use makes the page anew: it need not be read. Its bytes are whatever then */
	uint32_t frame; /* result */
};

/* memory: bytes for pages, a minimum is granted. threads: those that will work on shards. Returns NULL when memory is short. */
struct rp_cache *rp_cache_new(struct rp_rels *rels, uint64_t memory, bool checksums, unsigned threads);
void rp_cache_free(struct rp_cache *cache);

unsigned rp_cache_shards(const struct rp_cache *cache);

static inline unsigned rp_shard_of(const struct rp_rel *rel, uint32_t blkno, unsigned shards)
{
	uint64_t hash = ((uint64_t)rel->id << 32 | blkno / RP_GROUP) * UINT64_C(0x9E3779B97F4A7C15);
	return (unsigned)(hash >> 40) & (shards - 1);
}

/* Have the pages of `count` <= RP_CHUNK wants, all of shard `shard`, in memory. The frames hold until the next call for the shard.
 * Returns 0; -EBADMSG a page whose checksum does not fit; -errno (error says which block). */
NF_MUST_CHECK int rp_cache_load(struct rp_cache *cache, unsigned shard, struct rp_want *wants, unsigned count,
				struct wa_error *error);
uint8_t *rp_cache_page(struct rp_cache *cache, unsigned shard, uint32_t frame);
/* It is to be written some time. */
void rp_cache_changed(struct rp_cache *cache, unsigned shard, uint32_t frame);

/* Forget the pages of `rel` from `from` on, changed or not. No thread works on any shard. */
void rp_cache_discard(struct rp_cache *cache, const struct rp_rel *rel, uint32_t from);

/* Write the changed pages of a shard; they stay. One thread a shard. */
NF_MUST_CHECK int rp_cache_flush(struct rp_cache *cache, unsigned shard, struct wa_error *error);

#endif
