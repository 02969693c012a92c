/* The index against a plain list, over WAL that Postgres wrote.
 * usage: unit_walapply_index_real FILE...     each one a segment, or pages of WAL from any page on */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "index_check.h"
#include "walapply/decode/wa_reader.h"

#define SEGMENT (16u << 20)

static char **paths;
static int path_count;

static uint8_t *read_file(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rb");
	if (file == NULL)
		fail_msg("%s: cannot be opened", path);
	uint8_t *bytes = malloc(SEGMENT);
	assert_non_null(bytes);
	*ret_size = fread(bytes, 1, SEGMENT, file);
	fclose(file);
	return bytes;
}

/* A long page header tells the segment size; other pages are taken to be of segments of 16 MiB. */
static struct wa_reader_config config_of(const uint8_t *bytes)
{
	struct wa_reader_config config = {.segment_size = SEGMENT, .find = true};
	memcpy(&config.start.v, bytes + 8, 8);
	if (bytes[2] & 2)
		memcpy(&config.segment_size, bytes + 32, 4);
	return config;
}

static void one_file(const char *path)
{
	size_t size;
	uint8_t *bytes = read_file(path, &size);
	uint16_t magic;
	memcpy(&magic, bytes, 2);
	struct wa_reader_config config = config_of(bytes);
	/* At least as many pages as there are pieces in index_check.c. */
	uint64_t range = NF_MAX(nf_round_up(size, WA_PAGE_SIZE), (uint64_t)16 * WA_PAGE_SIZE);
	struct wa_index_config index_config = {.version = {.major = wa_major_of_magic(magic)},
					       .base = config.start,
					       .limit = {config.start.v + range}};
	struct wa_reader *reader;
	const struct wa_record *record;
	assert_int_equal(wa_reader_new(&config, &reader), 0);
	assert_int_equal(wa_reader_feed(reader, config.start, bytes, size), 0);
	struct index_check *check = check_new(&index_config);
	uint64_t records = 0;
	while (wa_reader_next(reader, &record) == 1) {
		check_add(check, record);
		records++;
	}
	assert_true(records > 0);
	for (unsigned pieces = 1; pieces <= 7; pieces += 6) {
		struct wa_index index;
		uint8_t *index_bytes;
		size_t index_size;
		check_index(check, pieces, 1, &index, &index_bytes, &index_size);
		if (pieces == 1)
			printf("%s: %zu bytes, %lu records, %lu entries; the index: %zu bytes, %.2f %%, %.1f bytes a record\n", path, size,
			       (unsigned long)records, (unsigned long)index.info.entries, index_size, 100.0 * (double)index_size / (double)size,
			       (double)index_size / (double)records);
		free(index_bytes);
	}
	check_free(check);
	wa_reader_free(reader);
	free(bytes);
}

static void real_wal(void **state)
{
	(void)state;
	for (int i = 0; i < path_count; i++)
		one_file(paths[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(real_wal)};
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	paths = argv + 1;
	path_count = argc - 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
