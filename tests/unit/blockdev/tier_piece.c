/* Pieces of the log: what is encoded comes back; what is damaged anywhere, cut, or makes no sense is refused. */
#include "tier.h"

#include <errno.h>
#include <xxhash.h>
#include <zstd.h>

#include "blockdev/tier/piece.h"

#define PIECE_HEADER 72
#define RECORD_BYTES 12288u
#define BLOCKS 3u

struct sample {
	struct bd_piece_run runs[2];
	uint8_t records[RECORD_BYTES], blocks[BLOCKS * NF_BLOCK_SIZE];
	struct bd_piece piece;
};

static struct sample *sample_new(void)
{
	struct sample *sample = calloc(1, sizeof(*sample));
	assert_non_null(sample);
	for (size_t i = 0; i < sizeof(sample->records); i++)
		sample->records[i] = (uint8_t)(i * i >> 3);
	for (size_t i = 0; i < sizeof(sample->blocks); i++)
		sample->blocks[i] = (uint8_t)(i / 512);
	sample->runs[0] = (struct bd_piece_run){.extent = 3, .slot = 8191, .count = 1};
	sample->runs[1] = (struct bd_piece_run){.extent = 9, .slot = 0, .count = 2};
	sample->piece = (struct bd_piece){.store_id = 99,
					  .from = 40960,
					  .to = 40960 + RECORD_BYTES,
					  .read_ns = INT64_C(1790000000000000000),
					  .runs = sample->runs,
					  .run_count = 2,
					  .records = sample->records,
					  .blocks = sample->blocks};
	return sample;
}

static void what_is_encoded_comes_back(void **state)
{
	struct sample *sample = sample_new();
	struct bd_piece back;
	void *bytes;
	size_t size;

	(void)state;
	for (unsigned runs = 0; runs <= 2; runs++) {
		sample->piece.run_count = runs;
		assert_ok(bd_piece_encode(&sample->piece, &bytes, &size));
		assert_ok(bd_piece_decode(bytes, size, &back));
		free(bytes);
		assert_true(back.store_id == 99 && back.from == 40960 && back.to == 40960 + RECORD_BYTES);
		assert_true(back.read_ns == sample->piece.read_ns && back.run_count == runs);
		assert_memory_equal(back.records, sample->records, RECORD_BYTES);
		if (runs > 0) {
			assert_memory_equal(back.runs, sample->runs, runs * sizeof(struct bd_piece_run));
			assert_memory_equal(back.blocks, sample->blocks, (runs == 1 ? 1 : BLOCKS) * NF_BLOCK_SIZE);
		}
		bd_piece_free(&back);
	}
	free(sample);
}

static void damage_is_refused(void **state)
{
	struct sample *sample = sample_new();
	struct bd_piece back;
	void *bytes;
	size_t size;

	(void)state;
	assert_ok(bd_piece_encode(&sample->piece, &bytes, &size));
	for (size_t i = 0; i < size * 8; i++) {
		uint8_t *copy = tier_copy(bytes, size);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(bd_piece_decode(copy, size, &back), -EUCLEAN);
		free(copy);
	}
	for (size_t i = 0; i < size; i++) {
		uint8_t *copy = tier_copy(bytes, i);
		assert_int_equal(bd_piece_decode(copy, i, &back), -EUCLEAN);
		free(copy);
	}
	free(bytes);
	free(sample);
}

/* An object around any header fields and body, with checksums that are right. */
static int decode_made(uint64_t from, uint64_t to, uint64_t body_size, uint32_t version, const void *body, size_t real_size)
{
	size_t bound = ZSTD_compressBound(real_size);
	uint8_t *object = malloc(PIECE_HEADER + bound);
	struct bd_piece back;

	assert_non_null(object);
	uint64_t frame_size = ZSTD_compress(object + PIECE_HEADER, bound, body, real_size, 1);
	const uint64_t fields[] = {99, from, to, 5, body_size, frame_size, XXH3_64bits(object + PIECE_HEADER, frame_size)};
	memcpy(object, "NFP1", 4);
	memcpy(object + 4, &version, 4);
	memcpy(object + 8, fields, sizeof(fields));
	uint64_t sum = XXH3_64bits(object, PIECE_HEADER - 8);
	memcpy(object + PIECE_HEADER - 8, &sum, 8);
	int error = bd_piece_decode(object, PIECE_HEADER + frame_size, &back);
	free(object);
	if (error == 0)
		bd_piece_free(&back);
	return error;
}

static int decode_run(uint32_t count, uint32_t extent, uint32_t slot, uint32_t blocks, size_t bytes)
{
	uint32_t head[4] = {count, extent, slot, blocks};
	uint8_t *body = calloc(1, sizeof(head) + bytes);

	assert_non_null(body);
	memcpy(body, head, sizeof(head));
	int error = decode_made(0, 4096, sizeof(head) + bytes, 1, body, sizeof(head) + bytes);
	free(body);
	return error;
}

static void nonsense_is_refused(void **state)
{
	const uint8_t body[4 + 4096] = {0};

	(void)state;
	assert_ok(decode_made(0, 4096, sizeof(body), 1, body, sizeof(body)));
	assert_int_equal(decode_made(0, 4096, sizeof(body), 2, body, sizeof(body)), -EPROTONOSUPPORT);
	assert_int_equal(decode_made(0, 4096, sizeof(body), 0, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(0, 8192, sizeof(body), 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(0, 0, sizeof(body), 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(4096, 0, sizeof(body), 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(1, 4097, sizeof(body), 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(0, UINT64_C(1) << 40, sizeof(body), 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(0, 4096, sizeof(body) + 1, 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(0, 4096, sizeof(body) - 1, 1, body, sizeof(body)), -EUCLEAN);
	assert_int_equal(decode_made(0, 4096, UINT64_MAX, 1, body, sizeof(body)), -EUCLEAN);
	assert_ok(decode_run(1, 7, 8191, 1, 4096 + NF_BLOCK_SIZE));
	assert_int_equal(decode_run(1, 7, 8191, 2, 4096 + 2 * NF_BLOCK_SIZE), -EUCLEAN);
	assert_int_equal(decode_run(1, 7, UINT32_MAX, 1, 4096 + NF_BLOCK_SIZE), -EUCLEAN);
	assert_int_equal(decode_run(1, 7, 1, UINT32_MAX, 4096), -EUCLEAN);
	assert_int_equal(decode_run(1, 7, 1, 0, 4096), -EUCLEAN);
	assert_int_equal(decode_run(1, 1u << 30, 1, 1, 4096 + NF_BLOCK_SIZE), -EUCLEAN);
	assert_int_equal(decode_run(2, 7, 1, 1, 4096 + NF_BLOCK_SIZE), -EUCLEAN);
	assert_int_equal(decode_run(UINT32_MAX, 7, 1, 1, 4096 + NF_BLOCK_SIZE), -EUCLEAN);
	assert_int_equal(decode_run(1, 7, 1, 1, 4096 + NF_BLOCK_SIZE - 1), -EUCLEAN);
	assert_int_equal(decode_run(1, 7, 1, 1, 4096 + NF_BLOCK_SIZE + 1), -EUCLEAN);
}

static void keys(void **state)
{
	char key[BD_PIECE_KEY_SIZE];
	uint32_t generation = 0;
	uint64_t from = 0, to = 0;

	(void)state;
	bd_piece_key(0xabc, 0x1000, UINT64_C(0x1234567000), key);
	assert_string_equal(key, "log/00000abc-0000000000001000-0000001234567000");
	bd_piece_key(0xabc, 0x1000, 0x3000, key);
	assert_true(bd_piece_key_parse(key, &generation, &from, &to));
	assert_true(generation == 0xabc && from == 0x1000 && to == 0x3000);
	static const char *const none[] = {"log/00000abc-0000000000001000-0000000000001000", "log/00000abc-0000000000001001-0000000000002001",
					   "log/00000abc-0000000000001000-000000000002000",  "log/00000abc-0000000000001000-0000000000002000-",
					   "log/00000ABC-0000000000001000-0000000000002000", "log/", "", "manifest/00000abc-12345678"};
	for (unsigned i = 0; i < NF_ARRAY_LEN(none); i++)
		assert_false(bd_piece_key_parse(none[i], &generation, &from, &to));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_comes_back),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
