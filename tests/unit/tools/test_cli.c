/* The table-driven parser: what reaches a command, and what does not. */
#include "tests/unit/tools/fixture.h"

#include <stdio.h>

#include "tools/lib/cli.h"

static struct {
	unsigned runs;
	char first[64], second[64], value[64], store[64], rest[64];
	bool flag;
	unsigned arg_count;
	int rest_count;
} seen;

static void copy(char *to, const char *from)
{
	snprintf(to, 64, "%s", from != NULL ? from : "(none)");
}

static int take(const struct tl_call *call)
{
	seen.runs++;
	seen.arg_count = call->arg_count;
	copy(seen.first, call->args[0]);
	copy(seen.second, call->args[1]);
	copy(seen.value, tl_value(call, "from"));
	copy(seen.store, tl_value(call, "store"));
	seen.flag = tl_flag(call, "json");
	seen.rest_count = call->rest_count;
	copy(seen.rest, call->rest_count > 0 ? call->rest[0] : NULL);
	return 42;
}

static const struct tl_option options[] = {
	{.name = "from", .letter = 'f', .argument = "X", .help = "a value"},
	{.name = "json", .letter = 'j', .help = "a flag"},
	{.name = "later", .argument = "X", .refusal = "not yet"},
	{0},
};
static const struct tl_option globals[] = {{.name = "store", .argument = "S", .help = "the store"}, {0}};
static const struct tl_command commands[] = {
	{.name = "make",
	 .synopsis = "A [B]",
	 .summary = "Make",
	 .arguments = {"A", "B"},
	 .required = 1,
	 .takes_rest = true,
	 .options = options,
	 .run = take},
	{.name = "future", .refusal = "not yet"},
	{0},
};
static const struct tl_program program = {
	.name = "prog", .summary = "S", .description = "D\n", .options = globals, .commands = commands};

#define RUN(...) run((char *[]){"prog", __VA_ARGS__, NULL})

static int run(char **words)
{
	int count = 0;
	while (words[count] != NULL)
		count++;
	memset(&seen, 0, sizeof(seen));
	return tl_main(&program, count, words);
}

static void words_and_options_in_any_order(void **state)
{
	(void)state;
	assert_int_equal(RUN("make", "a", "--from", "x", "b", "-j"), 42);
	assert_string_equal(seen.first, "a");
	assert_string_equal(seen.second, "b");
	assert_string_equal(seen.value, "x");
	assert_true(seen.flag);
	assert_int_equal(RUN("make", "--from=y", "a"), 42);
	assert_string_equal(seen.value, "y");
	assert_string_equal(seen.second, "(none)");
	assert_false(seen.flag);
	assert_int_equal(RUN("make", "a", "-fz", "--from", "last"), 42);
	assert_string_equal(seen.value, "last");
}

static void global_options_before_and_after(void **state)
{
	(void)state;
	assert_int_equal(RUN("--store", "s", "make", "a"), 42);
	assert_string_equal(seen.store, "s");
	assert_int_equal(RUN("make", "a", "--store", "t"), 42);
	assert_string_equal(seen.store, "t");
	assert_int_equal(RUN("--store", "s", "make", "--store", "t", "a"), 42);
	assert_string_equal(seen.store, "t");
}

static void words_after_two_dashes(void **state)
{
	(void)state;
	assert_int_equal(RUN("make", "a", "--", "--from", "x"), 42);
	assert_int_equal(seen.arg_count, 1);
	assert_int_equal(seen.rest_count, 2);
	assert_string_equal(seen.rest, "--from");
	assert_string_equal(seen.value, "(none)");
	assert_int_equal(RUN("make", "a", "--"), 42);
	assert_int_equal(seen.rest_count, 0);
}

static void mistakes_do_not_run_the_command(void **state)
{
	(void)state;
	assert_int_equal(RUN("make"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "b", "c"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "--form", "x"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "--from"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "--json=1"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "-x"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "--later", "x"), TL_USAGE);
	assert_int_equal(RUN("mkae", "a"), TL_USAGE);
	assert_int_equal(RUN("future"), TL_USAGE);
	assert_int_equal(RUN("--unknown", "make", "a"), TL_USAGE);
	assert_int_equal(run((char *[]){"prog", NULL}), TL_USAGE);
	assert_int_equal(seen.runs, 0);
}

static void help_does_not_run_the_command(void **state)
{
	(void)state;
	assert_int_equal(RUN("--help"), TL_OK);
	assert_int_equal(RUN("make", "--help"), TL_OK);
	assert_int_equal(RUN("make", "a", "b", "-h"), TL_OK);
	assert_int_equal(RUN("help", "make"), TL_OK);
	assert_int_equal(RUN("help", "future"), TL_USAGE);
	assert_int_equal(RUN("make", "a", "--version"), TL_OK);
	assert_int_equal(seen.runs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_and_options_in_any_order), cmocka_unit_test(global_options_before_and_after),
		cmocka_unit_test(words_after_two_dashes),         cmocka_unit_test(mistakes_do_not_run_the_command),
		cmocka_unit_test(help_does_not_run_the_command),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
