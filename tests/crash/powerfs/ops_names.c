/* FUSE requests for names: create, link, rename, remove, list. Each is one change in the log (names.c) until its directory is synced. */
#include "ops.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	if (!op_enter(req))
		return;
	fuse_reply_readlink(req, op_node(ino)->target);
	op_leave();
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
		op_touch_locked(dir);
		err = op_fill_entry(node, ret_entry);
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

	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = make_node(req, op_node(parent), name, mode, rdev, target, &node, &entry);
	pthread_mutex_unlock(&pf.names);
	op_leave_entry(req, err, &entry);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make_and_reply(req, parent, name, mode, rdev, NULL);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make_and_reply(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0, NULL);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make_and_reply(req, parent, name, S_IFLNK | 0777, 0, target);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct pf_node *node;
	int err;

	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = make_node(req, op_node(parent), name, (mode & ~(mode_t)S_IFMT) | S_IFREG, 0, NULL, &node, &entry);
	if (!err)
		pf_node_ref(node, 1);
	pthread_mutex_unlock(&pf.names);
	fi->keep_cache = 1;
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_create(req, &entry, fi);
	op_leave();
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct pf_node *dir = op_node(parent), *node;
	int err;

	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	node = pf_lookup(dir, name);
	err = pf_fault(PF_FAULT_NAMES);
	if (!err)
		err = !node ? -ENOENT : S_ISDIR(node->mode) ? -EISDIR : pf_change_one(dir, name, NULL, NULL);
	pthread_mutex_unlock(&pf.names);
	op_leave_err(req, err);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct pf_node *dir = op_node(parent), *node;
	int err;

	if (!op_enter(req))
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
	op_leave_err(req, err);
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

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned flags)
{
	int err;

	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = rename_locked(op_node(parent), name, op_node(new_parent), new_name, flags);
	pthread_mutex_unlock(&pf.names);
	op_leave_err(req, err);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct pf_node *dir = op_node(new_parent), *node = op_node(ino);
	struct fuse_entry_param entry;
	int err;

	if (!op_enter(req))
		return;
	pthread_mutex_lock(&pf.names);
	err = pf_fault(PF_FAULT_NAMES);
	if (!err)
		err = pf_lookup(dir, new_name) ? -EEXIST : pf_change_one(dir, new_name, node, NULL);
	if (!err)
		err = op_fill_entry(node, &entry);
	pthread_mutex_unlock(&pf.names);
	op_leave_entry(req, err, &entry);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only NF_UNUSED, struct fuse_file_info *fi NF_UNUSED)
{
	int err;

	if (!op_enter(req))
		return;
	err = pf_fault(PF_FAULT_NAMES);
	if (!err && !pf.ignore_fsync) {
		pthread_mutex_lock(&pf.names);
		pf_sync_dir(op_node(ino));
		if (pf.fsync_names)
			pf_sync_names_of(op_node(ino));
		pthread_mutex_unlock(&pf.names);
	}
	op_leave_err(req, err);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi NF_UNUSED)
{
	struct pf_node *dir = op_node(ino);
	char *buf = malloc(size);
	size_t used = 0, need = 0;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!op_enter(req)) {
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
	op_leave();
}
