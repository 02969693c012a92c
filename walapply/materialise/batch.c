/* Many blocks, the log read once.
 *
 * First the indexes are gone through for the stretch of blocks that the batch covers: of each block, where the last record lies that makes it from
 * nothing; and how many records there are in each piece of log, WA_BATCH_LOG bytes. Then, of as many pieces as have WA_BATCH_ITEMS of them, the entries that
 * count (they come sorted by block) are sorted by piece. For each piece the pages of log that they lie on are read, and the records applied block by
 * block, so that a page stays in the processor's cache for all its records of the piece.
 * Blocks that had another name in the range (databases copied from others) are made one by one, by wa_materialise. */
#include <stdlib.h>
#include <string.h>

#include "materialise_impl.h"
#include "walapply/materialise/wa_batch.h"

#define AHEAD 6u /* items whose bytes are asked for before they are applied */
#define UNIT 8u /* records begin at multiples of it */

struct slot {
	struct nf_lsn from, to; /* records that count */
	struct nf_lsn done; /* the base has those that end at or before it */
	bool is_blank, is_alone; /* is_alone: by wa_materialise */
};

/* A record for a block of the batch. */
struct item {
	uint32_t at; /* where it begins, in units from the base of its index (WA_INDEX_SPAN_MAX) */
	uint32_t slot;
};

static_assert(WA_INDEX_SPAN_MAX / UNIT <= UINT32_MAX, "places of records in an index fit");

/* Pieces of one index, and its records that are for the batch: an upper bound, records before one that makes the page are counted in. */
struct part {
	uint32_t pieces;
	uint32_t *counts;
};

struct items {
	struct item *list;
	size_t count, room;
};

struct wa_batch {
	const struct wa_range *range;
	struct wa_batch_block *blocks;
	struct slot *slots;
	size_t count;
	struct part *parts; /* one an index */
	struct items found, sorted; /* in the order of blocks; by piece, each in the order of blocks */

	wa_batch_read_fn read;
	void *read_arg;
	struct nf_lsn begin; /* of the piece */
	uint8_t *log; /* WA_BATCH_PAGES of it, those that are `there` */
	uint64_t there[WA_BATCH_PAGES / 64];
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

/* The pieces of the log of an index. */
static struct nf_lsn piece_begin(const struct wa_index *index, uint32_t piece)
{
	return (struct nf_lsn){index->info.base.v + (uint64_t)piece * WA_BATCH_LOG};
}

static uint32_t piece_of(const struct wa_index *index, struct nf_lsn lsn)
{
	return (uint32_t)((lsn.v - index->info.base.v) / WA_BATCH_LOG);
}

static int plan_parts(struct wa_batch *batch)
{
	const struct wa_range *range = batch->range;
	batch->parts = calloc(NF_MAX(range->index_count, (size_t)1), sizeof(*batch->parts));
	if (batch->parts == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < range->index_count; i++) {
		const struct wa_index_info *info = &range->indexes[i].info;
		batch->parts[i].pieces = (uint32_t)((info->limit.v - info->base.v + WA_BATCH_LOG - 1) / WA_BATCH_LOG);
		batch->parts[i].counts = calloc(batch->parts[i].pieces, sizeof(*batch->parts[i].counts));
		if (batch->parts[i].counts == NULL)
			return -ENOMEM;
	}
	return 0;
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
			if (entry.lsn.v >= range->indexes[i].info.limit.v)
				return wa_bad(error, entry.lsn, "the index names a record that is not its own");
			batch->parts[i].counts[piece_of(&range->indexes[i], entry.lsn)]++;
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
	free(batch->sorted.list);
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
	const uint64_t wanted = 1;
	uint64_t there = 0;
	int status = batch->read(batch->read_arg, at, 1, &wanted, batch->far_page, &there);
	*ret_page = batch->far_page;
	return status;
}

/* The pages on which the items of the piece begin, and the ones behind them; what else they need is read when it is needed. */
static int read_piece(struct wa_batch *batch, const struct wa_index *index, const struct item *items, size_t count,
		      struct nf_lsn end)
{
	uint64_t wanted[WA_BATCH_PAGES / 64] = {0};
	size_t pages = (end.v - batch->begin.v + WA_PAGE_SIZE - 1) / WA_PAGE_SIZE;
	for (size_t i = 0; i < count; i++) {
		size_t page = (index->info.base.v + (uint64_t)items[i].at * UNIT - batch->begin.v) / WA_PAGE_SIZE;
		for (size_t n = page; n < NF_MIN(page + 2, pages); n++)
			wanted[n / 64] |= UINT64_C(1) << n % 64;
	}
	memset(batch->there, 0, sizeof(batch->there));
	return batch->read(batch->read_arg, batch->begin, pages, wanted, batch->log, batch->there);
}

/* -------------------------------------------------------------- sorting */

static int make_room(struct items *items, size_t room)
{
	if (room <= items->room)
		return 0;
	struct item *list = realloc(items->list, room * sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	items->list = list;
	items->room = room;
	return 0;
}

/* The records of pieces [first, end), `most` at most, in the order of blocks. ret_counts: of each of the pieces. */
static int find_items(struct wa_batch *batch, const struct wa_index *index, uint32_t first, uint32_t end, size_t most,
		      uint32_t *ret_counts, struct wa_error *error)
{
	const uint64_t from = piece_begin(index, first).v, to = piece_begin(index, end).v;
	struct walk walk;
	struct wa_index_entry entry;
	int status = make_room(&batch->found, most);
	batch->found.count = 0;
	if (status < 0)
		return status;
	memset(ret_counts, 0, (end - first) * sizeof(*ret_counts));
	walk_begin(&walk, batch, index);
	while ((status = walk_next(&walk, &entry, error)) > 0) {
		if (entry.lsn.v < from || entry.lsn.v >= to)
			continue;
		/* The one before of this block ends where this one begins, or before. */
		if (entry.lsn.v <= batch->slots[walk.slot].done.v && batch->found.count > 0 &&
		    batch->found.list[batch->found.count - 1].slot == walk.slot)
			ret_counts[(uint64_t)batch->found.list[--batch->found.count].at * UNIT / WA_BATCH_LOG - first]--;
		if (batch->found.count == most)
			return wa_bad(error, entry.lsn, "the index says something else than before");
		batch->found.list[batch->found.count++] =
			(struct item){.at = (uint32_t)((entry.lsn.v - index->info.base.v) / UNIT), .slot = (uint32_t)walk.slot};
		ret_counts[piece_of(index, entry.lsn) - first]++;
	}
	return status;
}

/* By piece; in a piece the order stays. */
static int sort_items(struct wa_batch *batch, const uint32_t *counts, uint32_t first, uint32_t pieces, size_t *starts)
{
	size_t at = 0;
	int status = make_room(&batch->sorted, batch->found.count);
	if (status < 0)
		return status;
	for (uint32_t i = 0; i < pieces; i++) {
		starts[i] = at;
		at += counts[i];
	}
	for (size_t i = 0; i < batch->found.count; i++) {
		struct item item = batch->found.list[i];
		batch->sorted.list[starts[(uint64_t)item.at * UNIT / WA_BATCH_LOG - first]++] = item;
	}
	for (uint32_t i = 0; i < pieces; i++)
		starts[i] -= counts[i];
	return 0;
}

/* -------------------------------------------------------------- applying */

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

/* The bytes of an item that comes later, if they are in the piece. */
static void ask_for(const struct wa_batch *batch, const struct wa_index *index, const struct item *item)
{
	uint64_t at = index->info.base.v + (uint64_t)item->at * UNIT - batch->begin.v;
	if (at < WA_BATCH_LOG - 128) {
		__builtin_prefetch(batch->log + at);
		__builtin_prefetch(batch->log + at + 64);
	}
}

static int apply_items(struct wa_batch *batch, const struct wa_index *index, const struct item *items, size_t count,
		       struct wa_error *error)
{
	const struct mt_source source = {.range = batch->range, .page = source_page, .arg = batch};
	for (size_t i = 0; i < count; i++) {
		const struct item *item = &items[i];
		struct wa_batch_block *block = &batch->blocks[item->slot];
		const struct mt_leg leg = {.block = block->block};
		struct applying applying = {.job = {.range = batch->range, .leg = &leg, .page = block->page}};
		struct wa_error why;
		why.text[0] = 0;
		if (i + AHEAD < count)
			ask_for(batch, index, &items[i + AHEAD]);
		if (block->status < 0)
			continue;
		const struct nf_lsn lsn = {index->info.base.v + (uint64_t)item->at * UNIT};
		int status = mt_record(&source, lsn, apply, &applying, &why);
		if (status < 0 && !applying.has_record && status != -EBADMSG)
			return status;
		if (status < 0 && error->text[0] == 0)
			*error = why;
		block->status = status < 0 ? status : block->status | applying.job.changed;
	}
	return 0;
}

/* Pieces [first, end) of one index, which have `most` records at most. */
static int do_pieces(struct wa_batch *batch, const struct wa_index *index, uint32_t first, uint32_t end, size_t most,
		     struct wa_error *error)
{
	const uint64_t stop = NF_MIN(index->info.limit.v, batch->range->to.v);
	const uint32_t pieces = end - first;
	uint32_t *counts = malloc(pieces * sizeof(*counts));
	size_t *starts = malloc(pieces * sizeof(*starts));
	int status = counts == NULL || starts == NULL ? -ENOMEM : find_items(batch, index, first, end, most, counts, error);
	if (status == 0)
		status = sort_items(batch, counts, first, pieces, starts);
	for (uint32_t i = 0; i < pieces && status == 0; i++) {
		const struct item *items = batch->sorted.list + starts[i];
		if (counts[i] == 0)
			continue;
		batch->begin = piece_begin(index, first + i);
		status = read_piece(batch, index, items, counts[i],
				    (struct nf_lsn){NF_MIN(piece_begin(index, first + i + 1).v, stop)});
		if (status == 0)
			status = apply_items(batch, index, items, counts[i], error);
	}
	free(counts);
	free(starts);
	return status;
}

static int do_index(struct wa_batch *batch, size_t i, struct wa_error *error)
{
	const struct part *part = &batch->parts[i];
	int status = 0;
	for (uint32_t first = 0, end; first < part->pieces && status == 0; first = end) {
		size_t most = part->counts[first];
		for (end = first + 1; end < part->pieces && most + part->counts[end] <= WA_BATCH_ITEMS; end++)
			most += part->counts[end];
		if (most > 0)
			status = do_pieces(batch, &batch->range->indexes[i], first, end, most, error);
	}
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
		else if (block->needs_base)
			batch->slots[i].done = mt_done(&block->block, block->page);
		block->status = batch->slots[i].is_alone ? block->status : job.changed;
	}
	for (size_t i = 0; i < range->index_count && status == 0; i++)
		status = do_index(batch, i, error);
	for (size_t i = 0; i < batch->count && status == 0; i++) {
		struct wa_batch_block *block = &batch->blocks[i];
		struct mt_job job = {.range = range, .page = block->page, .changed = block->status == 1};
		if (!batch->slots[i].is_alone && block->status >= 0)
			block->status = mt_finish(&job, block->block.blkno);
	}
	return status;
}
