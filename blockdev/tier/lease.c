/* The lease, with its requests and its thread. Why at most one machine holds it: lease_core.h; what is in the objects: lease_doc.h.
 *
 * Threads: bd_lease_take runs the protocol on the caller's; from then on the lease's own thread does, alone. It publishes what counts in two atomics, so that bd_lease_confirm is one clock
 * and two loads while the lease is held. What is told outside is right by the order of three things: the work is done; then the clock is looked at; then it is told.
 *
 * The thread renews each third of the ttl while something was confirmed within the last IDLE_TTLS ttls, or somebody waits; then it says "idle", once, and sleeps. It does not sleep without a
 * limit before its validity has passed: until then nobody wakes it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/tier/lease_impl.h"
#include "common/nf_log.h"

#define IDLE_TTLS 3
#define RENEWALS_A_TTL 3
#define TAKE_DEADLINE_MS 30000u
#define RENEW_DEADLINE_LEAST_MS 500u
#define CLOSE_DEADLINE_MS 5000u
#define RETRY_MS 200u

/* ------------------------------------------------------------- the thread */

static void publish(struct bd_lease *lease)
{
	atomic_store(&lease->valid_until_ns, lease->core.valid_until_ns);
	pthread_cond_broadcast(&lease->changed);
}

/* Who has it now? For people: when that cannot be had, they get less. */
static void tell_lost(struct bd_lease *lease)
{
	char why[512];
	struct lease_doc doc;
	if (lease_get(lease, lease->core.generation + 1, &doc) == LEASE_DONE)
		snprintf(why, sizeof(why), "another machine has taken this store over (lease %" PRIu32 "): %s", doc.generation,
			 lease->paper.holder);
	else
		snprintf(why, sizeof(why), "lease %" PRIu32 " is not this machine's any more", lease->core.generation);
	nf_error("%s; nothing is acknowledged here any more", why);
	pthread_mutex_lock(&lease->lock);
	snprintf(lease->last_error, sizeof(lease->last_error), "%.255s", why);
	pthread_mutex_unlock(&lease->lock);
	if (lease->lost != NULL)
		lease->lost(lease->arg, why);
}

/* Without the lock. True when it is held again. */
static bool renew(struct bd_lease *lease)
{
	lease->error = 0;
	if (!lease_renew(&lease->core))
		return false;
	lease_run_on(lease);
	if (lease->core.phase == LEASE_IN_LOST) {
		atomic_store(&lease->valid_until_ns, 0);
		tell_lost(lease);
	}
	return lease->core.phase == LEASE_IN_HOLD && lease->error == 0;
}

static void wait_until(struct bd_lease *lease, int64_t until_ns)
{
	struct timespec until;
	if (until_ns == INT64_MAX) {
		pthread_cond_wait(&lease->changed, &lease->lock);
		return;
	}
	int64_t left = NF_MAX(until_ns - lease_now_ns(), 0);
	clock_gettime(CLOCK_MONOTONIC, &until);
	int64_t nsec = until.tv_nsec + left % 1000000000;
	until.tv_sec += left / 1000000000 + nsec / 1000000000;
	until.tv_nsec = nsec % 1000000000;
	pthread_cond_timedwait(&lease->changed, &lease->lock, &until);
}

static void renew_locked(struct bd_lease *lease, int64_t *ret_not_before_ns)
{
	pthread_mutex_unlock(&lease->lock);
	bool good = renew(lease);
	pthread_mutex_lock(&lease->lock);
	*ret_not_before_ns = good ? 0 : lease_now_ns() + RETRY_MS * LEASE_NS_PER_MS;
	if (lease->core.phase == LEASE_IN_LOST)
		atomic_store(&lease->is_lost, true);
	else if (good)
		lease->last_error[0] = '\0';
	else
		snprintf(lease->last_error, sizeof(lease->last_error), "%.255s", lease->message);
	publish(lease);
}

static void tell_idle_locked(struct bd_lease *lease)
{
	lease->is_idle = true;
	pthread_mutex_unlock(&lease->lock);
	if (lease_tell(&lease->core, LEASE_IDLE))
		lease_run_on(lease);
	pthread_mutex_lock(&lease->lock);
}

static void *lease_main(void *arg)
{
	struct bd_lease *lease = arg;
	int64_t ttl_ns = (int64_t)lease->ttl_ms * LEASE_NS_PER_MS, confirmed_ns = lease_now_ns(), not_before_ns = 0;
	pthread_mutex_lock(&lease->lock);
	while (!lease->stopping && !atomic_load(&lease->is_lost)) {
		int64_t now = lease_now_ns(), until_ns = lease->core.valid_until_ns;
		if (atomic_exchange(&lease->was_confirmed, false) || lease->waiters > 0) {
			confirmed_ns = now;
			lease->is_idle = false;
		}
		if (now - confirmed_ns < IDLE_TTLS * ttl_ns) {
			int64_t due_ns = lease->waiters > 0 && now >= until_ns ? now : lease->core.asked_ns + ttl_ns / RENEWALS_A_TTL;
			due_ns = NF_MAX(due_ns, not_before_ns);
			if (now >= due_ns)
				renew_locked(lease, &not_before_ns);
			else
				wait_until(lease, due_ns);
		} else if (!lease->is_idle) {
			tell_idle_locked(lease);
		} else {
			wait_until(lease, now < until_ns ? until_ns : INT64_MAX);
		}
	}
	pthread_mutex_unlock(&lease->lock);
	return NULL;
}

/* --------------------------------------------------------------- contract */

static void lease_free(struct bd_lease *lease)
{
	pthread_cond_destroy(&lease->changed);
	pthread_mutex_destroy(&lease->lock);
	free(lease);
}

static struct bd_lease *lease_new(struct ob_client *client, const struct bd_lease_options *options)
{
	struct bd_lease *lease = calloc(1, sizeof(*lease));
	pthread_condattr_t attr;
	if (lease == NULL)
		return NULL;
	lease->client = client;
	lease->ttl_ms = options->ttl_ms;
	lease->lost = options->lost;
	lease->arg = options->arg;
	lease->deadline_ms = TAKE_DEADLINE_MS;
	pthread_mutex_init(&lease->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&lease->changed, &attr);
	pthread_condattr_destroy(&attr);
	return lease;
}

int bd_lease_take(struct ob_client *client, const struct bd_lease_options *options, struct bd_lease **ret_lease, char *message, size_t size)
{
	if (options->ttl_ms < BD_LEASE_LEAST_TTL_MS) {
		snprintf(message, size, "a lease of %" PRIu32 " ms is too short", options->ttl_ms);
		return -EINVAL;
	}
	struct bd_lease *lease = lease_new(client, options);
	if (lease == NULL) {
		snprintf(message, size, "out of memory");
		return -ENOMEM;
	}
	int error = lease_take(lease, options, message, size);
	if (error == 0) {
		lease->deadline_ms = NF_MAX(lease->ttl_ms / 4, RENEW_DEADLINE_LEAST_MS);
		atomic_store(&lease->valid_until_ns, lease->core.valid_until_ns);
		if (!lease->core.unsafe) {
			error = -pthread_create(&lease->thread, NULL, lease_main, lease);
			lease->has_thread = error == 0;
			if (error != 0)
				snprintf(message, size, "lease: no thread: %s", strerror(-error));
		}
	}
	if (error != 0) {
		lease_free(lease);
		return error;
	}
	*ret_lease = lease;
	return 0;
}

uint32_t bd_lease_generation(const struct bd_lease *lease)
{
	return lease->core.generation;
}

/* Until it is held: at the latest `until` (monotonic), or NULL: as long as waiting is allowed. */
static int wait_held(struct bd_lease *lease, const struct timespec *until)
{
	int error = 0;
	pthread_mutex_lock(&lease->lock);
	lease->waiters++;
	while (error == 0 && lease_now_ns() >= atomic_load(&lease->valid_until_ns)) {
		if (atomic_load(&lease->is_lost)) {
			error = -ESTALE;
		} else if (lease->stopping || (until == NULL && lease->no_waiting)) {
			error = -ECANCELED;
		} else {
			pthread_cond_broadcast(&lease->changed);
			error = until == NULL ? -pthread_cond_wait(&lease->changed, &lease->lock)
					      : -pthread_cond_timedwait(&lease->changed, &lease->lock, until);
		}
	}
	lease->waiters--;
	pthread_mutex_unlock(&lease->lock);
	return error;
}

int bd_lease_confirm(struct bd_lease *lease)
{
	if (!atomic_load_explicit(&lease->was_confirmed, memory_order_relaxed))
		atomic_store_explicit(&lease->was_confirmed, true, memory_order_relaxed);
	return lease_now_ns() < atomic_load(&lease->valid_until_ns) ? 0 : wait_held(lease, NULL);
}

int bd_lease_confirm_within(struct bd_lease *lease, uint32_t wait_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	int64_t ns = until.tv_nsec + (int64_t)(wait_ms % 1000) * 1000000;
	until.tv_sec += wait_ms / 1000 + ns / 1000000000;
	until.tv_nsec = ns % 1000000000;
	atomic_store_explicit(&lease->was_confirmed, true, memory_order_relaxed);
	return wait_held(lease, &until);
}

void bd_lease_stop_waiting(struct bd_lease *lease)
{
	pthread_mutex_lock(&lease->lock);
	lease->no_waiting = true;
	pthread_cond_broadcast(&lease->changed);
	pthread_mutex_unlock(&lease->lock);
}

bool bd_lease_is_lost(const struct bd_lease *lease)
{
	return atomic_load(&lease->is_lost);
}

void bd_lease_status(struct bd_lease *lease, struct bd_lease_status *ret_status)
{
	int64_t left_ns = atomic_load(&lease->valid_until_ns) - lease_now_ns();
	pthread_mutex_lock(&lease->lock);
	*ret_status = (struct bd_lease_status){.generation = lease->core.generation,
					       .lost = atomic_load(&lease->is_lost),
					       .held = left_ns > 0,
					       .idle = lease->is_idle,
					       .left_ms = left_ns > 0 ? left_ns / LEASE_NS_PER_MS : 0};
	memcpy(ret_status->last_error, lease->last_error, sizeof(ret_status->last_error));
	pthread_mutex_unlock(&lease->lock);
}

void bd_lease_close(struct bd_lease *lease, bool release)
{
	if (lease == NULL)
		return;
	pthread_mutex_lock(&lease->lock);
	lease->stopping = lease->no_waiting = true;
	pthread_cond_broadcast(&lease->changed);
	pthread_mutex_unlock(&lease->lock);
	if (lease->has_thread)
		pthread_join(lease->thread, NULL);
	lease->deadline_ms = CLOSE_DEADLINE_MS;
	atomic_store(&lease->valid_until_ns, 0);
	if (release && lease_tell(&lease->core, LEASE_RELEASED)) {
		lease->error = 0;
		lease_run_on(lease);
		if (lease->error != 0)
			nf_warn("lease %" PRIu32 " could not be given back (%s): who takes it next has to wait", lease->core.generation,
				lease->message);
	}
	lease_free(lease);
}

int bd_lease_look(struct ob_client *client, struct bd_lease_facts *ret_facts, char *message, size_t size)
{
	const struct bd_lease_options options = {.ttl_ms = BD_LEASE_LEAST_TTL_MS};
	struct bd_lease *lease = lease_new(client, &options);
	struct lease_doc doc;
	uint32_t highest;
	int error = 0;
	if (lease == NULL) {
		snprintf(message, size, "out of memory");
		return -ENOMEM;
	}
	if (lease_list(lease, &highest) != LEASE_DONE || (highest > 0 && lease_get(lease, highest, &doc) != LEASE_DONE)) {
		snprintf(message, size, "lease: %s", lease->message);
		error = lease->error;
	} else if (highest == 0) {
		snprintf(message, size, "nobody has ever written there");
		error = -ENOENT;
	} else {
		*ret_facts = (struct bd_lease_facts){.generation = doc.generation, .renewed_s = lease->paper.time_s, .ttl_ms = doc.ttl_ms};
		snprintf(ret_facts->holder, sizeof(ret_facts->holder), "%s", lease->paper.holder);
		snprintf(ret_facts->state, sizeof(ret_facts->state), "%s", lease_state_name(doc.state));
	}
	lease_free(lease);
	return error;
}
