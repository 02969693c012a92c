/* The reader: a stream of WAL bytes in, records out.
 *
 * It opens no file: it says which byte it wants next (wa_reader_wanted), is fed from there on in pieces of any size, and gives records
 * until it needs more. So the same code reads segment files, the daemon's tail of a live pg_wal, and what a network brings.
 *
 *	while ((status = wa_reader_next(reader, &record)) >= 0) {
 *		if (status == 1)
 *			use(record);
 *		else if (!feed_from(wa_reader_wanted(reader)))
 *			break;
 *	}
 *
 * Records that lie in one piece inside one page are views of the bytes fed; only those that are split over pages or pieces are put
 * together in a buffer. That buffer grows with the bytes that really came, whatever length a record claims to have.
 *
 * What is checked, as in Postgres's XLogReader: page headers (magic, flags, address, timeline never falling; in long headers system id and
 * sizes), continuation flags and lengths, each record's length, manager, back link and checksum, and then everything of
 * wa_decode_record. The log simply stops somewhere, so the first thing that does not fit is not an accident but the end: zeros, or
 * a stale page of a recycled segment. It is reported with a reason, and it is final. What cannot be an end (a record whose checksum fits
 * but which makes no sense, another cluster's page) is an error, and final too. */
#ifndef WA_READER_H
#define WA_READER_H

#include "wa_record.h"

#define WA_SEGMENT_MIN (1u << 20)
#define WA_SEGMENT_MAX (1u << 30)

struct wa_reader;

struct wa_reader_config {
	uint32_t segment_size; /* a power of two, WA_SEGMENT_MIN .. WA_SEGMENT_MAX */
	int major;	       /* 0 = learn it from the first page */
	uint64_t system_id;    /* 0 = learn it from the first long page header */
	struct nf_lsn start;
	/* true: the first record at or after start, wherever records begin (as XLogFindNextRecord). false: start is where a record begins, or
	 * a page's address that a record follows. */
	bool find;
	struct nf_lsn prev; /* unless find: where the record before start began; 0 = not known, and then not checked */
};

/* Why the log ends where it does. */
enum wa_end {
	WA_END_NONE,	    /* it has not ended */
	WA_END_ZERO,	    /* zeros where a record should be: nothing was written here yet */
	WA_END_LENGTH,	    /* an impossible record length */
	WA_END_RMGR,	    /* a resource manager that cannot be */
	WA_END_PREV,	    /* the back link does not lead to the record before: older bytes */
	WA_END_CRC,	    /* bad checksum: torn or older bytes */
	WA_END_PAGE,	    /* no page header of this version (zeros included) */
	WA_END_STALE,	    /* the page header is of another address: a recycled segment */
	WA_END_TIMELINE,    /* the page is of an older timeline than those before */
	WA_END_CONTRECORD,  /* a page does not continue the record that the page before began, or continues one that was not begun */
};

/* Where the log ends, and what a writer who goes on from there must know. */
struct wa_end_info {
	enum wa_end why;
	struct nf_lsn end;  /* end of the last record; config.start when there was none */
	struct nf_lsn last; /* start of the last record: the xl_prev of the next; 0 when there was none and prev was not told */
	/* Set inside a record that is split over pages: where it began, and the page that does not continue it (not yet, where why is
	 * WA_END_NONE). When this is the end Postgres writes OVERWRITE_CONTRECORD there. */
	struct nf_lsn aborted, missing;
};

/* Returns 0; -EINVAL for a segment size or major that cannot be, or a start where no record can begin (unless find, records begin at
 * multiples of 8; the last two GiB of all addresses are never reached); -ENOMEM. */
NF_MUST_CHECK int wa_reader_new(const struct wa_reader_config *config, struct wa_reader **ret_reader);
void wa_reader_free(struct wa_reader *reader); /* NULL is legal */

/* The address of the byte that the reader wants next. At first the start of the page that holds config.start; it jumps ahead at
 * a segment switch. */
struct nf_lsn wa_reader_wanted(const struct wa_reader *reader);

/* Hand over bytes that lie at `lsn` of the log. They stay the caller's, and stay as they are until wa_reader_next has returned 0 or an error.
 * Bytes before wa_reader_wanted are passed over. The bytes given before must have been used up.
 * Only bytes that are final may be given: of a live log, those up to its flush position.
 * Returns 0; -EINVAL when there is a gap between wa_reader_wanted and lsn, or bytes are left from before. */
NF_MUST_CHECK int wa_reader_feed(struct wa_reader *reader, struct nf_lsn lsn, const uint8_t *bytes, size_t size);

/* The next record. It and what it points to hold until the next call.
 * Returns 1 with *ret_record; 0 more bytes are needed; -ENODATA the end of the log (wa_reader_error, wa_reader_end); -EBADMSG not
 * WAL of this cluster, or corrupt (wa_reader_error); -ENOMEM no memory for a split record (may be tried again). */
NF_MUST_CHECK int wa_reader_next(struct wa_reader *reader, const struct wa_record **ret_record);

/* In words, and where: after -ENODATA or -EBADMSG. */
const struct wa_error *wa_reader_error(const struct wa_reader *reader);

/* How far it has come. Before the end, `end` and `last` tell where to go on, `why` is WA_END_NONE. */
struct wa_end_info wa_reader_end(const struct wa_reader *reader);

/* What was learnt or told: 0 when not known yet. */
int wa_reader_major(const struct wa_reader *reader);
uint64_t wa_reader_system_id(const struct wa_reader *reader);

/* Postgres's major version by a page's magic number; 0 = none that is known. */
int wa_major_of_magic(uint16_t magic);
/* And the other way round; 0 = no such version. */
uint16_t wa_magic_of_major(int major);

#endif
