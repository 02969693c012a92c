/* Whether a branch keeps history: turning it on and off, what is kept, and how it stands. */
#include <stdio.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/wa_crashed.h"
#include "walapply/pitr/history_impl.h"

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
		error = facts->hold_count > 0 ? wh_remove_segments(entry) : wh_remove_directories(entry);
	return error;
}

/* Under work. */
static int turn_on(struct wh_entry *entry, struct wa_retention retention, char *ret_message, size_t size)
{
	bool was_on = entry->is_on && entry->facts.segment_size != 0;
	int error = wh_open_directories(entry);
	if (error != 0)
		return wh_say(ret_message, size, error, "cannot make a place for it: %s", strerror(-error));
	if (entry->is_damaged)
		nf_warn("history of branch %u: its facts were damaged; what they told of is deleted", entry->branch.v);
	pthread_mutex_lock(&entry->state);
	entry->facts.retention = retention;
	entry->is_on = true;
	pthread_mutex_unlock(&entry->state);
	if (!was_on) {
		wa_crashed_drop(entry->history, entry->branch);
		error = wh_begin(entry, NULL, ret_message, size);
		if (error != 0) {
			char message[WA_HISTORY_MESSAGE_MAX];
			pthread_mutex_lock(&entry->state);
			entry->is_on = false;
			pthread_mutex_unlock(&entry->state);
			int undo = entry->is_damaged || entry->facts.hold_count > 0 ? 0 : wh_remove_directories(entry);
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
		error = wh_find_or_make(history, branch, &entry);
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
	wa_crashed_drop(history, branch);
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
