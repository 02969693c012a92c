/* What the WAL between two positions may have changed, from its index alone.
 *
 * Blocks that records name count one by one. A relation that was made, dropped or cut counts from there on, whatever records name: what is behind the
 * cut is gone or was made anew. So does all of a database that came or went. Truncation also changes pages of the free space map, which no
 * record names: it counts as a whole. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/compare_impl.h"

/* Databases that came or went, in the order of the log. */
struct databases {
	struct wa_index_event *events;
	size_t count, room;
};

static int note_database(struct databases *databases, const struct wa_index_event *event)
{
	if (databases->count == databases->room) {
		size_t room = NF_MAX(databases->room * 2, (size_t)16);
		void *grown = realloc(databases->events, room * sizeof(*databases->events));
		if (grown == NULL)
			return -ENOMEM;
		databases->events = grown;
		databases->room = room;
	}
	databases->events[databases->count++] = *event;
	return 0;
}

static int by_position(const void *a, const void *b)
{
	const struct wa_index_event *x = a, *y = b;
	return x->lsn.v < y->lsn.v ? -1 : x->lsn.v > y->lsn.v;
}

static int cut_all(struct compare *compare, struct wa_locator rel)
{
	int error = 0;
	for (uint32_t fork = 0; fork < WA_FORKS && error == 0; fork++)
		error = cmp_cut(compare, rel, fork, 0);
	return error;
}

static int take_event(struct compare *compare, struct databases *databases, const struct wa_index_event *event)
{
	int error = 0;
	switch ((enum wa_index_event_kind)event->kind) {
	case WA_EVENT_CREATE:
		return event->fork < WA_FORKS ? cmp_cut(compare, event->rel, event->fork, 0) : cut_all(compare, event->rel);
	case WA_EVENT_TRUNCATE:
		if (event->fork & 1)
			error = cmp_cut(compare, event->rel, WA_FORK_MAIN, event->blocks);
		if (error == 0 && event->fork & 2)
			error = cmp_cut(compare, event->rel, WA_FORK_VM, event->blocks / CMP_VM_BLOCKS_PER_PAGE);
		if (error == 0 && event->fork & 4)
			error = cmp_cut(compare, event->rel, WA_FORK_FSM, 0);
		return error;
	case WA_EVENT_DROP: return cut_all(compare, event->rel);
	case WA_EVENT_DB_COPY:
	case WA_EVENT_DB_CREATE:
	case WA_EVENT_DB_DROP: return note_database(databases, event);
	case WA_EVENT_SPACE_CREATE: /* a tablespace is empty when it comes and when it goes */
	case WA_EVENT_SPACE_DROP:
	case WA_EVENT_RELMAP: return 0; /* no relation's file */
	}
	return 0;
}

static int take_index(struct compare *compare, struct databases *databases, const struct wa_index *index, struct nf_lsn from,
		      struct nf_lsn to)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	int status;
	wa_index_seek_all(index, &cursor);
	while ((status = wa_index_next(&cursor, &entry, &compare->why)) > 0) {
		if (entry.lsn.v < from.v || entry.lsn.v >= to.v)
			continue;
		status = cmp_add(compare, &entry.block);
		if (status < 0)
			break;
	}
	for (size_t i = 0; i < wa_index_event_count(index) && status == 0; i++) {
		struct wa_index_event event = wa_index_event_at(index, i);
		if (event.lsn.v >= from.v && event.lsn.v < to.v)
			status = take_event(compare, databases, &event);
	}
	return status;
}

/* ------------------------------------------------------------ databases */

/* arg: the event whose database the file's relation counts for. */
static int cut_file(struct compare *compare, const struct wa_block *first, void *arg)
{
	const struct wa_index_event *event = arg;
	return cut_all(compare, (struct wa_locator){event->rel.spc, event->rel.db, first->rel.rel});
}

/* Relations that are known to be in a directory, under the number of the event's database. */
static int cut_known(struct compare *compare, const struct wa_index_event *event, uint32_t spc, uint32_t db)
{
	struct cmp_rel *rel, *next;
	int error = 0;
	HASH_ITER(hh, compare->rels, rel, next)
	{
		if (error == 0 && rel->rel.spc == spc && rel->rel.db == db)
			error = cut_all(compare, (struct wa_locator){event->rel.spc, event->rel.db, rel->rel.rel});
	}
	return error;
}

static int cut_database(struct compare *compare, struct wa_index_event *event)
{
	int error = cut_known(compare, event, event->rel.spc, event->rel.db);
	for (unsigned s = 0; s < WA_COMPARE_SIDES && error == 0; s++) {
		struct bd_view view = compare->sides[s].view;
		error = cmp_files(compare, view, event->rel.spc, event->rel.db, cut_file, event);
		if (error == 0 && event->kind == WA_EVENT_DB_COPY)
			error = cmp_files(compare, view, event->from_spc, event->from_db, cut_file, event);
	}
	if (error == 0 && event->kind == WA_EVENT_DB_COPY)
		error = cut_known(compare, event, event->from_spc, event->from_db);
	return error;
}

int cmp_range(struct compare *compare, const struct wa_range *range, struct nf_lsn from, struct nf_lsn to)
{
	struct databases databases = {0};
	int error = 0;
	for (size_t i = 0; i < range->index_count && error == 0; i++) {
		const struct wa_index *index = &range->indexes[i];
		if (index->info.base.v < to.v && index->info.limit.v > from.v)
			error = take_index(compare, &databases, index, from, to);
	}
	/* A database may be the copy of one that is a copy. */
	if (databases.count > 0)
		qsort(databases.events, databases.count, sizeof(*databases.events), by_position);
	for (size_t i = 0; i < databases.count && error == 0; i++)
		error = cut_database(compare, &databases.events[i]);
	free(databases.events);
	return error;
}

/* ------------------------------------------------------------- unlogged */

static int cut_unlogged(struct compare *compare, const struct wa_block *first, void *arg)
{
	(void)arg;
	return first->fork == WA_FORK_INIT ? cut_all(compare, first->rel) : 0;
}

static int unlogged_in(struct compare *compare, uint32_t spc, uint32_t db, void *arg)
{
	const struct cmp_side *side = arg;
	return cmp_files(compare, side->view, spc, db, cut_unlogged, NULL);
}

int cmp_unlogged(struct compare *compare, const struct cmp_side *side)
{
	return cmp_databases(compare, side->view, unlogged_in, (void *)side);
}
