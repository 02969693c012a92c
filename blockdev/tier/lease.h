/* The lease: one writer of an object store.
 *
 * Objects lease/G, G = 1, 2, ...; each is made by a put that must find none (one winner), by who wants to be the writer, and rewritten by that one alone. JSON: generation, holder (a random
 * number, host name, process), state ("taking", "held", "idle", "released"), ttl_ms, renewed (a counter, and the time for people). None is ever deleted. The owner is who made the highest G.
 *
 *   take:   make lease/G+1 ("taking"; G the highest there is) and read it back. Then read lease/G: "released" is final: begin at once. Else wait its ttl_ms from the moment when lease/G+1 was
 *           made: by then whatever G was renewed for has passed. Begin by a renewal.
 *           Politeness, no part of the argument: without take_over a "held" lease/G is looked at first, for half its ttl, and if it changes, nothing is made: -EBUSY, and the message says who holds it.
 *           An "idle" one is not taken either: it looks like one that is dead.
 *   renew:  put lease/G ("held", counter + 1), then look for lease/G+1. Not there: valid for ttl from the moment before the put. There: lost, for ever.
 *           Either the holder sees G+1, or it had looked before G+1 was made, and its ttl is waited out. No clock is compared with another.
 *   idle:   nothing was acknowledged for a while: put "idle" once, for people, and renew no more. The next acknowledgement renews first. So a store that does nothing asks nothing.
 *
 * A store's directory remembers in STORE/lease.json which lease was its last. Only it may follow that one (else -ESTALE: what it has is not the newest); attach, which takes what is in the object
 * store, may follow any. When the record also shows that it was held by a process of this boot in this very directory, which is gone since the directory's lock is ours, nothing is waited for.
 *
 * Validity is measured on CLOCK_BOOTTIME. A renewal that cannot be made (object store away) lets the lease run out: acknowledgements wait then; they go on when a renewal succeeds, and
 * fail for good when lease/G+1 is there. The argument in full: lease_core.h. */
#ifndef BD_TIER_LEASE_H
#define BD_TIER_LEASE_H

#include "blockdev/tier/object/object.h"

struct bd_lease;

#define BD_LEASE_RECORD_FILE "lease.json"
#define BD_LEASE_LEAST_TTL_MS 100u

struct bd_lease_options {
	uint32_t ttl_ms; /* at least BD_LEASE_LEAST_TTL_MS */
	/* The store's directory, whose lock the caller holds; the record is kept there. NULL: no record, any lease may be followed. */
	const char *store_path;
	bool adopt;	/* attach: also follow a lease that was not this directory's */
	bool take_over; /* also from one that is alive */
	bool unsafe;	/* --unsafe-no-lease: a number is taken, without conditions, and nothing kept: bd_lease_confirm is always 0 */
	/* Called once, on the lease's thread, when it is found lost. Must not call back. */
	void (*lost)(void *arg, const char *why);
	void *arg;
	/* Progress for people while take waits; may be NULL. */
	void (*say)(void *arg, const char *line);
};

/* Take it: a new generation. `client`: one that nothing else uses, so that a renewal never queues behind uploads; the caller's, and it outlives the lease.
 * Returns 0; -EBUSY held, or being taken, by another; -ESTALE the directory's own lease is not the last one; -EOPNOTSUPP the object store knows no conditional put (message: --unsafe-no-lease);
 * others with a message. Starts a thread, which sleeps while idle. */
NF_MUST_CHECK int bd_lease_take(struct ob_client *client, const struct bd_lease_options *options, struct bd_lease **ret_lease, char *message, size_t size);
uint32_t bd_lease_generation(const struct bd_lease *lease);
/* 0 when it is certainly held at this moment: call it after what is acknowledged was done, right before telling. Waits for a renewal when it ran out or is idle; -ESTALE: lost, now and for
 * ever after; -ECANCELED stopping. Cheap while held: no lock, one clock. Whoever waits holds no lock that anybody's request needs. */
NF_MUST_CHECK int bd_lease_confirm(struct bd_lease *lease);
/* From now on whoever waits in bd_lease_confirm, or would, gets -ECANCELED. Before a close. */
void bd_lease_stop_waiting(struct bd_lease *lease);
/* The same for the uploader: what was put before is this lease's, whoever takes the next one. Waits so long at most, also after bd_lease_stop_waiting: -ETIMEDOUT. */
NF_MUST_CHECK int bd_lease_confirm_within(struct bd_lease *lease, uint32_t wait_ms);
/* False once lost. For deletions call bd_lease_confirm. */
bool bd_lease_is_lost(const struct bd_lease *lease);
struct bd_lease_status {
	uint32_t generation;
	bool lost, held, idle;
	int64_t left_ms;
	char last_error[256]; /* of the last renewal; "" = fine */
};
void bd_lease_status(struct bd_lease *lease, struct bd_lease_status *ret_status);
/* End the thread; `release`: say so in the object store, so that the next one need not wait. NULL is legal. */
void bd_lease_close(struct bd_lease *lease, bool release);

/* What `attach` and `status` tell without taking it. -ENOENT: never had one. */
struct bd_lease_facts {
	uint32_t generation;
	char holder[256]; /* host and process, for people; printable */
	char state[16];
	int64_t renewed_s; /* Unix time, of the holder's clock */
	uint32_t ttl_ms;
};
NF_MUST_CHECK int bd_lease_look(struct ob_client *client, struct bd_lease_facts *ret_facts, char *message, size_t size);

#endif
