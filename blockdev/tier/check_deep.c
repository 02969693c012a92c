/* Every byte of every object that is known, read and verified as whoever needs it would. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "blockdev/tier/check_impl.h"
#include "blockdev/tier/pack.h"
#include "blockdev/tier/piece.h"

struct deep {
	struct check *check;
	size_t next;
	uint64_t total;
	uint8_t *group; /* room for one */
};

static int next_object(void *arg, struct bd_want *ret_want)
{
	struct deep *deep = arg;
	struct check *check = deep->check;
	for (; deep->next < check->count; deep->next++) {
		const struct check_object *object = &check->objects[deep->next];
		if (!object->is_known || object->kind == CHECK_OTHER || object->kind == CHECK_MANIFEST)
			continue;
		*ret_want = (struct bd_want){.size = object->size, .object_size = object->size, .tag = deep->next++};
		snprintf(ret_want->key, sizeof(ret_want->key), "%s", object->key);
		return 0;
	}
	return 1;
}

static int verify_extent(struct deep *deep, const struct check_object *object, const uint8_t *bytes)
{
	struct bd_pack_map *map;
	size_t need;
	int error = bd_pack_read_map(bytes, object->size, object->size, deep->check->store->store_id, object->extent, &need, &map);
	if (error != 0)
		return error == -ENOMEM ? error : -EUCLEAN;
	for (uint32_t i = 0; i < map->groups && error == 0; i++)
		error = bd_pack_read_group(map, i, bytes + map->group[i].offset, deep->group);
	free(map);
	return error;
}

static int verify_piece(struct deep *deep, const struct check_object *object, const uint8_t *bytes)
{
	struct bd_piece piece;
	uint32_t generation;
	uint64_t from, to;
	int error = bd_piece_decode(bytes, object->size, &piece);
	if (error != 0)
		return error == -ENOMEM ? error : -EUCLEAN;
	if (!bd_piece_key_parse(object->key, &generation, &from, &to) || piece.from != from || piece.to != to ||
	    piece.store_id != deep->check->store->store_id)
		error = -EUCLEAN;
	bd_piece_free(&piece);
	return error;
}

static int verify(struct deep *deep, const struct check_object *object, const uint8_t *bytes)
{
	switch (object->kind) {
	case CHECK_EXTENT:
	case CHECK_PART: return verify_extent(deep, object, bytes);
	case CHECK_INDEX: return XXH3_64bits(bytes, object->size) == object->sum ? 0 : -EUCLEAN;
	case CHECK_PIECE: return verify_piece(deep, object, bytes);
	case CHECK_MANIFEST:
	case CHECK_OTHER: break;
	}
	return 0;
}

static int got_object(void *arg, const struct bd_want *want, int error, const char *why, const uint8_t *bytes)
{
	struct deep *deep = arg;
	struct check *check = deep->check;
	const struct check_object *object = &check->objects[want->tag];
	if (error == -ENOENT)
		return 0; /* deleted since the list, when its time had come; else the next check says so */
	if (error != 0 && error != -EUCLEAN) {
		snprintf(check->message, sizeof(check->message), "%s: %s", want->key, why);
		return error;
	}
	if (error == 0) {
		error = verify(deep, object, bytes);
		why = "its checksums do not match";
	}
	if (error == -ENOMEM)
		return error;
	if (error != 0) {
		check->result.damaged++;
		check_report(check, "%s: damaged, %s", want->key, why);
	} else {
		check->result.verified_bytes += want->size;
	}
	return check_progress(check, "objects", check->result.verified_bytes, deep->total);
}

int check_deep(struct check *check)
{
	struct deep deep = {.check = check, .group = malloc(NF_MAX(BD_GROUP_BYTES, (uint64_t)BD_EXTENT_DATA_OFFSET))};
	if (deep.group == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < check->count; i++)
		deep.total += check->objects[i].is_known ? check->objects[i].size : 0;
	int error = bd_fetch(check->client, next_object, got_object, &deep);
	free(deep.group);
	return error;
}
