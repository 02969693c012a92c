/* One full segment: the records of hot pages onto them, images on the way, and which pages are hot behind it. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/hot_impl.h"

#define HOT_PAGES 512u /* of a branch */
#define HOT_ADMIT 200u /* records in a segment behind the one that makes the page */
#define HOT_AGAIN 16u /* in a later one, at least: more where too many pages would have to be looked back for */
#define HOT_LOOKS 4096u /* records of a segment's looks back: each is a read of a page of log */
#define HOT_EVERY 512u /* records between two images */
#define HOT_IDLE 8u /* segments without a record of the page, until it is forgotten */
#define HOT_SHARE 24u /* images take no more than this part of a segment's bytes */
#define HOT_BEHIND (64u << 10) /* bytes of the next segment: the last record may end there */

void wh_hot_drop(struct wh_hot *hot)
{
	for (size_t i = 0; i < hot->count; i++)
		free(hot->pages[i]);
	for (size_t i = 0; i < hot->behind_count; i++)
		free(hot->behind[i].bytes);
	free(hot->pages);
	free(hot->behind);
	hot->pages = NULL;
	hot->behind = NULL;
	hot->count = hot->behind_count = 0;
}

static int compare_blocks(const struct wa_block *a, const struct wa_block *b)
{
	const uint32_t ka[5] = {a->rel.spc, a->rel.db, a->rel.rel, a->fork, a->blkno};
	const uint32_t kb[5] = {b->rel.spc, b->rel.db, b->rel.rel, b->fork, b->blkno};
	for (size_t i = 0; i < NF_ARRAY_LEN(ka); i++)
		if (ka[i] != kb[i])
			return ka[i] < kb[i] ? -1 : 1;
	return 0;
}

static int by_block(const void *a, const void *b)
{
	return compare_blocks(&(*(struct wh_hot_page *const *)a)->block, &(*(struct wh_hot_page *const *)b)->block);
}

static int by_score(const void *a, const void *b) /* the hottest first */
{
	uint32_t sa = (*(struct wh_hot_page *const *)a)->score, sb = (*(struct wh_hot_page *const *)b)->score;
	return sa == sb ? 0 : sa > sb ? -1 : 1;
}

struct maker {
	const struct hot_job *job;
	struct wh_hot *hot;
	const struct wa_index *index;
	struct wa_range range;
	uint8_t *log; /* the segment, and HOT_BEHIND of the next one; NULL: nothing was hot yet */
	struct wa_images_builder *builder;
	struct wh_hot_page **fresh; /* met in this segment */
	size_t fresh_count;
	uint32_t looks; /* records that may still be read behind */
	bool is_short; /* there were not enough */
	/* of the block under way: its records from the last one on that makes it */
	struct wa_block block;
	struct nf_lsn *records;
	size_t count, room;
	bool has_whole;
};

static int page_of(void *arg, struct nf_lsn at, const uint8_t **ret_page)
{
	const struct maker *maker = arg;
	const uint64_t base = maker->job->number * maker->job->segment_size;
	if (at.v < base || at.v - base > maker->job->segment_size + HOT_BEHIND - WA_PAGE_SIZE)
		return -ENODATA;
	*ret_page = maker->log + (at.v - base);
	return 0;
}

static int need_log(struct maker *maker)
{
	const struct hot_job *job = maker->job;
	if (maker->log != NULL)
		return 0;
	maker->log = nf_io_buffer((size_t)job->segment_size + HOT_BEHIND);
	if (maker->log == NULL)
		return -ENOMEM;
	int error = wh_hot_read(job, job->number, job->timeline, maker->log, job->segment_size);
	if (error == 0)
		error = wh_hot_read(job, job->number + 1, job->next_timeline, maker->log + job->segment_size, HOT_BEHIND);
	return error;
}

static struct wh_hot_page *find(const struct wh_hot *hot, const struct wa_block *block)
{
	size_t low = 0, high = hot->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_blocks(&hot->pages[middle]->block, block);
		if (order == 0)
			return hot->pages[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* A page for the block under way; NULL: it is not known what it was before. */
static int admit(struct maker *maker, struct wh_hot_page **ret_page)
{
	*ret_page = NULL;
	maker->is_short |= !maker->has_whole && maker->looks == 0;
	if (!maker->has_whole && maker->looks == 0)
		return 0;
	if (maker->fresh == NULL)
		maker->fresh = calloc(HOT_PAGES, sizeof(struct wh_hot_page *));
	struct wh_hot_page *page = maker->fresh != NULL ? calloc(1, sizeof(*page)) : NULL;
	if (page == NULL)
		return -ENOMEM;
	page->block = maker->block;
	int status = maker->has_whole ? 1 : wh_hot_look_back(maker->hot, maker->job, page);
	if (!maker->has_whole)
		maker->looks -= NF_MIN(maker->looks, page->since);
	if (status == 1)
		maker->fresh[maker->fresh_count++] = page;
	else
		free(page);
	*ret_page = status == 1 ? page : NULL;
	return NF_MIN(status, 0);
}

static int put_image(struct maker *maker, struct wh_hot_page *page, struct nf_lsn last)
{
	const struct wa_image image = {.block = page->block, .origin = page->origin, .last = last};
	if (wa_images_size(maker->builder) + 2 * WA_PAGE_SIZE > maker->job->segment_size / HOT_SHARE)
		return 0;
	page->since = 0;
	return wa_images_add(maker->builder, &image, page->bytes);
}

/* Its records of the segment onto the page. A page that they do not fit has no origin any more, and goes. */
static int apply_records(struct maker *maker, struct wh_hot_page *page)
{
	struct wa_error why;
	if (maker->has_whole) {
		page->origin = maker->records[0];
		page->since = 0;
	}
	for (size_t i = 0; i < maker->count; i++) {
		int error = wa_apply_record(&maker->range, page_of, maker, &page->block, maker->records[i],
					    maker->has_whole && i == 0, page->bytes, &why);
		if (error == -ENOMEM)
			return error;
		if (error != 0) {
			page->origin.v = 0;
			return 0;
		}
		if (++page->since >= HOT_EVERY)
			error = put_image(maker, page, maker->records[i]);
		if (error != 0)
			return error;
	}
	page->score = page->score / 2 + (uint32_t)maker->count;
	page->seen = maker->job->number;
	return 0;
}

/* Is the block under way, which is not known yet, worth it? */
static bool is_hot(const struct maker *maker)
{
	return maker->count >= (maker->has_whole ? HOT_ADMIT : NF_MAX(maker->hot->again, HOT_AGAIN)) &&
	       maker->fresh_count < HOT_PAGES;
}

static int finish_block(struct maker *maker)
{
	struct wh_hot_page *page = find(maker->hot, &maker->block);
	if (maker->count == 0 || (maker->block.fork != WA_FORK_MAIN && maker->block.fork != WA_FORK_VM))
		return 0;
	/* Pages go with their relation (is_to_go). */
	if ((page == NULL && !is_hot(maker)) || wh_hot_has_event(maker->index, maker->block.rel))
		return 0;
	int error = need_log(maker);
	if (error == 0 && page == NULL)
		error = admit(maker, &page);
	return error == 0 && page != NULL ? apply_records(maker, page) : error;
}

static int add_record(struct maker *maker, const struct wa_index_entry *entry)
{
	if (entry->flags & WA_INDEX_WHOLE) {
		maker->count = 0;
		maker->has_whole = true;
	}
	if (maker->count == maker->room) {
		size_t room = NF_MAX(maker->room * 2, (size_t)1024);
		struct nf_lsn *records = realloc(maker->records, room * sizeof(*records));
		if (records == NULL)
			return -ENOMEM;
		maker->records = records;
		maker->room = room;
	}
	maker->records[maker->count++] = entry->lsn;
	return 0;
}

static int walk(struct maker *maker)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	struct wa_error why;
	int status;
	wa_index_seek_all(maker->index, &cursor);
	while ((status = wa_index_next(&cursor, &entry, &why)) == 1) {
		int error = 0;
		if (compare_blocks(&entry.block, &maker->block) != 0) {
			error = finish_block(maker);
			maker->block = entry.block;
			maker->count = 0;
			maker->has_whole = false;
		}
		if (error == 0)
			error = add_record(maker, &entry);
		if (error != 0)
			return error;
	}
	return status == 0 ? finish_block(maker) : status;
}

/* Pages of relations that were cut or dropped, that a record did not fit, and that have cooled down go. */
static bool is_to_go(const struct maker *maker, struct wh_hot_page *page)
{
	if (page->seen != maker->job->number) {
		page->idle++;
		page->score /= 2;
	} else {
		page->idle = 0;
	}
	return page->origin.v == 0 || page->idle >= HOT_IDLE || wh_hot_has_event(maker->index, page->block.rel);
}

/* Known and fresh ones together, the hottest HOT_PAGES of them. */
static int tidy(struct maker *maker)
{
	struct wh_hot *hot = maker->hot;
	struct wh_hot_page **all = calloc(NF_MAX(hot->count + maker->fresh_count, (size_t)1), sizeof(struct wh_hot_page *));
	size_t count = 0;
	if (all == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < hot->count + maker->fresh_count; i++) {
		struct wh_hot_page *page = i < hot->count ? hot->pages[i] : maker->fresh[i - hot->count];
		if (is_to_go(maker, page))
			free(page);
		else
			all[count++] = page;
	}
	qsort(all, count, sizeof(struct wh_hot_page *), by_score);
	while (count > HOT_PAGES)
		free(all[--count]);
	qsort(all, count, sizeof(struct wh_hot_page *), by_block);
	free(hot->pages);
	hot->pages = all;
	hot->count = count;
	maker->fresh_count = 0;
	return 0;
}

static int read_index(const struct hot_job *job, struct wh_hot_index *ret_index)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *file;
	struct wa_error why;
	struct wh_hot_index index = {.number = job->number, .timeline = job->timeline};
	wa_segment_name(name, job->timeline, (struct nf_lsn){job->number * job->segment_size}, job->segment_size);
	int error = bd_lookup(job->index, name, &file);
	if (error != 0)
		return error;
	error = wh_read(file, HOT_INDEX_MAX, &index.bytes, &index.size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	error = wa_index_open(index.bytes, index.size, &index.view, &why);
	const struct wa_index_info *info = &index.view.info;
	if (error == 0 && (info->base.v != job->number * job->segment_size || info->limit.v - info->base.v != job->segment_size ||
			   info->system_id != job->system_id || info->major != job->version.major))
		error = -EBADMSG;
	if (error != 0)
		free(index.bytes);
	else
		*ret_index = index;
	return error;
}

int wh_hot_make(struct wh_hot *hot, const struct hot_job *job, uint8_t **ret_bytes, size_t *ret_size)
{
	struct wh_hot_index index;
	struct maker maker = {.job = job, .hot = hot, .index = &index.view, .looks = HOT_LOOKS};
	const struct wa_images_info info = {.version = job->version,
					    .system_id = job->system_id,
					    .base = {job->number * job->segment_size},
					    .limit = {(job->number + 1) * job->segment_size}};
	*ret_bytes = NULL;
	int error = read_index(job, &index);
	if (error != 0)
		return error;
	maker.range = (struct wa_range){.version = job->version, .segment_size = job->segment_size, .system_id = job->system_id};
	error = wa_images_builder_new(&info, &maker.builder);
	const size_t empty = error == 0 ? wa_images_size(maker.builder) : 0;
	if (error == 0)
		error = walk(&maker);
	if (error == 0)
		error = tidy(&maker);
	/* Where there are many, the hottest ones first. */
	hot->again = maker.is_short ? NF_MIN(2 * NF_MAX(hot->again, HOT_AGAIN), HOT_ADMIT) : hot->again / 2;
	int kept = wh_hot_put_behind(hot, &index);
	error = error == 0 ? kept : error;
	if (error == 0 && wa_images_size(maker.builder) > empty)
		error = wa_images_finish(maker.builder, ret_bytes, ret_size);
	wa_images_builder_free(maker.builder);
	for (size_t i = 0; i < maker.fresh_count; i++)
		free(maker.fresh[i]);
	free(maker.fresh);
	free(maker.records);
	free(maker.log);
	return error;
}
