/* Inside of branches: records and the table, shared by table.c, create.c and snapshot.c. */
#ifndef BD_BRANCH_H
#define BD_BRANCH_H

#include "blockdev/bd_impl.h"

/* Value of an 'R' key: parent u32, parent epoch u32, epoch u32, flags u8, created i64, name. */
enum { BD_BRANCH_PROTECTED = 1, BD_BRANCH_DEAD = 2, BD_BRANCH_DETACHED = 4 };
#define BD_BRANCH_VALUE_MAX (4 + 4 + 4 + 1 + 8 + BD_BRANCH_NAME_MAX + BD_VALUE_CHECK)
#define BD_SNAPSHOT_VALUE_MAX (8 + BD_BRANCH_NAME_MAX + BD_VALUE_CHECK)

/* The flags of a living branch. Under table_lock. */
static inline unsigned branch_flags(const struct bd_branch *branch)
{
	return (branch->is_protected ? BD_BRANCH_PROTECTED : 0) | (branch->is_detached ? BD_BRANCH_DETACHED : 0);
}
/* The branch's record, at `epoch`, into a commit. Under table_lock. */
void branch_commit(const struct bd_branch *branch, uint32_t epoch, const char *name, unsigned flags,
		   struct bd_commit *commit);
/* A branch in memory, not in the table yet. `ancestors` becomes its own. */
struct bd_branch *branch_new(uint32_t id, const struct bd_branch *parent, uint32_t parent_epoch, const char *name);
void branch_free(struct bd_branch *branch);
/* Under table_lock exclusive. */
NF_MUST_CHECK int branch_insert(struct bd_store *store, struct bd_branch *branch);
/* Under table_lock. Living branches only. */
/* Under table_lock exclusive: a living, not detached child more (1) or less (-1). */
void branch_count_child(struct bd_branch *parent, const struct bd_branch *child, int delta);
/* Under table_lock exclusive: name a branch, in memory. */
void branch_set_name(struct bd_branch *branch, const char *name);
/* 0 when the name may be a branch's, a user's or an internal one; as bd_name_check. */
NF_MUST_CHECK int branch_name_check(const char *name);
struct bd_branch *branch_by_name(struct bd_store *store, const char *name);
struct bd_branch *branch_by_id(struct bd_store *store, uint32_t id);
void branch_info(struct bd_store *store, const struct bd_branch *branch, struct bd_branch_info *ret_info);
/* 0 when the epoch is a snapshot's; -ENOENT. */
NF_MUST_CHECK int snapshot_check(struct bd_store *store, uint32_t branch, uint32_t epoch);
/* Flush most of what freezing would have to, before anybody is held up. No locks held. */
void branch_preflush(struct bd_store *store, uint32_t id);
/* The epoch at which the youngest child that stands began, 0 without any. Under table_lock. */
uint32_t branch_last_fork(struct bd_store *store, const struct bd_branch *branch);
/* Has a living branch a snapshot of `epoch`, or another child than `child` that began there? Then nothing of it becomes garbage when `child` goes. Under
 * table_lock. */
bool branch_is_pinned_besides(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch, const struct bd_branch *child);

/* What is done while a branch's head is frozen, under its epoch_lock exclusive. */
struct branch_freeze {
	int (*record)(void *arg, uint32_t frozen, struct bd_commit *commit); /* adds to the commit; may fail */
	void (*frozen)(void *arg); /* NULL, or: the next epoch has begun, and nobody has written in it yet */
	void *arg;
};
/* Freeze the branch's head: flushes, then commits what `record` adds with epoch + 1. Durable once the log is synced up to *ret_ticket. Under table_lock
 * exclusive. `ret_pause_ns` may be NULL. */
NF_MUST_CHECK int branch_freeze(struct bd_store *store, struct bd_branch *branch, const struct branch_freeze *freeze,
				uint64_t *ret_ticket, uint64_t *ret_pause_ns);

#endif
