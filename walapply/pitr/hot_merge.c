/* Files of images of neighbouring segments, put together: a layer opens a few files instead of one a segment. Of 8 and of 64 segments, as runs of indexes are. */
#include <stdlib.h>

#include "walapply/pitr/hot_impl.h"

/* Of a part that is there: its bytes, and its view. */
static int read_part(const struct hot_job *job, const char *name, uint8_t **ret_bytes, struct wa_images *ret_view)
{
	struct bd_inode *file;
	struct wa_error why;
	size_t size;
	int error = bd_lookup(job->images, name, &file);
	if (error != 0)
		return error;
	error = wh_read(file, HOT_INDEX_MAX, ret_bytes, &size);
	bd_inode_unref(file, 1);
	return error == 0 ? wa_images_open(*ret_bytes, size, size, ret_view, &why) : error;
}

static int replace_parts(struct wh_entry *entry, const struct hot_job *job, struct wa_run run, const uint8_t *bytes, size_t size)
{
	char name[WH_RUN_NAME + 1];
	const uint32_t part = run.count / WH_MERGE_FAN;
	uint64_t removed = 0;
	int error = 0;
	pthread_mutex_lock(&entry->work);
	if (wh_hot_wanted(entry, job)) {
		wh_run_name(name, job->timeline, run, job->segment_size);
		error = wh_write(job->images, name, 0400, bytes, size);
		for (uint32_t i = 0; i < WH_MERGE_FAN && error == 0; i++) {
			wh_run_name(name, job->timeline, (struct wa_run){run.first + i * part, part}, job->segment_size);
			uint64_t gone = wh_size(job->images, name);
			error = bd_unlink(job->images, name);
			removed += error == 0 ? gone : 0;
			error = error == -ENOENT ? 0 : error;
		}
		int counted = wh_hot_count(entry, size, removed);
		error = error == 0 ? counted : error;
	}
	pthread_mutex_unlock(&entry->work);
	return error;
}

static int merge(struct wh_entry *entry, const struct hot_job *job, struct wa_run run)
{
	struct wa_images views[WH_MERGE_FAN];
	uint8_t *parts[WH_MERGE_FAN] = {NULL}, *bytes = NULL;
	char name[WH_RUN_NAME + 1];
	const uint32_t part = run.count / WH_MERGE_FAN;
	size_t count = 0, size = 0;
	int error = 0;
	for (uint32_t i = 0; i < WH_MERGE_FAN && error == 0; i++) {
		wh_run_name(name, job->timeline, (struct wa_run){run.first + i * part, part}, job->segment_size);
		error = read_part(job, name, &parts[count], &views[count]);
		count += error == 0;
		error = error == -ENOENT ? 0 : error;
	}
	if (error == 0 && count > 0)
		error = wa_images_merge(views, count, (struct nf_lsn){run.first * job->segment_size},
					(struct nf_lsn){(run.first + run.count) * job->segment_size}, &bytes, &size);
	if (error == 0 && count > 0)
		error = replace_parts(entry, job, run, bytes, size);
	for (uint32_t i = 0; i < WH_MERGE_FAN; i++)
		free(parts[i]);
	free(bytes);
	return error;
}

int wh_hot_merge(struct wh_entry *entry, const struct hot_job *job)
{
	int error = 0;
	uint32_t count = WH_MERGE_FAN;
	for (unsigned tier = 0; tier < WH_TIERS && error == 0 && (job->number + 1) % count == 0; tier++, count *= WH_MERGE_FAN)
		error = merge(entry, job, (struct wa_run){job->number + 1 - count, count});
	return error;
}
