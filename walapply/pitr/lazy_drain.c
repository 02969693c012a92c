/* The end of layers: the thread that makes what nobody has read.
 *
 * It sleeps until a layer is made, lets those who wanted the branch have the disk first, and then makes every touched block of the head that is not made
 * yet, window by window (lazy_window.c), at most at the rate that it was started with. A layer that snapshots or children still look through is asked for
 * again each DRAIN_RETRY_S. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_impl.h"

#define DRAIN_DELAY_S 5
#define DRAIN_RETRY_S 60

/* ------------------------------------------------------------- sleeping */

/* Under the lock: until woken, stopped, or `ns` later. */
static void wait_for(struct wa_lazy *lazy, int64_t ns)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	int64_t at = until.tv_nsec + ns;
	until.tv_sec += at / 1000000000;
	until.tv_nsec = at % 1000000000;
	pthread_cond_timedwait(&lazy->cond, &lazy->lock, &until);
}

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int lz_pace(struct lz_draining *draining, uint64_t bytes)
{
	struct wa_lazy *lazy = draining->lazy;
	bool is_limited = lazy->drain_rate != WA_LAZY_NO_LIMIT;
	pthread_mutex_lock(&lazy->lock);
	if (is_limited)
		draining->ready_ns = NF_MAX(draining->ready_ns, now_ns()) + (int64_t)(bytes * 1000000000 / lazy->drain_rate);
	while (!lazy->is_stopping && is_limited && now_ns() < draining->ready_ns)
		wait_for(lazy, draining->ready_ns - now_ns());
	bool stopping = lazy->is_stopping;
	pthread_mutex_unlock(&lazy->lock);
	return stopping ? -ECANCELED : 0;
}

void lz_wake(struct wa_lazy *lazy)
{
	pthread_mutex_lock(&lazy->lock);
	lazy->is_wanted = true;
	pthread_cond_broadcast(&lazy->cond);
	pthread_mutex_unlock(&lazy->lock);
}

void wa_lazy_branch_deleted(struct wa_lazy *lazy)
{
	lz_wake(lazy);
}

/* ------------------------------------------------------------- draining */

static bool was_drained(struct wa_lazy *lazy, const struct bd_layer_info *info)
{
	bool found = false;
	pthread_mutex_lock(&lazy->lock);
	for (size_t i = 0; i < lazy->drained_count && !found; i++)
		found = lazy->drained[i].branch == info->branch.v && lazy->drained[i].epoch == info->epoch.v;
	pthread_mutex_unlock(&lazy->lock);
	return found;
}

/* Remember it, or forget it. Without memory it is drained once more, to no harm. */
static void note_drained(struct wa_lazy *lazy, const struct bd_layer_info *info, bool is_there)
{
	pthread_mutex_lock(&lazy->lock);
	size_t kept = 0;
	for (size_t i = 0; i < lazy->drained_count; i++)
		if (lazy->drained[i].branch != info->branch.v || lazy->drained[i].epoch != info->epoch.v)
			lazy->drained[kept++] = lazy->drained[i];
	lazy->drained_count = kept;
	if (is_there && kept == lazy->drained_room) {
		size_t room = NF_MAX(kept * 2, (size_t)16);
		struct lz_drained *drained = realloc(lazy->drained, room * sizeof(*drained));
		if (drained != NULL) {
			lazy->drained = drained;
			lazy->drained_room = room;
		}
	}
	if (is_there && kept < lazy->drained_room)
		lazy->drained[lazy->drained_count++] = (struct lz_drained){info->branch.v, info->epoch.v};
	pthread_mutex_unlock(&lazy->lock);
}

static bool is_undrained(const struct wa_lazy *lazy, struct bd_branch_id id)
{
	struct bd_branch_info branch;
	return bd_branch_get(lazy->store, id, &branch) == 0 &&
	       strncmp(branch.name, WA_LAZY_UNDRAINED, strlen(WA_LAZY_UNDRAINED)) == 0;
}

static int make_all(struct lz_draining *draining, const struct bd_layer_info *info, const char *name)
{
	int64_t began = now_ns();
	uint64_t blocks = atomic_load(&draining->blocks), read = atomic_load(&draining->wal_bytes), windows = draining->windows;
	int error = lz_drain_layer(draining, info, name);
	blocks = atomic_load(&draining->blocks) - blocks;
	if (blocks > 0)
		nf_info("branch %u: the redo layer at epoch %u is %s: %" PRIu64 " blocks made, %" PRIu64
			" bytes of WAL read in %.3f s, the WAL gone through %" PRIu64 " times",
			info->branch.v, info->epoch.v, error == 0 ? "drained" : "drained in part", blocks,
			atomic_load(&draining->wal_bytes) - read, (double)(now_ns() - began) * 1e-9, draining->windows - windows);
	return error;
}

static int drain_layer(struct lz_draining *draining, const struct bd_layer_info *info)
{
	struct wa_lazy *lazy = draining->lazy;
	char name[LZ_NAME_MAX + 1];
	if (is_undrained(lazy, info->branch))
		return 0;
	int error = lz_facts_name(info->facts, info->size, name);
	if (error == 0 && !was_drained(lazy, info))
		error = make_all(draining, info, name);
	if (error != 0)
		return error;
	error = bd_layer_delete(lazy->store, info->branch, info->epoch);
	note_drained(lazy, info, error == -EBUSY);
	if (error == 0)
		nf_info("branch %u: every block of the redo layer at epoch %u is made; the layer is gone", info->branch.v,
			info->epoch.v);
	return error == 0 ? lz_remove_drained(lazy, name) : error;
}

/* The layers of all branches: those that can go. One that cannot be drained does not keep the others; the first error but -EBUSY, if
 * there was one, is returned. */
static int drain_all(struct wa_lazy *lazy)
{
	struct bd_layer_info *infos;
	struct lz_draining draining = {.lazy = lazy};
	size_t count;
	int first = 0, error = bd_layer_list(lazy->store, (struct bd_branch_id){0}, &infos, &count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < count && error != -ECANCELED; i++) {
		error = drain_layer(&draining, &infos[i]);
		/* -ENOENT, -ESTALE: its branch was deleted meanwhile. */
		if (error != 0 && error != -ENOENT && error != -ESTALE && (first == 0 || first == -EBUSY))
			first = error;
	}
	free(infos);
	return first;
}

/* --------------------------------------------------------------- thread */

static void *drain_thread(void *arg)
{
	struct wa_lazy *lazy = arg;
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WA_HISTORY_NICE);
	bool has_more = true; /* layers of earlier days */
	pthread_mutex_lock(&lazy->lock);
	while (!lazy->is_stopping) {
		if (!lazy->is_wanted && !has_more) {
			pthread_cond_wait(&lazy->cond, &lazy->lock);
			continue;
		}
		int64_t delay_s = lazy->is_wanted ? DRAIN_DELAY_S : DRAIN_RETRY_S;
		lazy->is_wanted = false;
		wait_for(lazy, delay_s * 1000000000);
		if (lazy->is_stopping || lazy->is_wanted)
			continue;
		pthread_mutex_unlock(&lazy->lock);
		int error = lazy->drain_rate > 0 ? drain_all(lazy) : 0;
		int tidy_error = wa_lazy_tidy(lazy);
		if (error == 0 || error == -EBUSY)
			error = tidy_error != 0 ? tidy_error : error;
		if (error != 0 && error != -EBUSY && error != -ECANCELED)
			nf_warn("redo layers cannot be drained now: %s", strerror(-error));
		pthread_mutex_lock(&lazy->lock);
		has_more = error != 0;
	}
	pthread_mutex_unlock(&lazy->lock);
	return NULL;
}

int wa_lazy_start(struct wa_lazy *lazy, uint64_t rate, uint64_t memory)
{
	lazy->drain_rate = rate;
	lazy->drain_memory = memory;
	int error = -pthread_create(&lazy->thread, NULL, drain_thread, lazy);
	lazy->has_thread = error == 0;
	return error;
}

void wa_lazy_stop(struct wa_lazy *lazy)
{
	if (lazy == NULL || !lazy->has_thread)
		return;
	pthread_mutex_lock(&lazy->lock);
	lazy->is_stopping = true;
	pthread_cond_broadcast(&lazy->cond);
	pthread_mutex_unlock(&lazy->lock);
	pthread_join(lazy->thread, NULL);
	lazy->has_thread = false;
}
