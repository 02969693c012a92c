/* neonfs-branch diff: the files in which two points differ. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"

static void print_item(void *arg, const json_t *item)
{
	const char *kind = branch_text(item, "kind");
	long long blocks = (long long)branch_number(item, "blocks");
	char path[PATH_MAX];
	(void)arg;
	tl_escape(path, sizeof(path), branch_text(item, "path"));
	printf("%-8s %s", kind, path);
	if (strcmp(kind, "changed") == 0)
		printf("  (%lld block%s)", blocks, blocks == 1 ? "" : "s");
	putchar('\n');
}

static void keep_item(void *arg, const json_t *item)
{
	json_array_append_new(arg, json_deep_copy(item));
}

static void print_summary(const json_t *result)
{
	printf("%lld added, %lld removed, %lld changed (%lld blocks of 8 KiB), %lld with other attributes only\n",
	       (long long)branch_number(result, "added"), (long long)branch_number(result, "removed"),
	       (long long)branch_number(result, "changed"), (long long)branch_number(result, "blocks"),
	       (long long)branch_number(result, "meta"));
}

static int diff_files(const struct tl_call *call)
{
	struct tl_client *client;
	json_t *result, *items = tl_flag(call, "json") ? json_array() : NULL;
	const struct tl_events events = {.item = items != NULL ? keep_item : print_item, .arg = items};
	int code = branch_connect(call, &client);
	if (code == TL_OK) {
		code = branch_ask(client, "branch.diff",
				  json_pack("{s:o, s:o}", "a", branch_word(call->args[0]), "b", branch_word(call->args[1])),
				  &events, &result);
		tl_client_close(client);
	}
	if (code == TL_OK && items != NULL) {
		json_object_set(result, "changes", items);
		branch_print_json(result);
	} else if (code == TL_OK && tl_is_terminal()) {
		print_summary(result);
	}
	if (code == TL_OK)
		json_decref(result);
	json_decref(items);
	return code;
}

int run_diff(const struct tl_call *call)
{
	if (tl_flag(call, "pages"))
		return run_diff_pages(call);
	if (tl_flag(call, "round"))
		return tl_usage("--round wants --pages: files are compared between branches and snapshots");
	return diff_files(call);
}
