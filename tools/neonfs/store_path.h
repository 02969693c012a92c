/* Whether a directory is a store at all, before anything is done in it. */
#ifndef NEONFS_STORE_PATH_H
#define NEONFS_STORE_PATH_H

#include <stdbool.h>

/* True when the directory `path` has a superblock (docs/format.md). Reads nothing and leaves nothing behind; whether the
 * store is sound, of this version and not in use, opening it tells. True also when that cannot be found out. */
bool store_path_is_store(const char *path);

#endif
