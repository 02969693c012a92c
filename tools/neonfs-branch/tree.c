/* neonfs-branch tree: branches below the ones they were made from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/neonfs-branch/branch.h"

/* Branches of a chain deeper than this are drawn at its depth. */
#define DEPTH_MAX 1000

struct node {
	const char *name;
	int64_t id, parent;
	const json_t *branch;
};

struct tree {
	struct node *nodes; /* ordered by parent, then name: the children of a branch are a range */
	size_t count;
};

static int by_parent_and_name(const void *a, const void *b)
{
	const struct node *x = a, *y = b;
	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return strcmp(x->name, y->name);
}

static size_t first_child(const struct tree *tree, int64_t parent)
{
	size_t low = 0, high = tree->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (tree->nodes[middle].parent < parent)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

/* A branch whose parent is gone stands at the top. */
static int lift_orphans(struct tree *tree)
{
	int64_t *ids = calloc(tree->count + 1, sizeof(*ids));
	if (ids == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < tree->count; i++)
		ids[i] = tree->nodes[i].id;
	qsort(ids, tree->count, sizeof(*ids), compare_ids);
	for (size_t i = 0; i < tree->count; i++)
		if (bsearch(&tree->nodes[i].parent, ids, tree->count, sizeof(*ids), compare_ids) == NULL)
			tree->nodes[i].parent = 0;
	free(ids);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->name, ((const struct node *)b)->name);
}

/* The list gives parents by name; the tree wants numbers. */
static int64_t id_of(const struct tree *by_name, const char *name)
{
	const struct node key = {.name = name};
	const struct node *found = bsearch(&key, by_name->nodes, by_name->count, sizeof(key), compare_names);
	return found != NULL ? found->id : 0;
}

static int make_tree(const json_t *branches, struct tree *ret_tree)
{
	struct tree tree = {.count = json_array_size(branches)};
	tree.nodes = calloc(tree.count + 1, sizeof(*tree.nodes));
	if (tree.nodes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < tree.count; i++) {
		const json_t *branch = json_array_get(branches, i);
		tree.nodes[i] =
			(struct node){.name = branch_text(branch, "name"), .id = branch_number(branch, "id"), .branch = branch};
	}
	qsort(tree.nodes, tree.count, sizeof(*tree.nodes), compare_names);
	for (size_t i = 0; i < tree.count; i++)
		tree.nodes[i].parent = id_of(&tree, branch_text(tree.nodes[i].branch, "parent"));
	int rc = lift_orphans(&tree);
	if (rc != 0) {
		free(tree.nodes);
		return rc;
	}
	qsort(tree.nodes, tree.count, sizeof(*tree.nodes), by_parent_and_name);
	*ret_tree = tree;
	return 0;
}

static void print_node(const struct node *node, const bool *is_last, unsigned depth)
{
	long long snapshots = (long long)branch_number(node->branch, "snapshots");
	for (unsigned i = 1; i < depth; i++)
		fputs(is_last[i] ? "   " : "│  ", stdout);
	if (depth > 0)
		fputs(is_last[depth] ? "└─ " : "├─ ", stdout);
	fputs(node->name, stdout);
	if (snapshots > 0)
		printf("  %lld snapshot%s", snapshots, snapshots == 1 ? "" : "s");
	if (json_is_true(json_object_get(node->branch, "protected")))
		fputs("  protected", stdout);
	if (branch_number(node->branch, "in_use") > 0)
		fputs("  in use", stdout);
	putchar('\n');
}

/* Children of `parent`, each followed by its own. is_last[d] tells whether the line at depth d ends here. */
static void print_children(const struct tree *tree, int64_t parent, bool *is_last, unsigned depth)
{
	for (size_t i = first_child(tree, parent); i < tree->count && tree->nodes[i].parent == parent; i++) {
		is_last[depth] = i + 1 == tree->count || tree->nodes[i + 1].parent != parent;
		print_node(&tree->nodes[i], is_last, depth);
		print_children(tree, tree->nodes[i].id, is_last, NF_MIN(depth + 1, (unsigned)DEPTH_MAX));
	}
}

int run_tree(const struct tl_call *call)
{
	static bool is_last[DEPTH_MAX + 1];
	json_t *result;
	struct tree tree;
	int code = branch_request(call, "branch.list", NULL, &result);
	if (code != TL_OK)
		return code;
	if (make_tree(json_object_get(result, "branches"), &tree) == 0) {
		print_children(&tree, 0, is_last, 0);
		free(tree.nodes);
	} else {
		code = tl_fail("out of memory");
	}
	json_decref(result);
	return code;
}
