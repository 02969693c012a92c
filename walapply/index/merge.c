/* Several indexes that follow each other become one. Entries are merged by block, in each block in the order of the parts; everything else is
 * joined, re-based and written again. The result is what one builder would have made of all records. */
#include "index_impl.h"

#include <stdlib.h>

struct part {
	const struct wa_index *index;
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	bool has_entry;
	size_t event; /* the next one */
	size_t type;
};

struct merge {
	struct part *parts;
	size_t count;
	struct ix_writer writer;
	struct wa_error *error;
};

static struct ix_rel rel_of(const struct wa_block *block)
{
	return (struct ix_rel){block->rel.spc, block->rel.db, block->rel.rel, block->fork};
}

static int block_compare(const struct wa_block *a, const struct wa_block *b)
{
	int order = ix_rel_compare(rel_of(a), rel_of(b));
	if (order != 0)
		return order;
	return a->blkno == b->blkno ? 0 : a->blkno < b->blkno ? -1 : 1;
}

static uint32_t units_in(const struct merge *merge, struct nf_lsn lsn)
{
	return (uint32_t)((lsn.v - merge->writer.info.base.v) / IX_UNIT);
}

static int next_entry(struct merge *merge, struct part *part)
{
	struct wa_index_entry last = part->entry;
	bool had = part->has_entry;
	int status = wa_index_next(&part->cursor, &part->entry, merge->error);
	part->has_entry = status == 1;
	if (status < 1)
		return status;
	int order = had ? block_compare(&last.block, &part->entry.block) : -1;
	if (order > 0 || (order == 0 && last.lsn.v >= part->entry.lsn.v) || part->entry.lsn.v >= part->index->info.limit.v)
		return ix_damaged(part->index, merge->error, "its entries are not sorted");
	return 0;
}

/* All entries of the least block that any part has, and so on. */
static int merge_entries(struct merge *merge)
{
	struct wa_block last = {.blkno = 0};
	bool have_last = false;
	for (size_t i = 0; i < merge->count; i++) {
		wa_index_seek_all(merge->parts[i].index, &merge->parts[i].cursor);
		int status = next_entry(merge, &merge->parts[i]);
		if (status < 0)
			return status;
	}
	for (;;) {
		const struct part *least = NULL;
		for (size_t i = 0; i < merge->count; i++)
			if (merge->parts[i].has_entry &&
			    (least == NULL || block_compare(&merge->parts[i].entry.block, &least->entry.block) < 0))
				least = &merge->parts[i];
		if (least == NULL)
			return 0;
		struct wa_block block = least->entry.block;
		if (!have_last || ix_rel_compare(rel_of(&last), rel_of(&block)) != 0)
			ix_put_rel(&merge->writer, rel_of(&block));
		for (size_t i = 0; i < merge->count; i++) {
			struct part *part = &merge->parts[i];
			while (part->has_entry && block_compare(&part->entry.block, &block) == 0) {
				ix_put_entry(&merge->writer, block.blkno, units_in(merge, part->entry.lsn), part->entry.flags);
				int status = next_entry(merge, part);
				if (status < 0)
					return status;
			}
		}
		last = block;
		have_last = true;
	}
}

static int merge_state(struct merge *merge, const struct part *part)
{
	struct wa_index_state_cursor cursor;
	struct wa_index_state state;
	uint64_t last = 0;
	int status;
	wa_index_seek_state(part->index, part->index->info.base, part->index->info.limit, &cursor);
	while ((status = wa_index_next_state(&cursor, &state, merge->error)) == 1) {
		if (state.lsn.v < last)
			return ix_damaged(part->index, merge->error, "its summary is not sorted");
		last = state.lsn.v;
		/* Newer than all before in its part only. */
		if (state.kind == WA_INDEX_XID && !ix_newer(state.xid, merge->writer.newest_xid))
			continue;
		ix_put_state(&merge->writer, units_in(merge, state.lsn), &state);
	}
	return status;
}

static int event_compare(const struct wa_index_event *a, const struct wa_index_event *b)
{
	return ix_rel_compare((struct ix_rel){a->rel.spc, a->rel.db, a->rel.rel, 0}, (struct ix_rel){b->rel.spc, b->rel.db, b->rel.rel, 0});
}

static void merge_events(struct merge *merge)
{
	for (;;) {
		struct part *least = NULL;
		struct wa_index_event event = {.kind = 0};
		for (size_t i = 0; i < merge->count; i++) {
			struct part *part = &merge->parts[i];
			if (part->event == wa_index_event_count(part->index))
				continue;
			struct wa_index_event candidate = wa_index_event_at(part->index, part->event);
			if (least == NULL || event_compare(&candidate, &event) < 0) {
				least = part;
				event = candidate;
			}
		}
		if (least == NULL)
			return;
		least->event++;
		ix_put_event(&merge->writer, units_in(merge, event.lsn), &event);
	}
}

static void merge_types(struct merge *merge)
{
	for (;;) {
		unsigned code = UINT32_MAX;
		struct wa_index_type sum = {.count = 0};
		for (int pass = 0; pass < 2; pass++)
			for (size_t i = 0; i < merge->count; i++) {
				struct part *part = &merge->parts[i];
				if (part->type == wa_index_type_count(part->index))
					continue;
				struct wa_index_type type = wa_index_type_at(part->index, part->type);
				unsigned its_code = type.rmid << 8 | type.op;
				if (pass == 0) {
					code = NF_MIN(code, its_code);
				} else if (its_code == code) {
					sum = (struct wa_index_type){type.rmid, type.op, sum.count + type.count, sum.bytes + type.bytes};
					part->type++;
				}
			}
		if (code == UINT32_MAX)
			return;
		ix_put_type(&merge->writer, &sum);
	}
}

static void merge_info(struct wa_index_info *info, const struct wa_index_info *part)
{
	info->limit = part->limit;
	if (part->records > 0) {
		if (info->records == 0) {
			info->first = part->first;
			info->first_timeline = part->first_timeline;
		}
		info->last = part->last;
		info->end = part->end;
		info->last_timeline = part->last_timeline;
	}
	info->records += part->records;
	info->record_bytes += part->record_bytes;
	if (part->checkpoint.v != 0) {
		info->checkpoint = part->checkpoint;
		info->checkpoint_redo = part->checkpoint_redo;
	}
	if (part->first_commit_us != 0 || part->last_commit_us != 0) {
		ix_note_commit(info, part->first_commit_us);
		ix_note_commit(info, part->last_commit_us);
	}
	if (ix_newer(part->newest_xid, info->newest_xid))
		info->newest_xid = part->newest_xid;
	info->foreign |= part->foreign;
}

static bool follow_each_other(const struct wa_index *parts, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		const struct wa_index_info *a = &parts[i - 1].info, *b = &parts[i].info;
		if (a->limit.v != b->base.v || a->major != b->major || a->system_id != b->system_id)
			return false;
	}
	return parts[count - 1].info.limit.v - parts[0].info.base.v <= WA_INDEX_SPAN_MAX;
}

static int run(struct merge *merge)
{
	int status = merge_entries(merge);
	for (size_t i = 0; i < merge->count && status == 0 && !merge->writer.info.blocks_only; i++)
		status = merge_state(merge, &merge->parts[i]);
	if (status < 0)
		return status;
	merge_events(merge);
	merge_types(merge);
	return 0;
}

int wa_index_merge(const struct wa_index *parts, size_t count, enum wa_index_merge_kind kind, uint8_t **ret_bytes, size_t *ret_size,
		   struct wa_error *error)
{
	if (count == 0 || count > WA_INDEX_MERGE_MAX || !follow_each_other(parts, count))
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		if (parts[i].info.blocks_only && kind != WA_MERGE_BLOCKS)
			return -EINVAL;
	struct wa_index_info info = {.major = parts[0].info.major,
				     .system_id = parts[0].info.system_id,
				     .base = parts[0].info.base,
				     .blocks_only = kind == WA_MERGE_BLOCKS};
	struct merge *merge = calloc(1, sizeof(*merge));
	if (merge == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		merge_info(&info, &parts[i].info);
	ix_writer_start(&merge->writer, &info);
	merge->parts = calloc(count, sizeof(*merge->parts));
	merge->count = count;
	merge->error = error;
	int status = merge->parts != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && status == 0; i++)
		merge->parts[i].index = &parts[i];
	if (status == 0)
		status = run(merge);
	if (status == 0)
		status = ix_writer_finish(&merge->writer, ret_bytes, ret_size);
	ix_writer_free(&merge->writer);
	free(merge->parts);
	free(merge);
	return status;
}
