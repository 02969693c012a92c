/* Indexes and summaries of a crashed branch that has no history: of its full segments from the redo pointer on, as history would have made them. So the
 * preparer and the layer find what they would have to read all the WAL for, one after the other.
 *
 * History's thread makes them while Postgres writes, of every branch without history (ready.c), and wa_crashed_index what is missing. They lie in the internal
 * branch WA_HISTORY_BRANCH, `crashed-<branch id>/`, until Postgres needs the segments no more for its own recovery, or wa_crashed_drop. Nothing depends on
 * them: what is missing, or of another state of the segment, is read from the WAL. */
#ifndef WA_CRASHED_H
#define WA_CRASHED_H

#include "blockdev/bd.h"
#include "walapply/pitr/wa_history.h"

/* Make those that are not there, by two threads. Nobody else writes in the branch meanwhile. Ends without an error where the log ends or a segment cannot be read: that is for replay to judge.
 * progress: on the calling thread, in segments; may be NULL.
 * Returns 0; -EINVAL no data directory; -ECANCELED; an error of the store. After an error there are none. */
NF_MUST_CHECK int wa_crashed_index(struct wa_history *history, struct bd_branch_id branch, bd_progress_fn progress, void *arg);
/* They are not needed any more. */
void wa_crashed_drop(struct wa_history *history, struct bd_branch_id branch);
/* The directory of summaries, below the mount point. */
void wa_crashed_summary_path(struct bd_branch_id branch, char *ret_path, size_t size);

#endif
