/* Connecting to the daemon: the socket, the packets, the shared memory. Internal to the plugin. */
#ifndef BD_NBD_CONNECT_H
#define BD_NBD_CONNECT_H

#include "blockdev/nbd/plugin/channel.h"

/* Say hello and take the answer. With `ret_memory` a session begins: the memory is mapped and the socket stays open; NULL: a probe, and nothing stays.
 * 0; -errno with a line in ret_message (CHANNEL_MESSAGE_MAX). */
NF_MUST_CHECK int connect_daemon(const struct channel_options *options, struct nbd_answer *ret_answer, int *ret_socket, void **ret_memory,
				 char *ret_message);

#endif
