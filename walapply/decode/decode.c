/* A record from its bytes.
 *
 *   0 xl_tot_len u32   4 xl_xid u32   8 xl_prev u64   16 xl_info u8   17 xl_rmid u8   18 zero u16   20 xl_crc u32
 *   24 headers, unaligned, one after another, the main data's last:
 *      id 0-32  a block: flags u8, data_len u16; with an image: image_len u16, hole_offset u16, image flags u8, and hole_len u16 if it is
 *               packed and has a hole; a locator of 12 bytes unless SAME_REL; block number u32
 *      252      top-level xid u32 (14+)       253  origin u16
 *      254      length of main data u32       255  the same u8
 *   then, in the order of the headers: each block's image and data; the main data.
 *
 * Source: src/include/access/xlogrecord.h; DecodeXLogRecord in src/backend/access/transam/xlogreader.c. Postgres 13 and 14 have other
 * image flags than 15 and later. Beyond Postgres's checks: forks, holes and image lengths must fit a page, and flags that no version
 * known has are refused, since they may stand for a format that would be misread. */
#include "walapply/decode/wa_decode.h"

#include <string.h>

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"
#include "walapply/decode/wa_records.h"

#define ID_DATA_SHORT 255
#define ID_DATA_LONG 254
#define ID_ORIGIN 253
#define ID_TOP_XID 252

#define BLOCK_FORK 0x0F
#define BLOCK_HAS_IMAGE 0x10
#define BLOCK_HAS_DATA 0x20
#define BLOCK_WILL_INIT 0x40
#define BLOCK_SAME_REL 0x80

#define IMAGE_HAS_HOLE 0x01
#define IMAGE_PGLZ_OLD 0x02 /* 13, 14 */
#define IMAGE_APPLY_OLD 0x04
#define IMAGE_APPLY 0x02 /* 15+ */
#define IMAGE_PGLZ 0x04
#define IMAGE_LZ4 0x08
#define IMAGE_ZSTD 0x10

#define CRC_OFFSET 20u
#define REF_HEAD_SIZE 3u
#define LOCATOR_SIZE 12u

/* A decoding under way. */
struct work {
	struct nf_reader headers;
	struct wa_record *record;
	struct wa_error *error;
	uint64_t payload; /* bytes that the headers so far announce */
	bool have_rel;
	struct wa_locator rel;
	int major;
};

bool wa_record_crc_ok(const uint8_t *record, uint32_t tot_len)
{
	uint32_t stored;
	memcpy(&stored, record + CRC_OFFSET, 4);
	uint32_t crc = nf_crc32c(record + WA_RECORD_HEADER, tot_len - WA_RECORD_HEADER);
	return nf_crc32c_extend(crc, record, CRC_OFFSET) == le32toh(stored);
}

/* The image flags of this major, in our words. */
static int decode_image_flags(struct work *work, struct wa_ref *ref, uint8_t flags)
{
	uint8_t apply = work->major >= 15 ? IMAGE_APPLY : IMAGE_APPLY_OLD;
	uint8_t packed = flags & (uint8_t) ~(IMAGE_HAS_HOLE | apply);
	ref->apply_image = (flags & apply) != 0;
	if (packed == 0)
		ref->compression = WA_PLAIN;
	else if (packed == (work->major >= 15 ? IMAGE_PGLZ : IMAGE_PGLZ_OLD))
		ref->compression = WA_PGLZ;
	else if (work->major >= 15 && packed == IMAGE_LZ4)
		ref->compression = WA_LZ4;
	else if (work->major >= 15 && packed == IMAGE_ZSTD)
		ref->compression = WA_ZSTD;
	else
		return wa_bad(work->error, work->record->lsn, "block reference %u: image flags %02X are not those of Postgres %d",
			      ref->id, flags, work->major);
	return 0;
}

static int check_image(struct work *work, const struct wa_ref *ref, bool has_hole)
{
	bool plain = ref->compression == WA_PLAIN;
	bool fits = ref->image_len > 0 && ref->image_len <= WA_PAGE_SIZE && ref->hole_offset + ref->hole_len <= (int)WA_PAGE_SIZE;
	if (has_hole)
		fits = fits && ref->hole_offset > 0 && ref->hole_len > 0 && ref->hole_len < WA_PAGE_SIZE;
	else
		fits = fits && ref->hole_offset == 0 && ref->hole_len == 0;
	if (!plain)
		fits = fits && ref->image_len < WA_PAGE_SIZE;
	if (!fits)
		return wa_bad(work->error, work->record->lsn,
			      "block reference %u: an image of %u bytes with %s of %u bytes at %u is not a page's", ref->id,
			      ref->image_len, has_hole ? "a hole" : "no hole, but", ref->hole_len, ref->hole_offset);
	return 0;
}

static int decode_image(struct work *work, struct wa_ref *ref)
{
	ref->image_len = nf_read_u16(&work->headers);
	ref->hole_offset = nf_read_u16(&work->headers);
	uint8_t flags = nf_read_u8(&work->headers);
	if (work->headers.failed)
		return 0; /* the caller reports it */
	int status = decode_image_flags(work, ref, flags);
	if (status < 0)
		return status;
	bool has_hole = (flags & IMAGE_HAS_HOLE) != 0;
	if (ref->compression == WA_PLAIN)
		ref->hole_len = ref->image_len <= WA_PAGE_SIZE ? (uint16_t)(WA_PAGE_SIZE - ref->image_len) : 0;
	else
		ref->hole_len = has_hole ? nf_read_u16(&work->headers) : 0;
	if (work->headers.failed)
		return 0;
	work->payload += ref->image_len;
	return check_image(work, ref, has_hole);
}

static inline uint16_t load16(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t load32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static inline uint64_t load64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

static void decode_locator(struct work *work, struct wa_ref *ref)
{
	const uint8_t *at = nf_read_bytes(&work->headers, LOCATOR_SIZE);
	if (at == NULL)
		return;
	work->rel = (struct wa_locator){load32(at), load32(at + 4), load32(at + 8)};
	work->have_rel = true;
	ref->block.rel = work->rel;
}

/* A block's header. Running out of bytes is left in headers.failed. */
static int decode_ref(struct work *work, uint8_t id)
{
	struct wa_record *record = work->record;
	if (record->ref_count > 0 && id <= record->refs[record->ref_count - 1].id)
		return wa_bad(work->error, record->lsn, "block reference %u comes after block reference %u", id,
			      record->refs[record->ref_count - 1].id);
	const uint8_t *head = nf_read_bytes(&work->headers, REF_HEAD_SIZE);
	if (head == NULL)
		return 0;
	struct wa_ref *ref = &record->refs[record->ref_count++];
	uint8_t flags = head[0];
	*ref = (struct wa_ref){.id = id};
	ref->block.fork = flags & BLOCK_FORK;
	ref->will_init = (flags & BLOCK_WILL_INIT) != 0;
	ref->has_image = (flags & BLOCK_HAS_IMAGE) != 0;
	ref->data_len = load16(head + 1);
	work->payload += ref->data_len;
	if (ref->block.fork >= WA_FORKS)
		return wa_bad(work->error, record->lsn, "block reference %u: there is no fork %u", id, ref->block.fork);
	if (((flags & BLOCK_HAS_DATA) != 0) != (ref->data_len > 0))
		return wa_bad(work->error, record->lsn, "block reference %u: %u bytes of data, but its flags are %02X", id,
			      ref->data_len, flags);
	if (ref->has_image) {
		int status = decode_image(work, ref);
		if (status < 0)
			return status;
	}
	if (!(flags & BLOCK_SAME_REL))
		decode_locator(work, ref);
	else if (work->have_rel)
		ref->block.rel = work->rel;
	else
		return wa_bad(work->error, record->lsn,
			      "block reference %u: the same relation as before, but there is none before", id);
	ref->block.blkno = nf_read_u32(&work->headers);
	return 0;
}

/* All headers. They end with the main data's length, or where what is left is as much as they announce. */
static int decode_headers(struct work *work)
{
	struct wa_record *record = work->record;
	while (!work->headers.failed && nf_reader_left(&work->headers) > work->payload) {
		uint8_t id = nf_read_u8(&work->headers);
		if (id == ID_DATA_SHORT || id == ID_DATA_LONG) {
			record->main_len = id == ID_DATA_SHORT ? nf_read_u8(&work->headers) : nf_read_u32(&work->headers);
			work->payload += record->main_len;
			break;
		}
		if (id < WA_BLOCKS_MAX) {
			int status = decode_ref(work, id);
			if (status < 0)
				return status;
		} else if (id == ID_ORIGIN) {
			record->origin = nf_read_u16(&work->headers);
		} else if (id == ID_TOP_XID && work->major >= 14) {
			record->top_xid = nf_read_u32(&work->headers);
		} else {
			return wa_bad(work->error, record->lsn, "there is no block reference %u", id);
		}
	}
	if (work->headers.failed || nf_reader_left(&work->headers) != work->payload)
		return wa_bad(work->error, record->lsn, "its headers announce %llu bytes of data, but %zu follow",
			      (unsigned long long)work->payload, nf_reader_left(&work->headers));
	return 0;
}

/* Lead the pointers to what follows the headers; the lengths have been checked together. */
static void place_payload(struct wa_record *record, const uint8_t *at)
{
	for (struct wa_ref *ref = record->refs; ref < record->refs + record->ref_count; ref++) {
		if (ref->has_image) {
			ref->image = at;
			at += ref->image_len;
		}
		if (ref->data_len > 0) {
			ref->data = at;
			at += ref->data_len;
		}
	}
	record->main = at;
}

int wa_decode_record(int major, const uint8_t *bytes, size_t size, struct nf_lsn lsn, struct wa_record *ret_record,
		     struct wa_error *error)
{
	struct work work = {.headers = nf_reader_init(bytes, size), .record = ret_record, .error = error, .major = major};
	const uint8_t *header = nf_read_bytes(&work.headers, WA_RECORD_HEADER);
	if (header == NULL)
		return wa_bad(error, lsn, "a record of %zu bytes has no whole header", size);
	if (load32(header) != size)
		return wa_bad(error, lsn, "a record of %u bytes is said to have %zu", load32(header), size);
	ret_record->lsn = lsn;
	ret_record->timeline = 0;
	ret_record->tot_len = (uint32_t)size;
	ret_record->bytes = bytes;
	ret_record->xid = load32(header + 4);
	ret_record->prev.v = load64(header + 8);
	ret_record->info = header[16];
	ret_record->rmid = header[17];
	ret_record->end.v = lsn.v + nf_round_up(size, 8);
	ret_record->top_xid = 0;
	ret_record->origin = 0;
	ret_record->main_len = 0;
	ret_record->ref_count = 0;
	int status = decode_headers(&work);
	if (status < 0)
		return status;
	place_payload(ret_record, bytes + work.headers.offset);
	return 0;
}
