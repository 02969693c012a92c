/* The lease: one writer of an object store.
 *
 * Objects lease/G, G = 1, 2, ...; each is made by a put that must find none (one winner), by who wants to be the writer, and rewritten by that one alone. JSON: generation, holder (a random
 * number, host name, process), state ("held", "idle", "released"), ttl_ms, renewed (a counter, and the time for people). The owner is who made the highest G.
 *
 *   take:   make lease/G+1 (G the highest there is). Then read lease/G: "idle" or "released": begin at once. "held": wait until its ttl has passed on our own monotonic clock without
 *           its content having changed since we first saw it (it stops changing, because its holder sees G+1: renewing ends). Without --take-over a held lease/G is looked at first, for one ttl, and if it changes,
 *           nothing is made: -EBUSY, and the message says who holds it.
 *   renew:  put lease/G ("held", counter + 1), then look for lease/G+1. Not there: valid for ttl from the moment before the put. There: lost, for ever.
 *           Either the holder sees G+1, or whoever makes G+1 reads what the holder has just put, and waits it out. No clock is compared with another.
 *   idle:   nothing was acknowledged for a while: put "idle" once and renew no more. The next acknowledgement renews first. So a store that does nothing asks nothing.
 * Validity is measured on CLOCK_BOOTTIME. A renewal that cannot be made (object store away) lets the lease run out: acknowledgements wait then; they go on when a renewal succeeds, and
 * fail for good when lease/G+1 is there. */
#ifndef BD_TIER_LEASE_H
#define BD_TIER_LEASE_H

#include "blockdev/tier/object/object.h"

struct bd_lease;

struct bd_lease_options {
	uint32_t ttl_ms;
	bool take_over; /* also from one that is alive */
	/* Called once, on the lease's thread or that of who asked, when it is found lost. */
	void (*lost)(void *arg, const char *why);
	void *arg;
	/* Progress for people while take waits; may be NULL. */
	void (*say)(void *arg, const char *line);
};

/* Take it: a new generation. -EBUSY held by another; -EOPNOTSUPP the object store knows no conditional put (message: --unsafe-no-lease); others with a message. Starts a thread, which sleeps while idle. */
NF_MUST_CHECK int bd_lease_take(struct ob_client *client, const struct bd_lease_options *options, struct bd_lease **ret_lease, char *message, size_t size);
uint32_t bd_lease_generation(const struct bd_lease *lease);
/* 0 when it is certainly held at this moment: call it after what is acknowledged was done, right before telling. Waits for a renewal when it ran out or is idle; -ESTALE: lost, now and for
 * ever after; -ECANCELED stopping. Cheap while held: no lock, one clock. */
NF_MUST_CHECK int bd_lease_confirm(struct bd_lease *lease);
/* Is it held, or could be renewed? False once lost. For deletions call bd_lease_confirm. */
bool bd_lease_is_lost(const struct bd_lease *lease);
struct bd_lease_status {
	uint32_t generation;
	bool lost, held, idle;
	int64_t left_ms;
	char last_error[256]; /* of the last renewal; "" = fine */
};
void bd_lease_status(struct bd_lease *lease, struct bd_lease_status *ret_status);
/* End the thread; `release`: say so in the object store, so that the next one need not wait. */
void bd_lease_close(struct bd_lease *lease, bool release);

/* What `attach` and `status` tell without taking it. -ENOENT: never had one. */
struct bd_lease_facts {
	uint32_t generation;
	char holder[256], state[16];
	int64_t renewed_s; /* Unix time, of the holder's clock */
	uint32_t ttl_ms;
};
NF_MUST_CHECK int bd_lease_look(struct ob_client *client, struct bd_lease_facts *ret_facts, char *message, size_t size);

#endif
