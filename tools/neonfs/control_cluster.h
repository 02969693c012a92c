/* What a Postgres data directory in a branch says of itself. */
#ifndef NEONFS_CONTROL_CLUSTER_H
#define NEONFS_CONTROL_CLUSTER_H

#include "blockdev/bd.h"
#include "walapply/state/wa_control.h"

struct ctl_cluster {
	int major;
	struct wa_control control;
	uint8_t bytes[WA_CONTROL_FILE_SIZE]; /* of global/pg_control */
	pid_t postmaster; /* of postmaster.pid; 0 = there is none */
	char lock_file[512]; /* what postmaster.pid says */
	const char *in_the_way; /* a file that says what shall happen at the next start: backup_label, ...; NULL = none */
};

/* Read it below `root`. Returns 0; -ENOENT no data directory; -EBADMSG damaged, or of a version that is not known; -errno. */
NF_MUST_CHECK int ctl_cluster_read(struct bd_inode *root, struct ctl_cluster *ret_cluster);
/* Write what cluster->control says. 0 or -errno. */
NF_MUST_CHECK int ctl_cluster_write(struct bd_inode *root, struct ctl_cluster *cluster);

/* Does the process of postmaster.pid live and work in `path`, or in what `path` was in a mount whose daemon has died? Also true when that cannot be
 * told, and when it has died but processes of its server live on, which write in `path` when they like. */
bool ctl_cluster_runs(const struct ctl_cluster *cluster, const char *path);

/* May the data directory have unlogged relations? Names of init forks are looked for; false only if there are certainly none. */
bool ctl_may_have_unlogged(struct bd_store *store, struct bd_view view);

#endif
