/* Questions about points: which base, where records end, what happened when. Restore points: named.c. Under entry->work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "walapply/decode/wa_records.h"
#include "walapply/pitr/asked.h"

/* Commits are not quite in the order of their times: a backend takes the time first. Segments whose commits are this much older than what is
 * looked for are not read. */
#define COMMIT_SKEW_US (60 * INT64_C(1000000))

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
		int error = wh_index_info(asked, start, &info);
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
		error = wh_scan(asked, facts->sealed, look_for_foreign, &search);
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
	int error = wh_enter_at(history, branch, x, &asked, ret_message, message_size);
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
	wh_leave(&asked);
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
	int error = wh_enter_at(history, branch, x, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	const struct wa_facts *facts = &asked.entry->facts;
	/* The record before x may have begun in a segment further back. */
	struct nf_lsn start = {wa_segment_start(x, facts->segment_size)};
	for (;;) {
		bounds = (struct bounds){.x = x};
		error = wh_scan(&asked, start, look_for_bounds, &bounds);
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
	wh_leave(&asked);
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
			int error = wh_index_info(asked, (struct nf_lsn){at * facts->segment_size}, &info);
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
		int error = wh_index_info(asked, *start, &info);
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
	int error = wh_enter(history, branch, true, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	error = first_later(&asked, time_us, &start);
	if (error == 0)
		error = step_back(&asked, time_us, &start);
	if (error == 0)
		error = wh_scan(&asked, start, look_for_later, &search);
	const struct wa_facts_base *oldest = wa_facts_oldest(&asked.entry->facts);
	/* Before the oldest base only the end of a transaction in the WAL that is kept can tell that nothing ended between then and the base. */
	if (error == 0 && oldest == NULL)
		error = wh_say(ret_message, message_size, -ERANGE, "nothing is kept yet");
	else if (error == 0 && (search.end.v < oldest->written.v || (time_us < oldest->time_us && !search.has_earlier)))
		error = say_before_window(oldest->time_us, ret_message, message_size);
	if (error == 0)
		*ret_lsn = search.end;
	wh_leave(&asked);
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
	int error = wh_enter_at(history, branch, lsn, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	const struct wa_facts *facts = &asked.entry->facts;
	struct nf_lsn start = {wa_segment_start(lsn, facts->segment_size)};
	for (;;) {
		error = wh_scan(&asked, start, note_commit, &last);
		if (error != 0 || last.time_us != 0 || start.v <= facts->kept_from.v)
			break;
		start = before(start, facts->segment_size);
		last.until.v = NF_MIN(last.until.v, start.v + 2ull * facts->segment_size);
	}
	if (error == 0)
		*ret_time_us = last.time_us;
	wh_leave(&asked);
	return error;
}
