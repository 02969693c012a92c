#include "walapply/state/wa_counters.h"

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"

#define FIRST_NORMAL_XID 3u
#define FIRST_MULTI 1u

int wa_counters_load(const struct wa_version *version, const uint8_t *bytes, size_t size, struct wa_counters *ret_counters)
{
	struct nf_reader reader = nf_reader_init(bytes, size);
	struct wa_counters counters = {.redo = {nf_read_u64(&reader)}};
	counters.timeline = nf_read_u32(&reader);
	counters.prev_timeline = nf_read_u32(&reader);
	counters.full_page_writes = nf_read_u8(&reader) != 0;
	nf_read_bytes(&reader, 3);
	uint32_t wal_level = nf_read_u32(&reader);
	counters.wal_level = version->major >= 17 ? (int32_t)wal_level : 0;
	counters.next_xid = nf_read_u64(&reader);
	counters.next_oid = nf_read_u32(&reader);
	counters.next_multi = nf_read_u32(&reader);
	counters.next_multi_offset = nf_read_u32(&reader);
	counters.oldest_xid = nf_read_u32(&reader);
	counters.oldest_xid_db = nf_read_u32(&reader);
	counters.oldest_multi = nf_read_u32(&reader);
	counters.oldest_multi_db = nf_read_u32(&reader);
	nf_read_u32(&reader);
	counters.time_s = (int64_t)nf_read_u64(&reader);
	counters.oldest_commit_ts = nf_read_u32(&reader);
	counters.newest_commit_ts = nf_read_u32(&reader);
	counters.oldest_active_xid = nf_read_u32(&reader);
	if (reader.failed)
		return -EBADMSG;
	*ret_counters = counters;
	return 0;
}

void wa_counters_store(const struct wa_version *version, const struct wa_counters *counters, uint8_t bytes[WA_CHECKPOINT_SIZE])
{
	struct nf_writer writer = nf_writer_init(bytes, WA_CHECKPOINT_SIZE);
	nf_write_u64(&writer, counters->redo.v);
	nf_write_u32(&writer, counters->timeline);
	nf_write_u32(&writer, counters->prev_timeline);
	nf_write_u32(&writer, counters->full_page_writes);
	nf_write_u32(&writer, version->major >= 17 ? (uint32_t)counters->wal_level : 0);
	nf_write_u64(&writer, counters->next_xid);
	nf_write_u32(&writer, counters->next_oid);
	nf_write_u32(&writer, counters->next_multi);
	nf_write_u32(&writer, counters->next_multi_offset);
	nf_write_u32(&writer, counters->oldest_xid);
	nf_write_u32(&writer, counters->oldest_xid_db);
	nf_write_u32(&writer, counters->oldest_multi);
	nf_write_u32(&writer, counters->oldest_multi_db);
	nf_write_u32(&writer, 0);
	nf_write_u64(&writer, (uint64_t)counters->time_s);
	nf_write_u32(&writer, counters->oldest_commit_ts);
	nf_write_u32(&writer, counters->newest_commit_ts);
	nf_write_u32(&writer, counters->oldest_active_xid);
	nf_write_u32(&writer, 0);
}

static bool precedes(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

uint64_t wa_counters_full_xid(const struct wa_counters *counters, uint32_t xid)
{
	uint32_t next = (uint32_t)counters->next_xid;
	uint64_t epoch = counters->next_xid >> 32;
	if (xid < FIRST_NORMAL_XID)
		return xid;
	if (precedes(xid, next))
		return (xid > next && epoch > 0 ? epoch - 1 : epoch) << 32 | xid;
	return (xid < next ? epoch + 1 : epoch) << 32 | xid;
}

/* next_xid is above xid, as AdvanceNextFullTransactionIdPastXid makes it. */
void wa_counters_pass_xid(struct wa_counters *counters, uint32_t xid)
{
	if (xid < FIRST_NORMAL_XID || precedes(xid, (uint32_t)counters->next_xid))
		return;
	uint64_t next = wa_counters_full_xid(counters, xid) + 1;
	if ((uint32_t)next < FIRST_NORMAL_XID)
		next = (next & ~(uint64_t)UINT32_MAX) + FIRST_NORMAL_XID;
	counters->next_xid = next;
}

static void pass_xids(struct wa_counters *counters, const uint8_t *xids, uint32_t count, size_t stride)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t xid;
		memcpy(&xid, xids + i * stride, sizeof(xid));
		wa_counters_pass_xid(counters, le32toh(xid));
	}
}

static void pass_multi(struct wa_counters *counters, uint32_t next_multi, uint32_t next_offset)
{
	if (precedes(counters->next_multi, next_multi))
		counters->next_multi = next_multi;
	if (precedes(counters->next_multi_offset, next_offset))
		counters->next_multi_offset = next_offset;
}

/* The newest transaction with a commit time; the first one is the oldest too (TransactionTreeSetCommitTsData). */
static void note_commit_ts(struct wa_counters *counters, uint32_t xid, struct wa_xid_list sub)
{
	uint32_t newest = xid;
	for (uint32_t i = 0; i < sub.count; i++) {
		uint32_t other;
		memcpy(&other, sub.xids + 4 * (size_t)i, sizeof(other));
		if (precedes(newest, le32toh(other)))
			newest = le32toh(other);
	}
	if (counters->newest_commit_ts == 0 || precedes(counters->newest_commit_ts, newest))
		counters->newest_commit_ts = newest;
}

void wa_counters_take(struct wa_counters *counters, const struct wa_state_op *op)
{
	switch (op->kind) {
	case WA_OP_XACT:
		wa_counters_pass_xid(counters, op->xact.xid);
		pass_xids(counters, op->xact.sub.xids, op->xact.sub.count, 4);
		break;
	case WA_OP_PREPARE: wa_counters_pass_xid(counters, op->prepare.xid); break;
	case WA_OP_COMMIT_TS: note_commit_ts(counters, op->commit_ts.xid, op->commit_ts.sub); break;
	case WA_OP_MULTI:
		pass_xids(counters, op->multi.members, op->multi.count, 8);
		pass_multi(counters, op->multi.mid + 1 < FIRST_MULTI ? FIRST_MULTI : op->multi.mid + 1,
			   op->multi.offset + op->multi.count);
		break;
	case WA_OP_SLRU_TRUNCATE:
		if (op->slru.slru == WA_SLRU_OFFSETS)
			counters->oldest_multi = op->slru.limit;
		break;
	default: break;
	}
}

static int take_op(void *arg, const struct wa_state_op *op)
{
	wa_counters_take(arg, op);
	return 0;
}

/* CHECKPOINT_SHUTDOWN is believed to the letter but for commit times; CHECKPOINT_ONLINE was begun earlier, so that its counters are minima and its oid is old. */
static void take_checkpoint(struct wa_counters *counters, const struct wa_counters *seen, bool shutdown)
{
	struct wa_counters old = *counters;
	*counters = *seen;
	/* MultiXactAdvanceOldest: of the same oldest id the database stays the one that was named first. */
	if (!precedes(old.oldest_multi, seen->oldest_multi)) {
		counters->oldest_multi = old.oldest_multi;
		counters->oldest_multi_db = old.oldest_multi_db;
	}
	/* Redo takes commit times from no checkpoint (xlog_redo): one that ended a server without them says 0, also where they are tracked since. */
	if (old.newest_commit_ts != 0 && (seen->newest_commit_ts == 0 || precedes(seen->newest_commit_ts, old.newest_commit_ts)))
		counters->newest_commit_ts = old.newest_commit_ts;
	if (old.oldest_commit_ts != 0 && precedes(seen->oldest_commit_ts, old.oldest_commit_ts))
		counters->oldest_commit_ts = old.oldest_commit_ts;
	if (shutdown)
		return;
	if (old.next_xid > seen->next_xid)
		counters->next_xid = old.next_xid;
	counters->next_oid = old.next_oid;
	counters->next_multi = old.next_multi;
	counters->next_multi_offset = old.next_multi_offset;
	pass_multi(counters, seen->next_multi, seen->next_multi_offset);
	if (!precedes(old.oldest_xid, seen->oldest_xid)) {
		counters->oldest_xid = old.oldest_xid;
		counters->oldest_xid_db = old.oldest_xid_db;
	}
}

/* END_OF_RECOVERY: time i64, timeline u32, previous timeline u32. */
static int take_xlog(struct wa_counters *counters, const struct wa_version *version, const struct wa_record *record, uint8_t op,
		     struct wa_error *error)
{
	struct nf_reader main = nf_reader_init(record->main, record->main_len);
	struct wa_counters seen;
	switch (op) {
	case 0x00:
	case 0x10:
		if (wa_counters_load(version, record->main, record->main_len, &seen) < 0)
			return wa_bad(error, record->lsn, "a checkpoint of %" PRIu32 " bytes is too short", record->main_len);
		take_checkpoint(counters, &seen, op == 0x00);
		return 0;
	case 0x30: counters->next_oid = nf_read_u32(&main); break;
	case 0x80: counters->full_page_writes = nf_read_u8(&main) != 0; break;
	case 0x90:
		nf_read_u64(&main);
		counters->timeline = nf_read_u32(&main);
		counters->prev_timeline = nf_read_u32(&main);
		break;
	default: break;
	}
	return main.failed ? wa_bad(error, record->lsn, "XLOG record %02X is too short", op) : 0;
}

/* RUNNING_XACTS: count i32, subcount i32, overflow u8, 3 pad, next xid u32, oldest running u32, ... */
static int take_running(struct wa_counters *counters, const struct wa_record *record, struct wa_error *error)
{
	struct nf_reader main = nf_reader_init(record->main, record->main_len);
	nf_read_bytes(&main, 12);
	uint32_t next = nf_read_u32(&main), oldest = nf_read_u32(&main);
	if (main.failed)
		return wa_bad(error, record->lsn, "a list of running transactions is too short");
	wa_counters_pass_xid(counters, next - 1);
	counters->oldest_active_xid = oldest;
	return 0;
}

/* ASSIGNMENT: top xid u32, count i32, xids u32[]. Subtransactions that have written nothing themselves are known from here alone. */
static int take_assignment(struct wa_counters *counters, const struct wa_record *record, struct wa_error *error)
{
	struct nf_reader main = nf_reader_init(record->main, record->main_len);
	wa_counters_pass_xid(counters, nf_read_u32(&main));
	uint32_t count = nf_read_u32(&main);
	for (uint32_t i = 0; i < count && !main.failed; i++)
		wa_counters_pass_xid(counters, nf_read_u32(&main));
	return main.failed ? wa_bad(error, record->lsn, "a list of subtransactions is too short") : 0;
}

/* The oldest ids that the managers' own truncations tell. CLOG TRUNCATE: page, oldest xid u32, database u32;
 * COMMIT_TS TRUNCATE: page, oldest xid u32; MULTIXACT TRUNCATE_ID begins with the database. */
static int take_truncation(struct wa_counters *counters, const struct wa_version *version, const struct wa_record *record,
			   struct wa_error *error)
{
	struct nf_reader main = nf_reader_init(record->main, record->main_len);
	if (record->rmid == WA_RMGR_MULTIXACT) {
		counters->oldest_multi_db = nf_read_u32(&main);
	} else {
		nf_read_bytes(&main, version->major >= 17 ? 8 : 4);
		uint32_t oldest = nf_read_u32(&main);
		if (record->rmid == WA_RMGR_COMMIT_TS && counters->oldest_commit_ts != 0 &&
		    precedes(counters->oldest_commit_ts, oldest))
			counters->oldest_commit_ts = oldest;
	}
	return main.failed ? wa_bad(error, record->lsn, "a truncation record is too short") : 0;
}

int wa_counters_advance(struct wa_counters *counters, const struct wa_version *version, const struct wa_record *record,
			struct wa_error *error)
{
	const struct wa_record_type *type = wa_record_type(version->major, record->rmid, record->info);
	wa_counters_pass_xid(counters, record->xid);
	if (type == NULL || !(type->redo_class & WA_STATE))
		return 0;
	int status = 0;
	if (record->rmid == WA_RMGR_XLOG)
		status = take_xlog(counters, version, record, type->op, error);
	else if (record->rmid == WA_RMGR_STANDBY)
		status = take_running(counters, record, error);
	else if (record->rmid == WA_RMGR_XACT && type->op == 0x50)
		status = take_assignment(counters, record, error);
	else if ((record->rmid == WA_RMGR_CLOG || record->rmid == WA_RMGR_COMMIT_TS) && type->op == 0x10)
		status = take_truncation(counters, version, record, error);
	else if (record->rmid == WA_RMGR_MULTIXACT && type->op == 0x30)
		status = take_truncation(counters, version, record, error);
	return status == 0 ? wa_state_ops(version, record, take_op, counters, error) : status;
}
