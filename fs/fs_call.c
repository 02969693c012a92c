/* One request: counted, timed, answered. Errors become errno values here and nowhere else. */
#include <string.h>
#include <time.h>

#include "fs/fs_internal.h"

static const char *const op_names[FS_OP_COUNT] = {
	[FS_OP_LOOKUP] = "lookup",
	[FS_OP_FORGET] = "forget",
	[FS_OP_GETATTR] = "getattr",
	[FS_OP_SETATTR] = "setattr",
	[FS_OP_READLINK] = "readlink",
	[FS_OP_MKNOD] = "mknod",
	[FS_OP_MKDIR] = "mkdir",
	[FS_OP_UNLINK] = "unlink",
	[FS_OP_RMDIR] = "rmdir",
	[FS_OP_SYMLINK] = "symlink",
	[FS_OP_RENAME] = "rename",
	[FS_OP_LINK] = "link",
	[FS_OP_OPEN] = "open",
	[FS_OP_CREATE] = "create",
	[FS_OP_TMPFILE] = "tmpfile",
	[FS_OP_READ] = "read",
	[FS_OP_WRITE] = "write",
	[FS_OP_RELEASE] = "release",
	[FS_OP_FSYNC] = "fsync",
	[FS_OP_OPENDIR] = "opendir",
	[FS_OP_READDIR] = "readdir",
	[FS_OP_READDIRPLUS] = "readdirplus",
	[FS_OP_RELEASEDIR] = "releasedir",
	[FS_OP_FSYNCDIR] = "fsyncdir",
	[FS_OP_STATFS] = "statfs",
	[FS_OP_SETXATTR] = "setxattr",
	[FS_OP_GETXATTR] = "getxattr",
	[FS_OP_LISTXATTR] = "listxattr",
	[FS_OP_REMOVEXATTR] = "removexattr",
	[FS_OP_FALLOCATE] = "fallocate",
	[FS_OP_COPY_FILE_RANGE] = "copy_file_range",
	[FS_OP_LSEEK] = "lseek",
	[FS_OP_IOCTL] = "ioctl",
	[FS_OP_STATX] = "statx",
};

const char *fs_op_name(enum fs_op op)
{
	return (unsigned)op < FS_OP_COUNT ? op_names[op] : "unknown";
}

int64_t fs_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

struct fs_call fs_call_start(fuse_req_t req, enum fs_op op)
{
	struct fs *fs = fs_of(req);

	if (!atomic_load_explicit(&fs->request_seen, memory_order_relaxed)) {
		atomic_store(&fs->uring_seen, fs_transport_is_uring(req));
		atomic_store(&fs->request_seen, true);
	}
	return (struct fs_call){.fs = fs, .req = req, .op = op, .start_ns = fs_clock_ns(CLOCK_MONOTONIC)};
}

void fs_call_end(struct fs_call *call)
{
	uint64_t took_ns = (uint64_t)(fs_clock_ns(CLOCK_MONOTONIC) - call->start_ns);

	atomic_fetch_add_explicit(&call->fs->ops[call->op].count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&call->fs->ops[call->op].total_ns, took_ns, memory_order_relaxed);
}

void fs_reply_result(struct fs_call *call, int result)
{
	int error = -result;

	if (error == EUCLEAN) /* a damaged block: named in the store's log; an I/O error to programs */
		error = EIO;
	if (error != 0)
		atomic_fetch_add_explicit(&call->fs->ops[call->op].errors, 1, memory_order_relaxed);
	fuse_reply_err(call->req, error);
}

void fs_reply_entry(struct fs_call *call, struct bd_inode *inode, double timeout_s)
{
	struct fuse_entry_param entry = {
		.attr_timeout = fs_timeout_s(inode),
		.entry_timeout = timeout_s,
	};
	int err = fs_node_enter(call->fs, inode, &entry.ino);

	if (err != 0) {
		bd_inode_unref(inode, 1);
		fs_reply_result(call, err);
		return;
	}
	fs_stat_inode(call->fs, inode, &entry.attr);
	/* From here on the kernel may forget the inode at any time. */
	if (fuse_reply_entry(call->req, &entry) != 0)
		fs_node_forget(call->fs, inode, 1);
}

void fs_reply_no_entry(struct fs_call *call, const struct bd_inode *dir)
{
	struct fuse_entry_param entry = {.ino = 0, .entry_timeout = fs_timeout_s(dir)};

	fuse_reply_entry(call->req, &entry);
}

void fs_reply_attr(struct fs_call *call, struct bd_inode *inode)
{
	struct stat st;

	fs_stat_inode(call->fs, inode, &st);
	fuse_reply_attr(call->req, &st, fs_timeout_s(inode));
}

void fs_stats_get(struct fs *fs, struct fs_stats *ret_stats)
{
	*ret_stats = (struct fs_stats){.cache = fs->cache, .open_handles = atomic_load(&fs->open_handles)};
	for (unsigned op = 0; op < FS_OP_COUNT; op++) {
		ret_stats->ops[op].count = atomic_load(&fs->ops[op].count);
		ret_stats->ops[op].errors = atomic_load(&fs->ops[op].errors);
		ret_stats->ops[op].total_ns = atomic_load(&fs->ops[op].total_ns);
	}
	strncpy(ret_stats->mountpoint, fs->place.path, sizeof(ret_stats->mountpoint) - 1);
	strncpy(ret_stats->libfuse_version, fuse_pkgversion(), sizeof(ret_stats->libfuse_version) - 1);
	ret_stats->transport = FS_TRANSPORT_AUTO;
	if (atomic_load(&fs->request_seen))
		ret_stats->transport = atomic_load(&fs->uring_seen) ? FS_TRANSPORT_URING : FS_TRANSPORT_DEV;
	pthread_rwlock_rdlock(&fs->session_lock);
	ret_stats->kernel_protocol_major = fs->protocol_major;
	ret_stats->kernel_protocol_minor = fs->protocol_minor;
	ret_stats->max_write_bytes = fs->max_write;
	pthread_rwlock_unlock(&fs->session_lock);
}
