/* Inside of the drain of one layer: shared by lazy_window*.c and lazy_chunk.c alone. */
#ifndef WA_LAZY_WINDOW_H
#define WA_LAZY_WINDOW_H

#include "walapply/materialise/wa_batch.h"
#include "walapply/pitr/lazy_crew.h"
#include "walapply/pitr/lazy_impl.h"

#define LZ_CHUNK_BLOCKS 4096u
#define LZ_CHUNKS_AHEAD 8u /* planned at a time */
#define LZ_CHUNKS_MAX 512u /* of a window */
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
	struct wa_batch_piece *pieces; /* of the range's WAL */
	uint32_t piece_count;
	const struct lz_file **files; /* in the order of relations */
	size_t file_count;
	uint32_t room; /* pages in memory, */
	uint32_t live_max; /* so many at most of blocks that are not made yet */
	uint32_t chunk_room; /* blocks of a chunk */
	unsigned threads;
	size_t next_file; /* the next chunk begins in this one, */
	uint32_t next_block; /* here */
	_Atomic bool has_failed; /* some block cannot be made */
};

/* Some blocks that follow each other, and when their pages are in memory: while pieces [from, to] of the WAL are applied. */
struct lz_chunk {
	struct lz_window *window; /* const once it is in one, as what follows is */
	uint32_t count;
	struct wa_batch_block *blocks; /* page NULL: it is not in memory */
	const struct lz_file **file_of; /* of each block */
	uint32_t *at; /* of each: which of the file's */
	uint32_t *from, *to; /* from: no meaning where the page is there from the beginning */
	uint32_t *live; /* of each piece: how many pages are in memory */
	uint32_t *late; /* of each piece: how many come with it */
	/* The task's that has it. */
	struct wa_batch *batch;
	uint64_t wanted[2][WA_BATCH_WORDS]; /* of the log, for two pieces */
	struct wa_error why;
};

/* Memory for pages. */
struct lz_pool {
	uint8_t *pages;
	pthread_mutex_t lock;
	/* guarded by lock */
	uint32_t *unused, unused_count; /* the last one is taken first */
};

struct lz_window {
	struct lz_drain *drain;
	struct lz_crew *crew;
	struct lz_pool pool;
	struct lz_chunk *chunks[LZ_CHUNKS_MAX];
	uint32_t chunk_count;
	uint32_t *live; /* of each piece: pages of all chunks that are in memory */
	/* The log: piece n lies in log[n % 2]. */
	uint8_t *log[2];
	uint64_t there[2][WA_BATCH_WORDS];
	uint64_t wanted[WA_BATCH_WORDS]; /* by any chunk, of the piece that is being read */
	uint32_t applied; /* the piece that is being applied; UINT32_MAX: none yet */
	uint32_t stored; /* pages of blocks whose records end before this piece are to be stored; 0: none */
	uint8_t *scattered[LZ_READS]; /* pages of WAL from all over a part of a piece */
};

/* The file's inode as `view` has it. NULL: it is gone, and has nothing to be made. */
NF_MUST_CHECK int lz_drain_file(const struct lz_drain *drain, const struct lz_file *file, struct bd_view view,
				struct bd_inode **ret_inode);
/* Bytes that are damaged or cannot be read, which says nothing of other blocks. */
bool lz_is_of_block(int error);

/* The next blocks that are still to be made, `room` at most; NULL: all are taken. */
NF_MUST_CHECK int lz_chunk_next(struct lz_drain *drain, uint32_t room, struct lz_chunk **ret_chunk);
/* What its blocks need of the WAL. As wa_batch_new. */
NF_MUST_CHECK int lz_chunk_plan(const struct lz_drain *drain, struct lz_chunk *chunk);
void lz_chunk_free(struct lz_chunk *chunk); /* NULL is legal */
/* Pages for those of its blocks that are there from the beginning (piece UINT32_MAX), or come with the piece. There are enough of them. */
void lz_chunk_take_pages(struct lz_chunk *chunk, uint32_t piece);
/* Block `i` has done with its page. */
void lz_chunk_give_page(struct lz_chunk *chunk, uint32_t i);

/* Each page of the chunk that needs one gets its base. A block whose base cannot be had fails by itself. */
NF_MUST_CHECK int lz_chunk_bases(const struct lz_chunk *chunk);
/* Finish and store the pages whose records end before piece window->stored, where the layer is still to make them; their memory is free then. */
NF_MUST_CHECK int lz_chunk_store(struct lz_chunk *chunk);

/* Make the blocks of the window's chunks. */
NF_MUST_CHECK int lz_window_make(struct lz_window *window);

#endif
