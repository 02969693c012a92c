/* Draining a layer: its blocks in the order of relations, a window of them at a time.
 *
 *	what the head has still to make ──▶ bases, from the view below the layer ──▶ the WAL, once, forward ──▶ bd_layer_store
 *	lazy_chunk.c                        lazy_window_blocks.c                     lazy_window_log.c          lazy_window_blocks.c
 *
 * A page is in memory from the record on that makes it from nothing (or, where none does, from the beginning) to its last record, and until it is stored. A
 * window is as many blocks as can be made so in the memory that there is, some more at a time: chunks are planned, and added as long as nowhere on
 * the way through the WAL there would be too many pages. So where the WAL has an image of each page, one window may have many times more blocks than pages.
 *
 * Each step is done for all chunks before the next one begins. Without a limit of the rate that one thread would keep to anyhow, several threads do them side
 * by side: while one waits for the disk, another has the processor. What is stored needs no bookkeeping: after a kill the blocks that are made are found
 * made. Who reads, overwrites or cuts meanwhile wins (bd_layer_store). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/nf_log.h"
#include "walapply/pitr/lazy_window.h"

#define ROOM_MAX 262144u /* pages */
#define ROOM_LIMIT (1u << 28) /* whatever is asked for */
#define ROOM_MIN (WA_LAZY_MEMORY_MIN / WA_PAGE_SIZE)
#define MEMORY_SHARE 16u /* of the machine's memory: pages take one part in so many at most, */
#define AVAILABLE_SHARE 4u /* and of what is available */
#define LIVE_PARTS 8u /* of the memory one part is for pages that wait to be stored */
#define BLOCKS_PER_PAGE 8u /* of a window */
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

/* Of the machine's memory, and of what nobody has use for now: bytes. */
static uint64_t share_of_memory(void)
{
	unsigned long long total_kb = 0, available_kb = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		(void)sscanf(line, "MemTotal: %llu kB", &total_kb);
		(void)sscanf(line, "MemAvailable: %llu kB", &available_kb);
	}
	if (file != NULL)
		fclose(file);
	return NF_MIN(total_kb / MEMORY_SHARE, available_kb / AVAILABLE_SHARE) << 10;
}

/* Pages in memory. */
static uint32_t choose_room(const struct wa_lazy *lazy, uint64_t total)
{
	uint64_t memory = lazy->drain_memory > 0 ? NF_MIN(lazy->drain_memory, (uint64_t)ROOM_LIMIT * WA_PAGE_SIZE)
						 : NF_MIN(share_of_memory(), (uint64_t)ROOM_MAX * WA_PAGE_SIZE);
	return (uint32_t)NF_MIN(NF_MAX(memory / WA_PAGE_SIZE, (uint64_t)ROOM_MIN), NF_MAX(total, UINT64_C(1)));
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
	drain->room = choose_room(drain->draining->lazy, total);
	drain->live_max = drain->room < total ? drain->room - drain->room / LIVE_PARTS : drain->room;
	drain->chunk_room = (uint32_t)NF_MIN(NF_MAX(total / LZ_CHUNKS_AHEAD, UINT64_C(1)),
					     (uint64_t)NF_MIN(NF_MAX(drain->live_max / 4, 1u), LZ_CHUNK_BLOCKS));
	return 0;
}

/* The pieces of the WAL. */
static int list_pieces(struct lz_drain *drain)
{
	struct wa_batch_piece piece;
	uint32_t count = 0;
	for (bool more = wa_batch_next_piece(&drain->range, false, &piece); more;
	     more = wa_batch_next_piece(&drain->range, true, &piece))
		count++;
	drain->pieces = calloc(count + 1, sizeof(*drain->pieces));
	if (drain->pieces == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		drain->pieces[i] = drain->pieces[i > 0 ? i - 1 : 0];
		(void)wa_batch_next_piece(&drain->range, i > 0, &drain->pieces[i]);
	}
	drain->piece_count = count;
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
	if (error == 0)
		error = list_pieces(drain);
	if (index != NULL)
		bd_inode_unref(index, 1);
	bd_inode_unref(dir, 1);
	return error;
}

static void close_drain(struct lz_drain *drain)
{
	free(drain->files);
	free(drain->pieces);
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

static int open_pool(struct lz_pool *pool, uint32_t room)
{
	pthread_mutex_init(&pool->lock, NULL);
	pool->pages = nf_io_buffer((size_t)room * WA_PAGE_SIZE);
	pool->unused = calloc(room, sizeof(*pool->unused));
	if (pool->pages == NULL || pool->unused == NULL)
		return -ENOMEM;
	/* Pages are used in any order: where it can be had, memory in large pieces. */
	(void)madvise(pool->pages, (size_t)room * WA_PAGE_SIZE, MADV_HUGEPAGE);
	return 0;
}

/* All of its pages are unused, and taken in their order. */
static void reset_pool(struct lz_pool *pool, uint32_t room)
{
	for (uint32_t i = 0; i < room; i++)
		pool->unused[i] = room - 1 - i;
	pool->unused_count = room;
}

static int open_window(struct lz_window *window, struct lz_drain *drain)
{
	window->drain = drain;
	window->live = calloc(drain->piece_count + 1, sizeof(*window->live));
	int error = open_pool(&window->pool, drain->room);
	if (error == 0)
		error = window->live != NULL ? open_log(window) : -ENOMEM;
	return error == 0 ? lz_crew_new(drain->threads, &window->crew) : error;
}

static void empty_window(struct lz_window *window)
{
	for (uint32_t i = 0; i < window->chunk_count; i++)
		lz_chunk_free(window->chunks[i]);
	window->chunk_count = 0;
	memset(window->live, 0, (window->drain->piece_count + 1) * sizeof(*window->live));
	reset_pool(&window->pool, window->drain->room);
}

static void close_window(struct lz_window *window)
{
	lz_crew_free(window->crew);
	for (unsigned i = 0; i < LZ_READS; i++)
		free(window->scattered[i]);
	for (unsigned i = 0; i < 2; i++)
		free(window->log[i]);
	pthread_mutex_destroy(&window->pool.lock);
	free(window->pool.pages);
	free(window->pool.unused);
	free(window->live);
}

/* -------------------------------------------------------------- windows */

/* Chunks that are planned and in no window yet. */
struct planned {
	const struct lz_drain *drain;
	struct lz_chunk *chunks[LZ_CHUNKS_AHEAD];
	unsigned next, count;
};

static int plan(void *arg, size_t i)
{
	const struct planned *planned = arg;
	return lz_chunk_plan(planned->drain, planned->chunks[i]);
}

static void tell_why(const struct lz_drain *drain, struct lz_chunk *const *chunks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct wa_error *why = &chunks[i]->why;
		if (why->text[0] == 0)
			continue;
		nf_error("branch %u: blocks cannot be brought to " NF_LSN_FMT ": record at " NF_LSN_FMT ": %s",
			 drain->head.branch.v, NF_LSN_ARG(drain->plan.to), NF_LSN_ARG(why->lsn), why->text);
		return; /* one says what is wrong */
	}
}

static void free_planned(struct planned *planned)
{
	for (; planned->next < planned->count; planned->next++)
		lz_chunk_free(planned->chunks[planned->next]);
}

/* The next ones, when all of those are in windows. None: there are no more. */
static int plan_more(struct planned *planned, struct lz_drain *drain, struct lz_crew *crew)
{
	struct lz_chunk *chunk = NULL;
	int error = 0;
	planned->next = planned->count = 0;
	while (planned->count < LZ_CHUNKS_AHEAD && (error = lz_chunk_next(drain, drain->chunk_room, &chunk)) == 0 &&
	       chunk != NULL)
		planned->chunks[planned->count++] = chunk;
	if (error == 0)
		error = lz_crew_run(crew, planned->count, plan, planned);
	if (error != 0)
		tell_why(drain, planned->chunks, planned->count);
	return error;
}

/* Is there memory for one more? For a first one there is. */
static bool fits(const struct lz_window *window, const struct lz_chunk *chunk)
{
	const struct lz_drain *drain = window->drain;
	/* Without any WAL all pages are in memory at the same time. */
	uint64_t blocks_max = drain->piece_count > 0 ? (uint64_t)drain->room * BLOCKS_PER_PAGE : drain->room;
	bool is_small =
		window->chunk_count < NF_MIN((uint64_t)LZ_CHUNKS_MAX, NF_MAX(blocks_max / drain->chunk_room, UINT64_C(1)));
	for (uint32_t i = 0; i < drain->piece_count && is_small; i++)
		is_small = window->live[i] + chunk->live[i] <= drain->live_max;
	return is_small;
}

static void add_chunk(struct lz_window *window, struct lz_chunk *chunk)
{
	chunk->window = window;
	window->chunks[window->chunk_count++] = chunk;
	for (uint32_t i = 0; i < window->drain->piece_count; i++)
		window->live[i] += chunk->live[i];
}

static int fill_window(struct lz_window *window, struct planned *planned)
{
	empty_window(window);
	for (;;) {
		int error = planned->next == planned->count ? plan_more(planned, window->drain, window->crew) : 0;
		if (error != 0 || planned->count == 0 || !fits(window, planned->chunks[planned->next]))
			return error;
		add_chunk(window, planned->chunks[planned->next++]);
	}
}

static int make_windows(struct lz_drain *drain)
{
	struct lz_window *window = calloc(1, sizeof(*window));
	struct planned planned = {.drain = drain};
	int error = window != NULL ? open_window(window, drain) : -ENOMEM;
	while (error == 0) {
		error = fill_window(window, &planned);
		if (error != 0 || window->chunk_count == 0)
			break;
		error = lz_window_make(window);
		tell_why(drain, window->chunks, window->chunk_count);
		drain->draining->windows++;
	}
	free_planned(&planned);
	if (window != NULL) {
		if (window->live != NULL && window->pool.unused != NULL)
			empty_window(window);
		close_window(window);
	}
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
