/* Handlers for open files: create, tmpfile, open, release. */
#include <fcntl.h>

#include "fs/fs_internal.h"

/* Open `inode` for the request and describe the handle in `fi`. */
static int open_handle(struct fs *fs, struct bd_inode *inode, struct fuse_file_info *fi, struct fs_handle **ret_handle)
{
	int err = fs_handle_open(fs, inode, fi->flags, ret_handle);

	if (err != 0)
		return err;
	fi->fh = (uint64_t)(uintptr_t)*ret_handle;
	fi->direct_io = (*ret_handle)->direct;
	/* What the cache holds stays true while nobody has the file open, so keep it from one open to the next. */
	fi->keep_cache = !fi->direct_io;
#ifdef FS_HAVE_FILE_INFO_PARALLEL_DIRECT_WRITES
	fi->parallel_direct_writes = fi->direct_io; /* blocks are atomic in the store; the kernel still orders appends */
#endif
	return 0;
}

/* Answer create or tmpfile with the new inode, open, and end the change that began with its directory. Takes over the caller's reference. */
static void reply_create(struct fs_call *call, struct bd_inode *dir, struct bd_inode *inode, struct fuse_file_info *fi)
{
	struct fuse_entry_param entry = {
		.attr_timeout = fs_timeout_s(inode),
		.entry_timeout = fs_timeout_s(inode),
	};
	struct fs_handle *handle;
	int err = fs_node_enter(call->fs, inode, &entry.ino);

	if (err != 0) {
		bd_inode_unref(inode, 1);
	} else {
		err = open_handle(call->fs, inode, fi, &handle);
		if (err != 0)
			fs_node_forget(call->fs, inode, 1);
	}
	fs_change_end(dir);
	if (err != 0) {
		fs_reply_result(call, err);
		return;
	}
	fs_stat_inode(call->fs, inode, &entry.attr);
	if (fuse_reply_create(call->req, &entry, fi) != 0) {
		fs_handle_close(call->fs, handle);
		fs_node_forget(call->fs, inode, 1);
	}
}

static struct bd_create regular_file(fuse_req_t req, mode_t mode)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct bd_create){.mode = S_IFREG | (mode & 07777), .uid = ctx->uid, .gid = ctx->gid};
}

/* A file in `parent`, without a name when `name` is NULL. */
static void create(struct fs_call *call, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct bd_create how = regular_file(call->req, mode);
	struct bd_inode *inode;

	if (parent == FUSE_ROOT_ID) {
		fs_reply_result(call, fs_root_refuse(call->fs, "making", name != NULL ? name : ""));
		return;
	}
	struct bd_inode *dir = fs_inode(parent);
	int err = fs_change_begin(call, dir);
	if (err != 0) {
		fs_reply_result(call, err);
		return;
	}
	err = name != NULL ? bd_create(dir, name, &how, &inode) : bd_create_unnamed(dir, &how, &inode);
	if (err == 0) {
		reply_create(call, dir, inode, fi);
		return;
	}
	fs_change_end(dir);
	fs_reply_result(call, err);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_CREATE);
	create(&call, parent, name, mode, fi);
}

#ifdef FS_HAVE_OPS_TMPFILE
static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_TMPFILE);
	create(&call, parent, NULL, mode, fi);
}
#endif

static int truncate_at_open(struct fs_call *call, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	struct bd_attr attr = {.size_bytes = 0}, result;
	int err = fs_kills_priv(call, fi) ? fs_kill_priv(call->fs, fs_inode(ino)) : 0;

	return err == 0 ? bd_setattr(fs_inode(ino), BD_SET_SIZE, &attr, &result) : err;
}

/* Open for writing: a change. */
static int open_changing(struct fs_call *call, fuse_ino_t ino, struct fuse_file_info *fi, struct fs_handle **ret_handle)
{
	struct bd_inode *inode = fs_inode(ino);
	int err = fs_is_frozen(inode) ? -EROFS : fs_change_begin(call, inode);

	if (err != 0)
		return err;
	/* Opened first: a file that may not be opened is not cut either. */
	err = open_handle(call->fs, inode, fi, ret_handle);
	if (err == 0 && fi->flags & O_TRUNC) {
		err = truncate_at_open(call, ino, fi);
		if (err != 0)
			fs_handle_close(call->fs, *ret_handle);
	}
	fs_change_end(inode);
	return err;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_OPEN);
	struct fs_handle *handle;
	int err;

	if (ino == FUSE_ROOT_ID)
		err = -EISDIR;
	else if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC) != 0)
		err = open_changing(&call, ino, fi, &handle);
	else
		err = open_handle(call.fs, fs_inode(ino), fi, &handle);
	/* With the handle there the id does not change any more. */
	if (err == 0 && fs_is_stale(call.fs, ino)) {
		fs_handle_close(call.fs, handle);
		err = -ESTALE;
	}
	if (err != 0) {
		fs_reply_result(&call, err);
		return;
	}
	if (fuse_reply_open(req, fi) != 0)
		fs_handle_close(call.fs, handle);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_RELEASE);
	(void)ino;
	fs_handle_close(call.fs, fs_handle(fi));
	fs_reply_result(&call, 0);
}

/* No handler for flush, poll, bmap, access and locks: the kernel learns once that there is none and stops asking. */
void fs_add_file_ops(struct fuse_lowlevel_ops *ops)
{
	ops->create = op_create;
#ifdef FS_HAVE_OPS_TMPFILE
	ops->tmpfile = op_tmpfile;
#endif
	ops->open = op_open;
	ops->release = op_release;
}
