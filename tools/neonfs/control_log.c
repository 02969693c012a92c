/* The control request for the log of a branch: what happened in it, and in its parents up to where it left them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs/control_made.h"
#include "tools/neonfs/control_names.h"
#include "walapply/pitr/wa_history.h"

#define NS_2000 (INT64_C(946684800) * 1000000000)

/* One thing that happened in the history of a branch. */
struct event {
	struct bd_epoch epoch; /* 0: it has none */
	int64_t time_ns;
	const char *kind; /* "snapshot", "restore-point", "branch" (a child left), "created" */
	char branch[BD_BRANCH_NAME_MAX + 1];
	char name[BD_BRANCH_NAME_MAX + 1]; /* label, restore point, child, or parent */
	char point[CTL_MADE_POINT_MAX]; /* at which a branch was made */
	struct nf_lsn lsn; /* of that, or of a restore point; 0 = none */
};

/* How much of a branch is part of the history that is told: all of it, or what was there when `seen_from` left it. */
struct part {
	struct bd_branch_info branch;
	struct bd_branch_id seen_from; /* 0: all */
	struct bd_epoch until;
	int64_t until_ns;
	struct nf_lsn until_lsn; /* 0: not known */
};

struct history {
	struct event *events;
	size_t count, room;
};

static struct event *add_event(struct history *history, const char *kind, const struct part *part, const char *name)
{
	if (history->count == history->room) {
		size_t room = NF_MAX(2 * history->room, (size_t)64);
		struct event *events = realloc(history->events, room * sizeof(*events));
		if (events == NULL)
			return NULL;
		history->events = events;
		history->room = room;
	}
	struct event *event = &history->events[history->count++];
	*event = (struct event){.kind = kind};
	snprintf(event->branch, sizeof(event->branch), "%s", part->branch.name);
	snprintf(event->name, sizeof(event->name), "%s", name);
	return event;
}

static int add_snapshots(struct ctl_call *call, const struct part *part, struct history *history)
{
	struct bd_snapshot_info *list;
	size_t count;
	int rc = bd_snapshot_list(call->store, part->branch.id, &list, &count);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (list[i].epoch.v > part->until.v)
			continue;
		struct event *event = add_event(history, "snapshot", part, list[i].label);
		rc = event == NULL ? -ENOMEM : 0;
		if (event != NULL) {
			event->epoch = list[i].epoch;
			event->time_ns = list[i].created_ns;
		}
	}
	free(list);
	return rc;
}

static void set_made(struct event *event, const struct bd_branch_info *branch, const struct ctl_made *made)
{
	event->epoch = branch->parent_epoch;
	event->time_ns = branch->created_ns;
	memcpy(event->point, made->point, sizeof(event->point));
	event->lsn = made->lsn;
}

/* Was the child made of this part? Of what the epochs leave open, times and LSNs decide: many points have one snapshot to start from, and a branch at an
 * old one may be made late. */
static bool is_in_part(const struct part *part, const struct bd_branch_info *child, const struct ctl_made *made)
{
	if (child->created_ns > part->until_ns)
		return false;
	return part->until_lsn.v == 0 || made->lsn.v == 0 || made->lsn.v <= part->until_lsn.v;
}

/* Branches that left it, but for the one that it is seen from: its creation is told already. */
static int add_children(struct ctl_call *call, const struct bd_branch_info *all, size_t count, const struct part *part,
			struct ctl_made_cache *cache, struct history *history)
{
	for (size_t i = 0; i < count; i++) {
		struct ctl_made made;
		if (all[i].parent.v != part->branch.id.v || all[i].parent_epoch.v > part->until.v ||
		    all[i].id.v == part->seen_from.v)
			continue;
		int rc = ctl_made_of(call->store, &all[i], cache, &made);
		if (rc == -ENOENT) /* deleted meanwhile */
			continue;
		if (rc != 0)
			return rc;
		if (!is_in_part(part, &all[i], &made))
			continue;
		struct event *event = add_event(history, "branch", part, all[i].name);
		if (event == NULL)
			return -ENOMEM;
		set_made(event, &all[i], &made);
	}
	return 0;
}

/* Of a branch without history there are none. Where history cannot be read the rest is told, and that. */
static int add_restore_points(struct ctl_call *call, const struct part *part, struct history *history)
{
	struct wa_restore_point *points;
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	size_t count;
	int rc = wa_history_restore_points(call->history, part->branch.id, &points, &count, message, sizeof(message));
	if (rc == -ENODATA || rc == -ENOMEM)
		return rc == -ENODATA ? 0 : rc;
	if (rc != 0) {
		ctl_note(call, "the restore points of \"%s\" cannot be told: %s", part->branch.name, message);
		return 0;
	}
	for (size_t i = 0; i < count && rc == 0; i++) {
		int64_t time_ns = points[i].time_us * 1000 + NS_2000;
		bool is_in = part->until_lsn.v != 0 ? points[i].lsn.v <= part->until_lsn.v : time_ns <= part->until_ns;
		if (!is_in)
			continue;
		struct event *event = add_event(history, "restore-point", part, points[i].name);
		rc = event == NULL ? -ENOMEM : 0;
		if (event != NULL) {
			event->time_ns = time_ns;
			event->lsn = points[i].lsn;
		}
	}
	if (count == WA_RESTORE_POINTS_MAX)
		ctl_note(call, "of the restore points of \"%s\" the newest %u are looked at", part->branch.name,
			 WA_RESTORE_POINTS_MAX);
	free(points);
	return rc;
}

static int add_creation(const struct part *part, const struct ctl_made *made, struct history *history)
{
	struct event *event = add_event(history, "created", part, part->branch.parent.v != 0 ? part->branch.parent_name : "");
	if (event == NULL)
		return -ENOMEM;
	set_made(event, &part->branch, made);
	return 0;
}

/* Events of the branch, then of its parent up to where it left, and so on up. */
static int collect(struct ctl_call *call, struct part part, const struct bd_branch_info *all, size_t count,
		   struct ctl_made_cache *cache, struct history *history)
{
	for (;;) {
		struct ctl_made made;
		int rc = ctl_made_of(call->store, &part.branch, cache, &made);
		if (rc == 0)
			rc = add_snapshots(call, &part, history);
		if (rc == 0)
			rc = add_children(call, all, count, &part, cache, history);
		if (rc == 0)
			rc = add_restore_points(call, &part, history);
		if (rc == 0)
			rc = add_creation(&part, &made, history);
		if (rc != 0 || part.branch.parent.v == 0)
			return rc;
		struct part above = {.seen_from = part.branch.id,
				     .until = part.branch.parent_epoch,
				     .until_ns = NF_MIN(part.until_ns, part.branch.created_ns),
				     .until_lsn = made.lsn};
		rc = bd_branch_get(call->store, part.branch.parent, &above.branch);
		if (rc != 0)
			return rc;
		part = above;
	}
}

static int newest_first(const void *a, const void *b)
{
	const struct event *x = a, *y = b;
	if (x->time_ns != y->time_ns)
		return x->time_ns > y->time_ns ? -1 : 1;
	return strcmp(x->name, y->name);
}

static json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? tl_json_text(text) : json_null();
}

static json_t *event_json(const struct event *event)
{
	char time[TL_NUMBER_MAX], lsn[NF_LSN_TEXT_MAX] = "";
	json_t *epoch = event->epoch.v != 0 ? json_integer((json_int_t)event->epoch.v) : json_null();
	if (event->lsn.v != 0)
		snprintf(lsn, sizeof(lsn), NF_LSN_FMT, NF_LSN_ARG(event->lsn));
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:I}", "kind", event->kind, "branch", event->branch, "name",
			 text_or_null(event->name), "point", text_or_null(event->point), "lsn", text_or_null(lsn), "epoch", epoch,
			 "time", tl_time(time, event->time_ns), "time_ns", (json_int_t)event->time_ns);
}

int ctl_branch_log(struct ctl_call *call)
{
	struct part part = {.until_ns = INT64_MAX};
	struct bd_branch_info *all = NULL;
	struct history history = {0};
	struct ctl_made_cache cache = {0};
	size_t count = 0;
	if (ctl_branch_argument(call, "name", &part.branch) != 0)
		return -1;
	part.until = part.branch.epoch;
	int rc = bd_branch_list(call->store, &all, &count);
	if (rc == 0)
		rc = collect(call, part, all, count, &cache, &history);
	free(all);
	ctl_made_cache_free(&cache);
	if (rc == 0) {
		json_t *list = json_array();
		if (history.count > 0)
			qsort(history.events, history.count, sizeof(*history.events), newest_first);
		for (size_t i = 0; i < history.count; i++)
			rc |= json_array_append_new(list, event_json(&history.events[i]));
		call->result = json_pack("{s:o}", "events", list);
		rc = rc != 0 ? -ENOMEM : 0;
	}
	free(history.events);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot read the history of the branch");
}
