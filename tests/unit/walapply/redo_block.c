/* What happens to a block before and after its redo function: images, the page's own LSN, records that change no page, and unknown ones. */
#include "index_case.h"

enum { GIST_UPDATE = 0x00, GIST_REUSE = 0x20, GIST_NOT_ANY_MORE = 0x40, HASH_SPLIT_PAGE = 0x50 };
enum { LEAF = 1, FOLLOW_RIGHT = 8 };

static const struct case_family gist = {WA_RMGR_GIST, INDEX_SPECIAL, wa_mask_gist};
static const struct case_family hash = {WA_RMGR_HASH, INDEX_SPECIAL, wa_mask_hash};

/* A GiST update with a page that gets a tuple, and the child whose split it completes. */
static struct index_case *update(void)
{
	struct index_case *c = case_new(15, &gist, GIST_UPDATE, wa_redo_gist_update);
	uint8_t tuple[CASE_TUPLE];
	make_tuple(tuple, 5, 50);
	case_main(c, (uint16_t[]){0, 1}, 4);
	case_ref(c, 0, 7, false, tuple, sizeof(tuple));
	case_ref(c, 1, 8, false, NULL, 0);
	case_set_flags(c, LEAF | FOLLOW_RIGHT);
	add_tuple(c, 1, 10);
	return c;
}

static int redo(struct index_case *c, unsigned i)
{
	return wa_redo_block(&c->version, &c->record, &c->record.refs[i], c->page, &c->error);
}

/* The block gets an image of `page`, without a hole. */
static void set_image(struct index_case *c, unsigned i, const uint8_t *page, bool apply)
{
	struct wa_ref *ref = &c->record.refs[i];
	ref->has_image = true;
	ref->apply_image = apply;
	ref->image = page;
	ref->image_len = WA_PAGE_SIZE;
}

static void by_lsn(void **state)
{
	(void)state;
	struct index_case *c = update();
	uint8_t before[WA_PAGE_SIZE];
	wa_page_set_lsn(c->page, (struct nf_lsn){CASE_END});
	memcpy(before, c->page, sizeof(before));
	assert_int_equal(redo(c, 0), WA_SKIPPED);
	assert_memory_equal(c->page, before, sizeof(before));
	wa_page_set_lsn(c->page, (struct nf_lsn){CASE_END - 1});
	assert_int_equal(redo(c, 0), WA_REDONE);
	assert_int_equal(wa_page_lsn(c->page).v, CASE_END);
	expect_tuple(c, 2, 5, 50);
	assert_int_equal(redo(c, 0), WA_SKIPPED);
	case_free(c);
}

/* An image wins whatever the page's LSN is; it gets the record's end as its own, unless it is a page of zeros. */
static void image(void **state)
{
	(void)state;
	struct index_case *c = update();
	uint8_t other[WA_PAGE_SIZE] = {0};
	wa_page_init(other, INDEX_SPECIAL);
	set_image(c, 0, other, true);
	wa_page_set_lsn(c->page, (struct nf_lsn){UINT64_MAX});
	assert_int_equal(redo(c, 0), WA_RESTORED);
	wa_page_set_lsn(other, (struct nf_lsn){CASE_END});
	assert_memory_equal(c->page, other, sizeof(other));

	memset(other, 0, sizeof(other));
	assert_int_equal(redo(c, 0), WA_RESTORED);
	assert_memory_equal(c->page, other, sizeof(other));
	case_free(c);
}

/* One that is there to be compared with does nothing. */
static void after_image(void **state)
{
	(void)state;
	struct index_case *c = update();
	uint8_t other[WA_PAGE_SIZE] = {0};
	wa_page_init(other, INDEX_SPECIAL);
	set_image(c, 0, other, false);
	assert_int_equal(redo(c, 0), WA_REDONE);
	assert_int_equal(wa_page_item_count(c->page), 2);
	case_free(c);
}

/* The image of a GiST page whose split is being completed is older than that: it is completed on top of it. */
static void gist_child(void **state)
{
	(void)state;
	struct index_case *c = update();
	uint8_t other[WA_PAGE_SIZE];
	memcpy(other, c->page, sizeof(other));
	set_image(c, 1, other, true);
	memset(c->page, 0, WA_PAGE_SIZE);
	assert_int_equal(redo(c, 1), WA_RESTORED);
	assert_int_equal(case_flags(c), LEAF);
	assert_int_equal(case_special32(c, 0), 0);
	assert_int_equal(case_special32(c, 4), CASE_END);
	expect_tuple(c, 1, 1, 10);
	case_free(c);
}

static void without_effect(void **state)
{
	(void)state;
	struct index_case *c = update();
	uint8_t before[WA_PAGE_SIZE];
	memcpy(before, c->page, sizeof(before));
	c->record.info = GIST_REUSE;
	assert_int_equal(redo(c, 0), WA_SKIPPED);
	case_free(c);
	c = case_new(15, &hash, HASH_SPLIT_PAGE, wa_redo_none);
	case_ref(c, 0, 7, false, NULL, 0); /* of images alone, and there is none */
	memcpy(before, c->page, sizeof(before));
	assert_int_equal(redo(c, 0), WA_SKIPPED);
	assert_memory_equal(c->page, before, sizeof(before));
	case_free(c);
}

static void unknown(void **state)
{
	(void)state;
	struct index_case *c = update();
	c->record.info = GIST_NOT_ANY_MORE;
	assert_int_equal(redo(c, 0), -ENOTSUP);
	assert_non_null(strstr(c->error.text, "40"));
	c->record.rmid = 200;
	assert_int_equal(redo(c, 0), -ENOTSUP);
	assert_non_null(strstr(c->error.text, "extension"));
	assert_int_equal(c->error.lsn.v, c->record.lsn.v);
	assert_int_equal(wa_mask(&c->version, 200, 0, c->page, &c->error), -EBADMSG);
	case_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_lsn),     cmocka_unit_test(image),          cmocka_unit_test(after_image),
		cmocka_unit_test(gist_child), cmocka_unit_test(without_effect), cmocka_unit_test(unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
