/* Points in control requests. See control_point.h.
 *
 * A name is looked for among the snapshots and the restore points; found in both, it is refused: a wrong guess would show another moment. An LSN that
 * is no record's end is refused too unless it may be rounded: what lies inside a record has no state. */
#include "tools/neonfs/control_point.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/lib/format.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/point_text.h"
#include "walapply/pitr/wa_history.h"

int ctl_history_error(struct ctl_call *call, int rc, const char *message)
{
	const char *code = rc == -ERANGE ? "out-of-range" : rc == -ENOENT ? TL_CODE_NOT_FOUND : "failed";
	return ctl_error(call, code, "%s", message);
}

static int get_status(struct ctl_call *call, const struct bd_branch_info *branch, struct wa_history_status *ret_status)
{
	int rc = wa_history_status(call->history, branch->id, ret_status);
	if (rc != 0 && rc != -ENODATA)
		return ctl_store_error(call, rc, "cannot read the history of the branch");
	if (rc == -ENODATA || (ret_status->retention.seconds == 0 && ret_status->retention.bytes == 0))
		return ctl_error(call, "no-history",
				 "branch \"%s\" keeps no history, so only its snapshots are points; \"neonfs-branch retain %s "
				 "7d\" keeps it from "
				 "now on",
				 branch->name, branch->name);
	return 0;
}

int ctl_need_history(struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct wa_history_status status;
	return get_status(call, branch, &status);
}

/* What is known up to this moment, and how far it reaches. */
static int catch_up(struct ctl_call *call, const struct bd_branch_info *branch, struct wa_history_status *ret_status)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	if (get_status(call, branch, ret_status) != 0)
		return -1;
	int rc = wa_history_catch_up(call->history, branch->id, message, sizeof(message));
	return rc == 0 ? get_status(call, branch, ret_status) : ctl_history_error(call, rc, message);
}

/* A server writes what nobody waits for when its WAL writer comes round (wal_writer_delay, three times at most): a restore point, an LSN that it has just
 * told of. So what is not there yet is looked for again, for as long as that may take. */
#define WRITER_WAITS 8u
#define WRITER_WAIT_NS 150000000L

/* False when there is nothing to wait for any more. */
static bool wait_for_writer(const struct ctl_call *call, const struct bd_branch_info *branch, unsigned *waits)
{
	const struct timespec pause = {.tv_nsec = WRITER_WAIT_NS};
	struct bd_branch_info now;
	if ((*waits)++ >= WRITER_WAITS || bd_branch_get(call->store, branch->id, &now) != 0 || now.in_use == 0)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

#define POINT_EPOCH_2000_S INT64_C(946684800)

/* ------------------------------------------------------------------- LSNs */

/* What a restore put aside has the points from before it. Of several the oldest that was still there at `time_us` (-1: the newest). */
static void hint_old_head(struct ctl_call *call, const struct bd_branch_info *branch, int64_t time_us)
{
	char prefix[BD_BRANCH_NAME_MAX + 16], best[BD_BRANCH_NAME_MAX + 1] = "", asked[32] = "";
	struct bd_branch_info *infos;
	size_t count, used = strlen(call->error_message), length;
	time_t seconds = (time_t)(time_us / 1000000 + POINT_EPOCH_2000_S);
	struct tm parts;
	length = (size_t)snprintf(prefix, sizeof(prefix), "%s" CTL_OLD_HEAD, branch->name);
	if (time_us >= 0 && gmtime_r(&seconds, &parts) != NULL)
		strftime(asked, sizeof(asked), CTL_OLD_STAMP, &parts);
	if (bd_branch_list(call->store, &infos, &count) != 0)
		return;
	for (size_t i = 0; i < count; i++) {
		const char *stamp = infos[i].name + length;
		if (strncmp(infos[i].name, prefix, length) != 0 || (asked[0] != '\0' && strcmp(stamp, asked) < 0))
			continue;
		if (best[0] == '\0' || (strcmp(infos[i].name, best) < 0) == (asked[0] != '\0'))
			snprintf(best, sizeof(best), "%s", infos[i].name);
	}
	free(infos);
	if (best[0] != '\0')
		snprintf(call->error_message + used, sizeof(call->error_message) - used,
			 "; what \"%s\" was before it was restored is \"%s\"", branch->name, best);
}

static int check_window(struct ctl_call *call, const struct bd_branch_info *branch, const struct wa_history_status *status,
			struct nf_lsn lsn)
{
	if (lsn.v < status->earliest.v) {
		(void)ctl_error(call, "out-of-range",
				NF_LSN_FMT " is before what branch \"%s\" keeps: the earliest point is " NF_LSN_FMT,
				NF_LSN_ARG(lsn), branch->name, NF_LSN_ARG(status->earliest));
		hint_old_head(call, branch, -1);
		return -1;
	}
	if (lsn.v > status->latest.v)
		return ctl_error(call, "out-of-range",
				 NF_LSN_FMT " is past the end of branch \"%s\": the latest point is " NF_LSN_FMT, NF_LSN_ARG(lsn),
				 branch->name, NF_LSN_ARG(status->latest));
	return 0;
}

static int place_lsn(struct ctl_call *call, const struct wa_history_status *status, bool round, struct ctl_place *place)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	struct nf_lsn before, after;
	if (check_window(call, &place->branch, status, place->asked) != 0)
		return -1;
	int rc = wa_history_boundary(call->history, place->branch.id, place->asked, &before, &after, message, sizeof(message));
	if (rc != 0)
		return ctl_history_error(call, rc, message);
	if (before.v != after.v && !round)
		return ctl_error(call, "inside-record",
				 NF_LSN_FMT " is inside a record: the points around it are " NF_LSN_FMT " and " NF_LSN_FMT
					    "; --round takes the first",
				 NF_LSN_ARG(place->asked), NF_LSN_ARG(before), NF_LSN_ARG(after));
	place->lsn = before;
	/* The record may begin before the window. */
	return check_window(call, &place->branch, status, before);
}

/* ------------------------------------------------------------------ times */

static int64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - POINT_EPOCH_2000_S) * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int find_time(struct ctl_call *call, const struct bd_branch_info *branch, int64_t time_us, struct nf_lsn *ret_lsn)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	int rc = wa_history_at_time(call->history, branch->id, time_us, ret_lsn, message, sizeof(message));
	if (rc == 0)
		return 0;
	(void)ctl_history_error(call, rc, message);
	/* In the future there is nothing of it either. */
	if (rc == -ERANGE && time_us <= now_us())
		hint_old_head(call, branch, NF_MAX(time_us, INT64_C(0)));
	return -1;
}

/* ------------------------------------------------------------------ names */

static int find_label(struct ctl_call *call, const struct bd_branch_info *branch, const char *label,
		      struct bd_snapshot_info *ret_snapshot)
{
	return bd_name_check(label) == 0 ? bd_snapshot_find(call->store, branch->id, label, ret_snapshot) : -ENOENT;
}

static bool keeps_history(const struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct wa_history_status status;
	int rc = wa_history_status(call->history, branch->id, &status);
	return rc != -ENODATA && (rc != 0 || status.retention.seconds != 0 || status.retention.bytes != 0);
}

/* Of several that have one name it is said which was taken. */
static void note_which(struct ctl_call *call, const struct wa_named_point *point)
{
	char newest[POINT_TIME_MAX], before[POINT_TIME_MAX];
	if (point->older == 0)
		return;
	ctl_note(call,
		 "%u restore points are called \"%s\": the newest was taken, " NF_LSN_FMT " of %s; the one before it is " NF_LSN_FMT
		 " of %s",
		 point->older + 1, point->newest.name, NF_LSN_ARG(point->newest.lsn), point_time(newest, point->newest.time_us),
		 NF_LSN_ARG(point->before.lsn), point_time(before, point->before.time_us));
}

/* -ENOENT, also for a branch that keeps no history; else 0, or -1 after ctl_error. */
static int find_restore_point(struct ctl_call *call, const struct bd_branch_info *branch, const char *name,
			      struct wa_named_point *ret_point)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	if (!keeps_history(call, branch))
		return -ENOENT;
	int rc = wa_history_catch_up(call->history, branch->id, message, sizeof(message));
	if (rc == 0)
		rc = wa_history_restore_point(call->history, branch->id, name, ret_point, message, sizeof(message));
	return rc == 0 || rc == -ENOENT ? rc : ctl_history_error(call, rc, message);
}

static int not_found(struct ctl_call *call, const struct bd_branch_info *branch, const char *name)
{
	char suggestion[CTL_SUGGESTION_MAX], quoted[TL_QUOTE_MAX];
	ctl_suggest_snapshot(call, branch, name, suggestion);
	tl_quote(quoted, sizeof(quoted), name);
	return ctl_error(call, TL_CODE_NOT_FOUND, "branch \"%s\" has no snapshot and no restore point %s%s%s", branch->name,
			 quoted, suggestion, point_name_hint(name));
}

static int place_snapshot(struct ctl_place *place, const struct bd_snapshot_info *snapshot)
{
	place->kind = CTL_PLACE_SNAPSHOT;
	place->view = (struct bd_view){.branch = place->branch.id, .epoch = snapshot->epoch};
	return 0;
}

/* 1 when there is no such name. */
static int place_name(struct ctl_call *call, const struct point_text *point, struct ctl_place *place)
{
	struct bd_snapshot_info snapshot;
	struct wa_named_point restore_point;
	int label_rc = -ENOENT, restore_rc = -ENOENT;
	if (point->kind != POINT_RESTORE_POINT)
		label_rc = find_label(call, &place->branch, point->name, &snapshot);
	if (label_rc != 0 && label_rc != -ENOENT)
		return ctl_store_error(call, label_rc, "cannot look the snapshot up");
	if (point->kind != POINT_LABEL)
		restore_rc = find_restore_point(call, &place->branch, point->name, &restore_point);
	if (restore_rc != 0 && restore_rc != -ENOENT)
		return restore_rc;
	if (label_rc == 0 && restore_rc == 0)
		return ctl_error(call, "ambiguous",
				 "\"%s\" is a snapshot and a restore point of branch \"%s\"; write label:%s or restore-point:%s",
				 point->name, place->branch.name, point->name, point->name);
	if (label_rc == 0)
		return place_snapshot(place, &snapshot);
	if (restore_rc != 0)
		return 1;
	place->lsn = restore_point.newest.lsn;
	note_which(call, &restore_point);
	return 0;
}

/* ----------------------------------------------------------------- points */

static int place_in_history(struct ctl_call *call, const struct point_text *point, bool round, struct ctl_place *place)
{
	struct wa_history_status status;
	unsigned waits = 0;
	do {
		if (catch_up(call, &place->branch, &status) != 0)
			return -1;
	} while (point->kind != POINT_TIME && point->lsn.v > status.latest.v && wait_for_writer(call, &place->branch, &waits));
	/* What was written meanwhile may be part of the answer. */
	if (point->kind == POINT_TIME)
		return find_time(call, &place->branch, point->time_us, &place->lsn) == 0 &&
				       get_status(call, &place->branch, &status) == 0
			       ? check_window(call, &place->branch, &status, place->lsn)
			       : -1;
	place->asked = point->lsn;
	return place_lsn(call, &status, round, place);
}

int ctl_find_point(struct ctl_call *call, const struct bd_branch_info *branch, const char *text, bool round,
		   struct ctl_place *ret_place)
{
	char message[POINT_MESSAGE_MAX];
	struct point_text point;
	*ret_place = (struct ctl_place){.kind = CTL_PLACE_LSN, .branch = *branch, .text = text};
	if (point_parse(text, &point, message) != 0)
		return ctl_error(call, TL_CODE_USAGE, "%s", message);
	if (point.kind == POINT_LSN || point.kind == POINT_TIME)
		return place_in_history(call, &point, round, ret_place);
	unsigned waits = 0;
	int rc;
	do
		rc = place_name(call, &point, ret_place);
	while (rc == 1 && !point.may_be_lsn && keeps_history(call, branch) && wait_for_writer(call, branch, &waits));
	if (rc == 1 && point.may_be_lsn)
		return place_in_history(call, &point, round, ret_place);
	return rc == 1 ? not_found(call, branch, point.name) : rc;
}

int ctl_find_place(struct ctl_call *call, const char *role, const char *text, bool round, struct ctl_place *ret_place)
{
	char name[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info branch;
	const char *at = strchr(text, '@');
	size_t length = at != NULL ? (size_t)(at - text) : strlen(text);
	if (at != NULL && length > BD_BRANCH_NAME_MAX)
		return ctl_error(call, TL_CODE_USAGE, "the branch name before \"@\" is too long: at most %d bytes are possible",
				 BD_BRANCH_NAME_MAX);
	snprintf(name, sizeof(name), "%.*s", (int)length, text);
	if (ctl_find_branch(call, role, at != NULL ? name : text, &branch) != 0)
		return -1;
	if (at != NULL)
		return ctl_find_point(call, &branch, at + 1, round, ret_place);
	*ret_place = (struct ctl_place){
		.kind = CTL_PLACE_HEAD, .branch = branch, .view = {.branch = branch.id, .epoch = BD_EPOCH_HEAD}};
	return 0;
}

/* ---------------------------------------------------------------- request */

static json_t *lsn_json(struct nf_lsn lsn)
{
	char text[NF_LSN_TEXT_MAX];
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	return json_string(text);
}

int ctl_branch_point(struct ctl_call *call)
{
	struct bd_branch_info branch;
	struct ctl_place place;
	struct wa_history_status status;
	const char *point = ctl_text(call, "point");
	if (point == NULL || ctl_branch_argument(call, "name", &branch) != 0 || ctl_need_history(call, &branch) != 0 ||
	    ctl_find_point(call, &branch, point, ctl_true(call, "round"), &place) != 0)
		return -1;
	if (place.kind != CTL_PLACE_LSN)
		return ctl_error(call, TL_CODE_USAGE, "\"%.80s\" is a snapshot, which has no LSN of its own", point);
	if (get_status(call, &branch, &status) != 0)
		return -1;
	call->result =
		json_pack("{s:s, s:o, s:o, s:o, s:I}", "branch", branch.name, "lsn", lsn_json(place.lsn), "earliest",
			  lsn_json(status.earliest), "latest", lsn_json(status.latest), "timeline", (json_int_t)status.timeline);
	return 0;
}
