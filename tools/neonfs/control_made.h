/* At which point of its parent a branch was made, noted in the branch itself: an attribute of its root directory, so that it comes and goes with it, and
 * whoever makes the branch needs no second commit. Children and copies inherit the attribute, but it names the branch that it is about. */
#ifndef NEONFS_CONTROL_MADE_H
#define NEONFS_CONTROL_MADE_H

#include "tools/neonfs/control_point.h"

#define CTL_MADE_POINT_MAX 160 /* bytes of a point as it was asked for; longer ones are cut */

struct ctl_made {
	char of[BD_BRANCH_NAME_MAX + 1]; /* as the parent was called then; "" = it had none */
	char point[CTL_MADE_POINT_MAX]; /* as it was asked for; "" = as the parent was then */
	struct nf_lsn lsn; /* what that became; 0 = it was none, or is not known */
};

/* Note it of a branch that nobody has seen yet. Durable with the next sync of the store. -errno. */
NF_MUST_CHECK int ctl_note_made(struct bd_store *store, const struct bd_branch_info *branch, const struct ctl_place *place,
				struct nf_lsn lsn);

/* Snapshots of parents, looked up once for many branches. Zero-initialise. */
struct ctl_made_cache {
	struct ctl_made_parent *parents;
	size_t count;
};
void ctl_made_cache_free(struct ctl_made_cache *cache);

/* What is known of it: noted, or the label of the snapshot at which it left its parent, where that is still there. `cache` may be NULL. -errno. */
NF_MUST_CHECK int ctl_made_of(struct bd_store *store, const struct bd_branch_info *branch, struct ctl_made_cache *cache,
			      struct ctl_made *ret_made);

/* {"branch", "point", "lsn"}, each null where there is none; null for a branch that began empty. NULL: out of memory. */
json_t *ctl_made_json(const struct ctl_made *made);

#endif
