/* The checksum of a page: 32 FNV-1a-like hashes side by side over the page's words, folded together and mixed with the block number.
 * Source of the algorithm: src/include/storage/checksum_impl.h, the same in all majors here. */
#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"

#define SUMS 32
#define ROWS (WA_PAGE_SIZE / (4 * SUMS))
#define PRIME 16777619u
#define LANES 8
#define VECTORS (SUMS / LANES)

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

static const uint32_t start[SUMS] = {
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16,
	0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2,
	0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

/* The page's own checksum counts as 0. Compiled twice, for machines with and without vectors of 32 bytes. */
static inline __attribute__((always_inline)) uint32_t page_hash(const uint8_t *page)
{
	lanes sums[VECTORS];
	memcpy(sums, start, sizeof(sums));
	for (unsigned row = 0; row < ROWS + 2; row++) { /* two rounds of zeros end it */
		lanes words[VECTORS] = {0};
		if (row < ROWS)
			memcpy(words, page + row * sizeof(words), sizeof(words));
		if (row == 0)
			words[0][2] &= 0xFFFF0000;
		for (unsigned i = 0; i < VECTORS; i++) {
			lanes mixed = sums[i] ^ words[i];
			sums[i] = mixed * PRIME ^ mixed >> 17;
		}
	}
	uint32_t hash = 0;
	for (unsigned i = 0; i < SUMS; i++)
		hash ^= sums[i / LANES][i % LANES];
	return hash;
}

#if defined(__x86_64__)
static __attribute__((target("avx2"))) uint32_t page_hash_avx2(const uint8_t *page)
{
	return page_hash(page);
}
#endif

static uint32_t page_hash_plain(const uint8_t *page)
{
	return page_hash(page);
}

uint16_t wa_page_checksum(const uint8_t *page, uint32_t blkno)
{
#if defined(__x86_64__)
	uint32_t hash = __builtin_cpu_supports("avx2") ? page_hash_avx2(page) : page_hash_plain(page);
#else
	uint32_t hash = page_hash_plain(page);
#endif
	return (uint16_t)((hash ^ blkno) % 65535 + 1);
}

void wa_page_set_checksum(uint8_t *page, uint32_t blkno)
{
	if (!wa_page_is_new(page))
		wa_put16(page + 8, wa_page_checksum(page, blkno));
}
