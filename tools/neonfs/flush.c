/* neonfs flush: wait until everything is in the object store; through the daemon when the store is mounted, and else by itself. */
#include <stdio.h>
#include <string.h>

#include "blockdev/tier/status.h"
#include "tools/lib/client.h"
#include "tools/lib/format.h"
#include "tools/lib/progress.h"
#include "tools/neonfs/commands.h"

#define WAIT_MAX_S (UINT32_MAX / 1000)

static void on_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	tl_progress_update(arg, phase, done, total);
}

static int show_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	on_progress(arg, phase, done, total);
	return 0;
}

static int flush_mounted(struct tl_client *client, uint32_t wait_ms, struct tl_progress *progress)
{
	const struct tl_events events = {.progress = on_progress, .arg = progress};
	struct tl_answer answer = {0};
	int rc = tl_client_call(client, "store.flush", json_pack("{s:I}", "wait_ms", (json_int_t)wait_ms), &events, &answer);
	tl_progress_end(progress);
	int code = rc == 0 && answer.ok ? TL_OK : tl_fail("%s", answer.message);
	tl_answer_free(&answer);
	return code;
}

static int flush_unmounted(const char *path, uint32_t wait_ms, struct tl_progress *progress)
{
	const struct bd_open_options options = {0};
	struct bd_store *store;
	char message[512];
	int rc = bd_store_open(path, &options, &store, message, sizeof(message));
	if (rc != 0)
		return tl_fail("%s", message);
	rc = bd_store_flush(store, wait_ms, show_progress, progress, message, sizeof(message));
	tl_progress_end(progress);
	int close_rc = bd_store_close(store);
	if (rc != 0)
		return tl_fail("not everything is in the object store: %s", message);
	return close_rc == 0 ? TL_OK : tl_fail("the store could not be closed: %s", strerror(-close_rc));
}

int run_flush(const struct tl_call *call)
{
	struct tl_progress progress;
	struct tl_client *client;
	const char *wait = tl_value(call, "wait");
	char message[TL_MESSAGE_MAX];
	uint64_t seconds = 0;
	if (wait != NULL && (tl_parse_duration(wait, &seconds) != 0 || seconds == 0 || seconds > WAIT_MAX_S))
		return tl_usage("--wait \"%s\" is no such time; write one like 90s or 5m", wait);
	tl_progress_start(&progress, "flush");
	int rc = tl_client_open(call->args[0], &client, message);
	if (rc == -ENOTCONN)
		return flush_unmounted(call->args[0], (uint32_t)seconds * 1000, &progress);
	if (rc != 0)
		return tl_fail("%s", message);
	int code = flush_mounted(client, (uint32_t)seconds * 1000, &progress);
	tl_client_close(client);
	return code;
}
