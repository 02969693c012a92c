/* Images of hot pages that a layer has: links to history's files, in the layer's own `images/`. Their tables come into memory when a block is made that has many
 * records. What is missing, damaged or of another kind of page is passed over: the block is made from its records then. */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_impl.h"

#define HEAD (64u << 10) /* of a file, read at first */
#define TABLES_MAX (64u << 20)

void lz_images_open(struct lz_images *images, const struct lz_plan *plan, struct bd_inode *dir)
{
	*images = (struct lz_images){.plan = plan, .dir = dir};
	pthread_mutex_init(&images->lock, NULL);
}

void lz_images_close(struct lz_images *images)
{
	if (images->plan == NULL)
		return;
	for (size_t i = 0; i < images->count; i++) {
		bd_inode_unref(images->files[i].file, 1);
		free(images->files[i].tables);
	}
	free(images->files);
	pthread_mutex_destroy(&images->lock);
	images->plan = NULL;
}

/* -------------------------------------------------------------- gathering */

/* Is `name` of a segment of the plan, or of several of which one is the plan's? */
static bool is_of_plan(const struct lz_plan *plan, const char *name)
{
	const uint64_t end = plan->first_segment + plan->segment_count;
	struct wa_run run;
	struct nf_lsn start;
	uint32_t timeline;
	if (wa_segment_parse(name, plan->segment_size, &timeline, &start))
		run = (struct wa_run){start.v / plan->segment_size, 1};
	else if (!wh_run_parse(name, plan->segment_size, &timeline, &run))
		return false;
	uint64_t first = NF_MAX(run.first, plan->first_segment);
	return first < NF_MIN(run.first + run.count, end) && plan->segments[first - plan->first_segment].timeline == timeline;
}

static int link_all(const struct lz_plan *plan, struct bd_inode *from, struct bd_inode *layer)
{
	struct bd_listing *listing;
	struct bd_inode *to = NULL, *file;
	int error = bd_readdir(from, &listing);
	if (error != 0)
		return error;
	for (size_t i = 0; i < listing->count && error == 0; i++) {
		const char *name = listing->entries[i].name;
		if (!is_of_plan(plan, name))
			continue;
		if (to == NULL)
			error = wh_directory(layer, WH_IMAGES, &to);
		if (error != 0 || bd_lookup(from, name, &file) != 0)
			continue; /* it has just become part of a longer one */
		error = bd_link(file, to, name);
		error = error == -ENOENT ? 0 : error;
		bd_inode_unref(file, 1);
	}
	bd_listing_free(listing);
	if (to != NULL)
		bd_inode_unref(to, 1);
	return error;
}

int lz_images_link(struct bd_store *store, const struct lz_plan *plan, struct bd_branch_id source, struct bd_inode *layer)
{
	struct bd_branch_info history;
	struct bd_inode *from;
	char path[64];
	int error = bd_branch_find(store, WA_HISTORY_BRANCH, &history);
	snprintf(path, sizeof(path), "%u/" WH_IMAGES, source.v);
	if (error == 0)
		error = wh_path(store, wh_head(history.id), path, &from);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	error = link_all(plan, from, layer);
	bd_inode_unref(from, 1);
	return error;
}

/* ---------------------------------------------------------------- loading */

/* The head of a file that has its tables. */
static int read_tables(struct bd_inode *file, uint8_t **ret_bytes, size_t *ret_size, struct wa_error *why)
{
	size_t wanted = HEAD, tables = 0;
	for (;;) {
		uint8_t *bytes = nf_io_buffer(nf_round_up(wanted, NF_BLOCK_SIZE));
		ssize_t got = bytes != NULL ? bd_read(file, 0, bytes, wanted) : -ENOMEM;
		int error = got < 0 ? (int)got : wa_images_tables_size(bytes, (size_t)got, &tables, why);
		if (error == 0 && (tables <= (size_t)got || (size_t)got < wanted || tables > TABLES_MAX)) {
			*ret_bytes = bytes;
			*ret_size = NF_MIN((size_t)got, tables);
			return 0;
		}
		free(bytes);
		if (error != 0)
			return error;
		wanted = tables;
	}
}

static bool is_alike(const struct lz_plan *plan, const struct wa_images_info *info)
{
	return info->system_id == plan->system_id && info->version.major == plan->version.major &&
	       info->version.checksums == plan->version.checksums && info->version.log_hints == plan->version.log_hints;
}

static int load_file(struct lz_images *images, struct bd_inode *dir, const char *name)
{
	struct lz_image_file *of = &images->files[images->count];
	struct wa_error why = {0};
	struct bd_attr attr;
	size_t size;
	int error = bd_lookup(dir, name, &of->file);
	if (error != 0)
		return error;
	bd_inode_attr(of->file, &attr);
	error = read_tables(of->file, &of->tables, &size, &why);
	if (error == 0) {
		error = wa_images_open(of->tables, size, attr.size_bytes, &of->view, &why);
		if (error == 0 && !is_alike(images->plan, &of->view.info))
			error = -ESTALE;
		if (error != 0)
			free(of->tables);
	}
	if (error != 0) {
		nf_warn("images of hot pages %s of a layer are not used: %s", name,
			why.text[0] != 0 ? why.text : strerror(-error));
		bd_inode_unref(of->file, 1);
		return error;
	}
	images->count++;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	uint64_t fa = ((const struct lz_image_file *)a)->view.info.base.v,
		 fb = ((const struct lz_image_file *)b)->view.info.base.v;
	return fa == fb ? 0 : fa > fb ? -1 : 1;
}

/* Under the lock. */
static void load(struct lz_images *images)
{
	struct bd_listing *listing;
	struct bd_inode *dir;
	images->is_loaded = true;
	if (bd_lookup(images->dir, WH_IMAGES, &dir) != 0)
		return;
	if (bd_readdir(dir, &listing) == 0) {
		images->files = calloc(NF_MAX(listing->count, (size_t)1), sizeof(*images->files));
		for (size_t i = 0; i < listing->count && images->files != NULL; i++)
			if (is_of_plan(images->plan, listing->entries[i].name) &&
			    load_file(images, dir, listing->entries[i].name) == -ENOMEM)
				break;
		bd_listing_free(listing);
	}
	bd_inode_unref(dir, 1);
	if (images->count > 0)
		qsort(images->files, images->count, sizeof(*images->files), newest_first);
}

/* ----------------------------------------------------------------- finding */

static int read_image(struct lz_images *images, const struct lz_image_file *of, const struct wa_image_place *place, uint8_t *page)
{
	uint8_t bytes[WA_PAGE_SIZE], made[WA_PAGE_SIZE];
	struct wa_error why = {0};
	ssize_t got = bd_read(of->file, place->offset, bytes, place->size);
	int error = got < 0 ? (int)got : got == (ssize_t)place->size ? wa_image_unpack(place, bytes, made, &why) : -EIO;
	if (error != 0) {
		nf_warn("an image of block %u of relation %u/%u/%u (fork %u) cannot be used, all its records are: %s",
			place->image.block.blkno, place->image.block.rel.spc, place->image.block.rel.db,
			place->image.block.rel.rel, place->image.block.fork, why.text[0] != 0 ? why.text : strerror(-error));
		return 0;
	}
	memcpy(page, made, WA_PAGE_SIZE);
	if (atomic_fetch_add(&images->used, 1) == 0)
		nf_info("a layer makes hot pages from their images, of %zu files", images->count);
	return 1;
}

int lz_images_find(void *arg, const struct wa_block *block, struct nf_lsn origin, struct nf_lsn to, uint8_t *page,
		   struct nf_lsn *ret_last)
{
	struct lz_images *images = arg;
	struct wa_image_place place;
	pthread_mutex_lock(&images->lock);
	if (!images->is_loaded)
		load(images);
	pthread_mutex_unlock(&images->lock);
	for (size_t i = 0; i < images->count; i++) {
		const struct lz_image_file *of = &images->files[i];
		if (of->view.info.limit.v <= origin.v)
			break;
		if (of->view.info.base.v >= to.v || !wa_images_find(&of->view, block, origin, to, &place))
			continue;
		*ret_last = place.image.last;
		return read_image(images, of, &place, page);
	}
	return 0;
}
