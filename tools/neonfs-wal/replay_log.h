/* The log as replay reads it: segments of a timeline's history, found in several directories, in pieces that stay in memory while the
 * records that point into them are worked on. For one thread. */
#ifndef REPLAY_LOG_H
#define REPLAY_LOG_H

#include "walapply/decode/wa_reader.h"

#define RP_LOG_PIECES 2u

struct rp_log;

#define RP_LOG_DIRECTORIES_MAX 8

struct rp_log_options {
	/* The first is asked first, and gives a segment that several have. NULL behind the last. One without segments is passed over, and so
	 * is one behind the first that cannot be read. They outlive the log. */
	const char *directories[RP_LOG_DIRECTORIES_MAX + 1];
	uint32_t timeline; /* 0 = the highest there is */
	uint32_t segment_size;
	int major;
	uint64_t system_id;
	unsigned pieces; /* 1 or RP_LOG_PIECES */
};

/* Returns 0; -ENOENT no segments; -errno (error). */
NF_MUST_CHECK int rp_log_open(const struct rp_log_options *options, struct rp_log **ret_log, struct wa_error *error);
void rp_log_close(struct rp_log *log); /* NULL is legal */

/* Begin to read. find: the first record at or after start; else start is where a record begins. */
NF_MUST_CHECK int rp_log_seek(struct rp_log *log, struct nf_lsn start, bool find);

/* The next record. It holds until the next call, but what it points to in the piece (rp_log_in_piece) until rp_log_turn was called as often as there are pieces.
 * Returns 1; 0 the end of the log (rp_log_why); -EAGAIN the piece is full: rp_log_turn is due; -EBADMSG, -ENOMEM, -errno (rp_log_why). */
NF_MUST_CHECK int rp_log_next(struct rp_log *log, const struct wa_record **ret_record);
/* Go on in the other piece, or in the only one from its start. */
void rp_log_turn(struct rp_log *log);
/* Does `bytes` lie in the piece? Else it is in the reader's own memory. */
bool rp_log_in_piece(const struct rp_log *log, const uint8_t *bytes);

const struct wa_error *rp_log_why(const struct rp_log *log);
struct wa_end_info rp_log_end(const struct rp_log *log);
/* Is every segment of [from, to] there? Else *ret_missing is where the first missing one begins. */
bool rp_log_has(const struct rp_log *log, struct nf_lsn from, struct nf_lsn to, struct nf_lsn *ret_missing);
/* The end of the last segment that the timeline can be read from without a gap, from `from` on. */
struct nf_lsn rp_log_last(const struct rp_log *log, struct nf_lsn from);
uint32_t rp_log_timeline(const struct rp_log *log);
/* The timeline that segment `number` is read from; 0 = it is not there. */
uint32_t rp_log_timeline_of(const struct rp_log *log, uint64_t number);
/* The highest timeline that has a segment or a history. */
uint32_t rp_log_highest(const struct rp_log *log);
/* Read bytes of the log; 0 or -errno. */
NF_MUST_CHECK int rp_log_read(struct rp_log *log, struct nf_lsn lsn, void *bytes, size_t size);
/* The parent's history file, NUL-terminated, to free; "" when it has none. */
NF_MUST_CHECK int rp_log_history(const struct rp_log *log, uint32_t timeline, char **ret_text);

#endif
