#include "tools/neonfs-wal/replay_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "tools/neonfs-wal/replay_rels.h"

#define COPY_PIECE (1u << 20)

int rp_file_read(int root, const char *path, size_t limit, uint8_t **ret_bytes, size_t *ret_size)
{
	int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct stat st;
	int status = fstat(fd, &st) < 0 ? -errno : (uint64_t)st.st_size > limit ? -EFBIG : 0;
	uint8_t *bytes = status == 0 ? malloc((size_t)st.st_size + 1) : NULL;
	if (status == 0 && bytes == NULL)
		status = -ENOMEM;
	size_t done = 0;
	while (status == 0 && done < (size_t)st.st_size) {
		ssize_t got = read(fd, bytes + done, (size_t)st.st_size - done);
		if (got < 0)
			status = -errno;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	close(fd);
	if (status < 0) {
		free(bytes);
		return status;
	}
	bytes[done] = 0;
	*ret_bytes = bytes;
	*ret_size = done;
	return 0;
}

int rp_close_written(int fd, int status)
{
	int closed = close(fd) < 0 ? -errno : 0;
	return status < 0 ? status : closed;
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t wrote = write(fd, bytes + done, size - done);
		if (wrote <= 0)
			return wrote < 0 ? -errno : -EIO;
		done += (size_t)wrote;
	}
	return 0;
}

static int sync_parent(int root, const char *path)
{
	char parent[4096];
	const char *slash = strrchr(path, '/');
	snprintf(parent, sizeof(parent), "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
	int fd = openat(root, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int status = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return status;
}

int rp_file_replace(int root, const char *path, const void *bytes, size_t size, bool syncs)
{
	char temporary[4096];
	snprintf(temporary, sizeof(temporary), "%s.neonfs-tmp", path);
	int fd = openat(root, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int status = write_all(fd, bytes, size);
	if (status == 0 && syncs && fsync(fd) < 0)
		status = -errno;
	status = rp_close_written(fd, status);
	if (status == 0 && renameat(root, temporary, root, path) < 0)
		status = -errno;
	if (status < 0) {
		unlinkat(root, temporary, 0);
		return status;
	}
	return syncs ? sync_parent(root, path) : 0;
}

static int copy_bytes(int in, int out)
{
	if (ioctl(out, FICLONE, in) == 0)
		return 0;
	for (;;) {
		ssize_t copied = copy_file_range(in, NULL, out, NULL, COPY_PIECE, 0);
		if (copied == 0)
			return 0;
		if (copied < 0)
			break;
	}
	uint8_t *piece = malloc(COPY_PIECE);
	int status = piece == NULL ? -ENOMEM : 0;
	while (status == 0) {
		ssize_t got = read(in, piece, COPY_PIECE);
		if (got <= 0) {
			status = got < 0 ? -errno : 0;
			break;
		}
		status = write_all(out, piece, (size_t)got);
	}
	free(piece);
	return status;
}

int rp_file_copy(int root, const char *from, const char *to)
{
	int in = openat(root, from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	int out = openat(root, to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int status = out < 0 ? -errno : copy_bytes(in, out);
	if (out >= 0)
		status = rp_close_written(out, status);
	close(in);
	return status;
}

int rp_directory_list(int root, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
	int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return -ENOMEM;
	}
	int status = 0;
	for (struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = each(arg, entry->d_name);
	closedir(dir);
	return status;
}

struct emptying {
	int root;
	const char *path;
};

static int remove_entry(void *arg, const char *name)
{
	const struct emptying *emptying = arg;
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", emptying->path, name);
	return rp_remove_tree(emptying->root, path);
}

int rp_directory_empty(int root, const char *path)
{
	struct emptying emptying = {.root = root, .path = path};
	int status = rp_make_directories(root, path);
	return status < 0 ? status : rp_directory_list(root, path, remove_entry, &emptying);
}
