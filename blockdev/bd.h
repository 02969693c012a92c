/* The store of versioned blocks: everything a front end (fs/, tools/) may know of blockdev.
 *
 * A store holds branches. A branch is a writable tree of inodes with a history of epochs: taking a
 * snapshot or making a child freezes the current epoch and opens the next, writing a constant number
 * of index keys. A view is a branch at an epoch: the head (writable) or a frozen epoch (read-only).
 *
 * Errors are 0 or -errno everywhere: -ENOENT not there, -EEXIST name taken, -EUCLEAN checksum
 * mismatch (logged with its place), -EIO device, -ENOSPC no room (nothing changed), -EROFS read-only view or a
 * store that went read-only after a failed flush, -EBUSY in use, -EINVAL bad argument.
 * Outputs (`ret_...`) are written only on success.
 *
 * Threads: every function may be called from any thread unless it says otherwise. No function calls back
 * into the caller except through the callbacks named, on the calling thread. */
#ifndef BD_H
#define BD_H

#include "common/nf_base.h"
#include "common/nf_io.h"

#define BD_NAME_MAX 255		/* bytes of a file name */
#define BD_BRANCH_NAME_MAX 63	/* bytes of a branch name or snapshot label */
#define BD_XATTR_VALUE_MAX 65536
#define BD_SYMLINK_MAX 4095
#define BD_FILE_SIZE_MAX (UINT64_C(16) << 40)
#define BD_BRANCHES_MAX 100000
#define BD_LAYER_FACTS_MAX 4096	/* bytes that a redo layer's maker gives it */
#define BD_LAYERS_MAX 64	/* redo layers that one view looks through */

struct bd_branch_id { uint32_t v; };
struct bd_epoch { uint32_t v; };
struct bd_file_id { uint64_t v; };	/* 40 bits; unique in a store; inherited by child branches; never reused */

#define BD_EPOCH_HEAD ((struct bd_epoch){UINT32_MAX})
#define BD_FILE_ID_ROOT ((struct bd_file_id){1})	/* every branch's root directory */

struct bd_view {
	struct bd_branch_id branch;
	struct bd_epoch epoch;	/* BD_EPOCH_HEAD, or a frozen epoch */
};

struct bd_store;
struct bd_inode;	/* an inode in memory; reference counted */

/* ------------------------------------------------------------------ store */

struct bd_format_options {
	uint64_t size_limit_bytes;	/* 0 = the disk's */
	uint64_t log_bytes;		/* of the ring; whole MiB, at least 16; 0 = 128 MiB */
};

struct bd_open_options {
	uint64_t memory_limit_bytes;	/* caches, maps and buffers together; 0 = 384 MiB; at least 64 MiB */
	bool no_background;		/* no checkpoint and collection threads: the caller drives them (tests) */
	unsigned spare_idle_s;		/* files that may be used again are deleted after so long; 0 = 60 */
	bool read_only;			/* nothing is written, not even recovery's result to the extents (scrub) */
};

/* Make an empty store in directory `path` (made 0700 when missing; must be empty otherwise: -ENOTEMPTY). */
NF_MUST_CHECK int bd_store_format(const char *path, const struct bd_format_options *options);

/* Open and recover. On error, `ret_message` (at least 512 bytes) holds one line: what, and what to do.
 * -ENOENT no store there; -EMEDIUMTYPE not a neonfs store; -EPROTONOSUPPORT a newer format; -EBUSY
 * another daemon owns it; -EUCLEAN damaged (the message names the part and the remedy). */
NF_MUST_CHECK int bd_store_open(const char *path, const struct bd_open_options *options,
				struct bd_store **ret_store, char *ret_message, size_t message_size);
/* Same on other block I/O (tests). `io` stays the caller's and outlives the store. `path` still holds the index. */
NF_MUST_CHECK int bd_store_open_io(const char *path, struct nf_io *io, const struct bd_open_options *options,
				   struct bd_store **ret_store, char *ret_message, size_t message_size);
NF_MUST_CHECK int bd_store_format_io(const char *path, struct nf_io *io, const struct bd_format_options *options);

/* Flush all, checkpoint and close. All inodes must have been released. NULL is legal. On error the store is closed
 * all the same and the error says that the last state may need recovery. */
NF_MUST_CHECK int bd_store_close(struct bd_store *store);
/* Close without writing anything more, as if the process had died (tests). */
void bd_store_abandon(struct bd_store *store);

/* Index state durable up to now; log segments before it may be reused. Called by the background, and by tests. */
NF_MUST_CHECK int bd_store_checkpoint(struct bd_store *store);
/* Make everything completed so far durable (syncfs). */
NF_MUST_CHECK int bd_store_sync(struct bd_store *store);

struct bd_status {
	uint32_t format_version;
	uint64_t size_limit_bytes;
	uint64_t extents, extent_bytes, live_bytes, free_bytes; /* free: what can still be written */
	uint64_t spare_bytes; /* on disk, free: files that wait to be used again */
	uint64_t log_bytes, index_bytes, memory_bytes, memory_limit_bytes;
	uint64_t branches, snapshots, inodes_in_memory, blocks_in_memory;
	uint64_t layers, made_blocks; /* redo layers; blocks made through them since the store was opened */
	uint64_t reads, writes, fsyncs, log_syncs, checkpoints, collected_extents, collected_copied_bytes;
	uint64_t read_bytes, written_bytes, inline_bytes;
	int error;			/* 0, or why the store is read-only */
	char error_message[256];
};
NF_MUST_CHECK int bd_store_status(struct bd_store *store, struct bd_status *ret_status);

/* Change how much of the disk the store may take, log and extents together; 0 = the disk's. Durable on return, and counts at once: what writers have
 * reserved at this moment they may still take. -EINVAL: less than the log and 128 MiB; -ENOSPC: less than it takes now (extent_bytes + log_bytes of the
 * status), nothing changed; else the old limit counts, until the store is opened again, and then one of the two. */
NF_MUST_CHECK int bd_store_set_size_limit(struct bd_store *store, uint64_t bytes);

/* Progress of long work: `done` of `total` (0 = unknown) units. A non-zero return stops the work with -ECANCELED. */
typedef int (*bd_progress_fn)(void *arg, const char *phase, uint64_t done, uint64_t total);

struct bd_gc_result { uint64_t versions_dropped, extents_freed, bytes_freed, bytes_copied; };
/* Collect garbage until nothing worth collecting is left. Files of removed extents may be kept for a while, to be used again. */
NF_MUST_CHECK int bd_store_gc(struct bd_store *store, bd_progress_fn progress, void *arg, struct bd_gc_result *ret_result);
/* Delete the files that are kept so. */
void bd_store_drop_spares(struct bd_store *store);

struct bd_scrub_result {
	uint64_t blocks_checked, bytes_checked, index_keys_checked, bad_blocks, bad_keys, orphan_keys;
	/* Extents whose count of live blocks was off and is right now. Not damage: the count is the collector's hint for choosing, and
	 * what it chooses is proved slot by slot. After an unclean end it may be off. */
	uint64_t counters_corrected;
};
/* Read and verify everything reachable. `report` is called for each thing found wrong (one line). Returns 0 also when
 * damage was found; look at the counts. Runs beside a live service. */
NF_MUST_CHECK int bd_store_scrub(struct bd_store *store, bd_progress_fn progress,
				 void (*report)(void *arg, const char *line), void *arg,
				 struct bd_scrub_result *ret_result);
/* Make a lost or damaged index again from extents and log. The store must not be open. The old index is kept
 * beside the new one as index.old. `ret_message` as in bd_store_open. -EOPNOTSUPP: it has an object store, which makes it anew (neonfs attach). */
NF_MUST_CHECK int bd_store_rebuild(const char *path, bd_progress_fn progress, void *arg, char *ret_message,
				   size_t message_size);
/* Same on other block I/O (tests). `path` holds the index. */
NF_MUST_CHECK int bd_store_rebuild_io(const char *path, struct nf_io *io, bd_progress_fn progress, void *arg,
				      char *ret_message, size_t message_size);

/* --------------------------------------------------------------- branches */

struct bd_branch_info {
	struct bd_branch_id id, parent;		/* parent.v = 0: none, or detached from it */
	struct bd_epoch epoch;			/* current */
	struct bd_epoch parent_epoch;		/* where it left the parent */
	char name[BD_BRANCH_NAME_MAX + 1];
	char parent_name[BD_BRANCH_NAME_MAX + 1];
	int64_t created_ns;			/* since the Unix epoch */
	uint32_t children, snapshots, layers;	/* children: without detached and internal ones */
	bool is_protected;
	uint32_t in_use;			/* open file descriptions in it, as the front end counts them */
};

struct bd_snapshot_info {
	struct bd_branch_id branch;
	struct bd_epoch epoch;
	char label[BD_BRANCH_NAME_MAX + 1];
	int64_t created_ns;
};

/* 0 when `name` may name a branch or label: 1 to 63 bytes of [A-Za-z0-9._-], not starting with '-' or '.', and not ending
 * in ".." forms. -EINVAL; -ENAMETOOLONG. */
NF_MUST_CHECK int bd_name_check(const char *name);

/* A branch whose name is '.' and such a name (63 bytes in all) is internal: made by a program for itself, not by a user. It can be made, found, renamed
 * (also from or to a user's name) and deleted like any other, but bd_branch_list and the counts of branches and children leave it out. */
NF_MUST_CHECK bool bd_name_is_internal(const char *name);

NF_MUST_CHECK int bd_branch_find(struct bd_store *store, const char *name, struct bd_branch_info *ret_info);
NF_MUST_CHECK int bd_branch_get(struct bd_store *store, struct bd_branch_id id, struct bd_branch_info *ret_info);
/* Every branch that is not internal, sorted by name, in one malloc'd array the caller frees. */
NF_MUST_CHECK int bd_branch_list(struct bd_store *store, struct bd_branch_info **ret_infos, size_t *ret_count);
/* The same of the internal ones. */
NF_MUST_CHECK int bd_branch_list_internal(struct bd_store *store, struct bd_branch_info **ret_infos, size_t *ret_count);

/* A new branch whose root directory is empty, mode 0700, owned by uid:gid. Durable on return. -EEXIST. */
NF_MUST_CHECK int bd_branch_create_empty(struct bd_store *store, const char *name, uid_t uid, gid_t gid,
					 struct bd_branch_info *ret_info);
/* A new branch that starts as the view `from` is now (a head: the current epoch is frozen and the next one opened).
 * Durable on return; O(1) keys. `ret_pause_ns` (may be NULL): how long writers of the parent were held up. */
NF_MUST_CHECK int bd_branch_create(struct bd_store *store, const char *name, struct bd_view from,
				   struct bd_branch_info *ret_info, uint64_t *ret_pause_ns);
/* The same without some of the names in the root directory, at most BD_WITHOUT_MAX: of those that are there, and are no directories, the new branch
 * shows nothing, from its first moment on. -E2BIG: too many. */
#define BD_WITHOUT_MAX 8u
NF_MUST_CHECK int bd_branch_create_without(struct bd_store *store, const char *name, struct bd_view from,
					   const char *const *without, unsigned without_count,
					   struct bd_branch_info *ret_info, uint64_t *ret_pause_ns);
/* Freeze the head as snapshot `label` (unique in the branch). Durable on return. */
NF_MUST_CHECK int bd_snapshot_create(struct bd_store *store, struct bd_branch_id branch, const char *label,
				     struct bd_snapshot_info *ret_info);
NF_MUST_CHECK int bd_snapshot_find(struct bd_store *store, struct bd_branch_id branch, const char *label,
				   struct bd_snapshot_info *ret_info);
/* Sorted by epoch; malloc'd. */
NF_MUST_CHECK int bd_snapshot_list(struct bd_store *store, struct bd_branch_id branch,
				   struct bd_snapshot_info **ret_infos, size_t *ret_count);
NF_MUST_CHECK int bd_snapshot_delete(struct bd_store *store, struct bd_branch_id branch, const char *label);
/* -EBUSY: in use (in_use > 0); -ENOTEMPTY: has children that are not detached, internal ones among them; -EPERM: protected. Its data is collected in the background, but
 * for what its detached children see of it. Durable on return. */
NF_MUST_CHECK int bd_branch_delete(struct bd_store *store, struct bd_branch_id branch);
/* Make a branch independent of its parent: it has none from now on, and the one it had may be deleted. It shows the same as before; nothing is
 * copied. Durable on return. -EINVAL: it has no parent. */
NF_MUST_CHECK int bd_branch_detach(struct bd_store *store, struct bd_branch_id branch);
NF_MUST_CHECK int bd_branch_rename(struct bd_store *store, struct bd_branch_id branch, const char *new_name);
/* In one step, also after a crash: `fresh` takes the name of `old`, and `old` takes `old_name`, which is free or the one that `fresh` had. Durable on
 * return. -EEXIST; -EBUSY: old is in use; -ENOENT; -EINVAL: one branch is no two, or a bad name. */
NF_MUST_CHECK int bd_branch_replace(struct bd_store *store, struct bd_branch_id fresh, struct bd_branch_id old, const char *old_name);
NF_MUST_CHECK int bd_branch_protect(struct bd_store *store, struct bd_branch_id branch, bool is_protected);
/* The front end tells that a file of a branch was opened (+1) and closed (-1): the branch's in_use. Takes no lock, so that opening files in one branch
 * does not wait for the freeze of another. Opened while its branch is being deleted, a file answers as one of a deleted branch. */
void bd_inode_use(struct bd_inode *inode, int delta);

/* Who wants to know that something was written. `wake` is called on the writer's thread, with no lock of the store held, when file content of a
 * watched branch's head has changed: once, then the branch has to be watched again. At first all are watched but internal ones: of each branch that is used at all the
 * first write is told, also when it got its name just now. It must be short and may not call the store. Set it when no thread writes yet; take it back (NULL) when
 * none writes any more. */
void bd_store_set_wake(struct bd_store *store, void (*wake)(void *arg, struct bd_branch_id branch), void *arg);
/* Watch for the next write. What is written after this call is told, so watch first and look then. -ENOENT. */
NF_MUST_CHECK int bd_branch_watch(struct bd_store *store, struct bd_branch_id branch);

/* ------------------------------------------------------------ redo layers */

/* A layer lies on a frozen epoch of a branch, between what was written up to it and what is written after it. Who looks through it (the head, later
 * snapshots, children that began later) sees of a block that was not written since not the bytes that lie there, but what the hook `apply` makes
 * of them, in the blocks that the hook `touched` names. So what a branch shows can be computed when it is read. What a layer makes is a function of
 * the block below and the layer's facts, the same for ever; so it is history like everything else.
 *  - Blocks at or behind the end that a file has below the layer are not changed by it, nor files that are not there below it. Bytes behind the
 *    end in a file's last block stay zeros.
 *  - A block that the head reads is stored as if it had been written (times do not change), so it is made once; through a frozen view
 *    it is made at each read. When it cannot be stored (full disk, read-only store) it is served all the same.
 *  - A whole block that is overwritten or punched is never made; one that is written in part is made first. To bd_seek a block that is to be
 *    made is data; st_blocks counts it once it is made; to bd_diff it differs from everything but the same block through the same layer. */
struct bd_layer_hooks {
	void *arg;
	/* A layer is needed for the first time since the store was opened, or is about to be made. `base`: the view below it; of a layer that is
	 * about to be made it is not there yet, and must not be looked at in `open`. `facts` are the maker's bytes. Called under no lock of the
	 * store; may use it, but for files that look through this layer. An error is given to who wants to look through the layer (-EIO). */
	int (*open)(void *arg, struct bd_view base, const void *facts, size_t size, void **ret_layer);
	/* Nobody needs it any more, or the store is being closed. On any thread, under no lock of the store. */
	void (*close)(void *arg, void *layer);
	/* Of the blocks from `first` on, `words` * 64 of them: set the bits (lowest first) of those that the layer changes or may change. `bits`
	 * comes zeroed. Under an inode's lock: must not call into the store or sleep for long. Blocks behind the file's end do not matter. */
	void (*touched)(void *arg, void *layer, uint64_t file, uint32_t first, uint64_t *bits, unsigned words);
	/* The first block >= `from` of the file that `touched` may name; UINT32_MAX: none. As touched. */
	uint32_t (*next)(void *arg, void *layer, uint64_t file, uint32_t from);
	/* `page`, NF_BLOCK_SIZE bytes: the block as the base view has it (zeros where it has none), to become what it is above the layer. Under no
	 * lock; may read files of the store, but not through this layer. On an error the reader gets -EIO and the log a line. */
	int (*apply)(void *arg, void *layer, uint64_t file, uint32_t block, void *page);
};
/* Install the hooks, all of them, once, before anything is done with branches. `hooks` is copied; `arg` outlives the store. A store without hooks can be
 * opened and collected, but nothing that looks through a layer can be read. */
void bd_store_set_layer_hooks(struct bd_store *store, const struct bd_layer_hooks *hooks);

/* Freeze the head of `branch` and lay a layer on the frozen epoch, in one step. `facts` are kept with it. Durable on return. What the head shows has changed
 * then: a front end that caches contents forgets them. The first layer of a store raises its format: programs that know no layers refuse it.
 * -EINVAL: facts larger than BD_LAYER_FACTS_MAX; -EMLINK: the head looks through BD_LAYERS_MAX already; -ENOTSUP: no hooks; what `open` said. */
NF_MUST_CHECK int bd_layer_create(struct bd_store *store, struct bd_branch_id branch, const void *facts, size_t size,
				  struct bd_epoch *ret_epoch);
struct bd_layer_info {
	struct bd_branch_id branch;
	struct bd_epoch epoch;
	const void *facts; /* in the same allocation as the array */
	size_t size;
};
/* The layers of a branch, by rising epoch; with branch.v 0 all that somebody may look through, also those on deleted branches whose detached
 * children need them, by branch and epoch. One malloc'd array. */
NF_MUST_CHECK int bd_layer_list(struct bd_store *store, struct bd_branch_id branch, struct bd_layer_info **ret_infos,
				size_t *ret_count);
/* Making ahead what readers of a head would make one by one. `inode` of the head of the branch that has a layer on `epoch`.
 * unmade: the first blocks at or behind `from` that the layer is still to make, `room` at most, rising.
 * store: `pages` are what `apply` makes of `blocks`, `count` of them, 1 to BD_LAYER_STORE_MAX, each once, from anywhere in the file, which below the layer has
 * them whole. With one write; and as by a reader: only where the layer is still to make them, so who writes meanwhile wins. Durable when the file's other writes are.
 * -EINVAL: no head; -ENOENT: no such layer; -EIO: a layer cannot be opened (logged); as bd_write. Thread-safe, no lock held. */
#define BD_LAYER_STORE_MAX 128u
NF_MUST_CHECK int bd_layer_unmade(struct bd_inode *inode, struct bd_epoch epoch, uint32_t from, uint32_t *blocks, size_t room,
				  size_t *ret_count);
NF_MUST_CHECK int bd_layer_store(struct bd_inode *inode, struct bd_epoch epoch, const uint32_t *blocks,
				 const uint8_t *const *pages, uint32_t count);
/* Take a layer away that nobody needs any more. -EBUSY: the oldest view that looks through it (of snapshots, children, open views, and the head)
 * has a block that is still to be made; the same is then true or was true of all younger ones. Reads maps, not blocks; as long as the tree is
 * large. What lay below it only for its sake is collected in the background. Durable on return. Deleting a branch deletes its layers too, but
 * for those that detached children look through. -ENOENT. */
NF_MUST_CHECK int bd_layer_delete(struct bd_store *store, struct bd_branch_id branch, struct bd_epoch epoch);

/* ------------------------------------------------------------- comparison */

enum bd_diff_kind { BD_DIFF_ADDED, BD_DIFF_REMOVED, BD_DIFF_CHANGED, BD_DIFF_META };
/* Compare two views at file level, from metadata and block versions alone (no data is read). Called for each path that
 * differs, in order: added (only in b), removed (only in a), changed (content), meta (mode, owner, xattr, link target only).
 * `blocks` is the number of 8 KiB blocks that differ in version. Non-zero return ends it. */
NF_MUST_CHECK int bd_diff(struct bd_store *store, struct bd_view a, struct bd_view b,
			  int (*each)(void *arg, enum bd_diff_kind kind, const char *path, uint64_t blocks), void *arg);
/* The blocks in which two regular files differ, as bd_diff counts them, in rising order; `a` or `b` may be NULL: a file that is not there is all holes.
 * No data is read. A non-zero return of `each`, which may call the store, ends it and is passed on. */
NF_MUST_CHECK int bd_diff_blocks(struct bd_store *store, struct bd_inode *a, struct bd_inode *b,
				 int (*each)(void *arg, uint32_t block), void *arg);

/* ----------------------------------------------------------------- inodes */

struct bd_attr {
	struct bd_file_id file;
	uint32_t mode;		/* type and permission bits as in st_mode */
	uint32_t uid, gid, nlink;
	uint32_t rdev;
	uint64_t size_bytes;	/* directories: 4096 */
	uint64_t blocks_512;	/* st_blocks: 8 KiB for each block that is not a hole */
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since the Unix epoch */
};

/* The root directory of a view. One reference. -ENOENT when the view is not there any more. */
NF_MUST_CHECK int bd_root(struct bd_store *store, struct bd_view view, struct bd_inode **ret_inode);
/* Same inode, by number (NFS-like handles). */
NF_MUST_CHECK int bd_inode_by_id(struct bd_store *store, struct bd_view view, struct bd_file_id file,
				 struct bd_inode **ret_inode);
void bd_inode_ref(struct bd_inode *inode, uint64_t count);
/* Drop `count` references. The last one of an inode with no links frees its data (in the background). */
void bd_inode_unref(struct bd_inode *inode, uint64_t count);
struct bd_view bd_inode_view(const struct bd_inode *inode);
/* Is its branch internal now? Takes no lock. */
bool bd_inode_is_internal(const struct bd_inode *inode);
void bd_inode_attr(struct bd_inode *inode, struct bd_attr *ret_attr);
/* From +1 to -1 the blocks of the file go through the kernel's page cache, written and read: a write waits for no disk then, and what was used lately is in
 * memory. For files that nobody else caches. What a write promises stays the same: durable after bd_fsync, old or new before. */
void bd_inode_use_cache(struct bd_inode *inode, int delta);
/* Room for one pointer or number of the front end's own, zero at first. Guarded by the front end. */
void **bd_inode_user(struct bd_inode *inode);

/* ".." of a directory: its parent's inode, one reference; the root's parent is itself. */
NF_MUST_CHECK int bd_lookup_parent(struct bd_inode *dir, struct bd_inode **ret_parent);
/* One reference on success. -ENOENT; -ENOTDIR; -ENAMETOOLONG. "." and ".." are not names here. */
NF_MUST_CHECK int bd_lookup(struct bd_inode *dir, const char *name, struct bd_inode **ret_inode);

struct bd_create {
	uint32_t mode;		/* type (regular, directory, symlink, fifo, socket, char, block) and permissions */
	uint32_t uid, gid;	/* of the caller; a setgid directory's gid (and bit, for directories) is applied here */
	uint32_t rdev;
	const char *symlink_target;	/* for S_IFLNK */
};
/* -EEXIST, -ENOTDIR, -EROFS, -ENOSPC, -EMLINK. One reference to the new inode. */
NF_MUST_CHECK int bd_create(struct bd_inode *dir, const char *name, const struct bd_create *how, struct bd_inode **ret_inode);
/* A file with no name yet (O_TMPFILE); nlink 0; bd_link gives it one. */
NF_MUST_CHECK int bd_create_unnamed(struct bd_inode *dir, const struct bd_create *how, struct bd_inode **ret_inode);
NF_MUST_CHECK int bd_link(struct bd_inode *inode, struct bd_inode *dir, const char *name); /* same branch: else -EXDEV */
NF_MUST_CHECK int bd_unlink(struct bd_inode *dir, const char *name);	/* -EISDIR for directories */
NF_MUST_CHECK int bd_rmdir(struct bd_inode *dir, const char *name);	/* -ENOTDIR, -ENOTEMPTY */
enum { BD_RENAME_NOREPLACE = 1, BD_RENAME_EXCHANGE = 2 };
/* Atomic, also across a crash. Across branches -EXDEV. A directory below itself -EINVAL. */
NF_MUST_CHECK int bd_rename(struct bd_inode *from_dir, const char *from, struct bd_inode *to_dir, const char *to,
			    unsigned flags);
/* The target, NUL-terminated, in a buffer of BD_SYMLINK_MAX + 1. */
NF_MUST_CHECK int bd_readlink(struct bd_inode *inode, char *ret_target);

struct bd_dirent { struct bd_file_id file; uint32_t type; /* S_IFMT bits */ const char *name; };
struct bd_listing { struct bd_dirent *entries; size_t count; };
/* The whole directory as it is now, without "." and "..", sorted by name; one allocation, bd_listing_free. */
NF_MUST_CHECK int bd_readdir(struct bd_inode *dir, struct bd_listing **ret_listing);
void bd_listing_free(struct bd_listing *listing);

enum bd_set {
	BD_SET_MODE = 1, BD_SET_UID = 2, BD_SET_GID = 4, BD_SET_SIZE = 8, BD_SET_ATIME = 16, BD_SET_MTIME = 32,
	BD_SET_CTIME = 64, BD_KILL_PRIV = 128, /* clear setuid, and setgid where group-executable */
};
/* Change the attributes in `which` to those of `attr` (mode: permission bits only). ctime is set to now unless BD_SET_CTIME. */
NF_MUST_CHECK int bd_setattr(struct bd_inode *inode, unsigned which, const struct bd_attr *attr, struct bd_attr *ret_attr);

enum { BD_XATTR_CREATE = 1, BD_XATTR_REPLACE = 2 };
NF_MUST_CHECK int bd_xattr_set(struct bd_inode *inode, const char *name, const void *value, size_t size, unsigned flags);
/* Returns the size, or -ENODATA, -ERANGE when `size` (not 0) is too small. size 0 asks for the size. */
NF_MUST_CHECK ssize_t bd_xattr_get(struct bd_inode *inode, const char *name, void *value, size_t size);
/* Names, each NUL-terminated, one after the other. Sizes as above. */
NF_MUST_CHECK ssize_t bd_xattr_list(struct bd_inode *inode, char *names, size_t size);
NF_MUST_CHECK int bd_xattr_remove(struct bd_inode *inode, const char *name);

/* ------------------------------------------------------------------- data */

/* Read up to `size` bytes at `offset` into `buf`; short only at the end of the file. Returns bytes read or an error.
 * Fastest when buf is NF_IO_ALIGN-aligned and offset and size are multiples of NF_BLOCK_SIZE (no copy). */
NF_MUST_CHECK ssize_t bd_read(struct bd_inode *inode, uint64_t offset, void *buf, size_t size);
/* Read whole blocks of files of one store, from anywhere, with one batch of reads of the disk: `count` of them, 1 to BD_SCATTERED_MAX, into `buf`, one behind
 * the other, NF_IO_ALIGN-aligned. 0; -ENODATA a block does not lie whole inside of its file; else as bd_read. After an error nothing in buf counts. */
#define BD_SCATTERED_MAX 128u
struct bd_scattered {
	struct bd_inode *inode;
	uint32_t block;
};
NF_MUST_CHECK int bd_read_scattered(const struct bd_scattered *blocks, unsigned count, void *buf);

enum {
	BD_WRITE_SYNC = 1,	/* durable on return (O_DSYNC) */
	BD_WRITE_KILL_PRIV = 2,
};
/* Write all of it or nothing of it (per block: an aligned 8 KiB block is atomic, also across a crash). Returns 0 or an
 * error. The bytes are copied; `buf` needs no alignment. Extends the file when needed. */
NF_MUST_CHECK int bd_write(struct bd_inode *inode, uint64_t offset, const void *buf, size_t size, unsigned flags);
/* Make the file's (and for a directory, its entries') state durable. data_only: sizes and bytes, not times. */
NF_MUST_CHECK int bd_fsync(struct bd_inode *inode, bool data_only);

enum { BD_FALLOC_KEEP_SIZE = 1, BD_FALLOC_PUNCH_HOLE = 2, BD_FALLOC_ZERO_RANGE = 4 };
/* Plain allocation extends the size and checks that the space is there now; it reserves nothing for long. PUNCH_HOLE needs KEEP_SIZE. */
NF_MUST_CHECK int bd_fallocate(struct bd_inode *inode, unsigned flags, uint64_t offset, uint64_t size);
/* SEEK_DATA / SEEK_HOLE: the next offset, or -ENXIO. */
NF_MUST_CHECK int bd_seek(struct bd_inode *inode, uint64_t offset, bool data, uint64_t *ret_offset);
/* Copy a range between files of one store (any two branches or views; the destination a head) by sharing whole blocks and copying
 * the unaligned edges. Returns bytes copied (short at the end of the source) or an error. */
NF_MUST_CHECK ssize_t bd_clone_range(struct bd_inode *from, uint64_t from_offset, struct bd_inode *to, uint64_t to_offset,
				     uint64_t size);

struct bd_statfs { uint64_t total_bytes, free_bytes; uint64_t files; };
NF_MUST_CHECK int bd_statfs(struct bd_store *store, struct bd_statfs *ret_statfs);

#endif
