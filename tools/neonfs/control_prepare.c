/* See control_prepare.h. The order of the steps:
 *
 *   find a base (the newest snapshot whose WAL ends at or before the LSN) · a child of it, with an internal name · the preparer replays, through the
 *   mount · everything durable · the name
 *
 * The base's own view cannot change or go once the child is there. No lock is held while the preparer works. */
#include "tools/neonfs/control_prepare.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/nf_log.h"
#include "tools/neonfs/control_cluster.h"
#include "tools/neonfs/control_crashed.h"
#include "tools/neonfs/control_impl.h"
#include "tools/neonfs/control_lazy.h"
#include "tools/neonfs/control_made.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_postgres.h"
#include "tools/neonfs/control_replay.h"
#include "tools/neonfs/control_source.h"
#include "tools/neonfs/control_tablespace.h"
#include "tools/neonfs/trees.h"
#include "walapply/pitr/wa_history.h"

#define BASE_TRIES 3 /* a base may be let go between being found and being used */

/* A killed process's files are closed a moment after its end. */
#define DROP_RETRIES 100
#define DROP_PAUSE_NS 20000000

int ctl_recovery_argument(struct ctl_call *call, enum ctl_recovery *ret_how)
{
	const char *word = ctl_optional_text(call, "recovery");
	if (word == NULL)
		return 0;
	if (strcmp(word, "instant") == 0)
		*ret_how = CTL_RECOVERY_INSTANT;
	else if (strcmp(word, "postgres") == 0)
		*ret_how = CTL_RECOVERY_POSTGRES;
	else
		return ctl_error(call, TL_CODE_USAGE, "recovery is \"instant\" or \"postgres\", not \"%.40s\"", word);
	return 0;
}

void ctl_path(const struct ctl_call *call, const char *branch, const char *below, char ret_path[PATH_MAX])
{
	int size =
		snprintf(ret_path, PATH_MAX, "%s/%s%s%s", call->config->mountpoint, branch, below[0] != '\0' ? "/" : "", below);
	assert(size < PATH_MAX);
}

void ctl_note_time(json_t *facts, const char *step, int64_t *began_ns)
{
	int64_t now_ns = ctl_now_ns();
	json_t *timings = json_object_get(facts, "timings_us");
	if (timings == NULL) {
		timings = json_object();
		json_object_set_new(facts, "timings_us", timings);
	}
	json_object_set_new(timings, step, json_integer((json_int_t)((now_ns - *began_ns) / 1000)));
	*began_ns = now_ns;
}

/* --------------------------------------------------------------- deletion */

static int delete_unused(struct bd_store *store, struct bd_branch_id id)
{
	int rc = bd_branch_delete(store, id);
	for (unsigned tries = 0; rc == -EBUSY && tries < DROP_RETRIES; tries++) {
		nanosleep(&(struct timespec){.tv_nsec = DROP_PAUSE_NS}, NULL);
		rc = bd_branch_delete(store, id);
	}
	return rc;
}

/* The branch, by its internal name, is not wanted after all. */
static void give_up(struct ctl_call *call, const struct bd_branch_info *branch)
{
	wa_history_branch_deleted(call->history, branch->id);
	int rc = delete_unused(call->store, branch->id);
	if (rc != 0)
		nf_warn("what was prepared as %s could not be deleted: %s; the next mount does it", branch->name, strerror(-rc));
	fs_branch_changed(call->fs, branch->name);
}

void ctl_prepare_drop(struct ctl_call *call, struct ctl_prepared *prepared)
{
	json_decref(prepared->facts);
	prepared->facts = NULL;
	give_up(call, &prepared->branch);
}

void ctl_prepare_sweep(struct bd_store *store)
{
	struct bd_branch_info *infos;
	size_t count;
	int rc = bd_branch_list_internal(store, &infos, &count);
	if (rc != 0) {
		nf_warn("what is left of branches in the making cannot be looked for: %s", strerror(-rc));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		bool is_tree = strncmp(infos[i].name, TREES_PREFIX, strlen(TREES_PREFIX)) == 0;
		if (!is_tree && strncmp(infos[i].name, CTL_PREPARE_PREFIX, strlen(CTL_PREPARE_PREFIX)) != 0)
			continue;
		rc = bd_branch_delete(store, infos[i].id);
		if (rc != 0)
			nf_warn("%s, which an earlier daemon made for itself, cannot be deleted: %s", infos[i].name,
				strerror(-rc));
		else
			nf_info("deleted %s, which an earlier daemon made for itself", infos[i].name);
	}
	free(infos);
}

/* --------------------------------------------------------------- creation */

static int is_data_directory(struct bd_store *store, struct bd_view view, bool *ret_is)
{
	struct bd_inode *root, *mark;
	int rc = bd_root(store, view, &root);
	if (rc != 0)
		return rc;
	rc = bd_lookup(root, "PG_VERSION", &mark);
	bd_inode_unref(root, 1);
	*ret_is = rc == 0;
	if (rc == 0)
		bd_inode_unref(mark, 1);
	return rc == -ENOENT ? 0 : rc;
}

static int check_copy(struct ctl_call *call, const struct bd_branch_info *copy, enum ctl_tablespace_use use)
{
	return ctl_check_tablespaces(call, (struct bd_view){.branch = copy->id, .epoch = BD_EPOCH_HEAD}, use);
}

int ctl_create_copy(struct bd_store *store, const char *name, struct bd_view view, struct bd_branch_info *ret_child,
		    uint64_t *ret_pause_ns)
{
	static const char *const pid_files[] = {"postmaster.pid", "postmaster.opts"};
	bool leaves_out;
	int rc = is_data_directory(store, view, &leaves_out);
	if (rc != 0)
		return rc;
	return bd_branch_create_without(store, name, view, pid_files, leaves_out ? NF_ARRAY_LEN(pid_files) : 0, ret_child,
					ret_pause_ns);
}

static int create_named(struct ctl_call *call, struct bd_view view, struct ctl_prepared *prepared)
{
	static atomic_uint next = 1;
	char name[BD_BRANCH_NAME_MAX + 1];
	int rc;
	do {
		snprintf(name, sizeof(name), CTL_PREPARE_PREFIX "%u", atomic_fetch_add(&next, 1));
		rc = ctl_create_copy(call->store, name, view, &prepared->branch, &prepared->pause_ns);
	} while (rc == -EEXIST);
	return rc;
}

int ctl_create_error(struct ctl_call *call, int rc, const char *name)
{
	if (rc == -EEXIST)
		return ctl_error(call, "exists", "branch \"%s\" exists already; choose another name", name);
	if (rc == -EMLINK || rc == -E2BIG)
		return ctl_error(call, "failed", "the store is full of branches (%d); delete some first", BD_BRANCHES_MAX);
	return ctl_store_error(call, rc, "cannot create the branch");
}

/* --------------------------------------------------------------- an LSN */

static void set_lsn(json_t *object, const char *key, struct nf_lsn lsn)
{
	char text[NF_LSN_TEXT_MAX];
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	json_object_set_new(object, key, json_string(text));
}

static void note_base(json_t *facts, const struct wa_base *base)
{
	json_t *object = json_pack("{s:s, s:I}", "label", base->label, "timeline", (json_int_t)base->timeline);
	set_lsn(object, "written", base->written);
	set_lsn(object, "redo", base->redo);
	json_object_set_new(facts, "base", object);
}

/* A child of the newest base. */
static int create_of_base(struct ctl_call *call, const struct ctl_place *place, struct wa_base *ret_base,
			  struct ctl_prepared *prepared)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	int64_t began_ns = ctl_now_ns();
	int rc = -ENOENT;
	for (unsigned tries = 0; rc == -ENOENT && tries < BASE_TRIES; tries++) {
		rc = wa_history_base(call->history, place->branch.id, place->lsn, ret_base, message, sizeof(message));
		if (rc != 0)
			return ctl_history_error(call, rc, message);
		ctl_note_time(prepared->facts, "find_base", &began_ns);
		rc = create_named(call, ret_base->view, prepared);
	}
	if (rc != 0)
		return ctl_create_error(call, rc, prepared->branch.name);
	ctl_note_time(prepared->facts, "branch", &began_ns);
	note_base(prepared->facts, ret_base);
	return 0;
}

/* The child's state at the LSN, and a redo layer for its pages; all of it at once where the WAL is not of that kind. */
static int prepare_lazily(struct ctl_call *call, const struct ctl_place *place, const struct wa_base *base,
			  struct ctl_prepared *prepared, struct preparer_answer *answer)
{
	struct wa_history_status status;
	int rc = wa_history_status(call->history, place->branch.id, &status);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot read the history of the branch");
	/* The source may have begun a timeline since the base. */
	const struct wa_lazy_base below = {.view = base->view,
					   .source = place->branch.id,
					   .redo = base->redo,
					   .written = base->written,
					   .timeline = NF_MAX(base->timeline, status.timeline)};
	struct wa_lazy_layer *layer = NULL;
	bool is_laid = false;
	if (ctl_lazy_begin(call, &below, place->lsn, prepared->facts, &layer) != 0)
		return -1;
	rc = ctl_replay_to(call, place, base, &prepared->branch, layer, prepared->facts, answer);
	if (rc == 0 && layer != NULL) {
		rc = ctl_lazy_lay(call, layer, &prepared->branch, prepared->facts, &is_laid);
		if (rc == 1) /* the WAL made a tablespace */
			rc = ctl_error(call, "tablespace", "%s", json_string_value(json_object_get(prepared->facts, "eager")));
	}
	wa_lazy_end(layer, is_laid);
	return rc;
}

static int prepare_once(struct ctl_call *call, const struct ctl_place *place, enum ctl_recovery how,
			struct ctl_prepared *prepared, struct preparer_answer *answer)
{
	struct wa_base base;
	if (create_of_base(call, place, &base, prepared) != 0)
		return -1;
	int rc = check_copy(call, &prepared->branch, CTL_TABLESPACE_REPLAY);
	if (rc == 0 && base.is_minimal)
		rc = ctl_error(call, "unsupported",
			       "before that point WAL was written with wal_level=minimal, so that not everything is in it; only "
			       "snapshots taken since "
			       "can be had");
	if (rc == 0 && base.is_foreign && how != CTL_RECOVERY_POSTGRES) {
		snprintf(answer->message, sizeof(answer->message),
			 "the WAL up to that point has records that only Postgres itself can replay");
		rc = 1;
	}
	if (rc == 0 && how != CTL_RECOVERY_POSTGRES) {
		rc = prepare_lazily(call, place, &base, prepared, answer);
	} else if (rc == 0) {
		int64_t began_ns = ctl_now_ns();
		rc = ctl_put_wal(call, place, &base, &prepared->branch);
		ctl_note_time(prepared->facts, "prepare", &began_ns);
	}
	if (rc != 0)
		give_up(call, &prepared->branch);
	return rc;
}

/* With the source's name held. */
static int prepare_claimed(struct ctl_call *call, const struct ctl_place *place, enum ctl_recovery how,
			   struct ctl_prepared *prepared)
{
	struct preparer_answer answer = {0};
	int rc = prepare_once(call, place, how, prepared, &answer);
	if (rc == 1 && how == CTL_RECOVERY_INSTANT)
		return ctl_error(call, "unsupported", "%s; --recovery=postgres lets Postgres replay", answer.message);
	if (rc == 1) {
		/* What was replayed so far is half done: begin again. */
		json_object_set_new(prepared->facts, "fallback", tl_json_text(answer.message));
		how = CTL_RECOVERY_POSTGRES;
		rc = prepare_once(call, place, how, prepared, &answer);
	}
	if (rc != 0)
		return -1;
	json_object_set_new(prepared->facts, "recovery", json_string(how == CTL_RECOVERY_POSTGRES ? "postgres" : "instant"));
	set_lsn(prepared->facts, "lsn", place->lsn);
	return 0;
}

static int prepare_lsn(struct ctl_call *call, const struct ctl_place *place, enum ctl_recovery how, struct ctl_prepared *prepared)
{
	struct ctl_place now = *place;
	struct ctl_claim claim;
	if (ctl_claim_source(call, &now.branch, &claim) != 0)
		return -1;
	int rc = prepare_claimed(call, &now, how, prepared);
	ctl_claim_end(&claim);
	return rc;
}

/* ---------------------------------------------------------------- all of it */

/* A copy of a running cluster is one that has crashed: replay what its WAL holds, where that is wanted and there is something to do. */
static int replay_copy(struct ctl_call *call, struct ctl_prepared *prepared)
{
	struct ctl_cluster cluster;
	struct bd_inode *root;
	int rc = bd_root(call->store, (struct bd_view){.branch = prepared->branch.id, .epoch = BD_EPOCH_HEAD}, &root);
	if (rc == 0) {
		rc = ctl_cluster_read(root, &cluster);
		bd_inode_unref(root, 1);
	}
	if (rc != 0)
		return ctl_error(call, "no-cluster",
				 "this is no Postgres data directory that can be replayed; leave --recovery out");
	if (cluster.in_the_way != NULL)
		return ctl_error(call, "unsupported",
				 "it has a file %s, so what it recovers to is for Postgres to say; leave --recovery out",
				 cluster.in_the_way);
	if (cluster.control.state == WA_SHUT_DOWN)
		return 0;
	/* Its parent's history has the index of what they share. */
	const struct ctl_crashed crashed = {.branch = prepared->branch, .cluster = &cluster, .history = prepared->branch.parent};
	rc = ctl_recover_crashed(call, &crashed, prepared->facts);
	if (rc == 0)
		json_object_set_new(prepared->facts, "recovery", json_string("instant"));
	return rc;
}

static int prepare_copy(struct ctl_call *call, const struct ctl_place *place, enum ctl_recovery how,
			struct ctl_prepared *prepared)
{
	enum ctl_tablespace_use use = how == CTL_RECOVERY_INSTANT ? CTL_TABLESPACE_REPLAY : CTL_TABLESPACE_REPLACE;
	/* Before anything is made, and once more: a server may have made one between the two. */
	if (ctl_check_tablespaces(call, place->view, use) != 0)
		return -1;
	int rc = create_named(call, place->view, prepared);
	if (rc != 0)
		return ctl_create_error(call, rc, prepared->branch.name);
	rc = check_copy(call, &prepared->branch, use);
	if (rc == 0 && how == CTL_RECOVERY_INSTANT)
		rc = replay_copy(call, prepared);
	if (rc != 0)
		give_up(call, &prepared->branch);
	return rc;
}

/* Where it was brought to an LSN: to which, and as what that was asked for. A tree at a point is nobody's branch. -1 after ctl_error: then it is gone. */
static int note_made(struct ctl_call *call, const struct ctl_place *place, struct ctl_prepared *prepared)
{
	struct nf_lsn lsn;
	const char *text = json_string_value(json_object_get(prepared->facts, "lsn"));
	bool is_tree = place->kind == CTL_PLACE_LSN && place->text == NULL;
	if (is_tree || text == NULL || nf_lsn_parse(text, &lsn) != 0)
		return 0;
	int rc = ctl_note_made(call->store, &prepared->branch, place, lsn);
	if (rc == 0)
		return 0;
	give_up(call, &prepared->branch);
	return ctl_store_error(call, rc, "cannot note how the branch was made");
}

int ctl_prepare(struct ctl_call *call, const struct ctl_place *place, enum ctl_recovery how, struct ctl_prepared *ret_prepared)
{
	*ret_prepared = (struct ctl_prepared){.facts = json_object()};
	int rc = place->kind == CTL_PLACE_LSN ? prepare_lsn(call, place, how, ret_prepared)
					      : prepare_copy(call, place, how, ret_prepared);
	if (rc == 0)
		rc = note_made(call, place, ret_prepared);
	if (rc != 0) {
		json_decref(ret_prepared->facts);
		ret_prepared->facts = NULL;
	}
	return rc;
}

int ctl_prepare_finish(struct ctl_call *call, struct ctl_prepared *prepared)
{
	int64_t began_ns = ctl_now_ns();
	/* A plain copy has nothing of its own, and is durable. */
	bool has_data = json_object_get(prepared->facts, "recovery") != NULL;
	int rc = has_data ? bd_store_sync(call->store) : 0;
	if (rc != 0) {
		ctl_prepare_drop(call, prepared);
		return ctl_store_error(call, rc, "cannot make the new branch durable");
	}
	if (has_data)
		ctl_note_time(prepared->facts, "sync", &began_ns);
	return 0;
}

int ctl_prepare_publish(struct ctl_call *call, struct ctl_prepared *prepared, const char *name)
{
	char internal[BD_BRANCH_NAME_MAX + 1];
	memcpy(internal, prepared->branch.name, sizeof(internal));
	int rc = bd_branch_rename(call->store, prepared->branch.id, name);
	if (rc != 0) {
		ctl_prepare_drop(call, prepared);
		return ctl_create_error(call, rc, name);
	}
	snprintf(prepared->branch.name, sizeof(prepared->branch.name), "%s", name);
	fs_branch_changed(call->fs, internal);
	fs_branch_changed(call->fs, name);
	return 0;
}
