/* pg_control: what a cluster says of itself, and where its recovery starts.
 *
 *     0 system id u64    8 version u32   12 catalog u32   16 state i32   24 time i64 (s since 1970)   32 checkpoint LSN   40 its copy, 88
 *   128 unlogged LSN   136 minimum recovery LSN   144 its timeline u32   152 backup start   160 backup end   168 backup end required u8
 *   172 wal_level i32   176 wal_log_hints u8   180 connections i32   184 worker processes   188 wal senders   192 prepared transactions
 *   196 locks a transaction   200 track_commit_timestamp u8   216 block size u32   220 blocks a segment   224 WAL block size
 *   228 WAL segment size   252 checksum version u32   288 CRC-32C of what is before (18: 292, after the signedness of char)
 *
 * The file has 8192 bytes, zeros behind the CRC. Source: src/include/catalog/pg_control.h of 13 to 18. */
#ifndef WA_CONTROL_H
#define WA_CONTROL_H

#include "walapply/state/wa_counters.h"

#define WA_CONTROL_FILE_SIZE 8192u

/* DBState */
enum wa_cluster_state {
	WA_STARTUP,
	WA_SHUT_DOWN,
	WA_SHUT_DOWN_IN_RECOVERY,
	WA_SHUTTING_DOWN,
	WA_CRASH_RECOVERY,
	WA_ARCHIVE_RECOVERY,
	WA_IN_PRODUCTION
};

struct wa_parameters {
	int32_t wal_level, max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts, max_locks_per_xact;
	bool wal_log_hints, track_commit_timestamp;
};

struct wa_control {
	uint64_t system_id;
	uint32_t version, catalog;
	int32_t state; /* enum wa_cluster_state */
	int64_t time_s;
	struct nf_lsn checkpoint; /* where the record of the last checkpoint begins */
	struct wa_counters copy; /* what it says */
	struct nf_lsn min_recovery;
	uint32_t min_recovery_timeline;
	struct nf_lsn backup_start, backup_end;
	bool backup_end_required;
	struct wa_parameters parameters;
	uint32_t block_size, segment_blocks, wal_block_size, wal_segment_size;
	uint32_t checksum_version; /* 0 = pages have no checksums */
};

/* Take the file apart. major: of PG_VERSION; the file's own version must fit it.
 * Returns 0; -EBADMSG too short, a bad CRC, or another version or page size than can be replayed (error says which). */
NF_MUST_CHECK int wa_control_load(int major, const uint8_t *bytes, size_t size, struct wa_control *ret_control,
				  struct wa_error *error);

/* Write what *control says over the file's bytes, which stay as they are where struct wa_control has no field, and make the CRC. The
 * fields that describe the cluster (system_id, version, catalog, the sizes, checksum_version) are not written. */
void wa_control_store(int major, const struct wa_control *control, uint8_t bytes[WA_CONTROL_FILE_SIZE]);

#endif
