/* Whether a directory is a store at all. See store_path.h. */
#include "tools/neonfs/store_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

bool store_path_is_store(const char *path)
{
	char superblock[PATH_MAX];
	if (snprintf(superblock, sizeof(superblock), "%s/superblock", path) >= (int)sizeof(superblock))
		return false;
	return access(superblock, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}
