/* Replay beside Postgres's own after-images.
 *
 * WAL written with wal_consistency_checking carries, for every block that a record changes, the page as it must look afterwards. Verification
 * redoes each record on the page as the records before left it, masks both pages as Postgres does, and compares. Where no
 * page is at hand yet (the start, or given up for want of room) the after-image is taken over, so one pass needs nothing but WAL.
 * After a mismatch the after-image is taken over too: one fault is counted once.
 *
 * In one thing an after-image may run ahead of the log: early_clear.h.
 *
 * Resource managers may be left out: of their records the after-images are taken over, and no redo function of theirs is called. For one
 * thread. */
#ifndef WAL_VERIFY_H
#define WAL_VERIFY_H

#include "walapply/decode/wa_records.h"

struct wal_verify;

/* What happened to one record type. */
struct wal_verify_count {
	uint64_t records;
	uint64_t redone; /* blocks changed by a redo function */
	uint64_t restored; /* blocks replaced by an image */
	uint64_t compared; /* blocks compared with their after-image */
	uint64_t mismatches; /* of those, different; or refused by redo */
	uint64_t early; /* compared pages of the visibility map that lacked bits which a later record cleared */
	uint64_t adopted; /* blocks whose image was taken over: nothing to compare with, or a manager left out */
	uint64_t unchecked; /* blocks with neither a page nor an image */
};

/* One block that is not as Postgres had it, or that redo or masking refused: then `reason` says why, and offset and differing mean nothing. */
struct wal_mismatch {
	const struct wa_record *record;
	const struct wa_ref *ref;
	const char *reason; /* NULL: pages differ */
	unsigned offset, differing; /* first differing byte of the masked pages; how many differ */
	const uint8_t *ours, *theirs; /* masked; NULL with a reason */
	/* Unmasked: the page as the record found it, as redo left it, as Postgres had it. NULL where there is none. */
	const uint8_t *page_before, *page_ours, *page_theirs;
};

typedef void (*wal_mismatch_fn)(void *arg, const struct wal_mismatch *mismatch);

struct wal_verify_options {
	uint64_t memory_bytes; /* bounds the pages kept */
	const bool *rmgrs; /* 256: which managers' records are redone and compared; copied. NULL = all */
	wal_mismatch_fn on_mismatch; /* or NULL */
	void *arg;
};

/* version is copied. Returns NULL when memory is short. */
struct wal_verify *wal_verify_new(const struct wa_version *version, const struct wal_verify_options *options);
void wal_verify_free(struct wal_verify *verify); /* NULL is legal */

/* Take one record, in LSN order. Returns 0, or -ENOMEM. */
NF_MUST_CHECK int wal_verify_record(struct wal_verify *verify, const struct wa_record *record);

/* The log has ended: report what still waited for a record to come (early_clear.h). */
void wal_verify_finish(struct wal_verify *verify);

/* One count a row of wa_record_types(), in its order. */
const struct wal_verify_count *wal_verify_counts(const struct wal_verify *verify);
/* Records of custom resource managers or unknown types, not replayed; pages given up for want of room. */
uint64_t wal_verify_foreign(const struct wal_verify *verify);
uint64_t wal_verify_evicted(const struct wal_verify *verify);

#endif
