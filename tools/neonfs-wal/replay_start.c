/* What the directory is, and where replay may begin and end.
 *
 *   backup_label there     a base backup: begin at its START WAL LOCATION; at the earliest to the record that ends the backup
 *                          (of a standby: to pg_control's minimum recovery point)
 *   pg_control: shut down  begin at its checkpoint, which is also the earliest end
 *   in recovery            begin at the last checkpoint's redo; at the earliest to the minimum recovery point
 *   else (crashed)         begin at the last checkpoint's redo; at the earliest to the end of the directory's own log, since pages may have
 *                          been written up to there
 *
 * Source: read_backup_label, InitWalRecovery (xlogrecovery.c; xlog.c in 13 and 14). Nothing is changed here. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/file.h>

#include "common/nf_cursor.h"
#include "tools/lib/postmaster.h"
#include "tools/neonfs-wal/replay_files.h"
#include "tools/neonfs-wal/replay_impl.h"
#include "walapply/decode/wa_records.h"

#define SMALL_FILE (1u << 20)
#define XLOG_BACKUP_END 0x50

/* ------------------------------------------------------- is it at work? */

/* A postmaster's working directory is its data directory: the file may be a copy, and its server at work elsewhere. */
static bool works_here(const struct replay *replay, long pid, const char *lock_file)
{
	char link[64], cwd[4096], here[4096];
	if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
		return tl_server_lives_on(lock_file);
	snprintf(link, sizeof(link), "/proc/%ld/cwd", pid);
	ssize_t length = readlink(link, cwd, sizeof(cwd) - 1);
	if (length < 0 && errno == ENOENT) /* it has ended, and waits to be reaped */
		return tl_server_lives_on(lock_file);
	if (length < 0 || realpath(replay->options.directory, here) == NULL)
		return true;
	cwd[length] = 0;
	return strcmp(cwd, here) == 0;
}

static int check_idle(struct replay *replay)
{
	uint8_t *text;
	size_t size;
	if (flock(replay->root, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return rp_fail(replay, -EBUSY, "another replay works on this directory");
	int status = rp_file_read(replay->root, "postmaster.pid", SMALL_FILE, &text, &size);
	if (status < 0)
		return status == -ENOENT ? 0 : rp_fail(replay, status, "postmaster.pid: %s", strerror(-status));
	long pid = strtol((char *)text, NULL, 10);
	bool works = pid > 0 && works_here(replay, pid, (char *)text);
	free(text);
	if (works)
		return rp_fail(replay, -EBUSY, "a server is running on this directory (process %ld)", pid);
	return 0;
}

/* --------------------------------------------------------- version, control */

static int read_version(struct replay *replay)
{
	uint8_t *text;
	size_t size;
	int status = rp_file_read(replay->root, "PG_VERSION", SMALL_FILE, &text, &size);
	if (status < 0)
		return rp_fail(replay, status, "not a data directory: PG_VERSION: %s", strerror(-status));
	char *end;
	long major = strtol((char *)text, &end, 10);
	bool plain = end != (char *)text && (*end == '\n' || *end == 0);
	if (!plain || major < WA_MAJOR_MIN || major > WA_MAJOR_MAX) {
		status = rp_fail(replay, -ENOTSUP, "a cluster of Postgres %.16s: only %d to %d can be replayed",
				 strtok((char *)text, "\n"), WA_MAJOR_MIN, WA_MAJOR_MAX);
		free(text);
		return status;
	}
	free(text);
	replay->version.major = (int)major;
	return 0;
}

static int read_control(struct replay *replay)
{
	uint8_t *bytes;
	size_t size;
	int status = rp_file_read(replay->root, "global/pg_control", WA_CONTROL_FILE_SIZE, &bytes, &size);
	if (status < 0)
		return rp_fail(replay, status, "global/pg_control: %s", strerror(-status));
	memcpy(replay->control_bytes, bytes, size);
	free(bytes);
	status = wa_control_load(replay->version.major, replay->control_bytes, size, &replay->control, &replay->error);
	if (status < 0)
		return status;
	replay->version.checksums = replay->control.checksum_version != 0;
	replay->version.log_hints = replay->control.parameters.wal_log_hints;
	replay->start = replay->control.copy.redo;
	replay->start_timeline = replay->control.copy.timeline;
	replay->counters = replay->control.copy;
	return 0;
}

int rp_check_wal_level(struct replay *replay, struct nf_lsn from)
{
	if (replay->control.parameters.wal_level > 0 || replay->options.wal[0] == NULL)
		return 0;
	wa_bad(&replay->error, from,
	       "from here on the log was written with wal_level = minimal: bulk loads are not in it, and nothing later can be "
	       "reached by replay");
	return -EPROTO;
}

/* ----------------------------------------------------------- backup_label */

static bool label_lsn(const char *text, const char *key, struct nf_lsn *ret_lsn)
{
	const char *at = strstr(text, key);
	uint32_t high, low;
	if (at == NULL || sscanf(at + strlen(key), ": %8" SCNx32 "/%8" SCNx32, &high, &low) != 2)
		return false;
	ret_lsn->v = (uint64_t)high << 32 | low;
	return true;
}

static int parse_label(struct replay *replay, const char *text)
{
	if (!label_lsn(text, "START WAL LOCATION", &replay->start) ||
	    !label_lsn(text, "CHECKPOINT LOCATION", &replay->control.checkpoint))
		return rp_fail(replay, -EBADMSG, "backup_label is damaged: no START WAL LOCATION or CHECKPOINT LOCATION");
	if (strstr(text, "INCREMENTAL FROM LSN") != NULL)
		return rp_fail(replay, -ENOTSUP, "an incremental backup: make a full one of it first (pg_combinebackup)");
	const char *timeline = strstr(text, "START TIMELINE: ");
	if (timeline != NULL)
		replay->start_timeline = (uint32_t)strtoul(timeline + strlen("START TIMELINE: "), NULL, 10);
	replay->from_backup = true;
	replay->from_standby = strstr(text, "BACKUP FROM: standby") != NULL;
	return 0;
}

static int read_label(struct replay *replay)
{
	uint8_t *text;
	size_t size;
	int status = rp_file_read(replay->root, "backup_label", SMALL_FILE, &text, &size);
	if (status < 0)
		return status == -ENOENT ? 0 : rp_fail(replay, status, "backup_label: %s", strerror(-status));
	status = parse_label(replay, (char *)text);
	free(text);
	return status;
}

/* -------------------------------------------------------------------- log */

/* The log in the directories of options.wal, or not, and in the directory's own. */
static int open_log(struct replay *replay, bool with_others, struct rp_log **ret_log)
{
	struct rp_log_options options = {
		.timeline = replay->options.timeline,
		.segment_size = replay->control.wal_segment_size,
		.major = replay->version.major,
		.system_id = replay->control.system_id,
		.pieces = replay->options.threads > 1 ? RP_LOG_PIECES : 1,
	};
	unsigned count = 0;
	for (; with_others && count < RP_LOG_DIRECTORIES_MAX && replay->options.wal[count] != NULL; count++)
		options.directories[count] = replay->options.wal[count];
	options.directories[count] = replay->own_wal;
	return rp_log_open(&options, ret_log, &replay->error);
}

/* A new timeline must be one that nothing here knows. */
static int check_new_timeline(struct replay *replay)
{
	uint32_t highest = NF_MAX(rp_log_highest(replay->log), replay->start_timeline);
	if (replay->options.new_timeline != 0 && replay->options.new_timeline <= highest)
		return rp_fail(replay, -EINVAL, "timeline %u cannot begin: there is timeline %u already",
			       replay->options.new_timeline, highest);
	return 0;
}

/* The next record, whatever piece it is in: used where records are only looked at. */
static int look(struct rp_log *log, const struct wa_record **ret_record)
{
	int status;
	while ((status = rp_log_next(log, ret_record)) == -EAGAIN)
		rp_log_turn(log);
	return status;
}

/* The end of the log: that of the last record that can be read, looked for from the last segment backwards. */
static int find_end(struct replay *replay, struct rp_log *log, struct nf_lsn *ret_end)
{
	uint32_t size = replay->control.wal_segment_size;
	const struct wa_record *record;
	struct nf_lsn at = rp_log_last(log, replay->start);
	for (*ret_end = replay->start; at.v > replay->start.v;) {
		at.v = NF_MAX(at.v - size, replay->start.v);
		bool from_start = at.v <= replay->start.v;
		int status = rp_log_seek(log, at, !from_start);
		bool any = false;
		while (status == 0 && look(log, &record) == 1) {
			*ret_end = record->end;
			any = true;
		}
		if (status < 0)
			return rp_fail(replay, status, "the log cannot be read: %s", strerror(-status));
		if (any)
			return 0;
	}
	return 0;
}

/* The record of the checkpoint that the backup began with. */
static int read_checkpoint(struct replay *replay)
{
	const struct wa_record *record;
	int status = rp_log_seek(replay->log, replay->control.checkpoint, false);
	if (status == 0)
		status = look(replay->log, &record);
	if (status <= 0)
		return rp_fail(replay, status < 0 ? status : -ENODATA,
			       "the checkpoint of the backup, at " NF_LSN_FMT ", is not in the log: %s",
			       NF_LSN_ARG(replay->control.checkpoint), rp_log_why(replay->log)->text);
	if (record->rmid != WA_RMGR_XLOG || (record->info & 0xF0) > 0x10 ||
	    wa_counters_load(&replay->version, record->main, record->main_len, &replay->counters) < 0)
		return rp_fail(replay, -EBADMSG, "the record at " NF_LSN_FMT ", which backup_label names, is no checkpoint",
			       NF_LSN_ARG(replay->control.checkpoint));
	return 0;
}

/* Where the backup that began at `begin` ended: its record says where it began. */
static int find_backup_end(struct replay *replay, struct nf_lsn begin, struct nf_lsn *ret_end)
{
	const struct wa_record *record;
	int status = rp_log_seek(replay->log, replay->start, false);
	while (status == 0 && (status = look(replay->log, &record)) == 1) {
		struct nf_reader main = nf_reader_init(record->main, record->main_len);
		status = 0;
		if (record->rmid == WA_RMGR_XLOG && (record->info & 0xF0) == XLOG_BACKUP_END && nf_read_u64(&main) == begin.v &&
		    !main.failed) {
			*ret_end = record->end;
			return 0;
		}
		tl_progress_update(&replay->progress, "looking for the end of the backup", 0, 0);
	}
	return rp_fail(replay, -ENODATA, "the log has no record of the backup's end: it reaches only " NF_LSN_FMT ": %s",
		       NF_LSN_ARG(rp_log_end(replay->log).end), rp_log_why(replay->log)->text);
}

static int find_own_end(struct replay *replay, struct nf_lsn *ret_end)
{
	struct rp_log *own;
	int status = open_log(replay, false, &own);
	if (status < 0) {
		*ret_end = replay->start;
		return 0;
	}
	status = find_end(replay, own, ret_end);
	rp_log_close(own);
	return status;
}

static int settle_lowest(struct replay *replay)
{
	const struct wa_control *control = &replay->control;
	replay->lowest = replay->start;
	if (replay->from_backup && !replay->from_standby)
		return find_backup_end(replay, replay->start, &replay->lowest);
	/* Its recovery from a backup was broken off: pg_control keeps what backup_label said. */
	if (!replay->from_backup && control->backup_start.v != 0 && !control->backup_end_required)
		return find_backup_end(replay, control->backup_start, &replay->lowest);
	if (replay->from_standby || control->state == WA_ARCHIVE_RECOVERY || control->state == WA_SHUT_DOWN_IN_RECOVERY)
		replay->lowest.v = NF_MAX(control->min_recovery.v, replay->start.v);
	else if (control->state != WA_SHUT_DOWN && replay->options.to.v != 0 && !replay->options.is_checked)
		return find_own_end(replay, &replay->lowest);
	return 0;
}

static int out_of_range(struct replay *replay, struct nf_lsn end)
{
	struct nf_lsn to = replay->options.to;
	return rp_fail(replay, -ERANGE,
		       NF_LSN_FMT " is out of range: this directory can be brought to " NF_LSN_FMT
				  " at the earliest, and the log ends at " NF_LSN_FMT,
		       NF_LSN_ARG(to), NF_LSN_ARG(replay->lowest), NF_LSN_ARG(end));
}

/* The log must be there from start on and reach options.to: only its end is read here. */
static int check_range(struct replay *replay)
{
	struct nf_lsn to = replay->options.to, end, missing;
	uint32_t size = replay->control.wal_segment_size;
	const struct wa_record *record;
	int status = rp_log_has(replay->log, replay->start, (struct nf_lsn){replay->start.v + 1}, &missing) ? 0 : -ENODATA;
	if (status < 0)
		return rp_fail(replay, status, "the log is not there from " NF_LSN_FMT " on, where replay must begin",
			       NF_LSN_ARG(replay->start));
	if (to.v == 0 && replay->options.summaries == NULL)
		return 0;
	/* A summary may know a record whose last bytes a crash has taken away. How far the log itself reaches is what counts. */
	if (to.v == 0)
		return find_end(replay, replay->log, &replay->options.to);
	if (replay->options.is_checked && rp_log_has(replay->log, replay->start, to, &missing))
		return 0;
	if (to.v >= replay->lowest.v && rp_log_has(replay->log, replay->start, to, &missing)) {
		uint64_t at = NF_MAX((to.v - 1) / size * size, replay->start.v);
		status = rp_log_seek(replay->log, (struct nf_lsn){at}, at != replay->start.v);
		while (status == 0 && look(replay->log, &record) == 1)
			if (record->end.v >= to.v)
				return 0;
	}
	status = find_end(replay, replay->log, &end);
	if (status < 0)
		return status;
	return to.v >= replay->lowest.v && to.v <= end.v ? 0 : out_of_range(replay, end);
}

/* Where the log ends is where replay ends, without --to. Postgres does not start either when its checkpoint is not there. */
static int check_checkpoint(struct replay *replay)
{
	const struct wa_record *record;
	int status = rp_log_seek(replay->log, replay->control.checkpoint, false);
	if (status == 0)
		status = look(replay->log, &record);
	if (status == 1 && record->rmid == WA_RMGR_XLOG && (record->info & 0xF0) <= 0x10)
		return 0;
	return rp_fail(replay, status < 0 ? status : -EBADMSG,
		       "the last checkpoint, at " NF_LSN_FMT ", is not in the log: WAL is missing or damaged",
		       NF_LSN_ARG(replay->control.checkpoint));
}

int rp_check_reached(struct replay *replay)
{
	const struct nf_lsn checkpoint = replay->control.checkpoint;
	if (!replay->to_log_end || (replay->end.v >= replay->lowest.v && replay->end.v > checkpoint.v))
		return 0;
	return rp_fail(replay, -EBADMSG,
		       "the log ends at " NF_LSN_FMT " already (%.120s), but the files are further on: WAL is missing or damaged",
		       NF_LSN_ARG(replay->end), rp_log_why(replay->log)->text);
}

static int check_wal_directories(struct replay *replay)
{
	for (unsigned i = 0; i < RP_LOG_DIRECTORIES_MAX && replay->options.wal[i] != NULL; i++)
		if (access(replay->options.wal[i], R_OK | X_OK) < 0)
			return rp_fail(replay, -errno, "%s: %s", replay->options.wal[i], strerror(errno));
	return 0;
}

int rp_examine(struct replay *replay)
{
	replay->to_log_end = replay->options.to.v == 0;
	int status = check_idle(replay);
	if (status == 0)
		status = read_version(replay);
	if (status == 0)
		status = read_control(replay);
	if (status == 0)
		status = read_label(replay);
	if (status == 0)
		status = rp_check_wal_level(replay, replay->start);
	if (status == 0)
		status = check_wal_directories(replay);
	if (status == 0)
		status = rp_open_summaries(replay);
	/* By what is open: the name may be another directory's before the log is read to its end. */
	snprintf(replay->own_wal, sizeof(replay->own_wal), "/proc/self/fd/%d/pg_wal", replay->root);
	if (status == 0)
		status = open_log(replay, true, &replay->log);
	if (status == 0)
		status = check_new_timeline(replay);
	if (status == 0 && replay->from_backup)
		status = read_checkpoint(replay);
	else if (status == 0 && replay->to_log_end)
		status = check_checkpoint(replay);
	if (status == 0)
		status = settle_lowest(replay);
	return status == 0 ? check_range(replay) : status;
}
