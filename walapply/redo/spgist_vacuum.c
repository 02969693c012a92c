/* Vacuum of an SP-GiST index: VACUUM_LEAF, VACUUM_ROOT, VACUUM_REDIRECT; and how its pages are masked.
 *
 *   LEAF      main     0 dead ones u16   2 placeholders u16   4 moves u16   6 links u16   8 source   16 offset numbers u16 each: that become
 *                      dead; that become placeholders; to move from; to move to; whose link changes; what it leads to
 *             block 0  the leaf page
 *   ROOT      main     0 how many u16   4 source   12 offset numbers that go u16 each, rising
 *             block 0  the root, while it is a leaf
 *   REDIRECT  main     0 how many u16   2 first placeholder to remove u16, 0 = none   4 xid u32   13-15: 8 offset numbers u16 each
 *                      16+: 8 whether of a catalogue u8   10 offset numbers u16 each: redirects that become placeholders
 *             block 0  any page
 *
 * A tuple is moved by changing line pointers with a placeholder or dead tuple, so that the head of a chain keeps its number.
 * Source: access/spgxlog.h; spgRedoVacuumLeaf, -Root, -Redirect and spg_mask in access/spgist/spgxlog.c. */
#include "spgist_impl.h"

static const struct sp_place nowhere = {.blkno = UINT32_MAX, .off = 0};

struct vacuum_leaf {
	unsigned dead, placeholders, moves, links;
	struct sp_source source;
};

static bool read_vacuum_leaf(struct nf_reader *r, struct vacuum_leaf *vacuum)
{
	vacuum->dead = nf_read_u16(r);
	vacuum->placeholders = nf_read_u16(r);
	vacuum->moves = nf_read_u16(r);
	vacuum->links = nf_read_u16(r);
	vacuum->source = sp_read_source(r);
	return !r->failed;
}

/* Bury the `count` items that come next in the record. */
static int bury_listed(struct wa_redo *redo, struct nf_reader *r, unsigned count, enum sp_state state, struct sp_source source)
{
	uint16_t offs[WA_INDEX_TUPLES_MAX];
	sp_read_offsets(r, count, offs);
	return r->failed ? sp_cut_short(redo) : sp_bury(redo, offs, count, state, state, source, nowhere);
}

static int swap_items(struct wa_redo *redo, unsigned a, unsigned b)
{
	struct wa_item left, right;
	if (wa_page_item(redo->page, a, &left) < 0 || wa_page_item(redo->page, b, &right) < 0 ||
	    wa_page_set_item(redo->page, a, right) < 0 || wa_page_set_item(redo->page, b, left) < 0)
		return wa_redo_bad(redo, "there are no items %u and %u to move", a, b);
	return 0;
}

static int move_listed(struct wa_redo *redo, struct nf_reader *r, unsigned count, struct sp_source source)
{
	uint16_t from[WA_INDEX_TUPLES_MAX], to[WA_INDEX_TUPLES_MAX];
	sp_read_offsets(r, count, from);
	sp_read_offsets(r, count, to);
	if (r->failed)
		return sp_cut_short(redo);
	for (unsigned i = 0; i < count; i++) {
		int status = swap_items(redo, from[i], to[i]);
		if (status < 0)
			return status;
	}
	return sp_bury(redo, from, count, SP_PLACEHOLDER, SP_PLACEHOLDER, source, nowhere);
}

static int link_listed(struct wa_redo *redo, struct nf_reader *r, unsigned count)
{
	uint16_t from[WA_INDEX_TUPLES_MAX], to[WA_INDEX_TUPLES_MAX];
	int status = 0;
	sp_read_offsets(r, count, from);
	sp_read_offsets(r, count, to);
	if (r->failed)
		return sp_cut_short(redo);
	for (unsigned i = 0; i < count && status == 0; i++)
		status = sp_chain(redo, from[i], to[i]);
	return status;
}

int wa_redo_spgist_vacuum_leaf(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	struct vacuum_leaf vacuum;

	if (!read_vacuum_leaf(&r, &vacuum))
		return sp_cut_short(redo);
	if (redo->ref->id != 0)
		return sp_bad_ref(redo);
	int status = sp_start(redo, false, 0);
	if (status == 0)
		status = bury_listed(redo, &r, vacuum.dead, SP_DEAD, vacuum.source);
	if (status == 0)
		status = bury_listed(redo, &r, vacuum.placeholders, SP_PLACEHOLDER, vacuum.source);
	if (status == 0)
		status = move_listed(redo, &r, vacuum.moves, vacuum.source);
	return status < 0 ? status : link_listed(redo, &r, vacuum.links);
}

int wa_redo_spgist_vacuum_root(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned count = nf_read_u16(&r);
	uint16_t offs[WA_INDEX_TUPLES_MAX];

	(void)nf_read_u16(&r);
	(void)sp_read_source(&r);
	sp_read_offsets(&r, count, offs);
	if (r.failed)
		return sp_cut_short(redo);
	if (redo->ref->id != 0)
		return sp_bad_ref(redo);
	int status = sp_start(redo, false, 0);
	if (status == 0 && wa_page_index_multi_delete(redo->page, offs, count, redo->version->major) < 0)
		return wa_redo_bad(redo, "the %u items to delete are not all there", count);
	return status;
}

static int redirect_to_placeholder(struct wa_redo *redo, unsigned off)
{
	uint8_t *tuple;
	unsigned len;
	if (wa_page_tuple(redo->page, off, SP_DEAD_SIZE, &tuple, &len) < 0 || sp_state_of(tuple) != SP_REDIRECT)
		return wa_redo_bad(redo, "item %u is no redirect", off);
	wa_put32(tuple, (wa_get32(tuple) & ~3u) | SP_PLACEHOLDER);
	memset(tuple + 6, 0xFF, 4);
	wa_put16(tuple + 10, 0); /* the xid stays */
	return 0;
}

/* Items `first` to the last one are placeholders that nothing leads to. */
static int cut_placeholders(struct wa_redo *redo, unsigned first)
{
	uint16_t offs[WA_INDEX_TUPLES_MAX];
	unsigned last = wa_page_item_count(redo->page);
	if (first > last || last - first >= WA_INDEX_TUPLES_MAX)
		return wa_redo_bad(redo, "cannot remove items %u to %u", first, last);
	unsigned count = last - first + 1;
	for (unsigned i = 0; i < count; i++)
		offs[i] = (uint16_t)(first + i);
	if (wa_page_index_multi_delete(redo->page, offs, count, redo->version->major) < 0)
		return wa_redo_bad(redo, "cannot remove items %u to %u", first, last);
	sp_count(redo->page, SP_PLACEHOLDERS, -(int)count);
	return 0;
}

int wa_redo_spgist_vacuum_redirect(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned count = nf_read_u16(&r), first = nf_read_u16(&r);
	uint16_t offs[WA_INDEX_TUPLES_MAX];

	(void)nf_read_u32(&r); /* for conflicts on a standby */
	if (redo->version->major >= 16)
		(void)nf_read_u16(&r);
	sp_read_offsets(&r, count, offs);
	if (r.failed)
		return sp_cut_short(redo);
	if (redo->ref->id != 0)
		return sp_bad_ref(redo);
	int status = sp_start(redo, false, 0);
	for (unsigned i = 0; i < count && status == 0; i++)
		status = redirect_to_placeholder(redo, offs[i]);
	if (status < 0)
		return status;
	sp_count(redo->page, SP_REDIRECTS, -(int)count);
	sp_count(redo->page, SP_PLACEHOLDERS, (int)count);
	return first != 0 ? cut_placeholders(redo, first) : 0;
}

int wa_mask_spgist(const struct wa_version *version, uint32_t blkno, uint8_t *page, struct wa_error *error)
{
	(void)version;
	(void)blkno;
	wa_mask_lsn_and_checksum(page);
	wa_mask_hint_bits(page);
	return wa_page_lower(page) >= WA_PAGE_HEADER ? wa_mask_unused_space(page, error) : 0;
}
