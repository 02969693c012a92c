/* The plugin's side of a session with the daemon (blockdev/nbd/proto.h): requests through shared memory, by any number of threads.
 *
 * When the daemon goes, requests in work fail with ESHUTDOWN. The next one tries to begin a session with a daemon that may be there again (once a second
 * at most), and goes on if that has the same volume and nothing is lost: no change was answered that no flush was answered behind. Otherwise
 * the channel is broken for good, and every request fails with EIO: who was told that something is written must not be shown something older, which
 * is what a disk does after a write that failed. So does a flush that fails. */
#ifndef BD_NBD_CHANNEL_H
#define BD_NBD_CHANNEL_H

#include "blockdev/nbd/proto.h"

#define CHANNEL_MESSAGE_MAX (NBD_MESSAGE_MAX + 256u)

struct channel;

struct channel_options {
	const char *store;  /* the store's directory; or NULL */
	const char *socket; /* else the socket itself */
	const char *name;   /* of the volume */
	bool read_only;
};

struct channel_facts {
	uint64_t size_bytes;
	bool read_only;
};

/* Ask whether a session could begin. 0; -errno with a line in ret_message (CHANNEL_MESSAGE_MAX). */
NF_MUST_CHECK int channel_probe(const struct channel_options *options, struct channel_facts *ret_facts, char *ret_message);
/* Begin one; starts a thread. The texts in `options` outlive the channel. As channel_probe. */
NF_MUST_CHECK int channel_open(const struct channel_options *options, struct channel **ret_channel, char *ret_message);
void channel_close(struct channel *channel); /* NULL is legal. No request is in work. */
struct channel_facts channel_facts(const struct channel *channel);

/* One request of any size, done in pieces side by side. `data`: read into (NBD_READ), written from (NBD_WRITE), else NULL. NBD_FUA: durable on return.
 * 0; -errno. Thread-safe. */
NF_MUST_CHECK int channel_run(struct channel *channel, enum nbd_op op, uint32_t flags, void *data, uint32_t size, uint64_t offset);
NF_MUST_CHECK int channel_flush(struct channel *channel);
/* The extents from `offset` on, of a range of `size` bytes or of its first part. `ret_extents` has room for NBD_EXTENTS_MAX. */
NF_MUST_CHECK int channel_extents(struct channel *channel, uint32_t size, uint64_t offset, struct nbd_extent *ret_extents,
				  uint32_t *ret_count);
/* Why the channel is broken; "" when it is not. */
const char *channel_trouble(const struct channel *channel);

#endif
