/* From places to bytes, with few reads of the disk.
 *
 * Blocks that are neighbours in the file and on disk are one read, straight into the caller's memory: a run. What was updated at random
 * comes in short runs, and a disk does only so many reads a second, whatever their size. But a checkpoint of Postgres, and the kernel when it
 * hands over what it gathered, write in the order of the file: short runs lie close to each other on disk, in order. So those that are
 * nearly neighbours there are joined: one read of all of them, with what lies between, into memory of the thread's own, and a copy.
 *
 * Nothing is verified here. Threading: extents are held while they are read. */
#include <pthread.h>
#include <stdlib.h>

#include "blockdev/extent/extent.h"
#include "blockdev/file/inode.h"

#define LONG_RUN 8u /* blocks: a run like this is worth a read of its own, without the copy */
#define GAP_MAX 4u /* blocks read for nothing between two runs: they take about as long as another read */
#define JOIN_BLOCKS 192u /* memory for joined reads of one batch */

struct run {
	uint64_t loc;
	unsigned at, count; /* blocks of the batch */
};

/* Runs [first, end) of the sorted list, read together: `count` blocks from the first one's place on. */
struct joined {
	unsigned first, end, count;
	uint8_t *data;
};

struct fetch {
	struct bd_store *store;
	bool cached; /* extents through the kernel's page cache */
	uint8_t *to;
	struct run runs[BD_READ_BLOCKS];
	unsigned run_count;
	struct joined joined[BD_READ_BLOCKS / 2];
	unsigned joined_count;
	uint8_t *join_memory; /* NULL: join nothing */
	unsigned join_used; /* blocks of it */
	struct nf_io_op ops[BD_READ_BLOCKS];
	unsigned op_count;
	struct bd_extent *held[BD_READ_BLOCKS];
	unsigned held_count;
};

static pthread_key_t join_key;
static pthread_once_t join_once = PTHREAD_ONCE_INIT;
static bool join_key_made;

static void make_join_key(void)
{
	join_key_made = pthread_key_create(&join_key, free) == 0;
}

/* The thread's memory for joined reads, made when it is first needed and freed at the thread's end; NULL: none. */
static uint8_t *thread_join_memory(void)
{
	pthread_once(&join_once, make_join_key);
	if (!join_key_made)
		return NULL;
	uint8_t *memory = pthread_getspecific(join_key);
	if (memory == NULL) {
		memory = nf_io_buffer((size_t)JOIN_BLOCKS * NF_BLOCK_SIZE);
		if (memory != NULL && pthread_setspecific(join_key, memory) != 0) {
			free(memory);
			memory = NULL;
		}
	}
	return memory;
}

static uint8_t *block_of(const struct fetch *fetch, unsigned at)
{
	return fetch->to + (size_t)at * NF_BLOCK_SIZE;
}

/* Blocks from `at` on that lie one behind the other in one extent or log record, or are holes. */
static unsigned run_length(const struct bd_place *places, unsigned count, unsigned at)
{
	unsigned n = 1;
	while (at + n < count && places[at + n].loc == bd_loc_next(places[at].loc, n))
		n++;
	return n;
}

/* Holes become zeros, blocks in the log an op each run, runs in extents a list. */
static int split(struct fetch *fetch, const struct bd_place *places, unsigned count)
{
	int error = 0;
	for (unsigned i = 0; i < count && error >= 0;) {
		unsigned n = run_length(places, count, i);
		if (bd_loc_is_extent(places[i].loc)) {
			fetch->runs[fetch->run_count++] = (struct run){.loc = places[i].loc, .at = i, .count = n};
		} else if (bd_loc_is_log(places[i].loc)) {
			error = bd_log_read_op(fetch->store->log, places[i].loc, n, block_of(fetch, i),
					       &fetch->ops[fetch->op_count]);
			fetch->op_count += error == 1;
		} else {
			memset(block_of(fetch, i), 0, (size_t)n * NF_BLOCK_SIZE);
		}
		i += n;
	}
	return NF_MIN(error, 0);
}

static int compare_runs(const void *a, const void *b)
{
	const struct run *x = a, *y = b;
	return (x->loc > y->loc) - (x->loc < y->loc);
}

/* One read of `count` slots from `loc` on. */
static int add_read(struct fetch *fetch, uint64_t loc, unsigned count, uint8_t *to)
{
	struct bd_extent **extent = &fetch->held[fetch->held_count];
	int error = bd_extent_get(fetch->store, bd_loc_extent_id(loc), extent);
	if (error != 0)
		return error;
	fetch->held_count++;
	struct nf_io_op *op = &fetch->ops[fetch->op_count++];
	*op = bd_extent_read_op(*extent, bd_loc_slot(loc), count, to);
	op->cached = fetch->cached && bd_extent_may_cache(fetch->store, *extent);
	return 0;
}

/* Can `next` be read together with what begins at `loc` and has `count` slots so far? */
static bool joins(const struct run *next, uint64_t loc, unsigned count)
{
	return next->count < LONG_RUN && bd_loc_extent_id(next->loc) == bd_loc_extent_id(loc) &&
	       next->loc <= loc + count + GAP_MAX;
}

/* The runs from `first` on that are read together; their slots are *ret_count. Two places of a batch may be one slot (a file that shares
 * with itself). */
static unsigned join_end(const struct fetch *fetch, unsigned first, unsigned *ret_count)
{
	const struct run *runs = fetch->runs;
	unsigned end = first + 1, count = runs[first].count, room = JOIN_BLOCKS - fetch->join_used;
	while (fetch->join_memory != NULL && runs[first].count < LONG_RUN && end < fetch->run_count &&
	       joins(&runs[end], runs[first].loc, count)) {
		unsigned with = NF_MAX(count, (unsigned)(runs[end].loc - runs[first].loc) + runs[end].count);
		if (with > room)
			break;
		count = with;
		end++;
	}
	*ret_count = count;
	return end;
}

static int add_runs(struct fetch *fetch)
{
	int error = 0;
	if (fetch->run_count > 1 && fetch->join_memory != NULL)
		qsort(fetch->runs, fetch->run_count, sizeof(*fetch->runs), compare_runs);
	for (unsigned i = 0; i < fetch->run_count && error == 0;) {
		const struct run *run = &fetch->runs[i];
		unsigned count, end = join_end(fetch, i, &count);
		uint8_t *to = block_of(fetch, run->at);
		if (end > i + 1) {
			to = fetch->join_memory + (size_t)fetch->join_used * NF_BLOCK_SIZE;
			fetch->join_used += count;
			fetch->joined[fetch->joined_count++] =
				(struct joined){.first = i, .end = end, .count = count, .data = to};
		}
		error = add_read(fetch, run->loc, count, to);
		i = end;
	}
	return error;
}

static void copy_joined(const struct fetch *fetch)
{
	for (unsigned j = 0; j < fetch->joined_count; j++) {
		const struct joined *joined = &fetch->joined[j];
		uint64_t start = fetch->runs[joined->first].loc;
		for (unsigned r = joined->first; r < joined->end; r++) {
			const struct run *run = &fetch->runs[r];
			memcpy(block_of(fetch, run->at), joined->data + (size_t)(run->loc - start) * NF_BLOCK_SIZE,
			       (size_t)run->count * NF_BLOCK_SIZE);
		}
	}
}

static int fetch_places(struct bd_store *store, const struct bd_place *places, unsigned count, uint8_t *buf, bool cached,
			uint8_t *join_memory, bool *ret_joined)
{
	struct fetch fetch;
	fetch.store = store;
	fetch.cached = cached;
	fetch.to = buf;
	fetch.join_memory = join_memory;
	fetch.run_count = fetch.joined_count = fetch.join_used = fetch.op_count = fetch.held_count = 0;
	int error = split(&fetch, places, count);
	if (error == 0)
		error = add_runs(&fetch);
	if (error == 0 && fetch.op_count > 0)
		error = nf_io_run(store->io, fetch.ops, fetch.op_count);
	if (error == 0)
		copy_joined(&fetch);
	for (unsigned i = 0; i < fetch.held_count; i++)
		bd_extent_put(store, fetch.held[i]);
	*ret_joined = fetch.joined_count > 0;
	return error;
}

int places_fetch(struct bd_store *store, const struct bd_place *places, unsigned count, void *buf, bool cached)
{
	bool joined;
	assert(count <= BD_READ_BLOCKS);
	int error = fetch_places(store, places, count, buf, cached, count > 1 ? thread_join_memory() : NULL, &joined);
	/* It may have been a slot between that cannot be read, which nobody asked for. */
	if (error != 0 && joined)
		error = fetch_places(store, places, count, buf, cached, NULL, &joined);
	return error;
}
