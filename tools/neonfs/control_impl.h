/* The control socket's own structures. Internal to control.c and control_call.c. */
#ifndef NEONFS_CONTROL_IMPL_H
#define NEONFS_CONTROL_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "tools/neonfs/control_call.h"

/* FREE -> RUNNING (acceptor) -> DONE (its thread, last act) -> FREE (acceptor or stop, after joining). */
enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_DONE };

struct slot {
	struct control *control;
	pthread_t thread;
	enum slot_state state;
	int fd;
};

struct control {
	struct bd_store *store;
	struct fs *fs;
	struct wa_history *history;
	struct wa_lazy *lazy;
	struct trees *trees;
	struct volumes *volumes;
	const struct daemon_config *config;
	int directory_fd, listen_fd, stop_fd;
	int cancel_fd; /* readable once work that lasts is to be given up */
	uid_t owner;
	atomic_bool is_stopping;
	pthread_t acceptor;
	pthread_mutex_t long_work; /* held by the one gc or scrub; never while taking `lock` */
	pthread_mutex_t lock;
	struct slot slots[CONTROL_CONNECTIONS_MAX]; /* guarded by lock */
	int waiters[CONTROL_WAITERS_MAX]; /* descriptors, or -1; guarded by lock */
};

/* Send the last line of a request: the result when `rc` is 0 (taken over), else the error. 0; -errno the peer is gone. */
NF_MUST_CHECK int ctl_send_answer(struct ctl_call *call, int rc, int64_t began_ns);

#endif
