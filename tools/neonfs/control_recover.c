/* The control request that brings a branch whose Postgres died to its last valid record, in place: its next start is a clean one.
 *
 * Never while a server runs, and never over what says that another recovery is meant (backup_label, the signal files). A snapshot is taken first, so
 * whatever was there can be had again. While it works the branch is held (fs.h): a supervisor that starts Postgres in the middle gets an error. How
 * it is done, and what it is when it is broken off: control_crashed.c. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "tools/lib/format.h"
#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_crashed.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_prepare.h"

#define END_RETRIES 50
#define END_PAUSE_NS 20000000

/* It writes a segment of WAL, and some files beside it. */
#define ROOM_BYTES (UINT64_C(8) << 20)

static int read_cluster(struct ctl_call *call, const struct bd_branch_info *branch, struct ctl_cluster *ret_cluster)
{
	struct bd_inode *root;
	int rc = bd_root(call->store, (struct bd_view){.branch = branch->id, .epoch = BD_EPOCH_HEAD}, &root);
	if (rc == 0) {
		rc = ctl_cluster_read(root, ret_cluster);
		bd_inode_unref(root, 1);
	}
	if (rc == -ENOENT)
		return ctl_error(call, "no-cluster", "branch \"%s\" is no Postgres data directory", branch->name);
	if (rc == -EBADMSG)
		return ctl_error(call, "no-cluster",
				 "branch \"%s\" has a pg_control that is damaged, or of a version that is not known",
				 branch->name);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot read the branch");
}

static int check(struct ctl_call *call, const struct bd_branch_info *branch, const struct ctl_cluster *cluster)
{
	char path[PATH_MAX];
	ctl_path(call, branch->name, "", path);
	bool runs = ctl_cluster_runs(cluster, path);
	/* A process that was killed is there until the kernel has taken its memory away. */
	for (unsigned tries = 0; runs && tries < END_RETRIES; tries++) {
		nanosleep(&(struct timespec){.tv_nsec = END_PAUSE_NS}, NULL);
		runs = ctl_cluster_runs(cluster, path);
	}
	if (runs)
		return ctl_error(call, "busy",
				 "a server is running on branch \"%s\" (process %d, or others that it has left); stop it: pg_ctl "
				 "stop -D %s",
				 branch->name, (int)cluster->postmaster, path);
	if (cluster->in_the_way != NULL)
		return ctl_error(call, "unsupported",
				 "branch \"%s\" has a file %s: what it recovers to is for Postgres to say; start Postgres on it",
				 branch->name, cluster->in_the_way);
	return 0;
}

/* On a disk that is full it would end half-way. */
static int check_room(struct ctl_call *call, const struct ctl_crashed *crashed)
{
	char needed[TL_NUMBER_MAX], there[TL_NUMBER_MAX];
	uint64_t bytes = crashed->cluster->control.wal_segment_size + ROOM_BYTES;
	struct bd_statfs room;
	int rc = bd_statfs(call->store, &room);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot tell how much room there is");
	if (room.free_bytes >= bytes)
		return 0;
	return ctl_error(call, "no-space",
			 "recovering takes some %s of room, and %s are left on the disk or under the store's size limit; delete "
			 "branches or snapshots and run \"neonfs gc\", or make room; nothing was changed",
			 tl_bytes_human(needed, bytes), tl_bytes_human(there, room.free_bytes));
}

static int differs(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	(void)arg, (void)kind, (void)path, (void)blocks;
	return 1;
}

/* Is the branch still what it was at the snapshot? What the kernel has gathered of writes is part of it. */
static bool is_untouched(struct ctl_call *call, const struct bd_branch_info *branch, const struct bd_snapshot_info *snapshot)
{
	char path[PATH_MAX];
	ctl_path(call, branch->name, "", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_written = fd >= 0 && syncfs(fd) == 0;
	if (fd >= 0)
		close(fd);
	const struct bd_view then = {branch->id, snapshot->epoch}, now = {branch->id, BD_EPOCH_HEAD};
	return is_written && bd_diff(call->store, then, now, differs, NULL) == 0;
}

/* It failed. Where it had not changed anything yet nothing is left of it; else what was there stays, and that is said. Returns -1. */
static int fail_recovery(struct ctl_call *call, const struct bd_branch_info *branch, const struct bd_snapshot_info *snapshot)
{
	static const char unchanged[] = "; nothing was changed";
	size_t used = strlen(call->error_message);
	if (is_untouched(call, branch, snapshot) && bd_snapshot_delete(call->store, branch->id, snapshot->label) == 0) {
		char name[2 * BD_BRANCH_NAME_MAX + 2];
		snprintf(name, sizeof(name), "%s@%s", branch->name, snapshot->label);
		fs_branch_changed(call->fs, name);
		return -1;
	}
	if (used >= strlen(unchanged) && strcmp(call->error_message + used - strlen(unchanged), unchanged) == 0)
		used -= strlen(unchanged);
	snprintf(
		call->error_message + used, sizeof(call->error_message) - used,
		"; \"%s\" is as a server leaves it that dies while it recovers, and can be started or recovered again; as it was "
		"before: \"%s@%s\"",
		branch->name, branch->name, snapshot->label);
	return -1;
}

static int recover(struct ctl_call *call, const struct ctl_crashed *crashed, json_t *facts)
{
	struct bd_snapshot_info snapshot;
	int64_t began_ns = ctl_now_ns(), start_ns = began_ns;
	if (check_room(call, crashed) != 0 || ctl_snapshot_stamped(call, &crashed->branch, "before-recover-", &snapshot) != 0)
		return -1;
	json_object_set_new(facts, "snapshot", json_string(snapshot.label));
	ctl_note_time(facts, "snapshot", &began_ns);
	if (ctl_recover_crashed(call, crashed, facts) != 0)
		return fail_recovery(call, &crashed->branch, &snapshot);
	began_ns = ctl_now_ns();
	int rc = bd_store_sync(call->store);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot make the branch durable");
	ctl_note_time(facts, "sync", &began_ns);
	ctl_note_time(facts, "total", &start_ns);
	return 0;
}

/* With the branch held: what was true before may not be any more. */
static int recover_held(struct ctl_call *call, struct ctl_crashed *crashed, json_t *facts)
{
	struct ctl_cluster cluster;
	if (read_cluster(call, &crashed->branch, &cluster) != 0 || check(call, &crashed->branch, &cluster) != 0)
		return -1;
	crashed->cluster = &cluster;
	bool has_crashed = cluster.control.state != WA_SHUT_DOWN;
	json_object_set_new(facts, "recovered", json_boolean(has_crashed));
	return has_crashed ? recover(call, crashed, facts) : 0;
}

int ctl_branch_recover(struct ctl_call *call)
{
	struct ctl_crashed crashed = {0};
	struct ctl_cluster cluster;
	if (ctl_branch_argument(call, "name", &crashed.branch) != 0 || read_cluster(call, &crashed.branch, &cluster) != 0 ||
	    check(call, &crashed.branch, &cluster) != 0 || ctl_hold_unused(call, &crashed.branch, &crashed.hold) != 0)
		return -1;
	crashed.history = crashed.branch.id;
	json_t *facts = json_pack("{s:s}", "name", crashed.branch.name);
	int rc = recover_held(call, &crashed, facts);
	fs_hold_end(crashed.hold);
	if (rc == 0)
		call->result = facts;
	else
		json_decref(facts);
	return rc;
}
