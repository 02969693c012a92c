/* Base vocabulary shared by every layer: sizes, one-member integer structs, attributes.
 *
 * Integers that must not be mixed up are wrapped in one-member structs; the compiler then
 * refuses an epoch where a branch is wanted. Sizes are bytes unless the name says otherwise. */
#ifndef NF_BASE_H
#define NF_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NF_MUST_CHECK __attribute__((warn_unused_result))
#define NF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NF_UNUSED __attribute__((unused))

#define NF_BLOCK_SIZE 8192u /* unit of versioning and of atomic write */
#define NF_BLOCK_SHIFT 13
#define NF_IO_ALIGN 4096u /* alignment of every offset, length and buffer given to nf_io */

#define NF_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define NF_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline uint64_t nf_round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

#endif
