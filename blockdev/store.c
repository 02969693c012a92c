/* A store: format, open, close, status.
 *
 * Directory: superblock (one page), log (the ring), extents/, index/ (RocksDB), lock.
 * The superblock is written again, in another file that takes its place, when the store gets something that older programs must not miss, or another
 * size limit.
 * superblock, little-endian:
 *   0 magic "NEONFSST" 8 bytes, 8 format version u32, 12 zero u32, 16 store id u64, 24 size limit u64, 32 created i64,
 *   40 log ring bytes u64, 48 XXH3 of bytes 0-47 u64 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/journal/journal.h"
#include "blockdev/layer/layer.h"
#include "blockdev/replay.h"
#include "blockdev/tier/tier.h"
#include "common/nf_log.h"

#define SUPERBLOCK "superblock"
#define SUPERBLOCK_NEW "superblock.new"
#define SUPERBLOCK_MAGIC "NEONFSST"
#define DEFAULT_LOG_BYTES (UINT64_C(128) << 20)
#define DEFAULT_MEMORY_BYTES (UINT64_C(384) << 20)
#define LEAST_MEMORY_BYTES (UINT64_C(64) << 20)
#define LEAST_DATA_BYTES (UINT64_C(128) << 20) /* that a size limit leaves beside the log */

int64_t bd_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int bd_store_fail(struct bd_store *store, int error, const char *what)
{
	if (error == -EROFS && atomic_load(&store->error) != 0)
		return error;
	pthread_mutex_lock(&store->error_lock);
	if (atomic_load(&store->error) == 0) {
		snprintf(store->error_message, sizeof(store->error_message), "%s: %s", what, strerror(-error));
		nf_error("store is read-only from now on: %s; mend the cause, then unmount and mount again",
			 store->error_message);
		atomic_store(&store->error, error);
	}
	pthread_mutex_unlock(&store->error_lock);
	if (store->log != NULL)
		bd_log_fail(store->log, -EROFS);
	return error;
}

int bd_store_writable(struct bd_store *store)
{
	return store->read_only || atomic_load(&store->error) != 0 ? -EROFS : 0;
}

static int superblock_write(struct nf_io *io, const char *name, const struct bd_superblock *sb)
{
	uint8_t *page = nf_io_buffer(NF_IO_ALIGN);
	if (page == NULL)
		return -ENOMEM;
	memset(page, 0, NF_IO_ALIGN);
	struct nf_writer w = nf_writer_init(page, NF_IO_ALIGN);
	nf_write_bytes(&w, SUPERBLOCK_MAGIC, 8);
	nf_write_u32(&w, sb->version);
	nf_write_u32(&w, 0);
	nf_write_u64(&w, sb->store_id);
	nf_write_u64(&w, sb->size_limit_bytes);
	nf_write_u64(&w, (uint64_t)sb->created_ns);
	nf_write_u64(&w, sb->log_bytes);
	nf_write_u64(&w, XXH3_64bits(page, w.offset));
	struct nf_file *file;
	int error = nf_io_open(io, name, NF_OPEN_CREATE, &file);
	if (error == 0) {
		error = nf_io_allocate(file, 0, NF_IO_ALIGN);
		if (error == 0)
			error = nf_io_run_one(io, NF_IO_WRITE, file, 0, page, NF_IO_ALIGN);
		if (error == 0)
			error = nf_io_run_one(io, NF_IO_FSYNC, file, 0, NULL, 0);
		nf_io_close(file);
	}
	if (error == 0)
		error = nf_io_sync_dir(io, ".");
	free(page);
	return error;
}

static int superblock_parse(const uint8_t *page, struct bd_superblock *ret_sb, char *message, size_t size)
{
	struct nf_reader r = nf_reader_init(page, NF_IO_ALIGN);
	if (memcmp(nf_read_bytes(&r, 8), SUPERBLOCK_MAGIC, 8) != 0) {
		snprintf(message, size, "not a neonfs store (superblock has a foreign magic); check the path");
		return -EMEDIUMTYPE;
	}
	struct bd_superblock sb = {.version = nf_read_u32(&r)};
	nf_read_u32(&r);
	sb.store_id = nf_read_u64(&r);
	sb.size_limit_bytes = nf_read_u64(&r);
	sb.created_ns = (int64_t)nf_read_u64(&r);
	sb.log_bytes = nf_read_u64(&r);
	uint64_t sum = XXH3_64bits(page, r.offset);
	if (sum != nf_read_u64(&r)) {
		snprintf(message, size, "superblock is damaged (checksum mismatch); restore it from a copy of the store");
		return -EUCLEAN;
	}
	if (sb.version > BD_FORMAT_VERSION) {
		snprintf(message, size, "store has format %u, this neonfs knows up to %u; use a newer neonfs", sb.version,
			 BD_FORMAT_VERSION);
		return -EPROTONOSUPPORT;
	}
	*ret_sb = sb;
	return 0;
}

int bd_superblock_read(struct nf_io *io, struct bd_superblock *ret_sb, char *message, size_t size)
{
	struct nf_file *file;
	int error = nf_io_open(io, SUPERBLOCK, NF_OPEN_READONLY, &file);
	if (error != 0) {
		if (error == -ENOENT)
			snprintf(message, size, "not a neonfs store (no superblock); make one with neonfs init");
		else
			snprintf(message, size, "superblock cannot be opened: %s", strerror(-error));
		return error == -ENOENT ? -EMEDIUMTYPE : error;
	}
	uint8_t *page = nf_io_buffer(NF_IO_ALIGN);
	error = page != NULL ? nf_io_run_one(io, NF_IO_READ, file, 0, page, NF_IO_ALIGN) : -ENOMEM;
	nf_io_close(file);
	if (error == -ENODATA) {
		snprintf(message, size, "superblock is damaged (too short); restore it from a copy of the store");
		error = -EUCLEAN;
	} else if (error != 0) {
		snprintf(message, size, "superblock cannot be read: %s", strerror(-error));
	} else {
		error = superblock_parse(page, ret_sb, message, size);
	}
	free(page);
	return error;
}

int bd_superblock_make(struct nf_io *io, const struct bd_superblock *sb)
{
	return superblock_write(io, SUPERBLOCK, sb);
}

int bd_superblock_id(struct nf_io *io, uint64_t *ret_store_id, char *message, size_t size)
{
	struct bd_superblock sb;
	int error = bd_superblock_read(io, &sb, message, size);
	if (error == 0)
		*ret_store_id = sb.store_id;
	return error;
}

/* Under table_lock exclusive: another one takes its place, durable. */
static int superblock_replace(struct bd_store *store, uint32_t version, uint64_t size_limit_bytes)
{
	char message[512] = "";
	struct bd_superblock sb;
	int error = bd_superblock_read(store->io, &sb, message, sizeof(message));
	if (error != 0) {
		nf_error("%s", message);
		return error;
	}
	sb.version = version;
	sb.size_limit_bytes = size_limit_bytes;
	error = nf_io_unlink(store->io, SUPERBLOCK_NEW);
	if (error == 0 || error == -ENOENT)
		error = superblock_write(store->io, SUPERBLOCK_NEW, &sb);
	if (error == 0)
		error = nf_io_rename(store->io, SUPERBLOCK_NEW, SUPERBLOCK);
	return error != 0 ? error : nf_io_sync_dir(store->io, ".");
}

int bd_store_raise_format(struct bd_store *store, uint32_t version)
{
	if (store->format_version >= version)
		return 0;
	int error = superblock_replace(store, version, store->size_limit_bytes);
	if (error == 0)
		store->format_version = version;
	return error;
}

int bd_store_set_size_limit(struct bd_store *store, uint64_t bytes)
{
	if (bytes != 0 && bytes < bd_log_ring_bytes(store->log) + LEAST_DATA_BYTES)
		return -EINVAL;
	pthread_rwlock_wrlock(&store->table_lock);
	uint64_t before = store->size_limit_bytes;
	int error = bd_store_writable(store);
	/* A lower one counts from here on, so that what is looked at next does not grow past it. */
	if (error == 0 && bytes != 0 && (before == 0 || bytes < before)) {
		store->size_limit_bytes = bytes;
		error = bd_extents_totals(store).bytes + bd_log_ring_bytes(store->log) > bytes ? -ENOSPC : 0;
	}
	if (error == 0)
		error = superblock_replace(store, store->format_version, bytes);
	store->size_limit_bytes = error == 0 ? bytes : before;
	pthread_rwlock_unlock(&store->table_lock);
	if (error == 0 && bytes != 0)
		bd_store_drop_spares(store); /* files that wait to be used again count, and can go */
	return error;
}

/* ---- format */

static int format_index(const char *path)
{
	char index_path[4096], message[512];
	snprintf(index_path, sizeof(index_path), "%s/index", path);
	struct bd_index *index;
	int error = bd_index_open(index_path, &(struct bd_index_options){.create = true, .cache_bytes = 1 << 20}, &index,
				  message, sizeof(message));
	if (error != 0) {
		nf_error("index: %s", message);
		return error;
	}
	struct bd_index_batch *batch = bd_index_batch_new();
	struct bd_key key;
	uint8_t value[24 + BD_VALUE_CHECK] = {0};
	bd_key_meta(&key, "replay");
	size_t size = bd_value_seal(key.bytes, key.size, value, 24);
	error = batch != NULL ? 0 : -ENOMEM;
	if (error == 0) {
		bd_index_batch_put(batch, key.bytes, key.size, value, size);
		error = bd_index_write(index, batch);
	}
	if (error == 0)
		error = bd_index_flush_begin(index);
	if (error == 0)
		error = bd_index_flush_wait(index);
	bd_index_batch_free(batch);
	bd_index_close(index);
	return error;
}

int bd_store_format_io(const char *path, struct nf_io *io, const struct bd_format_options *options)
{
	struct bd_superblock sb = {.version = BD_FORMAT_FIRST, .size_limit_bytes = options->size_limit_bytes,
				.log_bytes = DEFAULT_LOG_BYTES, .created_ns = bd_now_ns()};
	if (options->log_bytes != 0)
		sb.log_bytes = options->log_bytes;
	if (sb.size_limit_bytes != 0 && sb.size_limit_bytes < sb.log_bytes + LEAST_DATA_BYTES)
		return -EINVAL;
	if (getrandom(&sb.store_id, sizeof(sb.store_id), 0) != sizeof(sb.store_id))
		return -EIO;
	int error = bd_log_format(io, sb.log_bytes);
	if (error == 0)
		error = nf_io_mkdir(io, "extents");
	if (error == 0)
		error = nf_io_sync_dir(io, ".");
	if (error == 0)
		error = format_index(path);
	/* Last: a store with a superblock is whole. */
	return error != 0 ? error : superblock_write(io, SUPERBLOCK, &sb);
}

static int refuse_name(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "lost+found") == 0 ? 0 : -ENOTEMPTY;
}

int bd_store_format(const char *path, const struct bd_format_options *options)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -errno;
	struct nf_io *io;
	int error = nf_io_uring_create(path, &io);
	if (error != 0)
		return error;
	error = nf_io_list(io, ".", refuse_name, NULL);
	if (error == 0 && chmod(path, 0700) != 0)
		error = -errno;
	if (error == 0)
		error = bd_store_format_io(path, io, options);
	nf_io_destroy(io);
	return error;
}

/* ---- open */

static int take_lock(struct bd_store *store, char *message, size_t size)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/lock", store->path);
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd < 0) {
		int error = -errno;
		snprintf(message, size, "%s: %s", path, strerror(-error));
		return error;
	}
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(message, size, "store is in use by another neonfs process; unmount it there first");
		return -EBUSY;
	}
	return 0;
}

static struct bd_store *store_new(const char *path, struct nf_io *io, const struct bd_open_options *options)
{
	struct bd_store *store = calloc(1, sizeof(*store));
	if (store == NULL)
		return NULL;
	store->path = strdup(path);
	store->io = io;
	store->lock_fd = -1;
	store->read_only = options->read_only;
	store->no_background = options->no_background;
	store->spare_idle_s = options->spare_idle_s;
	store->memory_limit_bytes = options->memory_limit_bytes != 0
					    ? NF_MAX(options->memory_limit_bytes, LEAST_MEMORY_BYTES)
					    : DEFAULT_MEMORY_BYTES;
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&store->table_lock, NULL);
	pthread_rwlock_init(&store->kv_lock, &attr);
	pthread_rwlock_init(&store->clone_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&store->ids_lock, NULL);
	pthread_mutex_init(&store->checkpoint_lock, NULL);
	pthread_mutex_init(&store->collect_lock, NULL);
	pthread_mutex_init(&store->reclaim_lock, NULL);
	pthread_mutex_init(&store->error_lock, NULL);
	pthread_mutex_init(&store->layers_lock, NULL);
	return store;
}

static void store_free(struct bd_store *store)
{
	bd_tier_stop_waiting(store);
	bd_background_stop(store);
	bd_tier_stop(store, false);
	bd_layers_close(store);
	bd_inode_table_free(store);
	bd_branches_free(store);
	bd_makers_free(store);
	bd_leaf_cache_free(store);
	bd_extents_free(store);
	bd_background_free(store);
	bd_journal_close(store);
	bd_log_close(store->log);
	bd_index_close(store->index);
	bd_tier_free(store);
	if (store->owns_io)
		nf_io_destroy(store->io);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	pthread_rwlock_destroy(&store->table_lock);
	pthread_rwlock_destroy(&store->kv_lock);
	pthread_rwlock_destroy(&store->clone_lock);
	pthread_mutex_destroy(&store->ids_lock);
	pthread_mutex_destroy(&store->checkpoint_lock);
	pthread_mutex_destroy(&store->collect_lock);
	pthread_mutex_destroy(&store->reclaim_lock);
	pthread_mutex_destroy(&store->error_lock);
	pthread_mutex_destroy(&store->layers_lock);
	free(store->path);
	free(store);
}

/* A u64 triple under 'M' name; missing ones are zero when `optional`. */
static int load_meta(struct bd_store *store, const char *name, uint64_t *values, unsigned count, bool optional)
{
	struct bd_key key;
	uint8_t raw[64];
	size_t size;
	bd_key_meta(&key, name);
	int error = bd_index_get(store->index, &key, raw, sizeof(raw), &size);
	if (error == -ENOENT && optional) {
		memset(values, 0, count * sizeof(*values));
		return 0;
	}
	if (error != 0)
		return error == -ENOENT ? -EUCLEAN : error;
	struct nf_reader r = nf_reader_init(raw, size);
	for (unsigned i = 0; i < count; i++)
		values[i] = nf_read_u64(&r);
	return r.failed ? -EUCLEAN : 0;
}

static int open_index_and_log(struct bd_store *store, char *message, size_t size)
{
	char path[4096], reason[384];
	snprintf(path, sizeof(path), "%s/index", store->path);
	struct bd_index_options options = {.cache_bytes = store->memory_limit_bytes / 6};
	int error = bd_index_open(path, &options, &store->index, reason, sizeof(reason));
	if (error != 0) {
		snprintf(message, size, "index cannot be opened (%s); if it is lost or damaged: neonfs scrub --rebuild",
			 reason);
		return error == -ENOENT ? -EUCLEAN : error;
	}
	uint64_t positions[3];
	error = load_meta(store, "replay", positions, 3, false);
	if (error == 0) {
		struct bd_log_position position = {positions[0], positions[1], positions[2]};
		error = bd_log_open(store->io, store->store_id, &position, &store->log);
	}
	if (error != 0)
		snprintf(message, size, "log cannot be opened: %s; restore the file \"log\" of the store from a copy",
			 strerror(-error));
	if (error == 0 && !store->read_only) {
		error = bd_journal_open(store, positions[0]);
		if (error != 0)
			snprintf(message, size, "meta: cannot be opened: %s", strerror(-error));
	}
	return error;
}

static int load_orphan(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	(void)value, (void)size;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t branch = nf_read_u32_be(&r);
	uint64_t file = nf_read_u64_be(&r);
	if (r.failed)
		return -EUCLEAN;
	bd_background_purge(arg, branch, file);
	return 0;
}

static int load(struct bd_store *store, char *message, size_t size)
{
	int error = bd_background_init(store);
	if (error == 0)
		error = bd_inode_table_init(store);
	if (error == 0)
		error = bd_leaf_cache_init(store, store->memory_limit_bytes / 3);
	if (error == 0)
		error = bd_makers_init(store);
	if (error == 0)
		error = bd_extents_init(store);
	if (error == 0)
		error = bd_tier_load(store);
	if (error == 0 && !store->read_only)
		error = bd_extents_remove_leftovers(store);
	if (error == 0)
		error = bd_extents_load(store);
	if (error == 0)
		error = bd_replay(store);
	if (error == 0)
		error = bd_extents_settle(store);
	uint64_t ids[2] = {0}, files = 0;
	if (error == 0)
		error = load_meta(store, "files", &files, 1, true);
	if (error == 0)
		error = load_meta(store, "ids", ids, 2, true);
	if (error == 0)
		error = bd_branches_load(store);
	if (error == 0)
		error = bd_index_each_kind(store->index, 'O', load_orphan, store);
	store->next_file = store->reserved_file = NF_MAX(files, BD_FILE_ID_ROOT.v + 1);
	store->next_branch = NF_MAX(store->next_branch, (uint32_t)ids[0]);
	if (error == 0)
		bd_extents_set_next_id(store, (uint32_t)ids[1]);
	if (error == 0 && !store->read_only)
		error = bd_rebuild_finish(store);
	if (error == 0 && !store->read_only)
		error = bd_checkpoint(store);
	if (error == 0)
		error = bd_background_start(store);
	if (error == 0)
		error = bd_tier_start(store);
	if (error == -EUCLEAN)
		snprintf(message, size, "store is damaged (the log above says where); neonfs scrub --rebuild keeps what is whole");
	else if (error != 0)
		snprintf(message, size, "recovery failed: %s", strerror(-error));
	return error;
}

static int open_store(struct bd_store *store, struct bd_store **ret_store, char *message, size_t size)
{
	struct bd_superblock sb;
	int error = take_lock(store, message, size);
	if (error == 0)
		error = bd_superblock_read(store->io, &sb, message, size);
	if (error == 0) {
		store->store_id = sb.store_id;
		store->format_version = sb.version;
		store->size_limit_bytes = sb.size_limit_bytes;
		store->created_ns = sb.created_ns;
		error = bd_tier_open(store, message, size);
	}
	if (error == 0)
		error = open_index_and_log(store, message, size);
	if (error == 0)
		error = load(store, message, size);
	if (error != 0) {
		store_free(store);
		return error;
	}
	*ret_store = store;
	return 0;
}

int bd_store_open_io(const char *path, struct nf_io *io, const struct bd_open_options *options,
		     struct bd_store **ret_store, char *ret_message, size_t message_size)
{
	struct bd_store *store = store_new(path, io, options);
	return store != NULL ? open_store(store, ret_store, ret_message, message_size) : -ENOMEM;
}

int bd_store_open(const char *path, const struct bd_open_options *options, struct bd_store **ret_store,
		  char *ret_message, size_t message_size)
{
	struct stat st;
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		snprintf(ret_message, message_size, "%s: no such store; make one with neonfs init", path);
		return -ENOENT;
	}
	char superblock_path[4096];
	snprintf(superblock_path, sizeof(superblock_path), "%s/" SUPERBLOCK, path);
	if (access(superblock_path, F_OK) != 0) {
		snprintf(ret_message, message_size, "not a neonfs store (no superblock); make one with neonfs init");
		return -EMEDIUMTYPE;
	}
	struct nf_io *io;
	int error = nf_io_uring_create(path, &io);
	if (error != 0) {
		snprintf(ret_message, message_size, "%s: %s", path, strerror(-error));
		return error;
	}
	struct bd_store *store = store_new(path, io, options);
	if (store == NULL) {
		nf_io_destroy(io);
		return -ENOMEM;
	}
	store->owns_io = true;
	return open_store(store, ret_store, ret_message, message_size);
}

int bd_store_close(struct bd_store *store)
{
	if (store == NULL)
		return 0;
	bd_tier_stop_waiting(store);
	bd_background_stop(store);
	bd_layers_close(store);
	int error = 0;
	if (!store->read_only) {
		error = atomic_load(&store->error) != 0 ? -EIO : bd_retire(store, UINT64_MAX);
		if (error == 0)
			error = bd_checkpoint(store);
		if (error == 0)
			error = bd_extents_trim_open(store);
		bd_store_drop_spares(store);
	}
	bd_tier_stop(store, error == 0);
	store_free(store);
	return error;
}

void bd_store_abandon(struct bd_store *store)
{
	if (store != NULL)
		store_free(store);
}

int bd_statfs(struct bd_store *store, struct bd_statfs *ret_statfs)
{
	uint64_t free_bytes, total_bytes;
	int error = nf_io_free_bytes(store->io, &free_bytes, &total_bytes);
	if (error != 0)
		return error;
	struct bd_extent_totals extents = bd_extents_totals(store);
	uint64_t own = extents.bytes + bd_log_ring_bytes(store->log), reserve = bd_extents_reserve(total_bytes);
	free_bytes += extents.spare_bytes;
	free_bytes = free_bytes > reserve ? free_bytes - reserve : 0;
	if (store->tier != NULL) {
		/* The object store takes everything; this disk keeps what is used, and writers wait while it is full. */
		total_bytes = BD_TIER_BYTES;
		free_bytes = BD_TIER_BYTES - NF_MIN(own, BD_TIER_BYTES);
	}
	uint64_t limit = store->size_limit_bytes;
	if (limit != 0) {
		free_bytes = NF_MIN(free_bytes, limit > own ? limit - own : 0);
		total_bytes = NF_MIN(total_bytes, limit);
	}
	*ret_statfs = (struct bd_statfs){.total_bytes = total_bytes, .free_bytes = free_bytes,
					 .files = bd_inodes_in_memory(store)};
	return 0;
}

int bd_store_status(struct bd_store *store, struct bd_status *ret_status)
{
	struct bd_statfs room;
	int error = bd_statfs(store, &room);
	if (error != 0)
		return error;
	struct bd_status status = {
		.format_version = store->format_version,
		.size_limit_bytes = store->size_limit_bytes,
		.free_bytes = room.free_bytes,
		.log_bytes = bd_log_ring_bytes(store->log),
		.index_bytes = bd_index_disk_bytes(store->index),
		.memory_limit_bytes = store->memory_limit_bytes,
		.inodes_in_memory = bd_inodes_in_memory(store),
		.blocks_in_memory = bd_leaf_cache_bytes(store) / sizeof(struct bd_leaf) * BD_LEAF_BLOCKS,
		.reads = store->reads, .writes = store->writes, .fsyncs = store->fsyncs,
		.log_syncs = bd_log_sync_count(store->log),
		.checkpoints = store->checkpoint_done,
		.collected_extents = store->collected_extents,
		.collected_copied_bytes = store->collected_bytes,
		.read_bytes = store->read_bytes, .written_bytes = store->written_bytes,
		.inline_bytes = store->inline_bytes,
		.made_blocks = store->made_blocks,
	};
	struct bd_extent_totals extents = bd_extents_totals(store);
	status.extents = extents.extents;
	status.extent_bytes = extents.bytes;
	status.live_bytes = extents.live_bytes;
	status.spare_bytes = extents.spare_bytes;
	status.memory_bytes = bd_leaf_cache_bytes(store) + bd_index_memory_bytes(store->index);
	pthread_rwlock_rdlock(&store->table_lock);
	status.branches = store->branch_count - store->internal_count;
	status.snapshots = store->snapshot_count;
	for (uint32_t id = 0; id < store->branch_slots; id++) {
		if (store->branches[id] != NULL && atomic_load(&store->branches[id]->has_layers))
			status.layers += bd_branch_layer_epochs(store, store->branches[id], NULL, 0);
	}
	pthread_rwlock_unlock(&store->table_lock);
	pthread_mutex_lock(&store->error_lock);
	status.error = store->error;
	memcpy(status.error_message, store->error_message, sizeof(status.error_message));
	pthread_mutex_unlock(&store->error_lock);
	*ret_status = status;
	return 0;
}
