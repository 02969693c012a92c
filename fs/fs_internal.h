/* What the files of fs/ share. Start reading at README.md.
 *
 * Node id: the kernel's number for an inode is the address of its struct bd_inode, with a generation in its last bits (fs_refresh.c); FUSE_ROOT_ID is
 * the mount's root, which is no inode of the store (fs_root.c). Each entry given to the kernel hands it one reference of the bd_inode;
 * FORGET gives them back. struct fs_node counts them, because a kernel that unmounts does not forget one by one.
 *
 * Threads: handlers run on libfuse's workers; the control thread (fs_control.c) starts, stops, and does what a handler
 * must not wait for. `lock` guards the node and handle
 * lists and what the fields below say; nothing blocks while it is held. */
#ifndef FS_INTERNAL_H
#define FS_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/nf_log.h"
#include "fs/fs.h"

/* Every change below a branch's root comes through the kernel or is followed by an invalidation, so what the kernel
 * knows stays valid. Names in the mount's root change by the control socket too: the kernel asks again each
 * second, so that a look-up which raced with fs_branch_changed heals itself. */
#define FS_TIMEOUT_S 3600.0
#define FS_ROOT_TIMEOUT_S 1.0

static inline bool fs_is_frozen(const struct bd_inode *inode)
{
	return bd_inode_view(inode).epoch.v != BD_EPOCH_HEAD.v;
}

/* For how long the kernel may rely on what it is told of an inode, or of a name in a directory. Programs change the internal branches that they made
 * without the kernel, so there it always asks; but what is frozen does not change. */
static inline double fs_timeout_s(const struct bd_inode *inode)
{
	return bd_inode_is_internal(inode) && !fs_is_frozen(inode) ? 0 : FS_TIMEOUT_S;
}

/* One request carries at most this much data (256 pages, the kernel's default limit). */
#define FS_MAX_IO_BYTES (1u << 20)
/* Read-ahead and direct requests the kernel keeps in flight. */
#define FS_MAX_BACKGROUND 64
/* Of a node id: what tells those apart that one inode has had (fs_refresh.c). An address has zeros there. */
#define FS_GENERATION_MASK 15u

/* Beside each bd_inode the kernel knows of, reached through bd_inode_user. Fields are guarded by fs->lock unless atomic. */
struct fs_node {
	struct bd_inode *inode;
	uint64_t lookups; /* references the kernel holds: this many of the bd_inode's */
	uint32_t handles; /* open file descriptions */
	uint32_t writers; /* of these, open for writing; and changes of the size that are under way */
	uint32_t volumes; /* uses past the mount (fs_volume.c) */
	bool volume_writes; /* one of them writes */
	bool direct; /* they bypass the page cache; decided by the first of them, so that the two never mix */
	bool lacks_capabilities; /* known to have no security.capability */
	uint8_t generation; /* of its node id */
	_Atomic bool attr_shown; /* the kernel was given attributes since it was last told that they changed */
	struct fs_node *prev, *next;
};

/* An open file or directory. Its fields are set when it is opened and constant, but for the listing. */
struct fs_handle {
	struct bd_inode *inode; /* one reference; NULL for the mount's root */
	struct fs_node *node; /* the inode's; lives as long as the handle */
	bool direct, writer;
	pthread_mutex_t listing_lock; /* a directory's descriptor may be shared by threads */
	struct bd_listing *listing; /* guarded by listing_lock; of the mount's root: one malloc */
	struct fs_handle *prev, *next;
};

struct fs_mountpoint {
	char *path; /* resolved */
	unsigned dev_major, dev_minor;
};

struct fs_control;
struct fs_tree;

struct fs {
	struct bd_store *store;
	struct fuse_session *session;
	struct fs_mountpoint place;
	char *source;
	enum fs_cache cache;
	enum fs_transport transport; /* as asked */
	unsigned max_threads, readahead_kb;
	int (*before_name_goes)(void *arg, struct bd_inode *dir, const char *name); /* may be NULL */
	void *before_name_goes_arg;
	struct fs_trees trees; /* find is NULL: there are none */
	struct fs_tree *tree; /* set by fs_run before the first request; NULL without trees */
	bool is_root; /* the daemon runs as root */
	void (*ready)(void *arg);
	void *ready_arg;
	uid_t uid; /* owner of the mount's root directory */
	gid_t gid;

	struct fs_control *control;
	bool disconnected; /* only the thread of fs_run and fs_unmount knows it */

	pthread_mutex_t lock;
	struct fs_node *nodes;
	struct fs_handle *handles;
	struct fs_hold *holds;
	pthread_cond_t hold_changed; /* of `lock` */
	_Atomic unsigned hold_count; /* of the list; changed under lock */
	_Atomic unsigned volume_count; /* nodes' volumes in all; changed under lock */
	struct fs_refresh *refreshes; /* whose old pages are still to go */
	pthread_cond_t forget_wanted; /* of `lock` */
	pthread_t forget_thread;
	bool forget_runs, forget_stops;
	_Atomic bool has_refreshed; /* there may be old node ids; changed under lock */

	pthread_rwlock_t session_lock; /* before lock; shared while notifying the kernel, so that the session stays */
	/* Guarded by session_lock. The rest of them is set by INIT, before any other request, and constant after. */
	bool connected; /* the session's descriptor is open and INIT was seen */
	uint32_t protocol_major, protocol_minor, max_write;
	bool killpriv_v2; /* the kernel says when set-id bits have to go */

	_Atomic bool uring_seen, request_seen;
	_Atomic int64_t root_mtime_ns, root_hint_ns;
	_Atomic uint64_t open_handles;
	struct {
		_Atomic uint64_t count, errors, total_ns;
	} ops[FS_OP_COUNT];
};

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static inline struct bd_inode *fs_inode(fuse_ino_t ino)
{
	return (struct bd_inode *)((uintptr_t)ino & ~(uintptr_t)FS_GENERATION_MASK);
}

/* The id that the kernel is told now; node: the inode's, or NULL. Under fs->lock. */
static inline fuse_ino_t fs_ino_of(struct bd_inode *inode, const struct fs_node *node)
{
	assert(((uintptr_t)inode & FS_GENERATION_MASK) == 0);
	return (fuse_ino_t)((uintptr_t)inode | (node != NULL ? node->generation : 0));
}

static inline struct fs_handle *fs_handle(const struct fuse_file_info *fi)
{
	return (struct fs_handle *)(uintptr_t)fi->fh;
}

/* ---- fs_call.c: one request: counted, timed, answered ---- */

struct fs_call {
	struct fs *fs;
	fuse_req_t req;
	enum fs_op op;
	int64_t start_ns;
};

/* Declares `call` for the handler's scope; its end is the end of the scope. */
#define FS_CALL(request, operation) struct fs_call call __attribute__((cleanup(fs_call_end))) = fs_call_start(request, operation)

struct fs_call fs_call_start(fuse_req_t req, enum fs_op op);
void fs_call_end(struct fs_call *call);
int64_t fs_clock_ns(clockid_t clock);
/* Answer with 0 or -errno. */
void fs_reply_result(struct fs_call *call, int result);
/* Answer with a new entry. Takes over the caller's reference to `inode`, whatever happens. */
void fs_reply_entry(struct fs_call *call, struct bd_inode *inode, double timeout_s);
void fs_reply_no_entry(struct fs_call *call, const struct bd_inode *dir);
void fs_reply_attr(struct fs_call *call, struct bd_inode *inode);

/* ---- fs_node.c ---- */

/* The kernel is told of `inode` once more, as *ret_ino: one of the caller's references becomes the kernel's. -ENOMEM. */
NF_MUST_CHECK int fs_node_enter(struct fs *fs, struct bd_inode *inode, fuse_ino_t *ret_ino);
/* What the kernel is told as the inode's number now. */
fuse_ino_t fs_node_id(struct fs *fs, struct bd_inode *inode);
/* The kernel drops `count` of its references (or never received them). */
void fs_node_forget(struct fs *fs, struct bd_inode *inode, uint64_t count);
/* Open. `flags` as in open(2); `inode` NULL for the mount's root. Counts as use of the branch. -ENOMEM; -EBUSY: to write what is a volume. */
NF_MUST_CHECK int fs_handle_open(struct fs *fs, struct bd_inode *inode, int flags, struct fs_handle **ret_handle);
void fs_handle_close(struct fs *fs, struct fs_handle *handle);
/* The inode's node, made when missing; and let go when nothing holds it. Under fs->lock. */
struct fs_node *fs_node_get(struct fs *fs, struct bd_inode *inode);
void fs_node_put(struct fs *fs, struct fs_node *node);
/* Does anybody have it open for writing? */
bool fs_node_has_writers(struct fs *fs, struct bd_inode *inode);
/* What is known of the inode's file capabilities, while the kernel knows the inode. */
bool fs_node_lacks_capabilities(struct fs *fs, struct bd_inode *inode);
void fs_node_set_lacks_capabilities(struct fs *fs, struct bd_inode *inode, bool lacks);
/* Close every handle and drop every reference the kernel still holds. No request is in work any more. */
void fs_node_drop_all(struct fs *fs);

/* st_ino: stable across mounts, distinct between branches and frozen views. */
ino_t fs_ino(struct bd_view view, struct bd_file_id file);
void fs_stat(struct bd_view view, const struct bd_attr *attr, struct stat *ret_stat);
/* What the kernel is about to be told of an inode it knows. */
void fs_stat_inode(struct fs *fs, struct bd_inode *inode, struct stat *ret_stat);
void fs_node_attr_shown(struct fs *fs, struct bd_inode *inode);
/* Is there something to tell the kernel anew? True once for each time it was told. */
static inline bool fs_node_take_attr_shown(struct fs_node *node)
{
	return atomic_load_explicit(&node->attr_shown, memory_order_relaxed) && atomic_exchange(&node->attr_shown, false);
}

/* ---- fs_refresh.c: files that show something else from now on ---- */

/* Has the inode another node id by now? Then the answer is -ESTALE, on which the kernel looks up the name again. */
bool fs_is_stale(struct fs *fs, fuse_ino_t ino);
/* The thread ends when it has done what is left; the kernel is not told any more once the session has ended. */
void fs_refresh_finish(struct fs *fs);

/* ---- fs_hold.c ---- */

/* The request is about to change something in the branch of `inode` by a name, or to open a file there for writing. -EBUSY: somebody holds the branch.
 * Otherwise, when that is done and before it is answered, fs_change_end: until then the branch is in use. */
NF_MUST_CHECK int fs_change_begin(struct fs_call *call, struct bd_inode *inode);
void fs_change_end(struct bd_inode *inode);

/* Somebody has a hold on the branch. */
bool fs_is_held(struct fs *fs, struct bd_branch_id branch);

/* ---- fs_volume.c: files that are used past the mount ---- */

/* The size of `inode` is about to change: as an open for writing, until fs_resize_end. -EBUSY; -ENOMEM. */
NF_MUST_CHECK int fs_resize_begin(struct fs *fs, struct bd_inode *inode);
void fs_resize_end(struct fs *fs, struct bd_inode *inode);
/* -EBUSY when `name` of `dir` is a volume. */
NF_MUST_CHECK int fs_volume_check_name(struct fs *fs, struct bd_inode *dir, const char *name);

/* ---- fs_root.c ---- */

NF_MUST_CHECK int fs_root_lookup(struct fs *fs, const char *name, struct bd_inode **ret_inode);
void fs_root_stat(struct fs *fs, struct stat *ret_stat);
/* The branches as a listing in one allocation; free() it. */
NF_MUST_CHECK int fs_root_listing(struct fs *fs, struct bd_listing **ret_listing);
/* Say once in a while in the log how branches are made. Returns -EPERM. */
NF_MUST_CHECK int fs_root_refuse(struct fs *fs, const char *what, const char *name);

/* ---- fs_tree.c: trees that are made when they are looked up ---- */

/* Is the directory one? Cheap for all that is no frozen internal root. */
bool fs_tree_is_door(const struct fs *fs, struct bd_inode *inode);
/* Answer a look-up of `name` (fi NULL) or an opendir (name NULL) in a door, now or, from another thread, later. */
void fs_tree_serve(struct fs_call *call, struct bd_inode *door, const char *name, struct fuse_file_info *fi);
/* Its thread, around the session's loop. fs_tree_finish answers what still waits; the mount is gone by then. */
NF_MUST_CHECK int fs_tree_start(struct fs *fs);
void fs_tree_finish(struct fs *fs);

/* ---- fs_priv.c ---- */

/* Is the write or truncation of `fi` one that clears set-id bits and file capabilities? */
bool fs_kills_priv(struct fs_call *call, const struct fuse_file_info *fi);
/* Clear them, and tell the kernel when there were any. */
NF_MUST_CHECK int fs_kill_priv(struct fs *fs, struct bd_inode *inode);
NF_MUST_CHECK int fs_drop_capabilities(struct fs *fs, struct bd_inode *inode);
/* An extended attribute was set. */
void fs_xattr_changed(struct fs *fs, struct bd_inode *inode, const char *name);
/* Tell the kernel that mode and the like of the inode changed behind it. Does not block. */
void fs_notify_attr(struct fs *fs, struct bd_inode *inode);

/* ---- fs_init.c, fs_ops_*.c ---- */

void fs_init(void *userdata, struct fuse_conn_info *conn);

void fs_add_meta_ops(struct fuse_lowlevel_ops *ops);
void fs_add_name_ops(struct fuse_lowlevel_ops *ops);
void fs_add_dir_ops(struct fuse_lowlevel_ops *ops);
void fs_add_xattr_ops(struct fuse_lowlevel_ops *ops);
void fs_add_file_ops(struct fuse_lowlevel_ops *ops);
void fs_add_data_ops(struct fuse_lowlevel_ops *ops);

/* ---- fs_control.c ---- */

NF_MUST_CHECK int fs_control_create(struct fs *fs, struct fs_control **ret_control);
/* Start and end its thread, around the session's loop. `fs_control_finish` waits for the work in hand. */
NF_MUST_CHECK int fs_control_start(struct fs_control *control, pthread_t loop_thread);
void fs_control_finish(struct fs_control *control);
void fs_control_destroy(struct fs_control *control); /* NULL is legal */
void fs_control_stop(struct fs_control *control); /* async-signal-safe */
/* INIT is about to be answered. */
void fs_control_connected(struct fs_control *control);
/* Run `work(fs, arg)` on the control thread, where it may wait for requests that the workers serve. -ENOMEM. */
NF_MUST_CHECK int fs_control_post(struct fs_control *control, void (*work)(struct fs *fs, void *arg), void *arg);

/* ---- fs_transport.c ---- */

/* Decide between device and io_uring. On error ret_message says why. */
NF_MUST_CHECK int fs_transport_choose(const struct fs_options *options, bool *ret_uring, char *ret_message, size_t message_size);
unsigned fs_transport_queue_depth(const struct fs_options *options);
/* Over io_uring: where the reply's data goes without another copy. False on the device. */
bool fs_transport_reply_buffer(fuse_req_t req, size_t size, char **ret_buf);
bool fs_transport_is_uring(fuse_req_t req);

/* ---- fs_mountpoint.c ---- */

/* Check the mount point, clear a dead mount, and resolve it (malloc'd). */
NF_MUST_CHECK int fs_mountpoint_prepare(const char *mountpoint, const char *source, char **ret_resolved, char *ret_message,
					size_t message_size);
/* Note which mount is there now. -ENOENT: none. What follows touches no other one that took its place later. */
NF_MUST_CHECK int fs_mountpoint_identify(struct fs_mountpoint *place);
/* Is it still there, and not detached or replaced by another? */
bool fs_mountpoint_is_ours(const struct fs_mountpoint *place);
/* Unmount an idle mount, with everything dirty written out first. -EBUSY when it is in use; -EPERM when not root. */
NF_MUST_CHECK int fs_mountpoint_unmount(const struct fs_mountpoint *place);
/* Have the kernel hand over what it has gathered for the file system mounted there. */
NF_MUST_CHECK int fs_mountpoint_sync(const struct fs_mountpoint *place);
/* Fail all requests, now and later, of a mount that is ours and that nobody serves any more. */
void fs_mountpoint_abort(const struct fs_mountpoint *place);
/* As root: set the read-ahead of the file system mounted there, and let it have as many gathered writes as any disk. The
 * kernel allows a FUSE mount 1 % of the usual share, meant for daemons it cannot trust; heap blocks are then written
 * again and again. Measured with pgbench: a third fewer writes, 14 to 36 % more transactions. */
NF_MUST_CHECK int fs_mountpoint_tune(const struct fs_mountpoint *place, unsigned readahead_kb, bool gathers_writes);

#endif
