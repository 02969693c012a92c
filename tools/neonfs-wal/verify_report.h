/* What `neonfs-wal verify` prints: blocks that differ, as they are found, and the table of record types at the end. */
#ifndef WAL_VERIFY_REPORT_H
#define WAL_VERIFY_REPORT_H

#include "tools/neonfs-wal/source.h"
#include "tools/neonfs-wal/verify.h"

struct wal_verify_report {
	int major;
	uint64_t limit; /* blocks told in detail */
	uint64_t told;
	int save_directory; /* descriptor; -1 = pages are not saved */
	int save_error; /* -errno of the first page that could not be saved */
	json_t *list; /* --json: what was told; else NULL */
};

/* A wal_mismatch_fn; arg is a struct wal_verify_report. */
void wal_verify_tell(void *arg, const struct wal_mismatch *mismatch);

/* Sums over all record types. */
struct wal_verify_count wal_verify_sum(const struct wal_verify *verify);

/* The table, and a line that sums it up. */
void wal_verify_print(const struct wal_verify_report *report, const struct wal_verify *verify, const struct wal_source *source);
/* The same as one JSON object, on stdout. */
void wal_verify_print_json(const struct wal_verify_report *report, const struct wal_verify *verify,
			   const struct wal_source *source);

#endif
