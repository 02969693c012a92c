/* Pages of the status logs (pg_xact and its likes) in memory, and their files. For one thread. */
#ifndef REPLAY_SLRU_H
#define REPLAY_SLRU_H

#include "walapply/state/wa_counters.h"
#include "walapply/state/wa_slru.h"

struct rp_slru;

/* root: descriptor of the data directory, which stays the caller's. NULL when memory is short. */
struct rp_slru *rp_slru_new(int root, int major);
void rp_slru_free(struct rp_slru *slru); /* NULL is legal; what was not flushed is lost */

/* Carry out XACT, COMMIT_TS, MULTI, SLRU_ZERO or SLRU_TRUNCATE; others are passed over. Returns 0 or -errno. */
NF_MUST_CHECK int rp_slru_apply(struct rp_slru *slru, const struct wa_state_op *op);
/* Transactions first .. first + count - 1 ended so. Returns 0 or -errno. */
NF_MUST_CHECK int rp_slru_ended(struct rp_slru *slru, enum wa_xact_status status, uint32_t first, uint32_t count);
/* Have page `page` exist, zeros where it did not. */
NF_MUST_CHECK int rp_slru_have(struct rp_slru *slru, enum wa_slru kind, int64_t page);
/* Remove all files of a status log. */
NF_MUST_CHECK int rp_slru_clear(struct rp_slru *slru, enum wa_slru kind);
/* What Postgres does at the end of recovery (TrimCLOG in clog.c, TrimMultiXact in multixact.c): nothing is left behind the next ids. */
NF_MUST_CHECK int rp_slru_trim(struct rp_slru *slru, const struct wa_counters *counters);
/* Write all changed pages. */
NF_MUST_CHECK int rp_slru_flush(struct rp_slru *slru);

#endif
