#include "wal_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal_files.h"

#define PIECE (1u << 20) /* bytes read at once: whole pages, so that few records are split by it */

struct wal_dir {
	struct wal_files files;
	char *only; /* the one file that is read; NULL = all */
	uint32_t timeline; /* asked for; 0 = the highest */
	struct wa_reader *reader;
	struct nf_lsn begin, limit;
	uint64_t last_byte; /* the end of the last segment there is */
	int major;
	uint64_t system_id;
	int fd; /* -1, or the segment open_number of open_timeline */
	uint64_t open_number;
	char open_name[WAL_FILE_NAME + 1];
	bool ended;
	bool is_short; /* it ended because a file did */
	bool at_limit; /* it ended because the caller wanted no more */
	struct wa_error why;
	uint8_t *piece;
};

/* ------------------------------------------------------------- opening */

/* Where the segments are: path itself, its pg_wal, or the directory of a segment file, whose name then is *ret_only (to free). */
static int locate(const char *path, char directory[4096], char **ret_only, struct wa_error *error)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		int status = -errno;
		snprintf(error->text, sizeof(error->text), "%s: %s", path, strerror(-status));
		return status;
	}
	*ret_only = NULL;
	if (S_ISDIR(st.st_mode)) {
		snprintf(directory, 4096, "%s/pg_wal", path);
		if (stat(directory, &st) < 0 || !S_ISDIR(st.st_mode))
			snprintf(directory, 4096, "%s", path);
		return 0;
	}
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	uint32_t timeline, log, seg;
	if (!wal_file_name_parse(name, &timeline, &log, &seg)) {
		snprintf(error->text, sizeof(error->text),
			 "%s is neither a directory nor named like a WAL segment (24 hexadecimal digits)", path);
		return -EINVAL;
	}
	snprintf(directory, 4096, "%.*s", slash == NULL ? 1 : (int)(slash - path + 1), slash == NULL ? "." : path);
	*ret_only = strdup(name);
	return *ret_only != NULL ? 0 : -ENOMEM;
}

/* The first segment that the chosen timeline can be read from. */
static uint64_t first_number(const struct wal_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		if (wal_files_choose(files, files->files[i].number) != 0)
			return files->files[i].number;
	return UINT64_MAX;
}

static int open_segment(struct wal_dir *dir, uint64_t number)
{
	if (dir->fd >= 0 && dir->open_number == number)
		return 1;
	uint32_t timeline = wal_files_choose(&dir->files, number);
	if (timeline == 0)
		return 0;
	if (dir->fd >= 0)
		close(dir->fd);
	char path[4096 + WAL_FILE_NAME + 2];
	wal_file_name(dir->open_name, timeline, number, dir->files.segment_size);
	snprintf(path, sizeof(path), "%s/%s", dir->files.directory, dir->open_name);
	dir->open_number = number;
	dir->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (dir->fd >= 0)
		return 1;
	int status = -errno;
	dir->why.lsn.v = number * dir->files.segment_size;
	snprintf(dir->why.text, sizeof(dir->why.text), "segment %s cannot be opened: %s", dir->open_name, strerror(-status));
	return status;
}

/* Give the reader the bytes at the address that it wants. Returns 1; 0 there are none (dir->why); -errno. */
static int feed(struct wal_dir *dir)
{
	struct nf_lsn wanted = wa_reader_wanted(dir->reader);
	uint32_t segment_size = dir->files.segment_size;
	uint64_t offset = wanted.v % segment_size;
	dir->why.lsn = wanted;
	int status = open_segment(dir, wanted.v / segment_size);
	if (status <= 0) {
		if (status == 0)
			snprintf(dir->why.text, sizeof(dir->why.text), "there is no further segment");
		return status;
	}
	size_t count = (size_t)NF_MIN((uint64_t)PIECE - offset % PIECE, segment_size - offset);
	ssize_t got = pread(dir->fd, dir->piece, count, (off_t)offset);
	if (got < 0) {
		status = -errno;
		snprintf(dir->why.text, sizeof(dir->why.text), "segment %s cannot be read: %s", dir->open_name,
			 strerror(-status));
		return status;
	}
	if (got == 0) {
		dir->is_short = true;
		snprintf(dir->why.text, sizeof(dir->why.text), "segment %s ends here, at byte %llu of %u", dir->open_name,
			 (unsigned long long)offset, segment_size);
		return 0;
	}
	return wa_reader_feed(dir->reader, wanted, dir->piece, (size_t)got) == 0 ? 1 : -EINVAL;
}

static int new_reader(struct wal_dir *dir, const struct wa_reader_config *config, struct wa_error *error)
{
	struct wa_reader *reader;
	int status = wa_reader_new(config, &reader);
	if (status < 0) {
		snprintf(error->text, sizeof(error->text), "memory is short");
		return status;
	}
	wa_reader_free(dir->reader);
	dir->reader = reader;
	return 0;
}

/* The version and cluster, from the first page of the segment that reading begins in. */
static int learn(struct wal_dir *dir, struct wa_error *error)
{
	uint8_t header[40];
	int status = open_segment(dir, dir->begin.v / dir->files.segment_size);
	if (status <= 0) {
		if (status == 0)
			snprintf(error->text, sizeof(error->text),
				 "%s: there is no segment for start " NF_LSN_FMT " on timeline %u", dir->files.directory,
				 NF_LSN_ARG(dir->begin), dir->files.history[0].timeline);
		else
			*error = dir->why;
		return status == 0 ? -EINVAL : status;
	}
	ssize_t got = pread(dir->fd, header, sizeof(header), 0);
	uint16_t magic = 0;
	if (got == sizeof(header))
		memcpy(&magic, header, sizeof(magic));
	memcpy(&dir->system_id, header + 24, sizeof(dir->system_id));
	dir->system_id = le64toh(dir->system_id);
	dir->major = wa_major_of_magic(le16toh(magic));
	if (dir->major != 0)
		return 0;
	snprintf(error->text, sizeof(error->text), "%s/%s does not begin with WAL of Postgres 13 to 18", dir->files.directory,
		 dir->open_name);
	return -EINVAL;
}

static int start_reading(struct wal_dir *dir, const struct wal_dir_options *options, struct wa_error *error)
{
	uint64_t first = first_number(&dir->files);
	if (first == UINT64_MAX) {
		snprintf(error->text, sizeof(error->text), "%s has no segment in the history of timeline %u",
			 dir->files.directory, dir->files.history[0].timeline);
		return -EINVAL;
	}
	dir->begin.v = options->start.v != 0 ? options->start.v : first * dir->files.segment_size;
	dir->limit = options->end;
	dir->last_byte = (dir->files.files[dir->files.count - 1].number + 1) * dir->files.segment_size;
	int status = learn(dir, error);
	if (status < 0)
		return status;
	dir->piece = malloc(PIECE);
	if (dir->piece == NULL) {
		snprintf(error->text, sizeof(error->text), "memory is short");
		return -ENOMEM;
	}
	const struct wa_reader_config config = {.segment_size = dir->files.segment_size, .start = dir->begin, .find = true};
	return new_reader(dir, &config, error);
}

int wal_dir_open(const char *path, const struct wal_dir_options *options, struct wal_dir **ret_dir, struct wa_error *error)
{
	char directory[4096];
	char *only = NULL;
	struct wal_dir *dir = calloc(1, sizeof(*dir));
	if (dir == NULL) {
		snprintf(error->text, sizeof(error->text), "memory is short");
		return -ENOMEM;
	}
	dir->fd = -1;
	error->lsn.v = 0;
	int status = locate(path, directory, &only, error);
	dir->only = only;
	dir->timeline = only != NULL ? 0 : options->timeline;
	if (status == 0)
		status = wal_files_list(directory, only, dir->timeline, &dir->files, error);
	if (status == 0)
		status = start_reading(dir, options, error);
	if (status < 0) {
		wal_dir_close(dir);
		return status;
	}
	*ret_dir = dir;
	return 0;
}

void wal_dir_close(struct wal_dir *dir)
{
	if (dir == NULL)
		return;
	if (dir->fd >= 0)
		close(dir->fd);
	wa_reader_free(dir->reader);
	wal_files_free(&dir->files);
	free(dir->only);
	free(dir->piece);
	free(dir);
}

/* ------------------------------------------------------------- reading */

static int end_here(struct wal_dir *dir)
{
	dir->ended = true;
	return 0;
}

int wal_dir_next(struct wal_dir *dir, const struct wa_record **ret_record)
{
	int status = 0;
	while (!dir->ended && status == 0) {
		status = wa_reader_next(dir->reader, ret_record);
		if (status == 1 && dir->limit.v != 0 && (*ret_record)->end.v > dir->limit.v) {
			dir->at_limit = true;
			dir->why.lsn = (*ret_record)->lsn;
			snprintf(dir->why.text, sizeof(dir->why.text), "the end that was asked for");
			return end_here(dir);
		}
		if (status == 1)
			return 1;
		if (status == -ENODATA || status == -EBADMSG)
			dir->why = *wa_reader_error(dir->reader);
		if (status == -ENODATA)
			return end_here(dir);
		if (status == -ENOMEM)
			snprintf(dir->why.text, sizeof(dir->why.text), "memory is short for a record");
		if (status == 0) {
			status = feed(dir);
			if (status == 0)
				return end_here(dir);
			status = NF_MIN(status, 0);
		}
	}
	return status;
}

int wal_dir_resume(struct wal_dir *dir, struct wa_error *error)
{
	struct wa_end_info end = wa_reader_end(dir->reader);
	struct wal_files files;
	struct wa_reader_config config = {.segment_size = dir->files.segment_size,
					  .major = dir->major,
					  .system_id = dir->system_id,
					  .start = end.end,
					  .prev = end.last,
					  .find = end.last.v == 0};
	int status = wal_files_list(dir->files.directory, dir->only, dir->timeline, &files, error);
	if (status == 0 && files.segment_size != dir->files.segment_size) {
		snprintf(error->text, sizeof(error->text), "%s now holds segments of another size", dir->files.directory);
		status = -EINVAL;
	}
	if (status == 0)
		status = new_reader(dir, &config, error);
	if (status < 0) {
		wal_files_free(&files);
		return status;
	}
	wal_files_free(&dir->files);
	dir->files = files;
	dir->last_byte = (files.files[files.count - 1].number + 1) * files.segment_size;
	if (dir->fd >= 0)
		close(dir->fd);
	dir->fd = -1;
	dir->ended = dir->is_short = dir->at_limit = false;
	return 0;
}

const struct wa_error *wal_dir_why(const struct wal_dir *dir)
{
	return &dir->why;
}

struct wa_end_info wal_dir_end(const struct wal_dir *dir)
{
	return wa_reader_end(dir->reader);
}

bool wal_dir_is_at_limit(const struct wal_dir *dir)
{
	return dir->at_limit;
}

/* Has the file's segment been begun: does its first page say that it is this segment's? */
static bool is_begun(const struct wal_dir *dir, const struct wal_file *file)
{
	char name[WAL_FILE_NAME + 1], path[4096 + WAL_FILE_NAME + 2];
	uint8_t header[16] = {0};
	uint16_t magic;
	uint64_t address;
	wal_file_name(name, file->timeline, file->number, dir->files.segment_size);
	snprintf(path, sizeof(path), "%s/%s", dir->files.directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t got = pread(fd, header, sizeof(header), 0);
	close(fd);
	memcpy(&magic, header, sizeof(magic));
	memcpy(&address, header + 8, sizeof(address));
	return got == sizeof(header) && wa_major_of_magic(le16toh(magic)) != 0 &&
	       le64toh(address) == file->number * dir->files.segment_size;
}

bool wal_dir_is_cut(const struct wal_dir *dir)
{
	uint64_t number = wa_reader_wanted(dir->reader).v / dir->files.segment_size;
	if (dir->is_short || dir->at_limit)
		return dir->is_short;
	for (size_t i = 0; i < dir->files.count; i++) {
		const struct wal_file *file = &dir->files.files[i];
		if (file->number > number && wal_files_choose(&dir->files, file->number) == file->timeline && is_begun(dir, file))
			return true;
	}
	return false;
}

int wal_dir_major(const struct wal_dir *dir)
{
	return dir->major;
}

uint32_t wal_dir_segment_size(const struct wal_dir *dir)
{
	return dir->files.segment_size;
}

uint64_t wal_dir_system_id(const struct wal_dir *dir)
{
	return dir->system_id;
}

const char *wal_dir_directory(const struct wal_dir *dir)
{
	return dir->files.directory;
}

uint32_t wal_dir_timeline(const struct wal_dir *dir)
{
	return dir->files.history[0].timeline;
}

uint64_t wal_dir_done(const struct wal_dir *dir)
{
	uint64_t wanted = wa_reader_wanted(dir->reader).v;
	return wanted > dir->begin.v ? wanted - dir->begin.v : 0;
}

uint64_t wal_dir_total(const struct wal_dir *dir)
{
	uint64_t end = dir->limit.v != 0 ? NF_MIN(dir->limit.v, dir->last_byte) : dir->last_byte;
	return end > dir->begin.v ? end - dir->begin.v : 0;
}
