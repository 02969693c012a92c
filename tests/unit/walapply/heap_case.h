/* Heap tuples, and pages of the visibility map, for the unit tests of heap redo; records and pages are those of index_case.h. */
#ifndef HEAP_CASE_H
#define HEAP_CASE_H

#include "index_case.h"
#include "walapply/redo/heap_impl.h"

#define CASE_XID 1000u /* the record's transaction */
#define CASE_BLOCK 7u  /* the heap block that most records are about */

extern const struct case_family heap_family, heap2_family;

/* A case with the record's transaction set. */
struct index_case *heap_case(int major, const struct case_family *family, uint8_t info, wa_redo_fn redo);

/* Append a tuple (xmin 900, infomask2 2, hoff 24) with `data`, and return its offset number. */
unsigned heap_case_tuple(struct index_case *c, uint16_t infomask, const char *data);

/* Tuple `off` of the page, which must be there. Its length is *ret_len where that is not NULL. */
uint8_t *heap_case_find(struct index_case *c, unsigned off, unsigned *ret_len);

/* Tuple `off` has this data from byte 24 on. */
void heap_case_expect(struct index_case *c, unsigned off, const char *data);

/* Where tuple `off`'s ctid leads. */
void heap_case_expect_ctid(struct index_case *c, unsigned off, uint32_t blkno, unsigned number);

/* Write a tuple header of a record: 5 bytes, hoff 24, then the null bitmap's padding byte. Returns 6. */
unsigned heap_case_header(uint8_t *to, uint16_t infomask2, uint16_t infomask);

/* Name a page of the visibility map. */
void heap_case_map_ref(struct index_case *c, unsigned id, uint32_t blkno);

/* The page at hand becomes one of the visibility map, with those bits of heap block `blkno` set and all those of its neighbours. */
void heap_case_map_page(struct index_case *c, uint32_t blkno, unsigned bits);

/* It has exactly those bits of `blkno` now, the neighbours' as before. */
void heap_case_expect_map(struct index_case *c, uint32_t blkno, unsigned bits);

#endif
