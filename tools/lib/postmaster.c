#include "tools/lib/postmaster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#define MEMORY_LINE 7 /* LOCK_FILE_LINE_SHMEM_KEY, miscadmin.h */

static bool read_number(const char **text, unsigned long *ret_number)
{
	char *end;
	errno = 0;
	*ret_number = strtoul(*text, &end, 10);
	bool is_number = end != *text && errno == 0;
	*text = end;
	return is_number;
}

bool tl_server_lives_on(const char *text)
{
	unsigned long pid, key, id;
	struct shmid_ds memory;
	const char *line = text;
	if (!read_number(&line, &pid))
		return false;
	for (int i = 1; i < MEMORY_LINE; i++) {
		line = strchr(line, '\n');
		if (line == NULL)
			return false;
		line++;
	}
	/* The same key and id may be another's after the machine started again, but hardly one that the same process made. */
	return read_number(&line, &key) && read_number(&line, &id) && shmctl((int)id, IPC_STAT, &memory) == 0 &&
	       memory.shm_nattch > 0 && memory.shm_perm.__key == (key_t)key && (unsigned long)memory.shm_cpid == pid;
}
