/* file://: a directory as an object store. See dir.h for what is where. Each request is done in `start`, on the client's thread. */
#include "blockdev/tier/object/dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------- get, head */

/* The object's file; a directory of that name is no object. -errno. */
static int open_object(struct dir_backend *dir, struct ob_op *op, struct stat *ret_status)
{
	int error = 0;
	int fd = openat(dir->root_fd, op->key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -ENOENT : -errno;
	if (fstat(fd, ret_status) != 0)
		error = errno;
	else if (!S_ISREG(ret_status->st_mode))
		error = ENOENT;
	if (error != 0) {
		close(fd);
		return -error;
	}
	op->object_size = (uint64_t)ret_status->st_size;
	op->modified_s = ret_status->st_mtim.tv_sec;
	dir_etag(ret_status, op->etag);
	return fd;
}

static bool read_range(struct dir_backend *dir, struct ob_task *task, int fd)
{
	struct ob_client *client = dir->base.client;
	struct ob_op *op = task->op;
	op->got = 0;
	while (op->got < op->size && op->offset + op->got < op->object_size) {
		uint64_t want = ob_pace(client, task, &client->receive, NF_MIN(op->size - op->got, DIR_CHUNK));
		if (want == 0) {
			ob_tried(client, task, OB_SLOW, "%s: given up while it was read", op->key);
			return false;
		}
		ssize_t count = pread(fd, (uint8_t *)op->buf + op->got, want, (off_t)(op->offset + op->got));
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0) {
			/* A file with a name has its final size: one that ends early was cut by somebody else. */
			dir_fail(dir, task, count < 0 ? errno : EIO, "read");
			return false;
		}
		op->got += (uint64_t)count;
		ob_count_received(client, (uint64_t)count);
	}
	return true;
}

static void get(struct dir_backend *dir, struct ob_task *task)
{
	struct ob_op *op = task->op;
	struct stat status;
	int fd = open_object(dir, op, &status);
	if (fd < 0) {
		dir_fail(dir, task, -fd, "get");
		return;
	}
	if (op->expect_etag != NULL && strcmp(op->etag, op->expect_etag) != 0)
		ob_tried(dir->base.client, task, OB_PRECONDITION, "%s is another version", op->key);
	else if (read_range(dir, task, fd))
		ob_tried(dir->base.client, task, OB_OK, "%s", "");
	close(fd);
}

static void head(struct dir_backend *dir, struct ob_task *task)
{
	struct stat status;
	int fd = open_object(dir, task->op, &status);
	if (fd < 0) {
		dir_fail(dir, task, -fd, "head");
		return;
	}
	close(fd);
	ob_tried(dir->base.client, task, OB_OK, "%s", "");
}

/* ---------------------------------------------------------------- delete */

/* Directories of `key` that are empty now go too. Under ~lock, so nobody is about to put something into them. */
static void remove_parents(struct dir_backend *dir, const char *key)
{
	char path[OB_KEY_MAX + 1];
	char *slash;
	snprintf(path, sizeof(path), "%s", key);
	while ((slash = strrchr(path, '/')) != NULL) {
		*slash = '\0';
		if (unlinkat(dir->root_fd, path, AT_REMOVEDIR) != 0)
			return;
	}
}

/* Under ~lock. 0 also when there is no such object. */
static int remove_name(struct dir_backend *dir, const char *key)
{
	const char *leaf;
	struct stat status;
	int parent = dir_open_parent(dir, key, false, &leaf);
	if (parent < 0)
		return parent == -ENOENT || parent == -ENOTDIR ? 0 : -parent;
	int error = fstatat(parent, leaf, &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
	if (error == 0 && !S_ISDIR(status.st_mode)) {
		error = unlinkat(parent, leaf, 0) == 0 ? 0 : errno;
		if (error == 0 && fsync(parent) != 0)
			error = errno;
		if (error == 0)
			remove_parents(dir, key);
	}
	close(parent);
	return error == ENOENT ? 0 : error;
}

static void delete (struct dir_backend *dir, struct ob_task *task)
{
	int error = dir_lock(dir);
	if (error == 0) {
		error = remove_name(dir, task->op->key);
		flock(dir->lock_fd, LOCK_UN);
	}
	if (error != 0)
		dir_fail(dir, task, error, "delete");
	else
		ob_tried(dir->base.client, task, OB_OK, "%s", "");
}

/* --------------------------------------------------------------- backend */

static void dir_start(struct ob_backend *backend, struct ob_task *task)
{
	struct dir_backend *dir = (struct dir_backend *)backend;
	switch (task->op->kind) {
	case OB_PUT: dir_put(dir, task); break;
	case OB_GET: get(dir, task); break;
	case OB_HEAD: head(dir, task); break;
	case OB_LIST: dir_list(dir, task); break;
	case OB_DELETE: delete (dir, task); break;
	default: dir_multi(dir, task); break;
	}
}

static void dir_abort(struct ob_backend *backend NF_UNUSED, struct ob_task *task NF_UNUSED)
{
	assert(!"a request of file:// has ended when start returns");
}

static void dir_wait(struct ob_backend *backend, int64_t until_ns)
{
	ob_sleeper_wait(&((struct dir_backend *)backend)->sleeper, until_ns);
}

static void dir_wake(struct ob_backend *backend)
{
	ob_sleeper_wake(&((struct dir_backend *)backend)->sleeper);
}

static void dir_destroy(struct ob_backend *backend)
{
	struct dir_backend *dir = (struct dir_backend *)backend;
	const int descriptors[] = {dir->root_fd, dir->tmp_fd, dir->lock_fd};
	for (unsigned i = 0; i < NF_ARRAY_LEN(descriptors); i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	ob_sleeper_destroy(&dir->sleeper);
	free(dir);
}

static const struct ob_backend_class dir_class = {
	.start = dir_start, .abort = dir_abort, .wait = dir_wait, .wake = dir_wake, .destroy = dir_destroy};

/* What a process that died was writing. A young one may be another process's. */
static void remove_stale(struct dir_backend *dir)
{
	int fd = openat(dir->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	struct stat status;
	if (stream == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(stream)) != NULL)
		if (fstatat(dir->tmp_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
		    status.st_mtim.tv_sec + DIR_STALE_S < time(NULL))
			unlinkat(dir->tmp_fd, entry->d_name, 0);
	closedir(stream);
}

static int open_places(struct dir_backend *dir, const char *path, char *message, size_t message_size)
{
	dir->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->root_fd < 0) {
		int rc = -errno;
		snprintf(message, message_size, "%s: %s%s", path, strerror(-rc), rc == -ENOENT ? "; make it first" : "");
		return rc;
	}
	if (mkdirat(dir->root_fd, DIR_TMP, 0700) == 0 || errno == EEXIST)
		dir->tmp_fd = openat(dir->root_fd, DIR_TMP, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir->tmp_fd >= 0)
		dir->lock_fd = openat(dir->root_fd, DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (dir->lock_fd < 0) {
		int rc = -errno;
		snprintf(message, message_size, "%s: cannot make what it needs in there: %s", path, strerror(-rc));
		return rc;
	}
	remove_stale(dir);
	return 0;
}

int ob_dir_open(struct ob_client *client, const char *path, struct ob_backend **ret_backend, char *message, size_t message_size)
{
	if (path[0] != '/') {
		snprintf(message, message_size, "file:// wants an absolute path, as in file:///srv/objects");
		return -EINVAL;
	}
	struct dir_backend *dir = calloc(1, sizeof(*dir));
	if (dir == NULL) {
		snprintf(message, message_size, "out of memory");
		return -ENOMEM;
	}
	dir->base = (struct ob_backend){.class = &dir_class, .client = client, .parallel_max = 1};
	snprintf(dir->base.place, sizeof(dir->base.place), "file://%s", path);
	dir->root_fd = dir->tmp_fd = dir->lock_fd = dir->sleeper.event_fd = -1;
	int rc = open_places(dir, path, message, message_size);
	if (rc == 0 && (rc = ob_sleeper_init(&dir->sleeper)) != 0)
		snprintf(message, message_size, "no event descriptor: %s", strerror(-rc));
	if (rc != 0) {
		dir_destroy(&dir->base);
		return rc;
	}
	*ret_backend = &dir->base;
	return 0;
}
