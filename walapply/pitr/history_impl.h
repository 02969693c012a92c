/* Inside of history: its structures, shared by its files.
 *
 * Locks, in this order: entry->hot.lock, entry->work, entry->keep, history->lock, entry->state. Functions of the store may be called under the first two only. */
#ifndef WA_HISTORY_IMPL_H
#define WA_HISTORY_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "walapply/index/wa_index.h"
#include "walapply/pitr/wa_facts.h"
#include "walapply/state/wa_control.h"

#define WA_HISTORY_PAUSE_MS 250 /* between two looks at branches that are written to */
#define WA_HISTORY_RETRY_MS 5000 /* after a look that failed */
#define WA_HISTORY_PIECE (256u << 10) /* of WAL read at once; divides every segment size */
#define WA_HISTORY_NICE 10

#define WH_MERGE_FAN 8u /* segments, or runs, that are put together */
#define WH_TIERS 2u
#define WH_READY_PLACES 64u

/* How far the WAL has been read, behind sealed segments too. */
struct wh_tail {
	struct nf_lsn end, last; /* end of the last record, and where it began (0 = not known) */
	int64_t commit_us; /* the time of the last commit read; 0 none */
};

/* What was made of a branch without history so that it can be recovered fast (ready.c). */
struct wh_ready {
	struct bd_branch_id branch; /* 0: a free place */
	uint64_t used; /* higher: later */
	int64_t again_ns; /* monotonic: no earlier look */
	uint64_t system_id; /* 0: nothing yet */
	uint32_t timeline;
	uint64_t first, next; /* segments: of the redo pointer; the first one that was not looked at */
};

/* Pages that go with the log (hot.c). */
struct wh_hot_page;
struct wh_hot_index;
struct wh_hot {
	pthread_mutex_t lock; /* may be held for as long as it takes to go through a segment */
	/* guarded by lock */
	struct wh_hot_page **pages; /* by block, as they are before segment `next` */
	size_t count;
	struct wh_hot_index *behind; /* of the segments just before `next` */
	size_t behind_count;
	uint64_t next; /* the segment that comes next */
	uint64_t generation; /* of the entry, when it was said */
	uint32_t again; /* records in a segment that make a page hot which was made before it */
	struct wa_version version;
	int64_t worked_ns; /* when a segment was gone through last */
};

/* A branch with history. Lives until history is closed. */
struct wh_entry {
	struct wa_history *history;
	struct bd_branch_id branch;
	pthread_mutex_t work; /* following, and every change of the facts */
	pthread_mutex_t keep; /* bringing a segment into wal/ */
	/* guarded by work */
	struct bd_inode *dir, *wal, *index, *summary, *merged, *images; /* in the history's branch; NULL before they are made */
	uint64_t merge_next[WH_TIERS]; /* the segment from which on runs have not been looked for yet */
	uint64_t generation; /* how often history began or was removed */
	int64_t control_mtime_ns; /* of the pg_control that was looked at last */
	int64_t begin_after_ns; /* monotonic: no earlier try to begin */
	struct wa_version version;
	bool tracks_commits; /* track_commit_timestamp, as pg_control had it last */
	struct nf_lsn clean_from,
		clean_to; /* sealed segments in which there is nothing foreign, as far as somebody looked; none when equal */
	uint32_t snapshots_seen; /* the branch's count when its snapshots were looked at; UINT32_MAX = never */
	struct nf_lsn snapshot_tried; /* the checkpoint for which a snapshot was tried last */
	bool snapshot_waits; /* one is due when the branch's layers are gone */
	/* written under work and state: either is enough to read */
	pthread_mutex_t state;
	struct wa_facts facts;
	struct wh_tail tail;
	bool is_on; /* history is kept */
	bool is_damaged; /* its facts could not be read: off until it is turned on again */
	bool is_gone; /* its branch is deleted */
	/* guarded by state */
	bool keeps_all; /* history is about to begin: whatever goes is kept */
	uint32_t segment_size; /* of pg_control, for keeps_all */
	char trouble[WA_FACTS_TEXT]; /* what does not work now; "" nothing */
	char lost[WA_FACTS_TEXT]; /* a segment that could not be kept: begin again; "" none */
	_Atomic uint64_t pg_wal; /* file id of the branch's pg_wal; 0 = not known */
	bool is_woken; /* guarded by history->lock */
	struct wh_hot hot;
};

#define WH_HOT_BRANCHES 4u /* keep pages for images in memory, some 25 MiB each at most */

struct wa_history {
	struct bd_store *store;
	struct wa_history_options options;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* guarded by lock */
	struct wh_entry **entries; /* by branch id */
	size_t count, capacity;
	bool is_stopping, has_woken;
	struct bd_branch_id *others; /* without an entry, and written to; each once, because the store tells of it once */
	size_t other_count, other_capacity;
	/* Making and removing what the recovery of branches without history needs; after an entry's work. A place that was taken for another branch costs a look at
	 * what is there. */
	pthread_mutex_t ready_lock;
	struct wh_ready ready[WH_READY_PLACES];
	uint64_t ready_used;
	struct wh_entry *hot_held[WH_HOT_BRANCHES]; /* that keep hot pages, newest first; the history's thread's alone */
	pthread_mutex_t root_lock; /* making the branch, and the timeline file; before all others */
};

static inline struct bd_view wh_head(struct bd_branch_id branch)
{
	return (struct bd_view){.branch = branch, .epoch = BD_EPOCH_HEAD};
}

/* One line for ret_message (may be NULL with size 0); returns `error`. */
int wh_say(char *ret_message, size_t size, int error, const char *format, ...) NF_PRINTF(4, 5);
int64_t wh_now_us(void); /* since 2000-01-01 */
int64_t wh_monotonic_ns(void);
#define WH_EPOCH_2000_S INT64_C(946684800)

/* ---- files.c: small things done to files of the store */
NF_MUST_CHECK int wh_path(struct bd_store *store, struct bd_view view, const char *path, struct bd_inode **ret_inode);
/* The whole file, to be freed; -EFBIG above max. One zero byte stands behind its end. */
NF_MUST_CHECK int wh_read(struct bd_inode *file, size_t max, uint8_t **ret_bytes, size_t *ret_size);
/* The bytes of a file of dir; 0 also when it is not there. */
uint64_t wh_size(struct bd_inode *dir, const char *name);
/* Replace `name` in dir, durable. */
NF_MUST_CHECK int wh_write(struct bd_inode *dir, const char *name, uint32_t mode, const void *bytes, size_t size);
/* Replace `name` in dir by a copy of `from` that shares its blocks, durable. */
NF_MUST_CHECK int wh_clone(struct bd_inode *from, struct bd_inode *dir, const char *name, uint32_t mode);
/* The directory `name`, made when missing. */
NF_MUST_CHECK int wh_directory(struct bd_inode *dir, const char *name, struct bd_inode **ret_dir);
/* A directory with all in it. 0 also when it is not there. */
NF_MUST_CHECK int wh_remove(struct bd_inode *dir, const char *name);
/* Root of the history's branch, which is made when `make`. -ENOENT. */
NF_MUST_CHECK int wh_root(struct bd_store *store, bool make, struct bd_inode **ret_root);

/* ---- log.c: a branch's WAL as a stream of records, wherever its segments are */
struct wh_log {
	const struct wa_facts *facts;
	struct bd_inode *live, *kept; /* pg_wal of head or view, and wal/: either may be NULL; not its own */
	bool live_may_change;
	struct wa_reader *reader;
	uint8_t *piece;
	struct bd_inode *file; /* the segment read last */
	struct nf_lsn file_start;
	bool file_is_live;
	struct wa_error error;
};
struct wh_log_start {
	struct nf_lsn lsn, prev;
	bool find; /* as in wa_reader_config */
};
NF_MUST_CHECK int wh_log_open(struct wh_log *log, const struct wa_facts *facts, struct bd_inode *live, struct bd_inode *kept,
			      struct wh_log_start start);
void wh_log_close(struct wh_log *log);
/* 1; 0 the end for now (log->error says why); -EBADMSG (log->error), -ENOMEM, or an error of the store. */
NF_MUST_CHECK int wh_log_next(struct wh_log *log, const struct wa_record **ret_record);
/* Has the segment at `start` a written first page in `dir` (as the segment of `timeline`)? 1, 0, or an error. */
NF_MUST_CHECK int wh_segment_begun(struct bd_inode *dir, uint32_t timeline, struct nf_lsn start, uint32_t segment_size);
/* About how far WAL is written, from `from` on: the start of the last page with a header of its own address. */
NF_MUST_CHECK int wh_written_about(struct bd_inode *live, const struct wa_facts *facts, struct nf_lsn from,
				   struct nf_lsn *ret_lsn);
/* Is it a transaction's end, and when was it? */
bool wh_transaction_end(const struct wa_record *record, bool *ret_commit, int64_t *ret_time_us);

/* ---- keep.c */
/* Bring the segment at `start` from `live` into wal/; nothing is done when it is there whole. is_whole: else what there is of it yet.
 * -ENOENT it is in neither. Under work or not. */
NF_MUST_CHECK int wh_keep_segment(struct wh_entry *entry, struct bd_inode *live, const char *name, bool is_whole);

/* ---- base.c */
/* pg_control of a view, with its version in *ret_major. -EINVAL no data directory that history can follow; -EBADMSG torn or damaged, for now;
 * message: why. */
NF_MUST_CHECK int wh_control(struct bd_store *store, struct bd_view view, struct wa_control *ret_control, int *ret_major,
			     char *ret_message, size_t size);
/* Under work. Positions of a snapshot: WAL is read from `from` (lsn 0: from the redo pointer). On success *ret_tail is where its WAL ends.
 * -EINVAL it can be no base (message). */
NF_MUST_CHECK int wh_base_positions(struct wh_entry *entry, struct bd_view view, const struct wh_tail *from,
				    struct wa_facts_base *base, struct wh_tail *ret_tail, char *ret_message, size_t size);
/* Under work: a snapshot now. -EEXIST nothing was written since the last one. */
NF_MUST_CHECK int wh_snapshot(struct wh_entry *entry, struct nf_lsn about, char *ret_message, size_t size);
/* Under work: positions of snapshots that are not known yet; forget those that are gone. */
NF_MUST_CHECK int wh_look_at_snapshots(struct wh_entry *entry);

/* ---- seal.c (under work) */
#define WH_SUMMARIES "summary" /* the directory beside "index" */
/* Make index and summary of every segment that is full. 0; -EBADMSG the log breaks off (message); an error of the store. */
NF_MUST_CHECK int wh_seal_all(struct wh_entry *entry, struct bd_inode *live, char *why, size_t size);

/* ---- merged.c: indexes of several segments in one */
#define WH_MERGED "merged" /* the directory beside "index" */
#define WH_RUN_NAME (WA_SEGMENT_NAME + 11u)
/* Of one segment, or of several. */
void wh_run_name(char name[WH_RUN_NAME + 1], uint32_t timeline, struct wa_run run, uint32_t segment_size);
/* Is `name` that of several? */
NF_MUST_CHECK bool wh_run_parse(const char *name, uint32_t segment_size, uint32_t *ret_timeline, struct wa_run *ret_run);
/* The longest run in `merged` that has segment `number` of this timeline; one reference. -ENOENT. */
NF_MUST_CHECK int wh_run_find(struct bd_inode *merged, uint32_t timeline, uint64_t number, uint32_t segment_size,
			      struct wa_run *ret_run, struct bd_inode **ret_file);
/* Is an index's first record the very next one behind `behind`? An index without records: did the record before reach over all of it? */
bool wh_index_continues(const struct wa_index_info *info, struct nf_lsn behind);
/* Make one run, if one can be made. Not under work, which it takes for a while. Returns 1 it has tried, there may be more; 0 nothing is to be done; an
 * error. */
NF_MUST_CHECK int wh_merge_next(struct wh_entry *entry);

/* ---- hot.c: images of hot pages */
#define WH_IMAGES "images" /* the directory beside "index": files named as indexes and runs are */
/* Go through the next full segment, if there is one, and make its images. Not under work, which it takes for a while. Returns 1 it has tried, there may be
 * more; 0 nothing is to be done; an error. */
NF_MUST_CHECK int wh_images_next(struct wh_entry *entry);
/* Forget the pages of a branch in which little happens. */
void wh_hot_forget(struct wh_entry *entry);
void wh_hot_free(struct wh_hot *hot);

/* ---- follow.c (all under work) */
/* Look at the branch: begin, seal segments, make a snapshot when it is time, apply retention. `all`: read up to the end. */
NF_MUST_CHECK int wh_follow(struct wh_entry *entry, bool all, char *ret_message, size_t size);
/* Begin, or begin again because of `why` (NULL: it is the first time). */
NF_MUST_CHECK int wh_begin(struct wh_entry *entry, const char *why, char *ret_message, size_t size);
/* Read on behind the tail. */
NF_MUST_CHECK int wh_read_tail(struct wh_entry *entry);
/* A record that changes what is known of the log. */
NF_MUST_CHECK int wh_observe(struct wh_entry *entry, const struct wa_record *record);

/* ---- retain.c (all under work) */
/* Apply retention now. */
NF_MUST_CHECK int wh_retain(struct wh_entry *entry);
/* The oldest base was deleted: what only it needed goes. */
NF_MUST_CHECK int wh_let_go(struct wh_entry *entry);
/* Delete segments, indexes and summaries that nobody needs, and runs and images of which nobody needs any segment. */
NF_MUST_CHECK int wh_remove_segments(struct wh_entry *entry);
/* Delete all runs and images. */
NF_MUST_CHECK int wh_remove_runs(struct wh_entry *entry);
/* Delete the automatic snapshots: those in the facts from `first` on up to `count`, or by their labels all (count UINT32_MAX). */
NF_MUST_CHECK int wh_delete_automatic(struct wh_entry *entry);
/* Write the facts, durable. */
NF_MUST_CHECK int wh_write_facts(struct wh_entry *entry);
/* The label of an automatic snapshot? */
bool wh_is_automatic_label(const char *label);

/* ---- history.c */
/* The branch's entry, which may be off; NULL. Under history->lock inside. */
struct wh_entry *wh_find(struct wa_history *history, struct bd_branch_id branch);
/* The same, made when there is none. -ENOMEM. */
NF_MUST_CHECK int wh_find_or_make(struct wa_history *history, struct bd_branch_id branch, struct wh_entry **ret_entry);
/* Under work: its directories. */
NF_MUST_CHECK int wh_open_directories(struct wh_entry *entry);
/* Under work: nothing of it is left in the store. */
NF_MUST_CHECK int wh_remove_directories(struct wh_entry *entry);

/* ---- thread.c */
/* Ask the thread for a look at the branch. */
void wh_wake(struct wh_entry *entry);
/* The same of a branch without an entry. later: not at once. */
void wh_wake_other(struct wa_history *history, struct bd_branch_id branch, bool later);
/* A watched branch was written to. On the writer's thread; `history` is the argument of the store's wake. */
void wh_wake_branch(void *history, struct bd_branch_id branch);
/* The thread itself, of a struct wa_history, until it is stopping. */
void *wh_run(void *history);

#endif
