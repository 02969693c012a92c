/* Redo: what a WAL record does to one page.
 *
 * A function of (page, record) only: no file, no thread, no allocation, no other page. That is enough, because no built-in redo
 * routine of Postgres needs another block's contents; siblings are named by number in the record. Therefore pages may be brought
 * forward one by one, in any order and on demand, as long as each page sees its records in the order of their LSNs.
 * The result is byte for byte what Postgres's own recovery makes, after masking (wa_mask).
 *
 * Pages come from disk and records from the log: both may hold anything. Nothing is read or written outside the page and the record;
 * what does not fit is an error with the record's LSN, and the page is then undefined. */
#ifndef WA_REDO_H
#define WA_REDO_H

#include "walapply/decode/wa_record.h"

#define WA_IMPLIED_MAX 4

/* A block that a record changes without naming it: a page of the visibility map whose bits are cleared. The page's LSN stays. */
struct wa_implied {
	struct wa_block block; /* fork WA_FORK_VM */
	uint32_t heap_blkno;   /* the heap block whose bits are cleared */
	uint8_t bits;	       /* which of its two bits: 1 all-visible, 2 all-frozen */
	bool tail;	       /* a truncation: so are those of all later heap blocks on this page of the map */
};

enum wa_outcome {
	WA_SKIPPED,  /* the page already has it: pd_lsn >= record->end */
	WA_REDONE,   /* changed */
	WA_RESTORED, /* replaced by the record's image */
};

/* Bring the page of `ref` over `record`.
 * ref      one of record->refs
 * page     WA_PAGE_SIZE bytes; all zeros for a page that does not exist yet. Undefined on error.
 * Returns an enum wa_outcome; -EBADMSG record and page do not fit (error); -ENOTSUP a resource manager or record type that is not
 * built in (error names it). The checksum is not written: wa_page_set_checksum, once, when the page goes to disk. Thread-safe. */
NF_MUST_CHECK int wa_redo_block(const struct wa_version *version, const struct wa_record *record, const struct wa_ref *ref, uint8_t *page,
				struct wa_error *error);

/* The blocks that record changes without naming them. ret_implied has room for WA_IMPLIED_MAX.
 * Returns their number, or -EBADMSG. Pure; at decode time. */
NF_MUST_CHECK int wa_implied_blocks(const struct wa_version *version, const struct wa_record *record, struct wa_implied *ret_implied,
				    struct wa_error *error);

/* Clear the bits of one implied block. The caller has made sure that the record is to be applied to this page: it is harmless to
 * clear twice, but not to clear what a later record has set. Returns WA_REDONE, or WA_SKIPPED when they were clear already or the page is new. */
int wa_redo_implied(const struct wa_implied *implied, uint8_t *page);

/* Make two pages comparable: blank in `page` what may differ legally between a primary and its replay of `rmid`'s records
 * (hint bits, unused space, LSN, checksum ...), as that manager's mask function does. Returns 0, or -EBADMSG for a page that is
 * not laid out as one. */
NF_MUST_CHECK int wa_mask(const struct wa_version *version, uint8_t rmid, uint32_t blkno, uint8_t *page, struct wa_error *error);

/* The page checksum of Postgres (storage/checksum_impl.h) for block number blkno of its fork. */
uint16_t wa_page_checksum(const uint8_t *page, uint32_t blkno);

/* Write it into the page; a page of zeros stays as it is. */
void wa_page_set_checksum(uint8_t *page, uint32_t blkno);

#endif
