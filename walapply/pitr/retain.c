/* What goes: automatic snapshots that no point of the window needs, then the WAL that no base and no hold needs.
 *
 * The order keeps a crash harmless: first the facts say that something is not there, then it goes. What is left behind is found by its name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"

#define FACTS "facts"

int wh_write_facts(struct wh_entry *entry)
{
	uint8_t *bytes;
	size_t size;
	int error = wa_facts_encode(&entry->facts, &bytes, &size);
	if (error != 0)
		return error;
	error = wh_write(entry->dir, FACTS, 0600, bytes, size);
	free(bytes);
	return error;
}

static int delete_snapshot(struct wh_entry *entry, const struct bd_snapshot_info *info)
{
	int error = bd_snapshot_delete(entry->history->store, entry->branch, info->label);
	return error == -ENOENT ? 0 : error;
}

int wh_delete_automatic(struct wh_entry *entry)
{
	struct bd_snapshot_info *infos;
	size_t count;
	int error = bd_snapshot_list(entry->history->store, entry->branch, &infos, &count);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	for (size_t i = 0; i < count && error == 0; i++) {
		if (wh_is_automatic_label(infos[i].label))
			error = delete_snapshot(entry, &infos[i]);
	}
	free(infos);
	return error;
}

/* Does anybody need what this file says of one segment or several? Files of other names stay. */
static bool is_needed(const struct wh_entry *entry, const char *name)
{
	const uint32_t size = entry->facts.segment_size;
	uint32_t timeline;
	struct wa_run run;
	struct nf_lsn start;
	if (wa_segment_parse(name, size, &timeline, &start))
		run = (struct wa_run){start.v / size, 1};
	else if (!wh_run_parse(name, size, &timeline, &run))
		return true;
	bool needed = false;
	for (uint32_t i = 0; i < run.count && !needed; i++)
		needed = wa_facts_needs(&entry->facts, (struct nf_lsn){(run.first + i) * size});
	return needed;
}

/* Delete what of `dir` nobody needs, or everything; *ret_bytes: of files. */
static int remove_from(struct wh_entry *entry, struct bd_inode *dir, bool everything, uint64_t *ret_bytes)
{
	struct bd_listing *listing;
	int error = bd_readdir(dir, &listing);
	*ret_bytes = 0;
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		const char *name = listing->entries[i].name;
		if (!everything && is_needed(entry, name))
			continue;
		uint64_t bytes = wh_size(dir, name);
		error = bd_unlink(dir, name);
		*ret_bytes += error == 0 ? bytes : 0;
		error = error == -ENOENT ? 0 : error;
	}
	bd_listing_free(listing);
	return error;
}

static void forget_bytes(struct wh_entry *entry, uint64_t bytes)
{
	pthread_mutex_lock(&entry->state);
	entry->facts.index_bytes -= NF_MIN(bytes, entry->facts.index_bytes);
	pthread_mutex_unlock(&entry->state);
}

int wh_remove_segments(struct wh_entry *entry)
{
	struct bd_inode *const dirs[] = {entry->wal, entry->index, entry->summary, entry->merged, entry->images};
	uint64_t removed = 0, bytes;
	int error = 0;
	for (size_t i = 0; i < NF_ARRAY_LEN(dirs) && error == 0; i++) {
		if (dirs[i] == NULL)
			continue;
		error = remove_from(entry, dirs[i], false, &bytes);
		removed += dirs[i] != entry->wal ? bytes : 0;
	}
	if (error == 0)
		forget_bytes(entry, removed);
	return error;
}

int wh_remove_runs(struct wh_entry *entry)
{
	struct bd_inode *const dirs[] = {entry->merged, entry->images};
	uint64_t bytes;
	int error = 0;
	for (size_t i = 0; i < NF_ARRAY_LEN(dirs) && error == 0; i++) {
		if (dirs[i] == NULL)
			continue;
		error = remove_from(entry, dirs[i], true, &bytes);
		if (error == 0)
			forget_bytes(entry, bytes);
	}
	memset(entry->merge_next, 0, sizeof(entry->merge_next));
	return error;
}

/* The snapshots of bases [0, first) that are ours go, and all of these bases from the facts. */
static int drop_bases(struct wh_entry *entry, uint32_t first)
{
	struct bd_snapshot_info *infos;
	size_t count;
	struct nf_lsn kept_from = wa_facts_needed_from(&entry->facts, first);
	int error = bd_snapshot_list(entry->history->store, entry->branch, &infos, &count);
	if (error != 0)
		return error;
	uint32_t *epochs = calloc(first + 1u, sizeof(*epochs));
	uint32_t ours = 0;
	if (epochs == NULL) {
		free(infos);
		return -ENOMEM;
	}
	pthread_mutex_lock(&entry->state);
	for (uint32_t i = 0, at = 0; i < first; i++) {
		struct wa_facts_base *base = &entry->facts.bases[at];
		if ((base->flags & WA_BASE_AUTOMATIC) != 0) {
			epochs[ours++] = base->epoch;
			wa_facts_drop_base(&entry->facts, at);
		} else {
			/* A user's snapshot stays, but replay cannot start from it any more. */
			*base = (struct wa_facts_base){.epoch = base->epoch, .flags = WA_BASE_UNUSABLE, .time_us = base->time_us};
			at++;
		}
	}
	entry->facts.kept_from.v = NF_MAX(entry->facts.kept_from.v, kept_from.v);
	pthread_mutex_unlock(&entry->state);
	error = wh_write_facts(entry);
	for (size_t i = 0; i < count && error == 0; i++) {
		for (uint32_t k = 0; k < ours && error == 0; k++) {
			if (infos[i].epoch.v == epochs[k])
				error = delete_snapshot(entry, &infos[i]);
		}
	}
	free(epochs);
	free(infos);
	return error;
}

/* Is there something in front of the window that could go? Users' snapshots that are no base are there for good. */
static bool has_old(const struct wa_facts *facts, uint32_t first)
{
	for (uint32_t i = 0; i < first; i++) {
		if ((facts->bases[i].flags & WA_BASE_UNUSABLE) == 0 || (facts->bases[i].flags & WA_BASE_AUTOMATIC) != 0)
			return true;
	}
	return false;
}

int wh_let_go(struct wh_entry *entry)
{
	struct nf_lsn needed = wa_facts_needed_from(&entry->facts, 0);
	if (wa_facts_oldest(&entry->facts) == NULL || needed.v <= entry->facts.kept_from.v)
		return 0;
	pthread_mutex_lock(&entry->state);
	entry->facts.kept_from = needed;
	pthread_mutex_unlock(&entry->state);
	int error = wh_write_facts(entry);
	return error == 0 ? wh_remove_segments(entry) : error;
}

int wh_retain(struct wh_entry *entry)
{
	uint32_t first = wa_facts_window(&entry->facts, wh_now_us(), entry->tail.end);
	uint64_t kept_from = entry->facts.kept_from.v;
	if (!has_old(&entry->facts, first))
		return 0;
	int error = drop_bases(entry, first);
	if (error == 0 && entry->facts.kept_from.v > kept_from)
		error = wh_remove_segments(entry);
	return error;
}
