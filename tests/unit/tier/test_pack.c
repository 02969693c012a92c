/* Extents as objects: what is packed comes back, and no damage is ever taken for data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/tier/pack.h"

#define STORE UINT64_C(0x1122334455667788)
#define EXTENT 77u

struct packed {
	uint8_t *file;
	uint64_t file_size;
	struct bd_pack *pack;
	const uint8_t *object;
	uint64_t size;
	struct bd_pack_map *map;
};

/* Every third group is noise, the others pack well. */
static void fill(uint8_t *file, uint64_t size)
{
	uint32_t noise = 1;

	for (uint64_t i = 0; i < size; i++) {
		noise = noise * 1664525 + 1013904223;
		bool noisy = i >= BD_EXTENT_DATA_OFFSET && (i - BD_EXTENT_DATA_OFFSET) / BD_GROUP_BYTES % 3 == 0;
		file[i] = noisy ? (uint8_t)(noise >> 24) : (uint8_t)(i / 100);
	}
}

static struct packed pack(uint32_t used)
{
	struct packed p = {.file_size = BD_EXTENT_DATA_OFFSET + (uint64_t)used * NF_BLOCK_SIZE};
	const void *object;

	p.file = malloc(p.file_size);
	assert_non_null(p.file);
	fill(p.file, p.file_size);
	assert_int_equal(bd_pack_begin(STORE, EXTENT, used, &p.pack), 0);
	for (uint32_t i = 0; i < bd_pack_group_count(used); i++) {
		uint64_t offset, size;
		bd_pack_group_range(used, i, &offset, &size);
		assert_int_equal(bd_pack_add(p.pack, p.file + offset, size), 0);
	}
	assert_int_equal(bd_pack_end(p.pack, &object, &p.size, &p.map), 0);
	p.object = object;
	return p;
}

static void packed_free(struct packed *p)
{
	bd_pack_free(p->pack);
	free(p->map);
	free(p->file);
}

/* 0 when all of the object reads as the file; -EUCLEAN when something is found to be damaged; 1 when it reads as something else. */
static int read_all(const struct packed *p, const uint8_t *object, uint64_t size)
{
	struct bd_pack_map *map;
	size_t need;
	int error = bd_pack_read_map(object, size, size, STORE, EXTENT, &need, &map);

	if (error != 0)
		return error;
	uint8_t *bytes = malloc(BD_EXTENT_DATA_OFFSET + BD_GROUP_BYTES);
	assert_non_null(bytes);
	uint64_t total = 0;
	for (uint32_t i = 0; i < map->groups && error == 0; i++) {
		uint64_t offset, part;
		bd_pack_group_range(map->used, i, &offset, &part);
		error = bd_pack_read_group(map, i, object + map->group[i].offset, bytes);
		if (error == 0 && (offset + part > p->file_size || memcmp(bytes, p->file + offset, part) != 0))
			error = 1;
		total += part;
	}
	free(bytes);
	free(map);
	return error == 0 && total != p->file_size ? 1 : error;
}

static void comes_back(void **state)
{
	static const uint32_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 500, BD_EXTENT_SLOTS};

	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(sizes); i++) {
		struct packed p = pack(sizes[i]);
		assert_int_equal(p.map->groups, 1 + (sizes[i] + 15) / 16);
		assert_int_equal(p.map->object_size, p.size);
		assert_int_equal(read_all(&p, p.object, p.size), 0);
		packed_free(&p);
	}
}

static void packs_what_can_be_packed(void **state)
{
	struct packed p = pack(48);

	(void)state;
	assert_false(p.map->group[0].raw);
	assert_true(p.map->group[0].size < 8192);
	assert_true(p.map->group[1].raw); /* noise */
	assert_int_equal(p.map->group[1].size, BD_GROUP_BYTES);
	assert_false(p.map->group[2].raw);
	packed_free(&p);
}

static void the_map_read_is_the_map_made(void **state)
{
	struct packed p = pack(40);
	struct bd_pack_map *map;
	size_t need;

	(void)state;
	assert_int_equal(bd_pack_read_map(p.object + p.size - 200, 200, p.size, STORE, EXTENT, &need, &map), 0);
	assert_int_equal(need, 64 + p.map->groups * 12);
	assert_memory_equal(map, p.map, sizeof(*map) + map->groups * sizeof(map->group[0]));
	free(map);
	packed_free(&p);
}

static void every_flip_is_found(void **state)
{
	struct packed p = pack(1);
	uint8_t *copy = malloc(p.size);

	(void)state;
	assert_non_null(copy);
	memcpy(copy, p.object, p.size);
	for (uint64_t at = 0; at < p.size; at++) {
		copy[at] ^= (uint8_t)(1u << at % 8);
		assert_int_equal(read_all(&p, copy, p.size), -EUCLEAN);
		copy[at] = p.object[at];
	}
	assert_int_equal(read_all(&p, copy, p.size), 0);
	free(copy);
	packed_free(&p);
}

static void short_tails_ask_for_more(void **state)
{
	struct packed p = pack(20);
	struct bd_pack_map *map;
	size_t need, whole = 64 + p.map->groups * 12;

	(void)state;
	for (size_t n = 0; n < whole; n++) {
		assert_int_equal(bd_pack_read_map(p.object + p.size - n, n, p.size, STORE, EXTENT, &need, &map), -EAGAIN);
		assert_int_equal(need, n < 64 ? 64 : whole);
	}
	assert_int_equal(bd_pack_read_map(p.object + p.size - whole, whole, p.size, STORE, EXTENT, &need, &map), 0);
	free(map);
	packed_free(&p);
}

static void cut_objects_are_found(void **state)
{
	struct packed p = pack(3);
	struct bd_pack_map *map;
	size_t need;

	(void)state;
	for (uint64_t size = 0; size < p.size; size++)
		assert_int_not_equal(bd_pack_read_map(p.object, size, size, STORE, EXTENT, &need, &map), 0);
	/* The end is whole, but something is missing before it. */
	assert_int_equal(bd_pack_read_map(p.object + 1, p.size - 1, p.size - 1, STORE, EXTENT, &need, &map), -EUCLEAN);
	packed_free(&p);
}

static void another_ones_object_is_refused(void **state)
{
	struct packed p = pack(3);
	struct bd_pack_map *map;
	size_t need;

	(void)state;
	assert_int_equal(bd_pack_read_map(p.object, p.size, p.size, STORE, EXTENT + 1, &need, &map), -EUCLEAN);
	assert_int_equal(bd_pack_read_map(p.object, p.size, p.size, STORE + 1, EXTENT, &need, &map), -EUCLEAN);
	packed_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(packs_what_can_be_packed),
		cmocka_unit_test(the_map_read_is_the_map_made),
		cmocka_unit_test(every_flip_is_found),
		cmocka_unit_test(short_tails_ask_for_more),
		cmocka_unit_test(cut_objects_are_found),
		cmocka_unit_test(another_ones_object_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
