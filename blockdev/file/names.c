/* The namespace: directory entries, links, rename.
 *
 * One operation is one commit: all its index changes are in one log record, so a crash shows it whole or not at all.
 * Locks: bd_op_begin (epoch shared), names_lock of the branch exclusive to change and shared to look up, then the inodes touched.
 * Entry value: file u64, type u8 (S_IFMT >> 12). File 0 hides an entry of an older epoch or an ancestor. */
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/file/inode.h"

#define LINK_MAX 65000u
#define ENTRY_VALUE_MAX (9 + BD_VALUE_CHECK)

static int check_name(const char *name)
{
	size_t size = strlen(name);
	if (size > BD_NAME_MAX)
		return -ENAMETOOLONG;
	if (size == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/') != NULL)
		return -EINVAL;
	return 0;
}

int names_entry_get(struct bd_store *store, struct bd_hops hops, uint64_t dir, const char *name, uint64_t *ret_file,
		    uint32_t *ret_type)
{
	uint8_t value[ENTRY_VALUE_MAX];
	size_t size;
	int error = bd_chain_get(store, hops, 'D', dir, name, value, sizeof(value), &size);
	if (error != 0)
		return error;
	struct nf_reader r = nf_reader_init(value, size);
	uint64_t file = nf_read_u64(&r);
	uint32_t type = (uint32_t)nf_read_u8(&r) << 12;
	if (r.failed)
		return -EUCLEAN;
	if (file == 0)
		return -ENOENT;
	*ret_file = file;
	*ret_type = type;
	return 0;
}

/* Under names_lock. -ENOENT. */
static int entry_get(struct bd_inode *dir, const char *name, uint64_t *ret_file, uint32_t *ret_type)
{
	return names_entry_get(dir->store, inode_hops(dir), dir->file, name, ret_file, ret_type);
}

void names_entry_commit(const struct bd_inode *dir, const char *name, uint64_t file, uint32_t mode, struct bd_commit *commit)
{
	struct bd_key key;
	uint8_t value[ENTRY_VALUE_MAX];
	struct nf_writer w = nf_writer_init(value, sizeof(value));
	nf_write_u64(&w, file);
	nf_write_u8(&w, (uint8_t)((mode & S_IFMT) >> 12));
	bd_key_named(&key, 'D', dir->branch->id, dir->file, name);
	bd_key_add_epoch(&key, dir->branch->epoch);
	bd_commit_put(commit, &key, value, w.offset);
}

/* 'O' rows: inodes without a name whose data is to go once nobody has them open. */
static void orphan_commit(struct bd_inode *inode, bool add, struct bd_commit *commit)
{
	struct bd_key key;
	uint8_t value[BD_VALUE_CHECK];
	bd_key_file_prefix(&key, 'O', inode->branch->id, inode->file);
	if (add)
		bd_commit_put(commit, &key, value, 0);
	else
		bd_commit_delete(commit, &key);
}

void names_tombstone_commit(const struct bd_inode *inode, struct bd_commit *commit)
{
	struct bd_key key;
	uint8_t value[BD_VALUE_CHECK];
	bd_key_inode(&key, inode->branch->id, inode->file, inode->branch->epoch);
	bd_commit_put(commit, &key, value, 0);
}

static bool is_dir(struct bd_inode *inode)
{
	pthread_rwlock_rdlock(&inode->lock);
	bool dir = S_ISDIR(inode->attr.mode);
	pthread_rwlock_unlock(&inode->lock);
	return dir;
}

static bool is_removed(struct bd_inode *inode)
{
	pthread_rwlock_rdlock(&inode->lock);
	bool removed = inode->removed;
	pthread_rwlock_unlock(&inode->lock);
	return removed;
}

/* A change of the namespace: everything between begin and end is one commit. The inodes whose records are in it stay locked until it is
 * applied, so that no younger record of theirs can come before. Several at a time, in any order: the names_lock lets one change
 * run a branch, and nobody else holds two inodes' locks or waits for names with one. */
#define CHANGE_INODES 5
struct change {
	struct bd_inode *dir;
	struct bd_commit commit;
	struct bd_inode *locked[CHANGE_INODES];
	unsigned locked_count;
};

static void change_lock(struct change *change, struct bd_inode *inode)
{
	for (unsigned i = 0; i < change->locked_count; i++) {
		if (change->locked[i] == inode)
			return;
	}
	assert(change->locked_count < CHANGE_INODES);
	pthread_rwlock_wrlock(&inode->lock);
	change->locked[change->locked_count++] = inode;
}

/* Directory times and link count, with the directory's record. */
static void dir_touch(struct change *change, struct bd_inode *dir, int nlink_delta)
{
	change_lock(change, dir);
	dir->attr.mtime_ns = dir->attr.ctime_ns = bd_now_ns();
	dir->attr.nlink += (uint32_t)nlink_delta;
	if (!dir->removed)
		bd_inode_commit(dir, &change->commit);
}

/* One link fewer; the last one makes it an orphan. */
static void drop_link(struct change *change, struct bd_inode *inode)
{
	change_lock(change, inode);
	inode->attr.ctime_ns = bd_now_ns();
	if (S_ISDIR(inode->attr.mode) || inode->attr.nlink <= 1) {
		inode->attr.nlink = 0;
		inode->removed = true;
		names_tombstone_commit(inode, &change->commit);
		orphan_commit(inode, true, &change->commit);
	} else {
		inode->attr.nlink--;
		bd_inode_commit(inode, &change->commit);
	}
}

static int change_begin(struct change *change, struct bd_inode *dir)
{
	change->dir = dir;
	change->locked_count = 0;
	if (!is_dir(dir))
		return -ENOTDIR;
	int error = bd_commit_init(&change->commit);
	if (error != 0)
		return error;
	error = bd_op_begin(dir);
	if (error != 0) {
		bd_commit_free(&change->commit);
		return error;
	}
	pthread_rwlock_wrlock(&dir->branch->names_lock);
	return 0;
}

/* Applies unless there was an error. */
static int change_end(struct change *change, int error)
{
	uint64_t ticket;
	if (error == 0) {
		error = bd_commit_apply(change->dir->store, &change->commit, &ticket);
		change->dir->branch->names_changes++;
	}
	while (change->locked_count > 0)
		pthread_rwlock_unlock(&change->locked[--change->locked_count]->lock);
	pthread_rwlock_unlock(&change->dir->branch->names_lock);
	bd_op_end(change->dir);
	bd_commit_free(&change->commit);
	return error;
}

int bd_lookup(struct bd_inode *dir, const char *name, struct bd_inode **ret_inode)
{
	int error = is_dir(dir) ? check_name(name) : -ENOTDIR;
	if (error != 0)
		return error == -EINVAL ? -ENOENT : error;
	uint64_t file;
	uint32_t type;
	pthread_rwlock_rdlock(&dir->branch->names_lock);
	error = dir->branch->dead ? -ENOENT : entry_get(dir, name, &file, &type);
	if (error == 0) {
		error = bd_inode_get(dir->store, dir->branch, dir->view_epoch, file, ret_inode);
		if (error == -ENOENT)
			error = -EUCLEAN; /* a name without its inode */
	}
	pthread_rwlock_unlock(&dir->branch->names_lock);
	return error;
}

int bd_lookup_parent(struct bd_inode *dir, struct bd_inode **ret_parent)
{
	pthread_rwlock_rdlock(&dir->branch->names_lock);
	pthread_rwlock_rdlock(&dir->lock);
	uint64_t parent = dir->parent;
	bool ok = S_ISDIR(dir->attr.mode);
	pthread_rwlock_unlock(&dir->lock);
	int error = ok ? bd_inode_get(dir->store, dir->branch, dir->view_epoch, parent, ret_parent) : -ENOTDIR;
	pthread_rwlock_unlock(&dir->branch->names_lock);
	return error;
}

static int check_create(const struct bd_create *how)
{
	if (S_ISLNK(how->mode)) {
		if (how->symlink_target == NULL || how->symlink_target[0] == '\0')
			return -ENOENT;
		return strlen(how->symlink_target) > BD_SYMLINK_MAX ? -ENAMETOOLONG : 0;
	}
	return S_ISREG(how->mode) || S_ISDIR(how->mode) || S_ISFIFO(how->mode) || S_ISSOCK(how->mode) ||
			       S_ISCHR(how->mode) || S_ISBLK(how->mode)
		       ? 0
		       : -EINVAL;
}

int bd_create(struct bd_inode *dir, const char *name, const struct bd_create *how, struct bd_inode **ret_inode)
{
	int error = check_name(name);
	if (error == 0)
		error = check_create(how);
	struct change change;
	if (error == 0)
		error = change_begin(&change, dir);
	if (error != 0)
		return error;
	uint64_t file;
	uint32_t type;
	struct bd_inode *inode = NULL;
	error = entry_get(dir, name, &file, &type);
	error = error == 0 ? -EEXIST : error == -ENOENT ? 0 : error;
	if (error == 0 && is_removed(dir))
		error = -ENOENT;
	if (error == 0)
		change_lock(&change, dir);
	if (error == 0 && S_ISDIR(how->mode) && dir->attr.nlink >= LINK_MAX)
		error = -EMLINK;
	if (error == 0)
		error = bd_inode_make(dir, how, &inode);
	if (error == 0) {
		names_entry_commit(dir, name, inode->file, inode->attr.mode, &change.commit);
		bd_inode_commit(inode, &change.commit);
		dir_touch(&change, dir, S_ISDIR(how->mode) ? 1 : 0);
		inode_publish(inode);
	}
	error = change_end(&change, error);
	if (error == 0)
		*ret_inode = inode;
	else if (inode != NULL)
		bd_inode_unref(inode, 1);
	return error;
}

int bd_create_unnamed(struct bd_inode *dir, const struct bd_create *how, struct bd_inode **ret_inode)
{
	struct change change;
	int error = S_ISREG(how->mode) ? change_begin(&change, dir) : -EINVAL;
	if (error != 0)
		return error;
	struct bd_inode *inode = NULL;
	change_lock(&change, dir);
	error = bd_inode_make(dir, how, &inode);
	if (error == 0) {
		inode->attr.nlink = 0;
		inode->removed = true;
		orphan_commit(inode, true, &change.commit);
		inode_publish(inode);
	}
	error = change_end(&change, error);
	if (error == 0)
		*ret_inode = inode;
	else
		bd_inode_unref(inode, 1);
	return error;
}

int bd_link(struct bd_inode *inode, struct bd_inode *dir, const char *name)
{
	int error = check_name(name);
	if (error == 0 && (inode->branch != dir->branch || !bd_inode_is_head(inode)))
		error = -EXDEV;
	if (error == 0 && is_dir(inode))
		error = -EPERM;
	struct change change;
	if (error == 0)
		error = change_begin(&change, dir);
	if (error != 0)
		return error;
	uint64_t file;
	uint32_t type;
	error = entry_get(dir, name, &file, &type);
	error = error == 0 ? -EEXIST : error == -ENOENT ? 0 : error;
	if (error == 0 && is_removed(dir))
		error = -ENOENT;
	if (error == 0) {
		change_lock(&change, inode);
		if (inode->attr.nlink >= LINK_MAX) {
			error = -EMLINK;
		} else {
			if (inode->removed)
				orphan_commit(inode, false, &change.commit);
			inode->removed = false;
			inode->attr.nlink++;
			inode->attr.ctime_ns = bd_now_ns();
			bd_inode_commit(inode, &change.commit);
			names_entry_commit(dir, name, inode->file, inode->attr.mode, &change.commit);
		}
	}
	if (error == 0)
		dir_touch(&change, dir, 0);
	return change_end(&change, error);
}

/* Under names_lock: is there any name in the directory? */
static int check_empty(struct bd_inode *dir)
{
	struct bd_listing *listing;
	int error = names_list(dir, 1, &listing);
	if (error != 0)
		return error;
	error = listing->count > 0 ? -ENOTEMPTY : 0;
	bd_listing_free(listing);
	return error;
}

/* Under names_lock: take the entry and its inode's link away. */
static int remove_entry(struct change *change, const char *name, bool want_dir, struct bd_inode **ret_gone)
{
	struct bd_inode *dir = change->dir, *inode;
	uint64_t file;
	uint32_t type;
	int error = entry_get(dir, name, &file, &type);
	if (error == 0 && S_ISDIR(type) != want_dir)
		error = want_dir ? -ENOTDIR : -EISDIR;
	if (error == 0)
		error = bd_inode_get(dir->store, dir->branch, dir->view_epoch, file, &inode);
	if (error != 0)
		return error;
	if (want_dir)
		error = check_empty(inode);
	if (error == 0) {
		names_entry_commit(dir, name, 0, 0, &change->commit);
		drop_link(change, inode);
		dir_touch(change, dir, want_dir ? -1 : 0);
	}
	*ret_gone = inode;
	return error;
}

static int remove_name(struct bd_inode *dir, const char *name, bool want_dir)
{
	int error = check_name(name);
	struct change change;
	if (error == 0)
		error = change_begin(&change, dir);
	if (error != 0)
		return error == -EINVAL ? -ENOENT : error;
	struct bd_inode *gone = NULL;
	error = remove_entry(&change, name, want_dir, &gone);
	error = change_end(&change, error);
	bd_inode_unref(gone, 1);
	return error;
}

int bd_unlink(struct bd_inode *dir, const char *name)
{
	return remove_name(dir, name, false);
}

int bd_rmdir(struct bd_inode *dir, const char *name)
{
	return remove_name(dir, name, true);
}

/* ---- rename */

struct end {
	struct bd_inode *dir;
	const char *name;
	struct bd_inode *inode; /* NULL: not there */
	uint32_t type;
};

static int end_find(struct end *end)
{
	uint64_t file;
	int error = entry_get(end->dir, end->name, &file, &end->type);
	if (error == -ENOENT)
		return 0;
	if (error == 0)
		error = bd_inode_get(end->dir->store, end->dir->branch, end->dir->view_epoch, file, &end->inode);
	return error == -ENOENT ? -EUCLEAN : error;
}

/* Is `dir` the directory `file`, or below it? */
static int is_below(struct bd_inode *dir, uint64_t file, bool *ret_below)
{
	uint64_t at = dir->file;
	*ret_below = false;
	for (unsigned depth = 0; depth < 4096; depth++) {
		if (at == file) {
			*ret_below = true;
			return 0;
		}
		if (at == BD_FILE_ID_ROOT.v)
			return 0;
		struct bd_inode *inode;
		int error = bd_inode_get(dir->store, dir->branch, dir->view_epoch, at, &inode);
		if (error != 0)
			return error;
		pthread_rwlock_rdlock(&inode->lock);
		at = inode->parent;
		pthread_rwlock_unlock(&inode->lock);
		bd_inode_unref(inode, 1);
	}
	return -ELOOP;
}

static int check_rename(struct end *from, struct end *to, unsigned flags)
{
	if (from->inode == NULL || (to->inode == NULL && (flags & BD_RENAME_EXCHANGE)))
		return -ENOENT;
	if (to->inode != NULL && (flags & BD_RENAME_NOREPLACE))
		return -EEXIST;
	if (is_removed(to->dir))
		return -ENOENT;
	bool below;
	int error = 0;
	if (S_ISDIR(from->type)) {
		error = is_below(to->dir, from->inode->file, &below);
		if (error == 0 && below)
			error = -EINVAL;
	}
	if (error == 0 && (flags & BD_RENAME_EXCHANGE) && S_ISDIR(to->type)) {
		error = is_below(from->dir, to->inode->file, &below);
		if (error == 0 && below)
			error = -EINVAL;
	}
	if (error != 0 || to->inode == NULL || (flags & BD_RENAME_EXCHANGE))
		return error;
	if (S_ISDIR(to->type) != S_ISDIR(from->type))
		return S_ISDIR(to->type) ? -EISDIR : -ENOTDIR;
	return S_ISDIR(to->type) ? check_empty(to->inode) : 0;
}

/* The inode's own record after its name moved to `dir`. */
static void moved_commit(struct change *change, struct bd_inode *inode, struct bd_inode *dir)
{
	change_lock(change, inode);
	inode->attr.ctime_ns = bd_now_ns();
	if (S_ISDIR(inode->attr.mode))
		inode->parent = dir->file;
	bd_inode_commit(inode, &change->commit);
}

static void rename_commit(struct change *change, struct end *from, struct end *to, unsigned flags)
{
	struct bd_commit *commit = &change->commit;
	bool exchange = flags & BD_RENAME_EXCHANGE;
	names_entry_commit(to->dir, to->name, from->inode->file, from->type, commit);
	if (exchange)
		names_entry_commit(from->dir, from->name, to->inode->file, to->type, commit);
	else
		names_entry_commit(from->dir, from->name, 0, 0, commit);
	moved_commit(change, from->inode, to->dir);
	int gained = S_ISDIR(from->type) ? 1 : 0, lost = to->inode != NULL && S_ISDIR(to->type) ? 1 : 0;
	if (exchange)
		moved_commit(change, to->inode, from->dir);
	else if (to->inode != NULL)
		drop_link(change, to->inode);
	if (from->dir == to->dir) {
		dir_touch(change, from->dir, exchange ? 0 : -lost);
		return;
	}
	dir_touch(change, from->dir, (exchange ? lost : 0) - gained);
	dir_touch(change, to->dir, gained - lost);
}

int bd_rename(struct bd_inode *from_dir, const char *from_name, struct bd_inode *to_dir, const char *to_name,
	      unsigned flags)
{
	int error = check_name(from_name);
	if (error == 0)
		error = check_name(to_name);
	if (error == 0 && ((flags & ~3u) != 0 || flags == 3))
		error = -EINVAL;
	if (error == 0 && (from_dir->branch != to_dir->branch || from_dir->view_epoch != to_dir->view_epoch))
		error = -EXDEV;
	if (error == 0 && !is_dir(to_dir))
		error = -ENOTDIR;
	if (error != 0)
		return error;
	struct end from = {.dir = from_dir, .name = from_name}, to = {.dir = to_dir, .name = to_name};
	/* Replacing a file by one whose data is not durable yet could show neither after a crash: its data goes first. */
	struct bd_inode *source;
	if (bd_inode_is_head(from_dir) && bd_lookup(from_dir, from_name, &source) == 0) {
		struct bd_inode *target = NULL;
		if (bd_lookup(to_dir, to_name, &target) == 0 && target != source)
			error = bd_fsync(source, true);
		bd_inode_unref(target, 1);
		bd_inode_unref(source, 1);
	}
	struct change change;
	if (error == 0)
		error = change_begin(&change, from_dir);
	if (error != 0)
		return error;
	error = end_find(&from);
	if (error == 0)
		error = end_find(&to);
	bool same = error == 0 && from.inode != NULL && from.inode == to.inode && !(flags & BD_RENAME_NOREPLACE);
	if (error == 0 && !same)
		error = check_rename(&from, &to, flags);
	if (error == 0 && !same)
		rename_commit(&change, &from, &to, flags);
	error = change_end(&change, error);
	bd_inode_unref(from.inode, 1);
	bd_inode_unref(to.inode, 1);
	return error;
}

int bd_readlink(struct bd_inode *inode, char *ret_target)
{
	if (inode->symlink_target == NULL)
		return -EINVAL;
	memcpy(ret_target, inode->symlink_target, strlen(inode->symlink_target) + 1);
	return 0;
}
