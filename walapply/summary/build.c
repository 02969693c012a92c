/* Building: records come in, items go out as soon as they must. What can wait does:
 *
 *   ended    transactions that ended alone. Until a record of pg_xact's own comes, which clears or removes pages
 *   forks    how far a fork was extended. Until its relation is cut, or a database is copied; a drop forgets it
 *   xid      the newest named. Until a record is kept, which may look at it
 *
 * So the items say the same as the records in their order. Touched blocks are no items: they are bits by fork and chunk, written at the end. */
#include <stdlib.h>

#include <uthash.h>
#include <xxhash.h>

#include "common/nf_cursor.h"
#include "summary_impl.h"
#include "walapply/decode/wa_records.h"
#include "walapply/redo/wa_redo.h"

#define ENDED_MAX (1u << 20)
#define ITEM_MAX 64u /* bytes of one but RECORD */

struct ended {
	uint32_t xid;
	uint32_t status;
};

struct fork_key {
	struct wa_locator rel;
	uint32_t fork;
};

struct fork {
	struct fork_key key;
	uint32_t blocks;
	UT_hash_handle hh;
};

struct chunk_key {
	struct fork_key of;
	uint32_t number;
};

/* A handful of blocks is a list of them; more are bits: so a chunk takes no more memory than some times what its records take in the log. */
#define LISTED_MAX 30u

struct chunk {
	struct chunk_key key;
	uint16_t listed_count;
	uint16_t listed[LISTED_MAX]; /* in no order; none when there are words */
	uint64_t *words; /* NULL, or WA_SUMMARY_WORDS */
	UT_hash_handle hh;
};

struct bytes {
	uint8_t *at;
	size_t size, room;
	bool failed;
};

struct wa_summary_builder {
	struct wa_version version;
	struct wa_summary_info info;
	bool keeps_times, is_broken;
	uint32_t newest, told; /* xids */
	uint32_t item_xid; /* what the next item's is told from */
	int64_t item_time_us;
	struct ended *ended;
	size_t ended_count, ended_room;
	struct fork *forks;
	struct chunk *chunks, *recent;
	size_t memory, memory_max; /* bytes of forks and chunks */
	struct bytes items, blocks;
};

/* ----------------------------------------------------------------- bytes */

/* NULL when memory is short. */
static uint8_t *extend(struct bytes *bytes, size_t count)
{
	if (!bytes->failed && bytes->size + count > bytes->room) {
		size_t room = NF_MAX(2 * bytes->room, bytes->size + count + 4096);
		uint8_t *at = realloc(bytes->at, room);
		bytes->failed = at == NULL;
		if (at != NULL) {
			bytes->at = at;
			bytes->room = room;
		}
	}
	if (bytes->failed)
		return NULL;
	bytes->size += count;
	return bytes->at + bytes->size - count;
}

static void put(struct bytes *bytes, const void *from, size_t size)
{
	uint8_t *at = extend(bytes, size);
	if (at != NULL && size > 0)
		memcpy(at, from, size);
}

static size_t varint(uint8_t *to, uint64_t value)
{
	size_t size = 0;
	for (; value >= 0x80; value >>= 7)
		to[size++] = (uint8_t)(value | 0x80);
	to[size++] = (uint8_t)value;
	return size;
}

static void put_varint(struct bytes *bytes, uint64_t value)
{
	uint8_t at[SM_VARINT_MAX];
	put(bytes, at, varint(at, value));
}

static void put_fork(struct bytes *bytes, const struct fork_key *key)
{
	put_varint(bytes, key->rel.spc);
	put_varint(bytes, key->rel.db);
	put_varint(bytes, key->rel.rel);
	put_varint(bytes, key->fork);
}

/* ----------------------------------------------------------------- items */

static void put_tag(struct wa_summary_builder *builder, enum wa_summary_kind kind)
{
	uint8_t tag = (uint8_t)kind;
	put(&builder->items, &tag, 1);
}

static void put_xid(struct wa_summary_builder *builder, uint32_t xid)
{
	put_varint(&builder->items, sm_zigzag((int32_t)(xid - builder->item_xid)));
	builder->item_xid = xid;
}

static void tell_xid(struct wa_summary_builder *builder)
{
	if (builder->newest == builder->told)
		return;
	put_tag(builder, WA_SUMMARY_XID);
	put_xid(builder, builder->newest);
	builder->told = builder->newest;
}

static int compare_ended(const void *a, const void *b)
{
	int32_t difference = (int32_t)(((const struct ended *)a)->xid - ((const struct ended *)b)->xid);
	return (difference > 0) - (difference < 0);
}

/* Ids of one moment lie within half of the circle, so they have an order. */
static void tell_ended(struct wa_summary_builder *builder)
{
	struct ended *ended = builder->ended;
	size_t count = builder->ended_count;
	if (count > 1)
		qsort(ended, count, sizeof(*ended), compare_ended);
	for (size_t i = 0, next; i < count; i = next) {
		for (next = i + 1; next < count && ended[next].status == ended[i].status &&
				   ended[next].xid == ended[i].xid + (uint32_t)(next - i);
		     next++)
			;
		put_tag(builder, WA_SUMMARY_ENDED);
		put_xid(builder, ended[i].xid);
		put_varint(&builder->items, (uint64_t)(next - i) << 1 | (ended[i].status == WA_XACT_ABORTED));
		builder->item_xid += (uint32_t)(next - i) - 1;
	}
	builder->ended_count = 0;
}

static int add_ended(struct wa_summary_builder *builder, uint32_t xid, enum wa_xact_status status)
{
	if (builder->ended_count == ENDED_MAX)
		tell_ended(builder);
	if (builder->ended_count == builder->ended_room) {
		size_t room = NF_MAX(2 * builder->ended_room, (size_t)1024);
		struct ended *ended = realloc(builder->ended, room * sizeof(*ended));
		if (ended == NULL)
			return -ENOMEM;
		builder->ended = ended;
		builder->ended_room = room;
	}
	builder->ended[builder->ended_count++] = (struct ended){xid, status};
	return 0;
}

static void tell_commit(struct wa_summary_builder *builder, uint32_t xid, int64_t time_us, uint16_t origin)
{
	put_tag(builder, WA_SUMMARY_COMMIT);
	put_xid(builder, xid);
	put_varint(&builder->items, sm_zigzag((int64_t)((uint64_t)time_us - (uint64_t)builder->item_time_us)));
	put_varint(&builder->items, origin);
	builder->item_time_us = time_us;
}

static void tell_record(struct wa_summary_builder *builder, const struct wa_record *record)
{
	if (record->tot_len > SM_RECORD_MAX) {
		builder->info.is_partial = true;
		return;
	}
	tell_xid(builder);
	put_tag(builder, WA_SUMMARY_RECORD);
	put_varint(&builder->items, record->timeline);
	put_varint(&builder->items, (record->lsn.v - builder->info.base.v) / 8);
	put_varint(&builder->items, (record->end.v - record->lsn.v) / 8);
	put_varint(&builder->items, record->tot_len);
	put(&builder->items, record->bytes, record->tot_len);
}

static void forget_fork(struct wa_summary_builder *builder, struct fork *fork)
{
	HASH_DEL(builder->forks, fork);
	builder->memory -= sizeof(*fork);
	free(fork);
}

static void tell_fork(struct wa_summary_builder *builder, struct fork *fork)
{
	put_tag(builder, WA_SUMMARY_GROW);
	put_fork(&builder->items, &fork->key);
	put_varint(&builder->items, fork->blocks);
	forget_fork(builder, fork);
}

static int compare_forks(const struct fork *a, const struct fork *b)
{
	return memcmp(&a->key, &b->key, sizeof(a->key));
}

static void tell_forks(struct wa_summary_builder *builder)
{
	struct fork *fork, *next;
	HASH_SORT(builder->forks, compare_forks);
	HASH_ITER(hh, builder->forks, fork, next)
	tell_fork(builder, fork);
}

/* What is known of a relation's forks is told, or forgotten. */
static void close_relation(struct wa_summary_builder *builder, struct wa_locator rel,
			   void (*how)(struct wa_summary_builder *builder, struct fork *fork))
{
	static const uint32_t forks[] = {WA_FORK_MAIN, WA_FORK_VM};
	for (size_t i = 0; i < NF_ARRAY_LEN(forks); i++) {
		struct fork_key key = {rel, forks[i]};
		struct fork *fork;
		HASH_FIND(hh, builder->forks, &key, sizeof(key), fork);
		if (fork != NULL)
			how(builder, fork);
	}
}

/* ---------------------------------------------------------------- blocks */

/* Memory that stays as long as the builder, or NULL. */
static void *allocate(struct wa_summary_builder *builder, size_t size, int *ret_status)
{
	void *at = builder->memory_max - builder->memory >= size ? calloc(1, size) : NULL;
	*ret_status = at != NULL ? 0 : builder->memory_max - builder->memory >= size ? -ENOMEM : -EFBIG;
	builder->memory += at != NULL ? size : 0;
	return at;
}

static int touch_fork(struct wa_summary_builder *builder, const struct wa_block *block, bool grows)
{
	struct fork_key key = {block->rel, block->fork};
	struct fork *fork;
	HASH_FIND(hh, builder->forks, &key, sizeof(key), fork);
	if (fork == NULL) {
		int status;
		fork = allocate(builder, sizeof(*fork), &status);
		if (fork == NULL)
			return status;
		fork->key = key;
		HASH_ADD(hh, builder->forks, key, sizeof(fork->key), fork);
	}
	if (grows)
		fork->blocks = NF_MAX(fork->blocks, block->blkno + 1);
	return 0;
}

/* From a list to bits. */
static int widen(struct wa_summary_builder *builder, struct chunk *chunk)
{
	int status;
	chunk->words = allocate(builder, WA_SUMMARY_WORDS * sizeof(*chunk->words), &status);
	for (uint16_t i = 0; status == 0 && i < chunk->listed_count; i++)
		chunk->words[chunk->listed[i] / 64] |= UINT64_C(1) << chunk->listed[i] % 64;
	return status;
}

static int touch_in_chunk(struct wa_summary_builder *builder, struct chunk *chunk, uint32_t inside)
{
	for (uint16_t i = 0; chunk->words == NULL && i < chunk->listed_count; i++)
		if (chunk->listed[i] == inside)
			return 0;
	if (chunk->words == NULL && chunk->listed_count < LISTED_MAX) {
		chunk->listed[chunk->listed_count++] = (uint16_t)inside;
		return 0;
	}
	int status = chunk->words == NULL ? widen(builder, chunk) : 0;
	if (status == 0)
		chunk->words[inside / 64] |= UINT64_C(1) << inside % 64;
	return status;
}

static int touch_block(struct wa_summary_builder *builder, const struct wa_block *block)
{
	struct chunk_key key = {{block->rel, block->fork}, block->blkno / WA_SUMMARY_CHUNK};
	uint32_t inside = block->blkno % WA_SUMMARY_CHUNK;
	struct chunk *chunk = builder->recent;
	if (chunk == NULL || memcmp(&chunk->key, &key, sizeof(key)) != 0)
		HASH_FIND(hh, builder->chunks, &key, sizeof(key), chunk);
	if (chunk == NULL) {
		int status;
		chunk = allocate(builder, sizeof(*chunk), &status);
		if (chunk == NULL)
			return status;
		chunk->key = key;
		HASH_ADD(hh, builder->chunks, key, sizeof(chunk->key), chunk);
	}
	builder->recent = chunk;
	return touch_in_chunk(builder, chunk, inside);
}

/* Replay opens every fork that a record names, and makes it as long as what it changes there. *ret_others: forks whose pages are not made later. */
static int add_refs(struct wa_summary_builder *builder, const struct wa_record *record, uint8_t redo_class, bool *ret_others)
{
	int status = 0;
	for (unsigned i = 0; i < record->ref_count && status == 0; i++) {
		const struct wa_ref *ref = &record->refs[i];
		bool changes = ref->apply_image || (redo_class & WA_PAGE);
		if (ref->block.fork != WA_FORK_MAIN && ref->block.fork != WA_FORK_VM) {
			*ret_others = true;
			continue;
		}
		status = touch_fork(builder, &ref->block, changes);
		if (status == 0 && changes)
			status = touch_block(builder, &ref->block);
	}
	return status;
}

/* Pages of the visibility map that the record clears without naming them. A truncation cuts the map itself, and makes nothing longer. */
static int add_implied(struct wa_summary_builder *builder, const struct wa_record *record, struct wa_error *error)
{
	struct wa_implied implied[WA_IMPLIED_MAX];
	int count = wa_implied_blocks(&builder->version, record, implied, error), status = count < 0 ? count : 0;
	for (int i = 0; i < count && status == 0; i++) {
		if (record->rmid != WA_RMGR_SMGR)
			status = touch_fork(builder, &implied[i].block, true);
		if (status == 0)
			status = touch_block(builder, &implied[i].block);
	}
	return status;
}

/* ---------------------------------------------------------------- records */

struct seen {
	struct wa_summary_builder *builder;
	bool is_alone; /* nothing but a transaction's end, and it has no subtransactions */
	enum wa_xact_status status; /* RUNNING: no end */
	uint32_t xid;
	int64_t time_us;
	uint16_t origin;
};

static int take_op(void *arg, const struct wa_state_op *op)
{
	struct seen *seen = arg;
	struct wa_summary_builder *builder = seen->builder;
	switch (op->kind) {
	case WA_OP_XACT:
		seen->status = op->xact.status;
		seen->xid = op->xact.xid;
		seen->is_alone = seen->is_alone && op->xact.sub.count == 0;
		return 0;
	case WA_OP_COMMIT_TS:
		seen->time_us = op->commit_ts.time_us;
		seen->origin = op->commit_ts.origin;
		return 0;
	case WA_OP_SLRU_ZERO:
	case WA_OP_SLRU_TRUNCATE:
		if (op->slru.slru == WA_SLRU_XACT)
			tell_ended(builder);
		break;
	case WA_OP_REL_TRUNCATE: close_relation(builder, op->rel.rel, tell_fork); break;
	case WA_OP_REL_DROP:
		for (uint32_t i = 0; i < op->drop.count; i++) {
			struct nf_reader r = nf_reader_init(op->drop.locators + 12 * (size_t)i, 12);
			struct wa_locator rel = {.spc = nf_read_u32(&r)};
			rel.db = nf_read_u32(&r);
			rel.rel = nf_read_u32(&r);
			close_relation(builder, rel, forget_fork);
		}
		break;
	case WA_OP_DB_COPY: builder->info.has_copies = true; /* fallthrough */
	case WA_OP_DB_DROP:
	case WA_OP_SPACE_DROP: tell_forks(builder); break;
	case WA_OP_PARAMETERS:
		builder->info.has_parameters = true;
		builder->keeps_times = builder->keeps_times || op->parameters.track_commit_timestamp;
		break;
	default: break;
	}
	seen->is_alone = false;
	return 0;
}

/* *ret_kept: the record was told of in another way. */
static int add_state(struct wa_summary_builder *builder, const struct wa_record *record, bool *ret_kept, struct wa_error *error)
{
	struct seen seen = {.builder = builder, .is_alone = record->rmid == WA_RMGR_XACT};
	int status = wa_state_ops(&builder->version, record, take_op, &seen, error);
	if (status < 0 || !seen.is_alone || seen.status == WA_XACT_RUNNING || seen.xid != record->xid)
		return status;
	*ret_kept = true;
	if (seen.status == WA_XACT_COMMITTED && builder->keeps_times)
		tell_commit(builder, seen.xid, seen.time_us, seen.origin);
	else
		status = add_ended(builder, seen.xid, seen.status);
	return status;
}

static void note_record(struct wa_summary_builder *builder, const struct wa_record *record)
{
	struct wa_summary_info *info = &builder->info;
	if (info->records++ == 0) {
		info->first = record->lsn;
		info->prev = record->prev;
		info->first_timeline = record->timeline;
	}
	info->last = record->lsn;
	info->end = record->end;
	info->last_timeline = record->timeline;
	if (sm_newer(record->xid, builder->newest))
		builder->newest = record->xid;
}

int wa_summary_add(struct wa_summary_builder *builder, const struct wa_record *record, struct wa_error *error)
{
	const struct wa_summary_info *info = &builder->info;
	if (builder->is_broken || record->lsn.v < info->base.v || record->lsn.v >= info->limit.v || record->lsn.v % 8 != 0 ||
	    record->lsn.v <= info->last.v)
		return -EINVAL;
	const struct wa_record_type *type = wa_record_type(builder->version.major, record->rmid, record->info);
	uint8_t redo_class = type != NULL ? type->redo_class : WA_PAGE;
	bool is_needed = redo_class & WA_STATE, is_told = false;
	int status = 0;
	note_record(builder, record);
	if (type == NULL)
		builder->info.has_foreign = builder->info.is_partial = true;
	if (redo_class & WA_STATE)
		status = add_state(builder, record, &is_told, error);
	if (status == 0)
		status = add_refs(builder, record, redo_class, &is_needed);
	if (status == 0 && redo_class & WA_VM)
		status = add_implied(builder, record, error);
	if (status == 0 && is_needed && !is_told)
		tell_record(builder, record);
	/* Where it says nearly as much as the log itself, the log can be read. */
	if (builder->items.size > (info->limit.v - info->base.v) / 4) {
		builder->info.is_partial = true;
		builder->items.size = 0;
	}
	builder->is_broken = status != 0;
	return status;
}

/* ------------------------------------------------------------------- end */

static int compare_chunks(const struct chunk *a, const struct chunk *b)
{
	const struct chunk_key *x = &a->key, *y = &b->key;
	const uint32_t left[] = {x->of.rel.spc, x->of.rel.db, x->of.rel.rel, x->of.fork, x->number};
	const uint32_t right[] = {y->of.rel.spc, y->of.rel.db, y->of.rel.rel, y->of.fork, y->number};
	for (size_t i = 0; i < NF_ARRAY_LEN(left); i++)
		if (left[i] != right[i])
			return left[i] < right[i] ? -1 : 1;
	return 0;
}

/* Its bits, in `room` where it has none. */
static const uint64_t *words_of(const struct chunk *chunk, uint64_t room[WA_SUMMARY_WORDS])
{
	if (chunk->words != NULL)
		return chunk->words;
	memset(room, 0, WA_SUMMARY_WORDS * sizeof(*room));
	for (uint16_t i = 0; i < chunk->listed_count; i++)
		room[chunk->listed[i] / 64] |= UINT64_C(1) << chunk->listed[i] % 64;
	return room;
}

/* The first block from `from` on that is set, or not; WA_SUMMARY_CHUNK when there is none. */
static uint32_t find(const uint64_t words[WA_SUMMARY_WORDS], uint32_t from, bool set)
{
	while (from < WA_SUMMARY_CHUNK) {
		uint64_t word = (set ? words[from / 64] : ~words[from / 64]) >> from % 64;
		if (word != 0)
			return from + (uint32_t)__builtin_ctzll(word);
		from = (from / 64 + 1) * 64;
	}
	return WA_SUMMARY_CHUNK;
}

/* The runs into `runs`; returns how many. */
static uint32_t make_runs(const uint64_t words[WA_SUMMARY_WORDS], struct bytes *runs)
{
	uint32_t count = 0, at = 0;
	runs->size = 0;
	for (uint32_t first; (first = find(words, at, true)) < WA_SUMMARY_CHUNK; count++) {
		uint32_t end = find(words, first, false);
		put_varint(runs, first - at);
		put_varint(runs, end - first);
		at = end;
	}
	return count;
}

static void put_bits(struct bytes *blocks, const uint64_t words[WA_SUMMARY_WORDS])
{
	uint32_t size = SM_BITS_MAX;
	uint64_t bits[WA_SUMMARY_WORDS];
	while (size > 0 && !(words[(size - 1) / 8] >> (size - 1) % 8 * 8 & 0xFF))
		size--;
	for (unsigned i = 0; i < WA_SUMMARY_WORDS; i++)
		bits[i] = htole64(words[i]);
	put_varint(blocks, size);
	put(blocks, bits, size);
}

static void put_chunks(struct wa_summary_builder *builder)
{
	struct bytes runs = {0};
	uint64_t room[WA_SUMMARY_WORDS];
	const struct fork_key *last = NULL;
	HASH_SORT(builder->chunks, compare_chunks);
	for (const struct chunk *chunk = builder->chunks; chunk != NULL; chunk = chunk->hh.next) {
		const uint64_t *words = words_of(chunk, room);
		uint32_t count = make_runs(words, &runs);
		bool is_same = last != NULL && memcmp(last, &chunk->key.of, sizeof(*last)) == 0;
		bool as_bits = runs.size > SM_BITS_MAX;
		uint8_t tag = (uint8_t)((as_bits ? SM_BITS : SM_RUNS) | (is_same ? SM_SAME_FORK : 0));
		put(&builder->blocks, &tag, 1);
		if (!is_same)
			put_fork(&builder->blocks, &chunk->key.of);
		put_varint(&builder->blocks, chunk->key.number);
		if (as_bits) {
			put_bits(&builder->blocks, words);
		} else {
			put_varint(&builder->blocks, count);
			put(&builder->blocks, runs.at, runs.size);
		}
		last = &chunk->key.of;
	}
	builder->blocks.failed |= runs.failed;
	free(runs.at);
}

static uint32_t flags_of(const struct wa_summary_info *info)
{
	return (info->commit_times ? SM_COMMIT_TIMES : 0) | (info->is_partial ? SM_PARTIAL : 0) |
	       (info->has_foreign ? SM_FOREIGN : 0) | (info->has_parameters ? SM_PARAMETERS : 0) |
	       (info->has_copies ? SM_COPIES : 0);
}

static void put_header(struct nf_writer *w, const struct wa_summary_info *info, uint32_t items, uint32_t blocks)
{
	static const uint8_t zeros[20];
	nf_write_u64(w, SM_MAGIC);
	nf_write_u32(w, WA_SUMMARY_VERSION);
	nf_write_u32(w, (uint32_t)info->major);
	nf_write_u64(w, info->base.v);
	nf_write_u64(w, info->limit.v);
	nf_write_u64(w, info->system_id);
	nf_write_u64(w, info->first.v);
	nf_write_u64(w, info->prev.v);
	nf_write_u64(w, info->last.v);
	nf_write_u64(w, info->end.v);
	nf_write_u64(w, info->records);
	nf_write_u32(w, info->first_timeline);
	nf_write_u32(w, info->last_timeline);
	nf_write_u32(w, flags_of(info));
	nf_write_u32(w, items);
	nf_write_u32(w, blocks);
	nf_write_bytes(w, zeros, sizeof(zeros));
	assert(w->offset == SM_HEADER);
}

int wa_summary_finish(struct wa_summary_builder *builder, uint8_t **ret_bytes, size_t *ret_size)
{
	if (builder->is_broken)
		return -EINVAL;
	builder->is_broken = true;
	tell_ended(builder);
	tell_xid(builder);
	tell_forks(builder);
	put_chunks(builder);
	struct bytes *items = &builder->items, *blocks = &builder->blocks;
	if (items->failed || blocks->failed || items->size > UINT32_MAX || blocks->size > UINT32_MAX)
		return -ENOMEM;
	if (builder->info.is_partial)
		items->size = 0;
	size_t size = SM_HEADER + items->size + blocks->size + SM_HASH;
	uint8_t *bytes = malloc(size);
	if (bytes == NULL)
		return -ENOMEM;
	struct nf_writer w = nf_writer_init(bytes, size);
	put_header(&w, &builder->info, (uint32_t)items->size, (uint32_t)blocks->size);
	if (items->size > 0)
		nf_write_bytes(&w, items->at, items->size);
	if (blocks->size > 0)
		nf_write_bytes(&w, blocks->at, blocks->size);
	nf_write_u64(&w, XXH3_64bits(bytes, size - SM_HASH));
	assert(!w.failed && w.offset == size);
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

int wa_summary_builder_new(const struct wa_summary_config *config, struct wa_summary_builder **ret_builder)
{
	if (config->base.v >= config->limit.v || config->base.v % WA_PAGE_SIZE != 0 || config->limit.v % WA_PAGE_SIZE != 0 ||
	    config->version.major < WA_MAJOR_MIN || config->version.major > WA_MAJOR_MAX)
		return -EINVAL;
	struct wa_summary_builder *builder = calloc(1, sizeof(*builder));
	if (builder == NULL)
		return -ENOMEM;
	builder->version = config->version;
	builder->keeps_times = config->commit_times;
	builder->memory_max = config->memory_max > 0 ? config->memory_max : WA_SUMMARY_MEMORY_MAX;
	builder->info = (struct wa_summary_info){.major = config->version.major,
						 .system_id = config->system_id,
						 .base = config->base,
						 .limit = config->limit,
						 .commit_times = config->commit_times};
	*ret_builder = builder;
	return 0;
}

void wa_summary_builder_free(struct wa_summary_builder *builder)
{
	struct fork *fork, *next_fork;
	struct chunk *chunk, *next_chunk;
	if (builder == NULL)
		return;
	HASH_ITER(hh, builder->forks, fork, next_fork)
	forget_fork(builder, fork);
	HASH_ITER(hh, builder->chunks, chunk, next_chunk)
	{
		HASH_DEL(builder->chunks, chunk);
		free(chunk->words);
		free(chunk);
	}
	free(builder->ended);
	free(builder->items.at);
	free(builder->blocks.at);
	free(builder);
}
