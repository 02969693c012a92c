/* The shutdown checkpoint with which a cluster starts at LSN X without recovery.
 *
 * The record (114 bytes): header 24; FF, 88; CheckPoint 88 (wa_counters.h). It begins where the next record of the log would: at X, behind a
 * page header where X is the start of a page (24 bytes) or of a segment (40). It may go on on the next page, whose header then says so.
 * Bytes before X stay those of the parent timeline; page headers written here are of the new one.
 * Source: XLogInsertRecord, AdvanceXLInsertBuffer (xlog.c), xlog_internal.h; POSTGRES.md has what Postgres checks when it starts. */
#ifndef WA_CHECKPOINT_H
#define WA_CHECKPOINT_H

#include "walapply/state/wa_counters.h"

#define WA_TAIL_MAX 256u

/* Where the record goes. */
struct wa_checkpoint_place {
	int major;
	uint32_t segment_size;
	uint64_t system_id;
	uint32_t timeline; /* the new one */
	struct nf_lsn end; /* X: the end of the last record that was replayed, a multiple of 8 */
	struct nf_lsn prev; /* where that record began; 0 = not known */
};

/* Bytes to be written into the log at `from`: page headers and the record. */
struct wa_checkpoint_tail {
	struct nf_lsn from;
	struct nf_lsn record; /* where the checkpoint record begins: pg_control points there, and its redo pointer */
	struct nf_lsn end; /* of the record, rounded up to 8 */
	size_t size;
	uint8_t bytes[WA_TAIL_MAX];
};

/* Make the record. In *counters `redo`, `timeline` and `prev_timeline` are set, `oldest_active_xid` becomes 0; the rest is the caller's.
 * Returns 0, or -EINVAL for a major that has no page magic, or an end that no record can follow. Pure. */
NF_MUST_CHECK int wa_checkpoint_make(const struct wa_checkpoint_place *place, uint32_t parent_timeline,
				     struct wa_counters *counters, struct wa_checkpoint_tail *ret_tail);

#endif
