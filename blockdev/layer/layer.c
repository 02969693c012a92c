/* Layers in memory: references, opening and closing, and which of them a branch's chain passes.
 *
 * A layer is referred to by the branch that it lies on, by every branch whose chain passes it, by inodes that were looked at through it and by
 * readers. It holds its branch, because the view below it is needed as long; the circle is cut when the branch leaves the table. The last reference
 * may go under any lock, so what it leaves is put aside and closed later (bd_layers_reap). */
#include "blockdev/layer/layer.h"

#include <stdlib.h>

#include "common/nf_log.h"

void bd_store_set_layer_hooks(struct bd_store *store, const struct bd_layer_hooks *hooks)
{
	store->layer_hooks = *hooks;
}

/* ---- lists of the store; under layers_lock */

static void list_add(struct bd_layer *layer)
{
	struct bd_store *store = layer->store;
	layer->prev = NULL;
	layer->next = store->all_layers;
	if (layer->next != NULL)
		layer->next->prev = layer;
	store->all_layers = layer;
}

static void list_remove(struct bd_layer *layer)
{
	if (layer->next != NULL)
		layer->next->prev = layer->prev;
	if (layer->prev != NULL)
		layer->prev->next = layer->next;
	else
		layer->store->all_layers = layer->next;
	layer->next = layer->prev = NULL;
}

/* ---- one layer */

struct bd_layer *bd_layer_new(struct bd_store *store, struct bd_branch *branch, uint32_t epoch, const void *facts, size_t size)
{
	struct bd_layer *layer = calloc(1, sizeof(*layer) + size);
	if (layer == NULL)
		return NULL;
	layer->store = store;
	layer->branch = branch;
	atomic_fetch_add(&branch->refs, 1);
	layer->epoch = epoch;
	layer->refs = 1;
	pthread_mutex_init(&layer->open_lock, NULL);
	layer->facts_size = size;
	if (size > 0)
		memcpy(layer->facts, facts, size);
	pthread_mutex_lock(&store->layers_lock);
	list_add(layer);
	pthread_mutex_unlock(&store->layers_lock);
	return layer;
}

void bd_layer_ref(struct bd_layer *layer)
{
	atomic_fetch_add(&layer->refs, 1);
}

void bd_layer_unref(struct bd_layer *layer)
{
	if (layer == NULL || atomic_fetch_sub(&layer->refs, 1) != 1)
		return;
	struct bd_store *store = layer->store;
	pthread_mutex_lock(&store->layers_lock);
	list_remove(layer);
	layer->next = store->dead_layers;
	store->dead_layers = layer;
	pthread_mutex_unlock(&store->layers_lock);
}

int bd_layer_open(struct bd_layer *layer)
{
	struct bd_store *store = layer->store;
	if (atomic_load(&layer->is_open))
		return 0;
	if (store->layer_hooks.open == NULL) {
		nf_error("branch %s: it looks through a redo layer (epoch %u), and this program has nothing that applies it",
			 layer->branch->name, layer->epoch);
		return -ENOTSUP;
	}
	struct bd_view base = {.branch = {layer->branch->id}, .epoch = {layer->epoch}};
	int error = 0;
	pthread_mutex_lock(&layer->open_lock);
	if (!atomic_load(&layer->is_open)) {
		error = store->layer_hooks.open(store->layer_hooks.arg, base, layer->facts, layer->facts_size, &layer->hook);
		if (error == 0)
			atomic_store(&layer->is_open, true);
	}
	pthread_mutex_unlock(&layer->open_lock);
	if (error != 0)
		nf_error("branch %s: its redo layer (epoch %u) cannot be used: %s", layer->branch->name, layer->epoch,
			 strerror(-error));
	return error;
}

static void close_hook(struct bd_layer *layer)
{
	if (!atomic_exchange(&layer->is_open, false))
		return;
	layer->store->layer_hooks.close(layer->store->layer_hooks.arg, layer->hook);
	layer->hook = NULL;
}

void bd_layers_reap(struct bd_store *store)
{
	/* Freeing one may let go of a branch, and that of the next. */
	for (;;) {
		pthread_mutex_lock(&store->layers_lock);
		struct bd_layer *layer = store->dead_layers;
		if (layer != NULL)
			store->dead_layers = layer->next;
		pthread_mutex_unlock(&store->layers_lock);
		if (layer == NULL)
			return;
		close_hook(layer);
		bd_branch_release(layer->branch);
		pthread_mutex_destroy(&layer->open_lock);
		free(layer);
	}
}

void bd_layers_close(struct bd_store *store)
{
	bd_layers_reap(store);
	for (struct bd_layer *layer = store->all_layers; layer != NULL; layer = layer->next)
		close_hook(layer);
}

/* ---- the layers of branches */

int bd_branch_reserve_layer(struct bd_store *store, struct bd_branch *branch)
{
	int error = 0;
	pthread_mutex_lock(&store->layers_lock);
	if (branch->layer_count == branch->layer_capacity) {
		uint32_t capacity = branch->layer_capacity * 2 + 4;
		struct bd_layer **layers = realloc(branch->layers, capacity * sizeof(struct bd_layer *));
		if (layers != NULL) {
			branch->layers = layers;
			branch->layer_capacity = capacity;
		} else {
			error = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&store->layers_lock);
	return error;
}

void bd_branch_add_layer(struct bd_branch *branch, struct bd_layer *layer)
{
	struct bd_store *store = layer->store;
	pthread_mutex_lock(&store->layers_lock);
	assert(branch->layer_count < branch->layer_capacity);
	assert(branch->layer_count == 0 || branch->layers[branch->layer_count - 1]->epoch < layer->epoch);
	bd_layer_ref(layer);
	branch->layers[branch->layer_count++] = layer;
	pthread_mutex_unlock(&store->layers_lock);
	atomic_store_explicit(&branch->has_layers, true, memory_order_release);
}

void bd_branch_remove_layer(struct bd_branch *branch, struct bd_layer *layer)
{
	struct bd_store *store = layer->store;
	uint32_t at = 0;
	pthread_mutex_lock(&store->layers_lock);
	while (branch->layers[at] != layer)
		at++;
	branch->layer_count--;
	memmove(&branch->layers[at], &branch->layers[at + 1], (branch->layer_count - at) * sizeof(struct bd_layer *));
	pthread_mutex_unlock(&store->layers_lock);
	bd_layer_unref(layer);
}

static bool disinherit(struct bd_branch *branch, const struct bd_layer *layer)
{
	for (uint32_t i = 0; i < branch->inherited_count; i++) {
		if (branch->inherited[i] != layer)
			continue;
		branch->inherited_count--;
		memmove(&branch->inherited[i], &branch->inherited[i + 1], (branch->inherited_count - i) * sizeof(struct bd_layer *));
		return true;
	}
	return false;
}

void bd_layer_leave_chains(struct bd_layer *layer)
{
	struct bd_store *store = layer->store;
	uint32_t left = 0;
	atomic_store(&layer->is_gone, true);
	pthread_mutex_lock(&store->layers_lock);
	for (uint32_t id = 0; id < store->branch_slots; id++)
		left += store->branches[id] != NULL && disinherit(store->branches[id], layer);
	pthread_mutex_unlock(&store->layers_lock);
	while (left-- > 0)
		bd_layer_unref(layer);
}

void bd_branch_leave_layers(struct bd_store *store, struct bd_branch *branch)
{
	pthread_mutex_lock(&store->layers_lock);
	struct bd_layer **layers = branch->layers;
	uint32_t count = branch->layer_count;
	branch->layers = NULL;
	branch->layer_count = branch->layer_capacity = 0;
	pthread_mutex_unlock(&store->layers_lock);
	for (uint32_t i = 0; i < count; i++)
		bd_layer_unref(layers[i]);
	free(layers);
}

/* Under layers_lock: the layers that a view of the branch looks through, nearest first, each with a reference. Room for all of them. */
static uint32_t gather(const struct bd_branch *branch, uint32_t view_epoch, struct bd_layer **ret_layers)
{
	uint32_t count = 0;
	for (uint32_t i = branch->layer_count; i-- > 0;) {
		if (branch->layers[i]->epoch < view_epoch)
			ret_layers[count++] = branch->layers[i];
	}
	for (uint32_t i = 0; i < branch->inherited_count; i++)
		ret_layers[count++] = branch->inherited[i];
	for (uint32_t i = 0; i < count; i++)
		bd_layer_ref(ret_layers[i]);
	return count;
}

int bd_branch_layers_of_view(struct bd_store *store, const struct bd_branch *branch, uint32_t view_epoch,
			     struct bd_layer ***ret_layers, uint32_t *ret_count)
{
	pthread_mutex_lock(&store->layers_lock);
	struct bd_layer **layers = malloc((branch->layer_count + branch->inherited_count + 1) * sizeof(struct bd_layer *));
	uint32_t count = layers != NULL ? gather(branch, view_epoch, layers) : 0;
	pthread_mutex_unlock(&store->layers_lock);
	if (layers == NULL)
		return -ENOMEM;
	*ret_layers = layers;
	*ret_count = count;
	return 0;
}

int bd_branch_inherit_layers(struct bd_store *store, struct bd_branch *branch, const struct bd_branch *parent)
{
	if (!atomic_load(&parent->has_layers))
		return 0;
	int error = bd_branch_layers_of_view(store, parent, branch->parent_epoch, &branch->inherited, &branch->inherited_count);
	if (error == 0 && branch->inherited_count > 0)
		atomic_store_explicit(&branch->has_layers, true, memory_order_release);
	return error;
}

void bd_branch_free_layers(struct bd_branch *branch)
{
	assert(branch->layer_count == 0);
	free(branch->layers);
	for (uint32_t i = 0; i < branch->inherited_count; i++)
		bd_layer_unref(branch->inherited[i]);
	free(branch->inherited);
}

uint32_t bd_branch_layer_epochs(struct bd_store *store, const struct bd_branch *branch, uint32_t *epochs, uint32_t room)
{
	pthread_mutex_lock(&store->layers_lock);
	uint32_t count = branch->layer_count;
	for (uint32_t i = 0; i < NF_MIN(count, room); i++)
		epochs[i] = branch->layers[i]->epoch;
	pthread_mutex_unlock(&store->layers_lock);
	return count;
}

struct bd_layer *bd_branch_find_layer(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch)
{
	struct bd_layer *found = NULL;
	pthread_mutex_lock(&store->layers_lock);
	for (uint32_t i = 0; i < branch->layer_count; i++) {
		if (branch->layers[i]->epoch == epoch)
			found = branch->layers[i];
	}
	if (found != NULL)
		bd_layer_ref(found);
	pthread_mutex_unlock(&store->layers_lock);
	return found;
}
