/* Inside of extents: shared by the files of this folder only. */
#ifndef BD_EXTENT_IMPL_H
#define BD_EXTENT_IMPL_H

#include "blockdev/extent/extent.h"

#define EXTENT_MAGIC 0x3158464eu /* "NFX1" */
#define EXTENT_FORMAT 1u
#define EXTENT_TABLE_BYTES ((size_t)BD_EXTENT_SLOTS * BD_EXTENT_SLOT_SIZE)
#define EXTENT_PATH_SIZE 32
#define EXTENT_VALUE_MAX (9 + BD_VALUE_CHECK)
#define EXTENT_ID_MAX (1u << 30)
#define EXTENT_GROW_SLOTS 512u			      /* disk is reserved in steps of 4 MiB at least, */
#define EXTENT_MOVED_SLOTS 16u			      /* less for the collector where there is not more, */
#define EXTENT_GROW_SHARE 2u			      /* and of half of what lives */
#define EXTENT_LIMIT_SHARE 32u			      /* and no more than that of the local limit of a store with a tier */
#define EXTENT_PREPARE_STEP (BD_EXTENT_SLOTS / 2)     /* extents are made ahead in stores that grow by this much */
#define EXTENT_PREPARE_SLOTS (BD_EXTENT_SLOTS / 2)    /* used of an extent when the next one is made */
#define EXTENT_RESERVE_BYTES (UINT64_C(256) << 20)    /* kept free by front writes at most, */
#define EXTENT_RESERVE_LEAST (UINT64_C(96) << 20)     /* and at least: an extent to move to, and some for the index */

#define EXTENT_SPARES 64u /* 4 GiB */
#define EXTENT_SPARE_PREFIX "spare."

struct bd_extent {
	uint32_t id;		/* const */
	struct nf_file *file;	/* const once in the table */
	bool is_cached;		/* const: of BD_STREAM_CACHED, since it was made; never after a restart, when no slot is written any more */
	/* guarded by extents->lock; used, allocated also only change under the stream's lock */
	uint32_t used, allocated; /* slots */
	uint32_t unfilled;	/* allocated by writers that have not filled them yet */
	int32_t live;		/* index keys that refer to it: a hint for choosing, verified before removal */
	uint32_t refs;		/* 1 for the table, 1 a holder */
	bool sealed, unsynced, count_dirty, collecting, damaged;
	bool was_open; /* at the last crash */
	bool keep_file; /* removed; when the last holder has put it, its file is a spare */
	uint64_t last_sequence;
	uint8_t *table;		/* in memory while it changes, else NULL */
	uint32_t dirty_low, dirty_high; /* slots whose table entries are not written yet */
	uint64_t table_done;	/* the last checkpoint that had begun when the table left memory; 0: before the store was opened */
};

struct extent_stream {
	pthread_mutex_t lock; /* around allocation; no inode lock may be held */
	struct bd_extent *current;
	struct bd_extent *next;	  /* empty, to be the next */
	bool preparing;		  /* one thread is making the next, without the lock */
	uint32_t tried;		  /* id + 1 of the extent that was current when one was last made ahead */
	pthread_cond_t prepared;  /* no more */
};

struct extent_spare {
	struct nf_file *file;
	uint32_t id;	    /* of the extent that it was, and in its name */
	uint32_t allocated; /* slots; but for what a crash left reserved, all written before */
	int64_t since_s;    /* monotonic */
};

struct bd_extents {
	pthread_mutex_t lock;
	pthread_mutex_t sync_lock; /* one sync at a time; before `lock` */
	struct bd_extent **by_id;
	uint32_t slots, count, next_id;
	uint64_t sequence, synced, bytes;
	int64_t live;
	bool settled; /* recovery is over: files may be kept */
	pthread_mutex_t drop_lock; /* one deletes spares at a time; before `lock` */
	int64_t aged_s;		   /* when spares were last looked at for their age */
	struct extent_spare spares[EXTENT_SPARES]; /* the first `spare_ready`, oldest first */
	unsigned spare_ready, spare_count;	   /* count: with those that readers still hold */
	uint64_t spare_bytes;			   /* of all counted */
	struct extent_stream streams[BD_STREAMS];
};

void extent_path(uint32_t id, char path[EXTENT_PATH_SIZE]);
size_t extent_value(const struct bd_extent *extent, uint8_t value[EXTENT_VALUE_MAX]);
struct bd_extent *extent_make(uint32_t id);
void extent_destroy(struct bd_extent *extent);
/* Into the table. Under lock; extents_adopt takes it, and counts the extent's slots too. -ENOMEM. */
int extents_insert(struct bd_extents *extents, struct bd_extent *extent);
int extents_adopt(struct bd_store *store, struct bd_extent *extent);
/* The ids in the names in extents/ that are `prefix` and eight hexadecimal digits; free(*ret_ids), also after an error. */
NF_MUST_CHECK int extents_names(struct bd_store *store, const char *prefix, uint32_t **ret_ids, size_t *ret_count);

/* Spares (spare.c). */
/* The extent is out of the table and its record durably deleted: keep its file, if there is room for it. *ret_kept: the file has lost its name; else the
 * caller deletes it. Not 0: a flush of the directory failed. The caller holds the extent. */
NF_MUST_CHECK int spare_keep(struct bd_store *store, struct bd_extent *extent, bool *ret_kept);
/* Nobody holds the extent any more. Under lock. */
void spare_add(struct bd_extents *extents, struct bd_extent *extent);
/* Give the new extent a spare's file and slots. False when there is none. `path` is the file's name until it is renamed. */
bool spare_take(struct bd_extents *extents, struct bd_extent *extent, char path[EXTENT_PATH_SIZE]);
/* Delete one spare, after whoever else is deleting one. False when there is none. */
bool spare_drop(struct bd_store *store);
/* At the end: close them. */
void spares_free(struct bd_extents *extents);

/* Byte offsets in a slot table entry. */
#define EXTENT_SLOT_FLAGS 20u
#define EXTENT_SLOT_SEQUENCE 24u
/* Recovery: the slot is this version's. The table must be in memory. */
void extent_replay_fill(struct bd_store *store, struct bd_extent *extent, uint32_t slot, const struct bd_block_id *id,
			uint64_t sum);

#endif
