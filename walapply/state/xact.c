/* Ends of transactions. Main data of COMMIT and ABORT (access/xact.h, ParseCommitRecord and ParseAbortRecord):
 *
 *   time i64; then, if bit 0x80 of xl_info is set: flags u32; then, as the flags say, in this order:
 *   DBINFO 1: db u32, spc u32      SUBXACTS 2: count i32, xids u32[]      RELS 4: count i32, locators 12 bytes[]
 *   STATS 0x100 (15+): count i32, items of 12 bytes (16 from 18 on)       INVALS 8 (commit): count i32, messages of 16 bytes
 *   TWOPHASE 0x10: xid u32, and with GID 0x80 a string and its NUL        ORIGIN 0x20: remote LSN u64, time i64
 *
 * Main data of PREPARE (xl_xact_prepare): magic u32, total_len u32, xid u32, db u32, prepared_at i64, ... */
#include "state_impl.h"

enum { COMMIT = 0x00, PREPARE = 0x10, ABORT = 0x20, COMMIT_PREPARED = 0x30, ABORT_PREPARED = 0x40 };
enum { HAS_INFO = 0x80 }; /* in xl_info */
enum {
	HAS_DBINFO = 0x01,
	HAS_SUBXACTS = 0x02,
	HAS_RELS = 0x04,
	HAS_INVALS = 0x08,
	HAS_TWOPHASE = 0x10,
	HAS_ORIGIN = 0x20,
	HAS_GID = 0x80,
	HAS_STATS = 0x100,
};

#define LOCATOR_SIZE 12
#define INVAL_SIZE 16
#define PREPARE_ORIGIN_13 48 /* offset of origin_lsn in xl_xact_prepare up to 14; 15 put two counts before it */
#define PREPARE_ORIGIN_15 56

struct ending {
	int64_t time_us, origin_time_us;
	uint32_t flags;
	struct wa_xid_list sub;
	const uint8_t *rels;
	uint32_t rel_count;
	uint32_t prepared_xid;
	struct nf_lsn origin_lsn;
};

static void skip_string(struct nf_reader *reader)
{
	size_t left = nf_reader_left(reader);
	const uint8_t *text = nf_read_bytes(reader, 0);
	const uint8_t *end = text != NULL && left > 0 ? memchr(text, 0, left) : NULL;
	if (end == NULL)
		reader->failed = true;
	else
		nf_read_bytes(reader, (size_t)(end - text) + 1);
}

/* A list that is only stepped over. */
static void skip_list(struct nf_reader *reader, uint32_t size)
{
	uint32_t count = nf_read_u32(reader);
	wa_state_list(reader, count, size);
}

static int parse_ending(struct wa_state_call *call, struct ending *ret_ending)
{
	struct nf_reader *main = &call->main;
	struct ending ending = {.time_us = (int64_t)nf_read_u64(main)};
	if (call->record->info & HAS_INFO)
		ending.flags = nf_read_u32(main);
	if (ending.flags & HAS_DBINFO)
		nf_read_bytes(main, 8);
	if (ending.flags & HAS_SUBXACTS) {
		ending.sub.count = nf_read_u32(main);
		ending.sub.xids = wa_state_list(main, ending.sub.count, 4);
	}
	if (ending.flags & HAS_RELS) {
		ending.rel_count = nf_read_u32(main);
		ending.rels = wa_state_list(main, ending.rel_count, LOCATOR_SIZE);
	}
	if (call->version->major >= 15 && ending.flags & HAS_STATS)
		skip_list(main, call->version->major >= 18 ? 16 : 12);
	if (ending.flags & HAS_INVALS)
		skip_list(main, INVAL_SIZE);
	if (ending.flags & HAS_TWOPHASE) {
		ending.prepared_xid = nf_read_u32(main);
		if (ending.flags & HAS_GID)
			skip_string(main);
	}
	if (ending.flags & HAS_ORIGIN) {
		ending.origin_lsn.v = nf_read_u64(main);
		ending.origin_time_us = (int64_t)nf_read_u64(main);
	}
	if (main->failed)
		return wa_state_bad(call, "the end of a transaction is cut short");
	*ret_ending = ending;
	return 0;
}

/* A transaction's end, in the order of xact_redo_commit: times, status, origin, files, prepared state. */
static int end_transaction(struct wa_state_call *call, bool committed, bool prepared)
{
	struct ending ending = {0};
	int error = parse_ending(call, &ending);
	if (error < 0)
		return error;
	uint32_t xid = prepared ? ending.prepared_xid : call->record->xid;
	bool has_origin = ending.flags & HAS_ORIGIN;
	if (committed) {
		struct wa_state_op op = {.kind = WA_OP_COMMIT_TS,
					 .commit_ts = {.xid = xid, .sub = ending.sub, .origin = call->record->origin}};
		op.commit_ts.time_us = has_origin ? ending.origin_time_us : ending.time_us;
		error = wa_state_emit(call, op);
	}
	if (error == 0)
		error = wa_state_emit(call,
				      (struct wa_state_op){.kind = WA_OP_XACT,
							   .xact = {.status = committed ? WA_XACT_COMMITTED : WA_XACT_ABORTED,
								    .xid = xid,
								    .sub = ending.sub}});
	if (error == 0 && has_origin)
		error = wa_state_emit(call,
				      (struct wa_state_op){.kind = WA_OP_ORIGIN,
							   .origin = {.id = call->record->origin, .remote = ending.origin_lsn}});
	if (error == 0 && ending.rel_count > 0)
		error = wa_state_emit(call, (struct wa_state_op){.kind = WA_OP_REL_DROP,
								 .drop = {.locators = ending.rels, .count = ending.rel_count}});
	if (error == 0 && prepared)
		error = wa_state_emit(call, (struct wa_state_op){.kind = WA_OP_PREPARED_END, .prepare = {.xid = xid}});
	return error;
}

static int prepare(struct wa_state_call *call)
{
	const struct wa_record *record = call->record;
	struct nf_reader origin = nf_reader_init(record->main, record->main_len);
	nf_read_bytes(&call->main, 8);
	uint32_t xid = nf_read_u32(&call->main);
	nf_read_bytes(&origin, call->version->major >= 15 ? PREPARE_ORIGIN_15 : PREPARE_ORIGIN_13);
	struct nf_lsn remote = {nf_read_u64(&origin)};
	if (call->main.failed || origin.failed)
		return wa_state_bad(call, "a prepared transaction is cut short");
	int error = wa_state_emit(call,
				  (struct wa_state_op){.kind = WA_OP_PREPARE,
						       .prepare = {.xid = xid, .data = record->main, .size = record->main_len}});
	if (error == 0 && record->origin != 0)
		error = wa_state_emit(
			call, (struct wa_state_op){.kind = WA_OP_ORIGIN, .origin = {.id = record->origin, .remote = remote}});
	return error;
}

int wa_state_xact(struct wa_state_call *call)
{
	switch (call->op) {
	case COMMIT:
	case COMMIT_PREPARED: return end_transaction(call, true, call->op == COMMIT_PREPARED);
	case ABORT:
	case ABORT_PREPARED: return end_transaction(call, false, call->op == ABORT_PREPARED);
	case PREPARE: return prepare(call);
	default: return 0; /* assignments and invalidations concern running servers only */
	}
}
