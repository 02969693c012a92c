/* Uploads in parts, in a directory: one file in ~tmp, each part written at its place and synced. The id of an upload is the file's name,
 * which says what it is for; the etag of a part says its number and size, so an end that names the parts proves that they are there. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "blockdev/tier/object/dir.h"

static void name_end(const struct ob_op *op, char end[64])
{
	snprintf(end, 64, "-%llx-%016llx", (unsigned long long)op->part_size,
		 (unsigned long long)XXH3_64bits(op->key, strlen(op->key)));
}

static void fail(struct dir_backend *dir, struct ob_task *task, int error, const char *what)
{
	if (error == ENOENT)
		ob_tried(dir->base.client, task, OB_NOT_FOUND, "%s: there is no such upload", task->op->key);
	else
		ob_tried(dir->base.client, task, dir_error(error), "%s: %s: %s", task->op->key, what, strerror(error));
}

/* Is this an id that `begin` could have made for this key and part size? It becomes a file name. */
static bool id_fits(const struct ob_op *op)
{
	char end[64];
	size_t size = strlen(op->upload);
	name_end(op, end);
	if (size != 2 + 16 + strlen(end) || memcmp(op->upload, "u-", 2) != 0)
		return false;
	return strspn(op->upload + 2, "0123456789abcdef") == 16 && strcmp(op->upload + 18, end) == 0;
}

/* An abort does not know the size of parts: only the hash of the key has to fit. */
static bool abort_id_fits(const struct ob_op *op)
{
	char end[64];
	size_t size = strlen(op->upload);
	name_end(op, end);
	return size > 18 && size < DIR_NAME_MAX && memcmp(op->upload, "u-", 2) == 0 &&
	       strspn(op->upload + 2, "0123456789abcdef-") == size - 2 && size >= 17 &&
	       strcmp(op->upload + size - 17, strrchr(end, '-')) == 0;
}

static void begin(struct dir_backend *dir, struct ob_task *task)
{
	char name[DIR_NAME_MAX], end[64];
	name_end(task->op, end);
	int fd = dir_make_tmp(dir, "u-", end, name);
	if (fd < 0) {
		fail(dir, task, fd == -ENOENT ? EIO : -fd, "begin an upload");
		return;
	}
	close(fd);
	snprintf(task->op->upload_id, sizeof(task->op->upload_id), "%s", name);
	ob_tried(dir->base.client, task, OB_OK, "%s", "");
}

static void put_part(struct dir_backend *dir, struct ob_task *task)
{
	struct ob_op *op = task->op;
	int fd = openat(dir->tmp_fd, op->upload, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		fail(dir, task, errno, "put a part");
		return;
	}
	if (dir_write(dir, task, fd, (uint64_t)(op->part - 1) * op->part_size)) {
		if (fdatasync(fd) != 0) {
			fail(dir, task, errno, "sync a part");
		} else {
			snprintf(op->etag, sizeof(op->etag), "part-%u-%llu", op->part, (unsigned long long)op->size);
			ob_tried(dir->base.client, task, OB_OK, "%s", "");
		}
	}
	close(fd);
}

/* The size of the whole, by the parts' etags; 0 when one does not fit. */
static uint64_t size_of_parts(const struct ob_op *op)
{
	unsigned long long size = 0;
	for (unsigned i = 0; i < op->part_count; i++) {
		unsigned number;
		int end = 0;
		if (sscanf(op->part_etags[i], "part-%u-%llu%n", &number, &size, &end) != 2 || op->part_etags[i][end] != '\0' ||
		    number != i + 1 || size == 0 || size > op->part_size || (i + 1 < op->part_count && size != op->part_size))
			return 0;
	}
	return (uint64_t)(op->part_count - 1) * op->part_size + size;
}

static void end_upload(struct dir_backend *dir, struct ob_task *task)
{
	struct ob_op *op = task->op;
	struct stat status;
	int fd = openat(dir->tmp_fd, op->upload, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &status) != 0) {
		int error = errno;
		if (fd >= 0)
			close(fd);
		fail(dir, task, error, "end an upload");
		return;
	}
	uint64_t size = size_of_parts(op);
	if (size == 0 || size != (uint64_t)status.st_size)
		ob_tried(dir->base.client, task, OB_INVALID, "%s: the parts are not those that were put", op->key);
	else
		dir_publish(dir, task, op->upload, fd);
	close(fd);
}

static void drop(struct dir_backend *dir, struct ob_task *task)
{
	if (unlinkat(dir->tmp_fd, task->op->upload, 0) != 0 && errno != ENOENT)
		fail(dir, task, errno, "abort an upload");
	else
		ob_tried(dir->base.client, task, OB_OK, "%s", "");
}

void dir_multi(struct dir_backend *dir, struct ob_task *task)
{
	enum ob_kind kind = task->op->kind;
	if (kind != OB_MULTI_BEGIN && !(kind == OB_MULTI_ABORT ? abort_id_fits(task->op) : id_fits(task->op))) {
		fail(dir, task, ENOENT, "");
		return;
	}
	switch (kind) {
	case OB_MULTI_BEGIN: begin(dir, task); break;
	case OB_MULTI_PUT: put_part(dir, task); break;
	case OB_MULTI_END: end_upload(dir, task); break;
	default: drop(dir, task); break;
	}
}
