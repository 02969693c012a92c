/* Files that show something else from now on (a redo layer was laid), and a kernel that has their old pages.
 *
 * To have it drop them takes about a second for 5 GB, in which nobody could begin to read. So a file that nobody has open gets another node id
 * (the address of its inode, and a generation in the bits that an address leaves free): to the kernel it is another file, of which it has nothing.
 *
 *   who comes with the old id   by a name that the kernel has kept, gets ESTALE, and the kernel looks the name up again (fs_is_stale)
 *   files that are open         keep their id, because descriptors and mappings stay what they are; the kernel drops their pages at once
 *   the old pages               go in the background, by a thread of low priority
 *
 * The kernel drops an inode, and all of its pages, when the last one lets go of it, which would be who opens the file first. So until the background has dropped
 * them, the old inodes of large files are watched by inotify, which keeps them but not the mount. That is about time only: without it
 * (a file that this process may not read, no more watches to be had) the first to open a file waits for its pages to go. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define WATCH_LEAST_BYTES (UINT64_C(1) << 20) /* the pages of less go in no time */
#define FORGET_BYTES (INT64_C(64) << 20) /* at once: the session may have to end in between */
#define FORGET_NICE 19

struct old_file {
	struct bd_inode *inode; /* one reference: the number is given to no other one */
	fuse_ino_t ino;
	bool is_open; /* it keeps its id */
};

struct fs_refresh {
	int watch_fd; /* -1: none */
	size_t count;
	struct fs_refresh *next;
	struct old_file files[];
};

/* The inodes of a branch's head that the kernel knows. */
static int collect_head(struct fs *fs, struct bd_branch_id branch, struct fs_refresh **ret_refresh)
{
	size_t room = 0;
	pthread_mutex_lock(&fs->lock);
	for (struct fs_node *node = fs->nodes; node != NULL; node = node->next)
		room++;
	struct fs_refresh *refresh = calloc(1, sizeof(*refresh) + room * sizeof(refresh->files[0]));
	for (struct fs_node *node = fs->nodes; refresh != NULL && node != NULL; node = node->next) {
		struct bd_view view = bd_inode_view(node->inode);
		if (view.branch.v != branch.v || view.epoch.v != BD_EPOCH_HEAD.v)
			continue;
		bd_inode_ref(node->inode, 1);
		refresh->files[refresh->count++].inode = node->inode;
	}
	pthread_mutex_unlock(&fs->lock);
	if (refresh == NULL)
		return -ENOMEM;
	refresh->watch_fd = -1;
	*ret_refresh = refresh;
	return 0;
}

static void watch(struct fs_refresh *refresh, const char *path)
{
	if (refresh->watch_fd < 0)
		refresh->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (refresh->watch_fd < 0 || inotify_add_watch(refresh->watch_fd, path, IN_DELETE_SELF | IN_DONT_FOLLOW) < 0)
		nf_debug("%s cannot be watched: %s", path, strerror(errno));
}

/* Those that have not changed are let go. */
static void keep_changed(struct fs *fs, const char *branch, struct fs_refresh *refresh, fs_has_changed has_changed,
			 const void *arg)
{
	size_t count = refresh->count;
	refresh->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct bd_inode *inode = refresh->files[i].inode;
		char below[FS_CHANGED_PATH_MAX], path[PATH_MAX];
		struct bd_attr attr;
		bd_inode_attr(inode, &attr);
		if (!has_changed(arg, attr.file, below)) {
			bd_inode_unref(inode, 1);
			continue;
		}
		refresh->files[refresh->count++].inode = inode;
		int size = snprintf(path, sizeof(path), "%s/%s/%s", fs->place.path, branch, below);
		if (attr.size_bytes >= WATCH_LEAST_BYTES && size < (int)sizeof(path))
			watch(refresh, path);
	}
}

/* From here on the kernel is told of the new ids. */
static void change_ids(struct fs *fs, struct fs_refresh *refresh)
{
	pthread_mutex_lock(&fs->lock);
	atomic_store(&fs->has_refreshed, true);
	for (size_t i = 0; i < refresh->count; i++) {
		struct old_file *file = &refresh->files[i];
		struct fs_node *node = *bd_inode_user(file->inode);
		file->ino = fs_ino_of(file->inode, node);
		/* One that the kernel has forgotten meanwhile has no pages. */
		file->is_open = node != NULL && (node->handles > 0 || node->volumes > 0 || node->generation == FS_GENERATION_MASK);
		if (node != NULL && !file->is_open)
			node->generation++;
	}
	pthread_mutex_unlock(&fs->lock);
}

/* -ENOENT: it knows no such file, or not any more. */
static int notify(struct fs *fs, fuse_ino_t ino, off_t offset, off_t size)
{
	int err = -ENOENT;
	pthread_rwlock_rdlock(&fs->session_lock);
	if (fs->connected)
		err = fuse_lowlevel_notify_inval_inode(fs->session, ino, offset, size);
	pthread_rwlock_unlock(&fs->session_lock);
	return err;
}

/* What may not wait: all that is known of open files; of others what the kernel tells without asking for the file, as their lengths are. */
static int tell_kernel(struct fs *fs, const struct fs_refresh *refresh)
{
	int err = 0;
	for (size_t i = 0; i < refresh->count && err == 0; i++) {
		const struct old_file *file = &refresh->files[i];
		err = file->is_open ? notify(fs, file->ino, 0, 0) : notify(fs, file->ino, -1, 0);
		err = err == -ENOENT ? 0 : err;
	}
	return err;
}

static void refresh_free(struct fs_refresh *refresh)
{
	if (refresh->watch_fd >= 0)
		close(refresh->watch_fd);
	for (size_t i = 0; i < refresh->count; i++)
		bd_inode_unref(refresh->files[i].inode, 1);
	free(refresh);
}

/* Of a file that has another id now. Also behind its end: it may have been longer. */
static void forget_pages(struct fs *fs, const struct old_file *file)
{
	struct bd_attr attr;
	off_t at = 0;
	int err = 0;
	bd_inode_attr(file->inode, &attr);
	for (; err == 0 && at + FORGET_BYTES < (off_t)attr.size_bytes; at += FORGET_BYTES)
		err = notify(fs, file->ino, at, FORGET_BYTES);
	if (err == 0)
		err = notify(fs, file->ino, at, 0);
	if (err != 0 && err != -ENOENT)
		nf_debug("the kernel keeps old pages of inode %#lx, which nobody asks for: %s", (unsigned long)file->ino,
			 strerror(-err));
}

static void *forget_main(void *arg)
{
	struct fs *fs = arg;
	pthread_setname_np(pthread_self(), "fs-forget");
	if (setpriority(PRIO_PROCESS, (id_t)gettid(), FORGET_NICE) != 0)
		nf_debug("forgetting cannot lower its priority: %s", strerror(errno));
	pthread_mutex_lock(&fs->lock);
	while (!fs->forget_stops || fs->refreshes != NULL) {
		struct fs_refresh *refresh = fs->refreshes;
		if (refresh == NULL) {
			pthread_cond_wait(&fs->forget_wanted, &fs->lock);
			continue;
		}
		fs->refreshes = refresh->next;
		pthread_mutex_unlock(&fs->lock);
		for (size_t i = 0; i < refresh->count; i++)
			if (!refresh->files[i].is_open)
				forget_pages(fs, &refresh->files[i]);
		refresh_free(refresh);
		pthread_mutex_lock(&fs->lock);
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

/* Without the thread the kernel lets go of the pages when it wants the memory. */
static void forget_later(struct fs *fs, struct fs_refresh *refresh)
{
	pthread_mutex_lock(&fs->lock);
	if (!fs->forget_runs)
		fs->forget_runs = pthread_create(&fs->forget_thread, NULL, forget_main, fs) == 0;
	bool is_taken = fs->forget_runs;
	if (is_taken) {
		refresh->next = fs->refreshes;
		fs->refreshes = refresh;
		pthread_cond_signal(&fs->forget_wanted);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!is_taken)
		refresh_free(refresh);
}

int fs_branch_refresh(struct fs *fs, struct bd_branch_id branch, fs_has_changed has_changed, const void *arg)
{
	struct bd_branch_info info;
	struct fs_refresh *refresh;
	int err = bd_branch_get(fs->store, branch, &info);
	if (err == 0)
		err = collect_head(fs, branch, &refresh);
	if (err != 0)
		return err;
	keep_changed(fs, info.name, refresh, has_changed, arg);
	change_ids(fs, refresh);
	err = tell_kernel(fs, refresh);
	forget_later(fs, refresh);
	return err;
}

bool fs_is_stale(struct fs *fs, fuse_ino_t ino)
{
	if (!atomic_load(&fs->has_refreshed))
		return false;
	pthread_mutex_lock(&fs->lock);
	bool is_stale = ino != fs_ino_of(fs_inode(ino), *bd_inode_user(fs_inode(ino)));
	pthread_mutex_unlock(&fs->lock);
	return is_stale;
}

void fs_refresh_finish(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->forget_stops = true;
	pthread_cond_signal(&fs->forget_wanted);
	bool runs = fs->forget_runs;
	pthread_mutex_unlock(&fs->lock);
	if (runs)
		pthread_join(fs->forget_thread, NULL);
}
