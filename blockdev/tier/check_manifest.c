/* Every manifest that there is, and what they refer to. An older one is somebody's state to read until it is deleted, so it has to be whole too. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/tier/check_impl.h"
#include "blockdev/tier/manifest.h"
#include "blockdev/tier/piece.h"

/* From where on the pieces of a generation may be wanted. */
struct retained {
	uint32_t generation;
	uint64_t retain;
};

struct manifests {
	struct check *check;
	size_t next; /* object to look at */
	struct retained *retained;
	size_t count, capacity;
	uint64_t done;
};

static int next_manifest(void *arg, struct bd_want *ret_want)
{
	struct manifests *manifests = arg;
	struct check *check = manifests->check;
	uint32_t generation, number;
	for (; manifests->next < check->count; manifests->next++) {
		struct check_object *object = &check->objects[manifests->next];
		if (!bd_manifest_key_parse(object->key, &generation, &number))
			continue;
		object->is_known = true;
		*ret_want = (struct bd_want){.size = object->size, .object_size = object->size, .tag = manifests->next++};
		snprintf(ret_want->key, sizeof(ret_want->key), "%s", object->key);
		return 0;
	}
	return 1;
}

static int refer_files(struct check *check, const struct bd_manifest *manifest, const char *owner)
{
	char key[BD_MANIFEST_KEY_SIZE];
	struct check_object *object;
	int error = 0;
	for (uint32_t i = 0; i < manifest->file_count && error == 0; i++) {
		const struct bd_manifest_file *file = &manifest->files[i];
		if (file->generation == 0)
			continue;
		bd_manifest_file_key(file->generation, file->number, file->name, key);
		error = check_refer(check, key, file->size, CHECK_INDEX, owner, &object);
		if (object != NULL)
			object->sum = file->sum;
	}
	return error;
}

static int refer_parts(struct check *check, const struct bd_manifest *manifest, const char *owner)
{
	char key[BD_MANIFEST_KEY_SIZE];
	struct check_object *object;
	int error = 0;
	for (uint32_t i = 0; i < manifest->part_count && error == 0; i++) {
		const struct bd_manifest_part *part = &manifest->parts[i];
		bd_manifest_part_key(manifest->generation, manifest->number, part->extent, key);
		error = check_refer(check, key, part->size, CHECK_PART, owner, &object);
		if (object != NULL)
			object->extent = part->extent;
	}
	return error;
}

static int refer_pieces(struct check *check, const struct bd_manifest *manifest, const char *owner)
{
	char key[BD_PIECE_KEY_SIZE];
	struct check_object *object;
	int error = 0;
	for (uint32_t i = 0; i < manifest->piece_count && error == 0; i++) {
		const struct bd_manifest_piece *piece = &manifest->pieces[i];
		bd_piece_key(piece->generation, piece->from, piece->to, key);
		error = check_refer(check, key, piece->size, CHECK_PIECE, owner, &object);
	}
	return error;
}

static int note_retained(struct manifests *manifests, const struct bd_manifest *manifest)
{
	if (manifests->count == manifests->capacity) {
		size_t capacity = manifests->capacity * 2 + 64;
		struct retained *retained = realloc(manifests->retained, capacity * sizeof(*retained));
		if (retained == NULL)
			return -ENOMEM;
		manifests->retained = retained;
		manifests->capacity = capacity;
	}
	manifests->retained[manifests->count++] = (struct retained){manifest->generation, manifest->retain};
	return 0;
}

static int got_manifest(void *arg, const struct bd_want *want, int error, const char *why, const uint8_t *bytes)
{
	struct manifests *manifests = arg;
	struct check *check = manifests->check;
	struct bd_manifest manifest;
	if (error == -ENOENT)
		return 0; /* out of its time, and deleted */
	if (error != 0 && error != -EUCLEAN) {
		snprintf(check->message, sizeof(check->message), "%s: %s", want->key, why);
		return error;
	}
	if (error == 0) {
		error = bd_manifest_decode(bytes, want->size, &manifest);
		why = error == -EPROTONOSUPPORT ? "it is of a newer neonfs" : "its checksums do not match";
	}
	if (error == -ENOMEM)
		return error;
	if (error != 0) {
		check->result.damaged++;
		check_report(check, "%s: damaged, %s", want->key, why);
		return 0;
	}
	check->result.verified_bytes += want->size;
	error = refer_files(check, &manifest, want->key);
	if (error == 0)
		error = refer_parts(check, &manifest, want->key);
	if (error == 0)
		error = refer_pieces(check, &manifest, want->key);
	if (error == 0)
		error = note_retained(manifests, &manifest);
	bd_manifest_free(&manifest);
	return error == 0 ? check_progress(check, "manifests", ++manifests->done, 0) : error;
}

/* Pieces that were put since a manifest of their generation. */
static void mark_pieces(struct manifests *manifests)
{
	struct check *check = manifests->check;
	for (size_t i = 0; i < check->count; i++) {
		struct check_object *object = &check->objects[i];
		uint32_t generation;
		uint64_t from, to;
		if (object->is_known || !bd_piece_key_parse(object->key, &generation, &from, &to))
			continue;
		for (size_t j = 0; j < manifests->count && !object->is_known; j++)
			object->is_known = manifests->retained[j].generation == generation && to > manifests->retained[j].retain;
		if (object->is_known)
			object->kind = CHECK_PIECE;
	}
}

int check_manifests(struct check *check)
{
	struct manifests manifests = {.check = check};
	int error = bd_fetch(check->client, next_manifest, got_manifest, &manifests);
	if (error == 0)
		mark_pieces(&manifests);
	free(manifests.retained);
	return error;
}
