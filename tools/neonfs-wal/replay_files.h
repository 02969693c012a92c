/* Files of a data directory that are small, or copied whole. Paths are below the directory whose descriptor is `root`. */
#ifndef REPLAY_FILES_H
#define REPLAY_FILES_H

#include "common/nf_base.h"

/* Read a file, at most `limit` bytes and a NUL behind them; *ret_bytes is to be freed. Returns 0; -ENOENT; -EFBIG; -errno. */
NF_MUST_CHECK int rp_file_read(int root, const char *path, size_t limit, uint8_t **ret_bytes, size_t *ret_size);
/* Replace a file: whole or not at all (a temporary name, then rename), and with `syncs` durably. */
NF_MUST_CHECK int rp_file_replace(int root, const char *path, const void *bytes, size_t size, bool syncs);
/* Close a descriptor that was written to: what a file system has gathered goes to it then, and may find no room. Returns `status` where that is an error,
 * else 0 or -errno. */
NF_MUST_CHECK int rp_close_written(int fd, int status);
/* Copy a file, sharing its blocks where the file system can. */
NF_MUST_CHECK int rp_file_copy(int root, const char *from, const char *to);
/* Remove what is in a directory but not the directory, which is made when it is missing. */
NF_MUST_CHECK int rp_directory_empty(int root, const char *path);
/* Call `each` with the name of every entry but . and .., of a directory; it may remove it. A missing directory has none. A result other than 0
 * stops and is passed on. */
NF_MUST_CHECK int rp_directory_list(int root, const char *path, int (*each)(void *arg, const char *name), void *arg);

#endif
