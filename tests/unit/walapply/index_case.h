/* One record and one page, made by hand: what the unit tests of index redo start from, and how they break it on purpose.
 *
 * Every buffer is an allocation of exactly its size, so that a sanitizer sees a read or a write outside of it. */
#ifndef INDEX_CASE_H
#define INDEX_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "walapply/decode/wa_records.h"
#include "walapply/redo/index_tuple.h"

#define CASE_END 0x20000ull /* the record's end: pd_lsn afterwards */
#define CASE_TUPLE 16 /* bytes of a plain tuple: header and a key of 8 */

/* What the records of one resource manager have in common. */
struct case_family {
	uint8_t rmid;
	unsigned special; /* bytes of special space */
	wa_mask_fn mask;
};

struct index_case {
	struct wa_version version;
	const struct case_family *family;
	wa_redo_fn redo;
	struct wa_record record;
	struct wa_error error;
	uint8_t *page; /* of the block at hand, before and after */
};

/* `info` is the record's type, `redo` its function: called directly, so that a test links only what it needs. The page is an empty one. */
struct index_case *case_new(int major, const struct case_family *family, uint8_t info, wa_redo_fn redo);
void case_free(struct index_case *c);

void case_main(struct index_case *c, const void *bytes, size_t size);
void case_ref(struct index_case *c, unsigned id, uint32_t blkno, bool will_init, const void *data, size_t size);

/* Redo block `id` on the page. Returns what wa_redo_block does; the page's LSN is set back to 0 before. */
int case_run(struct index_case *c, unsigned id);

/* Mask `page` as one of the family. Returns what wa_mask does. */
int case_mask(struct index_case *c, uint8_t *page);

/* case_run, which must succeed and must set the LSN; and which must refuse. */
void case_redo(struct index_case *c, unsigned id);
void case_refuse(struct index_case *c, unsigned id);

/* Run block `id` many times with some bytes of page and record changed at random, and with the record cut short: each run is either
 * done, leaving a page whose header is in order, or refused in words. The case is as before afterwards. */
void case_mutate(struct index_case *c, unsigned id);

/* The special space: u32 at 0, 4, 8 and u16 at 12. */
uint32_t case_special32(const struct index_case *c, unsigned at);
unsigned case_flags(const struct index_case *c);
void case_set_special32(struct index_case *c, unsigned at, uint32_t value);
void case_set_flags(struct index_case *c, unsigned flags);

/* A tuple with heap TID (1, number) and a key of 8 bytes; CASE_TUPLE bytes at `to`. */
void make_tuple(uint8_t *to, unsigned number, uint64_t key);

/* A posting list tuple with those TIDs (1, number). Returns its size. */
unsigned make_posting(uint8_t *to, uint64_t key, unsigned count, const unsigned *numbers);

/* Append to the page. */
void add_tuple(struct index_case *c, unsigned number, uint64_t key);
void add_posting(struct index_case *c, uint64_t key, unsigned count, const unsigned *numbers);

/* Item `off` is a plain tuple, or a posting list, with that key and those TIDs. */
void expect_tuple(struct index_case *c, unsigned off, unsigned number, uint64_t key);
void expect_posting(struct index_case *c, unsigned off, uint64_t key, unsigned count, const unsigned *numbers);

#endif
