/* The journal: what of the index cannot be found in extents, kept in a file of its own, so that a lost index can be made again.
 *
 * File meta: a dump of every record that is not a block version, and behind it what changed, a batch a checkpoint. When the changes
 * outgrow the dump, a new file (meta.new) takes its place. Records, each a multiple of 4096 bytes, little-endian:
 *   off size
 *     0    4  magic "NFJ1"
 *     4    4  flags: 1 = the last record of a batch
 *     8    4  size of the record
 *    12    4  size of the items
 *    16    8  store id
 *    24    8  number: one more than that of the record before
 *    32    8  generation of the log when it was written; never falls
 *    40    8  XXH3 of the items
 *    48    8  reserved, 0
 *    56    8  XXH3 of bytes 0 to 55
 *    64       items: type u8, size u32, body; PUT and DELETE as in the log (log/record.h), and
 *               16 HOLES      branch u32, file u64, block u32, epoch u32, count u32, sequence u64
 *               17 POSITION   replay, retain, generation u64, next branch u32, next extent u32; the last item of a batch
 *
 * Invariants:
 *   1. A batch is durable before the index's positions that belong to it, and before any of the log that it covers is given up.
 *   2. A batch holds only what is durable in the log.
 *   So: everything before POSITION.replay is in the journal, and from POSITION.retain on the ring is whole.
 * Threading: `lock` guards the buffer of notes; the rest belongs to checkpoints (store->checkpoint_lock). */
#ifndef BD_JOURNAL_H
#define BD_JOURNAL_H

#include "blockdev/bd_impl.h"

enum bd_journal_item { BD_JOURNAL_HOLES = 16, BD_JOURNAL_POSITION };

struct bd_journal_position {
	struct bd_log_position log;
	uint32_t next_branch, next_extent;
};

/* Before recovery: find the end of the file. A missing or damaged one is written anew by the next checkpoint. `replay` is where the index
 * says that replay begins. Not for read-only stores. */
NF_MUST_CHECK int bd_journal_open(struct bd_store *store, uint64_t replay);
void bd_journal_close(struct bd_store *store);

/* Items that are about to be appended to the log, under kv_lock shared (or recovery), and under the locks of the things they change. */
void bd_journal_note(struct bd_store *store, const void *items, size_t size);
/* The same for one item. */
void bd_journal_note_item(struct bd_store *store, uint8_t type, const void *body, size_t size);
/* Part of a checkpoint: a batch with all notes, durable. `filled`: every change with a sequence up to it is in the index. No locks but
 * checkpoint_lock held. */
NF_MUST_CHECK int bd_journal_checkpoint(struct bd_store *store, const struct bd_journal_position *position, uint64_t filled);

/* ---- reading (load.c) */
struct bd_journal_end {
	bool whole;			/* a complete batch was found; else the rest says nothing */
	struct bd_journal_position position; /* of the last complete batch */
	uint64_t end, first_end;	/* behind the last complete batch; behind the first */
	uint64_t number, generation;	/* of the last record */
};
typedef int (*bd_journal_item_fn)(void *arg, uint8_t type, struct nf_reader body);
/* Where the file ends: behind the last complete batch. */
NF_MUST_CHECK int bd_journal_find_end(struct nf_io *io, struct nf_file *file, uint64_t store_id,
				      struct bd_journal_end *ret_end);
/* Every item up to `end`, in order. -EUCLEAN when one of them is damaged. */
NF_MUST_CHECK int bd_journal_read(struct nf_io *io, struct nf_file *file, uint64_t store_id, uint64_t end,
				  bd_journal_item_fn item, void *arg);
NF_MUST_CHECK int bd_journal_holes_parse(struct nf_reader body, struct bd_block_id *ret_first, uint32_t *ret_count,
					 uint64_t *ret_sequence);

/* ---- inside of journal/ */
#define BD_JOURNAL_FILE "meta"
#define BD_JOURNAL_NEW_FILE "meta.new"
#define BD_JOURNAL_MAGIC 0x314a464eu /* "NFJ1" */
#define BD_JOURNAL_LAST 1u
#define BD_JOURNAL_HEADER 64u
#define BD_JOURNAL_RECORD_MAX (1u << 20)

#endif
