/* Points as people write them: tools/neonfs/point_text.h. */
#include "tests/unit/tools/fixture.h"

#include "tools/neonfs/point_text.h"

static struct point_text good(const char *text)
{
	char message[POINT_MESSAGE_MAX] = "";
	struct point_text point = {0};
	if (point_parse(text, &point, message) != 0)
		fail_msg("\"%s\" is refused: %s", text, message);
	return point;
}

/* The text is refused, in words that have `fragment` in them. */
static void bad(const char *text, const char *fragment)
{
	char message[POINT_MESSAGE_MAX] = "";
	struct point_text point = {.time_us = -7};
	if (point_parse(text, &point, message) != -EINVAL)
		fail_msg("\"%s\" is taken", text);
	if (strstr(message, fragment) == NULL || strchr(message, '\n') != NULL)
		fail_msg("\"%s\" is refused without \"%s\": %s", text, fragment, message);
	assert_int_equal(point.time_us, -7);
}

static void an_lsn_has_two_forms(void **state)
{
	(void)state;
	struct point_text point = good("16/B374D848");
	assert_int_equal(point.kind, POINT_LSN);
	assert_int_equal(point.lsn.v, UINT64_C(0x16B374D848));
	/* The other one may be a label's name. */
	point = good("16-B374D848");
	assert_int_equal(point.kind, POINT_NAME);
	assert_true(point.may_be_lsn);
	assert_int_equal(point.lsn.v, UINT64_C(0x16B374D848));
	assert_string_equal(point.name, "16-B374D848");
	point = good("lsn:16-b374d848");
	assert_int_equal(point.kind, POINT_LSN);
	bad("0/0", "no LSN");
	bad("lsn:16", "16/B374D848");
	bad("lsn:1/123456789", "no LSN");
	assert_false(good("0-0").may_be_lsn);
}

static void a_time_needs_a_zone(void **state)
{
	(void)state;
	assert_int_equal(good("2000-01-01T00:00:00Z").time_us, 0);
	assert_int_equal(good("2000-01-01T00:00Z").kind, POINT_TIME);
	assert_int_equal(good("2026-11-24T01:34:00Z").time_us, INT64_C(848799240000000));
	assert_int_equal(good("2026-11-24 02:34:00+01:00").time_us, INT64_C(848799240000000));
	assert_int_equal(good("2026-11-23t20:04:00-0530").time_us, INT64_C(848799240000000));
	assert_int_equal(good("2026-11-24 01:34:00.5+00").time_us, INT64_C(848799240500000));
	assert_int_equal(good("2026-11-24 01:34:00.123456789 UTC").time_us, INT64_C(848799240123456));
	assert_int_equal(good("1999-12-31T23:59:59.999999Z").time_us, -1);
	assert_int_equal(good("2024-02-29T00:00:00Z").time_us, INT64_C(762480000000000));
	bad("2026-11-24T01:34:00", "has no zone");
	bad("2026-11-24 01:34", "has no zone");
	bad("2026-11-24T01:34:00 Europe/Berlin", "zone that can be read");
	bad("2026-11-24T01:34:00+1", "zone");
	bad("2026-11-24T01:34:00+01:", "zone");
	bad("2026-11-24T01:34:00ZZ", "zone");
	bad("2026-11-24T24:00:00Z", "no time");
	bad("2026-11-24T01:60:00Z", "no time");
	bad("2026-11-24T01:34:61Z", "no time");
	bad("2026-11-24T01:34:00.Z", "no time");
	bad("2026-02-29T00:00:00Z", "no time");
	bad("2026-13-01T00:00:00Z", "no time");
	bad("0000-01-01T00:00:00Z", "no time");
	bad("time:2026-11-24", "no time");
	bad("time:yesterday", "no time");
}

static void all_else_is_a_name(void **state)
{
	static const char *const names[] = {
		"before-upgrade", "2026-11-24", "2026-11-24T0134", "release/1.2", "16/B374D848x", "with blanks", "a@b", "g-1",
		"LSN:1/2"};
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(names); i++) {
		struct point_text point = good(names[i]);
		assert_int_equal(point.kind, POINT_NAME);
		assert_false(point.may_be_lsn);
		assert_string_equal(point.name, names[i]);
	}
	/* A label of the time it was made looks like an LSN. */
	assert_true(good("20261124-013400").may_be_lsn);
	assert_int_equal(good("label:1/2").kind, POINT_LABEL);
	assert_string_equal(good("restore-point:2026-11-24 01:34 deploy").name, "2026-11-24 01:34 deploy");
	bad("", "empty");
	bad("label:", "empty");
}

static void a_time_is_printed_as_it_is_read(void **state)
{
	char buf[POINT_TIME_MAX];
	(void)state;
	assert_string_equal(point_time(buf, 0), "2000-01-01T00:00:00Z");
	assert_string_equal(point_time(buf, -1), "1999-12-31T23:59:59.999999Z");
	assert_string_equal(point_time(buf, INT64_C(848799240000001)), "2026-11-24T01:34:00.000001Z");
	for (int64_t us = -86400000000 * 400; us < INT64_C(1000000) * 86400 * 12000; us += INT64_C(7654321) * 86397)
		assert_int_equal(good(point_time(buf, us)).time_us, us);
}

static void a_name_that_looks_like_a_time_is_told_how_times_are_written(void **state)
{
	static const char *const times[] = {"14:55", "yesterday", "2026-11-24", "24.11.2026", "5 minutes ago", "2026-11-24T01"};
	static const char *const names[] = {"before-upgrade", "v2", "2026-release", "nowhere", ""};
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(times); i++)
		assert_non_null(strstr(point_name_hint(times[i]), "2026-11-24T01:34:00Z"));
	for (size_t i = 0; i < NF_ARRAY_LEN(names); i++)
		assert_string_equal(point_name_hint(names[i]), "");
}

static void labels_that_would_be_taken_for_something_else(void **state)
{
	static const char *const lsns[] = {"16-B374D848", "0-3000028", "1-2", "FFFFFFFF-FFFFFFFF", "20261124-0134001"};
	static const char *const times[] = {"2026-11-24T01", "2026-11-24t01.34", "2026-11-24T0134Z"};
	static const char *const names[] = {"before-upgrade", "v1-2", "cafe-1", "20261124-013400", "20261124-013400-2", "2026-11-24", "16-B374D848x", ""};
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(lsns); i++)
		assert_true(point_is_like_lsn(lsns[i]) && !point_is_like_time(lsns[i]));
	for (size_t i = 0; i < NF_ARRAY_LEN(times); i++)
		assert_true(point_is_like_time(times[i]) && !point_is_like_lsn(times[i]));
	for (size_t i = 0; i < NF_ARRAY_LEN(names); i++)
		assert_false(point_is_like_time(names[i]) || point_is_like_lsn(names[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_lsn_has_two_forms),
		cmocka_unit_test(a_time_needs_a_zone),
		cmocka_unit_test(all_else_is_a_name),
		cmocka_unit_test(a_time_is_printed_as_it_is_read),
		cmocka_unit_test(a_name_that_looks_like_a_time_is_told_how_times_are_written),
		cmocka_unit_test(labels_that_would_be_taken_for_something_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
