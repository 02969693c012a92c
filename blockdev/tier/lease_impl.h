/* Inside of the lease: lease.c (the contract and the thread), lease_take.c, lease_ask.c (requests). */
#ifndef BD_TIER_LEASE_IMPL_H
#define BD_TIER_LEASE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "blockdev/tier/lease.h"
#include "blockdev/tier/lease_doc.h"

#define LEASE_NS_PER_MS INT64_C(1000000)

struct bd_lease {
	/* const after take */
	struct ob_client *client;
	uint32_t ttl_ms;
	void (*lost)(void *arg, const char *why);
	void *arg;
	/* the thread's; of who takes and who closes, while there is none */
	struct lease_core core;
	uint32_t deadline_ms;
	uint32_t list_after; /* no generation up to here is of interest */
	char etag[OB_ETAG_MAX]; /* of lease/G, as it was put or got last; "" = not known */
	struct lease_paper paper; /* the last one got */
	int error;		  /* of the last request that failed */
	char message[OB_MESSAGE_MAX];
	/* anybody's */
	_Atomic int64_t valid_until_ns;
	_Atomic bool is_lost, was_confirmed;

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by `lock` */
	bool has_thread, stopping, no_waiting, is_idle;
	unsigned waiters;
	char last_error[256];
};

/* Of CLOCK_BOOTTIME. */
int64_t lease_now_ns(void);

/* ---- lease_ask.c: on the thread that runs the protocol. What fails is in `error` and `message`. */
enum lease_outcome lease_list(struct bd_lease *lease, uint32_t *ret_generation);
enum lease_outcome lease_get(struct bd_lease *lease, uint32_t generation, struct lease_doc *ret_doc);
/* Ask, and tell the protocol what came of it; not for PAUSE and NOTHING. */
void lease_ask_store(struct bd_lease *lease, const struct lease_ask *ask);
/* The same until there is nothing to ask: renewals and what is told, which have no pauses. */
void lease_run_on(struct bd_lease *lease);

/* ---- lease_take.c: as of bd_lease_take, with a lease that has no thread yet */
NF_MUST_CHECK int lease_take(struct bd_lease *lease, const struct bd_lease_options *options, char *message, size_t size);

#endif
