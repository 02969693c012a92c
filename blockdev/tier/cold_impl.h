/* Inside of the cold nf_io: shared by cold*.c only.
 *
 *   cold.c        files, reads and writes: which local file an op goes to
 *   cold_fetch.c  threads that bring groups from the object store into cold/ID; what is read ahead
 *   cold_evict.c  how much is here, what goes, who waits for room
 *
 * States of an extent's file:
 *          open: extents/ID is there
 *    ─────────────────────────────────▶ WARM (local)
 *                                        │ evict: the file is taken out under `lock` when nobody has it pinned, then deleted
 *          open: it is not, but a row    ▼
 *    ─────────────────────────────────▶ COLD (local NULL): each group AWAY ──▶ COMING ──▶ HERE, in `cache`
 *                                                                 ▲    failed │          │
 *                                                                 └───────────┴──evict───┘
 * Whoever uses a file's local or cache file has it pinned meanwhile, fetches too. Only what nobody has pinned is evicted, so an op never loses the file under
 * it, and a group that an op has found HERE stays until the op is done.
 *
 * Locks: `names` before `lock`. Neither is held while anybody waits for the object store; disk I/O is done under `names` only (creating, deleting and renaming
 * the files of one extent are in one order then). Under `lock` only the rows' lock is taken. */
#ifndef BD_COLD_IMPL_H
#define BD_COLD_IMPL_H

#include <pthread.h>

#include "blockdev/tier/cold.h"
#include "blockdev/tier/rows.h"
#include "common/nf_io_impl.h"

#define COLD_NO_EXTENT UINT32_MAX
#define COLD_PATH_SIZE 32
#define COLD_JOB_GROUPS 16u	/* of one GET: 2 MiB of blocks */
#define COLD_AHEAD_GROUPS 96u	/* read ahead of a reader at most */
#define COLD_AHEAD_JOBS 64u	/* waiting at most */
#define COLD_THREADS_MAX 16u
#define COLD_SLACK_BYTES (UINT64_C(32) << 20) /* what writers that are let through may take before the next one is asked to wait */

enum cold_group { COLD_AWAY, COLD_COMING, COLD_HERE };

struct cold_file {
	struct nf_file base;
	struct bd_cold *cold;	/* const */
	bool in_extents;	/* const: its bytes count among those of extents */
	/* guarded by cold->lock */
	char path[COLD_PATH_SIZE]; /* its name, in extents/; "" without one any more */
	uint32_t extent;	/* that the name says, or COLD_NO_EXTENT: then it is not evicted */
	unsigned refs;		/* who opened it, and jobs */
	unsigned pins;		/* who uses its files: ops and jobs */
	struct nf_file *local;	/* WARM, or no extent's; NULL: COLD */
	uint64_t bytes;		/* of `local` */
	struct nf_file *cache;	/* cold/ID; made by the first fetch */
	uint8_t *groups;	/* [group_count], enum cold_group; NULL until the file is cold */
	uint32_t used, group_count;
	uint64_t cached_bytes;	/* of groups that are here */
	int error;		/* of the last group that did not come */
	uint64_t last_use;
	/* what the reader is thought to want next */
	uint32_t next_group, streak, ahead_to;
	struct cold_file *next, *previous; /* cold->files, when in_extents */
};

/* Groups to be fetched by one GET. The file is pinned and referred to. */
struct cold_job {
	struct cold_job *next;
	struct cold_file *file;
	uint32_t first, count;
	bool ahead;
};

struct cold_queue {
	struct cold_job *first, **end;
	unsigned count;
};

struct bd_cold {
	struct nf_io base;
	struct bd_tier *tier; /* const */
	struct nf_io *lower;  /* const */
	pthread_mutex_t names; /* creating, renaming and deleting files in extents/ and cold/ */
	pthread_mutex_t lock;  /* all below */
	pthread_cond_t changed; /* groups came, or did not */
	struct cold_file *files;
	uint64_t clock; /* of last_use */
	bool stopping;
	/* fetching */
	struct cold_queue wanted, ahead;
	unsigned thread_count, threads_max, idle, busy_ahead;
	pthread_t threads[COLD_THREADS_MAX];
	pthread_cond_t work;
	unsigned waiting; /* readers */
	bool told_away;
	uint64_t fetches, fetched_bytes;
	/* room */
	uint64_t extent_bytes, cached_bytes, other_bytes; /* here */
	uint64_t disk_free, disk_total;
	uint64_t evicted_bytes;
	_Atomic bool tight;
	bool whole; /* the store may be asked for checkpoints */
	bool evicter_runs, kicked, hopeless;
	unsigned room_waiters;
	pthread_t evicter;
	pthread_cond_t evict_wake, room_changed;
};

static inline struct bd_cold *cold_of(struct nf_io *io)
{
	return (struct bd_cold *)io;
}
static inline struct cold_file *cold_file_of(struct nf_file *file)
{
	return (struct cold_file *)file;
}

void cold_extent_path(uint32_t extent, char path[COLD_PATH_SIZE]);
void cold_cache_path(uint32_t extent, char path[COLD_PATH_SIZE]);
/* Under lock: make room for the states of a cold file's groups; all are away. -ENOMEM. */
NF_MUST_CHECK int cold_prepare(struct cold_file *file, uint32_t used);
/* Under lock: one reference fewer. True: it was the last one, and cold_file_free is to be called when the lock is let go. */
bool cold_unref(struct cold_file *file);
void cold_file_free(struct cold_file *file);

/* cold_fetch.c. Under lock, with the file pinned: what of [first, end) is away is asked for. */
void cold_ask(struct cold_file *file, uint32_t first, uint32_t end);
/* Under lock, with the file pinned: groups [first, end) are here, or 0 < errno. Waits. With `may_wait` false: BD_LAZY when they are not. */
NF_MUST_CHECK int cold_want(struct cold_file *file, uint32_t first, uint32_t end, bool may_wait);
/* Under lock, after a read of [first, end): what is likely to be read next. */
void cold_read_ahead(struct cold_file *file, uint32_t first, uint32_t end);
void cold_fetch_stop(struct bd_cold *cold);

/* cold_evict.c. Under lock: bytes here have changed. */
void cold_account(struct bd_cold *cold);
/* Under lock: is it time to evict, and not to fetch what nobody waits for? */
bool cold_is_filling(const struct bd_cold *cold);
/* Under no lock: the same, with a look at the disk. */
void cold_account_disk(struct bd_cold *cold);
/* Under no lock: what was not used for longest goes, warm or cached. False: there is nothing that may go. */
bool cold_evict_one(struct bd_cold *cold);
void cold_evict_stop(struct bd_cold *cold);

#endif
