/* Token bucket and back-off, with a clock of the test's. */
#include "tests/unit/object/case.h"

#include "blockdev/tier/object/limit.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

static void no_limit(void **state)
{
	struct ob_bucket bucket = {0};
	(void)state;
	assert_int_equal(ob_bucket_take(&bucket, UINT64_MAX, 5), UINT64_MAX);
	assert_true(ob_bucket_is_open(&bucket, 5));
	assert_int_equal(ob_bucket_ready_ns(&bucket, 5), 5);
}

/* As greedy as can be, for ten seconds: the rate, and a burst. */
static void average(void **state)
{
	const uint64_t rates[] = {1000, 1000000, 100000000, 10000000000};
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(rates); i++) {
		struct ob_bucket bucket = {.rate = rates[i]};
		uint64_t taken = 0, burst = NF_MAX(rates[i] / 10, 65536);
		int64_t now = 77 * SECOND;
		for (; now <= 87 * SECOND; now += MS)
			taken += ob_bucket_take(&bucket, UINT64_MAX, now);
		assert_in_range(taken, rates[i] * 10, rates[i] * 10 + burst + rates[i] / 100);
	}
}

static void waiting(void **state)
{
	struct ob_bucket bucket = {.rate = 1000000};
	int64_t now = SECOND;
	(void)state;
	assert_int_equal(ob_bucket_take(&bucket, 1000, now), 1000);
	assert_int_equal(ob_bucket_take(&bucket, 1000000, now), 99000); /* the rest of the burst */
	assert_int_equal(ob_bucket_take(&bucket, 1, now), 0);
	assert_false(ob_bucket_is_open(&bucket, now));
	int64_t ready = ob_bucket_ready_ns(&bucket, now);
	assert_int_equal(ready, now + 50 * MS);
	assert_int_equal(ob_bucket_take(&bucket, 1000000, ready), 50000);
}

static void large_pieces(void **state)
{
	struct ob_bucket bucket = {.rate = 1000000};
	(void)state;
	assert_true(ob_bucket_is_open(&bucket, SECOND));
	ob_bucket_charge(&bucket, 3000000, SECOND);
	assert_false(ob_bucket_is_open(&bucket, SECOND));
	assert_false(ob_bucket_is_open(&bucket, SECOND + 2900 * MS));
	assert_true(ob_bucket_is_open(&bucket, SECOND + 2901 * MS));
}

/* Idling saves up one burst and no more. */
static void idle(void **state)
{
	struct ob_bucket bucket = {.rate = 1000000};
	(void)state;
	assert_int_equal(ob_bucket_take(&bucket, UINT64_MAX, SECOND), 100000);
	assert_int_equal(ob_bucket_take(&bucket, UINT64_MAX, 1000 * SECOND), 100000);
}

static void pauses(void **state)
{
	uint64_t random = 1;
	(void)state;
	for (unsigned failures = 1; failures < 100; failures++) {
		uint64_t whole = failures > 10 ? 20000 : NF_MIN(UINT64_C(200) << (failures - 1), 20000);
		uint32_t least = UINT32_MAX, most = 0;
		for (unsigned turn = 0; turn < 500; turn++) {
			uint32_t pause = ob_pause_ms(failures, 200, 20000, 0, ob_random(&random));
			least = NF_MIN(least, pause);
			most = NF_MAX(most, pause);
		}
		assert_in_range(least, whole / 2, whole / 2 + whole / 10);
		assert_in_range(most, whole - whole / 10, whole);
	}
	assert_int_equal(ob_pause_ms(1, 200, 20000, 5000, 0), 5000);
	assert_int_equal(ob_pause_ms(UINT32_MAX, 1, 1, 0, 99), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(no_limit),     cmocka_unit_test(average), cmocka_unit_test(waiting),
					   cmocka_unit_test(large_pieces), cmocka_unit_test(idle),    cmocka_unit_test(pauses)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
