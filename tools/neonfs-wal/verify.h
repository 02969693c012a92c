/* Replay beside Postgres's own after-images.
 *
 * WAL written with wal_consistency_checking carries, for every block that a record changes, the page as it must look afterwards. Verification
 * redoes each record on the page as the records before left it, masks both pages as Postgres does, and compares. Where no
 * page is at hand yet (the start, or given up for want of room) the after-image is taken over, so one pass needs nothing but WAL.
 * After a mismatch the after-image is taken over too: one fault is counted once. For one thread. */
#ifndef WAL_VERIFY_H
#define WAL_VERIFY_H

#include "walapply/decode/wa_records.h"

struct wal_verify;

/* What happened to one record type. */
struct wal_verify_count {
	uint64_t records;
	uint64_t redone;     /* blocks changed by a redo function */
	uint64_t restored;   /* blocks replaced by an image */
	uint64_t compared;   /* blocks compared with their after-image */
	uint64_t mismatches; /* of those, different; or refused by redo */
	uint64_t adopted;    /* blocks whose after-image was taken over, nothing to compare */
	uint64_t unchecked;  /* blocks with neither a page nor an image */
};

/* The first difference of one block. The callback's `reason` is set instead when redo or masking refused. */
struct wal_mismatch {
	const struct wa_record *record;
	const struct wa_ref *ref;
	const char *reason; /* NULL: pages differ */
	unsigned offset, differing; /* first differing byte; how many differ */
	const uint8_t *ours, *theirs; /* masked pages */
	const uint8_t *before, *after; /* unmasked: ours after redo, theirs; for files to look at */
};

typedef void (*wal_mismatch_fn)(void *arg, const struct wal_mismatch *mismatch);

/* version is copied. memory_bytes bounds the pages kept. Returns NULL when memory is short. */
struct wal_verify *wal_verify_new(const struct wa_version *version, uint64_t memory_bytes, wal_mismatch_fn on_mismatch, void *arg);
void wal_verify_free(struct wal_verify *verify); /* NULL is legal */

/* Take one record, in LSN order. Returns 0, or -ENOMEM. */
NF_MUST_CHECK int wal_verify_record(struct wal_verify *verify, const struct wa_record *record);

/* One count a row of wa_record_types(), in its order. */
const struct wal_verify_count *wal_verify_counts(const struct wal_verify *verify);
/* Records of custom resource managers or unknown types, not replayed; pages given up for want of room. */
uint64_t wal_verify_foreign(const struct wal_verify *verify);
uint64_t wal_verify_evicted(const struct wal_verify *verify);

#endif
