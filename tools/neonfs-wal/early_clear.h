/* Bits of the visibility map that a server cleared before it logged why.
 *
 * Postgres clears the bits of a heap block first and writes the record that tells so next (heap_delete, heap_update and the like in
 * src/backend/access/heap/heapam.c: visibilitymap_clear before XLogInsert). Between the two, another process may log something about the
 * same page of the map, and the after-image in that record lacks bits that replay has still to clear. That is no fault, as long as the record that
 * clears them follows. Such bits are noted here until it does. For one thread. */
#ifndef WAL_EARLY_CLEAR_H
#define WAL_EARLY_CLEAR_H

#include "walapply/redo/wa_redo.h"

#define WAL_EARLY_MAX 256 /* more at a time are faults: every one is a process between two steps */

struct wal_early_clear {
	struct wa_implied implied; /* what the record to come will clear */
	struct nf_lsn lsn; /* of the record whose image lacked it */
	uint8_t rmid, info, ref_id;
};

struct wal_early {
	struct wal_early_clear list[WAL_EARLY_MAX];
	unsigned count;
};

/* Are all differences between the two pages of the visibility map bits that `theirs` lacks? If so note them. ref: the map page, of record.
 * Returns false, with nothing noted, when something else differs or there is no room. */
bool wal_early_note(struct wal_early *early, const struct wa_record *record, const struct wa_ref *ref, const uint8_t *ours,
		    const uint8_t *theirs);

/* A record clears bits: those noted are explained. */
void wal_early_explain(struct wal_early *early, const struct wa_implied *implied);

#endif
