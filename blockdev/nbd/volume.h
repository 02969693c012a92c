/* Files of a store served as block devices: the daemon's side of the nbdkit plugin.
 *
 * A process that serves a volume connects to STORE/volume.sock, names a file and gets shared memory for its requests (proto.h): one session. A session
 * that writes has its file to itself. Requests run on the session's own threads, as bd_read, bd_write, bd_fsync, bd_fallocate and bd_seek of the
 * file. A flush is bd_fsync: what was answered before it is durable when it is answered.
 *
 * Which file a name means, and who else may use it meanwhile, is for the hooks to say: blockdev knows no points in a database's history and no mount. */
#ifndef BD_NBD_VOLUME_H
#define BD_NBD_VOLUME_H

#include "blockdev/bd.h"

#define BD_VOLUME_SOCKET "volume.sock"	/* in the store's directory */
#define BD_VOLUME_SESSIONS_MAX 64u	/* one more is refused; each has up to 17 MiB of shared memory */
#define BD_VOLUME_THREADS 16u		/* of one session */
#define BD_VOLUME_NAME_MAX 1024u	/* bytes of a name in a session's request */
#define BD_VOLUME_MESSAGE_MAX 512u

struct bd_volumes;

struct bd_volume_hooks {
	void *arg;
	/* The file that `name` means, a regular one, with one reference. *writes: the session wants to change it, and then has it to itself from here to
	 * `close`; set to false when it is of a frozen view. On an error one line goes to ret_message (BD_VOLUME_MESSAGE_MAX): -ENOENT, -EBUSY, -EINVAL, or what
	 * the store says. On a session's thread, with no lock held; may wait. */
	int (*open)(void *arg, const char *name, bool *writes, struct bd_inode **ret_inode, char *ret_message);
	/* The session is over and no request is in work; the reference goes back. */
	void (*close)(void *arg, struct bd_inode *inode, bool writes);
	/* After a flush: what is known elsewhere of the file's times and blocks is old. Must be quick. */
	void (*flushed)(void *arg, struct bd_inode *inode);
};

/* Listen in the store's directory `path`; a stale socket is replaced (the caller owns the store). `hooks` is copied; `store` outlives the service. */
NF_MUST_CHECK int bd_volumes_start(struct bd_store *store, const char *path, const struct bd_volume_hooks *hooks,
				   struct bd_volumes **ret_volumes);
/* Take the socket away and end all sessions: requests in work are answered first, others are not. Before the store is closed. NULL is legal. */
void bd_volumes_stop(struct bd_volumes *volumes);

struct bd_volume_info {
	char name[BD_VOLUME_NAME_MAX + 1]; /* as the session asked for it */
	struct bd_view view;
	struct bd_file_id file;
	uint64_t size_bytes;
	pid_t pid; /* of the process that serves it */
	bool writes;
	uint64_t reads, read_bytes, writes_done, written_bytes, flushes;
};
/* The sessions that are open now, in one malloc'd array. */
NF_MUST_CHECK int bd_volumes_list(struct bd_volumes *volumes, struct bd_volume_info **ret_infos, size_t *ret_count);

#endif
