/* FUSE requests: translate, change the live state, note what is not durable yet, reply.
 *
 * A request holds the world shared from its first look at the state to its reply, so a power cut sees it whole or
 * not at all, and nothing is acknowledged after the cut. A node's number towards the kernel is its address. */
#include "ops.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

bool op_enter(fuse_req_t req)
{
	pthread_rwlock_rdlock(&pf.world);
	if (!pf.dead)
		return true;
	pthread_rwlock_unlock(&pf.world);
	fuse_reply_err(req, EIO);
	return false;
}

void op_leave(void)
{
	pthread_rwlock_unlock(&pf.world);
}

void op_leave_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, -err);
	op_leave();
}

void op_leave_entry(fuse_req_t req, int err, const struct fuse_entry_param *entry)
{
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, entry);
	op_leave();
}

struct pf_node *op_node(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? pf.root : (struct pf_node *)(uintptr_t)ino;
}

/* Caller holds names. */
void op_touch_locked(struct pf_node *node)
{
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->ctime = node->mtime;
}

void op_touch(struct pf_node *node)
{
	pthread_mutex_lock(&pf.names);
	op_touch_locked(node);
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
int op_fill_entry(struct pf_node *node, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){.ino = (uintptr_t)node, .attr_timeout = TIMEOUT_S, .entry_timeout = TIMEOUT_S};
	pf_node_ref(node, 1);
	return fill_attr(node, &ret->attr);
}

void op_drop(fuse_ino_t ino, uint64_t count)
{
	pthread_rwlock_rdlock(&pf.world);
	pthread_mutex_lock(&pf.names);
	if (!pf.dead && ino != FUSE_ROOT_ID)
		pf_node_unref(op_node(ino), count);
	pthread_mutex_unlock(&pf.names);
	pthread_rwlock_unlock(&pf.world);
}

void op_reply_attr(fuse_req_t req, struct pf_node *node)
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

	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	node = pf_lookup(op_node(parent), name);
	if (node)
		err = op_fill_entry(node, &entry);
	pthread_mutex_unlock(&pf.names);
	op_leave_entry(req, err, &entry);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	op_drop(ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		op_drop(forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi NF_UNUSED)
{
	if (!op_enter(req))
		return;
	op_reply_attr(req, op_node(ino));
	op_leave();
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	pf_node_ref(op_node(ino), 1);
	pthread_mutex_unlock(&pf.names);
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
	op_leave();
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi NF_UNUSED)
{
	op_drop(ino, 1);
	fuse_reply_err(req, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino NF_UNUSED)
{
	struct statvfs st;

	if (!op_enter(req))
		return;
	if (fstatvfs(pf.objects_fd, &st) != 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
	op_leave();
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
