/* An extent's file as an object: compressed in groups, each of which can be read alone.
 *
 * Group 0 is the file's header and slot table (BD_EXTENT_DATA_OFFSET bytes), group n >= 1 the slots from (n - 1) * 16 on: 128 KiB, the last one shorter. So a
 * block lies in one group. A group is stored as one zstd frame, or as it is where that is not smaller.
 *   object: groups one behind the other; then the table: for each group stored size u32 (bit 31: not compressed), XXH3 of the stored bytes u64; then the
 *   footer, 64 bytes: magic "NFX2" u32, version u32, store id u64, extent id u32, slots used u32, groups u32, zero u32, size of the table u64, XXH3 of the table u64,
 *   zero u64, XXH3 of the 56 bytes before u64. */
#ifndef BD_TIER_PACK_H
#define BD_TIER_PACK_H

#include "blockdev/extent/extent.h"

#define BD_GROUP_SLOTS 16u
#define BD_GROUP_BYTES (BD_GROUP_SLOTS * (uint64_t)NF_BLOCK_SIZE)
#define BD_GROUPS_MAX (1 + BD_EXTENT_SLOTS / BD_GROUP_SLOTS)

/* Where the groups of a packed extent are. */
struct bd_pack_map {
	uint32_t extent, used, groups;
	uint64_t object_size;
	struct bd_pack_group {
		uint32_t offset, size; /* in the object; a packed extent is below 4 GiB */
		bool raw;
		uint64_t sum;
	} group[]; /* [groups] */
};

/* The table's entries, here and in 'T' records: 12 bytes a group. */
#define BD_PACK_ENTRY_SIZE 12u
struct nf_reader;
struct nf_writer;
void bd_pack_map_write(const struct bd_pack_map *map, struct nf_writer *w);
/* A map of `groups` entries read from `r`. -EUCLEAN: they are not those of an extent of `used` slots in an object of `object_size`. malloc'd. */
NF_MUST_CHECK int bd_pack_map_parse(struct nf_reader *r, uint32_t extent, uint32_t used, uint32_t groups, uint64_t object_size,
				    struct bd_pack_map **ret_map);

/* Groups of a file of `used` slots; the bytes of group `group` in the file, and where they begin. */
uint32_t bd_pack_group_count(uint32_t used);
void bd_pack_group_range(uint32_t used, uint32_t group, uint64_t *ret_offset, uint64_t *ret_size);

/* Pack: begin, each group in order, end. `out` grows. -ENOMEM. */
struct bd_pack;
NF_MUST_CHECK int bd_pack_begin(uint64_t store_id, uint32_t extent, uint32_t used, struct bd_pack **ret_pack);
NF_MUST_CHECK int bd_pack_add(struct bd_pack *pack, const void *bytes, size_t size);
/* The whole object; the pack's until it is freed. *ret_map is malloc'd. */
NF_MUST_CHECK int bd_pack_end(struct bd_pack *pack, const void **ret_object, uint64_t *ret_size, struct bd_pack_map **ret_map);
void bd_pack_free(struct bd_pack *pack);

/* The map from the object's last bytes (`tail_size` of them, at least footer and table; -EAGAIN and *ret_need when they are too few). -EUCLEAN; -EPROTONOSUPPORT
 * newer. malloc'd. */
NF_MUST_CHECK int bd_pack_read_map(const void *tail, size_t tail_size, uint64_t object_size, uint64_t store_id, uint32_t extent, size_t *ret_need,
				   struct bd_pack_map **ret_map);
/* A group's bytes from what is stored. `bytes` has room for bd_pack_group_range's size. -EUCLEAN. */
NF_MUST_CHECK int bd_pack_read_group(const struct bd_pack_map *map, uint32_t group, const void *stored, void *bytes);

#endif
