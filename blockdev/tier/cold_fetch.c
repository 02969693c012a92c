/* Fetching: groups of cold extents from the object store into cold/ID.
 *
 * A reader asks for the groups that it needs; those that follow each other are one job, one ranged GET. Nobody asks for a group that is coming already. Threads
 * (as many as requests may run at a time, started when there is work for them) take jobs, readers' first, verify and unpack the groups, and write them to the cache
 * file. Jobs of read-ahead leave two threads free, so that a reader never waits behind them.
 *
 * A store that is away: the thread goes on asking, its reader waits. */
#include <stdlib.h>
#include <time.h>

#include "blockdev/tier/cold_impl.h"
#include "common/nf_log.h"

#define DEADLINE_MS 5000u  /* then a message, and again */
#define ATTEMPTS 2u	   /* for a group that comes damaged */
#define NEAR_GROUPS 8u	   /* readers side by side overtake each other by so much */
#define STREAK_GROUPS 2u   /* read in order: then what follows is fetched ahead */

/* ---- jobs */

static void queue_add(struct cold_queue *queue, struct cold_job *job)
{
	job->next = NULL;
	*queue->end = job;
	queue->end = &job->next;
	queue->count++;
}

static struct cold_job *queue_take(struct cold_queue *queue)
{
	struct cold_job *job = queue->first;
	if (job == NULL)
		return NULL;
	queue->first = job->next;
	if (queue->first == NULL)
		queue->end = &queue->first;
	queue->count--;
	return job;
}

static void *fetch_main(void *arg);

/* Under lock: one more thread, if there are more jobs than idle ones. Without any, nothing would ever come: that is an error. */
static int start_thread(struct bd_cold *cold)
{
	if (cold->thread_count == cold->threads_max || cold->idle > cold->wanted.count + cold->ahead.count)
		return 0;
	int error = -pthread_create(&cold->threads[cold->thread_count], NULL, fetch_main, cold);
	cold->thread_count += error == 0;
	return cold->thread_count > 0 ? 0 : error;
}

/* Under lock: groups [first, first + count), all away, as one job. */
static int add_job(struct cold_file *file, uint32_t first, uint32_t count, bool ahead)
{
	struct bd_cold *cold = file->cold;
	struct cold_job *job = malloc(sizeof(*job));
	int error = job == NULL ? -ENOMEM : cold->stopping ? -ECANCELED : start_thread(cold);
	if (error != 0) {
		free(job);
		file->error = error;
		return error;
	}
	*job = (struct cold_job){.file = file, .first = first, .count = count, .ahead = ahead};
	memset(file->groups + first, COLD_COMING, count);
	file->pins++;
	file->refs++;
	queue_add(ahead ? &cold->ahead : &cold->wanted, job);
	pthread_cond_signal(&cold->work);
	return 0;
}

/* Under lock: ask for what of [first, end) is away. */
static int add_jobs(struct cold_file *file, uint32_t first, uint32_t end, bool ahead)
{
	int error = 0;
	for (uint32_t at = first; at < end && error == 0;) {
		uint32_t n = 0;
		while (at + n < end && n < COLD_JOB_GROUPS && file->groups[at + n] == COLD_AWAY)
			n++;
		if (n > 0)
			error = add_job(file, at, n, ahead);
		at += NF_MAX(n, 1u);
	}
	return error;
}

void cold_ask(struct cold_file *file, uint32_t first, uint32_t end)
{
	/* What cannot be asked for is still away when it is wanted: the error is met there. */
	if (add_jobs(file, first, end, false) != 0)
		nf_debug("extent %08x: could not be asked for: %s", file->extent, strerror(-file->error));
}

/* Under lock. */
static bool any_in_state(const struct cold_file *file, uint32_t first, uint32_t end, enum cold_group state)
{
	for (uint32_t i = first; i < end; i++)
		if (file->groups[i] == state)
			return true;
	return false;
}

int cold_want(struct cold_file *file, uint32_t first, uint32_t end, bool may_wait)
{
	struct bd_cold *cold = file->cold;
	if (!may_wait)
		return any_in_state(file, first, end, COLD_AWAY) || any_in_state(file, first, end, COLD_COMING) ? BD_LAZY : 0;
	int error = add_jobs(file, first, end, false);
	if (error != 0)
		return error;
	cold->waiting++;
	while (any_in_state(file, first, end, COLD_COMING))
		pthread_cond_wait(&cold->changed, &cold->lock);
	cold->waiting--;
	return any_in_state(file, first, end, COLD_AWAY) ? file->error : 0;
}

void cold_read_ahead(struct cold_file *file, uint32_t first, uint32_t end)
{
	struct bd_cold *cold = file->cold;
	if (first == 0)
		return; /* the table */
	bool in_order = file->next_group > 0 && first <= file->next_group + 1 && first + NEAR_GROUPS >= file->next_group;
	if (!in_order) {
		file->streak = 0;
		file->next_group = file->ahead_to = end;
		return;
	}
	if (end > file->next_group) {
		/* What was left out is no order: a jump at random may be a short one. */
		file->streak += end - NF_MAX(first, file->next_group);
		file->next_group = end;
	}
	if (file->streak < STREAK_GROUPS || cold->ahead.count >= COLD_AHEAD_JOBS || atomic_load(&cold->tight))
		return;
	uint32_t window = NF_MIN(file->streak * 8, COLD_AHEAD_GROUPS);
	uint32_t from = NF_MAX(file->ahead_to, file->next_group), to = NF_MIN(file->next_group + window, file->group_count);
	/* In whole jobs, or to the end. */
	if (from >= to || (to - from < COLD_JOB_GROUPS && to < file->group_count))
		return;
	if (add_jobs(file, from, to, true) == 0)
		file->ahead_to = to;
}

/* ---- threads */

/* What a thread needs for a job. */
struct fetch {
	struct cold_job *job;
	const struct bd_pack_map *map;
	uint32_t generation;
	uint8_t *stored, *blocks;
	uint64_t begin; /* of the first group in the file */
	uint64_t bytes; /* of all groups in the file */
	bool here[COLD_JOB_GROUPS];
	int error; /* of those that are not */
};

static void tell_away(struct bd_cold *cold, const struct ob_op *op)
{
	pthread_mutex_lock(&cold->lock);
	bool told = cold->told_away;
	cold->told_away = true;
	pthread_mutex_unlock(&cold->lock);
	if (!told)
		nf_warn("object store: %s; reads of what is not on this disk wait", op->message);
}

static void tell_back(struct bd_cold *cold)
{
	pthread_mutex_lock(&cold->lock);
	bool told = cold->told_away;
	cold->told_away = false;
	pthread_mutex_unlock(&cold->lock);
	if (told)
		nf_info("object store: it answers again");
}

static bool is_stopping(struct bd_cold *cold)
{
	pthread_mutex_lock(&cold->lock);
	bool stopping = cold->stopping;
	pthread_mutex_unlock(&cold->lock);
	return stopping;
}

static int refused(const struct fetch *fetch, const struct ob_op *op)
{
	if (op->result == -ECANCELED || op->result == -ESHUTDOWN)
		return -ECANCELED;
	nf_error("extent %08x: object %s cannot be read: %s", fetch->map->extent, op->key, op->message);
	return op->error == OB_SHORT || op->error == OB_CORRUPT ? -EUCLEAN : -EIO;
}

/* The stored bytes of all groups of the job. */
static int get(struct bd_cold *cold, const struct fetch *fetch)
{
	const struct bd_pack_group *first = &fetch->map->group[fetch->job->first], *last = first + fetch->job->count - 1;
	char key[BD_TIER_KEY_SIZE];
	const struct timespec pause = {.tv_nsec = 10000000};
	bd_rows_key(fetch->generation, fetch->map->extent, key);
	while (!is_stopping(cold)) {
		struct ob_op op = {.kind = OB_GET, .key = key, .buf = fetch->stored, .offset = first->offset,
				   .size = last->offset + last->size - first->offset, .deadline_ms = DEADLINE_MS};
		int error = ob_run(cold->tier->client, &op);
		if (error == 0) {
			tell_back(cold);
			pthread_mutex_lock(&cold->lock);
			cold->fetches++;
			cold->fetched_bytes += op.size;
			pthread_mutex_unlock(&cold->lock);
			return 0;
		}
		if (error == -EAGAIN) /* the client's queue is full */
			nanosleep(&pause, NULL);
		else if (error == -ETIMEDOUT)
			tell_away(cold, &op);
		else
			return refused(fetch, &op);
	}
	return -ECANCELED;
}

/* Unpack what is not here yet. -EUCLEAN: some group does not match its sum. */
static int unpack(struct fetch *fetch)
{
	const struct cold_job *job = fetch->job;
	int result = 0;
	for (uint32_t i = 0; i < job->count; i++) {
		uint64_t offset, size;
		if (fetch->here[i])
			continue;
		const uint8_t *stored = fetch->stored + (fetch->map->group[job->first + i].offset - fetch->map->group[job->first].offset);
		bd_pack_group_range(fetch->map->used, job->first + i, &offset, &size);
		int error = bd_pack_read_group(fetch->map, job->first + i, stored, fetch->blocks + (offset - fetch->begin));
		fetch->here[i] = error == 0;
		if (error != 0)
			result = error;
	}
	return result;
}

/* The cache file, made when it is the first group. */
static int open_cache(struct cold_file *file, struct nf_file **ret_cache)
{
	struct bd_cold *cold = file->cold;
	char path[COLD_PATH_SIZE];
	int error = 0;
	pthread_mutex_lock(&cold->names);
	pthread_mutex_lock(&cold->lock);
	struct nf_file *cache = file->cache;
	uint32_t extent = file->extent;
	pthread_mutex_unlock(&cold->lock);
	if (cache == NULL && extent == COLD_NO_EXTENT)
		error = -ESTALE; /* removed */
	cold_cache_path(extent, path);
	if (cache == NULL && error == 0) {
		error = nf_io_open(cold->lower, path, NF_OPEN_CREATE, &cache);
		if (error == -EEXIST) /* could not be deleted when it was evicted: what is in it does not count */
			error = nf_io_open(cold->lower, path, 0, &cache);
		if (error == 0) {
			error = nf_io_truncate(cache, BD_EXTENT_DATA_OFFSET + (uint64_t)file->used * NF_BLOCK_SIZE);
			if (error != 0) {
				nf_io_close(cache);
				if (nf_io_unlink(cold->lower, path) != 0)
					nf_warn("%s: could not be removed; the next mount does it", path);
			}
		}
		if (error == 0) {
			pthread_mutex_lock(&cold->lock);
			file->cache = cache;
			pthread_mutex_unlock(&cold->lock);
		}
	}
	pthread_mutex_unlock(&cold->names);
	if (error == 0)
		*ret_cache = cache;
	return error;
}

/* Write the unpacked groups, those that lie side by side at once. */
static int write_groups(struct fetch *fetch)
{
	const struct cold_job *job = fetch->job;
	struct nf_file *cache;
	int error = open_cache(job->file, &cache);
	for (uint32_t i = 0; i < job->count && error == 0;) {
		uint64_t from, offset, size;
		bd_pack_group_range(fetch->map->used, job->first + i, &from, &size);
		uint64_t end = from;
		uint32_t n = i;
		for (; n < job->count && fetch->here[n]; n++) {
			bd_pack_group_range(fetch->map->used, job->first + n, &offset, &size);
			end = offset + size;
		}
		if (end > from)
			error = nf_io_run_one(job->file->cold->lower, NF_IO_WRITE, cache, from, fetch->blocks + (from - fetch->begin),
					      end - from);
		i = NF_MAX(n, i + 1);
	}
	return error;
}

/* With the map held. */
static int fetch_mapped(struct bd_cold *cold, struct fetch *fetch)
{
	const struct cold_job *job = fetch->job;
	if (fetch->map->used != job->file->used)
		return -EUCLEAN;
	const struct bd_pack_group *first = &fetch->map->group[job->first], *last = first + job->count - 1;
	uint64_t offset, size;
	bd_pack_group_range(fetch->map->used, job->first, &fetch->begin, &size);
	bd_pack_group_range(fetch->map->used, job->first + job->count - 1, &offset, &size);
	fetch->bytes = offset + size - fetch->begin;
	fetch->stored = malloc(last->offset + last->size - first->offset);
	fetch->blocks = nf_io_buffer(fetch->bytes);
	int error = fetch->stored != NULL && fetch->blocks != NULL ? 0 : -ENOMEM, bad = -EUCLEAN;
	for (unsigned attempt = 0; attempt < ATTEMPTS && error == 0 && bad == -EUCLEAN; attempt++) {
		error = get(cold, fetch);
		if (error == 0)
			bad = unpack(fetch);
	}
	if (error == 0 && bad != 0) {
		char key[BD_TIER_KEY_SIZE];
		bd_rows_key(fetch->generation, fetch->map->extent, key);
		nf_error("extent %08x: object %s is damaged: bytes do not match their checksum", fetch->map->extent, key);
	}
	int written = error == 0 ? write_groups(fetch) : 0;
	while (written == -ENOSPC && cold_evict_one(cold))
		written = write_groups(fetch);
	if (written != 0) {
		nf_error("extent %08x: fetched, but cannot be kept on this disk: %s", fetch->map->extent, strerror(-written));
		memset(fetch->here, 0, sizeof(fetch->here));
		bad = written == -ESTALE ? written : -EIO;
	}
	free(fetch->stored);
	free(fetch->blocks);
	return error != 0 ? error : bad;
}

/* Under lock: what came of the job; it is gone. */
static void settle(struct bd_cold *cold, const struct fetch *fetch)
{
	struct cold_job *job = fetch->job;
	struct cold_file *file = job->file;
	for (uint32_t i = 0; i < job->count; i++) {
		uint64_t offset, size;
		file->groups[job->first + i] = fetch->here[i] ? COLD_HERE : COLD_AWAY;
		bd_pack_group_range(file->used, job->first + i, &offset, &size);
		if (fetch->here[i]) {
			file->cached_bytes += size;
			cold->cached_bytes += size;
		}
	}
	if (fetch->error != 0)
		file->error = fetch->error;
	file->pins--;
	pthread_cond_broadcast(&cold->changed);
	cold_account(cold);
}

static void run_job(struct bd_cold *cold, struct cold_job *job)
{
	struct fetch fetch = {.job = job, .error = -ESTALE};
	pthread_mutex_lock(&cold->lock);
	uint32_t extent = job->file->extent;
	pthread_mutex_unlock(&cold->lock);
	/* Who fetches makes room for it: the thread that evicts may be waiting for a checkpoint. */
	if (atomic_load(&cold->tight))
		(void)cold_evict_one(cold);
	if (extent != COLD_NO_EXTENT && bd_rows_find(cold->tier->rows, extent, &fetch.generation, &fetch.map)) {
		fetch.error = fetch_mapped(cold, &fetch);
		bd_rows_release(cold->tier->rows, fetch.map);
	}
	struct cold_file *file = job->file;
	pthread_mutex_lock(&cold->lock);
	settle(cold, &fetch);
	bool last = cold_unref(file);
	pthread_mutex_unlock(&cold->lock);
	if (last)
		cold_file_free(file);
	free(job);
}

/* Under lock. Once it stops, jobs are still taken, and end at once: somebody may wait for them. */
static struct cold_job *take_job(struct bd_cold *cold)
{
	struct cold_job *job = queue_take(&cold->wanted);
	unsigned limit = cold->threads_max > 2 ? cold->threads_max - 2 : 1;
	if (job == NULL && (cold->busy_ahead < limit || cold->stopping))
		job = queue_take(&cold->ahead);
	return job;
}

static void *fetch_main(void *arg)
{
	struct bd_cold *cold = arg;
	pthread_mutex_lock(&cold->lock);
	for (;;) {
		struct cold_job *job = take_job(cold);
		if (job == NULL) {
			if (cold->stopping)
				break;
			cold->idle++;
			pthread_cond_wait(&cold->work, &cold->lock);
			cold->idle--;
			continue;
		}
		bool ahead = job->ahead;
		cold->busy_ahead += ahead;
		pthread_mutex_unlock(&cold->lock);
		run_job(cold, job);
		pthread_mutex_lock(&cold->lock);
		cold->busy_ahead -= ahead;
		/* One more of them may run. */
		if (ahead && cold->ahead.first != NULL)
			pthread_cond_signal(&cold->work);
	}
	pthread_mutex_unlock(&cold->lock);
	return NULL;
}

void cold_fetch_stop(struct bd_cold *cold)
{
	/* Nothing is added any more: `stopping`. */
	pthread_mutex_lock(&cold->lock);
	unsigned count = cold->thread_count;
	cold->thread_count = 0;
	pthread_mutex_unlock(&cold->lock);
	for (unsigned i = 0; i < count; i++)
		pthread_join(cold->threads[i], NULL);
}
