#include "tools/neonfs-wal/control.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "walapply/state/wa_control.h"

static bool read_control(const char *directory, const char *name, uint64_t system_id, struct wa_version *version)
{
	char path[PATH_MAX];
	uint8_t bytes[WA_CONTROL_FILE_SIZE];
	struct wa_control control;
	struct wa_error error;
	int length = snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (length < 0 || (size_t)length >= sizeof(path))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t got = pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	if (got < 0 || wa_control_load(version->major, bytes, (size_t)got, &control, &error) < 0 ||
	    control.system_id != system_id)
		return false;
	version->checksums = control.checksum_version != 0;
	version->log_hints = control.parameters.wal_log_hints;
	return true;
}

bool wal_control_read(const char *path, const char *wal_directory, uint64_t system_id, struct wa_version *version)
{
	return read_control(path, "global/pg_control", system_id, version) ||
	       read_control(wal_directory, "../global/pg_control", system_id, version);
}
