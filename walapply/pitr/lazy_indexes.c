/* The indexes of a plan, from files.
 *
 * Of a layer in the making, those that are needed are read whole. Of a layer that is in use the tables of all are in memory (some hundredths of an
 * index, which is some hundredths of the WAL) and pieces of their entries come when a block asks for them: in units, for which each index has
 * places by its size, so that a walk through a file's blocks reads each unit once, and indexes do not drive out each other's.
 *
 * Several segments may have one index together (lz_plan.runs). What is wrong with such a one is no reason to fail: the segments' own say the same, and where
 * they are not there either they are made from the WAL, which the layer has. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_impl.h"

#define AHEAD 8u /* units read at once */
#define HEAD (32u << 10) /* read at first: the tables of most indexes are in it */

static void unload(struct lz_index *index)
{
	for (uint32_t k = 0; index->units != NULL && k < index->places; k++)
		free(index->units[k]);
	free(index->units);
	free(index->held);
	free(index->bytes);
	if (index->file != NULL)
		bd_inode_unref(index->file, 1);
	index->units = NULL;
	index->held = NULL;
	index->bytes = NULL;
	index->file = NULL;
	index->places = 0;
}

void lz_indexes_free(struct lz_indexes *indexes)
{
	for (uint32_t i = 0; indexes->each != NULL && i < indexes->count; i++) {
		unload(&indexes->each[i]);
		pthread_mutex_destroy(&indexes->each[i].lock);
	}
	free(indexes->each);
	free(indexes->views);
	if (indexes->dir != NULL)
		bd_inode_unref(indexes->dir, 1);
	*indexes = (struct lz_indexes){0};
}

/* Room for one a segment, and none there. */
static int open_empty(struct lz_indexes *indexes, const struct lz_plan *plan, struct bd_inode *dir)
{
	*indexes = (struct lz_indexes){.plan = plan};
	indexes->views = calloc(NF_MAX(plan->segment_count, 1u), sizeof(*indexes->views));
	indexes->each = calloc(NF_MAX(plan->segment_count, 1u), sizeof(*indexes->each));
	if (indexes->views == NULL || indexes->each == NULL) {
		lz_indexes_free(indexes);
		return -ENOMEM;
	}
	indexes->dir = dir;
	bd_inode_ref(dir, 1);
	return 0;
}

static void add(struct lz_indexes *indexes, struct wa_run run)
{
	struct lz_index *index = &indexes->each[indexes->count++];
	index->run = run;
	pthread_mutex_init(&index->lock, NULL);
}

int lz_indexes_open(struct lz_indexes *indexes, const struct lz_plan *plan, struct bd_inode *dir)
{
	int error = open_empty(indexes, plan, dir);
	for (uint32_t i = 0; i < plan->segment_count && error == 0; i++)
		add(indexes, (struct wa_run){plan->first_segment + i, 1});
	return error;
}

void lz_index_name(const struct lz_plan *plan, struct wa_run run, char name[WH_RUN_NAME + 1])
{
	uint64_t of_plan = NF_MAX(run.first, plan->first_segment) - plan->first_segment;
	wh_run_name(name, plan->segments[of_plan].timeline, run, plan->segment_size);
}

static int open_file(const struct lz_indexes *indexes, uint32_t i, struct bd_inode **ret_file)
{
	char name[WH_RUN_NAME + 1];
	lz_index_name(indexes->plan, indexes->each[i].run, name);
	int error = bd_lookup(indexes->dir, name, ret_file);
	if (error == -ENOENT)
		nf_error("the WAL index %s of a layer is missing", name);
	return error == -ENOENT ? -EUCLEAN : error;
}

/* What wa_index_open and its likes said of index i. */
static int judge(const struct lz_indexes *indexes, uint32_t i, int status, const struct wa_error *why)
{
	const struct lz_plan *plan = indexes->plan;
	const struct wa_run run = indexes->each[i].run;
	const struct wa_index_info *info = &indexes->views[i].info;
	char name[WH_RUN_NAME + 1];
	lz_index_name(plan, run, name);
	if (status < 0)
		nf_error("the WAL index %s of a layer: %s", name, why->text);
	else if (info->base.v != run.first * plan->segment_size || info->limit.v != (run.first + run.count) * plan->segment_size)
		nf_error("the WAL index %s of a layer is of another segment", name);
	else
		return 0;
	return -EUCLEAN;
}

int lz_indexes_load(struct lz_indexes *indexes, uint32_t i)
{
	struct lz_index *index = &indexes->each[i];
	struct bd_inode *file;
	struct wa_error why = {0};
	uint8_t *bytes;
	size_t size;
	if (index->bytes != NULL)
		return 0;
	int error = open_file(indexes, i, &file);
	if (error != 0)
		return error;
	error = wh_read(file, LZ_INDEX_MAX, &bytes, &size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	error = judge(indexes, i, wa_index_open(bytes, size, &indexes->views[i], &why), &why);
	if (error == 0)
		index->bytes = bytes;
	else
		free(bytes);
	return error;
}

/* ------------------------------------------------------- pieces on demand */

/* Under the lock: a copy of the unit's bytes into its place. */
static int put_unit(struct lz_index *index, uint64_t unit, const uint8_t *bytes)
{
	uint32_t place = (uint32_t)(unit % index->places);
	if (index->units[place] == NULL)
		index->units[place] = malloc(LZ_INDEX_UNIT);
	if (index->units[place] != NULL)
		memcpy(index->units[place], bytes, LZ_INDEX_UNIT);
	index->held[place] = index->units[place] != NULL ? unit : UINT64_MAX;
	return index->units[place] != NULL ? 0 : -ENOMEM;
}

/* Units [first, first + count) into their places, under the lock. */
static int read_units(struct lz_index *index, uint64_t first, uint32_t count)
{
	uint8_t *bytes = nf_io_buffer((size_t)count * LZ_INDEX_UNIT);
	ssize_t got = bytes != NULL ? bd_read(index->file, first * LZ_INDEX_UNIT, bytes, (size_t)count * LZ_INDEX_UNIT) : -ENOMEM;
	int error = got < 0 ? (int)got : 0;
	if (error == 0)
		memset(bytes + got, 0, (size_t)count * LZ_INDEX_UNIT - (size_t)got);
	for (uint32_t i = 0; i < count && error == 0; i++)
		error = put_unit(index, first + i, bytes + (size_t)i * LZ_INDEX_UNIT);
	free(bytes);
	return error;
}

/* The unit's bytes, under the lock. Its neighbours come with it where all of the file has room, or where it is read in order: they are soon asked for,
 * and a read of them all takes little longer. */
static int find_unit(struct lz_index *index, uint64_t unit, const uint8_t **ret_bytes)
{
	const uint64_t units = index->file_size / LZ_INDEX_UNIT + 1;
	const uint32_t place = (uint32_t)(unit % index->places);
	const bool in_order = unit == index->last_unit + 1;
	int error = 0;
	index->last_unit = unit;
	if (index->held[place] != unit && (index->places >= units || (in_order && index->places >= 2 * AHEAD))) {
		uint64_t first = unit - unit % AHEAD, end = NF_MAX(NF_MIN(first + AHEAD, units), unit + 1);
		error = read_units(index, first, (uint32_t)(end - first));
	} else if (index->held[place] != unit) {
		error = read_units(index, unit, 1);
	}
	*ret_bytes = index->units[place];
	return error;
}

#define UNIT_BLOCKS (LZ_INDEX_UNIT / NF_BLOCK_SIZE)
#define AHEAD_MAX (BD_SCATTERED_MAX / UNIT_BLOCKS) /* units */

/* Is the unit to be read for the block? Not the file's last one, which need not be whole, nor one that is read in order: its neighbours come with it. */
static bool is_missing(struct lz_index *index, const struct wa_index *view, const struct lz_plan *plan, const struct wa_block *block,
		       uint64_t *ret_unit)
{
	uint32_t offset;
	size_t size;
	if (index->file == NULL || !wa_index_seek_place(view, block, plan->from, plan->to, &offset, &size))
		return false;
	*ret_unit = offset / LZ_INDEX_UNIT;
	pthread_mutex_lock(&index->lock);
	bool is_there = index->held[*ret_unit % index->places] == *ret_unit || *ret_unit == index->last_unit + 1;
	pthread_mutex_unlock(&index->lock);
	return !is_there && (*ret_unit + 1) * LZ_INDEX_UNIT <= index->file_size;
}

void lz_indexes_ahead(struct lz_indexes *indexes, const struct wa_block *block)
{
	struct bd_scattered blocks[BD_SCATTERED_MAX];
	struct lz_index *of[AHEAD_MAX];
	uint64_t units[AHEAD_MAX];
	unsigned count = 0;
	for (uint32_t i = 0; i < indexes->count && count < AHEAD_MAX; i++) {
		of[count] = &indexes->each[i];
		if (!is_missing(of[count], &indexes->views[i], indexes->plan, block, &units[count]))
			continue;
		for (unsigned k = 0; k < UNIT_BLOCKS; k++)
			blocks[count * UNIT_BLOCKS + k] = (struct bd_scattered){
				.inode = of[count]->file, .block = (uint32_t)(units[count] * UNIT_BLOCKS + k)};
		count++;
	}
	uint8_t *bytes = count > 1 ? nf_io_buffer((size_t)count * LZ_INDEX_UNIT) : NULL;
	if (bytes != NULL && bd_read_scattered(blocks, count * UNIT_BLOCKS, bytes) == 0) {
		for (unsigned i = 0; i < count; i++) {
			pthread_mutex_lock(&of[i]->lock);
			int error = put_unit(of[i], units[i], bytes + (size_t)i * LZ_INDEX_UNIT);
			pthread_mutex_unlock(&of[i]->lock);
			if (error != 0)
				break;
		}
	}
	free(bytes);
}

/* wa_index.fetch */
static int fetch(void *arg, uint32_t offset, size_t size, uint8_t *to)
{
	struct lz_index *index = arg;
	const uint8_t *bytes = NULL;
	uint64_t at = offset;
	int error = 0;
	pthread_mutex_lock(&index->lock);
	while (size > 0 && error == 0) {
		uint32_t inside = (uint32_t)(at % LZ_INDEX_UNIT);
		size_t here = NF_MIN(size, (size_t)(LZ_INDEX_UNIT - inside));
		error = find_unit(index, at / LZ_INDEX_UNIT, &bytes);
		if (error == 0)
			memcpy(to, bytes + inside, here);
		to += here;
		at += here;
		size -= here;
	}
	pthread_mutex_unlock(&index->lock);
	return error;
}

/* The first `size` bytes of the file, or as many as it has. */
static int read_head(struct bd_inode *file, size_t size, uint8_t **ret_bytes, size_t *ret_size)
{
	uint8_t *bytes = nf_io_buffer(nf_round_up(size, NF_BLOCK_SIZE));
	if (bytes == NULL)
		return -ENOMEM;
	ssize_t got = bd_read(file, 0, bytes, size);
	if (got < 0) {
		free(bytes);
		return (int)got;
	}
	*ret_bytes = bytes;
	*ret_size = (size_t)got;
	return 0;
}

/* A head that holds all tables; no more of it is kept. */
static int read_tables(struct lz_indexes *indexes, uint32_t i, uint8_t **ret_bytes, size_t *ret_size)
{
	struct bd_inode *file = indexes->each[i].file;
	struct wa_error why = {0};
	uint8_t *head = NULL;
	size_t got = 0, wanted = 0;
	int error = read_head(file, HEAD, &head, &got);
	if (error != 0)
		return error;
	error = wa_index_tables_size(head, got, &wanted, &why);
	if (error < 0) {
		free(head);
		return judge(indexes, i, error, &why);
	}
	if (wanted > got && got == HEAD && wanted <= LZ_INDEX_MAX) {
		free(head);
		error = read_head(file, wanted, &head, &got);
		if (error != 0)
			return error;
	}
	/* What the file does not have is found when the tables are opened. */
	*ret_size = NF_MIN(wanted, got);
	*ret_bytes = malloc(NF_MAX(*ret_size, (size_t)1));
	if (*ret_bytes != NULL)
		memcpy(*ret_bytes, head, *ret_size);
	free(head);
	return *ret_bytes == NULL ? -ENOMEM : 0;
}

/* The head is read; places for units come when all sizes are known. */
static int load_tables(struct lz_indexes *indexes, uint32_t i)
{
	struct lz_index *index = &indexes->each[i];
	struct wa_error why = {0};
	struct bd_attr attr;
	size_t size = 0;
	int error = open_file(indexes, i, &index->file);
	if (error == 0)
		error = read_tables(indexes, i, &index->bytes, &size);
	if (error != 0)
		return error;
	bd_inode_attr(index->file, &attr);
	index->file_size = attr.size_bytes;
	return judge(indexes, i,
		     wa_index_open_tables(index->bytes, size, (size_t)attr.size_bytes, fetch, index, &indexes->views[i], &why),
		     &why);
}

/* The index of one segment, from the WAL. That it is kept for the next time is worth a try only. */
static int remake(struct lz_indexes *indexes, uint32_t i, struct lz_log *log)
{
	struct lz_index *index = &indexes->each[i];
	char message[WA_HISTORY_MESSAGE_MAX] = "", name[WH_RUN_NAME + 1];
	struct wa_error why = {0};
	size_t size = 0;
	unload(index);
	lz_index_name(indexes->plan, index->run, name);
	nf_warn("the WAL index %s of a layer is made again", name);
	int error = lz_index_make(indexes->plan, log, index->run.first, &index->bytes, &size, message, sizeof(message));
	if (error != 0) {
		nf_error("%s", message);
		return error;
	}
	error = wh_write(indexes->dir, name, 0600, index->bytes, size);
	if (error != 0)
		nf_warn("the WAL index %s of a layer cannot be written: %s", name, strerror(-error));
	return judge(indexes, i, wa_index_open(index->bytes, size, &indexes->views[i], &why), &why);
}

static bool is_bad(int error)
{
	return error == -EUCLEAN || error == -EIO || error == -EBADMSG || error == -ENOTSUP;
}

/* The indexes of segments [from, end) of the plan, each its own. */
static int add_segments(struct lz_indexes *indexes, struct lz_log *log, uint64_t from, uint64_t end)
{
	int error = 0;
	for (uint64_t number = from; number < end && error == 0; number++) {
		uint32_t i = indexes->count;
		add(indexes, (struct wa_run){number, 1});
		error = load_tables(indexes, i);
		if (is_bad(error))
			error = remake(indexes, i, log);
	}
	return error;
}

static int add_run(struct lz_indexes *indexes, struct lz_log *log, struct wa_run run)
{
	const struct lz_plan *plan = indexes->plan;
	uint32_t i = indexes->count;
	add(indexes, run);
	int error = load_tables(indexes, i);
	indexes->has_runs |= error == 0;
	if (!is_bad(error))
		return error;
	unload(&indexes->each[i]);
	pthread_mutex_destroy(&indexes->each[i].lock);
	indexes->views[i] = (struct wa_index){.fetch = NULL};
	indexes->count--;
	return add_segments(indexes, log, NF_MAX(run.first, plan->first_segment),
			    NF_MIN(run.first + run.count, plan->first_segment + plan->segment_count));
}

/* Places in proportion to what there is of each. */
static int make_places(struct lz_indexes *indexes)
{
	uint64_t all = 0;
	for (uint32_t i = 0; i < indexes->count; i++)
		all += indexes->each[i].file != NULL ? indexes->each[i].file_size : 0;
	for (uint32_t i = 0; i < indexes->count; i++) {
		struct lz_index *index = &indexes->each[i];
		if (index->file == NULL)
			continue;
		uint64_t units = index->file_size / LZ_INDEX_UNIT + 1;
		uint64_t share = all > 0 ? LZ_INDEX_UNITS * index->file_size / all : 0;
		index->places = (uint32_t)NF_MAX(NF_MIN(units, share), UINT64_C(1));
		index->held = malloc(index->places * sizeof(*index->held));
		index->units = calloc(index->places, sizeof(*index->units));
		if (index->held == NULL || index->units == NULL)
			return -ENOMEM;
		memset(index->held, 0xFF, index->places * sizeof(*index->held));
	}
	return 0;
}

int lz_indexes_open_tables(struct lz_indexes *indexes, const struct lz_plan *plan, struct lz_log *log, struct bd_inode *dir,
			   bool use_runs)
{
	uint64_t at = plan->first_segment, end = plan->first_segment + plan->segment_count;
	int error = open_empty(indexes, plan, dir);
	if (error != 0)
		return error;
	for (uint32_t r = 0; use_runs && r < plan->run_count && error == 0; r++) {
		const struct wa_run run = plan->runs[r];
		error = add_segments(indexes, log, at, run.first);
		if (error == 0)
			error = add_run(indexes, log, run);
		at = run.first + run.count;
	}
	if (error == 0)
		error = add_segments(indexes, log, at, end);
	if (error == 0)
		error = make_places(indexes);
	if (error != 0)
		lz_indexes_free(indexes);
	return error;
}
