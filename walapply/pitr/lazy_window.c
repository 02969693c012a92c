/* Draining a layer: its blocks in the order of relations, a window of them at a time.
 *
 *	what the head has still to make ──▶ shares ──▶ bases, from the view below the layer ──▶ the WAL, once, forward ──▶ bd_layer_store
 *	                                               lazy_window_blocks.c                     lazy_window_log.c          lazy_window_blocks.c
 *
 * A window is as many blocks as there is memory for (window_room): the WAL is gone through once for each. It is divided into shares, and each step is done
 * for all of them before the next one begins. Without a limit of the rate that one thread would keep to anyhow, several threads do them side by
 * side: while one waits for the disk, another has the processor. What is stored needs no bookkeeping: after a kill the blocks that are made are found made.
 * Who reads, overwrites or cuts meanwhile wins (bd_layer_store). */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_window.h"

#define WINDOW_MAX 131072u /* blocks */
#define WINDOW_MIN (WA_LAZY_MEMORY_MIN / WA_PAGE_SIZE)
#define MEMORY_SHARE 32u /* of the machine's memory: a window takes one part in so many at most */
#define ONE_THREAD_RATE (UINT64_C(256) << 20) /* bytes a second that one thread comes to */

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

/* Blocks of a window. */
static size_t window_room(const struct wa_lazy *lazy, uint64_t total)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
	uint64_t machine = pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : 0;
	uint64_t memory = lazy->drain_memory > 0 ? lazy->drain_memory
						 : NF_MIN(machine / MEMORY_SHARE, (uint64_t)WINDOW_MAX * WA_PAGE_SIZE);
	return (size_t)NF_MIN(NF_MAX(memory / WA_PAGE_SIZE, (uint64_t)WINDOW_MIN), NF_MAX(total, UINT64_C(1)));
}

/* More than there are processors: some of them wait for the disk. */
static unsigned count_threads(const struct wa_lazy *lazy)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	if (lazy->drain_rate <= ONE_THREAD_RATE || processors < 2)
		return 1;
	return (unsigned)NF_MIN(2 * processors, (long)LZ_CREW_MAX);
}

static int sort_files(struct lz_drain *drain)
{
	uint64_t total = 0;
	drain->files = calloc(NF_MAX(HASH_COUNT(drain->plan.files), 1u), sizeof(*drain->files));
	if (drain->files == NULL)
		return -ENOMEM;
	for (const struct lz_file *file = drain->plan.files; file != NULL; file = file->hh.next) {
		drain->files[drain->file_count++] = file;
		total += count_blocks(file);
	}
	if (drain->file_count > 0)
		qsort(drain->files, drain->file_count, sizeof(*drain->files), compare_files);
	drain->threads = count_threads(drain->draining->lazy);
	drain->room = window_room(drain->draining->lazy, total);
	return 0;
}

static int open_drain(struct lz_drain *drain, const char *name, bool use_runs)
{
	struct bd_store *store = drain->draining->lazy->store;
	struct bd_inode *dir = NULL, *index = NULL;
	int error = lz_plan_read(store, name, &drain->plan, &dir);
	if (error != 0)
		return error;
	struct bd_view base = drain->plan.base.branch.v != 0 ? drain->plan.base : drain->below;
	error = lz_log_open(&drain->log, store, &drain->plan, base, dir);
	if (error == 0)
		error = bd_lookup(dir, "index", &index);
	if (error == 0)
		error = lz_indexes_open_tables(&drain->indexes, &drain->plan, &drain->log, index, use_runs);
	if (error == 0)
		error = sort_files(drain);
	drain->range = lz_range(&drain->plan, &drain->indexes, &drain->log);
	if (index != NULL)
		bd_inode_unref(index, 1);
	bd_inode_unref(dir, 1);
	return error;
}

static void close_drain(struct lz_drain *drain)
{
	free(drain->files);
	lz_log_close(&drain->log);
	lz_indexes_free(&drain->indexes);
	lz_plan_free(&drain->plan);
}

/* Room for the log: two pieces, and for each part of one what is read from all over it. */
static int open_log(struct lz_window *window)
{
	bool has_all = true;
	for (unsigned i = 0; i < 2; i++) {
		window->log[i] = nf_io_buffer(WA_BATCH_LOG);
		has_all &= window->log[i] != NULL;
	}
	for (unsigned i = 0; i < LZ_READS; i++) {
		window->scattered[i] = nf_io_buffer(BD_SCATTERED_MAX * WA_PAGE_SIZE);
		has_all &= window->scattered[i] != NULL;
	}
	return has_all ? 0 : -ENOMEM;
}

static int open_window(struct lz_window *window, struct lz_drain *drain)
{
	*window = (struct lz_window){.drain = drain};
	window->blocks = calloc(drain->room, sizeof(*window->blocks));
	window->file_of = calloc(drain->room, sizeof(*window->file_of));
	window->at = calloc(drain->room, sizeof(*window->at));
	window->pages = nf_io_buffer(drain->room * WA_PAGE_SIZE);
	if (window->blocks == NULL || window->file_of == NULL || window->at == NULL || window->pages == NULL)
		return -ENOMEM;
	/* Pages are used in any order: where it can be had, memory in large pieces. */
	(void)madvise(window->pages, drain->room * WA_PAGE_SIZE, MADV_HUGEPAGE);
	int error = open_log(window);
	return error == 0 ? lz_crew_new(drain->threads, &window->crew) : error;
}

static void close_window(struct lz_window *window)
{
	lz_crew_free(window->crew);
	for (unsigned i = 0; i < LZ_READS; i++)
		free(window->scattered[i]);
	for (unsigned i = 0; i < 2; i++)
		free(window->log[i]);
	free(window->blocks);
	free(window->file_of);
	free(window->at);
	free(window->pages);
}

/* -------------------------------------------------------------- filling */

int lz_drain_file(const struct lz_drain *drain, const struct lz_file *file, struct bd_view view, struct bd_inode **ret_inode)
{
	*ret_inode = NULL;
	int error = bd_inode_by_id(drain->draining->lazy->store, view, (struct bd_file_id){file->id}, ret_inode);
	return error == -ENOENT ? 0 : error;
}

/* A block that the file has not whole below the layer: as a reader makes it. */
static int make_by_reading(struct lz_window *window, struct bd_inode *inode, uint32_t block)
{
	ssize_t got = bd_read(inode, (uint64_t)block * NF_BLOCK_SIZE, window->pages, NF_BLOCK_SIZE);
	return got < 0 ? (int)got : 0;
}

bool lz_is_of_block(int error)
{
	return error == -EIO || error == -EUCLEAN || error == -EBADMSG;
}

static int whole_blocks(const struct lz_drain *drain, const struct lz_file *file, uint32_t *ret_blocks)
{
	struct bd_inode *inode;
	struct bd_attr attr;
	int error = lz_drain_file(drain, file, drain->below, &inode);
	*ret_blocks = 0;
	if (error != 0 || inode == NULL)
		return error;
	bd_inode_attr(inode, &attr);
	bd_inode_unref(inode, 1);
	*ret_blocks = (uint32_t)NF_MIN(attr.size_bytes / NF_BLOCK_SIZE, (uint64_t)UINT32_MAX);
	return 0;
}

/* Blocks of the file from *from on that are still to be made, as many as there is room for; *from is behind them. UINT32_MAX: that were all. */
static int add_file(struct lz_window *window, const struct lz_file *file, uint32_t *from)
{
	const struct lz_drain *drain = window->drain;
	struct bd_inode *inode;
	uint32_t whole = 0;
	size_t room = drain->room - window->count, count = 0;
	uint32_t *at = window->at + window->count;
	int error = lz_drain_file(drain, file, drain->head, &inode);
	if (error != 0 || inode == NULL) {
		*from = UINT32_MAX;
		return error;
	}
	error = whole_blocks(drain, file, &whole);
	if (error == 0)
		error = bd_layer_unmade(inode, drain->epoch, *from, at, room, &count);
	*from = error == 0 && count == room ? at[count - 1] + 1 : UINT32_MAX;
	for (; error == 0 && count > 0 && at[count - 1] >= whole; count--) {
		error = make_by_reading(window, inode, at[count - 1]);
		/* As one that cannot be made: it stays unmade, and does not keep the others. */
		if (lz_is_of_block(error))
			window->drain->has_failed = true;
		error = lz_is_of_block(error) ? 0 : error;
	}
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

/* The blocks of the next window. None: all are taken. */
static int fill_window(struct lz_window *window)
{
	struct lz_drain *drain = window->drain;
	int error = 0;
	window->count = 0;
	while (error == 0 && drain->next_file < drain->file_count && window->count < drain->room) {
		error = add_file(window, drain->files[drain->next_file], &drain->next_block);
		if (drain->next_block == UINT32_MAX) {
			drain->next_file++;
			drain->next_block = 0;
		}
	}
	return error;
}

/* -------------------------------------------------------------- a window */

/* More than there are threads: some blocks have more records than others. */
static void divide_window(struct lz_window *window)
{
	size_t count = window->drain->threads > 1 ? NF_MIN((size_t)LZ_SHARES, window->count) : 1;
	window->share_count = count;
	for (size_t i = 0; i < count; i++)
		window->shares[i] = (struct lz_share){
			.window = window, .first = window->count * i / count, .end = window->count * (i + 1) / count};
}

/* What its blocks need, and their bases. */
static int prepare_share(void *arg, size_t i)
{
	struct lz_window *window = arg;
	struct lz_share *share = &window->shares[i];
	int error = wa_batch_new(&window->drain->range, window->blocks + share->first, share->end - share->first, &share->batch,
				 &share->why);
	return error == 0 ? lz_window_bases(share) : error;
}

static int end_share(void *arg, size_t i)
{
	struct lz_window *window = arg;
	struct lz_share *share = &window->shares[i];
	wa_batch_end(share->batch);
	wa_batch_free(share->batch);
	share->batch = NULL;
	return lz_window_store(share);
}

static void tell_why(const struct lz_window *window)
{
	const struct lz_drain *drain = window->drain;
	for (size_t i = 0; i < window->share_count; i++) {
		const struct wa_error *why = &window->shares[i].why;
		if (why->text[0] == 0)
			continue;
		nf_error("branch %u: blocks cannot be brought to " NF_LSN_FMT ": record at " NF_LSN_FMT ": %s",
			 drain->head.branch.v, NF_LSN_ARG(drain->plan.to), NF_LSN_ARG(why->lsn), why->text);
		return; /* one says what is wrong */
	}
}

static int make_window(struct lz_window *window)
{
	divide_window(window);
	int error = lz_crew_run(window->crew, window->share_count, prepare_share, window);
	if (error == 0)
		error = lz_window_log(window);
	if (error == 0)
		error = lz_crew_run(window->crew, window->share_count, end_share, window);
	tell_why(window);
	for (size_t i = 0; i < window->share_count; i++)
		wa_batch_free(window->shares[i].batch);
	return error;
}

static int make_windows(struct lz_drain *drain)
{
	struct lz_window *window = calloc(1, sizeof(*window));
	int error = window != NULL ? open_window(window, drain) : -ENOMEM;
	while (error == 0) {
		error = fill_window(window);
		if (error != 0 || window->count == 0)
			break;
		error = make_window(window);
	}
	if (window != NULL)
		close_window(window);
	free(window);
	return error;
}

static int drain_once(struct lz_draining *draining, const struct bd_layer_info *info, const char *name, bool use_runs,
		      bool *ret_has_runs)
{
	struct lz_drain drain = {.draining = draining,
			      .head = wh_head(info->branch),
			      .below = {.branch = info->branch, .epoch = info->epoch},
			      .epoch = info->epoch};
	int error = open_drain(&drain, name, use_runs);
	*ret_has_runs = drain.indexes.has_runs;
	if (error == 0)
		error = make_windows(&drain);
	if (error == 0 && drain.has_failed)
		error = -EIO;
	close_drain(&drain);
	return error;
}

int lz_drain_layer(struct lz_draining *draining, const struct bd_layer_info *info, const char *name)
{
	bool has_runs;
	int error = drain_once(draining, info, name, true, &has_runs);
	/* It may be an index of several segments that is damaged: the segments' own say the same. */
	if ((error == -EIO || error == -EBADMSG) && has_runs)
		error = drain_once(draining, info, name, false, &has_runs);
	return error;
}
