/* The summaries of whole segments of a log (walapply/summary), one file each, as the daemon keeps them, and all of them in the file `packed`, as it hands
 * them over.
 *
 *   make_summaries MAJOR SYSTEM-ID WAL-DIRECTORY OUT-DIRECTORY [times]      prints how many, and how large they are beside the log
 *
 * Segments of 16 MiB of timeline 1. times: as of a cluster with track_commit_timestamp. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/nf_cursor.h"
#include "walapply/decode/wa_reader.h"
#include "walapply/summary/wa_summary.h"

#define SEGMENT_SIZE (16u << 20)
#define PER_LOG ((UINT64_C(1) << 32) / SEGMENT_SIZE)

static int wal, out; /* directories */
static struct wa_summary_config config = {.version = {0}};
static struct wa_summary_builder *builder;
static unsigned long count, bytes_written, partial;

static _Noreturn void NF_PRINTF(1, 2) give_up(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("make_summaries: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

static void segment_name(char name[32], uint64_t number)
{
	snprintf(name, 32, "%08X%08X%08X", 1u, (unsigned)(number / PER_LOG), (unsigned)(number % PER_LOG));
}

/* The number of the first segment. */
static uint64_t first_segment(void)
{
	uint64_t first = UINT64_MAX;
	DIR *dir = fdopendir(dup(wal));
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		unsigned timeline, log, segment;
		if (strlen(entry->d_name) == 24 && sscanf(entry->d_name, "%8X%8X%8X", &timeline, &log, &segment) == 3 &&
		    timeline == 1)
			first = NF_MIN(first, log * PER_LOG + segment);
	}
	if (dir != NULL)
		closedir(dir);
	if (first == UINT64_MAX)
		give_up("no segments");
	return first;
}

static void begin(uint64_t number)
{
	config.base.v = number * SEGMENT_SIZE;
	config.limit.v = config.base.v + SEGMENT_SIZE;
	if (wa_summary_builder_new(&config, &builder) < 0)
		give_up("a summary cannot be begun");
}

static void finish(void)
{
	char name[32];
	uint8_t *bytes;
	size_t size;
	struct wa_summary summary;
	struct wa_error why = {0};
	uint8_t header[WA_SUMMARY_PACKED_HEADER];
	segment_name(name, config.base.v / SEGMENT_SIZE);
	if (wa_summary_finish(builder, &bytes, &size) < 0 || wa_summary_open(bytes, size, &summary, &why) < 0)
		give_up("a summary cannot be made: %s", why.text);
	int fd = openat(out, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		give_up("%s cannot be written", name);
	close(fd);
	struct nf_writer writer = nf_writer_init(header, sizeof(header));
	nf_write_u32(&writer, (uint32_t)size);
	fd = openat(out, "packed", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, header, sizeof(header)) != sizeof(header) || write(fd, bytes, size) != (ssize_t)size)
		give_up("packed cannot be written");
	close(fd);
	count++;
	bytes_written += size;
	partial += summary.info.is_partial;
	free(bytes);
	wa_summary_builder_free(builder);
	builder = NULL;
}

/* False: there is no such segment. */
static bool feed(struct wa_reader *reader)
{
	static uint8_t *segment;
	char name[32];
	struct nf_lsn at = wa_reader_wanted(reader);
	uint64_t start = at.v - at.v % SEGMENT_SIZE;
	segment_name(name, at.v / SEGMENT_SIZE);
	int fd = openat(wal, name, O_RDONLY | O_CLOEXEC);
	if (segment == NULL)
		segment = malloc(SEGMENT_SIZE);
	if (fd < 0 || segment == NULL)
		return false;
	bool is_whole = read(fd, segment, SEGMENT_SIZE) == (ssize_t)SEGMENT_SIZE;
	close(fd);
	return is_whole && wa_reader_feed(reader, (struct nf_lsn){start}, segment, SEGMENT_SIZE) == 0;
}

int main(int argc, char **argv)
{
	struct wa_reader *reader;
	const struct wa_record *record;
	struct wa_error error = {0};
	int status;
	if (argc < 5)
		give_up("usage: make_summaries MAJOR SYSTEM-ID WAL-DIRECTORY OUT-DIRECTORY [times]");
	wal = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	out = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (wal < 0 || out < 0)
		give_up("a directory cannot be opened");
	config.version.major = atoi(argv[1]);
	config.system_id = strtoull(argv[2], NULL, 10);
	config.commit_times = argc > 5;
	uint64_t number = first_segment();
	const struct wa_reader_config reading = {
		.segment_size = SEGMENT_SIZE, .major = config.version.major, .start = {number * SEGMENT_SIZE}, .find = true};
	if (wa_reader_new(&reading, &reader) < 0)
		give_up("the log cannot be read");
	begin(number);
	while ((status = wa_reader_next(reader, &record)) >= 0) {
		if (status == 0 && !feed(reader))
			break;
		if (status == 0)
			continue;
		for (; record->lsn.v >= config.limit.v; begin(++number))
			finish();
		if (wa_summary_add(builder, record, &error) < 0)
			give_up("the record at " NF_LSN_FMT ": %s", NF_LSN_ARG(record->lsn), error.text);
	}
	printf("%lu summaries, %lu of them partial, %.3f %% of the log\n", count, partial,
	       count > 0 ? 100.0 * (double)bytes_written / ((double)count * SEGMENT_SIZE) : 0.0);
	wa_summary_builder_free(builder);
	wa_reader_free(reader);
	return 0;
}
