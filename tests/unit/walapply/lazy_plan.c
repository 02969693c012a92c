/* The plan of a redo layer: there and back, look-ups, and bytes that somebody else wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "walapply/pitr/lazy_plan.h"

#define FILE_A 77u
#define FILE_B 0xFFFFFFFFF0ull

static void make(struct lz_plan *plan)
{
	*plan = (struct lz_plan){
		.version = {.major = 15, .checksums = true},
		.segment_size = 16u << 20,
		.timeline = 3,
		.system_id = 0x6A1B2C3D4E5F6071ull,
		.from = {0x5000028},
		.to = {0x7123458},
		.written = {0x6500000},
		.base = {.branch = {4}, .epoch = {9}},
		.wal_branch = {12},
		.first_segment = 5,
		.segment_count = 3,
		.segments = calloc(3, sizeof(struct lz_segment)),
	};
	plan->segments[0] = (struct lz_segment){2, LZ_IN_BASE};
	plan->segments[1] = (struct lz_segment){3, LZ_IN_BRANCH};
	plan->segments[2] = (struct lz_segment){3, LZ_IN_OWN};
	/* One that begins before the plan, and one that ends behind it. */
	assert_int_equal(lz_plan_add_run(plan, (struct wa_run){0, 6}), 0);
	assert_int_equal(lz_plan_add_run(plan, (struct wa_run){6, 8}), 0);
	struct lz_file *a = lz_plan_add(plan, FILE_A, (struct wa_block){.rel = {1663, 5, 16384}, .blkno = 131072}, 130);
	struct lz_file *b = lz_plan_add(plan, FILE_B, (struct wa_block){.rel = {1664, 0, 1262}, .fork = WA_FORK_VM}, 1);
	a->bits[0] = UINT64_C(1) << 63;
	a->bits[1] = 1;
	a->bits[2] = 2;
	b->bits[0] = 1;
}

static void there_and_back(void **state)
{
	struct lz_plan plan, back;
	uint8_t *bytes;
	size_t size;
	(void)state;
	make(&plan);
	assert_int_equal(lz_plan_encode(&plan, &bytes, &size), 0);
	assert_int_equal(lz_plan_decode(bytes, size, &back), 0);
	assert_int_equal(back.version.major, 15);
	assert_true(back.version.checksums && !back.version.log_hints);
	assert_true(back.from.v == plan.from.v && back.to.v == plan.to.v && back.written.v == plan.written.v);
	assert_true(back.system_id == plan.system_id && back.segment_size == plan.segment_size && back.timeline == 3);
	assert_true(back.base.branch.v == 4 && back.base.epoch.v == 9 && back.first_segment == 5 && back.wal_branch.v == 12);
	assert_int_equal(back.segment_count, 3);
	assert_true(back.segments[0].timeline == 2 && back.segments[0].place == LZ_IN_BASE &&
		    back.segments[2].place == LZ_IN_OWN);
	assert_int_equal(back.run_count, 2);
	assert_true(back.runs[0].first == 0 && back.runs[0].count == 6 && back.runs[1].first == 6 && back.runs[1].count == 8);
	const struct lz_file *file = lz_plan_file(&back, FILE_A);
	assert_non_null(file);
	assert_int_equal(file->first.blkno, 131072);
	assert_int_equal(file->blocks, 130);
	assert_non_null(lz_plan_file(&back, FILE_B));
	assert_null(lz_plan_file(&back, 78));
	lz_plan_free(&back);
	free(bytes);
	/* Without runs it is of the first version, which earlier programs read. */
	plan.run_count = 0;
	assert_int_equal(lz_plan_encode(&plan, &bytes, &size), 0);
	assert_int_equal(bytes[4], 1);
	assert_int_equal(lz_plan_decode(bytes, size, &back), 0);
	assert_int_equal(back.run_count, 0);
	assert_non_null(lz_plan_file(&back, FILE_B));
	lz_plan_free(&plan);
	lz_plan_free(&back);
	free(bytes);
}

/* Runs that overlap, that are none, or that have no segment of the plan. */
static void wrong_runs(void **state)
{
	static const struct wa_run wrong[][2] = {{{0, 7}, {6, 8}}, {{6, 8}, {0, 6}}, {{5, 1}, {6, 8}},	{{5, 0}, {6, 8}},
						 {{0, 5}, {6, 8}}, {{0, 6}, {8, 8}}, {{5, 2}, {7, UINT32_MAX}}};
	struct lz_plan plan, back;
	uint8_t *bytes;
	size_t size;
	(void)state;
	make(&plan);
	for (size_t i = 0; i < NF_ARRAY_LEN(wrong); i++) {
		memcpy(plan.runs, wrong[i], sizeof(wrong[i]));
		assert_int_equal(lz_plan_encode(&plan, &bytes, &size), 0);
		assert_int_equal(lz_plan_decode(bytes, size, &back), -EUCLEAN);
		free(bytes);
	}
	lz_plan_free(&plan);
}

static void look_ups(void **state)
{
	struct lz_plan plan;
	uint64_t bits[4] = {0};
	(void)state;
	make(&plan);
	assert_int_equal(lz_plan_next(&plan, FILE_A, 0), 63);
	assert_int_equal(lz_plan_next(&plan, FILE_A, 63), 63);
	assert_int_equal(lz_plan_next(&plan, FILE_A, 64), 64);
	assert_int_equal(lz_plan_next(&plan, FILE_A, 65), 129);
	assert_int_equal(lz_plan_next(&plan, FILE_A, 130), UINT32_MAX);
	assert_int_equal(lz_plan_next(&plan, FILE_A, UINT32_MAX), UINT32_MAX);
	assert_int_equal(lz_plan_next(&plan, 78, 0), UINT32_MAX);
	lz_plan_touched(&plan, FILE_A, 0, bits, 4);
	assert_true(bits[0] == UINT64_C(1) << 63 && bits[1] == 1 && bits[2] == 2 && bits[3] == 0);
	memset(bits, 0, sizeof(bits));
	lz_plan_touched(&plan, FILE_A, 64, bits, 1); /* not beyond what was asked for */
	assert_true(bits[0] == 1 && bits[1] == 0);
	memset(bits, 0, sizeof(bits));
	lz_plan_touched(&plan, FILE_A, 256, bits, 4);
	lz_plan_touched(&plan, 78, 0, bits, 4);
	assert_true(bits[0] == 0 && bits[3] == 0);
	lz_plan_free(&plan);
}

/* Seal again, so that what is behind the sum is looked at. */
static int decode_sealed(uint8_t *bytes, size_t size)
{
	struct lz_plan plan;
	uint64_t sum = XXH3_64bits(bytes, size - 8);
	memcpy(bytes + size - 8, &sum, 8);
	/* An allocation of exactly that size, for the sanitizers. */
	uint8_t *copy = malloc(size);
	assert_non_null(copy);
	memcpy(copy, bytes, size);
	int error = lz_plan_decode(copy, size, &plan);
	if (error == 0)
		lz_plan_free(&plan);
	free(copy);
	return error;
}

static void damaged(void **state)
{
	struct lz_plan plan, back;
	uint8_t *bytes;
	size_t size;
	(void)state;
	make(&plan);
	assert_int_equal(lz_plan_encode(&plan, &bytes, &size), 0);
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 0x40;
		assert_int_equal(lz_plan_decode(bytes, size, &back), -EUCLEAN);
		bytes[i] ^= 0x40;
	}
	for (size_t cut = 0; cut < size; cut++)
		assert_int_equal(lz_plan_decode(bytes, cut, &back), -EUCLEAN);
	/* Under a right sum: shorter ones, another version, and any byte changed; nothing is read outside. */
	uint8_t *cut_off = malloc(size);
	assert_non_null(cut_off);
	for (size_t cut = 8; cut < size; cut++) {
		memcpy(cut_off, bytes, size);
		assert_int_equal(decode_sealed(cut_off, cut), -EUCLEAN);
	}
	free(cut_off);
	assert_int_equal(bytes[4], 2);
	bytes[4] = 3;
	assert_int_equal(decode_sealed(bytes, size), -EPROTONOSUPPORT);
	bytes[4] = 2;
	for (size_t i = 8; i < size - 8; i++)
		for (unsigned value = 0; value < 256; value += 51) {
			uint8_t old = bytes[i];
			bytes[i] = (uint8_t)value;
			int error = decode_sealed(bytes, size);
			assert_true(error == 0 || error == -EUCLEAN);
			bytes[i] = old;
		}
	lz_plan_free(&plan);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(wrong_runs),
		cmocka_unit_test(look_ups),
		cmocka_unit_test(damaged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
