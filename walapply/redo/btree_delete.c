/* Deletion of B-tree leaf tuples: VACUUM, DELETE. Posting lists may lose some of their TIDs only ("updates").
 *
 *   VACUUM main   0 deleted u16   2 updated u16
 *   DELETE main   0 xid u32   4 deleted u16   6 updated u16   (13: 4 deleted u32, no updates; 16+: 8 whether of a catalogue u8)
 *   block 0       the leaf; data: deleted offset numbers u16 each; updated offset numbers u16 each; for each updated one: count
 *                 u16 and as many u16: which TIDs go, by their place in the posting list from 0, rising
 *
 * Updates come first: the offset numbers are those before anything is deleted.
 * Source: access/nbtxlog.h; btree_xlog_vacuum, btree_xlog_delete, btree_xlog_updates in access/nbtree/nbtxlog.c;
 * _bt_update_posting in access/nbtree/nbtdedup.c. */
#include "btree_impl.h"

/* Posting list `off` without the TIDs that `gone` lists: shorter, or a plain tuple when one TID is left. */
static int update_posting(struct wa_redo *redo, unsigned off, struct nf_reader *gone)
{
	uint8_t *old, made[WA_PAGE_SIZE];
	unsigned old_len;
	struct bt_posting p;
	unsigned removed = nf_read_u16(gone);

	if (wa_page_tuple(redo->page, off, TUPLE_HEADER, &old, &old_len) < 0 || !bt_posting(old, old_len, &p))
		return wa_redo_bad(redo, "item %u is no posting list", off);
	if (gone->failed || removed >= p.count)
		return wa_redo_bad(redo, "cannot take %u of %u TIDs from item %u", removed, p.count, off);
	unsigned kept = p.count - removed;
	unsigned size = kept > 1 ? WA_ALIGN(p.keysize + kept * TID_SIZE) : p.keysize;
	memcpy(made, old, p.keysize);
	memset(made + p.keysize, 0, size - p.keysize);
	tuple_set_size(made, size);
	uint8_t *to = made;
	if (kept > 1) {
		bt_set_posting(made, p.keysize, kept);
		to = made + p.keysize;
	} else {
		wa_put16(made + 6, wa_get16(made + 6) & (uint16_t)~TUPLE_AM_BIT);
	}
	unsigned from = 0;
	for (unsigned i = 0; i <= removed; i++) {
		unsigned stop = i < removed ? nf_read_u16(gone) : p.count;
		if (gone->failed || stop < from || stop > p.count || (i < removed && stop == p.count))
			return wa_redo_bad(redo, "the TIDs to take from item %u are not in order", off);
		memcpy(to, old + p.keysize + from * TID_SIZE, (stop - from) * TID_SIZE);
		to += (stop - from) * TID_SIZE;
		from = stop + 1;
	}
	if (wa_page_index_overwrite(redo->page, off, made, WA_ALIGN(size)) < 0)
		return wa_redo_bad(redo, "item %u cannot be replaced", off);
	return 0;
}

static int delete_and_update(struct wa_redo *redo, unsigned deleted, unsigned updated)
{
	struct nf_reader deletes = wa_data_reader(redo), offs = deletes, data = deletes;
	if (2 * (deleted + updated) > data.size)
		return wa_redo_bad(redo, "the lists of items are cut short");
	offs.offset = 2 * deleted;
	data.offset = 2 * (deleted + updated);
	for (unsigned i = 0; i < updated; i++) {
		int status = update_posting(redo, nf_read_u16(&offs), &data);
		if (status < 0)
			return status;
	}
	int status = delete_listed(redo, &deletes, deleted);
	if (status == 0)
		bt_set_flags(redo->page, bt_flags(redo->page) & ~(unsigned)BTP_HAS_GARBAGE);
	return status;
}

int wa_redo_btree_vacuum(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo);
	unsigned deleted = nf_read_u16(&main), updated = nf_read_u16(&main);
	int status = bt_check(redo);

	if (status < 0)
		return status;
	if (redo->ref->id != 0)
		return bt_bad_ref(redo);
	if (main.failed)
		return wa_redo_bad(redo, "the record is cut short");
	status = delete_and_update(redo, deleted, updated);
	if (status == 0 && redo->version->major >= 18)
		bt_set_cycleid(redo->page, 0);
	return status;
}

int wa_redo_btree_delete(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo);
	(void)nf_read_u32(&main); /* for conflicts on a standby */
	uint32_t deleted = redo->version->major == 13 ? nf_read_u32(&main) : nf_read_u16(&main);
	unsigned updated = redo->version->major == 13 ? 0 : nf_read_u16(&main);
	int status = bt_check(redo);

	if (status < 0)
		return status;
	if (redo->ref->id != 0)
		return bt_bad_ref(redo);
	if (main.failed || deleted > UINT16_MAX)
		return wa_redo_bad(redo, "the record is cut short");
	return delete_and_update(redo, deleted, updated);
}
