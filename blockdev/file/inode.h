/* Inside of file/: what inode.c gives to its neighbours. */
#ifndef BD_INODE_H
#define BD_INODE_H

#include "blockdev/bd_impl.h"

/* Read the inode's record into it, as its view sees it. -ENOENT: there is none, or it was removed; -EUCLEAN. */
NF_MUST_CHECK int inode_load(struct bd_inode *inode);
/* The same as `hops` show it; of the inode only `store` and `file` count. The caller frees its symlink_target. */
NF_MUST_CHECK int inode_load_at(struct bd_inode *inode, struct bd_hops hops);
/* The size that a regular file has in a frozen view, everything flushed; 0: it is not there, or is none. */
NF_MUST_CHECK int inode_size_at(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch, uint64_t file,
				uint64_t *ret_size);
/* Put an inode from bd_inode_make into the table, once its record is committed. */
void inode_publish(struct bd_inode *inode);
/* Forget an inode from bd_inode_make that was not published. */
void inode_discard(struct bd_inode *inode);
/* Under branch->dirty_lock: hold an inode of the dirty list; false when it is on its way out. */
bool inode_hold_dirty(struct bd_inode *inode);
void inode_mark_clean(struct bd_inode *inode);
/* Under inode->lock exclusive: room for `count` more pending blocks; then, before the map says so, remember that blocks' data lies in an extent and
 * waits for its log record. */
NF_MUST_CHECK int inode_reserve_pending(struct bd_inode *inode, unsigned count);
void inode_add_pending(struct bd_inode *inode, uint32_t block, unsigned count, uint64_t sequence);

/* Read the blocks at `count` places (at most BD_READ_BLOCKS) into `buf`, one behind the other; holes become zeros. Not verified. `buf` is aligned
 * as for nf_io_run, and undefined on error: -ESTALE a place was given up; -ENODATA; -EIO. */
NF_MUST_CHECK int places_fetch(struct bd_store *store, const struct bd_place *places, unsigned count, void *buf, bool cached);

/* The directory as it is at one moment. `enough` > 0: that many entries suffice (is it empty?). */
NF_MUST_CHECK int names_list(struct bd_inode *dir, size_t enough, struct bd_listing **ret_listing);

/* The entry `name` of directory `dir` as `hops` show it, with its type (S_IFMT). -ENOENT; -EUCLEAN. Where the head is among the hops: under
 * names_lock, or with the branch frozen. */
NF_MUST_CHECK int names_entry_get(struct bd_store *store, struct bd_hops hops, uint64_t dir, const char *name, uint64_t *ret_file,
				  uint32_t *ret_type);
/* An entry of `dir` at its branch's epoch; `file` 0 hides the one that older epochs and ancestors have. And the record that says that an inode is
 * removed. Both use branch and file id of the inode, and nothing else of it. */
void names_entry_commit(const struct bd_inode *dir, const char *name, uint64_t file, uint32_t mode, struct bd_commit *commit);
void names_tombstone_commit(const struct bd_inode *inode, struct bd_commit *commit);

/* Under no lock: begin an operation that changes [from, to) of the file (bd_op_begin), with the blocks at the two edges made when a redo layer had them
 * still to make. False: not begun, *error says why (0: the operation is done). For a loop around the operation, which ends with BD_LAZY when such a block
 * has come up since; *attempt is 0 at first. */
NF_MUST_CHECK bool inode_begin_edges(struct bd_inode *inode, uint64_t from, uint64_t to, unsigned *attempt, int *error);
/* Inside an operation: set the size; cuts off with holes, extends with nothing. */
NF_MUST_CHECK int inode_truncate(struct bd_inode *inode, uint64_t size);

static inline struct bd_hops inode_hops(const struct bd_inode *inode)
{
	return (struct bd_hops){.branch = inode->branch, .view_epoch = inode->view_epoch, .base = inode->base_branch};
}
/* Under inode->lock: st_blocks. */
static inline uint64_t inode_sectors(const struct bd_inode *inode)
{
	bool is_dir = (inode->attr.mode & 0170000) == 0040000;
	return is_dir ? inode->attr.size_bytes / 512 : (uint64_t)inode->allocated_blocks * (NF_BLOCK_SIZE / 512);
}
static inline uint32_t blocks_of(uint64_t bytes)
{
	return (uint32_t)(nf_round_up(bytes, NF_BLOCK_SIZE) / NF_BLOCK_SIZE);
}

#endif
