/* Layout of a map page (src/backend/access/heap/visibilitymap.c): two bits a heap block behind the page header, four blocks a byte. */
#include "tools/neonfs-wal/early_clear.h"

#include "walapply/redo/page.h"

#define BLOCKS_PER_BYTE 4
#define BLOCKS_PER_PAGE ((WA_PAGE_SIZE - WA_PAGE_HEADER) * BLOCKS_PER_BYTE)
#define BITS 2

static bool only_lacks_bits(const uint8_t *ours, const uint8_t *theirs)
{
	for (unsigned i = 0; i < WA_PAGE_SIZE; i++)
		if (ours[i] != theirs[i] && (i < WA_PAGE_HEADER || (ours[i] & theirs[i]) != theirs[i]))
			return false;
	return true;
}

bool wal_early_note(struct wal_early *early, const struct wa_record *record, const struct wa_ref *ref, const uint8_t *ours,
		    const uint8_t *theirs)
{
	unsigned count = early->count;
	if (!only_lacks_bits(ours, theirs))
		return false;
	for (unsigned i = WA_PAGE_HEADER; i < WA_PAGE_SIZE; i++)
		for (unsigned j = 0; ours[i] != theirs[i] && j < BLOCKS_PER_BYTE; j++) {
			uint8_t bits = (uint8_t)((ours[i] ^ theirs[i]) >> BITS * j & 3);
			if (bits == 0)
				continue;
			if (count == WAL_EARLY_MAX)
				return false;
			early->list[count++] = (struct wal_early_clear){
				.implied = {.block = ref->block,
					    .heap_blkno = ref->block.blkno * BLOCKS_PER_PAGE +
							  (i - WA_PAGE_HEADER) * BLOCKS_PER_BYTE + j,
					    .bits = bits},
				.lsn = record->lsn,
				.rmid = record->rmid,
				.info = record->info,
				.ref_id = ref->id,
			};
		}
	early->count = count;
	return true;
}

static bool clears(const struct wa_implied *implied, const struct wa_implied *noted)
{
	if (!wa_locator_equal(noted->block.rel, implied->block.rel))
		return false;
	if (implied->tail)
		return noted->block.blkno == implied->block.blkno && noted->heap_blkno >= implied->heap_blkno;
	return noted->heap_blkno == implied->heap_blkno;
}

void wal_early_explain(struct wal_early *early, const struct wa_implied *implied)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < early->count; i++) {
		struct wal_early_clear *one = &early->list[i];
		if (clears(implied, &one->implied))
			one->implied.bits &= (uint8_t)~implied->bits;
		if (one->implied.bits != 0)
			early->list[kept++] = *one;
	}
	early->count = kept;
}
