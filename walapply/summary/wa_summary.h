/* The summary of a WAL segment: what its records change outside of relation pages, and which blocks they touch, without the records.
 *
 * What thousands of transactions did to pg_xact is a few runs of ids here; how far they extended a relation is one number. Records that say
 * more (files that come and go, maps, prepared transactions, multixacts, checkpoints, pages of free space maps) are in it whole. So who
 * brings the state outside of pages from one point of the log to another reads a few kilobytes for each segment between, and decodes only the
 * segment that a point lies in. Items have to be taken in their order; the end is the same as that of the segment's records, each by itself.
 *
 * Built in one pass over a segment's records, written once. Bytes in, bytes out. The format is in summary_impl.h; it has a version, and XXH3 covers
 * all of it. Functions are pure and thread-safe, each builder and cursor for one thread. */
#ifndef WA_SUMMARY_H
#define WA_SUMMARY_H

#include "walapply/state/wa_state.h"

#define WA_SUMMARY_VERSION 1u
#define WA_SUMMARY_CHUNK 32768u /* blocks of a chunk: what is said of touched blocks at once */
#define WA_SUMMARY_WORDS (WA_SUMMARY_CHUNK / 64)
#define WA_SUMMARY_MEMORY_MAX ((size_t)256 << 20)

/* ------------------------------------------------------------- building */

struct wa_summary_config {
	struct wa_version version;
	uint64_t system_id;
	struct nf_lsn base, limit; /* the segment: records that start in [base, limit) */
	bool commit_times; /* track_commit_timestamp is on: keep when each transaction committed */
	size_t memory_max; /* bytes that building may take beside the items; 0 = WA_SUMMARY_MEMORY_MAX */
};

struct wa_summary_builder;

/* Returns 0; -EINVAL an empty range or one that is not of whole pages, or an unknown major; -ENOMEM. */
NF_MUST_CHECK int wa_summary_builder_new(const struct wa_summary_config *config, struct wa_summary_builder **ret_builder);
void wa_summary_builder_free(struct wa_summary_builder *builder); /* NULL is legal */

/* Take the next record, in the order of the log.
 * Returns 0; -EINVAL it starts outside of the range or not behind the one before; -EBADMSG its bytes are not what its type has (error);
 * -EFBIG it touches more forks and regions than memory_max allows: this segment has no summary; -ENOMEM. After an error the builder can only be freed. */
NF_MUST_CHECK int wa_summary_add(struct wa_summary_builder *builder, const struct wa_record *record, struct wa_error *error);

/* The summary of the records taken: *ret_size bytes to be freed with free(). The builder can only be freed then. Returns 0; -EINVAL; -ENOMEM. */
NF_MUST_CHECK int wa_summary_finish(struct wa_summary_builder *builder, uint8_t **ret_bytes, size_t *ret_size);

/* -------------------------------------------------------------- reading */

struct wa_summary_info {
	int major;
	uint64_t system_id;
	struct nf_lsn base, limit;
	struct nf_lsn first, last; /* starts of the first and last record; 0 without any */
	struct nf_lsn prev; /* back link of the first: where the record before the segment's own began */
	struct nf_lsn end; /* end of the last */
	uint32_t first_timeline, last_timeline;
	uint64_t records;
	bool commit_times; /* of all records; without them only the state of a cluster that does not track them can be had */
	bool is_partial; /* there was too much to be kept: items are missing, the records themselves must be read. Blocks are all there */
	bool has_foreign; /* records of extensions or of unknown types: only Postgres itself can replay them. Partial then too */
	bool has_parameters; /* settings changed */
	bool has_copies; /* a database was copied: blocks of the copy are not named */
};

/* A summary being read: a view of bytes that must stay. */
struct wa_summary {
	struct wa_summary_info info;
	const uint8_t *items, *blocks;
	size_t items_size, blocks_size;
};

/* Returns 0; -ENOTSUP a version that this program does not know; -EBADMSG damaged, or no summary (error). */
NF_MUST_CHECK int wa_summary_open(const uint8_t *bytes, size_t size, struct wa_summary *ret_summary, struct wa_error *error);

/* Summaries that go from one program to another, one behind the other: before each its size, u32. Those of one log, rising.
 * The next of the `size` bytes, from *at on, which is behind it then. False: no more, or what is there is cut short. The summary is still to be opened. */
#define WA_SUMMARY_PACKED_HEADER 4u
NF_MUST_CHECK bool wa_summary_packed_next(const uint8_t *bytes, size_t size, size_t *at, const uint8_t **ret_bytes, size_t *ret_size);

enum wa_summary_kind {
	WA_SUMMARY_XID = 1, /* records named xid, newer than all before */
	WA_SUMMARY_ENDED, /* transactions xid .. xid + count - 1 ended, each alone, all with `status` */
	WA_SUMMARY_COMMIT, /* xid committed alone at time_us, which has to be kept */
	WA_SUMMARY_GROW, /* fork main or visibility map of rel exists, and has at least `blocks` blocks */
	WA_SUMMARY_RECORD, /* the record itself */
};

struct wa_summary_item {
	enum wa_summary_kind kind;
	uint32_t xid, count;
	enum wa_xact_status status;
	int64_t time_us; /* since 2000-01-01 */
	uint16_t origin;
	struct wa_locator rel;
	uint32_t fork, blocks;
	struct wa_record record; /* a view of the summary's bytes */
};

struct wa_summary_cursor {
	const struct wa_summary *summary;
	size_t at;
	uint32_t xid; /* what the next one's is told from */
	int64_t time_us;
};

void wa_summary_start(const struct wa_summary *summary, struct wa_summary_cursor *ret_cursor);
/* Returns 1 with *ret_item; 0 no more; -EBADMSG (error). */
NF_MUST_CHECK int wa_summary_next(struct wa_summary_cursor *cursor, struct wa_summary_item *ret_item, struct wa_error *error);

/* Blocks of forks main and visibility map that records touch: a bit for each of the WA_SUMMARY_CHUNK blocks from `first` on, whose number is a multiple of
 * that. In the order of (tablespace, database, relation, fork, number). `each` returning other than 0 stops, and is passed on.
 * Returns 0; -EBADMSG (error). */
NF_MUST_CHECK int wa_summary_blocks(const struct wa_summary *summary,
				    int (*each)(void *arg, const struct wa_block *first, const uint64_t words[WA_SUMMARY_WORDS]),
				    void *arg, struct wa_error *error);

#endif
