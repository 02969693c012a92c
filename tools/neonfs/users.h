/* Who uses a mount: processes with a file, directory or program in it open. For the message of a busy unmount. */
#ifndef NEONFS_USERS_H
#define NEONFS_USERS_H

#include <stdbool.h>

#define USERS_TEXT_MAX 256
#define USERS_SHOWN 3

/* "postgres (1234), bash (99) and 2 more"; "" when none can be seen (other users' processes may not be looked into). */
void users_of(const char *mountpoint, char *ret_text);

/* A process with its working or root directory at or below `directory`, and not in one that was removed: its path below (without the slash), its name and
 * number. */
struct users_place {
	const char *below;
	const char *name, *pid;
};
/* Call `each` for them until it returns false. Processes that may not be looked into, or that see other paths (a mount namespace of their own), are not
 * found. */
void users_inside(const char *directory, bool (*each)(void *arg, const struct users_place *place), void *arg);

#endif
