/* Handlers for directories: opendir, readdir, readdirplus, fsyncdir.
 *
 * A handle takes the whole listing when it is first read, and again when it is rewound to the start, so names neither
 * repeat nor go missing while others create and unlink in between. A name unlinked since is still shown, as
 * POSIX allows. Positions: 0 ".", 1 "..", 2 + i entry i of the listing; an entry's offset is its successor's. */
#include <stdlib.h>

#include "fs/fs_internal.h"

/* The smallest entry with attributes in a READDIRPLUS reply: 128 bytes of node id and attributes, 24 of the name's head. */
#define DIRENTPLUS_MIN 152

/* One reply under construction. Entries with attributes hand the kernel a reference each. */
struct dir_reply {
	struct fs_call *call;
	struct fs_handle *handle;
	bool plus;
	char *buf;
	size_t size, used;
	struct bd_inode **given; /* inodes entered into this reply, to be taken back if it is not delivered */
	size_t given_count;
};

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_OPENDIR);
	struct fs_handle *handle;

	if (ino != FUSE_ROOT_ID && fs_tree_is_door(call.fs, fs_inode(ino))) {
		fs_tree_serve(&call, fs_inode(ino), NULL, fi);
		return;
	}
	int err = fs_handle_open(call.fs, ino != FUSE_ROOT_ID ? fs_inode(ino) : NULL, 0, &handle);

	if (err != 0) {
		fs_reply_result(&call, err);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)handle;
	if (fuse_reply_open(req, fi) != 0)
		fs_handle_close(call.fs, handle);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_RELEASEDIR);
	(void)ino;
	fs_handle_close(call.fs, fs_handle(fi));
	fs_reply_result(&call, 0);
}

static int listing_load(struct fs *fs, struct fs_handle *handle)
{
	struct bd_listing *listing;
	int err;

	if (handle->inode == NULL) {
		err = fs_root_listing(fs, &listing);
		if (err == 0)
			free(handle->listing);
	} else {
		err = bd_readdir(handle->inode, &listing);
		if (err == 0 && handle->listing != NULL)
			bd_listing_free(handle->listing);
	}
	if (err == 0)
		handle->listing = listing;
	return err;
}

/* The parent's number for "..": of a branch's root, the mount's root. */
static ino_t parent_ino(struct bd_inode *dir)
{
	struct bd_attr attr;
	struct bd_inode *parent;
	struct bd_view view = bd_inode_view(dir);

	bd_inode_attr(dir, &attr);
	if (attr.file.v == BD_FILE_ID_ROOT.v || bd_lookup_parent(dir, &parent) != 0)
		return FUSE_ROOT_ID;
	bd_inode_attr(parent, &attr);
	bd_inode_unref(parent, 1);
	return fs_ino(view, attr.file);
}

/* Add an entry without attributes. Returns false when it does not fit. */
static bool add_plain(struct dir_reply *reply, const char *name, ino_t ino, mode_t type, off_t next)
{
	fuse_req_t req = reply->call->req;
	char *at = reply->buf + reply->used;
	size_t left = reply->size - reply->used;
	size_t needed;

	if (reply->plus) {
		/* No node id: the kernel takes name and type and asks when it needs more. */
		struct fuse_entry_param entry = {.attr = {.st_ino = ino, .st_mode = type}};
		needed = fuse_add_direntry_plus(req, at, left, name, &entry, next);
	} else {
		struct stat st = {.st_ino = ino, .st_mode = type};
		needed = fuse_add_direntry(req, at, left, name, &st, next);
	}
	if (needed > left)
		return false;
	reply->used += needed;
	return true;
}

/* Add an entry with attributes and a reference. Returns false when it does not fit. */
static bool add_full(struct dir_reply *reply, const char *name, struct bd_inode *inode, fuse_ino_t node_id, double timeout_s,
		     off_t next)
{
	size_t left = reply->size - reply->used;
	struct fuse_entry_param entry = {
		.ino = node_id,
		.attr_timeout = fs_timeout_s(inode),
		.entry_timeout = timeout_s,
	};

	fs_stat_inode(reply->call->fs, inode, &entry.attr);
	size_t needed = fuse_add_direntry_plus(reply->call->req, reply->buf + reply->used, left, name, &entry, next);
	if (needed > left)
		return false;
	reply->used += needed;
	reply->given[reply->given_count++] = inode;
	return true;
}

/* Add entry `index` of the listing. Returns false when the reply is full. */
static bool add_entry(struct dir_reply *reply, size_t index)
{
	const struct bd_dirent *dirent = &reply->handle->listing->entries[index];
	struct bd_inode *dir = reply->handle->inode, *inode;
	struct fs *fs = reply->call->fs;
	fuse_ino_t node_id;
	off_t next = (off_t)index + 3;
	int err = -ENOENT;

	if (reply->plus)
		err = dir != NULL ? bd_lookup(dir, dirent->name, &inode) : fs_root_lookup(fs, dirent->name, &inode);
	if (err == 0 && fs_node_enter(fs, inode, &node_id) != 0) {
		bd_inode_unref(inode, 1);
		err = -ENOMEM;
	}
	if (err != 0) { /* not asked for, gone since the listing, or not to be had now: the name alone */
		ino_t ino = dir != NULL ? fs_ino(bd_inode_view(dir), dirent->file) : dirent->file.v;
		return add_plain(reply, dirent->name, ino, dirent->type, next);
	}
	if (!add_full(reply, dirent->name, inode, node_id, dir != NULL ? fs_timeout_s(inode) : FS_ROOT_TIMEOUT_S, next)) {
		fs_node_forget(fs, inode, 1);
		return false;
	}
	return true;
}

static void fill(struct dir_reply *reply, uint64_t position)
{
	struct bd_inode *dir = reply->handle->inode;
	const struct bd_listing *listing = reply->handle->listing;
	struct stat self;

	if (dir != NULL)
		fs_stat_inode(reply->call->fs, dir, &self);
	else
		fs_root_stat(reply->call->fs, &self);
	if (position == 0 && add_plain(reply, ".", self.st_ino, S_IFDIR, 1))
		position++;
	if (position == 1 && add_plain(reply, "..", dir != NULL ? parent_ino(dir) : self.st_ino, S_IFDIR, 2))
		position++;
	while (position >= 2 && position - 2 < listing->count && add_entry(reply, position - 2))
		position++;
}

static void read_dir(struct fs_call *call, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
	struct dir_reply reply = {.call = call, .handle = fs_handle(fi), .plus = plus};
	int err = 0;

	reply.size = NF_MIN(size, FS_MAX_IO_BYTES);
	reply.buf = malloc(reply.size);
	reply.given = plus ? calloc(reply.size / DIRENTPLUS_MIN + 1, sizeof(*reply.given)) : NULL;
	if (reply.buf == NULL || (plus && reply.given == NULL)) {
		err = -ENOMEM;
		goto out;
	}
	pthread_mutex_lock(&reply.handle->listing_lock);
	if (offset == 0 || reply.handle->listing == NULL)
		err = listing_load(call->fs, reply.handle);
	if (err == 0)
		fill(&reply, (uint64_t)offset);
	pthread_mutex_unlock(&reply.handle->listing_lock);
	if (err == 0 && fuse_reply_buf(call->req, reply.buf, reply.used) != 0) {
		for (size_t i = 0; i < reply.given_count; i++)
			fs_node_forget(call->fs, reply.given[i], 1);
	}
out:
	if (err != 0)
		fs_reply_result(call, err);
	free(reply.given);
	free(reply.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_READDIR);
	(void)ino;
	read_dir(&call, size, offset, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_READDIRPLUS);
	(void)ino;
	read_dir(&call, size, offset, fi, true);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	FS_CALL(req, FS_OP_FSYNCDIR);
	(void)fi;
	fs_reply_result(&call, ino != FUSE_ROOT_ID ? bd_fsync(fs_inode(ino), data_only != 0) : bd_store_sync(call.fs->store));
}

void fs_add_dir_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->releasedir = op_releasedir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->fsyncdir = op_fsyncdir;
}
