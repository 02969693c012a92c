/* Laying layers, listing them, taking them away.
 *
 * Record: key 'L' branch epoch, value: the maker's facts. It is written in the commit that freezes the epoch, so there is never a frozen epoch that misses
 * its layer. As long as it is there the epoch is a pin (branch/snapshot.c): what lies below is needed to make blocks.
 * A new layer changes what the head shows: while writers still wait for the freeze, the head's inodes forget their maps. */
#include <stdlib.h>

#include "blockdev/branch/branch.h"
#include "blockdev/file/inode.h"
#include "blockdev/layer/layer.h"
#include "common/nf_log.h"

#define CREATE_TRIES 8u /* while somebody else freezes the branch */

/* ---- loading */

static int load_one(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t raw_size)
{
	struct bd_store *store = arg;
	struct nf_reader r = nf_reader_init(key + 1, key_size - 1);
	uint32_t id = nf_read_u32_be(&r), epoch = nf_read_u32_be(&r);
	size_t size;
	int error = bd_value_check(key, key_size, value, raw_size, &size);
	if (error == 0 && (r.failed || nf_reader_left(&r) != 0 || size > BD_LAYER_FACTS_MAX))
		error = -EUCLEAN;
	struct bd_branch *branch = id < store->branch_slots ? store->branches[id] : NULL;
	if (error == 0 && (branch == NULL || epoch >= branch->epoch)) {
		nf_error("a redo layer lies on epoch %u of branch %u, which is not there; run neonfs scrub --rebuild", epoch, id);
		error = -EUCLEAN;
	}
	if (error == 0)
		error = bd_branch_reserve_layer(store, branch);
	if (error != 0)
		return error;
	struct bd_layer *layer = bd_layer_new(store, branch, epoch, value, size);
	if (layer == NULL)
		return -ENOMEM;
	bd_branch_add_layer(branch, layer);
	bd_layer_unref(layer);
	return 0;
}

int bd_layers_load(struct bd_store *store)
{
	int error = bd_index_each_kind(store->index, 'L', load_one, store);
	/* Parents have lower ids: theirs are complete first. */
	for (uint32_t id = 1; error == 0 && id < store->branch_slots; id++) {
		struct bd_branch *branch = store->branches[id];
		const struct bd_branch *parent = branch != NULL && branch->parent < id ? store->branches[branch->parent] : NULL;
		if (parent != NULL)
			error = bd_branch_inherit_layers(store, branch, parent);
	}
	return error;
}

/* ---- laying */

struct creation {
	struct bd_store *store;
	struct bd_branch *branch;
	struct bd_layer *layer;
};

static int record_layer(void *arg, uint32_t frozen, struct bd_commit *commit)
{
	const struct creation *creation = arg;
	const struct bd_layer *layer = creation->layer;
	struct bd_key key;
	uint8_t value[BD_LAYER_FACTS_MAX + BD_VALUE_CHECK];
	assert(frozen == layer->epoch);
	memcpy(value, layer->facts, layer->facts_size);
	bd_key_u32_u32(&key, 'L', creation->branch->id, frozen);
	bd_commit_put(commit, &key, value, layer->facts_size);
	return 0;
}

/* Under the branch's epoch_lock exclusive, everything flushed: from now on the head is seen through the layer. Readers that are under way show what was
 * there before; whoever begins later finds no map. */
static void change_head(void *arg)
{
	const struct creation *creation = arg;
	struct bd_inode **inodes;
	size_t count;
	bd_branch_add_layer(creation->branch, creation->layer);
	int error = bd_inodes_of_head(creation->store, creation->branch, &inodes, &count);
	if (error != 0) {
		bd_store_fail(creation->store, error, "laying a redo layer");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct bd_inode *inode = inodes[i];
		pthread_rwlock_wrlock(&inode->lock);
		assert(inode->dirty_leaves == 0 && inode->pending_count == 0);
		bd_map_free(inode);
		struct bd_passes *passes = inode->passes;
		inode->passes = NULL;
		pthread_rwlock_unlock(&inode->lock);
		bd_passes_free(passes);
		bd_inode_unref(inode, 1);
	}
	free(inodes);
}

static int count_passes(struct bd_store *store, const struct bd_branch *branch, uint32_t *ret_count)
{
	struct bd_layer **layers;
	int error = bd_branch_layers_of_view(store, branch, UINT32_MAX, &layers, ret_count);
	for (uint32_t i = 0; error == 0 && i < *ret_count; i++)
		bd_layer_unref(layers[i]);
	if (error == 0)
		free(layers);
	return error;
}

/* With the layer open, for the epoch that was current then. -EAGAIN: it is not any more. */
static int lay(struct creation *creation, uint64_t *ret_ticket)
{
	struct bd_store *store = creation->store;
	struct bd_branch *branch = creation->branch;
	uint32_t passes = 0;
	pthread_rwlock_wrlock(&store->table_lock);
	int error = branch->dead ? -ENOENT : bd_store_writable(store);
	if (error == 0)
		error = count_passes(store, branch, &passes);
	if (error == 0 && passes >= BD_LAYERS_MAX)
		error = -EMLINK;
	if (error == 0 && branch->epoch != creation->layer->epoch)
		error = -EAGAIN;
	if (error == 0)
		error = bd_store_raise_format(store, BD_FORMAT_LAYERS);
	if (error == 0)
		error = bd_branch_reserve_layer(store, branch);
	if (error == 0) {
		const struct branch_freeze freeze = {.record = record_layer, .frozen = change_head, .arg = creation};
		error = branch_freeze(store, branch, &freeze, ret_ticket, NULL);
	}
	pthread_rwlock_unlock(&store->table_lock);
	return error;
}

/* The hook is asked before the layer counts, under no lock. */
static int try_create(struct creation *creation, const void *facts, size_t size, uint64_t *ret_ticket, uint32_t *ret_epoch)
{
	struct bd_store *store = creation->store;
	branch_preflush(store, creation->branch->id);
	pthread_rwlock_rdlock(&store->table_lock);
	uint32_t epoch = creation->branch->epoch;
	pthread_rwlock_unlock(&store->table_lock);
	creation->layer = bd_layer_new(store, creation->branch, epoch, facts, size);
	if (creation->layer == NULL)
		return -ENOMEM;
	int error = bd_layer_open(creation->layer);
	if (error == 0)
		error = lay(creation, ret_ticket);
	*ret_epoch = epoch;
	bd_layer_unref(creation->layer);
	return error;
}

int bd_layer_create(struct bd_store *store, struct bd_branch_id id, const void *facts, size_t size, struct bd_epoch *ret_epoch)
{
	if (size > BD_LAYER_FACTS_MAX)
		return -EINVAL;
	if (store->layer_hooks.open == NULL)
		return -ENOTSUP;
	struct creation creation = {.store = store, .branch = bd_branch_acquire(store, id.v)};
	if (creation.branch == NULL)
		return -ENOENT;
	uint64_t ticket;
	uint32_t epoch = 0;
	int error = -EAGAIN;
	for (unsigned i = 0; error == -EAGAIN && i < CREATE_TRIES; i++)
		error = try_create(&creation, facts, size, &ticket, &epoch);
	bd_branch_release(creation.branch);
	bd_layers_reap(store);
	if (error == 0)
		error = bd_sync_log(store, ticket);
	if (error == 0)
		ret_epoch->v = epoch;
	return error == -EAGAIN ? -EBUSY : error;
}

/* ---- listing */

/* Under table_lock: does anybody look through layers of this epoch? A living branch's head does. */
static bool is_passed(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch)
{
	return !branch->dead || branch_last_fork(store, branch) > epoch;
}

struct list {
	struct bd_layer **layers;
	size_t count, facts_size;
};

static int list_add(struct bd_store *store, struct bd_branch *branch, struct list *list)
{
	uint32_t count = bd_branch_layer_epochs(store, branch, NULL, 0);
	if (count == 0)
		return 0;
	struct bd_layer **layers = realloc(list->layers, (list->count + count) * sizeof(struct bd_layer *));
	uint32_t *epochs = malloc(count * sizeof(*epochs));
	if (layers != NULL)
		list->layers = layers;
	if (layers != NULL && epochs != NULL) {
		bd_branch_layer_epochs(store, branch, epochs, count);
		for (uint32_t i = 0; i < count; i++) {
			if (!is_passed(store, branch, epochs[i]))
				continue;
			struct bd_layer *layer = bd_branch_find_layer(store, branch, epochs[i]);
			list->layers[list->count++] = layer;
			list->facts_size += layer->facts_size;
		}
	}
	int error = layers == NULL || epochs == NULL ? -ENOMEM : 0;
	free(epochs);
	return error;
}

static struct bd_layer_info *list_infos(const struct list *list)
{
	struct bd_layer_info *infos = malloc((list->count + 1) * sizeof(*infos) + list->facts_size);
	uint8_t *facts = (uint8_t *)(infos + list->count + 1);
	for (size_t i = 0; infos != NULL && i < list->count; i++) {
		const struct bd_layer *layer = list->layers[i];
		memcpy(facts, layer->facts, layer->facts_size);
		infos[i] = (struct bd_layer_info){
			.branch = {layer->branch->id}, .epoch = {layer->epoch}, .facts = facts, .size = layer->facts_size};
		facts += layer->facts_size;
	}
	return infos;
}

int bd_layer_list(struct bd_store *store, struct bd_branch_id id, struct bd_layer_info **ret_infos, size_t *ret_count)
{
	struct list list = {0};
	int error = 0;
	pthread_rwlock_rdlock(&store->table_lock);
	if (id.v != 0 && branch_by_id(store, id.v) == NULL)
		error = -ENOENT;
	for (uint32_t at = 1; error == 0 && at < store->branch_slots; at++) {
		if (store->branches[at] != NULL && (id.v == 0 || id.v == at))
			error = list_add(store, store->branches[at], &list);
	}
	pthread_rwlock_unlock(&store->table_lock);
	struct bd_layer_info *infos = error == 0 ? list_infos(&list) : NULL;
	if (error == 0 && infos == NULL)
		error = -ENOMEM;
	for (size_t i = 0; i < list.count; i++)
		bd_layer_unref(list.layers[i]);
	free(list.layers);
	bd_layers_reap(store);
	if (error != 0)
		return error;
	*ret_infos = infos;
	*ret_count = list.count;
	return 0;
}

/* ---- taking away */

struct search {
	struct bd_store *store;
	struct bd_layer *layer;
	uint32_t pin; /* the view that is looked at */
	uint64_t file; /* the last one that was */
};

/* -EBUSY: there is a block that the layer is still to make. */
static int search_inode(const struct search *search, struct bd_inode *inode)
{
	uint32_t block;
	size_t count = 0;
	int error = bd_inode_open_layers(inode);
	for (uint32_t at = 0; error == 0 && at != UINT32_MAX;) {
		pthread_rwlock_wrlock(&inode->lock);
		error = bd_passes_unmade(inode, search->layer, &at, &block, 1, &count);
		pthread_rwlock_unlock(&inode->lock);
		if (error == 0 && count > 0)
			error = -EBUSY;
	}
	return error;
}

/* A record of an inode, of a branch below the layer. */
static int search_file(void *arg, const uint8_t *key, size_t key_size, const uint8_t *value, size_t size)
{
	struct search *search = arg;
	const struct bd_layer_hooks *hooks = &search->store->layer_hooks;
	struct nf_reader r = nf_reader_init(key + 5, key_size - 5);
	uint64_t file = nf_read_u64_be(&r);
	(void)value, (void)size;
	if (r.failed)
		return -EUCLEAN;
	if (file == search->file)
		return 0;
	search->file = file;
	if (hooks->next(hooks->arg, search->layer->hook, file, 0) == UINT32_MAX)
		return 0;
	struct bd_inode *inode;
	int error = bd_inode_get(search->store, search->layer->branch, search->pin, file, &inode);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = search_inode(search, inode);
	bd_inode_unref(inode, 1);
	return error;
}

/* Every file that was there below the layer. */
static int search_view(struct search *search)
{
	const struct bd_hops hops = {.branch = search->layer->branch, .view_epoch = search->layer->epoch};
	struct bd_hop hop;
	int error = 0;
	for (unsigned i = 0; error == 0 && bd_hop_at(&hops, i, &hop); i++) {
		struct bd_key prefix;
		bd_key_u32(&prefix, 'I', hop.branch);
		search->file = 0;
		error = bd_index_each(search->store->index, &prefix, search_file, search);
	}
	bd_leaf_cache_trim(search->store);
	return error;
}

/* The oldest view that looks through the layer. The head is one, so there is one. */
static int oldest_above(struct bd_store *store, struct bd_branch *branch, uint32_t epoch, uint32_t *ret_pin)
{
	uint32_t *pins;
	size_t count, at = 0;
	pthread_rwlock_rdlock(&store->table_lock);
	int error = branch->dead ? -ENOENT : bd_branch_pins(store, branch, &pins, &count);
	pthread_rwlock_unlock(&store->table_lock);
	if (error != 0)
		return error;
	while (at < count && pins[at] <= epoch)
		at++;
	assert(at < count);
	*ret_pin = pins[at];
	free(pins);
	return 0;
}

/* Durably. Under table_lock exclusive. */
static int remove_record(struct bd_store *store, const struct bd_layer *layer)
{
	struct bd_commit commit;
	struct bd_key key;
	uint8_t value[BD_VALUE_CHECK];
	uint64_t ticket;
	int error = bd_commit_init(&commit);
	if (error != 0)
		return error;
	bd_key_u32_u32(&key, 'L', layer->branch->id, layer->epoch);
	bd_commit_delete(&commit, &key);
	bd_key_u32(&key, 'V', layer->branch->id);
	bd_commit_put(&commit, &key, value, 0);
	error = bd_commit_apply(store, &commit, &ticket);
	bd_commit_free(&commit);
	return error != 0 ? error : bd_flush_log(store, ticket);
}

static int take_away(struct bd_store *store, struct bd_layer *layer)
{
	struct search search = {.store = store, .layer = layer};
	int error = oldest_above(store, layer->branch, layer->epoch, &search.pin);
	if (error == 0)
		error = bd_layer_open(layer);
	if (error == 0)
		error = search_view(&search);
	/* What was made, and what was written over a block that was to be made, may be in memory only: after a crash without the layer the block would be
	 * neither. It is in the log before the layer's end is. */
	if (error == 0)
		error = bd_branch_flush(store, layer->branch, false);
	if (error != 0)
		return error;
	pthread_rwlock_wrlock(&store->table_lock);
	struct bd_layer *still = bd_branch_find_layer(store, layer->branch, layer->epoch);
	error = layer->branch->dead || still == NULL ? -ENOENT : bd_store_writable(store);
	if (error == 0)
		error = remove_record(store, layer);
	if (error == 0) {
		bd_layer_leave_chains(layer);
		bd_branch_remove_layer(layer->branch, layer);
		bd_background_purge(store, layer->branch->id, 0);
	}
	pthread_rwlock_unlock(&store->table_lock);
	bd_layer_unref(still);
	return error;
}

int bd_layer_delete(struct bd_store *store, struct bd_branch_id id, struct bd_epoch epoch)
{
	struct bd_branch *branch = bd_branch_acquire(store, id.v);
	struct bd_layer *layer = branch != NULL ? bd_branch_find_layer(store, branch, epoch.v) : NULL;
	int error = layer != NULL ? take_away(store, layer) : -ENOENT;
	bd_layer_unref(layer);
	bd_branch_release(branch);
	bd_layers_reap(store);
	return error != 0 ? error : bd_may_tell(store);
}
