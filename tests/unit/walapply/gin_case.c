#include "gin_case.h"

const struct case_family gin = {WA_RMGR_GIN, GIN_SPECIAL, wa_mask_gin};

void make_tid(uint8_t *to, uint64_t tid)
{
	wa_put16(to, (uint16_t)(tid / 2048 / 65536));
	wa_put16(to + 2, (uint16_t)(tid / 2048));
	wa_put16(to + 4, (uint16_t)(tid % 2048));
}

unsigned make_segment(uint8_t *to, const uint64_t *tids, unsigned count)
{
	unsigned size = 8;
	make_tid(to, tids[0]);
	for (unsigned i = 1; i < count; i++) {
		assert_true(size + 8 < GIN_CASE_SEGMENT_MAX);
		uint64_t left = tids[i] - tids[i - 1];
		do {
			to[size++] = (uint8_t)(left % 128 + (left >= 128 ? 128 : 0));
			left /= 128;
		} while (left > 0);
	}
	wa_put16(to + 6, (uint16_t)(size - 8));
	if (size % 2 == 1)
		to[size++] = 0;
	return size;
}

void set_leaf(struct index_case *c, const uint8_t *segments, unsigned size)
{
	wa_page_init(c->page, GIN_SPECIAL);
	memset(c->page + GIN_CONTENT_AT, 0xEE, GIN_CONTENT_MAX); /* what the free space holds does not matter */
	memcpy(c->page + GIN_CONTENT_AT, segments, size);
	gin_set_flags(c->page, GIN_DATA | GIN_LEAF | GIN_COMPRESSED);
	wa_put16(c->page + 12, (uint16_t)(GIN_CONTENT_AT + size));
}

void expect_leaf(struct index_case *c, const uint8_t *segments, unsigned size)
{
	assert_int_equal(gin_flags(c->page), GIN_DATA | GIN_LEAF | GIN_COMPRESSED);
	assert_int_equal(gin_maxoff(c->page), 0);
	assert_int_equal(wa_page_lower(c->page), 32 + size);
	assert_memory_equal(c->page + 32, segments, size);
}

void make_posting_item(uint8_t *to, uint32_t child, uint64_t key)
{
	wa_put16(to, (uint16_t)(child / 65536));
	wa_put16(to + 2, (uint16_t)child);
	make_tid(to + 4, key);
}

void set_posting_items(struct index_case *c, unsigned count)
{
	wa_page_init(c->page, GIN_SPECIAL);
	for (unsigned i = 1; i <= count; i++)
		make_posting_item(c->page + 32 + 10 * (i - 1), 100 + i, 10 * i);
	gin_set_flags(c->page, GIN_DATA);
	gin_set_maxoff(c->page, count);
	wa_put16(c->page + 12, (uint16_t)(32 + 10 * count));
}

void expect_posting_item(struct index_case *c, unsigned off, uint32_t child, uint64_t key)
{
	uint8_t item[10];
	make_posting_item(item, child, key);
	assert_memory_equal(c->page + 32 + 10 * (off - 1), item, 10);
}
