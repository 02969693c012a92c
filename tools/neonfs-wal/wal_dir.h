/* A pg_wal directory, or a single segment file, as a stream of records.
 *
 * Segments of any size (read from the first page). Several timelines may lie side by side: the chosen one is followed with its history
 * file, as Postgres does in recovery, so a segment is taken from the newest timeline that has it and had begun by then.
 * Files are read with pread in large pieces, never mapped: they may change or shrink under us. For one thread. */
#ifndef WAL_DIR_H
#define WAL_DIR_H

#include "walapply/decode/wa_reader.h"

struct wal_dir;

struct wal_dir_options {
	uint32_t timeline; /* 0 = the highest there is */
	struct nf_lsn start; /* the first record at or after it; 0 = the first in the oldest segment */
	struct nf_lsn end; /* records that end after it are not given; 0 = up to the end of the log */
};

/* Open `path`: a directory with segments, a data directory (its pg_wal is taken), or one segment file.
 * Returns 0; -ENOENT no segments there, -EINVAL a file that is no segment, a start that is not there, a wrong timeline; -ENOMEM; another -errno from the
 * system. error->text says what in one line. */
NF_MUST_CHECK int wal_dir_open(const char *path, const struct wal_dir_options *options, struct wal_dir **ret_dir,
			       struct wa_error *error);
void wal_dir_close(struct wal_dir *dir); /* NULL is legal */

/* The next record; it holds until the next call.
 * Returns 1; 0 at the end (wal_dir_end, wal_dir_why); -EBADMSG corrupt, -ENOMEM, or another -errno from reading (wal_dir_why says what). */
NF_MUST_CHECK int wal_dir_next(struct wal_dir *dir, const struct wa_record **ret_record);

/* After the end, of a log that is still being written: look again, and go on after the last record with what has come since.
 * Returns 0; or -errno as wal_dir_open, then *error says what, and it may be tried again. */
NF_MUST_CHECK int wal_dir_resume(struct wal_dir *dir, struct wa_error *error);

/* Why it ended or failed, and where: "0/3000060: no record was written here (length 0)" without the position. */
const struct wa_error *wal_dir_why(const struct wal_dir *dir);

/* How far it has come (wa_reader_end). */
struct wa_end_info wal_dir_end(const struct wal_dir *dir);

/* At the end: was it the end that options.end asked for? */
bool wal_dir_is_at_limit(const struct wal_dir *dir);

/* At the end: does it look as if this were not where the log was left? True when a segment file is shorter than a segment, and
 * when a later segment was begun. Reads the first pages of later segments. */
bool wal_dir_is_cut(const struct wal_dir *dir);

int wal_dir_major(const struct wal_dir *dir); /* from the first page of the first segment: known once it is open */
uint32_t wal_dir_segment_size(const struct wal_dir *dir);
uint64_t wal_dir_system_id(const struct wal_dir *dir);
const char *wal_dir_directory(const struct wal_dir *dir); /* where the segments are; the dir's own */
uint32_t wal_dir_timeline(const struct wal_dir *dir);

/* Bytes of WAL from where reading began to where it stands, and to the end of the last segment there is: for a progress display. */
uint64_t wal_dir_done(const struct wal_dir *dir);
uint64_t wal_dir_total(const struct wal_dir *dir);

#endif
