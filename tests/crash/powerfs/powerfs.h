/* What the parts of powerfs share: nodes, names, the log of name changes, and the undo of data.
 *
 * Two states live side by side. The live one is what every request sees at once. The durable one is
 * what fsync has promised. What separates them is small and held in memory:
 *   - of names: a log of changes, oldest first, not yet made durable by fsync of a directory
 *   - of data: for each sector changed since the last fsync of its file, what it held before
 * A power cut walks over both and lets each change survive, vanish or tear, by seed.
 *
 * Objects (file bytes, live) are plain files BACKING/objects/ID; names are in memory while mounted and
 * in BACKING/image between mounts.
 *
 * Lock order: world (shared by every request, exclusive by the cut), names, node.lock. */
#ifndef POWERFS_H
#define POWERFS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/nf_base.h"

#define PF_SECTOR 512
#define PF_PAGE 4096
#define PF_SECTORS_PER_PAGE (PF_PAGE / PF_SECTOR)
#define PF_LEAF_PAGES 256
#define PF_FILE_SIZE_MAX (UINT64_C(1) << 40)
#define PF_CHANGES_MAX 65536	/* older ones become durable, as a journal commits by itself in the end */

/* ---- undo.c: what a file's changed sectors held when they were last durable ---- */

struct pf_page {
	uint8_t *old;				/* PF_PAGE bytes, or NULL: zeros */
	uint32_t write_id[PF_SECTORS_PER_PAGE];	/* the request that last changed the sector */
	uint8_t changed;			/* a bit a sector */
};
struct pf_leaf { struct pf_page pages[PF_LEAF_PAGES]; };
struct pf_undo {
	struct pf_leaf **leaves;
	size_t leaf_count;
};

/* Remember what [offset, offset + size) of `fd` holds before request `write_id` changes it. Bytes at or past
 * `durable_size` count as zeros. `refresh`: take what pages hold now, also where an older state is remembered,
 * as if the kernel had written them back on its own. 0, -ENOMEM or -EIO. */
NF_MUST_CHECK int pf_undo_note(struct pf_undo *undo, int fd, uint64_t durable_size, uint64_t offset, uint64_t size,
			       uint32_t write_id, bool refresh);
/* What `fd` holds in these sectors is durable now. 0, -ENOMEM or -EIO. */
NF_MUST_CHECK int pf_undo_forget(struct pf_undo *undo, int fd, uint64_t offset, uint64_t size);
void pf_undo_clear(struct pf_undo *undo);
uint64_t pf_undo_memory(void);	/* bytes of all files together */

/* ---- names.c ---- */

struct pf_node;
struct pf_entry {
	char *name;
	uint64_t cookie;			/* readdir offset: rising, never reused in a directory */
	struct pf_node *live, *durable;		/* NULL: no such name */
};

struct pf_node {
	uint64_t id;
	struct pf_node *next;			/* all nodes; by names */
	uint64_t refs;				/* by names: kernel look-ups, opens, entries, changes in the log */
	uint64_t live_links;			/* by names */
	uint32_t mode, uid, gid, rdev;		/* by names; durable at once */
	struct timespec atime, mtime, ctime;	/* by names; durable at once */
	char *target;				/* symbolic link */
	struct pf_entry *entries;		/* directory, by names; in order of cookie */
	size_t entry_count, entry_capacity;
	uint64_t next_cookie;

	pthread_mutex_t lock;
	int fd;					/* the object of a regular file, else -1 */
	uint64_t durable_size;
	struct pf_undo undo;
};

struct pf_assign {
	struct pf_node *dir;
	char *name;
	struct pf_node *node;			/* the new value; NULL: none */
};
/* One atomic change of names: create, link, unlink, rename, exchange. */
struct pf_change {
	struct pf_assign assigns[2];
	int assign_count;
	struct pf_node *removed_dir;		/* rmdir: survives only if all earlier changes in there do */
	bool marked;				/* for the walk at hand */
	struct pf_change *next;
};

struct pf_fs {
	pthread_rwlock_t world;
	bool dead;				/* by world: the power is off */
	pthread_mutex_t names;
	struct pf_node *root, *nodes;		/* by names */
	struct pf_change *changes, **changes_end; /* by names */
	size_t change_count;
	uint64_t next_id;			/* by names */
	int backing_fd, objects_fd;
	uint64_t undo_limit_bytes;
	bool fsync_names;			/* fsync of a file makes the names that lead to it durable, as ext4 does */
	const char *faults_path;		/* or NULL */
	uint64_t seed;				/* what a cut, and a failed fsync, loses */
	bool ignore_fsync;			/* a disk that lies: to see that a test notices */
	uint32_t next_write_id;			/* atomic */
};
extern struct pf_fs pf;

/* All of these: caller holds pf.names. */
struct pf_node *pf_node_new(uint64_t id, uint32_t mode, uint32_t uid, uint32_t gid);	/* one reference; NULL: errno */
void pf_node_ref(struct pf_node *node, uint64_t count);
void pf_node_unref(struct pf_node *node, uint64_t count);
struct pf_node *pf_lookup(struct pf_node *dir, const char *name);	/* live; no reference taken */
bool pf_dir_empty(struct pf_node *dir);
/* Set a name, live and (when `durable`) durable as well. 0 or -ENOMEM. */
NF_MUST_CHECK int pf_assign_loaded(struct pf_node *dir, const char *name, struct pf_node *node);
/* Make the change live and log it. 0 or -ENOMEM (nothing changed). `node` NULL removes the name. */
NF_MUST_CHECK int pf_change_one(struct pf_node *dir, const char *name, struct pf_node *node,
				struct pf_node *removed_dir);
NF_MUST_CHECK int pf_change_two(struct pf_node *dir1, const char *name1, struct pf_node *node1, struct pf_node *dir2,
				const char *name2, struct pf_node *node2);
/* Make every change of names in `dir` durable, with the earlier ones they stand on. */
void pf_sync_dir(struct pf_node *dir);
/* Make every change that names `node`, or a directory above it, durable. */
void pf_sync_names_of(struct pf_node *node);
void pf_sync_all_names(void);
/* Keep what `keep` says (never one whose predecessor was dropped); empty the log. Counts what went each way. */
void pf_resolve_changes(bool (*keep)(void *arg), void *arg, uint64_t *ret_kept, uint64_t *ret_dropped);

/* ---- image.c: between mounts ---- */

/* Open BACKING (made when missing) and load its image into `pf`. 0 or -errno; complains on stderr. */
NF_MUST_CHECK int pf_image_load(const char *backing);
/* Write the durable names as the image; objects no name leads to are removed. World is held exclusively. */
NF_MUST_CHECK int pf_image_save(void);
void pf_object_name(uint64_t id, char name[32]);

/* ---- cut.c ---- */

struct pf_cut_report {
	const char *mood;
	uint64_t names_kept, names_dropped, sectors_kept, sectors_dropped, sectors_torn, sizes_kept, sizes_dropped;
};
/* Turn the live state into one that a power loss could have left. World is held exclusively. */
NF_MUST_CHECK int pf_cut(uint64_t seed, struct pf_cut_report *ret_report);

/* What a failed fsync leaves of one file: each change that was not durable is on the disk or is not, and nobody will write
 * it again. Caller holds node->lock. */
NF_MUST_CHECK int pf_lose_unsynced(struct pf_node *node, uint64_t seed);

/* ---- faults.c: a disk that fails and heals ---- */

enum pf_fault_kind { PF_FAULT_READ, PF_FAULT_WRITE, PF_FAULT_FSYNC, PF_FAULT_NAMES, PF_FAULT_KINDS };
/* Read the faults from pf.faults_path; see README.md. Called at start and at SIGUSR2. */
void pf_faults_load(void);
/* 0, or the error that a request of this kind ends with now. Thread-safe. */
int pf_fault(enum pf_fault_kind kind);

/* ---- ops.c ---- */
struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops pf_ops;

#endif
