/* An extent as an object: packing, and reading back. pack.h has the format.
 *
 * Foreign bytes are trusted only so far as their sums reach: the footer's covers itself and names the table's, the table has one for each group's stored
 * bytes. Sizes are checked against each other before anything is allocated or read by them. No threads, no state of its own. */
#include "blockdev/tier/pack.h"

#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

#include "common/nf_cursor.h"

#define PACK_MAGIC 0x3258464eu /* "NFX2" */
#define PACK_VERSION 1u
#define PACK_FOOTER 64u
#define PACK_FOOTER_SUMMED 56u
#define PACK_RAW (UINT32_C(1) << 31)
#define PACK_LEVEL 1 /* of zstd: more costs Postgres's processors more than it saves */
#define PACK_GROW (size_t)(4u << 20)
#define PACK_GROUP_MAX NF_MAX(BD_GROUP_BYTES, BD_EXTENT_DATA_OFFSET)

static_assert(BD_EXTENT_SLOTS % BD_GROUP_SLOTS == 0, "the last group of a full extent is whole");
static_assert(BD_GROUPS_MAX * (uint64_t)PACK_GROUP_MAX < PACK_RAW, "offsets in an object are u32, and sizes leave a bit");

struct bd_pack {
	uint64_t store_id;
	ZSTD_CCtx *zstd;
	uint8_t *out;
	size_t size, capacity;
	struct bd_pack_map *map; /* groups: so many were added */
	uint32_t groups;	 /* in all */
};

uint32_t bd_pack_group_count(uint32_t used)
{
	assert(used <= BD_EXTENT_SLOTS);
	return 1 + (used + BD_GROUP_SLOTS - 1) / BD_GROUP_SLOTS;
}

void bd_pack_group_range(uint32_t used, uint32_t group, uint64_t *ret_offset, uint64_t *ret_size)
{
	assert(group < bd_pack_group_count(used));
	if (group == 0) {
		*ret_offset = 0;
		*ret_size = BD_EXTENT_DATA_OFFSET;
		return;
	}
	uint32_t first = (group - 1) * BD_GROUP_SLOTS;
	*ret_offset = BD_EXTENT_DATA_OFFSET + (uint64_t)first * NF_BLOCK_SIZE;
	*ret_size = (uint64_t)NF_MIN(used - first, BD_GROUP_SLOTS) * NF_BLOCK_SIZE;
}

static struct bd_pack_map *map_new(uint32_t extent, uint32_t used, uint32_t capacity)
{
	struct bd_pack_map *map = calloc(1, sizeof(*map) + capacity * sizeof(map->group[0]));
	if (map != NULL) {
		map->extent = extent;
		map->used = used;
	}
	return map;
}

int bd_pack_begin(uint64_t store_id, uint32_t extent, uint32_t used, struct bd_pack **ret_pack)
{
	struct bd_pack *pack = calloc(1, sizeof(*pack));
	if (pack == NULL)
		return -ENOMEM;
	pack->store_id = store_id;
	pack->groups = bd_pack_group_count(used);
	pack->zstd = ZSTD_createCCtx();
	pack->map = map_new(extent, used, pack->groups);
	if (pack->zstd == NULL || pack->map == NULL) {
		bd_pack_free(pack);
		return -ENOMEM;
	}
	*ret_pack = pack;
	return 0;
}

void bd_pack_free(struct bd_pack *pack)
{
	if (pack == NULL)
		return;
	ZSTD_freeCCtx(pack->zstd);
	free(pack->map);
	free(pack->out);
	free(pack);
}

static int reserve(struct bd_pack *pack, size_t size)
{
	if (pack->capacity - pack->size >= size)
		return 0;
	size_t capacity = pack->capacity + NF_MAX(size, PACK_GROW);
	uint8_t *out = realloc(pack->out, capacity);
	if (out == NULL)
		return -ENOMEM;
	pack->out = out;
	pack->capacity = capacity;
	return 0;
}

int bd_pack_add(struct bd_pack *pack, const void *bytes, size_t size)
{
	uint32_t at = pack->map->groups;
	uint64_t offset, whole;
	bd_pack_group_range(pack->map->used, at, &offset, &whole);
	assert(size == whole);
	int error = reserve(pack, size);
	if (error != 0)
		return error;
	struct bd_pack_group *group = &pack->map->group[at];
	uint8_t *to = pack->out + pack->size;
	/* One byte less than it is: what does not fit is stored as it is. */
	size_t stored = ZSTD_compressCCtx(pack->zstd, to, size - 1, bytes, size, PACK_LEVEL);
	group->raw = ZSTD_isError(stored);
	if (group->raw) {
		memcpy(to, bytes, size);
		stored = size;
	}
	group->offset = (uint32_t)pack->size;
	group->size = (uint32_t)stored;
	group->sum = XXH3_64bits(to, stored);
	pack->size += stored;
	pack->map->groups++;
	return 0;
}

void bd_pack_map_write(const struct bd_pack_map *map, struct nf_writer *w)
{
	for (uint32_t i = 0; i < map->groups; i++) {
		nf_write_u32(w, map->group[i].size | (map->group[i].raw ? PACK_RAW : 0));
		nf_write_u64(w, map->group[i].sum);
	}
}

static void write_footer(const struct bd_pack *pack, struct nf_writer *w, uint64_t table_size, uint64_t table_sum)
{
	size_t begin = w->offset;
	nf_write_u32(w, PACK_MAGIC);
	nf_write_u32(w, PACK_VERSION);
	nf_write_u64(w, pack->store_id);
	nf_write_u32(w, pack->map->extent);
	nf_write_u32(w, pack->map->used);
	nf_write_u32(w, pack->map->groups);
	nf_write_u32(w, 0);
	nf_write_u64(w, table_size);
	nf_write_u64(w, table_sum);
	nf_write_u64(w, 0);
	assert(!w->failed && w->offset - begin == PACK_FOOTER_SUMMED);
	nf_write_u64(w, XXH3_64bits(w->data + begin, PACK_FOOTER_SUMMED));
}

int bd_pack_end(struct bd_pack *pack, const void **ret_object, uint64_t *ret_size, struct bd_pack_map **ret_map)
{
	assert(pack->map->groups == pack->groups);
	size_t table = (size_t)pack->groups * BD_PACK_ENTRY_SIZE;
	int error = reserve(pack, table + PACK_FOOTER);
	if (error != 0)
		return error;
	size_t map_size = sizeof(*pack->map) + pack->groups * sizeof(pack->map->group[0]);
	struct bd_pack_map *map = malloc(map_size);
	if (map == NULL)
		return -ENOMEM;
	struct nf_writer w = nf_writer_init(pack->out + pack->size, table + PACK_FOOTER);
	bd_pack_map_write(pack->map, &w);
	write_footer(pack, &w, table, XXH3_64bits(pack->out + pack->size, table));
	assert(!w.failed && w.offset == table + PACK_FOOTER);
	memcpy(map, pack->map, map_size);
	map->object_size = pack->size + w.offset;
	*ret_object = pack->out;
	*ret_size = map->object_size;
	*ret_map = map;
	return 0;
}

/* One entry of the table; `offset` is where the group begins. */
static int read_entry(struct nf_reader *r, struct bd_pack_map *map, uint32_t at, uint64_t *offset)
{
	struct bd_pack_group *group = &map->group[at];
	uint64_t begin, whole;
	uint32_t stored = nf_read_u32(r);
	bd_pack_group_range(map->used, at, &begin, &whole);
	group->raw = stored & PACK_RAW;
	group->size = stored & ~PACK_RAW;
	group->sum = nf_read_u64(r);
	group->offset = (uint32_t)*offset;
	*offset += group->size;
	return !r->failed && (group->raw ? group->size == whole : group->size > 0 && group->size < whole) ? 0 : -EUCLEAN;
}

int bd_pack_map_parse(struct nf_reader *r, uint32_t extent, uint32_t used, uint32_t groups, uint64_t object_size,
		      struct bd_pack_map **ret_map)
{
	if (used > BD_EXTENT_SLOTS || groups != bd_pack_group_count(used) || nf_reader_left(r) < (size_t)groups * BD_PACK_ENTRY_SIZE)
		return -EUCLEAN;
	struct bd_pack_map *map = map_new(extent, used, groups);
	if (map == NULL)
		return -ENOMEM;
	map->groups = groups;
	map->object_size = object_size;
	uint64_t offset = 0;
	int error = 0;
	for (uint32_t i = 0; i < groups && error == 0; i++)
		error = read_entry(r, map, i, &offset);
	if (error == 0 && offset + (uint64_t)groups * BD_PACK_ENTRY_SIZE + PACK_FOOTER != object_size)
		error = -EUCLEAN;
	if (error != 0) {
		free(map);
		return error;
	}
	*ret_map = map;
	return 0;
}

int bd_pack_read_map(const void *tail, size_t tail_size, uint64_t object_size, uint64_t store_id, uint32_t extent, size_t *ret_need,
		     struct bd_pack_map **ret_map)
{
	*ret_need = PACK_FOOTER;
	if (object_size < PACK_FOOTER || tail_size > object_size)
		return -EUCLEAN;
	if (tail_size < PACK_FOOTER)
		return -EAGAIN;
	const uint8_t *footer = (const uint8_t *)tail + tail_size - PACK_FOOTER;
	struct nf_reader r = nf_reader_init(footer, PACK_FOOTER);
	uint32_t magic = nf_read_u32(&r), version = nf_read_u32(&r);
	uint64_t store = nf_read_u64(&r);
	uint32_t id = nf_read_u32(&r), used = nf_read_u32(&r), groups = nf_read_u32(&r);
	nf_read_u32(&r);
	uint64_t table = nf_read_u64(&r), table_sum = nf_read_u64(&r);
	nf_read_u64(&r);
	if (magic != PACK_MAGIC || XXH3_64bits(footer, PACK_FOOTER_SUMMED) != nf_read_u64(&r))
		return -EUCLEAN;
	if (version != PACK_VERSION)
		return -EPROTONOSUPPORT;
	if (store != store_id || id != extent || groups > BD_GROUPS_MAX || table != (uint64_t)groups * BD_PACK_ENTRY_SIZE ||
	    table + PACK_FOOTER > object_size)
		return -EUCLEAN;
	*ret_need = table + PACK_FOOTER;
	if (tail_size < *ret_need)
		return -EAGAIN;
	const uint8_t *entries = footer - table;
	if (XXH3_64bits(entries, table) != table_sum)
		return -EUCLEAN;
	r = nf_reader_init(entries, table);
	return bd_pack_map_parse(&r, extent, used, groups, object_size, ret_map);
}

int bd_pack_read_group(const struct bd_pack_map *map, uint32_t group, const void *stored, void *bytes)
{
	assert(group < map->groups);
	const struct bd_pack_group *at = &map->group[group];
	uint64_t offset, size;
	bd_pack_group_range(map->used, group, &offset, &size);
	if (XXH3_64bits(stored, at->size) != at->sum)
		return -EUCLEAN;
	if (at->raw) {
		memcpy(bytes, stored, size);
		return 0;
	}
	return ZSTD_decompress(bytes, size, stored, at->size) == size ? 0 : -EUCLEAN;
}
