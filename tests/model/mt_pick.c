/* Choosing what an operation works on. */
#include "mt.h"

static bool fits(const struct mm_inode *inode, enum mt_want want)
{
	return want == MT_WANT_ANY || (want == MT_WANT_FILE && mm_is_file(inode)) ||
	       (want == MT_WANT_DIR && mm_is_dir(inode) && inode->nlink > 0) ||
	       (want == MT_WANT_SYMLINK && mm_is_symlink(inode));
}

bool mt_pick_in(struct mt *mt, unsigned branch, enum mt_want want, struct mt_pick *ret_pick)
{
	const struct mm_tree *tree;
	size_t start;

	if (branch == MT_BRANCHES)
		return false;
	tree = mt->branches[branch].head;
	start = mt_below(mt, tree->count);
	for (size_t i = 0; i < tree->count; i++) {
		const struct mm_inode *inode = tree->inodes[(start + i) % tree->count];
		if (!fits(inode, want))
			continue;
		ret_pick->branch = branch;
		ret_pick->real = mt_acquire(mt, branch, inode->file);
		ret_pick->inode = mm_get(mt->branches[branch].head, inode->file);
		return true;
	}
	return false;
}

bool mt_pick(struct mt *mt, enum mt_want want, struct mt_pick *ret_pick)
{
	return mt_pick_in(mt, mt_any_branch(mt), want, ret_pick);
}
