/* Removing what was made. See clear.h. */
#include "blockdev/tier/clear.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 2u

static bool stays(const char *name, const char *const *keep)
{
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	for (; keep != NULL && *keep != NULL; keep++) {
		if (strcmp(name, *keep) == 0)
			return true;
	}
	return false;
}

static int clear(int fd, unsigned depth, const char *const *keep);

static int remove_name(int fd, const char *name, unsigned depth)
{
	if (unlinkat(fd, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth == 0)
		return -ENOTEMPTY;
	int error = clear(openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), depth - 1, NULL);
	return error == 0 && unlinkat(fd, name, AT_REMOVEDIR) != 0 ? -errno : error;
}

/* Closes `fd`, which may be none. */
static int clear(int fd, unsigned depth, const char *const *keep)
{
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	int error = directory != NULL ? 0 : -errno;
	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return error;
	}
	for (struct dirent *entry; error == 0 && (entry = readdir(directory)) != NULL;) {
		bool found = depth == DEPTH_MAX && strcmp(entry->d_name, "lost+found") == 0;
		if (!found && !stays(entry->d_name, keep))
			error = remove_name(fd, entry->d_name, depth);
	}
	closedir(directory);
	return error;
}

int bd_clear_directory(const char *path, const char *const *keep)
{
	return clear(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), DEPTH_MAX, keep);
}
