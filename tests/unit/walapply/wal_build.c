#include "wal_build.h"

#include <stdlib.h>
#include <string.h>

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"

void rec_start(struct rec *rec, uint8_t rmid, uint8_t info, uint32_t xid)
{
	memset(rec, 0, sizeof(*rec));
	rec->rmid = rmid;
	rec->info = info;
	rec->xid = xid;
}

void rec_free(struct rec *rec)
{
	free(rec->payload);
	free(rec->bytes);
	rec->payload = rec->bytes = NULL;
}

void rec_head(struct rec *rec, uint64_t value, unsigned bytes)
{
	assert(rec->headers_len + bytes <= sizeof(rec->headers));
	for (unsigned i = 0; i < bytes; i++, value >>= 8)
		rec->headers[rec->headers_len++] = (uint8_t)value;
}

void rec_payload(struct rec *rec, const void *bytes, size_t size)
{
	if (size == 0)
		return;
	if (rec->payload_len + size > rec->payload_capacity) {
		rec->payload_capacity = 2 * (rec->payload_len + size);
		rec->payload = realloc(rec->payload, rec->payload_capacity);
		assert(rec->payload != NULL);
	}
	memcpy(rec->payload + rec->payload_len, bytes, size);
	rec->payload_len += size;
}

static void put_place(struct rec *rec, const struct wa_locator *rel, uint32_t blkno)
{
	if (rel != NULL) {
		rec_head(rec, rel->spc, 4);
		rec_head(rec, rel->db, 4);
		rec_head(rec, rel->rel, 4);
	}
	rec_head(rec, blkno, 4);
}

void rec_block(struct rec *rec, uint8_t id, const struct wa_locator *rel, unsigned flags, uint32_t blkno, const void *data, size_t size)
{
	rec_head(rec, id, 1);
	rec_head(rec, flags | (size > 0 ? HAS_DATA : 0) | (rel == NULL ? SAME_REL : 0), 1);
	rec_head(rec, size, 2);
	put_place(rec, rel, blkno);
	rec_payload(rec, data, size);
}

void rec_block_image(struct rec *rec, uint8_t id, const struct wa_locator *rel, unsigned flags, uint32_t blkno,
		     const struct rec_image *image, const void *data, size_t size)
{
	rec_head(rec, id, 1);
	rec_head(rec, flags | HAS_IMAGE | (size > 0 ? HAS_DATA : 0) | (rel == NULL ? SAME_REL : 0), 1);
	rec_head(rec, size, 2);
	rec_head(rec, image->size, 2);
	rec_head(rec, image->hole_offset, 2);
	rec_head(rec, image->bits, 1);
	if (image->packed && image->hole_len > 0)
		rec_head(rec, image->hole_len, 2);
	put_place(rec, rel, blkno);
	rec_payload(rec, image->bytes, image->size);
	rec_payload(rec, data, size);
}

void rec_main(struct rec *rec, const void *bytes, size_t size)
{
	rec_head(rec, size < 256 ? 255 : 254, 1);
	rec_head(rec, size, size < 256 ? 1 : 4);
	rec_payload(rec, bytes, size);
}

void wal_seal(uint8_t *record, size_t size)
{
	uint32_t crc = nf_crc32c(record + WA_RECORD_HEADER, size - WA_RECORD_HEADER);
	crc = htole32(nf_crc32c_extend(crc, record, 20));
	memcpy(record + 20, &crc, 4);
}

void rec_finish(struct rec *rec, uint64_t prev)
{
	free(rec->bytes);
	rec->size = WA_RECORD_HEADER + rec->headers_len + rec->payload_len;
	rec->bytes = malloc(rec->size);
	assert(rec->bytes != NULL);
	struct nf_writer out = nf_writer_init(rec->bytes, rec->size);
	nf_write_u32(&out, (uint32_t)rec->size);
	nf_write_u32(&out, rec->xid);
	nf_write_u64(&out, prev);
	nf_write_u8(&out, rec->info);
	nf_write_u8(&out, rec->rmid);
	nf_write_u16(&out, 0);
	nf_write_u32(&out, 0);
	nf_write_bytes(&out, rec->headers, rec->headers_len);
	nf_write_bytes(&out, rec->payload, rec->payload_len);
	assert(!out.failed);
	wal_seal(rec->bytes, rec->size);
}

void wal_start(struct wal *wal, int major, uint32_t segment_size, uint64_t begin, size_t capacity)
{
	assert(begin % WA_PAGE_SIZE == 0);
	*wal = (struct wal){.major = major,
			    .segment_size = segment_size,
			    .timeline = WAL_TIMELINE,
			    .system_id = WAL_SYSTEM_ID,
			    .begin = begin,
			    .at = begin,
			    .bytes = calloc(1, capacity),
			    .capacity = capacity};
	assert(wal->bytes != NULL);
}

void wal_free(struct wal *wal)
{
	free(wal->bytes);
}

void wal_page_header(struct wal *wal, uint64_t page, unsigned flags, uint32_t rem_len)
{
	static const uint16_t magics[] = {0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118};
	assert(page - wal->begin + 40 <= wal->capacity);
	struct nf_writer out = nf_writer_init(wal_byte(wal, page), 40);
	nf_write_u16(&out, magics[wal->major - 13]);
	nf_write_u16(&out, (uint16_t)flags);
	nf_write_u32(&out, wal->timeline);
	nf_write_u64(&out, page);
	nf_write_u32(&out, rem_len);
	nf_write_u32(&out, 0);
	if (!(flags & PAGE_LONG))
		return;
	nf_write_u64(&out, wal->system_id);
	nf_write_u32(&out, wal->segment_size);
	nf_write_u32(&out, WA_PAGE_SIZE);
}

/* At a page's start: its header, with rem_len bytes of a record to come. */
static void enter_page(struct wal *wal, size_t rem_len)
{
	if (wal->at % WA_PAGE_SIZE != 0)
		return;
	unsigned flags = (rem_len > 0 ? PAGE_CONTINUES : 0) | (wal->at % wal->segment_size == 0 ? PAGE_LONG : 0);
	wal_page_header(wal, wal->at, flags, (uint32_t)rem_len);
	wal->at += flags & PAGE_LONG ? 40 : 24;
}

uint64_t wal_put(struct wal *wal, struct rec *rec)
{
	enter_page(wal, 0);
	uint64_t start = wal->at;
	rec_finish(rec, wal->last);
	for (size_t done = 0; done < rec->size;) {
		if (done > 0)
			enter_page(wal, rec->size - done);
		size_t room = WA_PAGE_SIZE - wal->at % WA_PAGE_SIZE;
		size_t count = NF_MIN(room, rec->size - done);
		assert(wal->at - wal->begin + count <= wal->capacity);
		memcpy(wal_byte(wal, wal->at), rec->bytes + done, count);
		done += count;
		wal->at += count;
	}
	wal->at = nf_round_up(wal->at, 8);
	wal->last = start;
	rec_free(rec);
	return start;
}

uint64_t wal_put_plain(struct wal *wal, uint32_t xid, size_t size)
{
	struct rec rec;
	rec_start(&rec, WA_RMGR_XLOG, 0x20, xid);
	uint8_t *main = malloc(size + 1);
	assert(main != NULL);
	for (size_t i = 0; i < size; i++)
		main[i] = wal_plain_byte(xid, i);
	rec_main(&rec, main, size);
	free(main);
	return wal_put(wal, &rec);
}

uint64_t wal_put_switch(struct wal *wal)
{
	struct rec rec;
	rec_start(&rec, WA_RMGR_XLOG, 0x40, 0);
	uint64_t start = wal_put(wal, &rec);
	wal->at = nf_round_up(wal->at, wal->segment_size);
	return start;
}
