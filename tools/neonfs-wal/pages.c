#include "tools/neonfs-wal/pages.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#define PAGES_MIN 64

struct page {
	struct wa_block block;
	UT_hash_handle hh; /* its order of insertion is the order of use: oldest first */
	uint8_t bytes[WA_PAGE_SIZE];
};

struct wal_pages {
	struct page *table;
	size_t limit;
	uint64_t evicted;
};

static_assert(sizeof(struct wa_block) == 20, "hashed as bytes: no padding");

struct wal_pages *wal_pages_new(uint64_t bytes)
{
	struct wal_pages *pages = calloc(1, sizeof(*pages));
	if (pages != NULL)
		pages->limit = NF_MAX((size_t)(bytes / sizeof(struct page)), (size_t)PAGES_MIN);
	return pages;
}

void wal_pages_free(struct wal_pages *pages)
{
	struct page *page, *next;
	if (pages == NULL)
		return;
	HASH_ITER(hh, pages->table, page, next)
	{
		HASH_DEL(pages->table, page);
		free(page);
	}
	free(pages);
}

uint8_t *wal_pages_find(struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page;
	HASH_FIND(hh, pages->table, block, sizeof(*block), page);
	if (page == NULL)
		return NULL;
	HASH_DEL(pages->table, page);
	HASH_ADD(hh, pages->table, block, sizeof(page->block), page);
	return page->bytes;
}

uint8_t *wal_pages_add(struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page = NULL;
	if (HASH_COUNT(pages->table) >= pages->limit) {
		page = pages->table;
		HASH_DEL(pages->table, page);
		pages->evicted++;
	} else {
		page = malloc(sizeof(*page));
	}
	if (page == NULL)
		return NULL;
	page->block = *block;
	HASH_ADD(hh, pages->table, block, sizeof(page->block), page);
	return page->bytes;
}

void wal_pages_remove(struct wal_pages *pages, const struct wa_block *block)
{
	struct page *page;
	HASH_FIND(hh, pages->table, block, sizeof(*block), page);
	if (page == NULL)
		return;
	HASH_DEL(pages->table, page);
	free(page);
}

void wal_pages_remove_if(struct wal_pages *pages, bool (*matches)(const struct wa_block *block, const void *arg), const void *arg)
{
	struct page *page, *next;
	HASH_ITER(hh, pages->table, page, next)
	{
		if (!matches(&page->block, arg))
			continue;
		HASH_DEL(pages->table, page);
		free(page);
	}
}

uint64_t wal_pages_evicted(const struct wal_pages *pages)
{
	return pages->evicted;
}
