/* Giving the ring's space back: inline blocks that still live move to extents before their place is reused.
 *
 * Most do not: a page of a log-like file is written again and again, and only its last version lives. What is left is written
 * in file order, so what was a log becomes a contiguous file. */
#include <stdlib.h>

#include "blockdev/extent/extent.h"
#include "blockdev/gc/background.h"

static struct bd_inline *inline_at(struct bd_background *bg, size_t i)
{
	return &bg->inlines[(bg->inline_first + i) % bg->inline_capacity];
}

int bd_inline_note(struct bd_store *store, const struct bd_block_id *first, unsigned count, uint64_t loc,
		   uint64_t record_lsn)
{
	struct bd_background *bg = store->background;
	int error = 0;
	uint64_t sequence = bd_extents_tick(store);
	pthread_mutex_lock(&bg->inline_lock);
	if (bg->inline_count == bg->inline_capacity) {
		size_t capacity = bg->inline_capacity * 2 + 1024;
		struct bd_inline *grown = malloc(capacity * sizeof(*grown));
		if (grown == NULL) {
			error = -ENOMEM;
		} else {
			for (size_t i = 0; i < bg->inline_count; i++)
				grown[i] = *inline_at(bg, i);
			free(bg->inlines);
			bg->inlines = grown;
			bg->inline_first = 0;
			bg->inline_capacity = capacity;
		}
	}
	if (error == 0) {
		/* In order of records, which threads need not come in. */
		size_t at = bg->inline_count++;
		while (at > 0 && inline_at(bg, at - 1)->record_lsn > record_lsn) {
			*inline_at(bg, at) = *inline_at(bg, at - 1);
			at--;
		}
		*inline_at(bg, at) = (struct bd_inline){.id = *first, .count = count, .loc = loc,
							.record_lsn = record_lsn, .sequence = sequence};
	}
	pthread_mutex_unlock(&bg->inline_lock);
	return error != 0 ? bd_store_fail(store, error, "remembering a log block") : 0;
}

uint64_t bd_inline_oldest(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	pthread_mutex_lock(&bg->inline_lock);
	uint64_t lsn = bg->inline_count > 0 ? inline_at(bg, 0)->record_lsn : UINT64_MAX;
	pthread_mutex_unlock(&bg->inline_lock);
	return lsn;
}

#define RETIRE_BATCH 2048u

/* Take up to RETIRE_BATCH notes of records before `until` (they stay first in line until they are dropped). */
static size_t peek_notes(struct bd_background *bg, uint64_t until, struct bd_inline *notes)
{
	size_t count = 0;
	pthread_mutex_lock(&bg->inline_lock);
	while (count < RETIRE_BATCH && count < bg->inline_count) {
		const struct bd_inline *note = inline_at(bg, count);
		if (note->record_lsn >= until)
			break;
		notes[count++] = *note;
	}
	pthread_mutex_unlock(&bg->inline_lock);
	return count;
}

/* Drop the notes that were dealt with. Others may have come between them since: a thread that appended early and noted late. */
static void drop_notes(struct bd_background *bg, const struct bd_inline *done, size_t count)
{
	size_t kept = 0, at = 0;
	pthread_mutex_lock(&bg->inline_lock);
	for (size_t i = 0; i < count; at++) {
		assert(at < bg->inline_count);
		const struct bd_inline note = *inline_at(bg, at);
		if (note.loc == done[i].loc)
			i++;
		else
			*inline_at(bg, kept++) = note;
	}
	/* Now `kept` notes stand at the front and `at - kept` places behind them are free: close the gap. */
	for (size_t i = kept; i > 0; i--)
		*inline_at(bg, i - 1 + at - kept) = *inline_at(bg, i - 1);
	bg->inline_first = (bg->inline_first + at - kept) % bg->inline_capacity;
	bg->inline_count -= at - kept;
	pthread_mutex_unlock(&bg->inline_lock);
}

static int compare_moves(const void *a, const void *b)
{
	const struct bd_move *x = a, *y = b;
	if (x->id.file != y->id.file)
		return x->id.file < y->id.file ? -1 : 1;
	if (x->id.branch != y->id.branch)
		return x->id.branch < y->id.branch ? -1 : 1;
	return (x->id.block > y->id.block) - (x->id.block < y->id.block);
}

/* The live ones of the notes' blocks as moves; malloc'd. */
static int live_moves(struct bd_store *store, const struct bd_inline *notes, size_t count, struct bd_move **ret_moves,
		      size_t *ret_count)
{
	size_t capacity = 0, n = 0;
	for (size_t i = 0; i < count; i++)
		capacity += notes[i].count;
	struct bd_move *moves = malloc((capacity + 1) * sizeof(*moves));
	if (moves == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct bd_block_id id = notes[i].id;
		for (unsigned k = 0; k < notes[i].count; k++, id.block++) {
			uint64_t loc = bd_loc_next(notes[i].loc, k);
			int live = bd_move_is_live(store, &id, loc);
			struct bd_place place = {.loc = loc};
			if (live == 1)
				live = bd_move_sum(store, &id, loc, &place.sum);
			if (live < 0) {
				free(moves);
				return live;
			}
			if (live == 1)
				moves[n++] = (struct bd_move){.id = id, .place = place,
							      .age = {.sequence = notes[i].sequence}};
		}
	}
	qsort(moves, n, sizeof(*moves), compare_moves);
	for (size_t i = 0; i < n; i++)
		moves[i].group = (uint32_t)i;
	*ret_moves = moves;
	*ret_count = n;
	return 0;
}

static int retire(struct bd_store *store, uint64_t until)
{
	struct bd_background *bg = store->background;
	struct bd_inline *notes = malloc(RETIRE_BATCH * sizeof(*notes));
	if (notes == NULL)
		return -ENOMEM;
	int error = 0;
	while (error == 0) {
		size_t count = peek_notes(bg, until, notes);
		if (count == 0)
			break;
		struct bd_move *moves;
		size_t live;
		uint64_t bad = 0;
		error = live_moves(store, notes, count, &moves, &live);
		if (error != 0)
			break;
		if (live > 0)
			error = bd_move_blocks(store, moves, live, &bad);
		free(moves);
		/* Giving up the place of a live block that cannot be moved would lose even the damaged bytes. */
		if (error == 0 && bad > 0)
			error = bd_store_fail(store, -EUCLEAN, "moving blocks out of the log");
		if (error == 0)
			drop_notes(bg, notes, count);
	}
	free(notes);
	return error;
}

int bd_retire(struct bd_store *store, uint64_t until)
{
	pthread_mutex_lock(&store->background->retire_lock);
	int error = retire(store, until);
	pthread_mutex_unlock(&store->background->retire_lock);
	return error;
}
