/* Named snapshots: a frozen epoch with a label. Key 'S' branch epoch, value: created i64, label. */
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/branch/branch.h"
#include "blockdev/layer/layer.h"

static int parse(uint32_t branch, uint32_t epoch, const uint8_t *value, size_t size, struct bd_snapshot_info *ret_info)
{
	struct nf_reader r = nf_reader_init(value, size);
	struct bd_snapshot_info info = {.branch = {branch}, .epoch = {epoch}};
	info.created_ns = (int64_t)nf_read_u64(&r);
	size_t label_size = nf_reader_left(&r);
	if (r.failed || label_size > BD_BRANCH_NAME_MAX)
		return -EUCLEAN;
	nf_read_copy(&r, info.label, label_size);
	*ret_info = info;
	return 0;
}

struct snapshot_list {
	uint32_t branch;
	struct bd_snapshot_info *infos;
	size_t count, capacity;
};

static int list_one(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t raw_size)
{
	struct snapshot_list *list = arg;
	size_t size;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity * 2 + 16;
		struct bd_snapshot_info *infos = realloc(list->infos, capacity * sizeof(*infos));
		if (infos == NULL)
			return -ENOMEM;
		list->infos = infos;
		list->capacity = capacity;
	}
	struct nf_reader r = nf_reader_init(key + 5, key_size - 5);
	uint32_t epoch = nf_read_u32_be(&r);
	int error = bd_value_check(key, key_size, value, raw_size, &size);
	if (error == 0)
		error = r.failed ? -EUCLEAN : parse(list->branch, epoch, value, size, &list->infos[list->count]);
	list->count += error == 0;
	return error;
}

/* Sorted by epoch; malloc'd. Whether the branch lives is the caller's matter. */
static int list(struct bd_store *store, struct bd_branch_id branch, struct bd_snapshot_info **ret_infos, size_t *ret_count)
{
	struct snapshot_list found = {.branch = branch.v, .infos = calloc(1, sizeof(*found.infos)), .capacity = 1};
	struct bd_key prefix;
	bd_key_u32(&prefix, 'S', branch.v);
	int error = found.infos != NULL ? bd_index_each(store->index, &prefix, list_one, &found) : -ENOMEM;
	if (error != 0) {
		free(found.infos);
		return error;
	}
	*ret_infos = found.infos;
	*ret_count = found.count;
	return 0;
}

static int find(struct bd_store *store, struct bd_branch_id branch, const char *label,
		struct bd_snapshot_info *ret_info)
{
	struct bd_snapshot_info *infos;
	size_t count;
	int error = list(store, branch, &infos, &count);
	if (error != 0)
		return error;
	error = -ENOENT;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(infos[i].label, label) == 0) {
			*ret_info = infos[i];
			error = 0;
		}
	}
	free(infos);
	return error;
}

int bd_snapshot_list(struct bd_store *store, struct bd_branch_id id, struct bd_snapshot_info **ret_infos,
		     size_t *ret_count)
{
	struct bd_branch *branch = bd_branch_acquire(store, id.v);
	int error = branch != NULL ? list(store, id, ret_infos, ret_count) : -ENOENT;
	bd_branch_release(branch);
	return error;
}

int bd_snapshot_find(struct bd_store *store, struct bd_branch_id id, const char *label,
		     struct bd_snapshot_info *ret_info)
{
	struct bd_branch *branch = bd_branch_acquire(store, id.v);
	int error = branch != NULL ? find(store, id, label, ret_info) : -ENOENT;
	bd_branch_release(branch);
	return error;
}

int snapshot_check(struct bd_store *store, uint32_t branch, uint32_t epoch)
{
	struct bd_key key;
	uint8_t value[BD_SNAPSHOT_VALUE_MAX];
	size_t size;
	bd_key_u32_u32(&key, 'S', branch, epoch);
	return bd_index_get(store->index, &key, value, sizeof(value), &size);
}

struct snapshot_record {
	struct bd_snapshot_info info;
};

static int record_snapshot(void *arg, uint32_t frozen, struct bd_commit *commit)
{
	struct snapshot_record *record = arg;
	struct bd_key key;
	uint8_t value[BD_SNAPSHOT_VALUE_MAX];
	record->info.epoch.v = frozen;
	struct nf_writer w = nf_writer_init(value, sizeof(value) - BD_VALUE_CHECK);
	nf_write_u64(&w, (uint64_t)record->info.created_ns);
	nf_write_bytes(&w, record->info.label, strlen(record->info.label));
	assert(!w.failed);
	bd_key_u32_u32(&key, 'S', record->info.branch.v, frozen);
	bd_commit_put(commit, &key, value, w.offset);
	return 0;
}

int bd_snapshot_create(struct bd_store *store, struct bd_branch_id id, const char *label,
		       struct bd_snapshot_info *ret_info)
{
	branch_preflush(store, id.v);
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	int error = branch == NULL ? -ENOENT : bd_store_writable(store);
	if (error == 0)
		error = bd_name_check(label);
	struct snapshot_record record = {.info = {.branch = id, .created_ns = bd_now_ns()}};
	uint64_t ticket;
	if (error == 0) {
		error = find(store, id, label, &record.info);
		error = error == 0 ? -EEXIST : error == -ENOENT ? 0 : error;
	}
	if (error == 0) {
		snprintf(record.info.label, sizeof(record.info.label), "%s", label);
		const struct branch_freeze freeze = {.record = record_snapshot, .arg = &record};
		error = branch_freeze(store, branch, &freeze, &ticket, NULL);
	}
	if (error == 0) {
		branch->snapshots++;
		store->snapshot_count++;
		*ret_info = record.info;
	}
	pthread_rwlock_unlock(&store->table_lock);
	return error != 0 ? error : bd_sync_log(store, ticket);
}

int bd_snapshot_delete(struct bd_store *store, struct bd_branch_id id, const char *label)
{
	struct bd_commit commit;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_branch *branch = branch_by_id(store, id.v);
	struct bd_snapshot_info info;
	uint64_t ticket;
	error = branch == NULL ? -ENOENT : bd_store_writable(store);
	if (error == 0)
		error = find(store, id, label, &info);
	if (error == 0) {
		struct bd_key key;
		uint8_t value[BD_VALUE_CHECK];
		bd_key_u32_u32(&key, 'S', id.v, info.epoch.v);
		bd_commit_delete(&commit, &key);
		bd_key_u32(&key, 'V', id.v);
		bd_commit_put(&commit, &key, value, 0);
		error = bd_commit_apply(store, &commit, &ticket);
	}
	if (error == 0)
		error = bd_flush_log(store, ticket);
	if (error == 0) {
		branch->snapshots--;
		store->snapshot_count--;
		bd_background_purge(store, id.v, 0);
	}
	pthread_rwlock_unlock(&store->table_lock);
	bd_commit_free(&commit);
	return error != 0 ? error : bd_may_tell(store);
}

static int compare_epochs(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Does the child see the branch where it begins? */
static bool is_fork(const struct bd_branch *branch, const struct bd_branch *child)
{
	return child != NULL && child->parent == branch->id && bd_branch_stands(child);
}

uint32_t branch_last_fork(struct bd_store *store, const struct bd_branch *branch)
{
	uint32_t last = 0;
	for (uint32_t id = branch->id + 1; id < store->branch_slots; id++) {
		if (is_fork(branch, store->branches[id]))
			last = NF_MAX(last, store->branches[id]->parent_epoch);
	}
	return last;
}

/* Snapshots of a living branch, children, layers that somebody looks through, and its head; malloc'd. */
static int lasting_pins(struct bd_store *store, struct bd_branch *branch, uint32_t **ret_epochs, size_t *ret_count)
{
	struct bd_snapshot_info *infos = NULL;
	size_t snapshots = 0, count = 0;
	int error = branch->dead ? 0 : list(store, (struct bd_branch_id){branch->id}, &infos, &snapshots);
	if (error != 0)
		return error;
	uint32_t layers = bd_branch_layer_epochs(store, branch, NULL, 0);
	uint32_t *epochs = malloc((snapshots + store->branch_slots + layers + 1) * sizeof(*epochs));
	for (size_t i = 0; epochs != NULL && i < snapshots; i++)
		epochs[count++] = infos[i].epoch.v;
	free(infos);
	if (epochs == NULL)
		return -ENOMEM;
	for (uint32_t id = 0; id < store->branch_slots; id++) {
		if (is_fork(branch, store->branches[id]))
			epochs[count++] = store->branches[id]->parent_epoch;
	}
	/* What lies below a layer is needed to make blocks: by the head, or by a child. Of a dead branch a layer that no child looks through is
	 * none's any more. */
	size_t passed = bd_branch_layer_epochs(store, branch, epochs + count, layers);
	uint32_t last_fork = branch->dead ? branch_last_fork(store, branch) : UINT32_MAX;
	while (passed > 0 && epochs[count + passed - 1] >= last_fork)
		passed--;
	count += passed;
	if (!branch->dead)
		epochs[count++] = UINT32_MAX; /* the head sees the newest, whatever its epoch becomes */
	qsort(epochs, count, sizeof(*epochs), compare_epochs);
	*ret_epochs = epochs;
	*ret_count = count;
	return 0;
}

int bd_branch_pins(struct bd_store *store, struct bd_branch *branch, uint32_t **ret_epochs, size_t *ret_count)
{
	uint32_t *lasting, *epochs;
	size_t count;
	int error = lasting_pins(store, branch, &lasting, &count);
	if (error == 0 && !branch->dead) {
		error = bd_inode_views(store, branch, lasting, count, &epochs, &count);
		free(lasting);
		if (error == 0)
			qsort(epochs, count, sizeof(*epochs), compare_epochs);
	} else if (error == 0) {
		epochs = lasting;
	}
	if (error != 0)
		return error;
	*ret_epochs = epochs;
	*ret_count = count;
	return 0;
}

bool branch_is_pinned_besides(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch, const struct bd_branch *child)
{
	bool pinned = !branch->dead && snapshot_check(store, branch->id, epoch) == 0;
	for (uint32_t id = branch->id + 1; id < store->branch_slots && !pinned; id++) {
		const struct bd_branch *other = store->branches[id];
		pinned = other != child && is_fork(branch, other) && other->parent_epoch == epoch;
	}
	return pinned;
}

int bd_branch_check_pin(struct bd_store *store, struct bd_branch *branch, uint32_t epoch)
{
	int error = branch->dead ? -ENOENT : snapshot_check(store, branch->id, epoch);
	struct bd_layer *layer = error == -ENOENT && !branch->dead ? bd_branch_find_layer(store, branch, epoch) : NULL;
	if (layer != NULL)
		error = 0;
	bd_layer_unref(layer);
	for (uint32_t id = 0; error == -ENOENT && id < store->branch_slots && !branch->dead; id++) {
		if (is_fork(branch, store->branches[id]) && store->branches[id]->parent_epoch == epoch)
			error = 0;
	}
	return error;
}
