/* The commands of neonfs-wal. Each returns an exit code and has printed what is to be said. */
#ifndef WAL_COMMANDS_H
#define WAL_COMMANDS_H

#include "tools/lib/cli.h"

int run_dump(const struct tl_call *call);
int run_stats(const struct tl_call *call);
int run_verify(const struct tl_call *call);

#endif
