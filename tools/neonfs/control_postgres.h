/* A branch that Postgres itself brings to a point, when it is started: the WAL is put into it, and the settings that say where to stop. */
#ifndef NEONFS_CONTROL_POSTGRES_H
#define NEONFS_CONTROL_POSTGRES_H

#include "tools/neonfs/control_point.h"
#include "walapply/pitr/wa_history.h"

/* `child` is a copy of the base. -1 after ctl_error. */
NF_MUST_CHECK int ctl_put_wal(struct ctl_call *call, const struct ctl_place *place, const struct wa_base *base,
			      const struct bd_branch_info *child);

#endif
