/* The control request that brings a branch whose Postgres died to its last valid record, in place: its next start is a clean one.
 *
 * Never while a server runs, and never over what says that another recovery is meant (backup_label, the signal files). A snapshot is taken first, so
 * whatever was there can be had again. While it works the lock file names the preparer, so that no server starts beside it; when it is broken off,
 * pg_control is as it was, and Postgres recovers by itself, or it is begun again. */
#include <stdio.h>
#include <string.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_prepare.h"
#include "tools/neonfs/control_replay.h"

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
	if (ctl_cluster_runs(cluster, path))
		return ctl_error(call, "busy", "a server is running on branch \"%s\" (process %d); stop it: pg_ctl stop -D %s",
				 branch->name, (int)cluster->postmaster, path);
	if (ctl_check_unused(call, branch) != 0)
		return -1;
	if (cluster->in_the_way != NULL)
		return ctl_error(call, "unsupported",
				 "branch \"%s\" has a file %s: what it recovers to is for Postgres to say; start Postgres on it",
				 branch->name, cluster->in_the_way);
	return 0;
}

static int recover(struct ctl_call *call, const struct bd_branch_info *branch, const struct ctl_cluster *cluster, json_t *facts)
{
	struct bd_snapshot_info snapshot;
	int64_t began_ns = ctl_now_ns(), start_ns = began_ns;
	if (ctl_snapshot_stamped(call, branch, "before-recover-", &snapshot) != 0)
		return -1;
	json_object_set_new(facts, "snapshot", json_string(snapshot.label));
	ctl_note_time(facts, "snapshot", &began_ns);
	if (ctl_replay_to_end(call, branch->name, cluster, facts) != 0) {
		size_t used = strlen(call->error_message);
		snprintf(call->error_message + used, sizeof(call->error_message) - used, " (as it was before: \"%s@%s\")",
			 branch->name, snapshot.label);
		return -1;
	}
	began_ns = ctl_now_ns();
	int rc = bd_store_sync(call->store);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot make the branch durable");
	ctl_note_time(facts, "sync", &began_ns);
	ctl_note_time(facts, "total", &start_ns);
	return 0;
}

int ctl_branch_recover(struct ctl_call *call)
{
	struct bd_branch_info branch;
	struct ctl_cluster cluster;
	if (ctl_branch_argument(call, "name", &branch) != 0 || read_cluster(call, &branch, &cluster) != 0 ||
	    check(call, &branch, &cluster) != 0)
		return -1;
	json_t *facts = json_pack("{s:s, s:b}", "name", branch.name, "recovered", cluster.control.state != WA_SHUT_DOWN);
	if (cluster.control.state != WA_SHUT_DOWN && recover(call, &branch, &cluster, facts) != 0) {
		json_decref(facts);
		return -1;
	}
	call->result = facts;
	return 0;
}
