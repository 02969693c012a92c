/* Handlers for names: look-up, and making, linking, renaming and removing. The mount's root refuses all of it. */
#include <linux/fs.h>
#include <string.h>

#include "fs/fs_internal.h"

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	FS_CALL(req, FS_OP_LOOKUP);
	struct bd_inode *inode;
	int err;

	if (parent == FUSE_ROOT_ID) {
		err = fs_root_lookup(call.fs, name, &inode);
		if (err == 0)
			fs_reply_entry(&call, inode, FS_ROOT_TIMEOUT_S);
		else
			fs_reply_result(&call, err);
		return;
	}
	if (fs_tree_is_door(call.fs, fs_inode(parent))) {
		fs_tree_serve(&call, fs_inode(parent), name, NULL);
		return;
	}
	err = bd_lookup(fs_inode(parent), name, &inode);
	if (err == 0)
		fs_reply_entry(&call, inode, fs_timeout_s(inode));
	else if (err == -ENOENT)
		fs_reply_no_entry(&call, fs_inode(parent));
	else
		fs_reply_result(&call, err);
}

static int make_in(struct fs_call *call, struct bd_inode *dir, const char *name, const struct bd_create *how,
		   struct bd_inode **ret_inode)
{
	int err = fs_change_begin(call, dir);

	if (err != 0)
		return err;
	err = bd_create(dir, name, how, ret_inode);
	fs_change_end(dir);
	return err;
}

static void make(struct fs_call *call, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev, const char *target)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(call->req);
	struct bd_create how = {.mode = mode, .uid = ctx->uid, .gid = ctx->gid, .rdev = (uint32_t)rdev, .symlink_target = target};
	struct bd_inode *inode;
	int err = parent != FUSE_ROOT_ID ? make_in(call, fs_inode(parent), name, &how, &inode)
					 : fs_root_refuse(call->fs, "making", name);

	if (err == 0)
		fs_reply_entry(call, inode, fs_timeout_s(inode));
	else
		fs_reply_result(call, err);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	FS_CALL(req, FS_OP_MKNOD);
	make(&call, parent, name, mode, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	FS_CALL(req, FS_OP_MKDIR);
	make(&call, parent, name, S_IFDIR | (mode & 07777), 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	FS_CALL(req, FS_OP_SYMLINK);
	if (strlen(target) > BD_SYMLINK_MAX)
		fs_reply_result(&call, -ENAMETOOLONG);
	else
		make(&call, parent, name, S_IFLNK | 0777, 0, target);
}

static int link_in(struct fs_call *call, struct bd_inode *inode, struct bd_inode *dir, const char *name)
{
	int err = fs_change_begin(call, dir);

	if (err != 0)
		return err;
	err = bd_link(inode, dir, name);
	fs_change_end(dir);
	return err;
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	FS_CALL(req, FS_OP_LINK);
	int err;

	if (ino == FUSE_ROOT_ID || new_parent == FUSE_ROOT_ID)
		err = fs_root_refuse(call.fs, "linking", new_name);
	else if (fs_is_frozen(fs_inode(new_parent)))
		err = -EROFS; /* rather than the -EXDEV of a view's inode */
	else
		err = link_in(&call, fs_inode(ino), fs_inode(new_parent), new_name);
	if (err != 0) {
		fs_reply_result(&call, err);
		return;
	}
	bd_inode_ref(fs_inode(ino), 1);
	fs_reply_entry(&call, fs_inode(ino), fs_timeout_s(fs_inode(ino)));
}

/* Somebody may want to do something before `name` of `dir` stands for nothing, or for something else. */
static int before_name_goes(struct fs *fs, fuse_ino_t dir, const char *name)
{
	int err = fs_volume_check_name(fs, fs_inode(dir), name);
	return err == 0 && fs->before_name_goes != NULL ? fs->before_name_goes(fs->before_name_goes_arg, fs_inode(dir), name) : err;
}

static int remove_from(struct fs_call *call, fuse_ino_t parent, const char *name, bool is_dir)
{
	if (parent == FUSE_ROOT_ID)
		return fs_root_refuse(call->fs, "removing", name);
	struct bd_inode *dir = fs_inode(parent);
	int err = fs_change_begin(call, dir);
	if (err != 0)
		return err;
	if (!is_dir)
		err = before_name_goes(call->fs, parent, name);
	if (err == 0)
		err = is_dir ? bd_rmdir(dir, name) : bd_unlink(dir, name);
	fs_change_end(dir);
	return err;
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	FS_CALL(req, FS_OP_UNLINK);
	fs_reply_result(&call, remove_from(&call, parent, name, false));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	FS_CALL(req, FS_OP_RMDIR);
	fs_reply_result(&call, remove_from(&call, parent, name, true));
}

/* Both directories are of one branch, or the store refuses. */
static int rename_in(struct fs_call *call, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		     unsigned store_flags)
{
	struct bd_inode *dir = fs_inode(parent);
	int err = fs_change_begin(call, dir);

	if (err != 0)
		return err;
	err = before_name_goes(call->fs, parent, name);
	if (err == 0 && (store_flags & BD_RENAME_NOREPLACE) == 0)
		err = before_name_goes(call->fs, new_parent, new_name);
	if (err == 0)
		err = bd_rename(dir, name, fs_inode(new_parent), new_name, store_flags);
	fs_change_end(dir);
	return err;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		      unsigned flags)
{
	FS_CALL(req, FS_OP_RENAME);
	unsigned store_flags = 0;
	int err;

	if (flags & RENAME_NOREPLACE)
		store_flags |= BD_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		store_flags |= BD_RENAME_EXCHANGE;
	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0)
		err = -EINVAL; /* whiteouts are for the upper layer of an overlay */
	else if (parent == FUSE_ROOT_ID && new_parent == FUSE_ROOT_ID)
		err = fs_root_refuse(call.fs, "renaming", name);
	else if (parent == FUSE_ROOT_ID || new_parent == FUSE_ROOT_ID)
		err = -EXDEV; /* mv then copies, and fails at making the branch */
	else
		err = rename_in(&call, parent, name, new_parent, new_name, store_flags);
	fs_reply_result(&call, err);
}

void fs_add_name_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
}
