/* Redo layers in memory, and what an inode is seen through. README.md has the idea.
 *
 * A layer lies on (branch, epoch): between versions of the branch up to the epoch, with everything further along the chain, and the branch's younger
 * versions. Parents have lower ids than their children, so along a chain ids fall, and a version lies behind the layer when its (branch, epoch) is not
 * above the layer's. */
#ifndef BD_LAYER_H
#define BD_LAYER_H

#include "blockdev/bd_impl.h"

struct bd_layer {
	/* const */
	struct bd_store *store;
	struct bd_branch *branch; /* held, so it goes by bd_branch_leave_layers only */
	uint32_t epoch;
	/* guarded by store->layers_lock */
	struct bd_layer *next, *prev; /* all of the store; or `next`: dead ones, not reaped yet */
	_Atomic uint32_t refs; /* branches' lists, inodes' passes, readers */
	pthread_mutex_t open_lock;
	_Atomic bool is_gone; /* taken away: from now on what lies below it may go, and who has made something through it looks again */
	_Atomic bool is_open; /* then `hook` is valid. Until the store is closed, or nobody refers to the layer */
	void *hook;
	size_t facts_size;
	uint8_t facts[];
};

/* Names a layer in map entries. */
static inline uint64_t bd_layer_key(const struct bd_layer *layer)
{
	return (uint64_t)layer->branch->id << 32 | layer->epoch;
}

/* ---- layers (layer.c) */
/* One reference; NULL: no memory. */
struct bd_layer *bd_layer_new(struct bd_store *store, struct bd_branch *branch, uint32_t epoch, const void *facts, size_t size);
void bd_layer_ref(struct bd_layer *layer);
/* Under any lock but those of rank 12. Hooks are closed later, by bd_layers_reap. NULL is legal. */
void bd_layer_unref(struct bd_layer *layer);
/* Under no lock: ask the hook for its own, when that was not done yet. */
NF_MUST_CHECK int bd_layer_open(struct bd_layer *layer);
/* Under no lock: close and free the layers that nobody refers to. */
void bd_layers_reap(struct bd_store *store);
/* The store is being closed, nobody uses it any more: the hooks are to let go what they hold of it. */
void bd_layers_close(struct bd_store *store);

/* Under table_lock exclusive: room for one more own layer; add the layer (the branch has a reference of its own then); take it out again. */
NF_MUST_CHECK int bd_branch_reserve_layer(struct bd_store *store, struct bd_branch *branch);
void bd_branch_add_layer(struct bd_branch *branch, struct bd_layer *layer);
void bd_branch_remove_layer(struct bd_branch *branch, struct bd_layer *layer);
/* Under table_lock exclusive: nobody has a block left that the layer is to make, and what lies below it is about to go: no branch's chain passes it any more. */
void bd_layer_leave_chains(struct bd_layer *layer);
/* The branch leaves the table: it lets its own layers go. */
void bd_branch_leave_layers(struct bd_store *store, struct bd_branch *branch);
/* Before anybody uses the branch: look up what its chain passes in its parent. */
NF_MUST_CHECK int bd_branch_inherit_layers(struct bd_store *store, struct bd_branch *branch, const struct bd_branch *parent);
/* The branch is freed. */
void bd_branch_free_layers(struct bd_branch *branch);
/* The layers that a view of the branch looks through, nearest first, each with a reference; malloc'd. */
NF_MUST_CHECK int bd_branch_layers_of_view(struct bd_store *store, const struct bd_branch *branch, uint32_t view_epoch,
					   struct bd_layer ***ret_layers, uint32_t *ret_count);
/* Epochs of the branch's own layers, rising, as far as there is room; returns how many there are. They change under table_lock exclusive only. */
uint32_t bd_branch_layer_epochs(struct bd_store *store, const struct bd_branch *branch, uint32_t *epochs, uint32_t room);
/* One reference; NULL: there is none on that epoch. */
struct bd_layer *bd_branch_find_layer(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch);

/* ---- what an inode is seen through (pass.c) */
struct bd_pass {
	struct bd_layer *layer; /* one reference */
	uint64_t size_bytes; /* of the file below the layer: what is behind is not touched */
};
struct bd_passes {
	uint32_t count;
	struct bd_pass passes[]; /* nearest to the view first */
};

/* Does the inode's view look through any layer? Cheap, and may be true without need. */
static inline bool bd_inode_may_pass(const struct bd_inode *inode)
{
	return atomic_load_explicit(&inode->branch->has_layers, memory_order_acquire);
}
/* Under no lock, before anything is done with the inode's map: every layer that its view looks through is open. -EIO (logged). */
NF_MUST_CHECK int bd_inode_open_layers(struct bd_inode *inode);
/* Under inode->lock exclusive: in a leaf that was filled from the index, mark the blocks that are to be made. */
NF_MUST_CHECK int bd_passes_mark(struct bd_inode *inode, uint32_t leaf, struct bd_entry *entries);
/* Under inode->lock exclusive: the first block >= `from` that a layer (`only`, or with NULL any) may touch, UINT32_MAX. */
NF_MUST_CHECK int bd_passes_next(struct bd_inode *inode, const struct bd_layer *only, uint32_t from, uint32_t *ret_block);
/* Under inode->lock exclusive: the blocks of one leaf that the layer is still to make, added to blocks[*count] as far as there is `room`: of the first leaf at or
 * behind *at that it may touch. *at is behind the leaf then (UINT32_MAX: there is no further one), or at the block that there was no room for. */
NF_MUST_CHECK int bd_passes_unmade(struct bd_inode *inode, const struct bd_layer *layer, uint32_t *at, uint32_t *blocks, size_t room,
				   size_t *count);
/* Under inode->lock: the layer that an entry with BD_LOC_REDO names; one reference. Whoever forgets `passes` forgets such entries too. */
struct bd_layer *bd_passes_layer(struct bd_inode *inode, const struct bd_entry *entry);
/* NULL is legal. */
void bd_passes_free(struct bd_passes *passes);

/* ---- records and operations (create.c) */
/* With all branches loaded: their layers. */
NF_MUST_CHECK int bd_layers_load(struct bd_store *store);

#endif
