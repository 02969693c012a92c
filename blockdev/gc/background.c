/* The two background threads and what they decide.
 *
 * flusher    keeps memory and log small: flushes dirty inodes, checkpoints, retires inline blocks. Writers may wait for it.
 * collector  keeps the disk small: sweeps removed files, snapshots and branches; collects extents with much garbage. Nobody waits for it, so it
 *            looks once a second for what there is to do, and makes no checkpoints of its own: those that come are enough.
 * Both sleep on a condition; an idle store wakes each of them once a second. */
#include "blockdev/gc/background.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "blockdev/extent/extent.h"
#include "blockdev/layer/layer.h"
#include "blockdev/tier/cold.h"
#include "common/nf_log.h"

#define CHECKPOINT_INDEX_BYTES (UINT64_C(32) << 20)
#define CHECKPOINT_INTERVAL_S 30
#define IDLE_INODES 8192u
/* Garbage that is left alone: this many slots, and this share of what lives. */
#define GARBAGE_SLOTS 8192u
#define GARBAGE_SHARE 5u /* one fifth */
/* Extents that are in the object store alone are collected when no more than that lives, whatever garbage there is. */
#define AWAY_EIGHTHS 1u
/* Moves leave this much of the disk to the index. */
#define MOVES_LEAVE_BYTES (UINT64_C(32) << 20)
/* Extents this young still lose blocks fast: copying them now would copy what is about to die. */
#define YOUNG_EXTENTS 4u
#define DISK_SHARE 8u /* of the disk free: garbage can wait */

int bd_background_init(struct bd_store *store)
{
	struct bd_background *bg = calloc(1, sizeof(*bg));
	if (bg == NULL)
		return -ENOMEM;
	pthread_mutex_init(&bg->retire_lock, NULL);
	pthread_mutex_init(&bg->inline_lock, NULL);
	pthread_mutex_init(&bg->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&bg->flusher_wake, &attr);
	pthread_cond_init(&bg->collector_wake, &attr);
	pthread_condattr_destroy(&attr);
	store->background = bg;
	return 0;
}

void bd_background_free(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	if (bg == NULL)
		return;
	pthread_cond_destroy(&bg->flusher_wake);
	pthread_cond_destroy(&bg->collector_wake);
	pthread_mutex_destroy(&bg->lock);
	pthread_mutex_destroy(&bg->inline_lock);
	pthread_mutex_destroy(&bg->retire_lock);
	free(bg->inlines);
	free(bg->purges);
	free(bg->swept);
	free(bg);
	store->background = NULL;
}

void bd_background_kick(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	pthread_mutex_lock(&bg->lock);
	if (!bg->kicked) {
		bg->kicked = true;
		pthread_cond_signal(&bg->flusher_wake);
	}
	pthread_mutex_unlock(&bg->lock);
}

/* ---- flusher */

/* Give the older half of the ring back. */
static int shorten_log(struct bd_store *store)
{
	uint64_t retain = bd_log_retain(store->log), tail = bd_log_tail(store->log);
	bd_log_make_room(store->log, true);
	int error = bd_retire(store, retain + (tail - retain) * 3 / 4);
	if (error == 0)
		error = bd_checkpoint(store);
	bd_log_make_room(store->log, false);
	/* A full disk is told to those who wait for room. Anything else may pass: they wait while it is tried again. */
	bd_log_set_room_error(store->log, error == -ENOSPC ? error : 0);
	return error;
}

int bd_tidy_if_needed(struct bd_store *store)
{
	if (!bd_log_is_long(store->log))
		return 0;
	if (!store->no_background) {
		bd_background_kick(store);
		return 0;
	}
	return shorten_log(store);
}

static int flusher_step(struct bd_store *store, int64_t now_s, int64_t *last_checkpoint_s)
{
	int error = 0;
	bd_extents_age_spares(store);
	if (bd_log_is_long(store->log)) {
		error = shorten_log(store);
		*last_checkpoint_s = now_s;
	} else if (bd_index_unflushed_bytes(store->index) > CHECKPOINT_INDEX_BYTES ||
		   (now_s - *last_checkpoint_s >= CHECKPOINT_INTERVAL_S && bd_index_unflushed_bytes(store->index) > 0)) {
		error = bd_checkpoint(store);
		*last_checkpoint_s = now_s;
	} else {
		error = bd_flush_all(store);
	}
	bd_leaf_cache_trim(store);
	bd_inodes_trim(store, IDLE_INODES);
	bd_layers_reap(store);
	return error;
}

static int64_t monotonic_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void wait_second(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	pthread_cond_timedwait(cond, lock, &until);
}

static void *flusher_main(void *arg)
{
	struct bd_store *store = arg;
	struct bd_background *bg = store->background;
	int64_t last_checkpoint_s = monotonic_s();
	pthread_mutex_lock(&bg->lock);
	while (!bg->stop) {
		if (!bg->kicked)
			wait_second(&bg->flusher_wake, &bg->lock);
		bg->kicked = false;
		if (bg->stop)
			break;
		pthread_mutex_unlock(&bg->lock);
		int error = bd_store_writable(store) == 0 ? flusher_step(store, monotonic_s(), &last_checkpoint_s) : 0;
		if (error != 0)
			nf_warn("flushing in the background failed: %s; tried again in a second", strerror(-error));
		pthread_mutex_lock(&bg->lock);
		/* Not at once: whoever waits for room kicks without end. */
		if (error != 0 && !bg->stop)
			wait_second(&bg->flusher_wake, &bg->lock);
	}
	pthread_mutex_unlock(&bg->lock);
	return NULL;
}

/* ---- collector */

/* What its removal would give back, in slots. */
static uint32_t slots_of(const struct bd_extent_stat *stat)
{
	return NF_MAX(stat->used, stat->allocated);
}

static int compare_worth(const void *a, const void *b)
{
	const struct bd_extent_stat *x = a, *y = b;
	uint64_t left = (uint64_t)x->live * (slots_of(y) + 1), right = (uint64_t)y->live * (slots_of(x) + 1);
	return (left > right) - (left < right);
}

/* Slots that moves may take: of what is kept free the index has half, but no more than it needs. */
static int slots_to_move_to(struct bd_store *store, uint64_t *ret_slots)
{
	uint64_t free_bytes, total_bytes;
	int error = nf_io_free_bytes(store->io, &free_bytes, &total_bytes);
	if (error != 0)
		return error;
	uint64_t kept = NF_MIN(bd_extents_reserve(total_bytes) / 2, MOVES_LEAVE_BYTES);
	/* What the ring's blocks need to get out of it is not the collector's to take. */
	if (bd_cold_is_tight(store))
		free_bytes = 0;
	*ret_slots = free_bytes > kept ? (free_bytes - kept) / NF_BLOCK_SIZE : 0;
	return 0;
}

/* The next extent worth collecting, or UINT32_MAX. One that cannot be emptied for lack of disk is passed over: half moved it would only
 * take what is left. *ret_short: so many slots of disk would do for the first of those; 0 when there are none. */
static int choose(struct bd_store *store, bool thorough, uint32_t *ret_id, uint64_t *ret_short)
{
	struct bd_extent_stat *stats;
	size_t count;
	uint64_t room;
	*ret_short = 0;
	int error = slots_to_move_to(store, &room);
	if (error == 0)
		error = bd_extents_list(store, &stats, &count);
	if (error != 0)
		return error;
	uint64_t garbage = 0, live = 0;
	for (size_t i = 0; i < count; i++) {
		live += stats[i].live;
		if (stats[i].away)
			continue; /* it takes nothing here */
		garbage += slots_of(&stats[i]) > stats[i].live ? slots_of(&stats[i]) - stats[i].live : 0;
	}
	qsort(stats, count, sizeof(*stats), compare_worth);
	/* The more garbage, the fuller the extents that are worth their copying: five eighths live, then seven. */
	uint64_t limit = GARBAGE_SLOTS + live / GARBAGE_SHARE;
	unsigned eighths = garbage > limit * 2 ? 7 : garbage > limit ? 5 : 0;
	uint32_t next_id = bd_extents_next_id(store);
	*ret_id = UINT32_MAX;
	for (size_t i = 0; i < count && *ret_id == UINT32_MAX; i++) {
		const struct bd_extent_stat *s = &stats[i];
		if (!s->sealed || s->filling || s->damaged)
			continue;
		bool young = s->id + YOUNG_EXTENTS >= next_id;
		uint64_t slots = slots_of(s);
		/* What lives in one that is away has to be fetched, and uploaded again. */
		unsigned most = s->away ? AWAY_EIGHTHS : eighths;
		bool worth = s->live == 0 || (!young && (uint64_t)s->live * 8 <= slots * most) ||
			     (thorough && (uint64_t)s->live * 10 <= slots * 9);
		if (worth && s->live <= room)
			*ret_id = s->id;
		else if (worth && *ret_short == 0)
			*ret_short = s->live;
	}
	free(stats);
	return 0;
}

bool bd_background_is_stopping(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	pthread_mutex_lock(&bg->lock);
	bool stop = bg->stop;
	pthread_mutex_unlock(&bg->lock);
	return stop;
}

int background_enter_log(struct bd_store *store, bool *ret_entered)
{
	*ret_entered = false;
	int error = bd_tidy_if_needed(store);
	if (error == 0) {
		error = bd_log_enter(store->log);
		*ret_entered = error == 0;
	}
	return error == -ENOSPC ? 0 : error;
}

/* Collect one extent, with room in the log for its moves. */
static int collect_one(struct bd_store *store, uint32_t id, struct bd_gc_result *result)
{
	bool entered;
	int error = background_enter_log(store, &entered);
	if (error == 0)
		error = bd_collect_extent(store, id, result);
	if (entered)
		bd_log_leave(store->log);
	return error;
}

/* Collect until nothing is worth it, at most `limit` extents. */
static int collect_all(struct bd_store *store, bool thorough, unsigned limit, bd_progress_fn progress, void *arg,
		       struct bd_gc_result *result)
{
	int error = 0;
	for (unsigned n = 0; n < limit && error == 0 && !bd_background_is_stopping(store); n++) {
		uint32_t id;
		uint64_t needed;
		error = choose(store, thorough, &id, &needed);
		if (error == 0 && id == UINT32_MAX && needed > 0 && thorough) {
			nf_warn("collecting garbage: the disk is too full to move blocks: %" PRIu64 " MiB more than is kept free are needed",
				needed * NF_BLOCK_SIZE / (1 << 20) + 1);
			error = -ENOSPC;
		}
		if (error != 0 || id == UINT32_MAX)
			break;
		error = collect_one(store, id, result);
		if (error == -EAGAIN)
			return 0; /* busy: another time */
		if (error == -EUCLEAN)
			error = 0; /* damaged, marked, reported */
		if (error == 0 && progress != NULL && progress(arg, "collect", n + 1, 0) != 0)
			error = -ECANCELED;
	}
	return error;
}

int bd_store_gc(struct bd_store *store, bd_progress_fn progress, void *arg, struct bd_gc_result *ret_result)
{
	struct bd_gc_result result = {0};
	int error = bd_store_writable(store);
	if (error != 0)
		return error;
	pthread_mutex_lock(&store->collect_lock);
	error = bd_checkpoint(store);
	if (error == 0)
		error = bd_sweep_pending(store, false, progress, arg, &result.versions_dropped);
	if (error == 0)
		error = bd_extents_seal_new(store);
	if (error == 0)
		error = collect_all(store, true, UINT32_MAX, progress, arg, &result);
	if (error == 0)
		error = bd_checkpoint(store);
	if (error == 0)
		error = bd_sweep_finish(store);
	if (error == 0)
		error = bd_extents_trim_open(store);
	pthread_mutex_unlock(&store->collect_lock);
	if (error == 0)
		*ret_result = result;
	return error;
}

/* Can garbage wait? */
static bool has_disk(struct bd_store *store)
{
	uint64_t free_bytes, total_bytes;
	return nf_io_free_bytes(store->io, &free_bytes, &total_bytes) == 0 && free_bytes > total_bytes / DISK_SHARE;
}

static void *collector_main(void *arg)
{
	struct bd_store *store = arg;
	struct bd_background *bg = store->background;
	pthread_mutex_lock(&bg->lock);
	while (!bg->stop) {
		wait_second(&bg->collector_wake, &bg->lock);
		if (bg->stop)
			break;
		pthread_mutex_unlock(&bg->lock);
		if (bd_store_writable(store) == 0) {
			struct bd_gc_result result = {0};
			pthread_mutex_lock(&store->collect_lock);
			int error = bd_sweep_finish(store);
			if (error == 0)
				error = bd_sweep_pending(store, has_disk(store), NULL, NULL, &result.versions_dropped);
			if (error == 0)
				error = collect_all(store, false, 4, NULL, NULL, &result);
			pthread_mutex_unlock(&store->collect_lock);
			if (error != 0 && error != -ECANCELED)
				nf_warn("collecting garbage stopped: %s; it goes on by itself", strerror(-error));
		}
		pthread_mutex_lock(&bg->lock);
	}
	pthread_mutex_unlock(&bg->lock);
	return NULL;
}

int bd_background_start(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	if (store->no_background || store->read_only)
		return 0;
	int error = -pthread_create(&bg->flusher, NULL, flusher_main, store);
	bg->flusher_runs = error == 0;
	if (error == 0) {
		error = -pthread_create(&bg->collector, NULL, collector_main, store);
		bg->collector_runs = error == 0;
	}
	return error == 0 ? bd_later_start(store) : error;
}

void bd_background_stop(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	if (bg == NULL)
		return;
	bd_later_stop(store); /* it may wait for room in the log */
	pthread_mutex_lock(&bg->lock);
	bg->stop = true;
	pthread_cond_broadcast(&bg->flusher_wake);
	pthread_cond_broadcast(&bg->collector_wake);
	pthread_mutex_unlock(&bg->lock);
	if (bg->flusher_runs)
		pthread_join(bg->flusher, NULL);
	if (bg->collector_runs)
		pthread_join(bg->collector, NULL);
	bg->flusher_runs = bg->collector_runs = false;
}
