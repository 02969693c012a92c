/* Who uses a mount: processes with a file, directory or program in it open. For the message of a busy unmount. */
#ifndef NEONFS_USERS_H
#define NEONFS_USERS_H

#define USERS_TEXT_MAX 256
#define USERS_SHOWN 3

/* "postgres (1234), bash (99) and 2 more"; "" when none can be seen (other users' processes may not be looked into). */
void users_of(const char *mountpoint, char *ret_text);

#endif
