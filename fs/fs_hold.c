/* Holds: a branch that one program works on, and that nobody else may begin to use meanwhile. See fs.h.
 *
 * What changes a branch by a name or opens a file for writing is a *change*: from fs_change_begin to fs_change_end the branch is in use, as it is
 * while files are open. A change is counted before it looks for a hold; a hold is entered in the list before it looks at the count. So of two that
 * meet, at least one sees the other. Writes need no look: they come by files that are open, and when the hold began there were none.
 *
 * Requests of the kernel's own (it writes back what was gathered) name no process; what they do by a name are times only, which are no change. */
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/fs_internal.h"

struct fs_hold {
	struct fs *fs;
	struct bd_branch_id branch;
	struct bd_inode *root; /* one reference, and one use: so the branch is neither deleted nor replaced */
	/* guarded by fs->lock */
	pid_t group; /* whose processes are let in; 0 nobody */
	bool is_expecting; /* it will be known in a moment */
	struct fs_hold *next;
};

/* Under fs->lock. */
static struct fs_hold *find(struct fs *fs, struct bd_branch_id branch)
{
	for (struct fs_hold *hold = fs->holds; hold != NULL; hold = hold->next)
		if (hold->branch.v == branch.v)
			return hold;
	return NULL;
}

bool fs_is_held(struct fs *fs, struct bd_branch_id branch)
{
	pthread_mutex_lock(&fs->lock);
	bool is_held = find(fs, branch) != NULL;
	pthread_mutex_unlock(&fs->lock);
	return is_held;
}

/* A process's number is that of its first thread; the kernel names the thread that asks. */
static bool is_own_thread(pid_t thread)
{
	return syscall(SYS_tgkill, getpid(), thread, 0) == 0;
}

/* Out of line: nearly nobody comes here. */
static int look(struct fs *fs, const struct fuse_ctx *who, struct bd_branch_id branch)
{
	int err = 0;
	pthread_mutex_lock(&fs->lock);
	struct fs_hold *hold;
	while ((hold = find(fs, branch)) != NULL && hold->is_expecting && who->pid > 0)
		pthread_cond_wait(&fs->hold_changed, &fs->lock);
	if (hold != NULL)
		err = who->pid > 0 && ((hold->group != 0 && getpgid(who->pid) == hold->group) || is_own_thread(who->pid))
			      ? 0
			      : -EBUSY;
	pthread_mutex_unlock(&fs->lock);
	return err;
}

int fs_change_begin(struct fs_call *call, struct bd_inode *inode)
{
	bd_inode_use(inode, 1);
	if (atomic_load(&call->fs->hold_count) == 0 || fs_is_frozen(inode))
		return 0;
	int err = look(call->fs, fuse_req_ctx(call->req), bd_inode_view(inode).branch);
	if (err != 0)
		bd_inode_use(inode, -1);
	return err;
}

void fs_change_end(struct bd_inode *inode)
{
	bd_inode_use(inode, -1);
}

static void leave_list(struct fs_hold *hold)
{
	struct fs *fs = hold->fs;
	pthread_mutex_lock(&fs->lock);
	struct fs_hold **at = &fs->holds;
	while (*at != hold)
		at = &(*at)->next;
	*at = hold->next;
	atomic_fetch_sub(&fs->hold_count, 1);
	pthread_cond_broadcast(&fs->hold_changed);
	pthread_mutex_unlock(&fs->lock);
}

int fs_hold(struct fs *fs, struct bd_branch_id branch, struct fs_hold **ret_hold)
{
	struct bd_branch_info info;
	struct fs_hold *hold = calloc(1, sizeof(*hold));
	if (hold == NULL)
		return -ENOMEM;
	*hold = (struct fs_hold){.fs = fs, .branch = branch};
	int err = bd_root(fs->store, (struct bd_view){.branch = branch, .epoch = BD_EPOCH_HEAD}, &hold->root);
	if (err != 0) {
		free(hold);
		return err;
	}
	pthread_mutex_lock(&fs->lock);
	err = find(fs, branch) != NULL ? -EBUSY : 0;
	if (err == 0) {
		hold->next = fs->holds;
		fs->holds = hold;
		atomic_fetch_add(&fs->hold_count, 1);
	}
	pthread_mutex_unlock(&fs->lock);
	if (err == 0) {
		err = bd_branch_get(fs->store, branch, &info);
		if (err == 0 && info.in_use > 0)
			err = -EBUSY;
		bd_inode_use(hold->root, 1);
		if (err != 0) {
			fs_hold_end(hold);
			return err;
		}
		*ret_hold = hold;
		return 0;
	}
	bd_inode_unref(hold->root, 1);
	free(hold);
	return err;
}

void fs_hold_expect(struct fs_hold *hold)
{
	pthread_mutex_lock(&hold->fs->lock);
	hold->group = 0;
	hold->is_expecting = true;
	pthread_mutex_unlock(&hold->fs->lock);
}

void fs_hold_admit(struct fs_hold *hold, pid_t group)
{
	pthread_mutex_lock(&hold->fs->lock);
	hold->group = group;
	hold->is_expecting = false;
	pthread_cond_broadcast(&hold->fs->hold_changed);
	pthread_mutex_unlock(&hold->fs->lock);
}

void fs_hold_end(struct fs_hold *hold)
{
	if (hold == NULL)
		return;
	leave_list(hold);
	bd_inode_use(hold->root, -1);
	bd_inode_unref(hold->root, 1);
	free(hold);
}
