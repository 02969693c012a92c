/* GiST: PAGE_UPDATE, DELETE, PAGE_SPLIT, PAGE_DELETE, and how GiST pages are masked. PAGE_REUSE and ASSIGN_LSN change no page.
 *
 *   special space, the last 16 bytes: 0 NSN u32 high, u32 low   8 rightlink u32   12 flags u16   14 page id u16
 *
 * PAGE_UPDATE  main      0 items to delete u16   2 tuples to insert u16
 *              block 0   the page; data: offset numbers to delete, tuples.  One for one: the tuple takes the place of the item
 *              block 1   the child whose split is complete, if any
 * DELETE       main      0 xid u32   4 items u16   13-15: 6 their offset numbers   16+: 6 catalog u8   8 their offset numbers
 *              block 0   the leaf
 * PAGE_SPLIT   main      0 right link u32   8 NSN u64   16 whether leaves u8   18 pages u16   20 whether they are to be followed right u8
 *              block 0   the child whose split is complete, if any
 *              block 1 ..   the pages from left to right, new; data: 0 tuples i32   4 them.  If the first is the root, the others are
 *                        its new children, complete at once
 * PAGE_DELETE  main      0 xid u64   8 offset number in the parent u16
 *              block 0   the leaf      1   the parent
 *
 * A child gets its new NSN, which is the record's end, after the record has been written: an image of it in the record is of before. So its
 * split is completed on top of the image too.
 *
 * A leaf of which tuples were deleted used to be marked so (F_TUPLES_DELETED), by vacuum and by redo alike. Nothing has ever read the
 * mark, and newer minors do not make it any more. Records do not tell the minor. So it is masked, and made where the newest minor known
 * of a major makes it: 13.23, 14.23, 16.14, 18.6 do, 15.20 and 17.12 do not (15.18 and 17.10 still did).
 *
 * Source: access/gist.h, access/gistxlog.h; access/gist/gistxlog.c; gistplacetopage in access/gist/gist.c. */
#include "walapply/redo/index_tuple.h"

#define GIST_NONE 0xFFFFFFFFu /* no block */
#define GIST_ROOT 0u
#define GIST_PAGE_ID 0xFF81u
#define GIST_DELETED_LOWER (WA_PAGE_HEADER + 8u) /* a deleted page has nothing but an xid */
#define DELETE_OFFSETS_OLD 6u
#define DELETE_OFFSETS 8u /* from major 16 on */

enum { F_LEAF = 1, F_DELETED = 2, F_TUPLES_DELETED = 4, F_FOLLOW_RIGHT = 8, F_HAS_GARBAGE = 16 };

static unsigned get_flags(const uint8_t *page)
{
	return wa_get16(page + INDEX_SPECIAL_AT + 12);
}

static void change_flags(uint8_t *page, unsigned clear, unsigned set)
{
	wa_put16(page + INDEX_SPECIAL_AT + 12, (uint16_t)((get_flags(page) & ~clear) | set));
}

static void mark_tuples_deleted(struct wa_redo *redo)
{
	if (redo->version->major != 15 && redo->version->major != 17)
		change_flags(redo->page, 0, F_TUPLES_DELETED);
}

static void set_nsn(uint8_t *page, uint64_t nsn)
{
	wa_put32(page + INDEX_SPECIAL_AT, (uint32_t)(nsn >> 32));
	wa_put32(page + INDEX_SPECIAL_AT + 4, (uint32_t)nsn);
}

static int check(struct wa_redo *redo)
{
	if (!index_page_ok(redo->page))
		return wa_redo_bad(redo, "the page is not one of a GiST index");
	return 0;
}

static int cut_short(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record is cut short");
}

static int bad_ref(struct wa_redo *redo)
{
	return wa_redo_bad(redo, "the record has no use for a block %u", redo->ref->id);
}

/* The page to its right has its downlink now. */
static int complete_split(struct wa_redo *redo)
{
	int status = check(redo);
	if (status < 0)
		return status;
	set_nsn(redo->page, redo->record->end.v);
	change_flags(redo->page, F_FOLLOW_RIGHT, 0);
	return 0;
}

/* The next of a run of tuples without padding between them. Returns its size, or 0 (and r failed). */
static unsigned next_tuple(struct nf_reader *r, const uint8_t **ret_tuple)
{
	unsigned size = nf_reader_left(r) < TUPLE_HEADER ? 0 : tuple_size(r->data + r->offset);
	if (size < TUPLE_HEADER) {
		r->failed = true;
		return 0;
	}
	*ret_tuple = nf_read_bytes(r, size);
	return r->failed ? 0 : size;
}

/* Append all tuples that are left in `r`, which have to be `count`. */
static int append_tuples(struct wa_redo *redo, struct nf_reader *r, uint32_t count)
{
	unsigned off = wa_page_item_count(redo->page) + 1;
	uint32_t done = 0;

	for (; nf_reader_left(r) > 0; done++, off++) {
		const uint8_t *tuple;
		unsigned size = next_tuple(r, &tuple);
		if (size == 0)
			return wa_redo_bad(redo, "tuple %u is cut short", done + 1);
		if (wa_page_add(redo->page, tuple, size, off, false, false) < 0)
			return wa_redo_bad(redo, "no room for tuple %u, %u bytes", done + 1, size);
	}
	if (done != count)
		return wa_redo_bad(redo, "%u tuples instead of %u", done, count);
	return 0;
}

static int replace_one(struct wa_redo *redo, struct nf_reader *r)
{
	unsigned off = nf_read_u16(r), size = 0;
	const uint8_t *tuple = NULL;

	if (!r->failed)
		size = next_tuple(r, &tuple);
	if (r->failed || nf_reader_left(r) > 0)
		return cut_short(redo);
	if (wa_page_index_overwrite(redo->page, off, tuple, size) < 0)
		return wa_redo_bad(redo, "item %u cannot be replaced by a tuple of %u bytes", off, size);
	return 0;
}

static int update(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), r = wa_data_reader(redo);
	unsigned deletes = nf_read_u16(&main), inserts = nf_read_u16(&main);
	int status = check(redo);

	if (status < 0)
		return status;
	if (main.failed)
		return cut_short(redo);
	if (deletes == 1 && inserts == 1)
		return replace_one(redo, &r);
	if (deletes > 0) {
		status = delete_listed(redo, &r, deletes);
		if (status < 0)
			return status;
		if (get_flags(redo->page) & F_LEAF)
			mark_tuples_deleted(redo);
	}
	return append_tuples(redo, &r, inserts);
}

int wa_redo_gist_update(struct wa_redo *redo)
{
	if (redo->ref->id == 1)
		return complete_split(redo);
	if (redo->restored)
		return 0;
	return redo->ref->id == 0 ? update(redo) : bad_ref(redo);
}

int wa_redo_gist_delete(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	(void)nf_read_u32(&r);
	unsigned count = nf_read_u16(&r);
	(void)nf_read_bytes(&r, (redo->version->major < 16 ? DELETE_OFFSETS_OLD : DELETE_OFFSETS) - 6);
	int status = check(redo);

	if (status < 0)
		return status;
	if (r.failed)
		return cut_short(redo);
	if (redo->ref->id != 0)
		return bad_ref(redo);
	status = delete_listed(redo, &r, count);
	if (status < 0)
		return status;
	change_flags(redo->page, F_HAS_GARBAGE, 0);
	mark_tuples_deleted(redo);
	return 0;
}

struct split {
	uint32_t right;
	uint64_t nsn;
	bool leaves, follow_right;
	unsigned pages;
};

static bool read_split(struct nf_reader *r, struct split *ret)
{
	struct split s = {.right = nf_read_u32(r)};
	(void)nf_read_u32(r);
	s.nsn = nf_read_u64(r);
	s.leaves = nf_read_u8(r);
	(void)nf_read_u8(r);
	s.pages = nf_read_u16(r);
	s.follow_right = nf_read_u8(r);
	*ret = s;
	return !r->failed;
}

int wa_redo_gist_split(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), r = wa_data_reader(redo);
	struct split split;
	unsigned id = redo->ref->id;
	const struct wa_ref *first = wa_record_ref(redo->record, 1), *next = wa_record_ref(redo->record, id + 1);

	if (id == 0)
		return complete_split(redo);
	if (redo->restored)
		return 0;
	if (!read_split(&main, &split) || first == NULL || (id < split.pages && next == NULL))
		return cut_short(redo);
	if (id > split.pages)
		return bad_ref(redo);

	bool root = redo->blkno == GIST_ROOT, last = id == split.pages;
	bool follow = split.follow_right && !last && first->block.blkno != GIST_ROOT;
	wa_page_init(redo->page, INDEX_SPECIAL);
	set_nsn(redo->page, split.nsn);
	wa_put32(redo->page + INDEX_SPECIAL_AT + 8, root ? GIST_NONE : last ? split.right : next->block.blkno);
	change_flags(redo->page, ~0u, (split.leaves && !root ? F_LEAF : 0u) | (follow ? F_FOLLOW_RIGHT : 0u));
	wa_put16(redo->page + INDEX_SPECIAL_AT + 14, GIST_PAGE_ID);
	uint32_t count = nf_read_u32(&r);
	return r.failed ? cut_short(redo) : append_tuples(redo, &r, count);
}

int wa_redo_gist_page_delete(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint64_t xid = nf_read_u64(&r);
	unsigned off = nf_read_u16(&r);
	int status = check(redo);

	if (status < 0)
		return status;
	if (r.failed)
		return cut_short(redo);
	switch (redo->ref->id) {
	case 0:
		if (wa_page_upper(redo->page) < GIST_DELETED_LOWER)
			return wa_redo_bad(redo, "no room for the xid");
		change_flags(redo->page, 0, F_DELETED);
		wa_put64(redo->page + WA_PAGE_HEADER, xid);
		wa_put16(redo->page + 12, GIST_DELETED_LOWER);
		return 0;
	case 1:
		if (wa_page_index_delete(redo->page, off) < 0)
			return wa_redo_bad(redo, "there is no downlink %u", off);
		return 0;
	default: return bad_ref(redo);
	}
}

/* NSN and F_FOLLOW_RIGHT of a child change after the record has been written (gistplacetopage), so images may have either. */
int wa_mask_gist(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	int status = mask_index_page(page, "one of a GiST index", error);

	if (status < 0)
		return status;
	set_nsn(page, 0);
	if (get_flags(page) & F_LEAF)
		wa_mask_line_pointer_flags(page);
	change_flags(page, F_HAS_GARBAGE | F_TUPLES_DELETED, F_FOLLOW_RIGHT);
	return 0;
}
