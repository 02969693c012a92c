/* What the fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "walapply/decode/wa_records.h"

/* libFuzzer calls it with each input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy in an allocation of exactly `size` bytes, so that AddressSanitizer sees the first byte beyond. */
static inline uint8_t *fuzz_copy(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);
	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

/* What must be true whatever the input. */
static inline void fuzz_expect(bool condition)
{
	if (!condition)
		abort();
}

#endif
