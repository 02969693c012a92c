/* A disk that fails and heals: the file named by --faults says which requests fail, one kind a line:
 *
 *   KIND ERRNO [ONE_IN]	KIND read, write, fsync or names (create, link, rename, unlink, fsync of a directory);
 *				ERRNO a number; of the requests one in ONE_IN fails (default: all). A write
 *				with ENOSPC fails only where the file would grow
 *
 * An empty or missing file is a sound disk. Written as three numbers a kind, each read and written atomically. */
#include "powerfs.h"

#include <stdlib.h>
#include <string.h>

static const char *const kind_names[PF_FAULT_KINDS] = {"read", "write", "fsync", "names"};
static struct {
	int error;		/* 0 = none */
	unsigned one_in;
	unsigned count;
} faults[PF_FAULT_KINDS];

void pf_faults_load(void)
{
	FILE *in = pf.faults_path ? fopen(pf.faults_path, "re") : NULL;
	char name[16];
	int errors[PF_FAULT_KINDS] = {0}, error;
	unsigned one_in;
	char line[64];

	while (in && fgets(line, sizeof(line), in)) {
		int fields = sscanf(line, "%15s %d %u", name, &error, &one_in);

		for (int kind = 0; fields >= 2 && kind < PF_FAULT_KINDS; kind++)
			if (strcmp(name, kind_names[kind]) == 0) {
				errors[kind] = error;
				__atomic_store_n(&faults[kind].one_in, fields == 3 && one_in > 0 ? one_in : 1, __ATOMIC_RELAXED);
			}
	}
	if (in)
		fclose(in);
	for (int kind = 0; kind < PF_FAULT_KINDS; kind++)
		__atomic_store_n(&faults[kind].error, errors[kind], __ATOMIC_RELAXED);
}

int pf_fault(enum pf_fault_kind kind)
{
	int error = __atomic_load_n(&faults[kind].error, __ATOMIC_RELAXED);
	unsigned one_in = __atomic_load_n(&faults[kind].one_in, __ATOMIC_RELAXED);

	if (error == 0 || __atomic_add_fetch(&faults[kind].count, 1, __ATOMIC_RELAXED) % one_in != 0)
		return 0;
	return -error;
}
