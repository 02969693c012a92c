/* Which segment files of which timelines a directory holds, and which of them is to be read. For wal_dir.c. */
#ifndef WAL_FILES_H
#define WAL_FILES_H

#include "walapply/decode/wa_record.h"

#define WAL_FILE_NAME 24 /* characters of a segment file's name */
#define WAL_HISTORY_MAX 1024 /* timelines before the chosen one */

/* A segment file: its number and timeline. */
struct wal_file {
	uint64_t number;
	uint32_t timeline;
};

/* A timeline of the chosen one's history: it goes on up to `until` (exclusive). The chosen one's own until is the greatest number. */
struct wal_history {
	uint32_t timeline;
	uint64_t begin; /* the LSN where its parent ended; 0 for the first */
};

struct wal_files {
	char *directory;
	uint32_t segment_size;
	struct wal_file *files; /* by rising number, then rising timeline */
	size_t count;
	struct wal_history history[WAL_HISTORY_MAX + 1]; /* by falling timeline; the chosen one is the first */
	size_t history_count;
	bool have_history; /* else any timeline up to the chosen one will do */
	uint32_t highest; /* timeline by the names of segments and histories */
};

/* Is `name` a segment file's? *ret_timeline, *ret_log and *ret_seg: its three parts of eight hexadecimal digits. */
bool wal_file_name_parse(const char *name, uint32_t *ret_timeline, uint32_t *ret_log, uint32_t *ret_seg);

/* Write the name of segment `number` and the end. */
void wal_file_name(char name[WAL_FILE_NAME + 1], uint32_t timeline, uint64_t number, uint32_t segment_size);

/* List `directory` for timeline `timeline` (0 = the highest), or only the file `only` in it. Fills *files, whose former contents do not matter;
 * wal_files_free also after an error. Returns 0 or -errno with a line in error->text. */
NF_MUST_CHECK int wal_files_list(const char *directory, const char *only, uint32_t timeline, struct wal_files *files,
				 struct wa_error *error);
void wal_files_free(struct wal_files *files);

/* The timeline whose file of segment `number` is to be read; 0 = there is none. */
uint32_t wal_files_choose(const struct wal_files *files, uint64_t number);

#endif
