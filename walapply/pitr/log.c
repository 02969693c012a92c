/* A branch's WAL as a stream of records, wherever its segments are: in the branch's own pg_wal, or kept.
 *
 * A live pg_wal changes under us: Postgres removes segments and renames old ones to future names. What was read from a file counts only if the name
 * still stood for that file afterwards: before a name goes, the segment is kept, and then it is read from there.
 * Bytes behind what Postgres has flushed may be of a record that is still being put together. It does not match its checksum then, and reading ends
 * before it, for now. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"
#include "walapply/pitr/history_impl.h"

#define PAGE_HEADER_BYTES 16u /* magic u16, flags u16, timeline u32, address u64 */
#define XACT_OP_MASK 0x70
enum { XACT_COMMIT = 0x00, XACT_ABORT = 0x20, XACT_COMMIT_PREPARED = 0x30, XACT_ABORT_PREPARED = 0x40 };

int wh_log_open(struct wh_log *log, const struct wa_facts *facts, struct bd_inode *live, struct bd_inode *kept,
		struct wh_log_start start)
{
	const struct wa_reader_config config = {.segment_size = facts->segment_size,
						.major = facts->major,
						.system_id = facts->system_id,
						.start = start.lsn,
						.prev = start.prev,
						.find = start.find};
	*log = (struct wh_log){.facts = facts, .live = live, .kept = kept};
	log->live_may_change = live != NULL && bd_inode_view(live).epoch.v == BD_EPOCH_HEAD.v;
	log->piece = nf_io_buffer(WA_HISTORY_PIECE);
	int error = log->piece != NULL ? wa_reader_new(&config, &log->reader) : -ENOMEM;
	if (error != 0)
		wh_log_close(log);
	return error;
}

static void drop_file(struct wh_log *log)
{
	if (log->file != NULL)
		bd_inode_unref(log->file, 1);
	log->file = NULL;
}

void wh_log_close(struct wh_log *log)
{
	drop_file(log);
	wa_reader_free(log->reader);
	free(log->piece);
	*log = (struct wh_log){0};
}

static int look_up(struct bd_inode *dir, const char *name, struct bd_inode **ret_file)
{
	return dir != NULL ? bd_lookup(dir, name, ret_file) : -ENOENT;
}

/* Is what wal/ has of it all of it? Parts that a hold has brought there may be written. */
static bool is_whole(struct bd_inode *file)
{
	struct bd_attr attr;
	bd_inode_attr(file, &attr);
	return (attr.mode & 0200) == 0;
}

/* The segment's file: a whole one that is kept, else the live one, else what there is. */
static int open_segment(struct wh_log *log, struct nf_lsn start)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *kept = NULL;
	wa_segment_name(name, wa_facts_timeline_of(log->facts, start), start, log->facts->segment_size);
	drop_file(log);
	log->file_start = start;
	log->file_is_live = false;
	int error = look_up(log->kept, name, &kept);
	if (error == 0 && is_whole(kept)) {
		log->file = kept;
		return 0;
	}
	if (error != 0 && error != -ENOENT)
		return error;
	error = look_up(log->live, name, &log->file);
	log->file_is_live = error == 0;
	if (error == -ENOENT && kept != NULL) {
		log->file = kept;
		return 0;
	}
	if (kept != NULL)
		bd_inode_unref(kept, 1);
	return error;
}

/* Does the name still stand for the file that was read? */
static int still_there(struct wh_log *log)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *now;
	if (!log->file_is_live || !log->live_may_change)
		return 1;
	wa_segment_name(name, wa_facts_timeline_of(log->facts, log->file_start), log->file_start, log->facts->segment_size);
	int error = bd_lookup(log->live, name, &now);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	bool same = now == log->file;
	bd_inode_unref(now, 1);
	return same;
}

/* Bytes at `lsn`, up to a piece's end. Returns their number; 0 there are none; or an error. */
static ssize_t read_piece(struct wh_log *log, struct nf_lsn lsn)
{
	struct nf_lsn start = {wa_segment_start(lsn, log->facts->segment_size)};
	uint64_t offset = lsn.v - start.v;
	size_t size = WA_HISTORY_PIECE - offset % WA_HISTORY_PIECE;
	for (unsigned tries = 0; tries < 3; tries++) {
		int error = log->file == NULL || log->file_start.v != start.v ? open_segment(log, start) : 0;
		if (error != 0)
			return error == -ENOENT ? 0 : error;
		ssize_t got = bd_read(log->file, offset, log->piece, size);
		int there = got < 0 ? 1 : still_there(log);
		if (there < 0)
			return there;
		if (there == 1)
			return got;
		drop_file(log); /* renamed or removed meanwhile: it has been kept */
	}
	return -EAGAIN;
}

int wh_log_next(struct wh_log *log, const struct wa_record **ret_record)
{
	for (;;) {
		int status = wa_reader_next(log->reader, ret_record);
		if (status == 1)
			return 1;
		if (status < 0) {
			log->error = *wa_reader_error(log->reader);
			return status == -ENODATA ? 0 : status;
		}
		struct nf_lsn wanted = wa_reader_wanted(log->reader);
		ssize_t got = read_piece(log, wanted);
		if (got <= 0) {
			log->error = (struct wa_error){.lsn = wanted};
			return (int)got;
		}
		status = wa_reader_feed(log->reader, wanted, log->piece, (size_t)got);
		if (status != 0)
			return status;
	}
}

/* ---------------------------------------------------------------- pages */

/* Has the page at `lsn` of this file a header of its own address? 1, 0, or an error. */
static int page_is_written(struct bd_inode *file, uint64_t offset, struct nf_lsn lsn)
{
	uint8_t bytes[PAGE_HEADER_BYTES];
	ssize_t got = bd_read(file, offset, bytes, sizeof(bytes));
	if (got < 0)
		return (int)got;
	struct nf_reader r = nf_reader_init(bytes, (size_t)got);
	uint16_t magic = nf_read_u16(&r);
	(void)nf_read_u16(&r);
	(void)nf_read_u32(&r);
	uint64_t address = nf_read_u64(&r);
	return !r.failed && wa_major_of_magic(magic) != 0 && address == lsn.v;
}

int wh_segment_begun(struct bd_inode *dir, uint32_t timeline, struct nf_lsn start, uint32_t segment_size)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	wa_segment_name(name, timeline, start, segment_size);
	int error = look_up(dir, name, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	int begun = page_is_written(file, 0, start);
	bd_inode_unref(file, 1);
	return begun;
}

/* The last page of the segment that is written: pages are, from the first on. */
static int last_page(struct bd_inode *file, struct nf_lsn start, uint32_t segment_size, struct nf_lsn *ret_lsn)
{
	uint64_t low = 0, high = segment_size / WA_PAGE_SIZE; /* low is, high is not */
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		int written = page_is_written(file, middle * WA_PAGE_SIZE, (struct nf_lsn){start.v + middle * WA_PAGE_SIZE});
		if (written < 0)
			return written;
		if (written)
			low = middle;
		else
			high = middle;
	}
	ret_lsn->v = start.v + low * WA_PAGE_SIZE;
	return 0;
}

int wh_written_about(struct bd_inode *live, const struct wa_facts *facts, struct nf_lsn from, struct nf_lsn *ret_lsn)
{
	char name[WA_SEGMENT_NAME + 1];
	struct nf_lsn start = {wa_segment_start(from, facts->segment_size)};
	struct bd_inode *file;
	for (;;) {
		struct nf_lsn after = {start.v + facts->segment_size};
		int begun = wh_segment_begun(live, wa_facts_timeline_of(facts, after), after, facts->segment_size);
		if (begun < 0)
			return begun;
		if (begun == 0)
			break;
		start = after;
	}
	*ret_lsn = from;
	wa_segment_name(name, wa_facts_timeline_of(facts, start), start, facts->segment_size);
	int error = bd_lookup(live, name, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = last_page(file, start, facts->segment_size, ret_lsn);
	bd_inode_unref(file, 1);
	ret_lsn->v = NF_MAX(ret_lsn->v, from.v);
	return error;
}

bool wh_transaction_end(const struct wa_record *record, bool *ret_commit, int64_t *ret_time_us)
{
	uint8_t op = record->info & XACT_OP_MASK;
	struct nf_reader r = nf_reader_init(record->main, record->main_len);
	if (record->rmid != WA_RMGR_XACT ||
	    (op != XACT_COMMIT && op != XACT_ABORT && op != XACT_COMMIT_PREPARED && op != XACT_ABORT_PREPARED))
		return false;
	*ret_commit = op == XACT_COMMIT || op == XACT_COMMIT_PREPARED;
	*ret_time_us = (int64_t)nf_read_u64(&r);
	return !r.failed;
}
