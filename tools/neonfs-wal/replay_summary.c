/* Summaries of segments (walapply/summary) instead of their records: for who needs the state outside of pages, and has summaries.
 *
 * A summary is taken only where it continues what was replayed: the back link of its first record must lead to the record replayed last, and
 * none of its records may end behind the point. Where there is none that fits, the log is decoded: it says the same, only slower. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/neonfs-wal/replay_files.h"
#include "tools/neonfs-wal/replay_impl.h"
#include "tools/neonfs-wal/wal_files.h"
#include "walapply/summary/wa_summary.h"

#define SUMMARY_MAX (512u << 20)
#define PACKED_MAX (UINT64_C(4) << 30)

static int map_packed(struct replay *replay, int fd, uint64_t size)
{
	if (size == 0) /* none of them: all is decoded */
		return 0;
	if (size > PACKED_MAX)
		return -EFBIG;
	void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	replay->packed = bytes;
	replay->packed_size = size;
	return 0;
}

int rp_open_summaries(struct replay *replay)
{
	const char *path = replay->options.summaries;
	struct stat st;
	if (path == NULL)
		return 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
	if (status == 0 && S_ISDIR(st.st_mode)) {
		replay->summaries = fd;
		return 0;
	}
	if (status == 0)
		status = map_packed(replay, fd, (uint64_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return status < 0 ? rp_fail(replay, status, "%s: %s", path, strerror(-status)) : 0;
}

void rp_close_summaries(struct replay *replay)
{
	if (replay->summaries >= 0)
		close(replay->summaries);
	if (replay->packed != NULL)
		munmap((void *)(uintptr_t)replay->packed, replay->packed_size);
}

/* A commit whose time counts. */
static int take_commit(struct replay *replay, const struct wa_summary_item *item)
{
	const struct wa_state_op ops[] = {
		{.kind = WA_OP_COMMIT_TS, .commit_ts = {.xid = item->xid, .time_us = item->time_us, .origin = item->origin}},
		{.kind = WA_OP_XACT, .xact = {.status = WA_XACT_COMMITTED, .xid = item->xid}},
	};
	int status = 0;
	for (size_t i = 0; i < NF_ARRAY_LEN(ops) && status == 0; i++) {
		wa_counters_take(&replay->counters, &ops[i]);
		status = rp_state(replay, &ops[i]);
	}
	return status;
}

static int take_ended(struct replay *replay, const struct wa_summary_item *item)
{
	wa_counters_pass_xid(&replay->counters, item->xid + item->count - 1);
	int status = rp_slru_ended(replay->slru, item->status, item->xid, item->count);
	return status < 0 ? rp_fail(replay, status, "a page of pg_xact: %s", strerror(-status)) : 0;
}

static int take_item(struct replay *replay, const struct wa_summary_item *item)
{
	switch (item->kind) {
	case WA_SUMMARY_XID: wa_counters_pass_xid(&replay->counters, item->xid); return 0;
	case WA_SUMMARY_ENDED: return take_ended(replay, item);
	case WA_SUMMARY_COMMIT: return take_commit(replay, item);
	case WA_SUMMARY_GROW: return rp_grow(replay, item->rel, item->fork, item->blocks);
	case WA_SUMMARY_RECORD: return rp_take_record(replay, &item->record);
	}
	return 0;
}

static int take_items(struct replay *replay, const struct wa_summary *summary)
{
	const struct wa_summary_info *info = &summary->info;
	struct wa_summary_cursor cursor;
	struct wa_summary_item item;
	uint64_t records = replay->records;
	int status;
	wa_summary_start(summary, &cursor);
	while ((status = wa_summary_next(&cursor, &item, &replay->error)) > 0) {
		status = take_item(replay, &item);
		if (status < 0)
			break;
	}
	/* Page work points into the summary's bytes no longer than this. */
	if (status == 0)
		status = rp_quiet(replay);
	replay->records = records + info->records;
	if (info->records > 0) {
		replay->end = info->end;
		replay->last = info->last;
		replay->end_timeline = info->last_timeline;
	}
	return status;
}

static bool fits(const struct replay *replay, const struct wa_summary_info *info, uint64_t number)
{
	uint64_t start = number * replay->control.wal_segment_size;
	if (info->major != replay->version.major || info->system_id != replay->control.system_id || info->base.v != start ||
	    info->limit.v != start + replay->control.wal_segment_size)
		return false;
	/* Times of commits cannot be had from elsewhere. */
	if (info->is_partial || (replay->control.parameters.track_commit_timestamp && !info->commit_times))
		return false;
	if (info->records == 0)
		return replay->options.to.v >= info->limit.v;
	return info->prev.v == replay->last.v && info->first.v >= replay->end.v && info->first_timeline >= replay->end_timeline &&
	       (replay->options.to.v == 0 || info->end.v <= replay->options.to.v);
}

/* 1 taken; 0 it does not fit; an error. */
static int take_if_fits(struct replay *replay, const struct wa_summary *summary, uint64_t number)
{
	if (!fits(replay, &summary->info, number))
		return 0;
	int status = take_items(replay, summary);
	return status < 0 ? status : 1;
}

/* The directory's file of the segment. As take_if_fits; 0 too where there is none. */
static int take_named(struct replay *replay, uint64_t number)
{
	char name[WAL_FILE_NAME + 1];
	struct wa_summary summary;
	struct wa_error why;
	uint8_t *bytes;
	size_t size;
	uint32_t timeline = rp_log_timeline_of(replay->log, number);
	if (timeline == 0)
		return 0;
	wal_file_name(name, timeline, number, replay->control.wal_segment_size);
	if (rp_file_read(replay->summaries, name, SUMMARY_MAX, &bytes, &size) < 0)
		return 0;
	int status = wa_summary_open(bytes, size, &summary, &why) == 0 ? take_if_fits(replay, &summary, number) : 0;
	free(bytes);
	return status;
}

/* The next one of the file that is of this segment or a later one: segments rise there, as they do here. */
static int take_packed(struct replay *replay, uint64_t number)
{
	const uint64_t start = number * replay->control.wal_segment_size;
	struct wa_summary summary;
	struct wa_error why;
	const uint8_t *bytes;
	size_t size, next = replay->packed_at;
	while (wa_summary_packed_next(replay->packed, replay->packed_size, &next, &bytes, &size)) {
		bool is_one = wa_summary_open(bytes, size, &summary, &why) == 0;
		if (is_one && summary.info.base.v > start)
			return 0;
		replay->packed_at = next;
		if (is_one && summary.info.base.v == start)
			return take_if_fits(replay, &summary, number);
	}
	return 0;
}

int rp_take_summaries(struct replay *replay)
{
	uint64_t number = replay->end.v / replay->control.wal_segment_size, first = number;
	int status;
	if (number <= replay->no_summary)
		return 0;
	while ((status = replay->packed != NULL ? take_packed(replay, number) : take_named(replay, number)) > 0) {
		number++;
		tl_progress_update(&replay->progress, "replaying", replay->end.v - replay->start.v,
				   replay->options.to.v > replay->start.v ? replay->options.to.v - replay->start.v : 0);
	}
	replay->no_summary = number;
	return status < 0 ? status : number > first;
}
