/* Deleting what nothing refers to any more.
 *
 * The window: the newest manifest, and each one whose successor is younger than the grace time; so whoever reads an older state has that long. Out of the window
 * a manifest goes first, and then what no manifest in it refers to:
 *   part/, index/  not named by a manifest in the window, nor one of the tables that the next manifest may name
 *   log/           of the generation of a manifest in the window and behind its `retain`, or named by one: kept
 *   extent/        doomed (rows.h), when the window begins at the first manifest without it; then its record is deleted too. Once in a life, as soon as the window is all
 *                  of this generation: those that have no record, because a process ended between put and commit
 * Everything of generations above ours is somebody else's. The lease is confirmed before each deletion.
 * It runs on the bulk thread, which makes manifests and uploads extents: none is half put meanwhile. What the tail puts is behind the newest manifest's `retain`. */
#include "blockdev/tier/ship_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>

#include "blockdev/tier/lease.h"
#include "common/nf_log.h"

#define DOOMED_AT_ONCE 64u
#define KNOWN_MAX 1000000u /* manifests */

/* Keys that are referred to, by their hashes: one that is not is not among them; one in 2^64 / number is taken for one that is, and stays. */
struct keys {
	uint64_t *hashes;
	size_t count, capacity;
};

/* Pieces behind a manifest. */
struct chain {
	uint32_t generation;
	uint64_t retain;
};

struct reap {
	struct bd_ship *ship;
	struct ship_known *window;
	size_t count;
	struct keys keys;
	struct chain *chains;
};

static int keys_add(struct keys *keys, const char *key)
{
	if (keys->count == keys->capacity) {
		size_t capacity = keys->capacity * 2 + 1024;
		uint64_t *hashes = realloc(keys->hashes, capacity * sizeof(*hashes));
		if (hashes == NULL)
			return -ENOMEM;
		keys->hashes = hashes;
		keys->capacity = capacity;
	}
	keys->hashes[keys->count++] = XXH3_64bits(key, strlen(key));
	return 0;
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static bool keys_have(const struct keys *keys, const char *key)
{
	uint64_t hash = XXH3_64bits(key, strlen(key));
	return keys->count > 0 && bsearch(&hash, keys->hashes, keys->count, sizeof(hash), compare_hashes) != NULL;
}

/* ---- manifests */

struct known_list {
	struct ship_known *known;
	size_t count, capacity;
};

static int add_known(struct known_list *list, const struct ob_entry *entry)
{
	struct ship_known known = {.size = entry->size, .modified_s = entry->modified_s};
	if (!bd_manifest_key_parse(entry->key, &known.generation, &known.number))
		return 0;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity * 2 + 64;
		struct ship_known *grown = capacity <= KNOWN_MAX ? realloc(list->known, capacity * sizeof(*grown)) : NULL;
		if (grown == NULL)
			return -ENOMEM;
		list->known = grown;
		list->capacity = capacity;
	}
	list->known[list->count++] = known;
	return 0;
}

/* Call `each` for every object under `prefix`. It may delete: lists go on behind names. */
typedef int (*each_fn)(void *arg, const struct ob_entry *entry);
static int each_object(struct bd_ship *ship, const char *prefix, each_fn each, void *arg)
{
	char after[OB_AFTER_MAX] = "";
	for (bool more = true; more;) {
		struct ob_op op;
		int error = ship_list(ship, prefix, after[0] != '\0' ? after : NULL, &op);
		for (unsigned i = 0; error == 0 && i < op.list.count; i++)
			error = each(arg, &op.list.entries[i]);
		if (error == 0) {
			more = op.list.more;
			snprintf(after, sizeof(after), "%s", op.list.next_after);
		}
		ob_op_clear(&op);
		if (error != 0)
			return error;
	}
	return 0;
}

static int each_known(void *arg, const struct ob_entry *entry)
{
	return add_known(arg, entry);
}

int ship_known_manifests(struct bd_ship *ship, struct ship_known **ret_known, size_t *ret_count)
{
	struct known_list list = {0};
	int error = each_object(ship, "manifest/", each_known, &list);
	if (error != 0) {
		free(list.known);
		return error;
	}
	*ret_known = list.known;
	*ret_count = list.count;
	return 0;
}

int ship_get_manifest(struct bd_ship *ship, const struct ship_known *known, struct bd_manifest *ret_manifest)
{
	char key[BD_MANIFEST_KEY_SIZE];
	void *bytes;
	bd_manifest_key(known->generation, known->number, key);
	int error = ship_get(ship, key, known->size, &bytes);
	if (error != 0)
		return error;
	error = bd_manifest_decode(bytes, known->size, ret_manifest);
	free(bytes);
	if (error != 0)
		nf_warn("%s: %s", key, error == -EPROTONOSUPPORT ? "of a newer neonfs" : "damaged, or not a manifest");
	return error;
}

/* ---- the window */

/* Out of the window: the first `*ret_out` of the manifests. */
static int find_window(struct bd_ship *ship, const struct ship_known *known, size_t count, size_t *ret_out)
{
	int64_t now_s = time(NULL);
	size_t out = 0;
	if (count == 0 || known[count - 1].generation != ship->generation || known[count - 1].number != ship->manifest) {
		/* Another machine's, or our newest is not there: nothing is touched. */
		nf_warn("object store: the newest manifest is not this store's last one; nothing is deleted");
		return -EEXIST;
	}
	while (out + 1 < count && known[out + 1].modified_s + (int64_t)ship->tier->config.grace_s <= now_s)
		out++;
	*ret_out = out;
	return 0;
}

static int delete_manifests(struct bd_ship *ship, const struct ship_known *known, size_t out)
{
	int error = 0;
	for (size_t i = 0; i < out && error == 0; i++) {
		char key[BD_MANIFEST_KEY_SIZE];
		bd_manifest_key(known[i].generation, known[i].number, key);
		error = ship_delete(ship, key);
	}
	return error;
}

static int add_manifest(struct reap *reap, size_t i)
{
	struct bd_manifest manifest;
	char key[BD_MANIFEST_KEY_SIZE];
	int error = ship_get_manifest(reap->ship, &reap->window[i], &manifest);
	if (error != 0)
		return error;
	for (uint32_t j = 0; j < manifest.file_count && error == 0; j++) {
		const struct bd_manifest_file *file = &manifest.files[j];
		bd_manifest_file_key(file->generation, file->number, file->name, key);
		error = file->generation != 0 ? keys_add(&reap->keys, key) : 0;
	}
	for (uint32_t j = 0; j < manifest.part_count && error == 0; j++) {
		bd_manifest_part_key(manifest.generation, manifest.number, manifest.parts[j].extent, key);
		error = keys_add(&reap->keys, key);
	}
	for (uint32_t j = 0; j < manifest.piece_count && error == 0; j++) {
		const struct bd_manifest_piece *piece = &manifest.pieces[j];
		bd_piece_key(piece->generation, piece->from, piece->to, key);
		error = keys_add(&reap->keys, key);
	}
	reap->chains[i] = (struct chain){.generation = manifest.generation, .retain = manifest.retain};
	bd_manifest_free(&manifest);
	return error;
}

static int load_window(struct reap *reap)
{
	char key[BD_MANIFEST_KEY_SIZE];
	int error = 0;
	reap->chains = calloc(reap->count, sizeof(*reap->chains));
	if (reap->chains == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < reap->count && error == 0; i++)
		error = add_manifest(reap, i);
	for (size_t i = 0; i < reap->ship->file_count && error == 0; i++) {
		const struct ship_file *file = &reap->ship->files[i];
		bd_manifest_file_key(file->generation, file->number, file->name, key);
		error = keys_add(&reap->keys, key);
	}
	if (error == 0 && reap->keys.count > 0)
		qsort(reap->keys.hashes, reap->keys.count, sizeof(*reap->keys.hashes), compare_hashes);
	return error;
}

/* ---- objects */

/* The generation in a key "PREFIX/GGGGGGGG-...". False when there is none. */
static bool key_generation(const char *key, uint32_t *ret_generation)
{
	const char *at = strchr(key, '/');
	char *end;
	if (at == NULL)
		return false;
	unsigned long value = strtoul(at + 1, &end, 16);
	*ret_generation = (uint32_t)value;
	return end == at + 9 && *end == '-';
}

static int reap_named(void *arg, const struct ob_entry *entry)
{
	struct reap *reap = arg;
	uint32_t generation;
	if (!key_generation(entry->key, &generation) || generation > reap->ship->generation || keys_have(&reap->keys, entry->key))
		return 0;
	return ship_delete(reap->ship, entry->key);
}

static int reap_piece(void *arg, const struct ob_entry *entry)
{
	struct reap *reap = arg;
	uint32_t generation;
	uint64_t from, to;
	if (!bd_piece_key_parse(entry->key, &generation, &from, &to) || generation > reap->ship->generation || keys_have(&reap->keys, entry->key))
		return 0;
	for (size_t i = 0; i < reap->count; i++) {
		if (reap->chains[i].generation == generation && to > reap->chains[i].retain)
			return 0;
	}
	return ship_delete(reap->ship, entry->key);
}

static int reap_doomed(struct reap *reap)
{
	struct bd_ship *ship = reap->ship;
	const struct ship_known *oldest = &reap->window[0];
	int error = 0;
	for (uint32_t from = 0; error == 0;) {
		struct bd_rows_doomed doomed[DOOMED_AT_ONCE];
		size_t count = bd_rows_doomed(ship->tier->rows, from, doomed, DOOMED_AT_ONCE);
		for (size_t i = 0; i < count && error == 0; i++) {
			const struct bd_rows_doomed *d = &doomed[i];
			char key[BD_TIER_KEY_SIZE];
			if (oldest->generation < d->without_generation ||
			    (oldest->generation == d->without_generation && oldest->number < d->without_number))
				continue;
			bd_rows_key(d->generation, d->extent, key);
			error = ship_delete(ship, key);
			if (error == 0)
				error = bd_rows_forget(ship->store, d->extent);
		}
		if (count < DOOMED_AT_ONCE)
			break;
		from = doomed[count - 1].extent + 1;
	}
	return error;
}

static bool is_doomed(struct bd_ship *ship, uint32_t generation, uint32_t extent)
{
	struct bd_rows_doomed doomed;
	return bd_rows_doomed(ship->tier->rows, extent, &doomed, 1) == 1 && doomed.extent == extent && doomed.generation == generation;
}

static int reap_orphan(void *arg, const struct ob_entry *entry)
{
	struct reap *reap = arg;
	struct bd_ship *ship = reap->ship;
	uint32_t generation, there, extent;
	char key[BD_TIER_KEY_SIZE];
	if (!key_generation(entry->key, &generation) || generation > ship->generation || sscanf(strrchr(entry->key, '-'), "-%8" SCNx32, &extent) != 1)
		return 0;
	bd_rows_key(generation, extent, key);
	if (strcmp(key, entry->key) != 0 || (bd_rows_find(ship->tier->rows, extent, &there, NULL) && there == generation) ||
	    is_doomed(ship, generation, extent))
		return 0;
	return ship_delete(ship, entry->key);
}

static int reap_objects(struct reap *reap)
{
	struct bd_ship *ship = reap->ship;
	int error = load_window(reap);
	if (error == 0)
		error = each_object(ship, "part/", reap_named, reap);
	if (error == 0)
		error = each_object(ship, "index/", reap_named, reap);
	if (error == 0)
		error = each_object(ship, "log/", reap_piece, reap);
	if (error == 0)
		error = reap_doomed(reap);
	if (error == 0 && !ship->orphans_gone && reap->window[0].generation == ship->generation) {
		error = each_object(ship, "extent/", reap_orphan, reap);
		ship->orphans_gone = error == 0;
	}
	return error;
}

int ship_reap(struct bd_ship *ship)
{
	struct reap reap = {.ship = ship};
	struct ship_known *known;
	size_t count, out;
	int error = ship_known_manifests(ship, &known, &count);
	if (error != 0)
		return error;
	error = find_window(ship, known, count, &out);
	if (error == 0)
		error = delete_manifests(ship, known, out);
	if (error == 0) {
		reap.window = known + out;
		reap.count = count - out;
		error = reap_objects(&reap);
	}
	free(reap.keys.hashes);
	free(reap.chains);
	free(known);
	return error;
}
