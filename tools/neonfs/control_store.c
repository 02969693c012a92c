/* Control requests about the whole store and the daemon. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/tier/check.h"
#include "blockdev/tier/status.h"
#include "common/nf_log.h"
#include "tools/lib/format.h"
#include "tools/neonfs/control_call.h"
#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/store_json.h"
#include "tools/neonfs/store_limit.h"

static json_t *request_counts(const struct fs_stats *stats)
{
	json_t *object = json_object();
	for (unsigned op = 0; op < FS_OP_COUNT; op++) {
		const struct fs_op_stats *one = &stats->ops[op];
		if (one->count > 0)
			json_object_set_new(object, fs_op_name((enum fs_op)op),
					    json_pack("{s:I, s:I, s:I}", "count", (json_int_t)one->count, "errors",
						      (json_int_t)one->errors, "total_us", (json_int_t)(one->total_ns / 1000)));
	}
	return object;
}

static json_t *mount_json(struct ctl_call *call, const struct fs_stats *stats)
{
	return json_pack("{s:o, s:i, s:s, s:s, s:s, s:I, s:I, s:o}", "mountpoint", tl_json_text(call->config->mountpoint), "pid",
			 (int)getpid(), "cache", daemon_cache_name(call->config->cache), "transport",
			 daemon_transport_name(stats->transport), "libfuse", stats->libfuse_version, "max_write_bytes",
			 (json_int_t)stats->max_write_bytes, "open_handles", (json_int_t)stats->open_handles, "requests",
			 request_counts(stats));
}

int ctl_store_status(struct ctl_call *call)
{
	struct bd_status *status = calloc(1, sizeof(*status));
	struct fs_stats *stats = calloc(1, sizeof(*stats));
	int rc = status != NULL && stats != NULL ? bd_store_status(call->store, status) : -ENOMEM;
	if (rc == 0) {
		fs_stats_get(call->fs, stats);
		call->result = json_pack("{s:o, s:b, s:s, s:o, s:o, s:o*}", "store", tl_json_text(call->config->store), "mounted", 1,
					 "version", NEONFS_VERSION, "mount", mount_json(call, stats), "facts",
					 store_status_json(status), "tier", store_tier_json(call->store));
		rc = call->result != NULL ? 0 : -ENOMEM;
	}
	free(stats);
	free(status);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot tell the state of the store");
}

int ctl_store_sync(struct ctl_call *call)
{
	int rc = bd_store_sync(call->store);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot write everything out");
}

int ctl_store_limit(struct ctl_call *call)
{
	char message[STORE_LIMIT_MESSAGE_MAX];
	const json_t *bytes = json_object_get(call->args, "bytes");
	if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
		return ctl_error(call, TL_CODE_USAGE, "the request has no size");
	return store_limit_set(call->store, (uint64_t)json_integer_value(bytes), message) == 0
		       ? 0
		       : ctl_error(call, "failed", "%s", message);
}

int ctl_store_flush(struct ctl_call *call)
{
	const json_t *wait = json_object_get(call->args, "wait_ms");
	char message[512] = "";
	if (!json_is_integer(wait) || json_integer_value(wait) < 0 || json_integer_value(wait) > UINT32_MAX)
		return ctl_error(call, TL_CODE_USAGE, "the request does not say how long to wait");
	int rc = bd_store_flush(call->store, (uint32_t)json_integer_value(wait), ctl_progress, call, message, sizeof(message));
	return rc == 0 ? 0 : ctl_error(call, "failed", "not everything is in the object store: %s", message);
}

int ctl_store_gc(struct ctl_call *call)
{
	struct bd_gc_result result;
	if (ctl_begin_long_work(call) != 0)
		return -1;
	int rc = bd_store_gc(call->store, ctl_progress, call, &result);
	/* Who asks for garbage to be collected wants the disk back. */
	bd_store_drop_spares(call->store);
	ctl_end_long_work(call);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot collect garbage");
	call->result = store_gc_json(call->store, &result);
	return 0;
}

/* Enough to see that something is wrong; a store may have ten thousand. */
#define TORN_LOOKED_AT_MAX 1000
#define TORN_TOLD_MAX 5

static bool has_no_images(struct ctl_call *call, struct bd_branch_id branch)
{
	struct ctl_cluster cluster;
	struct bd_inode *root;
	if (bd_root(call->store, (struct bd_view){.branch = branch, .epoch = BD_EPOCH_HEAD}, &root) != 0)
		return false;
	int rc = ctl_cluster_read(root, &cluster);
	bd_inode_unref(root, 1);
	return rc == 0 && !cluster.control.copy.full_page_writes;
}

/* Branches whose Postgres writes no page images (full_page_writes=off at its last checkpoint): a mount that gathers writes may tear their pages. */
int ctl_store_torn(struct ctl_call *call)
{
	struct bd_branch_info *infos;
	size_t count;
	json_t *names = json_array();
	int rc = bd_branch_list(call->store, &infos, &count);
	if (rc != 0) {
		json_decref(names);
		return ctl_store_error(call, rc, "cannot list the branches");
	}
	for (size_t i = 0; i < NF_MIN(count, (size_t)TORN_LOOKED_AT_MAX) && json_array_size(names) < TORN_TOLD_MAX; i++)
		if (call->config->cache == FS_CACHE_BACK && has_no_images(call, infos[i].id))
			rc |= json_array_append_new(names, json_string(infos[i].name));
	free(infos);
	call->result = json_pack("{s:o}", "branches", names);
	return rc == 0 ? 0 : ctl_store_error(call, -ENOMEM, "cannot list the branches");
}

static void send_finding(void *arg, const char *line)
{
	struct ctl_call *call = arg;
	nf_error("scrub: %s", line);
	/* A peer that is gone is noticed at the next progress; what was found is in the log. */
	if (ctl_send_item(call, tl_json_text(line)) != 0)
		nf_debug("scrub: nobody reads the report");
}

int ctl_store_scrub(struct ctl_call *call)
{
	struct bd_scrub_result result;
	if (ctl_begin_long_work(call) != 0)
		return -1;
	int rc = bd_store_scrub(call->store, ctl_progress, send_finding, call, &result);
	ctl_end_long_work(call);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot verify the store");
	call->result = store_scrub_json(&result);
	return 0;
}

int ctl_store_check(struct ctl_call *call)
{
	struct bd_check_result result;
	char message[512] = "";
	if (ctl_begin_long_work(call) != 0)
		return -1;
	int rc = bd_store_check_objects(call->store, ctl_true(call, "deep"), ctl_progress, send_finding, call, &result, message, sizeof(message));
	ctl_end_long_work(call);
	if (rc != 0)
		return ctl_error(call, "failed", "the object store cannot be checked: %s", message);
	call->result = store_check_json(&result);
	return 0;
}

/* Keeps the connection open until the daemon has closed its store, whatever unmounts it. */
int ctl_daemon_wait(struct ctl_call *call)
{
	if (ctl_wait_for_end(call) != 0)
		return -1;
	/* From here on the peer may unmount. When it is gone already, its place is taken back later. */
	if (ctl_send_item(call, json_string("waiting")) != 0)
		nf_debug("control: who wanted to wait is gone");
	return 0;
}
