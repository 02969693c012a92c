/* Offsets of ControlFileData (src/include/catalog/pg_control.h), the same in 13 to 18 on 64-bit machines:
 *   0 system_identifier u64   8 pg_control_version u32   176 wal_log_hints u8   252 data_checksum_version u32
 *   288 CRC-32C of what is before it (292 in 18, which has one field more) */
#include "tools/neonfs-wal/control.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"

#define CONTROL_SIZE 296
#define CONTROL_LOG_HINTS 176
#define CONTROL_CHECKSUMS 252
#define CONTROL_CRC 288
#define CONTROL_CRC_18 292

static bool read_file(const char *path, uint8_t bytes[CONTROL_SIZE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t got = pread(fd, bytes, CONTROL_SIZE, 0);
	close(fd);
	return got == CONTROL_SIZE;
}

static uint32_t u32_at(const uint8_t *bytes, size_t offset)
{
	struct nf_reader reader = nf_reader_init(bytes + offset, 4);
	return nf_read_u32(&reader);
}

static bool is_whole(const uint8_t bytes[CONTROL_SIZE], int major)
{
	size_t size = major >= 18 ? CONTROL_CRC_18 : CONTROL_CRC;
	return nf_crc32c(bytes, size) == u32_at(bytes, size);
}

static bool read_control(const char *directory, const char *name, uint64_t system_id, struct wa_version *version)
{
	char path[PATH_MAX];
	uint8_t bytes[CONTROL_SIZE];
	int length = snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (length < 0 || (size_t)length >= sizeof(path) || !read_file(path, bytes))
		return false;
	struct nf_reader head = nf_reader_init(bytes, 8);
	if (nf_read_u64(&head) != system_id || !is_whole(bytes, version->major))
		return false;
	version->checksums = u32_at(bytes, CONTROL_CHECKSUMS) != 0;
	version->log_hints = bytes[CONTROL_LOG_HINTS] != 0;
	return true;
}

bool wal_control_read(const char *path, const char *wal_directory, uint64_t system_id, struct wa_version *version)
{
	return read_control(path, "global/pg_control", system_id, version) ||
	       read_control(wal_directory, "../global/pg_control", system_id, version);
}
