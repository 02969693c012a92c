/* Tablespaces that the WAL makes outside of a data directory: see wa_history_space_outside. */
#include <stdlib.h>
#include <string.h>

#include "walapply/decode/wa_records.h"
#include "walapply/pitr/asked.h"
#include "walapply/state/wa_state.h"

struct space_search {
	struct asked *asked;
	struct nf_lsn from, to; /* of records that begin in [from, to) */
	struct wa_history_space *found;
};

/* -EEXIST stops. One made in place has no path. */
static int note_space(void *arg, const struct wa_state_op *op)
{
	struct space_search *search = arg;
	if (op->kind != WA_OP_SPACE_CREATE || op->space.path_size == 0)
		return 0;
	struct wa_history_space *found = search->found;
	size_t size = NF_MIN((size_t)op->space.path_size, sizeof(found->path) - 1);
	found->spc = op->space.spc;
	memcpy(found->path, op->space.path, size);
	found->path[size] = '\0';
	return -EEXIST;
}

static int look_for_space(void *arg, const struct wa_record *record)
{
	struct space_search *search = arg;
	const struct wa_version version = {.major = search->asked->entry->facts.major};
	struct wa_error why = {0};
	if (record->lsn.v >= search->to.v)
		return 1;
	if (record->rmid != WA_RMGR_TBLSPC || record->lsn.v < search->from.v)
		return 0;
	int status = wa_state_ops(&version, record, note_space, search, &why);
	return status == -EBADMSG ? wh_say(search->asked->message, search->asked->message_size, status,
					   "the record at " NF_LSN_FMT " cannot be read: %s", NF_LSN_ARG(record->lsn), why.text)
				  : status;
}

/* Does the segment's index say that a tablespace is made in it? 1, 0, or an error. */
static int makes_space(struct asked *asked, struct nf_lsn start)
{
	struct wa_index index;
	uint8_t *bytes;
	int status = wh_load_index(asked, start, &index, &bytes);
	if (status != 0)
		return status;
	for (size_t i = 0; i < wa_index_event_count(&index) && status == 0; i++)
		status = wa_index_event_at(&index, i).kind == WA_EVENT_SPACE_CREATE;
	free(bytes);
	return status;
}

static int search_segments(struct space_search *search)
{
	struct asked *asked = search->asked;
	const struct wa_facts *facts = &asked->entry->facts;
	struct nf_lsn start = {wa_segment_start(search->from, facts->segment_size)};
	int status = 0;
	for (; status == 0 && start.v < facts->sealed.v && start.v < search->to.v; start.v += facts->segment_size) {
		struct space_search part = *search;
		status = makes_space(asked, start);
		if (status != 1)
			continue;
		part.to.v = NF_MIN(search->to.v, start.v + facts->segment_size);
		status = wh_scan(asked, start, look_for_space, &part);
	}
	return status == 0 && search->to.v > facts->sealed.v ? wh_scan(asked, facts->sealed, look_for_space, search) : status;
}

int wa_history_space_outside(struct wa_history *history, struct bd_branch_id branch, struct nf_lsn from, struct nf_lsn to,
			     struct wa_history_space *ret_space, char *ret_message, size_t message_size)
{
	struct asked asked;
	int error = wh_enter_at(history, branch, to, &asked, ret_message, message_size);
	if (error != 0)
		return error;
	struct space_search search = {.asked = &asked, .from = from, .to = to, .found = ret_space};
	error = search_segments(&search);
	wh_leave(&asked);
	return error == -EEXIST ? 1 : error;
}
