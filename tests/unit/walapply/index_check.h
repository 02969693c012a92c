/* An index against a plain list of everything that the same records touch. cmocka's assertions fail the test that calls. */
#ifndef INDEX_CHECK_H
#define INDEX_CHECK_H

#include "walapply/index/wa_index.h"

struct index_check;

/* Takes records as a builder does. */
struct index_check *check_new(const struct wa_index_config *config);
void check_free(struct index_check *check);
void check_add(struct index_check *check, const struct wa_record *record);

/* The index of all records taken so far, checked in every way, with look-ups by the thousand from `seed` on. It is opened from a copy of exactly its size;
 * *ret_bytes is that copy, to be freed. `pieces` > 1: made of as many indexes, merged. */
void check_index(struct index_check *check, unsigned pieces, uint32_t seed, struct wa_index *ret_index, uint8_t **ret_bytes, size_t *ret_size);

#endif
