/* neonfs-branch point and recover. */
#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"

static int ask_point(const struct tl_call *call, const char *point)
{
	json_t *result;
	int code = branch_request_long(call, "branch.point",
				       json_pack("{s:o, s:o, s:b}", "name", branch_word(call->args[0]), "point",
						 branch_word(point), "round", (int)tl_flag(call, "round")),
				       &result);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json"))
		branch_print_json(result);
	else
		printf("%s\n", branch_text(result, "lsn"));
	json_decref(result);
	return TL_OK;
}

int run_point(const struct tl_call *call)
{
	const char *time = tl_value(call, "time"), *at = tl_value(call, "at");
	char point[256];
	if ((time == NULL) == (at == NULL))
		return tl_usage("which point? Name it with --time TIME, or with --at POINT");
	if (at != NULL)
		return ask_point(call, at);
	if (snprintf(point, sizeof(point), "time:%s", time) >= (int)sizeof(point))
		return tl_usage("--time: that is too long for a time");
	return ask_point(call, point);
}

static void print_recovered(const json_t *result)
{
	if (!json_is_true(json_object_get(result, "recovered"))) {
		printf("Nothing to do: it was shut down\n");
		return;
	}
	branch_say_replay(result);
	printf("Recovered %s to %s: Postgres can be started; what was there before is %s@%s\n", branch_text(result, "name"),
	       branch_text(result, "lsn"), branch_text(result, "name"), branch_text(result, "snapshot"));
}

int run_recover(const struct tl_call *call)
{
	json_t *result;
	int code = branch_request_long(call, "branch.recover", json_pack("{s:o}", "name", branch_word(call->args[0])), &result);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json"))
		branch_print_json(result);
	else
		print_recovered(result);
	json_decref(result);
	return TL_OK;
}
