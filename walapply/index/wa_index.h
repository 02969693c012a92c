/* The index of a WAL segment: which records touch which block, and a summary of what changes outside of pages.
 *
 * Built in one pass over a segment's records, sorted, and written once; then only read. Bytes in, bytes out: where they are kept is the caller's
 * business. A record belongs to the segment that it starts in. Indexes of neighbouring segments can be merged into one that covers them all.
 * The format has a version, is checked by XXH3, and is described in README.md and index_impl.h.
 *
 * Ranges are [from, to) of the LSNs where records *start*. Records lie one behind the other, so for positions that are ends of records (and
 * so for page LSNs and snapshots) the records that start in [a, b) are those that end in (a, b]: what brings a block from a to b.
 *
 * All functions are pure and thread-safe, each builder and cursor for one thread. */
#ifndef WA_INDEX_H
#define WA_INDEX_H

#include "walapply/decode/wa_record.h"

#define WA_INDEX_VERSION 1u
#define WA_INDEX_MERGE_MAX 1024u	   /* indexes merged at once */
#define WA_INDEX_SPAN_MAX (16ull << 30) /* bytes of WAL that one index can cover */

/* ------------------------------------------------------------- building */

struct wa_index_config {
	struct wa_version version;
	uint64_t system_id; /* 0 = not known */
	struct nf_lsn base; /* the range covered, a segment's: multiples of WA_PAGE_SIZE */
	struct nf_lsn limit;
};

struct wa_index_builder;

/* Returns 0; -EINVAL a range that is empty, longer than WA_INDEX_SPAN_MAX or not of whole pages, or an unknown major; -ENOMEM. */
NF_MUST_CHECK int wa_index_builder_new(const struct wa_index_config *config, struct wa_index_builder **ret_builder);
void wa_index_builder_free(struct wa_index_builder *builder); /* NULL is legal */

/* Forget all records and begin with another range of the same log; memory is kept. Returns as wa_index_builder_new. */
NF_MUST_CHECK int wa_index_builder_reset(struct wa_index_builder *builder, struct nf_lsn base, struct nf_lsn limit);

/* Take the next record, in the order of the log.
 * Returns 0; -EINVAL it starts outside of the range or not behind the one before; -EBADMSG its bytes are not what its type has (error);
 * -ENOMEM. After an error but -EINVAL the builder can only be reset or freed. */
NF_MUST_CHECK int wa_index_add(struct wa_index_builder *builder, const struct wa_record *record, struct wa_error *error);

/* The serialised index of the records taken: *ret_size bytes to be freed with free(). The builder must be reset before it is used again.
 * Returns 0; -EINVAL it must be reset; -EOVERFLOW it would be 4 GiB or more; -ENOMEM. */
NF_MUST_CHECK int wa_index_finish(struct wa_index_builder *builder, uint8_t **ret_bytes, size_t *ret_size);

/* -------------------------------------------------------------- reading */

/* What the whole range says of itself. */
struct wa_index_info {
	int major;
	uint64_t system_id;
	struct nf_lsn base, limit;
	struct nf_lsn first, last; /* starts of the first and last record; 0 without any */
	struct nf_lsn end;	   /* end of the last */
	uint32_t first_timeline, last_timeline;
	uint64_t records, record_bytes;		   /* record_bytes: the sum of their xl_tot_len */
	uint64_t entries;			   /* pairs of record and block */
	struct nf_lsn checkpoint, checkpoint_redo; /* the last checkpoint record here and its redo pointer; 0 = none */
	int64_t first_commit_us, last_commit_us;   /* least and greatest time of commit, since 2000-01-01; 0, 0 without any */
	uint32_t newest_xid;			   /* of those that records name, the newest; 0 = none */
	bool foreign; /* records of extensions or of unknown types occur: only Postgres itself can replay them */
	bool blocks_only; /* merged without the state: wa_index_next_state has nothing to give, and says so */
};

/* A part of the file. */
struct wa_index_section {
	const uint8_t *at;
	size_t size;
};

/* An index being read: a view of bytes that must stay. All members but info are private. */
struct wa_index {
	struct wa_index_info info;
	struct wa_index_section rels, chunks, spans, events, types, chunk_data, span_data;
	/* Where only the tables are in memory (wa_index_open_tables); else NULL. */
	int (*fetch)(void *arg, uint32_t offset, size_t size, uint8_t *to);
	void *arg;
	uint32_t chunks_at; /* where chunk_data begins in the file */
};

/* Check header, tables and their checksums, not the chunks themselves.
 * Returns 0; -ENOTSUP a version that this program does not know; -EBADMSG damaged or no index (error). */
NF_MUST_CHECK int wa_index_open(const uint8_t *bytes, size_t size, struct wa_index *ret_index, struct wa_error *error);

/* The info alone, from the first bytes of an index: WA_INDEX_HEADER of them at least. Returns as wa_index_open. */
#define WA_INDEX_HEADER 304u
NF_MUST_CHECK int wa_index_read_info(const uint8_t *bytes, size_t size, struct wa_index_info *ret_info, struct wa_error *error);

/* How many bytes from the start of the file its tables take, told from its head: WA_INDEX_HEADER bytes at least. Returns as wa_index_open. */
NF_MUST_CHECK int wa_index_tables_size(const uint8_t *bytes, size_t size, size_t *ret_size, struct wa_error *error);

/* The same with the tables alone in memory, `size` bytes of a file of `file_size`. Chunks are fetched when they are read: `fetch` copies `size` bytes at
 * `offset` of the file, at most WA_INDEX_CHUNK_MAX, from the thread that reads; 0, or an error that is passed on. The state (wa_index_next_state)
 * cannot be read of such an index: -EBADMSG. Returns as wa_index_open. */
#define WA_INDEX_CHUNK_MAX 2048u
NF_MUST_CHECK int wa_index_open_tables(const uint8_t *bytes, size_t size, size_t file_size,
				       int (*fetch)(void *arg, uint32_t offset, size_t size, uint8_t *to), void *arg,
				       struct wa_index *ret_index, struct wa_error *error);

/* Check everything: all checksums, and that everything decodes and is sorted. Returns 0 or -EBADMSG (error). */
NF_MUST_CHECK int wa_index_verify(const struct wa_index *index, struct wa_error *error);

enum {
	WA_INDEX_WHOLE = 1,   /* the record makes the page from nothing (image or init): records before it are not needed */
	WA_INDEX_IMPLIED = 2, /* the record changes the page without naming it (wa_implied_blocks) */
};

/* One record that touches one block. */
struct wa_index_entry {
	struct wa_block block;
	struct nf_lsn lsn; /* where the record starts */
	uint8_t flags;
};

struct wa_index_cursor {
	const struct wa_index *index;
	bool all;	     /* every block */
	uint32_t rel, blkno; /* the one looked for; rel = its row in rels */
	uint32_t from, to;   /* LSNs in units from the base */
	uint32_t chunk;	     /* the next to be loaded */
	struct wa_index_section data; /* what is left of the chunk */
	uint32_t at_rel, at_blkno, at_lsn, group_left;
	bool done;
	uint8_t fetched[WA_INDEX_CHUNK_MAX]; /* the chunk, where it had to be fetched: a cursor that is under way cannot be copied */
};

/* The records of `block` that start in [from, to), in the order of the log. It costs two binary searches and a chunk of 2 KiB for each
 * 400 records or so that it gives. */
void wa_index_seek(const struct wa_index *index, const struct wa_block *block, struct nf_lsn from, struct nf_lsn to,
		   struct wa_index_cursor *ret_cursor);

/* The piece of the file that wa_index_next fetches first behind that seek: *ret_size bytes at *ret_offset. False: it needs none. */
NF_MUST_CHECK bool wa_index_seek_place(const struct wa_index *index, const struct wa_block *block, struct nf_lsn from, struct nf_lsn to,
				       uint32_t *ret_offset, size_t *ret_size);

/* Every entry, by block (tablespace, database, relation, fork, number), then LSN. */
void wa_index_seek_all(const struct wa_index *index, struct wa_index_cursor *ret_cursor);

/* As wa_index_seek_all, but begin not long before the first entry of `first` or, when it has none, of the block that follows it. */
void wa_index_seek_behind(const struct wa_index *index, const struct wa_block *first, struct wa_index_cursor *ret_cursor);

/* Returns 1 with *ret_entry; 0 no more; -EBADMSG a damaged chunk (error); an error of index->fetch. */
NF_MUST_CHECK int wa_index_next(struct wa_index_cursor *cursor, struct wa_index_entry *ret_entry, struct wa_error *error);

/* The last record of `block` in [from, to) that makes it from nothing: replay needs only it and what follows.
 * Returns 1 with *ret_lsn; 0 there is none; -EBADMSG (error). */
NF_MUST_CHECK int wa_index_last_whole(const struct wa_index *index, const struct wa_block *block, struct nf_lsn from, struct nf_lsn to,
				      struct nf_lsn *ret_lsn, struct wa_error *error);

/* One more than the highest block of a relation's fork that records in [from, to) touch: so far does replay extend it at least; 0 = none.
 * Returns 0; -EBADMSG (error). */
NF_MUST_CHECK int wa_index_reach(const struct wa_index *index, struct wa_locator rel, uint32_t fork, struct nf_lsn from, struct nf_lsn to,
				 uint32_t *ret_blocks, struct wa_error *error);

/* The forks that records touch, by (tablespace, database, relation, fork). */
struct wa_index_rel {
	struct wa_locator rel;
	uint32_t fork;
	uint32_t blocks;  /* wa_index_reach of the whole range */
	uint32_t entries;
};

size_t wa_index_rel_count(const struct wa_index *index);
struct wa_index_rel wa_index_rel_at(const struct wa_index *index, size_t i); /* i < wa_index_rel_count */

/* Files that come, shrink and go. */
enum wa_index_event_kind {
	WA_EVENT_CREATE = 1,   /* fork `fork` of rel exists */
	WA_EVENT_TRUNCATE,     /* forks `fork` (bit 0 main, 1 visibility map, 2 free space map) cut to `blocks` of the main fork */
	WA_EVENT_DROP,	       /* all forks of rel */
	WA_EVENT_DB_COPY,      /* database rel.db in tablespace rel.spc is a copy of from_db in from_spc; rel.rel is 0 */
	WA_EVENT_DB_CREATE,
	WA_EVENT_DB_DROP,
	WA_EVENT_SPACE_CREATE, /* tablespace rel.spc; db and rel are 0 */
	WA_EVENT_SPACE_DROP,
	WA_EVENT_RELMAP,       /* the map of database rel.db (0: the shared one) is another */
};

struct wa_index_event {
	struct nf_lsn lsn; /* where the record starts */
	uint8_t kind, fork;
	struct wa_locator rel;
	uint32_t blocks;
	uint32_t from_spc, from_db;
};

/* By (tablespace, database, relation), then in the order of the log. */
size_t wa_index_event_count(const struct wa_index *index);
struct wa_index_event wa_index_event_at(const struct wa_index *index, size_t i); /* i < wa_index_event_count */

/* The place of the first event of rel or of what would follow it. */
size_t wa_index_event_find(const struct wa_index *index, struct wa_locator rel);

/* What changes outside of pages, in the order of the log. */
enum wa_index_state_kind {
	WA_INDEX_XID,	 /* a record names xid, newer than all before */
	WA_INDEX_COMMIT, /* xid committed at time_us, alone: no subtransactions, files, prepared transaction or origin */
	WA_INDEX_ABORT,	 /* xid aborted, alone */
	WA_INDEX_RECORD, /* rmid and op: the record itself must be read (walapply/state) */
};

struct wa_index_state {
	struct nf_lsn lsn; /* where the record starts */
	enum wa_index_state_kind kind;
	uint32_t xid;
	int64_t time_us;
	uint8_t rmid, op;
};

struct wa_index_state_cursor {
	const struct wa_index *index;
	uint32_t from, to;
	uint32_t span;
	struct wa_index_section data;
	uint32_t at_lsn, at_xid;
	int64_t at_time;
	bool done;
};

void wa_index_seek_state(const struct wa_index *index, struct nf_lsn from, struct nf_lsn to, struct wa_index_state_cursor *ret_cursor);

/* As wa_index_next; -EBADMSG too where the index is blocks_only. */
NF_MUST_CHECK int wa_index_next_state(struct wa_index_state_cursor *cursor, struct wa_index_state *ret_state, struct wa_error *error);

/* How often each type of record occurs, by (rmid, op). op is the type bits; of unknown types the upper half of xl_info. */
struct wa_index_type {
	uint8_t rmid, op;
	uint32_t count;
	uint64_t bytes;
};

size_t wa_index_type_count(const struct wa_index *index);
struct wa_index_type wa_index_type_at(const struct wa_index *index, size_t i); /* i < wa_index_type_count */

/* -------------------------------------------------------------- merging */

enum wa_index_merge_kind {
	WA_MERGE_ALL, /* the same bytes as if one builder had taken all records */
	WA_MERGE_BLOCKS, /* the same without the state, which is about half of it (info.blocks_only) */
};

/* One index of several that follow each other without a gap (each one's limit is the next one's base), of one cluster and major.
 * *ret_size bytes to be freed with free(). Memory: the result's, and once more the largest table's while it grows.
 * Returns 0; -EINVAL they do not follow each other, are none or too many, or one is blocks_only and the whole is wanted; -EBADMSG one is damaged
 * (error); -EOVERFLOW; -ENOMEM. */
NF_MUST_CHECK int wa_index_merge(const struct wa_index *parts, size_t count, enum wa_index_merge_kind kind, uint8_t **ret_bytes,
				 size_t *ret_size, struct wa_error *error);

#endif
