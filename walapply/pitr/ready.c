/* Branches without history in which Postgres writes: the indexes and summaries that `recover` would need are made while the WAL is written, so that
 * it has to read only the end of it. Nothing else is kept: no WAL, no snapshots; and what lies before the last checkpoint's redo pointer goes.
 *
 * Not made are those of the last `unindexed_bytes`, which are read in no time: a cluster that writes less than that between its checkpoints costs nothing.
 * Where the store has no room they go, because they are worth time only. */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"

#define SEGMENTS_A_TURN 4u /* then others have their turn */
#define ROOM_LEAST (UINT64_C(256) << 20)

/* The files of `dir` that are of other segments than those from `first` on go. */
static int remove_before(const struct wh_crash *crash, struct bd_inode *dir, uint64_t first)
{
	struct bd_listing *listing;
	int error = bd_readdir(dir, &listing);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		const char *name = listing->entries[i].name;
		uint32_t timeline;
		struct nf_lsn start;
		if (wa_segment_parse(name, crash->facts.segment_size, &timeline, &start) && timeline == crash->timeline &&
		    start.v / crash->facts.segment_size >= first)
			continue;
		error = bd_unlink(dir, name);
		error = error == -ENOENT ? 0 : error;
	}
	bd_listing_free(listing);
	return error;
}

/* The redo pointer has moved on to another segment, or it is another log. */
static int begin_at(struct wh_ready *ready, struct wh_crash *crash, uint64_t first)
{
	bool is_same = ready->system_id == crash->facts.system_id && ready->timeline == crash->timeline && ready->first <= first;
	int error = wh_crash_places(crash);
	if (error == 0)
		error = remove_before(crash, crash->index, first);
	if (error == 0)
		error = remove_before(crash, crash->summary, first);
	if (error != 0)
		return error;
	ready->system_id = crash->facts.system_id;
	ready->timeline = crash->timeline;
	ready->next = is_same ? NF_MAX(ready->next, first) : first;
	ready->first = first;
	return 0;
}

static int check_room(const struct wh_crash *crash)
{
	struct bd_statfs room;
	int error = bd_statfs(crash->store, &room);
	return error == 0 && room.free_bytes < ROOM_LEAST ? -ENOSPC : error;
}

/* Segments from ready->next on, but for the last ones. */
static int make_some(struct wa_history *history, struct wh_ready *ready, struct wh_crash *crash, bool *ret_more)
{
	struct wh_makers makers = {0};
	const uint64_t behind = history->options.unindexed_bytes / crash->facts.segment_size;
	uint64_t end;
	int status = wh_crash_full(crash, NF_MAX(ready->next, crash->redo.v / crash->facts.segment_size), &end);
	if (status == 0 && end <= ready->next + behind)
		return 0;
	if (status == 0)
		status = check_room(crash);
	if (status == 0 && crash->index == NULL)
		status = wh_crash_places(crash);
	for (unsigned made = 0; status >= 0 && made < SEGMENTS_A_TURN && ready->next + behind < end;) {
		status = wh_crash_has(crash, ready->next);
		if (status == 0) {
			status = wh_crash_make(crash, &makers, ready->next);
			made++;
		}
		/* One that cannot be read is for recovery to judge. */
		if (status >= 0)
			ready->next++;
	}
	wh_makers_free(&makers);
	*ret_more = status >= 0 && ready->next + behind < end;
	return NF_MIN(status, 0);
}

static int get_ready(struct wa_history *history, struct wh_ready *ready, struct wh_crash *crash, bool *ret_more)
{
	uint64_t first = crash->redo.v / crash->facts.segment_size, end;
	crash->is_written = true;
	bool is_new = ready->system_id != crash->facts.system_id || ready->timeline != crash->timeline || ready->first != first;
	if (crash->is_standby)
		return 0;
	if (is_new) {
		/* Nothing is made for those that hardly write. */
		int error = wh_crash_full(crash, first, &end);
		bool has_much = end - first > history->options.unindexed_bytes / crash->facts.segment_size;
		if (error != 0 || (ready->system_id == 0 && !has_much))
			return error;
		error = begin_at(ready, crash, first);
		if (error != 0)
			return error;
	}
	return make_some(history, ready, crash, ret_more);
}

struct wh_ready *wh_ready_place(struct wa_history *history, struct bd_branch_id branch)
{
	struct wh_ready *oldest = &history->ready[0];
	for (unsigned i = 0; i < WH_READY_PLACES; i++) {
		struct wh_ready *place = &history->ready[i];
		if (place->branch.v == branch.v) {
			place->used = ++history->ready_used;
			return place;
		}
		if (place->used < oldest->used)
			oldest = place;
	}
	*oldest = (struct wh_ready){.branch = branch, .used = ++history->ready_used};
	return oldest;
}

int wh_get_ready(struct wa_history *history, struct wh_ready *ready, bool *ret_more)
{
	const struct bd_branch_id branch = ready->branch;
	struct bd_branch_info info;
	struct wh_crash crash;
	*ret_more = false;
	int error = bd_branch_get(history->store, branch, &info);
	if (error != 0 || info.name[0] == '.')
		return error;
	error = wh_crash_open(history->store, branch, &crash);
	if (error == 0)
		error = get_ready(history, ready, &crash, ret_more);
	wh_crash_close(&crash);
	if (error == -ENOSPC && ready->system_id != 0) {
		nf_info("branch %s: there is no room for what makes its recovery fast, after a crash; it is made then",
			info.name);
		wh_crash_drop(history, branch);
	}
	/* No data directory (yet), or one in whose middle somebody writes. */
	return error == -EINVAL || error == -EBADMSG || error == -ENOSPC ? -EAGAIN : error;
}
