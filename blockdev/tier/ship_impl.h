/* Inside of the ship: shared by ship*.c and reap.c only.
 *
 * Two threads, both niced:
 *   tail   follows the log: a shipment whenever there is news, in one or several pieces (ship_piece.c)
 *   bulk   extents (ship_extent.c; where several wait, with helpers that end with the round), manifests (ship_manifest.c), deletion (reap.c), one after the other
 *
 * The chain is what the newest manifest and the pieces behind it make restorable. It begins at a manifest's `retain`, and every whole shipment makes it longer:
 *
 *             start, or the ring has come round before it was read
 *   BROKEN ◀────────────────────────────────────────────────────────┐
 *      │ bulk makes a checkpoint: shipped := its retain             │
 *      ▼                                                            │
 *   WHOLE ── tail ships ──▶ shipped reaches the checkpoint's end ──▶ the manifest is put; on it goes
 *
 * Invariants:
 *   1. `pieces` follow each other without a gap up to `shipped`; what was put of an unfinished shipment is behind it, in `pieces` too.
 *   2. A manifest is put only when everything that it names is there and `shipped` has reached the end of the log as of its checkpoint.
 *   3. A piece that was once begun to be put is put with the same bytes until it is there, or the process ends, or the chain breaks for another reason: no two pieces
 *      of a generation begin at one position.
 *   4. A shipment leaves out the blocks of an extent only when its `T` record lies before the shipment's end.
 * `lock` is a leaf: nothing is called under it but clocks. */
#ifndef BD_SHIP_IMPL_H
#define BD_SHIP_IMPL_H

#include <pthread.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/manifest.h"
#include "blockdev/tier/pack.h"
#include "blockdev/tier/piece.h"
#include "blockdev/tier/rows.h"
#include "blockdev/tier/ship.h"

#define SHIP_NICE 10
#define SHIP_PIECE_RECORDS (UINT64_C(4) << 20) /* bytes of records and blocks in one piece */
#define SHIP_PIECE_BLOCKS 512u
#define SHIP_MANIFEST_BYTES (UINT64_C(64) << 20) /* of pieces since the last manifest */
#define SHIP_MANIFEST_PIECES 256u
#define SHIP_MANIFEST_MS 600000
#define SHIP_INLINE_MAX (UINT64_C(1) << 20)	/* a file of the index that goes into the manifest, unless it is a table */
#define SHIP_UPLOADS 3u				/* extents at a time; each takes the memory of a packed one */
#define SHIP_BULK_BYTES (UINT64_C(64) << 20)	/* written since the last shipment: then extents go before it */
#define SHIP_BULK_MS 10000			/* so long at most, and while no more than */
#define SHIP_BULK_RING 4u			/* of the ring waits, so that it does not come round */
#define SHIP_READ_SLOTS 128u			/* 1 MiB at a time from an extent */
#define SHIP_PAUSE_MS 60000			/* the longest between two tries of what was refused */
#define SHIP_INDEX_DIR "index.ship"		/* hard links, while a manifest is made */

/* An extent whose `T` record is in the log at `ticket` or before (UINT64_MAX: it is being written), and may not have been shipped. */
struct ship_recent {
	uint32_t extent;
	uint64_t ticket;
};

/* A file of the index that is in the object store. */
struct ship_file {
	char name[BD_MANIFEST_NAME_MAX];
	uint64_t size, sum;
	uint32_t generation, number;
};

/* How far to ship: everything acknowledged before `read_ns`, `written` bytes of it at least, lies before `end`. */
struct ship_goal {
	uint64_t end, written;
	int64_t read_ns;
};

struct bd_ship {
	/* const after start */
	struct bd_tier *tier;
	struct bd_store *store;
	struct ob_client *client; /* of its own: stopped when the ship is */
	uint32_t generation;
	/* guarded by lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, kicked, hurry; /* hurry: the tail does not wait for its delay */
	bool whole;		  /* the chain */
	uint64_t chain;		  /* its number: rises when it begins */
	uint64_t shipped;
	struct bd_manifest_piece *pieces;
	uint32_t piece_count, piece_capacity;
	uint64_t piece_bytes; /* of pieces put since the last manifest */
	uint32_t piece_news;  /* their number */
	int64_t chain_ns;     /* everything acknowledged before lies before `shipped` */
	int64_t safe_ns;      /* the same of the last chain that has a manifest */
	uint64_t shipped_written; /* store->written_bytes when that was read */
	struct ship_recent *recents;
	size_t recent_count, recent_capacity;
	uint64_t flush_asked, flush_done;
	uint64_t settle_asked, settle_done; /* the tail's: sealed extents are to be uploaded first */
	bool bulk_failed;		    /* at its last step: nobody waits for it */
	struct ship_goal needed;	    /* by a manifest that is being made; end 0: none is */
	uint32_t manifest;	 /* number of the newest one of this generation; 0: none */
	uint64_t manifest_chain; /* the chain that it belongs to */
	uint64_t manifest_end;	 /* the log's end as of its checkpoint */
	int64_t manifest_ms;	 /* monotonic */
	bool bulk_busy;
	char last_error[OB_MESSAGE_MAX];
	int64_t told_ms; /* when an error was last told */
	uint32_t *skipped; /* extents that cannot be read */
	size_t skipped_count;
	uint64_t put_requests, put_bytes, get_requests, get_bytes, deleted_objects;
	/* bulk's */
	struct ship_file *files;
	size_t file_count, file_capacity;
	bool looked_back; /* files of the last generation's manifest are known */
	bool orphans_gone;
	int64_t reap_ms; /* when to look for what is to be deleted; 0: not */
	pthread_t tail_thread, bulk_thread;
	bool tail_runs, bulk_runs;
};

int64_t ship_now_ms(void); /* monotonic */
/* Under lock: until something changes, or `ms` have passed. */
void ship_wait(struct bd_ship *ship, int64_t ms);
/* bd_checkpoint_then, with the right to fill the log. */
NF_MUST_CHECK int ship_checkpoint(struct bd_ship *ship, int (*then)(void *arg), void *arg);
/* Is it to end, or has the store gone to another machine? */
bool ship_is_over(struct bd_ship *ship);
/* Was what has been put until now put while the lease was held? Then whoever takes the next one finds it. Waits for a renewal as long as that takes: no lock may be held.
 * 0; -ECANCELED the ship is over. */
NF_MUST_CHECK int ship_confirm(struct bd_ship *ship);
/* An error that is no transient one: into the status, and told once a minute. */
void ship_note_error(struct bd_ship *ship, const char *what, const char *message);
/* Before try number `tries` (from 1): a growing pause, which a flush, a stop or a kick ends. */
void ship_pause(struct bd_ship *ship, unsigned tries);
/* Put until it is there, compared. -ECANCELED: the ship is over; -ENOMEM. */
NF_MUST_CHECK int ship_put(struct bd_ship *ship, const char *key, const void *bytes, uint64_t size);
/* Get an object of `size` bytes, malloc'd. -ENOENT; -ECANCELED; -ENOMEM; -EUCLEAN it has another size. */
NF_MUST_CHECK int ship_get(struct bd_ship *ship, const char *key, uint64_t size, void **ret_bytes);
/* One page of a list; ob_op_clear when done, also after an error. */
NF_MUST_CHECK int ship_list(struct bd_ship *ship, const char *prefix, const char *after, struct ob_op *ret_op);
/* Delete, after the lease was confirmed. */
NF_MUST_CHECK int ship_delete(struct bd_ship *ship, const char *key);

/* ship_piece.c: what the log has got since `shipped`. 0; -ESTALE: the ring has come round; -ECANCELED; others: reading or memory. */
NF_MUST_CHECK int ship_tail(struct bd_ship *ship, const struct ship_goal *goal);
/* All that is durable now. */
struct ship_goal ship_goal_now(const struct bd_ship *ship);
/* Read slots; what the disk does not give is zeros, told by a message: its checksums say that it is bad wherever it is read again. */
NF_MUST_CHECK int ship_read_slots(struct bd_ship *ship, struct bd_extent *extent, uint32_t slot, uint32_t count, void *buf);

/* ship_extent.c: upload every settled extent that is not there. -ECANCELED; -ENOMEM; -EROFS ... */
NF_MUST_CHECK int ship_extents(struct bd_ship *ship);
/* Pack `used` slots of an extent; `head`: its first BD_EXTENT_DATA_OFFSET bytes, NULL = those on disk. `strict`: an error where the disk does not give something. */
NF_MUST_CHECK int ship_pack(struct bd_ship *ship, struct bd_extent *extent, uint32_t used, const void *head, bool strict, struct bd_pack **ret_pack, const void **ret_object,
			    uint64_t *ret_size, struct bd_pack_map **ret_map);
/* Sealed extents that are not there; of these, such that are not settled yet. */
NF_MUST_CHECK int ship_count_waiting(struct bd_ship *ship, uint64_t *ret_extents, uint64_t *ret_bytes, uint64_t *ret_unsettled);

/* ship_manifest.c. 0; -EAGAIN: the chain broke meanwhile, again; -ECANCELED ... */
NF_MUST_CHECK int ship_manifest(struct bd_ship *ship);

/* ship_index.c: the files of a checkpoint of the index in directory `dir` into a manifest: put what is not there yet, fill in files and file_count. */
NF_MUST_CHECK int ship_index(struct bd_ship *ship, const char *dir, struct bd_manifest *manifest);
/* Once: which files the newest manifest of earlier generations has in the object store, as far as they are the ones that are here. */
NF_MUST_CHECK int ship_look_back(struct bd_ship *ship);
/* Remove a directory of files. 0 also when there is none. */
NF_MUST_CHECK int ship_remove_dir(const char *path);

/* reap.c: delete what nothing refers to any more. */
NF_MUST_CHECK int ship_reap(struct bd_ship *ship);
/* Keys of manifests, sorted; those of other stores' programs are none of ours. malloc'd. */
struct ship_known {
	uint32_t generation, number;
	uint64_t size;
	int64_t modified_s;
};
NF_MUST_CHECK int ship_known_manifests(struct bd_ship *ship, struct ship_known **ret_known, size_t *ret_count);
NF_MUST_CHECK int ship_get_manifest(struct bd_ship *ship, const struct ship_known *known, struct bd_manifest *ret_manifest);

#endif
