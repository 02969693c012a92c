/* neonfs-wal verify: replay beside the after-images of wal_consistency_checking. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/lib/format.h"
#include "tools/neonfs-wal/commands.h"
#include "tools/neonfs-wal/rmgrs.h"
#include "tools/neonfs-wal/verify_report.h"

#define MEMORY_DEFAULT (UINT64_C(512) << 20)
#define LIMIT_DEFAULT 20

static int read_memory(const struct tl_call *call, uint64_t *ret_bytes)
{
	const char *text = tl_value(call, "memory");
	char quoted[TL_QUOTE_MAX];
	*ret_bytes = MEMORY_DEFAULT;
	if (text == NULL || tl_parse_bytes(text, ret_bytes) == 0)
		return TL_OK;
	tl_quote(quoted, sizeof(quoted), text);
	return tl_usage("--memory: %s is not a size; write it like 512M or 2G", quoted);
}

static int open_save_directory(const struct tl_call *call, int *ret_fd)
{
	const char *path = tl_value(call, "save");
	*ret_fd = -1;
	if (path == NULL)
		return TL_OK;
	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		return tl_fail("--save: %s cannot be made: %s", path, strerror(errno));
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return tl_fail("--save: %s: %s", path, strerror(errno));
	return TL_OK;
}

/* Take every record. Returns TL_OK or TL_FAILED with a message. */
static int take_all(struct wal_source *source, struct wal_verify *verify)
{
	const struct wa_record *record;
	while ((record = wal_source_next(source)) != NULL)
		if (wal_verify_record(verify, record) < 0)
			return tl_fail("memory is short; give less --memory");
	return wal_source_finish(source);
}

/* The exit code of a run that came to its end. */
static int judge(const struct wal_verify_report *report, const struct wal_verify *verify)
{
	struct wal_verify_count sum = wal_verify_sum(verify);
	if (report->save_error < 0)
		return tl_fail("--save: a page could not be written: %s", strerror(-report->save_error));
	if (sum.mismatches > 0)
		return tl_fail("%llu of %llu blocks are not as Postgres left them", (unsigned long long)sum.mismatches,
			       (unsigned long long)sum.compared);
	if (sum.compared == 0)
		return tl_fail(
			"nothing could be compared: no record carries the page as it must look afterwards; write the WAL with "
			"wal_consistency_checking = 'all'");
	return TL_OK;
}

static int verify_source(const struct tl_call *call, struct wal_source *source, struct wal_verify *verify,
			 const struct wal_verify_report *report)
{
	int code = take_all(source, verify);
	wal_verify_finish(verify);
	if (source->records == 0)
		return code;
	if (tl_flag(call, "json"))
		wal_verify_print_json(report, verify, source);
	else
		wal_verify_print(report, verify, source);
	/* One reason is enough, unless there is more to say. */
	return code != TL_OK && wal_verify_sum(verify).mismatches == 0 ? code : judge(report, verify);
}

static int with_options(const struct tl_call *call, const struct wal_verify_options *options, struct wal_verify_report *report)
{
	struct wal_source source;
	int code = wal_source_open(call, &source);
	if (code != TL_OK)
		return code;
	report->major = source.version.major;
	report->list = tl_flag(call, "json") ? json_array() : NULL;
	if (tl_flag(call, "follow"))
		wal_source_follow(&source);
	struct wal_verify *verify = wal_verify_new(&source.version, options);
	code = verify != NULL ? verify_source(call, &source, verify, report) : tl_fail("memory is short; give less --memory");
	wal_verify_free(verify);
	json_decref(report->list);
	wal_source_close(&source);
	return code;
}

int run_verify(const struct tl_call *call)
{
	bool rmgrs[256];
	struct wal_verify_report report = {.save_directory = -1};
	struct wal_verify_options options = {.on_mismatch = wal_verify_tell, .arg = &report};
	const char *names = tl_value(call, "rmgr");
	int code = names != NULL ? wal_rmgrs_parse(names, rmgrs) : TL_OK;
	if (names != NULL)
		options.rmgrs = rmgrs;
	if (code == TL_OK)
		code = wal_option_number(call, "limit", 0, UINT64_MAX, LIMIT_DEFAULT, &report.limit);
	if (code == TL_OK)
		code = read_memory(call, &options.memory_bytes);
	if (code == TL_OK)
		code = open_save_directory(call, &report.save_directory);
	if (code == TL_OK)
		code = with_options(call, &options, &report);
	if (report.save_directory >= 0)
		close(report.save_directory);
	return code;
}
