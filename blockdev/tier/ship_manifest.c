/* A manifest: a checkpoint, held together by checkpoint_lock (capture), and then put at leisure.
 *
 * Under checkpoint_lock, right behind a checkpoint:
 *   - hard links of the index files: the index as of the checkpoint's last step. They are in no file's way: RocksDB never changes a table.
 *   - every extent whose `T` record is not in that index is held, so that its file stays though it is removed. Where its slot table may still be
 *     written, the head of the file is read now: it names what the log describes before `end`, and nothing newer.
 *   - `end`, the log's durable end: the index knows nothing behind it. So index, parts, and pieces up to `end` are a state.
 *   - where there is no chain of pieces, one begins here, at `retain`.
 * Afterwards: files of the index, parts; wait until the tail has shipped up to `end`; the manifest last. */
#include "blockdev/tier/ship_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 1000

struct part {
	struct bd_extent *extent;
	uint32_t used;
	void *head; /* NULL: its table does not change any more */
};

struct capture {
	struct bd_ship *ship;
	char dir[4096];
	uint32_t number;
	uint64_t checkpoint; /* store->checkpoint_done then */
	struct bd_log_position position;
	uint64_t chain, asked;
	struct ship_goal goal; /* what the checkpoint has */
	struct part *parts;
	uint32_t part_count;
	struct bd_branch_info *branches;
	size_t branch_count;
};

static void capture_free(struct capture *c)
{
	for (uint32_t i = 0; i < c->part_count; i++) {
		if (c->parts[i].extent != NULL)
			bd_extent_put(c->ship->store, c->parts[i].extent);
		free(c->parts[i].head);
	}
	free(c->parts);
	free(c->branches);
}

/* Under checkpoint_lock. */
static int capture_part(struct capture *c, const struct bd_extent_stat *stat)
{
	struct bd_store *store = c->ship->store;
	struct part *part = &c->parts[c->part_count];
	*part = (struct part){.used = stat->used};
	if (bd_extent_get(store, stat->id, &part->extent) != 0)
		return 0;
	c->part_count++;
	if (bd_extent_table_is_final(store, part->extent))
		return 0;
	part->head = nf_io_buffer(BD_EXTENT_DATA_OFFSET);
	if (part->head == NULL)
		return -ENOMEM;
	int error = bd_extent_read_file(store, part->extent, 0, part->head, BD_EXTENT_DATA_OFFSET);
	if (error == -ENODATA) {
		/* A young file: behind its header there is nothing yet. */
		memset(part->head, 0, BD_EXTENT_DATA_OFFSET);
		error = bd_extent_read_file(store, part->extent, 0, part->head, NF_IO_ALIGN);
	}
	return error;
}

/* Under checkpoint_lock. */
static int capture_parts(struct capture *c)
{
	struct bd_extent_stat *stats;
	size_t count;
	int error = bd_extents_list(c->ship->store, &stats, &count);
	if (error != 0)
		return error;
	c->parts = calloc(count + 1, sizeof(*c->parts));
	error = c->parts != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && error == 0; i++) {
		if (!bd_rows_is_settled(c->ship->tier->rows, stats[i].id))
			error = capture_part(c, &stats[i]);
	}
	free(stats);
	return error;
}

/* Under checkpoint_lock, called right behind the checkpoint. */
static int capture(void *arg)
{
	struct capture *c = arg;
	struct bd_ship *ship = c->ship;
	struct bd_store *store = ship->store;
	int error = bd_index_checkpoint(store->index, c->dir);
	if (error == 0)
		error = capture_parts(c);
	if (error == 0)
		error = bd_branch_list(store, &c->branches, &c->branch_count);
	if (error != 0)
		return error;
	bd_log_positions(store->log, &c->position);
	c->goal = ship_goal_now(ship);
	c->checkpoint = atomic_load(&store->checkpoint_done);
	c->number = atomic_load(&ship->tier->next_manifest);
	/* What is removed from here on is in this manifest still. */
	atomic_store(&ship->tier->next_manifest, c->number + 1);
	pthread_mutex_lock(&ship->lock);
	if (!ship->whole) {
		ship->whole = true;
		ship->chain++;
		ship->shipped = c->position.retain;
		ship->piece_count = 0;
	}
	c->chain = ship->chain;
	ship->needed = c->goal;
	ship->hurry = true;
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
	return 0;
}

static int put_part(struct capture *c, const struct part *part, struct bd_manifest_part *ret_part)
{
	struct bd_ship *ship = c->ship;
	struct bd_pack *pack;
	struct bd_pack_map *map;
	const void *object;
	uint64_t size;
	char key[BD_MANIFEST_KEY_SIZE];
	uint32_t id = bd_extent_id(part->extent);
	int error = ship_pack(ship, part->extent, part->used, part->head, false, &pack, &object, &size, &map);
	if (error != 0)
		return error;
	free(map);
	bd_manifest_part_key(ship->generation, c->number, id, key);
	error = ship_put(ship, key, object, size);
	bd_pack_free(pack);
	if (error == 0)
		*ret_part = (struct bd_manifest_part){.extent = id, .used = part->used, .size = size};
	return error;
}

/* Each is let go when it is there. */
static int put_parts(struct capture *c, struct bd_manifest *manifest)
{
	int error = 0;
	manifest->parts = calloc(c->part_count + 1, sizeof(*manifest->parts));
	if (manifest->parts == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->part_count && error == 0; i++) {
		struct part *part = &c->parts[i];
		error = put_part(c, part, &manifest->parts[i]);
		if (error != 0)
			break;
		manifest->part_count++;
		bd_extent_put(c->ship->store, part->extent);
		part->extent = NULL;
		free(part->head);
		part->head = NULL;
	}
	return error;
}

static int name_branches(struct capture *c, struct bd_manifest *manifest)
{
	manifest->branches = calloc(c->branch_count + 1, sizeof(*manifest->branches));
	if (manifest->branches == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < c->branch_count; i++) {
		struct bd_manifest_branch *branch = &manifest->branches[i];
		branch->name = strdup(c->branches[i].name);
		branch->id = c->branches[i].id.v;
		branch->parent = c->branches[i].parent.v;
		manifest->branch_count++;
		if (branch->name == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* Wait until the tail has shipped up to the checkpoint's end, and list its pieces. -EAGAIN: the chain has broken. */
static int wait_pieces(struct capture *c, struct bd_manifest *manifest)
{
	struct bd_ship *ship = c->ship;
	int error = 0;
	pthread_mutex_lock(&ship->lock);
	while (!ship->stop && ship->whole && ship->chain == c->chain && ship->shipped < c->goal.end) {
		ship_wait(ship, WAIT_MS);
		ship->hurry = true;
		pthread_mutex_unlock(&ship->lock);
		bool over = ship_is_over(ship);
		pthread_mutex_lock(&ship->lock);
		if (over)
			break;
	}
	if (ship->stop || (ship->whole && ship->chain == c->chain && ship->shipped < c->goal.end))
		error = -ECANCELED;
	else if (!ship->whole || ship->chain != c->chain)
		error = -EAGAIN;
	if (error == 0) {
		manifest->safe_ns = ship->chain_ns;
		manifest->pieces = calloc(ship->piece_count + 1, sizeof(*manifest->pieces));
		error = manifest->pieces != NULL ? 0 : -ENOMEM;
		for (uint32_t i = 0; i < ship->piece_count && error == 0; i++) {
			const struct bd_manifest_piece *piece = &ship->pieces[i];
			if (piece->to > manifest->retain && piece->to <= ship->shipped)
				manifest->pieces[manifest->piece_count++] = *piece;
		}
	}
	pthread_mutex_unlock(&ship->lock);
	return error;
}

/* It is there: what lies before it need not be known any more. */
static void publish(struct capture *c, const struct bd_manifest *manifest)
{
	struct bd_ship *ship = c->ship;
	uint32_t kept = 0;
	pthread_mutex_lock(&ship->lock);
	for (uint32_t i = 0; i < ship->piece_count; i++) {
		if (ship->pieces[i].to > manifest->retain)
			ship->pieces[kept++] = ship->pieces[i];
	}
	ship->piece_count = kept;
	ship->piece_bytes = 0;
	ship->piece_news = 0;
	ship->manifest = c->number;
	ship->manifest_chain = c->chain;
	ship->manifest_end = c->goal.end;
	ship->manifest_ms = ship_now_ms();
	/* The chain may have broken behind it: then this is as far as it is safe. */
	ship->safe_ns = ship->whole && ship->chain == c->chain ? ship->chain_ns : manifest->safe_ns;
	ship->flush_done = NF_MAX(ship->flush_done, c->asked);
	atomic_store(&ship->tier->manifest_checkpoint, c->checkpoint);
	pthread_cond_broadcast(&ship->changed);
	pthread_mutex_unlock(&ship->lock);
}

static int put_manifest(struct capture *c, struct bd_manifest *manifest)
{
	char key[BD_MANIFEST_KEY_SIZE];
	void *bytes;
	size_t size;
	int error = bd_manifest_encode(manifest, &bytes, &size);
	if (error != 0)
		return error;
	bd_manifest_key(manifest->generation, manifest->number, key);
	error = ship_put(c->ship, key, bytes, size);
	free(bytes);
	return error;
}

static int make(struct capture *c)
{
	struct bd_ship *ship = c->ship;
	struct bd_store *store = ship->store;
	int error = ship_checkpoint(ship, capture, c);
	if (error != 0)
		return error;
	struct bd_manifest manifest = {
		.generation = ship->generation,
		.number = c->number,
		.store_id = store->store_id,
		.created_ns = bd_now_ns(),
		.format_version = store->format_version,
		.size_limit_bytes = store->size_limit_bytes,
		.log_bytes = bd_log_ring_bytes(store->log),
		.store_created_ns = store->created_ns,
		.replay = c->position.replay,
		.retain = c->position.retain,
		.log_generation = c->position.generation,
	};
	error = ship_index(ship, c->dir, &manifest);
	if (error == 0)
		error = put_parts(c, &manifest);
	if (error == 0)
		error = name_branches(c, &manifest);
	if (error == 0)
		error = wait_pieces(c, &manifest);
	if (error == 0)
		error = put_manifest(c, &manifest);
	if (error == 0)
		error = ship_confirm(ship);
	if (error == 0)
		publish(c, &manifest);
	bd_manifest_free(&manifest);
	return error;
}

int ship_manifest(struct bd_ship *ship)
{
	struct capture *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->ship = ship;
	snprintf(c->dir, sizeof(c->dir), "%s/" SHIP_INDEX_DIR, ship->store->path);
	int error = ship_remove_dir(c->dir);
	pthread_mutex_lock(&ship->lock);
	c->asked = ship->flush_asked;
	pthread_mutex_unlock(&ship->lock);
	if (error == 0)
		error = make(c);
	pthread_mutex_lock(&ship->lock);
	ship->needed.end = 0;
	pthread_mutex_unlock(&ship->lock);
	int removed = ship_remove_dir(c->dir);
	capture_free(c);
	free(c);
	return error != 0 ? error : removed;
}
