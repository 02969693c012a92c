/* Read-only trees of points in history, made when they are looked up: MOUNT/NAME@POINT.
 *
 * A tree is a branch that is brought to the point as `create --from NAME@POINT` does it, under an internal name, and a snapshot of that. It takes some
 * hundred milliseconds to make, so a look-up gets a door first (fs/fs.h, struct fs_trees): another internal branch, empty, with the owner and mode
 * that the tree's root has. A tree stays while its files are open and for TREES_KEEP_S after its name was looked up last; at most TREES_MAX are kept. What a
 * daemon leaves behind is deleted at the next mount. */
#ifndef NEONFS_TREES_H
#define NEONFS_TREES_H

#include "tools/neonfs/control_call.h"

#define TREES_PREFIX WA_LAZY_UNDRAINED
#define TREES_MAX 8
#define TREES_KEEP_S 600
#define TREES_FRESH_S 5 /* not given up for another one before: the kernel believes in a name for a second */

struct trees;

/* Returns 0 or -ENOMEM. */
NF_MUST_CHECK int trees_new(struct trees **ret_trees);
/* For the mount's options. */
void trees_hooks(struct trees *trees, struct fs_trees *ret_hooks);
/* Before requests are served: what trees are made with. */
void trees_start(struct trees *trees, const struct ctl_call *with);
/* When nobody looks anything up any more: all are deleted. NULL is legal. */
void trees_free(struct trees *trees);

/* The branch is about to be deleted: so are its trees. -1 after ctl_error when one is in use. */
NF_MUST_CHECK int trees_forget(struct trees *trees, struct ctl_call *call, const struct bd_branch_info *branch);

#endif
