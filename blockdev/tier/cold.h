/* The nf_io of a store with a tier: everything is the local disk's but extents that are not here.
 *
 * Opening extents/ID that is not on disk and has a 'T' record gives a cold file: its bytes are fetched by groups when they are read (one ranged GET for groups that follow each
 * other, more of them ahead when reads are sequential), verified, kept in cold/ID (sparse) and read from there. cold/ is a cache: it is emptied when a store is opened.
 * A failed fetch that is transient is tried until it works (the reader waits, a message says so); what is damaged or missing is -EUCLEAN or -EIO, with a line that names the object.
 * Eviction makes a warm extent cold, or drops groups of a cold one: those not read for longest first, whole extents; never pinned ones.
 * Cold files refuse writes and growth (-EROFS). */
#ifndef BD_TIER_COLD_H
#define BD_TIER_COLD_H

#include "blockdev/tier/tier.h"

/* `lower` stays the caller's. *ret_io: for the store; destroyed by nf_io_destroy. */
NF_MUST_CHECK int bd_cold_create(struct bd_tier *tier, struct nf_io *lower, struct bd_cold **ret_cold, struct nf_io **ret_io);

/* Front writes call this before they take more disk: waits while the store is over its local limit and something can still be uploaded or evicted (told by a message after 10 s).
 * No lock may be held that uploading needs. -ENOSPC: nothing can be evicted and nothing uploaded (the message says what limit would do). */
NF_MUST_CHECK int bd_cold_wait_room(struct bd_store *store, uint64_t bytes);
/* Between these two the thread holds an operation's locks (bd_op_begin, bd_op_end), which others wait for: reads of what is not here do not wait but end in BD_LAZY, and
 * who asked reads it once outside of the operation. */
void bd_cold_forbid_waiting(void);
void bd_cold_allow_waiting(void);
/* Is the extent's file not here? False for any other file, and in a store without a tier. */
bool bd_cold_is_away(struct bd_store *store, struct nf_file *file);
/* Bytes that the disk itself has left, whatever the local limit says. */
NF_MUST_CHECK int bd_cold_disk_bytes(struct bd_store *store, uint64_t *ret_free, uint64_t *ret_total);
/* Is there too little room for front writes now? Without waiting. */
bool bd_cold_is_tight(struct bd_store *store);

/* The store is whole: eviction may ask it for checkpoints. */
void bd_cold_start(struct bd_cold *cold);
/* End the threads. Reads that wait, or come later for what is not here, end in -ECANCELED; writers that wait for room go on. May be called again. */
void bd_cold_stop(struct bd_cold *cold);

/* Make one extent cold now, or drop what is cached of it. -EBUSY: something reads it; -EPERM: it may not be dropped; -ENOENT: no such extent. */
NF_MUST_CHECK int bd_cold_evict(struct bd_cold *cold, uint32_t extent);

/* An extent's file became evictable, or local bytes grew: look whether something has to go. Cheap. */
void bd_cold_kick(struct bd_cold *cold);

/* The smallest local limit that a store can work with, and the ring that goes with a limit (0: none): an eighth of it, 16 to 128 MiB. For init and attach,
 * which refuse a smaller limit with a message that says this one. */
uint64_t bd_cold_least_limit(void);
uint64_t bd_cold_log_bytes(uint64_t local_limit_bytes);

struct bd_cold_status {
	uint64_t local_bytes, local_limit_bytes; /* of the store's directory, as du would say */
	uint64_t cached_bytes;			 /* in cold/ */
	uint64_t extents_cold, fetches, fetched_bytes, evicted_bytes;
	uint64_t waiting; /* reads that wait for the object store now */
};
void bd_cold_status(struct bd_cold *cold, struct bd_cold_status *ret_status);
/* Every extent is brought here, as long as there is room without evicting others; in the background (attach --prefetch). */
NF_MUST_CHECK int bd_cold_prefetch(struct bd_store *store, bd_progress_fn progress, void *arg);

#endif
