/* FUSE requests for the bytes of files: sizes, reads, writes, allocation, fsync. What is not durable yet is noted before it changes. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint32_t new_write_id(void)
{
	return __atomic_add_fetch(&pf.next_write_id, 1, __ATOMIC_RELAXED);
}

/* Past the memory limit a file's changes are written back, as a kernel would: durable, though nobody asked. */
static void bound_undo(struct pf_node *node)
{
	if (pf_undo_memory() > pf.undo_limit_bytes)
		pf_undo_clear(&node->undo);
}

static int set_size(struct pf_node *node, uint64_t size)
{
	struct stat st;
	int err;

	if (node->fd < 0)
		return -EINVAL;
	if (size > PF_FILE_SIZE_MAX)
		return -EFBIG;
	pthread_mutex_lock(&node->lock);
	err = pf_fault(PF_FAULT_WRITE);
	if (!err && fstat(node->fd, &st) != 0)
		err = -errno;
	else if (!err && size < (uint64_t)st.st_size)
		err = pf_undo_note(&node->undo, node->fd, node->durable_size, size, (uint64_t)st.st_size - size,
				   new_write_id(), false);
	if (!err && ftruncate(node->fd, (off_t)size) != 0)
		err = -errno;
	bound_undo(node);
	pthread_mutex_unlock(&node->lock);
	op_touch(node);
	return err;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *node = op_node(ino);
	struct timespec now;
	int err = 0;

	if (!op_enter(req))
		return;
	if (to_set & FUSE_SET_ATTR_SIZE)
		err = set_size(node, (uint64_t)attr->st_size);
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&pf.names);
	if (to_set & FUSE_SET_ATTR_MODE)
		node->mode = (node->mode & S_IFMT) | (attr->st_mode & ~(uint32_t)S_IFMT);
	if (to_set & FUSE_SET_ATTR_UID)
		node->uid = attr->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		node->gid = attr->st_gid;
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
		node->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : attr->st_atim;
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		node->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? now : attr->st_mtim;
	node->ctime = now;
	pthread_mutex_unlock(&pf.names);
	if (err)
		fuse_reply_err(req, -err);
	else
		op_reply_attr(req, node);
	op_leave();
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi NF_UNUSED)
{
	char *buf;
	ssize_t got;
	int err;

	if (!op_enter(req))
		return;
	buf = malloc(size);
	err = pf_fault(PF_FAULT_READ);
	if (err) {
		free(buf);
		op_leave_err(req, err);
		return;
	}
	got = buf ? pread(op_node(ino)->fd, buf, size, offset) : -1;
	if (got < 0)
		fuse_reply_err(req, buf ? errno : ENOMEM);
	else
		fuse_reply_buf(req, buf, (size_t)got);
	free(buf);
	op_leave();
}

/* Caller holds node->lock. */
static int write_locked(struct pf_node *node, const char *buf, size_t size, uint64_t offset, bool sync)
{
	uint32_t write_id = new_write_id();
	size_t done = 0;
	int err;

	/* Now and then the kernel writes a page back on its own before it is changed again. */
	err = pf_undo_note(&node->undo, node->fd, node->durable_size, offset, size, write_id, write_id % 16 == 0);
	while (!err && done < size) {
		ssize_t put = pwrite(node->fd, buf + done, size - done, (off_t)(offset + done));

		if (put < 0)
			err = -errno;
		else
			done += (size_t)put;
	}
	if (!err && sync && !pf.ignore_fsync) {
		err = pf_undo_forget(&node->undo, node->fd, offset, size);
		node->durable_size = NF_MAX(node->durable_size, offset + size);
	}
	return err;
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct pf_node *node = op_node(ino);
	struct stat st;
	int err;

	if (!op_enter(req))
		return;
	if ((uint64_t)offset + size > PF_FILE_SIZE_MAX) {
		op_leave_err(req, -EFBIG);
		return;
	}
	pthread_mutex_lock(&node->lock);
	err = pf_fault(PF_FAULT_WRITE);
	/* A full disk still takes what has its room already. */
	if (err == -ENOSPC && fstat(node->fd, &st) == 0 && offset + (off_t)size <= st.st_size)
		err = 0;
	if (!err)
		err = write_locked(node, buf, size, (uint64_t)offset, (fi->flags & (O_DSYNC | O_SYNC)) != 0);
	bound_undo(node);
	pthread_mutex_unlock(&node->lock);
	op_touch(node);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
	op_leave();
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only NF_UNUSED, struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *node = op_node(ino);
	struct stat st;
	int err = 0;

	if (!op_enter(req))
		return;
	if (!pf.ignore_fsync) {
		pthread_mutex_lock(&node->lock);
		err = pf_fault(PF_FAULT_FSYNC);
		if (err) {
			int lost = pf_lose_unsynced(node, pf.seed + new_write_id());

			err = lost ? lost : err;
		} else if (fstat(node->fd, &st) != 0) {
			err = -errno;
		} else {
			pf_undo_clear(&node->undo);
			node->durable_size = (uint64_t)st.st_size;
		}
		pthread_mutex_unlock(&node->lock);
		if (!err && pf.fsync_names) {
			pthread_mutex_lock(&pf.names);
			pf_sync_names_of(node);
			pthread_mutex_unlock(&pf.names);
		}
	}
	op_leave_err(req, err);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *node = op_node(ino);
	int err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (!op_enter(req))
		return;
	pthread_mutex_lock(&node->lock);
	err = pf_fault(PF_FAULT_WRITE);
	if (!err && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		struct stat st;

		/* Past the end there is nothing to lose. */
		if (fstat(node->fd, &st) != 0)
			err = -errno;
		else if (offset < st.st_size)
			err = pf_undo_note(&node->undo, node->fd, node->durable_size, (uint64_t)offset,
					   (uint64_t)NF_MIN(length, st.st_size - offset), new_write_id(), false);
	}
	if (!err && fallocate(node->fd, mode, offset, length) != 0)
		err = -errno;
	bound_undo(node);
	pthread_mutex_unlock(&node->lock);
	op_touch(node);
	op_leave_err(req, err);
}
