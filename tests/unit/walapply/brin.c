/* BRIN: the meta page, summaries that come, change and go, and the range map. */
#include "index_case.h"

#include "common/nf_cursor.h"

enum { CREATE = 0x00, INSERT = 0x10, UPDATE = 0x20, SAME_PAGE = 0x30, EXTEND = 0x40, DESUMMARIZE = 0x50, INIT_PAGE = 0x80 };
enum { SPECIAL = 8, TYPE = WA_PAGE_SIZE - 2, FLAGS = WA_PAGE_SIZE - 4 };
enum { META = 0xF091, MAP = 0xF092, REGULAR = 0xF093 };

static const struct case_family brin = {WA_RMGR_BRIN, SPECIAL, wa_mask_brin};

static void start_page(struct index_case *c, uint16_t type)
{
	wa_page_init(c->page, SPECIAL);
	wa_put16(c->page + TYPE, type);
}

static void put_summary(struct index_case *c, unsigned number, unsigned size)
{
	uint8_t summary[64];
	unsigned off = wa_page_item_count(c->page) + 1;
	memset(summary, (int)number, sizeof(summary));
	assert_int_equal(wa_page_add(c->page, summary, size, off, false, false), off);
}

static void expect_summary(struct index_case *c, unsigned off, unsigned number, unsigned size)
{
	uint8_t expected[64], *summary;
	unsigned len;
	memset(expected, (int)number, sizeof(expected));
	assert_int_equal(wa_page_tuple(c->page, off, size, &summary, &len), 0);
	assert_int_equal(len, size);
	assert_memory_equal(summary, expected, size);
}

static void expect_unused(struct index_case *c, unsigned off)
{
	struct wa_item item;
	assert_int_equal(wa_page_item(c->page, off, &item), 0);
	assert_int_equal(item.flags, WA_LP_UNUSED);
	assert_int_equal(item.len, 0);
}

/* The entry of the range map: three u16. */
static void expect_map(struct index_case *c, unsigned entry, uint32_t blkno, unsigned off)
{
	const uint8_t *tid = c->page + WA_PAGE_HEADER + 6 * entry;
	assert_int_equal(wa_get16(tid), blkno >> 16);
	assert_int_equal(wa_get16(tid + 2), blkno & 0xFFFF);
	assert_int_equal(wa_get16(tid + 4), off);
}

static void create(void **state)
{
	(void)state;
	static const uint32_t fields[] = {0xA8109CFA, 1, 128, 0};
	struct index_case *c = case_new(15, &brin, CREATE, wa_redo_brin_create);
	uint8_t main[6];
	wa_put32(main, 128);
	wa_put16(main + 4, 1);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 0, true, NULL, 0);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_memory_equal(c->page + WA_PAGE_HEADER, fields, sizeof(fields));
	assert_int_equal(wa_page_lower(c->page), WA_PAGE_HEADER + sizeof(fields));
	assert_int_equal(wa_get16(c->page + TYPE), META);
	case_free(c);
}

/* Heap block 128 * 1361 is the second entry of the second page of the range map. */
static struct index_case *insert_or_update(uint8_t info, unsigned off)
{
	bool update = (info & 0x70) == UPDATE;
	struct index_case *c = case_new(15, &brin, info, update ? wa_redo_brin_update : wa_redo_brin_insert);
	uint8_t main[14], summary[20];
	struct nf_writer w = nf_writer_init(main, sizeof(main));
	if (update)
		nf_write_u32(&w, 2);
	nf_write_u32(&w, 128 * 1361);
	nf_write_u32(&w, 128);
	nf_write_u16(&w, (uint16_t)off);
	case_main(c, main, w.offset);
	memset(summary, 9, sizeof(summary));
	case_ref(c, 0, 0x40007, info & INIT_PAGE, summary, sizeof(summary));
	case_ref(c, 1, 2, false, NULL, 0);
	if (update)
		case_ref(c, 2, 6, false, NULL, 0);
	start_page(c, REGULAR);
	return c;
}

static void insert(void **state)
{
	(void)state;
	for (uint8_t info = INSERT; info <= UPDATE; info = (uint8_t)(info + 0x10)) {
		struct index_case *c = insert_or_update(info, 3);
		put_summary(c, 1, 24);
		put_summary(c, 2, 20);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_summary(c, 1, 1, 24);
		expect_summary(c, 2, 2, 20);
		expect_summary(c, 3, 9, 20);

		start_page(c, MAP);
		case_mutate(c, 1);
		case_redo(c, 1);
		expect_map(c, 0, 0, 0);
		expect_map(c, 1, 0x40007, 3);
		expect_map(c, 2, 0, 0);
		start_page(c, REGULAR);
		case_refuse(c, 1);
		case_free(c);
	}
}

/* A place that was freed is used again, one in use is not. */
static void insert_again(void **state)
{
	(void)state;
	struct index_case *c = insert_or_update(INSERT, 2);
	for (unsigned i = 1; i <= 3; i++)
		put_summary(c, i, 24);
	case_refuse(c, 0);
	assert_int_equal(wa_page_index_delete_no_compact(c->page, 2), 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_summary(c, 1, 1, 24);
	expect_summary(c, 2, 9, 20);
	expect_summary(c, 3, 3, 24);
	case_free(c);
}

static void insert_on_new_page(void **state)
{
	(void)state;
	struct index_case *c = insert_or_update(INSERT | INIT_PAGE, 1);
	put_summary(c, 1, 24); /* whatever was there */
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_page_item_count(c->page), 1);
	expect_summary(c, 1, 9, 20);
	assert_int_equal(wa_get16(c->page + TYPE), REGULAR);
	case_free(c);
	c = insert_or_update(INSERT | INIT_PAGE, 0);
	case_refuse(c, 0);
	case_free(c);
}

static void update_old_page(void **state)
{
	(void)state;
	struct index_case *c = insert_or_update(UPDATE, 1);
	for (unsigned i = 1; i <= 3; i++)
		put_summary(c, i, 24);
	case_mutate(c, 2);
	case_redo(c, 2);
	assert_int_equal(wa_page_item_count(c->page), 3);
	expect_summary(c, 1, 1, 24);
	expect_unused(c, 2);
	expect_summary(c, 3, 3, 24);
	assert_int_equal(wa_page_upper(c->page), WA_PAGE_SIZE - SPECIAL - 48);
	case_free(c);
}

static void same_page(void **state)
{
	(void)state;
	for (unsigned size = 8; size <= 40; size += 16) {
		struct index_case *c = case_new(15, &brin, SAME_PAGE, wa_redo_brin_same_page);
		uint8_t main[2], summary[40];
		wa_put16(main, 2);
		case_main(c, main, sizeof(main));
		memset(summary, 9, sizeof(summary));
		case_ref(c, 0, 7, false, summary, size);
		start_page(c, REGULAR);
		for (unsigned i = 1; i <= 3; i++)
			put_summary(c, i, 24);
		case_mutate(c, 0);
		case_redo(c, 0);
		expect_summary(c, 1, 1, 24);
		expect_summary(c, 2, 9, size);
		expect_summary(c, 3, 3, 24);
		assert_int_equal(wa_page_upper(c->page), WA_PAGE_SIZE - SPECIAL - 48 - size);
		case_free(c);
	}
}

static void extend(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &brin, EXTEND, wa_redo_brin_revmap_extend);
	uint8_t main[4];
	wa_put32(main, 5);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 0, false, NULL, 0);
	case_ref(c, 1, 5, true, NULL, 0);
	start_page(c, META);
	case_mutate(c, 0);
	case_redo(c, 0);
	assert_int_equal(wa_get32(c->page + WA_PAGE_HEADER + 12), 5);
	assert_int_equal(wa_page_lower(c->page), WA_PAGE_HEADER + 16);

	put_summary(c, 1, 24);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_page_item_count(c->page), 0);
	assert_int_equal(wa_get16(c->page + TYPE), MAP);
	case_free(c);
}

static void desummarize(void **state)
{
	(void)state;
	struct index_case *c = case_new(15, &brin, DESUMMARIZE, wa_redo_brin_desummarize);
	uint8_t main[10];
	wa_put32(main, 4);
	wa_put32(main + 4, 4 * 1359); /* the last entry of a page */
	wa_put16(main + 8, 3);
	case_main(c, main, sizeof(main));
	case_ref(c, 0, 1, false, NULL, 0);
	case_ref(c, 1, 7, false, NULL, 0);
	start_page(c, MAP);
	case_mutate(c, 0);
	case_redo(c, 0);
	expect_map(c, 1358, 0, 0);
	expect_map(c, 1359, 0xFFFFFFFF, 0);
	assert_int_equal(wa_get16(c->page + TYPE), MAP);
	wa_put32((uint8_t *)c->record.main, 0); /* ranges of no pages */
	case_refuse(c, 0);

	start_page(c, REGULAR);
	for (unsigned i = 1; i <= 3; i++)
		put_summary(c, i, 24);
	case_mutate(c, 1);
	case_redo(c, 1);
	assert_int_equal(wa_page_item_count(c->page), 2); /* the last one is cut off */
	expect_summary(c, 2, 2, 24);
	case_refuse(c, 1);
	case_free(c);
}

static void masks(void **state)
{
	(void)state;
	static const uint16_t types[] = {META, MAP, REGULAR};
	struct index_case *c = case_new(15, &brin, CREATE, wa_redo_brin_create);
	for (unsigned i = 0; i < NF_ARRAY_LEN(types); i++) {
		uint8_t clean[WA_PAGE_SIZE];
		start_page(c, types[i]);
		if (types[i] == META)
			wa_put16(c->page + 12, WA_PAGE_HEADER + 16);
		memcpy(clean, c->page, sizeof(clean));
		assert_int_equal(case_mask(c, clean), 0);
		wa_put16(c->page + FLAGS, 1); /* is to be evacuated */
		assert_int_equal(case_mask(c, c->page), 0);
		assert_memory_equal(c->page, clean, sizeof(clean));
		/* All of a page of the range map counts, though it lies behind pd_lower. */
		c->page[4000] = 1;
		assert_int_equal(case_mask(c, c->page), 0);
		assert_int_equal(memcmp(c->page, clean, sizeof(clean)) != 0, types[i] == MAP);
	}
	wa_page_init(c->page, 16);
	assert_int_equal(case_mask(c, c->page), -EBADMSG);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create),          cmocka_unit_test(insert),
		cmocka_unit_test(insert_again),    cmocka_unit_test(insert_on_new_page),
		cmocka_unit_test(update_old_page), cmocka_unit_test(same_page),
		cmocka_unit_test(extend),          cmocka_unit_test(desummarize),
		cmocka_unit_test(masks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
