/* The settings that suit neonfs, appended to a new cluster's postgresql.conf: one table with their reasons. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/neonfs-branch/initdb.h"

struct setting {
	const char *name;
	const char *value; /* with --cache=back */
	const char *value_through; /* with --cache=through; NULL = the same */
	const char *reason;
};

static const struct setting settings[] = {
	{"full_page_writes", "on", "off", "off is safe only when the mount keeps 8 KiB writes whole (--cache=through)"},
	{"wal_level", "replica", NULL, "minimal would leave bulk loads out of the history"},
	{"wal_sync_method", "open_datasync", NULL, "a commit is one request to the file system instead of two"},
	{"wal_recycle", "off", NULL, "a new segment costs nothing here; reuse would rewrite shared blocks"},
	{"wal_init_zero", "off", NULL, "space is found when written; zeros would be written twice"},
	{"wal_buffers", "64MB", NULL, "fewer and longer writes while much WAL is made"},
};

static int write_settings(FILE *file, bool is_through)
{
	fprintf(file,
		"\n#------------------------------------------------------------------------------\n"
		"# NEONFS (appended by neonfs-branch init; the mount's cache mode was %s)\n"
		"#------------------------------------------------------------------------------\n\n",
		is_through ? "through" : "back");
	for (unsigned i = 0; i < NF_ARRAY_LEN(settings); i++) {
		const struct setting *s = &settings[i];
		fprintf(file, "%s = %s\t\t# %s\n", s->name, is_through && s->value_through != NULL ? s->value_through : s->value,
			s->reason);
	}
	return fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0 ? 0 : -errno;
}

int initdb_configure(const char *directory, bool is_through)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/postgresql.conf", directory) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	/* Root appends to a file of another user's directory: only to a file that is there, and through no link. */
	int fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	FILE *file = fdopen(fd, "a");
	if (file == NULL) {
		close(fd);
		return -ENOMEM;
	}
	int rc = write_settings(file, is_through);
	if (fclose(file) != 0 && rc == 0)
		rc = -errno;
	return rc;
}
