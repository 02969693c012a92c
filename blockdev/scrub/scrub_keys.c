/* The records of the index: their checks, and that what they refer to is there. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "blockdev/scrub/scrub_impl.h"
#include "blockdev/tier/rows.h"
#include "blockdev/tier/tier.h"

/* After so many records the iterator is made anew, so that it does not hold old index files back. */
#define CHUNK 65536u
#define PROGRESS_RECORDS 4096u

static const char kinds[] = "RSLMETOVICXDB";

static void bad_key(struct scrub *scrub, const uint8_t *key, size_t key_size, const char *what)
{
	char text[2 * BD_KEY_BLOCK_SIZE + 1];
	size_t n = NF_MIN(key_size, (size_t)BD_KEY_BLOCK_SIZE);
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	text[2 * n] = '\0';
	scrub->result.bad_keys++;
	scrub_say(scrub, "index: record of kind '%c' (key %s%s): %s", key[0], text, n < key_size ? "..." : "", what);
}

/* Records from iter's position on, at most a chunk. Returns 1 and the key to go on behind, 0 at the end, or an error. */
static int walk_chunk(struct scrub *scrub, struct bd_index_iter *iter, bool count, scrub_record_fn each, void *arg,
		      struct bd_key *next)
{
	for (unsigned n = 0; bd_index_iter_valid(iter); bd_index_iter_next(iter), n++) {
		size_t key_size, raw_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &raw_size);
		if (n >= CHUNK && key_size <= BD_KEY_MAX) {
			memcpy(next->bytes, key, key_size);
			next->size = (uint16_t)key_size;
			return 1;
		}
		if (count && scrub->result.index_keys_checked++ % PROGRESS_RECORDS == 0) {
			int error = scrub_progress(scrub, "index", scrub->result.index_keys_checked, 0);
			if (error != 0)
				return error;
		}
		int error = bd_value_check(key, key_size, value, raw_size, &size);
		if (error == 0)
			error = each(scrub, arg, key, key_size, value, size);
		if (error == -EUCLEAN) {
			if (count)
				bad_key(scrub, key, key_size, "damaged");
			error = 0;
		}
		if (error != 0)
			return error;
	}
	if (bd_index_iter_status(iter) != 0 && count) {
		scrub->result.bad_keys++;
		scrub_say(scrub, "index: a file of it is damaged: records of kind '%c' cannot all be read; "
			  "run neonfs scrub --rebuild", next->bytes[0]);
	}
	return 0;
}

int scrub_each(struct scrub *scrub, const struct bd_key *from, bool count, scrub_record_fn each, void *arg)
{
	struct bd_key at = *from;
	struct bd_index_iter *iter = bd_index_iter_new(scrub->store->index);
	int result = iter != NULL ? 1 : -ENOMEM;
	while (result == 1) {
		bd_index_iter_seek(iter, &at, from->size);
		result = walk_chunk(scrub, iter, count, each, arg, &at);
	}
	bd_index_iter_free(iter);
	return result;
}

static int key_exists(struct scrub *scrub, const struct bd_key *key)
{
	uint8_t value[256];
	size_t size;
	int error = bd_index_get(scrub->store->index, key, value, sizeof(value), &size);
	return error == 0 || error == -ERANGE ? 1 : error == -ENOENT ? 0 : error;
}

/* ---- branches, and whether a file is there */

/* Make `id` the branch that scrub->branch and pins are of. NULL there when the store knows no such branch. */
static int use_branch(struct scrub *scrub, uint32_t id)
{
	struct bd_store *store = scrub->store;
	if (scrub->branch_id == id && id != 0)
		return 0;
	scrub_forget_branch(scrub);
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch *branch = id < store->branch_slots ? store->branches[id] : NULL;
	if (branch != NULL)
		atomic_fetch_add(&branch->refs, 1);
	pthread_rwlock_unlock(&store->table_lock);
	int error = 0;
	if (branch != NULL) {
		pthread_rwlock_rdlock(&store->table_lock);
		bool stands = bd_branch_stands(branch);
		error = bd_branch_pins(store, branch, &scrub->pins, &scrub->pin_count);
		pthread_rwlock_unlock(&store->table_lock);
		struct bd_key key;
		bd_key_u32(&key, 'V', id);
		int sweeps = error == 0 ? key_exists(scrub, &key) : 0;
		if (sweeps < 0)
			error = sweeps;
		scrub->branch_sweeps = !stands || sweeps == 1;
	}
	scrub->branch = branch;
	scrub->branch_id = id;
	return error;
}

/* Is the file there at a pin of scrub->branch? 1, 0 or an error. */
static int file_at(struct scrub *scrub, uint32_t epoch, uint64_t file)
{
	uint8_t value[8192];
	size_t size;
	struct bd_hops hops = {.branch = scrub->branch, .view_epoch = epoch};
	int error = bd_chain_get(scrub->store, hops, 'I', file, NULL, value, sizeof(value), &size);
	if (error == -EUCLEAN)
		return 1; /* there, and counted as damaged elsewhere */
	return error == 0 ? size > 0 : error == -ENOENT ? 0 : error;
}

static int file_at_any_pin(struct scrub *scrub, uint64_t file)
{
	for (size_t i = scrub->pin_count; i > 0; i--) {
		int there = file_at(scrub, scrub->pins[i - 1], file);
		if (there != 0)
			return there;
	}
	return 0;
}

/* May (branch, file) own data: is it there, open, or about to be purged? */
static int file_is_known(struct scrub *scrub, uint32_t branch, uint64_t file)
{
	int error = use_branch(scrub, branch);
	if (error != 0)
		return error;
	if (scrub->branch == NULL)
		return 0;
	if (scrub->branch_sweeps)
		return 1;
	struct bd_key orphan;
	bd_key_file_prefix(&orphan, 'O', branch, file);
	int known = file_at_any_pin(scrub, file);
	if (known == 0)
		known = key_exists(scrub, &orphan);
	if (known == 0) {
		struct bd_inode *inode = bd_inode_find(scrub->store, branch, UINT32_MAX, file);
		known = inode != NULL;
		bd_inode_unref(inode, known == 1);
	}
	return known;
}

/* ---- one function a kind */

static int check_branch(struct scrub *scrub, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct nf_reader r = nf_reader_init(value, size);
	uint32_t parent = nf_read_u32(&r);
	struct bd_key parent_key;
	bd_key_u32(&parent_key, 'R', parent);
	int there = parent == 0 ? 1 : key_exists(scrub, &parent_key);
	if (r.failed)
		return -EUCLEAN;
	if (there == 0) {
		struct bd_key own = {.size = (uint16_t)key_size};
		memcpy(own.bytes, key, key_size);
		if (key_exists(scrub, &own) == 1)
			bad_key(scrub, key, key_size, "the branch's parent is missing");
	}
	return there < 0 ? there : 0;
}

/* A layer lies on a frozen epoch of a branch that is there. */
static int check_layer(struct scrub *scrub, const uint8_t *key, size_t key_size, size_t size)
{
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t id = nf_read_u32_be(&r), epoch = nf_read_u32_be(&r);
	if (r.failed || nf_reader_left(&r) != 0 || size > BD_LAYER_FACTS_MAX)
		return -EUCLEAN;
	struct bd_store *store = scrub->store;
	struct bd_key own;
	bd_key_u32_u32(&own, 'L', id, epoch);
	pthread_rwlock_rdlock(&store->table_lock);
	const struct bd_branch *branch = id < store->branch_slots ? store->branches[id] : NULL;
	bool is_frozen = branch != NULL && epoch < branch->epoch;
	pthread_rwlock_unlock(&store->table_lock);
	if (!is_frozen && key_exists(scrub, &own) == 1)
		bad_key(scrub, key, key_size, "a redo layer on an epoch that is not there");
	return 0;
}

static int check_extent(struct scrub *scrub, const uint8_t *key, size_t key_size)
{
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t id = nf_read_u32_be(&r);
	if (r.failed)
		return -EUCLEAN;
	struct bd_key own;
	bd_key_u32(&own, 'E', id);
	/* A young extent is recorded a moment before it can be used. */
	const struct timespec moment = {.tv_nsec = 10000000};
	for (unsigned attempt = 0; attempt < 100 && !bd_extent_exists(scrub->store, id); attempt++) {
		int there = key_exists(scrub, &own);
		if (there != 1)
			return there;
		nanosleep(&moment, NULL);
	}
	if (!bd_extent_exists(scrub->store, id))
		bad_key(scrub, key, key_size, "the extent's file is missing");
	return 0;
}

/* An extent in the object store has a record of its own, or is doomed. */
static int check_packed(struct scrub *scrub, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct nf_reader k = nf_reader_init(key + 1, key_size - 1);
	uint32_t id = nf_read_u32_be(&k);
	bool doomed;
	int error = k.failed || nf_reader_left(&k) != 0 ? -EUCLEAN : bd_rows_check(id, value, size, &doomed);
	if (error != 0 || doomed)
		return error;
	struct bd_key extent;
	bd_key_u32(&extent, 'E', id);
	int there = key_exists(scrub, &extent);
	/* Removed since the walk began? Then it is doomed by now. */
	if (there == 0 && scrub->store->tier != NULL && bd_rows_find(scrub->store->tier->rows, id, NULL, NULL) &&
	    key_exists(scrub, &extent) == 0)
		bad_key(scrub, key, key_size, "an object of an extent that is not there");
	return there < 0 ? there : 0;
}

/* Walking directory entries: versions of one name come newest first. */
struct entry_walk {
	uint8_t last[BD_KEY_MAX];
	size_t last_size;
	uint64_t newer; /* epoch of the next newer version; UINT64_MAX: none */
};

/* Does the entry still name `file` at a pin, and is the file not there? 1 is bad. */
static int entry_dangles(struct scrub *scrub, uint32_t pin, uint64_t dir, const char *name, uint64_t file)
{
	for (unsigned attempt = 0; attempt < 3; attempt++) {
		int there = file_at(scrub, pin, file);
		if (there != 0)
			return there < 0 ? there : 0;
		/* Of a directory that is not there either, whiteouts may have been swept. */
		there = file_at(scrub, pin, dir);
		if (there != 1)
			return there;
		/* Unlinked since the walk began? */
		uint8_t value[16];
		size_t size;
		struct bd_hops hops = {.branch = scrub->branch, .view_epoch = pin};
		int error = bd_chain_get(scrub->store, hops, 'D', dir, name, value, sizeof(value), &size);
		if (error == -ENOENT || error == -EUCLEAN)
			return 0;
		if (error != 0)
			return error;
		struct nf_reader r = nf_reader_init(value, size);
		if (nf_read_u64(&r) != file)
			return 0;
	}
	return 1;
}

static int check_entry(struct scrub *scrub, struct entry_walk *walk, const uint8_t *key, size_t key_size,
		       const uint8_t *value, size_t size)
{
	struct nf_reader k = nf_reader_init(key + 1, key_size - 1), v = nf_reader_init(value, size);
	uint32_t branch = nf_read_u32_be(&k);
	uint64_t dir = nf_read_u64_be(&k), file = nf_read_u64(&v);
	if (k.failed || v.failed || nf_reader_left(&k) < 6 || key[key_size - 5] != '\0')
		return -EUCLEAN;
	uint32_t epoch = bd_key_epoch(key, key_size);
	if (key_size - 4 != walk->last_size || memcmp(key, walk->last, walk->last_size) != 0) {
		walk->last_size = key_size - 4;
		memcpy(walk->last, key, walk->last_size);
		walk->newer = UINT64_MAX;
	}
	uint64_t newer = walk->newer;
	walk->newer = epoch;
	int error = use_branch(scrub, branch);
	if (error != 0 || file == 0 || scrub->branch == NULL || scrub->branch_sweeps)
		return error;
	const char *name = (const char *)key + 13;
	/* The first and the last pin that see this version. */
	size_t first = 0, last = scrub->pin_count;
	while (first < last && scrub->pins[first] < epoch)
		first++;
	while (last > first && scrub->pins[last - 1] >= newer)
		last--;
	int dangles = 0;
	if (first < last)
		dangles = entry_dangles(scrub, scrub->pins[first], dir, name, file);
	if (dangles == 0 && last > first + 1)
		dangles = entry_dangles(scrub, scrub->pins[last - 1], dir, name, file);
	if (dangles == 1) {
		scrub->result.bad_keys++;
		scrub_say(scrub, "branch %s: entry \"%s\" of directory %llu names file %llu, which has no inode record",
			  scrub->branch->name, name, (unsigned long long)dir, (unsigned long long)file);
	}
	return dangles < 0 ? dangles : 0;
}

/* A block in the log: read here, there are few. */
static int check_log_block(struct scrub *scrub, const struct bd_block_id *id, struct bd_place place, void *buffer)
{
	int error = bd_place_read(scrub->store, place, buffer);
	scrub->result.blocks_checked++;
	scrub->result.bytes_checked += NF_BLOCK_SIZE;
	if (error == -EUCLEAN || error == -EIO)
		return scrub_bad_place(scrub, id, place, error == -EIO ? "read error" : "checksum mismatch");
	if (error == -ESTALE)
		return scrub_bad_place(scrub, id, place, "lost: its place was given up");
	return error;
}

struct block_walk {
	uint32_t branch;
	uint64_t file; /* the last one looked for; 0 none */
	bool known;
	void *buffer;
};

static int check_owner(struct scrub *scrub, struct block_walk *walk, const struct bd_block_id *id, struct bd_place place)
{
	if (walk->file != id->file || walk->branch != id->branch) {
		int known = file_is_known(scrub, id->branch, id->file);
		if (known < 0)
			return known;
		walk->file = id->file;
		walk->branch = id->branch;
		walk->known = known;
		if (known == 0 && scrub_is_at(scrub, id, place) == 1)
			scrub_say(scrub, "branch #%u file %llu: blocks without an inode record", id->branch,
				  (unsigned long long)id->file);
	}
	if (!walk->known) {
		int still = scrub_is_at(scrub, id, place);
		if (still < 0)
			return still;
		scrub->result.orphan_keys += (uint64_t)still;
	}
	return 0;
}

static int check_block(struct scrub *scrub, struct block_walk *walk, const uint8_t *key, size_t key_size,
		       const uint8_t *value, size_t size)
{
	struct nf_reader r = nf_reader_init(value, size);
	struct bd_place place = {.loc = nf_read_u64(&r), .sum = nf_read_u64(&r)};
	struct bd_block_id id;
	int error = r.failed ? -EUCLEAN : bd_key_block_parse(key, key_size, &id);
	if (error == 0)
		error = check_owner(scrub, walk, &id, place);
	if (error != 0 || place.loc == BD_LOC_HOLE)
		return error;
	if (bd_loc_is_log(place.loc))
		return check_log_block(scrub, &id, place, walk->buffer);
	if (!bd_loc_is_extent(place.loc))
		return -EUCLEAN;
	uint32_t extent = bd_loc_extent_id(place.loc);
	if (!bd_extent_exists(scrub->store, extent))
		return scrub_bad_place(scrub, &id, place, "lost: there is no such extent; it was");
	if (extent < scrub->extents)
		scrub->refs[extent]++;
	return 0;
}

struct key_walk {
	struct entry_walk entries;
	struct block_walk blocks;
};

static int check_record(struct scrub *scrub, void *arg, const uint8_t *key, size_t key_size, const uint8_t *value,
			size_t size)
{
	struct key_walk *walk = arg;
	struct bd_block_id id;
	switch (key[0]) {
	case 'B':
		return check_block(scrub, &walk->blocks, key, key_size, value, size);
	case 'C':
		return key_size < 9 ? -EUCLEAN : bd_key_block_parse(key + 9, key_size - 9, &id);
	case 'D':
		return check_entry(scrub, &walk->entries, key, key_size, value, size);
	case 'E':
		return check_extent(scrub, key, key_size);
	case 'L':
		return check_layer(scrub, key, key_size, size);
	case 'T':
		return check_packed(scrub, key, key_size, value, size);
	case 'R':
		return check_branch(scrub, key, key_size, value, size);
	default:
		return 0;
	}
}

int scrub_keys(struct scrub *scrub)
{
	struct key_walk *walk = calloc(1, sizeof(*walk));
	int error = -ENOMEM;
	if (walk != NULL) {
		walk->blocks.buffer = nf_io_buffer(NF_BLOCK_SIZE);
		error = walk->blocks.buffer != NULL ? 0 : -ENOMEM;
		for (const char *kind = kinds; error == 0 && *kind != '\0'; kind++) {
			struct bd_key from = {.bytes = {(uint8_t)*kind}, .size = 1};
			error = scrub_each(scrub, &from, true, check_record, walk);
		}
		free(walk->blocks.buffer);
	}
	free(walk);
	return error;
}
