/* 'T' records of the index: extents in the object store.
 *
 * Key 'T', extent u32. Value: generation u32, state u8 (1 there, 2 doomed), number u32 (doomed: the manifest of that number or a later one is the first without the extent; of
 * `generation2` u32), object size u64, used u32, groups u32, for each group stored size u32 (bit 31: raw) and XXH3 u64.
 * In memory all of them, by extent id: rows_lock, a leaf lock. The maps are loaded with the record and are const while the row is held.
 * A store with such a record has format version 3 (BD_FORMAT_TIER). */
#ifndef BD_TIER_ROWS_H
#define BD_TIER_ROWS_H

#include "blockdev/tier/pack.h"

struct bd_rows;

NF_MUST_CHECK int bd_rows_new(struct bd_rows **ret_rows);
void bd_rows_free(struct bd_rows *rows);
/* From the index, and of items replayed from the log (value NULL: deleted). */
NF_MUST_CHECK int bd_rows_load(struct bd_store *store, struct bd_rows *rows);
NF_MUST_CHECK int bd_rows_replay(struct bd_rows *rows, const void *key, size_t key_size, const void *value, size_t size);

/* The extent's object is there: commit the record. Durable after bd_sync_log(*ret_ticket). Must not wait for room that making needs uploads (README). */
NF_MUST_CHECK int bd_rows_put(struct bd_store *store, uint32_t extent, uint32_t generation, const struct bd_pack_map *map, uint64_t *ret_ticket);
/* Into the commit that removes an extent: its object, when there is one, is doomed. */
void bd_rows_doom(struct bd_store *store, uint32_t extent, struct bd_commit *commit);
/* Is it there (not doomed)? With the map held until bd_rows_release; both may be NULL. */
bool bd_rows_find(struct bd_rows *rows, uint32_t extent, uint32_t *ret_generation, const struct bd_pack_map **ret_map);
void bd_rows_release(struct bd_rows *rows, const struct bd_pack_map *map);
/* The record is in the index durably: what cold.c may evict. Told by checkpoints: all rows put before `checkpoint_begun` rose. */
bool bd_rows_is_settled(struct bd_rows *rows, uint32_t extent);
void bd_rows_checkpointed(struct bd_rows *rows, uint64_t checkpoint);

/* For scrub: is the value (without its check) one of that extent's? -EUCLEAN. */
NF_MUST_CHECK int bd_rows_check(uint32_t extent, const void *value, size_t size, bool *ret_doomed);

/* Doomed ones by rising extent id, from `from` on, `max` at most: what the ship deletes when no manifest in the window is older than (without_generation,
 * without_number). Returns how many. */
struct bd_rows_doomed {
	uint32_t extent, generation;			/* the object's key */
	uint32_t without_generation, without_number; /* the first manifest that does not refer to it */
};
size_t bd_rows_doomed(struct bd_rows *rows, uint32_t from, struct bd_rows_doomed *ret_doomed, size_t max);
/* A doomed extent's object has been deleted: commit the deletion of its record. */
NF_MUST_CHECK int bd_rows_forget(struct bd_store *store, uint32_t extent);

/* "extent/0000000g-0000000e" */
#define BD_TIER_KEY_SIZE 96
void bd_rows_key(uint32_t generation, uint32_t extent, char key[BD_TIER_KEY_SIZE]);

#endif
