/* See control_postgres.h.
 *
 * Refused first: WAL that makes a tablespace outside of the branch. Replay would make it in the files of the branch that the WAL is of.
 *
 * What the branch gets: every segment from the base's redo pointer to the LSN (blocks shared with where they are kept), the timelines' histories, a
 * pg_control that says where it is consistent, recovery.signal, and lines at the end of postgresql.auto.conf, which is read from the data directory
 * wherever the other configuration lies. The lines end in a mark, and recovery_end_command takes the marked ones away: nothing of them is left
 * once the branch is promoted.
 *
 * Postgres stops after the first record that begins at or after recovery_target_lsn (recoveryStopsAfter, xlogrecovery.c). Given the end of the record
 * before the last one wanted, that is the last one wanted, also when no record follows it.
 *
 * Without a backup_label, Postgres takes a base for a crashed cluster and wants its own WAL replayed whole before it stops anywhere. With the state
 * "in archive recovery" and the base's end of WAL as minimum recovery point it stops as soon as it is behind that (InitWalRecovery,
 * CheckRecoveryConsistency). */
#include "tools/neonfs/control_postgres.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/lib/format.h"
#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_tablespace.h"

#define MARK "# neonfs, until promoted"
#define SETTINGS_MAX 2048
#define SEGMENT_NAME 24
#define SPACE_SHOWN_MAX 256 /* of a path: enough to know it by */

/* What is done to one child. */
struct put {
	struct ctl_call *call;
	struct bd_inode *root, *pg_wal;
	struct bd_attr owner; /* of the root */
	uint32_t segment_size;
	uint64_t first, last; /* numbers of segments */
};

/* ---------------------------------------------------------------- segments */

/* Is it the name of a segment that is wanted, or of a timeline's history? */
static bool is_wanted(const struct put *put, const char *name)
{
	uint32_t timeline, high, low;
	size_t length = strlen(name);
	if (length == strlen("00000001.history") && strcmp(name + 8, ".history") == 0)
		return true;
	if (length != SEGMENT_NAME || strspn(name, "0123456789ABCDEF") != length ||
	    sscanf(name, "%8X%8X%8X", &timeline, &high, &low) != 3)
		return false;
	uint64_t number = high * ((UINT64_C(1) << 32) / put->segment_size) + low;
	return number >= put->first && number <= put->last;
}

static int copy_into(struct put *put, struct bd_inode *from, const char *name)
{
	struct bd_attr attr;
	struct bd_inode *to;
	const struct bd_create how = {.mode = S_IFREG | 0600, .uid = put->owner.uid, .gid = put->owner.gid};
	/* What the base has by this name may be an older state of it. */
	int rc = bd_unlink(put->pg_wal, name);
	if (rc == 0 || rc == -ENOENT)
		rc = bd_create(put->pg_wal, name, &how, &to);
	if (rc != 0)
		return rc;
	bd_inode_attr(from, &attr);
	ssize_t copied = bd_clone_range(from, 0, to, 0, attr.size_bytes);
	bd_inode_unref(to, 1);
	return copied < 0 ? (int)copied : (uint64_t)copied == attr.size_bytes ? 0 : -EIO;
}

static bool has(struct bd_inode *directory, const char *name)
{
	struct bd_inode *file;
	if (directory == NULL || bd_lookup(directory, name, &file) != 0)
		return false;
	bd_inode_unref(file, 1);
	return true;
}

/* Every wanted file of a directory that is not in `but` (NULL: none). One that goes away meanwhile is passed over. */
static int copy_wanted(struct put *put, struct bd_inode *directory, struct bd_inode *but)
{
	struct bd_listing *listing;
	int rc = bd_readdir(directory, &listing);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < listing->count && rc == 0; i++) {
		struct bd_inode *file;
		if (!is_wanted(put, listing->entries[i].name) || has(but, listing->entries[i].name))
			continue;
		rc = bd_lookup(directory, listing->entries[i].name, &file);
		if (rc == 0) {
			rc = copy_into(put, file, listing->entries[i].name);
			bd_inode_unref(file, 1);
		} else if (rc == -ENOENT) {
			rc = 0;
		}
	}
	bd_listing_free(listing);
	return rc;
}

/* The directory `path` below the root of the branch called `name`; words separated by '/'. */
static int find_directory(struct bd_store *store, const char *path, struct bd_inode **ret_inode)
{
	char words[PATH_MAX], *rest = words;
	struct bd_branch_info branch;
	struct bd_inode *at, *next;
	snprintf(words, sizeof(words), "%s", path);
	int rc = bd_branch_find(store, strsep(&rest, "/"), &branch);
	if (rc == 0)
		rc = bd_root(store, (struct bd_view){.branch = branch.id, .epoch = BD_EPOCH_HEAD}, &at);
	while (rc == 0 && rest != NULL) {
		rc = bd_lookup(at, strsep(&rest, "/"), &next);
		bd_inode_unref(at, 1);
		at = next;
	}
	if (rc == 0)
		*ret_inode = at;
	return rc;
}

/* What the server has is the newest state of it; what it removed was kept before that. So a segment that goes meanwhile is found in the second pass. */
static int copy_wal(struct put *put, const struct ctl_place *place)
{
	char kept_path[64], own_path[BD_BRANCH_NAME_MAX + 16];
	struct bd_inode *own, *kept;
	wa_history_wal_path(place->branch.id, kept_path, sizeof(kept_path));
	snprintf(own_path, sizeof(own_path), "%s/pg_wal", place->branch.name);
	int rc = find_directory(put->call->store, own_path, &own);
	if (rc != 0)
		return rc;
	rc = copy_wanted(put, own, NULL);
	int kept_rc = rc == 0 ? find_directory(put->call->store, kept_path, &kept) : -ENOENT;
	if (kept_rc == 0) {
		rc = copy_wanted(put, kept, own);
		bd_inode_unref(kept, 1);
	} else if (kept_rc != -ENOENT) {
		rc = kept_rc;
	}
	bd_inode_unref(own, 1);
	return rc;
}

/* ------------------------------------------------------------- small files */

/* A cluster that was shut down has no WAL of its own to be replayed, and stays as it is. */
static int write_control(struct put *put, const struct wa_base *base)
{
	struct ctl_cluster cluster;
	int rc = ctl_cluster_read(put->root, &cluster);
	if (rc != 0 || cluster.control.state == WA_SHUT_DOWN)
		return rc;
	cluster.control.state = WA_ARCHIVE_RECOVERY;
	cluster.control.min_recovery = base->written;
	cluster.control.min_recovery_timeline = base->timeline;
	return ctl_cluster_write(put->root, &cluster);
}

static int find_or_create(struct put *put, const char *name, struct bd_inode **ret_file)
{
	const struct bd_create how = {.mode = S_IFREG | 0600, .uid = put->owner.uid, .gid = put->owner.gid};
	int rc = bd_lookup(put->root, name, ret_file);
	return rc == -ENOENT ? bd_create(put->root, name, &how, ret_file) : rc;
}

static int append_settings(struct put *put, struct nf_lsn target, uint32_t timeline)
{
	char text[SETTINGS_MAX];
	struct bd_attr attr;
	struct bd_inode *file;
	int size = snprintf(text, sizeof(text),
			    "\n# The branch was made to be brought to a point in time by Postgres itself. The lines with the "
			    "mark go away then. " MARK "\nrestore_command = 'false' " MARK "\nrecovery_target_lsn = '" NF_LSN_FMT
			    "' " MARK "\nrecovery_target_inclusive = on " MARK "\nrecovery_target_timeline = '%u' " MARK
			    "\nrecovery_target_action = 'promote' " MARK "\nrecovery_end_command = 'sed -i \"/" MARK
			    "$/d\" postgresql.auto.conf' " MARK "\n",
			    NF_LSN_ARG(target), timeline);
	int rc = find_or_create(put, "postgresql.auto.conf", &file);
	if (rc != 0)
		return rc;
	bd_inode_attr(file, &attr);
	rc = bd_write(file, attr.size_bytes, text, (size_t)size, 0);
	bd_inode_unref(file, 1);
	return rc;
}

static int signal_recovery(struct put *put)
{
	struct bd_inode *file;
	int rc = find_or_create(put, "recovery.signal", &file);
	if (rc == 0)
		bd_inode_unref(file, 1);
	return rc;
}

/* ------------------------------------------------------------- all of it */

static int put_all(struct put *put, const struct ctl_place *place, const struct wa_base *base, struct nf_lsn target,
		   uint32_t timeline)
{
	int rc = copy_wal(put, place);
	if (rc == 0)
		rc = write_control(put, base);
	if (rc == 0)
		rc = append_settings(put, target, timeline);
	return rc == 0 ? signal_recovery(put) : rc;
}

static int open_child(struct put *put, const struct bd_branch_info *child)
{
	int rc = bd_root(put->call->store, (struct bd_view){.branch = child->id, .epoch = BD_EPOCH_HEAD}, &put->root);
	if (rc != 0)
		return rc;
	rc = bd_lookup(put->root, "pg_wal", &put->pg_wal);
	if (rc != 0)
		bd_inode_unref(put->root, 1);
	else
		bd_inode_attr(put->root, &put->owner);
	return rc;
}

/* Postgres would make it again, in the files of the branch that the WAL is of. */
static int check_spaces(struct ctl_call *call, const struct ctl_place *place, const struct wa_base *base)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "", quoted[SPACE_SHOWN_MAX], what[SPACE_SHOWN_MAX + 128];
	struct wa_history_space space;
	int rc = wa_history_space_outside(call->history, place->branch.id, base->redo, place->lsn, &space, message,
					  sizeof(message));
	if (rc < 0)
		return ctl_history_error(call, rc, message);
	if (rc == 0)
		return 0;
	tl_quote(quoted, sizeof(quoted), space.path);
	snprintf(what, sizeof(what), "tablespace %u is made outside of the directory, in %s", space.spc, quoted);
	return ctl_refuse_on_the_way(call, what);
}

int ctl_put_wal(struct ctl_call *call, const struct ctl_place *place, const struct wa_base *base,
		const struct bd_branch_info *child)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	struct wa_history_status status;
	struct nf_lsn before, after;
	if (check_spaces(call, place, base) != 0)
		return -1;
	int rc = wa_history_status(call->history, place->branch.id, &status);
	if (rc == 0)
		rc = wa_history_boundary(call->history, place->branch.id, (struct nf_lsn){place->lsn.v - 1}, &before, &after,
					 message, sizeof(message));
	if (rc != 0)
		return ctl_history_error(call, rc, message[0] != '\0' ? message : strerror(-rc));
	struct put put = {.call = call,
			  .segment_size = status.segment_size,
			  .first = base->redo.v / status.segment_size,
			  .last = (place->lsn.v - 1) / status.segment_size};
	rc = open_child(&put, child);
	if (rc == 0) {
		rc = put_all(&put, place, base, before, status.timeline);
		bd_inode_unref(put.pg_wal, 1);
		bd_inode_unref(put.root, 1);
	}
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot put WAL and settings into the branch");
}
