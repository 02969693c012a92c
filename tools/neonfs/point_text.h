/* A point in a branch's history as people write it: an LSN, a time, a snapshot's label, or the name of a restore point.
 *
 *   16/B374D848                     an LSN
 *   16-B374D848                     an LSN, where a slash cannot be; a label or restore point of that name comes first
 *   2026-11-24T01:34:00Z            a time: ISO 8601 down to the minute at least, with a zone (Z, UTC, +01, +01:00, +0100); a blank may
 *                                   stand for the T. Without a zone it is refused: where the daemon runs is not where its user is.
 *   before-upgrade                  all else is a name
 *   lsn:, time:, label:, restore-point: in front say which is meant
 *
 * Pure: text in, facts out. */
#ifndef NEONFS_POINT_TEXT_H
#define NEONFS_POINT_TEXT_H

#include "common/nf_lsn.h"

enum point_kind {
	POINT_LSN,
	POINT_TIME,
	POINT_NAME, /* a label or a restore point; or an LSN when `may_be_lsn` and neither is there */
	POINT_LABEL,
	POINT_RESTORE_POINT,
};

struct point_text {
	enum point_kind kind;
	bool may_be_lsn;
	struct nf_lsn lsn; /* POINT_LSN, and with may_be_lsn */
	int64_t time_us; /* POINT_TIME: since 2000-01-01 00:00 UTC, as Postgres counts; rounded down */
	const char *name; /* into the text: the three kinds of names */
};

#define POINT_MESSAGE_MAX 256

/* Returns 0; -EINVAL with one line in ret_message (POINT_MESSAGE_MAX): what is wrong and how it is written. */
NF_MUST_CHECK int point_parse(const char *text, struct point_text *ret_point, char *ret_message);

/* What to add to "there is no such name": how a time is written, when the name looks as if one was meant ("14:55", "2026-11-24", "yesterday"); else "". */
const char *point_name_hint(const char *name);

/* Would somebody take a label for an LSN, as Postgres prints one (16-B374D848; not cafe-1, nor 20261124-013400, which is a day and a time)? Does it begin as
 * a time does, with a day, a T and hours? */
bool point_is_like_lsn(const char *label);
bool point_is_like_time(const char *label);

#define POINT_TIME_MAX 40 /* room for a time as text */
/* "2026-11-24T01:34:00.000001Z" from microseconds since 2000. Returns `buf` (POINT_TIME_MAX). */
char *point_time(char *buf, int64_t time_us);

#endif
