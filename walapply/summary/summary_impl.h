/* The format of a summary, and what its two sides share. Integers are little-endian; varints have seven bits a byte, low ones first; LSNs of items are
 * in units of 8 bytes from the base.
 *
 *   header, 120 bytes
 *     0 magic u64      8 version u32    12 major u32     16 base u64       24 limit u64     32 system id u64   40 first u64
 *    48 prev u64      56 last u64       64 end u64       72 records u64    80 first timeline u32               84 last timeline u32
 *    88 flags u32     92 items' size u32                 96 blocks' size u32               100 zeros
 *   items
 *     XID      tag; zigzag of (xid - the one before)
 *     ENDED    tag; zigzag of (xid - the one before); count << 1 | aborted. "The one before" is the last of the run then
 *     COMMIT   tag; zigzag of (xid - the one before); zigzag of (time - the one before); origin
 *     GROW     tag; tablespace, database, relation, fork, blocks
 *     RECORD   tag; timeline; lsn; (end - lsn) / 8; size; the bytes
 *   blocks, a chunk at a time
 *     tag (enum sm_chunk); unless it is of the same fork as the one before: tablespace, database, relation, fork; number of the chunk; then
 *     RUNS     how many; for each: blocks passed over, blocks touched
 *     BITS     bytes; as many, a bit a block, low ones first
 *   XXH3 of all before u64 */
#ifndef WA_SUMMARY_IMPL_H
#define WA_SUMMARY_IMPL_H

#include <endian.h>
#include <string.h>

#include "walapply/summary/wa_summary.h"

#define SM_MAGIC 0x314D5357414E464Eull /* "NFNAWSM1" */
#define SM_HEADER 120u
#define SM_HASH 8u
#define SM_VARINT_MAX 10u
#define SM_RECORD_MAX (64u << 10) /* larger ones make the summary partial */
#define SM_BITS_MAX (WA_SUMMARY_CHUNK / 8)

enum { SM_COMMIT_TIMES = 1, SM_PARTIAL = 2, SM_FOREIGN = 4, SM_PARAMETERS = 8, SM_COPIES = 16, SM_FLAGS = 31 };
enum sm_chunk { SM_RUNS = 0, SM_BITS = 1, SM_SAME_FORK = 2 }; /* the last or-ed to one of the first two */

static inline uint64_t sm_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t sm_unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* Is xid, one that transactions have, newer than `newest` (0: than nothing)? */
static inline bool sm_newer(uint32_t xid, uint32_t newest)
{
	return xid >= 3 && (newest == 0 || (int32_t)(xid - newest) > 0);
}

#endif
