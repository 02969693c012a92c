/* Handlers on a pool of threads, for FUSE over io_uring.
 *
 * libfuse runs one thread for each CPU's queue, and answers of a queue leave when its thread has been through what arrived. A
 * handler that waits for the disk there would hold up all of them. So every handler that may wait is replaced by one
 * that notes its arguments and returns; names and data stay in the request's buffer, which is ours until it
 * is answered. Handlers of pure memory (forget, getattr, open, release and the like) stay where they are.
 *
 * fs_defer_drain comes before libfuse takes the queues down, since a late answer would find its buffer gone. */
#include <signal.h>
#include <stdlib.h>

#include "fs/fs_internal.h"

struct task {
	void (*run)(const struct fuse_lowlevel_ops *ops, struct task *task);
	fuse_req_t req;
	fuse_ino_t ino, other_ino;
	const char *name, *other_name; /* or data */
	size_t size;
	off_t offset, other_offset;
	int flags;
	mode_t mode;
	dev_t rdev;
	struct stat st;
	struct fuse_file_info fi, other_fi;
	bool has_fi;
	struct task *next;
};

struct fs_defer {
	struct fuse_lowlevel_ops ops; /* the handlers that were replaced */
	unsigned thread_count;
	pthread_t *threads;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t posted, idle;
	struct task *first, **last;
	unsigned running;
	bool draining, ending;
};

static void run_task(struct fs_defer *defer, struct task *task)
{
	task->run(&defer->ops, task);
	free(task);
}

static void *pool_main(void *arg)
{
	struct fs_defer *defer = arg;

	pthread_mutex_lock(&defer->lock);
	for (;;) {
		while (defer->first == NULL && !defer->ending)
			pthread_cond_wait(&defer->posted, &defer->lock);
		struct task *task = defer->first;
		if (task == NULL)
			break;
		defer->first = task->next;
		if (defer->first == NULL)
			defer->last = &defer->first;
		defer->running++;
		pthread_mutex_unlock(&defer->lock);
		run_task(defer, task);
		pthread_mutex_lock(&defer->lock);
		defer->running--;
		if (defer->running == 0 && defer->first == NULL)
			pthread_cond_broadcast(&defer->idle);
	}
	pthread_mutex_unlock(&defer->lock);
	return NULL;
}

/* Pass the task on, or run it here when the pool is being drained or out of memory. */
static void post(const struct task *args)
{
	struct fs_defer *defer = fs_of(args->req)->defer;
	struct task *task = malloc(sizeof(*task));
	struct task here = *args;

	if (task == NULL) {
		here.run(&defer->ops, &here);
		return;
	}
	*task = *args;
	task->next = NULL;
	pthread_mutex_lock(&defer->lock);
	bool posted = !defer->draining;
	if (posted) {
		*defer->last = task;
		defer->last = &task->next;
		pthread_cond_signal(&defer->posted);
	}
	pthread_mutex_unlock(&defer->lock);
	if (!posted)
		run_task(defer, task);
}

static struct fuse_file_info *fi_of(struct task *task)
{
	return task->has_fi ? &task->fi : NULL;
}

/* ---- for each handler: how its arguments are noted, and how it is called with them ---- */

#define FI(info) .fi = (info) != NULL ? *(info) : (struct fuse_file_info){0}, .has_fi = (info) != NULL
#define DEFER(op, ...) post(&(struct task){.run = run_##op, .req = req, __VA_ARGS__})

static void run_lookup(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->lookup(task->req, task->ino, task->name);
}

static void defer_lookup(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	DEFER(lookup, .ino = ino, .name = name);
}

static void run_readlink(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->readlink(task->req, task->ino);
}

static void defer_readlink(fuse_req_t req, fuse_ino_t ino)
{
	DEFER(readlink, .ino = ino);
}

static void run_setattr(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->setattr(task->req, task->ino, &task->st, task->flags, fi_of(task));
}

static void defer_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	DEFER(setattr, .ino = ino, .st = *st, .flags = to_set, FI(fi));
}

static void run_mknod(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->mknod(task->req, task->ino, task->name, task->mode, task->rdev);
}

static void defer_mknod(fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode, dev_t rdev)
{
	DEFER(mknod, .ino = ino, .name = name, .mode = mode, .rdev = rdev);
}

static void run_mkdir(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->mkdir(task->req, task->ino, task->name, task->mode);
}

static void defer_mkdir(fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode)
{
	DEFER(mkdir, .ino = ino, .name = name, .mode = mode);
}

static void run_symlink(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->symlink(task->req, task->other_name, task->ino, task->name);
}

static void defer_symlink(fuse_req_t req, const char *target, fuse_ino_t ino, const char *name)
{
	DEFER(symlink, .ino = ino, .name = name, .other_name = target);
}

static void run_link(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->link(task->req, task->ino, task->other_ino, task->name);
}

static void defer_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	DEFER(link, .ino = ino, .other_ino = parent, .name = name);
}

static void run_unlink(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->unlink(task->req, task->ino, task->name);
}

static void defer_unlink(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	DEFER(unlink, .ino = ino, .name = name);
}

static void run_rmdir(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->rmdir(task->req, task->ino, task->name);
}

static void defer_rmdir(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	DEFER(rmdir, .ino = ino, .name = name);
}

static void run_rename(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->rename(task->req, task->ino, task->name, task->other_ino, task->other_name, (unsigned)task->flags);
}

static void defer_rename(fuse_req_t req, fuse_ino_t ino, const char *name, fuse_ino_t to, const char *to_name, unsigned flags)
{
	DEFER(rename, .ino = ino, .name = name, .other_ino = to, .other_name = to_name, .flags = (int)flags);
}

static void run_create(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->create(task->req, task->ino, task->name, task->mode, fi_of(task));
}

static void defer_create(fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	DEFER(create, .ino = ino, .name = name, .mode = mode, FI(fi));
}

static void run_read(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->read(task->req, task->ino, task->size, task->offset, fi_of(task));
}

static void defer_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	DEFER(read, .ino = ino, .size = size, .offset = offset, FI(fi));
}

static void run_write(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->write(task->req, task->ino, task->name, task->size, task->offset, fi_of(task));
}

static void defer_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	DEFER(write, .ino = ino, .name = buf, .size = size, .offset = offset, FI(fi));
}

static void run_fsync(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->fsync(task->req, task->ino, task->flags, fi_of(task));
}

static void defer_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	DEFER(fsync, .ino = ino, .flags = data_only, FI(fi));
}

static void run_fsyncdir(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->fsyncdir(task->req, task->ino, task->flags, fi_of(task));
}

static void defer_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	DEFER(fsyncdir, .ino = ino, .flags = data_only, FI(fi));
}

static void run_readdir(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->readdir(task->req, task->ino, task->size, task->offset, fi_of(task));
}

static void defer_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	DEFER(readdir, .ino = ino, .size = size, .offset = offset, FI(fi));
}

static void run_readdirplus(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->readdirplus(task->req, task->ino, task->size, task->offset, fi_of(task));
}

static void defer_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	DEFER(readdirplus, .ino = ino, .size = size, .offset = offset, FI(fi));
}

static void run_setxattr(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->setxattr(task->req, task->ino, task->name, task->other_name, task->size, task->flags);
}

static void defer_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	DEFER(setxattr, .ino = ino, .name = name, .other_name = value, .size = size, .flags = flags);
}

static void run_getxattr(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->getxattr(task->req, task->ino, task->name, task->size);
}

static void defer_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	DEFER(getxattr, .ino = ino, .name = name, .size = size);
}

static void run_listxattr(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->listxattr(task->req, task->ino, task->size);
}

static void defer_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	DEFER(listxattr, .ino = ino, .size = size);
}

static void run_removexattr(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->removexattr(task->req, task->ino, task->name);
}

static void defer_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	DEFER(removexattr, .ino = ino, .name = name);
}

static void run_fallocate(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->fallocate(task->req, task->ino, task->flags, task->offset, task->other_offset, fi_of(task));
}

static void defer_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi)
{
	DEFER(fallocate, .ino = ino, .flags = mode, .offset = offset, .other_offset = size, FI(fi));
}

static void run_copy_file_range(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->copy_file_range(task->req, task->ino, task->offset, fi_of(task), task->other_ino, task->other_offset,
			     &task->other_fi, task->size, task->flags);
}

static void defer_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset, struct fuse_file_info *fi, fuse_ino_t to,
			      off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags)
{
	DEFER(copy_file_range, .ino = ino, .offset = offset, .other_ino = to, .other_offset = to_offset,
	     .size = size, .flags = flags, .other_fi = *to_fi, FI(fi));
}

static void run_lseek(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->lseek(task->req, task->ino, task->offset, task->flags, fi_of(task));
}

static void defer_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	DEFER(lseek, .ino = ino, .offset = offset, .flags = whence, FI(fi));
}

static void run_open(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->open(task->req, task->ino, fi_of(task));
}

static void defer_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	DEFER(open, .ino = ino, FI(fi));
}

static void run_statfs(const struct fuse_lowlevel_ops *ops, struct task *task)
{
	ops->statfs(task->req, task->ino);
}

static void defer_statfs(fuse_req_t req, fuse_ino_t ino)
{
	DEFER(statfs, .ino = ino);
}

/* ---- the pool ---- */

void fs_defer_wrap(struct fs_defer *defer, struct fuse_lowlevel_ops *ops)
{
	defer->ops = *ops;
	ops->lookup = defer_lookup;
	ops->readlink = defer_readlink;
	ops->setattr = defer_setattr;
	ops->mknod = defer_mknod;
	ops->mkdir = defer_mkdir;
	ops->symlink = defer_symlink;
	ops->link = defer_link;
	ops->unlink = defer_unlink;
	ops->rmdir = defer_rmdir;
	ops->rename = defer_rename;
	ops->create = defer_create;
	ops->read = defer_read;
	ops->write = defer_write;
	ops->fsync = defer_fsync;
	ops->fsyncdir = defer_fsyncdir;
	ops->readdir = defer_readdir;
	ops->readdirplus = defer_readdirplus;
	ops->setxattr = defer_setxattr;
	ops->getxattr = defer_getxattr;
	ops->listxattr = defer_listxattr;
	ops->removexattr = defer_removexattr;
	ops->fallocate = defer_fallocate;
	ops->copy_file_range = defer_copy_file_range;
	ops->lseek = defer_lseek;
	ops->open = defer_open;
	ops->statfs = defer_statfs;
}

int fs_defer_create(unsigned threads, struct fs_defer **ret_defer)
{
	struct fs_defer *defer = calloc(1, sizeof(*defer));

	if (defer == NULL)
		return -ENOMEM;
	defer->threads = calloc(threads, sizeof(*defer->threads));
	if (defer->threads == NULL) {
		free(defer);
		return -ENOMEM;
	}
	defer->thread_count = threads;
	defer->last = &defer->first;
	pthread_mutex_init(&defer->lock, NULL);
	pthread_cond_init(&defer->posted, NULL);
	pthread_cond_init(&defer->idle, NULL);
	*ret_defer = defer;
	return 0;
}

int fs_defer_start(struct fs_defer *defer)
{
	sigset_t all, old;
	unsigned started = 0;
	int err = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (started < defer->thread_count && err == 0) {
		err = pthread_create(&defer->threads[started], NULL, pool_main, defer);
		started += err == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	defer->thread_count = started;
	return started > 0 ? 0 : -err;
}

void fs_defer_drain(struct fs_defer *defer)
{
	pthread_mutex_lock(&defer->lock);
	defer->draining = true;
	while (defer->first != NULL || defer->running > 0)
		pthread_cond_wait(&defer->idle, &defer->lock);
	pthread_mutex_unlock(&defer->lock);
}

void fs_defer_finish(struct fs_defer *defer)
{
	pthread_mutex_lock(&defer->lock);
	defer->draining = true;
	defer->ending = true;
	pthread_cond_broadcast(&defer->posted);
	pthread_mutex_unlock(&defer->lock);
	for (unsigned i = 0; i < defer->thread_count; i++)
		pthread_join(defer->threads[i], NULL);
}

void fs_defer_destroy(struct fs_defer *defer)
{
	if (defer == NULL)
		return;
	pthread_cond_destroy(&defer->posted);
	pthread_cond_destroy(&defer->idle);
	pthread_mutex_destroy(&defer->lock);
	free(defer->threads);
	free(defer);
}
