/* History of a store's branches: its life, and the entries of its branches. See wa_history.h.
 *
 * Threading: one thread looks at branches that were written to (thread.c). Questions are answered on the caller's thread. Whatever reads or follows a
 * branch holds entry->work; the hook for names that go does not, and takes entry->keep and entry->state only. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"
#include "walapply/pitr/history_impl.h"

#define SNAPSHOT_EVERY_BYTES (UINT64_C(64) << 20)
#define UNINDEXED_BYTES (UINT64_C(64) << 20)
#define RETAIN_EVERY_MS 60000
#define FACTS "facts"

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
	struct bd_inode *dirs[] = {entry->dir, entry->wal, entry->index, entry->summary, entry->merged, entry->images};
	for (unsigned i = 0; i < NF_ARRAY_LEN(dirs); i++) {
		if (dirs[i] != NULL)
			bd_inode_unref(dirs[i], 1);
	}
	wh_hot_free(&entry->hot);
	pthread_mutex_destroy(&entry->hot.lock);
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

int wh_find_or_make(struct wa_history *history, struct bd_branch_id branch, struct wh_entry **ret_entry)
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
			pthread_mutex_init(&entry->hot.lock, NULL);
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

int wh_open_directories(struct wh_entry *entry)
{
	struct bd_inode *root;
	char name[16];
	if (entry->images != NULL)
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
	if (error == 0 && entry->merged == NULL)
		error = wh_directory(entry->dir, WH_MERGED, &entry->merged);
	/* Images are only for speed: a store that is full or read-only, and of a time before there were any, goes without. */
	if (error == 0 && wh_directory(entry->dir, WH_IMAGES, &entry->images) != 0)
		entry->images = NULL;
	return error;
}

int wh_remove_directories(struct wh_entry *entry)
{
	struct bd_inode *root, **dirs[] = {&entry->dir, &entry->wal, &entry->index, &entry->summary, &entry->merged, &entry->images};
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

/* ----------------------------------------------------------- open, close */

/* Facts of a branch's directory into its entry. */
static int load_facts(struct wh_entry *entry)
{
	struct bd_inode *file;
	uint8_t *bytes;
	size_t size;
	const char *why;
	int error = wh_open_directories(entry);
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
	if (entry->facts.segment_size != 0)
		entry->hot.next = entry->facts.sealed.v / entry->facts.segment_size;
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
	int error = wh_find_or_make(history, (struct bd_branch_id){branch}, &entry);
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
	free(history->others);
	pthread_mutex_destroy(&history->ready_lock);
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
	if (history->options.unindexed_bytes == 0)
		history->options.unindexed_bytes = UNINDEXED_BYTES;
	if (history->options.retain_every_ms == 0)
		history->options.retain_every_ms = RETAIN_EVERY_MS;
	pthread_mutex_init(&history->lock, NULL);
	pthread_mutex_init(&history->root_lock, NULL);
	pthread_mutex_init(&history->ready_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&history->cond, &attr);
	pthread_condattr_destroy(&attr);
	bd_store_set_wake(store, wh_wake_branch, history);
	int error = load_all(history);
	if (error == 0)
		wh_crashed_tidy(history);
	if (error == 0)
		error = -pthread_create(&history->thread, NULL, wh_run, history);
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
