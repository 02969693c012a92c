/* neonfs scrub and neonfs gc: through the daemon when the store is mounted, on the store itself when it is not. */
#include <stdio.h>
#include <string.h>

#include "blockdev/bd.h"
#include "tools/lib/client.h"
#include "tools/lib/format.h"
#include "tools/lib/progress.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/store_json.h"
#include "tools/neonfs/store_path.h"

struct work {
	struct tl_progress progress;
	json_t *findings; /* kept for --json; NULL = printed as they come */
	bool deep; /* of scrub --object-store */
	char message[512]; /* why it failed, where more is known than a number */
};

static int show_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct work *work = arg;
	tl_progress_update(&work->progress, phase, done, total);
	return 0;
}

static void show_finding(void *arg, const char *line)
{
	struct work *work = arg;
	char shown[1024];
	if (work->findings != NULL) {
		json_array_append_new(work->findings, tl_json_text(line));
		return;
	}
	tl_progress_end(&work->progress);
	tl_escape(shown, sizeof(shown), line);
	printf("%s\n", shown);
}

static void on_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	(void)show_progress(arg, phase, done, total);
}

static void on_item(void *arg, const json_t *item)
{
	const char *line = json_string_value(item);
	show_finding(arg, line != NULL ? line : "?");
}

/* ------------------------------------------------------- in the daemon */

static int through_daemon(struct tl_client *client, const char *op, struct work *work, json_t **ret_result)
{
	const struct tl_events events = {.progress = on_progress, .item = on_item, .arg = work};
	struct tl_answer answer;
	int rc = tl_client_call(client, op, json_pack("{s:b}", "deep", work->deep), &events, &answer);
	tl_progress_end(&work->progress);
	if (rc != 0 || !answer.ok)
		return tl_fail("%s", answer.message);
	*ret_result = answer.result;
	return TL_OK;
}

/* ------------------------------------------------------- on the store */

static json_t *gc_here(struct bd_store *store, struct work *work, int *ret_rc)
{
	struct bd_gc_result result;
	*ret_rc = bd_store_gc(store, show_progress, work, &result);
	return *ret_rc == 0 ? store_gc_json(store, &result) : NULL;
}

static json_t *scrub_here(struct bd_store *store, struct work *work, int *ret_rc)
{
	struct bd_scrub_result result;
	*ret_rc = bd_store_scrub(store, show_progress, show_finding, work, &result);
	return *ret_rc == 0 ? store_scrub_json(&result) : NULL;
}

static json_t *check_here(struct bd_store *store, struct work *work, int *ret_rc)
{
	struct bd_check_result result;
	*ret_rc = bd_store_check_objects(store, work->deep, show_progress, show_finding, work, &result, work->message, sizeof(work->message));
	return *ret_rc == 0 ? store_check_json(&result) : NULL;
}

static int on_store(const char *path, bool read_only, json_t *(*here)(struct bd_store *store, struct work *work, int *ret_rc),
		    struct work *work, json_t **ret_result)
{
	const struct bd_open_options options = {.read_only = read_only, .no_background = true};
	struct bd_store *store;
	char message[512];
	int rc = bd_store_open(path, &options, &store, message, sizeof(message));
	if (rc != 0)
		return tl_fail("%s", message);
	json_t *result = here(store, work, &rc);
	tl_progress_end(&work->progress);
	int close_rc = bd_store_close(store);
	if (rc == 0)
		rc = close_rc;
	if (rc == 0 && result == NULL)
		rc = -ENOMEM;
	if (rc != 0) {
		json_decref(result);
		return tl_fail("the work could not be finished: %s", work->message[0] != '\0' ? work->message : strerror(-rc));
	}
	*ret_result = result;
	return TL_OK;
}

/* -------------------------------------------------------------- commands */

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void print_json(json_t *result)
{
	json_dumpf(result, stdout, JSON_INDENT(2));
	putchar('\n');
}

static int run_work(const struct tl_call *call, const char *op, bool read_only,
		    json_t *(*here)(struct bd_store *store, struct work *work, int *ret_rc), json_t **ret_result)
{
	struct work work = {.deep = call->command->run == run_scrub && tl_flag(call, "deep")};
	struct tl_client *client;
	char message[TL_MESSAGE_MAX];
	int code;
	tl_progress_start(&work.progress, call->command->name);
	work.findings = tl_flag(call, "json") ? json_array() : NULL;
	int rc = tl_client_open(call->args[0], &client, message);
	if (rc == 0) {
		code = through_daemon(client, op, &work, ret_result);
		tl_client_close(client);
	} else if (rc == -ENOTCONN) {
		code = on_store(call->args[0], read_only, here, &work, ret_result);
	} else {
		code = tl_fail("%s", message);
	}
	if (code == TL_OK && work.findings != NULL)
		json_object_set(*ret_result, "findings", work.findings);
	json_decref(work.findings);
	return code;
}

int run_gc(const struct tl_call *call)
{
	json_t *result = NULL;
	char freed[TL_NUMBER_MAX], copied[TL_NUMBER_MAX];
	int code = run_work(call, "store.gc", false, gc_here, &result);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json"))
		print_json(result);
	else
		printf("freed %s in %llu extents, dropped %llu versions, moved %s\n",
		       tl_bytes(freed, number(result, "bytes_freed")), (unsigned long long)number(result, "extents_freed"),
		       (unsigned long long)number(result, "versions_dropped"), tl_bytes(copied, number(result, "bytes_copied")));
	if (number(result, "layers") > 0)
		tl_warn("redo layers (%llu) keep what lies below them until all their pages are made, which the daemon does in the "
			"background from a minute after a mount on; \"neonfs status\" shows how many are left",
			(unsigned long long)number(result, "layers"));
	json_decref(result);
	return TL_OK;
}

static int run_rebuild(const struct tl_call *call)
{
	struct work work = {0};
	struct tl_client *client;
	char message[TL_MESSAGE_MAX];
	int rc = tl_client_open(call->args[0], &client, message);
	if (rc == 0) {
		tl_client_close(client);
		return tl_fail("the store is mounted; unmount it with \"neonfs umount\" before its index is made again");
	}
	if (rc != -ENOTCONN)
		return tl_fail("%s", message);
	if (!store_path_is_store(call->args[0]))
		return tl_fail("not a neonfs store (no superblock); check the path");
	tl_progress_start(&work.progress, "rebuild");
	rc = bd_store_rebuild(call->args[0], show_progress, &work, message, sizeof(message));
	tl_progress_end(&work.progress);
	return rc == 0 ? TL_OK : tl_fail("%s", message);
}

static int report_scrub(const struct tl_call *call, json_t *result)
{
	char bytes[TL_NUMBER_MAX];
	uint64_t bad_blocks = number(result, "bad_blocks"), bad_keys = number(result, "bad_keys");
	uint64_t orphans = number(result, "orphan_keys"), counters = number(result, "counters_corrected");
	if (tl_flag(call, "json"))
		print_json(result);
	else
		printf("verified %llu blocks (%s) and %llu index keys\n", (unsigned long long)number(result, "blocks_checked"),
		       tl_bytes(bytes, number(result, "bytes_checked")),
		       (unsigned long long)number(result, "index_keys_checked"));
	if (counters > 0 && !tl_flag(call, "json"))
		printf("corrected the collector's count of live blocks in %llu extents (no damage)\n",
		       (unsigned long long)counters);
	if (bad_blocks + bad_keys + orphans == 0)
		return TL_OK;
	return tl_fail(
		"damage found: %llu bad blocks, %llu bad keys, %llu orphan keys; a bad index can be made again with --rebuild, a bad "
		"block comes back from a backup only",
		(unsigned long long)bad_blocks, (unsigned long long)bad_keys, (unsigned long long)orphans);
}

static int report_check(const struct tl_call *call, json_t *result)
{
	char bytes[TL_NUMBER_MAX], verified[TL_NUMBER_MAX], orphans[TL_NUMBER_MAX];
	uint64_t missing = number(result, "missing"), damaged = number(result, "damaged");
	if (tl_flag(call, "json")) {
		print_json(result);
	} else {
		printf("%llu objects (%s), %s of them read and verified\n", (unsigned long long)number(result, "objects"),
		       tl_bytes(bytes, number(result, "bytes")), tl_bytes(verified, number(result, "verified_bytes")));
		if (number(result, "orphans") > 0)
			printf("%llu objects (%s) that nothing refers to (no damage)\n", (unsigned long long)number(result, "orphans"),
			       tl_bytes(orphans, number(result, "orphan_bytes")));
	}
	if (missing + damaged == 0)
		return TL_OK;
	return tl_fail("damage found: %llu objects are missing, %llu damaged", (unsigned long long)missing, (unsigned long long)damaged);
}

static int run_check(const struct tl_call *call)
{
	json_t *result = NULL;
	if (tl_flag(call, "rebuild"))
		return tl_usage("--rebuild is about the index here, --object-store about what is there; leave one of them out");
	int code = run_work(call, "store.check", true, check_here, &result);
	if (code == TL_OK)
		code = report_check(call, result);
	json_decref(result);
	return code;
}

int run_scrub(const struct tl_call *call)
{
	json_t *result = NULL;
	if (tl_flag(call, "object-store"))
		return run_check(call);
	if (tl_flag(call, "deep"))
		return tl_usage("--deep is about objects; give --object-store with it");
	int code = tl_flag(call, "rebuild") ? run_rebuild(call) : TL_OK;
	if (code == TL_OK)
		code = run_work(call, "store.scrub", true, scrub_here, &result);
	if (code == TL_OK)
		code = report_scrub(call, result);
	json_decref(result);
	return code;
}
