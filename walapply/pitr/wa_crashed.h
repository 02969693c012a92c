/* Indexes and summaries of a crashed branch that has no history: of its full segments from the redo pointer on, as history would have made them, by two
 * threads. So the preparer and the layer find what they would have to read all the WAL for, one after the other.
 *
 * They lie in the internal branch WA_HISTORY_BRANCH, `crashed-<branch id>/`, from wa_crashed_index to wa_crashed_drop; what a dying daemon leaves goes when
 * history is opened. Nothing depends on them: what is missing is read from the WAL. */
#ifndef WA_CRASHED_H
#define WA_CRASHED_H

#include "blockdev/bd.h"

/* Make them. Nobody else writes in the branch meanwhile. Ends without an error where the log ends or a segment cannot be read: that is for replay to judge.
 * progress: on the calling thread, in segments; may be NULL.
 * Returns 0; -EINVAL no data directory; -ECANCELED; an error of the store. What was made before an error stays until it is dropped. */
NF_MUST_CHECK int wa_crashed_index(struct bd_store *store, struct bd_branch_id branch, bd_progress_fn progress, void *arg);
void wa_crashed_drop(struct bd_store *store, struct bd_branch_id branch);
/* The directory of summaries, below the mount point. */
void wa_crashed_summary_path(struct bd_branch_id branch, char *ret_path, size_t size);

#endif
