/* Redo layers for branches that control requests bring to an LSN (walapply/pitr/wa_lazy.h). */
#ifndef NEONFS_CONTROL_LAZY_H
#define NEONFS_CONTROL_LAZY_H

#include "tools/neonfs/control_call.h"
#include "walapply/pitr/wa_lazy.h"

/* Gather what a layer from `base` to `to` needs. *ret_layer is NULL when blocks cannot be made one by one from this WAL: then all of it has to be replayed,
 * and a row "eager" of the facts says why. -1 after ctl_error. */
NF_MUST_CHECK int ctl_lazy_begin(struct ctl_call *call, const struct wa_lazy_base *base, struct nf_lsn to, json_t *facts,
				 struct wa_lazy_layer **ret_layer);

/* The summaries of its segments in a file in memory, for the preparer: *ret_fd, the caller's to close; -1 when there is no memory for that. */
void ctl_lazy_summaries(const struct wa_lazy_layer *layer, int *ret_fd);

/* The branch was brought to the LSN but for its pages, and is still as its old pg_control says to whoever starts on it: lay the layer, and put the new
 * pg_control in place. Not durable before the store is synced. Rows are added to the facts. *ret_is_laid: the layer may be there, and needs what was
 * gathered, whatever the result is. 1: not for this branch, nothing was done, and a row "eager" says why; -1 after ctl_error. */
NF_MUST_CHECK int ctl_lazy_lay(struct ctl_call *call, struct wa_lazy_layer *layer, const struct bd_branch_info *branch,
			       json_t *facts, bool *ret_is_laid);

#endif
