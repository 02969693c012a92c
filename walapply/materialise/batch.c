/* Many blocks, the log read once: what each of them needs.
 *
 * The indexes are gone through for the stretch of blocks that the batch covers: of each block, where the last record lies that makes it from
 * nothing; and how many records there are in each piece of log, WA_BATCH_LOG bytes. batch_log.c goes through the pieces then.
 * Blocks that had another name in the range (databases copied from others) are made one by one, by wa_materialise. */
#include <stdlib.h>
#include <string.h>

#include "batch_impl.h"

static int compare_blocks(const struct wa_block *a, const struct wa_block *b)
{
	if (a->rel.spc != b->rel.spc)
		return a->rel.spc < b->rel.spc ? -1 : 1;
	if (a->rel.db != b->rel.db)
		return a->rel.db < b->rel.db ? -1 : 1;
	if (a->rel.rel != b->rel.rel)
		return a->rel.rel < b->rel.rel ? -1 : 1;
	if (a->fork != b->fork)
		return a->fork < b->fork ? -1 : 1;
	return a->blkno == b->blkno ? 0 : a->blkno < b->blkno ? -1 : 1;
}

/* ------------------------------------------------------ walking an index */

void bt_walk_begin(struct bt_walk *walk, const struct wa_batch *batch, const struct wa_index *index)
{
	walk->batch = batch;
	walk->slot = 0;
	wa_index_seek_behind(index, &batch->blocks[0].block, &walk->cursor);
}

int bt_walk_next(struct bt_walk *walk, struct wa_index_entry *ret_entry, struct wa_error *error)
{
	const struct wa_batch *batch = walk->batch;
	int status;
	while ((status = wa_index_next(&walk->cursor, ret_entry, error)) > 0) {
		int order = -1;
		while (walk->slot < batch->count &&
		       (order = compare_blocks(&batch->blocks[walk->slot].block, &ret_entry->block)) < 0)
			walk->slot++;
		if (walk->slot == batch->count)
			return 0;
		const struct bt_slot *slot = &batch->slots[walk->slot];
		if (order == 0 && !slot->is_alone && ret_entry->lsn.v >= slot->from.v && ret_entry->lsn.v < slot->to.v)
			return 1;
	}
	return status;
}

/* ------------------------------------------------------------- planning */

static int plan_slot(const struct wa_range *range, const struct wa_block *block, bool is_plain, struct bt_slot *ret_slot)
{
	struct mt_path path;
	*ret_slot = (struct bt_slot){.from = range->from, .to = range->to};
	if (is_plain)
		return 0;
	int status = mt_path_find(range, block, &path);
	if (status < 0)
		return status;
	ret_slot->is_alone = path.count > 1;
	ret_slot->from = path.legs[0].from;
	ret_slot->to = path.legs[0].to;
	ret_slot->is_blank = path.is_blank;
	return 0;
}

static void plan_slots(struct wa_batch *batch)
{
	bool is_plain = false;
	for (size_t i = 0; i < batch->count; i++) {
		struct wa_batch_block *block = &batch->blocks[i];
		if (i == 0 || !wa_locator_equal(block->block.rel, block[-1].block.rel))
			is_plain = mt_path_is_plain(batch->range, block->block.rel);
		/* A path that cannot be found: wa_materialise says so. */
		if (plan_slot(batch->range, &block->block, is_plain, &batch->slots[i]) < 0)
			batch->slots[i].is_alone = true;
		block->needs_base = batch->slots[i].is_alone || !batch->slots[i].is_blank;
		block->is_late = false;
		block->first = block->last = (struct nf_lsn){0};
		block->status = 0;
	}
}

static int plan_parts(struct wa_batch *batch)
{
	const struct wa_range *range = batch->range;
	batch->parts = calloc(NF_MAX(range->index_count, (size_t)1), sizeof(*batch->parts));
	if (batch->parts == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < range->index_count; i++) {
		batch->parts[i].pieces = bt_piece_count(&range->indexes[i]);
		batch->parts[i].counts = calloc(batch->parts[i].pieces, sizeof(*batch->parts[i].counts));
		if (batch->parts[i].counts == NULL)
			return -ENOMEM;
	}
	return 0;
}

static void note_record(struct wa_batch *batch, size_t i, const struct wa_index_entry *entry)
{
	struct wa_batch_block *block = &batch->blocks[i];
	block->last = entry->lsn;
	if (block->first.v == 0)
		block->first = entry->lsn;
	if (!(entry->flags & WA_INDEX_WHOLE))
		return;
	block->first = batch->slots[i].from = entry->lsn;
	block->needs_base = batch->slots[i].is_blank = false;
	block->is_late = true;
}

/* Of each slot: nothing before the last record that makes the page from nothing. */
static int skip_to_whole(struct wa_batch *batch, struct wa_error *error)
{
	const struct wa_range *range = batch->range;
	int status = 0;
	for (size_t i = 0; i < range->index_count && status == 0; i++) {
		struct bt_walk walk;
		struct wa_index_entry entry;
		bt_walk_begin(&walk, batch, &range->indexes[i]);
		while ((status = bt_walk_next(&walk, &entry, error)) > 0) {
			if (entry.lsn.v >= range->indexes[i].info.limit.v)
				return wa_bad(error, entry.lsn, "the index names a record that is not its own");
			batch->parts[i].counts[bt_piece_of(&range->indexes[i], entry.lsn)]++;
			note_record(batch, walk.slot, &entry);
		}
	}
	return status;
}

int wa_batch_new(const struct wa_range *range, struct wa_batch_block *blocks, size_t count, struct wa_batch **ret_batch,
		 struct wa_error *error)
{
	assert(count > 0 && count <= UINT32_MAX);
	struct wa_batch *batch = calloc(1, sizeof(*batch));
	if (batch == NULL)
		return -ENOMEM;
	batch->range = range;
	batch->blocks = blocks;
	batch->count = count;
	batch->slots = calloc(count, sizeof(*batch->slots));
	int status = batch->slots == NULL ? -ENOMEM : 0;
	if (status == 0)
		status = plan_parts(batch);
	if (status == 0) {
		plan_slots(batch);
		status = skip_to_whole(batch, error);
	}
	if (status < 0) {
		wa_batch_free(batch);
		return status;
	}
	*ret_batch = batch;
	return 0;
}

void wa_batch_free(struct wa_batch *batch)
{
	if (batch == NULL)
		return;
	for (size_t i = 0; batch->parts != NULL && i < batch->range->index_count; i++)
		free(batch->parts[i].counts);
	free(batch->parts);
	free(batch->slots);
	free(batch->found.list);
	for (unsigned i = 0; i < WA_BATCH_AHEAD; i++) {
		free(batch->groups[i].items.list);
		free(batch->groups[i].starts);
	}
	free(batch);
}
