/* Which store is meant, and one request to its daemon. See branch.h. */
#include "tools/neonfs-branch/branch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/lib/progress.h"
#include "tools/lib/store.h"

int branch_connect(const struct tl_call *call, struct tl_client **ret_client)
{
	char store[PATH_MAX], message[TL_MESSAGE_MAX];
	int code = tl_store_choose(tl_value(call, "store"), store);
	if (code != TL_OK)
		return code;
	return tl_client_open(store, ret_client, message) == 0 ? TL_OK : tl_fail("%s", message);
}

/* Print the error, or hand over the result. An exit code. */
static int take(int rc, struct tl_answer *answer, json_t **ret_result)
{
	if (rc != 0 || !answer->ok)
		return strcmp(answer->code, TL_CODE_USAGE) == 0 ? tl_usage("%s", answer->message)
								: tl_fail("%s", answer->message);
	json_object_set_new(answer->result, "daemon_us", json_integer((json_int_t)answer->daemon_us));
	if (branch_text(answer->result, "note")[0] != '\0')
		tl_warn("%s", branch_text(answer->result, "note"));
	if (ret_result != NULL)
		*ret_result = json_incref(answer->result);
	tl_answer_free(answer);
	return TL_OK;
}

int branch_ask(struct tl_client *client, const char *op, json_t *args, const struct tl_events *events, json_t **ret_result)
{
	struct tl_answer answer;
	return take(tl_client_call(client, op, args, events, &answer), &answer, ret_result);
}

int branch_request(const struct tl_call *call, const char *op, json_t *args, json_t **ret_result)
{
	struct tl_client *client;
	int code = branch_connect(call, &client);
	if (code != TL_OK) {
		json_decref(args);
		return code;
	}
	code = branch_ask(client, op, args, NULL, ret_result);
	tl_client_close(client);
	return code;
}

static void draw(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	tl_progress_update(arg, phase, done, total);
}

int branch_request_long(const struct tl_call *call, const char *op, json_t *args, json_t **ret_result)
{
	struct tl_client *client;
	struct tl_progress progress;
	const struct tl_events events = {.progress = draw, .arg = &progress};
	int code = branch_connect(call, &client);
	if (code != TL_OK) {
		json_decref(args);
		return code;
	}
	tl_progress_start(&progress, call->command->name);
	struct tl_answer answer;
	int rc = tl_client_call(client, op, args, &events, &answer);
	tl_progress_end(&progress);
	code = take(rc, &answer, ret_result);
	tl_client_close(client);
	return code;
}

void branch_say_replay(const json_t *result)
{
	const json_t *replayed = json_object_get(result, "replayed");
	const char *fallback = branch_text(result, "fallback"), *warning = branch_text(result, "warning");
	char bytes[TL_NUMBER_MAX];
	if (fallback[0] != '\0')
		tl_warn("%s: Postgres itself will replay when it is started on the branch", fallback);
	if (warning[0] != '\0')
		tl_warn("%s", warning);
	if (!tl_is_terminal())
		return;
	if (replayed != NULL)
		printf("Replayed %s of WAL in %.1f s, up to %s\n",
		       tl_bytes_human(bytes, (uint64_t)branch_number(replayed, "bytes")),
		       json_number_value(json_object_get(replayed, "seconds")), branch_text(replayed, "end"));
	else if (strcmp(branch_text(result, "recovery"), "postgres") == 0)
		printf("Postgres will replay up to %s when it is started on it\n", branch_text(result, "lsn"));
}

json_t *branch_word(const char *word)
{
	return tl_json_text(word);
}

const char *branch_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

int64_t branch_number(const json_t *object, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(object, key));
}

void branch_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}
