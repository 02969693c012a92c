/* Draining a layer: its blocks in the order of relations, a window of them at a time.
 *
 *	what the head has still to make ──▶ bases, from the view below the layer ──▶ wa_batch, the WAL once, forward ──▶ bd_layer_store
 *
 * A window is as many blocks as there is memory for (window_room): the WAL is gone through once for each. Of the WAL only pages are read that have
 * records of the window. Without a limit of the rate that one thread would keep to anyhow, two threads take window after window: while one waits for
 * the disk, the other has the processor. What is stored needs no bookkeeping: after a kill the blocks that are made are found made. Who reads, overwrites
 * or cuts meanwhile wins (bd_layer_store). */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/materialise/wa_batch.h"
#include "walapply/pitr/lazy_impl.h"

#define WINDOW_MAX 65536u /* blocks */
#define WINDOW_MIN 1024u
#define MEMORY_SHARE 32u /* of the machine's memory: all windows together take one part in so many at most */
#define WORKERS_MAX 2u
#define ONE_WORKER_RATE (UINT64_C(256) << 20) /* bytes a second that one thread comes to */
#define LONG_RUN 16u /* pages of WAL: a run like this is read by itself, shorter ones many at once */
#define WAL_GAP 2u /* pages read for nothing between two of a run */

/* One layer being drained. */
struct drain {
	struct lz_draining *draining;
	struct bd_view head, below;
	struct bd_epoch epoch;
	struct lz_plan plan;
	struct lz_indexes indexes;
	struct lz_log log;
	struct wa_range range;
	const struct lz_file **files; /* in the order of relations */
	size_t file_count, room; /* room: blocks of a window */
	unsigned workers;
	pthread_mutex_t lock;
	/* guarded by lock */
	size_t next_file; /* the next window begins in this one, */
	uint32_t next_block; /* here */
	int error; /* the first one: everybody stops */
	bool has_failed; /* some block cannot be made */
};

/* A thread's. */
struct window {
	struct drain *drain;
	size_t count;
	struct wa_batch_block *blocks;
	const struct lz_file **file_of; /* of each block */
	uint32_t *at; /* of each: which of the file's */
	uint8_t *pages; /* page i is of block i */
	uint8_t *scattered; /* pages of WAL from all over a piece */
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

/* Blocks of a window. Each goes through the WAL, so there are few of them, but one for each thread. */
static size_t window_room(uint64_t total, unsigned workers)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
	uint64_t memory = pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : 0;
	uint64_t most = NF_MIN(memory / MEMORY_SHARE / workers / WA_PAGE_SIZE, (uint64_t)WINDOW_MAX);
	return (size_t)NF_MIN(NF_MAX(most, (uint64_t)WINDOW_MIN), NF_MAX((total + workers - 1) / workers, UINT64_C(1)));
}

static unsigned count_workers(const struct wa_lazy *lazy)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	return lazy->drain_rate > ONE_WORKER_RATE && processors > 1 ? WORKERS_MAX : 1;
}

static int sort_files(struct drain *drain)
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
	drain->workers = count_workers(drain->draining->lazy);
	drain->room = window_room(total, drain->workers);
	return 0;
}

static int open_drain(struct drain *drain, const char *name, bool use_runs)
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

static void close_drain(struct drain *drain)
{
	free(drain->files);
	lz_log_close(&drain->log);
	lz_indexes_free(&drain->indexes);
	lz_plan_free(&drain->plan);
}

static int open_window(struct window *window, struct drain *drain)
{
	*window = (struct window){.drain = drain};
	window->blocks = calloc(drain->room, sizeof(*window->blocks));
	window->file_of = calloc(drain->room, sizeof(*window->file_of));
	window->at = calloc(drain->room, sizeof(*window->at));
	window->pages = nf_io_buffer(drain->room * WA_PAGE_SIZE);
	window->scattered = nf_io_buffer(BD_SCATTERED_MAX * WA_PAGE_SIZE);
	/* Pages are used in any order: where it can be had, memory in large pieces. */
	if (window->pages != NULL)
		(void)madvise(window->pages, drain->room * WA_PAGE_SIZE, MADV_HUGEPAGE);
	return window->blocks == NULL || window->file_of == NULL || window->at == NULL || window->pages == NULL ||
			       window->scattered == NULL
		       ? -ENOMEM
		       : 0;
}

static void close_window(struct window *window)
{
	free(window->blocks);
	free(window->file_of);
	free(window->at);
	free(window->pages);
	free(window->scattered);
}

/* -------------------------------------------------------------- filling */

/* The file's inode as `view` has it. NULL: it is gone, and has nothing to be made. */
static int open_file(const struct drain *drain, const struct lz_file *file, struct bd_view view, struct bd_inode **ret_inode)
{
	*ret_inode = NULL;
	int error = bd_inode_by_id(drain->draining->lazy->store, view, (struct bd_file_id){file->id}, ret_inode);
	return error == -ENOENT ? 0 : error;
}

/* A block that the file has not whole below the layer: as a reader makes it. */
static int make_by_reading(struct window *window, struct bd_inode *inode, uint32_t block)
{
	ssize_t got = bd_read(inode, (uint64_t)block * NF_BLOCK_SIZE, window->pages, NF_BLOCK_SIZE);
	return got < 0 ? (int)got : 0;
}

/* Bytes that are damaged or cannot be read, which says nothing of other blocks. */
static bool is_of_block(int error)
{
	return error == -EIO || error == -EUCLEAN || error == -EBADMSG;
}

static int whole_blocks(const struct drain *drain, const struct lz_file *file, uint32_t *ret_blocks)
{
	struct bd_inode *inode;
	struct bd_attr attr;
	int error = open_file(drain, file, drain->below, &inode);
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
	const struct drain *drain = window->drain;
	struct bd_inode *inode;
	uint32_t whole = 0;
	size_t room = drain->room - window->count, count = 0;
	uint32_t *at = window->at + window->count;
	int error = open_file(drain, file, drain->head, &inode);
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
		window->drain->has_failed |= is_of_block(error); /* under the lock */
		error = is_of_block(error) ? 0 : error;
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

/* The blocks of the next window. None: all are taken, or somebody failed. */
static int fill_window(struct window *window)
{
	struct drain *drain = window->drain;
	int error = 0;
	window->count = 0;
	pthread_mutex_lock(&drain->lock);
	while (drain->error == 0 && error == 0 && drain->next_file < drain->file_count && window->count < drain->room) {
		error = add_file(window, drain->files[drain->next_file], &drain->next_block);
		if (drain->next_block == UINT32_MAX) {
			drain->next_file++;
			drain->next_block = 0;
		}
	}
	pthread_mutex_unlock(&drain->lock);
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
			error = open_file(window->drain, file, window->drain->below, &inode);
			if (error == 0 && inode == NULL)
				error = -EUCLEAN; /* it had the size that its blocks were marked by */
		}
		if (error == 0) {
			ssize_t got = bd_read(inode, (uint64_t)window->at[i] * NF_BLOCK_SIZE, window->blocks[i].page, size);
			error = got == (ssize_t)size ? lz_pace(window->drain->draining, size) : got < 0 ? (int)got : -EUCLEAN;
		}
	}
	if (inode != NULL)
		bd_inode_unref(inode, 1);
	return error;
}

/* Pages of the piece [at, at + count) that are wanted and not in a long run, many at once. */
struct scattering {
	struct window *window;
	struct nf_lsn at;
	uint8_t *bytes;
	uint64_t *there;
	uint32_t pages[BD_SCATTERED_MAX];
	unsigned count;
};

static int read_scattered(struct scattering *scattering)
{
	struct window *window = scattering->window;
	struct nf_lsn at[BD_SCATTERED_MAX];
	for (unsigned i = 0; i < scattering->count; i++)
		at[i].v = scattering->at.v + (uint64_t)scattering->pages[i] * WA_PAGE_SIZE;
	int error = scattering->count > 0 ? lz_log_scattered(&window->drain->log, at, scattering->count, window->scattered) : 0;
	for (unsigned i = 0; i < scattering->count && error == 0; i++) {
		uint32_t page = scattering->pages[i];
		memcpy(scattering->bytes + (size_t)page * WA_PAGE_SIZE, window->scattered + (size_t)i * WA_PAGE_SIZE,
		       WA_PAGE_SIZE);
		scattering->there[page / 64] |= UINT64_C(1) << page % 64;
	}
	scattering->count = 0;
	return error;
}

static bool is_set(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

/* The run that begins at the wanted page `first`: its end. */
static size_t run_of_pages(const uint64_t *wanted, size_t first, size_t count)
{
	size_t end = first + 1;
	for (size_t i = end; i < count && i <= end + WAL_GAP; i++)
		if (is_set(wanted, i))
			end = i + 1;
	return end;
}

static int read_run(struct scattering *scattering, size_t first, size_t end)
{
	struct window *window = scattering->window;
	struct nf_lsn at = {scattering->at.v + first * WA_PAGE_SIZE};
	int error = lz_log_read(&window->drain->log, at, end - first, scattering->bytes + first * WA_PAGE_SIZE);
	for (size_t i = first; i < end && error == 0; i++)
		scattering->there[i / 64] |= UINT64_C(1) << i % 64;
	return error;
}

/* wa_batch_read_fn */
static int read_wal(void *arg, struct nf_lsn at, size_t count, const uint64_t *wanted, uint8_t *bytes, uint64_t *there)
{
	struct scattering scattering = {.window = arg, .at = at, .bytes = bytes, .there = there};
	size_t pages = 0;
	int error = 0;
	for (size_t first = 0, end; first < count && error == 0; first = end) {
		end = first + 1;
		if (!is_set(wanted, first))
			continue;
		end = run_of_pages(wanted, first, count);
		if (end - first >= LONG_RUN) {
			pages += end - first;
			error = read_run(&scattering, first, end);
			continue;
		}
		for (size_t i = first; i < end && error == 0; i++) {
			if (!is_set(wanted, i))
				continue;
			pages++;
			scattering.pages[scattering.count++] = (uint32_t)i;
			if (scattering.count == BD_SCATTERED_MAX)
				error = read_scattered(&scattering);
		}
	}
	if (error == 0)
		error = read_scattered(&scattering);
	struct lz_draining *draining = scattering.window->drain->draining;
	atomic_fetch_add(&draining->wal_bytes, pages * WA_PAGE_SIZE);
	return error == 0 ? lz_pace(draining, pages * WA_PAGE_SIZE) : error;
}

static void note_failed(struct drain *drain)
{
	pthread_mutex_lock(&drain->lock);
	drain->has_failed = true;
	pthread_mutex_unlock(&drain->lock);
}

static int store_window(struct window *window)
{
	struct drain *drain = window->drain;
	int error = 0;
	for (size_t i = 0, n; i < window->count && error == 0; i += n) {
		struct bd_inode *inode;
		n = run_length(window, i, BD_LAYER_STORE_MAX, is_made);
		if (!is_made(&window->blocks[i])) {
			note_failed(drain);
			continue;
		}
		error = open_file(drain, window->file_of[i], drain->head, &inode);
		if (error != 0 || inode == NULL)
			continue; /* removed meanwhile */
		error = bd_layer_store(inode, drain->epoch, window->at[i], (uint32_t)n, window->blocks[i].page);
		bd_inode_unref(inode, 1);
		atomic_fetch_add(&drain->draining->blocks, n);
		if (error == 0)
			error = lz_pace(drain->draining, n * WA_PAGE_SIZE);
	}
	return error;
}

static int make_window(struct window *window)
{
	struct wa_batch *batch;
	struct wa_error why = {0};
	int error = wa_batch_new(&window->drain->range, window->blocks, window->count, &batch, &why);
	if (error == 0) {
		error = read_bases(window);
		if (error == 0)
			error = wa_batch_run(batch, read_wal, window, &why);
		wa_batch_free(batch);
	}
	if (why.text[0] != 0)
		nf_error("branch %u: blocks cannot be brought to " NF_LSN_FMT ": record at " NF_LSN_FMT ": %s",
			 window->drain->head.branch.v, NF_LSN_ARG(window->drain->plan.to), NF_LSN_ARG(why.lsn), why.text);
	return error == 0 ? store_window(window) : error;
}

/* --------------------------------------------------------------- threads */

/* is_first: without memory for this one there is no drain; for another one it goes on without. */
static void work(struct drain *drain, bool is_first)
{
	struct window window;
	int error = open_window(&window, drain);
	if (error != 0 && !is_first) {
		close_window(&window);
		return;
	}
	while (error == 0) {
		error = fill_window(&window);
		if (error != 0 || window.count == 0)
			break;
		error = make_window(&window);
	}
	close_window(&window);
	pthread_mutex_lock(&drain->lock);
	drain->error = drain->error == 0 ? error : drain->error;
	pthread_mutex_unlock(&drain->lock);
}

static void *worker(void *arg)
{
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WA_HISTORY_NICE);
	work(arg, false);
	return NULL;
}

/* This thread, and others beside it. */
static void work_together(struct drain *drain)
{
	pthread_t threads[WORKERS_MAX];
	unsigned started = 0;
	while (started + 1 < drain->workers && pthread_create(&threads[started], NULL, worker, drain) == 0)
		started++;
	work(drain, true);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

static int drain_once(struct lz_draining *draining, const struct bd_layer_info *info, const char *name, bool use_runs,
		      bool *ret_has_runs)
{
	struct drain drain = {.draining = draining,
			      .head = wh_head(info->branch),
			      .below = {.branch = info->branch, .epoch = info->epoch},
			      .epoch = info->epoch};
	pthread_mutex_init(&drain.lock, NULL);
	int error = open_drain(&drain, name, use_runs);
	*ret_has_runs = drain.indexes.has_runs;
	if (error == 0) {
		work_together(&drain);
		error = drain.error != 0 ? drain.error : drain.has_failed ? -EIO : 0;
	}
	close_drain(&drain);
	pthread_mutex_destroy(&drain.lock);
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
