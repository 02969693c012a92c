/* Images of hot pages (walapply/images), made in the background, one full segment after the other.
 *
 * A page that has many records in a segment behind one that makes it from nothing is kept in memory, and goes with the log from then on: each segment's records of
 * it are applied, and after every HOT_EVERY of them there is an image, in `images/` under the segment's name. So who makes such a block later has a few hundred
 * records to go through, whatever lies between its origin and the point.
 *
 * The chain of a page breaks where the daemon ends, where its relation is cut or dropped, where a segment cannot be read, and where others are hotter; it begins
 * again with the next record that makes the page from nothing (with full_page_writes the next one behind a checkpoint). A break costs later readers time, nothing
 * else; so nothing here is an error to anybody but the log.
 *
 * Files of 8 and of 64 segments are put together as runs of indexes are (merged.c). All is removed with the runs.
 * The work is done under hot->lock, and without entry->work but for choosing and for giving the result its name. Memory: HOT_PAGES pages a branch, twice that while a
 * segment is gone through, and the segment's log and index. */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/hot_impl.h"

#define HOT_SEGMENT_MAX (64u << 20) /* longer segments get no images */
#define HOT_FORGET_NS (15 * 60 * INT64_C(1000000000)) /* a branch that had no full segment for so long keeps no pages */

void wh_hot_free(struct wh_hot *hot)
{
	wh_hot_drop(hot);
}

void wh_hot_forget(struct wh_entry *entry)
{
	struct wh_hot *hot = &entry->hot;
	pthread_mutex_lock(&hot->lock);
	if (wh_monotonic_ns() - hot->worked_ns >= HOT_FORGET_NS)
		wh_hot_drop(hot);
	pthread_mutex_unlock(&hot->lock);
}

static void job_end(struct hot_job *job)
{
	struct bd_inode *const dirs[] = {job->index, job->kept, job->live, job->images};
	for (size_t i = 0; i < NF_ARRAY_LEN(dirs); i++)
		if (dirs[i] != NULL)
			bd_inode_unref(dirs[i], 1);
}

static bool same_version(struct wa_version a, struct wa_version b)
{
	return a.major == b.major && a.checksums == b.checksums && a.log_hints == b.log_hints;
}

/* Under work: the next full segment, if there is one: 1. What was sealed before the daemon started is left alone. */
static int choose(struct wh_entry *entry, struct hot_job *job)
{
	struct wh_hot *hot = &entry->hot;
	const struct wa_facts *facts = &entry->facts;
	const uint32_t size = facts->segment_size;
	if (!entry->is_on || size == 0)
		return 0;
	if (entry->images == NULL && wh_directory(entry->dir, WH_IMAGES, &entry->images) != 0) {
		entry->images = NULL;
		return 0;
	}
	if (hot->generation != entry->generation) {
		wh_hot_drop(hot);
		hot->generation = entry->generation;
		hot->next = facts->kept_from.v / size;
	}
	uint64_t number = NF_MAX(hot->next, facts->kept_from.v / size);
	if (number >= facts->sealed.v / size)
		return 0;
	if (number != hot->next || !same_version(hot->version, entry->version) || size > HOT_SEGMENT_MAX)
		wh_hot_drop(hot);
	hot->next = number + 1;
	hot->version = entry->version;
	*job = (struct hot_job){.number = number,
				.generation = entry->generation,
				.system_id = facts->system_id,
				.segment_size = size,
				.timeline = wa_facts_timeline_of(facts, (struct nf_lsn){number * size}),
				.next_timeline = wa_facts_timeline_of(facts, (struct nf_lsn){(number + 1) * size}),
				.version = entry->version,
				.index = entry->index,
				.kept = entry->wal,
				.images = entry->images};
	bd_inode_ref(job->index, 1);
	bd_inode_ref(job->kept, 1);
	bd_inode_ref(job->images, 1);
	int error = wh_path(entry->history->store, wh_head(entry->branch), "pg_wal", &job->live);
	if (error != 0) {
		wh_hot_drop(hot);
		job_end(job);
	}
	return error == 0 ? 1 : error;
}

bool wh_hot_wanted(const struct wh_entry *entry, const struct hot_job *job)
{
	return entry->is_on && entry->generation == job->generation &&
	       wa_facts_needs(&entry->facts, (struct nf_lsn){job->number * job->segment_size});
}

int wh_hot_count(struct wh_entry *entry, uint64_t more, uint64_t less)
{
	pthread_mutex_lock(&entry->state);
	entry->facts.index_bytes += more;
	entry->facts.index_bytes -= NF_MIN(less, entry->facts.index_bytes);
	pthread_mutex_unlock(&entry->state);
	return wh_write_facts(entry);
}

static int keep(struct wh_entry *entry, const struct hot_job *job, const uint8_t *bytes, size_t size)
{
	char name[WA_SEGMENT_NAME + 1];
	int error = 0;
	wa_segment_name(name, job->timeline, (struct nf_lsn){job->number * job->segment_size}, job->segment_size);
	pthread_mutex_lock(&entry->work);
	if (wh_hot_wanted(entry, job))
		error = wh_write(job->images, name, 0400, bytes, size);
	if (error == 0 && wh_hot_wanted(entry, job))
		error = wh_hot_count(entry, size, 0);
	pthread_mutex_unlock(&entry->work);
	return error;
}

/* The entry is the newest of those that keep pages; of one too many the oldest gives them up. Not under hot->lock. */
static void note_worked(struct wh_entry *entry)
{
	struct wh_entry **held = entry->history->hot_held, *old = entry;
	for (unsigned i = 0; i < WH_HOT_BRANCHES; i++) {
		struct wh_entry *next = held[i];
		held[i] = old;
		if (next == entry || next == NULL)
			return;
		old = next;
	}
	pthread_mutex_lock(&old->hot.lock);
	wh_hot_drop(&old->hot);
	pthread_mutex_unlock(&old->hot.lock);
}

int wh_images_next(struct wh_entry *entry)
{
	struct wh_hot *hot = &entry->hot;
	struct hot_job job;
	uint8_t *bytes = NULL;
	size_t size = 0;
	pthread_mutex_lock(&hot->lock);
	pthread_mutex_lock(&entry->work);
	int status = choose(entry, &job);
	pthread_mutex_unlock(&entry->work);
	if (status == 1) {
		int error = job.segment_size <= HOT_SEGMENT_MAX ? wh_hot_make(hot, &job, &bytes, &size) : 0;
		if (error != 0)
			wh_hot_drop(hot);
		if (error == 0 && bytes != NULL)
			error = keep(entry, &job, bytes, size);
		if (error == 0)
			error = wh_hot_merge(entry, &job);
		if (error != 0)
			nf_info("branch %u: the images of hot pages of WAL segment %llu are not made: %s", entry->branch.v,
				(unsigned long long)job.number, strerror(-error));
		hot->worked_ns = wh_monotonic_ns();
		free(bytes);
		job_end(&job);
	}
	pthread_mutex_unlock(&hot->lock);
	if (status == 1)
		note_worked(entry);
	return status;
}
