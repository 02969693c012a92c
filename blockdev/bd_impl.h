/* Inside of blockdev: the store's own structures, shared by its folders and seen by nobody else.
 *
 * Lock order (a thread takes them in this order only; docs/locking.md has the picture and the reasons):
 *    0. a layer's open_lock         while the hook opens it; of one layer above another first
 *    1. store->collect_lock         one run of the collector, or a scrub
 *    2. store->checkpoint_lock      one checkpoint; or background's retire_lock, one retirement: never both
 *    3. store->reclaim_lock         moving a block and deleting its key exclude each other
 *    4. store->table_lock (rw)      the branch table: creation, deletion, renaming of branches
 *    5. branch->epoch_lock (rw)     shared by everything that writes in a branch; exclusive to freeze an epoch
 *    6. store->clone_lock (rw)      shared while references to shared slots are added; exclusive as a barrier
 *    7. branch->names_lock (rw)     the namespace of a branch: shared to look up, exclusive to change
 *    8. inode->lock (rw)            size, times, block map. Several only by a change of names, under names_lock exclusive, in any order
 *    9. store->ids_lock, or a stream's lock: one reservation of file ids, one allocation of slots
 *   10. store->kv_lock (rw)         shared by [append to the log, write to the index]; exclusive to switch the memtable
 *   11. log's lock; extents' sync_lock, then extents' lock; branch->dirty_lock, then inode table's lock; leaf cache's lock, then extents' lock
 *   12. background's lock and inline_lock, journal's lock, error_lock, layers_lock, makers' lock: nothing is taken under them
 */
#ifndef BD_IMPL_H
#define BD_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "blockdev/bd.h"
#include "blockdev/index/index.h"
#include "blockdev/log/log.h"
#include "blockdev/log/record.h"

#define BD_FORMAT_VERSION 3u /* the newest that is understood */
#define BD_FORMAT_FIRST 1u   /* what a store begins with */
#define BD_FORMAT_LAYERS 2u  /* since when there are redo layers ('L' records) */
#define BD_FORMAT_TIER 3u    /* since when there are extents in an object store ('T' records) */

/* ---- views as a chain: where to look for the version of a thing, nearest first */
struct bd_hop {
	uint32_t branch, epoch; /* versions of `branch` with epoch <= this */
};
struct bd_chain {
	unsigned count;
	struct bd_hop hops[];
};

/* A view's hops in order: its own, then the branch's ancestors, ending behind the branch `base` (0 = go to the root). */
struct bd_hops {
	const struct bd_branch *branch;
	uint32_t view_epoch, base;
};

struct bd_branch {
	/* const after creation */
	uint32_t id, parent, parent_epoch;
	int64_t created_ns;
	struct bd_chain *ancestors; /* the chain behind this branch's own hop */
	/* guarded by store->table_lock */
	char name[BD_BRANCH_NAME_MAX + 1];
	bool is_protected, is_detached; /* detached: goes on when its parent is deleted */
	uint32_t children, snapshots;	/* children: living and not detached */
	uint32_t hidden_children;	/* of these, internal ones */
	uint32_t needs;			/* children that stand (bd_branch_stands): they see what this branch had where they begin */
	/* guarded by store->collect_lock */
	int64_t sweep_again_ns; /* the background does not sweep it before, on the monotonic clock */
	/* epoch: written under epoch_lock exclusive */
	pthread_rwlock_t epoch_lock;
	uint32_t epoch;
	pthread_rwlock_t names_lock;
	uint64_t names_changes; /* so many changes of names there were; written under names_lock exclusive, inside an operation */
	/* inodes with something to flush */
	pthread_mutex_t dirty_lock;
	struct bd_inode *dirty_head;
	_Atomic uint32_t dirty_count;
	/* redo layers (layer/). `has_layers`: own or inherited ones, never taken back */
	_Atomic bool has_layers;
	struct bd_layer **layers; /* own, by rising epoch; guarded by store->layers_lock */
	uint32_t layer_count, layer_capacity;
	struct bd_layer **inherited; /* those that the chain behind this branch's own hop passes, nearest first; once the
					  * branch is in the table they only become fewer. Guarded by layers_lock */
	uint32_t inherited_count;
	struct bd_view_use *views; /* frozen epochs with inodes in memory; guarded by the inode table's lock */
	_Atomic int32_t in_use;
	_Atomic bool is_internal; /* by its name; written under table_lock */
	_Atomic bool is_watched;  /* the next write is told to store->wake */
	_Atomic bool dead; /* deleted: everything in it answers -ENOENT or -EROFS */
	_Atomic uint32_t refs; /* table 1, each inode in memory 1 */
};

/* Under table_lock: may anybody still see anything of the branch? A dead one stands while a child of it does, and then keeps what its children
 * see; it goes when the last of them goes. */
static inline bool bd_branch_stands(const struct bd_branch *branch)
{
	return !branch->dead || branch->needs > 0;
}

/* Hop number `i`, or false behind the last. */
static inline bool bd_hop_at(const struct bd_hops *hops, unsigned i, struct bd_hop *ret_hop)
{
	const struct bd_chain *above = hops->branch->ancestors;
	if (i > above->count)
		return false;
	if (i > 0 && hops->base != 0) {
		uint32_t before = i == 1 ? hops->branch->id : above->hops[i - 2].branch;
		if (before == hops->base)
			return false;
	}
	*ret_hop = i == 0 ? (struct bd_hop){hops->branch->id, hops->view_epoch} : above->hops[i - 1];
	return true;
}

/* ---- block map */
#define BD_LEAF_BLOCKS 256u
#define BD_LEAF_SHIFT 8

enum bd_entry_state {
	BD_CLEAN,   /* in the index (or no version) */
	BD_PENDING, /* bytes in an extent, not yet in log and index */
	BD_LOGGED,  /* in the log, not yet in the index */
};
struct bd_entry {
	uint64_t loc, sum;
	uint32_t branch; /* that wrote this version */
	uint32_t epoch : 30, state : 2;
};
/* The place of an entry, in memory only, of a block that is to be made by a redo layer (layer/): `sum` is then the layer's key, `branch` 0 (so that it
 * is taken for no version), `epoch` 1 when there are bytes below, else 0. */
#define BD_LOC_REDO (BD_LOC_HOLE | 1)
static inline bool bd_entry_has_bytes(const struct bd_entry *entry)
{
	return entry->loc == BD_LOC_REDO ? entry->epoch == 1 : entry->loc != BD_LOC_NONE && entry->loc != BD_LOC_HOLE;
}
static_assert(sizeof(struct bd_entry) == 24, "map entries are counted in memory limits");

struct bd_leaf {
	struct bd_inode *inode;
	uint32_t index;	   /* block / BD_LEAF_BLOCKS */
	uint32_t dirty;	   /* entries that are not BD_CLEAN */
	struct bd_leaf *newer, *older; /* leaf cache */
	_Atomic bool used; /* since the cache's hand passed */
	struct bd_entry entries[BD_LEAF_BLOCKS];
};

struct bd_pending {
	uint32_t block;
	uint64_t sequence; /* of the data write: durable once bd_extents_synced reaches it */
	uint64_t oldest;   /* of the first write since log and index had one of the block; 0: the log alone had the one before */
};

/* ---- inodes */

/* A frozen epoch of a branch, while an inode of that view is in memory. Guarded by the inode table's lock. */
struct bd_view_use {
	struct bd_view_use *next;
	uint32_t epoch;
	uint64_t inodes, holders; /* in memory; with references */
	bool is_known;		  /* found to be a pin, and held ever since */
	bool is_kept;		  /* a sweep has spared its versions although it is no pin any more: the last holder asks for another */
};

struct bd_inode {
	/* const */
	struct bd_store *store;
	struct bd_branch *branch;
	uint32_t view_epoch; /* UINT32_MAX = head */
	uint64_t file;
	struct bd_view_use *use; /* NULL for the head's */
	/* guarded by the inode table's lock */
	struct bd_inode *hash_next;
	struct bd_inode *idle_newer, *idle_older;
	uint64_t refs;
	bool is_idle, is_dying;
	/* guarded by `lock` */
	pthread_rwlock_t lock;
	struct bd_attr attr;
	uint32_t base_branch, base_epoch; /* where the file was made: no versions before that */
	uint64_t parent;		  /* directories: the file id of ".." */
	uint64_t committed_size;	  /* the size that the log knows */
	uint32_t allocated_blocks;	  /* with bytes of their own; after a crash it may be off by what was not synced */
	char *symlink_target;
	bool attr_dirty, removed;
	struct bd_passes *passes;	/* the layers that the file is seen through; NULL: not known yet, or none */
	struct bd_leaf ***map;		/* [leaf / 512][leaf % 512] */
	uint32_t map_size;		/* first dimension */
	uint32_t leaf_count, dirty_leaves;
	struct bd_pending *pending;	/* blocks in BD_PENDING, in order of writing, may repeat */
	uint32_t pending_count, pending_capacity;
	uint64_t bytes_since_sync;
	int64_t last_sync_ns;
	bool hot;			/* small writes that are synced soon: go through the log */
	/* guarded by branch->dirty_lock */
	bool on_dirty;
	struct bd_inode *dirty_next, *dirty_prev;
	_Atomic uint32_t cache_users; /* bd_inode_use_cache */
	_Atomic bool layers_open; /* every layer that the view looks through was open once: they stay open */
	void *user;
};

struct bd_extents;
struct bd_extent;
struct bd_inode_table;
struct bd_leaf_cache;
struct bd_background;
struct bd_journal;
struct bd_makers;
struct bd_later;
struct bd_tier;

struct bd_store {
	char *path;
	struct nf_io *io;
	bool owns_io, read_only, no_background;
	unsigned spare_idle_s; /* 0 = the default */
	uint64_t store_id, memory_limit_bytes;
	_Atomic uint64_t size_limit_bytes; /* changes under table_lock exclusive */
	int lock_fd;
	int64_t created_ns;
	struct bd_index *index;
	struct bd_log *log;
	struct bd_journal *journal;
	struct bd_extents *extents;
	struct bd_inode_table *inodes;
	struct bd_leaf_cache *leaves;
	struct bd_background *background;
	uint32_t format_version; /* rises under table_lock exclusive */
	/* redo layers */
	struct bd_layer_hooks layer_hooks; /* `open` NULL: none */
	pthread_mutex_t layers_lock;	   /* every branch's own layers, the lists below */
	struct bd_layer *all_layers, *dead_layers;
	struct bd_makers *makers; /* blocks that are being made (file/make.c) */
	struct bd_later *later; /* made blocks that wait to be stored (file/make_later.c) */
	struct bd_tier *tier;	/* the object store behind this one (tier/); NULL: none. Const while the store is open */
	/* branch table: by id, grown under table_lock */
	pthread_rwlock_t table_lock;
	struct bd_branch **branches;
	uint32_t branch_slots, branch_count, snapshot_count;
	uint32_t internal_count; /* of branch_count */
	uint32_t next_branch;
	pthread_rwlock_t kv_lock;
	/* file ids are handed out from a range reserved in the log */
	pthread_mutex_t ids_lock;
	uint64_t next_file, reserved_file;
	pthread_mutex_t checkpoint_lock; /* one checkpoint at a time; before all others but collect_lock */
	pthread_mutex_t collect_lock;	/* one run of the collector at a time; before all others */
	pthread_mutex_t reclaim_lock;	/* moving a block and deleting its key exclude each other; before table_lock */
	pthread_rwlock_t clone_lock;	/* shared while references to shared slots are added; exclusive as a barrier */
	_Atomic int error;		/* sticky: read-only because of it */
	char error_message[256];	/* written once, before `error` */
	pthread_mutex_t error_lock;
	/* numbers of checkpoints: of the last that began, and of the last that ended well */
	_Atomic uint64_t checkpoint_begun, checkpoint_done;
	/* set before anybody is watched */
	void (*wake)(void *arg, struct bd_branch_id branch);
	void *wake_arg;
	_Atomic uint64_t reads, writes, fsyncs, read_bytes, written_bytes, inline_bytes,
		collected_extents, collected_bytes, made_blocks;
};

/* The store goes read-only; the first reason is kept. Returns `error`. */
int bd_store_fail(struct bd_store *store, int error, const char *what);
/* 0, or -EROFS when the store has failed or was opened read-only. */
NF_MUST_CHECK int bd_store_writable(struct bd_store *store);
int64_t bd_now_ns(void);
/* bd_log_sync; a failure fails the store: nothing more may be acknowledged, and status says so. For the store's own work, and under locks. */
NF_MUST_CHECK int bd_flush_log(struct bd_store *store, uint64_t ticket);
/* May what is durable be told to somebody outside? 0 at once for a store without a tier; with one it may wait for the lease, as long as the object store is away: no lock may be
 * held. -ESTALE: another machine has the store now, and this one has failed for good. */
NF_MUST_CHECK int bd_may_tell(struct bd_store *store);
/* Both: what an operation ends with that promises durability. */
NF_MUST_CHECK int bd_sync_log(struct bd_store *store, uint64_t ticket);
struct bd_superblock {
	uint32_t version;
	uint64_t store_id, size_limit_bytes, log_bytes;
	int64_t created_ns;
};
/* What the store that `io` shows has written in its superblock. Errors and message as of bd_store_open. */
NF_MUST_CHECK int bd_superblock_read(struct nf_io *io, struct bd_superblock *ret_superblock, char *message, size_t size);
/* Give a store that was made piece by piece (tier/attach.c) its superblock, last of all: a store with one is whole. Durable on return. -EEXIST. */
NF_MUST_CHECK int bd_superblock_make(struct nf_io *io, const struct bd_superblock *superblock);
/* bd_store_sync for the store's own work: nobody is told. */
NF_MUST_CHECK int bd_flush_all(struct bd_store *store);
/* The id of the store that `io` shows. Errors and message as of bd_store_open. */
NF_MUST_CHECK int bd_superblock_id(struct nf_io *io, uint64_t *ret_store_id, char *message, size_t size);

/* ---- commits: index changes through the log (commit.c) */
struct bd_commit {
	struct bd_items items;
	struct bd_index_batch *batch;
};
NF_MUST_CHECK int bd_commit_init(struct bd_commit *commit);
void bd_commit_free(struct bd_commit *commit);
/* `value` has room for the check behind `size` bytes. */
void bd_commit_put(struct bd_commit *commit, const struct bd_key *key, uint8_t *value, size_t size);
void bd_commit_delete(struct bd_commit *commit, const struct bd_key *key);
/* A run of block versions: into log and index. */
void bd_commit_run(struct bd_commit *commit, const struct bd_block_id *first, unsigned count, uint64_t loc,
		   const uint64_t *sums);
void bd_commit_move(struct bd_commit *commit, const struct bd_block_id *id, uint64_t from, uint64_t to, uint64_t sum,
		    bool to_index);
/* A clone row: the version `id` shares the slot at `loc`. */
void bd_commit_clone(struct bd_commit *commit, uint64_t loc, const struct bd_block_id *id, struct bd_age age);
/* Log and index, in the same order for all threads that hold the locks of the things changed. Durable after bd_log_sync(*ret_ticket).
 * A failure fails the store. The commit is empty afterwards. */
NF_MUST_CHECK int bd_commit_apply(struct bd_store *store, struct bd_commit *commit, uint64_t *ret_ticket);
/* The same with blocks as payload, all in one record (see bd_log_append_blocks). */
struct bd_payload {
	struct bd_block_id first;
	unsigned count;
	const void *data;
	const uint64_t *sums;
	uint64_t loc; /* out: the place of the first */
};
NF_MUST_CHECK int bd_commit_apply_blocks(struct bd_store *store, struct bd_commit *commit, struct bd_payload *payload,
					 uint64_t *ret_ticket);

/* Items for the log alone. */
NF_MUST_CHECK int bd_commit_log(struct bd_store *store, const void *items, size_t size, uint64_t *ret_ticket);

/* Call `each` for every record whose key is `kind` and begins with a u32, in order; the value is checked and without its check. A
 * non-zero return ends it and is returned. */
typedef int (*bd_each_u32_fn)(struct bd_store *store, uint32_t id, const uint8_t *value, size_t size);
NF_MUST_CHECK int bd_each_u32(struct bd_store *store, char kind, bd_each_u32_fn each);

/* ---- branches (branch/) */
NF_MUST_CHECK int bd_branches_load(struct bd_store *store);
void bd_branches_free(struct bd_store *store);
/* One reference. NULL when not there. */
struct bd_branch *bd_branch_acquire(struct bd_store *store, uint32_t id);
void bd_branch_release(struct bd_branch *branch);
/* The chain of a view of `branch` at `epoch`; malloc'd. */
struct bd_chain *bd_chain_make(const struct bd_branch *branch, uint32_t epoch);
/* Under table_lock: 0 when a snapshot or a child looks at the epoch; -ENOENT. */
NF_MUST_CHECK int bd_branch_check_pin(struct bd_store *store, struct bd_branch *branch, uint32_t epoch);
/* Under table_lock: epochs of a branch that something looks at: children, and of a living one snapshots, open views and the head; rising;
 * malloc'd. */
NF_MUST_CHECK int bd_branch_pins(struct bd_store *store, struct bd_branch *branch, uint32_t **ret_epochs, size_t *ret_count);
/* Begin and end an operation that writes in the inode's branch. 0; -EROFS (frozen view, failed store); -ENOENT (deleted). */
NF_MUST_CHECK int bd_op_begin(struct bd_inode *inode);
void bd_op_end(struct bd_inode *inode);
/* After a write, with no lock held: tell who watches the branch. */
void bd_branch_tell(struct bd_store *store, struct bd_branch *branch);
static inline void bd_branch_written(struct bd_store *store, struct bd_branch *branch)
{
	if (atomic_load_explicit(&branch->is_watched, memory_order_relaxed))
		bd_branch_tell(store, branch);
}

/* ---- inodes (file/inode.c) */
NF_MUST_CHECK int bd_inode_table_init(struct bd_store *store);
void bd_inode_table_free(struct bd_store *store);
/* The inode of a view, from memory or index; one reference. -ENOENT. */
NF_MUST_CHECK int bd_inode_get(struct bd_store *store, struct bd_branch *branch, uint32_t view_epoch, uint64_t file,
			       struct bd_inode **ret_inode);
/* Every inode of the head of a branch that is in memory, each held once; malloc'd. */
NF_MUST_CHECK int bd_inodes_of_head(struct bd_store *store, const struct bd_branch *branch, struct bd_inode ***ret_inodes,
				    size_t *ret_count);
/* Only when it is in memory; one reference; else NULL. */
struct bd_inode *bd_inode_find(struct bd_store *store, uint32_t branch, uint32_t view_epoch, uint64_t file);
/* A new inode in memory, one reference, dirty; not in the index before it is flushed or committed. */
NF_MUST_CHECK int bd_inode_make(struct bd_inode *dir, const struct bd_create *how, struct bd_inode **ret_inode);
/* Under inode->lock: its record into a commit; clears attr_dirty. */
void bd_inode_commit(struct bd_inode *inode, struct bd_commit *commit);
/* Under inode->lock: put it on its branch's dirty list. */
void bd_inode_mark_dirty(struct bd_inode *inode);
/* Under inode->lock exclusive: pending blocks whose data is synced (up to `synced`), logged blocks and attributes to log and index. Whatever was
 * written up to `synced` is in the log afterwards, or something newer of the same block. */
NF_MUST_CHECK int bd_inode_flush(struct bd_inode *inode, uint64_t synced, uint64_t *ret_ticket);
/* Flush every dirty inode of a branch (data of extents is synced first). `frozen`: the caller holds epoch_lock exclusive; else it is
 * taken shared for each inode. */
NF_MUST_CHECK int bd_branch_flush(struct bd_store *store, struct bd_branch *branch, bool frozen);
/* Of a branch that has just died (under its epoch_lock exclusive): forget what it would have had to flush. */
void bd_branch_drop_dirty(struct bd_branch *branch);
NF_MUST_CHECK int bd_inode_reserve_id(struct bd_store *store, uint64_t *ret_file);
uint64_t bd_inodes_in_memory(struct bd_store *store);
/* The frozen epochs of a branch through which somebody holds an inode, besides the `count` ones in `pins` (rising), in an array with the
 * pins (malloc'd, not sorted). What a sweep spares for them is swept when the last holder lets go. */
NF_MUST_CHECK int bd_inode_views(struct bd_store *store, struct bd_branch *branch, const uint32_t *pins, size_t count,
				 uint32_t **ret_epochs, size_t *ret_count);
/* Is somebody holding a view that is no pin, with versions spared for it? */
bool bd_inode_keeps_views(struct bd_store *store, const struct bd_branch *branch);
/* Drop idle inodes beyond `keep` that have nothing to flush. */
void bd_inodes_trim(struct bd_store *store, uint64_t keep);
/* Drop the idle inodes of a dead branch, whatever they had to flush. */
void bd_inodes_forget(struct bd_store *store, const struct bd_branch *branch);
/* True when inode->view_epoch is the head and the branch lives. */
static inline bool bd_inode_is_head(const struct bd_inode *inode)
{
	return inode->view_epoch == UINT32_MAX;
}
/* Find the newest version of a 'D', 'I' (name NULL) or 'X' thing along the hops. 0 and the plain value; -ENOENT. */
NF_MUST_CHECK int bd_chain_get(struct bd_store *store, struct bd_hops hops, char kind, uint64_t file, const char *name,
			       void *buf, size_t buf_size, size_t *ret_size);

/* ---- block map (file/map.c) */
NF_MUST_CHECK int bd_leaf_cache_init(struct bd_store *store, uint64_t limit_bytes);
void bd_leaf_cache_free(struct bd_store *store);
uint64_t bd_leaf_cache_bytes(struct bd_store *store);
/* Under inode->lock: the leaf in memory, or NULL. */
struct bd_leaf *bd_map_peek(struct bd_inode *inode, uint32_t leaf);
/* Under inode->lock exclusive: the leaf, loaded through the chain when needed. */
NF_MUST_CHECK int bd_map_leaf(struct bd_inode *inode, uint32_t leaf, struct bd_leaf **ret_leaf);
/* Under inode->lock exclusive: replace an entry. Keeps counts: what is replaced in the same epoch is counted dead; a version of an older one
 * stays (it is in the index: map.c, invariant 1). */
NF_MUST_CHECK int bd_map_set(struct bd_inode *inode, uint32_t block, uint64_t loc, uint64_t sum, enum bd_entry_state state);
/* Under inode->lock exclusive: the entry is in the index now. */
void bd_map_settle(struct bd_inode *inode, struct bd_leaf *leaf, struct bd_entry *entry);
/* Under inode->lock exclusive: look up the clean entries of a leaf anew, because places have moved. */
NF_MUST_CHECK int bd_map_refresh(struct bd_inode *inode, uint32_t leaf);
/* Under inode->lock exclusive: the first leaf >= `leaf` that may hold a block, in memory, index or a layer; UINT32_MAX when there is none. */
NF_MUST_CHECK int bd_map_next(struct bd_inode *inode, uint32_t leaf, uint32_t *ret_leaf);
/* Under inode->lock exclusive: forget everything in memory; versions that only memory knows are counted dead. */
void bd_map_free(struct bd_inode *inode);
/* Evict leaves over the limit. No inode lock may be held. */
void bd_leaf_cache_trim(struct bd_store *store);
/* Under inode->lock exclusive: make every block in [from, to) a hole. The caller appends `items` to the log before it drops the lock. */
NF_MUST_CHECK int bd_map_punch(struct bd_inode *inode, uint32_t from, uint32_t to, struct bd_items *items);
/* The place of block version `id` as the index has it. */
NF_MUST_CHECK int bd_index_place(struct bd_store *store, const struct bd_block_id *id, struct bd_place *ret_place);

/* ---- names that a new branch does not get (file/leave_out.c) */
struct bd_leave_out {
	unsigned count;
	uint64_t names_changes; /* of the parent when they were looked for */
	struct bd_left_name {
		const char *name;
		uint64_t file; /* 0: not there, or a directory */
		uint32_t links;
	} entries[BD_WITHOUT_MAX];
};
/* Look for the names in the root directory that `hops` show: a frozen view, or a head under its names_lock or epoch_lock exclusive. -EUCLEAN; -EIO. */
NF_MUST_CHECK int bd_leave_out_find(struct bd_store *store, struct bd_hops hops, struct bd_leave_out *leave_out);
/* The same for the head of a branch about to be frozen; takes its names_lock. Holds as long as its names_changes does. */
NF_MUST_CHECK int bd_leave_out_prepare(struct bd_store *store, struct bd_branch *parent, struct bd_leave_out *leave_out);
/* The records that take them out of `child`, which is new. What was found has to be what the child sees. */
NF_MUST_CHECK int bd_leave_out_commit(struct bd_store *store, struct bd_branch *child, const struct bd_leave_out *leave_out,
				      struct bd_commit *commit);

/* ---- data (file/read.c, write.c) */
#define BD_READ_BLOCKS 128u /* read in one batch */
NF_MUST_CHECK int bd_makers_init(struct bd_store *store);
void bd_makers_free(struct bd_store *store);
/* The thread that stores what was made (file/make_later.c). What still waits at its end is made again some day. */
NF_MUST_CHECK int bd_later_start(struct bd_store *store);
void bd_later_stop(struct bd_store *store);
/* What to do with blocks that a redo layer has still to make. */
enum bd_make {
	BD_MAKE_NOT,   /* BD_LAZY: inside an operation nothing is made, for hooks run under no lock */
	BD_MAKE_SERVE, /* make them, and store them in a head if that can be */
	BD_MAKE_STORE, /* the same, and it is an error when they cannot be stored */
};
#define BD_LAZY (-ENOLINK) /* a block is to be made first; never leaves blockdev */
/* Under no lock but those of an operation (BD_MAKE_NOT only): read whole blocks [block, block + count) as entries say. Verifies. */
NF_MUST_CHECK int bd_blocks_read(struct bd_inode *inode, uint32_t block, uint32_t count, void *buf, enum bd_make make);
/* Read one block version at a place: -ESTALE when the place was given up; -EUCLEAN; -EIO. */
NF_MUST_CHECK int bd_place_read(struct bd_store *store, struct bd_place place, void *buf);
/* Read up to BD_READ_BLOCKS of them at once, neighbours together. False when any could not be read or does not match: then ask for each alone. */
NF_MUST_CHECK bool bd_places_read(struct bd_store *store, const struct bd_place *places, unsigned count, void *buf);

/* The superblock gets a format version, when it has an older one. Under table_lock exclusive. Durable on return. */
NF_MUST_CHECK int bd_store_raise_format(struct bd_store *store, uint32_t version);

/* ---- rebuild (scrub/rebuild.c) */
/* At the first open after a rebuild, when all is loaded: ask for the sweep of what it has found too much. */
NF_MUST_CHECK int bd_rebuild_finish(struct bd_store *store);

/* ---- background (gc/) */
NF_MUST_CHECK int bd_background_init(struct bd_store *store);
NF_MUST_CHECK int bd_background_start(struct bd_store *store);
void bd_background_stop(struct bd_store *store);
void bd_background_free(struct bd_store *store);
/* Is somebody closing the store? Then long work ends early. */
bool bd_background_is_stopping(struct bd_store *store);
/* Something to do soon (log filling, pending blocks). Cheap. */
void bd_background_kick(struct bd_store *store);
/* A removed file (or with file 0 a whole branch) has versions to drop. */
void bd_background_purge(struct bd_store *store, uint32_t branch, uint64_t file);
/* Flush what is dirty, make it durable in the index, move the log's positions on (checkpoint.c). */
NF_MUST_CHECK int bd_checkpoint(struct bd_store *store);
/* The same, and `then` right behind it with checkpoint_lock still held: what is in the index files and in the slot tables on disk belongs together then, and no
 * extent is removed. Its error is returned. */
NF_MUST_CHECK int bd_checkpoint_then(struct bd_store *store, int (*then)(void *arg), void *arg);
/* Remember inline blocks, so that they can be moved before their place in the ring is given up (retire.c). */
NF_MUST_CHECK int bd_inline_note(struct bd_store *store, const struct bd_block_id *first, unsigned count, uint64_t loc,
				 uint64_t record_lsn);
/* The position of the oldest inline block still remembered; UINT64_MAX when there is none. */
uint64_t bd_inline_oldest(struct bd_store *store);
/* Move live inline blocks before position `until` into extents. */
NF_MUST_CHECK int bd_retire(struct bd_store *store, uint64_t until);
/* Without background threads: do their most urgent work when the log fills up. No locks held. */
NF_MUST_CHECK int bd_tidy_if_needed(struct bd_store *store);

/* Moving block versions (move.c). */
struct bd_move {
	struct bd_block_id id;
	struct bd_place place;
	struct bd_age age;
	uint32_t group; /* moves of one group share their bytes (clones) */
};
/* 1 when `place.loc` is where the newest state (memory, else index) has block version `id`; 0 when not; -EAGAIN when its record is not
 * in the log yet; or an error. */
NF_MUST_CHECK int bd_move_is_live(struct bd_store *store, const struct bd_block_id *id, uint64_t loc);
/* 1 and the checksum of the version when it is at `loc`; 0 when not; or an error. */
NF_MUST_CHECK int bd_move_sum(struct bd_store *store, const struct bd_block_id *id, uint64_t loc, uint64_t *ret_sum);
/* Copy the bytes of the moves (sorted by group) to the moved stream and point the versions there. Durable on return. A block that does not
 * match its checksum stays where it is and is counted in *ret_bad. */
NF_MUST_CHECK int bd_move_blocks(struct bd_store *store, struct bd_move *moves, size_t count, uint64_t *ret_bad);
/* Drop the versions of a removed file, or of a branch, that nothing looks at (sweep.c). `progress` may be NULL; it is called with no
 * lock but collect_lock held. -ECANCELED when it or the closing of the store ended it. */
NF_MUST_CHECK int bd_sweep_file(struct bd_store *store, struct bd_branch *branch, uint64_t file, bd_progress_fn progress,
				void *arg, uint64_t *ret_dropped);
NF_MUST_CHECK int bd_sweep_branch(struct bd_store *store, struct bd_branch *branch, bd_progress_fn progress, void *arg,
				  uint64_t *ret_dropped);
/* Under collect_lock: do every sweep that was asked for (background.c). `progress` may be NULL. The requests stay until
 * bd_sweep_finish finds that a checkpoint has made the sweeps durable. patient: one of a living branch that was swept a moment ago is left for later. */
NF_MUST_CHECK int bd_sweep_pending(struct bd_store *store, bool patient, bd_progress_fn progress, void *arg,
				   uint64_t *ret_dropped);
NF_MUST_CHECK int bd_sweep_finish(struct bd_store *store);
/* Collect one extent: move what lives, delete the rest (collect.c). */
NF_MUST_CHECK int bd_collect_extent(struct bd_store *store, uint32_t id, struct bd_gc_result *result);

#endif
