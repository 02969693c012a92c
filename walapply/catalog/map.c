/* pg_filenode.map: file numbers of relations that must be found before any table can be read.
 *
 *     0 magic u32    4 count u32    8 a mapping: oid u32, file number u32; room for 62 (13 to 15) or 64 (16 to 18)    then CRC-32C of what is before
 *
 * Source: RelMapFile in src/backend/utils/cache/relmapper.c. */
#include "walapply/catalog/wa_catalog.h"

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"

#define MAGIC 0x592717u
#define HEADER 8u
#define MAPPING 8u
#define MAPPINGS_OLD 62u
#define MAPPINGS_NEW 64u
#define SIZE_OLD 512u /* four bytes of padding behind the CRC */
#define SIZE_NEW (HEADER + MAPPINGS_NEW * MAPPING + 4)

static int open_map(const uint8_t *bytes, size_t size, struct nf_reader *ret_mappings, uint32_t *ret_count)
{
	uint32_t room = size == SIZE_NEW ? MAPPINGS_NEW : MAPPINGS_OLD;
	if (size != SIZE_NEW && size != SIZE_OLD)
		return -EBADMSG;
	struct nf_reader r = nf_reader_init(bytes, size), tail = nf_reader_init(bytes, size);
	uint32_t magic = nf_read_u32(&r), count = nf_read_u32(&r);
	(void)nf_read_bytes(&tail, HEADER + room * MAPPING);
	if (magic != MAGIC || count > room || nf_read_u32(&tail) != nf_crc32c(bytes, HEADER + room * MAPPING))
		return -EBADMSG;
	*ret_mappings = r;
	*ret_count = count;
	return 0;
}

/* The other half of the mapping whose first (`by_oid`) or second number is `number`. */
static int find(const uint8_t *bytes, size_t size, bool by_oid, uint32_t number, uint32_t *ret_other)
{
	struct nf_reader r;
	uint32_t count;
	int status = open_map(bytes, size, &r, &count);
	for (uint32_t i = 0; status == 0 && i < count; i++) {
		uint32_t oid = nf_read_u32(&r), filenode = nf_read_u32(&r);
		if ((by_oid ? oid : filenode) != number)
			continue;
		*ret_other = by_oid ? filenode : oid;
		return 1;
	}
	return status;
}

int wa_catalog_map(const uint8_t *bytes, size_t size, uint32_t oid, uint32_t *ret_filenode)
{
	return find(bytes, size, true, oid, ret_filenode);
}

int wa_catalog_map_oid(const uint8_t *bytes, size_t size, uint32_t filenode, uint32_t *ret_oid)
{
	return find(bytes, size, false, filenode, ret_oid);
}
