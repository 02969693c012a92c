/* neonfs-branch diff --pages: the relations in which two points differ. */
#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"

#define PART_MAX 260 /* room for an escaped name */
#define NAME_MAX_BYTES (3 * PART_MAX + 4) /* for one with database and schema */

static void keep_item(void *arg, const json_t *item)
{
	json_array_append_new(arg, json_deep_copy(item));
}

/* "shop: public.orders"; "?" for what is not known. Relations of global/ belong to no database. */
static void relation_text(const json_t *relation, char buf[NAME_MAX_BYTES])
{
	const char *database = branch_text(relation, "database"), *schema = branch_text(relation, "schema");
	char part[3][PART_MAX];
	bool is_shared = strncmp(branch_text(relation, "path"), "global/", strlen("global/")) == 0;
	tl_escape(part[0], sizeof(part[0]), database[0] != '\0' ? database : "?");
	tl_escape(part[1], sizeof(part[1]), schema);
	tl_escape(part[2], sizeof(part[2]), branch_text(relation, "name"));
	snprintf(buf, NAME_MAX_BYTES, "%s%s%s%s%s", is_shared ? "" : part[0], is_shared ? "" : ": ",
		 schema[0] != '\0' ? part[1] : "?", schema[0] != '\0' ? "." : "", part[2]);
}

static const char *size_text(const json_t *relation, const char *key, const char *absent_kind, char *buf)
{
	return strcmp(branch_text(relation, "kind"), absent_kind) == 0 ? "-"
								       : tl_bytes(buf, (uint64_t)branch_number(relation, key));
}

static void print_relations(const json_t *relations)
{
	size_t index, width = strlen("RELATION");
	const json_t *relation;
	char name[NAME_MAX_BYTES], a[TL_NUMBER_MAX], b[TL_NUMBER_MAX];
	if (json_array_size(relations) == 0)
		return;
	json_array_foreach(relations, index, relation)
	{
		relation_text(relation, name);
		width = NF_MAX(width, strlen(name));
	}
	printf("%10s  %12s  %12s  %-*s  %s\n", "BLOCKS", "SIZE IN A", "SIZE IN B", (int)width, "RELATION", "FILE");
	json_array_foreach(relations, index, relation)
	{
		relation_text(relation, name);
		printf("%10lld  %12s  %12s  %-*s  %s\n", (long long)branch_number(relation, "blocks"),
		       size_text(relation, "bytes_a", "added", a), size_text(relation, "bytes_b", "removed", b), (int)width, name,
		       branch_text(relation, "path"));
	}
}

static void print_total(const json_t *result)
{
	long long count = (long long)branch_number(result, "count"), blocks = (long long)branch_number(result, "blocks");
	const json_t *other = json_object_get(result, "other_files");
	printf("%lld relation%s in %lld block%s of 8 KiB", count, count == 1 ? "" : "s", blocks, blocks == 1 ? "" : "s");
	if (json_is_integer(other))
		printf("; %lld other file%s", (long long)json_integer_value(other), json_integer_value(other) == 1 ? "" : "s");
	if (json_is_true(json_object_get(result, "by_records")))
		printf("; blocks that a WAL record touches count as different");
	putchar('\n');
}

int run_diff_pages(const struct tl_call *call)
{
	struct tl_client *client;
	json_t *result, *relations = json_array();
	const struct tl_events events = {.item = keep_item, .arg = relations};
	int code = branch_connect(call, &client);
	if (code == TL_OK) {
		code = branch_ask(client, "branch.diff",
				  json_pack("{s:o, s:o, s:b, s:b}", "a", branch_word(call->args[0]), "b",
					    branch_word(call->args[1]), "pages", 1, "round", (int)tl_flag(call, "round")),
				  &events, &result);
		tl_client_close(client);
	}
	if (code == TL_OK && tl_flag(call, "json")) {
		json_object_set(result, "relations", relations);
		branch_print_json(result);
	} else if (code == TL_OK) {
		print_relations(relations);
		print_total(result);
	}
	if (code == TL_OK)
		json_decref(result);
	json_decref(relations);
	return code;
}
