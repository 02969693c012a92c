/* The nf_io of a store with a tier: files, and which local file an op goes to. cold_impl.h has the states and the rules. */
#include "blockdev/tier/cold_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/nf_log.h"

#define EXTENTS "extents/"
#define CACHE "cold"

void cold_extent_path(uint32_t extent, char path[COLD_PATH_SIZE])
{
	snprintf(path, COLD_PATH_SIZE, EXTENTS "%08x", extent);
}

void cold_cache_path(uint32_t extent, char path[COLD_PATH_SIZE])
{
	snprintf(path, COLD_PATH_SIZE, CACHE "/%08x", extent);
}

/* The extent whose file `path` names, or COLD_NO_EXTENT. */
static uint32_t extent_of(const char *path)
{
	size_t skip = strlen(EXTENTS);
	char *end;
	if (strncmp(path, EXTENTS, skip) != 0 || strlen(path + skip) != 8)
		return COLD_NO_EXTENT;
	unsigned long id = strtoul(path + skip, &end, 16);
	return *end == '\0' ? (uint32_t)id : COLD_NO_EXTENT;
}

/* ---- operations that must not wait */

static __thread unsigned forbidden;

void bd_cold_forbid_waiting(void)
{
	forbidden++;
}

void bd_cold_allow_waiting(void)
{
	assert(forbidden > 0);
	forbidden--;
}

/* ---- files */

int cold_prepare(struct cold_file *file, uint32_t used)
{
	uint32_t count = bd_pack_group_count(used);
	assert(file->groups == NULL);
	file->groups = calloc(count, 1);
	if (file->groups == NULL)
		return -ENOMEM;
	file->used = used;
	file->group_count = count;
	return 0;
}

bool cold_unref(struct cold_file *file)
{
	struct bd_cold *cold = file->cold;
	assert(file->refs > 0);
	if (--file->refs > 0)
		return false;
	if (file->in_extents) {
		if (file->previous != NULL)
			file->previous->next = file->next;
		else
			cold->files = file->next;
		if (file->next != NULL)
			file->next->previous = file->previous;
		cold->extent_bytes -= file->bytes;
		cold->cached_bytes -= file->cached_bytes;
		cold_account(cold);
	}
	return true;
}

void cold_file_free(struct cold_file *file)
{
	nf_io_close(file->local);
	nf_io_close(file->cache);
	free(file->groups);
	free(file);
}

/* No extents/ID: is it in the object store? */
static int open_away(struct bd_cold *cold, struct cold_file *file)
{
	const struct bd_pack_map *map;
	struct bd_rows *rows = cold->tier->rows;
	if (file->extent == COLD_NO_EXTENT || rows == NULL || !bd_rows_find(rows, file->extent, NULL, &map))
		return -ENOENT;
	int error = cold_prepare(file, map->used);
	bd_rows_release(rows, map);
	return error;
}

static int cold_open(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file)
{
	struct bd_cold *cold = cold_of(io);
	struct cold_file *file = calloc(1, sizeof(*file));
	if (file == NULL)
		return -ENOMEM;
	file->cold = cold;
	file->refs = 1;
	file->extent = extent_of(path);
	file->in_extents = strncmp(path, EXTENTS, strlen(EXTENTS)) == 0 && strlen(path) < COLD_PATH_SIZE;
	if (file->in_extents)
		strcpy(file->path, path);
	int error = nf_io_open(cold->lower, path, flags, &file->local);
	if (error == 0 && file->in_extents)
		error = nf_io_size(file->local, &file->bytes);
	else if (error == -ENOENT && !(flags & NF_OPEN_CREATE))
		error = open_away(cold, file);
	if (error != 0) {
		cold_file_free(file);
		return error;
	}
	if (file->in_extents) {
		pthread_mutex_lock(&cold->lock);
		file->last_use = ++cold->clock;
		file->next = cold->files;
		if (cold->files != NULL)
			cold->files->previous = file;
		cold->files = file;
		cold->extent_bytes += file->bytes;
		cold_account(cold);
		pthread_mutex_unlock(&cold->lock);
	}
	*ret_file = &file->base;
	return 0;
}

static void cold_close(struct nf_file *base)
{
	struct cold_file *file = cold_file_of(base);
	pthread_mutex_lock(&file->cold->lock);
	bool last = cold_unref(file);
	pthread_mutex_unlock(&file->cold->lock);
	if (last)
		cold_file_free(file);
}

/* The local file, pinned; NULL: the extent is cold. */
static struct nf_file *pin_local(struct cold_file *file)
{
	pthread_mutex_lock(&file->cold->lock);
	struct nf_file *local = file->local;
	file->pins += local != NULL;
	pthread_mutex_unlock(&file->cold->lock);
	return local;
}

static void unpin(struct cold_file *file)
{
	pthread_mutex_lock(&file->cold->lock);
	file->pins--;
	pthread_mutex_unlock(&file->cold->lock);
}

static uint64_t size_away(const struct cold_file *file)
{
	return BD_EXTENT_DATA_OFFSET + (uint64_t)file->used * NF_BLOCK_SIZE;
}

static int cold_size(struct nf_file *base, uint64_t *ret_size)
{
	struct cold_file *file = cold_file_of(base);
	struct nf_file *local = pin_local(file);
	if (local == NULL) {
		*ret_size = size_away(file);
		return 0;
	}
	int error = nf_io_size(local, ret_size);
	unpin(file);
	return error;
}

/* A change of a local file's size was tried: what is it now? */
static void changed_size(struct cold_file *file, struct nf_file *local)
{
	uint64_t bytes;
	if (!file->in_extents || nf_io_size(local, &bytes) != 0)
		return;
	struct bd_cold *cold = file->cold;
	pthread_mutex_lock(&cold->lock);
	cold->extent_bytes += bytes - file->bytes;
	file->bytes = bytes;
	pthread_mutex_unlock(&cold->lock);
	cold_account_disk(cold);
}

static int cold_allocate(struct nf_file *base, uint64_t offset, uint64_t size)
{
	struct cold_file *file = cold_file_of(base);
	struct nf_file *local = pin_local(file);
	if (local == NULL)
		return -EROFS;
	int error = nf_io_allocate(local, offset, size);
	changed_size(file, local);
	unpin(file);
	return error;
}

static int cold_truncate(struct nf_file *base, uint64_t size)
{
	struct cold_file *file = cold_file_of(base);
	struct nf_file *local = pin_local(file);
	if (local == NULL)
		return -EROFS;
	int error = nf_io_truncate(local, size);
	changed_size(file, local);
	unpin(file);
	return error;
}

static int cold_punch(struct nf_file *base, uint64_t offset, uint64_t size)
{
	struct cold_file *file = cold_file_of(base);
	struct nf_file *local = pin_local(file);
	if (local == NULL)
		return -EROFS;
	int error = nf_io_punch(local, offset, size);
	unpin(file);
	return error;
}

/* ---- batches */

/* The groups that [offset, offset + size) lies in. */
static void groups_of(uint64_t offset, uint64_t size, uint32_t *ret_first, uint32_t *ret_end)
{
	uint64_t end = offset + size;
	*ret_first = offset < BD_EXTENT_DATA_OFFSET ? 0 : 1 + (uint32_t)((offset - BD_EXTENT_DATA_OFFSET) / BD_GROUP_BYTES);
	*ret_end = end <= BD_EXTENT_DATA_OFFSET ? 1
						: 1 + (uint32_t)((end - BD_EXTENT_DATA_OFFSET + BD_GROUP_BYTES - 1) / BD_GROUP_BYTES);
}

/* Under lock, of a cold file that is pinned: 0 when *ret_file has the bytes that the op reads; else its result. A flush has nothing to do: *ret_file NULL. */
static int prepare_away(struct cold_file *file, const struct nf_io_op *op, struct nf_file **ret_file)
{
	*ret_file = NULL;
	if (op->kind != NF_IO_READ)
		return op->kind == NF_IO_FSYNC ? 0 : -EROFS;
	if (op->offset + op->size > size_away(file))
		return -ENODATA;
	if (op->size == 0)
		return 0;
	uint32_t first, end;
	groups_of(op->offset, op->size, &first, &end);
	if (forbidden == 0)
		cold_read_ahead(file, first, end);
	int error = cold_want(file, first, end, forbidden == 0);
	/* It has come here as a whole while the lock was free (cold_prefetch.c): its groups mean nothing any more. */
	if (file->local != NULL) {
		*ret_file = file->local;
		return 0;
	}
	if (error == 0)
		*ret_file = file->cache;
	return error;
}

/* Under lock: where each op goes; ops that are not to be run have their result. */
static unsigned prepare_ops(struct nf_io_op *ops, unsigned count, struct nf_io_op *down, unsigned *origin)
{
	unsigned n = 0;
	/* All groups are asked for before the first is waited for. */
	for (unsigned i = 0; i < count && forbidden == 0; i++) {
		struct cold_file *file = cold_file_of(ops[i].file);
		uint32_t first, end;
		if (file->local != NULL || ops[i].kind != NF_IO_READ || ops[i].size == 0 ||
		    ops[i].offset + ops[i].size > size_away(file))
			continue;
		groups_of(ops[i].offset, ops[i].size, &first, &end);
		cold_ask(file, first, end);
	}
	for (unsigned first = 0; first < count;) {
		unsigned end = nf_io_chain_end(ops, count, first), before = n;
		for (unsigned i = first; i < end; i++) {
			struct cold_file *file = cold_file_of(ops[i].file);
			struct nf_file *to = file->local;
			ops[i].result = to == NULL ? prepare_away(file, &ops[i], &to) : 0;
			if (ops[i].result != 0) {
				nf_io_chain_cancel(ops, i + 1, end);
				break;
			}
			if (to == NULL)
				continue;
			down[n] = ops[i];
			down[n].file = to;
			origin[n++] = i;
		}
		if (n > before)
			down[n - 1].then_next = false;
		first = end;
	}
	return n;
}

/* Some of the ops are on extents that are not here; all files are pinned. */
static void run_away(struct bd_cold *cold, struct nf_io_op *ops, unsigned count)
{
	struct nf_io_op down[NF_IO_MAX_BATCH];
	unsigned origin[NF_IO_MAX_BATCH];
	pthread_mutex_lock(&cold->lock);
	unsigned n = prepare_ops(ops, count, down, origin);
	pthread_mutex_unlock(&cold->lock);
	if (nf_io_run(cold->lower, down, n) == 0)
		return;
	for (unsigned k = 0; k < n; k++) {
		unsigned i = origin[k];
		if (down[k].result == 0 || down[k].result == -ECANCELED)
			continue;
		ops[i].result = down[k].result;
		nf_io_chain_cancel(ops, i + 1, nf_io_chain_end(ops, count, i));
	}
}

/* All files are here: the ops are lent to the lower io. */
static void run_here(struct bd_cold *cold, struct nf_io_op *ops, unsigned count)
{
	struct nf_file *files[NF_IO_MAX_BATCH];
	for (unsigned i = 0; i < count; i++) {
		files[i] = ops[i].file;
		ops[i].file = cold_file_of(ops[i].file)->local;
	}
	int error = nf_io_run(cold->lower, ops, count);
	(void)error; /* each op has its own */
	for (unsigned i = 0; i < count; i++)
		ops[i].file = files[i];
}

static bool any_extent(struct nf_io_op *ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (cold_file_of(ops[i].file)->in_extents)
			return true;
	return false;
}

static void cold_run(struct nf_io *io, struct nf_io_op *ops, unsigned count)
{
	struct bd_cold *cold = cold_of(io);
	if (!any_extent(ops, count)) {
		run_here(cold, ops, count);
		return;
	}
	bool away = false;
	pthread_mutex_lock(&cold->lock);
	uint64_t now = ++cold->clock;
	for (unsigned i = 0; i < count; i++) {
		struct cold_file *file = cold_file_of(ops[i].file);
		file->pins++;
		file->last_use = now;
		away |= file->local == NULL;
	}
	pthread_mutex_unlock(&cold->lock);
	/* Pinned: what is here stays here. */
	if (away)
		run_away(cold, ops, count);
	else
		run_here(cold, ops, count);
	pthread_mutex_lock(&cold->lock);
	for (unsigned i = 0; i < count; i++)
		cold_file_of(ops[i].file)->pins--;
	pthread_mutex_unlock(&cold->lock);
}

/* ---- names */

/* Under lock: the open file of that name, or NULL. */
static struct cold_file *find(struct bd_cold *cold, const char *path)
{
	struct cold_file *file = cold->files;
	while (file != NULL && strcmp(file->path, path) != 0)
		file = file->next;
	return file;
}

static int cold_unlink(struct nf_io *io, const char *path)
{
	struct bd_cold *cold = cold_of(io);
	uint32_t extent = extent_of(path);
	if (extent == COLD_NO_EXTENT)
		return nf_io_unlink(cold->lower, path);
	char cache[COLD_PATH_SIZE];
	cold_cache_path(extent, cache);
	pthread_mutex_lock(&cold->names);
	pthread_mutex_lock(&cold->lock);
	struct cold_file *file = find(cold, path);
	if (file != NULL) {
		/* Not evicted any more, and whoever fetches for it finds no row. */
		file->path[0] = '\0';
		file->extent = COLD_NO_EXTENT;
	}
	pthread_mutex_unlock(&cold->lock);
	/* It may have been closed before, so nobody knows here whether it was away: no file is as good as none any more. */
	int error = nf_io_unlink(cold->lower, path), dropped = nf_io_unlink(cold->lower, cache);
	pthread_mutex_unlock(&cold->names);
	return error != 0 && error != -ENOENT ? error : dropped == -ENOENT ? 0 : dropped;
}

/* An extent's file becomes a spare, or a spare an extent: what is open under the name goes with it. */
static int cold_rename(struct nf_io *io, const char *from, const char *to)
{
	struct bd_cold *cold = cold_of(io);
	if (strlen(to) >= COLD_PATH_SIZE)
		return nf_io_rename(cold->lower, from, to);
	pthread_mutex_lock(&cold->names);
	pthread_mutex_lock(&cold->lock);
	struct cold_file *file = find(cold, from);
	bool away = file != NULL && file->local == NULL;
	if (file != NULL && !away)
		file->extent = COLD_NO_EXTENT; /* not evicted from now on */
	pthread_mutex_unlock(&cold->lock);
	int error = away ? -ENOENT : nf_io_rename(cold->lower, from, to);
	pthread_mutex_lock(&cold->lock);
	if (file != NULL && !away) {
		strcpy(file->path, error == 0 ? to : from);
		file->extent = extent_of(file->path);
	}
	pthread_mutex_unlock(&cold->lock);
	pthread_mutex_unlock(&cold->names);
	return error;
}

static int cold_sync_dir(struct nf_io *io, const char *path)
{
	return nf_io_sync_dir(cold_of(io)->lower, path);
}

static int cold_mkdir(struct nf_io *io, const char *path)
{
	return nf_io_mkdir(cold_of(io)->lower, path);
}

static int cold_list(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
	return nf_io_list(cold_of(io)->lower, path, each, arg);
}

static int cold_free_bytes(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total)
{
	struct bd_cold *cold = cold_of(io);
	int error = nf_io_free_bytes(cold->lower, ret_free, ret_total);
	uint64_t limit = cold->tier->config.local_limit_bytes;
	if (error != 0 || limit == 0)
		return error;
	pthread_mutex_lock(&cold->lock);
	uint64_t here = cold->extent_bytes + cold->cached_bytes + cold->other_bytes;
	pthread_mutex_unlock(&cold->lock);
	*ret_free = NF_MIN(*ret_free, limit > here ? limit - here : 0);
	*ret_total = NF_MIN(*ret_total, limit);
	return 0;
}

static void cold_destroy(struct nf_io *io)
{
	struct bd_cold *cold = cold_of(io);
	bd_cold_stop(cold);
	assert(cold->files == NULL);
	pthread_cond_destroy(&cold->room_changed);
	pthread_cond_destroy(&cold->evict_wake);
	pthread_cond_destroy(&cold->work);
	pthread_cond_destroy(&cold->changed);
	pthread_mutex_destroy(&cold->lock);
	pthread_mutex_destroy(&cold->names);
	free(cold);
}

static const struct nf_io_ops cold_ops = {
	.run = cold_run,
	.open = cold_open,
	.close = cold_close,
	.size = cold_size,
	.allocate = cold_allocate,
	.truncate = cold_truncate,
	.punch = cold_punch,
	.unlink = cold_unlink,
	.rename = cold_rename,
	.sync_dir = cold_sync_dir,
	.mkdir = cold_mkdir,
	.list = cold_list,
	.free_bytes = cold_free_bytes,
	.destroy = cold_destroy,
};

/* ---- making it */

static int drop_cached(void *arg, const char *name)
{
	char path[COLD_PATH_SIZE + NF_IO_NAME_MAX];
	snprintf(path, sizeof(path), CACHE "/%s", name);
	return nf_io_unlink(arg, path);
}

static int empty_cache(struct nf_io *lower)
{
	int error = nf_io_mkdir(lower, CACHE);
	return error == -EEXIST ? nf_io_list(lower, CACHE, drop_cached, lower) : error;
}

int bd_cold_create(struct bd_tier *tier, struct nf_io *lower, struct bd_cold **ret_cold, struct nf_io **ret_io)
{
	int error = empty_cache(lower);
	if (error != 0)
		return error;
	struct bd_cold *cold = calloc(1, sizeof(*cold));
	if (cold == NULL)
		return -ENOMEM;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&cold->names, NULL);
	pthread_mutex_init(&cold->lock, NULL);
	pthread_cond_init(&cold->changed, NULL);
	pthread_cond_init(&cold->work, NULL);
	pthread_cond_init(&cold->evict_wake, &attr);
	pthread_cond_init(&cold->room_changed, &attr);
	pthread_condattr_destroy(&attr);
	cold->base.ops = &cold_ops;
	cold->tier = tier;
	cold->lower = lower;
	cold->wanted.end = &cold->wanted.first;
	cold->ahead.end = &cold->ahead.first;
	unsigned parallel = tier->config.parallel != 0 ? tier->config.parallel : 8;
	cold->threads_max = NF_MIN(NF_MAX(parallel, 2u), COLD_THREADS_MAX);
	cold_account_disk(cold);
	*ret_cold = cold;
	*ret_io = &cold->base;
	return 0;
}

bool bd_cold_is_away(struct bd_store *store, struct nf_file *base)
{
	if (store->tier == NULL || store->tier->cold == NULL)
		return false;
	struct cold_file *file = cold_file_of(base);
	pthread_mutex_lock(&file->cold->lock);
	bool away = file->local == NULL;
	pthread_mutex_unlock(&file->cold->lock);
	return away;
}

int bd_cold_disk_bytes(struct bd_store *store, uint64_t *ret_free, uint64_t *ret_total)
{
	struct nf_io *io = store->tier != NULL && store->tier->cold != NULL ? store->tier->cold->lower : store->io;
	return nf_io_free_bytes(io, ret_free, ret_total);
}

void bd_cold_stop(struct bd_cold *cold)
{
	pthread_mutex_lock(&cold->lock);
	cold->stopping = true;
	pthread_cond_broadcast(&cold->work);
	pthread_cond_broadcast(&cold->changed);
	pthread_cond_broadcast(&cold->evict_wake);
	pthread_cond_broadcast(&cold->room_changed);
	pthread_mutex_unlock(&cold->lock);
	cold_evict_stop(cold);
	cold_fetch_stop(cold);
}
