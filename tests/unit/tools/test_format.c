/* Sizes, numbers, and foreign text made safe to show. */
#include "tests/unit/tools/fixture.h"

#include <stdio.h>

#include "tools/lib/format.h"

static void sizes_are_parsed(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{"0", 0},
		{"4096", 4096},
		{"4096B", 4096},
		{"1k", 1024},
		{"64K", 65536},
		{"64KiB", 65536},
		{"10M", 10u << 20},
		{"2.5G", UINT64_C(5) << 29},
		{"1T", UINT64_C(1) << 40},
		{"1TB", UINT64_C(1) << 40},
		{"15E", UINT64_C(15) << 60},
		{"18446744073709551615", UINT64_MAX},
	};
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		uint64_t bytes = 1;
		assert_int_equal(tl_parse_bytes(cases[i].text, &bytes), 0);
		assert_true(bytes == cases[i].bytes);
	}
}

static void what_is_no_size(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "x", "K", "1.5", "1e9", "10X", "10KK", "10iB", "0x10"};
	static const char *const large[] = {"18446744073709551616", "16E", "99999999999T"};
	uint64_t bytes = 77;
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(bad); i++)
		assert_int_equal(tl_parse_bytes(bad[i], &bytes), -EINVAL);
	for (size_t i = 0; i < NF_ARRAY_LEN(large); i++)
		assert_int_equal(tl_parse_bytes(large[i], &bytes), -ERANGE);
	assert_int_equal(bytes, 77);
}

static void numbers_are_parsed(void **state)
{
	uint64_t number = 77;
	(void)state;
	assert_int_equal(tl_parse_number("16", 1, 256, &number), 0);
	assert_int_equal(number, 16);
	assert_int_equal(tl_parse_number("0", 1, 256, &number), -ERANGE);
	assert_int_equal(tl_parse_number("257", 1, 256, &number), -ERANGE);
	assert_int_equal(tl_parse_number("99999999999999999999999", 1, 256, &number), -ERANGE);
	assert_int_equal(tl_parse_number("-1", 1, 256, &number), -EINVAL);
	assert_int_equal(tl_parse_number("1x", 1, 256, &number), -EINVAL);
	assert_int_equal(tl_parse_number("", 1, 256, &number), -EINVAL);
	assert_int_equal(number, 16);
}

static void sizes_for_people(void **state)
{
	char text[TL_NUMBER_MAX];
	(void)state;
	assert_string_equal(tl_bytes_human(text, 0), "0 B");
	assert_string_equal(tl_bytes_human(text, 1023), "1023 B");
	assert_string_equal(tl_bytes_human(text, 1536), "1.5 KiB");
	assert_string_equal(tl_bytes_human(text, UINT64_MAX), "16.0 EiB");
}

static void times(void **state)
{
	char text[TL_NUMBER_MAX];
	(void)state;
	assert_string_equal(tl_time(text, 0), "1970-01-01T00:00:00Z");
	assert_string_equal(tl_time(text, INT64_C(1795484040) * 1000000000 + 999), "2026-11-24T01:34:00Z");
}

static void text_is_escaped(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{"", ""},
		{"plain", "plain"},
		{"a\nb\tc\x7f", "a\\x0ab\\x09c\\x7f"},
		{"\xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x98", "\xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x98"},
		{"\xff", "\\xff"},
		{"\xc3", "\\xc3"},
		{"\xc0\xaf", "\\xc0\\xaf"},
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},
		{"\xe0\x80\x80", "\\xe0\\x80\\x80"},
		{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
		{"\033[31m", "\\x1b[31m"},
	};
	char text[128];
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(cases); i++) {
		tl_escape(text, sizeof(text), cases[i].text);
		assert_string_equal(text, cases[i].shown);
	}
}

/* Whatever comes and however small the room, the end is there and nothing is written past it. */
static void escaped_text_fits(void **state)
{
	static const char *const texts[] = {"abcdefghijklmnop", "\n\n\n\n\n\n",
					    "ab\xff"
					    "cd\xff",
					    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"};
	(void)state;
	for (size_t t = 0; t < NF_ARRAY_LEN(texts); t++) {
		for (size_t size = 5; size < 40; size++) {
			char room[48];
			memset(room, '#', sizeof(room));
			tl_escape(room, size, texts[t]);
			size_t length = strnlen(room, size);
			assert_in_range(length, 0, size - 1);
			for (size_t i = size; i < sizeof(room); i++)
				assert_int_equal(room[i], '#');
			if (strcmp(texts[t], "abcdefghijklmnop") == 0 && size > 16)
				assert_string_equal(room, texts[t]);
			if (length < strlen(texts[t]) && size < 17)
				assert_string_equal(room + length - 3, "...");
		}
	}
}

static void text_is_quoted(void **state)
{
	char text[16];
	(void)state;
	tl_quote(text, sizeof(text), "main");
	assert_string_equal(text, "\"main\"");
	tl_quote(text, sizeof(text), "a name that is longer than the room");
	assert_string_equal(text, "\"a name tha...\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_parsed),  cmocka_unit_test(what_is_no_size), cmocka_unit_test(numbers_are_parsed),
		cmocka_unit_test(sizes_for_people),  cmocka_unit_test(times),           cmocka_unit_test(text_is_escaped),
		cmocka_unit_test(escaped_text_fits), cmocka_unit_test(text_is_quoted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
