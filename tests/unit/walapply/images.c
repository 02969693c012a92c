/* Files of images of hot pages: there and back, look-ups, merging, and bytes that somebody else wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "walapply/images/wa_images.h"

#define BASE UINT64_C(0x5000000)
#define LIMIT UINT64_C(0x6000000)

static const struct wa_images_info info = {
	.version = {.major = 15, .checksums = true}, .system_id = 0x6A1B2C3D4E5F6071ull, .base = {BASE}, .limit = {LIMIT}};
static const struct wa_block block_a = {.rel = {1663, 5, 16384}, .blkno = 7};
static const struct wa_block block_b = {.rel = {1663, 5, 16384}, .fork = WA_FORK_VM, .blkno = 0};

static void fill(uint8_t *page, unsigned seed, bool random)
{
	uint32_t value = seed * 2654435761u + 1;
	for (unsigned i = 0; i < WA_PAGE_SIZE; i++) {
		value = value * 1664525u + 1013904223u;
		page[i] = random ? (uint8_t)(value >> 24) : (uint8_t)(seed + i / 512);
	}
}

static void add(struct wa_images_builder *builder, struct wa_block block, uint64_t origin, uint64_t last, unsigned seed,
		bool random)
{
	uint8_t page[WA_PAGE_SIZE];
	const struct wa_image image = {.block = block, .origin = {origin}, .last = {last}};
	fill(page, seed, random);
	assert_int_equal(wa_images_add(builder, &image, page), 0);
}

/* Block a: two of one origin, one of a later one that cannot be packed; block b: one. */
static uint8_t *make(size_t *ret_size)
{
	struct wa_images_builder *builder;
	uint8_t *bytes;
	assert_int_equal(wa_images_builder_new(&info, &builder), 0);
	add(builder, block_a, BASE - 800, BASE + 800, 1, false);
	add(builder, block_a, BASE - 800, BASE + 1600, 2, false);
	add(builder, block_a, BASE + 2000, BASE + 2400, 3, true);
	add(builder, block_b, BASE - 80, BASE + 80, 4, false);
	assert_int_equal(wa_images_finish(builder, &bytes, ret_size), 0);
	assert_int_equal(wa_images_size(builder), *ret_size);
	wa_images_builder_free(builder);
	return bytes;
}

static void expect(const struct wa_images *images, const uint8_t *bytes, struct wa_block block, uint64_t origin, uint64_t to,
		   uint64_t last, unsigned seed, bool random)
{
	struct wa_image_place place;
	struct wa_error error;
	uint8_t page[WA_PAGE_SIZE], expected[WA_PAGE_SIZE];
	assert_true(wa_images_find(images, &block, (struct nf_lsn){origin}, (struct nf_lsn){to}, &place));
	assert_true(place.image.last.v == last && place.image.origin.v == origin);
	assert_int_equal(wa_image_unpack(&place, bytes + place.offset, page, &error), 0);
	fill(expected, seed, random);
	assert_memory_equal(page, expected, WA_PAGE_SIZE);
}

static bool has(const struct wa_images *images, struct wa_block block, uint64_t origin, uint64_t to)
{
	struct wa_image_place place;
	return wa_images_find(images, &block, (struct nf_lsn){origin}, (struct nf_lsn){to}, &place);
}

static void there_and_back(void **state)
{
	struct wa_images images;
	struct wa_error error;
	size_t size, tables;
	uint8_t *bytes = make(&size);
	struct wa_block other = block_a;
	(void)state;
	assert_int_equal(wa_images_tables_size(bytes, WA_IMAGES_HEADER, &tables, &error), 0);
	assert_true(tables < size && size < 2 * WA_PAGE_SIZE); /* one is plain, the others are packed */
	/* Tables alone are enough to look something up. */
	assert_int_equal(wa_images_open(bytes, tables, size, &images, &error), 0);
	assert_int_equal(images.count, 4);
	assert_true(images.info.base.v == BASE && images.info.limit.v == LIMIT && images.info.system_id == info.system_id);
	assert_true(images.info.version.major == 15 && images.info.version.checksums && !images.info.version.log_hints);
	/* The newest one before `to`. */
	expect(&images, bytes, block_a, BASE - 800, BASE + 801, BASE + 800, 1, false);
	expect(&images, bytes, block_a, BASE - 800, BASE + 1600, BASE + 800, 1, false);
	expect(&images, bytes, block_a, BASE - 800, BASE + 1608, BASE + 1600, 2, false);
	expect(&images, bytes, block_a, BASE + 2000, LIMIT, BASE + 2400, 3, true);
	expect(&images, bytes, block_b, BASE - 80, LIMIT, BASE + 80, 4, false);
	/* None, of a block that has some: too early, or of another origin. */
	assert_false(has(&images, block_a, BASE - 800, BASE + 800));
	assert_false(has(&images, block_a, BASE - 800, LIMIT));
	assert_false(has(&images, block_a, BASE - 792, BASE + 1608));
	assert_false(has(&images, block_b, BASE - 80, BASE + 80));
	other.blkno = 6;
	assert_false(has(&images, other, BASE - 800, LIMIT));
	other.blkno = 8;
	assert_false(has(&images, other, BASE - 800, LIMIT));
	free(bytes);
}

static void what_is_refused(void **state)
{
	struct wa_images_builder *builder;
	struct wa_images_info empty = info;
	uint8_t page[WA_PAGE_SIZE] = {0};
	(void)state;
	empty.limit = empty.base;
	assert_int_equal(wa_images_builder_new(&empty, &builder), -EINVAL);
	assert_int_equal(wa_images_builder_new(&info, &builder), 0);
	add(builder, block_a, BASE, BASE + 800, 1, false);
	const struct wa_image bad[] = {
		{.block = block_a, .origin = {BASE}, .last = {BASE + 800}}, /* the same again */
		{.block = {.rel = {1663, 5, 16384}, .blkno = 6}, .origin = {BASE}, .last = {BASE + 900}},
		{.block = block_b, .origin = {BASE - 8}, .last = {BASE - 8}}, /* outside */
		{.block = block_b, .origin = {BASE}, .last = {LIMIT}},
		{.block = block_b, .origin = {BASE + 16}, .last = {BASE + 8}},
	};
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_int_equal(wa_images_add(builder, &bad[i], page), -EINVAL);
	wa_images_builder_free(builder);
}

/* Whichever byte is another one: the file is refused, or the image that it is of. */
static void every_byte(void **state)
{
	struct wa_images images;
	struct wa_error error;
	size_t size;
	uint8_t *bytes = make(&size), page[WA_PAGE_SIZE];
	(void)state;
	for (size_t at = 0; at < size; at++) {
		bytes[at] ^= 0x10;
		int status = wa_images_open(bytes, size, size, &images, &error);
		unsigned damaged = 0;
		for (uint32_t i = 0; status == 0 && i < images.count; i++) {
			struct wa_image_place place = wa_images_at(&images, i);
			damaged += wa_image_unpack(&place, bytes + place.offset, page, &error) == -EBADMSG;
		}
		assert_int_equal(damaged, status == 0);
		assert_true(status == 0 || status == -EBADMSG || (status == -ENOTSUP && at >= 8 && at < 12));
		assert_true(error.text[0] != 0);
		bytes[at] ^= 0x10;
	}
	for (size_t less = 0; less < size; less++) {
		uint8_t *copy = malloc(NF_MAX(less, (size_t)1));
		memcpy(copy, bytes, less);
		assert_int_equal(wa_images_open(copy, less, less, &images, &error), -EBADMSG);
		free(copy);
	}
	assert_int_equal(wa_images_open(bytes, size, size + 1, &images, &error), -EBADMSG);
	free(bytes);
}

static uint8_t *make_at(uint64_t base, unsigned seed, size_t *ret_size)
{
	struct wa_images_builder *builder;
	struct wa_images_info here = info;
	uint8_t *bytes;
	here.base.v = base;
	here.limit.v = base + 0x1000;
	assert_int_equal(wa_images_builder_new(&here, &builder), 0);
	add(builder, block_a, BASE, base + 800, seed, seed == 2);
	add(builder, block_b, BASE, base + 808, seed + 100, false);
	assert_int_equal(wa_images_finish(builder, &bytes, ret_size), 0);
	wa_images_builder_free(builder);
	return bytes;
}

static void merged(void **state)
{
	enum { PARTS = 3 };
	struct wa_images parts[PARTS], all;
	struct wa_error error;
	uint8_t *bytes[PARTS], *result;
	size_t size;
	(void)state;
	for (unsigned i = 0; i < PARTS; i++) {
		bytes[i] = make_at(BASE + i * 0x2000, i, &size); /* there may be gaps */
		assert_int_equal(wa_images_open(bytes[i], size, size, &parts[i], &error), 0);
	}
	assert_int_equal(wa_images_merge(parts, PARTS, (struct nf_lsn){BASE}, (struct nf_lsn){LIMIT}, &result, &size), 0);
	assert_int_equal(wa_images_open(result, size, size, &all, &error), 0);
	assert_int_equal(all.count, 2 * PARTS);
	for (unsigned i = 0; i < PARTS; i++) {
		uint64_t base = BASE + i * 0x2000;
		expect(&all, result, block_a, BASE, base + 0x1000, base + 800, i, i == 2);
		expect(&all, result, block_b, BASE, base + 0x1000, base + 808, i + 100, false);
	}
	free(result);
	/* Not in the order of the log, outside of the range, of another cluster. */
	struct wa_images swapped[] = {parts[1], parts[0]};
	assert_int_equal(wa_images_merge(swapped, 2, (struct nf_lsn){BASE}, (struct nf_lsn){LIMIT}, &result, &size), -EINVAL);
	assert_int_equal(wa_images_merge(parts, 3, (struct nf_lsn){BASE}, (struct nf_lsn){BASE + 0x4000}, &result, &size),
			 -EINVAL);
	assert_int_equal(wa_images_merge(parts, 0, (struct nf_lsn){BASE}, (struct nf_lsn){LIMIT}, &result, &size), -EINVAL);
	parts[1].info.system_id++;
	assert_int_equal(wa_images_merge(parts, 3, (struct nf_lsn){BASE}, (struct nf_lsn){LIMIT}, &result, &size), -EINVAL);
	for (unsigned i = 0; i < PARTS; i++)
		free(bytes[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(merged),
	};
	return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
