/* The mount table. Line format: proc(5), "/proc/pid/mountinfo". See mounts.h. */
#include "tools/lib/mounts.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEONFS_TYPE "fuse.neonfs"

extern char **environ;

bool tl_mount_is_neonfs(const struct tl_mount *mount)
{
	return strcmp(mount->type, NEONFS_TYPE) == 0;
}

bool tl_mount_is_dead(const struct tl_mount *mount)
{
	struct statfs status;
	/* Not stat: the kernel answers that from what it remembers of the root. */
	return statfs(mount->mountpoint, &status) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

/* Copy a field, with its octal escapes (\040 and the like) undone. False when it does not fit. */
static bool unescape(char *to, size_t size, const char *from)
{
	size_t at = 0;
	while (*from != '\0') {
		if (at + 1 >= size)
			return false;
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
		    from[3] <= '7') {
			to[at++] = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			to[at++] = *from++;
		}
	}
	to[at] = '\0';
	return true;
}

/* ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS [TAGS...] - TYPE SOURCE SUPEROPTIONS */
static bool parse_line(char *line, struct tl_mount *ret_mount)
{
	char *save = NULL, *mountpoint = NULL;
	char *word = strtok_r(line, " \n", &save);
	for (unsigned i = 0; word != NULL && strcmp(word, "-") != 0; i++) {
		if (i == 4)
			mountpoint = word;
		word = strtok_r(NULL, " \n", &save);
	}
	char *type = strtok_r(NULL, " \n", &save);
	char *source = strtok_r(NULL, " \n", &save);
	return mountpoint != NULL && type != NULL && source != NULL &&
	       unescape(ret_mount->mountpoint, sizeof(ret_mount->mountpoint), mountpoint) &&
	       unescape(ret_mount->type, sizeof(ret_mount->type), type) &&
	       unescape(ret_mount->source, sizeof(ret_mount->source), source);
}

/* Call `each` for every mount, in the order they were made. A non-zero return ends it. */
static int each_mount(int (*each)(void *arg, const struct tl_mount *mount), void *arg)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	if (table == NULL)
		return -errno;
	struct tl_mount *mount = malloc(sizeof(*mount));
	char *line = NULL;
	size_t room = 0;
	int rc = mount != NULL ? 0 : -ENOMEM;
	while (rc == 0 && getline(&line, &room, table) > 0)
		if (parse_line(line, mount))
			rc = each(arg, mount);
	free(line);
	free(mount);
	fclose(table);
	return rc;
}

struct search {
	const char *path;
	unsigned skip;
	size_t length; /* of the mount point found */
	bool found;
	struct tl_mount *result;
};

static void take(struct search *search, const struct tl_mount *mount)
{
	*search->result = *mount;
	search->length = strlen(mount->mountpoint);
	search->found = true;
}

static int match_at(void *arg, const struct tl_mount *mount)
{
	struct search *search = arg;
	if (strcmp(mount->mountpoint, search->path) == 0)
		take(search, mount);
	return 0;
}

static bool is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);
	if (strcmp(directory, "/") == 0)
		return true;
	return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int match_of(void *arg, const struct tl_mount *mount)
{
	struct search *search = arg;
	if (is_below(search->path, mount->mountpoint) && strlen(mount->mountpoint) >= search->length)
		take(search, mount);
	return 0;
}

static int match_store(void *arg, const struct tl_mount *mount)
{
	struct search *search = arg;
	if (!tl_mount_is_neonfs(mount) || strcmp(mount->source, search->path) != 0 || search->skip-- > 0)
		return 0;
	take(search, mount);
	return 1;
}

static int find_mount(int (*match)(void *arg, const struct tl_mount *mount), const char *path, unsigned skip,
		      struct tl_mount *ret_mount)
{
	struct search search = {.path = path, .skip = skip, .result = ret_mount};
	int rc = each_mount(match, &search);
	if (rc < 0)
		return rc;
	return search.found ? 0 : -ENOENT;
}

int tl_mount_at(const char *mountpoint, struct tl_mount *ret_mount)
{
	return find_mount(match_at, mountpoint, 0, ret_mount);
}

int tl_mount_of(const char *path, struct tl_mount *ret_mount)
{
	return find_mount(match_of, path, 0, ret_mount);
}

int tl_mount_of_store(const char *store, unsigned n, struct tl_mount *ret_mount)
{
	return find_mount(match_store, store, n, ret_mount);
}

int tl_path_absolute(const char *path, char *ret_path)
{
	char copy[PATH_MAX], directory[PATH_MAX];
	size_t length = strlen(path);
	if (length == 0)
		return -ENOENT;
	if (length >= sizeof(copy))
		return -ENAMETOOLONG;
	memcpy(copy, path, length + 1);
	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = '\0';
	char *slash = strrchr(copy, '/');
	char *last = slash != NULL ? slash + 1 : copy;
	struct stat status;
	bool is_link = lstat(copy, &status) == 0 && S_ISLNK(status.st_mode);
	if (is_link || last[0] == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		return realpath(copy, ret_path) != NULL ? 0 : -errno;
	const char *parent = slash == NULL ? "." : slash == copy ? "/" : copy;
	if (slash != NULL && slash != copy)
		*slash = '\0';
	if (realpath(parent, directory) == NULL)
		return -errno;
	int size = snprintf(ret_path, PATH_MAX, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, last);
	return size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int run_fusermount(const char *mountpoint, bool lazily)
{
	char *arguments[] = {"fusermount3",
			     "-u",
			     "-q",
			     lazily ? "-z" : "--",
			     lazily ? "--" : (char *)mountpoint,
			     lazily ? (char *)mountpoint : NULL,
			     NULL};
	pid_t child;
	int status;
	int rc = posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ);
	if (rc != 0)
		return -rc;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	/* It tells no reason apart; in use is the one that remains for a mount of one's own. */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int tl_unmount(const char *mountpoint, bool lazily)
{
	if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return run_fusermount(mountpoint, lazily);
}
