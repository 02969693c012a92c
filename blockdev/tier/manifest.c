/* Manifests: manifest.h has the header; the body is, all little-endian,
 *
 *   generation u32, number u32, store id u64, created i64, safe i64
 *   format version u32, size limit u64, log bytes u64, store created i64
 *   replay u64, retain u64, log generation u64
 *   files u32, for each:     name size u8, name, size u64, XXH3 u64, generation u32, number u32; with generation 0 its bytes
 *   parts u32, for each:     extent u32, slots used u32, size of the object u64
 *   pieces u32, for each:    generation u32, from u64, to u64, size of the object u64
 *   branches u32, for each:  id u32, parent u32, name size u8, name
 *
 * What is decoded makes sense by itself: names are plain file names, extents and slots are possible ones, pieces follow each other. Whether the
 * objects are there is another question. */
#include "blockdev/tier/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/frame.h"

#define MANIFEST_MAGIC 0x314d464eu /* "NFM1" */
#define MANIFEST_VERSION 1u
#define MANIFEST_HEADER 32u
#define MANIFEST_BODY_MAX (256u << 20)
#define EXTENT_ID_END (1u << 30)
/* Bytes that one entry takes at least: what bounds a count before memory is asked for. */
#define FILE_LEAST 26u
#define PART_LEAST 16u
#define PIECE_LEAST 28u
#define BRANCH_LEAST 10u

static_assert(4 * sizeof(uint32_t) + 2 * sizeof(uint64_t) == MANIFEST_HEADER, "manifest header layout");

void bd_manifest_free(struct bd_manifest *manifest)
{
	for (uint32_t i = 0; i < manifest->file_count; i++)
		free(manifest->files[i].bytes);
	for (uint32_t i = 0; i < manifest->branch_count; i++)
		free(manifest->branches[i].name);
	free(manifest->files);
	free(manifest->parts);
	free(manifest->pieces);
	free(manifest->branches);
	*manifest = (struct bd_manifest){0};
}

/* ---------------------------------------------------------------- encode */

static void add_name(struct bd_body *body, const char *name)
{
	size_t size = strlen(name);
	assert(size <= UINT8_MAX);
	bd_body_u8(body, (uint8_t)size);
	bd_body_add(body, name, size);
}

static void add_lists(struct bd_body *body, const struct bd_manifest *manifest)
{
	bd_body_u32(body, manifest->file_count);
	for (uint32_t i = 0; i < manifest->file_count; i++) {
		const struct bd_manifest_file *file = &manifest->files[i];
		add_name(body, file->name);
		bd_body_u64(body, file->size);
		bd_body_u64(body, file->sum);
		bd_body_u32(body, file->generation);
		bd_body_u32(body, file->number);
		if (file->generation == 0)
			bd_body_add(body, file->bytes, file->size);
	}
	bd_body_u32(body, manifest->part_count);
	for (uint32_t i = 0; i < manifest->part_count; i++) {
		bd_body_u32(body, manifest->parts[i].extent);
		bd_body_u32(body, manifest->parts[i].used);
		bd_body_u64(body, manifest->parts[i].size);
	}
	bd_body_u32(body, manifest->piece_count);
	for (uint32_t i = 0; i < manifest->piece_count; i++) {
		bd_body_u32(body, manifest->pieces[i].generation);
		bd_body_u64(body, manifest->pieces[i].from);
		bd_body_u64(body, manifest->pieces[i].to);
		bd_body_u64(body, manifest->pieces[i].size);
	}
	bd_body_u32(body, manifest->branch_count);
	for (uint32_t i = 0; i < manifest->branch_count; i++) {
		bd_body_u32(body, manifest->branches[i].id);
		bd_body_u32(body, manifest->branches[i].parent);
		add_name(body, manifest->branches[i].name);
	}
}

static void add_facts(struct bd_body *body, const struct bd_manifest *manifest)
{
	bd_body_u32(body, manifest->generation);
	bd_body_u32(body, manifest->number);
	bd_body_u64(body, manifest->store_id);
	bd_body_u64(body, (uint64_t)manifest->created_ns);
	bd_body_u64(body, (uint64_t)manifest->safe_ns);
	bd_body_u32(body, manifest->format_version);
	bd_body_u64(body, manifest->size_limit_bytes);
	bd_body_u64(body, manifest->log_bytes);
	bd_body_u64(body, (uint64_t)manifest->store_created_ns);
	bd_body_u64(body, manifest->replay);
	bd_body_u64(body, manifest->retain);
	bd_body_u64(body, manifest->log_generation);
}

int bd_manifest_encode(const struct bd_manifest *manifest, void **ret_bytes, size_t *ret_size)
{
	struct bd_body body = {0};
	uint8_t *object;
	size_t frame_size;
	add_facts(&body, manifest);
	add_lists(&body, manifest);
	int error = body.size <= MANIFEST_BODY_MAX ? bd_frame_make(&body, MANIFEST_HEADER, &object, &frame_size) : -E2BIG;
	uint32_t body_size = (uint32_t)body.size;
	bd_body_free(&body);
	if (error != 0)
		return error;
	struct nf_writer w = nf_writer_init(object, MANIFEST_HEADER);
	nf_write_u32(&w, MANIFEST_MAGIC);
	nf_write_u32(&w, MANIFEST_VERSION);
	nf_write_u32(&w, body_size);
	nf_write_u32(&w, (uint32_t)frame_size);
	nf_write_u64(&w, XXH3_64bits(object + MANIFEST_HEADER, frame_size));
	nf_write_u64(&w, XXH3_64bits(object, w.offset));
	assert(!w.failed && w.offset == MANIFEST_HEADER);
	*ret_bytes = object;
	*ret_size = MANIFEST_HEADER + frame_size;
	return 0;
}

/* ---------------------------------------------------------------- decode */

/* Room for `count` entries of which each takes at least `least` bytes of what is left. NULL also for none. */
static void *entries(struct nf_reader *r, uint32_t count, size_t least, size_t entry_size)
{
	if (r->failed || count > nf_reader_left(r) / least) {
		r->failed = true;
		return NULL;
	}
	return count > 0 ? calloc(count, entry_size) : NULL;
}

static bool is_file_name(const char *name, size_t size)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	for (size_t i = 0; i < size; i++) {
		if (name[i] == '\0' || strchr(letters, name[i]) == NULL)
			return false;
	}
	return size > 0 && name[0] != '.';
}

static int read_file(struct nf_reader *r, struct bd_manifest_file *file)
{
	size_t size = nf_read_u8(r);
	const char *name = nf_read_bytes(r, size);
	if (r->failed || size >= sizeof(file->name) || !is_file_name(name, size))
		return -EUCLEAN;
	memcpy(file->name, name, size);
	file->size = nf_read_u64(r);
	file->sum = nf_read_u64(r);
	file->generation = nf_read_u32(r);
	file->number = nf_read_u32(r);
	if (r->failed || file->generation != 0)
		return r->failed ? -EUCLEAN : 0;
	const void *bytes = file->size <= nf_reader_left(r) ? nf_read_bytes(r, file->size) : NULL;
	if (bytes == NULL || XXH3_64bits(bytes, file->size) != file->sum)
		return -EUCLEAN;
	file->bytes = malloc(file->size + 1);
	if (file->bytes == NULL)
		return -ENOMEM;
	memcpy(file->bytes, bytes, file->size);
	return 0;
}

static int read_files(struct nf_reader *r, struct bd_manifest *manifest)
{
	uint32_t count = nf_read_u32(r);
	manifest->files = entries(r, count, FILE_LEAST, sizeof(*manifest->files));
	if (r->failed || (count > 0 && manifest->files == NULL))
		return r->failed ? -EUCLEAN : -ENOMEM;
	int error = 0;
	for (; manifest->file_count < count && error == 0; manifest->file_count++)
		error = read_file(r, &manifest->files[manifest->file_count]);
	return error;
}

static int read_parts(struct nf_reader *r, struct bd_manifest *manifest)
{
	uint32_t count = nf_read_u32(r);
	manifest->parts = entries(r, count, PART_LEAST, sizeof(*manifest->parts));
	if (r->failed || (count > 0 && manifest->parts == NULL))
		return r->failed ? -EUCLEAN : -ENOMEM;
	manifest->part_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct bd_manifest_part *part = &manifest->parts[i];
		part->extent = nf_read_u32(r);
		part->used = nf_read_u32(r);
		part->size = nf_read_u64(r);
		if (part->extent >= EXTENT_ID_END || part->used > BD_EXTENT_SLOTS)
			return -EUCLEAN;
	}
	return 0;
}

static int read_pieces(struct nf_reader *r, struct bd_manifest *manifest)
{
	uint32_t count = nf_read_u32(r);
	manifest->pieces = entries(r, count, PIECE_LEAST, sizeof(*manifest->pieces));
	if (r->failed || (count > 0 && manifest->pieces == NULL))
		return r->failed ? -EUCLEAN : -ENOMEM;
	manifest->piece_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct bd_manifest_piece *piece = &manifest->pieces[i];
		piece->generation = nf_read_u32(r);
		piece->from = nf_read_u64(r);
		piece->to = nf_read_u64(r);
		piece->size = nf_read_u64(r);
		if (piece->generation == 0 || piece->from >= piece->to || piece->from % NF_IO_ALIGN != 0 || piece->to % NF_IO_ALIGN != 0 ||
		    (i > 0 && piece->from != manifest->pieces[i - 1].to))
			return -EUCLEAN;
	}
	return 0;
}

static int read_branch(struct nf_reader *r, struct bd_manifest_branch *branch)
{
	branch->id = nf_read_u32(r);
	branch->parent = nf_read_u32(r);
	size_t size = nf_read_u8(r);
	const char *name = nf_read_bytes(r, size);
	if (name == NULL || memchr(name, '\0', size) != NULL)
		return -EUCLEAN;
	branch->name = strndup(name, size);
	return branch->name != NULL ? 0 : -ENOMEM;
}

static int read_branches(struct nf_reader *r, struct bd_manifest *manifest)
{
	uint32_t count = nf_read_u32(r);
	manifest->branches = entries(r, count, BRANCH_LEAST - 1, sizeof(*manifest->branches));
	if (r->failed || (count > 0 && manifest->branches == NULL))
		return r->failed ? -EUCLEAN : -ENOMEM;
	int error = 0;
	for (; manifest->branch_count < count && error == 0; manifest->branch_count++)
		error = read_branch(r, &manifest->branches[manifest->branch_count]);
	return error;
}

static int read_facts(struct nf_reader *r, struct bd_manifest *manifest)
{
	manifest->generation = nf_read_u32(r);
	manifest->number = nf_read_u32(r);
	manifest->store_id = nf_read_u64(r);
	manifest->created_ns = (int64_t)nf_read_u64(r);
	manifest->safe_ns = (int64_t)nf_read_u64(r);
	manifest->format_version = nf_read_u32(r);
	manifest->size_limit_bytes = nf_read_u64(r);
	manifest->log_bytes = nf_read_u64(r);
	manifest->store_created_ns = (int64_t)nf_read_u64(r);
	manifest->replay = nf_read_u64(r);
	manifest->retain = nf_read_u64(r);
	manifest->log_generation = nf_read_u64(r);
	if (r->failed || manifest->generation == 0 || manifest->retain > manifest->replay)
		return -EUCLEAN;
	return manifest->log_bytes >= BD_LOG_MIN_BYTES && manifest->log_bytes % (1u << 20) == 0 ? 0 : -EUCLEAN;
}

static int read_body(struct nf_reader r, struct bd_manifest *manifest)
{
	int error = read_facts(&r, manifest);
	if (error == 0)
		error = read_files(&r, manifest);
	if (error == 0)
		error = read_parts(&r, manifest);
	if (error == 0)
		error = read_pieces(&r, manifest);
	if (error == 0)
		error = read_branches(&r, manifest);
	if (error == 0 && (r.failed || nf_reader_left(&r) != 0))
		error = -EUCLEAN;
	return error;
}

int bd_manifest_decode(const void *bytes, size_t size, struct bd_manifest *ret_manifest)
{
	struct nf_reader r = nf_reader_init(bytes, size);
	uint32_t magic = nf_read_u32(&r), version = nf_read_u32(&r), body_size = nf_read_u32(&r), frame_size = nf_read_u32(&r);
	uint64_t frame_sum = nf_read_u64(&r);
	uint64_t sum = r.failed ? 0 : XXH3_64bits(bytes, r.offset);
	if (magic != MANIFEST_MAGIC || sum != nf_read_u64(&r) || r.failed)
		return -EUCLEAN;
	if (version > MANIFEST_VERSION)
		return -EPROTONOSUPPORT;
	const void *frame = nf_read_bytes(&r, frame_size);
	if (version == 0 || frame == NULL || nf_reader_left(&r) != 0 || body_size > MANIFEST_BODY_MAX ||
	    XXH3_64bits(frame, frame_size) != frame_sum)
		return -EUCLEAN;
	uint8_t *body;
	int error = bd_frame_open(frame, frame_size, body_size, &body);
	if (error != 0)
		return error;
	struct bd_manifest manifest = {0};
	error = read_body(nf_reader_init(body, body_size), &manifest);
	free(body);
	if (error != 0)
		bd_manifest_free(&manifest);
	else
		*ret_manifest = manifest;
	return error;
}

/* ------------------------------------------------------------------ keys */

void bd_manifest_key(uint32_t generation, uint32_t number, char key[BD_MANIFEST_KEY_SIZE])
{
	snprintf(key, BD_MANIFEST_KEY_SIZE, "manifest/%08" PRIx32 "-%08" PRIx32, generation, number);
}

void bd_manifest_file_key(uint32_t generation, uint32_t number, const char *name, char key[BD_MANIFEST_KEY_SIZE])
{
	assert(strlen(name) < BD_MANIFEST_NAME_MAX);
	snprintf(key, BD_MANIFEST_KEY_SIZE, "index/%08" PRIx32 "-%08" PRIx32 "-%s", generation, number, name);
}

void bd_manifest_part_key(uint32_t generation, uint32_t number, uint32_t extent, char key[BD_MANIFEST_KEY_SIZE])
{
	snprintf(key, BD_MANIFEST_KEY_SIZE, "part/%08" PRIx32 "-%08" PRIx32 "-%08" PRIx32, generation, number, extent);
}

bool bd_manifest_key_parse(const char *key, uint32_t *ret_generation, uint32_t *ret_number)
{
	uint32_t generation, number;
	char again[BD_MANIFEST_KEY_SIZE];
	if (sscanf(key, "manifest/%8" SCNx32 "-%8" SCNx32, &generation, &number) != 2)
		return false;
	bd_manifest_key(generation, number, again);
	if (strcmp(key, again) != 0)
		return false;
	*ret_generation = generation;
	*ret_number = number;
	return true;
}
