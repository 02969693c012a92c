/* A snapshot that somebody deletes: history hears of it before, so that it does not become shorter without a word, and at once afterwards. */
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"

/* The next one that replay can start from, behind the oldest; NULL: there is none. */
static const struct wa_facts_base *second_oldest(const struct wa_facts *facts, const struct wa_facts_base *oldest)
{
	for (const struct wa_facts_base *base = oldest + 1; base < facts->bases + facts->base_count; base++) {
		if ((base->flags & WA_BASE_UNUSABLE) == 0)
			return base;
	}
	return NULL;
}

/* Under work. Any but the oldest is stood in for by the one before it: replay takes longer then, and that is all. */
static void find_loss(const struct wh_entry *entry, struct bd_epoch epoch, struct wa_history_loss *ret_loss)
{
	const struct wa_facts *facts = &entry->facts;
	const struct wa_facts_base *oldest = wa_facts_oldest(facts);
	if (oldest == NULL || oldest->epoch != epoch.v)
		return;
	const struct wa_facts_base *next = second_oldest(facts, oldest);
	*ret_loss = (struct wa_history_loss){.from = oldest->written, .from_us = oldest->time_us, .is_all = next == NULL};
	ret_loss->to = next != NULL ? next->written : entry->tail.end;
	ret_loss->to_us = next != NULL ? next->time_us : wh_now_us();
}

/* Under work. What fails here is made up for by the next look at the branch: nobody has to hear of it. */
static void look_again(struct wh_entry *entry)
{
	int error = wh_look_at_snapshots(entry);
	if (error == 0)
		entry->snapshots_seen = UINT32_MAX;
	else
		nf_debug("history of branch %u: its snapshots cannot be looked at now: %s", entry->branch.v, strerror(-error));
}

int wa_history_delete_snapshot(struct wa_history *history, struct bd_branch_id branch, const char *label, bool is_forced,
			       struct wa_history_loss *ret_loss)
{
	struct bd_snapshot_info info;
	struct wh_entry *entry = wh_find(history, branch);
	*ret_loss = (struct wa_history_loss){0};
	if (entry == NULL)
		return bd_snapshot_delete(history->store, branch, label);
	pthread_mutex_lock(&entry->work);
	bool is_on = entry->is_on && entry->facts.segment_size != 0;
	if (is_on)
		look_again(entry); /* those that were taken and deleted meanwhile */
	int error = bd_snapshot_find(history->store, branch, label, &info);
	if (error == 0 && is_on)
		find_loss(entry, info.epoch, ret_loss);
	if (error == 0 && ret_loss->from.v != 0 && !is_forced)
		error = -ENOTEMPTY;
	if (error == 0)
		error = bd_snapshot_delete(history->store, branch, label);
	if (error == 0 && is_on) {
		look_again(entry);
		if (ret_loss->from.v != 0 && !ret_loss->is_all && wh_let_go(entry) != 0)
			nf_debug("history of branch %u: WAL that is not needed any more stays for now", branch.v);
	}
	pthread_mutex_unlock(&entry->work);
	if (error == 0 && ret_loss->is_all)
		wh_wake(entry); /* to begin with another one */
	return error;
}
