/* A store's tier from its opening to its end: what is made and ended in which order. */
#include "blockdev/tier/tier.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "blockdev/tier/cold.h"
#include "blockdev/tier/lease.h"
#include "blockdev/tier/mark.h"
#include "blockdev/tier/rows.h"
#include "blockdev/tier/ship.h"
#include "common/nf_log.h"

static void say(void *arg, const char *line)
{
	(void)arg;
	nf_info("object store: %s", line);
}

/* On the lease's thread. */
static void lost(void *arg, const char *why)
{
	struct bd_store *store = arg;
	nf_error("object store: %s", why);
	bd_store_fail(store, -ESTALE, "another machine has taken this store over");
}

/* Was this directory ever the writer? */
static bool had_lease(const struct bd_store *store)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/" BD_LEASE_RECORD_FILE, store->path);
	return access(path, F_OK) == 0;
}

/* Is the URL this store's? A store that was never opened may still have to say so. */
static int check_mark(struct bd_tier *tier, char *message, size_t size)
{
	struct bd_mark mark;
	int error = bd_mark_get(tier->client, &mark, message, size);
	if (error == -ENOENT && !had_lease(tier->store)) {
		mark = (struct bd_mark){.store_id = tier->store->store_id, .created_s = bd_now_ns() / 1000000000};
		return bd_mark_put(tier->client, &mark, !tier->config.no_lease, message, size);
	}
	if (error == -ENOENT)
		snprintf(message, size, "%s: there is no store any more; what was uploaded has been deleted, or the URL in %s/" BD_TIER_CONFIG_FILE " is not the one it was",
			 ob_client_place(tier->client), tier->store->path);
	if (error == 0 && mark.store_id != tier->store->store_id) {
		snprintf(message, size, "%s belongs to another store (%016" PRIx64 ", this one is %016" PRIx64 ")", ob_client_place(tier->client), mark.store_id,
			 tier->store->store_id);
		error = -EEXIST;
	}
	return error;
}

static int take_lease(struct bd_tier *tier, char *message, size_t size)
{
	struct bd_lease_options options = {
		.ttl_ms = tier->config.lease_s * 1000,
		.store_path = tier->store->path,
		.unsafe = tier->config.no_lease,
		.lost = lost,
		.arg = tier->store,
		.say = say,
	};
	int error = bd_lease_take(tier->lease_client, &options, &tier->lease, message, size);
	if (error == 0)
		tier->generation = bd_lease_generation(tier->lease);
	return error;
}

static int open_clients(struct bd_tier *tier, char *message, size_t size)
{
	struct ob_options options = {
		.parallel = tier->config.parallel,
		.send_rate = tier->config.send_rate,
		.receive_rate = tier->config.receive_rate,
	};
	int error = ob_client_open(tier->config.url, &options, &tier->client, message, size);
	if (error == 0 && !tier->store->read_only)
		error = ob_client_open(tier->config.url, NULL, &tier->lease_client, message, size);
	return error;
}

int bd_tier_open(struct bd_store *store, char *message, size_t size)
{
	struct bd_tier *tier = calloc(1, sizeof(*tier));
	if (tier == NULL)
		return -ENOMEM;
	int error = bd_tier_config_read(store->path, &tier->config, message, size);
	if (error != 0) {
		free(tier);
		return error == -ENOENT ? 0 : error;
	}
	tier->store = store;
	tier->lower = store->io;
	atomic_store(&tier->next_manifest, 1);
	store->tier = tier;
	if (tier->config.read_only && !store->read_only) {
		snprintf(message, size, "the store was attached to be read only; attach it again, without --read-only and into another directory, to write");
		return -EROFS;
	}
	error = open_clients(tier, message, size);
	if (error == 0 && !store->read_only)
		error = check_mark(tier, message, size);
	if (error == 0 && !store->read_only)
		error = take_lease(tier, message, size);
	if (error != 0)
		return error;
	struct nf_io *io;
	error = bd_rows_new(&tier->rows);
	if (error == 0)
		error = bd_cold_create(tier, tier->lower, &tier->cold, &io);
	if (error == 0)
		store->io = io;
	else
		snprintf(message, size, "object store: %s", strerror(-error));
	return error;
}

int bd_tier_load(struct bd_store *store)
{
	return store->tier != NULL ? bd_rows_load(store, store->tier->rows) : 0;
}

int bd_tier_start(struct bd_store *store)
{
	struct bd_tier *tier = store->tier;
	if (tier == NULL)
		return 0;
	int error = store->read_only ? 0 : bd_ship_start(tier, &tier->ship);
	if (error == 0)
		bd_cold_start(tier->cold);
	return error;
}

void bd_tier_checkpointed(struct bd_store *store, uint64_t number)
{
	struct bd_tier *tier = store->tier;
	if (tier == NULL)
		return;
	bd_rows_checkpointed(tier->rows, number);
	if (tier->ship != NULL)
		bd_ship_kick(tier->ship);
	bd_cold_kick(tier->cold);
}

void bd_tier_stop_waiting(struct bd_store *store)
{
	struct bd_tier *tier = store->tier;
	if (tier == NULL)
		return;
	if (tier->cold != NULL)
		bd_cold_stop(tier->cold);
	if (tier->lease != NULL)
		bd_lease_stop_waiting(tier->lease);
}

/* Upload what is missing. Is all of it there? */
static bool flush(struct bd_tier *tier)
{
	char message[OB_MESSAGE_MAX] = "";
	struct bd_ship_status status;
	int error = bd_ship_flush(tier->ship, tier->config.close_wait_s * 1000, message, sizeof(message));
	if (error == 0)
		return true;
	bd_ship_status(tier->ship, &status);
	nf_warn("object store: what was written last is not there yet, about %" PRIu64 " MiB: %s%s%s; it is uploaded when the store is mounted again", status.unsafe_bytes >> 20,
		strerror(-error), message[0] != '\0' ? ": " : "", message);
	return false;
}

void bd_tier_stop(struct bd_store *store, bool clean)
{
	struct bd_tier *tier = store->tier;
	if (tier == NULL)
		return;
	bool all_there = tier->ship != NULL && clean && atomic_load(&store->error) == 0 && flush(tier);
	bd_tier_stop_waiting(store);
	bd_ship_stop(tier->ship);
	tier->ship = NULL;
	/* Who takes a lease that was given back has everything. Else this directory has more than the object store: another machine has to say that it takes over. */
	bd_lease_close(tier->lease, all_there);
	tier->lease = NULL;
}

void bd_tier_free(struct bd_store *store)
{
	struct bd_tier *tier = store->tier;
	if (tier == NULL)
		return;
	if (store->io != tier->lower) {
		nf_io_destroy(store->io);
		store->io = tier->lower;
	}
	bd_rows_free(tier->rows);
	ob_client_close(tier->client);
	ob_client_close(tier->lease_client);
	free(tier);
	store->tier = NULL;
}
