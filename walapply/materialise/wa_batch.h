/* Many blocks at an LSN: what wa_materialise makes of each, but reading the log once, forward, for all of them.
 *
 *	wa_batch_new ── from the indexes: what each block needs ──▶ the caller puts bases into the pages ──▶ wa_batch_run ──▶ pages
 *
 * wa_batch_run goes through the log piece by piece, and reads it through a callback. Who has several batches of one range, each on a thread of its own, goes
 * through it himself, so that a piece is read once for all of them, and the next one while this one is applied:
 *
 *	wa_batch_begin ──▶ of each piece: wa_batch_want, somebody reads, wa_batch_apply ──▶ wa_batch_end
 *
 * Memory: some 50 bytes a block beside its page, and 24 bytes for each of WA_BATCH_ITEMS records, or more where a piece of the log has more; wa_batch_run has
 * WA_BATCH_LOG bytes of log. One thread a batch. */
#ifndef WA_BATCH_H
#define WA_BATCH_H

#include "walapply/materialise/wa_materialise.h"

#define WA_BATCH_LOG (16u << 20) /* bytes of log: a piece */
#define WA_BATCH_PAGES (WA_BATCH_LOG / WA_PAGE_SIZE)
#define WA_BATCH_WORDS (WA_BATCH_PAGES / 64) /* of a bit for each page */
#define WA_BATCH_ITEMS (32u << 10) /* records, each for a block, that are sorted at once */
#define WA_BATCH_AHEAD 2u /* pieces that are wanted before they are applied, at most */

struct wa_batch_block {
	struct wa_block block; /* of fork main or visibility map */
	/* WA_PAGE_SIZE bytes, there from wa_batch_begin on (where is_late: from the piece on that has `first`) until the block is finished. */
	uint8_t *page;
	/* Set by wa_batch_new: */
	bool needs_base; /* false where a record makes the page from nothing: what is in it does not matter then */
	bool is_late; /* nothing happens to it before that record */
	struct nf_lsn first, last; /* the first and the last record that count; 0: there are none */
	/* Set by the run: as wa_materialise; the page is undefined when it is negative. A block whose base cannot be had gets a negative one before the
	 * run, and keeps it. */
	int status;
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
typedef int (*wa_batch_read_fn)(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes,
				uint64_t *there);

/* Make the pages of all blocks, from the bases that are in them, each once. Blocks fail one by one, with the first one's reason in `error`.
 * Returns 0, also when blocks have failed; -EBADMSG a damaged index (error); or what `read` returned: then no page counts. */
NF_MUST_CHECK int wa_batch_run(struct wa_batch *batch, wa_batch_read_fn read, void *arg, struct wa_error *error);

/* ------------------------------------------------------- piece by piece */

/* A piece of the log, with records of one index of the range. */
struct wa_batch_piece {
	size_t index;
	uint32_t number; /* in its index */
	struct nf_lsn begin;
	size_t pages;
};

/* The first piece (has_piece false), or the one behind *piece. Returns false when there is none. */
bool wa_batch_next_piece(const struct wa_range *range, bool has_piece, struct wa_batch_piece *piece);

/* Once, before any piece: `read` is asked for single pages out of their piece, from then on. */
void wa_batch_begin(struct wa_batch *batch, wa_batch_read_fn read, void *arg, struct wa_error *error);
/* Set the pages that the batch needs of the piece in `wanted`, WA_BATCH_WORDS of zeros. Of every piece, in order, WA_BATCH_AHEAD at most before the one that was
 * applied last. Returns 1 there are some; 0 there are none; -EBADMSG a damaged index (error); -ENOMEM. */
NF_MUST_CHECK int wa_batch_want(struct wa_batch *batch, const struct wa_batch_piece *piece, uint64_t *wanted,
				struct wa_error *error);
/* Apply its records. `log` is the piece's, WA_BATCH_LOG bytes of which the pages `there` count. Of every piece, in order. Results as wa_batch_run. */
NF_MUST_CHECK int wa_batch_apply(struct wa_batch *batch, const struct wa_batch_piece *piece, const uint8_t *log,
				 const uint64_t *there, struct wa_error *error);
/* Block `i` of the batch is made: once the piece that has its last record was applied. */
void wa_batch_finish(struct wa_batch *batch, size_t i);

#endif
