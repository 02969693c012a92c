/* Snapshots as bases of replay: what they say of themselves, and where their WAL ends.
 *
 * written: the end of the last record in the snapshot's own pg_wal. Pages in it hold nothing of later records, not even hint bits. redo: where
 * replay on it begins. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"

#define LABEL "auto-"
#define VERSION_FILE_MAX 64u

/* PG_VERSION: the major version, as digits. */
static int read_major(struct bd_store *store, struct bd_view view, int *ret_major, char *ret_message, size_t message_size)
{
	struct bd_inode *file;
	uint8_t *text;
	size_t size;
	int error = wh_path(store, view, "PG_VERSION", &file);
	if (error == -ENOENT)
		return wh_say(ret_message, message_size, -EINVAL, "it is no Postgres data directory (no PG_VERSION)");
	if (error != 0)
		return wh_say(ret_message, message_size, error, "cannot read PG_VERSION: %s", strerror(-error));
	error = wh_read(file, VERSION_FILE_MAX, &text, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return wh_say(ret_message, message_size, -EINVAL, "cannot read PG_VERSION: %s", strerror(-error));
	long major = strtol((const char *)text, NULL, 10);
	free(text);
	if (major < 13 || major > 18)
		return wh_say(ret_message, message_size, -EINVAL, "Postgres %ld is not known; history is for 13 to 18", major);
	*ret_major = (int)major;
	return 0;
}

int wh_control(struct bd_store *store, struct bd_view view, struct wa_control *ret_control, int *ret_major, char *ret_message,
	       size_t size)
{
	struct bd_inode *file;
	struct wa_error why;
	uint8_t bytes[WA_CONTROL_FILE_SIZE];
	int error = read_major(store, view, ret_major, ret_message, size);
	if (error != 0)
		return error;
	error = wh_path(store, view, "global/pg_control", &file);
	if (error != 0)
		return wh_say(ret_message, size, error == -ENOENT ? -EINVAL : error, "cannot read global/pg_control: %s",
			      strerror(-error));
	ssize_t got = bd_read(file, 0, bytes, sizeof(bytes));
	bd_inode_unref(file, 1);
	if (got < 0)
		return wh_say(ret_message, size, (int)got, "cannot read global/pg_control: %s", strerror((int)-got));
	error = wa_control_load(*ret_major, bytes, (size_t)got, ret_control, &why);
	return error == 0 ? 0 : wh_say(ret_message, size, -EBADMSG, "global/pg_control: %s", why.text);
}

/* Can replay start from such a state? */
static int check_state(struct bd_store *store, struct bd_view view, const struct wa_control *control, char *ret_message,
		       size_t size)
{
	struct bd_inode *file;
	if (control->state == WA_ARCHIVE_RECOVERY || control->state == WA_SHUT_DOWN_IN_RECOVERY)
		return wh_say(ret_message, size, -EINVAL, "it is in archive recovery (a standby)");
	if (control->backup_start.v != 0 || control->backup_end_required)
		return wh_say(ret_message, size, -EINVAL, "it is a base backup that has not been recovered yet");
	int error = wh_path(store, view, "backup_label", &file);
	if (error == 0) {
		bd_inode_unref(file, 1);
		return wh_say(ret_message, size, -EINVAL, "it has a backup_label");
	}
	return error == -ENOENT ? 0 : wh_say(ret_message, size, error, "cannot look for backup_label: %s", strerror(-error));
}

/* Read the view's WAL to its end. */
static int read_to_end(struct wh_entry *entry, struct bd_inode *pg_wal, struct wh_log_start start, struct wh_tail *tail,
		       char *ret_message, size_t size)
{
	struct wh_log log;
	const struct wa_record *record;
	bool commit;
	int64_t time_us;
	int status = wh_log_open(&log, &entry->facts, pg_wal, NULL, start);
	if (status != 0)
		return wh_say(ret_message, size, status, "cannot read its WAL: %s", strerror(-status));
	while ((status = wh_log_next(&log, &record)) == 1) {
		if (wh_transaction_end(record, &commit, &time_us) && commit)
			tail->commit_us = time_us;
	}
	struct wa_end_info end = wa_reader_end(log.reader);
	tail->end = end.end;
	tail->last = end.last;
	if (status == -EBADMSG)
		status = wh_say(ret_message, size, -EINVAL, "its WAL at " NF_LSN_FMT ": %s", NF_LSN_ARG(log.error.lsn),
				log.error.text);
	else if (status != 0)
		wh_say(ret_message, size, status, "cannot read its WAL: %s", strerror(-status));
	wh_log_close(&log);
	return status;
}

int wh_base_positions(struct wh_entry *entry, struct bd_view view, const struct wh_tail *from, struct wa_facts_base *base,
		      struct wh_tail *ret_tail, char *ret_message, size_t size)
{
	struct bd_store *store = entry->history->store;
	struct wa_control control;
	struct bd_inode *pg_wal;
	int major, error = wh_control(store, view, &control, &major, ret_message, size);
	if (error == 0)
		error = check_state(store, view, &control, ret_message, size);
	if (error != 0)
		return error == -EBADMSG ? -EINVAL : error;
	if (major != entry->facts.major || control.system_id != entry->facts.system_id ||
	    control.wal_segment_size != entry->facts.segment_size)
		return wh_say(ret_message, size, -EINVAL, "it is another cluster");
	error = wh_path(store, view, "pg_wal", &pg_wal);
	if (error != 0)
		return wh_say(ret_message, size, error == -ENOENT ? -EINVAL : error, "it has no pg_wal");
	/* Segments before the redo pointer's may be gone from it. */
	struct wh_log_start start = {.lsn = from->end, .prev = from->last};
	struct wh_tail tail = *from;
	if (from->end.v < control.copy.redo.v)
		start = (struct wh_log_start){.lsn = control.copy.redo};
	error = read_to_end(entry, pg_wal, start, &tail, ret_message, size);
	bd_inode_unref(pg_wal, 1);
	if (error == 0 && tail.end.v <= control.checkpoint.v)
		error = wh_say(ret_message, size, -EINVAL, "its WAL ends at " NF_LSN_FMT ", before its checkpoint at " NF_LSN_FMT,
			       NF_LSN_ARG(tail.end), NF_LSN_ARG(control.checkpoint));
	if (error != 0)
		return error;
	base->written = tail.end;
	base->redo = control.copy.redo;
	base->timeline =
		wa_facts_timeline_of(&entry->facts, (struct nf_lsn){wa_segment_start(tail.end, entry->facts.segment_size)});
	*ret_tail = tail;
	return 0;
}

/* ------------------------------------------------------------ snapshots */

bool wh_is_automatic_label(const char *label)
{
	struct nf_lsn lsn;
	return strncmp(label, LABEL, strlen(LABEL)) == 0 && nf_lsn_parse(label + strlen(LABEL), &lsn) == 0;
}

static int64_t us_of_ns(int64_t unix_ns)
{
	return unix_ns / 1000 - WH_EPOCH_2000_S * 1000000;
}

static int add_base(struct wh_entry *entry, const struct wa_facts_base *base)
{
	pthread_mutex_lock(&entry->state);
	int error = wa_facts_add_base(&entry->facts, *base);
	pthread_mutex_unlock(&entry->state);
	return error;
}

int wh_snapshot(struct wh_entry *entry, struct nf_lsn about, char *ret_message, size_t size)
{
	struct bd_store *store = entry->history->store;
	struct bd_snapshot_info info;
	struct wh_tail tail;
	char label[BD_BRANCH_NAME_MAX + 1];
	snprintf(label, sizeof(label), LABEL "%" PRIX32 "-%" PRIX32, NF_LSN_ARG(about));
	int error = bd_snapshot_create(store, entry->branch, label, &info);
	if (error != 0)
		return error == -EEXIST ? error
					: wh_say(ret_message, size, error, "cannot take a snapshot: %s", strerror(-error));
	struct wa_facts_base base = {.epoch = info.epoch.v, .flags = WA_BASE_AUTOMATIC, .time_us = us_of_ns(info.created_ns)};
	error = wh_base_positions(entry, (struct bd_view){entry->branch, info.epoch}, &entry->tail, &base, &tail, ret_message,
				  size);
	if (error == 0)
		error = add_base(entry, &base);
	if (error != 0) {
		if (bd_snapshot_delete(store, entry->branch, label) != 0)
			nf_warn("history of branch %u: snapshot %s is no base and could not be deleted", entry->branch.v, label);
		return error;
	}
	pthread_mutex_lock(&entry->state);
	entry->tail = tail;
	pthread_mutex_unlock(&entry->state);
	return 0;
}

/* A snapshot that a user made, or one of ours that was not noted before the daemon was killed. */
static int look_at(struct wh_entry *entry, const struct bd_snapshot_info *info)
{
	const struct wh_tail from = {0};
	struct wh_tail tail;
	char why[WA_HISTORY_MESSAGE_MAX];
	struct wa_facts_base base = {.epoch = info->epoch.v,
				     .flags = wh_is_automatic_label(info->label) ? WA_BASE_AUTOMATIC : 0,
				     .time_us = us_of_ns(info->created_ns)};
	int error = wh_base_positions(entry, (struct bd_view){entry->branch, info->epoch}, &from, &base, &tail, why, sizeof(why));
	if (error == 0 && (base.redo.v < entry->facts.kept_from.v || base.redo.v < wa_facts_begun(&entry->facts).v))
		error = wh_say(why, sizeof(why), -EINVAL, "its WAL is not kept any more");
	if (error != 0 && error != -EINVAL)
		return error == -ENOENT ? 0 : error; /* deleted meanwhile */
	if (error != 0) {
		base.flags |= WA_BASE_UNUSABLE;
		base.written = base.redo = (struct nf_lsn){0};
		base.timeline = 0;
		nf_debug("history of branch %u: snapshot %s is no base: %s", entry->branch.v, info->label, why);
	}
	return add_base(entry, &base);
}

static const struct bd_snapshot_info *find_epoch(const struct bd_snapshot_info *infos, size_t count, uint32_t epoch)
{
	for (size_t low = 0, high = count; low < high;) {
		size_t middle = low + (high - low) / 2;
		if (infos[middle].epoch.v == epoch)
			return &infos[middle];
		if (infos[middle].epoch.v < epoch)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Forget bases whose snapshots are gone. Returns whether there were any. */
static bool forget_gone(struct wh_entry *entry, const struct bd_snapshot_info *infos, size_t count)
{
	bool any = false;
	pthread_mutex_lock(&entry->state);
	for (uint32_t i = entry->facts.base_count; i-- > 0;) {
		if (find_epoch(infos, count, entry->facts.bases[i].epoch) == NULL) {
			wa_facts_drop_base(&entry->facts, i);
			any = true;
		}
	}
	pthread_mutex_unlock(&entry->state);
	return any;
}

static bool is_known(const struct wa_facts *facts, uint32_t epoch)
{
	for (uint32_t i = facts->base_count; i-- > 0 && facts->bases[i].epoch >= epoch;) {
		if (facts->bases[i].epoch == epoch)
			return true;
	}
	return false;
}

int wh_look_at_snapshots(struct wh_entry *entry)
{
	struct bd_snapshot_info *infos;
	size_t count;
	int error = bd_snapshot_list(entry->history->store, entry->branch, &infos, &count);
	if (error != 0)
		return error;
	bool changed = forget_gone(entry, infos, count);
	for (size_t i = 0; i < count && error == 0; i++) {
		if (is_known(&entry->facts, infos[i].epoch.v))
			continue;
		error = look_at(entry, &infos[i]);
		changed = true;
	}
	free(infos);
	return error == 0 && changed ? wh_write_facts(entry) : error;
}
