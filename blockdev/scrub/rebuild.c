/* Making the index again when it is lost or damaged, from the journal, the extents and the log. README.md says why that works.
 *
 *   1. the journal gives every record that is no block version, as of its last batch, and all holes
 *   2. the ring gives the block versions that lie in it
 *   3. slot tables and clone rows give all other block versions; of each version the newest place counts
 *   4. the new index says that replay begins where the last batch says: the next open brings it up to date
 * The new index is made in index.new; the old one is kept as index.old. Nothing else is written, but that a damaged end of the log is cut off.
 * Memory is bounded: candidates for places are sorted through a temporary file. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "blockdev/branch/branch.h"
#include "blockdev/scrub/rebuild_impl.h"
#include "blockdev/tier/config.h"
#include "common/nf_log.h"

#define SWEEP_ALL "sweep" /* store fact: every branch is to be swept */
#define COMMIT_BYTES (128u << 10)
#define BATCH_RECORDS 4096u
#define FLUSH_BYTES (UINT64_C(64) << 20)
#define BRANCHES_MAX (1u << 24)
#define EXTENTS_MAX (1u << 30)

int rebuild_progress(struct rebuild *rebuild, const char *phase, uint64_t done, uint64_t total)
{
	return rebuild->progress != NULL && rebuild->progress(rebuild->arg, phase, done, total) != 0 ? -ECANCELED : 0;
}

int rebuild_settle(struct rebuild *rebuild, bool all)
{
	struct bd_index *index = rebuild->store->index;
	if (!all && bd_index_batch_count(rebuild->batch) < BATCH_RECORDS)
		return 0;
	int error = bd_index_batch_count(rebuild->batch) > 0 ? bd_index_write(index, rebuild->batch) : 0;
	if (error == 0 && bd_index_unflushed_bytes(index) > FLUSH_BYTES) {
		error = bd_index_flush_begin(index);
		if (error == 0)
			error = bd_index_flush_wait(index);
	}
	return error;
}

int rebuild_put(struct rebuild *rebuild, const struct bd_key *key, uint8_t *value, size_t size)
{
	size = bd_value_seal(key->bytes, key->size, value, size);
	bd_index_batch_put(rebuild->batch, key->bytes, key->size, value, size);
	return rebuild_settle(rebuild, false);
}

int rebuild_delete(struct rebuild *rebuild, const void *key, size_t key_size)
{
	bd_index_batch_delete(rebuild->batch, key, key_size);
	return rebuild_settle(rebuild, false);
}

/* ---- the journal */

static int take_holes(struct rebuild *rebuild, struct nf_reader body)
{
	struct bd_block_id id;
	uint32_t count;
	struct bd_age age = {.sequence = 0};
	int error = bd_journal_holes_parse(body, &id, &count, &age.sequence);
	for (uint32_t i = 0; i < count && error == 0; i++, id.block++)
		error = sorter_add(&rebuild->sorter, &id, age, BD_LOC_HOLE, 0);
	return error;
}

static int take_journal_item(void *arg, uint8_t type, struct nf_reader body)
{
	struct rebuild *rebuild = arg;
	const void *key, *value;
	size_t key_size, value_size;
	int error;
	switch (type) {
	case BD_ITEM_PUT:
		error = bd_item_put_parse(body, &key, &key_size, &value, &value_size);
		if (error == 0)
			bd_index_batch_put(rebuild->batch, key, key_size, value, value_size);
		return error != 0 ? error : rebuild_settle(rebuild, false);
	case BD_ITEM_DELETE:
		return rebuild_delete(rebuild, body.data, body.size);
	case BD_JOURNAL_HOLES:
		return take_holes(rebuild, body);
	default:
		return 0;
	}
}

static int read_journal(struct rebuild *rebuild, char *message, size_t size)
{
	struct bd_store *store = rebuild->store;
	struct bd_journal_end end;
	struct nf_file *file;
	int error = rebuild_progress(rebuild, "journal", 0, 0);
	if (error != 0)
		return error;
	error = nf_io_open(store->io, BD_JOURNAL_FILE, NF_OPEN_READONLY, &file);
	if (error == 0) {
		error = bd_journal_find_end(store->io, file, store->store_id, &end);
		if (error == 0 && !end.whole)
			error = -EUCLEAN;
		if (error == 0)
			error = bd_journal_read(store->io, file, store->store_id, end.end, take_journal_item, rebuild);
		nf_io_close(file);
	}
	if (error != 0) {
		snprintf(message, size, "the file \"" BD_JOURNAL_FILE "\" of the store, which has the names and branches, is %s; "
			 "restore it from a copy of the store", error == -ENOENT ? "missing" : error == -EUCLEAN ? "damaged" : "unreadable");
		return error == -ENOENT ? -EUCLEAN : error;
	}
	rebuild->position = end.position;
	return rebuild_settle(rebuild, true);
}

/* ---- branches and extents, as the journal has them */

typedef int (*each_fn)(struct rebuild *rebuild, uint32_t id, const uint8_t *key, size_t key_size, const uint8_t *value,
		       size_t size);

struct each_walk {
	struct rebuild *rebuild;
	each_fn each;
};

static int parse_id(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	const struct each_walk *walk = arg;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t id = nf_read_u32_be(&r);
	return r.failed ? -EUCLEAN : walk->each(walk->rebuild, id, key, key_size, value, size);
}

/* Every record of a kind whose key is a u32. */
static int each_u32(struct rebuild *rebuild, char kind, each_fn each)
{
	struct each_walk walk = {.rebuild = rebuild, .each = each};
	return bd_index_each_kind(rebuild->store->index, kind, parse_id, &walk);
}

static int note_ids(struct rebuild *rebuild, uint32_t id, const uint8_t *key, size_t key_size, const uint8_t *value,
		    size_t size)
{
	(void)key_size, (void)value, (void)size;
	if (key[0] == 'R')
		rebuild->branch_slots = NF_MAX(rebuild->branch_slots, id + 1);
	else
		rebuild->extent_slots = NF_MAX(rebuild->extent_slots, id + 1);
	return id < (key[0] == 'R' ? BRANCHES_MAX : EXTENTS_MAX) ? 0 : -EUCLEAN;
}

static int note_branch(struct rebuild *rebuild, uint32_t id, const uint8_t *key, size_t key_size, const uint8_t *value,
		       size_t size)
{
	size_t plain;
	int error = bd_value_check(key, key_size, value, size, &plain);
	if (error != 0)
		return error;
	struct nf_reader r = nf_reader_init(value, plain);
	rebuild->parents[id] = nf_read_u32(&r);
	nf_read_u32(&r);
	nf_read_u32(&r);
	rebuild->branch_there[id] = true;
	rebuild->branch_dead[id] = (nf_read_u8(&r) & BD_BRANCH_DEAD) != 0;
	return r.failed ? -EUCLEAN : 0;
}

/* An extent: its file, when it is there and ours. */
static int open_extent(struct rebuild *rebuild, uint32_t id, const uint8_t *key, size_t key_size, const uint8_t *value,
		       size_t size)
{
	int error = bd_extent_replay_record(rebuild->store, key, key_size, value, size);
	if (error != 0 && error != -EUCLEAN)
		return error;
	if (bd_extent_exists(rebuild->store, id) || rebuild->removed_later[id])
		return 0;
	nf_error("extent %08x: its file is missing or damaged; blocks that were in it are lost or show an older version", id);
	rebuild->lost_extents++;
	return rebuild_delete(rebuild, key, key_size);
}

static int make_tables(struct rebuild *rebuild)
{
	rebuild->branch_slots = rebuild->position.next_branch;
	rebuild->extent_slots = rebuild->position.next_extent;
	int error = each_u32(rebuild, 'R', note_ids);
	if (error == 0)
		error = each_u32(rebuild, 'E', note_ids);
	if (error != 0)
		return error;
	size_t branches = (size_t)rebuild->branch_slots + 1, extents = (size_t)rebuild->extent_slots + 1;
	rebuild->parents = calloc(branches, sizeof(*rebuild->parents));
	rebuild->branch_there = calloc(branches, sizeof(bool));
	rebuild->branch_dead = calloc(branches, sizeof(bool));
	rebuild->live = calloc(extents, sizeof(*rebuild->live));
	rebuild->used = calloc(extents, sizeof(*rebuild->used));
	rebuild->removed_later = calloc(extents, sizeof(bool));
	if (rebuild->parents == NULL || rebuild->branch_there == NULL || rebuild->branch_dead == NULL ||
	    rebuild->live == NULL || rebuild->used == NULL || rebuild->removed_later == NULL)
		return -ENOMEM;
	error = each_u32(rebuild, 'R', note_branch);
	/* What a child needs of a dead parent stays. Parents have lower ids. */
	for (uint32_t id = rebuild->branch_slots; error == 0 && id-- > 1;) {
		uint32_t parent = rebuild->parents[id];
		if (rebuild->branch_there[id] && !rebuild->branch_dead[id] && parent < id)
			rebuild->branch_dead[parent] = false;
	}
	return error;
}

static int put_positions(struct rebuild *rebuild)
{
	const struct bd_journal_position *position = &rebuild->position;
	struct bd_key key;
	uint8_t value[24 + BD_VALUE_CHECK];
	struct nf_writer w = nf_writer_init(value, sizeof(value));
	nf_write_u64(&w, position->log.replay);
	nf_write_u64(&w, position->log.retain);
	nf_write_u64(&w, position->log.generation);
	bd_key_meta(&key, "replay");
	int error = rebuild_put(rebuild, &key, value, w.offset);
	w = nf_writer_init(value, sizeof(value));
	nf_write_u64(&w, NF_MAX(position->next_branch, rebuild->branch_slots));
	nf_write_u64(&w, NF_MAX(position->next_extent, rebuild->extent_slots));
	bd_key_meta(&key, "ids");
	if (error == 0)
		error = rebuild_put(rebuild, &key, value, w.offset);
	/* Versions that a sweep had dropped are found again. Asked for by 'V' records, this could be taken back by what the log goes on to
	 * say. */
	bd_key_meta(&key, SWEEP_ALL);
	return error != 0 ? error : rebuild_put(rebuild, &key, value, 0);
}

int bd_rebuild_finish(struct bd_store *store)
{
	struct bd_key key, all;
	uint8_t value[8 + BD_VALUE_CHECK];
	size_t size;
	uint64_t ticket;
	bd_key_meta(&all, SWEEP_ALL);
	int error = bd_index_get(store->index, &all, value, sizeof(value), &size);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	struct bd_commit commit;
	error = bd_commit_init(&commit);
	for (uint32_t id = 0; error == 0 && id < store->branch_slots; id++) {
		if (store->branches[id] == NULL)
			continue;
		bd_key_u32(&key, 'V', id);
		bd_commit_put(&commit, &key, value, 0);
		bd_background_purge(store, id, 0);
		if (commit.items.size > COMMIT_BYTES)
			error = bd_commit_apply(store, &commit, &ticket);
	}
	if (error == 0) {
		bd_commit_delete(&commit, &all);
		error = bd_commit_apply(store, &commit, &ticket);
	}
	bd_commit_free(&commit);
	return error;
}

/* ---- the whole of it */

static int read_log(struct rebuild *rebuild, char *message, size_t size)
{
	int error = rebuild_log(rebuild);
	if (error == 0 || error == -ECANCELED || error == -ENOMEM)
		return error;
	snprintf(message, size, "the file \"log\" of the store is %s: with it all is lost that was written since the last "
		 "checkpoint (some seconds to minutes), and older blocks that were in it alone; nothing was changed; restore it from a copy of the "
		 "store, and run this again",
		 error == -ENOENT ? "missing" : error == -EUCLEAN ? "damaged" : "unreadable");
	return error == -ENOENT ? -EUCLEAN : error;
}

static int fill_index(struct rebuild *rebuild, char *message, size_t size)
{
	int error = read_journal(rebuild, message, size);
	if (error != 0)
		return error;
	error = make_tables(rebuild);
	if (error == 0) {
		message[0] = '\0';
		error = read_log(rebuild, message, size);
		if (message[0] != '\0')
			return error;
	}
	if (error == 0)
		error = each_u32(rebuild, 'E', open_extent);
	if (error == 0)
		error = rebuild_blocks(rebuild);
	if (error == 0)
		error = put_positions(rebuild);
	if (error == 0)
		error = rebuild_settle(rebuild, true);
	if (error == 0)
		error = bd_index_flush_begin(rebuild->store->index);
	if (error == 0)
		error = bd_index_flush_wait(rebuild->store->index);
	if (error != 0 && error != -ECANCELED)
		snprintf(message, size, "the index cannot be made again: %s", strerror(-error));
	return error;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path) != 0 ? -errno : 0;
}

/* Remove a directory with what is in it; nothing there is fine. */
static int remove_tree(const char *path)
{
	if (access(path, F_OK) != 0)
		return errno == ENOENT ? 0 : -errno;
	int rc = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return rc == -1 ? -errno : rc;
}

/* index.new becomes the index, the index becomes index.old. */
static int swap_in(const char *path)
{
	char now[4096], made[4096], old[4096];
	snprintf(now, sizeof(now), "%s/index", path);
	snprintf(made, sizeof(made), "%s/index.new", path);
	snprintf(old, sizeof(old), "%s/index.old", path);
	int error = 0;
	if (access(now, F_OK) == 0) {
		error = remove_tree(old);
		if (error == 0 && rename(now, old) != 0)
			error = -errno;
	}
	if (error == 0 && rename(made, now) != 0)
		error = -errno;
	int fd = error == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (error == 0 && (fd < 0 || fsync(fd) != 0))
		error = -errno;
	if (fd >= 0)
		close(fd);
	return error;
}

static void rebuild_free(struct rebuild *rebuild)
{
	sorter_free(&rebuild->sorter);
	bd_index_batch_free(rebuild->batch);
	free(rebuild->parents);
	free(rebuild->branch_there);
	free(rebuild->branch_dead);
	free(rebuild->live);
	free(rebuild->used);
	free(rebuild->removed_later);
}

/* With the store's lock held and its superblock read. */
static int make_index(struct rebuild *rebuild, const char *path, char *message, size_t size)
{
	struct bd_store *store = rebuild->store;
	char made[4096], reason[384];
	snprintf(made, sizeof(made), "%s/index.new", path);
	int error = remove_tree(made);
	if (error != 0) {
		snprintf(message, size, "%s: cannot be removed: %s", made, strerror(-error));
		return error;
	}
	const struct bd_index_options options = {.create = true, .cache_bytes = 16 << 20};
	error = bd_index_open(made, &options, &store->index, reason, sizeof(reason));
	if (error != 0) {
		snprintf(message, size, "a new index cannot be made: %s", reason);
		return error;
	}
	rebuild->batch = bd_index_batch_new();
	error = rebuild->batch != NULL ? sorter_init(&rebuild->sorter, path) : -ENOMEM;
	if (error == 0)
		error = bd_extents_init(store);
	if (error == 0)
		error = bd_extents_remove_leftovers(store);
	if (error == 0)
		error = fill_index(rebuild, message, size);
	else
		snprintf(message, size, "the index cannot be made again: %s", strerror(-error));
	rebuild_free(rebuild);
	bd_extents_free(store);
	bd_index_close(store->index);
	if (error == 0) {
		error = swap_in(path);
		if (error != 0)
			snprintf(message, size, "%s cannot take the place of %s/index: %s", made, path, strerror(-error));
	} else if (remove_tree(made) != 0) {
		nf_warn("%s: cannot be removed", made);
	}
	return error;
}

static int take_lock(const char *path, int *ret_fd, char *message, size_t size)
{
	char lock[4096];
	snprintf(lock, sizeof(lock), "%s/lock", path);
	int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		int error = -errno;
		snprintf(message, size, "%s: %s", lock, strerror(-error));
		return error;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		snprintf(message, size, "store is in use by another neonfs process; unmount it there first");
		return -EBUSY;
	}
	*ret_fd = fd;
	return 0;
}

int bd_store_rebuild_io(const char *path, struct nf_io *io, bd_progress_fn progress, void *arg, char *ret_message,
			size_t message_size)
{
	struct bd_store *store = calloc(1, sizeof(*store));
	if (store == NULL)
		return -ENOMEM;
	int lock_fd = -1;
	store->io = io;
	int error = bd_superblock_id(io, &store->store_id, ret_message, message_size);
	if (error == 0)
		error = take_lock(path, &lock_fd, ret_message, message_size);
	if (error == 0) {
		struct rebuild rebuild = {.store = store, .progress = progress, .arg = arg, .sorter = {.fd = -1}};
		error = make_index(&rebuild, path, ret_message, message_size);
		if (error == -ECANCELED)
			snprintf(ret_message, message_size, "canceled; the index is as it was");
		if (error == 0)
			nf_info("index: made again with %llu block versions; the old one is kept as index.old",
				(unsigned long long)rebuild.blocks);
	}
	if (lock_fd >= 0)
		close(lock_fd);
	free(store);
	return error;
}

int bd_store_rebuild(const char *path, bd_progress_fn progress, void *arg, char *ret_message, size_t message_size)
{
	if (access(path, F_OK) != 0) {
		snprintf(ret_message, message_size, "%s: no such store", path);
		return -ENOENT;
	}
	char tier[4096];
	snprintf(tier, sizeof(tier), "%s/" BD_TIER_CONFIG_FILE, path);
	if (access(tier, F_OK) == 0) {
		snprintf(ret_message, message_size,
			 "%s: not all of its extents need be here; neonfs attach makes a store with an index from its object store",
			 path);
		return -EOPNOTSUPP;
	}
	struct nf_io *io;
	int error = nf_io_uring_create(path, &io);
	if (error != 0) {
		snprintf(ret_message, message_size, "%s: %s", path, strerror(-error));
		return error;
	}
	error = bd_store_rebuild_io(path, io, progress, arg, ret_message, message_size);
	nf_io_destroy(io);
	return error;
}
