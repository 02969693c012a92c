/* What all SP-GiST redo functions do with tuples: read them from the record, put them on the page, leave dead ones behind, link them.
 * Source: access/spgist/spgxlog.c, addOrReplaceTuple; spgdoinsert.c, spgUpdateNodeLink and spgPageIndexMultiDelete; spgutils.c,
 * spgFormDeadTuple. */
#include "spgist_impl.h"

#include <stdlib.h>

#define NEXT_MASK 0x3FFFu
#define NODE_SIZE_MASK 0x1FFFu

struct sp_source sp_read_source(struct nf_reader *r)
{
	struct sp_source source = {.xid = nf_read_u32(r)};
	source.building = nf_read_u8(r) != 0;
	(void)nf_read_bytes(r, 3);
	return source;
}

/* The tuple of `size` bytes at the reader; `least` is what it must have. */
static struct sp_tuple take(struct nf_reader *r, unsigned size, unsigned least)
{
	if (size < least || size > SP_SPECIAL_AT)
		r->failed = true;
	const uint8_t *bytes = nf_read_bytes(r, size);
	return (struct sp_tuple){.bytes = bytes, .size = bytes != NULL ? size : 0};
}

struct sp_tuple sp_read_leaf(struct nf_reader *r)
{
	struct nf_reader peek = *r;
	uint32_t first = nf_read_u32(&peek);
	return take(r, first >> 2, SP_DEAD_SIZE);
}

struct sp_tuple sp_read_inner(struct nf_reader *r)
{
	struct nf_reader peek = *r;
	(void)nf_read_u32(&peek);
	unsigned size = nf_read_u16(&peek);
	return take(r, size, SP_INNER_HEADER);
}

void sp_read_offsets(struct nf_reader *r, unsigned count, uint16_t *ret_offs)
{
	if (count > WA_INDEX_TUPLES_MAX)
		r->failed = true;
	else
		nf_read_copy(r, ret_offs, count * sizeof(*ret_offs));
}

int sp_start(struct wa_redo *redo, bool init, unsigned flags)
{
	if (init) {
		wa_page_init(redo->page, SP_SPECIAL);
		wa_put16(redo->page + SP_SPECIAL_AT, (uint16_t)flags);
		wa_put16(redo->page + SP_SPECIAL_AT + 6, SP_PAGE_ID);
	} else if (wa_page_check(redo->page) < 0 || wa_page_special(redo->page) != SP_SPECIAL_AT) {
		return wa_redo_bad(redo, "the page is not one of an SP-GiST index");
	}
	return 0;
}

static int put(struct wa_redo *redo, struct sp_tuple tuple, unsigned off)
{
	if (off == 0 || wa_page_add(redo->page, tuple.bytes, tuple.size, off, false, false) < 0)
		return wa_redo_bad(redo, "no room for item %u of %u bytes", off, tuple.size);
	return 0;
}

int sp_add(struct wa_redo *redo, struct sp_tuple tuple, unsigned off)
{
	uint8_t *old;
	unsigned len;

	if (off > wa_page_item_count(redo->page))
		return put(redo, tuple, off);
	if (wa_page_tuple(redo->page, off, SP_INNER_HEADER, &old, &len) < 0 || sp_state_of(old) != SP_PLACEHOLDER)
		return wa_redo_bad(redo, "item %u is to be replaced, and is no placeholder", off);
	sp_count(redo->page, SP_PLACEHOLDERS, -1);
	return sp_replace(redo, tuple, off);
}

int sp_replace(struct wa_redo *redo, struct sp_tuple tuple, unsigned off)
{
	if (wa_page_index_delete(redo->page, off) < 0)
		return wa_redo_bad(redo, "there is no item %u to replace", off);
	return put(redo, tuple, off);
}

static void make_tid(uint8_t *tid, struct sp_place place)
{
	wa_put16(tid, (uint16_t)(place.blkno >> 16));
	wa_put16(tid + 2, (uint16_t)place.blkno);
	wa_put16(tid + 4, place.off);
}

static const struct sp_place nowhere = {.blkno = UINT32_MAX, .off = 0};

static void make_dead(uint8_t tuple[SP_DEAD_SIZE], enum sp_state state, struct sp_source source, struct sp_place to)
{
	wa_put32(tuple, SP_DEAD_SIZE << 2 | (uint32_t)state);
	wa_put16(tuple + 4, 0);
	make_tid(tuple + 6, state == SP_REDIRECT ? to : nowhere);
	wa_put32(tuple + 12, state == SP_REDIRECT ? source.xid : 0);
}

static int put_dead(struct wa_redo *redo, unsigned off, enum sp_state state, struct sp_source source, struct sp_place to)
{
	uint8_t dead[SP_DEAD_SIZE];
	make_dead(dead, state, source, to);
	int status = put(redo, (struct sp_tuple){.bytes = dead, .size = sizeof(dead)}, off);
	if (status == 0 && state == SP_REDIRECT)
		sp_count(redo->page, SP_REDIRECTS, 1);
	else if (status == 0 && state == SP_PLACEHOLDER)
		sp_count(redo->page, SP_PLACEHOLDERS, 1);
	return status;
}

static int by_offset(const void *a, const void *b)
{
	uint16_t left, right;
	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	return (left > right) - (left < right);
}

int sp_bury(struct wa_redo *redo, const uint16_t *offs, unsigned count, enum sp_state first, enum sp_state rest,
	    struct sp_source source, struct sp_place to)
{
	uint16_t sorted[WA_INDEX_TUPLES_MAX];

	if (count == 0)
		return 0;
	memcpy(sorted, offs, count * sizeof(offs[0]));
	qsort(sorted, count, sizeof(sorted[0]), by_offset);
	for (unsigned i = 1; i < count; i++) {
		if (sorted[i] == sorted[i - 1])
			return wa_redo_bad(redo, "item %u is to go twice", sorted[i]);
	}
	if (wa_page_index_multi_delete(redo->page, sorted, count, redo->version->major) < 0)
		return wa_redo_bad(redo, "the %u items that go are not all there", count);
	for (unsigned i = 0; i < count; i++) {
		int status = put_dead(redo, sorted[i], sorted[i] == offs[0] ? first : rest, source, to);
		if (status < 0)
			return status;
	}
	return 0;
}

int sp_bury_one(struct wa_redo *redo, unsigned off, enum sp_state state, struct sp_source source, struct sp_place to)
{
	if (wa_page_index_delete(redo->page, off) < 0)
		return wa_redo_bad(redo, "there is no item %u to replace", off);
	return put_dead(redo, off, state, source, to);
}

/* Node number `number` of an inner tuple of `len` bytes: its t_tid. NULL when there is none. */
static uint8_t *find_node(uint8_t *tuple, unsigned len, unsigned number)
{
	uint32_t first = wa_get32(tuple);
	unsigned nodes = first >> 3 & 0x1FFF, at = SP_INNER_HEADER + (first >> 16);

	for (unsigned i = 0; i < nodes && at + SP_NODE_HEADER <= len; i++) {
		if (i == number)
			return tuple + at;
		unsigned size = wa_get16(tuple + at + SP_TID_SIZE) & NODE_SIZE_MASK;
		if (size < SP_NODE_HEADER)
			return NULL;
		at += size;
	}
	return NULL;
}

int sp_link(struct wa_redo *redo, unsigned off, unsigned node, struct sp_place to)
{
	uint8_t *tuple;
	unsigned len;

	if (wa_page_tuple(redo->page, off, SP_INNER_HEADER, &tuple, &len) < 0)
		return wa_redo_bad(redo, "there is no inner tuple %u", off);
	uint8_t *tid = find_node(tuple, len, node);
	if (tid == NULL)
		return wa_redo_bad(redo, "the inner tuple %u has no node %u", off, node);
	make_tid(tid, to);
	return 0;
}

int sp_chain(struct wa_redo *redo, unsigned off, unsigned next)
{
	uint8_t *tuple;
	unsigned len;

	if (wa_page_tuple(redo->page, off, SP_DEAD_SIZE, &tuple, &len) < 0)
		return wa_redo_bad(redo, "there is no leaf tuple %u", off);
	wa_put16(tuple + 4, (uint16_t)((wa_get16(tuple + 4) & ~NEXT_MASK) | (next & NEXT_MASK)));
	return 0;
}
