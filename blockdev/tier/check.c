/* What should be in the object store, compared with what is there.
 *
 * The list of objects is taken first, then what refers to them: so an object that was put in between is not missed. What seems to be missing is looked for once more, since
 * it may have been put or deleted meanwhile. What nothing refers to may be about to be: it counts as left over when it is older than an hour. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/extent/extent.h"
#include "blockdev/tier/check_impl.h"
#include "blockdev/tier/rows.h"

#define OBJECTS_MAX 20000000u
#define YOUNG_S 3600
#define DOOMED_AT_ONCE 64u

void check_report(struct check *check, const char *format, ...)
{
	char line[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (check->report != NULL)
		check->report(check->arg, line);
}

int check_progress(struct check *check, const char *phase, uint64_t done, uint64_t total)
{
	return check->progress != NULL && check->progress(check->arg, phase, done, total) != 0 ? -ECANCELED : 0;
}

/* ---- the list */

static int add_object(void *arg, const struct ob_entry *entry)
{
	struct check *check = arg;
	if (check->count == check->capacity) {
		size_t capacity = check->capacity * 2 + 256;
		struct check_object *objects = capacity <= OBJECTS_MAX ? realloc(check->objects, capacity * sizeof(*objects)) : NULL;
		if (objects == NULL)
			return -ENOMEM;
		check->objects = objects;
		check->capacity = capacity;
	}
	char *key = strdup(entry->key);
	if (key == NULL)
		return -ENOMEM;
	check->objects[check->count++] = (struct check_object){.key = key, .size = entry->size, .modified_s = entry->modified_s};
	check->result.objects++;
	check->result.bytes += entry->size;
	return check->count % 1000 == 0 ? check_progress(check, "list", check->count, 0) : 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(((const struct check_object *)a)->key, ((const struct check_object *)b)->key);
}

static int compare_key(const void *key, const void *object)
{
	return strcmp(key, ((const struct check_object *)object)->key);
}

struct check_object *check_find(struct check *check, const char *key)
{
	return check->count > 0 ? bsearch(key, check->objects, check->count, sizeof(*check->objects), compare_key) : NULL;
}

/* 0 it is there; -ENOENT; as of ob_run. */
static int look(struct check *check, const char *key, uint64_t *ret_size)
{
	struct ob_op op = {.kind = OB_HEAD, .key = key, .deadline_ms = BD_FETCH_REQUEST_MS};
	int error = ob_run(check->client, &op);
	if (error != 0 && error != -ENOENT)
		snprintf(check->message, sizeof(check->message), "%s: %s", key, op.message);
	*ret_size = op.object_size;
	return error;
}

int check_refer(struct check *check, const char *key, uint64_t size, enum check_kind kind, const char *owner, struct check_object **ret_object)
{
	struct check_object *object = check_find(check, key);
	uint64_t there = object != NULL ? object->size : 0, ignored;
	int error = object != NULL ? 0 : look(check, key, &there);
	if (error == -ENOENT && owner != NULL && strchr(owner, '/') != NULL && look(check, owner, &ignored) == -ENOENT)
		error = 1; /* both have gone, as they may */
	*ret_object = object;
	if (object != NULL) {
		object->is_known = true;
		object->kind = kind;
	}
	if (error == -ENOENT) {
		check->result.missing++;
		check_report(check, "%s: missing; %s refers to it", key, owner);
		return 0;
	}
	if (error == 0 && there != size) {
		check->result.damaged++;
		check_report(check, "%s: damaged, it has %llu bytes and not %llu", key, (unsigned long long)there, (unsigned long long)size);
		if (object != NULL)
			object->kind = CHECK_OTHER; /* told already */
	}
	return error < 0 ? error : 0;
}

/* ---- the store's own records */

static int check_extent(struct check *check, uint32_t id)
{
	struct bd_rows *rows = check->store->tier->rows;
	const struct bd_pack_map *map;
	char key[BD_TIER_KEY_SIZE], owner[64];
	uint32_t generation, now;
	if (!bd_rows_find(rows, id, &generation, &map))
		return 0;
	uint64_t size = map->object_size;
	bd_rows_release(rows, map);
	bd_rows_key(generation, id, key);
	snprintf(owner, sizeof(owner), "extent %08x", id);
	struct check_object *object = check_find(check, key);
	/* Removed since? */
	if (object == NULL && (!bd_rows_find(rows, id, &now, NULL) || now != generation))
		return 0;
	int error = check_refer(check, key, size, CHECK_EXTENT, owner, &object);
	if (object != NULL)
		object->extent = id;
	return error;
}

static int check_extents(struct check *check)
{
	struct bd_extent_stat *stats;
	size_t count;
	int error = bd_extents_list(check->store, &stats, &count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < count && error == 0; i++)
		error = check_extent(check, stats[i].id);
	free(stats);
	return error;
}

static void mark_doomed(struct check *check)
{
	size_t count = DOOMED_AT_ONCE;
	for (uint32_t from = 0; count == DOOMED_AT_ONCE;) {
		struct bd_rows_doomed doomed[DOOMED_AT_ONCE];
		count = bd_rows_doomed(check->store->tier->rows, from, doomed, DOOMED_AT_ONCE);
		for (size_t i = 0; i < count; i++) {
			char key[BD_TIER_KEY_SIZE];
			bd_rows_key(doomed[i].generation, doomed[i].extent, key);
			struct check_object *object = check_find(check, key);
			if (object == NULL || object->is_known)
				continue;
			object->is_known = object->is_doomed = true;
			object->kind = CHECK_EXTENT;
			object->extent = doomed[i].extent;
			check->result.doomed++;
		}
		from = count > 0 ? doomed[count - 1].extent + 1 : from;
	}
}

/* ---- what is left over */

static bool may_stay(const struct check_object *object, int64_t now_s)
{
	return object->is_known || strcmp(object->key, "store") == 0 || strncmp(object->key, "lease/", 6) == 0 ||
	       (object->modified_s != 0 && object->modified_s > now_s - YOUNG_S);
}

static void count_orphans(struct check *check)
{
	int64_t now_s = time(NULL);
	for (size_t i = 0; i < check->count; i++) {
		const struct check_object *object = &check->objects[i];
		if (may_stay(object, now_s))
			continue;
		check->result.orphans++;
		check->result.orphan_bytes += object->size;
	}
}

static void check_free(struct check *check)
{
	for (size_t i = 0; i < check->count; i++)
		free(check->objects[i].key);
	free(check->objects);
	ob_client_close(check->client);
}

static int run(struct check *check, bool deep)
{
	int error = bd_list(check->client, "", add_object, check, check->message, sizeof(check->message));
	if (error == 0 && check->count > 0)
		qsort(check->objects, check->count, sizeof(*check->objects), compare_keys);
	if (error == 0)
		error = check_extents(check);
	if (error == 0) {
		mark_doomed(check);
		error = check_manifests(check);
	}
	if (error == 0)
		count_orphans(check);
	if (error == 0 && deep)
		error = check_deep(check);
	return error;
}

int bd_store_check_objects(struct bd_store *store, bool deep, bd_progress_fn progress, void (*report)(void *arg, const char *line), void *arg,
			   struct bd_check_result *ret_result, char *message, size_t size)
{
	struct check check = {.store = store, .progress = progress, .report = report, .arg = arg};
	if (store->tier == NULL) {
		snprintf(message, size, "the store has no object store");
		return -ENOENT;
	}
	const struct bd_tier_config *config = &store->tier->config;
	const struct ob_options options = {.parallel = config->parallel, .receive_rate = config->receive_rate};
	int error = ob_client_open(config->url, &options, &check.client, check.message, sizeof(check.message));
	if (error == 0)
		error = run(&check, deep);
	if (error == 0)
		*ret_result = check.result;
	else
		snprintf(message, size, "%s", check.message[0] != '\0' ? check.message : strerror(-error));
	check_free(&check);
	return error;
}
