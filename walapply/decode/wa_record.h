/* A decoded WAL record: what everything above the decoder works on.
 *
 * A record is a view: its pointers lead into the caller's WAL bytes, or into the reader's buffer where the record was split over pages,
 * and hold until the reader's next call. Every length here has been checked against the record's bytes: data[0 .. data_len) may be read.
 * What the bytes mean has not been checked: redo and describe read them through bounded cursors (common/nf_cursor.h).
 * Source of the layout: src/include/access/xlogrecord.h and src/backend/access/transam/xlogreader.c of Postgres 13 to 18. */
#ifndef WA_RECORD_H
#define WA_RECORD_H

#include "common/nf_base.h"
#include "common/nf_lsn.h"

#define WA_PAGE_SIZE 8192u /* BLCKSZ; a cluster with another one is refused by name */
#define WA_BLOCKS_MAX 33 /* XLR_MAX_BLOCK_ID + 1 */
#define WA_RECORD_HEADER 24u /* SizeOfXLogRecord */
#define WA_RECORD_MAX (1020u << 20) /* XLogRecordMaxSize of 16 and later; nothing older writes more either */

/* Forks of a relation (ForkNumber). */
enum { WA_FORK_MAIN, WA_FORK_FSM, WA_FORK_VM, WA_FORK_INIT, WA_FORKS };

/* A relation's files: tablespace, database (0 for shared relations), relation file number. */
struct wa_locator {
	uint32_t spc, db, rel;
};

/* One block of one fork. */
struct wa_block {
	struct wa_locator rel;
	uint32_t fork;
	uint32_t blkno;
};

/* How an image is packed, the same for all versions (the bits on disk differ: POSTGRES.md). */
enum wa_compression { WA_PLAIN, WA_PGLZ, WA_LZ4, WA_ZSTD };

/* A block that a record names. */
struct wa_ref {
	struct wa_block block;
	uint8_t id; /* block_id in the record, 0 .. 32; ids may have gaps */
	bool will_init; /* BKPBLOCK_WILL_INIT: redo makes the page from nothing */
	bool has_image;
	bool apply_image; /* the image replaces the page; else it is there to be compared with (wal_consistency_checking) */
	uint8_t compression; /* enum wa_compression */
	uint16_t data_len, image_len;
	uint16_t hole_offset, hole_len; /* bytes of zeros cut out of the image */
	const uint8_t *data; /* data_len bytes; NULL without data */
	const uint8_t *image; /* image_len bytes; NULL without image */
};

struct wa_record {
	struct nf_lsn lsn; /* where it starts (ReadRecPtr) */
	struct nf_lsn end; /* where it ends, rounded up to 8: what redo writes into pd_lsn (EndRecPtr) */
	struct nf_lsn prev; /* xl_prev */
	uint32_t timeline;
	uint32_t tot_len; /* xl_tot_len, the header counted */
	uint32_t xid;
	uint32_t top_xid; /* of a subtransaction's first record (14+); 0 = not told */
	uint8_t rmid;
	uint8_t info; /* whole xl_info; the record's type is in the bits of the resource manager's mask (wa_record_op) */
	uint16_t origin; /* replication origin; 0 = none */
	const uint8_t *bytes; /* tot_len bytes: all of it, as wa_decode_record takes it */
	const uint8_t *main; /* main_len bytes: xl_heap_insert and the like */
	uint32_t main_len;
	unsigned ref_count;
	struct wa_ref refs[WA_BLOCKS_MAX]; /* the first ref_count, by rising id */
};

/* What differs between clusters: filled from pg_control, or from the first page's magic. */
struct wa_version {
	int major; /* 13 .. 18 */
	bool checksums; /* data_checksum_version != 0 */
	bool log_hints; /* wal_log_hints */
};

/* A refusal in words: which record, and what is wrong with it. One line, without a program's name. */
struct wa_error {
	struct nf_lsn lsn;
	char text[200];
};

/* Fill error->text and error->lsn. Returns -EBADMSG, so that `return wa_bad(...)` reads well. */
int wa_bad(struct wa_error *error, struct nf_lsn lsn, const char *format, ...) NF_PRINTF(3, 4);

/* The ref with that block id, or NULL. */
const struct wa_ref *wa_record_ref(const struct wa_record *record, unsigned id);

static inline bool wa_locator_equal(struct wa_locator a, struct wa_locator b)
{
	return a.spc == b.spc && a.db == b.db && a.rel == b.rel;
}

#endif
