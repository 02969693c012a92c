/* The test's context: a store, its model, and what ties them together.
 *
 * Versions. Every operation has a number. An operation that changes a branch adds the branch's new tree
 * to its history under that number; trees share what did not change. History starts at a point that is
 * known to be durable (after a sync, snapshot, clean close or recovery).
 *
 * Floors. A floor is the version that a part of the state must at least have after a crash: an fsync
 * raises the floors of its file (content, size, attributes) and of the names that lead to it. After a
 * crash the names of a branch must be those of ONE version at or above the floor; each block, size and
 * attribute must be that of SOME version at or above its own.
 *
 * Any difference between store and model ends the program through mt_fail, which prints the last
 * operations and how to run the same sequence again. Single-threaded. */
#ifndef MT_H
#define MT_H

#include "blockdev/bd.h"
#include "mm.h"

#define MT_BRANCHES 6
#define MT_SNAPSHOTS 10
#define MT_INODES 48		/* of a tree; creations beyond it are skipped */
#define MT_HANDLES 24
#define MT_TRACE_LINES 64
#define MT_TRACE_SIZE 256
#define MT_HISTORY_MAX 2500	/* versions of a branch before a sync is forced */
#define MT_BUFFER (1u << 20)

struct mt_version {
	uint64_t op;
	struct mm_tree *tree;
};

struct mt_block_floor { /* a block of a synchronous write: it must be there, so the file reaches at least to `end` */
	uint64_t file, blkno, op, end;
};

struct mt_floor {
	uint64_t file;
	uint64_t data, size, attr;
};

struct mt_replaced { /* a rename over an existing name: if it survives, so does the content of `file` at that time */
	uint64_t op, file;
};

struct mt_branch {
	bool used;
	char name[BD_BRANCH_NAME_MAX + 1];
	struct bd_branch_id id, parent;
	struct bd_epoch parent_epoch, epoch;
	bool is_protected;
	struct mm_tree *head;
	struct mt_version *history; /* history[history_count - 1].tree == head */
	size_t history_count;
	uint64_t names_floor;
	struct mt_floor *floors;
	size_t floor_count;
	struct mt_block_floor *block_floors;
	size_t block_floor_count;
	struct mt_replaced *replaced;
	size_t replaced_count;
};

struct mt_snapshot {
	bool used;
	unsigned branch;
	char label[BD_BRANCH_NAME_MAX + 1];
	struct bd_epoch epoch;
	struct mm_tree *tree;
};

struct mt_handle { /* an open file */
	struct bd_inode *inode; /* NULL: free */
	unsigned branch;
	uint64_t file;
};

struct mt {
	uint64_t seed, random;
	uint64_t ops, op;
	uint64_t crash_every, crashes;
	uint64_t epsilon_ns;
	bool trace;
	const char *program;
	char path[256]; /* of the index */
	struct nf_io *io;
	struct bd_store *store;
	struct bd_open_options options;
	struct mt_branch branches[MT_BRANCHES];
	struct mt_snapshot snapshots[MT_SNAPSHOTS];
	struct mt_handle handles[MT_HANDLES];
	uint64_t highest_file; /* seen so far */
	unsigned kinds;	       /* of operations in use */
	unsigned next_name;    /* for new branch names and labels */
	int64_t started_ns;    /* of the current operation */
	uint8_t *buf, *expect; /* MT_BUFFER bytes each */
	char lines[MT_TRACE_LINES][MT_TRACE_SIZE];
	uint64_t line_count;
};

/* ---- mt.c: trace, random numbers, versions ---- */

_Noreturn void mt_fail(struct mt *mt, const char *format, ...) NF_PRINTF(2, 3);
/* One line a step; shown with --trace and, the last ones, on failure. */
void mt_trace(struct mt *mt, const char *format, ...) NF_PRINTF(2, 3);
/* The store's answer must be the model's. */
void mt_expect(struct mt *mt, const char *what, int64_t got, int64_t want);
uint64_t mt_random(struct mt *mt);
uint64_t mt_below(struct mt *mt, uint64_t bound);
bool mt_chance(struct mt *mt, unsigned per_thousand);
/* Bytes that are not seen twice. */
void mt_fill(struct mt *mt, uint8_t *bytes, size_t size);
int64_t mt_now_ns(void);

/* The head's tree, ready to be changed. mt_commit makes it the branch's newest version. */
struct mm_tree *mt_begin(struct mt *mt, unsigned branch);
void mt_commit(struct mt *mt, unsigned branch, bool names_changed);
/* The branch's state is durable as it is: forget older versions and all floors. */
void mt_durable(struct mt *mt, unsigned branch);
/* The floors of `file`, made when it has none yet; valid until the next call. */
struct mt_floor *mt_floor_of(struct mt *mt, unsigned branch, uint64_t file);
void mt_add_block_floor(struct mt *mt, unsigned branch, uint64_t file, uint64_t blkno, uint64_t end);
void mt_add_replaced(struct mt *mt, unsigned branch, uint64_t file);
/* The file was synced: content, size and the names that lead to it. */
void mt_raise_floor(struct mt *mt, unsigned branch, uint64_t file, bool attributes_too);
void mt_branch_clear(struct mt_branch *branch);
/* A branch that is in use, or MT_BRANCHES when there is none. */
unsigned mt_any_branch(struct mt *mt);
struct bd_view mt_head_view(const struct mt *mt, unsigned branch);
struct bd_view mt_snapshot_view(const struct mt *mt, unsigned snapshot);

/* ---- mt_inode.c: from the model's inodes to the store's ---- */

/* One reference to `file` in a view whose content is `tree`, by its path or by its number. */
struct bd_inode *mt_open(struct mt *mt, struct bd_view view, const struct mm_tree *tree, uint64_t file);
/* The same in the head of a branch, where an open handle may be used as well. */
struct bd_inode *mt_acquire(struct mt *mt, unsigned branch, uint64_t file);
/* Take one more reference and keep it as an open file, perhaps in place of some other handle, but never of the last
 * thing that holds an unlinked file. False when there was no room. */
bool mt_keep(struct mt *mt, unsigned branch, struct bd_inode *inode, uint64_t file);
bool mt_is_kept(const struct mt *mt, unsigned branch, uint64_t file);
void mt_handle_close(struct mt *mt, struct mt_handle *handle);
void mt_handles_close(struct mt *mt, unsigned branch); /* MT_BRANCHES: all */
/* After an unlink: forget the inode in the tree when no name and no handle is left. The tree is owned. */
void mt_maybe_drop(struct mt *mt, unsigned branch, struct mm_tree *tree, uint64_t file);

enum { MT_MTIME = 1, MT_CTIME = 2, MT_MAY_MTIME = 4, MT_MAY_CTIME = 8, MT_NEW = 16 };
/* The store's attributes must be the model's; times named in `changed` must (or may) be those of this
 * operation and are taken over into the model. */
void mt_absorb(struct mt *mt, struct mm_inode *inode, struct bd_inode *real, unsigned changed);
void mt_check_attr(struct mt *mt, const struct mm_inode *inode, const struct bd_attr *attr);

/* ---- mt_verify.c: the whole truth about a view ---- */

void mt_verify_view(struct mt *mt, struct bd_view view, const struct mm_tree *tree);
/* `size` bytes in mt->buf, read at `offset`, must be those in mt->expect. */
void mt_compare(struct mt *mt, const struct mm_inode *inode, uint64_t offset, size_t size);
/* A listing must name exactly the entries of `dir`. */
void mt_check_listing(struct mt *mt, const struct mm_tree *tree, const struct mm_inode *dir, const struct bd_listing *listing);
void mt_verify_content(struct mt *mt, const struct mm_inode *inode, struct bd_inode *real);
/* The attributes' names and values, as the store has them, put into `ret_inode`. */
void mt_load_xattrs(struct mt *mt, struct bd_inode *real, struct mm_inode *ret_inode);
void mt_verify_branches(struct mt *mt);
void mt_verify_all(struct mt *mt);
void mt_scrub(struct mt *mt);

/* ---- mt_recover.c: what may be there after a crash ---- */

/* Check every branch and snapshot of the store against its history, and take over what is there. */
void mt_recover(struct mt *mt);

/* ---- mt_life.c: start, end and death of the store ---- */

void mt_start(struct mt *mt);
void mt_finish(struct mt *mt);
void mt_reopen(struct mt *mt);
void mt_crash(struct mt *mt);

/* ---- operations: each picks its arguments, runs on both sides and compares ---- */

struct mt_pick { /* a branch, a file in it, and one reference to it */
	unsigned branch;
	const struct mm_inode *inode; /* the model's, borrowed from the head's tree before the change */
	struct bd_inode *real;
};

enum mt_want { MT_WANT_ANY, MT_WANT_FILE, MT_WANT_DIR, MT_WANT_SYMLINK };
/* False when there is none. End with bd_inode_unref(pick.real, 1). */
bool mt_pick(struct mt *mt, enum mt_want want, struct mt_pick *ret_pick);
bool mt_pick_in(struct mt *mt, unsigned branch, enum mt_want want, struct mt_pick *ret_pick);

void mt_op_create(struct mt *mt);
void mt_op_mkdir(struct mt *mt);
void mt_op_symlink(struct mt *mt);
void mt_op_mknod(struct mt *mt);
void mt_op_unnamed(struct mt *mt);
void mt_op_link(struct mt *mt);
void mt_op_unlink(struct mt *mt);
void mt_op_rmdir(struct mt *mt);
void mt_op_rename(struct mt *mt);
void mt_op_lookup(struct mt *mt);
void mt_op_readdir(struct mt *mt);
void mt_op_readlink(struct mt *mt);

void mt_op_write(struct mt *mt);
void mt_op_read(struct mt *mt);
void mt_op_truncate(struct mt *mt);
void mt_op_fallocate(struct mt *mt);
void mt_op_clone(struct mt *mt);
void mt_op_seek(struct mt *mt);
void mt_op_fsync(struct mt *mt);

void mt_op_setattr(struct mt *mt);
void mt_op_xattr_set(struct mt *mt);
void mt_op_xattr_remove(struct mt *mt);
void mt_op_xattr_get(struct mt *mt);
void mt_op_close_handle(struct mt *mt);
void mt_op_read_only(struct mt *mt);

void mt_op_branch_new(struct mt *mt);
void mt_op_branch_create(struct mt *mt);
void mt_op_branch_detach(struct mt *mt);
void mt_op_branch_delete(struct mt *mt);
void mt_op_branch_rename(struct mt *mt);
void mt_op_branch_protect(struct mt *mt);
void mt_op_snapshot(struct mt *mt);
void mt_op_snapshot_delete(struct mt *mt);
void mt_op_diff(struct mt *mt);
void mt_op_layer(struct mt *mt);
void mt_op_layer_delete(struct mt *mt);
/* The store was opened: give it the test's layer hook (mt_ops_layer.c). */
void mt_install_layers(struct mt *mt);
void mt_op_gc(struct mt *mt);
void mt_op_checkpoint(struct mt *mt);
void mt_op_sync(struct mt *mt);
void mt_op_verify(struct mt *mt);
void mt_op_scrub(struct mt *mt);

#endif
