/* From the log to work. Records come in order; what they do to pages is put into a batch and done while the next batch is read, what they do
 * to files is done at once, after rp_quiet where pages are concerned. A piece of the log and a batch belong together. */
#include "tools/neonfs-wal/replay_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "walapply/decode/wa_records.h"

int rp_fail(struct replay *replay, int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(replay->error.text, sizeof(replay->error.text), format, args);
	va_end(args);
	replay->error.lsn.v = 0;
	return status;
}

double rp_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --------------------------------------------------------------- batches */

static int drop_waiting(struct replay *replay)
{
	int status = 0;
	for (size_t i = 0; i < replay->drop_count && status == 0; i++)
		status = rp_drop_now(replay, replay->drops[i].rel);
	replay->drop_count = 0;
	return status;
}

int rp_quiet(struct replay *replay)
{
	int status = rp_pool_finish(replay->pool, &replay->error);
	if (status < 0)
		return status;
	rp_pool_start(replay->pool, &replay->batches[replay->batch]);
	status = rp_pool_finish(replay->pool, &replay->error);
	return status < 0 ? status : drop_waiting(replay);
}

/* The batch is full: let it be worked on, and go on in the other one. A single thread has nobody to let it to, and needs one only. */
static int turn(struct replay *replay)
{
	int status = replay->drop_count > 0 ? rp_quiet(replay) : rp_pool_finish(replay->pool, &replay->error);
	if (status < 0)
		return status;
	rp_pool_start(replay->pool, &replay->batches[replay->batch]);
	if (replay->options.threads == 1)
		status = rp_pool_finish(replay->pool, &replay->error);
	else
		replay->batch = 1 - replay->batch;
	if (status < 0)
		return status;
	rp_log_turn(replay->log);
	tl_progress_update(&replay->progress, "replaying", replay->end.v - replay->start.v,
			   replay->options.to.v > replay->start.v ? replay->options.to.v - replay->start.v : 0);
	return 0;
}

/* ---------------------------------------------------------------- blocks */

static int find_relation(struct replay *replay, const struct wa_block *block, struct rp_rel **ret_rel)
{
	struct rp_rel **recent = &replay->recent[(block->rel.rel * 4 + block->fork) % RP_RECENT];
	replay->has_init_forks |= block->fork == WA_FORK_INIT;
	struct rp_rel *rel = *recent;
	if (rel == NULL || rel->block.fork != block->fork || !wa_locator_equal(rel->block.rel, block->rel)) {
		int status = rp_rels_get(replay->rels, block->rel, block->fork, true, &rel);
		if (status < 0)
			return rp_fail(replay, status, "relation %u/%u/%u cannot be opened: %s", block->rel.spc, block->rel.db,
				       block->rel.rel, strerror(-status));
		*recent = rel;
	}
	if (rel->drop_waits) {
		int status = rp_quiet(replay);
		return status < 0 ? status : find_relation(replay, block, ret_rel);
	}
	*ret_rel = rel;
	return 0;
}

/* The record's bytes for as long as the batch lives: those that are not in the piece are in the reader's memory, and gone with its next
 * record. NULL when memory is short. */
static const uint8_t *keep_bytes(struct replay *replay, const struct wa_record *record)
{
	if (rp_log_in_piece(replay->log, record->bytes))
		return record->bytes;
	void *copy = rp_batch_room(&replay->batches[replay->batch], record->tot_len);
	if (copy != NULL)
		memcpy(copy, record->bytes, record->tot_len);
	return copy;
}

static int add_item(struct replay *replay, const struct wa_block *block, struct rp_item *item, struct nf_lsn lsn)
{
	int status = find_relation(replay, block, &item->rel);
	if (status < 0)
		return status;
	/* Who makes the page later only needs the file to be long enough: redo makes a relation longer, and what it would not find here is cut off or
	 * dropped further on. Free space maps and init forks are few pages, and nobody else makes them. */
	if (replay->options.state_only && (block->fork == WA_FORK_MAIN || block->fork == WA_FORK_VM)) {
		rp_rel_grow(item->rel, block->blkno + 1);
		return 0;
	}
	item->blkno = block->blkno;
	unsigned shard = rp_shard_of(item->rel, block->blkno, rp_cache_shards(replay->cache));
	status = rp_batch_add(&replay->batches[replay->batch], shard, item, lsn);
	return status < 0 ? rp_fail(replay, status, "memory is short") : 0;
}

static int add_implied(struct replay *replay, const struct wa_record *record)
{
	struct wa_implied implied[WA_IMPLIED_MAX];
	int count = wa_implied_blocks(&replay->version, record, implied, &replay->error), status = count < 0 ? count : 0;
	for (int i = 0; i < count && status == 0; i++) {
		struct rp_item item = {.heap_blkno = implied[i].heap_blkno, .bits = implied[i].bits};
		status = add_item(replay, &implied[i].block, &item, record->lsn);
	}
	return status;
}

static int add_refs(struct replay *replay, const struct wa_record *record, uint8_t redo_class)
{
	const uint8_t *bytes = NULL;
	int status = 0;
	for (unsigned i = 0; i < record->ref_count && status == 0; i++) {
		const struct wa_ref *ref = &record->refs[i];
		if (!ref->apply_image && !(redo_class & WA_PAGE))
			continue;
		if (bytes == NULL)
			bytes = keep_bytes(replay, record);
		if (bytes == NULL)
			return rp_fail(replay, -ENOMEM, "memory is short");
		struct rp_item item = {.record = bytes,
				       .ref = (uint8_t)i,
				       .span = (uint32_t)(record->end.v - record->lsn.v),
				       .blank = ref->apply_image || ref->will_init};
		status = add_item(replay, &ref->block, &item, record->lsn);
	}
	return status;
}

static int add_blocks(struct replay *replay, const struct wa_record *record, uint8_t redo_class)
{
	int status = 0;
	/* Relations first: to find one may need quiet, after which nothing of this record may be in the batch's memory yet. */
	struct rp_rel *rel;
	for (unsigned i = 0; i < record->ref_count && status == 0; i++)
		status = find_relation(replay, &record->refs[i].block, &rel);
	if (status == 0)
		status = add_refs(replay, record, redo_class);
	if (status == 0 && redo_class & WA_VM && record->rmid != WA_RMGR_SMGR)
		status = add_implied(replay, record);
	return status;
}

int rp_grow(struct replay *replay, struct wa_locator rel, uint32_t fork, uint32_t blocks)
{
	const struct wa_block block = {.rel = rel, .fork = fork};
	struct rp_rel *found;
	int status = find_relation(replay, &block, &found);
	if (status == 0)
		rp_rel_grow(found, blocks);
	return status;
}

/* --------------------------------------------------------------- records */

static int carry_out(void *arg, const struct wa_state_op *op)
{
	return rp_state(arg, op);
}

static int unknown(struct replay *replay, const struct wa_record *record)
{
	if (record->rmid >= WA_RMGR_CUSTOM_MIN)
		wa_bad(&replay->error, record->lsn,
		       "a record of resource manager %u, which belongs to an extension: only Postgres can replay it",
		       record->rmid);
	else
		wa_bad(&replay->error, record->lsn, "%s record of type %02X is not known for Postgres %d",
		       wa_rmgr_name(record->rmid), record->info & 0xF0, replay->version.major);
	return -ENOTSUP;
}

int rp_take_record(struct replay *replay, const struct wa_record *record)
{
	const struct wa_record_type *type = wa_record_type(replay->version.major, record->rmid, record->info);
	if (type == NULL)
		return unknown(replay, record);
	int status = wa_counters_advance(&replay->counters, &replay->version, record, &replay->error);
	if (status == 0 && type->redo_class & WA_STATE)
		status = wa_state_ops(&replay->version, record, carry_out, replay, &replay->error);
	if (status == 0 && (record->ref_count > 0 || type->redo_class & WA_VM))
		status = add_blocks(replay, record, type->redo_class);
	replay->records++;
	replay->end = record->end;
	replay->last = record->lsn;
	replay->end_timeline = record->timeline;
	return status;
}

static int read_failed(struct replay *replay, int status)
{
	replay->error = *rp_log_why(replay->log);
	if (status == -ENOMEM)
		rp_fail(replay, status, "memory is short for a record");
	return status;
}

/* Returns 1 to go on, 0 at the end, or an error. */
static int step(struct replay *replay)
{
	const struct wa_record *record;
	int status = rp_log_next(replay->log, &record);
	if (status == -EAGAIN) {
		status = turn(replay);
		return status < 0 ? status : 1;
	}
	if (status == 0 && replay->options.to.v > replay->end.v)
		return read_failed(replay, -ENODATA);
	if (status < 0)
		return read_failed(replay, status);
	if (status == 0 || (replay->options.to.v != 0 && record->end.v > replay->options.to.v))
		return 0;
	status = rp_take_record(replay, record);
	return status < 0 ? status : 1;
}

static int start_log(struct replay *replay, struct nf_lsn lsn)
{
	int status = rp_log_seek(replay->log, lsn, false);
	if (status < 0)
		return rp_fail(replay, status, "the log cannot be read: %s", strerror(-status));
	rp_log_turn(replay->log);
	return 0;
}

/* The log from its start to options.to. */
static int redo(struct replay *replay)
{
	double start = rp_clock();
	int status;
	while ((status = step(replay)) > 0) {
		if (replay->summaries < 0 && replay->packed == NULL)
			continue;
		status = rp_take_summaries(replay);
		if (status > 0)
			status = start_log(replay, replay->end);
		if (status < 0)
			break;
	}
	if (status == 0)
		status = rp_quiet(replay);
	replay->redo_seconds = rp_clock() - start;
	return status;
}

/* What is still in memory becomes files. */
static int settle(struct replay *replay)
{
	int status = rp_pool_absent(replay->pool, &replay->error) ? -EBADMSG : 0;
	tl_progress_update(&replay->progress, "writing pages", 0, 0);
	if (status == 0)
		status = rp_pool_flush(replay->pool, &replay->error);
	if (status < 0)
		return status;
	status = rp_rels_settle(replay->rels);
	if (status == 0 && replay->options.finish)
		status = rp_slru_trim(replay->slru, &replay->counters);
	if (status == 0)
		status = rp_slru_flush(replay->slru);
	if (status < 0)
		return rp_fail(replay, status, "files cannot be written: %s", strerror(-status));
	status = rp_prepared_store(replay);
	return status == 0 ? rp_origins_store(replay) : status;
}

/* As StartupCommitTs (commit_ts.c): a checkpoint from before the setting was turned on knows of no times yet, though pg_control has the setting. */
static int begin_commit_times(struct replay *replay)
{
	uint32_t next = (uint32_t)replay->counters.next_xid;
	if (!replay->control.parameters.track_commit_timestamp || replay->counters.oldest_commit_ts != 0)
		return 0;
	replay->counters.oldest_commit_ts = replay->counters.newest_commit_ts = next;
	int status = rp_slru_have(replay->slru, WA_SLRU_COMMIT_TS, next / WA_COMMIT_TS_PER_PAGE);
	return status < 0 ? rp_fail(replay, status, "pg_commit_ts: %s", strerror(-status)) : 0;
}

int rp_run(struct replay *replay)
{
	int status = start_log(replay, replay->start);
	replay->end = replay->start;
	replay->no_summary = replay->start.v / replay->control.wal_segment_size;
	if (status == 0)
		status = rp_apply_tablespace_map(replay);
	if (status == 0)
		status = rp_unlogged_remove(replay);
	if (status == 0)
		status = rp_prepared_load(replay);
	if (status == 0)
		status = rp_origins_load(replay);
	if (status == 0)
		status = begin_commit_times(replay);
	if (status < 0)
		return status;
	status = redo(replay);
	if (status == 0)
		status = rp_check_reached(replay);
	return status < 0 ? status : settle(replay);
}
