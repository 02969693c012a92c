/* The meta page and the pending list of a GIN index: UPDATE_META_PAGE, INSERT_LISTPAGE, DELETE_LISTPAGE.
 *
 * UPDATE_META_PAGE  main      0 locator   16 meta page 56 bytes   72 old tail u32   76 its new right link u32   80 tuples i32   88 end
 *                   block 0   the meta page, new
 *                   block 1   tuples > 0: the tail, which gets them; data: tuples.  Else, where there was a list: the old tail
 * INSERT_LISTPAGE   main      0 right link u32   4 tuples i32
 *                   block 0   a page of the list, new; data: tuples
 * DELETE_LISTPAGE   main      0 meta page 56 bytes   56 pages i32   64 end
 *                   block 0   the meta page, new      1 ..   the pages, new: empty and deleted
 *
 * Tuples lie one after the other without padding between them.
 *
 * Source: access/ginxlog.h; ginRedoUpdateMetapage, ginRedoInsertListPage and ginRedoDeleteListPages in access/gin/ginxlog.c;
 * GinInitMetabuffer in access/gin/ginutil.c. */
#include "gin_impl.h"

#define UPDATE_META_AT 16u

static_assert(WA_PAGE_HEADER + GIN_META_SIZE < GIN_SPECIAL_AT, "the meta page's content fits");

static int restore_meta(struct wa_redo *redo, struct nf_reader *r)
{
	const void *meta = nf_read_bytes(r, GIN_META_SIZE);
	if (meta == NULL)
		return gin_cut_short(redo);
	gin_init(redo->page, GIN_META);
	memcpy(redo->page + WA_PAGE_HEADER, meta, GIN_META_SIZE);
	wa_put16(redo->page + 12, WA_PAGE_HEADER + GIN_META_SIZE);
	return 0;
}

/* Append the tuples of the block's data, `count` of them. */
static int append_tuples(struct wa_redo *redo, int32_t count)
{
	struct nf_reader r = wa_data_reader(redo);
	unsigned off = wa_page_item_count(redo->page) + 1;

	for (int32_t i = 0; i < count; i++, off++) {
		if (nf_reader_left(&r) < TUPLE_HEADER)
			return gin_cut_short(redo);
		unsigned size = tuple_size(r.data + r.offset);
		const uint8_t *tuple = size < TUPLE_HEADER ? NULL : nf_read_bytes(&r, size);
		if (tuple == NULL)
			return gin_cut_short(redo);
		if (wa_page_add(redo->page, tuple, size, off, false, false) < 0)
			return wa_redo_bad(redo, "no room for tuple %d of %d, %u bytes", i + 1, count, size);
	}
	if (nf_reader_left(&r) > 0)
		return wa_redo_bad(redo, "%zu bytes follow the tuples", nf_reader_left(&r));
	return 0;
}

static int update_tail(struct wa_redo *redo, uint32_t right, int32_t tuples)
{
	int status = gin_check(redo, GIN_LIST, GIN_LIST);

	if (status < 0)
		return status;
	if (tuples <= 0) {
		gin_set_right(redo->page, right);
		return 0;
	}
	status = append_tuples(redo, tuples);
	if (status == 0)
		gin_set_maxoff(redo->page, gin_maxoff(redo->page) + 1); /* one heap tuple more, which all of them are from */
	return status;
}

int wa_redo_gin_update_meta(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo), meta;
	(void)nf_read_bytes(&r, UPDATE_META_AT);
	meta = r;
	(void)nf_read_bytes(&r, GIN_META_SIZE);
	uint32_t old_tail = nf_read_u32(&r), right = nf_read_u32(&r);
	int32_t tuples = (int32_t)nf_read_u32(&r);

	if (r.failed)
		return gin_cut_short(redo);
	if (redo->ref->id == 0)
		return restore_meta(redo, &meta);
	if (redo->ref->id != 1 || (tuples <= 0 && old_tail == GIN_NONE))
		return gin_bad_ref(redo);
	return update_tail(redo, right, tuples);
}

int wa_redo_gin_insert_list(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint32_t right = nf_read_u32(&r);
	int32_t tuples = (int32_t)nf_read_u32(&r);

	if (r.failed)
		return gin_cut_short(redo);
	if (redo->ref->id != 0)
		return gin_bad_ref(redo);
	bool last = right == GIN_NONE; /* it ends with the last tuple of a heap tuple */
	gin_init(redo->page, last ? GIN_LIST | GIN_LIST_FULLROW : GIN_LIST);
	gin_set_right(redo->page, right);
	gin_set_maxoff(redo->page, last);
	return append_tuples(redo, tuples);
}

int wa_redo_gin_delete_list(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);

	if (redo->ref->id == 0)
		return restore_meta(redo, &r);
	(void)nf_read_bytes(&r, GIN_META_SIZE);
	uint32_t pages = nf_read_u32(&r);
	if (r.failed)
		return gin_cut_short(redo);
	if (redo->ref->id > pages)
		return gin_bad_ref(redo);
	gin_init(redo->page, GIN_DELETED);
	return 0;
}
