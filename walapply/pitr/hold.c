/* Holds: WAL of a branch that somebody needs, whatever retention says. */
#include <string.h>

#include "walapply/pitr/history_impl.h"

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
		error = wh_remove_directories(entry);
	else if (held)
		error = wh_write_facts(entry);
	if (error == 0 && held && !is_last && entry->facts.segment_size != 0)
		error = wh_remove_segments(entry);
	pthread_mutex_unlock(&entry->work);
	return error;
}
