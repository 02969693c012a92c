/* See wa_crashed.h. Each segment is read by itself, from its first record on; whether the records of two follow each other is looked at by who uses them. */
#include "walapply/pitr/wa_crashed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"
#include "walapply/summary/wa_summary.h"

#define WORKERS 2u
#define SEGMENTS_LEAST 2u /* less WAL is read in a moment */

/* What the workers share. All but what is behind `lock` is const while they work. */
struct work {
	struct bd_store *store;
	struct bd_inode *live, *index, *summary; /* pg_wal, and where results go */
	const struct wa_facts *facts;
	struct wa_version version;
	bool commit_times;
	struct nf_lsn redo;
	pthread_mutex_t lock;
	uint64_t next, end; /* segments that nobody has taken, by number */
	int error; /* the first one */
};

/* Of one worker: used again for each segment. */
struct makers {
	struct wa_index_builder *index;
	struct wa_summary_builder *summary;
};

void wh_crashed_name(struct bd_branch_id branch, char name[WH_CRASHED_NAME])
{
	snprintf(name, WH_CRASHED_NAME, WH_CRASHED "%" PRIu32, branch.v);
}

void wa_crashed_summary_path(struct bd_branch_id branch, char *ret_path, size_t size)
{
	char name[WH_CRASHED_NAME];
	wh_crashed_name(branch, name);
	snprintf(ret_path, size, WA_HISTORY_BRANCH "/%s/" WH_SUMMARIES, name);
}

static int begin_segment(const struct work *work, struct makers *makers, struct nf_lsn base)
{
	const struct nf_lsn limit = {base.v + work->facts->segment_size};
	const struct wa_index_config index = {
		.version = work->version, .system_id = work->facts->system_id, .base = base, .limit = limit};
	const struct wa_summary_config summary = {.version = work->version,
						  .system_id = work->facts->system_id,
						  .base = base,
						  .limit = limit,
						  .commit_times = work->commit_times};
	wa_summary_builder_free(makers->summary);
	makers->summary = NULL;
	int error = wa_summary_builder_new(&summary, &makers->summary);
	if (error == 0)
		error = makers->index == NULL ? wa_index_builder_new(&index, &makers->index)
					      : wa_index_builder_reset(makers->index, base, limit);
	return error;
}

/* Its records into the builders. 1; 0 the log ends in it, or cannot be read there. */
static int read_segment(const struct work *work, struct makers *makers, struct nf_lsn base)
{
	const bool is_first = work->redo.v > base.v;
	const struct wh_log_start start = {.lsn = is_first ? work->redo : base, .find = !is_first};
	const uint64_t limit = base.v + work->facts->segment_size;
	const struct wa_record *record;
	struct wa_error why;
	struct nf_lsn end = {0};
	struct wh_log log;
	int status = wh_log_open(&log, work->facts, work->live, NULL, start);
	if (status != 0)
		return status;
	log.live_may_change = false;
	while ((status = wh_log_next(&log, &record)) == 1 && record->lsn.v < limit) {
		status = wa_index_add(makers->index, record, &why);
		if (status == 0)
			status = wa_summary_add(makers->summary, record, &why);
		if (status != 0)
			break;
		end = record->end;
	}
	wh_log_close(&log);
	if (status == -EBADMSG || status == -EFBIG)
		return 0;
	return status == 0 ? end.v >= limit : status;
}

/* All of them are made durable at once, at the end. */
static int write_file(struct bd_inode *dir, const char *name, const void *bytes, size_t size)
{
	const struct bd_create how = {.mode = S_IFREG | 0400, .uid = geteuid(), .gid = getegid()};
	struct bd_inode *file;
	int error = bd_create(dir, name, &how, &file);
	if (error != 0)
		return error;
	error = bd_write(file, 0, bytes, size, 0);
	bd_inode_unref(file, 1);
	return error;
}

static int write_results(const struct work *work, struct makers *makers, struct nf_lsn base)
{
	char name[WA_SEGMENT_NAME + 1];
	uint8_t *index = NULL, *summary = NULL;
	size_t index_size = 0, summary_size = 0;
	wa_segment_name(name, wa_facts_timeline_of(work->facts, base), base, work->facts->segment_size);
	int error = wa_index_finish(makers->index, &index, &index_size);
	if (error == 0)
		error = wa_summary_finish(makers->summary, &summary, &summary_size);
	if (error == 0)
		error = write_file(work->summary, name, summary, summary_size);
	if (error == 0)
		error = write_file(work->index, name, index, index_size);
	free(index);
	free(summary);
	return error;
}

static int do_segment(const struct work *work, struct makers *makers, uint64_t number)
{
	const struct nf_lsn base = {number * work->facts->segment_size};
	int status = begin_segment(work, makers, base);
	if (status == 0)
		status = read_segment(work, makers, base);
	return status == 1 ? write_results(work, makers, base) : status;
}

/* Segments until there are no more. `progress` on the calling thread's worker only. */
static void work_on(struct work *work, bd_progress_fn progress, void *arg)
{
	struct makers makers = {0};
	const uint64_t first = work->redo.v / work->facts->segment_size;
	for (;;) {
		pthread_mutex_lock(&work->lock);
		bool is_over = work->error != 0 || work->next == work->end;
		uint64_t number = is_over ? 0 : work->next++;
		pthread_mutex_unlock(&work->lock);
		if (is_over)
			break;
		int error = do_segment(work, &makers, number);
		if (error == 0 && progress != NULL && progress(arg, "indexing WAL", number - first + 1, work->end - first) != 0)
			error = -ECANCELED;
		pthread_mutex_lock(&work->lock);
		work->error = work->error != 0 ? work->error : error;
		pthread_mutex_unlock(&work->lock);
	}
	wa_index_builder_free(makers.index);
	wa_summary_builder_free(makers.summary);
}

static void *work_beside(void *arg)
{
	work_on(arg, NULL, NULL);
	return NULL;
}

static int work_together(struct work *work, bd_progress_fn progress, void *arg)
{
	pthread_t threads[WORKERS - 1];
	unsigned started = 0;
	pthread_mutex_init(&work->lock, NULL);
	while (started < NF_ARRAY_LEN(threads) && pthread_create(&threads[started], NULL, work_beside, work) == 0)
		started++;
	work_on(work, progress, arg);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&work->lock);
	return work->error;
}

/* How many segments from the redo pointer's on are full: those whose next one is begun. */
static int count_full(struct work *work)
{
	const uint32_t size = work->facts->segment_size;
	int begun;
	work->next = work->end = work->redo.v / size;
	do {
		const struct nf_lsn after = {(work->end + 1) * size};
		begun = wh_segment_begun(work->live, wa_facts_timeline_of(work->facts, after), after, size);
		work->end += begun == 1;
	} while (begun == 1);
	return begun;
}

static int open_directories(struct work *work, struct bd_branch_id branch)
{
	struct bd_inode *root, *dir = NULL;
	char name[WH_CRASHED_NAME];
	wh_crashed_name(branch, name);
	int error = wh_root(work->store, true, &root);
	if (error != 0)
		return error;
	error = wh_remove(root, name);
	if (error == 0)
		error = wh_directory(root, name, &dir);
	if (error == 0)
		error = wh_directory(dir, "index", &work->index);
	if (error == 0)
		error = wh_directory(dir, WH_SUMMARIES, &work->summary);
	if (dir != NULL)
		bd_inode_unref(dir, 1);
	bd_inode_unref(root, 1);
	return error;
}

static int index_all(struct work *work, struct bd_branch_id branch, bd_progress_fn progress, void *arg)
{
	int error = wh_path(work->store, wh_head(branch), "pg_wal", &work->live);
	if (error == 0)
		error = count_full(work);
	if (error != 0 || work->end - work->next < SEGMENTS_LEAST)
		return error == -ENOTDIR ? -EINVAL : error;
	error = open_directories(work, branch);
	if (error == 0)
		error = work_together(work, progress, arg);
	return error == 0 ? bd_store_sync(work->store) : error;
}

int wa_crashed_index(struct bd_store *store, struct bd_branch_id branch, bd_progress_fn progress, void *arg)
{
	struct wa_control control;
	struct wa_facts facts = {0};
	int major, error = wh_control(store, wh_head(branch), &control, &major, NULL, 0);
	if (error != 0)
		return error;
	facts.major = major;
	facts.system_id = control.system_id;
	facts.segment_size = control.wal_segment_size;
	error = wa_facts_add_timeline(
		&facts, (struct wa_facts_timeline){.timeline = NF_MAX(control.copy.timeline, control.min_recovery_timeline)});
	struct work work = {.store = store,
			    .facts = &facts,
			    .version = {major, control.checksum_version != 0, control.parameters.wal_log_hints},
			    .commit_times = control.parameters.track_commit_timestamp,
			    .redo = control.copy.redo};
	if (error == 0)
		error = index_all(&work, branch, progress, arg);
	struct bd_inode *const inodes[] = {work.live, work.index, work.summary};
	for (size_t i = 0; i < NF_ARRAY_LEN(inodes); i++)
		if (inodes[i] != NULL)
			bd_inode_unref(inodes[i], 1);
	wa_facts_free(&facts);
	return error;
}

static void drop(struct bd_inode *root, const char *name)
{
	int error = wh_remove(root, name);
	if (error != 0)
		nf_warn("%s of the history cannot be removed: %s; the next mount does it", name, strerror(-error));
}

void wa_crashed_drop(struct bd_store *store, struct bd_branch_id branch)
{
	struct bd_inode *root;
	char name[WH_CRASHED_NAME];
	wh_crashed_name(branch, name);
	if (wh_root(store, false, &root) != 0)
		return;
	drop(root, name);
	bd_inode_unref(root, 1);
}

void wh_crashed_tidy(struct bd_store *store)
{
	struct bd_inode *root;
	struct bd_listing *listing;
	if (wh_root(store, false, &root) != 0)
		return;
	if (bd_readdir(root, &listing) == 0) {
		for (size_t i = 0; i < listing->count; i++)
			if (strncmp(listing->entries[i].name, WH_CRASHED, strlen(WH_CRASHED)) == 0)
				drop(root, listing->entries[i].name);
		bd_listing_free(listing);
	}
	bd_inode_unref(root, 1);
}
