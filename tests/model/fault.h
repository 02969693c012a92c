/* The ledger of the fault test: what the store may show now, and after a crash, while I/O fails.
 *
 * For each block of each file of each view:
 *   a step that succeeded    live = the new state;        disk = as before, or the new state
 *   a step that failed       live = the old or the new;   disk = as before, or the new state
 *   a write without room     (-ENOSPC) changed nothing; one that is also flushed may have failed in the flush
 *   a sync that succeeded    disk = live
 * Snapshots and branches that were acknowledged must be there with the live state of their moment; those
 * that failed may be. */
#ifndef FAULT_H
#define FAULT_H

#include "tagged.h"

#define FILES 5
#define BLOCKS 160 /* of a file that are looked at */
#define VIEWS 5
#define TAGS 6

/* What something may be: a set of tags. Of a file's existence: 0 or 1. */
struct may {
	uint32_t tags[TAGS];
	unsigned count;
};

struct file_state {
	struct may exists, blocks[BLOCKS];
};

struct view_state {
	bool used, certain; /* certain: its creation was acknowledged */
	bool maybe_gone;    /* its deletion was tried */
	char branch[BD_BRANCH_NAME_MAX + 1], label[BD_BRANCH_NAME_MAX + 1]; /* label empty: a head */
	struct file_state live[FILES], disk[FILES];
};

struct kind {
	const char *name;
	unsigned mask; /* of nf_fault_kind */
	int error;
	bool torn;
};

struct run {
	const char *part; /* the program's argument */
	const struct kind *kind;
	uint64_t number; /* of the call that fails */
	bool sticky, cut;
	char path[256];
	struct nf_io *mem, *io;
	struct bd_store *store;
	struct view_state views[VIEWS];
	uint32_t tag;
	const char *step;
	unsigned failures; /* steps that failed */
};

extern bool fault_verbose;
extern uint8_t *fault_buffer; /* BLOCKS blocks */

_Noreturn void fault_fail(const struct run *r, const char *what, int64_t detail);

/* ---- fault_steps.c: each runs on the store and enters what may have come of it ---- */

struct view_state *view_add(struct run *r, const char *branch, const char *label, const struct file_state *files, bool certain);
NF_MUST_CHECK int open_root(struct run *r, const char *branch, const char *label, struct bd_inode **ret_root);
NF_MUST_CHECK int open_file(struct run *r, const char *branch, const char *label, unsigned file, struct bd_inode **ret_inode);
bool may_be(const struct may *may, uint32_t tag);
void note(struct run *r, const char *step, int err);
void step_create(struct run *r, const char *step, const char *branch, unsigned file);
void step_write(struct run *r, const char *step, const char *branch, unsigned file, unsigned block, unsigned count,
		unsigned flags);
void step_truncate(struct run *r, const char *step, const char *branch, unsigned file, unsigned blocks);
void step_fsync(struct run *r, const char *step, const char *branch, unsigned file);
/* `from` takes the place of `to`; what it holds has been synced before. */
void step_rename(struct run *r, const char *step, const char *branch, unsigned from, unsigned to);
void step_unlink(struct run *r, const char *step, const char *branch, unsigned file);
void step_fsync_root(struct run *r, const char *step, const char *branch);
void step_snapshot(struct run *r, const char *step, const char *branch, const char *label);
void step_snapshot_delete(struct run *r, const char *step, const char *branch, const char *label);
void step_branch(struct run *r, const char *step, const char *parent, const char *name);
void step_sync(struct run *r);

/* ---- fault_check.c: the store against the ledger ---- */

/* While I/O may fail: the right bytes or an error. */
void check_live(struct run *r);
/* After reopening: everything acknowledged. `clean`: a close without an error came before. What may be there is live now. */
void check_after(struct run *r, bool clean);
void check_scrub(struct run *r);

#endif
