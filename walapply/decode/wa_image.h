/* Full-page images of WAL records. */
#ifndef WA_IMAGE_H
#define WA_IMAGE_H

#include "wa_record.h"

/* Write the whole page of ref's image: unpacked, its hole filled with zeros. The page's LSN and checksum are as they were logged.
 * page     WA_PAGE_SIZE bytes; undefined on error
 * Returns 0; -EBADMSG the image does not unpack to a page, or ref has none (error says so, with lsn); -ENOMEM.
 * Pure, thread-safe. No allocation, but for zstd's work space: a thread makes one at its first zstd image and frees it when it ends. */
NF_MUST_CHECK int wa_image_restore(const struct wa_ref *ref, struct nf_lsn lsn, uint8_t *page, struct wa_error *error);

/* Unpack pglz (src/common/pg_lzcompress.c): source_len bytes to exactly raw_len bytes. Returns 0 or -EBADMSG; never reads or writes outside. */
NF_MUST_CHECK int wa_pglz_unpack(const uint8_t *source, size_t source_len, uint8_t *raw, size_t raw_len);

#endif
