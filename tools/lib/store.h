/* Which store the user means, and where it is mounted. */
#ifndef TL_STORE_H
#define TL_STORE_H

#include <limits.h>

#include "tools/lib/client.h"

/* The store that `given` names (--store; NULL when it was not given), else NEONFS_STORE, else that of the mount which the current directory is in. Fills
 * ret_store (PATH_MAX). An exit code, after the error was printed. */
NF_MUST_CHECK int tl_store_choose(const char *given, char *ret_store);

/* Connect to its daemon, and ask it where the mount is (ret_mountpoint, PATH_MAX). `ret_client` may be NULL. An exit code, after the error was printed. */
NF_MUST_CHECK int tl_store_mountpoint(const char *store, char *ret_mountpoint, struct tl_client **ret_client);

#endif
