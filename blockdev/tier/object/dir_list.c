/* Listing a directory in the byte order of whole keys.
 *
 * The names of one directory are sorted with a '/' behind those that are directories; then a walk down gives keys in order, since no
 * object lies beside a directory of its name. Each page reads the directories on its way anew: the whole of one with many names. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/tier/object/dir.h"

#define NAMES_FIRST 64

struct names {
	char **names;
	size_t count, room;
};

struct walk {
	struct dir_backend *dir;
	struct ob_op *op;
	unsigned limit;
	size_t names_used;
	char path[OB_KEY_MAX + 2]; /* of the directory under way, with its '/' */
};

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
}

static int add_name(struct names *names, const char *name, bool is_directory)
{
	if (names->count == names->room) {
		size_t room = names->room > 0 ? names->room * 2 : NAMES_FIRST;
		char **more = realloc(names->names, room * sizeof(*more));
		if (more == NULL)
			return -ENOMEM;
		names->names = more;
		names->room = room;
	}
	if (asprintf(&names->names[names->count], "%s%s", name, is_directory ? "/" : "") < 0)
		return -ENOMEM;
	names->count++;
	return 0;
}

static int compare(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Does any key below `directory` (which ends in '/') come into question? */
static bool is_of_interest(const struct ob_op *op, const char *directory)
{
	size_t size = strlen(directory);
	if (strncmp(op->key, directory, NF_MIN(size, strlen(op->key))) != 0)
		return false;
	return op->after == NULL || strcmp(op->after, directory) < 0 || strncmp(op->after, directory, size) == 0;
}

static int read_names(struct walk *walk, int fd, struct names *names)
{
	const struct dirent *entry;
	int rc = 0;
	DIR *stream = fdopendir(fd);
	if (stream == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0 && (errno = 0, entry = readdir(stream)) != NULL) {
		struct stat status;
		const char *name = entry->d_name;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (walk->path[0] == '\0' && (strcmp(name, DIR_LOCK) == 0 || strcmp(name, DIR_TMP) == 0))
			continue;
		if (fstatat(dirfd(stream), name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			continue; /* gone meanwhile */
		if (!ob_key_is_valid(name) || strlen(walk->path) + strlen(name) > OB_KEY_MAX ||
		    !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
			walk->op->list.foreign++;
		else
			rc = add_name(names, name, S_ISDIR(status.st_mode));
	}
	if (rc == 0 && errno != 0)
		rc = -errno;
	closedir(stream);
	if (rc == 0 && names->count > 1)
		qsort(names->names, names->count, sizeof(*names->names), compare);
	return rc;
}

static const char *keep_text(struct walk *walk, const char *text)
{
	char *kept = walk->op->list.names + walk->names_used;
	size_t size = strlen(text) + 1;
	memcpy(kept, text, size);
	walk->names_used += size;
	return kept;
}

/* 1: the page is full. */
static int take_object(struct walk *walk)
{
	struct ob_list *list = &walk->op->list;
	struct stat status;
	char etag[OB_ETAG_MAX];
	const char *prefix = walk->op->key;
	if (strncmp(walk->path, prefix, strlen(prefix)) != 0 ||
	    (walk->op->after != NULL && strcmp(walk->path, walk->op->after) <= 0))
		return 0;
	if (fstatat(walk->dir->root_fd, walk->path, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (list->count == walk->limit) {
		list->more = true;
		snprintf(list->next_after, sizeof(list->next_after), "%s", list->entries[list->count - 1].key);
		return 1;
	}
	dir_etag(&status, etag);
	struct ob_entry *entry = &list->entries[list->count++];
	entry->key = keep_text(walk, walk->path);
	entry->etag = keep_text(walk, etag);
	entry->size = (uint64_t)status.st_size;
	entry->modified_s = status.st_mtim.tv_sec;
	return 0;
}

/* The directory walk->path. 0, 1 the page is full, or -errno. As deep as keys are. */
static int walk_directory(struct walk *walk)
{
	struct names names = {0};
	size_t size = strlen(walk->path);
	int fd = openat(walk->dir->root_fd, size > 0 ? walk->path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int rc = read_names(walk, fd, &names);
	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		snprintf(walk->path + size, sizeof(walk->path) - size, "%s", names.names[i]);
		if (walk->path[strlen(walk->path) - 1] != '/')
			rc = take_object(walk);
		else if (is_of_interest(walk->op, walk->path))
			rc = walk_directory(walk);
	}
	walk->path[size] = '\0';
	free_names(&names);
	return rc;
}

void dir_list(struct dir_backend *dir, struct ob_task *task)
{
	struct ob_op *op = task->op;
	struct walk *walk = calloc(1, sizeof(*walk));
	unsigned limit = op->limit > 0 ? op->limit : OB_LIST_MAX;
	int rc = -ENOMEM;
	if (walk != NULL) {
		*walk = (struct walk){.dir = dir, .op = op, .limit = limit};
		rc = ob_list_begin(&op->list, limit, (size_t)limit * (OB_KEY_MAX + 1 + OB_ETAG_MAX));
	}
	if (rc == 0)
		rc = walk_directory(walk);
	free(walk);
	if (rc < 0) {
		ob_op_clear(op);
		ob_tried(dir->base.client, task, dir_error(-rc), "list %s: %s", op->key, strerror(-rc));
	} else {
		ob_tried(dir->base.client, task, OB_OK, "%s", "");
	}
}
