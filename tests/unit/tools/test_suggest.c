/* "Did you mean": distances, and when a word is near enough. */
#include "tests/unit/tools/fixture.h"

#include "tools/lib/suggest.h"

static void distances(void **state)
{
	(void)state;
	assert_int_equal(tl_distance("", ""), 0);
	assert_int_equal(tl_distance("main", "main"), 0);
	assert_int_equal(tl_distance("main", "mian"), 2); /* two neighbours swapped: one edit */
	assert_int_equal(tl_distance("main", "mai"), 2);
	assert_int_equal(tl_distance("main", "mainx"), 2);
	assert_int_equal(tl_distance("main", "moin"), 2);
	assert_int_equal(tl_distance("main", "Main"), 1);
	assert_int_equal(tl_distance("", "abc"), 6);
	assert_int_equal(tl_distance("abc", ""), 6);
	assert_int_equal(tl_distance("kitten", "sitting"), 6);
}

static void a_distance_is_symmetric(void **state)
{
	static const char *const words[] = {"", "a", "main", "mian", "development", "dev", "Dev", "x-y_z.1"};
	(void)state;
	for (size_t i = 0; i < NF_ARRAY_LEN(words); i++)
		for (size_t j = 0; j < NF_ARRAY_LEN(words); j++)
			assert_int_equal(tl_distance(words[i], words[j]), tl_distance(words[j], words[i]));
}

static void words_that_are_too_long(void **state)
{
	char longest[TL_SUGGEST_WORD_MAX + 1], longer[TL_SUGGEST_WORD_MAX + 2];
	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(tl_distance(longest, longest), 0);
	assert_int_equal(tl_distance("", longest), 2 * TL_SUGGEST_WORD_MAX);
	assert_true(tl_distance(longer, "x") == SIZE_MAX);
	assert_true(tl_distance("x", longer) == SIZE_MAX);
}

static void nearest_of_a_list(void **state)
{
	static const char *const commands[] = {"init", "create", "list", "tree", "snapshot", "delete"};
	(void)state;
	assert_string_equal(tl_nearest("craete", commands, 6), "create");
	assert_string_equal(tl_nearest("snapsho", commands, 6), "snapshot");
	assert_string_equal(tl_nearest("LIST", commands, 6), "list");
	assert_null(tl_nearest("frobnicate", commands, 6));
	assert_null(tl_nearest("x", commands, 6));
	assert_null(tl_nearest("", commands, 6));
	assert_null(tl_nearest("create", commands, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distances),
		cmocka_unit_test(a_distance_is_symmetric),
		cmocka_unit_test(words_that_are_too_long),
		cmocka_unit_test(nearest_of_a_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
