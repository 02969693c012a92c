/* SP-GiST pages and tuples made by hand, for the unit tests of its redo. */
#ifndef SPGIST_CASE_H
#define SPGIST_CASE_H

#include "index_case.h"

#include "common/nf_cursor.h"
#include "walapply/redo/spgist_impl.h"

enum { ADD_LEAF = 0x10, MOVE_LEAFS = 0x20, ADD_NODE = 0x30, SPLIT_TUPLE = 0x40, PICKSPLIT = 0x50 };
enum { VACUUM_LEAF = 0x60, VACUUM_ROOT = 0x70, VACUUM_REDIRECT = 0x80 };

#define LEAF_SIZE 24u /* of the leaf tuples here: 12 bytes of header, and a number as key */
#define NODE_SIZE 16u /* of their nodes: 8 bytes of header, and a label */
#define XID 777u

static const struct case_family spgist = {WA_RMGR_SPGIST, SP_SPECIAL, wa_mask_spgist};

static inline void leaf_tuple(uint8_t to[LEAF_SIZE], unsigned key, unsigned next)
{
	memset(to, 0, LEAF_SIZE);
	wa_put32(to, LEAF_SIZE << 2);
	wa_put16(to + 4, (uint16_t)(0x8000 | next)); /* with the bit for nulls, which must survive */
	wa_put16(to + 8, 3);
	wa_put16(to + 10, 4);
	wa_put32(to + 16, key);
}

static inline void dead_tuple(uint8_t to[SP_DEAD_SIZE], enum sp_state state, uint32_t blkno, unsigned off)
{
	bool redirect = state == SP_REDIRECT;
	wa_put32(to, SP_DEAD_SIZE << 2 | (uint32_t)state);
	wa_put16(to + 4, 0);
	wa_put16(to + 6, redirect ? (uint16_t)(blkno >> 16) : 0xFFFF);
	wa_put16(to + 8, redirect ? (uint16_t)blkno : 0xFFFF);
	wa_put16(to + 10, redirect ? (uint16_t)off : 0);
	wa_put32(to + 12, redirect ? XID : 0);
}

/* An inner tuple with a prefix of 8 bytes and nodes that lead to (0, 0). Returns its size. */
static inline unsigned inner_tuple(uint8_t *to, unsigned key, unsigned nodes)
{
	unsigned size = 16 + nodes * NODE_SIZE;
	memset(to, 0, size);
	wa_put32(to, nodes << 3 | 8u << 16);
	wa_put16(to + 4, (uint16_t)size);
	wa_put32(to + 8, key);
	for (unsigned i = 0; i < nodes; i++)
		wa_put16(to + 16 + i * NODE_SIZE + 6, NODE_SIZE);
	return size;
}

static inline void put_last(struct index_case *c, const uint8_t *tuple, unsigned size)
{
	unsigned off = wa_page_item_count(c->page) + 1;
	assert_int_equal(wa_page_add(c->page, tuple, size, off, false, false), off);
}

static inline void put_leaf(struct index_case *c, unsigned key, unsigned next)
{
	uint8_t tuple[LEAF_SIZE];
	leaf_tuple(tuple, key, next);
	put_last(c, tuple, sizeof(tuple));
}

/* A dead tuple, counted as on a page of Postgres; redirects lead to (0x20005, 6). */
static inline void put_dead(struct index_case *c, enum sp_state state)
{
	uint8_t tuple[SP_DEAD_SIZE];
	dead_tuple(tuple, state, 0x20005, 6);
	put_last(c, tuple, sizeof(tuple));
	if (state == SP_PLACEHOLDER)
		sp_count(c->page, SP_PLACEHOLDERS, 1);
	else if (state == SP_REDIRECT)
		sp_count(c->page, SP_REDIRECTS, 1);
}

static inline void put_inner(struct index_case *c, unsigned key, unsigned nodes)
{
	uint8_t tuple[512];
	put_last(c, tuple, inner_tuple(tuple, key, nodes));
}

static inline void expect_item(struct index_case *c, unsigned off, const uint8_t *expected, unsigned size)
{
	uint8_t *tuple;
	unsigned len;
	assert_int_equal(wa_page_tuple(c->page, off, size, &tuple, &len), 0);
	assert_int_equal(len, size);
	assert_memory_equal(tuple, expected, size);
}

static inline void expect_leaf(struct index_case *c, unsigned off, unsigned key, unsigned next)
{
	uint8_t tuple[LEAF_SIZE];
	leaf_tuple(tuple, key, next);
	expect_item(c, off, tuple, sizeof(tuple));
}

static inline void expect_dead(struct index_case *c, unsigned off, enum sp_state state, uint32_t blkno, unsigned to)
{
	uint8_t tuple[SP_DEAD_SIZE];
	dead_tuple(tuple, state, blkno, to);
	expect_item(c, off, tuple, sizeof(tuple));
}

/* Inner tuple `off` as inner_tuple makes it, but for node `node`, which leads to (blkno, to). */
static inline void expect_inner(struct index_case *c, unsigned off, unsigned key, unsigned nodes, unsigned node, uint32_t blkno,
				unsigned to)
{
	uint8_t tuple[512];
	unsigned size = inner_tuple(tuple, key, nodes);
	if (node < nodes) {
		uint8_t *tid = tuple + 16 + node * NODE_SIZE;
		wa_put16(tid, (uint16_t)(blkno >> 16));
		wa_put16(tid + 2, (uint16_t)blkno);
		wa_put16(tid + 4, (uint16_t)to);
	}
	expect_item(c, off, tuple, size);
}

static inline void expect_counts(struct index_case *c, unsigned redirects, unsigned placeholders)
{
	assert_int_equal(wa_get16(c->page + SP_REDIRECTS), redirects);
	assert_int_equal(wa_get16(c->page + SP_PLACEHOLDERS), placeholders);
}

static inline void expect_page(struct index_case *c, unsigned items, unsigned flags)
{
	assert_int_equal(wa_page_item_count(c->page), items);
	assert_int_equal(wa_get16(c->page + SP_SPECIAL_AT), flags);
	assert_int_equal(wa_get16(c->page + SP_SPECIAL_AT + 6), SP_PAGE_ID);
}

/* An empty page of SP-GiST in place of the case's. */
static inline void start_page(struct index_case *c, unsigned flags)
{
	wa_page_init(c->page, SP_SPECIAL);
	wa_put16(c->page + SP_SPECIAL_AT, (uint16_t)flags);
	wa_put16(c->page + SP_SPECIAL_AT + 6, SP_PAGE_ID);
}

static inline void write_source(struct nf_writer *w, bool building)
{
	nf_write_u32(w, XID);
	nf_write_u32(w, building);
}

static inline void write_leaf(struct nf_writer *w, unsigned key, unsigned next)
{
	uint8_t tuple[LEAF_SIZE];
	leaf_tuple(tuple, key, next);
	nf_write_bytes(w, tuple, sizeof(tuple));
}

static inline void write_inner(struct nf_writer *w, unsigned key, unsigned nodes)
{
	uint8_t tuple[512];
	nf_write_bytes(w, tuple, inner_tuple(tuple, key, nodes));
}

static inline void set_main(struct index_case *c, const struct nf_writer *w)
{
	assert_false(w->failed);
	case_main(c, w->data, w->offset);
}

#endif
