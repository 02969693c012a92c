#include "walapply/pitr/lazy_plan.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/nf_cursor.h"

#define MAGIC 0x504C464Eu
#define VERSION 2u
#define VERSION_NO_RUNS 1u
#define HEADER 88u
#define SEGMENT_SIZE 8u
#define RUN_SIZE 16u
#define FILE_SIZE 32u
#define CHECKSUMS 1u
#define LOG_HINTS 2u

struct lz_file *lz_plan_add(struct lz_plan *plan, uint64_t id, struct wa_block first, uint32_t blocks)
{
	struct lz_file *file = calloc(1, sizeof(*file));
	if (file == NULL)
		return NULL;
	file->bits = calloc(NF_MAX(lz_words(blocks), 1u), sizeof(*file->bits));
	if (file->bits == NULL) {
		free(file);
		return NULL;
	}
	file->id = id;
	file->first = first;
	file->blocks = blocks;
	HASH_ADD(hh, plan->files, id, sizeof(file->id), file);
	return file;
}

const struct lz_file *lz_plan_file(const struct lz_plan *plan, uint64_t id)
{
	struct lz_file *file;
	HASH_FIND(hh, plan->files, &id, sizeof(id), file);
	return file;
}

int lz_plan_add_run(struct lz_plan *plan, struct wa_run run)
{
	struct wa_run *runs = realloc(plan->runs, (plan->run_count + 1) * sizeof(*runs));
	if (runs == NULL)
		return -ENOMEM;
	plan->runs = runs;
	plan->runs[plan->run_count++] = run;
	return 0;
}

void lz_plan_free(struct lz_plan *plan)
{
	struct lz_file *file, *next;
	HASH_ITER(hh, plan->files, file, next)
	{
		HASH_DEL(plan->files, file);
		free(file->bits);
		free(file);
	}
	free(plan->segments);
	free(plan->runs);
	plan->segments = NULL;
	plan->runs = NULL;
	plan->run_count = 0;
}

void lz_plan_touched(const struct lz_plan *plan, uint64_t id, uint32_t first, uint64_t *bits, unsigned words)
{
	const struct lz_file *file = lz_plan_file(plan, id);
	uint64_t end = (uint64_t)first + (uint64_t)words * 64;
	if (file == NULL || first >= file->blocks)
		return;
	for (uint32_t block = first; block < NF_MIN(end, (uint64_t)file->blocks); block++)
		if (file->bits[block / 64] >> block % 64 & 1)
			bits[(block - first) / 64] |= UINT64_C(1) << (block - first) % 64;
}

uint32_t lz_plan_next(const struct lz_plan *plan, uint64_t id, uint32_t from)
{
	const struct lz_file *file = lz_plan_file(plan, id);
	for (uint32_t block = from; file != NULL && block < file->blocks;) {
		uint64_t word = file->bits[block / 64] >> block % 64;
		if (word != 0)
			return block + (uint32_t)__builtin_ctzll(word);
		block = (block / 64 + 1) * 64;
	}
	return UINT32_MAX;
}

/* ---------------------------------------------------------------- bytes */

static void put_file(struct nf_writer *w, const struct lz_file *file)
{
	nf_write_u64(w, file->id);
	nf_write_u32(w, file->first.rel.spc);
	nf_write_u32(w, file->first.rel.db);
	nf_write_u32(w, file->first.rel.rel);
	nf_write_u32(w, file->first.fork);
	nf_write_u32(w, file->first.blkno);
	nf_write_u32(w, file->blocks);
	for (uint32_t i = 0; i < lz_words(file->blocks); i++)
		nf_write_u64(w, file->bits[i]);
}

int lz_plan_encode(const struct lz_plan *plan, uint8_t **ret_bytes, size_t *ret_size)
{
	size_t size = HEADER + (size_t)plan->segment_count * SEGMENT_SIZE + (size_t)plan->run_count * RUN_SIZE + 8;
	for (const struct lz_file *file = plan->files; file != NULL; file = file->hh.next)
		size += FILE_SIZE + 8 * (size_t)lz_words(file->blocks);
	uint8_t *bytes = malloc(size);
	if (bytes == NULL)
		return -ENOMEM;
	struct nf_writer w = nf_writer_init(bytes, size);
	nf_write_u32(&w, MAGIC);
	nf_write_u32(&w, plan->run_count > 0 ? VERSION : VERSION_NO_RUNS);
	nf_write_u32(&w, (uint32_t)plan->version.major);
	nf_write_u32(&w, (plan->version.checksums ? CHECKSUMS : 0) | (plan->version.log_hints ? LOG_HINTS : 0));
	nf_write_u32(&w, plan->segment_size);
	nf_write_u32(&w, plan->timeline);
	nf_write_u64(&w, plan->system_id);
	nf_write_u64(&w, plan->from.v);
	nf_write_u64(&w, plan->to.v);
	nf_write_u64(&w, plan->written.v);
	nf_write_u32(&w, plan->base.branch.v);
	nf_write_u32(&w, plan->base.epoch.v);
	nf_write_u64(&w, plan->first_segment);
	nf_write_u32(&w, plan->segment_count);
	nf_write_u32(&w, HASH_COUNT(plan->files));
	nf_write_u32(&w, plan->wal_branch.v);
	nf_write_u32(&w, plan->run_count);
	for (uint32_t i = 0; i < plan->segment_count; i++) {
		nf_write_u32(&w, plan->segments[i].timeline);
		nf_write_u32(&w, plan->segments[i].place);
	}
	for (uint32_t i = 0; i < plan->run_count; i++) {
		nf_write_u64(&w, plan->runs[i].first);
		nf_write_u32(&w, plan->runs[i].count);
		nf_write_u32(&w, 0);
	}
	for (const struct lz_file *file = plan->files; file != NULL; file = file->hh.next)
		put_file(&w, file);
	nf_write_u64(&w, XXH3_64bits(bytes, size - 8));
	assert(!w.failed && w.offset == size);
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

static int get_file(struct nf_reader *r, struct lz_plan *plan)
{
	struct wa_block first;
	uint64_t id = nf_read_u64(r);
	first.rel.spc = nf_read_u32(r);
	first.rel.db = nf_read_u32(r);
	first.rel.rel = nf_read_u32(r);
	first.fork = nf_read_u32(r);
	first.blkno = nf_read_u32(r);
	uint32_t blocks = nf_read_u32(r);
	if (r->failed || (first.fork != WA_FORK_MAIN && first.fork != WA_FORK_VM) || lz_words(blocks) > nf_reader_left(r) / 8 ||
	    lz_plan_file(plan, id) != NULL)
		return -EUCLEAN;
	struct lz_file *file = lz_plan_add(plan, id, first, blocks);
	if (file == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < lz_words(blocks); i++)
		file->bits[i] = nf_read_u64(r);
	return 0;
}

/* Each begins behind the one before, and has a segment of the plan. */
static int get_runs(struct nf_reader *r, struct lz_plan *plan, uint32_t count)
{
	const uint64_t end = plan->first_segment + plan->segment_count;
	uint64_t behind = 0;
	int error = count <= plan->segment_count ? 0 : -EUCLEAN;
	for (uint32_t i = 0; i < count && error == 0; i++) {
		struct wa_run run = {.first = nf_read_u64(r)};
		run.count = nf_read_u32(r);
		nf_read_u32(r);
		if (r->failed || run.first < behind || run.first >= end || run.count < 2 || run.count > LZ_SEGMENTS_MAX ||
		    run.first + run.count <= plan->first_segment)
			return -EUCLEAN;
		behind = run.first + run.count;
		error = lz_plan_add_run(plan, run);
	}
	return error;
}

static int get_plan(struct nf_reader *r, bool has_runs, struct lz_plan *plan)
{
	plan->version.major = (int)nf_read_u32(r);
	uint32_t flags = nf_read_u32(r);
	plan->version.checksums = (flags & CHECKSUMS) != 0;
	plan->version.log_hints = (flags & LOG_HINTS) != 0;
	plan->segment_size = nf_read_u32(r);
	plan->timeline = nf_read_u32(r);
	plan->system_id = nf_read_u64(r);
	plan->from.v = nf_read_u64(r);
	plan->to.v = nf_read_u64(r);
	plan->written.v = nf_read_u64(r);
	plan->base.branch.v = nf_read_u32(r);
	plan->base.epoch.v = nf_read_u32(r);
	plan->first_segment = nf_read_u64(r);
	uint32_t segments = nf_read_u32(r), files = nf_read_u32(r);
	plan->wal_branch.v = nf_read_u32(r);
	uint32_t runs = nf_read_u32(r);
	if (r->failed || segments > LZ_SEGMENTS_MAX || segments > nf_reader_left(r) / SEGMENT_SIZE ||
	    plan->segment_size < WA_PAGE_SIZE || plan->from.v > plan->to.v ||
	    plan->first_segment > plan->from.v / plan->segment_size)
		return -EUCLEAN; /* so first_segment + segments does not overflow */
	plan->segments = calloc(NF_MAX(segments, 1u), sizeof(*plan->segments));
	if (plan->segments == NULL)
		return -ENOMEM;
	plan->segment_count = segments;
	int error = 0;
	for (uint32_t i = 0; i < segments; i++) {
		plan->segments[i].timeline = nf_read_u32(r);
		uint32_t place = nf_read_u32(r);
		error = place < LZ_PLACES ? error : -EUCLEAN;
		plan->segments[i].place = (enum lz_place)place;
	}
	if (error == 0 && has_runs)
		error = get_runs(r, plan, runs);
	for (uint32_t i = 0; i < files && error == 0; i++)
		error = get_file(r, plan);
	return error != 0 ? error : nf_reader_left(r) == 0 ? 0 : -EUCLEAN;
}

int lz_plan_decode(const uint8_t *bytes, size_t size, struct lz_plan *ret_plan)
{
	struct lz_plan plan = {0};
	if (size < HEADER + 8)
		return -EUCLEAN;
	struct nf_reader end = nf_reader_init(bytes + size - 8, 8), r = nf_reader_init(bytes, size - 8);
	if (nf_read_u64(&end) != XXH3_64bits(bytes, size - 8) || nf_read_u32(&r) != MAGIC)
		return -EUCLEAN;
	uint32_t version = nf_read_u32(&r);
	if (version != VERSION && version != VERSION_NO_RUNS)
		return -EPROTONOSUPPORT;
	int error = get_plan(&r, version == VERSION, &plan);
	if (error != 0) {
		lz_plan_free(&plan);
		return error;
	}
	*ret_plan = plan;
	return 0;
}
