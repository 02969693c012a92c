/* Every block of a replayed data directory, made one by one and in batches (walapply/materialise), beside what replay made.
 *
 *   same_blocks MAJOR BASE PREPARED REPLAYED WAL-DIRECTORY     prints what differs; exits with 1 when something does, 2 when it cannot tell
 *
 * BASE is where replay began, PREPARED what `neonfs-wal replay --state-only` made of a copy of it: its pages are those that blocks are made from.
 * REPLAYED is what `neonfs-wal replay` made of another. All relation files are compared, byte for byte. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "walapply/decode/wa_reader.h"
#include "walapply/materialise/wa_batch.h"
#include "walapply/redo/page.h"
#include "walapply/state/wa_control.h"

#define SHOWN_MAX 40u
#define SEGMENTS_MAX 4096u
#define MERGED 5u /* indexes in one */
#define SEGMENT_BLOCKS 131072u
#define PATH_SIZE 4096
#define BATCH_BLOCKS 700u

static struct wa_range range, merged_range; /* of merged indexes */
static struct wa_index indexes[SEGMENTS_MAX];
static int base, prepared, replayed, wal; /* directories */
static unsigned differences;
static unsigned long files, blocks, changed, records, most_records;

static _Noreturn void NF_PRINTF(1, 2) give_up(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("same_blocks: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

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

static int open_below(int root, const char *path)
{
	return openat(root, path, O_RDONLY | O_CLOEXEC);
}

static void NF_PRINTF(2, 3) make_path(char path[PATH_SIZE], const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (vsnprintf(path, PATH_SIZE, format, args) >= PATH_SIZE)
		give_up("a path is too long");
	va_end(args);
}

/* NULL: there is no such directory. */
static DIR *list_below(int root, const char *path)
{
	int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fdopendir(fd) : NULL;
}

/* ------------------------------------------------------------------- log */

static int read_log(void *arg, struct nf_lsn at, uint8_t *page)
{
	static int fd = -1;
	static uint64_t held = UINT64_MAX;
	uint64_t number = at.v / range.segment_size, per_log = (UINT64_C(1) << 32) / range.segment_size;
	(void)arg;
	if (fd < 0 || held != number) {
		char name[32];
		if (fd >= 0)
			close(fd);
		snprintf(name, sizeof(name), "%08X%08X%08X", 1u, (unsigned)(number / per_log), (unsigned)(number % per_log));
		fd = open_below(wal, name);
		held = number;
		if (fd < 0)
			return -ENODATA;
	}
	return pread(fd, page, WA_PAGE_SIZE, (off_t)(at.v % range.segment_size)) == WA_PAGE_SIZE ? 0 : -ENODATA;
}

static void finish_index(struct wa_index_builder *builder)
{
	uint8_t *bytes;
	size_t size;
	struct wa_error error = {0};
	if (range.index_count == SEGMENTS_MAX)
		give_up("too many segments");
	if (wa_index_finish(builder, &bytes, &size) < 0 || wa_index_open(bytes, size, &indexes[range.index_count], &error) < 0)
		give_up("an index cannot be made: %s", error.text);
	range.index_count++;
}

/* The next record before range.to; false at the end. */
static bool next_record(struct wa_reader *reader, const struct wa_record **ret_record)
{
	static uint8_t page[WA_PAGE_SIZE];
	int status;
	while ((status = wa_reader_next(reader, ret_record)) == 0) {
		struct nf_lsn at = wa_reader_wanted(reader);
		at.v -= at.v % WA_PAGE_SIZE;
		if (read_log(NULL, at, page) < 0 || wa_reader_feed(reader, at, page, sizeof(page)) < 0)
			return false;
	}
	return status == 1 && (*ret_record)->lsn.v < range.to.v;
}

static void build_indexes(void)
{
	const struct wa_record *record;
	struct wa_reader *reader;
	struct wa_index_builder *builder;
	struct wa_error error = {0};
	uint64_t at = range.from.v - range.from.v % range.segment_size;
	const struct wa_reader_config config = {
		.segment_size = range.segment_size, .major = range.version.major, .start = range.from, .find = false};
	const struct wa_index_config built = {.version = range.version, .base = {at}, .limit = {at + range.segment_size}};
	if (wa_reader_new(&config, &reader) < 0 || wa_index_builder_new(&built, &builder) < 0)
		give_up("the log cannot be read");
	while (next_record(reader, &record)) {
		while (record->lsn.v >= at + range.segment_size) {
			finish_index(builder);
			at += range.segment_size;
			if (wa_index_builder_reset(builder, (struct nf_lsn){at}, (struct nf_lsn){at + range.segment_size}) < 0)
				give_up("memory is short");
		}
		if (wa_index_add(builder, record, &error) < 0)
			give_up("indexing: %s", error.text);
	}
	finish_index(builder);
	if (indexes[range.index_count - 1].info.limit.v < range.to.v)
		give_up("the log ends at %s before " NF_LSN_FMT, wa_reader_error(reader)->text, NF_LSN_ARG(range.to));
	wa_index_builder_free(builder);
	wa_reader_free(reader);
	range.indexes = indexes;
}

/* The same in fewer indexes, without what changes outside of pages: what background work finds blocks by. */
static void merge_indexes(void)
{
	static struct wa_index merged[SEGMENTS_MAX / MERGED + 1];
	merged_range = range;
	merged_range.index_count = 0;
	for (size_t i = 0; i < range.index_count; i += MERGED) {
		uint8_t *bytes;
		size_t size;
		struct wa_error error = {0};
		if (wa_index_merge(&indexes[i], NF_MIN(range.index_count - i, (size_t)MERGED), WA_MERGE_BLOCKS, &bytes, &size,
				   &error) < 0 ||
		    wa_index_open(bytes, size, &merged[merged_range.index_count++], &error) < 0)
			give_up("indexes cannot be merged: %s", error.text);
	}
	merged_range.indexes = merged;
}

/* -------------------------------------------------------------- relations */

static void compare_block(const char *path, int fd, off_t at, struct wa_block *block, const uint8_t *wanted)
{
	static uint8_t page[WA_PAGE_SIZE];
	struct wa_error error = {0};
	unsigned used = 0;
	memset(page, 0, sizeof(page));
	if (pread(fd, page, sizeof(page), at) < 0)
		give_up("%s: %s", path, strerror(errno));
	bool is_lazy = block->fork == WA_FORK_MAIN || block->fork == WA_FORK_VM;
	int status = is_lazy ? wa_materialise(&range, block, page, &used, &error) : 0;
	blocks++;
	records += used;
	most_records = NF_MAX(most_records, (unsigned long)used);
	if (status < 0)
		differ("%s block %u: %s (%s)", path, block->blkno, error.text, strerror(-status));
	else if (memcmp(page, wanted, sizeof(page)) != 0)
		differ("%s block %u: differs (LSN " NF_LSN_FMT ", replay " NF_LSN_FMT ")", path, block->blkno,
		       NF_LSN_ARG(wa_page_lsn(page)), NF_LSN_ARG(wa_page_lsn(wanted)));
	else
		changed += status == 1;
}

/* -------------------------------------------------------------- batches */

/* Blocks of one file on their way through a batch. */
static struct wa_batch_block batched[BATCH_BLOCKS];
static uint8_t batched_pages[BATCH_BLOCKS][WA_PAGE_SIZE], batched_wanted[BATCH_BLOCKS][WA_PAGE_SIZE];
static size_t batched_count;

static int read_pages(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes, uint64_t *there)
{
	int status = 0;
	for (size_t i = 0; i < count && status == 0; i++) {
		if (!(wanted[i / 64] >> i % 64 & 1))
			continue;
		status = read_log(arg, (struct nf_lsn){at.v + i * WA_PAGE_SIZE}, bytes + i * WA_PAGE_SIZE);
		there[i / 64] |= UINT64_C(1) << i % 64;
	}
	return status;
}

static void compare_batch(const char *path)
{
	struct wa_batch *batch;
	struct wa_error error = {0};
	if (batched_count == 0)
		return;
	int status = wa_batch_new(&merged_range, batched, batched_count, &batch, &error);
	for (size_t i = 0; status == 0 && i < batched_count; i++)
		if (!batched[i].needs_base)
			memset(batched[i].page, 0x5A, WA_PAGE_SIZE); /* it must not matter */
	if (status == 0) {
		status = wa_batch_run(batch, read_pages, NULL, &error);
		wa_batch_free(batch);
	}
	if (status < 0)
		differ("%s: a batch cannot be made: %s (%s)", path, error.text, strerror(-status));
	for (size_t i = 0; status == 0 && i < batched_count; i++)
		if (batched[i].status < 0 || memcmp(batched[i].page, batched_wanted[i], WA_PAGE_SIZE) != 0)
			differ("%s block %u, in a batch: %s", path, batched[i].block.blkno,
			       batched[i].status < 0 ? error.text : "differs");
	batched_count = 0;
}

static void add_to_batch(const char *path, int fd, off_t at, const struct wa_block *block, const uint8_t *wanted)
{
	if (block->fork != WA_FORK_MAIN && block->fork != WA_FORK_VM)
		return;
	uint8_t *page = batched_pages[batched_count];
	memset(page, 0, WA_PAGE_SIZE);
	if (pread(fd, page, WA_PAGE_SIZE, at) < 0)
		give_up("%s: %s", path, strerror(errno));
	memcpy(batched_wanted[batched_count], wanted, WA_PAGE_SIZE);
	batched[batched_count++] = (struct wa_batch_block){.block = *block, .page = page};
	if (batched_count == BATCH_BLOCKS)
		compare_batch(path);
}

static uint32_t fork_of(const char *suffix)
{
	return strncmp(suffix, "_vm", 3) == 0    ? WA_FORK_VM
	       : strncmp(suffix, "_fsm", 4) == 0 ? WA_FORK_FSM
	       : *suffix == '_'                  ? WA_FORK_INIT
						 : WA_FORK_MAIN;
}

static void compare_file(const char *path, uint32_t spc, uint32_t db, const char *name)
{
	static uint8_t wanted[WA_PAGE_SIZE];
	char *rest;
	struct wa_block block = {.rel = {spc, db, (uint32_t)strtoul(name, &rest, 10)}};
	struct stat a, b;
	block.fork = fork_of(rest);
	const char *dot = strchr(rest, '.');
	uint32_t first = dot != NULL ? (uint32_t)strtoul(dot + 1, NULL, 10) * SEGMENT_BLOCKS : 0;
	int ours = open_below(replayed, path), theirs = open_below(prepared, path);
	files++;
	if (ours < 0 || theirs < 0 || fstat(ours, &a) < 0 || fstat(theirs, &b) < 0) {
		differ("%s: %s", path, theirs < 0 ? "is not there when prepared" : "is only there when prepared");
		close(ours);
		close(theirs);
		return;
	}
	if (a.st_size != b.st_size)
		differ("%s: is prepared to %lld bytes, but has %lld", path, (long long)b.st_size, (long long)a.st_size);
	for (off_t at = 0; pread(ours, wanted, sizeof(wanted), at) == (ssize_t)sizeof(wanted); at += WA_PAGE_SIZE) {
		block.blkno = first + (uint32_t)(at / WA_PAGE_SIZE);
		compare_block(path, theirs, at, &block, wanted);
		add_to_batch(path, theirs, at, &block, wanted);
	}
	compare_batch(path);
	close(ours);
	close(theirs);
}

static bool is_relation(const char *name)
{
	size_t digits = strspn(name, "0123456789");
	return digits > 0 && (name[digits] == 0 || name[digits] == '_' || name[digits] == '.');
}

static void compare_directory(const char *space, uint32_t spc, uint32_t db)
{
	char directory[PATH_SIZE], path[PATH_SIZE];
	if (db != 0)
		make_path(directory, "%s/%u", space, db);
	else
		make_path(directory, "%s", space);
	for (int side = 0; side < 2; side++) {
		DIR *dir = list_below(side == 0 ? replayed : prepared, directory);
		for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
			make_path(path, "%s/%s", directory, entry->d_name);
			if (is_relation(entry->d_name) && (side == 0 || faccessat(replayed, path, F_OK, 0) < 0))
				compare_file(path, spc, db, entry->d_name);
		}
		if (dir != NULL)
			closedir(dir);
	}
}

/* The databases below `space`. */
static void compare_space(const char *space, uint32_t spc)
{
	DIR *dir = list_below(replayed, space);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		uint32_t db = (uint32_t)strtoul(entry->d_name, NULL, 10);
		if (db != 0)
			compare_directory(space, spc, db);
	}
	if (dir != NULL)
		closedir(dir);
}

static void compare_spaces(uint32_t catalog)
{
	char space[PATH_SIZE];
	DIR *dir = list_below(replayed, "pg_tblspc");
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		uint32_t spc = (uint32_t)strtoul(entry->d_name, NULL, 10);
		make_path(space, "pg_tblspc/%u/PG_%d_%u", spc, range.version.major, catalog);
		if (spc != 0)
			compare_space(space, spc);
	}
	if (dir != NULL)
		closedir(dir);
}

static void load_control(int root, const char *name, struct wa_control *ret_control)
{
	uint8_t bytes[WA_CONTROL_FILE_SIZE];
	struct wa_error error = {0};
	int fd = open_below(root, "global/pg_control");
	if (fd < 0 || read(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes) ||
	    wa_control_load(range.version.major, bytes, sizeof(bytes), ret_control, &error) < 0)
		give_up("%s: its pg_control cannot be read %s", name, error.text);
	close(fd);
}

/* A base backup begins where its label says. */
static struct nf_lsn start_of(const struct wa_control *control)
{
	char text[1024] = "";
	unsigned high, low;
	int fd = open_below(base, "backup_label");
	if (fd < 0)
		return control->copy.redo;
	if (read(fd, text, sizeof(text) - 1) < 0 || sscanf(text, "START WAL LOCATION: %X/%X", &high, &low) != 2)
		give_up("backup_label cannot be read");
	close(fd);
	return (struct nf_lsn){(uint64_t)high << 32 | low};
}

int main(int argc, char **argv)
{
	struct wa_control from, to;
	if (argc != 6) {
		fprintf(stderr, "usage: same_blocks MAJOR BASE PREPARED REPLAYED WAL-DIRECTORY\n");
		return 2;
	}
	range.version.major = atoi(argv[1]);
	base = open_below(AT_FDCWD, argv[2]);
	prepared = open_below(AT_FDCWD, argv[3]);
	replayed = open_below(AT_FDCWD, argv[4]);
	wal = open_below(AT_FDCWD, argv[5]);
	load_control(base, argv[2], &from);
	load_control(replayed, argv[4], &to);
	range.version.checksums = to.checksum_version != 0;
	range.version.log_hints = from.parameters.wal_log_hints;
	range.segment_size = to.wal_segment_size;
	range.system_id = to.system_id;
	range.from = start_of(&from);
	range.to = to.copy.redo;
	range.read_log = read_log;
	build_indexes();
	merge_indexes();
	compare_space("base", 1663);
	compare_directory("global", 1664, 0);
	compare_spaces(to.catalog);
	printf("%lu files, %lu blocks, %lu changed by %lu records, at most %lu: %u differences\n", files, blocks, changed,
	       records, most_records, differences);
	return differences > 0;
}
