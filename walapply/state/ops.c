/* From records to operations. Main data of each kind stands beside its function; sources in wa_state.h. */
#include "state_impl.h"

int wa_state_emit(struct wa_state_call *call, struct wa_state_op op)
{
	op.lsn = call->record->lsn;
	op.end = call->record->end;
	return call->each(call->arg, &op);
}

int wa_state_bad(struct wa_state_call *call, const char *what)
{
	const struct wa_record_type *type = wa_record_type(call->version->major, call->record->rmid, call->record->info);
	return wa_bad(call->error, call->record->lsn, "%s %s: %s", wa_rmgr_name(call->record->rmid),
		      type != NULL ? type->name : "?", what);
}

const uint8_t *wa_state_list(struct nf_reader *reader, uint32_t count, uint32_t size)
{
	if ((uint64_t)count * size > nf_reader_left(reader)) {
		reader->failed = true;
		return NULL;
	}
	return nf_read_bytes(reader, (size_t)count * size);
}

static int emit_if_whole(struct wa_state_call *call, struct wa_state_op op)
{
	if (call->main.failed)
		return wa_state_bad(call, "the record is too short");
	return wa_state_emit(call, op);
}

static struct wa_locator read_locator(struct nf_reader *main)
{
	struct wa_locator rel;
	rel.spc = nf_read_u32(main);
	rel.db = nf_read_u32(main);
	rel.rel = nf_read_u32(main);
	return rel;
}

/* A page number of a status log: 32 bits up to 16, 64 bits from 17 on. */
static int64_t read_slru_page(struct wa_state_call *call)
{
	if (call->version->major >= 17)
		return (int64_t)nf_read_u64(&call->main);
	return (int32_t)nf_read_u32(&call->main);
}

/* CREATE: locator, fork u32. TRUNCATE: blocks u32, locator, flags u32 (1 heap, 2 visibility map, 4 free space map). */
static int smgr(struct wa_state_call *call)
{
	struct wa_state_op op = {.kind = WA_OP_REL_CREATE};
	if (call->op == 0x10) {
		op.rel.rel = read_locator(&call->main);
		op.rel.fork = nf_read_u32(&call->main);
		if (op.rel.fork >= WA_FORKS)
			return wa_state_bad(call, "no such fork");
	} else {
		op.kind = WA_OP_REL_TRUNCATE;
		op.rel.blocks = nf_read_u32(&call->main);
		op.rel.rel = read_locator(&call->main);
		op.rel.forks = nf_read_u32(&call->main);
	}
	return emit_if_whole(call, op);
}

/* ZEROPAGE: page. TRUNCATE: page, oldest xid u32, (clog) its database u32. */
static int simple_slru(struct wa_state_call *call, enum wa_slru slru)
{
	struct wa_state_op op = {.kind = call->op == 0x00 ? WA_OP_SLRU_ZERO : WA_OP_SLRU_TRUNCATE, .slru = {.slru = slru}};
	op.slru.page = read_slru_page(call);
	return emit_if_whole(call, op);
}

/* SETTS (13): time i64, origin u16, 2 pad, xid u32, subxids u32[]. */
static int commit_ts(struct wa_state_call *call)
{
	if (call->op != 0x20)
		return simple_slru(call, WA_SLRU_COMMIT_TS);
	struct wa_state_op op = {.kind = WA_OP_COMMIT_TS};
	op.commit_ts.time_us = (int64_t)nf_read_u64(&call->main);
	op.commit_ts.origin = nf_read_u16(&call->main);
	nf_read_u16(&call->main);
	op.commit_ts.xid = nf_read_u32(&call->main);
	op.commit_ts.sub.count = (uint32_t)(nf_reader_left(&call->main) / 4);
	op.commit_ts.sub.xids = wa_state_list(&call->main, op.commit_ts.sub.count, 4);
	return emit_if_whole(call, op);
}

/* ZERO_OFF_PAGE, ZERO_MEM_PAGE: page. CREATE_ID: mid u32, offset u32, count i32, members (xid u32, status u32).
 * TRUNCATE_ID: database u32, start and end of ids u32, start and end of members u32. */
static int multixact(struct wa_state_call *call)
{
	struct nf_reader *main = &call->main;
	struct wa_state_op op = {.kind = WA_OP_SLRU_ZERO};
	if (call->op <= 0x10) {
		op.slru.slru = call->op == 0x00 ? WA_SLRU_OFFSETS : WA_SLRU_MEMBERS;
		op.slru.page = read_slru_page(call);
		return emit_if_whole(call, op);
	}
	if (call->op == 0x20) {
		op.kind = WA_OP_MULTI;
		op.multi.mid = nf_read_u32(main);
		op.multi.offset = nf_read_u32(main);
		op.multi.count = nf_read_u32(main);
		op.multi.members = wa_state_list(main, op.multi.count, 8);
		return emit_if_whole(call, op);
	}
	nf_read_u32(main);
	uint32_t id_start = nf_read_u32(main), id_end = nf_read_u32(main);
	uint32_t member_start = nf_read_u32(main), member_end = nf_read_u32(main);
	op = (struct wa_state_op){.kind = WA_OP_SLRU_TRUNCATE,
				  .slru = {.slru = WA_SLRU_MEMBERS, .start = member_start, .limit = member_end}};
	int error = emit_if_whole(call, op);
	if (error < 0)
		return error;
	op.slru.slru = WA_SLRU_OFFSETS;
	op.slru.start = id_start;
	op.slru.limit = id_end;
	return wa_state_emit(call, op);
}

/* CREATE (13, 14) and CREATE_FILE_COPY: db, space, source db, source space u32. CREATE_WAL_LOG: db, space u32.
 * DROP: db u32, count i32, spaces u32[]. */
static int dbase(struct wa_state_call *call)
{
	struct nf_reader *main = &call->main;
	bool is_drop = call->op == (call->version->major >= 15 ? 0x20 : 0x10);
	struct wa_state_op op = {.kind = is_drop ? WA_OP_DB_DROP : call->op == 0x10 ? WA_OP_DB_CREATE : WA_OP_DB_COPY};
	op.db.db = nf_read_u32(main);
	if (is_drop) {
		op.db.count = nf_read_u32(main);
		op.db.spaces = wa_state_list(main, op.db.count, 4);
		return emit_if_whole(call, op);
	}
	op.db.spc = nf_read_u32(main);
	if (op.kind == WA_OP_DB_COPY) {
		op.db.from_db = nf_read_u32(main);
		op.db.from_spc = nf_read_u32(main);
	}
	return emit_if_whole(call, op);
}

/* CREATE: space u32, path and its NUL. DROP: space u32. */
static int tablespace(struct wa_state_call *call)
{
	struct wa_state_op op = {.kind = call->op == 0x00 ? WA_OP_SPACE_CREATE : WA_OP_SPACE_DROP};
	op.space.spc = nf_read_u32(&call->main);
	if (op.kind == WA_OP_SPACE_CREATE) {
		size_t left = nf_reader_left(&call->main);
		const char *path = nf_read_bytes(&call->main, left);
		const char *end = path != NULL && left > 0 ? memchr(path, 0, left) : NULL;
		if (end == NULL)
			return wa_state_bad(call, "the path has no end");
		op.space.path = path;
		op.space.path_size = (uint32_t)(end - path);
	}
	return emit_if_whole(call, op);
}

/* db u32, space u32, size i32, the file. */
static int relmap(struct wa_state_call *call)
{
	struct wa_state_op op = {.kind = WA_OP_RELMAP};
	op.relmap.db = nf_read_u32(&call->main);
	op.relmap.spc = nf_read_u32(&call->main);
	op.relmap.size = nf_read_u32(&call->main);
	op.relmap.data = wa_state_list(&call->main, op.relmap.size, 1);
	return emit_if_whole(call, op);
}

/* SET: remote LSN u64, id u16, force u8. DROP: id u16. */
static int origin(struct wa_state_call *call)
{
	struct wa_state_op op = {.kind = call->op == 0x00 ? WA_OP_ORIGIN : WA_OP_ORIGIN_DROP};
	if (op.kind == WA_OP_ORIGIN)
		op.origin.remote.v = nf_read_u64(&call->main);
	op.origin.id = nf_read_u16(&call->main);
	if (op.kind == WA_OP_ORIGIN)
		op.origin.backward = nf_read_u8(&call->main) != 0;
	return emit_if_whole(call, op);
}

/* xl_heap_rewrite_mapping: mapped xid, db, relation u32, 4 pad, offset u64, count u32, 4 pad, start LSN u64; the mappings follow. */
static int rewrite_mapping(struct wa_state_call *call)
{
	struct wa_state_op op = {.kind = WA_OP_MAPPING, .mapping = {.record_xid = call->record->xid}};
	op.mapping.xid = nf_read_u32(&call->main);
	op.mapping.db = nf_read_u32(&call->main);
	op.mapping.rel = nf_read_u32(&call->main);
	nf_read_u32(&call->main);
	op.mapping.offset = nf_read_u64(&call->main);
	nf_read_u64(&call->main);
	op.mapping.start.v = nf_read_u64(&call->main);
	op.mapping.size = (uint32_t)nf_reader_left(&call->main);
	op.mapping.data = nf_read_bytes(&call->main, op.mapping.size);
	return emit_if_whole(call, op);
}

/* PARAMETER_CHANGE: connections, worker processes, wal senders, prepared, locks, wal_level i32; log hints, commit timestamps u8. */
static int parameters(struct wa_state_call *call)
{
	struct wa_state_op op = {.kind = WA_OP_PARAMETERS};
	op.parameters.max_connections = (int32_t)nf_read_u32(&call->main);
	op.parameters.max_worker_processes = (int32_t)nf_read_u32(&call->main);
	op.parameters.max_wal_senders = (int32_t)nf_read_u32(&call->main);
	op.parameters.max_prepared_xacts = (int32_t)nf_read_u32(&call->main);
	op.parameters.max_locks_per_xact = (int32_t)nf_read_u32(&call->main);
	op.parameters.wal_level = (int32_t)nf_read_u32(&call->main);
	op.parameters.wal_log_hints = nf_read_u8(&call->main) != 0;
	op.parameters.track_commit_timestamp = nf_read_u8(&call->main) != 0;
	return emit_if_whole(call, op);
}

int wa_state_ops(const struct wa_version *version, const struct wa_record *record, wa_state_fn each, void *arg,
		 struct wa_error *error)
{
	const struct wa_record_type *type = wa_record_type(version->major, record->rmid, record->info);
	if (type == NULL || !(type->redo_class & WA_STATE))
		return 0;
	struct wa_state_call call = {.version = version,
				     .record = record,
				     .op = type->op,
				     .each = each,
				     .arg = arg,
				     .error = error,
				     .main = nf_reader_init(record->main, record->main_len)};
	switch (record->rmid) {
	case WA_RMGR_XLOG: return type->op == 0x60 ? parameters(&call) : 0;
	case WA_RMGR_XACT: return wa_state_xact(&call);
	case WA_RMGR_SMGR: return smgr(&call);
	case WA_RMGR_CLOG: return simple_slru(&call, WA_SLRU_XACT);
	case WA_RMGR_DBASE: return dbase(&call);
	case WA_RMGR_TBLSPC: return tablespace(&call);
	case WA_RMGR_MULTIXACT: return multixact(&call);
	case WA_RMGR_RELMAP: return relmap(&call);
	case WA_RMGR_HEAP2: return rewrite_mapping(&call);
	case WA_RMGR_COMMIT_TS: return commit_ts(&call);
	case WA_RMGR_REPLORIGIN: return origin(&call);
	default: return 0;
	}
}
