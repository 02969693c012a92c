/* Inodes, directories and trees of the model. */
#include "mm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool mm_is_dir(const struct mm_inode *inode)
{
	return S_ISDIR(inode->mode);
}

bool mm_is_file(const struct mm_inode *inode)
{
	return S_ISREG(inode->mode);
}

bool mm_is_symlink(const struct mm_inode *inode)
{
	return S_ISLNK(inode->mode);
}

/* ---- inodes ---- */

struct mm_inode *mm_inode_new(uint64_t file, uint32_t mode, uint32_t uid, uint32_t gid)
{
	struct mm_inode *inode = calloc(1, sizeof(*inode));

	if (inode == NULL)
		abort();
	inode->refs = 1;
	inode->file = file;
	inode->mode = mode;
	inode->uid = uid;
	inode->gid = gid;
	inode->nlink = S_ISDIR(mode) ? 2 : 1;
	return inode;
}

struct mm_inode *mm_inode_ref(struct mm_inode *inode)
{
	inode->refs++;
	return inode;
}

void mm_inode_unref(struct mm_inode *inode)
{
	if (inode == NULL || --inode->refs > 0)
		return;
	for (size_t i = 0; i < inode->slot_count; i++)
		mm_blob_unref(inode->slots[i].block);
	for (size_t i = 0; i < inode->entry_count; i++)
		mm_blob_unref(inode->entries[i].name);
	for (size_t i = 0; i < inode->xattr_count; i++) {
		mm_blob_unref(inode->xattrs[i].name);
		mm_blob_unref(inode->xattrs[i].value);
	}
	mm_blob_unref(inode->target);
	free(inode->slots);
	free(inode->entries);
	free(inode->xattrs);
	free(inode);
}

static void *copy_array(const void *from, size_t count, size_t size)
{
	void *to;

	if (count == 0)
		return NULL;
	to = malloc(count * size);
	if (to == NULL)
		abort();
	memcpy(to, from, count * size);
	return to;
}

static struct mm_inode *inode_copy(const struct mm_inode *from)
{
	struct mm_inode *to = copy_array(from, 1, sizeof(*from));

	to->refs = 1;
	to->slots = copy_array(from->slots, from->slot_count, sizeof(*from->slots));
	to->entries = copy_array(from->entries, from->entry_count, sizeof(*from->entries));
	to->xattrs = copy_array(from->xattrs, from->xattr_count, sizeof(*from->xattrs));
	for (size_t i = 0; i < to->slot_count; i++)
		mm_blob_ref(to->slots[i].block);
	for (size_t i = 0; i < to->entry_count; i++)
		mm_blob_ref(to->entries[i].name);
	for (size_t i = 0; i < to->xattr_count; i++) {
		mm_blob_ref(to->xattrs[i].name);
		mm_blob_ref(to->xattrs[i].value);
	}
	if (to->target != NULL)
		mm_blob_ref(to->target);
	return to;
}

/* ---- directories ---- */

static size_t entry_search(const struct mm_inode *dir, const char *name)
{
	size_t low = 0, high = dir->entry_count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (strcmp((const char *)dir->entries[mid].name->bytes, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool entry_at(const struct mm_inode *dir, size_t at, const char *name)
{
	return at < dir->entry_count && strcmp((const char *)dir->entries[at].name->bytes, name) == 0;
}

uint64_t mm_entry_find(const struct mm_inode *dir, const char *name)
{
	size_t at = entry_search(dir, name);

	return entry_at(dir, at, name) ? dir->entries[at].file : 0;
}

void mm_entry_set(struct mm_inode *dir, const char *name, uint64_t file)
{
	size_t at = entry_search(dir, name);

	if (entry_at(dir, at, name)) {
		dir->entries[at].file = file;
		return;
	}
	dir->entries = realloc(dir->entries, (dir->entry_count + 1) * sizeof(*dir->entries));
	if (dir->entries == NULL)
		abort();
	memmove(&dir->entries[at + 1], &dir->entries[at], (dir->entry_count - at) * sizeof(*dir->entries));
	dir->entries[at] = (struct mm_entry){.name = mm_blob_text(name), .file = file};
	dir->entry_count++;
}

void mm_entry_remove(struct mm_inode *dir, const char *name)
{
	size_t at = entry_search(dir, name);

	assert(entry_at(dir, at, name));
	mm_blob_unref(dir->entries[at].name);
	dir->entry_count--;
	memmove(&dir->entries[at], &dir->entries[at + 1], (dir->entry_count - at) * sizeof(*dir->entries));
}

/* ---- trees ---- */

struct mm_tree *mm_tree_new(void)
{
	struct mm_tree *tree = calloc(1, sizeof(*tree));

	if (tree == NULL)
		abort();
	tree->refs = 1;
	return tree;
}

struct mm_tree *mm_tree_ref(struct mm_tree *tree)
{
	tree->refs++;
	return tree;
}

void mm_tree_unref(struct mm_tree *tree)
{
	if (tree == NULL || --tree->refs > 0)
		return;
	for (size_t i = 0; i < tree->count; i++)
		mm_inode_unref(tree->inodes[i]);
	free(tree->inodes);
	free(tree);
}

struct mm_tree *mm_tree_own(struct mm_tree *tree)
{
	struct mm_tree *copy;

	if (tree->refs == 1)
		return tree;
	copy = mm_tree_new();
	copy->inodes = copy_array(tree->inodes, tree->count, sizeof(struct mm_inode *));
	copy->count = tree->count;
	copy->names_hash = tree->names_hash;
	for (size_t i = 0; i < copy->count; i++)
		mm_inode_ref(copy->inodes[i]);
	mm_tree_unref(tree);
	return copy;
}

static size_t inode_search(const struct mm_tree *tree, uint64_t file)
{
	size_t low = 0, high = tree->count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (tree->inodes[mid]->file < file)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct mm_inode *mm_get(const struct mm_tree *tree, uint64_t file)
{
	size_t at = inode_search(tree, file);

	return at < tree->count && tree->inodes[at]->file == file ? tree->inodes[at] : NULL;
}

struct mm_inode *mm_change(struct mm_tree *tree, uint64_t file)
{
	size_t at = inode_search(tree, file);
	struct mm_inode *copy;

	assert(tree->refs == 1 && at < tree->count && tree->inodes[at]->file == file);
	if (tree->inodes[at]->refs > 1) {
		copy = inode_copy(tree->inodes[at]);
		mm_inode_unref(tree->inodes[at]);
		tree->inodes[at] = copy;
	}
	return tree->inodes[at];
}

void mm_add(struct mm_tree *tree, struct mm_inode *inode)
{
	size_t at = inode_search(tree, inode->file);

	assert(tree->refs == 1 && mm_get(tree, inode->file) == NULL);
	tree->inodes = realloc(tree->inodes, (tree->count + 1) * sizeof(struct mm_inode *));
	if (tree->inodes == NULL)
		abort();
	memmove(&tree->inodes[at + 1], &tree->inodes[at], (tree->count - at) * sizeof(struct mm_inode *));
	tree->inodes[at] = inode;
	tree->count++;
}

void mm_drop(struct mm_tree *tree, uint64_t file)
{
	size_t at = inode_search(tree, file);

	assert(tree->refs == 1 && at < tree->count && tree->inodes[at]->file == file);
	mm_inode_unref(tree->inodes[at]);
	tree->count--;
	memmove(&tree->inodes[at], &tree->inodes[at + 1], (tree->count - at) * sizeof(struct mm_inode *));
}

const struct mm_inode *mm_name_of(const struct mm_tree *tree, uint64_t file, const char **ret_name)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct mm_inode *dir = tree->inodes[i];
		for (size_t k = 0; k < dir->entry_count; k++)
			if (dir->entries[k].file == file) {
				*ret_name = (const char *)dir->entries[k].name->bytes;
				return dir;
			}
	}
	return NULL;
}

bool mm_is_above(const struct mm_tree *tree, uint64_t file, uint64_t dir)
{
	for (;;) {
		if (dir == file)
			return true;
		if (dir == MM_ROOT)
			return false;
		const struct mm_inode *inode = mm_get(tree, dir);
		if (inode == NULL)
			return false;
		dir = inode->parent;
	}
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash ^= value;
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

static uint64_t hash_dir(const struct mm_tree *tree, const struct mm_inode *dir, uint64_t hash)
{
	for (size_t i = 0; i < dir->entry_count; i++) {
		const struct mm_entry *entry = &dir->entries[i];
		const struct mm_inode *inode = mm_get(tree, entry->file);
		assert(inode != NULL);
		for (size_t k = 0; k < entry->name->size; k++)
			hash = mix(hash, entry->name->bytes[k]);
		hash = mix(hash, inode->file);
		hash = mix(hash, inode->mode >> 12);
		if (mm_is_dir(inode))
			hash = hash_dir(tree, inode, mix(hash, 1));
		hash = mix(hash, 2);
	}
	return hash;
}

uint64_t mm_names_hash(struct mm_tree *tree)
{
	if (tree->names_hash == 0)
		tree->names_hash = hash_dir(tree, mm_get(tree, MM_ROOT), 1) | 1;
	return tree->names_hash;
}

static uint64_t dir_path_version(const struct mm_tree *tree, const struct mm_inode *dir)
{
	uint64_t version = dir->named_at;

	while (dir->file != MM_ROOT) {
		dir = mm_get(tree, dir->parent);
		if (dir == NULL) /* inside a directory that was removed: nothing names it any more */
			return 0;
		version = NF_MAX(version, dir->named_at);
	}
	return version;
}

uint64_t mm_path_version(const struct mm_tree *tree, uint64_t file)
{
	const struct mm_inode *inode = mm_get(tree, file);
	uint64_t version = 0;

	if (inode->nlink == 0)
		return 0;
	if (mm_is_dir(inode))
		return dir_path_version(tree, inode);
	for (size_t i = 0; i < tree->count; i++) {
		const struct mm_inode *dir = tree->inodes[i];
		for (size_t k = 0; k < dir->entry_count; k++)
			if (dir->entries[k].file == file)
				version = NF_MAX(version, dir_path_version(tree, dir));
	}
	return NF_MAX(version, inode->named_at);
}
