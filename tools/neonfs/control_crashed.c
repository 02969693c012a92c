/* See control_crashed.h. In which order, and why it may end between any two steps:
 *
 *   0. without history: indexes and summaries of its WAL are made, as far as they were not while it was written (wa_crashed.h)
 *   1. the preparer brings state outside of pages to the end, and files to their length; a checkpoint and its timeline are written into pg_wal; the
 *      pg_control that names them lies beside the one that counts
 *   2. what the layer needs is gathered and kept: the index of the WAL; the WAL itself is the branch's own, below the layer
 *   3. the layer is laid, in one record: every page is now as after the last record
 *   4. pg_control is replaced, in one record
 *
 * Up to 4 the branch is one whose server died in the middle of its recovery: Postgres begins at the same redo pointer, finds state and pages that are
 * further on than that, as it does after any crash, and replays to the same end. It must not do so *between* 1 and 4, because then it would write pages
 * before the layer is laid over them: the hold sees to that, and it goes with the daemon, and so does what is between. */
#include "tools/neonfs/control_crashed.h"

#include <stdio.h>
#include <string.h>

#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_lazy.h"
#include "tools/neonfs/control_prepare.h"
#include "common/nf_log.h"
#include "tools/neonfs/control_replay.h"
#include "walapply/pitr/wa_crashed.h"
#include "walapply/pitr/wa_history.h"

/* All of its WAL is in its own pg_wal, which the layer keeps as it is below it. */
static struct wa_lazy_base base_of(const struct ctl_crashed *crashed, struct nf_lsn end)
{
	const struct wa_control *control = &crashed->cluster->control;
	uint64_t size = control->wal_segment_size;
	return (struct wa_lazy_base){
		.view = {.branch = crashed->branch.id, .epoch = BD_EPOCH_HEAD},
		.source = crashed->history,
		.redo = control->copy.redo,
		.written = {(end.v + size - 1) / size * size},
		.timeline = ctl_own_timeline(control),
	};
}

static int lay(struct ctl_call *call, const struct ctl_crashed *crashed, struct nf_lsn end, json_t *facts)
{
	const struct wa_lazy_base base = base_of(crashed, end);
	struct wa_lazy_layer *layer = NULL;
	bool is_laid = false;
	if (ctl_lazy_begin(call, &base, end, facts, &layer) != 0)
		return -1;
	if (layer == NULL)
		return 1;
	int rc = ctl_lazy_lay(call, layer, &crashed->branch, facts, &is_laid);
	wa_lazy_end(layer, is_laid);
	return rc;
}

/* Where history has not gone through the WAL already. What cannot be made is read from the WAL, which says what is wrong with it. */
static int index_wal(struct ctl_call *call, const struct ctl_crashed *crashed, json_t *facts)
{
	struct wa_history_status status;
	int64_t began_ns = ctl_now_ns();
	if (wa_history_status(call->history, crashed->history, &status) == 0)
		return 0;
	int rc = wa_crashed_index(call->history, crashed->branch.id, ctl_progress, call);
	ctl_note_time(facts, "index", &began_ns);
	if (rc == -ECANCELED)
		return ctl_error(call, "stopped", "given up: the client hung up, or the store is being unmounted");
	if (rc != 0)
		nf_warn("branch %s: its WAL could not be indexed: %s; it is read as it is", crashed->branch.name, strerror(-rc));
	return 0;
}

static int recover_crashed(struct ctl_call *call, const struct ctl_crashed *crashed, json_t *facts)
{
	struct nf_lsn end;
	int rc = ctl_replay_to_end(call, crashed, true, facts, &end);
	if (rc == 0)
		rc = lay(call, crashed, end, facts);
	/* Pages too, then. The preparer begins again, on what it has left. */
	return rc == 1 ? ctl_replay_to_end(call, crashed, false, facts, &end) : rc;
}

int ctl_recover_crashed(struct ctl_call *call, const struct ctl_crashed *crashed, json_t *facts)
{
	int rc = index_wal(call, crashed, facts);
	if (rc == 0)
		rc = recover_crashed(call, crashed, facts);
	wa_crashed_drop(call->history, crashed->branch.id);
	return rc;
}
