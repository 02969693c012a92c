/* A layer in the making: what it needs is gathered below .history/layers (then lazy_seal.c looks up the files of touched blocks).
 *
 * Which WAL: all of it before `written` is in the base's own pg_wal, frozen with it. What comes after is in the source's pg_wal, of which a branch is
 * made that nobody sees (its WAL costs no copy, and cannot be recycled under us), or was removed before that: then history has it, and it is linked into
 * the layer's wal/. Indexes are linked too. History may drop its own names later. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_make.h"
#include "walapply/decode/wa_records.h"
#include "walapply/pitr/wa_history.h"

/* ------------------------------------------------------------- gathering */

/* The newest timeline up to `newest` of which dir has segment `number`; 0 = none. */
static uint32_t timeline_in(const struct bd_listing *listing, uint32_t newest, uint64_t number, uint32_t segment_size)
{
	uint32_t best = 0, timeline;
	struct nf_lsn start;
	for (size_t i = 0; listing != NULL && i < listing->count; i++)
		if (wa_segment_parse(listing->entries[i].name, segment_size, &timeline, &start) &&
		    start.v == number * segment_size && timeline <= newest && timeline > best)
			best = timeline;
	return best;
}

/* Directories that may have segments: names as they are now. A missing one is NULL. */
struct place {
	struct bd_inode *dir;
	struct bd_listing *listing;
};

static int open_place(struct bd_store *store, struct bd_view view, const char *path, struct place *place)
{
	int error = wh_path(store, view, path, &place->dir);
	if (error == 0)
		error = bd_readdir(place->dir, &place->listing);
	return error == -ENOENT ? 0 : error;
}

static void close_place(struct place *place)
{
	if (place->dir != NULL)
		bd_inode_unref(place->dir, 1);
	if (place->listing != NULL)
		bd_listing_free(place->listing);
}

/* A branch of the source as it is now. It needs no parent: the source may be deleted. */
static int make_wal_branch(struct wa_lazy_layer *layer)
{
	char name[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_info info;
	lz_wal_branch_name(layer->name, name);
	int error = bd_branch_create(layer->lazy->store, name, wh_head(layer->source), &info, NULL);
	if (error != 0)
		return error;
	layer->plan.wal_branch = info.id;
	return bd_branch_detach(layer->lazy->store, info.id);
}

/* A segment that Postgres has removed: from history. */
static int link_segment(struct wa_lazy_layer *layer, const struct place *history, const char *name)
{
	struct bd_inode *file;
	int error = bd_lookup(history->dir, name, &file);
	if (error != 0)
		return error == -ENOENT ? -ENODATA : error;
	error = bd_link(file, layer->wal, name);
	bd_inode_unref(file, 1);
	return error;
}

/* Segments that the base does not have to their end. */
static int find_segment(struct wa_lazy_layer *layer, uint64_t number, uint32_t newest, const struct place *branch,
			const struct place *history)
{
	struct lz_plan *plan = &layer->plan;
	struct lz_segment *segment = &plan->segments[number - plan->first_segment];
	char name[WA_SEGMENT_NAME + 1];
	segment->timeline = timeline_in(branch->listing, newest, number, plan->segment_size);
	segment->place = LZ_IN_BRANCH;
	if (segment->timeline != 0)
		return 0;
	segment->timeline = timeline_in(history->listing, newest, number, plan->segment_size);
	segment->place = LZ_IN_OWN;
	if (segment->timeline == 0)
		return -ENODATA;
	lz_segment_name(plan, number, name);
	return link_segment(layer, history, name);
}

/* Of the source's history; either may be missing. */
static int open_history(struct wa_lazy_layer *layer, struct place *place)
{
	struct bd_branch_info history;
	char path[64];
	int error = bd_branch_find(layer->lazy->store, WA_HISTORY_BRANCH, &history);
	snprintf(path, sizeof(path), "%" PRIu32 "/wal", layer->source.v);
	return error == 0 ? open_place(layer->lazy->store, wh_head(history.id), path, place) : error;
}

static bool base_has(const struct wa_lazy_layer *layer, uint64_t number)
{
	return (number + 1) * layer->plan.segment_size <= layer->plan.written.v;
}

static int find_segments(struct wa_lazy_layer *layer, uint32_t newest, const struct place places[LZ_PLACES],
			 struct message message)
{
	struct lz_plan *plan = &layer->plan;
	int error = 0;
	for (uint32_t i = 0; i < plan->segment_count && error == 0; i++) {
		uint64_t number = plan->first_segment + i;
		if (base_has(layer, number)) {
			plan->segments[i].timeline = timeline_in(places[LZ_IN_BASE].listing, newest, number, plan->segment_size);
			plan->segments[i].place = LZ_IN_BASE;
			error = plan->segments[i].timeline != 0 ? 0 : -ENODATA;
		} else {
			error = find_segment(layer, number, newest, &places[LZ_IN_BRANCH], &places[LZ_IN_OWN]);
		}
		if (error != 0)
			wh_say(message.text, message.size, error, "the WAL segment at " NF_LSN_FMT " cannot be had: %s",
			       NF_LSN_ARG(((struct nf_lsn){number * plan->segment_size})),
			       error == -ENODATA ? "it is not kept any more" : strerror(-error));
	}
	return error;
}

static int gather_wal(struct wa_lazy_layer *layer, uint32_t newest, struct message message)
{
	struct lz_plan *plan = &layer->plan;
	struct place places[LZ_PLACES] = {0};
	int error = open_place(layer->lazy->store, plan->base, "pg_wal", &places[LZ_IN_BASE]);
	bool needs_more = plan->segment_count > 0 && !base_has(layer, plan->first_segment + plan->segment_count - 1);
	/* History takes a segment before it is removed, so what is not in the branch then is in history. */
	if (error == 0 && needs_more)
		error = make_wal_branch(layer);
	if (error == 0 && needs_more)
		error = open_place(layer->lazy->store, wh_head(plan->wal_branch), "pg_wal", &places[LZ_IN_BRANCH]);
	if (error == 0 && needs_more)
		error = open_history(layer, &places[LZ_IN_OWN]);
	if (error == -ENOTDIR)
		error = wh_say(message.text, message.size, -ENOTSUP, "pg_wal lies outside of the branch");
	else if (error != 0)
		wh_say(message.text, message.size, error, "the WAL cannot be gathered: %s", strerror(-error));
	else
		error = find_segments(layer, newest, places, message);
	for (unsigned i = 0; i < LZ_PLACES; i++)
		close_place(&places[i]);
	return error;
}

#define PARAMETER_CHANGE 0x60u

/* 1 when every change of parameters in the range leaves pages as they are. */
static int keeps_hints(struct wa_lazy_layer *layer, const struct wa_index *index)
{
	const struct lz_plan *plan = &layer->plan;
	struct wa_index_state_cursor cursor;
	struct wa_index_state state;
	struct wa_error why = {0};
	int status, keeps = 1;
	wa_index_seek_state(index, plan->from, plan->to, &cursor);
	while (keeps == 1 && (status = wa_index_next_state(&cursor, &state, &why)) != 0) {
		if (status < 0)
			return status;
		if (state.kind == WA_INDEX_RECORD && state.rmid == WA_RMGR_XLOG && state.op == PARAMETER_CHANGE)
			keeps = lz_keeps_hints(plan, &layer->log, state.lsn);
	}
	return keeps;
}

static bool has_type(const struct wa_index *index, uint8_t rmid, uint8_t op)
{
	for (size_t at = 0; at < wa_index_type_count(index); at++) {
		struct wa_index_type type = wa_index_type_at(index, at);
		if (type.rmid == rmid && type.op == op)
			return true;
	}
	return false;
}

/* Is there anything in the segment that blocks cannot be made from? */
static int check_segment(struct wa_lazy_layer *layer, uint32_t i, struct message message)
{
	const struct lz_summary *summary = &layer->summaries[i];
	const struct wa_index *index = &layer->indexes.views[i];
	bool is_foreign = summary->bytes != NULL ? summary->view.info.has_foreign : index->info.foreign;
	if (is_foreign)
		return wh_say(message.text, message.size, -ENOTSUP,
			      "records of an extension's resource manager are in the WAL: only Postgres can replay them");
	bool has_parameters =
		summary->bytes != NULL ? summary->view.info.has_parameters : has_type(index, WA_RMGR_XLOG, PARAMETER_CHANGE);
	if (!has_parameters)
		return 0;
	int keeps = lz_indexes_load(&layer->indexes, i);
	if (keeps == 0)
		keeps = keeps_hints(layer, index);
	if (keeps < 0)
		return wh_say(message.text, message.size, keeps, "the WAL cannot be read: %s", strerror(-keeps));
	return keeps == 1 ? 0 : wh_say(message.text, message.size, -ENOTSUP, "wal_log_hints changes in the WAL");
}

static int check_range(struct wa_lazy_layer *layer, struct message message)
{
	int error = 0;
	for (uint32_t i = 0; i < layer->plan.segment_count && error == 0; i++)
		error = check_segment(layer, i, message);
	return error;
}

static int make_directories(struct wa_lazy_layer *layer, struct message message)
{
	struct wa_lazy *lazy = layer->lazy;
	int error = lz_directory(lazy->store, true, &layer->all);
	if (error == 0) {
		pthread_mutex_lock(&lazy->lock);
		uint64_t number = ++lazy->next_name;
		lazy->making++;
		pthread_mutex_unlock(&lazy->lock);
		layer->is_counted = true;
		snprintf(layer->name, sizeof(layer->name), "%" PRIu32 "-%" PRIx64 "-%" PRIx64, layer->source.v,
			 (uint64_t)wh_now_us(), number);
		error = wh_directory(layer->all, layer->name, &layer->dir);
	}
	if (error == 0)
		error = wh_directory(layer->dir, "wal", &layer->wal);
	if (error == 0)
		error = wh_directory(layer->dir, "index", &layer->index);
	if (error != 0)
		wh_say(message.text, message.size, error, "what the branch needs cannot be kept: %s", strerror(-error));
	return error;
}

static int read_control(struct wa_lazy_layer *layer, const struct wa_lazy_base *base, struct message message)
{
	struct wa_control control;
	int major, error = wh_control(layer->lazy->store, base->view, &control, &major, message.text, message.size);
	if (error != 0)
		return error;
	layer->plan.version = (struct wa_version){
		.major = major, .checksums = control.checksum_version != 0, .log_hints = control.parameters.wal_log_hints};
	layer->plan.segment_size = control.wal_segment_size;
	layer->plan.system_id = control.system_id;
	layer->catalog = control.catalog;
	layer->segment_blocks = control.segment_blocks;
	return 0;
}

int lz_begin(struct wa_lazy *lazy, const struct wa_lazy_base *base, struct nf_lsn to, bool use_runs,
	     struct wa_lazy_layer **ret_layer, char *ret_message, size_t message_size)
{
	struct message message = {ret_message, message_size};
	struct wa_lazy_layer *layer = calloc(1, sizeof(*layer));
	if (layer == NULL)
		return wh_say(ret_message, message_size, -ENOMEM, "no memory");
	layer->lazy = lazy;
	layer->source = base->source;
	struct lz_plan *plan = &layer->plan;
	int error = read_control(layer, base, message);
	if (error == 0 &&
	    (base->redo.v > to.v || to.v / plan->segment_size - base->redo.v / plan->segment_size >= LZ_SEGMENTS_MAX))
		error = wh_say(ret_message, message_size, -EINVAL, "the point lies before the base, or too far behind it");
	if (error == 0) {
		plan->from = base->redo;
		plan->to = to;
		plan->written = base->written;
		plan->timeline = base->timeline;
		plan->base = base->view;
		plan->first_segment = base->redo.v / plan->segment_size;
		/* The last record ends at `to`: a segment that begins there is not needed. */
		plan->segment_count =
			to.v > base->redo.v ? (uint32_t)((to.v - 1) / plan->segment_size - plan->first_segment + 1) : 0;
		plan->segments = calloc(NF_MAX(plan->segment_count, 1u), sizeof(*plan->segments));
		error = plan->segments == NULL ? wh_say(ret_message, message_size, -ENOMEM, "no memory") : 0;
	}
	if (error == 0)
		error = make_directories(layer, message);
	if (error == 0)
		error = gather_wal(layer, base->timeline, message);
	if (error == 0)
		error = lz_gather_indexes(layer, use_runs, message);
	if (error == 0)
		error = check_range(layer, message);
	if (error != 0) {
		wa_lazy_end(layer, false);
		return error;
	}
	*ret_layer = layer;
	return 0;
}

int wa_lazy_begin(struct wa_lazy *lazy, const struct wa_lazy_base *base, struct nf_lsn to, struct wa_lazy_layer **ret_layer,
		  char *ret_message, size_t message_size)
{
	return lz_begin(lazy, base, to, true, ret_layer, ret_message, message_size);
}

int lz_layer_range(struct wa_lazy_layer *layer, struct wa_range *ret_range)
{
	int error = 0;
	assert(layer->plan.run_count == 0);
	for (uint32_t i = 0; i < layer->plan.segment_count && error == 0; i++)
		error = lz_indexes_load(&layer->indexes, i);
	if (error == 0)
		*ret_range = lz_range(&layer->plan, &layer->indexes, &layer->log);
	return error;
}

uint64_t wa_lazy_blocks(const struct wa_lazy_layer *layer)
{
	return layer->blocks;
}

void wa_lazy_end(struct wa_lazy_layer *layer, bool keep)
{
	if (layer == NULL)
		return;
	struct bd_inode *const inodes[] = {layer->wal, layer->index, layer->merged, layer->dir};
	lz_log_close(&layer->log);
	lz_indexes_free(&layer->indexes);
	for (uint32_t i = 0; layer->summaries != NULL && i < layer->plan.segment_count; i++)
		free(layer->summaries[i].bytes);
	free(layer->summaries);
	lz_plan_free(&layer->plan);
	for (size_t i = 0; i < NF_ARRAY_LEN(inodes); i++)
		if (inodes[i] != NULL)
			bd_inode_unref(inodes[i], 1);
	if (!keep && layer->all != NULL) {
		int error = lz_remove_kept(layer->lazy->store, layer->all, layer->name);
		if (error != 0)
			nf_warn("layers/%s of the history cannot be removed: %s", layer->name, strerror(-error));
	}
	if (layer->all != NULL)
		bd_inode_unref(layer->all, 1);
	if (layer->is_counted) {
		pthread_mutex_lock(&layer->lazy->lock);
		layer->lazy->making--;
		pthread_mutex_unlock(&layer->lazy->lock);
	}
	if (keep)
		lz_wake(layer->lazy);
	free(layer);
}
