/* The format of a file of images. Integers are little-endian.
 *
 *   header, 80 bytes
 *     0 magic u64   8 version u32   12 major u32   16 flags u32 (1 checksums, 2 wal_log_hints)   20 images u32
 *    24 base u64   32 limit u64     40 system id u64   48 bytes of data u64   56 zero u64
 *    64 XXH3 of the table u64   72 XXH3 of bytes 0 .. 72
 *   table, 56 bytes an image, sorted by (tablespace, database, relation, fork, number, last record)
 *     0 spc u32   4 db u32   8 rel u32   12 fork u32   16 blkno u32   20 bytes u32   24 origin u64   32 last u64
 *    40 offset u64 (from the data's start)   48 XXH3 of the bytes u64
 *   data: of each image its page by zstd, or plain where that is not shorter (WA_PAGE_SIZE bytes) */
#include "walapply/images/wa_images.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define MAGIC 0x31534547414D494Eull /* "NIMAGES1" */
#define HEADER WA_IMAGES_HEADER
#define HEADER_HASH 72u
#define ROW 56u
#define CHECKSUMS 1u
#define LOG_HINTS 2u
#define LEVEL 1 /* of zstd: higher ones take longer and save little of a page */

static_assert(HEADER_HASH + 8 == HEADER && ROW % 8 == 0, "the header's layout");

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, 4);
	return le32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, 8);
	return le64toh(value);
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, 4);
}

static void put64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, 8);
}

static int compare(const struct wa_block *a, struct nf_lsn a_last, const struct wa_block *b, struct nf_lsn b_last)
{
	const uint64_t ka[4] = {(uint64_t)a->rel.spc << 32 | a->rel.db, (uint64_t)a->rel.rel << 32 | a->fork, a->blkno, a_last.v};
	const uint64_t kb[4] = {(uint64_t)b->rel.spc << 32 | b->rel.db, (uint64_t)b->rel.rel << 32 | b->fork, b->blkno, b_last.v};
	for (size_t i = 0; i < NF_ARRAY_LEN(ka); i++)
		if (ka[i] != kb[i])
			return ka[i] < kb[i] ? -1 : 1;
	return 0;
}

/* ------------------------------------------------------------- building */

struct bytes {
	uint8_t *at;
	size_t size, room;
};

struct wa_images_builder {
	struct wa_images_info info;
	struct bytes rows, data;
	struct wa_image last; /* what was added last */
	uint32_t count;
	ZSTD_CCtx *zstd;
};

static bool make_room(struct bytes *bytes, size_t more)
{
	if (bytes->room - bytes->size >= more)
		return true;
	size_t room = NF_MAX(bytes->room * 2, bytes->size + more);
	uint8_t *at = realloc(bytes->at, room);
	if (at == NULL)
		return false;
	bytes->at = at;
	bytes->room = room;
	return true;
}

int wa_images_builder_new(const struct wa_images_info *info, struct wa_images_builder **ret_builder)
{
	if (info->limit.v <= info->base.v)
		return -EINVAL;
	struct wa_images_builder *builder = calloc(1, sizeof(*builder));
	if (builder == NULL)
		return -ENOMEM;
	builder->info = *info;
	*ret_builder = builder;
	return 0;
}

void wa_images_builder_free(struct wa_images_builder *builder)
{
	if (builder == NULL)
		return;
	ZSTD_freeCCtx(builder->zstd);
	free(builder->rows.at);
	free(builder->data.at);
	free(builder);
}

/* The row of `size` bytes that are in data already, at its end. */
static int add_row(struct wa_images_builder *builder, const struct wa_image *image, uint32_t size, uint64_t hash)
{
	if (!make_room(&builder->rows, ROW))
		return -ENOMEM;
	uint8_t *row = builder->rows.at + builder->rows.size;
	put32(row, image->block.rel.spc);
	put32(row + 4, image->block.rel.db);
	put32(row + 8, image->block.rel.rel);
	put32(row + 12, image->block.fork);
	put32(row + 16, image->block.blkno);
	put32(row + 20, size);
	put64(row + 24, image->origin.v);
	put64(row + 32, image->last.v);
	put64(row + 40, builder->data.size);
	put64(row + 48, hash);
	builder->rows.size += ROW;
	builder->data.size += size;
	builder->last = *image;
	builder->count++;
	return 0;
}

static int check_order(const struct wa_images_builder *builder, const struct wa_image *image)
{
	if (image->last.v < builder->info.base.v || image->last.v >= builder->info.limit.v || image->origin.v > image->last.v)
		return -EINVAL;
	if (builder->count > 0 && compare(&builder->last.block, builder->last.last, &image->block, image->last) >= 0)
		return -EINVAL;
	return builder->count == WA_IMAGES_MAX ? -ENOSPC : 0;
}

int wa_images_add(struct wa_images_builder *builder, const struct wa_image *image, const uint8_t page[WA_PAGE_SIZE])
{
	int error = check_order(builder, image);
	if (error != 0)
		return error;
	if (builder->zstd == NULL)
		builder->zstd = ZSTD_createCCtx();
	if (builder->zstd == NULL || !make_room(&builder->data, WA_PAGE_SIZE))
		return -ENOMEM;
	uint8_t *to = builder->data.at + builder->data.size;
	size_t size = ZSTD_compressCCtx(builder->zstd, to, WA_PAGE_SIZE - 1, page, WA_PAGE_SIZE, LEVEL);
	if (ZSTD_isError(size)) {
		memcpy(to, page, WA_PAGE_SIZE);
		size = WA_PAGE_SIZE;
	}
	return add_row(builder, image, (uint32_t)size, XXH3_64bits(to, size));
}

size_t wa_images_size(const struct wa_images_builder *builder)
{
	return HEADER + builder->rows.size + builder->data.size;
}

int wa_images_finish(const struct wa_images_builder *builder, uint8_t **ret_bytes, size_t *ret_size)
{
	const struct wa_images_info *info = &builder->info;
	const size_t size = wa_images_size(builder);
	uint8_t *bytes = calloc(1, size);
	if (bytes == NULL)
		return -ENOMEM;
	if (builder->count > 0) {
		memcpy(bytes + HEADER, builder->rows.at, builder->rows.size);
		memcpy(bytes + HEADER + builder->rows.size, builder->data.at, builder->data.size);
	}
	put64(bytes, MAGIC);
	put32(bytes + 8, WA_IMAGES_VERSION);
	put32(bytes + 12, (uint32_t)info->version.major);
	put32(bytes + 16, (info->version.checksums ? CHECKSUMS : 0) | (info->version.log_hints ? LOG_HINTS : 0));
	put32(bytes + 20, builder->count);
	put64(bytes + 24, info->base.v);
	put64(bytes + 32, info->limit.v);
	put64(bytes + 40, info->system_id);
	put64(bytes + 48, builder->data.size);
	put64(bytes + 64, XXH3_64bits(bytes + HEADER, builder->rows.size));
	put64(bytes + HEADER_HASH, XXH3_64bits(bytes, HEADER_HASH));
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

/* -------------------------------------------------------------- reading */

static int damaged(struct nf_lsn base, struct wa_error *error, const char *what)
{
	return wa_bad(error, base, "the images of hot pages of this WAL are damaged: %s", what);
}

int wa_images_tables_size(const uint8_t *head, size_t size, size_t *ret_size, struct wa_error *error)
{
	if (size < HEADER || get64(head) != MAGIC)
		return wa_bad(error, (struct nf_lsn){0}, "these are no images of hot pages");
	if (get32(head + 8) != WA_IMAGES_VERSION) {
		wa_bad(error, (struct nf_lsn){0}, "these images of hot pages have version %u; only %u is known", get32(head + 8),
		       WA_IMAGES_VERSION);
		return -ENOTSUP;
	}
	if (XXH3_64bits(head, HEADER_HASH) != get64(head + HEADER_HASH) || get32(head + 20) > WA_IMAGES_MAX)
		return damaged((struct nf_lsn){0}, error, "their header");
	*ret_size = HEADER + (size_t)get32(head + 20) * ROW;
	return 0;
}

struct wa_image_place wa_images_at(const struct wa_images *images, uint32_t i)
{
	assert(i < images->count);
	const uint8_t *row = images->rows + (size_t)i * ROW;
	return (struct wa_image_place){.image = {.block = {.rel = {get32(row), get32(row + 4), get32(row + 8)},
							   .fork = get32(row + 12),
							   .blkno = get32(row + 16)},
						 .origin = {get64(row + 24)},
						 .last = {get64(row + 32)}},
				       .offset = HEADER + (uint64_t)images->count * ROW + get64(row + 40),
				       .size = get32(row + 20),
				       .hash = get64(row + 48)};
}

/* Sorted, inside of range and file. */
static bool check_rows(const struct wa_images *images)
{
	struct wa_image_place before = {.size = 0};
	for (uint32_t i = 0; i < images->count; i++) {
		struct wa_image_place place = wa_images_at(images, i);
		const struct wa_image *image = &place.image;
		if (place.size == 0 || place.size > WA_PAGE_SIZE || place.offset > images->file_size ||
		    place.size > images->file_size - place.offset || image->last.v < images->info.base.v ||
		    image->last.v >= images->info.limit.v || image->origin.v > image->last.v)
			return false;
		if (i > 0 && compare(&before.image.block, before.image.last, &image->block, image->last) >= 0)
			return false;
		before = place;
	}
	return true;
}

int wa_images_open(const uint8_t *bytes, size_t size, uint64_t file_size, struct wa_images *ret_images, struct wa_error *error)
{
	size_t tables = 0;
	int status = wa_images_tables_size(bytes, size, &tables, error);
	if (status < 0)
		return status;
	const uint32_t flags = get32(bytes + 16);
	struct wa_images images = {.info = {.version = {.major = (int)get32(bytes + 12),
							.checksums = (flags & CHECKSUMS) != 0,
							.log_hints = (flags & LOG_HINTS) != 0},
					    .system_id = get64(bytes + 40),
					    .base = {get64(bytes + 24)},
					    .limit = {get64(bytes + 32)}},
				   .rows = bytes + HEADER,
				   .count = get32(bytes + 20),
				   .file_size = file_size};
	if (tables > size || size > file_size || file_size - tables != get64(bytes + 48))
		return damaged(images.info.base, error, "they are not whole");
	if (XXH3_64bits(images.rows, tables - HEADER) != get64(bytes + 64) || !check_rows(&images))
		return damaged(images.info.base, error, "their table");
	*ret_images = images;
	return 0;
}

bool wa_images_find(const struct wa_images *images, const struct wa_block *block, struct nf_lsn origin, struct nf_lsn to,
		    struct wa_image_place *ret_place)
{
	uint32_t low = 0, high = images->count; /* the first one that is not before (block, to) */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct wa_image_place place = wa_images_at(images, middle);
		if (compare(&place.image.block, place.image.last, block, to) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return false;
	struct wa_image_place place = wa_images_at(images, low - 1);
	if (compare(&place.image.block, (struct nf_lsn){0}, block, (struct nf_lsn){0}) != 0 || place.image.origin.v != origin.v)
		return false;
	*ret_place = place;
	return true;
}

int wa_image_unpack(const struct wa_image_place *place, const uint8_t *bytes, uint8_t page[WA_PAGE_SIZE], struct wa_error *error)
{
	if (XXH3_64bits(bytes, place->size) != place->hash)
		return damaged(place->image.last, error, "one of them");
	if (place->size == WA_PAGE_SIZE)
		memcpy(page, bytes, WA_PAGE_SIZE);
	else if (ZSTD_decompress(page, WA_PAGE_SIZE, bytes, place->size) != WA_PAGE_SIZE)
		return damaged(place->image.last, error, "one does not unpack to a page");
	return 0;
}

/* -------------------------------------------------------------- merging */

/* As it is packed. `bytes`: of its file. */
static int add_packed(struct wa_images_builder *builder, const struct wa_image_place *place, const uint8_t *bytes)
{
	int error = check_order(builder, &place->image);
	if (error == 0 && !make_room(&builder->data, place->size))
		error = -ENOMEM;
	if (error != 0)
		return error;
	memcpy(builder->data.at + builder->data.size, bytes + place->offset, place->size);
	return add_row(builder, &place->image, place->size, place->hash);
}

static bool are_alike(const struct wa_images_info *a, const struct wa_images_info *b)
{
	return a->system_id == b->system_id && a->version.major == b->version.major &&
	       a->version.checksums == b->version.checksums && a->version.log_hints == b->version.log_hints;
}

static int merge_rows(struct wa_images_builder *builder, const struct wa_images *parts, size_t count)
{
	uint32_t at[WA_IMAGES_MERGE_MAX] = {0};
	for (;;) {
		struct wa_image_place least = {.size = 0};
		size_t of = count;
		for (size_t i = 0; i < count; i++) {
			if (at[i] == parts[i].count)
				continue;
			struct wa_image_place place = wa_images_at(&parts[i], at[i]);
			if (of == count ||
			    compare(&place.image.block, place.image.last, &least.image.block, least.image.last) < 0) {
				least = place;
				of = i;
			}
		}
		if (of == count)
			return 0;
		int error = add_packed(builder, &least, parts[of].rows - HEADER);
		if (error != 0)
			return error;
		at[of]++;
	}
}

int wa_images_merge(const struct wa_images *parts, size_t count, struct nf_lsn base, struct nf_lsn limit, uint8_t **ret_bytes,
		    size_t *ret_size)
{
	struct wa_images_builder *builder;
	if (count == 0 || count > WA_IMAGES_MERGE_MAX)
		return -EINVAL;
	struct wa_images_info info = parts[0].info;
	for (size_t i = 0; i < count; i++)
		if (!are_alike(&info, &parts[i].info) || parts[i].info.base.v < (i > 0 ? parts[i - 1].info.limit.v : base.v) ||
		    parts[i].info.limit.v > limit.v)
			return -EINVAL;
	info.base = base;
	info.limit = limit;
	int error = wa_images_builder_new(&info, &builder);
	if (error != 0)
		return error;
	error = merge_rows(builder, parts, count);
	if (error == 0)
		error = wa_images_finish(builder, ret_bytes, ret_size);
	wa_images_builder_free(builder);
	return error;
}
