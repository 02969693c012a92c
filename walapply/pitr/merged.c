/* Indexes of neighbouring segments, put together in the background: a block's records of hundreds of segments are then found in a few places.
 *
 * WH_MERGE_FAN segments from a multiple of that on make a run of the first tier, as many of those one of the second, in `merged/`, named as the first
 * segment with "+" and the number of segments. A run of the second tier replaces those that it is made of; the segments' own indexes stay, they have what a
 * run leaves out (wa_index.h, blocks_only). A run is whole when its name is there (wh_write), and is never changed; where there is none, or it cannot be
 * used, the segments' own do. So a run that cannot be made is not tried again before the next mount, and nobody is told but the log.
 *
 * Only segments of one timeline go into a run, and only where no record is missing between them. The work is done without entry->work, which those wait for
 * who ask for a point; what it was done for is looked at again before the result gets its name. Memory: WH_MERGE_MAX bytes of indexes, and as much of the
 * result. */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/history_impl.h"

#define WH_MERGE_MAX (64u << 20) /* bytes of indexes that are put together at once */
#define LONG_HEADER 40u /* bytes of a segment's first page header */

static const uint32_t tiers[WH_TIERS] = {WH_MERGE_FAN, WH_MERGE_FAN *WH_MERGE_FAN};

void wh_run_name(char name[WH_RUN_NAME + 1], uint32_t timeline, struct wa_run run, uint32_t segment_size)
{
	char segment[WA_SEGMENT_NAME + 1];
	wa_segment_name(segment, timeline, (struct nf_lsn){run.first * segment_size}, segment_size);
	snprintf(name, WH_RUN_NAME + 1, run.count > 1 ? "%s+%u" : "%s", segment, run.count);
}

bool wh_run_parse(const char *name, uint32_t segment_size, uint32_t *ret_timeline, struct wa_run *ret_run)
{
	char segment[WA_SEGMENT_NAME + 1], again[WH_RUN_NAME + 1];
	struct nf_lsn start;
	if (strlen(name) <= WA_SEGMENT_NAME + 1u || name[WA_SEGMENT_NAME] != '+')
		return false;
	memcpy(segment, name, WA_SEGMENT_NAME);
	segment[WA_SEGMENT_NAME] = '\0';
	if (!wa_segment_parse(segment, segment_size, ret_timeline, &start))
		return false;
	for (unsigned tier = 0; tier < WH_TIERS; tier++) {
		*ret_run = (struct wa_run){start.v / segment_size, tiers[tier]};
		wh_run_name(again, *ret_timeline, *ret_run, segment_size);
		if (strcmp(again, name) == 0 && ret_run->first % ret_run->count == 0)
			return true;
	}
	return false;
}

int wh_run_find(struct bd_inode *merged, uint32_t timeline, uint64_t number, uint32_t segment_size, struct wa_run *ret_run,
		struct bd_inode **ret_file)
{
	char name[WH_RUN_NAME + 1];
	int error = -ENOENT;
	for (unsigned tier = WH_TIERS; error == -ENOENT && tier-- > 0;) {
		*ret_run = (struct wa_run){number - number % tiers[tier], tiers[tier]};
		wh_run_name(name, timeline, *ret_run, segment_size);
		error = bd_lookup(merged, name, ret_file);
	}
	return error;
}

bool wh_index_continues(const struct wa_index_info *info, struct nf_lsn behind)
{
	if (info->records == 0)
		return behind.v >= info->limit.v;
	/* Between two records lies nothing but a page's header. */
	return info->first.v == behind.v ||
	       (behind.v % WA_PAGE_SIZE == 0 && info->first.v > behind.v && info->first.v - behind.v <= LONG_HEADER);
}

/* ---------------------------------------------------------------- choosing */

/* A run to be made, and what it is made of. */
struct job {
	struct wa_run run;
	unsigned tier;
	uint32_t timeline, segment_size;
	uint64_t system_id, generation;
	int major;
	struct bd_inode *parts, *merged; /* where its parts are, and where it goes to */
};

/* 1 the file is there; 0 it is not; an error. */
static int has_run(struct bd_inode *merged, uint32_t timeline, struct wa_run run, uint32_t segment_size)
{
	char name[WH_RUN_NAME + 1];
	struct bd_inode *file;
	wh_run_name(name, timeline, run, segment_size);
	int error = bd_lookup(merged, name, &file);
	if (error == 0)
		bd_inode_unref(file, 1);
	return error == 0 ? 1 : error == -ENOENT ? 0 : error;
}

/* Is the run still to be made? 1; 0 it is there, as itself or in a greater one, or its segments are not of one timeline. */
static int is_wanted(const struct wh_entry *entry, unsigned tier, struct wa_run run, uint32_t *ret_timeline)
{
	const struct wa_facts *facts = &entry->facts;
	const uint32_t size = facts->segment_size;
	uint32_t timeline = wa_facts_timeline_of(facts, (struct nf_lsn){run.first * size});
	if (wa_facts_timeline_of(facts, (struct nf_lsn){(run.first + run.count - 1) * size}) != timeline)
		return 0;
	for (unsigned t = tier; t < WH_TIERS; t++) {
		int status = has_run(entry->merged, timeline, (struct wa_run){run.first - run.first % tiers[t], tiers[t]}, size);
		if (status != 0)
			return status < 0 ? status : 0;
	}
	*ret_timeline = timeline;
	return 1;
}

/* Under work: the next one that is wanted, the smaller tier first. 1; 0 there is none. */
static int choose(struct wh_entry *entry, struct job *job)
{
	const struct wa_facts *facts = &entry->facts;
	const uint64_t end = facts->sealed.v / NF_MAX(facts->segment_size, 1u);
	if (!entry->is_on || facts->segment_size == 0 || entry->merged == NULL)
		return 0;
	for (unsigned tier = 0; tier < WH_TIERS; tier++) {
		uint64_t kept = facts->kept_from.v / facts->segment_size, count = tiers[tier];
		uint64_t first = NF_MAX((kept + count - 1) / count * count, entry->merge_next[tier]);
		for (; first + count <= end; first += count) {
			struct wa_run run = {first, tiers[tier]};
			entry->merge_next[tier] = first + count;
			int status = is_wanted(entry, tier, run, &job->timeline);
			if (status < 0)
				return status;
			if (status == 0)
				continue;
			job->run = run;
			job->tier = tier;
			job->segment_size = facts->segment_size;
			job->system_id = facts->system_id;
			job->major = facts->major;
			job->generation = entry->generation;
			job->parts = tier == 0 ? entry->index : entry->merged;
			job->merged = entry->merged;
			bd_inode_ref(job->parts, 1);
			bd_inode_ref(job->merged, 1);
			return 1;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ making */

static struct wa_run part_of(const struct job *job, uint32_t i)
{
	uint32_t count = job->tier == 0 ? 1 : tiers[job->tier - 1];
	return (struct wa_run){job->run.first + i * count, count};
}

/* The bytes of part `i`, and its view, checked against what it should be. */
static int read_part(const struct job *job, uint32_t i, size_t room, uint8_t **ret_bytes, size_t *ret_size,
		     struct wa_index *ret_part, struct wa_error *why)
{
	char name[WH_RUN_NAME + 1];
	struct bd_inode *file;
	const struct wa_run part = part_of(job, i);
	wh_run_name(name, job->timeline, part, job->segment_size);
	int error = bd_lookup(job->parts, name, &file);
	if (error != 0)
		return error;
	error = wh_read(file, room, ret_bytes, ret_size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	error = wa_index_open(*ret_bytes, *ret_size, ret_part, why);
	const struct wa_index_info *info = &ret_part->info;
	if (error == 0 &&
	    (info->base.v != part.first * job->segment_size || info->limit.v != (part.first + part.count) * job->segment_size ||
	     info->major != job->major || info->system_id != job->system_id))
		error = -EBADMSG;
	return error;
}

static int merge_parts(const struct job *job, uint8_t **ret_bytes, size_t *ret_size)
{
	struct wa_index parts[WH_MERGE_FAN] = {0};
	uint8_t *bytes[WH_MERGE_FAN] = {NULL};
	struct wa_error why = {0};
	struct nf_lsn behind = {0};
	size_t room = WH_MERGE_MAX, size;
	int error = 0;
	for (uint32_t i = 0; i < WH_MERGE_FAN && error == 0; i++, room -= size) {
		size = 0;
		error = read_part(job, i, room, &bytes[i], &size, &parts[i], &why);
		if (error == 0 && i > 0 && !wh_index_continues(&parts[i].info, behind))
			error = -ENODATA; /* where history began: records are missing */
		if (error == 0 && (parts[i].info.records > 0 || i == 0))
			behind = parts[i].info.end;
	}
	if (error == 0)
		error = wa_index_merge(parts, WH_MERGE_FAN, WA_MERGE_BLOCKS, ret_bytes, ret_size, &why);
	for (uint32_t i = 0; i < WH_MERGE_FAN; i++)
		free(bytes[i]);
	return error;
}

/* Under work: the runs that it is made of are not needed any more. */
static int remove_parts(const struct job *job, uint64_t *ret_bytes)
{
	int error = 0;
	*ret_bytes = 0;
	for (uint32_t i = 0; job->tier > 0 && i < WH_MERGE_FAN && error == 0; i++) {
		char name[WH_RUN_NAME + 1];
		wh_run_name(name, job->timeline, part_of(job, i), job->segment_size);
		uint64_t bytes = wh_size(job->merged, name);
		error = bd_unlink(job->merged, name);
		*ret_bytes += error == 0 ? bytes : 0;
		error = error == -ENOENT ? 0 : error;
	}
	return error;
}

/* Under work. */
static int keep(struct wh_entry *entry, const struct job *job, const uint8_t *bytes, size_t size)
{
	char name[WH_RUN_NAME + 1];
	uint64_t removed;
	struct nf_lsn last = {(job->run.first + job->run.count - 1) * job->segment_size};
	/* Begun again, turned off, or older than all that is kept: it is nobody's. */
	if (!entry->is_on || entry->generation != job->generation || !wa_facts_needs(&entry->facts, last))
		return 0;
	wh_run_name(name, job->timeline, job->run, job->segment_size);
	int error = wh_write(job->merged, name, 0400, bytes, size);
	if (error != 0)
		return error;
	error = remove_parts(job, &removed);
	pthread_mutex_lock(&entry->state);
	entry->facts.index_bytes += size;
	entry->facts.index_bytes -= NF_MIN(removed, entry->facts.index_bytes);
	pthread_mutex_unlock(&entry->state);
	int written = wh_write_facts(entry);
	return error != 0 ? error : written;
}

int wh_merge_next(struct wh_entry *entry)
{
	struct job job = {.run = {0}};
	uint8_t *bytes = NULL;
	size_t size = 0;
	pthread_mutex_lock(&entry->work);
	int status = choose(entry, &job);
	pthread_mutex_unlock(&entry->work);
	if (status < 1)
		return status;
	int error = merge_parts(&job, &bytes, &size);
	if (error == 0) {
		pthread_mutex_lock(&entry->work);
		error = keep(entry, &job, bytes, size);
		pthread_mutex_unlock(&entry->work);
	}
	if (error != 0)
		nf_info("branch %u: %u indexes of WAL from segment %llu on are not merged: %s", entry->branch.v, WH_MERGE_FAN,
			(unsigned long long)job.run.first, strerror(-error));
	free(bytes);
	bd_inode_unref(job.parts, 1);
	bd_inode_unref(job.merged, 1);
	return 1;
}
