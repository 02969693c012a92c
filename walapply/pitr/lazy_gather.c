/* The indexes of a layer in the making, and the summaries of its segments: what history has is linked, the rest is made from the WAL.
 *
 * Where history has put several indexes together (merged.c) that one is taken, if summaries say what else the segments' own would be asked for. What a
 * layer has of history must have every record that the layer needs: so each one's first record must be the next one behind what was there before. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "common/nf_log.h"
#include "walapply/pitr/crashed_impl.h"
#include "walapply/pitr/lazy_make.h"
#include "walapply/pitr/wa_history.h"

/* History's file about the segment, "index" or "summary", or what was made of a crashed branch in its stead. -ENOENT there is none. */
static int open_of_history(struct wa_lazy_layer *layer, const char *kind, const char *name, struct bd_inode **ret_file)
{
	struct bd_store *store = layer->lazy->store;
	struct bd_branch_info history;
	char path[64 + WA_SEGMENT_NAME], crashed[WH_CRASHED_NAME];
	int error = bd_branch_find(store, WA_HISTORY_BRANCH, &history);
	snprintf(path, sizeof(path), "%" PRIu32 "/%s/%s", layer->source.v, kind, name);
	if (error == 0)
		error = wh_path(store, wh_head(history.id), path, ret_file);
	if (error != -ENOENT || layer->plan.base.epoch.v != BD_EPOCH_HEAD.v)
		return error;
	wh_crashed_name(layer->plan.base.branch, crashed);
	snprintf(path, sizeof(path), "%s/%s/%s", crashed, kind, name);
	return wh_path(store, wh_head(history.id), path, ret_file);
}

/* History's index of segment `i`, under the same name, if it has every record from where the layer needs them: 1 linked; 0 there is none that does, and
 * one is made here. */
static int link_index(struct wa_lazy_layer *layer, uint32_t i, const char *name, struct nf_lsn behind,
		      struct wa_index_info *ret_info)
{
	struct bd_inode *file;
	int status = open_of_history(layer, "index", name, &file);
	if (status != 0)
		return status == -ENOENT ? 0 : status;
	status = lz_index_info(file, ret_info);
	bool is_bad = status == -EBADMSG || status == -ENOTSUP || status == -EIO || status == -EUCLEAN;
	if (is_bad || (status == 0 && !lz_index_fits(&layer->plan, i, behind, ret_info))) {
		nf_info("history's index of WAL segment %s does not have all that a layer needs: another one is made", name);
		status = 0;
	} else if (status == 0) {
		status = bd_link(file, layer->index, name);
		status = status == 0 ? 1 : status;
	}
	bd_inode_unref(file, 1);
	return status;
}

static bool same_records(const struct wa_summary_info *summary, const struct wa_index_info *index)
{
	if (index->base.v == summary->base.v && index->limit.v == summary->limit.v)
		return summary->first.v == index->first.v && summary->last.v == index->last.v;
	return summary->records == 0 || (summary->first.v >= index->first.v && summary->last.v <= index->last.v);
}

/* What cannot be read or does not fit is as good as none: then the index says the same. index: the segment's, or of a run that it is in. */
static int read_summary(struct wa_lazy_layer *layer, uint32_t i, const char *name, const struct wa_index_info *index)
{
	struct lz_summary *summary = &layer->summaries[i];
	const struct wa_summary_info *info = &summary->view.info;
	uint64_t base = (layer->plan.first_segment + i) * layer->plan.segment_size;
	struct bd_inode *file;
	struct wa_error why;
	int error = open_of_history(layer, WH_SUMMARIES, name, &file);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = wh_read(file, LZ_INDEX_MAX, &summary->bytes, &summary->size);
	bd_inode_unref(file, 1);
	if (error != 0)
		return error;
	if (wa_summary_open(summary->bytes, summary->size, &summary->view, &why) < 0 ||
	    info->major != layer->plan.version.major || info->system_id != layer->plan.system_id || info->base.v != base ||
	    info->limit.v != base + layer->plan.segment_size || !same_records(info, index)) {
		nf_warn("the summary of WAL segment %s cannot be used: its index is read instead", name);
		free(summary->bytes);
		*summary = (struct lz_summary){0};
	}
	return 0;
}

/* *behind: where the last record before the segment ends; that of the segment then. */
static int gather_index(struct wa_lazy_layer *layer, uint32_t i, struct nf_lsn *behind, struct message message)
{
	struct lz_plan *plan = &layer->plan;
	char name[WA_SEGMENT_NAME + 1];
	struct wa_index_info info = {0};
	lz_segment_name(plan, plan->first_segment + i, name);
	int status = link_index(layer, i, name, *behind, &info);
	if (status == 1)
		status = read_summary(layer, i, name, &info);
	else if (status == 0) {
		status = lz_index_build(plan, &layer->log, plan->first_segment + i, layer->index, message.text, message.size);
		if (status != 0)
			return status;
		status = lz_indexes_load(&layer->indexes, i);
		info = layer->indexes.views[i].info;
	}
	if (status != 0)
		return wh_say(message.text, message.size, status, "the index of WAL segment %s cannot be had: %s", name,
			      strerror(-status));
	if (info.records > 0)
		*behind = info.end;
	return 0;
}

static bool run_fits(const struct lz_plan *plan, struct wa_run run, struct nf_lsn behind, const struct wa_index_info *info)
{
	if (info->base.v != run.first * plan->segment_size || info->limit.v != (run.first + run.count) * plan->segment_size ||
	    info->major != plan->version.major || info->system_id != plan->system_id)
		return false;
	return run.first <= plan->first_segment ? info->records > 0 && info->first.v <= plan->from.v
						: wh_index_continues(info, behind);
}

static void forget_summaries(struct wa_lazy_layer *layer, uint32_t first, uint32_t end)
{
	for (uint32_t k = first; k < end; k++) {
		free(layer->summaries[k].bytes);
		layer->summaries[k] = (struct lz_summary){0};
	}
}

/* Summaries of the segments [first, end) of the plan: what their own indexes would be asked for must be in them. 1; 0 it is not; an error. */
static int read_summaries(struct wa_lazy_layer *layer, uint32_t first, uint32_t end, const struct wa_index_info *run)
{
	const struct lz_plan *plan = &layer->plan;
	int status = 1;
	for (uint32_t k = first; k < end && status == 1; k++) {
		char name[WA_SEGMENT_NAME + 1];
		const struct wa_summary_info *info = &layer->summaries[k].view.info;
		lz_segment_name(plan, plan->first_segment + k, name);
		status = read_summary(layer, k, name, run);
		if (status == 0)
			status = layer->summaries[k].bytes != NULL && !info->has_foreign && !info->has_parameters;
	}
	if (status != 1)
		forget_summaries(layer, first, end);
	return status;
}

/* One index of history for segment `i` and more, if there is one that has all that the layer needs: 1, and *ret_end is behind its segments of the
 * plan; 0 there is none; an error. */
static int link_run(struct wa_lazy_layer *layer, uint32_t i, struct nf_lsn *behind, uint32_t *ret_end)
{
	struct lz_plan *plan = &layer->plan;
	const uint32_t timeline = plan->segments[i].timeline;
	const uint64_t number = plan->first_segment + i;
	char name[WH_RUN_NAME + 1];
	struct wa_index_info info;
	struct wa_run run;
	struct bd_inode *file;
	if (layer->merged == NULL)
		return 0;
	int status = wh_run_find(layer->merged, timeline, number, plan->segment_size, &run, &file);
	if (status != 0)
		return status == -ENOENT ? 0 : status;
	uint32_t end = (uint32_t)(NF_MIN(run.first + run.count, plan->first_segment + plan->segment_count) - plan->first_segment);
	bool is_whole = i == 0 || run.first == number;
	for (uint32_t k = i; k < end; k++)
		is_whole = is_whole && plan->segments[k].timeline == timeline;
	status = is_whole ? lz_index_info(file, &info) : -EBADMSG;
	if (status == 0)
		status = run_fits(plan, run, *behind, &info) ? read_summaries(layer, i, end, &info) : 0;
	if (status == 1) {
		lz_index_name(plan, run, name);
		status = bd_link(file, layer->index, name);
		if (status == 0)
			status = lz_plan_add_run(plan, run);
		if (status == 0) {
			behind->v = info.records > 0 ? info.end.v : behind->v;
			*ret_end = end;
			status = 1;
		} else {
			forget_summaries(layer, i, end);
		}
	}
	bd_inode_unref(file, 1);
	/* One that cannot be read, or has just become part of a longer one, is as good as none. */
	bool is_none = status == -EBADMSG || status == -ENOTSUP || status == -EIO || status == -ENOENT || status == -ESTALE;
	return is_none ? 0 : status;
}

/* Segment *i of the plan, or a run of them; *i is behind it. */
static int gather_next(struct wa_lazy_layer *layer, uint32_t *i, struct nf_lsn *behind, struct message message)
{
	int status = link_run(layer, *i, behind, i);
	if (status < 0)
		return wh_say(message.text, message.size, status, "the indexes of the WAL cannot be had: %s", strerror(-status));
	if (status == 1)
		return 0;
	int error = gather_index(layer, *i, behind, message);
	if (error == 0 && layer->summaries[*i].bytes == NULL)
		error = lz_indexes_load(&layer->indexes, *i);
	++*i;
	return error;
}

static int open_merged(struct wa_lazy_layer *layer)
{
	struct bd_branch_info history;
	char path[64];
	int error = bd_branch_find(layer->lazy->store, WA_HISTORY_BRANCH, &history);
	snprintf(path, sizeof(path), "%" PRIu32 "/" WH_MERGED, layer->source.v);
	if (error == 0)
		error = wh_path(layer->lazy->store, wh_head(history.id), path, &layer->merged);
	return error == -ENOENT ? 0 : error;
}

int lz_gather_indexes(struct wa_lazy_layer *layer, bool use_runs, struct message message)
{
	struct lz_plan *plan = &layer->plan;
	struct nf_lsn behind = plan->from;
	int error = lz_log_open(&layer->log, layer->lazy->store, plan, plan->base, layer->dir);
	if (error == 0 && use_runs)
		error = open_merged(layer);
	if (error == 0)
		error = lz_indexes_open(&layer->indexes, plan, layer->index);
	layer->summaries = calloc(NF_MAX(plan->segment_count, 1u), sizeof(*layer->summaries));
	if (layer->summaries == NULL)
		error = error == 0 ? -ENOMEM : error;
	for (uint32_t i = 0; i < plan->segment_count && error == 0;)
		error = gather_next(layer, &i, &behind, message);
	if (error == 0 && use_runs) {
		int linked = lz_images_link(layer->lazy->store, plan, layer->source, layer->dir);
		if (linked != 0)
			nf_warn("layers/%s gets no images of hot pages: %s", layer->name, strerror(-linked));
	}
	return error;
}

int wa_lazy_pack_summaries(const struct wa_lazy_layer *layer, int fd)
{
	for (uint32_t i = 0; i < layer->plan.segment_count; i++) {
		const struct lz_summary *summary = &layer->summaries[i];
		uint32_t size = htole32((uint32_t)summary->size);
		static_assert(sizeof(size) == WA_SUMMARY_PACKED_HEADER, "what is before a summary is its size");
		static_assert(LZ_INDEX_MAX <= UINT32_MAX, "sizes of summaries fit");
		const struct iovec parts[] = {{.iov_base = &size, .iov_len = sizeof(size)},
					      {.iov_base = summary->bytes, .iov_len = summary->size}};
		if (summary->bytes == NULL)
			continue;
		ssize_t wrote = writev(fd, parts, NF_ARRAY_LEN(parts));
		if (wrote != (ssize_t)(sizeof(size) + summary->size))
			return wrote < 0 ? -errno : -EIO;
	}
	return 0;
}
