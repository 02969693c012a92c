/* The hooks of redo layers: a plan is loaded when a layer is first looked through, its indexes and WAL when a block is first made. */
#include "walapply/pitr/wa_lazy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_cursor.h"
#include "common/nf_log.h"
#include "walapply/pitr/lazy_impl.h"

#define FACTS_MAGIC 0x534C464Eu
#define FACTS_VERSION 1u

/* What a layer is in memory. */
struct lz_layer {
	struct wa_lazy *lazy;
	struct lz_plan plan; /* const once open */
	struct bd_view below; /* what it lies on */
	char name[LZ_NAME_MAX + 1];
	struct bd_inode *dir;
	pthread_rwlock_t lock; /* held shared while a block is made, alone to load */
	/* guarded by lock */
	bool has_log, is_loaded;
	bool no_runs; /* an index of several segments was found damaged: the segments' own are used */
	struct lz_indexes indexes;
	struct lz_log log;
	struct lz_images images; /* has its own lock */
};

int lz_facts_name(const void *facts, size_t size, char name[LZ_NAME_MAX + 1])
{
	struct nf_reader r = nf_reader_init(facts, size);
	uint32_t magic = nf_read_u32(&r), version = nf_read_u32(&r);
	size_t left = nf_reader_left(&r);
	if (r.failed || magic != FACTS_MAGIC || left < 2 || left > LZ_NAME_MAX + 1)
		return -EUCLEAN;
	if (version != FACTS_VERSION)
		return -EPROTONOSUPPORT;
	nf_read_copy(&r, name, left);
	return name[left - 1] == 0 && strlen(name) == left - 1 && strchr(name, '/') == NULL ? 0 : -EUCLEAN;
}

size_t lz_facts_make(const char *name, uint8_t facts[WA_LAZY_FACTS_MAX])
{
	struct nf_writer w = nf_writer_init(facts, WA_LAZY_FACTS_MAX);
	nf_write_u32(&w, FACTS_MAGIC);
	nf_write_u32(&w, FACTS_VERSION);
	nf_write_bytes(&w, name, strlen(name) + 1);
	return w.offset;
}

int lz_directory(struct bd_store *store, bool make, struct bd_inode **ret_dir)
{
	struct bd_inode *root;
	int error = wh_root(store, make, &root);
	if (error != 0)
		return error;
	error = make ? wh_directory(root, LZ_DIRECTORY, ret_dir) : bd_lookup(root, LZ_DIRECTORY, ret_dir);
	bd_inode_unref(root, 1);
	return error;
}

int lz_plan_read(struct bd_store *store, const char *name, struct lz_plan *ret_plan, struct bd_inode **ret_dir)
{
	struct bd_inode *all, *dir = NULL, *file = NULL;
	uint8_t *bytes;
	size_t size;
	int error = lz_directory(store, false, &all);
	if (error != 0)
		return error;
	error = bd_lookup(all, name, &dir);
	bd_inode_unref(all, 1);
	if (error == 0)
		error = bd_lookup(dir, "plan", &file);
	if (error == 0)
		error = wh_read(file, LZ_PLAN_MAX, &bytes, &size);
	if (error == 0) {
		error = lz_plan_decode(bytes, size, ret_plan);
		free(bytes);
	}
	if (file != NULL)
		bd_inode_unref(file, 1);
	if (error == 0 && ret_dir != NULL)
		*ret_dir = dir;
	else if (dir != NULL)
		bd_inode_unref(dir, 1);
	return error;
}

static void layer_free(struct lz_layer *layer)
{
	lz_log_close(&layer->log);
	lz_indexes_free(&layer->indexes);
	lz_images_close(&layer->images);
	lz_plan_free(&layer->plan);
	if (layer->dir != NULL)
		bd_inode_unref(layer->dir, 1);
	pthread_rwlock_destroy(&layer->lock);
	free(layer);
}

static int open_layer(void *arg, struct bd_view base, const void *facts, size_t size, void **ret_layer)
{
	struct wa_lazy *lazy = arg;
	struct lz_layer *layer = calloc(1, sizeof(*layer));
	if (layer == NULL)
		return -ENOMEM;
	layer->lazy = lazy;
	layer->below = base;
	pthread_rwlock_init(&layer->lock, NULL);
	int error = lz_facts_name(facts, size, layer->name);
	if (error == 0)
		error = lz_plan_read(lazy->store, layer->name, &layer->plan, &layer->dir);
	if (error != 0) {
		nf_error("the redo layer %s of branch %u, epoch %u, cannot be opened: %s", layer->name, base.branch.v,
			 base.epoch.v, strerror(-error));
		layer_free(layer);
		return error;
	}
	lz_images_open(&layer->images, &layer->plan, layer->dir);
	*ret_layer = layer;
	return 0;
}

static void close_layer(void *arg, void *layer)
{
	(void)arg;
	layer_free(layer);
}

static void touched(void *arg, void *layer, uint64_t file, uint32_t first, uint64_t *bits, unsigned words)
{
	(void)arg;
	lz_plan_touched(&((struct lz_layer *)layer)->plan, file, first, bits, words);
}

static uint32_t next_touched(void *arg, void *layer, uint64_t file, uint32_t from)
{
	(void)arg;
	return lz_plan_next(&((struct lz_layer *)layer)->plan, file, from);
}

/* Indexes and WAL, once, under the lock alone. */
static int load(struct lz_layer *layer)
{
	struct bd_inode *index;
	struct bd_view base = layer->plan.base.branch.v != 0 ? layer->plan.base : layer->below;
	int error = 0;
	if (layer->is_loaded)
		return 0;
	if (!layer->has_log)
		error = lz_log_open(&layer->log, layer->lazy->store, &layer->plan, base, layer->dir);
	layer->has_log = error == 0;
	if (error == 0)
		error = bd_lookup(layer->dir, "index", &index);
	if (error != 0)
		return error;
	error = lz_indexes_open_tables(&layer->indexes, &layer->plan, &layer->log, index, !layer->no_runs);
	bd_inode_unref(index, 1);
	layer->is_loaded = error == 0;
	return error;
}

/* Hold the layer shared, loaded. */
static int enter(struct lz_layer *layer)
{
	int error = 0;
	pthread_rwlock_rdlock(&layer->lock);
	while (!layer->is_loaded && error == 0) {
		pthread_rwlock_unlock(&layer->lock);
		pthread_rwlock_wrlock(&layer->lock);
		error = load(layer);
		pthread_rwlock_unlock(&layer->lock);
		pthread_rwlock_rdlock(&layer->lock);
	}
	if (error != 0)
		pthread_rwlock_unlock(&layer->lock);
	return error;
}

/* Something that was read does not fit. Is it worth another try, without indexes of several segments? */
static bool give_up_runs(struct lz_layer *layer)
{
	pthread_rwlock_wrlock(&layer->lock);
	bool has_runs = layer->is_loaded && layer->indexes.has_runs;
	bool again = has_runs || layer->no_runs; /* somebody else was first */
	if (has_runs) {
		nf_warn("the redo layer %s goes on with the indexes of single segments of WAL", layer->name);
		lz_indexes_free(&layer->indexes);
		layer->is_loaded = false;
		layer->no_runs = true;
	}
	pthread_rwlock_unlock(&layer->lock);
	return again;
}

static int make_block(struct lz_layer *layer, const struct lz_file *file, uint32_t block, bool use_images, void *page,
		      struct wa_error *why)
{
	struct wa_block wanted = file->first;
	int error = enter(layer);
	if (error != 0)
		return error;
	struct wa_range range = lz_range(&layer->plan, &layer->indexes, &layer->log);
	wanted.blkno += block;
	if (use_images) {
		range.image = lz_images_find;
		range.image_arg = &layer->images;
	}
	lz_indexes_ahead(&layer->indexes, &wanted);
	error = wa_materialise(&range, &wanted, page, NULL, why);
	pthread_rwlock_unlock(&layer->lock);
	return error;
}

static int apply(void *arg, void *of, uint64_t id, uint32_t block, void *page)
{
	struct lz_layer *layer = of;
	struct wa_error why = {0};
	uint8_t base[WA_PAGE_SIZE];
	const struct lz_file *file = lz_plan_file(&layer->plan, id);
	(void)arg;
	if (file == NULL)
		return 0;
	memcpy(base, page, sizeof(base));
	int error = make_block(layer, file, block, true, page, &why);
	if ((error == -EBADMSG || error == -EIO) && (give_up_runs(layer) || layer->images.used > 0)) {
		memcpy(page, base, sizeof(base));
		why = (struct wa_error){0};
		error = make_block(layer, file, block, false, page, &why);
	}
	if (error < 0)
		nf_error("block %u of relation %u/%u/%u (fork %u) cannot be brought to " NF_LSN_FMT ": %s",
			 file->first.blkno + block, file->first.rel.spc, file->first.rel.db, file->first.rel.rel,
			 file->first.fork, NF_LSN_ARG(layer->plan.to), why.text[0] != 0 ? why.text : strerror(-error));
	return error < 0 ? error : 0;
}

void wa_lazy_hooks(struct wa_lazy *lazy, struct bd_layer_hooks *ret_hooks)
{
	*ret_hooks = (struct bd_layer_hooks){
		.arg = lazy, .open = open_layer, .close = close_layer, .touched = touched, .next = next_touched, .apply = apply};
}

int wa_lazy_open(struct bd_store *store, struct wa_lazy **ret_lazy)
{
	struct wa_lazy *lazy = calloc(1, sizeof(*lazy));
	if (lazy == NULL)
		return -ENOMEM;
	lazy->store = store;
	pthread_mutex_init(&lazy->lock, NULL);
	pthread_cond_init(&lazy->cond, NULL);
	*ret_lazy = lazy;
	return 0;
}

void wa_lazy_close(struct wa_lazy *lazy)
{
	if (lazy == NULL)
		return;
	free(lazy->drained);
	pthread_cond_destroy(&lazy->cond);
	pthread_mutex_destroy(&lazy->lock);
	free(lazy);
}
