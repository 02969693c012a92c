/* Block versions: who names a slot, which of those is the newest, and the records that follow from it. */
#include <stdlib.h>

#include "blockdev/scrub/rebuild_impl.h"
#include "common/nf_log.h"

/* ---- candidates */

static int take_slots(struct rebuild *rebuild, uint32_t id)
{
	struct bd_extent *extent;
	struct bd_slot *slots;
	uint32_t bad;
	int error = bd_extent_get(rebuild->store, id, &extent);
	if (error != 0)
		return error;
	error = bd_extent_slots(rebuild->store, extent, &slots, &bad);
	bd_extent_put(rebuild->store, extent);
	if (error != 0) {
		nf_error("extent %08x: its slot table cannot be read: %s", id, strerror(-error));
		return error;
	}
	if (bad > 0) {
		nf_error("extent %08x: %u entries of its slot table are damaged; those blocks are lost or show an older version",
			 id, bad);
		rebuild->bad_slots += bad;
	}
	for (uint32_t i = 0; i < BD_EXTENT_SLOTS && error == 0; i++) {
		if (slots[i].id.file == 0)
			continue;
		rebuild->used[id] = i + 1;
		error = sorter_add(&rebuild->sorter, &slots[i].id, slots[i].age, bd_loc_extent(id, i), slots[i].sum);
	}
	free(slots);
	return error;
}

/* Walking clone rows: they come extent by extent. */
struct clones {
	struct rebuild *rebuild;
	struct bd_slot *slots; /* of `extent` */
	uint32_t extent;
};

static int load_slots(struct clones *clones, uint32_t id)
{
	struct bd_extent *extent;
	uint32_t bad;
	if (clones->slots != NULL && clones->extent == id)
		return 0;
	free(clones->slots);
	clones->slots = NULL;
	int error = bd_extent_get(clones->rebuild->store, id, &extent);
	if (error != 0)
		return error;
	error = bd_extent_slots(clones->rebuild->store, extent, &clones->slots, &bad);
	bd_extent_put(clones->rebuild->store, extent);
	if (error != 0)
		clones->slots = NULL;
	clones->extent = id;
	return error;
}

static int take_clone(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size)
{
	struct clones *clones = arg;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t extent = nf_read_u32_be(&r), slot = nf_read_u32_be(&r);
	struct bd_block_id id;
	struct bd_age age;
	size_t plain;
	int error = r.failed || slot >= BD_EXTENT_SLOTS ? -EUCLEAN : bd_key_block_parse(key + 9, key_size - 9, &id);
	if (error == 0)
		error = bd_value_check(key, key_size, value, value_size, &plain);
	if (error == 0)
		error = bd_value_age_parse(value, plain, &age);
	if (error != 0)
		return error;
	error = load_slots(clones, extent);
	if (error == -ESTALE) /* the extent is gone */
		return rebuild_delete(clones->rebuild, key, key_size);
	if (error != 0 || clones->slots[slot].id.file == 0)
		return error; /* not described yet: the log does it */
	return sorter_add(&clones->rebuild->sorter, &id, age, bd_loc_extent(extent, slot), clones->slots[slot].sum);
}

static int take_clones(struct rebuild *rebuild)
{
	struct clones clones = {.rebuild = rebuild};
	int error = bd_index_each_kind(rebuild->store->index, 'C', take_clone, &clones);
	free(clones.slots);
	return error;
}

/* ---- records */

static int is_living(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	(void)arg, (void)key, (void)key_size, (void)value;
	return size > BD_VALUE_CHECK;
}

/* Has the branch itself a living record of the file, at any epoch? */
static int has_inode(struct rebuild *rebuild, uint32_t branch, uint64_t file)
{
	struct bd_key prefix;
	bd_key_file_prefix(&prefix, 'I', branch, file);
	return bd_index_each(rebuild->store->index, &prefix, is_living, NULL);
}

/* Has it lost its last name there, or never had one? Somebody may have it open, and the log may go on to give it a name. */
static int is_orphan(struct rebuild *rebuild, uint32_t branch, uint64_t file)
{
	struct bd_key key;
	uint8_t value[BD_VALUE_CHECK];
	size_t size;
	bd_key_file_prefix(&key, 'O', branch, file);
	int error = bd_index_get(rebuild->store->index, &key, value, sizeof(value), &size);
	return error == -ENOENT ? 0 : error != 0 ? error : 1;
}

/* May versions of the file in this branch still be seen? What is kept too much the sweep drops. */
static int find_file(struct rebuild *rebuild, uint32_t branch, uint64_t file)
{
	if (rebuild->file == file && rebuild->file_branch == branch)
		return 0;
	int known = 0;
	uint32_t at = branch;
	if (at < rebuild->branch_slots && rebuild->branch_there[at] && !rebuild->branch_dead[at]) {
		known = is_orphan(rebuild, branch, file);
		/* Parents have lower ids. */
		while (known == 0 && at != 0) {
			known = has_inode(rebuild, at, file);
			uint32_t parent = rebuild->parents[at];
			at = parent < at ? parent : 0;
		}
	}
	rebuild->file = file;
	rebuild->file_branch = branch;
	rebuild->file_known = known == 1;
	return known < 0 ? known : 0;
}

static int put_block(struct rebuild *rebuild, const struct candidate *candidate)
{
	struct bd_key key = {.bytes = {'B'}, .size = BD_KEY_BLOCK_SIZE};
	memcpy(key.bytes + 1, candidate->key, sizeof(candidate->key));
	struct bd_block_id id;
	int error = bd_key_block_parse(key.bytes, key.size, &id);
	if (error == 0)
		error = find_file(rebuild, id.branch, id.file);
	if (error != 0 || !rebuild->file_known)
		return error;
	uint8_t value[BD_PLACE_VALUE_SIZE];
	struct nf_writer w = nf_writer_init(value, sizeof(value));
	nf_write_u64(&w, candidate->loc);
	nf_write_u64(&w, candidate->sum);
	if (bd_loc_is_extent(candidate->loc) && bd_loc_extent_id(candidate->loc) < rebuild->extent_slots)
		rebuild->live[bd_loc_extent_id(candidate->loc)]++;
	if (++rebuild->blocks % 65536 == 0)
		error = rebuild_progress(rebuild, "blocks", rebuild->blocks, 0);
	return error != 0 ? error : rebuild_put(rebuild, &key, value, w.offset);
}

/* Candidates in order: of each key the newest counts. What the ring says comes first; when it says that the version has left it, what it
 * said before counts no more either. */
static int choose(void *arg, const struct candidate *candidate)
{
	struct rebuild *rebuild = arg;
	if (!rebuild->any_key || memcmp(rebuild->key, candidate->key, sizeof(rebuild->key)) != 0) {
		memcpy(rebuild->key, candidate->key, sizeof(rebuild->key));
		rebuild->any_key = true;
		rebuild->key_done = rebuild->key_elsewhere = false;
	}
	if (rebuild->key_done || (rebuild->key_elsewhere && candidate->sequence >= REBUILD_LOG_SEQUENCE))
		return 0;
	if (candidate->loc == REBUILD_LOC_ELSEWHERE) {
		rebuild->key_elsewhere = true;
		return 0;
	}
	rebuild->key_done = true;
	return put_block(rebuild, candidate);
}

static int put_extents(struct rebuild *rebuild)
{
	int error = 0;
	for (uint32_t id = 0; id < rebuild->extent_slots && error == 0; id++) {
		if (!bd_extent_exists(rebuild->store, id))
			continue;
		struct bd_key key;
		uint8_t value[16];
		struct nf_writer w = nf_writer_init(value, sizeof(value));
		nf_write_u8(&w, 1); /* sealed */
		nf_write_u32(&w, rebuild->used[id]);
		nf_write_u32(&w, rebuild->live[id]);
		bd_key_u32(&key, 'E', id);
		error = rebuild_put(rebuild, &key, value, w.offset);
	}
	return error;
}

int rebuild_blocks(struct rebuild *rebuild)
{
	int error = 0;
	for (uint32_t id = 0; id < rebuild->extent_slots && error == 0; id++) {
		if (id % 16 == 0)
			error = rebuild_progress(rebuild, "extents", id, rebuild->extent_slots);
		if (error == 0 && bd_extent_exists(rebuild->store, id))
			error = take_slots(rebuild, id);
	}
	if (error == 0)
		error = take_clones(rebuild);
	if (error == 0)
		error = rebuild_settle(rebuild, true);
	if (error == 0)
		error = sorter_each(&rebuild->sorter, choose, rebuild);
	return error != 0 ? error : put_extents(rebuild);
}
