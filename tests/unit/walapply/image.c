/* Full-page images: each way of packing, there and back, and packed bytes that are wrong. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <lz4.h>
#include <zstd.h>

#include "walapply/decode/wa_image.h"

#define LSN ((struct nf_lsn){0x3000028})
#define HOLE_OFFSET 200u
#define HOLE_LEN 5000u

static struct wa_error error;

/* A page with a hole of zeros, and what repeats and what does not. */
static void make_page(uint8_t *page)
{
	uint32_t seed = 12345;
	for (unsigned i = 0; i < WA_PAGE_SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		page[i] = i % 64 < 48 ? (uint8_t)(i % 64) : (uint8_t)(seed >> 24);
	}
	memset(page + HOLE_OFFSET, 0, HOLE_LEN);
}

/* pglz as its format is: at each place the longest of a few earlier ones, else the byte. `to` has room for 2 * size. */
static size_t pglz_pack(const uint8_t *from, size_t size, uint8_t *to)
{
	size_t out = 0, control = 0;
	unsigned item = 8;
	for (size_t at = 0; at < size;) {
		if (item == 8) {
			control = out++;
			to[control] = 0;
			item = 0;
		}
		size_t best = 0, best_distance = 0;
		for (size_t distance = 1; distance <= NF_MIN(at, (size_t)70); distance++) {
			size_t length = 0;
			while (at + length < size && length < 273 && from[at + length] == from[at + length - distance])
				length++;
			if (length > best) {
				best = length;
				best_distance = distance;
			}
		}
		if (best >= 3) {
			to[control] |= (uint8_t)(1u << item);
			to[out++] = (uint8_t)((best_distance >> 8) << 4 | (best >= 18 ? 15 : best - 3));
			to[out++] = (uint8_t)best_distance;
			if (best >= 18)
				to[out++] = (uint8_t)(best - 18);
			at += best;
		} else {
			to[out++] = from[at++];
		}
		item++;
	}
	return out;
}

/* Pack the page without its hole (or whole) into an allocation of exactly the packed size. */
static struct wa_ref pack(enum wa_compression compression, bool hole, const uint8_t *page)
{
	static uint8_t raw[WA_PAGE_SIZE], packed[2 * WA_PAGE_SIZE + 1000];
	struct wa_ref ref = {.id = 1, .has_image = true, .apply_image = true, .compression = (uint8_t)compression};
	size_t raw_len = WA_PAGE_SIZE, size = 0;
	memcpy(raw, page, WA_PAGE_SIZE);
	if (hole) {
		ref.hole_offset = HOLE_OFFSET;
		ref.hole_len = HOLE_LEN;
		raw_len -= HOLE_LEN;
		memmove(raw + HOLE_OFFSET, raw + HOLE_OFFSET + HOLE_LEN, raw_len - HOLE_OFFSET);
	}
	switch (compression) {
	case WA_PLAIN:
		memcpy(packed, raw, raw_len);
		size = raw_len;
		break;
	case WA_PGLZ: size = pglz_pack(raw, raw_len, packed); break;
	case WA_LZ4: size = (size_t)LZ4_compress_default((const char *)raw, (char *)packed, (int)raw_len, sizeof(packed)); break;
	case WA_ZSTD: size = ZSTD_compress(packed, sizeof(packed), raw, raw_len, 3); break;
	}
	assert_true(size > 0 && size <= WA_PAGE_SIZE);
	uint8_t *bytes = malloc(size);
	memcpy(bytes, packed, size);
	ref.image = bytes;
	ref.image_len = (uint16_t)size;
	return ref;
}

static void there_and_back(void **state)
{
	(void)state;
	uint8_t page[WA_PAGE_SIZE], *restored = malloc(WA_PAGE_SIZE);
	make_page(page);
	for (int compression = WA_PLAIN; compression <= WA_ZSTD; compression++)
		for (int hole = 0; hole < 2; hole++) {
			struct wa_ref ref = pack(compression, hole, page);
			memset(restored, 0xEE, WA_PAGE_SIZE);
			assert_int_equal(wa_image_restore(&ref, LSN, restored, &error), 0);
			assert_memory_equal(restored, page, WA_PAGE_SIZE);
			free((void *)ref.image);
		}
	free(restored);
}

static void no_image(void **state)
{
	(void)state;
	uint8_t page[WA_PAGE_SIZE];
	struct wa_ref ref = {.id = 3};
	assert_int_equal(wa_image_restore(&ref, LSN, page, &error), -EBADMSG);
	assert_int_equal(error.lsn.v, LSN.v);
	assert_non_null(strstr(error.text, "3"));
}

/* Cut short anywhere, or any bit wrong, it is refused or gives some page; nothing else is touched. */
static void damaged(void **state)
{
	(void)state;
	uint8_t page[WA_PAGE_SIZE], *restored = malloc(WA_PAGE_SIZE);
	make_page(page);
	for (int compression = WA_PGLZ; compression <= WA_ZSTD; compression++) {
		struct wa_ref ref = pack(compression, true, page), cut = ref;
		for (cut.image_len = 0; cut.image_len < ref.image_len; cut.image_len++) {
			uint8_t *bytes = malloc(cut.image_len);
			memcpy(bytes, ref.image, cut.image_len);
			cut.image = bytes;
			assert_int_equal(wa_image_restore(&cut, LSN, restored, &error), -EBADMSG);
			free(bytes);
		}
		uint8_t *bytes = (uint8_t *)ref.image;
		size_t refused = 0;
		for (size_t bit = 0; bit < 8u * ref.image_len; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			int status = wa_image_restore(&ref, LSN, restored, &error);
			assert_true(status == 0 || status == -EBADMSG);
			refused += status < 0;
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_true(refused > 0);
		/* It is no page of another size. */
		ref.hole_len--;
		assert_int_equal(wa_image_restore(&ref, LSN, restored, &error), -EBADMSG);
		ref.hole_len += 2;
		assert_int_equal(wa_image_restore(&ref, LSN, restored, &error), -EBADMSG);
		free(bytes);
	}
	free(restored);
}

static void expect_pglz(const uint8_t *source, size_t source_len, const char *expected)
{
	size_t raw_len = strlen(expected);
	uint8_t *copy = malloc(source_len), *raw = malloc(raw_len);
	memcpy(copy, source, source_len);
	assert_int_equal(wa_pglz_unpack(copy, source_len, raw, raw_len), 0);
	assert_memory_equal(raw, expected, raw_len);
	free(copy);
	free(raw);
}

static void expect_bad_pglz(const uint8_t *source, size_t source_len, size_t raw_len)
{
	uint8_t *copy = malloc(source_len), *raw = malloc(raw_len);
	memcpy(copy, source, source_len);
	assert_int_equal(wa_pglz_unpack(copy, source_len, raw, raw_len), -EBADMSG);
	free(copy);
	free(raw);
}

#define EXPECT_PGLZ(expected, ...) expect_pglz((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), expected)
#define EXPECT_BAD_PGLZ(raw_len, ...) expect_bad_pglz((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), raw_len)

static void pglz_by_hand(void **state)
{
	(void)state;
	EXPECT_PGLZ("abc", 0x00, 'a', 'b', 'c');
	EXPECT_PGLZ("abcdefghij", 0x00, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 0x00, 'i', 'j');
	EXPECT_PGLZ("abcabc", 0x08, 'a', 'b', 'c', 0x00, 0x03);
	EXPECT_PGLZ("aaaaaaa", 0x02, 'a', 0x03, 0x01);		    /* overlapping */
	EXPECT_PGLZ("abababababab", 0x04, 'a', 'b', 0x07, 0x02);
	EXPECT_PGLZ("xyyyyyyyyyyyyyyyyyyyyz", 0x04, 'x', 'y', 0x0F, 0x01, 0x01, 'z'); /* a third byte: 18 and 1 */
	EXPECT_BAD_PGLZ(3, 0x01, 0x00, 0x01);			    /* nothing is before */
	EXPECT_BAD_PGLZ(5, 0x02, 'a', 0x00, 0x00);		    /* no distance */
	EXPECT_BAD_PGLZ(5, 0x02, 'a', 0x00, 0x02);		    /* too far */
	EXPECT_BAD_PGLZ(5, 0x02, 'a', 0x00);			    /* cut */
	EXPECT_BAD_PGLZ(30, 0x02, 'a', 0x0F, 0x01);		    /* cut before the third byte */
	EXPECT_BAD_PGLZ(4, 0x00, 'a', 'b', 'c');		    /* too little */
	EXPECT_BAD_PGLZ(2, 0x00, 'a', 'b', 'c');		    /* too much */
	EXPECT_PGLZ("aaa", 0x02, 'a', 0x0F, 0x01, 0x20);	    /* a last copy that is longer is cut off */
	EXPECT_BAD_PGLZ(1, 0x00);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(no_image),
		cmocka_unit_test(damaged),
		cmocka_unit_test(pglz_by_hand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
