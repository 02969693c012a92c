/* The plan of a redo layer: which WAL, and which blocks of which files. Pure; foreign bytes are checked.
 * Version 1 has no runs.
 *
 *   0 magic "NFLP" u32    4 version u32    8 major u32    12 flags u32 (1 checksums, 2 wal_log_hints)    16 segment size u32    20 timeline u32
 *  24 system id u64      32 from u64      40 to u64      48 written u64     56 base branch u32           60 base epoch u32
 *  64 first segment u64  72 segments u32  76 files u32   80 branch of the WAL u32   84 runs u32
 *  88 a segment: timeline u32, where it is u32
 *     a run: its first segment u64, segments u32, 0 u32
 *     a file: id u64, tablespace, database, relation, fork u32, first block u32, blocks u32, then the bits of its blocks, whole u64
 *     XXH3 of all before u64
 * Integers are little-endian. */
#ifndef WA_LAZY_PLAN_H
#define WA_LAZY_PLAN_H

#include "blockdev/bd.h"
#include "walapply/decode/wa_record.h"
#include "walapply/pitr/wa_facts.h"

#include <uthash.h>

#define LZ_PLAN_MAX (256u << 20)
#define LZ_SEGMENTS_MAX (1u << 20)

/* Where a segment's file is. */
enum lz_place {
	LZ_IN_BASE, /* the pg_wal of what the layer was made of */
	LZ_IN_BRANCH, /* the pg_wal of the branch of the WAL */
	LZ_IN_OWN, /* the layer's wal/ */
	LZ_PLACES
};

struct lz_segment {
	uint32_t timeline;
	enum lz_place place;
};

/* A relation's segment file, and which of its blocks the WAL touches. */
struct lz_file {
	uint64_t id; /* key */
	struct wa_block first; /* the relation's block at the file's start */
	uint32_t blocks; /* bits that count */
	uint64_t *bits;
	UT_hash_handle hh;
};

struct lz_plan {
	struct wa_version version;
	uint32_t segment_size, timeline;
	uint64_t system_id;
	struct nf_lsn from, to, written;
	struct bd_view base; /* of LZ_IN_BASE; branch 0: what the layer lies on */
	struct bd_branch_id wal_branch; /* of LZ_IN_BRANCH: an internal branch that nobody writes in; 0 = none */
	uint64_t first_segment;
	uint32_t segment_count;
	struct lz_segment *segments;
	/* Of which there is one index for several segments (wh_run_name); each has at least one of the plan's, in their order. The others have their own. */
	uint32_t run_count;
	struct wa_run *runs;
	struct lz_file *files; /* hash by id */
};

/* -ENOMEM. *ret_bytes is to be freed. */
NF_MUST_CHECK int lz_plan_encode(const struct lz_plan *plan, uint8_t **ret_bytes, size_t *ret_size);
/* -EUCLEAN damaged; -EPROTONOSUPPORT another version; -ENOMEM. */
NF_MUST_CHECK int lz_plan_decode(const uint8_t *bytes, size_t size, struct lz_plan *ret_plan);
void lz_plan_free(struct lz_plan *plan); /* what it points to */

static inline uint32_t lz_words(uint32_t blocks)
{
	return blocks / 64 + (blocks % 64 != 0);
}

/* A new file of the plan, no bits set. NULL: no memory. */
struct lz_file *lz_plan_add(struct lz_plan *plan, uint64_t id, struct wa_block first, uint32_t blocks);
/* The file with that id, or NULL. */
const struct lz_file *lz_plan_file(const struct lz_plan *plan, uint64_t id);

/* A run behind those that are there. -ENOMEM. */
NF_MUST_CHECK int lz_plan_add_run(struct lz_plan *plan, struct wa_run run);

/* As the hooks of a layer (bd.h). */
void lz_plan_touched(const struct lz_plan *plan, uint64_t file, uint32_t first, uint64_t *bits, unsigned words);
uint32_t lz_plan_next(const struct lz_plan *plan, uint64_t file, uint32_t from);

#endif
