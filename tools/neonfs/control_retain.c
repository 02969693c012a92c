/* Control requests about history: what is kept of a branch beyond what Postgres keeps. */
#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs/control_call.h"
#include "tools/neonfs/control_names.h"

#define US_2000 (INT64_C(946684800) * 1000000)

static json_t *lsn_json(struct nf_lsn lsn)
{
	char text[NF_LSN_TEXT_MAX];
	if (lsn.v == 0)
		return json_null();
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	return json_string(text);
}

/* Of microseconds since 2000; null for 0. */
static json_t *time_json(int64_t time_us)
{
	char text[TL_NUMBER_MAX];
	return time_us != 0 ? json_string(tl_time(text, (time_us + US_2000) * 1000)) : json_null();
}

static json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? tl_json_text(text) : json_null();
}

json_t *ctl_history_json(struct ctl_call *call, const struct bd_branch_info *branch)
{
	struct wa_history_status status;
	char system_id[TL_NUMBER_MAX], message[WA_HISTORY_MESSAGE_MAX];
	/* What it finds wrong is in the status. */
	if (wa_history_catch_up(call->history, branch->id, message, sizeof(message)) == -ENOMEM)
		return NULL;
	if (wa_history_status(call->history, branch->id, &status) != 0)
		return json_null();
	snprintf(system_id, sizeof(system_id), "%llu", (unsigned long long)status.system_id);
	return json_pack("{s:I, s:I, s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
			 "retain_seconds", (json_int_t)status.retention.seconds, "retain_bytes",
			 (json_int_t)status.retention.bytes, "postgres", status.major, "system_identifier", system_id, "timeline",
			 (json_int_t)status.timeline, "segment_bytes", (json_int_t)status.segment_size, "earliest",
			 lsn_json(status.earliest), "earliest_time", time_json(status.earliest_us), "latest",
			 lsn_json(status.latest), "latest_commit_time", time_json(status.latest_commit_us), "wal_bytes",
			 (json_int_t)status.wal_bytes, "index_bytes", (json_int_t)status.index_bytes, "segments",
			 (json_int_t)status.segments, "bases", (json_int_t)status.snapshots, "begun_again",
			 time_json(status.begun_again_us), "begun_again_why", text_or_null(status.begun_again_why), "trouble",
			 text_or_null(status.trouble));
}

int ctl_branch_retain(struct ctl_call *call)
{
	struct bd_branch_info branch;
	const json_t *seconds = json_object_get(call->args, "seconds"), *bytes = json_object_get(call->args, "bytes");
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	if (ctl_branch_argument(call, "name", &branch) != 0)
		return -1;
	if (!json_is_integer(seconds) || !json_is_integer(bytes) || json_integer_value(seconds) < 0 ||
	    json_integer_value(bytes) < 0)
		return ctl_error(call, TL_CODE_USAGE, "the request does not say what is to be kept");
	const struct wa_retention retention = {.seconds = (uint64_t)json_integer_value(seconds),
					       .bytes = (uint64_t)json_integer_value(bytes)};
	int rc = wa_history_retain(call->history, branch.id, retention, message, sizeof(message));
	if (rc == -EINVAL)
		return ctl_error(call, "no-history", "branch \"%s\" cannot keep history: %s", branch.name, message);
	if (rc != 0)
		return ctl_error(call, "failed", "cannot set the history of branch \"%s\": %s", branch.name, message);
	call->result = json_pack("{s:o}", "history", ctl_history_json(call, &branch));
	return 0;
}
