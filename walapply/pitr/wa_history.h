/* The history of branches: WAL kept beyond Postgres's own removal, its index, and the snapshots that replay can start from.
 *
 * Kept in the store's internal branch WA_HISTORY_BRANCH, a directory a branch (its id, decimal): `wal/` complete segments that Postgres has removed
 * (and, for a hold, the segment being written, as far as it was), `index/` one wa_index and `summary/` one wa_summary a complete segment, all named as the segment, and `facts`
 * (wa_facts.h). A segment that Postgres still has is read from the branch's own pg_wal: look in wal/ first, then there.
 *
 * Positions are ends of records. Errors: as bd.h; messages are one line: what, and what to do. All functions may be called from any thread, with no
 * lock of the store held; those that say "waits" may take as long as reading some segments takes. Times "_us" are microseconds since 2000-01-01 UTC. */
#ifndef WA_HISTORY_H
#define WA_HISTORY_H

#include "blockdev/bd.h"
#include "common/nf_lsn.h"

#define WA_HISTORY_BRANCH ".history"
#define WA_HISTORY_MESSAGE_MAX 512

struct wa_history;

struct wa_history_options {
	uint64_t snapshot_every_bytes; /* of WAL; 0 = 64 MiB */
	uint64_t unindexed_bytes; /* of WAL at the end of branches without history; 0 = 64 MiB */
	unsigned retain_every_ms; /* how often time retention is applied to branches that nobody writes to; 0 = a minute */
};

/* Start (a thread of its own; nothing is made in the store before the first wa_history_retain or wa_history_new_timeline, or before a branch has more WAL behind its
 * checkpoint than may be left without an index). Only one a store: it takes
 * bd_store_set_wake. Histories of branches that are gone are removed. Damaged facts are said in the log, and that branch has no history until
 * wa_history_retain. Returns 0; -ENOMEM, or what the store answers. */
NF_MUST_CHECK int wa_history_open(struct bd_store *store, const struct wa_history_options *options,
				  struct wa_history **ret_history);
/* When nobody writes in the store any more. NULL is legal. */
void wa_history_close(struct wa_history *history);

/* A name in `dir` is about to go away or be replaced: keep it first where it is a segment that history needs. 0, or an error (no memory): then the
 * name must stay. When it cannot be kept (disk full) history is given up up to here, loudly, and 0 returned: Postgres goes on. */
NF_MUST_CHECK int wa_history_keep(struct wa_history *history, struct bd_inode *dir, const char *name);

struct wa_retention {
	uint64_t seconds, bytes; /* 0 = not limited by it; both 0: no history */
};

/* Turn history on, change what it keeps, or turn it off (which deletes it, but for what is held). Waits: on, the first base is there on return.
 * -EINVAL not a Postgres data directory that history can follow (ret_message); -ENOENT no such branch. */
NF_MUST_CHECK int wa_history_retain(struct wa_history *history, struct bd_branch_id branch, struct wa_retention retention,
				    char *ret_message, size_t message_size);

/* The branch was deleted: its history goes too, but for what is held. */
void wa_history_branch_deleted(struct wa_history *history, struct bd_branch_id branch);

/* Bring what is known of the branch up to its WAL's end now. Waits. -ENODATA no history there. */
NF_MUST_CHECK int wa_history_catch_up(struct wa_history *history, struct bd_branch_id branch, char *ret_message,
				      size_t message_size);

struct wa_history_status {
	struct wa_retention retention; /* both 0: no history (the rest is 0) */
	int major;
	uint32_t segment_size;
	uint64_t system_id;
	uint32_t timeline; /* now */
	struct nf_lsn earliest,
		latest; /* points that can be asked for: [earliest, latest]; latest as of the last catch-up; 0 none yet */
	int64_t earliest_us; /* when the oldest base was taken */
	int64_t latest_commit_us; /* the last commit known; 0 none */
	uint64_t wal_bytes,
		index_bytes; /* WAL from the oldest base's redo pointer on; indexes and summaries of its complete segments */
	uint32_t segments, snapshots; /* complete segments; bases */
	int64_t begun_again_us; /* history had to begin anew then; 0 never */
	char begun_again_why[160];
	char trouble[160]; /* why it stands still now; "" it does not */
};

/* -ENODATA the branch has no history. */
NF_MUST_CHECK int wa_history_status(struct wa_history *history, struct bd_branch_id branch, struct wa_history_status *ret_status);

struct wa_base {
	struct bd_view
		view; /* frozen: a snapshot, which retention may delete: who finds it gone when making a child (-ENOENT) asks again */
	char label[BD_BRANCH_NAME_MAX + 1];
	struct nf_lsn written, redo;
	uint32_t timeline; /* of the WAL at `written` */
	int64_t time_us;
	uint32_t major;
	uint64_t system_id;
	/* Why only Postgres itself can replay from here to x: */
	bool is_foreign; /* records of extensions' resource managers, or of types that are not known */
	bool is_minimal; /* wal_level was minimal in between: part of the changes is not in the WAL, nobody can */
};

/* The newest base for `x` (catches up first when x is not known yet). -ERANGE x is before the window or behind the end (the message says the earliest or
 * latest); -ENODATA no history. Waits. */
NF_MUST_CHECK int wa_history_base(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x,
				  struct wa_base *ret_base, char *ret_message, size_t message_size);

struct wa_history_space {
	uint32_t spc;
	char path[1024]; /* where it is made, cut off when it is longer */
};

/* Does the WAL in (from, to] make a tablespace outside of the data directory? 1 with the first one; 0 none; -ERANGE, -ENODATA as above. Waits. */
NF_MUST_CHECK int wa_history_space_outside(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn from,
					   struct nf_lsn to, struct wa_history_space *ret_space, char *ret_message,
					   size_t message_size);

/* The record around or ending at x: *ret_before = the greatest end of a record <= x, *ret_after = the least >= x (both x when it is one). x behind a
 * page's or segment's header and before the first byte of a record counts as the end before it. -ERANGE, -ENODATA as above. Waits. */
NF_MUST_CHECK int wa_history_boundary(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x,
				      struct nf_lsn *ret_before, struct nf_lsn *ret_after, char *ret_message,
				      size_t message_size);
/* The end of the last record before the first commit or abort later than time_us (what recovery_target_time would replay to); the latest when there is
 * none, and time_us is not in the future. -ERANGE before the window, or in the future. Waits. */
NF_MUST_CHECK int wa_history_at_time(struct wa_history *history, struct bd_branch_id branch, int64_t time_us,
				     struct nf_lsn *ret_lsn, char *ret_message, size_t message_size);
/* A RESTORE_POINT record: its end, its name, and its time by the server's clock. */
struct wa_restore_point {
	struct nf_lsn lsn;
	int64_t time_us;
	char name[64];
};
struct wa_named_point {
	struct wa_restore_point newest, before; /* `before`: the next older one, when older > 0 */
	uint32_t older; /* how many more of that name are in the window */
};
/* The newest restore point of that name in the window. -ENOENT. Waits. */
NF_MUST_CHECK int wa_history_restore_point(struct wa_history *history, struct bd_branch_id branch, const char *name,
					   struct wa_named_point *ret_point, char *ret_message, size_t message_size);
/* All restore points in the window, the newest first, and no more than the newest WA_RESTORE_POINTS_MAX; malloc'd, NULL when there are none. Waits. */
#define WA_RESTORE_POINTS_MAX 1000u
NF_MUST_CHECK int wa_history_restore_points(struct wa_history *history, struct bd_branch_id branch,
					    struct wa_restore_point **ret_points, size_t *ret_count, char *ret_message,
					    size_t message_size);
/* The time of the last commit at or before lsn; 0 when there is none in the window. Waits. */
NF_MUST_CHECK int wa_history_time_at(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn lsn,
				     int64_t *ret_time_us, char *ret_message, size_t message_size);

/* Points of the history that go with a snapshot: [from, to). All 0: none. */
struct wa_history_loss {
	struct nf_lsn from, to;
	int64_t from_us, to_us; /* when the snapshots were taken; is_all: to_us is now */
	bool is_all; /* it is the only one that replay can start from: history begins again */
};

/* Delete a snapshot of the branch, whoever has made it, as bd_snapshot_delete does; *ret_loss is what history loses by it, written on -ENOTEMPTY too. Waits.
 * -ENOTEMPTY: history begins with it, and it is not forced; nothing was changed. */
NF_MUST_CHECK int wa_history_delete_snapshot(struct wa_history *history, struct bd_branch_id branch, const char *label,
					     bool is_forced, struct wa_history_loss *ret_loss);

/* WAL that others need whatever retention says: keep every segment with bytes of [from, to] in wal/ and its index (of complete ones) until it is
 * released, also when the branch is deleted. `name` (1 to 63 bytes) says whose: a hold of the same name is replaced. Durable on return. */
NF_MUST_CHECK int wa_history_hold(struct wa_history *history, struct bd_branch_id branch, const char *name, struct nf_lsn from,
				  struct nf_lsn to, char *ret_message, size_t message_size);
/* 0 also when there is no such hold. */
NF_MUST_CHECK int wa_history_release(struct wa_history *history, struct bd_branch_id branch, const char *name);

/* A timeline number that this store has never handed out, greater than `above`. Durable on return. */
NF_MUST_CHECK int wa_history_new_timeline(struct wa_history *history, uint32_t above, uint32_t *ret_timeline);

/* Where a reader finds the summaries of its complete segments (walapply/summary), likewise: ".history/<id>/summary". Some may be missing. */
void wa_history_summary_path(struct bd_branch_id branch, char *ret_path, size_t size);

/* Where a reader finds the branch's WAL, as a path below the mount: ".history/<id>/wal" (may not exist yet), then "<branch>/pg_wal". */
void wa_history_wal_path(struct bd_branch_id branch, char *ret_path, size_t size);

#endif
