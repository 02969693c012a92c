/* What a postmaster leaves: its lock file, and processes of its server that outlive it. */
#ifndef TL_POSTMASTER_H
#define TL_POSTMASTER_H

#include <stdbool.h>

/* The postmaster that wrote `text`, the contents of a postmaster.pid, has died: does one of its server's processes live on? They are attached to its
 * shared memory, which line 7 names ("key id"); that is what Postgres itself looks at (PGSharedMemoryIsInUse, sysv_shmem.c) before it starts. False
 * where nothing can be known: an older or another file, memory of another machine or namespace. */
bool tl_server_lives_on(const char *text);

#endif
