/* Spares: files of removed extents that wait to be used again.
 *
 * Disk that was written before is cheaper to write than disk that is only reserved: the host file system has nothing of its own to
 * record, so neither writes nor flushes wait for its journal. And deleting large files stops some disks for tenths of a second.
 *
 * A file becomes a spare in two steps. The collector gives it the name extents/spare.%08x, durably, so that no crash can make it
 * the extent again that it was; then, when the last reader has put that extent, its bytes may be written over. It becomes an extent
 * by a new header and an empty table, durable, before it gets the extent's name. What a crash leaves under a spare's name is removed
 * by the next open (table.c); a clean close leaves none.
 *
 * Spares are a quarter of what lives at most, are given back when the disk gets full, and one by one when nobody wants them. */
#include <stdio.h>
#include <time.h>

#include "blockdev/extent/extent_impl.h"
#include "common/nf_log.h"

#define SPARE_BYTES_LEAST (UINT64_C(16) << 20)
#define SPARE_SHARE 4u	  /* of what lives */
#define SPARE_IDLE_S 60

void extent_spare_path(uint32_t id, char path[EXTENT_PATH_SIZE])
{
	snprintf(path, EXTENT_PATH_SIZE, "extents/" EXTENT_SPARE_PREFIX "%08x", id);
}

static int64_t monotonic_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Under lock: count the extent among the spares to be, if there is room for it. */
static bool reserve(struct bd_extents *extents, const struct bd_extent *extent)
{
	uint64_t bytes = (uint64_t)extent->allocated * NF_BLOCK_SIZE;
	uint64_t live = (uint64_t)NF_MAX(extents->live, 0) * NF_BLOCK_SIZE;
	if (!extents->settled || bytes == 0 || extents->spare_count == EXTENT_SPARES ||
	    extents->spare_bytes + bytes > NF_MAX(live / SPARE_SHARE, SPARE_BYTES_LEAST))
		return false;
	extents->spare_count++;
	extents->spare_bytes += bytes;
	return true;
}

/* Under lock. */
static void unreserve(struct bd_extents *extents, uint32_t allocated)
{
	extents->spare_count--;
	extents->spare_bytes -= (uint64_t)allocated * NF_BLOCK_SIZE;
}

bool spare_keep(struct bd_store *store, struct bd_extent *extent)
{
	struct bd_extents *extents = store->extents;
	pthread_mutex_lock(&extents->lock);
	bool keep = reserve(extents, extent);
	pthread_mutex_unlock(&extents->lock);
	if (!keep)
		return false;
	char path[EXTENT_PATH_SIZE], spare[EXTENT_PATH_SIZE];
	extent_path(extent->id, path);
	extent_spare_path(extent->id, spare);
	int error = nf_io_rename(store->io, path, spare);
	bool renamed = error == 0;
	if (renamed)
		error = nf_io_sync_dir(store->io, "extents");
	pthread_mutex_lock(&extents->lock);
	extent->keep_file = error == 0;
	if (error != 0)
		unreserve(extents, extent->allocated);
	pthread_mutex_unlock(&extents->lock);
	/* It may still be the extent after a crash: its bytes stay as they are, and it goes as one that nothing refers to. */
	if (renamed && error != 0 && nf_io_unlink(store->io, spare) != 0)
		nf_warn("%s: could not be removed; the next mount does it", spare);
	return renamed;
}

void spare_add(struct bd_extents *extents, struct bd_extent *extent)
{
	assert(extents->spare_ready < EXTENT_SPARES);
	extents->spares[extents->spare_ready++] = (struct extent_spare){
		.file = extent->file, .id = extent->id, .allocated = extent->allocated, .since_s = monotonic_s()};
	extent->file = NULL;
}

bool spare_take(struct bd_extents *extents, struct bd_extent *extent, char path[EXTENT_PATH_SIZE])
{
	pthread_mutex_lock(&extents->lock);
	bool any = extents->spare_ready > 0;
	if (any) {
		struct extent_spare spare = extents->spares[--extents->spare_ready];
		unreserve(extents, spare.allocated);
		extents->bytes += (uint64_t)spare.allocated * NF_BLOCK_SIZE;
		extent->file = spare.file;
		extent->allocated = spare.allocated;
		extent_spare_path(spare.id, path);
	}
	pthread_mutex_unlock(&extents->lock);
	return any;
}

/* Delete the spare that waits longest, if it has for so long. */
static bool drop_oldest(struct bd_store *store, int64_t idle_s)
{
	struct bd_extents *extents = store->extents;
	struct extent_spare spare;
	pthread_mutex_lock(&extents->lock);
	bool any = extents->spare_ready > 0 && monotonic_s() - extents->spares[0].since_s >= idle_s;
	if (any) {
		spare = extents->spares[0];
		memmove(extents->spares, extents->spares + 1, --extents->spare_ready * sizeof(spare));
		unreserve(extents, spare.allocated);
	}
	pthread_mutex_unlock(&extents->lock);
	if (!any)
		return false;
	char path[EXTENT_PATH_SIZE];
	extent_spare_path(spare.id, path);
	nf_io_close(spare.file);
	int error = nf_io_unlink(store->io, path);
	if (error != 0)
		nf_warn("%s: could not be removed: %s; the next mount does it", path, strerror(-error));
	return true;
}

unsigned spares_drop(struct bd_store *store)
{
	unsigned dropped = 0;
	while (drop_oldest(store, 0))
		dropped++;
	return dropped;
}

void bd_store_drop_spares(struct bd_store *store)
{
	spares_drop(store);
}

void bd_extents_age_spares(struct bd_store *store)
{
	struct bd_extents *extents = store->extents;
	uint64_t free_bytes, total_bytes;
	pthread_mutex_lock(&extents->lock);
	bool any = extents->spare_ready > 0;
	pthread_mutex_unlock(&extents->lock);
	if (!any || drop_oldest(store, SPARE_IDLE_S))
		return;
	/* Others fill the disk too, and the index must not find it full. */
	if (nf_io_free_bytes(store->io, &free_bytes, &total_bytes) == 0 && free_bytes < 2 * bd_extents_reserve(total_bytes))
		spares_drop(store);
}

void spares_free(struct bd_extents *extents)
{
	for (unsigned i = 0; i < extents->spare_ready; i++)
		nf_io_close(extents->spares[i].file);
	extents->spare_ready = 0;
}
