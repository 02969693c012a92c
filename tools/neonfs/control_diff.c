/* Control requests that compare two points: file by file, or relation by relation. */
#include <stdio.h>
#include <string.h>

#include "tools/lib/format.h"
#include "tools/neonfs/control_names.h"
#include "tools/neonfs/control_point.h"
#include "walapply/pitr/wa_compare.h"
#include "walapply/pitr/wa_history.h"

#define BASE_TRIES 3 /* a base may be let go between being found and being used */

/* ----------------------------------------------------------------- files */

struct diff {
	struct ctl_call *call;
	uint64_t counts[BD_DIFF_META + 1];
	uint64_t blocks;
};

static int send_difference(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks)
{
	static const char *const names[] = {
		[BD_DIFF_ADDED] = "added", [BD_DIFF_REMOVED] = "removed", [BD_DIFF_CHANGED] = "changed", [BD_DIFF_META] = "meta"};
	struct diff *diff = arg;
	diff->counts[kind]++;
	diff->blocks += blocks;
	return ctl_send_item(diff->call, json_pack("{s:s, s:o, s:I}", "kind", names[kind], "path", tl_json_text(path), "blocks",
						   (json_int_t)blocks));
}

/* A point of history has no view of files. */
static int find_view(struct ctl_call *call, const char *text, struct bd_view *ret_view)
{
	if (ctl_find_view(call, "branch", text, ret_view, NULL) == 0)
		return 0;
	size_t used = strlen(call->error_message);
	if (strchr(text, '@') != NULL)
		snprintf(call->error_message + used, sizeof(call->error_message) - used,
			 "; points in history (an LSN, a time, a restore point) are compared with --pages");
	return -1;
}

static int diff_files(struct ctl_call *call, const char *a_text, const char *b_text)
{
	struct bd_view a, b;
	struct diff diff = {.call = call};
	if (find_view(call, a_text, &a) != 0 || find_view(call, b_text, &b) != 0)
		return -1;
	int rc = bd_diff(call->store, a, b, send_difference, &diff);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot compare them");
	call->result = json_pack("{s:I, s:I, s:I, s:I, s:I}", "added", (json_int_t)diff.counts[BD_DIFF_ADDED], "removed",
				 (json_int_t)diff.counts[BD_DIFF_REMOVED], "changed", (json_int_t)diff.counts[BD_DIFF_CHANGED],
				 "meta", (json_int_t)diff.counts[BD_DIFF_META], "blocks", (json_int_t)diff.blocks);
	return 0;
}

/* ------------------------------------------------------------- relations */

/* From which base the point is computed. -1 after ctl_error. */
static int find_base(struct ctl_call *call, const struct ctl_place *place, struct wa_compare_point *point)
{
	char message[WA_HISTORY_MESSAGE_MAX] = "";
	struct wa_history_status status;
	struct wa_base base;
	int rc = wa_history_base(call->history, place->branch.id, place->lsn, &base, message, sizeof(message));
	if (rc != 0)
		return ctl_history_error(call, rc, message);
	rc = wa_history_status(call->history, place->branch.id, &status);
	if (rc != 0)
		return ctl_store_error(call, rc, "cannot read the history of the branch");
	if (base.is_minimal)
		return ctl_error(call, "unsupported",
				 "before " NF_LSN_FMT
				 " WAL was written with wal_level=minimal, so that not everything that changed "
				 "is in it",
				 NF_LSN_ARG(place->lsn));
	point->is_point = true;
	point->lsn = place->lsn;
	/* The branch may have begun a timeline since the base. */
	point->base = (struct wa_lazy_base){.view = base.view,
					    .source = place->branch.id,
					    .redo = base.redo,
					    .written = base.written,
					    .timeline = NF_MAX(base.timeline, status.timeline)};
	return 0;
}

static int find_side(struct ctl_call *call, const struct ctl_place *place, struct wa_compare_point *ret_point)
{
	*ret_point = (struct wa_compare_point){.view = place->view};
	return place->kind == CTL_PLACE_LSN ? find_base(call, place, ret_point) : 0;
}

static int compare(struct ctl_call *call, const struct ctl_place places[WA_COMPARE_SIDES], struct wa_comparison **ret_comparison)
{
	struct wa_compare_point points[WA_COMPARE_SIDES];
	char message[WA_HISTORY_MESSAGE_MAX];
	int rc = -ENOENT;
	for (unsigned tries = 0; rc == -ENOENT && tries < BASE_TRIES; tries++) {
		for (unsigned s = 0; s < WA_COMPARE_SIDES; s++)
			if (find_side(call, &places[s], &points[s]) != 0)
				return -1;
		rc = wa_compare(call->store, call->lazy, points, ret_comparison, message, sizeof(message));
	}
	if (rc == -EINVAL || rc == -ENOTSUP)
		return ctl_error(call, "unsupported", "cannot compare their relations: %s", message);
	return rc == 0 ? 0 : ctl_error(call, "failed", "cannot compare them: %s", message);
}

static bool is_there(const struct wa_compare_relation *relation, enum wa_compare_side s)
{
	bool any = false;
	for (unsigned fork = 0; fork < WA_FORKS; fork++)
		any = any || relation->forks[fork].is_there[s];
	return any;
}

static json_t *length(const struct wa_compare_fork *fork, enum wa_compare_side s)
{
	return fork->is_there[s] ? json_integer((json_int_t)fork->blocks[s]) : json_null();
}

static json_t *forks_json(const struct wa_compare_relation *relation)
{
	static const char *const names[WA_FORKS] = {
		[WA_FORK_MAIN] = "main", [WA_FORK_FSM] = "fsm", [WA_FORK_VM] = "vm", [WA_FORK_INIT] = "init"};
	json_t *object = json_object();
	for (unsigned f = 0; f < WA_FORKS; f++) {
		const struct wa_compare_fork *fork = &relation->forks[f];
		if (fork->is_there[WA_COMPARE_A] || fork->is_there[WA_COMPARE_B])
			json_object_set_new(object, names[f],
					    json_pack("{s:I, s:o, s:o}", "blocks", (json_int_t)fork->different, "blocks_a",
						      length(fork, WA_COMPARE_A), "blocks_b", length(fork, WA_COMPARE_B)));
	}
	return object;
}

/* A name; null when it is not known. */
static json_t *name_json(const char *name)
{
	return name[0] != '\0' ? tl_json_text(name) : json_null();
}

static uint64_t bytes_on(const struct wa_compare_relation *relation, enum wa_compare_side s)
{
	uint64_t blocks = 0;
	for (unsigned fork = 0; fork < WA_FORKS; fork++)
		blocks += relation->forks[fork].blocks[s];
	return blocks * WA_PAGE_SIZE;
}

static json_t *relation_json(const struct wa_compare_relation *relation)
{
	const char *kind = !is_there(relation, WA_COMPARE_A)   ? "added"
			   : !is_there(relation, WA_COMPARE_B) ? "removed"
							       : "changed";
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:o}", "kind", kind, "path", relation->path, "database",
			 name_json(relation->database), "schema", name_json(relation->schema), "name", name_json(relation->name),
			 "blocks", (json_int_t)relation->different, "bytes_a", (json_int_t)bytes_on(relation, WA_COMPARE_A),
			 "bytes_b", (json_int_t)bytes_on(relation, WA_COMPARE_B), "forks", forks_json(relation));
}

static int diff_pages(struct ctl_call *call, const char *a_text, const char *b_text)
{
	struct ctl_place places[WA_COMPARE_SIDES];
	struct wa_comparison *comparison;
	bool round = ctl_true(call, "round");
	if (ctl_find_place(call, "branch", a_text, round, &places[WA_COMPARE_A]) != 0 ||
	    ctl_find_place(call, "branch", b_text, round, &places[WA_COMPARE_B]) != 0 || compare(call, places, &comparison) != 0)
		return -1;
	int rc = 0;
	for (size_t i = 0; i < comparison->count && rc == 0; i++)
		rc = ctl_send_item(call, relation_json(&comparison->relations[i]));
	/* What is no relation's file is not looked at where a point has no files yet. */
	json_t *other = comparison->has_points ? json_null() : json_integer((json_int_t)comparison->other_files);
	call->result =
		json_pack("{s:I, s:I, s:b, s:o}", "count", (json_int_t)comparison->count, "blocks",
			  (json_int_t)comparison->different, "by_records", (int)comparison->has_points, "other_files", other);
	wa_comparison_free(comparison);
	return rc == 0 ? 0 : ctl_store_error(call, rc, "cannot compare them");
}

int ctl_branch_diff(struct ctl_call *call)
{
	const char *a_text = ctl_text(call, "a"), *b_text = ctl_text(call, "b");
	if (a_text == NULL || b_text == NULL)
		return -1;
	return ctl_true(call, "pages") ? diff_pages(call, a_text, b_text) : diff_files(call, a_text, b_text);
}
