/* The log's tail as pieces.
 *
 * A shipment is the log from `shipped` to the durable end, with the blocks that it names in extents whose `T` record does not lie before that end. It is read once, record by
 * record; what would be too much for one piece is cut, between records or, where one record names more than fits, at a page inside it. A state can only end where a whole
 * shipment does, so only its last piece says until when everything is safe.
 *
 * An extent that is named and has gone: whoever removed it had made durable before that nothing refers to it. So at the end of what was asked for the durable end is read
 * anew, and the shipment goes on to there.
 * Memory: the buffers below, and twice as much while a piece is encoded. */
#include "blockdev/tier/ship_impl.h"

#include <stdlib.h>

#include "common/nf_log.h"

/* What the items of one page can name fits into one piece. */
static_assert(SHIP_PIECE_BLOCKS * sizeof(uint64_t) >= NF_IO_ALIGN, "a record that is cut has a page for each piece");

struct shipment {
	struct bd_ship *ship;
	uint64_t end;
	int64_t read_ns;
	bool gone; /* an extent that is named is not there any more */
	uint8_t *record; /* the one that is read */
	/* the piece that is being made: records [from, from + size) and the blocks */
	uint64_t from, size;
	uint8_t *records, *blocks;
	uint32_t block_count;
	struct bd_piece_run runs[SHIP_PIECE_BLOCKS];
	uint32_t run_count;
};

static void shipment_free(struct shipment *s)
{
	if (s == NULL)
		return;
	free(s->record);
	free(s->records);
	free(s->blocks);
	free(s);
}

static struct shipment *shipment_new(struct bd_ship *ship)
{
	struct shipment *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	s->ship = ship;
	s->record = nf_io_buffer(BD_LOG_RECORD_MAX);
	s->records = malloc(SHIP_PIECE_RECORDS + BD_LOG_RECORD_MAX);
	s->blocks = nf_io_buffer((size_t)SHIP_PIECE_BLOCKS * NF_BLOCK_SIZE);
	if (s->record == NULL || s->records == NULL || s->blocks == NULL) {
		shipment_free(s);
		return NULL;
	}
	return s;
}

/* Into the chain; behind `shipped` until the shipment is whole. */
static int add_piece(struct bd_ship *ship, uint64_t from, uint64_t to, uint64_t size)
{
	int error = 0;
	pthread_mutex_lock(&ship->lock);
	if (ship->piece_count == ship->piece_capacity) {
		uint32_t capacity = ship->piece_capacity * 2 + 64;
		struct bd_manifest_piece *pieces = realloc(ship->pieces, capacity * sizeof(*pieces));
		if (pieces != NULL) {
			ship->pieces = pieces;
			ship->piece_capacity = capacity;
		} else {
			error = -ENOMEM;
		}
	}
	if (error == 0) {
		ship->pieces[ship->piece_count++] =
			(struct bd_manifest_piece){.generation = ship->generation, .from = from, .to = to, .size = size};
		ship->piece_bytes += size;
		ship->piece_news++;
	}
	pthread_mutex_unlock(&ship->lock);
	return error;
}

/* Put what was gathered up to position `to` as a piece; records behind it begin the next one. */
static int cut(struct shipment *s, uint64_t to, int64_t read_ns)
{
	struct bd_piece piece = {
		.store_id = s->ship->store->store_id,
		.from = s->from,
		.to = to,
		.read_ns = read_ns,
		.runs = s->runs,
		.run_count = s->run_count,
		.records = s->records,
		.blocks = s->blocks,
	};
	char key[BD_PIECE_KEY_SIZE];
	void *bytes;
	size_t size;
	int error = bd_piece_encode(&piece, &bytes, &size);
	if (error != 0)
		return error;
	bd_piece_key(s->ship->generation, s->from, to, key);
	error = ship_put(s->ship, key, bytes, size);
	free(bytes);
	if (error == 0)
		error = add_piece(s->ship, s->from, to, size);
	if (error != 0)
		return error;
	memmove(s->records, s->records + (to - s->from), s->size - (to - s->from));
	s->size -= to - s->from;
	s->from = to;
	s->block_count = s->run_count = 0;
	return 0;
}

/* Is the extent in the object store, and does the shipment say so? */
static bool is_told(struct shipment *s, uint32_t extent)
{
	struct bd_ship *ship = s->ship;
	uint32_t generation;
	if (!bd_rows_find(ship->tier->rows, extent, &generation, NULL))
		return false;
	bool told = true;
	pthread_mutex_lock(&ship->lock);
	for (size_t i = 0; i < ship->recent_count && told; i++)
		told = ship->recents[i].extent != extent || ship->recents[i].ticket <= s->end;
	pthread_mutex_unlock(&ship->lock);
	return told;
}

/* Of what is there, and cannot be read; not of what is being removed, or waited for no more. */
static bool is_damage(int error)
{
	return error == -EIO || error == -EUCLEAN || error == -ENODATA;
}

static int read_slot(struct bd_ship *ship, struct bd_extent *extent, uint32_t slot, uint8_t *buf)
{
	int error = bd_extent_read_file(ship->store, extent, BD_EXTENT_DATA_OFFSET + (uint64_t)slot * NF_BLOCK_SIZE, buf, NF_BLOCK_SIZE);
	if (!is_damage(error))
		return error;
	nf_error("extent %08x: slot %u cannot be read (%s); the copy in the object store has it as damaged too", bd_extent_id(extent),
		 slot, strerror(-error));
	memset(buf, 0, NF_BLOCK_SIZE);
	return 0;
}

int ship_read_slots(struct bd_ship *ship, struct bd_extent *extent, uint32_t slot, uint32_t count, void *buf)
{
	int error = bd_extent_read_file(ship->store, extent, BD_EXTENT_DATA_OFFSET + (uint64_t)slot * NF_BLOCK_SIZE, buf,
					(size_t)count * NF_BLOCK_SIZE);
	if (!is_damage(error))
		return error;
	error = 0;
	for (uint32_t i = 0; i < count && error == 0; i++)
		error = read_slot(ship, extent, slot + i, (uint8_t *)buf + (size_t)i * NF_BLOCK_SIZE);
	return error;
}

static void note_run(struct shipment *s, uint32_t extent, uint32_t slot, uint32_t count)
{
	struct bd_piece_run *last = s->run_count > 0 ? &s->runs[s->run_count - 1] : NULL;
	if (last != NULL && last->extent == extent && last->slot + last->count == slot)
		last->count += count;
	else
		s->runs[s->run_count++] = (struct bd_piece_run){.extent = extent, .slot = slot, .count = count};
	s->block_count += count;
}

/* Blocks of the record at `lsn` (its bytes are in s->records already). A record names at most one block for each 8 bytes of its items, so each time that the blocks are full
 * there is a page of it behind the piece's first. */
static int add_blocks(struct shipment *s, uint32_t id, uint32_t slot, uint32_t count)
{
	struct bd_extent *extent;
	if (is_told(s, id))
		return 0;
	if (bd_extent_get(s->ship->store, id, &extent) != 0) {
		s->gone = true;
		return 0;
	}
	int error = 0;
	while (count > 0 && error == 0) {
		uint32_t room = SHIP_PIECE_BLOCKS - s->block_count, n = NF_MIN(room, count);
		if (n == 0) {
			assert(s->size > NF_IO_ALIGN);
			error = cut(s, s->from + NF_IO_ALIGN, 0);
			continue;
		}
		error = ship_read_slots(s->ship, extent, slot, n, s->blocks + (size_t)s->block_count * NF_BLOCK_SIZE);
		if (error == -ESTALE) {
			/* Away, and just being removed. */
			s->gone = true;
			error = 0;
			break;
		}
		if (error == 0)
			note_run(s, id, slot, n);
		slot += n;
		count -= n;
	}
	bd_extent_put(s->ship->store, extent);
	return error;
}

/* The blocks that an item names in an extent. */
static int item_blocks(uint8_t type, struct nf_reader body, uint64_t *ret_loc, uint32_t *ret_count)
{
	struct bd_run run;
	struct bd_block_id id;
	uint64_t from, sum;
	int error = 0;
	*ret_count = 0;
	if (type == BD_ITEM_RUN) {
		error = bd_item_run_parse(body, &run);
		*ret_loc = error == 0 ? run.loc : 0;
		*ret_count = error == 0 ? run.count : 0;
	} else if (type == BD_ITEM_MOVE) {
		error = bd_item_move_parse(body, &id, &from, ret_loc, &sum);
		*ret_count = 1;
	}
	if (error == 0 && *ret_count > 0 && !bd_loc_is_extent(*ret_loc))
		*ret_count = 0;
	if (error == 0 && *ret_count > 0 && (uint64_t)bd_loc_slot(*ret_loc) + *ret_count > BD_EXTENT_SLOTS)
		error = -EUCLEAN;
	return error;
}

static int count_blocks(struct nf_reader items, uint64_t *ret_count)
{
	struct nf_reader body;
	uint8_t type;
	uint64_t loc;
	uint32_t count;
	*ret_count = 0;
	while (bd_log_next_item(&items, &type, &body)) {
		int error = item_blocks(type, body, &loc, &count);
		if (error != 0)
			return error;
		*ret_count += count;
	}
	return items.failed ? -EUCLEAN : 0;
}

static int add_record(struct shipment *s, uint64_t lsn, uint32_t size, struct nf_reader items)
{
	struct nf_reader body;
	uint8_t type;
	uint64_t blocks, loc;
	uint32_t count;
	int error = count_blocks(items, &blocks);
	/* The part of a record that was cut in the middle stays: its blocks are out. */
	if (error == 0 && s->size > 0 && (s->size + size > SHIP_PIECE_RECORDS || s->block_count + blocks > SHIP_PIECE_BLOCKS))
		error = cut(s, lsn, 0);
	if (error != 0)
		return error;
	memcpy(s->records + s->size, s->record, size);
	s->size += size;
	while (error == 0 && bd_log_next_item(&items, &type, &body)) {
		error = item_blocks(type, body, &loc, &count);
		if (error == 0 && count > 0)
			error = add_blocks(s, bd_loc_extent_id(loc), bd_loc_slot(loc), count);
	}
	return error;
}

static int ship_all(struct shipment *s)
{
	struct bd_store *store = s->ship->store;
	uint64_t lsn = s->from;
	for (;;) {
		while (lsn < s->end) {
			uint32_t size;
			struct nf_reader items;
			int error = bd_log_read_record(store->log, lsn, s->record, &size, &items);
			if (error == 0)
				error = add_record(s, lsn, size, items);
			if (error != 0)
				return error;
			lsn += size;
		}
		if (!s->gone)
			return cut(s, lsn, s->read_ns);
		s->gone = false;
		s->read_ns = bd_now_ns();
		s->end = bd_log_durable(store->log);
		/* Nothing more is durable: then the removal lies before the end already. */
		if (s->end == lsn)
			return cut(s, lsn, s->read_ns);
	}
}

/* Under lock: `T` records before `shipped` are told for good. */
static void forget_recents(struct bd_ship *ship)
{
	size_t kept = 0;
	for (size_t i = 0; i < ship->recent_count; i++) {
		if (ship->recents[i].ticket > ship->shipped)
			ship->recents[kept++] = ship->recents[i];
	}
	ship->recent_count = kept;
}

struct ship_goal ship_goal_now(const struct bd_ship *ship)
{
	struct ship_goal goal = {.read_ns = bd_now_ns(), .written = atomic_load(&ship->store->written_bytes)};
	goal.end = bd_log_durable(ship->store->log);
	return goal;
}

int ship_tail(struct bd_ship *ship, const struct ship_goal *goal)
{
	struct shipment *s = shipment_new(ship);
	if (s == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&ship->lock);
	s->from = ship->shipped;
	pthread_mutex_unlock(&ship->lock);
	s->end = goal->end;
	s->read_ns = goal->read_ns;
	int error = ship_all(s);
	/* Put after the lease had run out it may be of a generation that nobody looks at any more. */
	if (error == 0)
		error = ship_confirm(ship);
	if (error == 0) {
		pthread_mutex_lock(&ship->lock);
		ship->shipped = s->from;
		ship->chain_ns = s->read_ns;
		if (ship->manifest_chain == ship->chain)
			ship->safe_ns = ship->chain_ns;
		ship->shipped_written = goal->written;
		forget_recents(ship);
		pthread_cond_broadcast(&ship->changed);
		pthread_mutex_unlock(&ship->lock);
	}
	shipment_free(s);
	return error;
}
