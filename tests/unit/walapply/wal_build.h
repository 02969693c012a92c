/* WAL made by hand, for tests of the reader and of what stands on it: records byte by byte, pages as Postgres lays them out.
 * Everything that a test may want to be wrong is left to it: build first, then change bytes (and wal_seal the record again). */
#ifndef WAL_BUILD_H
#define WAL_BUILD_H

#include "walapply/decode/wa_records.h"

#define WAL_TIMELINE 3u
#define WAL_SYSTEM_ID 0x6A1B2C3D4E5F6071ull
#define REL_A ((struct wa_locator){1663, 5, 16384})
#define REL_B ((struct wa_locator){1664, 0, 1262})

enum { PAGE_CONTINUES = 1, PAGE_LONG = 2, PAGE_OVERWRITES = 8 }; /* xlp_info */
enum { HAS_IMAGE = 0x10, HAS_DATA = 0x20, WILL_INIT = 0x40, SAME_REL = 0x80 }; /* fork_flags; the fork below */

/* A record under way: headers and payload are put together by rec_finish. */
struct rec {
	uint8_t rmid, info;
	uint32_t xid;
	uint8_t headers[2048];
	size_t headers_len;
	uint8_t *payload;
	size_t payload_len, payload_capacity;
	uint8_t *bytes; /* of rec_finish: `size` bytes in an allocation of exactly that size */
	size_t size;
};

void rec_start(struct rec *rec, uint8_t rmid, uint8_t info, uint32_t xid);
void rec_free(struct rec *rec);

/* Header bytes of any length, little-endian. */
void rec_head(struct rec *rec, uint64_t value, unsigned bytes);
void rec_payload(struct rec *rec, const void *bytes, size_t size);

/* A block without image. rel NULL = SAME_REL. `flags`: the fork and WILL_INIT. */
void rec_block(struct rec *rec, uint8_t id, const struct wa_locator *rel, unsigned flags, uint32_t blkno, const void *data, size_t size);

/* How an image stands in the record: bits as on disk; hole_len is written only when it is not 0 and packed. */
struct rec_image {
	uint16_t hole_offset, hole_len;
	uint8_t bits;
	bool packed;
	const uint8_t *bytes;
	uint16_t size;
};

void rec_block_image(struct rec *rec, uint8_t id, const struct wa_locator *rel, unsigned flags, uint32_t blkno,
		     const struct rec_image *image, const void *data, size_t size);

/* Main data, with the short header where it fits. */
void rec_main(struct rec *rec, const void *bytes, size_t size);

/* Make rec->bytes: length, checksum over everything with back link `prev`. */
void rec_finish(struct rec *rec, uint64_t prev);

/* Put the right checksum into a record. */
void wal_seal(uint8_t *record, size_t size);

struct wal {
	int major;
	uint32_t segment_size, timeline;
	uint64_t system_id;
	uint64_t begin;	 /* address of bytes[0]: a page's */
	uint64_t at;	 /* where the next record goes */
	uint64_t last;	 /* where the last one began */
	uint8_t *bytes;	 /* up to `at` */
	size_t capacity; /* zeros beyond */
};

void wal_start(struct wal *wal, int major, uint32_t segment_size, uint64_t begin, size_t capacity);
void wal_free(struct wal *wal);

/* Append the record (rec_finish is done here, and rec_free). Returns where it begins. */
uint64_t wal_put(struct wal *wal, struct rec *rec);

/* A record with `size` bytes of main data that tell of `xid`. */
uint64_t wal_put_plain(struct wal *wal, uint32_t xid, size_t size);

/* A segment switch: what follows goes to the next segment. */
uint64_t wal_put_switch(struct wal *wal);

/* Write a page's header at its address, with whatever flags. */
void wal_page_header(struct wal *wal, uint64_t page, unsigned flags, uint32_t rem_len);

static inline uint8_t *wal_byte(struct wal *wal, uint64_t lsn)
{
	return wal->bytes + (lsn - wal->begin);
}

/* Main data of wal_put_plain: what byte i is. */
static inline uint8_t wal_plain_byte(uint32_t xid, size_t i)
{
	return (uint8_t)(xid * 31 + i * 7 + (i >> 8));
}

#endif
