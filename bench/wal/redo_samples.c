#include "redo_samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <valgrind/callgrind.h>

#include "walapply/decode/wa_decode.h"
#include "walapply/decode/wa_records.h"
#include "walapply/redo/wa_redo.h"

#define SAMPLES_MAX 64
#define PAGES_MAX 60000 /* kept at once; then all are forgotten */

struct page {
	struct wa_block block;
	UT_hash_handle hh;
	uint8_t bytes[WA_PAGE_SIZE];
};

/* One block of one record, and the page before it. */
struct sample {
	struct nf_lsn lsn, end;
	uint8_t *record;
	uint32_t size;
	unsigned ref;
	uint8_t *page;
};

struct type_samples {
	struct sample samples[SAMPLES_MAX];
	unsigned count;
};

static struct page *find_page(struct page *pages, const struct wa_block *block)
{
	struct page *page;
	HASH_FIND(hh, pages, block, sizeof(*block), page);
	return page;
}

static void forget(struct page **pages)
{
	struct page *page, *next;
	HASH_ITER(hh, *pages, page, next)
	{
		HASH_DEL(*pages, page);
		free(page);
	}
}

static void *copy(const void *bytes, size_t size)
{
	void *to = malloc(size);
	if (to == NULL)
		bench_die("memory is short");
	memcpy(to, bytes, size);
	return to;
}

/* A record's bytes again, from the WAL: it may be split over pages. */
static uint8_t *record_bytes(const struct bench_wal *wal, const struct wa_record *record)
{
	uint8_t *bytes = malloc(record->tot_len);
	uint64_t at = record->lsn.v;
	if (bytes == NULL)
		bench_die("memory is short");
	for (uint32_t done = 0; done < record->tot_len;) {
		if (at % WA_PAGE_SIZE == 0)
			at += at % wal->segment_size == 0 ? 40 : 24;
		uint32_t room = (uint32_t)(WA_PAGE_SIZE - at % WA_PAGE_SIZE), count = NF_MIN(room, record->tot_len - done);
		memcpy(bytes + done, wal->bytes + (at - wal->begin), count);
		done += count;
		at += count;
	}
	return bytes;
}

static void take(const struct bench_wal *wal, struct type_samples *type, const struct wa_record *record, unsigned ref, const uint8_t *page)
{
	if (type->count == SAMPLES_MAX)
		return;
	type->samples[type->count++] = (struct sample){.lsn = record->lsn, .end = record->end, .record = record_bytes(wal, record),
						       .size = record->tot_len, .ref = ref, .page = copy(page, WA_PAGE_SIZE)};
}

static void replay(const struct bench_wal *wal, struct type_samples *samples)
{
	static const uint8_t zeros[WA_PAGE_SIZE];
	struct wa_reader *reader = bench_reader(wal, wal->begin, true);
	const struct wa_record *record;
	struct page *pages = NULL;
	struct wa_error error;
	size_t types;
	while (wa_reader_next(reader, &record) == 1) {
		const struct wa_record_type *type = wa_record_type(wal->version.major, record->rmid, record->info);
		for (unsigned i = 0; type != NULL && i < record->ref_count; i++) {
			const struct wa_ref *ref = &record->refs[i];
			struct page *page = find_page(pages, &ref->block);
			if (page == NULL && !ref->apply_image && !ref->will_init)
				continue;
			if (page == NULL) {
				if (HASH_COUNT(pages) == PAGES_MAX)
					forget(&pages);
				page = calloc(1, sizeof(*page));
				if (page == NULL)
					bench_die("memory is short");
				page->block = ref->block;
				HASH_ADD(hh, pages, block, sizeof(page->block), page);
			}
			if (!ref->apply_image && type->redo_class & WA_PAGE)
				take(wal, &samples[type - wa_record_types(&types)], record, i, ref->will_init ? zeros : page->bytes);
			if (wa_redo_block(&wal->version, record, ref, page->bytes, &error) < 0) {
				HASH_DEL(pages, page);
				free(page);
			}
		}
	}
	wa_reader_free(reader);
	forget(&pages);
}

static void decode_all(const struct bench_wal *wal, const struct type_samples *type)
{
	static struct wa_record record;
	struct wa_error error;
	for (unsigned i = 0; i < type->count; i++)
		if (!wa_record_crc_ok(type->samples[i].record, type->samples[i].size) ||
		    wa_decode_record(wal->version.major, type->samples[i].record, type->samples[i].size, type->samples[i].lsn, &record, &error) != 0)
			bench_die("a sample does not decode");
}

static void redo_all(const struct bench_wal *wal, const struct type_samples *type)
{
	static struct wa_record record;
	struct wa_error error;
	for (unsigned i = 0; i < type->count; i++) {
		const struct sample *sample = &type->samples[i];
		if (wa_decode_record(wal->version.major, sample->record, sample->size, sample->lsn, &record, &error) != 0)
			bench_die("a sample does not decode");
		record.end = sample->end;
		CALLGRIND_TOGGLE_COLLECT;
		int outcome = wa_redo_block(&wal->version, &record, &record.refs[sample->ref], sample->page, &error);
		CALLGRIND_TOGGLE_COLLECT;
		if (outcome < 0)
			bench_die(error.text);
	}
}

void redo_samples(const struct bench_wal *wal)
{
	size_t types;
	const struct wa_record_type *type = wa_record_types(&types);
	struct type_samples *samples = calloc(types, sizeof(*samples));
	if (samples == NULL)
		bench_die("memory is short");
	replay(wal, samples);
	CALLGRIND_START_INSTRUMENTATION; /* replay alone would take an hour under it */
	for (size_t i = 0; i < types; i++) {
		char name[100];
		if (samples[i].count == 0)
			continue;
		CALLGRIND_ZERO_STATS;
		CALLGRIND_TOGGLE_COLLECT;
		decode_all(wal, &samples[i]);
		CALLGRIND_TOGGLE_COLLECT;
		snprintf(name, sizeof(name), "decode %s %s", type[i].rmgr, type[i].name);
		CALLGRIND_DUMP_STATS_AT(name);
		CALLGRIND_ZERO_STATS;
		redo_all(wal, &samples[i]);
		snprintf(name, sizeof(name), "redo %s %s", type[i].rmgr, type[i].name);
		CALLGRIND_DUMP_STATS_AT(name);
		printf("{\"rmgr\": \"%s\", \"name\": \"%s\", \"samples\": %u}\n", type[i].rmgr, type[i].name, samples[i].count);
		for (unsigned k = 0; k < samples[i].count; k++) {
			free(samples[i].samples[k].record);
			free(samples[i].samples[k].page);
		}
	}
	free(samples);
}
