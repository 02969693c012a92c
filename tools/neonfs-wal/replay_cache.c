/* A shard: frames of one page each, and an open hash table from (relation id, block) to frame. */
#include "tools/neonfs-wal/replay_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"

#define FRAMES_MIN (2 * RP_CHUNK) /* of a shard */
#define EMPTY UINT32_MAX
#define RUN_MAX 64u /* pages written or read by one call */
#define SHARDS_PER_THREAD 8u /* so that threads end together; each shard may leave most of a huge page unused */
#define EVICT_PART 8u /* a full shard gives up this part of its frames at once */

struct frame {
	uint64_t key; /* relation id and block; 0 = free */
	struct rp_rel *rel;
	uint32_t blkno;
	bool changed;
	bool used; /* since the hand came by */
	bool wanted; /* by the call that is under way */
};

struct shard {
	uint8_t *pages;
	struct frame *frames;
	uint32_t *table; /* frame numbers or EMPTY; twice the frames, a power of two */
	uint32_t *free; /* stack of free frames */
	uint32_t *list; /* scratch: frames to be read or written */
	uint32_t free_count, hand;
};

struct rp_cache {
	struct rp_rels *rels;
	bool checksums;
	unsigned shards;
	uint32_t frames; /* of a shard */
	uint32_t mask; /* of its table */
	struct shard shard[RP_SHARDS_MAX];
};

static uint64_t key_of(const struct rp_rel *rel, uint32_t blkno)
{
	return (uint64_t)rel->id << 32 | blkno;
}

static uint32_t home(const struct rp_cache *cache, uint64_t key)
{
	return (uint32_t)((key ^ key >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> 32) & cache->mask;
}

/* -------------------------------------------------------- making, freeing */

static bool make_shard(struct rp_cache *cache, struct shard *shard)
{
	size_t bytes = (size_t)cache->frames * WA_PAGE_SIZE;
	shard->pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shard->pages == MAP_FAILED) {
		shard->pages = NULL;
		return false;
	}
	madvise(shard->pages, bytes, MADV_HUGEPAGE);
	shard->frames = calloc(cache->frames, sizeof(*shard->frames));
	shard->table = malloc((cache->mask + 1) * sizeof(*shard->table));
	shard->free = malloc(cache->frames * sizeof(*shard->free));
	shard->list = malloc(cache->frames * sizeof(*shard->list));
	if (shard->frames == NULL || shard->table == NULL || shard->free == NULL || shard->list == NULL)
		return false;
	memset(shard->table, 0xFF, (cache->mask + 1) * sizeof(*shard->table));
	for (uint32_t i = 0; i < cache->frames; i++)
		shard->free[i] = cache->frames - 1 - i;
	shard->free_count = cache->frames;
	return true;
}

struct rp_cache *rp_cache_new(struct rp_rels *rels, uint64_t memory, bool checksums, unsigned threads)
{
	struct rp_cache *cache = calloc(1, sizeof(*cache));
	if (cache == NULL)
		return NULL;
	cache->rels = rels;
	cache->checksums = checksums;
	uint64_t frames = memory / WA_PAGE_SIZE;
	cache->shards = RP_SHARDS_MIN;
	while (cache->shards < RP_SHARDS_MAX && cache->shards < SHARDS_PER_THREAD * threads)
		cache->shards *= 2;
	while (cache->shards > RP_SHARDS_MIN && frames / cache->shards < 4 * FRAMES_MIN)
		cache->shards /= 2;
	cache->frames = (uint32_t)NF_MAX(frames / cache->shards, (uint64_t)FRAMES_MIN);
	uint32_t size = 1;
	while (size < 2 * cache->frames)
		size *= 2;
	cache->mask = size - 1;
	for (unsigned i = 0; i < cache->shards; i++)
		if (!make_shard(cache, &cache->shard[i])) {
			rp_cache_free(cache);
			return NULL;
		}
	return cache;
}

void rp_cache_free(struct rp_cache *cache)
{
	if (cache == NULL)
		return;
	for (unsigned i = 0; i < cache->shards; i++) {
		struct shard *shard = &cache->shard[i];
		if (shard->pages != NULL)
			munmap(shard->pages, (size_t)cache->frames * WA_PAGE_SIZE);
		free(shard->frames);
		free(shard->table);
		free(shard->free);
		free(shard->list);
	}
	free(cache);
}

unsigned rp_cache_shards(const struct rp_cache *cache)
{
	return cache->shards;
}

/* -------------------------------------------------------------- table */

static uint32_t find(const struct rp_cache *cache, const struct shard *shard, uint64_t key)
{
	for (uint32_t at = home(cache, key);; at = (at + 1) & cache->mask) {
		uint32_t frame = shard->table[at];
		if (frame == EMPTY || shard->frames[frame].key == key)
			return frame;
	}
}

static void insert(const struct rp_cache *cache, struct shard *shard, uint32_t frame)
{
	uint32_t at = home(cache, shard->frames[frame].key);
	while (shard->table[at] != EMPTY)
		at = (at + 1) & cache->mask;
	shard->table[at] = frame;
}

/* Take a frame out of the table, moving up those behind it that would not be found any more, and free it. */
static void release(const struct rp_cache *cache, struct shard *shard, uint32_t frame)
{
	uint32_t at = home(cache, shard->frames[frame].key);
	while (shard->table[at] != frame)
		at = (at + 1) & cache->mask;
	for (uint32_t next = (at + 1) & cache->mask; shard->table[next] != EMPTY; next = (next + 1) & cache->mask) {
		uint32_t wish = home(cache, shard->frames[shard->table[next]].key);
		if (((next - wish) & cache->mask) < ((next - at) & cache->mask))
			continue;
		shard->table[at] = shard->table[next];
		at = next;
	}
	shard->table[at] = EMPTY;
	shard->frames[frame] = (struct frame){0};
	shard->free[shard->free_count++] = frame;
}

/* ------------------------------------------------------ reading, writing */

static _Thread_local const struct frame *sorting;

static int by_place(const void *a, const void *b)
{
	uint64_t x = sorting[*(const uint32_t *)a].key, y = sorting[*(const uint32_t *)b].key;
	return (x > y) - (x < y);
}

/* The frames of `list` in runs of neighbours: each run is given to rp_rel_read or rp_rel_write. */
static int transfer(struct rp_cache *cache, struct shard *shard, uint32_t *list, uint32_t count, bool is_write,
		    struct wa_error *error)
{
	struct iovec pages[RUN_MAX];
	sorting = shard->frames;
	qsort(list, count, sizeof(*list), by_place);
	for (uint32_t done = 0; done < count;) {
		const struct frame *first = &shard->frames[list[done]];
		unsigned run = 0;
		while (run < RUN_MAX && done + run < count && shard->frames[list[done + run]].key == first->key + run) {
			uint8_t *page = shard->pages + (size_t)list[done + run] * WA_PAGE_SIZE;
			if (is_write && cache->checksums)
				wa_page_set_checksum(page, first->blkno + run);
			pages[run] = (struct iovec){.iov_base = page, .iov_len = WA_PAGE_SIZE};
			run++;
		}
		int status = is_write ? rp_rel_write(cache->rels, first->rel, first->blkno, pages, run)
				      : rp_rel_read(cache->rels, first->rel, first->blkno, pages, run);
		if (status < 0) {
			char path[RP_PATH_MAX];
			rp_rels_path(cache->rels, first->rel->block.rel, first->rel->block.fork, 0, path);
			wa_bad(error, (struct nf_lsn){0}, "%s block %u cannot be %s: %s", path, first->blkno,
			       is_write ? "written" : "read", strerror(-status));
			return status;
		}
		done += run;
	}
	return 0;
}

static int write_list(struct rp_cache *cache, struct shard *shard, uint32_t count, struct wa_error *error)
{
	int status = transfer(cache, shard, shard->list, count, true, error);
	for (uint32_t i = 0; i < count && status == 0; i++)
		shard->frames[shard->list[i]].changed = false;
	return status;
}

static int check_page(const struct rp_cache *cache, const struct frame *frame, const uint8_t *page, struct wa_error *error)
{
	char path[RP_PATH_MAX];
	if (!cache->checksums || wa_page_is_new(page) || wa_get16(page + 8) == wa_page_checksum(page, frame->blkno))
		return 0;
	rp_rels_path(cache->rels, frame->rel->block.rel, frame->rel->block.fork, 0, path);
	return wa_bad(error, (struct nf_lsn){0}, "%s block %u is damaged: its checksum does not fit", path, frame->blkno);
}

/* ------------------------------------------------------------ replacing */

/* Free a part of the frames: those not used since the hand came by last, and not wanted now. */
static int make_room(struct rp_cache *cache, struct shard *shard, struct wa_error *error)
{
	uint32_t target = NF_MAX(cache->frames / EVICT_PART, RP_CHUNK), chosen = 0, changed = 0;
	uint32_t *victims =
		shard->free + shard->free_count; /* the unused end of the stack is room enough: each victim is no free frame */
	for (uint64_t steps = 0; steps < 3 * (uint64_t)cache->frames && chosen < target; steps++) {
		struct frame *frame = &shard->frames[shard->hand];
		if (frame->key != 0 && !frame->wanted) {
			if (frame->used) {
				frame->used = false;
			} else {
				victims[chosen++] = shard->hand;
				if (frame->changed)
					shard->list[changed++] = shard->hand;
				frame->wanted = true; /* chosen once only */
			}
		}
		shard->hand = (shard->hand + 1) % cache->frames;
	}
	int status = write_list(cache, shard, changed, error);
	for (uint32_t i = 0; i < chosen; i++)
		shard->frames[victims[i]].wanted = false;
	/* Releasing pushes onto the stack where `victims` lies, entry by entry behind the reading position: never ahead of it. */
	for (uint32_t i = 0; i < chosen && status == 0; i++)
		release(cache, shard, victims[i]);
	return status;
}

static int take_frame(struct rp_cache *cache, struct shard *shard, const struct rp_want *want, uint32_t *ret_frame,
		      struct wa_error *error)
{
	if (shard->free_count == 0) {
		int status = make_room(cache, shard, error);
		if (status < 0)
			return status;
		assert(shard->free_count > 0); /* at most RP_CHUNK of FRAMES_MIN are wanted */
	}
	uint32_t frame = shard->free[--shard->free_count];
	shard->frames[frame] = (struct frame){.key = key_of(want->rel, want->blkno), .rel = want->rel, .blkno = want->blkno};
	insert(cache, shard, frame);
	rp_rel_raise(&want->rel->cached, want->blkno + 1);
	*ret_frame = frame;
	return 0;
}

/* Find or make the frames of the wants; those to be read are listed in to_read. */
static int place_wants(struct rp_cache *cache, struct shard *shard, struct rp_want *wants, unsigned count, uint32_t *to_read,
		       uint32_t *ret_reads, struct wa_error *error)
{
	uint32_t reads = 0;
	for (unsigned i = 0; i < count; i++) {
		struct rp_want *want = &wants[i];
		want->frame = find(cache, shard, key_of(want->rel, want->blkno));
		if (want->frame == EMPTY) {
			int status = take_frame(cache, shard, want, &want->frame, error);
			if (status < 0)
				return status;
			if (want->blkno >= atomic_load_explicit(&want->rel->blocks, memory_order_relaxed))
				memset(rp_cache_page(cache, (unsigned)(shard - cache->shard), want->frame), 0, WA_PAGE_SIZE);
			else if (!want->blank)
				to_read[reads++] = want->frame;
		}
		shard->frames[want->frame].used = true;
		shard->frames[want->frame].wanted = true;
		__builtin_prefetch(rp_cache_page(cache, (unsigned)(shard - cache->shard), want->frame));
	}
	*ret_reads = reads;
	return 0;
}

int rp_cache_load(struct rp_cache *cache, unsigned number, struct rp_want *wants, unsigned count, struct wa_error *error)
{
	struct shard *shard = &cache->shard[number];
	uint32_t to_read[RP_CHUNK], reads = 0;
	assert(count <= RP_CHUNK);
	int status = place_wants(cache, shard, wants, count, to_read, &reads, error);
	if (status == 0 && reads > 0)
		status = transfer(cache, shard, to_read, reads, false, error);
	for (uint32_t i = 0; i < reads && status == 0; i++)
		status = check_page(cache, &shard->frames[to_read[i]], rp_cache_page(cache, number, to_read[i]), error);
	for (unsigned i = 0; i < count && status == 0; i++)
		shard->frames[wants[i].frame].wanted = false;
	return status;
}

uint8_t *rp_cache_page(struct rp_cache *cache, unsigned shard, uint32_t frame)
{
	return cache->shard[shard].pages + (size_t)frame * WA_PAGE_SIZE;
}

void rp_cache_changed(struct rp_cache *cache, unsigned shard, uint32_t frame)
{
	cache->shard[shard].frames[frame].changed = true;
}

/* --------------------------------------------------- discarding, flushing */

static void discard_block(struct rp_cache *cache, const struct rp_rel *rel, uint32_t blkno)
{
	struct shard *shard = &cache->shard[rp_shard_of(rel, blkno, cache->shards)];
	uint32_t frame = find(cache, shard, key_of(rel, blkno));
	if (frame != EMPTY)
		release(cache, shard, frame);
}

void rp_cache_discard(struct rp_cache *cache, const struct rp_rel *rel, uint32_t from)
{
	uint32_t end = NF_MAX(atomic_load(&rel->blocks), atomic_load(&rel->cached));
	if (end <= from)
		return;
	if (end - from <= cache->frames * cache->shards) {
		for (uint32_t blkno = from; blkno < end; blkno++)
			discard_block(cache, rel, blkno);
		return;
	}
	for (unsigned i = 0; i < cache->shards; i++) {
		struct shard *shard = &cache->shard[i];
		for (uint32_t frame = 0; frame < cache->frames; frame++)
			if (shard->frames[frame].key != 0 && shard->frames[frame].rel == rel &&
			    shard->frames[frame].blkno >= from)
				release(cache, shard, frame);
	}
}

int rp_cache_flush(struct rp_cache *cache, unsigned number, struct wa_error *error)
{
	struct shard *shard = &cache->shard[number];
	uint32_t changed = 0;
	for (uint32_t frame = 0; frame < cache->frames; frame++)
		if (shard->frames[frame].changed)
			shard->list[changed++] = frame;
	return write_list(cache, shard, changed, error);
}
