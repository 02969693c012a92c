/* The mount's root: a directory made up from the store's branches.
 *
 * Listing shows branches only, internal ones not among them. Look-up knows NAME (the branch's head, an internal one's too),
 * NAME@LABEL (a snapshot, read-only) and NAME@POINT (a tree that is made then, read-only: fs_tree.c). Nothing is created, removed or renamed here through the file system: branches are made by
 * neonfs-branch, which the log says to whoever tries. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_internal.h"

#define HINT_INTERVAL_NS INT64_C(10000000000)

/* May a hint go to the log now? Programs may try again and again. */
static bool is_hint_due(struct fs *fs)
{
	int64_t now_ns = fs_clock_ns(CLOCK_MONOTONIC);
	int64_t last_ns = atomic_load(&fs->root_hint_ns);

	return (last_ns == 0 || now_ns - last_ns >= HINT_INTERVAL_NS) &&
	       atomic_compare_exchange_strong(&fs->root_hint_ns, &last_ns, now_ns);
}

/* Split NAME@LABEL; the longest legal one fits. -ENOENT when it cannot be one. */
static int split_view_name(const char *name, char *ret_branch, char *ret_label)
{
	const char *at = strchr(name, '@');
	size_t branch_size = at != NULL ? (size_t)(at - name) : strlen(name);
	size_t label_size = at != NULL ? strlen(at + 1) : 0;

	if (branch_size > BD_BRANCH_NAME_MAX || label_size > BD_BRANCH_NAME_MAX)
		return -ENOENT;
	memcpy(ret_branch, name, branch_size);
	ret_branch[branch_size] = '\0';
	memcpy(ret_label, at != NULL ? at + 1 : "", label_size + 1);
	if ((bd_name_check(ret_branch) != 0 && !bd_name_is_internal(ret_branch)) || (at != NULL && bd_name_check(ret_label) != 0))
		return -ENOENT;
	return 0;
}

/* NAME or NAME@LABEL. */
static int find_view(struct fs *fs, const char *name, struct bd_view *ret_view)
{
	char branch_name[BD_BRANCH_NAME_MAX + 1], label[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info branch;
	struct bd_snapshot_info snapshot;
	int err = split_view_name(name, branch_name, label);
	if (err == 0)
		err = bd_branch_find(fs->store, branch_name, &branch);
	if (err != 0)
		return err;

	struct bd_view view = {.branch = branch.id, .epoch = BD_EPOCH_HEAD};
	if (label[0] != '\0') {
		err = bd_snapshot_find(fs->store, branch.id, label, &snapshot);
		if (err != 0)
			return err;
		view.epoch = snapshot.epoch;
	}
	*ret_view = view;
	return 0;
}

/* The door of NAME@POINT. */
static int find_door(struct fs *fs, const char *name, struct bd_view *ret_view)
{
	char branch_name[BD_BRANCH_NAME_MAX + 1];
	const char *at = strchr(name, '@');
	size_t size = at != NULL ? (size_t)(at - name) : 0;

	if (at == NULL || size > BD_BRANCH_NAME_MAX || fs->tree == NULL)
		return -ENOENT;
	if (atomic_load(&fs->uring_seen)) {
		if (is_hint_due(fs))
			nf_info("there is no tree %s: trees of points are made with --transport=dev only", name);
		return -ENOENT;
	}
	memcpy(branch_name, name, size);
	branch_name[size] = '\0';
	return bd_name_check(branch_name) == 0 ? fs->trees.find(fs->trees.arg, branch_name, at + 1, ret_view) : -ENOENT;
}

int fs_root_lookup(struct fs *fs, const char *name, struct bd_inode **ret_inode)
{
	struct bd_view view;

	if (strlen(name) > BD_NAME_MAX)
		return -ENAMETOOLONG;
	int err = find_view(fs, name, &view);
	if (err == -ENOENT)
		err = find_door(fs, name, &view);
	return err == 0 ? bd_root(fs->store, view, ret_inode) : err;
}

void fs_root_stat(struct fs *fs, struct stat *ret_stat)
{
	int64_t mtime_ns = atomic_load(&fs->root_mtime_ns);
	struct bd_attr attr = {
		.file = {FUSE_ROOT_ID},
		.mode = S_IFDIR | 0755,
		.uid = fs->uid,
		.gid = fs->gid,
		.nlink = 2,
		.size_bytes = 4096,
		.atime_ns = mtime_ns,
		.mtime_ns = mtime_ns,
		.ctime_ns = mtime_ns,
	};

	/* Branch number 0 is never given out, so the number is the root's alone. */
	fs_stat((struct bd_view){.branch = {0}, .epoch = BD_EPOCH_HEAD}, &attr, ret_stat);
}

int fs_root_listing(struct fs *fs, struct bd_listing **ret_listing)
{
	struct bd_branch_info *branches;
	size_t count;
	int err = bd_branch_list(fs->store, &branches, &count);

	if (err != 0)
		return err;
	size_t names_size = count * (BD_BRANCH_NAME_MAX + 1);
	struct bd_listing *listing = malloc(sizeof(*listing) + count * sizeof(struct bd_dirent) + names_size);
	if (listing == NULL) {
		free(branches);
		return -ENOMEM;
	}
	listing->entries = (struct bd_dirent *)(listing + 1);
	listing->count = count;
	char *names = (char *)(listing->entries + count);
	for (size_t i = 0; i < count; i++) {
		char *name = names + i * (BD_BRANCH_NAME_MAX + 1);
		struct bd_view head = {.branch = branches[i].id, .epoch = BD_EPOCH_HEAD};
		memcpy(name, branches[i].name, BD_BRANCH_NAME_MAX + 1);
		/* The file id of a listing of the root is the whole inode number. */
		listing->entries[i] = (struct bd_dirent){.file = {fs_ino(head, BD_FILE_ID_ROOT)}, .type = S_IFDIR, .name = name};
	}
	free(branches);
	*ret_listing = listing;
	return 0;
}

int fs_root_refuse(struct fs *fs, const char *what, const char *name)
{
	if (is_hint_due(fs))
		nf_info("%s %s/%s refused: the top directory holds branches only; use neonfs-branch create, delete or "
			"rename",
			what, fs->place.path, name);
	return -EPERM;
}

void fs_branch_changed(struct fs *fs, const char *name)
{
	atomic_store(&fs->root_mtime_ns, fs_clock_ns(CLOCK_REALTIME));
	pthread_rwlock_rdlock(&fs->session_lock);
	if (fs->connected) {
		int err = fuse_lowlevel_notify_inval_entry(fs->session, FUSE_ROOT_ID, name, strlen(name));
		if (err != 0 && err != -ENOENT)
			nf_debug("invalidate %s/%s: %s; it expires within a second", fs->place.path, name, strerror(-err));
		err = fuse_lowlevel_notify_inval_inode(fs->session, FUSE_ROOT_ID, -1, 0);
		if (err != 0 && err != -ENOENT)
			nf_debug("invalidate %s: %s; it expires within a second", fs->place.path, strerror(-err));
	}
	pthread_rwlock_unlock(&fs->session_lock);
}
