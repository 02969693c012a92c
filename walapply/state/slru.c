#include "walapply/state/wa_slru.h"

#include "common/nf_cursor.h"

#define MEMBERS_PER_GROUP 4u
#define GROUP_SIZE 20u
#define COMMIT_TS_SIZE 10u
#define FIRST_MULTI 1u

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void store32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

/* The page at hand: ids come mostly in rising order, so the same page serves many. */
struct cursor {
	const struct wa_slru_pages *pages;
	enum wa_slru slru;
	int64_t page;
	uint8_t *bytes;
};

static int turn_to(struct cursor *cursor, int64_t page)
{
	if (cursor->bytes != NULL && cursor->page == page)
		return 0;
	int error = cursor->pages->get(cursor->pages->arg, cursor->slru, page, false, &cursor->bytes);
	if (error < 0)
		cursor->bytes = NULL;
	cursor->page = page;
	return error;
}

/* ------------------------------------------------------- transactions */

typedef int (*each_xid_fn)(struct cursor *cursor, uint32_t xid, const struct wa_state_op *op);

/* A transaction and its subtransactions. */
static int for_tree(struct cursor *cursor, uint32_t xid, struct wa_xid_list sub, each_xid_fn each, const struct wa_state_op *op)
{
	int error = each(cursor, xid, op);
	for (uint32_t i = 0; i < sub.count && error == 0; i++)
		error = each(cursor, load32(sub.xids + 4 * (size_t)i), op);
	return error;
}

static int set_status(struct cursor *cursor, uint32_t xid, const struct wa_state_op *op)
{
	int error = turn_to(cursor, xid / WA_XACTS_PER_PAGE);
	if (error < 0)
		return error;
	uint8_t *byte = cursor->bytes + xid % WA_XACTS_PER_PAGE / 4;
	unsigned shift = xid % 4 * 2;
	*byte = (uint8_t)((*byte & ~(3u << shift)) | (unsigned)op->xact.status << shift);
	return 0;
}

int wa_slru_ended(enum wa_xact_status status, uint32_t first, uint32_t count, const struct wa_slru_pages *pages)
{
	const struct wa_state_op op = {.kind = WA_OP_XACT, .xact = {.status = status}};
	struct cursor cursor = {.pages = pages, .slru = WA_SLRU_XACT};
	uint32_t xid = first, left = count;
	int error = 0;
	while (left > 0 && error == 0) {
		if (xid % 4 != 0 || left < 4) {
			error = set_status(&cursor, xid, &op);
			xid++;
			left--;
			continue;
		}
		/* Whole bytes, to the end of the page. */
		uint32_t bytes = NF_MIN(left / 4, (WA_XACTS_PER_PAGE - xid % WA_XACTS_PER_PAGE) / 4);
		error = turn_to(&cursor, xid / WA_XACTS_PER_PAGE);
		if (error == 0)
			memset(cursor.bytes + xid % WA_XACTS_PER_PAGE / 4, (int)status * 0x55, bytes);
		xid += bytes * 4;
		left -= bytes * 4;
	}
	return error;
}

static int set_commit_ts(struct cursor *cursor, uint32_t xid, const struct wa_state_op *op)
{
	int error = turn_to(cursor, xid / WA_COMMIT_TS_PER_PAGE);
	if (error < 0)
		return error;
	struct nf_writer entry = nf_writer_init(cursor->bytes + xid % WA_COMMIT_TS_PER_PAGE * COMMIT_TS_SIZE, COMMIT_TS_SIZE);
	nf_write_u64(&entry, (uint64_t)op->commit_ts.time_us);
	nf_write_u16(&entry, op->commit_ts.origin);
	return 0;
}

/* -------------------------------------------------------- multixacts */

static int set_offset(struct cursor *cursor, uint32_t mid, uint32_t offset)
{
	int error = turn_to(cursor, mid / WA_OFFSETS_PER_PAGE);
	if (error == 0)
		store32(cursor->bytes + mid % WA_OFFSETS_PER_PAGE * 4, offset);
	return error;
}

/* The multixact's own offset and that of the next one, which tells where its members end. Minor versions before the autumn of 2025 write
 * the second only when the next one is made; to have it earlier is right for them too. Offset 0 means "not set": it is passed over. */
static int set_offsets(const struct wa_state_op *op, const struct wa_slru_pages *pages)
{
	struct cursor cursor = {.pages = pages, .slru = WA_SLRU_OFFSETS};
	uint32_t next = op->multi.mid + 1, next_offset = op->multi.offset + op->multi.count;
	if (next < FIRST_MULTI)
		next = FIRST_MULTI;
	if (next_offset == 0)
		next_offset = 1;
	int error = set_offset(&cursor, op->multi.mid, op->multi.offset);
	if (error == 0)
		error = set_offset(&cursor, next, next_offset);
	return error;
}

static int set_members(const struct wa_state_op *op, const struct wa_slru_pages *pages)
{
	struct cursor cursor = {.pages = pages, .slru = WA_SLRU_MEMBERS};
	uint32_t offset = op->multi.offset;
	for (uint32_t i = 0; i < op->multi.count; i++, offset++) {
		const uint8_t *member = op->multi.members + 8 * (size_t)i;
		int error = turn_to(&cursor, offset / WA_MEMBERS_PER_PAGE);
		if (error < 0)
			return error;
		uint32_t at = offset % WA_MEMBERS_PER_PAGE, slot = at % MEMBERS_PER_GROUP;
		uint8_t *group = cursor.bytes + at / MEMBERS_PER_GROUP * GROUP_SIZE;
		group[slot] = member[4];
		store32(group + 4 + 4 * slot, load32(member));
	}
	return 0;
}

int wa_slru_apply(const struct wa_state_op *op, const struct wa_slru_pages *pages)
{
	struct cursor cursor = {.pages = pages};
	int error;
	uint8_t *page;
	switch (op->kind) {
	case WA_OP_XACT: cursor.slru = WA_SLRU_XACT; return for_tree(&cursor, op->xact.xid, op->xact.sub, set_status, op);
	case WA_OP_COMMIT_TS:
		cursor.slru = WA_SLRU_COMMIT_TS;
		return for_tree(&cursor, op->commit_ts.xid, op->commit_ts.sub, set_commit_ts, op);
	case WA_OP_MULTI: error = set_offsets(op, pages); return error == 0 ? set_members(op, pages) : error;
	case WA_OP_SLRU_ZERO: return pages->get(pages->arg, op->slru.slru, op->slru.page, true, &page);
	default: return 0;
	}
}

/* ------------------------------------------------------------- files */

const char *wa_slru_directory(enum wa_slru slru)
{
	static const char *const names[WA_SLRUS] = {"pg_xact", "pg_multixact/offsets", "pg_multixact/members", "pg_commit_ts"};
	return names[slru];
}

/* Is page `a` wholly before page `b`, ids counted around the wrap? (CLOGPagePrecedes and its likes: both the first id of b and its last
 * one must come after the first of a.) */
static bool page_precedes(int64_t a, int64_t b, uint32_t ids_per_page, uint32_t first_id)
{
	uint32_t id_a = (uint32_t)a * ids_per_page + first_id + 1, id_b = (uint32_t)b * ids_per_page + first_id + 1;
	return (int32_t)(id_a - id_b) < 0 && (int32_t)(id_a - (id_b + ids_per_page - 1)) < 0;
}

static bool file_precedes(int64_t file, int64_t page, uint32_t ids_per_page, uint32_t first_id)
{
	int64_t first = file * WA_SLRU_PAGES_PER_FILE, last = first + WA_SLRU_PAGES_PER_FILE - 1;
	return page_precedes(first, page, ids_per_page, first_id) && page_precedes(last, page, ids_per_page, first_id);
}

/* Members go by files: from the file of `start` up to that of `limit`, around the end if need be. */
static bool is_in_files(int64_t file, uint32_t start, uint32_t limit)
{
	int64_t first = start / WA_MEMBERS_PER_PAGE / WA_SLRU_PAGES_PER_FILE,
		end = limit / WA_MEMBERS_PER_PAGE / WA_SLRU_PAGES_PER_FILE;
	return first <= end ? file >= first && file < end : file >= first || file < end;
}

bool wa_slru_file_goes(const struct wa_state_op *op, int64_t file)
{
	if (op->kind != WA_OP_SLRU_TRUNCATE)
		return false;
	uint32_t last_gone = op->slru.limit - 1;
	switch (op->slru.slru) {
	case WA_SLRU_XACT: return file_precedes(file, op->slru.page, WA_XACTS_PER_PAGE, 3);
	case WA_SLRU_COMMIT_TS: return file_precedes(file, op->slru.page, WA_COMMIT_TS_PER_PAGE, 3);
	case WA_SLRU_OFFSETS:
		if (last_gone < FIRST_MULTI)
			last_gone = UINT32_MAX;
		return file_precedes(file, last_gone / WA_OFFSETS_PER_PAGE, WA_OFFSETS_PER_PAGE, FIRST_MULTI);
	case WA_SLRU_MEMBERS: return is_in_files(file, op->slru.start, op->slru.limit);
	default: return false;
	}
}
