/* neonfs status: what a store holds and how it does, from its daemon or, when it is not mounted, from itself. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/bd.h"
#include "tools/lib/client.h"
#include "tools/lib/format.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/daemon.h"
#include "tools/neonfs/store_json.h"

/* A daemon that ends while it is asked: once more, now to the store itself. */
#define FETCH_TRIES 20
#define FETCH_PAUSE_NS 50000000

/* What a daemon that did not end properly has left. NULL when there is none. */
static json_t *load_record(const char *store)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", store, DAEMON_RECORD) >= (int)sizeof(path))
		return NULL;
	return json_load_file(path, 0, NULL);
}

static int status_unmounted(const char *store, json_t **ret_status)
{
	const struct bd_open_options options = {.read_only = true, .no_background = true};
	struct bd_status *status = calloc(1, sizeof(*status));
	struct bd_store *opened;
	char message[512], absolute[PATH_MAX];
	if (status == NULL)
		return tl_fail("out of memory");
	int rc = bd_store_open(store, &options, &opened, message, sizeof(message));
	if (rc != 0) {
		free(status);
		return tl_fail("%s", message);
	}
	rc = bd_store_status(opened, status);
	json_t *tier = store_tier_json(opened);
	int close_rc = bd_store_close(opened);
	if (rc == 0 && close_rc == 0) {
		const char *path = realpath(store, absolute) != NULL ? absolute : store;
		*ret_status = json_pack("{s:o, s:b, s:s, s:o*, s:o, s:o*}", "store", tl_json_text(path), "mounted", 0, "version",
					NEONFS_VERSION, "last_mount", load_record(store), "facts", store_status_json(status), "tier", tier);
		tier = NULL;
		rc = *ret_status != NULL ? 0 : -ENOMEM;
	}
	json_decref(tier);
	free(status);
	return rc == 0 && close_rc == 0 ? TL_OK : tl_fail("cannot read the store: %s", strerror(rc != 0 ? -rc : -close_rc));
}

/* Sets ret_retry instead of failing when the daemon ends in this moment. */
static int status_mounted(struct tl_client *client, bool is_last_try, bool *ret_retry, json_t **ret_status)
{
	struct tl_answer answer;
	int rc = tl_client_call(client, "store.status", NULL, NULL, &answer);
	*ret_retry = rc != 0 && !is_last_try;
	if (*ret_retry)
		return TL_FAILED;
	if (rc != 0 || !answer.ok)
		return tl_fail("%s", answer.message);
	*ret_status = answer.result;
	return TL_OK;
}

/* ----------------------------------------------------------------- print */

static uint64_t fact(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));
	return value != NULL ? value : "?";
}

/* On a pipe as plain bytes, and that they are bytes is said. */
static void print_bytes(const char *label, const json_t *facts, const char *key)
{
	char number[TL_NUMBER_MAX];
	printf("%-14s %s%s\n", label, tl_bytes(number, fact(facts, key)), tl_is_terminal() ? "" : " bytes");
}

static void print_number(const char *label, const json_t *facts, const char *key)
{
	printf("%-14s %llu\n", label, (unsigned long long)fact(facts, key));
}

static void print_mount(const json_t *status)
{
	const json_t *mount = json_object_get(status, "mount"), *last = json_object_get(status, "last_mount");
	char shown[PATH_MAX];
	if (mount != NULL) {
		tl_escape(shown, sizeof(shown), text(mount, "mountpoint"));
		printf("%-14s at %s, process %llu, cache %s, transport %s\n", "mounted", shown,
		       (unsigned long long)fact(mount, "pid"), text(mount, "cache"), text(mount, "transport"));
		print_number("open files", mount, "open_handles");
		return;
	}
	printf("%-14s no\n", "mounted");
	if (last != NULL) {
		tl_escape(shown, sizeof(shown), text(last, "mountpoint"));
		printf("%-14s its daemon (process %llu, mounted at %s) died; the next mount recovers what was written\n", "note",
		       (unsigned long long)fact(last, "pid"), shown);
	}
}

/* What it means that there is no room, and what to do. */
static void print_full(const char *store, const char *what)
{
	if (strcmp(what, "disk") == 0) {
		printf("%-14s FULL: the disk has only what is kept free for recovery and the collector; writes fail\n", "state");
		printf("%-14s delete branches, snapshots or files, then \"neonfs gc %s\"; or make room on the disk\n", "to do", store);
	} else {
		printf("%-14s FULL: the size limit is reached; writes fail\n", "state");
		printf("%-14s delete branches, snapshots or files, then \"neonfs gc %s\"; or raise the limit with \"neonfs set %s "
		       "--size-limit BYTES\"\n",
		       "to do", store, store);
	}
}

static void print_safe(const json_t *tier)
{
	const json_t *safe = json_object_get(tier, "safe_ns");
	char unsafe[TL_NUMBER_MAX], age[TL_NUMBER_MAX];
	if (json_is_integer(safe))
		printf("%-14s all that was synced until %s; %s since then\n", "safe there", tl_age(age, json_integer_value(safe)),
		       tl_bytes(unsafe, fact(tier, "unsafe_bytes")));
	else if (json_object_get(tier, "lease") != NULL)
		printf("%-14s nothing yet; %s are to go\n", "safe there", tl_bytes(unsafe, fact(tier, "unsafe_bytes")));
	if (fact(tier, "waiting_extents") > 0)
		printf("%-14s %llu extents, %s\n", "to upload", (unsigned long long)fact(tier, "waiting_extents"),
		       tl_bytes(unsafe, fact(tier, "waiting_bytes")));
}

static void print_local(const json_t *tier)
{
	char local[TL_NUMBER_MAX], limit[TL_NUMBER_MAX];
	if (fact(tier, "local_limit_bytes") > 0)
		printf("%-14s %s of at most %s\n", "here", tl_bytes(local, fact(tier, "local_bytes")),
		       tl_bytes(limit, fact(tier, "local_limit_bytes")));
	else
		print_bytes("here", tier, "local_bytes");
	if (fact(tier, "extents_cold") > 0)
		printf("%-14s %llu extents are there only; %s of them kept here\n", "cold", (unsigned long long)fact(tier, "extents_cold"),
		       tl_bytes(local, fact(tier, "cached_bytes")));
	if (fact(tier, "waiting_reads") > 0)
		print_number("waiting reads", tier, "waiting_reads");
}

static void print_tier(const json_t *tier)
{
	const json_t *lease = json_object_get(tier, "lease");
	const char *error = json_string_value(json_object_get(tier, "upload_error")), *trouble = json_string_value(json_object_get(tier, "trouble"));
	char shown[PATH_MAX];
	tl_escape(shown, sizeof(shown), text(tier, "url"));
	printf("%-14s %s%s\n", "object store", shown, json_is_true(json_object_get(tier, "read_only")) ? " (attached read-only)" : "");
	print_safe(tier);
	print_local(tier);
	if (lease != NULL)
		printf("%-14s %s (generation %llu)\n", "lease", text(lease, "state"), (unsigned long long)fact(tier, "generation"));
	if (lease != NULL && json_object_get(lease, "error") != NULL)
		printf("%-14s %s\n", "lease error", text(lease, "error"));
	if (error != NULL)
		printf("%-14s %s\n", "upload error", error);
	if (trouble != NULL)
		printf("%-14s %s\n", "tried again", trouble);
}

static void print_status(const json_t *status)
{
	const json_t *tier = json_object_get(status, "tier");
	const json_t *facts = json_object_get(status, "facts");
	const char *error = json_string_value(json_object_get(facts, "error"));
	char shown[PATH_MAX];
	tl_escape(shown, sizeof(shown), text(status, "store"));
	printf("%-14s %s (format %llu)\n", "store", shown, (unsigned long long)fact(facts, "format_version"));
	print_mount(status);
	if (error != NULL)
		printf("%-14s READ-ONLY: %s\n", "state", error);
	if (json_object_get(facts, "full") != NULL)
		print_full(shown, text(facts, "full"));
	print_number("branches", facts, "branches");
	print_number("snapshots", facts, "snapshots");
	if (fact(facts, "layers") > 0)
		printf("%-14s %llu (pages still made when they are read; %llu blocks made since the start)\n", "redo layers",
		       (unsigned long long)fact(facts, "layers"), (unsigned long long)fact(facts, "made_blocks"));
	if (fact(facts, "size_limit_bytes") > 0)
		print_bytes("size limit", facts, "size_limit_bytes");
	print_bytes("data", facts, "extent_bytes");
	print_bytes("of it live", facts, "live_bytes");
	if (fact(facts, "spare_bytes") > 0)
		print_bytes("kept for reuse", facts, "spare_bytes");
	print_bytes("log", facts, "log_bytes");
	print_bytes("index", facts, "index_bytes");
	print_bytes("free", facts, "free_bytes");
	print_bytes("memory", facts, "memory_bytes");
	print_bytes("memory limit", facts, "memory_limit_bytes");
	if (tier != NULL)
		print_tier(tier);
}

static int fetch_once(const char *store, bool is_last_try, bool *ret_retry, json_t **ret_status)
{
	struct tl_client *client;
	char message[TL_MESSAGE_MAX];
	*ret_retry = false;
	int rc = tl_client_open(store, &client, message);
	if (rc == -ENOTCONN)
		return status_unmounted(store, ret_status);
	if (rc != 0)
		return tl_fail("%s", message);
	int code = status_mounted(client, is_last_try, ret_retry, ret_status);
	tl_client_close(client);
	return code;
}

static int fetch(const char *store, json_t **ret_status)
{
	bool again = true;
	int code = TL_FAILED;
	for (unsigned tries = 1; again && tries <= FETCH_TRIES; tries++) {
		code = fetch_once(store, tries == FETCH_TRIES, &again, ret_status);
		if (again)
			nanosleep(&(struct timespec){.tv_nsec = FETCH_PAUSE_NS}, NULL);
	}
	return code;
}

int run_status(const struct tl_call *call)
{
	json_t *status = NULL;
	int code = fetch(call->args[0], &status);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json")) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_status(status);
	}
	json_decref(status);
	return TL_OK;
}
