/* Look through /proc for processes that use a mount. See users.h. */
#include "tools/neonfs/users.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REMOVED " (deleted)" /* what the kernel puts behind the path of a directory that has no name any more */

/* Where a link of /proc leads to, below the directory: "" = the directory itself. False: elsewhere. */
static bool read_below(const char *link, const char *directory, char ret_below[PATH_MAX])
{
	char target[PATH_MAX];
	size_t length = strlen(directory);
	ssize_t size = readlink(link, target, sizeof(target) - 1);
	if (size < 0)
		return false;
	target[size] = '\0';
	if (strncmp(target, directory, length) != 0 || (target[length] != '/' && target[length] != '\0'))
		return false;
	snprintf(ret_below, PATH_MAX, "%s", target + length + (target[length] == '/'));
	return true;
}

static bool link_is_inside(const char *link, const char *directory)
{
	char below[PATH_MAX];
	return read_below(link, directory, below);
}

static bool has_file_inside(const char *pid, const char *directory)
{
	char path[PATH_MAX];
	bool found = false;
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	DIR *files = opendir(path);
	if (files == NULL)
		return false;
	for (struct dirent *file; !found && (file = readdir(files)) != NULL;) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, file->d_name);
		found = link_is_inside(path, directory);
	}
	closedir(files);
	return found;
}

static bool uses(const char *pid, const char *directory)
{
	static const char *const links[] = {"cwd", "root", "exe"};
	char path[PATH_MAX];
	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%s/%s", pid, links[i]);
		if (link_is_inside(path, directory))
			return true;
	}
	return has_file_inside(pid, directory);
}

static void process_name(const char *pid, char *ret_name, size_t size)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	FILE *file = fopen(path, "re");
	if (file == NULL || fgets(ret_name, (int)size, file) == NULL)
		snprintf(ret_name, size, "process");
	ret_name[strcspn(ret_name, "\n")] = '\0';
	if (file != NULL)
		fclose(file);
}

void users_of(const char *mountpoint, char *ret_text)
{
	size_t used = 0;
	unsigned count = 0;
	DIR *processes = opendir("/proc");
	ret_text[0] = '\0';
	if (processes == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
		char name[32];
		if (!isdigit((unsigned char)entry->d_name[0]) || !uses(entry->d_name, mountpoint))
			continue;
		if (count++ >= USERS_SHOWN)
			continue;
		process_name(entry->d_name, name, sizeof(name));
		used += (size_t)snprintf(ret_text + used, USERS_TEXT_MAX - used, "%s%s (%.10s)", count > 1 ? ", " : "", name,
					 entry->d_name);
	}
	closedir(processes);
	if (count > USERS_SHOWN)
		snprintf(ret_text + used, USERS_TEXT_MAX - used, " and %u more", count - USERS_SHOWN);
}

/* False: it was told, and enough is known. */
static bool tell_directories(const char *pid, const char *directory, bool (*each)(void *arg, const struct users_place *place),
			     void *arg)
{
	static const char *const links[] = {"cwd", "root"};
	char path[PATH_MAX], below[PATH_MAX], name[32];
	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%s/%s", pid, links[i]);
		if (!read_below(path, directory, below))
			continue;
		size_t length = strlen(below), removed = strlen(REMOVED);
		if (length >= removed && strcmp(below + length - removed, REMOVED) == 0)
			continue;
		process_name(pid, name, sizeof(name));
		if (!each(arg, &(struct users_place){.below = below, .name = name, .pid = pid}))
			return false;
	}
	return true;
}

void users_inside(const char *directory, bool (*each)(void *arg, const struct users_place *place), void *arg)
{
	DIR *processes = opendir("/proc");
	bool goes_on = true;
	if (processes == NULL)
		return;
	for (struct dirent *entry; goes_on && (entry = readdir(processes)) != NULL;)
		if (isdigit((unsigned char)entry->d_name[0]))
			goes_on = tell_directories(entry->d_name, directory, each, arg);
	closedir(processes);
}
