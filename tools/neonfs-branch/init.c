/* neonfs-branch init: a branch with a new Postgres cluster in it. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/lib/format.h"
#include "tools/neonfs-branch/branch.h"
#include "tools/neonfs-branch/initdb.h"

/* The kernel tells of files closed by a process that has ended a moment later. */
#define DELETE_TRIES 20
#define DELETE_PAUSE_NS 100000000

/* True when a word for initdb sets -D or -X, also among other letters ("-kX") or shortened ("--wald"): the cluster, or
 * its WAL, would lie where no branch copies it. */
static bool moves_data(const char *word)
{
	static const char *const longs[] = {"--pgdata", "--waldir"};
	static const char letters_with_value[] = "ADELTUXc";
	size_t length = strcspn(word, "=");
	if (word[0] != '-' || length < 2)
		return false;
	if (word[1] != '-') {
		const char *letter = word + 1 + strcspn(word + 1, letters_with_value);
		return *letter == 'D' || *letter == 'X';
	}
	for (unsigned i = 0; i < NF_ARRAY_LEN(longs); i++)
		if (length > 3 && strncmp(word, longs[i], length) == 0)
			return true;
	return false;
}

static int check_words(const struct tl_call *call)
{
	for (int i = 0; i < call->rest_count; i++)
		if (moves_data(call->rest[i]))
			return tl_usage(
				"initdb's %s cannot be used: data and WAL must lie in the branch, to be branched together",
				call->rest[i]);
	return TL_OK;
}

static int find_owner(const struct tl_call *call, struct initdb_owner *ret_owner)
{
	const char *name = tl_value(call, "owner");
	switch (initdb_owner_find(name, ret_owner)) {
	case 0: break;
	case -EPERM: return tl_fail("only root can make a cluster for another user; leave --owner out");
	case -ENOENT:
		return tl_fail("there is no user \"%s\"; install PostgreSQL, or name a user with --owner",
			       name != NULL ? name : "postgres");
	default: return tl_fail("the user database does not know who runs this");
	}
	if (ret_owner->uid == 0)
		return tl_fail("Postgres does not run as root; name another user with --owner");
	return TL_OK;
}

static int find_initdb(const struct tl_call *call, char *ret_path)
{
	const char *bindir = tl_value(call, "pg-bindir");
	if (initdb_find(bindir, ret_path) == 0)
		return TL_OK;
	if (bindir != NULL)
		return tl_fail("there is no initdb in %s; name the directory of PostgreSQL's programs", bindir);
	return tl_fail("initdb is not found; install PostgreSQL, or name its directory with --pg-bindir");
}

/* initdb's own words, in full, then one line of ours. */
static int fail_initdb(int rc, const char *initdb, const char *output)
{
	if (rc != -ECHILD)
		return tl_fail("cannot run %s: %s", initdb, strerror(-rc));
	fputs(output, stderr);
	return tl_fail("initdb failed; it said why above");
}

static int delete_again(struct tl_client *client, const char *name)
{
	struct tl_answer answer = {.ok = false};
	for (unsigned tries = 0; tries < DELETE_TRIES; tries++) {
		int rc = tl_client_call(client, "branch.delete", json_pack("{s:s}", "name", name), NULL, &answer);
		bool is_gone = rc == 0 && (answer.ok || strcmp(answer.code, TL_CODE_NOT_FOUND) == 0);
		tl_answer_free(&answer);
		if (is_gone)
			return TL_FAILED;
		if (rc != 0)
			break;
		nanosleep(&(struct timespec){.tv_nsec = DELETE_PAUSE_NS}, NULL);
	}
	return tl_fail("and the unfinished branch could not be deleted: %s; delete it by hand", answer.message);
}

static int mount_is_through(struct tl_client *client, bool *ret_is_through)
{
	json_t *status;
	int code = branch_ask(client, "store.status", NULL, NULL, &status);
	if (code != TL_OK)
		return code;
	*ret_is_through = strcmp(branch_text(json_object_get(status, "mount"), "cache"), "through") == 0;
	json_decref(status);
	return TL_OK;
}

/* Fill the new branch at `path`. */
static int fill(const struct tl_call *call, const char *initdb, const char *path, const struct initdb_owner *owner,
		bool is_through)
{
	static char output[INITDB_OUTPUT_MAX];
	if (isatty(STDERR_FILENO) == 1)
		fprintf(stderr, "Running %s as user %s ...\n", initdb, owner->name);
	int rc = initdb_run(initdb, path, owner, call->rest, call->rest_count, output);
	if (rc != 0)
		return fail_initdb(rc, initdb, output);
	rc = initdb_configure(path, is_through);
	return rc == 0 ? TL_OK : tl_fail("cannot add settings to %s/postgresql.conf: %s", path, strerror(-rc));
}

static void say_made(const struct tl_call *call, json_t *branch, const char *initdb, const struct initdb_owner *owner)
{
	const char *path = branch_text(branch, "path");
	if (tl_flag(call, "json")) {
		branch_print_json(branch);
	} else if (tl_is_terminal()) {
		int directory = (int)(strrchr(initdb, '/') - initdb);
		printf("Made branch %s. Start it", path);
		if (owner->switches)
			printf(" as user %s", owner->name);
		printf(":\n  %.*s/pg_ctl -D %s -l /tmp/%s.log -w start\n", directory, initdb, path, branch_text(branch, "name"));
	}
}

static int init_through(const struct tl_call *call, struct tl_client *client, const char *initdb,
			const struct initdb_owner *owner)
{
	json_t *branch;
	bool is_through;
	int code = mount_is_through(client, &is_through);
	if (code != TL_OK)
		return code;
	code = branch_ask(client, "branch.create",
			  json_pack("{s:o, s:I, s:I}", "name", branch_word(call->args[0]), "uid", (json_int_t)owner->uid, "gid",
				    (json_int_t)owner->gid),
			  NULL, &branch);
	if (code != TL_OK)
		return code;
	code = fill(call, initdb, branch_text(branch, "path"), owner, is_through);
	if (code == TL_OK)
		say_made(call, branch, initdb, owner);
	else
		code = delete_again(client, branch_text(branch, "name"));
	json_decref(branch);
	return code;
}

int run_init(const struct tl_call *call)
{
	struct tl_client *client;
	struct initdb_owner owner;
	char initdb[PATH_MAX];
	int code = check_words(call);
	if (code == TL_OK)
		code = find_owner(call, &owner);
	if (code == TL_OK)
		code = find_initdb(call, initdb);
	if (code == TL_OK)
		code = branch_connect(call, &client);
	if (code != TL_OK)
		return code;
	code = init_through(call, client, initdb, &owner);
	tl_client_close(client);
	return code;
}
