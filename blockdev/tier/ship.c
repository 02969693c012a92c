/* The ship's threads, and what the rest asks of it. ship_impl.h has the picture and the invariants. */
#include "blockdev/tier/ship_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/cold.h"
#include "blockdev/tier/lease.h"
#include "common/nf_log.h"

#define TICK_MS 1000	  /* how often the bulk thread looks whether something is due */
#define BULK_LOOK_MS 100	  /* how often the tail looks whether it has to go on */
#define BULK_ROUNDS 8u	  /* of extents before a shipment: each is two checkpoints */
#define REAP_SHARE 4 /* what can be deleted is looked for so often in a grace time, at most */

int64_t ship_now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void ship_wait(struct bd_ship *ship, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + ns / 1000000000;
	until.tv_nsec = ns % 1000000000;
	pthread_cond_timedwait(&ship->changed, &ship->lock, &until);
}

static bool is_lost(const struct bd_ship *ship)
{
	return ship->tier->lease != NULL && bd_lease_is_lost(ship->tier->lease);
}

bool ship_is_over(struct bd_ship *ship)
{
	pthread_mutex_lock(&ship->lock);
	bool stop = ship->stop;
	pthread_mutex_unlock(&ship->lock);
	return stop || is_lost(ship);
}

int ship_confirm(struct bd_ship *ship)
{
	int error = ship->tier->lease != NULL ? -ETIMEDOUT : 0;
	while (error == -ETIMEDOUT && !ship_is_over(ship))
		error = bd_lease_confirm_within(ship->tier->lease, TICK_MS);
	return error == 0 ? 0 : -ECANCELED;
}

/* ---- the tail */

/* Under lock: wait until the tail has something to do, at most `ms`. */
static void wait_tail(struct bd_ship *ship, int64_t ms)
{
	int64_t until = ship_now_ms() + ms;
	for (int64_t now; !ship->stop && !(ship->whole && ship->hurry) && (now = ship_now_ms()) < until;)
		ship_wait(ship, until - now);
	ship->hurry = false;
}

/* Under lock: does a manifest wait for the tail? */
static bool is_needed(const struct bd_ship *ship)
{
	return ship->needed.end > ship->shipped;
}

enum wait_end { WAIT_ON, WAIT_DONE, WAIT_NO_MORE };

/* Waits a little for what the tail has asked for. WAIT_NO_MORE: it has to go on, since a manifest waits for it, which had extents uploaded, or the ring would come round. */
static enum wait_end wait_settled(struct bd_ship *ship, uint64_t mine)
{
	uint64_t durable = bd_log_durable(ship->store->log), most = bd_log_ring_bytes(ship->store->log) / SHIP_BULK_RING;
	pthread_mutex_lock(&ship->lock);
	bool over = ship->stop || !ship->whole || ship->bulk_failed || is_needed(ship) || durable - ship->shipped > most;
	enum wait_end end = over ? WAIT_NO_MORE : ship->settle_done >= mine ? WAIT_DONE : WAIT_ON;
	if (end == WAIT_ON)
		ship_wait(ship, BULK_LOOK_MS);
	pthread_mutex_unlock(&ship->lock);
	return end;
}

/* Much was written since the last shipment, and some of it is in extents that can be uploaded: has the bulk thread been asked to? */
static bool ask_for_extents(struct bd_ship *ship, uint64_t *ret_mine)
{
	uint64_t extents, bytes, unsettled, written = atomic_load(&ship->store->written_bytes);
	pthread_mutex_lock(&ship->lock);
	bool much = !ship->bulk_failed && written - ship->shipped_written >= SHIP_BULK_BYTES;
	pthread_mutex_unlock(&ship->lock);
	/* Counting goes over all extents: not where nothing is written. */
	if (!much || ship_count_waiting(ship, &extents, &bytes, &unsettled) != 0)
		return false;
	pthread_mutex_lock(&ship->lock);
	bool asks = extents > ship->skipped_count;
	if (asks) {
		*ret_mine = ++ship->settle_asked;
		pthread_cond_broadcast(&ship->changed);
	}
	pthread_mutex_unlock(&ship->lock);
	return asks;
}

/* Such extents go first, and the blocks in them only once. Else all of it would go in pieces, and again in extents, and be safe no sooner. Who writes faster than that is
 * uploaded fills more of them meanwhile. */
static void wait_for_extents(struct bd_ship *ship)
{
	int64_t until = ship_now_ms() + SHIP_BULK_MS;
	uint64_t mine;
	bool goes_on = true;
	for (unsigned round = 0; round < BULK_ROUNDS && goes_on && ship_now_ms() < until && ask_for_extents(ship, &mine); round++) {
		enum wait_end end = WAIT_ON;
		while (end == WAIT_ON && ship_now_ms() < until)
			end = wait_settled(ship, mine);
		goes_on = end == WAIT_DONE;
	}
}

static void tail_step(struct bd_ship *ship, uint64_t shipped)
{
	wait_for_extents(ship);
	struct ship_goal goal = ship_goal_now(ship);
	pthread_mutex_lock(&ship->lock);
	/* No more than a manifest needs: what comes behind may fill extents, and wait for those. */
	if (is_needed(ship))
		goal = ship->needed;
	bool nothing_new = goal.end == shipped;
	if (nothing_new) {
		/* Nothing was acknowledged since that is not safe. */
		ship->chain_ns = goal.read_ns;
		if (ship->manifest_chain == ship->chain)
			ship->safe_ns = goal.read_ns;
	}
	pthread_mutex_unlock(&ship->lock);
	if (nothing_new)
		return;
	int error = ship_tail(ship, &goal);
	if (error == 0 || ship_is_over(ship))
		return;
	if (error == -ESTALE)
		nf_warn("object store: the log has come round before it was uploaded; a new manifest makes up for it");
	else
		ship_note_error(ship, "reading the log to upload it", strerror(-error));
	pthread_mutex_lock(&ship->lock);
	ship->whole = false;
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
}

static void *tail_main(void *arg)
{
	struct bd_ship *ship = arg;
	setpriority(PRIO_PROCESS, (id_t)gettid(), SHIP_NICE);
	pthread_mutex_lock(&ship->lock);
	while (!ship->stop) {
		wait_tail(ship, ship->tier->config.delay_ms);
		if (ship->stop || !ship->whole)
			continue;
		uint64_t shipped = ship->shipped;
		pthread_mutex_unlock(&ship->lock);
		if (!is_lost(ship))
			tail_step(ship, shipped);
		pthread_mutex_lock(&ship->lock);
	}
	pthread_mutex_unlock(&ship->lock);
	return NULL;
}

/* ---- bulk */

static bool is_manifest_due(struct bd_ship *ship)
{
	int64_t now = ship_now_ms();
	uint64_t durable = bd_log_durable(ship->store->log), ring = bd_log_ring_bytes(ship->store->log);
	pthread_mutex_lock(&ship->lock);
	bool news = durable != ship->manifest_end;
	bool due = ship->manifest == 0 || !ship->whole || ship->flush_asked > ship->flush_done || ship->piece_bytes >= SHIP_MANIFEST_BYTES ||
		   ship->piece_news >= SHIP_MANIFEST_PIECES || ship->shipped - ship->manifest_end >= ring / 2 || (news && now - ship->manifest_ms >= SHIP_MANIFEST_MS);
	pthread_mutex_unlock(&ship->lock);
	return due;
}

/* Writers wait, or soon will, for local room: what could be evicted waits for checkpoints. */
static bool is_pressed(struct bd_ship *ship)
{
	struct bd_cold_status cold;
	uint64_t extents, bytes, unsettled;
	if (ship->tier->cold == NULL || ship->tier->config.local_limit_bytes == 0)
		return false;
	bd_cold_status(ship->tier->cold, &cold);
	if (cold.local_bytes < cold.local_limit_bytes / 8 * 7)
		return false;
	return ship_count_waiting(ship, &extents, &bytes, &unsettled) == 0 && unsettled > 0;
}

static int make_manifest(struct bd_ship *ship)
{
	int error = ship_look_back(ship);
	if (error == 0)
		error = ship_manifest(ship);
	if (error != 0)
		return error;
	if (ship->reap_ms == 0)
		ship->reap_ms = ship_now_ms() + (int64_t)ship->tier->config.grace_s * 1000 / REAP_SHARE;
	return 0;
}

int ship_checkpoint(struct bd_ship *ship, int (*then)(void *arg), void *arg)
{
	/* It makes room in the log, as the flusher's does. */
	bd_log_make_room(ship->store->log, true);
	int error = bd_checkpoint_then(ship->store, then, arg);
	bd_log_make_room(ship->store->log, false);
	return error;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* Checkpoints settle extents, then their records: a round of each lets something go. */
static int relieve(struct bd_ship *ship)
{
	int error = ship_checkpoint(ship, nothing, NULL);
	if (error == 0)
		error = ship_extents(ship);
	bd_cold_kick(ship->tier->cold);
	return error;
}

/* What is sealed goes as extents before a manifest: else it would go as parts, with this one and the next ones, and as extents later. The second checkpoint's recovery
 * would begin behind what describes the slots of those that were sealed before the first. */
static int settle(struct bd_ship *ship)
{
	uint64_t extents, bytes, unsettled;
	int error = ship_count_waiting(ship, &extents, &bytes, &unsettled);
	if (error != 0 || extents <= ship->skipped_count)
		return error;
	for (unsigned i = 0; i < 2 && error == 0; i++)
		error = ship_checkpoint(ship, nothing, NULL);
	return error == 0 ? ship_extents(ship) : error;
}

/* When the tail has asked for that. Whatever came of it: it goes on then. */
static int settle_for_tail(struct bd_ship *ship)
{
	pthread_mutex_lock(&ship->lock);
	uint64_t asked = ship->settle_asked;
	bool wanted = asked > ship->settle_done;
	pthread_mutex_unlock(&ship->lock);
	int error = wanted ? settle(ship) : 0;
	pthread_mutex_lock(&ship->lock);
	ship->settle_done = asked;
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
	return error;
}

static int bulk_step(struct bd_ship *ship, bool kicked)
{
	int error = kicked ? ship_extents(ship) : 0;
	if (error == 0 && is_pressed(ship))
		error = relieve(ship);
	if (error == 0)
		error = settle_for_tail(ship);
	if (error == 0 && is_manifest_due(ship)) {
		error = settle(ship);
		if (error == 0)
			error = make_manifest(ship);
	}
	if (error == 0 && ship->reap_ms != 0 && ship_now_ms() >= ship->reap_ms) {
		error = ship_reap(ship);
		/* Again behind the next manifest. */
		ship->reap_ms = 0;
	}
	return error;
}

/* Under lock, with nothing wrong: is there something to do at once? */
static bool has_work(const struct bd_ship *ship)
{
	return ship->kicked || !ship->whole || ship->flush_asked > ship->flush_done || ship->settle_asked > ship->settle_done;
}

static void set_bulk_failed(struct bd_ship *ship, bool failed)
{
	pthread_mutex_lock(&ship->lock);
	ship->bulk_failed = failed;
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
}

static void *bulk_main(void *arg)
{
	struct bd_ship *ship = arg;
	unsigned tries = 0;
	setpriority(PRIO_PROCESS, (id_t)gettid(), SHIP_NICE);
	pthread_mutex_lock(&ship->lock);
	ship->kicked = true;
	while (!ship->stop) {
		bool kicked = ship->kicked, over = is_lost(ship);
		ship->kicked = false;
		ship->bulk_busy = true;
		pthread_mutex_unlock(&ship->lock);
		int error = over ? 0 : bulk_step(ship, kicked || tries > 0);
		tries = error == 0 ? 0 : tries + 1;
		set_bulk_failed(ship, error != 0);
		if (error != 0 && error != -EAGAIN && error != -ECANCELED)
			ship_note_error(ship, "uploading", strerror(-error));
		/* -EAGAIN: the log has outrun a manifest; the next one may be luckier at once. */
		if (tries > 1 || (error != 0 && error != -EAGAIN))
			ship_pause(ship, tries);
		pthread_mutex_lock(&ship->lock);
		ship->bulk_busy = false;
		if (!ship->stop && (over || (error == 0 && !has_work(ship))))
			ship_wait(ship, TICK_MS);
	}
	pthread_mutex_unlock(&ship->lock);
	return NULL;
}

/* ---- from outside */

static void ship_free(struct bd_ship *ship)
{
	ob_client_close(ship->client);
	pthread_cond_destroy(&ship->changed);
	pthread_mutex_destroy(&ship->lock);
	free(ship->pieces);
	free(ship->recents);
	free(ship->files);
	free(ship->skipped);
	free(ship);
}

static int start_threads(struct bd_ship *ship)
{
	int error = -pthread_create(&ship->tail_thread, NULL, tail_main, ship);
	ship->tail_runs = error == 0;
	if (error == 0) {
		error = -pthread_create(&ship->bulk_thread, NULL, bulk_main, ship);
		ship->bulk_runs = error == 0;
	}
	return error;
}

int bd_ship_start(struct bd_tier *tier, struct bd_ship **ret_ship)
{
	char message[OB_MESSAGE_MAX] = "";
	struct bd_ship *ship = calloc(1, sizeof(*ship));
	if (ship == NULL)
		return -ENOMEM;
	ship->tier = tier;
	ship->store = tier->store;
	ship->generation = tier->generation;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ship->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&ship->lock, NULL);
	struct ob_options options = {.parallel = tier->config.parallel, .send_rate = tier->config.send_rate, .receive_rate = tier->config.receive_rate};
	if (atomic_load(&tier->next_manifest) == 0)
		atomic_store(&tier->next_manifest, 1);
	int error = ob_client_open(tier->config.url, &options, &ship->client, message, sizeof(message));
	if (error != 0)
		nf_error("object store: %s", message);
	if (error == 0)
		error = start_threads(ship);
	if (error != 0) {
		bd_ship_stop(ship);
		return error;
	}
	*ret_ship = ship;
	return 0;
}

void bd_ship_stop(struct bd_ship *ship)
{
	if (ship == NULL)
		return;
	pthread_mutex_lock(&ship->lock);
	ship->stop = true;
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
	if (ship->client != NULL)
		ob_client_stop(ship->client);
	if (ship->tail_runs)
		pthread_join(ship->tail_thread, NULL);
	if (ship->bulk_runs)
		pthread_join(ship->bulk_thread, NULL);
	ship_free(ship);
}

/* Under lock: does the newest manifest begin the chain as it is now? Then `shipped` is how far it is safe. */
static bool is_safe(const struct bd_ship *ship)
{
	return ship->manifest != 0 && ship->whole && ship->manifest_chain == ship->chain;
}

/* What goes wrong now: the last error that was not transient, else what the client waits for. */
static void last_error(struct bd_ship *ship, char *message, size_t size)
{
	struct ob_stats stats;
	ob_client_stats(ship->client, &stats);
	pthread_mutex_lock(&ship->lock);
	snprintf(message, size, "%s", ship->last_error[0] != '\0' ? ship->last_error : stats.trouble);
	pthread_mutex_unlock(&ship->lock);
}

int bd_ship_flush(struct bd_ship *ship, uint32_t wait_ms, char *message, size_t size)
{
	int64_t until = ship_now_ms() + wait_ms;
	uint64_t durable = bd_log_durable(ship->store->log);
	pthread_mutex_lock(&ship->lock);
	uint64_t mine = ++ship->flush_asked;
	/* Nothing is durable that the newest manifest does not have. */
	if (is_safe(ship) && ship->manifest_end == durable && ship->shipped == durable && ship->flush_done + 1 == mine)
		ship->flush_done = mine;
	ship->hurry = true;
	pthread_cond_broadcast(&ship->changed);
	int error = 0;
	while (ship->flush_done < mine && error == 0) {
		int64_t left = wait_ms != 0 ? until - ship_now_ms() : TICK_MS;
		if (ship->stop)
			error = -ECANCELED;
		else if (is_lost(ship))
			error = -ESTALE;
		else if (atomic_load(&ship->store->error) != 0)
			error = -EROFS; /* no checkpoint can be made any more */
		else if (left <= 0)
			error = -ETIMEDOUT;
		else
			ship_wait(ship, NF_MIN(left, TICK_MS));
	}
	pthread_mutex_unlock(&ship->lock);
	if (error == -ESTALE)
		snprintf(message, size, "another machine has taken the store over");
	else if (error == -EROFS)
		snprintf(message, size, "the store has failed; its status says why");
	else if (error != 0)
		last_error(ship, message, size);
	return error;
}

void bd_ship_kick(struct bd_ship *ship)
{
	pthread_mutex_lock(&ship->lock);
	ship->kicked = true;
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
}

bool bd_ship_is_busy(struct bd_ship *ship)
{
	uint64_t extents, bytes, unsettled;
	if (ship_is_over(ship))
		return false;
	pthread_mutex_lock(&ship->lock);
	bool busy = ship->bulk_busy || ship->kicked;
	size_t skipped = ship->skipped_count;
	pthread_mutex_unlock(&ship->lock);
	return busy || ship_count_waiting(ship, &extents, &bytes, &unsettled) != 0 || extents > skipped || unsettled > 0;
}

static uint64_t stored_bytes(struct bd_ship *ship)
{
	struct bd_extent_stat *stats;
	size_t count;
	uint64_t bytes = 0;
	if (bd_extents_list(ship->store, &stats, &count) != 0)
		return 0;
	for (size_t i = 0; i < count; i++) {
		uint32_t generation;
		const struct bd_pack_map *map;
		if (!bd_rows_find(ship->tier->rows, stats[i].id, &generation, &map))
			continue;
		bytes += map->object_size;
		bd_rows_release(ship->tier->rows, map);
	}
	free(stats);
	return bytes;
}

void bd_ship_status(struct bd_ship *ship, struct bd_ship_status *ret_status)
{
	struct bd_ship_status status = {.generation = ship->generation};
	uint64_t unsettled, written = atomic_load(&ship->store->written_bytes);
	uint64_t durable = bd_log_durable(ship->store->log);
	last_error(ship, status.last_error, sizeof(status.last_error));
	if (ship_count_waiting(ship, &status.waiting_extents, &status.waiting_bytes, &unsettled) != 0)
		status.waiting_extents = status.waiting_bytes = 0;
	status.stored_extent_bytes = stored_bytes(ship);
	pthread_mutex_lock(&ship->lock);
	status.safe_ns = ship->safe_ns;
	if (!is_safe(ship) || durable != ship->shipped)
		status.unsafe_bytes = NF_MAX(written - ship->shipped_written, durable > ship->shipped ? durable - ship->shipped : 0);
	status.manifest = ship->manifest;
	status.put_requests = ship->put_requests;
	status.put_bytes = ship->put_bytes;
	status.get_requests = ship->get_requests;
	status.get_bytes = ship->get_bytes;
	status.deleted_objects = ship->deleted_objects;
	pthread_mutex_unlock(&ship->lock);
	*ret_status = status;
}
