/* The branch table: loading, finding, listing. Branches are few and small enough (about 500 bytes) to be all in memory. */
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/branch/branch.h"
#include "blockdev/layer/layer.h"
#include "blockdev/tier/cold.h"
#include "common/nf_log.h"

int bd_name_check(const char *name)
{
	size_t size = strlen(name);
	if (size > BD_BRANCH_NAME_MAX)
		return -ENAMETOOLONG;
	if (size == 0 || name[0] == '-' || name[0] == '.')
		return -EINVAL;
	for (size_t i = 0; i < size; i++) {
		char c = name[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!plain && c != '.' && c != '_' && c != '-')
			return -EINVAL;
	}
	return strstr(name, "..") != NULL ? -EINVAL : 0;
}

bool bd_name_is_internal(const char *name)
{
	return name[0] == '.' && strlen(name) <= BD_BRANCH_NAME_MAX && bd_name_check(name + 1) == 0;
}

int branch_name_check(const char *name)
{
	return bd_name_is_internal(name) ? 0 : bd_name_check(name);
}

void branch_set_name(struct bd_branch *branch, const char *name)
{
	snprintf(branch->name, sizeof(branch->name), "%s", name);
	atomic_store(&branch->is_internal, bd_name_is_internal(name));
	if (!bd_name_is_internal(name))
		atomic_store(&branch->is_watched, true);
}

void branch_count_child(struct bd_branch *parent, const struct bd_branch *child, int delta)
{
	parent->children += (uint32_t)delta;
	if (child->is_internal)
		parent->hidden_children += (uint32_t)delta;
}

void branch_commit(const struct bd_branch *branch, uint32_t epoch, const char *name, unsigned flags, struct bd_commit *commit)
{
	struct bd_key key;
	uint8_t value[BD_BRANCH_VALUE_MAX];
	struct nf_writer w = nf_writer_init(value, sizeof(value) - BD_VALUE_CHECK);
	nf_write_u32(&w, branch->parent);
	nf_write_u32(&w, branch->parent_epoch);
	nf_write_u32(&w, epoch);
	nf_write_u8(&w, (uint8_t)flags);
	nf_write_u64(&w, (uint64_t)branch->created_ns);
	nf_write_bytes(&w, name, strlen(name));
	assert(!w.failed);
	bd_key_u32(&key, 'R', branch->id);
	bd_commit_put(commit, &key, value, w.offset);
}

struct bd_branch *branch_new(uint32_t id, const struct bd_branch *parent, uint32_t parent_epoch, const char *name)
{
	struct bd_branch *branch = calloc(1, sizeof(*branch));
	if (branch == NULL)
		return NULL;
	branch->id = id;
	branch->epoch = 1;
	branch->refs = 1;
	branch->created_ns = bd_now_ns();
	branch_set_name(branch, name);
	if (parent != NULL) {
		branch->parent = parent->id;
		branch->parent_epoch = parent_epoch;
		branch->ancestors = bd_chain_make(parent, parent_epoch);
	} else {
		branch->ancestors = calloc(1, sizeof(struct bd_chain));
	}
	if (branch->ancestors == NULL) {
		free(branch);
		return NULL;
	}
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	/* Otherwise a busy branch could never be frozen. No thread takes the lock shared twice. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&branch->epoch_lock, &attr);
	pthread_rwlock_init(&branch->names_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&branch->dirty_lock, NULL);
	return branch;
}

void branch_free(struct bd_branch *branch)
{
	if (branch == NULL)
		return;
	pthread_rwlock_destroy(&branch->epoch_lock);
	pthread_rwlock_destroy(&branch->names_lock);
	pthread_mutex_destroy(&branch->dirty_lock);
	bd_branch_free_layers(branch);
	free(branch->ancestors);
	free(branch);
}

int branch_insert(struct bd_store *store, struct bd_branch *branch)
{
	if (branch->id >= store->branch_slots) {
		uint32_t slots = NF_MAX(branch->id + 1, store->branch_slots * 2 + 64);
		struct bd_branch **branches = realloc(store->branches, slots * sizeof(struct bd_branch *));
		if (branches == NULL)
			return -ENOMEM;
		memset(branches + store->branch_slots, 0, (slots - store->branch_slots) * sizeof(struct bd_branch *));
		store->branches = branches;
		store->branch_slots = slots;
	}
	assert(store->branches[branch->id] == NULL);
	store->branches[branch->id] = branch;
	store->next_branch = NF_MAX(store->next_branch, branch->id + 1);
	return 0;
}

struct bd_branch *branch_by_id(struct bd_store *store, uint32_t id)
{
	struct bd_branch *branch = id < store->branch_slots ? store->branches[id] : NULL;
	return branch != NULL && !branch->dead ? branch : NULL;
}

struct bd_branch *branch_by_name(struct bd_store *store, const char *name)
{
	for (uint32_t id = 0; id < store->branch_slots; id++) {
		struct bd_branch *branch = branch_by_id(store, id);
		if (branch != NULL && strcmp(branch->name, name) == 0)
			return branch;
	}
	return NULL;
}

struct bd_branch *bd_branch_acquire(struct bd_store *store, uint32_t id)
{
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id);
	if (branch != NULL)
		atomic_fetch_add(&branch->refs, 1);
	pthread_rwlock_unlock(&store->table_lock);
	return branch;
}

void bd_branch_release(struct bd_branch *branch)
{
	if (branch != NULL && atomic_fetch_sub(&branch->refs, 1) == 1)
		branch_free(branch);
}

struct bd_chain *bd_chain_make(const struct bd_branch *branch, uint32_t epoch)
{
	unsigned count = branch->ancestors->count + 1;
	struct bd_chain *chain = malloc(sizeof(*chain) + count * sizeof(struct bd_hop));
	if (chain == NULL)
		return NULL;
	chain->count = count;
	chain->hops[0] = (struct bd_hop){.branch = branch->id, .epoch = epoch};
	if (count > 1)
		memcpy(chain->hops + 1, branch->ancestors->hops, (count - 1) * sizeof(struct bd_hop));
	return chain;
}

/* One 'R' record. Parents have lower ids, so they are there already, if at all. */
static int load_branch(struct bd_store *store, uint32_t id, const uint8_t *value, size_t size)
{
	struct nf_reader r = nf_reader_init(value, size);
	uint32_t parent = nf_read_u32(&r), parent_epoch = nf_read_u32(&r), epoch = nf_read_u32(&r);
	uint8_t flags = nf_read_u8(&r);
	int64_t created_ns = (int64_t)nf_read_u64(&r);
	char name[BD_BRANCH_NAME_MAX + 1] = "";
	size_t name_size = nf_reader_left(&r);
	if (r.failed || name_size > BD_BRANCH_NAME_MAX || epoch >= 1u << 30)
		return -EUCLEAN;
	nf_read_copy(&r, name, name_size);
	struct bd_branch *above = parent < store->branch_slots ? store->branches[parent] : NULL;
	struct bd_branch *branch = branch_new(id, above, parent_epoch, name);
	if (branch == NULL)
		return -ENOMEM;
	branch->parent = parent;
	branch->epoch = epoch;
	branch->created_ns = created_ns;
	branch->is_protected = flags & BD_BRANCH_PROTECTED;
	branch->is_detached = flags & BD_BRANCH_DETACHED;
	branch->dead = flags & BD_BRANCH_DEAD;
	int error = branch_insert(store, branch);
	if (error != 0)
		branch_free(branch);
	return error;
}

/* With all records loaded: who needs whom. Children have higher ids than their parents. */
static int relate(struct bd_store *store)
{
	for (uint32_t id = store->branch_slots; id-- > 1;) {
		struct bd_branch *branch = store->branches[id];
		if (branch == NULL)
			continue;
		store->branch_count += !branch->dead;
		store->internal_count += !branch->dead && branch->is_internal;
		if (!bd_branch_stands(branch))
			bd_background_purge(store, id, 0);
		if (!bd_branch_stands(branch) || branch->parent == 0)
			continue; /* a dead branch that nobody needs may outlive its parent */
		struct bd_branch *above = branch->parent < id ? store->branches[branch->parent] : NULL;
		if (above == NULL) {
			nf_error("branch %s: its parent (id %u) is missing in the index; run neonfs scrub --rebuild",
				 branch->name, branch->parent);
			return -EUCLEAN;
		}
		above->needs++;
		if (!branch->dead && !branch->is_detached)
			branch_count_child(above, branch, 1);
	}
	return 0;
}

static int load_snapshot(struct bd_store *store, uint32_t id, const uint8_t *value, size_t size)
{
	(void)value, (void)size;
	struct bd_branch *branch = branch_by_id(store, id);
	if (branch != NULL) {
		branch->snapshots++;
		store->snapshot_count++;
	}
	return 0;
}

static int load_sweep(struct bd_store *store, uint32_t id, const uint8_t *value, size_t size)
{
	(void)value, (void)size;
	bd_background_purge(store, id, 0);
	return 0;
}

int bd_branches_load(struct bd_store *store)
{
	store->next_branch = 1;
	int error = bd_each_u32(store, 'R', load_branch);
	if (error == 0)
		error = bd_layers_load(store);
	if (error == 0)
		error = relate(store);
	if (error == 0)
		error = bd_each_u32(store, 'S', load_snapshot);
	if (error == 0)
		error = bd_each_u32(store, 'V', load_sweep);
	return error;
}

void bd_branches_free(struct bd_store *store)
{
	for (uint32_t id = 0; id < store->branch_slots; id++) {
		if (store->branches[id] != NULL)
			bd_branch_leave_layers(store, store->branches[id]);
		bd_branch_release(store->branches[id]);
	}
	bd_layers_reap(store);
	free(store->branches);
	store->branches = NULL;
	store->branch_slots = 0;
}

void branch_info(struct bd_store *store, const struct bd_branch *branch, struct bd_branch_info *ret_info)
{
	int32_t in_use = atomic_load(&branch->in_use);
	struct bd_branch_info info = {
		.id = {branch->id},
		.parent = {branch->is_detached ? 0 : branch->parent},
		.epoch = {branch->epoch},
		.parent_epoch = {branch->is_detached ? 0 : branch->parent_epoch},
		.created_ns = branch->created_ns,
		.children = branch->children - branch->hidden_children,
		.snapshots = branch->snapshots,
		.layers = bd_branch_layer_epochs(store, branch, NULL, 0),
		.is_protected = branch->is_protected,
		.in_use = in_use > 0 ? (uint32_t)in_use : 0,
	};
	memcpy(info.name, branch->name, sizeof(info.name));
	if (info.parent.v != 0)
		memcpy(info.parent_name, store->branches[branch->parent]->name, sizeof(info.parent_name));
	*ret_info = info;
}

int bd_branch_find(struct bd_store *store, const char *name, struct bd_branch_info *ret_info)
{
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch *branch = branch_by_name(store, name);
	if (branch != NULL)
		branch_info(store, branch, ret_info);
	pthread_rwlock_unlock(&store->table_lock);
	return branch != NULL ? 0 : -ENOENT;
}

int bd_branch_get(struct bd_store *store, struct bd_branch_id id, struct bd_branch_info *ret_info)
{
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	if (branch != NULL)
		branch_info(store, branch, ret_info);
	pthread_rwlock_unlock(&store->table_lock);
	return branch != NULL ? 0 : -ENOENT;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct bd_branch_info *)a)->name, ((const struct bd_branch_info *)b)->name);
}

static int list_branches(struct bd_store *store, bool internal, struct bd_branch_info **ret_infos, size_t *ret_count)
{
	size_t count = 0;
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch_info *infos = calloc(store->branch_count + 1, sizeof(*infos));
	for (uint32_t id = 0; infos != NULL && id < store->branch_slots; id++) {
		struct bd_branch *branch = branch_by_id(store, id);
		if (branch != NULL && branch->is_internal == internal)
			branch_info(store, branch, &infos[count++]);
	}
	pthread_rwlock_unlock(&store->table_lock);
	if (infos == NULL)
		return -ENOMEM;
	qsort(infos, count, sizeof(*infos), compare_names);
	*ret_infos = infos;
	*ret_count = count;
	return 0;
}

int bd_branch_list(struct bd_store *store, struct bd_branch_info **ret_infos, size_t *ret_count)
{
	return list_branches(store, false, ret_infos, ret_count);
}

int bd_branch_list_internal(struct bd_store *store, struct bd_branch_info **ret_infos, size_t *ret_count)
{
	return list_branches(store, true, ret_infos, ret_count);
}

bool bd_inode_is_internal(const struct bd_inode *inode)
{
	return atomic_load_explicit(&inode->branch->is_internal, memory_order_relaxed);
}

void bd_store_set_wake(struct bd_store *store, void (*wake)(void *arg, struct bd_branch_id branch), void *arg)
{
	pthread_rwlock_wrlock(&store->table_lock);
	for (uint32_t id = 0; id < store->branch_slots; id++) {
		if (store->branches[id] != NULL)
			atomic_store(&store->branches[id]->is_watched, wake != NULL && !store->branches[id]->is_internal);
	}
	store->wake = wake;
	store->wake_arg = arg;
	pthread_rwlock_unlock(&store->table_lock);
}

int bd_branch_watch(struct bd_store *store, struct bd_branch_id id)
{
	pthread_rwlock_rdlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	if (branch != NULL)
		atomic_store(&branch->is_watched, true);
	pthread_rwlock_unlock(&store->table_lock);
	return branch != NULL ? 0 : -ENOENT;
}

void bd_branch_tell(struct bd_store *store, struct bd_branch *branch)
{
	if (atomic_exchange(&branch->is_watched, false) && store->wake != NULL)
		store->wake(store->wake_arg, (struct bd_branch_id){branch->id});
}

void bd_inode_use(struct bd_inode *inode, int delta)
{
	atomic_fetch_add(&inode->branch->in_use, delta);
}

int bd_op_begin(struct bd_inode *inode)
{
	if (!bd_inode_is_head(inode))
		return -EROFS;
	int error = bd_store_writable(inode->store);
	if (error == 0)
		error = bd_tidy_if_needed(inode->store);
	if (error == 0)
		error = bd_log_enter(inode->store->log);
	if (error != 0)
		return error == -ENOSPC ? error : -EROFS;
	bd_cold_forbid_waiting();
	pthread_rwlock_rdlock(&inode->branch->epoch_lock);
	if (inode->branch->dead) {
		bd_op_end(inode);
		return -ENOENT;
	}
	return 0;
}

void bd_op_end(struct bd_inode *inode)
{
	pthread_rwlock_unlock(&inode->branch->epoch_lock);
	bd_cold_allow_waiting();
	bd_log_leave(inode->store->log);
}
