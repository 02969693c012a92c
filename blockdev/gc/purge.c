/* Requests to sweep: what removed files, snapshots and branches leave behind for the collector.
 *
 *   asked for    a record in the index ('O', 'V', a dead 'R'), durable with the change that asks; and a line in bg->purges
 *   swept        the deletions are in the index's memory (sweep.c); the line goes to bg->swept
 *   finished     a checkpoint that began after the sweep has made the deletions durable (and, with an object store, a manifest of such a one is there); now the record goes
 * A crash before the end finds the record, and sweeps again. An extent that the sweep emptied may be gone by then: what the index still says of
 * versions in it is seen by nobody, and remove_extent (collect.c) has made durable what asks for the sweep. */
#include "blockdev/gc/background.h"

#include <stdlib.h>
#include <time.h>

#include "blockdev/layer/layer.h"
#include "blockdev/tier/tier.h"

#define DELETE_BYTES (64u << 10) /* of items in one record */
#define SWEEP_PAUSE 16 /* times as long as sweeping the branch took, before the background does it again */
#define FINISH_PURGES 4096u	 /* under one claim of room in the log: far less than a claim is for */

void bd_background_purge(struct bd_store *store, uint32_t branch, uint64_t file)
{
	struct bd_background *bg = store->background;
	pthread_mutex_lock(&bg->lock);
	bool known = false;
	for (size_t i = 0; i < bg->purge_count && !known && file == 0; i++)
		known = bg->purges[i].branch == branch && bg->purges[i].file == 0;
	if (!known && bg->purge_count == bg->purge_capacity) {
		size_t capacity = bg->purge_capacity * 2 + 64;
		struct purge *purges = realloc(bg->purges, capacity * sizeof(*purges));
		if (purges != NULL) {
			bg->purges = purges;
			bg->purge_capacity = capacity;
		} else {
			known = true; /* its record stays in the index: the next mount does it */
		}
	}
	if (!known)
		bg->purges[bg->purge_count++] = (struct purge){.branch = branch, .file = file};
	pthread_mutex_unlock(&bg->lock);
}

/* Take the whole purge list. */
static struct purge *take_purges(struct bd_background *bg, size_t *ret_count)
{
	pthread_mutex_lock(&bg->lock);
	struct purge *purges = bg->purges;
	*ret_count = bg->purge_count;
	bg->purges = NULL;
	bg->purge_count = bg->purge_capacity = 0;
	pthread_mutex_unlock(&bg->lock);
	return purges;
}

/* A branch also when it is dead. */
static struct bd_branch *any_branch(struct bd_store *store, uint32_t id)
{
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch *branch = id < store->branch_slots ? store->branches[id] : NULL;
	if (branch != NULL)
		atomic_fetch_add(&branch->refs, 1);
	pthread_rwlock_unlock(&store->table_lock);
	return branch;
}

struct deletion {
	struct bd_store *store;
	struct bd_commit *commit;
};

static int delete_one(void *arg, const uint8_t *bytes, size_t key_size, const uint8_t *value, size_t size)
{
	const struct deletion *deletion = arg;
	struct bd_key key;
	uint64_t ticket;
	(void)value, (void)size;
	if (key_size > sizeof(key.bytes))
		return -EUCLEAN;
	memcpy(key.bytes, bytes, key_size);
	key.size = (uint16_t)key_size;
	bd_commit_delete(deletion->commit, &key);
	return deletion->commit->items.size > DELETE_BYTES ? bd_commit_apply(deletion->store, deletion->commit, &ticket) : 0;
}

static int delete_prefix(struct bd_store *store, const struct bd_key *prefix, struct bd_commit *commit)
{
	struct deletion deletion = {.store = store, .commit = commit};
	return bd_index_each(store->index, prefix, delete_one, &deletion);
}

static bool has_branch(const struct purge *purges, size_t count, uint32_t branch)
{
	for (size_t i = 0; i < count; i++) {
		if (purges[i].branch == branch && purges[i].file == 0)
			return true;
	}
	return false;
}

/* Has another sweep of the branch been asked for since, or will be when an open view goes? Then its record is that one's. The sweeps from
 * `later` on came after this one. */
static bool is_needed_again(struct bd_store *store, const struct purge *purge, size_t later, const struct bd_branch *branch)
{
	struct bd_background *bg = store->background;
	/* First: who lets the last view go asks before it takes its mark away. */
	bool again = branch != NULL && !branch->dead && bd_inode_keeps_views(store, branch);
	again = again || has_branch(bg->swept + later, bg->swept_count - later, purge->branch);
	pthread_mutex_lock(&bg->lock);
	again = again || has_branch(bg->purges, bg->purge_count, purge->branch);
	pthread_mutex_unlock(&bg->lock);
	return again;
}

/* Everything of a dead branch that only its own names and snapshots needed. */
static int delete_remains(struct bd_store *store, uint32_t branch, struct bd_commit *commit)
{
	struct bd_key key;
	bd_key_u32(&key, 'O', branch);
	int error = delete_prefix(store, &key, commit);
	bd_key_u32(&key, 'S', branch);
	return error != 0 ? error : delete_prefix(store, &key, commit);
}

/* After a checkpoint made the sweep durable: its request goes; with the last one of a dead branch the branch itself. */
static int finish_purge(struct bd_store *store, const struct purge *purge, size_t later)
{
	struct bd_commit commit;
	struct bd_key key;
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	struct bd_branch *branch = any_branch(store, purge->branch);
	/* Who asks for a sweep holds the table exclusively from its record to its request. */
	pthread_rwlock_rdlock(&store->table_lock);
	bool last = purge->file == 0 && !is_needed_again(store, purge, later, branch);
	bool gone = last && branch != NULL && !bd_branch_stands(branch);
	if (purge->file != 0) {
		bd_key_file_prefix(&key, 'O', purge->branch, purge->file);
		bd_commit_delete(&commit, &key);
	}
	if (last) {
		bd_key_u32(&key, 'V', purge->branch);
		bd_commit_delete(&commit, &key);
	}
	if (last && branch != NULL && branch->dead)
		error = delete_remains(store, purge->branch, &commit);
	if (gone && error == 0) {
		/* First: a layer without its branch would be damage. */
		bd_key_u32(&key, 'L', purge->branch);
		error = delete_prefix(store, &key, &commit);
		bd_key_u32(&key, 'R', purge->branch);
		bd_commit_delete(&commit, &key);
	}
	if (error == 0 && commit.items.size > 0)
		error = bd_commit_apply(store, &commit, &ticket);
	pthread_rwlock_unlock(&store->table_lock);
	bd_commit_free(&commit);
	if (error == 0 && gone) {
		pthread_rwlock_wrlock(&store->table_lock);
		store->branches[purge->branch] = NULL;
		pthread_rwlock_unlock(&store->table_lock);
		bd_branch_leave_layers(store, branch);
		bd_branch_release(branch);
	}
	bd_branch_release(branch);
	return error;
}

/* A sweep is done: its request goes with the next checkpoint but one that may be under way. */
static int note_swept(struct bd_store *store, const struct purge *purge)
{
	struct bd_background *bg = store->background;
	if (bg->swept_count == bg->swept_capacity) {
		size_t capacity = bg->swept_capacity * 2 + 64;
		struct purge *swept = realloc(bg->swept, capacity * sizeof(*swept));
		if (swept == NULL)
			return -ENOMEM;
		bg->swept = swept;
		bg->swept_capacity = capacity;
	}
	bg->swept[bg->swept_count] = *purge;
	bg->swept[bg->swept_count++].checkpoint = atomic_load(&store->checkpoint_begun);
	return 0;
}

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* All versions of a branch are looked at, and each child or snapshot that goes asks for that. So where many go there is a pause in proportion. */
static int sweep_whole(struct bd_store *store, struct bd_branch *branch, bd_progress_fn progress, void *arg, uint64_t *ret_dropped)
{
	int64_t began_ns = now_ns();
	int error = bd_sweep_branch(store, branch, progress, arg, ret_dropped);
	int64_t ended_ns = now_ns();
	branch->sweep_again_ns = ended_ns + (ended_ns - began_ns) * SWEEP_PAUSE;
	return error;
}

static int sweep_one(struct bd_store *store, const struct purge *purge, bool patient, bd_progress_fn progress, void *arg,
		     uint64_t *ret_dropped)
{
	struct bd_branch *branch = any_branch(store, purge->branch);
	bool waits = patient && branch != NULL && purge->file == 0 && !branch->dead && now_ns() < branch->sweep_again_ns;
	int error = 0;
	if (waits)
		bd_background_purge(store, purge->branch, 0);
	else if (branch != NULL && purge->file != 0 && !branch->dead)
		error = bd_sweep_file(store, branch, purge->file, progress, arg, ret_dropped);
	else if (branch != NULL && purge->file == 0)
		error = sweep_whole(store, branch, progress, arg, ret_dropped);
	bd_branch_release(branch);
	return error == 0 && !waits ? note_swept(store, purge) : error;
}

int bd_sweep_pending(struct bd_store *store, bool patient, bd_progress_fn progress, void *arg, uint64_t *ret_dropped)
{
	size_t count, done = 0;
	struct purge *purges = take_purges(store->background, &count);
	int error = 0;
	for (; done < count && error == 0; done++) {
		error = sweep_one(store, &purges[done], patient, progress, arg, ret_dropped);
		if (error != 0)
			break;
		if (progress != NULL && progress(arg, "sweep", done + 1, count) != 0)
			error = -ECANCELED;
		if (error == 0 && bd_background_is_stopping(store))
			error = -ECANCELED;
	}
	/* What was not swept keeps its record, and is asked for again. */
	for (; done < count && error != 0; done++)
		bd_background_purge(store, purges[done].branch, purges[done].file);
	free(purges);
	return error;
}

int bd_sweep_finish(struct bd_store *store)
{
	struct bd_background *bg = store->background;
	/* The end of a request is in the log, the sweep is not: who has only the object store replays from its newest manifest. */
	uint64_t durable = store->tier != NULL ? atomic_load(&store->tier->manifest_checkpoint) : atomic_load(&store->checkpoint_done);
	size_t count = 0, done = 0;
	int error = 0;
	while (count < bg->swept_count && bg->swept[count].checkpoint < durable)
		count++;
	while (done < count && error == 0) {
		bool entered;
		error = background_enter_log(store, &entered);
		for (size_t end = NF_MIN(done + FINISH_PURGES, count); done < end && error == 0;) {
			error = finish_purge(store, &bg->swept[done], done + 1);
			done += error == 0;
		}
		if (entered)
			bd_log_leave(store->log);
	}
	bg->swept_count -= done;
	if (done > 0)
		memmove(bg->swept, bg->swept + done, bg->swept_count * sizeof(*bg->swept));
	return error;
}
