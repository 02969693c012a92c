/* What the programs may know and ask of a store's tier. See status.h. */
#include "blockdev/tier/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/tier/cold.h"
#include "blockdev/tier/lease.h"
#include "blockdev/tier/ship.h"

#define SLICE_FIRST_MS 1000u /* a flush looks up from time to time, */
#define SLICE_LAST_MS 64000u /* less often the longer it takes: each look is a new flush, which has to be done in that time */

static void tell_ship(struct bd_ship *ship, struct bd_tier_status *status)
{
	struct bd_ship_status from;
	bd_ship_status(ship, &from);
	status->ships = true;
	status->safe_ns = from.safe_ns;
	status->unsafe_bytes = from.unsafe_bytes;
	status->waiting_extents = from.waiting_extents;
	status->waiting_bytes = from.waiting_bytes;
	status->manifest = from.manifest;
	status->put_requests = from.put_requests;
	status->put_bytes = from.put_bytes;
	status->get_requests = from.get_requests;
	status->get_bytes = from.get_bytes;
	status->deleted_objects = from.deleted_objects;
	status->stored_extent_bytes = from.stored_extent_bytes;
	snprintf(status->ship_error, sizeof(status->ship_error), "%s", from.last_error);
}

static void tell_cold(struct bd_cold *cold, struct bd_tier_status *status)
{
	struct bd_cold_status from;
	bd_cold_status(cold, &from);
	status->local_bytes = from.local_bytes;
	status->local_limit_bytes = from.local_limit_bytes;
	status->cached_bytes = from.cached_bytes;
	status->extents_cold = from.extents_cold;
	status->fetches = from.fetches;
	status->fetched_bytes = from.fetched_bytes;
	status->evicted_bytes = from.evicted_bytes;
	status->waiting_reads = from.waiting;
}

static void tell_lease(struct bd_lease *lease, struct bd_tier_status *status)
{
	struct bd_lease_status from;
	bd_lease_status(lease, &from);
	status->has_lease = true;
	status->lease_lost = from.lost;
	status->lease_held = from.held;
	status->lease_idle = from.idle;
	status->lease_left_ms = from.left_ms;
	snprintf(status->lease_error, sizeof(status->lease_error), "%s", from.last_error);
}

int bd_store_tier_status(struct bd_store *store, struct bd_tier_status *ret_status)
{
	struct bd_tier *tier = store->tier;
	if (tier == NULL)
		return -ENOENT;
	*ret_status = (struct bd_tier_status){.read_only = tier->config.read_only, .generation = tier->generation};
	snprintf(ret_status->url, sizeof(ret_status->url), "%s", tier->config.url);
	if (tier->ship != NULL)
		tell_ship(tier->ship, ret_status);
	if (tier->cold != NULL)
		tell_cold(tier->cold, ret_status);
	if (tier->lease != NULL && !tier->config.no_lease)
		tell_lease(tier->lease, ret_status);
	struct ob_stats stats;
	ob_client_stats(tier->client, &stats);
	snprintf(ret_status->trouble, sizeof(ret_status->trouble), "%s", stats.trouble);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int show_left(struct bd_ship *ship, bd_progress_fn progress, void *arg)
{
	struct bd_ship_status status;
	bd_ship_status(ship, &status);
	return progress(arg, "flush", 0, status.unsafe_bytes + status.waiting_bytes) != 0 ? -ECANCELED : 0;
}

int bd_store_flush(struct bd_store *store, uint32_t wait_ms, bd_progress_fn progress, void *arg, char *message, size_t size)
{
	if (store->tier == NULL || store->tier->ship == NULL) {
		snprintf(message, size, "%s", store->tier == NULL ? "the store has no object store" : "the store is attached read-only");
		return store->tier == NULL ? -ENOENT : -EROFS;
	}
	struct bd_ship *ship = store->tier->ship;
	int64_t until_ms = now_ms() + wait_ms;
	int error = -ETIMEDOUT;
	for (uint32_t slice_ms = SLICE_FIRST_MS; error == -ETIMEDOUT; slice_ms = NF_MIN(slice_ms * 2, SLICE_LAST_MS)) {
		int64_t left_ms = wait_ms != 0 ? until_ms - now_ms() : INT64_MAX;
		if (left_ms <= 0)
			break;
		error = bd_ship_flush(ship, (uint32_t)NF_MIN(progress != NULL ? (int64_t)slice_ms : UINT32_MAX, left_ms), message, size);
		if (error == -ETIMEDOUT && progress != NULL && show_left(ship, progress, arg) != 0) {
			snprintf(message, size, "given up");
			error = -ECANCELED;
		}
	}
	return error;
}
