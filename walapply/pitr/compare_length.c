/* How long a relation's fork is at a point: what its files are in the base, and what the WAL's index says since.
 *
 * A fork is at least as long as the highest block that a record names needs; a truncation cuts it, a drop ends it, a copied database begins with what
 * its source had then. A relation that is not logged is its init fork's copy after replay. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/compare_impl.h"

#define SEGMENTS_MAX (UINT32_MAX / 8) /* files of a relation; ends a loop */

/* Files follow each other as long as they are full, as mdnblocks (md.c) counts. */
static int length_in_view(struct compare *compare, struct bd_view view, struct wa_locator rel, uint32_t fork,
			  uint64_t *ret_blocks)
{
	uint64_t blocks = 0;
	*ret_blocks = CMP_ABSENT;
	for (uint32_t segment = 0; segment < SEGMENTS_MAX; segment++) {
		char path[WA_COMPARE_PATH];
		struct bd_inode *file;
		struct bd_attr attr;
		const struct wa_block first = {.rel = rel, .fork = fork, .blkno = segment * compare->segment_blocks};
		if (blocks > UINT32_MAX - compare->segment_blocks)
			return -EFBIG;
		cmp_path(compare, &first, path);
		int error = wh_path(compare->store, view, path, &file);
		if (error == -ENOENT || error == -ENOTDIR)
			return 0;
		if (error != 0)
			return error;
		bd_inode_attr(file, &attr);
		bd_inode_unref(file, 1);
		uint64_t here = attr.size_bytes / WA_PAGE_SIZE;
		blocks += NF_MIN(here, (uint64_t)compare->segment_blocks);
		*ret_blocks = blocks;
		if (here < compare->segment_blocks)
			return 0;
	}
	return -EFBIG;
}

/* ----------------------------------------------------------- the events */

struct events {
	struct wa_index_event *list;
	size_t count, room;
};

static int add(struct events *events, const struct wa_index_event *event)
{
	if (events->count == events->room) {
		size_t room = NF_MAX(events->room * 2, (size_t)8);
		void *grown = realloc(events->list, room * sizeof(*events->list));
		if (grown == NULL)
			return -ENOMEM;
		events->list = grown;
		events->room = room;
	}
	events->list[events->count++] = *event;
	return 0;
}

/* Events under `name` that begin in [from, to). */
static int find(const struct wa_index *index, struct wa_locator name, struct nf_lsn from, struct nf_lsn to, struct events *events)
{
	size_t count = wa_index_event_count(index);
	int error = 0;
	for (size_t i = wa_index_event_find(index, name); i < count && error == 0; i++) {
		struct wa_index_event event = wa_index_event_at(index, i);
		if (!wa_locator_equal(event.rel, name) || event.lsn.v >= to.v)
			break;
		if (event.lsn.v >= from.v)
			error = add(events, &event);
	}
	return error;
}

static int by_position(const void *a, const void *b)
{
	const struct wa_index_event *x = a, *y = b;
	return x->lsn.v < y->lsn.v ? -1 : x->lsn.v > y->lsn.v;
}

static int find_all(const struct wa_range *range, struct wa_locator rel, struct nf_lsn to, struct events *events)
{
	int error = 0;
	for (size_t i = 0; i < range->index_count && error == 0; i++) {
		const struct wa_index *index = &range->indexes[i];
		if (index->info.base.v >= to.v || index->info.limit.v <= range->from.v)
			continue;
		error = find(index, rel, range->from, to, events);
		if (error == 0)
			error = find(index, (struct wa_locator){rel.spc, rel.db, 0}, range->from, to, events);
	}
	if (events->count > 0)
		qsort(events->list, events->count, sizeof(*events->list), by_position);
	return error;
}

/* ------------------------------------------------------------- the walk */

/* Records that begin in [from, to) make the fork this long at least. */
static int reach(struct compare *compare, const struct wa_range *range, struct wa_locator rel, uint32_t fork, struct nf_lsn from,
		 struct nf_lsn to, uint64_t *blocks)
{
	for (size_t i = 0; i < range->index_count; i++) {
		const struct wa_index *index = &range->indexes[i];
		uint32_t here = 0;
		if (index->info.base.v >= to.v || index->info.limit.v <= from.v)
			continue;
		int error = wa_index_reach(index, rel, fork, from, to, &here, &compare->why);
		if (error != 0)
			return error;
		if (here > 0)
			*blocks = *blocks == CMP_ABSENT ? here : NF_MAX(*blocks, (uint64_t)here);
	}
	return 0;
}

static void cut(uint64_t *blocks, uint64_t to)
{
	if (*blocks != CMP_ABSENT)
		*blocks = NF_MIN(*blocks, to);
}

static void apply(const struct wa_index_event *event, uint32_t fork, uint64_t *blocks)
{
	switch ((enum wa_index_event_kind)event->kind) {
	case WA_EVENT_CREATE:
		if (event->fork == fork && *blocks == CMP_ABSENT)
			*blocks = 0;
		break;
	case WA_EVENT_TRUNCATE:
		if (fork == WA_FORK_MAIN && event->fork & 1)
			cut(blocks, event->blocks);
		else if (fork == WA_FORK_VM && event->fork & 2)
			cut(blocks, ((uint64_t)event->blocks + CMP_VM_BLOCKS_PER_PAGE - 1) / CMP_VM_BLOCKS_PER_PAGE);
		break; /* of a free space map the base's length is told */
	case WA_EVENT_DROP:
	case WA_EVENT_DB_DROP: *blocks = CMP_ABSENT; break;
	default: break;
	}
}

/* Before the record at `to`. */
static int length_at(struct compare *compare, const struct cmp_side *side, struct wa_locator rel, uint32_t fork, struct nf_lsn to,
		     unsigned depth, uint64_t *ret_blocks)
{
	struct events events = {0};
	struct nf_lsn at = side->range.from;
	uint64_t blocks;
	if (depth > WA_COPIES_MAX)
		return -ELOOP;
	int error = length_in_view(compare, side->view, rel, fork, &blocks);
	if (error == 0)
		error = find_all(&side->range, rel, to, &events);
	for (size_t i = 0; i < events.count && error == 0; i++) {
		const struct wa_index_event *event = &events.list[i];
		const struct wa_locator source = {event->from_spc, event->from_db, rel.rel};
		error = reach(compare, &side->range, rel, fork, at, event->lsn, &blocks);
		if (error == 0 && event->kind == WA_EVENT_DB_COPY)
			error = length_at(compare, side, source, fork, event->lsn, depth + 1, &blocks);
		else if (error == 0)
			apply(event, fork, &blocks);
		at = event->lsn;
	}
	if (error == 0)
		error = reach(compare, &side->range, rel, fork, at, to, &blocks);
	free(events.list);
	if (error == 0)
		*ret_blocks = blocks;
	return error;
}

int cmp_length(struct compare *compare, const struct cmp_side *side, struct wa_locator rel, uint32_t fork, uint64_t *ret_blocks)
{
	uint64_t init;
	if (!side->is_point)
		return length_in_view(compare, side->view, rel, fork, ret_blocks);
	int error = length_at(compare, side, rel, WA_FORK_INIT, side->range.to, 0, &init);
	if (error != 0)
		return error;
	if (init == CMP_ABSENT)
		return length_at(compare, side, rel, fork, side->range.to, 0, ret_blocks);
	*ret_blocks = fork == WA_FORK_MAIN || fork == WA_FORK_INIT ? init : CMP_ABSENT;
	return 0;
}
