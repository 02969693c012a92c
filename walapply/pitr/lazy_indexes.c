/* The indexes of a plan's segments, from files.
 *
 * Of a layer in the making, those that are needed are read whole. Of a layer that is in use the tables of all are in memory (some hundredths of an
 * index, which is some hundredths of the WAL) and pieces of their entries come when a block asks for them: in units, of which each segment has a
 * few places, so that a walk through a file's blocks reads each unit once, and segments do not drive out each other's. */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_impl.h"

#define HEAD (32u << 10) /* read at first: the tables of most indexes are in it */

void lz_indexes_free(struct lz_indexes *indexes)
{
	for (uint32_t i = 0; indexes->each != NULL && i < indexes->count; i++) {
		struct lz_index *index = &indexes->each[i];
		for (uint32_t k = 0; index->units != NULL && k < indexes->units_each; k++)
			free(index->units[k]);
		free(index->units);
		free(index->held);
		free(index->bytes);
		if (index->file != NULL)
			bd_inode_unref(index->file, 1);
	}
	free(indexes->each);
	free(indexes->views);
	if (indexes->dir != NULL) {
		bd_inode_unref(indexes->dir, 1);
		pthread_mutex_destroy(&indexes->lock);
	}
	*indexes = (struct lz_indexes){0};
}

int lz_indexes_open(struct lz_indexes *indexes, const struct lz_plan *plan, struct bd_inode *dir)
{
	*indexes = (struct lz_indexes){.plan = plan, .count = plan->segment_count};
	indexes->units_each = NF_MAX(LZ_INDEX_UNITS / NF_MAX(plan->segment_count, 1u), 1u);
	indexes->views = calloc(NF_MAX(plan->segment_count, 1u), sizeof(*indexes->views));
	indexes->each = calloc(NF_MAX(plan->segment_count, 1u), sizeof(*indexes->each));
	if (indexes->views == NULL || indexes->each == NULL) {
		lz_indexes_free(indexes);
		return -ENOMEM;
	}
	pthread_mutex_init(&indexes->lock, NULL);
	indexes->dir = dir;
	bd_inode_ref(dir, 1);
	return 0;
}

static int open_file(const struct lz_indexes *indexes, uint32_t i, struct bd_inode **ret_file)
{
	char name[WA_SEGMENT_NAME + 1];
	lz_segment_name(indexes->plan, indexes->plan->first_segment + i, name);
	int error = bd_lookup(indexes->dir, name, ret_file);
	if (error == -ENOENT)
		nf_error("the WAL index %s of a layer is missing", name);
	return error == -ENOENT ? -EUCLEAN : error;
}

/* What wa_index_open and its likes said of segment i. */
static int judge(const struct lz_indexes *indexes, uint32_t i, int status, const struct wa_error *why)
{
	const struct lz_plan *plan = indexes->plan;
	uint64_t base = (plan->first_segment + i) * plan->segment_size;
	const struct wa_index_info *info = &indexes->views[i].info;
	char name[WA_SEGMENT_NAME + 1];
	lz_segment_name(plan, plan->first_segment + i, name);
	if (status < 0)
		nf_error("the WAL index %s of a layer: %s", name, why->text);
	else if (info->base.v != base || info->limit.v != base + plan->segment_size)
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

/* The unit's bytes, under the lock. */
static int find_unit(struct lz_index *index, uint64_t unit, const uint8_t **ret_bytes)
{
	uint32_t place = (uint32_t)(unit % index->all->units_each);
	if (index->held[place] != unit) {
		index->held[place] = UINT64_MAX;
		if (index->units[place] == NULL)
			index->units[place] = nf_io_buffer(LZ_INDEX_UNIT);
		if (index->units[place] == NULL)
			return -ENOMEM;
		ssize_t got = bd_read(index->file, unit * LZ_INDEX_UNIT, index->units[place], LZ_INDEX_UNIT);
		if (got < 0)
			return (int)got;
		memset(index->units[place] + got, 0, LZ_INDEX_UNIT - (size_t)got);
		index->held[place] = unit;
	}
	*ret_bytes = index->units[place];
	return 0;
}

/* wa_index.fetch */
static int fetch(void *arg, uint32_t offset, size_t size, uint8_t *to)
{
	struct lz_index *index = arg;
	const uint8_t *bytes = NULL;
	uint64_t at = offset;
	int error = 0;
	pthread_mutex_lock(&index->all->lock);
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
	pthread_mutex_unlock(&index->all->lock);
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

static int load_tables(struct lz_indexes *indexes, uint32_t i)
{
	struct lz_index *index = &indexes->each[i];
	struct wa_error why = {0};
	struct bd_attr attr;
	size_t size = 0;
	index->all = indexes;
	index->held = malloc(indexes->units_each * sizeof(*index->held));
	index->units = calloc(indexes->units_each, sizeof(*index->units));
	if (index->held == NULL || index->units == NULL)
		return -ENOMEM;
	memset(index->held, 0xFF, indexes->units_each * sizeof(*index->held));
	int error = open_file(indexes, i, &index->file);
	if (error == 0)
		error = read_tables(indexes, i, &index->bytes, &size);
	if (error != 0)
		return error;
	bd_inode_attr(index->file, &attr);
	return judge(indexes, i,
		     wa_index_open_tables(index->bytes, size, (size_t)attr.size_bytes, fetch, index, &indexes->views[i], &why),
		     &why);
}

int lz_indexes_open_tables(struct lz_indexes *indexes, const struct lz_plan *plan, struct bd_inode *dir)
{
	int error = lz_indexes_open(indexes, plan, dir);
	if (error != 0)
		return error;
	for (uint32_t i = 0; i < plan->segment_count && error == 0; i++)
		error = load_tables(indexes, i);
	if (error != 0)
		lz_indexes_free(indexes);
	return error;
}
