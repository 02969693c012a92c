/* Putting into a directory: written beside, synced, and given its name under the lock and the op's conditions. See dir.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/object/dir.h"

enum ob_error dir_error(int error)
{
	switch (error) {
	case ENOENT: return OB_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS: return OB_FORBIDDEN;
	case ENOSPC:
	case EDQUOT: return OB_FULL;
	case ENOTDIR:
	case EISDIR:
	case ENOTEMPTY:
	case ELOOP: return OB_INVALID; /* one key below another */
	default: return OB_LOCAL;
	}
}

void dir_fail(struct dir_backend *dir, struct ob_task *task, int error, const char *what)
{
	if (dir_error(error) == OB_INVALID)
		ob_tried(dir->base.client, task, OB_INVALID, "%s: in a directory no key can lie below another", task->op->key);
	else
		ob_tried(dir->base.client, task, dir_error(error), "%s: %s: %s", task->op->key, what, strerror(error));
}

void dir_etag(const struct stat *status, char etag[OB_ETAG_MAX])
{
	snprintf(etag, OB_ETAG_MAX, "%llx-%llx.%lx-%llx", (unsigned long long)status->st_ino,
		 (unsigned long long)status->st_mtim.tv_sec, status->st_mtim.tv_nsec, (unsigned long long)status->st_size);
}

int dir_make_tmp(struct dir_backend *dir, const char *start, const char *end, char name[DIR_NAME_MAX])
{
	uint64_t random;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -errno;
	snprintf(name, DIR_NAME_MAX, "%s%016llx%s", start, (unsigned long long)random, end);
	int fd = openat(dir->tmp_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd >= 0 ? fd : -errno;
}

bool dir_write(struct dir_backend *dir, struct ob_task *task, int fd, uint64_t at)
{
	struct ob_client *client = dir->base.client;
	const uint8_t *data = task->op->data;
	uint64_t done = 0;
	while (done < task->op->size) {
		uint64_t want = ob_pace(client, task, &client->send, NF_MIN(task->op->size - done, DIR_CHUNK));
		if (want == 0) {
			ob_tried(client, task, OB_SLOW, "%s: given up while it was written", task->op->key);
			return false;
		}
		ssize_t written = pwrite(fd, data + done, want, (off_t)(at + done));
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0) {
			dir_fail(dir, task, written < 0 ? errno : EIO, "write");
			return false;
		}
		done += (uint64_t)written;
		ob_count_sent(client, (uint64_t)written);
	}
	return true;
}

int dir_open_parent(struct dir_backend *dir, const char *key, bool make, const char **ret_leaf)
{
	int fd = openat(dir->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *slash;
	for (; fd >= 0 && (slash = strchr(key, '/')) != NULL; key = slash + 1) {
		char part[OB_KEY_MAX + 1];
		memcpy(part, key, (size_t)(slash - key));
		part[slash - key] = '\0';
		int error = 0;
		if (make && mkdirat(fd, part, 0700) == 0)
			error = fsync(fd) == 0 ? 0 : errno;
		else if (make && errno != EEXIST)
			error = errno;
		int next = error == 0 ? openat(fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
		if (next < 0 && error == 0)
			error = errno;
		close(fd);
		if (error != 0)
			return -error;
		fd = next;
	}
	*ret_leaf = key;
	return fd >= 0 ? fd : -errno;
}

/* Does the op's condition hold for what `parent` has? 0; or an errno, EEXIST for a condition that does not. */
static int check_condition(const struct ob_op *op, int parent, const char *leaf)
{
	struct stat status;
	char etag[OB_ETAG_MAX];
	if (fstatat(parent, leaf, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? (op->if_match != NULL ? EEXIST : 0) : errno;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	dir_etag(&status, etag);
	if (op->if_none_match || (op->if_match != NULL && strcmp(etag, op->if_match) != 0))
		return EEXIST;
	return 0;
}

/* Under ~lock. */
static int give_name(struct dir_backend *dir, struct ob_op *op, const char *name, bool *ret_named)
{
	const char *leaf;
	int parent = dir_open_parent(dir, op->key, true, &leaf);
	if (parent < 0)
		return -parent;
	int error = check_condition(op, parent, leaf);
	/* Linked, not renamed, where it must be new: so nothing is replaced even by who does not know of the lock. */
	if (error == 0 && op->if_none_match) {
		error = linkat(dir->tmp_fd, name, parent, leaf, 0) == 0 ? 0 : errno;
		*ret_named = error == 0;
		if (error == 0)
			unlinkat(dir->tmp_fd, name, 0);
	} else if (error == 0) {
		error = renameat(dir->tmp_fd, name, parent, leaf) == 0 ? 0 : errno;
		*ret_named = error == 0;
	}
	if (error == 0 && fsync(parent) != 0)
		error = errno;
	close(parent);
	return error;
}

int dir_lock(struct dir_backend *dir)
{
	while (flock(dir->lock_fd, LOCK_EX) != 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

void dir_publish(struct dir_backend *dir, struct ob_task *task, const char *name, int fd)
{
	struct ob_op *op = task->op;
	struct timespec times[2];
	struct stat status;
	bool named = false;
	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[1] = times[0];
	int error = futimens(fd, times) == 0 && fsync(fd) == 0 && fstat(fd, &status) == 0 ? 0 : errno;
	if (error == 0)
		error = dir_lock(dir);
	if (error == 0) {
		error = give_name(dir, op, name, &named);
		flock(dir->lock_fd, LOCK_UN);
	}
	if (!named)
		unlinkat(dir->tmp_fd, name, 0);
	/* A directory that cannot be synced: the object has its name now, and may lose it again. */
	task->maybe_done = named && error != 0;
	if (error == EEXIST) {
		ob_tried(dir->base.client, task, OB_PRECONDITION, "%s is not in the state that the put asks for", op->key);
	} else if (error != 0) {
		dir_fail(dir, task, error == ENOENT ? EIO : error, "put");
	} else {
		dir_etag(&status, op->etag);
		op->object_size = (uint64_t)status.st_size;
		ob_tried(dir->base.client, task, OB_OK, "%s", "");
	}
}

void dir_put(struct dir_backend *dir, struct ob_task *task)
{
	char name[DIR_NAME_MAX];
	int fd = dir_make_tmp(dir, "p-", "", name);
	if (fd < 0) {
		dir_fail(dir, task, fd == -ENOENT ? EIO : -fd, "put");
		return;
	}
	if (dir_write(dir, task, fd, 0))
		dir_publish(dir, task, name, fd);
	else
		unlinkat(dir->tmp_fd, name, 0);
	close(fd);
}
