/* The plain in-memory model of a store: what every branch and snapshot must show.
 *
 * Everything is a reference-counted value that is copied before it is changed when someone else holds
 * it too: byte strings (`mm_blob`), inodes and whole trees. A tree is an array of inodes, so keeping a
 * frozen copy for a snapshot, or one for every operation since the last sync, costs one array.
 *
 * The model knows nothing of the store; it is single-threaded and dies on a lack of memory. */
#ifndef MM_H
#define MM_H

#include "common/nf_base.h"

#define MM_BLOCK ((size_t)NF_BLOCK_SIZE)

/* ---- byte strings: names, link targets, attribute values, blocks ---- */

struct mm_blob {
	uint32_t refs;
	size_t size;
	uint8_t bytes[];
};

struct mm_blob *mm_blob_new(const void *bytes, size_t size); /* bytes NULL: zeros */
struct mm_blob *mm_blob_text(const char *text);		     /* with its NUL */
struct mm_blob *mm_blob_ref(struct mm_blob *blob);
void mm_blob_unref(struct mm_blob *blob); /* NULL is legal */
bool mm_blob_same(const struct mm_blob *a, const struct mm_blob *b);
/* One block of zeros that is not a hole: "may be data, may be a hole". Borrowed. */
struct mm_blob *mm_zero_block(void);
bool mm_is_zero(const uint8_t *bytes, size_t size);

/* ---- inodes ---- */

struct mm_slot { /* one block of a regular file; a block with no slot is a hole */
	uint64_t blkno;
	struct mm_blob *block;
};

struct mm_entry { /* of a directory, sorted by name */
	struct mm_blob *name;
	uint64_t file;
};

struct mm_xattr { /* sorted by name */
	struct mm_blob *name;
	struct mm_blob *value;
};

struct mm_inode {
	uint32_t refs;
	uint64_t file;
	uint32_t mode, uid, gid, nlink, rdev;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	uint64_t parent;      /* directories */
	uint64_t named_at;    /* version of the tree in which its names (or its parent) last changed */
	uint64_t entries_at;  /* version in which its entries last changed (directories) */
	uint64_t size_bytes;  /* regular files */
	struct mm_blob *target; /* symbolic links */
	struct mm_slot *slots;
	size_t slot_count;
	struct mm_entry *entries;
	size_t entry_count;
	struct mm_xattr *xattrs;
	size_t xattr_count;
};

bool mm_is_dir(const struct mm_inode *inode);
bool mm_is_file(const struct mm_inode *inode);
bool mm_is_symlink(const struct mm_inode *inode);
struct mm_inode *mm_inode_new(uint64_t file, uint32_t mode, uint32_t uid, uint32_t gid);
struct mm_inode *mm_inode_ref(struct mm_inode *inode);
void mm_inode_unref(struct mm_inode *inode);

/* ---- content (of an inode nobody else holds) ---- */

/* The block, borrowed, or NULL for a hole. */
struct mm_blob *mm_block(const struct mm_inode *inode, uint64_t blkno);
void mm_block_set(struct mm_inode *inode, uint64_t blkno, struct mm_blob *block); /* takes the reference; NULL: hole */
void mm_write(struct mm_inode *inode, uint64_t offset, const void *bytes, size_t size);
void mm_truncate(struct mm_inode *inode, uint64_t size);
/* Zeros in the range, below the end of the file; whole blocks become holes (`hole`) or may become either. */
void mm_zero(struct mm_inode *inode, uint64_t offset, uint64_t size, bool hole);
/* Bytes read: up to the end of the file. */
size_t mm_read(const struct mm_inode *inode, uint64_t offset, void *buf, size_t size);
bool mm_same_content(const struct mm_inode *a, const struct mm_inode *b);

/* ---- extended attributes ---- */

struct mm_blob *mm_xattr_get(const struct mm_inode *inode, const char *name); /* borrowed, or NULL */
void mm_xattr_set(struct mm_inode *inode, const char *name, const void *value, size_t size);
void mm_xattr_remove(struct mm_inode *inode, const char *name);
bool mm_same_xattrs(const struct mm_inode *a, const struct mm_inode *b);

/* ---- directories ---- */

/* The file under `name`, or 0. */
uint64_t mm_entry_find(const struct mm_inode *dir, const char *name);
void mm_entry_set(struct mm_inode *dir, const char *name, uint64_t file); /* adds or replaces */
void mm_entry_remove(struct mm_inode *dir, const char *name);

/* ---- trees ---- */

#define MM_ROOT 1

struct mm_tree {
	uint32_t refs;
	uint64_t names_hash; /* of everything reachable: names, types, files; 0 = not computed yet;
				whoever changes a name sets it to 0 */
	struct mm_inode **inodes; /* sorted by file; includes unlinked files that are still open */
	size_t count;
};

struct mm_tree *mm_tree_new(void);
struct mm_tree *mm_tree_ref(struct mm_tree *tree);
void mm_tree_unref(struct mm_tree *tree);
/* A tree that only the caller holds: `tree` itself or a copy (then `tree` loses one reference). */
struct mm_tree *mm_tree_own(struct mm_tree *tree);
struct mm_inode *mm_get(const struct mm_tree *tree, uint64_t file); /* borrowed, read only; or NULL */
/* The inode, ready to be changed. The tree must be owned. */
struct mm_inode *mm_change(struct mm_tree *tree, uint64_t file);
void mm_add(struct mm_tree *tree, struct mm_inode *inode); /* takes the reference */
void mm_drop(struct mm_tree *tree, uint64_t file);
/* The directory and the name of one link of `file`, borrowed; NULL when it has none or is the root. */
const struct mm_inode *mm_name_of(const struct mm_tree *tree, uint64_t file, const char **ret_name);
/* True when `file` is `dir` or lies somewhere above it. */
bool mm_is_above(const struct mm_tree *tree, uint64_t file, uint64_t dir);
uint64_t mm_names_hash(struct mm_tree *tree);
/* The highest version that changed a name on the way from the root to `file` (any of its links). */
uint64_t mm_path_version(const struct mm_tree *tree, uint64_t file);

#endif
