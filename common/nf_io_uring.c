/* The real backend: files under one directory of a local disk, by O_DIRECT and io_uring: see nf_io.h.
 *
 * Where the file system has no O_DIRECT, files are buffered; then fdatasync is what makes them durable, as it is
 * for the device's own cache with O_DIRECT, so callers see no difference but speed.
 * Ops that say `cached` go through a second descriptor, without O_DIRECT; flushes never do. The kernel keeps both in step: a direct read first
 * writes what is dirty in its range, a direct write takes the range's pages away. A page that it cannot take away because it was made dirty meanwhile it
 * counts as a failed write: hence the rule of nf_io.h. A write-back that failed is told once to each open description, by its next flush; the one that
 * is flushed here is as old as the file's use, so it hears of all of them.
 * Symbolic links in the last component of a path are refused, so that a store stays in its directory.
 * Threading: nothing changes after creation but the flag that a warning was given. */
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/nf_io_ring.h"
#include "common/nf_log.h"

#define ZEROS_SIZE (256u << 10) /* one write of zeros where holes cannot be punched */

struct uring_io {
	struct nf_io base;
	int root_fd;
	atomic_bool told_buffered;
	atomic_bool told_no_allocate;
};

static struct uring_io *of(struct nf_io *io)
{
	return (struct uring_io *)io;
}

static int fd_of(struct nf_file *file)
{
	return ((struct nf_ring_file *)file)->fd;
}

static int result_of(int rc)
{
	return rc < 0 ? -errno : 0;
}

static void uring_run(struct nf_io *io, struct nf_io_op *ops, unsigned count)
{
	(void)io;
	nf_ring_run(ops, count);
}

/* ---- files ---- */

/* Returns a descriptor or -errno. O_DIRECT is switched on afterwards: an open that it makes fail may or may not have
 * made the file. */
static int open_direct(struct uring_io *io, const char *path, int flags)
{
	int fd = openat(io->root_fd, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETFL, O_DIRECT) != 0 && !atomic_exchange(&io->told_buffered, true))
		nf_warn("the store's file system has no O_DIRECT: its data is cached twice; "
			"put the store on ext4 or xfs for speed");
	return fd;
}

static int uring_open(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file)
{
	int open_flags = (flags & NF_OPEN_READONLY) ? O_RDONLY : O_RDWR;
	struct stat st;

	if (flags & NF_OPEN_CREATE)
		open_flags |= O_CREAT | O_EXCL;
	struct nf_ring_file *file = calloc(1, sizeof(*file));
	if (file == NULL)
		return -ENOMEM;
	atomic_init(&file->cached_fd, NF_RING_NO_FD);
	file->fd = open_direct(of(io), path, open_flags);
	if (file->fd < 0) {
		int rc = file->fd;
		free(file);
		return rc;
	}
	int rc = result_of(fstat(file->fd, &st));
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (rc != 0) {
		close(file->fd);
		free(file);
		return rc;
	}
	*ret_file = &file->base;
	return 0;
}

static void uring_close(struct nf_file *file)
{
	nf_ring_close_cached((struct nf_ring_file *)file);
	close(fd_of(file));
	free(file);
}

static int uring_size(struct nf_file *file, uint64_t *ret_size)
{
	struct stat st;

	if (fstat(fd_of(file), &st) != 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* fallocate(2), tried again when a signal interrupts it. */
static int allocate_range(int fd, int mode, uint64_t offset, uint64_t size)
{
	int rc;

	do
		rc = result_of(fallocate(fd, mode, (off_t)offset, (off_t)size));
	while (rc == -EINTR);
	return rc;
}

static int uring_truncate(struct nf_file *file, uint64_t size)
{
	int rc;

	do
		rc = result_of(ftruncate(fd_of(file), (off_t)size));
	while (rc == -EINTR);
	return rc;
}

static int uring_allocate(struct nf_file *file, uint64_t offset, uint64_t size)
{
	uint64_t old_size;
	int rc = allocate_range(fd_of(file), 0, offset, size);

	if (rc != -EOPNOTSUPP)
		return rc;
	if (!atomic_exchange(&of(file->io)->told_no_allocate, true))
		nf_warn("the store's file system cannot reserve space: a full disk is noticed late; "
			"put the store on ext4 or xfs");
	rc = uring_size(file, &old_size);
	if (rc != 0 || old_size >= offset + size)
		return rc;
	return uring_truncate(file, offset + size);
}

/* Zeros over [offset, offset + size) by writing them, through a buffered descriptor of its own because the range need
 * not be aligned. */
static int write_zeros(int file_fd, uint64_t offset, uint64_t size)
{
	char name[64];
	int rc = 0;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", file_fd);
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	char *zeros = calloc(1, ZEROS_SIZE);
	if (zeros == NULL)
		rc = -ENOMEM;
	while (rc == 0 && size > 0) {
		ssize_t done = pwrite(fd, zeros, NF_MIN(size, ZEROS_SIZE), (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			rc = done < 0 ? -errno : -EIO;
			break;
		}
		offset += (uint64_t)done;
		size -= (uint64_t)done;
	}
	free(zeros);
	close(fd);
	return rc;
}

static int uring_punch(struct nf_file *file, uint64_t offset, uint64_t size)
{
	uint64_t file_size;
	int rc = allocate_range(fd_of(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);

	if (rc != -EOPNOTSUPP)
		return rc;
	rc = uring_size(file, &file_size);
	if (rc != 0 || offset >= file_size)
		return rc;
	return write_zeros(fd_of(file), offset, NF_MIN(size, file_size - offset));
}

/* ---- names ---- */

static int uring_unlink(struct nf_io *io, const char *path)
{
	return result_of(unlinkat(of(io)->root_fd, path, 0));
}

static int uring_rename(struct nf_io *io, const char *from, const char *to)
{
	return result_of(renameat(of(io)->root_fd, from, of(io)->root_fd, to));
}

static int uring_mkdir(struct nf_io *io, const char *path)
{
	return result_of(mkdirat(of(io)->root_fd, path, 0700));
}

static int open_dir(struct nf_io *io, const char *path)
{
	int fd = openat(of(io)->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

static int uring_sync_dir(struct nf_io *io, const char *path)
{
	int fd = open_dir(io, path);

	if (fd < 0)
		return fd;
	int rc = result_of(fsync(fd));
	close(fd);
	return rc;
}

static int uring_list(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
	int rc = 0;
	int fd = open_dir(io, path);

	if (fd < 0)
		return fd;
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0) {
		errno = 0;
		struct dirent *entry = readdir(dir);
		if (entry == NULL) {
			rc = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = each(arg, entry->d_name);
	}
	closedir(dir);
	return rc;
}

static int uring_free_bytes(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total)
{
	struct statvfs st;

	if (fstatvfs(of(io)->root_fd, &st) != 0)
		return -errno;
	*ret_free = (uint64_t)st.f_bavail * st.f_frsize;
	*ret_total = (uint64_t)st.f_blocks * st.f_frsize;
	return 0;
}

/* ---- the backend ---- */

static void uring_destroy(struct nf_io *io)
{
	nf_ring_drop();
	close(of(io)->root_fd);
	free(io);
}

static const struct nf_io_ops uring_ops = {
	.run = uring_run,
	.open = uring_open,
	.close = uring_close,
	.size = uring_size,
	.allocate = uring_allocate,
	.truncate = uring_truncate,
	.punch = uring_punch,
	.unlink = uring_unlink,
	.rename = uring_rename,
	.sync_dir = uring_sync_dir,
	.mkdir = uring_mkdir,
	.list = uring_list,
	.free_bytes = uring_free_bytes,
	.destroy = uring_destroy,
};

int nf_io_uring_create(const char *root, struct nf_io **ret_io)
{
	struct uring_io *io = calloc(1, sizeof(*io));

	if (io == NULL)
		return -ENOMEM;
	io->base.ops = &uring_ops;
	io->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (io->root_fd < 0) {
		int rc = -errno;
		free(io);
		return rc;
	}
	*ret_io = &io->base;
	return 0;
}
