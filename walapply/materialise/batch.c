/* Many blocks, the log read once.
 *
 * First the indexes are gone through for the stretch of blocks that the batch covers: of each block, where the last record lies that makes it from
 * nothing. Then, for each piece of log of WA_BATCH_LOG bytes: its entries that count (they come sorted by block), the pages of log that they lie on, read
 * in few runs, and the records applied block by block, so that a page stays in the processor's cache for all its records of the piece.
 * Blocks that had another name in the range (databases copied from others) are made one by one, by wa_materialise. */
#include <stdlib.h>
#include <string.h>

#include "materialise_impl.h"
#include "walapply/materialise/wa_batch.h"

#define LOG_PAGES (WA_BATCH_LOG / WA_PAGE_SIZE)
#define GAP_MAX 8u /* pages read for nothing between two that are needed: they take about as long as another read */

struct slot {
	struct nf_lsn from, to; /* records that count */
	bool is_blank, is_alone; /* is_alone: by wa_materialise */
};

/* A record of the piece for a block of the batch. */
struct item {
	struct nf_lsn lsn;
	uint32_t slot;
};

struct wa_batch {
	const struct wa_range *range;
	struct wa_batch_block *blocks;
	struct slot *slots;
	size_t count;
	struct item *items;
	size_t item_count, item_room;

	wa_batch_read_fn read;
	void *read_arg;
	struct nf_lsn begin; /* of the piece */
	uint8_t *log; /* LOG_PAGES of it, those that are `there` */
	uint64_t there[LOG_PAGES / 64];
	uint8_t far_page[WA_PAGE_SIZE]; /* one that lies outside of the piece */
};

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

/* The entries of one index that are of blocks of the batch, in order. */
struct walk {
	const struct wa_batch *batch;
	struct wa_index_cursor cursor;
	size_t slot; /* where the last entry was found or would be */
};

static void walk_begin(struct walk *walk, const struct wa_batch *batch, const struct wa_index *index)
{
	walk->batch = batch;
	walk->slot = 0;
	wa_index_seek_behind(index, &batch->blocks[0].block, &walk->cursor);
}

/* Returns 1 with an entry that lies in its slot's range; 0 no more; -EBADMSG. */
static int walk_next(struct walk *walk, struct wa_index_entry *ret_entry, struct wa_error *error)
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
		const struct slot *slot = &batch->slots[walk->slot];
		if (order == 0 && !slot->is_alone && ret_entry->lsn.v >= slot->from.v && ret_entry->lsn.v < slot->to.v)
			return 1;
	}
	return status;
}

/* ------------------------------------------------------------- planning */

static int plan_slot(const struct wa_range *range, const struct wa_block *block, bool is_plain, struct slot *ret_slot)
{
	struct mt_path path;
	*ret_slot = (struct slot){.from = range->from, .to = range->to};
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
		block->status = 0;
	}
}

/* Of each slot: nothing before the last record that makes the page from nothing. */
static int skip_to_whole(struct wa_batch *batch, struct wa_error *error)
{
	const struct wa_range *range = batch->range;
	int status = 0;
	for (size_t i = 0; i < range->index_count && status == 0; i++) {
		struct walk walk;
		struct wa_index_entry entry;
		walk_begin(&walk, batch, &range->indexes[i]);
		while ((status = walk_next(&walk, &entry, error)) > 0) {
			if (!(entry.flags & WA_INDEX_WHOLE))
				continue;
			batch->slots[walk.slot].from = entry.lsn;
			batch->blocks[walk.slot].needs_base = false;
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
	free(batch->slots);
	free(batch->items);
	free(batch->log);
	free(batch);
}

/* -------------------------------------------------------------- the log */

static bool is_there(const struct wa_batch *batch, uint64_t page)
{
	return batch->there[page / 64] >> page % 64 & 1;
}

static int source_page(void *arg, struct nf_lsn at, const uint8_t **ret_page)
{
	struct wa_batch *batch = arg;
	if (at.v >= batch->begin.v && at.v - batch->begin.v < WA_BATCH_LOG &&
	    is_there(batch, (at.v - batch->begin.v) / WA_PAGE_SIZE)) {
		*ret_page = batch->log + (at.v - batch->begin.v);
		return 0;
	}
	int status = batch->read(batch->read_arg, at, 1, batch->far_page);
	*ret_page = batch->far_page;
	return status;
}

/* Pages [first, end) of the piece. */
static int read_run(struct wa_batch *batch, size_t first, size_t end)
{
	int status = batch->read(batch->read_arg, (struct nf_lsn){batch->begin.v + first * WA_PAGE_SIZE}, end - first,
				 batch->log + first * WA_PAGE_SIZE);
	for (size_t page = first; page < end && status == 0; page++)
		batch->there[page / 64] |= UINT64_C(1) << page % 64;
	return status;
}

/* The pages on which the items begin, and the ones behind them; what else they need is read when it is needed. */
static int read_piece(struct wa_batch *batch, struct nf_lsn end)
{
	uint64_t needed[LOG_PAGES / 64] = {0};
	size_t pages = (end.v - batch->begin.v + WA_PAGE_SIZE - 1) / WA_PAGE_SIZE, first = SIZE_MAX, last = 0;
	for (size_t i = 0; i < batch->item_count; i++) {
		size_t page = (batch->items[i].lsn.v - batch->begin.v) / WA_PAGE_SIZE;
		for (size_t n = page; n < NF_MIN(page + 2, pages); n++)
			needed[n / 64] |= UINT64_C(1) << n % 64;
	}
	memset(batch->there, 0, sizeof(batch->there));
	int status = 0;
	for (size_t page = 0; page < pages && status == 0; page++) {
		if (!(needed[page / 64] >> page % 64 & 1))
			continue;
		if (first != SIZE_MAX && page - last > GAP_MAX) {
			status = read_run(batch, first, last + 1);
			first = SIZE_MAX;
		}
		if (first == SIZE_MAX)
			first = page;
		last = page;
	}
	return status == 0 && first != SIZE_MAX ? read_run(batch, first, last + 1) : status;
}

/* -------------------------------------------------------------- applying */

static int add_item(struct wa_batch *batch, struct nf_lsn lsn, size_t slot)
{
	if (batch->item_count == batch->item_room) {
		size_t room = NF_MAX(batch->item_room * 2, (size_t)4096);
		struct item *items = realloc(batch->items, room * sizeof(*items));
		if (items == NULL)
			return -ENOMEM;
		batch->items = items;
		batch->item_room = room;
	}
	batch->items[batch->item_count++] = (struct item){.lsn = lsn, .slot = (uint32_t)slot};
	return 0;
}

/* What happened to a block stays with it: a read that fails ends the batch, anything else is the block's own. */
struct applying {
	struct mt_job job;
	bool has_record;
};

static int apply(void *arg, const struct wa_record *record, struct wa_error *error)
{
	struct applying *applying = arg;
	applying->has_record = true;
	return mt_apply(&applying->job, record, error);
}

static int apply_items(struct wa_batch *batch, struct wa_error *error)
{
	const struct mt_source source = {.range = batch->range, .page = source_page, .arg = batch};
	for (size_t i = 0; i < batch->item_count; i++) {
		const struct item *item = &batch->items[i];
		struct wa_batch_block *block = &batch->blocks[item->slot];
		const struct mt_leg leg = {.block = block->block};
		struct applying applying = {.job = {.range = batch->range, .leg = &leg, .page = block->page}};
		struct wa_error why = {0};
		if (block->status < 0)
			continue;
		int status = mt_record(&source, item->lsn, apply, &applying, &why);
		if (status < 0 && !applying.has_record && status != -EBADMSG)
			return status;
		if (status < 0 && error->text[0] == 0)
			*error = why;
		block->status = status < 0 ? status : block->status | applying.job.changed;
	}
	return 0;
}

/* Records that start in [begin, end), of one index. */
static int do_piece(struct wa_batch *batch, const struct wa_index *index, struct nf_lsn begin, struct nf_lsn end,
		    struct wa_error *error)
{
	struct walk walk;
	struct wa_index_entry entry;
	int status;
	batch->item_count = 0;
	batch->begin.v = begin.v - begin.v % WA_PAGE_SIZE;
	walk_begin(&walk, batch, index);
	while ((status = walk_next(&walk, &entry, error)) > 0) {
		if (entry.lsn.v < begin.v || entry.lsn.v >= end.v)
			continue;
		status = add_item(batch, entry.lsn, walk.slot);
		if (status < 0)
			break;
	}
	if (status == 0 && batch->item_count > 0)
		status = read_piece(batch, end);
	return status == 0 ? apply_items(batch, error) : status;
}

static int do_index(struct wa_batch *batch, const struct wa_index *index, struct wa_error *error)
{
	uint64_t end = NF_MIN(index->info.limit.v, batch->range->to.v);
	int status = 0;
	for (uint64_t at = index->info.base.v; at < end && status == 0; at += WA_BATCH_LOG)
		status = do_piece(batch, index, (struct nf_lsn){at}, (struct nf_lsn){NF_MIN(at + WA_BATCH_LOG, end)}, error);
	return status;
}

/* A block whose records cannot be had fails; what `read` cannot read ends the batch. */
static int do_alone(struct wa_batch *batch, struct wa_batch_block *block, struct wa_error *error)
{
	struct wa_error why = {0};
	block->status = wa_materialise(batch->range, &block->block, block->page, NULL, &why);
	if (block->status < 0 && error->text[0] == 0)
		*error = why;
	return 0;
}

int wa_batch_run(struct wa_batch *batch, wa_batch_read_fn read, void *arg, struct wa_error *error)
{
	const struct wa_range *range = batch->range;
	int status = 0;
	batch->read = read;
	batch->read_arg = arg;
	batch->log = batch->log != NULL ? batch->log : aligned_alloc(4096, WA_BATCH_LOG);
	error->text[0] = 0;
	if (batch->log == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < batch->count && status == 0; i++) {
		struct wa_batch_block *block = &batch->blocks[i];
		struct mt_job job = {.range = range, .page = block->page};
		if (batch->slots[i].is_alone)
			status = do_alone(batch, block, error);
		else if (batch->slots[i].is_blank)
			mt_blank(&job);
		block->status = batch->slots[i].is_alone ? block->status : job.changed;
	}
	for (size_t i = 0; i < range->index_count && status == 0; i++)
		status = do_index(batch, &range->indexes[i], error);
	for (size_t i = 0; i < batch->count && status == 0; i++) {
		struct wa_batch_block *block = &batch->blocks[i];
		struct mt_job job = {.range = range, .page = block->page, .changed = block->status == 1};
		if (!batch->slots[i].is_alone && block->status >= 0)
			block->status = mt_finish(&job, block->block.blkno);
	}
	return status;
}
