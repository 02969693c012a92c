/* Comparing two views: the trees are walked side by side in name order; of files the block maps are compared, never the bytes.
 *
 * A block counts as the same when it has the same place, or the same checksum (a block may have moved, or was cloned). A hole counts as
 * a block of zeros; a block that a redo layer has still to make as something of its own. Heads are compared through their inodes in memory, so nothing has to be flushed; a head that is written to
 * meanwhile gives for each file a state of its own moment. */
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "blockdev/file/inode.h"
#include "blockdev/layer/layer.h"

typedef int (*diff_fn)(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks);

enum side { A, B, SIDES };

/* One directory of the walk; on a side where it is not there, `listing` is NULL. */
struct level {
	struct level *up;
	struct bd_listing *listing[SIDES];
	size_t at[SIDES];
	size_t path_size; /* of the directory's own path, with its slash */
};

/* What comparing the blocks of two files needs. */
struct leaves {
	struct bd_store *store;
	uint64_t zero_sum; /* of a block of zeros */
	struct bd_entry entries[SIDES][BD_LEAF_BLOCKS];
};

struct diff {
	struct bd_store *store;
	struct bd_branch *branch[SIDES];
	uint32_t epoch[SIDES];
	diff_fn each;
	void *arg;
	char *path;
	size_t path_capacity;
	struct level *level;
	struct leaves leaves;
};

static void level_pop(struct diff *diff)
{
	struct level *level = diff->level;
	diff->level = level->up;
	bd_listing_free(level->listing[A]);
	bd_listing_free(level->listing[B]);
	free(level);
}

/* Go into a directory; `inodes` are NULL where it is not there. */
static int level_push(struct diff *diff, struct bd_inode *const inodes[SIDES], size_t path_size)
{
	struct level *level = calloc(1, sizeof(*level));
	if (level == NULL)
		return -ENOMEM;
	level->up = diff->level;
	level->path_size = path_size;
	diff->level = level;
	int error = 0;
	for (enum side s = A; s < SIDES && error == 0; s++) {
		if (inodes[s] != NULL)
			error = bd_readdir(inodes[s], &level->listing[s]);
	}
	return error;
}

/* diff->path := the level's path + name. *ret_size is the size with a slash behind it (there is room for one). */
static int path_set(struct diff *diff, const char *name, size_t *ret_size)
{
	size_t base = diff->level->path_size, name_size = strlen(name), size = base + name_size + 1;
	if (size + 1 > diff->path_capacity) {
		size_t capacity = size * 2 + 256;
		char *path = realloc(diff->path, capacity);
		if (path == NULL)
			return -ENOMEM;
		diff->path = path;
		diff->path_capacity = capacity;
	}
	memcpy(diff->path + base, name, name_size);
	diff->path[size - 1] = '\0';
	*ret_size = size;
	return 0;
}

/* ---- blocks */

/* One leaf of a file as it is now; nothing (all holes) without an inode or beyond its end. */
static int copy_leaf(struct bd_inode *inode, uint32_t index, struct bd_entry *entries)
{
	memset(entries, 0, BD_LEAF_BLOCKS * sizeof(*entries));
	if (inode == NULL)
		return 0;
	struct bd_leaf *leaf;
	pthread_rwlock_wrlock(&inode->lock);
	int error = bd_map_leaf(inode, index, &leaf);
	uint32_t first = index << BD_LEAF_SHIFT, end = blocks_of(inode->attr.size_bytes);
	if (error == 0 && end > first)
		memcpy(entries, leaf->entries, NF_MIN(end - first, BD_LEAF_BLOCKS) * sizeof(*entries));
	pthread_rwlock_unlock(&inode->lock);
	return error;
}

static int next_leaf(struct bd_inode *inode, uint32_t from, uint32_t *ret_leaf)
{
	*ret_leaf = UINT32_MAX;
	if (inode == NULL)
		return 0;
	pthread_rwlock_wrlock(&inode->lock);
	int error = bd_map_next(inode, from, ret_leaf);
	pthread_rwlock_unlock(&inode->lock);
	return error;
}

static bool same_block(const struct leaves *leaves, const struct bd_entry *a, const struct bd_entry *b)
{
	bool a_hole = a->loc == BD_LOC_NONE || a->loc == BD_LOC_HOLE, b_hole = b->loc == BD_LOC_NONE || b->loc == BD_LOC_HOLE;
	/* Blocks that are to be made are the same through the same layer. */
	if (a->loc == BD_LOC_REDO || b->loc == BD_LOC_REDO)
		return a->loc == b->loc && a->sum == b->sum;
	uint64_t a_sum = a_hole ? leaves->zero_sum : a->sum, b_sum = b_hole ? leaves->zero_sum : b->sum;
	return a_sum == b_sum || (a->loc == b->loc && !a_hole && !b_hole);
}

static int leaves_init(struct leaves *leaves, struct bd_store *store)
{
	uint8_t *zeros = calloc(1, NF_BLOCK_SIZE);
	if (zeros == NULL)
		return -ENOMEM;
	leaves->store = store;
	leaves->zero_sum = XXH3_64bits(zeros, NF_BLOCK_SIZE);
	free(zeros);
	return 0;
}

/* Call `each` for every block that differs, in rising order. What one file does not have counts as holes. */
static int each_block(struct leaves *leaves, struct bd_inode *const inodes[SIDES], int (*each)(void *arg, uint32_t block),
		      void *arg)
{
	uint32_t at = 0;
	int error = 0;
	while (error == 0) {
		uint32_t next[SIDES];
		for (enum side s = A; s < SIDES && error == 0; s++)
			error = next_leaf(inodes[s], at, &next[s]);
		if (error != 0)
			break;
		at = NF_MIN(next[A], next[B]);
		if (at == UINT32_MAX)
			break;
		for (enum side s = A; s < SIDES && error == 0; s++)
			error = copy_leaf(inodes[s], at, leaves->entries[s]);
		for (uint32_t i = 0; i < BD_LEAF_BLOCKS && error == 0; i++)
			if (!same_block(leaves, &leaves->entries[A][i], &leaves->entries[B][i]))
				error = each(arg, (at << BD_LEAF_SHIFT) + i);
		at++;
	}
	bd_leaf_cache_trim(leaves->store);
	return error;
}

static int count_block(void *arg, uint32_t block)
{
	(void)block;
	(*(uint64_t *)arg)++;
	return 0;
}

/* Every layer that one of the files is seen through is open. */
static int open_layers(struct bd_inode *const inodes[SIDES])
{
	int error = 0;
	for (enum side s = A; s < SIDES && error == 0; s++) {
		if (inodes[s] != NULL)
			error = bd_inode_open_layers(inodes[s]);
	}
	return error;
}

int bd_diff_blocks(struct bd_store *store, struct bd_inode *a, struct bd_inode *b, int (*each)(void *arg, uint32_t block),
		   void *arg)
{
	struct bd_inode *const inodes[SIDES] = {a, b};
	struct leaves *leaves = calloc(1, sizeof(*leaves));
	int error = leaves != NULL ? leaves_init(leaves, store) : -ENOMEM;
	if (error == 0)
		error = open_layers(inodes);
	if (error == 0)
		error = each_block(leaves, inodes, each, arg);
	free(leaves);
	return error;
}

/* ---- metadata */

/* The xattr names of an inode, malloc'd, NUL-terminated one after the other. */
static int xattr_names(struct bd_inode *inode, char **ret_names, size_t *ret_size)
{
	for (;;) {
		ssize_t size = bd_xattr_list(inode, NULL, 0);
		if (size < 0)
			return (int)size;
		char *names = malloc((size_t)size + 1);
		if (names == NULL)
			return -ENOMEM;
		ssize_t got = size > 0 ? bd_xattr_list(inode, names, (size_t)size) : 0;
		if (got >= 0) {
			*ret_names = names;
			*ret_size = (size_t)got;
			return 0;
		}
		free(names);
		if (got != -ERANGE) /* else it has grown meanwhile */
			return (int)got;
	}
}

/* 1 when both have the xattr with the same value, 0 when not. */
static int xattr_same(struct bd_inode *const inodes[SIDES], const char *name)
{
	uint8_t *values = malloc((size_t)SIDES * BD_XATTR_VALUE_MAX);
	if (values == NULL)
		return -ENOMEM;
	ssize_t sizes[SIDES];
	int result = 1;
	for (enum side s = A; s < SIDES && result == 1; s++) {
		sizes[s] = bd_xattr_get(inodes[s], name, values + (size_t)s * BD_XATTR_VALUE_MAX, BD_XATTR_VALUE_MAX);
		if (sizes[s] < 0)
			result = sizes[s] == -ENODATA ? 0 : (int)sizes[s];
	}
	if (result == 1)
		result = sizes[A] == sizes[B] && memcmp(values, values + BD_XATTR_VALUE_MAX, (size_t)sizes[A]) == 0;
	free(values);
	return result;
}

static int xattrs_same(struct bd_inode *const inodes[SIDES])
{
	char *names[SIDES] = {NULL, NULL};
	size_t sizes[SIDES];
	int result = xattr_names(inodes[A], &names[A], &sizes[A]);
	if (result == 0)
		result = xattr_names(inodes[B], &names[B], &sizes[B]);
	/* Names are unique, so equal sizes and every name of one in the other make equal sets. */
	if (result == 0)
		result = sizes[A] == sizes[B];
	for (size_t at = 0; result == 1 && at < sizes[A]; at += strlen(names[A] + at) + 1)
		result = xattr_same(inodes, names[A] + at);
	free(names[A]);
	free(names[B]);
	return result;
}

static int targets_same(struct bd_inode *const inodes[SIDES])
{
	char *targets = malloc((size_t)SIDES * (BD_SYMLINK_MAX + 1));
	if (targets == NULL)
		return -ENOMEM;
	int result = bd_readlink(inodes[A], targets);
	if (result == 0)
		result = bd_readlink(inodes[B], targets + BD_SYMLINK_MAX + 1);
	if (result == 0)
		result = strcmp(targets, targets + BD_SYMLINK_MAX + 1) == 0;
	free(targets);
	return result;
}

/* 1 when nothing but times and content may differ, 0 when something does. */
static int meta_same(struct bd_inode *const inodes[SIDES], const struct bd_attr *a, const struct bd_attr *b)
{
	if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->rdev != b->rdev)
		return 0;
	int result = S_ISLNK(a->mode) ? targets_same(inodes) : 1;
	return result == 1 ? xattrs_same(inodes) : result;
}

/* ---- the walk */

/* One path, there on one or both sides. */
static int compare(struct diff *diff, struct bd_inode *const inodes[SIDES])
{
	struct bd_attr attrs[SIDES];
	memset(attrs, 0, sizeof(attrs));
	for (enum side s = A; s < SIDES; s++) {
		if (inodes[s] != NULL)
			bd_inode_attr(inodes[s], &attrs[s]);
	}
	uint64_t blocks = 0;
	bool has_blocks = S_ISREG(attrs[inodes[A] != NULL ? A : B].mode);
	int error = open_layers(inodes);
	if (error == 0 && has_blocks)
		error = each_block(&diff->leaves, inodes, count_block, &blocks);
	if (error != 0)
		return error;
	if (inodes[A] == NULL || inodes[B] == NULL)
		return diff->each(diff->arg, inodes[A] == NULL ? BD_DIFF_ADDED : BD_DIFF_REMOVED, diff->path, blocks);
	if (blocks > 0 || (has_blocks && attrs[A].size_bytes != attrs[B].size_bytes))
		return diff->each(diff->arg, BD_DIFF_CHANGED, diff->path, blocks);
	int same = meta_same(inodes, &attrs[A], &attrs[B]);
	if (same < 0)
		return same;
	return same == 1 ? 0 : diff->each(diff->arg, BD_DIFF_META, diff->path, 0);
}

/* Compare one name; NULL where it is not there. Directories are gone into. */
static int visit(struct diff *diff, const struct bd_dirent *const entries[SIDES])
{
	struct bd_inode *inodes[SIDES] = {NULL, NULL};
	size_t path_size;
	const struct bd_dirent *any = entries[A] != NULL ? entries[A] : entries[B];
	int error = path_set(diff, any->name, &path_size);
	for (enum side s = A; s < SIDES && error == 0; s++) {
		if (entries[s] == NULL)
			continue;
		error = bd_inode_get(diff->store, diff->branch[s], diff->epoch[s], entries[s]->file.v, &inodes[s]);
		if (error == -ENOENT && diff->epoch[s] == UINT32_MAX)
			error = 0; /* unlinked since the directory was listed */
		else if (error == -ENOENT)
			error = -EUCLEAN; /* a name without its inode */
	}
	if (error == 0 && (inodes[A] != NULL || inodes[B] != NULL)) {
		error = compare(diff, inodes);
		if (error == 0 && S_ISDIR(any->type)) {
			diff->path[path_size - 1] = '/';
			error = level_push(diff, inodes, path_size);
			if (error == -ENOTDIR)
				error = -EUCLEAN;
		}
	}
	for (enum side s = A; s < SIDES; s++)
		bd_inode_unref(inodes[s], inodes[s] != NULL);
	return error;
}

static const struct bd_dirent *peek(const struct level *level, enum side s)
{
	const struct bd_listing *listing = level->listing[s];
	return listing != NULL && level->at[s] < listing->count ? &listing->entries[level->at[s]] : NULL;
}

/* The next name of the level, or both NULL. One name with two types comes as two names, the old one first. */
static void take_next(struct level *level, const struct bd_dirent *ret_entries[SIDES])
{
	const struct bd_dirent *a = peek(level, A), *b = peek(level, B);
	int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a->name, b->name);
	if (order == 0 && (a->type & S_IFMT) != (b->type & S_IFMT))
		order = -1;
	ret_entries[A] = order <= 0 ? a : NULL;
	ret_entries[B] = order >= 0 ? b : NULL;
	level->at[A] += ret_entries[A] != NULL;
	level->at[B] += ret_entries[B] != NULL;
}

/* The roots are held to the end: so the views keep their versions, also when their snapshots are deleted meanwhile. */
static int walk(struct diff *diff, const struct bd_view views[SIDES])
{
	struct bd_inode *roots[SIDES] = {NULL, NULL};
	int error = 0;
	for (enum side s = A; s < SIDES && error == 0; s++)
		error = bd_root(diff->store, views[s], &roots[s]);
	if (error == 0)
		error = level_push(diff, roots, 0);
	while (error == 0 && diff->level != NULL) {
		const struct bd_dirent *entries[SIDES];
		take_next(diff->level, entries);
		if (entries[A] == NULL && entries[B] == NULL)
			level_pop(diff);
		else
			error = visit(diff, entries);
	}
	for (enum side s = A; s < SIDES; s++)
		bd_inode_unref(roots[s], roots[s] != NULL);
	return error;
}

int bd_diff(struct bd_store *store, struct bd_view a, struct bd_view b,
	    int (*each)(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks), void *arg)
{
	struct diff *diff = calloc(1, sizeof(*diff));
	int error = diff != NULL ? leaves_init(&diff->leaves, store) : -ENOMEM;
	if (error == 0) {
		diff->store = store;
		diff->each = each;
		diff->arg = arg;
		diff->epoch[A] = a.epoch.v;
		diff->epoch[B] = b.epoch.v;
		diff->branch[A] = bd_branch_acquire(store, a.branch.v);
		diff->branch[B] = bd_branch_acquire(store, b.branch.v);
		error = diff->branch[A] != NULL && diff->branch[B] != NULL ? walk(diff, (const struct bd_view[]){a, b}) : -ENOENT;
		while (diff->level != NULL)
			level_pop(diff);
		bd_branch_release(diff->branch[A]);
		bd_branch_release(diff->branch[B]);
		free(diff->path);
	}
	free(diff);
	return error;
}
