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

int lz_log_page(void *arg, struct nf_lsn at, uint8_t *page)
{
	struct lz_log *log = arg;
	uint64_t number = at.v / WA_PAGE_SIZE;
	unsigned place = (unsigned)(number % LZ_CACHED_PAGES);
	uint8_t *cached = log->pages + (size_t)place * WA_PAGE_SIZE;
	struct bd_inode *file;
	int error = 0;
	pthread_mutex_lock(&log->lock);
	if (log->held[place] != number) {
		log->held[place] = UINT64_MAX;
		error = open_segment(log, at.v / log->plan->segment_size, &file);
		if (error == 0) {
			ssize_t got = bd_read(file, at.v % log->plan->segment_size, cached, WA_PAGE_SIZE);
			error = got == WA_PAGE_SIZE ? 0 : got < 0 ? (int)got : -ENODATA;
		}
		if (error == 0)
			log->held[place] = number;
	}
	if (error == 0)
		memcpy(page, cached, WA_PAGE_SIZE);
	pthread_mutex_unlock(&log->lock);
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
		.arg = log,
	};
}
