/* Indexes and summaries for the recovery of a branch without history: what is there already stays (ready.c), the rest is made. See wa_crashed.h. */
#include "walapply/pitr/wa_crashed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"

#define WORKERS 2u
#define SEGMENTS_LEAST 2u /* less WAL is read in a moment */

/* What the workers share. All but what is behind `lock` is const while they work. */
struct work {
	struct wh_crash crash;
	uint64_t first;
	pthread_mutex_t lock;
	uint64_t next, end; /* segments that nobody has taken, by number */
	int error; /* the first one */
};

void wa_crashed_summary_path(struct bd_branch_id branch, char *ret_path, size_t size)
{
	char name[WH_CRASHED_NAME];
	wh_crashed_name(branch, name);
	snprintf(ret_path, size, WA_HISTORY_BRANCH "/%s/" WH_SUMMARIES, name);
}

static int do_segment(const struct work *work, struct wh_makers *makers, uint64_t number)
{
	int status = wh_crash_has(&work->crash, number);
	if (status == 0)
		status = wh_crash_make(&work->crash, makers, number);
	return NF_MIN(status, 0);
}

/* Segments until there are no more. `progress` on the calling thread's worker only. */
static void work_on(struct work *work, bd_progress_fn progress, void *arg)
{
	struct wh_makers makers = {0};
	for (;;) {
		pthread_mutex_lock(&work->lock);
		bool is_over = work->error != 0 || work->next == work->end;
		uint64_t number = is_over ? 0 : work->next++;
		pthread_mutex_unlock(&work->lock);
		if (is_over)
			break;
		int error = do_segment(work, &makers, number);
		if (error == 0 && progress != NULL &&
		    progress(arg, "indexing WAL", number - work->first + 1, work->end - work->first) != 0)
			error = -ECANCELED;
		pthread_mutex_lock(&work->lock);
		work->error = work->error != 0 ? work->error : error;
		pthread_mutex_unlock(&work->lock);
	}
	wh_makers_free(&makers);
}

static void *work_beside(void *arg)
{
	work_on(arg, NULL, NULL);
	return NULL;
}

static int work_together(struct work *work, bd_progress_fn progress, void *arg)
{
	pthread_t threads[WORKERS - 1];
	unsigned started = 0;
	pthread_mutex_init(&work->lock, NULL);
	while (started < NF_ARRAY_LEN(threads) && pthread_create(&threads[started], NULL, work_beside, work) == 0)
		started++;
	work_on(work, progress, arg);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&work->lock);
	return work->error;
}

/* From the redo pointer's on; the full ones are those whose next one is begun. */
static int index_all(struct work *work, bd_progress_fn progress, void *arg)
{
	work->first = work->next = work->crash.redo.v / work->crash.facts.segment_size;
	int error = wh_crash_full(&work->crash, work->first, &work->end);
	if (error == 0)
		error = wh_crash_purge(&work->crash);
	if (error != 0 || work->end - work->first < SEGMENTS_LEAST)
		return error == -ENOTDIR ? -EINVAL : error;
	error = wh_crash_places(&work->crash);
	if (error == 0)
		error = work_together(work, progress, arg);
	/* All at once, before a layer depends on them. */
	return error == 0 ? bd_store_sync(work->crash.store) : error;
}

static int index_branch(struct wa_history *history, struct bd_branch_id branch, bd_progress_fn progress, void *arg)
{
	struct work work = {.next = 0};
	int error = wh_crash_open(history->store, branch, &work.crash);
	if (error == 0)
		error = index_all(&work, progress, arg);
	wh_crash_close(&work.crash);
	return error;
}

int wa_crashed_index(struct wa_history *history, struct bd_branch_id branch, bd_progress_fn progress, void *arg)
{
	pthread_mutex_lock(&history->ready_lock);
	int error = index_branch(history, branch, progress, arg);
	/* What was not looked at must not be used. */
	if (error != 0)
		wh_crash_drop(history, branch);
	pthread_mutex_unlock(&history->ready_lock);
	return error;
}

void wa_crashed_drop(struct wa_history *history, struct bd_branch_id branch)
{
	pthread_mutex_lock(&history->ready_lock);
	wh_crash_drop(history, branch);
	pthread_mutex_unlock(&history->ready_lock);
}

static void drop(struct bd_inode *root, const char *name)
{
	int error = wh_remove(root, name);
	if (error != 0)
		nf_warn("%s of the history cannot be removed: %s; the next mount does it", name, strerror(-error));
}

void wh_crash_drop(struct wa_history *history, struct bd_branch_id branch)
{
	struct bd_inode *root;
	char name[WH_CRASHED_NAME];
	wh_crashed_name(branch, name);
	*wh_ready_place(history, branch) = (struct wh_ready){.used = 0};
	if (wh_root(history->store, false, &root) != 0)
		return;
	drop(root, name);
	bd_inode_unref(root, 1);
}

/* Is it the directory of a branch that has no history and is there? */
static bool is_wanted(struct wa_history *history, const char *name)
{
	struct bd_branch_info info;
	char *end;
	unsigned long number = strtoul(name + strlen(WH_CRASHED), &end, 10);
	if (*end != '\0' || number == 0 || number > UINT32_MAX)
		return false;
	const struct bd_branch_id branch = {(uint32_t)number};
	const struct wh_entry *entry = wh_find(history, branch);
	return (entry == NULL || !entry->is_on) && bd_branch_get(history->store, branch, &info) == 0 && info.name[0] != '.';
}

void wh_crashed_tidy(struct wa_history *history)
{
	struct bd_inode *root;
	struct bd_listing *listing;
	if (wh_root(history->store, false, &root) != 0)
		return;
	if (bd_readdir(root, &listing) == 0) {
		for (size_t i = 0; i < listing->count; i++) {
			const char *name = listing->entries[i].name;
			if (strncmp(name, WH_CRASHED, strlen(WH_CRASHED)) == 0 && !is_wanted(history, name))
				drop(root, name);
		}
		bd_listing_free(listing);
	}
	bd_inode_unref(root, 1);
}
