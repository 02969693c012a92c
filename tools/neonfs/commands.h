/* The commands of the program `neonfs`, one source each. All return an exit code (tools/lib/cli.h). */
#ifndef NEONFS_COMMANDS_H
#define NEONFS_COMMANDS_H

#include "tools/lib/cli.h"

int run_init(const struct tl_call *call);
int run_mount(const struct tl_call *call);
int run_umount(const struct tl_call *call);
int run_status(const struct tl_call *call);
int run_set(const struct tl_call *call);
int run_scrub(const struct tl_call *call);
int run_object_store(const struct tl_call *call);
int run_gc(const struct tl_call *call);
int run_attach(const struct tl_call *call);
int run_flush(const struct tl_call *call);
int run_volume(const struct tl_call *call);

#endif
