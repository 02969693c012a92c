/* Handlers for one inode's attributes: getattr, statx, setattr, readlink, statfs, forget. */
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "fs/fs_internal.h"

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	FS_CALL(req, FS_OP_FORGET);
	if (ino != FUSE_ROOT_ID)
		fs_node_forget(call.fs, fs_inode(ino), count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	FS_CALL(req, FS_OP_FORGET);
	for (size_t i = 0; i < count; i++) {
		if (forgets[i].ino != FUSE_ROOT_ID)
			fs_node_forget(call.fs, fs_inode(forgets[i].ino), forgets[i].nlookup);
	}
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_GETATTR);
	struct stat st;

	(void)fi;
	if (ino != FUSE_ROOT_ID) {
		if (fs_is_stale(call.fs, ino))
			fs_reply_result(&call, -ESTALE);
		else
			fs_reply_attr(&call, fs_inode(ino));
		return;
	}
	fs_root_stat(call.fs, &st);
	fuse_reply_attr(req, &st, FS_ROOT_TIMEOUT_S);
}

#ifdef FS_HAVE_OPS_STATX
static struct statx_timestamp statx_time(struct timespec t)
{
	return (struct statx_timestamp){.tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec};
}

/* The kernel asks for statx only when a program wants the time of birth. */
static void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_STATX);
	struct stat st;
	int64_t btime_ns;

	(void)mask;
	(void)fi;
	(void)flags;
	if (ino == FUSE_ROOT_ID) {
		fs_root_stat(call.fs, &st);
		btime_ns = st.st_ctim.tv_sec * INT64_C(1000000000) + st.st_ctim.tv_nsec;
	} else if (fs_is_stale(call.fs, ino)) {
		fs_reply_result(&call, -ESTALE);
		return;
	} else {
		struct bd_attr attr;
		fs_node_attr_shown(call.fs, fs_inode(ino));
		bd_inode_attr(fs_inode(ino), &attr);
		fs_stat(bd_inode_view(fs_inode(ino)), &attr, &st);
		btime_ns = attr.btime_ns;
	}
	struct statx stx = {
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = (uint32_t)st.st_blksize,
		.stx_nlink = (uint32_t)st.st_nlink,
		.stx_uid = st.st_uid,
		.stx_gid = st.st_gid,
		.stx_mode = (uint16_t)st.st_mode,
		.stx_ino = st.st_ino,
		.stx_size = (uint64_t)st.st_size,
		.stx_blocks = (uint64_t)st.st_blocks,
		.stx_atime = statx_time(st.st_atim),
		.stx_mtime = statx_time(st.st_mtim),
		.stx_ctime = statx_time(st.st_ctim),
		.stx_btime = {.tv_sec = btime_ns / 1000000000, .tv_nsec = (uint32_t)(btime_ns % 1000000000)},
		.stx_rdev_major = major(st.st_rdev),
		.stx_rdev_minor = minor(st.st_rdev),
	};
	fuse_reply_statx(req, 0, &stx, ino == FUSE_ROOT_ID ? FS_ROOT_TIMEOUT_S : fs_timeout_s(fs_inode(ino)));
}
#endif

static int64_t ns_of(struct timespec t)
{
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_SETATTR);
	struct bd_attr attr, result;
	unsigned which = 0;

	(void)fi;
	if (ino == FUSE_ROOT_ID) {
		fs_reply_result(&call, fs_root_refuse(call.fs, "change of", ""));
		return;
	}
	struct bd_inode *inode = fs_inode(ino);
	bd_inode_attr(inode, &attr);
	bool is_dir = S_ISDIR(attr.mode);

	if (to_set & FUSE_SET_ATTR_MODE) {
		which |= BD_SET_MODE;
		attr.mode = (attr.mode & S_IFMT) | (st->st_mode & 07777);
	}
	if (to_set & FUSE_SET_ATTR_UID) {
		which |= BD_SET_UID;
		attr.uid = st->st_uid;
	}
	if (to_set & FUSE_SET_ATTR_GID) {
		which |= BD_SET_GID;
		attr.gid = st->st_gid;
	}
	if (to_set & FUSE_SET_ATTR_SIZE) {
		which |= BD_SET_SIZE;
		attr.size_bytes = (uint64_t)st->st_size;
	}
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
		which |= BD_SET_ATIME;
		attr.atime_ns = to_set & FUSE_SET_ATTR_ATIME_NOW ? fs_clock_ns(CLOCK_REALTIME) : ns_of(st->st_atim);
	}
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
		which |= BD_SET_MTIME;
		attr.mtime_ns = to_set & FUSE_SET_ATTR_MTIME_NOW ? fs_clock_ns(CLOCK_REALTIME) : ns_of(st->st_mtim);
	}
	if (to_set & FUSE_SET_ATTR_CTIME) {
		which |= BD_SET_CTIME;
		attr.ctime_ns = ns_of(st->st_ctim);
	}
	/* A change of owner clears set-id bits whoever makes it; a truncation when the kernel says so (in the bit that
	 * libfuse calls KILL_SUID and the protocol KILL_SUIDGID). */
	if (!is_dir && (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_KILL_SUID)) != 0 &&
	    (to_set & FUSE_SET_ATTR_MODE) == 0)
		which |= BD_KILL_PRIV;

	/* Times may be the kernel's own, which gathered them. */
	bool is_change = (which & ~(unsigned)(BD_SET_ATIME | BD_SET_MTIME | BD_SET_CTIME)) != 0;
	int err = is_change ? fs_change_begin(&call, inode) : 0;
	bool has_begun = is_change && err == 0;
	if (has_begun && fs_is_stale(call.fs, ino))
		err = -ESTALE;
	bool resizes = err == 0 && (which & BD_SET_SIZE) != 0;
	if (resizes)
		err = fs_resize_begin(call.fs, inode);
	bool has_resized = resizes && err == 0;
	if (err == 0)
		err = bd_setattr(inode, which, &attr, &result);
	if (has_resized)
		fs_resize_end(call.fs, inode);
	if (err == 0 && (which & BD_KILL_PRIV) != 0)
		err = fs_drop_capabilities(call.fs, inode);
	if (has_begun)
		fs_change_end(inode);
	if (err != 0) {
		fs_reply_result(&call, err);
		return;
	}
	struct stat reply;
	fs_node_attr_shown(call.fs, inode);
	fs_stat(bd_inode_view(inode), &result, &reply);
	fuse_reply_attr(req, &reply, fs_timeout_s(inode));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	FS_CALL(req, FS_OP_READLINK);
	char target[BD_SYMLINK_MAX + 1];
	int err = ino != FUSE_ROOT_ID ? bd_readlink(fs_inode(ino), target) : -EINVAL;

	if (err != 0)
		fs_reply_result(&call, err);
	else
		fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	FS_CALL(req, FS_OP_STATFS);
	struct bd_statfs space;
	int err = bd_statfs(call.fs->store, &space);

	(void)ino;
	if (err != 0) {
		fs_reply_result(&call, err);
		return;
	}
	/* Inodes take room from the same disk; a file needs at least a block's worth, so that is how many more fit. */
	uint64_t more_files = space.free_bytes / NF_BLOCK_SIZE;
	struct statvfs st = {
		.f_bsize = NF_BLOCK_SIZE,
		.f_frsize = NF_BLOCK_SIZE,
		.f_blocks = space.total_bytes / NF_BLOCK_SIZE,
		.f_bfree = space.free_bytes / NF_BLOCK_SIZE,
		.f_bavail = space.free_bytes / NF_BLOCK_SIZE,
		.f_files = space.files + more_files,
		.f_ffree = more_files,
		.f_favail = more_files,
		.f_namemax = BD_NAME_MAX,
	};
	fuse_reply_statfs(req, &st);
}

void fs_add_meta_ops(struct fuse_lowlevel_ops *ops)
{
	ops->init = fs_init;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->readlink = op_readlink;
	ops->statfs = op_statfs;
#ifdef FS_HAVE_OPS_STATX
	ops->statx = op_statx;
#endif
}
