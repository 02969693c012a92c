/* Inside of the rebuild: shared by rebuild*.c. */
#ifndef BD_REBUILD_IMPL_H
#define BD_REBUILD_IMPL_H

#include "blockdev/extent/extent.h"
#include "blockdev/journal/journal.h"

/* Something that may be the place of a block version. Sorted by key, then newest first. */
struct candidate {
	uint8_t key[20]; /* the block key without its kind: branch, file, block, ~epoch */
	uint32_t moves;
	uint64_t sequence, loc, sum;
};
static_assert(sizeof(struct candidate) == 48, "candidates are written to a file as they are");

/* Above all real sequences: what the log's ring itself says, in its order. */
#define REBUILD_LOG_SEQUENCE (UINT64_C(1) << 63)
/* As a place, with such a sequence: the ring says that it is not in the ring. */
#define REBUILD_LOC_ELSEWHERE (~BD_LOC_HOLE)

/* Sorting more candidates than memory holds (rebuild_sort.c): sorted runs in an unlinked file, merged at the end. */
struct sorter {
	struct candidate *buffer;
	size_t count;
	int fd;
	struct sorter_run *runs;
	size_t run_count;
	uint64_t file_records;
};
/* `dir` takes the temporary file. */
NF_MUST_CHECK int sorter_init(struct sorter *sorter, const char *dir);
void sorter_free(struct sorter *sorter);
NF_MUST_CHECK int sorter_add(struct sorter *sorter, const struct bd_block_id *id, struct bd_age age, uint64_t loc,
			     uint64_t sum);
/* Every candidate in order; ends the sorter's use. */
NF_MUST_CHECK int sorter_each(struct sorter *sorter, int (*each)(void *arg, const struct candidate *candidate), void *arg);

struct rebuild {
	struct bd_store *store; /* a bare one: io, index (the new one), extents */
	bd_progress_fn progress;
	void *arg;
	struct bd_journal_position position;
	struct sorter sorter;
	struct bd_index_batch *batch;
	/* by branch id: from 'R' records */
	uint32_t *parents;
	bool *branch_there, *branch_dead; /* dead: and no child needs it */
	uint32_t branch_slots;
	/* by extent id */
	uint32_t *live, *used, extent_slots;
	bool *removed_later; /* the log goes on to say so */
	/* the file looked for last */
	uint32_t file_branch;
	uint64_t file;
	bool file_known;
	/* the key at hand in the merge */
	uint8_t key[20];
	bool key_done, key_elsewhere, any_key;
	uint64_t blocks, lost_extents, bad_slots;
	uint64_t log_items; /* of the ring, seen so far */
	bool inline_seen;
};

NF_MUST_CHECK int rebuild_progress(struct rebuild *rebuild, const char *phase, uint64_t done, uint64_t total);
/* Into the batch, which is written now and then. `value` has room for its check. */
NF_MUST_CHECK int rebuild_put(struct rebuild *rebuild, const struct bd_key *key, uint8_t *value, size_t size);
NF_MUST_CHECK int rebuild_delete(struct rebuild *rebuild, const void *key, size_t key_size);
/* Write the batch, and at times flush. */
NF_MUST_CHECK int rebuild_settle(struct rebuild *rebuild, bool all);

/* What the ring says of block versions (rebuild_log.c). Mends a damaged ring by cutting it off; position.log follows. */
NF_MUST_CHECK int rebuild_log(struct rebuild *rebuild);
/* Candidates from slot tables and clone rows; then the records of blocks and extents (rebuild_blocks.c). */
NF_MUST_CHECK int rebuild_blocks(struct rebuild *rebuild);

#endif
