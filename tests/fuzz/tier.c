/* Fuzz target: what an object store gives back of a store: manifests, pieces of the log, packed extents. The first byte chooses. Bodies are given a frame and checksums that are right, since
 * nearly every mutation would end there. */
#include "fuzz.h"

#include <xxhash.h>
#include <zstd.h>

#include "blockdev/tier/manifest.h"
#include "blockdev/tier/pack.h"
#include "blockdev/tier/piece.h"

#define MANIFEST_HEADER 32u
#define FOOTER 64u

static void read_manifest(const uint8_t *bytes, size_t size)
{
	struct bd_manifest manifest, again;
	void *object;
	size_t object_size;
	if (bd_manifest_decode(bytes, size, &manifest) != 0)
		return;
	fuzz_expect(manifest.retain <= manifest.replay && manifest.generation > 0);
	for (uint32_t i = 0; i < manifest.file_count; i++)
		fuzz_expect(strlen(manifest.files[i].name) < BD_MANIFEST_NAME_MAX && strchr(manifest.files[i].name, '/') == NULL);
	for (uint32_t i = 1; i < manifest.piece_count; i++)
		fuzz_expect(manifest.pieces[i].from == manifest.pieces[i - 1].to);
	fuzz_expect(bd_manifest_encode(&manifest, &object, &object_size) == 0);
	fuzz_expect(bd_manifest_decode(object, object_size, &again) == 0);
	fuzz_expect(again.file_count == manifest.file_count && again.branch_count == manifest.branch_count);
	free(object);
	bd_manifest_free(&again);
	bd_manifest_free(&manifest);
}

static void read_piece(const uint8_t *bytes, size_t size)
{
	struct bd_piece piece, head;
	if (bd_piece_decode(bytes, size, &piece) != 0)
		return;
	fuzz_expect(bd_piece_read_head(bytes, size, &head) == 0 && head.from == piece.from && head.to == piece.to);
	uint64_t blocks = 0, sum = 0;
	for (uint32_t i = 0; i < piece.run_count; i++) {
		fuzz_expect(piece.runs[i].slot + piece.runs[i].count <= BD_EXTENT_SLOTS);
		blocks += piece.runs[i].count;
	}
	/* Every byte that it says it has is there. */
	for (uint64_t i = 0; i < piece.to - piece.from; i++)
		sum += piece.records[i];
	for (uint64_t i = 0; i < blocks * NF_BLOCK_SIZE; i++)
		sum += piece.blocks[i];
	fuzz_expect(sum <= UINT64_MAX);
	bd_piece_free(&piece);
}

/* A header of `header_size` bytes and the body's frame; the header is the caller's to fill. */
static uint8_t *wrap(const uint8_t *body, size_t size, size_t header_size, size_t *ret_frame_size)
{
	size_t bound = ZSTD_compressBound(size);
	uint8_t *object = malloc(header_size + bound);
	if (object == NULL)
		abort();
	*ret_frame_size = ZSTD_compress(object + header_size, bound, body, size, 1);
	fuzz_expect(!ZSTD_isError(*ret_frame_size));
	return object;
}

static void put_u64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void read_manifest_body(const uint8_t *body, size_t size)
{
	size_t frame_size;
	uint8_t *object = wrap(body, size, MANIFEST_HEADER, &frame_size);
	const uint32_t fields[] = {0x314d464eu, 1, (uint32_t)size, (uint32_t)frame_size};
	memcpy(object, fields, sizeof(fields));
	put_u64(object + 16, XXH3_64bits(object + MANIFEST_HEADER, frame_size));
	put_u64(object + 24, XXH3_64bits(object, 24));
	uint8_t *exact = fuzz_copy(object, MANIFEST_HEADER + frame_size);
	read_manifest(exact, MANIFEST_HEADER + frame_size);
	free(exact);
	free(object);
}

/* The first byte says how many pages of records there are. */
static void read_piece_body(const uint8_t *body, size_t size)
{
	size_t frame_size;
	if (size == 0)
		return;
	uint64_t pages = body[0];
	uint8_t *object = wrap(body + 1, size - 1, BD_PIECE_HEAD_SIZE, &frame_size);
	const uint32_t begin[] = {0x3150464eu, 1};
	const uint64_t fields[] = {99, 8192, 8192 + pages * NF_IO_ALIGN, 1, size - 1, frame_size, XXH3_64bits(object + BD_PIECE_HEAD_SIZE, frame_size)};
	memcpy(object, begin, sizeof(begin));
	memcpy(object + sizeof(begin), fields, sizeof(fields));
	put_u64(object + BD_PIECE_HEAD_SIZE - 8, XXH3_64bits(object, BD_PIECE_HEAD_SIZE - 8));
	uint8_t *exact = fuzz_copy(object, BD_PIECE_HEAD_SIZE + frame_size);
	read_piece(exact, BD_PIECE_HEAD_SIZE + frame_size);
	free(exact);
	free(object);
}

/* A packed extent whole: the footer's sums are made right, and then each group's, so that frames are met too. */
static void read_pack(const uint8_t *bytes, size_t size)
{
	static uint8_t group[NF_MAX(BD_GROUP_BYTES, BD_EXTENT_DATA_OFFSET)];
	struct bd_pack_map *map;
	size_t need;
	if (size < FOOTER)
		return;
	uint8_t *object = fuzz_copy(bytes, size), *footer = object + size - FOOTER;
	uint64_t table;
	memcpy(&table, footer + 32, sizeof(table));
	if (table <= size - FOOTER)
		put_u64(footer + 40, XXH3_64bits(footer - table, table));
	put_u64(footer + 56, XXH3_64bits(footer, 56));
	if (bd_pack_read_map(object, size, size, 99, 7, &need, &map) == 0) {
		for (uint32_t i = 0; i < map->groups; i++) {
			fuzz_expect((uint64_t)map->group[i].offset + map->group[i].size <= size);
			map->group[i].sum = XXH3_64bits(object + map->group[i].offset, map->group[i].size);
			int error = bd_pack_read_group(map, i, object + map->group[i].offset, group);
			fuzz_expect(error == 0 || error == -EUCLEAN);
		}
		free(map);
	}
	free(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const uint8_t *bytes, size_t size) = {read_manifest, read_piece, read_manifest_body, read_piece_body,
									     read_pack};
	if (size == 0)
		return 0;
	uint8_t *bytes = fuzz_copy(data + 1, size - 1);
	readers[data[0] % NF_ARRAY_LEN(readers)](bytes, size - 1);
	free(bytes);
	return 0;
}
