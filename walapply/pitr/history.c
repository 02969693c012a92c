/* History of a store's branches: its life, its thread, and what is asked of a whole branch. See wa_history.h.
 *
 * Threading: one thread looks at branches that were written to, at most every WA_HISTORY_PAUSE_MS, and sleeps without a timer while nothing is written
 * (bd_branch_watch wakes it). Questions are answered on the caller's thread. Whatever reads or follows a branch holds entry->work; the hook for names
 * that go does not, and takes entry->keep and entry->state only. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/nf_cursor.h"
#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"
#include "walapply/pitr/history_impl.h"

#define SNAPSHOT_EVERY_BYTES (UINT64_C(64) << 20)
#define RETAIN_EVERY_MS 60000
#define FACTS "facts"
#define MERGES_A_TURN 8u
#define TIMELINE "timeline" /* beside the branches' directories: the last number handed out, and its XXH3 */

int wh_say(char *ret_message, size_t size, int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (size > 0)
		vsnprintf(ret_message, size, format, args);
	va_end(args);
	return error;
}

int64_t wh_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - WH_EPOCH_2000_S) * INT64_C(1000000) + now.tv_nsec / 1000;
}

int64_t wh_monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void wa_history_wal_path(struct bd_branch_id branch, char *ret_path, size_t size)
{
	snprintf(ret_path, size, WA_HISTORY_BRANCH "/%u/wal", branch.v);
}

void wa_history_summary_path(struct bd_branch_id branch, char *ret_path, size_t size)
{
	snprintf(ret_path, size, WA_HISTORY_BRANCH "/%u/" WH_SUMMARIES, branch.v);
}

/* -------------------------------------------------------------- entries */

static void free_entry(struct wh_entry *entry)
{
	struct bd_inode *dirs[] = {entry->dir, entry->wal, entry->index, entry->summary, entry->merged};
	for (unsigned i = 0; i < NF_ARRAY_LEN(dirs); i++) {
		if (dirs[i] != NULL)
			bd_inode_unref(dirs[i], 1);
	}
	wa_facts_free(&entry->facts);
	pthread_mutex_destroy(&entry->work);
	pthread_mutex_destroy(&entry->keep);
	pthread_mutex_destroy(&entry->state);
	free(entry);
}

/* Under history->lock: the place of the branch, or where it would be. */
static size_t place_of(const struct wa_history *history, uint32_t branch)
{
	size_t low = 0, high = history->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (history->entries[middle]->branch.v < branch)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct wh_entry *wh_find(struct wa_history *history, struct bd_branch_id branch)
{
	pthread_mutex_lock(&history->lock);
	size_t at = place_of(history, branch.v);
	struct wh_entry *entry = at < history->count && history->entries[at]->branch.v == branch.v ? history->entries[at] : NULL;
	pthread_mutex_unlock(&history->lock);
	return entry;
}

/* The branch's entry, made when there is none. */
static int find_or_make(struct wa_history *history, struct bd_branch_id branch, struct wh_entry **ret_entry)
{
	int error = 0;
	pthread_mutex_lock(&history->lock);
	size_t at = place_of(history, branch.v);
	if (at == history->count || history->entries[at]->branch.v != branch.v) {
		struct wh_entry *entry = calloc(1, sizeof(*entry));
		struct wh_entry **entries = realloc(history->entries, (history->count + 1) * sizeof(struct wh_entry *));
		if (entries != NULL)
			history->entries = entries;
		if (entry != NULL && entries != NULL) {
			entry->history = history;
			entry->branch = branch;
			entry->snapshots_seen = UINT32_MAX;
			pthread_mutex_init(&entry->work, NULL);
			pthread_mutex_init(&entry->keep, NULL);
			pthread_mutex_init(&entry->state, NULL);
			memmove(entries + at + 1, entries + at, (history->count - at) * sizeof(struct wh_entry *));
			entries[at] = entry;
			history->count++;
		} else {
			free(entry);
			error = -ENOMEM;
		}
	}
	if (error == 0)
		*ret_entry = history->entries[at];
	pthread_mutex_unlock(&history->lock);
	return error;
}

/* Under work: its directories. */
static int open_directories(struct wh_entry *entry)
{
	struct bd_inode *root;
	char name[16];
	if (entry->merged != NULL)
		return 0;
	snprintf(name, sizeof(name), "%u", entry->branch.v);
	int error = wh_root(entry->history->store, true, &root);
	if (error != 0)
		return error;
	if (entry->dir == NULL)
		error = wh_directory(root, name, &entry->dir);
	bd_inode_unref(root, 1);
	if (error == 0 && entry->wal == NULL)
		error = wh_directory(entry->dir, "wal", &entry->wal);
	if (error == 0 && entry->index == NULL)
		error = wh_directory(entry->dir, "index", &entry->index);
	if (error == 0 && entry->summary == NULL)
		error = wh_directory(entry->dir, WH_SUMMARIES, &entry->summary);
	if (error == 0)
		error = wh_directory(entry->dir, WH_MERGED, &entry->merged);
	return error;
}

/* Under work: nothing of it is left in the store. */
static int remove_directories(struct wh_entry *entry)
{
	struct bd_inode *root, **dirs[] = {&entry->dir, &entry->wal, &entry->index, &entry->summary, &entry->merged};
	char name[16];
	snprintf(name, sizeof(name), "%u", entry->branch.v);
	entry->generation++;
	pthread_mutex_lock(&entry->keep);
	for (unsigned i = 0; i < NF_ARRAY_LEN(dirs); i++) {
		if (*dirs[i] != NULL)
			bd_inode_unref(*dirs[i], 1);
		*dirs[i] = NULL;
	}
	pthread_mutex_unlock(&entry->keep);
	int error = wh_root(entry->history->store, false, &root);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = wh_remove(root, name);
	if (error == 0)
		error = bd_fsync(root, false);
	bd_inode_unref(root, 1);
	return error;
}

/* --------------------------------------------------------------- thread */

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

/* A watched branch was written to. On the writer's thread. */
static void wake_branch(void *arg, struct bd_branch_id branch)
{
	struct wh_entry *entry = wh_find(arg, branch);
	if (entry != NULL)
		wh_wake(entry);
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
	pthread_mutex_unlock(&entry->work);
	if (error == 0)
		merge_some(entry);
	return error != 0 && error != -ENOENT && error != -EROFS;
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
		if (error != 0 && error != -ENOENT && error != -EROFS)
			nf_warn("history of branch %u: what is too old cannot be let go now: %s", entry->branch.v, strerror(-error));
		pthread_mutex_lock(&history->lock);
	}
	pthread_mutex_unlock(&history->lock);
}

static void *run(void *arg)
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
		retry = count > 0;
		free(again);
	}
	return NULL;
}

/* ----------------------------------------------------------- open, close */

/* Facts of a branch's directory into its entry. */
static int load_facts(struct wh_entry *entry)
{
	struct bd_inode *file;
	uint8_t *bytes;
	size_t size;
	const char *why;
	int error = open_directories(entry);
	if (error == 0)
		error = bd_lookup(entry->dir, FACTS, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error; /* made and not begun when the daemon was killed */
	error = wh_read(file, WA_FACTS_SIZE_MAX, &bytes, &size);
	bd_inode_unref(file, 1);
	if (error == 0) {
		error = wa_facts_decode(bytes, size, &entry->facts, &why);
		free(bytes);
	} else {
		why = strerror(-error);
	}
	if (error == -ENOMEM)
		return error;
	entry->is_damaged = error != 0;
	if (error != 0)
		nf_error("%s/%u/" FACTS
			 " cannot be used: %s. The branch keeps no history until it is turned on again (neonfs-branch retain)",
			 WA_HISTORY_BRANCH, entry->branch.v, why);
	entry->is_on = error == 0 && (entry->facts.retention.seconds != 0 || entry->facts.retention.bytes != 0);
	entry->tail = (struct wh_tail){.end = entry->facts.next, .last = entry->facts.prev};
	const struct wa_facts_base *newest = wa_facts_newest(&entry->facts);
	if (newest != NULL && newest->written.v > entry->tail.end.v)
		entry->tail = (struct wh_tail){.end = newest->written};
	return 0;
}

/* pg_wal's number, so that the hook knows it from the first request on. */
static void find_pg_wal(struct wh_entry *entry)
{
	struct bd_inode *dir;
	struct bd_attr attr;
	if (wh_path(entry->history->store, wh_head(entry->branch), "pg_wal", &dir) != 0)
		return;
	bd_inode_attr(dir, &attr);
	atomic_store(&entry->pg_wal, attr.file.v);
	bd_inode_unref(dir, 1);
}

static int load_branch(struct wa_history *history, uint32_t branch)
{
	struct wh_entry *entry;
	struct bd_branch_info info;
	int error = find_or_make(history, (struct bd_branch_id){branch}, &entry);
	if (error == 0)
		error = load_facts(entry);
	if (error != 0)
		return error;
	error = bd_branch_get(history->store, entry->branch, &info);
	if (error == -ENOENT) {
		wa_history_branch_deleted(history, entry->branch);
		return 0;
	}
	if (error == 0 && entry->is_on) {
		find_pg_wal(entry);
		entry->is_woken = history->has_woken = true;
	}
	return error;
}

static int load_all(struct wa_history *history)
{
	struct bd_inode *root;
	struct bd_listing *listing;
	int error = wh_root(history->store, false, &root);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = bd_readdir(root, &listing);
	bd_inode_unref(root, 1);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		char *end;
		unsigned long branch = strtoul(listing->entries[i].name, &end, 10);
		if (*end == '\0' && branch > 0 && branch <= UINT32_MAX && listing->entries[i].type == S_IFDIR)
			error = load_branch(history, (uint32_t)branch);
	}
	bd_listing_free(listing);
	return error;
}

static void free_history(struct wa_history *history)
{
	for (size_t i = 0; i < history->count; i++)
		free_entry(history->entries[i]);
	free(history->entries);
	pthread_cond_destroy(&history->cond);
	pthread_mutex_destroy(&history->lock);
	pthread_mutex_destroy(&history->root_lock);
	free(history);
}

int wa_history_open(struct bd_store *store, const struct wa_history_options *options, struct wa_history **ret_history)
{
	struct wa_history *history = calloc(1, sizeof(*history));
	pthread_condattr_t attr;
	if (history == NULL)
		return -ENOMEM;
	history->store = store;
	history->options = *options;
	if (history->options.snapshot_every_bytes == 0)
		history->options.snapshot_every_bytes = SNAPSHOT_EVERY_BYTES;
	if (history->options.retain_every_ms == 0)
		history->options.retain_every_ms = RETAIN_EVERY_MS;
	pthread_mutex_init(&history->lock, NULL);
	pthread_mutex_init(&history->root_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&history->cond, &attr);
	pthread_condattr_destroy(&attr);
	bd_store_set_wake(store, wake_branch, history);
	wh_crashed_tidy(store);
	int error = load_all(history);
	if (error == 0)
		error = -pthread_create(&history->thread, NULL, run, history);
	if (error != 0) {
		bd_store_set_wake(store, NULL, NULL);
		free_history(history);
		return error;
	}
	*ret_history = history;
	return 0;
}

void wa_history_close(struct wa_history *history)
{
	if (history == NULL)
		return;
	bd_store_set_wake(history->store, NULL, NULL);
	pthread_mutex_lock(&history->lock);
	history->is_stopping = true;
	pthread_cond_signal(&history->cond);
	pthread_mutex_unlock(&history->lock);
	pthread_join(history->thread, NULL);
	free_history(history);
}

/* --------------------------------------------------------------- retain */

/* Under work. Everything but holds goes. */
static int turn_off(struct wh_entry *entry)
{
	struct wa_facts *facts = &entry->facts;
	pthread_mutex_lock(&entry->state);
	entry->is_on = entry->is_damaged = false;
	facts->retention = (struct wa_retention){0};
	facts->base_count = facts->stretch_count = 0;
	facts->begun_again_us = 0;
	facts->begun_again_why[0] = entry->trouble[0] = '\0';
	if (facts->segment_size != 0)
		facts->kept_from.v = facts->sealed.v = UINT64_MAX - UINT64_MAX % facts->segment_size;
	pthread_mutex_unlock(&entry->state);
	int error = facts->hold_count > 0 ? wh_write_facts(entry) : 0;
	if (error == 0)
		error = wh_delete_automatic(entry);
	if (error == 0)
		error = facts->hold_count > 0 ? wh_remove_segments(entry) : remove_directories(entry);
	return error;
}

/* Under work. */
static int turn_on(struct wh_entry *entry, struct wa_retention retention, char *ret_message, size_t size)
{
	bool was_on = entry->is_on && entry->facts.segment_size != 0;
	int error = open_directories(entry);
	if (error != 0)
		return wh_say(ret_message, size, error, "cannot make a place for it: %s", strerror(-error));
	if (entry->is_damaged)
		nf_warn("history of branch %u: its facts were damaged; what they told of is deleted", entry->branch.v);
	pthread_mutex_lock(&entry->state);
	entry->facts.retention = retention;
	entry->is_on = true;
	pthread_mutex_unlock(&entry->state);
	if (!was_on) {
		error = wh_begin(entry, NULL, ret_message, size);
		if (error != 0) {
			char message[WA_HISTORY_MESSAGE_MAX];
			pthread_mutex_lock(&entry->state);
			entry->is_on = false;
			pthread_mutex_unlock(&entry->state);
			int undo = entry->is_damaged || entry->facts.hold_count > 0 ? 0 : remove_directories(entry);
			if (undo != 0)
				nf_warn("history of branch %u: %s", entry->branch.v,
					(wh_say(message, sizeof(message), 0, "%s", strerror(-undo)), message));
			return error;
		}
		entry->is_damaged = false;
	}
	error = wh_write_facts(entry);
	if (error == 0)
		error = wh_retain(entry);
	if (error != 0)
		wh_say(ret_message, size, error, "cannot write down what is to be kept: %s", strerror(-error));
	return error;
}

int wa_history_retain(struct wa_history *history, struct bd_branch_id branch, struct wa_retention retention, char *ret_message,
		      size_t message_size)
{
	struct bd_branch_info info;
	struct wh_entry *entry;
	bool on = retention.seconds != 0 || retention.bytes != 0;
	int error = bd_branch_get(history->store, branch, &info);
	if (error != 0)
		return wh_say(ret_message, message_size, error, "the branch is not there");
	entry = wh_find(history, branch);
	if (!on && (entry == NULL || (!entry->is_on && !entry->is_damaged)))
		return 0;
	if (entry == NULL) {
		error = find_or_make(history, branch, &entry);
		if (error != 0)
			return wh_say(ret_message, message_size, error, "%s", strerror(-error));
	}
	pthread_mutex_lock(&entry->work);
	if (on) {
		error = turn_on(entry, retention, ret_message, message_size);
	} else {
		error = turn_off(entry);
		if (error != 0)
			wh_say(ret_message, message_size, error, "cannot delete all of it: %s", strerror(-error));
	}
	pthread_mutex_unlock(&entry->work);
	if (error == 0 && on)
		wh_wake(entry);
	return error;
}

void wa_history_branch_deleted(struct wa_history *history, struct bd_branch_id branch)
{
	struct wh_entry *entry = wh_find(history, branch);
	if (entry == NULL)
		return;
	pthread_mutex_lock(&entry->work);
	pthread_mutex_lock(&entry->state);
	entry->is_gone = true;
	pthread_mutex_unlock(&entry->state);
	int error = turn_off(entry);
	pthread_mutex_unlock(&entry->work);
	if (error != 0)
		nf_warn("history of branch %u, which is deleted: %s; the next mount removes it", branch.v, strerror(-error));
}

/* ------------------------------------------------------------ questions */

int wa_history_catch_up(struct wa_history *history, struct bd_branch_id branch, char *ret_message, size_t message_size)
{
	struct wh_entry *entry = wh_find(history, branch);
	int error = -ENODATA;
	if (entry != NULL) {
		pthread_mutex_lock(&entry->work);
		if (entry->is_on)
			error = wh_follow(entry, true, ret_message, message_size);
		pthread_mutex_unlock(&entry->work);
	}
	return error == -ENODATA ? wh_say(ret_message, message_size, error, "the branch keeps no history") : error;
}

static uint32_t usable_bases(const struct wa_facts *facts)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < facts->base_count; i++)
		count += (facts->bases[i].flags & WA_BASE_UNUSABLE) == 0;
	return count;
}

int wa_history_status(struct wa_history *history, struct bd_branch_id branch, struct wa_history_status *ret_status)
{
	struct wh_entry *entry = wh_find(history, branch);
	if (entry == NULL)
		return -ENODATA;
	struct wa_history_status status = {0};
	pthread_mutex_lock(&entry->state);
	const struct wa_facts *facts = &entry->facts;
	const struct wa_facts_base *oldest = wa_facts_oldest(facts);
	bool is_on = entry->is_on || entry->is_damaged;
	status.retention = facts->retention;
	status.begun_again_us = facts->begun_again_us;
	memcpy(status.begun_again_why, facts->begun_again_why, sizeof(status.begun_again_why));
	memcpy(status.trouble, entry->trouble, sizeof(status.trouble));
	if (entry->is_damaged)
		snprintf(status.trouble, sizeof(status.trouble), "its facts are damaged: no history until it is turned on again");
	if (entry->is_on && facts->segment_size != 0 && oldest != NULL) {
		struct nf_lsn from = wa_facts_needed_from(facts, 0), end = entry->tail.end;
		status.major = facts->major;
		status.segment_size = facts->segment_size;
		status.system_id = facts->system_id;
		status.timeline = facts->timelines[facts->timeline_count - 1].timeline;
		status.earliest = oldest->written;
		status.earliest_us = oldest->time_us;
		status.latest = end;
		status.latest_commit_us = entry->tail.commit_us;
		status.wal_bytes = end.v > from.v ? end.v - from.v : 0;
		status.index_bytes = facts->index_bytes;
		status.segments = (uint32_t)((facts->sealed.v - NF_MIN(from.v, facts->sealed.v)) / facts->segment_size);
		status.snapshots = usable_bases(facts);
	}
	pthread_mutex_unlock(&entry->state);
	if (!is_on)
		return -ENODATA;
	*ret_status = status;
	return 0;
}

/* ---------------------------------------------------------------- holds */

static int hold_segments(struct wh_entry *entry, struct nf_lsn from, struct nf_lsn to, char *ret_message, size_t size)
{
	const struct wa_facts *facts = &entry->facts;
	struct bd_inode *live;
	struct nf_lsn start = {wa_segment_start(from, facts->segment_size)};
	int error = wh_path(entry->history->store, wh_head(entry->branch), "pg_wal", &live);
	if (error != 0)
		return wh_say(ret_message, size, error, "cannot read the branch's pg_wal: %s", strerror(-error));
	for (; error == 0 && start.v <= to.v; start.v += facts->segment_size) {
		char name[WA_SEGMENT_NAME + 1];
		wa_segment_name(name, wa_facts_timeline_of(facts, start), start, facts->segment_size);
		error = wh_keep_segment(entry, live, name, start.v < facts->sealed.v);
		if (error == -ENOENT && start.v == to.v)
			error = 0; /* the next segment, of which nothing is needed */
		if (error != 0)
			wh_say(ret_message, size, error, "cannot keep segment %s: %s", name, strerror(-error));
	}
	bd_inode_unref(live, 1);
	return error;
}

int wa_history_hold(struct wa_history *history, struct bd_branch_id branch, const char *name, struct nf_lsn from,
		    struct nf_lsn to, char *ret_message, size_t message_size)
{
	struct wh_entry *entry = wh_find(history, branch);
	if (name[0] == '\0' || strlen(name) > WA_FACTS_NAME_MAX || to.v < from.v)
		return wh_say(ret_message, message_size, -EINVAL, "no such hold can be");
	if (entry == NULL)
		return wh_say(ret_message, message_size, -ENODATA, "the branch keeps no history");
	pthread_mutex_lock(&entry->work);
	int error = 0;
	if (!entry->is_on || entry->facts.segment_size == 0)
		error = wh_say(ret_message, message_size, -ENODATA, "the branch keeps no history");
	else if (from.v < entry->facts.kept_from.v)
		error = wh_say(ret_message, message_size, -ERANGE, "WAL before " NF_LSN_FMT " is not kept",
			       NF_LSN_ARG(entry->facts.kept_from));
	else
		error = hold_segments(entry, from, to, ret_message, message_size);
	if (error == 0) {
		pthread_mutex_lock(&entry->state);
		error = wa_facts_add_hold(&entry->facts, name, from, to);
		pthread_mutex_unlock(&entry->state);
		if (error == 0)
			error = wh_write_facts(entry);
		if (error != 0)
			wh_say(ret_message, message_size, error, "cannot note the hold: %s", strerror(-error));
	}
	pthread_mutex_unlock(&entry->work);
	return error;
}

int wa_history_release(struct wa_history *history, struct bd_branch_id branch, const char *name)
{
	struct wh_entry *entry = wh_find(history, branch);
	if (entry == NULL)
		return 0;
	pthread_mutex_lock(&entry->work);
	pthread_mutex_lock(&entry->state);
	bool held = wa_facts_drop_hold(&entry->facts, name);
	bool is_last = entry->facts.hold_count == 0 && !entry->is_on && !entry->is_damaged;
	pthread_mutex_unlock(&entry->state);
	int error = 0;
	if (held && is_last)
		error = remove_directories(entry);
	else if (held)
		error = wh_write_facts(entry);
	if (error == 0 && held && !is_last && entry->facts.segment_size != 0)
		error = wh_remove_segments(entry);
	pthread_mutex_unlock(&entry->work);
	return error;
}

/* ------------------------------------------------------------ timelines */

/* The last number handed out; 0 without a file. */
static int read_timeline(struct bd_inode *root, uint32_t *ret_timeline)
{
	struct bd_inode *file;
	uint8_t *bytes;
	size_t size;
	*ret_timeline = 0;
	int error = bd_lookup(root, TIMELINE, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = wh_read(file, NF_BLOCK_SIZE, &bytes, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	struct nf_reader r = nf_reader_init(bytes, size);
	uint32_t timeline = nf_read_u32(&r);
	uint64_t sum = nf_read_u64(&r);
	if (r.failed || nf_reader_left(&r) != 0 || XXH3_64bits(bytes, 4) != sum) {
		nf_error("%s/" TIMELINE " is damaged; remove it when no branch at an LSN is in use", WA_HISTORY_BRANCH);
		error = -EUCLEAN;
	}
	free(bytes);
	if (error == 0)
		*ret_timeline = timeline;
	return error;
}

int wa_history_new_timeline(struct wa_history *history, uint32_t above, uint32_t *ret_timeline)
{
	struct bd_inode *root;
	uint8_t bytes[12];
	uint32_t last;
	pthread_mutex_lock(&history->root_lock);
	int error = wh_root(history->store, true, &root);
	if (error == 0) {
		error = read_timeline(root, &last);
		uint32_t next = NF_MAX(last, above) + 1;
		if (error == 0 && next == 0)
			error = -ERANGE;
		if (error == 0) {
			struct nf_writer w = nf_writer_init(bytes, sizeof(bytes));
			nf_write_u32(&w, next);
			nf_write_u64(&w, XXH3_64bits(bytes, 4));
			error = wh_write(root, TIMELINE, 0600, bytes, w.offset);
		}
		bd_inode_unref(root, 1);
		if (error == 0)
			*ret_timeline = next;
	}
	pthread_mutex_unlock(&history->root_lock);
	return error;
}
