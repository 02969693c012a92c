/* Where a page becomes hot only later than the record that made it from nothing: the indexes of the last segments say which records are between, and they are
 * read one by one, once. Behind a checkpoint this is what happens to most hot pages: a segment full of images has few records of each. */
#include <stdlib.h>
#include <string.h>

#include "walapply/pitr/hot_impl.h"

#define HOT_BACK 8u /* segments */
#define HOT_BACK_BYTES (16u << 20) /* of their indexes */

static bool has_event(const struct wa_index *index, struct wa_locator name)
{
	size_t at = wa_index_event_find(index, name);
	return at < wa_index_event_count(index) && wa_locator_equal(wa_index_event_at(index, at).rel, name);
}

bool wh_hot_has_event(const struct wa_index *index, struct wa_locator rel)
{
	return has_event(index, rel) || has_event(index, (struct wa_locator){rel.spc, rel.db, 0});
}

int wh_hot_put_behind(struct wh_hot *hot, const struct wh_hot_index *index)
{
	size_t bytes = index->size, gone = 0;
	for (size_t i = 0; i < hot->behind_count; i++)
		bytes += hot->behind[i].size;
	for (; gone < hot->behind_count && (hot->behind_count - gone >= HOT_BACK || bytes > HOT_BACK_BYTES); gone++) {
		bytes -= hot->behind[gone].size;
		free(hot->behind[gone].bytes);
	}
	hot->behind_count -= gone;
	if (gone > 0)
		memmove(hot->behind, hot->behind + gone, hot->behind_count * sizeof(*hot->behind));
	struct wh_hot_index *grown = realloc(hot->behind, (hot->behind_count + 1) * sizeof(*grown));
	if (grown == NULL) {
		free(index->bytes);
		return -ENOMEM;
	}
	hot->behind = grown;
	hot->behind[hot->behind_count++] = *index;
	return 0;
}

/* The last record behind that makes the block, if nothing happened to its relation since the oldest of them. */
static bool find_origin(const struct wh_hot *hot, const struct wa_block *block, struct nf_lsn to, struct nf_lsn *ret_origin)
{
	struct wa_error why;
	int status = 0;
	for (size_t i = hot->behind_count; i-- > 0 && status == 0;) {
		const struct wa_index *index = &hot->behind[i].view;
		if (wh_hot_has_event(index, block->rel))
			return false;
		status = wa_index_last_whole(index, block, index->info.base, to, ret_origin, &why);
	}
	return status == 1;
}

struct reader {
	const struct hot_job *job;
	struct hot_file files[HOT_BACK + 1]; /* the job's segment is the last one */
	size_t count;
};

/* wa_range.read_log */
static int read_page(void *arg, struct nf_lsn at, uint8_t *page)
{
	struct reader *reader = arg;
	const uint32_t size = reader->job->segment_size;
	const uint64_t first = reader->files[0].number;
	if (at.v / size < first || at.v / size - first >= reader->count)
		return -ENODATA;
	struct hot_file *file = &reader->files[at.v / size - first];
	int error = file->file == NULL ? wh_hot_open(reader->job, file) : 0;
	if (error != 0)
		return error;
	ssize_t got = bd_read(file->file, at.v % size, page, WA_PAGE_SIZE);
	return got == WA_PAGE_SIZE ? 0 : got < 0 ? (int)got : -ENODATA;
}

static void reader_begin(struct reader *reader, const struct wh_hot *hot, const struct hot_job *job)
{
	*reader = (struct reader){.job = job};
	for (size_t i = 0; i < hot->behind_count; i++)
		reader->files[reader->count++] =
			(struct hot_file){.number = hot->behind[i].number, .timeline = hot->behind[i].timeline};
	reader->files[reader->count++] = (struct hot_file){.number = job->number, .timeline = job->timeline};
}

/* Returns whether all that was read counts. */
static bool reader_end(struct reader *reader)
{
	bool counts = true;
	for (size_t i = 0; i < reader->count; i++) {
		if (reader->files[i].file != NULL)
			counts = wh_hot_still_there(reader->job, &reader->files[i]) && counts;
		wh_hot_close(&reader->files[i]);
	}
	return counts;
}

int wh_hot_look_back(const struct wh_hot *hot, const struct hot_job *job, struct wh_hot_page *page)
{
	struct wa_index indexes[HOT_BACK];
	struct reader reader;
	struct wa_error why;
	const struct nf_lsn to = {job->number * job->segment_size};
	if (!find_origin(hot, &page->block, to, &page->origin))
		return 0;
	assert(hot->behind_count > 0 && hot->behind_count <= HOT_BACK);
	for (size_t i = 0; i < hot->behind_count; i++)
		indexes[i] = hot->behind[i].view;
	reader_begin(&reader, hot, job);
	const struct wa_range range = {.version = job->version,
				       .segment_size = job->segment_size,
				       .system_id = job->system_id,
				       .from = indexes[0].info.base,
				       .to = to,
				       .indexes = indexes,
				       .index_count = hot->behind_count,
				       .read_log = read_page,
				       .arg = &reader};
	int status = wa_materialise(&range, &page->block, page->bytes, &page->since, &why);
	bool counts = reader_end(&reader);
	return status == -ENOMEM ? status : status == 1 && counts;
}
