/* Index and summary of a segment of a branch without history. See crashed_impl.h.
 *
 * Each segment is read by itself, from its first record on; whether the records of two follow each other is looked at by who uses them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/nf_cursor.h"
#include "walapply/pitr/crashed_impl.h"
#include "walapply/summary/wa_summary.h"

#define ANCESTORS_MAX 8u

enum { FLAG_CHECKSUMS = 1, FLAG_LOG_HINTS = 2, FLAG_COMMIT_TIMES = 4 };

void wh_crashed_name(struct bd_branch_id branch, char name[WH_CRASHED_NAME])
{
	snprintf(name, WH_CRASHED_NAME, WH_CRASHED "%" PRIu32, branch.v);
}

/* ---------------------------------------------------------------- a branch */

int wh_crash_open(struct bd_store *store, struct bd_branch_id branch, struct wh_crash *ret_crash)
{
	struct wa_control control;
	int major, error = wh_control(store, wh_head(branch), &control, &major, NULL, 0);
	*ret_crash = (struct wh_crash){.store = store, .branch = branch};
	if (error != 0)
		return error;
	ret_crash->version = (struct wa_version){major, control.checksum_version != 0, control.parameters.wal_log_hints};
	ret_crash->commit_times = control.parameters.track_commit_timestamp;
	ret_crash->redo = control.copy.redo;
	ret_crash->is_standby = control.state == WA_ARCHIVE_RECOVERY || control.state == WA_SHUT_DOWN_IN_RECOVERY;
	ret_crash->timeline = NF_MAX(control.copy.timeline, control.min_recovery_timeline);
	ret_crash->facts.major = major;
	ret_crash->facts.system_id = control.system_id;
	ret_crash->facts.segment_size = control.wal_segment_size;
	error = wa_facts_add_timeline(&ret_crash->facts, (struct wa_facts_timeline){.timeline = ret_crash->timeline});
	if (error == 0)
		error = wh_path(store, wh_head(branch), "pg_wal", &ret_crash->live);
	return error == -ENOTDIR || error == -ENOENT ? -EINVAL : error;
}

void wh_crash_close(struct wh_crash *crash)
{
	struct bd_inode *const inodes[] = {crash->live, crash->index, crash->summary};
	for (size_t i = 0; i < NF_ARRAY_LEN(inodes); i++)
		if (inodes[i] != NULL)
			bd_inode_unref(inodes[i], 1);
	wa_facts_free(&crash->facts);
	*crash = (struct wh_crash){0};
}

int wh_crash_places(struct wh_crash *crash)
{
	struct bd_inode *root, *dir = NULL;
	char name[WH_CRASHED_NAME];
	wh_crashed_name(crash->branch, name);
	int error = wh_root(crash->store, true, &root);
	if (error != 0)
		return error;
	error = wh_directory(root, name, &dir);
	if (error == 0)
		error = wh_directory(dir, "index", &crash->index);
	if (error == 0)
		error = wh_directory(dir, WH_SUMMARIES, &crash->summary);
	if (dir != NULL)
		bd_inode_unref(dir, 1);
	bd_inode_unref(root, 1);
	return error;
}

static void name_of(const struct wh_crash *crash, uint64_t number, char name[WA_SEGMENT_NAME + 1])
{
	wa_segment_name(name, crash->timeline, (struct nf_lsn){number * crash->facts.segment_size}, crash->facts.segment_size);
}

int wh_crash_full(const struct wh_crash *crash, uint64_t first, uint64_t *ret_end)
{
	const uint32_t size = crash->facts.segment_size;
	int begun = 1;
	uint64_t end = first;
	while (begun == 1) {
		begun = wh_segment_begun(crash->live, crash->timeline, (struct nf_lsn){(end + 1) * size}, size);
		end += begun == 1;
	}
	*ret_end = end;
	return begun;
}

/* --------------------------------------------------------------- the stamp */

struct stamp {
	uint8_t bytes[WH_STAMP_SIZE];
};

/* Two lives of one log differ there. */
static int hash_last_page(const struct wh_crash *crash, struct bd_inode *file, uint64_t *ret_hash)
{
	uint8_t *page = nf_io_buffer(NF_BLOCK_SIZE);
	ssize_t got = page != NULL ? bd_read(file, crash->facts.segment_size - NF_BLOCK_SIZE, page, NF_BLOCK_SIZE) : -ENOMEM;
	if (got >= 0)
		*ret_hash = XXH3_64bits(page, (size_t)got);
	free(page);
	return got < 0 ? (int)got : 0;
}

/* 1; 0 the segment is not there. */
static int make_stamp(const struct wh_crash *crash, const char *name, uint64_t index_size, uint64_t summary_size,
		      struct stamp *ret_stamp)
{
	struct bd_inode *file;
	struct bd_attr attr;
	uint64_t hash = 0;
	struct nf_writer w = nf_writer_init(ret_stamp->bytes, sizeof(ret_stamp->bytes));
	int error = bd_lookup(crash->live, name, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	bd_inode_attr(file, &attr);
	error = hash_last_page(crash, file, &hash);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	nf_write_u64(&w, attr.file.v);
	nf_write_u64(&w, (uint64_t)attr.ctime_ns);
	nf_write_u64(&w, hash);
	nf_write_u32(&w, (uint32_t)index_size);
	nf_write_u32(&w, (uint32_t)summary_size);
	nf_write_u32(&w, (uint32_t)crash->version.major);
	nf_write_u32(&w, (crash->version.checksums ? FLAG_CHECKSUMS : 0) | (crash->version.log_hints ? FLAG_LOG_HINTS : 0) |
				 (crash->commit_times ? FLAG_COMMIT_TIMES : 0));
	assert(!w.failed && w.offset == WH_STAMP_SIZE);
	return 1;
}

/* Are both there, of the segment as it is now? 1, 0, or an error; the files, one reference each, with 1. */
static int look_in(const struct wh_crash *crash, struct bd_inode *index_dir, struct bd_inode *summary_dir, const char *name,
		   struct bd_inode **ret_index, struct bd_inode **ret_summary)
{
	struct bd_inode *index = NULL, *summary = NULL;
	struct bd_attr index_attr, summary_attr;
	struct stamp now, then;
	int status = bd_lookup(index_dir, name, &index);
	if (status == 0)
		status = bd_lookup(summary_dir, name, &summary);
	if (status == 0) {
		ssize_t got = bd_xattr_get(index, WH_STAMP, then.bytes, sizeof(then.bytes));
		bd_inode_attr(index, &index_attr);
		bd_inode_attr(summary, &summary_attr);
		status = make_stamp(crash, name, index_attr.size_bytes, summary_attr.size_bytes, &now);
		if (status == 1)
			status = got == (ssize_t)sizeof(then.bytes) && memcmp(&now, &then, sizeof(now)) == 0;
	}
	if (status == 1) {
		*ret_index = index;
		*ret_summary = summary;
		return 1;
	}
	if (index != NULL)
		bd_inode_unref(index, 1);
	if (summary != NULL)
		bd_inode_unref(summary, 1);
	return status == -ENOENT ? 0 : status;
}

static int remove_old(const struct wh_crash *crash, const char *name)
{
	int error = bd_unlink(crash->index, name);
	if (error == 0 || error == -ENOENT)
		error = bd_unlink(crash->summary, name);
	return error == -ENOENT ? 0 : error;
}

/* Of one directory: what `look_in` does not want. */
static int purge(const struct wh_crash *crash, struct bd_inode *index_dir, struct bd_inode *summary_dir, struct bd_inode *dir)
{
	struct bd_inode *index, *summary;
	struct bd_listing *listing;
	int error = bd_readdir(dir, &listing);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		int status = look_in(crash, index_dir, summary_dir, listing->entries[i].name, &index, &summary);
		if (status == 1) {
			bd_inode_unref(index, 1);
			bd_inode_unref(summary, 1);
			continue;
		}
		/* What cannot be read is as good as none. */
		error = bd_unlink(dir, listing->entries[i].name);
	}
	bd_listing_free(listing);
	return error;
}

int wh_crash_purge(const struct wh_crash *crash)
{
	struct bd_branch_info history;
	struct bd_inode *index, *summary;
	char name[WH_CRASHED_NAME], path[64];
	wh_crashed_name(crash->branch, name);
	int error = bd_branch_find(crash->store, WA_HISTORY_BRANCH, &history);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	snprintf(path, sizeof(path), "%s/index", name);
	error = wh_path(crash->store, wh_head(history.id), path, &index);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	snprintf(path, sizeof(path), "%s/" WH_SUMMARIES, name);
	error = wh_path(crash->store, wh_head(history.id), path, &summary);
	if (error == 0) {
		error = purge(crash, index, summary, index);
		if (error == 0)
			error = purge(crash, index, summary, summary);
		bd_inode_unref(summary, 1);
	}
	bd_inode_unref(index, 1);
	return error == -ENOENT ? 0 : error;
}

/* --------------------------------------------------------------- ancestors */

/* 1 linked; 0 it has none. */
static int link_from(const struct wh_crash *crash, struct bd_inode *root, struct bd_branch_id ancestor, const char *name)
{
	struct bd_inode *dir, *index_dir = NULL, *summary_dir = NULL, *index, *summary;
	char crashed[WH_CRASHED_NAME];
	wh_crashed_name(ancestor, crashed);
	int status = bd_lookup(root, crashed, &dir);
	if (status != 0)
		return status == -ENOENT ? 0 : status;
	status = bd_lookup(dir, "index", &index_dir);
	if (status == 0)
		status = bd_lookup(dir, WH_SUMMARIES, &summary_dir);
	bd_inode_unref(dir, 1);
	if (status == 0)
		status = look_in(crash, index_dir, summary_dir, name, &index, &summary);
	if (status == 1) {
		int error = remove_old(crash, name);
		if (error == 0)
			error = bd_link(summary, crash->summary, name);
		if (error == 0)
			error = bd_link(index, crash->index, name);
		bd_inode_unref(index, 1);
		bd_inode_unref(summary, 1);
		status = error == 0 ? 1 : error;
	}
	if (index_dir != NULL)
		bd_inode_unref(index_dir, 1);
	if (summary_dir != NULL)
		bd_inode_unref(summary_dir, 1);
	/* Its branch may be let go of at this moment. */
	return status == -ENOENT || status == -ESTALE ? 0 : status;
}

static int link_of_ancestor(const struct wh_crash *crash, const char *name)
{
	struct bd_branch_info info;
	struct bd_inode *root;
	int status = wh_root(crash->store, false, &root);
	if (status != 0)
		return status == -ENOENT ? 0 : status;
	status = bd_branch_get(crash->store, crash->branch, &info);
	for (unsigned i = 0; i < ANCESTORS_MAX && status == 0 && info.parent.v != 0; i++) {
		const struct bd_branch_id ancestor = info.parent;
		status = link_from(crash, root, ancestor, name);
		if (status == 0)
			status = bd_branch_get(crash->store, ancestor, &info);
	}
	bd_inode_unref(root, 1);
	return status == -ENOENT ? 0 : status;
}

int wh_crash_has(const struct wh_crash *crash, uint64_t number)
{
	struct bd_inode *index, *summary;
	char name[WA_SEGMENT_NAME + 1];
	name_of(crash, number, name);
	int status = look_in(crash, crash->index, crash->summary, name, &index, &summary);
	if (status != 1)
		return status == 0 ? link_of_ancestor(crash, name) : status;
	bd_inode_unref(index, 1);
	bd_inode_unref(summary, 1);
	return 1;
}

/* ------------------------------------------------------------------ making */

static int begin_segment(const struct wh_crash *crash, struct wh_makers *makers, struct nf_lsn base)
{
	const struct nf_lsn limit = {base.v + crash->facts.segment_size};
	const struct wa_index_config index = {
		.version = crash->version, .system_id = crash->facts.system_id, .base = base, .limit = limit};
	const struct wa_summary_config summary = {.version = crash->version,
						  .system_id = crash->facts.system_id,
						  .base = base,
						  .limit = limit,
						  .commit_times = crash->commit_times};
	wa_summary_builder_free(makers->summary);
	makers->summary = NULL;
	int error = wa_summary_builder_new(&summary, &makers->summary);
	if (error == 0)
		error = makers->index == NULL ? wa_index_builder_new(&index, &makers->index)
					      : wa_index_builder_reset(makers->index, base, limit);
	return error;
}

/* Its records into the builders. 1; 0 the log ends in it, or cannot be read there. */
static int read_segment(const struct wh_crash *crash, struct wh_makers *makers, struct nf_lsn base)
{
	const bool is_first = crash->redo.v > base.v;
	const struct wh_log_start start = {.lsn = is_first ? crash->redo : base, .find = !is_first};
	const uint64_t limit = base.v + crash->facts.segment_size;
	const struct wa_record *record;
	struct wa_error why;
	struct nf_lsn end = {0};
	struct wh_log log;
	int status = wh_log_open(&log, &crash->facts, crash->live, NULL, start);
	if (status != 0)
		return status;
	log.live_may_change = crash->is_written;
	while ((status = wh_log_next(&log, &record)) == 1 && record->lsn.v < limit) {
		status = wa_index_add(makers->index, record, &why);
		if (status == 0)
			status = wa_summary_add(makers->summary, record, &why);
		if (status != 0)
			break;
		end = record->end;
	}
	wh_log_close(&log);
	if (status == -EBADMSG || status == -EFBIG || status == -EAGAIN)
		return 0;
	return status == 0 ? end.v >= limit : status;
}

static int write_file(struct bd_inode *dir, const char *name, const void *bytes, size_t size, bool lasts,
		      struct bd_inode **ret_file)
{
	const struct bd_create how = {.mode = S_IFREG | 0400, .uid = geteuid(), .gid = getegid()};
	int error = bd_create(dir, name, &how, ret_file);
	if (error != 0)
		return error;
	error = bd_write(*ret_file, 0, bytes, size, 0);
	if (error == 0 && lasts)
		error = bd_fsync(*ret_file, false);
	if (error != 0)
		bd_inode_unref(*ret_file, 1);
	return error;
}

/* The stamp last, when both are durable: without it they are nothing to a later recovery. 1; 0 the segment has changed since `before`. */
static int write_results(const struct wh_crash *crash, struct wh_makers *makers, const char *name, const struct stamp *before)
{
	struct bd_inode *index_file = NULL, *summary_file = NULL;
	uint8_t *index = NULL, *summary = NULL;
	size_t index_size = 0, summary_size = 0;
	struct stamp now, stamp;
	int error = wa_index_finish(makers->index, &index, &index_size), status = 0;
	if (error == 0)
		error = wa_summary_finish(makers->summary, &summary, &summary_size);
	if (error == 0)
		error = remove_old(crash, name);
	if (error == 0)
		error = write_file(crash->summary, name, summary, summary_size, crash->is_written, &summary_file);
	if (error == 0) {
		bd_inode_unref(summary_file, 1);
		error = write_file(crash->index, name, index, index_size, crash->is_written, &index_file);
	}
	if (error == 0) {
		status = make_stamp(crash, name, 0, 0, &now);
		if (status == 1)
			status = memcmp(&now, before, sizeof(now)) == 0;
		if (status == 1 && crash->is_written)
			status = make_stamp(crash, name, index_size, summary_size, &stamp);
		if (status == 1 && crash->is_written)
			error = bd_xattr_set(index_file, WH_STAMP, stamp.bytes, sizeof(stamp.bytes), 0);
		bd_inode_unref(index_file, 1);
	}
	free(index);
	free(summary);
	return error != 0 ? error : status;
}

int wh_crash_make(const struct wh_crash *crash, struct wh_makers *makers, uint64_t number)
{
	const struct nf_lsn base = {number * crash->facts.segment_size};
	char name[WA_SEGMENT_NAME + 1];
	struct stamp before;
	name_of(crash, number, name);
	int status = make_stamp(crash, name, 0, 0, &before);
	if (status != 1)
		return status;
	status = begin_segment(crash, makers, base);
	if (status == 0)
		status = read_segment(crash, makers, base);
	if (status == 1)
		status = write_results(crash, makers, name, &before);
	if (status == 1)
		return 1;
	/* An older one must not be taken for it. */
	int error = remove_old(crash, name);
	return status == 0 ? error : status;
}

void wh_makers_free(struct wh_makers *makers)
{
	wa_index_builder_free(makers->index);
	wa_summary_builder_free(makers->summary);
	*makers = (struct wh_makers){0};
}
