/* Directories of the memory backend: see nf_mem_names.h.
 *
 * A change says what becomes of a node, "its name is now `to`" or "it has none", so it can be applied to the
 * durable tree whatever has become of the changes before it, and a rename is never torn.
 * Invariant: a node has at most one name in each tree. */
#include "common/nf_mem_names.h"

#include <stdlib.h>
#include <string.h>

#include "common/nf_io_impl.h"

#define WAITING_MAX 65536 /* then the oldest become durable, as a kernel would write them by itself */

/* One side of a change: a name in a directory. */
struct place {
	struct nf_mem_node *dir; /* NULL: this side does not exist; else holds a reference */
	char *name;
};

struct nf_mem_name_change {
	struct nf_mem_name_change *next;
	struct nf_mem_node *node; /* holds a reference */
	struct place from; /* loses `node` */
	struct place to; /* gets `node` */
	bool chosen; /* to be made durable now */
};

/* ---- one directory ---- */

static struct nf_mem_entry *find_entry(const struct nf_mem_dir *dir, const char *name)
{
	for (size_t i = 0; i < dir->count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static void remove_entry(struct nf_mem_dir *dir, struct nf_mem_entry *entry)
{
	struct nf_mem_node *node = entry->node;

	free(entry->name);
	*entry = dir->entries[--dir->count];
	nf_mem_node_unref(node);
}

static void set_entry(struct nf_mem_dir *dir, const char *name, struct nf_mem_node *node)
{
	struct nf_mem_entry *entry = find_entry(dir, name);

	nf_mem_node_ref(node);
	if (entry != NULL) {
		nf_mem_node_unref(entry->node);
		entry->node = node;
		return;
	}
	if (dir->count == dir->room) {
		struct nf_mem_entry *old = dir->entries;
		dir->room = NF_MAX(dir->room * 2, 8);
		dir->entries = nf_mem_alloc(dir->room * sizeof(*old));
		if (dir->count > 0)
			memcpy(dir->entries, old, dir->count * sizeof(*old));
		free(old);
	}
	dir->entries[dir->count++] = (struct nf_mem_entry){.name = nf_mem_strdup(name), .node = node};
}

static void clear_dir(struct nf_mem_dir *dir)
{
	while (dir->count > 0)
		remove_entry(dir, &dir->entries[dir->count - 1]);
	free(dir->entries);
	*dir = (struct nf_mem_dir){0};
}

/* ---- nodes ---- */

struct nf_mem_node *nf_mem_node_new(bool is_dir)
{
	struct nf_mem_node *node = nf_mem_alloc(sizeof(*node));

	*node = (struct nf_mem_node){.refs = 1, .is_dir = is_dir};
	node->changes_end = &node->changes;
	return node;
}

void nf_mem_node_ref(struct nf_mem_node *node)
{
	node->refs++;
}

void nf_mem_node_unref(struct nf_mem_node *node)
{
	if (node == NULL || --node->refs > 0)
		return;
	for (size_t i = 0; i < node->durable_entries.count; i++)
		node->durable_entries.entries[i].node->durable_parent = NULL;
	clear_dir(&node->entries);
	clear_dir(&node->durable_entries);
	nf_mem_content_clear(&node->content);
	nf_mem_content_clear(&node->durable_content);
	while (node->changes != NULL) {
		struct nf_mem_change *change = node->changes;
		node->changes = change->next;
		nf_mem_change_free(change);
	}
	free(node);
}

/* ---- paths ---- */

/* The node at the first `size` bytes of `path`. */
static struct nf_mem_node *find_part(struct nf_mem_names *names, const char *path, size_t size)
{
	struct nf_mem_node *node = names->root;
	char name[NF_IO_NAME_MAX + 1];

	for (size_t at = 0; at < size;) {
		size_t part = (size_t)(strchrnul(path + at, '/') - (path + at));
		assert(part <= NF_IO_NAME_MAX);
		memcpy(name, path + at, part);
		name[part] = '\0';
		struct nf_mem_entry *entry = node->is_dir ? find_entry(&node->entries, name) : NULL;
		if (entry == NULL)
			return NULL;
		node = entry->node;
		at += part + 1;
	}
	return node;
}

struct nf_mem_node *nf_mem_find(struct nf_mem_names *names, const char *path)
{
	return strcmp(path, ".") == 0 ? names->root : find_part(names, path, strlen(path));
}

/* The directory that holds `path`, and its name there. */
static int find_parent(struct nf_mem_names *names, const char *path, struct nf_mem_node **ret_dir, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	struct nf_mem_node *dir = slash == NULL ? names->root : find_part(names, path, (size_t)(slash - path));

	if (dir == NULL)
		return -ENOENT;
	if (!dir->is_dir)
		return -ENOTDIR;
	*ret_dir = dir;
	*ret_name = slash == NULL ? path : slash + 1;
	return 0;
}

/* ---- changes ---- */

static struct place place_of(struct nf_mem_node *dir, const char *name)
{
	nf_mem_node_ref(dir);
	return (struct place){.dir = dir, .name = nf_mem_strdup(name)};
}

static void free_change(struct nf_mem_name_change *change)
{
	nf_mem_node_unref(change->from.dir);
	free(change->from.name);
	nf_mem_node_unref(change->to.dir);
	free(change->to.name);
	nf_mem_node_unref(change->node);
	free(change);
}

/* Take away the name that `node` has in the durable tree, if any. */
static void detach_durably(struct nf_mem_node *node)
{
	if (node->durable_parent == NULL)
		return;
	struct nf_mem_dir *dir = &node->durable_parent->durable_entries;
	struct nf_mem_entry *entry = dir->entries;
	while (entry->node != node)
		entry++;
	node->durable_parent = NULL;
	remove_entry(dir, entry);
}

static void apply_durably(const struct nf_mem_name_change *change)
{
	const struct place *to = &change->to;

	detach_durably(change->node);
	if (to->dir == NULL)
		return;
	struct nf_mem_entry *replaced = find_entry(&to->dir->durable_entries, to->name);
	if (replaced != NULL)
		replaced->node->durable_parent = NULL;
	set_entry(&to->dir->durable_entries, to->name, change->node);
	change->node->durable_parent = to->dir;
}

/* Apply the chosen changes to the durable tree, in order; drop them, and with `drop_others` the others too. */
static void settle(struct nf_mem_names *names, bool drop_others)
{
	struct nf_mem_name_change **link = &names->changes;

	while (*link != NULL) {
		struct nf_mem_name_change *change = *link;
		if (!change->chosen && !drop_others) {
			link = &change->next;
			continue;
		}
		if (change->chosen)
			apply_durably(change);
		*link = change->next;
		names->change_count--;
		free_change(change);
	}
	names->changes_end = link;
}

/* Takes over `from` and `to`. */
static void add_change(struct nf_mem_names *names, struct nf_mem_node *node, struct place from, struct place to)
{
	struct nf_mem_name_change *change = nf_mem_alloc(sizeof(*change));

	nf_mem_node_ref(node);
	*change = (struct nf_mem_name_change){.node = node, .from = from, .to = to};
	*names->changes_end = change;
	names->changes_end = &change->next;
	if (++names->change_count <= WAITING_MAX)
		return;
	struct nf_mem_name_change *oldest = names->changes;
	for (unsigned i = 0; i < WAITING_MAX / 2; i++, oldest = oldest->next)
		oldest->chosen = true;
	settle(names, false);
}

static bool touches(const struct nf_mem_name_change *change, const struct nf_mem_node *dir)
{
	return change->from.dir == dir || change->to.dir == dir;
}

/* Choose the changes of `dir` before `end`; the other directory of a rename comes along up to there. */
static void choose(struct nf_mem_names *names, const struct nf_mem_node *dir, struct nf_mem_name_change *end)
{
	for (struct nf_mem_name_change *change = names->changes; change != end; change = change->next) {
		if (change->chosen || !touches(change, dir))
			continue;
		change->chosen = true;
		if (change->from.dir == NULL || change->to.dir == NULL || change->from.dir == change->to.dir)
			continue;
		choose(names, change->from.dir == dir ? change->to.dir : change->from.dir, change);
	}
}

void nf_mem_sync_names(struct nf_mem_names *names, struct nf_mem_node *dir)
{
	choose(names, dir, NULL);
	settle(names, false);
}

/* ---- operations ---- */

int nf_mem_link(struct nf_mem_names *names, const char *path, struct nf_mem_node *node)
{
	struct nf_mem_node *dir;
	const char *name;
	int rc = find_parent(names, path, &dir, &name);

	if (rc != 0)
		return rc;
	if (find_entry(&dir->entries, name) != NULL)
		return -EEXIST;
	set_entry(&dir->entries, name, node);
	node->links++;
	add_change(names, node, (struct place){0}, place_of(dir, name));
	return 0;
}

int nf_mem_unlink(struct nf_mem_names *names, const char *path, struct nf_mem_node **ret_gone)
{
	struct nf_mem_node *dir;
	const char *name;
	int rc = find_parent(names, path, &dir, &name);

	if (rc != 0)
		return rc;
	struct nf_mem_entry *entry = find_entry(&dir->entries, name);
	if (entry == NULL)
		return -ENOENT;
	struct nf_mem_node *node = entry->node;
	if (node->is_dir)
		return -EISDIR;
	add_change(names, node, place_of(dir, name), (struct place){0});
	node->links--;
	nf_mem_node_ref(node);
	remove_entry(&dir->entries, entry);
	*ret_gone = node;
	return 0;
}

/* May `node` take the place of `target`? */
static int check_replace(const struct nf_mem_node *node, const struct nf_mem_node *target)
{
	if (target->is_dir && !node->is_dir)
		return -EISDIR;
	if (!target->is_dir && node->is_dir)
		return -ENOTDIR;
	return target->is_dir && target->entries.count > 0 ? -ENOTEMPTY : 0;
}

int nf_mem_rename(struct nf_mem_names *names, const char *from, const char *to, struct nf_mem_node **ret_gone)
{
	struct nf_mem_node *from_dir, *to_dir;
	const char *from_name, *to_name;
	int rc = find_parent(names, from, &from_dir, &from_name);

	if (rc == 0)
		rc = find_parent(names, to, &to_dir, &to_name);
	if (rc != 0)
		return rc;
	struct nf_mem_entry *source = find_entry(&from_dir->entries, from_name);
	if (source == NULL)
		return -ENOENT;
	struct nf_mem_node *node = source->node;
	if (node->is_dir && from_dir != to_dir)
		return -EXDEV;
	struct nf_mem_entry *target = find_entry(&to_dir->entries, to_name);
	struct nf_mem_node *gone = NULL;
	if (target == source) {
		*ret_gone = NULL;
		return 0;
	}
	if (target != NULL) {
		rc = check_replace(node, target->node);
		if (rc != 0)
			return rc;
		gone = target->node;
	}
	add_change(names, node, place_of(from_dir, from_name), place_of(to_dir, to_name));
	if (gone != NULL) {
		gone->links--;
		nf_mem_node_ref(gone);
	}
	set_entry(&to_dir->entries, to_name, node);
	remove_entry(&from_dir->entries, find_entry(&from_dir->entries, from_name));
	*ret_gone = gone;
	return 0;
}

/* ---- power cut ---- */

static void copy_dir(struct nf_mem_dir *to, const struct nf_mem_dir *from)
{
	for (size_t i = 0; i < from->count; i++)
		set_entry(to, from->entries[i].name, from->entries[i].node);
}

/* Let the volatile tree be the durable one, from `dir` down. */
static void revert(struct nf_mem_node *dir, void (*each_file)(void *arg, struct nf_mem_node *file), void *arg)
{
	clear_dir(&dir->entries);
	copy_dir(&dir->entries, &dir->durable_entries);
	for (size_t i = 0; i < dir->entries.count; i++) {
		struct nf_mem_node *node = dir->entries.entries[i].node;
		if (node->is_dir) {
			revert(node, each_file, arg);
		} else {
			node->links = 1;
			each_file(arg, node);
		}
	}
}

void nf_mem_cut_names(struct nf_mem_names *names, struct nf_mem_random *random, unsigned kept_of_8,
		      void (*each_file)(void *arg, struct nf_mem_node *file), void *arg)
{
	for (struct nf_mem_name_change *change = names->changes; change != NULL; change = change->next)
		change->chosen = nf_mem_random_below(random, 8) < kept_of_8;
	settle(names, true);
	revert(names->root, each_file, arg);
}

/* ---- the whole ---- */

void nf_mem_names_init(struct nf_mem_names *names)
{
	*names = (struct nf_mem_names){.root = nf_mem_node_new(true)};
	names->changes_end = &names->changes;
}

void nf_mem_names_destroy(struct nf_mem_names *names)
{
	settle(names, true); /* nothing is chosen: all are dropped */
	nf_mem_node_unref(names->root);
}
