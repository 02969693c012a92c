/* The WAL of a plan, page by page, wherever its segments are. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/lazy_impl.h"

void lz_segment_name(const struct lz_plan *plan, uint64_t number, char name[WA_SEGMENT_NAME + 1])
{
	const struct lz_segment *segment = &plan->segments[number - plan->first_segment];
	wa_segment_name(name, segment->timeline, (struct nf_lsn){number * plan->segment_size}, plan->segment_size);
}

/* The pg_wal of a view. */
static int open_place(struct bd_store *store, struct bd_view view, struct bd_inode **ret_dir)
{
	int error = wh_path(store, view, "pg_wal", ret_dir);
	return error == -ENOENT ? 0 : error;
}

int lz_log_open(struct lz_log *log, struct bd_store *store, const struct lz_plan *plan, struct bd_view base, struct bd_inode *dir)
{
	*log = (struct lz_log){.store = store, .plan = plan};
	pthread_mutex_init(&log->lock, NULL);
	memset(log->held, 0xFF, sizeof(log->held));
	log->files = calloc(NF_MAX(plan->segment_count, 1u), sizeof(struct bd_inode *));
	log->pages = nf_io_buffer((size_t)LZ_CACHED_PAGES * WA_PAGE_SIZE);
	int error = log->files == NULL || log->pages == NULL ? -ENOMEM : 0;
	if (error == 0)
		error = open_place(store, base, &log->dirs[LZ_IN_BASE]);
	if (error == 0 && plan->wal_branch.v != 0)
		error = open_place(store, wh_head(plan->wal_branch), &log->dirs[LZ_IN_BRANCH]);
	if (error == 0)
		error = bd_lookup(dir, "wal", &log->dirs[LZ_IN_OWN]);
	if (error == -ENOENT)
		error = 0;
	if (error != 0)
		lz_log_close(log);
	return error;
}

void lz_log_close(struct lz_log *log)
{
	if (log->plan == NULL)
		return;
	for (uint32_t i = 0; log->files != NULL && i < log->plan->segment_count; i++)
		if (log->files[i] != NULL)
			bd_inode_unref(log->files[i], 1);
	for (unsigned i = 0; i < LZ_PLACES; i++)
		if (log->dirs[i] != NULL)
			bd_inode_unref(log->dirs[i], 1);
	free(log->files);
	free(log->pages);
	pthread_mutex_destroy(&log->lock);
	log->plan = NULL;
}

/* Under the lock. */
static int open_segment(struct lz_log *log, uint64_t number, struct bd_inode **ret_file)
{
	const struct lz_plan *plan = log->plan;
	char name[WA_SEGMENT_NAME + 1];
	if (number < plan->first_segment || number - plan->first_segment >= plan->segment_count)
		return -ENODATA;
	struct bd_inode **file = &log->files[number - plan->first_segment];
	if (*file == NULL) {
		struct bd_inode *dir = log->dirs[plan->segments[number - plan->first_segment].place];
		lz_segment_name(plan, number, name);
		int error = dir != NULL ? bd_lookup(dir, name, file) : -ENOENT;
		if (error != 0)
			return error == -ENOENT ? -ENODATA : error;
	}
	*ret_file = *file;
	return 0;
}

/* Under the lock: the page's place in the cache, or -1. A page may be in any of the WAYS places of its set, so that pages which are wanted together, from
 * anywhere in the log, do not push each other out. */
static int find_cached(const struct lz_log *log, uint64_t number)
{
	unsigned first = (unsigned)(number % (LZ_CACHED_PAGES / LZ_CACHE_WAYS)) * LZ_CACHE_WAYS;
	for (unsigned i = first; i < first + LZ_CACHE_WAYS; i++)
		if (log->held[i] == number)
			return (int)i;
	return -1;
}

/* Under the lock: in the place of the page of its set that came first. */
static void add_cached(struct lz_log *log, uint64_t number, const uint8_t *page)
{
	unsigned set = (unsigned)(number % (LZ_CACHED_PAGES / LZ_CACHE_WAYS));
	if (find_cached(log, number) >= 0)
		return;
	unsigned place = set * LZ_CACHE_WAYS + log->hands[set]++ % LZ_CACHE_WAYS;
	memcpy(log->pages + (size_t)place * WA_PAGE_SIZE, page, WA_PAGE_SIZE);
	log->held[place] = number;
}

int lz_log_page(void *arg, struct nf_lsn at, uint8_t *page)
{
	struct lz_log *log = arg;
	uint64_t number = at.v / WA_PAGE_SIZE;
	struct bd_inode *file;
	int error = 0;
	pthread_mutex_lock(&log->lock);
	int place = find_cached(log, number);
	if (place >= 0)
		memcpy(page, log->pages + (size_t)place * WA_PAGE_SIZE, WA_PAGE_SIZE);
	else
		error = open_segment(log, at.v / log->plan->segment_size, &file);
	pthread_mutex_unlock(&log->lock);
	if (place >= 0 || error != 0)
		return error;
	ssize_t got = bd_read(file, at.v % log->plan->segment_size, page, WA_PAGE_SIZE);
	if (got != WA_PAGE_SIZE)
		return got < 0 ? (int)got : -ENODATA;
	pthread_mutex_lock(&log->lock);
	add_cached(log, number, page);
	pthread_mutex_unlock(&log->lock);
	return 0;
}

/* Those of the pages that are not in the cache. */
static unsigned missing(struct lz_log *log, const struct nf_lsn *pages, unsigned count, struct bd_scattered *blocks,
			uint64_t *numbers)
{
	unsigned n = 0;
	pthread_mutex_lock(&log->lock);
	for (unsigned i = 0; i < count; i++) {
		uint64_t number = pages[i].v / WA_PAGE_SIZE;
		if (find_cached(log, number) >= 0 ||
		    open_segment(log, pages[i].v / log->plan->segment_size, &blocks[n].inode) != 0)
			continue;
		blocks[n].block = (uint32_t)(pages[i].v % log->plan->segment_size / WA_PAGE_SIZE);
		numbers[n++] = number;
	}
	pthread_mutex_unlock(&log->lock);
	return n;
}

void lz_log_ahead(void *arg, const struct nf_lsn *pages, unsigned count)
{
	struct lz_log *log = arg;
	struct bd_scattered blocks[BD_SCATTERED_MAX];
	uint64_t numbers[BD_SCATTERED_MAX];
	unsigned n = missing(log, pages, NF_MIN(count, BD_SCATTERED_MAX), blocks, numbers);
	uint8_t *bytes = n > 1 ? nf_io_buffer((size_t)n * WA_PAGE_SIZE) : NULL;
	if (bytes != NULL && bd_read_scattered(blocks, n, bytes) == 0) {
		pthread_mutex_lock(&log->lock);
		for (unsigned i = 0; i < n; i++)
			add_cached(log, numbers[i], bytes + (size_t)i * WA_PAGE_SIZE);
		pthread_mutex_unlock(&log->lock);
	}
	free(bytes);
}

int lz_log_scattered(struct lz_log *log, const struct nf_lsn *pages, unsigned count, uint8_t *bytes)
{
	struct bd_scattered blocks[BD_SCATTERED_MAX];
	const uint32_t segment_size = log->plan->segment_size;
	int error = 0;
	assert(count > 0 && count <= BD_SCATTERED_MAX);
	pthread_mutex_lock(&log->lock);
	for (unsigned i = 0; i < count && error == 0; i++) {
		error = open_segment(log, pages[i].v / segment_size, &blocks[i].inode);
		blocks[i].block = (uint32_t)(pages[i].v % segment_size / WA_PAGE_SIZE);
	}
	pthread_mutex_unlock(&log->lock);
	return error == 0 ? bd_read_scattered(blocks, count, bytes) : error;
}

int lz_log_read(struct lz_log *log, struct nf_lsn at, size_t count, uint8_t *bytes)
{
	uint32_t segment_size = log->plan->segment_size;
	int error = 0;
	for (size_t size = count * WA_PAGE_SIZE; size > 0 && error == 0;) {
		struct bd_inode *file;
		size_t offset = at.v % segment_size, n = NF_MIN(size, segment_size - offset);
		pthread_mutex_lock(&log->lock);
		error = open_segment(log, at.v / segment_size, &file);
		pthread_mutex_unlock(&log->lock);
		if (error != 0)
			return error;
		ssize_t got = bd_read(file, offset, bytes, n);
		error = got == (ssize_t)n ? 0 : got < 0 ? (int)got : -ENODATA;
		at.v += n;
		bytes += n;
		size -= n;
	}
	return error;
}

struct wa_range lz_range(const struct lz_plan *plan, const struct lz_indexes *indexes, struct lz_log *log)
{
	return (struct wa_range){
		.version = plan->version,
		.segment_size = plan->segment_size,
		.system_id = plan->system_id,
		.from = plan->from,
		.to = plan->to,
		.indexes = indexes->views,
		.index_count = indexes->count,
		.read_log = lz_log_page,
		.read_ahead = lz_log_ahead,
		.arg = log,
	};
}
