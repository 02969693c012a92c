/* Building an index: each record's blocks are noted as they come; in the end they are sorted by block, and written.
 * Forks are numbered in the order in which they are met (a hash table finds the number) and get their final row when all are known. The entries
 * come in the order of the log, so a stable sort by (row, block) is all it takes: radix sort, a byte at a time, bytes that are the same
 * everywhere skipped. */
#include "index_impl.h"

#include <stdlib.h>

#include "walapply/decode/wa_records.h"
#include "walapply/redo/wa_redo.h"
#include "walapply/state/wa_state.h"

#define ENTRIES_MIN 4096u
#define RELS_MIN 256u
#define OPS 16u /* values of the type bits */
#define NO_REL UINT32_MAX

struct entry {
	uint32_t rel, blkno, lsn;
	uint8_t flags;
};

struct fork_seen {
	struct ix_rel rel;
	uint32_t number; /* in the order of sight */
};

struct event {
	struct wa_index_event event;
	uint32_t lsn;
	uint32_t number; /* in the order of the log */
};

struct type_count {
	uint32_t count;
	uint64_t bytes;
};

struct wa_index_builder {
	struct wa_version version;
	struct wa_index_info info;
	struct ix_writer writer; /* state items go there at once */
	struct entry *entries, *spare; /* spare: for sorting, room for spare_capacity */
	size_t entry_count, entry_capacity, spare_capacity;
	struct fork_seen *rels;
	size_t rel_count, rel_capacity;
	uint32_t *slots; /* hash table of numbers; twice rel_capacity */
	uint32_t last_rel;
	struct ix_buffer events; /* struct event */
	struct type_count types[256 * OPS];
	uint32_t lsn; /* of the record under way */
	bool ready;
};

/* ------------------------------------------------------------- set up */

static bool range_ok(struct nf_lsn base, struct nf_lsn limit)
{
	return base.v % WA_PAGE_SIZE == 0 && limit.v % WA_PAGE_SIZE == 0 && limit.v > base.v && limit.v - base.v <= WA_INDEX_SPAN_MAX;
}

int wa_index_builder_new(const struct wa_index_config *config, struct wa_index_builder **ret_builder)
{
	if (config->version.major < WA_MAJOR_MIN || config->version.major > WA_MAJOR_MAX || !range_ok(config->base, config->limit))
		return -EINVAL;
	struct wa_index_builder *builder = calloc(1, sizeof(*builder));
	if (builder == NULL)
		return -ENOMEM;
	builder->version = config->version;
	builder->info.system_id = config->system_id;
	int status = wa_index_builder_reset(builder, config->base, config->limit);
	if (status < 0) {
		wa_index_builder_free(builder);
		return status;
	}
	*ret_builder = builder;
	return 0;
}

void wa_index_builder_free(struct wa_index_builder *builder)
{
	if (builder == NULL)
		return;
	ix_writer_free(&builder->writer);
	ix_free(&builder->events);
	free(builder->entries);
	free(builder->spare);
	free(builder->rels);
	free(builder->slots);
	free(builder);
}

int wa_index_builder_reset(struct wa_index_builder *builder, struct nf_lsn base, struct nf_lsn limit)
{
	if (!range_ok(base, limit))
		return -EINVAL;
	builder->info = (struct wa_index_info){
		.major = builder->version.major, .system_id = builder->info.system_id, .base = base, .limit = limit};
	ix_writer_start(&builder->writer, &builder->info);
	builder->events.size = 0;
	builder->events.failed = false;
	builder->entry_count = builder->rel_count = 0;
	builder->last_rel = NO_REL;
	if (builder->slots != NULL)
		memset(builder->slots, 0xFF, 2 * builder->rel_capacity * sizeof(uint32_t));
	memset(builder->types, 0, sizeof(builder->types));
	builder->ready = true;
	return 0;
}

/* ---------------------------------------------------------------- forks */

static size_t hash_of(struct ix_rel rel)
{
	uint64_t h = ((uint64_t)rel.rel << 32 | rel.db) * 0x9E3779B97F4A7C15ull;
	h = (h ^ h >> 29 ^ ((uint64_t)rel.spc << 3 | rel.fork)) * 0xBF58476D1CE4E5B9ull;
	return (size_t)(h >> 32);
}

static void enter_slot(struct wa_index_builder *builder, uint32_t number)
{
	size_t mask = 2 * builder->rel_capacity - 1, at = hash_of(builder->rels[number].rel) & mask;
	while (builder->slots[at] != NO_REL)
		at = (at + 1) & mask;
	builder->slots[at] = number;
}

static int grow_rels(struct wa_index_builder *builder)
{
	size_t capacity = builder->rel_capacity > 0 ? 2 * builder->rel_capacity : RELS_MIN;
	struct fork_seen *rels = realloc(builder->rels, capacity * sizeof(*rels));
	if (rels == NULL)
		return -ENOMEM;
	builder->rels = rels;
	uint32_t *slots = malloc(2 * capacity * sizeof(*slots));
	if (slots == NULL)
		return -ENOMEM;
	memset(slots, 0xFF, 2 * capacity * sizeof(*slots));
	free(builder->slots);
	builder->slots = slots;
	builder->rel_capacity = capacity;
	for (uint32_t i = 0; i < builder->rel_count; i++)
		enter_slot(builder, i);
	return 0;
}

/* The number of a fork, a new one if need be. */
static int number_of(struct wa_index_builder *builder, struct ix_rel rel, uint32_t *ret_number)
{
	if (builder->last_rel != NO_REL && ix_rel_compare(builder->rels[builder->last_rel].rel, rel) == 0) {
		*ret_number = builder->last_rel;
		return 0;
	}
	if (builder->rel_count == builder->rel_capacity) {
		int status = grow_rels(builder);
		if (status < 0)
			return status;
	}
	size_t mask = 2 * builder->rel_capacity - 1, at = hash_of(rel) & mask;
	while (builder->slots[at] != NO_REL && ix_rel_compare(builder->rels[builder->slots[at]].rel, rel) != 0)
		at = (at + 1) & mask;
	if (builder->slots[at] == NO_REL) {
		builder->slots[at] = (uint32_t)builder->rel_count;
		builder->rels[builder->rel_count] = (struct fork_seen){rel, (uint32_t)builder->rel_count};
		builder->rel_count++;
	}
	builder->last_rel = *ret_number = builder->slots[at];
	return 0;
}

/* --------------------------------------------------------------- entries */

static int add_entry(struct wa_index_builder *builder, const struct wa_block *block, uint8_t flags)
{
	uint32_t rel;
	int status = number_of(builder, (struct ix_rel){block->rel.spc, block->rel.db, block->rel.rel, block->fork}, &rel);
	if (status < 0)
		return status;
	if (builder->entry_count == builder->entry_capacity) {
		size_t capacity = builder->entry_capacity > 0 ? 2 * builder->entry_capacity : ENTRIES_MIN;
		struct entry *entries = realloc(builder->entries, capacity * sizeof(*entries));
		if (entries == NULL)
			return -ENOMEM;
		builder->entries = entries;
		builder->entry_capacity = capacity;
	}
	builder->entries[builder->entry_count++] = (struct entry){rel, block->blkno, builder->lsn, flags};
	return 0;
}

static int add_refs(struct wa_index_builder *builder, const struct wa_record *record, const struct wa_record_type *type)
{
	/* As in wa_redo_block: where only images change pages, a reference without one changes nothing. */
	bool redone = type == NULL || type->redo_class & WA_PAGE;
	int status = 0;
	for (unsigned i = 0; i < record->ref_count && status == 0; i++) {
		const struct wa_ref *ref = &record->refs[i];
		if (redone || ref->apply_image)
			status = add_entry(builder, &ref->block, ref->apply_image || ref->will_init ? WA_INDEX_WHOLE : 0);
	}
	return status;
}

static int add_implied(struct wa_index_builder *builder, const struct wa_record *record, struct wa_error *error)
{
	struct wa_implied implied[WA_IMPLIED_MAX];
	int count = wa_implied_blocks(&builder->version, record, implied, error), status = count < 0 ? count : 0;
	for (int i = 0; i < count && status == 0; i++)
		status = add_entry(builder, &implied[i].block, WA_INDEX_IMPLIED);
	return status;
}

/* --------------------------------------------------------------- summary */

/* What a record's operations are, as far as the index is concerned. */
struct ops_seen {
	struct wa_index_builder *builder;
	bool alone; /* only a transaction's end, and that one alone */
	struct wa_index_state end;
};

static void add_event(struct wa_index_builder *builder, struct wa_index_event event)
{
	struct event *at = (struct event *)ix_extend(&builder->events, sizeof(struct event));
	if (at != NULL)
		*at = (struct event){
			.event = event, .lsn = builder->lsn, .number = (uint32_t)(builder->events.size / sizeof(struct event))};
}

static void drop_relations(struct wa_index_builder *builder, const struct wa_state_op *op)
{
	for (uint32_t i = 0; i < op->drop.count; i++) {
		const uint8_t *at = op->drop.locators + 12 * (size_t)i;
		add_event(builder, (struct wa_index_event){.kind = WA_EVENT_DROP, .rel = {ix_u32(at), ix_u32(at + 4), ix_u32(at + 8)}});
	}
}

static void drop_database(struct wa_index_builder *builder, const struct wa_state_op *op)
{
	for (uint32_t i = 0; i < op->db.count; i++)
		add_event(builder, (struct wa_index_event){.kind = WA_EVENT_DB_DROP,
							   .rel = {.spc = ix_u32(op->db.spaces + 4 * (size_t)i), .db = op->db.db}});
}

static int take_op(void *arg, const struct wa_state_op *op)
{
	struct ops_seen *seen = arg;
	struct wa_index_builder *builder = seen->builder;
	struct wa_index_event event = {.kind = 0};
	switch (op->kind) {
	case WA_OP_XACT:
		seen->end.kind = op->xact.status == WA_XACT_COMMITTED ? WA_INDEX_COMMIT : WA_INDEX_ABORT;
		seen->end.xid = op->xact.xid;
		seen->alone = seen->alone && op->xact.sub.count == 0;
		return 0;
	case WA_OP_COMMIT_TS: seen->end.time_us = op->commit_ts.time_us; return 0;
	case WA_OP_REL_CREATE:
		event = (struct wa_index_event){.kind = WA_EVENT_CREATE, .fork = (uint8_t)op->rel.fork, .rel = op->rel.rel};
		break;
	case WA_OP_REL_TRUNCATE:
		event = (struct wa_index_event){
			.kind = WA_EVENT_TRUNCATE, .fork = (uint8_t)op->rel.forks, .rel = op->rel.rel, .blocks = op->rel.blocks};
		break;
	case WA_OP_REL_DROP: drop_relations(builder, op); break;
	case WA_OP_DB_COPY:
		event = (struct wa_index_event){.kind = WA_EVENT_DB_COPY,
						.rel = {.spc = op->db.spc, .db = op->db.db},
						.from_spc = op->db.from_spc,
						.from_db = op->db.from_db};
		break;
	case WA_OP_DB_CREATE:
		event = (struct wa_index_event){.kind = WA_EVENT_DB_CREATE, .rel = {.spc = op->db.spc, .db = op->db.db}};
		break;
	case WA_OP_DB_DROP: drop_database(builder, op); break;
	case WA_OP_SPACE_CREATE: event = (struct wa_index_event){.kind = WA_EVENT_SPACE_CREATE, .rel = {.spc = op->space.spc}}; break;
	case WA_OP_SPACE_DROP: event = (struct wa_index_event){.kind = WA_EVENT_SPACE_DROP, .rel = {.spc = op->space.spc}}; break;
	case WA_OP_RELMAP:
		event = (struct wa_index_event){.kind = WA_EVENT_RELMAP, .rel = {.spc = op->relmap.spc, .db = op->relmap.db}};
		break;
	default: break;
	}
	seen->alone = false;
	if (event.kind != 0)
		add_event(builder, event);
	return 0;
}

/* CheckPoint begins with its redo pointer (catalog/pg_control.h). */
static void note_checkpoint(struct wa_index_builder *builder, const struct wa_record *record)
{
	if (record->rmid != WA_RMGR_XLOG || (record->info & 0xF0) > 0x10 || record->main_len < 8)
		return;
	builder->info.checkpoint = record->lsn;
	builder->info.checkpoint_redo.v = ix_u64(record->main);
}

static int add_state(struct wa_index_builder *builder, const struct wa_record *record, const struct wa_record_type *type,
		     struct wa_error *error)
{
	struct wa_index_state item = {.kind = WA_INDEX_RECORD, .rmid = record->rmid, .op = record->info & 0xF0};
	struct ops_seen seen = {.builder = builder, .alone = record->rmid == WA_RMGR_XACT, .end = {.kind = WA_INDEX_RECORD}};
	if (type != NULL) {
		int status = wa_state_ops(&builder->version, record, take_op, &seen, error);
		if (status < 0)
			return status;
		item.op = type->op;
		note_checkpoint(builder, record);
	}
	if (seen.end.kind == WA_INDEX_COMMIT)
		ix_note_commit(&builder->info, seen.end.time_us);
	if (seen.alone && seen.end.kind != WA_INDEX_RECORD)
		item = seen.end;
	ix_put_state(&builder->writer, builder->lsn, &item);
	return 0;
}

static void note_record(struct wa_index_builder *builder, const struct wa_record *record, const struct wa_record_type *type)
{
	struct wa_index_info *info = &builder->info;
	uint8_t op = type != NULL ? type->op : record->info & 0xF0;
	struct type_count *count = &builder->types[record->rmid * OPS + (op >> 4)];
	count->count++;
	count->bytes += record->tot_len;
	if (info->records++ == 0) {
		info->first = record->lsn;
		info->first_timeline = record->timeline;
	}
	info->last = record->lsn;
	info->end = record->end;
	info->last_timeline = record->timeline;
	info->record_bytes += record->tot_len;
	info->foreign |= type == NULL;
	if (ix_newer(record->xid, info->newest_xid)) {
		info->newest_xid = record->xid;
		ix_put_state(&builder->writer, builder->lsn, &(struct wa_index_state){.kind = WA_INDEX_XID, .xid = record->xid});
	}
}

int wa_index_add(struct wa_index_builder *builder, const struct wa_record *record, struct wa_error *error)
{
	const struct wa_index_info *info = &builder->info;
	if (!builder->ready || record->lsn.v < info->base.v || record->lsn.v >= info->limit.v || record->lsn.v % IX_UNIT != 0 ||
	    record->lsn.v <= info->last.v)
		return -EINVAL;
	builder->ready = false;
	builder->lsn = (uint32_t)((record->lsn.v - info->base.v) / IX_UNIT);
	const struct wa_record_type *type = wa_record_type(builder->version.major, record->rmid, record->info);
	note_record(builder, record, type);
	int status = add_refs(builder, record, type);
	if (status == 0 && type != NULL && type->redo_class & WA_VM)
		status = add_implied(builder, record, error);
	if (status == 0 && (type == NULL || type->redo_class & WA_STATE))
		status = add_state(builder, record, type, error);
	builder->ready = status == 0;
	return status;
}

/* --------------------------------------------------------------- sorting */

static int compare_forks(const void *a, const void *b)
{
	return ix_rel_compare(((const struct fork_seen *)a)->rel, ((const struct fork_seen *)b)->rel);
}

static int compare_events(const void *a, const void *b)
{
	const struct event *x = a, *y = b;
	int order = ix_rel_compare((struct ix_rel){x->event.rel.spc, x->event.rel.db, x->event.rel.rel, 0},
				   (struct ix_rel){y->event.rel.spc, y->event.rel.db, y->event.rel.rel, 0});
	if (order != 0)
		return order;
	return x->number < y->number ? -1 : 1;
}

static uint64_t key_of(const struct entry *entry)
{
	return (uint64_t)entry->rel << 32 | entry->blkno;
}

/* One round of the radix sort, by the byte of the key at `shift`. */
static void sort_by_byte(const struct entry *from, struct entry *to, size_t count, unsigned shift)
{
	size_t places[256] = {0}, place = 0;
	for (size_t i = 0; i < count; i++)
		places[key_of(&from[i]) >> shift & 0xFF]++;
	for (unsigned value = 0; value < 256; value++) {
		size_t here = places[value];
		places[value] = place;
		place += here;
	}
	for (size_t i = 0; i < count; i++)
		to[places[key_of(&from[i]) >> shift & 0xFF]++] = from[i];
}

/* Sort by (rel, blkno), keeping the order of what is equal. The result is in builder->entries. */
static void sort_entries(struct wa_index_builder *builder)
{
	uint64_t varying = 0;
	for (size_t i = 1; i < builder->entry_count; i++)
		varying |= key_of(&builder->entries[i]) ^ key_of(&builder->entries[0]);
	for (unsigned shift = 0; shift < 64; shift += 8) {
		if ((varying >> shift & 0xFF) == 0)
			continue;
		sort_by_byte(builder->entries, builder->spare, builder->entry_count, shift);
		struct entry *sorted = builder->spare;
		builder->spare = builder->entries;
		builder->entries = sorted;
	}
}

/* Entries and spare trade places in the sort: both get the same room. */
static int make_spare(struct wa_index_builder *builder)
{
	if (builder->spare_capacity == builder->entry_capacity)
		return 0;
	free(builder->spare);
	builder->spare_capacity = 0;
	builder->spare = malloc(builder->entry_capacity * sizeof(*builder->spare));
	if (builder->spare == NULL)
		return -ENOMEM;
	builder->spare_capacity = builder->entry_capacity;
	return 0;
}

/* Give each fork its row, and each entry the row in place of the number. */
static int assign_rows(struct wa_index_builder *builder)
{
	uint32_t *rows = malloc((builder->rel_count + 1) * sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	if (builder->rel_count > 0)
		qsort(builder->rels, builder->rel_count, sizeof(*builder->rels), compare_forks);
	for (uint32_t row = 0; row < builder->rel_count; row++)
		rows[builder->rels[row].number] = row;
	for (size_t i = 0; i < builder->entry_count; i++)
		builder->entries[i].rel = rows[builder->entries[i].rel];
	free(rows);
	return 0;
}

/* Sorted entries to the writer; a block that a record touches twice becomes one entry. */
static void write_entries(struct wa_index_builder *builder)
{
	const struct entry *entries = builder->entries;
	uint32_t next_rel = 0;
	for (size_t i = 0; i < builder->entry_count; i++) {
		struct entry entry = entries[i];
		for (; i + 1 < builder->entry_count && entries[i + 1].rel == entry.rel && entries[i + 1].blkno == entry.blkno &&
		       entries[i + 1].lsn == entry.lsn;
		     i++)
			entry.flags |= entries[i + 1].flags;
		for (; next_rel <= entry.rel; next_rel++)
			ix_put_rel(&builder->writer, builder->rels[next_rel].rel);
		ix_put_entry(&builder->writer, entry.blkno, entry.lsn, entry.flags);
	}
}

static void write_rows(struct wa_index_builder *builder)
{
	struct event *events = (struct event *)builder->events.bytes;
	size_t count = builder->events.size / sizeof(*events);
	if (count > 0)
		qsort(events, count, sizeof(*events), compare_events);
	for (size_t i = 0; i < count; i++)
		ix_put_event(&builder->writer, events[i].lsn, &events[i].event);
	for (unsigned i = 0; i < NF_ARRAY_LEN(builder->types); i++)
		if (builder->types[i].count > 0)
			ix_put_type(&builder->writer, &(struct wa_index_type){.rmid = (uint8_t)(i / OPS),
									      .op = (uint8_t)(i % OPS << 4),
									      .count = builder->types[i].count,
									      .bytes = builder->types[i].bytes});
}

int wa_index_finish(struct wa_index_builder *builder, uint8_t **ret_bytes, size_t *ret_size)
{
	if (!builder->ready)
		return -EINVAL;
	builder->ready = false;
	int status = builder->events.failed ? -ENOMEM : make_spare(builder);
	if (status == 0)
		status = assign_rows(builder);
	if (status < 0)
		return status;
	sort_entries(builder);
	builder->writer.info = builder->info;
	write_entries(builder);
	write_rows(builder);
	return ix_writer_finish(&builder->writer, ret_bytes, ret_size);
}
