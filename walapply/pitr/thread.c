/* The thread of a history: it looks at branches that were written to, with history and without (ready.c), at most every WA_HISTORY_PAUSE_MS, and sleeps without a timer while nothing is written
 * (bd_branch_watch wakes it), but for retention, which is due also where nobody writes. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"

#define MERGES_A_TURN 8u
#define IMAGES_A_TURN 2u /* segments: each may take a tenth of a second */

void wh_wake(struct wh_entry *entry)
{
	struct wa_history *history = entry->history;
	pthread_mutex_lock(&history->lock);
	entry->is_woken = true;
	history->has_woken = true;
	pthread_cond_signal(&history->cond);
	pthread_mutex_unlock(&history->lock);
}

static bool is_stopping(struct wa_history *history)
{
	pthread_mutex_lock(&history->lock);
	bool stopping = history->is_stopping;
	pthread_mutex_unlock(&history->lock);
	return stopping;
}

void wh_wake_branch(void *arg, struct bd_branch_id branch)
{
	struct wh_entry *entry = wh_find(arg, branch);
	if (entry != NULL)
		wh_wake(entry);
	else
		wh_wake_other(arg, branch, false);
}

/* Without memory for it nothing is made for the branch until the next mount: its recovery makes it then. */
void wh_wake_other(struct wa_history *history, struct bd_branch_id branch, bool later)
{
	pthread_mutex_lock(&history->lock);
	if (history->other_count == history->other_capacity) {
		size_t capacity = NF_MAX(2 * history->other_capacity, (size_t)16);
		struct bd_branch_id *others = realloc(history->others, capacity * sizeof(*others));
		if (others != NULL) {
			history->others = others;
			history->other_capacity = capacity;
		}
	}
	if (history->other_count < history->other_capacity)
		history->others[history->other_count++] = branch;
	if (!later) {
		history->has_woken = true;
		pthread_cond_signal(&history->cond);
	}
	pthread_mutex_unlock(&history->lock);
}

/* The next one that is woken, from place *at on; NULL: none is left. */
static struct wh_entry *next_woken(struct wa_history *history, size_t *at)
{
	struct wh_entry *entry = NULL;
	pthread_mutex_lock(&history->lock);
	for (; entry == NULL && *at < history->count && !history->is_stopping; ++*at) {
		if (history->entries[*at]->is_woken) {
			entry = history->entries[*at];
			entry->is_woken = false;
		}
	}
	pthread_mutex_unlock(&history->lock);
	return entry;
}

/* Some runs of indexes, and the next ones at the next turn: other branches, and segments that are full meanwhile, come first. */
static void merge_some(struct wh_entry *entry)
{
	int status = 1;
	for (unsigned i = 0; i < MERGES_A_TURN && status == 1 && !is_stopping(entry->history); i++)
		status = wh_merge_next(entry);
	if (status == 1)
		wh_wake(entry);
	else if (status < 0)
		nf_debug("branch %u: indexes cannot be merged now: %s", entry->branch.v, strerror(-status));
}

/* Images of hot pages of some segments, likewise. */
static void make_images(struct wh_entry *entry)
{
	int status = 1;
	for (unsigned i = 0; i < IMAGES_A_TURN && status == 1 && !is_stopping(entry->history); i++)
		status = wh_images_next(entry);
	if (status == 1)
		wh_wake(entry);
	else if (status < 0)
		nf_debug("branch %u: images of hot pages cannot be made now: %s", entry->branch.v, strerror(-status));
}

/* Returns whether it is to be looked at again although nothing may be written. */
static bool look_at(struct wh_entry *entry)
{
	char message[WA_HISTORY_MESSAGE_MAX];
	int error = 0;
	pthread_mutex_lock(&entry->work);
	if (entry->is_on) {
		/* Watched first: what is written while we look wakes us again. */
		error = bd_branch_watch(entry->history->store, entry->branch);
		if (error == 0)
			error = wh_follow(entry, false, message, sizeof(message));
	}
	bool is_other = !entry->is_on && !entry->is_damaged && !entry->is_gone;
	pthread_mutex_unlock(&entry->work);
	if (is_other)
		wh_wake_other(entry->history, entry->branch, false);
	if (error == 0)
		make_images(entry);
	if (error == 0)
		merge_some(entry);
	return error != 0 && error != -ENOENT && error != -EROFS;
}

/* A branch without history. Returns whether it is to be looked at again although nothing may be written. */
static bool prepare_for_crash(struct wa_history *history, struct bd_branch_id branch)
{
	bool has_more = false, again = false;
	if (pthread_mutex_trylock(&history->ready_lock) != 0) {
		/* One is being recovered, which may take seconds. */
		wh_wake_other(history, branch, true);
		return true;
	}
	struct wh_ready *ready = wh_ready_place(history, branch);
	if (wh_monotonic_ns() < ready->again_ns) {
		again = true;
	} else {
		int error = bd_branch_watch(history->store, branch);
		if (error == 0)
			error = wh_get_ready(history, ready, &has_more);
		if (error != 0)
			ready->again_ns = wh_monotonic_ns() + WA_HISTORY_RETRY_MS * INT64_C(1000000);
		if (error != 0 && error != -EAGAIN && error != -ENOENT && error != -EROFS)
			nf_debug("branch %u: its WAL is not indexed now: %s", branch.v, strerror(-error));
	}
	pthread_mutex_unlock(&history->ready_lock);
	if (has_more || again)
		wh_wake_other(history, branch, again);
	return again;
}

/* Those that were written to by now. */
static bool look_at_others(struct wa_history *history)
{
	bool again = false;
	pthread_mutex_lock(&history->lock);
	struct bd_branch_id *others = history->others;
	size_t count = history->other_count;
	history->others = NULL;
	history->other_count = history->other_capacity = 0;
	pthread_mutex_unlock(&history->lock);
	for (size_t i = 0; i < count && !is_stopping(history); i++)
		again |= prepare_for_crash(history, others[i]);
	free(others);
	return again;
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

/* Sleep until somebody is woken, and not less than the pause; at the latest until retention is due, or with `retry` for a while. False: stop. */
static bool sleep_until_woken(struct wa_history *history, bool retry)
{
	struct timespec pause = in_ms(WA_HISTORY_PAUSE_MS), latest = in_ms(WA_HISTORY_RETRY_MS);
	if (!retry)
		latest = in_ms(history->options.retain_every_ms);
	int error = 0;
	pthread_mutex_lock(&history->lock);
	while (!history->is_stopping && error == 0)
		error = pthread_cond_timedwait(&history->cond, &history->lock, &pause);
	error = 0;
	while (!history->is_stopping && !history->has_woken && error == 0)
		error = pthread_cond_timedwait(&history->cond, &history->lock, &latest);
	history->has_woken = false;
	bool go_on = !history->is_stopping;
	pthread_mutex_unlock(&history->lock);
	return go_on;
}

/* What has grown old on branches that nobody writes to goes too. */
static void retain_all(struct wa_history *history)
{
	pthread_mutex_lock(&history->lock);
	for (size_t i = 0; i < history->count && !history->is_stopping; i++) {
		struct wh_entry *entry = history->entries[i]; /* lives until history is closed */
		pthread_mutex_unlock(&history->lock);
		pthread_mutex_lock(&entry->work);
		int error = entry->is_on && entry->facts.retention.seconds > 0 ? wh_retain(entry) : 0;
		pthread_mutex_unlock(&entry->work);
		wh_hot_forget(entry);
		if (error != 0 && error != -ENOENT && error != -EROFS)
			nf_warn("history of branch %u: what is too old cannot be let go now: %s", entry->branch.v,
				strerror(-error));
		pthread_mutex_lock(&history->lock);
	}
	pthread_mutex_unlock(&history->lock);
}

void *wh_run(void *arg)
{
	struct wa_history *history = arg;
	bool retry = false;
	int64_t retained_ns = wh_monotonic_ns();
	if (setpriority(PRIO_PROCESS, (id_t)gettid(), WA_HISTORY_NICE) != 0)
		nf_debug("history cannot lower its priority: %s", strerror(errno));
	while (sleep_until_woken(history, retry)) {
		struct wh_entry *entry, **again = NULL;
		size_t at = 0, count = 0;
		retry = false;
		while ((entry = next_woken(history, &at)) != NULL) {
			if (!look_at(entry))
				continue;
			struct wh_entry **grown = realloc(again, (count + 1) * sizeof(struct wh_entry *));
			if (grown == NULL)
				continue; /* the next write wakes it */
			again = grown;
			again[count++] = entry;
		}
		if (wh_monotonic_ns() - retained_ns >= (int64_t)history->options.retain_every_ms * 1000000) {
			retain_all(history);
			retained_ns = wh_monotonic_ns();
		}
		pthread_mutex_lock(&history->lock);
		for (size_t i = 0; i < count; i++)
			again[i]->is_woken = true;
		pthread_mutex_unlock(&history->lock);
		retry = look_at_others(history) || count > 0;
		free(again);
	}
	return NULL;
}
