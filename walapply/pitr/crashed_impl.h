/* Indexes and summaries of branches without history, shared by crashed.c, crashed_make.c, ready.c and who looks for them.
 *
 * They are named as their segments, in `crashed-<branch id>/index` and `/summary` of the history's branch. An index says of which file it was made
 * (WH_STAMP): as long as the segment has that number and time of change, and both files their length, they are what its records say. So they outlive the daemon, and are
 * shared by branches that were made of each other. Who uses them takes them by their names: a recovery begins by removing those that do not fit. */
#ifndef WA_CRASHED_IMPL_H
#define WA_CRASHED_IMPL_H

#include "walapply/pitr/history_impl.h"

#define WH_CRASHED "crashed-"
#define WH_CRASHED_NAME 24u
/* On an index file: number of the segment's file u64, its time of change i64, XXH3 of its last page u64, bytes of index and summary u32, major u32, flags u32 (1 checksums,
 * 2 wal_log_hints, 4 commit times); little-endian. Written when both files are durable. */
#define WH_STAMP "user.segment"
#define WH_STAMP_SIZE 40u

/* The directory in the history's branch. */
void wh_crashed_name(struct bd_branch_id branch, char name[WH_CRASHED_NAME]);
/* When history is opened, with its entries: remove those of branches that are gone, or have history now. What cannot be removed is told. */
void wh_crashed_tidy(struct wa_history *history);

/* What is made of one branch's WAL. */
struct wh_crash {
	struct bd_store *store;
	struct bd_branch_id branch;
	struct bd_inode *live; /* pg_wal */
	struct bd_inode *index, *summary; /* NULL before wh_crash_places */
	struct wa_facts facts;
	struct wa_version version;
	bool commit_times;
	bool is_written; /* by Postgres, meanwhile: what is made has to last. Else it is for a recovery that comes now: not flushed, no stamp */
	bool is_standby;
	uint32_t timeline;
	struct nf_lsn redo;
};

/* Of one worker: used again for each segment. Zeros at first. */
struct wh_makers {
	struct wa_index_builder *index;
	struct wa_summary_builder *summary;
};

/* pg_control and pg_wal of the branch's head. -EINVAL it is no data directory; -EBADMSG pg_control is torn, for now. Either way wh_crash_close. */
NF_MUST_CHECK int wh_crash_open(struct bd_store *store, struct bd_branch_id branch, struct wh_crash *ret_crash);
void wh_crash_close(struct wh_crash *crash);
/* The directories, made when missing. */
NF_MUST_CHECK int wh_crash_places(struct wh_crash *crash);
/* Segments from `first` on that are full: *ret_end is the first one that is not. */
NF_MUST_CHECK int wh_crash_full(const struct wh_crash *crash, uint64_t first, uint64_t *ret_end);
/* Is there an index of the segment, as it is now? A branch that this one was made of may have it: then it is linked. 1, 0, or an error. */
NF_MUST_CHECK int wh_crash_has(const struct wh_crash *crash, uint64_t number);
/* Make it. 1; 0 the log ends in the segment, cannot be read there, or has changed meanwhile; an error. */
NF_MUST_CHECK int wh_crash_make(const struct wh_crash *crash, struct wh_makers *makers, uint64_t number);
void wh_makers_free(struct wh_makers *makers);

/* Files of the branch's own directories that are not of segments as they are now go. */
NF_MUST_CHECK int wh_crash_purge(const struct wh_crash *crash);

/* ---- ready.c (under ready_lock): branches without history that Postgres writes in */
/* The branch's place, or one that is made it. */
struct wh_ready *wh_ready_place(struct wa_history *history, struct bd_branch_id branch);
/* *ret_more: there is more to do at once. -EAGAIN: it is no data directory, for now, or there is no room. */
NF_MUST_CHECK int wh_get_ready(struct wa_history *history, struct wh_ready *ready, bool *ret_more);
/* All that was made of it goes. */
void wh_crash_drop(struct wa_history *history, struct bd_branch_id branch);

#endif
