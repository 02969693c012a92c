/* What takes tuples out of a hash index: MOVE_PAGE_CONTENTS, SQUEEZE_PAGE, DELETE, VACUUM_ONE_PAGE.
 *
 *   MOVE     main      0 tuples u16   2 whether block 1 is the primary bucket page u8
 *            block 0   the primary bucket page, unchanged      1   the page that gets the tuples; data: their offset numbers u16 each, then they
 *            block 2   the page that loses them; data: offset numbers u16 each
 *   SQUEEZE  main      0 page before u32   4 page after u32   8 tuples u16   10 whether block 1 is the primary bucket page u8   11 whether it is the
 *                      page before the one that is freed u8
 *            block 0   the primary bucket page, unchanged      1   as above; 17+: maybe with nothing to do
 *            block 2   the overflow page that is freed         3   the page before it, if not block 1      4   the page after it, if any
 *            block 5   the bitmap page; data: bit u32          6   the meta page, if its first free bit changes; data: that u32
 *   DELETE   main      0 whether no dead items are left u8   1 whether block 1 is the primary bucket page u8
 *            block 0   the primary bucket page, unchanged      1   the page; data: offset numbers u16 each
 *   VACUUM   main      13-15: 0 xid u32   4 tuples u32   8 offset numbers u16 each
 *                      16+:   0 xid u32   4 tuples u16   6 whether of a catalogue u8   8 offset numbers u16 each
 *            block 0   the page                                1   the meta page
 *
 * Source: access/hash_xlog.h; access/hash/hash_xlog.c; _hash_freeovflpage in access/hash/hashovfl.c. */
#include "hash_impl.h"

/* Put in the tuples of the block's data. */
static int add_moved(struct wa_redo *redo, unsigned count)
{
	struct nf_reader offs = wa_data_reader(redo), tuples = offs;
	if (2 * count > tuples.size)
		return hash_cut_short(redo);
	tuples.offset = 2 * count;
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *tuple;
		unsigned off = nf_read_u16(&offs), size = read_tuple(&tuples, &tuple);
		if (size == 0)
			return wa_redo_bad(redo, "tuple %u of %u that move in is cut short", i + 1, count);
		if (off == 0 || wa_page_add(redo->page, tuple, size, off, false, false) < 0)
			return wa_redo_bad(redo, "no room for item %u of %u bytes", off, size);
	}
	if (nf_reader_left(&tuples) > 0)
		return wa_redo_bad(redo, "more than %u tuples move in", count);
	return 0;
}

/* Delete the items of the block's data. */
static int delete_data(struct wa_redo *redo)
{
	struct nf_reader r = wa_data_reader(redo);
	return delete_listed(redo, &r, redo->ref->data_len / 2);
}

int wa_redo_hash_move_contents(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	unsigned count = nf_read_u16(&r);

	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id == 0)
		return hash_untouched(redo);
	int status = hash_check(redo);
	if (status < 0)
		return status;
	switch (redo->ref->id) {
	case 1: return count > 0 ? add_moved(redo, count) : 0;
	case 2: return delete_data(redo);
	default: return hash_bad_ref(redo);
	}
}

struct squeeze {
	uint32_t prev, next;
	unsigned count;
	bool writes_prev; /* the page that gets the tuples is the one before the freed page */
};

static int squeeze_into(struct wa_redo *redo, const struct squeeze *s)
{
	if (s->count == 0 && !s->writes_prev && redo->version->major >= 17)
		return hash_untouched(redo);
	int status = s->count > 0 ? add_moved(redo, s->count) : 0;
	if (status == 0 && s->writes_prev)
		hash_set_next(redo->page, s->next);
	return status;
}

static int set_first_free(struct wa_redo *redo)
{
	struct nf_reader r = wa_data_reader(redo);
	uint32_t first_free = nf_read_u32(&r);
	if (r.failed)
		return hash_cut_short(redo);
	wa_put32(redo->page + HASHM_FIRST_FREE, first_free);
	return 0;
}

int wa_redo_hash_squeeze(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	struct squeeze s = {.prev = nf_read_u32(&r)};
	s.next = nf_read_u32(&r);
	s.count = nf_read_u16(&r);
	(void)nf_read_u8(&r);
	s.writes_prev = nf_read_u8(&r) != 0;

	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id == 0)
		return hash_untouched(redo);
	int status = hash_check(redo);
	if (status < 0)
		return status;
	switch (redo->ref->id) {
	case 1: return squeeze_into(redo, &s);
	case 2: hash_init(redo->page, HASH_NO_BLOCK, HASH_NO_BLOCK, LH_UNUSED); return 0;
	case 3: hash_set_next(redo->page, s.next); return 0;
	case 4: hash_set_prev(redo->page, s.prev); return 0;
	case 5: return hash_set_bit(redo, false);
	case 6: return set_first_free(redo);
	default: return hash_bad_ref(redo);
	}
}

static void clear_dead(struct wa_redo *redo)
{
	hash_set_flags(redo->page, hash_flags(redo->page) & ~(unsigned)LH_HAS_DEAD);
}

int wa_redo_hash_delete(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	bool none_dead = nf_read_u8(&r) != 0;

	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id == 0)
		return hash_untouched(redo);
	if (redo->ref->id != 1)
		return hash_bad_ref(redo);
	int status = hash_check(redo);
	if (status == 0)
		status = delete_data(redo);
	if (status == 0 && none_dead)
		clear_dead(redo);
	return status;
}

int wa_redo_hash_vacuum_one(struct wa_redo *redo)
{
	struct nf_reader r = wa_main_reader(redo);
	(void)nf_read_u32(&r); /* for conflicts on a standby */
	uint32_t count = nf_read_u32(&r);
	if (redo->version->major >= 16)
		count &= 0xFFFF;

	if (r.failed)
		return hash_cut_short(redo);
	if (redo->ref->id == 1)
		return hash_add_tuples(redo, -(double)count);
	if (redo->ref->id != 0)
		return hash_bad_ref(redo);
	int status = hash_check(redo);
	if (status == 0)
		status = delete_listed(redo, &r, count);
	if (status == 0)
		clear_dead(redo);
	return status;
}
