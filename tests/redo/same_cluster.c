/* Compare two stopped data directories of one cluster at one LSN: ours and that of Postgres itself. Every file that Postgres keeps is
 * compared; pages are masked as Postgres does for its own consistency checks, but their LSNs must be equal.
 *
 *   same_cluster MAJOR OURS THEIRS [LIST]     prints what differs; exits with 1 when something does, 2 when it cannot tell
 *
 * LIST: a file of paths below the data directory, a line each. Of relation files that are not in it only names and sizes are compared: they are what
 * both were made of.
 *
 * Left out: the free space map (never logged), statistics, what is emptied at every start (pg_subtrans and its likes), the log itself. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "walapply/decode/wa_records.h"
#include "walapply/redo/page.h"
#include "walapply/redo/wa_redo.h"
#include "walapply/state/wa_control.h"

#define SHOWN_MAX 40u
#define OFFSETS_PER_FILE 65536u /* 32 pages of 2048 */

static struct wa_version version;
static struct wa_counters counters; /* of our pg_control */
static const char *ours, *theirs;
static unsigned differences;
static unsigned long files, pages;
static char **listed; /* in their order; NULL: all are */
static size_t listed_count;

static void NF_PRINTF(1, 2) differ(const char *format, ...)
{
	va_list args;
	if (++differences > SHOWN_MAX)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static uint8_t *read_file(const char *root, const char *path, size_t *ret_size)
{
	char name[4096];
	snprintf(name, sizeof(name), "%s/%s", root, path);
	FILE *file = fopen(name, "re");
	struct stat st;
	if (file == NULL || fstat(fileno(file), &st) < 0) {
		if (file != NULL)
			fclose(file);
		return NULL;
	}
	uint8_t *bytes = malloc((size_t)st.st_size + 1);
	*ret_size = bytes == NULL ? 0 : fread(bytes, 1, (size_t)st.st_size, file);
	fclose(file);
	return bytes;
}

/* ------------------------------------------------------------------ pages */

/* Which resource manager's mask fits a page: its special space tells (the page ids at its end are there for pg_filedump). */
static uint8_t manager_of(const uint8_t *page)
{
	unsigned special = wa_page_special(page), size = WA_PAGE_SIZE - special;
	uint16_t id = wa_get16(page + WA_PAGE_SIZE - 2);
	if (size == 16)
		return id == 0xFF80 ? WA_RMGR_HASH : id == 0xFF81 ? WA_RMGR_GIST : WA_RMGR_BTREE;
	if (size == 8)
		return id == 0xFF82                                  ? WA_RMGR_SPGIST
		       : id >= 0xF091 && id <= 0xF093                ? WA_RMGR_BRIN
		       : wa_get32(page + WA_PAGE_SIZE - 8) == 0x1717 ? WA_RMGR_SEQ
								     : WA_RMGR_GIN;
	return size == 0 ? WA_RMGR_HEAP : WA_RMGR_GENERIC;
}

static bool same_masked(const uint8_t *a, const uint8_t *b, uint32_t blkno, struct wa_error *error, unsigned *ret_at)
{
	static uint8_t x[WA_PAGE_SIZE], y[WA_PAGE_SIZE];
	uint8_t manager = manager_of(b);
	memcpy(x, a, WA_PAGE_SIZE);
	memcpy(y, b, WA_PAGE_SIZE);
	if (wa_mask(&version, manager, blkno, x, error) < 0 || wa_mask(&version, manager, blkno, y, error) < 0)
		return false;
	for (*ret_at = 0; *ret_at < WA_PAGE_SIZE; (*ret_at)++)
		if (x[*ret_at] != y[*ret_at])
			return false;
	return true;
}

/* Only the checksum may differ, since hint bits do; a page of a map that was made but never written is as good as zeros. */
static bool same_but_checksum(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, 8) == 0 && memcmp(a + 10, b + 10, WA_PAGE_SIZE - 10) == 0;
}

static bool is_empty_map(const uint8_t *page)
{
	for (unsigned i = WA_PAGE_HEADER; i < WA_PAGE_SIZE; i++)
		if (page[i] != 0)
			return false;
	return true;
}

static void compare_page(const char *path, bool is_vm, uint32_t blkno, const uint8_t *a, const uint8_t *b)
{
	struct wa_error error = {0};
	unsigned at = 0;
	pages++;
	if (version.checksums && !wa_page_is_new(a) && wa_get16(a + 8) != wa_page_checksum(a, blkno))
		differ("%s block %u: our checksum is wrong", path, blkno);
	if (same_but_checksum(a, b) || (is_vm && is_empty_map(a) && is_empty_map(b)))
		return;
	if (wa_page_lsn(a).v != wa_page_lsn(b).v)
		differ("%s block %u: LSN " NF_LSN_FMT ", Postgres " NF_LSN_FMT, path, blkno, NF_LSN_ARG(wa_page_lsn(a)),
		       NF_LSN_ARG(wa_page_lsn(b)));
	else if (is_vm)
		differ("%s block %u: bits of the visibility map differ", path, blkno);
	else if (!same_masked(a, b, blkno, &error, &at))
		differ("%s block %u (%s): differs at byte %u %s", path, blkno, wa_rmgr_name(manager_of(b)), at, error.text);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool load_list(const char *name)
{
	size_t room = 0, length = 0;
	char *line = NULL;
	FILE *file = fopen(name, "re");
	if (file == NULL)
		return false;
	listed = calloc(1, sizeof(*listed));
	while (listed != NULL && getline(&line, &length, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (listed_count + 1 >= room)
			listed = reallocarray(listed, room = 2 * room + 64, sizeof(*listed));
		if (listed != NULL)
			listed[listed_count++] = strdup(line);
	}
	free(line);
	fclose(file);
	if (listed != NULL)
		qsort(listed, listed_count, sizeof(*listed), compare_lines);
	return listed != NULL;
}

/* Both have the file, of one size, and it is not listed. */
static bool is_passed_over(const char *path)
{
	char a[4096], b[4096];
	struct stat x, y;
	if (listed == NULL || bsearch(&path, listed, listed_count, sizeof(*listed), compare_lines) != NULL)
		return false;
	return snprintf(a, sizeof(a), "%s/%s", ours, path) < (int)sizeof(a) &&
	       snprintf(b, sizeof(b), "%s/%s", theirs, path) < (int)sizeof(b) && stat(a, &x) == 0 && stat(b, &y) == 0 &&
	       x.st_size == y.st_size;
}

/* "16384_vm.2": fork is what follows the number. */
static bool is_relation(const char *name, const char **ret_fork)
{
	size_t digits = strspn(name, "0123456789");
	*ret_fork = name + digits;
	return digits > 0 && (name[digits] == 0 || name[digits] == '_' || name[digits] == '.');
}

static void compare_relation(const char *path, const char *name, const char *fork)
{
	if (is_passed_over(path)) {
		files++;
		return;
	}
	size_t x, y;
	uint8_t *a = read_file(ours, path, &x), *b = read_file(theirs, path, &y);
	const char *dot = strchr(name, '.');
	uint32_t first = dot != NULL ? (uint32_t)strtoul(dot + 1, NULL, 10) * 131072 : 0;
	bool is_vm = strncmp(fork, "_vm", 3) == 0;
	files++;
	if (a == NULL || b == NULL) {
		if ((a != NULL ? x : b != NULL ? y : 0) > 0 || dot == NULL)
			differ("%s: %s", path, a == NULL ? "is missing" : "Postgres has no such file");
	} else if (x != y) {
		differ("%s: has %zu bytes, Postgres %zu", path, x, y);
	} else {
		for (size_t at = 0; at + WA_PAGE_SIZE <= x; at += WA_PAGE_SIZE)
			compare_page(path, is_vm, first + (uint32_t)(at / WA_PAGE_SIZE), a + at, b + at);
	}
	free(a);
	free(b);
}

/* ------------------------------------------------------------- other files */

/* Older minors (all of 13) leave the offset of the multixact that comes next unset, and ours says it already: see walapply/state/slru.c. */
static void settle_next_offset(const char *path, uint8_t *a, size_t x, const uint8_t *b, size_t y)
{
	static const char offsets[] = "pg_multixact/offsets/";
	static const uint8_t unset[4];
	size_t at = counters.next_multi % OFFSETS_PER_FILE * 4;
	if (strncmp(path, offsets, strlen(offsets)) != 0 ||
	    strtoul(path + strlen(offsets), NULL, 16) != counters.next_multi / OFFSETS_PER_FILE || at + 4 > x || at + 4 > y)
		return;
	if (memcmp(b + at, unset, 4) == 0 && wa_get32(a + at) == counters.next_multi_offset)
		memcpy(a + at, unset, 4);
}

static void compare_bytes(const char *path)
{
	size_t x = 0, y = 0;
	uint8_t *a = read_file(ours, path, &x), *b = read_file(theirs, path, &y);
	files++;
	if (a != NULL && b != NULL)
		settle_next_offset(path, a, x, b, y);
	if (a == NULL || b == NULL) {
		differ("%s: %s", path, a == NULL ? "is missing" : "Postgres has no such file");
	} else if (x != y) {
		differ("%s: has %zu bytes, Postgres %zu", path, x, y);
	} else if (memcmp(a, b, x) != 0) {
		size_t at = 0;
		while (a[at] == b[at])
			at++;
		differ("%s: differs at byte %zu (%02X, Postgres %02X)", path, at, a[at], b[at]);
	}
	free(a);
	free(b);
}

/* Origins may stand in any order. */
static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static void compare_origins(void)
{
	static const char path[] = "pg_logical/replorigin_checkpoint";
	size_t x = 0, y = 0;
	uint8_t *a = read_file(ours, path, &x), *b = read_file(theirs, path, &y);
	files++;
	if (a == NULL || b == NULL || x != y || x < 8) {
		differ("%s: %zu bytes, Postgres %zu", path, x, y);
	} else {
		qsort(a + 4, (x - 8) / 16, 16, by_bytes);
		qsort(b + 4, (y - 8) / 16, 16, by_bytes);
		if (memcmp(a, b, x - 4) != 0)
			differ("%s: differs", path);
	}
	free(a);
	free(b);
}

#define COMPARE(field)                                                                                                           \
	do {                                                                                                                     \
		if (a.field != b.field)                                                                                          \
			differ("pg_control: " #field " %llu, Postgres %llu", (unsigned long long)a.field,                        \
			       (unsigned long long)b.field);                                                                     \
	} while (0)

/* The counters of the checkpoint that each will start from. */
static bool compare_control(void)
{
	static const char path[] = "global/pg_control";
	struct wa_control a, b;
	struct wa_error error = {0};
	size_t x = 0, y = 0;
	uint8_t *p = read_file(ours, path, &x), *q = read_file(theirs, path, &y);
	bool read = p != NULL && q != NULL && wa_control_load(version.major, p, x, &a, &error) == 0 &&
		    wa_control_load(version.major, q, y, &b, &error) == 0;
	free(p);
	free(q);
	if (!read) {
		fprintf(stderr, "same_cluster: pg_control: %s\n", error.text);
		return false;
	}
	version.checksums = a.checksum_version != 0;
	counters = a.copy;
	COMPARE(state);
	COMPARE(copy.timeline);
	COMPARE(copy.full_page_writes);
	COMPARE(copy.wal_level);
	COMPARE(copy.next_xid);
	COMPARE(copy.next_oid);
	COMPARE(copy.next_multi);
	COMPARE(copy.next_multi_offset);
	COMPARE(copy.oldest_xid);
	COMPARE(copy.oldest_xid_db);
	COMPARE(copy.oldest_multi);
	COMPARE(copy.oldest_multi_db);
	COMPARE(copy.oldest_commit_ts);
	COMPARE(copy.newest_commit_ts);
	COMPARE(parameters.wal_level);
	COMPARE(parameters.max_connections);
	COMPARE(parameters.max_prepared_xacts);
	COMPARE(parameters.wal_log_hints);
	COMPARE(parameters.track_commit_timestamp);
	return true;
}

/* ------------------------------------------------------------- directories */

typedef void (*entry_fn)(const char *path, const char *name);

static bool exists(const char *root, const char *path)
{
	char name[4096];
	struct stat st;
	return snprintf(name, sizeof(name), "%s/%s", root, path) < (int)sizeof(name) && stat(name, &st) == 0;
}

/* Every entry of the directory on either side, once. */
static void for_entries(const char *path, entry_fn each)
{
	for (int side = 0; side < 2; side++) {
		char directory[4096], entry_path[4096];
		if (snprintf(directory, sizeof(directory), "%s/%s", side == 0 ? ours : theirs, path) >= (int)sizeof(directory))
			continue;
		DIR *dir = opendir(directory);
		if (dir == NULL)
			continue;
		for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
			if (entry->d_name[0] == '.')
				continue;
			if (snprintf(entry_path, sizeof(entry_path), "%s/%s", path, entry->d_name) >= (int)sizeof(entry_path))
				continue;
			if (side == 0 || !exists(ours, entry_path))
				each(entry_path, entry->d_name);
		}
		closedir(dir);
	}
}

static void database_entry(const char *path, const char *name)
{
	const char *fork;
	if (is_relation(name, &fork)) {
		if (strncmp(fork, "_fsm", 4) != 0)
			compare_relation(path, name, fork);
	} else if (strcmp(name, "PG_VERSION") == 0 || strcmp(name, "pg_filenode.map") == 0) {
		compare_bytes(path);
	} else if (strcmp(name, "pg_control") != 0 && strncmp(name, "pg_internal.init", 16) != 0) { /* also one that was being written, .PID */
		differ("%s: an unknown file", path);
	}
}

static void database(const char *path, const char *name)
{
	if (strncmp(name, "pgsql_tmp", 9) != 0)
		for_entries(path, database_entry);
}

static void space_version(const char *path, const char *name)
{
	(void)name;
	for_entries(path, database);
}

static void space(const char *path, const char *name)
{
	(void)name;
	if (!exists(ours, path) || !exists(theirs, path))
		differ("%s: is only on one side", path);
	for_entries(path, space_version);
}

static void plain_entry(const char *path, const char *name)
{
	(void)name;
	compare_bytes(path);
}

int main(int argc, char **argv)
{
	if (argc < 4 || argc > 5 || (argc == 5 && !load_list(argv[4]))) {
		fprintf(stderr, "usage: same_cluster MAJOR OURS THEIRS [LIST]\n");
		return 2;
	}
	version.major = atoi(argv[1]);
	ours = argv[2];
	theirs = argv[3];
	if (!compare_control())
		return 2;
	for_entries("base", database);
	for_entries("global", database_entry);
	for_entries("pg_tblspc", space);
	for_entries("pg_xact", plain_entry);
	for_entries("pg_multixact/offsets", plain_entry);
	for_entries("pg_multixact/members", plain_entry);
	for_entries("pg_commit_ts", plain_entry);
	for_entries("pg_twophase", plain_entry);
	for_entries("pg_logical/mappings", plain_entry);
	compare_origins();
	printf("%lu files, %lu pages: %u differences\n", files, pages, differences);
	return differences > 0;
}
