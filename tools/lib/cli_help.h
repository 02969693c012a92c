/* Help texts made from the tables of cli.h. */
#ifndef TL_CLI_HELP_H
#define TL_CLI_HELP_H

#include "tools/lib/cli.h"

/* Print the help of `command`, or of the whole program when it is NULL, to stdout. */
void tl_help(const struct tl_program *program, const struct tl_command *command);

#endif
