/* One replay: what its parts share. For tools/neonfs-wal/replay*.c only.
 *
 *   replay.c            the command: options, order of the steps, what is said
 *   replay_start.c      what the directory is, where replay starts and how far it may go
 *   replay_run.c        from records to batches (replay_batch.c, replay_pool.c) and operations
 *   replay_state.c      operations on files and directories
 *   replay_prepared.c   prepared transactions and replication origins
 *   replay_slru.c       status logs
 *   replay_rels.c       relation files     replay_cache.c  their pages     replay_order.c  work page by page
 *   replay_unlogged.c   unlogged relations, and what is swept away
 *   replay_summary.c    summaries of segments instead of their records
 *   replay_finish.c     the checkpoint at the end
 *   replay_log.c        segments to records     replay_files.c  small files */
#ifndef REPLAY_IMPL_H
#define REPLAY_IMPL_H

#include "tools/lib/progress.h"
#include "tools/neonfs-wal/replay_log.h"
#include "tools/neonfs-wal/replay_pool.h"
#include "tools/neonfs-wal/replay_slru.h"

/* Where a tablespace goes instead of where the log says. */
struct rp_space_map {
	const char *from, *to;
	size_t from_size;
};

#define RP_SPACE_MAPS_MAX 32
/* What becomes pg_control once the pages are served too. By this name Postgres removes it when it recovers after all (RemoveTempXlogFiles, xlog.c); in
 * global/ pg_checksums would stumble over it. */
#define RP_CONTROL_PREPARED "pg_wal/xlogtemp.pg_control"
/* With it: what becomes the mark that the new timeline's history is to be archived. Its contents are the timeline's number, as in names of files. */
#define RP_HISTORY_PREPARED "pg_wal/xlogtemp.history_ready"
#define RP_RECENT 256u

struct rp_options {
	const char *directory;
	const char
		*wal[RP_LOG_DIRECTORIES_MAX]; /* other directories of segments, asked before the own one; NULL behind the last */
	struct nf_lsn to; /* 0 = the end of the log */
	uint32_t timeline; /* 0 = the highest */
	uint32_t new_timeline; /* that begins at the end; 0 = the next after the highest there is */
	uint64_t memory;
	unsigned threads;
	bool finish; /* write the checkpoint at the end */
	bool state_only; /* no pages of main forks and visibility maps */
	/* Summaries (walapply/summary): a directory where they are named as the segments, or a file of some, one behind the other. NULL = none. With
	 * state_only. */
	const char *summaries;
	bool syncs; /* what is done is durable at the end, and in an order that a crash may break off */
	bool is_checked; /* `to` is known to be the end of a record in the log, not before what the directory holds */
	bool is_logged; /* there are no unlogged relations to begin with */
	bool keep_slots; /* replication slots and archive_status stay */
	pid_t parent; /* it and this process end together; 0 = nobody */
	bool inside_only; /* no tablespace outside of the directory is made */
	struct rp_space_map maps[RP_SPACE_MAPS_MAX];
	unsigned map_count;
};

struct rp_prepared;
struct rp_origin;
struct rp_drop {
	struct wa_locator rel;
};

struct replay {
	struct rp_options options;
	int root;
	bool holds; /* the directory's lock file is ours */
	char own_wal[64]; /* the directory's pg_wal */
	struct wa_version version;
	struct wa_control control;
	uint8_t control_bytes[WA_CONTROL_FILE_SIZE];
	struct wa_counters counters;

	bool has_init_forks; /* perhaps */
	bool from_backup; /* backup_label is there */
	bool from_standby; /* and the backup was of a standby */
	struct nf_lsn start, lowest; /* where replay begins; where it may end at the earliest */
	bool to_log_end; /* nobody said where it is to end */
	uint32_t start_timeline;

	struct rp_log *log;
	struct rp_rels *rels;
	struct rp_cache *cache;
	struct rp_pool *pool;
	struct rp_slru *slru;
	struct rp_prepared *prepared; /* by xid */
	struct rp_origin *origins;

	int summaries; /* descriptor of the directory; -1 = none */
	const uint8_t *packed; /* or the file's bytes; NULL = none */
	size_t packed_size, packed_at;
	uint64_t no_summary; /* segments up to this one: not asked for again */

	struct rp_batch batches[2];
	unsigned batch; /* the one that is filled */
	struct rp_drop *drops; /* relations to be dropped once the batch is done */
	size_t drop_count, drop_room;
	struct rp_rel *recent[RP_RECENT]; /* relations found lately, by number */

	double redo_seconds; /* of the loop over the log: pages that it leaves in memory are written after it */
	uint64_t records;
	struct nf_lsn end, last; /* the end and the start of the last record replayed */
	uint32_t end_timeline;
	struct tl_progress progress;
	struct wa_error error; /* why it failed; lsn 0 = no place */
};

/* All that return int: 0, or a negative error with replay->error filled. */

/* Put a reason into replay->error. Returns status. */
int rp_fail(struct replay *replay, int status, const char *format, ...) NF_PRINTF(3, 4);

/* Seconds of a clock that never goes back. */
double rp_clock(void);

/* replay_start.c: look at the directory, settle start and lowest, open the log, see that it reaches options.to. Changes nothing. */
NF_MUST_CHECK int rp_examine(struct replay *replay);

/* -EBADMSG when the log without --to ended before what the directory's files have: the last checkpoint, and what `lowest` says. */
NF_MUST_CHECK int rp_check_reached(struct replay *replay);

/* -EPROTO when pg_control says that the log from `from` on is without what bulk loads wrote (wal_level = minimal), and is replayed on files that are
 * older than it. A crashed directory with its own log has those files. */
NF_MUST_CHECK int rp_check_wal_level(struct replay *replay, struct nf_lsn from);

/* replay_run.c: replay up to options.to. */
NF_MUST_CHECK int rp_run(struct replay *replay);
/* All page work that was read is done, and relations that wait for their drop are dropped: nothing else works. */
NF_MUST_CHECK int rp_quiet(struct replay *replay);

/* Take the next record, or make a fork at least so long: replay->end and what goes with it follow the record. */
NF_MUST_CHECK int rp_take_record(struct replay *replay, const struct wa_record *record);
NF_MUST_CHECK int rp_grow(struct replay *replay, struct wa_locator rel, uint32_t fork, uint32_t blocks);

/* replay_summary.c: have options.summaries at hand. */
NF_MUST_CHECK int rp_open_summaries(struct replay *replay);
void rp_close_summaries(struct replay *replay);
/* At replay->end, take summaries as long as there are some for whole segments that do not pass options.to.
 * Returns 1 some were taken, the log is to be read from replay->end on; 0; or an error. */
NF_MUST_CHECK int rp_take_summaries(struct replay *replay);

/* replay_state.c: carry out one operation. */
NF_MUST_CHECK int rp_state(struct replay *replay, const struct wa_state_op *op);
/* Drop relations: all forks, known or not. Quiet. */
NF_MUST_CHECK int rp_drop_now(struct replay *replay, struct wa_locator rel);
/* Links of tablespace_map. */
NF_MUST_CHECK int rp_apply_tablespace_map(struct replay *replay);

/* replay_prepared.c */
NF_MUST_CHECK int rp_prepared_load(struct replay *replay);
NF_MUST_CHECK int rp_prepared_op(struct replay *replay, const struct wa_state_op *op);
NF_MUST_CHECK int rp_prepared_store(struct replay *replay);
NF_MUST_CHECK int rp_origins_load(struct replay *replay);
NF_MUST_CHECK int rp_origin_op(struct replay *replay, const struct wa_state_op *op);
NF_MUST_CHECK int rp_origins_store(struct replay *replay);
void rp_prepared_free(struct replay *replay);

/* replay_unlogged.c: at the start, relations with an init fork lose their others; at the end, the main fork is a copy of it. */
NF_MUST_CHECK int rp_unlogged_remove(struct replay *replay);
NF_MUST_CHECK int rp_unlogged_init(struct replay *replay);
/* Files that a stopped cluster must not have. */
NF_MUST_CHECK int rp_sweep(struct replay *replay);
/* Make everything durable, but with --no-sync. */
NF_MUST_CHECK int rp_sync(struct replay *replay);

/* replay_finish.c: the log, the history and pg_control for a start at the end. */
NF_MUST_CHECK int rp_finish(struct replay *replay);

#endif
