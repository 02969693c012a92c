/* Where in a page a byte is, in words. */
#ifndef WAL_PAGE_PLACE_H
#define WAL_PAGE_PLACE_H

#include "walapply/decode/wa_record.h"

#define WAL_PLACE_MAX 64

/* "pd_lower", "line pointer 4", "item 12, byte 3", "special space, byte 0", "unused space". page: any bytes. Returns `buf` (WAL_PLACE_MAX). */
const char *wal_page_place(char *buf, const uint8_t *page, unsigned offset);

#endif
