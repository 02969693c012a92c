/* Tablespaces that lie outside of a data directory: what is copied is the link, so that the copy would work on the same files. */
#ifndef NEONFS_CONTROL_TABLESPACE_H
#define NEONFS_CONTROL_TABLESPACE_H

#include "tools/neonfs/control_call.h"

/* What the view is wanted for, which decides what can be done instead. */
enum ctl_tablespace_use {
	CTL_TABLESPACE_COPY, /* a branch of it as it is; --share-tablespaces is possible */
	CTL_TABLESPACE_REPLACE, /* the same in a branch's place: it is not */
	CTL_TABLESPACE_REPLAY, /* WAL is replayed on it */
};

/* -1 after ctl_error when a link in pg_tblspc leads, or may lead, out of the view. For replay every link counts: there is no telling what the pages
 * behind it were. 0 for a view that is no data directory. */
NF_MUST_CHECK int ctl_check_tablespaces(struct ctl_call *call, struct bd_view view, enum ctl_tablespace_use use);

/* Refuse a point because the WAL up to it makes a tablespace outside of the branch, which `what` says in a clause. Returns -1. */
int ctl_refuse_on_the_way(struct ctl_call *call, const char *what);

#endif
