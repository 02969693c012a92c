/* Fuzz target: the reader and the decoder, and all that works on records alone.
 *
 * An input that begins with a WAL page's magic is WAL from that page on; its last byte tells in what pieces it is fed. Any other input is a record as
 * wa_decode_record takes it: its first byte tells the major, and the length in its header is set right, as is the checksum nowhere looked at. */
#include "fuzz.h"

#include "walapply/decode/wa_decode.h"
#include "walapply/decode/wa_image.h"
#include "walapply/decode/wa_reader.h"
#include "walapply/describe/wa_describe.h"
#include "walapply/redo/wa_redo.h"
#include "walapply/state/wa_counters.h"

static int take_op(void *arg, const struct wa_state_op *op)
{
	(void)arg;
	volatile uint8_t sum = 0;
	if (op->kind == WA_OP_PREPARE)
		for (uint32_t i = 0; i < op->prepare.size; i++)
			sum = (uint8_t)(sum + op->prepare.data[i]);
	if (op->kind == WA_OP_XACT)
		for (uint32_t i = 0; i < 4 * op->xact.sub.count; i++)
			sum = (uint8_t)(sum + op->xact.sub.xids[i]);
	if (op->kind == WA_OP_REL_DROP)
		for (uint32_t i = 0; i < 12 * op->drop.count; i++)
			sum = (uint8_t)(sum + op->drop.locators[i]);
	return 0;
}

static void use_record(int major, const struct wa_record *record)
{
	static uint8_t page[WA_PAGE_SIZE];
	const struct wa_version version = {.major = major};
	struct wa_implied implied[WA_IMPLIED_MAX];
	struct wa_counters counters = {.next_xid = 700};
	struct wa_error error;
	fuzz_expect(record->ref_count <= WA_BLOCKS_MAX);
	for (unsigned i = 0; i < record->ref_count; i++)
		if (record->refs[i].has_image)
			(void)!wa_image_restore(&record->refs[i], record->lsn, page, &error);
	fuzz_expect(wa_implied_blocks(&version, record, implied, &error) <= WA_IMPLIED_MAX);
	(void)!wa_state_ops(&version, record, take_op, NULL, &error);
	(void)!wa_counters_advance(&counters, &version, record, &error);
	char text[512];
	struct wa_text out = wa_text_init(text, sizeof(text));
	(void)!wa_describe(&version, record, &out, &error);
	wa_describe_name(major, record->rmid, record->info, &out);
	fuzz_expect(strnlen(text, sizeof(text)) < sizeof(text));
}

static void read_wal(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7, 100, 8192, 4096};
	size_t piece = pieces[data[size - 1] % NF_ARRAY_LEN(pieces)];
	struct wa_reader_config config = {.segment_size = 16u << 20, .find = true};
	struct wa_reader *reader;
	const struct wa_record *record;
	uint8_t *fed = NULL;
	int status;
	memcpy(&config.start.v, data + 8, 8);
	config.start.v -= config.start.v % WA_PAGE_SIZE;
	uint64_t begin = config.start.v, last = 0;
	if (wa_reader_new(&config, &reader) != 0)
		return;
	while ((status = wa_reader_next(reader, &record)) >= 0) {
		if (status == 1) {
			fuzz_expect(record->lsn.v > last && record->end.v > record->lsn.v);
			last = record->lsn.v;
			use_record(wa_reader_major(reader), record);
			continue;
		}
		uint64_t at = wa_reader_wanted(reader).v - begin;
		if (at >= size)
			break;
		size_t count = NF_MIN(piece, size - (size_t)at);
		free(fed);
		fed = fuzz_copy(data + at, count);
		fuzz_expect(wa_reader_feed(reader, (struct nf_lsn){begin + at}, fed, count) == 0);
	}
	wa_reader_end(reader);
	wa_reader_free(reader);
	free(fed);
}

static void decode_one(const uint8_t *data, size_t size)
{
	static struct wa_record record;
	struct wa_error error;
	int major = WA_MAJOR_MIN + data[0] % (WA_MAJOR_MAX - WA_MAJOR_MIN + 1);
	uint8_t *bytes = fuzz_copy(data, size);
	memcpy(bytes, &(uint32_t){(uint32_t)size}, 4);
	(void)!wa_record_crc_ok(bytes, (uint32_t)size);
	if (wa_decode_record(major, bytes, size, (struct nf_lsn){0x3000028}, &record, &error) == 0)
		use_record(major, &record);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < WA_RECORD_HEADER)
		return 0;
	if (wa_major_of_magic((uint16_t)(data[0] | data[1] << 8)) != 0)
		read_wal(data, size);
	else
		decode_one(data, size);
	return 0;
}
