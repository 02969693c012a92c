/* The counters that the next checkpoint needs, followed through WAL.
 *
 * A data directory that starts at LSN X without recovery gets a checkpoint with these values. The next transaction id is the critical one: too
 * low, and Postgres would give ids out twice and bring rows of the past back. So every id that any record names pushes it up.
 * CheckPoint (catalog/pg_control.h), 88 bytes in 13 to 18: redo 0, timeline 8, previous timeline 12, full_page_writes 16, wal_level 20
 * (17+), next xid 24 (64 bits), next oid 32, next multi 36, next multi offset 40, oldest xid 44 and its database 48, oldest multi 52 and
 * its database 56, time 64 (s since 1970), oldest and newest commit-timestamp xid 72, 76, oldest running xid 80.
 * Source of the rules: xlog_redo, and what calls AdvanceNextFullTransactionIdPastXid and MultiXactAdvanceNextMXact. */
#ifndef WA_COUNTERS_H
#define WA_COUNTERS_H

#include "walapply/state/wa_state.h"

#define WA_CHECKPOINT_SIZE 88u

struct wa_counters {
	struct nf_lsn redo; /* of the last checkpoint seen */
	uint32_t timeline, prev_timeline;
	bool full_page_writes;
	int32_t wal_level; /* 17+ */
	uint64_t next_xid; /* epoch in the upper half */
	uint32_t next_oid;
	uint32_t next_multi, next_multi_offset;
	uint32_t oldest_xid, oldest_xid_db;
	uint32_t oldest_multi, oldest_multi_db;
	int64_t time_s;
	uint32_t oldest_commit_ts, newest_commit_ts;
	uint32_t oldest_active_xid;
};

/* From and to the bytes of a CheckPoint. size: at least WA_CHECKPOINT_SIZE; -EBADMSG else. */
NF_MUST_CHECK int wa_counters_load(const struct wa_version *version, const uint8_t *bytes, size_t size,
				   struct wa_counters *ret_counters);
void wa_counters_store(const struct wa_version *version, const struct wa_counters *counters, uint8_t bytes[WA_CHECKPOINT_SIZE]);

/* Take one record, in LSN order. Returns 0, or -EBADMSG (error). */
NF_MUST_CHECK int wa_counters_advance(struct wa_counters *counters, const struct wa_version *version,
				      const struct wa_record *record, struct wa_error *error);

/* The same in parts, for who has them without their record: an xid that is named, and an operation of wa_state_ops. */
void wa_counters_pass_xid(struct wa_counters *counters, uint32_t xid);
void wa_counters_take(struct wa_counters *counters, const struct wa_state_op *op);

/* The 64-bit form of an xid that is near next_xid, before or behind it. */
uint64_t wa_counters_full_xid(const struct wa_counters *counters, uint32_t xid);

#endif
