/* A command-line program from one table: options, sub-commands, help and errors.
 *
 * A program is a `struct tl_program`: a table of commands, each with a table of options. tl_main parses
 * with getopt_long, prints help and version, answers mistakes with the nearest right spelling, and calls
 * the command. What later versions will know may stand in the tables with a `refusal`: it is recognised
 * only to say so, and no help shows it.
 *
 * Exit codes: 0 done, 1 failed (nothing was changed unless the message says so), 2 wrong usage.
 * Errors are one line on stderr: "PROGRAM: COMMAND SUBJECT: message". Control characters in it are escaped.
 *
 * Threads: for the one thread of a command-line program. */
#ifndef TL_CLI_H
#define TL_CLI_H

#include <stdarg.h>

#include "common/nf_base.h"

enum { TL_OK = 0, TL_FAILED = 1, TL_USAGE = 2 };

#define TL_OPTIONS_MAX 24 /* of one command and its program together */
#define TL_GIVEN_MAX 64 /* options in one call */

struct tl_option {
	const char *name; /* long name; NULL ends a table */
	char letter; /* short name, 0 = none */
	const char *argument; /* what help calls its value; NULL for a flag */
	const char *help;
	const char *refusal; /* when set: not in this version, and why */
};

struct tl_call;

struct tl_command {
	const char *name; /* NULL ends a table */
	const char *synopsis; /* what follows the name, for help */
	const char *summary; /* one line */
	const char *description; /* paragraphs and examples, for `COMMAND --help` */
	const char *arguments[4]; /* names of the positional arguments, NULL-terminated */
	unsigned required; /* how many of them must be there */
	bool takes_rest; /* words after "--" are kept apart, in tl_call.rest */
	const struct tl_option *options; /* or NULL */
	int (*run)(const struct tl_call *call); /* an exit code */
	const char *refusal; /* when set: not in this version, and why */
};

struct tl_program {
	const char *name;
	const char *summary;
	const char *description;
	const struct tl_option *options; /* accepted before the command and by every command; or NULL */
	const struct tl_command *commands;
};

/* What the user asked for. Everything points into argv. */
struct tl_call {
	const struct tl_program *program;
	const struct tl_command *command;
	const char *args[4]; /* positional; NULL where absent */
	unsigned arg_count;
	char **rest; /* after "--"; NULL-terminated */
	int rest_count;
	const struct tl_option *options[TL_OPTIONS_MAX];
	const char *values[TL_OPTIONS_MAX];
	unsigned option_count;
	struct tl_given {
		const struct tl_option *option;
		const char *value;
	} given[TL_GIVEN_MAX]; /* in the order of the command line */
	unsigned given_count;
};

/* Run the program. Returns its exit code. */
int tl_main(const struct tl_program *program, int argc, char **argv);

/* The value of option `name`: NULL when not given, "" for a flag that was. The last one given counts.
 * Asserts that the command or program has such an option. */
const char *tl_value(const struct tl_call *call, const char *name);
bool tl_flag(const struct tl_call *call, const char *name);
/* Value number `n` of an option that may be given several times, in the order of the command line; NULL behind the last. */
const char *tl_value_at(const struct tl_call *call, const char *name, unsigned n);

/* What the command works on, shown in errors. Copied (and shortened when long). */
void tl_subject(const char *subject);

/* Print the error line; return TL_FAILED or TL_USAGE. */
int tl_fail(const char *format, ...) NF_PRINTF(1, 2);
int tl_usage(const char *format, ...) NF_PRINTF(1, 2);
/* A line that is no failure. */
void tl_warn(const char *format, ...) NF_PRINTF(1, 2);

/* Flush stdout; TL_FAILED with a message when what was printed did not get out (a full disk), else `code`. */
int tl_finish(int code);

#endif
