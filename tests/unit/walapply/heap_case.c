#include "heap_case.h"

#include <string.h>

#define OLD_XID 900u

const struct case_family heap_family = {WA_RMGR_HEAP, 0, wa_mask_heap};
const struct case_family heap2_family = {WA_RMGR_HEAP2, 0, wa_mask_heap};

struct index_case *heap_case(int major, const struct case_family *family, uint8_t info, wa_redo_fn redo)
{
	struct index_case *c = case_new(major, family, info, redo);
	c->record.xid = CASE_XID;
	return c;
}

unsigned heap_case_tuple(struct index_case *c, uint16_t infomask, const char *data)
{
	uint8_t tuple[512] = {0};
	unsigned off = wa_page_item_count(c->page) + 1, size = 24 + (unsigned)strlen(data);
	assert_true(size <= sizeof(tuple));
	wa_put32(tuple + HEAP_XMIN, OLD_XID);
	wa_put16(tuple + HEAP_INFOMASK2, 2);
	wa_put16(tuple + HEAP_INFOMASK, infomask);
	tuple[HEAP_HOFF] = 24;
	heap_set_ctid(tuple, CASE_BLOCK, off);
	memcpy(tuple + 24, data, strlen(data));
	assert_int_equal(wa_page_add(c->page, tuple, size, off, true, true), off);
	return off;
}

uint8_t *heap_case_find(struct index_case *c, unsigned off, unsigned *ret_len)
{
	uint8_t *tuple;
	unsigned len;
	struct wa_item item;
	assert_int_equal(wa_page_item(c->page, off, &item), 0);
	assert_int_equal(item.flags, WA_LP_NORMAL);
	assert_int_equal(wa_page_tuple(c->page, off, 24, &tuple, &len), 0);
	if (ret_len != NULL)
		*ret_len = len;
	return tuple;
}

void heap_case_expect(struct index_case *c, unsigned off, const char *data)
{
	unsigned len;
	uint8_t *tuple = heap_case_find(c, off, &len);
	assert_int_equal(tuple[HEAP_HOFF], 24);
	assert_int_equal(len, 24 + strlen(data));
	assert_memory_equal(tuple + 24, data, strlen(data));
}

void heap_case_expect_ctid(struct index_case *c, unsigned off, uint32_t blkno, unsigned number)
{
	const uint8_t *ctid = heap_case_find(c, off, NULL) + HEAP_CTID;
	assert_int_equal((uint32_t)wa_get16(ctid) << 16 | wa_get16(ctid + 2), blkno);
	assert_int_equal(wa_get16(ctid + 4), number);
}

unsigned heap_case_header(uint8_t *to, uint16_t infomask2, uint16_t infomask)
{
	wa_put16(to, infomask2);
	wa_put16(to + 2, infomask);
	to[4] = 24;
	to[5] = 0;
	return 6;
}

void heap_case_map_ref(struct index_case *c, unsigned id, uint32_t blkno)
{
	case_ref(c, id, blkno, false, NULL, 0);
	c->record.refs[c->record.ref_count - 1].block.fork = WA_FORK_VM;
}

void heap_case_map_page(struct index_case *c, uint32_t blkno, unsigned bits)
{
	wa_page_init(c->page, 0);
	memset(c->page + WA_PAGE_HEADER, 0xFF, WA_PAGE_SIZE - WA_PAGE_HEADER);
	vm_clear(c->page, blkno, ~bits & VM_BITS);
}

void heap_case_expect_map(struct index_case *c, uint32_t blkno, unsigned bits)
{
	uint8_t expected[WA_PAGE_SIZE - WA_PAGE_HEADER];
	memset(expected, 0xFF, sizeof(expected));
	unsigned shift = 2 * (blkno % 4);
	uint8_t *byte = &expected[blkno % 32672 / 4];
	*byte = (uint8_t)((*byte & ~(3u << shift)) | bits << shift);
	assert_memory_equal(c->page + WA_PAGE_HEADER, expected, sizeof(expected));
}
