/* Restore points: records with a name, somewhere in the history. The indexes say which segments have any, in their tables; only those are read. From
 * the newest back: of several that have one name the newest is meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"
#include "walapply/pitr/asked.h"

#define INFO_MASK 0xF0
#define XLOG_RESTORE_POINT 0x70

/* What one stretch of WAL has, in the order of the log. */
struct stretch {
	struct nf_lsn from; /* points that end before it are not in the history any more */
	struct nf_lsn until; /* records that begin before it */
	struct wa_restore_point *points;
	size_t count, room;
};

static int add(struct stretch *stretch, const struct wa_restore_point *point)
{
	if (stretch->count == stretch->room) {
		size_t room = NF_MAX(2 * stretch->room, (size_t)16);
		struct wa_restore_point *points = realloc(stretch->points, room * sizeof(*points));
		if (points == NULL)
			return -ENOMEM;
		stretch->points = points;
		stretch->room = room;
	}
	stretch->points[stretch->count++] = *point;
	return 0;
}

static int look_at(void *arg, const struct wa_record *record)
{
	struct stretch *stretch = arg;
	if (record->lsn.v >= stretch->until.v)
		return 1;
	if (record->rmid != WA_RMGR_XLOG || (record->info & INFO_MASK) != XLOG_RESTORE_POINT || record->end.v < stretch->from.v)
		return 0;
	struct wa_restore_point point = {.lsn = record->end};
	struct nf_reader r = nf_reader_init(record->main, record->main_len);
	point.time_us = (int64_t)nf_read_u64(&r);
	nf_read_copy(&r, point.name, NF_MIN(nf_reader_left(&r), sizeof(point.name) - 1));
	return r.failed ? 0 : add(stretch, &point);
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

/* Those of the segment at `start`, or with start = sealed of everything behind the last full one, added. */
static int read_stretch(struct asked *asked, struct nf_lsn start, struct stretch *stretch)
{
	bool has = true;
	if (start.v < asked->entry->facts.sealed.v) {
		struct wa_index index;
		uint8_t *bytes;
		int error = wh_load_tables(asked, start, &index, &bytes);
		if (error != 0)
			return error;
		has = has_restore_points(&index);
		free(bytes);
		stretch->until.v = start.v + asked->entry->facts.segment_size;
	}
	if (!has)
		return 0;
	int error = wh_scan(asked, start, look_at, stretch);
	return error == -ENOMEM ? wh_say(asked->message, asked->message_size, error, "memory is short") : error;
}

/* Call `each` for all stretches, the newest first, until it says that it has enough. */
static int each_stretch(struct asked *asked, bool (*each)(void *arg, const struct stretch *stretch), void *arg)
{
	const struct wa_facts *facts = &asked->entry->facts;
	const struct wa_facts_base *oldest = wa_facts_oldest(facts);
	if (oldest == NULL)
		return 0;
	struct stretch stretch = {.from = oldest->written, .until = {UINT64_MAX}};
	struct nf_lsn start = facts->sealed;
	bool goes_on = true;
	int error = 0;
	/* Facts may not have a segment before the first one kept. */
	for (;;) {
		stretch.count = 0;
		error = read_stretch(asked, start, &stretch);
		if (error == 0)
			goes_on = each(arg, &stretch);
		if (error != 0 || !goes_on ||
		    start.v <= NF_MAX(facts->kept_from.v, wa_segment_start(oldest->redo, facts->segment_size)))
			break;
		start.v -= facts->segment_size;
	}
	free(stretch.points);
	return error;
}

/* ----------------------------------------------------------------- by name */

struct by_name {
	const char *name;
	struct wa_named_point *found;
};

static bool take_named(void *arg, const struct stretch *stretch)
{
	const struct by_name *search = arg;
	for (size_t i = stretch->count; i-- > 0;) {
		const struct wa_restore_point *point = &stretch->points[i];
		if (strcmp(point->name, search->name) != 0)
			continue;
		if (search->found->newest.lsn.v == 0)
			search->found->newest = *point;
		else if (search->found->older++ == 0)
			search->found->before = *point;
	}
	return true;
}

int wa_history_restore_point(struct wa_history *history, struct bd_branch_id branch, const char *name,
			     struct wa_named_point *ret_point, char *ret_message, size_t message_size)
{
	struct asked asked;
	struct wa_named_point found = {0};
	struct by_name search = {.name = name, .found = &found};
	int error = wh_enter(history, branch, true, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	error = each_stretch(&asked, take_named, &search);
	if (error == 0 && found.newest.lsn.v == 0)
		error = wh_say(ret_message, message_size, -ENOENT, "no restore point \"%.63s\" is in the history that is kept",
			       name);
	wh_leave(&asked);
	if (error == 0)
		*ret_point = found;
	return error;
}

/* -------------------------------------------------------------------- all */

struct all {
	struct stretch found; /* the newest first */
	bool failed, has_more;
};

static bool take_all(void *arg, const struct stretch *stretch)
{
	struct all *all = arg;
	for (size_t i = stretch->count; i-- > 0 && !all->failed && !all->has_more;) {
		all->has_more = all->found.count == WA_RESTORE_POINTS_MAX;
		all->failed = !all->has_more && add(&all->found, &stretch->points[i]) != 0;
	}
	return !all->failed && !all->has_more;
}

int wa_history_restore_points(struct wa_history *history, struct bd_branch_id branch, struct wa_restore_point **ret_points,
			      size_t *ret_count, char *ret_message, size_t message_size)
{
	struct asked asked;
	struct all all = {0};
	int error = wh_enter(history, branch, true, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	error = each_stretch(&asked, take_all, &all);
	wh_leave(&asked);
	if (error == 0 && all.failed)
		error = wh_say(ret_message, message_size, -ENOMEM, "memory is short");
	if (error != 0) {
		free(all.found.points);
		return error;
	}
	*ret_points = all.found.points;
	*ret_count = all.found.count;
	return 0;
}
