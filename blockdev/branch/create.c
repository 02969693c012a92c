/* Making, deleting, detaching, renaming and protecting branches.
 *
 * A child costs two records: its own, and its parent's with the next epoch. Deleting marks the record dead; the collector does the rest.
 * A detached child does not keep its parent from being deleted. The dead parent's record stays then, seen by nobody, and of its versions those that
 * its children see where they begin; both go with the last such child. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "blockdev/branch/branch.h"
#include "blockdev/layer/layer.h"
#include "common/nf_log.h"

static uint64_t elapsed_ns(struct timespec from)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)(now.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)now.tv_nsec - (uint64_t)from.tv_nsec;
}

void branch_preflush(struct bd_store *store, uint32_t id)
{
	struct bd_branch *branch = bd_branch_acquire(store, id);
	/* Only to make freezing short: that flushes again, and reports errors. */
	if (branch != NULL && bd_branch_flush(store, branch, false) != 0)
		nf_warn("branch %s: flushing before a snapshot failed", branch->name);
	bd_branch_release(branch);
}

int branch_freeze(struct bd_store *store, struct bd_branch *branch, const struct branch_freeze *freeze, uint64_t *ret_ticket,
		  uint64_t *ret_pause_ns)
{
	struct bd_commit commit;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	struct timespec begin;
	/* From here on new writers wait. */
	clock_gettime(CLOCK_MONOTONIC, &begin);
	pthread_rwlock_wrlock(&branch->epoch_lock);
	error = bd_branch_flush(store, branch, true);
	if (error == 0 && branch->epoch + 1 >= 1u << 30)
		error = -ENOSPC;
	if (error == 0)
		error = freeze->record(freeze->arg, branch->epoch, &commit);
	if (error == 0) {
		branch_commit(branch, branch->epoch + 1, branch->name, branch_flags(branch), &commit);
		error = bd_commit_apply(store, &commit, ret_ticket);
	}
	if (error == 0)
		branch->epoch++;
	if (error == 0 && freeze->frozen != NULL)
		freeze->frozen(freeze->arg);
	pthread_rwlock_unlock(&branch->epoch_lock);
	if (error == 0 && ret_pause_ns != NULL)
		*ret_pause_ns = elapsed_ns(begin);
	bd_commit_free(&commit);
	return error;
}

/* Common checks of a new name. Under table_lock exclusive. */
static int check_new_name(struct bd_store *store, const char *name)
{
	int error = bd_store_writable(store);
	if (error == 0)
		error = branch_name_check(name);
	if (error == 0 && branch_by_name(store, name) != NULL)
		error = -EEXIST;
	if (error == 0 && store->branch_count >= BD_BRANCHES_MAX)
		error = -ENOSPC;
	return error;
}

/* After the record is in the log: what is done in the branch from now on comes behind it there. Under table_lock exclusive. */
static int adopt(struct bd_store *store, struct bd_branch *branch, struct bd_branch *parent,
		 struct bd_branch_info *ret_info)
{
	int error = branch_insert(store, branch);
	if (error != 0)
		return bd_store_fail(store, error, "adding a branch");
	store->branch_count++;
	store->internal_count += branch->is_internal;
	if (parent != NULL) {
		branch_count_child(parent, branch, 1);
		parent->needs++;
	}
	branch_info(store, branch, ret_info);
	return 0;
}

/* The root directory's record, as bd_inode_commit would write it. */
static int commit_root(struct bd_store *store, struct bd_branch *branch, uid_t uid, gid_t gid, struct bd_commit *commit)
{
	int64_t now = bd_now_ns();
	struct bd_inode root = {
		.store = store,
		.branch = branch,
		.view_epoch = UINT32_MAX,
		.file = BD_FILE_ID_ROOT.v,
		.attr = {.file = BD_FILE_ID_ROOT, .mode = S_IFDIR | 0700, .uid = uid, .gid = gid, .nlink = 2,
			 .size_bytes = 4096, .atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now},
		.base_branch = branch->id,
		.base_epoch = 1,
		.parent = BD_FILE_ID_ROOT.v,
	};
	bd_inode_commit(&root, commit);
	return 0;
}

int bd_branch_create_empty(struct bd_store *store, const char *name, uid_t uid, gid_t gid,
			   struct bd_branch_info *ret_info)
{
	struct bd_commit commit;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&store->table_lock);
	error = check_new_name(store, name);
	struct bd_branch *branch = error == 0 ? branch_new(store->next_branch, NULL, 0, name) : NULL;
	if (error == 0 && branch == NULL)
		error = -ENOMEM;
	uint64_t ticket;
	if (error == 0)
		error = commit_root(store, branch, uid, gid, &commit);
	if (error == 0) {
		branch_commit(branch, branch->epoch, name, 0, &commit);
		error = bd_commit_apply(store, &commit, &ticket);
	}
	if (error == 0)
		error = bd_flush_log(store, ticket);
	if (error == 0)
		error = adopt(store, branch, NULL, ret_info);
	if (error != 0)
		branch_free(branch);
	pthread_rwlock_unlock(&store->table_lock);
	bd_commit_free(&commit);
	return error != 0 ? error : bd_may_tell(store);
}

struct child_record {
	struct bd_store *store;
	struct bd_branch *parent;
	const char *name;
	struct bd_leave_out leave_out;
	bool is_prepared; /* what leave_out has found holds for the frozen epoch, unless names of the parent changed since */
	struct bd_branch *child; /* out */
};

static int record_child(void *arg, uint32_t frozen, struct bd_commit *commit)
{
	struct child_record *record = arg;
	int error = 0;
	record->child = branch_new(record->store->next_branch, record->parent, frozen, record->name);
	if (record->child == NULL)
		return -ENOMEM;
	error = bd_branch_inherit_layers(record->store, record->child, record->parent);
	if (error != 0)
		return error;
	branch_commit(record->child, record->child->epoch, record->name, 0, commit);
	if (!record->is_prepared || record->leave_out.names_changes != record->parent->names_changes)
		error = bd_leave_out_find(record->store, (struct bd_hops){.branch = record->parent, .view_epoch = frozen},
					  &record->leave_out);
	return error != 0 ? error : bd_leave_out_commit(record->store, record->child, &record->leave_out, commit);
}

/* While writers go on: what would hold them up in the freeze. Without it all is done there. */
static void prepare_child(struct child_record *record, uint32_t parent_id)
{
	branch_preflush(record->store, parent_id);
	struct bd_branch *parent = bd_branch_acquire(record->store, parent_id);
	if (parent != NULL)
		record->is_prepared = bd_leave_out_prepare(record->store, parent, &record->leave_out) == 0;
	bd_branch_release(parent);
}

/* A child of a frozen epoch: nothing to freeze. */
static int create_from_frozen(struct child_record *record, uint32_t epoch, uint64_t *ret_ticket)
{
	struct bd_store *store = record->store;
	struct bd_commit commit;
	int error = snapshot_check(store, record->parent->id, epoch);
	if (error == 0)
		error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	error = record_child(record, epoch, &commit);
	if (error == 0)
		error = bd_commit_apply(store, &commit, ret_ticket);
	bd_commit_free(&commit);
	return error;
}

int bd_branch_create_without(struct bd_store *store, const char *name, struct bd_view from, const char *const *without,
			     unsigned without_count, struct bd_branch_info *ret_info, uint64_t *ret_pause_ns)
{
	uint64_t pause = 0, ticket;
	struct child_record record = {.store = store, .name = name, .leave_out.count = without_count};
	if (without_count > BD_WITHOUT_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < without_count; i++)
		record.leave_out.entries[i].name = without[i];
	if (from.epoch.v == BD_EPOCH_HEAD.v)
		prepare_child(&record, from.branch.v);
	pthread_rwlock_wrlock(&store->table_lock);
	record.parent = branch_by_id(store, from.branch.v);
	const struct branch_freeze freeze = {.record = record_child, .arg = &record};
	int error = record.parent != NULL ? check_new_name(store, name) : -ENOENT;
	if (error == 0)
		error = from.epoch.v == BD_EPOCH_HEAD.v ? branch_freeze(store, record.parent, &freeze, &ticket, &pause)
							: create_from_frozen(&record, from.epoch.v, &ticket);
	if (error == 0)
		error = adopt(store, record.child, record.parent, ret_info);
	if (error != 0)
		branch_free(record.child);
	pthread_rwlock_unlock(&store->table_lock);
	if (error == 0 && ret_pause_ns != NULL)
		*ret_pause_ns = pause;
	return error != 0 ? error : bd_sync_log(store, ticket);
}

int bd_branch_create(struct bd_store *store, const char *name, struct bd_view from, struct bd_branch_info *ret_info,
		     uint64_t *ret_pause_ns)
{
	return bd_branch_create_without(store, name, from, NULL, 0, ret_info, ret_pause_ns);
}

/* The request to sweep a branch. */
static void commit_sweep(uint32_t branch, struct bd_commit *commit)
{
	struct bd_key key;
	uint8_t value[BD_VALUE_CHECK];
	bd_key_u32(&key, 'V', branch);
	bd_commit_put(commit, &key, value, 0);
}

/* Under table_lock exclusive: the branch's record anew, durable; with it the requests to sweep so many branches. */
static int commit_record(struct bd_store *store, struct bd_branch *branch, const char *name, unsigned flags,
			 const uint32_t *sweeps, unsigned sweep_count)
{
	struct bd_commit commit;
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	branch_commit(branch, branch->epoch, name, flags, &commit);
	for (unsigned i = 0; i < sweep_count; i++)
		commit_sweep(sweeps[i], &commit);
	error = bd_commit_apply(store, &commit, &ticket);
	bd_commit_free(&commit);
	return error != 0 ? error : bd_flush_log(store, ticket);
}

/* Under table_lock: who loses something when the branch dies: itself while its children need some of it; else its parent, and further up the dead ones
 * that stood for its sake. Versions of the first *ret_sweeps of them are to be swept: not those of a living one that is held by others where the branch
 * began. malloc'd, 0 at the end. */
static uint32_t *bereaved(struct bd_store *store, const struct bd_branch *branch, unsigned *ret_sweeps)
{
	unsigned count = 0, spared = 0;
	uint32_t *ids = malloc((branch->ancestors->count + 2) * sizeof(*ids));
	if (ids == NULL)
		return NULL;
	if (branch->needs > 0) {
		ids[count++] = branch->id;
	} else {
		for (const struct bd_branch *at = branch; at->parent != 0;) {
			const struct bd_branch *below = at;
			at = store->branches[at->parent];
			ids[count++] = at->id;
			spared = !at->dead && branch_is_pinned_besides(store, at, below->parent_epoch, below);
			if (!at->dead || at->needs > 1)
				break;
		}
	}
	ids[count] = 0;
	*ret_sweeps = count - spared;
	return ids;
}

/* The same in memory, after the record is durable. */
static void bereave(struct bd_store *store, struct bd_branch *branch, const uint32_t *ids, unsigned sweeps)
{
	struct bd_branch *parent = branch->parent != 0 ? store->branches[branch->parent] : NULL;
	if (parent != NULL && !branch->is_detached)
		branch_count_child(parent, branch, -1);
	bool stands = branch->needs > 0;
	for (unsigned i = 0; ids[i] != 0; i++) {
		if (!stands)
			store->branches[ids[i]]->needs--;
		if (i < sweeps)
			bd_background_purge(store, ids[i], 0);
	}
	bd_background_purge(store, branch->id, 0);
}

int bd_branch_delete(struct bd_store *store, struct bd_branch_id id)
{
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	uint32_t *ids = NULL;
	unsigned sweeps = 0;
	int error = branch == NULL ? -ENOENT : bd_store_writable(store);
	if (error == 0)
		error = branch->is_protected ? -EPERM : branch->children > 0 ? -ENOTEMPTY : branch->in_use > 0 ? -EBUSY : 0;
	if (error == 0) {
		ids = bereaved(store, branch, &sweeps);
		error = ids != NULL ? 0 : -ENOMEM;
	}
	if (error == 0) {
		/* Writers that are under way end first; later ones find it dead. */
		pthread_rwlock_wrlock(&branch->epoch_lock);
		error = commit_record(store, branch, branch->name, BD_BRANCH_DEAD | branch_flags(branch), ids, sweeps);
		if (error == 0) {
			branch->dead = true;
			bd_branch_drop_dirty(branch);
		}
		pthread_rwlock_unlock(&branch->epoch_lock);
	}
	if (error == 0) {
		store->branch_count--;
		store->internal_count -= branch->is_internal;
		store->snapshot_count -= branch->snapshots;
		bereave(store, branch, ids, sweeps);
	}
	pthread_rwlock_unlock(&store->table_lock);
	free(ids);
	return error != 0 ? error : bd_may_tell(store);
}

int bd_branch_detach(struct bd_store *store, struct bd_branch_id id)
{
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	int error = branch == NULL ? -ENOENT : bd_store_writable(store);
	if (error == 0 && (branch->parent == 0 || branch->is_detached))
		error = -EINVAL;
	if (error == 0)
		error = commit_record(store, branch, branch->name, branch_flags(branch) | BD_BRANCH_DETACHED, NULL, 0);
	if (error == 0) {
		branch->is_detached = true;
		branch_count_child(store->branches[branch->parent], branch, -1);
	}
	pthread_rwlock_unlock(&store->table_lock);
	return error != 0 ? error : bd_may_tell(store);
}

/* Under table_lock exclusive. */
static void rename_in_memory(struct bd_store *store, struct bd_branch *branch, const char *name)
{
	struct bd_branch *parent = branch->parent != 0 && !branch->is_detached ? store->branches[branch->parent] : NULL;
	if (parent != NULL)
		branch_count_child(parent, branch, -1);
	store->internal_count -= branch->is_internal;
	branch_set_name(branch, name);
	store->internal_count += branch->is_internal;
	if (parent != NULL)
		branch_count_child(parent, branch, 1);
}

int bd_branch_rename(struct bd_store *store, struct bd_branch_id id, const char *new_name)
{
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	int error = branch == NULL ? -ENOENT : check_new_name(store, new_name);
	if (error == 0)
		error = commit_record(store, branch, new_name, branch_flags(branch), NULL, 0);
	if (error == 0)
		rename_in_memory(store, branch, new_name);
	pthread_rwlock_unlock(&store->table_lock);
	return error != 0 ? error : bd_may_tell(store);
}

/* Under table_lock exclusive: both records anew, in one commit, durable. */
static int commit_names(struct bd_store *store, struct bd_branch *fresh, struct bd_branch *old, const char *old_name)
{
	struct bd_commit commit;
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	branch_commit(fresh, fresh->epoch, old->name, branch_flags(fresh), &commit);
	branch_commit(old, old->epoch, old_name, branch_flags(old), &commit);
	error = bd_commit_apply(store, &commit, &ticket);
	bd_commit_free(&commit);
	return error != 0 ? error : bd_flush_log(store, ticket);
}

int bd_branch_replace(struct bd_store *store, struct bd_branch_id fresh_id, struct bd_branch_id old_id, const char *old_name)
{
	char name[BD_BRANCH_NAME_MAX + 1];
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *fresh = branch_by_id(store, fresh_id.v), *old = branch_by_id(store, old_id.v);
	int error = fresh == NULL || old == NULL ? -ENOENT : fresh == old ? -EINVAL : bd_store_writable(store);
	if (error == 0)
		error = branch_name_check(old_name);
	if (error == 0 && branch_by_name(store, old_name) != NULL && strcmp(fresh->name, old_name) != 0)
		error = -EEXIST;
	if (error == 0 && old->in_use > 0)
		error = -EBUSY;
	if (error == 0)
		error = commit_names(store, fresh, old, old_name);
	if (error == 0) {
		memcpy(name, old->name, sizeof(name));
		rename_in_memory(store, old, old_name);
		rename_in_memory(store, fresh, name);
	}
	pthread_rwlock_unlock(&store->table_lock);
	return error != 0 ? error : bd_may_tell(store);
}

int bd_branch_protect(struct bd_store *store, struct bd_branch_id id, bool is_protected)
{
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	int error = branch == NULL ? -ENOENT : bd_store_writable(store);
	if (error == 0)
		error = commit_record(store, branch, branch->name,
				      (branch_flags(branch) & ~(unsigned)BD_BRANCH_PROTECTED) | (is_protected ? BD_BRANCH_PROTECTED : 0), NULL, 0);
	if (error == 0)
		branch->is_protected = is_protected;
	pthread_rwlock_unlock(&store->table_lock);
	return error != 0 ? error : bd_may_tell(store);
}
