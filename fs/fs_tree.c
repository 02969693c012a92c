/* Trees that are made when they are looked up (fs.h, struct fs_trees).
 *
 * The kernel holds a directory's lock while it waits for a look-up in it, and whoever makes a tree looks names up in the mount's top directory. So nothing
 * may wait there: the top directory answers at once with a door, a directory of its own, and the wait is for the first look-up or listing
 * inside of that.
 *
 * Threads: workers pass requests on that would have to wait; one thread takes them in turn and answers. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/fs_internal.h"

#define TIDY_S 30
#define WAITING_MAX 256 /* requests; more are told to come again */

struct later {
	struct later *next;
	fuse_req_t req;
	enum fs_op op; /* look-up or opendir */
	struct bd_inode *door; /* one reference */
	struct fuse_file_info fi;
	char name[BD_NAME_MAX + 1];
};

struct fs_tree {
	struct fs *fs;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* guarded by lock */
	struct later *first, **last;
	unsigned count;
	bool is_stopping;
};

bool fs_tree_is_door(const struct fs *fs, struct bd_inode *inode)
{
	struct bd_attr attr;
	if (fs->trees.enter == NULL || !fs_is_frozen(inode) || !bd_inode_is_internal(inode))
		return false;
	bd_inode_attr(inode, &attr);
	return attr.file.v == BD_FILE_ID_ROOT.v;
}

/* The directory behind the door, one reference. -EAGAIN: it is not made yet, and may not be waited for. */
static int enter(struct fs *fs, struct bd_inode *door, bool may_wait, struct bd_inode **ret_root)
{
	struct bd_view view = bd_inode_view(door);
	int err = fs->trees.enter(fs->trees.arg, view, may_wait, &view);

	if (err == -ESRCH) { /* no door after all */
		bd_inode_ref(door, 1);
		*ret_root = door;
		return 0;
	}
	return err == 0 ? bd_root(fs->store, view, ret_root) : err;
}

static void reply_lookup(struct fs_call *call, struct bd_inode *root, const char *name)
{
	struct bd_inode *inode;
	int err = bd_lookup(root, name, &inode);

	if (err == 0)
		fs_reply_entry(call, inode, fs_timeout_s(inode));
	else
		fs_reply_result(call, err);
}

static void reply_opendir(struct fs_call *call, struct bd_inode *root, struct fuse_file_info *fi)
{
	struct fs_handle *handle;
	int err = fs_handle_open(call->fs, root, 0, &handle);

	if (err != 0) {
		fs_reply_result(call, err);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)handle;
	if (fuse_reply_open(call->req, fi) != 0)
		fs_handle_close(call->fs, handle);
}

/* Answer, unless that would have to wait: -EAGAIN. */
static int serve(struct fs_call *call, struct bd_inode *door, bool may_wait, const char *name, struct fuse_file_info *fi)
{
	struct bd_inode *root;
	int err = enter(call->fs, door, may_wait, &root);

	if (err == -EAGAIN && !may_wait)
		return err;
	if (err != 0) {
		fs_reply_result(call, err);
		return 0;
	}
	if (call->op == FS_OP_LOOKUP)
		reply_lookup(call, root, name);
	else
		reply_opendir(call, root, fi);
	bd_inode_unref(root, 1);
	return 0;
}

static int pass_on(struct fs_tree *tree, struct later *later)
{
	pthread_mutex_lock(&tree->lock);
	int err = tree->is_stopping || tree->count >= WAITING_MAX ? -EAGAIN : 0;
	if (err == 0) {
		*tree->last = later;
		tree->last = &later->next;
		tree->count++;
		pthread_cond_signal(&tree->cond);
	}
	pthread_mutex_unlock(&tree->lock);
	return err;
}

void fs_tree_serve(struct fs_call *call, struct bd_inode *door, const char *name, struct fuse_file_info *fi)
{
	if (serve(call, door, false, name, fi) == 0)
		return;
	struct later *later = calloc(1, sizeof(*later));
	if (later == NULL) {
		fs_reply_result(call, -ENOMEM);
		return;
	}
	later->req = call->req;
	later->op = call->op;
	later->door = door;
	if (fi != NULL)
		later->fi = *fi;
	if (name != NULL)
		strncpy(later->name, name, BD_NAME_MAX);
	bd_inode_ref(door, 1);
	int err = name != NULL && strlen(name) > BD_NAME_MAX ? -ENAMETOOLONG : pass_on(call->fs->tree, later);
	if (err == 0)
		return;
	bd_inode_unref(door, 1);
	free(later);
	fs_reply_result(call, err);
}

/* Wait for a request, or for TIDY_S. False: there is none left, and the mount is gone. */
static bool take(struct fs_tree *tree, struct later **ret_later)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += TIDY_S;
	pthread_mutex_lock(&tree->lock);
	while (tree->first == NULL && !tree->is_stopping && err == 0)
		err = pthread_cond_clockwait(&tree->cond, &tree->lock, CLOCK_MONOTONIC, &until);
	struct later *later = tree->first;
	if (later != NULL) {
		tree->first = later->next;
		if (tree->first == NULL)
			tree->last = &tree->first;
		tree->count--;
	}
	bool goes_on = later != NULL || !tree->is_stopping;
	pthread_mutex_unlock(&tree->lock);
	*ret_later = later;
	return goes_on;
}

static void answer(struct fs_tree *tree, struct later *later)
{
	struct fs_call call = {.fs = tree->fs, .req = later->req, .op = later->op};

	if (serve(&call, later->door, true, later->name, &later->fi) != 0)
		fs_reply_result(&call, -EIO);
	bd_inode_unref(later->door, 1);
	free(later);
}

static void *tree_thread(void *arg)
{
	struct fs_tree *tree = arg;
	struct later *later;

	while (take(tree, &later)) {
		if (later != NULL)
			answer(tree, later);
		else
			tree->fs->trees.tidy(tree->fs->trees.arg);
	}
	return NULL;
}

int fs_tree_start(struct fs *fs)
{
	if (fs->trees.find == NULL)
		return 0;
	struct fs_tree *tree = calloc(1, sizeof(*tree));
	if (tree == NULL)
		return -ENOMEM;
	tree->fs = fs;
	tree->last = &tree->first;
	pthread_mutex_init(&tree->lock, NULL);
	pthread_cond_init(&tree->cond, NULL);
	fs->tree = tree;
	int err = -pthread_create(&tree->thread, NULL, tree_thread, tree);
	tree->has_thread = err == 0;
	return err;
}

void fs_tree_finish(struct fs *fs)
{
	struct fs_tree *tree = fs->tree;
	if (tree == NULL)
		return;
	pthread_mutex_lock(&tree->lock);
	tree->is_stopping = true;
	pthread_cond_signal(&tree->cond);
	pthread_mutex_unlock(&tree->lock);
	if (tree->has_thread)
		pthread_join(tree->thread, NULL);
	pthread_cond_destroy(&tree->cond);
	pthread_mutex_destroy(&tree->lock);
	free(tree);
	fs->tree = NULL;
}
