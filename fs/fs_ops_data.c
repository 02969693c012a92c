/* Handlers for file contents: read, write, fsync, fallocate, copy_file_range, lseek, ioctl. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/fs_internal.h"

/* ---- read: one aligned buffer for each thread, so that the store reads into it without a copy ---- */

static pthread_key_t read_buffer_key;
static pthread_once_t read_buffer_once = PTHREAD_ONCE_INIT;
static bool read_buffer_key_made;

static void make_read_buffer_key(void)
{
	read_buffer_key_made = pthread_key_create(&read_buffer_key, free) == 0;
}

/* The calling thread's buffer of FS_MAX_IO_BYTES; freed when the thread ends. NULL: no memory. */
static char *thread_read_buffer(void)
{
	pthread_once(&read_buffer_once, make_read_buffer_key);
	if (!read_buffer_key_made)
		return NULL;
	char *buf = pthread_getspecific(read_buffer_key);
	if (buf == NULL) {
		buf = nf_io_buffer(FS_MAX_IO_BYTES);
		if (buf != NULL && pthread_setspecific(read_buffer_key, buf) != 0) {
			free(buf);
			buf = NULL;
		}
	}
	return buf;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_READ);
	char *buf;

	(void)fi;
	size = NF_MIN(size, FS_MAX_IO_BYTES);
	if (!fs_transport_reply_buffer(req, size, &buf))
		buf = thread_read_buffer();
	ssize_t got = buf != NULL ? bd_read(fs_inode(ino), (uint64_t)offset, buf, size) : -ENOMEM;
	if (got < 0)
		fs_reply_result(&call, (int)got);
	else
		fuse_reply_buf(req, buf, (size_t)got);
}

/* ---- write ---- */

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_WRITE);
	struct fs_handle *handle = fs_handle(fi);
	unsigned flags = 0;
	int err = fs_kills_priv(&call, fi) ? fs_kill_priv(call.fs, fs_inode(ino)) : 0;

	/* Past the cache the flag comes with the write and no FSYNC follows; through it an FSYNC does. */
	if (handle->direct && (fi->flags & (O_DSYNC | O_SYNC)) != 0)
		flags |= BD_WRITE_SYNC;
	if (err == 0)
		err = bd_write(fs_inode(ino), (uint64_t)offset, buf, size, flags);
	/* A kernel that gathers writes trusts its own size and times, but st_blocks is ours to say. */
	if (err == 0 && call.fs->cache == FS_CACHE_BACK && fs_node_take_attr_shown(handle->node))
		fs_notify_attr(call.fs, fs_inode(ino));
	if (err != 0)
		fs_reply_result(&call, err);
	else
		fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_FSYNC);
	(void)fi;
	fs_reply_result(&call, bd_fsync(fs_inode(ino), data_only != 0));
}

/* ---- space ---- */

/* These requests carry no mark of the kernel's, so the caller decides. */
static int kill_priv_of_caller(struct fs_call *call, fuse_ino_t ino)
{
	return fuse_req_ctx(call->req)->uid != 0 ? fs_kill_priv(call->fs, fs_inode(ino)) : 0;
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_FALLOCATE);
	unsigned flags = 0;
	int err;

	(void)fi;
	if (mode & FALLOC_FL_KEEP_SIZE)
		flags |= BD_FALLOC_KEEP_SIZE;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		flags |= BD_FALLOC_PUNCH_HOLE;
	if (mode & FALLOC_FL_ZERO_RANGE)
		flags |= BD_FALLOC_ZERO_RANGE;
	if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
		err = -EOPNOTSUPP; /* collapse and insert would move every block after the range */
	else if (offset < 0 || size <= 0)
		err = -EINVAL;
	else
		err = kill_priv_of_caller(&call, ino);
	if (err == 0)
		err = bd_fallocate(fs_inode(ino), flags, (uint64_t)offset, (uint64_t)size);
	fs_reply_result(&call, err);
}

/* The kernel has written out both ranges before, and drops the destination's pages after. */
static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi, fuse_ino_t to,
			       off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags)
{
	FS_CALL(req, FS_OP_COPY_FILE_RANGE);
	ssize_t copied;

	(void)from_fi;
	(void)to_fi;
	copied = flags == 0 ? kill_priv_of_caller(&call, to) : -EINVAL;
	if (copied == 0)
		copied = bd_clone_range(fs_inode(from), (uint64_t)from_offset, fs_inode(to), (uint64_t)to_offset, size);
	if (copied < 0)
		fs_reply_result(&call, (int)copied);
	else
		fuse_reply_write(req, (size_t)copied);
}

/* ---- lseek: only SEEK_DATA and SEEK_HOLE come here ---- */

struct seek {
	fuse_req_t req;
	fuse_ino_t ino;
	off_t offset;
	bool data;
};

static void answer_seek(struct fs_call *call, fuse_ino_t ino, off_t offset, bool data)
{
	uint64_t result;
	int err = offset >= 0 ? bd_seek(fs_inode(ino), (uint64_t)offset, data, &result) : -ENXIO;

	if (err != 0)
		fs_reply_result(call, err);
	else
		fuse_reply_lseek(call->req, (off_t)result);
}

/* What the kernel has gathered would look like a hole. Invalidating makes it hand its pages over, by WRITEs that the
 * workers serve: hence on the control thread. */
static void flushed_seek(struct fs *fs, void *arg)
{
	struct seek *seek = arg;
	FS_CALL(seek->req, FS_OP_LSEEK);

	pthread_rwlock_rdlock(&fs->session_lock);
	int err = fs->connected ? fuse_lowlevel_notify_inval_inode(fs->session, seek->ino, 0, 0) : 0;
	pthread_rwlock_unlock(&fs->session_lock);
	if (err != 0 && err != -ENOENT)
		fs_reply_result(&call, err);
	else
		answer_seek(&call, seek->ino, seek->offset, seek->data);
	free(seek);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct seek *seek = NULL;

	(void)fi;
	if (fs->cache == FS_CACHE_BACK && atomic_load(&fs->uring_seen)) {
		/* No answer may come from the control thread here. The kernel then takes every file for data throughout. */
		FS_CALL(req, FS_OP_LSEEK);
		fs_reply_result(&call, -ENOSYS);
		return;
	}
	if (fs->cache == FS_CACHE_BACK && fs_node_has_writers(fs, fs_inode(ino))) {
		seek = malloc(sizeof(*seek));
		if (seek != NULL) {
			*seek = (struct seek){.req = req, .ino = ino, .offset = offset, .data = whence == SEEK_DATA};
			if (fs_control_post(fs->control, flushed_seek, seek) == 0)
				return;
		}
		free(seek);
		FS_CALL(req, FS_OP_LSEEK);
		fs_reply_result(&call, -ENOMEM);
		return;
	}
	FS_CALL(req, FS_OP_LSEEK);
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		fs_reply_result(&call, -EINVAL);
	else
		answer_seek(&call, ino, offset, whence == SEEK_DATA);
}

/* FICLONE and the like never arrive (FUSE does not carry them; use copy_file_range); others are not ours. */
static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg, struct fuse_file_info *fi, unsigned flags,
		     const void *in, size_t in_size, size_t out_size)
{
	FS_CALL(req, FS_OP_IOCTL);
	(void)ino, (void)command, (void)arg, (void)fi, (void)flags, (void)in, (void)in_size, (void)out_size;
	fs_reply_result(&call, -ENOTTY);
}

void fs_add_data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->read = op_read;
	ops->write = op_write;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->copy_file_range = op_copy_file_range;
	ops->lseek = op_lseek;
	ops->ioctl = op_ioctl;
}
