/* Fuzz target: a file of images of hot pages as it comes from disk. Its checksums are made right first, since nearly every mutation would end there; an odd last
 * byte leaves them as they are. */
#include "fuzz.h"

#include <xxhash.h>

#include "walapply/images/wa_images.h"

/* Offsets of walapply/images/images.c. */
#define ROW 56u
#define COUNT_AT 20u
#define TABLE_HASH 64u
#define HEADER_HASH 72u

static void put_hash(uint8_t *at, const uint8_t *bytes, size_t size)
{
	uint64_t hash = XXH3_64bits(bytes, size);
	memcpy(at, &hash, sizeof(hash));
}

static void seal(uint8_t *bytes, size_t size)
{
	uint32_t count;
	if (size < WA_IMAGES_HEADER)
		return;
	memcpy(&count, bytes + COUNT_AT, 4);
	if (count <= (size - WA_IMAGES_HEADER) / ROW) {
		const size_t data = WA_IMAGES_HEADER + (size_t)count * ROW;
		for (uint32_t i = 0; i < count; i++) {
			uint8_t *row = bytes + WA_IMAGES_HEADER + (size_t)i * ROW;
			uint32_t packed;
			uint64_t offset;
			memcpy(&packed, row + 20, 4);
			memcpy(&offset, row + 40, 8);
			if (offset <= size - data && packed <= size - data - offset)
				put_hash(row + 48, bytes + data + offset, packed);
		}
		put_hash(bytes + TABLE_HASH, bytes + WA_IMAGES_HEADER, data - WA_IMAGES_HEADER);
	}
	put_hash(bytes + HEADER_HASH, bytes, HEADER_HASH);
}

static void use(const struct wa_images *images, const uint8_t *bytes)
{
	struct wa_error error = {0};
	uint8_t page[WA_PAGE_SIZE], *merged;
	size_t merged_size;
	for (uint32_t i = 0; i < images->count; i++) {
		struct wa_image_place place = wa_images_at(images, i), found;
		bool has = wa_images_find(images, &place.image.block, place.image.origin, (struct nf_lsn){place.image.last.v + 1},
					  &found);
		fuzz_expect(has && found.offset == place.offset && found.image.last.v == place.image.last.v);
		fuzz_expect(wa_image_unpack(&place, bytes + place.offset, page, &error) == 0 || error.text[0] != '\0');
	}
	int status = wa_images_merge(images, 1, images->info.base, images->info.limit, &merged, &merged_size);
	fuzz_expect(status == 0 || images->info.limit.v <= images->info.base.v);
	if (status == 0) {
		struct wa_images again;
		fuzz_expect(wa_images_open(merged, merged_size, merged_size, &again, &error) == 0 &&
			    again.count == images->count);
		free(merged);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wa_images images;
	struct wa_error error = {0};
	uint8_t *bytes = fuzz_copy(data, size);
	if (size > 0 && !(data[size - 1] & 1))
		seal(bytes, size);
	if (wa_images_open(bytes, size, size, &images, &error) == 0)
		use(&images, bytes);
	else
		fuzz_expect(error.text[0] != '\0');
	free(bytes);
	return 0;
}
