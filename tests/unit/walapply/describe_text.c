/* The bounded text, names of types, and times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "walapply/decode/wa_records.h"
#include "walapply/describe/wa_describe.h"

/* Texts of all lengths into buffers of all sizes: what does not fit is cut, marked and counted, and nothing is written behind the end. */
static void bounds(void **state)
{
	(void)state;
	for (size_t size = 1; size < 20; size++)
		for (size_t length = 0; length < 40; length++) {
			char *data = malloc(size);
			struct wa_text text = wa_text_init(data, size);
			for (size_t i = 0; i < length; i++) {
				if (i % 2)
					wa_text_put(&text, "%s", "y");
				else
					wa_text_put_bytes(&text, "x", 1);
			}
			assert_int_equal(text.length, length);
			assert_int_equal(wa_text_is_cut(&text), length >= size);
			assert_int_equal(strlen(data), NF_MIN(length, size - 1));
			if (length >= size && size > 3)
				assert_string_equal(data + size - 4, "...");
			free(data);
		}
}

static void one_long_piece(void **state)
{
	(void)state;
	char data[8];
	struct wa_text text = wa_text_init(data, sizeof(data));
	wa_text_put_bytes(&text, "0123456789", 10);
	assert_string_equal(data, "0123...");
	assert_int_equal(text.length, 10);
	text = wa_text_init(data, sizeof(data));
	wa_text_put(&text, "%s", "0123456789");
	wa_text_put(&text, "%s", "more");
	assert_string_equal(data, "0123...");
	assert_int_equal(text.length, 14);
}

/* A description that does not fit is no error; the length says what to come back with. */
static void room_as_told(void **state)
{
	(void)state;
	const uint8_t main[] = {3, 0, 2};
	struct wa_record record = {.rmid = WA_RMGR_HEAP, .main = main, .main_len = sizeof(main)};
	struct wa_version version = {.major = 15};
	struct wa_error error;
	char small[6], large[32];
	struct wa_text text = wa_text_init(small, sizeof(small));
	assert_int_equal(wa_describe(&version, &record, &text, &error), 0);
	assert_true(wa_text_is_cut(&text));
	assert_string_equal(small, "of...");
	assert_true(text.length < sizeof(large));
	text = wa_text_init(large, text.length + 1);
	assert_int_equal(wa_describe(&version, &record, &text, &error), 0);
	assert_false(wa_text_is_cut(&text));
	assert_string_equal(large, "off 3 flags 0x02");
}

static void expect_name(int major, uint8_t rmid, uint8_t info, const char *name)
{
	char data[64];
	struct wa_text text = wa_text_init(data, sizeof(data));
	wa_describe_name(major, rmid, info, &text);
	assert_string_equal(data, name);
}

static void names(void **state)
{
	(void)state;
	expect_name(15, WA_RMGR_HEAP, 0x00, "INSERT");
	expect_name(15, WA_RMGR_HEAP, 0x02, "INSERT"); /* the lower bits are not the manager's */
	expect_name(15, WA_RMGR_HEAP, 0x80, "INSERT+INIT");
	expect_name(15, WA_RMGR_HEAP, 0xA0, "UPDATE+INIT");
	expect_name(15, WA_RMGR_HEAP, 0xC0, "HOT_UPDATE+INIT");
	expect_name(15, WA_RMGR_HEAP, 0x90, "UNKNOWN (90)");
	expect_name(15, WA_RMGR_HEAP2, 0xD0, "MULTI_INSERT+INIT");
	expect_name(15, WA_RMGR_HEAP2, 0x90, "UNKNOWN (90)");
	expect_name(15, WA_RMGR_BRIN, 0x90, "INSERT+INIT");
	expect_name(15, WA_RMGR_BRIN, 0xA0, "UPDATE+INIT");
	expect_name(15, WA_RMGR_XACT, 0x80, "COMMIT");
	expect_name(13, WA_RMGR_XACT, 0x60, "UNKNOWN (60)");
	expect_name(14, WA_RMGR_XACT, 0x60, "INVALIDATION");
	expect_name(13, WA_RMGR_HEAP2, 0x10, "CLEAN");
	expect_name(16, WA_RMGR_HEAP2, 0x10, "PRUNE");
	expect_name(17, WA_RMGR_HEAP2, 0x10, "PRUNE_ON_ACCESS");
	expect_name(15, WA_RMGR_GENERIC, 0x30, "Generic");
	expect_name(15, WA_RMGR_XLOG, 0xF0, "UNKNOWN (f0)");
	expect_name(15, 135, 0x10, "UNKNOWN (10)");
}

static void expect_time(const char *zone, int64_t time_us, const char *expected)
{
	uint8_t main[24] = {0};
	uint64_t raw = htole64((uint64_t)time_us);
	memcpy(main + 8, &raw, sizeof(raw));
	struct wa_record record = {.rmid = WA_RMGR_XLOG, .info = 0xD0, .main = main, .main_len = sizeof(main)};
	struct wa_version version = {.major = 15};
	struct wa_error error;
	char data[100];
	struct wa_text text = wa_text_init(data, sizeof(data));
	setenv("TZ", zone, 1);
	tzset();
	assert_int_equal(wa_describe(&version, &record, &text, &error), 0);
	assert_string_equal(data, expected);
}

static void times(void **state)
{
	(void)state;
	expect_time("UTC", 0, "lsn 0/0; time 2000-01-01 00:00:00.000000 UTC");
	expect_time("XYZ-5:30", 1, "lsn 0/0; time 2000-01-01 05:30:00.000001 XYZ");
	/* As pg_waldump has it: a fraction before 2000 is negative. */
	expect_time("UTC", -1500000, "lsn 0/0; time 1999-12-31 23:59:59.-500000 UTC");
	expect_time("UTC", INT64_MAX, "lsn 0/0; time 294277-01-09 04:00:54.775807 UTC");
	expect_time("UTC", INT64_MIN, "lsn 0/0; time -290278-12-22 19:59:06.-775808 UTC");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds), cmocka_unit_test(one_long_piece), cmocka_unit_test(room_as_told),
		cmocka_unit_test(names),  cmocka_unit_test(times),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
