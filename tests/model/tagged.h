/* Blocks that describe themselves, and a store on memory to write them to.
 *
 * A tagged block holds its tag and its place, and every other byte follows from these two: a block that
 * is torn, mixed, or from another place is told from a good one without knowing what was written.
 * Tag 0 is a block of zeros. */
#ifndef TAGGED_H
#define TAGGED_H

#include "blockdev/bd.h"

void tagged_fill(uint8_t *block, uint64_t tag, uint64_t blkno);
/* The tag of a block that was read as `blkno`; false when it is none. */
NF_MUST_CHECK bool tagged_check(const uint8_t *block, uint64_t blkno, uint64_t *ret_tag);

/* A directory for an index; removed with everything in it by tagged_rmdir. Ends the program on failure. */
void tagged_mkdir(char path[256]);
void tagged_rmdir(const char *path);

/* A small deterministic generator. */
uint64_t tagged_random(uint64_t *state);

#endif
