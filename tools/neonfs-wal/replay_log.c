#include "tools/neonfs-wal/replay_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/neonfs-wal/wal_files.h"

#define PIECE_SIZE (8u << 20)
#define HUGE_PAGE (2u << 20)
#define READ_SIZE (512u << 10) /* bytes read at once: they are still in the processor's cache when they are decoded */
#define HISTORY_MAX (1u << 20)

struct rp_log {
	struct rp_log_options options;
	struct wal_files files[RP_LOG_DIRECTORIES_MAX];
	unsigned file_sets;
	uint32_t timeline, highest;
	struct wa_reader *reader;
	uint8_t *pieces[RP_LOG_PIECES];
	unsigned piece;
	size_t used; /* bytes of the piece */
	int fd;
	uint64_t open_number;
	struct wa_error why;
};

/* ------------------------------------------------------------- opening */

static bool has_history(const char *directory, uint32_t timeline)
{
	char path[4096 + 32];
	snprintf(path, sizeof(path), "%s/%08X.history", directory, timeline);
	return access(path, R_OK) == 0;
}

/* The history file may be in one directory and segments in both. */
static void share_history(struct rp_log *log)
{
	for (unsigned i = 0; i < log->file_sets; i++)
		for (unsigned j = 0; j < log->file_sets; j++)
			if (!log->files[i].have_history && log->files[j].have_history &&
			    log->files[j].history[0].timeline == log->timeline) {
				memcpy(log->files[i].history, log->files[j].history, sizeof(log->files[i].history));
				log->files[i].history_count = log->files[j].history_count;
				log->files[i].have_history = true;
			}
}

static int list_files(struct rp_log *log, struct wa_error *error)
{
	int status = -ENOENT;
	for (unsigned i = 0; i < RP_LOG_DIRECTORIES_MAX && log->options.directories[i] != NULL; i++) {
		struct wal_files *files = &log->files[log->file_sets];
		int one = wal_files_list(log->options.directories[i], NULL, 0, files, error);
		if (one == -ENOENT || (one < 0 && i > 0 && log->file_sets > 0)) {
			wal_files_free(files);
			continue;
		}
		if (one < 0)
			return one;
		if (files->segment_size != log->options.segment_size) {
			log->file_sets++;
			return wa_bad(error, (struct nf_lsn){0}, "%s has WAL segments of %u bytes, the cluster has %u",
				      files->directory, files->segment_size, log->options.segment_size);
		}
		log->highest = NF_MAX(log->highest, files->highest);
		log->timeline = NF_MAX(log->timeline, files->history[0].timeline);
		log->file_sets++;
		status = 0;
	}
	return status;
}

/* Settle which timeline is followed: each directory's list is of its own highest so far. */
static void choose_timeline(struct rp_log *log)
{
	if (log->options.timeline != 0)
		log->timeline = log->options.timeline;
	for (unsigned i = 0; i < log->file_sets; i++) {
		struct wal_files *files = &log->files[i];
		if (files->history[0].timeline == log->timeline)
			continue;
		files->history[0] = (struct wal_history){.timeline = log->timeline};
		files->history_count = 1;
		files->have_history = false;
		if (has_history(files->directory, log->timeline)) {
			struct wal_files again;
			struct wa_error ignored;
			if (wal_files_list(files->directory, NULL, log->timeline, &again, &ignored) == 0) {
				wal_files_free(files);
				*files = again;
			} else {
				wal_files_free(&again);
			}
		}
	}
	share_history(log);
}

/* Of huge pages where there are some: it is filled from its start, and only as far as there is WAL. */
static int make_piece(uint8_t **ret_piece)
{
	*ret_piece = aligned_alloc(HUGE_PAGE, PIECE_SIZE);
	if (*ret_piece == NULL)
		return -ENOMEM;
	madvise(*ret_piece, PIECE_SIZE, MADV_HUGEPAGE);
	return 0;
}

int rp_log_open(const struct rp_log_options *options, struct rp_log **ret_log, struct wa_error *error)
{
	struct rp_log *log = calloc(1, sizeof(*log));
	if (log == NULL)
		return -ENOMEM;
	log->options = *options;
	log->fd = -1;
	int status = list_files(log, error);
	if (status == 0) {
		choose_timeline(log);
		for (unsigned i = 0; i < options->pieces && status == 0; i++)
			status = make_piece(&log->pieces[i]);
	}
	if (status < 0) {
		rp_log_close(log);
		return status;
	}
	*ret_log = log;
	return 0;
}

void rp_log_close(struct rp_log *log)
{
	if (log == NULL)
		return;
	if (log->fd >= 0)
		close(log->fd);
	for (unsigned i = 0; i < log->file_sets; i++)
		wal_files_free(&log->files[i]);
	wa_reader_free(log->reader);
	for (unsigned i = 0; i < RP_LOG_PIECES; i++)
		free(log->pieces[i]);
	free(log);
}

int rp_log_seek(struct rp_log *log, struct nf_lsn start, bool find)
{
	struct wa_reader_config config = {.segment_size = log->options.segment_size,
					  .major = log->options.major,
					  .system_id = log->options.system_id,
					  .start = start,
					  .find = find};
	wa_reader_free(log->reader);
	log->reader = NULL;
	log->used = 0;
	return wa_reader_new(&config, &log->reader);
}

/* ------------------------------------------------------------- segments */

/* The newest timeline of the history that has the segment, and the directory it is in. */
static uint32_t choose(const struct rp_log *log, uint64_t number, const char **ret_directory)
{
	uint32_t chosen = 0;
	for (unsigned i = 0; i < log->file_sets; i++) {
		uint32_t timeline = wal_files_choose(&log->files[i], number);
		if (timeline > chosen) {
			chosen = timeline;
			*ret_directory = log->files[i].directory;
		}
	}
	return chosen;
}

static int open_in(const char *directory, const char *name)
{
	char path[4096 + WAL_FILE_NAME + 2];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

/* The directory that was chosen, or another one: a server at work removes its old segments, and who keeps them does so before. */
static int open_somewhere(const struct rp_log *log, const char *directory, const char *name)
{
	int status = open_in(directory, name);
	for (unsigned i = 0; i < RP_LOG_DIRECTORIES_MAX && log->options.directories[i] != NULL && status == -ENOENT; i++)
		status = open_in(log->options.directories[i], name);
	return status;
}

static int open_segment(struct rp_log *log, uint64_t number)
{
	if (log->fd >= 0 && log->open_number == number)
		return 1;
	const char *directory = NULL;
	uint32_t timeline = choose(log, number, &directory);
	if (timeline == 0)
		return 0;
	if (log->fd >= 0)
		close(log->fd);
	char name[WAL_FILE_NAME + 1];
	wal_file_name(name, timeline, number, log->options.segment_size);
	log->open_number = number;
	int status = open_somewhere(log, directory, name);
	log->fd = NF_MAX(status, -1);
	if (status >= 0) {
		posix_fadvise(log->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
		return 1;
	}
	wa_bad(&log->why, (struct nf_lsn){number * log->options.segment_size}, "segment %s cannot be opened: %s", name,
	       strerror(-status));
	return status;
}

/* Bytes of one segment, as many as are there. Returns their number, 0 at its end or where it is missing, or -errno. */
static ssize_t read_some(struct rp_log *log, struct nf_lsn lsn, void *bytes, size_t size)
{
	uint64_t offset = lsn.v % log->options.segment_size;
	int status = open_segment(log, lsn.v / log->options.segment_size);
	if (status <= 0) {
		if (status == 0)
			wa_bad(&log->why, lsn, "there is no further segment");
		return status;
	}
	ssize_t got = pread(log->fd, bytes, (size_t)NF_MIN((uint64_t)size, log->options.segment_size - offset), (off_t)offset);
	if (got > 0)
		return got;
	int error = errno;
	wa_bad(&log->why, lsn, got < 0 ? "its segment cannot be read: %s" : "its segment ends here", strerror(error));
	return got < 0 ? -error : 0;
}

int rp_log_read(struct rp_log *log, struct nf_lsn lsn, void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = read_some(log, (struct nf_lsn){lsn.v + done}, (uint8_t *)bytes + done, size - done);
		if (got <= 0)
			return got < 0 ? (int)got : -ENODATA;
		done += (size_t)got;
	}
	return 0;
}

bool rp_log_has(const struct rp_log *log, struct nf_lsn from, struct nf_lsn to, struct nf_lsn *ret_missing)
{
	const char *directory;
	for (uint64_t number = from.v / log->options.segment_size; number * log->options.segment_size < to.v; number++)
		if (choose(log, number, &directory) == 0) {
			ret_missing->v = number * log->options.segment_size;
			return false;
		}
	return true;
}

struct nf_lsn rp_log_last(const struct rp_log *log, struct nf_lsn from)
{
	struct nf_lsn missing;
	rp_log_has(log, from, (struct nf_lsn){UINT64_MAX}, &missing);
	return missing;
}

/* ------------------------------------------------------------- records */

/* Give the reader what it wants, behind what the piece holds already. Returns 1, or as rp_log_next. */
static int feed(struct rp_log *log)
{
	if (log->used + READ_SIZE > PIECE_SIZE)
		return -EAGAIN;
	struct nf_lsn wanted = wa_reader_wanted(log->reader);
	uint8_t *room = log->pieces[log->piece] + log->used;
	ssize_t got = read_some(log, wanted, room, READ_SIZE - wanted.v % READ_SIZE);
	if (got <= 0)
		return (int)got;
	log->used += (size_t)got;
	return wa_reader_feed(log->reader, wanted, room, (size_t)got) == 0 ? 1 : -EINVAL;
}

int rp_log_next(struct rp_log *log, const struct wa_record **ret_record)
{
	for (;;) {
		int status = wa_reader_next(log->reader, ret_record);
		if (status == 1)
			return 1;
		if (status == -ENODATA || status == -EBADMSG)
			log->why = *wa_reader_error(log->reader);
		if (status < 0)
			return status == -ENODATA ? 0 : status;
		status = feed(log);
		if (status <= 0)
			return status;
	}
}

void rp_log_turn(struct rp_log *log)
{
	log->piece = (log->piece + 1) % log->options.pieces;
	log->used = 0;
}

bool rp_log_in_piece(const struct rp_log *log, const uint8_t *bytes)
{
	const uint8_t *piece = log->pieces[log->piece];
	return (uintptr_t)bytes >= (uintptr_t)piece && (uintptr_t)bytes < (uintptr_t)(piece + log->used);
}

const struct wa_error *rp_log_why(const struct rp_log *log)
{
	return &log->why;
}

struct wa_end_info rp_log_end(const struct rp_log *log)
{
	return wa_reader_end(log->reader);
}

uint32_t rp_log_timeline(const struct rp_log *log)
{
	return log->timeline;
}

uint32_t rp_log_timeline_of(const struct rp_log *log, uint64_t number)
{
	const char *directory;
	return choose(log, number, &directory);
}

uint32_t rp_log_highest(const struct rp_log *log)
{
	return NF_MAX(log->highest, log->timeline);
}

int rp_log_history(const struct rp_log *log, uint32_t timeline, char **ret_text)
{
	char *text = calloc(1, HISTORY_MAX + 1);
	if (text == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < log->file_sets; i++) {
		char path[4096 + 32];
		snprintf(path, sizeof(path), "%s/%08X.history", log->files[i].directory, timeline);
		FILE *file = fopen(path, "re");
		if (file == NULL)
			continue;
		size_t got = fread(text, 1, HISTORY_MAX, file);
		text[got] = 0;
		fclose(file);
		break;
	}
	*ret_text = text;
	return 0;
}
