/* Following a branch: what is done at each look at it, by the history's thread or by who wants to know the end.
 *
 *   begin      a snapshot; its redo pointer says which WAL is needed; everything from that segment on is history from now on
 *   seal       a segment is full once the next one is begun: one pass over its records makes its index and its summary (seal.c). `sealed` moves on
 *   tail       behind `sealed` the log is read only when somebody asks where it ends: for a snapshot, and for a point
 *   snapshot   every so many bytes of WAL, and when pg_control names a new checkpoint: the redo pointer has moved then, so that replay on the
 *              snapshot is short. Not while the branch has redo layers of its own, up to a bound
 *
 * So the log is decoded once for the index, and in part once more for each snapshot. Nothing here holds a lock of the store, or keeps Postgres
 * waiting. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_cursor.h"
#include "common/nf_log.h"
#include "walapply/decode/wa_records.h"
#include "walapply/pitr/history_impl.h"

#define INFO_MASK 0xF0
#define XLOG_PARAMETER_CHANGE 0x60
#define PARAMETER_WAL_LEVEL 20 /* offset in xl_parameter_change, 13 to 18 */
#define LAYER_PATIENCE                                                                                                           \
	8u /* a snapshot waits for layers while the newest base is not this many times snapshot_every_bytes behind */
#define HISTORY_FILE_MAX (1u << 20)

/* ---------------------------------------------------------------- records */

int wh_observe(struct wh_entry *entry, const struct wa_record *record)
{
	if (record->rmid != WA_RMGR_XLOG || (record->info & INFO_MASK) != XLOG_PARAMETER_CHANGE)
		return 0;
	struct nf_reader r = nf_reader_init(record->main, record->main_len);
	(void)nf_read_bytes(&r, PARAMETER_WAL_LEVEL);
	uint32_t wal_level = nf_read_u32(&r);
	if (r.failed)
		return 0;
	pthread_mutex_lock(&entry->state);
	int error = wa_facts_wal_level(&entry->facts, record->lsn, wal_level == 0);
	pthread_mutex_unlock(&entry->state);
	return error;
}

int wh_read_tail(struct wh_entry *entry)
{
	struct wh_log log;
	struct bd_inode *live;
	const struct wa_record *record;
	struct wh_tail tail = entry->tail;
	bool commit;
	int64_t time_us;
	int status = wh_path(entry->history->store, wh_head(entry->branch), "pg_wal", &live);
	if (status != 0)
		return status;
	const struct wh_log_start start = {.lsn = tail.end, .prev = tail.last};
	status = wh_log_open(&log, &entry->facts, live, entry->wal, start);
	if (status == 0) {
		while ((status = wh_log_next(&log, &record)) == 1) {
			if (wh_transaction_end(record, &commit, &time_us) && commit)
				tail.commit_us = time_us;
			status = wh_observe(entry, record);
			if (status != 0)
				break;
		}
		struct wa_end_info end = wa_reader_end(log.reader);
		tail.end = end.end;
		tail.last = end.last;
		wh_log_close(&log);
		pthread_mutex_lock(&entry->state);
		entry->tail = tail;
		pthread_mutex_unlock(&entry->state);
	}
	bd_inode_unref(live, 1);
	return status;
}

/* ----------------------------------------------------------------- begin */

/* Forget everything but retention, holds, and what is said of the last time. */
static void clear_facts(struct wh_entry *entry, const struct wa_control *control, int major)
{
	struct wa_facts *facts = &entry->facts;
	pthread_mutex_lock(&entry->state);
	facts->timeline_count = facts->base_count = facts->stretch_count = 0;
	facts->index_bytes = 0;
	facts->major = major;
	facts->system_id = control->system_id;
	facts->segment_size = control->wal_segment_size;
	/* Nothing is needed until the first base says what is. */
	facts->kept_from.v = facts->sealed.v = UINT64_MAX - UINT64_MAX % control->wal_segment_size;
	facts->next = facts->prev = (struct nf_lsn){0};
	entry->tail = (struct wh_tail){0};
	pthread_mutex_unlock(&entry->state);
}

static void keep_all(struct wh_entry *entry, uint32_t segment_size)
{
	pthread_mutex_lock(&entry->state);
	entry->segment_size = segment_size;
	entry->keeps_all = segment_size != 0;
	if (segment_size != 0)
		entry->lost[0] = '\0';
	pthread_mutex_unlock(&entry->state);
}

/* The first base, and from where on WAL is kept. */
static int first_base(struct wh_entry *entry, const struct wa_control *control, char *ret_message, size_t size)
{
	struct wa_facts *facts = &entry->facts;
	const struct wa_facts_timeline timeline = {.timeline = control->copy.timeline};
	pthread_mutex_lock(&entry->state);
	int error = wa_facts_add_timeline(facts, timeline);
	pthread_mutex_unlock(&entry->state);
	if (error == 0)
		error = wh_snapshot(entry, control->copy.redo, ret_message, size);
	if (error != 0)
		return error;
	const struct wa_facts_base *base = wa_facts_newest(facts);
	pthread_mutex_lock(&entry->state);
	facts->kept_from.v = facts->sealed.v = wa_segment_start(base->redo, facts->segment_size);
	facts->next = facts->sealed;
	facts->prev.v = 0;
	facts->timelines[0].begin = base->redo;
	if (control->parameters.wal_level == 0)
		error = wa_facts_wal_level(facts, base->redo, true);
	pthread_mutex_unlock(&entry->state);
	return error;
}

/* The file that names pass: files of pg_wal itself, not of a directory that it links to. */
static int find_pg_wal(struct wh_entry *entry, char *ret_message, size_t size)
{
	struct bd_inode *dir;
	struct bd_attr attr;
	int error = wh_path(entry->history->store, wh_head(entry->branch), "pg_wal", &dir);
	if (error != 0)
		return wh_say(ret_message, size, error == -ENOENT ? -EINVAL : error, "it has no pg_wal");
	bd_inode_attr(dir, &attr);
	bd_inode_unref(dir, 1);
	if ((attr.mode & 0170000) != 0040000)
		return wh_say(ret_message, size, -EINVAL,
			      "its pg_wal is a link to another place; history follows WAL inside the branch only");
	atomic_store(&entry->pg_wal, attr.file.v);
	return 0;
}

int wh_begin(struct wh_entry *entry, const char *why, char *ret_message, size_t size)
{
	struct wa_control control;
	int major, error = wh_control(entry->history->store, wh_head(entry->branch), &control, &major, ret_message, size);
	if (error == 0)
		error = find_pg_wal(entry, ret_message, size);
	if (error != 0)
		return error;
	keep_all(entry, control.wal_segment_size);
	entry->generation++;
	entry->version = (struct wa_version){major, control.checksum_version != 0, control.parameters.wal_log_hints};
	entry->tracks_commits = control.parameters.track_commit_timestamp;
	clear_facts(entry, &control, major);
	entry->clean_from = entry->clean_to = (struct nf_lsn){0};
	if (why != NULL) {
		pthread_mutex_lock(&entry->state);
		entry->facts.begun_again_us = wh_now_us();
		snprintf(entry->facts.begun_again_why, sizeof(entry->facts.begun_again_why), "%s", why);
		pthread_mutex_unlock(&entry->state);
		nf_warn("history of branch %u begins again: %s", entry->branch.v, why);
	}
	error = wh_delete_automatic(entry);
	if (error == 0)
		error = wh_remove_segments(entry);
	/* Indexes that are held may get others beside them that are of another log. */
	if (error == 0)
		error = wh_remove_runs(entry);
	if (error == 0)
		error = first_base(entry, &control, ret_message, size);
	else
		wh_say(ret_message, size, error, "cannot clear what was there: %s", strerror(-error));
	if (error == 0) {
		error = wh_write_facts(entry);
		if (error != 0)
			wh_say(ret_message, size, error, "cannot write the facts: %s", strerror(-error));
	}
	if (error != 0) {
		/* Not begun: the next look tries again. */
		clear_facts(entry, &control, major);
		pthread_mutex_lock(&entry->state);
		entry->facts.segment_size = 0;
		entry->facts.kept_from = entry->facts.sealed = (struct nf_lsn){0};
		pthread_mutex_unlock(&entry->state);
	}
	entry->snapshots_seen = UINT32_MAX;
	entry->snapshot_waits = false;
	keep_all(entry, 0);
	return error;
}

/* --------------------------------------------------------------- follow */

/* pg_control names a newer timeline: take over how the log got there. -ERANGE, -ENOENT and the like: it does not continue ours. */
static int follow_timeline(struct wh_entry *entry, struct bd_inode *live, uint32_t newest)
{
	char name[32];
	struct bd_inode *file;
	uint8_t *text;
	size_t size;
	snprintf(name, sizeof(name), "%08" PRIX32 ".history", newest);
	int error = bd_lookup(live, name, &file);
	if (error != 0)
		return error;
	error = wh_read(file, HISTORY_FILE_MAX, &text, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	pthread_mutex_lock(&entry->state);
	error = wa_facts_follow(&entry->facts, (const char *)text, newest, entry->tail.end);
	pthread_mutex_unlock(&entry->state);
	free(text);
	return error;
}

static int64_t mtime_of_control(struct wh_entry *entry)
{
	struct bd_inode *file;
	struct bd_attr attr;
	if (wh_path(entry->history->store, wh_head(entry->branch), "global/pg_control", &file) != 0)
		return 0;
	bd_inode_attr(file, &attr);
	bd_inode_unref(file, 1);
	return attr.mtime_ns;
}

/* What pg_control says anew. *ret_redo: its redo pointer; 0 nothing new. */
static int look_at_control(struct wh_entry *entry, struct bd_inode *live, struct nf_lsn *ret_redo, char *why, size_t size)
{
	struct wa_control control;
	int major;
	int64_t mtime_ns = mtime_of_control(entry);
	*ret_redo = (struct nf_lsn){0};
	if (mtime_ns == entry->control_mtime_ns)
		return 0;
	int error = wh_control(entry->history->store, wh_head(entry->branch), &control, &major, why, size);
	if (error == -EBADMSG)
		return 0; /* torn, under a write: it comes again */
	if (error != 0)
		return error;
	if (control.system_id != entry->facts.system_id || major != entry->facts.major ||
	    control.wal_segment_size != entry->facts.segment_size)
		return wh_say(why, size, -ESTALE, "another cluster is in the branch now");
	uint32_t newest = entry->facts.timelines[entry->facts.timeline_count - 1].timeline;
	if (control.copy.timeline < newest)
		return wh_say(why, size, -ESTALE, "the cluster went back from timeline %u to %u", newest, control.copy.timeline);
	if (control.copy.timeline > newest && follow_timeline(entry, live, control.copy.timeline) != 0)
		return wh_say(why, size, -ESTALE, "timeline %u does not continue timeline %u where it was", control.copy.timeline,
			      newest);
	entry->version = (struct wa_version){major, control.checksum_version != 0, control.parameters.wal_log_hints};
	entry->tracks_commits = control.parameters.track_commit_timestamp;
	entry->control_mtime_ns = mtime_ns;
	*ret_redo = control.copy.redo;
	return 0;
}

/* Must a snapshot wait until the branch's redo layers are gone? It would look through them: blocks that are not made yet would have to be made for it, by
 * nobody, so that the layers stayed as long as it does. */
static int must_wait(struct wh_entry *entry, struct nf_lsn about, bool *ret_wait)
{
	const struct wa_facts_base *newest = wa_facts_newest(&entry->facts);
	struct bd_branch_info info;
	*ret_wait = false;
	if (newest == NULL || about.v >= newest->written.v + LAYER_PATIENCE * entry->history->options.snapshot_every_bytes)
		return 0;
	int error = bd_branch_get(entry->history->store, entry->branch, &info);
	*ret_wait = error == 0 && info.layers > 0;
	return error;
}

/* Is it time for a snapshot? */
static int snapshot_when_due(struct wh_entry *entry, struct bd_inode *live, struct nf_lsn redo, char *why, size_t size)
{
	const struct wa_facts_base *newest = wa_facts_newest(&entry->facts);
	struct nf_lsn about;
	int error = wh_written_about(live, &entry->facts, entry->tail.end, &about);
	if (error != 0)
		return error;
	bool due = newest == NULL || about.v >= newest->written.v + entry->history->options.snapshot_every_bytes;
	if (!due && !entry->snapshot_waits && (newest == NULL || redo.v <= newest->redo.v || entry->snapshot_tried.v == redo.v))
		return 0;
	error = must_wait(entry, about, &entry->snapshot_waits);
	if (error != 0 || entry->snapshot_waits)
		return error;
	entry->snapshot_tried = redo;
	error = wh_snapshot(entry, about, why, size);
	if (error == 0)
		error = wh_write_facts(entry);
	/* Nothing new since the last one; or a state that is no base, which the next one may be. */
	return error == -EEXIST || error == -EINVAL ? 0 : error;
}

static bool take_lost(struct wh_entry *entry, char *why, size_t size)
{
	pthread_mutex_lock(&entry->state);
	bool lost = entry->lost[0] != '\0';
	if (lost)
		snprintf(why, size, "%s", entry->lost);
	pthread_mutex_unlock(&entry->state);
	return lost;
}

static int look(struct wh_entry *entry, struct bd_inode *live, bool all, char *why, size_t size)
{
	struct bd_branch_info info;
	struct nf_lsn redo;
	int error = look_at_control(entry, live, &redo, why, size);
	if (error == 0)
		error = wh_seal_all(entry, live, why, size);
	if (error == 0)
		error = snapshot_when_due(entry, live, redo, why, size);
	if (error == 0)
		error = bd_branch_get(entry->history->store, entry->branch, &info);
	if (error == 0 && info.snapshots != entry->snapshots_seen) {
		error = wh_look_at_snapshots(entry);
		if (error == 0)
			entry->snapshots_seen = info.snapshots;
	}
	if (error == 0 && all)
		error = wh_read_tail(entry);
	if (error == 0)
		error = wh_retain(entry);
	return error;
}

static void note_trouble(struct wh_entry *entry, const char *text)
{
	pthread_mutex_lock(&entry->state);
	bool news = strncmp(entry->trouble, text, sizeof(entry->trouble) - 1) != 0;
	snprintf(entry->trouble, sizeof(entry->trouble), "%s", text);
	pthread_mutex_unlock(&entry->state);
	if (news && text[0] != '\0')
		nf_warn("history of branch %u: %s", entry->branch.v, text);
}

int wh_follow(struct wh_entry *entry, bool all, char *ret_message, size_t size)
{
	char why[WA_HISTORY_MESSAGE_MAX] = "", begun[WA_HISTORY_MESSAGE_MAX];
	struct bd_inode *live;
	if (entry->facts.segment_size == 0 && wh_monotonic_ns() < entry->begin_after_ns)
		return wh_say(ret_message, size, -EAGAIN, "history has not begun: %s", entry->trouble);
	int error = 0;
	if (take_lost(entry, why, sizeof(why)))
		error = -ESTALE;
	else if (entry->facts.segment_size == 0)
		error = wh_begin(entry, NULL, why, sizeof(why));
	if (error == 0)
		error = wh_path(entry->history->store, wh_head(entry->branch), "pg_wal", &live);
	if (error == 0) {
		error = look(entry, live, all, why, sizeof(why));
		bd_inode_unref(live, 1);
	}
	if (error == -ESTALE || (error == -EBADMSG && entry->facts.segment_size != 0)) {
		snprintf(begun, sizeof(begun), "%s", why);
		error = wh_begin(entry, begun, why, sizeof(why));
	}
	if (entry->facts.segment_size == 0)
		entry->begin_after_ns = wh_monotonic_ns() + WA_HISTORY_RETRY_MS * INT64_C(1000000);
	if (error != 0 && why[0] == '\0')
		snprintf(why, sizeof(why), "%s", strerror(-error));
	note_trouble(entry, error != 0 ? why : "");
	return error != 0 ? wh_say(ret_message, size, error, "%s", why) : 0;
}
