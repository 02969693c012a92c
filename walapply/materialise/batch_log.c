/* Many blocks, the log read once: through the log.
 *
 * Of as many pieces as have WA_BATCH_ITEMS records for the batch (a group), the entries that count are found, sorted by block as the index has them, and
 * sorted by piece. Of each piece the pages of log that they lie on are wanted, and the records applied block by block, so that a page stays in the
 * processor's cache for all its records of the piece. Two groups are there at a time: pieces are wanted before those ahead of them are applied. */
#include <stdlib.h>
#include <string.h>

#include "batch_impl.h"

#define AHEAD 6u /* items whose bytes are asked for before they are applied */
#define UNIT 8u /* records begin at multiples of it */

static_assert(WA_INDEX_SPAN_MAX / UNIT <= UINT32_MAX, "places of records in an index fit");

/* -------------------------------------------------------------- pieces */

bool wa_batch_next_piece(const struct wa_range *range, bool has_piece, struct wa_batch_piece *piece)
{
	size_t i = has_piece ? piece->index : 0;
	uint32_t number = has_piece ? piece->number + 1 : 0;
	for (; i < range->index_count; i++, number = 0) {
		const struct wa_index *index = &range->indexes[i];
		const uint64_t stop = NF_MIN(index->info.limit.v, range->to.v);
		if (number == 0 && range->from.v > index->info.base.v)
			number = bt_piece_of(index, range->from);
		if (number >= bt_piece_count(index) || bt_piece_begin(index, number).v >= stop)
			continue;
		const struct nf_lsn begin = bt_piece_begin(index, number);
		uint64_t size = NF_MIN(stop - begin.v, (uint64_t)WA_BATCH_LOG);
		*piece = (struct wa_batch_piece){i, number, begin, (size + WA_PAGE_SIZE - 1) / WA_PAGE_SIZE};
		return true;
	}
	return false;
}

/* -------------------------------------------------------------- groups */

static int make_room(struct bt_items *items, size_t room)
{
	if (room <= items->room)
		return 0;
	struct bt_item *list = realloc(items->list, room * sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	items->list = list;
	items->room = room;
	return 0;
}

/* The group's records, `most` at most, in the order of blocks. counts: of each of its pieces, zeros. */
static int find_items(struct wa_batch *batch, const struct bt_group *group, size_t most, size_t *counts, struct wa_error *error)
{
	const struct wa_index *index = &batch->range->indexes[group->index];
	const uint64_t from = bt_piece_begin(index, group->first).v, to = bt_piece_begin(index, group->end).v;
	struct bt_items *found = &batch->found;
	struct bt_walk walk;
	struct wa_index_entry entry;
	int status = make_room(found, most);
	found->count = 0;
	if (status < 0)
		return status;
	bt_walk_begin(&walk, batch, index);
	while ((status = bt_walk_next(&walk, &entry, error)) > 0) {
		if (entry.lsn.v < from || entry.lsn.v >= to)
			continue;
		/* The one before of this block ends where this one begins, or before. */
		if (entry.lsn.v <= batch->slots[walk.slot].done.v && found->count > 0 &&
		    found->list[found->count - 1].slot == walk.slot)
			counts[(uint64_t)found->list[--found->count].at * UNIT / WA_BATCH_LOG - group->first]--;
		if (found->count == most)
			return wa_bad(error, entry.lsn, "the index says something else than before");
		found->list[found->count++] = (struct bt_item){.at = (uint32_t)((entry.lsn.v - index->info.base.v) / UNIT),
							       .slot = (uint32_t)walk.slot};
		counts[bt_piece_of(index, entry.lsn) - group->first]++;
	}
	return status;
}

/* By piece; in a piece the order stays. starts: how many items each piece has; then where they begin. */
static int sort_items(struct wa_batch *batch, struct bt_group *group)
{
	const size_t pieces = group->end - group->first;
	size_t at = 0;
	int status = make_room(&group->items, batch->found.count);
	if (status < 0)
		return status;
	for (size_t i = 0; i < pieces; i++) {
		size_t count = group->starts[i];
		group->starts[i] = at;
		at += count;
	}
	for (size_t i = 0; i < batch->found.count; i++) {
		struct bt_item item = batch->found.list[i];
		group->items.list[group->starts[(uint64_t)item.at * UNIT / WA_BATCH_LOG - group->first]++] = item;
	}
	/* Each is where the next one's begin now. */
	memmove(group->starts + 1, group->starts, pieces * sizeof(*group->starts));
	group->starts[0] = 0;
	return 0;
}

/* The group that begins with the piece takes the place of the older one. */
static int make_group(struct wa_batch *batch, const struct wa_batch_piece *piece, struct wa_error *error)
{
	const struct bt_part *part = &batch->parts[piece->index];
	struct bt_group *group = &batch->groups[(batch->newest + 1) % WA_BATCH_AHEAD];
	uint32_t end = piece->number + 1;
	size_t most = part->counts[piece->number];
	for (; end < part->pieces && most + part->counts[end] <= WA_BATCH_ITEMS; end++)
		most += part->counts[end];
	free(group->starts);
	group->index = piece->index;
	group->first = piece->number;
	group->end = end;
	group->starts = calloc(end - piece->number + 1, sizeof(*group->starts));
	batch->newest = (batch->newest + 1) % WA_BATCH_AHEAD;
	if (group->starts == NULL)
		return -ENOMEM;
	int status = most > 0 ? find_items(batch, group, most, group->starts, error) : 0;
	return status == 0 && most > 0 ? sort_items(batch, group) : status;
}

static bool has_piece(const struct bt_group *group, const struct wa_batch_piece *piece)
{
	return group->index == piece->index && piece->number >= group->first && piece->number < group->end;
}

/* The piece's items. */
static const struct bt_item *items_of(const struct bt_group *group, const struct wa_batch_piece *piece, size_t *ret_count)
{
	const size_t *start = &group->starts[piece->number - group->first];
	*ret_count = start[1] - start[0];
	return *ret_count > 0 ? group->items.list + start[0] : NULL;
}

int wa_batch_want(struct wa_batch *batch, const struct wa_batch_piece *piece, uint64_t *wanted, struct wa_error *error)
{
	size_t count;
	int status = has_piece(&batch->groups[batch->newest], piece) ? 0 : make_group(batch, piece, error);
	if (status < 0)
		return status;
	const struct bt_item *items = items_of(&batch->groups[batch->newest], piece, &count);
	const uint64_t before = piece->begin.v - batch->range->indexes[piece->index].info.base.v;
	/* The pages on which they begin, and the ones behind them; what else they need is read when it is needed. */
	for (size_t i = 0; i < count; i++) {
		size_t page = ((uint64_t)items[i].at * UNIT - before) / WA_PAGE_SIZE;
		for (size_t n = page; n < NF_MIN(page + 2, piece->pages); n++)
			wanted[n / 64] |= UINT64_C(1) << n % 64;
	}
	return count > 0;
}

/* ------------------------------------------------------------ applying */

/* A piece being applied. */
struct applied {
	struct wa_batch *batch;
	const struct wa_batch_piece *piece;
	const uint8_t *log;
	const uint64_t *there;
};

static bool is_there(const struct applied *applied, uint64_t page)
{
	return page < applied->piece->pages && (applied->there[page / 64] >> page % 64 & 1);
}

static int source_page(void *arg, struct nf_lsn at, const uint8_t **ret_page)
{
	const struct applied *applied = arg;
	struct wa_batch *batch = applied->batch;
	if (at.v >= applied->piece->begin.v && is_there(applied, (at.v - applied->piece->begin.v) / WA_PAGE_SIZE)) {
		*ret_page = applied->log + (at.v - applied->piece->begin.v);
		return 0;
	}
	const uint64_t wanted = 1;
	uint64_t there = 0;
	int status = batch->read(batch->read_arg, at, 1, &wanted, batch->far_page, &there);
	*ret_page = batch->far_page;
	return status;
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

/* The bytes of an item that comes later. */
static void ask_for(const struct applied *applied, uint64_t at)
{
	if (at < WA_BATCH_LOG - 128) {
		__builtin_prefetch(applied->log + at);
		__builtin_prefetch(applied->log + at + 64);
	}
}

int wa_batch_apply(struct wa_batch *batch, const struct wa_batch_piece *piece, const uint8_t *log, const uint64_t *there,
		   struct wa_error *error)
{
	struct applied applied = {.batch = batch, .piece = piece, .log = log, .there = there};
	const struct mt_source source = {.range = batch->range, .page = source_page, .arg = &applied};
	const struct nf_lsn base = batch->range->indexes[piece->index].info.base;
	const struct bt_group *group = batch->groups;
	size_t count;
	while (!has_piece(group, piece)) {
		group++;
		assert(group < batch->groups + WA_BATCH_AHEAD);
	}
	const struct bt_item *items = items_of(group, piece, &count);
	for (size_t i = 0; i < count; i++) {
		const struct bt_item *item = &items[i];
		struct wa_batch_block *block = &batch->blocks[item->slot];
		const struct mt_leg leg = {.block = block->block};
		struct applying applying = {.job = {.range = batch->range, .leg = &leg, .page = block->page}};
		struct wa_error why;
		why.text[0] = 0;
		if (i + AHEAD < count)
			ask_for(&applied, base.v + (uint64_t)items[i + AHEAD].at * UNIT - piece->begin.v);
		if (block->status < 0)
			continue;
		int status = mt_record(&source, (struct nf_lsn){base.v + (uint64_t)item->at * UNIT}, apply, &applying, &why);
		if (status < 0 && !applying.has_record && status != -EBADMSG)
			return status;
		if (status < 0 && error->text[0] == 0)
			*error = why;
		block->status = status < 0 ? status : block->status | applying.job.changed;
	}
	return 0;
}

/* ------------------------------------------------------------- the run */

/* A block whose records cannot be had fails. */
static int do_alone(struct wa_batch *batch, struct wa_batch_block *block, struct wa_error *error)
{
	struct wa_error why = {0};
	int status = wa_materialise(batch->range, &block->block, block->page, NULL, &why);
	if (status < 0 && error->text[0] == 0)
		*error = why;
	return status;
}

void wa_batch_begin(struct wa_batch *batch, wa_batch_read_fn read, void *arg, struct wa_error *error)
{
	batch->read = read;
	batch->read_arg = arg;
	error->text[0] = 0;
	for (size_t i = 0; i < batch->count; i++) {
		struct wa_batch_block *block = &batch->blocks[i];
		struct bt_slot *slot = &batch->slots[i];
		struct mt_job job = {.range = batch->range, .page = block->page};
		if (block->status < 0)
			continue;
		if (slot->is_alone)
			block->status = do_alone(batch, block, error);
		else if (slot->is_blank)
			mt_blank(&job);
		else if (block->needs_base)
			slot->done = mt_done(&block->block, block->page);
		block->status = slot->is_alone ? block->status : job.changed;
	}
}

void wa_batch_finish(struct wa_batch *batch, size_t i)
{
	struct wa_batch_block *block = &batch->blocks[i];
	struct mt_job job = {.range = batch->range, .page = block->page, .changed = block->status == 1};
	assert(i < batch->count);
	if (!batch->slots[i].is_alone && block->status >= 0)
		block->status = mt_finish(&job, block->block.blkno);
}

static int run_piece(struct wa_batch *batch, const struct wa_batch_piece *piece, uint8_t *log, struct wa_error *error)
{
	uint64_t wanted[WA_BATCH_WORDS] = {0}, there[WA_BATCH_WORDS] = {0};
	int status = wa_batch_want(batch, piece, wanted, error);
	if (status > 0)
		status = batch->read(batch->read_arg, piece->begin, piece->pages, wanted, log, there);
	return status == 0 ? wa_batch_apply(batch, piece, log, there, error) : status;
}

int wa_batch_run(struct wa_batch *batch, wa_batch_read_fn read, void *arg, struct wa_error *error)
{
	struct wa_batch_piece piece;
	uint8_t *log = aligned_alloc(4096, WA_BATCH_LOG);
	int status = log == NULL ? -ENOMEM : 0;
	if (log != NULL)
		wa_batch_begin(batch, read, arg, error);
	for (bool more = wa_batch_next_piece(batch->range, false, &piece); more && status == 0;
	     more = wa_batch_next_piece(batch->range, true, &piece))
		status = run_piece(batch, &piece, log, error);
	for (size_t i = 0; i < batch->count && status == 0; i++)
		wa_batch_finish(batch, i);
	free(log);
	return status;
}
