/* The blocks: every slot that a key refers to is read once, and its bytes are held against the checksum in the key.
 *
 * Who refers to a slot is found through the extent's slot table and the clone rows. References that neither names (they would be
 * lost when the extent is collected) show in the count of references that the walk of the index made; then the index is walked once
 * more to name them. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>

#include "blockdev/scrub/scrub_impl.h"

#define READ_SLOTS 128u
#define GAP_SLOTS 4u   /* unneeded slots that are read along rather than split a read */
#define TABLES 8u      /* slot tables kept while the index is walked again */

/* A key that refers to a slot of the extent at hand. */
struct ref {
	struct bd_block_id id;
	uint32_t slot;
	uint64_t sum;
};

struct extent_walk {
	uint32_t id;
	struct bd_extent *extent;
	struct ref *refs;
	size_t count, capacity;
	uint8_t *buffer; /* READ_SLOTS blocks */
};

static int add_ref(struct extent_walk *walk, const struct bd_block_id *id, uint32_t slot, uint64_t sum)
{
	if (walk->count == walk->capacity) {
		size_t capacity = walk->capacity * 2 + 1024;
		struct ref *refs = realloc(walk->refs, capacity * sizeof(*refs));
		if (refs == NULL)
			return -ENOMEM;
		walk->refs = refs;
		walk->capacity = capacity;
	}
	walk->refs[walk->count++] = (struct ref){.id = *id, .slot = slot, .sum = sum};
	return 0;
}

/* Note the version when the index has it in this slot. */
static int consider(struct scrub *scrub, struct extent_walk *walk, const struct bd_block_id *id, uint32_t slot)
{
	struct bd_place place;
	int error = bd_index_place(scrub->store, id, &place);
	if (error == -ENOENT || error == -EUCLEAN)
		return 0;
	if (error == 0 && place.loc == bd_loc_extent(walk->id, slot))
		error = add_ref(walk, id, slot, place.sum);
	return error;
}

static int consider_clone(struct scrub *scrub, void *arg, const uint8_t *key, size_t key_size, const uint8_t *value,
			  size_t size)
{
	(void)value, (void)size;
	struct bd_block_id id;
	if (key_size < 9)
		return -EUCLEAN;
	struct nf_reader r = nf_reader_init(key + 5, key_size - 5);
	uint32_t slot = nf_read_u32_be(&r);
	int error = bd_key_block_parse(key + 9, key_size - 9, &id);
	if (error == 0 && slot >= BD_EXTENT_SLOTS)
		error = -EUCLEAN;
	return error != 0 ? error : consider(scrub, arg, &id, slot);
}

static int compare_refs(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;
	return (x->slot > y->slot) - (x->slot < y->slot);
}

/* Everyone who refers to the extent, as far as it knows itself. */
static int gather(struct scrub *scrub, struct extent_walk *walk)
{
	struct bd_slot *slots;
	uint32_t bad;
	int error = bd_extent_slots(scrub->store, walk->extent, &slots, &bad);
	if (error == -EIO) {
		scrub->result.bad_keys++;
		scrub_say(scrub, "extent %08x: its slot table cannot be read", walk->id);
		return 0;
	}
	if (error != 0)
		return error;
	if (bad > 0) {
		scrub->result.bad_keys += bad;
		scrub_say(scrub, "extent %08x: %u entries of its slot table are damaged", walk->id, bad);
	}
	for (uint32_t i = 0; i < BD_EXTENT_SLOTS && error == 0; i++) {
		if (slots[i].id.file != 0)
			error = consider(scrub, walk, &slots[i].id, i);
	}
	free(slots);
	struct bd_key from;
	bd_key_u32(&from, 'C', walk->id);
	if (error == 0)
		error = scrub_each(scrub, &from, false, consider_clone, walk);
	if (walk->count > 1)
		qsort(walk->refs, walk->count, sizeof(*walk->refs), compare_refs);
	return error;
}

static int read_slots(struct scrub *scrub, const struct extent_walk *walk, uint32_t slot, unsigned count, void *to)
{
	struct nf_io_op op = bd_extent_read_op(walk->extent, slot, count, to);
	return nf_io_run(scrub->store->io, &op, 1);
}

/* A reference whose bytes did not verify, or could not be read with their neighbours: on its own, and if still so, bad. */
static int check_again(struct scrub *scrub, const struct extent_walk *walk, const struct ref *ref)
{
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	if (block == NULL)
		return -ENOMEM;
	int error = read_slots(scrub, walk, ref->slot, 1, block);
	bool good = error == 0 && XXH3_64bits(block, NF_BLOCK_SIZE) == ref->sum;
	free(block);
	if (good)
		return 0;
	if (error != 0 && error != -EIO && error != -ENODATA)
		return error;
	const char *what = error == 0 ? "checksum mismatch" : error == -EIO ? "read error" : "lost: the file is cut off";
	struct bd_place place = {.loc = bd_loc_extent(walk->id, ref->slot), .sum = ref->sum};
	return scrub_bad_place(scrub, &ref->id, place, what);
}

/* Read [refs[from], refs[to]) in one piece and verify. */
static int check_run(struct scrub *scrub, struct extent_walk *walk, size_t from, size_t to)
{
	uint32_t first = walk->refs[from].slot, count = walk->refs[to - 1].slot - first + 1;
	int read_error = read_slots(scrub, walk, first, count, walk->buffer);
	int error = 0;
	uint64_t sum = 0;
	for (size_t i = from; i < to && error == 0; i++) {
		const struct ref *ref = &walk->refs[i];
		if (i == from || ref->slot != walk->refs[i - 1].slot) {
			if (read_error == 0)
				sum = XXH3_64bits(walk->buffer + (size_t)(ref->slot - first) * NF_BLOCK_SIZE, NF_BLOCK_SIZE);
			scrub->result.blocks_checked++;
			scrub->result.bytes_checked += NF_BLOCK_SIZE;
		}
		if (read_error != 0 || sum != ref->sum)
			error = check_again(scrub, walk, ref);
	}
	return error;
}

/* A live service comes first: after each read leave the disk alone for half as long as it took. */
static void give_way(struct scrub *scrub, const struct timespec *begin)
{
	if (scrub->store->no_background || scrub->store->read_only)
		return;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t took_ns = (now.tv_sec - begin->tv_sec) * INT64_C(1000000000) + now.tv_nsec - begin->tv_nsec;
	struct timespec pause = {.tv_sec = took_ns / 2 / 1000000000, .tv_nsec = took_ns / 2 % 1000000000};
	nanosleep(&pause, NULL);
}

static int check_refs(struct scrub *scrub, struct extent_walk *walk)
{
	int error = 0;
	for (size_t from = 0; from < walk->count && error == 0;) {
		size_t to = from + 1;
		while (to < walk->count && walk->refs[to].slot - walk->refs[to - 1].slot <= GAP_SLOTS &&
		       walk->refs[to].slot - walk->refs[from].slot < READ_SLOTS)
			to++;
		struct timespec begin;
		clock_gettime(CLOCK_MONOTONIC, &begin);
		error = check_run(scrub, walk, from, to);
		give_way(scrub, &begin);
		from = to;
	}
	return error;
}

/* ---- references that the extent does not know of */

struct table_cache {
	uint32_t extents[TABLES]; /* UINT32_MAX: empty */
	struct bd_slot *slots[TABLES];
	unsigned next;
	const bool *suspect; /* by extent id */
};

/* The slots of an extent; NULL when it is gone or unreadable. */
static int cached_slots(struct scrub *scrub, struct table_cache *cache, uint32_t id, const struct bd_slot **ret_slots)
{
	for (unsigned i = 0; i < TABLES; i++) {
		if (cache->extents[i] == id) {
			*ret_slots = cache->slots[i];
			return 0;
		}
	}
	struct bd_extent *extent;
	*ret_slots = NULL;
	int error = bd_extent_get(scrub->store, id, &extent);
	if (error != 0)
		return error == -ESTALE ? 0 : error;
	unsigned at = cache->next++ % TABLES;
	free(cache->slots[at]);
	cache->slots[at] = NULL;
	cache->extents[at] = UINT32_MAX;
	uint32_t bad;
	error = bd_extent_slots(scrub->store, extent, &cache->slots[at], &bad);
	bd_extent_put(scrub->store, extent);
	if (error != 0) {
		cache->slots[at] = NULL;
		return error == -EIO ? 0 : error;
	}
	cache->extents[at] = id;
	*ret_slots = cache->slots[at];
	return 0;
}

static bool same_id(const struct bd_block_id *a, const struct bd_block_id *b)
{
	return a->branch == b->branch && a->file == b->file && a->block == b->block && a->epoch == b->epoch;
}

static int is_named(struct scrub *scrub, struct table_cache *cache, const struct bd_block_id *id, uint64_t loc)
{
	uint32_t slot = bd_loc_slot(loc);
	const struct bd_slot *slots;
	int error = cached_slots(scrub, cache, bd_loc_extent_id(loc), &slots);
	if (error != 0)
		return error;
	if (slots != NULL && slot < BD_EXTENT_SLOTS && same_id(&slots[slot].id, id))
		return 1;
	struct bd_key key;
	uint8_t value[64];
	size_t size;
	bd_key_clone(&key, bd_loc_extent_id(loc), slot, id);
	error = bd_index_get(scrub->store->index, &key, value, sizeof(value), &size);
	return error == 0 ? 1 : error == -ENOENT ? 0 : error;
}

static int find_unnamed(struct scrub *scrub, void *arg, const uint8_t *key, size_t key_size, const uint8_t *value,
			size_t size)
{
	struct table_cache *cache = arg;
	struct nf_reader r = nf_reader_init(value, size);
	struct bd_place place = {.loc = nf_read_u64(&r), .sum = nf_read_u64(&r)};
	struct bd_block_id id;
	int error = r.failed ? -EUCLEAN : bd_key_block_parse(key, key_size, &id);
	if (error != 0 || !bd_loc_is_extent(place.loc))
		return error;
	uint32_t extent = bd_loc_extent_id(place.loc);
	if (extent >= scrub->extents || !cache->suspect[extent])
		return 0;
	int named = is_named(scrub, cache, &id, place.loc);
	if (named != 0)
		return named < 0 ? named : 0;
	/* The table kept may be older than the key. */
	for (unsigned i = 0; i < TABLES; i++) {
		if (cache->extents[i] == extent)
			cache->extents[i] = UINT32_MAX;
	}
	named = is_named(scrub, cache, &id, place.loc);
	int still = named == 0 ? scrub_is_at(scrub, &id, place) : 0;
	if (named < 0 || still < 0)
		return named < 0 ? named : still;
	if (named == 1 || still == 0)
		return 0;
	scrub->result.bad_keys++;
	scrub_say(scrub, "extent %08x slot %u: file %llu block %u of branch #%u lies there, but its slot table does not say so",
		  extent, bd_loc_slot(place.loc), (unsigned long long)id.file, id.block, id.branch);
	uint8_t *block = nf_io_buffer(NF_BLOCK_SIZE);
	error = block != NULL ? bd_place_read(scrub->store, place, block) : -ENOMEM;
	free(block);
	scrub->result.blocks_checked++;
	scrub->result.bytes_checked += NF_BLOCK_SIZE;
	if (error == -EUCLEAN || error == -EIO)
		return scrub_bad_place(scrub, &id, place, "checksum mismatch or read error");
	return error == -ESTALE ? 0 : error;
}

static int name_unnamed(struct scrub *scrub, const bool *suspect)
{
	struct table_cache cache = {.suspect = suspect};
	for (unsigned i = 0; i < TABLES; i++)
		cache.extents[i] = UINT32_MAX;
	struct bd_key from = {.bytes = {'B'}, .size = 1};
	int error = scrub_each(scrub, &from, false, find_unnamed, &cache);
	for (unsigned i = 0; i < TABLES; i++)
		free(cache.slots[i]);
	return error;
}

/* One extent. *ret_suspect: more keys refer to it than it knows of. */
static int check_extent(struct scrub *scrub, struct extent_walk *walk, bool *ret_suspect)
{
	int error = bd_extent_get(scrub->store, walk->id, &walk->extent);
	if (error != 0)
		return error == -ESTALE ? 0 : error;
	walk->count = 0;
	error = gather(scrub, walk);
	if (error == 0)
		error = check_refs(scrub, walk);
	*ret_suspect = walk->id < scrub->extents && walk->count < scrub->refs[walk->id];
	bd_extent_put(scrub->store, walk->extent);
	return error;
}

int scrub_data(struct scrub *scrub)
{
	struct bd_extent_stat *stats = NULL;
	size_t count = 0;
	struct extent_walk walk = {.buffer = nf_io_buffer((size_t)READ_SLOTS * NF_BLOCK_SIZE)};
	bool *suspect = calloc((size_t)scrub->extents + 1, sizeof(*suspect)), any = false;
	int error = walk.buffer != NULL && suspect != NULL ? 0 : -ENOMEM;
	if (error == 0)
		error = bd_extents_list(scrub->store, &stats, &count);
	for (size_t i = 0; i < count && error == 0; i++) {
		bool is_suspect = false;
		error = scrub_progress(scrub, "data", i, count);
		walk.id = stats[i].id;
		if (error == 0)
			error = check_extent(scrub, &walk, &is_suspect);
		if (is_suspect)
			suspect[walk.id] = any = true;
	}
	if (error == 0)
		error = scrub_progress(scrub, "data", count, count);
	if (error == 0 && any)
		error = name_unnamed(scrub, suspect);
	free(stats);
	free(suspect);
	free(walk.refs);
	free(walk.buffer);
	return error;
}
