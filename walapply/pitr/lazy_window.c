/* Draining a layer: its blocks in the order of relations, a window of them at a time.
 *
 *	what the head has still to make ──▶ bases, from the view below the layer ──▶ wa_batch, the WAL once, forward ──▶ bd_layer_store
 *
 * A window is as many blocks as there is memory for: a sixteenth of the layer, between WINDOW_MIN and WINDOW_MAX, so that the WAL is not gone through more
 * than sixteen times before a window has its greatest size. Of the WAL only pages are read that have records of the window. What is stored needs no
 * bookkeeping: after a kill the blocks that are made are found made. Who reads, overwrites or cuts meanwhile wins (bd_layer_store). */
#include <stdlib.h>
#include <string.h>

#include "common/nf_log.h"
#include "walapply/materialise/wa_batch.h"
#include "walapply/pitr/lazy_impl.h"

#define WINDOW_MIN 16384u /* blocks */
#define WINDOW_MAX 32768u
#define WINDOWS 16u

struct window {
	struct lz_draining *draining;
	struct bd_view head, below;
	struct bd_epoch epoch;
	struct lz_plan plan;
	struct lz_indexes indexes;
	struct lz_log log;
	struct wa_range range;
	const struct lz_file **files; /* in the order of relations */
	size_t file_count;

	size_t room, count;
	struct wa_batch_block *blocks;
	const struct lz_file **file_of; /* of each block */
	uint32_t *at; /* of each: which of the file's */
	uint8_t *pages; /* page i is of block i */
	bool has_failed; /* some block cannot be made */
};

/* ------------------------------------------------------------ setting up */

static int compare_files(const void *a, const void *b)
{
	const struct wa_block *x = &(*(const struct lz_file *const *)a)->first, *y = &(*(const struct lz_file *const *)b)->first;
	const uint32_t left[] = {x->rel.spc, x->rel.db, x->rel.rel, x->fork, x->blkno};
	const uint32_t right[] = {y->rel.spc, y->rel.db, y->rel.rel, y->fork, y->blkno};
	for (size_t i = 0; i < NF_ARRAY_LEN(left); i++)
		if (left[i] != right[i])
			return left[i] < right[i] ? -1 : 1;
	return 0;
}

static uint64_t count_blocks(const struct lz_file *file)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i < lz_words(file->blocks); i++)
		count += (uint64_t)__builtin_popcountll(file->bits[i]);
	return count;
}

static int sort_files(struct window *window)
{
	uint64_t total = 0;
	window->files = calloc(NF_MAX(HASH_COUNT(window->plan.files), 1u), sizeof(*window->files));
	if (window->files == NULL)
		return -ENOMEM;
	for (const struct lz_file *file = window->plan.files; file != NULL; file = file->hh.next) {
		window->files[window->file_count++] = file;
		total += count_blocks(file);
	}
	if (window->file_count > 0)
		qsort(window->files, window->file_count, sizeof(*window->files), compare_files);
	window->room = (size_t)NF_MIN(NF_MAX(total / WINDOWS, (uint64_t)WINDOW_MIN), (uint64_t)WINDOW_MAX);
	window->room = (size_t)NF_MIN((uint64_t)window->room, NF_MAX(total, UINT64_C(1)));
	window->blocks = calloc(window->room, sizeof(*window->blocks));
	window->file_of = calloc(window->room, sizeof(*window->file_of));
	window->at = calloc(window->room, sizeof(*window->at));
	window->pages = nf_io_buffer(window->room * WA_PAGE_SIZE);
	return window->blocks == NULL || window->file_of == NULL || window->at == NULL || window->pages == NULL ? -ENOMEM : 0;
}

static int open_window(struct window *window, const char *name)
{
	struct bd_store *store = window->draining->lazy->store;
	struct bd_inode *dir = NULL, *index = NULL;
	int error = lz_plan_read(store, name, &window->plan, &dir);
	if (error != 0)
		return error;
	error = bd_lookup(dir, "index", &index);
	if (error == 0)
		error = lz_indexes_open_tables(&window->indexes, &window->plan, index);
	if (error == 0) {
		struct bd_view base = window->plan.base.branch.v != 0 ? window->plan.base : window->below;
		error = lz_log_open(&window->log, store, &window->plan, base, dir);
	}
	if (error == 0)
		error = sort_files(window);
	window->range = lz_range(&window->plan, &window->indexes, &window->log);
	if (index != NULL)
		bd_inode_unref(index, 1);
	bd_inode_unref(dir, 1);
	return error;
}

static void close_window(struct window *window)
{
	free(window->files);
	free(window->blocks);
	free(window->file_of);
	free(window->at);
	free(window->pages);
	lz_log_close(&window->log);
	lz_indexes_free(&window->indexes);
	lz_plan_free(&window->plan);
}

/* -------------------------------------------------------------- filling */

/* The file's inode as `view` has it. NULL: it is gone, and has nothing to be made. */
static int open_file(const struct window *window, const struct lz_file *file, struct bd_view view, struct bd_inode **ret_inode)
{
	*ret_inode = NULL;
	int error = bd_inode_by_id(window->draining->lazy->store, view, (struct bd_file_id){file->id}, ret_inode);
	return error == -ENOENT ? 0 : error;
}

/* A block that the file has not whole below the layer: as a reader makes it. */
static int make_by_reading(struct window *window, struct bd_inode *inode, uint32_t block)
{
	ssize_t got = bd_read(inode, (uint64_t)block * NF_BLOCK_SIZE, window->pages, NF_BLOCK_SIZE);
	return got < 0 ? (int)got : 0;
}

static int whole_blocks(const struct window *window, const struct lz_file *file, uint32_t *ret_blocks)
{
	struct bd_inode *inode;
	struct bd_attr attr;
	int error = open_file(window, file, window->below, &inode);
	*ret_blocks = 0;
	if (error != 0 || inode == NULL)
		return error;
	bd_inode_attr(inode, &attr);
	bd_inode_unref(inode, 1);
	*ret_blocks = (uint32_t)NF_MIN(attr.size_bytes / NF_BLOCK_SIZE, (uint64_t)UINT32_MAX);
	return 0;
}

/* Blocks of the file from *from on that are still to be made, as many as there is room for; *from is behind them. UINT32_MAX: that were all. */
static int add_file(struct window *window, const struct lz_file *file, uint32_t *from)
{
	struct bd_inode *inode;
	uint32_t whole = 0;
	size_t room = window->room - window->count, count = 0;
	uint32_t *at = window->at + window->count;
	int error = open_file(window, file, window->head, &inode);
	if (error != 0 || inode == NULL) {
		*from = UINT32_MAX;
		return error;
	}
	error = whole_blocks(window, file, &whole);
	if (error == 0)
		error = bd_layer_unmade(inode, window->epoch, *from, at, room, &count);
	*from = error == 0 && count == room ? at[count - 1] + 1 : UINT32_MAX;
	for (; error == 0 && count > 0 && at[count - 1] >= whole; count--)
		error = make_by_reading(window, inode, at[count - 1]);
	for (size_t i = 0; error == 0 && i < count; i++, window->count++) {
		struct wa_batch_block *block = &window->blocks[window->count];
		block->block = file->first;
		block->block.blkno += at[i];
		block->page = window->pages + window->count * WA_PAGE_SIZE;
		window->file_of[window->count] = file;
	}
	bd_inode_unref(inode, 1);
	return error;
}

/* -------------------------------------------------------------- a window */

/* Blocks from `first` on that follow each other in one file, `max` at most, and are of the same kind as it. */
static size_t run_length(const struct window *window, size_t first, size_t max,
			 bool (*of_kind)(const struct wa_batch_block *block))
{
	size_t n = 1;
	while (n < max && first + n < window->count && window->file_of[first + n] == window->file_of[first] &&
	       window->at[first + n] == window->at[first] + n &&
	       of_kind(&window->blocks[first + n]) == of_kind(&window->blocks[first]))
		n++;
	return n;
}

static bool needs_base(const struct wa_batch_block *block)
{
	return block->needs_base;
}

static bool is_made(const struct wa_batch_block *block)
{
	return block->status >= 0;
}

/* Each page is its base, or zeros where that does not count. */
static int read_bases(struct window *window)
{
	struct bd_inode *inode = NULL;
	const struct lz_file *file = NULL;
	int error = 0;
	for (size_t i = 0, n; i < window->count && error == 0; i += n) {
		size_t size;
		n = run_length(window, i, BD_LAYER_STORE_MAX, needs_base);
		size = n * WA_PAGE_SIZE;
		if (!window->blocks[i].needs_base) {
			memset(window->blocks[i].page, 0, size);
			continue;
		}
		if (file != window->file_of[i]) {
			if (inode != NULL)
				bd_inode_unref(inode, 1);
			file = window->file_of[i];
			error = open_file(window, file, window->below, &inode);
			if (error == 0 && inode == NULL)
				error = -EUCLEAN; /* it had the size that its blocks were marked by */
		}
		if (error == 0) {
			ssize_t got = bd_read(inode, (uint64_t)window->at[i] * NF_BLOCK_SIZE, window->blocks[i].page, size);
			error = got == (ssize_t)size ? lz_pace(window->draining, size) : got < 0 ? (int)got : -EUCLEAN;
		}
	}
	if (inode != NULL)
		bd_inode_unref(inode, 1);
	return error;
}

static int read_wal(void *arg, struct nf_lsn at, size_t count, uint8_t *bytes)
{
	struct window *window = arg;
	window->draining->wal_bytes += count * WA_PAGE_SIZE;
	int error = lz_log_read(&window->log, at, count, bytes);
	return error == 0 ? lz_pace(window->draining, count * WA_PAGE_SIZE) : error;
}

static int store_window(struct window *window)
{
	int error = 0;
	for (size_t i = 0, n; i < window->count && error == 0; i += n) {
		struct bd_inode *inode;
		n = run_length(window, i, BD_LAYER_STORE_MAX, is_made);
		if (!is_made(&window->blocks[i])) {
			window->has_failed = true;
			continue;
		}
		error = open_file(window, window->file_of[i], window->head, &inode);
		if (error != 0 || inode == NULL)
			continue; /* removed meanwhile */
		error = bd_layer_store(inode, window->epoch, window->at[i], (uint32_t)n, window->blocks[i].page);
		bd_inode_unref(inode, 1);
		window->draining->blocks += n;
		if (error == 0)
			error = lz_pace(window->draining, n * WA_PAGE_SIZE);
	}
	return error;
}

static int make_window(struct window *window)
{
	struct wa_batch *batch;
	struct wa_error why = {0};
	int error = wa_batch_new(&window->range, window->blocks, window->count, &batch, &why);
	if (error == 0) {
		error = read_bases(window);
		if (error == 0)
			error = wa_batch_run(batch, read_wal, window, &why);
		wa_batch_free(batch);
	}
	if (why.text[0] != 0)
		nf_error("branch %u: blocks cannot be brought to " NF_LSN_FMT ": record at " NF_LSN_FMT ": %s",
			 window->head.branch.v, NF_LSN_ARG(window->plan.to), NF_LSN_ARG(why.lsn), why.text);
	return error == 0 ? store_window(window) : error;
}

int lz_drain_layer(struct lz_draining *draining, const struct bd_layer_info *info, const char *name)
{
	struct window window = {.draining = draining,
				.head = wh_head(info->branch),
				.below = {.branch = info->branch, .epoch = info->epoch},
				.epoch = info->epoch};
	int error = open_window(&window, name);
	for (size_t i = 0; i < window.file_count && error == 0; i++) {
		for (uint32_t from = 0; from != UINT32_MAX && error == 0;) {
			error = add_file(&window, window.files[i], &from);
			if (error == 0 && window.count == window.room) {
				error = make_window(&window);
				window.count = 0;
			}
		}
	}
	if (error == 0 && window.count > 0)
		error = make_window(&window);
	close_window(&window);
	return error == 0 && window.has_failed ? -EIO : error;
}
