/* The preparer at work on a branch: what it is told, and what its answer means for the request. */
#ifndef NEONFS_CONTROL_REPLAY_H
#define NEONFS_CONTROL_REPLAY_H

#include "tools/neonfs/control_point.h"
#include "tools/neonfs/preparer.h"
#include "walapply/pitr/wa_history.h"

struct ctl_crashed;
struct wa_lazy_layer;

/* Bring `child`, a copy of the base, to place->lsn; where `layer` will make the pages of relations, all but those. Nothing of it is durable. A row "replayed"
 * is added to the facts. Returns 0; 1 only Postgres can do it, and why is in the answer; -1 after ctl_error. Unless 0, the child is half done. */
NF_MUST_CHECK int ctl_replay_to(struct ctl_call *call, const struct ctl_place *place, const struct wa_base *base,
				const struct bd_branch_info *child, const struct wa_lazy_layer *layer, json_t *facts,
				struct preparer_answer *answer);

/* Replay what a crashed branch's own WAL holds, to its end; with `state_only` without the pages of relations, and pg_control is put beside the one that
 * counts. Rows "replayed" and "lsn" are added to the facts. In place all of it is durable, in an order that may be broken off. -1 after
 * ctl_error: then the branch is half done, and can be begun again. */
NF_MUST_CHECK int ctl_replay_to_end(struct ctl_call *call, const struct ctl_crashed *crashed, bool state_only, json_t *facts,
				    struct nf_lsn *ret_end);

/* The timeline that a server which started on the directory would recover (readRecoverySignalFile and StartupXLOG, xlog.c). Others may lie in pg_wal: that of a
 * replay which was broken off, for one. */
struct wa_control;
uint32_t ctl_own_timeline(const struct wa_control *control);

#endif
