/* Parse, dispatch and report for command-line programs. See cli.h. */
#include "tools/lib/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/cli_help.h"
#include "tools/lib/format.h"
#include "tools/lib/suggest.h"

#define MESSAGE_MAX 4096
#define LONG_OPTION_BASE 1000 /* getopt's value of the n-th long option of the table is this plus n */

static struct {
	const char *program;
	const char *command;
	char subject[TL_QUOTE_MAX];
} context = {.program = "neonfs"};

void tl_subject(const char *subject)
{
	tl_escape(context.subject, sizeof(context.subject), subject);
}

static void print_line(const char *format, va_list arguments)
{
	char raw[MESSAGE_MAX], line[MESSAGE_MAX];
	vsnprintf(raw, sizeof(raw), format, arguments);
	tl_escape(line, sizeof(line), raw);
	fflush(stdout);
	fprintf(stderr, "%s: ", context.program);
	if (context.command != NULL)
		fprintf(stderr, "%s%s%s: ", context.command, context.subject[0] != '\0' ? " " : "", context.subject);
	fprintf(stderr, "%s\n", line);
}

int tl_fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	print_line(format, arguments);
	va_end(arguments);
	return TL_FAILED;
}

int tl_usage(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	print_line(format, arguments);
	va_end(arguments);
	return TL_USAGE;
}

void tl_warn(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	print_line(format, arguments);
	va_end(arguments);
}

int tl_finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	/* A reader that went away (a pager, head) wanted no more: no failure. */
	if (errno == EPIPE)
		return code;
	return tl_fail("cannot write the output: %s", strerror(errno));
}

const char *tl_value(const struct tl_call *call, const char *name)
{
	for (unsigned i = 0; i < call->option_count; i++)
		if (strcmp(call->options[i]->name, name) == 0)
			return call->values[i];
	assert(!"an option that no table of this command has");
	return NULL;
}

const char *tl_value_at(const struct tl_call *call, const char *name, unsigned n)
{
	for (unsigned i = 0; i < call->given_count; i++)
		if (strcmp(call->given[i].option->name, name) == 0 && n-- == 0)
			return call->given[i].value;
	return NULL;
}

bool tl_flag(const struct tl_call *call, const char *name)
{
	return tl_value(call, name) != NULL;
}

/* -------------------------------------------------------------- options */

static void add_options(struct tl_call *call, const struct tl_option *table)
{
	for (; table != NULL && table->name != NULL; table++) {
		assert(call->option_count < TL_OPTIONS_MAX);
		call->options[call->option_count++] = table;
	}
}

/* getopt's form of the options. `letters` starts with '+' (stop at the first word that is no option) or not. */
static void getopt_tables(const struct tl_call *call, bool stop_at_word, struct option *longs, char *letters)
{
	*letters++ = stop_at_word ? '+' : ':';
	if (stop_at_word)
		*letters++ = ':';
	for (unsigned i = 0; i < call->option_count; i++) {
		const struct tl_option *option = call->options[i];
		longs[i] = (struct option){.name = option->name,
					   .has_arg = option->argument != NULL ? required_argument : no_argument,
					   .val = LONG_OPTION_BASE + (int)i};
		if (option->letter != 0) {
			*letters++ = option->letter;
			if (option->argument != NULL)
				*letters++ = ':';
		}
	}
	longs[call->option_count] = (struct option){.name = "help", .val = 'h'};
	longs[call->option_count + 1] = (struct option){.name = "version", .val = 'V'};
	longs[call->option_count + 2] = (struct option){0};
	*letters++ = 'h';
	*letters++ = 'V';
	*letters = '\0';
}

static int unknown_option(const struct tl_call *call, const char *word)
{
	char name[64];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
	const char *names[TL_OPTIONS_MAX + 2];
	size_t count = 0;
	names[count++] = "help";
	names[count++] = "version";
	for (unsigned i = 0; i < call->option_count; i++)
		if (call->options[i]->refusal == NULL)
			names[count++] = call->options[i]->name;
	const char *near = strncmp(name, "--", 2) == 0 ? tl_nearest(name + 2, names, count) : NULL;
	if (near != NULL)
		return tl_usage("unknown option \"%s\" (did you mean \"--%s\"?)", name, near);
	return tl_usage("unknown option \"%s\"; \"%s%s%s --help\" lists them", name, call->program->name,
			call->command != NULL ? " " : "", call->command != NULL ? call->command->name : "");
}

static int set_option(struct tl_call *call, unsigned index)
{
	const struct tl_option *option = call->options[index];
	if (option->refusal != NULL)
		return tl_usage("--%s: %s", option->name, option->refusal);
	if (call->given_count == TL_GIVEN_MAX)
		return tl_usage("too many options: at most %d are possible", TL_GIVEN_MAX);
	call->values[index] = option->argument != NULL ? optarg : "";
	call->given[call->given_count++] = (struct tl_given){option, call->values[index]};
	return TL_OK;
}

static int set_short_option(struct tl_call *call, int letter)
{
	for (unsigned i = 0; i < call->option_count; i++)
		if (call->options[i]->letter == letter)
			return set_option(call, i);
	return TL_USAGE;
}

/* Parse options of argv from optind on. Returns TL_OK, TL_USAGE, or -1 when help or version was printed. */
static int parse_options(struct tl_call *call, int argc, char **argv, bool stop_at_word)
{
	struct option longs[TL_OPTIONS_MAX + 3];
	char letters[2 * TL_OPTIONS_MAX + 8];
	getopt_tables(call, stop_at_word, longs, letters);
	opterr = 0;
	optind = 0; /* glibc: start afresh */
	for (;;) {
		int at = optind > 0 ? optind : 1;
		int found = getopt_long(argc, argv, letters, longs, NULL);
		int code = TL_OK;
		if (found == -1)
			return TL_OK;
		if (found == 'h') {
			tl_help(call->program, call->command);
			return -1;
		}
		if (found == 'V') {
			printf("%s %s\n", call->program->name, NEONFS_VERSION);
			return -1;
		}
		if (found == ':')
			return tl_usage("option \"%s\" needs a value", argv[optind - 1]);
		if (found == '?') {
			char letter[3] = {'-', (char)optopt, '\0'};
			bool is_short = optopt > 0 && optopt < LONG_OPTION_BASE && strncmp(argv[at], "--", 2) != 0;
			if (optopt >= LONG_OPTION_BASE)
				return tl_usage("option \"%s\" takes no value", argv[optind - 1]);
			return unknown_option(call, is_short ? letter : argv[optind - 1]);
		}
		if (found >= LONG_OPTION_BASE)
			code = set_option(call, (unsigned)(found - LONG_OPTION_BASE));
		else
			code = set_short_option(call, found);
		if (code != TL_OK)
			return code;
	}
}

/* ------------------------------------------------------------- commands */

static const struct tl_command *find_command(const struct tl_program *program, const char *name)
{
	for (const struct tl_command *c = program->commands; c->name != NULL; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int unknown_command(const struct tl_program *program, const char *name)
{
	const char *names[64];
	size_t count = 0;
	for (const struct tl_command *c = program->commands; c->name != NULL && count < NF_ARRAY_LEN(names); c++)
		if (c->refusal == NULL)
			names[count++] = c->name;
	char quoted[TL_QUOTE_MAX];
	tl_quote(quoted, sizeof(quoted), name);
	const char *near = tl_nearest(name, names, count);
	if (near != NULL)
		return tl_usage("unknown command %s (did you mean \"%s\"?)", quoted, near);
	return tl_usage("unknown command %s; \"%s --help\" lists them", quoted, program->name);
}

static int take_arguments(struct tl_call *call, int count, char **words)
{
	const struct tl_command *command = call->command;
	unsigned allowed = 0;
	while (allowed < NF_ARRAY_LEN(command->arguments) && command->arguments[allowed] != NULL)
		allowed++;
	for (int i = 0; i < count; i++) {
		if (call->arg_count == allowed) {
			char quoted[TL_QUOTE_MAX];
			tl_quote(quoted, sizeof(quoted), words[i]);
			return tl_usage("one word too many: %s; usage: %s %s %s", quoted, call->program->name, command->name,
					command->synopsis);
		}
		call->args[call->arg_count++] = words[i];
	}
	if (call->arg_count < command->required)
		return tl_usage("%s is missing; usage: %s %s %s", command->arguments[call->arg_count], call->program->name,
				command->name, command->synopsis);
	return TL_OK;
}

/* Cut "-- WORDS" off the end of argv: getopt would mix them with the arguments. */
static int split_rest(struct tl_call *call, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			call->rest = argv + i + 1;
			call->rest_count = argc - i - 1;
			argv[i] = NULL;
			return i;
		}
	}
	return argc;
}

static int run_command(struct tl_call *call, int argc, char **argv)
{
	add_options(call, call->command->options);
	call->rest = argv + argc;
	if (call->command->takes_rest)
		argc = split_rest(call, argc, argv);
	/* The first word is the command's name: getopt skips it as it would a program's. */
	int code = parse_options(call, argc, argv, false);
	if (code != TL_OK)
		return code < 0 ? TL_OK : code;
	code = take_arguments(call, argc - optind, argv + optind);
	if (code != TL_OK)
		return code;
	if (call->arg_count > 0)
		tl_subject(call->args[0]);
	return call->command->run(call);
}

static int run_help_command(const struct tl_program *program, const char *name)
{
	const struct tl_command *command = name != NULL ? find_command(program, name) : NULL;
	if (name != NULL && (command == NULL || command->refusal != NULL))
		return unknown_command(program, name);
	tl_help(program, command);
	return TL_OK;
}

static int dispatch(struct tl_call *call, int argc, char **argv)
{
	const struct tl_program *program = call->program;
	add_options(call, program->options);
	int code = parse_options(call, argc, argv, true);
	if (code != TL_OK)
		return code < 0 ? TL_OK : code;
	if (optind >= argc)
		return tl_usage("a command is missing; \"%s --help\" lists them", program->name);
	char **words = argv + optind;
	int count = argc - optind;
	if (strcmp(words[0], "help") == 0)
		return run_help_command(program, count > 1 ? words[1] : NULL);
	call->command = find_command(program, words[0]);
	if (call->command == NULL)
		return unknown_command(program, words[0]);
	context.command = call->command->name;
	if (call->command->refusal != NULL)
		return tl_usage("%s", call->command->refusal);
	return run_command(call, count, words);
}

int tl_main(const struct tl_program *program, int argc, char **argv)
{
	struct tl_call call = {.program = program};
	context.program = program->name;
	return tl_finish(dispatch(&call, argc, argv));
}
