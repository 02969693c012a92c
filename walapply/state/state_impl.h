/* Inside state: one record being turned into operations. Nobody outside state/ includes this. */
#ifndef WA_STATE_IMPL_H
#define WA_STATE_IMPL_H

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"
#include "walapply/state/wa_state.h"

struct wa_state_call {
	const struct wa_version *version;
	const struct wa_record *record;
	uint8_t op; /* record->info & op_mask */
	struct nf_reader main;
	wa_state_fn each;
	void *arg;
	struct wa_error *error;
};

/* Hand one operation on, lsn and end filled in. */
int wa_state_emit(struct wa_state_call *call, struct wa_state_op op);

/* Refuse a record that is too short or says what cannot be. Returns -EBADMSG. */
int wa_state_bad(struct wa_state_call *call, const char *what);

/* A list of `count` elements of `size` bytes from the reader: NULL and failed when they are not there. */
const uint8_t *wa_state_list(struct nf_reader *reader, uint32_t count, uint32_t size);

int wa_state_xact(struct wa_state_call *call);

#endif
