/* Control requests about snapshots. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/neonfs/control_call.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/point_text.h"
#include "walapply/pitr/wa_history.h"

/* Snapshots of one second that get a label of their own: 20261124-013400, -2, -3 ... */
#define LABELS_A_SECOND 100
#define STAMP_MAX 24

/* What labels of snapshots that history makes, and deletes, begin with (walapply/pitr). */
#define AUTOMATIC "auto-"

static void announce_snapshot(struct ctl_call *call, const char *branch, const char *label)
{
	char name[2 * BD_BRANCH_NAME_MAX + 2];
	snprintf(name, sizeof(name), "%s@%s", branch, label);
	fs_branch_changed(call->fs, name);
}

static int create_labelled(struct ctl_call *call, const struct bd_branch_info *branch, const char *label,
			   struct bd_snapshot_info *ret_snapshot)
{
	int rc = bd_snapshot_create(call->store, branch->id, label, ret_snapshot);
	if (rc == -EEXIST)
		return ctl_error(call, "exists", "branch \"%s\" has a snapshot \"%s\" already; choose another label",
				 branch->name, label);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot take the snapshot");
	announce_snapshot(call, branch->name, label);
	return 0;
}

int ctl_snapshot_stamped(struct ctl_call *call, const struct bd_branch_info *branch, const char *prefix,
			 struct bd_snapshot_info *ret_snapshot)
{
	char stamp[STAMP_MAX], label[BD_BRANCH_NAME_MAX + 1];
	time_t now = time(NULL);
	struct tm parts;
	gmtime_r(&now, &parts);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &parts);
	int rc = -EEXIST;
	for (unsigned n = 1; rc == -EEXIST && n <= LABELS_A_SECOND; n++) {
		snprintf(label, sizeof(label), n == 1 ? "%s%s" : "%s%s-%u", prefix, stamp, n);
		rc = bd_snapshot_create(call->store, branch->id, label, ret_snapshot);
	}
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot take the snapshot");
	announce_snapshot(call, branch->name, label);
	return 0;
}

/* A label that --from and --to would take for something else, or its reader for a moment that it is not. Those that we make of the time are none. */
static int check_label(struct ctl_call *call, const char *label)
{
	if (strncmp(label, AUTOMATIC, strlen(AUTOMATIC)) == 0)
		return ctl_error(call, TL_CODE_USAGE,
				 "labels that begin with \"" AUTOMATIC "\" are those of automatic snapshots; choose another");
	if (point_is_like_lsn(label))
		return ctl_error(call, TL_CODE_USAGE, "\"%s\" looks like an LSN, which it would stand before; choose another label", label);
	if (point_is_like_time(label))
		return ctl_error(call, TL_CODE_USAGE,
				 "\"%s\" looks like a time, and a snapshot is what the branch is now; choose another label", label);
	return 0;
}

int ctl_snapshot_create(struct ctl_call *call)
{
	struct ctl_point point;
	struct bd_branch_info branch;
	struct bd_snapshot_info snapshot;
	const char *text = ctl_text(call, "point");
	if (text == NULL || ctl_split_point(call, text, &point) != 0 ||
	    ctl_find_branch(call, "branch", point.branch, &branch) != 0 || check_label(call, point.label) != 0)
		return -1;
	int rc = point.label[0] != '\0' ? create_labelled(call, &branch, point.label, &snapshot)
					: ctl_snapshot_stamped(call, &branch, "", &snapshot);
	if (rc != 0)
		return rc;
	call->result = ctl_snapshot_json(call->config, branch.name, &snapshot);
	return 0;
}

static json_t *point_json(struct nf_lsn lsn, int64_t time_us)
{
	char text[NF_LSN_TEXT_MAX], when[POINT_TIME_MAX];
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	return json_pack("{s:s, s:s}", "lsn", text, "time", point_time(when, time_us));
}

/* History begins with it, so it must be meant. */
static int refuse_needed(struct ctl_call *call, const struct bd_branch_info *branch, const char *label,
			 const struct wa_history_loss *loss)
{
	char from[POINT_TIME_MAX], to[POINT_TIME_MAX];
	point_time(from, loss->from_us - loss->from_us % 1000000);
	point_time(to, loss->to_us - loss->to_us % 1000000);
	if (loss->is_all)
		return ctl_error(call, "needed",
				 "history of \"%s\" begins with \"%s@%s\" (" NF_LSN_FMT ", %s) and has no other snapshot to start "
				 "from: without it no point up to now can be gone back to; --force deletes it all the same",
				 branch->name, branch->name, label, NF_LSN_ARG(loss->from), from);
	return ctl_error(call, "needed",
			 "history of \"%s\" begins with \"%s@%s\" (" NF_LSN_FMT ", %s): without it the earliest point is " NF_LSN_FMT
			 " of %s; --force deletes it all the same",
			 branch->name, branch->name, label, NF_LSN_ARG(loss->from), from, NF_LSN_ARG(loss->to), to);
}

int ctl_snapshot_delete(struct ctl_call *call)
{
	struct ctl_point point;
	struct bd_branch_info branch;
	struct bd_snapshot_info snapshot;
	struct wa_history_loss loss;
	const char *text = ctl_text(call, "point");
	if (text == NULL || ctl_split_point(call, text, &point) != 0)
		return -1;
	if (point.label[0] == '\0')
		return ctl_error(call, TL_CODE_USAGE, "a snapshot is written NAME@LABEL");
	if (ctl_find_branch(call, "branch", point.branch, &branch) != 0 ||
	    ctl_find_snapshot(call, &branch, point.label, &snapshot) != 0)
		return -1;
	int rc = wa_history_delete_snapshot(call->history, branch.id, point.label, ctl_true(call, "force"), &loss);
	if (rc == -ENOTEMPTY)
		return refuse_needed(call, &branch, point.label, &loss);
	if (rc == -EBUSY)
		return ctl_error(call, "busy", "snapshot \"%s@%s\" is in use; close what reads it and try again", branch.name,
				 point.label);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot delete the snapshot");
	announce_snapshot(call, branch.name, point.label);
	if (loss.from.v != 0)
		call->result = json_pack("{s:s, s:b, s:o, s:o}", "branch", branch.name, "all_history", (int)loss.is_all, "began",
					 point_json(loss.from, loss.from_us), "begins", point_json(loss.to, loss.to_us));
	return 0;
}
