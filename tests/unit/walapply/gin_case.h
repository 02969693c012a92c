/* Pages and records of GIN, made by hand. A TID is the number block * 2048 + offset here. */
#ifndef GIN_CASE_H
#define GIN_CASE_H

#include "index_case.h"

#include "walapply/redo/gin_impl.h"

#define GIN_CASE_SEGMENT_MAX 4096

extern const struct case_family gin;

void make_tid(uint8_t *to, uint64_t tid);

/* A segment of those TIDs, at most GIN_CASE_SEGMENT_MAX bytes, packed by the plainest of code. Returns its size. */
unsigned make_segment(uint8_t *to, const uint64_t *tids, unsigned count);

/* The page becomes a posting tree leaf with those bytes of segments. */
void set_leaf(struct index_case *c, const uint8_t *segments, unsigned size);

/* It is one. */
void expect_leaf(struct index_case *c, const uint8_t *segments, unsigned size);

/* The page becomes an inner page of a posting tree with `count` items: child 100 + i, key 10 * i, for i from 1. */
void set_posting_items(struct index_case *c, unsigned count);
void make_posting_item(uint8_t *to, uint32_t child, uint64_t key);

/* Item `off` of an inner page. */
void expect_posting_item(struct index_case *c, unsigned off, uint32_t child, uint64_t key);

#endif
