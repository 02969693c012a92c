/* Shared by batch.c and batch_log.c alone. */
#ifndef WA_BATCH_IMPL_H
#define WA_BATCH_IMPL_H

#include "materialise_impl.h"
#include "walapply/materialise/wa_batch.h"

struct bt_slot {
	struct nf_lsn from, to; /* records that count */
	struct nf_lsn done; /* the base has those that end at or before it */
	bool is_blank, is_alone; /* is_alone: by wa_materialise */
};

/* Pieces of one index, and its records that are for the batch: an upper bound, records before one that makes the page are counted in. */
struct bt_part {
	uint32_t pieces;
	uint32_t *counts;
};

/* A record for a block of the batch. */
struct bt_item {
	uint32_t at; /* where it begins, in units from the base of its index (WA_INDEX_SPAN_MAX) */
	uint32_t slot;
};

struct bt_items {
	struct bt_item *list;
	size_t count, room;
};

/* Pieces [first, end) of one index, whose records were sorted together. */
struct bt_group {
	size_t index;
	uint32_t first, end; /* the same: there are none */
	struct bt_items items; /* by piece, each in the order of blocks */
	size_t *starts; /* of each piece, and behind the last: where its items begin */
};

struct wa_batch {
	const struct wa_range *range;
	struct wa_batch_block *blocks;
	struct bt_slot *slots;
	size_t count;
	struct bt_part *parts; /* one an index */

	struct bt_items found; /* of the group in the making, in the order of blocks */
	struct bt_group groups[WA_BATCH_AHEAD];
	unsigned newest; /* of them */

	wa_batch_read_fn read;
	void *read_arg;
	uint8_t far_page[WA_PAGE_SIZE]; /* one that lies outside of the piece */
};

/* The entries of one index that are of blocks of the batch, in order. */
struct bt_walk {
	const struct wa_batch *batch;
	struct wa_index_cursor cursor;
	size_t slot; /* where the last entry was found or would be */
};

void bt_walk_begin(struct bt_walk *walk, const struct wa_batch *batch, const struct wa_index *index);
/* Returns 1 with an entry that lies in its slot's range; 0 no more; -EBADMSG. */
NF_MUST_CHECK int bt_walk_next(struct bt_walk *walk, struct wa_index_entry *ret_entry, struct wa_error *error);

/* The pieces of the log of an index. */
static inline struct nf_lsn bt_piece_begin(const struct wa_index *index, uint32_t piece)
{
	return (struct nf_lsn){index->info.base.v + (uint64_t)piece * WA_BATCH_LOG};
}

static inline uint32_t bt_piece_of(const struct wa_index *index, struct nf_lsn lsn)
{
	return (uint32_t)((lsn.v - index->info.base.v) / WA_BATCH_LOG);
}

static inline uint32_t bt_piece_count(const struct wa_index *index)
{
	return (uint32_t)((index->info.limit.v - index->info.base.v + WA_BATCH_LOG - 1) / WA_BATCH_LOG);
}

#endif
