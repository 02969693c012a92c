/* Nodes, directory entries in their two states, and the log of changes between them.
 * Everything here is guarded by pf.names. */
#include "powerfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct pf_node *pf_node_new(uint64_t id, uint32_t mode, uint32_t uid, uint32_t gid)
{
	struct pf_node *node = calloc(1, sizeof(*node));
	char name[32];

	if (!node)
		return NULL;
	*node = (struct pf_node){.id = id, .refs = 1, .mode = mode, .uid = uid, .gid = gid, .fd = -1, .next_cookie = 3};
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->atime = node->ctime = node->mtime;
	pthread_mutex_init(&node->lock, NULL);
	if (S_ISREG(mode)) {
		pf_object_name(id, name);
		node->fd = openat(pf.objects_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (node->fd < 0) {
			free(node);
			return NULL;
		}
	}
	node->next = pf.nodes;
	pf.nodes = node;
	return node;
}

static void node_free(struct pf_node *node)
{
	struct pf_node **at = &pf.nodes;
	char name[32];

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	if (node->fd >= 0) {
		pf_object_name(node->id, name);
		(void)unlinkat(pf.objects_fd, name, 0);
		close(node->fd);
	}
	pf_undo_clear(&node->undo);
	for (size_t i = 0; i < node->entry_count; i++)
		free(node->entries[i].name);
	free(node->entries);
	free(node->target);
	pthread_mutex_destroy(&node->lock);
	free(node);
}

void pf_node_ref(struct pf_node *node, uint64_t count)
{
	node->refs += count;
}

void pf_node_unref(struct pf_node *node, uint64_t count)
{
	node->refs -= count;
	if (node->refs == 0 && node != pf.root)
		node_free(node);
}

static struct pf_entry *entry_find(struct pf_node *dir, const char *name)
{
	for (size_t i = 0; i < dir->entry_count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static struct pf_entry *entry_make(struct pf_node *dir, const char *name)
{
	struct pf_entry *entry = entry_find(dir, name);
	char *copy;

	if (entry)
		return entry;
	if (dir->entry_count == dir->entry_capacity) {
		size_t capacity = dir->entry_capacity * 2 + 16;
		struct pf_entry *entries = realloc(dir->entries, capacity * sizeof(*entries));

		if (!entries)
			return NULL;
		dir->entries = entries;
		dir->entry_capacity = capacity;
	}
	copy = strdup(name);
	if (!copy)
		return NULL;
	entry = &dir->entries[dir->entry_count++];
	*entry = (struct pf_entry){.name = copy, .cookie = dir->next_cookie++};
	return entry;
}

static void entry_drop_if_unused(struct pf_node *dir, struct pf_entry *entry)
{
	if (entry->live || entry->durable)
		return;
	free(entry->name);
	dir->entry_count--;
	memmove(entry, entry + 1, (size_t)(dir->entries + dir->entry_count - entry) * sizeof(*entry));
}

struct pf_node *pf_lookup(struct pf_node *dir, const char *name)
{
	struct pf_entry *entry = entry_find(dir, name);

	return entry ? entry->live : NULL;
}

bool pf_dir_empty(struct pf_node *dir)
{
	for (size_t i = 0; i < dir->entry_count; i++)
		if (dir->entries[i].live)
			return false;
	return true;
}

static void set_live(struct pf_node *dir, const char *name, struct pf_node *node)
{
	struct pf_entry *entry = entry_find(dir, name);
	struct pf_node *old = entry->live;

	if (node) {
		pf_node_ref(node, 1);
		node->live_links++;
	}
	entry->live = node;
	entry_drop_if_unused(dir, entry);
	if (old) {
		old->live_links--;
		pf_node_unref(old, 1);
	}
}

/* The entry exists for a name being set; for one being removed it may be gone already. */
static void set_durable(struct pf_node *dir, const char *name, struct pf_node *node)
{
	struct pf_entry *entry = entry_find(dir, name);
	struct pf_node *old;

	if (!entry && node)
		entry = entry_make(dir, name);
	if (!entry)
		return;
	old = entry->durable;
	if (node)
		pf_node_ref(node, 1);
	entry->durable = node;
	entry_drop_if_unused(dir, entry);
	if (old)
		pf_node_unref(old, 1);
}

int pf_assign_loaded(struct pf_node *dir, const char *name, struct pf_node *node)
{
	if (!entry_make(dir, name))
		return -ENOMEM;
	set_live(dir, name, node);
	set_durable(dir, name, node);
	return 0;
}

/* ---- the log ---- */

static void change_free(struct pf_change *change)
{
	for (int i = 0; i < change->assign_count; i++) {
		struct pf_assign *assign = &change->assigns[i];

		if (assign->node)
			pf_node_unref(assign->node, 1);
		if (assign->dir)
			pf_node_unref(assign->dir, 1);
		free(assign->name);
	}
	if (change->removed_dir)
		pf_node_unref(change->removed_dir, 1);
	free(change);
}

static void change_make_durable(struct pf_change *change)
{
	for (int i = 0; i < change->assign_count; i++)
		set_durable(change->assigns[i].dir, change->assigns[i].name, change->assigns[i].node);
}

static int change_commit(struct pf_change *change)
{
	for (int i = 0; i < change->assign_count; i++)
		if (!change->assigns[i].name || !entry_make(change->assigns[i].dir, change->assigns[i].name)) {
			change_free(change);
			return -ENOMEM;
		}
	for (int i = 0; i < change->assign_count; i++)
		set_live(change->assigns[i].dir, change->assigns[i].name, change->assigns[i].node);
	*pf.changes_end = change;
	pf.changes_end = &change->next;
	pf.change_count++;
	if (pf.change_count > PF_CHANGES_MAX)
		pf_sync_all_names();
	return 0;
}

static void assign_init(struct pf_assign *assign, struct pf_node *dir, const char *name, struct pf_node *node)
{
	*assign = (struct pf_assign){.dir = dir, .name = strdup(name), .node = node};
	pf_node_ref(dir, 1);
	if (node)
		pf_node_ref(node, 1);
}

int pf_change_one(struct pf_node *dir, const char *name, struct pf_node *node, struct pf_node *removed_dir)
{
	struct pf_change *change = calloc(1, sizeof(*change));

	if (!change)
		return -ENOMEM;
	change->assign_count = 1;
	assign_init(&change->assigns[0], dir, name, node);
	change->removed_dir = removed_dir;
	if (removed_dir)
		pf_node_ref(removed_dir, 1);
	return change_commit(change);
}

int pf_change_two(struct pf_node *dir1, const char *name1, struct pf_node *node1, struct pf_node *dir2,
		  const char *name2, struct pf_node *node2)
{
	struct pf_change *change = calloc(1, sizeof(*change));

	if (!change)
		return -ENOMEM;
	change->assign_count = 2;
	assign_init(&change->assigns[0], dir1, name1, node1);
	assign_init(&change->assigns[1], dir2, name2, node2);
	return change_commit(change);
}

static bool change_in_dir(const struct pf_change *change, const struct pf_node *dir)
{
	for (int i = 0; i < change->assign_count; i++)
		if (change->assigns[i].dir == dir)
			return true;
	return false;
}

/* Can `later` not have happened without `earlier`? They set the same name, or `later` removed the directory. */
static bool stands_on(const struct pf_change *later, const struct pf_change *earlier)
{
	if (later->removed_dir && change_in_dir(earlier, later->removed_dir))
		return true;
	for (int i = 0; i < later->assign_count; i++)
		for (int k = 0; k < earlier->assign_count; k++)
			if (later->assigns[i].dir == earlier->assigns[k].dir &&
			    strcmp(later->assigns[i].name, earlier->assigns[k].name) == 0)
				return true;
	return false;
}

/* Make the marked changes, and all that they stand on, durable; the rest stays in the log. */
static void sync_marked(void)
{
	bool grew = true;

	while (grew) {
		grew = false;
		for (struct pf_change *later = pf.changes; later; later = later->next)
			for (struct pf_change *earlier = pf.changes; later->marked && earlier != later;
			     earlier = earlier->next)
				if (!earlier->marked && stands_on(later, earlier))
					earlier->marked = grew = true;
	}
	struct pf_change *change = pf.changes;
	pf.changes = NULL;
	pf.changes_end = &pf.changes;
	pf.change_count = 0;
	while (change) {
		struct pf_change *next = change->next;

		if (change->marked) {
			change_make_durable(change);
			change_free(change);
		} else {
			change->next = NULL;
			*pf.changes_end = change;
			pf.changes_end = &change->next;
			pf.change_count++;
		}
		change = next;
	}
}

void pf_sync_dir(struct pf_node *dir)
{
	for (struct pf_change *change = pf.changes; change; change = change->next)
		change->marked = change_in_dir(change, dir);
	sync_marked();
}

static void mark_names_of(struct pf_node *node)
{
	for (struct pf_change *change = pf.changes; change; change = change->next)
		for (int i = 0; i < change->assign_count && !change->marked; i++)
			if (change->assigns[i].node == node) {
				change->marked = true;
				mark_names_of(change->assigns[i].dir);
			}
}

void pf_sync_names_of(struct pf_node *node)
{
	for (struct pf_change *change = pf.changes; change; change = change->next)
		change->marked = false;
	mark_names_of(node);
	sync_marked();
}

void pf_sync_all_names(void)
{
	for (struct pf_change *change = pf.changes; change; change = change->next)
		change->marked = true;
	sync_marked();
}

void pf_resolve_changes(bool (*keep)(void *arg), void *arg, uint64_t *ret_kept, uint64_t *ret_dropped)
{
	uint64_t kept = 0, dropped = 0;

	for (struct pf_change *later = pf.changes; later; later = later->next) {
		later->marked = keep(arg);
		for (struct pf_change *earlier = pf.changes; earlier != later; earlier = earlier->next)
			if (!earlier->marked && stands_on(later, earlier))
				later->marked = false;
		if (later->marked)
			kept++;
		else
			dropped++;
	}
	for (struct pf_change *change = pf.changes, *next; change; change = next) {
		next = change->next;
		if (change->marked)
			change_make_durable(change);
		change_free(change);
	}
	pf.changes = NULL;
	pf.changes_end = &pf.changes;
	pf.change_count = 0;
	*ret_kept = kept;
	*ret_dropped = dropped;
}
