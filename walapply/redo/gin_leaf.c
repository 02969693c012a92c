/* Leaves of posting trees: CREATE_PTREE, VACUUM_DATA_LEAF_PAGE, and the changes that INSERT makes to a leaf.
 *
 * CREATE_PTREE  main      0 size u32   4 segments
 *               block 0   the tree's first page, new
 * VACUUM_DATA_LEAF_PAGE
 *               block 0   the leaf; data: actions
 *
 * Actions  0 their number u16   2 then each: 0 segment number u8   1 what u8
 *            1 delete      the segment goes
 *            2 insert      before it; 2 a segment
 *            3 replace     it; 2 a segment
 *            4 add items   to it; 2 their number u16   4 TIDs
 * Segments count from 0 as they were before the record; an insert at their number appends. The new list is written from left to right over
 * the old one, what is still to be read of which is copied away at the first change.
 *
 * Source: access/ginxlog.h; ginRedoCreatePTree, ginRedoRecompress and ginRedoVacuumDataLeafPage in access/gin/ginxlog.c. */
#include "gin_impl.h"

enum { ACTION_DELETE = 1, ACTION_INSERT, ACTION_REPLACE, ACTION_ADD };

struct action {
	unsigned segno, what;
	const uint8_t *segment; /* insert, replace */
	unsigned segment_size;
	const uint8_t *tids; /* add */
	unsigned count;
};

struct leaf {
	uint8_t *page;
	unsigned written; /* end of the new list, from the page's start */
	const uint8_t *old, *end; /* what is left of the old one: on the page, or from the first change on in tail */
	unsigned segno; /* of the segment at old */
	bool changed;
	uint8_t tail[GIN_CONTENT_MAX];
};

/* A leaf of before 9.4 becomes one segment. Its pd_lower says nothing. */
static int compress(struct wa_redo *redo)
{
	uint8_t tids[GIN_CONTENT_MAX];
	unsigned count = gin_maxoff(redo->page), size = 0;

	if (count * TID_SIZE > GIN_CONTENT_MAX)
		return wa_redo_bad(redo, "it is said to have %u items, more than fit on a page", count);
	if (count > 0) {
		memcpy(tids, redo->page + GIN_CONTENT_AT, count * TID_SIZE);
		size = gin_merge(NULL, tids, count, redo->page + GIN_CONTENT_AT, GIN_CONTENT_MAX);
		if (size == 0)
			return wa_redo_bad(redo, "its %u items are out of order", count);
	}
	gin_set_content(redo->page, size);
	gin_set_flags(redo->page, gin_flags(redo->page) | GIN_COMPRESSED);
	gin_set_maxoff(redo->page, 0);
	return 0;
}

static bool read_action(struct nf_reader *r, struct action *ret)
{
	struct action a = {.segno = nf_read_u8(r), .what = nf_read_u8(r)};
	if (a.what == ACTION_INSERT || a.what == ACTION_REPLACE) {
		const uint8_t *at = r->data + r->offset;
		a.segment_size = gin_segment_size(at, r->data + r->size);
		r->failed |= a.segment_size == 0;
		a.segment = nf_read_bytes(r, a.segment_size);
	} else if (a.what == ACTION_ADD) {
		a.count = nf_read_u16(r);
		a.tids = nf_read_bytes(r, (size_t)a.count * TID_SIZE);
	}
	*ret = a;
	return !r->failed;
}

/* Append to the new list. */
static bool put(struct leaf *leaf, const uint8_t *bytes, size_t size)
{
	if (size > GIN_SPECIAL_AT - leaf->written)
		return false;
	memcpy(leaf->page + leaf->written, bytes, size);
	leaf->written += (unsigned)size;
	return true;
}

/* Keep the segments before number segno. */
static bool keep_until(struct leaf *leaf, unsigned segno)
{
	if (segno < leaf->segno)
		return false;
	for (; leaf->segno < segno; leaf->segno++) {
		unsigned size = gin_segment_size(leaf->old, leaf->end);
		if (size == 0)
			return false;
		if (!leaf->changed)
			leaf->written += size;
		else if (!put(leaf, leaf->old, size))
			return false;
		leaf->old += size;
	}
	return true;
}

static void begin_change(struct leaf *leaf)
{
	size_t size = (size_t)(leaf->end - leaf->old);
	if (leaf->changed || size == 0)
		return;
	memcpy(leaf->tail, leaf->old, size);
	leaf->old = leaf->tail;
	leaf->end = leaf->tail + size;
	leaf->changed = true;
}

static bool apply(struct leaf *leaf, const struct action *action)
{
	if (!keep_until(leaf, action->segno))
		return false;
	begin_change(leaf);
	if (action->what == ACTION_INSERT)
		return put(leaf, action->segment, action->segment_size);

	unsigned old_size = gin_segment_size(leaf->old, leaf->end);
	if (old_size == 0)
		return false;
	if (action->what == ACTION_ADD) {
		unsigned size = gin_merge(leaf->old, action->tids, action->count, leaf->page + leaf->written,
					  GIN_SPECIAL_AT - leaf->written);
		if (size == 0)
			return false;
		leaf->written += size;
	} else if (action->what == ACTION_REPLACE) {
		if (!put(leaf, action->segment, action->segment_size))
			return false;
	} else if (action->what != ACTION_DELETE) {
		return false;
	}
	leaf->old += old_size;
	leaf->segno++;
	return true;
}

int gin_recompress(struct wa_redo *redo, struct nf_reader *r)
{
	int status = gin_flags(redo->page) & GIN_COMPRESSED ? 0 : compress(redo);
	if (status < 0)
		return status;
	if (wa_page_lower(redo->page) < GIN_CONTENT_AT || wa_page_lower(redo->page) > GIN_SPECIAL_AT)
		return wa_redo_bad(redo, "its segments end at %u", wa_page_lower(redo->page));
	struct leaf leaf;
	leaf.page = redo->page;
	leaf.written = GIN_CONTENT_AT;
	leaf.old = redo->page + GIN_CONTENT_AT;
	leaf.end = redo->page + wa_page_lower(redo->page);
	leaf.segno = 0;
	leaf.changed = false;

	unsigned count = nf_read_u16(r);
	for (unsigned i = 0; i < count; i++) {
		struct action action;
		if (!read_action(r, &action))
			return gin_cut_short(redo);
		if (!apply(&leaf, &action))
			return wa_redo_bad(redo, "action %u (%u, on segment %u) does not fit its segments", i, action.what,
					   action.segno);
	}
	if (r->failed)
		return gin_cut_short(redo);
	if (leaf.changed && !put(&leaf, leaf.old, (size_t)(leaf.end - leaf.old)))
		return wa_redo_bad(redo, "its segments do not fit any more");
	gin_set_content(redo->page, leaf.written - GIN_CONTENT_AT);
	return 0;
}

int wa_redo_gin_create_tree(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	uint32_t size = nf_read_u32(&r);
	const void *segments = nf_read_bytes(&r, size);

	if (r.failed || size > GIN_CONTENT_MAX)
		return wa_redo_bad(redo, "its %u bytes of segments are cut short or do not fit on a page", size);
	if (redo->ref->id != 0)
		return gin_bad_ref(redo);
	gin_init(redo->page, GIN_DATA | GIN_LEAF | GIN_COMPRESSED);
	memcpy(redo->page + GIN_CONTENT_AT, segments, size);
	gin_set_content(redo->page, size);
	return 0;
}

int wa_redo_gin_vacuum_leaf(struct wa_redo *redo)
{
	struct nf_reader r = wa_data_reader(redo);
	int status = gin_check(redo, GIN_DATA | GIN_LEAF, GIN_DATA | GIN_LEAF);

	if (status < 0)
		return status;
	return redo->ref->id == 0 ? gin_recompress(redo, &r) : gin_bad_ref(redo);
}
