/* Descriptions of Gin's records.
 *
 *   ginxlogInsert            flags 0 (1 data, 2 leaf), then, not a leaf, the left and right child's block, 4 bytes each, high half first
 *     block 0's data         an entry:  offset number 0, delete 2, index tuple
 *                            a leaf of a posting tree: count 0, actions
 *                            an inner page of one: offset number 0, child's block 2, item 6
 *   an action                segment 0, kind 1, then by kind: a posting list, or a count and as many items of 6 bytes
 *   a posting list           first item 0, bytes 6, as many bytes from 8, padded to 2
 *   ginxlogSplit             relation 0, right link 12, children 16 and 20, flags 24 (1 data, 2 leaf, 4 root)
 *   ginxlogVacuumDataLeafPage   in block 0's data: count, actions
 *   ginxlogDeleteListPages   metadata 0, count 56
 *
 * The other types have nothing to tell.
 * Source: src/backend/access/rmgrdesc/gindesc.c, src/include/access/{ginxlog,ginblock}.h. */
#include "describe_impl.h"

enum { GIN_DATA = 1, GIN_LEAF = 2, GIN_ROOT = 4 };
enum { SEGMENT_DELETE = 1, SEGMENT_INSERT = 2, SEGMENT_REPLACE = 3, SEGMENT_ADD = 4 };

#define ITEM_SIZE 6
#define SPLIT_FLAGS 24

static char tf(bool value)
{
	return value ? 'T' : 'F';
}

static void skip_posting_list(struct nf_reader *from)
{
	nf_read_bytes(from, ITEM_SIZE);
	nf_read_bytes(from, nf_round_up(nf_read_u16(from), 2));
}

/* Returns whether the next action can be found. */
static bool action(struct wa_describe *d, struct nf_reader *from)
{
	uint8_t segment = nf_read_u8(from), kind = nf_read_u8(from);
	uint16_t count;
	switch (kind) {
	case SEGMENT_ADD:
		count = nf_read_u16(from);
		nf_read_bytes(from, (size_t)count * ITEM_SIZE);
		wa_text_put(d->out, " %u (add %u items)", segment, count);
		return true;
	case SEGMENT_DELETE: wa_text_put(d->out, " %u (delete)", segment); return true;
	case SEGMENT_INSERT:
	case SEGMENT_REPLACE:
		skip_posting_list(from);
		wa_text_put(d->out, " %u (%s)", segment, kind == SEGMENT_INSERT ? "insert" : "replace");
		return true;
	default:
		if (!from->failed)
			wa_text_put(d->out, " %u unknown action %u ???", segment, kind);
		return false;
	}
}

static void actions(struct wa_describe *d)
{
	struct nf_reader data = wa_describe_block(d, 0);
	uint16_t count = nf_read_u16(&data);
	wa_text_put(d->out, " %u segments:", count);
	for (uint16_t i = 0; i < count && !data.failed; i++)
		if (!action(d, &data))
			break;
	wa_describe_check(d, &data);
}

/* Where block 0 has an image, its data is not looked at. */
static bool image_instead(struct wa_describe *d)
{
	const struct wa_ref *ref = wa_record_ref(d->record, 0);
	if (ref == NULL || !ref->has_image)
		return false;
	wa_text_put(d->out, ref->apply_image ? " (full page image)" : " (full page image, for WAL verification)");
	return true;
}

static void insert(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0), data = wa_describe_block(d, 0);
	uint16_t flags = nf_read_u16(&main);
	wa_text_put(d->out, "isdata: %c isleaf: %c", tf(flags & GIN_DATA), tf(flags & GIN_LEAF));
	if (!(flags & GIN_LEAF))
		wa_describe_fields(d, &main, " children: {0:blk}/{4:blk}");
	wa_describe_check(d, &main);
	if (image_instead(d))
		return;
	wa_describe_check(d, &data);
	if (!(flags & GIN_DATA))
		wa_describe_fields(d, &data, " isdelete: {2:tf}");
	else if (flags & GIN_LEAF)
		actions(d);
	else
		wa_describe_fields(d, &data, " pitem: {2:blk}-{6:tid}");
}

static void split(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, SPLIT_FLAGS);
	uint16_t flags = nf_read_u16(&main);
	wa_text_put(d->out, "isrootsplit: %c isdata: %c isleaf: %c", tf(flags & GIN_ROOT), tf(flags & GIN_DATA),
		    tf(flags & GIN_LEAF));
	wa_describe_check(d, &main);
}

static void vacuum_data_leaf(struct wa_describe *d)
{
	if (!image_instead(d))
		actions(d);
}

static const struct wa_describe_row gin_rows[] = {
	{0x20, 13, 18, NULL, insert},
	{0x30, 13, 18, NULL, split},
	{0x80, 13, 18, "ndeleted: {56:i32}", NULL}, /* DELETE_LISTPAGE */
	{0x90, 13, 18, NULL, vacuum_data_leaf},
};
WA_DESCRIBE_ROWS(gin);
