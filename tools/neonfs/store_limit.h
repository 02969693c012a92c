/* The size limit of a store, as the command `set` changes it: by itself, or in the daemon. */
#ifndef NEONFS_STORE_LIMIT_H
#define NEONFS_STORE_LIMIT_H

#include "blockdev/bd.h"

#define STORE_LIMIT_MIN (UINT64_C(256) << 20) /* half of it is the log */
#define STORE_LIMIT_MESSAGE_MAX 512

/* bd_store_set_size_limit. On an error ret_message has one line: what is in the way, and what to do. */
NF_MUST_CHECK int store_limit_set(struct bd_store *store, uint64_t bytes, char ret_message[STORE_LIMIT_MESSAGE_MAX]);

/* Why writes fail now for lack of room: "size limit", "disk", or NULL when they do not. */
const char *store_limit_reached(const struct bd_status *status);

#endif
