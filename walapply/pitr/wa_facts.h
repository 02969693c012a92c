/* What history knows of one branch: the file `facts`, and what may be decided from it alone. Pure: bytes and lists in, out.
 *
 * The file, little-endian:
 *
 *     0 magic "NFHISTRY"   8 version u32   12 zero u32   16 XXH3-64 of all from 24 on
 *    24 retention seconds u64   32 bytes u64   40 system id u64   48 major u32   52 segment size u32   56 kept from u64   64 sealed u64
 *    72 next u64   80 prev u64   88 bytes of index files u64   96 begun again i64   104 why, 160 bytes, NUL-terminated
 *   264 counts u32 of: timelines, bases, holds, minimal stretches; then these:
 *       timeline    timeline u32, zero u32, begin u64
 *       base        epoch u32, flags u32, timeline u32, zero u32, time i64, written u64, redo u64
 *       hold        name, 64 bytes NUL-terminated; from u64, to u64
 *       stretch     from u64, to u64
 *
 * Timelines rise, and begin later and later, the first where history did (0: facts of earlier programs, that did not note it); bases rise by epoch.
 * Positions are LSNs, times microseconds since 2000. */
#ifndef WA_FACTS_H
#define WA_FACTS_H

#include "walapply/decode/wa_reader.h"
#include "walapply/pitr/wa_history.h"

#define WA_FACTS_VERSION 1u
#define WA_FACTS_HEADER 280u
#define WA_FACTS_TIMELINES_MAX 1024u
#define WA_FACTS_BASES_MAX 65536u
#define WA_FACTS_HOLDS_MAX 65536u
#define WA_FACTS_STRETCHES_MAX 1024u
#define WA_FACTS_SIZE_MAX (16u << 20) /* larger than all of them together */
#define WA_FACTS_NAME_MAX 63u /* bytes of a hold's name */
#define WA_FACTS_TEXT 160u

/* A timeline of the branch's WAL, and where its parent's ended; the first one of history begins where history does. */
struct wa_facts_timeline {
	uint32_t timeline;
	struct nf_lsn begin;
};

enum {
	WA_BASE_AUTOMATIC = 1, /* made by history: retention deletes it */
	WA_BASE_UNUSABLE = 2, /* looked at: no base (written and redo are 0) */
};

/* A snapshot of the branch. */
struct wa_facts_base {
	uint32_t epoch, flags, timeline;
	int64_t time_us;
	struct nf_lsn written, redo;
};

struct wa_facts_hold {
	char name[WA_FACTS_NAME_MAX + 1];
	struct nf_lsn from, to;
};

/* wal_level was minimal: (from, to]; to UINT64_MAX: it still is. */
struct wa_facts_stretch {
	struct nf_lsn from, to;
};

struct wa_facts {
	struct wa_retention retention;
	uint64_t system_id;
	int major;
	uint32_t segment_size; /* 0: history has not begun; then there are no timelines and bases */
	struct nf_lsn kept_from; /* WAL is there from this segment's start on */
	struct nf_lsn sealed; /* segments before this one's start have an index */
	struct nf_lsn next,
		prev; /* where the first record behind them is looked for, and where the one before it began (0 = not known) */
	uint64_t index_bytes;
	int64_t begun_again_us;
	char begun_again_why[WA_FACTS_TEXT];
	struct wa_facts_timeline *timelines;
	struct wa_facts_base *bases;
	struct wa_facts_hold *holds;
	struct wa_facts_stretch *stretches;
	uint32_t timeline_count, base_count, hold_count, stretch_count;
};

void wa_facts_free(struct wa_facts *facts); /* what it points to; it is empty then */

/* A zeroed element more at the end of a list; the counts' maxima hold: -ENOSPC. -ENOMEM. */
NF_MUST_CHECK int wa_facts_add_timeline(struct wa_facts *facts, struct wa_facts_timeline timeline);
/* Sorted in by epoch; one of the same epoch is replaced. */
NF_MUST_CHECK int wa_facts_add_base(struct wa_facts *facts, struct wa_facts_base base);
NF_MUST_CHECK int wa_facts_add_hold(struct wa_facts *facts, const char *name, struct nf_lsn from, struct nf_lsn to);
NF_MUST_CHECK int wa_facts_add_stretch(struct wa_facts *facts, struct wa_facts_stretch stretch);
void wa_facts_drop_base(struct wa_facts *facts, uint32_t index);
/* Returns whether there was one. */
bool wa_facts_drop_hold(struct wa_facts *facts, const char *name);

/* The file's bytes, to be freed. -ENOMEM. */
NF_MUST_CHECK int wa_facts_encode(const struct wa_facts *facts, uint8_t **ret_bytes, size_t *ret_size);
/* Returns 0 (wa_facts_free); -EPROTONOSUPPORT a newer version; -EUCLEAN damaged; -ENOMEM. *ret_why: what is wrong, a constant. */
NF_MUST_CHECK int wa_facts_decode(const uint8_t *bytes, size_t size, struct wa_facts *ret_facts, const char **ret_why);

/* ------------------------------------------------------- segments */

#define WA_SEGMENT_NAME 24u

/* Segments [first, first + count), by number. */
struct wa_run {
	uint64_t first;
	uint32_t count;
};

static inline uint64_t wa_segment_start(struct nf_lsn lsn, uint32_t segment_size)
{
	return lsn.v - lsn.v % segment_size;
}

/* The name of the segment that holds `lsn`: WA_SEGMENT_NAME characters and the end. */
void wa_segment_name(char name[WA_SEGMENT_NAME + 1], uint32_t timeline, struct nf_lsn lsn, uint32_t segment_size);
/* Is `name` a segment's? Where it begins. */
NF_MUST_CHECK bool wa_segment_parse(const char *name, uint32_t segment_size, uint32_t *ret_timeline, struct nf_lsn *ret_start);
/* The timeline whose file of the segment at `start` is the branch's: the newest that began before the segment's end. 0: there are none. */
uint32_t wa_facts_timeline_of(const struct wa_facts *facts, struct nf_lsn start);

/* Timelines that a history file (its text; foreign) names behind `timeline`, the last of them `newest`, into the facts.
 * Returns 0; -EBADMSG no such file's text; -ENOENT it does not come from `timeline`; -ERANGE it left it before `reached`; -ENOSPC; -ENOMEM. */
NF_MUST_CHECK int wa_facts_follow(struct wa_facts *facts, const char *text, uint32_t newest, struct nf_lsn reached);

/* ------------------------------------------------------- decisions */

/* Where history began, or later: records from there on are in its indexes, and what they change is known. Facts of programs that did not note it: the
 * redo pointer of the oldest base. 0: there is none. */
struct nf_lsn wa_facts_begun(const struct wa_facts *facts);
/* The index of the first base in the window: those before it may go.
 * end: where WAL ends now. The newest usable base always stays. */
uint32_t wa_facts_window(const struct wa_facts *facts, int64_t now_us, struct nf_lsn end);
/* The segment start from which bases from `first` on need WAL. */
struct nf_lsn wa_facts_needed_from(const struct wa_facts *facts, uint32_t first);
/* Is the segment at `start` needed by window or holds? */
bool wa_facts_needs(const struct wa_facts *facts, struct nf_lsn start);
/* The oldest and the newest usable base, or NULL. */
const struct wa_facts_base *wa_facts_oldest(const struct wa_facts *facts);
const struct wa_facts_base *wa_facts_newest(const struct wa_facts *facts);
/* The newest usable base with written <= x, or NULL. */
const struct wa_facts_base *wa_facts_base_for(const struct wa_facts *facts, struct nf_lsn x);
/* Was wal_level minimal somewhere in (from, to]? */
bool wa_facts_is_minimal(const struct wa_facts *facts, struct nf_lsn from, struct nf_lsn to);
/* A record at `lsn` says what wal_level is. Known records change nothing. */
NF_MUST_CHECK int wa_facts_wal_level(struct wa_facts *facts, struct nf_lsn lsn, bool is_minimal);

#endif
