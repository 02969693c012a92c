/* Room: how much of the store is on this disk, what goes, and who waits.
 *
 *                        limit, or the disk
 *   ├── here ──────────────────────────────┼── mark ──┼── slack ──┼── reserve ──┤
 *                                          │          │           └ what index and collector need (bd_extents_reserve)
 *                                          │          └ front writes wait from here on (bd_cold_wait_room)
 *                                          └ eviction begins here
 * Counted are files of extents by their size (they are allocated as a whole), groups that are cached, and everything else in the store's directory as the file
 * system has it, looked at when something changes but at most twice a second. Moves of live blocks never wait: the reserve is for them.
 *
 * One thread evicts, and when there is nothing to evict it asks for a checkpoint, which lets extents be uploaded and makes records of uploaded ones durable: both are
 * what lets them go. It sleeps while there is room. */
#include <fts.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/cold_impl.h"
#include "blockdev/tier/ship.h"
#include "common/nf_log.h"


#define LEAST_LIMIT_BYTES (UINT64_C(512) << 20)
#define LOG_BYTES_MOST (UINT64_C(128) << 20)
#define LOG_SHARE 8u
#define MARK_SHARE 8u
#define MARK_BYTES_MOST (UINT64_C(512) << 20)
#define STEP_MS 500u
#define TELL_AFTER_MS 10000
#define HOPELESS_STEPS 10u /* without any progress, and nothing being uploaded */

uint64_t bd_cold_least_limit(void)
{
	return LEAST_LIMIT_BYTES;
}

uint64_t bd_cold_log_bytes(uint64_t limit)
{
	if (limit == 0)
		return LOG_BYTES_MOST;
	uint64_t whole = limit / LOG_SHARE / (1 << 20) * (1 << 20);
	return NF_MIN(NF_MAX(whole, BD_LOG_MIN_BYTES), LOG_BYTES_MOST);
}

/* ---- counting */

/* Under lock. */
static uint64_t here(const struct bd_cold *cold)
{
	return cold->extent_bytes + cold->cached_bytes + cold->other_bytes;
}

/* Under lock: bytes that may still be taken, and of how many in all. */
static uint64_t room(const struct bd_cold *cold, uint64_t *ret_total)
{
	uint64_t limit = cold->tier->config.local_limit_bytes, left = limit > here(cold) ? limit - here(cold) : 0;
	*ret_total = limit != 0 ? NF_MIN(limit, cold->disk_total) : cold->disk_total;
	return limit != 0 ? NF_MIN(left, cold->disk_free) : cold->disk_free;
}

/* Under lock: with less room than that, front writes wait; or, with the mark, something has to go. */
static bool is_short(const struct bd_cold *cold, bool mark)
{
	uint64_t total, left = room(cold, &total);
	uint64_t wanted = bd_extents_reserve(total) + COLD_SLACK_BYTES;
	if (mark)
		wanted += NF_MIN(total / MARK_SHARE, MARK_BYTES_MOST);
	return left < wanted;
}

bool cold_is_filling(const struct bd_cold *cold)
{
	return is_short(cold, true);
}

static void *evict_main(void *arg);

/* Under lock. The thread is started when it is needed first. */
static void wake_evicter(struct bd_cold *cold)
{
	if (!cold->evicter_runs && !cold->stopping)
		cold->evicter_runs = pthread_create(&cold->evicter, NULL, evict_main, cold) == 0;
	cold->kicked = true;
	pthread_cond_signal(&cold->evict_wake);
}

void cold_account(struct bd_cold *cold)
{
	bool tight = is_short(cold, false);
	if (tight != atomic_load(&cold->tight)) {
		atomic_store(&cold->tight, tight);
		pthread_cond_broadcast(&cold->room_changed);
	}
	if (!cold->kicked && is_short(cold, true))
		wake_evicter(cold);
}

void cold_account_disk(struct bd_cold *cold)
{
	uint64_t free_bytes, total_bytes;
	int error = nf_io_free_bytes(cold->lower, &free_bytes, &total_bytes);
	pthread_mutex_lock(&cold->lock);
	if (error == 0) {
		cold->disk_free = free_bytes;
		cold->disk_total = total_bytes;
	}
	cold_account(cold);
	pthread_mutex_unlock(&cold->lock);
}

/* Everything in the store's directory but extents/ and cold/. A file with several names counts once. */
static uint64_t bytes_of_others(const char *path)
{
	char *roots[] = {(char *)path, NULL};
	uint64_t bytes = 0;
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (walk == NULL)
		return 0;
	for (FTSENT *entry = fts_read(walk); entry != NULL; entry = fts_read(walk)) {
		if (entry->fts_info == FTS_D && entry->fts_level == 1 &&
		    (strcmp(entry->fts_name, "extents") == 0 || strcmp(entry->fts_name, "cold") == 0))
			fts_set(walk, entry, FTS_SKIP);
		else if (entry->fts_info == FTS_F)
			bytes += (uint64_t)entry->fts_statp->st_blocks * 512 / NF_MAX((uint64_t)entry->fts_statp->st_nlink, 1);
	}
	fts_close(walk);
	return bytes;
}

static void look(struct bd_cold *cold)
{
	uint64_t others = bytes_of_others(cold->tier->store->path);
	pthread_mutex_lock(&cold->lock);
	cold->other_bytes = others;
	pthread_mutex_unlock(&cold->lock);
	cold_account_disk(cold);
}

/* ---- evicting */

/* Under lock: may it go, and would that give anything back? */
static bool may_go(const struct bd_cold *cold, const struct cold_file *file)
{
	if (file->extent == COLD_NO_EXTENT || file->pins > 0)
		return false;
	return file->local == NULL ? file->cached_bytes > 0
				   : cold->tier->rows != NULL && bd_rows_is_settled(cold->tier->rows, file->extent);
}

/* Under lock: the extent's own file is given up. */
static int take_local(struct bd_cold *cold, struct cold_file *file, struct nf_file **ret_gone)
{
	const struct bd_pack_map *map;
	if (!bd_rows_find(cold->tier->rows, file->extent, NULL, &map))
		return -EPERM;
	int error = file->groups == NULL ? cold_prepare(file, map->used) : 0;
	bd_rows_release(cold->tier->rows, map);
	if (error != 0)
		return error;
	*ret_gone = file->local;
	file->local = NULL;
	file->bytes = 0;
	return 0;
}

/* Under lock: what is cached of it is given up. */
static void take_cache(struct bd_cold *cold, struct cold_file *file, struct nf_file **ret_gone)
{
	*ret_gone = file->cache;
	memset(file->groups, COLD_AWAY, file->group_count);
	file->cache = NULL;
	cold->cached_bytes -= file->cached_bytes;
	file->cached_bytes = 0;
}

/* Under `names` and lock, of a file that may go: lets go of the lock, and deletes the file on disk. */
static int evict(struct bd_cold *cold, struct cold_file *file)
{
	char path[COLD_PATH_SIZE];
	struct nf_file *gone = NULL;
	bool warm = file->local != NULL;
	uint64_t bytes = warm ? file->bytes : file->cached_bytes;
	int error = 0;
	if (warm) {
		cold_extent_path(file->extent, path);
		error = take_local(cold, file, &gone);
	} else {
		cold_cache_path(file->extent, path);
		take_cache(cold, file, &gone);
	}
	pthread_mutex_unlock(&cold->lock);
	if (error != 0)
		return error;
	nf_io_close(gone);
	error = nf_io_unlink(cold->lower, path);
	if (error != 0 && error != -ENOENT)
		nf_warn("%s: could not be removed: %s", path, strerror(-error));
	pthread_mutex_lock(&cold->lock);
	cold->extent_bytes -= warm ? bytes : 0;
	cold->evicted_bytes += bytes;
	pthread_mutex_unlock(&cold->lock);
	return 0;
}

bool cold_evict_one(struct bd_cold *cold)
{
	struct cold_file *oldest = NULL;
	int error = -ENOENT;
	pthread_mutex_lock(&cold->names);
	pthread_mutex_lock(&cold->lock);
	for (struct cold_file *file = cold->files; file != NULL; file = file->next) {
		if ((oldest == NULL || file->last_use < oldest->last_use) && may_go(cold, file))
			oldest = file;
	}
	if (oldest != NULL)
		error = evict(cold, oldest);
	else
		pthread_mutex_unlock(&cold->lock);
	pthread_mutex_unlock(&cold->names);
	if (error == 0)
		cold_account_disk(cold);
	return error == 0;
}

int bd_cold_evict(struct bd_cold *cold, uint32_t extent)
{
	pthread_mutex_lock(&cold->names);
	pthread_mutex_lock(&cold->lock);
	struct cold_file *file = cold->files;
	while (file != NULL && file->extent != extent)
		file = file->next;
	int error = file == NULL ? -ENOENT : file->pins > 0 ? -EBUSY : 0;
	bool nothing = error == 0 && file->local == NULL && file->cached_bytes == 0;
	if (error == 0 && !nothing && !may_go(cold, file))
		error = -EPERM;
	if (error == 0 && !nothing)
		error = evict(cold, file);
	else
		pthread_mutex_unlock(&cold->lock);
	pthread_mutex_unlock(&cold->names);
	if (error == 0)
		cold_account_disk(cold);
	return error;
}

/* ---- the thread */

/* Nothing may go yet: a checkpoint lets more be uploaded, and what is uploaded be dropped. */
static void press(struct bd_cold *cold)
{
	struct bd_store *store = cold->tier->store;
	pthread_mutex_lock(&cold->lock);
	bool whole = cold->whole && !cold->stopping;
	pthread_mutex_unlock(&cold->lock);
	if (!whole || bd_store_writable(store) != 0)
		return;
	bd_store_drop_spares(store);
	if (bd_checkpoint(store) != 0)
		nf_debug("no checkpoint to make room with");
	if (cold->tier->ship != NULL)
		bd_ship_kick(cold->tier->ship);
}

/* Evict until there is room. True when something went. */
static bool make_room(struct bd_cold *cold)
{
	bool any = false;
	for (;;) {
		pthread_mutex_lock(&cold->lock);
		bool wanted = !cold->stopping && is_short(cold, true);
		pthread_mutex_unlock(&cold->lock);
		if (!wanted || !cold_evict_one(cold))
			return any;
		any = true;
	}
}

static void wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, unsigned ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(cond, lock, &until);
}

static bool needs_pressing(struct bd_cold *cold, uint64_t *pressed)
{
	pthread_mutex_lock(&cold->lock);
	bool needs = atomic_load(&cold->tight) || (is_short(cold, true) && here(cold) != *pressed);
	*pressed = here(cold);
	pthread_mutex_unlock(&cold->lock);
	return needs;
}

static void *evict_main(void *arg)
{
	struct bd_cold *cold = arg;
	unsigned idle_steps = 0;
	uint64_t before = 0, pressed = 0;
	pthread_mutex_lock(&cold->lock);
	while (!cold->stopping) {
		if (!cold->kicked) {
			pthread_cond_wait(&cold->evict_wake, &cold->lock);
			continue;
		}
		pthread_mutex_unlock(&cold->lock);
		look(cold);
		bool any = make_room(cold);
		/* Early, so that writers need not wait; but not again and again where nothing happens. */
		if (!any && needs_pressing(cold, &pressed))
			press(cold);
		bool busy = cold->tier->ship != NULL && bd_ship_is_busy(cold->tier->ship);
		pthread_mutex_lock(&cold->lock);
		bool tight = atomic_load(&cold->tight), wanted = is_short(cold, true);
		idle_steps = any || busy || !tight || here(cold) < before ? 0 : idle_steps + 1;
		before = here(cold);
		cold->hopeless = idle_steps >= HOPELESS_STEPS;
		if (cold->hopeless)
			pthread_cond_broadcast(&cold->room_changed);
		/* Not in a loop: what could go now is gone. */
		if (!cold->stopping)
			wait_ms(&cold->evict_wake, &cold->lock, STEP_MS);
		cold->kicked = wanted && (tight || cold->room_waiters > 0);
	}
	pthread_mutex_unlock(&cold->lock);
	return NULL;
}

void cold_evict_stop(struct bd_cold *cold)
{
	pthread_mutex_lock(&cold->lock);
	bool runs = cold->evicter_runs;
	cold->evicter_runs = false;
	pthread_mutex_unlock(&cold->lock);
	if (runs)
		pthread_join(cold->evicter, NULL);
}

void bd_cold_start(struct bd_cold *cold)
{
	pthread_mutex_lock(&cold->lock);
	cold->whole = true;
	wake_evicter(cold);
	pthread_mutex_unlock(&cold->lock);
}

void bd_cold_kick(struct bd_cold *cold)
{
	pthread_mutex_lock(&cold->lock);
	if (!cold->kicked && is_short(cold, true))
		wake_evicter(cold);
	pthread_mutex_unlock(&cold->lock);
}

/* ---- who waits */

bool bd_cold_is_tight(struct bd_store *store)
{
	return store->tier != NULL && store->tier->cold != NULL && atomic_load(&store->tier->cold->tight);
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void tell_wait(struct bd_cold *cold)
{
	uint64_t limit = cold->tier->config.local_limit_bytes, bytes = here(cold);
	if (limit != 0)
		nf_warn("writes wait: %" PRIu64 " MiB of the local limit of %" PRIu64 " MiB are used, and nothing may go before it is in the object store",
			bytes >> 20, limit >> 20);
	else
		nf_warn("writes wait: the disk is full, and nothing may go before it is in the object store");
}

/* Under lock: until there is room, or no hope for it. */
static int wait_for_room(struct bd_cold *cold)
{
	struct bd_store *store = cold->tier->store;
	int64_t begin = now_ms();
	bool told = false;
	int error = 0;
	cold->hopeless = false;
	cold->room_waiters++;
	while (error == 0 && atomic_load(&cold->tight) && !cold->stopping && bd_store_writable(store) == 0) {
		wake_evicter(cold);
		wait_ms(&cold->room_changed, &cold->lock, STEP_MS);
		if (!told && now_ms() - begin >= TELL_AFTER_MS) {
			told = true;
			tell_wait(cold);
		}
		if (cold->hopeless && atomic_load(&cold->tight))
			error = -ENOSPC;
	}
	cold->room_waiters--;
	return error;
}

int bd_cold_wait_room(struct bd_store *store, uint64_t bytes)
{
	(void)bytes; /* an operation takes less than the slack */
	if (!bd_cold_is_tight(store))
		return 0;
	struct bd_cold *cold = store->tier->cold;
	pthread_mutex_lock(&cold->lock);
	int error = wait_for_room(cold);
	uint64_t more = cold->tier->config.local_limit_bytes + COLD_SLACK_BYTES + BD_EXTENT_BYTES;
	pthread_mutex_unlock(&cold->lock);
	if (error != 0 && cold->tier->config.local_limit_bytes != 0)
		nf_error("local limit of %" PRIu64 " MiB: nothing more can go from this disk; a limit of %" PRIu64 " MiB would do",
			 cold->tier->config.local_limit_bytes >> 20, (more >> 20) + 1);
	return error;
}

void bd_cold_status(struct bd_cold *cold, struct bd_cold_status *ret_status)
{
	look(cold);
	struct bd_cold_status status = {.local_limit_bytes = cold->tier->config.local_limit_bytes};
	pthread_mutex_lock(&cold->lock);
	status.local_bytes = here(cold);
	status.cached_bytes = cold->cached_bytes;
	status.fetches = cold->fetches;
	status.fetched_bytes = cold->fetched_bytes;
	status.evicted_bytes = cold->evicted_bytes;
	status.waiting = cold->waiting;
	for (const struct cold_file *file = cold->files; file != NULL; file = file->next)
		status.extents_cold += file->local == NULL && file->extent != COLD_NO_EXTENT;
	pthread_mutex_unlock(&cold->lock);
	*ret_status = status;
}
