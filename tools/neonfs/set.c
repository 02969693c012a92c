/* neonfs set: change what a store was made with; in its daemon while it is mounted, in the store itself otherwise. */
#include <stdio.h>
#include <string.h>

#include "blockdev/bd.h"
#include "tools/lib/client.h"
#include "tools/lib/format.h"
#include "tools/neonfs/commands.h"
#include "tools/neonfs/store_limit.h"

static int in_daemon(struct tl_client *client, uint64_t bytes)
{
	struct tl_answer answer;
	int rc = tl_client_call(client, "store.limit", json_pack("{s:I}", "bytes", (json_int_t)bytes), NULL, &answer);
	if (rc != 0 || !answer.ok)
		return tl_fail("%s", answer.message);
	tl_answer_free(&answer);
	return TL_OK;
}

static int in_store(const char *path, uint64_t bytes)
{
	const struct bd_open_options options = {.no_background = true};
	struct bd_store *store;
	char message[512];
	if (bd_store_open(path, &options, &store, message, sizeof(message)) != 0)
		return tl_fail("%s", message);
	int rc = store_limit_set(store, bytes, message), close_rc = bd_store_close(store);
	if (rc != 0)
		return tl_fail("%s", message);
	return close_rc == 0
		       ? TL_OK
		       : tl_fail("the limit is changed, but the store could not be closed well: %s; the next mount recovers it",
				 strerror(-close_rc));
}

static int set_limit(const char *path, uint64_t bytes)
{
	struct tl_client *client;
	char message[TL_MESSAGE_MAX];
	int rc = tl_client_open(path, &client, message);
	if (rc == -ENOTCONN)
		return in_store(path, bytes);
	if (rc != 0)
		return tl_fail("%s", message);
	int code = in_daemon(client, bytes);
	tl_client_close(client);
	return code;
}

int run_set(const struct tl_call *call)
{
	const char *limit = tl_value(call, "size-limit");
	uint64_t bytes = 0;
	if (limit == NULL)
		return tl_usage("what is to be set? Name it: --size-limit BYTES");
	bool is_none = strcmp(limit, "none") == 0;
	if (!is_none && tl_parse_bytes(limit, &bytes) != 0)
		return tl_usage("--size-limit \"%s\" is no size; write one like 10737418240, 10G or 1.5T, or none", limit);
	if (!is_none && bytes < STORE_LIMIT_MIN)
		return tl_usage("--size-limit %s is too small; a store needs at least 256M", limit);
	if (!is_none && bytes > INT64_MAX)
		return tl_usage("--size-limit %s is more than there can be; for no limit write none", limit);
	int code = set_limit(call->args[0], bytes);
	if (code == TL_OK && tl_is_terminal() && is_none)
		printf("Store %s has no size limit now\n", call->args[0]);
	else if (code == TL_OK && tl_is_terminal())
		printf("Store %s takes at most %s now\n", call->args[0], limit);
	return code;
}
