/* What WAL changes outside of relation pages: transaction status, multixacts, commit timestamps, files that come and go, maps, prepared
 * transactions, replication origins.
 *
 * wa_state_ops() turns one record into a few plain operations; who keeps the files carries them out (walapply/pitr, `neonfs-wal replay`).
 * wa_slru.h carries out those on pages of the status logs, wa_counters.h follows the counters that the next checkpoint needs.
 * Operations must be carried out in the order of the log. All of them may be carried out again from any earlier point on: the end is
 * the same (recovery starts from a base that already has some of them).
 * Pointers in an operation lead into the record. Integers in byte arrays are little-endian and may be unaligned. Pure; thread-safe.
 * Sources: the *_redo functions of each manager: xact.c, storage.c, clog.c, commit_ts.c, multixact.c, dbcommands.c, tablespace.c,
 * relmapper.c, twophase.c, origin.c, rewriteheap.c of Postgres 13 to 18. */
#ifndef WA_STATE_H
#define WA_STATE_H

#include "walapply/decode/wa_record.h"

/* The status logs (SLRUs) that recovery needs. pg_subtrans is not one: it starts empty. */
enum wa_slru { WA_SLRU_XACT, WA_SLRU_OFFSETS, WA_SLRU_MEMBERS, WA_SLRU_COMMIT_TS, WA_SLRUS };

enum wa_xact_status { WA_XACT_RUNNING = 0, WA_XACT_COMMITTED = 1, WA_XACT_ABORTED = 2 };

enum wa_state_kind {
	WA_OP_XACT, /* a transaction with its subtransactions ended */
	WA_OP_PREPARE, /* a prepared transaction is there */
	WA_OP_PREPARED_END, /* and is gone */
	WA_OP_COMMIT_TS, /* commit times */
	WA_OP_MULTI, /* a multixact with its members */
	WA_OP_SLRU_ZERO, /* a page of a status log begins */
	WA_OP_SLRU_TRUNCATE, /* what lies before a page may go */
	WA_OP_REL_CREATE, /* a fork's file exists (empty, if it is new) */
	WA_OP_REL_TRUNCATE, /* a relation is cut */
	WA_OP_REL_DROP, /* all forks of relations are gone */
	WA_OP_DB_COPY, /* a database's directory in one tablespace is a copy of another, as that is at this moment */
	WA_OP_DB_CREATE, /* a database's directory exists; its pages are logged one by one */
	WA_OP_DB_DROP, /* a database's directories are gone */
	WA_OP_SPACE_CREATE, /* a tablespace: symbolic link, or directory where the path is empty */
	WA_OP_SPACE_DROP,
	WA_OP_RELMAP, /* the whole map file of a database, or the shared one */
	WA_OP_ORIGIN, /* a replication origin has come to a position */
	WA_OP_ORIGIN_DROP,
	WA_OP_MAPPING, /* bytes of a logical-rewrite mapping file */
	WA_OP_PARAMETERS /* settings that pg_control keeps */
};

struct wa_xid_list {
	const uint8_t *xids; /* 4 bytes each */
	uint32_t count;
};

struct wa_state_op {
	enum wa_state_kind kind;
	struct nf_lsn lsn, end; /* of the record */
	union {
		struct {
			enum wa_xact_status status;
			uint32_t xid;
			struct wa_xid_list sub;
		} xact; /* XACT */
		struct {
			uint32_t xid;
			uint64_t full_xid; /* 0: the caller knows the epoch (wa_counters) */
			const uint8_t *data; /* main data of the PREPARE record; the file is these bytes and their CRC-32C */
			uint32_t size;
		} prepare; /* PREPARE; PREPARED_END has xid only */
		struct {
			uint32_t xid;
			struct wa_xid_list sub;
			int64_t time_us; /* since 2000-01-01 */
			uint16_t origin;
		} commit_ts;
		struct {
			uint32_t mid, offset, count;
			const uint8_t *members; /* count of (xid u32, status u32) */
		} multi;
		struct {
			enum wa_slru slru;
			int64_t page; /* ZERO: this page; TRUNCATE: the first page that stays; OFFSETS and MEMBERS: see first .. end below */
			uint32_t start,
				limit; /* TRUNCATE of OFFSETS (multixact ids) and MEMBERS (offsets): [start, limit) goes */
		} slru;
		struct {
			struct wa_locator rel;
			uint32_t fork; /* REL_CREATE */
			uint32_t blocks; /* REL_TRUNCATE: new length of the main fork */
			uint32_t forks; /* REL_TRUNCATE: bit 0 main, bit 1 visibility map, bit 2 free space map */
		} rel; /* REL_CREATE, REL_TRUNCATE */
		struct {
			const uint8_t *locators; /* count of (spc u32, db u32, rel u32) */
			uint32_t count;
		} drop; /* REL_DROP */
		struct {
			uint32_t db, spc; /* DB_COPY: the new one */
			uint32_t from_db, from_spc; /* DB_COPY */
			const uint8_t *spaces; /* DB_DROP: count of u32 */
			uint32_t count;
		} db;
		struct {
			uint32_t spc;
			const char *path; /* CREATE: path_size bytes, no NUL inside; empty = in place */
			uint32_t path_size;
		} space;
		struct {
			uint32_t db, spc; /* db 0: global/ */
			const uint8_t *data;
			uint32_t size;
		} relmap;
		struct {
			uint16_t id;
			struct nf_lsn remote;
			bool backward; /* may go back */
		} origin;
		struct {
			uint32_t xid, db, rel;
			struct nf_lsn start;
			uint32_t record_xid;
			uint64_t offset;
			const uint8_t *data;
			uint32_t size;
		} mapping;
		struct {
			int32_t max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts, max_locks_per_xact,
				wal_level;
			bool wal_log_hints, track_commit_timestamp;
		} parameters;
	};
};

/* Called for each operation of a record, in order. A negative return stops and is passed on. */
typedef int (*wa_state_fn)(void *arg, const struct wa_state_op *op);

/* Call `each` for every operation of `record`; most records have none.
 * Returns 0; -EBADMSG the record's bytes are not what its type has (error); what `each` returned. */
NF_MUST_CHECK int wa_state_ops(const struct wa_version *version, const struct wa_record *record, wa_state_fn each, void *arg,
			       struct wa_error *error);

#endif
