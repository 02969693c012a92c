/* Bounded cursors: what fits is right, what does not fit fails and moves nothing. */
#include "fixture.h"

#include <string.h>

#include "common/nf_cursor.h"

static void round_trip(void **state)
{
	uint8_t bytes[64];
	struct nf_writer w = nf_writer_init(bytes, sizeof(bytes));

	(void)state;
	nf_write_u8(&w, 0x12);
	nf_write_u16(&w, 0x3456);
	nf_write_u32(&w, 0x789abcde);
	nf_write_u64(&w, UINT64_C(0x0123456789abcdef));
	nf_write_u16_be(&w, 0x3456);
	nf_write_u32_be(&w, 0x789abcde);
	nf_write_u64_be(&w, UINT64_C(0x0123456789abcdef));
	nf_write_bytes(&w, "neon", 4);
	assert_false(w.failed);
	assert_int_equal(w.offset, 1 + 2 * (2 + 4 + 8) + 4);

	struct nf_reader r = nf_reader_init(bytes, w.offset);
	assert_int_equal(nf_read_u8(&r), 0x12);
	assert_int_equal(nf_read_u16(&r), 0x3456);
	assert_int_equal(nf_read_u32(&r), 0x789abcde);
	assert_int_equal(nf_read_u64(&r), UINT64_C(0x0123456789abcdef));
	assert_int_equal(nf_read_u16_be(&r), 0x3456);
	assert_int_equal(nf_read_u32_be(&r), 0x789abcde);
	assert_int_equal(nf_read_u64_be(&r), UINT64_C(0x0123456789abcdef));
	assert_int_equal(nf_reader_left(&r), 4);
	assert_memory_equal(nf_read_bytes(&r, 4), "neon", 4);
	assert_int_equal(nf_reader_left(&r), 0);
	assert_false(r.failed);
}

static void byte_order(void **state)
{
	static const uint8_t wanted[] = {0x78, 0x56, 0x34, 0x12, 0x12, 0x34, 0x56, 0x78};
	uint8_t bytes[8];
	struct nf_writer w = nf_writer_init(bytes, sizeof(bytes));

	(void)state;
	nf_write_u32(&w, 0x12345678);
	nf_write_u32_be(&w, 0x12345678);
	assert_memory_equal(bytes, wanted, sizeof(wanted));
}

/* Ordered keys: bytes compare as the numbers do. */
static void big_endian_is_ordered(void **state)
{
	static const uint64_t numbers[] = {0, 1, 255, 256, 65535, UINT32_MAX, UINT64_C(1) << 40, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i + 1 < NF_ARRAY_LEN(numbers); i++) {
		uint8_t low[8], high[8];
		struct nf_writer a = nf_writer_init(low, sizeof(low));
		struct nf_writer b = nf_writer_init(high, sizeof(high));
		nf_write_u64_be(&a, numbers[i]);
		nf_write_u64_be(&b, numbers[i + 1]);
		assert_true(memcmp(low, high, sizeof(low)) < 0);
	}
}

static void read_past_end(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3};
	struct nf_reader r = nf_reader_init(bytes, sizeof(bytes));

	(void)state;
	assert_int_equal(nf_read_u32(&r), 0);
	assert_true(r.failed);
	assert_int_equal(r.offset, 0);
	/* Failure sticks, also for what would fit. */
	assert_int_equal(nf_read_u8(&r), 0);
	assert_null(nf_read_bytes(&r, 1));
	assert_int_equal(r.offset, 0);

	uint8_t copy[4] = {9, 9, 9, 9};
	nf_read_copy(&r, copy, sizeof(copy));
	assert_true(is_zero(copy, sizeof(copy)));
}

static void huge_count_does_not_wrap(void **state)
{
	uint8_t bytes[8] = {0};
	struct nf_reader r = nf_reader_init(bytes, sizeof(bytes));
	struct nf_writer w = nf_writer_init(bytes, sizeof(bytes));
	volatile size_t huge = SIZE_MAX; /* unknown to the compiler, which would refuse it */

	(void)state;
	nf_read_u32(&r);
	assert_null(nf_read_bytes(&r, huge));
	assert_true(r.failed);
	nf_write_u32(&w, 1);
	nf_write_bytes(&w, bytes, huge - 2);
	assert_true(w.failed);
	assert_int_equal(w.offset, 4);
}

static void write_past_end(void **state)
{
	uint8_t bytes[4] = {0, 0, 0, 7};
	struct nf_writer w = nf_writer_init(bytes, 3);

	(void)state;
	nf_write_u16(&w, 0x0201);
	nf_write_u16(&w, 0x0403);
	assert_true(w.failed);
	assert_int_equal(w.offset, 2);
	nf_write_u8(&w, 5);
	assert_int_equal(w.offset, 2);
	assert_int_equal(bytes[2], 0);
	assert_int_equal(bytes[3], 7);
}

static void empty(void **state)
{
	struct nf_reader r = nf_reader_init(NULL, 0);
	struct nf_writer w = nf_writer_init(NULL, 0);

	(void)state;
	nf_write_bytes(&w, NULL, 0);
	assert_false(w.failed);
	nf_write_u8(&w, 1);
	assert_true(w.failed);
	assert_int_equal(nf_read_u8(&r), 0);
	assert_true(r.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(byte_order),
		cmocka_unit_test(big_endian_is_ordered),
		cmocka_unit_test(read_past_end),
		cmocka_unit_test(huge_count_does_not_wrap),
		cmocka_unit_test(write_past_end),
		cmocka_unit_test(empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
