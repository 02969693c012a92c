/* Extents of a store that is attached: from parts, from blocks of pieces, or whole; and none for those that stay in the object store.
 *
 * A part is what a manifest knew of an extent; blocks of pieces were written behind or into it later, so parts come first. Whether an extent was
 * removed, or went to the object store after all, is known only when the log was read: attach_settle_extents puts that right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/tier/attach_impl.h"

#define GROW_SLOTS 512u /* files grow by 4 MiB */
#define PATH_SIZE 32

static void extent_path(uint32_t id, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "extents/%08x", id);
}

/* The place of extent `id` in the list. */
static size_t place_of(const struct attach *attach, uint32_t id)
{
	size_t low = 0, high = attach->extent_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (attach->extents[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct attach_extent *attach_extent(struct attach *attach, uint32_t id)
{
	size_t at = place_of(attach, id);
	if (at < attach->extent_count && attach->extents[at].id == id)
		return &attach->extents[at];
	if (attach->extent_count == attach->extent_capacity) {
		size_t capacity = attach->extent_capacity * 2 + 64;
		struct attach_extent *extents = realloc(attach->extents, capacity * sizeof(*extents));
		if (extents == NULL)
			return NULL;
		attach->extents = extents;
		attach->extent_capacity = capacity;
	}
	memmove(&attach->extents[at + 1], &attach->extents[at], (attach->extent_count - at) * sizeof(*attach->extents));
	attach->extents[at] = (struct attach_extent){.id = id};
	attach->extent_count++;
	return &attach->extents[at];
}

void attach_close_file(struct attach *attach)
{
	nf_io_close(attach->open_file);
	attach->open_file = NULL;
}

static int fail_file(struct attach *attach, int error, uint32_t id)
{
	return attach_fail(attach, error, "%s/extents/%08x cannot be written: %s", attach->path, id, strerror(-error));
}

static int open_file(struct attach *attach, uint32_t id, unsigned flags)
{
	char path[PATH_SIZE];
	if (attach->open_file != NULL && attach->open_id == id && flags == 0)
		return 0;
	attach_close_file(attach);
	extent_path(id, path);
	attach->open_id = id;
	int error = nf_io_open(attach->io, path, flags, &attach->open_file);
	return error != 0 ? fail_file(attach, error, id) : 0;
}

/* Disk for slots up to `slots`; what was not written reads as zeros. */
static int grow(struct attach *attach, struct attach_extent *extent, uint32_t slots, uint32_t unit)
{
	uint32_t target = (uint32_t)NF_MIN(nf_round_up(slots, unit), BD_EXTENT_SLOTS);
	if (target <= extent->slots && extent->has_file)
		return 0;
	int error = nf_io_allocate(attach->open_file, 0, BD_EXTENT_DATA_OFFSET + (uint64_t)target * NF_BLOCK_SIZE);
	if (error != 0)
		return fail_file(attach, error, extent->id);
	extent->slots = target;
	return 0;
}

/* A file with a header, an empty table and room for `slots`. */
static int make_file(struct attach *attach, struct attach_extent *extent, uint32_t slots)
{
	int error = open_file(attach, extent->id, NF_OPEN_CREATE);
	if (error == 0)
		error = grow(attach, extent, NF_MAX(slots, 1u), GROW_SLOTS);
	if (error != 0)
		return error;
	extent->has_file = true;
	bd_extent_header(attach->manifest.store_id, extent->id, attach->aligned);
	error = nf_io_run_one(attach->io, NF_IO_WRITE, attach->open_file, 0, attach->aligned, NF_IO_ALIGN);
	return error != 0 ? fail_file(attach, error, extent->id) : 0;
}

/* A file of which everything is in a packed object. */
static int unpack(struct attach *attach, struct attach_extent *extent, const struct bd_pack_map *map, const uint8_t *object, const char *key)
{
	int error = open_file(attach, extent->id, NF_OPEN_CREATE);
	if (error == 0)
		error = grow(attach, extent, map->used, 1);
	extent->has_file = true;
	for (uint32_t i = 0; i < map->groups && error == 0; i++) {
		uint64_t offset, size;
		bd_pack_group_range(map->used, i, &offset, &size);
		error = bd_pack_read_group(map, i, object + map->group[i].offset, attach->aligned);
		if (error != 0)
			return attach_fail(attach, error, "object %s is damaged: its group %u does not match its checksum", key, i);
		error = nf_io_run_one(attach->io, NF_IO_WRITE, attach->open_file, offset, attach->aligned, size);
		if (error != 0)
			return fail_file(attach, error, extent->id);
	}
	return error;
}

/* ---- parts */

struct parts {
	struct attach *attach;
	uint32_t next;
};

static int next_part(void *arg, struct bd_want *ret_want)
{
	struct parts *parts = arg;
	const struct bd_manifest *manifest = &parts->attach->manifest;
	if (parts->next == manifest->part_count)
		return 1;
	const struct bd_manifest_part *part = &manifest->parts[parts->next];
	*ret_want = (struct bd_want){.size = part->size, .object_size = part->size, .tag = parts->next++};
	bd_manifest_part_key(manifest->generation, manifest->number, part->extent, ret_want->key);
	return 0;
}

static int got_part(void *arg, const struct bd_want *want, const uint8_t *bytes)
{
	struct attach *attach = ((struct parts *)arg)->attach;
	const struct bd_manifest_part *part = &attach->manifest.parts[want->tag];
	struct bd_pack_map *map;
	size_t need;
	int error = bd_pack_read_map(bytes, want->size, want->size, attach->manifest.store_id, part->extent, &need, &map);
	if (error == 0 && map->used != part->used) {
		free(map);
		error = -EUCLEAN;
	}
	if (error != 0)
		return error == -ENOMEM ? error : attach_fail(attach, -EUCLEAN, "object %s is damaged: its table makes no sense", want->key);
	struct attach_extent *extent = attach_extent(attach, part->extent);
	error = extent != NULL ? unpack(attach, extent, map, bytes, want->key) : -ENOMEM;
	if (error == 0) {
		extent->has_part = true;
		extent->used = NF_MAX(extent->used, part->used);
	}
	free(map);
	return error;
}

int attach_parts(struct attach *attach)
{
	struct parts parts = {.attach = attach};
	return attach_fetch(attach, "extents", next_part, got_part, &parts);
}

/* ---- blocks of pieces */

static int write_blocks(struct attach *attach, uint32_t slot, uint32_t count, const uint8_t *blocks)
{
	const uint32_t at_once = ATTACH_ALIGNED_BYTES / NF_BLOCK_SIZE;
	for (uint32_t done = 0; done < count;) {
		uint32_t n = NF_MIN(count - done, at_once);
		memcpy(attach->aligned, blocks + (size_t)done * NF_BLOCK_SIZE, (size_t)n * NF_BLOCK_SIZE);
		int error = nf_io_run_one(attach->io, NF_IO_WRITE, attach->open_file,
					  BD_EXTENT_DATA_OFFSET + (uint64_t)(slot + done) * NF_BLOCK_SIZE, attach->aligned,
					  (size_t)n * NF_BLOCK_SIZE);
		if (error != 0)
			return fail_file(attach, error, attach->open_id);
		done += n;
	}
	return 0;
}

int attach_blocks(struct attach *attach, uint32_t id, uint32_t slot, uint32_t count, const uint8_t *blocks)
{
	/* By the manifest's time it was in the object store, and stays there. */
	if (bd_rows_find(attach->before, id, NULL, NULL))
		return 0;
	struct attach_extent *extent = attach_extent(attach, id);
	if (extent == NULL)
		return -ENOMEM;
	int error = extent->has_file ? open_file(attach, id, 0) : make_file(attach, extent, slot + count);
	if (error == 0)
		error = grow(attach, extent, slot + count, GROW_SLOTS);
	return error == 0 ? write_blocks(attach, slot, count, blocks) : error;
}

/* ---- what the log decides */

static int remove_file(struct attach *attach, struct attach_extent *extent)
{
	char path[PATH_SIZE];
	if (!extent->has_file)
		return 0;
	attach_close_file(attach);
	extent_path(extent->id, path);
	int error = nf_io_unlink(attach->io, path);
	if (error != 0)
		return fail_file(attach, error, extent->id);
	extent->has_file = false;
	extent->slots = 0;
	return 0;
}

static int sync_file(struct attach *attach, const struct attach_extent *extent)
{
	int error = open_file(attach, extent->id, 0);
	if (error == 0) {
		error = nf_io_run_one(attach->io, NF_IO_FSYNC, attach->open_file, 0, NULL, 0);
		if (error != 0)
			error = fail_file(attach, error, extent->id);
	}
	attach_close_file(attach);
	return error;
}

/* An extent that the store will look for on disk: it has a record and was not in the object store by the manifest's time. */
static int settle_local(struct attach *attach, struct attach_extent *extent)
{
	if (extent->in_index && !extent->has_part)
		return attach_fail(attach, -EUCLEAN, "extent %08x of manifest %08x-%08x is neither in the object store nor among its parts",
				   extent->id, attach->manifest.generation, attach->manifest.number);
	return extent->has_file ? 0 : make_file(attach, extent, 1);
}

struct whole {
	struct attach *attach;
	size_t next;
	uint64_t room; /* bytes that may still come here, of those that may stay where they are */
};

/* Is the extent's object to be fetched? Without question when only the log knows of it, since the store would look for its file before it reads that. */
static bool wants_object(struct whole *whole, const struct attach_extent *extent, const struct bd_pack_map *map)
{
	const struct attach *attach = whole->attach;
	uint64_t size = BD_EXTENT_DATA_OFFSET + (uint64_t)map->used * NF_BLOCK_SIZE;
	if (!bd_rows_find(attach->before, extent->id, NULL, NULL))
		return true;
	if (!attach->options->prefetch || size > whole->room)
		return false;
	whole->room -= size;
	return true;
}

static int next_object(void *arg, struct bd_want *ret_want)
{
	struct whole *whole = arg;
	struct attach *attach = whole->attach;
	for (; whole->next < attach->extent_count; whole->next++) {
		const struct attach_extent *extent = &attach->extents[whole->next];
		const struct bd_pack_map *map;
		uint32_t generation;
		if (!extent->has_record || !bd_rows_find(attach->after, extent->id, &generation, &map))
			continue;
		bool wanted = wants_object(whole, extent, map);
		if (wanted) {
			*ret_want = (struct bd_want){.size = map->object_size, .object_size = map->object_size, .tag = whole->next++};
			bd_rows_key(generation, extent->id, ret_want->key);
		}
		bd_rows_release(attach->after, map);
		if (wanted)
			return 0;
	}
	return 1;
}

static int got_object(void *arg, const struct bd_want *want, const uint8_t *bytes)
{
	struct attach *attach = ((struct whole *)arg)->attach;
	struct attach_extent *extent = &attach->extents[want->tag];
	const struct bd_pack_map *map;
	/* What parts and pieces had of it. */
	int error = remove_file(attach, extent);
	if (error != 0 || !bd_rows_find(attach->after, extent->id, NULL, &map))
		return error;
	error = unpack(attach, extent, map, bytes, want->key);
	bd_rows_release(attach->after, map);
	return error != 0 ? error : sync_file(attach, extent);
}

/* With a local limit: what is left beside ring, index and open extents. */
static uint64_t prefetch_room(const struct attach *attach)
{
	uint64_t used = attach->manifest.log_bytes;
	if (attach->config->local_limit_bytes == 0)
		return UINT64_MAX;
	for (uint32_t i = 0; i < attach->manifest.file_count; i++)
		used += attach->manifest.files[i].size;
	for (size_t i = 0; i < attach->extent_count; i++)
		used += attach->extents[i].has_file ? BD_EXTENT_BYTES : 0;
	/* Two extents more are opened when the store is. */
	used += 2 * BD_EXTENT_BYTES;
	return attach->config->local_limit_bytes > used ? attach->config->local_limit_bytes - used : 0;
}

static void count_total(struct attach *attach, const struct attach_extent *extent)
{
	const struct bd_pack_map *map;
	if (!bd_rows_find(attach->after, extent->id, NULL, &map))
		return;
	attach->result.bytes_total += map->object_size;
	bd_rows_release(attach->after, map);
}

int attach_settle_extents(struct attach *attach)
{
	struct whole whole = {.attach = attach};
	int error = 0;
	for (size_t i = 0; i < attach->extent_count && error == 0; i++) {
		struct attach_extent *extent = &attach->extents[i];
		if (!extent->has_record) {
			error = remove_file(attach, extent);
			continue;
		}
		count_total(attach, extent);
		if (bd_rows_find(attach->after, extent->id, NULL, NULL)) {
			/* The file of what is fetched whole goes then. */
			if (bd_rows_find(attach->before, extent->id, NULL, NULL))
				error = remove_file(attach, extent);
			continue;
		}
		error = settle_local(attach, extent);
		if (error == 0)
			error = sync_file(attach, extent);
	}
	attach_close_file(attach);
	whole.room = prefetch_room(attach);
	if (error == 0)
		error = attach_fetch(attach, "extents", next_object, got_object, &whole);
	if (error == 0)
		error = nf_io_sync_dir(attach->io, "extents");
	return error;
}
