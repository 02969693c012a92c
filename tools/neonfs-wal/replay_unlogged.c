/* Unlogged relations, what is swept away, and fsync: all that goes over whole directories. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uthash.h>

#include "tools/neonfs-wal/replay_files.h"
#include "tools/neonfs-wal/replay_impl.h"

/* ---------------------------------------------------- database directories */

typedef int (*directory_fn)(struct replay *replay, const char *path);

struct walk {
	struct replay *replay;
	const char *path;
	directory_fn each;
};

static int visit(void *arg, const char *name)
{
	const struct walk *walk = arg;
	char path[RP_PATH_MAX];
	if (strspn(name, "0123456789") != strlen(name))
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s", walk->path, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return walk->each(walk->replay, path);
}

static int visit_space(void *arg, const char *name)
{
	const struct walk *walk = arg;
	char path[RP_PATH_MAX];
	if (strspn(name, "0123456789") != strlen(name))
		return 0;
	snprintf(path, sizeof(path), "pg_tblspc/%.20s/%s", name, rp_rels_space_directory(walk->replay->rels));
	struct walk inside = {.replay = walk->replay, .path = path, .each = walk->each};
	return rp_directory_list(walk->replay->root, path, visit, &inside);
}

/* Call `each` for every database's directory in every tablespace but pg_global. */
static int for_databases(struct replay *replay, directory_fn each)
{
	struct walk walk = {.replay = replay, .path = "base", .each = each};
	int status = rp_directory_list(replay->root, "base", visit, &walk);
	if (status == 0)
		status = rp_directory_list(replay->root, "pg_tblspc", visit_space, &walk);
	return status < 0 && replay->error.text[0] == 0 ? rp_fail(replay, status, "a database's directory: %s", strerror(-status))
							: status;
}

/* ------------------------------------------------------ unlogged relations */

struct number {
	uint32_t rel;
	UT_hash_handle hh;
};

struct reset {
	struct replay *replay;
	const char *path;
	struct number *numbers; /* relations with an init fork */
};

/* "16384_init.2": the number, the fork's name (up to the end or a dot), the rest. As parse_filename_for_nontemp_relation (reinit.c). */
static bool parse_name(const char *name, uint32_t *ret_rel, bool *ret_is_init, const char **ret_rest)
{
	size_t digits = strspn(name, "0123456789");
	if (digits == 0 || digits > 10)
		return false;
	*ret_rel = (uint32_t)strtoull(name, NULL, 10);
	const char *fork = name + digits;
	size_t length = strcspn(fork, ".");
	*ret_rest = fork + length;
	*ret_is_init = length == 5 && memcmp(fork, "_init", 5) == 0;
	bool known = length == 0 || *ret_is_init || (length == 4 && memcmp(fork, "_fsm", 4) == 0) ||
		     (length == 3 && memcmp(fork, "_vm", 3) == 0);
	return known &&
	       (**ret_rest == 0 || ((*ret_rest)[1] != 0 && strspn(*ret_rest + 1, "0123456789") == strlen(*ret_rest + 1)));
}

static int note_init(void *arg, const char *name)
{
	struct reset *reset = arg;
	uint32_t rel;
	bool is_init;
	const char *rest;
	struct number *number;
	if (!parse_name(name, &rel, &is_init, &rest) || !is_init)
		return 0;
	reset->replay->has_init_forks = true;
	HASH_FIND(hh, reset->numbers, &rel, sizeof(rel), number);
	if (number != NULL)
		return 0;
	number = calloc(1, sizeof(*number));
	if (number == NULL)
		return -ENOMEM;
	number->rel = rel;
	HASH_ADD(hh, reset->numbers, rel, sizeof(rel), number);
	return 0;
}

static int remove_others(void *arg, const char *name)
{
	struct reset *reset = arg;
	uint32_t rel;
	bool is_init;
	const char *rest;
	struct number *number;
	char path[RP_PATH_MAX + 64];
	if (!parse_name(name, &rel, &is_init, &rest) || is_init)
		return 0;
	HASH_FIND(hh, reset->numbers, &rel, sizeof(rel), number);
	if (number == NULL)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", reset->path, name);
	return unlinkat(reset->replay->root, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_in(struct replay *replay, const char *path)
{
	struct reset reset = {.replay = replay, .path = path};
	struct number *at, *next;
	int status = rp_directory_list(replay->root, path, note_init, &reset);
	if (status == 0 && reset.numbers != NULL)
		status = rp_directory_list(replay->root, path, remove_others, &reset);
	HASH_ITER(hh, reset.numbers, at, next)
	{
		HASH_DEL(reset.numbers, at);
		free(at);
	}
	return status;
}

static int copy_init(void *arg, const char *name)
{
	const struct reset *reset = arg;
	uint32_t rel;
	bool is_init;
	const char *rest;
	char from[RP_PATH_MAX + 64], to[RP_PATH_MAX + 64];
	if (!parse_name(name, &rel, &is_init, &rest) || !is_init)
		return 0;
	snprintf(from, sizeof(from), "%s/%s", reset->path, name);
	snprintf(to, sizeof(to), "%s/%u%s", reset->path, rel, rest);
	return rp_file_copy(reset->replay->root, from, to);
}

static int init_in(struct replay *replay, const char *path)
{
	struct reset reset = {.replay = replay, .path = path};
	return rp_directory_list(replay->root, path, copy_init, &reset);
}

int rp_unlogged_remove(struct replay *replay)
{
	return replay->options.is_logged ? 0 : for_databases(replay, remove_in);
}

int rp_unlogged_init(struct replay *replay)
{
	return replay->has_init_forks ? for_databases(replay, init_in) : 0;
}

/* ---------------------------------------------------------------- sweeping */

/* The cache of system tables that every new connection would trust (RelationCacheInitFileRemove, relcache.c). */
static int remove_relcache(struct replay *replay, const char *path)
{
	char file[RP_PATH_MAX + 24];
	snprintf(file, sizeof(file), "%s/pg_internal.init", path);
	return rp_remove_tree(replay->root, file);
}

int rp_sweep(struct replay *replay)
{
	static const char *const emptied[] = {"pg_notify",   "pg_serial",   "pg_snapshots", "pg_subtrans",          "pg_dynshmem",
					      "pg_stat_tmp", "pg_replslot", "pg_stat",      "pg_wal/archive_status"};
	static const char *const removed[] = {"postmaster.opts",    "backup_label",      "tablespace_map",
					      "recovery.signal",    "standby.signal",    "backup_label.old",
					      "tablespace_map.old", RP_CONTROL_PREPARED, RP_HISTORY_PREPARED};
	int status = for_databases(replay, remove_relcache);
	if (status == 0)
		status = remove_relcache(replay, "global");
	for (size_t i = 0; i < NF_ARRAY_LEN(emptied) && status == 0; i++) {
		/* Without its marks a segment that is archived would be archived again, which archive_command should refuse, for ever. */
		bool is_of_others = strcmp(emptied[i], "pg_replslot") == 0 || strcmp(emptied[i], "pg_wal/archive_status") == 0;
		if (replay->options.keep_slots && is_of_others)
			continue;
		status = rp_directory_empty(replay->root, emptied[i]);
		if (status < 0)
			return rp_fail(replay, status, "%s: %s", emptied[i], strerror(-status));
	}
	for (size_t i = 0; i < NF_ARRAY_LEN(removed) && status == 0; i++) {
		if (replay->options.state_only && strcmp(removed[i], RP_CONTROL_PREPARED) == 0)
			continue;
		status = rp_remove_tree(replay->root, removed[i]);
		if (status < 0)
			return rp_fail(replay, status, "%s: %s", removed[i], strerror(-status));
	}
	return status;
}

/* ------------------------------------------------------------------- fsync */

static int sync_at(struct replay *replay, const char *path)
{
	int fd = openat(replay->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int status = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return status < 0 ? rp_fail(replay, status, "%s cannot be synced: %s", path, strerror(-status)) : 0;
}

static int sync_space(void *arg, const char *name)
{
	char path[RP_PATH_MAX];
	snprintf(path, sizeof(path), "pg_tblspc/%.20s", name);
	return sync_at(arg, path);
}

/* Whole file systems at once: there may be many thousands of files. */
int rp_sync(struct replay *replay)
{
	if (!replay->options.syncs)
		return 0;
	int status = rp_directory_list(replay->root, "pg_tblspc", sync_space, replay);
	if (status == 0)
		status = sync_at(replay, "pg_wal");
	return status == 0 ? sync_at(replay, ".") : status;
}
