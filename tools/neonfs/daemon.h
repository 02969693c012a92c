/* The daemon of a mounted store: opens it, mounts it, answers control requests, and ends when it is unmounted. */
#ifndef NEONFS_DAEMON_H
#define NEONFS_DAEMON_H

#include <limits.h>

#include "fs/fs.h"

#define DAEMON_LOG "neonfs.log" /* in the store */
#define DAEMON_RECORD "neonfs.mount" /* in the store while mounted: one JSON object with pid, mountpoint, started */
#define DAEMON_MESSAGE_MAX 1024

struct daemon_config {
	char store[PATH_MAX]; /* absolute */
	char mountpoint[PATH_MAX]; /* absolute */
	enum fs_cache cache;
	enum fs_transport transport;
	unsigned threads; /* 0 = default */
	uint64_t memory_limit_bytes; /* 0 = default */
	uint64_t drain_rate; /* bytes a second; 0 = nothing is made in the background; WA_LAZY_NO_LIMIT */
	uint64_t drain_memory; /* bytes for pages of blocks that are made in the background; 0 = default */
	bool foreground;
};

/* Serve until unmounted. No thread may run yet. `ready` is called once, on some thread, when the mount is in service.
 * Returns 0; -errno with one line in ret_message (DAEMON_MESSAGE_MAX). */
NF_MUST_CHECK int daemon_run(const struct daemon_config *config, void (*ready)(void *arg), void *arg, char *ret_message);

const char *daemon_cache_name(enum fs_cache cache);
const char *daemon_transport_name(enum fs_transport transport);

#endif
