/* Descriptions of the managers with a type or two: Sequence, ReplicationOrigin, Generic, LogicalMessage.
 *
 *   xl_seq_rec           relation 0
 *   xl_replorigin_set    LSN 0, node 8, force 10
 *   xl_replorigin_drop   node 0
 *   Generic              for each block, offset and length (2 bytes each) and as many bytes; here the main data is taken for one such list
 *   xl_logical_message   database 0, transactional 4, prefix's size 8 (its NUL counted), message's size 16, prefix and message from 24
 *
 * Source: src/backend/access/rmgrdesc/{seqdesc,replorigindesc,genericdesc,logicalmsgdesc}.c and the headers of the managers. */
#include "describe_impl.h"

static void generic_delta(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	while (!main.failed && nf_reader_left(&main) > 0) {
		uint16_t offset = nf_read_u16(&main), length = nf_read_u16(&main);
		nf_read_bytes(&main, length);
		wa_text_put(d->out, "offset %u, length %u%s", offset, length, nf_reader_left(&main) > 0 ? "; " : "");
	}
	wa_describe_check(d, &main);
}

static void message_13(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 0);
	wa_text_put(d->out, wa_describe_u8(d, 4) != 0 ? "transactional" : "nontransactional");
	wa_describe_fields(d, &main, " message size {16:u64} bytes");
}

static void message_14(struct wa_describe *d)
{
	struct nf_reader main = wa_describe_main(d, 8);
	uint64_t prefix_size = nf_read_u64(&main), size = nf_read_u64(&main);
	wa_text_put(d->out, "%s, prefix \"", wa_describe_u8(d, 4) != 0 ? "transactional" : "non-transactional");
	wa_describe_string(d, &main, prefix_size);
	wa_text_put(d->out, "\"; payload (%" PRIu64 " bytes): ", size);
	wa_describe_check(d, &main);
	if (!wa_describe_has(d, &main, size, 1))
		return;
	for (uint64_t i = 0; i < size; i++)
		wa_text_put(d->out, "%s%02X", i > 0 ? " " : "", nf_read_u8(&main));
}

static const struct wa_describe_row seq_rows[] = {
	{0x00, 13, 18, "rel {0:rel}", NULL},
};
WA_DESCRIBE_ROWS(seq);

static const struct wa_describe_row replorigin_rows[] = {
	{0x00, 13, 18, "set {8:u16}; lsn {0:lsn}; force: {10:u8}", NULL}, /* SET */
	{0x10, 13, 18, "drop {0:u16}", NULL}, /* DROP */
};
WA_DESCRIBE_ROWS(replorigin);

static const struct wa_describe_row generic_rows[] = {
	{0x00, 13, 18, NULL, generic_delta},
};
WA_DESCRIBE_ROWS(generic);

static const struct wa_describe_row logicalmsg_rows[] = {
	{0x00, 13, 13, NULL, message_13},
	{0x00, 14, 18, NULL, message_14},
};
WA_DESCRIBE_ROWS(logicalmsg);
