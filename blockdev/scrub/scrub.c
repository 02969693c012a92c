/* Scrub: read and verify everything in a store, beside a live service.
 *
 *   1. a checkpoint, so that the index holds everything (a store that cannot write is scrubbed as it is)
 *   2. every record of the index: its check, and what it refers to (scrub_keys.c); blocks in the log are read here
 *   3. extent by extent, every slot that a key refers to, in large reads (scrub_data.c)
 *   4. the extents' counters, when nothing was written meanwhile
 * The store changes while it is scrubbed: whatever looks wrong is looked up again, and is wrong only when it still stands.
 * Memory: four bytes an extent, and one extent's table and references. */
#include "blockdev/scrub/scrub_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/nf_log.h"

void scrub_say(struct scrub *scrub, const char *format, ...)
{
	char line[512];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (scrub->report != NULL)
		scrub->report(scrub->arg, line);
}

int scrub_progress(struct scrub *scrub, const char *phase, uint64_t done, uint64_t total)
{
	return scrub->progress != NULL && scrub->progress(scrub->arg, phase, done, total) != 0 ? -ECANCELED : 0;
}

int scrub_is_at(struct scrub *scrub, const struct bd_block_id *id, struct bd_place place)
{
	struct bd_place now;
	int error = bd_index_place(scrub->store, id, &now);
	if (error == -ENOENT || error == -EUCLEAN) /* a damaged record is counted as such, not as a block */
		return 0;
	return error != 0 ? error : now.loc == place.loc && now.sum == place.sum;
}

int scrub_bad_place(struct scrub *scrub, const struct bd_block_id *id, struct bd_place place, const char *what)
{
	int still = scrub_is_at(scrub, id, place);
	if (still <= 0)
		return still;
	struct bd_branch_info info;
	if (bd_branch_get(scrub->store, (struct bd_branch_id){id->branch}, &info) != 0)
		snprintf(info.name, sizeof(info.name), "#%u", id->branch);
	char where[64];
	if (bd_loc_is_extent(place.loc))
		snprintf(where, sizeof(where), "extent %08x slot %u", bd_loc_extent_id(place.loc), bd_loc_slot(place.loc));
	else
		snprintf(where, sizeof(where), "the log at %llu", (unsigned long long)bd_loc_lsn(place.loc));
	scrub->result.bad_blocks++;
	scrub_say(scrub, "branch %s file %llu block %u (epoch %u): %s in %s", info.name, (unsigned long long)id->file,
		  id->block, id->epoch, what, where);
	return 0;
}

void scrub_forget_branch(struct scrub *scrub)
{
	bd_branch_release(scrub->branch);
	free(scrub->pins);
	scrub->branch = NULL;
	scrub->pins = NULL;
	scrub->branch_id = 0;
}

/* ---- counters */

/* What must not change for counters to be comparable. */
struct stillness {
	uint64_t tail;
	struct bd_extent_stat *stats;
	size_t count;
	bool dirty;
};

static int stillness_take(struct bd_store *store, struct stillness *ret_still)
{
	struct stillness still = {.tail = bd_log_tail(store->log)};
	pthread_rwlock_rdlock(&store->table_lock);
	for (uint32_t id = 0; id < store->branch_slots; id++) {
		const struct bd_branch *branch = store->branches[id];
		still.dirty |= branch != NULL && atomic_load(&branch->dirty_count) > 0;
	}
	pthread_rwlock_unlock(&store->table_lock);
	int error = bd_extents_list(store, &still.stats, &still.count);
	if (error == 0)
		*ret_still = still;
	return error;
}

static bool stillness_holds(const struct stillness *before, const struct stillness *after)
{
	if (before->dirty || after->dirty || before->tail != after->tail || before->count != after->count)
		return false;
	for (size_t i = 0; i < before->count; i++) {
		const struct bd_extent_stat *x = &before->stats[i], *y = &after->stats[i];
		if (x->id != y->id || x->used != y->used || x->live != y->live || x->filling || y->filling)
			return false;
	}
	return true;
}

static void check_counters(struct scrub *scrub, const struct stillness *still)
{
	for (size_t i = 0; i < still->count; i++) {
		const struct bd_extent_stat *stat = &still->stats[i];
		uint32_t refs = stat->id < scrub->extents ? scrub->refs[stat->id] : 0;
		if (refs == stat->live)
			continue;
		if (scrub->store->read_only)
			continue;
		scrub->result.counters_corrected++;
		nf_info("extent %08x: counted %u live blocks, %u keys refer to it; corrected", stat->id, stat->live, refs);
		bd_extent_set_live(scrub->store, stat->id, refs);
	}
}

/* The index, with the collector held off: it deletes keys and counts them afterwards. */
static int check_index(struct scrub *scrub)
{
	struct bd_store *store = scrub->store;
	struct stillness before = {0}, after = {0};
	uint64_t dropped = 0;
	pthread_mutex_lock(&store->collect_lock);
	/* What waits to be dropped (again, after a crash) is not to be looked at. */
	int error = bd_store_writable(store) == 0 ? bd_sweep_pending(store, false, scrub->progress, scrub->arg, &dropped) : 0;
	if (error == 0)
		error = bd_checkpoint(store);
	if (error == 0)
		error = bd_sweep_finish(store);
	if (error == -EROFS)
		error = 0;
	if (error == 0)
		error = stillness_take(store, &before);
	if (error == 0) {
		scrub->extents = bd_extents_next_id(store);
		scrub->refs = calloc((size_t)scrub->extents + 1, sizeof(*scrub->refs));
		error = scrub->refs != NULL ? 0 : -ENOMEM;
	}
	if (error == 0)
		error = scrub_keys(scrub);
	if (error == 0)
		error = stillness_take(store, &after);
	if (error == 0 && scrub->result.bad_keys == 0 && stillness_holds(&before, &after))
		check_counters(scrub, &after);
	pthread_mutex_unlock(&store->collect_lock);
	free(before.stats);
	free(after.stats);
	scrub_forget_branch(scrub);
	return error;
}

int bd_store_scrub(struct bd_store *store, bd_progress_fn progress, void (*report)(void *arg, const char *line), void *arg,
		   struct bd_scrub_result *ret_result)
{
	struct scrub scrub = {.store = store, .progress = progress, .report = report, .arg = arg};
	int error = check_index(&scrub);
	if (error == 0)
		error = scrub_data(&scrub);
	free(scrub.refs);
	if (error == 0)
		*ret_result = scrub.result;
	return error;
}
