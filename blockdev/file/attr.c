/* Attributes and extended attributes. */
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/file/inode.h"

/* Under inode->lock exclusive. */
static void change(struct bd_inode *inode, unsigned which, const struct bd_attr *attr)
{
	struct bd_attr *own = &inode->attr;
	if (which & BD_SET_MODE)
		own->mode = (own->mode & S_IFMT) | (attr->mode & 07777);
	if (which & BD_SET_UID)
		own->uid = attr->uid;
	if (which & BD_SET_GID)
		own->gid = attr->gid;
	if ((which & BD_KILL_PRIV) && S_ISREG(own->mode)) {
		own->mode &= ~(uint32_t)S_ISUID;
		if (own->mode & S_IXGRP)
			own->mode &= ~(uint32_t)S_ISGID;
	}
	if (which & BD_SET_ATIME)
		own->atime_ns = attr->atime_ns;
	if (which & BD_SET_MTIME)
		own->mtime_ns = attr->mtime_ns;
	own->ctime_ns = which & BD_SET_CTIME ? attr->ctime_ns : bd_now_ns();
	inode->attr_dirty = true;
	bd_inode_mark_dirty(inode);
}

/* Inside an operation: everything but the size. */
static int set_attr(struct bd_inode *inode, unsigned which, const struct bd_attr *attr, struct bd_attr *ret_attr)
{
	int error = 0;
	pthread_rwlock_wrlock(&inode->lock);
	change(inode, which, attr);
	/* Who may do what must not be newer in memory than on disk for long: it is logged at once, in order. Times are not. */
	if ((which & (BD_SET_MODE | BD_SET_UID | BD_SET_GID)) && !inode->removed) {
		struct bd_commit commit;
		uint64_t ticket;
		error = bd_commit_init(&commit);
		if (error == 0) {
			bd_inode_commit(inode, &commit);
			error = bd_commit_apply(inode->store, &commit, &ticket);
			bd_commit_free(&commit);
		}
	}
	if (error == 0 && ret_attr != NULL) {
		*ret_attr = inode->attr;
		ret_attr->blocks_512 = inode_sectors(inode);
	}
	pthread_rwlock_unlock(&inode->lock);
	return error;
}

static int set_size(struct bd_inode *inode, unsigned which, const struct bd_attr *attr, struct bd_attr *ret_attr)
{
	int error = 0;
	for (unsigned attempt = 0; inode_begin_edges(inode, attr->size_bytes, 0, &attempt, &error);) {
		pthread_rwlock_rdlock(&inode->lock);
		uint32_t mode = inode->attr.mode;
		pthread_rwlock_unlock(&inode->lock);
		error = S_ISDIR(mode) ? -EISDIR : !S_ISREG(mode) ? -EINVAL : inode_truncate(inode, attr->size_bytes);
		if (error == 0)
			error = set_attr(inode, which, attr, ret_attr);
		bd_op_end(inode);
	}
	return error;
}

int bd_setattr(struct bd_inode *inode, unsigned which, const struct bd_attr *attr, struct bd_attr *ret_attr)
{
	if ((which & BD_SET_SIZE) && attr->size_bytes > BD_FILE_SIZE_MAX)
		return -EFBIG;
	if (which & BD_SET_SIZE)
		return set_size(inode, which, attr, ret_attr);
	int error = bd_op_begin(inode);
	if (error != 0)
		return error;
	error = set_attr(inode, which, attr, ret_attr);
	bd_op_end(inode);
	return error;
}

/* Value of an 'X' key: present u8, bytes. */
static int xattr_find(struct bd_inode *inode, const char *name, uint8_t **ret_value, size_t *ret_size)
{
	uint8_t *value = malloc(1 + BD_XATTR_VALUE_MAX);
	if (value == NULL)
		return -ENOMEM;
	size_t size;
	int error = bd_chain_get(inode->store, inode_hops(inode), 'X', inode->file, name, value, 1 + BD_XATTR_VALUE_MAX,
				 &size);
	if (error == 0 && (size == 0 || value[0] == 0))
		error = size == 0 ? -EUCLEAN : -ENOENT;
	if (error != 0) {
		free(value);
		return error == -ENOENT ? -ENODATA : error;
	}
	*ret_value = value;
	*ret_size = size - 1;
	return 0;
}

static int check_xattr_name(const char *name)
{
	size_t size = strlen(name);
	return size == 0 || size > BD_NAME_MAX ? -ERANGE : 0;
}

ssize_t bd_xattr_get(struct bd_inode *inode, const char *name, void *value, size_t size)
{
	uint8_t *found;
	size_t found_size;
	int error = check_xattr_name(name);
	if (error != 0)
		return error;
	pthread_rwlock_rdlock(&inode->branch->names_lock);
	error = xattr_find(inode, name, &found, &found_size);
	pthread_rwlock_unlock(&inode->branch->names_lock);
	if (error != 0)
		return error;
	if (size != 0 && found_size > size)
		error = -ERANGE;
	if (error == 0 && size != 0)
		memcpy(value, found + 1, found_size);
	free(found);
	return error != 0 ? error : (ssize_t)found_size;
}

/* The version of one xattr at the branch's epoch, and the inode's ctime, in one commit. */
static int xattr_put(struct bd_inode *inode, const char *name, bool present, const void *bytes, size_t size)
{
	uint8_t *value = malloc(1 + size + BD_VALUE_CHECK);
	struct bd_commit commit;
	if (value == NULL)
		return -ENOMEM;
	int error = bd_commit_init(&commit);
	if (error == 0) {
		struct bd_key key;
		uint64_t ticket;
		value[0] = present;
		if (size > 0)
			memcpy(value + 1, bytes, size);
		bd_key_named(&key, 'X', inode->branch->id, inode->file, name);
		bd_key_add_epoch(&key, inode->branch->epoch);
		bd_commit_put(&commit, &key, value, 1 + size);
		pthread_rwlock_wrlock(&inode->lock);
		inode->attr.ctime_ns = bd_now_ns();
		if (!inode->removed)
			bd_inode_commit(inode, &commit);
		error = bd_commit_apply(inode->store, &commit, &ticket);
		pthread_rwlock_unlock(&inode->lock);
		bd_commit_free(&commit);
	}
	free(value);
	return error;
}

/* `value` NULL: it goes. */
static int xattr_change(struct bd_inode *inode, const char *name, const void *value, size_t size, unsigned flags)
{
	int error = bd_op_begin(inode);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&inode->branch->names_lock);
	uint8_t *old = NULL;
	size_t old_size;
	error = xattr_find(inode, name, &old, &old_size);
	if (error == 0 && (flags & BD_XATTR_CREATE))
		error = -EEXIST;
	else if (error == -ENODATA && !(flags & BD_XATTR_REPLACE))
		error = 0;
	if (error == 0)
		error = xattr_put(inode, name, value != NULL, value, size);
	pthread_rwlock_unlock(&inode->branch->names_lock);
	bd_op_end(inode);
	free(old);
	return error;
}

int bd_xattr_set(struct bd_inode *inode, const char *name, const void *value, size_t size, unsigned flags)
{
	int error = check_xattr_name(name);
	if (error == 0 && size > BD_XATTR_VALUE_MAX)
		error = -E2BIG;
	if (error == 0 && ((flags & ~3u) != 0 || flags == 3))
		error = -EINVAL;
	return error != 0 ? error : xattr_change(inode, name, value != NULL ? value : "", size, flags);
}

int bd_xattr_remove(struct bd_inode *inode, const char *name)
{
	int error = check_xattr_name(name);
	return error != 0 ? error : xattr_change(inode, name, NULL, 0, BD_XATTR_REPLACE);
}

struct name_list {
	char *names;	/* all met so far, NUL-terminated, shadowed and removed ones included */
	bool *present;
	size_t count, size;
};

static bool is_known(const struct name_list *list, const char *name)
{
	const char *at = list->names;
	for (size_t i = 0; i < list->count; i++, at += strlen(at) + 1) {
		if (strcmp(at, name) == 0)
			return true;
	}
	return false;
}

static int list_add(struct name_list *list, const char *name, bool present)
{
	size_t size = strlen(name) + 1;
	char *names = realloc(list->names, list->size + size);
	if (names == NULL)
		return -ENOMEM;
	list->names = names;
	bool *flags = realloc(list->present, (list->count + 1) * sizeof(bool));
	if (flags == NULL)
		return -ENOMEM;
	list->present = flags;
	memcpy(list->names + list->size, name, size);
	list->size += size;
	list->present[list->count++] = present;
	return 0;
}

static int list_hop(struct bd_inode *inode, struct bd_index_iter *iter, const struct bd_hop *hop, struct name_list *list)
{
	struct bd_key from;
	bd_key_file_prefix(&from, 'X', hop->branch, inode->file);
	size_t prefix = from.size;
	for (bd_index_iter_seek(iter, &from, prefix); bd_index_iter_valid(iter); bd_index_iter_next(iter)) {
		size_t key_size, raw_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &raw_size);
		if (key_size < prefix + 2 + 4 || key[key_size - 5] != '\0')
			return -EUCLEAN;
		const char *name = (const char *)key + prefix;
		if (bd_key_epoch(key, key_size) > hop->epoch || is_known(list, name))
			continue;
		int error = bd_value_check(key, key_size, value, raw_size, &size);
		if (error == 0)
			error = list_add(list, name, size > 0 && value[0] != 0);
		if (error != 0)
			return error;
	}
	return bd_index_iter_status(iter);
}

ssize_t bd_xattr_list(struct bd_inode *inode, char *names, size_t size)
{
	struct bd_index_iter *iter = bd_index_iter_new(inode->store->index);
	if (iter == NULL)
		return -ENOMEM;
	struct name_list list = {0};
	struct bd_hops hops = inode_hops(inode);
	struct bd_hop hop;
	int error = 0;
	pthread_rwlock_rdlock(&inode->branch->names_lock);
	for (unsigned i = 0; error == 0 && bd_hop_at(&hops, i, &hop); i++)
		error = list_hop(inode, iter, &hop, &list);
	pthread_rwlock_unlock(&inode->branch->names_lock);
	bd_index_iter_free(iter);
	ssize_t total = 0;
	const char *at = list.names;
	for (size_t i = 0; error == 0 && i < list.count; i++, at += strlen(at) + 1) {
		size_t n = strlen(at) + 1;
		if (!list.present[i])
			continue;
		if (size != 0 && (size_t)total + n > size)
			error = -ERANGE;
		else if (size != 0)
			memcpy(names + total, at, n);
		total += (ssize_t)n;
	}
	free(list.names);
	free(list.present);
	return error != 0 ? error : total;
}
