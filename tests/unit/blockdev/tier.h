/* What the unit tests of blockdev/tier include. */
#ifndef TIER_TEST_H
#define TIER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/nf_base.h"

#define assert_ok(call) assert_int_equal((call), 0)

/* Memory of exactly this size, so that a sanitizer sees a read behind it. */
static inline uint8_t *tier_copy(const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size);
	assert_true(size == 0 || copy != NULL);
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

#endif
