/* Help texts made from the tables of cli.h. */
#include "tools/lib/cli_help.h"

#include <stdio.h>
#include <string.h>

#define OPTION_COLUMN 26

static void print_option(const struct tl_option *option)
{
	char left[64];
	if (option->refusal != NULL)
		return;
	snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", option->letter != 0 ? '-' : ' ',
		 option->letter != 0 ? option->letter : ' ', option->letter != 0 ? "," : " ", option->name,
		 option->argument != NULL ? " " : "", option->argument != NULL ? option->argument : "");
	if (strlen(left) >= OPTION_COLUMN)
		printf("%s\n%*s%s\n", left, OPTION_COLUMN, "", option->help);
	else
		printf("%-*s%s\n", OPTION_COLUMN, left, option->help);
}

static void print_options(const struct tl_option *table)
{
	for (; table != NULL && table->name != NULL; table++)
		print_option(table);
}

static void command_help(const struct tl_program *program, const struct tl_command *command)
{
	printf("Usage: %s %s %s\n\n%s.\n", program->name, command->name, command->synopsis, command->summary);
	if (command->description != NULL)
		printf("\n%s", command->description);
	printf("\nOptions:\n");
	print_options(command->options);
	print_options(program->options);
	print_option(&(struct tl_option){.name = "help", .letter = 'h', .help = "show this text"});
}

static void program_help(const struct tl_program *program)
{
	printf("Usage: %s %sCOMMAND [OPTIONS] [ARGUMENTS]\n\n%s.\n\n%s\nCommands:\n", program->name,
	       program->options != NULL ? "[OPTIONS] " : "", program->summary, program->description);
	for (const struct tl_command *c = program->commands; c->name != NULL; c++)
		if (c->refusal == NULL)
			printf("  %-12s %s\n", c->name, c->summary);
	printf("\nOptions:\n");
	print_options(program->options);
	print_option(&(struct tl_option){.name = "help", .letter = 'h', .help = "show this text"});
	print_option(&(struct tl_option){.name = "version", .letter = 'V', .help = "show the version"});
	printf("\n\"%s COMMAND --help\" explains a command. Exit codes: 0 done, 1 failed, 2 wrong usage.\n", program->name);
}

void tl_help(const struct tl_program *program, const struct tl_command *command)
{
	if (command != NULL)
		command_help(program, command);
	else
		program_help(program);
}
