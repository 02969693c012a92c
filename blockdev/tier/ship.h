/* The uploader: two threads of a store with a tier, of low priority, with a client of their own.
 *
 *   every delay_ms with news in the log:  a piece (or several) up to the log's durable end
 *   after each checkpoint:                sealed extents that are settled, oldest first; a 'T' record for each
 *   by volume of pieces (64 MiB, or half a ring of log), their number (256), or time (10 min with news), at a gap, on flush, and once after a generation began: a manifest
 *   behind a manifest, four times in a grace time: what nothing refers to any more and is past its grace is deleted
 * A transient error is waited out (the client tries again); one that is not (403, no bucket) is told once a minute, shown in the status, and tried again; nothing of it reaches a writer but by
 * the local limit. Memory: at most 96 MiB of buffers. */
#ifndef BD_TIER_SHIP_H
#define BD_TIER_SHIP_H

#include "blockdev/tier/tier.h"

NF_MUST_CHECK int bd_ship_start(struct bd_tier *tier, struct bd_ship **ret_ship);
void bd_ship_stop(struct bd_ship *ship);
/* Everything acknowledged before this call is in the object store when it returns, with a manifest. -ETIMEDOUT after `wait_ms` (0 = for ever); the last error in `message`. */
NF_MUST_CHECK int bd_ship_flush(struct bd_ship *ship, uint32_t wait_ms, char *message, size_t size);
/* A checkpoint has ended: sealed extents may be settled. From any thread; cheap. */
void bd_ship_kick(struct bd_ship *ship);
/* Is something under way, or to be done, that will let local bytes go? */
bool bd_ship_is_busy(struct bd_ship *ship);

struct bd_ship_status {
	int64_t safe_ns;	 /* everything acknowledged before is safe; 0 = nothing yet */
	uint64_t unsafe_bytes;	 /* acknowledged and not safe */
	uint64_t waiting_extents, waiting_bytes; /* sealed, not uploaded */
	uint32_t generation, manifest;
	uint64_t put_requests, put_bytes, get_requests, get_bytes, deleted_objects, stored_extent_bytes;
	char last_error[OB_MESSAGE_MAX]; /* "" = fine */
};
void bd_ship_status(struct bd_ship *ship, struct bd_ship_status *ret_status);

#endif
