/* B-tree deduplication: DEDUP. Runs of equal tuples become one posting list tuple each, and the page is written anew.
 *
 *   main      0 count of intervals u16
 *   block 0   the leaf; data: intervals, each: first item's offset number u16, how many items u16
 *
 * Source: access/nbtxlog.h; btree_xlog_dedup in access/nbtree/nbtxlog.c; _bt_dedup_finish_pending and _bt_form_posting in
 * access/nbtree/nbtdedup.c. */
#include "btree_impl.h"

/* One data item as a list of TIDs: its own, or those of its posting list. */
struct tids {
	const uint8_t *at;
	unsigned count;
	unsigned keysize; /* of the tuple without them */
};

static bool item_tids(uint8_t *page, unsigned off, const uint8_t **ret_tuple, struct tids *ret_tids)
{
	uint8_t *tuple;
	unsigned len;
	struct bt_posting p;

	if (wa_page_tuple(page, off, TUPLE_HEADER, &tuple, &len) < 0 || tuple_size(tuple) > len ||
	    tuple_size(tuple) < TUPLE_HEADER)
		return false;
	*ret_tuple = tuple;
	if (bt_posting(tuple, len, &p))
		*ret_tids = (struct tids){tuple + p.keysize, p.count, p.keysize};
	else
		*ret_tids = (struct tids){tuple, 1, tuple_size(tuple)};
	return true;
}

/* Items off .. off + count - 1 as one posting list. The first one gives the key; the TIDs keep their order. */
static int append_merged(struct wa_redo *redo, struct page_builder *b, unsigned off, unsigned count)
{
	const uint8_t *base, *tuple;
	struct tids first, more;
	unsigned total = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!item_tids(redo->page, off + i, &tuple, &more))
			return wa_redo_bad(redo, "there is no tuple %u to merge", off + i);
		total += more.count;
		if (total > BT_COUNT_MASK)
			return wa_redo_bad(redo, "the posting list of item %u gets too long", off);
	}
	if (!item_tids(redo->page, off, &base, &first))
		return wa_redo_bad(redo, "there is no tuple %u to merge", off);
	unsigned size = WA_ALIGN(first.keysize + total * TID_SIZE);
	uint8_t *merged = size > TUPLE_SIZE_MASK ? NULL : builder_append(b, base, first.keysize, size);
	if (merged == NULL)
		return wa_redo_bad(redo, "no room for the posting list of item %u, %u bytes", off, size);
	tuple_set_size(merged, size);
	bt_set_posting(merged, first.keysize, total);
	uint8_t *at = merged + first.keysize;
	for (unsigned i = 0; i < count && item_tids(redo->page, off + i, &tuple, &more); i++) {
		memcpy(at, more.at, more.count * TID_SIZE);
		at += more.count * TID_SIZE;
	}
	return 0;
}

/* An item as it is. Postgres takes the line pointer's length for the high key, the tuple's own for the others. */
static int append_item(struct wa_redo *redo, struct page_builder *b, unsigned off, bool high_key)
{
	uint8_t *tuple;
	unsigned len;
	if (wa_page_tuple(redo->page, off, TUPLE_HEADER, &tuple, &len) < 0)
		return wa_redo_bad(redo, "there is no item %u", off);
	unsigned size = high_key ? len : tuple_size(tuple);
	if (size > len || size < TUPLE_HEADER || builder_append(b, tuple, size, size) == NULL)
		return wa_redo_bad(redo, "item %u does not fit", off);
	return 0;
}

int wa_redo_btree_dedup(struct wa_redo *redo)
{
	struct nf_reader main = wa_main_reader(redo), data = wa_data_reader(redo);
	unsigned left = nf_read_u16(&main); /* intervals still to come, the one at hand counted */
	struct page_builder b;
	int status = bt_check(redo);

	if (status < 0)
		return status;
	if (redo->ref->id != 0)
		return bt_bad_ref(redo);
	builder_start(&b);
	unsigned first = bt_first_data(redo->page), end = wa_page_item_count(redo->page) + 1;
	if (first == 2)
		status = append_item(redo, &b, 1, true);
	unsigned base = left > 0 ? nf_read_u16(&data) : 0, count = left > 0 ? nf_read_u16(&data) : 0;
	for (unsigned off = first; off < end && status == 0;) {
		if (left == 0 || off != base) {
			status = append_item(redo, &b, off++, false);
			continue;
		}
		if (count < 2 || count > end - off)
			return wa_redo_bad(redo, "cannot merge %u items from %u", count, off);
		status = append_merged(redo, &b, off, count);
		off += count;
		left--;
		base = left > 0 ? nf_read_u16(&data) : 0;
		count = left > 0 ? nf_read_u16(&data) : 0;
	}
	if (status < 0)
		return status;
	if (main.failed || data.failed || left > 0)
		return wa_redo_bad(redo, "the intervals do not fit the page");
	builder_finish(&b, redo->page);
	bt_set_flags(redo->page, bt_flags(redo->page) & ~(unsigned)BTP_HAS_GARBAGE);
	return 0;
}
