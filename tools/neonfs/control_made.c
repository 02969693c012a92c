/* See control_made.h. The attribute is JSON: {"branch": id, "created_ns": n, "of": name, "point": text or null, "lsn": "0/3000000" or null}. A branch
 * made of a head or of a snapshot, which is to take no time, has none: its parent's snapshots say as much. */
#include "tools/neonfs/control_made.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTRIBUTE "trusted.neonfs.made"
#define ATTRIBUTE_MAX 1024

struct ctl_made_parent {
	struct bd_branch_id id;
	struct bd_snapshot_info *snapshots; /* by epoch */
	size_t count;
};

static int open_root(struct bd_store *store, struct bd_branch_id branch, struct bd_inode **ret_root)
{
	return bd_root(store, (struct bd_view){.branch = branch, .epoch = BD_EPOCH_HEAD}, ret_root);
}

static json_t *lsn_or_null(struct nf_lsn lsn)
{
	char text[NF_LSN_TEXT_MAX];
	if (lsn.v == 0)
		return json_null();
	snprintf(text, sizeof(text), NF_LSN_FMT, NF_LSN_ARG(lsn));
	return json_string(text);
}

static json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? tl_json_text(text) : json_null();
}

/* ------------------------------------------------------------------ noting */

int ctl_note_made(struct bd_store *store, const struct bd_branch_info *branch, const struct ctl_place *place, struct nf_lsn lsn)
{
	struct bd_inode *root;
	char point[CTL_MADE_POINT_MAX];
	snprintf(point, sizeof(point), "%s", place->text != NULL ? place->text : "");
	json_t *object = json_pack("{s:I, s:I, s:s, s:o, s:o}", "branch", (json_int_t)branch->id.v, "created_ns",
				   (json_int_t)branch->created_ns, "of", place->branch.name, "point", text_or_null(point), "lsn",
				   lsn_or_null(lsn));
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	if (text == NULL)
		return -ENOMEM;
	int rc = open_root(store, branch->id, &root);
	if (rc == 0) {
		rc = bd_xattr_set(root, ATTRIBUTE, text, strlen(text), 0);
		bd_inode_unref(root, 1);
	}
	free(text);
	return rc;
}

/* ----------------------------------------------------------------- reading */

static void copy_text(const json_t *object, const char *key, char *ret_text, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));
	snprintf(ret_text, size, "%s", text != NULL ? text : "");
}

/* What is noted of this branch, and not of one that it began as. False: nothing. */
static bool take_note(const struct bd_branch_info *branch, const char *text, size_t size, struct ctl_made *made)
{
	char lsn[NF_LSN_TEXT_MAX];
	json_t *object = json_loadb(text, size, 0, NULL);
	bool is_own = json_integer_value(json_object_get(object, "branch")) == (json_int_t)branch->id.v &&
		      json_integer_value(json_object_get(object, "created_ns")) == (json_int_t)branch->created_ns;
	if (is_own) {
		copy_text(object, "of", made->of, sizeof(made->of));
		copy_text(object, "point", made->point, sizeof(made->point));
		copy_text(object, "lsn", lsn, sizeof(lsn));
		if (nf_lsn_parse(lsn, &made->lsn) != 0)
			made->lsn.v = 0;
	}
	json_decref(object);
	return is_own;
}

/* 1 noted; 0 not; -errno. */
static int read_note(struct bd_store *store, const struct bd_branch_info *branch, struct ctl_made *made)
{
	struct bd_inode *root;
	char text[ATTRIBUTE_MAX];
	int rc = open_root(store, branch->id, &root);
	if (rc != 0)
		return rc;
	ssize_t got = bd_xattr_get(root, ATTRIBUTE, text, sizeof(text));
	bd_inode_unref(root, 1);
	if (got == -ENODATA || got == -ERANGE)
		return 0;
	return got < 0 ? (int)got : take_note(branch, text, (size_t)got, made);
}

static int snapshots_of(struct bd_store *store, struct bd_branch_id id, struct ctl_made_cache *cache,
			const struct ctl_made_parent **ret_parent)
{
	for (size_t i = 0; i < cache->count; i++) {
		if (cache->parents[i].id.v == id.v) {
			*ret_parent = &cache->parents[i];
			return 0;
		}
	}
	struct ctl_made_parent *parents = realloc(cache->parents, (cache->count + 1) * sizeof(*parents));
	if (parents == NULL)
		return -ENOMEM;
	cache->parents = parents;
	struct ctl_made_parent *parent = &parents[cache->count];
	*parent = (struct ctl_made_parent){.id = id};
	int rc = bd_snapshot_list(store, id, &parent->snapshots, &parent->count);
	if (rc == 0) {
		cache->count++;
		*ret_parent = parent;
	}
	return rc;
}

void ctl_made_cache_free(struct ctl_made_cache *cache)
{
	for (size_t i = 0; i < cache->count; i++)
		free(cache->parents[i].snapshots);
	free(cache->parents);
	*cache = (struct ctl_made_cache){0};
}

/* A parent that has gone meanwhile has no snapshots. */
static int find_label(struct bd_store *store, const struct bd_branch_info *branch, struct ctl_made_cache *cache,
		      struct ctl_made *made)
{
	const struct ctl_made_parent *parent;
	int rc = snapshots_of(store, branch->parent, cache, &parent);
	if (rc != 0)
		return rc == -ENOENT ? 0 : rc;
	for (size_t low = 0, high = parent->count; low < high;) {
		size_t middle = low + (high - low) / 2;
		if (parent->snapshots[middle].epoch.v == branch->parent_epoch.v) {
			snprintf(made->point, sizeof(made->point), "%s", parent->snapshots[middle].label);
			return 0;
		}
		if (parent->snapshots[middle].epoch.v < branch->parent_epoch.v)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

int ctl_made_of(struct bd_store *store, const struct bd_branch_info *branch, struct ctl_made_cache *cache,
		struct ctl_made *ret_made)
{
	struct ctl_made made = {0};
	struct ctl_made_cache own = {0};
	int rc = read_note(store, branch, &made);
	if (rc == 0 && branch->parent.v != 0)
		rc = find_label(store, branch, cache != NULL ? cache : &own, &made);
	ctl_made_cache_free(&own);
	if (rc < 0)
		return rc;
	/* A parent that is there is called by the name that it has now. */
	if (branch->parent.v != 0)
		snprintf(made.of, sizeof(made.of), "%s", branch->parent_name);
	*ret_made = made;
	return 0;
}

json_t *ctl_made_json(const struct ctl_made *made)
{
	if (made->of[0] == '\0')
		return json_null();
	return json_pack("{s:s, s:o, s:o}", "branch", made->of, "point", text_or_null(made->point), "lsn",
			 lsn_or_null(made->lsn));
}
