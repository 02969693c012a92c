/* From the model's inodes to the store's: paths, handles, attributes. */
#include "mt.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static struct bd_inode *open_path(struct mt *mt, struct bd_view view, const struct mm_tree *tree, uint64_t file)
{
	const char *name;
	const struct mm_inode *dir;
	struct bd_inode *parent, *inode;
	int err;

	if (file == MM_ROOT) {
		err = bd_root(mt->store, view, &inode);
		if (err != 0)
			mt_fail(mt, "no root of branch %u at %u: %s", view.branch.v, view.epoch.v, strerror(-err));
		return inode;
	}
	dir = mm_name_of(tree, file, &name);
	if (dir == NULL)
		mt_fail(mt, "the test itself: file %" PRIu64 " has no name", file);
	parent = open_path(mt, view, tree, dir->file);
	err = bd_lookup(parent, name, &inode);
	bd_inode_unref(parent, 1);
	if (err != 0)
		mt_fail(mt, "look-up of '%s' (file %" PRIu64 ") in directory %" PRIu64 " of branch %u at %u: %s", name, file,
			dir->file, view.branch.v, view.epoch.v, strerror(-err));
	return inode;
}

static void check_identity(struct mt *mt, struct bd_inode *inode, struct bd_view view, uint64_t file)
{
	struct bd_attr attr;
	struct bd_view seen = bd_inode_view(inode);

	bd_inode_attr(inode, &attr);
	if (attr.file.v != file)
		mt_fail(mt, "the inode is file %" PRIu64 ", the model says %" PRIu64, attr.file.v, file);
	if (seen.branch.v != view.branch.v || seen.epoch.v != view.epoch.v)
		mt_fail(mt, "file %" PRIu64 " is of view %u at %u, asked for %u at %u", file, seen.branch.v, seen.epoch.v,
			view.branch.v, view.epoch.v);
}

struct bd_inode *mt_open(struct mt *mt, struct bd_view view, const struct mm_tree *tree, uint64_t file)
{
	struct bd_inode *inode;

	if (mt_chance(mt, 200)) {
		int err = bd_inode_by_id(mt->store, view, (struct bd_file_id){file}, &inode);
		if (err != 0)
			mt_fail(mt, "file %" PRIu64 " of branch %u at %u by number: %s", file, view.branch.v, view.epoch.v,
				strerror(-err));
	} else {
		inode = open_path(mt, view, tree, file);
	}
	check_identity(mt, inode, view, file);
	return inode;
}

static struct mt_handle *find_handle(struct mt *mt, unsigned branch, uint64_t file)
{
	for (unsigned i = 0; i < MT_HANDLES; i++)
		if (mt->handles[i].inode != NULL && mt->handles[i].branch == branch && mt->handles[i].file == file)
			return &mt->handles[i];
	return NULL;
}

bool mt_is_kept(const struct mt *mt, unsigned branch, uint64_t file)
{
	return find_handle((struct mt *)mt, branch, file) != NULL;
}

struct bd_inode *mt_acquire(struct mt *mt, unsigned branch, uint64_t file)
{
	struct mt_handle *handle = find_handle(mt, branch, file);
	const struct mm_tree *tree = mt->branches[branch].head;
	struct bd_inode *inode;

	if (handle != NULL && (mm_get(tree, file)->nlink == 0 || mt_chance(mt, 700))) {
		bd_inode_ref(handle->inode, 1);
		check_identity(mt, handle->inode, mt_head_view(mt, branch), file);
		return handle->inode;
	}
	inode = mt_open(mt, mt_head_view(mt, branch), tree, file);
	if (handle != NULL && handle->inode != inode)
		mt_fail(mt, "file %" PRIu64 " has two inodes in memory", file);
	if (handle == NULL && mt_chance(mt, 300))
		mt_keep(mt, branch, inode, file);
	return inode;
}

bool mt_keep(struct mt *mt, unsigned branch, struct bd_inode *inode, uint64_t file)
{
	struct mt_handle *handle = &mt->handles[mt_below(mt, MT_HANDLES)];

	if (handle->inode != NULL) {
		if (mm_get(mt->branches[handle->branch].head, handle->file)->nlink == 0)
			return false;
		mt_handle_close(mt, handle);
	}
	bd_inode_ref(inode, 1);
	*handle = (struct mt_handle){.inode = inode, .branch = branch, .file = file};
	return true;
}

void mt_maybe_drop(struct mt *mt, unsigned branch, struct mm_tree *tree, uint64_t file)
{
	const struct mm_inode *inode = mm_get(tree, file);

	if (inode != NULL && inode->nlink == 0 && !mt_is_kept(mt, branch, file))
		mm_drop(tree, file);
}

void mt_handle_close(struct mt *mt, struct mt_handle *handle)
{
	struct mt_handle closed = *handle;
	const struct mm_inode *inode;

	if (closed.inode == NULL)
		return;
	handle->inode = NULL;
	inode = mm_get(mt->branches[closed.branch].head, closed.file);
	bd_inode_unref(closed.inode, 1);
	if (inode != NULL && inode->nlink == 0 && !mt_is_kept(mt, closed.branch, closed.file)) {
		mt_maybe_drop(mt, closed.branch, mt_begin(mt, closed.branch), closed.file);
		mt_commit(mt, closed.branch, false);
	}
}

void mt_handles_close(struct mt *mt, unsigned branch)
{
	for (unsigned i = 0; i < MT_HANDLES; i++)
		if (branch == MT_BRANCHES || mt->handles[i].branch == branch)
			mt_handle_close(mt, &mt->handles[i]);
}

/* ---- attributes ---- */

void mt_check_attr(struct mt *mt, const struct mm_inode *inode, const struct bd_attr *attr)
{
	uint64_t size = inode->size_bytes;

	if (mm_is_dir(inode))
		size = 4096;
	else if (mm_is_symlink(inode))
		size = inode->target->size - 1;
#define CHECK(field, want, format)                                                                              \
	if (attr->field != (want))                                                                              \
	mt_fail(mt, "file %" PRIu64 ": " #field " is " format ", the model says " format, inode->file, attr->field, (want))
	CHECK(file.v, inode->file, "%" PRIu64);
	CHECK(mode, inode->mode, "%o");
	CHECK(uid, inode->uid, "%u");
	CHECK(gid, inode->gid, "%u");
	CHECK(nlink, inode->nlink, "%u");
	CHECK(rdev, inode->rdev, "%u");
	CHECK(size_bytes, size, "%" PRIu64);
	CHECK(atime_ns, inode->atime_ns, "%" PRId64);
	CHECK(mtime_ns, inode->mtime_ns, "%" PRId64);
	CHECK(ctime_ns, inode->ctime_ns, "%" PRId64);
	CHECK(btime_ns, inode->btime_ns, "%" PRId64);
#undef CHECK
}

static void absorb_time(struct mt *mt, const struct mm_inode *inode, const char *what, int64_t *time_ns, int64_t got_ns,
			bool must, bool may)
{
	if (!must && !may)
		return;
	if (may && got_ns == *time_ns)
		return;
	/* File systems may stamp with a coarse clock. */
	if (got_ns < mt->started_ns - (int64_t)mt->epsilon_ns || got_ns > mt_now_ns() + (int64_t)mt->epsilon_ns)
		mt_fail(mt, "file %" PRIu64 ": %s is %" PRId64 ", but the operation ran at %" PRId64, inode->file, what, got_ns,
			mt->started_ns);
	*time_ns = got_ns;
}

void mt_absorb(struct mt *mt, struct mm_inode *inode, struct bd_inode *real, unsigned changed)
{
	struct bd_attr attr;

	bd_inode_attr(real, &attr);
	absorb_time(mt, inode, "atime", &inode->atime_ns, attr.atime_ns, changed & MT_NEW, false);
	absorb_time(mt, inode, "btime", &inode->btime_ns, attr.btime_ns, changed & MT_NEW, false);
	absorb_time(mt, inode, "mtime", &inode->mtime_ns, attr.mtime_ns, changed & (MT_NEW | MT_MTIME),
		    changed & MT_MAY_MTIME);
	absorb_time(mt, inode, "ctime", &inode->ctime_ns, attr.ctime_ns, changed & (MT_NEW | MT_CTIME),
		    changed & MT_MAY_CTIME);
	mt_check_attr(mt, inode, &attr);
}
