/* Read through the store, not the mount: in each cache mode it has what Postgres has made durable, as pg_control always is. */
#include "tools/neonfs/control_cluster.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/lib/postmaster.h"
#include "walapply/decode/wa_records.h"

/* At most `size` bytes of the file `name` in `dir`. Returns their number or -errno. */
static ssize_t read_in(struct bd_inode *dir, const char *name, void *buf, size_t size)
{
	struct bd_inode *file;
	int rc = bd_lookup(dir, name, &file);
	if (rc != 0)
		return rc;
	ssize_t got = bd_read(file, 0, buf, size);
	bd_inode_unref(file, 1);
	return got;
}

/* The beginning of a file that begins with a number. */
static int read_number(struct bd_inode *dir, const char *name, char *text, size_t size, long *ret_number)
{
	ssize_t got = read_in(dir, name, text, size - 1);
	text[NF_MAX(got, (ssize_t)0)] = '\0';
	if (got < 0)
		return (int)got;
	char *end;
	*ret_number = strtol(text, &end, 10);
	return end != text && *ret_number > 0 && *ret_number < INT_MAX ? 0 : -EBADMSG;
}

static int read_control(struct bd_inode *root, struct ctl_cluster *cluster)
{
	struct bd_inode *global;
	struct wa_error error;
	int rc = bd_lookup(root, "global", &global);
	if (rc != 0)
		return rc;
	ssize_t got = read_in(global, "pg_control", cluster->bytes, sizeof(cluster->bytes));
	bd_inode_unref(global, 1);
	if (got < 0)
		return (int)got;
	return wa_control_load(cluster->major, cluster->bytes, (size_t)got, &cluster->control, &error);
}

static bool is_there(struct bd_inode *root, const char *name)
{
	struct bd_inode *file;
	if (bd_lookup(root, name, &file) != 0)
		return false;
	bd_inode_unref(file, 1);
	return true;
}

int ctl_cluster_read(struct bd_inode *root, struct ctl_cluster *ret_cluster)
{
	static const char *const in_the_way[] = {"backup_label", "recovery.signal", "standby.signal"};
	char version[64];
	long number = 0;
	int rc = read_number(root, "PG_VERSION", version, sizeof(version), &number);
	if (rc != 0)
		return rc;
	*ret_cluster = (struct ctl_cluster){.major = (int)number};
	if (number < WA_MAJOR_MIN || number > WA_MAJOR_MAX)
		return -EBADMSG;
	rc = read_control(root, ret_cluster);
	if (rc != 0)
		return rc;
	rc = read_number(root, "postmaster.pid", ret_cluster->lock_file, sizeof(ret_cluster->lock_file), &number);
	if (rc == 0)
		ret_cluster->postmaster = (pid_t)number;
	for (unsigned i = 0; i < NF_ARRAY_LEN(in_the_way) && ret_cluster->in_the_way == NULL; i++)
		if (is_there(root, in_the_way[i]))
			ret_cluster->in_the_way = in_the_way[i];
	return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
}

int ctl_cluster_write(struct bd_inode *root, struct ctl_cluster *cluster)
{
	struct bd_inode *global, *file;
	wa_control_store(cluster->major, &cluster->control, cluster->bytes);
	int rc = bd_lookup(root, "global", &global);
	if (rc != 0)
		return rc;
	rc = bd_lookup(global, "pg_control", &file);
	bd_inode_unref(global, 1);
	if (rc != 0)
		return rc;
	rc = bd_write(file, 0, cluster->bytes, sizeof(cluster->bytes), 0);
	bd_inode_unref(file, 1);
	return rc;
}

/* -------------------------------------------------------------- unlogged */

#define INIT_SUFFIX "_init"
#define SEARCH_DEPTH 3 /* base/DATABASE, or pg_tblspc/SPACE/VERSION/DATABASE below their first directory */

/* Is a file with such a name, or a link, which may lead anywhere, in the directory or at most `depth` levels below it? 1; 0; -errno. */
static int has_unlogged_in(struct bd_inode *dir, unsigned depth)
{
	struct bd_listing *listing;
	int found = bd_readdir(dir, &listing);
	if (found != 0)
		return found;
	for (size_t i = 0; i < listing->count && found == 0; i++) {
		const struct bd_dirent *entry = &listing->entries[i];
		size_t size = strlen(entry->name), suffix = strlen(INIT_SUFFIX);
		struct bd_inode *below;
		if (S_ISDIR(entry->type) && depth > 0) {
			found = bd_lookup(dir, entry->name, &below);
			if (found != 0)
				break;
			found = has_unlogged_in(below, depth - 1);
			bd_inode_unref(below, 1);
		} else if (S_ISLNK(entry->type)) {
			found = 1;
		} else {
			/* "16384_init", also "16384_init.1" */
			const char *at = strstr(entry->name, INIT_SUFFIX);
			found = size > suffix && at != NULL && (at[suffix] == '\0' || at[suffix] == '.');
		}
	}
	bd_listing_free(listing);
	return found;
}

bool ctl_may_have_unlogged(struct bd_store *store, struct bd_view view)
{
	static const char *const places[] = {"base", "pg_tblspc"};
	struct bd_inode *root, *dir;
	int found = bd_root(store, view, &root);
	if (found != 0)
		return true;
	for (unsigned i = 0; i < NF_ARRAY_LEN(places) && found == 0; i++) {
		found = bd_lookup(root, places[i], &dir);
		if (found != 0)
			break;
		found = has_unlogged_in(dir, SEARCH_DEPTH);
		bd_inode_unref(dir, 1);
	}
	bd_inode_unref(root, 1);
	return found != 0;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

/* Does the process work in the branch as a daemon showed it that has died since? Its directory has no path any more but the branch's name, and does
 * not answer. */
static bool works_in_dead_mount(const char *link, const char *cwd, const char *path)
{
	struct statx st;
	return strcmp(last_part(cwd), last_part(path)) == 0 && statx(AT_FDCWD, link, AT_STATX_FORCE_SYNC, STATX_TYPE, &st) != 0 &&
	       errno == ENOTCONN;
}

bool ctl_cluster_runs(const struct ctl_cluster *cluster, const char *path)
{
	char link[64], cwd[PATH_MAX];
	if (cluster->postmaster == 0)
		return false;
	if (kill(cluster->postmaster, 0) != 0 && errno == ESRCH)
		return tl_server_lives_on(cluster->lock_file);
	snprintf(link, sizeof(link), "/proc/%d/cwd", (int)cluster->postmaster);
	ssize_t length = readlink(link, cwd, sizeof(cwd) - 1);
	if (length < 0) /* a process that has ended, and waits to be reaped, has none */
		return errno != ENOENT || tl_server_lives_on(cluster->lock_file);
	cwd[length] = '\0';
	/* The number may be another process's by now. A postmaster's working directory is its data directory. */
	return strcmp(cwd, path) == 0 || works_in_dead_mount(link, cwd, path);
}
