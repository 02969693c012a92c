/* The records of a block, in the order of the log, applied to its base.
 *
 * Only from the last record on that makes the page from nothing, if there is one: then the base does not count, torn or not. Without one the base's own LSN
 * says which records it has already, as in recovery (redo_call.c). Those are not fetched: a record that another one of the block follows at or before that
 * LSN ends at or before it. */
#include <string.h>

#include "materialise_impl.h"
#include "walapply/decode/wa_records.h"
#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"

/* Pages of the log, as the range's callback reads them: the last one is kept, since records of a hot page lie close to each other. */
struct pages {
	const struct wa_range *range;
	uint64_t held; /* UINT64_MAX: none */
	uint8_t page[WA_PAGE_SIZE];
};

static int read_page(void *arg, struct nf_lsn at, const uint8_t **ret_page)
{
	struct pages *pages = arg;
	if (pages->held != at.v) {
		pages->held = UINT64_MAX;
		int status = pages->range->read_log(pages->range->arg, at, pages->page);
		if (status < 0)
			return status;
		pages->held = at.v;
	}
	*ret_page = pages->page;
	return 0;
}

static int missing(const struct mt_job *job, const struct wa_record *record, struct wa_error *error)
{
	const struct wa_block *block = &job->leg->block;
	return wa_bad(error, record->lsn, "block %u of relation %u/%u/%u (fork %u) is changed but was never made", block->blkno,
		      block->rel.spc, block->rel.db, block->rel.rel, block->fork);
}

/* The record names the block. Pages of the visibility map are made where they are missing (heap_xlog_visible reads them with
 * RBM_ZERO_ON_ERROR); others must be there unless the record makes them. */
static int apply_ref(struct mt_job *job, const struct wa_record *record, const struct wa_ref *ref, struct wa_error *error)
{
	if (!ref->apply_image && !ref->will_init && ref->block.fork != WA_FORK_VM && wa_page_is_new(job->page))
		return missing(job, record, error);
	int outcome = wa_redo_block(&job->range->version, record, ref, job->page, error);
	if (outcome >= 0)
		job->changed |= outcome != WA_SKIPPED;
	return outcome < 0 ? outcome : 0;
}

/* It clears bits of the block without naming it, whatever the page's LSN (visibilitymap_clear, visibilitymap.c). A truncation makes no page. */
static void apply_implied(struct mt_job *job, const struct wa_implied *implied)
{
	if (wa_page_is_new(job->page)) {
		if (implied->tail)
			return;
		wa_page_init(job->page, 0);
		job->changed = true;
	}
	job->changed |= wa_redo_implied(implied, job->page) == WA_REDONE;
}

int wa_range_record(const struct wa_range *range, struct nf_lsn lsn,
		    int (*use)(void *arg, const struct wa_record *record, struct wa_error *error), void *arg,
		    struct wa_error *error)
{
	struct pages pages;
	const struct mt_source source = {.range = range, .page = read_page, .arg = &pages};
	pages.range = range;
	pages.held = UINT64_MAX;
	return mt_record(&source, lsn, use, arg, error);
}

static bool is_block(const struct wa_block *a, const struct wa_block *b)
{
	return a->blkno == b->blkno && a->fork == b->fork && wa_locator_equal(a->rel, b->rel);
}

int mt_apply(void *arg, const struct wa_record *record, struct wa_error *error)
{
	struct mt_job *job = arg;
	const struct wa_version *version = &job->range->version;
	const struct wa_record_type *type = wa_record_type(version->major, record->rmid, record->info);
	struct wa_implied implied[WA_IMPLIED_MAX];
	int status = 0;
	if (type == NULL) {
		wa_bad(error, record->lsn, "a record of resource manager %u, type %02X: only Postgres can replay it",
		       record->rmid, record->info);
		return -ENOTSUP;
	}
	job->records++;
	for (unsigned i = 0; i < record->ref_count && status == 0; i++) {
		const struct wa_ref *ref = &record->refs[i];
		if (is_block(&ref->block, &job->leg->block) && (ref->apply_image || (type->redo_class & WA_PAGE)))
			status = apply_ref(job, record, ref, error);
	}
	if (status < 0 || job->leg->block.fork != WA_FORK_VM || !(type->redo_class & WA_VM))
		return status;
	int count = wa_implied_blocks(version, record, implied, error);
	for (int i = 0; i < count; i++)
		if (is_block(&implied[i].block, &job->leg->block))
			apply_implied(job, &implied[i]);
	return count < 0 ? count : 0;
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, WA_PAGE_SIZE - 1) == 0;
}

static bool overlaps(const struct wa_index *index, const struct mt_leg *leg)
{
	return index->info.base.v < leg->to.v && index->info.limit.v > leg->from.v;
}

struct nf_lsn mt_done(const struct wa_block *block, const uint8_t *page)
{
	return block->fork == WA_FORK_MAIN && !wa_page_is_new(page) ? wa_page_lsn(page) : (struct nf_lsn){0};
}

/* Move the path's beginning to the last record that makes the page from nothing. 1; 0 there is none. */
static int skip_to_whole(const struct wa_range *range, struct mt_path *path, unsigned *ret_first, struct wa_error *error)
{
	*ret_first = 0;
	for (unsigned i = path->count; i-- > 0;) {
		struct mt_leg *leg = &path->legs[i];
		for (size_t at = range->index_count; at-- > 0;) {
			if (!overlaps(&range->indexes[at], leg))
				continue;
			struct nf_lsn lsn;
			int status = wa_index_last_whole(&range->indexes[at], &leg->block, leg->from, leg->to, &lsn, error);
			if (status < 0)
				return status;
			if (status == 0)
				continue;
			leg->from = lsn;
			*ret_first = i;
			return 1;
		}
	}
	return 0;
}

void mt_blank(struct mt_job *job)
{
	if (is_zero(job->page))
		return;
	memset(job->page, 0, WA_PAGE_SIZE);
	job->changed = true;
}

int mt_finish(struct mt_job *job, uint32_t blkno)
{
	if (job->changed && job->range->version.checksums)
		wa_page_set_checksum(job->page, blkno);
	return job->changed;
}

/* Records of the block that are about to be applied, and the pages of the log that they lie on. */
struct ahead {
	struct nf_lsn records[WA_AHEAD_MAX / 2], pages[WA_AHEAD_MAX];
	unsigned record_count, page_count;
};

#define TAIL 512u /* what begins so near to the end of a page most likely goes on in the next one */

static void add_page(struct ahead *ahead, uint64_t page)
{
	if (ahead->page_count == 0 || ahead->pages[ahead->page_count - 1].v != page)
		ahead->pages[ahead->page_count++].v = page;
}

static void add_record(struct ahead *ahead, const struct wa_index_entry *entry, struct nf_lsn end)
{
	uint64_t offset = entry->lsn.v % WA_PAGE_SIZE, page = entry->lsn.v - offset;
	ahead->records[ahead->record_count++] = entry->lsn;
	add_page(ahead, page);
	if (((entry->flags & WA_INDEX_WHOLE) || offset >= WA_PAGE_SIZE - TAIL) && page + WA_PAGE_SIZE < end.v)
		add_page(ahead, page + WA_PAGE_SIZE);
}

static int apply_ahead(struct mt_job *job, const struct mt_source *source, struct ahead *ahead, struct wa_error *error)
{
	const struct wa_range *range = job->range;
	int status = 0;
	if (range->read_ahead != NULL && ahead->page_count > 1)
		range->read_ahead(range->arg, ahead->pages, ahead->page_count);
	for (unsigned i = 0; i < ahead->record_count && status >= 0; i++)
		status = mt_record(source, ahead->records[i], mt_apply, job, error);
	ahead->record_count = ahead->page_count = 0;
	return status;
}

/* So many records are ahead: an image, if there is one, spares some of them. */
static bool take_image(struct mt_job *job, struct mt_leg *leg)
{
	const struct wa_range *range = job->range;
	struct nf_lsn last;
	if (range->image(range->image_arg, &leg->block, leg->from, leg->to, job->page, &last) != 1)
		return false;
	leg->from.v = last.v + 1;
	job->changed = true;
	return true;
}

/* done: the page has every record that ends at or before it. *asks: for an image, once, at the leg's beginning. 1: there was one, and the rest of the leg
 * lies before us. */
static int walk_leg(struct mt_job *job, struct mt_leg *leg, const struct mt_source *source, struct nf_lsn done, bool *asks,
		    struct wa_error *error)
{
	const struct wa_range *range = job->range;
	struct ahead ahead;
	int status = 0;
	ahead.record_count = ahead.page_count = 0;
	for (size_t i = 0; i < range->index_count && status == 0; i++) {
		struct wa_index_cursor cursor;
		struct wa_index_entry entry;
		if (!overlaps(&range->indexes[i], leg))
			continue;
		wa_index_seek(&range->indexes[i], &leg->block, leg->from, leg->to, &cursor);
		while ((status = wa_index_next(&cursor, &entry, error)) > 0) {
			if (entry.lsn.v <= done.v)
				ahead.record_count = ahead.page_count = 0;
			add_record(&ahead, &entry, range->to);
			bool is_full = ahead.record_count == NF_ARRAY_LEN(ahead.records);
			if (is_full && *asks) {
				*asks = false;
				if (take_image(job, leg))
					return 1;
			}
			status = is_full ? apply_ahead(job, source, &ahead, error) : 0;
			if (status < 0)
				break;
		}
	}
	return status < 0 ? status : apply_ahead(job, source, &ahead, error);
}

static int apply_leg(struct mt_job *job, struct mt_leg *leg, const struct mt_source *source, struct nf_lsn done, bool asks,
		     struct wa_error *error)
{
	int status = walk_leg(job, leg, source, done, &asks, error);
	return status == 1 ? walk_leg(job, leg, source, done, &asks, error) : status;
}

int wa_apply_record(const struct wa_range *range, int (*page_of)(void *arg, struct nf_lsn at, const uint8_t **ret_page), void *arg,
		    const struct wa_block *block, struct nf_lsn lsn, bool whole, uint8_t *page, struct wa_error *error)
{
	const struct mt_leg leg = {.block = *block};
	const struct mt_source source = {.range = range, .page = page_of, .arg = arg};
	struct mt_job job = {.range = range, .leg = &leg, .page = page};
	if (whole)
		memset(page, 0, WA_PAGE_SIZE);
	return mt_record(&source, lsn, mt_apply, &job, error);
}

int wa_materialise(const struct wa_range *range, const struct wa_block *block, uint8_t *page, unsigned *ret_records,
		   struct wa_error *error)
{
	struct mt_path path;
	struct mt_job job = {.range = range, .page = page};
	struct pages pages;
	const struct mt_source source = {.range = range, .page = read_page, .arg = &pages};
	unsigned first = 0;
	pages.range = range;
	pages.held = UINT64_MAX;
	int status = mt_path_find(range, block, &path);
	if (status == 0)
		status = skip_to_whole(range, &path, &first, error);
	if (status < 0)
		return status;
	bool is_base = status == 0 && path.count == 1 && !path.is_blank, has_origin = status == 1 && range->image != NULL;
	if (path.is_blank)
		mt_blank(&job);
	status = 0;
	for (unsigned i = first; i < path.count && status == 0; i++) {
		job.leg = &path.legs[i];
		status = apply_leg(&job, &path.legs[i], &source, is_base ? mt_done(block, page) : (struct nf_lsn){0},
				   has_origin && i == first, error);
	}
	if (status < 0)
		return status;
	if (ret_records != NULL)
		*ret_records = job.records;
	return mt_finish(&job, block->blkno);
}
