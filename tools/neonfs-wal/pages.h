/* Pages in memory by their place, the least recently used given up when there are too many. For one thread. */
#ifndef WAL_PAGES_H
#define WAL_PAGES_H

#include "walapply/decode/wa_record.h"

struct wal_pages;

/* Room for at most `bytes` of pages (at least 64 pages). Returns NULL when memory is short. */
struct wal_pages *wal_pages_new(uint64_t bytes);
void wal_pages_free(struct wal_pages *pages); /* NULL is legal */

/* The page of `block`, WA_PAGE_SIZE bytes; NULL when it is not here. Holds until the next wal_pages_add. */
uint8_t *wal_pages_find(struct wal_pages *pages, const struct wa_block *block);

/* A place for the page of `block`, which is not here yet; its bytes are whatever. NULL when memory is short. */
uint8_t *wal_pages_add(struct wal_pages *pages, const struct wa_block *block);

void wal_pages_remove(struct wal_pages *pages, const struct wa_block *block);

/* Remove every page for which `matches` says so. */
void wal_pages_remove_if(struct wal_pages *pages, bool (*matches)(const struct wa_block *block, const void *arg),
			 const void *arg);

/* How many pages were given up for want of room so far. */
uint64_t wal_pages_evicted(const struct wal_pages *pages);

#endif
