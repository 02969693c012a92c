/* The end: a data directory that starts at the LSN reached, without recovery.
 *
 * In pg_wal the segment of that LSN on a new timeline: the parent's bytes before it, a shutdown checkpoint, zeros. A history file, so that
 * archives of the two timelines never collide. pg_control points to the checkpoint. Everything else is durable before pg_control is
 * written, and what is no longer wanted goes after that. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/neonfs-wal/replay_files.h"
#include "tools/neonfs-wal/replay_impl.h"
#include "tools/neonfs-wal/wal_files.h"
#include "walapply/state/wa_checkpoint.h"

#define COPY_PIECE (256u << 10)
#define REASON "neonfs-wal replay"
#define SEGMENT_IN_WORK "pg_wal/xlogtemp.segment" /* Postgres removes what begins so when it starts (RemoveTempXlogFiles, xlog.c) */

static int wal_failed(struct replay *replay, const char *path, int status)
{
	return rp_fail(replay, status, "%s: %s", path, strerror(-status));
}

/* The parent's bytes from the start of the segment up to `end`. */
static int copy_parent(struct replay *replay, int fd, struct nf_lsn end)
{
	uint64_t start = end.v - end.v % replay->control.wal_segment_size;
	uint8_t *piece = malloc(COPY_PIECE);
	int status = piece == NULL ? -ENOMEM : 0;
	for (uint64_t at = start; at < end.v && status == 0; at += COPY_PIECE) {
		size_t count = (size_t)NF_MIN(end.v - at, (uint64_t)COPY_PIECE);
		status = rp_log_read(replay->log, (struct nf_lsn){at}, piece, count);
		if (status == 0 && pwrite(fd, piece, count, (off_t)(at - start)) != (ssize_t)count)
			status = -EIO;
	}
	free(piece);
	return status;
}

/* One segment: what of the parent lies before `from`, and bytes at `from`. It has its name when it is whole: a half of it, left by a replay that was killed,
 * would be taken for the log of a newer timeline, and its end for the end of the log. */
static int write_segment(struct replay *replay, uint32_t timeline, struct nf_lsn from, const uint8_t *bytes, size_t size)
{
	char name[WAL_FILE_NAME + 1], path[64];
	uint32_t segment_size = replay->control.wal_segment_size;
	wal_file_name(name, timeline, from.v / segment_size, segment_size);
	snprintf(path, sizeof(path), "pg_wal/%s", name);
	int fd = openat(replay->root, SEGMENT_IN_WORK, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return wal_failed(replay, SEGMENT_IN_WORK, -errno);
	int status = ftruncate(fd, segment_size) < 0 ? -errno : copy_parent(replay, fd, from);
	if (status == 0 && pwrite(fd, bytes, size, (off_t)(from.v % segment_size)) != (ssize_t)size)
		status = -EIO;
	if (status == 0 && replay->options.syncs && fsync(fd) < 0)
		status = -errno;
	status = rp_close_written(fd, status);
	if (status == 0 && renameat(replay->root, SEGMENT_IN_WORK, replay->root, path) < 0)
		status = -errno;
	return status < 0 ? wal_failed(replay, path, status) : 0;
}

/* The bytes may cross into a second segment. */
static int write_tail(struct replay *replay, uint32_t timeline, const struct wa_checkpoint_tail *tail)
{
	uint64_t border = tail->from.v - tail->from.v % replay->control.wal_segment_size + replay->control.wal_segment_size;
	size_t first = (size_t)NF_MIN(border - tail->from.v, (uint64_t)tail->size);
	int status = write_segment(replay, timeline, tail->from, tail->bytes, first);
	if (status == 0 && first < tail->size)
		status = write_segment(replay, timeline, (struct nf_lsn){border}, tail->bytes + first, tail->size - first);
	return status;
}

/* The parent's history and one line more: timeline, switch point, reason (writeTimeLineHistory, timeline.c). */
static int write_history(struct replay *replay, uint32_t timeline, uint32_t parent, struct nf_lsn at)
{
	char path[64], *text, *whole;
	int status = rp_log_history(replay->log, parent, &text);
	if (status < 0)
		return rp_fail(replay, status, "memory is short");
	int length =
		asprintf(&whole, "%s%s%u\t" NF_LSN_FMT "\t%s\n", text, text[0] != 0 ? "\n" : "", parent, NF_LSN_ARG(at), REASON);
	free(text);
	if (length < 0)
		return rp_fail(replay, -ENOMEM, "memory is short");
	snprintf(path, sizeof(path), "pg_wal/%08X.history", timeline);
	status = rp_file_replace(replay->root, path, whole, (size_t)length, replay->options.syncs);
	free(whole);
	return status < 0 ? wal_failed(replay, path, status) : 0;
}

static int write_control(struct replay *replay, const struct wa_checkpoint_tail *tail)
{
	struct wa_control *control = &replay->control;
	control->state = WA_SHUT_DOWN;
	control->time_s = time(NULL);
	control->checkpoint = tail->record;
	control->copy = replay->counters;
	control->min_recovery.v = 0;
	control->min_recovery_timeline = 0;
	control->backup_start.v = 0;
	control->backup_end.v = 0;
	control->backup_end_required = false;
	wa_control_store(replay->version.major, control, replay->control_bytes);
	/* Without its pages nothing may start on the directory yet. */
	const char *path = replay->options.state_only ? RP_CONTROL_PREPARED : "global/pg_control";
	int status = rp_file_replace(replay->root, path, replay->control_bytes, WA_CONTROL_FILE_SIZE, replay->options.syncs);
	return status < 0 ? wal_failed(replay, path, status) : 0;
}

struct later {
	struct replay *replay;
	uint64_t number;
};

static int remove_later(void *arg, const char *name)
{
	const struct later *later = arg;
	uint32_t timeline, log, seg, size = later->replay->control.wal_segment_size;
	char path[64];
	if (!wal_file_name_parse(name, &timeline, &log, &seg))
		return 0;
	if (log * ((UINT64_C(1) << 32) / size) + seg <= later->number)
		return 0;
	snprintf(path, sizeof(path), "pg_wal/%s", name);
	return unlinkat(later->replay->root, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* The history is to be archived, where archiving is on: Postgres finds that out by the name. In the archive of a timeline that never came to be it would
 * lead whoever follows the latest one astray. */
static int announce_history(struct replay *replay, uint32_t timeline)
{
	char path[64], number[16];
	bool is_later = replay->options.state_only;
	int length = snprintf(number, sizeof(number), "%08X", timeline);
	snprintf(path, sizeof(path), "pg_wal/archive_status/%08X.history.ready", timeline);
	int status = rp_file_replace(replay->root, is_later ? RP_HISTORY_PREPARED : path, number, is_later ? (size_t)length : 0,
				     replay->options.syncs);
	return status < 0 ? wal_failed(replay, path, status) : 0;
}

int rp_finish(struct replay *replay)
{
	struct wa_checkpoint_tail tail;
	uint32_t parent = replay->end_timeline != 0 ? replay->end_timeline : replay->start_timeline;
	uint32_t timeline = replay->options.new_timeline != 0 ? replay->options.new_timeline : rp_log_highest(replay->log) + 1;
	struct wa_checkpoint_place place = {
		.major = replay->version.major,
		.segment_size = replay->control.wal_segment_size,
		.system_id = replay->control.system_id,
		.timeline = timeline,
		.end = replay->end,
		.prev = replay->last,
	};
	replay->counters.time_s = time(NULL);
	replay->counters.wal_level = replay->control.parameters.wal_level;
	if (!replay->control.parameters.track_commit_timestamp)
		replay->counters.oldest_commit_ts = replay->counters.newest_commit_ts = 0;
	if (wa_checkpoint_make(&place, parent, &replay->counters, &tail) < 0)
		return rp_fail(replay, -EINVAL, "no checkpoint can follow " NF_LSN_FMT, NF_LSN_ARG(replay->end));
	int status = rp_unlogged_init(replay);
	if (status == 0)
		status = write_tail(replay, timeline, &tail);
	if (status == 0)
		status = write_history(replay, timeline, parent, replay->end);
	if (status == 0)
		status = rp_sync(replay);
	if (status == 0)
		status = write_control(replay, &tail);
	if (status == 0)
		status = rp_sweep(replay);
	if (status < 0)
		return status;
	struct later later = {.replay = replay, .number = tail.end.v / replay->control.wal_segment_size};
	status = rp_directory_list(replay->root, "pg_wal", remove_later, &later);
	if (status < 0)
		return wal_failed(replay, "pg_wal", status);
	status = announce_history(replay, timeline);
	replay->end_timeline = timeline;
	return status == 0 ? rp_sync(replay) : status;
}
