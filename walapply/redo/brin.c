/* BRIN indexes: CREATE_INDEX, INSERT, UPDATE, SAMEPAGE_UPDATE, REVMAP_EXTEND, DESUMMARIZE; and how their pages are masked. The same in all
 * majors.
 *
 *   CREATE       main     0 heap pages of a range u32   4 version u16
 *                block 0  the meta page, new
 *   INSERT       main     0 first heap block of the range u32   4 heap pages of a range u32   8 offset number u16
 *                block 0  the page (type bits +80: new); data: the summary tuple      1  the page of the range map
 *   UPDATE       main     0 old tuple's offset number u16   4 as INSERT
 *                block 0, 1  as INSERT      2  the old tuple's page, another one
 *   SAMEPAGE     main     0 offset number u16
 *                block 0  the page; data: the summary tuple, in place of the old one
 *   EXTEND       main     0 block of the new page u32
 *                block 0  the meta page      1  the new page of the range map, new
 *   DESUMMARIZE  main     0 heap pages of a range u32   4 first heap block of the range u32   8 offset number u16
 *                block 0  the page of the range map      1  the tuple's page
 *
 *   special space, the last 8 bytes: 4 flags u16   6 page type u16
 *   meta page, from 24: 0 magic u32   4 version u32   8 heap pages of a range u32   12 last page of the range map u32   16 end
 *   range map page, from 24: TIDs of 6 bytes, 1360 of them: block u16 high, u16 low, offset number u16; its pd_lower stays 24
 *
 * Source: access/brin_page.h, access/brin_xlog.h; access/brin/brin_xlog.c; brin_page_init and brin_metapage_init in
 * access/brin/brin_pageops.c; brinSetHeapBlockItemptr in access/brin/brin_revmap.c. */
#include "redo_impl.h"

#define BRIN_SPECIAL 8u
#define BRIN_SPECIAL_AT (WA_PAGE_SIZE - BRIN_SPECIAL)
#define BRIN_META_SIZE 16u
#define BRIN_MAGIC 0xA8109CFAu
#define BRIN_INIT_PAGE 0x80 /* in the record's info */
#define BRIN_TUPLE_MIN 5u /* SizeOfBrinTuple */
#define TID_SIZE 6u
#define MAP_ITEMS ((BRIN_SPECIAL_AT - WA_PAGE_HEADER) / TID_SIZE)

static_assert(MAP_ITEMS == 1360, "REVMAP_PAGE_MAXITEMS");

enum { BRIN_META = 0xF091, BRIN_MAP = 0xF092, BRIN_REGULAR = 0xF093 };
enum { BRIN_EVACUATE = 1 };

static unsigned brin_type(const uint8_t *page)
{
	return wa_get16(page + BRIN_SPECIAL_AT + 6);
}

static void brin_init(uint8_t *page, uint16_t type)
{
	wa_page_init(page, BRIN_SPECIAL);
	wa_put16(page + BRIN_SPECIAL_AT + 6, type);
}

static int brin_check(struct wa_redo *redo)
{
	if (wa_page_check(redo->page) < 0 || wa_page_special(redo->page) != BRIN_SPECIAL_AT)
		return wa_redo_bad(redo, "the page is not one of a BRIN index");
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

int wa_redo_brin_create(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint32_t range = nf_read_u32(&r);
	unsigned version = nf_read_u16(&r);

	if (r.failed)
		return cut_short(redo);
	if (redo->ref->id != 0)
		return bad_ref(redo);
	brin_init(redo->page, BRIN_META);
	uint8_t *meta = redo->page + WA_PAGE_HEADER;
	wa_put32(meta, BRIN_MAGIC);
	wa_put32(meta + 4, version);
	wa_put32(meta + 8, range);
	wa_put32(meta + 12, 0);
	wa_put16(redo->page + 12, WA_PAGE_HEADER + BRIN_META_SIZE);
	return 0;
}

/* Let the range map's entry for a heap block lead to a summary; offset number 0 = to none (brinSetHeapBlockItemptr). */
static int set_map(struct wa_redo *redo, uint32_t heap_blkno, uint32_t range, uint32_t blkno, unsigned off)
{
	if (range == 0)
		return wa_redo_bad(redo, "a range of no heap pages");
	if (brin_type(redo->page) != BRIN_MAP)
		return wa_redo_bad(redo, "the page is not one of the range map");
	uint8_t *tid = redo->page + WA_PAGE_HEADER + heap_blkno / range % MAP_ITEMS * TID_SIZE;
	if (off == 0)
		blkno = UINT32_MAX;
	wa_put16(tid, (uint16_t)(blkno >> 16));
	wa_put16(tid + 2, (uint16_t)blkno);
	wa_put16(tid + 4, (uint16_t)off);
	return 0;
}

static int delete_tuple(struct wa_redo *redo, unsigned off)
{
	if (wa_page_index_delete_no_compact(redo->page, off) < 0)
		return wa_redo_bad(redo, "there is no summary %u to delete", off);
	return 0;
}

static int insert_tuple(struct wa_redo *redo, unsigned off)
{
	unsigned size = redo->ref->data_len;
	if (size < BRIN_TUPLE_MIN || off == 0 || wa_page_add(redo->page, redo->ref->data, size, off, true, false) < 0)
		return wa_redo_bad(redo, "no room for summary %u of %u bytes", off, size);
	return 0;
}

/* INSERT, or UPDATE from where its main data is the same: blocks 0 and 1. */
static int insert(struct wa_redo *redo, struct nf_reader r)
{
	uint32_t heap_blkno = nf_read_u32(&r), range = nf_read_u32(&r);
	unsigned off = nf_read_u16(&r);
	const struct wa_ref *tuple = wa_record_ref(redo->record, 0);

	if (r.failed || tuple == NULL || off == 0)
		return cut_short(redo);
	if (redo->ref->id == 0 && (redo->record->info & BRIN_INIT_PAGE))
		brin_init(redo->page, BRIN_REGULAR);
	int status = brin_check(redo);
	if (status < 0)
		return status;
	return redo->ref->id == 0 ? insert_tuple(redo, off) : set_map(redo, heap_blkno, range, tuple->block.blkno, off);
}

int wa_redo_brin_insert(struct wa_redo *redo)
{
	return redo->ref->id > 1 ? bad_ref(redo) : insert(redo, wa_main_reader(redo));
}

int wa_redo_brin_update(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned old_off = nf_read_u16(&r);
	(void)nf_read_u16(&r);

	if (r.failed)
		return cut_short(redo);
	if (redo->ref->id <= 1)
		return insert(redo, r);
	if (redo->ref->id != 2)
		return bad_ref(redo);
	int status = brin_check(redo);
	return status < 0 ? status : delete_tuple(redo, old_off);
}

int wa_redo_brin_same_page(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned off = nf_read_u16(&r), size = redo->ref->data_len;

	if (r.failed || size < BRIN_TUPLE_MIN)
		return cut_short(redo);
	if (redo->ref->id != 0)
		return bad_ref(redo);
	int status = brin_check(redo);
	if (status == 0 && wa_page_index_overwrite(redo->page, off, redo->ref->data, size) < 0)
		return wa_redo_bad(redo, "summary %u cannot be replaced by one of %u bytes", off, size);
	return status;
}

int wa_redo_brin_revmap_extend(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint32_t blkno = nf_read_u32(&r);

	if (r.failed)
		return cut_short(redo);
	if (redo->ref->id == 1) {
		brin_init(redo->page, BRIN_MAP);
		return 0;
	}
	if (redo->ref->id != 0)
		return bad_ref(redo);
	int status = brin_check(redo);
	if (status < 0)
		return status;
	wa_put32(redo->page + WA_PAGE_HEADER + 12, blkno);
	/* Releases before 11 did not set it, and pg_upgrade keeps their pages. */
	wa_put16(redo->page + 12, WA_PAGE_HEADER + BRIN_META_SIZE);
	return wa_page_check(redo->page) < 0 ? wa_redo_bad(redo, "the meta page is too full") : 0;
}

int wa_redo_brin_desummarize(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint32_t range = nf_read_u32(&r), heap_blkno = nf_read_u32(&r);
	unsigned off = nf_read_u16(&r);

	if (r.failed)
		return cut_short(redo);
	if (redo->ref->id > 1)
		return bad_ref(redo);
	int status = brin_check(redo);
	if (status < 0)
		return status;
	return redo->ref->id == 0 ? set_map(redo, heap_blkno, range, 0, 0) : delete_tuple(redo, off);
}

int wa_mask_brin(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	wa_mask_lsn_and_checksum(page);
	wa_mask_hint_bits(page);
	if (wa_page_special(page) != BRIN_SPECIAL_AT)
		return wa_bad(error, (struct nf_lsn){0}, "the page is not one of a BRIN index: its special space starts at %u",
			      wa_page_special(page));
	unsigned type = brin_type(page);
	if (type == BRIN_REGULAR || (type == BRIN_META && wa_page_lower(page) > WA_PAGE_HEADER)) {
		int status = wa_mask_unused_space(page, error);
		if (status < 0)
			return status;
	}
	uint8_t *flags = page + BRIN_SPECIAL_AT + 4; /* a page that is to be evacuated is marked without a record */
	wa_put16(flags, wa_get16(flags) & (uint16_t)~BRIN_EVACUATE);
	return 0;
}
