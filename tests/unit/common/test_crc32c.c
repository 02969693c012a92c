/* CRC32C: the published check values, and that the fast way and the tables agree at all lengths and alignments. */
#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "common/nf_crc32c.h"

static void check_values(void **state)
{
	(void)state;
	uint8_t bytes[32];
	assert_int_equal(nf_crc32c("123456789", 9), 0xE3069283);
	assert_int_equal(nf_crc32c(NULL, 0), 0);
	/* RFC 3720, B.4 */
	memset(bytes, 0, 32);
	assert_int_equal(nf_crc32c(bytes, 32), 0x8A9136AA);
	memset(bytes, 0xFF, 32);
	assert_int_equal(nf_crc32c(bytes, 32), 0x62A8AB43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(nf_crc32c(bytes, 32), 0x46DD794E);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	assert_int_equal(nf_crc32c(bytes, 32), 0x113FDB5C);
	assert_int_equal(nf_crc32c_extend_table(0, "123456789", 9), 0xE3069283);
}

/* Bit by bit, as the definition has it. */
static uint32_t by_definition(const uint8_t *bytes, size_t size)
{
	uint32_t crc = ~0u;
	for (size_t i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
	}
	return ~crc;
}

static uint8_t bytes[20000];

static void fill(void)
{
	uint32_t seed = 99;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(seed >> 24);
	}
}

static void all_lengths(void **state)
{
	(void)state;
	fill();
	for (size_t size = 0; size < 9000; size += size < 1000 ? 1 : 37)
		for (unsigned shift = 0; shift < 9; shift += size % 3 + 1) {
			uint32_t crc = nf_crc32c(bytes + shift, size);
			assert_int_equal(crc, nf_crc32c_extend_table(0, bytes + shift, size));
			if (size < 300 || size % 11 == 0)
				assert_int_equal(crc, by_definition(bytes + shift, size));
		}
	assert_int_equal(nf_crc32c(bytes, sizeof(bytes)), by_definition(bytes, sizeof(bytes)));
}

static void in_pieces(void **state)
{
	(void)state;
	fill();
	uint32_t whole = nf_crc32c(bytes, 10000);
	for (size_t cut = 0; cut <= 10000; cut += 71) {
		assert_int_equal(nf_crc32c_extend(nf_crc32c(bytes, cut), bytes + cut, 10000 - cut), whole);
		assert_int_equal(nf_crc32c_extend_table(nf_crc32c(bytes, cut), bytes + cut, 10000 - cut), whole);
	}
	assert_true(strlen(nf_crc32c_method()) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_values),
		cmocka_unit_test(all_lengths),
		cmocka_unit_test(in_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
