/* Seeds for the fuzz targets, from WAL that Postgres wrote.
 * usage: make_seeds CORPUS FILE...     segments of one timeline, in order
 *
 * CORPUS/decode    pages of WAL in which record types occur that no page before had; the smallest record of each type
 * CORPUS/index     indexes of such pages
 * CORPUS/redo_*    the smallest record of each type and block reference with the page that it changes, as replay finds it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <uthash.h>

#include "walapply/decode/wa_reader.h"
#include "walapply/decode/wa_records.h"
#include "walapply/index/wa_index.h"
#include "walapply/redo/wa_redo.h"

#define TYPES_MAX 256
#define REFS_MAX 4 /* references of a type that get a seed each */
#define PAGES_MAX 100000
#define NEW_TYPES_A_PAGE 3 /* a piece of WAL is kept for as many new types */
#define PIECE (2 * WA_PAGE_SIZE)

static const char *corpus;

struct wal {
	uint8_t *bytes;
	size_t size;
	uint64_t begin;
	uint32_t segment_size;
	int major;
};

struct page {
	struct wa_block block;
	UT_hash_handle hh;
	uint8_t bytes[WA_PAGE_SIZE];
};

/* The smallest so far. */
struct seed {
	uint8_t *bytes;
	size_t size;
};

static struct seed records[TYPES_MAX], redos[TYPES_MAX][REFS_MAX];

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "make_seeds: %s\n", what);
	exit(1);
}

static void write_file(const char *target, const char *name, const void *bytes, size_t size)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", corpus, target);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%s/%s", corpus, target, name);
	for (char *c = path + strlen(corpus); *c != '\0'; c++)
		if (*c == ' ')
			*c = '_';
	FILE *file = fopen(path, "wb");
	if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
		die(path);
}

static void load(struct wal *wal, int count, char **paths)
{
	for (int i = 0; i < count; i++) {
		struct stat st;
		FILE *file = fopen(paths[i], "rb");
		if (file == NULL || fstat(fileno(file), &st) != 0)
			die(paths[i]);
		wal->segment_size = (uint32_t)st.st_size;
		wal->bytes = realloc(wal->bytes, wal->size + wal->segment_size);
		if (wal->bytes == NULL || fread(wal->bytes + wal->size, 1, wal->segment_size, file) != wal->segment_size)
			die(paths[i]);
		wal->size += wal->segment_size;
		fclose(file);
	}
	uint16_t magic;
	memcpy(&wal->begin, wal->bytes + 8, 8);
	memcpy(&magic, wal->bytes, 2);
	wal->major = wa_major_of_magic(magic);
}

/* The record's bytes put together from its pages, behind `before` bytes of room. */
static uint8_t *record_bytes(const struct wal *wal, const struct wa_record *record, size_t before, size_t behind)
{
	uint8_t *bytes = calloc(1, before + record->tot_len + behind);
	uint64_t at = record->lsn.v;
	if (bytes == NULL)
		die("memory is short");
	for (uint32_t done = 0; done < record->tot_len;) {
		if (at % WA_PAGE_SIZE == 0)
			at += at % wal->segment_size == 0 ? 40 : 24;
		uint32_t room = (uint32_t)(WA_PAGE_SIZE - at % WA_PAGE_SIZE), count = NF_MIN(room, record->tot_len - done);
		memcpy(bytes + before + done, wal->bytes + (at - wal->begin), count);
		done += count;
		at += count;
	}
	return bytes;
}

static void keep_smaller(struct seed *seed, uint8_t *bytes, size_t size)
{
	if (seed->bytes != NULL && seed->size <= size) {
		free(bytes);
		return;
	}
	free(seed->bytes);
	*seed = (struct seed){bytes, size};
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

/* The input's format is in redo.c. */
static void take_redo(const struct wal *wal, struct seed *seed, const struct wa_record *record, unsigned ref, const uint8_t *page)
{
	unsigned lower = (unsigned)(page[12] | page[13] << 8), upper = (unsigned)(page[14] | page[15] << 8);
	if (lower > upper || upper > WA_PAGE_SIZE || upper == 0)
		lower = upper = 0; /* the page is new, or all of it is used */
	size_t size = 10u + record->tot_len + lower + (WA_PAGE_SIZE - upper);
	bool is_new = page[14] == 0 && page[15] == 0;
	if (is_new)
		size = 10u + record->tot_len;
	if (seed->bytes != NULL && seed->size <= size)
		return;
	uint8_t *bytes = record_bytes(wal, record, 10, size - 10 - record->tot_len);
	bytes[0] = (uint8_t)(wal->major - WA_MAJOR_MIN);
	bytes[1] = (uint8_t)ref;
	put16(bytes + 4, record->tot_len);
	put16(bytes + 6, lower);
	put16(bytes + 8, is_new ? WA_PAGE_SIZE : upper);
	if (!is_new) {
		memcpy(bytes + 10 + record->tot_len, page, lower);
		memcpy(bytes + 10 + record->tot_len + lower, page + upper, WA_PAGE_SIZE - upper);
	}
	keep_smaller(seed, bytes, size);
}

static void write_index(const struct wal *wal, uint64_t at, const char *name)
{
	struct wa_index_config config = {.version = {.major = wal->major}, .base = {at}, .limit = {at + PIECE}};
	struct wa_reader_config reader_config = {.segment_size = wal->segment_size, .start = {at}, .find = true};
	struct wa_index_builder *builder;
	struct wa_reader *reader;
	const struct wa_record *record;
	struct wa_error error;
	uint8_t *bytes;
	size_t size;
	if (wa_index_builder_new(&config, &builder) != 0 || wa_reader_new(&reader_config, &reader) != 0 ||
	    wa_reader_feed(reader, (struct nf_lsn){at}, wal->bytes + (at - wal->begin), PIECE) != 0)
		die("no builder");
	while (wa_reader_next(reader, &record) == 1)
		if (wa_index_add(builder, record, &error) != 0)
			die(error.text);
	if (wa_index_finish(builder, &bytes, &size) != 0)
		die("no index");
	write_file("index", name, bytes, size);
	free(bytes);
	wa_reader_free(reader);
	wa_index_builder_free(builder);
}

/* Pages of WAL with types that have not been seen on kept ones. */
static void take_pages(const struct wal *wal, const struct wa_record *record, size_t type)
{
	static bool seen[TYPES_MAX], on_page[TYPES_MAX];
	static unsigned new_here;
	static uint64_t page;
	uint64_t here = record->lsn.v - record->lsn.v % WA_PAGE_SIZE;
	if (here != page) {
		memset(on_page, 0, sizeof(on_page));
		new_here = 0;
		page = here;
	}
	if (!seen[type] && !on_page[type]) {
		on_page[type] = true;
		new_here++;
	}
	if (new_here != NEW_TYPES_A_PAGE || page + PIECE > wal->begin + wal->size)
		return;
	char name[64];
	new_here++; /* once */
	for (unsigned i = 0; i < TYPES_MAX; i++)
		seen[i] |= on_page[i];
	snprintf(name, sizeof(name), "wal-%d-%llx", wal->major, (unsigned long long)page);
	write_file("decode", name, wal->bytes + (page - wal->begin), PIECE);
	write_index(wal, page, name);
}

static void take_record(const struct wal *wal, const struct wa_record *record, struct page **pages)
{
	static const uint8_t zeros[WA_PAGE_SIZE];
	const struct wa_version version = {.major = wal->major};
	const struct wa_record_type *type = wa_record_type(wal->major, record->rmid, record->info);
	struct wa_error error;
	size_t count;
	if (type == NULL)
		return;
	size_t number = (size_t)(type - wa_record_types(&count));
	take_pages(wal, record, number);
	if (records[number].bytes == NULL || records[number].size > record->tot_len) {
		uint8_t *bytes = record_bytes(wal, record, 0, 0);
		memset(bytes, 0, 4);
		bytes[0] = (uint8_t)(wal->major - WA_MAJOR_MIN);
		keep_smaller(&records[number], bytes, record->tot_len);
	}
	for (unsigned i = 0; i < record->ref_count; i++) {
		const struct wa_ref *ref = &record->refs[i];
		struct page *page;
		HASH_FIND(hh, *pages, &ref->block, sizeof(ref->block), page);
		if (page == NULL && !ref->apply_image && !ref->will_init)
			continue;
		if (page == NULL) {
			if (HASH_COUNT(*pages) == PAGES_MAX)
				return;
			page = calloc(1, sizeof(*page));
			if (page == NULL)
				die("memory is short");
			page->block = ref->block;
			HASH_ADD(hh, *pages, block, sizeof(page->block), page);
		}
		if (!ref->apply_image && type->redo_class & WA_PAGE && ref->id < REFS_MAX)
			take_redo(wal, &redos[number][ref->id], record, i, ref->will_init ? zeros : page->bytes);
		if (wa_redo_block(&version, record, ref, page->bytes, &error) < 0) {
			HASH_DEL(*pages, page);
			free(page);
		}
	}
}

static const char *family_of(uint8_t rmid)
{
	switch (rmid) {
	case WA_RMGR_HEAP:
	case WA_RMGR_HEAP2: return "redo_heap";
	case WA_RMGR_BTREE: return "redo_btree";
	case WA_RMGR_HASH: return "redo_hash";
	case WA_RMGR_GIN: return "redo_gin";
	case WA_RMGR_GIST: return "redo_gist";
	case WA_RMGR_SPGIST: return "redo_spgist";
	case WA_RMGR_BRIN: return "redo_brin";
	default: return "redo_other";
	}
}

static void write_seeds(int major)
{
	size_t count;
	const struct wa_record_type *types = wa_record_types(&count);
	for (size_t i = 0; i < count; i++) {
		char name[100];
		snprintf(name, sizeof(name), "record-%d-%s-%s", major, types[i].rmgr, types[i].name);
		if (records[i].bytes != NULL && records[i].size <= PIECE)
			write_file("decode", name, records[i].bytes, records[i].size);
		for (unsigned ref = 0; ref < REFS_MAX; ref++) {
			snprintf(name, sizeof(name), "%d-%s-%s-%u", major, types[i].rmgr, types[i].name, ref);
			if (redos[i][ref].bytes != NULL)
				write_file(family_of(types[i].rmid), name, redos[i][ref].bytes, redos[i][ref].size);
		}
	}
}

int main(int argc, char **argv)
{
	struct wal wal = {.size = 0};
	struct wa_reader *reader;
	const struct wa_record *record;
	struct page *pages = NULL;
	if (argc < 3) {
		fprintf(stderr, "usage: make_seeds CORPUS FILE...\n");
		return 2;
	}
	corpus = argv[1];
	load(&wal, argc - 2, argv + 2);
	struct wa_reader_config config = {.segment_size = wal.segment_size, .start = {wal.begin}, .find = true};
	if (wa_reader_new(&config, &reader) != 0 || wa_reader_feed(reader, config.start, wal.bytes, wal.size) != 0)
		die("this is no WAL");
	while (wa_reader_next(reader, &record) == 1)
		take_record(&wal, record, &pages);
	write_seeds(wal.major);
	wa_reader_free(reader);
	return 0;
}
