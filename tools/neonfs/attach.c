/* neonfs attach: a store from its object store alone. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/tier/attach.h"
#include "tools/lib/format.h"
#include "tools/lib/progress.h"
#include "tools/lib/proto.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/store_path.h"
#include "tools/neonfs/tier_options.h"

static int show_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	tl_progress_update(arg, phase, done, total);
	return 0;
}

static void show_line(void *arg, const char *line)
{
	tl_progress_end(arg);
	if (isatty(STDERR_FILENO))
		tl_warn("%s", line);
}

static void print_json(const struct tl_call *call, const struct bd_attach_result *result, bool read_only)
{
	char id[17], safe[TL_NUMBER_MAX], manifest[32];
	snprintf(id, sizeof(id), "%016" PRIx64, result->store_id);
	snprintf(manifest, sizeof(manifest), "%08" PRIx32 "-%08" PRIx32, result->generation, result->manifest);
	json_t *root = json_pack("{s:o, s:o, s:s, s:b, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I}", "store", tl_json_text(call->args[1]), "url",
				 tl_json_text(call->args[0]), "store_id", id, "read_only", read_only, "safe", tl_time(safe, result->safe_ns),
				 "safe_ns", (json_int_t)result->safe_ns, "manifest", manifest, "log_end", (json_int_t)result->log_end,
				 "branches", (json_int_t)result->branches, "objects_read", (json_int_t)result->objects_read, "bytes_read",
				 (json_int_t)result->bytes_read, "bytes_total", (json_int_t)result->bytes_total);
	json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
}

static void print_result(const struct tl_call *call, const struct bd_attach_result *result)
{
	char read[TL_NUMBER_MAX], total[TL_NUMBER_MAX], age[TL_NUMBER_MAX];
	printf("Made store %s with %" PRIu64 " branches, as it was %s (read %s of %s). Next: neonfs mount %s MOUNTPOINT\n", call->args[1],
	       result->branches, tl_age(age, result->safe_ns), tl_bytes(read, result->bytes_read), tl_bytes(total, result->bytes_total),
	       call->args[1]);
}

static int fail(const struct tl_call *call, int rc, const char *message)
{
	if (rc == -ENOTEMPTY && store_path_is_store(call->args[1]))
		return tl_fail("there is a neonfs store in it already; mount that, or choose another directory");
	if (rc == -ENOTEMPTY)
		return tl_fail("the directory is not empty; choose a new or an empty one");
	return tl_fail("%s", message);
}

int run_attach(const struct tl_call *call)
{
	struct bd_tier_config config = {0};
	struct bd_attach_result result;
	struct tl_progress progress;
	char message[1024];
	int code = tier_options_parse(call, call->args[0], &config);
	if (code != TL_OK)
		return code;
	tl_subject(call->args[1]);
	if (call->args[1][0] == '\0')
		return tl_usage("STORE is empty; name a directory");
	config.read_only = tl_flag(call, "read-only");
	if (config.read_only && tl_flag(call, "take-over"))
		return tl_usage("--read-only takes nothing over; leave one of them out");
	tl_progress_start(&progress, "attach");
	const struct bd_attach_options options = {
		.take_over = tl_flag(call, "take-over"),
		.prefetch = tl_flag(call, "prefetch"),
		.progress = show_progress,
		.say = show_line,
		.arg = &progress,
	};
	int rc = bd_attach(call->args[1], &config, &options, &result, message, sizeof(message));
	tl_progress_end(&progress);
	if (rc != 0)
		return fail(call, rc, message);
	if (tl_flag(call, "json"))
		print_json(call, &result, config.read_only);
	else if (tl_is_terminal())
		print_result(call, &result);
	return TL_OK;
}
