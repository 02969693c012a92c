/* Everything back onto this disk, in the background of a store that was attached: each extent whole, and then it is one like any other: the cache file, complete and
 * durable, gets the extent's name. */
#include "blockdev/extent/extent.h"
#include "blockdev/tier/cold_impl.h"

#define AT_ONCE (4 * COLD_JOB_GROUPS)

static bool is_whole(const struct cold_file *file)
{
	for (uint32_t i = 0; i < file->group_count; i++)
		if (file->groups[i] != COLD_HERE)
			return false;
	return file->cache != NULL;
}

/* Under lock: the cache file is the extent's own from now on. */
static void take_over(struct cold_file *file)
{
	struct bd_cold *cold = file->cold;
	cold->cached_bytes -= file->cached_bytes;
	file->bytes = file->cached_bytes;
	cold->extent_bytes += file->bytes;
	file->cached_bytes = 0;
	file->local = file->cache;
	file->cache = NULL;
	memset(file->groups, COLD_AWAY, file->group_count);
}

/* Of a file that is pinned, so that nobody evicts it meanwhile. */
static int make_warm(struct cold_file *file)
{
	struct bd_cold *cold = file->cold;
	char from[COLD_PATH_SIZE], to[COLD_PATH_SIZE];
	pthread_mutex_lock(&cold->names);
	pthread_mutex_lock(&cold->lock);
	bool whole = file->extent != COLD_NO_EXTENT && file->local == NULL && is_whole(file);
	struct nf_file *cache = file->cache;
	if (whole) {
		cold_cache_path(file->extent, from);
		cold_extent_path(file->extent, to);
	}
	pthread_mutex_unlock(&cold->lock);
	int error = 0;
	if (whole) {
		error = nf_io_run_one(cold->lower, NF_IO_FSYNC, cache, 0, NULL, 0);
		if (error == 0)
			error = nf_io_rename(cold->lower, from, to);
		if (error == 0) {
			pthread_mutex_lock(&cold->lock);
			take_over(file);
			pthread_mutex_unlock(&cold->lock);
		}
	}
	pthread_mutex_unlock(&cold->names);
	return error;
}

/* All groups, some jobs at a time. *ret_full: there is no room for more. */
static int fetch_whole(struct cold_file *file, bool *ret_full)
{
	struct bd_cold *cold = file->cold;
	int error = 0;
	pthread_mutex_lock(&cold->lock);
	file->pins++;
	bool away = file->local == NULL;
	for (uint32_t at = 0; away && error == 0 && at < file->group_count; at += AT_ONCE) {
		*ret_full = cold_is_filling(cold);
		if (*ret_full)
			break;
		error = cold_want(file, at, NF_MIN(at + AT_ONCE, file->group_count), true);
	}
	pthread_mutex_unlock(&cold->lock);
	if (away && error == 0 && !*ret_full)
		error = make_warm(file);
	pthread_mutex_lock(&cold->lock);
	file->pins--;
	pthread_mutex_unlock(&cold->lock);
	return error;
}

int bd_cold_prefetch(struct bd_store *store, bd_progress_fn progress, void *arg)
{
	uint32_t count = bd_extents_next_id(store);
	bool full = false;
	int error = 0;
	for (uint32_t id = 0; id < count && error == 0 && !full; id++) {
		struct bd_extent *extent;
		if (bd_extent_get(store, id, &extent) != 0)
			continue;
		error = fetch_whole(cold_file_of(bd_extent_read_op(extent, 0, 0, NULL).file), &full);
		bd_extent_put(store, extent);
		if (error == -ESTALE)
			error = 0; /* removed meanwhile */
		if (error == 0 && progress != NULL && progress(arg, "prefetch", id + 1, count) != 0)
			error = -ECANCELED;
	}
	if (error == 0)
		error = nf_io_sync_dir(store->io, "extents");
	return error;
}
