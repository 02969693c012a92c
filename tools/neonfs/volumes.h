/* Volumes: files of branches, and of points of them, served as block devices by other processes (blockdev/nbd). Which file a name means:
 *
 *   BRANCH/PATH          the file in the branch's head
 *   BRANCH/PATH@POINT    as it was at a point, read-only: a snapshot's label, or what else names a point in the branch's history
 *   BRANCH@POINT/PATH    the same, as the mount writes it; needed for a path with an @ in it
 *
 * A head's file that is served has one writer (fs/fs.h, fs_volume_begin). A point that is no snapshot is a tree (trees.h), which is in use meanwhile. */
#ifndef NEONFS_VOLUMES_H
#define NEONFS_VOLUMES_H

#include "tools/neonfs/control_call.h"

struct volumes;

/* Returns 0 or -ENOMEM. */
NF_MUST_CHECK int volumes_new(struct volumes **ret_volumes);
/* Begin to serve; `with`: what names are looked up with. 0; -errno. */
NF_MUST_CHECK int volumes_start(struct volumes *volumes, const struct ctl_call *with);
/* End all sessions. When the mount is gone, before the store is closed. */
void volumes_stop(struct volumes *volumes);
void volumes_free(struct volumes *volumes); /* NULL is legal */

/* A name taken apart. Returns 0; -EINVAL with a line in ret_message. */
#define VOLUME_MESSAGE_MAX 512
struct volume_name {
	char branch[BD_BRANCH_NAME_MAX + 1];
	char point[256]; /* "" = the head */
	char path[1024 + 1];
};
NF_MUST_CHECK int volume_name_parse(const char *text, struct volume_name *ret_name, char *ret_message);

/* The request for what is served. */
int ctl_volume_list(struct ctl_call *call);

#endif
