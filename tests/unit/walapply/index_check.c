#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "index_check.h"
#include "walapply/decode/wa_records.h"
#include "walapply/redo/wa_redo.h"
#include "walapply/state/wa_state.h"

#define LOOKUPS 3000
#define PIECES_MAX 16

/* One entry, and where it was in the order of arrival. */
struct item {
	struct wa_index_entry entry;
	size_t number;
};

struct index_check {
	struct wa_index_config config;
	struct wa_index_builder *builders[PIECES_MAX + 1]; /* [n]: of n pieces, the piece under way */
	uint8_t *parts[PIECES_MAX + 1][PIECES_MAX];
	size_t part_sizes[PIECES_MAX + 1][PIECES_MAX];
	unsigned parts_done[PIECES_MAX + 1];
	struct item *items;
	size_t count, capacity;
	struct nf_lsn *states; /* records with state, or of unknown types */
	size_t state_count, state_capacity;
	uint64_t records, bytes;
	uint32_t newest;
	size_t xids; /* how often an xid was newer than all before */
	size_t events;
};

static const unsigned all_pieces[] = {1, 2, 3, 7, PIECES_MAX};

/* The range of piece i of n: whole pages. */
static struct nf_lsn piece_at(const struct index_check *check, unsigned n, unsigned i)
{
	uint64_t pages = (check->config.limit.v - check->config.base.v) / WA_PAGE_SIZE;
	return (struct nf_lsn){check->config.base.v + pages * i / n * WA_PAGE_SIZE};
}

struct index_check *check_new(const struct wa_index_config *config)
{
	struct index_check *check = calloc(1, sizeof(*check));
	assert_non_null(check);
	check->config = *config;
	for (size_t p = 0; p < NF_ARRAY_LEN(all_pieces); p++) {
		struct wa_index_config first = *config;
		first.limit = piece_at(check, all_pieces[p], 1);
		assert_int_equal(wa_index_builder_new(&first, &check->builders[all_pieces[p]]), 0);
	}
	return check;
}

void check_free(struct index_check *check)
{
	for (unsigned n = 0; n <= PIECES_MAX; n++) {
		wa_index_builder_free(check->builders[n]);
		for (unsigned i = 0; i < PIECES_MAX; i++)
			free(check->parts[n][i]);
	}
	free(check->items);
	free(check->states);
	free(check);
}

static void finish_part(struct index_check *check, unsigned n)
{
	unsigned i = check->parts_done[n]++;
	assert_int_equal(wa_index_finish(check->builders[n], &check->parts[n][i], &check->part_sizes[n][i]), 0);
	if (i + 1 < n)
		assert_int_equal(wa_index_builder_reset(check->builders[n], piece_at(check, n, i + 1), piece_at(check, n, i + 2)), 0);
}

static void note(struct index_check *check, const struct wa_block *block, struct nf_lsn lsn, uint8_t flags)
{
	for (size_t i = check->count; i-- > 0 && check->items[i].entry.lsn.v == lsn.v;)
		if (memcmp(&check->items[i].entry.block, block, sizeof(*block)) == 0) {
			check->items[i].entry.flags |= flags;
			return;
		}
	if (check->count == check->capacity) {
		check->capacity = 2 * check->capacity + 1000;
		check->items = realloc(check->items, check->capacity * sizeof(*check->items));
		assert_non_null(check->items);
	}
	check->items[check->count] = (struct item){{*block, lsn, flags}, check->count};
	check->count++;
}

static int count_event(void *arg, const struct wa_state_op *op)
{
	struct index_check *check = arg;
	switch (op->kind) {
	case WA_OP_REL_CREATE:
	case WA_OP_REL_TRUNCATE:
	case WA_OP_DB_COPY:
	case WA_OP_DB_CREATE:
	case WA_OP_SPACE_CREATE:
	case WA_OP_SPACE_DROP:
	case WA_OP_RELMAP: check->events++; break;
	case WA_OP_REL_DROP: check->events += op->drop.count; break;
	case WA_OP_DB_DROP: check->events += op->db.count; break;
	default: break;
	}
	return 0;
}

static void note_state(struct index_check *check, const struct wa_record *record, const struct wa_record_type *type)
{
	struct wa_error error;
	if (type != NULL && !(type->redo_class & WA_STATE))
		return;
	if (type != NULL)
		assert_int_equal(wa_state_ops(&check->config.version, record, count_event, check, &error), 0);
	if (check->state_count == check->state_capacity) {
		check->state_capacity = 2 * check->state_capacity + 1000;
		check->states = realloc(check->states, check->state_capacity * sizeof(*check->states));
		assert_non_null(check->states);
	}
	check->states[check->state_count++] = record->lsn;
}

void check_add(struct index_check *check, const struct wa_record *record)
{
	struct wa_error error = {0};
	struct wa_implied implied[WA_IMPLIED_MAX];
	const struct wa_record_type *type = wa_record_type(check->config.version.major, record->rmid, record->info);
	for (size_t p = 0; p < NF_ARRAY_LEN(all_pieces); p++) {
		unsigned n = all_pieces[p];
		while (record->lsn.v >= piece_at(check, n, check->parts_done[n] + 1).v)
			finish_part(check, n);
		if (wa_index_add(check->builders[n], record, &error) != 0)
			fail_msg("refused: %s", error.text);
	}
	for (unsigned i = 0; i < record->ref_count; i++) {
		const struct wa_ref *ref = &record->refs[i];
		if (ref->apply_image || ref->will_init)
			note(check, &ref->block, record->lsn, WA_INDEX_WHOLE);
		else if (type == NULL || type->redo_class & WA_PAGE)
			note(check, &ref->block, record->lsn, 0);
	}
	int count = wa_implied_blocks(&check->config.version, record, implied, &error);
	assert_true(count >= 0);
	for (int i = 0; i < count; i++)
		note(check, &implied[i].block, record->lsn, WA_INDEX_IMPLIED);
	note_state(check, record, type);
	check->records++;
	check->bytes += record->tot_len;
	if (record->xid >= 3 && (check->newest == 0 || (int32_t)(record->xid - check->newest) > 0)) {
		check->newest = record->xid;
		check->xids++;
	}
}

/* ------------------------------------------------------------ comparing */

static int compare_blocks(const struct wa_block *a, const struct wa_block *b)
{
	const uint32_t ka[] = {a->rel.spc, a->rel.db, a->rel.rel, a->fork, a->blkno},
		       kb[] = {b->rel.spc, b->rel.db, b->rel.rel, b->fork, b->blkno};
	for (unsigned i = 0; i < 5; i++)
		if (ka[i] != kb[i])
			return ka[i] < kb[i] ? -1 : 1;
	return 0;
}

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = compare_blocks(&x->entry.block, &y->entry.block);
	return order != 0 ? order : x->number < y->number ? -1 : 1;
}

static void expect_entry(const struct wa_index_entry *entry, const struct item *item)
{
	assert_int_equal(compare_blocks(&entry->block, &item->entry.block), 0);
	assert_int_equal(entry->lsn.v, item->entry.lsn.v);
	assert_int_equal(entry->flags, item->entry.flags);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void expect_all(const struct index_check *check, const struct wa_index *index)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	struct wa_error error;
	wa_index_seek_all(index, &cursor);
	for (size_t i = 0; i < check->count; i++) {
		assert_int_equal(wa_index_next(&cursor, &entry, &error), 1);
		expect_entry(&entry, &check->items[i]);
	}
	assert_int_equal(wa_index_next(&cursor, &entry, &error), 0);
	assert_int_equal(wa_index_next(&cursor, &entry, &error), 0);
}

/* A block that is there, or nearly; a range whose ends are at a record, beside one, or outside. */
static void random_lookup(const struct index_check *check, uint32_t *seed, struct wa_block *ret_block, struct nf_lsn *ret_from,
			  struct nf_lsn *ret_to)
{
	const struct wa_index_entry *entry = &check->items[next_random(seed) % check->count].entry;
	struct nf_lsn *ends[] = {ret_from, ret_to};
	*ret_block = entry->block;
	switch (next_random(seed) % 16) {
	case 0: ret_block->blkno++; break;
	case 1: ret_block->blkno--; break;
	case 2: ret_block->fork = next_random(seed) % WA_FORKS; break;
	case 3: ret_block->rel.rel++; break;
	default: break;
	}
	for (unsigned i = 0; i < 2; i++)
		switch (next_random(seed) % 6) {
		case 0: *ends[i] = check->items[next_random(seed) % check->count].entry.lsn; break;
		case 1: *ends[i] = entry->lsn; break;
		case 2: ends[i]->v = entry->lsn.v + 1; break;
		case 3: ends[i]->v = i == 0 ? 0 : UINT64_MAX; break;
		case 4: *ends[i] = i == 0 ? check->config.base : check->config.limit; break;
		default: ends[i]->v = entry->lsn.v - 8; break;
		}
}

static size_t find_item(const struct index_check *check, const struct wa_block *block)
{
	size_t low = 0, high = check->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (compare_blocks(&check->items[middle].entry.block, block) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void expect_lookup(const struct index_check *check, const struct wa_index *index, const struct wa_block *block, struct nf_lsn from,
			  struct nf_lsn to)
{
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	struct wa_error error;
	uint64_t whole = 0;
	wa_index_seek(index, block, from, to, &cursor);
	for (size_t i = find_item(check, block); i < check->count && compare_blocks(&check->items[i].entry.block, block) == 0; i++) {
		const struct item *item = &check->items[i];
		if (item->entry.lsn.v < from.v || item->entry.lsn.v >= to.v)
			continue;
		assert_int_equal(wa_index_next(&cursor, &entry, &error), 1);
		expect_entry(&entry, item);
		if (entry.flags & WA_INDEX_WHOLE)
			whole = entry.lsn.v;
	}
	assert_int_equal(wa_index_next(&cursor, &entry, &error), 0);
	struct nf_lsn found = {0};
	assert_int_equal(wa_index_last_whole(index, block, from, to, &found, &error), whole != 0);
	assert_int_equal(found.v, whole);
}

static void expect_reach(const struct index_check *check, const struct wa_index *index, const struct wa_block *block, struct nf_lsn from,
			 struct nf_lsn to)
{
	struct wa_block first = {block->rel, block->fork, 0};
	struct wa_error error;
	uint32_t expected = 0, reach;
	for (size_t i = find_item(check, &first); i < check->count; i++) {
		const struct wa_index_entry *entry = &check->items[i].entry;
		if (!wa_locator_equal(entry->block.rel, block->rel) || entry->block.fork != block->fork)
			break;
		if (entry->lsn.v >= from.v && entry->lsn.v < to.v)
			expected = entry->block.blkno + 1;
	}
	assert_int_equal(wa_index_reach(index, block->rel, block->fork, from, to, &reach, &error), 0);
	assert_int_equal(reach, expected);
}

static void expect_state(const struct index_check *check, const struct wa_index *index, struct nf_lsn from, struct nf_lsn to)
{
	struct wa_index_state_cursor cursor;
	struct wa_index_state state;
	struct wa_error error;
	size_t i = 0, xids = 0;
	int status;
	while (i < check->state_count && check->states[i].v < from.v)
		i++;
	wa_index_seek_state(index, from, to, &cursor);
	while ((status = wa_index_next_state(&cursor, &state, &error)) == 1) {
		if (state.kind == WA_INDEX_XID) {
			xids++;
			continue;
		}
		assert_true(i < check->state_count);
		assert_int_equal(state.lsn.v, check->states[i++].v);
	}
	assert_int_equal(status, 0);
	assert_true(i == check->state_count || check->states[i].v >= to.v || from.v >= to.v);
	if (from.v <= check->config.base.v && to.v >= check->config.limit.v)
		assert_int_equal(xids, check->xids);
}

static void expect_info(const struct index_check *check, const struct wa_index *index)
{
	const struct wa_index_info *info = &index->info;
	uint64_t records = 0, bytes = 0, entries = 0;
	assert_int_equal(info->major, check->config.version.major);
	assert_int_equal(info->base.v, check->config.base.v);
	assert_int_equal(info->limit.v, check->config.limit.v);
	assert_int_equal(info->records, check->records);
	assert_int_equal(info->record_bytes, check->bytes);
	assert_int_equal(info->entries, check->count);
	assert_int_equal(info->newest_xid, check->newest);
	for (size_t i = 0; i < wa_index_type_count(index); i++) {
		struct wa_index_type type = wa_index_type_at(index, i);
		records += type.count;
		bytes += type.bytes;
	}
	assert_int_equal(records, check->records);
	assert_int_equal(bytes, check->bytes);
	for (size_t i = 0; i < wa_index_rel_count(index); i++) {
		struct wa_index_rel rel = wa_index_rel_at(index, i);
		struct wa_block block = {rel.rel, rel.fork, 0};
		expect_reach(check, index, &block, info->base, info->limit);
		size_t last = find_item(check, &(struct wa_block){rel.rel, rel.fork, rel.blocks});
		assert_true(last > 0 && check->items[last - 1].entry.block.blkno + 1 == rel.blocks);
		entries += rel.entries;
	}
	assert_int_equal(entries, check->count);
	assert_int_equal(wa_index_event_count(index), check->events);
	for (size_t i = 0; i < check->events; i++) {
		struct wa_index_event event = wa_index_event_at(index, i);
		size_t first = wa_index_event_find(index, event.rel);
		assert_true(first <= i && wa_locator_equal(wa_index_event_at(index, first).rel, event.rel));
		assert_true(first == 0 || !wa_locator_equal(wa_index_event_at(index, first - 1).rel, event.rel));
	}
}

/* The bytes of one index of everything: built at once, or merged of pieces. */
static void make_bytes(struct index_check *check, unsigned pieces, uint8_t **ret_bytes, size_t *ret_size)
{
	struct wa_index parts[PIECES_MAX] = {0};
	struct wa_error error;
	while (check->parts_done[pieces] < pieces)
		finish_part(check, pieces);
	for (unsigned i = 0; i < pieces; i++) {
		assert_int_equal(wa_index_open(check->parts[pieces][i], check->part_sizes[pieces][i], &parts[i], &error), 0);
		assert_int_equal(wa_index_verify(&parts[i], &error), 0);
	}
	assert_int_equal(wa_index_merge(parts, pieces, WA_MERGE_ALL, ret_bytes, ret_size, &error), 0);
	if (pieces == 1) {
		assert_int_equal(*ret_size, check->part_sizes[1][0]);
		assert_memory_equal(*ret_bytes, check->parts[1][0], *ret_size);
	}
}

/* Pieces `from` to `end` of `pieces`, merged without what changes outside of pages. */
static void merge_blocks(struct index_check *check, unsigned pieces, unsigned from, unsigned end, uint8_t **ret_bytes, size_t *ret_size)
{
	struct wa_index parts[PIECES_MAX] = {0};
	struct wa_error error;
	for (unsigned i = from; i < end; i++)
		assert_int_equal(wa_index_open(check->parts[pieces][i], check->part_sizes[pieces][i], &parts[i - from], &error), 0);
	assert_int_equal(wa_index_merge(parts, end - from, WA_MERGE_BLOCKS, ret_bytes, ret_size, &error), 0);
}

/* Merged at once or in two steps it is the same, and says of blocks and files all that `whole` says. */
static void expect_blocks_only(struct index_check *check, unsigned pieces, const struct wa_index *whole, uint32_t seed)
{
	uint8_t *at_once, *halves[2], *again, *refused;
	size_t size, half_sizes[2], again_size, refused_size;
	struct wa_index index, parts[2];
	struct wa_error error = {0};
	struct wa_index_state_cursor cursor;
	struct wa_index_state state;
	merge_blocks(check, pieces, 0, pieces, &at_once, &size);
	assert_int_equal(wa_index_open(at_once, size, &index, &error), 0);
	assert_int_equal(wa_index_verify(&index, &error), 0);
	assert_true(index.info.blocks_only && !whole->info.blocks_only);
	expect_all(check, &index);
	expect_info(check, &index);
	for (unsigned i = 0; i < LOOKUPS / 10 && check->count > 0; i++) {
		struct wa_block block;
		struct nf_lsn from, to;
		random_lookup(check, &seed, &block, &from, &to);
		expect_lookup(check, &index, &block, from, to);
	}
	/* That there is nothing is not said. */
	wa_index_seek_state(&index, check->config.base, check->config.limit, &cursor);
	assert_int_equal(wa_index_next_state(&cursor, &state, &error), -EBADMSG);
	assert_int_equal(wa_index_merge(&index, 1, WA_MERGE_ALL, &refused, &refused_size, &error), -EINVAL);
	if (pieces > 1) {
		merge_blocks(check, pieces, 0, pieces / 2, &halves[0], &half_sizes[0]);
		merge_blocks(check, pieces, pieces / 2, pieces, &halves[1], &half_sizes[1]);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(wa_index_open(halves[i], half_sizes[i], &parts[i], &error), 0);
		assert_int_equal(wa_index_merge(parts, 2, WA_MERGE_BLOCKS, &again, &again_size, &error), 0);
		assert_int_equal(again_size, size);
		assert_memory_equal(again, at_once, size);
		free(halves[0]);
		free(halves[1]);
		free(again);
	}
	free(at_once);
}

void check_index(struct index_check *check, unsigned pieces, uint32_t seed, struct wa_index *ret_index, uint8_t **ret_bytes, size_t *ret_size)
{
	uint8_t *bytes;
	struct wa_error error = {0};
	make_bytes(check, pieces, &bytes, ret_size);
	*ret_bytes = malloc(*ret_size);
	assert_non_null(*ret_bytes);
	memcpy(*ret_bytes, bytes, *ret_size);
	free(bytes);
	if (check->count > 0)
		qsort(check->items, check->count, sizeof(*check->items), compare_items);
	assert_int_equal(wa_index_open(*ret_bytes, *ret_size, ret_index, &error), 0);
	if (wa_index_verify(ret_index, &error) != 0)
		fail_msg("%s", error.text);
	expect_all(check, ret_index);
	expect_info(check, ret_index);
	expect_state(check, ret_index, check->config.base, check->config.limit);
	expect_blocks_only(check, pieces, ret_index, seed);
	for (unsigned i = 0; i < LOOKUPS && check->count > 0; i++) {
		struct wa_block block;
		struct nf_lsn from, to;
		random_lookup(check, &seed, &block, &from, &to);
		expect_lookup(check, ret_index, &block, from, to);
		if (i % 10 == 0)
			expect_reach(check, ret_index, &block, from, to);
		if (i % 100 == 0)
			expect_state(check, ret_index, from, to);
	}
}
