/* Questions about points: which base, where records end, what happened when. Under entry->work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"
#include "walapply/pitr/history_impl.h"

#define INFO_MASK 0xF0
#define XLOG_RESTORE_POINT 0x70
#define RESTORE_POINT_NAME 64u /* bytes in the record, behind an i64 time */
/* Commits are not quite in the order of their times: a backend takes the time first. Segments whose commits are this much older than what is
 * looked for are not read. */
#define COMMIT_SKEW_US (60 * INT64_C(1000000))

/* An entry at work, with its pg_wal. */
struct asked {
	struct wh_entry *entry;
	struct bd_inode *live;
	char *message;
	size_t message_size;
};

static int no_history(char *ret_message, size_t size)
{
	return wh_say(ret_message, size, -ENODATA, "the branch keeps no history; turn it on with neonfs-branch retain");
}

static void leave(struct asked *asked)
{
	bd_inode_unref(asked->live, 1);
	pthread_mutex_unlock(&asked->entry->work);
}

/* Take the branch's work lock; `all`: after bringing it up to its end. On success leave() is due. */
static int enter(struct wa_history *history, struct bd_branch_id branch, bool all, struct asked *ret_asked, char *ret_message,
		 size_t size)
{
	struct wh_entry *entry = wh_find(history, branch);
	if (entry == NULL)
		return no_history(ret_message, size);
	pthread_mutex_lock(&entry->work);
	int error = entry->is_on ? 0 : no_history(ret_message, size);
	if (error == 0 && (all || entry->facts.segment_size == 0))
		error = wh_follow(entry, all, ret_message, size);
	if (error == 0)
		error = wh_path(history->store, wh_head(branch), "pg_wal", &ret_asked->live);
	if (error != 0) {
		pthread_mutex_unlock(&entry->work);
		return error;
	}
	*ret_asked = (struct asked){.entry = entry, .live = ret_asked->live, .message = ret_message, .message_size = size};
	return 0;
}

/* Enter, with x inside the window. */
static int enter_at(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x, struct asked *ret_asked,
		    char *ret_message, size_t size)
{
	int error = enter(history, branch, false, ret_asked, ret_message, size);
	if (error == 0 && x.v > ret_asked->entry->tail.end.v) {
		leave(ret_asked);
		error = enter(history, branch, true, ret_asked, ret_message, size);
	}
	if (error != 0)
		return error;
	const struct wa_facts_base *oldest = wa_facts_oldest(&ret_asked->entry->facts);
	struct nf_lsn latest = ret_asked->entry->tail.end;
	if (oldest == NULL || x.v < oldest->written.v)
		error = wh_say(ret_message, size, -ERANGE, NF_LSN_FMT " is before the earliest point kept, " NF_LSN_FMT,
			       NF_LSN_ARG(x), NF_LSN_ARG(oldest != NULL ? oldest->written : latest));
	else if (x.v > latest.v)
		error = wh_say(ret_message, size, -ERANGE, NF_LSN_FMT " is behind the end of the branch's WAL, " NF_LSN_FMT,
			       NF_LSN_ARG(x), NF_LSN_ARG(latest));
	if (error != 0)
		leave(ret_asked);
	return error;
}

/* ------------------------------------------------------------- scanning */

/* Each record from the segment at `start` on; a non-zero return of `each` ends it: 1 is success. */
static int scan(struct asked *asked, struct nf_lsn start, int (*each)(void *arg, const struct wa_record *record), void *arg)
{
	struct wh_entry *entry = asked->entry;
	struct wh_log log;
	const struct wa_record *record;
	/* Before the oldest base's redo pointer a segment may hold anything. */
	struct wh_log_start from = {.lsn = start, .find = true};
	const struct wa_facts_base *oldest = wa_facts_oldest(&entry->facts);
	if (oldest != NULL && oldest->redo.v > start.v && oldest->redo.v - start.v < entry->facts.segment_size)
		from = (struct wh_log_start){.lsn = oldest->redo};
	int status = wh_log_open(&log, &entry->facts, asked->live, entry->wal, from);
	if (status != 0)
		return wh_say(asked->message, asked->message_size, status, "cannot read the WAL: %s", strerror(-status));
	int done = 0;
	while (done == 0 && (status = wh_log_next(&log, &record)) == 1 && record->end.v <= entry->tail.end.v)
		done = each(arg, record);
	if (status < 0)
		wh_say(asked->message, asked->message_size, status, "cannot read the WAL at " NF_LSN_FMT ": %s",
		       NF_LSN_ARG(log.error.lsn), status == -EBADMSG ? log.error.text : strerror(-status));
	wh_log_close(&log);
	return done < 0 ? done : status < 0 ? status : 0;
}

/* The file of the segment's index, whose name becomes *name. */
static int open_index(struct asked *asked, struct nf_lsn start, char name[WA_SEGMENT_NAME + 1], struct bd_inode **ret_file)
{
	const struct wa_facts *facts = &asked->entry->facts;
	wa_segment_name(name, wa_facts_timeline_of(facts, start), start, facts->segment_size);
	int error = bd_lookup(asked->entry->index, name, ret_file);
	if (error == -ENOENT) /* of before a switch of timelines that came in this segment */
		return wh_say(asked->message, asked->message_size, -EUCLEAN, "the index of segment %s is missing", name);
	return error == 0 ? 0
			  : wh_say(asked->message, asked->message_size, error, "cannot read the index of segment %s: %s", name,
				   strerror(-error));
}

/* What the index says of its segment: its head alone is read. */
static int index_info(struct asked *asked, struct nf_lsn start, struct wa_index_info *ret_info)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	struct wa_error why;
	int error = open_index(asked, start, name, &file);
	if (error != 0)
		return error;
	uint8_t *bytes = nf_io_buffer(NF_BLOCK_SIZE);
	ssize_t got = bytes != NULL ? bd_read(file, 0, bytes, NF_BLOCK_SIZE) : -ENOMEM;
	bd_inode_unref(file, 1);
	if (got < 0)
		error = wh_say(asked->message, asked->message_size, (int)got, "cannot read the index of segment %s: %s", name,
			       strerror((int)-got));
	else if (wa_index_read_info(bytes, (size_t)got, ret_info, &why) < 0)
		error = wh_say(asked->message, asked->message_size, -EUCLEAN, "the index of segment %s: %s", name, why.text);
	free(bytes);
	return error;
}

/* All of it, its bytes to be freed. */
static int load_index(struct asked *asked, struct nf_lsn start, struct wa_index *ret_index, uint8_t **ret_bytes)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	struct wa_error why;
	size_t size;
	int error = open_index(asked, start, name, &file);
	if (error != 0)
		return error;
	error = wh_read(file, UINT32_MAX, ret_bytes, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return wh_say(asked->message, asked->message_size, error, "cannot read the index of segment %s: %s", name,
			      strerror(-error));
	if (wa_index_open(*ret_bytes, size, ret_index, &why) == 0)
		return 0;
	free(*ret_bytes);
	return wh_say(asked->message, asked->message_size, -EUCLEAN, "the index of segment %s: %s", name, why.text);
}

static struct nf_lsn before(struct nf_lsn start, uint32_t segment_size)
{
	return (struct nf_lsn){start.v - segment_size};
}

/* ----------------------------------------------------------------- base */

/* One stretch of segments is remembered. */
static void note_clean(struct wh_entry *entry, struct nf_lsn start)
{
	uint64_t end = start.v + entry->facts.segment_size;
	if (entry->clean_to.v == start.v)
		entry->clean_to.v = end;
	else if (entry->clean_from.v == end)
		entry->clean_from = start;
	else if (entry->clean_from.v == entry->clean_to.v)
		entry->clean_from = start, entry->clean_to.v = end;
}

/* Does WAL in (from, to] hold what only Postgres replays? Behind the last index: not looked at record by record here, but by who replays. */
static int find_foreign(struct asked *asked, struct nf_lsn from, struct nf_lsn to, bool *ret_foreign)
{
	const struct wa_facts *facts = &asked->entry->facts;
	struct nf_lsn start = {wa_segment_start(from, facts->segment_size)};
	*ret_foreign = false;
	for (; start.v < facts->sealed.v && start.v < to.v && !*ret_foreign; start.v += facts->segment_size) {
		struct wa_index_info info;
		if (start.v >= asked->entry->clean_from.v && start.v < asked->entry->clean_to.v)
			continue;
		int error = index_info(asked, start, &info);
		if (error != 0)
			return error;
		*ret_foreign = info.foreign;
		if (!info.foreign)
			note_clean(asked->entry, start);
	}
	return 0;
}

struct foreign_search {
	struct nf_lsn from, to;
	bool found;
};

static int look_for_foreign(void *arg, const struct wa_record *record)
{
	struct foreign_search *search = arg;
	if (record->lsn.v >= search->to.v)
		return 1;
	search->found |= record->rmid >= WA_RMGR_CUSTOM_MIN;
	return 0;
}

static int set_limits(struct asked *asked, struct nf_lsn x, struct wa_base *base)
{
	const struct wa_facts *facts = &asked->entry->facts;
	struct foreign_search search = {.to = x};
	base->is_minimal = wa_facts_is_minimal(facts, base->redo, x);
	int error = find_foreign(asked, base->redo, x, &base->is_foreign);
	if (error == 0 && !base->is_foreign && x.v > facts->sealed.v) {
		error = scan(asked, facts->sealed, look_for_foreign, &search);
		base->is_foreign = search.found;
	}
	return error;
}

static int fill_base(struct asked *asked, const struct wa_facts_base *from, struct wa_base *ret_base)
{
	struct bd_snapshot_info *infos;
	size_t count;
	int error = bd_snapshot_list(asked->entry->history->store, asked->entry->branch, &infos, &count);
	if (error != 0)
		return error;
	error = -ENOENT;
	for (size_t i = 0; i < count; i++) {
		if (infos[i].epoch.v != from->epoch)
			continue;
		*ret_base = (struct wa_base){.view = {asked->entry->branch, infos[i].epoch},
					     .written = from->written,
					     .redo = from->redo,
					     .timeline = from->timeline,
					     .time_us = from->time_us,
					     .major = (uint32_t)asked->entry->facts.major,
					     .system_id = asked->entry->facts.system_id};
		memcpy(ret_base->label, infos[i].label, sizeof(ret_base->label));
		error = 0;
	}
	free(infos);
	return error;
}

int wa_history_base(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x, struct wa_base *ret_base,
		    char *ret_message, size_t message_size)
{
	struct asked asked;
	struct wa_base base;
	int error = enter_at(history, branch, x, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	do {
		const struct wa_facts_base *from = wa_facts_base_for(&asked.entry->facts, x);
		if (from == NULL) {
			error = wh_say(ret_message, message_size, -ERANGE, "no snapshot before " NF_LSN_FMT " is left",
				       NF_LSN_ARG(x));
			break;
		}
		error = fill_base(&asked, from, &base);
		if (error == -ENOENT) { /* a user has deleted it */
			error = wh_look_at_snapshots(asked.entry);
			error = error == 0 ? -EAGAIN : error;
		}
	} while (error == -EAGAIN);
	if (error == 0)
		error = set_limits(&asked, x, &base);
	if (error == 0)
		*ret_base = base;
	leave(&asked);
	return error;
}

/* ------------------------------------------------------------- boundary */

struct bounds {
	struct nf_lsn x, before, after;
};

static int look_for_bounds(void *arg, const struct wa_record *record)
{
	struct bounds *bounds = arg;
	if (bounds->before.v != 0 && record->lsn.v >= bounds->x.v) {
		bounds->after = bounds->before;
		return 1;
	}
	if (record->end.v <= bounds->x.v) {
		bounds->before = record->end;
		return 0;
	}
	bounds->after = record->end;
	return 1;
}

int wa_history_boundary(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn x, struct nf_lsn *ret_before,
			struct nf_lsn *ret_after, char *ret_message, size_t message_size)
{
	struct asked asked;
	struct bounds bounds = {.x = x};
	int error = enter_at(history, branch, x, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	const struct wa_facts *facts = &asked.entry->facts;
	/* The record before x may have begun in a segment further back. */
	struct nf_lsn start = {wa_segment_start(x, facts->segment_size)};
	for (;;) {
		bounds = (struct bounds){.x = x};
		error = scan(&asked, start, look_for_bounds, &bounds);
		if (error != 0 || bounds.before.v != 0 || start.v <= facts->kept_from.v)
			break;
		start = before(start, facts->segment_size);
	}
	if (error == 0 && bounds.before.v == 0)
		error = wh_say(ret_message, message_size, -ERANGE, "no record before " NF_LSN_FMT " is kept", NF_LSN_ARG(x));
	if (error == 0) {
		*ret_before = bounds.before;
		*ret_after = bounds.after.v != 0 ? bounds.after : bounds.before;
	}
	leave(&asked);
	return error;
}

/* ----------------------------------------------------------------- time */

/* The first segment of (low, high] from which on commits are later than time_us, as far as their order tells; sealed when none is. */
static int first_later(struct asked *asked, int64_t time_us, struct nf_lsn *ret_start)
{
	const struct wa_facts *facts = &asked->entry->facts;
	uint64_t low = facts->kept_from.v / facts->segment_size, high = facts->sealed.v / facts->segment_size;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2, at = middle;
		struct wa_index_info info = {0};
		/* A segment without commits says nothing: ask the one before it. */
		for (;;) {
			int error = index_info(asked, (struct nf_lsn){at * facts->segment_size}, &info);
			if (error != 0)
				return error;
			if (info.last_commit_us != 0 || at == low)
				break;
			at--;
		}
		if (info.last_commit_us > time_us)
			high = at;
		else
			low = middle + 1;
	}
	ret_start->v = low * facts->segment_size;
	return 0;
}

/* Back from there over segments that may have one, out of order, and to one whose commits are all earlier. */
static int step_back(struct asked *asked, int64_t time_us, struct nf_lsn *start)
{
	const struct wa_facts *facts = &asked->entry->facts;
	while (start->v > facts->kept_from.v) {
		struct wa_index_info info;
		*start = before(*start, facts->segment_size);
		int error = index_info(asked, *start, &info);
		if (error != 0)
			return error;
		if (info.last_commit_us != 0 && info.last_commit_us < time_us - COMMIT_SKEW_US)
			break;
	}
	return 0;
}

struct time_search {
	int64_t time_us;
	struct nf_lsn end; /* of the record before the one found */
	bool found;
	bool has_earlier; /* a transaction ended at or before that time */
};

static int look_for_later(void *arg, const struct wa_record *record)
{
	struct time_search *search = arg;
	int64_t time_us;
	bool commit;
	if (wh_transaction_end(record, &commit, &time_us) && time_us > search->time_us) {
		search->found = true;
		return 1;
	}
	search->has_earlier |= wh_transaction_end(record, &commit, &time_us);
	search->end = record->end;
	return 0;
}

static int say_before_window(int64_t earliest_us, char *ret_message, size_t message_size)
{
	time_t seconds = (time_t)(earliest_us / 1000000 + WH_EPOCH_2000_S);
	struct tm tm;
	char text[32] = "";
	if (gmtime_r(&seconds, &tm) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return wh_say(ret_message, message_size, -ERANGE, "that time is before what is kept: the earliest is %s", text);
}

int wa_history_at_time(struct wa_history *history, struct bd_branch_id branch, int64_t time_us, struct nf_lsn *ret_lsn,
		       char *ret_message, size_t message_size)
{
	struct asked asked;
	struct nf_lsn start;
	struct time_search search = {.time_us = time_us};
	if (time_us > wh_now_us())
		return wh_say(ret_message, message_size, -ERANGE, "that time has not come yet");
	int error = enter(history, branch, true, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	error = first_later(&asked, time_us, &start);
	if (error == 0)
		error = step_back(&asked, time_us, &start);
	if (error == 0)
		error = scan(&asked, start, look_for_later, &search);
	const struct wa_facts_base *oldest = wa_facts_oldest(&asked.entry->facts);
	/* Before the oldest base only the end of a transaction in the WAL that is kept can tell that nothing ended between then and the base. */
	if (error == 0 && oldest == NULL)
		error = wh_say(ret_message, message_size, -ERANGE, "nothing is kept yet");
	else if (error == 0 && (search.end.v < oldest->written.v || (time_us < oldest->time_us && !search.has_earlier)))
		error = say_before_window(oldest->time_us, ret_message, message_size);
	if (error == 0)
		*ret_lsn = search.end;
	leave(&asked);
	return error;
}

struct last_commit {
	struct nf_lsn until;
	int64_t time_us;
};

static int note_commit(void *arg, const struct wa_record *record)
{
	struct last_commit *last = arg;
	int64_t time_us;
	bool commit;
	if (record->end.v > last->until.v)
		return 1;
	if (wh_transaction_end(record, &commit, &time_us) && commit)
		last->time_us = time_us;
	return 0;
}

int wa_history_time_at(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn lsn, int64_t *ret_time_us,
		       char *ret_message, size_t message_size)
{
	struct asked asked;
	struct last_commit last = {.until = lsn};
	int error = enter_at(history, branch, lsn, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	const struct wa_facts *facts = &asked.entry->facts;
	struct nf_lsn start = {wa_segment_start(lsn, facts->segment_size)};
	for (;;) {
		error = scan(&asked, start, note_commit, &last);
		if (error != 0 || last.time_us != 0 || start.v <= facts->kept_from.v)
			break;
		start = before(start, facts->segment_size);
		last.until.v = NF_MIN(last.until.v, start.v + 2ull * facts->segment_size);
	}
	if (error == 0)
		*ret_time_us = last.time_us;
	leave(&asked);
	return error;
}

/* -------------------------------------------------------- restore points */

struct name_search {
	const char *name;
	struct nf_lsn until; /* records that begin before it */
	struct nf_lsn end; /* of the newest one found */
};

static int look_for_name(void *arg, const struct wa_record *record)
{
	struct name_search *search = arg;
	if (record->lsn.v >= search->until.v)
		return 1;
	if (record->rmid != WA_RMGR_XLOG || (record->info & INFO_MASK) != XLOG_RESTORE_POINT)
		return 0;
	char name[RESTORE_POINT_NAME + 1] = "";
	struct nf_reader r = nf_reader_init(record->main, record->main_len);
	(void)nf_read_u64(&r);
	nf_read_copy(&r, name, NF_MIN(nf_reader_left(&r), (size_t)RESTORE_POINT_NAME));
	if (strcmp(name, search->name) == 0)
		search->end = record->end;
	return 0;
}

static bool has_restore_points(const struct wa_index *index)
{
	for (size_t i = 0; i < wa_index_type_count(index); i++) {
		struct wa_index_type type = wa_index_type_at(index, i);
		if (type.rmid == WA_RMGR_XLOG && type.op == XLOG_RESTORE_POINT)
			return true;
	}
	return false;
}

/* Segments from the newest sealed one back. */
static int search_sealed(struct asked *asked, struct name_search *search)
{
	const struct wa_facts *facts = &asked->entry->facts;
	for (struct nf_lsn start = facts->sealed; search->end.v == 0 && start.v > facts->kept_from.v;) {
		struct wa_index index;
		uint8_t *bytes;
		search->until = start;
		start = before(start, facts->segment_size);
		int error = load_index(asked, start, &index, &bytes);
		if (error != 0)
			return error;
		bool has = has_restore_points(&index);
		free(bytes);
		error = has ? scan(asked, start, look_for_name, search) : 0;
		if (error != 0)
			return error;
	}
	return 0;
}

int wa_history_restore_point(struct wa_history *history, struct bd_branch_id branch, const char *name, struct nf_lsn *ret_lsn,
			     char *ret_message, size_t message_size)
{
	struct asked asked;
	struct name_search search = {.name = name, .until = {UINT64_MAX}};
	int error = enter(history, branch, true, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	error = scan(&asked, asked.entry->facts.sealed, look_for_name, &search);
	if (error == 0)
		error = search_sealed(&asked, &search);
	const struct wa_facts_base *oldest = wa_facts_oldest(&asked.entry->facts);
	if (error == 0 && (oldest == NULL || search.end.v < oldest->written.v))
		error = wh_say(ret_message, message_size, -ENOENT, "no restore point \"%.63s\" is in the history that is kept",
			       name);
	if (error == 0)
		*ret_lsn = search.end;
	leave(&asked);
	return error;
}
