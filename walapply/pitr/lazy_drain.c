/* The end of layers: blocks that nobody has read are made, and what was kept for layers that are gone is removed.
 *
 * The thread sleeps until a layer is made, lets those who wanted the branch have the disk first, and then reads every touched block of the head, which
 * makes it; at most WA_LAZY_DRAIN_RATE. A layer that snapshots or children still look through is asked for again each DRAIN_RETRY_S. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_impl.h"

#define PIECE_BLOCKS 64u
#define DRAIN_DELAY_S 5
#define DRAIN_RETRY_S 60

struct draining {
	struct wa_lazy *lazy;
	struct bd_view head;
	uint8_t *buf;
};

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

static bool is_stopping(struct wa_lazy *lazy)
{
	pthread_mutex_lock(&lazy->lock);
	bool stopping = lazy->is_stopping;
	pthread_mutex_unlock(&lazy->lock);
	return stopping;
}

/* After `bytes` were made: as long as they may take. */
static int pause_after(const struct draining *draining, uint64_t bytes)
{
	const struct timespec pause = {.tv_nsec = (long)(bytes * 1000000000 / WA_LAZY_DRAIN_RATE)};
	nanosleep(&pause, NULL);
	return is_stopping(draining->lazy) ? -ECANCELED : 0;
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

/* Reading a touched block of the head makes it. A file that is gone has none to make. */
static int drain_file(struct draining *draining, const struct lz_plan *plan, const struct lz_file *file)
{
	struct bd_inode *inode;
	int error = bd_inode_by_id(draining->lazy->store, draining->head, (struct bd_file_id){file->id}, &inode);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	for (uint32_t at = lz_plan_next(plan, file->id, 0); at != UINT32_MAX && error == 0;) {
		uint32_t next, end = at + 1;
		/* Blocks that follow each other are made together. */
		while ((next = lz_plan_next(plan, file->id, end)) == end && end - at < PIECE_BLOCKS)
			end++;
		ssize_t got = bd_read(inode, (uint64_t)at * NF_BLOCK_SIZE, draining->buf, (size_t)(end - at) * NF_BLOCK_SIZE);
		error = got < 0 ? (int)got : pause_after(draining, (uint64_t)(end - at) * NF_BLOCK_SIZE);
		at = next;
	}
	bd_inode_unref(inode, 1);
	return error;
}

void lz_wal_branch_name(const char *layer, char name[BD_BRANCH_NAME_MAX + 1])
{
	snprintf(name, BD_BRANCH_NAME_MAX + 1, LZ_WAL_BRANCH "%.*s", (int)LZ_NAME_MAX, layer);
}

int lz_remove_kept(struct bd_store *store, struct bd_inode *all, const char *name)
{
	char branch[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info info;
	lz_wal_branch_name(name, branch);
	int error = bd_branch_find(store, branch, &info);
	if (error == 0)
		error = bd_branch_delete(store, info.id);
	return error == 0 || error == -ENOENT ? wh_remove(all, name) : error;
}

static int remove_kept(struct wa_lazy *lazy, const char *name)
{
	struct bd_inode *all;
	int error = lz_directory(lazy->store, false, &all);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = lz_remove_kept(lazy->store, all, name);
	bd_inode_unref(all, 1);
	return error;
}

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

static int drain_layer(struct draining *draining, const struct bd_layer_info *info)
{
	struct wa_lazy *lazy = draining->lazy;
	struct lz_plan plan = {0};
	char name[LZ_NAME_MAX + 1];
	if (is_undrained(lazy, info->branch))
		return 0;
	int error = lz_facts_name(info->facts, info->size, name);
	if (error == 0 && !was_drained(lazy, info)) {
		error = lz_plan_read(lazy->store, name, &plan, NULL);
		for (const struct lz_file *file = plan.files; file != NULL && error == 0; file = file->hh.next)
			error = drain_file(draining, &plan, file);
		lz_plan_free(&plan);
	}
	if (error != 0)
		return error;
	error = bd_layer_delete(lazy->store, info->branch, info->epoch);
	note_drained(lazy, info, error == -EBUSY);
	if (error == 0)
		nf_info("branch %u: every block of the redo layer at epoch %u is made; the layer is gone", info->branch.v,
			info->epoch.v);
	return error == 0 ? remove_kept(lazy, name) : error;
}

/* The layers of all branches: those that can go. One that cannot be drained does not keep the others; the first error but -EBUSY, if
 * there was one, is returned. */
static int drain_all(struct wa_lazy *lazy)
{
	struct bd_layer_info *infos;
	size_t count;
	int first = 0, error = bd_layer_list(lazy->store, (struct bd_branch_id){0}, &infos, &count);
	if (error != 0)
		return error;
	struct draining draining = {.lazy = lazy};
	draining.buf = nf_io_buffer((size_t)PIECE_BLOCKS * NF_BLOCK_SIZE);
	if (draining.buf == NULL)
		first = -ENOMEM;
	for (size_t i = 0; i < count && first != -ENOMEM && error != -ECANCELED; i++) {
		draining.head = wh_head(infos[i].branch);
		error = drain_layer(&draining, &infos[i]);
		/* -ENOENT, -ESTALE: its branch was deleted meanwhile. */
		if (error != 0 && error != -ENOENT && error != -ESTALE && (first == 0 || first == -EBUSY))
			first = error;
	}
	free(draining.buf);
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
		int error = drain_all(lazy);
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

int wa_lazy_start(struct wa_lazy *lazy)
{
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

/* --------------------------------------------------------------- tidying */

static bool is_used(const struct bd_layer_info *infos, size_t count, const char *name)
{
	char used[LZ_NAME_MAX + 1];
	for (size_t i = 0; i < count; i++) {
		/* Facts that this program cannot read may be of any name. */
		if (lz_facts_name(infos[i].facts, infos[i].size, used) != 0 || strcmp(used, name) == 0)
			return true;
	}
	return false;
}

static int remove_unused(struct bd_store *store, struct bd_inode *all, const struct bd_layer_info *infos, size_t count)
{
	struct bd_listing *listing;
	int error = bd_readdir(all, &listing);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++)
		if (!is_used(infos, count, listing->entries[i].name))
			error = lz_remove_kept(store, all, listing->entries[i].name);
	bd_listing_free(listing);
	return error;
}

/* Branches of WAL whose layer never came to have a directory, or has none any more. */
static int remove_branches(struct bd_store *store, const struct bd_layer_info *infos, size_t count)
{
	struct bd_branch_info *branches;
	size_t branch_count;
	int error = bd_branch_list_internal(store, &branches, &branch_count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < branch_count && error == 0; i++)
		if (strncmp(branches[i].name, LZ_WAL_BRANCH, strlen(LZ_WAL_BRANCH)) == 0 &&
		    !is_used(infos, count, branches[i].name + strlen(LZ_WAL_BRANCH)))
			error = bd_branch_delete(store, branches[i].id);
	free(branches);
	return error;
}

static int tidy(struct wa_lazy *lazy, struct bd_inode *all)
{
	struct bd_layer_info *infos;
	size_t count;
	int error = bd_layer_list(lazy->store, (struct bd_branch_id){0}, &infos, &count);
	if (error != 0)
		return error;
	error = remove_unused(lazy->store, all, infos, count);
	if (error == 0)
		error = remove_branches(lazy->store, infos, count);
	free(infos);
	return error;
}

int wa_lazy_tidy(struct wa_lazy *lazy)
{
	struct bd_inode *all;
	int error = lz_directory(lazy->store, false, &all);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	/* Who begins one waits: its directory is not there before it is counted. */
	pthread_mutex_lock(&lazy->lock);
	error = lazy->making > 0 ? -EAGAIN : tidy(lazy, all);
	pthread_mutex_unlock(&lazy->lock);
	bd_inode_unref(all, 1);
	return error == -EAGAIN ? 0 : error;
}
