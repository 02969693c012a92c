/* Pages by place: a hash table with chains, which grows with its contents, and a list in the order of use, the oldest first.
 * A page stays where it was allocated, so that a pointer to its bytes holds when the table grows. */
#include "tools/neonfs-wal/pages.h"

#include <stdlib.h>
#include <string.h>

#define PAGES_MIN 64
#define BUCKETS_FIRST 1024u

struct page {
	struct wa_block block;
	struct page *next_in_bucket;
	struct page *older, *newer;
	uint8_t bytes[WA_PAGE_SIZE];
};

struct wal_pages {
	struct page **buckets;
	size_t bucket_count; /* a power of two */
	size_t count, limit;
	struct page *oldest, *newest;
	uint64_t evicted;
};

static uint64_t hash_block(const struct wa_block *block)
{
	const uint64_t odd = UINT64_C(0x9E3779B97F4A7C15);
	uint64_t hash = ((uint64_t)block->rel.spc << 32 | block->rel.db) * odd;
	hash = (hash ^ hash >> 29 ^ ((uint64_t)block->rel.rel << 32 | block->blkno)) * odd;
	return (hash ^ hash >> 29 ^ block->fork) * odd;
}

static bool is_same(const struct wa_block *a, const struct wa_block *b)
{
	return a->blkno == b->blkno && a->fork == b->fork && wa_locator_equal(a->rel, b->rel);
}

static struct page **bucket_of(const struct wal_pages *pages, const struct wa_block *block)
{
	return &pages->buckets[hash_block(block) >> 20 & (pages->bucket_count - 1)];
}

struct wal_pages *wal_pages_new(uint64_t bytes)
{
	struct wal_pages *pages = calloc(1, sizeof(*pages));
	if (pages == NULL)
		return NULL;
	pages->limit = NF_MAX((size_t)(bytes / sizeof(struct page)), (size_t)PAGES_MIN);
	pages->bucket_count = BUCKETS_FIRST;
	pages->buckets = calloc(pages->bucket_count, sizeof(struct page *));
	if (pages->buckets == NULL) {
		free(pages);
		return NULL;
	}
	return pages;
}

void wal_pages_free(struct wal_pages *pages)
{
	if (pages == NULL)
		return;
	for (struct page *page = pages->oldest, *newer; page != NULL; page = newer) {
		newer = page->newer;
		free(page);
	}
	free(pages->buckets);
	free(pages);
}

/* ------------------------------------------------------ the two lists */

static void link_newest(struct wal_pages *pages, struct page *page)
{
	page->older = pages->newest;
	page->newer = NULL;
	*(pages->newest != NULL ? &pages->newest->newer : &pages->oldest) = page;
	pages->newest = page;
}

static void unlink_use(struct wal_pages *pages, struct page *page)
{
	*(page->older != NULL ? &page->older->newer : &pages->oldest) = page->newer;
	*(page->newer != NULL ? &page->newer->older : &pages->newest) = page->older;
}

static void unlink_bucket(struct wal_pages *pages, struct page *page)
{
	struct page **at = bucket_of(pages, &page->block);
	while (*at != page)
		at = &(*at)->next_in_bucket;
	*at = page->next_in_bucket;
}

static void take_out(struct wal_pages *pages, struct page *page)
{
	unlink_use(pages, page);
	unlink_bucket(pages, page);
	pages->count--;
}

static void put_in(struct wal_pages *pages, struct page *page)
{
	struct page **bucket = bucket_of(pages, &page->block);
	page->next_in_bucket = *bucket;
	*bucket = page;
	link_newest(pages, page);
	pages->count++;
}

/* Without memory for more buckets the chains get longer, no more. */
static void grow(struct wal_pages *pages)
{
	struct page **buckets = calloc(pages->bucket_count * 2, sizeof(struct page *));
	if (buckets == NULL)
		return;
	free(pages->buckets);
	pages->buckets = buckets;
	pages->bucket_count *= 2;
	for (struct page *page = pages->oldest; page != NULL; page = page->newer) {
		struct page **bucket = bucket_of(pages, &page->block);
		page->next_in_bucket = *bucket;
		*bucket = page;
	}
}

static struct page *lookup(const struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page = *bucket_of(pages, block);
	while (page != NULL && !is_same(&page->block, block))
		page = page->next_in_bucket;
	return page;
}

/* ------------------------------------------------------------- outside */

uint8_t *wal_pages_find(struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page = lookup(pages, block);
	if (page == NULL)
		return NULL;
	unlink_use(pages, page);
	link_newest(pages, page);
	return page->bytes;
}

uint8_t *wal_pages_add(struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page = pages->oldest;
	if (pages->count >= pages->limit) {
		take_out(pages, page);
		pages->evicted++;
	} else {
		page = malloc(sizeof(*page));
	}
	if (page == NULL)
		return NULL;
	if (pages->count >= pages->bucket_count)
		grow(pages);
	page->block = *block;
	put_in(pages, page);
	return page->bytes;
}

void wal_pages_remove(struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page = lookup(pages, block);
	if (page == NULL)
		return;
	take_out(pages, page);
	free(page);
}

void wal_pages_remove_if(struct wal_pages *pages, bool (*matches)(const struct wa_block *block, const void *arg), const void *arg)
{
	for (struct page *page = pages->oldest, *newer; page != NULL; page = newer) {
		newer = page->newer;
		if (!matches(&page->block, arg))
			continue;
		take_out(pages, page);
		free(page);
	}
}

uint64_t wal_pages_evicted(const struct wal_pages *pages)
{
	return pages->evicted;
}
