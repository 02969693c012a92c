/* See control_replay.h. */
#include "tools/neonfs/control_replay.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_crashed.h"
#include "tools/neonfs/control_lazy.h"
#include "tools/neonfs/control_prepare.h"
#include "tools/neonfs/control_tablespace.h"
#include "walapply/pitr/wa_crashed.h"

static int run_preparer(struct ctl_call *call, const struct ctl_place *place, const struct bd_branch_info *child,
			const struct wa_base *base, const struct wa_lazy_layer *layer, struct preparer_answer *ret_answer)
{
	char path[PATH_MAX], kept[PATH_MAX], own[PATH_MAX], below[64], lsn[NF_LSN_TEXT_MAX],
		timeline_text[16], source_text[16];
	uint32_t timeline;
	struct wa_history_status status;
	int rc = wa_history_status(call->history, place->branch.id, &status);
	/* The parent may have begun others since the base. */
	if (rc == 0)
		rc = wa_history_new_timeline(call->history, NF_MAX(base->timeline, status.timeline), &timeline);
	if (rc != 0)
		return rc;
	wa_history_wal_path(place->branch.id, below, sizeof(below));
	ctl_path(call, child->name, "", path);
	ctl_path(call, below, "", kept);
	ctl_path(call, place->branch.name, "pg_wal", own);
	snprintf(lsn, sizeof(lsn), NF_LSN_FMT, NF_LSN_ARG(place->lsn));
	snprintf(timeline_text, sizeof(timeline_text), "%u", timeline);
	snprintf(source_text, sizeof(source_text), "%u", NF_MAX(base->timeline, status.timeline));
	/* The point was looked up in the same WAL, and the base is one that lies before it; that replay ended there is seen to below.
	 * The server's own segments first, they are the newest state; what it removed meanwhile was kept before that. */
	const char *words[PREPARER_WORDS_MAX] = {"replay",        path,         "--lines",   "--to",           lsn,
						 "--checked",     "--timeline", source_text, "--new-timeline", timeline_text,
						 "--inside-only", "--no-sync",  "--wal",     own};
	unsigned used = 14;
	int summaries_fd = -1;
	if (access(kept, F_OK) == 0) {
		words[used++] = "--wal";
		words[used++] = kept;
	}
	if (!ctl_may_have_unlogged(call->store, base->view))
		words[used++] = "--no-unlogged";
	if (layer != NULL) {
		words[used++] = "--state-only";
		ctl_lazy_summaries(layer, &summaries_fd);
	}
	if (summaries_fd >= 0) {
		words[used++] = "--summaries";
		words[used++] = PREPARER_FILE_PATH;
	}
	rc = preparer_run(call, words, NULL, summaries_fd, ret_answer);
	if (summaries_fd >= 0)
		close(summaries_fd);
	return rc;
}

static int preparer_error(struct ctl_call *call, int rc, const struct preparer_answer *answer)
{
	if (rc == -ECANCELED)
		return ctl_error(call, "stopped", "given up: the client hung up, or the store is being unmounted");
	if (rc != 0)
		return ctl_error(call, "failed", "neonfs-wal, which must lie beside the daemon's program, cannot be run: %s",
				 strerror(-rc));
	if (answer->is_outside)
		return ctl_refuse_on_the_way(call, answer->message);
	return ctl_error(call, answer->is_unsupported ? "unsupported" : "failed", "%s", answer->message);
}

int ctl_replay_to(struct ctl_call *call, const struct ctl_place *place, const struct wa_base *base,
		  const struct bd_branch_info *child, const struct wa_lazy_layer *layer, json_t *facts,
		  struct preparer_answer *answer)
{
	int64_t began_ns = ctl_now_ns();
	int rc = run_preparer(call, place, child, base, layer, answer);
	ctl_note_time(facts, "prepare", &began_ns);
	if (rc == 0 && answer->result == NULL && answer->is_unsupported)
		return 1;
	if (rc != 0 || answer->result == NULL)
		return preparer_error(call, rc, answer);
	char wanted[NF_LSN_TEXT_MAX];
	const char *reached = json_string_value(json_object_get(answer->result, "end"));
	snprintf(wanted, sizeof(wanted), NF_LSN_FMT, NF_LSN_ARG(place->lsn));
	if (reached == NULL || strcmp(reached, wanted) != 0) {
		rc = ctl_error(call, "failed",
			       "replay ended at %s instead of %s; the WAL of branch \"%s\" was overwritten meanwhile",
			       reached != NULL ? reached : "an unknown place", wanted, place->branch.name);
		json_decref(answer->result);
		return rc;
	}
	json_object_set_new(facts, "replayed", answer->result);
	return 0;
}

uint32_t ctl_own_timeline(const struct wa_control *control)
{
	return NF_MAX(control->copy.timeline, control->min_recovery_timeline);
}

static int end_error(struct ctl_call *call, int rc, const struct preparer_answer *answer)
{
	if (rc == 0 && answer->is_unsupported)
		return ctl_error(call, "unsupported", "%s; start Postgres on it as it is, which recovers by itself",
				 answer->message);
	return preparer_error(call, rc, answer);
}

int ctl_replay_to_end(struct ctl_call *call, const struct ctl_crashed *crashed, bool state_only, json_t *facts,
		      struct nf_lsn *ret_end)
{
	char path[PATH_MAX], summaries[PATH_MAX], below[64], own_text[16], timeline_text[16];
	uint32_t timeline, own = ctl_own_timeline(&crashed->cluster->control);
	struct preparer_answer answer = {0};
	int64_t began_ns = ctl_now_ns();
	int rc = wa_history_new_timeline(call->history, own, &timeline);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot begin a new timeline");
	ctl_path(call, crashed->branch.name, "", path);
	snprintf(own_text, sizeof(own_text), "%u", own);
	snprintf(timeline_text, sizeof(timeline_text), "%u", timeline);
	const char *words[PREPARER_WORDS_MAX] = {"replay",         path,          "--lines",      "--timeline", own_text,
						 "--new-timeline", timeline_text, "--inside-only"};
	unsigned used = 8;
	if (state_only)
		words[used++] = "--state-only";
	wa_history_summary_path(crashed->history, below, sizeof(below));
	ctl_path(call, below, "", summaries);
	if (access(summaries, F_OK) != 0) {
		wa_crashed_summary_path(crashed->branch.id, below, sizeof(below));
		ctl_path(call, below, "", summaries);
	}
	if (state_only && access(summaries, F_OK) == 0) {
		words[used++] = "--summaries";
		words[used++] = summaries;
	}
	/* What is recovered in place is the same server; a copy has no standbys. */
	words[used++] = crashed->hold != NULL ? "--keep-slots" : "--no-sync";
	rc = preparer_run(call, words, crashed->hold, -1, &answer);
	ctl_note_time(facts, "prepare", &began_ns);
	if (rc != 0 || answer.result == NULL)
		return end_error(call, rc, &answer);
	json_object_set(facts, "lsn", json_object_get(answer.result, "end"));
	json_object_set_new(facts, "replayed", answer.result);
	const char *end = json_string_value(json_object_get(facts, "lsn"));
	return end != NULL && nf_lsn_parse(end, ret_end) == 0
		       ? 0
		       : ctl_error(call, "failed", "neonfs-wal does not say where it ended");
}
