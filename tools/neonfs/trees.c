/* See trees.h.
 *
 *      NEW ── enter, on the thread that may wait ──▶ MAKING ──▶ READY
 *                                                       └─────▶ gone: the next look-up begins again
 *
 * The lock is held while the store is asked, but never while something waits for the mount. */
#include "tools/neonfs/trees.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_point.h"
#include "tools/neonfs/control_prepare.h"
#include "tools/neonfs/point_text.h"

#define SNAPSHOT "tree"
#define NS_PER_S INT64_C(1000000000)
#define SAY_AGAIN_S 10 /* the same name is not complained of more often */

enum state { NEW, MAKING, READY };

struct tree {
	struct tree *next;
	struct bd_branch_id source; /* with lsn: key */
	struct nf_lsn lsn;
	unsigned number;
	struct bd_view door, view; /* view: once READY */
	enum state state;
	int64_t used_ns;
};

struct trees {
	struct ctl_call with;
	pthread_mutex_t lock;
	/* guarded by lock */
	struct tree *list;
	unsigned count, next_number;
	char said[BD_NAME_MAX + 1]; /* the name complained of last */
	int64_t said_ns;
};

int trees_new(struct trees **ret_trees)
{
	struct trees *trees = calloc(1, sizeof(*trees));
	if (trees == NULL)
		return -ENOMEM;
	pthread_mutex_init(&trees->lock, NULL);
	*ret_trees = trees;
	return 0;
}

void trees_start(struct trees *trees, const struct ctl_call *with)
{
	trees->with = *with;
}

/* One line in the log. */
static void say(struct trees *trees, const char *branch, const char *point, const char *why)
{
	char name[BD_NAME_MAX + 1];
	int64_t now_ns = ctl_now_ns();
	snprintf(name, sizeof(name), "%s@%s", branch, point);
	pthread_mutex_lock(&trees->lock);
	bool is_new = strcmp(name, trees->said) != 0 || now_ns - trees->said_ns > SAY_AGAIN_S * NS_PER_S;
	if (is_new) {
		memcpy(trees->said, name, sizeof(name));
		trees->said_ns = now_ns;
	}
	pthread_mutex_unlock(&trees->lock);
	if (is_new)
		nf_info("there is no tree %s: %s", name, why);
}

/* ------------------------------------------------------------- deletion */

/* 0 also when it is not there. */
static int delete_branch(const struct trees *trees, struct bd_branch_id id)
{
	int rc = id.v != 0 ? bd_branch_delete(trees->with.store, id) : 0;
	return rc == -ENOENT ? 0 : rc;
}

/* Under the lock: take the tree out and delete it. -EBUSY: files of it are open, or it is being made. */
static int delete_tree(struct trees *trees, struct tree *tree)
{
	struct tree **at = &trees->list;
	if (tree->state == MAKING)
		return -EBUSY;
	int rc = delete_branch(trees, tree->view.branch);
	if (rc != 0)
		return rc;
	if (tree->view.branch.v != 0)
		wa_lazy_branch_deleted(trees->with.lazy);
	rc = delete_branch(trees, tree->door.branch);
	if (rc != 0)
		nf_warn("the door of a tree that is gone cannot be deleted: %s; the next mount does it", strerror(-rc));
	while (*at != tree)
		at = &(*at)->next;
	*at = tree->next;
	trees->count--;
	free(tree);
	return 0;
}

/* Under the lock: those that were not used for a while go. */
static void expire(struct trees *trees)
{
	int64_t now_ns = ctl_now_ns();
	struct tree *next;
	for (struct tree *tree = trees->list; tree != NULL; tree = next) {
		next = tree->next;
		if (now_ns - tree->used_ns > TREES_KEEP_S * NS_PER_S && delete_tree(trees, tree) == -EBUSY)
			tree->used_ns = now_ns; /* its files are open: later */
	}
}

static void tidy(void *arg)
{
	struct trees *trees = arg;
	pthread_mutex_lock(&trees->lock);
	expire(trees);
	pthread_mutex_unlock(&trees->lock);
}

/* Under the lock: the oldest go when there are as many as may be. -EBUSY: all are in use. */
static int make_room(struct trees *trees)
{
	int64_t now_ns = ctl_now_ns();
	expire(trees);
	while (trees->count >= TREES_MAX) {
		struct tree *oldest = NULL;
		for (struct tree *tree = trees->list; tree != NULL; tree = tree->next)
			if (now_ns - tree->used_ns > TREES_FRESH_S * NS_PER_S &&
			    (oldest == NULL || tree->used_ns < oldest->used_ns))
				oldest = tree;
		if (oldest == NULL)
			return -EBUSY;
		if (delete_tree(trees, oldest) != 0)
			oldest->used_ns = now_ns;
	}
	return 0;
}

int trees_forget(struct trees *trees, struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct tree *next;
	bool any = false;
	int rc = 0;
	pthread_mutex_lock(&trees->lock);
	for (struct tree *tree = trees->list; tree != NULL && rc == 0; tree = next) {
		next = tree->next;
		if (tree->source.v != branch->id.v)
			continue;
		rc = delete_tree(trees, tree);
		any = true;
	}
	pthread_mutex_unlock(&trees->lock);
	/* What was kept for them is in branches of the branch. */
	if (rc == 0 && any)
		rc = wa_lazy_tidy(trees->with.lazy);
	if (rc == -EBUSY)
		return ctl_error(call, "busy", "a tree %s@... is in use; close what reads it and try again", branch->name);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot delete the trees of the branch");
}

void trees_free(struct trees *trees)
{
	if (trees == NULL)
		return;
	while (trees->list != NULL) {
		struct tree *tree = trees->list;
		tree->state = READY; /* nobody makes one any more */
		if (delete_tree(trees, tree) == 0)
			continue;
		trees->list = tree->next; /* the next mount deletes it */
		free(tree);
	}
	pthread_mutex_destroy(&trees->lock);
	free(trees);
}

/* --------------------------------------------------------------- look-up */

/* Under the lock. */
static struct tree *find_tree(struct trees *trees, struct bd_branch_id source, struct nf_lsn lsn)
{
	struct tree *tree = trees->list;
	while (tree != NULL && (tree->source.v != source.v || tree->lsn.v != lsn.v))
		tree = tree->next;
	return tree;
}

/* Under the lock. */
static struct tree *find_door(struct trees *trees, struct bd_view door)
{
	struct tree *tree = trees->list;
	while (tree != NULL && (tree->door.branch.v != door.branch.v || tree->door.epoch.v != door.epoch.v))
		tree = tree->next;
	return tree;
}

/* An empty directory that looks as `like` does, for good. */
static int make_door(struct trees *trees, const struct bd_attr *like, unsigned number, struct bd_view *ret_door)
{
	struct bd_store *store = trees->with.store;
	char name[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info branch;
	struct bd_snapshot_info snapshot;
	struct bd_inode *root;
	struct bd_attr attr = *like;
	snprintf(name, sizeof(name), TREES_PREFIX "%u", number);
	int rc = bd_branch_create_empty(store, name, like->uid, like->gid, &branch);
	if (rc != 0)
		return rc;
	rc = bd_root(store, (struct bd_view){branch.id, BD_EPOCH_HEAD}, &root);
	if (rc == 0) {
		attr.mode &= 07777;
		rc = bd_setattr(root, BD_SET_MODE | BD_SET_MTIME, &attr, &attr);
		bd_inode_unref(root, 1);
	}
	if (rc == 0)
		rc = bd_snapshot_create(store, branch.id, SNAPSHOT, &snapshot);
	if (rc != 0) {
		if (delete_branch(trees, branch.id) != 0)
			nf_warn("%s cannot be deleted; the next mount does it", name);
		return rc;
	}
	*ret_door = (struct bd_view){branch.id, snapshot.epoch};
	return 0;
}

/* Under the lock: a tree that is not made yet. */
static int add_tree(struct trees *trees, const struct ctl_place *place, struct tree **ret_tree)
{
	struct bd_inode *root;
	struct bd_attr like;
	int rc = make_room(trees);
	if (rc != 0)
		return rc;
	rc = bd_root(trees->with.store, (struct bd_view){place->branch.id, BD_EPOCH_HEAD}, &root);
	if (rc != 0)
		return rc;
	bd_inode_attr(root, &like);
	bd_inode_unref(root, 1);
	struct tree *tree = calloc(1, sizeof(*tree));
	if (tree == NULL)
		return -ENOMEM;
	*tree = (struct tree){.source = place->branch.id, .lsn = place->lsn, .number = ++trees->next_number};
	rc = make_door(trees, &like, tree->number, &tree->door);
	if (rc != 0) {
		free(tree);
		return rc;
	}
	tree->next = trees->list;
	trees->list = tree;
	trees->count++;
	*ret_tree = tree;
	return 0;
}

/* The door of the tree at an LSN; with `must_exist`, of one that is known. */
static int door_of(struct trees *trees, const struct ctl_place *place, bool must_exist, struct bd_view *ret_door)
{
	int rc = 0;
	pthread_mutex_lock(&trees->lock);
	struct tree *tree = find_tree(trees, place->branch.id, place->lsn);
	if (tree == NULL)
		rc = must_exist ? -ENOENT : add_tree(trees, place, &tree);
	if (rc == 0) {
		tree->used_ns = ctl_now_ns();
		*ret_door = tree->door;
	}
	pthread_mutex_unlock(&trees->lock);
	return rc;
}

static int find(void *arg, const char *name, const char *point, struct bd_view *ret_door)
{
	struct trees *trees = arg;
	struct ctl_call call = trees->with;
	struct ctl_place place = {.kind = CTL_PLACE_LSN};
	struct point_text text;
	char message[POINT_MESSAGE_MAX];
	int rc = bd_branch_find(call.store, name, &place.branch);
	if (rc != 0)
		return rc;
	/* What an LSN shows does not change; what a name or a time stands for may. */
	if (point_parse(point, &text, message) == 0 && (text.kind == POINT_LSN || text.may_be_lsn)) {
		place.lsn = text.lsn;
		if (door_of(trees, &place, true, ret_door) == 0)
			return 0;
	}
	if (ctl_find_point(&call, &place.branch, point, false, &place) != 0) {
		say(trees, name, point, call.error_message);
		return -ENOENT;
	}
	if (place.kind == CTL_PLACE_SNAPSHOT) {
		*ret_door = place.view;
		return 0;
	}
	rc = door_of(trees, &place, false, ret_door);
	if (rc != 0)
		say(trees, name, point, rc == -EBUSY ? "as many trees as are kept at once are in use" : strerror(-rc));
	return rc;
}

/* ----------------------------------------------------------------- making */

static int freeze(struct trees *trees, const struct ctl_prepared *prepared, unsigned number, struct bd_view *ret_view)
{
	struct bd_store *store = trees->with.store;
	struct bd_snapshot_info snapshot;
	char name[BD_BRANCH_NAME_MAX + 1];
	snprintf(name, sizeof(name), TREES_PREFIX "%u-pages", number);
	int rc = bd_branch_rename(store, prepared->branch.id, name);
	if (rc == 0)
		rc = bd_snapshot_create(store, prepared->branch.id, SNAPSHOT, &snapshot);
	if (rc == 0)
		*ret_view = (struct bd_view){prepared->branch.id, snapshot.epoch};
	return rc;
}

static int make(struct trees *trees, struct bd_branch_id source, struct nf_lsn lsn, unsigned number, struct bd_view *ret_view)
{
	struct ctl_call call = trees->with;
	struct ctl_place place = {.kind = CTL_PLACE_LSN, .lsn = lsn};
	struct ctl_prepared prepared;
	int64_t began_ns = ctl_now_ns();
	int rc = bd_branch_get(call.store, source, &place.branch);
	if (rc != 0)
		return rc;
	if (ctl_prepare(&call, &place, CTL_RECOVERY_INSTANT, &prepared) != 0) {
		nf_warn("the tree of branch %s at " NF_LSN_FMT " cannot be made: %s", place.branch.name, NF_LSN_ARG(lsn),
			call.error_message);
		return -EIO;
	}
	rc = freeze(trees, &prepared, number, ret_view);
	if (rc != 0) {
		nf_warn("the tree of branch %s at " NF_LSN_FMT " cannot be made: %s", place.branch.name, NF_LSN_ARG(lsn),
			strerror(-rc));
		ctl_prepare_drop(&call, &prepared);
		return -EIO;
	}
	json_decref(prepared.facts);
	fs_branch_changed(call.fs, prepared.branch.name);
	nf_info("the tree of branch %s at " NF_LSN_FMT " was made in %lld ms", place.branch.name, NF_LSN_ARG(lsn),
		(long long)((ctl_now_ns() - began_ns) / 1000000));
	return 0;
}

/* Under the lock, which is let go meanwhile. */
static int make_ready(struct trees *trees, struct tree *tree)
{
	struct bd_view view;
	tree->state = MAKING;
	pthread_mutex_unlock(&trees->lock);
	int rc = make(trees, tree->source, tree->lsn, tree->number, &view);
	pthread_mutex_lock(&trees->lock);
	tree->state = rc == 0 ? READY : NEW;
	if (rc == 0)
		tree->view = view;
	else if (delete_tree(trees, tree) != 0)
		nf_warn("a tree that was not made cannot be deleted; the next mount does it");
	return rc;
}

static bool is_ours(const struct trees *trees, struct bd_branch_id id)
{
	struct bd_branch_info info;
	int rc = bd_branch_get(trees->with.store, id, &info);
	return rc != 0 || strncmp(info.name, TREES_PREFIX, strlen(TREES_PREFIX)) == 0;
}

static int enter(void *arg, struct bd_view door, bool may_wait, struct bd_view *ret_view)
{
	struct trees *trees = arg;
	int rc = 0;
	pthread_mutex_lock(&trees->lock);
	struct tree *tree = find_door(trees, door);
	if (tree == NULL)
		rc = is_ours(trees, door.branch) ? -ENOENT : -ESRCH;
	else if (tree->state != READY)
		rc = may_wait ? make_ready(trees, tree) : -EAGAIN;
	if (rc == 0) {
		tree->used_ns = ctl_now_ns();
		*ret_view = tree->view;
	}
	pthread_mutex_unlock(&trees->lock);
	return rc;
}

void trees_hooks(struct trees *trees, struct fs_trees *ret_hooks)
{
	*ret_hooks = (struct fs_trees){.arg = trees, .find = find, .enter = enter, .tidy = tidy};
}
