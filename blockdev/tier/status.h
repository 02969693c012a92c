/* What the programs may know and ask of a store's tier. */
#ifndef BD_TIER_STATUS_H
#define BD_TIER_STATUS_H

#include "blockdev/bd.h"

#define BD_TIER_TEXT_MAX 512

struct bd_tier_status {
	char url[2048];
	bool read_only;
	uint32_t generation;
	/* Uploading. Not for a read-only store. */
	bool ships;
	int64_t safe_ns;	/* everything acknowledged before is safe; 0 = nothing yet */
	uint64_t unsafe_bytes;	/* acknowledged and not safe */
	uint64_t waiting_extents, waiting_bytes;
	uint32_t manifest;
	uint64_t put_requests, put_bytes, get_requests, get_bytes, deleted_objects, stored_extent_bytes;
	char ship_error[BD_TIER_TEXT_MAX]; /* the last one; "" = fine */
	/* The local side. */
	uint64_t local_bytes, local_limit_bytes, cached_bytes, extents_cold, fetches, fetched_bytes, evicted_bytes, waiting_reads;
	/* The lease. */
	bool has_lease, lease_lost, lease_held, lease_idle;
	int64_t lease_left_ms;
	char lease_error[BD_TIER_TEXT_MAX];
	char trouble[BD_TIER_TEXT_MAX]; /* why requests are being tried again at this moment; "" = they are answered */
};

/* -ENOENT the store has no tier. */
NF_MUST_CHECK int bd_store_tier_status(struct bd_store *store, struct bd_tier_status *ret_status);
/* Everything acknowledged before this call is in the object store when it returns. wait_ms 0: however long it takes. `progress` (may be NULL) is called each second with
 * the bytes that are left. -ENOENT no tier; -EROFS a read-only store; -ETIMEDOUT; -ECANCELED; the message says why. */
NF_MUST_CHECK int bd_store_flush(struct bd_store *store, uint32_t wait_ms, bd_progress_fn progress, void *arg, char *message, size_t size);

#endif
