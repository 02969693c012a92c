/* SP-GiST pages, as redo sees them.
 *
 *   special space, the last 8 bytes: 0 flags u16   2 redirects on the page u16   4 placeholders u16   6 page id u16
 *   every tuple    0 state in the low 2 bits u32
 *   leaf tuple     0 size in the upper 30 bits u32   4 t_info u16: next tuple of the chain 14 bits, has a null bitmap 0x8000   6 heap TID
 *                  12 key and included columns
 *   dead tuple     0 size in the upper 30 bits u32, always 16   4 t_info u16, 0   6 TID that a redirect leads to   12 xid of a redirect u32
 *   inner tuple    0 one bit, nodes 13 bits, prefix bytes 16 bits u32   4 size u16   8 prefix   8 + prefix bytes: nodes
 *   node           0 downlink TID   6 t_info u16, as of an index tuple: size 13 bits   8 label
 *
 * Tuples keep their offset numbers for life, since others lead to them: what goes away leaves a dead tuple in its place. A redirect leads
 * scans on that still hold the old place, a dead leaf is the head of an empty chain, and a placeholder is free to be used again.
 * Postgres 13 has the whole u16 at 4 of a leaf tuple for the next offset number; its upper bits are 0.
 *
 * In records the tuples follow each other without any padding.
 * Source: access/spgist_private.h; access/spgist/spgutils.c, spgdoinsert.c and spgxlog.c. */
#ifndef WA_SPGIST_IMPL_H
#define WA_SPGIST_IMPL_H

#include "walapply/redo/redo_impl.h"

#define SP_SPECIAL 8u
#define SP_SPECIAL_AT (WA_PAGE_SIZE - SP_SPECIAL)
#define SP_PAGE_ID 0xFF82u
#define SP_DEAD_SIZE 16u /* SGDTSIZE: a dead tuple, and the least that a leaf tuple has */
#define SP_INNER_HEADER 8u /* SGITHDRSZ */
#define SP_NODE_HEADER 8u /* SGNTHDRSZ */
#define SP_TID_SIZE 6u
#define SP_STATE_SIZE 8u /* spgxlogState: xid u32, whether the index is being built u8, 3 bytes of padding */

enum { SP_LEAF = 4, SP_NULLS = 8 };
enum sp_state { SP_LIVE, SP_REDIRECT, SP_DEAD, SP_PLACEHOLDER };

/* Where something lies within the index. */
struct sp_place {
	uint32_t blkno;
	uint16_t off;
};

/* Whose work a record is: the xid that redirects get. While an index is built nobody else looks at it, and placeholders do. */
struct sp_source {
	uint32_t xid;
	bool building;
};

/* A tuple within a record: not aligned, all its bytes there. */
struct sp_tuple {
	const uint8_t *bytes;
	unsigned size;
};

static inline enum sp_state sp_state_of(const uint8_t *tuple)
{
	return (enum sp_state)(wa_get32(tuple) & 3);
}

/* Offsets of the counts in the special space, from the start of the page. */
enum { SP_REDIRECTS = SP_SPECIAL_AT + 2, SP_PLACEHOLDERS = SP_SPECIAL_AT + 4 };

/* A count += delta, modulo 2^16 as in Postgres, whose counts may be wrong without harm. */
static inline void sp_count(uint8_t *page, unsigned at, int delta)
{
	wa_put16(page + at, (uint16_t)(wa_get16(page + at) + delta));
}

/* Read the state of a record's source at the reader. */
struct sp_source sp_read_source(struct nf_reader *r);

/* The next tuple in the record. Returns an empty one, and r->failed is set, when it is cut short. */
struct sp_tuple sp_read_leaf(struct nf_reader *r);
struct sp_tuple sp_read_inner(struct nf_reader *r);

/* The next `count` offset numbers in the record; count <= WA_INDEX_TUPLES_MAX, else r->failed is set. */
void sp_read_offsets(struct nf_reader *r, unsigned count, uint16_t *ret_offs);

/* Make the page an empty one with these flags if `init`, else see that it is one of SP-GiST. */
int sp_start(struct wa_redo *redo, bool init, unsigned flags);

/* Put a tuple at `off`: behind the last one, or in place of a placeholder (SpGistPageAddNewItem). */
int sp_add(struct wa_redo *redo, struct sp_tuple tuple, unsigned off);

/* Put a tuple in place of whatever is item `off`. */
int sp_replace(struct wa_redo *redo, struct sp_tuple tuple, unsigned off);

/* Leave dead tuples in place of `count` items: the first of the list in state `first`, the others in state `rest`; redirects lead to `to`
 * (spgPageIndexMultiDelete). */
int sp_bury(struct wa_redo *redo, const uint16_t *offs, unsigned count, enum sp_state first, enum sp_state rest,
	    struct sp_source source, struct sp_place to);

/* Leave one dead tuple in place of item `off`, and count it. */
int sp_bury_one(struct wa_redo *redo, unsigned off, enum sp_state state, struct sp_source source, struct sp_place to);

/* Let node number `node` of the inner tuple `off` lead to `to`. */
int sp_link(struct wa_redo *redo, unsigned off, unsigned node, struct sp_place to);

/* Let the leaf tuple `off` go on with item `next` in its chain. */
int sp_chain(struct wa_redo *redo, unsigned off, unsigned next);

static inline int sp_cut_short(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record is cut short");
}

static inline int sp_bad_ref(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
}

#endif
