/* Mounts as the kernel lists them (/proc/self/mountinfo), and which of them are neonfs's. Thread-safe. */
#ifndef TL_MOUNTS_H
#define TL_MOUNTS_H

#include <limits.h>

#include "common/nf_base.h"

struct tl_mount {
	char mountpoint[PATH_MAX];
	char source[PATH_MAX]; /* for a neonfs mount: the store's absolute path */
	char type[64]; /* "ext4", "fuse.neonfs" */
};

/* True for a mount of ours. */
bool tl_mount_is_neonfs(const struct tl_mount *mount);
/* True when its daemon is gone: every access answers "Transport endpoint is not connected". */
bool tl_mount_is_dead(const struct tl_mount *mount);

/* The topmost mount exactly at `mountpoint` (absolute, as tl_path_absolute makes it). 0; -ENOENT none; -errno. */
NF_MUST_CHECK int tl_mount_at(const char *mountpoint, struct tl_mount *ret_mount);
/* The mount that `path` (absolute) lies in: the longest mount point that leads to it, the topmost of those. */
NF_MUST_CHECK int tl_mount_of(const char *path, struct tl_mount *ret_mount);
/* The n-th (from 0) neonfs mount whose source is `store` (absolute). 0; -ENOENT; -errno. */
NF_MUST_CHECK int tl_mount_of_store(const char *store, unsigned n, struct tl_mount *ret_mount);

/* Absolute form of `path` without touching what its last component names (which may be a dead mount). Buffers of
 * PATH_MAX. 0; -ENOENT when its directory is not there; -ENAMETOOLONG; -errno. */
NF_MUST_CHECK int tl_path_absolute(const char *path, char *ret_path);

/* Detach a mount, as root by the system call, else through fusermount3. lazily: also when it is in use. 0; -EBUSY; -errno. */
NF_MUST_CHECK int tl_unmount(const char *mountpoint, bool lazily);

#endif
