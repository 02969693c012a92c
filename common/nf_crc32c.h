/* CRC32C (Castagnoli, reflected, polynomial 0x1EDC6F41): the checksum of Postgres's WAL records and control file.
 *
 * A CRC is kept in its finished form, so pieces are joined by giving the last result to the next call; nothing yet is 0. The CRC of
 * "123456789" is 0xE3069283. The fastest way of this machine is chosen when the program starts: the crc32 instructions of x86 (SSE 4.2) or
 * ARM (CRC extension) in three streams, else tables. Pure, thread-safe. */
#ifndef NF_CRC32C_H
#define NF_CRC32C_H

#include "nf_base.h"

/* The CRC of what `crc` covers followed by data[0 .. size). */
uint32_t nf_crc32c_extend(uint32_t crc, const void *data, size_t size);

static inline uint32_t nf_crc32c(const void *data, size_t size)
{
	return nf_crc32c_extend(0, data, size);
}

/* The same by tables alone: what machines without the instructions use; tests compare the two. */
uint32_t nf_crc32c_extend_table(uint32_t crc, const void *data, size_t size);

/* How nf_crc32c_extend works here: "sse4.2", "armv8-crc" or "table". */
const char *nf_crc32c_method(void);

#endif
