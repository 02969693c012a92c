/* The daemon's side of volumes: structures of server.c, session.c and op.c. See volume.h, proto.h. */
#ifndef BD_NBD_IMPL_H
#define BD_NBD_IMPL_H

#include <pthread.h>

#include "blockdev/nbd/proto.h"
#include "blockdev/nbd/volume.h"
#include "blockdev/nbd/watch.h"

/* FREE -> OPENING (acceptor) -> SERVING -> DONE (its thread, last act) -> FREE (acceptor or stop, after joining). */
enum nbd_session_state { NBD_SESSION_FREE, NBD_SESSION_OPENING, NBD_SESSION_SERVING, NBD_SESSION_DONE };

struct nbd_session {
	struct bd_volumes *volumes;
	pthread_t thread;
	int fd; /* closed by whoever makes the session FREE */
	pid_t pid;
	/* guarded by volumes->lock */
	enum nbd_session_state state;
	/* set by the session's thread before SERVING */
	char name[NBD_NAME_MAX + 1];
	struct bd_inode *inode;
	uint64_t size_bytes;
	bool writes;
	void *memory;
	/* the session's workers */
	_Atomic bool is_ending;
	struct nbd_watch watch; /* for requests */
	_Atomic uint32_t turn; /* from which slot on the next request is looked for */
	_Atomic uint64_t reads, read_bytes, writes_done, written_bytes, flushes;
};

struct bd_volumes {
	struct bd_store *store;
	struct bd_volume_hooks hooks;
	int directory_fd, listen_fd, stop_fd;
	uid_t owner;
	pthread_t acceptor;
	_Atomic bool is_stopping;
	pthread_mutex_t lock;
	struct nbd_session sessions[BD_VOLUME_SESSIONS_MAX];
};

/* Life of a session: from the first packet until its peer or the daemon ends it. On a thread of its own. */
void nbd_session_run(struct nbd_session *session);

/* Do what the request in `slot` says, and answer it there. */
void nbd_op_serve(struct nbd_session *session, unsigned slot);

#endif
