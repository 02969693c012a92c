/* The table of control requests. */
#include <string.h>

#include "tools/neonfs/control_call.h"
#include "tools/neonfs/volumes.h"

static const struct {
	const char *op;
	ctl_handler handler;
} table[] = {
	{"store.status", ctl_store_status},
	{"store.sync", ctl_store_sync},
	{"store.limit", ctl_store_limit},
	{"store.gc", ctl_store_gc},
	{"store.scrub", ctl_store_scrub},
	{"store.torn", ctl_store_torn},
	{"store.flush", ctl_store_flush},
	{"store.check", ctl_store_check},
	{"daemon.wait", ctl_daemon_wait},
	{"volume.list", ctl_volume_list},
	{"branch.list", ctl_branch_list},
	{"branch.show", ctl_branch_show},
	{"branch.create", ctl_branch_create},
	{"branch.delete", ctl_branch_delete},
	{"branch.rename", ctl_branch_rename},
	{"branch.protect", ctl_branch_protect},
	{"branch.log", ctl_branch_log},
	{"branch.diff", ctl_branch_diff},
	{"snapshot.create", ctl_snapshot_create},
	{"snapshot.delete", ctl_snapshot_delete},
	{"branch.detach", ctl_branch_detach},
	{"branch.restore", ctl_branch_restore},
	{"branch.reset", ctl_branch_reset},
	{"branch.recover", ctl_branch_recover},
	{"branch.point", ctl_branch_point},
	{"branch.retain", ctl_branch_retain},
};

ctl_handler ctl_find_handler(const char *op)
{
	for (unsigned i = 0; i < NF_ARRAY_LEN(table); i++)
		if (strcmp(table[i].op, op) == 0)
			return table[i].handler;
	return NULL;
}
