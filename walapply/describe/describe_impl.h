/* What the descriptions share: rows of a table for what is fixed, small functions for lists and conditions.
 *
 * A row's `fields` is the text with the record's fields in braces, {OFFSET:KIND}, OFFSET in decimal from the start of the main data:
 *   u8 u16 u32 u64 unsigned decimal            lsn    u64 as "16/B374D848"
 *   i8 i32 i64    signed decimal               fxid   u64 as "EPOCH:XID"
 *   x8            two hexadecimal digits       rel    three u32 as "1663/5/1234"
 *   tf            a byte as T or F             path   three u32 as "base/5/1234"
 *   bool          a byte as true or false      time   i64 as "2026-11-24 01:34:00.123456 UTC"
 *   on            a byte as on or off          tid    block number and u16 as "1/2"
 *   g f           a double as %g or %f         blk    block number in two halves of u16, the high one first
 *   level         i32, a name of wal_level
 * A row's `rest` appends what follows. Either may be missing. A type without a row has an empty description. */
#ifndef WA_DESCRIBE_IMPL_H
#define WA_DESCRIBE_IMPL_H

#include "common/nf_cursor.h"
#include "wa_describe.h"
#include "walapply/decode/wa_records.h"

struct wa_describe {
	int major;
	const struct wa_record *record;
	struct wa_text *out;
	bool failed; /* something did not fit; sticky */
};

struct wa_describe_row {
	uint8_t op; /* bits of xl_info in the manager's mask */
	uint8_t first, last; /* majors */
	const char *fields;
	void (*rest)(struct wa_describe *d);
};

struct wa_describe_rows {
	const struct wa_describe_row *rows;
	size_t count;
};

/* Make rows known under their manager's name: MANAGER_rows. */
#define WA_DESCRIBE_ROWS(manager)                                                                                                \
	const struct wa_describe_rows wa_describe_##manager = {manager##_rows, NF_ARRAY_LEN(manager##_rows)}

#define WA_DESCRIBE_DECLARE(id, symbol, name, op_mask, describe, mask)                                                           \
	extern const struct wa_describe_rows wa_describe_##describe;
WA_RMGRS(WA_DESCRIBE_DECLARE)
#undef WA_DESCRIBE_DECLARE

/* The main data from `offset` on; empty and failed where there is less. */
struct nf_reader wa_describe_main(const struct wa_describe *d, size_t offset);

/* The data of block reference `id`; empty and failed where the record has none. */
struct nf_reader wa_describe_block(const struct wa_describe *d, unsigned id);

/* To be called when done with a cursor: a read that did not fit makes the whole description fail. */
void wa_describe_check(struct wa_describe *d, const struct nf_reader *reader);

/* A byte of the main data; 0 and failed where there is less. */
uint8_t wa_describe_u8(struct wa_describe *d, size_t offset);

/* Whether `count` elements of `size` bytes are left: to be asked before every loop over a count that the record gives. */
bool wa_describe_has(struct wa_describe *d, const struct nf_reader *reader, uint64_t count, size_t size);

/* Append a text with fields in braces, read from the bytes of `from`, offset 0 being its current place. */
void wa_describe_fields(struct wa_describe *d, const struct nf_reader *from, const char *fields);

/* Append `text` where any bit of `mask` is set in the byte at `offset` of the main data. */
void wa_describe_flag(struct wa_describe *d, size_t offset, uint8_t mask, const char *text);

/* Append the path of a relation's fork below the data directory, as the server names it. */
void wa_describe_path(struct wa_describe *d, struct wa_locator rel, uint32_t fork);

/* Append a time; microseconds since 2000-01-01 UTC. */
void wa_describe_time(struct wa_describe *d, int64_t time_us);

/* Append a string that ends with a NUL or with its field, and step over the field. */
void wa_describe_string(struct wa_describe *d, struct nf_reader *from, size_t field_size);

/* Append " [1, 2, 3]" of `count` elements: how 16 and later print arrays (src/backend/access/rmgrdesc/rmgrdesc_utils.c). */
void wa_describe_offsets(struct wa_describe *d, struct nf_reader *from, uint32_t count);
void wa_describe_oids(struct wa_describe *d, struct nf_reader *from, uint32_t count);

/* Append the shared invalidation messages of a record (standby.c), `count` of 16 bytes each. */
void wa_describe_invalidations(struct wa_describe *d, struct nf_reader *from, int32_t count, uint32_t db, uint32_t spc,
			       bool init_file);

struct wa_locator wa_describe_locator(struct nf_reader *from);

#endif
