/* Inside of extents: shared by extent.c and table.c only. */
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
#define EXTENT_GROW_SHARE 2u			      /* and of half of what lives */
#define EXTENT_PREPARE_STEP (BD_EXTENT_SLOTS / 2)     /* extents are made ahead in stores that grow by this much */
#define EXTENT_PREPARE_SLOTS (BD_EXTENT_SLOTS / 2)    /* used of an extent when the next one is made */
#define EXTENT_RESERVE_BYTES (UINT64_C(256) << 20)    /* kept free by front writes */

struct bd_extent {
	uint32_t id;		/* const */
	struct nf_file *file;	/* const once in the table */
	/* guarded by extents->lock; used, allocated also only change under the stream's lock */
	uint32_t used, allocated; /* slots */
	uint32_t unfilled;	/* allocated by writers that have not filled them yet */
	int32_t live;		/* index keys that refer to it: a hint for choosing, verified before removal */
	uint32_t refs;		/* 1 for the table, 1 a holder */
	bool sealed, unsynced, count_dirty, collecting, damaged;
	bool was_open; /* at the last crash */
	uint64_t last_sequence;
	uint8_t *table;		/* in memory while it changes, else NULL */
	uint32_t dirty_low, dirty_high; /* slots whose table entries are not written yet */
};

struct extent_stream {
	pthread_mutex_t lock; /* around allocation; no inode lock may be held */
	struct bd_extent *current;
	struct bd_extent *spare;  /* empty, to be the next */
	bool preparing;		  /* one thread is making the spare, without the lock */
	uint32_t tried;		  /* id + 1 of the extent that was current when a spare was last tried */
	pthread_cond_t prepared;  /* no more */
};

struct bd_extents {
	pthread_mutex_t lock;
	pthread_mutex_t sync_lock; /* one sync at a time; before `lock` */
	struct bd_extent **by_id;
	uint32_t slots, count, next_id;
	uint64_t sequence, synced, bytes;
	int64_t live;
	struct extent_stream streams[BD_STREAMS];
};

void extent_path(uint32_t id, char path[EXTENT_PATH_SIZE]);
size_t extent_value(const struct bd_extent *extent, uint8_t value[EXTENT_VALUE_MAX]);
int extents_adopt(struct bd_store *store, struct bd_extent *extent);
struct bd_extent *extent_make(uint32_t id);
void extent_destroy(struct bd_extent *extent);
/* Byte offsets in a slot table entry. */
#define EXTENT_SLOT_FLAGS 20u
#define EXTENT_SLOT_SEQUENCE 24u
/* Recovery: the slot is this version's. The table must be in memory. */
void extent_replay_fill(struct bd_store *store, struct bd_extent *extent, uint32_t slot, const struct bd_block_id *id,
			uint64_t sum);

#endif
