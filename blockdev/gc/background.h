/* Inside of gc/: the state of the background, shared by its files. */
#ifndef BD_BACKGROUND_H
#define BD_BACKGROUND_H

#include "blockdev/bd_impl.h"

struct bd_inline {
	struct bd_block_id id; /* of the first block */
	uint32_t count;
	uint64_t loc, record_lsn, sequence;
};

struct purge {
	uint32_t branch;
	uint64_t file;	     /* 0: the branch */
	uint64_t checkpoint; /* swept: the last one that may have begun before the end of the sweep */
};

struct bd_background {
	pthread_mutex_t retire_lock; /* one run at a time; before reclaim_lock */
	/* inline blocks, oldest first: a ring buffer */
	pthread_mutex_t inline_lock;
	struct bd_inline *inlines;
	size_t inline_first, inline_count, inline_capacity;
	/* work for the collector; guarded by lock, as are stop and kicked */
	pthread_mutex_t lock;
	pthread_cond_t flusher_wake, collector_wake;
	struct purge *purges;
	size_t purge_count, purge_capacity;
	/* swept, their requests still in the index: a checkpoint has to make the sweep durable first. Guarded by collect_lock */
	struct purge *swept;
	size_t swept_count, swept_capacity;
	bool stop, kicked;
	bool flusher_runs, collector_runs;
	pthread_t flusher, collector;
};

/* Claim room in the log for the collector; the caller leaves it when *ret_entered. When there is no disk to make room with, collecting is what
 * helps: it goes on without. */
NF_MUST_CHECK int background_enter_log(struct bd_store *store, bool *ret_entered);

#endif
