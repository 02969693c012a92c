/* FUSE requests: translate, change the live state, note what is not durable yet, reply.
 *
 * A request holds the world shared from its first look at the state to its reply, so a power cut sees it whole or
 * not at all, and nothing is acknowledged after the cut. A node's number towards the kernel is its address. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "powerfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_S 60.0	/* nothing changes behind the kernel's back */

static bool enter(fuse_req_t req)
{
	pthread_rwlock_rdlock(&pf.world);
	if (!pf.dead)
		return true;
	pthread_rwlock_unlock(&pf.world);
	fuse_reply_err(req, EIO);
	return false;
}

static void leave(void)
{
	pthread_rwlock_unlock(&pf.world);
}

static void leave_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, -err);
	leave();
}

static struct pf_node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? pf.root : (struct pf_node *)(uintptr_t)ino;
}

/* Caller holds names. */
static void touch_locked(struct pf_node *node)
{
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->ctime = node->mtime;
}

static void touch(struct pf_node *node)
{
	pthread_mutex_lock(&pf.names);
	touch_locked(node);
	pthread_mutex_unlock(&pf.names);
}

static int fill_attr(struct pf_node *node, struct stat *ret)
{
	*ret = (struct stat){.st_size = 4096};
	if (node->fd >= 0 && fstat(node->fd, ret) != 0)
		return -errno;
	if (node->target)
		ret->st_size = (off_t)strlen(node->target);
	ret->st_ino = node->id;
	ret->st_mode = node->mode;
	ret->st_nlink = S_ISDIR(node->mode) ? 2 : (nlink_t)node->live_links;
	ret->st_uid = node->uid;
	ret->st_gid = node->gid;
	ret->st_rdev = node->rdev;
	ret->st_atim = node->atime;
	ret->st_mtim = node->mtime;
	ret->st_ctim = node->ctime;
	return 0;
}

/* The kernel gets one reference. Caller holds names. */
static int fill_entry(struct pf_node *node, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){.ino = (uintptr_t)node, .attr_timeout = TIMEOUT_S, .entry_timeout = TIMEOUT_S};
	pf_node_ref(node, 1);
	return fill_attr(node, &ret->attr);
}

static void op_init(void *arg NF_UNUSED, struct fuse_conn_info *conn)
{
	/* Every write has to arrive here at once: no writeback cache. Truncation comes as SETATTR. */
	conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;
	struct pf_node *node;
	int err = -ENOENT;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	node = pf_lookup(node_of(parent), name);
	if (node)
		err = fill_entry(node, &entry);
	pthread_mutex_unlock(&pf.names);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &entry);
	leave();
}

static void forget(fuse_ino_t ino, uint64_t count)
{
	pthread_rwlock_rdlock(&pf.world);
	pthread_mutex_lock(&pf.names);
	if (!pf.dead && ino != FUSE_ROOT_ID)
		pf_node_unref(node_of(ino), count);
	pthread_mutex_unlock(&pf.names);
	pthread_rwlock_unlock(&pf.world);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget(ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, struct pf_node *node)
{
	struct stat st;
	int err;

	pthread_mutex_lock(&pf.names);
	err = fill_attr(node, &st);
	pthread_mutex_unlock(&pf.names);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, TIMEOUT_S);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi NF_UNUSED)
{
	if (!enter(req))
		return;
	reply_attr(req, node_of(ino));
	leave();
}

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
	touch(node);
	return err;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *node = node_of(ino);
	struct timespec now;
	int err = 0;

	if (!enter(req))
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
		reply_attr(req, node);
	leave();
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	if (!enter(req))
		return;
	fuse_reply_readlink(req, node_of(ino)->target);
	leave();
}

/* Make a node and its name. Caller holds names. */
static int make_node(fuse_req_t req, struct pf_node *dir, const char *name, mode_t mode, dev_t rdev, const char *target,
		     struct pf_node **ret_node, struct fuse_entry_param *ret_entry)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct pf_node *node;
	int err;

	err = pf_fault(PF_FAULT_NAMES);
	if (err)
		return err;
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	if (pf_lookup(dir, name))
		return -EEXIST;
	node = pf_node_new(pf.next_id++, mode, ctx->uid, ctx->gid);
	if (!node)
		return -errno;
	node->rdev = (uint32_t)rdev;
	if (target && !(node->target = strdup(target)))
		err = -ENOMEM;
	else
		err = pf_change_one(dir, name, node, NULL);
	if (!err) {
		touch_locked(dir);
		err = fill_entry(node, ret_entry);
		*ret_node = node;
	}
	pf_node_unref(node, 1);
	return err;
}

static void make_and_reply(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
			   const char *target)
{
	struct fuse_entry_param entry;
	struct pf_node *node;
	int err;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = make_node(req, node_of(parent), name, mode, rdev, target, &node, &entry);
	pthread_mutex_unlock(&pf.names);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &entry);
	leave();
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make_and_reply(req, parent, name, mode, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make_and_reply(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make_and_reply(req, parent, name, S_IFLNK | 0777, 0, target);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct pf_node *node;
	int err;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = make_node(req, node_of(parent), name, (mode & ~(mode_t)S_IFMT) | S_IFREG, 0, NULL, &node, &entry);
	if (!err)
		pf_node_ref(node, 1);
	pthread_mutex_unlock(&pf.names);
	fi->keep_cache = 1;
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_create(req, &entry, fi);
	leave();
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct pf_node *dir = node_of(parent), *node;
	int err;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	node = pf_lookup(dir, name);
	err = pf_fault(PF_FAULT_NAMES);
	if (!err)
		err = !node ? -ENOENT : S_ISDIR(node->mode) ? -EISDIR : pf_change_one(dir, name, NULL, NULL);
	pthread_mutex_unlock(&pf.names);
	leave_err(req, err);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct pf_node *dir = node_of(parent), *node;
	int err;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	node = pf_lookup(dir, name);
	if (!node)
		err = -ENOENT;
	else if (!S_ISDIR(node->mode))
		err = -ENOTDIR;
	else if (!pf_dir_empty(node))
		err = -ENOTEMPTY;
	else
		err = pf_change_one(dir, name, NULL, node);
	pthread_mutex_unlock(&pf.names);
	leave_err(req, err);
}

/* The kernel has checked for loops. Caller holds names. */
static int rename_locked(struct pf_node *from_dir, const char *from, struct pf_node *to_dir, const char *to, unsigned flags)
{
	struct pf_node *node = pf_lookup(from_dir, from), *target = pf_lookup(to_dir, to);
	int err = pf_fault(PF_FAULT_NAMES);

	if (err)
		return err;
	if (strlen(to) > NAME_MAX)
		return -ENAMETOOLONG;
	if (!node)
		return -ENOENT;
	if (flags & RENAME_EXCHANGE)
		return target ? pf_change_two(from_dir, from, target, to_dir, to, node) : -ENOENT;
	if (!target)
		return pf_change_two(from_dir, from, NULL, to_dir, to, node);
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (target == node)
		return 0;
	if (S_ISDIR(target->mode) && !S_ISDIR(node->mode))
		return -EISDIR;
	if (!S_ISDIR(target->mode) && S_ISDIR(node->mode))
		return -ENOTDIR;
	if (S_ISDIR(target->mode) && !pf_dir_empty(target))
		return -ENOTEMPTY;
	return pf_change_two(from_dir, from, NULL, to_dir, to, node);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		      unsigned flags)
{
	int err;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = rename_locked(node_of(parent), name, node_of(new_parent), new_name, flags);
	pthread_mutex_unlock(&pf.names);
	leave_err(req, err);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct pf_node *dir = node_of(new_parent), *node = node_of(ino);
	struct fuse_entry_param entry;
	int err;

	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = pf_fault(PF_FAULT_NAMES);
	if (!err)
		err = pf_lookup(dir, new_name) ? -EEXIST : pf_change_one(dir, new_name, node, NULL);
	if (!err)
		err = fill_entry(node, &entry);
	pthread_mutex_unlock(&pf.names);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &entry);
	leave();
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (!enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	pf_node_ref(node_of(ino), 1);
	pthread_mutex_unlock(&pf.names);
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
	leave();
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi NF_UNUSED)
{
	forget(ino, 1);
	fuse_reply_err(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi NF_UNUSED)
{
	char *buf;
	ssize_t got;
	int err;

	if (!enter(req))
		return;
	buf = malloc(size);
	err = pf_fault(PF_FAULT_READ);
	if (err) {
		free(buf);
		leave_err(req, err);
		return;
	}
	got = buf ? pread(node_of(ino)->fd, buf, size, offset) : -1;
	if (got < 0)
		fuse_reply_err(req, buf ? errno : ENOMEM);
	else
		fuse_reply_buf(req, buf, (size_t)got);
	free(buf);
	leave();
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

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct pf_node *node = node_of(ino);
	struct stat st;
	int err;

	if (!enter(req))
		return;
	if ((uint64_t)offset + size > PF_FILE_SIZE_MAX) {
		leave_err(req, -EFBIG);
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
	touch(node);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
	leave();
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only NF_UNUSED, struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *node = node_of(ino);
	struct stat st;
	int err = 0;

	if (!enter(req))
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
	leave_err(req, err);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only NF_UNUSED, struct fuse_file_info *fi NF_UNUSED)
{
	int err;

	if (!enter(req))
		return;
	err = pf_fault(PF_FAULT_NAMES);
	if (!err && !pf.ignore_fsync) {
		pthread_mutex_lock(&pf.names);
		pf_sync_dir(node_of(ino));
		if (pf.fsync_names)
			pf_sync_names_of(node_of(ino));
		pthread_mutex_unlock(&pf.names);
	}
	leave_err(req, err);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *node = node_of(ino);
	int err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (!enter(req))
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
	touch(node);
	leave_err(req, err);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *dir = node_of(ino);
	char *buf = malloc(size);
	size_t used = 0, need = 0;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!enter(req)) {
		free(buf);
		return;
	}
	pthread_mutex_lock(&pf.names);
	for (off_t dot = offset + 1; dot <= 2 && used + need <= size; dot++) {
		struct stat st = {.st_ino = dir->id, .st_mode = S_IFDIR};

		need = fuse_add_direntry(req, buf + used, size - used, dot == 1 ? "." : "..", &st, dot);
		used += need <= size - used ? need : 0;
	}
	for (size_t i = 0; i < dir->entry_count; i++) {
		struct pf_entry *entry = &dir->entries[i];
		struct stat st;

		if (!entry->live || (off_t)entry->cookie <= offset)
			continue;
		st = (struct stat){.st_ino = entry->live->id, .st_mode = entry->live->mode};
		need = fuse_add_direntry(req, buf + used, size - used, entry->name, &st, (off_t)entry->cookie);
		if (need > size - used)
			break;
		used += need;
	}
	pthread_mutex_unlock(&pf.names);
	fuse_reply_buf(req, buf, used);
	free(buf);
	leave();
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino NF_UNUSED)
{
	struct statvfs st;

	if (!enter(req))
		return;
	if (fstatvfs(pf.objects_fd, &st) != 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
	leave();
}

const struct fuse_lowlevel_ops pf_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.create = op_create,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fsyncdir = op_fsyncdir,
	.fallocate = op_fallocate,
	.readdir = op_readdir,
	.statfs = op_statfs,
};
