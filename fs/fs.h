/* The FUSE front end: shows a store as a mounted file system.
 *
 * The mount's root lists the branches; MOUNT/BRANCH is the branch's head, MOUNT/BRANCH@LABEL a read-only
 * tree of a snapshot (by look-up, never listed). Every request becomes calls of blockdev/bd.h.
 *
 * Life of a mount: open the store, fs_mount, fs_run (until unmounted or fs_stop), fs_unmount, close the store.
 * fs_mount and fs_run start no thread before fs_run, but an open store has threads of its own: a daemon
 * forks before it opens the store, and tells its parent from `ready` that the mount is in service.
 *
 * A snapshot or branch of a running branch needs nothing from here: in FS_CACHE_THROUGH every completed write is
 * in the store already; in FS_CACHE_BACK the store has what the kernel has handed over, which
 * includes everything fsynced and everything of files that were closed (the kernel writes out at close). */
#ifndef FS_H
#define FS_H

#include "blockdev/bd.h"

struct fs;

enum fs_cache {
	FS_CACHE_BACK, /* the kernel gathers writes and hands them over later, in pages of 4 KiB */
	FS_CACHE_THROUGH, /* each write() is one or more FUSE writes before it returns: block writes stay atomic */
};

enum fs_transport {
	FS_TRANSPORT_AUTO, /* what measured best: the device */
	FS_TRANSPORT_DEV, /* read and write on /dev/fuse, one clone of it for each thread */
	FS_TRANSPORT_URING, /* FUSE over io_uring, one thread for each CPU; or fail with a message that says why not */
};

#define FS_THREADS_DEFAULT 16
#define FS_THREADS_FAR 64 /* of a store that is not all on this disk: a read that waits for the object store keeps its thread */
#define FS_THREADS_MAX 256
#define FS_READAHEAD_KB_DEFAULT 1024

/* Trees that are made when they are looked up: BRANCH@POINT in the top directory, where POINT is no snapshot's label. What is looked up is a door, an empty
 * directory that is there at once; what is looked up and listed in it is what the root of another view has, once that is made. */
struct fs_trees {
	void *arg;
	/* Is there such a tree? Its door: a frozen view of an internal branch that only this tree has. Or a frozen view that is there already. On a thread that
	 * serves a request of the top directory: must not wait for the mount. -ENOENT. */
	int (*find)(void *arg, const char *branch, const char *point, struct bd_view *ret_door);
	/* The frozen view behind a door. -ESRCH it is none; -ENOENT there is nothing behind it any more. may_wait false: -EAGAIN, when it has to be made first;
	 * true: on a thread that may wait for the mount, one at a time. */
	int (*enter)(void *arg, struct bd_view door, bool may_wait, struct bd_view *ret_view);
	/* Once a minute or so, on that thread: what nobody uses any more can go. */
	void (*tidy)(void *arg);
};

struct fs_options {
	const char *mountpoint; /* an existing directory */
	const char *source; /* what /proc/mounts shows as the device: the store's absolute path */
	enum fs_cache cache;
	enum fs_transport transport;
	unsigned max_threads; /* worker threads of the device transport; 0 = FS_THREADS_DEFAULT */
	unsigned uring_queue_depth; /* io_uring requests in flight for each CPU; 0 = chosen here */
	unsigned readahead_kb; /* 0 = FS_READAHEAD_KB_DEFAULT; used when root */
	bool only_self; /* false: every user may enter, with the kernel checking permissions (allow_other) */
	void (*ready)(void *arg); /* may be NULL; called once, on a thread of the mount, when it is in service */
	void *ready_arg;
	/* May be NULL. Called before a name of a directory stands for nothing (unlink, rename) or for something else (rename over it), whether it
	 * is there or not, on the thread that serves the request and with no lock held; it may call the store. An error refuses the request.
	 * Not called for what the store does by itself (bd.h), nor for rmdir. */
	int (*before_name_goes)(void *arg, struct bd_inode *dir, const char *name);
	void *before_name_goes_arg;
	const struct fs_trees *trees; /* copied; may be NULL. Not used over io_uring, where requests cannot wait on another thread */
};

/* Mount. A mount left dead at the same place by a killed daemon is cleared first. Blocks nothing yet: requests
 * wait until fs_run. The store must outlive the mount. On error `ret_message` (at least 512 bytes) holds one line: what, and
 * what to do. -ENOENT, -ENOTDIR bad mount point; -EBUSY something is mounted there already; -EPERM not allowed;
 * -ENODEV no FUSE in this kernel; -EOPNOTSUPP transport not available; -EINVAL bad options; -ENOMEM. */
NF_MUST_CHECK int fs_mount(struct bd_store *store, const struct fs_options *options, struct fs **ret_fs, char *ret_message,
			   size_t message_size);

/* Serve until the file system is unmounted (by umount, or after fs_stop). 0, or -errno when the session died.
 * One call for each mount; the worker threads have ended when it returns. */
NF_MUST_CHECK int fs_run(struct fs *fs);

/* Make fs_run return soon. Async-signal-safe, and safe from any thread, any number of times, from
 * fs_mount's return until fs_unmount. Requests in work are finished and answered. */
void fs_stop(struct fs *fs);

/* Unmount when still mounted (lazily when it is in use: processes in it get ENOTCONN), drop every inode reference the
 * kernel held, and free. After fs_run has returned, or without it. NULL is legal. */
void fs_unmount(struct fs *fs);

/* The store's branch or snapshot set has changed at `name` (a branch name, or BRANCH@LABEL): created, deleted, or renamed
 * from or to. The kernel forgets what it knew of that name; for a branch also of its BRANCH@... views.
 * Call after the change is made, from a thread that is not serving a request and holds no lock of the store. */
void fs_branch_changed(struct fs *fs, const char *name);

/* What some files of a branch's head show has changed behind the kernel's back (a redo layer was laid): from now on nobody reads what the kernel has of
 * those that `has_changed` says (called on this thread, without locks; its path is below the branch). That takes no time for files that nobody has open: to the
 * kernel they are others from now on, and what it had of them goes in the background; of open ones 0.3 s a GiB. What programs wrote must have been
 * handed over before (syncfs), and nobody may be writing. Threads as fs_branch_changed, and may wait for the mount. -ENOMEM, or what the kernel says. */
#define FS_CHANGED_PATH_MAX 256
typedef bool (*fs_has_changed)(const void *arg, struct bd_file_id file, char ret_path[FS_CHANGED_PATH_MAX]);
NF_MUST_CHECK int fs_branch_refresh(struct fs *fs, struct bd_branch_id branch, fs_has_changed has_changed, const void *arg);

/* Hold a branch: until fs_hold_end only this process, and the processes of one group that it lets in, can change anything in the branch's head
 * through the mount (make, remove, rename, open for writing, change attributes but times): all others get EBUSY. Reading goes on. The branch counts as
 * in use. -EBUSY: a file in it is open, or it is held already; -ENOENT: no such branch; -ENOMEM. Threads as fs_branch_changed. */
struct fs_hold;
NF_MUST_CHECK int fs_hold(struct fs *fs, struct bd_branch_id branch, struct fs_hold **ret_hold);
/* A process group is about to be started that will be let in: until fs_hold_admit, requests that the hold would refuse wait. */
void fs_hold_expect(struct fs_hold *hold);
/* Let in the processes of `group`; 0: nobody. Once its last process was waited for, take it back, because numbers are used again. */
void fs_hold_admit(struct fs_hold *hold, pid_t group);
void fs_hold_end(struct fs_hold *hold); /* NULL is legal. Before fs_unmount. */

/* A file of a branch's head is about to be used past the mount, with bd_read and bd_write (a volume): until fs_volume_end its size stays, its names stay,
 * and nobody opens it for writing through the mount (EBUSY). `writes`: the caller may write; then whoever reads it through the mount does so past the page cache,
 * and nobody else writes. Counts as use of the branch. -EBUSY: somebody has it open for writing, or, with `writes`, reads it through the page cache, or
 * writes it as a volume already; or the branch is held. -ENOMEM. The caller has a reference of the inode. Threads as fs_branch_changed. */
NF_MUST_CHECK int fs_volume_begin(struct fs *fs, struct bd_inode *inode, bool writes);
void fs_volume_end(struct fs *fs, struct bd_inode *inode, bool writes);
/* Its times and blocks have changed. */
void fs_volume_changed(struct fs *fs, struct bd_inode *inode);

/* Requests counted by operation since fs_mount. */
enum fs_op {
	FS_OP_LOOKUP,
	FS_OP_FORGET,
	FS_OP_GETATTR,
	FS_OP_SETATTR,
	FS_OP_READLINK,
	FS_OP_MKNOD,
	FS_OP_MKDIR,
	FS_OP_UNLINK,
	FS_OP_RMDIR,
	FS_OP_SYMLINK,
	FS_OP_RENAME,
	FS_OP_LINK,
	FS_OP_OPEN,
	FS_OP_CREATE,
	FS_OP_TMPFILE,
	FS_OP_READ,
	FS_OP_WRITE,
	FS_OP_RELEASE,
	FS_OP_FSYNC,
	FS_OP_OPENDIR,
	FS_OP_READDIR,
	FS_OP_READDIRPLUS,
	FS_OP_RELEASEDIR,
	FS_OP_FSYNCDIR,
	FS_OP_STATFS,
	FS_OP_SETXATTR,
	FS_OP_GETXATTR,
	FS_OP_LISTXATTR,
	FS_OP_REMOVEXATTR,
	FS_OP_FALLOCATE,
	FS_OP_COPY_FILE_RANGE,
	FS_OP_LSEEK,
	FS_OP_IOCTL,
	FS_OP_STATX,
	FS_OP_COUNT,
};

struct fs_op_stats {
	uint64_t count; /* requests answered */
	uint64_t errors; /* of these, with an error */
	uint64_t total_ns; /* time in handlers, all threads together */
};

struct fs_stats {
	struct fs_op_stats ops[FS_OP_COUNT];
	uint64_t open_handles; /* files and directories open now */
	char mountpoint[4096];
	enum fs_cache cache;
	enum fs_transport transport; /* in use: DEV or URING; AUTO until the kernel has connected */
	char libfuse_version[32];
	uint32_t kernel_protocol_major, kernel_protocol_minor;
	uint32_t max_write_bytes;
};

const char *fs_op_name(enum fs_op op); /* "lookup"; never NULL */
void fs_stats_get(struct fs *fs, struct fs_stats *ret_stats);

#endif
