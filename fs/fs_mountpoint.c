/* The place of the mount: checks before mounting, clearing a dead mount, and what is known of it by /proc and /sys. */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define DEAD_MOUNTS_MAX 16 /* stacked on one another by daemons killed in a row */

extern char **environ;

/* Undo the octal escapes of /proc/self/mountinfo, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++) {
		if (from[0] == '\\' && from[1] != '\0' && from[2] != '\0' && from[3] != '\0') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* The device of the uppermost mount at `resolved`; touches no file system. False: nothing is mounted there. */
static bool find_mount(const char *resolved, unsigned *ret_major, unsigned *ret_minor)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t line_size = 0;
	bool found = false;

	if (mounts == NULL)
		return false;
	while (getline(&line, &line_size, mounts) > 0) {
		unsigned dev_major, dev_minor;
		int path_start = 0, path_end = 0;
		if (sscanf(line, "%*u %*u %u:%u %*s %n%*s%n", &dev_major, &dev_minor, &path_start, &path_end) != 2 ||
		    path_end == 0)
			continue;
		line[path_end] = '\0';
		unescape(line + path_start);
		if (strcmp(line + path_start, resolved) == 0) {
			*ret_major = dev_major;
			*ret_minor = dev_minor;
			found = true;
		}
	}
	free(line);
	fclose(mounts);
	return found;
}

int fs_mountpoint_identify(struct fs_mountpoint *place)
{
	return find_mount(place->path, &place->dev_major, &place->dev_minor) ? 0 : -ENOENT;
}

bool fs_mountpoint_is_ours(const struct fs_mountpoint *place)
{
	unsigned dev_major, dev_minor;

	return find_mount(place->path, &dev_major, &dev_minor) && dev_major == place->dev_major && dev_minor == place->dev_minor;
}

/* realpath of a path whose last part may be a dead mount, which cannot be looked at. malloc'd, or NULL and errno. */
static char *resolve(const char *path)
{
	char *whole = realpath(path, NULL);

	if (whole != NULL || errno != ENOTCONN)
		return whole;
	char *dir_copy = strdup(path), *base_copy = strdup(path), *resolved = NULL;
	char *dir = dir_copy != NULL ? realpath(dirname(dir_copy), NULL) : NULL;
	if (dir != NULL && base_copy != NULL &&
	    asprintf(&resolved, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, basename(base_copy)) < 0)
		resolved = NULL;
	free(dir);
	free(dir_copy);
	free(base_copy);
	return resolved;
}

/* Detach the uppermost mount at `resolved`. */
static int detach(const char *resolved)
{
	if (umount2(resolved, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	/* Not root: the set-uid helper knows whose mount it is. */
	char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", (char *)resolved, NULL};
	pid_t pid;
	int status;
	int err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err != 0)
		return -err;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int clear_dead_mounts(const char *resolved, char *ret_message, size_t message_size)
{
	struct stat st;

	for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
		if (stat(resolved, &st) == 0 || errno != ENOTCONN)
			return 0;
		int err = detach(resolved);
		if (err != 0) {
			snprintf(ret_message, message_size,
				 "mount point %s is a dead mount that could not be cleared: %s; as root: umount -l %s", resolved,
				 strerror(-err), resolved);
			return err;
		}
		nf_info("cleared the dead mount at %s", resolved);
	}
	snprintf(ret_message, message_size, "mount point %s has too many dead mounts; as root: umount -l %s", resolved, resolved);
	return -EBUSY;
}

static bool is_inside(const char *path, const char *dir)
{
	size_t size = strlen(dir);

	return strncmp(path, dir, size) == 0 && (path[size] == '/' || path[size] == '\0' || strcmp(dir, "/") == 0);
}

static int check(const char *resolved, const char *source, char *ret_message, size_t message_size)
{
	struct stat st;
	unsigned dev_major, dev_minor;

	if (stat(resolved, &st) != 0) {
		int err = -errno;
		snprintf(ret_message, message_size, "mount point %s: %s", resolved, strerror(-err));
		return err;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(ret_message, message_size, "mount point %s is not a directory; give one that is", resolved);
		return -ENOTDIR;
	}
	if (find_mount(resolved, &dev_major, &dev_minor)) {
		snprintf(ret_message, message_size,
			 "mount point %s is busy: something is mounted there; unmount it first or give another directory",
			 resolved);
		return -EBUSY;
	}
	if (source != NULL && is_inside(source, resolved)) {
		snprintf(ret_message, message_size,
			 "mount point %s would hide the store %s inside it; give a directory outside the store's path", resolved,
			 source);
		return -EINVAL;
	}
	return 0;
}

int fs_mountpoint_prepare(const char *mountpoint, const char *source, char **ret_resolved, char *ret_message, size_t message_size)
{
	char *resolved = resolve(mountpoint);

	if (resolved == NULL) {
		int err = -errno;
		snprintf(ret_message, message_size, "mount point %s: %s%s", mountpoint, strerror(-err),
			 err == -ENOENT ? "; make the directory first" : "");
		return err;
	}
	int err = clear_dead_mounts(resolved, ret_message, message_size);
	if (err == 0)
		err = check(resolved, source, ret_message, message_size);
	if (err != 0) {
		free(resolved);
		return err;
	}
	*ret_resolved = resolved;
	return 0;
}

int fs_mountpoint_unmount(const struct fs_mountpoint *place)
{
	if (!fs_mountpoint_is_ours(place))
		return -ENOENT;
	return umount2(place->path, UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
}

int fs_mountpoint_sync(const struct fs_mountpoint *place)
{
	if (!fs_mountpoint_is_ours(place))
		return -ENOENT;
	int fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = syncfs(fd) == 0 ? 0 : -errno;
	close(fd);
	return err;
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
	close(fd);
	return err;
}

void fs_mountpoint_abort(const struct fs_mountpoint *place)
{
	char path[64];

	/* A FUSE connection is named by its mount's device number, as the kernel packs it. */
	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", place->dev_major << 20 | place->dev_minor);
	if (write_text(path, "1") != 0 && umount2(place->path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
		nf_debug("abort of %s: %s", place->path, strerror(errno));
}

static int set_bdi(const struct fs_mountpoint *place, const char *name, unsigned value)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", place->dev_major, place->dev_minor, name);
	snprintf(text, sizeof(text), "%u", value);
	return write_text(path, text);
}

int fs_mountpoint_tune(const struct fs_mountpoint *place, unsigned readahead_kb, bool gathers_writes)
{
	int err = set_bdi(place, "read_ahead_kb", readahead_kb);

	if (err == 0 && gathers_writes)
		err = set_bdi(place, "strict_limit", 0);
	if (err == 0 && gathers_writes)
		err = set_bdi(place, "max_ratio", 100);
	return err;
}
