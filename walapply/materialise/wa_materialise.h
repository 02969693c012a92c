/* One block at an LSN: base page + the records that touch it.
 *
 * A range is (from, to] of WAL in ends of records: `from` is the redo pointer that the base's replay would begin at, `to` the point wanted. The
 * base is what a file system has after the writes of some moment whose WAL position was at most `to`: replay from `from` on makes it right,
 * as recovery would (images replace the page, other records ask the page's LSN).
 * Pure but for the callback; thread-safe as far as the callback is. */
#ifndef WA_MATERIALISE_H
#define WA_MATERIALISE_H

#include "walapply/index/wa_index.h"

#define WA_AHEAD_MAX 128u
#define WA_COPIES_MAX 16u /* databases copied from copies within one range */

struct wa_range {
	struct wa_version version;
	uint32_t segment_size;
	uint64_t system_id;
	struct nf_lsn from, to;
	/* Of this range and perhaps more, one behind the other without a gap: indexes[0].info.base <= from, the last one's limit >= to. */
	const struct wa_index *indexes;
	size_t index_count;
	/* WA_PAGE_SIZE bytes of the log at `at`, a multiple of WA_PAGE_SIZE. Returns 0; -ENODATA they are not there any more; another error. Bytes
	 * behind `to` may be anything. */
	int (*read_log)(void *arg, struct nf_lsn at, uint8_t *page);
	/* NULL, or told beforehand which pages read_log is about to be asked for, WA_AHEAD_MAX at most, in no order, so that they can be had
	 * together. What goes wrong is found by read_log. */
	void (*read_ahead)(void *arg, const struct nf_lsn *pages, unsigned count);
	void *arg;
	/* NULL, or asked for an image of a block that has many records (walapply/images): 1 `page` is what the record at `origin` makes from nothing, with
	 * all records of the block up to the one at *ret_last, which lies before `to`; 0 there is none, and the page is as it was. */
	int (*image)(void *arg, const struct wa_block *block, struct nf_lsn origin, struct nf_lsn to, uint8_t *page, struct nf_lsn *ret_last);
	void *image_arg;
};

/* Bring `page` to range->to.
 * block    of fork main or visibility map
 * page     WA_PAGE_SIZE bytes: the block in the base, zeros where it has none. Undefined on error. Its checksum is made where the version has them.
 * ret_records   how many records were fetched; may be NULL
 * Returns 1 changed; 0 not touched or nothing left to do; -EBADMSG index, log and page do not fit (error); -ENODATA or what read_log returned; -ENOTSUP a
 * record of an extension (error); -ELOOP more than WA_COPIES_MAX copies. */
NF_MUST_CHECK int wa_materialise(const struct wa_range *range, const struct wa_block *block, uint8_t *page, unsigned *ret_records,
				 struct wa_error *error);

/* What one record does to one block: apply the one at `lsn` to `page`, which has all records of the block before it. Without a checksum.
 * page_of: *ret_page is WA_PAGE_SIZE bytes of the log at `at`, a multiple of WA_PAGE_SIZE, until the next call; results as wa_range.read_log.
 * whole    the record makes the page from nothing
 * range    version, segment size and cluster count
 * Returns 0; -EBADMSG, -ENOTSUP as wa_materialise (error); what `page_of` returned. */
NF_MUST_CHECK int wa_apply_record(const struct wa_range *range, int (*page_of)(void *arg, struct nf_lsn at, const uint8_t **ret_page),
				  void *arg, const struct wa_block *block, struct nf_lsn lsn, bool whole, uint8_t *page,
				  struct wa_error *error);

/* Every block of forks main and visibility map that a record in the range may change, each perhaps more than once, in no order; those of a
 * database that is copied on the way are named under its own number too. `each` returning other than 0 stops, and is passed on.
 * Returns 0; -EBADMSG a damaged index (error); -ELOOP as above. */
NF_MUST_CHECK int wa_range_blocks(const struct wa_range *range, int (*each)(void *arg, const struct wa_block *block), void *arg,
				  struct wa_error *error);

/* Read the record of the range that starts at `lsn` and hand it to `use`, whose result is returned; the record holds until `use` returns.
 * -EBADMSG there is no such record (error); or what range->read_log returned. */
NF_MUST_CHECK int wa_range_record(const struct wa_range *range, struct nf_lsn lsn,
				  int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg,
				  struct wa_error *error);

#endif
