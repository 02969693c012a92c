/* The layer hook of the tests. */
#include "layers.h"

#include <stdlib.h>

struct layer {
	uint8_t add, every;
};

static int layer_open(void *arg, struct bd_view base, const void *facts, size_t size, void **ret_layer)
{
	struct layers *layers = arg;
	struct layer *layer;

	(void)base;
	pthread_mutex_lock(&layers->lock);
	int error = layers->open_error;
	layers->opened += error == 0;
	pthread_mutex_unlock(&layers->lock);
	if (error != 0)
		return error;
	assert_int_equal(size, sizeof(*layer));
	layer = malloc(sizeof(*layer));
	assert_non_null(layer);
	memcpy(layer, facts, size);
	*ret_layer = layer;
	return 0;
}

static void layer_close(void *arg, void *layer)
{
	struct layers *layers = arg;

	pthread_mutex_lock(&layers->lock);
	layers->closed++;
	pthread_mutex_unlock(&layers->lock);
	free(layer);
}

static void layer_touched(void *arg, void *opened, uint64_t file, uint32_t first, uint64_t *bits, unsigned words)
{
	const struct layer *layer = opened;

	(void)arg;
	(void)file;
	for (uint32_t i = 0; i < words * 64; i++)
		if ((first + i) % layer->every == 0)
			bits[i / 64] |= UINT64_C(1) << i % 64;
}

static uint32_t layer_next(void *arg, void *opened, uint64_t file, uint32_t from)
{
	const struct layer *layer = opened;

	(void)arg;
	(void)file;
	return (uint32_t)nf_round_up(from, layer->every);
}

static int layer_apply(void *arg, void *opened, uint64_t file, uint32_t block, void *page)
{
	struct layers *layers = arg;
	const struct layer *layer = opened;
	uint8_t *bytes = page;

	assert_int_equal(block % layer->every, 0);
	pthread_mutex_lock(&layers->lock);
	int error = layers->apply_error;
	layers->applied++;
	void (*in_apply)(void *, uint64_t, uint32_t) = layers->in_apply;
	pthread_mutex_unlock(&layers->lock);
	if (in_apply != NULL)
		in_apply(layers->arg, file, block);
	for (size_t i = 0; i < BLOCK; i++)
		bytes[i] = (uint8_t)through(bytes[i], layer->add);
	return error;
}

void layers_install(struct layers *layers, struct bd_store *store)
{
	const struct bd_layer_hooks hooks = {.arg = layers,
					     .open = layer_open,
					     .close = layer_close,
					     .touched = layer_touched,
					     .next = layer_next,
					     .apply = layer_apply};

	bd_store_set_layer_hooks(store, &hooks);
}

uint32_t layers_lay(struct api *api, struct bd_branch_id branch, uint8_t add, uint8_t every)
{
	const struct layer facts = {.add = add, .every = every};
	struct bd_epoch epoch;

	assert_ok(bd_layer_create(api->store, branch, &facts, sizeof(facts), &epoch));
	return epoch.v;
}
