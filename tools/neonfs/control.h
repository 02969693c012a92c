/* The control socket of the daemon: branch and store commands while the store is mounted.
 *
 * Protocol: tools/lib/proto.h. One thread accepts; each connection has a thread of its own, at most
 * CONTROL_CONNECTIONS_MAX of them; one more is told to come again. Requests are bounded in size and
 * time. Nothing a peer sends may do more than earn it an error line.
 *
 * Life: control_start after the mount is made; control_stop when it is gone (no request is in work afterwards); then the
 * store is closed; control_finish tells how that went to those who wait for it. */
#ifndef NEONFS_CONTROL_H
#define NEONFS_CONTROL_H

#include "fs/fs.h"
#include "tools/neonfs/daemon.h"
#include "walapply/pitr/wa_history.h"
#include "walapply/pitr/wa_lazy.h"

#define CONTROL_CONNECTIONS_MAX 16
#define CONTROL_WAITERS_MAX 16
#define CONTROL_IDLE_TIMEOUT_S 30 /* a connection with no request for that long is closed */
#define CONTROL_SEND_TIMEOUT_S 30 /* a peer that reads nothing for that long is left */

struct control;
struct trees;
struct volumes;

/* Listen in the store's directory; a stale socket is replaced (the caller owns the store's lock). `store`, `fs`, `history`, `lazy`, `trees` and `volumes` (which are
 * started here) and `config` outlive the control. 0; -errno with a line in ret_message (DAEMON_MESSAGE_MAX). */
NF_MUST_CHECK int control_start(struct bd_store *store, struct fs *fs, struct wa_history *history, struct wa_lazy *lazy,
				struct trees *trees, struct volumes *volumes, const struct daemon_config *config,
				struct control **ret_control, char *ret_message);

/* Give up what uses the mount and may last (branches that are being prepared), now and from now on: the mount is about to go. From any thread
 * between start and stop. */
void control_cancel(struct control *control);

/* Take the socket away, stop long work, and wait for every connection to end, except those that wait for the end; and end the volumes' sessions. */
void control_stop(struct control *control);

/* Answer those who wait: `rc` is how closing the store went. Free. NULL is legal. */
void control_finish(struct control *control, int rc);

#endif
