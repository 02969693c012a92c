/* Many blocks at an LSN: what wa_materialise makes of each, but reading the log once, forward, for all of them.
 *
 *	wa_batch_new ── from the indexes: what each block needs ──▶ the caller puts bases into the pages ──▶ wa_batch_run ──▶ pages
 *
 * Memory: some 40 bytes a block beside its page, WA_BATCH_LOG bytes of log, and 16 bytes for each of WA_BATCH_ITEMS records, or more where a piece of the
 * log has more. One thread a batch. */
#ifndef WA_BATCH_H
#define WA_BATCH_H

#include "walapply/materialise/wa_materialise.h"

#define WA_BATCH_LOG (16u << 20) /* bytes of log in memory: a piece */
#define WA_BATCH_PAGES (WA_BATCH_LOG / WA_PAGE_SIZE)
#define WA_BATCH_ITEMS (2u << 20) /* records, each for a block, that are sorted at once */

struct wa_batch_block {
	struct wa_block block; /* of fork main or visibility map */
	uint8_t *page; /* WA_PAGE_SIZE bytes */
	bool needs_base; /* set by wa_batch_new: false where a record makes the page from nothing */
	int status; /* set by wa_batch_run: as wa_materialise; the page is undefined when it is negative */
};

struct wa_batch;

/* blocks   sorted by tablespace, database, relation, fork, number, each once; the caller's, as is the range, until the batch is freed
 * Returns 0; -EBADMSG a damaged index (error); -ENOMEM. */
NF_MUST_CHECK int wa_batch_new(const struct wa_range *range, struct wa_batch_block *blocks, size_t count,
			       struct wa_batch **ret_batch, struct wa_error *error);
void wa_batch_free(struct wa_batch *batch); /* NULL is legal */

/* Pages of the log from `at` on, a multiple of WA_PAGE_SIZE: those of bit i in `wanted`, i < count <= WA_BATCH_PAGES, each to its place bytes + i *
 * WA_PAGE_SIZE, and perhaps others between them. What is there then is set in `there` (zeros before). Called in the order of the log but for single
 * pages that reach out of their piece. Results as wa_range.read_log. */
typedef int (*wa_batch_read_fn)(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes, uint64_t *there);

/* Make the pages of all blocks, from the bases that are in them, each once. Blocks fail one by one, with the first one's reason in `error`.
 * Returns 0, also when blocks have failed; -EBADMSG a damaged index (error); or what `read` returned: then no page counts. */
NF_MUST_CHECK int wa_batch_run(struct wa_batch *batch, wa_batch_read_fn read, void *arg, struct wa_error *error);

#endif
