/* Objects in a directory: what the parts of file:// share.
 *
 *   ROOT/KEY      an object is a file; the parts of its key are directories, which come and go with it
 *   ROOT/~lock    held (flock) while a name is put or removed, so that a condition and what it allows are one step, between processes too
 *   ROOT/~tmp/    what is being written: p-RANDOM a put, u-RANDOM-PARTSIZE-KEYHASH an upload; dropped a day after its last change
 *
 * '~' is in no key. An object is written to ~tmp, synced, and renamed (or linked, when it must be new), and the directory synced:
 * so it is there whole or not at all. A file with a name is never written to. The etag is inode, time and size: the time is set to the
 * nanosecond before the rename, so two versions never have the same. */
#ifndef OB_DIR_H
#define OB_DIR_H

#include <sys/stat.h>

#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/sleeper.h"

#define DIR_LOCK "~lock"
#define DIR_TMP "~tmp"
#define DIR_STALE_S 86400
#define DIR_CHUNK (UINT64_C(1) << 20)
#define DIR_NAME_MAX 96 /* of a name in ~tmp */

struct dir_backend {
	struct ob_backend base;
	struct ob_sleeper sleeper;
	int root_fd, tmp_fd, lock_fd;
};

void dir_etag(const struct stat *status, char etag[OB_ETAG_MAX]);
/* The error that errno `error` stands for. */
enum ob_error dir_error(int error);
/* ob_tried with that, where `what` failed. */
void dir_fail(struct dir_backend *dir, struct ob_task *task, int error, const char *what);
/* Take ~lock; let it go with flock. 0, or an errno. */
int dir_lock(struct dir_backend *dir);
/* A descriptor of the directory that holds `key`, its parts made where `make` is set; *ret_leaf is the last part. -errno. */
int dir_open_parent(struct dir_backend *dir, const char *key, bool make, const char **ret_leaf);
/* Write the op's data into `fd` at `at`. Returns true, or false after ob_tried. */
bool dir_write(struct dir_backend *dir, struct ob_task *task, int fd, uint64_t at);
/* Give the synced file ~tmp/`name` the op's key, under the op's conditions. Always ends in ob_tried; `name` is gone then, but for errors
 * before anything happened. */
void dir_publish(struct dir_backend *dir, struct ob_task *task, const char *name, int fd);
/* A new file in ~tmp whose name begins with `start`; its descriptor, or -errno. */
int dir_make_tmp(struct dir_backend *dir, const char *start, const char *end, char name[DIR_NAME_MAX]);

void dir_put(struct dir_backend *dir, struct ob_task *task); /* OB_PUT */
void dir_list(struct dir_backend *dir, struct ob_task *task); /* OB_LIST */
void dir_multi(struct dir_backend *dir, struct ob_task *task); /* OB_MULTI_* */

#endif
