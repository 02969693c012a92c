/* Spares: files of removed extents that wait to be used again.
 *
 * Disk that was written before is cheaper to write than disk that is only reserved: the host file system has nothing of its own to
 * record, so neither writes nor flushes wait for its journal. And deleting large files stops some disks for tenths of a second.
 *
 * A file becomes a spare in two steps. The collector gives it the name extents/spare.%08x, durably; then, when the last reader has put
 * the extent, its bytes may be written over. It becomes an extent by a new header and an empty table, and then the extent's name; both are durable
 * before the log has the extent's record. Why the first name must be durable before the header changes: after a crash the index may still have the
 * old extent's record, which only the log deletes, and opening that file under its old name would find another extent's header: damage.
 *
 * Nothing needs a spare. They are a quarter of what lives at most (but 16 MiB), and 4 GiB; they go one a second when nobody has wanted them for a
 * minute, and all of them before anybody is refused disk, or when the disk gets full. What a crash leaves goes with the next open, before anything is
 * written there; a clean close leaves none. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "blockdev/extent/extent_impl.h"
#include "blockdev/tier/cold.h"
#include "common/nf_log.h"

#define SPARE_BYTES_LEAST (UINT64_C(16) << 20)
#define SPARE_SHARE 4u /* of what lives */
#define SPARE_IDLE_S 60
#define SPARE_SLOTS_LEAST EXTENT_GROW_SLOTS /* a new table costs as much as 48 slots */

static void spare_path(uint32_t id, char path[EXTENT_PATH_SIZE])
{
	snprintf(path, EXTENT_PATH_SIZE, "extents/" EXTENT_SPARE_PREFIX "%08x", id);
}

static int64_t monotonic_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* The index and others need what is left. When in doubt, no. */
static bool disk_gets_full(struct bd_store *store)
{
	uint64_t free_bytes, total_bytes;
	return nf_io_free_bytes(store->io, &free_bytes, &total_bytes) != 0 ||
	       free_bytes < 2 * bd_extents_reserve(total_bytes);
}

/* Under lock: count the extent among the spares to be, if there is room for it. */
static bool reserve(struct bd_extents *extents, const struct bd_extent *extent)
{
	uint64_t bytes = (uint64_t)extent->allocated * NF_BLOCK_SIZE;
	uint64_t live = (uint64_t)NF_MAX(extents->live, 0) * NF_BLOCK_SIZE;
	if (!extents->settled || extent->allocated < SPARE_SLOTS_LEAST || extents->spare_count == EXTENT_SPARES ||
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

static void delete_file(struct bd_store *store, uint32_t id)
{
	char path[EXTENT_PATH_SIZE];
	spare_path(id, path);
	int error = nf_io_unlink(store->io, path);
	if (error != 0)
		nf_warn("%s: could not be removed: %s; the next mount does it", path, strerror(-error));
}

int spare_keep(struct bd_store *store, struct bd_extent *extent, bool *ret_kept)
{
	struct bd_extents *extents = store->extents;
	*ret_kept = false;
	if (bd_cold_is_away(store, extent->file))
		return 0;
	if (disk_gets_full(store)) {
		bd_store_drop_spares(store);
		return 0;
	}
	pthread_mutex_lock(&extents->lock);
	bool keep = reserve(extents, extent);
	pthread_mutex_unlock(&extents->lock);
	if (!keep)
		return 0;
	char path[EXTENT_PATH_SIZE], spare[EXTENT_PATH_SIZE];
	extent_path(extent->id, path);
	spare_path(extent->id, spare);
	bool renamed = nf_io_rename(store->io, path, spare) == 0;
	int error = renamed ? nf_io_sync_dir(store->io, "extents") : 0;
	keep = renamed && error == 0;
	pthread_mutex_lock(&extents->lock);
	extent->keep_file = keep;
	if (!keep)
		unreserve(extents, extent->allocated);
	pthread_mutex_unlock(&extents->lock);
	/* Not known to be durable: it may come back as the extent after a crash, and goes then as one that nothing refers to. */
	if (renamed && error != 0) {
		nf_warn("%s: its new name could not be made durable: %s", path, strerror(-error));
		delete_file(store, extent->id);
	}
	*ret_kept = renamed;
	return error;
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
		spare_path(spare.id, path);
	}
	pthread_mutex_unlock(&extents->lock);
	return any;
}

/* Delete the spare that waits longest, if it has for so long. When this returns, nobody else is half-way through either. */
static bool drop_oldest(struct bd_store *store, int64_t idle_s)
{
	struct bd_extents *extents = store->extents;
	struct extent_spare spare;
	pthread_mutex_lock(&extents->drop_lock);
	pthread_mutex_lock(&extents->lock);
	bool any = extents->spare_ready > 0 && monotonic_s() - extents->spares[0].since_s >= idle_s;
	if (any) {
		spare = extents->spares[0];
		memmove(extents->spares, extents->spares + 1, --extents->spare_ready * sizeof(spare));
		unreserve(extents, spare.allocated);
	}
	pthread_mutex_unlock(&extents->lock);
	if (any) {
		nf_io_close(spare.file);
		delete_file(store, spare.id);
	}
	pthread_mutex_unlock(&extents->drop_lock);
	return any;
}

bool spare_drop(struct bd_store *store)
{
	return drop_oldest(store, 0);
}

void bd_store_drop_spares(struct bd_store *store)
{
	while (drop_oldest(store, 0))
		;
}

void bd_extents_age_spares(struct bd_store *store)
{
	struct bd_extents *extents = store->extents;
	int64_t now_s = monotonic_s();
	pthread_mutex_lock(&extents->lock);
	bool any = extents->spare_ready > 0, again = extents->aged_s == now_s;
	extents->aged_s = now_s;
	pthread_mutex_unlock(&extents->lock);
	if (!any)
		return;
	if (disk_gets_full(store))
		bd_store_drop_spares(store);
	else if (!again)
		(void)drop_oldest(store, store->spare_idle_s != 0 ? store->spare_idle_s : SPARE_IDLE_S);
}

int bd_extents_remove_leftovers(struct bd_store *store)
{
	uint32_t *ids;
	size_t count;
	int error = extents_names(store, EXTENT_SPARE_PREFIX, &ids, &count);
	for (size_t i = 0; error == 0 && i < count; i++) {
		delete_file(store, ids[i]);
		/* As with any extent that was: its id may stand in old log records. */
		bd_extents_set_next_id(store, ids[i] + 1);
	}
	free(ids);
	return error;
}

void spares_free(struct bd_extents *extents)
{
	for (unsigned i = 0; i < extents->spare_ready; i++)
		nf_io_close(extents->spares[i].file);
	extents->spare_ready = 0;
}
