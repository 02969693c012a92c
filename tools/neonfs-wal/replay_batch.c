/* Batches: lists of items and the arena their records live in. */
#include "tools/neonfs-wal/replay_pool.h"

#include <stdlib.h>

#define PART_SIZE (1u << 20)
#define ITEMS_MIN 1024u

struct rp_arena_part {
	struct rp_arena_part *next;
	size_t size, used;
	_Alignas(8) uint8_t bytes[];
};

static struct rp_arena_part *new_part(size_t size)
{
	size_t room = NF_MAX(size, (size_t)PART_SIZE);
	struct rp_arena_part *part = malloc(sizeof(*part) + room);
	if (part != NULL)
		*part = (struct rp_arena_part){.size = room};
	return part;
}

/* Go on in the part after the one at hand, which is put there when it is missing or too small. */
static struct rp_arena_part *next_part(struct rp_arena *arena, size_t size)
{
	struct rp_arena_part *next = arena->at != NULL ? arena->at->next : arena->first;
	if (next == NULL || next->size < size) {
		struct rp_arena_part *part = new_part(size);
		if (part == NULL)
			return NULL;
		part->next = next;
		if (arena->at != NULL)
			arena->at->next = part;
		else
			arena->first = part;
		next = part;
	}
	next->used = 0;
	return arena->at = next;
}

void *rp_batch_room(struct rp_batch *batch, size_t size)
{
	struct rp_arena *arena = &batch->arena;
	size = (size + 7) & ~(size_t)7;
	if (arena->at == NULL || size > arena->at->size - arena->at->used)
		if (next_part(arena, size) == NULL)
			return NULL;
	void *room = arena->at->bytes + arena->at->used;
	arena->at->used += size;
	return room;
}

int rp_batch_add(struct rp_batch *batch, unsigned shard, struct rp_item *item, struct nf_lsn lsn)
{
	if (batch->items == 0)
		batch->base = lsn;
	item->at = (uint32_t)((lsn.v - batch->base.v) / RP_LSN_UNIT);
	struct rp_items *list = &batch->shard[shard];
	if (list->count == list->room) {
		uint32_t room = NF_MAX(list->room * 2, ITEMS_MIN);
		struct rp_item *items = realloc(list->items, room * sizeof(*items));
		if (items == NULL)
			return -ENOMEM;
		list->items = items;
		list->room = room;
	}
	list->items[list->count++] = *item;
	batch->items++;
	return 0;
}

void rp_batch_free(struct rp_batch *batch)
{
	for (struct rp_arena_part *part = batch->arena.first, *next; part != NULL; part = next) {
		next = part->next;
		free(part);
	}
	for (unsigned i = 0; i < RP_SHARDS_MAX; i++)
		free(batch->shard[i].items);
	*batch = (struct rp_batch){0};
}
