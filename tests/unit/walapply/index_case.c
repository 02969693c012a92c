#include "index_case.h"

#include <stdlib.h>
#include <string.h>

#define MUTATIONS 4000

/* A copy in an allocation of exactly `size` bytes; NULL for none. */
static uint8_t *copy_of(const void *bytes, size_t size)
{
	if (size == 0)
		return NULL;
	uint8_t *copy = malloc(size);
	assert_non_null(copy);
	memcpy(copy, bytes, size);
	return copy;
}

struct index_case *case_new(int major, const struct case_family *family, uint8_t info, wa_redo_fn redo)
{
	struct index_case *c = calloc(1, sizeof(*c));
	assert_non_null(c);
	c->version.major = major;
	c->family = family;
	c->redo = redo;
	c->record.lsn.v = CASE_END - 0x100;
	c->record.end.v = CASE_END;
	c->record.rmid = family->rmid;
	c->record.info = info;
	c->page = calloc(1, WA_PAGE_SIZE);
	assert_non_null(c->page);
	wa_page_init(c->page, family->special);
	return c;
}

static void free_record(struct wa_record *record)
{
	free((void *)record->main);
	for (unsigned i = 0; i < record->ref_count; i++)
		free((void *)record->refs[i].data);
}

void case_free(struct index_case *c)
{
	free_record(&c->record);
	free(c->page);
	free(c);
}

void case_main(struct index_case *c, const void *bytes, size_t size)
{
	c->record.main = copy_of(bytes, size);
	c->record.main_len = (uint32_t)size;
}

void case_ref(struct index_case *c, unsigned id, uint32_t blkno, bool will_init, const void *data, size_t size)
{
	assert_true(c->record.ref_count < WA_BLOCKS_MAX);
	c->record.refs[c->record.ref_count++] = (struct wa_ref){
		.block = {.rel = {1663, 5, 16384}, .blkno = blkno},
		.id = (uint8_t)id,
		.will_init = will_init,
		.data = copy_of(data, size),
		.data_len = (uint16_t)size,
	};
}

int case_run(struct index_case *c, unsigned id)
{
	const struct wa_ref *ref = wa_record_ref(&c->record, id);
	assert_non_null(ref);
	wa_page_set_lsn(c->page, (struct nf_lsn){0});
	c->error.text[0] = '\0';
	const struct wa_record_type *type = wa_record_type(c->version.major, c->record.rmid, c->record.info);
	assert_non_null(type);
	struct wa_redo redo = {.version = &c->version, .record = &c->record, .ref = ref, .page = c->page, .blkno = ref->block.blkno,
			       .op = type->op, .error = &c->error};
	return wa_redo_call(c->redo, &redo);
}

int case_mask(struct index_case *c, uint8_t *page)
{
	return c->family->mask(&c->version, 7, page, &c->error);
}

void case_redo(struct index_case *c, unsigned id)
{
	int status = case_run(c, id);
	if (status < 0)
		fail_msg("refused: %s", c->error.text);
	assert_int_equal(status, WA_REDONE);
	assert_int_equal(wa_page_lsn(c->page).v, CASE_END);
}

void case_refuse(struct index_case *c, unsigned id)
{
	uint8_t *before = copy_of(c->page, WA_PAGE_SIZE);
	assert_int_equal(case_run(c, id), -EBADMSG);
	assert_int_equal(c->error.lsn.v, c->record.lsn.v);
	assert_true(c->error.text[0] != '\0');
	memcpy(c->page, before, WA_PAGE_SIZE); /* it is undefined now */
	free(before);
}

/* xorshift64: the same mutations every time. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const uint8_t telling[] = {0, 1, 2, 7, 8, 0x20, 0x7F, 0x80, 0xFE, 0xFF};

static void mutate_bytes(uint64_t *state, uint8_t *bytes, size_t size, unsigned count)
{
	for (unsigned i = 0; i < count && size > 0; i++) {
		uint64_t r = next_random(state);
		bytes[(r >> 16) % size] = r & 1 ? telling[(r >> 1) % sizeof(telling)] : (uint8_t)(r >> 8);
	}
}

/* A page is mostly hole: aim at its header, line pointers, tuples and special space. */
static void mutate_page(uint64_t *state, uint8_t *page)
{
	unsigned lower = NF_MIN(wa_page_lower(page), WA_PAGE_SIZE),
		 upper = NF_MIN(wa_page_upper(page), WA_PAGE_SIZE - INDEX_SPECIAL);
	switch (next_random(state) % 8) {
	case 0: mutate_bytes(state, page, lower, 2); break;
	case 1: mutate_bytes(state, page + WA_PAGE_HEADER, lower - WA_PAGE_HEADER, 1); break;
	case 2: mutate_bytes(state, page + upper, WA_PAGE_SIZE - upper, 3); break;
	case 3: mutate_bytes(state, page + WA_PAGE_SIZE - INDEX_SPECIAL, INDEX_SPECIAL, 1); break;
	case 4: mutate_bytes(state, page, WA_PAGE_SIZE, 2000); break;
	case 5: mutate_bytes(state, page + 10, 14, 1); break;
	default: break; /* the record alone */
	}
}

/* A record whose bytes and lengths are changed, in buffers of their own. */
static void mutate_record(uint64_t *state, const struct wa_record *from, struct wa_record *to)
{
	*to = *from;
	uint8_t *main = copy_of(from->main, from->main_len);
	mutate_bytes(state, main, from->main_len, (unsigned)(next_random(state) % 3));
	if (next_random(state) % 8 == 0)
		to->main_len = (uint32_t)(next_random(state) % (from->main_len + 1));
	to->main = copy_of(main, to->main_len);
	free(main);
	for (unsigned i = 0; i < from->ref_count; i++) {
		struct wa_ref *ref = &to->refs[i];
		uint8_t *data = copy_of(ref->data, ref->data_len);
		mutate_bytes(state, data, ref->data_len, (unsigned)(next_random(state) % 3));
		if (next_random(state) % 8 == 0)
			ref->data_len = (uint16_t)(next_random(state) % (ref->data_len + 1u));
		ref->data = copy_of(data, ref->data_len);
		free(data);
	}
}

void case_mutate(struct index_case *c, unsigned id)
{
	uint64_t state = 0x9E3779B97F4A7C15ull ^ (uint64_t)c->record.info << 8 ^ id;
	uint8_t *before = copy_of(c->page, WA_PAGE_SIZE);
	struct wa_record whole = c->record;
	unsigned done = 0, refused = 0;

	for (unsigned i = 0; i < MUTATIONS; i++) {
		memcpy(c->page, before, WA_PAGE_SIZE);
		mutate_page(&state, c->page);
		mutate_record(&state, &whole, &c->record);
		int status = case_run(c, id);
		if (status < 0) {
			assert_int_equal(status, -EBADMSG);
			assert_true(c->error.text[0] != '\0');
			refused++;
		} else {
			done++;
			/* An untouched page may be as broken as it was. */
			if (wa_page_lsn(c->page).v == CASE_END)
				assert_int_equal(wa_page_check(c->page), 0);
		}
		/* Masking bears whatever is there. */
		status = case_mask(c, c->page);
		assert_true(status == 0 || status == -EBADMSG);
		free_record(&c->record);
	}
	c->record = whole;
	memcpy(c->page, before, WA_PAGE_SIZE);
	free(before);
	assert_true(done > 0);
	assert_int_equal(done + refused, MUTATIONS);
}

uint32_t case_special32(const struct index_case *c, unsigned at)
{
	return wa_get32(c->page + INDEX_SPECIAL_AT + at);
}

unsigned case_flags(const struct index_case *c)
{
	return wa_get16(c->page + INDEX_SPECIAL_AT + 12);
}

void case_set_special32(struct index_case *c, unsigned at, uint32_t value)
{
	wa_put32(c->page + INDEX_SPECIAL_AT + at, value);
}

void case_set_flags(struct index_case *c, unsigned flags)
{
	wa_put16(c->page + INDEX_SPECIAL_AT + 12, (uint16_t)flags);
}

static void put_tid(uint8_t *to, unsigned number)
{
	wa_put16(to, 0);
	wa_put16(to + 2, 1);
	wa_put16(to + 4, (uint16_t)number);
}

void make_tuple(uint8_t *to, unsigned number, uint64_t key)
{
	put_tid(to, number);
	wa_put16(to + 6, CASE_TUPLE);
	wa_put64(to + 8, key);
}

unsigned make_posting(uint8_t *to, uint64_t key, unsigned count, const unsigned *numbers)
{
	unsigned size = WA_ALIGN(CASE_TUPLE + count * TID_SIZE);
	memset(to, 0, size);
	wa_put16(to + 2, CASE_TUPLE); /* where the TIDs start */
	wa_put16(to + 4, (uint16_t)(0x2000 | count));
	wa_put16(to + 6, (uint16_t)(TUPLE_AM_BIT | size));
	wa_put64(to + 8, key);
	for (unsigned i = 0; i < count; i++)
		put_tid(to + CASE_TUPLE + i * TID_SIZE, numbers[i]);
	return size;
}

static void add(struct index_case *c, const uint8_t *tuple, unsigned size)
{
	unsigned off = wa_page_item_count(c->page) + 1;
	assert_int_equal(wa_page_add(c->page, tuple, size, off, false, false), off);
}

void add_tuple(struct index_case *c, unsigned number, uint64_t key)
{
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, number, key);
	add(c, tuple, sizeof(tuple));
}

void add_posting(struct index_case *c, uint64_t key, unsigned count, const unsigned *numbers)
{
	uint8_t tuple[1024];
	add(c, tuple, make_posting(tuple, key, count, numbers));
}

static void expect_bytes(struct index_case *c, unsigned off, const uint8_t *expected, unsigned size)
{
	uint8_t *tuple;
	unsigned len;
	assert_int_equal(wa_page_tuple(c->page, off, size, &tuple, &len), 0);
	assert_int_equal(len, size);
	assert_memory_equal(tuple, expected, size);
}

void expect_tuple(struct index_case *c, unsigned off, unsigned number, uint64_t key)
{
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, number, key);
	expect_bytes(c, off, tuple, sizeof(tuple));
}

void expect_posting(struct index_case *c, unsigned off, uint64_t key, unsigned count, const unsigned *numbers)
{
	uint8_t tuple[1024];
	unsigned size = make_posting(tuple, key, count, numbers);
	expect_bytes(c, off, tuple, size);
}
