/* The files of relations: which there are, how long they are, and reading and writing their blocks.
 *
 * A relation here is one fork. Its length in blocks counts what is still in memory; a block past the end of the file reads as zeros, as
 * Postgres would find it there. Files are segments of control->segment_blocks blocks: REL, REL.1, ...; all but the last one are full.
 * Which paths: global/REL; base/DB/REL; pg_tblspc/SPC/PG_MAJOR_CATALOG/DB/REL; forks have _fsm, _vm, _init.
 *
 * Threads: rp_rels_* and rp_rel_create, _cut, _drop by one thread while no other works on relations (`quiet`); reading, writing and growing
 * by any. */
#ifndef REPLAY_RELS_H
#define REPLAY_RELS_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "walapply/state/wa_control.h"

#define RP_PATH_MAX 128 /* of a relation's file below the data directory */

struct rp_rels;

struct rp_rel {
	struct wa_block block; /* blkno is 0: the hash key */
	uint32_t id; /* never used again */
	_Atomic uint32_t blocks;
	_Atomic uint32_t cached; /* no block from here on has been in memory */
	bool drop_waits; /* a drop has been read; it is done at the next quiet moment */
	struct rp_segment *segments;
	uint32_t segment_count;
	struct rp_rel *next; /* in its bucket */
};

/* root: descriptor of the data directory, which stays the caller's. */
NF_MUST_CHECK int rp_rels_new(int root, int major, const struct wa_control *control, struct rp_rels **ret_rels);
void rp_rels_free(struct rp_rels *rels); /* NULL is legal; closes all files */

/* The relation of a fork that is known already, or NULL. */
struct rp_rel *rp_rels_known(struct rp_rels *rels, struct wa_locator rel, uint32_t fork);
/* The relation of a fork: looked for on disk when it is not known. create: make its file (and directories) when there is none; else
 * *ret_rel is NULL then. Returns 0 or -errno. One thread, at any time. */
NF_MUST_CHECK int rp_rels_get(struct rp_rels *rels, struct wa_locator rel, uint32_t fork, bool create, struct rp_rel **ret_rel);
/* Make the file of a fork exist. */
NF_MUST_CHECK int rp_rels_touch(struct rp_rels *rels, struct wa_locator rel, uint32_t fork);

/* Call `each` for all relations of database `db` in tablespace `spc`. It may drop the relation. */
void rp_rels_of_database(struct rp_rels *rels, uint32_t db, uint32_t spc, void (*each)(void *arg, struct rp_rel *rel), void *arg);

/* Blocks [blkno, blkno + count) from or to the file, count vectors of one page each. What lies past the end of the file reads as zeros. */
NF_MUST_CHECK int rp_rel_read(struct rp_rels *rels, struct rp_rel *rel, uint32_t blkno, const struct iovec *pages,
			      unsigned count);
NF_MUST_CHECK int rp_rel_write(struct rp_rels *rels, struct rp_rel *rel, uint32_t blkno, const struct iovec *pages,
			       unsigned count);

static inline void rp_rel_raise(_Atomic uint32_t *value, uint32_t to)
{
	uint32_t old = atomic_load_explicit(value, memory_order_relaxed);
	while (old < to && !atomic_compare_exchange_weak(value, &old, to))
		;
}

/* Make the relation at least `blocks` long. */
static inline void rp_rel_grow(struct rp_rel *rel, uint32_t blocks)
{
	rp_rel_raise(&rel->blocks, blocks);
}

/* Cut the file to `blocks`. Quiet. */
NF_MUST_CHECK int rp_rel_cut(struct rp_rels *rels, struct rp_rel *rel, uint32_t blocks);
/* Forget the relation; its files stay. Quiet. */
void rp_rel_forget(struct rp_rels *rels, struct rp_rel *rel);
/* Remove the files of one fork, known or not. Quiet. */
NF_MUST_CHECK int rp_rels_unlink(struct rp_rels *rels, struct wa_locator rel, uint32_t fork);

/* Bring every file to its relation's length, close those that are open. Quiet. */
NF_MUST_CHECK int rp_rels_settle(struct rp_rels *rels);

/* "base/5/16384_vm.2" for messages and for the callers' own files. */
void rp_rels_path(const struct rp_rels *rels, struct wa_locator rel, uint32_t fork, uint32_t segment, char path[RP_PATH_MAX]);
/* "base/5" */
void rp_rels_database_path(const struct rp_rels *rels, uint32_t db, uint32_t spc, char path[RP_PATH_MAX]);
/* "PG_15_202209061" */
const char *rp_rels_space_directory(const struct rp_rels *rels);

/* mkdir -p below root. Returns 0 or -errno. */
NF_MUST_CHECK int rp_make_directories(int root, const char *path);
/* Remove what `path` names, and all below it. Nothing there is no error. A symbolic link is removed itself. */
NF_MUST_CHECK int rp_remove_tree(int root, const char *path);

#endif
