/* The log: one preallocated ring file that makes things durable in order, one device flush a group of commits.
 *
 * What goes through it: every index change of the namespace (as key/value items), the description of every block
 * version once its bytes are durable in an extent, and the bytes themselves of small hot writes (a Postgres WAL
 * page is one), so that their fsync costs one write and one flush of a file whose blocks are long allocated.
 *
 * Positions (LSN here, not Postgres's) are byte counts since the store was made; the place in the file is
 * position mod ring size. Records never wrap: a pad record fills the end of the ring.
 *
 * Record, all little-endian, every size a multiple of 4096 (NF_IO_ALIGN):
 *   off size
 *     0    4  magic "NFL1"
 *     4    4  flags: 1 = pad
 *     8    8  position of this record
 *    16    4  size of the whole record
 *    20    4  payload blocks (8 KiB each), right behind this page
 *    24    4  size of the items
 *    28    4  0 = items in this page from offset 80; 1 = items behind the payload, zero-filled to 4096
 *    32    8  position known durable when this record was written
 *    40    8  store id
 *    48    8  generation: rises at each open, so that leftovers of an earlier life are never taken for news
 *    56    8  XXH3 of the items
 *    64    8  reserved, 0
 *    72    8  XXH3 of bytes 0 to 71
 *    80       items
 * Item: type u8, size u32, body (see record.h).
 *
 * Invariants:
 *   1. Records become durable in order: what recovery finds is a prefix of what was appended.
 *   2. One write is in flight at a time (the leader's); others wait or fill the next record.
 *   3. After a failed write or flush nothing is acknowledged any more until the store is opened anew.
 * Threading: `lock` guards all fields; the leader drops it around I/O. */
#ifndef BD_LOG_H
#define BD_LOG_H

#include "blockdev/bd.h"
#include "blockdev/index/key.h"

#define BD_LOG_MIN_BYTES (UINT64_C(16) << 20)
#define BD_LOG_RECORD_BLOCKS 128u
#define BD_LOG_ITEMS_MAX (512u << 10)
#define BD_LOG_RECORD_MAX (NF_IO_ALIGN + BD_LOG_RECORD_BLOCKS * NF_BLOCK_SIZE + BD_LOG_ITEMS_MAX)

struct bd_log;

struct bd_log_position {
	uint64_t replay;	/* records from here on may be missing in the index */
	uint64_t retain;	/* inline blocks from here on may still be referred to; <= replay */
	uint64_t generation;
};

/* Make the ring file, zero-filled and durable. */
NF_MUST_CHECK int bd_log_format(struct nf_io *io, uint64_t ring_bytes);
NF_MUST_CHECK int bd_log_open(struct nf_io *io, uint64_t store_id, const struct bd_log_position *position,
			      struct bd_log **ret_log);
void bd_log_close(struct bd_log *log);

/* Called for each item of each record from position.retain on. `replay` is false for records before
 * position.replay. `body` is bounded; a non-zero return ends the scan and is returned. When it ends with an error, bd_log_tail says where. */
typedef int (*bd_log_item_fn)(void *arg, uint64_t lsn, bool replay, uint8_t type, struct nf_reader body);
/* Read the ring after open, set the end. -EUCLEAN: damaged in the middle (message logged). Afterwards appends may run;
 * they carry a new generation. */
NF_MUST_CHECK int bd_log_recover(struct bd_log *log, bd_log_item_fn item, void *arg);

/* Instead of use: make everything from position `from` on unreadable as records, so that the log ends there. */
NF_MUST_CHECK int bd_log_cut(struct bd_log *log, uint64_t from);

/* Append items (encoded by record.h) as one atomic part of a record. They are durable once bd_log_sync(log, *ret_ticket)
 * has returned 0. -EIO after a failure. */
NF_MUST_CHECK int bd_log_append(struct bd_log *log, const void *items, size_t size, uint64_t *ret_ticket);
/* Append `count` whole blocks (<= BD_LOG_RECORD_BLOCKS) of one file, ids consecutive from `first`, as payload with their run item, and
 * `items` with them. *ret_loc is the place of the first. */
NF_MUST_CHECK int bd_log_append_blocks(struct bd_log *log, const struct bd_block_id *first, unsigned count,
				       const void *data, const uint64_t *sums, const void *items, size_t size,
				       uint64_t *ret_loc, uint64_t *ret_ticket);
/* Make everything up to `ticket` durable; UINT64_MAX = everything appended so far. */
NF_MUST_CHECK int bd_log_sync(struct bd_log *log, uint64_t ticket);
/* Read `count` blocks of one record, of which the first is at `loc`. Returns 0: they are in buf (NF_IO_ALIGN-aligned) already; 1: run *ret_op, and
 * then mind that the ring may have come round, which only checksums tell; -ESTALE: given up already; -EUCLEAN: no such place. */
NF_MUST_CHECK int bd_log_read_op(struct bd_log *log, uint64_t loc, unsigned count, void *buf, struct nf_io_op *ret_op);
bool bd_log_is_retained(struct bd_log *log, uint64_t loc);

/* The record at position `lsn`, which is one's beginning before the durable end: its bytes as they are in the ring (of a pad the first page, then zeros), checked. It
 * may lie before `retain`, as long as it has not been written over.
 * buf        BD_LOG_RECORD_MAX bytes, NF_IO_ALIGN-aligned
 * *ret_size  the record's; the next one is at lsn + *ret_size
 * *ret_items for bd_log_next_item; in buf
 * Returns 0; -ESTALE the ring has come round over it; -EUCLEAN it is damaged; -EIO. Thread-safe, beside appends. */
NF_MUST_CHECK int bd_log_read_record(struct bd_log *log, uint64_t lsn, void *buf, uint32_t *ret_size, struct nf_reader *ret_items);
/* The next item of a record. False at the end; `items->failed` when the bytes make no sense. */
NF_MUST_CHECK bool bd_log_next_item(struct nf_reader *items, uint8_t *ret_type, struct nf_reader *ret_body);
/* Would bd_log_read_record(lsn) still find it? */
bool bd_log_is_there(struct bd_log *log, uint64_t lsn);

/* What one operation may append between bd_log_enter and bd_log_leave. A few may take more: there is some slack. */
#define BD_LOG_CLAIM_BYTES (384u << 10)
/* Claim room for one operation, waiting for it. No lock may be held that making room needs (docs/locking.md). */
NF_MUST_CHECK int bd_log_enter(struct bd_log *log);
void bd_log_leave(struct bd_log *log);
/* More than half full: time to make room. */
bool bd_log_is_long(struct bd_log *log);
/* Around the work that makes room: it may fill the ring to its end. */
void bd_log_make_room(struct bd_log *log, bool begin);
/* Making room failed (or, with 0, does not any more): those who wait for it get `error`. */
void bd_log_set_room_error(struct bd_log *log, int error);
/* Positions moved forward by a checkpoint: wakes those who wait for room. */
void bd_log_release(struct bd_log *log, uint64_t replay, uint64_t retain);
/* Wake the waiters with an error (store failed or closing). */
void bd_log_fail(struct bd_log *log, int error);

uint64_t bd_log_tail(struct bd_log *log);
uint64_t bd_log_durable(struct bd_log *log);
/* As the last checkpoint left them; the generation is this life's. */
void bd_log_positions(struct bd_log *log, struct bd_log_position *ret_position);
uint64_t bd_log_retain(struct bd_log *log);
uint64_t bd_log_generation(struct bd_log *log);
uint64_t bd_log_ring_bytes(struct bd_log *log);
uint64_t bd_log_sync_count(struct bd_log *log);

#endif
