/* Fuzz target: the redo functions of one family, FUZZ_RMGRS, and its masks.
 *
 *   0 major - 13 u8   1 number of the block reference u8   2 flags u8 (1 checksums, 2 wal_log_hints)   3 zero u8
 *   4 length of the record u16   6 lower u16   8 upper u16   10 the record   then bytes 0 .. lower and upper .. 8192 of the page
 *
 * The record is decoded without a look at its checksum; its manager is made one of the family's. Images that would be applied are not, or redo would
 * never run. The page is redone twice, from two copies, which must come out the same; a page whose header was sound must come out sound,
 * or new, that is all zeros. */
#include "fuzz.h"

#include "walapply/decode/wa_decode.h"
#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"

#define HEADER 10u

static const uint8_t rmgrs[] = {FUZZ_RMGRS};

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static void unpack_page(const uint8_t *bytes, size_t size, unsigned lower, unsigned upper, uint8_t *page)
{
	lower = NF_MIN(lower, WA_PAGE_SIZE);
	upper = NF_MAX(NF_MIN(upper, WA_PAGE_SIZE), lower);
	memset(page, 0, WA_PAGE_SIZE);
	size_t first = NF_MIN(size, (size_t)lower), second = NF_MIN(size - first, (size_t)(WA_PAGE_SIZE - upper));
	memcpy(page, bytes, first);
	memcpy(page + upper, bytes + first, second);
}

static void redo(const struct wa_version *version, const struct wa_record *record, const struct wa_ref *ref, uint8_t *page)
{
	struct wa_error error = {0}, again = {0};
	uint8_t *twin = fuzz_copy(page, WA_PAGE_SIZE);
	bool was_sound = wa_page_check(page) == 0;
	int outcome = wa_redo_block(version, record, ref, page, &error);
	fuzz_expect(outcome == WA_SKIPPED || outcome == WA_REDONE || outcome == -EBADMSG || outcome == -ENOTSUP);
	fuzz_expect(wa_redo_block(version, record, ref, twin, &again) == outcome);
	if (outcome < 0)
		fuzz_expect(error.text[0] != '\0' && error.lsn.v == record->lsn.v);
	else
		fuzz_expect(memcmp(page, twin, WA_PAGE_SIZE) == 0);
	if (outcome == WA_REDONE && was_sound)
		fuzz_expect(wa_page_check(page) == 0 || wa_page_upper(page) == 0);
	free(twin);
	(void)!wa_mask(version, record->rmid, ref->block.blkno, page, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct wa_record record;
	struct wa_error error;
	if (size < HEADER + WA_RECORD_HEADER)
		return 0;
	const struct wa_version version = {.major = WA_MAJOR_MIN + data[0] % (WA_MAJOR_MAX - WA_MAJOR_MIN + 1),
					   .checksums = data[2] & 1,
					   .log_hints = data[2] & 2};
	size_t record_size = NF_MIN((size_t)get16(data + 4), size - HEADER);
	if (record_size < WA_RECORD_HEADER)
		return 0;
	uint8_t *bytes = fuzz_copy(data + HEADER, record_size);
	memcpy(bytes, &(uint32_t){(uint32_t)record_size}, 4);
	if (memchr(rmgrs, bytes[17], sizeof(rmgrs)) == NULL)
		bytes[17] = rmgrs[bytes[17] % sizeof(rmgrs)];
	if (wa_decode_record(version.major, bytes, record_size, (struct nf_lsn){1ull << 50}, &record, &error) == 0 && record.ref_count > 0) {
		uint8_t *page = malloc(WA_PAGE_SIZE);
		fuzz_expect(page != NULL);
		unpack_page(data + HEADER + record_size, size - HEADER - record_size, get16(data + 6), get16(data + 8), page);
		for (unsigned i = 0; i < record.ref_count; i++)
			record.refs[i].apply_image = false;
		redo(&version, &record, &record.refs[data[1] % record.ref_count], page);
		struct wa_implied implied[WA_IMPLIED_MAX];
		int count = wa_implied_blocks(&version, &record, implied, &error);
		for (int i = 0; i < count; i++)
			(void)wa_redo_implied(&implied[i], page);
		free(page);
	}
	free(bytes);
	return 0;
}
