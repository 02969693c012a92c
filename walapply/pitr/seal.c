/* Segments that are full: one pass over the records of each makes its index and its summary. */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"
#include "walapply/summary/wa_summary.h"

struct makers {
	struct wa_index_builder *index; /* used again for each segment */
	struct wa_summary_builder *summary; /* a new one for each; NULL: this one has none */
};

/* One that would be too large is not made: then the segment is decoded. */
static int add_to_summary(struct makers *makers, const struct wa_record *record, struct wa_error *bad)
{
	int error = makers->summary != NULL ? wa_summary_add(makers->summary, record, bad) : 0;
	if (error != -EFBIG)
		return error;
	nf_warn("the WAL segment that has " NF_LSN_FMT " changes too many relations: it gets no summary, and is read where one would do",
		NF_LSN_ARG(record->lsn));
	wa_summary_builder_free(makers->summary);
	makers->summary = NULL;
	return 0;
}

/* Records of the segment from `sealed` on into the builders. 1 all; 0 the last one is not complete yet; -EBADMSG the log breaks off inside it. */
static int read_segment(struct wh_entry *entry, struct bd_inode *live, struct makers *makers, struct wh_tail *tail,
			char *why, size_t size)
{
	struct wa_facts *facts = &entry->facts;
	const uint64_t limit = facts->sealed.v + facts->segment_size;
	const bool in_middle = facts->next.v == facts->sealed.v && facts->prev.v == 0;
	const struct wh_log_start start = {.lsn = facts->next, .prev = facts->prev, .find = in_middle};
	const struct wa_record *record;
	struct wa_error bad;
	struct wh_log log;
	bool commit;
	int64_t time_us;
	int status = wh_log_open(&log, facts, live, entry->wal, start);
	if (status != 0)
		return status;
	while ((status = wh_log_next(&log, &record)) == 1 && record->lsn.v < limit) {
		int error = wa_index_add(makers->index, record, &bad);
		if (error == 0)
			error = add_to_summary(makers, record, &bad);
		if (error == 0)
			error = wh_observe(entry, record);
		if (error != 0) {
			wh_say(why, size, error, NF_LSN_FMT ": %s", NF_LSN_ARG(record->lsn),
			       error == -EBADMSG ? bad.text : strerror(-error));
			wh_log_close(&log);
			return error;
		}
		if (wh_transaction_end(record, &commit, &time_us) && commit)
			tail->commit_us = time_us;
		tail->end = record->end;
		tail->last = record->lsn;
	}
	/* A last record that goes on in the next segment may not be there to its end yet. */
	if (status == 0 && tail->end.v < limit && wa_reader_wanted(log.reader).v < limit)
		status = wh_say(why, size, -EBADMSG, "the log breaks off at " NF_LSN_FMT ": %s", NF_LSN_ARG(log.error.lsn),
				log.error.text[0] != '\0' ? log.error.text : "the file is not there");
	else if (status == 0)
		status = tail->end.v >= limit;
	else if (status == -EBADMSG)
		wh_say(why, size, status, NF_LSN_FMT ": %s", NF_LSN_ARG(log.error.lsn), log.error.text);
	wh_log_close(&log);
	return status;
}

/* Both under the segment's name; *ret_size: of both. The summary first: without one a segment is decoded. */
static int write_results(struct wh_entry *entry, const struct makers *makers, size_t *ret_size)
{
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *index = NULL, *summary = NULL;
	size_t index_size = 0, summary_size = 0;
	int error = wa_index_finish(makers->index, &index, &index_size);
	if (error == 0 && makers->summary != NULL)
		error = wa_summary_finish(makers->summary, &summary, &summary_size);
	wa_segment_name(name, wa_facts_timeline_of(&entry->facts, entry->facts.sealed), entry->facts.sealed,
			entry->facts.segment_size);
	if (error == 0 && summary != NULL)
		error = wh_write(entry->summary, name, 0400, summary, summary_size);
	if (error == 0)
		error = wh_write(entry->index, name, 0400, index, index_size);
	free(index);
	free(summary);
	*ret_size = index_size + summary_size;
	return error;
}

/* Is the segment from `sealed` on full? The next one is begun then, in pg_wal or, removed already, in wal/. */
static int is_full(struct wh_entry *entry, struct bd_inode *live)
{
	const struct wa_facts *facts = &entry->facts;
	const struct nf_lsn next = {facts->sealed.v + facts->segment_size};
	uint32_t timeline = wa_facts_timeline_of(facts, next);
	int begun = wh_segment_begun(live, timeline, next, facts->segment_size);
	return begun != 0 ? begun : wh_segment_begun(entry->wal, timeline, next, facts->segment_size);
}

static int fill(struct wh_entry *entry, struct bd_inode *live, const struct wa_index_config *config, struct makers *makers,
		struct wh_tail *tail, char *why, size_t size)
{
	const struct wa_summary_config summary = {.version = config->version,
						  .system_id = config->system_id,
						  .base = config->base,
						  .limit = config->limit,
						  .commit_times = entry->tracks_commits};
	wa_summary_builder_free(makers->summary);
	makers->summary = NULL;
	int error = wa_summary_builder_new(&summary, &makers->summary);
	if (error == 0)
		error = makers->index == NULL ? wa_index_builder_new(config, &makers->index)
					      : wa_index_builder_reset(makers->index, config->base, config->limit);
	return error == 0 ? read_segment(entry, live, makers, tail, why, size) : error;
}

/* 1 sealed; 0 not yet; or an error. */
static int seal(struct wh_entry *entry, struct bd_inode *live, struct makers *makers, char *why, size_t size)
{
	struct wa_facts *facts = &entry->facts;
	struct wa_index_config config = {.version = entry->version,
					 .system_id = facts->system_id,
					 .base = facts->sealed,
					 .limit = {facts->sealed.v + facts->segment_size}};
	struct wh_tail tail = {.end = facts->next, .last = facts->prev};
	size_t written;
	int status = is_full(entry, live);
	if (status != 1)
		return status;
	status = fill(entry, live, &config, makers, &tail, why, size);
	struct nf_lsn begun = wa_facts_begun(facts);
	if (status == -EBADMSG && facts->prev.v == 0 && facts->next.v == facts->sealed.v && begun.v > facts->next.v &&
	    begun.v < config.limit.v) {
		/* The first segment of history: before it began there may be anything. Nothing needs those records: no base is that old, and a layer that
		 * does not begin at one makes an index of its own. */
		pthread_mutex_lock(&entry->state);
		facts->next = begun;
		pthread_mutex_unlock(&entry->state);
		tail = (struct wh_tail){.end = facts->next};
		status = fill(entry, live, &config, makers, &tail, why, size);
	}
	if (status != 1)
		return status;
	status = write_results(entry, makers, &written);
	if (status != 0)
		return status;
	pthread_mutex_lock(&entry->state);
	facts->sealed = config.limit;
	facts->next = tail.end;
	facts->prev = tail.last;
	facts->index_bytes += written;
	if (entry->tail.end.v < tail.end.v)
		entry->tail = tail;
	pthread_mutex_unlock(&entry->state);
	status = wh_write_facts(entry);
	return status != 0 ? status : 1;
}

int wh_seal_all(struct wh_entry *entry, struct bd_inode *live, char *why, size_t size)
{
	struct makers makers = {0};
	int status;
	while ((status = seal(entry, live, &makers, why, size)) == 1)
		;
	wa_index_builder_free(makers.index);
	wa_summary_builder_free(makers.summary);
	return status;
}
