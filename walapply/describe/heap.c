/* Descriptions of Heap's records.
 *
 *   xl_heap_insert     offset number 0, flags 2
 *   xl_heap_delete     xmax 0, offset number 4, infobits 6, flags 7
 *   xl_heap_update     old xmax 0, old offset number 4, old infobits 6, flags 7, new xmax 8, new offset number 12
 *   xl_heap_truncate   database 0, count 4, flags 8, relations from 12
 *   xl_heap_confirm    offset number 0
 *   xl_heap_lock       xmax 0, offset number 4, infobits 6, flags 7
 *   xl_heap_inplace    offset number 0; 18: database 4, tablespace 8, relcache init file 12, count 16, invalidation messages from 20
 *
 * Source: src/backend/access/rmgrdesc/heapdesc.c, src/include/access/heapam_xlog.h. */
#include "heap_impl.h"

#define INFOBITS 6 /* of delete, update, lock and lock-updated */

static void flag_names(struct wa_describe *d, uint8_t flags, const char *const *names, unsigned count)
{
	bool some = false;
	wa_text_put(d->out, "[");
	for (unsigned i = 0; i < count; i++) {
		if (!(flags & 1u << i))
			continue;
		wa_text_put(d->out, "%s%s", some ? ", " : "", names[i]);
		some = true;
	}
	wa_text_put(d->out, "]");
}

void wa_describe_infobits(struct wa_describe *d)
{
	static const char *const names[] = {"IS_MULTI", "LOCK_ONLY", "EXCL_LOCK", "KEYSHR_LOCK", "KEYS_UPDATED"};
	uint8_t infobits = wa_describe_u8(d, INFOBITS);
	if (d->major >= 16)
		return flag_names(d, infobits, names, NF_ARRAY_LEN(names));
	for (unsigned i = 0; i < NF_ARRAY_LEN(names); i++)
		if (infobits & 1u << i)
			wa_text_put(d->out, "%s ", names[i]);
}

/* What follows the bits, of all records that have them at INFOBITS. */
static void after_infobits(struct wa_describe *d, const char *fields)
{
	struct nf_reader main = wa_describe_main(d, 0);
	wa_describe_infobits(d);
	wa_describe_fields(d, &main, fields);
}

void wa_describe_infobits_flags(struct wa_describe *d)
{
	after_infobits(d, ", flags: 0x{7:x8}");
}

static void update_13(struct wa_describe *d)
{
	after_infobits(d, "; new off {12:u16} xmax {8:u32}");
}

static void update_16(struct wa_describe *d)
{
	after_infobits(d, ", flags: 0x{7:x8}, new_xmax: {8:u32}, new_off: {12:u16}");
}

static struct nf_reader truncated(struct wa_describe *d, uint32_t *ret_count, uint8_t *ret_flags)
{
	struct nf_reader main = wa_describe_main(d, 4);
	*ret_count = nf_read_u32(&main);
	*ret_flags = nf_read_u8(&main);
	nf_read_bytes(&main, 3);
	wa_describe_check(d, &main);
	return main;
}

static void truncate_13(struct wa_describe *d)
{
	uint32_t count;
	uint8_t flags;
	struct nf_reader relations = truncated(d, &count, &flags);
	if (!wa_describe_has(d, &relations, count, 4))
		return;
	wa_text_put(d->out, "%s%snrelids %u relids", flags & 1 ? "cascade " : "", flags & 2 ? "restart_seqs " : "", count);
	for (uint32_t i = 0; i < count; i++)
		wa_text_put(d->out, " %u", nf_read_u32(&relations));
}

static void truncate_16(struct wa_describe *d)
{
	static const char *const names[] = {"CASCADE", "RESTART_SEQS"};
	uint32_t count;
	uint8_t flags;
	struct nf_reader relations = truncated(d, &count, &flags);
	wa_text_put(d->out, "flags: ");
	flag_names(d, flags, names, NF_ARRAY_LEN(names));
	wa_text_put(d->out, ", nrelids: %u, relids:", count);
	wa_describe_oids(d, &relations, count);
}

static void inplace_18(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 4);
	uint32_t db = nf_read_u32(&main), spc = nf_read_u32(&main);
	bool init_file = nf_read_u8(&main) != 0;
	nf_read_bytes(&main, 3);
	int32_t count = (int32_t)nf_read_u32(&main);
	wa_describe_check(d, &main);
	wa_describe_invalidations(d, &main, count, db, spc, init_file);
}

#define UPDATE_13 "off {4:u16} xmax {0:u32} flags 0x{7:x8} "
#define UPDATE_16 "old_xmax: {0:u32}, old_off: {4:u16}, old_infobits: "

static const struct wa_describe_row heap_rows[] = {
	{0x00, 13, 15, "off {0:u16} flags 0x{2:x8}", NULL}, /* INSERT */
	{0x00, 16, 18, "off: {0:u16}, flags: 0x{2:x8}", NULL},
	{0x10, 13, 15, "off {4:u16} flags 0x{7:x8} ", wa_describe_infobits}, /* DELETE */
	{0x10, 16, 18, "xmax: {0:u32}, off: {4:u16}, infobits: ", wa_describe_infobits_flags},
	{0x20, 13, 15, UPDATE_13, update_13}, /* UPDATE */
	{0x20, 16, 18, UPDATE_16, update_16},
	{0x30, 13, 15, NULL, truncate_13}, /* TRUNCATE */
	{0x30, 16, 18, NULL, truncate_16},
	{0x40, 13, 15, UPDATE_13, update_13}, /* HOT_UPDATE */
	{0x40, 16, 18, UPDATE_16, update_16},
	{0x50, 13, 15, "off {0:u16}", NULL}, /* CONFIRM */
	{0x50, 16, 18, "off: {0:u16}", NULL},
	{0x60, 13, 15, "off {4:u16}: xid {0:u32}: flags 0x{7:x8} ", wa_describe_infobits}, /* LOCK */
	{0x60, 16, 18, "xmax: {0:u32}, off: {4:u16}, infobits: ", wa_describe_infobits_flags},
	{0x70, 13, 15, "off {0:u16}", NULL}, /* INPLACE */
	{0x70, 16, 17, "off: {0:u16}", NULL},
	{0x70, 18, 18, "off: {0:u16}", inplace_18},
};
WA_DESCRIBE_ROWS(heap);
