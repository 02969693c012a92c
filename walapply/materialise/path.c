/* Which records of which relation make a block.
 *
 * From the end of the range backwards: the last event that cut the block off or dropped its relation is where its life in this range begins,
 * from nothing. The copy of a database (CREATE DATABASE ... STRATEGY file_copy) is where it begins as the source's block of that moment.
 * Blocks of a cut that lie before the new end keep their history. */
#include "materialise_impl.h"

#define VM_BLOCKS_PER_PAGE 32672u /* heap blocks that a page of the visibility map has bits for */

/* Does this event of the block's relation or database end what the block was before? */
static bool begins_anew(const struct wa_index_event *event, const struct wa_block *block)
{
	uint32_t kept;
	switch (event->kind) {
	case WA_EVENT_DROP:
	case WA_EVENT_DB_DROP:
	case WA_EVENT_DB_COPY: return true;
	case WA_EVENT_TRUNCATE:
		if (block->fork == WA_FORK_MAIN)
			return (event->fork & 1) && block->blkno >= event->blocks;
		kept = (event->blocks + VM_BLOCKS_PER_PAGE - 1) / VM_BLOCKS_PER_PAGE;
		return block->fork == WA_FORK_VM && (event->fork & 2) && block->blkno >= kept;
	default: return false;
	}
}

/* The last event under `name` in [leg->from, leg->to) that begins the block anew; false when there is none in this index. */
static bool last_in_index(const struct wa_index *index, struct wa_locator name, const struct mt_leg *leg,
			  struct wa_index_event *ret_event)
{
	bool found = false;
	size_t count = wa_index_event_count(index);
	for (size_t i = wa_index_event_find(index, name); i < count; i++) {
		struct wa_index_event event = wa_index_event_at(index, i);
		if (!wa_locator_equal(event.rel, name) || event.lsn.v >= leg->to.v)
			break;
		if (event.lsn.v >= leg->from.v && begins_anew(&event, &leg->block)) {
			*ret_event = event;
			found = true;
		}
	}
	return found;
}

static bool last_anew(const struct wa_range *range, const struct mt_leg *leg, struct wa_index_event *ret_event)
{
	const struct wa_locator rel = leg->block.rel, database = {rel.spc, rel.db, 0};
	for (size_t i = range->index_count; i-- > 0;) {
		const struct wa_index *index = &range->indexes[i];
		struct wa_index_event of_rel, of_db;
		if (index->info.base.v >= leg->to.v || index->info.limit.v <= leg->from.v)
			continue;
		bool has_rel = last_in_index(index, rel, leg, &of_rel), has_db = last_in_index(index, database, leg, &of_db);
		if (!has_rel && !has_db)
			continue;
		*ret_event = has_rel && (!has_db || of_rel.lsn.v >= of_db.lsn.v) ? of_rel : of_db;
		return true;
	}
	return false;
}

static bool has_event(const struct wa_index *index, struct wa_locator name)
{
	size_t at = wa_index_event_find(index, name);
	return at < wa_index_event_count(index) && wa_locator_equal(wa_index_event_at(index, at).rel, name);
}

bool mt_path_is_plain(const struct wa_range *range, struct wa_locator rel)
{
	const struct wa_locator database = {rel.spc, rel.db, 0};
	for (size_t i = 0; i < range->index_count; i++)
		if (has_event(&range->indexes[i], rel) || has_event(&range->indexes[i], database))
			return false;
	return true;
}

int mt_path_find(const struct wa_range *range, const struct wa_block *block, struct mt_path *ret_path)
{
	struct mt_leg legs[WA_COPIES_MAX + 1]; /* newest first */
	unsigned count = 0;
	struct wa_index_event event;
	bool anew = true, copied = true;
	struct mt_leg leg = {.block = *block, .from = range->from, .to = range->to};
	while (copied) {
		if (count == NF_ARRAY_LEN(legs))
			return -ELOOP;
		anew = last_anew(range, &leg, &event);
		copied = anew && event.kind == WA_EVENT_DB_COPY;
		if (anew)
			leg.from = event.lsn;
		legs[count++] = leg;
		if (copied) {
			leg.block.rel.spc = event.from_spc;
			leg.block.rel.db = event.from_db;
			leg.from = range->from;
			leg.to = event.lsn;
		}
	}
	ret_path->is_blank = anew;
	ret_path->count = count;
	for (unsigned i = 0; i < count; i++)
		ret_path->legs[i] = legs[count - 1 - i];
	return 0;
}

/* ------------------------------------------------------- blocks touched */

struct naming {
	const struct wa_range *range;
	int (*each)(void *arg, const struct wa_block *block);
	void *arg;
	bool any_copies;
};

static bool has_copies(const struct wa_range *range)
{
	for (size_t i = 0; i < range->index_count; i++)
		for (size_t at = 0; at < wa_index_event_count(&range->indexes[i]); at++)
			if (wa_index_event_at(&range->indexes[i], at).kind == WA_EVENT_DB_COPY)
				return true;
	return false;
}

/* The block under its name, and under the names of databases copied from its own after `lsn`. */
static int name_block(const struct naming *naming, struct wa_block block, struct nf_lsn lsn, unsigned depth)
{
	int status = depth > WA_COPIES_MAX ? -ELOOP : naming->each(naming->arg, &block);
	for (size_t i = 0; naming->any_copies && i < naming->range->index_count && status == 0; i++) {
		const struct wa_index *index = &naming->range->indexes[i];
		for (size_t at = 0; at < wa_index_event_count(index) && status == 0; at++) {
			struct wa_index_event event = wa_index_event_at(index, at);
			if (event.kind != WA_EVENT_DB_COPY || event.lsn.v <= lsn.v || event.lsn.v >= naming->range->to.v ||
			    event.from_spc != block.rel.spc || event.from_db != block.rel.db)
				continue;
			struct wa_block copy = block;
			copy.rel.spc = event.rel.spc;
			copy.rel.db = event.rel.db;
			status = name_block(naming, copy, event.lsn, depth + 1);
		}
	}
	return status;
}

int wa_range_blocks(const struct wa_range *range, int (*each)(void *arg, const struct wa_block *block), void *arg,
		    struct wa_error *error)
{
	struct naming naming = {.range = range, .each = each, .arg = arg, .any_copies = has_copies(range)};
	int status = 0;
	for (size_t i = 0; i < range->index_count && status == 0; i++) {
		struct wa_index_cursor cursor;
		struct wa_index_entry entry;
		wa_index_seek_all(&range->indexes[i], &cursor);
		while ((status = wa_index_next(&cursor, &entry, error)) > 0) {
			if (entry.lsn.v < range->from.v || entry.lsn.v >= range->to.v ||
			    (entry.block.fork != WA_FORK_MAIN && entry.block.fork != WA_FORK_VM))
				continue;
			status = name_block(&naming, entry.block, entry.lsn, 0);
			if (status != 0)
				break;
		}
	}
	return status;
}
