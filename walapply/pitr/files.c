/* Small things done to files of the store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "walapply/pitr/history_impl.h"

int wh_path(struct bd_store *store, struct bd_view view, const char *path, struct bd_inode **ret_inode)
{
	struct bd_inode *at, *next;
	char name[BD_NAME_MAX + 1];
	int error = bd_root(store, view, &at);
	while (error == 0 && *path != '\0') {
		size_t size = strcspn(path, "/");
		if (size > BD_NAME_MAX) {
			bd_inode_unref(at, 1);
			return -ENAMETOOLONG;
		}
		memcpy(name, path, size);
		name[size] = '\0';
		path += size + (path[size] == '/');
		error = bd_lookup(at, name, &next);
		bd_inode_unref(at, 1);
		at = next;
	}
	if (error == 0)
		*ret_inode = at;
	return error;
}

int wh_read(struct bd_inode *file, size_t max, uint8_t **ret_bytes, size_t *ret_size)
{
	struct bd_attr attr;
	bd_inode_attr(file, &attr);
	if (!S_ISREG(attr.mode))
		return -EINVAL;
	if (attr.size_bytes > max)
		return -EFBIG;
	size_t size = (size_t)attr.size_bytes;
	uint8_t *bytes = nf_io_buffer(nf_round_up(size + 1, NF_BLOCK_SIZE));
	if (bytes == NULL)
		return -ENOMEM;
	ssize_t got = size > 0 ? bd_read(file, 0, bytes, size) : 0;
	if (got != (ssize_t)size) {
		free(bytes);
		return got < 0 ? (int)got : -EIO;
	}
	bytes[size] = '\0';
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

uint64_t wh_size(struct bd_inode *dir, const char *name)
{
	struct bd_inode *file;
	struct bd_attr attr;
	if (bd_lookup(dir, name, &file) != 0)
		return 0;
	bd_inode_attr(file, &attr);
	bd_inode_unref(file, 1);
	return attr.size_bytes;
}

/* A new file beside `name`, whose name is written to `fresh` (BD_NAME_MAX + 1). */
static int make_fresh(struct bd_inode *dir, const char *name, uint32_t mode, char *fresh, struct bd_inode **ret_file)
{
	const struct bd_create how = {.mode = S_IFREG | mode, .uid = geteuid(), .gid = getegid()};
	snprintf(fresh, BD_NAME_MAX + 1, "%.200s.new", name);
	int error = bd_unlink(dir, fresh); /* left by one that was interrupted */
	return error != 0 && error != -ENOENT ? error : bd_create(dir, fresh, &how, ret_file);
}

/* The file is complete: put it in its place. Takes over the reference. */
static int put_in_place(struct bd_inode *file, struct bd_inode *dir, const char *fresh, const char *name, int error)
{
	if (error == 0)
		error = bd_fsync(file, false);
	if (error == 0)
		error = bd_rename(dir, fresh, dir, name, 0);
	if (error == 0)
		error = bd_fsync(dir, false);
	else if (bd_unlink(dir, fresh) != 0)
		error = error == 0 ? -EIO : error; /* the next one clears it */
	bd_inode_unref(file, 1);
	return error;
}

int wh_write(struct bd_inode *dir, const char *name, uint32_t mode, const void *bytes, size_t size)
{
	char fresh[BD_NAME_MAX + 1];
	struct bd_inode *file;
	int error = make_fresh(dir, name, mode, fresh, &file);
	if (error != 0)
		return error;
	error = size > 0 ? bd_write(file, 0, bytes, size, 0) : 0;
	return put_in_place(file, dir, fresh, name, error);
}

int wh_clone(struct bd_inode *from, struct bd_inode *dir, const char *name, uint32_t mode)
{
	char fresh[BD_NAME_MAX + 1];
	struct bd_inode *file;
	struct bd_attr attr;
	bd_inode_attr(from, &attr);
	int error = make_fresh(dir, name, mode, fresh, &file);
	if (error != 0)
		return error;
	for (uint64_t done = 0; error == 0 && done < attr.size_bytes;) {
		ssize_t n = bd_clone_range(from, done, file, done, attr.size_bytes - done);
		if (n <= 0)
			error = n < 0 ? (int)n : -EIO;
		else
			done += (uint64_t)n;
	}
	return put_in_place(file, dir, fresh, name, error);
}

int wh_directory(struct bd_inode *dir, const char *name, struct bd_inode **ret_dir)
{
	const struct bd_create how = {.mode = S_IFDIR | 0700, .uid = geteuid(), .gid = getegid()};
	int error = bd_lookup(dir, name, ret_dir);
	if (error != -ENOENT)
		return error;
	error = bd_create(dir, name, &how, ret_dir);
	return error == -EEXIST ? bd_lookup(dir, name, ret_dir) : error;
}

static int remove_entries(struct bd_inode *dir)
{
	struct bd_listing *listing;
	int error = bd_readdir(dir, &listing);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		const char *name = listing->entries[i].name;
		error = listing->entries[i].type == S_IFDIR ? wh_remove(dir, name) : bd_unlink(dir, name);
		if (error == -ENOENT)
			error = 0;
	}
	bd_listing_free(listing);
	return error;
}

int wh_remove(struct bd_inode *dir, const char *name)
{
	struct bd_inode *child;
	int error = bd_lookup(dir, name, &child);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = remove_entries(child);
	bd_inode_unref(child, 1);
	return error == 0 ? bd_rmdir(dir, name) : error;
}

int wh_root(struct bd_store *store, bool make, struct bd_inode **ret_root)
{
	struct bd_branch_info info;
	int error = bd_branch_find(store, WA_HISTORY_BRANCH, &info);
	if (error == -ENOENT && make) {
		error = bd_branch_create_empty(store, WA_HISTORY_BRANCH, geteuid(), getegid(), &info);
		if (error == -EEXIST)
			error = bd_branch_find(store, WA_HISTORY_BRANCH, &info);
	}
	return error == 0 ? bd_root(store, wh_head(info.id), ret_root) : error;
}
