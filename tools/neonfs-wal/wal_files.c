/* Source for the choice of timelines: readTimeLineHistory (src/backend/access/transam/timeline.c), XLogFileReadAnyTLI (xlog.c in 13 and
 * 14, xlogrecovery.c later), XLogFileName (src/include/access/xlog_internal.h). */
#include "wal_files.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "walapply/decode/wa_reader.h"

#define LONG_HEADER_BYTES 40
#define HISTORY_LINE 1024

bool wal_file_name_parse(const char *name, uint32_t *ret_timeline, uint32_t *ret_log, uint32_t *ret_seg)
{
	if (strlen(name) != WAL_FILE_NAME || strspn(name, "0123456789ABCDEF") != WAL_FILE_NAME)
		return false;
	return sscanf(name, "%8" SCNx32 "%8" SCNx32 "%8" SCNx32, ret_timeline, ret_log, ret_seg) == 3;
}

void wal_file_name(char name[WAL_FILE_NAME + 1], uint32_t timeline, uint64_t number, uint32_t segment_size)
{
	uint64_t per_log = (UINT64_C(1) << 32) / segment_size;
	snprintf(name, WAL_FILE_NAME + 1, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline, (uint32_t)(number / per_log),
		 (uint32_t)(number % per_log));
}

/* `what` "/" `name`: it failed with status. */
static int failed(struct wa_error *error, const char *directory, const char *name, int status)
{
	snprintf(error->text, sizeof(error->text), "%s/%s: %s", directory, name, strerror(-status));
	return status;
}

/* ------------------------------------------------------------- listing */

/* A name found in the directory, before the segment size is known. */
struct found {
	uint32_t timeline, log, seg;
};

/* The timeline that a name is of: a segment's, or a history's. 0: neither. */
static uint32_t timeline_of(const char *name)
{
	uint32_t timeline, log, seg;
	char end;
	if (strlen(name) == 16 && sscanf(name, "%8" SCNx32 ".histor%c", &timeline, &end) == 2 && end == 'y')
		return timeline;
	return wal_file_name_parse(name, &timeline, &log, &seg) ? timeline : 0;
}

static int collect(DIR *dir, const char *only, struct found **ret_found, size_t *ret_count, uint32_t *ret_highest)
{
	struct found *found = NULL;
	size_t count = 0, room = 0;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		struct found one;
		*ret_highest = NF_MAX(*ret_highest, timeline_of(entry->d_name));
		if (!wal_file_name_parse(entry->d_name, &one.timeline, &one.log, &one.seg) ||
		    (only != NULL && strcmp(only, entry->d_name) != 0))
			continue;
		if (count == room) {
			room = room > 0 ? room * 2 : 64;
			struct found *grown = realloc(found, room * sizeof(*found));
			if (grown == NULL) {
				free(found);
				return -ENOMEM;
			}
			found = grown;
		}
		found[count++] = one;
	}
	*ret_found = found;
	*ret_count = count;
	return 0;
}

/* A file's segment size, from its first page; its length must agree. */
static int read_segment_size(const char *directory, const char *name, uint32_t *ret_size, struct wa_error *error)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return failed(error, directory, name, -errno);
	uint8_t header[LONG_HEADER_BYTES];
	ssize_t got = pread(fd, header, sizeof(header), 0);
	int status = got < 0 ? -errno : 0;
	close(fd);
	if (status < 0)
		return failed(error, directory, name, status);
	uint16_t magic;
	uint32_t size;
	memcpy(&magic, header, sizeof(magic));
	memcpy(&size, header + 32, sizeof(size));
	bool valid = got == sizeof(header) && wa_major_of_magic(le16toh(magic)) != 0 && header[2] & 2;
	size = le32toh(size);
	if (!valid || size < WA_SEGMENT_MIN || size > WA_SEGMENT_MAX || (size & (size - 1)) != 0) {
		snprintf(error->text, sizeof(error->text), "%s/%s does not begin with WAL of Postgres 13 to 18", directory, name);
		return -EINVAL;
	}
	*ret_size = size;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	if (x->log != y->log)
		return x->log < y->log ? -1 : 1;
	if (x->seg != y->seg)
		return x->seg < y->seg ? -1 : 1;
	return (x->timeline > y->timeline) - (x->timeline < y->timeline);
}

/* Recycled files that were never written have older or no contents, but the oldest by name has been written. A running server removes the oldest,
 * also between our looking for names and opening files. */
static int take_found(struct wal_files *files, const struct found *found, size_t count, struct wa_error *error)
{
	char name[32];
	int status = -ENOENT;
	for (size_t gone = 0; status == -ENOENT && gone < count; gone++) {
		snprintf(name, sizeof(name), "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, found[gone].timeline, found[gone].log,
			 found[gone].seg);
		status = read_segment_size(files->directory, name, &files->segment_size, error);
		if (status == 0) {
			found += gone;
			count -= gone;
		}
	}
	if (status < 0)
		return status;
	files->files = calloc(count, sizeof(*files->files));
	if (files->files == NULL)
		return failed(error, files->directory, name, -ENOMEM);
	uint64_t per_log = (UINT64_C(1) << 32) / files->segment_size;
	for (size_t i = 0; i < count; i++)
		if (found[i].seg < per_log)
			files->files[files->count++] =
				(struct wal_file){.number = found[i].log * per_log + found[i].seg, .timeline = found[i].timeline};
	return 0;
}

/* ------------------------------------------------------------- history */

/* One line: "timeline <tab> switch point <tab> reason". Returns 1 for an entry, 0 for a blank or a comment, -EINVAL. */
static int parse_history_line(char *line, uint32_t *ret_timeline, uint64_t *ret_until)
{
	char *at = line;
	while (isspace((unsigned char)*at))
		at++;
	if (*at == 0 || *at == '#')
		return 0;
	char *end;
	unsigned long timeline = strtoul(at, &end, 10);
	uint32_t high, low;
	if (end == at || timeline == 0 || timeline > UINT32_MAX || sscanf(end, "%8" SCNx32 "/%8" SCNx32, &high, &low) != 2)
		return -EINVAL;
	*ret_timeline = (uint32_t)timeline;
	*ret_until = (uint64_t)high << 32 | low;
	return 1;
}

static int history_broken(struct wal_files *files, const char *name, struct wa_error *error)
{
	snprintf(error->text, sizeof(error->text), "%s/%s is not a timeline history (a line is not \"TIMELINE LSN ...\", rising)",
		 files->directory, name);
	return -EINVAL;
}

/* Read the entries, which rise, into history behind the chosen timeline, falling. */
static int read_history(struct wal_files *files, FILE *file, const char *name, struct wa_error *error)
{
	char line[HISTORY_LINE];
	size_t count = 0;
	struct wal_history *entries = files->history + 1;
	uint64_t begin = 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		uint32_t timeline;
		uint64_t until;
		int status = parse_history_line(line, &timeline, &until);
		if (status == 0)
			continue;
		if (status < 0 || count == WAL_HISTORY_MAX || timeline >= files->history[0].timeline ||
		    (count > 0 && timeline <= entries[count - 1].timeline))
			return history_broken(files, name, error);
		entries[count++] = (struct wal_history){.timeline = timeline, .begin = begin};
		begin = until;
	}
	if (ferror(file))
		return failed(error, files->directory, name, -EIO);
	files->history[0].begin = begin;
	for (size_t i = 0; i < count / 2; i++) {
		struct wal_history swap = entries[i];
		entries[i] = entries[count - 1 - i];
		entries[count - 1 - i] = swap;
	}
	files->history_count = count + 1;
	files->have_history = true;
	return 0;
}

static int find_history(struct wal_files *files, struct wa_error *error)
{
	char name[32], path[4096];
	snprintf(name, sizeof(name), "%08" PRIX32 ".history", files->history[0].timeline);
	snprintf(path, sizeof(path), "%s/%s", files->directory, name);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return errno == ENOENT ? 0 : failed(error, files->directory, name, -errno);
	int status = read_history(files, file, name, error);
	fclose(file);
	return status;
}

static int choose_timeline(struct wal_files *files, uint32_t timeline, struct wa_error *error)
{
	uint32_t highest = 0;
	bool present = false;
	for (size_t i = 0; i < files->count; i++) {
		highest = NF_MAX(highest, files->files[i].timeline);
		present = present || files->files[i].timeline == timeline;
	}
	if (timeline != 0 && !present) {
		snprintf(error->text, sizeof(error->text), "%s has no segment of timeline %u; the highest is %u",
			 files->directory, timeline, highest);
		return -EINVAL;
	}
	files->history[0] = (struct wal_history){.timeline = timeline != 0 ? timeline : highest};
	files->history_count = 1;
	return find_history(files, error);
}

int wal_files_list(const char *directory, const char *only, uint32_t timeline, struct wal_files *files, struct wa_error *error)
{
	*files = (struct wal_files){.directory = strdup(directory)};
	DIR *dir = opendir(directory);
	if (dir == NULL || files->directory == NULL) {
		int status = dir == NULL ? -errno : -ENOMEM;
		if (dir != NULL)
			closedir(dir);
		snprintf(error->text, sizeof(error->text), "%s: %s", directory, strerror(-status));
		return status;
	}
	struct found *found = NULL;
	size_t count = 0;
	int status = collect(dir, only, &found, &count, &files->highest);
	closedir(dir);
	if (status == 0 && count == 0)
		status = -ENOENT;
	if (status < 0) {
		snprintf(error->text, sizeof(error->text),
			 status == -ENOENT ? "%s: no WAL segments there" : "%s: memory is short", directory);
	} else {
		qsort(found, count, sizeof(*found), by_name);
		status = take_found(files, found, count, error);
		if (status == 0)
			status = choose_timeline(files, timeline, error);
	}
	free(found);
	return status;
}

void wal_files_free(struct wal_files *files)
{
	free(files->directory);
	free(files->files);
	*files = (struct wal_files){0};
}

/* -------------------------------------------------------------- choice */

static size_t first_of_number(const struct wal_files *files, uint64_t number)
{
	size_t low = 0, high = files->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (files->files[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* May segment `number` be read from `timeline`? It must be one of the history and have begun there or before. */
static bool belongs(const struct wal_files *files, uint32_t timeline, uint64_t number)
{
	if (!files->have_history)
		return timeline <= files->history[0].timeline;
	for (size_t i = 0; i < files->history_count; i++)
		if (files->history[i].timeline == timeline)
			return files->history[i].begin / files->segment_size <= number;
	return false;
}

uint32_t wal_files_choose(const struct wal_files *files, uint64_t number)
{
	uint32_t chosen = 0;
	for (size_t i = first_of_number(files, number); i < files->count && files->files[i].number == number; i++)
		if (belongs(files, files->files[i].timeline, number))
			chosen = files->files[i].timeline; /* timelines rise */
	return chosen;
}
