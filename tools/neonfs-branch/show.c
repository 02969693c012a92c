/* neonfs-branch list, show and log: what there is. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"

/* " at POINT = LSN" of what says at which point a branch was made; "" for a copy of what its parent was then. */
static const char *point_of(const json_t *made, char *buf, size_t size)
{
	char point[256];
	const char *lsn = branch_text(made, "lsn");
	tl_escape(point, sizeof(point), branch_text(made, "point"));
	bool is_same = strcmp(point, lsn) == 0;
	if (point[0] == '\0' && lsn[0] == '\0')
		snprintf(buf, size, "%s", "");
	else if (point[0] == '\0')
		snprintf(buf, size, " as it was then, recovered to %s", lsn);
	else
		snprintf(buf, size, " at %s%s%s", point, lsn[0] != '\0' && !is_same ? " = " : "", is_same ? "" : lsn);
	return buf;
}

/* --------------------------------------------------------------- list */

static const char *parent_of(const json_t *branch)
{
	const char *parent = branch_text(branch, "parent");
	return parent[0] != '\0' ? parent : "-";
}

static const char *notes_of(const json_t *branch, char *buf, size_t size)
{
	long long in_use = (long long)branch_number(branch, "in_use");
	bool is_protected = json_is_true(json_object_get(branch, "protected"));
	buf[0] = '\0';
	if (in_use > 0)
		snprintf(buf, size, "%lld open file%s", in_use, in_use == 1 ? "" : "s");
	if (is_protected)
		snprintf(buf + strlen(buf), size - strlen(buf), "%sprotected", in_use > 0 ? ", " : "");
	return buf;
}

static int column_width(const json_t *branches, const char *key, const char *title)
{
	size_t index, width = strlen(title);
	json_t *branch;
	json_array_foreach(branches, index, branch) width = NF_MAX(width, strlen(branch_text(branch, key)));
	return (int)width;
}

static void print_list(const json_t *branches)
{
	int names = column_width(branches, "name", "NAME"), parents = column_width(branches, "parent", "PARENT");
	size_t index;
	json_t *branch;
	char notes[64], created[TL_NUMBER_MAX];
	if (tl_is_terminal() && json_array_size(branches) == 0) {
		printf("No branches yet. Make one: neonfs-branch init main\n");
		return;
	}
	printf("%-*s  %-*s  %-20s  %9s  %8s  %s\n", names, "NAME", parents, "PARENT", "CREATED", "SNAPSHOTS", "CHILDREN",
	       "NOTES");
	json_array_foreach(branches, index, branch)
		printf("%-*s  %-*s  %-20s  %9lld  %8lld  %s\n", names, branch_text(branch, "name"), parents, parent_of(branch),
		       tl_age(created, branch_number(branch, "created_ns")), (long long)branch_number(branch, "snapshots"),
		       (long long)branch_number(branch, "children"), notes_of(branch, notes, sizeof(notes)));
}

int run_list(const struct tl_call *call)
{
	json_t *result;
	json_t *args = tl_flag(call, "json") ? json_pack("{s:b}", "points", 1) : NULL;
	int code = branch_request(call, "branch.list", args, &result);
	if (code != TL_OK)
		return code;
	const json_t *branches = json_object_get(result, "branches");
	if (tl_flag(call, "json"))
		branch_print_json(branches);
	else
		print_list(branches);
	json_decref(result);
	return TL_OK;
}

/* --------------------------------------------------------------- show */

static bool is_automatic(const json_t *snapshot)
{
	return strncmp(branch_text(snapshot, "label"), "auto-", 5) == 0;
}

/* Those that history makes are too many to be read: their number is told. */
static void print_snapshots(const json_t *snapshots)
{
	char time_text[TL_NUMBER_MAX];
	size_t index, automatic = 0;
	json_t *one;
	json_array_foreach(snapshots, index, one) automatic += is_automatic(one);
	printf("%-10s %zu", "snapshots", json_array_size(snapshots));
	if (automatic > 0)
		printf(", %zu of them made by history", automatic);
	printf("\n");
	json_array_foreach(snapshots, index, one)
	{
		if (!is_automatic(one))
			printf("           %s  (%s)\n", branch_text(one, "label"), tl_age(time_text, branch_number(one, "created_ns")));
	}
}

static void print_show(const json_t *branch)
{
	const json_t *snapshots = json_object_get(branch, "snapshot_list"), *children = json_object_get(branch, "child_list");
	const json_t *made = json_object_get(branch, "made_of");
	char path[PATH_MAX], point[512];
	size_t index;
	json_t *one;
	tl_escape(path, sizeof(path), branch_text(branch, "path"));
	printf("%-10s %s\n", "branch", branch_text(branch, "name"));
	printf("%-10s %s\n", "path", path);
	printf("%-10s %s\n", "parent", parent_of(branch));
	printf("%-10s %s", "created", branch_text(branch, "created"));
	if (json_is_object(made))
		printf(" of %s%s", branch_text(made, "branch"), point_of(made, point, sizeof(point)));
	printf("\n");
	printf("%-10s %s\n", "protected", json_is_true(json_object_get(branch, "protected")) ? "yes" : "no");
	printf("%-10s %lld open files\n", "in use", (long long)branch_number(branch, "in_use"));
	print_snapshots(snapshots);
	printf("%-10s %zu\n", "children", json_array_size(children));
	json_array_foreach(children, index, one) printf("           %s\n", json_string_value(one));
	if (branch_number(branch, "layers") > 0)
		printf("%-10s %lld (pages that are made when they are read, until the background has made them all)\n", "layers",
		       (long long)branch_number(branch, "layers"));
	print_history(json_object_get(branch, "history"));
}

int run_show(const struct tl_call *call)
{
	json_t *result;
	int code = branch_request(call, "branch.show", json_pack("{s:o}", "name", branch_word(call->args[0])), &result);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json"))
		branch_print_json(result);
	else
		print_show(result);
	json_decref(result);
	return TL_OK;
}

/* ---------------------------------------------------------------- log */

static void print_event(const json_t *event)
{
	const char *kind = branch_text(event, "kind"), *name = branch_text(event, "name"), *branch = branch_text(event, "branch");
	char shown[256], point[512];
	tl_escape(shown, sizeof(shown), name); /* a restore point may be called anything */
	point_of(event, point, sizeof(point));
	printf("%s  ", branch_text(event, "time"));
	if (strcmp(kind, "snapshot") == 0)
		printf("snapshot  %s@%s\n", branch, shown);
	else if (strcmp(kind, "restore-point") == 0)
		printf("restore point  %s of %s at %s\n", shown, branch, branch_text(event, "lsn"));
	else if (strcmp(kind, "branch") == 0)
		printf("branch    %s from %s%s\n", shown, branch, point);
	else if (name[0] != '\0')
		printf("created   %s from %s%s\n", branch, shown, point);
	else
		printf("created   %s\n", branch);
}

int run_log(const struct tl_call *call)
{
	json_t *result, *event;
	size_t index;
	int code = branch_request(call, "branch.log", json_pack("{s:o}", "name", branch_word(call->args[0])), &result);
	if (code != TL_OK)
		return code;
	const json_t *events = json_object_get(result, "events");
	if (tl_flag(call, "json"))
		branch_print_json(events);
	else
		json_array_foreach(events, index, event) print_event(event);
	json_decref(result);
	return TL_OK;
}
