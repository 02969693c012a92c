/* What the decoder, the index and redo cost, on WAL in memory.
 *
 *   wal_bench decode FILE...        decode all records, some rounds: MB/s of the best and of the median one
 *   wal_bench index FILE...         the same, and an index of each segment
 *   wal_bench page COUNT FILE...    bring pages from an image over COUNT - 1 more records: time a page
 *   wal_bench redo FILE...          under callgrind: one dump a record type, of decoding and of redoing samples of it (wal/instructions.py)
 *
 * FILE are segments of one timeline, in order. Results are lines of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "walapply/decode/wa_reader.h"
#include "walapply/index/wa_index.h"
#include "walapply/redo/wa_redo.h"

#include "redo_samples.h"
#include "wal_bench.h"

#define ROUNDS 7
#define PAGES_MAX 2000
#define PAGE_ROUNDS 5

double bench_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void bench_die(const char *what)
{
	fprintf(stderr, "wal_bench: %s\n", what);
	exit(1);
}

static void load(struct bench_wal *wal, int count, char **paths)
{
	for (int i = 0; i < count; i++) {
		FILE *file = fopen(paths[i], "rb");
		if (file == NULL || fseek(file, 0, SEEK_END) != 0)
			bench_die(paths[i]);
		size_t size = (size_t)ftell(file);
		rewind(file);
		wal->bytes = realloc(wal->bytes, wal->size + size);
		if (wal->bytes == NULL || fread(wal->bytes + wal->size, 1, size, file) != size)
			bench_die(paths[i]);
		fclose(file);
		wal->size += size;
		wal->segment_size = (uint32_t)size;
	}
	uint16_t magic;
	memcpy(&wal->begin, wal->bytes + 8, 8);
	memcpy(&magic, wal->bytes, 2);
	wal->version.major = wa_major_of_magic(magic);
}

struct wa_reader *bench_reader(const struct bench_wal *wal, uint64_t start, bool find)
{
	struct wa_reader_config config = {.segment_size = wal->segment_size, .start = {start}, .find = find, .major = wal->version.major};
	struct wa_reader *reader;
	if (wa_reader_new(&config, &reader) != 0)
		bench_die("the reader cannot be made");
	uint64_t from = wa_reader_wanted(reader).v;
	if (wa_reader_feed(reader, (struct nf_lsn){from}, wal->bytes + (from - wal->begin), wal->size - (size_t)(from - wal->begin)) != 0)
		bench_die("the reader does not take the bytes");
	return reader;
}

/* One pass over everything. Returns the records; *ret_bytes of WAL up to the end of the last. */
static uint64_t pass(const struct bench_wal *wal, bool with_index, uint64_t *ret_bytes, size_t *ret_index_size)
{
	struct wa_reader *reader = bench_reader(wal, wal->begin, true);
	const struct wa_record *record;
	struct wa_index_builder *builder = NULL;
	struct wa_index_config config = {.version = wal->version, .base = {wal->begin}, .limit = {wal->begin + wal->segment_size}};
	struct wa_error error;
	uint64_t records = 0, end = wal->begin;
	*ret_index_size = 0;
	if (with_index && wa_index_builder_new(&config, &builder) != 0)
		bench_die("no builder");
	while (wa_reader_next(reader, &record) == 1) {
		while (with_index && record->lsn.v >= config.limit.v) {
			uint8_t *bytes;
			size_t size;
			config.base = config.limit;
			config.limit.v += wal->segment_size;
			if (wa_index_finish(builder, &bytes, &size) != 0 || wa_index_builder_reset(builder, config.base, config.limit) != 0)
				bench_die("the index cannot be finished");
			*ret_index_size += size;
			free(bytes);
		}
		if (with_index && wa_index_add(builder, record, &error) != 0)
			bench_die(error.text);
		records++;
		end = record->end.v;
	}
	wa_reader_free(reader);
	if (with_index) {
		uint8_t *bytes;
		size_t size;
		if (wa_index_finish(builder, &bytes, &size) != 0)
			bench_die("the index cannot be finished");
		*ret_index_size += size;
		free(bytes);
		wa_index_builder_free(builder);
	}
	*ret_bytes = end - wal->begin;
	return records;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void passes(const struct bench_wal *wal, bool with_index)
{
	double seconds[ROUNDS];
	uint64_t bytes = 0, records = 0;
	size_t index_size = 0;
	pass(wal, with_index, &bytes, &index_size); /* memory is touched, caches are filled */
	for (int i = 0; i < ROUNDS; i++) {
		double start = bench_now();
		records = pass(wal, with_index, &bytes, &index_size);
		seconds[i] = bench_now() - start;
	}
	qsort(seconds, ROUNDS, sizeof(seconds[0]), compare_doubles);
	printf("{\"bytes\": %llu, \"records\": %llu, \"index_bytes\": %zu, \"best_mb_s\": %.1f, \"median_mb_s\": %.1f, \"ns_a_record\": %.1f}\n",
	       (unsigned long long)bytes, (unsigned long long)records, index_size, (double)bytes / seconds[0] / 1e6,
	       (double)bytes / seconds[ROUNDS / 2] / 1e6, seconds[ROUNDS / 2] * 1e9 / (double)records);
}

/* ---------------------------------------------------------------- pages */

/* One page's task: where its records start. */
struct task {
	struct wa_block block;
	uint64_t *lsns;
	unsigned count;
};

/* The records of a block from an image on: the first run of `count` in the index. */
static unsigned collect(const struct bench_wal *wal, unsigned count, struct task *tasks)
{
	struct wa_index_config config = {.version = wal->version, .base = {wal->begin}, .limit = {wal->begin + wal->size}};
	struct wa_index_builder *builder;
	struct wa_reader *reader = bench_reader(wal, wal->begin, true);
	const struct wa_record *record;
	struct wa_error error;
	struct wa_index index;
	struct wa_index_cursor cursor;
	struct wa_index_entry entry;
	uint8_t *index_bytes;
	size_t size;
	unsigned made = 0, have = 0;
	uint64_t *lsns = malloc(count * sizeof(*lsns));
	struct wa_block block = {.blkno = UINT32_MAX};
	if (wa_index_builder_new(&config, &builder) != 0 || lsns == NULL)
		bench_die("no builder");
	while (wa_reader_next(reader, &record) == 1)
		if (wa_index_add(builder, record, &error) != 0)
			bench_die(error.text);
	if (wa_index_finish(builder, &index_bytes, &size) != 0 || wa_index_open(index_bytes, size, &index, &error) != 0)
		bench_die("no index");
	wa_reader_free(reader);
	wa_index_seek_all(&index, &cursor);
	while (made < PAGES_MAX && wa_index_next(&cursor, &entry, &error) == 1) {
		bool same = memcmp(&entry.block, &block, sizeof(block)) == 0;
		if (entry.flags & WA_INDEX_IMPLIED || entry.block.fork != WA_FORK_MAIN)
			continue;
		if (entry.flags & WA_INDEX_WHOLE)
			have = 0;
		else if (!same || have == 0 || have == count)
			have = same ? have : count; /* not from an image on, or complete: wait for the next image */
		block = entry.block;
		if (have == count)
			continue;
		lsns[have++] = entry.lsn.v;
		if (have < count)
			continue;
		tasks[made] = (struct task){.block = block, .lsns = malloc(count * sizeof(*lsns)), .count = count};
		if (tasks[made].lsns == NULL)
			bench_die("memory is short");
		memcpy(tasks[made++].lsns, lsns, count * sizeof(*lsns));
	}
	free(index_bytes);
	free(lsns);
	wa_index_builder_free(builder);
	return made;
}

/* What a materialiser does: read each record where the index says, decode it, redo it. */
static void materialise(const struct bench_wal *wal, const struct task *task, uint8_t *page)
{
	struct wa_error error;
	const struct wa_record *record;
	for (unsigned i = 0; i < task->count; i++) {
		struct wa_reader *reader = bench_reader(wal, task->lsns[i], false);
		if (wa_reader_next(reader, &record) != 1)
			bench_die(wa_reader_error(reader)->text);
		for (unsigned r = 0; r < record->ref_count; r++)
			if (memcmp(&record->refs[r].block, &task->block, sizeof(task->block)) == 0 &&
			    wa_redo_block(&wal->version, record, &record->refs[r], page, &error) < 0)
				bench_die(error.text);
		wa_reader_free(reader);
	}
}

static void pages(const struct bench_wal *wal, unsigned count)
{
	static struct task tasks[PAGES_MAX];
	static double seconds[PAGES_MAX * PAGE_ROUNDS];
	uint8_t *page = aligned_alloc(4096, WA_PAGE_SIZE);
	unsigned made = collect(wal, count, tasks), samples = 0;
	double sum = 0;
	if (page == NULL || made == 0)
		bench_die("no block has so many records after an image");
	for (unsigned round = 0; round < PAGE_ROUNDS; round++)
		for (unsigned i = 0; i < made; i++) {
			memset(page, 0, WA_PAGE_SIZE);
			double start = bench_now();
			materialise(wal, &tasks[i], page);
			seconds[samples] = bench_now() - start;
			sum += seconds[samples++];
		}
	qsort(seconds, samples, sizeof(seconds[0]), compare_doubles);
	printf("{\"records\": %u, \"pages\": %u, \"mean_us\": %.2f, \"median_us\": %.2f, \"p99_us\": %.2f}\n", count, made,
	       sum / samples * 1e6, seconds[samples / 2] * 1e6, seconds[samples - 1 - samples / 100] * 1e6);
}

int main(int argc, char **argv)
{
	struct bench_wal wal = {.size = 0};
	const char *mode = argc > 2 ? argv[1] : "";
	int first = strcmp(mode, "page") == 0 ? 3 : 2;
	if (argc <= first) {
		fprintf(stderr, "usage: wal_bench decode|index|redo FILE... | page COUNT FILE...\n");
		return 2;
	}
	load(&wal, argc - first, argv + first);
	if (strcmp(mode, "decode") == 0)
		passes(&wal, false);
	else if (strcmp(mode, "index") == 0)
		passes(&wal, true);
	else if (strcmp(mode, "page") == 0)
		pages(&wal, (unsigned)atoi(argv[2]));
	else
		redo_samples(&wal);
	free(wal.bytes);
	return 0;
}
