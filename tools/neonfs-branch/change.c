/* neonfs-branch create, restore, reset, snapshot, delete, detach, rename, protect and unprotect: one request each. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"

/* One line for people; nothing on a pipe unless it is asked for with --json. */
static void print_made(const struct tl_call *call, json_t *result, const char *what)
{
	char path[4096];
	if (tl_flag(call, "json")) {
		branch_print_json(result);
	} else if (tl_is_terminal()) {
		tl_escape(path, sizeof(path), branch_text(result, "path"));
		printf("%s %s (%.1f ms)\n", what, path, (double)branch_number(result, "daemon_us") / 1000);
	}
	if (!tl_flag(call, "json"))
		branch_say_replay(result);
	json_decref(result);
}

static void add_recovery(const struct tl_call *call, json_t *args)
{
	const char *how = tl_value(call, "recovery");
	if (how != NULL)
		json_object_set_new(args, "recovery", branch_word(how));
}

int run_create(const struct tl_call *call)
{
	const char *from = tl_value(call, "from");
	json_t *result;
	bool shares = tl_flag(call, "share-tablespaces");
	if (from == NULL && (tl_value(call, "recovery") != NULL || tl_flag(call, "round") || shares))
		return tl_usage("--recovery, --round and --share-tablespaces want --from");
	json_t *args = from != NULL ? json_pack("{s:o, s:o, s:b}", "name", branch_word(call->args[0]), "from", branch_word(from),
						"round", (int)tl_flag(call, "round"))
				    : json_pack("{s:o, s:I, s:I}", "name", branch_word(call->args[0]), "uid",
						(json_int_t)geteuid(), "gid", (json_int_t)getegid());
	add_recovery(call, args);
	if (shares)
		json_object_set_new(args, "share_tablespaces", json_true());
	int code = branch_request_long(call, "branch.create", args, &result);
	if (code == TL_OK)
		print_made(call, result, "Made branch");
	return code;
}

int run_restore(const struct tl_call *call)
{
	json_t *result;
	const char *to = tl_value(call, "to");
	if (to == NULL)
		return tl_usage("which point? Name it with --to POINT");
	json_t *args = json_pack("{s:o, s:o, s:b}", "name", branch_word(call->args[0]), "point", branch_word(to), "round",
				 (int)tl_flag(call, "round"));
	add_recovery(call, args);
	int code = branch_request_long(call, "branch.restore", args, &result);
	if (code != TL_OK)
		return code;
	if (tl_flag(call, "json")) {
		branch_print_json(result);
	} else {
		branch_say_replay(result);
		printf("Restored %s; what it was is branch %s now\n", branch_text(result, "name"), branch_text(result, "old"));
	}
	json_decref(result);
	return TL_OK;
}

int run_reset(const struct tl_call *call)
{
	json_t *result;
	int code = branch_request(call, "branch.reset", json_pack("{s:o}", "name", branch_word(call->args[0])), &result);
	if (code == TL_OK)
		print_made(call, result, "Reset branch");
	return code;
}

int run_snapshot(const struct tl_call *call)
{
	json_t *result;
	int code = branch_request(call, "snapshot.create", json_pack("{s:o}", "point", branch_word(call->args[0])), &result);
	if (code != TL_OK)
		return code;
	/* The label may have been chosen by the daemon: a script wants it. */
	if (!tl_flag(call, "json") && !tl_is_terminal() && strchr(call->args[0], '@') == NULL) {
		printf("%s@%s\n", branch_text(result, "branch"), branch_text(result, "label"));
		json_decref(result);
		return TL_OK;
	}
	print_made(call, result, "Took snapshot");
	return TL_OK;
}

/* With --recursive more goes than was named: say what, to whoever looks. */
static void print_deleted(json_t *result)
{
	size_t i;
	json_t *name;
	if (!tl_is_terminal() || json_array_size(json_object_get(result, "deleted")) < 2)
		return;
	printf("Deleted");
	json_array_foreach(json_object_get(result, "deleted"), i, name)
		printf("%s %s", i > 0 ? "," : "", json_string_value(name));
	printf("\n");
}

/* Forced, and history has become shorter: by how much. */
static void say_lost(const json_t *result)
{
	const json_t *began = json_object_get(result, "began"), *begins = json_object_get(result, "begins");
	if (began == NULL)
		return;
	if (json_is_true(json_object_get(result, "all_history")))
		tl_warn("history of \"%s\", which began at %s (%s), is gone and begins again", branch_text(result, "branch"),
			branch_text(began, "lsn"), branch_text(began, "time"));
	else
		tl_warn("history of \"%s\" begins at %s (%s) now, before at %s (%s)", branch_text(result, "branch"),
			branch_text(begins, "lsn"), branch_text(begins, "time"), branch_text(began, "lsn"),
			branch_text(began, "time"));
}

static int delete_snapshot(const struct tl_call *call)
{
	json_t *result;
	if (tl_flag(call, "recursive"))
		return tl_usage("a snapshot has nothing below it; leave --recursive out");
	int code = branch_request(
		call, "snapshot.delete",
		json_pack("{s:o, s:b}", "point", branch_word(call->args[0]), "force", (int)tl_flag(call, "force")), &result);
	if (code == TL_OK) {
		say_lost(result);
		json_decref(result);
	}
	return code;
}

int run_delete(const struct tl_call *call)
{
	const char *word = call->args[0];
	json_t *result;
	if (strchr(word, '@') != NULL)
		return delete_snapshot(call);
	if (tl_flag(call, "force"))
		return tl_usage("--force is for a snapshot that history begins with; leave it out");
	int code = branch_request(
		call, "branch.delete",
		json_pack("{s:o, s:b}", "name", branch_word(word), "recursive", (int)tl_flag(call, "recursive")), &result);
	if (code == TL_OK) {
		print_deleted(result);
		json_decref(result);
	}
	return code;
}

int run_rename(const struct tl_call *call)
{
	return branch_request(call, "branch.rename",
			      json_pack("{s:o, s:o}", "name", branch_word(call->args[0]), "new_name", branch_word(call->args[1])),
			      NULL);
}

int run_detach(const struct tl_call *call)
{
	return branch_request(call, "branch.detach", json_pack("{s:o}", "name", branch_word(call->args[0])), NULL);
}

static int set_protection(const struct tl_call *call, bool is_protected)
{
	return branch_request(call, "branch.protect",
			      json_pack("{s:o, s:b}", "name", branch_word(call->args[0]), "protected", (int)is_protected), NULL);
}

int run_protect(const struct tl_call *call)
{
	return set_protection(call, true);
}

int run_unprotect(const struct tl_call *call)
{
	return set_protection(call, false);
}
