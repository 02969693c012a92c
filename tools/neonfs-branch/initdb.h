/* Running initdb, and the settings a cluster on neonfs gets. */
#ifndef NEONFS_INITDB_H
#define NEONFS_INITDB_H

#include <limits.h>

#include "common/nf_base.h"

#define INITDB_OUTPUT_MAX 65536 /* of what initdb says, the last so many bytes are kept */

/* Whose cluster it is. */
struct initdb_owner {
	char name[64];
	uid_t uid;
	gid_t gid;
	bool switches; /* run as this user, being root */
};

/* The path of initdb: in `bindir`, or when that is NULL in the newest /usr/lib/postgresql/N/bin, or on the PATH.
 * 0; -ENOENT. `ret_path` has room for PATH_MAX. */
NF_MUST_CHECK int initdb_find(const char *bindir, char *ret_path);

/* The user called `name`; NULL: postgres for root, else the caller. 0; -ENOENT no such user; -EPERM not root and another. */
NF_MUST_CHECK int initdb_owner_find(const char *name, struct initdb_owner *ret_owner);

/* Run `initdb -D directory words...` as the owner and wait for it. What it says goes into ret_output
 * (INITDB_OUTPUT_MAX, NUL-terminated). 0; -ECHILD it failed; -errno it could not be run. */
NF_MUST_CHECK int initdb_run(const char *initdb, const char *directory, const struct initdb_owner *owner, char *const *words,
			     int word_count, char *ret_output);

/* Append the settings for neonfs to postgresql.conf in `directory`. `is_through`: the mount's cache mode. 0; -errno. */
NF_MUST_CHECK int initdb_configure(const char *directory, bool is_through);

#endif
