#include "tools/neonfs-wal/source.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/lib/format.h"
#include "tools/lib/proto.h"
#include "tools/neonfs-wal/control.h"

#define FOLLOW_PAUSE_US 250000
#define PROGRESS_RECORDS 4096 /* a look at the clock after so many */

int wal_option_lsn(const struct tl_call *call, const char *name, struct nf_lsn *ret_lsn)
{
	const char *text = tl_value(call, name);
	char quoted[TL_QUOTE_MAX];
	*ret_lsn = (struct nf_lsn){0};
	if (text == NULL || (nf_lsn_parse(text, ret_lsn) == 0 && ret_lsn->v != 0))
		return TL_OK;
	tl_quote(quoted, sizeof(quoted), text);
	return tl_usage("--%s: %s is not an LSN; write it like 16/B374D848", name, quoted);
}

int wal_option_number(const struct tl_call *call, const char *name, uint64_t low, uint64_t high, uint64_t otherwise,
		      uint64_t *ret_number)
{
	const char *text = tl_value(call, name);
	char quoted[TL_QUOTE_MAX];
	*ret_number = otherwise;
	if (text == NULL || tl_parse_number(text, low, high, ret_number) == 0)
		return TL_OK;
	tl_quote(quoted, sizeof(quoted), text);
	return tl_usage("--%s: %s is not a number from %llu to %llu", name, quoted, (unsigned long long)low,
			(unsigned long long)high);
}

static int read_options(const struct tl_call *call, struct wal_dir_options *options)
{
	uint64_t timeline;
	int code = wal_option_lsn(call, "start", &options->start);
	if (code == TL_OK)
		code = wal_option_lsn(call, "end", &options->end);
	if (code == TL_OK)
		code = wal_option_number(call, "timeline", 1, UINT32_MAX, 0, &timeline);
	if (code != TL_OK)
		return code;
	options->timeline = (uint32_t)timeline;
	if (options->end.v != 0 && options->end.v <= options->start.v)
		return tl_usage("--end " NF_LSN_FMT " must be after --start " NF_LSN_FMT, NF_LSN_ARG(options->end),
				NF_LSN_ARG(options->start));
	return TL_OK;
}

int wal_source_open(const struct tl_call *call, struct wal_source *ret_source)
{
	struct wal_dir_options options;
	struct wa_error error;
	int code = read_options(call, &options);
	if (code != TL_OK)
		return code;
	*ret_source = (struct wal_source){0};
	/* The messages name the place themselves. */
	tl_subject("");
	if (wal_dir_open(call->args[0], &options, &ret_source->dir, &error) < 0)
		return tl_fail("%s", error.text);
	ret_source->version.major = wal_dir_major(ret_source->dir);
	ret_source->knows_control = wal_control_read(call->args[0], wal_dir_directory(ret_source->dir),
						     wal_dir_system_id(ret_source->dir), &ret_source->version);
	tl_progress_start(&ret_source->progress, call->command->name);
	return TL_OK;
}

void wal_source_close(struct wal_source *source)
{
	tl_progress_end(&source->progress);
	wal_dir_close(source->dir);
	source->dir = NULL;
}

/* ----------------------------------------------------------- following */

static volatile sig_atomic_t stop_following;

static void on_signal(int number)
{
	(void)number;
	stop_following = 1;
}

void wal_source_follow(struct wal_source *source)
{
	const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	source->follow = true;
}

/* Wait, look again, and read on. The last look is one that began after the signal, so that nothing written before it is missed.
 * Returns as wal_dir_next, 0 when it is to stop. */
static int wait_for_more(struct wal_source *source, const struct wa_record **ret_record)
{
	int status = 0;
	while (status == 0 && source->follow && !wal_dir_is_at_limit(source->dir)) {
		struct wa_error error;
		source->follow = !stop_following;
		if (fflush(stdout) != 0)
			return 0;
		if (source->follow)
			usleep(FOLLOW_PAUSE_US);
		if (wal_dir_resume(source->dir, &error) < 0) {
			source->failed = true;
			(void)tl_fail("%s", error.text);
			return 0;
		}
		status = wal_dir_next(source->dir, ret_record);
	}
	return status;
}

const struct wa_record *wal_source_next(struct wal_source *source)
{
	const struct wa_record *record;
	int status = wal_dir_next(source->dir, &record);
	if (status == 0)
		status = wait_for_more(source, &record);
	if (status == 1) {
		if (source->records == 0)
			source->first = record->lsn;
		if (++source->records % PROGRESS_RECORDS == 0)
			tl_progress_update(&source->progress, "WAL", wal_dir_done(source->dir), wal_dir_total(source->dir));
		return record;
	}
	tl_progress_end(&source->progress);
	if (status < 0) {
		char reason[256];
		source->failed = true;
		wal_source_reason(source, reason, sizeof(reason));
		(void)tl_fail("%s", reason);
	}
	return NULL;
}

int wal_source_finish(struct wal_source *source)
{
	char reason[256];
	if (source->failed)
		return TL_FAILED;
	wal_source_reason(source, reason, sizeof(reason));
	if (wal_dir_is_cut(source->dir))
		return tl_fail("the WAL is cut at %s; what was written after it cannot be read. Fetch the whole segment again",
			       reason);
	if (source->records == 0)
		return tl_fail("there is no record in that range, which ends at %s", reason);
	return TL_OK;
}

void wal_source_reason(const struct wal_source *source, char *buf, size_t size)
{
	const struct wa_error *why = wal_dir_why(source->dir);
	snprintf(buf, size, NF_LSN_FMT ": %s", NF_LSN_ARG(why->lsn), why->text);
}

json_t *wal_lsn_json(struct nf_lsn lsn)
{
	char text[NF_LSN_TEXT_MAX];
	if (lsn.v == 0)
		return json_null();
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	return json_string(text);
}

void wal_source_json(const struct wal_source *source, json_t *object)
{
	char reason[256], system_id[TL_NUMBER_MAX];
	struct wa_end_info end = wal_dir_end(source->dir);
	wal_source_reason(source, reason, sizeof(reason));
	snprintf(system_id, sizeof(system_id), "%llu", (unsigned long long)wal_dir_system_id(source->dir));
	json_object_set_new(object, "postgres", json_integer(source->version.major));
	json_object_set_new(object, "system_identifier", json_string(system_id));
	json_object_set_new(object, "timeline", json_integer(wal_dir_timeline(source->dir)));
	json_object_set_new(object, "segment_bytes", json_integer(wal_dir_segment_size(source->dir)));
	json_object_set_new(object, "first", wal_lsn_json(source->first));
	json_object_set_new(object, "end", wal_lsn_json(end.end));
	json_object_set_new(object, "records", json_integer((json_int_t)source->records));
	json_object_set_new(object, "ended_because", tl_json_text(reason));
}
