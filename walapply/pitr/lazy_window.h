/* Inside of the drain of one layer: shared by lazy_window*.c alone. */
#ifndef WA_LAZY_WINDOW_H
#define WA_LAZY_WINDOW_H

#include "walapply/materialise/wa_batch.h"
#include "walapply/pitr/lazy_crew.h"
#include "walapply/pitr/lazy_impl.h"

#define LZ_SHARES 8u /* parts of a window that are applied side by side, where there are threads for it */
#define LZ_READS 4u /* parts of a piece of WAL that are read side by side */

static_assert(WA_BATCH_WORDS % LZ_READS == 0, "parts of a piece have words of their own");

/* One layer being drained. */
struct lz_drain {
	struct lz_draining *draining;
	struct bd_view head, below;
	struct bd_epoch epoch;
	struct lz_plan plan;
	struct lz_indexes indexes;
	struct lz_log log;
	struct wa_range range;
	const struct lz_file **files; /* in the order of relations */
	size_t file_count, room; /* room: blocks of a window */
	unsigned threads;
	size_t next_file; /* the next window begins in this one, */
	uint32_t next_block; /* here */
	_Atomic bool has_failed; /* some block cannot be made */
};

/* Blocks [first, end) of a window. */
struct lz_share {
	struct lz_window *window;
	size_t first, end;
	struct wa_batch *batch;
	uint64_t wanted[2][WA_BATCH_WORDS]; /* of the log, for two pieces */
	struct wa_error why;
};

struct lz_window {
	struct lz_drain *drain;
	struct lz_crew *crew;
	size_t count;
	struct wa_batch_block *blocks;
	const struct lz_file **file_of; /* of each block */
	uint32_t *at; /* of each: which of the file's */
	uint8_t *pages; /* page i is of block i */
	struct lz_share shares[LZ_SHARES];
	size_t share_count;
	/* The log: piece n lies in log[n % 2]. */
	uint8_t *log[2];
	uint64_t there[2][WA_BATCH_WORDS];
	uint64_t wanted[WA_BATCH_WORDS]; /* by any share, of the piece that is being read */
	struct wa_batch_piece pieces[3]; /* being applied, being read, being looked for */
	bool has_piece[3];
	unsigned turn; /* of which log the first is */
	uint8_t *scattered[LZ_READS]; /* pages of WAL from all over a part of a piece; or of bases, from all over a file */
};

/* The file's inode as `view` has it. NULL: it is gone, and has nothing to be made. */
NF_MUST_CHECK int lz_drain_file(const struct lz_drain *drain, const struct lz_file *file, struct bd_view view,
				struct bd_inode **ret_inode);
/* Bytes that are damaged or cannot be read, which says nothing of other blocks. */
bool lz_is_of_block(int error);

/* Each page of the share that needs one gets its base. A block whose base cannot be had fails by itself. */
NF_MUST_CHECK int lz_window_bases(const struct lz_share *share);
/* Apply the log to all shares. */
NF_MUST_CHECK int lz_window_log(struct lz_window *window);
/* Store the share's pages, where the layer is still to make them. */
NF_MUST_CHECK int lz_window_store(const struct lz_share *share);

#endif
