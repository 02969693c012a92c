/* Named snapshots: a frozen epoch with a label. Key 'S' branch epoch, value: created i64, label. */
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/branch/branch.h"

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

/* Sorted by epoch; malloc'd. Whether the branch lives is the caller's matter. */
static int list(struct bd_store *store, struct bd_branch_id branch, struct bd_snapshot_info **ret_infos,
		size_t *ret_count)
{
	struct bd_index_iter *iter = bd_index_iter_new(store->index);
	struct bd_snapshot_info *infos = NULL;
	size_t count = 0, capacity = 0;
	int error = iter != NULL ? 0 : -ENOMEM;
	struct bd_key from;
	bd_key_u32(&from, 'S', branch.v);
	if (error == 0)
		bd_index_iter_seek(iter, &from, from.size);
	for (; error == 0 && bd_index_iter_valid(iter); bd_index_iter_next(iter)) {
		size_t key_size, raw_size, size;
		const uint8_t *key = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &raw_size);
		if (count == capacity) {
			capacity = capacity * 2 + 16;
			struct bd_snapshot_info *grown = realloc(infos, capacity * sizeof(*infos));
			if (grown == NULL) {
				error = -ENOMEM;
				break;
			}
			infos = grown;
		}
		struct nf_reader r = nf_reader_init(key + from.size, key_size - from.size);
		uint32_t epoch = nf_read_u32_be(&r);
		error = bd_value_check(key, key_size, value, raw_size, &size);
		if (error == 0)
			error = r.failed ? -EUCLEAN : parse(branch.v, epoch, value, size, &infos[count]);
		count += error == 0;
	}
	if (error == 0)
		error = bd_index_iter_status(iter);
	bd_index_iter_free(iter);
	if (error != 0) {
		free(infos);
		return error;
	}
	if (infos == NULL)
		infos = calloc(1, sizeof(*infos));
	*ret_infos = infos;
	*ret_count = count;
	return infos != NULL ? 0 : -ENOMEM;
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
	if (error == 0) {
		error = find(store, id, label, &record.info);
		error = error == 0 ? -EEXIST : error == -ENOENT ? 0 : error;
	}
	if (error == 0) {
		snprintf(record.info.label, sizeof(record.info.label), "%s", label);
		error = branch_freeze(store, branch, record_snapshot, &record, NULL);
	}
	if (error == 0) {
		branch->snapshots++;
		store->snapshot_count++;
		*ret_info = record.info;
	}
	pthread_rwlock_unlock(&store->table_lock);
	return error;
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
		error = bd_sync_log(store, ticket);
	if (error == 0) {
		branch->snapshots--;
		store->snapshot_count--;
		bd_background_purge(store, id.v, 0);
	}
	pthread_rwlock_unlock(&store->table_lock);
	bd_commit_free(&commit);
	return error;
}

static int compare_epochs(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

int bd_branch_pins(struct bd_store *store, struct bd_branch *branch, uint32_t **ret_epochs, size_t *ret_count)
{
	struct bd_snapshot_info *infos;
	size_t snapshots, count = 0;
	int error = list(store, (struct bd_branch_id){branch->id}, &infos, &snapshots);
	if (error != 0)
		return error;
	size_t views = bd_inode_views(store, branch->id, NULL, 0) + 64;
	uint32_t *epochs = malloc((snapshots + store->branch_slots + views + 1) * sizeof(*epochs));
	if (epochs != NULL && !branch->dead) {
		for (size_t i = 0; i < snapshots; i++)
			epochs[count++] = infos[i].epoch.v;
		for (uint32_t id = 0; id < store->branch_slots; id++) {
			const struct bd_branch *child = branch_by_id(store, id);
			if (child != NULL && child->parent == branch->id)
				epochs[count++] = child->parent_epoch;
		}
		/* A view that is still in use keeps its versions, although its snapshot may be gone. */
		count += NF_MIN(views, bd_inode_views(store, branch->id, epochs + count, views));
		epochs[count++] = UINT32_MAX; /* the head sees the newest, whatever its epoch becomes */
		qsort(epochs, count, sizeof(*epochs), compare_epochs);
	}
	free(infos);
	if (epochs == NULL)
		return -ENOMEM;
	*ret_epochs = epochs;
	*ret_count = count;
	return 0;
}
