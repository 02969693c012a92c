/* The tier of a store: what the rest of blockdev knows of it. Everything here does nothing, at once, for a store without one (store->tier NULL). */
#ifndef BD_TIER_H
#define BD_TIER_H

#include "blockdev/bd_impl.h"
#include "blockdev/tier/config.h"
#include "blockdev/tier/object/object.h"

#define BD_TIER_BYTES (UINT64_C(256) << 40) /* what a store with a tier says it has room for, without a size limit */

struct bd_lease;
struct bd_rows;
struct bd_cold;
struct bd_ship;

struct bd_tier {
	struct bd_store *store;
	struct nf_io *lower; /* the local disk */
	struct bd_tier_config config;
	struct ob_client *client;
	struct ob_client *lease_client; /* the lease's own: its renewals never queue behind uploads */
	struct bd_lease *lease; /* NULL: read-only */
	struct bd_rows *rows;
	struct bd_cold *cold;
	struct bd_ship *ship;	/* NULL: read-only */
	uint32_t generation;
	/* Of the manifest whose checkpoint comes next: the first one without what is removed now. Written by the ship, under checkpoint_lock. */
	_Atomic uint32_t next_manifest;
	/* The number of the checkpoint that the newest manifest was taken at (store->checkpoint_done then); 0: this generation has none yet. What is not in the log (sweeps) is in the object store
	 * from that manifest on: who attaches replays everything behind it, so an item that supposes it must come after. */
	_Atomic uint64_t manifest_checkpoint;
};

/* In the order of opening a store:
 * read STORE/tier.json, open the client, take the lease (not for a read-only store), put the cold nf_io between store and disk. A store without that file has no tier: 0.
 * Errors as of bd_store_open, and -ESTALE: another machine took the store over; -EBUSY another machine holds the lease; -EHOSTUNREACH ... the message says it. */
NF_MUST_CHECK int bd_tier_open(struct bd_store *store, char *message, size_t size);
/* The index is open: load the 'T' records. Before extents are loaded. */
NF_MUST_CHECK int bd_tier_load(struct bd_store *store);
/* A checkpoint has ended; checkpoint_lock is held. `number`: what store->checkpoint_begun was raised to by it. Cheap. */
void bd_tier_checkpointed(struct bd_store *store, uint64_t number);
/* The store is whole and writable: begin to upload. */
NF_MUST_CHECK int bd_tier_start(struct bd_store *store);
/* The store is about to end: whoever waits for the object store, or would, gets -ECANCELED. */
void bd_tier_stop_waiting(struct bd_store *store);
/* At a clean close, after the last checkpoint: upload what is missing, up to `tier->config.close_wait_s`; a warning says what is not safe then. Ends the threads, gives the lease back. */
void bd_tier_stop(struct bd_store *store, bool clean);
/* After everything that does I/O. */
void bd_tier_free(struct bd_store *store);

#endif
